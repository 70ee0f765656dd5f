/* moesim explain's sentences on one GPU: each verdict and each advice as a whole. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "printed_lines.h"
#include "sim/report/explain_state.h"

#include <stdlib.h>
#include <string.h>

static const sim_time ms = 1000 * SIM_TIME_PER_US;

enum { POLICIES = 4 };

struct made {
    struct result r;
    struct result_policy p[POLICIES];
};

/* 10 passes in 1000 ms. The cache has 6 of 60 GB; 20 GB of memory are full. */
static void make(struct made *m, int stall, int host, int compute, int offline,
                 int belady)
{
    struct result_policy *p = &m->p[0];

    memset(m, 0, sizeof *m);
    m->r.policies = 1;
    m->r.policy = m->p;
    m->r.gpu_memory_bytes = 20000000000;
    m->r.dense_bytes = 7000000000;
    m->r.kv_peak_bytes = 4000000000;
    m->r.expert_total_bytes = 60000000000;
    p->lossless = true;
    p->run.finished = true;
    p->run.passes = 10;
    p->run.cache_bytes = 6000000000;
    p->run.staging_bytes = 2600000000; /* 400 MB are left, which is 2 % */
    p->run.total.latency = 1000 * ms;
    p->run.total.share[SHARE_COPY] = stall * ms;
    p->run.total.share[SHARE_HOST] = host * ms;
    p->run.total.counts.accesses = 1000;
    p->run.total.counts.hits = 900;
    p->bounds.present = true;
    p->bounds.compute = compute * ms;
    p->bounds.offline = offline * ms;
    p->bounds.belady_time = belady * ms;
}

#define HOLDS "The cache holds 6.00 GB of 60.0 GB of experts (10.0 %)."

static void a_policy_failure(void **state)
{
    struct made m;

    (void)state;
    make(&m, 700, 20, 280, 280, 500);
    lines_explain(
        &m.r, EXPLAIN_POLICY,
        "A better policy exists at this capacity: Belady's choices, fetched on "
        "demand, would take 50.0 % of the time. Besides, working set: 20.0 % of "
        "the time.",
        "A cache policy nearer to Belady's gains up to 50.0 ms per pass; "
        "prefetching that hides its loads as well, up to 70.0 ms. " HOLDS);
    m.p[0].run.passes = 0; /* then of the run */
    m.p[0].run.staging_bytes -= 100000000;
    lines_explain(
        &m.r, EXPLAIN_POLICY,
        "A better policy exists at this capacity: Belady's choices, fetched on "
        "demand, would take 50.0 % of the time. Besides, working set: 20.0 % of "
        "the time.",
        "A cache policy nearer to Belady's gains up to 500 ms per pass; "
        "prefetching that hides its loads as well, up to 700 ms. " HOLDS
        " 500 MB of GPU memory is still free: a larger cache is the first thing "
        "to try.");
    /* Told from 20 more hits of 80 loads and 20 bypasses: 700 * 20 / 100 ms. */
    m.p[0].bounds.belady_time = 0;
    m.p[0].bounds.belady_hits = 920;
    m.p[0].run.total.counts.loads = 80;
    m.p[0].run.total.counts.bypasses = 20;
    m.p[0].run.passes = 10;
    m.p[0].bounds.offline = m.p[0].bounds.compute = 820 * ms;
    m.r.expert_total_bytes = 6000000000; /* all are held: more memory is no help */
    lines_explain(
        &m.r, EXPLAIN_POLICY,
        "A better policy exists at this capacity: Belady's choices, fetched on "
        "demand, would take 86.0 % of the time (estimated from its hits).",
        "A cache policy nearer to Belady's gains up to 14.0 ms per pass; "
        "prefetching that hides its loads as well, up to 16.0 ms. The cache holds "
        "6.00 GB of 6.00 GB of experts (100.0 %).");
}

static void a_working_set_failure(void **state)
{
    struct made m;

    (void)state;
    make(&m, 600, 60, 300, 310, 980);
    lines_explain(
        &m.r, EXPLAIN_WORKING_SET,
        "Even Belady misses so much that it stalls: 58.0 % of the time goes to "
        "loads that no replacement avoids at this capacity, though the link could "
        "carry them in time. Besides, launches and host: 6.0 % of the time.",
        "Loads must start earlier: prefetching with good look-ahead gains up to "
        "58.0 ms per pass; so does a larger cache. " HOLDS);
    m.p[0].run.total.share[SHARE_HOST] = 49 * ms;
    lines_explain(
        &m.r, EXPLAIN_WORKING_SET,
        "Even Belady misses so much that it stalls: 58.0 % of the time goes to "
        "loads that no replacement avoids at this capacity, though the link could "
        "carry them in time.",
        "Loads must start earlier: prefetching with good look-ahead gains up to "
        "58.0 ms per pass; so does a larger cache. " HOLDS);
}

static void a_bandwidth_failure(void **state)
{
    struct made m;

    (void)state;
    make(&m, 700, 0, 290, 870, 940);
    lines_explain(
        &m.r, EXPLAIN_BANDWIDTH,
        "Even perfect look-ahead stalls: the least bytes that must cross the link "
        "take 870 ms at its full speed, 3.000 times as long as all computing. "
        "Besides, policy: 6.0 % of the time. Besides, working set: 7.0 % of the "
        "time.",
        "Only fewer bytes or a faster link help: a link 3.000 times as fast, "
        "weights of fewer bits, more experts resident, missing experts run on the "
        "host, or larger batches that use each load for more tokens. " HOLDS);
}

static void no_failure(void **state)
{
    struct made m;

    (void)state;
    make(&m, 30, 60, 890, 905, 990);
    lines_explain(
        &m.r, EXPLAIN_COMPUTE,
        "Copies cost little: with every expert resident the passes would still "
        "take 89.0 % of the time. Besides, launches and host: 6.0 % of the time.",
        "No cache or prefetch policy gains more than 4.5 %; larger batches, faster "
        "kernels or a faster GPU do.");
    /* From a quarter of the time on it is the host. */
    make(&m, 30, 250, 700, 700, 1000);
    lines_explain(
        &m.r, EXPLAIN_HOST_BOUND,
        "Copies cost little, but launches and host work take 25.0 % of the time.",
        "A captured graph, fewer and larger kernels, or a policy that needs no "
        "host decision per layer.");
    m.p[0].run.total.share[SHARE_HOST] = 249 * ms;
    assert_int_equal(explain_find(&m.p[0]).verdict, EXPLAIN_COMPUTE);
}

#define NO_BOUNDS                                                                        \
    "This result has no bounds on the time: they need passes that do not depend on "     \
    "time "                                                                              \
    "(closed loop or recorded) and experts that run on the GPU only. "

static void no_verdict(void **state)
{
    struct made m;
    struct explain_finding f;

    (void)state;
    make(&m, 100, 300, 0, 0, 0);
    f = explain_find(&m.p[0]);
    assert_true(f.compute > 0.699 && f.compute < 0.701);
    lines_explain(&m.r, EXPLAIN_UNKNOWN,
                  NO_BOUNDS "Exposed copies take 10.0 % of the time, launches and host "
                            "30.0 %.",
                  "");
    m.p[0].run.total.counts.host_runs = 40;
    m.p[0].run.total.share[SHARE_HOSTED] = 51 * ms;
    lines_explain(&m.r, EXPLAIN_UNKNOWN,
                  NO_BOUNDS
                  "Exposed copies take 10.0 % of the time, launches and host "
                  "30.0 %. 40.0 % of the misses ran on the host; the GPU waits for "
                  "them 5.1 % of the time.",
                  "The GPU waits for experts on the host (5.1 % of the time): keep more "
                  "experts resident, or fetch those that take longer there (offload: "
                  "hybrid).");
    m.p[0].run.total.share[SHARE_HOSTED] = 49 * ms;
    m.p[0].run.total.counts.host_runs = 0;
    lines_explain(&m.r, EXPLAIN_UNKNOWN,
                  NO_BOUNDS "Exposed copies take 10.0 % of the time, launches and host "
                            "30.0 %.",
                  "");
    m.p[0].run.counts_only = true;
    lines_explain(
        &m.r, EXPLAIN_UNKNOWN,
        "Nothing was timed (engine: count): the result has hits and bytes only.", "");
    m.p[0].run.gpus = 4;
    assert_true(explain_find(&m.p[0]).parallel);
}

static void what_prefetches_do(void **state)
{
    struct made m;
    struct run_counts *c = &m.p[0].run.total.counts;

    (void)state;
    make(&m, 0, 0, 1000, 1000, 1000);
    c->late = 51; /* of 1000 accesses */
    c->prefetches = 200;
    c->prefetch_used = 99;
    lines_explain(
        &m.r, EXPLAIN_COMPUTE,
        "Copies cost little: with every expert resident the passes would still "
        "take 100.0 % of the time.",
        "No cache or prefetch policy gains more than 0.0 %; larger batches, faster "
        "kernels or a faster GPU do. Prefetches come late (5.1 % of all accesses "
        "wait for one): look further ahead, or load less. Fewer than half of the "
        "prefetches were used (49.5 %): prefetch less, or predict better.");
    c->late = 50;
    c->prefetch_used = 100;
    lines_explain(
        &m.r, EXPLAIN_COMPUTE,
        "Copies cost little: with every expert resident the passes would still "
        "take 100.0 % of the time.",
        "No cache or prefetch policy gains more than 0.0 %; larger batches, faster "
        "kernels or a faster GPU do.");
}

#define ENOUGH                                                                           \
    "No cache or prefetch policy gains more than 0.0 %; larger batches, faster kernels " \
    "or a faster GPU do."

/* The fastest of this result that had as many passes, if it is faster by 5 %. */
static void a_better_policy_is_named(void **state)
{
    const char *const words = "Copies cost little: with every expert resident the passes "
                              "would still take 100.0 % of the time.";
    char fast[] = "fast", faster[] = "faster";
    struct made m;

    (void)state;
    make(&m, 0, 0, 1000, 1000, 1000);
    m.r.policies = 4;
    for (int i = 1; i < 4; i++) {
        m.p[i].run.passes = 10;
        m.p[i].run.total.latency = 951 * ms;
    }
    lines_explain(&m.r, EXPLAIN_COMPUTE, words, ENOUGH);
    m.p[1].label = fast;
    m.p[1].run.total.latency = 949 * ms;
    m.p[1].lossless = true;
    lines_explain(&m.r, EXPLAIN_COMPUTE, words,
                  ENOUGH " In this result fast takes 94.9 % of its time.");
    m.p[2].label = faster;
    m.p[2].run.total.latency = 800 * ms;
    m.p[3].run.total.latency = 700 * ms;
    m.p[3].run.passes = 9;
    lines_explain(&m.r, EXPLAIN_COMPUTE, words,
                  ENOUGH
                  " In this result faster takes 80.0 % of its time, but changes what "
                  "the model computes.");
    m.p[0].lossless = false; /* both do */
    lines_explain(&m.r, EXPLAIN_COMPUTE, words,
                  ENOUGH " In this result faster takes 80.0 % of its time.");
    m.p[2].label = NULL;
    lines_explain(&m.r, EXPLAIN_COMPUTE, words,
                  ENOUGH " In this result  takes 80.0 % of its time.");
}

static void verdicts_have_names(void **state)
{
    (void)state;
    assert_string_equal(explain_verdict_name(EXPLAIN_UNKNOWN), "no verdict");
    assert_string_equal(explain_verdict_name(EXPLAIN_POLICY), "policy failure");
    assert_string_equal(explain_verdict_name(EXPLAIN_WORKING_SET), "working-set failure");
    assert_string_equal(explain_verdict_name(EXPLAIN_BANDWIDTH), "bandwidth failure");
    assert_string_equal(explain_verdict_name(EXPLAIN_COMPUTE),
                        "no failure: compute-bound");
    assert_string_equal(explain_verdict_name(EXPLAIN_HOST_BOUND),
                        "no failure: bound by launches and the host");
    assert_string_equal(explain_verdict_name(EXPLAIN_IMBALANCE), "imbalance-bound");
    assert_string_equal(explain_verdict_name(EXPLAIN_NETWORK), "network-bound");
    assert_string_equal(explain_verdict_name(EXPLAIN_FETCH), "fetch-bound");
}

/* 5 and 25 % to the bit: 125 and 625 of 2500 ms. */
static void the_thresholds_count_themselves(void **state)
{
    struct explain_finding f;
    struct made m;
    char *text;

    (void)state;
    make(&m, 300, 125, 2000, 2000, 2375);
    m.p[0].run.total.latency = 2500 * ms;
    f = explain_find(&m.p[0]);
    assert_int_equal(f.verdict, EXPLAIN_WORKING_SET); /* 175, policy 125, host 125 */
    text = explain_verdict_text(&f, &m.r, 0);
    assert_non_null(strstr(text, " Besides, policy: 5.0 % of the time. Besides, launches "
                                 "and host: 5.0 % of the time."));
    free(text);
    m.p[0].bounds.belady_time = 2376 * ms;
    m.p[0].run.total.share[SHARE_HOST] = 124 * ms;
    f = explain_find(&m.p[0]);
    text = explain_verdict_text(&f, &m.r, 0);
    assert_null(strstr(text, "Besides"));
    free(text);
    m.p[0].bounds.belady_time = 2375 * ms;
    m.p[0].run.total.share[SHARE_COPY] = 125 * ms; /* of which Belady keeps none */
    assert_int_equal(explain_find(&m.p[0]).verdict, EXPLAIN_POLICY);
    m.p[0].bounds.belady_time = 2400 * ms;
    m.p[0].run.total.share[SHARE_HOST] = 625 * ms;
    m.p[0].run.total.share[SHARE_COPY] = 0;
    m.p[0].bounds.offline = m.p[0].bounds.compute = 1700 * ms;
    assert_int_equal(explain_find(&m.p[0]).verdict, EXPLAIN_HOST_BOUND);
    m.p[0].run.total.share[SHARE_HOST] = 624 * ms;
    assert_int_equal(explain_find(&m.p[0]).verdict, EXPLAIN_COMPUTE);
    m.p[0].run.total.share[SHARE_HOSTED] = 124 * ms;
    text = explain_help_text(&f, &m.r, 0);
    assert_null(strstr(text, "waits for experts"));
    free(text);
    m.p[0].run.total.share[SHARE_HOSTED] = 125 * ms;
    text = explain_help_text(&f, &m.r, 0);
    assert_non_null(strstr(text, "The GPU waits for experts on the host (5.0 %"));
    free(text);
}

/* What there is one or none of, and what is capped. */
static void the_least_there_can_be(void **state)
{
    struct explain_finding f;
    struct made m;
    char *text;

    (void)state;
    make(&m, 700, 500, 280, 280, 0);
    m.p[0].bounds.belady_hits = 899; /* one fewer: nothing is saved, nor lost */
    m.p[0].run.total.counts.loads = 1;
    f = explain_find(&m.p[0]);
    assert_true(f.estimated && f.belady == f.total && f.policy == 0);
    m.p[0].bounds.belady_hits = 901; /* the only miss saves all 700 ms */
    f = explain_find(&m.p[0]);
    assert_true(f.policy > 0.699 && f.policy < 0.701);
    assert_true(f.host > 0.019 && f.host < 0.021); /* of 500 ms: 300 - 280 */
    m.p[0].bounds.belady_hits = 905;               /* no more than there are misses */
    assert_true(explain_find(&m.p[0]).policy == f.policy);
    m.p[0].run.total.counts.loads = 0;
    assert_true(explain_find(&m.p[0]).belady == f.total);
    m.p[0].bounds.belady_time = 1;
    assert_false(explain_find(&m.p[0]).estimated);
    m.p[0].bounds.offline = 1;
    assert_int_equal(explain_find(&m.p[0]).verdict, EXPLAIN_POLICY);
    m.p[0].run.total.latency = 0;
    f = explain_find(&m.p[0]);
    assert_int_equal(f.verdict, EXPLAIN_UNKNOWN);
    m.p[0].run.total.counts.host_runs = 1;
    text = explain_verdict_text(&f, &m.r, 0);
    assert_string_equal(text,
                        NO_BOUNDS "Exposed copies take - of the time, launches and "
                                  "host -. 1.0 % of the misses ran on the host; the "
                                  "GPU waits for them - of the time.");
    free(text);
    text = explain_help_text(&f, &m.r, 0);
    assert_string_equal(text, "");
    free(text);

    make(&m, 700, 20, 280, 280, 500);
    m.p[0].run.passes = 1;
    m.p[0].run.total.counts.prefetches = 1;
    f = explain_find(&m.p[0]);
    text = explain_help_text(&f, &m.r, 0);
    assert_string_equal(text,
                        "A cache policy nearer to Belady's gains up to 500 ms per pass; "
                        "prefetching that hides its loads as well, up to 700 ms. " HOLDS
                        " Fewer than half of the prefetches were used (0.0 %): prefetch "
                        "less, or predict better.");
    free(text);
    m.p[0].run.counts_only = true;
    m.p[0].run.gpus = 1;
    f = explain_find(&m.p[0]);
    assert_true(f.parallel);
    assert_int_equal(f.verdict, EXPLAIN_UNKNOWN);
    text = explain_help_text(&f, &m.r, 0);
    assert_string_equal(text, "");
    free(text);
    m.p[0].run.counts_only = false;
    assert_true(explain_find(&m.p[0]).parallel);
}

/* The first of several that are as fast, also for the others. */
static void the_first_of_the_fastest(void **state)
{
    static char label[POLICIES][2] = {"a", "b", "c", "d"};
    struct explain_finding f;
    struct made m;
    char *text;

    (void)state;
    make(&m, 0, 0, 1000, 1000, 1000);
    m.r.policies = POLICIES;
    for (int i = 1; i < POLICIES; i++)
        m.p[i] = m.p[0];
    for (int i = 0; i < POLICIES; i++) {
        m.p[i].label = label[i];
        m.p[i].run.total.latency = (i == 0 || i == 2 ? 950 : 1000) * ms;
    }
    assert_ptr_equal(explain_better_policy(&m.r, 1), &m.p[0]);
    assert_ptr_equal(explain_better_policy(&m.r, 3), &m.p[0]);
    assert_null(explain_better_policy(&m.r, 2));
    f = explain_find(&m.p[1]);
    text = explain_help_text(&f, &m.r, 1);
    assert_string_equal(text, ENOUGH " In this result a takes 95.0 % of its time.");
    free(text);
}

static void thresholds_are_told(void **state)
{
    (void)state;
    assert_non_null(strstr(explain_thresholds(false),
                           "the greatest of three parts of the time if it is at least 5 "
                           "% of it"));
    assert_non_null(
        strstr(explain_thresholds(true),
               "the greater of two savings if it is at least 5 % of the time"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_policy_failure),
        cmocka_unit_test(a_working_set_failure),
        cmocka_unit_test(a_bandwidth_failure),
        cmocka_unit_test(no_failure),
        cmocka_unit_test(no_verdict),
        cmocka_unit_test(what_prefetches_do),
        cmocka_unit_test(a_better_policy_is_named),
        cmocka_unit_test(verdicts_have_names),
        cmocka_unit_test(the_thresholds_count_themselves),
        cmocka_unit_test(the_least_there_can_be),
        cmocka_unit_test(the_first_of_the_fastest),
        cmocka_unit_test(thresholds_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

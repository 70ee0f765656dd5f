#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "made_result.h"
#include "printed_lines.h"
#include "sim/base/mem.h"
#include "sim/report/explain.h"
#include "sim/base/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NEAR(a, b) assert_true(fabs((a) - (b)) <= 1e-9 * (1 + fabs(b)))

static const sim_time ms = 1000 * SIM_TIME_PER_US;

/* A run of `total` ms with its stalls and host time, and its bounds. */
static struct result_policy made(int total, int stall, int host, int compute, int copy,
                                 int belady)
{
    struct result_policy p = {.label = NULL};

    p.run.total.latency = total * ms;
    p.run.total.share[SHARE_COPY] = stall * ms;
    p.run.total.share[SHARE_HOST] = host * ms;
    p.run.total.share[SHARE_EXPERT] = (total - stall - host) * ms;
    p.bounds.present = true;
    p.bounds.compute = compute * ms;
    p.bounds.copy = copy * ms;
    p.bounds.offline = (compute > copy ? compute : copy) * ms;
    p.bounds.belady_time = belady * ms;
    return p;
}

static void assert_parts(const struct explain_finding *f, double policy,
                         double working_set, double bandwidth, double host)
{
    NEAR(f->policy, policy);
    NEAR(f->working_set, working_set);
    NEAR(f->bandwidth, bandwidth);
    NEAR(f->host, host);
    NEAR(f->policy + f->working_set + f->bandwidth + f->host + f->compute, f->total);
}

/* 1000 ms, 700 stalled; Belady would take 500, all resident 280, copies 200 hidden. */
static void a_policy_failure(void **state)
{
    struct result_policy p = made(1000, 700, 20, 280, 200, 500);
    struct explain_finding f = explain_find(&p);

    (void)state;
    assert_int_equal(f.verdict, EXPLAIN_POLICY);
    /* Belady keeps 700 - 500 = 200 of the stalls: 500 - 280 - 20. */
    assert_parts(&f, 0.5, 0.2, 0.0, 0.02);
    assert_false(f.estimated);
}

/* Belady is hardly better, the link is fast enough. */
static void a_working_set_failure(void **state)
{
    struct result_policy p = made(1000, 600, 50, 300, 310, 980);
    struct explain_finding f = explain_find(&p);

    (void)state;
    assert_int_equal(f.verdict, EXPLAIN_WORKING_SET);
    /* Of Belady's 670 ms above the bound, 50 are the host's, at most 580 stalls. */
    assert_parts(&f, 0.02, 0.58, 0.01, 0.05);
}

/* Belady's bytes alone take three times the compute. */
static void a_bandwidth_failure(void **state)
{
    struct result_policy p = made(1000, 700, 0, 290, 870, 990);
    struct explain_finding f = explain_find(&p);

    (void)state;
    assert_int_equal(f.verdict, EXPLAIN_BANDWIDTH);
    assert_parts(&f, 0.01, 0.12, 0.58, 0.0);
}

static void no_failure(void **state)
{
    struct result_policy p = made(1000, 30, 60, 900, 40, 990);
    struct explain_finding f = explain_find(&p);

    (void)state;
    assert_int_equal(f.verdict, EXPLAIN_COMPUTE);
    /* Time above the compute bound that is no stall (larger kernels) is computing. */
    assert_parts(&f, 0.01, 0.02, 0.0, 0.06);
    p = made(1000, 10, 600, 390, 40, 1000);
    f = explain_find(&p);
    assert_int_equal(f.verdict, EXPLAIN_HOST_BOUND);
}

/* Every part just under 5 % is no failure; one at 5 % is. */
static void the_threshold(void **state)
{
    struct result_policy p = made(1000, 130, 0, 870, 910, 961);

    (void)state;
    assert_int_equal(explain_find(&p).verdict, EXPLAIN_WORKING_SET);
    p = made(1000, 128, 0, 872, 920, 968);
    assert_int_equal(explain_find(&p).verdict, EXPLAIN_COMPUTE);
    p = made(1000, 130, 0, 870, 910, 950);
    assert_int_equal(explain_find(&p).verdict, EXPLAIN_POLICY);
}

/* Prefetching may beat Belady on demand: then there is no policy part. */
static void faster_than_belady(void **state)
{
    struct result_policy p = made(1000, 200, 0, 700, 600, 1500);
    struct explain_finding f = explain_find(&p);

    (void)state;
    assert_int_equal(f.verdict, EXPLAIN_WORKING_SET);
    assert_parts(&f, 0, 0.2, 0, 0);
}

/* 200 misses stall 600 ms; Belady has 120 hits more: 600 * 120 / 200 = 360 ms less. */
static void belady_is_estimated(void **state)
{
    struct result_policy p = made(1000, 600, 0, 400, 100, 0);
    struct explain_finding f;

    (void)state;
    p.run.total.counts.hits = 800;
    p.run.total.counts.loads = 150;
    p.run.total.counts.bypasses = 50;
    p.bounds.belady_hits = 920;
    f = explain_find(&p);
    assert_true(f.estimated);
    NEAR(f.belady, 0.64);
    assert_int_equal(f.verdict, EXPLAIN_POLICY);
    assert_parts(&f, 0.36, 0.24, 0, 0);
}

static void without_bounds(void **state)
{
    struct result_policy p = made(1000, 600, 0, 400, 100, 0);
    struct result_policy none = {.label = NULL};
    struct result r = {.policies = 1, .policy = &p};
    struct explain_finding f;
    char *text;

    (void)state;
    p.bounds.present = false;
    f = explain_find(&p);
    assert_int_equal(f.verdict, EXPLAIN_UNKNOWN);
    text = explain_verdict_text(&f, &r, 0);
    assert_non_null(strstr(text, "Exposed copies take 60.0 %"));
    free(text);
    assert_int_equal(explain_find(&none).verdict, EXPLAIN_UNKNOWN);
}

/* ---- what is printed ---- */

/* Of 400 misses 300 ran on the host, for which the GPU waits 200 of 1000 ms. */
static void experts_on_the_host(void **state)
{
    struct result_policy p = made(1000, 100, 50, 0, 0, 0);
    struct result r = {.policies = 1, .policy = &p};
    struct explain_finding f;
    char *text;

    (void)state;
    p.run.total.share[SHARE_EXPERT] -= 200 * ms;
    p.run.total.share[SHARE_HOSTED] = 200 * ms;
    p.run.total.counts.accesses = 1000;
    p.run.total.counts.hits = 600;
    p.run.total.counts.loads = 100;
    p.run.total.counts.host_runs = 300;
    p.bounds.belady_hits = 700;
    f = explain_find(&p);
    assert_int_equal(f.verdict, EXPLAIN_UNKNOWN);
    text = explain_verdict_text(&f, &r, 0);
    assert_non_null(strstr(text, "no bounds on the time"));
    assert_non_null(strstr(text,
                           "75.0 % of the misses ran on the host; the GPU waits for "
                           "them 20.0 % of the time"));
    free(text);
    text = explain_help_text(&f, &r, 0);
    assert_non_null(strstr(text, "waits for experts on the host (20.0 % of the time)"));
    free(text);
    text = lines_explanation(&r);
    assert_non_null(strstr(text, "Ran on the host instead: 300 experts (30.0 %"));
    assert_non_null(strstr(text, "There are no bounds on bytes and time."));
    assert_null(strstr(text, "perfect look-ahead (bound)"));
    assert_non_null(strstr(text, "  experts\n")); /* layer by layer */
    assert_non_null(strstr(text, " in place\n"));
    free(text);
}

static void the_worst_layers_come_first(void **state)
{
    struct made_shape shape = {.policies = 1, .layers = 24, .requests = 5, .seed = 2};
    struct result r = made_result(&shape);
    struct run_layer *worst = &r.policy[0].run.layer[19];
    char *text, *first, *second;
    double per_pass = 0;

    (void)state;
    worst->share[SHARE_COPY] = 3 * SIM_TIME_PER_S; /* of 300 passes */
    r.policy[0].run.layer[6].share[SHARE_COPY] = 2 * SIM_TIME_PER_S;
    text = lines_explanation(&r);
    first = strstr(text, "\n    20               "); /* decoder layers count on by 1 */
    second = strstr(text, "\n    7                ");
    assert_non_null(first);
    assert_non_null(second);
    assert_true(first < second);
    assert_int_equal(sscanf(first, " 20 %lf ms", &per_pass), 1);
    NEAR(per_pass, 10.0);
    assert_non_null(strstr(text, "\n    16 others "));
    assert_non_null(strstr(text, "Thresholds: "));
    assert_non_null(strstr(text, "Verdict: policy failure"));
    free(text);
    result_release(&r);
}

static void long_names_and_wild_numbers_fit(void **state)
{
    struct made_shape shape = {.policies = 3, .layers = 12, .requests = 5, .seed = 2};
    struct result r = made_result(&shape);
    struct result_policy *p = &r.policy[1];
    char *text;

    (void)state;
    free(p->label);
    p->label = mem_format("%0400d\xc3\xbc\xff\x1b[31m", 7);
    free(p->description[SLOT_CACHE]);
    p->description[SLOT_CACHE] = mem_format("%0400d", 7);
    memset(&p->run.total, 0xee, sizeof p->run.total);
    memset(p->run.layer, 0xee, 12 * sizeof *p->run.layer);
    memset(&r.policy[2].run.total, 0x7f, sizeof p->run.total);
    memset(r.policy[2].run.layer, 0x7f, 12 * sizeof *p->run.layer);
    memset(&r.policy[2].bounds, 0x01, sizeof p->bounds);
    text = lines_explanation(&r);
    assert_null(strchr(text, '\x1b'));
    assert_null(made_too_wide(text));
    free(text);
    result_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_policy_failure),
        cmocka_unit_test(a_working_set_failure),
        cmocka_unit_test(a_bandwidth_failure),
        cmocka_unit_test(no_failure),
        cmocka_unit_test(the_threshold),
        cmocka_unit_test(faster_than_belady),
        cmocka_unit_test(belady_is_estimated),
        cmocka_unit_test(without_bounds),
        cmocka_unit_test(experts_on_the_host),
        cmocka_unit_test(the_worst_layers_come_first),
        cmocka_unit_test(long_names_and_wild_numbers_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

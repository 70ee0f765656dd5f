/* Experiments whose selects change what rows execute: that one that changes nothing is
 * the run without it, on one GPU and on several; that GPUs, engines and schedules do not
 * matter to what is chosen; what is said of it, and what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "run_world.h"
#include "select_lab.h"

#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

/* Each changes something here; MoE-ERAS where not all experts are resident. */
static const char *const batched[] = {
    "{name: lynx, drop: 0.5, phases: all}",
    "{name: lynx, drop: 0.7, form: accuracy, phases: all}",
    "{name: affinity-binning, alpha: 30, theta: 1, phases: all}",
    "{name: oea, k0: 1, k_max: 2, phases: all}",
    "{name: oea, k0: 1, max_p: 5, phases: all}",
    "{name: budget, experts: 5, phases: all}",
    "{name: budget, share: 0.5, sum: executed, warm_up: 1, phases: all}",
};
static const char *const alone[] = {
    "{name: top-k, k: 2, phases: all}",
    "{name: naee, beta: 0.9}",
};
static const char *const resident[] = {
    "{name: eras-threshold, alpha: 0.2}",
    "{name: eras-bias, beta: 1.5}",
};
static const char *const idle[] = {
    "{name: eras-threshold, alpha: 0}",
    "{name: eras-bias, beta: 0}",
    "{name: affinity-binning, theta: 0, phases: all}",
    "{name: budget, experts: 12, phases: all}",
    "{name: budget, share: 1, sum: executed, phases: all}",
    "{name: lynx, drop: 0, phases: all}",
    "{name: top-k, k: 3, phases: all}",
    "{name: oea, k0: 3, phases: all}",
    "{name: naee, beta: 1e-9}",
    "{name: lynx, drop: 0.9, phases: verify}", /* no drafts are here */
};
enum {
    BATCHED = sizeof batched / sizeof *batched,
    ALONE = sizeof alone / sizeof *alone,
    RESIDENT = sizeof resident / sizeof *resident,
    IDLE = sizeof idle / sizeof *idle,
    ALL = BATCHED + ALONE + RESIDENT
};

static const char *select_of(size_t i)
{
    if (i < BATCHED)
        return batched[i];
    return i < BATCHED + ALONE ? alone[i - BATCHED] : resident[i - BATCHED - ALONE];
}

static void refuse(const struct lab *l, int trace, const char *more, const char *policies,
                   const char *sentence)
{
    struct err e = {.text = ""};
    struct result r;
    int status = select_lab_try(l, trace, more, policies, &r, &e);

    if (status == 0)
        result_release(&r);
    if (status != -1 || strstr(e.text, sentence) == NULL)
        fail_msg("%s gives %d: '%s', not '%s'", policies, status, e.text, sentence);
}

/* ---- the same ---- */

/* What was chosen, layer by layer. */
static void chose_alike(const struct result *a, const struct result *b, const char *what)
{
    const struct run_result *x = first(a), *y = first(b);

    assert_int_equal(x->layers, y->layers);
    for (uint32_t i = 0; i < x->layers; i++) {
        if (memcmp(&x->layer[i].quality, &y->layer[i].quality,
                   sizeof x->layer[i].quality) != 0)
            fail_msg("%s: layer %u has another quality", what, i);
        assert_int_equal(x->layer[i].counts.activations, y->layer[i].counts.activations);
    }
    assert_memory_equal(&x->quality, &y->quality, sizeof x->quality);
}

/* What was done, and when. */
static void ran_alike(const struct result *a, const struct result *b, const char *what)
{
    const struct run_result *x = first(a), *y = first(b);

    if (x->digest != y->digest || x->elapsed != y->elapsed)
        fail_msg("%s: takes %lld and %lld ps", what, (long long)x->elapsed,
                 (long long)y->elapsed);
    run_counts_equal(&x->total.counts, &y->total.counts, true);
}

#define MANY_GPUS "parallel: {gpus: 4}\nworkload: {batch: 5}\n"

static void test_idle(void **state)
{
    static const char *const more[] = {
        "workload: {batch: 3}\n",
        "workload: {mode: continuous, max_sequences: 3, token_budget: 7}\n",
        "parallel: {gpus: 4}\nworkload: {batch: 5}\n",
        "engine: event\nparallel: {gpus: 4}\nworkload: {mode: continuous}\n",
        "launch: auto\nworkload: {batch: 3}\n"};
    static const char *const rest[] = {
        FEW_SLOTS, FEW_SLOTS, "cache: {name: lru, slots: 2}", "schedule: two-batch",
        "cache: {name: lru, slots: 12, preload: linear}"};
    const struct lab *l = *state;

    for (int trace = 0; trace < TRACES; trace++)
        for (size_t k = 0; trace != IDS && k < sizeof more / sizeof *more; k++) {
            struct result plain;

            if (trace == FEW && k % 2 == 0)
                continue;
            plain = run_select(l, trace, more[k], "none", rest[k]);

            assert_int_equal(first(&plain)->quality.rows, 0);
            for (size_t i = 0; i < IDLE; i++) {
                struct result r = run_select(l, trace, more[k], idle[i], rest[k]);
                const struct select_quality *q = &first(&r)->quality;

                ran_alike(&r, &plain, idle[i]);
                assert_int_equal(q->rows == 0, strstr(idle[i], "verify") != NULL);
                assert_int_equal(q->changed + q->fewer, 0);
                assert_int_equal(q->top1, q->rows);
                assert_int_equal(q->kept, q->mass);
                assert_int_equal(q->left, q->distinct);
                assert_false(r.policy[0].lossless);
                result_release(&r);
            }
            result_release(&plain);
        }
}

/* A group of one GPU is that GPU; engines agree; counts need no times. */
static void test_same_otherwise(void **state)
{
    static const char *const workload = "workload: {batch: 3}\n";
    const struct lab *l = *state;

    for (int trace = 0; trace < TRACES; trace++)
        for (size_t i = 0; trace != IDS && i < ALL; i++) {
            const char *select = select_of(i);
            const char *const added[] = {"engine: event\n", "parallel: {gpus: 1}\n",
                                         "engine: count\n", "engine: count\n"};
            struct result one, four;

            if (trace != WHOLE && (i % 2 == 0) == (trace == FEW)) /* half on each */
                continue;
            one = run_select(l, trace, workload, select, FEW_SLOTS);
            four =
                run_select(l, trace, MANY_GPUS, select, "cache: {name: lru, slots: 2}");
            if (first(&one)->quality.changed + first(&one)->quality.fewer == 0)
                fail_msg("%s changes nothing in %s", select, l->trace[trace]);
            for (int k = 0; k < 4; k++) {
                char *more = mem_format("%s%s", added[k], k == 3 ? MANY_GPUS : workload);
                struct result r =
                    run_select(l, trace, more, select,
                               k == 3 ? "cache: {name: lru, slots: 2}" : FEW_SLOTS);
                const struct result *like = k == 3 ? &four : &one;

                chose_alike(&r, like, select);
                if (k == 0)
                    ran_alike(&r, like, select);
                assert_int_equal(first(&r)->total.counts.hits,
                                 first(like)->total.counts.hits);
                assert_int_equal(first(&r)->total.counts.demand_bytes,
                                 first(like)->total.counts.demand_bytes);
                if (k == 1)
                    assert_int_equal(first(&r)->digest, first(like)->digest);
                result_release(&r);
                free(more);
            }
            result_release(&one);
            result_release(&four);
        }
}

/* However the rows of a batch lie on GPUs, all of them vote. */
static void test_all_rows_vote(void **state)
{
    static const char *const more[] = {
        "parallel: {gpus: 4}\nworkload: {batch: 5}\n",
        "parallel: {gpus: 2}\nworkload: {batch: 5}\n",
        "parallel: {gpus: 4, attention: tensor, tensor: 2}\nworkload: {batch: 5}\n"};
    static const char *const rest[] = {"schedule: overlapped",
                                       "schedule: pipelined",
                                       "cache: {name: lru, slots: 2}",
                                       "place: {name: random}",
                                       "place: {name: eplb, slots: 16, interval: 2}",
                                       "place: moeshard"};
    const struct lab *l = *state;

    for (int trace = 0; trace < TRACES; trace++)
        for (size_t i = 0; trace != IDS && i < BATCHED + ALONE; i++) {
            struct result plain =
                run_select(l, trace, "workload: {batch: 5}\n", select_of(i),
                           "cache: {name: lru, slots: 12}");

            for (size_t k = 0; k < sizeof more / sizeof *more; k++)
                for (size_t j = 0; j < sizeof rest / sizeof *rest; j++) {
                    struct result r;

                    if ((i + j + k + (size_t)trace) % 4 != 0) /* enough of them */
                        continue;
                    r = run_select(l, trace, more[k], select_of(i), rest[j]);
                    chose_alike(&r, &plain, select_of(i));
                    result_release(&r);
                }
            result_release(&plain);
        }
}

/* Two batches vote apart: each keeps three experts, of which all rows have three. What
 * looks at one row alone does not notice. */
static void test_batches_vote_apart(void **state)
{
    static const char *const more = "parallel: {gpus: 4}\nworkload: {batch: 6}\n";
    static const char *const narrow = "{name: lynx, drop: 1, phases: all}";
    const struct lab *l = *state;
    struct result whole = run_select(l, WHOLE, more, narrow, "schedule: overlapped");
    struct result halves = run_select(l, WHOLE, more, narrow, "schedule: two-batch");
    const struct select_quality *w = &first(&whole)->quality,
                                *h = &first(&halves)->quality;

    assert_int_equal(w->rows, LAYERS * ROWS * REQUESTS);
    assert_int_equal(h->rows, w->rows);
    assert_int_equal(h->choices, w->choices);
    assert_int_equal(w->fewer + h->fewer, 0);
    assert_int_equal(w->left, LAYERS * TOP * first(&whole)->passes);
    assert_int_equal(h->left, LAYERS * TOP * 2 * first(&whole)->passes);
    assert_true(h->kept > w->kept);
    for (size_t i = 0; i < ALONE; i++) {
        struct result a = run_select(l, UNEVEN, more, alone[i], "schedule: overlapped");
        struct result b = run_select(l, UNEVEN, more, alone[i], "schedule: two-batch");
        struct select_quality *q = &b.policy[0].run.quality;

        assert_true(q->distinct >= first(&a)->quality.distinct);
        q->distinct = first(&a)->quality.distinct;
        q->left = first(&a)->quality.left;
        assert_memory_equal(q, &first(&a)->quality, sizeof *q);
        result_release(&a);
        result_release(&b);
    }
    result_release(&whole);
    result_release(&halves);
}

/* ---- bounds and oracles ---- */

static void test_bounds(void **state)
{
    static const char *const told =
        "what is executed depends on what is resident (eras, "
        "more): bounds on hits and bytes are those of its own "
        "accesses, and there are none on time";
    static const char *const policies =
        "{name: eras, select: eras-threshold, cache: {name: lru, slots: 4}}, "
        "{name: lynx, select: {name: lynx, drop: 0.5}, cache: {name: lru, slots: 4}}, "
        "{name: plain, cache: {name: lru, slots: 4}}, "
        "{name: more, select: eras-bias, cache: {name: lru, slots: 4}}";
    const struct lab *l = *state;
    struct result r = select_lab_run(l, WHOLE, "workload: {batch: 3}", policies);

    for (uint32_t i = 0; i < 4; i++) {
        const struct result_policy *p = &r.policy[i];
        const struct run_counts *n = &p->run.total.counts;
        const struct result_bounds *b = &p->bounds;

        assert_true(b->present);
        assert_true(n->hits <= b->belady_hits && b->belady_hits < n->accesses);
        assert_true(n->demand_bytes >= b->belady_bytes && b->belady_bytes > 0);
        assert_int_equal(b->compute > 0, i == 1 || i == 2);
        assert_int_equal(b->offline > 0, i == 1 || i == 2);
        assert_int_equal(b->belady_time > 0, i == 1 || i == 2);
        assert_true(p->run.total.latency >= b->offline);
    }
    assert_non_null(strstr(r.notes, told));
    assert_non_null(strstr(r.notes, "lossy: eras, lynx, more;"));
    assert_null(strstr(r.notes, "candidates of"));
    result_release(&r);
    r = select_lab_run(
        l, WHOLE, "parallel: {gpus: 4}\nworkload: {batch: 4}",
        "{name: eras, select: eras-threshold, cache: {name: lru, slots: 2}}, "
        "{name: lynx, select: {name: lynx, drop: 0.5}}");
    assert_false(r.policy[0].bounds.present);
    assert_true(r.policy[1].bounds.present);
    assert_true(r.policy[1].run.total.latency >= r.policy[1].bounds.balanced);
    result_release(&r);
    /* Of passes that depend on time, too. */
    r = select_lab_run(
        l, WHOLE, "workload: {mode: continuous, arrivals: poisson, rate: 50}",
        "{name: eras, select: eras-threshold, cache: {name: lru, slots: 4}}");
    assert_true(r.policy[0].bounds.belady_hits >= r.policy[0].run.total.counts.hits);
    result_release(&r);
}

/* Nobody knows beforehand what residency will decide; what a batch votes for is known. */
static void test_oracles(void **state)
{
    static const char *const selects[] = {"eras-threshold", "{name: eras-bias, beta: 0}"};
    static const char *const oracles[] = {
        "cache: {name: belady, slots: 4}", "cache: {name: belady-bypass, slots: 4}",
        "cache: {name: lru, slots: 4}, prefetch: {name: oracle, distance: 2}"};
    static const char *const lookers[] = {"belady", "belady-bypass"};
    const struct lab *l = *state;

    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < 3; k++) {
            char *policy =
                mem_format("{name: p, select: %s, %s}", selects[i], oracles[k]);

            refuse(l, WHOLE, "workload: {batch: 3}", policy,
                   "policy 'p' is an oracle, but what select: eras-");
            free(policy);
        }
    for (size_t i = 0; i < BATCHED + ALONE; i++) {
        char *policies = mem_format(
            "{name: lru, select: %s, cache: {name: lru, slots: 4, protect: none}},"
            "{name: best, select: %s, cache: {name: belady-bypass, slots: 4, protect: "
            "none}},"
            "{name: belady, select: %s, cache: {name: belady, slots: 4}},"
            "{name: early, select: %s, cache: {name: lru, slots: 6}, prefetch: {name: "
            "oracle, distance: 2, width: 3}}",
            select_of(i), select_of(i), select_of(i), select_of(i));
        struct result r = select_lab_run(l, UNEVEN, "workload: {batch: 2}", policies);

        for (uint32_t k = 0; k < 4; k++)
            assert_memory_equal(&r.policy[k].run.quality, &r.policy[0].run.quality,
                                sizeof r.policy[k].run.quality);
        assert_int_equal(r.policy[1].run.total.counts.hits,
                         r.policy[0].bounds.belady_hits);
        assert_true(r.policy[2].run.total.counts.hits >=
                    r.policy[0].run.total.counts.hits);
        assert_int_equal(r.policy[3].run.total.counts.wasted_bytes, 0);
        result_release(&r);
        free(policies);
    }
    for (size_t k = 0; k < 2; k++) {
        char *policy = mem_format("{name: p, select: {name: lynx, drop: 0.6}, cache: "
                                  "{name: %s, slots: 2}}",
                                  lookers[k]);
        struct result r = select_lab_run(l, WHOLE, MANY_GPUS, policy);

        assert_true(r.policy[0].run.total.counts.hits > 0);
        result_release(&r);
        free(policy);
    }
}

/* ---- beside other slots, and traces ---- */

/* A choice is executed, dropped by the gate, or left out by the select. */
static void test_gates(void **state)
{
    static const char *const gate =
        "gate: {name: capacity-factor, cf: 0.6}, cache: {name: lru, slots: 3}";
    const struct lab *l = *state;

    for (size_t i = 0; i < ALL; i++) {
        struct result plain =
            run_select(l, UNEVEN, "workload: {batch: 4}", "none", FEW_SLOTS);
        struct result both =
            run_select(l, UNEVEN, "workload: {batch: 4}", select_of(i), gate);
        struct result four = run_select(l, UNEVEN, MANY_GPUS, select_of(i), gate);
        uint64_t named = first(&plain)->total.counts.activations;

        for (int k = 0; k < 2; k++) {
            const struct run_result *x = first(k == 0 ? &both : &four);

            assert_true(x->total.counts.dropped > 0);
            assert_int_equal(x->total.counts.activations + x->total.counts.dropped +
                                 x->quality.fewer,
                             named);
        }
        result_release(&plain);
        result_release(&both);
        result_release(&four);
    }
}

static void test_traces(void **state)
{
    const struct lab *l = *state;
    struct result r;

    for (size_t i = 0; i < ALL; i++) {
        char *policy = mem_format("{name: p, select: %s, cache: {name: lru, slots: 4}}",
                                  select_of(i));

        refuse(l, IDS, "workload: {batch: 2}", policy,
               "policy 'p' needs /routing/score, which ");
        r = select_lab_run(l, FEW, "workload: {batch: 2}", policy);
        assert_non_null(strstr(r.notes, "p chooses among the 5 candidates of 12 experts "
                                        "whose scores were recorded"));
        result_release(&r);
        free(policy);
    }
    r = select_lab_run(l, FEW, "workload: {batch: 2}",
                       "{name: p, cache: {name: lru, slots: 4}}");
    assert_null(strstr(r.notes, "candidates of"));
    result_release(&r);
    r = select_lab_run(
        l, IDS, "workload: {batch: 2}",
        "{name: p, select: {name: none, phases: all}, cache: {name: lru, slots: 4}}");
    assert_non_null(strstr(r.notes, "phases"));
    result_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idle),          cmocka_unit_test(test_same_otherwise),
        cmocka_unit_test(test_all_rows_vote), cmocka_unit_test(test_batches_vote_apart),
        cmocka_unit_test(test_bounds),        cmocka_unit_test(test_oracles),
        cmocka_unit_test(test_gates),         cmocka_unit_test(test_traces),
    };

    return cmocka_run_group_tests(tests, select_lab_set_up, select_lab_tear_down);
}

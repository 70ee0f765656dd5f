/* What a run's selects choose: row by row from the trace, in which passes, and by what is
 * resident. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "naive_select.h"
#include "select_lab.h"

#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { DECODED = REQUESTS * (ROWS - PREFILL) };

/* ---- row by row ---- */

/* Adds what a rule does in a layer to the rows `at` of requests [first, first + count).
 */
static void add_step(const struct trace_make *m, const struct naive_params *p,
                     uint32_t layer, uint32_t first_request, uint32_t count, uint32_t at,
                     struct select_quality *q, double mass[2])
{
    static const enum view_score kinds[] = {[TRACE_SCORE_SOFTMAX] = VIEW_SOFTMAX,
                                            [TRACE_SCORE_SIGMOID] = VIEW_SIGMOID,
                                            [TRACE_SCORE_LOGIT] = VIEW_LOGIT};
    struct naive_batch b = {.shape = {.experts = EXPERTS,
                                      .top_k = TOP,
                                      .width = m->candidates,
                                      .kind = kinds[m->score_kind],
                                      .sorted = true},
                            .rows = count};
    struct naive_picks picks;

    for (uint32_t i = 0; i < count; i++) {
        uint16_t id[LAYERS * EXPERTS];
        float score[LAYERS * EXPERTS];
        struct trace_token token;
        size_t cell = (size_t)layer * m->candidates;

        trace_make_row(m, (uint64_t)(first_request + i) * ROWS + at, &token, id, score,
                       NULL);
        naive_put_row(&b, i, id + cell, score + cell);
    }
    naive_select(&b, p, &picks);
    naive_measure(&b, &picks, q, mass);
}

static void is_near(uint64_t fixed, double mass)
{
    double is = (double)fixed / (double)SELECT_MASS_ONE;

    assert_true(is > mass - 1e-6 && is < mass + 1e-6);
}

/* Batches of three requests, whose decode rows run together, one by one: what the rule
 * gives for each of them and layer, counted once more from the trace. */
static void test_row_by_row(void **state)
{
    static const char *const more[] = {"workload: {batch: 3}\n",
                                       "parallel: {gpus: 2}\nworkload: {batch: 3}\n"};
    const struct lab *l = *state;

    for (uint64_t i = 0; i < 4 * NAIVE_RULES; i++) {
        int trace = (const int[]){WHOLE, FEW, UNEVEN}[i % 3];
        struct rng r = rng_stream(15, "row by row", i);
        struct naive_params p;
        struct result result;
        char *text, *select;
        enum naive_rule rule = (enum naive_rule)(i % NAIVE_RULES);

        if (rule == NAIVE_ERAS_THRESHOLD || rule == NAIVE_ERAS_BIAS)
            continue; /* by what is resident */
        naive_draw_params(&r, rule, &p);
        text = naive_text(&p);
        select = mem_format("%.*s, phases: decode}", (int)strlen(text) - 11, text + 9);
        result = run_select(l, trace, more[i / NAIVE_RULES % 2], select, FEW_SLOTS);
        for (uint32_t layer = 0; layer < LAYERS; layer++) {
            struct select_quality q = {.rows = 0},
                                  is = first(&result)->layer[layer].quality;
            double mass[2] = {0, 0};

            for (uint32_t request = 0; request < REQUESTS; request += 3)
                for (uint32_t at = PREFILL; at < ROWS; at++)
                    add_step(&l->made[trace], &p, layer, request, 3, at, &q, mass);
            is_near(is.mass, mass[0]);
            is_near(is.kept, mass[1]);
            q.mass = is.mass;
            q.kept = is.kept;
            assert_memory_equal(&is, &q, sizeof q);
        }
        result_release(&result);
        free(select);
        free(text);
    }
}

/* ---- which passes ---- */

static uint64_t rows_of(const struct lab *l, const char *workload, const char *select)
{
    struct result r = run_select(l, WHOLE, workload, select, FEW_SLOTS);
    uint64_t rows = first(&r)->quality.rows;

    assert_int_equal(rows % LAYERS, 0);
    result_release(&r);
    return rows / LAYERS;
}

/* Batches of one whole request after another hold prefill or decode rows; budgets of six
 * tokens, filled by prompts of six, mostly both. */
static void test_passes(void **state)
{
    static const char *const apart = "workload: {batch: 2}\n";
    static const char *const mixed =
        "workload: {mode: continuous, max_sequences: 3, token_budget: 6}\n";
    const struct lab *l = *state;
    uint64_t of_decode;

    assert_int_equal(rows_of(l, apart, "{name: lynx}"), DECODED);
    assert_int_equal(rows_of(l, apart, "{name: lynx, phases: decode}"), DECODED);
    assert_int_equal(rows_of(l, apart, "{name: lynx, phases: all}"), REQUESTS * ROWS);
    assert_int_equal(rows_of(l, apart, "{name: lynx, phases: verify}"), 0);
    assert_int_equal(rows_of(l, apart, "{name: naee}"), REQUESTS * ROWS);
    assert_int_equal(rows_of(l, apart, "{name: eras-bias}"), REQUESTS * ROWS);
    assert_int_equal(rows_of(l, apart, "{name: eras-threshold, phases: decode}"),
                     DECODED);
    of_decode = rows_of(l, mixed, "{name: lynx}");
    assert_true(of_decode > 0 && of_decode < DECODED);
    assert_int_equal(rows_of(l, mixed, "{name: naee}"), REQUESTS * ROWS);
}

/* ---- MoE-ERAS ---- */

static struct run_counts counts_of(const struct lab *l, const char *select,
                                   const char *more, const char *rest)
{
    struct result r = run_select(l, WHOLE, more, select, rest);
    struct run_counts counts = first(&r)->total.counts;

    result_release(&r);
    return counts;
}

/* The more a resident expert has ahead, the fewer are missed; none at all where it has
 * more than any other has. */
static void test_residency(void **state)
{
    static const char *const more[] = {"workload: {batch: 1}\n",
                                       "parallel: {gpus: 2}\nworkload: {batch: 1}\n"};
    static const char *const rest[] = {
        "cache: {name: lru, slots: 4, preload: linear}",
        "place: linear, cache: {name: lru, slots: 2, preload: linear}"};
    static const char *const value[] = {"0", "0.05", "0.15", "0.4", "1e9"};
    const struct lab *l = *state;

    for (size_t k = 0; k < 2; k++)
        for (size_t j = 0; j < 2; j++) {
            uint64_t before = UINT64_MAX;

            for (size_t i = 0; i < sizeof value / sizeof *value; i++) {
                char *select =
                    j == 0 ? mem_format("{name: eras-threshold, alpha: %s}", value[i])
                           : mem_format("{name: eras-bias, beta: %s}", value[i]);
                struct run_counts n = counts_of(l, select, more[k], rest[k]);
                uint64_t missed = n.accesses - n.hits;

                if (missed >= before)
                    fail_msg("%s misses %llu, not less than %llu", select,
                             (unsigned long long)missed, (unsigned long long)before);
                before = missed;
                free(select);
            }
            assert_int_equal(before, 0);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_row_by_row),
        cmocka_unit_test(test_passes),
        cmocka_unit_test(test_residency),
    };

    return cmocka_run_group_tests(tests, select_lab_set_up, select_lab_tear_down);
}

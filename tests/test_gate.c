/* The gate slot, and what the passive plug-ins declare. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/base/mem.h"
#include "sim/base/rng.h"
#include "sim/policy/slots.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct gate_type *gate(const char *name)
{
    const struct plugin *p = registry_find(SLOT_GATE, name);

    assert_non_null(p);
    return (const struct gate_type *)p;
}

/* Binds `text`, a mapping of the plug-in's options, into a fresh struct. */
static void *bind(const struct plugin *plugin, const char *text)
{
    struct err e = {.text = ""};
    struct cfg *c = cfg_parse("test", text, strlen(text), &e);
    void *params = mem_zalloc(1, plugin->params_size);

    assert_non_null(c);
    assert_int_equal(cfg_bind(cfg_root(c), plugin->options, params, &e), 0);
    cfg_free(c);
    return params;
}

static struct gate_result apply(const char *name, const char *options,
                                const struct view *v, uint16_t *choice)
{
    const struct gate_type *g = gate(name);
    void *params = bind(&g->plugin, options);
    uint32_t *scratch = mem_alloc(v->experts, sizeof *scratch);
    struct gate_result result;

    memset(scratch, 0xa5, v->experts * sizeof *scratch);
    result = g->apply(params, v, choice, scratch);
    free(scratch);
    free(params);
    return result;
}

/* k distinct experts per row, some of them not recorded, skewed towards low ids. */
static uint16_t *random_choices(struct rng *r, const struct view *v)
{
    uint16_t *choice = mem_alloc((size_t)v->rows * v->top_k, sizeof *choice);

    for (uint32_t row = 0; row < v->rows; row++) {
        for (uint32_t j = 0; j < v->top_k; j++) {
            uint16_t *c = &choice[row * v->top_k + j];
            bool again;

            do {
                *c = (uint16_t)rng_below(r, 1 + rng_below(r, v->experts));
                again = false;
                for (uint32_t i = 0; i < j; i++)
                    again = again || choice[row * v->top_k + i] == *c;
            } while (again && rng_below(r, 16) != 0);
            if (again || rng_below(r, 20) == 0)
                *c = VIEW_NO_EXPERT;
        }
    }
    return choice;
}

/* The slot of choice (row, rank) straight from the sheet: the running count among its
 * rank, plus the totals of the lower ranks. */
static uint32_t slot_of(const struct view *v, const uint16_t *choice, uint32_t row,
                        uint32_t rank)
{
    uint16_t expert = choice[row * v->top_k + rank];
    uint32_t slot = 0;

    for (uint32_t j = 0; j < rank; j++) {
        for (uint32_t r = 0; r < v->rows; r++)
            slot += choice[r * v->top_k + j] == expert;
    }
    for (uint32_t r = 0; r < row; r++)
        slot += choice[r * v->top_k + rank] == expert;
    return slot;
}

static void check_against_brute_force(const struct view *v, const uint16_t *before,
                                      const uint16_t *after, struct gate_result result)
{
    uint64_t dropped = 0;

    for (uint32_t row = 0; row < v->rows; row++) {
        for (uint32_t j = 0; j < v->top_k; j++) {
            size_t i = row * v->top_k + j;

            if (before[i] != VIEW_NO_EXPERT &&
                slot_of(v, before, row, j) >= result.capacity) {
                assert_int_equal(after[i], VIEW_NO_EXPERT);
                dropped++;
            } else {
                assert_int_equal(after[i], before[i]);
            }
        }
    }
    assert_int_equal(result.dropped, dropped);
}

static void slot_rule_by_brute_force(void **unused)
{
    struct rng r = rng_stream(7, "gate", 0);
    uint64_t dropped = 0;

    (void)unused;
    for (int round = 0; round < 200; round++) {
        struct view v = {.experts = 1 + (uint32_t)rng_below(&r, 12),
                         .rows = 1 + (uint32_t)rng_below(&r, 60),
                         .top_k = 1 + (uint32_t)rng_below(&r, 4)};
        double cf = 0.01 + 0.99 * rng_unit(&r);
        uint16_t *before = random_choices(&r, &v);
        uint16_t *after = mem_alloc((size_t)v.rows * v.top_k, sizeof *after);
        struct gate_result result;
        char *text = mem_format("{cf: %.17g}", cf);

        memcpy(after, before, (size_t)v.rows * v.top_k * sizeof *after);
        result = apply("capacity-fraction", text, &v, after);
        assert_int_equal(result.capacity, (uint32_t)ceil(cf * v.rows));
        check_against_brute_force(&v, before, after, result);
        dropped += result.dropped;

        memcpy(after, before, (size_t)v.rows * v.top_k * sizeof *after);
        free(text);
        text = mem_format("{cf: %.17g, min_capacity: 2}", cf);
        result = apply("capacity-factor", text, &v, after);
        assert_int_equal(result.capacity,
                         (uint32_t)fmax(2, ceil(cf * v.rows * v.top_k / v.experts)));
        check_against_brute_force(&v, before, after, result);
        dropped += result.dropped;
        free(text);
        free(before);
        free(after);
    }
    assert_true(dropped > 1000); /* The rule was at work. */
}

/* Three tokens and two slots per expert. */
static void known_answer(void **unused)
{
    struct view v = {.experts = 4, .rows = 3, .top_k = 2};
    /* Row 2's top-1 is expert 1, so expert 1's top-2 choices begin at slot 1. */
    uint16_t choice[] = {0, 1, 0, 1, 1, 3};
    struct gate_result result;

    (void)unused;
    /* C = ceil(0.34 * 3) = 2. Slots: (0,0) 0, (1,0) 1, (2,0) 0; (0,1) 1, (1,1) 2, (2,1)
     * 0. Only row 1's second choice is beyond. */
    result = apply("capacity-fraction", "{cf: 0.34}", &v, choice);
    assert_int_equal(result.capacity, 2);
    assert_int_equal(result.dropped, 1);
    assert_int_equal(choice[3], VIEW_NO_EXPERT);
    assert_int_equal(choice[1], 1);
}

/* With C = 1 expert 0's only slot goes to the first top-1 choice of it, in row 1: row 2
 * loses its own, and row 0, though an earlier row, its top-2 choice. */
static void lower_ranks_come_first(void **unused)
{
    struct view v = {.experts = 8, .rows = 4, .top_k = 2};
    uint16_t choice[] = {5, 0, 0, 2, 0, 3, 4, 1};
    struct gate_result result;

    (void)unused;
    result = apply("capacity-fraction", "{cf: 0.25}", &v, choice);
    assert_int_equal(result.capacity, 1);
    assert_int_equal(result.dropped, 2);
    assert_int_equal(choice[1], VIEW_NO_EXPERT);
    assert_int_equal(choice[2], 0);
    assert_int_equal(choice[4], VIEW_NO_EXPERT);
}

/* Rows computed over rows wanted, E C / (S k): 512 * 0.05 / 2 = 12.8 for Huang's language
 * model and 128 / 2 = 64 for translation, wherever cf * S is whole. */
static double waste(uint32_t experts, const char *options, uint32_t rows)
{
    struct view v = {.experts = experts, .rows = rows, .top_k = 2};
    uint16_t *choice = mem_alloc((size_t)rows * 2, sizeof *choice);
    struct gate_result result;

    for (uint32_t i = 0; i < rows * 2; i++)
        choice[i] = (uint16_t)(i % experts);
    result = apply("capacity-fraction", options, &v, choice);
    free(choice);
    return (double)experts * result.capacity / (rows * 2.0);
}

static void waste_factors(void **unused)
{
    (void)unused;
    assert_true(fabs(waste(512, "{cf: 0.05}", 8 * 20) - 12.8) < 1e-12);
    assert_true(fabs(waste(512, "{cf: 0.05}", 8 * 1000) - 12.8) < 1e-12);
    assert_true(fabs(waste(128, "{cf: 1}", 48) - 64.0) < 1e-12);
    assert_true(fabs(waste(128, "{cf: 1}", 48 * 7) - 64.0) < 1e-12);
}

/* At cf = 1 of the fraction an expert has room for every row: nothing is dropped. At cf =
 * 1 of the factor, even routing fits exactly and min_capacity rules small steps. */
static void limits(void **unused)
{
    struct view v = {.experts = 4, .rows = 10, .top_k = 2};
    uint16_t choice[20];
    struct gate_result result;

    (void)unused;
    for (uint32_t i = 0; i < 20; i++)
        choice[i] = (uint16_t)(i % 2);
    assert_int_equal(apply("capacity-fraction", "{cf: 1}", &v, choice).dropped, 0);
    for (uint32_t i = 0; i < 20; i++)
        choice[i] = (uint16_t)(i % 4);
    result = apply("capacity-factor", "{cf: 1, min_capacity: 0}", &v, choice);
    assert_int_equal(result.capacity, 5);
    assert_int_equal(result.dropped, 0);
    v.rows = 1;
    assert_int_equal(apply("capacity-factor", "{cf: 1}", &v, choice).capacity, 4);
}

/* Lossless is what drops nothing; the passive plug-ins cost nothing per step. */
static void declarations(void **unused)
{
    (void)unused;
    assert_null(gate("dropless")->apply);
    assert_true(gate("dropless")->plugin.lossless);
    assert_false(gate("capacity-fraction")->plugin.lossless);
    assert_false(gate("capacity-factor")->plugin.lossless);
    assert_null(((const struct select_type *)registry_find(SLOT_SELECT, "none"))->apply);
    assert_null(
        ((const struct offload_type *)registry_find(SLOT_OFFLOAD, "fetch"))->decide);
}

static void schedules(void **unused)
{
    const struct plugin *serial = registry_find(SLOT_SCHEDULE, "serial");
    const struct plugin *overlapped = registry_find(SLOT_SCHEDULE, "overlapped");

    (void)unused;
    assert_true(((const struct schedule_type *)serial)->copies_wait);
    assert_false(((const struct schedule_type *)serial)->split);
    assert_false(((const struct schedule_type *)overlapped)->copies_wait);
    assert_true(((const struct schedule_type *)overlapped)->split);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slot_rule_by_brute_force),
        cmocka_unit_test(known_answer),
        cmocka_unit_test(lower_ranks_come_first),
        cmocka_unit_test(waste_factors),
        cmocka_unit_test(limits),
        cmocka_unit_test(declarations),
        cmocka_unit_test(schedules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* GPU memory in use, pass by pass and GPU by GPU, against sums by hand. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "crew_lab.h"
#include "run_world.h"

#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

static uint64_t values(double count, const struct model *m)
{
    return (uint64_t)(count * m->activation_bits / 8);
}

/* What so many rows that experts run on take of one GPU's layer: their weights, the rows
 * twice and what is between. */
static uint64_t computing(const struct model *m, uint32_t own_choices, uint64_t rows)
{
    return values(own_choices, m) + 2 * values((double)rows * m->hidden, m) +
           values((double)rows * m->matrices * m->expert_ffn, m);
}

/* One request, a row a pass: the KV cache grows by a token, all else stays. */
static void the_cache_grows_row_by_row(void **state)
{
    struct run_world *w = run_world_spelled(2, 4, 2, "01|23 02|13 01|12 23|03");
    struct run_case c = {.policy = "{cache: {name: lru, slots: 2, staging: 3}}",
                         .keep_passes = true};
    const struct model *m = &w->model;
    struct run_result r;
    struct run_pass pass[4];
    uint64_t token = run_kv_bytes(m, 1), last;

    (void)state;
    run_world_run(w, &c, &r);
    assert_int_equal(r.passes, 4);
    rewind(r.pass_spool);
    assert_int_equal(fread(pass, sizeof *pass, 4, r.pass_spool), 4);
    for (uint32_t i = 0; i < 4; i++) {
        const struct run_memory *x = &pass[i].memory;

        assert_int_equal(x->weights, model_dense_bytes(m) + 2 * 2 * WORLD_BYTES);
        assert_int_equal(x->buffers, 3 * WORLD_BYTES);
        assert_int_equal(x->kv, (i + 1) * token);
        assert_int_equal(x->activations, computing(m, 2, 2));
    }
    last = pass[3].memory.weights + pass[3].memory.buffers + pass[3].memory.kv +
           pass[3].memory.activations;
    assert_int_equal(run_memory_bytes(&r.total.memory), last);
    assert_null(r.gpu_peak);
    run_result_release(&r);
    run_world_free(w);
}

/* The layer with most rows counts; dropped choices run nowhere. */
static void the_largest_layer_counts(void **state)
{
    struct run_world *w = run_world_spelled(3, 8, 4, "0|0123|01");
    struct run_case c = {.policy = "{cache: {name: lru, slots: 8, preload: linear}}",
                         .running_ahead = true};
    struct run_result r;

    (void)state;
    run_world_run(w, &c, &r);
    assert_int_equal(r.total.memory.activations, computing(&w->model, 4, 4));
    assert_int_equal(r.total.memory.weights,
                     model_dense_bytes(&w->model) + 3 * 8 * WORLD_BYTES);
    run_result_release(&r);
    run_world_free(w);
}

/* A gate that pads: every expert has its capacity, out and back through slots. */
static void padded_rows_take_room(void **state)
{
    struct run_world *w = run_world_spelled(1, 4, 2, "01 23");
    struct run_case c = {.policy = "{cache: {name: lru, slots: 4}, gate: {name: "
                                   "capacity-factor, cf: 1, min_capacity: 3}}"};
    const struct model *m = &w->model;
    struct run_result r;
    uint64_t rows = values(3 * 4 * m->hidden, m);
    uint64_t sent = values(2, m) + 3 * rows, inner = computing(m, 2, 3 * 4);

    (void)state;
    run_world_run(w, &c, &r);
    assert_int_equal(r.total.memory.activations, sent > inner ? sent : inner);
    run_result_release(&r);
    run_world_free(w);
}

/* All rows choose the last expert: its GPU has them all in its memory, the others only
 * what they send and get back; with a replica on each GPU none has more than its own. */
static void balancing_takes_the_spike_away(void **state)
{
    enum { GPUS = 4, ROWS = 256 };

    (void)state;
    for (int balanced = 0; balanced < 2; balanced++) {
        struct crew_case c = {.nodes = 1,
                              .gpus = GPUS,
                              .per_root = 1,
                              .nvlink = true,
                              .layers = 1,
                              .experts = 4,
                              .top_k = 1,
                              .candidates = 1,
                              .one_expert = true,
                              .hidden = 256,
                              .requests = ROWS / 4,
                              .rows = 4,
                              .prefill_rows = 4,
                              .seed = 3,
                              .workload = "{mode: static, batch: 64}",
                              .place = "linear",
                              .place_more = balanced ? ", spare: wrap" : "",
                              .slots = balanced ? 4 * GPUS : 4,
                              .replica = balanced ? "nearest" : NULL,
                              .window = 1,
                              .more = "bounds: no"};
        struct crew_lab *lab = crew_lab_new(&c, NULL);
        struct result r = crew_lab_result(lab, "fifo", 1);
        const struct run_result *run = &r.policy[0].run;
        struct model m = {
            .hidden = 256, .matrices = 3, .expert_ffn = 2880, .activation_bits = 16};
        uint64_t own = ROWS / GPUS, all = computing(&m, (uint32_t)own, ROWS);
        uint64_t sent = values((double)own, &m) + 2 * values((double)own * m.hidden, &m);

        assert_int_equal(run->total.memory.activations,
                         balanced ? computing(&m, (uint32_t)own, own) : all);
        assert_int_equal(run->gpu_peak[GPUS - 1], run_memory_bytes(&run->total.memory));
        for (uint32_t g = 0; g + 1 < GPUS; g++)
            assert_int_equal(run->gpu_peak[GPUS - 1] - run->gpu_peak[g],
                             balanced ? 0 : all - sent);
        result_release(&r);
        crew_lab_free(lab);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cache_grows_row_by_row),
        cmocka_unit_test(the_largest_layer_counts),
        cmocka_unit_test(padded_rows_take_room),
        cmocka_unit_test(balancing_takes_the_spike_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cost_help.h"

/* Experts one by one are the group's work in other kernels: of one expert both take the
 * same but for floors, of many the same products and moves, whatever binds them. */
static void test_experts_alone(void **state)
{
    static const uint32_t loads[][2] = {{1, 1}, {1, 7}, {1, 1601}, {5, 3}, {5, 1601}};
    struct machine k = ideal();
    struct model m = small();
    struct cost c = {&m, &k, false};

    (void)state;
    k.gpu.expert_gemm_efficiency = 0.59;
    k.gpu.memory_efficiency = 0.83;
    k.gpu.move_efficiency = 0.37;
    k.gpu.rows = (struct machine_rows){.exposed = 0.23, .fill = 17.3, .few = 1.9};
    for (size_t i = 0; i < sizeof loads / sizeof loads[0]; i++) {
        struct cost_experts x = experts(loads[i][0], loads[i][1], &k.gpu.tiles);

        for (uint64_t masked = 0; masked < 2000; masked += 1009) {
            sim_time alone = loads[i][0] * cost_expert_alone(&c, loads[i][1]);
            double activated = (double)masked * 3 * 416 * 2 / (0.37 * 1e11);

            x.masked_rows = masked;
            /* The group's activation passes over masked rows; one of its own does not. */
            assert_close(
                sim_time_seconds(alone + cost_expert_permute(&c, x.rows, masked)) +
                    activated,
                sim_time_seconds(cost_expert_group(&c, &x)), 1e-5);
        }
    }
    assert_int_equal(cost_expert_alone(&c, 0), 0);
}

/* 33 rows take a tile of 64, though 32 and 1 of two experts take 33: what bounds any
 * division of rows pads them to the smallest tile alone, here 33 and 34. */
static void test_alone_least(void **state)
{
    static const uint32_t first[] = {1, 2};
    struct machine k = ideal();
    struct model m = small();
    struct cost c = {&m, &k, false};

    (void)state;
    m.activation_bits = 1e-9; /* flops alone */
    for (size_t i = 0; i < 2; i++) {
        double weights = 3.0 * 352 * 416;
        sim_time whole, least;

        k.gpu.tiles = (struct machine_tiles){3, {first[i], 32, 64}};
        whole = cost_expert_alone(&c, 33);
        least = cost_expert_alone_least(&c, 33);
        assert_close(sim_time_seconds(whole), 2 * weights * 64 / 1e12, 1e-6);
        assert_close(sim_time_seconds(least), 2 * weights * (32 + first[i]) / 1e12, 1e-6);
        assert_true(cost_expert_alone(&c, 32) + cost_expert_alone(&c, 1) < whole);
        for (uint32_t rows = 1; rows < 200; rows++)
            for (uint32_t part = 1; part < rows; part++)
                assert_true(cost_expert_alone_least(&c, rows) <=
                            cost_expert_alone(&c, part) +
                                cost_expert_alone(&c, rows - part) + 2);
    }
    k.gpu.tiles = rows_16;
    assert_int_equal(cost_expert_alone_least(&c, 33), cost_expert_alone(&c, 33));
}

/* By hand: 23 rows with 3 choices among 24 experts of 5 slots. */
static struct cost_dispatch dispatch(bool dense)
{
    return (struct cost_dispatch){
        .rows = 23, .top_k = 3, .experts = 24, .capacity = 5, .dense = dense};
}

/* y[120][352] = mask[120][23] x[23][352], and back y[23][352] = w[23][120] x[120][352].
 */
static void test_dense_dispatch(void **state)
{
    struct machine k = ideal();
    struct model m = small();
    struct cost c = {&m, &k, false};
    struct cost_dispatch d = dispatch(true);
    double elements = 23.0 * 24 * 5;
    double flops = 2 * elements * 352;

    (void)state;
    k.gpu.gemm_efficiency = 0.5;
    k.gpu.expert_gemm_efficiency = 0.1; /* not of these products */
    k.gpu.bf16_flops = 1e9;
    k.gpu.hbm_bytes_per_s = 1e14;
    assert_close(sim_time_seconds(cost_encode(&c, &d)), flops / 0.5e9, 1e-3);
    assert_close(sim_time_seconds(cost_decode(&c, &d)), flops / 0.5e9, 1e-6);
    k.gpu.bf16_flops = 1e18;
    k.gpu.hbm_bytes_per_s = 1e9;
    /* 3 products written, read and summed, truth values of it, and values of those. */
    assert_close(
        sim_time_seconds(cost_encode(&c, &d)),
        (elements * (3 * 2 + 4 * 2 + 3 + 3) + 2 * (elements + 23 * 352 + 120 * 352)) /
            1e9,
        1e-6);
    assert_close(sim_time_seconds(cost_decode(&c, &d)),
                 2 * (elements + 23 * 352 + 120 * 352) / 1e9, 1e-6);
    /* Made in fp32, and rounded. */
    d.gate_bits = 32;
    assert_close(
        sim_time_seconds(cost_encode(&c, &d)),
        (elements * (3 * 4 + 4 * 4 + 5 + 3 + 6) + 2 * (elements + 23 * 352 + 120 * 352)) /
            1e9,
        1e-6);
    /* One choice has no sum. */
    d.gate_bits = 0;
    d.top_k = 1;
    assert_close(sim_time_seconds(cost_encode(&c, &d)),
                 (elements * (2 + 3 + 3) + 2 * (elements + 23 * 352 + 120 * 352)) / 1e9,
                 1e-6);
}

static void test_sparse_dispatch(void **state)
{
    struct machine k = ideal();
    struct model m = small();
    struct cost c = {&m, &k, false};
    struct cost_dispatch d = dispatch(false);

    (void)state;
    k.gpu.move_efficiency = 0.25;
    k.gpu.memory_efficiency = 0.1; /* not of moves */
    /* 120 slots are zeroed, 69 rows are read and written; then read, 23 sums written. */
    assert_close(sim_time_seconds(cost_encode(&c, &d)),
                 (120 + 2 * 69) * 352 * 2 / 0.25e11, 1e-6);
    assert_close(sim_time_seconds(cost_decode(&c, &d)), (69 + 23) * 352 * 2 / 0.25e11,
                 1e-6);
    d.dropped = 11;
    assert_close(sim_time_seconds(cost_encode(&c, &d)),
                 (120 + 2 * 58) * 352 * 2 / 0.25e11, 1e-6);
    assert_close(sim_time_seconds(cost_decode(&c, &d)), (58 + 23) * 352 * 2 / 0.25e11,
                 1e-6);
    /* Dynamic gating has no slots. */
    d.dropped = 0;
    d.capacity = 0;
    assert_close(sim_time_seconds(cost_encode(&c, &d)), 2 * 69 * 352 * 2 / 0.25e11, 1e-6);
    d.rows = 0;
    assert_int_equal(cost_encode(&c, &d), 0);
    assert_int_equal(cost_decode(&c, &d), 0);
}

/* Kernels of what many GPUs add: each takes its floor, and nothing else at infinite
 * rates. */
static void test_floors_of_dispatch(void **state)
{
    struct machine k = ideal();
    struct model m = small();
    struct cost c = {&m, &k, false};
    uint32_t counts[] = {3 + 1 + 3, 1 + 3, 3 + 1 + 1 + 3, 2, 1};
    struct cost_dispatch d[] = {dispatch(true), dispatch(true), dispatch(true),
                                dispatch(false), dispatch(false)};

    (void)state;
    d[1].top_k = 1;
    d[2].gate_bits = 32;
    d[4].capacity = 0;
    k.gpu.bf16_flops = k.gpu.hbm_bytes_per_s = 1e30;
    k.gpu.kernel_floor = 13;
    k.gpu.expert_floor = 1000; /* of groups alone */
    for (size_t i = 0; i < sizeof d / sizeof d[0]; i++) {
        assert_int_equal(cost_encode_kernels(&d[i]), counts[i]);
        assert_int_equal(cost_encode(&c, &d[i]), 13 * counts[i]);
        assert_int_equal(cost_decode(&c, &d[i]), 13 * cost_decode_kernels(&d[i]));
    }
    assert_int_equal(cost_expert_alone(&c, 5), 13 * cost_kernels(&c, COST_EXPERT_ALONE));
    assert_int_equal(cost_expert_permute(&c, 5, 0),
                     13 * cost_kernels(&c, COST_EXPERT_PERMUTE));
    assert_int_equal(cost_kernels(&c, COST_EXPERT_ALONE) +
                         cost_kernels(&c, COST_EXPERT_PERMUTE),
                     cost_kernels(&c, COST_EXPERTS));
}

/* Huang et al.: the products of static gating take E C / k times the flops that moving
 * its rows takes in bytes, so that they grow with the square of S; the moves with S. */
static void test_dispatch_growth(void **state)
{
    struct machine k = ideal();
    struct model m = small();
    struct cost c = {&m, &k, false};
    struct cost_dispatch d = dispatch(true);
    sim_time dense[2], packed[2];

    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        d.rows = 4096U << i;
        d.capacity = d.rows / 4;
        d.dense = true;
        dense[i] = cost_encode(&c, &d);
        d.capacity = 0;
        d.dense = false;
        packed[i] = cost_encode(&c, &d);
    }
    assert_close((double)dense[1] / (double)dense[0], 4, 1e-3);
    assert_close((double)packed[1] / (double)packed[0], 2, 1e-6);
    assert_true(dense[0] > 100 * packed[0]);
}

/* Of one of four GPUs: a quarter of every product, of the cache and of the head; and the
 * norms whole, 5 moves of a row. */
static void test_slice_cost(void **state)
{
    struct machine k = ideal();
    struct model m = small();
    struct model part, expert_part;
    struct cost whole = {&m, &k, false}, sliced = {&part, &k, false};
    struct cost_batch p = prefill(300000, 128);
    struct cost_experts x = experts(5, 1601, &rows_16);
    struct err e = {.text = ""};
    sim_time norms = sim_time_of_seconds(5.0 * 300000 * 352 * 2 / 1e11);

    (void)state;
    m.vocab = 1008;
    k.gpu.bf16_flops = 1e11; /* computing takes longer than reading throughout */
    assert_int_equal(model_slice(&m, 4, &part, &e), 0);
    assert_close((double)(cost_dense(&sliced, 3, &p) - norms),
                 (double)(cost_dense(&whole, 3, &p) - norms) / 4, 1e-9);
    assert_close((double)(cost_dense(&sliced, 1, &p) - norms),
                 (double)(cost_dense(&whole, 1, &p) - norms) / 4, 1e-9);
    assert_int_equal(cost_gate(&sliced, 3000), cost_gate(&whole, 3000));
    assert_int_equal(cost_expert_group(&sliced, &x), cost_expert_group(&whole, &x));
    assert_int_equal(model_slice_experts(&m, 4, &expert_part, &e), 0);
    sliced.model = &expert_part;
    assert_int_equal(cost_dense(&sliced, 3, &p), cost_dense(&whole, 3, &p));
    /* MoEShard: 2 x 3 h f/G flops a row on each GPU, whatever the experts. */
    k.gpu.hbm_bytes_per_s = 1e30;
    assert_close((double)cost_expert_group(&sliced, &x),
                 (double)cost_expert_group(&whole, &x) / 4, 1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_experts_alone),      cmocka_unit_test(test_alone_least),
        cmocka_unit_test(test_dense_dispatch),     cmocka_unit_test(test_sparse_dispatch),
        cmocka_unit_test(test_floors_of_dispatch), cmocka_unit_test(test_dispatch_growth),
        cmocka_unit_test(test_slice_cost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

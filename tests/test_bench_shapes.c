/* What the benchmarks measure: the shapes of every table, and how much work and how many
 * bytes a sample is. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "gpu/bench_rig.h"
#include "sim/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KIB = 1024, MIB = 1024 * 1024 };

/* ---- shapes ---- */

struct list {
    struct bench_shapes shapes;
    size_t at;
};

static struct list list_of(const struct device_bench *k, bool quick)
{
    const struct bench b = {.quick = quick};
    struct list l = {.at = 0};

    k->shapes(&b, &l.shapes);
    return l;
}

static void next(struct list *l, const uint64_t *value, size_t values)
{
    assert_true(l->at < l->shapes.count);
    for (size_t i = 0; i < values; i++)
        if (l->shapes.value[l->at][i] != value[i])
            fail_msg("shape %zu, column %zu: %llu is not %llu", l->at, i,
                     (unsigned long long)l->shapes.value[l->at][i],
                     (unsigned long long)value[i]);
    l->at++;
}

#define NEXT(l, ...)                                                                     \
    next((l), (const uint64_t[]){__VA_ARGS__},                                           \
         sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static void ends(struct list *l)
{
    assert_int_equal(l->at, l->shapes.count);
    free(l->shapes.value);
}

static const uint64_t powers[] = {1,   2,   4,    8,    16,   32,   64,    128,
                                  256, 512, 1024, 2048, 4096, 8192, 16384, 32768};

static void test_copies(void **state)
{
    struct list l = list_of(&bench_copy, true);

    (void)state;
    for (uint64_t kind = 0; kind < 4; kind++)
        for (int i = 0; i < 7; i++) /* 4 KiB to 16 MiB, by four */
            NEXT(&l, kind, 4 * KIB * powers[2 * i]);
    ends(&l);
    l = list_of(&bench_copy, false);
    for (uint64_t kind = 0; kind < 4; kind++)
        for (int i = 0; i < 19; i++) /* 4 KiB to 1 GiB */
            NEXT(&l, kind, UINT64_C(4) * KIB << i);
    ends(&l);
    l = list_of(&bench_chunks, true);
    for (uint64_t kind = 0; kind < 2; kind++) {
        NEXT(&l, kind, MIB, 64 * KIB);
        NEXT(&l, kind, MIB, 256 * KIB);
        NEXT(&l, kind, 4 * MIB, 64 * KIB);
        NEXT(&l, kind, 4 * MIB, 256 * KIB);
        NEXT(&l, kind, 4 * MIB, MIB);
    }
    ends(&l);
    l = list_of(&bench_chunks, false);
    for (uint64_t kind = 0; kind < 2; kind++)
        for (uint64_t all = 1; all <= 64; all *= 8)
            for (uint64_t chunk = 64; chunk < all * KIB; chunk *= 4)
                NEXT(&l, kind, all * MIB, chunk * KIB);
    ends(&l);
    for (int quick = 0; quick < 2; quick++) {
        l = list_of(&bench_duplex, quick != 0);
        for (uint64_t kind = 0; kind < 2; kind++)
            for (int i = 0; i < (quick != 0 ? 4 : 9); i++) /* 1 to 8, to 256 MiB */
                NEXT(&l, kind, MIB * powers[i]);
        ends(&l);
    }
}

static void test_launches(void **state)
{
    struct list l = list_of(&bench_launch, true);

    (void)state;
    for (uint64_t kind = 0; kind < 4; kind++)
        for (uint64_t n = 32; n <= 256; n *= 2)
            NEXT(&l, kind, n);
    NEXT(&l, LAUNCH_ROUND_TRIP, 64);
    NEXT(&l, LAUNCH_ROUND_TRIP, 512);
    NEXT(&l, LAUNCH_ROUND_TRIP, 4096);
    NEXT(&l, LAUNCH_ROUND_TRIP, 32768);
    ends(&l);
    l = list_of(&bench_launch, false);
    for (uint64_t kind = 0; kind < 4; kind++)
        for (uint64_t n = 32; n <= 2048; n *= 2)
            NEXT(&l, kind, n);
    for (int i = 6; i <= 15; i++)
        NEXT(&l, LAUNCH_ROUND_TRIP, powers[i]);
    ends(&l);
}

static void test_kernels(void **state)
{
    static const uint64_t quick_gemm[][2] = {
        {512, 64}, {512, 512}, {1024, 2048}, {2048, 768}};
    static const uint64_t full_gemm[][2] = {{2048, 64},   {512, 2048},  {768, 3072},
                                            {2048, 2048}, {2048, 5632}, {2880, 5120},
                                            {4096, 2880}, {4096, 6144}, {2048, 21888}};
    static const uint64_t widths[] = {512, 2048, 2880, 4096};
    static const uint64_t heads[][4] = {
        {64, 8, 64, 64}, {32, 8, 128, 128}, {16, 16, 128, 128}, {16, 1, 576, 512}};
    static const uint64_t quick_context[] = {32, 256, 2048},
                          quick_prompt[] = {32, 128, 512};
    static const uint64_t context[] = {32, 128, 512, 2048, 8192}, some[] = {1, 4, 16, 64};
    struct list l = list_of(&bench_gemm, true);

    (void)state;
    for (int i = 0; i <= 8; i++)
        for (int k = 0; k < 4; k++)
            NEXT(&l, powers[i], quick_gemm[k][0], quick_gemm[k][1]);
    ends(&l);
    l = list_of(&bench_gemm, false);
    for (int i = 0; i <= 13; i++)
        for (int k = 0; k < 9; k++)
            NEXT(&l, powers[i], full_gemm[k][0], full_gemm[k][1]);
    ends(&l);
    l = list_of(&bench_move, true);
    for (uint64_t kind = 0; kind < 5; kind++)
        for (uint64_t rows = 4; rows <= 256; rows *= 8)
            for (int k = 0; k < 2; k++)
                NEXT(&l, kind, rows, widths[k]);
    ends(&l);
    l = list_of(&bench_move, false);
    for (uint64_t kind = 0; kind < 5; kind++)
        for (uint64_t rows = 4; rows <= 4096; rows *= 4)
            for (int k = 0; k < 4; k++)
                NEXT(&l, kind, rows, widths[k]);
    ends(&l);
    l = list_of(&bench_attention, true);
    for (int k = 0; k < 4; k++) {
        const uint64_t *a = heads[k];

        for (uint64_t n = 1; n <= 8; n *= 8)
            for (int c = 0; c < 3; c++)
                NEXT(&l, a[0], a[1], a[2], a[3], n, quick_context[c], 1);
        for (int c = 0; c < 3; c++)
            NEXT(&l, a[0], a[1], a[2], a[3], 1, quick_prompt[c], quick_prompt[c]);
    }
    ends(&l);
    l = list_of(&bench_attention, false);
    for (int k = 0; k < 4; k++) {
        const uint64_t *a = heads[k];

        for (int n = 0; n < 4; n++)
            for (int c = 0; c < 5; c++)
                NEXT(&l, a[0], a[1], a[2], a[3], some[n], context[c], 1);
        for (int c = 5; c <= 12; c++) /* 32 to 4096 */
            NEXT(&l, a[0], a[1], a[2], a[3], 1, powers[c], powers[c]);
    }
    ends(&l);
}

static void test_experts(void **state)
{
    static const uint64_t quick[][4] = {
        {256, 128, 3, 4}, {512, 256, 3, 8}, {512, 1024, 2, 1}, {1024, 512, 3, 4}};
    static const uint64_t full[][4] = {{768, 3072, 2, 1},  {2048, 768, 3, 8},
                                       {2048, 1024, 3, 8}, {2048, 1408, 3, 6},
                                       {2880, 2880, 3, 4}, {4096, 14336, 3, 2}};
    static const uint64_t quick_rows[] = {1, 4, 16, 64};
    static const uint64_t rows[] = {1, 2, 4, 8, 16, 64, 256, 1024};
    static const struct device_bench *const both[] = {&bench_experts, &bench_cpu};

    (void)state;
    for (int t = 0; t < 2; t++) {
        struct list l = list_of(both[t], true);

        for (int r = 0; r < 4; r++)
            for (uint64_t distinct = 1; distinct <= 64; distinct *= 4)
                for (int k = 0; k < 4; k++) {
                    const uint64_t *s = quick[k], n = quick_rows[r];

                    NEXT(&l, s[0], s[1], s[2], s[3], distinct, n, n);
                    if (distinct == 4 && n < 16)
                        NEXT(&l, s[0], s[1], s[2], s[3], distinct, n, 4 * n);
                }
        ends(&l);
        l = list_of(both[t], false);
        for (int r = 0; r < 8; r++)
            for (uint64_t distinct = 1; distinct <= 64; distinct *= 4)
                for (int k = 0; k < 6; k++) {
                    const uint64_t *s = full[k], n = rows[r];

                    NEXT(&l, s[0], s[1], s[2], s[3], distinct, n, n);
                    if (distinct == 4 && n < 256)
                        NEXT(&l, s[0], s[1], s[2], s[3], distinct, n, 4 * n);
                }
        ends(&l);
    }
}

/* ---- work and bytes ---- */

/* In elements of two bytes. A prompt of 3 of 5 tokens sees 3 + 4 + 5 of them. */
static void test_work(void **state)
{
    const struct bench b = {.element = 2};
    const uint64_t gemm[] = {3, 5, 7}, copy[] = {1, 4096, 64};
    const uint64_t attention[] = {8, 2, 16, 12, 2, 5, 3};
    const uint64_t experts[] = {10, 6, 3, 4, 5, 7, 9}; /* 9 + 4 x 7 rows */

    (void)state;
    assert_true(bench_gemm.flops(gemm) == 2.0 * 3 * 5 * 7);
    assert_true(bench_gemm.bytes(&b, gemm) == 2.0 * 5 * 7);
    assert_true(bench_copy.bytes(&b, copy) == 4096.0);
    assert_true(bench_chunks.bytes(&b, copy) == 4096.0);
    assert_true(bench_duplex.bytes(&b, copy) == 4096.0);
    assert_true(bench_attention.flops(attention) ==
                2.0 * 8 * (16 + 12) * 2 * (3 + 4 + 5));
    assert_true(bench_attention.bytes(&b, attention) == 2.0 * (2 * 5) * 2 * (16 + 12));
    assert_true(bench_experts.flops(experts) == 2.0 * (3 * 10 * 6) * (9 + 4 * 7));
    assert_true(bench_experts.bytes(&b, experts) == 5.0 * (3 * 10 * 6) * 2);
    assert_true(bench_cpu.flops(experts) == 2.0 * (3 * 10 * 6) * (9 + 4 * 7));
    assert_true(bench_cpu.bytes(&b, experts) == 5.0 * (3 * 10 * 6) * 4);
    assert_null(bench_copy.flops);
    assert_null(bench_move.flops);
    assert_null(bench_launch.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copies),  cmocka_unit_test(test_launches),
        cmocka_unit_test(test_kernels), cmocka_unit_test(test_experts),
        cmocka_unit_test(test_work),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

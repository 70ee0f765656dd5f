/* The values of all weights, drawn again one by one: which stream each is from, its
 * spread and its middle; sets in device memory and experts in the host's. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tiny_device.h"

#include <math.h>
#include <stdlib.h>

enum { SEED = 11 };

/* The next matrix of a stream, in whole draws of two values. Fails unless `got` is it. */
static const float *expect(struct rng *r, const float *got, size_t count, float spread,
                           float middle)
{
    uint64_t bits = 0;

    for (size_t i = 0; i < count; i++) {
        float part;

        bits = i % 2 == 0 ? rng_u64(r) : bits << 32;
        part = (float)(int32_t)(bits >> 32) / 2147483648.0F;
        if (!(fabsf(got[i] - (middle + spread * part)) <= 1e-6F))
            fail_msg("value %zu of %zu is %g, not %g", i, count, (double)got[i],
                     (double)(middle + spread * part));
    }
    return got + count;
}

static float spread_of(uint32_t in)
{
    return sqrtf(3.0F / (float)in);
}

/* Hidden states of 63 make odd counts; a head of 4200 rows is longer than what is drawn
 * at once, 2^18 values. */
static void test_values(void **state)
{
    struct model m = tiny_model();
    struct weights_options o = {
        .model = &m, .seed = SEED, .expert_budget_bytes = UINT64_C(1) << 30};
    struct err e = {.text = ""};
    struct device_ffn ffn;
    struct device *d;
    struct weights *w;
    struct rng r;
    bool missing;

    (void)state;
    m.hidden = 63;
    m.vocab = 4200;
    if (device_open("host", &d, &missing, &e) != 0) {
        print_message("skip: %s\n", e.text);
        skip();
    }
    w = weights_new(d, &o, &e);
    assert_non_null(w);
    for (uint64_t i = 0; i < 4; i++) {
        const float *at = weights_attention(w, (uint32_t)i);

        r = rng_stream(SEED, "dense weights", i);
        at = expect(&r, at, 128 * 63, spread_of(63), 0.0F);
        (void)expect(&r, at, 63 * 64, spread_of(64), 0.0F);
    }
    for (uint64_t i = 0; i < 4; i++) {
        const float *at = weights_ffn(w, (uint32_t)i, &ffn);
        const uint32_t inner = i == 0 ? 56 : 40;

        assert_int_equal(ffn.inner, inner);
        assert_int_equal(ffn.hidden, 63);
        assert_int_equal(ffn.matrices, 3);
        r = rng_stream(SEED, "dense weights",
                       i == 0 ? UINT64_C(1) << 32 : UINT64_C(2) << 32 | (i - 1));
        at = expect(&r, at, (size_t)2 * inner * 63, spread_of(63), 0.0F);
        (void)expect(&r, at, (size_t)63 * inner, spread_of(inner), 0.0F);
    }
    for (uint64_t i = 0; i < 3; i++) {
        r = rng_stream(SEED, "dense weights", UINT64_C(3) << 32 | i);
        (void)expect(&r, weights_router(w, (uint32_t)i), 8 * 63, spread_of(63), 0.0F);
    }
    r = rng_stream(SEED, "dense weights", UINT64_C(4) << 32);
    (void)expect(&r, weights_head(w), 4200 * 63, spread_of(63), 0.0F);
    r = rng_stream(SEED, "dense weights", UINT64_C(5) << 32);
    (void)expect(&r, weights_norm(w), 63, 0.2F, 1.0F);
    r = rng_stream(SEED, "dense weights", UINT64_C(6) << 32);
    (void)expect(&r, weights_table(w), (size_t)WEIGHTS_TABLE_ROWS * 63, sqrtf(3.0F),
                 0.0F);
    for (uint64_t i = 0; i < 24; i++) {
        const float *at = weights_expert(w, (uint32_t)i / 8, (uint32_t)i % 8);

        r = rng_stream(SEED, "expert weights", i);
        at = expect(&r, at, 2 * 48 * 63, spread_of(63), 0.0F);
        (void)expect(&r, at, 63 * 48, spread_of(48), 0.0F);
    }
    weights_free(w);
    device_close(d);
}

/* Where all layers have experts no dense FFN needs room: there is just enough for all
 * else, or a byte too little. */
static void test_no_dense_ffn(void **state)
{
    const uint64_t all = 4 * (128 * 64 + 64 * 64) * 4 /* attention */
                         + 4 * 3 * 64 * 40 * 4        /* shared FFNs */
                         + 4 * 8 * 64 * 4             /* routers */
                         + (96 + 1 + 256) * 64 * 4;   /* head, norm, table */
    struct model m = tiny_model();
    struct weights_options o = {
        .model = &m, .seed = SEED, .expert_budget_bytes = UINT64_C(1) << 30};
    struct err e = {.text = ""};
    struct device_ffn ffn;
    struct device *d;
    bool missing;

    (void)state;
    m.first_moe = 0;
    m.moe_layers = 4;
    if (device_open("host", &d, &missing, &e) != 0) {
        print_message("skip: %s\n", e.text);
        skip();
    }
    for (uint32_t less = 0; less < 2; less++) {
        struct weights *w;
        char *text;

        o.dense_budget_bytes = all - less;
        w = weights_new(d, &o, &e);
        assert_non_null(w);
        text = weights_describe(w);
        assert_string_equal(
            text, less == 0
                      ? ""
                      : "3 of 4 attention blocks are distinct in device memory; the "
                        "others share their weights. 3 of 4 shared FFNs are distinct "
                        "in device memory; the others share their weights. 3 of 4 "
                        "routers are distinct in device memory; the others share "
                        "their weights.");
        assert_int_equal(weights_ffn(w, 3, &ffn) == weights_ffn(w, 0, &ffn), less == 1);
        free(text);
        weights_free(w);
    }
    device_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_no_dense_ffn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

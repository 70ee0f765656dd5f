/* Slots by the profile: the dynamic program against every allocation there is, against
 * AdapMoE's own figures, and in a cache. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cache_rig.h"
#include "sim/base/mem.h"
#include "sim/policy/cache_allocate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double cost(const double *expected, uint32_t layers, uint32_t most,
                   const uint32_t *slots)
{
    double sum = 0.0;

    for (uint32_t l = 0; l < layers; l++)
        sum += expected[l * (most + 1) + slots[l]];
    return sum;
}

/* The least cost of all allocations of `left` slots to the layers from `l` on. */
static double exhaustive(const double *expected, uint32_t layers, uint32_t most,
                         uint32_t l, uint32_t left)
{
    double best = HUGE_VAL;

    if (l == layers)
        return left == 0 ? 0.0 : HUGE_VAL;
    for (uint32_t k = 1; k <= most && k <= left; k++)
        best = fmin(best, expected[l * (most + 1) + k] +
                              exhaustive(expected, layers, most, l + 1, left - k));
    return best;
}

/* Any costs, also such as rise with more slots and have several minima. */
static void none_is_better(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct rng r = rng_stream(seed, "allocate", 0);
        uint32_t layers = 1 + (uint32_t)rng_below(&r, 5);
        uint32_t most = 1 + (uint32_t)rng_below(&r, 5), slots[5];
        double expected[5 * 6];

        for (uint32_t i = 0; i < layers * (most + 1); i++)
            expected[i] = seed % 2 == 0 ? rng_unit(&r) : (double)rng_below(&r, 4);
        for (uint32_t total = layers; total <= layers * most; total++) {
            uint32_t sum = 0;

            cache_allocate(expected, layers, most, total, slots);
            for (uint32_t l = 0; l < layers; l++) {
                assert_in_range(slots[l], 1, most);
                sum += slots[l];
            }
            assert_int_equal(sum, total);
            assert_true(fabs(cost(expected, layers, most, slots) -
                             exhaustive(expected, layers, most, 0, total)) < 1e-12);
        }
    }
}

/* AdapMoE's expected misses of two experts out of eight used alike, of a prefetcher's
 * recall and the share of tokens for which one is enough: with one alone in use and no
 * recall 1 - s/8; with two 2 (8-s)(7-s)/56 + 2 (8-s) s/56 = 2 (1 - s/8). So the layer
 * whose tokens want two gets slots until it has eight, and each of them is worth twice.
 */
static void as_adapmoe_has_it(void **state)
{
    double expected[3 * 9];
    uint32_t slots[3];

    (void)state;
    for (uint32_t s = 0; s <= 8; s++) {
        double none = (8.0 - s) * (7.0 - s) / 56, one = 2 * (8.0 - s) * s / 56;

        expected[s] = 1 - s / 8.0;        /* one expert for each token */
        expected[9 + s] = 2 * none + one; /* two */
        expected[18 + s] = none;          /* two, one of which is always prefetched */
    }
    /* The third layer's misses fall by (14 - 2s) / 56 for slot s + 1: 14, 12, 10, 8, ...
     * against 7 and 14 (of 56) for the others. */
    cache_allocate(expected, 3, 8, 12, slots);
    assert_int_equal(slots[0], 1);
    assert_int_equal(slots[1], 8);
    assert_int_equal(slots[2], 3);
    cache_allocate(expected, 3, 8, 16, slots);
    assert_int_equal(slots[0] + slots[2], 8);
    assert_int_equal(slots[1], 8);
    assert_in_range(slots[2], 4, 5); /* 8 against 7, then 6 */
}

static void misses_by_load(void **state)
{
    static const uint64_t load[] = {1, 6, 0, 3, 0, 0, 0, 0};
    static const double known[] = {1, 0.4, 0.1, 0, 0, 0, 0, 0, 0, 0};
    double expected[10];

    (void)state;
    cache_expect_misses(load, 2, 4, expected);
    for (uint32_t i = 0; i < 10; i++)
        assert_true(fabs(expected[i] - known[i]) < 1e-15);
}

/* Layer 0 uses one expert, layer 1 goes round four. Even shares of 3 and 3 leave misses,
 * of 2 and 4 none but the first ones. */
static void a_cache_of_such_shares(void **state)
{
    struct rig_stream s = rig_stream_new(2, 6, 40, 1);
    struct cache_params p = {.slots = 3, .staging = 1};
    struct cache *c;

    (void)state;
    for (uint32_t pass = 0; pass < 40; pass++)
        s.expert[2 * pass + 1] = (uint16_t)(1 + pass % 4);
    rig_stream_finish(&s);
    assert_int_equal(rig_hits(&s, "lru", NULL, p), 39);
    p.allocate = CACHE_ALLOCATE_PROFILE;
    assert_int_equal(rig_hits(&s, "lru", NULL, p), 39 + 36);
    c = rig_cache(&s, "lru", NULL, p, NULL);
    assert_int_equal(cache_slots(c), 6);
    assert_int_equal(cache_set_slots(c), 2); /* a second slot is worth nothing to both */
    cache_free(c);
    rig_stream_free(&s);
}

static void refused(struct cache_params p, const uint64_t *bytes, const uint64_t *profile,
                    const char *part)
{
    struct err e = {.text = ""};
    struct cache_config config = {
        .algorithm = (const struct cache_algorithm *)(const void *)registry_find(
            SLOT_CACHE, "lru"),
        .params = p,
        .layers = 2,
        .experts = 2,
        .expert_bytes = bytes,
        .profile = profile};

    p.allocate = config.params.allocate = CACHE_ALLOCATE_PROFILE;
    assert_null(cache_new(&config, &e));
    assert_non_null(strstr(e.text, part));
    assert_string_equal(err_key(&e), "cache.allocate");
}

static void what_cannot_be_is_refused(void **state)
{
    static const uint64_t alike[] = {5, 5}, ragged[] = {5, 6}, load[] = {1, 2, 3, 4};
    struct cache_params p = {.slots = 1, .staging = 1};

    (void)state;
    refused(p, alike, NULL, "give profile: FILE");
    refused(p, ragged, load, "differ in size");
    p.scope = CACHE_GLOBAL;
    refused(p, alike, load, "one set for all");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(none_is_better),
        cmocka_unit_test(as_adapmoe_has_it),
        cmocka_unit_test(misses_by_load),
        cmocka_unit_test(a_cache_of_such_shares),
        cmocka_unit_test(what_cannot_be_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The cache slot: closed forms, and optima. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cache_rig.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

/* ---- registry ---- */

static void registry_is_in_order(void **state)
{
    const struct plugin *const *all = registry_all();

    (void)state;
    for (size_t i = 0; all[i] != NULL; i++) {
        const struct plugin *p = all[i];

        assert_true(i == 0 || all[i - 1]->slot <= p->slot);
        assert_ptr_equal(registry_find(p->slot, p->name), p);
        assert_true(strlen(p->help) > 10 && strlen(p->source) > 3);
        assert_true((p->options != NULL) == (p->params_size > 0));
    }
    assert_null(registry_find(SLOT_CACHE, "lfu"));
    assert_null(registry_find(SLOT_GATE, "lru"));
    assert_string_equal(policy_slot_name(SLOT_CACHE), "cache");
    assert_string_equal(policy_slot_name(SLOT_SCHEDULE), "schedule");
    assert_string_equal(policy_variant_name(VARIANT_RECONSTRUCTION), "reconstruction");
}

/* Layers and experts are numbers of 16 bits, the largest of which is none. */
static void refuses_more_than_can_be_numbered(void **state)
{
    static const uint32_t sizes[][2] = {{1, 65536}, {65536, 1}};
    struct cache_config config = {
        .algorithm = (const struct cache_algorithm *)registry_find(SLOT_CACHE, "lru"),
        .params = {.scope = CACHE_PER_LAYER, .slots = 1}};
    uint64_t *bytes = mem_alloc(65536, sizeof *bytes);

    (void)state;
    config.expert_bytes = bytes;
    for (uint32_t l = 0; l < 65536; l++)
        bytes[l] = 1;
    for (int i = 0; i < 2; i++) {
        struct err e = {.text = ""};
        struct cache *c;

        config.layers = sizes[i][0];
        config.experts = sizes[i][1];
        assert_null(cache_new(&config, &e));
        assert_string_equal(e.text,
                            "the cache takes at most 65535 layers of 65535 experts");
        e.text[0] = '\0';
        config.layers -= config.layers > 1;
        config.experts -= config.experts > 1;
        c = cache_new(&config, &e);
        assert_non_null(c);
        cache_free(c);
    }
    free(bytes);
}

/* ---- closed forms ---- */

/* g experts in turn, again and again. */
static struct rig_stream cyclic(uint32_t g, uint32_t rounds)
{
    struct rig_stream s = rig_stream_new(1, g, g * rounds, 1);

    for (uint32_t i = 0; i < g * rounds; i++)
        s.expert[i] = (uint16_t)(i % g);
    rig_stream_finish(&s);
    return s;
}

/* With s < g slots the expert that comes next is always the one that left last under
 * FIFO and LRU: no hit. CLOCK without hits is FIFO, so no hit either. */
static void fifo_lru_and_clock_miss_all_of_a_cycle(void **state)
{
    (void)state;
    for (uint32_t g = 2; g < 9; g++) {
        for (uint32_t slots = 1; slots < g; slots++) {
            struct rig_stream s = cyclic(g, 7);

            assert_int_equal(rig_hits(&s, "fifo", NULL, rig_unprotected(slots)), 0);
            assert_int_equal(rig_hits(&s, "lru", NULL, rig_unprotected(slots)), 0);
            assert_int_equal(rig_hits(&s, "clock", NULL, rig_unprotected(slots)), 0);
            rig_stream_free(&s);
        }
    }
}

/* All g experts active in every step: once full, LIFO always gives up the last one
 * loaded, so s - 1 experts stay for good and the others pass through one slot. The
 * first step loads g; each later one hits the s - 1 that stay, and misses g - s + 1:
 * after the first step slot s holds expert g - 1, which the next step evicts before its
 * turn. */
static void lifo_misses_g_minus_s_plus_1_of_g(void **state)
{
    (void)state;
    for (uint32_t g = 2; g < 9; g++) {
        for (uint32_t slots = 1; slots < g; slots++) {
            for (int protect = CACHE_PROTECT_PREFER; protect <= CACHE_PROTECT_NONE;
                 protect++) {
                const uint32_t rounds = 11;
                struct rig_stream s = rig_stream_new(1, g, rounds, g);
                struct cache_params p = {
                    .slots = slots, .protect = protect, .staging = 1};

                for (uint32_t i = 0; i < g * rounds; i++)
                    s.expert[i] = (uint16_t)(i % g);
                rig_stream_finish(&s);
                assert_int_equal(rig_hits(&s, "lifo", NULL, p),
                                 (uint64_t)(slots - 1) * (rounds - 1));
                rig_stream_free(&s);
            }
        }
    }
}

/* Demand MIN on a cycle. A miss evicts the expert farthest away, which is the one used
 * just before (the missing one is farther, but it must be kept). So after the first s
 * accesses misses come in runs: g - s misses, then the s - 1 experts that were not
 * touched hit, and so on: a period of g - 1 accesses with g - s misses. The s compulsory
 * misses at the start are followed by whole periods when s + n (g - 1) accesses run. The
 * miss rate is (g - s) / (g - 1). Without future uses at the end all choices are equal,
 * so the stream is longer than what is counted. */
static void belady_misses_g_minus_s_of_g_minus_1(void **state)
{
    (void)state;
    for (uint32_t g = 3; g < 9; g++) {
        for (uint32_t slots = 1; slots < g; slots++) {
            struct rig_stream s = cyclic(g, 3 * g);
            const uint32_t periods = 2 * g;

            s.passes = slots + periods * (g - 1);
            assert_int_equal(rig_hits(&s, "belady", NULL, rig_unprotected(slots)),
                             (uint64_t)periods * (slots - 1));
            rig_stream_free(&s);
        }
    }
}

/* With the right to bypass the first s experts stay: s hits in each round of g. */
static void belady_bypass_misses_g_minus_s_of_g(void **state)
{
    (void)state;
    for (uint32_t g = 3; g < 9; g++) {
        for (uint32_t slots = 1; slots < g; slots++) {
            const uint32_t rounds = 9;
            struct rig_stream s = cyclic(g, rounds + 1);

            s.passes = g * rounds;
            assert_int_equal(rig_hits(&s, "belady-bypass", NULL, rig_unprotected(slots)),
                             (uint64_t)slots * (rounds - 1));
            rig_stream_free(&s);
        }
    }
}

/* One token touches `width` experts in each of L layers, always the same ones. Global LRU
 * with fewer than L * width slots has dropped each before it comes again; with exactly
 * that many it misses only the first token. Protection does not change this as long as
 * none of a step's experts is resident when it begins, up to (L - 1) * width slots. */
static void lru_below_one_token_cycle_never_hits(void **state)
{
    const uint32_t layers = 6, width = 3, passes = 20, cycle = layers * width;
    struct rig_stream s = rig_stream_new(layers, 8, passes, width);

    (void)state;
    for (uint32_t i = 0; i < passes * cycle; i++)
        s.expert[i] = (uint16_t)(2 * (i % width) + 1);
    rig_stream_finish(&s);
    for (uint32_t slots = 4; slots < cycle; slots++) {
        struct cache_params p = rig_unprotected(slots);

        assert_int_equal(rig_hits(&s, "lru", NULL, p), 0);
        p.protect = CACHE_PROTECT_STRICT;
        if (slots <= cycle - width)
            assert_int_equal(rig_hits(&s, "lru", NULL, p), 0);
        else
            assert_true(rig_hits(&s, "lru", NULL, p) > 0);
    }
    assert_int_equal(rig_hits(&s, "lru", NULL, rig_unprotected(cycle)),
                     (passes - 1) * cycle);
    rig_stream_free(&s);
}

/* When everything fits, each expert misses once, whatever the policy. `pin` has it all
 * from the start. */
static void what_fits_misses_once(void **state)
{
    struct rig_stream s = rig_stream_random(6, 3, 12, 50, 4);
    const struct plugin *const *at = NULL;
    const struct plugin *plugin;
    uint64_t all = 3 * 50 * 4, distinct = 0;

    (void)state;
    for (uint32_t x = 0; x < 36; x++)
        distinct += s.profile[x] != 0;
    while ((plugin = rig_next_policy(&at)) != NULL) {
        uint64_t misses = strcmp(plugin->name, "pin") == 0 ? 0 : distinct;

        for (int scope = CACHE_PER_LAYER; scope <= CACHE_GLOBAL; scope++) {
            struct cache_params p = {.slots = 36, .scope = scope, .staging = 1};

            assert_int_equal(rig_hits(&s, plugin->name, NULL, p), all - misses);
            p.preload = CACHE_PRELOAD_LINEAR;
            assert_int_equal(rig_hits(&s, plugin->name, NULL, p), all);
        }
    }
    rig_stream_free(&s);
}

/* LRU is a stack algorithm (Mattson et al. 1970): the smaller cache is part of the larger
 * at every moment. */
static void lru_includes_smaller_lru(void **state)
{
    struct rig_stream s = rig_stream_random(8, 1, 20, 400, 1);

    (void)state;
    for (uint32_t slots = 1; slots < 12; slots++) {
        struct cache *small = rig_cache(&s, "lru", NULL, rig_unprotected(slots), NULL);
        struct cache *large =
            rig_cache(&s, "lru", NULL, rig_unprotected(slots + 1), NULL);

        for (uint32_t pass = 0; pass < s.passes; pass++) {
            uint16_t expert = s.expert[pass];

            cache_begin_step(small, 0, &expert, 1);
            (void)cache_access(small, 0, expert, CACHE_UNUSED);
            cache_begin_step(large, 0, &expert, 1);
            (void)cache_access(large, 0, expert, CACHE_UNUSED);
            for (uint32_t x = 0; x < s.experts; x++)
                assert_true(cache_slot_of(small, 0, x) == CACHE_NONE ||
                            cache_slot_of(large, 0, x) != CACHE_NONE);
        }
        cache_free(small);
        cache_free(large);
    }
    rig_stream_free(&s);
}

/* ---- optima ---- */

static void no_policy_beats_belady(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 30; seed++) {
        struct rig_stream s = rig_stream_random(seed, 2, 10, 100, 3);
        int64_t slots = 2 + (int64_t)seed % 13;
        uint64_t best = rig_hits(&s, "belady-bypass", NULL, rig_unprotected(slots));
        uint64_t forced = rig_hits(&s, "belady", NULL, rig_unprotected(slots));
        const struct plugin *const *at = NULL;
        const struct plugin *plugin;

        assert_true(forced <= best);
        while ((plugin = rig_next_policy(&at)) != NULL) {
            uint64_t hits = rig_hits(&s, plugin->name, NULL, rig_unprotected(slots));
            bool pin = strcmp(plugin->name, "pin") == 0;
            bool bypass = plugin == registry_find(SLOT_CACHE, "belady-bypass") ||
                          plugin == registry_find(SLOT_CACHE, "lfru-heat");

            /* What `pin` has from the start cost it no miss. */
            assert_true(hits <= best + (pin ? (uint64_t)slots : 0));
            if (!pin && !bypass)
                assert_true(hits <= forced);
        }
        rig_stream_free(&s);
    }
}

/* Most hits from access `i` on with this set of residents (a bit mask), trying every
 * victim, and with `may_bypass` also none. */
static uint64_t optimum(const struct rig_stream *s, uint32_t i, uint32_t resident,
                        uint32_t slots, bool may_bypass)
{
    uint32_t bit, count = 0;
    uint64_t best = 0;

    if (i == s->passes)
        return 0;
    bit = UINT32_C(1) << s->expert[i];
    if ((resident & bit) != 0)
        return 1 + optimum(s, i + 1, resident, slots, may_bypass);
    for (uint32_t x = 0; x < s->experts; x++)
        count += resident >> x & 1;
    if (count < slots)
        best = optimum(s, i + 1, resident | bit, slots, may_bypass);
    if (may_bypass) {
        uint64_t hits = optimum(s, i + 1, resident, slots, may_bypass);

        best = hits > best ? hits : best;
    }
    for (uint32_t x = 0; x < s->experts && count == slots; x++) {
        uint64_t hits = 0;

        if ((resident >> x & 1) != 0)
            hits = optimum(s, i + 1, (resident & ~(UINT32_C(1) << x)) | bit, slots,
                           may_bypass);
        best = hits > best ? hits : best;
    }
    return best;
}

static void belady_is_the_optimum_of_all_choices(void **state)
{
    struct rng r = rng_stream(11, "brute", 0);

    (void)state;
    for (int trial = 0; trial < 300; trial++) {
        uint32_t experts = 3 + (uint32_t)rng_below(&r, 2);
        struct rig_stream s = rig_stream_new(1, experts, 12, 1);

        for (uint32_t i = 0; i < s.passes; i++)
            s.expert[i] = (uint16_t)rng_below(&r, experts);
        rig_stream_finish(&s);
        for (uint32_t slots = 1; slots < 3; slots++) {
            assert_int_equal(rig_hits(&s, "belady", NULL, rig_unprotected(slots)),
                             optimum(&s, 0, 0, slots, false));
            assert_int_equal(rig_hits(&s, "belady-bypass", NULL, rig_unprotected(slots)),
                             optimum(&s, 0, 0, slots, true));
        }
        rig_stream_free(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registry_is_in_order),
        cmocka_unit_test(refuses_more_than_can_be_numbered),
        cmocka_unit_test(fifo_lru_and_clock_miss_all_of_a_cycle),
        cmocka_unit_test(lifo_misses_g_minus_s_plus_1_of_g),
        cmocka_unit_test(belady_misses_g_minus_s_of_g_minus_1),
        cmocka_unit_test(belady_bypass_misses_g_minus_s_of_g),
        cmocka_unit_test(lru_below_one_token_cycle_never_hits),
        cmocka_unit_test(what_fits_misses_once),
        cmocka_unit_test(lru_includes_smaller_lru),
        cmocka_unit_test(no_policy_beats_belady),
        cmocka_unit_test(belady_is_the_optimum_of_all_choices),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

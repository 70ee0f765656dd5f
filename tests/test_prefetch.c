/* The prefetch slot: the contract that every plug-in keeps, and a known answer each (for
 * markov in test_prefetch_markov.c). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "prefetch_world.h"

#include "sim/base/mem.h"

#include <stdlib.h>

static struct cache *some_cache(const struct world *w, struct rng *r)
{
    uint64_t *bytes = mem_alloc(w->layers, sizeof *bytes);
    struct cache_config config = {
        .algorithm = (const struct cache_algorithm *)registry_find(SLOT_CACHE, "lru"),
        .params = {.scope = CACHE_PER_LAYER,
                   .slots = 1 + (int64_t)rng_below(r, w->experts),
                   .staging = 1},
        .layers = w->layers,
        .experts = w->experts,
        .expert_bytes = bytes,
        .seed = 5};
    struct err e = {.text = ""};
    struct cache *c;

    for (uint32_t l = 0; l < w->layers; l++)
        bytes[l] = 1000;
    c = cache_new(&config, &e);
    assert_non_null(c);
    free(bytes);
    return c;
}

/* ---- the contract ---- */

static void check_wants(const struct prefetch_run *r, const struct view *v,
                        uint32_t distance, uint32_t width)
{
    uint32_t missing = 0;

    for (uint32_t i = 0; i < r->count; i++) {
        struct prefetch_want want = r->want[i];
        uint32_t layer = (v->layer + want.ahead) % v->layers;

        assert_true(want.ahead >= 1 && want.ahead <= distance);
        assert_true(want.expert < v->experts);
        missing += cache_slot_of(v->cache, layer, want.expert) == CACHE_NONE;
        for (uint32_t j = 0; j < i; j++)
            assert_false(r->want[j].ahead == want.ahead &&
                         r->want[j].expert == want.expert);
    }
    assert_true(missing <= width);
}

/* Two runs over the same world, whose memory differs before init, want the same; wants
 * are in range, distinct, and load at most `width` experts. The cache does what it is
 * asked for, so that residency changes as it does in a replay. */
static void contract_of(const char *name, bool oracle, struct rng *rng)
{
    struct world *w = world_random(rng);
    struct cache *c = some_cache(w, rng);
    uint32_t distance = 1 + (uint32_t)rng_below(rng, 2 * w->layers + 1);
    uint32_t width = 1 + (uint32_t)rng_below(rng, 4);
    char *options = mem_format("{distance: %u, width: %u}", distance, width);
    struct prefetch_run a, b;

    w->cache = c;
    prefetch_run_begin(&a, w, name, options, 0);
    prefetch_run_begin(&b, w, name, options, 0xa5);
    for (uint32_t s = 0; s < w->passes * w->layers; s++) {
        struct view v = world_view(w, s, oracle);

        cache_begin_step(c, v.layer, v.active, v.active_count);
        for (uint32_t i = 0; i < v.active_count; i++)
            (void)cache_access(c, v.layer, v.active[i], CACHE_UNUSED);
        prefetch_run_step(&a, &v);
        prefetch_run_step(&b, &v);
        assert_int_equal(a.count, b.count);
        for (uint32_t i = 0; i < a.count; i++) {
            assert_int_equal(a.want[i].ahead, b.want[i].ahead);
            assert_int_equal(a.want[i].expert, b.want[i].expert);
        }
        check_wants(&a, &v, distance, width);
        for (uint32_t i = 0; i < a.count; i++)
            cache_hold(c, (v.layer + a.want[i].ahead) % w->layers, a.want[i].expert,
                       (s + a.want[i].ahead) / w->layers);
        for (uint32_t i = 0; i < a.count; i++)
            (void)cache_prefetch(c, (v.layer + a.want[i].ahead) % w->layers,
                                 a.want[i].expert, (s + a.want[i].ahead) / w->layers);
        if (v.layer + 1 == w->layers) {
            world_end_pass(w, (uint32_t)v.pass);
            cache_end_pass(c);
        }
    }
    prefetch_run_end(&a);
    prefetch_run_end(&b);
    free(options);
    cache_free(c);
    world_free(w);
}

static void contract(void **unused)
{
    uint32_t tried = 0;

    (void)unused;
    for (const struct plugin *const *p = registry_all(); *p != NULL; p++) {
        const struct prefetch_type *t = (const struct prefetch_type *)*p;

        if ((*p)->slot != SLOT_PREFETCH || t->step == NULL)
            continue;
        for (uint64_t round = 0; round < 60; round++) {
            struct rng r = rng_stream(11, "prefetch", round);

            contract_of((*p)->name, ((*p)->needs & NEED_FUTURE) != 0, &r);
        }
        assert_true((*p)->lossless);
        tried++;
    }
    assert_true(tried >= 4);
}

/* ---- known answers ---- */

static void oracle_is_the_future(void **unused)
{
    (void)unused;
    for (uint64_t round = 0; round < 40; round++) {
        struct rng rng = rng_stream(13, "oracle", round);
        struct world *w = world_random(&rng);
        uint32_t distance = 1 + (uint32_t)rng_below(&rng, 7);
        char *options = mem_format("{distance: %u}", distance);
        struct prefetch_run r;

        prefetch_run_begin(&r, w, "oracle", options, 0xa5);
        for (uint32_t s = 0; s < w->passes * w->layers; s++) {
            struct view v = world_view(w, s, true);
            uint32_t at = 0;

            prefetch_run_step(&r, &v);
            for (uint32_t ahead = 1; ahead <= distance; ahead++) {
                uint16_t active[256];
                uint32_t tokens[256];

                if (s + ahead >= w->passes * w->layers)
                    break;
                for (uint32_t i = 0, n = world_active(w, s + ahead, active, tokens);
                     i < n; i++, at++) {
                    assert_true(at < r.count);
                    assert_int_equal(r.want[at].ahead, ahead);
                    assert_int_equal(r.want[at].expert, active[i]);
                }
            }
            assert_int_equal(r.count, at);
        }
        prefetch_run_end(&r);
        free(options);
        world_free(w);
    }
}

/* The last use of a layer, for any trace; so it is exact on a constant one. */
static void previous_token_repeats(void **unused)
{
    (void)unused;
    for (uint64_t round = 0; round < 40; round++) {
        struct rng rng = rng_stream(17, "previous", round);
        struct world *w = world_random(&rng);
        uint32_t distance = 1 + (uint32_t)rng_below(&rng, w->layers);
        char *options =
            mem_format("{distance: %u, candidates: %u}", distance, w->experts);
        struct prefetch_run r;

        prefetch_run_begin(&r, w, "previous-token", options, 0xa5);
        for (uint32_t s = 0; s < w->passes * w->layers; s++) {
            struct view v = world_view(w, s, false);

            prefetch_run_step(&r, &v);
            if (s + distance < w->layers) {
                assert_int_equal(r.count, 0);
                continue;
            }
            for (uint32_t i = 0; i < r.count; i++) {
                assert_int_equal(r.want[i].ahead, distance);
                r.want[i].ahead = 0;
            }
            assert_true(prefetch_run_exact(&r, w, s + distance - w->layers, 0));
        }
        prefetch_run_end(&r);
        free(options);
        world_free(w);
    }
}

static void previous_token_on_a_constant_trace(void **unused)
{
    struct world *w = world_new(5, 3, 9, 2, 2);
    struct prefetch_run r;

    (void)unused;
    for (uint32_t s = 0; s < w->passes * w->layers; s++) {
        for (uint32_t i = 0; i < 4; i++)
            world_choice(w, s, 0)[i] = (uint16_t)((2 * (s % w->layers) + i) % 9);
    }
    prefetch_run_begin(&r, w, "previous-token", "{distance: 2}", 0xa5);
    for (uint32_t s = 1; s + 2 < w->passes * w->layers; s++) {
        struct view v = world_view(w, s, false);

        prefetch_run_step(&r, &v);
        if (s > w->layers)
            assert_true(prefetch_run_exact(&r, w, s, 2));
    }
    prefetch_run_end(&r);
    world_free(w);
}

/* Largest load first, equal loads by lower id, unused experts never; by sorting. */
static void frequency_by_brute_force(void **unused)
{
    (void)unused;
    for (uint64_t round = 0; round < 40; round++) {
        struct rng rng = rng_stream(19, "frequency", round);
        struct world *w = world_random(&rng);
        uint32_t candidates = 1 + (uint32_t)rng_below(&rng, w->experts);
        char *options = mem_format("{candidates: %u}", candidates);
        struct prefetch_run r;

        prefetch_run_begin(&r, w, "frequency", options, 0xa5);
        for (uint32_t s = 0; s < w->passes * w->layers; s++) {
            struct view v = world_view(w, s, false);
            const uint64_t *load = &w->load[(v.layer + 1) % w->layers * w->experts];
            uint32_t used = 0;

            prefetch_run_step(&r, &v);
            for (uint32_t e = 0; e < w->experts; e++)
                used += load[e] > 0;
            assert_int_equal(r.count, used < candidates ? used : candidates);
            for (uint32_t i = 0; i < r.count; i++) {
                uint32_t e = r.want[i].expert, before = 0;

                for (uint32_t o = 0; o < w->experts; o++)
                    before += load[o] > load[e] || (load[o] == load[e] && o < e);
                assert_int_equal(before, i);
            }
            if (v.layer + 1 == w->layers)
                world_end_pass(w, (uint32_t)v.pass);
        }
        prefetch_run_end(&r);
        free(options);
        world_free(w);
    }
}

/* Four experts by load 5 > 2 > 7 > 1; 5 and 7 are resident. Of two candidates 5 is held
 * and 2 loaded; a width of 1 over all four holds 7 and leaves 1 out. */
static void residents_are_held(void **unused)
{
    struct world *w = world_new(1, 1, 8, 1, 1);
    struct rng rng = rng_stream(23, "held", 0);
    static const uint16_t resident[] = {5, 7};
    static const uint32_t loads[] = {0, 3, 8, 0, 0, 9, 0, 5};
    struct cache *c;
    struct prefetch_run r;
    struct view v;

    (void)unused;
    do {
        c = some_cache(w, &rng);
        if (cache_slots(c) >= 2)
            break;
        cache_free(c);
    } while (true);
    world_choice(w, 0, 0)[0] = 0;
    for (uint32_t e = 0; e < 8; e++)
        w->load[e] = loads[e];
    cache_begin_step(c, 0, resident, 2);
    for (int i = 0; i < 2; i++)
        (void)cache_access(c, 0, resident[i], CACHE_UNUSED);
    w->cache = c;
    v = world_view(w, 0, false);

    prefetch_run_begin(&r, w, "frequency", "{candidates: 2, width: 1}", 0xa5);
    prefetch_run_step(&r, &v);
    assert_int_equal(r.count, 2);
    assert_int_equal(r.want[0].expert, 5);
    assert_int_equal(r.want[1].expert, 2);
    prefetch_run_end(&r);
    prefetch_run_begin(&r, w, "frequency", "{candidates: 8, width: 1}", 0xa5);
    prefetch_run_step(&r, &v);
    assert_int_equal(r.count, 3);
    assert_int_equal(r.want[2].expert, 7);
    prefetch_run_end(&r);
    cache_free(c);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contract),
        cmocka_unit_test(oracle_is_the_future),
        cmocka_unit_test(previous_token_repeats),
        cmocka_unit_test(previous_token_on_a_constant_trace),
        cmocka_unit_test(frequency_by_brute_force),
        cmocka_unit_test(residents_are_held),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

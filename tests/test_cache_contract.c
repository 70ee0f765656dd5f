/* The contract that every cache algorithm keeps, against a mirror of what it says. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cache_rig.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

/* What the test knows of the cache, kept by the results alone. */
struct mirror {
    const struct rig_stream *s;
    const struct plugin *plugin;
    struct cache *c;
    struct cache_params p;
    const uint64_t *bytes;
    uint32_t *slot;            /* (layer, expert) or CACHE_NONE */
    uint8_t *taken;            /* [slots and spare ones] */
    uint32_t spare[4], spares; /* slots that loads go to, the oldest first */
    uint8_t *active;           /* (layer, expert) in this step */
    uint8_t *fresh; /* (layer, expert) prefetched for the next pass and not used */
    uint32_t staged;
    uint64_t used_bytes;
};

static bool same_set(const struct mirror *m, uint32_t a, uint32_t b)
{
    return m->p.scope == CACHE_GLOBAL || a / m->s->experts == b / m->s->experts;
}

/* Residents of the object's set that are neither active nor, for a prefetch, fresh. */
static uint32_t candidates(const struct mirror *m, uint32_t object, bool prefetch)
{
    uint32_t count = 0;

    for (uint32_t x = 0; x < m->s->layers * m->s->experts; x++)
        count += m->slot[x] != CACHE_NONE && same_set(m, x, object) && !m->active[x] &&
                 !(prefetch && m->fresh[x]);
    return count;
}

static uint32_t free_slots(const struct mirror *m, uint32_t object)
{
    uint32_t count = cache_set_slots(m->c);

    if (m->p.bytes > 0)
        count = cache_slots(m->c);
    for (uint32_t x = 0; x < m->s->layers * m->s->experts; x++)
        count -= m->slot[x] != CACHE_NONE && same_set(m, x, object);
    return count;
}

/* Slots that residents of the object's set may have: those of the set, where no spare
 * ever came to another one. */
static bool is_of_set(const struct mirror *m, uint32_t slot, uint32_t object)
{
    return m->spares > 0 || m->p.scope == CACHE_GLOBAL ||
           slot / (uint32_t)m->p.slots == object / m->s->experts;
}

/* What a load that evicts from `slot` gets for it. */
static uint32_t exchange(struct mirror *m, uint32_t slot)
{
    uint32_t oldest = m->spare[0];

    memmove(m->spare, m->spare + 1, (m->spares - 1) * sizeof *m->spare);
    m->spare[m->spares - 1] = slot;
    return oldest;
}

static void mirror_evictions(struct mirror *m, const struct cache_result *r,
                             uint32_t object, bool prefetch)
{
    for (uint32_t i = 0; i < r->evicted_count; i++) {
        const struct cache_eviction *v = &r->evicted[i];
        uint32_t x = v->layer * m->s->experts + v->expert;

        assert_true(x < m->s->layers * m->s->experts && same_set(m, x, object));
        assert_int_equal(m->slot[x], v->slot);
        if (prefetch) {
            assert_false(m->active[x] || m->fresh[x]);
        } else if (m->p.protect == CACHE_PROTECT_STRICT) {
            assert_false(m->active[x]);
        } else if (m->p.protect == CACHE_PROTECT_PREFER && m->active[x]) {
            assert_int_equal(candidates(m, object, false), 0);
        }
        m->slot[x] = CACHE_NONE;
        m->taken[v->slot] = 0;
        m->fresh[x] = 0;
        m->used_bytes -= m->bytes[v->layer];
    }
}

/* A policy that must keep what it can: it bypasses only without a candidate. */
static bool always_keeps(const struct mirror *m)
{
    return strcmp(m->plugin->name, "belady-bypass") != 0 &&
           strcmp(m->plugin->name, "lfru-heat") != 0 &&
           strcmp(m->plugin->name, "pin") != 0 && m->p.admission == CACHE_ADMIT_ALWAYS;
}

static void mirror_result(struct mirror *m, uint32_t layer, uint32_t expert,
                          struct cache_result r, bool prefetch)
{
    uint32_t x = layer * m->s->experts + expert;
    uint32_t room = free_slots(m, x), others = candidates(m, x, prefetch);

    if (m->slot[x] != CACHE_NONE) {
        assert_int_equal(r.outcome, CACHE_HIT);
        assert_int_equal(r.slot, m->slot[x]);
        assert_int_equal(r.evicted_count, 0);
    } else if (r.outcome == CACHE_LOAD) {
        if (m->p.bytes == 0)
            assert_int_equal(r.evicted_count, room == 0);
        mirror_evictions(m, &r, x, prefetch);
        if (m->spares > 0 && r.evicted_count > 0)
            assert_int_equal(r.slot, exchange(m, r.evicted[0].slot));
        assert_true(r.slot < cache_slots(m->c) + m->spares && !m->taken[r.slot]);
        assert_true(is_of_set(m, r.slot, x));
        m->slot[x] = r.slot;
        m->taken[r.slot] = 1;
        m->used_bytes += m->bytes[layer];
        assert_true(m->used_bytes <= cache_capacity_bytes(m->c));
    } else {
        assert_int_equal(r.outcome, CACHE_BYPASS);
        mirror_evictions(m, &r, x, prefetch);
        if (always_keeps(m)) {
            assert_true(m->p.bytes > 0 || room == 0);
            assert_true(m->p.bytes > 0 || prefetch ||
                        m->p.protect == CACHE_PROTECT_STRICT);
            assert_true(m->p.bytes > 0 || others == 0);
        }
        if (!prefetch && m->spares > 0) {
            assert_int_equal(r.slot, exchange(m, m->spare[0]));
        } else if (!prefetch) {
            assert_int_equal(r.slot, cache_slots(m->c) + m->staged);
            m->staged = (m->staged + 1) % (uint32_t)m->p.staging;
        }
    }
    m->fresh[x] = prefetch && r.outcome != CACHE_BYPASS;
}

static void mirror_agrees(const struct mirror *m)
{
    uint32_t residents = 0;

    for (uint32_t layer = 0; layer < m->s->layers; layer++) {
        for (uint32_t expert = 0; expert < m->s->experts; expert++) {
            uint32_t slot = m->slot[layer * m->s->experts + expert];

            assert_int_equal(cache_slot_of(m->c, layer, expert), slot);
            residents += slot != CACHE_NONE;
        }
    }
    assert_int_equal(cache_resident_count(m->c), residents);
    assert_true(residents <= cache_slots(m->c));
}

/* Prefetches for the layer's step in the next pass; one of three guesses is wrong. */
static void prefetch_some(struct mirror *m, uint32_t pass, uint32_t layer, struct rng *r)
{
    const uint16_t *next = rig_step(m->s, pass + 1, layer);

    for (uint32_t i = 0; i < m->s->width; i++) {
        uint32_t expert =
            rng_below(r, 3) == 0 ? (uint32_t)rng_below(r, m->s->experts) : next[i];

        mirror_result(m, layer, expert, cache_prefetch(m->c, layer, expert, pass + 1),
                      true);
    }
}

static void walk(struct mirror *m, bool prefetch)
{
    const struct rig_stream *s = m->s;
    uint32_t objects = s->layers * s->experts;
    struct rng r = rng_stream(3, "walk", 0);

    for (uint32_t pass = 0; pass < s->passes; pass++) {
        for (uint32_t layer = 0; layer < s->layers; layer++) {
            const uint16_t *expert = rig_step(s, pass, layer);
            const struct cache_use *next = rig_next(s, pass, layer);

            memset(m->active, 0, objects);
            for (uint32_t i = 0; i < s->width; i++)
                m->active[layer * s->experts + expert[i]] = 1;
            /* Guesses for this step that turned out wrong are held no longer. */
            for (uint32_t x = layer * s->experts; x < (layer + 1) * s->experts; x++)
                m->fresh[x] = m->fresh[x] && m->active[x];
            cache_begin_step(m->c, layer, expert, s->width);
            for (uint32_t i = 0; i < s->width; i++)
                mirror_result(m, layer, expert[i],
                              cache_access(m->c, layer, expert[i], next[i]), false);
            if (prefetch && pass + 1 < s->passes)
                prefetch_some(m, pass, layer, &r);
            mirror_agrees(m);
        }
        cache_end_pass(m->c);
    }
}

static void contract(const struct rig_stream *s, const struct plugin *plugin,
                     struct cache_params p, const uint64_t *bytes, bool prefetch)
{
    uint32_t objects = s->layers * s->experts;
    struct mirror m = {.s = s, .plugin = plugin, .p = p, .bytes = bytes};

    m.c = rig_cache(s, plugin->name, NULL, p, bytes);
    m.slot = mem_alloc(objects, sizeof *m.slot);
    m.spares = (uint32_t)p.spare;
    assert_int_equal(cache_slots_beside(m.c), p.spare > 0 ? p.spare : p.staging);
    for (uint32_t i = 0; i < m.spares; i++)
        m.spare[i] = cache_slots(m.c) + i;
    m.taken = mem_zalloc(cache_slots(m.c) + m.spares, 1);
    m.active = mem_zalloc(objects, 1);
    m.fresh = mem_zalloc(objects, 1);
    for (uint32_t x = 0; x < objects; x++) {
        m.slot[x] = cache_slot_of(m.c, x / s->experts, x % s->experts);
        if (m.slot[x] != CACHE_NONE) {
            assert_int_equal(m.taken[m.slot[x]], 0);
            m.taken[m.slot[x]] = 1;
            m.used_bytes += bytes[x / s->experts];
        }
    }
    walk(&m, prefetch);
    cache_free(m.c);
    free(m.slot);
    free(m.taken);
    free(m.active);
    free(m.fresh);
}

static void every_policy_keeps_the_contract(void **state)
{
    static const uint64_t bytes[] = {3, 3, 3};
    static const int64_t slots[] = {1, 3, 5, 11};
    struct rig_stream s = rig_stream_random(1, 3, 12, 60, 4);
    const struct plugin *const *at = NULL;
    const struct plugin *plugin;

    (void)state;
    while ((plugin = rig_next_policy(&at)) != NULL) {
        for (uint32_t i = 0; i < 4 * 2 * 3 * 2 * 2; i++) {
            struct cache_params p = {.slots = slots[i % 4],
                                     .scope = (int)(i / 4 % 2),
                                     .protect = (int)(i / 8 % 3),
                                     .admission = (int)(i / 24 % 2),
                                     .preload = (int)(i / 3 % 3),
                                     .spare = i / 5 % 5,
                                     .staging = 3};

            contract(&s, plugin, p, bytes, i / 48 == 1);
        }
    }
    rig_stream_free(&s);
}

static void bytes_are_never_exceeded(void **state)
{
    static const uint64_t bytes[] = {7, 2, 5};
    struct rig_stream s = rig_stream_random(2, 3, 10, 80, 3);
    const struct plugin *const *at = NULL;
    const struct plugin *plugin;

    (void)state;
    while ((plugin = rig_next_policy(&at)) != NULL) {
        for (uint32_t i = 0; i < 3 * 3 * 2; i++) {
            struct cache_params p = {.bytes = 9 + i % 3 * 13,
                                     .scope = CACHE_GLOBAL,
                                     .protect = (int)(i / 3 % 3),
                                     .staging = 2};

            contract(&s, plugin, p, bytes, i / 9 == 1);
        }
    }
    rig_stream_free(&s);
}

/* Above 64 slots the ranked policies keep a heap instead of an array. */
static void large_sets_keep_the_contract(void **state)
{
    static const uint64_t bytes[] = {1, 1, 1, 1};
    struct rig_stream s = rig_stream_random(4, 4, 64, 40, 8);
    const struct plugin *const *at = NULL;
    const struct plugin *plugin;

    (void)state;
    while ((plugin = rig_next_policy(&at)) != NULL) {
        for (int i = 0; i < 2; i++) {
            struct cache_params p = {.slots = 100,
                                     .scope = CACHE_GLOBAL,
                                     .protect = i == 0 ? CACHE_PROTECT_STRICT
                                                       : CACHE_PROTECT_NONE,
                                     .staging = 1};

            contract(&s, plugin, p, bytes, true);
        }
    }
    rig_stream_free(&s);
}

static void same_seed_same_hits(void **state)
{
    struct rig_stream s = rig_stream_random(5, 2, 16, 100, 4);
    const struct plugin *const *at = NULL;
    const struct plugin *plugin;

    (void)state;
    while ((plugin = rig_next_policy(&at)) != NULL)
        assert_int_equal(rig_hits(&s, plugin->name, NULL, rig_unprotected(9)),
                         rig_hits(&s, plugin->name, NULL, rig_unprotected(9)));
    rig_stream_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_policy_keeps_the_contract),
        cmocka_unit_test(bytes_are_never_exceeded),
        cmocka_unit_test(large_sets_keep_the_contract),
        cmocka_unit_test(same_seed_same_hits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The cache of systems that swap: what is there from the start, hits before misses, spare
 * slots; and the vectors of an independent implementation, where MOESIM_ORACLE names the
 * folder that holds them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cache_rig.h"
#include "oracle_file.h"
#include "sim/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- from the start ---- */

static bool starts_with(const struct cache *c, uint32_t layer, uint32_t expert)
{
    return cache_slot_of(c, layer, expert) != CACHE_NONE;
}

/* Accesses an expert alone; who made way for it, or CACHE_NONE. */
static uint32_t displaced_by(struct cache *c, uint32_t layer, uint32_t expert)
{
    uint16_t active = (uint16_t)expert;
    struct cache_result r;

    cache_begin_step(c, layer, &active, 1);
    r = cache_access(c, layer, expert, CACHE_UNUSED);
    assert_true(r.evicted_count <= 1);
    return r.evicted_count == 0 ? CACHE_NONE : r.evicted[0].expert;
}

/* 2 to 5 of each layer's six, or the last four of all twelve; the oldest is the lowest.
 */
static void preload_last_is_the_highest(void **state)
{
    struct rig_stream s = rig_stream_new(2, 6, 1, 1);
    struct cache_params p = {.slots = 4, .staging = 1, .preload = CACHE_PRELOAD_LAST};
    struct cache *c;

    (void)state;
    rig_stream_finish(&s);
    c = rig_cache(&s, "lru", NULL, p, NULL);
    for (uint32_t x = 0; x < 12; x++)
        assert_int_equal(starts_with(c, x / 6, x % 6), x % 6 >= 2);
    assert_int_equal(displaced_by(c, 0, 0), 2);
    assert_int_equal(displaced_by(c, 0, 1), 3);
    assert_int_equal(displaced_by(c, 1, 1), 2);
    cache_free(c);
    p.scope = CACHE_GLOBAL;
    c = rig_cache(&s, "lru", NULL, p, NULL);
    for (uint32_t x = 0; x < 12; x++)
        assert_int_equal(starts_with(c, x / 6, x % 6), x >= 8);
    assert_int_equal(displaced_by(c, 0, 0), 2);
    cache_free(c);
    rig_stream_free(&s);
}

/* By bytes: four experts of 3 and four of 5, room for 19: the last three of 5, and then
 * one of 3, which is the oldest. All eight take 32. */
static void preload_last_by_bytes(void **state)
{
    static const uint64_t bytes[] = {3, 5};
    struct rig_stream s = rig_stream_new(2, 4, 1, 1);
    struct cache_params p = {
        .scope = CACHE_GLOBAL, .bytes = 19, .staging = 1, .preload = CACHE_PRELOAD_LAST};
    struct cache *c;

    (void)state;
    rig_stream_finish(&s);
    c = rig_cache(&s, "lru", NULL, p, bytes);
    for (uint32_t x = 0; x < 8; x++)
        assert_int_equal(starts_with(c, x / 4, x % 4), x == 3 || x >= 5);
    assert_int_equal(displaced_by(c, 0, 0), 3);
    cache_free(c);
    p.bytes = 32;
    c = rig_cache(&s, "lru", NULL, p, bytes);
    assert_int_equal(cache_resident_count(c), 8);
    cache_free(c);
    rig_stream_free(&s);
}

/* ---- spare slots ---- */

static struct cache_result access_one(struct cache *c, uint32_t expert)
{
    uint16_t active = (uint16_t)expert;

    cache_begin_step(c, 0, &active, 1);
    return cache_access(c, 0, expert, CACHE_UNUSED);
}

/* Slots 0 and 1, spares 2 and 3. Loads with room take what is free; then the oldest
 * spare, and leave their victim's slot behind the other spare. */
static void slots_take_turns(void **state)
{
    static const uint32_t slot[] = {0, 1, 2, 3, 0, 1, 2};
    struct rig_stream s = rig_stream_new(1, 8, 1, 1);
    struct cache_params p = {.slots = 2, .staging = 5, .spare = 2};
    struct cache *c;

    (void)state;
    rig_stream_finish(&s);
    c = rig_cache(&s, "lru", NULL, p, NULL);
    assert_int_equal(cache_slots(c), 2);
    assert_int_equal(cache_slots_beside(c), 2);
    assert_int_equal(cache_staging_bytes(c), 2);
    for (uint32_t x = 0; x < 7; x++) {
        struct cache_result r = access_one(c, x);

        assert_int_equal(r.outcome, CACHE_LOAD);
        assert_int_equal(r.slot, slot[x]);
        assert_int_equal(cache_slot_of(c, 0, x), slot[x]);
        assert_int_equal(r.evicted_count, x >= 2);
        if (x >= 2)
            assert_int_equal(r.evicted[0].slot, slot[x - 2]);
    }
    cache_free(c);
    rig_stream_free(&s);
}

/* Both residents are active: what is missing passes through the spares in turn, which
 * stay spare. */
static void what_is_not_kept_goes_through_spares(void **state)
{
    static const uint16_t active[] = {0, 1, 2, 3, 4};
    struct rig_stream s = rig_stream_new(1, 8, 1, 1);
    struct cache_params p = {.slots = 2, .staging = 1, .spare = 2};
    struct cache *c;

    (void)state;
    rig_stream_finish(&s);
    c = rig_cache(&s, "lru", NULL, p, NULL);
    cache_begin_step(c, 0, active, 5);
    for (uint32_t x = 0; x < 5; x++) {
        struct cache_result r = cache_access(c, 0, x, CACHE_UNUSED);

        assert_int_equal(r.outcome, x < 2 ? CACHE_LOAD : CACHE_BYPASS);
        assert_int_equal(r.slot, x < 4 ? x : 2);
    }
    assert_int_equal(access_one(c, 5).slot, 3);
    assert_int_equal(access_one(c, 6).slot, 2);
    assert_int_equal(access_one(c, 7).slot, 0);
    cache_free(c);
    rig_stream_free(&s);
}

/* They are charged for in place of staging slots, by the largest expert. */
static void spares_take_memory(void **state)
{
    static const uint64_t bytes[] = {3, 3}, uneven[] = {3, 5};
    struct cache_params p = {.slots = 2, .staging = 7, .spare = 4};
    struct cache_config config = {
        .algorithm = (const struct cache_algorithm *)(const void *)registry_find(
            SLOT_CACHE, "lru"),
        .params = p,
        .layers = 2,
        .experts = 4,
        .expert_bytes = uneven};
    struct err e = {.text = ""};

    (void)state;
    assert_int_equal(cache_room_bytes(&p, 2, 4, bytes), 4 * 3 + 4 * 3);
    p.spare = 0;
    assert_int_equal(cache_room_bytes(&p, 2, 4, bytes), 4 * 3 + 7 * 3);
    assert_null(cache_new(&config, &e));
    assert_non_null(
        strstr(e.text, "differ in size here (3 to 5 bytes); leave out spare"));
}

/* ---- hits first ---- */

static void hits_come_before_misses(void **state)
{
    static const uint16_t active[] = {0, 3, 4, 7, 9};
    static const uint16_t expected[] = {1, 3, 0, 2, 4};
    struct rig_stream s = rig_stream_new(1, 10, 1, 1);
    struct cache_params p = {.slots = 3, .staging = 1};
    uint16_t turn[5];
    struct cache *c;

    (void)state;
    rig_stream_finish(&s);
    c = rig_cache(&s, "lru", NULL, p, NULL);
    (void)access_one(c, 7);
    (void)access_one(c, 3);
    (void)access_one(c, 8);
    cache_order_hits_first(c, 0, active, 5, turn);
    assert_memory_equal(turn, expected, sizeof turn);
    cache_free(c);
    rig_stream_free(&s);
}

/* ---- an independent implementation ---- */

enum { MOST_EXPERTS = 4096 };

struct vector {
    uint32_t experts, slots;
    const struct cfg_node *steps; /* of what is expected */
    uint64_t misses, in, out;
};

/* The step's experts, ascending. */
static uint32_t active_of(const struct vector *v, const struct cfg_node *step,
                          uint16_t *active)
{
    const struct cfg_node *ids = oracle_at(step, "ids");
    uint32_t count = 0;

    for (uint32_t x = 0; x < v->experts; x++) {
        bool chosen = false;

        for (size_t row = 0; row < cfg_count(ids); row++)
            for (size_t k = 0; k < cfg_count(cfg_item(ids, row)); k++)
                chosen = chosen ||
                         (uint32_t)oracle_value(cfg_item(cfg_item(ids, row), k)) == x;
        if (chosen)
            active[count++] = (uint16_t)x;
    }
    return count;
}

/* Accesses the experts of a step in the order of `hits-first`, and checks the misses. */
static void take_step(struct vector *v, struct cache *c, const struct cfg_node *step)
{
    const struct cfg_node *expected = oracle_at(step, "misses");
    uint16_t active[MOST_EXPERTS], turn[MOST_EXPERTS];
    uint32_t count = active_of(v, step, active), misses = 0;

    cache_begin_step(c, 0, active, count);
    cache_order_hits_first(c, 0, active, count, turn);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t expert = active[turn[i]];
        struct cache_result r = cache_access(c, 0, expert, CACHE_UNUSED);

        if (r.outcome == CACHE_HIT)
            continue;
        assert_int_equal(r.outcome, CACHE_LOAD);
        assert_true(misses < cfg_count(expected));
        assert_int_equal(expert, (uint32_t)oracle_value(cfg_item(expected, misses++)));
        v->in++;
        v->out += r.evicted_count;
    }
    assert_int_equal(misses, cfg_count(expected));
    v->misses += misses;
}

/* Takes the first steps, and then what is there apart, the oldest first: whatever is
 * missed next displaces it. */
static void check_residents(const struct vector *v, struct rig_stream *s,
                            struct cache_params p, size_t steps)
{
    const struct cfg_node *expected =
        oracle_at(cfg_item(v->steps, steps - 1), "resident");
    struct cache *c = rig_cache(s, "lru", NULL, p, NULL);
    struct vector again = *v;
    uint32_t missing = 0;

    for (size_t i = 0; i < steps; i++)
        take_step(&again, c, cfg_item(v->steps, i));
    assert_int_equal(cfg_count(expected), v->slots);
    while (starts_with(c, 0, missing))
        missing++;
    for (uint32_t i = 0; i < v->slots; i++) {
        uint32_t oldest = displaced_by(c, 0, missing);

        assert_int_equal(oldest, (uint32_t)oracle_value(cfg_item(expected, i)));
        missing = oldest;
    }
    cache_free(c);
}

static void check_vector(const struct cfg_node *n)
{
    const struct cfg_node *expect = oracle_at(n, "expect");
    struct vector v = {.experts = (uint32_t)oracle_number(n, "experts"),
                       .steps = oracle_at(expect, "steps")};
    struct cache_params p = {.protect = CACHE_PROTECT_PREFER,
                             .preload = CACHE_PRELOAD_LAST,
                             .order = CACHE_ORDER_HITS_FIRST,
                             .write_back = true,
                             .staging = 1,
                             .spare = 4};
    struct rig_stream s = rig_stream_new(1, v.experts, 1, 1);
    struct cache *c;

    assert_true(v.experts <= MOST_EXPERTS);
    v.slots = v.experts - (uint32_t)oracle_number(n, "offloaded");
    p.slots = v.slots;
    rig_stream_finish(&s);
    for (size_t i = 0; i < cfg_count(v.steps); i++)
        check_residents(&v, &s, p, i + 1);
    c = rig_cache(&s, "lru", NULL, p, NULL);
    for (size_t i = 0; i < cfg_count(v.steps); i++)
        take_step(&v, c, cfg_item(v.steps, i));
    assert_int_equal(v.misses, oracle_number(expect, "misses"));
    assert_int_equal(v.in, oracle_number(expect, "copies_in"));
    assert_int_equal(v.out, oracle_number(expect, "copies_out"));
    cache_free(c);
    rig_stream_free(&s);
}

/* Whatever the rule chose: the cache sees only what was chosen. */
static void vectors_of_eras(void **state)
{
    struct cfg *c = oracle_open("eras_cache_vectors", "eras.json");
    const struct cfg_node *vectors;

    (void)state;
    if (c == NULL)
        skip();
    vectors = oracle_at(cfg_root(c), "vectors");
    assert_true(cfg_count(vectors) > 0);
    for (size_t i = 0; i < cfg_count(vectors); i++)
        check_vector(cfg_item(vectors, i));
    cfg_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(preload_last_is_the_highest),
        cmocka_unit_test(preload_last_by_bytes),
        cmocka_unit_test(slots_take_turns),
        cmocka_unit_test(what_is_not_kept_goes_through_spares),
        cmocka_unit_test(spares_take_memory),
        cmocka_unit_test(hits_come_before_misses),
        cmocka_unit_test(vectors_of_eras),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

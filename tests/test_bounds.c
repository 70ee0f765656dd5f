/* Bounds in counts: never beaten by a policy, and no higher than what the best schedule
 * of evictions reaches where that can be found by trying all of them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "run_world.h"
#include "sim/experiment/bounds.h"

#include "sim/base/mem.h"
#include "sim/base/rng.h"

#include <stdlib.h>
#include <string.h>

static struct bounds_counts bound_of(const struct run_world *w,
                                     const struct cache_params *p, bool preloaded)
{
    struct future *f = run_world_future(w, cache_order_ahead(p));
    struct bounds_counts b;
    struct err e = {.text = ""};

    if (bounds_count(f, w->layers, w->experts, w->expert_bytes, NULL, p, preloaded, &b,
                     &e) != 0)
        fail_msg("%s", e.text);
    future_free(f);
    return b;
}

/* ---- never beaten ---- */

struct contest {
    struct run_world *w;
    char *options;     /* of the cache */
    const char *early; /* prefetch slot; "none": hits count, too */
    uint64_t visited, best;
    struct bounds_counts bound; /* of the last */
    bool alike;                 /* every expert has WORLD_BYTES */
};

static void beat(void *context, const char *name)
{
    struct contest *s = context;
    bool early = strcmp(s->early, "none") != 0;
    char *text = mem_format("{cache: {name: %s, %s}, prefetch: %s}", name, s->options,
                            early && strcmp(name, "pin") == 0 ? "none" : s->early);
    struct run_policy_text t = run_policy_read(text);
    bool preloaded =
        cache_starts_full(&t.policy->cache) || policy_cache(t.policy)->preload != NULL;
    struct run_case c = {.policy = text, .unchecked = true, .count = true, .seed = 3};
    struct run_result r;
    struct run_counts *n = &r.total.counts;

    run_policy_slots(t.policy, s->w);
    s->bound = bound_of(s->w, &t.policy->cache, preloaded);
    run_world_run(s->w, &c, &r);
    assert_int_equal(s->bound.accesses, n->accesses);
    if (!early && n->hits > s->bound.hits)
        fail_msg("%s has %llu hits, but the bound is %llu", text,
                 (unsigned long long)n->hits, (unsigned long long)s->bound.hits);
    if (n->demand_bytes + n->prefetch_bytes < s->bound.load_bytes)
        fail_msg("%s moves %llu bytes, but the bound is %llu", text,
                 (unsigned long long)(n->demand_bytes + n->prefetch_bytes),
                 (unsigned long long)s->bound.load_bytes);
    if (s->alike)
        assert_int_equal(s->bound.load_bytes,
                         (s->bound.accesses - s->bound.hits) * WORLD_BYTES);
    if (!preloaded && !early)
        s->best = n->hits > s->best ? n->hits : s->best;
    run_result_release(&r);
    run_policy_release(&t);
    free(text);
    s->visited++;
}

static void contest(uint64_t seed)
{
    static const char *const protect[] = {"strict", "prefer", "none"};
    struct rng r = rng_stream(seed, "contest", 0);
    uint32_t layers = 1 + (uint32_t)rng_below(&r, 3);
    struct contest s = {.w = run_world_new(layers, 3 + (uint32_t)rng_below(&r, 9),
                                           1 + (uint32_t)rng_below(&r, 3), 2, 30, NULL,
                                           seed)};
    bool global = rng_below(&r, 2) == 0;
    bool bytes = rng_below(&r, 2) == 0;
    bool plain = seed % 4 == 0;
    uint64_t slots = 1 + rng_below(&r, s.w->experts);
    uint64_t largest = WORLD_BYTES;

    for (uint32_t l = 0; seed % 3 == 0 && l < layers; l++) {
        s.w->expert_bytes[l] = 1 + rng_below(&r, 5);
        largest =
            l == 0 || s.w->expert_bytes[l] > largest ? s.w->expert_bytes[l] : largest;
    }
    s.alike = seed % 3 != 0;
    s.w->workload.batch = 1 + (int64_t)rng_below(&r, 2);
    s.options = mem_format("scope: %s, %s: %llu%s, protect: %s, preload: %s, "
                           "admission: %s, order: %s",
                           global ? "global" : "layer",
                           bytes    ? "bytes"
                           : global ? "total_slots"
                                    : "slots",
                           (unsigned long long)(bytes ? slots * largest * layers : slots),
                           bytes ? " B" : "", plain ? "none" : protect[rng_below(&r, 3)],
                           plain || rng_below(&r, 3) > 0 ? "none"
                           : seed % 2 == 0               ? "linear"
                                                         : "last",
                           !plain && rng_below(&r, 4) == 0 ? "second-miss" : "always",
                           seed % 5 < 2            ? "hits-first"
                           : rng_below(&r, 2) == 0 ? "recorded"
                                                   : "id");
    s.early = "{name: oracle, distance: 3}";
    run_world_each_cache(beat, &s);
    s.early = "none";
    run_world_each_cache(beat, &s);
    assert_true(s.visited >= 30);
    /* Without protection and with equal sizes the bound is a policy's own figure. */
    if (plain && seed % 3 != 0)
        assert_int_equal(s.best, s.bound.hits);
    free(s.options);
    run_world_free(s.w);
}

static void test_never_beaten(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++)
        contest(seed);
}

/* ---- the optimum by trying everything ---- */

/* Experts of one set, by bits. */
struct search {
    const uint32_t *object; /* accesses in order */
    const uint64_t *size;   /* of the objects */
    uint32_t count, objects;
    uint64_t room;
    uint8_t *best; /* (access, resident set) most hits from here, plus 1; 0: not known */
};

static uint64_t size_of(const struct search *s, uint32_t set)
{
    uint64_t sum = 0;

    for (uint32_t x = 0; x < s->objects; x++)
        sum += (set >> x & 1) != 0 ? s->size[x] : 0;
    return sum;
}

/* Most hits from access `at` on. After a miss the set may become any part of what is
 * there and what came in that has room. */
static uint8_t most_hits(const struct search *s, uint32_t at, uint32_t set)
{
    uint8_t *memo;
    uint32_t bit;
    uint32_t all;
    uint8_t best = 0;

    if (at == s->count)
        return 0;
    memo = &s->best[((size_t)at << s->objects) + set];
    bit = 1U << s->object[at];
    all = set | bit;
    if (*memo != 0)
        return (uint8_t)(*memo - 1);
    if ((set & bit) != 0) {
        best = (uint8_t)(1 + most_hits(s, at + 1, set));
    } else {
        for (uint32_t part = all;; part = (part - 1) & all) {
            if (size_of(s, part) <= s->room) {
                uint8_t hits = most_hits(s, at + 1, part);

                best = hits > best ? hits : best;
            }
            if (part == 0)
                break;
        }
    }
    *memo = (uint8_t)(best + 1);
    return best;
}

/* Notes the accesses of a row, ascending or as recorded; `first` is the layer's first
 * object. */
static void note_row(const struct run_world *w, struct search *s, uint32_t *object,
                     const uint16_t *id, uint32_t first, int order)
{
    for (uint32_t i = 0; i < (order == CACHE_ORDER_ID ? w->experts : w->top_k); i++)
        for (uint32_t k = 0; k < w->top_k; k++)
            if (id[k] != WORLD_NONE && (order == CACHE_ORDER_ID ? id[k] : k) == i) {
                assert_true(s->count < 64);
                object[s->count++] = first + id[k];
            }
}

/* Most hits from step `at` on where what is there comes first: the set may then become
 * any part of it and of what the step brought in. Steps are of `object`, by bits. */
static uint8_t most_first_hits(const struct search *s, uint32_t at, uint32_t set)
{
    uint8_t *memo, best = 0;
    uint32_t all;

    if (at == s->count)
        return 0;
    memo = &s->best[((size_t)at << s->objects) + set];
    all = set | s->object[at];
    if (*memo != 0)
        return (uint8_t)(*memo - 1);
    for (uint32_t part = all;; part = (part - 1) & all) {
        if (size_of(s, part) <= s->room) {
            uint8_t hits = most_first_hits(s, at + 1, part);

            best = hits > best ? hits : best;
        }
        if (part == 0)
            break;
    }
    for (uint32_t x = 0; x < s->objects; x++)
        best = (uint8_t)(best + ((set & s->object[at]) >> x & 1));
    *memo = (uint8_t)(best + 1);
    return best;
}

/* The accesses of one request's steps, one set for all layers or the set of `layer`. */
static uint64_t optimum(const struct run_world *w, uint32_t only, uint64_t room,
                        int order)
{
    uint32_t object[64];
    uint64_t size[16];
    struct search s = {.object = object, .size = size, .room = room};
    uint64_t hits;
    uint32_t steps = 0;

    s.objects = only == UINT32_MAX ? w->layers * w->experts : w->experts;
    for (uint32_t x = 0; x < s.objects; x++)
        size[x] = w->expert_bytes[only == UINT32_MAX ? x / w->experts : only];
    for (uint32_t at = 0; at < w->rows * w->layers; at++) {
        uint32_t l = at % w->layers;

        if (only == UINT32_MAX || l == only)
            note_row(w, &s, object, w->expert + (size_t)at * w->top_k,
                     only == UINT32_MAX ? l * w->experts : 0, order);
        if (order == CACHE_ORDER_HITS_FIRST && s.count > steps) {
            uint32_t all = 0;

            for (; s.count > steps; s.count--)
                all |= 1U << object[s.count - 1];
            object[s.count++] = all;
            steps++;
        }
    }
    s.best = mem_zalloc((size_t)(s.count + 1) << s.objects, 1);
    hits =
        order == CACHE_ORDER_HITS_FIRST ? most_first_hits(&s, 0, 0) : most_hits(&s, 0, 0);
    free(s.best);
    return hits;
}

static void test_optimum(void **state)
{
    uint64_t some = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 80; seed++) {
        struct rng r = rng_stream(seed, "optimum", 0);
        struct run_world *w =
            run_world_new(1 + (uint32_t)rng_below(&r, 2), 2 + (uint32_t)rng_below(&r, 3),
                          1 + (uint32_t)rng_below(&r, 2), 1, 10, NULL, 500 + seed);
        struct cache_params p = {.slots = 1 + (int64_t)rng_below(&r, w->experts),
                                 .protect = (int)rng_below(&r, 3),
                                 .scope = (int)rng_below(&r, 2),
                                 .order = (int)(seed % CACHE_ORDERS),
                                 .staging = 1};
        uint64_t hits = 0;

        for (uint32_t l = 0; l < w->layers; l++)
            w->expert_bytes[l] = 1;
        if (p.scope == CACHE_GLOBAL)
            hits = optimum(w, UINT32_MAX, (uint64_t)p.slots, p.order);
        for (uint32_t l = 0; p.scope != CACHE_GLOBAL && l < w->layers; l++)
            hits += optimum(w, l, (uint64_t)p.slots, p.order);
        assert_int_equal(bound_of(w, &p, false).hits, hits);
        some += hits;
        run_world_free(w);
    }
    assert_true(some > 100);
}

/* What a policy reaches that the bound on ascending ids does not allow: by id 3 would be
 * brought in after 0 and go before it is used again. */
static void test_recorded_order(void **state)
{
    struct run_world *w = run_world_spelled(1, 4, 2, "13 30 01");
    struct cache_params p = {
        .slots = 1, .protect = CACHE_PROTECT_NONE, .order = CACHE_ORDER_RECORDED};
    struct run_case c = {.policy = "{cache: {name: lru, slots: 1, protect: none, "
                                   "order: recorded}}",
                         .count = true};
    struct run_result r;

    (void)state;
    run_world_run(w, &c, &r);
    assert_int_equal(r.total.counts.hits, 2);
    assert_int_equal(bound_of(w, &p, false).hits, 2);
    p.order = CACHE_ORDER_ID;
    assert_int_equal(bound_of(w, &p, false).hits, 1);
    run_result_release(&r);
    run_world_free(w);
}

/* With unequal sizes in one set the optimum is out of reach, but never above the bound;
 * the least bytes are not below it either. */
static void test_unequal_sizes(void **state)
{
    uint64_t reached = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct rng r = rng_stream(seed, "unequal", 0);
        struct run_world *w =
            run_world_new(2, 2 + (uint32_t)rng_below(&r, 3),
                          1 + (uint32_t)rng_below(&r, 2), 1, 10, NULL, 700 + seed);
        struct cache_params p = {
            .scope = CACHE_GLOBAL, .order = (int)(seed % 2), .staging = 1};
        struct bounds_counts b;
        uint64_t hits;

        w->expert_bytes[0] = 1 + rng_below(&r, 4);
        w->expert_bytes[1] = 1 + rng_below(&r, 4);
        p.bytes = 4 + rng_below(&r, 10);
        b = bound_of(w, &p, false);
        hits = optimum(w, UINT32_MAX, p.bytes, p.order);
        assert_true(hits <= b.hits);
        reached += hits == b.hits;
        run_world_free(w);
    }
    assert_true(reached > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_never_beaten),
        cmocka_unit_test(test_optimum),
        cmocka_unit_test(test_recorded_order),
        cmocka_unit_test(test_unequal_sizes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The cache slot: one known answer per algorithm and option. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cache_rig.h"
#include "sim/base/mem.h"
#include "sim/policy/rank.h"

#include <stdlib.h>
#include <string.h>

static struct cache_params global(int64_t slots)
{
    return (struct cache_params){.scope = CACHE_GLOBAL,
                                 .slots = slots,
                                 .protect = CACHE_PROTECT_NONE,
                                 .staging = 1};
}

/* Replays single accesses ("abca") and checks which hit ("...h") and who is resident at
 * the end. */
static void plays(const char *policy, const char *options, uint32_t slots,
                  const char *letters, const char *expected, const char *residents)
{
    struct rig_stream s = rig_stream_of(8, letters);
    struct cache *c = rig_cache(&s, policy, options, global(slots), NULL);
    char got[64] = "", left[9] = "";

    assert_true(strlen(letters) < sizeof got);
    for (uint32_t i = 0; i < s.passes; i++) {
        cache_begin_step(c, 0, &s.expert[i], 1);
        got[i] = cache_access(c, 0, s.expert[i], s.next_use[i]).outcome == CACHE_HIT
                     ? 'h'
                     : '.';
        cache_end_pass(c);
    }
    for (uint32_t x = 0; x < 8; x++) {
        if (cache_slot_of(c, 0, x) != CACHE_NONE)
            left[strlen(left)] = (char)('a' + x);
    }
    assert_string_equal(got, expected);
    assert_string_equal(left, residents);
    cache_free(c);
    rig_stream_free(&s);
}

/* ---- known answers ---- */

/* 20,000 accesses to 200 experts with 60 slots; the counts are those of libCacheSim 0.3.5
 * (tests/libcachesim/compare.py) on the same stream. */
static void hits_equal_libcachesim(void **state)
{
    static const struct {
        const char *policy, *options;
        uint64_t hits;
    } known[] = {
        {"lru", NULL, 11975},
        {"fifo", NULL, 11610},
        {"lfu-evict", NULL, 12232},
        {"clock", NULL, 11997},
        {"clock", "{bits: 2, initial: 1}", 12080},
        {"sieve", NULL, 12406},
        {"s3fifo", NULL, 12465},
        {"s3fifo", "{small: 0.25, ghost: 0.5, threshold: 1}", 12451},
        {"arc", NULL, 12102},
        {"slru", "{segments: 4}", 12460},
        {"belady", NULL, 16002},
    };
    struct rig_stream s = rig_stream_random(21, 1, 200, 20000, 1);

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_int_equal(rig_hits(&s, known[i].policy, known[i].options, global(60)),
                         known[i].hits);
    rig_stream_free(&s);
}

static void order_of_recency_and_loading(void **state)
{
    (void)state;
    /* The hit on a saves it under LRU (b goes), not under FIFO (a goes). */
    plays("lru", NULL, 2, "abaca", "..h.h", "ac");
    plays("fifo", NULL, 2, "abaca", "..h..", "ac");
    plays("fifo", NULL, 2, "abac", "..h.", "bc");
    /* d passes over a, which is marked, and takes b; e takes c, now ahead of a; then b
     * takes a, whose mark is gone. */
    plays("clock", NULL, 2, "abac", "..h.", "ac");
    plays("clock", NULL, 3, "abcadeb", "...h...", "bde");
    /* SIEVE begins alike, but a stays where it is, behind the hand, which goes on from c
     * to d: the newcomer d goes and a stays. */
    plays("sieve", NULL, 3, "abcadeb", "...h...", "abe");
}

static void counting_policies_are_two(void **state)
{
    (void)state;
    /* a has count 3, b 1; c takes b, b takes c. When a is gone its count is gone too. */
    plays("lfu-evict", NULL, 2, "aaabcb", ".hh...", "ab");
    /* b b b: count 3; then a, c, a, c with one slot left beside b. */
    plays("lfu-evict", NULL, 2, "bbbacac", ".hh....", "bc");
    /* Counts that survive: c comes three times in all and then weighs as much as b, which
     * was used longer ago, so that the next newcomer takes b. */
    plays("lfu-keep", NULL, 2, "bbbacacacd", ".hh.......", "cd");
    plays("lfu-evict", NULL, 2, "bbbacacacd", ".hh.......", "bd");
    /* Equal counts: the one that reached its count first, a, goes. */
    plays("lfu-evict", NULL, 2, "abbac", "..hh.", "ac");
}

static void ageing_forgets(void **state)
{
    (void)state;
    /* a has 3 uses, long ago. Halving per access: a decays to 3 * 2^-n and is evicted
     * although its count is the highest. */
    plays("lfu-aging", "{decay: 1, window: 1}", 2, "aaabbc", ".hh.h.", "bc");
    plays("lfu-aging", "{decay: 0.5}", 2, "aaabbc", ".hh.h.", "bc");
    plays("lfu-aging", "{decay: 1}", 2, "aaabbc", ".hh.h.", "ac");
    /* Every second access doubles what later ones weigh, misses included: a has 1 + 1 +
     * 2, b 2 at a miss, c 4 behind it. d finds a and c alike, and takes the older. */
    plays("lfu-aging", "{decay: 1, window: 2}", 2, "aaabcd", ".hh...", "cd");
    /* Without `keep` it is lfu-evict when nothing ages. */
    plays("lfu-aging", "{decay: 1, keep: false}", 2, "bbbacacacd", ".hh.......", "bd");
    plays("lfu-aging", "{decay: 1, keep: true}", 2, "bbbacacacd", ".hh.......", "cd");
}

/* decay 0.5 per pass for 3,000 passes lets the weight pass 2^512 five times. The order
 * under "decay: 0.5" with one access per pass is LRU's: an access outweighs all before
 * it together (1 > 1/2 + 1/4 + ...). */
static void ageing_survives_rescaling(void **state)
{
    struct rig_stream s = rig_stream_random(31, 1, 12, 3000, 1);

    (void)state;
    for (int64_t slots = 2; slots < 9; slots += 3)
        assert_int_equal(rig_hits(&s, "lfu-aging", "{decay: 0.5}", global(slots)),
                         rig_hits(&s, "lru", NULL, global(slots)));
    rig_stream_free(&s);
    s = rig_stream_random(32, 1, 300, 3000, 1);
    assert_int_equal(rig_hits(&s, "lfu-aging", "{decay: 0.5}", global(90)),
                     rig_hits(&s, "lru", NULL, global(90)));
    rig_stream_free(&s);
}

static void segments_promote_and_demote(void **state)
{
    (void)state;
    /* Two segments of 2. a and b rise, c and d stay on probation; e takes c although a
     * was used before it. */
    plays("slru", NULL, 4, "abababcde", "..hhhh...", "abde");
    /* c rises as well: a, least recent of the protected, sinks above d, and e takes d. */
    plays("slru", NULL, 4, "ababcdce", "..hh..h.", "abce");
}

static void arc_adapts(void **state)
{
    struct rig_stream s = rig_stream_of(3, "cb");
    struct cache_params full = global(2);

    (void)state;
    /* T2 = {a}; b and c pass through the other slot. b, remembered, raises the target to
     * 1 and joins T2 in place of a: T1 = {c} is no larger than its target. */
    plays("arc", NULL, 2, "aabcb", ".h...", "bc");
    plays("lru", NULL, 2, "aabcb", ".h..h", "bc");
    /* What is there from the start was not used yet: a and b are both in T1, and c takes
     * a, the older. */
    full.preload = CACHE_PRELOAD_LINEAR;
    assert_int_equal(rig_hits(&s, "arc", NULL, full), 1);
    rig_stream_free(&s);
}

/* Two layers of four experts, of 3 and 2 bytes: 20 in all, and a staging slot of 3. */
static void room_by_hand(void **state)
{
    static const struct {
        int scope;
        int64_t slots;
        uint64_t bytes, room;
        bool all;
    } cases[] = {
        {CACHE_GLOBAL, 0, 7, 7 + 3, false},     {CACHE_GLOBAL, 0, 19, 19 + 3, false},
        {CACHE_GLOBAL, 0, 20, 20 + 3, true},    {CACHE_GLOBAL, 0, 21, 20 + 3, true},
        {CACHE_GLOBAL, 3, 0, 9 + 3, false},     {CACHE_GLOBAL, 7, 0, 20 + 3, false},
        {CACHE_GLOBAL, 8, 0, 20 + 3, true},     {CACHE_GLOBAL, 100, 0, 20 + 3, true},
        {CACHE_PER_LAYER, 0, 7, 7 + 3, false},  {CACHE_PER_LAYER, 0, 23, 20 + 3, false},
        {CACHE_PER_LAYER, 0, 24, 20 + 3, true}, {CACHE_PER_LAYER, 2, 0, 10 + 3, false},
        {CACHE_PER_LAYER, 4, 0, 20 + 3, true},  {CACHE_PER_LAYER, 5, 0, 20 + 3, true}};
    const uint64_t bytes[] = {3, 2};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cache_params p = {.scope = cases[i].scope,
                                 .slots = cases[i].slots,
                                 .bytes = cases[i].bytes,
                                 .staging = 1};

        assert_int_equal(cache_room_bytes(&p, 2, 4, bytes), cases[i].room);
        assert_int_equal(cache_holds_all(&p, 2, 4, bytes), cases[i].all);
    }
}

static void pin_keeps_the_profile(void **state)
{
    (void)state;
    /* Loads: a 1, b 3, c 2, d 2; c and d are equal, so the lower id is pinned. */
    plays("pin", NULL, 2, "abbdbcdc", ".hh.hh.h", "bc");
}

static void random_is_even(void **state)
{
    struct rig_stream s = rig_stream_random(17, 1, 40, 20000, 1);
    uint64_t hits = rig_hits(&s, "random", NULL, global(10));
    uint64_t fifo = rig_hits(&s, "fifo", NULL, global(10));

    (void)state;
    /* Under independent references RANDOM and FIFO hit equally often (Gelenbe 1973); the
     * stream repeats itself a little, so within 5 %. */
    assert_true(hits * 20 > fifo * 19 && hits * 20 < fifo * 21);
    rig_stream_free(&s);
}

/* ---- the ranking: an array up to 64 residents, a heap above ---- */

static uint32_t exhaustive(const struct cache_env *env, const uint64_t *key,
                           const uint64_t *tie, const uint8_t *in)
{
    uint32_t best = CACHE_NONE;

    for (uint32_t x = 0; x < env->objects; x++) {
        if (in[x] && !cache_env_protected(env, x) &&
            (best == CACHE_NONE || key[x] < key[best] ||
             (key[x] == key[best] && tie[x] < tie[best])))
            best = x;
    }
    return best;
}

static void ranking(uint32_t capacity)
{
    enum { OBJECTS = 300 };
    static uint64_t stamp[OBJECTS], key[OBJECTS], tie[OBJECTS];
    static uint8_t in[OBJECTS];
    struct cache_env env = {
        .objects = OBJECTS, .capacity = capacity, .protect = true, .stamp = stamp};
    struct rng r = rng_stream(41, "rank", capacity);
    struct rank rank;
    void *memory = mem_zalloc(rank_size(&env, true), 1);

    memset(stamp, 0, sizeof stamp);
    memset(in, 0, sizeof in);
    rank_init(&rank, &env, true, memory);
    for (uint64_t i = 1; i < 20000; i++) {
        uint32_t x = (uint32_t)rng_below(&r, OBJECTS);

        env.step = i / 8 + 1;
        /* In some steps a third of all objects is protected, so that the search has to go
         * below protected entries. */
        stamp[x] = i / 800 % 2 == 0 || rng_below(&r, 3) == 0 ? env.step : stamp[x];
        key[x] = rng_below(&r, 50);
        tie[x] = i;
        if (in[x] && rng_below(&r, 3) == 0) {
            rank_remove(&rank, x);
            in[x] = 0;
        } else if (in[x]) {
            rank_update_tie(&rank, x, key[x], tie[x]);
        } else if (rank.count < capacity) {
            rank_insert(&rank, x, key[x], tie[x]);
            in[x] = 1;
        }
        assert_int_equal(rank_least(&rank, &env), exhaustive(&env, key, tie, in));
    }
    free(memory);
}

static void ranking_equals_exhaustive_search(void **state)
{
    (void)state;
    ranking(1);
    ranking(20);
    ranking(64);
    ranking(65);
    ranking(250);
}

/* ---- what the cache adds ---- */

static void second_miss_admits(void **state)
{
    struct rig_stream s = rig_stream_of(4, "aabbcaa");
    struct cache_params p = global(2);

    (void)state;
    p.admission = CACHE_ADMIT_SECOND_MISS;
    /* a misses twice, is kept, b the same; c misses once and takes nothing. */
    assert_int_equal(rig_hits(&s, "lru", NULL, p), 2);
    rig_stream_free(&s);
}

static void protection_has_three_degrees(void **state)
{
    struct rig_stream s = rig_stream_new(1, 4, 1, 3);
    struct cache_params p = {.slots = 2, .staging = 2};

    (void)state;
    s.expert[1] = 1;
    s.expert[2] = 3;
    rig_stream_finish(&s);
    for (int protect = CACHE_PROTECT_STRICT; protect <= CACHE_PROTECT_NONE; protect++) {
        struct cache *c;
        struct cache_result r;

        p.protect = protect;
        c = rig_cache(&s, "lru", NULL, p, NULL);
        cache_begin_step(c, 0, s.expert, 3);
        assert_int_equal(cache_access(c, 0, 0, CACHE_UNUSED).slot, 0);
        assert_int_equal(cache_access(c, 0, 1, CACHE_UNUSED).slot, 1);
        r = cache_access(c, 0, 3, CACHE_UNUSED);
        /* Both residents are active: strict loads into staging slot 2. */
        assert_int_equal(r.outcome,
                         protect == CACHE_PROTECT_STRICT ? CACHE_BYPASS : CACHE_LOAD);
        assert_int_equal(r.slot, protect == CACHE_PROTECT_STRICT ? 2 : 0);
        assert_int_equal(r.evicted_count, protect == CACHE_PROTECT_STRICT ? 0 : 1);
        cache_free(c);
    }
    rig_stream_free(&s);
}

static void access_one(struct cache *c, uint32_t layer, uint16_t expert,
                       enum cache_outcome outcome, uint32_t evicted)
{
    struct cache_result r;

    cache_begin_step(c, layer, &expert, 1);
    r = cache_access(c, layer, expert, CACHE_UNUSED);
    assert_int_equal(r.outcome, outcome);
    assert_int_equal(r.evicted_count, evicted);
}

/* One global set of 10 bytes; experts of layer 0 have 2 bytes, of layer 1 have 5. */
static void unequal_sizes_share_the_bytes(void **state)
{
    static const uint64_t bytes[] = {2, 5};
    struct rig_stream s = rig_stream_new(2, 4, 1, 1);
    struct cache_params p = {.scope = CACHE_GLOBAL, .bytes = 10, .staging = 3};
    struct cache *c;

    (void)state;
    rig_stream_finish(&s);
    c = rig_cache(&s, "lru", NULL, p, bytes);
    assert_int_equal(cache_slots(c), 5);
    assert_int_equal(cache_capacity_bytes(c), 10);
    assert_int_equal(cache_staging_bytes(c), 15);
    for (uint16_t x = 0; x < 4; x++)
        access_one(c, 0, x, CACHE_LOAD, 0);
    /* 8 bytes are used: 5 more need 3, so two of the oldest go; 9 are used. */
    access_one(c, 1, 0, CACHE_LOAD, 2);
    assert_int_equal(cache_slot_of(c, 0, 1), CACHE_NONE);
    assert_int_equal(cache_resident_count(c), 3);
    access_one(c, 0, 2, CACHE_HIT, 0);
    /* 2 more need 1: expert 3 of layer 0 is the oldest. 9 are used again. */
    access_one(c, 0, 0, CACHE_LOAD, 1);
    assert_int_equal(cache_slot_of(c, 0, 3), CACHE_NONE);
    /* 5 more need 4: the large one is the oldest and is enough. */
    access_one(c, 1, 3, CACHE_LOAD, 1);
    assert_int_equal(cache_slot_of(c, 1, 0), CACHE_NONE);
    cache_free(c);

    /* Per layer, 20 bytes in equal shares: 5 slots of 2 (4 experts), 2 slots of 5. */
    p.scope = CACHE_PER_LAYER;
    p.bytes = 20;
    c = rig_cache(&s, "lru", NULL, p, bytes);
    assert_int_equal(cache_slots(c), 4 + 2);
    assert_int_equal(cache_capacity_bytes(c), 4 * 2 + 2 * 5);
    cache_free(c);

    /* Sizes do not matter where slots are given. */
    p = global(3);
    c = rig_cache(&s, "lru", NULL, p, (const uint64_t[]){0, 0});
    access_one(c, 1, 2, CACHE_LOAD, 0);
    assert_int_equal(cache_capacity_bytes(c), 0);
    cache_free(c);

    /* Slots of a global set must hold the largest: 3 of 5 bytes; 6: 4 of 5, 2 of 2. */
    p = global(3);
    c = rig_cache(&s, "lru", NULL, p, bytes);
    assert_int_equal(cache_capacity_bytes(c), 15);
    cache_free(c);
    p = global(6);
    c = rig_cache(&s, "lru", NULL, p, bytes);
    assert_int_equal(cache_capacity_bytes(c), 24);
    cache_free(c);
    rig_stream_free(&s);
}

static void prefetched_experts_are_held(void **state)
{
    struct rig_stream s = rig_stream_new(1, 8, 1, 1);
    struct cache_params p = {.slots = 2, .staging = 1};
    struct cache *c;
    uint16_t active = 0;
    struct cache_result r;

    (void)state;
    rig_stream_finish(&s);
    c = rig_cache(&s, "lru", NULL, p, NULL);
    access_one(c, 0, 0, CACHE_LOAD, 0);
    assert_int_equal(cache_prefetch(c, 0, 1, 1).outcome, CACHE_LOAD);
    assert_int_equal(cache_prefetch(c, 0, 1, 1).outcome, CACHE_HIT);
    /* 0 is active, 1 is held. */
    r = cache_prefetch(c, 0, 2, 1);
    assert_int_equal(r.outcome, CACHE_BYPASS);
    assert_int_equal(r.evicted_count, 0);
    cache_end_pass(c);
    /* Pass 1 does not use 1, so it is held no longer; it is newer than 0, which is
     * active. */
    cache_begin_step(c, 0, &active, 1);
    assert_int_equal(cache_access(c, 0, 0, CACHE_UNUSED).outcome, CACHE_HIT);
    r = cache_prefetch(c, 0, 2, 2);
    assert_int_equal(r.outcome, CACHE_LOAD);
    assert_int_equal(r.evicted[0].expert, 1);
    cache_end_pass(c);
    /* Used in its pass, 2 is like any other: 0 is older, so 0 goes. */
    access_one(c, 0, 2, CACHE_HIT, 0);
    r = cache_prefetch(c, 0, 3, 3);
    assert_int_equal(r.evicted[0].expert, 0);
    /* A demand miss may take what is held: 2 is older than 3, then 3 itself. */
    access_one(c, 0, 4, CACHE_LOAD, 1);
    access_one(c, 0, 5, CACHE_LOAD, 1);
    assert_int_equal(cache_slot_of(c, 0, 3), CACHE_NONE);
    cache_free(c);
    rig_stream_free(&s);
}

/* Of 0, which is the oldest, and 1 an early load takes 0, unless that is held; 2, which
 * is not there, cannot be. */
static void what_is_held_stays(void **state)
{
    struct rig_stream s = rig_stream_new(1, 8, 1, 1);
    struct cache_params p = {.slots = 2, .staging = 1};

    (void)state;
    rig_stream_finish(&s);
    for (uint32_t held = 0; held < 2; held++) {
        struct cache *c = rig_cache(&s, "lru", NULL, p, NULL);
        struct cache_result r;

        access_one(c, 0, 0, CACHE_LOAD, 0);
        access_one(c, 0, 1, CACHE_LOAD, 0);
        cache_begin_step(c, 0, NULL, 0);
        cache_hold(c, 0, 2, 1);
        if (held)
            cache_hold(c, 0, 0, 1);
        r = cache_prefetch(c, 0, 3, 1);
        assert_int_equal(r.outcome, CACHE_LOAD);
        assert_int_equal(r.evicted_count, 1);
        assert_int_equal(r.evicted[0].expert, held);
        assert_int_equal(cache_prefetch(c, 0, 2, 1).outcome,
                         held ? CACHE_BYPASS : CACHE_LOAD);
        cache_free(c);
    }
    rig_stream_free(&s);
}

static void preload_fills_with_the_lowest(void **state)
{
    struct rig_stream s = rig_stream_new(2, 6, 1, 1);
    struct cache_params p = {.slots = 4, .staging = 1, .preload = CACHE_PRELOAD_LINEAR};
    struct cache *c;

    (void)state;
    rig_stream_finish(&s);
    c = rig_cache(&s, "lru", NULL, p, NULL);
    for (uint32_t x = 0; x < 12; x++)
        assert_int_equal(cache_slot_of(c, x / 6, x % 6) != CACHE_NONE, x % 6 < 4);
    cache_free(c);
    p.scope = CACHE_GLOBAL;
    c = rig_cache(&s, "lru", NULL, p, NULL);
    for (uint32_t x = 0; x < 12; x++)
        assert_int_equal(cache_slot_of(c, x / 6, x % 6) != CACHE_NONE, x < 4);
    cache_free(c);
    rig_stream_free(&s);
}

/* ---- options and errors ---- */

static void defaults_are_as_documented(void **state)
{
    struct cache_params p;
    struct err e = {.text = ""};

    (void)state;
    memset(&p, 0xa5, sizeof p);
    assert_int_equal(cfg_bind(NULL, cache_options, &p, &e), 0);
    assert_int_equal(p.scope, CACHE_PER_LAYER);
    assert_int_equal(p.layer_slots, 0);
    assert_int_equal(p.total_slots, 0);
    assert_int_equal(p.room.bytes, 0);
    assert_true(p.room.percent == 0);
    assert_int_equal(p.protect, CACHE_PROTECT_STRICT);
    assert_int_equal(p.admission, CACHE_ADMIT_ALWAYS);
    assert_int_equal(p.preload, CACHE_PRELOAD_AUTO);
    assert_false(p.write_back);
    assert_int_equal(p.staging, 2);
}

static void refused(const char *policy, struct cache_params p, bool future,
                    const char *part)
{
    static const uint64_t bytes[] = {100, 300};
    struct err e = {.text = ""};
    struct cache_config config = {
        .algorithm = (const struct cache_algorithm *)(const void *)registry_find(
            SLOT_CACHE, policy),
        .params = p,
        .layers = 2,
        .experts = 4,
        .expert_bytes = bytes,
        .future = future};

    assert_null(cache_new(&config, &e));
    if (strstr(e.text, part) == NULL)
        fail_msg("'%s' does not say '%s'", e.text, part);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    refused("lru", (struct cache_params){.staging = 1}, false, "above 0; give one, such");
    refused("lru", (struct cache_params){.slots = 1, .bytes = 1}, false,
            "above 0; keep one of them");
    refused("lru", (struct cache_params){.bytes = 599}, false, "at least 600 bytes");
    refused("lru", (struct cache_params){.bytes = 299, .scope = CACHE_GLOBAL}, false,
            "at least 300 bytes");
    refused("belady", (struct cache_params){.slots = 1}, false, "future");
    refused("pin", (struct cache_params){.slots = 1}, false, "profile");
    cache_free(NULL);
}

/* One by one, or as many at once as hit: the same slots, whatever the policy. */
static void hits_at_once_are_hits_one_by_one(void **state)
{
    struct rig_stream s = rig_stream_random(5, 3, 12, 80, 4);
    const struct plugin *const *all = registry_all();

    (void)state;
    for (size_t p = 0; all[p] != NULL; p++) {
        struct cache_params params = {.slots = 5, .staging = 2};
        struct cache *one, *many;

        if (all[p]->slot != SLOT_CACHE)
            continue;
        one = rig_cache(&s, all[p]->name, NULL, params, NULL);
        many = rig_cache(&s, all[p]->name, NULL, params, NULL);
        for (uint32_t step = 0; step < s.passes * s.layers; step++) {
            uint32_t layer = step % s.layers, pass = step / s.layers, hits = 0;
            const uint16_t *expert = rig_step(&s, pass, layer);
            const struct cache_use *next = rig_next(&s, pass, layer);
            uint32_t slot[4];

            cache_begin_step(one, layer, expert, s.width);
            cache_begin_step(many, layer, expert, s.width);
            for (uint32_t i = 0; i < s.width; i++) {
                struct cache_result c = cache_access(one, layer, expert[i], next[i]);

                if (hits == 0)
                    hits = cache_access_hits(many, layer, expert + i, next + i,
                                             s.width - i, slot + i);
                assert_int_equal(c.outcome == CACHE_HIT, hits > 0);
                if (hits == 0)
                    slot[i] = cache_access(many, layer, expert[i], next[i]).slot;
                else
                    hits--;
                assert_int_equal(c.slot, slot[i]);
            }
            if (layer + 1 == s.layers) {
                cache_end_pass(one);
                cache_end_pass(many);
            }
        }
        cache_free(one);
        cache_free(many);
    }
    rig_stream_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hits_equal_libcachesim),
        cmocka_unit_test(order_of_recency_and_loading),
        cmocka_unit_test(counting_policies_are_two),
        cmocka_unit_test(ageing_forgets),
        cmocka_unit_test(ageing_survives_rescaling),
        cmocka_unit_test(segments_promote_and_demote),
        cmocka_unit_test(arc_adapts),
        cmocka_unit_test(pin_keeps_the_profile),
        cmocka_unit_test(room_by_hand),
        cmocka_unit_test(random_is_even),
        cmocka_unit_test(ranking_equals_exhaustive_search),
        cmocka_unit_test(second_miss_admits),
        cmocka_unit_test(protection_has_three_degrees),
        cmocka_unit_test(unequal_sizes_share_the_bytes),
        cmocka_unit_test(prefetched_experts_are_held),
        cmocka_unit_test(what_is_held_stays),
        cmocka_unit_test(preload_fills_with_the_lowest),
        cmocka_unit_test(defaults_are_as_documented),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(hits_at_once_are_hits_one_by_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

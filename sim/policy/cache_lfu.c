/* Least frequently used, in two policies, because "lfu" alone names neither:
 *
 * lfu-evict  counts accesses while an expert is resident; evicted, it starts again at 1.
 *            Of equal counts goes the one that reached its count first. libCacheSim's
 * LFU. lfu-keep   counts all accesses, hit or miss; counts survive eviction. Of equal
 * counts goes the one accessed longest ago. */
#include "order.h"
#include "rank.h"

/* ---- lfu-evict: one list in order of eviction, cut into runs of equal count ---- */

struct run {
    uint64_t count;
    uint32_t last, size; /* its last object in the list */
};

struct lfu {
    const struct cache_env *env;
    uint32_t head, spare_count;
    struct run *run;          /* [capacity + 1] */
    uint32_t *spare;          /* stack of unused runs */
    uint32_t *run_of;         /* [objects] run of a resident */
    struct order_link link[]; /* objects, then the head; first goes first */
};

static size_t align(size_t size)
{
    return (size + 15) / 16 * 16;
}

static size_t links_size(const struct cache_env *env)
{
    return align(sizeof(struct lfu) + order_size(env->objects, 1));
}

static size_t state_size(const struct cache_env *env, const void *params)
{
    size_t runs = (size_t)env->capacity + 1;

    (void)params;
    return links_size(env) + runs * (sizeof(struct run) + sizeof(uint32_t)) +
           env->objects * sizeof(uint32_t);
}

static void init(void *state, const struct cache_env *env, const void *params)
{
    struct lfu *s = state;

    (void)params;
    s->env = env;
    s->head = env->objects;
    s->run = (struct run *)(void *)((char *)state + links_size(env));
    s->spare_count = env->capacity + 1;
    s->spare = (uint32_t *)(void *)(s->run + s->spare_count);
    s->run_of = s->spare + s->spare_count;
    for (uint32_t i = 0; i < s->spare_count; i++)
        s->spare[i] = i;
    order_init(s->link, s->head);
}

/* Puts x alone in a new run behind `at`. */
static void start_run(struct lfu *s, uint32_t at, uint32_t x, uint64_t count)
{
    uint32_t r = s->spare[--s->spare_count];

    s->run[r] = (struct run){.count = count, .last = x, .size = 1};
    s->run_of[x] = r;
    order_insert_after(s->link, at, x);
}

static void join_run(struct lfu *s, uint32_t r, uint32_t x)
{
    struct run *run = &s->run[r];

    order_insert_after(s->link, run->last, x);
    run->last = x;
    run->size++;
    s->run_of[x] = r;
}

static void leave_run(struct lfu *s, uint32_t x)
{
    uint32_t r = s->run_of[x];
    struct run *run = &s->run[r];

    if (--run->size == 0)
        s->spare[s->spare_count++] = r;
    else if (run->last == x)
        run->last = s->link[x].prev;
    order_remove(s->link, x);
}

static void hit(void *state, uint32_t object)
{
    struct lfu *s = state;
    struct run *run = &s->run[s->run_of[object]];
    uint64_t count = run->count + 1;
    uint32_t next = s->link[run->last].next;

    if (next != s->head && s->run[s->run_of[next]].count == count) {
        leave_run(s, object);
        join_run(s, s->run_of[next], object);
    } else if (run->size == 1) {
        run->count = count;
    } else {
        leave_run(s, object);
        start_run(s, run->last, object, count);
    }
}

static uint32_t victim(void *state, uint32_t incoming)
{
    const struct lfu *s = state;

    (void)incoming;
    for (uint32_t x = order_first(s->link, s->head); x != s->head; x = s->link[x].next) {
        if (!cache_env_protected(s->env, x))
            return x;
    }
    return CACHE_NONE;
}

static void evict(void *state, uint32_t object)
{
    leave_run(state, object);
}

static void insert(void *state, uint32_t object)
{
    struct lfu *s = state;
    uint32_t first = order_first(s->link, s->head);

    if (first != s->head && s->run[s->run_of[first]].count == 1)
        join_run(s, s->run_of[first], object);
    else
        start_run(s, s->head, object, 1);
}

const struct cache_algorithm cache_lfu_evict = {
    .plugin = {.slot = SLOT_CACHE,
               .name = "lfu-evict",
               .help = "evict the expert used least often since it was loaded; its count "
                       "goes with it",
               .source = "textbook; ties as in libCacheSim's LFU",
               .variant = VARIANT_STANDARD,
               .lossless = true},
    .state_size = state_size,
    .init = init,
    .hit = hit,
    .victim = victim,
    .evict = evict,
    .insert = insert,
};

/* ---- lfu-keep ---- */

struct keep {
    const struct cache_env *env;
    struct rank rank;
    uint64_t now;
    uint64_t count[]; /* [objects] all accesses so far, then the rank's memory */
};

static size_t keep_size(const struct cache_env *env, const void *params)
{
    (void)params;
    return sizeof(struct keep) + env->objects * sizeof(uint64_t) + rank_size(env, true);
}

static void keep_init(void *state, const struct cache_env *env, const void *params)
{
    struct keep *s = state;

    (void)params;
    s->env = env;
    rank_init(&s->rank, env, true, s->count + env->objects);
}

static void keep_hit(void *state, uint32_t object)
{
    struct keep *s = state;

    rank_update_tie(&s->rank, object, ++s->count[object], ++s->now);
}

static void keep_miss(void *state, uint32_t object)
{
    struct keep *s = state;

    s->count[object]++;
}

static uint32_t keep_victim(void *state, uint32_t incoming)
{
    const struct keep *s = state;

    (void)incoming;
    return rank_least(&s->rank, s->env);
}

static void keep_evict(void *state, uint32_t object)
{
    struct keep *s = state;

    rank_remove(&s->rank, object);
}

static void keep_insert(void *state, uint32_t object)
{
    struct keep *s = state;

    rank_insert(&s->rank, object, s->count[object], ++s->now);
}

const struct cache_algorithm cache_lfu_keep = {
    .plugin = {.slot = SLOT_CACHE,
               .name = "lfu-keep",
               .help = "evict the expert used least often in the whole run; counts "
                       "survive eviction",
               .source = "textbook, perfect LFU; ties: accessed longest ago",
               .variant = VARIANT_STANDARD,
               .lossless = true},
    .state_size = keep_size,
    .init = keep_init,
    .hit = keep_hit,
    .miss = keep_miss,
    .victim = keep_victim,
    .evict = keep_evict,
    .insert = keep_insert,
};

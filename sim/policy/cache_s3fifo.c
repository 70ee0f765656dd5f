/* S3-FIFO: a small queue for newcomers, a main queue, and a ghost queue that remembers
 * what left the small one. Used `threshold` times in the small queue, or remembered: to
 * the main queue, where a use counter of at most 3 buys further turns. As in libCacheSim,
 * counters start at 0 in the main queue, and until the first eviction newcomers that do
 * not fit into the small queue go to the main one. Unlike it, the small queue has at
 * least one slot, so that sets of fewer than 20 slots work. Protected experts are left
 * where they are. */
#include "cache.h"
#include "order.h"

enum { SMALL, MAIN, GHOST, LISTS, NOWHERE = LISTS };

struct s3fifo_params {
    double small, ghost;
    int64_t threshold;
};

struct s3fifo {
    const struct cache_env *env;
    uint32_t size[LISTS], most[LISTS];
    uint32_t recalled; /* the missing expert that the ghost queue remembered */
    uint8_t threshold;
    bool evicted;             /* there was an eviction */
    uint8_t *where, *used;    /* [objects] queue, use counter */
    struct order_link link[]; /* objects, then the heads; first is the oldest */
};

static const struct option options[] = {
    {"small", OPT_DOUBLE, offsetof(struct s3fifo_params, small), "0.1", 0, 1, NULL,
     "small queue as a share of the capacity, at least one slot"},
    {"ghost", OPT_DOUBLE, offsetof(struct s3fifo_params, ghost), "0.9", 0, 100, NULL,
     "remembered experts as a share of the capacity"},
    {"threshold", OPT_INT, offsetof(struct s3fifo_params, threshold), "2", 1, 100, NULL,
     "uses in the small queue that lead to the main one"},
    {.name = NULL},
};

static size_t state_size(const struct cache_env *env, const void *params)
{
    (void)params;
    return sizeof(struct s3fifo) + order_size(env->objects, LISTS) +
           2 * (size_t)env->objects;
}

static void init(void *state, const struct cache_env *env, const void *params)
{
    struct s3fifo *s = state;
    const struct s3fifo_params *p = params;
    double capacity = env->capacity, ghost = capacity * p->ghost;

    s->env = env;
    s->threshold = (uint8_t)p->threshold;
    s->recalled = CACHE_NONE;
    s->most[SMALL] = (uint32_t)(capacity * p->small);
    if (s->most[SMALL] == 0)
        s->most[SMALL] = 1;
    s->most[MAIN] = env->capacity - s->most[SMALL];
    s->most[GHOST] = ghost < env->objects ? (uint32_t)ghost : env->objects;
    s->where = (uint8_t *)(s->link + env->objects + LISTS);
    s->used = s->where + env->objects;
    for (uint32_t x = 0; x < env->objects; x++)
        s->where[x] = NOWHERE;
    for (uint32_t list = 0; list < LISTS; list++)
        order_init(s->link, env->objects + list);
}

static void enter(struct s3fifo *s, uint32_t object, uint32_t list)
{
    order_append(s->link, s->env->objects + list, object);
    s->where[object] = (uint8_t)list;
    s->size[list]++;
}

static void leave(struct s3fifo *s, uint32_t object)
{
    order_remove(s->link, object);
    s->size[s->where[object]]--;
    s->where[object] = NOWHERE;
}

static void hit(void *state, uint32_t object)
{
    struct s3fifo *s = state;

    if (s->used[object] < UINT8_MAX)
        s->used[object]++;
}

static void miss(void *state, uint32_t object)
{
    struct s3fifo *s = state;

    s->recalled = CACHE_NONE;
    if (s->where[object] == GHOST) {
        s->recalled = object;
        leave(s, object);
    }
}

static uint32_t from_small(struct s3fifo *s)
{
    uint32_t head = s->env->objects + SMALL, x = order_first(s->link, head);

    while (x != head) {
        uint32_t next = s->link[x].next;

        if (!cache_env_protected(s->env, x)) {
            if (s->used[x] < s->threshold)
                return x;
            leave(s, x);
            enter(s, x, MAIN);
            s->used[x] = 0;
        }
        x = next;
    }
    return CACHE_NONE;
}

/* What goes to the end is met again, with less on its counter. */
static uint32_t from_main(struct s3fifo *s)
{
    uint32_t head = s->env->objects + MAIN, x = order_first(s->link, head);

    while (x != head) {
        uint32_t next;

        if (cache_env_protected(s->env, x)) {
            x = s->link[x].next;
            continue;
        }
        if (s->used[x] == 0)
            return x;
        s->used[x] = (uint8_t)((s->used[x] < 3 ? s->used[x] : 3) - 1);
        next = s->link[x].next != head ? s->link[x].next : x;
        order_move_last(s->link, head, x);
        x = next;
    }
    return CACHE_NONE;
}

static uint32_t victim(void *state, uint32_t incoming)
{
    struct s3fifo *s = state;
    bool main_first = s->size[MAIN] > s->most[MAIN] || s->size[SMALL] == 0;
    uint32_t object = main_first ? from_main(s) : from_small(s);

    (void)incoming;
    s->evicted = true;
    if (object == CACHE_NONE && main_first)
        object = from_small(s);
    /* Also for what from_small() has just sent there. */
    return object != CACHE_NONE ? object : from_main(s);
}

static void evict(void *state, uint32_t object)
{
    struct s3fifo *s = state;
    bool small = s->where[object] == SMALL;

    leave(s, object);
    if (!small)
        return;
    enter(s, object, GHOST);
    if (s->size[GHOST] > s->most[GHOST])
        leave(s, order_first(s->link, s->env->objects + GHOST));
}

static void insert(void *state, uint32_t object)
{
    struct s3fifo *s = state;
    bool full = !s->evicted && s->size[SMALL] >= s->most[SMALL];

    /* A prefetched expert may still be remembered. */
    if (s->where[object] != NOWHERE)
        leave(s, object);
    enter(s, object, s->recalled == object || full ? MAIN : SMALL);
    s->used[object] = 0;
    s->recalled = CACHE_NONE;
}

const struct cache_algorithm cache_s3fifo = {
    .plugin =
        {.slot = SLOT_CACHE,
         .name = "s3fifo",
         .help = "a small queue filters newcomers, a main queue keeps what is used again",
         .source =
             "Yang et al., FIFO Queues are All You Need for Cache Eviction (SOSP 2023)",
         .variant = VARIANT_RELEASED,
         .lossless = true,
         .options = options,
         .params_size = sizeof(struct s3fifo_params)},
    .state_size = state_size,
    .init = init,
    .hit = hit,
    .miss = miss,
    .victim = victim,
    .evict = evict,
    .insert = insert,
};

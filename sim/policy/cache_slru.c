/* Segmented LRU: an expert enters the lowest segment and rises by one with each hit; the
 * least recently used of a segment that is too full sinks by one. Victims come from the
 * lowest segment. The upper segments have capacity / segments slots each, the lowest the
 * rest. While the cache fills up, an expert enters the lowest segment with room. */
#include "cache.h"
#include "order.h"

#define SEGMENTS 16

struct slru_params {
    int64_t segments;
};

struct slru {
    const struct cache_env *env;
    uint32_t segments;
    uint32_t size[SEGMENTS], most[SEGMENTS];
    uint8_t *segment;         /* [objects] of a resident */
    struct order_link link[]; /* objects, then a head for each segment */
};

static const struct option options[] = {
    {"segments", OPT_INT, offsetof(struct slru_params, segments), "2", 2, SEGMENTS, NULL,
     "probation and protected (2), or more levels (libCacheSim has 4)"},
    {.name = NULL},
};

static size_t state_size(const struct cache_env *env, const void *params)
{
    (void)params;
    return sizeof(struct slru) + order_size(env->objects, SEGMENTS) + env->objects;
}

static void init(void *state, const struct cache_env *env, const void *params)
{
    struct slru *s = state;
    const struct slru_params *p = params;

    s->env = env;
    s->segments = (uint32_t)p->segments;
    s->segment = (uint8_t *)(s->link + env->objects + SEGMENTS);
    for (uint32_t i = 0; i < s->segments; i++) {
        order_init(s->link, env->objects + i);
        s->most[i] = env->capacity / s->segments;
    }
    s->most[0] = env->capacity - (s->segments - 1) * s->most[1];
}

static void enter(struct slru *s, uint32_t object, uint32_t segment)
{
    order_append(s->link, s->env->objects + segment, object);
    s->segment[object] = (uint8_t)segment;
    s->size[segment]++;
}

static void leave(struct slru *s, uint32_t object)
{
    order_remove(s->link, object);
    s->size[s->segment[object]]--;
}

static void hit(void *state, uint32_t object)
{
    struct slru *s = state;
    uint32_t segment = s->segment[object];

    leave(s, object);
    if (segment + 1 < s->segments)
        segment++;
    enter(s, object, segment);
    for (; segment > 0 && s->size[segment] > s->most[segment]; segment--) {
        uint32_t oldest = order_first(s->link, s->env->objects + segment);

        leave(s, oldest);
        enter(s, oldest, segment - 1);
    }
}

static uint32_t victim(void *state, uint32_t incoming)
{
    const struct slru *s = state;

    (void)incoming;
    for (uint32_t i = 0; i < s->segments; i++) {
        uint32_t head = s->env->objects + i;

        for (uint32_t x = order_first(s->link, head); x != head; x = s->link[x].next) {
            if (!cache_env_protected(s->env, x))
                return x;
        }
    }
    return CACHE_NONE;
}

static void evict(void *state, uint32_t object)
{
    leave(state, object);
}

static void insert(void *state, uint32_t object)
{
    struct slru *s = state;
    uint32_t segment = 0;

    while (segment < s->segments && s->size[segment] >= s->most[segment])
        segment++;
    enter(s, object, segment < s->segments ? segment : 0);
}

const struct cache_algorithm cache_slru = {
    .plugin = {.slot = SLOT_CACHE,
               .name = "slru",
               .help = "segmented LRU: hits promote, overflow demotes, victims come from "
                       "the lowest segment",
               .source = "Karedla et al., Caching Strategies to Improve Disk System "
                         "Performance (Computer, 1994)",
               .variant = VARIANT_STANDARD,
               .lossless = true,
               .options = options,
               .params_size = sizeof(struct slru_params)},
    .state_size = state_size,
    .init = init,
    .hit = hit,
    .victim = victim,
    .evict = evict,
    .insert = insert,
};

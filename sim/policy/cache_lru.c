/* Least recently used. */
#include "cache.h"
#include "order.h"

struct lru {
    const struct cache_env *env;
    uint32_t head;
    struct order_link link[]; /* objects, then the head; first is least recently used */
};

static size_t state_size(const struct cache_env *env, const void *params)
{
    (void)params;
    return sizeof(struct lru) + order_size(env->objects, 1);
}

static void init(void *state, const struct cache_env *env, const void *params)
{
    struct lru *s = state;

    (void)params;
    s->env = env;
    s->head = env->objects;
    order_init(s->link, s->head);
}

static void hit(void *state, uint32_t object)
{
    struct lru *s = state;

    order_move_last(s->link, s->head, object);
}

static uint32_t victim(void *state, uint32_t incoming)
{
    const struct lru *s = state;

    (void)incoming;
    for (uint32_t x = order_first(s->link, s->head); x != s->head; x = s->link[x].next) {
        if (!cache_env_protected(s->env, x))
            return x;
    }
    return CACHE_NONE;
}

static void evict(void *state, uint32_t object)
{
    struct lru *s = state;

    order_remove(s->link, object);
}

static void insert(void *state, uint32_t object)
{
    struct lru *s = state;

    order_append(s->link, s->head, object);
}

const struct cache_algorithm cache_lru = {
    .plugin = {.slot = SLOT_CACHE,
               .name = "lru",
               .help = "evict the expert that was used longest ago",
               .source = "textbook",
               .variant = VARIANT_STANDARD,
               .lossless = true},
    .state_size = state_size,
    .init = init,
    .hit = hit,
    .victim = victim,
    .evict = evict,
    .insert = insert,
};

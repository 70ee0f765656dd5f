/* First in, first out. */
#include "cache.h"
#include "order.h"

struct fifo {
    const struct cache_env *env;
    uint32_t head;
    struct order_link link[]; /* objects, then the head; first is the oldest */
};

static size_t state_size(const struct cache_env *env, const void *params)
{
    (void)params;
    return sizeof(struct fifo) + order_size(env->objects, 1);
}

static void init(void *state, const struct cache_env *env, const void *params)
{
    struct fifo *s = state;

    (void)params;
    s->env = env;
    s->head = env->objects;
    order_init(s->link, s->head);
}

static uint32_t victim(void *state, uint32_t incoming)
{
    const struct fifo *s = state;

    (void)incoming;
    for (uint32_t x = order_first(s->link, s->head); x != s->head; x = s->link[x].next) {
        if (!cache_env_protected(s->env, x))
            return x;
    }
    return CACHE_NONE;
}

static void evict(void *state, uint32_t object)
{
    struct fifo *s = state;

    order_remove(s->link, object);
}

static void insert(void *state, uint32_t object)
{
    struct fifo *s = state;

    order_append(s->link, s->head, object);
}

const struct cache_algorithm cache_fifo = {
    .plugin = {.slot = SLOT_CACHE,
               .name = "fifo",
               .help = "evict the expert that was loaded first",
               .source = "textbook",
               .variant = VARIANT_STANDARD,
               .lossless = true},
    .state_size = state_size,
    .init = init,
    .victim = victim,
    .evict = evict,
    .insert = insert,
};

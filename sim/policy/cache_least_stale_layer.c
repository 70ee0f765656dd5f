/* Least-Stale by layers: the expert of the lowest layer goes, since layers come round in
 * order; of a layer's the one used longest ago. The rule is that of rustane's
 * expert-pager (crates/expert-pager/src/pool.rs), which leaves the order within a layer
 * to chance. In a layer's own set this is LRU. */
#include "cache.h"
#include "order.h"

struct layered {
    const struct cache_env *env;
    uint32_t heads, layers;   /* of the lists, one for each layer */
    struct order_link link[]; /* objects, then the heads; first was used longest ago */
};

static uint32_t layers_of(const struct cache_env *env)
{
    return env->objects / env->experts;
}

static size_t state_size(const struct cache_env *env, const void *params)
{
    (void)params;
    return sizeof(struct layered) + order_size(env->objects, layers_of(env));
}

static void init(void *state, const struct cache_env *env, const void *params)
{
    struct layered *s = state;

    (void)params;
    s->env = env;
    s->heads = env->objects;
    s->layers = layers_of(env);
    for (uint32_t l = 0; l < s->layers; l++)
        order_init(s->link, s->heads + l);
}

static void hit(void *state, uint32_t object)
{
    struct layered *s = state;

    order_move_last(s->link, s->heads + object / s->env->experts, object);
}

static uint32_t victim(void *state, uint32_t incoming)
{
    const struct layered *s = state;

    (void)incoming;
    for (uint32_t head = s->heads; head < s->heads + s->layers; head++)
        for (uint32_t x = order_first(s->link, head); x != head; x = s->link[x].next)
            if (!cache_env_protected(s->env, x))
                return x;
    return CACHE_NONE;
}

static void evict(void *state, uint32_t object)
{
    struct layered *s = state;

    order_remove(s->link, object);
}

static void insert(void *state, uint32_t object)
{
    struct layered *s = state;

    order_append(s->link, s->heads + object / s->env->experts, object);
}

const struct cache_algorithm cache_least_stale_layer = {
    .plugin = {.slot = SLOT_CACHE,
               .name = "least-stale-layer",
               .help = "evict the expert of the lowest layer, then the one used longest "
                       "ago; one of three codes named Least-Stale",
               .source = "ncdrone/rustane, crates/expert-pager/src/pool.rs",
               .variant = VARIANT_RELEASED,
               .lossless = true},
    .state_size = state_size,
    .init = init,
    .hit = hit,
    .victim = victim,
    .evict = evict,
    .insert = insert,
};

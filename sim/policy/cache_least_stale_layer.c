/* Least-Stale by layers: the expert of the lowest layer goes, since layers come round in
 * order; of a layer's the one used longest ago. The rule is that of rustane's
 * expert-pager (crates/expert-pager/src/pool.rs), which leaves the order within a layer
 * to chance. In a layer's own set this is LRU. */
#include "rank.h"

struct layered {
    const struct cache_env *env;
    struct rank rank; /* by layer, then by last use */
    uint64_t now;
    uint64_t memory[]; /* the rank's */
};

static size_t state_size(const struct cache_env *env, const void *params)
{
    (void)params;
    return sizeof(struct layered) + rank_size(env, true);
}

static void init(void *state, const struct cache_env *env, const void *params)
{
    struct layered *s = state;

    (void)params;
    s->env = env;
    rank_init(&s->rank, env, true, s->memory);
}

static void hit(void *state, uint32_t object)
{
    struct layered *s = state;

    rank_update_tie(&s->rank, object, object / s->env->experts, ++s->now);
}

static uint32_t victim(void *state, uint32_t incoming)
{
    const struct layered *s = state;

    (void)incoming;
    return rank_least(&s->rank, s->env);
}

static void evict(void *state, uint32_t object)
{
    struct layered *s = state;

    rank_remove(&s->rank, object);
}

static void insert(void *state, uint32_t object)
{
    struct layered *s = state;

    rank_insert(&s->rank, object, object / s->env->experts, ++s->now);
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

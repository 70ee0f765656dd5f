/* Belady's MIN, with and without the right to bypass.
 *
 * The victim is the resident whose next use is farthest. `belady` keeps whatever comes
 * in: it bypasses only when everything resident is protected. `belady-bypass` does not
 * keep an expert whose own next use is farther than that of every candidate; with equal
 * sizes and no protection no policy has more hits. */
#include "rank.h"

#include <stddef.h>

struct belady {
    const struct cache_env *env;
    struct rank rank;
    max_align_t memory[];
};

/* The farthest next use is least. */
static uint64_t distance_key(const struct belady *s, uint32_t object)
{
    struct cache_use use = s->env->next_use[object];

    return ~((uint64_t)use.pass << 32 | (use.place + 1));
}

static size_t state_size(const struct cache_env *env, const void *params)
{
    (void)params;
    return sizeof(struct belady) + rank_size(env, false);
}

static void init(void *state, const struct cache_env *env, const void *params)
{
    struct belady *s = state;

    (void)params;
    s->env = env;
    rank_init(&s->rank, env, false, s->memory);
}

static void hit(void *state, uint32_t object)
{
    struct belady *s = state;

    rank_update(&s->rank, object, distance_key(s, object));
}

static uint32_t farthest(void *state, uint32_t incoming)
{
    const struct belady *s = state;

    (void)incoming;
    return rank_least(&s->rank, s->env);
}

static uint32_t farthest_or_incoming(void *state, uint32_t incoming)
{
    const struct belady *s = state;
    uint32_t object = rank_least(&s->rank, s->env);

    if (object != CACHE_NONE && distance_key(s, incoming) < distance_key(s, object))
        return CACHE_NONE;
    return object;
}

static void evict(void *state, uint32_t object)
{
    struct belady *s = state;

    rank_remove(&s->rank, object);
}

static void insert(void *state, uint32_t object)
{
    struct belady *s = state;

    rank_insert(&s->rank, object, distance_key(s, object), 0);
}

const struct cache_algorithm cache_belady = {
    .plugin = {.slot = SLOT_CACHE,
               .name = "belady",
               .help = "evict the expert used farthest in the future; always keep what "
                       "is loaded",
               .source = "Belady, IBM Systems Journal 5 (1966), MIN with demand paging",
               .variant = VARIANT_STANDARD,
               .lossless = true,
               .needs = NEED_FUTURE},
    .state_size = state_size,
    .init = init,
    .hit = hit,
    .victim = farthest,
    .evict = evict,
    .insert = insert,
};

const struct cache_algorithm cache_belady_bypass = {
    .plugin = {.slot = SLOT_CACHE,
               .name = "belady-bypass",
               .help = "as belady, but what is used farthest of all is not kept: the "
                       "bound on hits",
               .source = "Belady's MIN with the incoming expert among the candidates",
               .variant = VARIANT_STANDARD,
               .lossless = true,
               .needs = NEED_FUTURE},
    .state_size = state_size,
    .init = init,
    .hit = hit,
    .victim = farthest_or_incoming,
    .evict = evict,
    .insert = insert,
};

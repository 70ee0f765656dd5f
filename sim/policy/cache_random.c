/* A victim drawn evenly from the unprotected residents. */
#include "cache.h"

struct random_state {
    const struct cache_env *env;
    struct rng rng;
    uint32_t count;
    uint32_t *object; /* [capacity] residents in no order */
    uint32_t entry[]; /* [objects] place of a resident, then the residents */
};

#define DRAWS 8

static size_t state_size(const struct cache_env *env, const void *params)
{
    (void)params;
    return sizeof(struct random_state) +
           ((size_t)env->objects + env->capacity) * sizeof(uint32_t);
}

static void init(void *state, const struct cache_env *env, const void *params)
{
    struct random_state *s = state;

    (void)params;
    s->env = env;
    s->rng = env->rng;
    s->object = s->entry + env->objects;
}

/* The n-th unprotected resident, or CACHE_NONE when there are no more than n; `count`
 * receives how many were passed. */
static uint32_t unprotected(const struct random_state *s, uint32_t n, uint32_t *count)
{
    *count = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        if (cache_env_protected(s->env, s->object[i]))
            continue;
        if (*count == n)
            return s->object[i];
        (*count)++;
    }
    return CACHE_NONE;
}

/* Redraws while the draw is protected, which keeps the draw even; after a few attempts,
 * counts. */
static uint32_t victim(void *state, uint32_t incoming)
{
    struct random_state *s = state;
    uint32_t count;

    (void)incoming;
    for (int i = 0; i < DRAWS && s->count > 0; i++) {
        uint32_t x = s->object[rng_below(&s->rng, s->count)];

        if (!cache_env_protected(s->env, x))
            return x;
    }
    (void)unprotected(s, CACHE_NONE, &count);
    if (count == 0)
        return CACHE_NONE;
    return unprotected(s, (uint32_t)rng_below(&s->rng, count), &count);
}

static void evict(void *state, uint32_t object)
{
    struct random_state *s = state;
    uint32_t last = s->object[--s->count];

    s->object[s->entry[object]] = last;
    s->entry[last] = s->entry[object];
}

static void insert(void *state, uint32_t object)
{
    struct random_state *s = state;

    s->entry[object] = s->count;
    s->object[s->count++] = object;
}

const struct cache_algorithm cache_random = {
    .plugin = {.slot = SLOT_CACHE,
               .name = "random",
               .help = "evict any expert, evenly drawn from the run's seed",
               .source = "textbook",
               .variant = VARIANT_STANDARD,
               .lossless = true},
    .state_size = state_size,
    .init = init,
    .victim = victim,
    .evict = evict,
    .insert = insert,
};

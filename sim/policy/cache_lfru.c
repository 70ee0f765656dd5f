/* Least frequently and recently used, as vLLM's open pull request #37190 has it:
 *
 *   score(x) = accesses of x since it was loaded / (accesses of the set since x's last +
 * 1)
 *
 * The lowest score goes; of equal scores the one loaded longest ago. A count goes with
 * its expert. Scores change with every access, and not all alike, so that all residents
 * are looked at where one has to go. */
#include "cache.h"
#include "order.h"

struct use {
    uint64_t count, last;
};

struct lfru {
    const struct cache_env *env;
    struct order_link *link; /* objects, then the head; first was loaded longest ago */
    uint64_t now;
    uint32_t head;
    struct use use[]; /* [objects] of residents, then the links */
};

static size_t state_size(const struct cache_env *env, const void *params)
{
    (void)params;
    return sizeof(struct lfru) + env->objects * sizeof(struct use) +
           order_size(env->objects, 1);
}

static void init(void *state, const struct cache_env *env, const void *params)
{
    struct lfru *s = state;

    (void)params;
    s->env = env;
    s->head = env->objects;
    s->link = (struct order_link *)(void *)(s->use + env->objects);
    order_init(s->link, s->head);
}

static void hit(void *state, uint32_t object)
{
    struct lfru *s = state;

    s->use[object].count++;
    s->use[object].last = ++s->now;
}

static uint32_t victim(void *state, uint32_t incoming)
{
    const struct lfru *s = state;
    uint32_t best = CACHE_NONE;
    double least = 0.0;

    (void)incoming;
    for (uint32_t x = order_first(s->link, s->head); x != s->head; x = s->link[x].next) {
        const struct use *u = &s->use[x];
        double score = (double)u->count / (double)(s->now - u->last + 1);

        if ((best == CACHE_NONE || score < least) && !cache_env_protected(s->env, x)) {
            best = x;
            least = score;
        }
    }
    return best;
}

static void evict(void *state, uint32_t object)
{
    struct lfru *s = state;

    order_remove(s->link, object);
}

static void insert(void *state, uint32_t object)
{
    struct lfru *s = state;

    order_append(s->link, s->head, object);
    s->use[object] = (struct use){.count = 1, .last = ++s->now};
}

const struct cache_algorithm cache_lfru = {
    .plugin = {.slot = SLOT_CACHE,
               .name = "lfru",
               .help = "evict the expert with the fewest uses since it was loaded, over "
                       "the accesses since its last",
               .source = "vllm-project/vllm#37190, expert_weight_provider.py",
               .variant = VARIANT_RELEASED,
               .lossless = true},
    .state_size = state_size,
    .init = init,
    .hit = hit,
    .victim = victim,
    .evict = evict,
    .insert = insert,
};

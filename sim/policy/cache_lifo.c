/* Expert buffering: what is not active in this step goes first, oldest first; when all
 * residents are active, the one that was loaded last goes. On g experts that are all
 * active in every step, s slots miss (g - s + 1) / g of the accesses, where fifo and lru
 * miss all. The second half of the rule needs victims that are active, so it shows under
 * protection `prefer` or `none`; under `strict` the expert is bypassed instead. */
#include "cache.h"
#include "order.h"

struct lifo {
    const struct cache_env *env;
    uint32_t head;
    struct order_link link[]; /* objects, then the head; first is the oldest */
};

static size_t state_size(const struct cache_env *env, const void *params)
{
    (void)params;
    return sizeof(struct lifo) + order_size(env->objects, 1);
}

static void init(void *state, const struct cache_env *env, const void *params)
{
    struct lifo *s = state;

    (void)params;
    s->env = env;
    s->head = env->objects;
    order_init(s->link, s->head);
}

static uint32_t victim(void *state, uint32_t incoming)
{
    const struct lifo *s = state;
    uint32_t last = order_last(s->link, s->head);

    (void)incoming;
    for (uint32_t x = order_first(s->link, s->head); x != s->head; x = s->link[x].next) {
        if (s->env->stamp[x] != s->env->step)
            return x;
    }
    return s->env->protect || last == s->head ? CACHE_NONE : last;
}

static void evict(void *state, uint32_t object)
{
    struct lifo *s = state;

    order_remove(s->link, object);
}

static void insert(void *state, uint32_t object)
{
    struct lifo *s = state;

    order_append(s->link, s->head, object);
}

const struct cache_algorithm cache_lifo = {
    .plugin = {.slot = SLOT_CACHE,
               .name = "lifo",
               .help =
                   "evict what is not active, oldest first, else what was loaded last",
               .source = "Huang et al., Toward Efficient Inference for Mixture of "
                         "Experts (NeurIPS 2024), expert buffering",
               .variant = VARIANT_PAPER,
               .lossless = true},
    .state_size = state_size,
    .init = init,
    .victim = victim,
    .evict = evict,
    .insert = insert,
};

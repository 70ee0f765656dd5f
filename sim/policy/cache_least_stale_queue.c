/* Least-Stale by passes: what was not used in this pass is stale and goes first.
 *
 * form: layers  of the stale ones those of layers that the pass is through with, the
 * lowest layer first, since it comes last; then those of the layers ahead, the highest
 * first. When none is stale, the others in the same order. Of one layer the one used
 * longest ago. form: fifo    the stale ones in the order of their first use in the pass
 * they were last used in; then this pass's in the order of theirs. As every expert is
 * used once in a pass, this is LRU but for what is loaded early.
 *
 * Both are reconstructions of SpecMD's policy (2602.03921), made by others: a simulator
 * with a cache of that name (begin_layer(step, layer)) and tinyserve's
 * (tinyserve/cache_policy.py). */
#include "cache.h"
#include "order.h"

enum form { BY_LAYERS, FIFO };
static const char *const forms[] = {"layers", "fifo", NULL};

struct queue_params {
    int form; /* enum form */
};

struct queues {
    const struct cache_env *env;
    bool fifo;
    uint32_t heads, layers;  /* of the lists, one for each layer or (fifo) one for all */
    struct order_link *link; /* objects, then the heads; first was used longest ago */
    uint64_t pass;           /* from 1 */
    uint64_t seen[]; /* [objects] the pass in which a resident was used; then the links */
};

static const struct option options[] = {
    {"form", OPT_CHOICE, offsetof(struct queue_params, form), "layers", 0, 0, forms,
     "stale experts by layers, those that come last first, or by their first use"},
    {.name = NULL},
};

static uint32_t layers_of(const struct cache_env *env)
{
    return env->objects / env->experts;
}

static size_t state_size(const struct cache_env *env, const void *params)
{
    (void)params;
    return sizeof(struct queues) + env->objects * sizeof(uint64_t) +
           order_size(env->objects, layers_of(env));
}

static void init(void *state, const struct cache_env *env, const void *params)
{
    struct queues *s = state;

    s->env = env;
    s->fifo = ((const struct queue_params *)params)->form == FIFO;
    s->heads = env->objects;
    s->layers = layers_of(env);
    s->pass = 1;
    s->link = (struct order_link *)(void *)(s->seen + env->objects);
    for (uint32_t l = 0; l < s->layers; l++)
        order_init(s->link, s->heads + l);
}

static uint32_t head_of(const struct queues *s, uint32_t object)
{
    return s->heads + (s->fifo ? 0 : object / s->env->experts);
}

static void hit(void *state, uint32_t object)
{
    struct queues *s = state;

    if (s->fifo && s->seen[object] == s->pass)
        return;
    s->seen[object] = s->pass;
    order_move_last(s->link, head_of(s, object), object);
}

/* The first unprotected one of a list, of those that are stale. */
static uint32_t first_of(const struct queues *s, uint32_t list, bool stale)
{
    uint32_t head = s->heads + list;

    for (uint32_t x = order_first(s->link, head); x != head; x = s->link[x].next) {
        if (stale && s->seen[x] == s->pass)
            break;
        if (!cache_env_protected(s->env, x))
            return x;
    }
    return CACHE_NONE;
}

static uint32_t by_layers(const struct queues *s, bool stale)
{
    uint32_t now = *s->env->layer, found = CACHE_NONE;

    for (uint32_t l = 0; l < now && found == CACHE_NONE; l++)
        found = first_of(s, l, stale);
    for (uint32_t l = s->layers; l > now && found == CACHE_NONE; l--)
        found = first_of(s, l - 1, stale);
    return found;
}

static uint32_t victim(void *state, uint32_t incoming)
{
    const struct queues *s = state;
    uint32_t found;

    (void)incoming;
    if (s->fifo)
        return first_of(s, 0, false);
    found = by_layers(s, true);
    return found != CACHE_NONE ? found : by_layers(s, false);
}

static void evict(void *state, uint32_t object)
{
    struct queues *s = state;

    order_remove(s->link, object);
}

static void insert(void *state, uint32_t object)
{
    struct queues *s = state;

    s->seen[object] = s->pass;
    order_append(s->link, head_of(s, object), object);
}

static void end_pass(void *state)
{
    struct queues *s = state;

    s->pass++;
}

const struct cache_algorithm cache_least_stale_queue = {
    .plugin = {.slot = SLOT_CACHE,
               .name = "least-stale-queue",
               .help = "evict what this pass has not used, by layers or first in, first "
                       "out; a reconstruction of SpecMD, one of three codes named "
                       "Least-Stale",
               .source = "Hoang et al., SpecMD, 2602.03921, as e1n00r/tinyserve "
                         "(cache_policy.py) and others rebuilt it",
               .variant = VARIANT_RECONSTRUCTION,
               .lossless = true,
               .options = options,
               .params_size = sizeof(struct queue_params)},
    .state_size = state_size,
    .init = init,
    .hit = hit,
    .victim = victim,
    .evict = evict,
    .insert = insert,
    .end_pass = end_pass,
};

/* LRU that spares what is hot: an expert that was hit more than `hot_uses` times since it
 * was loaded goes only where all others are hot, too. As TheTom/llama-cpp-turboquant#300
 * has it (GGML_CUDA_MOE_CACHE_HOT_USES). */
#include "cache.h"
#include "order.h"

struct hot_params {
    int64_t hot_uses;
};

struct hot {
    const struct cache_env *env;
    uint32_t cold, hot;      /* heads of the lists, cold and hot experts */
    uint64_t hot_uses;       /* 0: none is ever hot */
    struct order_link *link; /* objects, then the heads; first was used longest ago */
    uint64_t uses[];         /* [objects] of residents, then the links */
};

static const struct option options[] = {
    {"hot_uses", OPT_INT, offsetof(struct hot_params, hot_uses), "4", 0, 1e9, NULL,
     "hits since loaded above which an expert is hot; 0: plain LRU"},
    {.name = NULL},
};

static size_t state_size(const struct cache_env *env, const void *params)
{
    (void)params;
    return sizeof(struct hot) + env->objects * sizeof(uint64_t) +
           order_size(env->objects, 2);
}

static void init(void *state, const struct cache_env *env, const void *params)
{
    struct hot *s = state;

    s->env = env;
    s->hot_uses = (uint64_t)((const struct hot_params *)params)->hot_uses;
    s->cold = env->objects;
    s->hot = env->objects + 1;
    s->link = (struct order_link *)(void *)(s->uses + env->objects);
    order_init(s->link, s->cold);
    order_init(s->link, s->hot);
}

static void hit(void *state, uint32_t object)
{
    struct hot *s = state;
    bool hot = ++s->uses[object] > s->hot_uses && s->hot_uses > 0;

    order_move_last(s->link, hot ? s->hot : s->cold, object);
}

static uint32_t first_of(const struct hot *s, uint32_t head)
{
    for (uint32_t x = order_first(s->link, head); x != head; x = s->link[x].next)
        if (!cache_env_protected(s->env, x))
            return x;
    return CACHE_NONE;
}

static uint32_t victim(void *state, uint32_t incoming)
{
    const struct hot *s = state;
    uint32_t cold = first_of(s, s->cold);

    (void)incoming;
    return cold != CACHE_NONE ? cold : first_of(s, s->hot);
}

static void evict(void *state, uint32_t object)
{
    struct hot *s = state;

    order_remove(s->link, object);
}

static void insert(void *state, uint32_t object)
{
    struct hot *s = state;

    s->uses[object] = 0;
    order_append(s->link, s->cold, object);
}

const struct cache_algorithm cache_heat_protected_lru = {
    .plugin = {.slot = SLOT_CACHE,
               .name = "heat-protected-lru",
               .help =
                   "evict the expert used longest ago among those not hit often since "
                   "they were loaded",
               .source = "TheTom/llama-cpp-turboquant#300",
               .variant = VARIANT_RELEASED,
               .lossless = true,
               .options = options,
               .params_size = sizeof(struct hot_params)},
    .state_size = state_size,
    .init = init,
    .hit = hit,
    .victim = victim,
    .evict = evict,
    .insert = insert,
};

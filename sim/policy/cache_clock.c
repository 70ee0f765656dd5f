/* CLOCK, or FIFO with reinsertion: the hand passes over an expert whose counter is above
 * zero and takes one from it; the first at zero goes. The ring is kept as a queue whose
 * first is under the hand; passing over is moving to the end. With 1 bit and initial 0
 * this is the classic second chance, and libCacheSim's Clock. Protected experts are
 * passed over with their counters as they are. */
#include "cache.h"
#include "order.h"

struct clock_params {
    int64_t bits, initial;
};

struct clock {
    const struct cache_env *env;
    uint32_t head, count;
    uint8_t limit, initial;
    uint8_t *used;            /* [objects] counter of a resident */
    struct order_link link[]; /* objects, then the head; first is under the hand */
};

static const struct option options[] = {
    {"bits", OPT_INT, offsetof(struct clock_params, bits), "1", 1, 8, NULL,
     "width of the use counter"},
    {"initial", OPT_INT, offsetof(struct clock_params, initial), "0", 0, 255, NULL,
     "counter of an expert that was just loaded (1: it survives one turn)"},
    {.name = NULL},
};

static size_t state_size(const struct cache_env *env, const void *params)
{
    (void)params;
    return sizeof(struct clock) + order_size(env->objects, 1) + env->objects;
}

static void init(void *state, const struct cache_env *env, const void *params)
{
    struct clock *s = state;
    const struct clock_params *p = params;

    s->env = env;
    s->head = env->objects;
    s->limit = (uint8_t)((1U << p->bits) - 1);
    s->initial = p->initial < s->limit ? (uint8_t)p->initial : s->limit;
    s->used = (uint8_t *)(s->link + env->objects + 1);
    order_init(s->link, s->head);
}

static void hit(void *state, uint32_t object)
{
    struct clock *s = state;

    if (s->used[object] < s->limit)
        s->used[object]++;
}

static uint32_t victim(void *state, uint32_t incoming)
{
    struct clock *s = state;
    uint32_t passed = 0; /* protected ones in a row */

    (void)incoming;
    while (passed < s->count) {
        uint32_t x = order_first(s->link, s->head);

        if (cache_env_protected(s->env, x)) {
            passed++;
        } else if (s->used[x] > 0) {
            passed = 0;
            s->used[x]--;
        } else {
            return x;
        }
        order_move_last(s->link, s->head, x);
    }
    return CACHE_NONE;
}

static void evict(void *state, uint32_t object)
{
    struct clock *s = state;

    order_remove(s->link, object);
    s->count--;
}

static void insert(void *state, uint32_t object)
{
    struct clock *s = state;

    order_append(s->link, s->head, object);
    s->used[object] = s->initial;
    s->count++;
}

const struct cache_algorithm cache_clock = {
    .plugin =
        {.slot = SLOT_CACHE,
         .name = "clock",
         .help = "second chance: a hand evicts the first expert not used since it passed",
         .source = "Corbato, A Paging Experiment with the Multics System (1968)",
         .variant = VARIANT_STANDARD,
         .lossless = true,
         .options = options,
         .params_size = sizeof(struct clock_params)},
    .state_size = state_size,
    .init = init,
    .hit = hit,
    .victim = victim,
    .evict = evict,
    .insert = insert,
};

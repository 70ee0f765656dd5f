/* ARC: T1 holds what was used once, T2 what was used again; B1 and B2 remember what left
 * them. A miss that B1 remembers raises the target size p of T1, one that B2 remembers
 * lowers it. In-step protection can force the victim to come from the other list. */
#include "cache.h"
#include "order.h"

enum { T1, T2, B1, B2, LISTS, NOWHERE = LISTS };

struct arc {
    const struct cache_env *env;
    double target; /* p, the size T1 should have */
    uint32_t size[LISTS];
    uint32_t recalled; /* the missing expert that B1 or B2 remembered, or CACHE_NONE */
    bool recalled_b2, replacing; /* the victim makes room for the recalled expert */
    uint8_t *where;              /* [objects] list it is in */
    struct order_link link[];    /* objects, then the heads; first is least recent */
};

static size_t state_size(const struct cache_env *env, const void *params)
{
    (void)params;
    return sizeof(struct arc) + order_size(env->objects, LISTS) + env->objects;
}

static void init(void *state, const struct cache_env *env, const void *params)
{
    struct arc *s = state;

    (void)params;
    s->env = env;
    s->recalled = CACHE_NONE;
    s->where = (uint8_t *)(s->link + env->objects + LISTS);
    for (uint32_t x = 0; x < env->objects; x++)
        s->where[x] = NOWHERE;
    for (uint32_t list = 0; list < LISTS; list++)
        order_init(s->link, env->objects + list);
}

static void enter(struct arc *s, uint32_t object, uint32_t list)
{
    order_append(s->link, s->env->objects + list, object);
    s->where[object] = (uint8_t)list;
    s->size[list]++;
}

static void leave(struct arc *s, uint32_t object)
{
    order_remove(s->link, object);
    s->size[s->where[object]]--;
    s->where[object] = NOWHERE;
}

static void hit(void *state, uint32_t object)
{
    struct arc *s = state;

    leave(s, object);
    enter(s, object, T2);
}

static double step_of(uint32_t other, uint32_t own)
{
    return other > own ? (double)other / own : 1.0;
}

static void miss(void *state, uint32_t object)
{
    struct arc *s = state;
    uint32_t list = s->where[object];

    s->recalled = CACHE_NONE;
    if (list == NOWHERE)
        return;
    if (list == B1) {
        s->target += step_of(s->size[B2], s->size[B1]);
        if (s->target > s->env->capacity)
            s->target = s->env->capacity;
    } else {
        s->target -= step_of(s->size[B1], s->size[B2]);
        if (s->target < 0.0)
            s->target = 0.0;
    }
    s->recalled = object;
    s->recalled_b2 = list == B2;
    leave(s, object);
}

/* The list to shrink: the paper's REPLACE, and T1 alone when it is all there is. */
static uint32_t choose_list(const struct arc *s)
{
    double size = s->size[T1];

    if (s->size[T2] == 0)
        return T1;
    if (s->size[T1] > 0 &&
        (size > s->target || (size == s->target && s->replacing && s->recalled_b2)))
        return T1;
    return T2;
}

static uint32_t oldest(const struct arc *s, uint32_t list)
{
    uint32_t head = s->env->objects + list;

    for (uint32_t x = order_first(s->link, head); x != head; x = s->link[x].next) {
        if (!cache_env_protected(s->env, x))
            return x;
    }
    return CACHE_NONE;
}

static uint32_t victim(void *state, uint32_t incoming)
{
    struct arc *s = state;
    uint32_t list, object;

    s->replacing = s->recalled == incoming;
    list = choose_list(s);
    object = oldest(s, list);
    return object != CACHE_NONE ? object : oldest(s, list == T1 ? T2 : T1);
}

static void forget_oldest(struct arc *s, uint32_t list)
{
    if (s->size[list] > 0)
        leave(s, order_first(s->link, s->env->objects + list));
}

/* Case IV of the paper keeps T1 + B1 within the capacity and all four within twice it. */
static void evict(void *state, uint32_t object)
{
    struct arc *s = state;
    uint32_t list = s->where[object], capacity = s->env->capacity;
    bool remember = true;

    if (!s->replacing && s->size[T1] + s->size[B1] >= capacity) {
        remember = s->size[B1] > 0 || list == T2;
        forget_oldest(s, B1);
    } else if (!s->replacing &&
               (uint64_t)s->size[T1] + s->size[T2] + s->size[B1] + s->size[B2] >=
                   2 * (uint64_t)capacity) {
        forget_oldest(s, B2);
    }
    leave(s, object);
    if (remember)
        enter(s, object, list == T1 ? B1 : B2);
}

static void insert(void *state, uint32_t object)
{
    struct arc *s = state;
    uint32_t list = s->recalled == object ? T2 : T1;

    /* A prefetched expert may still be remembered. */
    if (s->where[object] != NOWHERE)
        leave(s, object);
    enter(s, object, list);
    s->recalled = CACHE_NONE;
    s->replacing = false;
}

const struct cache_algorithm cache_arc = {
    .plugin = {.slot = SLOT_CACHE,
               .name = "arc",
               .help = "balances recency and frequency by what it evicted too early",
               .source = "Megiddo and Modha, ARC (FAST 2003), Fig. 4",
               .variant = VARIANT_PAPER,
               .lossless = true},
    .state_size = state_size,
    .init = init,
    .hit = hit,
    .miss = miss,
    .victim = victim,
    .evict = evict,
    .insert = insert,
};

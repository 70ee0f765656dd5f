#include "distances.h"

#include "priority_stack.h"
#include "recency.h"
#include "sim/base/mem.h"

#include <assert.h>
#include <stdlib.h>

/* Below 2^63, as priority_stack.h wants it. */
#define LAST_KEY ((UINT64_C(1) << 63) - 1)

/* Objects that share slots. Of a large set's LRU the stack knows the capacities below
 * `whole`, the most distinct experts of a step, and `recency` the others: they hold what
 * was used last, and whether an expert is there is settled when its step begins. */
struct set {
    struct priority_stack *stack;
    struct recency *recency; /* NULL: the stack knows all capacities */
    uint32_t whole;
    uint64_t clock;
};

struct distances {
    enum distances_of of;
    uint32_t layers, experts, objects;
    bool global;
    int protect;
    struct set *set;  /* one, or [layers] */
    uint32_t *rank;   /* [experts] of the step's */
    uint64_t *counts; /* (layer, 0 .. objects) */
};

static uint32_t sets_of(const struct distances *d)
{
    return d->global ? 1 : d->layers;
}

/* Whether a rank is found sooner by recency than by going down a stack of all objects. */
static bool is_large(uint32_t objects, uint32_t whole)
{
    enum { SMALL = 64 };

    return objects > SMALL && whole <= objects / 2;
}

struct distances *distances_new(enum distances_of of, const struct distances_shape *shape)
{
    struct distances *d = mem_zalloc(1, sizeof *d);

    assert((uint64_t)shape->layers * shape->experts < UINT64_C(1) << 31);
    d->of = of;
    d->layers = shape->layers;
    d->experts = shape->experts;
    d->global = shape->global;
    d->protect = shape->protect;
    d->objects = d->global ? d->layers * d->experts : d->experts;
    d->set = mem_zalloc(sets_of(d), sizeof *d->set);
    d->rank = mem_alloc(d->experts, sizeof *d->rank);
    d->counts = mem_zalloc((size_t)d->layers * (d->objects + 1), sizeof *d->counts);
    for (uint32_t l = 0; l < d->layers; l++) {
        struct set *s = &d->set[d->global ? 0 : l];

        s->whole =
            shape->most_distinct[l] > s->whole ? shape->most_distinct[l] : s->whole;
    }
    for (uint32_t i = 0; i < sets_of(d); i++) {
        struct set *s = &d->set[i];

        if (s->whole == 0 || d->protect == CACHE_PROTECT_NONE)
            s->whole = 1;
        if (of == DISTANCES_LRU && is_large(d->objects, s->whole))
            s->recency = recency_new(d->objects);
        s->stack = priority_stack_new(
            d->objects, s->recency != NULL ? s->whole - 1 : d->objects, d->protect);
    }
    return d;
}

void distances_free(struct distances *d)
{
    if (d == NULL)
        return;
    for (uint32_t i = 0; i < sets_of(d); i++) {
        priority_stack_free(d->set[i].stack);
        recency_free(d->set[i].recency);
    }
    free(d->set);
    free(d->rank);
    free(d->counts);
    free(d);
}

const uint64_t *distances_counts(const struct distances *d)
{
    return d->counts;
}

/* ---- a step; `first` is the layer's first object in its set ---- */

/* Without protection a large cache holds what was used last at any moment; */
static void access_plain(struct set *s, const struct future_step *step, uint32_t first,
                         uint64_t *counts)
{
    for (uint32_t i = 0; i < step->count; i++) {
        counts[recency_rank(s->recency, first + step->active[i])]++;
        recency_touch(s->recency, first + step->active[i]);
    }
}

/* ... with it, when a step begins. */
static void rank_step(struct set *s, const struct future_step *step, uint32_t first,
                      uint32_t *rank)
{
    for (uint32_t i = 0; i < step->count; i++)
        rank[i] = recency_rank(s->recency, first + step->active[i]);
    for (uint32_t i = 0; i < step->count; i++) {
        recency_touch(s->recency, first + step->active[i]);
        if (rank[i] > 0 && rank[i] < s->whole)
            rank[i] = s->whole;
    }
}

/* Passes and places as one number, in the order of uses. */
static uint64_t key_of(struct cache_use use)
{
    return (uint64_t)use.pass << 31 | use.place;
}

static uint32_t access_stack(enum distances_of of, struct set *s, uint32_t object,
                             struct cache_use next)
{
    switch (of) {
    case DISTANCES_BELADY:
        return priority_stack_access(s->stack, object, key_of(next));
    case DISTANCES_BYPASS:
        return priority_stack_offer(s->stack, object, key_of(next));
    case DISTANCES_LRU:
        break;
    }
    return priority_stack_access(s->stack, object, LAST_KEY - ++s->clock);
}

static void access_step(struct distances *d, struct set *s,
                        const struct future_step *step, uint32_t first, uint64_t *counts)
{
    priority_stack_begin_step(s->stack, first, step->active, step->count);
    for (uint32_t i = 0; i < step->count; i++) {
        uint32_t least =
            access_stack(d->of, s, first + step->active[i], step->next_use[i]);

        counts[least > 0 || s->recency == NULL ? least : d->rank[i]]++;
    }
    priority_stack_end_step(s->stack, first, step->active, step->count);
}

int distances_step(void *context, uint32_t layer, const struct future_step *step)
{
    struct distances *d = context;
    struct set *s = &d->set[d->global ? 0 : layer];
    uint32_t first = d->global ? layer * d->experts : 0;
    uint64_t *counts = d->counts + (size_t)layer * (d->objects + 1);

    if (s->recency != NULL && d->protect == CACHE_PROTECT_NONE) {
        access_plain(s, step, first, counts);
        return 0;
    }
    if (s->recency != NULL)
        rank_step(s, step, first, d->rank);
    access_step(d, s, step, first, counts);
    return 0;
}

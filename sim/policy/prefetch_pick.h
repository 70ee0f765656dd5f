/* What the prefetchers share: how far ahead, how many, and picking the best few.
 *
 * Wants are a function of the view and of what was learned alone: by value, largest
 * first, equal values by lower expert id; an expert that is resident already, or whose
 * value is 0, is not asked for and does not count towards the width. */
#ifndef MOESIM_POLICY_PREFETCH_PICK_H
#define MOESIM_POLICY_PREFETCH_PICK_H

#include "slots.h"

#include <assert.h>

/* Bounds what a prefetcher that remembers one record per step ahead has to keep. */
#define PREFETCH_DISTANCE_MAX 64

struct prefetch_reach {
    int64_t distance; /* steps ahead, 1 .. PREFETCH_DISTANCE_MAX */
    int64_t width;    /* wants per step; 0: as many as the step has active experts */
};

/* clang-format off */
#define PREFETCH_DISTANCE_OPTION(type, member)                                            \
    {"distance", OPT_INT, offsetof(type, member.distance), "1", 1.0,                      \
     (double)PREFETCH_DISTANCE_MAX, NULL,                                                 \
     "steps ahead to load for; 1 is the next layer, past the last layer comes the next "  \
     "pass"}
#define PREFETCH_WIDTH_OPTION(type, member)                                               \
    {"width", OPT_INT, offsetof(type, member.width), "0", 0.0, 65535.0, NULL,             \
     "most experts asked for per step; 0: as many as are active in this step"}
/* clang-format on */

/* The layer that step `ahead` from this one works on. */
static inline uint32_t prefetch_target(const struct view *v, uint32_t ahead)
{
    return (uint32_t)(((uint64_t)v->layer + ahead) % v->layers);
}

/* Most wants per step: what the plug-ins that aim at one layer tell as their width. */
static inline uint32_t prefetch_most(const struct policy_shape *shape,
                                     const struct prefetch_reach *reach)
{
    return reach->width == 0 || reach->width > shape->experts ? shape->experts
                                                              : (uint32_t)reach->width;
}

/* This step's width. */
static inline uint32_t prefetch_width(const struct view *v,
                                      const struct prefetch_reach *reach)
{
    return reach->width == 0 || reach->width > v->experts
               ? (reach->width == 0 ? v->active_count : v->experts)
               : (uint32_t)reach->width;
}

static inline bool prefetch_resident(const struct view *v, uint32_t layer,
                                     uint32_t expert)
{
    return v->cache != NULL && cache_slot_of(v->cache, layer, expert) != CACHE_NONE;
}

/* The best few experts of one layer, kept in order. Offer each expert once, ascending. */
struct prefetch_pick {
    const struct view *view;
    uint32_t ahead, layer, width, count;
    double *value; /* room for `width` */
    struct prefetch_want *want;
};

static inline void prefetch_pick_offer(struct prefetch_pick *p, uint32_t expert,
                                       double value)
{
    uint32_t at;

    if (p->width == 0 || !(value > 0.0))
        return;
    if (p->count == p->width && !(value > p->value[p->count - 1]))
        return;
    if (prefetch_resident(p->view, p->layer, expert))
        return;
    at = p->count < p->width ? p->count++ : p->count - 1;
    for (; at > 0 && value > p->value[at - 1]; at--) {
        p->value[at] = p->value[at - 1];
        p->want[at] = p->want[at - 1];
    }
    p->value[at] = value;
    p->want[at] = (struct prefetch_want){.ahead = p->ahead, .expert = expert};
}

#endif

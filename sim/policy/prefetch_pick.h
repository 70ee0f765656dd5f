/* What the prefetchers share: how far ahead, how many, and picking the best few.
 *
 * A predictor gives each expert of one coming layer a value. The best `candidates` by
 * value are considered (equal values by lower expert id, never a value of 0), in that
 * order: one that is resident is wanted, so that no early load evicts it, and costs
 * nothing; of the missing ones the first `width` are wanted. */
#ifndef MOESIM_POLICY_PREFETCH_PICK_H
#define MOESIM_POLICY_PREFETCH_PICK_H

#include "slots.h"

#include <assert.h>

/* Bounds what a prefetcher that remembers one record per step ahead has to keep. */
#define PREFETCH_DISTANCE_MAX 64

struct prefetch_reach {
    int64_t distance;   /* steps ahead, 1 .. PREFETCH_DISTANCE_MAX */
    int64_t candidates; /* 0: as many as the step has active experts */
    int64_t width;      /* 0: no bound */
};

/* Option table entries for a `struct prefetch_reach reach` in a `struct params`. */
#define PREFETCH_OPTION(key, member, def, least, most, text)                             \
    {                                                                                    \
        key, OPT_INT, offsetof(struct params, reach.member), def, least, most, NULL,     \
            text                                                                         \
    }
#define PREFETCH_DISTANCE_OPTION(text)                                                   \
    PREFETCH_OPTION("distance", distance, "1", 1.0, PREFETCH_DISTANCE_MAX, text)
#define PREFETCH_WIDTH_OPTION                                                            \
    PREFETCH_OPTION("width", width, "0", 0.0, 65535.0,                                   \
                    "most experts to load per step, resident ones not counted; 0: no "   \
                    "bound")
/* Those of a predictor that aims at one layer. */
#define PREFETCH_REACH_OPTIONS                                                           \
    PREFETCH_DISTANCE_OPTION("the step to load for; 1 is the next layer, past the last " \
                             "layer comes the next pass"),                               \
        PREFETCH_OPTION("candidates", candidates, "0", 0.0, 65535.0,                     \
                        "most likely experts to consider; 0: as many as are active in "  \
                        "this step"),                                                    \
        PREFETCH_WIDTH_OPTION

/* The layer that step `ahead` from this one works on. */
static inline uint32_t prefetch_target(const struct view *v, uint32_t ahead)
{
    return (uint32_t)(((uint64_t)v->layer + ahead) % v->layers);
}

/* Most wants per step of a predictor that aims at one layer. */
static inline uint32_t prefetch_most(uint32_t experts, const struct prefetch_reach *reach)
{
    return reach->candidates == 0 || reach->candidates > experts
               ? experts
               : (uint32_t)reach->candidates;
}

/* The best few experts of one layer, kept in order. */
struct prefetch_pick {
    const struct view *view;
    struct prefetch_want *want;
    double *value; /* room for prefetch_most() */
    uint32_t ahead, layer, limit, width, count;
};

static inline struct prefetch_pick prefetch_pick_begin(const struct view *v,
                                                       const struct prefetch_reach *reach,
                                                       double *value,
                                                       struct prefetch_want *want)
{
    uint32_t ahead = (uint32_t)reach->distance;

    return (struct prefetch_pick){
        .view = v,
        .want = want,
        .value = value,
        .ahead = ahead,
        .layer = prefetch_target(v, ahead),
        .limit =
            reach->candidates == 0 ? v->active_count : prefetch_most(v->experts, reach),
        .width = reach->width == 0 ? UINT32_MAX : (uint32_t)reach->width,
    };
}

/* Offer each expert once, in ascending order. */
static inline void prefetch_pick_offer(struct prefetch_pick *p, uint32_t expert,
                                       double value)
{
    uint32_t at;

    if (p->limit == 0 || !(value > 0.0))
        return;
    if (p->count == p->limit && !(value > p->value[p->count - 1]))
        return;
    at = p->count < p->limit ? p->count++ : p->count - 1;
    for (; at > 0 && value > p->value[at - 1]; at--) {
        p->value[at] = p->value[at - 1];
        p->want[at] = p->want[at - 1];
    }
    p->value[at] = value;
    p->want[at] = (struct prefetch_want){.ahead = p->ahead, .expert = expert};
}

/* Drops the missing experts beyond the width. Returns how many wants are left. */
static inline uint32_t prefetch_pick_end(const struct prefetch_pick *p)
{
    uint32_t kept = 0, missing = 0;

    for (uint32_t i = 0; i < p->count; i++) {
        if (view_is_resident(p->view, p->layer, p->want[i].expert) ||
            missing++ < p->width)
            p->want[kept++] = p->want[i];
    }
    return kept;
}

#endif

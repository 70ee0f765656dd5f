/* The cache's own state, shared by cache.c (accesses) and cache_new.c (life). Flat arrays
 * are indexed by layer * experts + expert; with one set per layer a set's arrays are its
 * slice of them. */
#ifndef MOESIM_POLICY_CACHE_STATE_H
#define MOESIM_POLICY_CACHE_STATE_H

#include "cache.h"

/* An expert that was prefetched and is not used yet. */
struct cache_held {
    uint32_t object, until; /* the pass it is loaded for */
    uint64_t stamp;         /* kept while cache_prefetch marks it as active */
};

struct cache_set {
    struct cache_env env;
    void *state;
    uint32_t *slot; /* [objects] or CACHE_NONE */
    uint32_t *free; /* stack of free slots */
    uint32_t free_count;
    uint32_t first_object; /* its place in the flat arrays */
    uint32_t held_count;
    struct cache_held *held;    /* [capacity] */
    uint64_t used_bytes, bytes; /* of residents, and the limit; where sizes differ */
};

/* What an access of a layer needs, side by side. Arrays are by expert. */
struct cache_layer {
    uint32_t *slot;
    struct cache_use *next_use;
    uint64_t *stamp;
    void *state; /* of its set's algorithm */
    struct cache_set *set;
    uint32_t first_object; /* of the layer, in its set */
};

struct cache {
    const struct cache_algorithm *algorithm;
    void (*hit)(void *state, uint32_t object); /* the algorithm's */
    struct cache_layer *layer;
    struct cache_set *set;
    bool per_layer, prefer, second_miss, future;
    bool *closed; /* [layers] those that keep no expert; NULL: none does */
    bool ragged;  /* sizes differ within a set and bytes are the limit */
    uint32_t layers, experts, sets;
    uint32_t staging, staged; /* staging slots, the next one */
    uint32_t spares, oldest;  /* spare slots instead, and the one that waited longest */
    uint32_t *spare;          /* [spares] a ring */
    uint32_t slots, pass;
    uint32_t step_layer;    /* of the current step */
    const uint32_t *tokens; /* [experts] rows of a step's, lent; or NULL */
    uint32_t held_count;    /* of all sets; one more where rows are lent, so that a step
                               asks once whether there is anything to do */
    uint16_t evicted_count;
    uint64_t step;
    struct cache_eviction *evicted;
    uint32_t *slot;             /* (layer, expert) */
    struct cache_use *next_use; /* (layer, expert); NULL without future */
    uint64_t *stamp;            /* (layer, expert) */
    uint8_t *missed;            /* (layer, expert) missed once; NULL: admit always */
    uint16_t *layer_of;         /* (layer, expert) -> layer; NULL for per-layer sets */
    uint64_t *bytes;            /* [layers] of one expert */
    uint64_t *low_bytes;        /* [layers] ... in fewer bits: of the upper half of a
                                   layer's objects, which `experts` counts, too; NULL: none
                                   is */
    uint64_t *profile;          /* (layer, expert) or NULL */
    uint64_t max_bytes, capacity_bytes;
    void *memory; /* states of all sets */
    uint32_t *free;
    struct cache_held *held;
};

/* Whether nothing of the set is ever resident. Its algorithm is told of one slot, since
 * algorithms need one, and never asked. */
static inline bool cache_set_is_closed(const struct cache *c, const struct cache_set *s)
{
    return c->closed != NULL && c->per_layer && c->closed[s->first_object / c->experts];
}

/* Whether an object of a set is an expert in fewer bits. */
static inline bool cache_object_is_low(const struct cache *c, uint32_t object)
{
    return c->low_bytes != NULL && object % c->experts >= c->experts / 2;
}

static inline uint64_t cache_object_bytes(const struct cache *c,
                                          const struct cache_set *s, uint32_t object)
{
    uint32_t layer = c->per_layer ? s->first_object / c->experts : c->layer_of[object];

    return cache_object_is_low(c, object) ? c->low_bytes[layer] : c->bytes[layer];
}

/* Is there room for an object, beside so many bytes, without evicting? */
static inline bool cache_fits(const struct cache *c, const struct cache_set *s,
                              uint32_t object, uint64_t beside)
{
    return s->free_count != 0 &&
           (!c->ragged ||
            s->used_bytes + beside + cache_object_bytes(c, s, object) <= s->bytes);
}

/* Makes an object that fits resident; returns its slot. */
static inline uint32_t cache_settle(struct cache *c, struct cache_set *s, uint32_t object)
{
    uint32_t slot = s->free[--s->free_count];

    s->slot[object] = slot;
    if (c->ragged)
        s->used_bytes += cache_object_bytes(c, s, object);
    c->algorithm->insert(s->state, object);
    return slot;
}

#endif

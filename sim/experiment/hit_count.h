/* Counts the hits of a cache that loads on demand, over a look-ahead: no passes, no rows,
 * no times. Give hit_count_step to future_walk(). */
#ifndef MOESIM_EXPERIMENT_HIT_COUNT_H
#define MOESIM_EXPERIMENT_HIT_COUNT_H

#include "sim/run/future.h"
#include "sim/policy/cache.h"

struct hit_count_layer {
    uint64_t accesses, hits;
};

struct hit_count {
    struct cache *cache; /* borrowed */
    uint32_t layers;
    struct hit_count_layer *layer; /* [layers] */
    uint16_t *active;              /* of a step */
    uint16_t *turn;                /* their order; NULL: as they come */
};

/* `hits_first`: the accesses of a step in that order of the cache, not as they come. */
void hit_count_init(struct hit_count *h, struct cache *cache, uint32_t layers,
                    bool hits_first);
void hit_count_release(struct hit_count *h);
/* A future_visit; `context` is the struct hit_count. */
int hit_count_step(void *context, uint32_t layer, const struct future_step *step);

#endif

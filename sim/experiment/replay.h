/* Counts the hits of a cache that loads on demand, over a look-ahead: no passes, no rows,
 * no times. Give replay_step to future_walk(). */
#ifndef MOESIM_EXPERIMENT_REPLAY_H
#define MOESIM_EXPERIMENT_REPLAY_H

#include "sim/run/future.h"
#include "sim/policy/cache.h"

struct replay_layer {
    uint64_t accesses, hits;
};

struct replay {
    struct cache *cache; /* borrowed */
    uint32_t layers;
    struct replay_layer *layer; /* [layers] */
    uint16_t *active;           /* of a step */
};

void replay_init(struct replay *r, struct cache *cache, uint32_t layers);
void replay_release(struct replay *r);
/* A future_visit; `context` is the struct replay. */
int replay_step(void *context, uint32_t layer, const struct future_step *step);

#endif

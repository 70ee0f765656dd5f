/* Stack distances over a look-ahead: for every access the smallest capacity at which LRU,
 * Belady or Belady with bypass (not with CACHE_PROTECT_PREFER) hits it, so that one walk
 * gives the hits of all capacities. Caches begin empty, admit everything, and hold so
 * many slots of each layer, or of all (global). Give distances_step to future_walk().
 * Memory is of the sets alone. */
#ifndef MOESIM_EXPERIMENT_DISTANCES_H
#define MOESIM_EXPERIMENT_DISTANCES_H

#include "sim/run/future.h"
#include "sim/policy/cache.h"

enum distances_of { DISTANCES_LRU, DISTANCES_BELADY, DISTANCES_BYPASS };

struct distances_shape {
    uint32_t layers, experts;
    bool global;                   /* one set for all layers */
    int protect;                   /* enum cache_protect */
    const uint32_t *most_distinct; /* [layers] experts of the layer's largest step */
};

struct distances;

/* Copies what it keeps of `shape`. Owned. */
struct distances *distances_new(enum distances_of of,
                                const struct distances_shape *shape);
void distances_free(struct distances *d);
/* A future_visit; `context` is the struct distances. */
int distances_step(void *context, uint32_t layer, const struct future_step *step);
/* (layer, distance) accesses, distances from 0 to all objects of a set; 0: hit by no
 * capacity. */
const uint64_t *distances_counts(const struct distances *d);

#endif

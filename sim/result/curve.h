/* What `moesim curve` gives: hits and loads of cache policies against capacity.
 *
 * A capacity is `slots` of one set: of every layer, or with one set for all (global) of
 * all layers together. Counts are of whole replays from an empty cache.
 *
 * Distances: the reuse distance of an access is the smallest capacity at which LRU hits
 * it, under the same protection and order of accesses; a first use has none. */
#ifndef MOESIM_RESULT_CURVE_H
#define MOESIM_RESULT_CURVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CURVE_BUCKETS = 33 };
#define CURVE_ALL UINT32_MAX /* layers */

/* A MoE layer. A step is the layer in one pass. */
struct curve_layer {
    uint16_t decoder_layer;
    uint64_t expert_bytes;
    uint64_t accesses;      /* distinct experts of a step, summed over the steps */
    uint32_t most_distinct; /* of a step */
    uint32_t used;          /* distinct experts of the whole trace */
    /* Accesses by reuse distance: [0] first uses, [b] distances above 2^(b-2) up to
     * 2^(b-1). */
    uint64_t reuse[CURVE_BUCKETS];
};

struct curve_policy {
    char *label;
    bool bound;      /* Belady's choices */
    bool replayed;   /* one replay per size; else all sizes from one walk */
    uint32_t points; /* sizes */
    uint32_t *slots; /* [points] ascending, from 1 */
    uint64_t *hits;  /* (point, layer) */
};

struct curve {
    char *trace_path, *model, *version;
    bool global; /* one set for all layers */
    uint32_t layers, experts, top_k;
    uint32_t largest; /* slots that hold every expert */
    uint64_t passes;
    struct curve_layer *layer; /* [layers] */
    uint32_t policies;
    struct curve_policy *policy; /* [policies] */
    uint32_t rows;
    uint32_t *row; /* [rows] sizes worth a look, ascending; every policy has them */
};

/* Does not free `c` itself. */
void curve_release(struct curve *c);

/* GPU memory for the residents of such a cache. */
uint64_t curve_slots_bytes(const struct curve *c, uint32_t slots);

/* Of one layer, or CURVE_ALL of them. */
struct curve_point {
    uint64_t accesses, hits;
    double hit_rate;     /* NaN without accesses */
    uint64_t load_bytes; /* of the misses */
};
struct curve_point curve_point(const struct curve *c, const struct curve_policy *p,
                               uint32_t point, uint32_t layer);
/* The point of that many slots; it is there. */
uint32_t curve_find(const struct curve_policy *p, uint32_t slots);
/* Reuse distances, summed over all layers. */
void curve_reuse(const struct curve *c, uint64_t reuse[CURVE_BUCKETS]);
/* Buckets up to the last one with an access of any layer. */
uint32_t curve_buckets(const struct curve *c);
/* Distances of a bucket, both ends included. */
uint64_t curve_bucket_from(uint32_t bucket);
uint64_t curve_bucket_to(uint32_t bucket);

/* The slots at the knee of hit rate over slots (sim/base/knee.h); 0 where it has none. */
uint32_t curve_knee(const struct curve *c, const struct curve_policy *p);
/* The least slots of which half of the accesses or more are hits; 0: never. Below it the
 * policy loads more often than it hits. */
uint32_t curve_half(const struct curve *c, const struct curve_policy *p);

/* Experts of one step, and their bytes over all layers. */
struct curve_working_set {
    double mean, most;             /* distinct experts of a layer; most: of any layer */
    double mean_bytes, most_bytes; /* most: each layer's largest step */
};
struct curve_working_set curve_batch(const struct curve *c);
/* ... of one token: top_k of each layer. */
uint64_t curve_token_bytes(const struct curve *c);
#endif

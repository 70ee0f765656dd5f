/* MoEShard: every GPU holds columns of W_in and rows of W_out of every expert, 1/G of
 * each, and works on all tokens of all GPUs; a placement with `shards` = G (place.h).
 *
 * Per layer: counts are gathered (E int32 per rank), the tokens are all-gathered grouped
 * by expert, the local slices run, and a reduce-scatter sums what they give. Variants
 * differ in kernels only. Source: MoEShard (EuroMLSys 2025). */
#ifndef MOESIM_POLICY_PLACE_MOESHARD_H
#define MOESIM_POLICY_PLACE_MOESHARD_H

#include "place.h"

enum place_shard_variant {
    PLACE_SHARD_V0, /* a GEMM pair per expert and source GPU: 2 E G */
    PLACE_SHARD_V1, /* a pair per expert that has tokens, all sources in one: <= 2 E */
    PLACE_SHARD_V2  /* block-sparse: 2 launches, an expert's rows padded to blocks */
};
#define PLACE_SHARD_BLOCK 128

/* What `params` of the plug-in points at. */
struct place_shard_params {
    int variant; /* enum place_shard_variant */
};

/* What each GPU does for one layer: the same on every GPU. */
struct place_shard_work {
    uint64_t gemms; /* launches */
    uint64_t rows;  /* computed on, padding included: 4 h (f/G) flops for each */
};
/* `tokens` is (source GPU, expert). */
struct place_shard_work place_shard_work(enum place_shard_variant variant, uint32_t gpus,
                                         uint32_t experts, const uint32_t *tokens);

/* Bytes that GPU `rank` sends: its own tokens and counts to each of the others, and its
 * sums for each of theirs. `tokens` is by source GPU, `token_bytes` = h B. */
uint64_t place_shard_bytes(uint32_t gpus, uint32_t experts, const uint64_t *tokens,
                           uint64_t token_bytes, uint32_t rank);

#endif

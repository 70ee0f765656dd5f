/* Activation memory of one MoE layer on one GPU: what gating and expert parallelism add
 * to the hidden states, item by item. A GPU is a source, whose rows are dispatched, and
 * runs experts for all. Items are counted once each: which of them live at one time is
 * the allocator's affair, so that the sum is a bound from above of their peak.
 *
 * static, dense   masks [S][E][C], slots [E][C][h] out and back (fairseq's GShard layer)
 * static, sparse  the slots alone (Tutel)
 * dynamic (C = 0) a row per choice that is sent, out and back */
#ifndef MOESIM_MODELS_ACTIVATION_H
#define MOESIM_MODELS_ACTIVATION_H

#include "cost.h"

/* Bytes. Values are of the model's activation_bits. */
struct activation {
    uint64_t weights;    /* combine weights [S][E][C], dense; else one per choice */
    uint64_t mask;       /* dispatch mask [S][E][C] as values, dense; else nothing */
    uint64_t dispatched; /* slots, or rows sent, times h */
    uint64_t received;   /* rows at the experts times h */
    uint64_t inner;      /* both sides of the activation, of the rows computed at once */
    uint64_t outputs;    /* rows at the experts times h */
    uint64_t returned;   /* as dispatched */
    uint64_t combined;   /* S times h */
};

/* `received`: rows at this GPU's experts, padding included (static: C of each source GPU
 * for each local expert); `at_once`: those whose inner values live together: all of them
 * in grouped GEMMs, those of the largest expert where experts run one by one. */
struct activation activation_count(const struct model *m, const struct cost_dispatch *d,
                                   uint64_t received, uint64_t at_once);
/* The sum. */
uint64_t activation_bytes(const struct activation *a);

#endif

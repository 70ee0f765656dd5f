/* Activation memory of one MoE layer on one GPU: what gating and expert parallelism add
 * to the hidden states, item by item. A GPU is a source, whose rows are dispatched, and
 * runs experts for all sources. `struct cost_dispatch` says which gating:
 *
 * static, dense   masks [S][E][C], slots [E][C][h] out and back (fairseq's GShard layer)
 * static, sparse  the slots alone (Tutel)
 * dynamic (C = 0) a row per choice that is sent, out and back
 *
 * What lives at one time follows fairseq's layer, which holds masks and received rows
 * until its end. Not in it: the residual stream, attention, matrices [S][E] of the gate,
 * workspace of libraries, what an allocator keeps. */
#ifndef MOESIM_MODELS_ACTIVATION_H
#define MOESIM_MODELS_ACTIVATION_H

#include "cost.h"

/* Bytes; values are of the model's activation_bits unless said otherwise. */
struct activation {
    uint64_t choices; /* dense: [S][E][C] of each choice and of their sum, in gate_bits,
                         but for the one that is `weights` already */
    uint64_t truth;   /* dense: the dispatch mask [S][E][C] in bytes */
    uint64_t weights; /* combine weights [S][E][C], dense; else one per choice */
    uint64_t mask;    /* dense: the dispatch mask [S][E][C] as values */
    uint64_t dispatched; /* slots, or rows sent, times h */
    uint64_t received;   /* rows at the experts times h */
    uint64_t inner;      /* before and after the activation, of rows computed at once */
    uint64_t outputs;    /* rows at the experts times h */
    uint64_t joined;     /* the same in one buffer, where experts ran one by one */
    uint64_t returned;   /* as dispatched */
    uint64_t combined;   /* S times h */
};

/* `received`: rows at this GPU's experts, padding included (static: C of each source GPU
 * for each local expert). `at_once`: those whose inner values live together: all of them
 * in grouped GEMMs, those of the largest expert where experts run one by one. */
struct activation activation_count(const struct model *m, const struct cost_dispatch *d,
                                   uint64_t received, uint64_t at_once);
/* All items together, as if nothing were freed within the layer. */
uint64_t activation_bytes(const struct activation *a);
/* The most that lives at one time: masks being made; masks and, one after the other, the
 * way out, the experts, the way back, the sums. */
uint64_t activation_peak(const struct activation *a);
/* The model's head on so many rows: logits as values and their softmax in fp32. */
uint64_t activation_head(const struct model *m, uint64_t outputs);

#endif

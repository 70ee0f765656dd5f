/* What operations cost: roofline with launch overhead for GEMMs and grouped GEMMs,
 * attention over context, alpha-beta copies. Each function gives GPU time for one
 * operation, launch overhead of the host not included (cost_kernels() tells how many
 * kernels it launches). t(kernel) = floor + max(flops / (peak * efficiency),
 * bytes / (HBM * efficiency)) (Williams, Waterman, Patterson, "Roofline", CACM 2009; the
 * floor is added, not a third bound: on measured GEMMs that halves the error). A
 * processor core first copies weights to its cache and then computes, and takes few rows
 * one by one: struct machine_rows says how far, for products of matrices and, reading the
 * cache and computing, for attention. In a graph the floor is at least
 * machine.host.launch_graph, which the executor must not add again. Peak is the fp32 rate
 * where activations have more than 16 bits, else the bf16 rate: narrower weights save
 * bytes, not flops. Pure functions: the same on both executors, and for policies that
 * ask. */
#ifndef MOESIM_MODELS_COST_H
#define MOESIM_MODELS_COST_H

#include "machine.h"
#include "model.h"

/* The batch of one pass, as attention sees it. */
struct cost_batch {
    uint32_t tokens;    /* rows of the pass */
    uint32_t outputs;   /* rows whose logits are wanted */
    uint64_t kv_tokens; /* sum over requests of the context read */
    uint64_t pairs;     /* sum over rows of the context each attends to */
    uint64_t window_kv_tokens, window_pairs; /* the same through the model's window */
    /* Of a decoder behind an encoder, what cross-attention sees: */
    uint64_t cross_tokens; /* sum over requests of their prompts' lengths */
    uint64_t cross_pairs;  /* sum over rows of their prompts' lengths */
    uint64_t cross_new;    /* cross_tokens of requests that decode for the first time, so
                              that keys and values of the encoder's output are computed */
};

/* The expert work of one layer, or of a part of it. */
struct cost_experts {
    uint32_t distinct;    /* experts with at least one row: their weights are read */
    float spared;         /* ... but so many experts' worth of them, as some are there in
                             fewer bits: an expert with b bits for B counts 1 - b / B */
    uint64_t rows;        /* sum over experts of their tokens */
    uint64_t padded_rows; /* ... each padded as machine_tiles_pad() */
    uint64_t masked_rows; /* rows of experts elsewhere that the activation and un-permute
                             kernels still pass over, where every GPU holds all tokens
                             (expert parallel without dispatch); 0 on one GPU */
};

/* The rows of one GPU on their way to the experts of a layer, and back. */
struct cost_dispatch {
    uint32_t rows;      /* S, of this source GPU */
    uint32_t top_k;     /* choices of a row */
    uint32_t experts;   /* E, of the whole layer */
    uint32_t capacity;  /* C, slots of this GPU at each expert; 0: none, rows go as they
                           are (dynamic gating) */
    bool dense;         /* by products with one-hot matrices, else row by row; needs C */
    uint64_t dropped;   /* choices that found no slot */
    uint32_t gate_bits; /* of a dense mask while it is made (fairseq: 32 for a gate in
                           fp32), then rounded; 0: those of activations throughout */
};

struct cost {
    const struct model *model;
    const struct machine *machine;
    bool graph; /* kernels run from a captured graph */
    bool least; /* for bounds: a group of experts takes no longer than its parts would,
                   run apart, however they are put together */
};

/* Adds one expert with `tokens` rows to `x`. */
static inline void cost_experts_add(struct cost_experts *x, uint32_t tokens,
                                    const struct machine_tiles *tiles)
{
    x->distinct++;
    x->rows += tokens;
    x->padded_rows += machine_tiles_pad(tiles, tokens);
}

/* Attention, norms, and the dense FFN (non-MoE layers) or shared FFN of decoder layer l.
 * A decoder's layer behind an encoder attends to its own rows and then to the prompt:
 *
 *   query projection of all rows, key and value projection of cross_new rows (which write
 *   the cache themselves), attention over cross_tokens and cross_pairs, output
 *   projection, one more residual and norm.
 */
sim_time cost_dense(const struct cost *c, uint32_t layer, const struct cost_batch *b);
/* Router GEMM and top-k of one MoE layer. */
sim_time cost_gate(const struct cost *c, uint32_t tokens);
/* Permute, grouped GEMMs with activation, un-permute with weighted sum. 0 if there is no
 * expert. */
sim_time cost_expert_group(const struct cost *c, const struct cost_experts *x);
/* One expert run by kernels of its own, rows padded as in the group: product, activation,
 * product. 0 without rows. */
sim_time cost_expert_alone(const struct cost *c, uint32_t rows);
/* The same where its rows might be divided into any tiles, which takes the least time: no
 * division of the rows among experts and GPUs is padded to fewer. For bounds. */
sim_time cost_expert_alone_least(const struct cost *c, uint32_t rows);
/* What surrounds experts that run one by one: two index kernels, un-permute with weighted
 * sum; `masked` as masked_rows above. With the experts it is the group's work: whoever
 * moves rows to where the experts read them (cost_encode()) is charged for it. */
sim_time cost_expert_permute(const struct cost *c, uint64_t rows, uint64_t masked);
/* Rows into the buffer [E][C][h] of the dispatch, and out of it, weighted and summed. 0
 * without rows.
 * Dense, as in fairseq's GShard layer: masks [S][E][C] are made (the outer product of
 * each choice written; of several, their sum; truth values of one byte, and these as
 * values), then the product [E C][S] [S][h]. Back: [S][E C] [E C][h]. Sparse, as in
 * Tutel: slots are zeroed, the rows sent are read and written. Back: they are read and S
 * rows written. Without capacity, the packing of dynamic gating: the same without slots
 * to zero. */
sim_time cost_encode(const struct cost *c, const struct cost_dispatch *d);
sim_time cost_decode(const struct cost *c, const struct cost_dispatch *d);
/* Embedding, final norm and head. */
sim_time cost_head(const struct cost *c, const struct cost_batch *b);
/* The layer's experts on the host CPU: max(flops / host flops, weights / DRAM), with the
 * host's struct machine_rows. */
sim_time cost_host_experts(const struct cost *c, const struct cost_experts *x);
/* Bytes of the hidden states of `rows` rows. */
uint64_t cost_rows_bytes(const struct cost *c, uint64_t rows);
/* What goes with them: the hidden states of `rows` rows to the host and as many sums of
 * outputs back, through pinned memory. */
sim_time cost_host_trip(const struct cost *c, uint64_t rows);
/* One expert on the machine's near-data unit, which takes them one after the other:
 * max(flops / unit's flops, weights / its bandwidth). Its rows cross as cost_host_trip()
 * says. */
sim_time cost_near_expert(const struct cost *c, uint64_t rows);

/* The parts above are made of these and of kernels that only move activations; for
 * calibration. One GEMM of dense weights, y[rows][out] = x[rows][in] w[in][out]. */
sim_time cost_gemm(const struct cost *c, uint32_t rows, uint32_t in, uint32_t out);
/* One attention kernel over the whole context; of latent attention its absorbed form. */
sim_time cost_attention(const struct cost *c, const struct cost_batch *b);
/* One kernel that only moves so many activations, reads and writes both counted. */
sim_time cost_move(const struct cost *c, uint64_t values);

enum cost_part {
    COST_DENSE,
    COST_GATE,
    COST_EXPERTS,
    COST_HEAD,
    COST_EXPERT_ALONE,
    COST_EXPERT_PERMUTE,
};
/* Kernels that a part launches (an MoE layer's dense block, gate, expert group; the
 * head; one expert alone, what surrounds them): for the host's launch overhead. */
uint32_t cost_kernels(const struct cost *c, enum cost_part part);
/* Kernels that cross-attention adds to the dense block of a decoder's layer. */
uint32_t cost_cross_kernels(const struct cost *c, uint32_t layer,
                            const struct cost_batch *b);
/* The same of encode and decode. */
uint32_t cost_encode_kernels(const struct cost_dispatch *d);
uint32_t cost_decode_kernels(const struct cost_dispatch *d);

/* alpha-beta copy of n bytes, alone on its link. */
static inline sim_time cost_copy(const struct machine_copy *k, uint64_t bytes)
{
    return k->latency + sim_time_of_seconds((double)bytes / k->bytes_per_s);
}

#endif

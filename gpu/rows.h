/* How the rows of a pass and of an expert group are laid out for the kernels: which part
 * of the KV cache each row attends to, and which row of a group is which token's. Pure
 * functions on host memory. */
#ifndef MOESIM_GPU_ROWS_H
#define MOESIM_GPU_ROWS_H

#include "models/cost.h"
#include "sim/exec/op.h"

/* A pass is told as sums. It is laid out as equal sequences: R of them with t rows and a
 * context C each have kv_tokens = R C, tokens = R t and pairs = R (t (C - t) +
 * t (t + 1) / 2), hence R. Exact where sequences are equal: a batch that decodes, or one
 * prompt. */
uint32_t rows_sequences(const struct cost_batch *batch);

/* What attention reads. */
struct rows_span {
    uint64_t tokens;  /* of the cache */
    uint32_t longest; /* context of a row */
};
/* Deals kv_tokens out to the sequences and pairs to the rows, each as evenly as can be;
 * fills first[tokens], length[tokens] as device_attention has them. */
struct rows_span rows_attend(uint32_t tokens, uint32_t sequences, uint64_t kv_tokens,
                             uint64_t pairs, uint64_t *first, uint32_t *length);

/* Experts of one layer that run together, and how many rows each computes: at least as
 * many as the routing has, the rest is padding. */
struct rows_group {
    const uint16_t *expert; /* [count] */
    uint32_t count;
    uint32_t experts;       /* of the layer */
    const uint32_t *tokens; /* [experts] rows of each */
    const struct op_routing *routing;
};

/* Rows lie by expert, each one's tokens in order, padding (of token 0) behind them. Fills
 * rows[count], row_token[sum of rows], token_row[(token, top_k)] as device_permute has
 * them; place[experts] is scratch. 0, or -1 where an expert has more tokens than rows. */
int rows_order(const struct rows_group *g, uint32_t *place, uint32_t *rows,
               uint32_t *row_token, uint32_t *token_row, struct err *e);

#endif

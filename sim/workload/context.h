/* What attention sees of a batch: the sums of struct cost_batch, row by row. A row at
 * position p attends to p + 1 tokens, itself included; through a window of w tokens, to
 * min(p + 1, w). A request whose rows are at positions [a, b] reads the KV entries that
 * any of them sees: b + 1, and through the window min(b + 1, b - a + w).
 *
 * In an encoder every row of a prompt of n attends to all n, and each is read once. In
 * the decoder behind it positions are counted on from the prompt, so that a row at
 * position p attends to the p - n + 1 tokens of the answer so far, and to the prompt's n
 * by cross-attention. Such models have no windows. */
#ifndef MOESIM_WORKLOAD_CONTEXT_H
#define MOESIM_WORKLOAD_CONTEXT_H

#include "models/cost.h"

static inline void context_add_row(struct cost_batch *b, uint32_t position,
                                   uint32_t window)
{
    uint64_t context = (uint64_t)position + 1;

    b->pairs += context;
    b->window_pairs += window > 0 && window < context ? window : context;
}

static inline void context_add_request(struct cost_batch *b, uint32_t first,
                                       uint32_t last, uint32_t window)
{
    uint64_t context = (uint64_t)last + 1;
    uint64_t seen = (uint64_t)(last - first) + window;

    b->kv_tokens += context;
    b->window_kv_tokens += window > 0 && seen < context ? seen : context;
}

static inline void context_add_encoded(struct cost_batch *b, uint32_t prompt)
{
    b->kv_tokens += prompt;
    b->pairs += (uint64_t)prompt * prompt;
}

static inline void context_add_decoder_row(struct cost_batch *b, uint32_t position,
                                           uint32_t prompt)
{
    context_add_row(b, position - prompt, 0);
    b->cross_pairs += prompt;
}

/* `opens`: its first row in the decoder is among them. */
static inline void context_add_decoder_request(struct cost_batch *b, uint32_t last,
                                               uint32_t prompt, bool opens)
{
    context_add_request(b, 0, last - prompt, 0);
    b->cross_tokens += prompt;
    b->cross_new += opens ? prompt : 0;
}

#endif

/* What attention sees of a batch: the sums of struct cost_batch, row by row. A row at
 * position p attends to p + 1 tokens, itself included; through a window of w tokens, to
 * min(p + 1, w). A request whose rows are at positions [a, b] reads the KV entries that
 * any of them sees: b + 1, and through the window min(b + 1, b - a + w). */
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

#endif

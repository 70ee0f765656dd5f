/* What one GPU computes of a pass, enqueued on one stream of a device: the dense block of
 * a decoder layer (norm, QKV, attention over a KV cache of the pass's size, output, norm,
 * dense or shared FFN), the router, groups of experts, the head. Shapes and volumes are
 * the model's; values are random, as weights.h draws them.
 *
 * Attention. A pass is told as a cost_batch: sums, not rows. It is laid out as equal
 * sequences, as many as the sums imply, each row attending to the mean context. The cache
 * is random where no pass has written. Its layers have buffers of their own where those
 * fit, else they share some (block_describe says so).
 *
 * Two liberties are taken with the data flow, not with shapes, bytes or operations: the
 * heads' queries are read from the QKV product as it lies, and the latent form's query is
 * its absorbed product repeated to its size.
 *
 * A pass begins with block_begin and may begin only when the one before has ended. All
 * buffers grow as needed, which takes time: a pass no larger than one before allocates
 * nothing. Everything returns 0 or -1 with a device's or an allocation's sentence. */
#ifndef MOESIM_GPU_BLOCK_H
#define MOESIM_GPU_BLOCK_H

#include "weights.h"

#include "models/cost.h"
#include "sim/exec/op.h"

struct block;

/* Borrows device, weights, model and stream until freed. */
struct block *block_new(struct device *d, const struct weights *w, const struct model *m,
                        struct device_stream *s);
void block_free(struct block *b);
/* What is shared, in whole sentences; "" if nothing is. Owned. */
char *block_describe(const struct block *b);

/* Makes room for a pass with these sums and no group of more rows than its choices. */
int block_reserve(struct block *b, const struct cost_batch *largest, struct err *e);
/* Embeds the pass's tokens; `pass` picks which. */
int block_begin(struct block *b, const struct cost_batch *batch, uint64_t pass,
                struct err *e);
int block_dense(struct block *b, uint32_t layer, struct err *e);
int block_gate(struct block *b, uint32_t moe_layer, struct err *e);
int block_head(struct block *b, uint32_t outputs, struct err *e);

/* Experts of one layer: adds the weighted sum of what they make of the layer's normed
 * hidden state to it. Rows beyond those that the routing has are padding (a gate with a
 * capacity): computed, not added. weight[i] is where expert[i] lies. */
struct block_group {
    const uint16_t *expert; /* [count] */
    const void *const *weight;
    const uint32_t *tokens; /* [experts of the layer] */
    uint32_t count;
    const struct op_routing *routing;
};
int block_experts(struct block *b, const struct block_group *g, struct err *e);

/* What the output of a token's k-th expert is multiplied by: between a half and three
 * halves of 1 / top_k. */
float block_token_weight(uint32_t token, uint32_t k, uint32_t top_k);

/* What the host reads back: where in device memory, and how much at most. */
const void *block_result(const struct block *b, size_t *bytes);
/* The pass's hidden state, (tokens, hidden), and what its next layer's part reads. */
void *block_hidden(const struct block *b);
const void *block_normed(const struct block *b);

#endif

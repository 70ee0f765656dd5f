/* The weights of a model on a device, as random as weights are: real shapes, values drawn
 * from the seed with a spread of 1/sqrt(inputs), so that activations keep their size.
 *
 * Experts lie in host memory, as many distinct ones as a budget allows: an *image* each.
 * Expert (layer, id) is image (layer * experts + id) mod images. All other weights lie in
 * device memory, one set per layer where they fit, else as many sets as do, used by
 * layers in turn. weights_describe() says aloud what is shared.
 *
 * A *set* is a block of matrices (out, in), one after another, in the order in which
 * block.c uses them. */
#ifndef MOESIM_GPU_WEIGHTS_H
#define MOESIM_GPU_WEIGHTS_H

#include "device.h"
#include "models/model.h"

struct weights_options {
    const struct model *model; /* borrowed */
    uint64_t seed;
    bool pageable;                /* experts in pageable host memory, not pinned */
    uint64_t expert_budget_bytes; /* of host memory; 0: a quarter of what is free */
    uint64_t dense_budget_bytes;  /* of device memory; 0: what is free */
    bool floats; /* experts also as floats, for the host's processors (of the budget too)
                  */
};

struct weights;

/* Borrows the device until freed. Returns owned, or NULL. */
struct weights *weights_new(struct device *d, const struct weights_options *o,
                            struct err *e);
void weights_free(struct weights *w);
/* What is shared, in whole sentences; "" if nothing is. Owned. */
char *weights_describe(const struct weights *w);

/* An expert's weights in host memory, laid out as device_ffn says. */
const void *weights_expert(const struct weights *w, uint32_t moe_layer, uint32_t id);
size_t weights_expert_bytes(const struct weights *w);
/* The same as floats; where the device's elements are others, only if asked for. */
const void *weights_expert_float(const struct weights *w, uint32_t moe_layer,
                                 uint32_t id);
struct device_ffn weights_expert_ffn(const struct weights *w);

/* Matrices of an attention block, the largest case first: GQA has QKV and output; MLA has
 * the down-projection, the query's up-projection (q_rank > 0), the absorbed up-projection
 * and output. */
enum { WEIGHTS_ATTENTION_MOST = 4 };
struct weights_matrix {
    uint32_t out, in;
};
uint32_t weights_attention_shape(const struct model *m,
                                 struct weights_matrix shape[WEIGHTS_ATTENTION_MOST]);
/* Attention blocks of a model: one per layer, then those of the cross-attention of an
 * encoder-decoder's decoder layers. */
uint32_t weights_attentions(const struct model *m);

/* In device memory. */
const void *weights_attention(const struct weights *w, uint32_t attention);
/* The dense FFN of a layer without experts, the shared FFN of one with; NULL: none. */
const void *weights_ffn(const struct weights *w, uint32_t layer, struct device_ffn *ffn);
const void *weights_router(const struct weights *w, uint32_t moe_layer);
const void *weights_head(const struct weights *w); /* (vocab, hidden) */
const void *weights_norm(const struct weights *w); /* (hidden): of every norm */
/* Random activations, (WEIGHTS_TABLE_ROWS, hidden): what tokens are embedded as. */
enum { WEIGHTS_TABLE_ROWS = 256 };
const void *weights_table(const struct weights *w);

#endif

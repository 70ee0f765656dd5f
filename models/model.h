/* A model architecture: what an MoE transformer is, as far as its costs go.
 * Loaded from models/arch/NAME.yaml (strict; see models/README.md); every file states its
 * source, and `from_memory: yes` marks figures that were not read in the model's own
 * configuration. Sizes are per decoder layer unless they say otherwise.
 *
 * Layers are numbered through: those of an encoder-decoder model are [0, encoder_layers)
 * of the encoder, which prompts go through, and the rest of the decoder, which answers go
 * through and whose layers attend to the encoder's output as well. */
#ifndef MOESIM_MODELS_MODEL_H
#define MOESIM_MODELS_MODEL_H

#include "sim/base/config.h"
#include "sim/base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum model_gate { MODEL_GATE_SOFTMAX, MODEL_GATE_SIGMOID, MODEL_GATE_TOPK_SOFTMAX };

enum model_attention { MODEL_ATTENTION_GQA, MODEL_ATTENTION_MLA };

struct model {
    char *name;
    char *source;
    bool from_memory;
    uint32_t layers;         /* decoder layers (encoder + decoder for Switch, NLLB) */
    uint32_t encoder_layers; /* of those; 0 for decoder-only models */
    uint32_t hosted_from, hosted; /* so many of them from one on are on the host as a
                                     whole; no file says so, but a policy */
    uint32_t first_moe;           /* decoder layer number of the first MoE layer */
    uint32_t moe_every;  /* distance between MoE layers; 1: all from first_moe on */
    uint32_t moe_layers; /* derived: how many MoE layers */
    uint32_t hidden;
    uint32_t expert_ffn; /* inner size f of one expert */
    uint32_t matrices;   /* 3 gated (gate, up, down), 2 plain (in, out) */
    uint32_t experts, top_k;
    uint32_t shared_ffn; /* inner size of the always-on shared FFN; 0: none */
    uint32_t dense_ffn;  /* inner size of the non-MoE layers' FFN; 0: none */
    enum model_attention attention;
    uint32_t heads, kv_heads, head_dim;
    uint32_t kv_rank, q_rank, rope_dim; /* MLA: compressed sizes; q_rank 0: no q-LoRA */
    uint32_t window; /* sliding-window attention of this many tokens; 0: none */
    uint32_t
        window_every; /* layers 0, n, 2n, ... use the window (1: all, 2: alternate) */
    uint32_t vocab;
    enum model_gate gate;
    double expert_bits;     /* stored bits per expert weight, scales included */
    double dense_bits;      /* per weight of everything else */
    double activation_bits; /* per activation value, and per KV-cache value */
};

/* Reads a file, or NAME looked up in `folder` (models/arch). Returns owned, or NULL. */
struct model *model_load(const char *path_or_name, const char *folder, struct err *e);
/* From a document that was loaded, and perhaps changed (cfg_override), already; keeps
 * nothing of it. Returns owned, or NULL. */
struct model *model_from_cfg(const struct cfg *c, struct err *e);
void model_free(struct model *m);

/* Bytes of one routed expert: matrices * hidden * expert_ffn * expert_bits / 8, to the
 * nearest byte, at least one. */
uint64_t model_expert_bytes(const struct model *m);
/* Weights that are always resident: attention, norms, routers, shared and dense FFNs,
 * embedding and head (counted apart even where a model ties them). The decoder layers of
 * an encoder-decoder model hold two attention blocks. */
uint64_t model_dense_bytes(const struct model *m);
/* Whether a layer is on the host as a whole: then its weights and keys and values are in
 * none of the sizes here. */
static inline bool model_layer_hosted(const struct model *m, uint32_t layer)
{
    return layer - m->hosted_from < m->hosted;
}
/* Weights (not bytes) of one attention block, its norms left out. */
uint64_t model_attention_weights(const struct model *m);
/* KV-cache bytes of one token in one layer. */
double model_kv_bytes(const struct model *m);
/* True if layer `l` (decoder number) attends through the window. */
bool model_layer_windowed(const struct model *m, uint32_t l);
bool model_layer_is_moe(const struct model *m, uint32_t l);
/* True if layer `l` attends to an encoder's output, too. */
bool model_layer_crosses(const struct model *m, uint32_t l);
/* How many layers keep keys and values from pass to pass: the decoder's. */
uint32_t model_kv_layers(const struct model *m);

/* The dense model of as many FLOPs per token, as a model: every MoE layer's FFN is a
 * dense one as wide as the top_k experts and the shared FFN together, without router and
 * experts (`experts` and `top_k` are 0), its weights of dense_bits like all others. Fills
 * `dense`, which borrows name and source and is never freed. Returns -1 where that is too
 * wide. */
int model_dense_equivalent(const struct model *m, struct model *dense, struct err *e);

/* What one of `parts` GPUs holds and computes of the model, as a model: cost functions
 * and sizes take it as they are. Fills `slice`, which borrows name and source and is
 * never freed. Returns -1 where the sizes do not divide.
 *
 * model_slice(): tensor parallelism of everything but routed experts (Shoeybi et al.,
 * Megatron-LM, arXiv 1909.08053). Divided: query heads, key-value heads, the inner sizes
 * of dense and shared FFNs, the vocabulary of embedding and head (rounded up). Whole on
 * every GPU: norms, routers, MLA's down-projections and its latent cache, and a key-value
 * head where there are fewer of them than parts (each is then on parts / kv_heads GPUs).
 * Norms cost as much as unsliced: a batch shared out by sequence has fewer rows there. */
int model_slice(const struct model *m, uint32_t parts, struct model *slice,
                struct err *e);
/* Every routed expert, expert_ffn / parts wide (MoEShard); all else whole. */
int model_slice_experts(const struct model *m, uint32_t parts, struct model *slice,
                        struct err *e);

#endif

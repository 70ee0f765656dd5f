#include "model.h"

#include "catalogue.h"
#include "sim/base/mem.h"

#include <assert.h>
#include <stdlib.h>

/* The file as written; the option table is its documentation. */
struct text {
    const char *name, *source;
    bool from_memory;
    int64_t layers, encoder_layers, first_moe, moe_every;
    int64_t hidden, expert_ffn, matrices, experts, top_k, shared_ffn, dense_ffn;
    int attention, gate;
    int64_t heads, kv_heads, head_dim, kv_rank, q_rank, rope_dim;
    int64_t window, window_every, vocab;
    double expert_bits, dense_bits, activation_bits;
};

static const char *const attention_names[] = {"gqa", "mla", NULL};
static const char *const gate_names[] = {"softmax", "sigmoid", "topk_softmax", NULL};

#define MAX_SIZE 16777216.0 /* of a width: 2^24, far above any model */

#define FIELD(type, field, def, min, max, help)                                          \
    {                                                                                    \
#field, type, offsetof(struct text, field), def, min, max, NULL, help            \
    }
#define CHOICE(field, def, choices, help)                                                \
    {                                                                                    \
#field, OPT_CHOICE, offsetof(struct text, field), def, 0, 0, choices, help       \
    }

static const struct option options[] = {
    FIELD(OPT_STRING, name, NULL, 0, 0, "as the file is called, without .yaml"),
    FIELD(OPT_STRING, source, NULL, 0, 0, "where the figures were read"),
    FIELD(OPT_BOOL, from_memory, "no", 0, 0, "not read in the model's own configuration"),
    FIELD(OPT_INT, layers, NULL, 1, 1024, "decoder layers, encoder included"),
    FIELD(OPT_INT, encoder_layers, "0", 0, 1023,
          "of those, encoder layers; they come first"),
    FIELD(OPT_INT, first_moe, "0", 0, 1023, "layer number of the first MoE layer"),
    FIELD(OPT_INT, moe_every, "1", 1, 1024, "distance between MoE layers"),
    FIELD(OPT_INT, hidden, NULL, 1, MAX_SIZE, "width of the residual stream"),
    FIELD(OPT_INT, expert_ffn, NULL, 1, MAX_SIZE, "inner size of one expert"),
    FIELD(OPT_INT, matrices, "3", 2, 3, "3: gate, up, down; 2: in, out"),
    FIELD(OPT_INT, experts, NULL, 1, 65534, "routed experts of an MoE layer"),
    FIELD(OPT_INT, top_k, NULL, 1, 65534, "experts a token uses"),
    FIELD(OPT_INT, shared_ffn, "0", 0, MAX_SIZE,
          "inner size of the shared FFN, all together"),
    FIELD(OPT_INT, dense_ffn, "0", 0, MAX_SIZE, "inner size of a non-MoE layer's FFN"),
    CHOICE(attention, "gqa", attention_names, "grouped-query or multi-head latent"),
    FIELD(OPT_INT, heads, NULL, 1, 65536, "query heads"),
    FIELD(OPT_INT, kv_heads, "0", 0, 65536, "key-value heads; 0: as many as query heads"),
    FIELD(OPT_INT, head_dim, NULL, 1, 65536,
          "size of a head (MLA: without the rope part)"),
    FIELD(OPT_INT, kv_rank, "0", 0, MAX_SIZE, "MLA: compressed key-value size"),
    FIELD(OPT_INT, q_rank, "0", 0, MAX_SIZE, "MLA: compressed query size; 0: none"),
    FIELD(OPT_INT, rope_dim, "0", 0, 65536, "MLA: size of the rope part of a head"),
    FIELD(OPT_INT, window, "0", 0, 1e9, "sliding window, tokens; 0: none"),
    FIELD(OPT_INT, window_every, "1", 1, 1024, "layers 0, n, 2n, ... use the window"),
    FIELD(OPT_INT, vocab, NULL, 1, MAX_SIZE, "rows of the embedding and of the head"),
    CHOICE(gate, NULL, gate_names, "scores: softmax, sigmoid, or softmax over the top-k"),
    FIELD(OPT_DOUBLE, expert_bits, NULL, 1, 64, "stored bits per expert weight"),
    FIELD(OPT_DOUBLE, dense_bits, NULL, 1, 64, "stored bits per other weight"),
    FIELD(OPT_DOUBLE, activation_bits, "16", 1, 64, "bits per activation and KV value"),
    {.name = NULL},
};

static int at(const struct cfg_node *root, const char *key, struct err *e,
              const char *text)
{
    const struct cfg_node *n = cfg_find(root, key);

    return cfg_error(n != NULL ? n : root, e, "%s", text);
}

/* What no single range can say. */
static int check(const struct cfg_node *root, const struct text *t, struct err *e)
{
    if (t->name[0] == '\0')
        return at(root, "name", e,
                  "name is empty; give the name of the file without .yaml");
    if (t->source[0] == '\0')
        return at(root, "source", e, "source is empty; say where the figures were read");
    if (t->top_k > t->experts)
        return at(root, "top_k", e,
                  "top_k is larger than experts; a token uses an expert once");
    if (t->first_moe >= t->layers)
        return at(root, "first_moe", e,
                  "first_moe is not below layers; layers count from 0");
    if (t->encoder_layers >= t->layers)
        return at(root, "encoder_layers", e,
                  "encoder_layers leaves no decoder layer; layers counts both kinds");
    if (t->kv_heads > t->heads || (t->kv_heads > 0 && t->heads % t->kv_heads != 0))
        return at(root, "kv_heads", e,
                  "heads is not a multiple of kv_heads; query heads share key-value "
                  "heads evenly");
    if (t->attention == MODEL_ATTENTION_MLA && (t->kv_rank == 0 || t->rope_dim == 0))
        return at(root, "attention", e,
                  "attention: mla needs kv_rank and rope_dim above 0");
    if (t->attention == MODEL_ATTENTION_GQA && t->kv_rank + t->q_rank + t->rope_dim > 0)
        return at(root, "attention", e,
                  "kv_rank, q_rank and rope_dim belong to attention: mla only");
    if (t->dense_ffn == 0 && (t->first_moe > 0 || t->moe_every > 1))
        return at(root, "dense_ffn", e,
                  "dense_ffn is missing or 0, but some layers are not MoE layers");
    if (t->encoder_layers > 0 && t->attention == MODEL_ATTENTION_MLA)
        return at(root, "encoder_layers", e,
                  "encoder_layers goes with attention: gqa only; what latent attention "
                  "to an encoder's output would be is not known");
    if (t->encoder_layers > 0 && t->window > 0)
        return at(root, "encoder_layers", e,
                  "encoder_layers does not go with a window: an encoder attends both "
                  "ways over the whole prompt; leave one of them out");
    return 0;
}

static struct model *from_text(const struct text *t)
{
    struct model *m = mem_zalloc(1, sizeof(*m));

    m->name = mem_strdup(t->name);
    m->source = mem_strdup(t->source);
    m->from_memory = t->from_memory;
    m->layers = (uint32_t)t->layers;
    m->encoder_layers = (uint32_t)t->encoder_layers;
    m->first_moe = (uint32_t)t->first_moe;
    m->moe_every = (uint32_t)t->moe_every;
    m->moe_layers = (m->layers - 1 - m->first_moe) / m->moe_every + 1;
    m->hidden = (uint32_t)t->hidden;
    m->expert_ffn = (uint32_t)t->expert_ffn;
    m->matrices = (uint32_t)t->matrices;
    m->experts = (uint32_t)t->experts;
    m->top_k = (uint32_t)t->top_k;
    m->shared_ffn = (uint32_t)t->shared_ffn;
    m->dense_ffn = (uint32_t)t->dense_ffn;
    m->attention = (enum model_attention)t->attention;
    m->heads = (uint32_t)t->heads;
    m->kv_heads = (uint32_t)(t->kv_heads == 0 ? t->heads : t->kv_heads);
    m->head_dim = (uint32_t)t->head_dim;
    m->kv_rank = (uint32_t)t->kv_rank;
    m->q_rank = (uint32_t)t->q_rank;
    m->rope_dim = (uint32_t)t->rope_dim;
    m->window = (uint32_t)t->window;
    m->window_every = (uint32_t)t->window_every;
    m->vocab = (uint32_t)t->vocab;
    m->gate = (enum model_gate)t->gate;
    m->expert_bits = t->expert_bits;
    m->dense_bits = t->dense_bits;
    m->activation_bits = t->activation_bits;
    return m;
}

struct model *model_load(const char *path_or_name, const char *folder, struct err *e)
{
    struct cfg *c = catalogue_load(FILE_MODEL, path_or_name, folder, e);
    struct model *m = c == NULL ? NULL : model_from_cfg(c, e);

    cfg_free(c);
    return m;
}

struct model *model_from_cfg(const struct cfg *c, struct err *e)
{
    struct text t;

    if (cfg_bind(cfg_root(c), options, &t, e) != 0 || check(cfg_root(c), &t, e) != 0)
        return NULL;
    return from_text(&t);
}

void model_free(struct model *m)
{
    if (m == NULL)
        return;
    free(m->name);
    free(m->source);
    free(m);
}

uint64_t model_expert_bytes(const struct model *m)
{
    uint64_t weights = (uint64_t)m->matrices * m->hidden * m->expert_ffn;
    uint64_t bytes = (uint64_t)((double)weights * m->expert_bits / 8.0 + 0.5);

    return bytes > 0 ? bytes : 1; /* three weights of one bit */
}

uint64_t model_attention_weights(const struct model *m)
{
    uint64_t hidden = m->hidden;
    uint64_t inner = (uint64_t)m->heads * m->head_dim;
    uint64_t query_in = m->q_rank > 0 ? m->q_rank : hidden;
    uint64_t query;

    if (m->attention == MODEL_ATTENTION_GQA)
        return hidden * (2 * inner + 2 * (uint64_t)m->kv_heads * m->head_dim);
    query = query_in * m->heads * (m->head_dim + m->rope_dim) + hidden * m->q_rank;
    return query + hidden * (m->kv_rank + m->rope_dim) + m->kv_rank * 2 * inner +
           inner * hidden;
}

/* Of a layer's attention, norms, router, shared or dense FFN. */
static uint64_t layer_weights(const struct model *m, uint32_t layer)
{
    uint64_t hidden = m->hidden, ffn = m->matrices * hidden;
    uint64_t blocks = model_layer_crosses(m, layer) ? 2 : 1;
    uint64_t inner = model_layer_is_moe(m, layer)
                         ? ffn * m->shared_ffn + hidden * m->experts
                         : ffn * m->dense_ffn;

    return blocks * (model_attention_weights(m) + hidden) + hidden + inner;
}

uint64_t model_dense_bytes(const struct model *m)
{
    uint64_t weights = 2 * (uint64_t)m->vocab * m->hidden + m->hidden;

    for (uint32_t l = 0; l < m->layers; l++)
        if (!model_layer_hosted(m, l))
            weights += layer_weights(m, l);
    return (uint64_t)((double)weights * m->dense_bits / 8.0 + 0.5);
}

double model_kv_bytes(const struct model *m)
{
    double values = m->attention == MODEL_ATTENTION_MLA ? (double)m->kv_rank + m->rope_dim
                                                        : 2.0 * m->kv_heads * m->head_dim;

    return values * m->activation_bits / 8.0;
}

bool model_layer_windowed(const struct model *m, uint32_t l)
{
    return m->window > 0 && l % m->window_every == 0;
}

bool model_layer_is_moe(const struct model *m, uint32_t l)
{
    return l >= m->first_moe && (l - m->first_moe) % m->moe_every == 0;
}

bool model_layer_crosses(const struct model *m, uint32_t l)
{
    return m->encoder_layers > 0 && l >= m->encoder_layers;
}

uint32_t model_kv_layers(const struct model *m)
{
    return m->layers - m->encoder_layers - m->hosted;
}

int model_dense_equivalent(const struct model *m, struct model *dense, struct err *e)
{
    uint64_t width = (uint64_t)m->top_k * m->expert_ffn + m->shared_ffn;

    *dense = *m;
    dense->experts = dense->top_k = 0;
    dense->shared_ffn = (uint32_t)width;
    if (width <= (uint64_t)MAX_SIZE)
        return 0;
    return err_set(e,
                   "model %s: a dense FFN of as many FLOPs as its experts would be %llu "
                   "wide, more than the %.0f that a model may have; leave "
                   "dense-equivalent out",
                   m->name, (unsigned long long)width, MAX_SIZE);
}

/* *size / parts, without a remainder. */
static int divide(const struct model *m, const char *key, uint32_t *size, uint32_t parts,
                  struct err *e)
{
    if (*size % parts != 0)
        return err_set(e,
                       "model %s: %s %u is not a multiple of %u GPUs; share it among as "
                       "many as divide it",
                       m->name, key, *size, parts);
    *size /= parts;
    return 0;
}

int model_slice(const struct model *m, uint32_t parts, struct model *slice, struct err *e)
{
    assert(parts > 0);
    *slice = *m;
    if (divide(m, "heads", &slice->heads, parts, e) != 0 ||
        divide(m, "dense_ffn", &slice->dense_ffn, parts, e) != 0 ||
        divide(m, "shared_ffn", &slice->shared_ffn, parts, e) != 0)
        return -1;
    if (m->attention == MODEL_ATTENTION_MLA)
        slice->kv_heads = m->kv_heads > parts ? m->kv_heads / parts : 1;
    else if (m->kv_heads < parts && parts % m->kv_heads == 0)
        slice->kv_heads = 1;
    else if (divide(m, "kv_heads", &slice->kv_heads, parts, e) != 0)
        return -1;
    slice->vocab = (m->vocab - 1) / parts + 1;
    return 0;
}

int model_slice_experts(const struct model *m, uint32_t parts, struct model *slice,
                        struct err *e)
{
    assert(parts > 0);
    *slice = *m;
    return divide(m, "expert_ffn", &slice->expert_ffn, parts, e);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "plain_block.h"

#include "gpu/block.h"
#include "gpu/reference.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { TOKENS = PLAIN_TOKENS, CONTEXT = PLAIN_CONTEXT };

const uint16_t plain_choice[TOKENS * 2] = {0, 1, 2, 3, 4, WORLD_NONE};

void plain_norm(const struct tiny *t, const float *x, float *y)
{
    reference_norm(&(struct device_norm){.rows = TOKENS,
                                         .hidden = t->model.hidden,
                                         .x = x,
                                         .weight = weights_norm(t->weights),
                                         .y = y});
}

void plain_product(struct weights_matrix shape, uint32_t rows, const float *x,
                   const float *w, float *y)
{
    reference_gemm(&(struct device_gemm){
        .rows = rows, .in = shape.in, .out = shape.out, .x = x, .w = w, .y = y});
}

/* The number of matrices before the last; the last of the queries' products is in `q`. */
static uint32_t plain_queries(const struct tiny *t, const struct weights_matrix *shape,
                              uint32_t matrices, const float *w, const float *h,
                              float *qkv, float *q)
{
    const struct model *m = &t->model;
    size_t wanted = (size_t)TOKENS * m->heads * (m->kv_rank + m->rope_dim);
    float up[TOKENS * 128];

    plain_product(shape[0], TOKENS, h, w, qkv);
    memcpy(q, qkv, TOKENS * shape[0].out * sizeof *q);
    if (m->attention != MODEL_ATTENTION_MLA)
        return 1;
    for (uint32_t i = 1; i + 1 < matrices; i++) {
        w += (size_t)shape[i - 1].out * shape[i - 1].in;
        plain_product(shape[i], TOKENS, q, w, up);
        memcpy(q, up, TOKENS * shape[i].out * sizeof *q);
    }
    /* A latent query is longer than what the last product makes, which is repeated. */
    for (size_t i = (size_t)TOKENS * shape[matrices - 2].out; i < wanted; i++)
        q[i] = q[i - (size_t)TOKENS * shape[matrices - 2].out];
    return matrices - 1;
}

static void plain_attention(const struct tiny *t, uint32_t layer, uint32_t attention,
                            float *x)
{
    const struct model *m = &t->model;
    bool latent = m->attention == MODEL_ATTENTION_MLA;
    uint32_t kv = m->kv_heads * m->head_dim, inner = m->heads * m->head_dim;
    uint32_t key = latent ? m->kv_rank + m->rope_dim : kv;
    uint32_t window = model_layer_windowed(m, layer) ? m->window : CONTEXT;
    const float *w = weights_attention(t->weights, attention);
    const float *table = weights_table(t->weights);
    struct weights_matrix shape[WEIGHTS_ATTENTION_MOST];
    uint32_t matrices = weights_attention_shape(m, shape), before;
    float h[TOKENS * 64], qkv[TOKENS * 128], q[TOKENS * 128], out[TOKENS * 128];
    float delta[TOKENS * 64];
    float *cache = mem_alloc((size_t)2 * key * 1024, sizeof *cache), *values;
    uint64_t first[TOKENS];
    uint32_t length[TOKENS], room = TOKENS * CONTEXT + TOKENS * CONTEXT / 2;

    for (uint32_t i = 0; i < TOKENS; i++) {
        first[i] = (uint64_t)i * window;
        length[i] = window;
    }
    for (uint32_t i = 0; i < room * 2 * key; i++)
        cache[i] = table[i % (WEIGHTS_TABLE_ROWS * m->hidden)];
    plain_norm(t, x, h);
    before = plain_queries(t, shape, matrices, w, h, qkv, q);
    values = latent ? cache : cache + room * kv;
    memcpy(cache, latent ? qkv : qkv + TOKENS * inner, TOKENS * key * sizeof *cache);
    if (!latent)
        memcpy(values, qkv + TOKENS * (inner + kv), TOKENS * kv * sizeof *cache);
    reference_attention(
        &(struct device_attention){.rows = TOKENS,
                                   .heads = m->heads,
                                   .kv_heads = latent ? 1 : m->kv_heads,
                                   .key_dim = latent ? key : m->head_dim,
                                   .value_dim = latent ? m->kv_rank : m->head_dim,
                                   .q = q,
                                   .keys = cache,
                                   .values = values,
                                   .first = first,
                                   .length = length,
                                   .longest = window,
                                   .out = out});
    for (uint32_t i = 0; i < before; i++)
        w += (size_t)shape[i].out * shape[i].in;
    plain_product(shape[before], TOKENS, out, w, delta);
    reference_add(x, delta, (size_t)TOKENS * m->hidden);
    free(cache);
}

/* Adds `scale` times what an FFN makes of `rows` rows. */
static void plain_ffn(const struct device_ffn *f, const void *w, uint32_t rows,
                      const float *h, float scale, float *x)
{
    float y[TOKENS * 64];

    reference_experts(&(struct device_group){
        .ffn = *f, .count = 1, .weight = &w, .rows = &rows, .x = h, .y = y});
    for (uint32_t i = 0; i < rows * f->hidden; i++)
        x[i] += scale * y[i];
}

uint32_t plain_moe_number(const struct model *m, uint32_t layer)
{
    return (layer - m->first_moe) / m->moe_every;
}

void plain_layer(const struct tiny *t, uint32_t layer, float *x)
{
    const struct model *m = &t->model;
    struct device_ffn ffn, expert = weights_expert_ffn(t->weights);
    const void *w = weights_ffn(t->weights, layer, &ffn);
    float h[TOKENS * 64];

    plain_attention(t, layer, layer, x);
    if (m->encoder_layers > 0 && layer >= m->encoder_layers)
        plain_attention(t, layer, m->layers + layer - m->encoder_layers, x);
    plain_norm(t, x, h);
    if (w != NULL)
        plain_ffn(&ffn, w, TOKENS, h, 1.0F, x);
    for (uint32_t i = 0; model_layer_is_moe(m, layer) && i < TOKENS * 2; i++)
        if (plain_choice[i] != WORLD_NONE)
            plain_ffn(
                &expert,
                weights_expert(t->weights, plain_moe_number(m, layer), plain_choice[i]),
                1, h + i / 2 * m->hidden, block_token_weight(i / 2, i % 2, m->top_k),
                x + i / 2 * m->hidden);
}

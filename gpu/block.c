#include "block.h"

#include "rows.h"
#include "sim/base/mem.h"
#include "sim/base/rng.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STAGE_BYTES = 1 << 20, ALIGNMENT = 64 };

/* Buffers in device memory, by what is in them. */
enum buffer {
    HIDDEN,       /* (tokens, hidden): the residual stream */
    NORMED,       /* (tokens, hidden) */
    DELTA,        /* (tokens, hidden): what is added to it */
    QKV,          /* (tokens, first product of attention) */
    QUERY,        /* (tokens, heads, key_dim), of the latent form */
    UP,           /* (tokens, absorbed product) */
    ATTENDED,     /* (tokens, heads, value_dim) */
    FFN_WIDE,     /* (tokens, (matrices - 1) inner) */
    FFN_INNER,    /* (tokens, inner) */
    LOGITS,       /* (tokens, experts) or (outputs, vocab) */
    EXPERT_IN,    /* (rows, hidden) */
    EXPERT_OUT,   /* (rows, hidden) */
    EXPERT_WORK,  /* (rows, 2 inner) */
    INDEX,        /* of the pass: see struct layout */
    GROUP_INDEX,  /* of a group: row_token, token_row */
    TOKEN_WEIGHT, /* (tokens, top_k) floats */
    BUFFERS
};

struct room {
    void *p;
    size_t bytes;
};

/* Attention of one pass, with or without the window. */
struct span {
    struct rows_span of;
    const uint64_t *first;  /* [rows], in device memory */
    const uint32_t *length; /* [rows] */
};

/* Pinned memory that groups' indices are sent from: not used again before the pass ends.
 */
struct stage {
    char *p;
    size_t bytes;
};

struct block {
    struct device *d;
    const struct device_ops *o;
    const struct weights *w;
    const struct model *m;
    struct device_stream *s;
    size_t element;
    struct room room[BUFFERS];
    uint32_t tokens;     /* of this pass */
    struct span span[2]; /* whole, windowed */
    /* KV cache: attention block i uses buffer i mod kv_count. */
    void **kv;
    uint32_t kv_count, kv_wants;
    uint64_t kv_tokens; /* room of each */
    struct stage *stage;
    uint32_t stages, stage_at;
    size_t stage_used; /* of stage[stage_at] */
    uint32_t *place;   /* [experts] of a group: index of the expert's next row */
};

struct block *block_new(struct device *d, const struct weights *w, const struct model *m,
                        struct device_stream *s)
{
    struct block *b = mem_zalloc(1, sizeof *b);

    b->d = d;
    b->o = d->ops;
    b->w = w;
    b->m = m;
    b->s = s;
    b->element = d->ops->element_bytes(d);
    b->kv_wants = weights_attentions(m);
    b->kv = mem_zalloc(b->kv_wants, sizeof *b->kv);
    b->place = mem_alloc(m->experts, sizeof *b->place);
    return b;
}

static void free_kv(struct block *b)
{
    for (uint32_t i = 0; i < b->kv_count; i++)
        b->o->mem_free(b->d, DEVICE_MEMORY_LOCAL, b->kv[i]);
    b->kv_count = 0;
    b->kv_tokens = 0;
}

void block_free(struct block *b)
{
    if (b == NULL)
        return;
    free_kv(b);
    for (int i = 0; i < BUFFERS; i++)
        b->o->mem_free(b->d, DEVICE_MEMORY_LOCAL, b->room[i].p);
    for (uint32_t i = 0; i < b->stages; i++)
        b->o->mem_free(b->d, DEVICE_MEMORY_PINNED, b->stage[i].p);
    free(b->stage);
    free(b->kv);
    free(b->place);
    free(b);
}

char *block_describe(const struct block *b)
{
    if (b->kv_count == 0 || b->kv_count == b->kv_wants)
        return mem_strdup("");
    return mem_format("The KV caches of %u attention blocks share %u buffers.",
                      b->kv_wants, b->kv_count);
}

/* ---- memory ---- */

/* What was in the buffer is lost if it grows. */
static int reserve(struct block *b, enum buffer which, size_t bytes, struct err *e)
{
    struct room *r = &b->room[which];

    if (bytes <= r->bytes)
        return 0;
    if (b->o->stream_finish(b->d, b->s, e) != 0)
        return -1;
    b->o->mem_free(b->d, DEVICE_MEMORY_LOCAL, r->p);
    *r = (struct room){NULL, 0};
    bytes += bytes / 4;
    if (b->o->mem_alloc(b->d, DEVICE_MEMORY_LOCAL, bytes, &r->p, e) != 0)
        return -1;
    r->bytes = bytes;
    return 0;
}

static int reserve_elements(struct block *b, enum buffer which, size_t rows,
                            size_t columns, struct err *e)
{
    return reserve(b, which, rows * columns * b->element, e);
}

/* Pinned memory that stays as it is until the pass ends. */
static void *stage_take(struct block *b, size_t bytes, struct err *e)
{
    size_t room = bytes > STAGE_BYTES ? bytes : STAGE_BYTES;
    void *p;

    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    while (b->stage_at < b->stages) {
        struct stage *s = &b->stage[b->stage_at];

        if (b->stage_used + bytes <= s->bytes) {
            b->stage_used += bytes;
            return s->p + (b->stage_used - bytes);
        }
        b->stage_at++;
        b->stage_used = 0;
    }
    room = (room + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (b->o->mem_alloc(b->d, DEVICE_MEMORY_PINNED, room, &p, e) != 0)
        return NULL;
    b->stage = mem_resize(b->stage, b->stages + 1, sizeof *b->stage);
    b->stage[b->stages++] = (struct stage){p, room};
    b->stage_used = bytes;
    return p;
}

/* Elements of one token in the cache: keys, then values; the latent form's values are
 * read from its keys. */
static size_t key_elements(const struct model *m)
{
    return m->attention == MODEL_ATTENTION_MLA ? (size_t)m->kv_rank + m->rope_dim
                                               : (size_t)m->kv_heads * m->head_dim;
}

static size_t cache_elements(const struct model *m)
{
    return m->attention == MODEL_ATTENTION_MLA ? key_elements(m) : 2 * key_elements(m);
}

/* Fills with the table's values, again and again. */
static void fill_kv(struct block *b, char *to, size_t bytes)
{
    size_t most = (size_t)WEIGHTS_TABLE_ROWS * b->m->hidden * b->element;

    for (size_t at = 0; at < bytes; at += most)
        b->o->copy(b->d, b->s, to + at, weights_table(b->w),
                   bytes - at < most ? bytes - at : most);
}

/* Room for so many tokens; what was in the caches is lost if they grow. */
static int reserve_kv(struct block *b, uint64_t tokens, struct err *e)
{
    struct device_info info;
    size_t bytes;
    uint64_t fit;

    if (tokens <= b->kv_tokens)
        return 0;
    if (b->o->stream_finish(b->d, b->s, e) != 0)
        return -1;
    free_kv(b);
    bytes = tokens * cache_elements(b->m) * b->element;
    b->o->info(b->d, &info);
    fit = info.local_free_bytes / 8 * 7 / bytes; /* an eighth for the other buffers */
    if (fit > b->kv_wants)
        fit = b->kv_wants;
    do {
        if (b->o->mem_alloc(b->d, DEVICE_MEMORY_LOCAL, bytes, &b->kv[b->kv_count], e) !=
            0)
            return -1;
        fill_kv(b, b->kv[b->kv_count], bytes);
        b->kv_count++;
    } while (b->kv_count < fit);
    b->kv_tokens = tokens;
    return 0;
}

/* ---- a pass ---- */

static int reserve_pass(struct block *b, const struct cost_batch *batch, struct err *e)
{
    const struct model *m = b->m;
    struct weights_matrix shape[WEIGHTS_ATTENTION_MOST];
    uint32_t matrices = weights_attention_shape(m, shape);
    size_t latent = key_elements(m), inner = (size_t)m->heads * m->head_dim;
    size_t tokens = batch->tokens, up = 1, attended = inner;
    uint32_t ffn = m->dense_ffn > m->shared_ffn ? m->dense_ffn : m->shared_ffn;
    size_t logits = tokens * m->experts;

    for (uint32_t i = 1; i + 1 < matrices; i++)
        up = shape[i].out > up ? shape[i].out : up;
    if (m->attention == MODEL_ATTENTION_MLA && m->heads * (size_t)m->kv_rank > attended)
        attended = m->heads * (size_t)m->kv_rank;
    if ((size_t)batch->outputs * m->vocab > logits)
        logits = (size_t)batch->outputs * m->vocab;
    if (reserve_elements(b, HIDDEN, tokens, m->hidden, e) != 0 ||
        reserve_elements(b, NORMED, tokens, m->hidden, e) != 0 ||
        reserve_elements(b, DELTA, tokens, m->hidden, e) != 0 ||
        reserve_elements(b, QKV, tokens, shape[0].out, e) != 0 ||
        reserve_elements(b, UP, tokens, up, e) != 0 ||
        reserve_elements(b, ATTENDED, tokens, attended, e) != 0 ||
        reserve_elements(b, FFN_WIDE, tokens, 2 * (size_t)ffn, e) != 0 ||
        reserve_elements(b, FFN_INNER, tokens, ffn, e) != 0 ||
        reserve_elements(b, LOGITS, logits, 1, e) != 0)
        return -1;
    if (m->attention == MODEL_ATTENTION_MLA &&
        reserve_elements(b, QUERY, tokens, m->heads * latent, e) != 0)
        return -1;
    return 0;
}

float block_token_weight(uint32_t token, uint32_t k, uint32_t top_k)
{
    struct rng r = rng_stream(1, "token weight", (uint64_t)token << 16 | k);

    return (float)((0.5 + rng_unit(&r)) / top_k);
}

static int reserve_token_weights(struct block *b, size_t tokens, struct err *e)
{
    size_t bytes = tokens * b->m->top_k * sizeof(float);
    float *from;

    if (bytes <= b->room[TOKEN_WEIGHT].bytes)
        return 0;
    from = stage_take(b, bytes, e);
    if (from == NULL || reserve(b, TOKEN_WEIGHT, bytes, e) != 0)
        return -1;
    for (size_t i = 0; i < tokens * b->m->top_k; i++)
        from[i] = block_token_weight((uint32_t)(i / b->m->top_k),
                                     (uint32_t)(i % b->m->top_k), b->m->top_k);
    b->o->copy(b->d, b->s, b->room[TOKEN_WEIGHT].p, from, bytes);
    return 0;
}

static int reserve_group(struct block *b, uint32_t rows, size_t choices, struct err *e)
{
    const struct model *m = b->m;

    if (reserve_elements(b, EXPERT_IN, rows, m->hidden, e) != 0 ||
        reserve_elements(b, EXPERT_OUT, rows, m->hidden, e) != 0 ||
        reserve_elements(b, EXPERT_WORK, rows, 2 * (size_t)m->expert_ffn, e) != 0)
        return -1;
    return reserve(b, GROUP_INDEX, (rows + choices) * sizeof(uint32_t), e);
}

/* first and length without and with the window, and the table's row of each token. */
static size_t layout_bytes(uint32_t tokens)
{
    return tokens * (2 * sizeof(uint64_t) + 3 * sizeof(uint32_t));
}

/* Sends what the pass's kernels index by. */
static int send_layout(struct block *b, const struct cost_batch *batch, uint64_t pass,
                       struct err *e)
{
    uint32_t n = batch->tokens, sequences = rows_sequences(batch);
    size_t bytes = layout_bytes(n);
    char *from = stage_take(b, bytes, e);
    uint64_t *first = (uint64_t *)(void *)from, *to;
    uint32_t *length, *token;

    if (from == NULL || reserve(b, INDEX, bytes, e) != 0)
        return -1;
    length = (uint32_t *)(first + 2 * (size_t)n);
    token = length + 2 * (size_t)n;
    b->span[0].of =
        rows_attend(n, sequences, batch->kv_tokens, batch->pairs, first, length);
    b->span[1].of = rows_attend(n, sequences, batch->window_kv_tokens,
                                batch->window_pairs, first + n, length + n);
    for (uint32_t i = 0; i < n; i++)
        token[i] = (uint32_t)((pass * 7 + i) % WEIGHTS_TABLE_ROWS);
    to = b->room[INDEX].p;
    for (uint32_t i = 0; i < 2; i++) {
        b->span[i].first = to + (size_t)i * n;
        b->span[i].length = (uint32_t *)(to + 2 * (size_t)n) + (size_t)i * n;
    }
    b->o->copy(b->d, b->s, to, from, bytes);
    return 0;
}

int block_reserve(struct block *b, const struct cost_batch *largest, struct err *e)
{
    size_t choices = (size_t)largest->tokens * b->m->top_k;
    size_t index = 2 * choices * sizeof(uint32_t) + b->m->experts * sizeof(uint32_t);

    /* Two groups a layer, and what a pass sends beside them. */
    if (stage_take(b, 2 * b->m->moe_layers * (index + ALIGNMENT) + STAGE_BYTES, e) ==
            NULL ||
        reserve_pass(b, largest, e) != 0 ||
        reserve_token_weights(b, largest->tokens, e) != 0 ||
        reserve(b, INDEX, layout_bytes(largest->tokens), e) != 0 ||
        reserve_group(b, (uint32_t)choices, choices, e) != 0 ||
        reserve_kv(b, largest->kv_tokens, e) != 0)
        return -1;
    return b->o->stream_finish(b->d, b->s, e);
}

int block_begin(struct block *b, const struct cost_batch *batch, uint64_t pass,
                struct err *e)
{
    struct device_permute p = {.tokens = WEIGHTS_TABLE_ROWS,
                               .rows = batch->tokens,
                               .top_k = 1,
                               .hidden = b->m->hidden};
    uint64_t kv;

    b->stage_at = 0;
    b->stage_used = 0;
    b->tokens = batch->tokens;
    if (reserve_pass(b, batch, e) != 0 ||
        reserve_token_weights(b, batch->tokens, e) != 0 ||
        send_layout(b, batch, pass, e) != 0)
        return -1;
    kv = b->span[0].of.tokens > batch->tokens ? b->span[0].of.tokens : batch->tokens;
    kv = b->span[1].of.tokens > kv ? b->span[1].of.tokens : kv;
    if (kv > b->kv_tokens && reserve_kv(b, kv + kv / 2, e) != 0)
        return -1;
    p.row_token = b->span[1].length + batch->tokens;
    b->o->gather(b->d, b->s, &p, weights_table(b->w), b->room[HIDDEN].p);
    return 0;
}

/* ---- dense blocks ---- */

static void multiply(struct block *b, uint32_t rows, struct weights_matrix w,
                     const void *x, const void *weights, void *y)
{
    b->o->gemm(b->d, b->s,
               &(struct device_gemm){
                   .rows = rows, .in = w.in, .out = w.out, .x = x, .w = weights, .y = y});
}

static void norm(struct block *b, uint32_t rows, enum buffer to)
{
    b->o->norm(b->d, b->s,
               &(struct device_norm){.rows = rows,
                                     .hidden = b->m->hidden,
                                     .x = b->room[HIDDEN].p,
                                     .weight = weights_norm(b->w),
                                     .y = b->room[to].p});
}

static void add_delta(struct block *b)
{
    b->o->add(b->d, b->s, b->room[HIDDEN].p, b->room[DELTA].p,
              (size_t)b->tokens * b->m->hidden);
}

/* Keys and values of the pass's tokens go to the cache; returns the heads' queries. */
static const void *project_grouped(struct block *b, const char *w, char *keys,
                                   char *values)
{
    struct weights_matrix shape[WEIGHTS_ATTENTION_MOST];
    size_t row = key_elements(b->m) * b->element;
    const char *product = b->room[QKV].p;
    size_t queries = (size_t)b->tokens * b->m->heads * b->m->head_dim * b->element;

    (void)weights_attention_shape(b->m, shape);
    multiply(b, b->tokens, shape[0], b->room[NORMED].p, w, b->room[QKV].p);
    b->o->copy(b->d, b->s, keys, product + queries, b->tokens * row);
    b->o->copy(b->d, b->s, values, product + queries + b->tokens * row, b->tokens * row);
    return product;
}

static const void *project_latent(struct block *b, const char *w, char *keys)
{
    const struct model *m = b->m;
    struct weights_matrix shape[WEIGHTS_ATTENTION_MOST];
    size_t latent = (size_t)b->tokens * key_elements(m) * b->element;
    size_t wanted = latent * m->heads, made;
    uint32_t up = weights_attention_shape(m, shape) - 2;
    char *query = b->room[QUERY].p;

    multiply(b, b->tokens, shape[0], b->room[NORMED].p, w, b->room[QKV].p);
    w += (size_t)shape[0].out * shape[0].in * b->element;
    b->o->copy(b->d, b->s, keys, b->room[QKV].p, latent);
    if (up == 2) {
        multiply(b, b->tokens, shape[1], b->room[QKV].p, w, query);
        w += (size_t)shape[1].out * shape[1].in * b->element;
    }
    multiply(b, b->tokens, shape[up], up == 2 ? query : b->room[QKV].p, w, b->room[UP].p);
    made = (size_t)b->tokens * shape[up].out * b->element;
    for (size_t at = 0; at < wanted; at += made)
        b->o->copy(b->d, b->s, query + at, b->room[UP].p,
                   wanted - at < made ? wanted - at : made);
    return query;
}

static void attend(struct block *b, uint32_t layer, uint32_t attention)
{
    const struct model *m = b->m;
    bool latent = m->attention == MODEL_ATTENTION_MLA;
    const struct span *span = &b->span[model_layer_windowed(m, layer)];
    const char *w = weights_attention(b->w, attention);
    char *keys = b->kv[attention % b->kv_count];
    char *values = keys + b->kv_tokens * key_elements(m) * b->element;
    struct weights_matrix shape[WEIGHTS_ATTENTION_MOST];
    uint32_t matrices = weights_attention_shape(m, shape);
    struct device_attention a = {
        .rows = b->tokens,
        .heads = m->heads,
        .kv_heads = latent ? 1 : m->kv_heads,
        .key_dim = latent ? m->kv_rank + m->rope_dim : m->head_dim,
        .value_dim = latent ? m->kv_rank : m->head_dim,
        .keys = keys,
        .values = latent ? keys : values,
        .first = span->first,
        .length = span->length,
        .longest = span->of.longest,
        .out = b->room[ATTENDED].p,
    };

    norm(b, b->tokens, NORMED);
    a.q = latent ? project_latent(b, w, keys) : project_grouped(b, w, keys, values);
    b->o->attention(b->d, b->s, &a);
    for (uint32_t i = 0; i + 1 < matrices; i++)
        w += (size_t)shape[i].out * shape[i].in * b->element;
    multiply(b, b->tokens, shape[matrices - 1], b->room[ATTENDED].p, w, b->room[DELTA].p);
    add_delta(b);
}

static void feed_forward(struct block *b, const struct device_ffn *f, const void *w)
{
    const char *down =
        (const char *)w + (size_t)(f->matrices - 1) * f->inner * f->hidden * b->element;

    if (f->matrices == 3) {
        multiply(b, b->tokens, (struct weights_matrix){2 * f->inner, f->hidden},
                 b->room[NORMED].p, w, b->room[FFN_WIDE].p);
        b->o->gated(b->d, b->s, b->room[FFN_WIDE].p, b->room[FFN_INNER].p, b->tokens,
                    f->inner);
        multiply(b, b->tokens, (struct weights_matrix){f->hidden, f->inner},
                 b->room[FFN_INNER].p, down, b->room[DELTA].p);
    } else {
        b->o->experts(b->d, b->s,
                      &(struct device_group){.ffn = *f,
                                             .count = 1,
                                             .weight = &w,
                                             .rows = &b->tokens,
                                             .x = b->room[NORMED].p,
                                             .y = b->room[DELTA].p,
                                             .work = b->room[FFN_WIDE].p});
    }
    add_delta(b);
}

int block_dense(struct block *b, uint32_t layer, struct err *e)
{
    const struct model *m = b->m;
    struct device_ffn ffn;
    const void *w = weights_ffn(b->w, layer, &ffn);

    attend(b, layer, layer);
    if (m->encoder_layers > 0 && layer >= m->encoder_layers)
        attend(b, layer, m->layers + layer - m->encoder_layers);
    norm(b, b->tokens, NORMED);
    if (w != NULL)
        feed_forward(b, &ffn, w);
    return b->o->check(b->d, e);
}

int block_gate(struct block *b, uint32_t moe_layer, struct err *e)
{
    multiply(b, b->tokens, (struct weights_matrix){b->m->experts, b->m->hidden},
             b->room[NORMED].p, weights_router(b->w, moe_layer), b->room[LOGITS].p);
    return b->o->check(b->d, e);
}

int block_head(struct block *b, uint32_t outputs, struct err *e)
{
    if (outputs > b->tokens)
        outputs = b->tokens;
    if (outputs > 0) {
        norm(b, outputs, NORMED);
        multiply(b, outputs, (struct weights_matrix){b->m->vocab, b->m->hidden},
                 b->room[NORMED].p, weights_head(b->w), b->room[LOGITS].p);
    }
    return b->o->check(b->d, e);
}

/* ---- experts ---- */

int block_experts(struct block *b, const struct block_group *g, struct err *e)
{
    const struct op_routing *t = g->routing;
    size_t choices = (size_t)t->rows * t->top_k;
    struct device_permute p = {.tokens = b->tokens, .top_k = t->top_k};
    struct rows_group of = {g->expert, g->count, b->m->experts, g->tokens, t};
    uint32_t *from, *rows;
    size_t bytes;

    for (uint32_t i = 0; i < g->count; i++)
        p.rows += g->tokens[g->expert[i]];
    bytes = (p.rows + choices) * sizeof *from;
    from = stage_take(b, bytes + g->count * sizeof *rows, e);
    if (from == NULL || reserve_group(b, p.rows, choices, e) != 0)
        return -1;
    rows = from + p.rows + choices;
    if (rows_order(&of, b->place, rows, from, from + p.rows, e) != 0)
        return -1;
    p.hidden = b->m->hidden;
    p.row_token = b->room[GROUP_INDEX].p;
    p.token_row = p.row_token + p.rows;
    p.token_weight = b->room[TOKEN_WEIGHT].p;
    b->o->copy(b->d, b->s, b->room[GROUP_INDEX].p, from, bytes);
    b->o->gather(b->d, b->s, &p, b->room[NORMED].p, b->room[EXPERT_IN].p);
    b->o->experts(b->d, b->s,
                  &(struct device_group){.ffn = weights_expert_ffn(b->w),
                                         .count = g->count,
                                         .weight = g->weight,
                                         .rows = rows,
                                         .x = b->room[EXPERT_IN].p,
                                         .y = b->room[EXPERT_OUT].p,
                                         .work = b->room[EXPERT_WORK].p});
    b->o->scatter(b->d, b->s, &p, b->room[EXPERT_OUT].p, b->room[HIDDEN].p);
    return b->o->check(b->d, e);
}

const void *block_result(const struct block *b, size_t *bytes)
{
    *bytes = b->room[LOGITS].bytes;
    return b->room[LOGITS].p;
}

void *block_hidden(const struct block *b)
{
    return b->room[HIDDEN].p;
}

const void *block_normed(const struct block *b)
{
    return b->room[NORMED].p;
}

/* Kernels of a dense block: products of matrices, attention, and those that only move
 * activations. */
#include "bench_rig.h"

#include "reference.h"
#include "sim/base/mem.h"

#include <stdlib.h>

/* The reference computes about that much in a blink. */
#define CHEAP_FLOPS 3e7

/* ---- gemm: weights come from the pool ---- */

struct gemm_state {
    struct device_gemm of;
    size_t offset; /* of the last run's weights */
};

/* The shapes of projections, routers and shared FFNs of models in models/arch. */
static void gemm_shapes(const struct bench *b, struct bench_shapes *list)
{
    static const uint64_t quick[][2] = {{512, 64}, {512, 512}, {1024, 2048}, {2048, 768}};
    static const uint64_t full[][2] = {{2048, 64},   {512, 2048},  {768, 3072},
                                       {2048, 2048}, {2048, 5632}, {2880, 5120},
                                       {4096, 2880}, {4096, 6144}, {2048, 21888}};
    const uint64_t most = b->quick ? 256 : 8192;
    const size_t count =
        b->quick ? sizeof quick / sizeof *quick : sizeof full / sizeof *full;

    for (uint64_t rows = 1; rows <= most; rows *= 2)
        for (size_t i = 0; i < count; i++) {
            const uint64_t *s = b->quick ? quick[i] : full[i];

            BENCH_SHAPE(list, rows, s[0], s[1]);
        }
}

static int gemm_setup(struct bench *b, struct err *e)
{
    struct gemm_state *g = mem_zalloc(1, sizeof *g);
    void *x, *y;
    int status;

    b->state = g;
    g->of = (struct device_gemm){.rows = (uint32_t)b->shape[0],
                                 .in = (uint32_t)b->shape[1],
                                 .out = (uint32_t)b->shape[2]};
    status = bench_local(b, b->shape[0] * b->shape[1] * b->element, &x, e);
    if (status == 0)
        status = bench_local(b, b->shape[0] * b->shape[2] * b->element, &y, e);
    if (status != 0)
        return status;
    g->of.x = x;
    g->of.y = y;
    return b->shape[1] * b->shape[2] * b->element <= b->pool_bytes ? 0 : 1;
}

static int gemm_run(struct bench *b, double *seconds, struct err *e)
{
    struct gemm_state *g = b->state;

    g->offset = bench_take(b, b->shape[1] * b->shape[2] * b->element);
    g->of.w = b->pool[DEVICE_MEMORY_LOCAL] + g->offset;
    bench_begin(b);
    b->o->gemm(b->d, b->s, &g->of);
    return bench_finish(b, seconds, e);
}

static double gemm_flops(const uint64_t *shape)
{
    return 2.0 * (double)shape[0] * (double)shape[1] * (double)shape[2];
}

static double gemm_bytes(const struct bench *b, const uint64_t *shape)
{
    return (double)b->element * (double)shape[1] * (double)shape[2];
}

static int gemm_check(struct bench *b, struct err *e)
{
    const struct gemm_state *g = b->state;
    struct device_gemm r = g->of;
    float *x, *w, *y;
    int status;

    if (gemm_flops(b->shape) > CHEAP_FLOPS)
        return 0;
    x = bench_pattern(b, 0, (size_t)r.rows * r.in);
    w = bench_pattern(b, g->offset / b->element, (size_t)r.in * r.out);
    y = mem_alloc((size_t)r.rows * r.out, sizeof *y);
    r.x = x;
    r.w = w;
    r.y = y;
    reference_gemm(&r);
    status = bench_expect(b, g->of.y, y, (size_t)r.rows * r.out, e);
    free(x);
    free(w);
    free(y);
    return status;
}

const struct device_bench bench_gemm = {
    .table = &samples_gemm,
    .help = "y (rows, out) = x (rows, in) times weights",
    .shapes = gemm_shapes,
    .setup = gemm_setup,
    .run = gemm_run,
    .check = gemm_check,
    .flops = gemm_flops,
    .bytes = gemm_bytes,
};

/* ---- attention: the cache comes from the pool ---- */

/* Heads as in GPT-OSS, Mixtral, OLMoE, and DeepSeek's absorbed form. Decode has one row
 * per request, a prompt as many as its context. */
static void attention_shapes(const struct bench *b, struct bench_shapes *list)
{
    static const uint64_t kinds[][4] = {
        {64, 8, 64, 64}, {32, 8, 128, 128}, {16, 16, 128, 128}, {16, 1, 576, 512}};
    const uint64_t longest = b->quick ? 2048 : 16384;
    const uint64_t most = b->quick ? 8 : 128;

    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        const uint64_t *a = kinds[k];

        for (uint64_t n = 1; n <= most; n *= b->quick ? 8 : 4)
            for (uint64_t c = 32; c <= longest; c *= b->quick ? 8 : 4)
                BENCH_SHAPE(list, a[0], a[1], a[2], a[3], n, c, 1);
        for (uint64_t c = 32; c <= longest / 4; c *= b->quick ? 4 : 2)
            BENCH_SHAPE(list, a[0], a[1], a[2], a[3], 1, c, c);
    }
}

struct attention_state {
    struct device_attention of;
    size_t key_bytes, value_bytes; /* of all requests */
};

/* Where each row's sequence begins, and how many tokens it sees: its own place. */
static int attention_lists(struct bench *b, struct device_attention *a, struct err *e)
{
    const uint64_t *s = b->shape;
    uint64_t *first = mem_alloc(a->rows, sizeof *first);
    uint32_t *length = mem_alloc(a->rows, sizeof *length);
    void *p = NULL, *q = NULL;
    int status;

    for (uint64_t i = 0; i < a->rows; i++) {
        first[i] = i / s[ATTENTION_ROWS] * s[ATTENTION_CONTEXT];
        length[i] = (uint32_t)(s[ATTENTION_CONTEXT] - s[ATTENTION_ROWS] + 1 +
                               i % s[ATTENTION_ROWS]);
    }
    status = bench_send(b, first, a->rows * sizeof *first, &p, e);
    if (status == 0)
        status = bench_send(b, length, a->rows * sizeof *length, &q, e);
    free(first);
    free(length);
    a->first = p;
    a->length = q;
    return status;
}

static int attention_setup(struct bench *b, struct err *e)
{
    const uint64_t *s = b->shape;
    const uint64_t tokens = s[ATTENTION_REQUESTS] * s[ATTENTION_CONTEXT];
    const uint64_t rows = s[ATTENTION_REQUESTS] * s[ATTENTION_ROWS];
    struct attention_state *t = mem_zalloc(1, sizeof *t);
    void *q, *out;
    int status;

    b->state = t;
    t->key_bytes = tokens * s[ATTENTION_KV_HEADS] * s[ATTENTION_KEY_DIM] * b->element;
    t->value_bytes = tokens * s[ATTENTION_KV_HEADS] * s[ATTENTION_VALUE_DIM] * b->element;
    if (t->key_bytes + t->value_bytes > b->pool_bytes)
        return 1;
    status = bench_local(b, rows * s[ATTENTION_HEADS] * s[ATTENTION_KEY_DIM] * b->element,
                         &q, e);
    if (status == 0)
        status = bench_local(
            b, rows * s[ATTENTION_HEADS] * s[ATTENTION_VALUE_DIM] * b->element, &out, e);
    if (status != 0)
        return status;
    t->of = (struct device_attention){.rows = (uint32_t)rows,
                                      .heads = (uint32_t)s[ATTENTION_HEADS],
                                      .kv_heads = (uint32_t)s[ATTENTION_KV_HEADS],
                                      .key_dim = (uint32_t)s[ATTENTION_KEY_DIM],
                                      .value_dim = (uint32_t)s[ATTENTION_VALUE_DIM],
                                      .longest = (uint32_t)s[ATTENTION_CONTEXT],
                                      .q = q,
                                      .out = out};
    return attention_lists(b, &t->of, e);
}

static int attention_run(struct bench *b, double *seconds, struct err *e)
{
    struct attention_state *t = b->state;
    size_t offset;

    offset = bench_take(b, t->key_bytes + t->value_bytes);
    t->of.keys = b->pool[DEVICE_MEMORY_LOCAL] + offset;
    t->of.values = b->pool[DEVICE_MEMORY_LOCAL] + offset + t->key_bytes;
    bench_begin(b);
    b->o->attention(b->d, b->s, &t->of);
    return bench_finish(b, seconds, e);
}

static double attention_flops(const uint64_t *s)
{
    const double rows = (double)s[ATTENTION_ROWS];
    const double pairs = (double)s[ATTENTION_REQUESTS] * rows *
                         ((double)s[ATTENTION_CONTEXT] - (rows - 1.0) / 2.0);

    return 2.0 * (double)s[ATTENTION_HEADS] *
           (double)(s[ATTENTION_KEY_DIM] + s[ATTENTION_VALUE_DIM]) * pairs;
}

static double attention_bytes(const struct bench *b, const uint64_t *s)
{
    return (double)b->element * (double)(s[ATTENTION_REQUESTS] * s[ATTENTION_CONTEXT]) *
           (double)(s[ATTENTION_KV_HEADS] *
                    (s[ATTENTION_KEY_DIM] + s[ATTENTION_VALUE_DIM]));
}

const struct device_bench bench_attention = {
    .table = &samples_attention,
    .help = "attention over a cache: decode has one row per request, a prompt as many "
            "as its context",
    .shapes = attention_shapes,
    .setup = attention_setup,
    .run = attention_run,
    .flops = attention_flops,
    .bytes = attention_bytes,
};

/* ---- kernels that only move activations ---- */

static void move_shapes(const struct bench *b, struct bench_shapes *list)
{
    static const uint64_t full[] = {512, 2048, 2880, 4096};
    static const uint64_t quick[] = {512, 2048};
    const size_t widths = b->quick ? 2 : 4;
    const uint64_t most = b->quick ? 256 : 8192;

    for (uint64_t kind = 0; kind < MOVE_KINDS; kind++)
        for (uint64_t rows = MOVE_TOP_K; rows <= most; rows *= b->quick ? 8 : 4)
            for (size_t i = 0; i < widths; i++)
                BENCH_SHAPE(list, kind, rows, b->quick ? quick[i] : full[i]);
}

struct move_state {
    struct device_permute permute;
    void *x, *y;
};

static int move_setup(struct bench *b, struct err *e)
{
    const uint32_t rows = (uint32_t)b->shape[1], width = (uint32_t)b->shape[2];
    const size_t bytes = (size_t)rows * width * b->element;
    struct move_state *m = mem_zalloc(1, sizeof *m);
    int status = bench_local(b, 2 * bytes, &m->x, e);

    b->state = m;
    if (status == 0)
        status = bench_local(b, bytes, &m->y, e);
    m->permute = (struct device_permute){
        .tokens = rows / MOVE_TOP_K, .rows = rows, .top_k = MOVE_TOP_K, .hidden = width};
    return status == 0 ? bench_permute(b, &m->permute, e) : status;
}

static int move_run(struct bench *b, double *seconds, struct err *e)
{
    const uint32_t rows = (uint32_t)b->shape[1], width = (uint32_t)b->shape[2];
    const struct move_state *m = b->state;

    bench_begin(b);
    switch (b->shape[0]) {
    case MOVE_GATHER:
        b->o->gather(b->d, b->s, &m->permute, m->x, m->y);
        break;
    case MOVE_SCATTER:
        b->o->scatter(b->d, b->s, &m->permute, m->x, m->y);
        break;
    case MOVE_NORM:
        b->o->norm(b->d, b->s,
                   &(struct device_norm){.rows = rows,
                                         .hidden = width,
                                         .x = m->x,
                                         .weight = b->pool[DEVICE_MEMORY_LOCAL],
                                         .y = m->y});
        break;
    case MOVE_ADD:
        b->o->add(b->d, b->s, m->y, m->x, (size_t)rows * width);
        break;
    default:
        b->o->gated(b->d, b->s, m->x, m->y, rows, width);
        break;
    }
    return bench_finish(b, seconds, e);
}

const struct device_bench bench_move = {
    .table = &samples_move,
    .help = "kernels that move activations: gather of rows, scatter of 4 rows per token, "
            "norm, add, SiLU",
    .shapes = move_shapes,
    .setup = move_setup,
    .run = move_run,
};

/* Expert groups: on the device with the kernels around them, and on the host's
 * processors. Weights come from the pools. */
#include "bench_rig.h"

#include "reference.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

#define CHEAP_FLOPS 3e7

static size_t expert_bytes(const uint64_t *s, size_t element)
{
    return s[EXPERTS_MATRICES] * s[EXPERTS_HIDDEN] * s[EXPERTS_INNER] * element;
}

static uint64_t rows_of(const uint64_t *s)
{
    return s[EXPERTS_FIRST_ROWS] + (s[EXPERTS_DISTINCT] - 1) * s[EXPERTS_ROWS];
}

static double flops_of(const uint64_t *s)
{
    return 2.0 * (double)expert_bytes(s, 1) * (double)rows_of(s);
}

static double bytes_of(const struct bench *b, const uint64_t *s)
{
    return (double)s[EXPERTS_DISTINCT] * (double)expert_bytes(s, b->element);
}

/* Expert sizes of models in models/arch (small ones when quick): OLMoE's, DeepSeek-V2-
 * Lite's, GPT-OSS's, Mixtral's, Switch's. Beside equal loads, one expert with many rows.
 */
static void shapes(const struct bench *b, struct bench_shapes *list)
{
    static const uint64_t quick[][4] = {
        {256, 128, 3, 4}, {512, 256, 3, 8}, {512, 1024, 2, 1}, {1024, 512, 3, 4}};
    static const uint64_t full[][4] = {{768, 3072, 2, 1},  {2048, 768, 3, 8},
                                       {2048, 1024, 3, 8}, {2048, 1408, 3, 6},
                                       {2880, 2880, 3, 4}, {4096, 14336, 3, 2}};
    const size_t count = b->quick ? 4 : 6;
    const uint64_t most = b->quick ? 64 : 1024;

    for (uint64_t rows = 1; rows <= most; rows *= b->quick || rows >= 16 ? 4 : 2)
        for (uint64_t distinct = 1; distinct <= 64; distinct *= 4)
            for (size_t i = 0; i < count; i++) {
                const uint64_t *s = b->quick ? quick[i] : full[i];

                BENCH_SHAPE(list, s[0], s[1], s[2], s[3], distinct, rows, rows);
                if (distinct == 4 && rows < most / 4)
                    BENCH_SHAPE(list, s[0], s[1], s[2], s[3], distinct, rows, 4 * rows);
            }
}

/* ---- on the device ---- */

struct group_state {
    struct device_group group;
    struct device_permute permute;
    const void **weight;
    uint32_t *rows;
    void *tokens, *out; /* (tokens, hidden) */
    void *x;            /* of the group, gathered from the tokens */
    size_t offset;      /* of the first expert's weights */
};

static void end(struct bench *b)
{
    struct group_state *g = b->state;

    if (g == NULL)
        return;
    free(g->weight);
    free(g->rows);
}

static void group_init(struct group_state *g, const uint64_t *s)
{
    g->group = (struct device_group){.ffn = {(uint32_t)s[EXPERTS_HIDDEN],
                                             (uint32_t)s[EXPERTS_INNER],
                                             (uint32_t)s[EXPERTS_MATRICES]},
                                     .count = (uint32_t)s[EXPERTS_DISTINCT]};
    g->weight = mem_alloc(s[EXPERTS_DISTINCT], sizeof *g->weight);
    g->rows = mem_alloc(s[EXPERTS_DISTINCT], sizeof *g->rows);
    for (uint64_t i = 0; i < s[EXPERTS_DISTINCT]; i++)
        g->rows[i] = (uint32_t)(i == 0 ? s[EXPERTS_FIRST_ROWS] : s[EXPERTS_ROWS]);
    g->group.weight = g->weight;
    g->group.rows = g->rows;
}

static int setup(struct bench *b, struct err *e)
{
    const uint64_t *s = b->shape;
    const uint64_t rows = rows_of(s),
                   tokens = (rows + s[EXPERTS_TOP_K] - 1) / s[EXPERTS_TOP_K];
    const size_t row_bytes = s[EXPERTS_HIDDEN] * b->element;
    struct group_state *g = mem_zalloc(1, sizeof *g);
    void *y, *work;
    int status;

    b->state = g;
    if (s[EXPERTS_DISTINCT] * expert_bytes(s, b->element) > b->pool_bytes)
        return 1;
    group_init(g, s);
    if ((status = bench_local(b, tokens * row_bytes, &g->tokens, e)) != 0 ||
        (status = bench_local(b, tokens * row_bytes, &g->out, e)) != 0 ||
        (status = bench_local(b, rows * row_bytes, &g->x, e)) != 0 ||
        (status = bench_local(b, rows * row_bytes, &y, e)) != 0 ||
        (status = bench_local(b, rows * 2 * s[EXPERTS_INNER] * b->element, &work, e)) !=
            0)
        return status;
    g->group.x = g->x;
    g->group.y = y;
    g->group.work = work;
    g->permute = (struct device_permute){.tokens = (uint32_t)tokens,
                                         .rows = (uint32_t)rows,
                                         .top_k = (uint32_t)s[EXPERTS_TOP_K],
                                         .hidden = (uint32_t)s[EXPERTS_HIDDEN]};
    return bench_permute(b, &g->permute, e);
}

static int run(struct bench *b, double *seconds, struct err *e)
{
    const size_t one = expert_bytes(b->shape, b->element);
    struct group_state *g = b->state;

    g->offset = bench_take(b, g->group.count * one);
    for (uint32_t i = 0; i < g->group.count; i++)
        g->weight[i] = b->pool[DEVICE_MEMORY_LOCAL] + g->offset + i * one;
    bench_begin(b);
    b->o->gather(b->d, b->s, &g->permute, g->tokens, g->x);
    b->o->experts(b->d, b->s, &g->group);
    b->o->scatter(b->d, b->s, &g->permute, g->group.y, g->out);
    return bench_finish(b, seconds, e);
}

/* The first expert's rows. */
static int check(struct bench *b, struct err *e)
{
    const struct group_state *g = b->state;
    const size_t elements = device_ffn_elements(&g->group.ffn);
    const uint32_t rows = g->rows[0], hidden = g->group.ffn.hidden;
    float *x, *w, *y;
    const void *weight;
    struct device_group r = g->group;
    int status;

    if (flops_of(b->shape) > CHEAP_FLOPS)
        return 0;
    x = mem_alloc((size_t)rows * hidden, sizeof *x);
    y = mem_alloc((size_t)rows * hidden, sizeof *y);
    w = bench_pattern(b, g->offset / b->element, elements);
    for (uint32_t i = 0; i < rows; i++) {
        float *token = bench_pattern(b, (size_t)(i % g->permute.tokens) * hidden, hidden);

        memcpy(x + (size_t)i * hidden, token, hidden * sizeof *x);
        free(token);
    }
    weight = w;
    r.count = 1;
    r.weight = &weight;
    r.rows = &rows;
    r.x = x;
    r.y = y;
    reference_experts(&r);
    status = bench_expect(b, g->group.y, y, (size_t)rows * hidden, e);
    free(x);
    free(w);
    free(y);
    return status;
}

const struct device_bench bench_experts = {
    .table = &samples_experts,
    .help = "gather, grouped expert GEMMs with activation, weighted scatter; the first "
            "expert has first_rows, the others rows",
    .shapes = shapes,
    .setup = setup,
    .run = run,
    .check = check,
    .end = end,
    .flops = flops_of,
    .bytes = bytes_of,
};

/* ---- on the host's processors: experts are dealt out to the workers in turn ---- */

struct cpu_state {
    struct device_group part[BENCH_WORKERS];
    const void **weight;
    uint32_t *rows;
    float *x, *y, *work;
};

static int cpu_setup(struct bench *b, struct err *e)
{
    const uint64_t *s = b->shape;
    const uint64_t rows = rows_of(s);
    struct cpu_state *c = mem_zalloc(1, sizeof *c);
    float *x, *y, *work;

    (void)e;
    b->state = c;
    if (s[EXPERTS_DISTINCT] * expert_bytes(s, sizeof(float)) > b->pool_bytes)
        return 1;
    c->weight = mem_alloc(s[EXPERTS_DISTINCT], sizeof *c->weight);
    c->rows = mem_alloc(s[EXPERTS_DISTINCT], sizeof *c->rows);
    c->x = x = bench_pattern(b, 0, rows * s[EXPERTS_HIDDEN]);
    c->y = y = bench_pattern(b, 0, rows * s[EXPERTS_HIDDEN]);
    c->work = work = bench_pattern(b, 0, rows * 2 * s[EXPERTS_INNER]);
    for (uint32_t i = 0; i < s[EXPERTS_DISTINCT]; i++)
        c->rows[i] = (uint32_t)(i == 0 ? s[EXPERTS_FIRST_ROWS] : s[EXPERTS_ROWS]);
    for (uint32_t w = 0, at = 0; w < b->workers; w++) {
        struct device_group *g = &c->part[w];

        *g = (struct device_group){.ffn = {(uint32_t)s[EXPERTS_HIDDEN],
                                           (uint32_t)s[EXPERTS_INNER],
                                           (uint32_t)s[EXPERTS_MATRICES]},
                                   .weight = c->weight + at,
                                   .rows = c->rows + at,
                                   .x = x,
                                   .y = y,
                                   .work = work};
        for (g->count = 0; at < s[EXPERTS_DISTINCT] * (w + 1) / b->workers;
             at++, g->count++) {
            x += c->rows[at] * s[EXPERTS_HIDDEN];
            y += c->rows[at] * s[EXPERTS_HIDDEN];
            work += c->rows[at] * 2 * s[EXPERTS_INNER];
        }
    }
    return 0;
}

static int cpu_run(struct bench *b, double *seconds, struct err *e)
{
    const size_t one = expert_bytes(b->shape, sizeof(float));
    const struct device_ops *o = b->cpu->ops;
    struct cpu_state *c = b->state;
    double begun;
    size_t offset;
    int status = 0;

    offset = bench_take(b, b->shape[EXPERTS_DISTINCT] * one);
    for (uint32_t i = 0; i < b->shape[EXPERTS_DISTINCT]; i++)
        c->weight[i] = b->cpu_pool + offset + i * one;
    begun = bench_now();
    for (uint32_t w = 0; w < b->workers; w++)
        if (c->part[w].count > 0)
            o->experts(b->cpu, b->worker[w], &c->part[w]);
    for (uint32_t w = 0; w < b->workers && status == 0; w++)
        status = o->stream_finish(b->cpu, b->worker[w], e);
    *seconds = bench_now() - begun;
    return status;
}

static void cpu_end(struct bench *b)
{
    struct cpu_state *c = b->state;

    if (c == NULL)
        return;
    free(c->weight);
    free(c->rows);
    free(c->x);
    free(c->y);
    free(c->work);
}

static double cpu_bytes(const struct bench *b, const uint64_t *s)
{
    (void)b;
    return (double)s[EXPERTS_DISTINCT] * (double)expert_bytes(s, sizeof(float));
}

const struct device_bench bench_cpu = {
    .table = &samples_cpu,
    .help = "experts on the host's processors in fp32, a worker thread each but one; "
            "shapes as in experts",
    .shapes = shapes,
    .setup = cpu_setup,
    .run = cpu_run,
    .end = cpu_end,
    .flops = flops_of,
    .bytes = cpu_bytes,
};

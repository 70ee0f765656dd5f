#include "draw.h"

#include "draw_cell.h"
#include "draw_normal.h"
#include "draw_process.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 4 /* draws; tables hold whole blocks of them */

/* Correlation of r from row to row: it fades within about three rows. */
#define RECENT_MEMORY 0.7
/* Correlation of the vectors of neighbouring groups: files list related topics together.
 */
#define GROUP_MEMORY 0.8

/* What the openings of all requests have in common fades to 1 / e in so many rows, and
 * changes from row to row with this correlation. */
#define OPENING_FADE 32.0
#define OPENING_MEMORY 0.9

/* The least score that is executed in a layer is seldom further below that of the layer
 * before, in the same row. Only speed depends on it. */
#define FLOOR_MARGIN 0.25F

#define GOLDEN UINT64_C(0x9e3779b97f4a7c15) /* what a draw adds to a stream's state */

static void draw_vector(const struct draw_model *m, struct rng *r, float *v)
{
    for (int d = 0; d < DRAW_DIMENSIONS; d++)
        v[d] = draw_normal(m, r);
}

/* ---- the model ---- */

static void draw_loadings(struct draw_model *m)
{
    for (uint32_t l = 0; l < m->layers; l++) {
        struct rng r = rng_stream(m->seed, "loading", l);
        float *loading = m->loading + (size_t)l * DRAW_DIMENSIONS * m->width;

        for (uint32_t x = 0; x < m->experts; x++) {
            float v[DRAW_DIMENSIONS], length = 0;

            draw_vector(m, &r, v);
            for (int d = 0; d < DRAW_DIMENSIONS; d++)
                length += v[d] * v[d];
            length = sqrtf(length);
            for (int d = 0; d < DRAW_DIMENSIONS; d++)
                loading[(size_t)d * m->width + draw_place(m, x)] = v[d] / length;
        }
    }
}

static void draw_groups(struct draw_model *m)
{
    float keep = (float)GROUP_MEMORY;
    float renew = (float)sqrt(1 - GROUP_MEMORY * GROUP_MEMORY);

    for (uint32_t g = 0; g < m->groups; g++) {
        struct rng r = rng_stream(m->seed, "group", g);
        float *w = m->group + (size_t)g * DRAW_DIMENSIONS;

        draw_vector(m, &r, w);
        for (int d = 0; d < DRAW_DIMENSIONS && g > 0; d++)
            w[d] = keep * w[d - DRAW_DIMENSIONS] + renew * w[d];
    }
}

static void draw_openings(struct draw_model *m)
{
    float keep = (float)OPENING_MEMORY;
    float renew = (float)sqrt(1 - OPENING_MEMORY * OPENING_MEMORY);

    for (uint32_t i = 0; i < 2; i++) {
        struct rng r = rng_stream(m->seed, "section", i);

        for (uint32_t row = 0; row < DRAW_OPENING; row++) {
            float *s = m->section[i][row];

            draw_vector(m, &r, s);
            for (int d = 0; d < DRAW_DIMENSIONS && row > 0; d++)
                s[d] = keep * m->section[i][row - 1][d] + renew * s[d];
        }
    }
}

/* Draws that `experts` take in a cell, in blocks of `block`. */
static uint32_t count_draws(uint32_t experts, uint32_t block)
{
    return (experts + block * DRAW_NORMALS - 1) / (block * DRAW_NORMALS);
}

/* What fills up the tables is never among the best. */
static void init_biases(struct draw_model *m)
{
    size_t count = (size_t)m->layers * m->width;

    m->bias = mem_alloc(count, sizeof *m->bias);
    for (size_t i = 0; i < count; i++)
        m->bias[i] = -INFINITY;
    for (uint32_t l = 0; l < m->layers; l++)
        for (uint32_t x = 0; x < m->experts; x++)
            *draw_bias(m, l, x) = 0;
}

struct draw_model *draw_model_new(uint64_t seed, uint32_t layers, uint32_t experts,
                                  uint32_t top_k, uint32_t groups)
{
    struct draw_model *m = mem_zalloc(1, sizeof *m);

    assert(top_k >= 1 && top_k <= experts && groups >= 1);
    m->seed = seed;
    m->layers = layers;
    m->experts = experts;
    m->top_k = top_k;
    m->groups = groups;
    m->noise = 0.3;
    m->logit_scale = DRAW_LOGIT_SCALE;
    m->width = count_draws(experts, BLOCK) * BLOCK * DRAW_NORMALS;
    m->persistence = mem_zalloc(layers, sizeof *m->persistence);
    init_biases(m);
    m->loading =
        mem_zalloc((size_t)layers * DRAW_DIMENSIONS * m->width, sizeof *m->loading);
    m->group = mem_alloc((size_t)groups * DRAW_DIMENSIONS, sizeof *m->group);
    m->score = mem_alloc(m->width, sizeof *m->score);
    m->top = mem_alloc(m->width / DRAW_NORMALS, sizeof *m->top);
    m->knot = mem_alloc(2 * (size_t)m->width, sizeof *m->knot);
    m->bits = mem_alloc(m->width / DRAW_NORMALS, sizeof *m->bits);
    m->list = mem_alloc(m->width + DRAW_FEW, sizeof *m->list);
    m->candidate = mem_alloc(m->width + 1, sizeof *m->candidate);
    m->candidate_score = mem_alloc(m->width + 1, sizeof *m->candidate_score);
    m->best = mem_alloc(m->width + DRAW_FEW, sizeof *m->best);
    m->ranked = mem_alloc(2 * (size_t)experts, sizeof *m->ranked);
    m->quantile = draw_normal_table();
    draw_loadings(m);
    draw_groups(m);
    draw_openings(m);
    return m;
}

static void template_release(struct draw_template *t)
{
    free(t->expert);
    free(t->score);
    *t = (struct draw_template){0};
}

void draw_model_free(struct draw_model *m)
{
    if (m == NULL)
        return;
    free(m->persistence);
    free(m->bias);
    free(m->loading);
    free(m->group);
    free(m->quantile);
    free(m->score);
    free(m->top);
    free(m->knot);
    free(m->bits);
    free(m->list);
    free(m->candidate);
    free(m->candidate_score);
    free(m->best);
    free(m->ranked);
    draw_process_free(m->process);
    template_release(&m->prompt);
    template_release(&m->output);
    free(m);
}

/* ---- cells ---- */

/* score = bias + loading . h, written so that compilers make vectors of it without
 * reordering any sum; by itself, so that all of h stays in registers. */
static __attribute__((noinline)) void add_hidden(struct draw_model *m, uint32_t layer,
                                                 const float *hidden)
{
    const size_t width = m->width;
    const float *restrict bias = m->bias + layer * width;
    const float *restrict loading = m->loading + layer * DRAW_DIMENSIONS * width;
    const float h0 = hidden[0], h1 = hidden[1], h2 = hidden[2], h3 = hidden[3];
    float *restrict score = m->score;

    static_assert(DRAW_DIMENSIONS == 4, "the sum is written out");
    for (size_t i = 0; i < width; i++)
        score[i] = bias[i] + h0 * loading[i] + h1 * loading[width + i] +
                   h2 * loading[2 * width + i] + h3 * loading[3 * width + i];
}

/* Adds normal numbers. The table is looked up in one loop and what follows done in
 * another, which becomes vectors. */
static void add_noise(struct draw_model *m, struct rng r)
{
    const size_t width = m->width, draws = width / DRAW_NORMALS;
    const float noise = (float)m->noise, *quantile = m->quantile;
    float *restrict score = m->score, *restrict knot = m->knot;
    uint64_t *restrict bits = m->bits;

    for (size_t i = 0; i < draws; i++) {
        bits[i] = rng_u64(&r);
        for (size_t n = 0; n < DRAW_NORMALS; n++)
            memcpy(knot + 2 * (n * draws + i),
                   quantile + draw_normal_knot(bits[i] >> n * DRAW_NORMAL_BITS),
                   2 * sizeof *knot);
    }
    for (size_t n = 0; n < DRAW_NORMALS; n++)
        for (size_t i = 0, at = n * draws; i < draws; i++, at++)
            score[at] += noise * draw_normal_between(
                                     knot[2 * at], knot[2 * at + 1],
                                     draw_normal_part(bits[i] >> n * DRAW_NORMAL_BITS));
}

/* ---- rows ---- */

void draw_walk_begin(struct draw_walk *w, struct draw_model *m, uint64_t number,
                     const struct draw_request *request)
{
    struct rng r = rng_stream(m->seed, "request", number);
    const float *group = m->group + (size_t)request->group * DRAW_DIMENSIONS;
    float own = (float)sqrt(1 - m->domain), shared = (float)sqrt(m->domain);

    *w = (struct draw_walk){.m = m,
                            .request = request,
                            .fresh = rng_stream(m->seed, "token", number),
                            .recent = rng_stream(m->seed, "recent", number),
                            .noise = rng_stream(m->seed, "noise", number),
                            .number_of_walk =
                                m->process == NULL ? 0 : ++m->process->walks};
    draw_vector(m, &r, w->constant);
    for (int d = 0; d < DRAW_DIMENSIONS; d++)
        w->constant[d] = own * w->constant[d] + shared * group[d];
    draw_vector(m, &w->recent, w->r);
}

/* The template that the present row belongs to, with the row's number in it; or NULL. */
static const struct draw_template *find_template(const struct draw_walk *w, size_t *row)
{
    const struct draw_model *m = w->m;
    uint32_t prompt = w->request->prompt_rows;
    const struct draw_template *t = w->row < prompt ? &m->prompt : &m->output;

    *row = w->row < prompt ? w->row : w->row - prompt;
    return *row < t->rows ? t : NULL;
}

/* Where a row is put: of each layer top_k experts with their scores, or all of them. */
struct listing {
    uint16_t *expert;
    float *score; /* NULL: is not wanted */
    uint32_t width;
};

/* A template may list all experts where the executed ones alone are wanted. */
static void copy_row(const struct draw_model *m, const struct draw_template *t,
                     size_t row, const struct listing *to)
{
    assert(to->width <= t->width);
    for (uint32_t l = 0; l < m->layers; l++) {
        size_t from = (row * m->layers + l) * t->width, at = (size_t)l * to->width;

        memcpy(to->expert + at, t->expert + from, to->width * sizeof *to->expert);
        if (to->score != NULL)
            memcpy(to->score + at, t->score + from, to->width * sizeof *to->score);
    }
}

/* Mixes what is common to the openings of all requests into y. */
static void add_opening(const struct draw_walk *w, float *y)
{
    const struct draw_model *m = w->m;
    uint32_t prompt = w->request->prompt_rows;
    bool output = w->row >= prompt;
    uint32_t begin = output ? prompt + m->output.rows : m->prompt.rows;
    uint32_t row = w->row < begin ? 0 : w->row - begin;

    if (row < DRAW_OPENING) {
        double common = m->opening * exp(-(double)row / OPENING_FADE);
        float own = (float)sqrt(1 - common), shared = (float)sqrt(common);

        for (int d = 0; d < DRAW_DIMENSIONS; d++)
            y[d] = own * y[d] + shared * m->section[output][row][d];
    }
}

/* Lists a cell by its scores. Returns what the next layer's least is likely above. */
static float list_cell(struct draw_model *m, uint32_t layer, float floor, bool all,
                       const struct listing *to)
{
    uint16_t *expert = to->expert + (size_t)layer * to->width;
    float *score = to->score == NULL ? NULL : to->score + (size_t)layer * to->width;

    if (all) {
        draw_cell_rank(m, expert, score);
        return floor;
    }
    draw_cell_choose(m, floor, expert);
    if (score != NULL)
        memcpy(score, m->best, m->top_k * sizeof *score);
    return m->best[m->top_k - 1] - FLOOR_MARGIN;
}

static void draw_row(struct draw_walk *w, const float *x, bool all,
                     const struct listing *to)
{
    struct draw_model *m = w->m;
    uint64_t draws = count_draws(m->experts, 1);
    float visible = (float)sqrt(1 - m->noise * m->noise);
    float recent = (float)sqrt(1 - m->affinity), constant = (float)sqrt(m->affinity);
    float y[DRAW_DIMENSIONS], floor = -INFINITY;

    for (int d = 0; d < DRAW_DIMENSIONS; d++)
        y[d] = recent * w->r[d] + constant * w->constant[d];
    add_opening(w, y);
    for (uint32_t l = 0; l < m->layers; l++) {
        uint64_t first = ((uint64_t)w->row * m->layers + l) * draws;
        float fresh = visible * (float)sqrt(1 - m->persistence[l]);
        float kept = visible * (float)sqrt(m->persistence[l]);
        float h[DRAW_DIMENSIONS];
        struct rng noise;

        for (int d = 0; d < DRAW_DIMENSIONS; d++)
            h[d] = fresh * x[d] + kept * y[d];
        add_hidden(m, l, h);
        noise = (struct rng){.state = w->noise.state + first * GOLDEN};
        add_noise(m, noise);
        floor = list_cell(m, l, floor, all, to);
    }
}

static void draw_row_process(struct draw_model *m, bool all, const struct listing *to)
{
    float floor = -INFINITY;

    for (uint32_t l = 0; l < m->layers; l++) {
        draw_process_score(m, l);
        floor = list_cell(m, l, floor, all, to);
    }
}

static void draw_row_alone(const struct draw_walk *w, uint16_t *expert)
{
    const struct draw_model *m = w->m;
    struct rng r = {.state = rng_mix(w->noise.state + (w->row + 1) * GOLDEN)};

    for (uint32_t l = 0; l < m->layers; l++)
        draw_alone(m, &r, expert + (size_t)l * m->top_k);
}

/* Scores as they are drawn; `to` NULL: only moves on. */
static void walk_row(struct draw_walk *w, bool all, const struct listing *to)
{
    const float renew = (float)sqrt(1 - RECENT_MEMORY * RECENT_MEMORY);
    const struct draw_template *shared;
    float x[DRAW_DIMENSIONS], step[DRAW_DIMENSIONS];
    size_t row;

    draw_vector(w->m, &w->fresh, x);
    draw_vector(w->m, &w->recent, step);
    for (int d = 0; d < DRAW_DIMENSIONS; d++)
        w->r[d] = (float)RECENT_MEMORY * w->r[d] + renew * step[d];
    if (w->m->process != NULL)
        draw_process_step(w);
    shared = find_template(w, &row);
    if (to != NULL && w->m->alone)
        draw_row_alone(w, to->expert);
    else if (to != NULL && shared != NULL)
        copy_row(w->m, shared, row, to);
    else if (to != NULL && w->m->process != NULL)
        draw_row_process(w->m, all, to);
    else if (to != NULL)
        draw_row(w, x, all, to);
    w->row++;
}

void draw_walk_row(struct draw_walk *w, uint16_t *expert, float *weight)
{
    const struct draw_model *m = w->m;
    const struct listing to = {expert, weight, m->top_k};

    assert(weight == NULL || !m->alone);
    walk_row(w, false, expert == NULL ? NULL : &to);
    for (size_t l = 0; l < m->layers && weight != NULL; l++)
        draw_cell_weigh(m, weight + l * m->top_k);
}

void draw_walk_row_all(struct draw_walk *w, uint16_t *expert, float *logit)
{
    const struct draw_model *m = w->m;
    const struct listing to = {expert, logit, m->experts};

    assert(m->all && !m->alone);
    walk_row(w, true, &to);
    for (size_t l = 0; l < m->layers; l++)
        draw_cell_logits(m, expert + l * m->experts, logit + l * m->experts);
}

/* The rows are those of a request that is drawn for this alone. */
static struct draw_template draw_template(struct draw_model *m, uint64_t number,
                                          uint32_t rows)
{
    struct draw_request request = {.prompt_rows = rows};
    struct draw_template t = {.rows = rows, .width = m->all ? m->experts : m->top_k};
    size_t values = (size_t)m->layers * t.width;
    struct draw_walk w;

    t.expert = mem_alloc((size_t)rows + 1, values * sizeof *t.expert);
    t.score = mem_alloc((size_t)rows + 1, values * sizeof *t.score);
    draw_walk_begin(&w, m, number, &request);
    for (uint32_t i = 0; i < rows; i++) {
        const struct listing to = {t.expert + i * values, t.score + i * values, t.width};

        walk_row(&w, m->all, &to);
    }
    return t;
}

void draw_model_templates(struct draw_model *m, uint32_t prompt_rows,
                          uint32_t output_rows)
{
    struct draw_template prompt, output;

    template_release(&m->prompt);
    template_release(&m->output);
    prompt = draw_template(m, UINT64_MAX, prompt_rows);
    output = draw_template(m, UINT64_MAX - 1, output_rows);
    m->prompt = prompt;
    m->output = output;
}

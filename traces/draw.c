#include "draw.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 8 /* experts that the inner loop handles at once */
#define QUANTILE_BITS 12
#define QUANTILES ((size_t)1 << QUANTILE_BITS)
#define FRACTION_BITS 9
#define NORMAL_BITS (QUANTILE_BITS + FRACTION_BITS)
#define NORMALS_PER_DRAW (64 / NORMAL_BITS)

/* Correlation of r from row to row: it fades within about three rows. */
#define RECENT_MEMORY 0.7
/* Correlation of the vectors of neighbouring groups: files list related topics together.
 */
#define GROUP_MEMORY 0.8
/* Recorded gates weigh the first expert about twice the last; scores have unit scale. */
#define WEIGHT_SHARPNESS 1.5F

/* What the openings of all requests have in common fades to 1 / e in so many rows, and
 * changes from row to row with this correlation. */
#define OPENING_FADE 32.0
#define OPENING_MEMORY 0.9

#define GOLDEN UINT64_C(0x9e3779b97f4a7c15) /* what a draw adds to a stream's state */

/* ---- normal numbers ---- */

/* Inverse of the normal distribution function, by Newton's method from 0; `p` is within
 * (1e-5, 1/2], where every step stays on the convex side. */
static double find_quantile(double p)
{
    double x = 0;

    for (int i = 0; i < 60; i++) {
        double error = 0.5 * erfc(-x / sqrt(2.0)) - p;
        double density = exp(-0.5 * x * x) / sqrt(2.0 * acos(-1.0));

        x -= error / density;
    }
    return x;
}

/* Knots at i / QUANTILES, straight between them; the two ends, which would be infinite,
 * are where a quarter of the last step remains. */
static float *tabulate_quantiles(void)
{
    float *q = mem_alloc(QUANTILES + 1, sizeof *q);

    for (size_t i = 0; i <= QUANTILES / 2; i++) {
        double p = i == 0 ? 0.25 : (double)i;

        q[i] = (float)find_quantile(p / (double)QUANTILES);
        q[QUANTILES - i] = -q[i];
    }
    return q;
}

static inline float normal_of_bits(const float *quantile, uint64_t bits)
{
    size_t i = (size_t)(bits >> FRACTION_BITS) & (QUANTILES - 1);
    float part =
        (float)(bits & ((1u << FRACTION_BITS) - 1)) * (1.0F / (1 << FRACTION_BITS));

    return quantile[i] + (quantile[i + 1] - quantile[i]) * part;
}

double draw_quantile(const struct draw_model *m, double p)
{
    double place = fmin(1, fmax(0, p)) * (double)QUANTILES;
    size_t knot = (size_t)fmin(place, (double)(QUANTILES - 1));

    return m->quantile[knot] +
           (m->quantile[knot + 1] - m->quantile[knot]) * (place - (double)knot);
}

float draw_normal(const struct draw_model *m, struct rng *r)
{
    return normal_of_bits(m->quantile, rng_u64(r) >> (64 - NORMAL_BITS));
}

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
                loading[(size_t)d * m->width + x] = v[d] / length;
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
    m->width = (experts + BLOCK - 1) / BLOCK * BLOCK;
    m->persistence = mem_zalloc(layers, sizeof *m->persistence);
    m->bias = mem_zalloc((size_t)layers * m->width, sizeof *m->bias);
    m->loading =
        mem_zalloc((size_t)layers * DRAW_DIMENSIONS * m->width, sizeof *m->loading);
    m->group = mem_alloc((size_t)groups * DRAW_DIMENSIONS, sizeof *m->group);
    m->score = mem_alloc(m->width, sizeof *m->score);
    m->best = mem_alloc(top_k, sizeof *m->best);
    m->quantile = tabulate_quantiles();
    draw_loadings(m);
    draw_groups(m);
    draw_openings(m);
    return m;
}

static void template_release(struct draw_template *t)
{
    free(t->expert);
    free(t->weight);
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
    free(m->best);
    template_release(&m->prompt);
    template_release(&m->output);
    free(m);
}

/* ---- cells ---- */

/* score = bias + share * loading . h, in blocks that compilers turn into vector code
 * without reordering any sum. */
static void add_hidden(struct draw_model *m, uint32_t layer, const float *h)
{
    const float *bias = m->bias + (size_t)layer * m->width;
    const float *loading = m->loading + (size_t)layer * DRAW_DIMENSIONS * m->width;

    for (uint32_t first = 0; first < m->width; first += BLOCK) {
        float sum[BLOCK];

        for (int i = 0; i < BLOCK; i++)
            sum[i] = bias[first + (uint32_t)i];
        for (int d = 0; d < DRAW_DIMENSIONS; d++) {
            const float *v = loading + (size_t)d * m->width + first;

            for (int i = 0; i < BLOCK; i++)
                sum[i] += h[d] * v[i];
        }
        for (int i = 0; i < BLOCK; i++)
            m->score[first + (uint32_t)i] = sum[i];
    }
}

static void add_noise(struct draw_model *m, struct rng r)
{
    const float *quantile = m->quantile;
    float noise = (float)m->noise;

    for (uint32_t x = 0; x < m->experts;) {
        uint64_t bits = rng_u64(&r);

        for (int i = 0; i < NORMALS_PER_DRAW && x < m->experts; i++) {
            m->score[x++] += noise * normal_of_bits(quantile, bits);
            bits >>= NORMAL_BITS;
        }
    }
}

/* The top_k best, descending, with their scores in m->best; the lower id where two are
 * equal. */
static void choose(struct draw_model *m, uint16_t *expert)
{
    const float *score = m->score;
    float *best = m->best;
    uint32_t k = m->top_k;
    float least = -INFINITY;

    for (uint32_t i = 0; i < k; i++)
        best[i] = -INFINITY;
    for (uint32_t x = 0; x < m->experts; x++) {
        float now = score[x];
        uint32_t i = k - 1;

        if (now <= least)
            continue;
        for (; i > 0 && best[i - 1] < now; i--) {
            best[i] = best[i - 1];
            expert[i] = expert[i - 1];
        }
        best[i] = now;
        expert[i] = (uint16_t)x;
        least = best[k - 1];
    }
}

/* Softmax of the chosen scores. */
static void weigh(const struct draw_model *m, float *weight)
{
    float sum = 0;

    for (uint32_t i = 0; i < m->top_k; i++) {
        weight[i] = expf(WEIGHT_SHARPNESS * (m->best[i] - m->best[0]));
        sum += weight[i];
    }
    for (uint32_t i = 0; i < m->top_k; i++)
        weight[i] /= sum;
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
                            .noise = rng_stream(m->seed, "noise", number)};
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

static void copy_row(const struct draw_model *m, const struct draw_template *t,
                     size_t row, uint16_t *expert, float *weight)
{
    size_t cells = (size_t)m->layers * m->top_k;

    memcpy(expert, t->expert + row * cells, cells * sizeof *expert);
    if (weight != NULL)
        memcpy(weight, t->weight + row * cells, cells * sizeof *weight);
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

static void draw_row(struct draw_walk *w, const float *x, uint16_t *expert, float *weight)
{
    struct draw_model *m = w->m;
    uint64_t draws = (m->experts + NORMALS_PER_DRAW - 1) / NORMALS_PER_DRAW;
    float visible = (float)sqrt(1 - m->noise * m->noise);
    float recent = (float)sqrt(1 - m->affinity), constant = (float)sqrt(m->affinity);
    float y[DRAW_DIMENSIONS];

    for (int d = 0; d < DRAW_DIMENSIONS; d++)
        y[d] = recent * w->r[d] + constant * w->constant[d];
    add_opening(w, y);
    for (uint32_t l = 0; l < m->layers; l++) {
        uint64_t first = ((uint64_t)w->row * m->layers + l) * draws;
        float fresh = visible * (float)sqrt(1 - m->persistence[l]);
        float kept = visible * (float)sqrt(m->persistence[l]);
        float h[DRAW_DIMENSIONS];

        for (int d = 0; d < DRAW_DIMENSIONS; d++)
            h[d] = fresh * x[d] + kept * y[d];
        add_hidden(m, l, h);
        add_noise(m, (struct rng){.state = w->noise.state + first * GOLDEN});
        choose(m, expert + (size_t)l * m->top_k);
        if (weight != NULL)
            weigh(m, weight + (size_t)l * m->top_k);
    }
}

void draw_walk_row(struct draw_walk *w, uint16_t *expert, float *weight)
{
    const float renew = (float)sqrt(1 - RECENT_MEMORY * RECENT_MEMORY);
    const struct draw_template *shared;
    float x[DRAW_DIMENSIONS], step[DRAW_DIMENSIONS];
    size_t row;

    draw_vector(w->m, &w->fresh, x);
    draw_vector(w->m, &w->recent, step);
    for (int d = 0; d < DRAW_DIMENSIONS; d++)
        w->r[d] = (float)RECENT_MEMORY * w->r[d] + renew * step[d];
    shared = find_template(w, &row);
    if (expert != NULL && shared != NULL)
        copy_row(w->m, shared, row, expert, weight);
    else if (expert != NULL)
        draw_row(w, x, expert, weight);
    w->row++;
}

/* The rows are those of a request that is drawn for this alone. */
static struct draw_template draw_template(struct draw_model *m, uint64_t number,
                                          uint32_t rows)
{
    struct draw_request request = {.prompt_rows = rows};
    size_t cells = (size_t)m->layers * m->top_k;
    struct draw_template t = {.rows = rows};
    struct draw_walk w;

    t.expert = mem_alloc((size_t)rows + 1, cells * sizeof *t.expert);
    t.weight = mem_alloc((size_t)rows + 1, cells * sizeof *t.weight);
    draw_walk_begin(&w, m, number, &request);
    for (uint32_t i = 0; i < rows; i++)
        draw_walk_row(&w, t.expert + i * cells, t.weight + i * cells);
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

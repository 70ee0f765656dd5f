#include "draw.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 4 /* draws; tables hold whole blocks of them */
#define QUANTILE_BITS 12
#define QUANTILES ((size_t)1 << QUANTILE_BITS)
#define FRACTION_BITS 9
#define NORMAL_BITS (QUANTILE_BITS + FRACTION_BITS)

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

/* The least score that is executed in a layer is seldom further below that of the layer
 * before, in the same row. Only speed depends on it. */
#define FLOOR_MARGIN 0.25F
#define FEW 64 /* candidates */

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

static inline size_t knot_of_bits(uint64_t bits)
{
    return (size_t)(bits >> FRACTION_BITS) & (QUANTILES - 1);
}

static inline int32_t part_of_bits(uint64_t bits)
{
    return (int32_t)(bits & ((1u << FRACTION_BITS) - 1));
}

static inline float normal_between(float low, float high, int32_t part)
{
    return low + (high - low) * ((float)part * (1.0F / (1 << FRACTION_BITS)));
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
    uint64_t bits = rng_u64(r) >> (64 - NORMAL_BITS);
    const float *knot = m->quantile + knot_of_bits(bits);

    return normal_between(knot[0], knot[1], part_of_bits(bits));
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
    m->list = mem_alloc(m->width + FEW, sizeof *m->list);
    m->candidate = mem_alloc(m->width + 1, sizeof *m->candidate);
    m->candidate_score = mem_alloc(m->width + 1, sizeof *m->candidate_score);
    m->best = mem_alloc(m->width + FEW, sizeof *m->best);
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
    free(m->top);
    free(m->knot);
    free(m->bits);
    free(m->list);
    free(m->candidate);
    free(m->candidate_score);
    free(m->best);
    template_release(&m->prompt);
    template_release(&m->output);
    free(m);
}

/* ---- cells ---- */

/* score = bias + loading . h, written so that compilers make vectors of it without
 * reordering any sum. */
static void add_hidden(struct draw_model *m, uint32_t layer, const float *hidden)
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

/* Adds normal numbers, and finds the best of each draw's experts. The table is looked up
 * in one loop and what follows done in others, which become vectors. */
static void add_noise(struct draw_model *m, struct rng r)
{
    const size_t width = m->width, draws = width / DRAW_NORMALS;
    const float noise = (float)m->noise, *quantile = m->quantile;
    float *restrict score = m->score, *restrict top = m->top, *restrict knot = m->knot;
    uint64_t *restrict bits = m->bits;

    for (size_t i = 0; i < draws; i++) {
        bits[i] = rng_u64(&r);
        for (size_t n = 0; n < DRAW_NORMALS; n++)
            memcpy(knot + 2 * (n * draws + i),
                   quantile + knot_of_bits(bits[i] >> n * NORMAL_BITS), 2 * sizeof *knot);
    }
    for (size_t n = 0; n < DRAW_NORMALS; n++)
        for (size_t i = 0, at = n * draws; i < draws; i++, at++)
            score[at] += noise * normal_between(knot[2 * at], knot[2 * at + 1],
                                                part_of_bits(bits[i] >> n * NORMAL_BITS));
    for (size_t i = 0; i < draws; i++) {
        float first = score[i], second = score[draws + i], third = score[2 * draws + i];

        first = first > second ? first : second;
        top[i] = first > third ? first : third;
    }
}

/* Those that score above `floor`, in ascending order, and how many they are. What is
 * above cannot be foreseen, so there is no branch to foresee. */
static uint32_t find_candidates(struct draw_model *m, float floor)
{
    const uint32_t draws = m->width / DRAW_NORMALS;
    const float *score = m->score, *top = m->top;
    uint32_t *list = m->list, *candidate = m->candidate;
    uint32_t found = 0, count = 0;

    for (uint32_t i = 0; i < draws; i++) {
        list[found] = i;
        found += top[i] > floor;
    }
    for (uint32_t f = 0; f < found; f++)
        for (uint32_t n = 0; n < DRAW_NORMALS; n++) {
            float now = score[n * draws + list[f]];

            candidate[count] = list[f] * DRAW_NORMALS + n;
            m->candidate_score[count] = now;
            count += now > floor;
        }
    return count;
}

/* The places of few candidates in descending order, by comparing each with all before it;
 * again without a branch to foresee. */
static void order_few(struct draw_model *m, uint32_t count)
{
    const float *score = m->candidate_score;
    uint32_t place[FEW];

    for (uint32_t i = 0; i < count; i++) {
        float mine = score[i];
        uint32_t before = 0;

        for (uint32_t j = 0; j < i; j++) {
            uint32_t better = score[j] >= mine;

            before += better;
            place[j] += 1 - better;
        }
        place[i] = before;
    }
    for (uint32_t i = 0; i < count; i++) {
        m->best[place[i]] = score[i];
        m->list[place[i]] = m->candidate[i];
    }
}

/* The best of many candidates in descending order, by insertion. */
static void order_many(struct draw_model *m, uint32_t count)
{
    const float *score = m->candidate_score;
    float *best = m->best;
    uint32_t last = m->top_k - 1;

    for (uint32_t c = 0; c < count; c++) {
        uint32_t i = c < last ? c : last;

        if (c > last && score[c] <= best[last])
            continue;
        for (; i > 0 && best[i - 1] < score[c]; i--) {
            best[i] = best[i - 1];
            m->list[i] = m->list[i - 1];
        }
        best[i] = score[c];
        m->list[i] = m->candidate[c];
    }
}

/* Finds the top_k best, in descending order; the lower id first where two are equal.
 * Quick if most others are below `floor`. Their scores are in m->best. */
static void choose(struct draw_model *m, float floor, uint16_t *expert)
{
    uint32_t count = find_candidates(m, floor);

    if (count < m->top_k)
        count = find_candidates(m, -INFINITY);
    if (count <= FEW)
        order_few(m, count);
    else
        order_many(m, count);
    for (uint32_t i = 0; i < m->top_k; i++)
        expert[i] = (uint16_t)m->list[i];
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
        uint16_t *executed = expert + (size_t)l * m->top_k;
        float h[DRAW_DIMENSIONS];
        struct rng noise;

        for (int d = 0; d < DRAW_DIMENSIONS; d++)
            h[d] = fresh * x[d] + kept * y[d];
        add_hidden(m, l, h);
        noise = (struct rng){.state = w->noise.state + first * GOLDEN};
        add_noise(m, noise);
        choose(m, floor, executed);
        floor = m->best[m->top_k - 1] - FLOOR_MARGIN;
        if (weight != NULL)
            weigh(m, weight + (size_t)l * m->top_k);
    }
}

static void draw_row_alone(const struct draw_walk *w, uint16_t *expert)
{
    const struct draw_model *m = w->m;
    struct rng r = {.state = rng_mix(w->noise.state + (w->row + 1) * GOLDEN)};

    for (uint32_t l = 0; l < m->layers; l++)
        draw_alone(m, &r, expert + (size_t)l * m->top_k);
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
    if (expert != NULL && w->m->alone)
        draw_row_alone(w, expert);
    else if (expert != NULL && shared != NULL)
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

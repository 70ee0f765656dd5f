#include "draw_fit.h"

#include "sim/base/mem.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 16        /* of one strength of moves */
#define STRENGTHS 3      /* the whole error, half of it, a quarter */
#define CLOSE 0.004      /* relative error of a figure, total variation of popularity */
#define SCORED_ROWS 2000 /* whose next layers are foreseen */
#define OPENING_ROWS 64  /* after a template, where openings are measured */
#define OPENING_STRIDE 4
#define OPENING_REQUESTS 64          /* pairs of them */
#define CELLS_MAX ((uint64_t)800000) /* drawn per round */

/* Rows of the trace to be, numbered through all requests, that a round draws; and what is
 * measured where. */
struct sample {
    const struct draw_request *requests;
    size_t request_count;
    uint64_t rows; /* of all requests */
    uint64_t *wanted;
    size_t count, room;       /* of wanted */
    size_t *base, base_count; /* indices into wanted: evenly spread */
    size_t *adjacent;         /* [base_count]: the row after it, or SIZE_MAX */
    size_t *far;              /* [base_count]: FIT_FAR after it, or SIZE_MAX */
    bool with_far;
    size_t *opening; /* (opening_count, 2): rows of different requests */
    size_t opening_count;
    size_t *step; /* (step, slot): rows that run at the same time */
    size_t steps;
    uint32_t slots;
    uint16_t *expert; /* (wanted, layer, top_k): drawn */
};

struct measured {
    double *popularity; /* (layer, expert) */
    double *adjacent;   /* [layers] */
    struct fit_result figures;
};

/* ---- the sample ---- */

static void want(struct sample *s, uint64_t row)
{
    if (s->count == s->room) {
        s->room = s->room * 2 + 1024;
        s->wanted = mem_resize(s->wanted, s->room, sizeof *s->wanted);
    }
    s->wanted[s->count++] = row;
}

static int compare_rows(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static size_t find_wanted(const struct sample *s, uint64_t row)
{
    const uint64_t *found = bsearch(&row, s->wanted, s->count, sizeof row, compare_rows);

    return found == NULL ? SIZE_MAX : (size_t)(found - s->wanted);
}

static void sort_wanted(struct sample *s)
{
    size_t kept = 0;

    qsort(s->wanted, s->count, sizeof *s->wanted, compare_rows);
    for (size_t i = 0; i < s->count; i++)
        if (i == 0 || s->wanted[i] != s->wanted[kept - 1])
            s->wanted[kept++] = s->wanted[i];
    s->count = kept;
}

static uint32_t count_rows(const struct draw_request *r)
{
    return r->prompt_rows + r->output_rows;
}

/* Calls for every `stride`-th row, and for the rows that it is compared with. With
 * `place` the sample is sorted and their places are noted. */
static void plan_bases(struct sample *s, uint64_t stride, bool place)
{
    uint64_t first = 0, row = 0;

    s->base_count = 0;
    for (size_t i = 0; i < s->request_count; i++) {
        uint64_t end = first + count_rows(&s->requests[i]);

        for (; row < end; row += stride) {
            bool pair = row + 1 < end, far = s->with_far && row + FIT_FAR < end;

            if (place) {
                s->base[s->base_count] = find_wanted(s, row);
                s->adjacent[s->base_count] = pair ? find_wanted(s, row + 1) : SIZE_MAX;
                s->far[s->base_count] = far ? find_wanted(s, row + FIT_FAR) : SIZE_MAX;
            } else {
                want(s, row);
                if (pair)
                    want(s, row + 1);
                if (far)
                    want(s, row + FIT_FAR);
            }
            s->base_count++;
        }
        first = end;
    }
}

/* The rows of every step of `slots` concurrent requests, as trace_statistics runs them:
 * slots take requests in order, each the next one as soon as its own ends. Steps are
 * numbered; every `stride`-th goes to `rows` (step, slot), which may be NULL. Returns the
 * number of all steps. */
static size_t run_slots(const struct sample *s, uint64_t stride, uint64_t *rows)
{
    uint64_t *row = mem_zalloc(s->slots, sizeof *row);
    uint64_t *end = mem_zalloc(s->slots, sizeof *end);
    uint64_t first = 0;
    size_t next = 0, steps = 0, i;
    bool decode = false;

    for (i = 0; i < s->request_count; i++)
        decode |= s->requests[i].output_rows > 0;
    for (;; steps++) {
        for (i = 0; i < s->slots; i++) {
            for (; row[i] == end[i] && next < s->request_count; next++) {
                const struct draw_request *r = &s->requests[next];

                end[i] = first + count_rows(r);
                row[i] = decode ? first + r->prompt_rows : first;
                first = end[i];
            }
            if (row[i] == end[i])
                break;
        }
        if (i < s->slots)
            break;
        for (i = 0; i < s->slots; i++) {
            if (rows != NULL && steps % stride == 0)
                *rows++ = row[i];
            row[i]++;
        }
    }
    free(row);
    free(end);
    return steps;
}

/* Pairs of rows at one position of one section. */
static void add_openings(uint64_t *rows, size_t *pairs, uint64_t a, uint64_t b,
                         uint32_t shared, uint32_t a_rows, uint32_t b_rows)
{
    uint32_t shorter = a_rows < b_rows ? a_rows : b_rows;

    for (uint32_t p = shared; p < shorter && p < shared + OPENING_ROWS;
         p += OPENING_STRIDE) {
        rows[2 * *pairs] = a + p;
        rows[2 * *pairs + 1] = b + p;
        ++*pairs;
    }
}

uint64_t *fit_openings(const struct draw_request *requests, size_t count,
                       uint32_t prompt_template, uint32_t output_template, size_t *pairs)
{
    size_t half = count / 2, stride = half / OPENING_REQUESTS + 1;
    uint64_t *first = mem_alloc(count + 1, sizeof *first), *rows;
    size_t most = (half / stride + 1) * 2 * (OPENING_ROWS / OPENING_STRIDE);

    first[0] = 0;
    for (size_t i = 0; i < count; i++)
        first[i + 1] = first[i] + count_rows(&requests[i]);
    rows = mem_alloc(most, 2 * sizeof *rows);
    *pairs = 0;
    for (size_t i = 0; i < half; i += stride) {
        const struct draw_request *a = &requests[i], *b = &requests[i + half];

        add_openings(rows, pairs, first[i], first[i + half], prompt_template,
                     a->prompt_rows, b->prompt_rows);
        add_openings(rows, pairs, first[i] + a->prompt_rows,
                     first[i + half] + b->prompt_rows, output_template, a->output_rows,
                     b->output_rows);
    }
    free(first);
    return rows;
}

/* Draws every step that fits a third of the budget. Owned rows (step, slot). */
static uint64_t *plan_steps(struct sample *s, uint64_t budget)
{
    size_t steps =
        s->slots > 1 && s->request_count >= s->slots ? run_slots(s, 1, NULL) : 0;
    uint64_t stride = (uint64_t)steps * s->slots * 3 / budget + 1;
    uint64_t *rows;

    s->steps = (size_t)((steps + stride - 1) / stride);
    rows = mem_alloc(s->steps * s->slots + 1, sizeof *rows);
    if (steps > 0)
        (void)run_slots(s, stride, rows);
    for (size_t i = 0; i < s->steps * s->slots; i++)
        want(s, rows[i]);
    return rows;
}

static size_t *find_all(const struct sample *s, const uint64_t *rows, size_t count)
{
    size_t *place = mem_alloc(count + 1, sizeof *place);

    for (size_t i = 0; i < count; i++)
        place[i] = find_wanted(s, rows[i]);
    return place;
}

/* Rows for figures without a target are not drawn. */
static struct sample plan(const struct draw_model *m, const struct draw_request *requests,
                          size_t count, const struct fit_target *t)
{
    struct sample s = {.requests = requests,
                       .request_count = count,
                       .with_far = t->far_overlap >= 0,
                       .slots = t->union_size > 0 ? t->union_batch : 0};
    uint64_t budget = CELLS_MAX / m->layers + 1, stride;
    uint64_t *steps = plan_steps(&s, budget), *openings;

    for (size_t i = 0; i < count; i++)
        s.rows += count_rows(&requests[i]);
    openings =
        fit_openings(requests, count, m->prompt.rows, m->output.rows, &s.opening_count);
    if (t->opening_overlap < 0)
        s.opening_count = 0;
    for (size_t i = 0; i < 2 * s.opening_count; i++)
        want(&s, openings[i]);
    stride = s.rows <= budget ? 1 : s.rows * 9 / 2 / budget + 1;
    plan_bases(&s, stride, false);
    sort_wanted(&s);
    s.base = mem_alloc(s.base_count + 1, sizeof *s.base);
    s.adjacent = mem_alloc(s.base_count + 1, sizeof *s.adjacent);
    s.far = mem_alloc(s.base_count + 1, sizeof *s.far);
    plan_bases(&s, stride, true);
    s.step = find_all(&s, steps, s.steps * s.slots);
    s.opening = find_all(&s, openings, 2 * s.opening_count);
    s.expert = mem_alloc(s.count + 1, (size_t)m->layers * m->top_k * sizeof *s.expert);
    free(steps);
    free(openings);
    return s;
}

static void sample_release(struct sample *s)
{
    free(s->wanted);
    free(s->base);
    free(s->adjacent);
    free(s->far);
    free(s->step);
    free(s->opening);
    free(s->expert);
}

static void draw_sample(struct sample *s, struct draw_model *m)
{
    size_t cells = (size_t)m->layers * m->top_k, next = 0;
    uint64_t first = 0;

    for (size_t i = 0; i < s->request_count && next < s->count; i++) {
        uint64_t end = first + count_rows(&s->requests[i]);
        struct draw_walk w;

        draw_walk_begin(&w, m, i, &s->requests[i]);
        while (next < s->count && s->wanted[next] < end) {
            bool here = first + w.row == s->wanted[next];

            draw_walk_row(&w, here ? s->expert + next * cells : NULL, NULL);
            next += here;
        }
        first = end;
    }
}

/* ---- measuring ---- */

static uint32_t count_shared(const uint16_t *a, const uint16_t *b, uint32_t k)
{
    uint32_t shared = 0;

    for (uint32_t i = 0; i < k; i++)
        for (uint32_t j = 0; j < k; j++)
            shared += a[i] == b[j];
    return shared;
}

/* Mean overlap of the base rows with `other` in one layer; -1 without pairs. */
static double measure_overlap(const struct sample *s, const struct draw_model *m,
                              const size_t *other, uint32_t layer)
{
    size_t cells = (size_t)m->layers * m->top_k, at = (size_t)layer * m->top_k;
    uint64_t shared = 0, pairs = 0;

    for (size_t i = 0; i < s->base_count; i++) {
        if (other[i] == SIZE_MAX)
            continue;
        shared += count_shared(s->expert + s->base[i] * cells + at,
                               s->expert + other[i] * cells + at, m->top_k);
        pairs++;
    }
    return pairs == 0 ? -1 : (double)shared / (double)pairs / m->top_k;
}

static double measure_openings(const struct sample *s, const struct draw_model *m)
{
    size_t cells = (size_t)m->layers * m->top_k;
    uint64_t shared = 0;

    for (size_t i = 0; i < s->opening_count; i++)
        for (size_t at = 0; at < cells; at += m->top_k)
            shared +=
                count_shared(s->expert + s->opening[2 * i] * cells + at,
                             s->expert + s->opening[2 * i + 1] * cells + at, m->top_k);
    return s->opening_count == 0
               ? -1
               : (double)shared / (double)s->opening_count / (double)cells;
}

/* The base rows and those after them stand for the trace. */
static void measure_popularity(const struct sample *s, const struct draw_model *m,
                               double *popularity)
{
    size_t cells = (size_t)m->layers * m->top_k;
    double rows = 0;

    memset(popularity, 0, (size_t)m->layers * m->experts * sizeof *popularity);
    for (size_t i = 0; i < 2 * s->base_count; i++) {
        size_t place = i % 2 == 0 ? s->base[i / 2] : s->adjacent[i / 2];

        if (place == SIZE_MAX)
            continue;
        rows++;
        for (size_t c = 0; c < cells; c++)
            popularity[c / m->top_k * m->experts + s->expert[place * cells + c]]++;
    }
    for (size_t i = 0; i < (size_t)m->layers * m->experts; i++)
        popularity[i] /= rows * m->top_k;
}

/* Experts of layer + 1 foreseen from those at `layer` by the table of what follows what.
 */
static uint64_t count_foreseen(const struct sample *s, const struct draw_model *m,
                               uint32_t layer, size_t stride, const float *follows,
                               float *score)
{
    size_t cells = (size_t)m->layers * m->top_k;
    uint64_t foreseen = 0;

    for (size_t i = 0; i < s->base_count; i += stride) {
        const uint16_t *now = s->expert + s->base[i] * cells + (size_t)layer * m->top_k;

        memset(score, 0, m->experts * sizeof *score);
        for (uint32_t j = 0; j < m->top_k; j++)
            for (uint32_t x = 0; x < m->experts; x++)
                score[x] += follows[(size_t)now[j] * m->experts + x];
        for (uint32_t j = m->top_k; j < 2 * m->top_k; j++) {
            float mine = score[now[j]];
            uint32_t better = 0;

            for (uint32_t x = 0; x < m->experts; x++)
                better += score[x] > mine || (x < now[j] && score[x] >= mine);
            foreseen += better < m->top_k;
        }
    }
    return foreseen;
}

static double measure_predictability(const struct sample *s, const struct draw_model *m)
{
    size_t cells = (size_t)m->layers * m->top_k;
    size_t table = (size_t)m->experts * m->experts;
    size_t stride = s->base_count / SCORED_ROWS + 1;
    size_t scored = (s->base_count + stride - 1) / stride;
    float *follows, *score;
    uint64_t foreseen = 0;

    if (m->layers < 2)
        return -1;
    follows = mem_alloc(table, sizeof *follows);
    score = mem_alloc(2 * (size_t)m->experts, sizeof *score);
    for (uint32_t l = 0; l + 1 < m->layers; l++) {
        float *times = score + m->experts;

        memset(follows, 0, table * sizeof *follows);
        memset(times, 0, m->experts * sizeof *times);
        for (size_t i = 0; i < s->base_count; i++) {
            const uint16_t *now = s->expert + s->base[i] * cells + (size_t)l * m->top_k;

            for (uint32_t j = 0; j < m->top_k; j++) {
                times[now[j]]++;
                for (uint32_t n = 0; n < m->top_k; n++)
                    follows[(size_t)now[j] * m->experts + now[m->top_k + n]]++;
            }
        }
        for (size_t i = 0; i < table; i++)
            follows[i] /= fmaxf(1, times[i / m->experts]);
        foreseen += count_foreseen(s, m, l, stride, follows, score);
    }
    free(follows);
    free(score);
    return (double)foreseen / (double)scored / (m->layers - 1) / m->top_k;
}

static double measure_union(const struct sample *s, const struct draw_model *m)
{
    size_t cells = (size_t)m->layers * m->top_k;
    size_t *seen = mem_zalloc(m->experts, sizeof *seen), cell = 0;
    uint64_t distinct = 0;

    for (size_t step = 0; step < s->steps; step++)
        for (uint32_t l = 0; l < m->layers; l++) {
            cell++;
            for (uint32_t i = 0; i < s->slots; i++) {
                const uint16_t *expert = s->expert +
                                         s->step[step * s->slots + i] * cells +
                                         (size_t)l * m->top_k;

                for (uint32_t j = 0; j < m->top_k; j++) {
                    distinct += seen[expert[j]] != cell;
                    seen[expert[j]] = cell;
                }
            }
        }
    free(seen);
    return cell == 0 ? -1 : (double)distinct / (double)cell;
}

static double mean(const double *values, uint32_t count)
{
    double sum = 0;

    for (uint32_t i = 0; i < count; i++)
        sum += values[i];
    return sum / count;
}

static void measure(const struct sample *s, const struct draw_model *m,
                    const struct fit_target *t, struct measured *r)
{
    double far = 0;

    measure_popularity(s, m, r->popularity);
    for (uint32_t l = 0; l < m->layers; l++) {
        r->adjacent[l] = measure_overlap(s, m, s->adjacent, l);
        far += measure_overlap(s, m, s->far, l);
    }
    r->figures = (struct fit_result){
        .adjacent_overlap = mean(r->adjacent, m->layers),
        .far_overlap = far / m->layers,
        .opening_overlap = measure_openings(s, m),
        .next_layer_predictability =
            t->next_layer_predictability < 0 ? -1 : measure_predictability(s, m),
        .union_size = measure_union(s, m),
    };
}

/* ---- fitting ---- */

/* An expert is executed when its score, which has variance 1, is above that of enough
 * others: the bias that gives the share is a normal quantile, but for an offset that all
 * experts of the layer have in common. `least` is the smallest share that counts. */
static double quantile_of_share(const struct draw_model *m, double share, double least)
{
    return draw_quantile(m, fmin(0.999, m->top_k * fmax(share, least)));
}

void fit_start(struct draw_model *m, const double *popularity)
{
    for (uint32_t l = 0; l < m->layers; l++)
        for (uint32_t x = 0; x < m->experts; x++)
            *draw_bias(m, l, x) =
                (float)quantile_of_share(m, popularity[(size_t)l * m->experts + x], 0);
}

/* Moves a parameter in [0, 1] by `gain` times the error, unless either side of it is
 * missing. */
static void move(double *parameter, double target, double reached, double gain)
{
    if (target < 0 || reached < 0)
        return;
    *parameter = fmin(1, fmax(0, *parameter + gain * (target - reached)));
}

static void move_bias(struct draw_model *m, const struct sample *s, const double *target,
                      const double *reached, double strength)
{
    double least = 0.25 / ((double)s->base_count * m->top_k);

    for (uint32_t l = 0; l < m->layers; l++)
        for (uint32_t x = 0; x < m->experts; x++) {
            size_t i = (size_t)l * m->experts + x;
            double error = quantile_of_share(m, target[i], least) -
                           quantile_of_share(m, reached[i], least);

            *draw_bias(m, l, x) += (float)(0.7 * strength * error);
        }
}

static bool is_close(double target, double reached)
{
    return target < 0 || reached < 0 || fabs(reached - target) <= CLOSE * target;
}

static bool is_fitted(const struct draw_model *m, const struct fit_target *t,
                      const struct measured *now)
{
    const struct fit_result *r = &now->figures;
    double distance = 0;

    for (size_t i = 0; i < (size_t)m->layers * m->experts; i++)
        distance += fabs(t->popularity[i] - now->popularity[i]) / 2 / m->layers;
    return distance <= CLOSE && is_close(t->adjacent_overlap, r->adjacent_overlap) &&
           is_close(t->far_overlap, r->far_overlap) &&
           is_close(t->opening_overlap, r->opening_overlap) &&
           is_close(t->next_layer_predictability, r->next_layer_predictability) &&
           is_close(t->union_size, r->union_size);
}

void fit_model(struct draw_model *m, const struct draw_request *requests, size_t count,
               const struct fit_target *t, struct fit_result *r)
{
    struct sample s = plan(m, requests, count, t);
    struct measured now = {0};

    now.popularity = mem_alloc((size_t)m->layers * m->experts, sizeof *now.popularity);
    now.adjacent = mem_alloc(m->layers, sizeof *now.adjacent);
    /* Where layers depend on each other, moves by the whole error can overshoot for ever:
     * weaker ones settle. */
    for (int round = 0;; round++) {
        double strength = ldexp(1, -(round / ROUNDS));

        draw_sample(&s, m);
        measure(&s, m, t, &now);
        if (round == STRENGTHS * ROUNDS || is_fitted(m, t, &now))
            break;
        move_bias(m, &s, t->popularity, now.popularity, strength);
        for (uint32_t l = 0; l < m->layers; l++)
            if (t->layer_adjacent_overlap != NULL)
                move(&m->persistence[l], t->layer_adjacent_overlap[l], now.adjacent[l],
                     1.1 * strength);
            else
                move(&m->persistence[l], t->adjacent_overlap,
                     now.figures.adjacent_overlap, 1.1 * strength);
        move(&m->affinity, t->far_overlap, now.figures.far_overlap, 1.0 * strength);
        move(&m->opening, t->opening_overlap, now.figures.opening_overlap,
             2.0 * strength);
        move(&m->noise, t->next_layer_predictability,
             now.figures.next_layer_predictability, -1.5 * strength);
        if (t->union_size > 0)
            move(&m->domain, 1, now.figures.union_size / t->union_size, -2.5 * strength);
    }
    *r = now.figures;
    free(now.popularity);
    free(now.adjacent);
    sample_release(&s);
}

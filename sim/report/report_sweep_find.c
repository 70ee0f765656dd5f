/* What the points of a sweep say: their order, how their goals spread over the values of
 * a key, what decides, knees and fronts. */
#include "report_sweep_state.h"

#include "report_differs.h"
#include "sim/base/knee.h"
#include "sim/base/mem.h"
#include "sim/base/percentile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LEVELS = 24, BINS = 12 };

/* How far a knee stands out above the chord, of its height. */
#define CLEAR_IN_GRID 0.02
#define CLEAR_AT_RANDOM 0.15

double sweep_goal(const struct sweep_page *p, const struct sweep_row *row)
{
    return p->timed ? row->figure[ROW_TOKENS] : 100 * row->figure[ROW_HITS];
}

const char *sweep_goal_name(const struct sweep_page *p)
{
    return p->timed ? "tokens per s" : "hits (% of accesses)";
}

char *sweep_row_name(const struct sweep_page *p, const struct sweep_row *row)
{
    char *name = mem_strdup(p->labels || p->t.keys == 0 ? row->label : "");

    for (size_t k = 0; k < p->t.keys; k++) {
        const struct sweep_key *key = &p->t.key[k];
        bool bare = key->number == NULL; /* a name says itself what it is */
        char *value = sweep_value_text(row->value[k]);
        char *longer = mem_format("%s%s%s%s%s", name, *name == '\0' ? "" : ", ",
                                  bare ? "" : report_differs_short(key->name),
                                  bare ? "" : " ", value);

        free(value);
        free(name);
        name = longer;
    }
    return name;
}

char *sweep_value_text(const char *value)
{
    double number;
    const char *unit = report_number(value, &number);

    return unit == NULL ? mem_strdup(value) : mem_format("%.4g%s", number, unit);
}

double sweep_row_tail(const struct sweep_row *row)
{
    return row->figure[ROW_TPOT_TAIL];
}

const struct sweep_row **sweep_front(const struct sweep_page *p, sweep_cost *cost,
                                     size_t *count)
{
    const struct sweep_row **front = NULL;
    double least = INFINITY;

    *count = 0;
    for (size_t i = 0; i < p->ranked; i++) {
        const struct sweep_row *row = p->order[i];
        size_t end = i; /* of those with the same goal: the one that costs least */

        while (end < p->ranked && sweep_goal(p, p->order[end]) == sweep_goal(p, row)) {
            if (cost(p->order[end]) < cost(row))
                row = p->order[end];
            end++;
        }
        if (cost(row) < least) {
            front = mem_grow(front, *count, sizeof *front);
            front[(*count)++] = row;
            least = cost(row);
        }
        i = end - 1;
    }
    return front;
}

/* ---- bins ---- */

static bool is_cut(const struct sweep_key *key)
{
    return key->number != NULL && key->levels > MOST_LEVELS;
}

size_t sweep_bins(const struct sweep_key *key)
{
    return is_cut(key) ? BINS : key->levels;
}

size_t sweep_bin_of(const struct sweep_key *key, size_t level)
{
    return is_cut(key) ? level * BINS / key->levels : level;
}

size_t sweep_bin_middle(const struct sweep_key *key, size_t bin)
{
    size_t first = 0, last;

    while (sweep_bin_of(key, first) != bin)
        first++;
    last = first;
    while (last + 1 < key->levels && sweep_bin_of(key, last + 1) == bin)
        last++;
    return first + (last - first) / 2;
}

double sweep_bin_quantile(const struct sweep_page *p, size_t key, size_t bin, double at)
{
    double *value = mem_alloc(p->ranked, sizeof *value), quantile = NAN;
    size_t count = 0;

    for (size_t i = 0; i < p->ranked; i++)
        if (sweep_bin_of(&p->t.key[key], p->order[i]->level[key]) == bin)
            value[count++] = sweep_goal(p, p->order[i]);
    if (count > 0) {
        percentile_sort(value, count);
        quantile = percentile_of_sorted(value, count, at);
    }
    free(value);
    return quantile;
}

/* The least-squares fit that never falls (pool adjacent violators; Ayer et al. 1955), in
 * the place of `y`: points at random scatter, and a knee of scatter is none. */
static void never_fall(double *y, size_t count)
{
    size_t *pooled = mem_alloc(count, sizeof *pooled), pools = 0, at = count;
    double *mean = mem_alloc(count, sizeof *mean);

    for (size_t i = 0; i < count; i++) {
        mean[pools] = y[i];
        pooled[pools++] = 1;
        while (pools > 1 && mean[pools - 1] < mean[pools - 2]) {
            double a = (double)pooled[pools - 2], b = (double)pooled[pools - 1];

            mean[pools - 2] = (a * mean[pools - 2] + b * mean[pools - 1]) / (a + b);
            pooled[pools - 2] += pooled[pools - 1];
            pools--;
        }
    }
    while (pools-- > 0)
        for (size_t k = 0; k < pooled[pools]; k++)
            y[--at] = mean[pools];
    free(pooled);
    free(mean);
}

/* The heights of all bins; NaN where a bin has no points. Owned. */
static double *heights(const struct sweep_page *p, size_t key)
{
    size_t bins = sweep_bins(&p->t.key[key]);
    double *y = mem_alloc(bins, sizeof *y);
    bool whole = true;

    for (size_t b = 0; b < bins; b++) {
        y[b] = sweep_bin_quantile(p, key, b, p->grid ? 1.0 : 0.5);
        whole = whole && !isnan(y[b]);
    }
    if (whole && !p->grid)
        never_fall(y, bins);
    return y;
}

double sweep_height(const struct sweep_page *p, size_t key, size_t bin)
{
    double *y = heights(p, key), height = y[bin];

    free(y);
    return height;
}

size_t sweep_knee(const struct sweep_page *p, size_t key)
{
    const struct sweep_key *k = &p->t.key[key];
    size_t bins = sweep_bins(k), knee = 0;
    double *x = mem_alloc(bins, sizeof *x), *y = heights(p, key);
    bool whole = k->number != NULL;

    for (size_t b = 0; b < bins && whole; b++) {
        x[b] = k->number[sweep_bin_middle(k, b)];
        whole = !isnan(y[b]);
    }
    if (whole)
        knee = knee_find(x, y, bins, p->grid ? CLEAR_IN_GRID : CLEAR_AT_RANDOM);
    free(x);
    free(y);
    return knee;
}

/* ---- order ---- */

static const struct sweep_page *sorting; /* what by_goal() compares by */

static int by_goal(const void *a, const void *b)
{
    const struct sweep_row *x = *(struct sweep_row *const *)a;
    const struct sweep_row *y = *(struct sweep_row *const *)b;
    double p = sweep_goal(sorting, x), q = sweep_goal(sorting, y);

    if (p != q)
        return (p < q) - (p > q);
    return (x->point > y->point) - (x->point < y->point);
}

static int by_share(const void *a, const void *b)
{
    const struct sweep_effect *x = a, *y = b;

    if (x->share != y->share)
        return (x->share < y->share) - (x->share > y->share);
    return (x->key > y->key) - (x->key < y->key);
}

static struct sweep_effect effect_of(const struct sweep_page *p, size_t key)
{
    struct sweep_effect effect = {.key = key};
    double least = INFINITY, most = -INFINITY;

    for (size_t b = 0; b < sweep_bins(&p->t.key[key]); b++) {
        double median = sweep_bin_quantile(p, key, b, 0.5);

        if (median < least) {
            least = median;
            effect.worst = b;
        }
        if (median > most) {
            most = median;
            effect.best = b;
        }
    }
    effect.share = most > 0 && least < most ? 1 - least / most : 0;
    return effect;
}

/* Whether there is a row for every combination of values. */
static bool is_grid(const struct sweep_rows *t)
{
    size_t combinations = 1, points = 0;

    for (size_t k = 0; k < t->keys; k++) {
        if (t->key[k].levels > t->rows / combinations)
            return false;
        combinations *= t->key[k].levels;
    }
    for (size_t i = 0; i < t->rows; i++)
        points += i == 0 || t->row[i].point != t->row[i - 1].point;
    return points == combinations;
}

void sweep_rank(struct sweep_page *p)
{
    struct sweep_rows *t = &p->t;

    for (size_t i = 0; i < t->rows; i++) {
        p->timed = p->timed || !isnan(t->row[i].figure[ROW_TOKENS]);
        p->labels = p->labels || strcmp(t->row[i].label, t->row[0].label) != 0;
    }
    p->order = mem_alloc(t->rows, sizeof(struct sweep_row *));
    for (size_t i = 0; i < t->rows; i++)
        if (!t->row[i].bound && !isnan(sweep_goal(p, &t->row[i])))
            p->order[p->ranked++] = &t->row[i];
    for (size_t i = 0; i < t->rows; i++)
        if (t->row[i].bound && !isnan(sweep_goal(p, &t->row[i])))
            p->order[p->ranked + p->bounds++] = &t->row[i];
    p->grid = is_grid(t);
    sorting = p;
    if (p->ranked > 1)
        qsort(p->order, p->ranked, sizeof(struct sweep_row *), by_goal);
    if (p->bounds > 1)
        qsort(p->order + p->ranked, p->bounds, sizeof(struct sweep_row *), by_goal);
    p->effect = mem_alloc(t->keys, sizeof *p->effect);
    for (size_t k = 0; k < t->keys && p->ranked > 0; k++)
        p->effect[k] = effect_of(p, k);
    if (t->keys > 1 && p->ranked > 0)
        qsort(p->effect, t->keys, sizeof *p->effect, by_share);
}

/* How the goals of a sweep's points spread over the values of a key. */
#include "report_sweep_state.h"

#include "sim/base/knee.h"
#include "sim/base/mem.h"
#include "sim/base/percentile.h"

#include <math.h>
#include <stdlib.h>

enum { MOST_LEVELS = 24, BINS = 12 };

/* How far a knee stands out above the chord, of its height. */
#define CLEAR_IN_GRID 0.02
#define CLEAR_AT_RANDOM 0.15

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
        if (sweep_bin_of(&p->t.key[key], sweep_row_level(&p->t, p->order[i], key)) == bin)
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

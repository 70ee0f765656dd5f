#include "drift.h"

#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>

/* Windows of one kind. */
struct windows {
    uint64_t *count; /* (window, layer, expert) */
    uint64_t *cells; /* (window, layer) recorded ones, or activations where those count */
};

struct drift {
    const struct trace_info *info;
    uint64_t length; /* rows, or passes */
    uint64_t turns;  /* requests, or passes, that windows take in turn */
    uint32_t windows;
    struct windows in_order, in_turn;
};

static size_t cells_of(const struct drift *d)
{
    return (size_t)d->info->layers * d->info->experts;
}

static void windows_init(const struct drift *d, struct windows *w)
{
    w->count = mem_zalloc(d->windows * cells_of(d), sizeof *w->count);
    w->cells = mem_zalloc((size_t)d->windows * d->info->layers, sizeof *w->cells);
}

struct drift *drift_new(const struct trace_info *info)
{
    struct drift *d = mem_zalloc(1, sizeof *d);

    d->info = info;
    d->length = info->counts_only ? info->passes : info->rows;
    d->turns = info->counts_only ? info->passes : info->requests;
    d->windows =
        d->length < DRIFT_WINDOWS_MOST ? (uint32_t)d->length : DRIFT_WINDOWS_MOST;
    windows_init(d, &d->in_order);
    windows_init(d, &d->in_turn);
    return d;
}

void drift_free(struct drift *d)
{
    if (d == NULL)
        return;
    free(d->in_order.count);
    free(d->in_order.cells);
    free(d->in_turn.count);
    free(d->in_turn.cells);
    free(d);
}

/* Where window `w` begins: the first t with floor(windows t / length) = w. Without the
 * overflow that windows * t could have. */
static uint64_t begin_of(const struct drift *d, uint32_t w)
{
    uint64_t whole = d->length / d->windows, rest = d->length % d->windows;

    return w * whole + (w * rest + d->windows - 1) / d->windows;
}

static uint32_t window_of(const struct drift *d, uint64_t at)
{
    uint32_t w = 0;

    while (w + 1 < d->windows && at >= begin_of(d, w + 1))
        w++;
    return w;
}

/* ---- counting ---- */

/* Rows [from, to) of the block, which are of one window. */
static void count_run(const struct drift *d, struct windows *w, uint32_t window,
                      const struct rows_layer *l, uint32_t from, uint32_t to)
{
    size_t k = d->info->top_k;
    uint64_t *count =
        w->count + ((size_t)window * d->info->layers + l->layer) * d->info->experts;
    uint64_t cells = 0;

    for (uint32_t i = from; i < to; i++) {
        const uint16_t *cell = l->expert + i * k;

        for (uint32_t j = 0; j < l->count[i]; j++)
            count[cell[j]]++;
        cells += l->count[i] > 0;
    }
    w->cells[(size_t)window * d->info->layers + l->layer] += cells;
}

void drift_visit(void *context, const struct rows_layer *l)
{
    struct drift *d = context;

    for (uint32_t from = 0, to; from < l->rows; from = to) {
        uint32_t window = window_of(d, l->first + from);
        uint64_t left = begin_of(d, window + 1) - (l->first + from);

        to = left < l->rows - from ? from + (uint32_t)left : l->rows;
        count_run(d, &d->in_order, window, l, from, to);
    }
    for (uint32_t from = 0, to; from < l->rows; from = to) {
        uint32_t request = l->token[from].request;

        to = from + 1;
        while (to < l->rows && l->token[to].request == request)
            to++;
        count_run(d, &d->in_turn, request % d->windows, l, from, to);
    }
}

static void add_pass(const struct drift *d, struct windows *w, uint32_t window,
                     const uint32_t *count)
{
    size_t experts = d->info->experts;

    for (size_t l = 0; l < d->info->layers; l++) {
        size_t at = (size_t)window * d->info->layers + l;

        for (size_t x = 0; x < experts; x++) {
            w->count[at * experts + x] += count[l * experts + x];
            w->cells[at] += count[l * experts + x];
        }
    }
}

void drift_pass(struct drift *d, uint64_t n, const uint32_t *count)
{
    add_pass(d, &d->in_order, window_of(d, n), count);
    add_pass(d, &d->in_turn, (uint32_t)(n % d->windows), count);
}

/* ---- comparing ---- */

struct distance {
    double seen, independent; /* sums over the layers that both windows have */
    uint32_t layers;
};

static uint64_t sum_of(const uint64_t *count, uint32_t experts)
{
    uint64_t sum = 0;

    for (uint32_t x = 0; x < experts; x++)
        sum += count[x];
    return sum;
}

static void compare_layer(const struct drift *d, const struct windows *w, size_t a,
                          size_t b, struct distance *distance)
{
    const double pi = 3.14159265358979323846;
    uint32_t experts = d->info->experts;
    const uint64_t *in_a = w->count + a * experts, *in_b = w->count + b * experts;
    double of_a = (double)sum_of(in_a, experts), of_b = (double)sum_of(in_b, experts);
    double cells = (double)(w->cells[a] + w->cells[b]), k, n;

    if (of_a == 0 || of_b == 0)
        return;
    k = (of_a + of_b) / cells;
    n = 1 / (double)w->cells[a] + 1 / (double)w->cells[b];
    for (uint32_t x = 0; x < experts; x++) {
        double p = ((double)in_a[x] + (double)in_b[x]) / (of_a + of_b);
        double q = fmin(1.0, k * p);

        distance->seen += fabs((double)in_a[x] / of_a - (double)in_b[x] / of_b) / 2;
        distance->independent += sqrt(2 / pi * q * (1 - q) * n) / k / 2;
    }
    distance->layers++;
}

static struct distance compare(const struct drift *d, const struct windows *w, uint32_t a,
                               uint32_t b)
{
    struct distance distance = {0};
    size_t layers = d->info->layers;

    for (size_t l = 0; l < layers; l++)
        compare_layer(d, w, a * layers + l, b * layers + l, &distance);
    return distance;
}

/* Means over pairs of windows that have a layer in common. */
struct mean {
    double seen, independent;
    uint32_t pairs;
};

static void add_pair(struct mean *m, struct distance distance)
{
    if (distance.layers == 0)
        return;
    m->seen += distance.seen / distance.layers;
    m->independent += distance.independent / distance.layers;
    m->pairs++;
}

static double mean_of(double sum, uint32_t pairs)
{
    return pairs == 0 ? -1 : sum / pairs;
}

struct trace_drift drift_measure(const struct drift *d)
{
    struct mean near = {0}, far = {0}, turn = {0};

    for (uint32_t w = 0; w + 1 < d->windows; w++)
        add_pair(&near, compare(d, &d->in_order, w, w + 1));
    if (d->windows > 1)
        add_pair(&far, compare(d, &d->in_order, 0, d->windows - 1));
    for (uint32_t a = 0; a < d->windows && d->turns >= d->windows; a++)
        for (uint32_t b = a + 1; b < d->windows; b++)
            add_pair(&turn, compare(d, &d->in_turn, a, b));
    return (struct trace_drift){
        .windows = d->windows,
        .neighbours = mean_of(near.seen, near.pairs),
        .neighbours_independent = mean_of(near.independent, near.pairs),
        .first_to_last = mean_of(far.seen, far.pairs),
        .first_to_last_independent = mean_of(far.independent, far.pairs),
        .in_turn = mean_of(turn.seen, turn.pairs)};
}

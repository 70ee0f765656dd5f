/* A row or a strip for each policy, so that many are as readable as few. */
#include "figure_data.h"

#include "lossy_figure.h"
#include "print_curve.h"
#include "sim/base/json.h"
#include "sim/base/mem.h"
#include "sim/base/percentile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_PLACES = 64, PASS_POINTS = 200, PASS_BLOCK = 8192 };

static const struct run_result *run_of(const struct report_entry *entry)
{
    return &entry->policy->run;
}

static double passes_of(const struct report_entry *entry)
{
    uint64_t passes = run_of(entry)->passes;

    return passes > 0 ? (double)passes : 1;
}

static double pass_ms(const struct report_entry *entry, sim_time time)
{
    return (double)time / passes_of(entry) / 1e9;
}

/* ---- bars, boxes and marks ---- */

static void begin_row(const struct figure_data *d, size_t i)
{
    plot_label(d->out, d->entry[i]->row);
}

static void add(const struct figure_data *d, double value)
{
    (void)fputc(',', d->out);
    csv_number(d->out, value);
}

int figure_shares(struct figure_data *d, struct err *e)
{
    bool used[RUN_SHARES] = {false};

    (void)e;
    (void)fputs("policy", d->out);
    for (int s = 0; s < RUN_SHARES; s++) {
        for (size_t i = 0; i < d->count; i++)
            used[s] = used[s] || run_of(d->entry[i])->total.share[s] > 0;
        if (used[s]) {
            (void)fprintf(d->out, ",%s", run_share_name((enum run_share)s));
            d->plot->series++;
        }
    }
    (void)fputc('\n', d->out);
    for (size_t i = 0; i < d->count; i++) {
        begin_row(d, i);
        for (int s = 0; s < RUN_SHARES; s++)
            if (used[s])
                add(d, pass_ms(d->entry[i], run_of(d->entry[i])->total.share[s]));
        (void)fputc('\n', d->out);
    }
    return 0;
}

/* In time, late, not used; and misses that prefetches made: in % of all prefetches. */
int figure_prefetch(struct figure_data *d, struct err *e)
{
    (void)e;
    (void)fputs("policy,in time,late,not used,misses made\n", d->out);
    for (size_t i = 0; i < d->count; i++) {
        const struct run_counts *c = &run_of(d->entry[i])->total.counts;
        uint64_t late = c->late < c->prefetch_used ? c->late : c->prefetch_used;
        double percent = 100.0 / (double)c->prefetches;

        begin_row(d, i);
        add(d, percent * (double)(c->prefetch_used - late));
        add(d, percent * (double)late);
        add(d, percent * (double)(c->prefetches - c->prefetch_used));
        add(d, percent * (double)c->displaced);
        (void)fputc('\n', d->out);
    }
    d->plot->series = 4;
    return 0;
}

/* Percentiles of a figure of the requests, in ms. */
static int print_spread(struct figure_data *d,
                        double (*figure)(const struct run_request *))
{
    static const double at[] = {0.05, 0.25, 0.50, 0.75, 0.95, 0.99};
    double least = INFINITY, most = 0;

    (void)fputs("policy,5 %,25 %,50 %,75 %,95 %,99 %\n", d->out);
    for (size_t i = 0; i < d->count; i++) {
        const struct run_result *run = run_of(d->entry[i]);
        double *value = mem_alloc((size_t)run->requests, sizeof *value);
        size_t count = 0;

        for (uint64_t q = 0; q < run->requests; q++) {
            double x = figure(&run->request[q]);

            if (!isnan(x))
                value[count++] = 1e3 * x;
        }
        percentile_sort(value, count);
        if (count > 0) {
            begin_row(d, i);
            for (size_t k = 0; k < sizeof at / sizeof *at; k++)
                add(d, percentile_of_sorted(value, count, at[k]));
            (void)fputc('\n', d->out);
            least = fmin(least, percentile_of_sorted(value, count, at[0]));
            most = fmax(most, percentile_of_sorted(value, count, at[5]));
            d->plot->series = sizeof at / sizeof *at;
        }
        free(value);
    }
    d->plot->log = least > 0 && most > 20 * least;
    return 0;
}

int figure_tpot(struct figure_data *d, struct err *e)
{
    (void)e;
    return print_spread(d, result_request_tpot);
}

int figure_ttft(struct figure_data *d, struct err *e)
{
    (void)e;
    return print_spread(d, result_request_ttft);
}

int figure_bounds(struct figure_data *d, struct err *e)
{
    (void)e;
    (void)fputs("policy,this run,rows spread evenly,network that takes no time\n",
                d->out);
    for (size_t i = 0; i < d->count; i++) {
        const struct result_policy *p = d->entry[i]->policy;

        begin_row(d, i);
        add(d, pass_ms(d->entry[i], p->run.total.latency));
        add(d, pass_ms(d->entry[i], p->bounds.balanced));
        add(d, pass_ms(d->entry[i], p->bounds.free_network));
        (void)fputc('\n', d->out);
        d->plot->series = 3;
    }
    return 0;
}

/* ---- points ---- */

struct point {
    const struct report_entry *entry;
    double x, y;
    int sort; /* 0: beaten, 1: on the front, 2: a bound */
};

static int by_x(const void *a, const void *b)
{
    const struct point *p = a, *q = b;

    if (p->x != q->x)
        return (p->x > q->x) - (p->x < q->x);
    return (p->entry->rank > q->entry->rank) - (p->entry->rank < q->entry->rank);
}

/* Whether another policy is as good in both and better in one; `up`: more is better. */
static bool is_beaten(const struct point *all, size_t count, const struct point *p,
                      bool up)
{
    for (size_t i = 0; i < count; i++) {
        const struct point *q = &all[i];
        bool as_good = (up ? q->x >= p->x : q->x <= p->x) && q->y <= p->y;

        if (q->sort != 2 && as_good && (q->x != p->x || q->y < p->y))
            return true;
    }
    return false;
}

/* `up`: more of x is better; less of y always is. */
static void print_points(struct figure_data *d, struct point *point, size_t count,
                         bool up)
{
    for (size_t i = 0; i < count; i++)
        point[i].sort = point[i].entry->bound ? 2 : 0;
    for (size_t i = 0; i < count; i++)
        if (point[i].sort == 0 && !is_beaten(point, count, &point[i], up))
            point[i].sort = 1;
    if (count > 1)
        qsort(point, count, sizeof *point, by_x);
    (void)fputs("policy,number,x,y,sort\n", d->out);
    for (size_t i = 0; i < count; i++) {
        plot_label(d->out, point[i].entry->label);
        if (point[i].entry->rank > 0)
            (void)fprintf(d->out, ",%u", point[i].entry->rank);
        else
            (void)fputs(",b", d->out);
        add(d, point[i].x);
        add(d, point[i].y);
        (void)fprintf(d->out, ",%d\n", point[i].sort);
        d->plot->series = 4;
    }
}

int figure_scatter(struct figure_data *d, struct err *e)
{
    struct point *point = mem_alloc(d->count, sizeof *point);
    size_t count = 0;

    (void)e;
    for (size_t i = 0; i < d->count; i++) {
        const struct report_entry *entry = d->entry[i];

        if (!isnan(entry->s.hit_rate) && !isnan(entry->s.tpot_p50))
            point[count++] = (struct point){entry, 100 * entry->s.hit_rate,
                                            1e3 * entry->s.tpot_p50, 0};
    }
    if (count > 1) /* one alone tells nothing */
        print_points(d, point, count, true);
    free(point);
    return 0;
}

/* GPU memory in use at most, of the fullest GPU, in GB. */
static double memory_gb(const struct report_entry *entry)
{
    const struct run_result *run = run_of(entry);
    uint64_t most = run_memory_bytes(&run->total.memory);

    for (uint32_t g = 0; g < run->gpus; g++)
        most = run->gpu_peak[g] > most ? run->gpu_peak[g] : most;
    return (double)most / 1e9;
}

int figure_front(struct figure_data *d, struct err *e)
{
    struct point *point = mem_alloc(d->count, sizeof *point);
    bool differs = false;
    size_t count = 0;

    (void)e;
    for (size_t i = 0; i < d->count; i++) {
        double x = memory_gb(d->entry[i]);

        if (isnan(d->entry[i]->s.tpot_p50) || !(x > 0))
            continue;
        point[count++] = (struct point){d->entry[i], x, 1e3 * d->entry[i]->s.tpot_p50, 0};
        differs = differs || fabs(x - point[0].x) > 0.005 * x;
    }
    if (differs)
        print_points(d, point, count, false);
    free(point);
    return 0;
}

/* ---- heat ---- */

/* Groups of places that share a column, where there are many. */
static size_t group_of(size_t places)
{
    return (places + MOST_PLACES - 1) / MOST_PLACES;
}

/* The mean of each group of `value`; NaN where none is a number. */
static void add_groups(const struct figure_data *d, const double *value, size_t places)
{
    size_t each = group_of(places);

    for (size_t first = 0; first < places; first += each) {
        double sum = 0;
        size_t n = 0;

        for (size_t k = first; k < places && k < first + each; k++) {
            if (!isnan(value[k])) {
                sum += value[k];
                n++;
            }
        }
        add(d, n > 0 ? sum / (double)n : NAN);
    }
    (void)fputc('\n', d->out);
}

static void print_layer_head(struct figure_data *d, uint32_t layers)
{
    size_t each = group_of(layers);

    (void)fputs("policy", d->out);
    for (size_t l = 0; l < layers; l += each, d->plot->series++)
        (void)fprintf(d->out, ",%u", d->entry[0]->result->moe_layer[l]);
    (void)fputc('\n', d->out);
}

/* Of the results that have as many layers as the first. */
static int print_by_layer(struct figure_data *d,
                          double (*figure)(const struct report_entry *, uint32_t layer))
{
    uint32_t layers = run_of(d->entry[0])->layers;
    double *value = mem_alloc(layers, sizeof *value);

    print_layer_head(d, layers);
    for (size_t i = 0; i < d->count; i++) {
        if (run_of(d->entry[i])->layers != layers)
            continue;
        for (uint32_t l = 0; l < layers; l++)
            value[l] = figure(d->entry[i], l);
        begin_row(d, i);
        add_groups(d, value, layers);
    }
    free(value);
    return 0;
}

static double layer_wait(const struct report_entry *entry, uint32_t layer)
{
    return pass_ms(entry, run_of(entry)->layer[layer].share[SHARE_COPY]);
}

static double layer_imbalance(const struct report_entry *entry, uint32_t layer)
{
    return result_imbalance(&run_of(entry)->layer[layer].counts, run_of(entry)->gpus);
}

int figure_layers(struct figure_data *d, struct err *e)
{
    (void)e;
    return print_by_layer(d, layer_wait);
}

int figure_balance(struct figure_data *d, struct err *e)
{
    (void)e;
    return print_by_layer(d, layer_imbalance);
}

static int most_first(const void *a, const void *b)
{
    double x, y;

    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x < y) - (x > y);
}

/* Few GPUs by number, more of them from the fullest on. */
int figure_load(struct figure_data *d, struct err *e)
{
    uint32_t gpus = run_of(d->entry[0])->gpus;
    double *load = mem_alloc(gpus, sizeof *load);

    (void)e;
    (void)fputs("policy", d->out);
    for (size_t g = 0; g < gpus; g += group_of(gpus), d->plot->series++)
        (void)fprintf(d->out, ",%zu", g);
    (void)fputc('\n', d->out);
    for (size_t i = 0; i < d->count; i++) {
        const struct run_result *run = run_of(d->entry[i]);
        double sum = 0;

        if (run->gpus != gpus)
            continue;
        for (uint32_t g = 0; g < gpus; g++)
            sum += (double)run->gpu_rows[g];
        for (uint32_t g = 0; g < gpus; g++)
            load[g] = sum > 0 ? (double)run->gpu_rows[g] * gpus / sum : NAN;
        if (gpus > MOST_PLACES)
            qsort(load, gpus, sizeof *load, most_first);
        begin_row(d, i);
        add_groups(d, load, gpus);
    }
    if (gpus > MOST_PLACES)
        d->plot->x = "GPUs from the fullest on";
    free(load);
    return 0;
}

/* ---- over time ---- */

/* A row with one value, in the column of policy `i`. */
static void print_point(const struct figure_data *d, double x, double y, size_t i)
{
    csv_number(d->out, x);
    for (size_t k = 0; k < d->count; k++) {
        (void)fputc(',', d->out);
        if (k == i)
            csv_number(d->out, y);
    }
    (void)fputc('\n', d->out);
}

/* Point k stands for the passes [k * passes / points, (k + 1) * passes / points). */
static int print_pass_points(struct figure_data *d, size_t i, uint64_t passes,
                             struct err *e)
{
    uint64_t points = passes < PASS_POINTS ? passes : PASS_POINTS;
    struct run_pass *block = mem_alloc(PASS_BLOCK, sizeof *block);
    uint64_t first = 0, in_block = 0, at = 0;
    int status = 0;

    for (uint64_t k = 0; k < points && status == 0; k++) {
        uint64_t begin = at, end = (k + 1) * passes / points;
        double start = 0, sum = 0;

        for (; at < end && status == 0; at++) {
            const struct run_pass *pass;

            if (at >= first + in_block) {
                first = at;
                in_block = passes - at < PASS_BLOCK ? passes - at : PASS_BLOCK;
                status = result_read_passes(d->entry[i]->result, d->entry[i]->number,
                                            first, in_block, block, e);
                if (status != 0)
                    break;
            }
            pass = &block[at - first];
            if (at == begin)
                start = (double)pass->start / 1e12;
            sum += (double)pass->latency / 1e9;
        }
        if (status == 0)
            print_point(d, start, sum / (double)(end - begin), i);
    }
    free(block);
    return status;
}

int figure_passes(struct figure_data *d, struct err *e)
{
    (void)fputs("start (s)", d->out);
    for (size_t i = 0; i < d->count; i++) {
        (void)fputc(',', d->out);
        plot_label(d->out, d->entry[i]->row);
    }
    (void)fputc('\n', d->out);
    for (size_t i = 0; i < d->count; i++) {
        uint64_t passes = result_pass_count(d->entry[i]->result, d->entry[i]->number);

        if (print_pass_points(d, i, passes, e) != 0)
            return -1;
        if (passes > 0)
            d->plot->series = d->count;
    }
    return 0;
}

/* ---- over what results differ in, and over slots ---- */

/* The entry of a result with a policy of this label; NULL: it has none. */
static const struct report_entry *entry_of(const struct report_page *p, size_t which,
                                           const char *label)
{
    for (size_t i = 0; i < p->entries; i++)
        if (p->entry[i].which == which && p->entry[i].policy->run.finished &&
            strcmp(p->entry[i].policy->label, label) == 0)
            return &p->entry[i];
    return NULL;
}

static double measure_of(const struct report_page *p, const struct report_entry *entry)
{
    if (entry == NULL)
        return NAN;
    return p->measure == MEASURE_HITS ? 100 * entry->s.hit_rate : 1e3 * entry->measure;
}

/* Each policy of the first result, by rank, over all results. Few as lines, many as
 * rows. */
int figure_axis(struct figure_data *d, struct err *e)
{
    const struct report_page *p = d->p;
    const struct report_axis *axis;

    (void)e;
    if (!report_differs_is_axis(&p->differs, p->count) || d->count == 0)
        return 0;
    axis = &p->differs.axis[0];
    d->plot->x = axis->key;
    if (d->count > PLOT_LINES) {
        d->plot->kind = "heat";
        d->plot->series = p->count;
        (void)fputs("policy", d->out);
        for (size_t r = 0; r < p->count; r++) {
            (void)fputc(',', d->out);
            plot_label(d->out, axis->value[r]);
        }
        (void)fputc('\n', d->out);
        for (size_t i = 0; i < d->count; i++) {
            plot_label(d->out, d->entry[i]->policy->label);
            for (size_t r = 0; r < p->count; r++)
                add(d, measure_of(p, entry_of(p, r, d->entry[i]->policy->label)));
            (void)fputc('\n', d->out);
        }
        return 0;
    }
    d->plot->series = d->count;
    (void)fputs("x", d->out);
    for (size_t i = 0; i < d->count; i++) {
        (void)fputc(',', d->out);
        plot_label(d->out, d->entry[i]->policy->label);
    }
    (void)fputc('\n', d->out);
    for (size_t r = 0; r < p->count; r++) {
        csv_number(d->out, axis->number[r]);
        for (size_t i = 0; i < d->count; i++)
            add(d, measure_of(p, entry_of(p, r, d->entry[i]->policy->label)));
        (void)fputc('\n', d->out);
    }
    return 0;
}

int figure_quality(struct figure_data *d, struct err *e)
{
    (void)e;
    if (!lossy_is_figure(&d->p->selects.lossy))
        return 0;
    d->plot->y = d->p->selects.first_token ? "time to the first token, median (ms)"
                                           : "time per output token, median (ms)";
    lossy_print_figure(&d->p->selects.lossy, d->out, d->plot);
    return 0;
}

int figure_curve(struct figure_data *d, struct err *e)
{
    (void)e;
    if (d->p->curve == NULL)
        return 0;
    curve_print_figure(d->p->curve, d->out);
    d->plot->series = curve_figure_series(d->p->curve);
    return 0;
}

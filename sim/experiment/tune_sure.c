#include "tune_sure.h"

#include "sim/base/mem.h"
#include "sim/base/percentile.h"
#include "sim/base/pool.h"
#include "sim/base/rng.h"
#include "sim/base/student.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SIDE 0.975 /* of an interval of 95 % */

/* ---- runs ---- */

int tune_sure_run(const struct tune_study *s, const struct tune_point *p,
                  unsigned threads, struct result *best, struct err *e)
{
    struct experiment_hooks hooks = {.shared = s->shared};
    struct cfg *c = tune_space_config(s->space, p, e);
    int status = c == NULL ? -1 : experiment_run(c, s->folders, threads, &hooks, best, e);

    cfg_free(c);
    return status;
}

/* Without what a figure does not need. The result is owned; `seeds` above the study's. */
static int run_bare(const struct tune_study *s, const struct tune_point *p,
                    uint64_t seeds, uint64_t own_seed, struct result *r, struct err *e)
{
    static const struct experiment_facts whole = {.requests = 0};
    struct experiment_hooks hooks = {.shared = s->shared};
    struct cfg *c = tune_trial_config(s, p, &whole, 1, e);
    char *seed = mem_format("seed=%llu", (unsigned long long)(own_seed + seeds));
    int status = -1;

    if (c != NULL && (seeds == 0 || cfg_override(c, seed, e) == 0))
        status = experiment_run(c, s->folders, 1, &hooks, r, e);
    free(seed);
    cfg_free(c);
    return status;
}

/* ---- other seeds ---- */

struct at_seed {
    double goal;
    uint64_t digest;
    int status;
    struct err err;
};

struct seeds {
    const struct tune_study *s;
    const struct tune_point *point;
    uint64_t own, first; /* the study's seed; how far from it the first of these is */
    struct at_seed *at;
};

static void run_seed(void *context, size_t number)
{
    struct seeds *w = context;
    struct at_seed *at = &w->at[w->first - 1 + number];
    double figure[RESULT_FIGURES];
    struct result r;

    at->status = run_bare(w->s, w->point, w->first + number, w->own, &r, &at->err);
    if (at->status < 0)
        return;
    result_figures(&r, &r.policy[0], figure);
    at->goal = figure[w->s->spec->goal[0].figure];
    at->digest = r.policy[0].run.digest;
    result_release(&r);
}

/* Runs seeds from `first` on; 0, 1 or -1. */
static int run_seeds(struct seeds *w, size_t first, size_t count, unsigned threads,
                     struct err *e)
{
    w->first = first;
    pool_run(threads, count, run_seed, w);
    for (size_t i = first - 1; i < first - 1 + count; i++) {
        if (w->at[i].status != 0 && w->at[i].status != 1)
            *e = w->at[i].err;
        if (w->at[i].status != 0)
            return w->at[i].status;
    }
    return 0;
}

static void sum_up(const double *value, size_t count, struct tune_sure *sure)
{
    double mean = 0, square = 0, half;

    sure->least = INFINITY;
    sure->most = -INFINITY;
    for (size_t i = 0; i < count; i++) {
        mean += value[i] / (double)count;
        sure->least = value[i] < sure->least ? value[i] : sure->least;
        sure->most = value[i] > sure->most ? value[i] : sure->most;
    }
    for (size_t i = 0; i < count; i++)
        square += (value[i] - mean) * (value[i] - mean);
    half = student_quantile(1 - SIDE, (double)count - 1) *
           sqrt(square / ((double)count - 1) / (double)count);
    sure->spread = TUNE_BY_SEED;
    sure->drawn = true;
    sure->seeds = count;
    sure->mean = mean;
    sure->low = mean - half;
    sure->high = mean + half;
}

/* ---- over requests ---- */

enum statistic { MEAN, MEDIAN, P99 };

/* The figures that requests have: which of them, and the statistic. */
static bool of_requests(int figure, bool *tpot, enum statistic *statistic)
{
    static const char *const ends[] = {"_mean_s", "_p50_s", "_p99_s"};
    const char *name = result_figure[figure].name;

    *tpot = strncmp(name, "tpot", 4) == 0;
    if (!*tpot && strncmp(name, "ttft", 4) != 0)
        return false;
    for (int i = 0; i < (int)(sizeof ends / sizeof *ends); i++) {
        if (strcmp(name + 4, ends[i]) == 0)
            *statistic = (enum statistic)i;
    }
    return true;
}

static double statistic_of(double *value, size_t count, enum statistic which)
{
    double sum = 0;

    if (which == MEAN) {
        for (size_t i = 0; i < count; i++)
            sum += value[i];
        return sum / (double)count;
    }
    percentile_sort(value, count);
    return percentile_of_sorted(value, count, which == MEDIAN ? 0.5 : 0.99);
}

static void draw_requests(const struct tune_study *s, const struct run_result *run,
                          struct tune_sure *sure)
{
    enum { DRAWS = 1000 };
    struct rng rng = rng_stream((uint64_t)s->spec->seed, "tune requests", 0);
    double *value = mem_alloc(run->requests, sizeof *value), drawn[DRAWS];
    double *again = mem_alloc(run->requests, sizeof *again);
    enum statistic which = MEAN;
    size_t count = 0;
    bool tpot;

    if (of_requests(s->spec->goal[0].figure, &tpot, &which)) {
        for (uint64_t i = 0; i < run->requests; i++) {
            double x = tpot ? result_request_tpot(&run->request[i])
                            : result_request_ttft(&run->request[i]);

            if (!isnan(x))
                value[count++] = x;
        }
    }
    for (size_t i = 0; i < DRAWS && count > 1; i++) {
        for (size_t k = 0; k < count; k++)
            again[k] = value[rng_below(&rng, count)];
        drawn[i] = statistic_of(again, count, which);
    }
    if (count > 1) {
        percentile_sort(drawn, DRAWS);
        sure->spread = TUNE_BY_REQUEST;
        sure->low = percentile_of_sorted(drawn, DRAWS, 1 - SIDE);
        sure->high = percentile_of_sorted(drawn, DRAWS, SIDE);
    }
    free(value);
    free(again);
}

int tune_sure_spread(const struct tune_study *s, const struct tune_point *p,
                     unsigned threads, const struct result *best, struct tune_sure *sure,
                     struct err *e)
{
    size_t count = (size_t)s->spec->seeds;
    struct seeds w = {.s = s, .point = p, .own = best->seed};
    double figure[RESULT_FIGURES];
    double *value = mem_alloc(count + 1, sizeof *value);
    int status = 0;

    w.at = mem_zalloc(count, sizeof *w.at);
    *sure = (struct tune_sure){.spread = TUNE_NO_SPREAD, .seeds = 1};
    result_figures(best, &best->policy[0], figure);
    value[0] = figure[s->spec->goal[0].figure];
    if (count > 0) /* one tells whether anything is drawn */
        status = run_seeds(&w, 1, 1, threads, e);
    sure->drawn =
        count > 0 && status == 0 &&
        (w.at[0].digest != best->policy[0].run.digest || w.at[0].goal != value[0]);
    if (sure->drawn && count > 1)
        status = run_seeds(&w, 2, count - 1, threads, e);
    for (size_t i = 0; i < count; i++)
        value[i + 1] = w.at[i].goal;
    if (status == 0 && sure->drawn)
        sum_up(value, count + 1, sure);
    else if (status == 0 && count > 0)
        draw_requests(s, &best->policy[0].run, sure);
    free(w.at);
    free(value);
    return status;
}

/* ---- pairs ---- */

size_t tune_sure_best(const struct tune_study *s, const struct tune_outcome *o,
                      size_t policy, bool has)
{
    size_t best = TUNE_NONE;

    for (size_t i = 0; i < o->trials; i++) {
        const struct tune_trial *t = &o->trial[i];

        if ((t->point.policy == policy) == has && tune_trial_allowed(s->spec, t) &&
            (best == TUNE_NONE || tune_trial_cost(s->spec, t, 0) <
                                      tune_trial_cost(s->spec, &o->trial[best], 0)))
            best = i;
    }
    return best;
}

struct two {
    const struct tune_study *s;
    const struct tune_point *point[2];
    struct result r[2];
    int status[2];
    struct err err[2];
};

static void run_one(void *context, size_t number)
{
    struct two *w = context;

    w->status[number] =
        run_bare(w->s, w->point[number], 0, 0, &w->r[number], &w->err[number]);
}

int tune_sure_pair(const struct tune_study *s, const struct tune_outcome *o, size_t a,
                   size_t b, unsigned threads, struct tune_pair *pair, struct err *e)
{
    struct two w = {.s = s};
    int status = 0, figure = s->spec->goal[0].figure;

    *pair = (struct tune_pair){.a = a, .b = b};
    if (a == TUNE_NONE || b == TUNE_NONE)
        return 0;
    w.point[0] = &o->trial[a].point;
    w.point[1] = &o->trial[b].point;
    pool_run(threads, 2, run_one, &w);
    for (int i = 0; i < 2; i++) {
        if (w.status[i] < 0)
            *e = w.err[i];
        if (w.status[i] != 0)
            status = w.status[i];
    }
    if (status == 0) {
        struct result_policy both[2] = {w.r[0].policy[0], w.r[1].policy[0]};
        struct result r = {.policies = 2, .policy = both};

        result_compare(&r, &pair->c);
        pair->present = true;
        pair->a_goal = o->trial[a].figure[figure];
        pair->b_goal = o->trial[b].figure[figure];
    }
    for (int i = 0; i < 2; i++) {
        if (w.status[i] >= 0)
            result_release(&w.r[i]);
    }
    return status;
}

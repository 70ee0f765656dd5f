#include "details.h"

#include "concurrent.h"

#include "sim/base/mem.h"

#include <stdlib.h>

const uint32_t details_batch[DETAILS_BATCHES] = {1, 8, 32};

uint64_t details_group_rows(uint32_t groups)
{
    const uint64_t most = (uint64_t)1 << 15, of_all = (uint64_t)1 << 19;

    return of_all / groups < most ? of_all / groups : most;
}

/* Drops of one phase in batches of one size. */
struct phase_walk {
    struct concurrent *walk; /* NULL: no rows of that phase */
    struct drops *drops;
};

struct detailing {
    struct trace *t;
    const struct trace_info *info;
    struct trace_details *d;
    struct gates *gates; /* NULL without scores */
    struct reuse *reuse; /* NULL for count-only traces */
    struct drift *drift;
    struct phase_walk walk[TRACE_PHASES * DETAILS_BATCHES];
};

/* ---- batches by phase, behind the sweep ---- */

static void begin_phases(struct detailing *a)
{
    for (unsigned i = 0; i < TRACE_PHASES * DETAILS_BATCHES; i++) {
        struct phase_walk *w = &a->walk[i];
        struct concurrent_plan plan = {.slots = details_batch[i % DETAILS_BATCHES],
                                       .phases = 1u << i / DETAILS_BATCHES,
                                       .masses = true,
                                       .rows_most = DETAILS_PHASE_ROWS,
                                       .step = drops_step};

        if ((a->d->phases & plan.phases) == 0)
            continue;
        w->drops = drops_new(a->info);
        plan.context = w->drops;
        w->walk = concurrent_new(a->t, &plan);
    }
}

static int follow(void *context, uint64_t last, struct err *e)
{
    struct detailing *a = context;

    for (unsigned i = 0; i < TRACE_PHASES * DETAILS_BATCHES; i++)
        if (a->walk[i].walk != NULL && concurrent_go(a->walk[i].walk, last, e) != 0)
            return -1;
    return 0;
}

static void end_phases(struct detailing *a)
{
    for (unsigned i = 0; i < TRACE_PHASES * DETAILS_BATCHES; i++) {
        struct phase_walk *w = &a->walk[i];

        if (w->drops != NULL && a->d->phase_drops != NULL)
            a->d->phase_drops[i] = drops_take(w->drops);
        concurrent_free(w->walk);
        drops_free(w->drops);
    }
}

/* ---- batches by group ---- */

/* The requests of each group, in order: `first` is [groups + 1], into what is returned,
 * owned. */
static uint32_t *sort_requests(const struct detailing *a, uint64_t *first)
{
    const struct trace_request *requests = trace_get_requests(a->t);
    uint32_t groups = a->info->groups;
    uint32_t *sorted = mem_alloc((size_t)a->info->requests, sizeof *sorted);
    uint64_t *next = mem_alloc(groups, sizeof *next);

    for (uint32_t g = 0; g <= groups; g++)
        first[g] = 0;
    for (uint64_t r = 0; r < a->info->requests; r++)
        first[requests[r].group + 1]++;
    for (uint32_t g = 0; g < groups; g++) {
        first[g + 1] += first[g];
        next[g] = first[g];
    }
    for (uint64_t r = 0; r < a->info->requests; r++)
        sorted[next[requests[r].group]++] = (uint32_t)r;
    free(next);
    return sorted;
}

static int measure_groups(struct detailing *a, struct err *e)
{
    uint64_t *first = mem_alloc((size_t)a->info->groups + 1, sizeof *first);
    uint32_t *sorted = sort_requests(a, first);
    struct drops *drops = drops_new(a->info);
    struct concurrent_plan plan = {.phases = trace_statistics_counted(a->d->phases),
                                   .masses = true,
                                   .rows_most = details_group_rows(a->info->groups),
                                   .step = drops_step,
                                   .context = drops};
    int status = 0;

    for (uint32_t i = 0; i < a->info->groups * DETAILS_BATCHES && status == 0; i++) {
        uint32_t g = i / DETAILS_BATCHES;
        struct concurrent *walk;

        plan.slots = details_batch[i % DETAILS_BATCHES];
        plan.request = sorted + first[g];
        plan.requests = first[g + 1] - first[g];
        if (plan.requests < plan.slots)
            continue;
        walk = concurrent_new(a->t, &plan);
        status = concurrent_go(walk, a->info->requests, e);
        a->d->group_drops[i] = drops_take(drops);
        concurrent_free(walk);
    }
    drops_free(drops);
    free(sorted);
    free(first);
    return status;
}

/* ---- count-only traces ---- */

static void take_pass(void *context, uint64_t n, const uint32_t *count)
{
    struct detailing *a = context;
    struct trace_tokens *tokens = &a->d->tokens;
    size_t cells = (size_t)a->info->layers * a->info->experts;
    uint64_t sum = 0;
    double of_pass;

    drift_pass(a->drift, n, count);
    for (size_t i = 0; i < cells; i++)
        sum += count[i];
    of_pass = (double)sum / a->info->layers / a->info->top_k;
    tokens->mean += of_pass / (double)a->info->passes;
    tokens->least = n == 0 || of_pass < tokens->least ? of_pass : tokens->least;
    tokens->most = n == 0 || of_pass > tokens->most ? of_pass : tokens->most;
}

/* ---- all of it ---- */

static int begin(struct detailing *a, struct err *e)
{
    struct trace_details *d = a->d;

    a->drift = drift_new(a->info);
    if (a->info->counts_only)
        return 0;
    if (trace_statistics_phases(a->t, &d->phases, e) != 0)
        return -1;
    a->reuse = reuse_new(a->info);
    d->reuse_bins = reuse_bins(a->info->experts);
    d->reuse = mem_zalloc((size_t)a->info->layers * d->reuse_bins, sizeof *d->reuse);
    if (!d->scores)
        return 0;
    a->gates = gates_new(a->t);
    d->gate = mem_zalloc((size_t)TRACE_PHASES * d->groups, sizeof *d->gate);
    d->phase_drops =
        mem_zalloc((size_t)TRACE_PHASES * DETAILS_BATCHES, sizeof *d->phase_drops);
    if (d->groups > 1)
        d->group_drops =
            mem_zalloc((size_t)d->groups * DETAILS_BATCHES, sizeof *d->group_drops);
    begin_phases(a);
    return 0;
}

static int sweep(struct detailing *a, const struct trace_statistics_watch *watch,
                 struct trace_statistics *s, struct err *e)
{
    const struct rows_visitor visitor[] = {
        {reuse_visit, a->reuse}, {drift_visit, a->drift}, {gates_visit, a->gates}};
    const struct trace_statistics_guest guest = {.scores = a->d->scores,
                                                 .visitor = visitor,
                                                 .visitors = a->d->scores ? 3 : 2,
                                                 .follow = follow,
                                                 .pass = take_pass,
                                                 .context = a};

    return trace_statistics_measure_with(a->t, watch, &guest, s, e);
}

static void take_results(struct detailing *a)
{
    struct trace_details *d = a->d;

    d->drift = drift_measure(a->drift);
    for (uint32_t l = 0; a->reuse != NULL && l < a->info->layers; l++)
        for (uint32_t b = 0; b < d->reuse_bins; b++)
            d->reuse[(size_t)l * d->reuse_bins + b] = reuse_counts(a->reuse, l)[b];
    for (size_t i = 0; a->gates != NULL && i < (size_t)TRACE_PHASES * d->groups; i++)
        d->gate[i] = gates_sums(a->gates)[i];
}

int trace_details_measure(struct trace *t, const struct trace_statistics_watch *watch,
                          struct trace_statistics *s, struct trace_details *d,
                          struct err *e)
{
    const struct trace_info *info = trace_get_info(t);
    struct detailing a = {.t = t, .info = info, .d = d};
    bool measured = false;
    int status;

    *d = (struct trace_details){.scores = (trace_fields(t) & TRACE_HAS_SCORES) != 0,
                                .all_scores =
                                    (trace_fields(t) & TRACE_HAS_ALL_SCORES) != 0,
                                .groups = info->groups,
                                .drift = {.windows = 0}};
    status = begin(&a, e);
    if (status == 0) {
        status = sweep(&a, watch, s, e);
        measured = status == 0;
    }
    if (status == 0)
        take_results(&a);
    end_phases(&a);
    if (status == 0 && d->group_drops != NULL)
        status = measure_groups(&a, e);
    gates_free(a.gates);
    reuse_free(a.reuse);
    drift_free(a.drift);
    if (status != 0) {
        trace_details_release(d);
        if (measured)
            trace_statistics_release(s);
    }
    return status;
}

void trace_details_release(struct trace_details *d)
{
    free(d->gate);
    free(d->phase_drops);
    free(d->group_drops);
    free(d->reuse);
    *d = (struct trace_details){0};
}

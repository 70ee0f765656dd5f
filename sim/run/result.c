#include "result.h"

#include "sim/base/mem.h"
#include "percentile.h"

#include <math.h>
#include <stdlib.h>

static void release_policy(struct result_policy *p)
{
    free(p->label);
    for (int slot = 0; slot < POLICY_SLOTS; slot++)
        free(p->description[slot]);
    free(p->variant);
    run_result_release(&p->run);
}

void result_release(struct result *r)
{
    if (r->policy != NULL)
        for (uint32_t i = 0; i < r->policies; i++)
            release_policy(&r->policy[i]);
    if (r->group_names != NULL)
        for (uint32_t i = 0; i < r->groups; i++)
            free(r->group_names[i]);
    free(r->policy);
    free(r->group_names);
    free(r->trace_path);
    free(r->trace_source);
    free(r->model);
    free(r->machine);
    free(r->machine_source);
    free(r->config);
    free(r->version);
    free(r->moe_layer);
    free(r->expert_bytes);
    free(r->notes);
    free(r->path);
    *r = (struct result){.path = NULL};
}

/* ---- figures ---- */

/* Differences are taken in double: a file may hold any times, and the difference of two
 * may not fit. */
static double seconds_between(sim_time from, sim_time to)
{
    return ((double)to - (double)from) * 1e-12;
}

double result_request_tpot(const struct run_request *q)
{
    if (q->output_tokens < 2)
        return NAN;
    return seconds_between(q->first_token, q->last_token) /
           (double)(q->output_tokens - 1);
}

double result_request_ttft(const struct run_request *q)
{
    return q->finished ? seconds_between(q->arrival, q->first_token) : NAN;
}

struct spread {
    double mean, p50, p99;
};

/* Sorts `value`. */
static struct spread spread_of(double *value, size_t count)
{
    struct spread s = {NAN, NAN, NAN};
    double sum = 0;

    if (count == 0)
        return s;
    for (size_t i = 0; i < count; i++)
        sum += value[i];
    s.mean = sum / (double)count;
    percentile_sort(value, count);
    s.p50 = percentile_of_sorted(value, count, 0.50);
    s.p99 = percentile_of_sorted(value, count, 0.99);
    return s;
}

static struct spread summarise(const struct run_result *run,
                               double (*figure)(const struct run_request *))
{
    double *value = mem_alloc((size_t)run->requests, sizeof *value);
    size_t count = 0;
    struct spread s;

    for (uint64_t i = 0; i < run->requests; i++) {
        double x = figure(&run->request[i]);

        if (!isnan(x))
            value[count++] = x;
    }
    s = spread_of(value, count);
    free(value);
    return s;
}

static double ratio(double a, double b)
{
    return b > 0 ? a / b : NAN;
}

struct result_summary result_summarise(const struct result_policy *p)
{
    const struct run_result *run = &p->run;
    const struct run_counts *c = &run->total.counts;
    struct spread tpot = summarise(run, result_request_tpot);
    struct spread ttft = summarise(run, result_request_ttft);
    struct result_summary s = {
        .tpot_mean = tpot.mean,
        .tpot_p50 = tpot.p50,
        .tpot_p99 = tpot.p99,
        .ttft_mean = ttft.mean,
        .ttft_p50 = ttft.p50,
        .ttft_p99 = ttft.p99,
        .tokens_per_s = ratio((double)run->output_tokens, sim_time_seconds(run->elapsed)),
        .hit_rate = ratio((double)c->hits, (double)c->accesses),
        .gpu_busy = ratio((double)run->compute_busy, (double)run->elapsed),
        .link_bytes =
            (double)c->demand_bytes + (double)c->prefetch_bytes + (double)c->out_bytes,
        .gap = NAN,
    };

    for (uint64_t i = 0; i < run->requests; i++)
        s.requests += run->request[i].finished;
    if (p->bounds.present)
        s.gap = ratio((double)run->total.latency, (double)p->bounds.offline) - 1;
    return s;
}

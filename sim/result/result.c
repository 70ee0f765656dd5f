#include "result.h"

#include "sim/base/mem.h"
#include "sim/base/percentile.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

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
    for (uint32_t i = 0; r->link != NULL && i < r->links; i++) {
        free(r->link[i].name);
        free(r->link[i].kind);
    }
    free(r->policy);
    free(r->link);
    free(r->group_names);
    free(r->trace_path);
    free(r->trace_source);
    free(r->model);
    free(r->machine);
    free(r->machine_source);
    free(r->watch);
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

    for (uint64_t i = 0; i < run->requests && !run->counts_only; i++) {
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

bool result_is_parallel(const struct result *r)
{
    return r->policies > 0 && r->policy[0].run.gpus > 0;
}

bool result_slot_foresees(enum policy_slot slot, const char *description)
{
    const char *text = description == NULL ? "" : description;
    char *name = mem_format("%.*s", (int)strcspn(text, " "), text);
    const struct plugin *plugin = registry_find(slot, name);

    free(name);
    if (slot == SLOT_PLACE) {
        static const char foresee[] = " foresee="; /* the share of loads guessed right */
        const char *found = strstr(text, foresee);

        if (found != NULL && strtod(found + sizeof foresee - 1, NULL) >= 1)
            return true;
    }
    return plugin != NULL && (plugin->needs & NEED_FUTURE) != 0;
}

bool result_foresees(const struct result_policy *p)
{
    bool any = false;

    for (int slot = 0; slot < POLICY_SLOTS; slot++)
        any = any || result_slot_foresees((enum policy_slot)slot, p->description[slot]);
    return any;
}

bool result_slot_is_dense(enum policy_slot slot, const char *description)
{
    return slot == SLOT_CACHE && description != NULL && strcmp(description, "none") == 0;
}

bool result_is_dense(const struct result_policy *p)
{
    return result_slot_is_dense(SLOT_CACHE, p->description[SLOT_CACHE]);
}

bool result_is_reference(const struct result_policy *p)
{
    return result_foresees(p) || result_is_dense(p);
}

double result_seconds(const struct run_result *run, sim_time time)
{
    return run->counts_only ? NAN : sim_time_seconds(time);
}

double result_busy_share(const struct run_result *run, double seconds)
{
    return ratio(seconds,
                 result_seconds(run, run->elapsed) + result_seconds(run, run->tail));
}

double result_imbalance(const struct run_counts *c, uint32_t gpus)
{
    return ratio((double)c->busiest_rows * gpus, (double)c->computed_rows);
}

char *result_machine_text(const struct result *r)
{
    const char *name = r->machine == NULL ? "" : r->machine;
    const struct run_result *run = &r->policy[0].run;

    if (!result_is_parallel(r))
        return mem_strdup(name);
    return mem_format("%" PRIu32 " GPU%s of %s, %" PRIu32 " node%s", run->gpus,
                      run->gpus == 1 ? "" : "s", name, run->nodes,
                      run->nodes == 1 ? "" : "s");
}

char *result_stopped_text(const struct result_policy *p)
{
    struct result_summary s;

    if (p->run.finished)
        return NULL;
    if (p->run.requests == 0)
        return mem_strdup("stopped before it began");
    s = result_summarise(p);
    return mem_format("stopped after %" PRIu64 " of %" PRIu64 " requests", s.requests,
                      p->run.requests);
}

/* What only several GPUs have. */
static void summarise_parallel(const struct result_policy *p, struct result_summary *s)
{
    const struct run_result *run = &p->run;
    const struct run_counts *c = &run->total.counts;
    double chosen = (double)c->activations * (run->shards > 1 ? run->shards : 1);
    double latency = (double)run->total.latency;

    s->imbalance = result_imbalance(c, run->gpus);
    s->comm_share = ratio(result_seconds(run, run->total.share[SHARE_COMM]),
                          sim_time_seconds(run->total.latency));
    s->sent_bytes = (double)c->sent_bytes;
    s->padding = ratio((double)c->computed_rows, chosen) - 1;
    s->drop_share =
        ratio((double)c->dropped, (double)c->activations + (double)c->dropped);
    if (!p->bounds.present)
        return;
    s->balanced_gap = ratio(latency, (double)p->bounds.balanced) - 1;
    s->network_gap = ratio(latency, (double)p->bounds.free_network) - 1;
}

struct result_selected result_selected(const struct select_quality *q)
{
    double lost = select_quality_lost(q) * (double)SELECT_MASS_ONE;

    return (struct result_selected){
        .changed = ratio((double)q->changed, (double)q->choices),
        .fewer = ratio((double)q->fewer, (double)q->choices),
        .mass_lost = ratio(lost, (double)q->mass),
        .top1_kept = ratio((double)q->top1, (double)q->rows),
        .saved = ratio((double)q->distinct - (double)q->left, (double)q->distinct),
    };
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
        .tokens_per_s =
            ratio((double)run->output_tokens, result_seconds(run, run->elapsed)),
        .hit_rate = ratio((double)c->hits, (double)c->accesses),
        .gpu_busy =
            ratio(sim_time_seconds(run->compute_busy), result_seconds(run, run->elapsed)),
        .link_bytes =
            (double)c->demand_bytes + (double)c->prefetch_bytes + (double)c->out_bytes,
        .swaps = (double)c->swaps,
        .gap = NAN,
        .imbalance = NAN,
        .comm_share = NAN,
        .sent_bytes = NAN,
        .padding = NAN,
        .drop_share = NAN,
        .balanced_gap = NAN,
        .network_gap = NAN,
        .select = result_selected(&run->quality),
    };

    for (uint64_t i = 0; i < run->requests; i++)
        s.requests += run->request[i].finished;
    if (p->bounds.present)
        s.gap = ratio((double)run->total.latency, (double)p->bounds.offline) - 1;
    if (run->gpus > 0)
        summarise_parallel(p, &s);
    return s;
}

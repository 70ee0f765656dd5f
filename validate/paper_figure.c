/* The figures of a replay that rows of a table can name. */
#include "paper_replay.h"

#include <math.h>
#include <string.h>

static const struct run_result *run_of(const struct paper_run *run, uint32_t policy)
{
    return &run->result.policy[policy].run;
}

static double pass_latency(const struct paper_run *run, uint32_t policy)
{
    const struct run_result *r = run_of(run, policy);

    return sim_time_seconds(r->total.latency) / (double)r->passes;
}

static double layer_latency(const struct paper_run *run, uint32_t policy)
{
    const struct paper_span *s = &run->span[policy];

    return sim_time_seconds(s->total) / (double)s->count;
}

static double rows_per_s(const struct paper_run *run, uint32_t policy)
{
    const struct run_result *r = run_of(run, policy);

    return (double)(r->prefill_rows + r->decode_rows) / sim_time_seconds(r->elapsed);
}

static double token_latency(const struct paper_run *run, uint32_t policy)
{
    return result_summarise(&run->result.policy[policy]).tpot_mean;
}

static double miss_rate(const struct paper_run *run, uint32_t policy)
{
    const struct run_counts *c = &run_of(run, policy)->total.counts;

    return 1.0 - (double)c->hits / (double)c->accesses;
}

static double dropped(const struct paper_run *run, uint32_t policy)
{
    const struct run_counts *c = &run_of(run, policy)->total.counts;

    return (double)c->dropped / (double)(c->dropped + c->activations);
}

static double expert_memory(const struct paper_run *run, uint32_t policy)
{
    const struct run_result *r = run_of(run, policy);

    return (double)(r->cache_bytes + r->staging_bytes);
}

static double compute_share(const struct paper_run *run, uint32_t policy)
{
    const struct run_result *r = run_of(run, policy);

    return sim_time_seconds(r->compute_busy) / sim_time_seconds(r->elapsed);
}

/* ---- per pass, and what a select changed ---- */

static double swaps(const struct paper_run *run, uint32_t policy)
{
    const struct run_result *r = run_of(run, policy);

    return (double)r->total.counts.swaps / (double)r->passes;
}

static double copy_stall(const struct paper_run *run, uint32_t policy)
{
    const struct run_result *r = run_of(run, policy);

    return sim_time_seconds(r->total.share[SHARE_COPY]) / (double)r->passes;
}

static double distinct(const struct paper_run *run, uint32_t policy)
{
    const struct run_result *r = run_of(run, policy);

    return (double)r->total.counts.accesses / ((double)r->layers * (double)r->passes);
}

/* 0 without a select. */
static double share_of(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

static double changed(const struct paper_run *run, uint32_t policy)
{
    const struct select_quality *q = &run_of(run, policy)->quality;

    return share_of((double)q->changed + (double)q->fewer, (double)q->choices);
}

static double mass_lost(const struct paper_run *run, uint32_t policy)
{
    const struct select_quality *q = &run_of(run, policy)->quality;

    return share_of((double)q->mass - (double)q->kept, (double)q->mass);
}

/* ---- of several GPUs ---- */

static double busiest(const struct paper_run *run, uint32_t policy)
{
    const struct run_counts *c = &run_of(run, policy)->total.counts;

    return (double)c->busiest_rows / (double)c->computed_rows;
}

static double computed(const struct paper_run *run, uint32_t policy)
{
    const struct run_counts *c = &run_of(run, policy)->total.counts;

    return (double)c->computed_rows / (double)(c->activations + c->dropped);
}

static double imbalance(const struct paper_run *run, uint32_t policy)
{
    return busiest(run, policy) * run_of(run, policy)->gpus;
}

static double sent(const struct paper_run *run, uint32_t policy)
{
    const struct run_result *r = run_of(run, policy);

    return (double)r->total.counts.sent_bytes /
           ((double)r->gpus * r->layers * (double)r->passes);
}

static double activation(const struct paper_run *run, uint32_t policy)
{
    return (double)run_of(run, policy)->activation_bytes;
}

static const struct paper_figure figures[] = {
    {"pass-latency", PAPER_TIME, "mean latency of a pass", pass_latency},
    {"layer-latency", PAPER_TIME,
     "mean of an MoE layer, from its gate to its last result", layer_latency},
    {"token-latency", PAPER_TIME, "mean time per output token after the first",
     token_latency},
    {"rows-per-s", PAPER_RATIO, "rows of all passes per second", rows_per_s},
    {"miss-rate", PAPER_RATIO, "misses of the expert cache over accesses", miss_rate},
    {"swaps", PAPER_RATIO, "misses per pass that evicted an expert", swaps},
    {"copy-stall", PAPER_TIME, "part of a pass that waits for copies", copy_stall},
    {"distinct", PAPER_RATIO, "different experts of an MoE layer and pass", distinct},
    {"changed", PAPER_RATIO, "choices that a select changed or left out, as a share",
     changed},
    {"mass-lost", PAPER_RATIO, "gate mass that a select gave up, as a share", mass_lost},
    {"dropped", PAPER_RATIO, "choices that the gate dropped, as a share", dropped},
    {"expert-memory", PAPER_BYTES, "GPU memory for resident experts and staging",
     expert_memory},
    {"compute-busy", PAPER_RATIO, "share of the time that the GPU computes",
     compute_share},
    {"busiest-share", PAPER_RATIO,
     "share of an MoE layer's rows that the busiest GPU has", busiest},
    {"imbalance", PAPER_RATIO, "rows of the busiest GPU over the mean", imbalance},
    {"computed", PAPER_RATIO, "rows that experts run on, padding included, over choices",
     computed},
    {"sent-bytes", PAPER_BYTES, "that a GPU sends per MoE layer and pass", sent},
    {"activation-memory", PAPER_BYTES, "most that one MoE layer needs on a GPU",
     activation},
};
enum { FIGURES = sizeof figures / sizeof *figures };

const struct paper_figure *paper_figure_find(const char *name)
{
    for (size_t i = 0; i < FIGURES; i++) {
        if (strcmp(name, figures[i].name) == 0)
            return &figures[i];
    }
    return NULL;
}

void paper_figure_help(FILE *out)
{
    for (size_t i = 0; i < FIGURES; i++)
        (void)fprintf(out, "  %-22s %s\n", figures[i].name, figures[i].help);
}

int paper_figure_get(const struct paper_figure *f, const struct paper_run *run,
                     const char *policy, double *value, struct err *e)
{
    for (uint32_t i = 0; i < run->result.policies; i++) {
        if (strcmp(policy, run->result.policy[i].label) != 0)
            continue;
        *value = f->get(run, i);
        return isfinite(*value) ? 0
                                : err_set(e, "policy '%s' has no %s", policy, f->name);
    }
    return err_set(e, "no policy is called '%s'", policy);
}

void paper_row_wants(const struct paper_row *row, bool *wanted)
{
    if (row->figure != NULL)
        wanted[row->run.replay] = true;
    if (row->join != PAPER_ALONE)
        wanted[row->other.replay] = true;
}

int paper_row_figure(const struct paper_row *row, const struct paper_run *run,
                     double *value, struct err *e)
{
    double other = 1.0;

    if (paper_figure_get(row->figure, &run[row->run.replay], row->run.policy, value, e) !=
        0)
        return -1;
    if (row->join == PAPER_ALONE)
        return 0;
    if (paper_figure_get(row->figure, &run[row->other.replay], row->other.policy, &other,
                         e) != 0)
        return -1;
    *value = row->join == PAPER_OVER ? *value / other : *value - other;
    return isfinite(*value) ? 0 : err_set(e, "%s is divided by 0", row->figure->name);
}

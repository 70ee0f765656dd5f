/* The verdict on a run: the numbers behind it, and its words. */
#include "explain_state.h"

#include "sim/base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static double least(double a, double b)
{
    return a < b ? a : b;
}

static double greatest(double a, double b)
{
    return a > b ? a : b;
}

/* Belady's time where it was not simulated: each miss it avoids takes its share of the
 * stalls with it. */
static double estimate_belady(const struct result_policy *p)
{
    const struct run_counts *c = &p->run.total.counts;
    double misses = (double)c->loads + (double)c->bypasses;
    double saved = (double)p->bounds.belady_hits - (double)c->hits;
    double stall = sim_time_seconds(p->run.total.share[SHARE_COPY]);

    saved = greatest(0, least(saved, misses));
    return sim_time_seconds(p->run.total.latency) -
           (misses > 0 ? stall * saved / misses : 0);
}

static enum explain_verdict judge(const struct explain_finding *f)
{
    double most = greatest(f->policy, greatest(f->working_set, f->bandwidth));

    if (most < EXPLAIN_PART * f->total)
        return f->host >= EXPLAIN_HOST * f->total ? EXPLAIN_HOST_BOUND : EXPLAIN_COMPUTE;
    if (f->policy == most)
        return EXPLAIN_POLICY;
    return f->working_set == most ? EXPLAIN_WORKING_SET : EXPLAIN_BANDWIDTH;
}

struct explain_finding explain_find(const struct result_policy *p)
{
    const struct run_pass *total = &p->run.total;
    struct explain_finding f = {.total = sim_time_seconds(total->latency),
                                .host = sim_time_seconds(total->share[SHARE_HOST])};
    double reached, offline, stalls_left;

    if (p->run.counts_only) {
        f.parallel = p->run.gpus > 0;
        return f;
    }
    if (p->run.gpus > 0)
        return explain_parallel_find(p);
    if (!p->bounds.present || p->bounds.offline <= 0 || !(f.total > 0)) {
        f.compute = f.total - f.host;
        return f;
    }
    f.compute_bound = sim_time_seconds(p->bounds.compute);
    f.offline = sim_time_seconds(p->bounds.offline);
    f.estimated = p->bounds.belady_time <= 0;
    f.belady = f.estimated ? estimate_belady(p) : sim_time_seconds(p->bounds.belady_time);
    reached = least(f.total, f.belady);
    offline = least(f.offline, reached);
    f.policy = f.total - reached;
    f.bandwidth = offline - least(f.compute_bound, offline);
    f.host = least(f.host, reached - offline);
    stalls_left = sim_time_seconds(total->share[SHARE_COPY]) - f.policy;
    f.working_set = greatest(0, least(reached - offline - f.host, stalls_left));
    f.compute = f.total - f.policy - f.bandwidth - f.host - f.working_set;
    f.verdict = judge(&f);
    return f;
}

const char *explain_verdict_name(enum explain_verdict verdict)
{
    switch (verdict) {
    case EXPLAIN_UNKNOWN:
        break;
    case EXPLAIN_POLICY:
        return "policy failure";
    case EXPLAIN_WORKING_SET:
        return "working-set failure";
    case EXPLAIN_BANDWIDTH:
        return "bandwidth failure";
    case EXPLAIN_COMPUTE:
        return "no failure: compute-bound";
    case EXPLAIN_HOST_BOUND:
        return "no failure: bound by launches and the host";
    case EXPLAIN_IMBALANCE:
        return "imbalance-bound";
    case EXPLAIN_NETWORK:
        return "network-bound";
    case EXPLAIN_FETCH:
        return "fetch-bound";
    }
    return "no verdict";
}

const char *explain_thresholds(bool parallel)
{
    if (parallel)
        return "Thresholds: the verdict is the greater of two savings if it is at "
               "least 5 % of the time: rows spread evenly, all experts resident and "
               "nothing padded or moved (imbalance; or loads of experts, if exposed "
               "copies take 5 %); and a network that takes no time. They overlap. "
               "Launches and the host bound a run that they take more of than either "
               "saves, from 25 % on.";
    return "Thresholds: the verdict is the greatest of three parts of the time if it "
           "is at least 5 % of it, else there is no failure. Policy: the run's time "
           "less that of Belady's choices fetched on demand. Bandwidth: perfect "
           "look-ahead (the greater of all-resident compute and Belady's bytes at "
           "full link speed) less all-resident compute. Working set: what Belady's "
           "run takes above perfect look-ahead, launches and host work set aside. A "
           "run without failure counts as bound by the host from 25 % launch and "
           "host time on.";
}

/* ---- words ---- */

static char *describe_verdict(const struct explain_finding *f)
{
    double t = f->total;
    const char *how = f->estimated ? " (estimated from its hits)" : "";

    switch (f->verdict) {
    case EXPLAIN_UNKNOWN:
        return mem_strdup("This result has no bounds on the time: they need passes that "
                          "do not depend on time (closed loop or recorded) and experts "
                          "that run on the GPU only.");
    case EXPLAIN_POLICY:
        return mem_format("A better policy exists at this capacity: Belady's choices, "
                          "fetched on demand, would take %s of the time%s.",
                          explain_part(f->belady, t).text, how);
    case EXPLAIN_WORKING_SET:
        return mem_format(
            "Even Belady misses so much that it stalls: %s of the time goes "
            "to loads that no replacement avoids at this capacity, though "
            "the link could carry them in time.",
            explain_part(f->working_set, t).text);
    case EXPLAIN_BANDWIDTH:
        return mem_format(
            "Even perfect look-ahead stalls: the least bytes that must cross "
            "the link take %s at its full speed, %s times as long as all "
            "computing.",
            text_time(f->offline).text, text_ratio(f->offline / f->compute_bound).text);
    case EXPLAIN_COMPUTE:
        return mem_format(
            "Copies cost little: with every expert resident the passes would "
            "still take %s of the time.",
            explain_part(f->compute_bound, t).text);
    case EXPLAIN_HOST_BOUND:
        return mem_format("Copies cost little, but launches and host work take %s of the "
                          "time.",
                          explain_part(f->host, t).text);
    case EXPLAIN_IMBALANCE:
    case EXPLAIN_NETWORK:
    case EXPLAIN_FETCH:
        break;
    }
    return mem_strdup("");
}

static char *say_verdict(const struct explain_finding *f, const struct result_policy *p)
{
    const struct {
        enum explain_verdict verdict;
        double seconds;
        const char *name;
    } other[] = {{EXPLAIN_POLICY, f->policy, "policy"},
                 {EXPLAIN_WORKING_SET, f->working_set, "working set"},
                 {EXPLAIN_BANDWIDTH, f->bandwidth, "bandwidth"},
                 {EXPLAIN_HOST_BOUND, f->host, "launches and host"}};
    const struct run_counts *c = &p->run.total.counts;
    char *text = describe_verdict(f);

    if (f->verdict == EXPLAIN_UNKNOWN) {
        double t = f->total, stall = sim_time_seconds(p->run.total.share[SHARE_COPY]);
        double wait = sim_time_seconds(p->run.total.share[SHARE_HOSTED]);

        explain_add(
            &text,
            mem_format("Exposed copies take %s of the time, launches and host %s.",
                       explain_part(stall, t).text, explain_part(f->host, t).text));
        if (run_in_place(c) > 0)
            explain_add(
                &text, mem_format("%s of the misses ran %s; the GPU waits for them %s of "
                                  "the time.",
                                  explain_part((double)run_in_place(c),
                                               (double)c->accesses - (double)c->hits)
                                      .text,
                                  explain_place(c), explain_part(wait, t).text));
        return text;
    }
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        if (other[i].verdict != f->verdict && other[i].seconds >= EXPLAIN_PART * f->total)
            explain_add(&text, mem_format("Besides, %s: %s of the time.", other[i].name,
                                          explain_part(other[i].seconds, f->total).text));
    return text;
}

char *explain_verdict_text(const struct explain_finding *f, const struct result *r,
                           uint32_t policy)
{
    if (r->policy[policy].run.counts_only)
        return mem_strdup("Nothing was timed (engine: count): the result has hits and "
                          "bytes only.");
    return f->parallel ? explain_parallel_verdict(f, r, policy)
                       : say_verdict(f, &r->policy[policy]);
}

/* ---- what would help ---- */

static void help_memory(char **text, const struct result *r, const struct run_result *run)
{
    double used = (double)r->dense_bytes + (double)r->kv_peak_bytes +
                  (double)run->cache_bytes + (double)run->staging_bytes;
    double left = (double)r->gpu_memory_bytes - used;

    explain_add(
        text,
        mem_format(
            "The cache holds %s of %s of experts (%s).",
            text_bytes((double)run->cache_bytes).text,
            text_bytes((double)r->expert_total_bytes).text,
            explain_part((double)run->cache_bytes, (double)r->expert_total_bytes).text));
    if (left > 0.02 * (double)r->gpu_memory_bytes &&
        run->cache_bytes < r->expert_total_bytes)
        explain_add(
            text,
            mem_format("%s of GPU memory is still free: a larger cache is the first "
                       "thing to try.",
                       text_bytes(left).text));
}

static void help_verdict(char **text, const struct explain_finding *f,
                         const struct result *r, const struct result_policy *p)
{
    double passes = p->run.passes > 0 ? (double)p->run.passes : 1;

    switch (f->verdict) {
    case EXPLAIN_UNKNOWN:
    case EXPLAIN_IMBALANCE:
    case EXPLAIN_NETWORK:
    case EXPLAIN_FETCH:
        return;
    case EXPLAIN_POLICY:
        explain_add(
            text, mem_format("A cache policy nearer to Belady's gains up to %s per pass; "
                             "prefetching that hides its loads as well, up to %s.",
                             text_time(f->policy / passes).text,
                             text_time((f->policy + f->working_set) / passes).text));
        help_memory(text, r, &p->run);
        return;
    case EXPLAIN_WORKING_SET:
        explain_add(
            text, mem_format("Loads must start earlier: prefetching with good look-ahead "
                             "gains up to %s per pass; so does a larger cache.",
                             text_time(f->working_set / passes).text));
        help_memory(text, r, &p->run);
        return;
    case EXPLAIN_BANDWIDTH:
        explain_add(
            text,
            mem_format("Only fewer bytes or a faster link help: a link %s times as "
                       "fast, weights of fewer bits, more experts resident, missing "
                       "experts run on the host, or larger batches that use each "
                       "load for more tokens.",
                       text_ratio(f->offline / f->compute_bound).text));
        help_memory(text, r, &p->run);
        return;
    case EXPLAIN_HOST_BOUND:
        explain_add(
            text,
            mem_strdup("A captured graph, fewer and larger kernels, or a policy that "
                       "needs no host decision per layer."));
        return;
    case EXPLAIN_COMPUTE:
        explain_add(
            text,
            mem_format(
                "No cache or prefetch policy gains more than %s; larger "
                "batches, faster kernels or a faster GPU do.",
                explain_part(f->policy + f->working_set + f->bandwidth, f->total).text));
        return;
    }
}

static char *say_help(const struct explain_finding *f, const struct result *r,
                      uint32_t policy)
{
    const struct result_policy *p = &r->policy[policy];
    const struct result_policy *better = explain_better_policy(r, policy);
    const struct run_counts *c = &p->run.total.counts;
    double wait = sim_time_seconds(p->run.total.share[SHARE_HOSTED]);
    char *text = mem_strdup("");

    help_verdict(&text, f, r, p);
    if (better != NULL)
        explain_add(&text, mem_format("In this result %s takes %s of its time%s.",
                                      better->label == NULL ? "" : better->label,
                                      explain_part((double)better->run.total.latency,
                                                   (double)p->run.total.latency)
                                          .text,
                                      better->lossless || !p->lossless
                                          ? ""
                                          : ", but changes what the model computes"));
    if ((double)c->late > EXPLAIN_PART * (double)c->accesses)
        explain_add(
            &text,
            mem_format("Prefetches come late (%s of all accesses wait for one): look "
                       "further ahead, or load less.",
                       explain_part((double)c->late, (double)c->accesses).text));
    if (wait >= EXPLAIN_PART * f->total && f->total > 0)
        explain_add(
            &text,
            mem_format("The GPU waits for experts %s (%s of the time): keep more experts "
                       "resident, or fetch those that take longer there (offload: %s).",
                       explain_place(c), explain_part(wait, f->total).text,
                       c->near_runs > 0 ? "{name: monde, hot: best}" : "hybrid"));
    if (c->prefetches > 0 && (double)c->prefetch_used < 0.5 * (double)c->prefetches)
        explain_add(
            &text,
            mem_format(
                "Fewer than half of the prefetches were used (%s): prefetch "
                "less, or predict better.",
                explain_part((double)c->prefetch_used, (double)c->prefetches).text));
    return text;
}

char *explain_help_text(const struct explain_finding *f, const struct result *r,
                        uint32_t policy)
{
    if (r->policy[policy].run.counts_only)
        return mem_strdup("");
    return f->parallel ? explain_parallel_help(f, r, policy) : say_help(f, r, policy);
}

/* moesim explain: the tables and sentences on each policy of a result. */
#include "explain_state.h"

#include "sim/base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WORST_LAYERS = 8, LABEL_COLUMNS = 60 };

/* ---- where the time went ---- */

static void print_shares(const struct run_result *run, FILE *out)
{
    double total = sim_time_seconds(run->total.latency);
    double passes = (double)run->passes;
    double idle = sim_time_seconds(run->elapsed) - total;

    (void)fprintf(out, "\n  Where the time went (%s passes, ", text_count(passes).text);
    (void)fprintf(out, "%s output tokens)\n",
                  text_count((double)run->output_tokens).text);
    (void)fprintf(out, "    %-24s %11s %11s %9s\n", "", "total", "per pass", "share");
    for (int s = 0; s < RUN_SHARES; s++)
        explain_print_share(out, run_share_name((enum run_share)s),
                            sim_time_seconds(run->total.share[s]), passes, total);
    explain_print_share(out, "latency of all passes", total, passes, total);
    if (idle > EXPLAIN_PART * total)
        explain_print_share(out, "waiting for requests", idle, passes, total);
    if (run->tail > 0)
        explain_print_share(out, "copies behind the tokens", sim_time_seconds(run->tail),
                            passes, total);
}

/* ---- layers ---- */

/* Sums in double, as the values may come from any file; times in picoseconds, which are
 * exact up to 2^53. */
struct stall {
    double copy, host, hosted, accesses, hits, copies, queue, transfer, late, late_time;
};

static void add_stall(struct stall *to, const struct run_result *run, uint32_t layer)
{
    const struct run_layer *y = &run->layer[layer];
    double timed = run->counts_only ? NAN : 1; /* what hangs on times is not known */

    to->copy += timed * (double)y->share[SHARE_COPY];
    to->host += timed * (double)y->share[SHARE_HOST];
    to->hosted += timed * (double)y->share[SHARE_HOSTED];
    to->accesses += (double)y->counts.accesses;
    to->hits += (double)y->counts.hits;
    to->copies += (double)y->copies;
    to->queue += timed * (double)y->queue_time;
    to->transfer += timed * (double)y->copy_time;
    to->late += timed * (double)y->counts.late;
    to->late_time += timed * (double)y->late_time;
}

/* Experts in place have no room beside late prefetches, which few such runs have, and
 * which the paragraph on the link tells of. */
static bool shows_hosted(const struct run_result *run)
{
    return run_in_place(&run->total.counts) > 0;
}

static void print_stall(FILE *out, const char *name, const struct stall *s, double passes,
                        double all, bool hosted)
{
    (void)fprintf(out, "    %-15s", name);
    text_right(out, 8, text_time(1e-12 * explain_share(s->copy, passes)));
    text_right(out, 7, text_share(explain_share(s->copy, all)));
    text_right(out, 8, text_time(1e-12 * explain_share(s->host, passes)));
    text_right(out, 7, text_share(explain_share(s->hits, s->accesses)));
    text_right(out, 7, text_number(explain_share(s->copies, passes)));
    text_right(out, 8, text_time(1e-12 * explain_share(s->queue, s->copies)));
    text_right(out, 8, text_time(1e-12 * explain_share(s->transfer, s->copies)));
    if (hosted) {
        text_right(out, 8, text_time(1e-12 * explain_share(s->hosted, passes)));
    } else {
        text_right(out, 7, text_share(explain_share(s->late, s->hits)));
        text_right(out, 8, text_time(1e-12 * explain_share(s->late_time, s->late)));
    }
    (void)fputc('\n', out);
}

struct ranked {
    double copy;
    uint32_t layer;
};

/* Most exposed copy (or, without times, most copies) first, then in order of layers. */
static int compare_ranked(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;

    if (x->copy != y->copy)
        return (x->copy < y->copy) - (x->copy > y->copy);
    return (x->layer > y->layer) - (x->layer < y->layer);
}

static void print_layer_head(const struct run_result *run, uint32_t shown, FILE *out)
{
    uint32_t layers = run->layers;
    bool hosted = shows_hosted(run);

    (void)fputc('\n', out);
    if (run->counts_only)
        text_paragraph(out, "  ", "    ",
                       "MoE layers%s (copies per pass; nothing has a time)",
                       shown < layers ? ", those with most copies by name" : "");
    else if (shown < layers)
        text_paragraph(
            out, "  ", "    ",
            "Who waited for what: the %" PRIu32 " MoE layers of %" PRIu32
            " that waited most (times and copies per pass; waits and transfers "
            "per demand copy)",
            shown, layers);
    else
        text_paragraph(
            out, "  ", "    ",
            "Who waited for what: MoE layers (times and copies per pass; waits "
            "and transfers per demand copy)");
    (void)fprintf(out, "    %-15s %8s %7s %8s %7s %7s %8s %8s%s\n", "decoder layer",
                  "exposed", "share", "host", "hit", "demand", "wait for", "transfer",
                  hosted ? "  experts" : "    late  late by");
    (void)fprintf(out, "    %-15s %8s %7s %8s %7s %7s %8s %8s%s\n", "", "copy", "", "",
                  "rate", "copies", "link", "",
                  hosted ? " in place" : "    hits     each");
}

static void print_layers(const struct result *r, const struct run_result *run, FILE *out)
{
    uint32_t shown = run->layers <= WORST_LAYERS + 1 ? run->layers : WORST_LAYERS;
    double passes = (double)run->passes, total = 0;
    struct ranked *rank = mem_alloc(run->layers, sizeof *rank);
    struct stall all = {0}, others = {0}, outside = {0};
    bool hosted = shows_hosted(run);
    char name[32];

    for (uint32_t l = 0; l < run->layers; l++) {
        rank[l] =
            (struct ranked){run->counts_only ? (double)run->layer[l].copies
                                             : (double)run->layer[l].share[SHARE_COPY],
                            l};
        add_stall(&all, run, l);
    }
    total = (double)run->total.share[SHARE_COPY];
    if (run->layers > 1)
        qsort(rank, run->layers, sizeof *rank, compare_ranked);
    print_layer_head(run, shown, out);
    for (uint32_t i = 0; i < run->layers; i++) {
        struct stall one = {0};

        add_stall(i < shown ? &one : &others, run, rank[i].layer);
        (void)snprintf(name, sizeof name, "%u", r->moe_layer[rank[i].layer]);
        if (i < shown)
            print_stall(out, name, &one, passes, total, hosted);
    }
    if (shown < run->layers) {
        (void)snprintf(name, sizeof name, "%" PRIu32 " others", run->layers - shown);
        print_stall(out, name, &others, passes, total, hosted);
    }
    print_stall(out, "all MoE layers", &all, passes, total, hosted);
    outside.copy = explain_rest(total, all.copy);
    outside.hosted = explain_rest((double)run->total.share[SHARE_HOSTED], all.hosted);
    outside.host = explain_rest((double)run->total.share[SHARE_HOST], all.host);
    print_stall(out, "outside them", &outside, passes, total, hosted);
    free(rank);
}

/* ---- the link ---- */

static void print_link(const struct run_result *run, FILE *out)
{
    const struct run_counts *c = &run->total.counts;
    struct stall all = {0};

    for (uint32_t l = 0; l < run->layers; l++)
        add_stall(&all, run, l);
    (void)fputs("\n  The link\n", out);
    if (all.copies > 0 && run->counts_only)
        text_paragraph(out, "    ", "      ", "%s demand copies (%s).",
                       text_count(all.copies).text,
                       text_bytes((double)c->demand_bytes).text);
    else if (all.copies > 0)
        text_paragraph(
            out, "    ", "      ",
            "%s demand copies (%s), each %s on the link after waiting %s for it: "
            "the wait is %s of the transfer time.",
            text_count(all.copies).text, text_bytes((double)c->demand_bytes).text,
            text_time(1e-12 * all.transfer / all.copies).text,
            text_time(1e-12 * all.queue / all.copies).text,
            text_share(explain_share(all.queue, all.transfer)).text);
    else
        text_paragraph(out, "    ", "      ", "No demand copies.");
    if (c->loads + c->bypasses > 0)
        text_paragraph(
            out, "    ", "      ",
            "Swaps, loads on demand that evict an expert: %s (%s of the misses).",
            text_count((double)c->swaps).text,
            text_share(
                explain_share((double)c->swaps, (double)c->accesses - (double)c->hits))
                .text);
    if (c->prefetches > 0)
        text_paragraph(
            out, "    ", "      ",
            "%s prefetches (%s): %s used (%s precision), %s of those late, by %s "
            "on average; %s (%s) wasted.",
            text_count((double)c->prefetches).text,
            text_bytes((double)c->prefetch_bytes).text,
            text_count((double)c->prefetch_used).text,
            text_share(explain_share((double)c->prefetch_used, (double)c->prefetches))
                .text,
            text_count((double)c->late).text,
            text_time(1e-12 * explain_share(all.late_time, all.late)).text,
            text_bytes((double)c->wasted_bytes).text,
            text_share(explain_share((double)c->wasted_bytes, (double)c->prefetch_bytes))
                .text);
    else
        text_paragraph(out, "    ", "      ", "No prefetches.");
    if (c->out_bytes > 0)
        text_paragraph(out, "    ", "      ", "Written back to the host: %s.",
                       text_bytes((double)c->out_bytes).text);
    if (run_in_place(c) > 0)
        text_paragraph(
            out, "    ", "      ",
            "Ran %s instead: %s experts (%s of the accesses); its processors were busy "
            "with them %s of the run, and the GPU waited for them %s of it.",
            explain_place(c), text_count((double)run_in_place(c)).text,
            text_share(explain_share((double)run_in_place(c), (double)c->accesses)).text,
            text_share(result_busy_share(run, sim_time_seconds(run->host_busy))).text,
            text_share(
                result_busy_share(run, sim_time_seconds(run->total.share[SHARE_HOSTED])))
                .text);
    if (c->low_uses > 0)
        text_paragraph(
            out, "    ", "      ",
            "In fewer bits: %s of the loads, and %s of the accesses were served so; what "
            "the model computes is less exact there.",
            text_count((double)c->low_loads).text,
            text_share(explain_share((double)c->low_uses, (double)c->accesses)).text);
    if (run->counts_only)
        return;
    text_paragraph(
        out, "    ", "      ", "The link was busy %s of the run.",
        text_share(result_busy_share(run, sim_time_seconds(run->copy_busy))).text);
}

/* ---- regret ---- */

static void print_time_line(FILE *out, const char *name, double seconds, double passes,
                            double run)
{
    (void)fprintf(out, "    %-32s", name);
    text_right(out, 11, text_time(explain_share(seconds, passes)));
    text_right(out, 11, text_time(explain_share(run - seconds, passes)));
    text_right(out, 11, text_share(explain_share(run - seconds, run)));
    (void)fputc('\n', out);
}

static void print_regret(const struct result_policy *p, const struct explain_finding *f,
                         FILE *out)
{
    const struct run_counts *c = &p->run.total.counts;
    double hits = (double)c->hits, accesses = (double)c->accesses;
    double bound = (double)p->bounds.belady_hits, passes = (double)p->run.passes;
    double bytes = (double)c->demand_bytes + (double)c->prefetch_bytes;

    (void)fputs("\n  Regret against the bounds\n", out);
    if (!p->bounds.present) {
        text_paragraph(out, "    ", "      ", "This result has no bounds.");
        return;
    }
    text_paragraph(
        out, "    ", "      ",
        "Hits: %s of %s (%s); Belady %s (%s): %s points, %s hits %s.",
        text_count(hits).text, text_count(accesses).text,
        text_share(explain_share(hits, accesses)).text, text_count(bound).text,
        text_share(explain_share(bound, accesses)).text,
        text_number(100 * explain_share(fabs(bound - hits), accesses)).text,
        text_count(fabs(bound - hits)).text,
        bound >= hits ? "lost" : "more than without prefetching (loads under way count)");
    if (p->bounds.offline <= 0 && !p->run.counts_only) {
        text_paragraph(out, "    ", "      ", "There are no bounds on bytes and time.");
        return;
    }
    text_paragraph(out, "    ", "      ", "Bytes in: %s; least %s: %s times as many.",
                   text_bytes(bytes).text,
                   text_bytes((double)p->bounds.belady_bytes).text,
                   text_ratio(explain_share(bytes, (double)p->bounds.belady_bytes)).text);
    if (p->run.counts_only)
        return;
    if (!f->estimated)
        text_paragraph(
            out, "    ", "      ",
            "Belady's run that was simulated reached %s hits (%s).",
            text_count((double)p->bounds.belady_time_hits).text,
            text_share(explain_share((double)p->bounds.belady_time_hits, accesses)).text);
    (void)fprintf(out, "    %-32s %11s %11s %11s\n", "time", "per pass", "regret",
                  "of the run");
    print_time_line(out, "this run", f->total, passes, f->total);
    print_time_line(out,
                    f->estimated ? "Belady on demand (estimated)"
                                 : "Belady on demand (simulated)",
                    f->belady, passes, f->total);
    print_time_line(out, "perfect look-ahead (bound)", f->offline, passes, f->total);
    print_time_line(out, "every expert resident (bound)", f->compute_bound, passes,
                    f->total);
}

static void print_parts(const struct explain_finding *f, double passes, FILE *out)
{
    if (f->verdict == EXPLAIN_UNKNOWN)
        return;
    (void)fputs("\n  The time by what would avoid it\n", out);
    (void)fprintf(out, "    %-24s %11s %11s %9s\n", "", "total", "per pass", "share");
    explain_print_share(out, "policy", f->policy, passes, f->total);
    explain_print_share(out, "working set", f->working_set, passes, f->total);
    explain_print_share(out, "bandwidth", f->bandwidth, passes, f->total);
    explain_print_share(out, "launches and host", f->host, passes, f->total);
    explain_print_share(out, "computing", f->compute, passes, f->total);
}

/* ---- the whole ---- */

static void print_choices(const struct result_policy *p, FILE *out)
{
    char *text = mem_strdup("");

    for (int slot = 0; slot < POLICY_SLOTS; slot++) {
        char *joined;

        if (p->description[slot] == NULL || p->description[slot][0] == '\0' ||
            strcmp(p->description[slot], "none") == 0)
            continue;
        joined =
            mem_format("%s%s%s: %s", text, *text == '\0' ? "" : "; ",
                       policy_slot_name((enum policy_slot)slot), p->description[slot]);
        free(text);
        text = joined;
    }
    if (*text != '\0')
        text_paragraph(out, "  ", "    ", "%s", text);
    free(text);
}

/* The tables of a run on one GPU. */
static void print_one_gpu(const struct result *r, const struct result_policy *p,
                          const struct explain_finding *f, FILE *out)
{
    print_layers(r, &p->run, out);
    print_link(&p->run, out);
    explain_print_watch(r, &p->run, out);
    print_regret(p, f, out);
    print_parts(f, (double)p->run.passes, out);
}

/* ... and over several: what their caches did only where they missed something. */
static int print_several(const struct result *r, uint32_t i,
                         const struct explain_finding *f, FILE *out, struct err *e)
{
    const struct run_result *run = &r->policy[i].run;

    if (explain_parallel_print(r, i, f, out, e) != 0)
        return -1;
    if (run->total.counts.hits < run->total.counts.accesses) {
        print_layers(r, run, out);
        print_link(run, out);
        explain_print_watch(r, run, out);
    }
    return 0;
}

/* What the fullest GPU had in use, and the emptiest. */
static void print_memory(const struct result *r, const struct run_result *run, FILE *out)
{
    const struct run_memory *m = &run->total.memory;
    uint64_t most = run_memory_bytes(m), least = most;
    uint32_t fullest = 0, emptiest = 0;

    if (most == 0)
        return;
    (void)fputs("\n  GPU memory\n", out);
    text_paragraph(
        out, "    ", "      ",
        "In use at most: %s of %s; weights %s, KV cache %s, activations of an "
        "MoE layer %s, staging %s.",
        text_bytes((double)most).text, text_bytes((double)r->gpu_memory_bytes).text,
        text_bytes((double)m->weights).text, text_bytes((double)m->kv).text,
        text_bytes((double)m->activations).text, text_bytes((double)m->buffers).text);
    for (uint32_t i = 0; run->gpu_peak != NULL && i < run->gpus; i++) {
        if (run->gpu_peak[i] > run->gpu_peak[fullest])
            fullest = i;
        if (run->gpu_peak[i] < least) {
            least = run->gpu_peak[i];
            emptiest = i;
        }
    }
    if (least < most)
        text_paragraph(out, "    ", "      ",
                       "That is GPU %" PRIu32 "; the least is %s, on GPU %" PRIu32 ".",
                       fullest, text_bytes((double)least).text, emptiest);
}

/* Why it hits more than another and takes longer, where that is so. */
static void print_hits(const struct result *r, uint32_t i, FILE *out)
{
    const struct result_policy *rival = explain_hits_rival(r, i);
    char *text;

    if (rival == NULL)
        return;
    text = explain_hits_text("It", &r->policy[i], rival);
    text_paragraph(out, "  Hit rate is not latency: ", "    ", "%s", text);
    free(text);
}

static int explain_policy(const struct result *r, uint32_t i,
                          const struct explain_selects *selects, FILE *out, struct err *e)
{
    const struct result_policy *p = &r->policy[i];
    struct explain_finding f = explain_find(p);
    char *verdict, *help, *stopped = result_stopped_text(p);

    text_name(out, p->label, LABEL_COLUMNS);
    (void)fputc('\n', out);
    if (stopped != NULL)
        text_paragraph(out, "  ", "    ", "%s: all that follows covers only that part",
                       stopped);
    free(stopped);
    print_choices(p, out);
    if (!p->run.counts_only)
        print_shares(&p->run, out);
    if (!f.parallel)
        print_one_gpu(r, p, &f, out);
    else if (print_several(r, i, &f, out, e) != 0)
        return -1;
    explain_select_print(r, i, selects, out);
    print_memory(r, &p->run, out);
    verdict = explain_verdict_text(&f, r, i);
    help = explain_help_text(&f, r, i);
    (void)fputc('\n', out);
    text_paragraph(out, "  Verdict: ", "    ", "%s. %s", explain_verdict_name(f.verdict),
                   verdict);
    print_hits(r, i, out);
    if (*help != '\0')
        text_paragraph(out, "  What would help: ", "    ", "%s", help);
    (void)fputc('\n', out);
    free(verdict);
    free(help);
    return 0;
}

int result_explain(const struct result *r, FILE *out, struct err *e)
{
    char *machine = result_machine_text(r);
    struct explain_selects selects;
    int status = 0;

    text_paragraph(out, "", "  ", "%s on %s; trace %s", r->model == NULL ? "" : r->model,
                   machine, r->trace_path == NULL ? "" : r->trace_path);
    free(machine);
    (void)fputc('\n', out);
    explain_selects_find(r, &selects);
    for (uint32_t i = 0; i < r->policies && status == 0; i++)
        status = explain_policy(r, i, &selects, out, e);
    lossy_release(&selects.lossy);
    if (status != 0)
        return -1;
    text_paragraph(out, "", "  ", "%s", explain_thresholds(result_is_parallel(r)));
    if (ferror(out))
        return err_set(e, "the explanation cannot be written: %s", strerror(errno));
    return 0;
}

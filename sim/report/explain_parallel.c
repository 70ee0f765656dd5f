/* moesim explain: the tables of a run over several GPUs. */
#include "explain_state.h"

#include "sim/base/mem.h"
#include "sim/result/result_links.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { WORST_LAYERS = 8, PASS_BLOCK = 4096 };

static double share_of(double a, double b)
{
    return b > 0 ? a / b : NAN;
}

/* ---- what would save time ---- */

static void print_saving(FILE *out, const char *name, double seconds, double passes,
                         double run)
{
    (void)fprintf(out, "    %-32s", name);
    text_right(out, 11, text_time(share_of(run - seconds, passes)));
    text_right(out, 11, text_time(share_of(seconds, passes)));
    text_right(out, 11, text_share(share_of(seconds, run)));
    (void)fputc('\n', out);
}

static void print_savings(const struct explain_finding *f, double passes, FILE *out)
{
    (void)fputc('\n', out);
    if (!f->bounded) {
        text_paragraph(
            out, "  ", "    ",
            "What would save time: this result has no bounds; they need bounds: yes "
            "and passes that do not depend on time (closed loop or recorded).");
        return;
    }
    (void)fputs("  What would save time, at most (bounds; they overlap)\n", out);
    (void)fprintf(out, "    %-32s %11s %11s %11s\n", "", "per pass", "saved",
                  "of the run");
    print_saving(out, "this run", 0, passes, f->total);
    print_saving(out,
                 f->fetch > 0 ? "even rows, all experts resident"
                              : "rows spread evenly, no padding",
                 f->total - f->balanced, passes, f->total);
    print_saving(out, "a network that takes no time", f->total - f->free_network, passes,
                 f->total);
}

/* ---- layers ---- */

/* Sums in double, as the values may come from any file. Times in picoseconds. */
struct row {
    double wait, comm, host, busiest, computed, sent;
};

static void add_row(struct row *to, const struct run_result *run, uint32_t layer)
{
    const struct run_layer *y = &run->layer[layer];
    double timed = run->counts_only ? NAN : 1; /* what hangs on times is not known */

    to->wait += timed * (double)y->share[SHARE_IMBALANCE];
    to->comm += timed * (double)y->share[SHARE_COMM];
    to->host += timed * (double)y->share[SHARE_HOST];
    to->busiest += (double)y->counts.busiest_rows;
    to->computed += (double)y->counts.computed_rows;
    to->sent += (double)y->counts.sent_bytes;
}

static void print_row(FILE *out, const char *name, const struct row *s,
                      const struct run_result *run)
{
    double passes = (double)run->passes;

    (void)fprintf(out, "    %-15s", name);
    text_right(out, 9, text_ratio(share_of(s->busiest * run->gpus, s->computed)));
    text_right(out, 9, text_time(1e-12 * share_of(s->wait, passes)));
    text_right(out, 8,
               text_share(share_of(s->wait, (double)run->total.share[SHARE_IMBALANCE])));
    text_right(out, 9, text_time(1e-12 * share_of(s->comm, passes)));
    text_right(out, 8,
               text_share(share_of(s->comm, (double)run->total.share[SHARE_COMM])));
    text_right(out, 9, text_bytes(share_of(s->sent, passes)));
    text_right(out, 9, text_time(1e-12 * share_of(s->host, passes)));
    (void)fputc('\n', out);
}

struct ranked {
    double wait;
    uint32_t layer;
};

/* Most waiting first, then in order of layers. */
static int compare_ranked(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;

    if (x->wait != y->wait)
        return (x->wait < y->wait) - (x->wait > y->wait);
    return (x->layer > y->layer) - (x->layer < y->layer);
}

static void print_layer_head(uint32_t shown, uint32_t layers, FILE *out)
{
    (void)fputc('\n', out);
    if (shown < layers)
        text_paragraph(out, "  ", "    ",
                       "Imbalance and communication: the %" PRIu32
                       " MoE layers of %" PRIu32
                       " where GPUs waited most for others (per pass, means over the "
                       "GPUs)",
                       shown, layers);
    else
        text_paragraph(out, "  ", "    ",
                       "Imbalance and communication by MoE layer (per pass, means over "
                       "the GPUs)");
    (void)fprintf(out, "    %-15s %9s %9s %8s %9s %8s %9s %9s\n", "decoder layer",
                  "busiest", "wait for", "share", "exposed", "share", "between",
                  "launch");
    (void)fprintf(out, "    %-15s %9s %9s %8s %9s %8s %9s %9s\n", "", "over mean",
                  "others", "", "comm", "", "GPUs", "and host");
}

static void print_layers(const struct result *r, const struct run_result *run, FILE *out)
{
    uint32_t shown = run->layers <= WORST_LAYERS + 1 ? run->layers : WORST_LAYERS;
    struct ranked *rank = mem_alloc(run->layers, sizeof *rank);
    struct row all = {0}, others = {0}, outside = {0};
    char name[32];

    for (uint32_t l = 0; l < run->layers; l++) {
        rank[l] = (struct ranked){(double)run->layer[l].share[SHARE_IMBALANCE], l};
        add_row(&all, run, l);
    }
    if (run->layers > 1)
        qsort(rank, run->layers, sizeof *rank, compare_ranked);
    print_layer_head(shown, run->layers, out);
    for (uint32_t i = 0; i < run->layers; i++) {
        struct row one = {0};

        add_row(i < shown ? &one : &others, run, rank[i].layer);
        (void)snprintf(name, sizeof name, "%u", r->moe_layer[rank[i].layer]);
        if (i < shown)
            print_row(out, name, &one, run);
    }
    if (shown < run->layers) {
        (void)snprintf(name, sizeof name, "%" PRIu32 " others", run->layers - shown);
        print_row(out, name, &others, run);
    }
    print_row(out, "all MoE layers", &all, run);
    outside.wait = explain_rest((double)run->total.share[SHARE_IMBALANCE], all.wait);
    outside.comm = explain_rest((double)run->total.share[SHARE_COMM], all.comm);
    outside.host = explain_rest((double)run->total.share[SHARE_HOST], all.host);
    print_row(out, "outside them", &outside, run);
    free(rank);
}

/* ---- the GPUs ---- */

static void print_gpus(const struct result_policy *p, FILE *out)
{
    const struct run_result *run = &p->run;
    const struct run_counts *c = &run->total.counts;
    struct result_summary s = result_summarise(p);
    double mean = (double)c->computed_rows / run->gpus, least = INFINITY;
    uint32_t most_gpu, least_gpu = 0;
    double most = explain_fullest_gpu(run, &most_gpu);

    for (uint32_t i = 0; i < run->gpus; i++) {
        if ((double)run->gpu_rows[i] < least) {
            least = (double)run->gpu_rows[i];
            least_gpu = i;
        }
    }
    (void)fputs("\n  The GPUs\n", out);
    if (most > least / mean)
        text_paragraph(out, "    ", "      ",
                       "Rows that experts ran on: %s a GPU; most on GPU %" PRIu32
                       " (%s of the mean), least on GPU %" PRIu32
                       " (%s). Layer by layer and pass by pass the busiest has %s of the "
                       "mean.",
                       text_count(mean).text, most_gpu, text_ratio(most).text, least_gpu,
                       text_ratio(least / mean).text, text_ratio(s.imbalance).text);
    else
        text_paragraph(out, "    ", "      ",
                       "Rows that experts ran on: %s a GPU, on each as many.",
                       text_count(mean).text);
    if (run->shards > 1)
        text_paragraph(out, "    ", "      ",
                       "Every expert is cut into %" PRIu32
                       " slices, one on each GPU, so that every row runs on all.",
                       run->shards);
    if (c->expert_gemms > 0 && run->layers > 0)
        text_paragraph(out, "    ", "      ",
                       "A GPU launches products of experts %.1f times a layer and pass.",
                       (double)c->expert_gemms / (double)run->passes / run->layers /
                           run->gpus);
    if (s.padding > 0 || c->dropped > 0)
        text_paragraph(out, "    ", "      ",
                       "The gate padded them by %s and dropped %s choices (%s).",
                       text_share(s.padding).text, text_count((double)c->dropped).text,
                       text_share(s.drop_share).text);
}

/* ---- the network ---- */

static void print_ports(const struct result *r, const struct run_result *run, FILE *out)
{
    struct result_port port;
    uint32_t next = 0;

    (void)fputs("\n  The network\n", out);
    if (!result_links_busiest(r, run, &port)) {
        text_paragraph(out, "    ", "      ", "%s",
                       run->links == 0 && run->total.counts.sent_bytes > 0
                           ? "How much each port carried is not in this result."
                           : "Nothing was sent between GPUs.");
        return;
    }
    (void)fprintf(out, "    %-15s %6s %10s %10s   %-22s %10s %8s\n", "ports", "number",
                  "bytes", "mean", "busiest", "bytes", "busy");
    while (result_links_next(r, run, &next, &port)) {
        if (!(port.bytes > 0))
            continue;
        (void)fputs("    ", out);
        text_cell(out, port.kind, 15);
        (void)fprintf(out, " %6" PRIu32, port.count);
        text_right(out, 10, text_bytes(port.bytes));
        text_right(out, 10, text_bytes(port.bytes / port.count));
        (void)fputs("   ", out);
        text_cell(out, r->link[port.busiest].name, 22);
        text_right(out, 10, text_bytes(port.busiest_bytes));
        text_right(out, 8, text_share(result_busy_share(run, port.busiest_time)));
        (void)fputc('\n', out);
    }
    text_paragraph(out, "    ", "      ",
                   "Busy: the share of the run that its bytes take at the port's full "
                   "rate. Exposed communication takes %s of the time.",
                   text_share(share_of((double)run->total.share[SHARE_COMM],
                                       (double)run->total.latency))
                       .text);
}

/* ---- rebalancing ---- */

/* What the passes before and after the first migration were like. */
struct halves {
    double busiest[2], computed[2], latency[2], passes[2];
};

static int read_halves(const struct result *r, uint32_t policy, struct halves *h,
                       struct err *e)
{
    uint64_t passes = result_pass_count(r, policy);
    struct run_pass *block = mem_alloc(PASS_BLOCK, sizeof *block);
    int after = 0, status = 0;

    *h = (struct halves){.busiest = {0, 0}};
    for (uint64_t at = 0; at < passes && status == 0;) {
        uint64_t count = passes - at < PASS_BLOCK ? passes - at : PASS_BLOCK;

        status = result_read_passes(r, policy, at, count, block, e);
        for (uint64_t i = 0; i < count && status == 0; i++) {
            after = after || block[i].counts.migrations > 0;
            h->busiest[after] += (double)block[i].counts.busiest_rows;
            h->computed[after] += (double)block[i].counts.computed_rows;
            h->latency[after] += (double)block[i].latency * 1e-12;
            h->passes[after]++;
        }
        at += count;
    }
    free(block);
    return status;
}

static void print_halves(const struct halves *h, const struct run_result *run, FILE *out)
{
    double moving = sim_time_seconds(run->migration_time);

    text_paragraph(
        out, "    ", "      ",
        "Before the first migration (%s passes) the busiest GPU had %s of the mean rows, "
        "and a pass took %s; after it %s and %s, of which %s is for migrations.",
        text_count(h->passes[0]).text,
        text_ratio(share_of(h->busiest[0] * run->gpus, h->computed[0])).text,
        text_time(share_of(h->latency[0], h->passes[0])).text,
        text_ratio(share_of(h->busiest[1] * run->gpus, h->computed[1])).text,
        text_time(share_of(h->latency[1], h->passes[1])).text,
        text_time(share_of(moving, h->passes[1])).text);
}

static int print_migrations(const struct result *r, uint32_t policy, FILE *out,
                            struct err *e)
{
    const struct run_result *run = &r->policy[policy].run;
    const struct run_counts *c = &run->total.counts;
    double times = (double)c->migrations;
    struct halves h;

    if (c->migrations == 0)
        return 0;
    (void)fputs("\n  Rebalancing\n", out);
    if (run->counts_only) {
        text_paragraph(out, "    ", "      ", "%s migration%s of %s of experts in all.",
                       text_count(times).text, c->migrations == 1 ? "" : "s",
                       text_bytes((double)c->migrated_bytes).text);
        return 0;
    }
    text_paragraph(
        out, "    ", "      ",
        "%s migration%s of %s of experts (%s in all); the tokens waited %s "
        "for each, %s of the time.",
        text_count(times).text, c->migrations == 1 ? "" : "s",
        text_bytes((double)c->migrated_bytes / times).text,
        text_bytes((double)c->migrated_bytes).text,
        text_time(sim_time_seconds(run->migration_time) / times).text,
        text_share(share_of((double)run->migration_time, (double)run->total.latency))
            .text);
    if (result_pass_count(r, policy) == 0)
        return 0;
    if (read_halves(r, policy, &h, e) != 0)
        return -1;
    if (h.passes[0] > 0 && h.passes[1] > 0)
        print_halves(&h, run, out);
    return 0;
}

int explain_parallel_print(const struct result *r, uint32_t policy,
                           const struct explain_finding *f, FILE *out, struct err *e)
{
    const struct result_policy *p = &r->policy[policy];

    if (!p->run.counts_only)
        print_savings(f, (double)p->run.passes, out);
    print_layers(r, &p->run, out);
    print_gpus(p, out);
    print_ports(r, &p->run, out);
    return print_migrations(r, policy, out, e);
}

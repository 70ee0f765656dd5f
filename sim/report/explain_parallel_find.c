/* The verdict on a run over several GPUs, and its words. */
#include "explain_state.h"

#include "sim/base/mem.h"
#include "sim/result/result_links.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_UNMOVED = 3 };

/* ---- the numbers ---- */

static double at_least_0(double x)
{
    return x > 0 ? x : 0;
}

static enum explain_verdict judge(const struct explain_finding *f)
{
    double most = fmax(f->imbalance, fmax(f->network, f->fetch));

    if (!(f->total > 0))
        return EXPLAIN_UNKNOWN;
    if (f->host >= EXPLAIN_HOST * f->total && f->host > most)
        return EXPLAIN_HOST_BOUND;
    if (most < EXPLAIN_PART * f->total)
        return EXPLAIN_COMPUTE;
    if (f->imbalance == most)
        return EXPLAIN_IMBALANCE;
    return f->network == most ? EXPLAIN_NETWORK : EXPLAIN_FETCH;
}

struct explain_finding explain_parallel_find(const struct result_policy *p)
{
    const struct run_pass *total = &p->run.total;
    struct explain_finding f = {
        .parallel = true,
        .bounded =
            p->bounds.present && p->bounds.balanced > 0 && p->bounds.free_network > 0,
        .total = sim_time_seconds(total->latency),
        .host = sim_time_seconds(total->share[SHARE_HOST]),
        .fetch = sim_time_seconds(total->share[SHARE_COPY]),
        .imbalance = sim_time_seconds(total->share[SHARE_IMBALANCE]),
        .network = sim_time_seconds(total->share[SHARE_COMM]),
    };

    if (f.bounded) {
        f.balanced = sim_time_seconds(p->bounds.balanced);
        f.free_network = sim_time_seconds(p->bounds.free_network);
        f.imbalance = at_least_0(f.total - f.balanced);
        f.network = at_least_0(f.total - f.free_network);
    }
    if (f.fetch >= EXPLAIN_PART * f.total) {
        f.fetch = f.bounded ? f.imbalance : f.fetch + f.imbalance;
        f.imbalance = 0;
    }
    f.verdict = judge(&f);
    return f;
}

double explain_fullest_gpu(const struct run_result *run, uint32_t *gpu)
{
    double most = 0, sum = 0;

    *gpu = 0;
    for (uint32_t i = 0; i < run->gpus; i++) {
        double rows = (double)run->gpu_rows[i];

        if (rows > most) {
            most = rows;
            *gpu = i;
        }
        sum += rows;
    }
    return sum > 0 ? most * run->gpus / sum : NAN;
}

static bool same_text(const char *a, const char *b)
{
    return strcmp(a == NULL ? "" : a, b == NULL ? "" : b) == 0;
}

/* The size of a cache follows from the placement where every expert is resident. */
static bool same_but_place(const struct result_policy *a, const struct result_policy *b)
{
    const struct run_counts *x = &a->run.total.counts, *y = &b->run.total.counts;
    bool resident = x->hits == x->accesses && y->hits == y->accesses;

    for (int slot = 0; slot < POLICY_SLOTS; slot++)
        if (slot != SLOT_PLACE && (slot != SLOT_CACHE || !resident) &&
            !same_text(a->description[slot], b->description[slot]))
            return false;
    return a->run.passes == b->run.passes;
}

uint32_t explain_unmoved(const struct result *r, uint32_t policy, uint32_t *other,
                         uint32_t room)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < r->policies && n < room; i++)
        if (i != policy && r->policy[i].run.total.counts.migrations == 0 &&
            r->policy[i].run.shards <= 1 &&
            same_but_place(&r->policy[policy], &r->policy[i]))
            other[n++] = i;
    return n;
}

/* ---- the verdict in words ---- */

static bool says(const struct result_policy *p, enum policy_slot slot, const char *what)
{
    return p->description[slot] != NULL && strstr(p->description[slot], what) != NULL;
}

static void say_imbalance(char **text, const struct explain_finding *f,
                          const struct result_policy *p)
{
    struct result_summary s = result_summarise(p);
    uint32_t gpu;
    double fullest = explain_fullest_gpu(&p->run, &gpu);

    if (f->bounded)
        explain_add(text,
                    mem_format("With the rows spread evenly%s the passes would take "
                               "%s of the time.",
                               s.padding > EXPLAIN_PART ? " and nothing padded" : "",
                               explain_part(f->balanced, f->total).text));
    else
        explain_add(text, mem_format("GPUs wait for others %s of the time.",
                                     explain_part(f->imbalance, f->total).text));
    if (s.imbalance > 1)
        explain_add(text,
                    mem_format("Layer by layer the busiest GPU has %s times the mean "
                               "rows; over the whole run the fullest, GPU %" PRIu32
                               ", has %s times.",
                               text_ratio(s.imbalance).text, gpu,
                               text_ratio(fullest).text));
}

/* Whether the network's time is that of its bytes, rather than of its steps. */
static bool is_bytes(const struct explain_finding *f, const struct result_port *port)
{
    return port->busiest_time >= 0.5 * f->network;
}

static void say_network(char **text, const struct explain_finding *f,
                        const struct result *r, const struct result_policy *p)
{
    struct result_port port;

    explain_add(text,
                mem_format("Communication is exposed %s of the time.",
                           explain_part(sim_time_seconds(p->run.total.share[SHARE_COMM]),
                                        f->total)
                               .text));
    if (f->bounded)
        explain_add(text,
                    mem_format("Over a network that takes no time, which leaves its "
                               "launches and synchronisation, the passes would take %s "
                               "of the time.",
                               explain_part(f->free_network, f->total).text));
    if (!result_links_busiest(r, &p->run, &port))
        return;
    explain_add(
        text,
        mem_format("The busiest port, %s, carried %s, which take %s of the time "
                   "at its full rate: %s.",
                   r->link[port.busiest].name, text_bytes(port.busiest_bytes).text,
                   explain_part(port.busiest_time, f->total).text,
                   is_bytes(f, &port) ? "it is the bytes that take long"
                                      : "it is the steps that take long, not the bytes"));
}

static void say_fetch(char **text, const struct explain_finding *f,
                      const struct result_policy *p)
{
    const struct run_counts *c = &p->run.total.counts;
    double copy = sim_time_seconds(p->run.total.share[SHARE_COPY]);
    double wait = sim_time_seconds(p->run.total.share[SHARE_IMBALANCE]);

    if (f->bounded)
        explain_add(text,
                    mem_format("With every expert resident and even rows the passes "
                               "would take %s of the time.",
                               explain_part(f->balanced, f->total).text));
    explain_add(
        text,
        mem_format(
            "%s of the accesses miss the caches: GPUs wait %s of the time "
            "for experts, and %s for each other.",
            explain_part((double)c->accesses - (double)c->hits, (double)c->accesses).text,
            explain_part(copy, f->total).text, explain_part(wait, f->total).text));
}

static char *describe(const struct explain_finding *f, const struct result *r,
                      const struct result_policy *p)
{
    char *text = mem_strdup("");

    switch (f->verdict) {
    case EXPLAIN_IMBALANCE:
        say_imbalance(&text, f, p);
        break;
    case EXPLAIN_NETWORK:
        say_network(&text, f, r, p);
        break;
    case EXPLAIN_FETCH:
        say_fetch(&text, f, p);
        break;
    case EXPLAIN_HOST_BOUND:
        explain_add(&text, mem_format("Launches and host work take %s of the time.",
                                      explain_part(f->host, f->total).text));
        break;
    case EXPLAIN_COMPUTE:
        explain_add(&text, mem_format("Balance and network cost little: even rows would "
                                      "save %s of the time, a network that takes no time "
                                      "%s.",
                                      explain_part(f->imbalance, f->total).text,
                                      explain_part(f->network, f->total).text));
        break;
    case EXPLAIN_UNKNOWN:
    case EXPLAIN_POLICY:
    case EXPLAIN_WORKING_SET:
    case EXPLAIN_BANDWIDTH:
        explain_add(&text, mem_strdup("This result has no times."));
        break;
    }
    return text;
}

/* Whether moving experts paid: against policies of this result that never do. */
static void say_migrations(char **text, const struct result *r, uint32_t policy)
{
    const struct run_result *run = &r->policy[policy].run;
    const struct run_counts *c = &run->total.counts;
    double total = sim_time_seconds(run->total.latency), least = INFINITY;
    uint32_t other[MOST_UNMOVED];
    uint32_t n = explain_unmoved(r, policy, other, MOST_UNMOVED);
    char *list = mem_strdup("");

    explain_add(
        text,
        mem_format("Rebalancing moved %s of experts in %s migration%s; the tokens "
                   "waited for that %s of the time.",
                   text_bytes((double)c->migrated_bytes).text,
                   text_count((double)c->migrations).text, c->migrations == 1 ? "" : "s",
                   explain_part(sim_time_seconds(run->migration_time), total).text));
    for (uint32_t i = 0; i < n; i++) {
        const struct result_policy *p = &r->policy[other[i]];
        double time = sim_time_seconds(p->run.total.latency);
        char *longer =
            mem_format("%s%s%s takes %s", list, i == 0 ? "" : ", ",
                       p->label == NULL ? "" : p->label, explain_part(time, total).text);

        least = time < least ? time : least;
        free(list);
        list = longer;
    }
    if (n > 0)
        explain_add(text,
                    mem_format("Placed once instead, %s of its time: rebalancing %s "
                               "here.",
                               list, least > total ? "pays" : "does not pay"));
    free(list);
}

/* What else takes more than a little, in one sentence. */
static void say_others(char **text, const struct explain_finding *f)
{
    const struct {
        enum explain_verdict verdict;
        double seconds;
        const char *name;
    } other[] = {{EXPLAIN_IMBALANCE, f->imbalance, "even rows would save"},
                 {EXPLAIN_NETWORK, f->network, "a network that takes no time would save"},
                 {EXPLAIN_FETCH, f->fetch, "resident experts would save"},
                 {EXPLAIN_HOST_BOUND, f->host, "launches and host take"}};
    char *list = mem_strdup("");

    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        char *longer;

        if (other[i].verdict == f->verdict ||
            other[i].seconds < EXPLAIN_PART * f->total || !(f->total > 0))
            continue;
        longer = mem_format("%s%s%s %s", list, *list == '\0' ? "" : ", ", other[i].name,
                            explain_part(other[i].seconds, f->total).text);
        free(list);
        list = longer;
    }
    if (*list != '\0')
        explain_add(text, mem_format("Besides, %s of the time.", list));
    free(list);
}

char *explain_parallel_verdict(const struct explain_finding *f, const struct result *r,
                               uint32_t policy)
{
    const struct result_policy *p = &r->policy[policy];
    char *text = describe(f, r, p);

    say_others(&text, f);
    if (p->run.total.counts.migrations > 0)
        say_migrations(&text, r, policy);
    return text;
}

/* ---- what would help ---- */

/* Unevenness that stays on the same GPUs is the placement's; what is even over the run
 * but not layer by layer is chance, which only many rows even out. */
static void help_imbalance(char **text, const struct result_policy *p)
{
    struct result_summary s = result_summarise(p);
    uint32_t gpu;
    double lasting = explain_fullest_gpu(&p->run, &gpu) - 1;

    if (s.padding > EXPLAIN_PART)
        explain_add(text, mem_format("Experts run on %s more rows than were chosen: a "
                                     "smaller capacity, or gate: dropless.",
                                     text_share(s.padding).text));
    if (!(s.imbalance > 1 + EXPLAIN_PART))
        return;
    if (lasting >= 0.5 * (s.imbalance - 1))
        explain_add(
            text, mem_strdup("The same GPUs are overloaded throughout: place experts by "
                             "their loads (place: eplb or greedy), with replicas (more "
                             "slots than experts), or rebalance (interval)."));
    else
        explain_add(
            text,
            mem_format("No GPU is overloaded for long, so that no fixed placement "
                       "evens this out: larger batches do, replicas of busy "
                       "experts%s, or shards of every expert (place: moeshard).",
                       says(p, SLOT_PLACE, "eplb") ? " (more slots)" : " (place: eplb)"));
}

static void help_network(char **text, const struct explain_finding *f,
                         const struct result *r, const struct result_policy *p)
{
    struct result_port port;
    bool low = p->run.shards > 1 || says(p, SLOT_SCHEDULE, "exchange=low-latency");
    bool fp8 = p->run.shards > 1 || says(p, SLOT_SCHEDULE, "fp8_dispatch=yes");
    bool bytes = result_links_busiest(r, &p->run, &port) && is_bytes(f, &port);

    if (bytes)
        explain_add(text,
                    mem_format("Fewer bytes or faster ports: %sexperts placed so that "
                               "rows stay in their node, or a faster %s.",
                               fp8 ? "" : "schedule: fp8_dispatch, ", port.kind));
    else
        explain_add(text,
                    mem_format("Fewer and shorter steps: %sfewer GPUs, or larger batches "
                               "that use each step for more rows; faster ports would not "
                               "help.",
                               low ? "" : "schedule: exchange: low-latency, "));
}

static void help_verdict(char **text, const struct explain_finding *f,
                         const struct result *r, const struct result_policy *p)
{
    switch (f->verdict) {
    case EXPLAIN_IMBALANCE:
        help_imbalance(text, p);
        return;
    case EXPLAIN_NETWORK:
        help_network(text, f, r, p);
        return;
    case EXPLAIN_FETCH:
        explain_add(text, mem_strdup("More slots in the caches, or more GPUs to hold the "
                                     "experts."));
        return;
    case EXPLAIN_HOST_BOUND:
        explain_add(text,
                    mem_strdup("A captured graph: exchange: low-latency needs no counts "
                               "on the host; grouped instead of serial experts; larger "
                               "batches."));
        return;
    case EXPLAIN_COMPUTE:
        explain_add(text, mem_strdup("Faster GPUs, more of them, or larger batches."));
        return;
    case EXPLAIN_UNKNOWN:
    case EXPLAIN_POLICY:
    case EXPLAIN_WORKING_SET:
    case EXPLAIN_BANDWIDTH:
        return;
    }
}

char *explain_parallel_help(const struct explain_finding *f, const struct result *r,
                            uint32_t policy)
{
    const struct result_policy *p = &r->policy[policy];
    const struct result_policy *better = explain_better_policy(r, policy);
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
    return text;
}

#include "trace_info_details.h"

#include "sim/base/json.h"
#include "sim/base/plain.h"

#include <inttypes.h>
#include <stdio.h>

enum { GROUPS_SHOWN = 8 };
#define ALL_GROUPS UINT32_MAX

/* Of one phase, of a group or of all. */
static struct trace_gate gate_of(const struct trace_details *d, unsigned phase,
                                 uint32_t group)
{
    const struct trace_gate *of = d->gate + (size_t)phase * d->groups;
    struct trace_gate sum = {0};

    if (group != ALL_GROUPS)
        return of[group];
    for (uint32_t g = 0; g < d->groups; g++, of++) {
        sum.cells += of->cells;
        sum.margins += of->margins;
        sum.margin += of->margin;
        sum.rest += of->rest;
        sum.outside += of->outside;
    }
    return sum;
}

static double ratio(double sum, uint64_t count)
{
    return sum / (double)count;
}

/* The phase that batches of groups are of; NULL: all rows. */
static const char *counted_phase(const struct trace_details *d)
{
    return trace_statistics_counted(d->phases) == 1u << TRACE_DECODE
               ? trace_phase_name(TRACE_DECODE)
               : NULL;
}

/* Whether batches ended before their rows did, or with them. */
static bool is_capped(const struct trace_details *d, const struct drop_sums *sums,
                      uint32_t batch, uint32_t group)
{
    return sums->steps * batch >=
           (group == ALL_GROUPS ? DETAILS_PHASE_ROWS : details_group_rows(d->groups));
}

/* ---- for people ---- */

static void print_subject(const struct trace_info *i, const char *phase, uint32_t group)
{
    (void)printf("  %s", phase == NULL ? "all phases" : phase);
    if (group != ALL_GROUPS) {
        (void)printf(", ");
        plain_print(stdout, i->group_names[group]);
    }
}

static void print_more_groups(const struct trace_details *d)
{
    if (d->groups > GROUPS_SHOWN)
        (void)printf("             %u more groups: --json\n", d->groups - GROUPS_SHOWN);
}

/* By "all" and then by group, if there are several. */
static uint32_t groups_shown(const struct trace_details *d)
{
    return d->groups == 1 ? 0 : d->groups < GROUPS_SHOWN ? d->groups : GROUPS_SHOWN;
}

static void print_gate(const struct trace_info *i, const struct trace_details *d,
                       unsigned phase, uint32_t group)
{
    struct trace_gate gate = gate_of(d, phase, group);

    if (gate.cells == 0)
        return;
    if (gate.margins > 0)
        (void)printf("             %6.3f", ratio(gate.margin, gate.margins));
    else
        (void)printf("                  -");
    (void)printf("  %5.3f", ratio(gate.rest, gate.cells));
    if (d->all_scores)
        (void)printf("    %5.3f", ratio(gate.outside, gate.cells));
    print_subject(i, trace_phase_name(phase), group);
    (void)printf("\n");
}

static void print_gates(const struct trace_info *i, const struct trace_details *d)
{
    (void)printf("  gates      margin: best %s score less the second; rest: share of the "
                 "executed gate mass\n             that is not the best expert's",
                 trace_score_kind_name(i->score_kind));
    if (d->all_scores)
        (void)printf("; outside: share of all gate mass that was not executed");
    (void)printf("\n             margin   rest%s\n", d->all_scores ? "  outside" : "");
    for (unsigned p = 0; p < TRACE_PHASES; p++) {
        print_gate(i, d, p, ALL_GROUPS);
        for (uint32_t g = 0; g < groups_shown(d); g++)
            print_gate(i, d, p, g);
    }
    print_more_groups(d);
}

static void print_drop(const struct trace_info *i, const struct trace_details *d,
                       const struct drop_sums *sums, const char *phase, uint32_t group)
{
    for (unsigned b = 0; b < DETAILS_BATCHES; b++) {
        double all = (double)sums[b].steps * i->layers;

        if (sums[b].steps == 0)
            continue;
        (void)printf("             %4u  %8.1f", details_batch[b],
                     (double)sums[b].distinct / all);
        for (int x = 0; x < DROP_LOSSES; x++)
            (void)printf("  %5.1f", (double)sums[b].dropped[x] / all);
        print_subject(i, phase, group);
        if (is_capped(d, &sums[b], details_batch[b], group))
            (void)printf(", first %" PRIu64 " rows", sums[b].steps * details_batch[b]);
        (void)printf("\n");
    }
}

/* Rows one by one are no batch, so that groups which have nothing else are left out. */
static void print_group_drops(const struct trace_info *i, const struct trace_details *d)
{
    uint32_t left_out = 0;

    for (uint32_t g = 0; g < groups_shown(d); g++) {
        const struct drop_sums *sums = d->group_drops + (size_t)g * DETAILS_BATCHES;

        if (sums[1].steps > 0)
            print_drop(i, d, sums, counted_phase(d), g);
        else
            left_out += sums[0].steps > 0;
    }
    if (left_out > 0)
        (void)printf("             %u of the groups make no batch of %u: --json\n",
                     left_out, details_batch[1]);
    print_more_groups(d);
}

static void print_drops(const struct trace_info *i, const struct trace_details *d)
{
    (void)printf(
        "  drops      distinct experts of a layer in a batch of rows of different "
        "requests, and how many\n             of them it could drop at a loss of "
        "%u, %u, %u %% of its gate mass\n             rows  distinct",
        drop_percent[0], drop_percent[1], drop_percent[2]);
    for (int x = 0; x < DROP_LOSSES; x++)
        (void)printf("  %3u %%", drop_percent[x]);
    (void)printf("\n");
    for (unsigned p = 0; p < TRACE_PHASES; p++)
        print_drop(i, d, d->phase_drops + p * DETAILS_BATCHES, trace_phase_name(p),
                   ALL_GROUPS);
    print_group_drops(i, d);
}

static void print_reuse(const struct trace_info *i, const struct trace_details *d)
{
    uint64_t count[REUSE_BINS_MOST] = {0}, all = 0;

    for (uint32_t l = 0; l < i->layers; l++)
        for (uint32_t b = 0; b < d->reuse_bins; b++) {
            count[b] += d->reuse[(size_t)l * d->reuse_bins + b];
            all += d->reuse[(size_t)l * d->reuse_bins + b];
        }
    (void)printf(
        "  reuse      least slots of a layer that LRU hits an access with, row by "
        "row: first use %.1f %%\n            ",
        all == 0 ? 0.0 : 100.0 * (double)count[0] / (double)all);
    for (uint32_t b = 1; b < d->reuse_bins; b++) {
        uint32_t from = b == 1 ? 1 : (UINT32_C(1) << (b - 2)) + 1;
        uint32_t to = UINT32_C(1) << (b - 1);

        to = to < i->experts ? to : i->experts;
        (void)printf(from == to ? " %u" : " %u-%u", from, to);
        (void)printf(": %.1f %% ",
                     all == 0 ? 0.0 : 100.0 * (double)count[b] / (double)all);
    }
    (void)printf("\n");
}

static void print_drift(const struct trace_details *d, bool counts_only)
{
    const struct trace_drift *r = &d->drift;
    const char *what = counts_only ? "passes" : "rows";

    if (r->neighbours < 0)
        return; /* a single row or pass */
    (void)printf(
        "  drift      between neighbours of %u equal windows of %s the shares of a "
        "layer's experts differ\n             by %.3f (total variation)",
        r->windows, what, r->neighbours);
    if (r->first_to_last >= 0)
        (void)printf(", from the first to the last by %.3f", r->first_to_last);
    (void)printf(";\n             by chance: ");
    if (r->in_turn >= 0)
        (void)printf("%.3f between windows that take %s in turn, ", r->in_turn,
                     counts_only ? "passes" : "requests");
    (void)printf("%.3f if %s were independent\n", r->neighbours_independent,
                 counts_only ? "tokens" : what);
}

void trace_info_details(const struct trace *t, const struct trace_details *d)
{
    const struct trace_info *i = trace_get_info(t);

    if (i->counts_only)
        (void)printf("  passes     %.1f tokens each, from %.1f to %.1f\n", d->tokens.mean,
                     d->tokens.least, d->tokens.most);
    else
        print_reuse(i, d);
    print_drift(d, i->counts_only);
    if (d->scores) {
        print_gates(i, d);
        print_drops(i, d);
    } else {
        (void)printf("  gates      margins, gate mass and drops need scores, which the "
                     "trace does not have\n");
    }
}

/* ---- as JSON ---- */

/* `separator` in front of all but the first, which sets it. */
static void begin_item(const char **separator)
{
    (void)printf("%s", *separator);
    *separator = ",\n    ";
}

static void subject_json(const struct trace_info *i, const char *phase, uint32_t group)
{
    (void)printf("{\"phase\": ");
    if (phase == NULL)
        (void)printf("null");
    else
        json_string(stdout, phase);
    (void)printf(", \"group\": ");
    if (group == ALL_GROUPS)
        (void)printf("null");
    else
        json_string(stdout, i->group_names[group]);
}

/* A mean; null where nothing was counted. */
static void mean_json(const char *key, double sum, uint64_t count)
{
    if (count == 0)
        (void)printf(", \"%s\": null", key);
    else
        (void)printf(", \"%s\": %.6f", key, ratio(sum, count));
}

static void gate_json(const struct trace_info *i, const struct trace_details *d,
                      unsigned phase, uint32_t group, const char **separator)
{
    struct trace_gate gate = gate_of(d, phase, group);

    if (gate.cells == 0)
        return;
    begin_item(separator);
    subject_json(i, trace_phase_name(phase), group);
    (void)printf(", \"cells\": %" PRIu64, gate.cells);
    mean_json("margin", gate.margin, gate.margins);
    mean_json("rest", gate.rest, gate.cells);
    mean_json("outside", gate.outside, d->all_scores ? gate.cells : 0);
    (void)printf("}");
}

static void gates_json(const struct trace_info *i, const struct trace_details *d)
{
    const char *separator = "\n    ";

    (void)printf("  \"gates\": [");
    for (unsigned p = 0; p < TRACE_PHASES; p++) {
        gate_json(i, d, p, ALL_GROUPS, &separator);
        for (uint32_t g = 0; g < d->groups && d->groups > 1; g++)
            gate_json(i, d, p, g, &separator);
    }
    (void)printf("],\n");
}

static void drop_json(const struct trace_info *i, const struct trace_details *d,
                      const struct drop_sums *sums, const char *phase, uint32_t group,
                      const char **separator)
{
    for (unsigned b = 0; b < DETAILS_BATCHES; b++) {
        uint64_t all = sums[b].steps * i->layers;
        char key[8];

        if (all == 0)
            continue;
        begin_item(separator);
        subject_json(i, phase, group);
        (void)printf(", \"rows\": %u, \"batches\": %" PRIu64 ", \"capped\": %s",
                     details_batch[b], sums[b].steps,
                     is_capped(d, &sums[b], details_batch[b], group) ? "true" : "false");
        mean_json("distinct", (double)sums[b].distinct, all);
        (void)printf(", \"dropped\": {");
        for (int x = 0; x < DROP_LOSSES; x++) {
            (void)snprintf(key, sizeof key, "%u", drop_percent[x]);
            (void)printf("%s\"%s\": %.6f", x > 0 ? ", " : "", key,
                         ratio((double)sums[b].dropped[x], all));
        }
        (void)printf("}}");
    }
}

static void drops_json(const struct trace_info *i, const struct trace_details *d)
{
    const char *separator = "\n    ";

    (void)printf("  \"drops\": [");
    for (unsigned p = 0; p < TRACE_PHASES; p++)
        drop_json(i, d, d->phase_drops + p * DETAILS_BATCHES, trace_phase_name(p),
                  ALL_GROUPS, &separator);
    for (uint32_t g = 0; g < d->groups && d->group_drops != NULL; g++)
        drop_json(i, d, d->group_drops + (size_t)g * DETAILS_BATCHES, counted_phase(d), g,
                  &separator);
    (void)printf("],\n");
}

static void reuse_json(const struct trace_info *i, const struct trace_details *d)
{
    (void)printf("  \"reuse\": {\"to\": [0");
    for (uint32_t b = 1; b < d->reuse_bins; b++)
        (void)printf(", %u", UINT32_C(1) << (b - 1));
    (void)printf("], \"accesses\": [");
    for (uint32_t l = 0; l < i->layers; l++) {
        (void)printf("%s\n    [", l > 0 ? "," : "");
        for (uint32_t b = 0; b < d->reuse_bins; b++)
            (void)printf("%s%" PRIu64, b > 0 ? ", " : "",
                         d->reuse[(size_t)l * d->reuse_bins + b]);
        (void)printf("]");
    }
    (void)printf("]},\n");
}

/* -1 is null. */
static void distance_json(const char *key, double distance)
{
    mean_json(key, distance, distance >= 0);
}

static void drift_json(const struct trace_drift *r)
{
    (void)printf("  \"drift\": {\"windows\": %u", r->windows);
    distance_json("neighbours", r->neighbours);
    distance_json("neighbours_independent", r->neighbours_independent);
    (void)printf(",\n    \"windows_in_turn\": ");
    if (r->in_turn >= 0)
        (void)printf("%.6f", r->in_turn);
    else
        (void)printf("null");
    distance_json("first_to_last", r->first_to_last);
    distance_json("first_to_last_independent", r->first_to_last_independent);
    (void)printf("},\n");
}

void trace_info_details_json(const struct trace *t, const struct trace_details *d)
{
    const struct trace_info *i = trace_get_info(t);

    if (i->counts_only)
        (void)printf("  \"reuse\": null,\n");
    else
        reuse_json(i, d);
    drift_json(&d->drift);
    (void)printf("  \"score_kind\": \"%s\",\n", trace_score_kind_name(i->score_kind));
    if (d->scores) {
        gates_json(i, d);
        drops_json(i, d);
    } else {
        (void)printf("  \"gates\": null,\n  \"drops\": null,\n");
    }
    if (i->counts_only)
        (void)printf("  \"tokens_per_pass\": "
                     "{\"mean\": %.6f, \"least\": %.6f, \"most\": %.6f}\n",
                     d->tokens.mean, d->tokens.least, d->tokens.most);
    else
        (void)printf("  \"tokens_per_pass\": null\n");
}

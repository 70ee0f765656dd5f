#include "agreement_print.h"

#include "sim/base/mem.h"
#include "sim/base/json.h"
#include "sim/base/text.h"
#include "sim/exec/timeline.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { LABEL_COLUMNS = 24, WORST_LAYERS = 3 };

/* Of a sum over the passes that count. */
static double mean_pass(double sum_s, const struct agreement *a)
{
    return sum_s / (double)(a->emulated ? a->passes - a->warmup : a->of_pass.count);
}

/* Whether there is any time to compare with. */
static bool is_measured(const struct agreement_report *r)
{
    return agreement_over_all(r->policy, r->policies, OP_KINDS).count > 0;
}

double agreement_report_tau(const struct agreement_report *r, size_t *pairs)
{
    double *predicted = mem_alloc(r->policies, sizeof *predicted);
    double *measured = mem_alloc(r->policies, sizeof *measured);
    double tau;

    for (size_t i = 0; i < r->policies; i++) {
        const struct agreement_error *x = &r->policy[i].of_pass;

        predicted[i] = mean_pass(x->predicted_s, &r->policy[i]);
        measured[i] = mean_pass(x->measured_s, &r->policy[i]);
    }
    tau = agreement_tau(predicted, measured, r->policies, AGREEMENT_APART, pairs);
    free(predicted);
    free(measured);
    return tau;
}

/* ---- for people ---- */

static void print_head(const struct agreement_report *r, FILE *out)
{
    const struct agreement *a = r->policy;

    text_paragraph(
        out, "", "  ",
        "%s predicted by machine %s and executed on %s (%s, %s%s%s, %s); trace "
        "%s; seed %" PRIu64 "; %" PRIu64 " passes after %" PRIu64
        " of warm-up, median of %" PRIu32 " repeats; %s.",
        r->model, r->machine, r->device, r->device_name, r->driver,
        *r->clocks == '\0' ? "" : ", ", r->clocks, r->element, r->trace, r->seed,
        a->passes - a->warmup, a->warmup, r->repeats, r->version);
    if (*r->notes != '\0')
        text_paragraph(out, "note: ", "      ", "%s", r->notes);
}

static void print_counts(const struct agreement_report *r, FILE *out)
{
    const struct agreement_counts *c = &r->counts;

    (void)fputc('\n', out);
    text_paragraph(
        out, "", "  ",
        "Counts agree, layer by layer, in each executed run of %s: %s accesses, %s hits, "
        "%s loads, %s bypasses, %s on the host, %s near the data, %s prefetches; %s in, "
        "%s out.",
        r->policies == 1 ? "the policy" : "all policies",
        text_count((double)c->accesses).text, text_count((double)c->hits).text,
        text_count((double)c->loads).text, text_count((double)c->bypasses).text,
        text_count((double)c->host_runs).text, text_count((double)c->near_runs).text,
        text_count((double)c->prefetches).text, text_bytes((double)c->in_bytes).text,
        text_bytes((double)c->out_bytes).text);
}

static void print_error(const struct agreement_error *x, double per, FILE *out)
{
    text_right(out, 9, text_time(x->predicted_s / per));
    text_right(out, 9, text_time(x->measured_s / per));
    text_right(out, 8, text_share(x->predicted_s / x->measured_s - 1.0));
    text_right(out, 8, text_share(x->median));
    text_right(out, 8, text_share(x->worst));
}

static void print_policies(const struct agreement_report *r, FILE *out)
{
    struct agreement_error all = agreement_over_all(r->policy, r->policies, OP_KINDS);

    (void)fputc('\n', out);
    text_cell(out, "", LABEL_COLUMNS);
    (void)fprintf(out, " %19s %8s %17s %16s\n", "mean pass", "error", "absolute error",
                  "repeats");
    text_cell(out, "policy", LABEL_COLUMNS);
    (void)fprintf(out, " %9s %9s %8s %8s %8s %7s %8s\n", "predicted", "measured",
                  "of sum", "median", "worst", "pass", "spread");
    for (size_t i = 0; i < r->policies; i++) {
        const struct agreement *a = &r->policy[i];

        text_cell(out, a->label, LABEL_COLUMNS);
        if (a->emulated) {
            text_right(out, 9, text_time(mean_pass(a->of_pass.predicted_s, a)));
            (void)fputs("  emulated\n", out);
            continue;
        }
        print_error(&a->of_pass, (double)a->of_pass.count, out);
        (void)fprintf(out, " %7" PRIu64, a->warmup + a->of_pass.worst_at);
        text_right(out, 8, text_share(a->spread));
        (void)fputc('\n', out);
    }
    if (all.count == 0)
        return;
    text_cell(out, "all", LABEL_COLUMNS);
    print_error(&all, (double)all.count, out);
    (void)fputc('\n', out);
}

static void print_speed(const struct agreement_report *r, FILE *out)
{
    const struct speed *s = r->speed;
    struct agreement_error all = agreement_over_all(r->policy, r->policies, OP_KINDS);

    if (all.count == 0)
        return;
    (void)fputc('\n', out);
    text_paragraph(
        out, "", "  ",
        "The machine ran %sx as fast as its machine file says, %s..%sx over the run "
        "(GEMM %sx, copies %sx); were all times as much shorter, the error of the sum "
        "would be left at %s.",
        text_ratio(s->whole).text, text_ratio(s->least).text, text_ratio(s->most).text,
        text_ratio(s->gemm).text, text_ratio(s->copy).text,
        text_share(all.predicted_s / s->whole / all.measured_s - 1.0).text);
}

static void print_order(const struct agreement_report *r, FILE *out)
{
    size_t pairs, all = r->policies * (r->policies - 1) / 2;
    double tau = agreement_report_tau(r, &pairs);

    (void)fputc('\n', out);
    if (pairs == 0)
        text_paragraph(out, "", "  ",
                       "Order of the policies: no pair of them differs by more than "
                       "%.0f %% in measured time.",
                       AGREEMENT_APART * 100.0);
    else
        text_paragraph(out, "", "  ",
                       "Order of the policies: Kendall tau-b %.3g, over the %zu of %zu "
                       "pairs whose measured times differ by more than %.0f %%.",
                       tau, pairs, all, AGREEMENT_APART * 100.0);
}

static void print_kinds(const struct agreement_report *r, FILE *out)
{
    if (!is_measured(r))
        return;
    (void)fputc('\n', out);
    text_cell(out, "operation, all policies", LABEL_COLUMNS);
    (void)fprintf(out, " %9s %9s %8s %8s %8s %7s\n", "predicted", "measured", "of sum",
                  "median", "worst", "count");
    for (int k = 0; k < OP_KINDS; k++) {
        struct agreement_error x =
            agreement_over_all(r->policy, r->policies, (enum op_kind)k);

        if (x.count == 0)
            continue;
        text_cell(out, op_kind_name((enum op_kind)k), LABEL_COLUMNS);
        print_error(&x, 1.0, out);
        (void)fprintf(out, " %7zu\n", x.count);
    }
}

/* The layer whose difference in seconds is the n-th largest; of equal ones the first
 * comes first. */
static uint32_t nth_layer(const struct agreement *a, uint32_t n)
{
    double bound = INFINITY;
    uint32_t at = 0;

    for (uint32_t i = 0; i <= n; i++) {
        double most = -1.0;
        uint32_t next = at;

        for (uint32_t l = 0; l < a->decoder_layers; l++) {
            double d = fabs(a->layer_predicted_s[l] - a->layer_measured_s[l]);

            if (d > most && (d < bound || (d == bound && l > at))) {
                most = d;
                next = l;
            }
        }
        bound = most;
        at = next;
    }
    return at;
}

static void print_layers(const struct agreement *a, FILE *out)
{
    uint32_t count = a->decoder_layers < WORST_LAYERS ? a->decoder_layers : WORST_LAYERS;

    text_cell(out, a->label, LABEL_COLUMNS);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t l = nth_layer(a, i);

        (void)fprintf(
            out, "%s layer %" PRIu32 " (%s)", i == 0 ? "" : ",", l,
            text_share(a->layer_predicted_s[l] / a->layer_measured_s[l] - 1.0).text);
    }
    (void)fputc('\n', out);
}

static void print_causes(const struct agreement_report *r, FILE *out)
{
    if (!is_measured(r))
        return;
    (void)fputs("\nLayers with the largest differences (error of their dense blocks, "
                "gates, experts and copies)\n",
                out);
    for (size_t i = 0; i < r->policies; i++)
        if (!r->policy[i].emulated)
            print_layers(&r->policy[i], out);
    (void)fputs("\nWhere the error comes from\n", out);
    for (size_t i = 0; i < r->policies; i++) {
        const struct agreement *a = &r->policy[i];
        double total = 0.0, most;
        enum run_share share = agreement_largest_share(a, &most);

        if (a->emulated)
            continue;
        for (int s = 0; s < RUN_SHARES; s++)
            total += a->measured_share_s[s] - a->predicted_share_s[s];
        text_cell(out, a->label, LABEL_COLUMNS);
        (void)fprintf(out, " %s a pass %s than predicted; %s is",
                      text_time(fabs(total)).text, total < 0.0 ? "shorter" : "longer",
                      run_share_name(share));
        (void)fprintf(out, " %s %s\n", text_time(fabs(most)).text,
                      most < 0.0 ? "shorter" : "longer");
    }
}

void agreement_print(const struct agreement_report *r, FILE *out)
{
    print_head(r, out);
    print_counts(r, out);
    print_policies(r, out);
    print_speed(r, out);
    print_order(r, out);
    print_kinds(r, out);
    print_causes(r, out);
}

/* ---- for scripts ---- */

static void print_string(const char *name, const char *text, FILE *out)
{
    (void)fprintf(out, "  \"%s\": ", name);
    json_string(out, text);
    (void)fputs(",\n", out);
}

static void print_number(const char *before, const char *name, double x, FILE *out)
{
    (void)fprintf(out, "%s\"%s\": ", before, name);
    json_number(out, x);
}

static void print_json_error(const struct agreement_error *x, FILE *out)
{
    (void)fprintf(out, "{\"count\": %zu", x->count);
    print_number(", ", "predicted_s", x->predicted_s, out);
    print_number(", ", "measured_s", x->measured_s, out);
    print_number(", ", "median_abs_error", x->median, out);
    print_number(", ", "worst_abs_error", x->worst, out);
    (void)fputc('}', out);
}

static void print_json_kinds(const struct agreement *a, size_t policies, FILE *out)
{
    const char *before = "";

    (void)fputs("\"operations\": {", out);
    for (int k = 0; k < OP_KINDS; k++) {
        struct agreement_error x = agreement_over_all(a, policies, (enum op_kind)k);

        if (x.count == 0)
            continue;
        (void)fprintf(out, "%s\"%s\": ", before, op_kind_name((enum op_kind)k));
        print_json_error(&x, out);
        before = ", ";
    }
    (void)fputs("}", out);
}

static void print_json_probe(const struct speed_probe *p, FILE *out)
{
    print_number("{", "gemm_s", p->gemm_s, out);
    print_number(", ", "copy_s", p->copy_s, out);
    (void)fputc('}', out);
}

static void print_json_speed(const struct speed *s, FILE *out)
{
    print_number("\"speed\": {", "ratio", s->whole, out);
    print_number(", ", "least", s->least, out);
    print_number(", ", "most", s->most, out);
    print_number(", ", "gemm", s->gemm, out);
    print_number(", ", "copy", s->copy, out);
    (void)fputs(",\n    \"predicted\": ", out);
    print_json_probe(&s->predicted, out);
    (void)fputs(",\n    \"probes\": [", out);
    for (size_t i = 0; i < s->probes; i++) {
        (void)fputs(i == 0 ? "" : ", ", out);
        print_json_probe(&s->probe[i], out);
    }
    (void)fputs("]}", out);
}

static void print_json_policy(const struct agreement *a, FILE *out)
{
    (void)fputs("    {\"policy\": ", out);
    json_string(out, a->label);
    (void)fprintf(out, ", \"emulated\": %s, \"pass\": ", a->emulated ? "true" : "false");
    print_json_error(&a->of_pass, out);
    print_number(", ", "repeats_spread", a->spread, out);
    (void)fputs(",\n     ", out);
    print_json_kinds(a, 1, out);
    (void)fputs(",\n     \"shares\": {", out);
    for (int s = 0; s < RUN_SHARES; s++) {
        (void)fprintf(out, "%s\"%s\": {", s == 0 ? "" : ", ",
                      run_share_name((enum run_share)s));
        print_number("", "predicted_s", a->predicted_share_s[s], out);
        print_number(", ", "measured_s", a->measured_share_s[s], out);
        (void)fputc('}', out);
    }
    (void)fputs("},\n     \"layers\": [", out);
    for (uint32_t l = 0; l < a->decoder_layers; l++) {
        print_number(l == 0 ? "{" : ", {", "predicted_s", a->layer_predicted_s[l], out);
        print_number(", ", "measured_s", a->layer_measured_s[l], out);
        (void)fputc('}', out);
    }
    (void)fputs("]}", out);
}

static void print_json_counts(const struct agreement_counts *c, FILE *out)
{
    (void)fprintf(out,
                  "  \"counts_agree\": {\"accesses\": %" PRIu64 ", \"hits\": %" PRIu64
                  ", \"loads\": %" PRIu64 ", \"bypasses\": %" PRIu64
                  ", \"host_runs\": %" PRIu64 ", \"near_runs\": %" PRIu64
                  ", \"prefetches\": %" PRIu64 ", \"in_bytes\": %" PRIu64
                  ", \"out_bytes\": %" PRIu64 "},\n",
                  c->accesses, c->hits, c->loads, c->bypasses, c->host_runs, c->near_runs,
                  c->prefetches, c->in_bytes, c->out_bytes);
}

void agreement_print_json(const struct agreement_report *r, FILE *out)
{
    struct agreement_error all = agreement_over_all(r->policy, r->policies, OP_KINDS);
    size_t pairs;
    double tau = agreement_report_tau(r, &pairs);

    (void)fputs("{\n", out);
    print_string("version", r->version, out);
    print_string("date", r->date, out);
    print_string("device", r->device, out);
    print_string("device_name", r->device_name, out);
    print_string("driver", r->driver, out);
    print_string("clocks", r->clocks, out);
    print_string("element", r->element, out);
    print_string("machine", r->machine, out);
    print_string("model", r->model, out);
    print_string("trace", r->trace, out);
    print_string("notes", r->notes, out);
    (void)fprintf(out,
                  "  \"seed\": %" PRIu64 ", \"passes\": %" PRIu64 ", \"warmup\": %" PRIu64
                  ", \"repeats\": %" PRIu32 ",\n",
                  r->seed, r->policy->passes - r->policy->warmup, r->policy->warmup,
                  r->repeats);
    print_json_counts(&r->counts, out);
    print_number("  ", "tau_b", tau, out);
    (void)fprintf(out, ", \"tau_pairs\": %zu,\n  \"pass\": ", pairs);
    print_json_error(&all, out);
    (void)fputs(",\n  ", out);
    print_json_kinds(r->policy, r->policies, out);
    (void)fputs(",\n  ", out);
    print_json_speed(r->speed, out);
    (void)fputs(",\n  \"policies\": [\n", out);
    for (size_t i = 0; i < r->policies; i++) {
        print_json_policy(&r->policy[i], out);
        (void)fputs(i + 1 < r->policies ? ",\n" : "\n", out);
    }
    (void)fputs("  ]\n}\n", out);
}

static void print_cell(double x, FILE *out)
{
    (void)fputc(',', out);
    csv_number(out, x);
}

void agreement_print_passes(const struct agreement_report *r, FILE *out)
{
    (void)fputs("policy,pass,warmup,rows,outputs,predicted_s,measured_s,least_s,most_s\n",
                out);
    for (size_t i = 0; i < r->policies; i++) {
        const struct agreement *a = &r->policy[i];

        for (uint64_t p = 0; p < a->passes; p++) {
            const struct agreement_pass *x = &a->pass[p];

            csv_string(out, a->label);
            (void)fprintf(out, ",%" PRIu64 ",%d,%" PRIu64 ",%" PRIu64, p, p < a->warmup,
                          x->rows, x->outputs);
            print_cell(x->predicted_s, out);
            print_cell(x->measured_s, out);
            print_cell(x->least_s, out);
            print_cell(x->most_s, out);
            (void)fputc('\n', out);
        }
    }
}

static void print_row(const struct agreement *a, const struct agreement_row *x, FILE *out)
{
    csv_string(out, a->label);
    (void)fprintf(out, ",%" PRIu64 ",", x->pass);
    if (x->layer < a->decoder_layers)
        (void)fprintf(out, "%" PRIu32, x->layer);
    (void)fprintf(out, ",%s,%s,", op_kind_name(x->kind), op_lane_name(x->lane));
    if (x->kind == OP_COPY_IN || x->kind == OP_COPY_OUT)
        (void)fprintf(out, "%" PRIu32, x->expert);
    if (x->number == AGREEMENT_ALL)
        (void)fputs(",all", out);
    else
        (void)fprintf(out, ",%" PRIu32, x->number);
    print_cell(x->predicted_s, out);
    print_cell(x->measured_s, out);
    (void)fputc('\n', out);
}

void agreement_print_operations(const struct agreement_report *r, FILE *out)
{
    (void)fputs("policy,pass,layer,kind,lane,expert,number,predicted_s,measured_s\n",
                out);
    for (size_t i = 0; i < r->policies; i++)
        for (size_t k = 0; k < r->policy[i].rows; k++)
            print_row(&r->policy[i], &r->policy[i].row[k], out);
}

/* ---- the timeline ---- */

/* The operations of passes [first, first + passes): those of the ids between the heads
 * that end the pass before and the last one. */
static void draw_side(struct timeline *t, int process, const struct agreement_ops *ops,
                      uint64_t first, uint64_t passes)
{
    op_id from = 0, to = UINT64_MAX;
    uint64_t heads = 0;
    sim_time zero = SIM_TIME_MAX;

    for (size_t i = 0; i < ops->count; i++) {
        if (ops->op[i].kind != OP_HEAD)
            continue;
        heads++;
        if (heads == first)
            from = ops->op[i].id;
        if (heads == first + passes)
            to = ops->op[i].id;
    }
    for (int drawing = 0; drawing < 2; drawing++) {
        for (size_t i = 0; i < ops->count; i++) {
            const struct agreement_op *op = &ops->op[i];
            struct op_times times = op->times;

            if (op->id <= from || op->id > to)
                continue;
            if (drawing == 0) {
                zero = times.start < zero ? times.start : zero;
                continue;
            }
            times.issued = times.issued > zero ? times.issued - zero : 0;
            times.start -= zero;
            times.end -= zero;
            timeline_op(t, process, op->kind, op->lane, op->layer, op->expert, &times);
        }
    }
}

int agreement_draw(const char *path, const struct agreement_drawing *d, size_t policies,
                   uint64_t first, uint64_t passes, struct err *e)
{
    static const char *const side[] = {"predicted", "measured"};
    struct timeline *t = timeline_new(path, e);

    if (t == NULL)
        return -1;
    for (size_t i = 0; i < policies; i++) {
        for (int s = 0; s < 2 && d[i].side[s] != NULL; s++) {
            char *label = mem_format("%s, %s", d[i].label, side[s]);

            draw_side(t, timeline_add_process(t, label), d[i].side[s], first, passes);
            free(label);
        }
    }
    return timeline_commit(t, e);
}

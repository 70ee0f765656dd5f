/* Results for scripts: JSON with everything but requests and passes (those are in the
 * result file), CSV with one line per policy. Times in seconds, sizes in bytes. */
#include "print.h"
#include "print_options.h"
#include "sim/result/result_fields.h"
#include "sim/result/result_figures.h"

#include "sim/base/mem.h"
#include "sim/base/json.h"
#include "sim/result/result_links.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The name in these formats, where times are in seconds: "latency_ps" is "latency_s". */
static void print_name(const struct result_field *f, FILE *out)
{
    int length = (int)strlen(f->name);

    if (f->kind == RESULT_TIME)
        (void)fprintf(out, "%.*ss", length - 2, f->name);
    else
        (void)fputs(f->name, out);
}

/* Digests do not fit a double, so they are text. Without times they are no numbers. */
static void print_value(const struct result_field *f, const void *record, bool timed,
                        void (*number)(FILE *, double), FILE *out)
{
    const char *at = (const char *)record + f->offset;
    int64_t time;
    uint64_t large = 0;
    uint32_t middle;
    uint16_t small;

    switch (f->kind) {
    case RESULT_TIME:
        memcpy(&time, at, sizeof time);
        number(out, timed ? (double)time / 1e12 : NAN); /* correctly rounded */
        return;
    case RESULT_FLAG:
        (void)fputs(*(const bool *)(const void *)at ? "true" : "false", out);
        return;
    case RESULT_BYTES:
    case RESULT_RATE:
    case RESULT_U64:
    case RESULT_TIMED:
        memcpy(&large, at, sizeof large);
        if (large == RESULT_NONE || (f->kind == RESULT_TIMED && !timed)) {
            number(out, NAN);
            return;
        }
        break;
    case RESULT_U32:
        memcpy(&middle, at, sizeof middle);
        large = middle;
        break;
    case RESULT_U16:
        memcpy(&small, at, sizeof small);
        large = small;
        break;
    }
    (void)fprintf(out, strcmp(f->name, "digest") == 0 ? "\"%016" PRIx64 "\"" : "%" PRIu64,
                  large);
}

/* Owned. */
static char *status_text(const struct result_policy *p)
{
    char *stopped = result_stopped_text(p);

    return stopped == NULL ? mem_strdup("complete") : stopped;
}

/* ---- JSON ---- */

static void json_fields(const struct result_field *table, const void *record, bool timed,
                        const char *indent, FILE *out)
{
    for (; table->name != NULL; table++) {
        (void)fprintf(out, ",\n%s\"", indent);
        print_name(table, out);
        (void)fputs("\": ", out);
        print_value(table, record, timed, json_number, out);
    }
}

static void json_text(const char *name, const char *text, FILE *out)
{
    (void)fprintf(out, ",\n  \"%s\": ", name);
    json_string(out, text);
}

static void json_layers(const struct result *r, const struct result_policy *p, FILE *out)
{
    (void)fputs(",\n      \"layers\": [", out);
    for (uint32_t l = 0; l < p->run.layers; l++) {
        (void)fprintf(out, "%s\n        {\"moe_layer\": %u", l == 0 ? "" : ",",
                      r->moe_layer[l]);
        json_fields(result_layer_fields, &p->run.layer[l], !p->run.counts_only,
                    "         ", out);
        (void)fputc('}', out);
    }
    (void)fputc(']', out);
}

/* Of each distance and layer. */
static void json_watch(const struct result *r, const struct run_result *run, FILE *out)
{
    (void)fputs(",\n      \"watch\": [", out);
    for (uint32_t i = 0; i < run->watched; i++) {
        const struct run_watched *y = &run->watch[i];

        (void)fprintf(out, "%s\n        {\"moe_layer\": %u", i == 0 ? "" : ",",
                      r->moe_layer[y->layer]);
        json_fields(result_watch_fields, y, !run->counts_only, "         ", out);
        (void)fputc('}', out);
    }
    (void)fputc(']', out);
}

/* What only several GPUs have. */
static void json_parallel(const struct result *r, const struct run_result *run, FILE *out)
{
    struct result_port port;
    uint32_t next = 0;
    bool any = false;

    (void)fputs(",\n      \"gpu_rows\": [", out);
    for (uint32_t i = 0; i < run->gpus; i++)
        (void)fprintf(out, "%s%" PRIu64, i == 0 ? "" : ", ", run->gpu_rows[i]);
    (void)fputs("],\n      \"gpu_peak_bytes\": [", out);
    for (uint32_t i = 0; i < run->gpus; i++)
        (void)fprintf(out, "%s%" PRIu64, i == 0 ? "" : ", ", run->gpu_peak[i]);
    (void)fputs("],\n      \"ports\": [", out);
    for (; result_links_next(r, run, &next, &port); any = true) {
        (void)fprintf(out, "%s\n        {\"kind\": ", any ? "," : "");
        json_string(out, port.kind);
        (void)fprintf(out, ", \"links\": %" PRIu32 ", \"bytes\": ", port.count);
        json_number(out, port.bytes);
        (void)fputs(", \"busiest\": ", out);
        json_string(out, r->link[port.busiest].name);
        (void)fputs(", \"busiest_bytes\": ", out);
        json_number(out, port.busiest_bytes);
        (void)fprintf(out, ", \"bytes_per_s\": %" PRIu64 "}",
                      r->link[port.busiest].bytes_per_s);
    }
    (void)fputc(']', out);
}

static void json_policy(const struct result *r, const struct result_policy *p, FILE *out)
{
    double figure[RESULT_FIGURES];
    char *status = status_text(p);

    (void)fputs("{\n      \"label\": ", out);
    json_string(out, p->label);
    (void)fputs(",\n      \"variant\": ", out);
    json_string(out, p->variant);
    (void)fputs(",\n      \"status\": ", out);
    json_string(out, status);
    free(status);
    (void)fputs(",\n      \"plugins\": {", out);
    for (int slot = 0; slot < POLICY_SLOTS; slot++) {
        (void)fprintf(out, "%s\"%s\": ", slot == 0 ? "" : ", ",
                      policy_slot_name((enum policy_slot)slot));
        json_string(out, p->description[slot]);
    }
    (void)fputs("},\n      \"summary\": {", out);
    result_figures(r, p, figure);
    for (size_t i = 0; i < RESULT_FIGURES; i++) {
        (void)fprintf(out, "%s\"%s\": ", i == 0 ? "" : ", ", result_figure[i].name);
        json_number(out, figure[i]);
    }
    (void)fputc('}', out);
    json_fields(result_policy_fields, p, !p->run.counts_only, "      ", out);
    if (p->run.gpus > 0)
        json_parallel(r, &p->run, out);
    json_layers(r, p, out);
    if (p->run.watched > 0)
        json_watch(r, &p->run, out);
    (void)fputs("\n    }", out);
}

static void json_pairs(const struct result *r, FILE *out)
{
    size_t pairs = result_pair_count(r);
    struct result_comparison *c = mem_alloc(pairs, sizeof *c);

    result_compare(r, c);
    (void)fputs(",\n  \"comparisons\": [", out);
    for (size_t i = 0; i < pairs; i++) {
        (void)fprintf(out,
                      "%s\n    {\"a\": %" PRIu32 ", \"b\": %" PRIu32
                      ", \"pairs\": %" PRIu64 ", \"ratio_b_to_a\": ",
                      i == 0 ? "" : ",", c[i].a, c[i].b, c[i].pairs);
        json_number(out, c[i].ratio);
        (void)fputs(", \"low\": ", out);
        json_number(out, c[i].low);
        (void)fputs(", \"high\": ", out);
        json_number(out, c[i].high);
        (void)fprintf(out, ", \"significant\": %s}", c[i].significant ? "true" : "false");
    }
    (void)fputc(']', out);
    free(c);
}

void result_print_json(const struct result *r, FILE *out)
{
    (void)fprintf(out, "{\n  \"format\": \"%s\",\n  \"version\": %d", RESULT_FORMAT,
                  RESULT_VERSION);
    json_text("moesim", r->version, out);
    json_text("trace_path", r->trace_path, out);
    json_text("trace_source", r->trace_source, out);
    json_text("model", r->model, out);
    json_text("machine", r->machine, out);
    json_text("machine_source", r->machine_source, out);
    json_text("watch", r->watch, out);
    json_text("config", r->config, out);
    json_text("notes", r->notes, out);
    json_fields(result_head_fields, r, true, "  ", out);
    (void)fputs(",\n  \"group_names\": [", out);
    for (uint32_t i = 0; i < r->groups; i++) {
        (void)fputs(i == 0 ? "" : ", ", out);
        json_string(out, r->group_names[i]);
    }
    (void)fputs("],\n  \"policy\": [", out);
    for (uint32_t i = 0; i < r->policies; i++) {
        (void)fputs(i == 0 ? "\n    " : ",\n    ", out);
        json_policy(r, &r->policy[i], out);
    }
    (void)fputc(']', out);
    json_pairs(r, out);
    (void)fputs("\n}\n", out);
}

/* ---- CSV ---- */

size_t result_print_csv_head(FILE *out)
{
    size_t columns = 7 + POLICY_SLOTS + RESULT_FIGURES + 1;

    (void)fputs("label,status,variant,model,machine,trace_path,seed", out);
    for (int slot = 0; slot < POLICY_SLOTS; slot++)
        (void)fprintf(out, ",%s", policy_slot_name((enum policy_slot)slot));
    for (size_t i = 0; i < RESULT_FIGURES; i++)
        (void)fprintf(out, ",%s", result_figure[i].name);
    (void)fputs(",busiest_port", out);
    for (const struct result_field *f = result_policy_fields; f->name != NULL; f++) {
        (void)fputc(',', out);
        print_name(f, out);
        columns++;
    }
    return columns + print_option_heads(out);
}

void result_print_csv_row(const struct result *r, const struct result_policy *p,
                          FILE *out)
{
    double figure[RESULT_FIGURES];
    struct result_port port;
    char *status = status_text(p);
    const char *const head[] = {p->label, status,     p->variant,
                                r->model, r->machine, r->trace_path};

    for (size_t i = 0; i < sizeof head / sizeof *head; i++) {
        csv_string(out, head[i]);
        (void)fputc(',', out);
    }
    free(status);
    (void)fprintf(out, "%" PRIu64, r->seed);
    for (int slot = 0; slot < POLICY_SLOTS; slot++) {
        (void)fputc(',', out);
        csv_string(out, p->description[slot]);
    }
    result_figures(r, p, figure);
    for (size_t i = 0; i < RESULT_FIGURES; i++) {
        (void)fputc(',', out);
        csv_number(out, figure[i]);
    }
    (void)fputc(',', out);
    if (result_links_busiest(r, &p->run, &port))
        csv_string(out, r->link[port.busiest].name);
    for (const struct result_field *f = result_policy_fields; f->name != NULL; f++) {
        (void)fputc(',', out);
        print_value(f, p, !p->run.counts_only, csv_number, out);
    }
    print_option_values(p, out);
}

void result_print_csv(const struct result *r, FILE *out)
{
    (void)result_print_csv_head(out);
    (void)fputc('\n', out);
    for (uint32_t i = 0; i < r->policies; i++) {
        result_print_csv_row(r, &r->policy[i], out);
        (void)fputc('\n', out);
    }
}

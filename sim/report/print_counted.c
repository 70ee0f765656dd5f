#include "print_counted.h"

#include "sim/base/json.h"
#include "sim/base/mem.h"
#include "sim/base/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- figures ---- */

enum figure {
    PASSES,
    TOKENS,
    IMBALANCE,
    IMBALANCE_MEAN,
    IMBALANCE_P99,
    IMBALANCE_MOST,
    REPLICAS,
    REBALANCES,
    MOVED,
    MOVED_BYTES,
    EXPERT_SECONDS,
    FIGURES
};

static const char *const names[FIGURES] = {
    "passes",        "activations",    "imbalance",       "imbalance_mean",
    "imbalance_p99", "imbalance_most", "replicas",        "rebalances",
    "moved_experts", "moved_bytes",    "expert_compute_s"};

static double figure_of(const struct counted *c, const struct counted_policy *p,
                        enum figure which)
{
    const struct run_counts *n = &p->run.total.counts;

    switch (which) {
    case PASSES:
        return (double)p->run.passes;
    case TOKENS:
        return (double)n->activations;
    case IMBALANCE:
        return n->computed_rows == 0
                   ? NAN
                   : (double)n->busiest_rows * c->gpus / (double)n->computed_rows;
    case IMBALANCE_MEAN:
        return p->imbalance_mean;
    case IMBALANCE_P99:
        return p->imbalance_p99;
    case IMBALANCE_MOST:
        return p->imbalance_most;
    case REPLICAS:
        return (double)p->replicas;
    case REBALANCES:
        return (double)n->migrations;
    case MOVED:
        return (double)p->moved;
    case MOVED_BYTES:
        return (double)n->migrated_bytes;
    case EXPERT_SECONDS:
    case FIGURES:
        break;
    }
    return sim_time_seconds(p->expert_time);
}

/* Owned. */
static char *status_of(const struct counted *c, const struct counted_policy *p)
{
    if (p->run.finished)
        return mem_strdup("complete");
    return mem_format("stopped after %" PRIu64 " of %" PRIu64 " passes", p->run.passes,
                      c->passes);
}

/* ---- the table ---- */

static const struct text_column columns[] = {
    {{"imbal-", "ance"}, 6},   {{"mean of", "steps"}, 7}, {{"p99 of", "steps"}, 7},
    {{"most of", "steps"}, 7}, {{"", "replicas"}, 8},     {{"rebal-", "ances"}, 6},
    {{"experts", "moved"}, 8}, {{"bytes", "moved"}, 8},   {{"experts'", "time"}, 8},
};
enum { COLUMNS = sizeof columns / sizeof *columns, LABEL_COLUMNS = 17 };

static void fill_row(const struct counted *c, const struct counted_policy *p,
                     struct text_figure *row)
{
    *row++ = text_ratio(figure_of(c, p, IMBALANCE));
    *row++ = text_ratio(p->imbalance_mean);
    *row++ = text_ratio(p->imbalance_p99);
    *row++ = text_ratio(p->imbalance_most);
    *row++ = text_number((double)p->replicas);
    *row++ = text_number(figure_of(c, p, REBALANCES));
    *row++ = text_number((double)p->moved);
    *row++ = text_bytes(figure_of(c, p, MOVED_BYTES));
    *row = text_time(figure_of(c, p, EXPERT_SECONDS));
}

static void print_notes(const struct counted *c, FILE *out)
{
    for (const char *line = c->notes; *line != '\0';) {
        const size_t length = strcspn(line, "\n");

        text_paragraph(out, "\nnote: ", "  ", "%.*s", (int)length, line);
        line += length + (line[length] == '\n');
    }
}

void counted_print(const struct counted *c, FILE *out)
{
    const char **label = mem_alloc(c->policies, sizeof *label);
    char **sentence = mem_zalloc(c->policies, sizeof *sentence);
    struct text_figure *figure = mem_alloc((size_t)c->policies * COLUMNS, sizeof *figure);
    struct text_table t = {.column = columns,
                           .columns = COLUMNS,
                           .rows = c->policies,
                           .label_columns = LABEL_COLUMNS,
                           .label = label,
                           .figure = figure,
                           .sentence = sentence};

    for (uint32_t i = 0; i < c->policies; i++) {
        label[i] = c->policy[i].label;
        fill_row(c, &c->policy[i], figure + (size_t)i * COLUMNS);
        if (!c->policy[i].run.finished)
            sentence[i] = status_of(c, &c->policy[i]);
    }
    text_paragraph(out, "", "  ",
                   "%s by counts: %" PRIu64 " passes of %u MoE layers, on %u GPUs of %s, "
                   "%u node%s; trace %s",
                   c->model, c->passes, c->layers, c->gpus, c->machine, c->nodes,
                   c->nodes == 1 ? "" : "s", c->trace_path);
    (void)fputc('\n', out);
    text_print_table(out, &t);
    (void)fputc('\n', out);
    text_paragraph(
        out, "", "  ",
        "Imbalance: tokens of the busiest GPU of each step (a layer of a pass) "
        "over the mean GPU's, all tokens together, and the mean, p99 and most "
        "of the steps; 1 is even. Replicas: slots beyond each expert's first, in "
        "all layers, at the end. Experts' time: of the GPU that computes "
        "longest in each step, as modelled, all steps together. Counts tell "
        "nothing of latency, caches and what GPUs send each other.");
    print_notes(c, out);
    for (uint32_t i = 0; i < c->policies; i++)
        free(sentence[i]);
    free(sentence);
    free(figure);
    free(label);
}

/* ---- JSON and CSV ---- */

static void json_policy(const struct counted *c, const struct counted_policy *p,
                        FILE *out)
{
    char *status = status_of(c, p);

    (void)fputs("\n    {\"label\": ", out);
    json_string(out, p->label);
    (void)fputs(", \"status\": ", out);
    json_string(out, status);
    (void)fputs(", \"place\": ", out);
    json_string(out, p->place);
    for (int i = 0; i < FIGURES; i++) {
        (void)fprintf(out, ",\n     \"%s\": ", names[i]);
        json_number(out, figure_of(c, p, (enum figure)i));
    }
    (void)fputs(",\n     \"gpu_tokens\": [", out);
    for (uint32_t g = 0; g < c->gpus; g++)
        (void)fprintf(out, "%s%" PRIu64, g == 0 ? "" : ", ", p->run.gpu_rows[g]);
    (void)fputs("]}", out);
    free(status);
}

void counted_print_json(const struct counted *c, FILE *out)
{
    (void)fputs("{\"format\": \"moesim-counted\", \"version\": 1,\n  \"moesim\": ", out);
    json_string(out, "moesim " MOESIM_VERSION);
    (void)fputs(", \"trace_path\": ", out);
    json_string(out, c->trace_path);
    (void)fputs(",\n  \"model\": ", out);
    json_string(out, c->model);
    (void)fputs(", \"machine\": ", out);
    json_string(out, c->machine);
    (void)fprintf(out,
                  ", \"layers\": %u, \"experts\": %u, \"gpus\": %u, \"nodes\": %u, "
                  "\"passes\": %" PRIu64 ",\n  \"notes\": ",
                  c->layers, c->experts, c->gpus, c->nodes, c->passes);
    json_string(out, c->notes);
    (void)fputs(",\n  \"policies\": [", out);
    for (uint32_t i = 0; i < c->policies; i++) {
        if (i > 0)
            (void)fputc(',', out);
        json_policy(c, &c->policy[i], out);
    }
    (void)fputs("\n  ]}\n", out);
}

void counted_print_csv(const struct counted *c, FILE *out)
{
    (void)fputs("label,status,model,machine,trace_path,gpus,nodes,place", out);
    for (int i = 0; i < FIGURES; i++)
        (void)fprintf(out, ",%s", names[i]);
    (void)fputc('\n', out);
    for (uint32_t i = 0; i < c->policies; i++) {
        const struct counted_policy *p = &c->policy[i];
        char *status = status_of(c, p);
        const char *const text[] = {p->label, status, c->model, c->machine,
                                    c->trace_path};

        for (size_t k = 0; k < sizeof text / sizeof *text; k++) {
            csv_string(out, text[k]);
            (void)fputc(',', out);
        }
        (void)fprintf(out, "%u,%u,", c->gpus, c->nodes);
        csv_string(out, p->place);
        for (int k = 0; k < FIGURES; k++) {
            (void)fputc(',', out);
            csv_number(out, figure_of(c, p, (enum figure)k));
        }
        (void)fputc('\n', out);
        free(status);
    }
}

#include "cmd.h"
#include "sim/base/plain.h"
#include "sim/base/json.h"
#include "trace_info_details.h"
#include "traces/details.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static void print_plain(const char *before, const char *text)
{
    (void)fputs(before, stdout);
    plain_print(stdout, text);
}

static void print_shape(const struct trace *t)
{
    const struct trace_info *i = trace_get_info(t);

    print_plain("", trace_path(t));
    print_plain("\n  model      ", i->model);
    (void)printf(": %u MoE layers, %u experts, top-%u", i->layers, i->experts, i->top_k);
    if (i->candidates != i->top_k)
        (void)printf(", %u candidates recorded", i->candidates);
    print_plain("\n  source     ", i->source);
    print_plain("\n  capture    ", i->capture);
    (void)printf("\n  rows       %" PRIu64 " tokens in %" PRIu64 " requests", i->rows,
                 i->requests);
    if (i->passes > 0)
        (void)printf(", %" PRIu64 " recorded passes", i->passes);
    (void)printf("\n  has       ");
    for (unsigned bit = 1; bit <= TRACE_HAS_BYTES; bit <<= 1) {
        if ((trace_fields(t) & bit) != 0)
            (void)printf(" %s", trace_field_name((enum trace_field)bit));
    }
    (void)printf("\n");
}

static void print_skew(const struct trace_statistics *s)
{
    (void)printf(
        "  skew       top-1 expert share %.3f (uniform %.3f), entropy %.2f of %.2f "
        "bits, Gini %.2f\n",
        s->top1_share, 1.0 / s->experts, s->entropy_bits, log2(s->experts), s->gini);
}

void trace_print_statistics(const struct trace_statistics *s)
{
    print_skew(s);
    (void)printf("  locality   adjacent-token overlap %.3f (%.3f if independent)\n",
                 s->adjacent_overlap, s->independent_overlap);
    if (s->next_layer_predictability >= 0) /* there is a next layer */
        (void)printf("  next layer %.3f of its experts are among the %u best guesses "
                     "from this layer's\n",
                     s->next_layer_predictability, s->top_k);
    (void)printf("  distinct experts per layer for concurrent tokens of different "
                 "requests\n            ");
    for (int i = 0; i < TRACE_UNION_SIZES; i++) {
        if (s->union_size[i] > 0)
            (void)printf(" %d: %.1f ", 1 << i, s->union_size[i]);
    }
    (void)printf("\n");
}

static void print_text_json(const char *key, const char *text)
{
    (void)printf("  \"%s\": ", key);
    json_string(stdout, text);
    (void)printf(",\n");
}

/* Whether no expert was recorded at all, so that there are no shares. */
static bool has_nothing(const struct trace_statistics *s)
{
    return s->top1_share == 0;
}

static void print_skew_json(const struct trace_statistics *s)
{
    if (has_nothing(s))
        (void)printf("  \"top1_share\": null, \"entropy_bits\": null, \"gini\": null,\n");
    else
        (void)printf("  \"top1_share\": %.6f, \"entropy_bits\": %.6f, \"gini\": %.6f,\n",
                     s->top1_share, s->entropy_bits, s->gini);
}

/* Keys that need rows are null where a trace has counts alone, or nothing. */
static void print_rows_json(const struct trace_statistics *s, bool counts_only)
{
    if (counts_only || has_nothing(s)) {
        (void)printf("  \"adjacent_overlap\": null, \"independent_overlap\": null,\n"
                     "  \"next_layer_predictability\": null,\n  \"union_size\": null");
        return;
    }
    (void)printf("  \"adjacent_overlap\": %.6f, \"independent_overlap\": %.6f,\n"
                 "  \"next_layer_predictability\": %.6f,\n  \"union_size\": {",
                 s->adjacent_overlap, s->independent_overlap,
                 s->next_layer_predictability);
    for (int u = 0; u < TRACE_UNION_SIZES && s->union_size[u] > 0; u++)
        (void)printf("%s\"%d\": %.6f", u > 0 ? ", " : "", 1 << u, s->union_size[u]);
    (void)printf("}");
}

static void print_info_json(const struct trace *t, const struct trace_statistics *s,
                            const struct trace_details *d)
{
    const struct trace_info *i = trace_get_info(t);

    (void)printf("{\n");
    print_text_json("model", i->model);
    print_text_json("source", i->source);
    print_text_json("capture", i->capture);
    (void)printf(
        "  \"layers\": %u, \"experts\": %u, \"top_k\": %u, \"candidates\": %u,\n",
        i->layers, i->experts, i->top_k, i->candidates);
    (void)printf("  \"rows\": %" PRIu64 ", \"requests\": %" PRIu64
                 ", \"passes\": %" PRIu64 ",\n",
                 i->rows, i->requests, i->passes);
    print_skew_json(s);
    print_rows_json(s, i->counts_only);
    (void)printf(",\n");
    trace_info_details_json(t, d);
    (void)printf("}\n");
}

static void print_info(const struct trace *t, const struct trace_statistics *s,
                       const struct trace_details *d)
{
    print_shape(t);
    if (has_nothing(s)) {
        (void)printf(
            "  routing    no cell of it was recorded; record again with the capture "
            "of routing switched on\n");
        return;
    }
    if (trace_get_info(t)->counts_only)
        print_skew(s);
    else
        trace_print_statistics(s);
    trace_info_details(t, d);
}

static void show_progress(void *context, uint64_t done, uint64_t total)
{
    progress_show(context, done, total);
}

/* Checks and measures it, which may take minutes. */
static int look_at(struct trace *t, bool quiet, struct trace_statistics *s,
                   struct trace_details *d, struct err *e)
{
    struct progress_line *line = quiet ? NULL : progress_new("reading");
    const struct trace_statistics_watch watch = {show_progress, line};
    int status = trace_check_others(t, e);

    if (status == 0)
        status = trace_details_measure(t, line == NULL ? NULL : &watch, s, d, e);
    progress_free(line);
    return status;
}

int cmd_trace_info(int argc, char **argv)
{
    /* Holds the blocks of 64 requests at the chunks of at most 1 MiB that are usual. */
    const struct trace_options options = {.cache_bytes = (size_t)128 << 20};
    bool json = false, quiet = false;
    struct flag table[] = {
        {"--json", 0, FLAG_SWITCH, &json, NULL, "print JSON"},
        {"--quiet", 'q', FLAG_SWITCH, &quiet, NULL, "no progress line"},
        {.name = NULL},
    };
    const struct command command = {
        "moesim trace info TRACE [--json] [--quiet]",
        "Prints what a trace holds and how its routing looks: skew, locality,\n"
        "predictability, distinct experts per batch, reuse distances, drift, margins\n"
        "and gate mass, and how many experts a batch could drop. Reads and checks the\n"
        "whole file; traces/FORMAT.md explains the figures.",
        "moesim trace info traces/samples/gpt-oss-20b-like.h5", table};
    struct trace_statistics s;
    struct trace_details d;
    struct err e = {.text = ""};
    struct trace *t;
    int status = EXIT_BAD;
    int count = flags_parse(&command, argc, argv);

    if (count < 0)
        return count == -2 ? EXIT_GOOD : EXIT_MISUSE;
    if (count != 1)
        return flags_misuse(&command, "trace info takes one trace");
    t = trace_open(argv[0], &options, &e);
    if (t != NULL && look_at(t, quiet, &s, &d, &e) == 0) {
        if (json)
            print_info_json(t, &s, &d);
        else
            print_info(t, &s, &d);
        trace_statistics_release(&s);
        trace_details_release(&d);
        status = EXIT_GOOD;
    }
    trace_close(t);
    return status == EXIT_GOOD ? status : cmd_fail(&e);
}

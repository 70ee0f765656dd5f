#include "cmd.h"
#include "sim/base/plain.h"
#include "sim/run/json.h"
#include "sim/run/text.h"
#include "traces/statistics.h"

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

void trace_print_statistics(const struct trace_statistics *s)
{
    (void)printf(
        "  skew       top-1 expert share %.3f (uniform %.3f), entropy %.2f of %.2f "
        "bits, Gini %.2f\n",
        s->top1_share, 1.0 / s->experts, s->entropy_bits, log2(s->experts), s->gini);
    (void)printf("  locality   adjacent-token overlap %.3f (%.3f if independent)\n",
                 s->adjacent_overlap, s->independent_overlap);
    (void)printf(
        "  next layer %.3f of its experts are among the %u best guesses from this "
        "layer's\n",
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

static void print_info_json(const struct trace *t, const struct trace_statistics *s)
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
    (void)printf("  \"top1_share\": %.6f, \"entropy_bits\": %.6f, \"gini\": %.6f,\n",
                 s->top1_share, s->entropy_bits, s->gini);
    (void)printf("  \"adjacent_overlap\": %.6f, \"independent_overlap\": %.6f,\n"
                 "  \"next_layer_predictability\": %.6f,\n  \"union_size\": {",
                 s->adjacent_overlap, s->independent_overlap,
                 s->next_layer_predictability);
    for (int u = 0; u < TRACE_UNION_SIZES && s->union_size[u] > 0; u++)
        (void)printf("%s\"%d\": %.6f", u > 0 ? ", " : "", 1 << u, s->union_size[u]);
    (void)printf("}\n}\n");
}

/* Says beforehand that a large trace takes a while, and what takes less. */
static void warn_if_long(const struct trace *t)
{
    enum { SWEEPS = 9 }; /* the check, the counts, and one for each size of a batch */
    const double much = 256e6;
    const struct trace_info *i = trace_get_info(t);
    double bytes = (double)i->rows * i->layers * i->candidates * sizeof(uint16_t);

    if (bytes < much)
        return;
    (void)fprintf(stderr,
                  "moesim: note: %s of routing are read up to %d times, which takes "
                  "minutes; `moesim trace slice --rows 0:100000` makes a part that is "
                  "looked at sooner\n",
                  text_bytes(bytes).text, SWEEPS);
}

int cmd_trace_info(int argc, char **argv)
{
    bool json = false;
    struct flag table[] = {
        {"--json", 0, FLAG_SWITCH, &json, NULL, "print JSON"},
        {.name = NULL},
    };
    const struct command command = {
        "moesim trace info TRACE [--json]",
        "Prints what a trace holds and how its routing looks: skew, locality, "
        "predictability,\ndistinct experts per batch. Reads and checks the whole file.",
        "moesim trace info traces/samples/gpt-oss-20b-like.h5", table};
    struct trace_statistics s;
    struct err e = {.text = ""};
    struct trace *t;
    int status = EXIT_BAD;
    int count = flags_parse(&command, argc, argv);

    if (count < 0)
        return count == -2 ? EXIT_GOOD : EXIT_MISUSE;
    if (count != 1)
        return flags_misuse(&command, "trace info takes one trace");
    t = trace_open(argv[0], NULL, &e);
    if (t != NULL)
        warn_if_long(t);
    if (t != NULL && trace_get_info(t)->counts_only) {
        print_shape(t);
        status = EXIT_GOOD;
    } else if (t != NULL && trace_check(t, &e) == 0 &&
               trace_statistics_measure(t, &s, &e) == 0) {
        if (json) {
            print_info_json(t, &s);
        } else {
            print_shape(t);
            trace_print_statistics(&s);
        }
        trace_statistics_release(&s);
        status = EXIT_GOOD;
    }
    trace_close(t);
    return status == EXIT_GOOD ? status : cmd_fail(&e);
}

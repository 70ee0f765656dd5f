/* What a run prints: the table of policies, the notes, the verdicts on pairs. */
#include "print.h"
#include "sim/result/result.h"

#include "sim/base/mem.h"
#include "print_extras.h"
#include "print_parallel.h"
#include "print_table.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    LABEL_COLUMNS = 23,
    MAX_PAIRS = 15, /* beyond that, so many of the pairs with the fastest policy */
    PAIR_COLUMNS = 32
};

static void print_head(const struct result *r, FILE *out)
{
    char *machine = result_machine_text(r);

    text_paragraph(out, "", "  ", "%s on %s; trace %s; seed %" PRIu64,
                   r->model == NULL ? "" : r->model, machine,
                   r->trace_path == NULL ? "" : r->trace_path, r->seed);
    (void)fputc('\n', out);
    free(machine);
}

const struct text_column print_columns[] = {
    {{"TPOT", "p50"}, 9},     {{"TPOT", "p99"}, 9},       {{"TTFT", "p50"}, 9},
    {{"tokens", "per s"}, 9}, {{"hit", "rate"}, 7},       {{"over", "link"}, 9},
    {{"GPU", "busy"}, 7},     {{"gap to", "offline"}, 8}, {{NULL, NULL}, 0},
};

static struct text_figure figure_of(const struct result_policy *p,
                                    const struct result_summary *s, size_t column,
                                    const void *context)
{
    (void)p, (void)context;
    switch (column) {
    case 0:
        return text_time(s->tpot_p50);
    case 1:
        return text_time(s->tpot_p99);
    case 2:
        return text_time(s->ttft_p50);
    case 3:
        return text_number(s->tokens_per_s);
    case 4:
        return text_share(s->hit_rate);
    case 5:
        return text_bytes(s->link_bytes);
    case 6:
        return text_share(s->gpu_busy);
    default:
        return text_share(s->gap);
    }
}

static void print_one_gpu(const struct result *r, FILE *out)
{
    struct result_summary *s = print_summaries(r);
    static const struct print_table t = {
        .column = print_columns,
        .columns = sizeof print_columns / sizeof *print_columns - 1,
        .label_columns = LABEL_COLUMNS,
        .figure = figure_of};

    print_table(r, s, &t, out);
    print_extras(r, s, LABEL_COLUMNS, out);
    free(s);
}

/* The policies that foresee, "a, b"; empty: none does. Owned. */
static char *list_bounds(const struct result *r)
{
    char *list = mem_strdup("");

    for (uint32_t i = 0; i < r->policies; i++) {
        char *shorter = list;

        if (!result_foresees(&r->policy[i]))
            continue;
        list = mem_format("%s%s%s", list, *list == '\0' ? "" : ", ", r->policy[i].label);
        free(shorter);
    }
    return list;
}

static void print_notes(const struct result *r, FILE *out)
{
    const char *at = r->notes == NULL ? "" : r->notes;
    char *bounds = list_bounds(r);
    bool lossy = false;

    for (uint32_t i = 0; i < r->policies; i++)
        lossy = lossy || !r->policy[i].lossless;
    if (*at != '\0' || lossy || *bounds != '\0')
        (void)fputc('\n', out);
    if (*bounds != '\0')
        text_paragraph(out, "note: ", "      ",
                       "bounds, which know what comes and which nobody can have: %s",
                       bounds);
    free(bounds);
    while (*at != '\0') {
        int length = (int)strcspn(at, "\n");

        if (length > 0)
            text_paragraph(out, "note: ", "      ", "%.*s", length, at);
        at += length;
        at += *at == '\n';
    }
    if (lossy)
        text_paragraph(out, "note: ", "      ",
                       "policies that change what the model computes (not lossless): "
                       "compare their speed with care.");
}

/* ---- pairs ---- */

static const char *metric_name(const struct result *r)
{
    for (uint32_t i = 0; i < r->policies; i++)
        for (uint64_t q = 0; q < r->policy[i].run.requests; q++)
            if (r->policy[i].run.request[q].output_tokens >= 2)
                return "time per output token";
    return "time to first token";
}

/* Two names, and what is known of them: below the names where a line is too short. */
static void print_pair_line(FILE *out, const char *a, const char *verb, const char *b,
                            char *verdict)
{
    const size_t room = text_columns(out), around = strlen("  ") + strlen(verb) + 1;
    size_t width =
        (room - around) / 2 < PAIR_COLUMNS ? (room - around) / 2 : PAIR_COLUMNS;
    size_t names = around + text_width(a, width) + text_width(b, width);

    (void)fputs("  ", out);
    text_name(out, a, width);
    (void)fputs(verb, out);
    text_name(out, b, width);
    if (names + 1 + strlen(verdict) <= room) {
        (void)fprintf(out, ": %s\n", verdict);
    } else {
        (void)fputs(":\n", out);
        text_paragraph(out, "    ", "    ", "%s", verdict);
    }
    free(verdict);
}

static void print_pair(const struct result *r, const struct result_comparison *c,
                       FILE *out)
{
    uint32_t a = c->a, b = c->b;
    bool slower = c->ratio > 1;
    double ratio = slower ? c->ratio : 1 / c->ratio;
    double low = slower ? c->low : 1 / c->high, high = slower ? c->high : 1 / c->low;
    char *verdict;

    /* The faster one is named first; without a winner they stand as configured. */
    if (c->significant && !slower) {
        uint32_t swap = a;

        a = b;
        b = swap;
    }
    if (c->significant)
        verdict = mem_format("%s times as fast (%s to %s)", text_ratio(ratio).text,
                             text_ratio(low).text, text_ratio(high).text);
    else
        verdict = mem_format("no significant difference (%s to %s)",
                             text_ratio(c->low).text, text_ratio(c->high).text);
    print_pair_line(out, r->policy[a].label, c->significant ? " beats " : " and ",
                    r->policy[b].label, verdict);
}

static void print_left_out(size_t pairs, const char *why, FILE *out)
{
    if (pairs > 0)
        (void)fprintf(out, "  %zu pair%s: %s\n", pairs, pairs == 1 ? "" : "s", why);
}

static void print_pairs(const struct result *r, FILE *out)
{
    size_t pairs = result_pair_count(r), shown = 0, hidden = 0, undecided = 0;
    size_t stopped = 0, few = 0; /* counted, for a line for each would say nothing */
    struct result_comparison *c = mem_alloc(pairs, sizeof *c);
    uint32_t best = pairs > MAX_PAIRS ? result_fastest(r) : 0;

    result_compare(r, c);
    (void)fputc('\n', out);
    text_paragraph(out, "", "  ",
                   "Pairs, on the same requests: ratio of %s, geometric mean with its "
                   "95 %% interval; significance at 5 %% over all pairs (Holm).",
                   metric_name(r));
    for (size_t i = 0; i < pairs; i++) {
        if (!r->policy[c[i].a].run.finished || !r->policy[c[i].b].run.finished) {
            stopped++;
        } else if (c[i].pairs < 2) {
            few++;
        } else if (pairs <= MAX_PAIRS ||
                   (shown < MAX_PAIRS && (c[i].a == best || c[i].b == best))) {
            print_pair(r, &c[i], out);
            shown++;
        } else {
            hidden++;
            undecided += !c[i].significant;
        }
    }
    print_left_out(stopped, "not compared, for one was stopped", out);
    print_left_out(few, "too few requests in common", out);
    if (hidden > 0)
        text_paragraph(out, "  ", "  ",
                       "%zu further pairs, %zu of them without a significant difference: "
                       "see the JSON output.",
                       hidden, undecided);
    if (r->policies > RESULT_ALL_PAIRS)
        text_paragraph(out, "  ", "  ",
                       "Of more than %d policies only the pairs with the fastest are "
                       "compared.",
                       RESULT_ALL_PAIRS);
    free(c);
}

void result_print(const struct result *r, FILE *out)
{
    print_head(r, out);
    if (result_is_parallel(r))
        print_parallel(r, out);
    else
        print_one_gpu(r, out);
    print_notes(r, out);
    if (r->policies > 1 && !r->policy[0].run.counts_only)
        print_pairs(r, out);
}

/* What a run prints: the table of policies, the notes, the verdicts on pairs. */
#include "result.h"

#include "sim/base/mem.h"
#include "print_parallel.h"
#include "text.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    LABEL_COLUMNS = 23,
    MAX_PAIRS = 15, /* beyond that, only the pairs with the fastest policy */
    PAIR_COLUMNS = 20
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

static void print_columns(FILE *out)
{
    text_cell(out, "", LABEL_COLUMNS);
    (void)fprintf(out, " %9s %9s %9s %9s %7s %9s %7s %8s\n", "TPOT", "TPOT", "TTFT",
                  "tokens", "hit", "over", "GPU", "gap to");
    text_cell(out, "policy", LABEL_COLUMNS);
    (void)fprintf(out, " %9s %9s %9s %9s %7s %9s %7s %8s\n", "p50", "p99", "p50", "per s",
                  "rate", "link", "busy", "offline");
}

static void print_row(const struct result_policy *p, FILE *out)
{
    struct result_summary s = result_summarise(p);
    char *stopped = result_stopped_text(p);

    if (stopped != NULL) {
        text_row(out, p->label, LABEL_COLUMNS, stopped);
        return;
    }
    text_cell(out, p->label, LABEL_COLUMNS);
    text_right(out, 9, text_time(s.tpot_p50));
    text_right(out, 9, text_time(s.tpot_p99));
    text_right(out, 9, text_time(s.ttft_p50));
    text_right(out, 9, text_number(s.tokens_per_s));
    text_right(out, 7, text_share(s.hit_rate));
    text_right(out, 9, text_bytes(s.link_bytes));
    text_right(out, 7, text_share(s.gpu_busy));
    text_right(out, 8, text_share(s.gap));
    (void)fputc('\n', out);
}

static void print_notes(const struct result *r, FILE *out)
{
    const char *at = r->notes == NULL ? "" : r->notes;
    bool lossy = false;

    (void)fputc('\n', out);
    while (*at != '\0') {
        int length = (int)strcspn(at, "\n");

        if (length > 0)
            text_paragraph(out, "note: ", "      ", "%.*s", length, at);
        at += length;
        at += *at == '\n';
    }
    for (uint32_t i = 0; i < r->policies; i++) {
        const struct result_policy *p = &r->policy[i];

        lossy = lossy || !p->lossless;
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

static void print_pair(const struct result *r, uint32_t a, uint32_t b,
                       const struct result_comparison *c, FILE *out)
{
    bool slower = c->ratio > 1;
    double ratio = slower ? c->ratio : 1 / c->ratio;
    double low = slower ? c->low : 1 / c->high, high = slower ? c->high : 1 / c->low;

    /* The faster one is named first; without a winner they stand as configured. */
    if (c->significant && !slower) {
        uint32_t swap = a;

        a = b;
        b = swap;
    }
    (void)fputs("  ", out);
    text_name(out, r->policy[a].label, PAIR_COLUMNS);
    if (c->pairs < 2)
        (void)fputs(" and ", out);
    else
        (void)fputs(c->significant ? " beats " : " and ", out);
    text_name(out, r->policy[b].label, PAIR_COLUMNS);
    if (!r->policy[a].run.finished || !r->policy[b].run.finished)
        (void)fputs(": not compared, for one was stopped\n", out);
    else if (c->pairs < 2)
        (void)fputs(": too few requests in common\n", out);
    else if (c->significant)
        (void)fprintf(out, ": %s times as fast (%s to %s)\n", text_ratio(ratio).text,
                      text_ratio(low).text, text_ratio(high).text);
    else
        (void)fprintf(out, ": no significant difference (%s to %s)\n",
                      text_ratio(c->low).text, text_ratio(c->high).text);
}

/* The policy with the least median time per output token. */
static uint32_t fastest(const struct result *r)
{
    uint32_t best = 0;
    double least = INFINITY;

    for (uint32_t i = 0; i < r->policies; i++) {
        struct result_summary s = result_summarise(&r->policy[i]);
        double t = isnan(s.tpot_p50) ? s.ttft_p50 : s.tpot_p50;

        if (t < least) {
            least = t;
            best = i;
        }
    }
    return best;
}

static void print_pairs(const struct result *r, FILE *out)
{
    size_t pairs = (size_t)r->policies * (r->policies - 1) / 2, at = 0, hidden = 0;
    size_t undecided = 0;
    struct result_comparison *c = mem_alloc(pairs, sizeof *c);
    uint32_t best = pairs > MAX_PAIRS ? fastest(r) : 0;

    result_compare(r, c);
    (void)fputc('\n', out);
    text_paragraph(out, "", "  ",
                   "Pairs, on the same requests: ratio of %s, geometric mean with its "
                   "95 %% interval; significance at 5 %% over all pairs (Holm).",
                   metric_name(r));
    for (uint32_t a = 0; a < r->policies; a++) {
        for (uint32_t b = a + 1; b < r->policies; b++, at++) {
            if (pairs <= MAX_PAIRS || a == best || b == best) {
                print_pair(r, a, b, &c[at], out);
            } else {
                hidden++;
                undecided += !c[at].significant;
            }
        }
    }
    if (hidden > 0)
        text_paragraph(out, "  ", "  ",
                       "%zu further pairs, %zu of them without a significant difference: "
                       "see the JSON output.",
                       hidden, undecided);
    free(c);
}

void result_print(const struct result *r, FILE *out)
{
    print_head(r, out);
    if (result_is_parallel(r)) {
        print_parallel(r, out);
    } else {
        print_columns(out);
        for (uint32_t i = 0; i < r->policies; i++)
            print_row(&r->policy[i], out);
    }
    print_notes(r, out);
    if (r->policies > 1 && !r->policy[0].run.counts_only)
        print_pairs(r, out);
}

/* The first screen of the report: who wins, why, and what to beware of. */
#include "explain_state.h"
#include "report_state.h"

#include "sim/base/mem.h"
#include "sim/base/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the winner ---- */

/* How the first stands to the second, request by request: ratios are how many times as
 * fast it is. Without pairs it is not known. */
static struct result_comparison find_lead(const struct report_page *p,
                                          const struct report_entry *first,
                                          const struct report_entry *second)
{
    if (p->measure == MEASURE_HITS || first->result != second->result)
        return (struct result_comparison){.pairs = 0};
    return result_compare_two(first->result, first->number, second->number);
}

static bool is_known(const struct result_comparison *lead)
{
    return lead->pairs >= 2;
}

/* Whether it cannot be told which of the two is faster. */
static bool is_open(const struct result_comparison *lead)
{
    return is_known(lead) && !lead->significant;
}

/* How sure it is that the first is ahead of the second. */
static char *describe_lead(const struct report_page *p, const struct report_entry *first,
                           const struct report_entry *second)
{
    struct result_comparison lead = find_lead(p, first, second);

    if (!is_known(&lead))
        return mem_format("Next: %s with %s.", second->label,
                          report_measure_text(p, second).text);
    if (is_open(&lead))
        return mem_format("Not told apart from %s (%s), the next: on the same %" PRIu64
                          " requests it is %s to %s times as fast (95 %%).",
                          second->label, report_measure_text(p, second).text, lead.pairs,
                          text_ratio(lead.low).text, text_ratio(lead.high).text);
    if (lead.ratio < 1)
        return mem_format("Its median is less, but request by request %s, the next, is "
                          "%s times as fast (95 %%: %s to %s).",
                          second->label, text_ratio(1 / lead.ratio).text,
                          text_ratio(1 / lead.high).text, text_ratio(1 / lead.low).text);
    return mem_format("%s times as fast as %s, the next (95 %%: %s to %s, on the same "
                      "%" PRIu64 " requests).",
                      text_ratio(lead.ratio).text, second->label,
                      text_ratio(lead.low).text, text_ratio(lead.high).text, lead.pairs);
}

/* Whoever leads in another figure, where that is not the winner. */
static void name_other(const struct report_page *p, char **text, const char *what,
                       double (*figure)(const struct report_entry *), bool more)
{
    const struct report_entry *best = &p->entry[0];

    for (size_t i = 0; i < p->ranked; i++) {
        double x = figure(&p->entry[i]), y = figure(best);

        if (!isnan(x) && (isnan(y) || (more ? x > 1.01 * y : x < y / 1.01)))
            best = &p->entry[i];
    }
    if (best != &p->entry[0])
        explain_add(text, mem_format("%s: %s.", what, best->label));
}

static double tokens_of(const struct report_entry *entry)
{
    return entry->s.tokens_per_s;
}

static double tail_of(const struct report_entry *entry)
{
    return entry->s.tpot_p99;
}

static double first_of(const struct report_entry *entry)
{
    return entry->s.ttft_p50;
}

static char *describe_winner(const struct report_page *p)
{
    const struct report_entry *w = &p->entry[0];
    char *text =
        mem_format("%s, %s %s%s", w->label, report_measure_text(p, w).text,
                   report_measure_name(p), p->measure == MEASURE_HITS ? "." : "");

    if (p->measure == MEASURE_TPOT)
        explain_add(&text, mem_format("(median; 99 %%: %s), %s tokens per s.",
                                      text_time(w->s.tpot_p99).text,
                                      text_number(w->s.tokens_per_s).text));
    else if (p->measure == MEASURE_TTFT)
        explain_add(&text, mem_strdup("(median)."));
    if (p->ranked > 1)
        explain_add(&text, describe_lead(p, w, &p->entry[1]));
    if (p->measure != MEASURE_HITS) {
        name_other(p, &text, "Least time to the first token", first_of, false);
        name_other(p, &text, "Least at 99 %", tail_of, false);
        name_other(p, &text, "Most tokens per second", tokens_of, true);
    }
    return text;
}

/* ---- the reason ---- */

static double pass_share(const struct report_entry *entry, int share)
{
    const struct run_result *run = &entry->policy->run;

    return run->passes == 0
               ? NAN
               : sim_time_seconds(run->total.share[share]) / (double)run->passes;
}

static double pass_time(const struct report_entry *entry)
{
    double sum = 0;

    for (int s = 0; s < RUN_SHARES; s++)
        sum += pass_share(entry, s);
    return sum;
}

static const char *share_words(int share)
{
    static const char *const words[RUN_SHARES] = {
        "dense compute",
        "expert compute",
        "waiting for experts in place",
        "waiting for weights to be copied",
        "communication that nothing hides",
        "waiting for slower GPUs",
        "launches and the host",
    };

    return words[share];
}

/* "12 % fewer bytes (1 GB against 2 GB)", or "". */
static char *compare_amounts(const char *verb, const char *what, double a, double b,
                             struct text_figure (*text)(double))
{
    if (!(a > 0) || !(b > 0) || fabs(a / b - 1) < 0.005)
        return mem_strdup("");
    return mem_format("It %s %s %s %s (%s against %s).", verb,
                      text_share(fabs(1 - a / b)).text, a < b ? "fewer" : "more", what,
                      text(a).text, text(b).text);
}

/* What lies behind the share that differs most. */
static char *describe_cause(const struct report_entry *w, const struct report_entry *n,
                            int share)
{
    const struct run_counts *a = &w->policy->run.total.counts;
    const struct run_counts *b = &n->policy->run.total.counts;
    char *text = mem_strdup("");

    switch ((enum run_share)share) {
    case SHARE_COPY:
        explain_add(&text, compare_amounts("copies", "bytes of weights", w->s.link_bytes,
                                           n->s.link_bytes, text_bytes));
        explain_add(&text,
                    mem_format("Hit rate: %s against %s.", text_share(w->s.hit_rate).text,
                               text_share(n->s.hit_rate).text));
        if (a->late + b->late > 0)
            explain_add(
                &text,
                mem_format(
                    "Of the prefetched experts %s come late, against %s.",
                    text_share(a->prefetches > 0 ? (double)a->late / (double)a->prefetches
                                                 : 0)
                        .text,
                    text_share(b->prefetches > 0 ? (double)b->late / (double)b->prefetches
                                                 : 0)
                        .text));
        break;
    case SHARE_COMM:
        explain_add(&text, compare_amounts("sends", "bytes between the GPUs",
                                           (double)a->sent_bytes, (double)b->sent_bytes,
                                           text_bytes));
        break;
    case SHARE_IMBALANCE:
        explain_add(&text, mem_format("Imbalance: %s against %s.",
                                      text_ratio(w->s.imbalance).text,
                                      text_ratio(n->s.imbalance).text));
        break;
    case SHARE_EXPERT:
    case SHARE_DENSE:
        explain_add(&text, compare_amounts("computes", "rows in experts",
                                           (double)a->computed_rows,
                                           (double)b->computed_rows, text_number));
        explain_add(&text, compare_amounts("launches", "products of experts",
                                           (double)a->expert_gemms,
                                           (double)b->expert_gemms, text_number));
        break;
    case SHARE_HOSTED:
        explain_add(&text,
                    compare_amounts("runs", "experts in place", (double)run_in_place(a),
                                    (double)run_in_place(b), text_number));
        break;
    case SHARE_HOST:
        if (w->policy->graph != n->policy->graph)
            explain_add(&text,
                        mem_format("%s is launched from graphs, the other kernel by "
                                   "kernel.",
                                   w->policy->graph ? w->label : n->label));
        break;
    case RUN_SHARES:
        break;
    }
    return text;
}

/* By what the first is ahead of the second. */
static char *describe_reason(const struct report_page *p, const struct report_entry *w,
                             const struct report_entry *n)
{
    double mine = pass_time(w), theirs = pass_time(n);
    double most = 0;
    char *text;
    int share = -1;

    if (p->measure == MEASURE_HITS)
        return mem_strdup("");
    for (int s = 0; s < RUN_SHARES; s++) {
        double less = pass_share(n, s) - pass_share(w, s);

        if (less > most) {
            most = less;
            share = s;
        }
    }
    if (share < 0 || mine >= theirs)
        return mem_format("Its passes take no less on average than those of %s (%s "
                          "against %s): how the requests spread decides.",
                          n->label, text_time(mine).text, text_time(theirs).text);
    text = mem_format("Against %s a pass spends %s less on %s: it takes %s instead of %s "
                      "on average.",
                      n->label, text_time(most).text, share_words(share),
                      text_time(mine).text, text_time(theirs).text);
    explain_add(&text, describe_cause(w, n, share));
    return text;
}

/* ---- what is left ---- */

static const struct report_entry *best_bound(const struct report_page *p)
{
    const struct report_entry *best = NULL;

    for (size_t i = p->ranked; i < p->entries; i++)
        if (result_foresees(p->entry[i].policy) && p->entry[i].policy->run.finished &&
            p->entry[i].result == p->entry[0].result && !isnan(p->entry[i].measure) &&
            (best == NULL || p->entry[i].measure < best->measure))
            best = &p->entry[i];
    return best;
}

static char *describe_rest(const struct report_page *p)
{
    const struct report_entry *w = &p->entry[0], *bound = best_bound(p);
    struct explain_finding f = explain_find(w->policy);
    char *text = explain_verdict_text(&f, w->result, w->number);

    if (bound != NULL)
        explain_add(&text,
                    mem_format("%s, which knows what comes and nobody can have, %s %s.",
                               bound->label,
                               p->measure == MEASURE_HITS ? "reaches" : "takes",
                               report_measure_text(p, bound).text));
    return text;
}

/* ---- what to beware of ---- */

static void caveat(const struct report_page *p, const char *head, const char *text)
{
    (void)fprintf(p->out, "<li><b>%s</b> ", head);
    text_markup(p->out, text);
    (void)fputs("</li>\n", p->out);
}

/* Up to the first sentence's end, or a hundred or so letters. Owned. */
static char *shorten(const char *text)
{
    enum { MOST = 110 };
    static const char said[] = "synthetic, "; /* it is, before this */
    size_t length;

    if (strncmp(text, said, sizeof said - 1) == 0)
        text += sizeof said - 1;
    length = strcspn(text, ";:(");
    if (length > MOST)
        length = MOST;
    while (length > 0 && (text[length - 1] == ' ' || (text[length] & 0xC0) == 0x80))
        length--;
    return mem_format("%.*s%s", (int)length, text, text[length] == '\0' ? "." : " ...");
}

/* Whether the trace says of itself that nobody recorded it. */
static bool is_synthetic(const struct result *r)
{
    return r->trace_source != NULL && (strstr(r->trace_source, "synthetic") != NULL ||
                                       strstr(r->trace_source, "Synthetic") != NULL);
}

static void print_notes(const struct report_page *p, size_t i)
{
    char *notes = mem_strdup(p->results[i]->notes == NULL ? "" : p->results[i]->notes);
    char *rest = notes, *line;

    while ((line = rest) != NULL && *line != '\0') {
        rest = strchr(line, '\n');
        if (rest != NULL)
            *rest++ = '\0';
        if (*line == '\0')
            continue;
        (void)fputs("<li class=remark>", p->out);
        if (p->count > 1)
            (void)fprintf(p->out, "R%zu: ", i + 1);
        text_markup(p->out, line);
        (void)fputs("</li>\n", p->out);
    }
    free(notes);
}

static bool seen_before(const struct report_page *p, size_t i, bool machine)
{
    for (size_t k = 0; k < i; k++) {
        const char *a = machine ? p->results[i]->machine : p->results[i]->trace_source;
        const char *b = machine ? p->results[k]->machine : p->results[k]->trace_source;

        if (strcmp(a == NULL ? "" : a, b == NULL ? "" : b) == 0)
            return true;
    }
    return false;
}

static void print_caveats(const struct report_page *p)
{
    for (size_t i = 0; i < p->count; i++) {
        const struct result *r = p->results[i];
        const char *source = r->trace_source == NULL ? "" : r->trace_source;
        char *shorter = shorten(source);

        if (!seen_before(p, i, false) && is_synthetic(r))
            caveat(p, "The trace is synthetic:", shorter);
        free(shorter);
        if (!seen_before(p, i, true) && p->measure != MEASURE_HITS) {
            char *text = mem_format("the machine is a model (%s).",
                                    r->machine_source == NULL ? "" : r->machine_source);

            caveat(p, "Times are predicted, not measured:", text);
            free(text);
        }
    }
    for (size_t i = 0; i < p->count; i++)
        print_notes(p, i);
}

void report_caveats(const struct report_page *p)
{
    struct report_page aside = *p;
    struct mem_stream m;
    char *items;

    mem_stream_open(&m);
    aside.out = m.out;
    print_caveats(&aside);
    items = mem_stream_close(&m);
    if (*items != '\0')
        (void)fprintf(p->out,
                      "<div class=caveat><b class=tag>Caveat</b><ul>\n%s</ul></div>\n",
                      items);
    free(items);
}

/* ---- the whole ---- */

/* The best of each result, of several. */
static void print_each(const struct report_page *p)
{
    bool any = false;

    (void)fputs("<p><b class=tag>Each</b> ", p->out);
    for (size_t i = 0; i < p->count; i++) {
        const struct report_entry *best = NULL;

        for (size_t k = 0; k < p->ranked && best == NULL; k++)
            if (p->entry[k].which == i)
                best = &p->entry[k];
        if (best == NULL)
            continue;
        (void)fputs(any ? "; " : "", p->out);
        any = true;
        text_markup(p->out, best->label);
        (void)fprintf(p->out, " %s", report_measure_text(p, best).text);
    }
    (void)fputs(".</p>\n", p->out);
}

static const char *title_verb(const struct report_page *p)
{
    struct result_comparison lead;

    if (p->ranked < 2)
        return "";
    lead = find_lead(p, &p->entry[0], &p->entry[1]);
    return is_open(&lead) ? " leads by a hair" : " wins";
}

void report_answer(const struct report_page *p)
{
    (void)fputs("<section class=\"card answer\">\n", p->out);
    if (p->ranked == 0) {
        (void)fputs("<h1>No policy to compare</h1>\n", p->out);
    } else {
        (void)fputs("<h1>", p->out);
        text_markup(p->out, p->entry[0].label);
        (void)fputs(title_verb(p), p->out);
        (void)fprintf(p->out, ": %s %s</h1>\n", report_measure_text(p, p->entry).text,
                      report_measure_name(p));
        report_html_paragraph(p->html, p->ranked > 1 ? "Winner" : "Policy",
                              describe_winner(p));
        if (p->ranked > 1)
            report_html_paragraph(p->html, "Reason",
                                  describe_reason(p, &p->entry[0], &p->entry[1]));
        report_hits(p);
        report_html_paragraph(p->html, "Limit", describe_rest(p));
        report_selects(p);
        if (p->count > 1)
            print_each(p);
    }
    report_caveats(p);
    (void)fputs("</section>\n", p->out);
}

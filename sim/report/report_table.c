/* The report's tables of policies. */
#include "report_state.h"

#include "explain.h"
#include "print_parallel.h"
#include "sim/base/text.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>

size_t report_entries(const struct report_page *p, bool parallel)
{
    size_t n = 0;

    for (size_t i = 0; i < p->entries; i++)
        n += result_is_parallel(p->entry[i].result) == parallel;
    return n;
}

/* ---- the table of policies ---- */

/* The least, or greatest, of a column is bold; where several share it, all. */
enum best { NONE, LEAST, MOST };

struct column {
    const char *head; /* HTML */
    size_t offset;    /* of a double in struct result_summary */
    struct text_figure (*text)(double);
    enum best best;
};

#define COLUMN(head, field, text, best)                                                  \
    {                                                                                    \
        head, offsetof(struct result_summary, field), text, best                         \
    }
#define TIMES                                                                            \
    COLUMN("TPOT<br>p50", tpot_p50, text_time, LEAST),                                   \
        COLUMN("TPOT<br>p99", tpot_p99, text_time, LEAST),                               \
        COLUMN("TTFT<br>p50", ttft_p50, text_time, LEAST),                               \
        COLUMN("TTFT<br>p99", ttft_p99, text_time, LEAST),                               \
        COLUMN("tokens<br>per s", tokens_per_s, text_number, MOST)

enum { MOST_COLUMNS = 12 };

static const struct column of_one[] = {
    TIMES,
    COLUMN("hit<br>rate", hit_rate, text_share, MOST),
    COLUMN("over<br>the link", link_bytes, text_bytes, LEAST),
    COLUMN("GPU<br>busy", gpu_busy, text_share, NONE),
    COLUMN("gap to<br>offline", gap, text_share, NONE),
    {NULL, 0, NULL, NONE},
};

static const struct column of_several[] = {
    TIMES,
    COLUMN("GPU<br>busy", gpu_busy, text_share, NONE),
    COLUMN("imbal-<br>ance", imbalance, text_ratio, LEAST),
    COLUMN("exposed<br>comm", comm_share, text_share, LEAST),
    COLUMN("between<br>GPUs", sent_bytes, text_bytes, LEAST),
    COLUMN("gap to<br>even", balanced_gap, text_share, NONE),
    COLUMN("gap to<br>no net", network_gap, text_share, NONE),
    {NULL, 0, NULL, NONE},
};

static const struct result_policy *policy_of(const struct report_entry *entry)
{
    return &entry->result->policy[entry->policy];
}

static double value_of(const struct column *c, const struct result_summary *s)
{
    return *(const double *)(const void *)((const char *)s + c->offset);
}

/* What is best of each column; infinite where nothing is. */
static void find_bests(const struct report_page *p, const struct column *column,
                       bool parallel, double best[MOST_COLUMNS])
{
    for (size_t k = 0; column[k].head != NULL; k++)
        best[k] = column[k].best == MOST ? -INFINITY : INFINITY;
    for (size_t i = 0; i < p->entries; i++) {
        struct result_summary s = result_summarise(policy_of(&p->entry[i]));

        for (size_t k = 0; column[k].head != NULL; k++) {
            double x = value_of(&column[k], &s);

            if (result_is_parallel(p->entry[i].result) == parallel &&
                policy_of(&p->entry[i])->run.finished && column[k].best != NONE &&
                (column[k].best == MOST ? x > best[k] : x < best[k]))
                best[k] = x;
        }
    }
}

static void print_label(const struct report_page *p, const struct report_entry *entry)
{
    (void)fputs("<tr><td>", p->out);
    text_markup(p->out, entry->label);
    (void)fputs("</td>", p->out);
}

/* Colours go by how bad a verdict is: see `style` in report.c. */
static int chip_of(enum explain_verdict verdict)
{
    switch (verdict) {
    case EXPLAIN_IMBALANCE:
        return EXPLAIN_POLICY;
    case EXPLAIN_NETWORK:
        return EXPLAIN_BANDWIDTH;
    case EXPLAIN_FETCH:
        return EXPLAIN_WORKING_SET;
    case EXPLAIN_UNKNOWN:
    case EXPLAIN_POLICY:
    case EXPLAIN_WORKING_SET:
    case EXPLAIN_BANDWIDTH:
    case EXPLAIN_COMPUTE:
    case EXPLAIN_HOST_BOUND:
        break;
    }
    return (int)verdict;
}

void report_chip(FILE *out, enum explain_verdict verdict)
{
    (void)fprintf(out, "<span class=\"chip v%d\">%s</span>", chip_of(verdict),
                  explain_verdict_name(verdict));
}

static void print_row(const struct report_page *p, const struct report_entry *entry,
                      const struct column *column, const double *best)
{
    struct result_summary s = result_summarise(policy_of(entry));
    struct explain_finding f = explain_find(policy_of(entry));

    char *stopped = result_stopped_text(policy_of(entry));
    size_t columns = 0;

    print_label(p, entry);
    while (column[columns].head != NULL)
        columns++;
    if (stopped != NULL)
        (void)fprintf(p->out, "<td class=left colspan=%zu>%s</td></tr>\n", columns + 1,
                      stopped);
    free(stopped);
    if (!policy_of(entry)->run.finished)
        return;
    for (size_t k = 0; column[k].head != NULL; k++) {
        double x = value_of(&column[k], &s);

        (void)fprintf(p->out, "<td%s>%s</td>",
                      column[k].best != NONE && x == best[k] ? " class=best" : "",
                      column[k].text(x).text);
    }
    (void)fputs("<td class=left>", p->out);
    report_chip(p->out, f.verdict);
    (void)fputs("</td></tr>\n", p->out);
}

static void print_summary(const struct report_page *p, const struct column *column,
                          bool parallel)
{
    double best[MOST_COLUMNS];

    find_bests(p, column, parallel, best);
    (void)fputs("<div class=\"card scroll\"><table><thead><tr><th>policy</th>", p->out);
    for (size_t k = 0; column[k].head != NULL; k++)
        (void)fprintf(p->out, "<th>%s</th>", column[k].head);
    (void)fputs("<th class=left>verdict</th></tr></thead><tbody>\n", p->out);
    for (size_t i = 0; i < p->entries; i++)
        if (result_is_parallel(p->entry[i].result) == parallel)
            print_row(p, &p->entry[i], column, best);
    (void)fputs("</tbody></table></div>\n", p->out);
}

/* ---- what only some policies have ---- */

static bool any_has(const struct report_page *p, const struct print_column *column)
{
    for (size_t i = 0; i < p->entries; i++) {
        struct result_summary s = result_summarise(policy_of(&p->entry[i]));

        if (result_is_parallel(p->entry[i].result) &&
            column->has(policy_of(&p->entry[i]), &s))
            return true;
    }
    return false;
}

static void print_extras(const struct report_page *p)
{
    const struct print_column *column = print_extra_columns;
    bool any = false;

    for (size_t k = 0; column[k].has != NULL && !any; k++)
        any = any_has(p, &column[k]);
    if (!any)
        return;
    (void)fputs("<div class=\"card scroll\"><table><thead><tr><th>policy</th>", p->out);
    for (size_t k = 0; column[k].has != NULL; k++)
        if (any_has(p, &column[k]))
            (void)fprintf(p->out, "<th>%s<br>%s</th>", column[k].head[0],
                          column[k].head[1]);
    (void)fputs("</tr></thead><tbody>\n", p->out);
    for (size_t i = 0; i < p->entries; i++) {
        const struct result_policy *policy = policy_of(&p->entry[i]);
        struct result_summary s = result_summarise(policy);

        if (!result_is_parallel(p->entry[i].result) || !policy->run.finished)
            continue;
        print_label(p, &p->entry[i]);
        for (size_t k = 0; column[k].has != NULL; k++)
            if (any_has(p, &column[k]))
                (void)fprintf(
                    p->out, "<td>%s</td>",
                    column[k].has(policy, &s) ? column[k].figure(policy, &s).text : "-");
        (void)fputs("</tr>\n", p->out);
    }
    (void)fputs("</tbody></table></div>\n", p->out);
}

void report_tables(const struct report_page *p)
{
    (void)fputs("<h2>Policies</h2>\n", p->out);
    if (report_entries(p, false) > 0) {
        print_summary(p, of_one, false);
        (void)fputs(
            "<p class=sub>TPOT: time per output token of a request; TTFT: time to its "
            "first token; gap: time of all passes above the bound that no policy beats "
            "at this capacity. The best of a column is bold.</p>\n",
            p->out);
    }
    if (report_entries(p, true) > 0) {
        print_summary(p, of_several, true);
        print_extras(p);
        (void)fputs(
            "<p class=sub>TPOT: time per output token of a request; TTFT: time to its "
            "first token. GPU busy and exposed communication (comm) are means over the "
            "GPUs. Imbalance: rows of the busiest GPU over the mean, layer by layer and "
            "pass by pass; 1 is even. Gaps: time of all passes above that of the rows "
            "spread evenly, all experts resident and nothing padded or moved (even), "
            "and above that of a network that takes no time (no net). The best of a "
            "column is bold.</p>\n",
            p->out);
    }
}

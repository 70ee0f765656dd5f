/* The report's tables of policies: a body that can be sorted, and the bounds below it. */
#include "report_state.h"

#include "print_extras.h"
#include "print_parallel.h"
#include "print_table.h"
#include "sim/base/json.h"
#include "sim/base/text.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

size_t report_entries(const struct report_page *p, bool parallel)
{
    size_t n = 0;

    for (size_t i = 0; i < p->entries; i++)
        n += result_is_parallel(p->entry[i].result) == parallel;
    return n;
}

const char *report_limit_name(enum explain_verdict verdict)
{
    switch (verdict) {
    case EXPLAIN_UNKNOWN:
        break;
    case EXPLAIN_POLICY:
        return "cache choices";
    case EXPLAIN_WORKING_SET:
        return "working set";
    case EXPLAIN_BANDWIDTH:
        return "link bandwidth";
    case EXPLAIN_COMPUTE:
        return "computing";
    case EXPLAIN_HOST_BOUND:
        return "launches, host";
    case EXPLAIN_IMBALANCE:
        return "imbalance";
    case EXPLAIN_NETWORK:
        return "network";
    case EXPLAIN_FETCH:
        return "fetching";
    }
    return "-";
}

/* ---- the columns ---- */

/* The least, or greatest, of a column is marked; where several share it, all. */
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

enum { MOST_COLUMNS = 12 };

static const struct column of_one[] = {
    COLUMN("TPOT<br>p50", tpot_p50, text_time, LEAST),
    COLUMN("tokens<br>per s", tokens_per_s, text_number, MOST),
    COLUMN("hit<br>rate", hit_rate, text_share, MOST),
    COLUMN("TPOT<br>p99", tpot_p99, text_time, LEAST),
    COLUMN("TTFT<br>p50", ttft_p50, text_time, LEAST),
    COLUMN("TTFT<br>p99", ttft_p99, text_time, LEAST),
    COLUMN("over<br>the link", link_bytes, text_bytes, LEAST),
    COLUMN("GPU<br>busy", gpu_busy, text_share, NONE),
    COLUMN("gap to<br>offline", gap, text_share, NONE),
    COLUMN("swaps", swaps, print_whole_number, LEAST),
    {NULL, 0, NULL, NONE},
};

static const struct column of_several[] = {
    COLUMN("TPOT<br>p50", tpot_p50, text_time, LEAST),
    COLUMN("tokens<br>per s", tokens_per_s, text_number, MOST),
    COLUMN("imbal-<br>ance", imbalance, text_ratio, LEAST),
    COLUMN("TPOT<br>p99", tpot_p99, text_time, LEAST),
    COLUMN("TTFT<br>p50", ttft_p50, text_time, LEAST),
    COLUMN("TTFT<br>p99", ttft_p99, text_time, LEAST),
    COLUMN("exposed<br>comm", comm_share, text_share, LEAST),
    COLUMN("between<br>GPUs", sent_bytes, text_bytes, LEAST),
    COLUMN("GPU<br>busy", gpu_busy, text_share, NONE),
    COLUMN("gap to<br>even", balanced_gap, text_share, NONE),
    COLUMN("gap to<br>no net", network_gap, text_share, NONE),
    {NULL, 0, NULL, NONE},
};

static double value_of(const struct column *c, const struct result_summary *s)
{
    return *(const double *)(const void *)((const char *)s + c->offset);
}

/* A table: the entries of one sort of results. */
struct table {
    const struct report_page *p;
    const struct column *column;
    bool parallel;
    double best[MOST_COLUMNS];        /* infinite where nothing is */
    const struct report_entry *first; /* the best of them; NULL: none is ranked */
};

static bool has(const struct table *t, const struct report_entry *entry)
{
    return result_is_parallel(entry->result) == t->parallel;
}

/* What is best of each column, of the policies that anyone can have. */
static void find_bests(struct table *t)
{
    for (size_t k = 0; t->column[k].head != NULL; k++)
        t->best[k] = t->column[k].best == MOST ? -INFINITY : INFINITY;
    for (size_t i = 0; i < t->p->ranked; i++) {
        const struct report_entry *entry = &t->p->entry[i];

        if (!has(t, entry))
            continue;
        t->first = t->first == NULL ? entry : t->first;
        for (size_t k = 0; t->column[k].head != NULL; k++) {
            double x = value_of(&t->column[k], &entry->s);

            if (t->column[k].best != NONE &&
                (t->column[k].best == MOST ? x > t->best[k] : x < t->best[k]))
                t->best[k] = x;
        }
    }
}

/* ---- the rows ---- */

/* How much more it takes than the best: "+3.2 %". */
static void print_excess(const struct table *t, const struct report_entry *entry)
{
    const struct report_page *p = t->p;
    double excess = t->first == NULL ? NAN
                    : p->measure == MEASURE_HITS
                        ? t->first->s.hit_rate - entry->s.hit_rate
                        : entry->measure / t->first->measure - 1;

    (void)fputs("<td data-v=\"", p->out);
    csv_number(p->out, excess);
    (void)fprintf(p->out, "\">%s%s</td>", excess > 0 ? "+" : "",
                  entry == t->first ? "best" : text_share(excess).text);
}

static size_t count_columns(const struct column *column)
{
    size_t n = 0;

    while (column[n].head != NULL)
        n++;
    return n;
}

static void print_row(const struct table *t, const struct report_entry *entry)
{
    FILE *out = t->p->out;
    struct explain_finding f = explain_find(entry->policy);
    char *stopped = result_stopped_text(entry->policy);

    (void)fprintf(out, "<tr%s><td data-v=%zu>", entry == t->first ? " class=winner" : "",
                  (size_t)(entry - t->p->entry));
    if (entry->rank > 0)
        (void)fprintf(out, "%u ", entry->rank);
    text_markup(out, entry->label);
    (void)fputs("</td>", out);
    if (stopped != NULL) {
        (void)fprintf(out, "<td class=left colspan=%zu>%s</td></tr>\n",
                      count_columns(t->column) + 2, stopped);
        free(stopped);
        return;
    }
    for (size_t k = 0; t->column[k].head != NULL; k++) {
        double x = value_of(&t->column[k], &entry->s);

        report_html_cell(t->p->html, x, t->column[k].text(x),
                         !entry->bound && t->column[k].best != NONE && x == t->best[k]);
        if (k == 0)
            print_excess(t, entry);
    }
    (void)fprintf(out, "<td class=left><span class=chip>%s</span></td></tr>\n",
                  report_limit_name(f.verdict));
}

/* The entries [first, end) that belong here; whether there are any. */
static void print_body(const struct table *t, size_t first, size_t end, const char *head)
{
    bool any = false;

    for (size_t i = first; i < end; i++) {
        if (!has(t, &t->p->entry[i]))
            continue;
        if (!any)
            (void)fprintf(t->p->out, "<tbody%s>\n", first > 0 ? " class=bounds" : "");
        if (!any && head != NULL)
            (void)fprintf(t->p->out,
                          "<tr class=group><td colspan=%zu><span>%s</span></td></tr>\n",
                          count_columns(t->column) + 3, head);
        any = true;
        print_row(t, &t->p->entry[i]);
    }
    if (any)
        (void)fputs("</tbody>", t->p->out);
    else if (first == 0)
        (void)fputs("<tbody></tbody>", t->p->out);
}

static bool any_dense(const struct report_page *p)
{
    for (size_t i = p->ranked; i < p->entries; i++)
        if (result_is_dense(p->entry[i].policy))
            return true;
    return false;
}

static bool any_stopped(const struct report_page *p)
{
    for (size_t i = p->ranked; i < p->entries; i++)
        if (!p->entry[i].policy->run.finished)
            return true;
    return false;
}

/* What stands below the policies that one could choose. */
static const char *name_rest(const struct report_page *p)
{
    if (any_dense(p))
        return any_stopped(p)
                   ? "For comparison: bounds, which know what comes; the dense "
                     "model of as many FLOPs; runs that were stopped"
                   : "For comparison: bounds, which know what comes; the dense "
                     "model of as many FLOPs";
    return any_stopped(p) ? "Bounds, which know what comes; runs that were stopped"
                          : "Bounds, which know what comes";
}

static void print_summary(const struct report_page *p, const struct column *column,
                          bool parallel)
{
    struct table t = {.p = p, .column = column, .parallel = parallel};

    find_bests(&t);
    (void)fputs("<div class=\"card scroll\"><table class=\"policies sortable\"><thead>"
                "<tr><th>policy</th>",
                p->out);
    for (size_t k = 0; column[k].head != NULL; k++)
        (void)fprintf(p->out, "<th>%s</th>%s", column[k].head,
                      k == 0 ? "<th>over<br>best</th>" : "");
    (void)fputs("<th class=left>limited by</th></tr></thead>\n", p->out);
    print_body(&t, 0, p->ranked, NULL);
    print_body(&t, p->ranked, p->entries, name_rest(p));
    (void)fputs("</table></div>\n", p->out);
}

/* ---- what only some policies have ---- */

/* Whether the tables above have the column: that of one GPU has swaps. */
static bool is_told(const struct report_page *p, const struct print_column *column)
{
    return report_entries(p, true) == 0 && strcmp(column->head[1], "swaps") == 0;
}

static bool any_has(const struct report_page *p, const struct print_column *column)
{
    if (is_told(p, column))
        return false;
    for (size_t i = 0; i < p->entries; i++)
        if (column->has(p->entry[i].policy, &p->entry[i].s))
            return true;
    return false;
}

static void print_extra(const struct report_page *p, const struct print_column *column,
                        const struct report_entry *entry)
{
    bool has = column->has(entry->policy, &entry->s);
    double value = has ? column->value(entry->policy, &entry->s) : NAN;

    report_html_cell(p->html, value,
                     has ? column->text(value) : (struct text_figure){"-"}, false);
}

static bool any_selects(const struct report_page *p)
{
    for (size_t i = 0; i < p->entries; i++)
        if (p->entry[i].policy->run.quality.rows > 0)
            return true;
    return false;
}

static void print_rare(const struct report_page *p)
{
    const struct print_column *column = print_extra_columns;
    bool any = false;

    for (size_t k = 0; column[k].has != NULL && !any; k++)
        any = any_has(p, &column[k]);
    if (!any)
        return;
    (void)fputs("<div class=\"card scroll\"><table class=\"policies sortable\"><thead>"
                "<tr><th>policy</th>",
                p->out);
    for (size_t k = 0; column[k].has != NULL; k++)
        if (any_has(p, &column[k]))
            (void)fprintf(p->out, "<th>%s<br>%s</th>", column[k].head[0],
                          column[k].head[1]);
    (void)fputs("</tr></thead><tbody>\n", p->out);
    for (size_t i = 0; i < p->entries; i++) {
        const struct report_entry *entry = &p->entry[i];

        if (!entry->policy->run.finished)
            continue;
        (void)fprintf(p->out, "<tr><td data-v=%zu>", i);
        text_markup(p->out, entry->row);
        (void)fputs("</td>", p->out);
        for (size_t k = 0; column[k].has != NULL; k++)
            if (any_has(p, &column[k]))
                print_extra(p, &column[k], entry);
        (void)fputs("</tr>\n", p->out);
    }
    (void)fputs("</tbody></table></div>\n", p->out);
    if (any_selects(p))
        (void)fputs("<p class=sub>Of a select: shares of the experts that the rows it "
                    "chose for would have executed, of their gate mass, of the rows "
                    "that keep their best expert, and of the distinct experts of a "
                    "layer. Later routing is as recorded (open loop).</p>\n",
                    p->out);
}

void report_tables(const struct report_page *p)
{
    (void)fputs("<h2>Policies</h2>\n", p->out);
    if (report_entries(p, false) > 0) {
        print_summary(p, of_one, false);
        (void)fputs(
            "<p class=sub>A head sorts by its column. TPOT: time per output token of a "
            "request; TTFT: time to its first token; gap: time of all passes above the "
            "bound that no policy beats at this capacity. Limited by: what takes the "
            "largest part of the time that could be saved. The best of a column is "
            "bold.</p>\n",
            p->out);
    }
    if (report_entries(p, true) > 0)
        print_summary(p, of_several, true);
    print_rare(p);
    if (report_entries(p, true) > 0) {
        (void)fputs(
            "<p class=sub>A head sorts by its column. TPOT: time per output token of a "
            "request; TTFT: time to its first token. GPU busy and exposed communication "
            "(comm) are means over the GPUs. Imbalance: rows of the busiest GPU over the "
            "mean, layer by layer and pass by pass; 1 is even. Gaps: time of all passes "
            "above that of the rows spread evenly, all experts resident and nothing "
            "padded or moved (even), and above that of a network that takes no time (no "
            "net). Limited by: what takes the largest part of the time that could be "
            "saved. The best of a column is bold.</p>\n",
            p->out);
    }
}

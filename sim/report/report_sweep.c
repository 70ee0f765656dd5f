#include "report_sweep.h"

#include "explain_state.h"
#include "report_state.h"
#include "report_sweep_state.h"
#include "sim/base/file.h"
#include "sim/base/json.h"
#include "sim/base/mem.h"
#include "sim/base/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TABLE_ROWS = 200 };

/* ---- the answer ---- */

static char *goal_text(const struct sweep_page *p, double goal)
{
    return p->timed ? mem_format("%s tokens per s", text_number(goal).text)
                    : mem_format("%s hits", text_share(goal / 100).text);
}

/* How much less the second has. */
static double lead_of(const struct sweep_page *p)
{
    return p->ranked < 2 ? 1
                         : 1 - sweep_goal(p, p->order[1]) / sweep_goal(p, p->order[0]);
}

/* Whether less than is shown stands between the first and the second. */
static bool is_tie(const struct sweep_page *p)
{
    return lead_of(p) < 0.0005;
}

static char *describe_winner(const struct sweep_page *p)
{
    const struct sweep_row *w = p->order[0];
    char *text = mem_format("point %" PRIu64 ", policy %s%s", w->point, w->label,
                            p->timed ? "" : "."),
         *longer;

    if (p->timed) {
        longer = mem_format("%s: %s per output token (median; 99 %%: %s), GPU memory %s.",
                            text, text_time(w->figure[ROW_TPOT]).text,
                            text_time(w->figure[ROW_TPOT_TAIL]).text,
                            text_bytes(sweep_row_memory(w)).text);
        free(text);
        text = longer;
    }
    if (p->ranked > 1) {
        char *name = sweep_row_name(p, p->order[1]);

        longer = is_tie(p) ? mem_format("%s Not better than the next, %s.", text, name)
                           : mem_format("%s Next, %s less: %s.", text,
                                        text_share(lead_of(p)).text, name);
        free(name);
        free(text);
        text = longer;
    }
    return text;
}

/* "12 GB/s" of a bin. Owned. */
static char *bin_text(const struct sweep_page *p, size_t key, size_t bin)
{
    const struct sweep_key *k = &p->t.key[key];

    return sweep_value_text(k->level[sweep_bin_middle(k, bin)]);
}

static char *describe_reason(const struct sweep_page *p)
{
    enum { MOST = 3 };
    char *text = mem_strdup("");

    for (size_t i = 0; i < p->t.keys && i < MOST; i++) {
        const struct sweep_effect *f = &p->effect[i];
        char *worst, *best, *longer;

        if (p->t.key[f->key].levels < 2)
            continue;
        worst = bin_text(p, f->key, f->worst);
        best = bin_text(p, f->key, f->best);
        longer =
            mem_format("%s%s%s: from %s to %s the median point loses %s.", text,
                       *text == '\0' ? "What decides most is " : " Then ",
                       p->t.key[f->key].name, best, worst, text_share(f->share).text);
        free(worst);
        free(best);
        free(text);
        text = longer;
    }
    return text;
}

static char *describe_knees(const struct sweep_page *p)
{
    char *text = mem_strdup("");

    for (size_t k = 0; k < p->t.keys; k++) {
        size_t knee = sweep_knee(p, k);
        char *at, *goal, *longer;

        if (knee == 0)
            continue;
        at = bin_text(p, k, knee);
        goal = goal_text(p, sweep_height(p, k, knee));
        longer = mem_format("%s%s%s at %s (%s %s)", text, *text == '\0' ? "" : "; ",
                            p->t.key[k].name, at, p->grid ? "best" : "median", goal);
        free(goal);
        free(at);
        free(text);
        text = longer;
    }
    if (*text != '\0') {
        char *longer = mem_format("%s: more brings less from there on.", text);

        free(text);
        text = longer;
    }
    return text;
}

/* "3 points, down to 40 tokens per s with 10 ms at 99 %." */
static char *describe_front(const struct sweep_page *p, const char *what,
                            sweep_cost *cost, struct text_figure (*text)(double))
{
    size_t count;
    const struct sweep_row **front = sweep_front(p, cost, &count);
    char *sentence = mem_strdup("");

    if (count > 1) {
        char *goal = goal_text(p, sweep_goal(p, front[count - 1]));

        free(sentence);
        sentence = mem_format("%zu points trade against %s: from the winner's %s to %s "
                              "with %s.",
                              count, what, text(cost(front[0])).text,
                              text(cost(front[count - 1])).text, goal);
        free(goal);
    } else if (count == 1) {
        free(sentence);
        sentence = mem_format("No point has less %s than the winner.", what);
    }
    free(front);
    return sentence;
}

static char *describe_fronts(const struct sweep_page *p)
{
    char *text = p->timed ? describe_front(p, "time per output token at 99 %",
                                           sweep_row_tail, text_time)
                          : mem_strdup("");

    explain_add(&text, describe_front(p, "GPU memory", sweep_row_memory, text_bytes));
    return text;
}

/* ... of the best point's result, and of the sweep. */
static void print_caveats(const struct sweep_page *p, const struct result *best)
{
    const struct result *results[1] = {best};
    const struct report_page page = {.results = results,
                                     .count = 1,
                                     .measure = p->timed ? MEASURE_TPOT : MEASURE_HITS,
                                     .out = p->out};

    report_caveats(&page);
    if (p->t.failed + p->t.missing == 0)
        return;
    (void)fprintf(p->out,
                  "<p class=note>Failed: %" PRIu64 "; missing or stopped: %" PRIu64 ".",
                  p->t.failed, p->t.missing);
    if (p->t.first_failure != NULL) {
        (void)fputs(" The first failure: ", p->out);
        text_markup(p->out, p->t.first_failure);
    }
    (void)fputs("</p>\n", p->out);
}

static void print_answer(const struct sweep_page *p, const struct result *best)
{
    char *name = sweep_row_name(p, p->order[0]);
    char *goal = goal_text(p, sweep_goal(p, p->order[0]));

    (void)fputs("<section class=\"card answer\">\n<h1>", p->out);
    text_markup(p->out, name);
    (void)fprintf(p->out, "%s: %s</h1>\n", is_tie(p) ? " is first of equals" : " wins",
                  goal);
    report_html_paragraph(p->html, "Winner", describe_winner(p));
    report_html_paragraph(p->html, "Reason", describe_reason(p));
    report_html_paragraph(p->html, "Knee", describe_knees(p));
    report_html_paragraph(p->html, "Front", describe_fronts(p));
    print_caveats(p, best);
    (void)fputs("</section>\n", p->out);
    free(goal);
    free(name);
}

/* ---- the table ---- */

static void print_row(const struct sweep_page *p, const struct sweep_row *row,
                      size_t rank)
{
    char *name = sweep_row_name(p, row);

    (void)fprintf(p->out, "<tr%s><td data-v=%zu>",
                  rank == 1 && !row->bound ? " class=winner" : "", rank);
    if (!row->bound)
        (void)fprintf(p->out, "%zu ", rank);
    text_markup(p->out, name);
    (void)fputs("</td>", p->out);
    free(name);
    report_html_cell(p->html, row->figure[ROW_TOKENS],
                     text_number(row->figure[ROW_TOKENS]), false);
    report_html_cell(p->html, row->figure[ROW_TPOT], text_time(row->figure[ROW_TPOT]),
                     false);
    report_html_cell(p->html, row->figure[ROW_HITS], text_share(row->figure[ROW_HITS]),
                     false);
    report_html_cell(p->html, sweep_row_memory(row), text_bytes(sweep_row_memory(row)),
                     false);
    report_html_cell(p->html, row->figure[ROW_TPOT_TAIL],
                     text_time(row->figure[ROW_TPOT_TAIL]), false);
    report_html_cell(p->html, row->figure[ROW_TTFT], text_time(row->figure[ROW_TTFT]),
                     false);
    report_html_cell(p->html, row->figure[ROW_LINK], text_bytes(row->figure[ROW_LINK]),
                     false);
    (void)fprintf(p->out, "<td data-v=%" PRIu64 ">%" PRIu64 "</td></tr>\n", row->point,
                  row->point);
}

/* The best of the bounds, each as far as one could get in its place. */
static void print_bounds(const struct sweep_page *p)
{
    if (p->bounds == 0)
        return;
    (void)fputs("<tbody class=bounds>\n<tr class=group><td colspan=9><span>Bounds: they "
                "know what comes</span></td></tr>\n",
                p->out);
    for (size_t i = 0; i < p->bounds && i < TABLE_ROWS; i++)
        print_row(p, p->order[p->ranked + i], i);
    (void)fputs("</tbody>", p->out);
}

static void begin_table(const struct sweep_page *p)
{
    (void)fputs(
        "<div class=\"card scroll\"><table class=\"policies sortable\"><thead><tr>"
        "<th>point</th><th>tokens<br>per s</th><th>TPOT<br>p50</th><th>hit<br>"
        "rate</th><th>GPU<br>memory</th><th>TPOT<br>p99</th><th>TTFT<br>p50</th>"
        "<th>over<br>the link</th><th>number</th></tr></thead><tbody>\n",
        p->out);
}

static size_t rank_of(const struct sweep_page *p, const struct sweep_row *row)
{
    size_t i = 0;

    while (p->order[i] != row)
        i++;
    return i + 1;
}

/* The points that trade GPU memory for what is ranked by. */
static void print_front(const struct sweep_page *p)
{
    enum { MOST = 24 };
    size_t count;
    const struct sweep_row **front = sweep_front(p, sweep_row_memory, &count);

    if (count > 1) {
        (void)fputs("<h2>The front: less GPU memory for less of the goal</h2>\n", p->out);
        begin_table(p);
        /* Of many, evenly spread ones, both ends among them. */
        for (size_t i = 0; i < count && i < MOST; i++) {
            size_t at = count <= MOST ? i : i * (count - 1) / (MOST - 1);

            print_row(p, front[at], rank_of(p, front[at]));
        }
        (void)fputs("</tbody></table></div>\n", p->out);
    }
    free(front);
}

static void print_table(const struct sweep_page *p)
{
    (void)fprintf(p->out, "<h2>Points</h2>\n");
    if (p->ranked > TABLE_ROWS)
        (void)fprintf(p->out, "<p class=sub>The best %d of %zu; sweep.csv has all.</p>\n",
                      TABLE_ROWS, p->ranked);
    begin_table(p);
    for (size_t i = 0; i < p->ranked && i < TABLE_ROWS; i++)
        print_row(p, p->order[i], i + 1);
    (void)fputs("</tbody>", p->out);
    print_bounds(p);
    (void)fputs("</table></div>\n<p class=sub>A head sorts by its column.</p>\n", p->out);
}

/* ---- the page ---- */

static void print_file(FILE *out, const char *summary, const char *text)
{
    (void)fprintf(out, "<details><summary>%s</summary><pre>", summary);
    text_markup(out, text);
    (void)fputs("</pre></details>\n", out);
}

static int print_provenance(const struct sweep_page *p, const struct result *best,
                            struct err *e)
{
    enum { LIMIT = 16 << 20 };
    char *path = mem_format("%s/study.yaml", p->sweep);
    char *study = file_read(path, LIMIT, &(size_t){0}, e);

    free(path);
    if (study == NULL)
        return -1;
    (void)fputs("<h2>Configuration and provenance</h2>\n<div class=\"card scroll\">"
                "<table class=facts><tbody>\n",
                p->out);
    report_html_fact(p->html, "sweep", p->sweep);
    report_html_fact(p->html, "trace", best->trace_path);
    report_html_fact(p->html, "source of the trace", best->trace_source);
    report_html_fact(p->html, "model", best->model);
    report_html_fact(p->html, "machine", best->machine);
    report_html_fact(p->html, "source of the machine", best->machine_source);
    report_html_fact(p->html, "identity of the best point", p->order[0]->identity);
    report_html_fact(p->html, "program", best->version);
    (void)fputs("</tbody></table></div>\n", p->out);
    print_file(p->out, "The study", study);
    print_file(p->out, "Configuration of the best point",
               best->config == NULL ? "" : best->config);
    free(study);
    return 0;
}

static int print_page(void *page, struct report_html *h, struct err *e)
{
    struct sweep_page *p = page;

    p->html = h;
    p->out = h->out;
    print_answer(p, p->best);
    (void)fprintf(p->out, "<p class=sub>%zu rows of policies in points; ", p->t.rows);
    for (size_t k = 0; k < p->t.keys; k++) {
        (void)fputs(k == 0 ? "" : ", ", p->out);
        text_markup(p->out, p->t.key[k].name);
        (void)fprintf(p->out, " (%zu values)", p->t.key[k].levels);
    }
    (void)fputs("</p>\n", p->out);
    if (sweep_figures(p, e) != 0)
        return -1;
    print_front(p);
    print_table(p);
    return print_provenance(p, p->best, e);
}

int report_sweep_write(const char *sweep, const struct report_place *place, struct err *e)
{
    struct sweep_page p = {.sweep = sweep};
    char *table = mem_format("%s/sweep.csv", sweep), *file;
    struct result best;
    int status = sweep_rows_read(table, &p.t, e);

    if (status == 0) {
        sweep_rank(&p);
        if (p.ranked == 0)
            status = err_set(e,
                             "%s: no point has a figure to rank by; its column 'why' "
                             "says what failed",
                             table);
    }
    if (status == 0) {
        file = mem_format("%s/points/%.2s/%s.h5", sweep, p.order[0]->identity,
                          p.order[0]->identity);
        status = result_read(file, &best, e);
        free(file);
        if (status == 0) {
            p.best = &best;
            status = report_html_write(place, "sweep - moesim report", print_page, &p, e);
            result_release(&best);
        }
    }
    free(p.order);
    free(p.effect);
    sweep_rows_release(&p.t);
    free(table);
    return status;
}

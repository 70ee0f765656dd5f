#include "report_validation.h"

#include "report_differs.h"
#include "report_html.h"
#include "sim/base/config.h"
#include "sim/base/csv.h"
#include "sim/base/file.h"
#include "sim/base/json.h"
#include "sim/base/mem.h"
#include "sim/base/percentile.h"
#include "sim/base/text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct validation_page {
    const char *validation;      /* its folder */
    const struct cfg_node *root; /* of summary.json */
    const struct cfg_node *policies;
    struct report_html *html;
    FILE *out; /* its */
};

/* ---- what summary.json says ---- */

/* The text under `key`; "" if there is none. */
static const char *text_of(const struct cfg_node *n, const char *key)
{
    const struct cfg_node *found = n == NULL ? NULL : cfg_find(n, key);
    const char *text = found == NULL ? NULL : cfg_text(found);

    return text == NULL ? "" : text;
}

/* NaN if there is none. */
static double number_of(const struct cfg_node *n, const char *key)
{
    double number;

    return report_number(text_of(n, key), &number) == NULL ? NAN : number;
}

static const struct cfg_node *part_of(const struct cfg_node *n, const char *key)
{
    const struct cfg_node *found = n == NULL ? NULL : cfg_find(n, key);

    return found != NULL && cfg_is_map(found) ? found : NULL;
}

/* Predicted less measured, over measured. */
static double error_of(const struct cfg_node *pair)
{
    double measured = number_of(pair, "measured_s");

    return measured > 0 ? number_of(pair, "predicted_s") / measured - 1 : NAN;
}

static struct text_figure signed_share(double x)
{
    struct text_figure share = text_share(x), with;

    if (!(x > 0))
        return share;
    (void)snprintf(with.text, sizeof with.text, "+%.14s", share.text);
    return with;
}

/* ---- the answer ---- */

static char *describe_order(const struct validation_page *p)
{
    double tau = number_of(p->root, "tau_b"), pairs = number_of(p->root, "tau_pairs");

    if (isnan(tau) || !(pairs > 0))
        return mem_strdup("no two policies were told apart by their measured times.");
    if (tau >= 1)
        return mem_format("the policies come out in the measured order (%.0f pairs are "
                          "told apart).",
                          pairs);
    return mem_format("the policies do not all come out in the measured order: Kendall's "
                      "tau-b is %.2f over %.0f pairs (1: the same order).",
                      tau, pairs);
}

/* The kind of operation that is farthest off in sum. */
static char *describe_cause(const struct validation_page *p)
{
    const struct cfg_node *kinds = part_of(p->root, "operations"), *worst = NULL;
    const char *name = "";
    double most = 0, all = 0;

    for (size_t i = 0; kinds != NULL && i < cfg_count(kinds); i++) {
        const struct cfg_node *kind = cfg_item(kinds, i);
        double off = fabs(number_of(kind, "predicted_s") - number_of(kind, "measured_s"));

        if (isnan(off))
            continue;
        all += off;
        if (off > most) {
            most = off;
            worst = kind;
            name = cfg_key(kinds, i);
        }
    }
    if (worst == NULL)
        return mem_strdup("no operation was compared.");
    return mem_format(
        "most of it is %s (%s of all that operations are off by): predicted "
        "%s, measured %s, %s.",
        name, text_share(most / all).text,
        text_time(number_of(worst, "predicted_s")).text,
        text_time(number_of(worst, "measured_s")).text,
        signed_share(error_of(worst)).text);
}

static void print_error(const struct validation_page *p, const struct cfg_node *pass)
{
    double median = number_of(pass, "median_abs_error");

    (void)fputs("<section class=\"card answer\">\n", p->out);
    if (isnan(median)) { /* all policies ran on what is emulated */
        (void)fputs("<h1>No pass was timed</h1>\n", p->out);
        return;
    }
    (void)fprintf(p->out, "<h1>Predicted passes are off by %s</h1>\n",
                  text_share(median).text);
    report_html_paragraph(
        p->html, "Error",
        mem_format("median of all passes; at worst %s. In sum predicted %s, measured "
                   "%s.",
                   text_share(number_of(pass, "worst_abs_error")).text,
                   text_time(number_of(pass, "predicted_s")).text,
                   text_time(number_of(pass, "measured_s")).text));
}

static void print_answer(const struct validation_page *p)
{
    const struct cfg_node *pass = part_of(p->root, "pass");
    const struct cfg_node *speed = part_of(p->root, "speed");
    const char *notes = text_of(p->root, "notes");
    char *name = mem_format("%s (%s)", text_of(p->root, "device_name"),
                            text_of(p->root, "device"));

    print_error(p, pass);
    report_html_paragraph(p->html, "Counts",
                          mem_strdup("hits, loads and bytes of both sides are equal: a "
                                     "validation where they are not writes nothing."));
    report_html_paragraph(p->html, "Order", describe_order(p));
    report_html_paragraph(p->html, "Reason", describe_cause(p));
    (void)fputs("<div class=caveat><b class=tag>Caveat</b><ul>\n<li><b>Measured on</b> ",
                p->out);
    text_markup(p->out, name);
    (void)fputs(", one device; it says nothing of another.</li>\n<li><b>Speed:</b> ",
                p->out);
    (void)fprintf(p->out, "the machine ran %s times as fast as its file says.</li>\n",
                  text_ratio(number_of(speed, "ratio")).text);
    if (*notes != '\0') {
        (void)fputs("<li>", p->out);
        text_markup(p->out, notes);
        (void)fputs("</li>\n", p->out);
    }
    (void)fputs("</ul></div>\n</section>\n", p->out);
    free(name);
}

/* ---- the table ---- */

static void print_table(const struct validation_page *p)
{
    (void)fputs("<h2>Policies</h2>\n<div class=\"card scroll\"><table class=\"policies "
                "sortable\"><thead><tr><th>policy</th><th>predicted<br>in sum</th><th>"
                "measured<br>in sum</th><th>error</th><th>median<br>of passes</th><th>"
                "worst<br>pass</th><th>spread of<br>repeats</th></tr></thead><tbody>\n",
                p->out);
    for (size_t i = 0; i < cfg_count(p->policies); i++) {
        const struct cfg_node *policy = cfg_item(p->policies, i);
        const struct cfg_node *pass = part_of(policy, "pass");
        double predicted = number_of(pass, "predicted_s");
        double measured = number_of(pass, "measured_s");
        double spread = number_of(policy, "repeats_spread");

        (void)fputs("<tr><td>", p->out);
        text_markup(p->out, text_of(policy, "policy"));
        (void)fputs("</td>", p->out);
        report_html_cell(p->html, predicted, text_time(predicted), false);
        report_html_cell(p->html, measured, text_time(measured), false);
        report_html_cell(p->html, error_of(pass), signed_share(error_of(pass)), false);
        report_html_cell(p->html, number_of(pass, "median_abs_error"),
                         text_share(number_of(pass, "median_abs_error")), false);
        report_html_cell(p->html, number_of(pass, "worst_abs_error"),
                         text_share(number_of(pass, "worst_abs_error")), false);
        report_html_cell(p->html, spread, text_share(spread), false);
        (void)fputs("</tr>\n", p->out);
    }
    (void)fputs("</tbody></table></div>\n", p->out);
}

/* ---- figures ---- */

static void add(FILE *out, double value)
{
    (void)fputc(',', out);
    csv_number(out, value);
}

static size_t print_pair(FILE *out, const char *name, const struct cfg_node *pair)
{
    if (isnan(error_of(pair)))
        return 0;
    plot_label(out, name);
    add(out, 1e3 * number_of(pair, "measured_s"));
    add(out, 1e3 * number_of(pair, "predicted_s"));
    (void)fputc('\n', out);
    return 2;
}

static int print_policies(const struct validation_page *p, FILE *out, size_t *series,
                          struct err *e)
{
    (void)e;
    (void)fputs("policy,measured,predicted\n", out);
    for (size_t i = 0; i < cfg_count(p->policies); i++) {
        const struct cfg_node *policy = cfg_item(p->policies, i);

        *series |= print_pair(out, text_of(policy, "policy"), part_of(policy, "pass"));
    }
    return 0;
}

static int print_operations(const struct validation_page *p, FILE *out, size_t *series,
                            struct err *e)
{
    const struct cfg_node *kinds = part_of(p->root, "operations");

    (void)e;
    (void)fputs("operation,measured,predicted\n", out);
    for (size_t i = 0; kinds != NULL && i < cfg_count(kinds); i++)
        *series |= print_pair(out, cfg_key(kinds, i), cfg_item(kinds, i));
    return 0;
}

/* The passes of one policy, as they come. */
struct spread {
    char *policy;
    double *error; /* absolute, in % of the measured time */
    size_t count;
};

static void print_spread(FILE *out, struct spread *s, size_t *series)
{
    static const double at[] = {0.05, 0.25, 0.50, 0.75, 0.95, 0.99};

    if (s->count > 0) {
        percentile_sort(s->error, s->count);
        plot_label(out, s->policy);
        for (size_t k = 0; k < sizeof at / sizeof *at; k++)
            add(out, percentile_of_sorted(s->error, s->count, at[k]));
        (void)fputc('\n', out);
        *series = sizeof at / sizeof *at;
    }
    free(s->policy);
    free(s->error);
    *s = (struct spread){.count = 0};
}

enum { WARMUP_CELL = 2, PREDICTED_CELL = 5, MEASURED_CELL = 6 };

/* Reads the line behind its first cell, which names the policy. */
static void take_pass(struct csv_reader *r, struct spread *s)
{
    double cell[MEASURED_CELL + 1] = {0};

    for (size_t i = 1; r->behind == ',' && csv_read(r); i++)
        if (i <= MEASURED_CELL)
            cell[i] = strtod(csv_text(r), NULL);
    if (cell[WARMUP_CELL] != 0 || !(cell[MEASURED_CELL] > 0))
        return;
    s->error = mem_grow(s->error, s->count, sizeof *s->error);
    s->error[s->count++] = 100 * fabs(cell[PREDICTED_CELL] / cell[MEASURED_CELL] - 1);
}

static int print_passes(const struct validation_page *p, FILE *out, size_t *series,
                        struct err *e)
{
    char *path = mem_format("%s/passes.csv", p->validation);
    struct csv_reader r = {.in = fopen(path, "r")};
    struct spread s = {.count = 0};
    int status = 0;

    if (r.in == NULL) {
        status = err_set(e, "%s: %s", path, strerror(errno));
        free(path);
        return status;
    }
    while (csv_read(&r) && r.behind == ',')
        ; /* the head */
    (void)fputs("policy,5 %,25 %,50 %,75 %,95 %,99 %\n", out);
    while (csv_read(&r)) {
        if (s.policy == NULL || strcmp(s.policy, csv_text(&r)) != 0) {
            print_spread(out, &s, series);
            s.policy = mem_strdup(csv_text(&r));
        }
        take_pass(&r, &s);
    }
    print_spread(out, &s, series);
    if (ferror(r.in) != 0)
        status = err_set(e, "%s cannot be read", path);
    (void)fclose(r.in);
    csv_release(&r);
    free(path);
    return status;
}

struct validation_figure {
    struct plot plot;
    const char *caption;
    int (*print)(const struct validation_page *p, FILE *out, size_t *series,
                 struct err *e);
};

static const struct validation_figure figures[] = {
    {{"marks", "predicted", "Predicted against measured", "all passes (ms)", "", 0,
      false},
     "Bars: measured. Marks: predicted.",
     print_policies},
    {{"marks", "operations", "Operations", "in sum over all policies (ms)", "", 0, false},
     "Bars: measured. Marks: predicted.",
     print_operations},
    {{"boxes", "errors", "Errors of passes", "error of a pass, without its sign (%)", "",
      0, false},
     "How the passes spread, those for warm-up left out.",
     print_passes},
};
enum { FIGURES = sizeof figures / sizeof *figures };

struct drawing {
    const struct validation_page *p;
    const struct validation_figure *f;
};

static int print_data(void *context, struct plot *plot, FILE *out, struct err *e)
{
    const struct drawing *d = context;

    return d->f->print(d->p, out, &plot->series, e);
}

static int print_figure(struct validation_page *p, const struct validation_figure *f,
                        struct err *e)
{
    struct plot plot = f->plot;
    struct drawing d = {p, f};

    return report_html_figure(p->html, &plot, f->caption, "There is nothing to draw.",
                              print_data, &d, e);
}

/* ---- the page ---- */

static int print_page(void *page, struct report_html *h, struct err *e)
{
    static const char *const fact[] = {
        "device", "device_name", "driver",  "clocks", "element", "machine", "model",
        "trace",  "date",        "version", "passes", "warmup",  "repeats"};
    struct validation_page *p = page;

    p->html = h;
    p->out = h->out;
    print_answer(p);
    print_table(p);
    (void)fputs("<h2>Figures</h2>\n", p->out);
    for (int i = 0; i < FIGURES; i++)
        if (print_figure(p, &figures[i], e) != 0)
            return -1;
    (void)fputs("<h2>Provenance</h2>\n<div class=\"card scroll\"><table class=facts>"
                "<tbody>\n",
                p->out);
    for (size_t i = 0; i < sizeof fact / sizeof *fact; i++)
        report_html_fact(p->html, fact[i], text_of(p->root, fact[i]));
    (void)fputs("</tbody></table></div>\n", p->out);
    return 0;
}

int report_validation_write(const char *validation, const struct report_place *place,
                            struct err *e)
{
    struct validation_page p = {.validation = validation};
    char *path = mem_format("%s/summary.json", validation);
    struct cfg *summary = cfg_load(path, e); /* JSON is YAML */
    int status = summary == NULL ? -1 : 0;

    if (status == 0) {
        p.root = cfg_root(summary);
        p.policies = cfg_is_map(p.root) ? cfg_find(p.root, "policies") : NULL;
        if (p.policies == NULL || !cfg_is_list(p.policies) ||
            part_of(p.root, "pass") == NULL)
            status = err_set(e,
                             "%s: is no summary of moesim validate; name the folder "
                             "that it had as --out",
                             path);
    }
    if (status == 0)
        status =
            report_html_write(place, "validation - moesim report", print_page, &p, e);
    cfg_free(summary);
    free(path);
    return status;
}

void report_validation_own_files(struct folder_out *f)
{
    folder_out_own(f, "report.html");
    for (int i = 0; i < FIGURES; i++)
        plot_own(f, figures[i].plot.name);
}

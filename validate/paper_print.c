#include "paper_print.h"

#include "sim/base/plain.h"
#include "sim/base/json.h"
#include "sim/base/text.h"

#include <math.h>
#include <string.h>

static const char *const provenance[] = {"published", "estimate", "fitted"};

/* ---- for people ---- */

struct words {
    char text[32];
};

/* As many digits as were published, and one more where it may differ. */
static struct words predicted(const struct paper_row *row)
{
    const struct paper_quantity *q = &row->published;
    const char *unit = q->unit->name;
    struct words w;

    (void)snprintf(w.text, sizeof w.text, "%.*f%s%s",
                   q->decimals + (row->tolerance > 0.0), row->predicted / q->unit->scale,
                   *unit == '\0' ? "" : " ", unit);
    return w;
}

static struct words published(const struct paper_row *row)
{
    static const char *const sign[] = {"", ">= ", "<= "};
    const struct paper_quantity *q = &row->published;
    const char *unit = q->unit->name;
    struct words w;

    if (q->value == 0.0)
        return (struct words){"-"};
    (void)snprintf(w.text, sizeof w.text, "%s%.*f%s%s", sign[row->relation], q->decimals,
                   q->value / q->unit->scale, *unit == '\0' ? "" : " ", unit);
    return w;
}

static struct words percent(double share)
{
    struct words w;

    (void)snprintf(w.text, sizeof w.text, "%+.1f %%", share * 100.0);
    if (isnan(share))
        (void)snprintf(w.text, sizeof w.text, "-");
    return w;
}

static void print_constants(const struct paper *p, FILE *out)
{
    if (p->constants > 0)
        (void)fputs("\nConstants, the same in every replay:\n", out);
    for (size_t i = 0; i < p->constants; i++) {
        const struct paper_constant *c = &p->constant[i];

        (void)fputs("  ", out);
        text_cell(out, c->name, 34);
        plain_printf(out, " %12s  %s\n", c->text, provenance[c->provenance]);
        text_paragraph(out, "      ", "      ", "%s", c->source);
    }
}

static void print_row(const struct paper_row *row, FILE *out)
{
    bool broken = row->verdict == PAPER_BROKEN || row->verdict == PAPER_OPEN;

    text_cell(out, row->what, 38);
    plain_printf(out, " %12s", published(row).text);
    if (broken)
        (void)fprintf(out, " %12s %9s", "-", "-");
    else
        plain_printf(out, " %12s %9s", predicted(row).text, percent(row->error).text);
    if (paper_row_is_published(row))
        (void)fprintf(out, " %5.3g %%  %-8s %s\n", row->tolerance * 100.0,
                      row->fit ? "fit" : "held-out", paper_verdict_name(row->verdict));
    else
        (void)fprintf(out, " %7s  %-8s %s\n", "-", "-", paper_verdict_name(row->verdict));
    if (row->why != NULL)
        text_paragraph(out, "      ", "      ", "%s: %s", percent(row->miss).text,
                       row->why);
    if (broken)
        text_paragraph(out, "      ", "      ", "%s", row->broken.text);
}

static void print_counts(const char *name, const struct paper_counts *c, FILE *out)
{
    plain_printf(out,
                 "%s: %zu rows, %zu held out; %zu ok, %zu miss as explained, %zu "
                 "fail",
                 name, c->rows, c->held_out, c->ok, c->explained, c->failed);
    if (c->shown > 0)
        (void)fprintf(out, ", %zu not published", c->shown);
    if (!isnan(c->mean_held_out))
        (void)fprintf(out, "; mean error %.1f %% held out", c->mean_held_out * 100.0);
    if (!isnan(c->mean_fit))
        (void)fprintf(out, ", %.1f %% fitted", c->mean_fit * 100.0);
    (void)fputc('\n', out);
}

void paper_print(const struct paper *p, FILE *out)
{
    struct paper_counts c = paper_count(p);

    plain_printf(out, "%s: %s\n", p->name, p->title);
    text_paragraph(out, "  ", "  ", "%s", p->source);
    if (*p->notes != '\0')
        text_paragraph(out, "  ", "  ", "%s", p->notes);
    print_constants(p, out);
    (void)fprintf(out, "\n%-38s %12s %12s %9s %7s  %s\n", "", "published", "predicted",
                  "error", "bound", "used");
    for (size_t i = 0; i < p->rows; i++)
        print_row(&p->row[i], out);
    print_counts(p->name, &c, out);
    (void)fputc('\n', out);
}

static struct paper_counts count_all(const struct paper *p, size_t count)
{
    struct paper_counts all = {.mean_fit = NAN, .mean_held_out = NAN};

    for (size_t i = 0; i < count; i++) {
        struct paper_counts c = paper_count(&p[i]);

        all.rows += c.rows;
        all.held_out += c.held_out;
        all.shown += c.shown;
        all.ok += c.ok;
        all.explained += c.explained;
        all.failed += c.failed;
    }
    return all;
}

void paper_print_total(const struct paper *p, size_t count, FILE *out)
{
    struct paper_counts all = count_all(p, count);

    print_counts("All tables", &all, out);
}

void paper_print_refit(const struct paper *p, const struct paper_refit *r, FILE *out)
{
    plain_printf(out,
                 "%s: %zu constants, fitted again on the %zu rows marked so\n\n%-34s "
                 "%12s %12s %10s\n",
                 p->name, r->constants, r->rows, "", "stated", "fitted", "+-");
    for (size_t i = 0; i < r->constants; i++) {
        const struct paper_constant *c = r->constant[i];

        text_cell(out, c->name, 34);
        plain_printf(out, " %12s %12.6g %10.2g  %s\n", c->text, r->value[i], r->error[i],
                     r->equal[i] ? "equal as far as stated" : "DIFFERENT");
    }
}

/* ---- for programs ---- */

static const char *verdict_key(enum paper_verdict v)
{
    static const char *const key[] = {
        [PAPER_OPEN] = "open",
        [PAPER_OK] = "ok",
        [PAPER_SHOWN] = "shown",
        [PAPER_EXPLAINED] = "missed",
        [PAPER_UNEXPLAINED] = "unexplained",
        [PAPER_STALE] = "stale",
        [PAPER_NEEDLESS] = "needless",
        [PAPER_BROKEN] = "broken",
    };

    return key[v];
}

static void json_pair(FILE *out, const char *key, const char *value)
{
    (void)fprintf(out, ", \"%s\": ", key);
    json_string(out, value);
}

static void json_figure(FILE *out, const char *key, double value)
{
    (void)fprintf(out, ", \"%s\": ", key);
    json_number(out, value);
}

static void json_row(const struct paper_row *row, FILE *out)
{
    static const char *const relation[] = {"about", "at-least", "at-most"};
    static const char *const unit[] = {"", "s", "B"};
    bool known = row->verdict != PAPER_BROKEN && row->verdict != PAPER_OPEN;

    (void)fputs("{\"what\": ", out);
    json_string(out, row->what);
    json_pair(out, "unit", unit[row->published.unit->dimension]);
    json_figure(out, "published",
                paper_row_is_published(row) ? row->published.value : NAN);
    json_figure(out, "predicted", known ? row->predicted : NAN);
    json_figure(out, "error", known ? row->error : NAN);
    json_figure(out, "tolerance", row->tolerance);
    json_pair(out, "is", relation[row->relation]);
    (void)fprintf(out, ", \"fit\": %s", row->fit ? "true" : "false");
    json_pair(out, "verdict", verdict_key(row->verdict));
    (void)fprintf(out, ", \"fails\": %s",
                  paper_verdict_fails(row->verdict) ? "true" : "false");
    if (row->why != NULL) {
        json_figure(out, "explained_error", row->miss);
        json_pair(out, "why", row->why);
    }
    if (row->broken.text[0] != '\0')
        json_pair(out, "broken", row->broken.text);
    (void)fputc('}', out);
}

static void json_constant(const struct paper_constant *c, FILE *out)
{
    (void)fputs("{\"name\": ", out);
    json_string(out, c->name);
    json_pair(out, "value", c->text);
    json_pair(out, "provenance", provenance[c->provenance]);
    json_pair(out, "source", c->source);
    (void)fputc('}', out);
}

static void json_counts(const struct paper_counts *c, FILE *out)
{
    (void)fprintf(
        out,
        "\"rows\": %zu, \"held_out\": %zu, \"shown\": %zu, \"ok\": %zu, \"missed\": %zu, "
        "\"failed\": %zu",
        c->rows, c->held_out, c->shown, c->ok, c->explained, c->failed);
}

static void json_table(const struct paper *p, FILE *out)
{
    struct paper_counts c = paper_count(p);

    (void)fputs("{\"name\": ", out);
    json_string(out, p->name);
    json_pair(out, "title", p->title);
    json_pair(out, "source", p->source);
    json_pair(out, "notes", p->notes);
    (void)fputs(", \"counts\": {", out);
    json_counts(&c, out);
    json_figure(out, "mean_error_fit", c.mean_fit);
    json_figure(out, "mean_error_held_out", c.mean_held_out);
    (void)fputs("},\n  \"constants\": [", out);
    for (size_t i = 0; i < p->constants; i++) {
        (void)fputs(i == 0 ? "\n   " : ",\n   ", out);
        json_constant(&p->constant[i], out);
    }
    (void)fputs("],\n  \"table\": [", out);
    for (size_t i = 0; i < p->rows; i++) {
        (void)fputs(i == 0 ? "\n   " : ",\n   ", out);
        json_row(&p->row[i], out);
    }
    (void)fputs("]}", out);
}

void paper_print_json(const struct paper *p, size_t count, FILE *out)
{
    struct paper_counts all = count_all(p, count);

    (void)fputs("{", out);
    json_counts(&all, out);
    (void)fputs(", \"tables\": [\n ", out);
    for (size_t i = 0; i < count; i++) {
        (void)fputs(i == 0 ? "" : ",\n ", out);
        json_table(&p[i], out);
    }
    (void)fputs("]}\n", out);
}

/* ---- JUnit ---- */

static void junit_message(const struct paper_row *row, FILE *out)
{
    if (row->verdict == PAPER_BROKEN || row->verdict == PAPER_OPEN) {
        text_markup(out, row->broken.text);
        return;
    }
    text_markup(out, paper_verdict_name(row->verdict));
    if (row->verdict == PAPER_SHOWN) {
        plain_printf(out, ": predicted %s", predicted(row).text);
        return;
    }
    (void)fputs(": published ", out);
    text_markup(out, published(row).text);
    plain_printf(out, ", predicted %s (%s)", predicted(row).text,
                 percent(row->error).text);
    if (row->why != NULL) {
        (void)fprintf(out, "; explained %s: ", percent(row->miss).text);
        text_markup(out, row->why);
    }
}

static void junit_row(const struct paper *p, const struct paper_row *row, FILE *out)
{
    const bool well = row->verdict == PAPER_OK || row->verdict == PAPER_SHOWN;
    const char *element = "system-out";

    if (row->verdict == PAPER_BROKEN || row->verdict == PAPER_OPEN)
        element = "error";
    else if (paper_verdict_fails(row->verdict))
        element = "failure";
    else if (row->verdict == PAPER_EXPLAINED)
        element = "skipped";
    (void)fputs("    <testcase classname=\"papers.", out);
    text_markup(out, p->name);
    (void)fputs("\" name=\"", out);
    text_markup(out, row->what);
    (void)fprintf(out, "\"><%s", element);
    (void)fputs(well ? ">" : " message=\"", out);
    junit_message(row, out);
    if (well)
        (void)fprintf(out, "</%s></testcase>\n", element);
    else
        (void)fputs("\"/></testcase>\n", out);
}

void paper_print_junit(const struct paper *p, size_t count, FILE *out)
{
    (void)fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n", out);
    for (size_t i = 0; i < count; i++) {
        size_t failures = 0, errors = 0, skipped = 0;

        for (size_t k = 0; k < p[i].rows; k++) {
            enum paper_verdict v = p[i].row[k].verdict;

            errors += v == PAPER_BROKEN || v == PAPER_OPEN;
            failures += paper_verdict_fails(v) && v != PAPER_BROKEN && v != PAPER_OPEN;
            skipped += v == PAPER_EXPLAINED;
        }
        (void)fputs("  <testsuite name=\"papers.", out);
        text_markup(out, p[i].name);
        (void)fprintf(out,
                      "\" tests=\"%zu\" failures=\"%zu\" errors=\"%zu\" "
                      "skipped=\"%zu\">\n",
                      p[i].rows, failures, errors, skipped);
        for (size_t k = 0; k < p[i].rows; k++)
            junit_row(&p[i], &p[i].row[k], out);
        (void)fputs("  </testsuite>\n", out);
    }
    (void)fputs("</testsuites>\n", out);
}

#include "paper_print.h"

#include "paper_check.h"

#include "sim/base/plain.h"
#include "sim/base/text.h"

#include <math.h>
#include <stdlib.h>

/* ---- for people ---- */

struct words {
    char text[32];
};

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
        plain_printf(out, " %12s  %s\n", c->text, paper_provenance_name(c));
        text_paragraph(out, "      ", "      ", "%s", c->source);
    }
}

static void print_row(const struct paper_row *row, FILE *out)
{
    bool broken = row->verdict == PAPER_BROKEN || row->verdict == PAPER_OPEN;
    char *published = paper_published_text(row), *predicted = paper_predicted_text(row);

    text_cell(out, row->what, 38);
    plain_printf(out, " %12s", published);
    if (broken)
        (void)fprintf(out, " %12s %9s", "-", "-");
    else
        plain_printf(out, " %12s %9s", predicted, percent(row->error).text);
    free(published);
    free(predicted);
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

/* Pieces of the pages' HTML: what the pages of results, sweeps and validations share. */
#ifndef MOESIM_REPORT_REPORT_HTML_H
#define MOESIM_REPORT_REPORT_HTML_H

#include "plot.h"
#include "report_place.h"
#include "sim/base/text.h"

/* A page that is being written. */
struct report_html {
    FILE *out;
    const struct report_place *place;
    bool undrawn; /* gnuplot is missing or failed, as the page says */
};

/* Writes FOLDER/report.html whole or not at all: begin, `print`, end. 0; 1: some figure
 * is not drawn; or -1. */
int report_html_write(const struct report_place *place, const char *title,
                      int (*print)(void *page, struct report_html *h, struct err *e),
                      void *page, struct err *e);
/* A paragraph of the answer, or nothing where the text, which it takes, is empty. */
void report_html_paragraph(const struct report_html *h, const char *tag, char *text);
/* A cell that sorts by its value. */
void report_html_cell(const struct report_html *h, double value, struct text_figure text,
                      bool best);
/* A row of a table of facts. */
void report_html_fact(const struct report_html *h, const char *name, const char *value);
/* The data of a figure: FOLDER/NAME.csv, written by `print`, which sets its series and
 * may set more. Draws it and writes the figure, or the sentence why there is none; `none`
 * is that where there are no data, and with NULL the figure is left out then. 0 or -1. */
int report_html_figure(struct report_html *h, struct plot *plot, const char *caption,
                       const char *none,
                       int (*print)(void *context, struct plot *plot, FILE *out,
                                    struct err *e),
                       void *context, struct err *e);

#endif

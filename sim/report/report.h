/* The report page: one self-contained HTML file (its style and the script that sorts its
 * tables are in it; nothing comes from outside) with the answer first: winner, reason,
 * caveat; then tables, figures, what limits each policy, configuration and provenance of
 * one or several results. Beside it stand the data of each figure (CSV) and its drawings
 * (plot.h), drawn by gnuplot with the scripts of plots/. Without gnuplot the page says so
 * in place of the figures. Equal results give byte-equal pages.
 *
 * Policies are ranked by the median time per output token (to the first token, or hits,
 * where there is none). Those that know what comes (result_foresees()) are bounds: they
 * stand apart, and cannot win. */
#ifndef MOESIM_REPORT_REPORT_H
#define MOESIM_REPORT_REPORT_H

#include "report_place.h"
#include "sim/result/curve.h"
#include "sim/result/result.h"

#include "sim/base/folder.h"

struct report_request {
    const struct result *const *results; /* [count] at least 1 */
    size_t count;
    const struct curve
        *curve; /* hits against slots of the first one's trace; NULL: none */
    struct report_place place;
};

/* Names all files that report_write() may write. */
void report_own_files(struct folder_out *f);
/* Writes FOLDER/report.html and the figures. Borrows all. 0; 1: gnuplot was missing or
 * failed, so that figures are missing, as the page says; or -1. */
int report_write(const struct report_request *request, struct err *e);

#endif

/* The report page: one self-contained HTML file (no scripts, nothing from outside) with
 * table, figures, verdicts, configuration and provenance of one or several results.
 * Beside it stand the data of each figure (CSV) and the figure (SVG), drawn by gnuplot
 * with the scripts of plots/. Without gnuplot the page says so in place of the figures.
 * Equal results give byte-equal pages. */
#ifndef MOESIM_REPORT_REPORT_H
#define MOESIM_REPORT_REPORT_H

#include "sim/result/result.h"

#include "sim/base/folder.h"

/* Names all files that report_write() may write. */
void report_own_files(struct folder_out *f);
/* Writes FOLDER/report.html and the figures; the folder is made if need be. Borrows all.
 * `plots_folder` is where the scripts are. 0; 1: gnuplot was missing or failed, so that
 * figures are missing, as the page says; or -1. */
int report_write(const struct result *const *results, size_t count, const char *folder,
                 const char *plots_folder, struct err *e);

#endif

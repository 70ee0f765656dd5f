/* A figure: its data as CSV, and gnuplot's drawings of them, one wide and one for a phone
 * (SVG), and for papers one as PDF. What a kind draws: plots/KIND.gp, which says the
 * columns of its data.
 *
 *   FOLDER/NAME.csv   FOLDER/NAME.svg   FOLDER/NAME-narrow.svg   FOLDER/NAME.pdf */
#ifndef MOESIM_REPORT_PLOT_H
#define MOESIM_REPORT_PLOT_H

#include "sim/base/err.h"
#include "sim/base/folder.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { PLOT_LINES = 8 }; /* lines in one figure: as many as there are colours */

struct plot {
    const char *kind; /* "bars", ... */
    const char *name; /* of its files */
    const char *title, *x, *y;
    size_t series; /* columns behind the first */
    bool log;      /* values on a logarithmic scale */
};

/* Why a figure is not there. */
enum plot_drawn {
    DRAWN,
    NOT_DRAWN_NO_GNUPLOT,
    NOT_DRAWN_FAILED, /* gnuplot could not draw it */
    NOT_DRAWN_NO_DATA /* nobody has any, e.g. no pass records */
};

/* A name as a field of the data: cut, and as gnuplot's CSV reader takes it. */
void plot_label(FILE *out, const char *label);
/* Draws FOLDER/NAME.csv. -1 if a drawing cannot be written. */
int plot_draw(const struct plot *p, const char *folder, const char *plots_folder,
              bool pdf, enum plot_drawn *drawn, struct err *e);
/* Names the files of a figure. */
void plot_own(struct folder_out *f, const char *name);
/* Copies both SVG drawings into a page, their ids made unique to the figure. 0 or -1. */
int plot_inline(const struct plot *p, const char *folder, FILE *out, struct err *e);

#endif

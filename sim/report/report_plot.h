/* The figures of a report: their data as CSV, and gnuplot's drawing of them. */
#ifndef MOESIM_REPORT_REPORT_PLOT_H
#define MOESIM_REPORT_REPORT_PLOT_H

#include "sim/result/result.h"

#define REPORT_MAX_BARS 32  /* policies in the figures of shares and bounds */
#define REPORT_MAX_SERIES 8 /* policies in the others: as many as there are colours */

/* One policy of one of the results. */
struct report_entry {
    const struct result *result;
    uint32_t policy;
    const char *label; /* unique enough for a legend */
};

enum report_figure {
    FIGURE_SHARES,
    FIGURE_SCATTER,
    FIGURE_LAYERS,
    FIGURE_BOUNDS,  /* several GPUs: time beside its bounds */
    FIGURE_BALANCE, /* ... imbalance by layer */
    FIGURE_LOAD,    /* ... rows by GPU */
    FIGURE_PASSES,
    REPORT_FIGURES
};
/* "shares", ...: of script, data and drawing. */
const char *report_figure_name(enum report_figure figure);

/* Why a figure is not there. */
enum report_drawn {
    DRAWN,
    NOT_DRAWN_NO_GNUPLOT,
    NOT_DRAWN_FAILED, /* gnuplot could not draw it */
    NOT_DRAWN_NO_DATA /* no policy has any, e.g. no pass records */
};

/* True if a figure says anything about a result: hits and stalls where something may
 * miss, bounds, balance and load over several GPUs, times where there are any. */
bool report_figure_suits(enum report_figure figure, const struct result *r);
/* Policies that it shows at most. */
size_t report_figure_most(enum report_figure figure);

/* A label as a field of the data: cut, and as gnuplot's CSV reader takes it. */
void report_plot_label(FILE *out, const char *label);
/* Draws `data` with the script PLOTS_FOLDER/NAME.gp, whose last argument is `series`. -1
 * if the drawing cannot be written. */
int report_plot_draw(const char *name, size_t series, const char *data,
                     const char *drawing, const char *plots_folder,
                     enum report_drawn *drawn, struct err *e);

/* Writes FOLDER/NAME.csv and, if gnuplot is there, FOLDER/NAME.svg. -1 if a file cannot
 * be written or a pass record not be read; what became of the drawing goes to `drawn`. */
int report_plot(enum report_figure figure, const struct report_entry *entry, size_t count,
                const char *folder, const char *plots_folder, enum report_drawn *drawn,
                struct err *e);

/* Copies the drawing into a page, its ids made unique to the figure. 0 or -1. */
int report_plot_inline(enum report_figure figure, const char *folder, FILE *out,
                       struct err *e);

#endif

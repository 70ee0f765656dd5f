/* The data of the report's figures. */
#ifndef MOESIM_REPORT_FIGURE_DATA_H
#define MOESIM_REPORT_FIGURE_DATA_H

#include "report_state.h"

struct figure; /* report_figures.c */

/* What a figure is drawn from. */
struct figure_data {
    const struct report_page *p;
    const struct figure *figure;
    struct report_entry *const *entry; /* [count] those it suits, by rank */
    size_t count;
    FILE *out;
    struct plot *plot; /* gets its series, 0: nothing to draw; and its scale */
};

/* Each writes the columns that its kind (plots/KIND.gp) wants. 0 or -1. */
typedef int figure_print(struct figure_data *d, struct err *e);
figure_print figure_shares, figure_prefetch, figure_tpot, figure_ttft, figure_bounds,
    figure_scatter, figure_front, figure_layers, figure_balance, figure_load,
    figure_passes, figure_axis, figure_curve, figure_quality;

#endif

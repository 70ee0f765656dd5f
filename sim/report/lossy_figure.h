/* The figure of what is lost for speed (plots/trade.gp): a mark for each point, lines
 * over knobs, and what is written beside the marks. */
#ifndef MOESIM_REPORT_LOSSY_FIGURE_H
#define MOESIM_REPORT_LOSSY_FIGURE_H

#include "lossy.h"
#include "plot.h"

#include <stdio.h>

/* Whether there is something to draw: some select loses something, or could. */
bool lossy_is_figure(const struct lossy *l);
/* Writes its data, and sets the plot's series. Times in ms, losses in %. */
void lossy_print_figure(const struct lossy *l, FILE *out, struct plot *plot);

#endif

/* What `moesim curve` prints: a table and what it says in sentences, CSV, JSON. */
#ifndef MOESIM_REPORT_PRINT_CURVE_H
#define MOESIM_REPORT_PRINT_CURVE_H

#include "sim/result/curve.h"

#include <stdio.h>

/* The rows of `c`, then knees, working sets and reuse distances. */
void curve_print(const struct curve *c, FILE *out);
/* Every point of every policy, of all layers together and, where each has its own slots,
 * of each. */
void curve_print_csv(const struct curve *c, FILE *out);
/* Accesses by layer and reuse distance. */
void curve_print_reuse_csv(const struct curve *c, FILE *out);
void curve_print_json(const struct curve *c, FILE *out);
/* Hit rates in % by slots, a column a policy, for the figure. */
void curve_print_figure(const struct curve *c, FILE *out);
/* Policies in it: up to PLOT_LINES. */
size_t curve_figure_series(const struct curve *c);

#endif

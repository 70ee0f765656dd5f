/* Figures that follow from a configuration without a replay, each worked out by the part
 * of the simulator that uses it: the gate's capacity, a placement's bytes, a cache. */
#ifndef MOESIM_VALIDATE_PAPER_FORMULA_H
#define MOESIM_VALIDATE_PAPER_FORMULA_H

#include "sim/experiment/experiment.h"

#include <stdio.h>

/* `n` is a mapping of `name` and that formula's options. Fills `value` in s, bytes or 1.
 * 0 or -1. */
int paper_formula(const struct cfg_node *n, const struct experiment_folders *folders,
                  double *value, struct err *e);
/* Names, options and meaning of all of them. */
void paper_formula_help(FILE *out);

#endif

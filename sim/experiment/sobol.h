/* Sobol's sequence. Two files have it: sobol.c by GSL, and sobol_none.c, for a program
 * that may not link GSL, says so. */
#ifndef MOESIM_EXPERIMENT_SOBOL_H
#define MOESIM_EXPERIMENT_SOBOL_H

#include "sim/base/err.h"

#include <stdint.h>

/* The first points of the sequence, u (point, dimension) in [0, 1); at most 40
 * dimensions. 0 or -1. */
int sobol_fill(double *u, uint64_t points, unsigned dimensions, struct err *e);

#endif

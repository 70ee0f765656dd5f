/* Percentiles by linear interpolation between closest ranks (numpy's default; type 7 of
 * Hyndman and Fan, "Sample quantiles in statistical packages", 1996). */
#ifndef MOESIM_BASE_PERCENTILE_H
#define MOESIM_BASE_PERCENTILE_H

#include <stddef.h>

/* Sorts ascending. No value may be NaN. */
void percentile_sort(double *value, size_t count);
/* The value below which a share `p` in [0, 1] lies; NaN for count 0. */
double percentile_of_sorted(const double *value, size_t count, double p);

#endif

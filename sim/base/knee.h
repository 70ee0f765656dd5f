/* The knee of a curve: where more begins to bring less (Satopaa, Albrecht, Irwin,
 * Raghavan, "Finding a kneedle in a haystack", ICDCS Workshops 2011). */
#ifndef MOESIM_BASE_KNEE_H
#define MOESIM_BASE_KNEE_H

#include <stddef.h>

/* The point farthest above the chord from the first to the last, both scaled to 0 .. 1;
 * x ascends. 0, which never is one, where no point is more than `least` above or the
 * curve does not rise. */
size_t knee_find(const double *x, const double *y, size_t count, double least);

#endif

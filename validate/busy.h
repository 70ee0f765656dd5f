/* Whether a machine that is about to be measured is at rest, by what Linux counts. */
#ifndef MOESIM_VALIDATE_BUSY_H
#define MOESIM_VALIDATE_BUSY_H

/* The share of all processors' time that was not idle between two texts of /proc/stat, 0
 * to 1; NaN where no time has passed. */
double busy_share(const char *before, const char *after);

#endif

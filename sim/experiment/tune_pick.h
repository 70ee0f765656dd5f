/* Which points a search looks at next: spread over the space, or of most worth. */
#ifndef MOESIM_EXPERIMENT_TUNE_PICK_H
#define MOESIM_EXPERIMENT_TUNE_PICK_H

#include "tune.h"

struct tune_pick; /* opaque, owned by the caller */

/* Borrows all. Owned. */
struct tune_pick *tune_pick_new(const struct tune_study *s, struct tune_outcome *o);
void tune_pick_free(struct tune_pick *p);

/* Up to `count` points that were not run yet and can be, spread by Sobol's sequence
 * (GSL's) from a place that the seed draws. Adds them to `point` (owned by the caller);
 * returns how many. Those that cannot be run are counted in the outcome. */
size_t tune_pick_spread(struct tune_pick *p, size_t count, struct tune_point *point);
/* The same by worth, given the trials so far. */
size_t tune_pick_worthy(struct tune_pick *p, size_t count, double weight,
                        struct tune_point *point);

#endif

/* How many distinct experts a batch could do without at a given loss of gate mass: what
 * policies rest on that narrow a batch's experts. Takes the steps of concurrent.h, with
 * masses. */
#ifndef MOESIM_TRACES_DROPS_H
#define MOESIM_TRACES_DROPS_H

#include "concurrent.h"

enum { DROP_LOSSES = 3 };
extern const unsigned drop_percent[DROP_LOSSES]; /* of the batch's mass: 1, 5, 10 */

/* Sums over steps and layers. The experts of a step and layer by the mass of the batch's
 * executed choices of them, ascending: as many as do not exceed the loss together. Where
 * that is zero for all of them, nothing is known and none is dropped. */
struct drop_sums {
    uint64_t steps, distinct, dropped[DROP_LOSSES];
};

struct drops;

struct drops *drops_new(const struct trace_info *info);
void drops_free(struct drops *d);
/* The plan's `step`; `context` is the struct drops. */
void drops_step(void *context, const struct concurrent_step *s);
/* What was summed since the last call, or the first. */
struct drop_sums drops_take(struct drops *d);

#endif

/* Loops over policies: an entry of `policies` with
 *
 *     - {preset: lru-on-demand, for: {cache.slots: [4, 8, 16], prefetch: [none, markov]}}
 *
 * stands for one policy at each point of its `for`, a sweep's keys and values
 * (sweep_points.h) without "policies.N." before them. */
#ifndef MOESIM_EXPERIMENT_LOOPS_H
#define MOESIM_EXPERIMENT_LOOPS_H

#include "sim/base/config.h"

/* Most policies that entries with loops may stand for, with those without. */
enum { LOOPS_MOST = 256 };

/* Puts the policies that entries with `for` stand for in their place; a fault in one lies
 * where it was written. Refuses a key that the entry says itself. What has none stays as
 * it is. 0 or -1. */
int loops_expand(struct cfg *config, struct err *e);
/* Refuses entries with `for`, for who runs one entry of `policies` at a time: 0 or -1. */
int loops_refuse(const struct cfg *config, struct err *e);

#endif

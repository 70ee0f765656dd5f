/* The points of a sweep: which configurations `sweep:` of a study stands for.
 *
 *     sweep:
 *       cache.slots: [4, 8, 16]              # of every policy
 *       policies.0.prefetch.distance: 1..4
 *       workload.batch: 1..64 log2           # 1, 2, 4, ... 64
 *       machine.h2d_pinned.bandwidth: 16..64 GB/s in 4
 *       points: {method: sobol, count: 200}  # without: the whole grid
 *
 * Which keys there are: sweep_axes.h. Values are a list of anything that may stand there,
 * or a range of numbers A..B with a unit, behind which may stand `log2` or `log10` (a
 * grid takes each power of it times A; points at random are spread evenly over orders of
 * magnitude), `step S`, or `in N` (that many values, evenly, or with log evenly by their
 * logarithms). Whole numbers without any of that go up by one. In a grid the last key
 * changes fastest.
 *
 * Random points, a Latin hypercube (McKay, Beckman, Conover 1979: each of N equal parts
 * of each key's range has one point) and Sobol's sequence (GSL's, at most 40 keys; its
 * first N points are among its first N + M) depend on nothing but `points:` and the keys.
 */
#ifndef MOESIM_EXPERIMENT_SWEEP_POINTS_H
#define MOESIM_EXPERIMENT_SWEEP_POINTS_H

#include "sim/base/config.h"

struct sweep_points; /* opaque, owned by the caller */

/* Borrows the study, whose other parts are not checked here. Owned, or NULL. */
struct sweep_points *sweep_points_new(const struct cfg *study, struct err *e);
/* The same of any mapping of keys to values; `called` is its key in the study. What it
 * stands for is put into configurations by sweep_points_put() alone. */
struct sweep_points *sweep_points_of(const struct cfg_node *map, const char *called,
                                     struct err *e);
void sweep_points_free(struct sweep_points *s);

uint64_t sweep_points_count(const struct sweep_points *s);
size_t sweep_points_keys(const struct sweep_points *s);
const char *sweep_points_key(const struct sweep_points *s, size_t k);
/* The value of key k in a point, as it would be written in one line. Owned. */
char *sweep_points_value(const struct sweep_points *s, uint64_t point, size_t k);
/* The configuration of a point: the study's, without `sweep:`. A fault in it stands where
 * it was written in the study. Owned, or NULL. */
struct cfg *sweep_points_config(const struct sweep_points *s, uint64_t point,
                                struct err *e);
/* Puts the values of a point into `c`, each under `above`, a dot and its key. 0 or -1. */
int sweep_points_put(const struct sweep_points *s, uint64_t point, struct cfg *c,
                     const char *above, struct err *e);
/* The mapping or value that key k stands for, for messages. */
const struct cfg_node *sweep_points_node(const struct sweep_points *s, size_t k);
/* Whether the sentence is about key k itself, not its values. */
bool sweep_points_blames(const struct sweep_points *s, size_t k, const struct err *e);

#endif

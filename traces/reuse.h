/* Reuse distances: every row's executed experts of a layer are accessed in ascending
 * order of their ids, row after row. The distance of an access is the number of distinct
 * experts of the layer accessed since the last access to the same one, itself included:
 * the least slots with which LRU hits it. (`moesim curve --protect none` has them too,
 * for passes of any shape; these are of one row a pass.) A visitor of rows_sweep.h.
 *
 * Only the bin of a distance is kept, so that an access moves one boundary of each bin
 * below it and takes O(log experts) (Kim, Hill, Wood, "Implementing stack simulation for
 * highly-associative memories", SIGMETRICS 1991, has the idea). */
#ifndef MOESIM_TRACES_REUSE_H
#define MOESIM_TRACES_REUSE_H

#include "rows_sweep.h"

/* [0] first uses; [b] distances above 2^(b - 2) up to 2^(b - 1). */
enum { REUSE_BINS_MOST = 14 };

struct reuse;

struct reuse *reuse_new(const struct trace_info *info);
void reuse_free(struct reuse *r);
void reuse_visit(void *context, const struct rows_layer *l); /* of the struct reuse */
/* Bins that distances up to the number of experts can fall into. */
uint32_t reuse_bins(uint32_t experts);
/* Accesses of a layer: [reuse_bins()]; borrowed. */
const uint64_t *reuse_counts(const struct reuse *r, uint32_t layer);

#endif

/* Drift: how much the popularity of a layer's experts moves along the file. Rows are in W
 * windows of equal length, row t of T in window floor(W t / T), and passes of count-only
 * traces likewise. The distance of two windows is the mean over layers that both have of
 * the total variation, 1/2 sum_e |p_a(e) - p_b(e)|, p being shares of activations: 0 for
 * equal ones, 1 for windows without a common expert.
 *
 * Windows differ by chance alone, too. Two figures say by how much:
 * - in_turn: the same distance, mean over all pairs, between W windows that took the
 *   requests (or passes) in turn, request r in window r mod W, so that none is earlier
 *   than another. It holds what makes requests differ from each other.
 * - independent: what windows of independent rows would have, to the first order. Of n
 *   recorded cells with k executed experts on average, the share p of an expert has the
 *   variance q (1 - q) / (k^2 n), q = min(1, k p), and the difference of two such shares
 *   is near to normal, so that the distance of windows a and b is expected to be
 *   1/2 sum_e sqrt(2/pi q (1 - q) (1 / n_a + 1 / n_b)) / k, with p of both together.
 *   (Count-only: k = 1, and n of activations.) It is less than the chance that is seen
 *   where rows of a request are alike. */
#ifndef MOESIM_TRACES_DRIFT_H
#define MOESIM_TRACES_DRIFT_H

#include "rows_sweep.h"

enum { DRIFT_WINDOWS_MOST = 8 };

/* Distances; -1 where there is no pair of windows to compare. */
struct trace_drift {
    uint32_t windows; /* W: 8, or the rows if there are fewer */
    double neighbours, first_to_last;
    double neighbours_independent, first_to_last_independent;
    double in_turn; /* of as many requests as windows at least */
};

struct drift;

struct drift *drift_new(const struct trace_info *info);
void drift_free(struct drift *d);
/* A visitor of rows_sweep.h, with tokens; `context` is the struct drift. */
void drift_visit(void *context, const struct rows_layer *l);
/* Of count-only traces: [layers * experts] of pass n. */
void drift_pass(struct drift *d, uint64_t n, const uint32_t *count);
struct trace_drift drift_measure(const struct drift *d);

#endif

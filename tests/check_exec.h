/* An executor that watches another: it passes every call on, remembers what was asked of
 * which slot, and proves at the end that the order it was asked in keeps the slots right
 * on any executor that honours the boundary's contract (sim/exec/op.h), whatever the
 * times:
 *
 * - a group reads each expert from a slot that was filled with it, after the copy;
 * - a copy into a slot begins after everything that filled or read the slot before;
 * - experts run after their layer's gate, on the GPU or on the host, each of those routed
 * to exactly once; and the next dense block or head after all of them.
 *
 * "After" is what dependencies, the order of each lane and the host's waits imply.
 * Prefetch copies count as unordered among themselves and against demand, since a
 * promotion moves them. */
#ifndef MOESIM_TESTS_CHECK_EXEC_H
#define MOESIM_TESTS_CHECK_EXEC_H

#include "sim/exec/op.h"

extern const struct exec_ops check_exec_ops;

/* Borrows `inner`. */
struct exec *check_exec_new(const struct exec_ops *ops, struct exec *inner);
/* Checks and frees; fails the test where a slot was not safe. */
void check_exec_end(struct exec *x);

#endif

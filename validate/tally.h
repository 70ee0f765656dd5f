/* An executor that passes every call on to another and counts what is asked of it: what
 * a run's prediction says an executor must have done in the end. */
#ifndef MOESIM_VALIDATE_TALLY_H
#define MOESIM_VALIDATE_TALLY_H

#include "sim/exec/op.h"

struct tally {
    uint64_t copies[WORK_CLASSES], in_bytes[WORK_CLASSES]; /* by class */
    uint64_t copies_out, out_bytes;
    uint64_t host_runs; /* experts on the host */
    uint64_t near_runs; /* ... near the data */
    uint32_t layers, experts;
    uint64_t *tokens; /* (layer, expert): rows computed */
};
/* All zero; tally_release. */
void tally_init(struct tally *t, uint32_t layers, uint32_t experts);
void tally_release(struct tally *t);
/* 0, or -1 naming the first difference. `label` is the policy's. */
int tally_compare(const char *label, const struct tally *predicted,
                  const struct tally *done, struct err *e);

extern const struct exec_ops tally_ops;
/* Borrows all. */
struct exec *tally_exec_new(const struct exec_ops *ops, struct exec *inner,
                            struct tally *counts);
/* Returns the inner one. */
struct exec *tally_exec_free(struct exec *x);

#endif

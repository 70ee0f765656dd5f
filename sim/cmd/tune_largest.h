/* `moesim tune CONFIG --largest-batch`. */
#ifndef MOESIM_CMD_TUNE_LARGEST_H
#define MOESIM_CMD_TUNE_LARGEST_H

#include "sim/experiment/experiment.h"

struct tune_largest {
    const struct experiment_folders *folders;
    struct shared *shared;
    unsigned threads;
    bool json;
    const char *out; /* folder for largest.csv, or NULL */
};

/* Finds, prints and writes the largest batch of each policy. 0, 1 (stopped by a signal)
 * or -1. */
int tune_largest(const struct cfg *study, const struct tune_largest *t, struct err *e);

#endif

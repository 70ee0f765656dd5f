/* `moesim run --params-json`: one point of somebody else's search, asked and told in
 * JSON. */
#ifndef MOESIM_CMD_RUN_POINT_H
#define MOESIM_CMD_RUN_POINT_H

#include "cmd.h"
#include "sim/experiment/experiment.h"

struct run_point {
    const char *params;    /* a file with one JSON object of keys to values; "-": stdin */
    const char *objective; /* name of a figure */
    const char *policy;    /* NULL: the only one, or what the object says */
    unsigned threads;
};

/* Prints one line: {"objective": ..., "figures": {...}}. An exit status, with the
 * sentence in `e`. */
int run_point(const struct cfg *study, const struct experiment_folders *folders,
              const struct run_point *p, struct err *e);
/* Prints {"error": ...} with the sentence, unless a signal stopped the run. */
void run_point_fail(const struct err *e);

#endif

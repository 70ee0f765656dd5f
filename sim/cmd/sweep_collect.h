/* What the points of a sweep gave, in one table: a line for each policy of each point
 * that was run, one for each that was not. */
#ifndef MOESIM_CMD_SWEEP_COLLECT_H
#define MOESIM_CMD_SWEEP_COLLECT_H

#include "sim/experiment/sweep.h"

/* A policy in a point, among the best. */
struct sweep_best {
    double tokens_per_s, tpot_p50, hit_rate;
    uint64_t point;
    char *label; /* owned */
};

enum { SWEEP_BEST = 10 };

struct sweep_collected {
    uint64_t done, failed, missing; /* points */
    char *first_failure;            /* owned; NULL without */
    size_t best_count;              /* those with most tokens per second, best first */
    struct sweep_best best[SWEEP_BEST];
};

/* Writes FOLDER/sweep.csv and FOLDER/sweep.h5. Fills `c` (sweep_collected_release). 0, 1
 * if a signal stopped it, or -1. `line` (NULL: none) shows the progress. */
int sweep_collect(const struct sweep *s, const char *folder, void *line,
                  struct sweep_collected *c, struct err *e);
void sweep_collected_release(struct sweep_collected *c);

/* How many points are there, what failed, and the best of them. */
void sweep_collected_print(const struct sweep *s, const struct sweep_collected *c,
                           FILE *out);

#endif

/* What `watch:` of a configuration says: whose misses are told apart into those that a
 * predictor could have foretold and others (sim/run/books.h, run_watched). */
#ifndef MOESIM_EXPERIMENT_WATCHING_H
#define MOESIM_EXPERIMENT_WATCHING_H

#include "sim/base/config.h"
#include "sim/policy/policy.h"
#include "sim/run/runner.h"

extern const struct option watching_options[];

/* Owns what it points into; zero: nothing is watched. */
struct watching {
    char *text; /* "markov", "markov width=4"; NULL: nothing */
    struct run_watch run;
    struct policy *policy[RUN_WATCH_DISTANCES]; /* whose prefetch slot is the predictor */
    struct cfg *document[RUN_WATCH_DISTANCES];
};

/* Reads the mapping; `n` NULL: nothing is watched. 0 or -1; either way release it. */
int watching_read(struct watching *w, const struct cfg_node *n, const char *preset_folder,
                  struct err *e);
void watching_release(struct watching *w);

#endif

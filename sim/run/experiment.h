/* An experiment: one configuration file, run to a result.
 *
 * It loads trace, model and machine, checks that they go together and fit, runs every
 * policy on the same workload (in parallel, each with its own executor), and beside them
 * the reference runs that the bounds need. The result does not depend on the number of
 * threads. See README.md for the keys of the configuration. */
#ifndef MOESIM_RUN_EXPERIMENT_H
#define MOESIM_RUN_EXPERIMENT_H

#include "result.h"

/* Where models, machines and presets are found; borrowed. */
struct experiment_folders {
    const char *models, *machines, *presets;
};

enum experiment_launch { LAUNCH_AUTO, LAUNCH_EAGER, LAUNCH_GRAPH };
enum experiment_home { HOME_AUTO, HOME_HOST, HOME_STORAGE };
enum experiment_engine { ENGINE_AUTO, ENGINE_FIFO, ENGINE_EVENT, ENGINE_COUNT };

struct experiment_params {
    const char *trace, *model, *machine, *profile;
    int64_t seed;
    int launch;          /* enum experiment_launch */
    int home;            /* enum experiment_home */
    uint64_t gpu_bytes;  /* GPU memory that may be used; 0: the machine's */
    uint64_t host_bytes; /* host memory for experts; 0: the machine's */
    bool pageable;
    uint64_t chunk_bytes;
    int engine; /* enum experiment_engine */
    bool bounds;
    bool keep_passes;
    int64_t timeline_passes;
    const struct cfg_node *workload, *policies;
};
extern const struct option experiment_options[];

struct experiment_hooks {
    /* Called from any run's thread, now and then; rows of all runs together. NULL: none.
     */
    void (*progress)(void *context, uint64_t rows_done, uint64_t rows_total);
    void *context;
    const char *timeline_path;     /* NULL: no timeline */
    const struct machine *machine; /* instead of the configuration's; borrowed; or NULL */
};

/* Runs the configuration with up to `threads` threads. Fills `r` (owned; borrows
 * nothing). Returns 0; 1 if a signal stopped it (the result covers what was done, and
 * says so in its notes); or -1. */
int experiment_run(struct cfg *config, const struct experiment_folders *folders,
                   unsigned threads, const struct experiment_hooks *hooks,
                   struct result *r, struct err *e);

#endif

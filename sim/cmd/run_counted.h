/* `moesim run` on a trace of counts only. */
#ifndef MOESIM_CMD_RUN_COUNTED_H
#define MOESIM_CMD_RUN_COUNTED_H

#include "cmd.h"
#include "sim/experiment/counted_run.h"

struct run_counted {
    const char *out; /* NULL: no files */
    bool json, csv;
    const struct experiment_hooks *hooks;
};

/* Prints; writes summary.csv, gpu_tokens.csv and a map for each policy, placement-0.json
 * and so on, into the folder. `path` is the configuration's. An exit status, with the
 * sentence in `e`. */
int run_counted(struct cfg *config, const char *path,
                const struct experiment_folders *folders, const struct run_counted *how,
                struct err *e);

#endif

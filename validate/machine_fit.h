/* Fits numbers of a machine file to the measured steps of a recorded run. The model of
 * the fit is the simulator itself: for every trial machine the experiment's first policy
 * is replayed, and what its passes are predicted to take is held against what was
 * measured. The first `train` steps are fitted; the rest is held out and only compared.
 *
 * Step k (from 0) is pass first_pass + k of the run. A *match* says which measured
 * columns are which part of a pass: "stall_ms+mgmt_ms=copy+host". Parts: latency (the
 * whole pass), dense, expert, copy, comm, imbalance, host (the shares of runner.h).
 *
 * Weights: the standard deviation of a measurement is taken to grow with a power of it:
 * 0 (absolute), 1/2 (duration: a step is a sum of many small times that vary
 * independently, so its variance grows as it does), 1 (relative). Each match has a scale
 * of its own, found from its residuals in a first round. */
#ifndef MOESIM_VALIDATE_MACHINE_FIT_H
#define MOESIM_VALIDATE_MACHINE_FIT_H

#include "measured.h"

#include "models/fit.h"
#include "sim/experiment/experiment.h"

enum { MACHINE_FIT_MATCHES = 8 };

enum machine_fit_weight { WEIGHT_ABSOLUTE, WEIGHT_DURATION, WEIGHT_RELATIVE };

struct machine_fit_setup {
    struct cfg *config; /* of the experiment; changed: no bounds, no timeline */
    const struct experiment_folders *folders;
    const struct measured *measured;
    const char *total;            /* the column of whole steps, compared in the end */
    const char *const *match;     /* [matches] "COLUMNS=PARTS" */
    size_t matches;               /* 1 .. MACHINE_FIT_MATCHES */
    const char *const *parameter; /* [parameters] "storage.bandwidth", keys of the file */
    size_t parameters;            /* 1 .. FIT_MAX_PARAMETERS */
    uint64_t first_pass;
    size_t train; /* steps fitted, less than measured->steps */
    enum machine_fit_weight weight;
};

struct machine_fit_result {
    struct cfg *machine; /* the file's document with the fitted numbers; owned */
    struct fit_result fit;
    double start[FIT_MAX_PARAMETERS];
    const char *unit[FIT_MAX_PARAMETERS]; /* " GB/s"; borrowed from the document */
    size_t steps;
    double *predicted, *measured;  /* [steps] seconds of the whole step; owned */
    struct fit_errors train, test; /* of those */
    struct fit_errors part_train[MACHINE_FIT_MATCHES], part_test[MACHINE_FIT_MATCHES];
};

/* 0 or -1. */
int machine_fit_run(const struct machine_fit_setup *setup, struct machine_fit_result *r,
                    struct err *e);
void machine_fit_release(struct machine_fit_result *r);

/* Writes the fitted machine file; each fitted number gets the source `source` with its
 * standard error, and the mean error of the held-out steps. `path` must end in ".yaml";
 * the machine is called by its last part. 0 or -1. */
int machine_fit_write(const struct machine_fit_setup *setup,
                      const struct machine_fit_result *r, const char *source,
                      const char *path, struct err *e);

#endif

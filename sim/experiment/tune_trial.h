/* Runs of a search: a study at a point, over its whole trace or over a first part of it.
 */
#ifndef MOESIM_EXPERIMENT_TUNE_TRIAL_H
#define MOESIM_EXPERIMENT_TUNE_TRIAL_H

#include "experiment.h"
#include "tune_space.h"
#include "tune_spec.h"
#include "sim/result/result_figures.h"

/* What all runs of a search have in common; all borrowed. */
struct tune_study {
    const struct cfg *study;
    const struct tune_spec *spec;
    const struct tune_space *space;
    const struct experiment_folders *folders;
    struct shared *shared;
};

struct tune_trial {
    struct tune_point point; /* owned */
    double share;            /* of the trace's requests; 1: the whole trace */
    bool ran;                /* else `why` says why not, and there are no figures */
    char *why;               /* owned */
    double figure[RESULT_FIGURES];
};
void tune_trial_release(struct tune_trial *t);

enum tune_fate {
    TUNE_GOOD,
    TUNE_REFUSED,  /* it cannot be run, whatever the part */
    TUNE_FORESEES, /* its policy knows what comes later */
};

/* Whether a point can be run, without running it; fills the sentence where it is refused.
 */
enum tune_fate tune_trial_check(const struct tune_study *s, const struct tune_point *p,
                                struct experiment_facts *facts, struct err *why);

/* The share that a run over `wanted` of the trace takes: of whole requests, and at least
 * as many as make two batches, so that a part is like the whole. 1: the whole trace. */
double tune_trial_share(const struct experiment_facts *f, double wanted);

/* The configuration of a run over a share of the trace: without bounds that nobody asked
 * for and without a record per pass. Owned, or NULL. */
struct cfg *tune_trial_config(const struct tune_study *s, const struct tune_point *p,
                              const struct experiment_facts *f, double share,
                              struct err *e);

/* Runs trials, whose points and shares are filled in, on up to `threads` threads, and
 * fills in the rest. 0, or 1 if a signal stopped it. */
int tune_trial_run(const struct tune_study *s, struct tune_trial *t, size_t count,
                   unsigned threads);

/* Whether a trial over the whole trace ran and keeps to all limits. */
bool tune_trial_allowed(const struct tune_spec *s, const struct tune_trial *t);
/* What its first or second goal costs: smaller is better. NaN where it did not run. */
double tune_trial_cost(const struct tune_spec *s, const struct tune_trial *t,
                       size_t goal);

#endif

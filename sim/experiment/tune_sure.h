/* How sure the best of a search is: the same point at other seeds, and beside the second
 * one, request by request. */
#ifndef MOESIM_EXPERIMENT_TUNE_SURE_H
#define MOESIM_EXPERIMENT_TUNE_SURE_H

#include "tune.h"
#include "sim/result/result.h"

enum tune_spread {
    TUNE_NO_SPREAD,  /* nothing is known of it */
    TUNE_BY_SEED,    /* mean of the first goal over seeds, Student's t, 95 % */
    TUNE_BY_REQUEST, /* no seed changes it; over requests drawn again (Efron, "Bootstrap
                        methods", Annals of Statistics 7, 1979), 95 % */
};

struct tune_sure {
    bool drawn; /* other seeds give other figures */
    enum tune_spread spread;
    size_t seeds; /* runs that `mean` is over, the study's own seed among them */
    double mean, low, high;
    double least, most; /* over the seeds */
};

/* One point beside another, on the same requests: ratios of b / a. */
struct tune_pair {
    bool present;
    size_t a, b;           /* trials */
    double a_goal, b_goal; /* figures of the first goal */
    struct result_comparison c;
};

/* Runs the best as the study says, with bounds and passes, into `best` (owned). 0, 1
 * (stopped by a signal) or -1. */
int tune_sure_run(const struct tune_study *s, const struct tune_point *p,
                  unsigned threads, struct result *best, struct err *e);
/* What other seeds make of it. 0, 1 or -1. */
int tune_sure_spread(const struct tune_study *s, const struct tune_point *p,
                     unsigned threads, const struct result *best, struct tune_sure *sure,
                     struct err *e);
/* Trials a and b side by side; either may be TUNE_NONE, and then there is no pair. 0, 1
 * or -1. */
int tune_sure_pair(const struct tune_study *s, const struct tune_outcome *o, size_t a,
                   size_t b, unsigned threads, struct tune_pair *pair, struct err *e);
/* The trial of least cost that is allowed and has (`has`), or has not, a policy;
 * TUNE_NONE without. */
size_t tune_sure_best(const struct tune_study *s, const struct tune_outcome *o,
                      size_t policy, bool has);

#endif

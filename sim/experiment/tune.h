/* A search for the best configuration of a study within a number of runs (`tune:`).
 *
 * Successive halving comes first (Jamieson and Talwalkar, "Non-stochastic best arm
 * identification and hyperparameter optimization", AISTATS 2016): points spread over the
 * space run over a first part of the trace, the best of them over a longer one, the best
 * of those over all of it. Every further run takes the whole trace, at the point with
 * most worth by what is known (tune_model.h), a few together. A space of no more points
 * than runs is run whole.
 *
 * What is called the best was run over the whole trace and keeps to all limits. Points
 * whose policies know what comes later are left out. Where points are is drawn by
 * `tune: {seed: ...}` alone; the outcome is the same for any number of threads. */
#ifndef MOESIM_EXPERIMENT_TUNE_H
#define MOESIM_EXPERIMENT_TUNE_H

#include "tune_trial.h"

#define TUNE_NONE SIZE_MAX

struct tune_outcome {
    struct tune_trial *trial; /* [trials], in the order of their runs */
    size_t trials;
    size_t best, second; /* of those that are allowed; or TUNE_NONE */
    size_t nearest;      /* without a best: the one that misses its limits by least */
    size_t *front;       /* [fronts] what no other one is better than in all goals and
                            limited figures; by the first goal */
    size_t fronts;
    size_t refused; /* points that cannot be run, and were not */
    char *refusal;  /* the first one's sentence; or NULL */
    size_t foreseeing;
    bool whole; /* all points of the space were run over the whole trace */
    double seconds;
};

struct tune_hooks {
    unsigned threads;
    /* Told after each few runs. NULL: nobody. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
};

/* Fills `o`, which is released either way. 0; 1 if a signal stopped it; -1: no point can
 * be run, as the sentence says. */
int tune_search(const struct tune_study *s, const struct tune_hooks *hooks,
                struct tune_outcome *o, struct err *e);
void tune_outcome_release(struct tune_outcome *o);

/* By how much of itself a limit is missed, over all of them; 0: all hold. */
double tune_miss(const struct tune_spec *s, const struct tune_trial *t);

#endif

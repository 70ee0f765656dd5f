/* What `tune:` of a study asks for.
 *
 *     tune:
 *       minimise: tpot_p99              # or maximise; or a list of two
 *       over: {cache.slots: 4..16}      # keys and values (sweep_axes.h)
 *       at_most: {ttft_p99: 500 ms, gpu_peak: 70 GB}
 *       at_least: {hit_rate: 70 %}
 *       evaluations: 60
 *
 * Figures are those of sim/result/result_figures.h; times and sizes have units, shares
 * are numbers or have "%". */
#ifndef MOESIM_EXPERIMENT_TUNE_SPEC_H
#define MOESIM_EXPERIMENT_TUNE_SPEC_H

#include "sim/base/config.h"

enum { TUNE_GOALS = 2 };

/* A figure that should be small, or with `large` large. */
struct tune_goal {
    int figure;
    bool large;
};

struct tune_limit {
    int figure;
    bool least; /* at least `value`, else at most */
    double value;
};

struct tune_spec {
    size_t goals; /* at least 1; the first one says which point is the best */
    struct tune_goal goal[TUNE_GOALS];
    size_t limits;
    struct tune_limit *limit; /* [limits] */
    bool bounds;              /* a goal or limit is one of those with bounds */
    int64_t evaluations, seeds, seed;
    const char *against; /* a policy's label, borrowed from the study; "": none */
    const struct cfg_node *node, *over;
};
extern const struct option tune_options[];

/* Borrows the study. 0 or -1; either way release it. */
int tune_spec_read(const struct cfg *study, struct tune_spec *s, struct err *e);
void tune_spec_release(struct tune_spec *s);

/* Whether a value keeps to a limit; NaN does not. */
bool tune_limit_holds(const struct tune_limit *l, double value);
/* Smaller is better: the value of the figure, or minus that. */
double tune_goal_cost(const struct tune_goal *g, double value);

#endif

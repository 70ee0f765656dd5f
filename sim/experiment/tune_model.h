/* What the runs so far say of a point that was not run over the whole trace: a Gaussian
 * process for the goal, one for each limit, and one for whether it can be run. The share
 * of the trace is one more coordinate, so that runs over a part count for what they are
 * worth. Figures above zero go in as logarithms.
 *
 * A point's worth is the expected improvement on the best that is allowed, times the
 * probability that all limits hold (Schonlau, Welch, Jones, "Global versus local search
 * in constrained optimization of computer models", 1998); as long as nothing is allowed,
 * that probability alone. Of two goals it is that of one number, Chebyshev's, whose
 * weights change from round to round (Knowles, "ParEGO", IEEE Transactions on
 * Evolutionary Computation 10, 2006). */
#ifndef MOESIM_EXPERIMENT_TUNE_MODEL_H
#define MOESIM_EXPERIMENT_TUNE_MODEL_H

#include "tune_trial.h"

struct tune_model; /* opaque, owned by the caller */

/* Of `count` trials; the weight of the first of two goals is from 0 to 1. Borrows study
 * and space. Owned, or NULL where no trial has the goal's figure. */
struct tune_model *tune_model_new(const struct tune_study *s, const struct tune_trial *t,
                                  size_t count, double weight);
void tune_model_free(struct tune_model *m);

double tune_model_worth(const struct tune_model *m, const struct tune_point *p);
/* From here on as if the point had been run and were what is expected of it: for the next
 * of several that are run together. */
void tune_model_believe(struct tune_model *m, const struct tune_point *p);

#endif

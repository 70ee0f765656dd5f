/* Weighted non-linear least squares with positive parameters: finds p that minimises
 * sum over points of ((model_i(p) - measured_i) / sigma_i)^2.
 *
 * The search is over logarithms of the parameters (Levenberg-Marquardt, GSL), which are
 * rates, times and efficiencies, so that none can become negative; derivatives are finite
 * differences. A parameter stays within [min, max]; one that is driven to a bound is
 * fixed there while the others are searched on. The standard errors are those of the
 * linearised problem: the square roots of the diagonal of
 * chi^2 / (points - parameters) * inverse(J' W J), so sigma matters only up to a common
 * factor. For a linear model they are the textbook ones exactly.
 * Source: the GNU Scientific Library's manual, chapter "Nonlinear Least-Squares Fitting".
 */
#ifndef MOESIM_MODELS_FIT_H
#define MOESIM_MODELS_FIT_H

#include "sim/base/err.h"

#include <stddef.h>

#define FIT_MAX_PARAMETERS 16

struct fit_parameter {
    double start;    /* above 0 */
    double min, max; /* 0 < min <= start <= max */
};

/* Fills predicted[points]; 0 or -1. Called many times; must depend on `parameter` alone.
 */
typedef int fit_model(void *context, const double *parameter, double *predicted,
                      struct err *e);

struct fit_problem {
    size_t parameters;                     /* 1 .. FIT_MAX_PARAMETERS */
    const struct fit_parameter *parameter; /* [parameters] */
    size_t points;                         /* more than parameters */
    const double *measured;                /* [points] */
    const double *sigma;                   /* [points], above 0 */
    fit_model *model;
    void *context;
};

struct fit_result {
    double value[FIT_MAX_PARAMETERS];
    double error[FIT_MAX_PARAMETERS]; /* standard error, in the parameter's unit; infinity
                                         where the points do not determine it, or at a
                                         bound */
    double chi2;                      /* the sum at the end */
    size_t iterations;
};

/* 0 or -1: the model failed, or the search found no minimum. */
int fit_solve(const struct fit_problem *problem, struct fit_result *r, struct err *e);

/* ---- how far predictions are from measurements ---- */

struct fit_errors {
    double mean_abs, median_abs; /* of |predicted / measured - 1| */
    double mean;                 /* of predicted / measured - 1 */
    double total;                /* sum predicted / sum measured - 1 */
};
/* Over points [first, first + count); NaN throughout without a point. `measured` is above
 * 0. */
struct fit_errors fit_compare(const double *predicted, const double *measured,
                              size_t first, size_t count);

#endif

#include "fit.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <gsl/gsl_blas.h>
#include <gsl/gsl_errno.h>
#include <gsl/gsl_multifit_nlinear.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* The search's variable of a parameter p is 1 + log(p / start): it begins at 1, so that
 * GSL's relative steps of finite differences are steps of that relative size in p. */
#define DIFFERENCE_STEP 1e-5

struct search {
    const struct fit_problem *problem;
    double value[FIT_MAX_PARAMETERS]; /* of the last evaluation */
    size_t free[FIT_MAX_PARAMETERS];  /* [frees] parameters that are searched for; the
                                         others stay at the bound they were driven to */
    size_t frees;
    double *predicted; /* [points] */
    struct err *err;
};

/* Sets s->value from the search's variables; returns how far beyond the bounds they are.
 */
static double place(struct search *s, const gsl_vector *variable)
{
    double beyond = 0.0;

    for (size_t i = 0; i < s->frees; i++) {
        const struct fit_parameter *p = &s->problem->parameter[s->free[i]];
        /* In logarithms, as a wild step may be beyond what a double can hold. */
        double least = log(p->min / p->start), most = log(p->max / p->start);
        double wanted = gsl_vector_get(variable, i) - 1.0;
        double kept = wanted < least ? least : wanted > most ? most : wanted;

        beyond += fabs(wanted - kept);
        s->value[s->free[i]] = kept == least  ? p->min
                               : kept == most ? p->max
                                              : p->start * exp(kept);
    }
    return beyond;
}

/* Beyond the bounds the model is asked at the bound, and all residuals grow with the
 * distance: a step too far is rejected and made smaller, instead of leaving the search
 * where nothing changes any more. */
static int residuals(const gsl_vector *variable, void *context, gsl_vector *f)
{
    struct search *s = context;
    const struct fit_problem *q = s->problem;
    double growth = 1.0 + place(s, variable);

    if (!isfinite(growth))
        return GSL_EDOM;
    if (q->model(q->context, s->value, s->predicted, s->err) != 0)
        return GSL_EFAILED;
    for (size_t i = 0; i < q->points; i++)
        gsl_vector_set(f, i, growth * (s->predicted[i] - q->measured[i]) / q->sigma[i]);
    return GSL_SUCCESS;
}

/* Standard errors of the free parameters. One that no point depends on (a column of
 * zeros) would make all of them infinite: it is left out, as those at a bound are. */
static void find_errors(const struct search *s, const gsl_matrix *jacobian,
                        struct fit_result *r)
{
    const struct fit_problem *q = s->problem;
    double scale = r->chi2 / (double)(q->points - q->parameters);
    gsl_matrix *kept = gsl_matrix_alloc(q->points, s->frees);
    size_t column[FIT_MAX_PARAMETERS];
    size_t count = 0;

    for (size_t i = 0; i < s->frees; i++) {
        gsl_vector_const_view from = gsl_matrix_const_column(jacobian, i);
        gsl_vector_view to = gsl_matrix_column(kept, count);

        if (gsl_vector_isnull(&from.vector))
            continue;
        (void)gsl_vector_memcpy(&to.vector, &from.vector);
        column[count++] = s->free[i];
    }
    if (count > 0) {
        gsl_matrix_view part = gsl_matrix_submatrix(kept, 0, 0, q->points, count);
        gsl_matrix *covariance = gsl_matrix_alloc(count, count);

        (void)gsl_multifit_nlinear_covar(&part.matrix, 0.0, covariance);
        for (size_t i = 0; i < count; i++) {
            double variance = gsl_matrix_get(covariance, i, i);

            /* GSL writes 0 for a column that depends on the others. */
            if (variance > 0.0)
                r->error[column[i]] = r->value[column[i]] * sqrt(scale * variance);
        }
        gsl_matrix_free(covariance);
    }
    gsl_matrix_free(kept);
}

/* Takes parameters that were driven to a bound out of the search. True if there are any.
 */
static bool fix_at_bounds(struct search *s)
{
    size_t kept = 0, before = s->frees;

    for (size_t i = 0; i < before; i++) {
        const struct fit_parameter *p = &s->problem->parameter[s->free[i]];
        double *value = &s->value[s->free[i]];

        if (*value <= p->min * 1.0001)
            *value = p->min;
        else if (*value >= p->max * 0.9999)
            *value = p->max;
        else
            s->free[kept++] = s->free[i];
    }
    s->frees = kept;
    return kept < before;
}

static double sum_of_squares(const gsl_multifit_nlinear_workspace *work)
{
    const gsl_vector *f = gsl_multifit_nlinear_residual(work);
    double sum;

    (void)gsl_blas_ddot(f, f, &sum);
    return sum;
}

/* Until steps are tiny, or the sum has as good as stopped falling: where the model has
 * kinks (the larger of two terms), steps grow small slowly. A GSL status. */
static int iterate(gsl_multifit_nlinear_workspace *work)
{
    enum { MOST_ITERATIONS = 300, LOOK = 10 };
    double before = sum_of_squares(work);
    int status = GSL_SUCCESS;

    for (int i = 1; i <= MOST_ITERATIONS; i++) {
        int why = 0;

        status = gsl_multifit_nlinear_iterate(work);
        if (status != GSL_SUCCESS ||
            gsl_multifit_nlinear_test(1e-9, 1e-12, 0.0, &why, work) == GSL_SUCCESS)
            return status;
        if (i % LOOK == 0) {
            const double now = sum_of_squares(work);

            if (now > before * (1.0 - 1e-4))
                return GSL_SUCCESS;
            before = now;
        }
    }
    return GSL_EMAXITER;
}

/* One search over the free parameters. 1: it found a minimum or a bound, with the bounds
 * fixed; there is more to search if any was. 0: the minimum. -1. */
static int search_once(struct search *s, gsl_multifit_nlinear_workspace *work,
                       struct fit_result *r)
{
    const struct fit_problem *q = s->problem;
    gsl_multifit_nlinear_fdf fdf = {
        .f = residuals, .n = q->points, .p = s->frees, .params = s};
    gsl_vector *start = gsl_vector_alloc(s->frees);
    int status;

    for (size_t i = 0; i < s->frees; i++)
        gsl_vector_set(start, i,
                       1.0 + log(s->value[s->free[i]] / q->parameter[s->free[i]].start));
    status = gsl_multifit_nlinear_init(start, &fdf, work);
    gsl_vector_free(start);
    if (status == GSL_SUCCESS)
        status = iterate(work);
    if (s->err->text[0] != '\0')
        return -1;
    r->iterations += gsl_multifit_nlinear_niter(work);
    (void)place(s, gsl_multifit_nlinear_position(work));
    if (fix_at_bounds(s))
        return 1;
    /* No further progress in any direction is a minimum as far as doubles can tell. */
    if (status != GSL_SUCCESS && status != GSL_ENOPROG)
        return err_set(
            s->err,
            "the fit found no minimum: %s; start from parameters nearer to the "
            "measurements, or fit fewer",
            gsl_strerror(status));
    return 0;
}

static int search_minimum(struct search *s, struct fit_result *r)
{
    const struct fit_problem *q = s->problem;
    gsl_multifit_nlinear_parameters options = gsl_multifit_nlinear_default_parameters();
    int status = 1;

    options.h_df = DIFFERENCE_STEP;
    while (status == 1 && s->frees > 0) {
        gsl_multifit_nlinear_workspace *work = gsl_multifit_nlinear_alloc(
            gsl_multifit_nlinear_trust, &options, q->points, s->frees);

        if (work == NULL)
            return err_set(s->err, "out of memory for a fit of %zu points", q->points);
        status = search_once(s, work, r);
        if (status == 0) {
            r->chi2 = sum_of_squares(work);
            memcpy(r->value, s->value, sizeof r->value);
            find_errors(s, gsl_multifit_nlinear_jac(work), r);
        }
        gsl_multifit_nlinear_free(work);
    }
    if (status != 1)
        return status;
    /* Every parameter is at a bound. */
    memcpy(r->value, s->value, sizeof r->value);
    if (q->model(q->context, s->value, s->predicted, s->err) != 0)
        return -1;
    for (size_t i = 0; i < q->points; i++) {
        double residual = (s->predicted[i] - q->measured[i]) / q->sigma[i];

        r->chi2 += residual * residual;
    }
    return 0;
}

static int check(const struct fit_problem *q, struct err *e)
{
    if (q->points <= q->parameters)
        return err_set(e,
                       "%zu points do not determine %zu parameters; measure more or fit "
                       "fewer",
                       q->points, q->parameters);
    for (size_t i = 0; i < q->points; i++) {
        if (!isfinite(q->measured[i]) || !(q->sigma[i] > 0.0))
            return err_set(e, "measured point %zu is no finite number above zero", i);
    }
    return 0;
}

int fit_solve(const struct fit_problem *problem, struct fit_result *r, struct err *e)
{
    struct search s = {.problem = problem, .frees = problem->parameters, .err = e};
    int status;

    assert(problem->parameters >= 1 && problem->parameters <= FIT_MAX_PARAMETERS);
    *r = (struct fit_result){.chi2 = 0.0};
    for (size_t i = 0; i < problem->parameters; i++) {
        const struct fit_parameter *p = &problem->parameter[i];

        assert(p->min > 0.0 && p->min <= p->start && p->start <= p->max);
        s.value[i] = p->start;
        s.free[i] = i;
        r->error[i] = INFINITY;
    }
    if (check(problem, e) != 0)
        return -1;
    (void)gsl_set_error_handler_off();
    s.predicted = mem_alloc(problem->points, sizeof *s.predicted);
    status = search_minimum(&s, r);
    free(s.predicted);
    return status;
}

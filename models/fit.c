#include "fit.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <float.h>
#include <gsl/gsl_errno.h>
#include <gsl/gsl_multifit_nlinear.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The search's variable of a parameter p is 1 + log(p / start): it begins at 1, so that
 * GSL's relative steps of finite differences are steps of that relative size in p. */
#define DIFFERENCE_STEP 1e-5

struct search {
    const struct fit_problem *problem;
    double *predicted; /* [points] */
    struct err *err;
};

static double parameter_of(const struct fit_parameter *p, double variable)
{
    double value = p->start * exp(variable - 1.0);

    return value < p->min ? p->min : value > p->max ? p->max : value;
}

static int residuals(const gsl_vector *variable, void *context, gsl_vector *f)
{
    struct search *s = context;
    const struct fit_problem *q = s->problem;
    double value[FIT_MAX_PARAMETERS];

    for (size_t i = 0; i < q->parameters; i++)
        value[i] = parameter_of(&q->parameter[i], gsl_vector_get(variable, i));
    if (q->model(q->context, value, s->predicted, s->err) != 0)
        return GSL_EFAILED;
    for (size_t i = 0; i < q->points; i++)
        gsl_vector_set(f, i, (s->predicted[i] - q->measured[i]) / q->sigma[i]);
    return GSL_SUCCESS;
}

/* Parameters that no point depends on (a column of zeros, as at a bound) would make the
 * covariance of all infinite: they are left out and their own error is infinity. */
static void find_errors(const struct fit_problem *q, const gsl_matrix *jacobian,
                        struct fit_result *r)
{
    double scale = r->chi2 / (double)(q->points - q->parameters);
    gsl_matrix *kept = gsl_matrix_alloc(q->points, q->parameters);
    gsl_matrix_view part;
    gsl_matrix *covariance;
    size_t column[FIT_MAX_PARAMETERS];
    size_t count = 0;

    for (size_t i = 0; i < q->parameters; i++) {
        gsl_vector_const_view from = gsl_matrix_const_column(jacobian, i);
        gsl_vector_view to = gsl_matrix_column(kept, count);

        r->error[i] = INFINITY;
        if (gsl_vector_isnull(&from.vector))
            continue;
        (void)gsl_vector_memcpy(&to.vector, &from.vector);
        column[count++] = i;
    }
    if (count > 0) {
        part = gsl_matrix_submatrix(kept, 0, 0, q->points, count);
        covariance = gsl_matrix_alloc(count, count);
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

static int search_minimum(struct search *s, gsl_multifit_nlinear_workspace *work,
                          struct fit_result *r)
{
    enum { MOST_ITERATIONS = 200 };
    const struct fit_problem *q = s->problem;
    gsl_multifit_nlinear_fdf fdf = {
        .f = residuals, .n = q->points, .p = q->parameters, .params = s};
    gsl_vector *start = gsl_vector_alloc(q->parameters);
    const gsl_vector *found;
    const gsl_vector *f;
    int why = 0;
    int status;

    gsl_vector_set_all(start, 1.0);
    status = gsl_multifit_nlinear_init(start, &fdf, work);
    gsl_vector_free(start);
    if (status == GSL_SUCCESS)
        status = gsl_multifit_nlinear_driver(MOST_ITERATIONS, 1e-9, 1e-12, 0.0, NULL,
                                             NULL, &why, work);
    if (s->err->text[0] != '\0')
        return -1;
    /* No further progress in any direction is what a minimum on a bound looks like. */
    if (status != GSL_SUCCESS && status != GSL_ENOPROG)
        return err_set(
            s->err,
            "the fit found no minimum: %s; start from parameters nearer to the "
            "measurements, or fit fewer",
            gsl_strerror(status));
    found = gsl_multifit_nlinear_position(work);
    f = gsl_multifit_nlinear_residual(work);
    r->iterations = gsl_multifit_nlinear_niter(work);
    for (size_t i = 0; i < q->parameters; i++)
        r->value[i] = parameter_of(&q->parameter[i], gsl_vector_get(found, i));
    for (size_t i = 0; i < q->points; i++)
        r->chi2 += gsl_vector_get(f, i) * gsl_vector_get(f, i);
    find_errors(q, gsl_multifit_nlinear_jac(work), r);
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
    gsl_multifit_nlinear_parameters options = gsl_multifit_nlinear_default_parameters();
    gsl_multifit_nlinear_workspace *work;
    struct search s = {.problem = problem, .err = e};
    int status;

    assert(problem->parameters >= 1 && problem->parameters <= FIT_MAX_PARAMETERS);
    for (size_t i = 0; i < problem->parameters; i++) {
        const struct fit_parameter *p = &problem->parameter[i];

        assert(p->min > 0.0 && p->min <= p->start && p->start <= p->max);
        (void)p;
    }
    *r = (struct fit_result){.chi2 = 0.0};
    if (check(problem, e) != 0)
        return -1;
    (void)gsl_set_error_handler_off();
    options.h_df = DIFFERENCE_STEP;
    work = gsl_multifit_nlinear_alloc(gsl_multifit_nlinear_trust, &options,
                                      problem->points, problem->parameters);
    if (work == NULL)
        return err_set(e, "out of memory for a fit of %zu points", problem->points);
    s.predicted = mem_alloc(problem->points, sizeof *s.predicted);
    status = search_minimum(&s, work, r);
    free(s.predicted);
    gsl_multifit_nlinear_free(work);
    return status;
}

/* ---- errors ---- */

static int by_value(const void *a, const void *b)
{
    const double *x = a;
    const double *y = b;

    return (*x > *y) - (*x < *y);
}

struct fit_errors fit_compare(const double *predicted, const double *measured,
                              size_t first, size_t count)
{
    struct fit_errors r = {NAN, NAN, NAN, NAN};
    double sum = 0.0, sum_abs = 0.0, sum_predicted = 0.0, sum_measured = 0.0;
    double *sorted;

    if (count == 0)
        return r;
    sorted = mem_alloc(count, sizeof *sorted);
    for (size_t i = 0; i < count; i++) {
        double error = predicted[first + i] / measured[first + i] - 1.0;

        sorted[i] = fabs(error);
        sum += error;
        sum_abs += sorted[i];
        sum_predicted += predicted[first + i];
        sum_measured += measured[first + i];
    }
    qsort(sorted, count, sizeof *sorted, by_value);
    r.mean_abs = sum_abs / (double)count;
    r.median_abs = (sorted[(count - 1) / 2] + sorted[count / 2]) / 2.0;
    r.mean = sum / (double)count;
    r.total = sum_predicted / sum_measured - 1.0;
    free(sorted);
    return r;
}

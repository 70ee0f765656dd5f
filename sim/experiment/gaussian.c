#include "gaussian.h"

#include "sim/base/mem.h"

#include <gsl/gsl_blas.h>
#include <gsl/gsl_cdf.h>
#include <gsl/gsl_errno.h>
#include <gsl/gsl_linalg.h>
#include <gsl/gsl_multimin.h>
#include <gsl/gsl_randist.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct gaussian {
    size_t lines, names, count;
    double *x; /* (point, coordinate) */
    double *y;
    double *length; /* [coordinates] */
    double noise;
    double mean, variance, likelihood;
    double weight_sum;   /* 1' C^-1 1 */
    gsl_matrix *factor;  /* of C: Cholesky's, in the lower half */
    gsl_vector *residue; /* C^-1 (y - mean) */
    gsl_vector *ones;    /* C^-1 1 */
};

static double correlation(const struct gaussian *g, const double *a, const double *b)
{
    double square = 0, apart = 0, r;

    for (size_t i = 0; i < g->lines; i++) {
        double d = (a[i] - b[i]) / g->length[i];

        square += d * d;
    }
    for (size_t i = g->lines; i < g->lines + g->names; i++)
        apart += a[i] != b[i] ? 1 / g->length[i] : 0;
    r = sqrt(5 * square);
    return (1 + r + r * r / 3) * exp(-r - apart);
}

/* Fills the factor. False: the matrix has none. */
static bool factorise(struct gaussian *g, double noise)
{
    size_t coordinates = g->lines + g->names;

    for (size_t i = 0; i < g->count; i++) {
        for (size_t k = 0; k <= i; k++) {
            double c = correlation(g, g->x + i * coordinates, g->x + k * coordinates);

            gsl_matrix_set(g->factor, i, k, i == k ? c + noise : c);
            gsl_matrix_set(g->factor, k, i, gsl_matrix_get(g->factor, i, k));
        }
    }
    return gsl_linalg_cholesky_decomp1(g->factor) == GSL_SUCCESS;
}

/* Finds mean, variance and likelihood. */
static void weigh(struct gaussian *g, const double *y)
{
    double sum = 0, square = 0, determinant = 0, n = (double)g->count;

    gsl_vector_set_all(g->ones, 1);
    (void)gsl_linalg_cholesky_svx(g->factor, g->ones);
    for (size_t i = 0; i < g->count; i++) {
        sum += gsl_vector_get(g->ones, i) * y[i];
        g->weight_sum += gsl_vector_get(g->ones, i);
        determinant += 2 * log(gsl_matrix_get(g->factor, i, i));
    }
    g->mean = sum / g->weight_sum;
    for (size_t i = 0; i < g->count; i++)
        gsl_vector_set(g->residue, i, y[i] - g->mean);
    (void)gsl_linalg_cholesky_svx(g->factor, g->residue);
    for (size_t i = 0; i < g->count; i++)
        square += gsl_vector_get(g->residue, i) * (y[i] - g->mean);
    g->variance = (square + 1) / (n + 1);
    g->likelihood =
        -0.5 * ((n + 1) * log(g->variance) + determinant + log(g->weight_sum));
}

struct gaussian *gaussian_new(const struct gaussian_points *p, const double *length,
                              double noise)
{
    size_t coordinates = p->lines + p->names;
    struct gaussian *g = mem_zalloc(1, sizeof *g);
    gsl_error_handler_t *handler = gsl_set_error_handler_off();
    bool good;

    g->lines = p->lines;
    g->names = p->names;
    g->count = p->count;
    g->x = mem_alloc(p->count * coordinates, sizeof *g->x);
    memcpy(g->x, p->x, p->count * coordinates * sizeof *g->x);
    g->y = mem_alloc(p->count, sizeof *g->y);
    memcpy(g->y, p->y, p->count * sizeof *g->y);
    g->noise = noise;
    g->length = mem_alloc(coordinates, sizeof *g->length);
    memcpy(g->length, length, coordinates * sizeof *g->length);
    g->factor = gsl_matrix_alloc(p->count, p->count);
    g->residue = gsl_vector_alloc(p->count);
    g->ones = gsl_vector_alloc(p->count);
    good = factorise(g, noise);
    if (good)
        weigh(g, p->y);
    (void)gsl_set_error_handler(handler);
    if (good && isfinite(g->likelihood) && g->weight_sum > 0)
        return g;
    gaussian_free(g);
    return NULL;
}

void gaussian_free(struct gaussian *g)
{
    if (g == NULL)
        return;
    gsl_matrix_free(g->factor);
    gsl_vector_free(g->residue);
    gsl_vector_free(g->ones);
    free(g->x);
    free(g->y);
    free(g->length);
    free(g);
}

struct gaussian *gaussian_more(const struct gaussian *g, const double *x, double y)
{
    size_t coordinates = g->lines + g->names;
    double *all_x = mem_alloc((g->count + 1) * coordinates, sizeof *all_x);
    double *all_y = mem_alloc(g->count + 1, sizeof *all_y);
    struct gaussian_points p = {g->lines, g->names, g->count + 1, all_x, all_y};
    struct gaussian *more;

    memcpy(all_x, g->x, g->count * coordinates * sizeof *all_x);
    memcpy(all_x + g->count * coordinates, x, coordinates * sizeof *all_x);
    memcpy(all_y, g->y, g->count * sizeof *all_y);
    all_y[g->count] = y;
    more = gaussian_new(&p, g->length, g->noise);
    free(all_x);
    free(all_y);
    return more;
}

/* ---- the most likely lengths and noise ---- */

/* Normal priors of the logarithms: a line changes within some half of its length, values
 * with another name have some third in common, noise is small. */
static const struct prior {
    double mean, deviation;
} of_line = {-0.7, 1.0}, of_name = {0.0, 1.0}, of_noise = {-9.0, 2.0};

#define LEAST_NOISE 1e-8
enum { STEPS = 120, FEW = 150 };

/* The lengths and noise that logarithms stand for; returns the logarithm of their prior.
 */
static double take_logarithms(const struct gaussian_points *p, const gsl_vector *log_of,
                              double *length, double *noise)
{
    size_t coordinates = p->lines + p->names;
    double prior = 0;

    for (size_t i = 0; i <= coordinates; i++) {
        const struct prior *w = i < p->lines      ? &of_line
                                : i < coordinates ? &of_name
                                                  : &of_noise;
        double value = gsl_vector_get(log_of, i), z = (value - w->mean) / w->deviation;

        prior -= 0.5 * z * z;
        if (i < coordinates)
            length[i] = exp(value);
        else
            *noise = exp(value) + LEAST_NOISE;
    }
    return prior;
}

static double unlikelihood(const gsl_vector *log_of, void *context)
{
    const struct gaussian_points *p = context;
    double *length = mem_alloc(p->lines + p->names, sizeof *length), noise = 0;
    double prior = take_logarithms(p, log_of, length, &noise), value = HUGE_VAL;
    struct gaussian *g = isfinite(prior) ? gaussian_new(p, length, noise) : NULL;

    if (g != NULL)
        value = -(g->likelihood + prior);
    gaussian_free(g);
    free(length);
    return value;
}

/* Copies up to FEW of the points, evenly, to x and y: each try at lengths takes time with
 * their cube. Returns how many. */
static size_t thin_out(const struct gaussian_points *p, double *x, double *y)
{
    size_t coordinates = p->lines + p->names, count = p->count < FEW ? p->count : FEW;

    for (size_t i = 0; i < count; i++) {
        size_t from = i * p->count / count;

        memcpy(x + i * coordinates, p->x + from * coordinates, coordinates * sizeof *x);
        y[i] = p->y[from];
    }
    return count;
}

/* Goes from the priors' means to where the likelihood is largest. */
static void climb(const struct gaussian_points *p, gsl_vector *best)
{
    size_t size = p->lines + p->names + 1;
    struct gaussian_points copy = *p;
    gsl_multimin_function cost = {.f = unlikelihood, .n = size, .params = &copy};
    gsl_multimin_fminimizer *m =
        gsl_multimin_fminimizer_alloc(gsl_multimin_fminimizer_nmsimplex2, size);
    gsl_vector *step = gsl_vector_alloc(size);

    for (size_t i = 0; i < size; i++)
        gsl_vector_set(best, i,
                       i < p->lines   ? of_line.mean
                       : i < size - 1 ? of_name.mean
                                      : of_noise.mean);
    gsl_vector_set_all(step, 0.7);
    (void)gsl_multimin_fminimizer_set(m, &cost, best, step);
    for (size_t i = 0; i < STEPS + 20 * size; i++) {
        if (gsl_multimin_fminimizer_iterate(m) != GSL_SUCCESS ||
            gsl_multimin_fminimizer_size(m) < 0.02)
            break;
    }
    (void)gsl_vector_memcpy(best, m->x);
    gsl_vector_free(step);
    gsl_multimin_fminimizer_free(m);
}

struct gaussian *gaussian_fit(const struct gaussian_points *p)
{
    size_t coordinates = p->lines + p->names;
    double *length = mem_alloc(coordinates, sizeof *length), noise = 0;
    double *x = mem_alloc(FEW * coordinates, sizeof *x), y[FEW];
    struct gaussian_points few = {p->lines, p->names, thin_out(p, x, y), x, y};
    gsl_vector *best = gsl_vector_alloc(coordinates + 1);
    gsl_error_handler_t *handler = gsl_set_error_handler_off();
    struct gaussian *g;

    climb(&few, best);
    free(x);
    (void)gsl_set_error_handler(handler);
    (void)take_logarithms(p, best, length, &noise);
    g = gaussian_new(p, length, noise);
    for (noise = noise > 1e-6 ? noise : 1e-6; g == NULL; noise *= 10)
        g = gaussian_new(p, length, noise); /* with enough noise there is a factor */
    gsl_vector_free(best);
    free(length);
    return g;
}

/* ---- asking ---- */

struct gaussian_guess gaussian_at(const struct gaussian *g, const double *x)
{
    size_t coordinates = g->lines + g->names;
    gsl_vector *c = gsl_vector_alloc(g->count);
    double mean, common, left, along = 0;

    for (size_t i = 0; i < g->count; i++)
        gsl_vector_set(c, i, correlation(g, g->x + i * coordinates, x));
    (void)gsl_blas_ddot(c, g->residue, &mean);
    (void)gsl_blas_ddot(c, g->ones, &common);
    (void)gsl_blas_dtrsv(CblasLower, CblasNoTrans, CblasNonUnit, g->factor, c);
    (void)gsl_blas_ddot(c, c, &along);
    left = 1 - along + (1 - common) * (1 - common) / g->weight_sum;
    gsl_vector_free(c);
    return (struct gaussian_guess){g->mean + mean,
                                   left > 0 ? sqrt(g->variance * left) : 0};
}

double gaussian_likelihood(const struct gaussian *g)
{
    return g->likelihood;
}

double gaussian_length(const struct gaussian *g, size_t coordinate)
{
    return g->length[coordinate];
}

double gaussian_improvement(struct gaussian_guess g, double best)
{
    double z;

    if (!(g.deviation > 0))
        return best > g.mean ? best - g.mean : 0;
    z = (best - g.mean) / g.deviation;
    return (best - g.mean) * gsl_cdf_ugaussian_P(z) +
           g.deviation * gsl_ran_ugaussian_pdf(z);
}

double gaussian_below(struct gaussian_guess g, double limit)
{
    if (!(g.deviation > 0))
        return g.mean <= limit ? 1 : 0;
    return gsl_cdf_ugaussian_P((limit - g.mean) / g.deviation);
}

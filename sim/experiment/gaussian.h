/* A Gaussian process: what is known of a function from its values at some points
 * (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, chapters 2
 * and 5).
 *
 * A point has coordinates on lines, from 0 to 1, and names behind them, which are the
 * same or not (their numbers count from 0). With lengths l the correlation of two points
 * is
 *
 *     (1 + r + r^2 / 3) exp(-r) prod over names that differ exp(-1 / l),
 *     r^2 = 5 sum over lines ((x - x') / l)^2
 *
 * which is Matern's of 5/2, and a distance of Hamming's. To a point's correlation with
 * itself comes `noise`, for what is too rough to be followed. The mean and the variance
 * are those that make the values most likely; the variance has a prior of 1 that weighs
 * as much as one value, so values are best scaled to that. Of fitted ones the logarithms
 * of lengths and noise are as likely as can be, by up to 150 of the values, by Nelder and
 * Mead's simplex (GSL's), under wide normal priors. All is deterministic. */
#ifndef MOESIM_EXPERIMENT_GAUSSIAN_H
#define MOESIM_EXPERIMENT_GAUSSIAN_H

#include <stdbool.h>
#include <stddef.h>

struct gaussian_points {
    size_t lines, names; /* coordinates of a point: the lines first */
    size_t count;        /* at least 1 */
    const double *x;     /* (point, coordinate) */
    const double *y;     /* [count] */
};

struct gaussian; /* opaque, owned by the caller */

/* With lengths [lines + names] above zero, and noise. Copies all. Owned, or NULL where
 * the points are too much alike for that noise. */
struct gaussian *gaussian_new(const struct gaussian_points *p, const double *length,
                              double noise);
/* With the most likely ones. Owned, never NULL. */
struct gaussian *gaussian_fit(const struct gaussian_points *p);
/* Another one that knows one more value, with the same lengths and noise. Owned, or NULL
 * where that point is too much like the others. */
struct gaussian *gaussian_more(const struct gaussian *g, const double *x, double y);
void gaussian_free(struct gaussian *g);

struct gaussian_guess {
    double mean, deviation;
};
/* Of the function at a point, without the noise. */
struct gaussian_guess gaussian_at(const struct gaussian *g, const double *x);
/* Logarithm of the likelihood of the values, but for what depends on nothing. */
double gaussian_likelihood(const struct gaussian *g);
double gaussian_length(const struct gaussian *g, size_t coordinate);

/* By how much a guess is below `best`, in the mean, where below counts and above is 0
 * (expected improvement: Jones, Schonlau, Welch, "Efficient global optimization of
 * expensive black-box functions", Journal of Global Optimization 13, 1998). */
double gaussian_improvement(struct gaussian_guess g, double best);
/* The probability that it is at most `limit`. */
double gaussian_below(struct gaussian_guess g, double limit);

#endif

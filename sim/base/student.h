/* Student's t distribution, for intervals of means and their tests. `freedom` is the
 * degrees of freedom, at least 1. */
#ifndef MOESIM_BASE_STUDENT_H
#define MOESIM_BASE_STUDENT_H

/* The probability of more than t, for t of at least 0, to 12 digits: half the regularised
 * incomplete beta function I(x; freedom / 2, 1 / 2) at x = freedom / (freedom + t^2)
 * (Abramowitz and Stegun 26.7.1), which is found by its continued fraction (26.5.8). */
double student_tail(double t, double freedom);
/* The t beyond which lies `tail`, above 0 and below 1/2, of the probability. */
double student_quantile(double tail, double freedom);

#endif

#include "student.h"

#include <assert.h>
#include <float.h>
#include <math.h>

/* Away from 0, for it divides. */
static double nonzero(double x)
{
    const double tiny = 1e-300;

    return fabs(x) < tiny ? tiny : x;
}

/* The continued fraction of I(x; a, b) from its front by Lentz's method: quick where x is
 * below (a + 1) / (a + b + 2). */
static double fraction(double x, double a, double b)
{
    double c = 1, d = 1 / nonzero(1 - (a + b) * x / (a + 1)), value = d;

    for (int m = 1; m < 10000; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        double step;

        d = 1 / nonzero(1 + even * d);
        c = nonzero(1 + even / c);
        value *= c * d;
        d = 1 / nonzero(1 + odd * d);
        c = nonzero(1 + odd / c);
        step = c * d;
        value *= step;
        if (fabs(step - 1) < DBL_EPSILON)
            break;
    }
    return value;
}

/* log(Gamma(a + 1/2) / Gamma(a)); of large a by its series in 1 / a, where the two
 * logarithms would leave few digits of their difference. */
static double gamma_step(double a)
{
    double r = 1 / a, r2 = r * r;

    if (a < 50)
        return lgamma(a + 0.5) - lgamma(a);
    return log(a) / 2 - r * (1.0 / 8 - r2 * (1.0 / 192 - r2 * (1.0 / 640)));
}

double student_tail(double t, double freedom)
{
    const double half_log_pi = 0.57236494292470008707;
    double squared = t * t, a = freedom / 2;
    double x = freedom / (freedom + squared), y = squared / (freedom + squared), front;

    assert(t >= 0 && freedom >= 1);
    if (squared == 0)
        return 0.5;
    if (isinf(squared))
        return 0;
    front = exp(gamma_step(a) - half_log_pi - a * log1p(squared / freedom) + log(y) / 2);
    if (x < (a + 1) / (a + 2.5))
        return front * fraction(x, a, 0.5) / a / 2;
    return 0.5 - front * fraction(y, 0.5, a);
}

/* By halving: the tail falls as t grows. */
double student_quantile(double tail, double freedom)
{
    double low = 0, high = 1;

    assert(tail > 0 && tail < 0.5);
    while (student_tail(high, freedom) > tail)
        high *= 2;
    for (int i = 0; i < 100; i++) {
        double middle = low + (high - low) / 2;

        if (student_tail(middle, freedom) > tail)
            low = middle;
        else
            high = middle;
    }
    return high;
}

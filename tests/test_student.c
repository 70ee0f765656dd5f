/* Student's t: closed forms for one, two and four degrees of freedom, the normal
 * distribution for many, and GSL's for all between. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/base/student.h"

#include <gsl/gsl_cdf.h>
#include <math.h>

static void near(double value, double wanted, double apart)
{
    if (!(fabs(value / wanted - 1) < apart))
        fail_msg("%.17g is not %.17g", value, wanted);
}

static void closed_forms(void **state)
{
    const double pi = acos(-1);

    (void)state;
    for (double t = 0.001; t < 1e6; t *= 2.385) {
        double s = sqrt(2 + t * t);

        near(student_tail(t, 1), atan2(1, t) / pi, 1e-12);
        /* 1/2 - t / (2 sqrt(2 + t^2)), without taking equal ones from each other. */
        near(student_tail(t, 2), 1 / (s * (s + t)), 1e-12);
    }
    assert_true(student_tail(0, 7) == 0.5);
    assert_true(student_tail(INFINITY, 7) == 0);
    near(student_tail(1.5, 1e7), erfc(1.5 / sqrt(2)) / 2, 1e-6);
}

/* Further out GSL has fewer digits than the sum of the density that ours agrees with. */
static void as_gsl_has_it(void **state)
{
    static const double freedom[] = {1, 2, 3, 4, 5, 9, 10, 29, 111, 1000, 12345, 1e6};

    (void)state;
    for (size_t i = 0; i < sizeof freedom / sizeof *freedom; i++) {
        for (double t = 0.01; t < 40; t *= 1.385) {
            double wanted = gsl_cdf_tdist_Q(t, freedom[i]);

            if (wanted > 1e-30)
                near(student_tail(t, freedom[i]), wanted, 1e-8);
        }
        near(student_quantile(0.025, freedom[i]), gsl_cdf_tdist_Pinv(0.975, freedom[i]),
             1e-9);
        near(student_quantile(0.001, freedom[i]), gsl_cdf_tdist_Pinv(0.999, freedom[i]),
             1e-9);
    }
}

static void quantiles_have_their_tails(void **state)
{
    (void)state;
    for (double tail = 0.49; tail > 1e-12; tail /= 2.385)
        for (double freedom = 1; freedom < 1e4; freedom *= 3)
            near(student_tail(student_quantile(tail, freedom), freedom), tail, 1e-9);
    near(student_quantile(0.025, 1), 12.706204736174698, 1e-12); /* tan(0.475 pi) */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closed_forms),
        cmocka_unit_test(as_gsl_has_it),
        cmocka_unit_test(quantiles_have_their_tails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

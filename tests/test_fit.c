/* Least squares: known parameters come back, standard errors are the closed form's. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "models/fit.h"
#include "sim/base/rng.h"

#include <math.h>
#include <string.h>

#define POINTS 64

static void near(double value, double want, double relative)
{
    if (!(fabs(value - want) <= relative * fabs(want)))
        fail_msg("%.12g is not within %g of %.12g", value, relative, want);
}

/* Standard normal, by Box and Muller. */
static double normal(struct rng *r)
{
    double u = rng_unit(r), v = rng_unit(r);

    return sqrt(-2.0 * log(1.0 - u)) * cos(6.283185307179586 * v);
}

/* A storage read: latency + bytes / rate, at POINTS sizes. */
struct line {
    size_t points; /* that the model gives: the first ones */
    double x[POINTS], measured[POINTS], sigma[POINTS];
};

static int line_model(void *context, const double *p, double *predicted, struct err *e)
{
    struct line *l = context;

    (void)e;
    for (size_t i = 0; i < l->points; i++)
        predicted[i] = p[0] + l->x[i] * p[1];
    return 0;
}

static void make_line(struct line *l, double a, double b, double noise, uint64_t seed)
{
    struct rng r = rng_stream(seed, "line", 0);

    l->points = POINTS;
    for (size_t i = 0; i < POINTS; i++) {
        l->x[i] = 1.0 + 0.37 * (double)i;
        l->sigma[i] = noise * (1.0 + 0.1 * (double)(i % 7));
        l->measured[i] = a + b * l->x[i] + l->sigma[i] * normal(&r);
    }
}

static int solve_line(struct line *l, const struct fit_parameter *p,
                      struct fit_result *result, struct err *e)
{
    struct fit_problem q = {.parameters = 2,
                            .parameter = p,
                            .points = l->points,
                            .measured = l->measured,
                            .sigma = l->sigma,
                            .model = line_model,
                            .context = l};

    return fit_solve(&q, result, e);
}

static const struct fit_parameter wide[] = {{1.0, 1e-3, 1e3}, {1.0, 1e-3, 1e3}};

/* Weighted straight line in closed form (the normal equations of two unknowns). */
static void closed_form(const struct line *l, double *value, double *error, double *chi2)
{
    double s = 0.0, sx = 0.0, sxx = 0.0, sy = 0.0, sxy = 0.0, det;

    for (size_t i = 0; i < POINTS; i++) {
        double w = 1.0 / (l->sigma[i] * l->sigma[i]);

        s += w;
        sx += w * l->x[i];
        sxx += w * l->x[i] * l->x[i];
        sy += w * l->measured[i];
        sxy += w * l->x[i] * l->measured[i];
    }
    det = s * sxx - sx * sx;
    value[0] = (sxx * sy - sx * sxy) / det;
    value[1] = (s * sxy - sx * sy) / det;
    *chi2 = 0.0;
    for (size_t i = 0; i < POINTS; i++) {
        double d = (l->measured[i] - value[0] - value[1] * l->x[i]) / l->sigma[i];

        *chi2 += d * d;
    }
    error[0] = sqrt(*chi2 / (POINTS - 2) * sxx / det);
    error[1] = sqrt(*chi2 / (POINTS - 2) * s / det);
}

static void line_is_the_closed_form(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct line l;
        struct fit_result r;
        struct err e = {.text = ""};
        double value[2], error[2], chi2;

        make_line(&l, 2.385, 0.613, 0.21, seed);
        closed_form(&l, value, error, &chi2);
        assert_int_equal(solve_line(&l, wide, &r, &e), 0);
        for (int i = 0; i < 2; i++) {
            near(r.value[i], value[i], 1e-6);
            near(r.error[i], error[i], 1e-3);
        }
        near(r.chi2, chi2, 1e-9);
    }
}

/* The true value lies within two standard errors in 95.0 % of all cases (Student's t with
 * 62 degrees of freedom); of 400 that is 380 with a standard deviation of 4.4. */
static void standard_errors_cover(void **state)
{
    unsigned covered[2] = {0, 0};

    (void)state;
    for (uint64_t seed = 0; seed < 400; seed++) {
        struct line l;
        struct fit_result r;
        struct err e = {.text = ""};

        make_line(&l, 2.385, 0.613, 0.21, 1000 + seed);
        assert_int_equal(solve_line(&l, wide, &r, &e), 0);
        covered[0] += fabs(r.value[0] - 2.385) < 2.0 * r.error[0];
        covered[1] += fabs(r.value[1] - 0.613) < 2.0 * r.error[1];
    }
    assert_in_range(covered[0], 362, 398);
    assert_in_range(covered[1], 362, 398);
}

/* sigma matters up to a common factor only. */
static void sigma_has_no_scale(void **state)
{
    struct line l;
    struct fit_result a, b;
    struct err e = {.text = ""};

    (void)state;
    make_line(&l, 2.385, 0.613, 0.21, 5);
    assert_int_equal(solve_line(&l, wide, &a, &e), 0);
    for (size_t i = 0; i < POINTS; i++)
        l.sigma[i] *= 17.3;
    assert_int_equal(solve_line(&l, wide, &b, &e), 0);
    for (int i = 0; i < 2; i++) {
        near(b.value[i], a.value[i], 1e-7);
        near(b.error[i], a.error[i], 1e-5);
    }
}

/* A roofline, flops / p0 against bytes / p1, and a floor: no linear model. */
static int roofline(void *context, const double *p, double *predicted, struct err *e)
{
    (void)context;
    (void)e;
    for (size_t i = 0; i < POINTS; i++) {
        double flops = 3.1 * (double)(1 + i * i) / p[0];
        double bytes = 41.0 * (double)(1 + i) / p[1];

        predicted[i] = p[2] + (flops > bytes ? flops : bytes);
    }
    return 0;
}

static void recovers_a_roofline(void **state)
{
    static const double truth[] = {7.13, 1.94, 57.2};
    const struct fit_parameter p[] = {
        {2.0, 1e-2, 1e2}, {5.0, 1e-2, 1e2}, {2.0, 1e-3, 1e4}};
    double exact[POINTS], noisy[POINTS], sigma[POINTS];
    struct fit_problem q = {.parameters = 3,
                            .parameter = p,
                            .points = POINTS,
                            .measured = exact,
                            .sigma = sigma,
                            .model = roofline};
    struct rng rng = rng_stream(3, "roofline", 0);
    struct fit_result r;
    struct err e = {.text = ""};

    (void)state;
    assert_int_equal(roofline(NULL, truth, exact, &e), 0);
    for (size_t i = 0; i < POINTS; i++) {
        sigma[i] = exact[i];
        noisy[i] = exact[i] * (1.0 + 0.02 * normal(&rng));
    }
    assert_int_equal(fit_solve(&q, &r, &e), 0);
    for (int i = 0; i < 3; i++)
        near(r.value[i], truth[i], 1e-6);
    q.measured = noisy;
    assert_int_equal(fit_solve(&q, &r, &e), 0);
    for (int i = 0; i < 3; i++) {
        assert_true(r.error[i] > 0.0 && r.error[i] < 0.2 * truth[i]);
        assert_true(fabs(r.value[i] - truth[i]) < 3.0 * r.error[i]);
    }
}

/* Fitted to the first half, a right model predicts the rest as well; a wrong one (without
 * the latency) does not. */
static void held_out_points_tell(void **state)
{
    static const struct fit_parameter none[] = {{1e-3, 1e-4, 1e-2}, {1.0, 1e-3, 1e3}};
    struct line l;
    struct fit_result r;
    struct fit_errors train, test;
    struct err e = {.text = ""};
    double predicted[POINTS];

    (void)state;
    for (int wrong = 0; wrong < 2; wrong++) {
        make_line(&l, 9.1, 0.613, 0.05, 11);
        l.points = POINTS / 2;
        assert_int_equal(solve_line(&l, wrong ? none : wide, &r, &e), 0);
        l.points = POINTS;
        assert_int_equal(line_model(&l, r.value, predicted, &e), 0);
        train = fit_compare(predicted, l.measured, 0, POINTS / 2);
        test = fit_compare(predicted, l.measured, POINTS / 2, POINTS / 2);
        assert_true(train.mean_abs > 0.001 && test.mean_abs > 0.001);
        assert_true(wrong == (train.mean_abs > 0.01));
        assert_true(wrong == (test.mean_abs > 0.01));
    }
}

static void stays_in_bounds(void **state)
{
    static const struct fit_parameter low[] = {{1.0, 1e-3, 1e3}, {0.1, 0.05, 0.3}};
    struct line l;
    struct fit_result r;
    struct err e = {.text = ""};

    (void)state;
    make_line(&l, 2.385, 0.613, 0.01, 7);
    assert_int_equal(solve_line(&l, low, &r, &e), 0);
    assert_true(r.value[1] == 0.3);
    assert_true(isinf(r.error[1])); /* nothing moves it any more */
    assert_true(isfinite(r.error[0]));
}

/* Where both are held at a bound the sum is that of the bounds, and a model that fails
 * only then says so. */
static void both_at_their_bounds(void **state)
{
    static const struct fit_parameter fixed[] = {{2.0, 2.0, 2.0}, {0.5, 0.5, 0.5}};
    struct line l;
    struct fit_result r;
    struct err e = {.text = ""};
    double chi2 = 0.0;

    (void)state;
    make_line(&l, 2.385, 0.613, 0.21, 7);
    assert_int_equal(solve_line(&l, fixed, &r, &e), 0);
    assert_true(r.value[0] == 2.0 && r.value[1] == 0.5);
    assert_true(isinf(r.error[0]) && isinf(r.error[1]));
    for (size_t i = 0; i < POINTS; i++) {
        double d = (2.0 + 0.5 * l.x[i] - l.measured[i]) / l.sigma[i];

        chi2 += d * d;
    }
    near(r.chi2, chi2, 1e-12);
}

/* The second parameter has no part in it. */
static int one_of_two(void *context, const double *p, double *predicted, struct err *e)
{
    (void)context;
    (void)e;
    for (size_t i = 0; i < POINTS; i++)
        predicted[i] = p[0] * (double)(i + 1);
    return 0;
}

static void undetermined_has_no_error(void **state)
{
    static const struct fit_parameter p[] = {{1.0, 1e-3, 1e3}, {4.0, 1e-3, 1e3}};
    double measured[POINTS], sigma[POINTS];
    struct fit_problem q = {.parameters = 2,
                            .parameter = p,
                            .points = POINTS,
                            .measured = measured,
                            .sigma = sigma,
                            .model = one_of_two};
    struct fit_result r;
    struct err e = {.text = ""};

    (void)state;
    for (size_t i = 0; i < POINTS; i++) {
        measured[i] = 2.2 * (double)(i + 1) + (i % 2 == 0 ? 0.1 : -0.1);
        sigma[i] = 1.0;
    }
    assert_int_equal(fit_solve(&q, &r, &e), 0);
    near(r.value[0], 2.2, 1e-3);
    assert_true(isfinite(r.error[0]) && isinf(r.error[1]));
    near(r.value[1], 4.0, 1e-9);
}

static int failing(void *context, const double *p, double *predicted, struct err *e)
{
    unsigned *left = context;

    if ((*left)-- == 0)
        return err_set(e, "the replay broke");
    for (size_t i = 0; i < POINTS; i++)
        predicted[i] = p[0] * (double)i;
    return 0;
}

static void passes_on_what_fails(void **state)
{
    static const struct fit_parameter p[] = {{1.0, 1e-3, 1e3}}, fixed[] = {{1, 1, 1}};
    double measured[POINTS], sigma[POINTS];
    int status;
    struct fit_problem q = {.parameters = 1,
                            .parameter = p,
                            .points = POINTS,
                            .measured = measured,
                            .sigma = sigma,
                            .model = failing};
    struct fit_result r;

    (void)state;
    for (size_t i = 0; i < POINTS; i++)
        measured[i] = 3.0 * (double)i + (sigma[i] = 1.0);
    for (unsigned after = 0; after < 4; after++) {
        unsigned left = after, last;
        struct err e = {.text = ""};

        q.context = &left;
        assert_int_equal(fit_solve(&q, &r, &e), -1);
        assert_string_equal(e.text, "the replay broke");
        /* Every call in turn, of a fit that ends at a bound, with one call more. */
        q.parameter = fixed;
        last = 0;
        do {
            e.text[0] = '\0';
            left = last++;
            status = fit_solve(&q, &r, &e);
            assert_string_equal(e.text, status == 0 ? "" : "the replay broke");
        } while (status != 0);
        assert_true(last > 2);
        q.parameter = p;
    }
}

static void refuses_too_few_points(void **state)
{
    static const double measured[] = {1.0, 2.0, NAN}, sigma[] = {1.0, 1.0, 1.0};
    struct fit_problem q = {.parameters = 2,
                            .parameter = wide,
                            .points = 2,
                            .measured = measured,
                            .sigma = sigma,
                            .model = line_model};
    struct fit_result r;
    struct err e = {.text = ""};

    (void)state;
    assert_int_equal(fit_solve(&q, &r, &e), -1);
    assert_non_null(strstr(e.text, "2 points do not determine 2 parameters"));
    e.text[0] = '\0';
    q.points = 3;
    assert_int_equal(fit_solve(&q, &r, &e), -1);
    assert_non_null(strstr(e.text, "measured point 2"));
}

/* Predictions 10 % above, 20 % below, 50 % above and exact, by hand. */
static void errors_by_hand(void **state)
{
    static const double predicted[] = {99.0, 1.1, 1.6, 6.0, 5.0};
    static const double measured[] = {1.0, 1.0, 2.0, 4.0, 5.0};
    struct fit_errors r = fit_compare(predicted, measured, 1, 4);

    (void)state;
    near(r.mean_abs, 0.2, 1e-12);
    near(r.median_abs, 0.15, 1e-12);
    near(r.mean, 0.1, 1e-12);
    near(r.total, 1.7 / 12.0, 1e-12);
    assert_true(isnan(fit_compare(predicted, measured, 1, 0).mean_abs));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_is_the_closed_form),
        cmocka_unit_test(standard_errors_cover),
        cmocka_unit_test(sigma_has_no_scale),
        cmocka_unit_test(recovers_a_roofline),
        cmocka_unit_test(held_out_points_tell),
        cmocka_unit_test(stays_in_bounds),
        cmocka_unit_test(both_at_their_bounds),
        cmocka_unit_test(undetermined_has_no_error),
        cmocka_unit_test(passes_on_what_fails),
        cmocka_unit_test(refuses_too_few_points),
        cmocka_unit_test(errors_by_hand),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

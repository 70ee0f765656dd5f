/* A Gaussian process: one and two points by hand, more of them by elimination, expected
 * improvement by quadrature, lengths by functions that have them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/experiment/gaussian.h"

#include "sim/base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void near(double a, double b)
{
    if (!(fabs(a - b) <= 1e-9 * (1 + fabs(b))))
        fail_msg("%.17g is not %.17g", a, b);
}

/* Matern's correlation of 5/2 by its formula, of what is d lengths away. */
static double matern(double d)
{
    double r = sqrt(5.0) * d;

    return (1 + r + r * r / 3) * exp(-r);
}

/* With one value y the mean is y, whatever the noise, and the variance (0 + 1) / 2, of
 * which 1 - c^2 + (1 - c)^2 = 2 - 2 c is left where the correlation is c. */
static void one_point(void **state)
{
    const double x[] = {0.25}, y[] = {2.385}, length[] = {0.4}, at[] = {0.6};
    const struct gaussian_points p = {1, 0, 1, x, y};
    struct gaussian *g = gaussian_new(&p, length, 0);
    struct gaussian_guess guess = gaussian_at(g, at);

    (void)state;
    near(guess.mean, 2.385);
    near(guess.deviation, sqrt(0.5 * (2 - 2 * matern(0.35 / 0.4))));
    near(gaussian_likelihood(g), -0.5 * 2 * log(0.5));
    gaussian_free(g);
}

/* Of two values with correlation c: mean (a + b) / 2, squares (a - b)^2 / (2 (1 - c)), so
 * that the variance is a third of that and 1; 1' C^-1 1 = 2 / (1 + c), det C = 1 - c^2.
 * Half way both have the correlation d. */
static void two_points(void **state)
{
    const double x[] = {0.1, 0.7}, y[] = {-1.25, 0.375}, length[] = {0.5}, at[] = {0.4};
    const struct gaussian_points p = {1, 0, 2, x, y};
    struct gaussian *g = gaussian_new(&p, length, 0);
    double c = matern(0.6 / 0.5), d = matern(0.3 / 0.5);
    double variance = (1.625 * 1.625 / (2 * (1 - c)) + 1) / 3;
    double left = 1 - 2 * d * d / (1 + c) +
                  (1 - 2 * d / (1 + c)) * (1 - 2 * d / (1 + c)) * (1 + c) / 2;
    struct gaussian_guess guess = gaussian_at(g, at);

    (void)state;
    near(guess.mean, -0.4375);
    near(guess.deviation, sqrt(variance * left));
    near(gaussian_likelihood(g),
         -0.5 * (3 * log(variance) + log(1 - c * c) + log(2 / (1 + c))));
    near(gaussian_at(g, &x[0]).mean, -1.25);
    near(gaussian_at(g, &x[1]).mean, 0.375);
    gaussian_free(g);
}

/* Names that differ take a factor exp(-1 / length), whichever they are. */
static void names_are_the_same_or_not(void **state)
{
    const double x[] = {0.5, 3}, y[] = {1}, length[] = {1, 0.7};
    const double same[] = {0.5, 3}, other[] = {0.5, 4}, third[] = {0.5, 0};
    const struct gaussian_points p = {1, 1, 1, x, y};
    struct gaussian *g = gaussian_new(&p, length, 0);

    (void)state;
    near(gaussian_at(g, same).deviation, 0);
    near(gaussian_at(g, other).deviation, sqrt(1 - exp(-1 / 0.7)));
    near(gaussian_at(g, third).deviation, gaussian_at(g, other).deviation);
    gaussian_free(g);
}

/* ---- brute force ---- */

enum { POINTS = 7, LINES = 2, NAMES = 1, COORDINATES = LINES + NAMES };

static double correlation(const double *a, const double *b, const double *length)
{
    double square = 0;

    for (int i = 0; i < LINES; i++)
        square += (a[i] - b[i]) * (a[i] - b[i]) / (length[i] * length[i]);
    return matern(sqrt(square)) * (a[LINES] != b[LINES] ? exp(-1 / length[LINES]) : 1);
}

/* Solves C s = b by Gauss's elimination; C and b are spoiled. */
static void eliminate(double c[POINTS][POINTS], double *b)
{
    for (int k = 0; k < POINTS; k++)
        for (int i = k + 1; i < POINTS; i++) {
            double factor = c[i][k] / c[k][k];

            for (int j = k; j < POINTS; j++)
                c[i][j] -= factor * c[k][j];
            b[i] -= factor * b[k];
        }
    for (int k = POINTS; k-- > 0;) {
        for (int j = k + 1; j < POINTS; j++)
            b[k] -= c[k][j] * b[j];
        b[k] /= c[k][k];
    }
}

static void solve(const double *x, const double *length, double noise, const double *b,
                  double *s)
{
    double c[POINTS][POINTS];

    for (int i = 0; i < POINTS; i++)
        for (int k = 0; k < POINTS; k++)
            c[i][k] = correlation(x + i * COORDINATES, x + k * COORDINATES, length) +
                      (i == k ? noise : 0);
    memcpy(s, b, POINTS * sizeof *b);
    eliminate(c, s);
}

static double dot(const double *a, const double *b)
{
    double sum = 0;

    for (int i = 0; i < POINTS; i++)
        sum += a[i] * b[i];
    return sum;
}

static void draw(uint64_t seed, double *x, double *y, double *length)
{
    struct rng r = rng_stream(seed, "gaussian", 0);

    for (int i = 0; i < POINTS; i++) {
        for (int k = 0; k < LINES; k++)
            x[i * COORDINATES + k] = rng_unit(&r);
        x[i * COORDINATES + LINES] = (double)rng_below(&r, 3);
        y[i] = 3 * rng_unit(&r) - 1;
    }
    for (int i = 0; i < COORDINATES; i++)
        length[i] = 0.2 + rng_unit(&r);
}

/* Mean and deviation by their formulas, the weights found by elimination. */
static void as_by_elimination(void **state)
{
    double x[POINTS * COORDINATES], y[POINTS], length[COORDINATES], ones[POINTS];
    double of_ones[POINTS], of_y[POINTS], of_c[POINTS], c[POINTS];

    (void)state;
    for (int i = 0; i < POINTS; i++)
        ones[i] = 1;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        const double at[] = {0.3, 0.8, (double)(seed % 4)}, noise = 0.01;
        const struct gaussian_points p = {LINES, NAMES, POINTS, x, y};
        double mean, squares, left, unsure;
        struct gaussian_guess guess;
        struct gaussian *g;

        draw(seed, x, y, length);
        g = gaussian_new(&p, length, noise);
        guess = gaussian_at(g, at);
        solve(x, length, noise, ones, of_ones);
        solve(x, length, noise, y, of_y);
        for (int i = 0; i < POINTS; i++)
            c[i] = correlation(x + i * COORDINATES, at, length);
        solve(x, length, noise, c, of_c);
        mean = dot(ones, of_y) / dot(ones, of_ones);
        squares = dot(y, of_y) - mean * dot(ones, of_y);
        unsure = 1 - dot(ones, of_c);
        left = 1 - dot(c, of_c) + unsure * unsure / dot(ones, of_ones);
        near(guess.mean, mean + dot(c, of_y) - mean * dot(c, of_ones));
        near(guess.deviation, sqrt((squares + 1) / (POINTS + 1) * left));
        gaussian_free(g);
    }
}

/* Without noise it goes through all values; with one more it is that of all together. */
static void goes_through_its_points(void **state)
{
    double x[POINTS * COORDINATES], y[POINTS], length[COORDINATES];
    const struct gaussian_points all = {LINES, NAMES, POINTS, x, y};
    const struct gaussian_points less = {LINES, NAMES, POINTS - 1, x, y};
    const double at[] = {0.9, 0.1, 1};
    struct gaussian *g, *fewer, *more;

    (void)state;
    draw(5, x, y, length);
    g = gaussian_new(&all, length, 0);
    fewer = gaussian_new(&less, length, 0);
    more = gaussian_more(fewer, x + (POINTS - 1) * COORDINATES, y[POINTS - 1]);
    for (int i = 0; i < POINTS; i++) {
        near(gaussian_at(g, x + i * COORDINATES).mean, y[i]);
        assert_true(gaussian_at(g, x + i * COORDINATES).deviation < 1e-6);
    }
    near(gaussian_at(more, at).mean, gaussian_at(g, at).mean);
    near(gaussian_at(more, at).deviation, gaussian_at(g, at).deviation);
    /* The same point twice has no factor without noise. */
    assert_null(gaussian_more(g, x, y[0] + 1));
    gaussian_free(g);
    gaussian_free(fewer);
    gaussian_free(more);
}

/* ---- expected improvement ---- */

/* The mean of max(best - y, 0), and the probability of y <= best, by Simpson's rule over
 * eight deviations to either side; the kink is a node. */
static void by_quadrature(struct gaussian_guess g, double best, double *improvement,
                          double *below)
{
    enum { STEPS = 20000 };
    double from = g.mean - 8 * g.deviation, width = best - from;
    double step = width / STEPS;

    *improvement = *below = 0;
    for (int i = 0; i <= STEPS && width > 0; i++) {
        double y = from + i * step, z = (y - g.mean) / g.deviation;
        double weight = (i == 0 || i == STEPS ? 1 : i % 2 == 1 ? 4 : 2) * step / 3;
        double density = exp(-0.5 * z * z) / g.deviation / sqrt(2 * acos(-1.0));

        *improvement += weight * density * (best - y);
        *below += weight * density;
    }
}

static void improvement_is_an_integral(void **state)
{
    static const double best[] = {-2.25, -0.5, 0.3, 0.75, 3.5};
    static const struct gaussian_guess guess[] = {{0.3, 0.7}, {-1.5, 0.05}, {2, 3}};
    double improvement, below;

    (void)state;
    for (size_t i = 0; i < sizeof guess / sizeof *guess; i++)
        for (size_t k = 0; k < sizeof best / sizeof *best; k++) {
            by_quadrature(guess[i], best[k], &improvement, &below);
            assert_true(fabs(gaussian_improvement(guess[i], best[k]) - improvement) <
                        1e-9);
            assert_true(fabs(gaussian_below(guess[i], best[k]) - below) < 1e-9);
        }
    /* What is known leaves nothing to chance. */
    near(gaussian_improvement((struct gaussian_guess){1.5, 0}, 2), 0.5);
    near(gaussian_improvement((struct gaussian_guess){1.5, 0}, 1), 0);
    near(gaussian_below((struct gaussian_guess){1.5, 0}, 1.5), 1);
    near(gaussian_below((struct gaussian_guess){1.5, 0}, 1.4), 0);
}

/* ---- fitting ---- */

/* A function of the first line that is wavy, of the second that is nearly flat: the
 * lengths say so, and a third of the points is foretold by the others. */
static void lengths_are_found(void **state)
{
    enum { KNOWN = 30, ASKED = 15 };
    struct rng r = rng_stream(7, "gaussian", 1);
    double x[2 * (KNOWN + ASKED)], y[KNOWN + ASKED];
    const struct gaussian_points p = {2, 0, KNOWN, x, y};
    struct gaussian *g;

    (void)state;
    for (int i = 0; i < KNOWN + ASKED; i++) {
        x[2 * i] = rng_unit(&r);
        x[2 * i + 1] = rng_unit(&r);
        y[i] = sin(7 * x[2 * i]) + 0.1 * x[2 * i + 1];
    }
    g = gaussian_fit(&p);
    assert_true(gaussian_length(g, 0) < gaussian_length(g, 1));
    for (int i = KNOWN; i < KNOWN + ASKED; i++)
        assert_true(fabs(gaussian_at(g, x + 2 * i).mean - y[i]) < 0.1);
    gaussian_free(g);
}

/* Points that say two things of one place can be fitted: as noise. */
static void what_contradicts_is_noise(void **state)
{
    const double x[] = {0.5, 0.5, 0.5, 0.5}, y[] = {1, -1, 1, -1};
    const struct gaussian_points p = {1, 0, 4, x, y};
    struct gaussian *g = gaussian_fit(&p);

    (void)state;
    assert_non_null(g);
    assert_true(fabs(gaussian_at(g, x).mean) < 1e-9);
    gaussian_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_point),
        cmocka_unit_test(two_points),
        cmocka_unit_test(names_are_the_same_or_not),
        cmocka_unit_test(as_by_elimination),
        cmocka_unit_test(goes_through_its_points),
        cmocka_unit_test(improvement_is_an_integral),
        cmocka_unit_test(lengths_are_found),
        cmocka_unit_test(what_contradicts_is_noise),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

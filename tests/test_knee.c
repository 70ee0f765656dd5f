/* The knee of curves whose knee is known. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/base/knee.h"
#include "sim/base/rng.h"

#include <math.h>

enum { POINTS = 1001 };
#define SMALL 1e-9 /* any clear rise above the chord is a knee */

static double x[POINTS], y[POINTS];

/* Fills POINTS points of x in [first, last]. */
static void spread(double first, double last)
{
    for (int i = 0; i < POINTS; i++)
        x[i] = first + (last - first) * i / (POINTS - 1);
}

/* sqrt(x) - x is greatest where 1 / (2 sqrt(x)) is 1: at 1/4. */
static void a_root(void **state)
{
    (void)state;
    spread(0, 1);
    for (int i = 0; i < POINTS; i++)
        y[i] = sqrt(x[i]);
    assert_int_equal(knee_find(x, y, POINTS, SMALL), 250);
    /* Units change nothing. */
    spread(-7.5, 2385);
    for (int i = 0; i < POINTS; i++)
        y[i] = 1e-9 * y[i] - 3;
    assert_int_equal(knee_find(x, y, POINTS, SMALL), 250);
}

/* (1 - exp(-k x)) / (1 - exp(-k)) - x is greatest at log(k / (1 - exp(-k))) / k. */
static void a_decay(void **state)
{
    static const double rate[] = {0.5, 2.385, 5, 11};

    (void)state;
    spread(0, 1);
    for (int r = 0; r < 4; r++) {
        double k = rate[r], wanted = log(k / (1 - exp(-k))) / k;

        for (int i = 0; i < POINTS; i++)
            y[i] = 1 - exp(-k * x[i]);
        assert_true(fabs(x[knee_find(x, y, POINTS, SMALL)] - wanted) <=
                    0.5 / (POINTS - 1));
    }
}

/* A rise that ends at a bend: the bend, wherever it is. */
static void a_bend(void **state)
{
    (void)state;
    spread(3, 11);
    for (int bend = 1; bend + 1 < POINTS; bend++) {
        for (int i = 0; i < POINTS; i++)
            y[i] = i < bend ? i : bend;
        assert_int_equal(knee_find(x, y, POINTS, SMALL), bend);
    }
}

/* Distances to the chord: 0.5 - 0.25 and 1 - 0.75, both exact. The first counts. */
static void of_equals_the_first(void **state)
{
    static const double at[] = {0, 1, 3, 4}, up[] = {0, 2, 4, 4};

    (void)state;
    assert_int_equal(knee_find(at, up, 4, SMALL), 1);
    assert_int_equal(knee_find(at, up, 3, SMALL), 1);
}

/* 0.25 above the chord: a knee to whoever asks for less. */
static void one_that_stands_out(void **state)
{
    static const double at[] = {0, 1, 4}, up[] = {0, 2, 4};

    (void)state;
    assert_int_equal(knee_find(at, up, 3, 0.24), 1);
    assert_int_equal(knee_find(at, up, 3, 0.25), 0);
}

static void there_is_none(void **state)
{
    static const double at[] = {1, 2, 4}, up[] = {1, 2, 4}, bowl[] = {1, 1, 9},
                        fall[] = {9, 8, 1}, flat[] = {3, 5, 3}, same[] = {2, 2, 2},
                        gap[] = {1, NAN, 9}, end[] = {1, 5, NAN};

    (void)state;
    assert_int_equal(knee_find(at, up, 3, SMALL), 0); /* straight */
    assert_int_equal(knee_find(at, bowl, 3, SMALL), 0);
    assert_int_equal(knee_find(at, fall, 3, SMALL), 0);
    assert_int_equal(knee_find(at, flat, 3, SMALL), 0);
    assert_int_equal(knee_find(at, gap, 3, SMALL), 0);
    assert_int_equal(knee_find(at, end, 3, SMALL), 0);
    assert_int_equal(knee_find(same, up, 3, SMALL), 0); /* one place */
    assert_int_equal(knee_find(at, up, 2, SMALL), 0);   /* too few */
    assert_int_equal(knee_find(at, up, 0, SMALL), 0);
}

/* Against the distance of every point, measured across the chord instead of above it. */
static void the_farthest_of_all(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < 200; round++) {
        struct rng g = rng_stream(41, "knee", round);
        size_t count = 3 + (size_t)rng_below(&g, 30), knee, best = 0;
        double farthest = 0;

        for (size_t i = 0; i < count; i++) {
            x[i] = (i > 0 ? x[i - 1] : 0) + 0.1 + rng_unit(&g);
            y[i] = (i > 0 ? y[i - 1] : 0) + rng_unit(&g) + (i == 0 ? 0 : 1e-3);
        }
        knee = knee_find(x, y, count, SMALL);
        for (size_t i = 1; i + 1 < count; i++) {
            double a = (x[i] - x[0]) / (x[count - 1] - x[0]);
            double b = (y[i] - y[0]) / (y[count - 1] - y[0]);
            double across = (b - a) / sqrt(2); /* of the line b = a */

            if (across > farthest) {
                farthest = across;
                best = i;
            }
        }
        assert_int_equal(knee, best);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_root),
        cmocka_unit_test(a_decay),
        cmocka_unit_test(a_bend),
        cmocka_unit_test(of_equals_the_first),
        cmocka_unit_test(one_that_stands_out),
        cmocka_unit_test(there_is_none),
        cmocka_unit_test(the_farthest_of_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

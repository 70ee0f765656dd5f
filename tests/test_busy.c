/* The share of time that was not idle, from texts as /proc/stat has them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "validate/busy.h"

#include <math.h>
#include <stdio.h>

enum { FIELDS = 10 };

static void print_statistics(const unsigned field[FIELDS], char *text, size_t room)
{
    size_t at = (size_t)snprintf(text, room, "cpu ");

    for (int i = 0; i < FIELDS; i++)
        at += (size_t)snprintf(text + at, room - at, " %u", field[i]);
    (void)snprintf(text + at, room - at, "\ncpu0 9000 9000 9000 9000\n");
}

/* user nice system idle iowait irq softirq steal, and two that user holds already. Of 40
 * jiffies 10 go to one field, the rest is idle. */
static void test_fields(void **state)
{
    static const double want[FIELDS] = {0.25, 0.25, 0.25, 0.0, 0.0,
                                        0.25, 0.25, 0.25, 0.0, 0.0};

    (void)state;
    for (int i = 0; i < FIELDS; i++) {
        unsigned field[FIELDS] = {1000, 20, 300, 4000, 50, 6, 70, 8, 900, 10};
        char before[200], after[200];

        print_statistics(field, before, sizeof before);
        field[3] += 30;
        field[i] += 10;
        print_statistics(field, after, sizeof after);
        assert_true(fabs(busy_share(before, after) - want[i]) < 1e-12);
    }
    assert_true(busy_share("cpu  5 0 0 10 3 0 0 0\n", "cpu  6 0 0 10 3 0 0 0\n") == 1.0);
    assert_true(busy_share("cpu  5 0 0 10 3 0 0 0\n", "cpu  5 0 0 11 5 0 0 0\n") == 0.0);
}

/* A share of no time is none; a line may be shorter than today's. */
static void test_odd(void **state)
{
    (void)state;
    assert_true(isnan(busy_share("cpu  5 0 0 10\n", "cpu  5 0 0 10\n")));
    assert_true(isnan(busy_share("cpu  5 0 0 10\n", "cpu  4 0 0 10\n")));
    assert_true(isnan(busy_share("", "")));
    assert_true(isnan(busy_share("cpu", "cpu")));
    assert_true(busy_share("cpu  5 0 0 10\n", "cpu  8 0 0 11\n") == 0.75);
    assert_true(busy_share("", "cpu  8 0 0 2\n") == 1.0 - 2.0 / 10.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_odd),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What configurations differ in, by hand. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/report/report_differs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 3 };

struct world {
    char config[MOST][200];
    struct result r[MOST];
    const struct result *all[MOST];
    size_t count;
    struct report_differs d;
};

/* Of one, two or three configurations; NULL: there is none. */
static void find(struct world *w, const char *a, const char *b, const char *c)
{
    const char *const text[MOST] = {a, b, c};

    memset(w, 0, sizeof *w);
    for (size_t i = 0; i < MOST && (i == 0 || text[i] != NULL); i++) {
        if (text[i] != NULL) {
            assert_true(strlen(text[i]) < sizeof w->config[i]);
            strcpy(w->config[i], text[i]);
            w->r[i].config = w->config[i];
        }
        w->all[w->count++] = &w->r[i];
    }
    report_differs_find(w->all, w->count, &w->d);
}

static void release(struct world *w)
{
    report_differs_release(&w->d, w->count);
    assert_int_equal(w->d.axes, 0);
    assert_null(w->d.axis);
}

static void assert_axis(const struct world *w, size_t axis, const char *key,
                        const char *const *value)
{
    assert_true(axis < w->d.axes);
    assert_string_equal(w->d.axis[axis].key, key);
    for (size_t i = 0; i < w->count; i++)
        assert_string_equal(w->d.axis[axis].value[i], value[i]);
}

static void assert_text(const struct world *w, size_t result, size_t most,
                        const char *wanted)
{
    char *text = report_differs_text(&w->d, result, most);

    assert_string_equal(text, wanted);
    free(text);
}

static void one_number_is_an_axis(void **state)
{
    static const char *const batch[] = {"4", "16", "8"};
    struct world w;

    (void)state;
    find(&w, "workload: {batch: 4, seed: 1}\n", "workload: {batch: 16, seed: 1}\n",
         "workload:\n  seed: 1\n  batch: 8\n");
    assert_int_equal(w.d.axes, 1);
    assert_axis(&w, 0, "workload.batch", batch);
    assert_true(w.d.axis[0].number[0] == 4 && w.d.axis[0].number[1] == 16 &&
                w.d.axis[0].number[2] == 8);
    assert_true(report_differs_is_axis(&w.d, w.count));
    assert_text(&w, 1, 2, "batch 16");
    release(&w);
}

static void units_must_agree(void **state)
{
    struct world w;

    (void)state;
    find(&w, "link: 12 GB/s\n", "link: 24.5 GB/s\n", NULL);
    assert_true(report_differs_is_axis(&w.d, w.count));
    assert_true(w.d.axis[0].number[1] == 24.5);
    assert_text(&w, 0, 1, "link 12 GB/s");
    release(&w);
    find(&w, "link: 900 MB/s\n", "link: 24 GB/s\n", NULL);
    assert_int_equal(w.d.axes, 1);
    assert_false(report_differs_is_axis(&w.d, w.count));
    assert_true(isnan(w.d.axis[0].number[0]) && isnan(w.d.axis[0].number[1]));
    release(&w);
}

/* Two results at one place of an axis, or a name among numbers: no axis. */
static void what_is_no_axis(void **state)
{
    struct world w;

    (void)state;
    find(&w, "b: 4\n", "b: 8\n", "b: 4\n");
    assert_int_equal(w.d.axes, 1);
    assert_false(report_differs_is_axis(&w.d, w.count));
    release(&w);
    find(&w, "b: 4\n", "b: all\n", NULL);
    assert_int_equal(w.d.axes, 1);
    assert_false(report_differs_is_axis(&w.d, w.count));
    release(&w);
    find(&w, "b: 4\nc: 1\n", "b: 8\nc: 2\n", NULL);
    assert_int_equal(w.d.axes, 2);
    assert_false(report_differs_is_axis(&w.d, w.count));
    assert_text(&w, 1, 2, "b 8, c 2");
    assert_text(&w, 1, 1, "");
    release(&w);
    find(&w, "b: 4\n", "b: 4\n", NULL);
    assert_int_equal(w.d.axes, 0);
    assert_false(report_differs_is_axis(&w.d, w.count));
    assert_text(&w, 0, 2, "");
    release(&w);
    find(&w, "b: 4\n", NULL, NULL); /* one alone */
    assert_int_equal(w.d.axes, 0);
    release(&w);
}

/* In the order in which keys come up; items of lists by number; policies are no part. */
static void keys(void **state)
{
    static const char *const second[] = {"2", "3"}, *const first[] = {"x", "y"},
                             *const last[] = {"", "5"}, *const inner[] = {"1", "2"};
    struct world w;

    (void)state;
    find(&w,
         "z: x\npolicies:\n  - {name: a, slots: 3}\nlist: [1, 2]\n"
         "deep: {policies: 1}\n",
         "new: 5\nlist: [1, 3]\npolicies:\n  - {name: b}\n  - {name: c}\nz: y\n"
         "deep: {policies: 2}\n",
         NULL);
    assert_int_equal(w.d.axes, 4);
    assert_axis(&w, 0, "z", first);
    assert_axis(&w, 1, "list.1", second);
    assert_axis(&w, 2, "deep.policies", inner);
    assert_axis(&w, 3, "new", last);
    assert_text(&w, 0, 4, "z x, 1 2, policies 1, new default");
    release(&w);
}

/* A configuration that cannot be read, or is not there, has no keys. */
static void without_a_configuration(void **state)
{
    static const char *const batch[] = {"4", "", ""};
    struct world w;

    (void)state;
    find(&w, "b: 4\n", "b: [8\n", "");
    assert_int_equal(w.d.axes, 1);
    assert_axis(&w, 0, "b", batch);
    assert_false(report_differs_is_axis(&w.d, w.count));
    assert_text(&w, 2, 1, "b default");
    release(&w);
    find(&w, NULL, "- 3\n", "text\n");
    assert_int_equal(w.d.axes, 0);
    release(&w);
}

static void numbers_and_names(void **state)
{
    double x;

    (void)state;
    assert_string_equal(report_number("12 GB/s", &x), " GB/s");
    assert_true(x == 12);
    assert_string_equal(report_number("-2.5e3", &x), "");
    assert_true(x == -2500);
    assert_null(report_number("lru", &x));
    assert_null(report_number("", &x));
    assert_null(report_number("inf", &x));
    assert_null(report_number("nan", &x));
    assert_null(report_number("1e999", &x));
    assert_string_equal(report_differs_short("machine.h2d.bandwidth"), "bandwidth");
    assert_string_equal(report_differs_short("seed"), "seed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_number_is_an_axis),   cmocka_unit_test(units_must_agree),
        cmocka_unit_test(what_is_no_axis),         cmocka_unit_test(keys),
        cmocka_unit_test(without_a_configuration), cmocka_unit_test(numbers_and_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

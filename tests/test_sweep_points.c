/* Which points a sweep has: ranges, grids, designs, where values are put, refusals. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/base/mem.h"
#include "sim/experiment/sweep_points.h"
#include "sim/experiment/sweep_range.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- ranges ---- */

/* The values of a grid, with spaces between; "none" where the text does not say. Owned.
 */
static char *values_of(const char *text)
{
    struct sweep_range r;
    char *list = mem_strdup("");
    size_t count;
    double *value;

    assert_true(sweep_range_is(text));
    assert_null(sweep_range_parse(text, &r));
    value = sweep_range_values(&r, &count);
    for (size_t i = 0; i < count; i++) {
        char *one = sweep_range_text(&r, value[i]);
        char *longer = mem_format("%s%s%s", list, i == 0 ? "" : "|", one);

        free(one);
        free(list);
        list = longer;
    }
    if (value == NULL) {
        free(list);
        return mem_strdup("none");
    }
    free(value);
    return list;
}

static void test_values(void **state)
{
    static const struct {
        const char *text, *values;
    } cases[] = {
        {"1..4", "1|2|3|4"},
        {"1..64 log2", "1|2|4|8|16|32|64"},
        {"3..50 log2", "3|6|12|24|48"},
        {"1..1000 log10", "1|10|100|1000"},
        {"1..64 log2 in 4", "1|4|16|64"},
        {"1..3 log2 in 9", "1|2|3"}, /* whole numbers, each once */
        {"2..11 step 3", "2|5|8|11"},
        {"2..10 step 3", "2|5|8"},
        {"0.5..0.9 step 0.1", "0.5|0.6|0.7|0.8|0.9"},
        {"0..1 in 5", "0|1"},
        {"0.0..1 in 5", "0|0.25|0.5|0.75|1"},
        {"16..64 GB/s in 4", "16 GB/s|32 GB/s|48 GB/s|64 GB/s"},
        {"8 GiB..32 GiB log2", "8 GiB|16 GiB|32 GiB"},
        {"1..8 us log2", "1 us|2 us|4 us|8 us"},
        {"-2..2", "-2|-1|0|1|2"},
        {"7..7", "7"},
        {"0.25..0.75", "none"},
        {"8..64 GiB", "none"},
        {"5..9 in 1", "5"},
        {"1e-10..4e-10 s log2", "1e-10 s|2e-10 s|4e-10 s"},
        {"68719476736..68719476738 B step 1",
         "68719476736 B|68719476737 B|68719476738 B"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *values = values_of(cases[i].text);

        assert_string_equal(values, cases[i].values);
        free(values);
    }
}

static void test_no_ranges(void **state)
{
    static const char *const plain[] = {"lru",  "12",     "0.5",   "../trace.h5",
                                        "a..b", "",       "8 GiB", "./1..2.h5",
                                        "..",   "v1..v2", "-"};
    static const char *const wrong[] = {"1..",
                                        "1..x",
                                        "4..1",
                                        "0..8 log2",
                                        "1..8 log3",
                                        "1..8 step",
                                        "1..8 step 0",
                                        "1..8 in 0",
                                        "1..8 in 2.5",
                                        "1..8 in 200000",
                                        "1..8 GiB us",
                                        "1 GiB..8 MiB",
                                        "1..8 step 2 in 3",
                                        "1..8 log2 log2",
                                        "1 GiB..8",

                                        "1..8 step 2 log2"};

    (void)state;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        assert_false(sweep_range_is(plain[i]));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct sweep_range r;

        if (!sweep_range_is(wrong[i]))
            fail_msg("'%s' should be taken for a range", wrong[i]);
        if (sweep_range_parse(wrong[i], &r) == NULL)
            fail_msg("'%s' should be refused", wrong[i]);
    }
}

static void test_spread(void **state)
{
    struct sweep_range whole, real, log, ones;

    (void)state;
    assert_null(sweep_range_parse("1..4", &whole));
    assert_null(sweep_range_parse("0.5..2.5", &real));
    assert_null(sweep_range_parse("1..256 GB log2", &log));
    assert_null(sweep_range_parse("1..3 log2", &ones));
    for (int i = 0; i < 4; i++) /* each whole number has a quarter */
        assert_float_equal(sweep_range_at(&whole, (i + 0.999) / 4), i + 1, 0);
    assert_float_equal(sweep_range_at(&whole, 0.9999999), 4, 0);
    assert_float_equal(sweep_range_at(&real, 0.25), 1.0, 1e-12);
    assert_float_equal(sweep_range_at(&log, 0.5), 16, 1e-9);
    assert_float_equal(sweep_range_at(&ones, 0.49), 1, 0); /* up to log 2 of log 4 */
    assert_float_equal(sweep_range_at(&ones, 0.51), 2, 0);
    assert_float_equal(sweep_range_at(&ones, 0.9999), 3, 0);
}

/* ---- points ---- */

#define STUDY                                                                            \
    "trace: t.h5\nmachine: h100-80g\nworkload: {batch: 1}\n"                             \
    "policies:\n  - {cache: lru}\n  - {cache: {name: arc, slots: 2}}\n"

struct points {
    struct cfg *study;
    struct sweep_points *points;
};

static struct points points_of(const char *sweep, struct err *e)
{
    struct points p;
    char *text = mem_format("%s%s", STUDY, sweep);

    p.study = cfg_parse("s.yaml", text, strlen(text), e);
    assert_non_null(p.study);
    p.points = sweep_points_new(p.study, e);
    free(text);
    return p;
}

static void release(struct points *p)
{
    sweep_points_free(p->points);
    cfg_free(p->study);
}

static struct points good_points(const char *sweep)
{
    struct err e = {.text = ""};
    struct points p = points_of(sweep, &e);

    assert_string_equal(e.text, "");
    assert_non_null(p.points);
    return p;
}

static void says(const struct points *p, uint64_t point, size_t key, const char *value)
{
    char *text = sweep_points_value(p->points, point, key);

    assert_string_equal(text, value);
    free(text);
}

/* The last key changes fastest. */
static void test_grid(void **state)
{
    struct points p =
        good_points("sweep: {cache.slots: [4, 8], workload.batch: 1..4 log2, "
                    "seed: 7}\n");

    (void)state;
    assert_int_equal(sweep_points_count(p.points), 6);
    assert_int_equal(sweep_points_keys(p.points), 3);
    assert_string_equal(sweep_points_key(p.points, 1), "workload.batch");
    for (uint64_t i = 0; i < 6; i++) {
        static const char *const batch[] = {"1", "2", "4"};

        says(&p, i, 0, i < 3 ? "4" : "8");
        says(&p, i, 1, batch[i % 3]);
        says(&p, i, 2, "7");
    }
    release(&p);
    p = good_points("sweep: {cache: {slots: [4, 8], name: [lru]}, seed: [1]}\n");
    assert_int_equal(sweep_points_keys(p.points), 3);
    assert_string_equal(sweep_points_key(p.points, 1), "cache.name");
    release(&p);
}

/* What the configuration of a point says, as it is dumped. */
static void test_places(void **state)
{
    struct points p = good_points(
        "sweep:\n  cache.slots: [4, 8]\n  policies.1.prefetch: [none, {name: oracle, "
        "distance: 2}]\n  machine.gpu.memory: 8..16 GB log2\n  model.hidden: [64]\n");
    struct err e = {.text = ""};
    struct cfg *c = sweep_points_config(p.points, 7, &e);
    char *text;

    (void)state;
    assert_non_null(c);
    text = cfg_dump(c);
    assert_string_equal(text, "trace: t.h5\n"
                              "machine:\n"
                              "  name: h100-80g\n"
                              "  gpu:\n"
                              "    memory: 16 GB\n"
                              "workload:\n"
                              "  batch: 1\n"
                              "policies:\n"
                              "  - cache:\n"
                              "      name: lru\n"
                              "      slots: 8\n"
                              "  - cache:\n"
                              "      name: arc\n"
                              "      slots: 8\n"
                              "    prefetch:\n"
                              "      name: oracle\n"
                              "      distance: 2\n"
                              "model:\n"
                              "  hidden: 64\n");
    says(&p, 7, 1, "name: oracle distance: 2");
    free(text);
    cfg_free(c);
    release(&p);
}

static double number_of(const struct points *p, uint64_t point, size_t key)
{
    char *text = sweep_points_value(p->points, point, key);
    double value = strtod(text, NULL);

    free(text);
    return value;
}

/* Each of N equal parts of each key's range has one point. */
static void test_latin_hypercube(void **state)
{
    enum { N = 40 };
    struct points p =
        good_points("sweep: {a.x: 0.0..40, b.y: 0.0..40, c.z: [p, q], points: "
                    "{method: latin-hypercube, count: 40, seed: 3}}\n");
    unsigned q = 0;

    (void)state;
    for (size_t k = 0; k < 2; k++) {
        unsigned seen[N] = {0};

        for (uint64_t i = 0; i < N; i++)
            seen[(int)number_of(&p, i, k)]++;
        for (int i = 0; i < N; i++)
            assert_int_equal(seen[i], 1);
    }
    for (uint64_t i = 0; i < N; i++) {
        char *text = sweep_points_value(p.points, i, 2);

        q += *text == 'q';
        free(text);
    }
    assert_int_equal(q, N / 2);
    release(&p);
}

/* The first points of Sobol's sequence in two dimensions (Bratley, Fox 1988). */
static void test_sobol(void **state)
{
    static const double first[][2] = {{0.5, 0.5},     {0.75, 0.25},   {0.25, 0.75},
                                      {0.375, 0.375}, {0.875, 0.875}, {0.625, 0.125},
                                      {0.125, 0.625}};
    struct points p = good_points(
        "sweep: {a.x: 0.0..1, b.y: 0.0..1, points: {method: sobol, count: 7}}\n");

    (void)state;
    for (uint64_t i = 0; i < 7; i++) {
        assert_float_equal(number_of(&p, i, 0), first[i][0], 1e-9);
        assert_float_equal(number_of(&p, i, 1), first[i][1], 1e-9);
    }
    release(&p);
}

/* The same seed, the same points; a key's values do not depend on the keys behind it. */
static void test_random(void **state)
{
    struct points a = good_points(
        "sweep: {a.x: 1..1000, points: {method: random, count: 50, seed: 5}}\n");
    struct points b = good_points("sweep: {a.x: 1..1000, b.y: 1..9, points: {method: "
                                  "random, count: 50, seed: 5}}\n");
    struct points c = good_points(
        "sweep: {a.x: 1..1000, points: {method: random, count: 50, seed: 6}}\n");
    unsigned differ = 0;
    double sum = 0;

    (void)state;
    for (uint64_t i = 0; i < 50; i++) {
        double x = number_of(&a, i, 0);

        assert_true(x >= 1 && x <= 1000 && x == floor(x));
        assert_float_equal(x, number_of(&b, i, 0), 0);
        differ += x != number_of(&c, i, 0);
        sum += x / 50;
    }
    assert_true(differ > 40);
    assert_true(sum > 300 && sum < 700);
    release(&a);
    release(&b);
    release(&c);
}

/* ---- refusals ---- */

static void test_refusals(void **state)
{
    static const struct {
        const char *sweep, *says;
    } cases[] = {
        {"", "s.yaml:1:1: there is no mapping 'sweep' of keys to values; add such as "
             "sweep: {cache.slots: [4, 8, 16]}"},
        {"sweep: 7\n", "s.yaml:7:8: there is no mapping 'sweep' of keys"},
        {"sweep: {a.x: [1], b.y: {}}\n", "s.yaml:7:24: 'b.y' has no values"},
        {"sweep: {a.x: [1], a: {x: [2]}}\n", "s.yaml:7:26: 'a.x' is given already"},
        {"sweep: {policies.0.cache.slots: [3], cache.slots: [4]}\n",
         "s.yaml:7:51: 'policies.0.cache.slots' and 'cache.slots' are the same for a "
         "policy"},
        {"sweep: {a.x: [1..4, 7]}\n", "s.yaml:7:15: '1..4' is a range, which stands"},
        {"sweep: {a.x: 1e300..2e300 step 1}\n", "s.yaml:7:14: '1e300..2e300 step 1' has "
                                                "more than 100000 values"},
        {"sweep: {a.x: [1], points: {method: sobol, count: 4, seed: 7}}\n",
         "s.yaml:7:59: 'seed' has no effect on a method that draws nothing"},
        {"sweep: {points: {method: grid}}\n", "s.yaml:7:8: 'sweep' names no key"},
        {"sweep: {a.x: []}\n", "s.yaml:7:14: 'a.x' has no values; list some"},
        {"sweep: {a: {b: []}}\n", "s.yaml:7:16: 'a.b' has no values"},
        {"sweep: {a.x: 1..}\n", "s.yaml:7:14: '1..' is no range: there is no number"},
        {"sweep: {a.x: 0.5..0.9}\n",
         "s.yaml:7:14: '0.5..0.9' does not say which numbers"},
        {"sweep: {a.x: 1..200000}\n", "s.yaml:7:14: '1..200000' has more than 100000"},
        {"sweep: {a.x: 1..1001, b.y: 1..1000}\n",
         "s.yaml:7:8: the grid has more than 1000000 points"},
        {"sweep: {a.x: [1], points: {method: sobol}}\n",
         "s.yaml:7:27: 'count' is missing; say how many"},
        {"sweep: {a.x: [1], points: {count: 5}}\n",
         "s.yaml:7:27: a grid has all its points"},
        {"sweep: {a.x: [1], points: {method: sobel, count: 5}}\n",
         "s.yaml:7:36: 'method' is sobel; expected one of grid, random, latin-hypercube, "
         "sobol; did you mean 'sobol'?"},
        {"sweep: {a.x: [1], points: {cout: 5}}\n",
         "s.yaml:7:28: unknown key 'cout' in sweep.points; did you mean 'count'?"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = {.text = ""};
        struct points p = points_of(cases[i].sweep, &e);

        assert_null(p.points);
        if (strncmp(e.text, cases[i].says, strlen(cases[i].says)) != 0)
            fail_msg("'%s' is not '%s'", e.text, cases[i].says);
        release(&p);
    }
}

static void test_too_many_for_sobol(void **state)
{
    char *sweep = mem_strdup("sweep:\n  points: {method: sobol, count: 3}\n");
    struct err e = {.text = ""};
    struct points p;

    (void)state;
    for (int k = 0; k < 41; k++) {
        char *longer = mem_format("%s  a.k%d: 1..9\n", sweep, k);

        free(sweep);
        sweep = longer;
    }
    p = points_of(sweep, &e);
    assert_null(p.points);
    assert_non_null(strstr(e.text, "at most 40 dimensions here, and 'sweep' 41 keys; "
                                   "choose method: latin-hypercube"));
    release(&p);
    free(sweep);
}

/* A fault in a value stands where the sweep has it, a fault in a key at the key. */
static void test_blame(void **state)
{
    struct points p = good_points("sweep:\n  trace.x: [4, 8]\n");
    struct err e = {.text = ""};

    (void)state;
    assert_null(sweep_points_config(p.points, 1, &e));
    assert_string_equal(e.text,
                        "s.yaml:8:3: there is no 'x' in trace, which is a single value");
    assert_true(sweep_points_blames(p.points, 0, &e));
    (void)strcpy(e.text, "s.yaml:8:33: something");
    assert_false(sweep_points_blames(p.points, 0, &e));
    release(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),   cmocka_unit_test(test_no_ranges),
        cmocka_unit_test(test_spread),   cmocka_unit_test(test_grid),
        cmocka_unit_test(test_places),   cmocka_unit_test(test_latin_hypercube),
        cmocka_unit_test(test_sobol),    cmocka_unit_test(test_random),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_too_many_for_sobol),
        cmocka_unit_test(test_blame),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

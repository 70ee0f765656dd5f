/* Numbers, sizes and times from text. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/base/config.h"
#include "sim/base/mem.h"
#include "sim/base/rng.h"
#include "sim/base/units.h"

#include <math.h>
#include <stdlib.h>

static bool integer(const char *text, int64_t *value)
{
    const struct option o = {"n", OPT_INT, 0, NULL, 0, 0, NULL, "h"};
    struct err e = {.text = ""};

    return cfg_parse_value(text, &o, value, &e) == 0;
}

static void integers_are_exact(void **state)
{
    static const struct {
        const char *text;
        int64_t value;
    } good[] = {
        {"0", 0},
        {"-0", 0},
        {"+7", 7},
        {"1e6", 1000000},
        {"1.5e3", 1500},
        {"1200e-2", 12},
        {"3.0", 3},
        {"9223372036854775807", INT64_MAX},
        {"-9223372036854775808", INT64_MIN},
        {"9.223372036854775807e18", INT64_MAX},
        {"100000000000000000000000000000000000000e-37", 10},
    };
    static const char *const bad[] = {
        "",
        "-",
        "+",
        ".",
        "e5",
        "1e",
        "1e+",
        "1.5",
        "1e-1",
        "0x10",
        "1_0",
        "010",
        "00",
        " 1",
        "1 ",
        "1k",
        "--1",
        "1e19",
        "1.2.3",
        "inf",
        "nan",
        "١",
        "1,5",
        "1e5.0",
        "- 1",
        "0.1",
        "1e999999999",
        "123456789012345678901234567890.1e-30",
        "9223372036854775808",
        "-9223372036854775809",
    };
    int64_t value;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(integer(good[i].text, &value));
        assert_true(value == good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (integer(bad[i], &value))
            fail_msg("'%s' was taken as an integer", bad[i]);
    }
}

/* Whatever 64-bit integer is printed comes back, plain and in exponent form. */
static void integers_come_back(void **state)
{
    struct rng r = rng_stream(11, "integers", 0);

    (void)state;
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = rng_u64(&r) >> rng_below(&r, 64);
        int64_t value = (int64_t)(bits >> 1) * (bits & 1 ? -1 : 1), back = 1;
        char *plain = mem_format("%lld", (long long)value);
        char *shifted = mem_format("%lld000e-3", (long long)value);

        assert_true(integer(plain, &back) && back == value);
        /* Zero would read "0000e-3", which has leading zeros. */
        assert_true(value == 0 || (integer(shifted, &back) && back == value));
        free(plain);
        free(shifted);
    }
}

static void doubles_are_finite(void **state)
{
    static const char *const bad[] = {
        "",      "nan",    ".nan", "inf",  "-inf", ".inf", "1e999", "-1e999",
        "0x1p3", "1e-999", "1.5x", "01.5", "1e",   ".",    "1 ",    "infinity"};
    const struct option o = {"x", OPT_DOUBLE, 0, NULL, 0, 0, NULL, "h"};
    struct rng r = rng_stream(12, "doubles", 0);
    struct err e = {.text = ""};
    double value;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (cfg_parse_value(bad[i], &o, &value, &e) == 0)
            fail_msg("'%s' was taken as a number", bad[i]);
    }
    assert_int_equal(cfg_parse_value(".5", &o, &value, &e), 0);
    assert_true(value == 0.5);
    assert_int_equal(cfg_parse_value("-0.0", &o, &value, &e), 0);
    assert_true(value == 0.0 && !signbit(value));
    for (int i = 0; i < 5000; i++) {
        double drawn = ldexp(rng_unit(&r) + 0.5, (int)rng_below(&r, 1200) - 600);
        char *text = mem_format("%.17g", drawn);

        assert_int_equal(cfg_parse_value(text, &o, &value, &e), 0);
        assert_true(value == drawn);
        free(text);
    }
}

static void bytes_have_units(void **state)
{
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {
        {"0", 0},
        {"4096 B", 4096},
        {"12 B", 12},
        {"1kB", 1000},
        {"1 KiB", 1024},
        {"2 MB", 2000000},
        {"2MiB", 2097152},
        {"80 GB", UINT64_C(80000000000)},
        {"79.6 GiB", UINT64_C(85469849190)}, /* 79.6 x 2^30 = 85469849190.4 */
        {"1.5  TiB", UINT64_C(1649267441664)},
        {"3 TB", UINT64_C(3000000000000)},
        {"1e9 B", UINT64_C(1000000000)},
        {"0.5 kB", 500},
        {"0.0005 kB", 1}, /* half a byte goes up */
        {"18446744073709551615 B", UINT64_MAX},
        {"16777215 TiB", UINT64_C(16777215) << 40},
    };
    static const char *const bad[] = {"-1",
                                      "12", /* bytes or gigabytes? */
                                      "1e9",
                                      "-1 KiB",
                                      "1 KB",
                                      "1 kb",
                                      "1 Gib",
                                      "1.5",
                                      "1.5 B",
                                      "GiB",
                                      "1 GiB x",
                                      "1\tGiB",
                                      "1 GiB/s",
                                      "16777216 TiB",
                                      "18446744073709551616",
                                      "1e30 B",
                                      "0x10 B"};
    const struct option o = {"b", OPT_BYTES, 0, NULL, 0, 0, NULL, "h"};
    struct err e = {.text = ""};
    uint64_t value;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(cfg_parse_value(good[i].text, &o, &value, &e), 0);
        assert_true(value == good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (cfg_parse_value(bad[i], &o, &value, &e) == 0)
            fail_msg("'%s' was taken as a size", bad[i]);
    }
}

static void times_need_units(void **state)
{
    static const struct {
        const char *text;
        sim_time value;
    } good[] = {
        {"0 s", 0},
        {"1 ps", 1},
        {"0.1 us", 100000},
        {"2.5us", 2500000},
        {"1.0005 ns", 1001}, /* half a picosecond goes up */
        {"1.00049 ns", 1000},
        {"7 ms", INT64_C(7000000000)},
        {"1e-3 s", INT64_C(1000000000)},
        {"9223372.036854775807 s", INT64_MAX},
    };
    static const char *const bad[] = {"1",     "0",      "1 m",
                                      "1 min", "-1 ns",  "1 S",
                                      "1 µs",  "0.5 ps", "9223372.036854775808 s",
                                      "ns",    ""};
    const struct option o = {"t", OPT_TIME, 0, NULL, 0, 0, NULL, "h"};
    struct err e = {.text = ""};
    sim_time value;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(cfg_parse_value(good[i].text, &o, &value, &e), 0);
        assert_true(value == good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (cfg_parse_value(bad[i], &o, &value, &e) == 0)
            fail_msg("'%s' was taken as a time", bad[i]);
    }
}

/* Bounds themselves are inside, the next value is outside, and the sentence gives them in
 * units one would write. */
static void bounds_are_inclusive(void **state)
{
    const struct option time = {"t", OPT_TIME, 0, NULL, 1e-9, 0.1, NULL, "h"};
    const struct option size = {"b", OPT_BYTES, 0, NULL, 1024, 6442450944.0, NULL, "h"};
    const struct option least = {"x", OPT_DOUBLE, 0, NULL, -2, INFINITY, NULL, "h"};
    struct err e = {.text = ""};
    uint64_t bytes;
    sim_time t;
    double x;

    (void)state;
    assert_int_equal(cfg_parse_value("1 ns", &time, &t, &e), 0);
    assert_int_equal(cfg_parse_value("100 ms", &time, &t, &e), 0);
    assert_int_equal(cfg_parse_value("100000000.001 ns", &time, &t, &e), -1);
    assert_string_equal(e.text,
                        "'t' is \"100000000.001 ns\"; expected a time from 1 ns to "
                        "100 ms with its unit, such as 2.5 us");
    e.text[0] = '\0';
    assert_int_equal(cfg_parse_value("999 ps", &time, &t, &e), -1);
    assert_int_equal(cfg_parse_value("6 GiB", &size, &bytes, &e), 0);
    assert_int_equal(cfg_parse_value("1 KiB", &size, &bytes, &e), 0);
    e.text[0] = '\0';
    assert_int_equal(cfg_parse_value("1023", &size, &bytes, &e), -1);
    assert_string_equal(e.text,
                        "'b' is 1023; expected a size from 1 KiB to 6 GiB with its "
                        "unit, such as 64 MiB");
    assert_int_equal(cfg_parse_value("-2", &least, &x, &e), 0);
    assert_int_equal(cfg_parse_value("1e300", &least, &x, &e), 0);
    e.text[0] = '\0';
    assert_int_equal(cfg_parse_value("-2.001", &least, &x, &e), -1);
    assert_string_equal(e.text, "'x' is -2.001; expected a number of at least -2");
}

/* Where the first choices are no and yes, all words of a truth value are taken for them;
 * elsewhere they are not. */
static void choices_may_be_truths(void **state)
{
    static const char *const truths[] = {"no", "yes", "all", NULL};
    static const char *const others[] = {"lru", "yes", "all", NULL};
    static const struct {
        const char *text;
        int value;
    } word[] = {{"no", 0},   {"false", 0}, {"off", 0}, {"yes", 1},
                {"true", 1}, {"on", 1},    {"all", 2}, {"True", -1}};
    const struct option o = {"s", OPT_CHOICE, 0, NULL, 0, 0, truths, "h"};
    const struct option other = {"s", OPT_CHOICE, 0, NULL, 0, 0, others, "h"};
    int value;

    (void)state;
    for (size_t i = 0; i < sizeof word / sizeof word[0]; i++) {
        struct err e = {.text = ""};

        value = -1;
        assert_int_equal(cfg_parse_value(word[i].text, &o, &value, &e),
                         word[i].value < 0 ? -1 : 0);
        assert_int_equal(value, word[i].value);
        if (word[i].value < 0)
            assert_string_equal(e.text, "'s' is True; expected one of no, yes, all");
        e.text[0] = '\0';
        assert_int_equal(cfg_parse_value(word[i].text, &other, &value, &e),
                         i == 3 || i == 6 ? 0 : -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_exact),    cmocka_unit_test(integers_come_back),
        cmocka_unit_test(doubles_are_finite),    cmocka_unit_test(bytes_have_units),
        cmocka_unit_test(times_need_units),      cmocka_unit_test(bounds_are_inclusive),
        cmocka_unit_test(choices_may_be_truths),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

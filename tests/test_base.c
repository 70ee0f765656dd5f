/* Errors, memory, random streams, units, other programs. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/base/child.h"
#include "sim/base/err.h"
#include "sim/base/mem.h"
#include "sim/base/nearest.h"
#include "sim/base/rng.h"
#include "sim/base/units.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void err_keeps_first_sentence(void **state)
{
    struct err e = {.text = ""};

    (void)state;
    assert_int_equal(err_set(&e, "row %d of %s", 7, "x.h5"), -1);
    assert_int_equal(err_set(&e, "the caller's words"), -1);
    assert_string_equal(e.text, "row 7 of x.h5");
}

static void mem_grow_has_room_for_one_more(void **state)
{
    size_t *block = NULL;

    (void)state;
    for (size_t i = 0; i < 1000; i++) {
        size_t *before = block;

        block = mem_grow(block, i, sizeof *block);
        /* Between powers of two there is room already. */
        assert_true(block == before || (i & (i - 1)) == 0);
        block[i] = 7 * i;
    }
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(block[i], 7 * i);
    free(block);
}

static void err_shows_no_control_characters(void **state)
{
    struct err e = {.text = ""};

    (void)state;
    (void)err_set(&e, "%s: no trace", "a\x1b[31m\r\n\t\x7f\xc2\x9b\xc2\xb5.h5");
    assert_string_equal(e.text, "a?[31m?????\xc2\xb5.h5: no trace");
}

static void err_cuts_long_sentences(void **state)
{
    struct err e = {.text = ""};

    (void)state;
    (void)err_set(&e, "%0999d", 5);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
}

static void mem_gives_what_was_asked(void **state)
{
    unsigned char *block = mem_zalloc(3, 7);
    char *text;

    (void)state;
    for (int i = 0; i < 21; i++)
        assert_int_equal(block[i], 0);
    block[20] = 99;
    block = mem_resize(block, 100, 7);
    assert_int_equal(block[20], 99);
    free(block);
    block = mem_alloc(0, 8);
    assert_non_null(block);
    free(block);
    text = mem_strdup("abc");
    assert_string_equal(text, "abc");
    free(text);
}

static void mem_format_has_no_length_limit(void **state)
{
    char *text = mem_format("%s-%d", "slot", 12);

    (void)state;
    assert_string_equal(text, "slot-12");
    free(text);
    text = mem_format("%s", "");
    assert_string_equal(text, "");
    free(text);
    text = mem_format("%0*d", 5000, 1);
    assert_int_equal(strlen(text), 5000);
    assert_int_equal(text[4999], '1');
    free(text);
}

/* 2^33 x 2^31 bytes are 2^64, which would wrap to a block of no bytes. */
static void mem_refuses_a_product_that_wraps(void **state)
{
    int status, ends[2];
    char said[128] = "";
    pid_t child;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        free(mem_alloc((size_t)1 << 33, (size_t)1 << 31));
        _exit(0);
    }
    (void)close(ends[1]);
    assert_true(read(ends[0], said, sizeof said - 1) > 0);
    (void)close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    assert_non_null(strstr(said, "out of memory"));
}

/* Published outputs of SplitMix64: seed 0 as in the test vectors of several libraries,
 * seed 1234567 as at Rosetta Code ("Pseudo-random numbers/Splitmix64"). */
static void rng_is_splitmix64(void **state)
{
    static const uint64_t seed_0[] = {
        UINT64_C(0xe220a8397b1dcdaf), UINT64_C(0x6e789e6aa1b965f4),
        UINT64_C(0x06c45d188009454f), UINT64_C(0xf88bb8a8724c81ec)};
    static const uint64_t seed_1234567[] = {
        UINT64_C(6457827717110365317), UINT64_C(3203168211198807973),
        UINT64_C(9817491932198370423), UINT64_C(4593380528125082431),
        UINT64_C(16408922859458223821)};
    struct rng a = {.state = 0}, b = {.state = 1234567};

    (void)state;
    for (size_t i = 0; i < sizeof seed_0 / sizeof seed_0[0]; i++)
        assert_true(rng_u64(&a) == seed_0[i]);
    for (size_t i = 0; i < sizeof seed_1234567 / sizeof seed_1234567[0]; i++)
        assert_true(rng_u64(&b) == seed_1234567[i]);
}

/* Pearson's statistic for equal expected counts. */
static double chi_square(const unsigned *counts, size_t bins, double draws)
{
    double expected = draws / (double)bins, sum = 0.0;

    for (size_t i = 0; i < bins; i++)
        sum += ((double)counts[i] - expected) * ((double)counts[i] - expected) / expected;
    return sum;
}

/* With k = bins - 1 degrees of freedom the statistic has mean k and variance 2k. The
 * seeds are fixed, so five standard deviations never fail by chance; counts that are too
 * even are as wrong as counts that are too uneven. */
static void assert_uniform(const unsigned *counts, size_t bins, double draws)
{
    double freedom = (double)(bins - 1);

    assert_true(fabs(chi_square(counts, bins, draws) - freedom) <
                5.0 * sqrt(2.0 * freedom));
}

static void rng_below_is_uniform(void **state)
{
    enum { BINS = 97, DRAWS = 200000 };
    unsigned below[BINS] = {0}, unit[BINS] = {0}, firsts[BINS] = {0};
    struct rng r = rng_stream(42, "below", 0);
    struct rng u = rng_stream(42, "unit", 0);

    (void)state;
    for (int i = 0; i < DRAWS; i++) {
        struct rng entity = rng_stream(42, "entity", (uint64_t)i);
        uint64_t draw = rng_below(&r, BINS);
        double x = rng_unit(&u);

        assert_true(draw < BINS);
        assert_true(x >= 0.0 && x < 1.0);
        below[draw]++;
        unit[(int)(x * BINS)]++;
        firsts[rng_below(&entity, BINS)]++;
    }
    assert_uniform(below, BINS, DRAWS);
    assert_uniform(unit, BINS, DRAWS);
    /* Neighbouring entities are no more alike than neighbouring draws. */
    assert_uniform(firsts, BINS, DRAWS);
}

/* floor(x * bound / 2^64) without rejection gives, for bound = 3 x 2^62, every third
 * value twice the weight of the others (x = 0, 1 -> 0; 2 -> 1; 3 -> 2). */
static void rng_below_rejects_the_bias(void **state)
{
    unsigned counts[3] = {0};
    struct rng r = rng_stream(7, "bias", 0);

    (void)state;
    for (int i = 0; i < 30000; i++)
        counts[rng_below(&r, UINT64_C(3) << 62) % 3]++;
    assert_uniform(counts, 3, 30000.0);
    for (int i = 0; i < 100; i++)
        assert_true(rng_below(&r, 1) == 0);
}

static double correlation(struct rng a, struct rng b, int draws)
{
    double sum = 0.0;

    /* Uniforms have mean 1/2 and variance 1/12. */
    for (int i = 0; i < draws; i++)
        sum += (rng_unit(&a) - 0.5) * (rng_unit(&b) - 0.5);
    return 12.0 * sum / draws;
}

/* Every part of the key gives another stream; a correlation over n draws has standard
 * deviation 1/sqrt(n). */
static void rng_streams_are_independent(void **state)
{
    enum { DRAWS = 40000 };
    struct rng base = rng_stream(1, "arrival", 0);
    struct rng others[] = {rng_stream(2, "arrival", 0), rng_stream(1, "arrival", 1),
                           rng_stream(1, "length", 0), rng_stream(1, "arrivam", 0),
                           rng_stream(0, "arrival", 1)};

    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_true(others[i].state != base.state);
        assert_true(fabs(correlation(base, others[i], DRAWS)) < 5.0 / sqrt(DRAWS));
    }
    assert_true(correlation(base, base, DRAWS) > 0.95);
    assert_true(rng_stream(1, "arrival", 0).state == base.state);
}

static void rng_exponential_has_its_moments(void **state)
{
    enum { DRAWS = 100000 };
    struct rng r = rng_stream(3, "exponential", 0);
    double sum = 0.0, squares = 0.0;
    int above = 0;

    (void)state;
    for (int i = 0; i < DRAWS; i++) {
        double x = rng_exponential(&r);

        assert_true(x >= 0.0 && isfinite(x));
        sum += x;
        squares += x * x;
        above += x > 1.0;
    }
    /* Mean 1 with variance 1; E x^2 = 2 with variance 20; P(x > 1) = 1/e. */
    assert_true(fabs(sum / DRAWS - 1.0) < 5.0 / sqrt(DRAWS));
    assert_true(fabs(squares / DRAWS - 2.0) < 5.0 * sqrt(20.0 / DRAWS));
    assert_true(fabs((double)above / DRAWS - exp(-1.0)) < 5.0 * 0.5 / sqrt(DRAWS));
}

static void units_round_to_the_nearest_picosecond(void **state)
{
    (void)state;
    assert_true(sim_time_of_seconds(0.0) == 0);
    assert_true(sim_time_of_seconds(0.4e-12) == 0);
    assert_true(sim_time_of_seconds(0.6e-12) == 1);
    assert_true(sim_time_of_seconds(1e-9) == SIM_TIME_PER_NS);
    assert_true(sim_time_of_seconds(1e-6) == SIM_TIME_PER_US);
    assert_true(sim_time_of_seconds(0.1) == SIM_TIME_PER_S / 10);
    assert_true(sim_time_of_seconds(2.385e-3) == INT64_C(2385000000));
    assert_true(sim_time_of_seconds(9e6) == 9000000 * SIM_TIME_PER_S);
    assert_true(fabs(sim_time_seconds(INT64_C(2385000000)) - 2.385e-3) < 1e-18);
}

/* Seconds hold 53 bits, so up to 2^51 ps (37 minutes) the way there and back is exact. */
static void units_survive_the_way_back(void **state)
{
    struct rng r = rng_stream(5, "units", 0);

    (void)state;
    for (int i = 0; i < 10000; i++) {
        sim_time t = (sim_time)rng_below(&r, UINT64_C(1) << (1 + i % 51));

        assert_true(sim_time_of_seconds(sim_time_seconds(t)) == t);
    }
}

/* The program itself is beside itself. */
static void child_beside_is_in_the_same_folder(void **state)
{
    char link[4096];
    const ssize_t length = readlink("/proc/self/exe", link, sizeof link - 1);
    char *name, *path;

    (void)state;
    assert_true(length > 0);
    link[length] = '\0';
    name = strrchr(link, '/') + 1;
    path = child_beside(name);
    assert_string_equal(path, link);
    free(path);
    path = child_beside("a longer name than the tests have, which nobody has seen");
    assert_memory_equal(path, link, (size_t)(name - link));
    assert_string_equal(path + (name - link),
                        "a longer name than the tests have, which nobody has seen");
    free(path);
}

/* "oplicy" is one mistake away from "policy", wherever in the name two neighbours change
 * places, capitals or not; two letters that are wrong are two. The first of those as near
 * stays, so the name with one mistake is tried behind the one with two. */
static void swapped_neighbours_are_one_mistake(void **state)
{
    static const char name[] = "policy";

    (void)state;
    for (size_t i = 0; i + 1 < strlen(name); i++) {
        char typed[] = "policy", two[] = "policy";
        struct nearest n = nearest_to(typed);

        typed[i] = name[i + 1];
        typed[i + 1] = (char)(name[i] - 'a' + 'A');
        two[i] = '1';
        two[i + 1] = '2';
        nearest_try(&n, two);
        nearest_try(&n, name);
        assert_string_equal(nearest_hint(&n).text, "; did you mean 'policy'?");
    }
}

/* Names too long for the table of distances are no mistake away from anything, even one
 * letter. */
static void long_names_are_far_from_all(void **state)
{
    char name[200], typed[200];

    (void)state;
    for (size_t length = 10; length < sizeof name; length++) {
        struct nearest n;

        memset(name, 'a', length);
        memset(typed, 'a', length);
        name[length] = typed[length] = '\0';
        typed[length / 2] = 'b';
        n = nearest_to(typed);
        nearest_try(&n, name);
        assert_true((n.best != NULL) == (length <= 48));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(err_keeps_first_sentence),
        cmocka_unit_test(mem_grow_has_room_for_one_more),
        cmocka_unit_test(err_shows_no_control_characters),
        cmocka_unit_test(err_cuts_long_sentences),
        cmocka_unit_test(mem_gives_what_was_asked),
        cmocka_unit_test(mem_format_has_no_length_limit),
        cmocka_unit_test(mem_refuses_a_product_that_wraps),
        cmocka_unit_test(rng_is_splitmix64),
        cmocka_unit_test(rng_below_is_uniform),
        cmocka_unit_test(rng_below_rejects_the_bias),
        cmocka_unit_test(rng_streams_are_independent),
        cmocka_unit_test(rng_exponential_has_its_moments),
        cmocka_unit_test(units_round_to_the_nearest_picosecond),
        cmocka_unit_test(units_survive_the_way_back),
        cmocka_unit_test(child_beside_is_in_the_same_folder),
        cmocka_unit_test(swapped_neighbours_are_one_mistake),
        cmocka_unit_test(long_names_are_far_from_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

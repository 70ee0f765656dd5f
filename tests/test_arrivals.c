/* Request files and Poisson arrivals. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/workload/arrivals.h"

#include "sim/base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char head[] = "TIMESTAMP,ContextTokens,GeneratedTokens\n";

static char *write_file(const char *text, size_t size)
{
    char *path = mem_strdup("/tmp/moesim_arrivals_XXXXXX");
    int descriptor = mkstemp(path);
    FILE *f;

    assert_true(descriptor >= 0);
    f = fdopen(descriptor, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
    return path;
}

static int read_text(struct arrivals *a, const char *text, uint64_t limit, struct err *e)
{
    char *path = write_file(text, strlen(text));
    int status;

    e->text[0] = '\0';
    status = arrivals_read(a, path, limit, e);
    if (status != 0) /* the sentence begins with the file */
        assert_memory_equal(e->text, path, strlen(path));
    (void)unlink(path);
    free(path);
    return status;
}

/* The sentence for `text` names line `line` (0: none) and contains `words`. */
static void expect_refusal(const char *text, unsigned line, const char *words)
{
    struct arrivals a;
    struct err e;
    char where[32];

    assert_int_equal(read_text(&a, text, 0, &e), -1);
    (void)snprintf(where, sizeof where, ":%u: ", line);
    if (strstr(e.text, words) == NULL || (line > 0 && strstr(e.text, where) == NULL))
        fail_msg("\"%s\" gives \"%s\", not line %u and \"%s\"", text, e.text, line,
                 words);
}

static void expect_azure_refusal(const char *lines, unsigned line, const char *words)
{
    char *text = mem_format("%s%s", head, lines);

    expect_refusal(text, line, words);
    free(text);
}

static void test_azure(void **state)
{
    struct arrivals a;
    struct err e;
    char *text = mem_format("%s%s", "TIMESTAMP,ContextTokens,GeneratedTokens\r\n",
                            "2024-02-28 23:59:58.5000000,374,44\r\n"
                            "2024-02-29 00:00:00.0000001,0,109\r\n"
                            "\r\n"
                            "2024-03-01T00:00:00,12,0\r\n"
                            "2024-02-28 23:59:58.25,1,2\r\n"
                            "2024-02-29 02:00:00+02:00,3,4");

    (void)state;
    assert_int_equal(read_text(&a, text, 0, &e), 0);
    assert_int_equal(a.count, 5);
    /* Counted from the fourth line, the earliest. */
    assert_int_equal(a.request[0].arrival, SIM_TIME_PER_S / 4);
    assert_int_equal(a.request[1].arrival,
                     SIM_TIME_PER_S * 7 / 4 + 100 * SIM_TIME_PER_NS);
    assert_int_equal(a.request[2].arrival,
                     SIM_TIME_PER_S * 86400 + SIM_TIME_PER_S * 7 / 4);
    assert_int_equal(a.request[3].arrival, 0);
    assert_int_equal(a.request[4].arrival, SIM_TIME_PER_S * 7 / 4);
    assert_int_equal(a.request[0].prompt_tokens, 374);
    assert_int_equal(a.request[0].output_tokens, 44);
    assert_int_equal(a.request[1].prompt_tokens, 0);
    assert_int_equal(a.request[2].output_tokens, 0);
    arrivals_release(&a);
    assert_int_equal(read_text(&a, text, 2, &e), 0);
    assert_int_equal(a.count, 2);
    assert_int_equal(a.request[0].arrival, 0);
    arrivals_release(&a);
    free(text);
}

/* 2000 was a leap year and 2100 is none. */
static void test_leap_years(void **state)
{
    static const struct {
        const char *days;
        int64_t between;
    } two[] = {{"2000-02-28 00:00:00,1,1\n2000-03-01 00:00:00,1,1\n", 2},
               {"2100-02-28 00:00:00,1,1\n2100-03-01 00:00:00,1,1\n", 1},
               {"2023-12-31 00:00:00,1,1\n2024-01-01 00:00:00,1,1\n", 1}};

    (void)state;
    for (size_t i = 0; i < sizeof two / sizeof *two; i++) {
        char *text = mem_format("%s%s", head, two[i].days);
        struct arrivals a;
        struct err e;

        assert_int_equal(read_text(&a, text, 0, &e), 0);
        assert_int_equal(a.request[1].arrival, two[i].between * 86400 * SIM_TIME_PER_S);
        arrivals_release(&a);
        free(text);
    }
}

static void test_mooncake(void **state)
{
    struct arrivals a;
    struct err e;
    const char *text =
        "{\"timestamp\": 3000, \"input_length\": 6758, \"output_length\": 500, "
        "\"hash_ids\": [0, 1, [2, {\"a\": \"]}\"}], \"\\\"\"]}\n"
        "\n"
        " {\"output_length\":7,\"input_length\":0 ,\"kind\":null, \"timestamp\":3000.5} "
        "\n";

    (void)state;
    assert_int_equal(read_text(&a, text, 0, &e), 0);
    assert_int_equal(a.count, 2);
    assert_int_equal(a.request[0].arrival, 0);
    assert_int_equal(a.request[0].prompt_tokens, 6758);
    assert_int_equal(a.request[0].output_tokens, 500);
    assert_int_equal(a.request[1].arrival, 500 * SIM_TIME_PER_US);
    assert_int_equal(a.request[1].prompt_tokens, 0);
    assert_int_equal(a.request[1].output_tokens, 7);
    arrivals_release(&a);
}

/* The first and the last of every field, which a leap second and a zone make later. */
static void test_azure_limits(void **state)
{
    static const struct {
        const char *earlier, *later;
        int64_t seconds;
    } known[] = {
        {"1971-01-01 00:00:00", "1971-01-01 00:00:01", 1},
        {"2200-12-31 23:59:58", "2200-12-31 23:59:59", 1},
        {"2016-12-31 23:59:59", "2016-12-31 23:59:60", 1},
        {"2023-11-16 00:00:00+23:59", "2023-11-16 00:00:00+00:00", 86340},
        {"2023-11-16 00:00:00-00:00", "2023-11-16 00:00:00-23:59", 86340},
    };
    static const char *const bad[] = {
        "1970-12-31 00:00:00",       "2201-01-01 00:00:00",       "2023-00-16 00:00:00",
        "2023-13-16 00:00:00",       "2023-12-00 00:00:00",       "2023-12-32 00:00:00",
        "2023-11-16 24:00:00",       "2023-11-16 23:60:00",       "2023-11-16 23:59:61",
        "2023-11-16 00:00:00+24:00", "2023-11-16 00:00:00+23:60",
    };

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        char *text =
            mem_format("%s%s,1,1\n%s,1,1\n", head, known[i].earlier, known[i].later);
        struct arrivals a;
        struct err e;

        if (read_text(&a, text, 0, &e) != 0)
            fail_msg("%s: %s", text, e.text);
        assert_int_equal(a.request[0].arrival, 0);
        assert_int_equal(a.request[1].arrival, known[i].seconds * SIM_TIME_PER_S);
        arrivals_release(&a);
        free(text);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *line = mem_format("%s,1,1\n", bad[i]);

        expect_azure_refusal(line, 2, "TIMESTAMP");
        free(line);
    }
}

/* In the place of any mark of a timestamp there can be no other. */
static void test_azure_marks(void **state)
{
    static const char good[] = "2023-11-16 18:17:03+02:00";

    (void)state;
    for (size_t i = 0; good[i] != '\0'; i++) {
        char *line = mem_format("%s,1,2\n", good);

        if (strchr("- :+", line[i]) != NULL) {
            line[i] = '/';
            expect_azure_refusal(line, 2, "TIMESTAMP");
        }
        free(line);
    }
}

static void test_bad_azure(void **state)
{
    (void)state;
    expect_refusal("", 0, "has no requests");
    expect_refusal("\n\n", 0, "has no requests");
    expect_refusal("time,prompt\n1,2\n", 1, "head line");
    expect_azure_refusal("", 0, "has no requests");
    expect_azure_refusal("2023-11-16 18:17:03,1,2\n2023-13-16 18:17:03,1,2\n", 3,
                         "TIMESTAMP");
    expect_azure_refusal("2023-02-30 18:17:03,1,2\n", 2, "TIMESTAMP");
    expect_azure_refusal("2023-11-16 24:17:03,1,2\n", 2, "TIMESTAMP");
    expect_azure_refusal("2023-11-16 18:17:3,1,2\n", 2, "TIMESTAMP");
    expect_azure_refusal("2023-11-16 18:17:03.0123456789,1,2\n", 2, "TIMESTAMP");
    expect_azure_refusal("2023-11-16 18:17:03+2,1,2\n", 2, "TIMESTAMP");
    expect_azure_refusal("1e9,1,2\n", 2, "TIMESTAMP");
    expect_azure_refusal("\n\n2023-11-16 18:17:03,-1,2\n", 4, "ContextTokens");
    expect_azure_refusal("2023-11-16 18:17:03,1.5,2\n", 2, "ContextTokens");
    expect_azure_refusal("2023-11-16 18:17:03,,2\n", 2, "ContextTokens");
    expect_azure_refusal("2023-11-16 18:17:03,1000000001,2\n", 2, "ContextTokens");
    expect_azure_refusal("2023-11-16 18:17:03,99999999999999999999,2\n", 2,
                         "ContextTokens");
    expect_azure_refusal("2023-11-16 18:17:03,1\n", 2, "ContextTokens");
    expect_azure_refusal("2023-11-16 18:17:03,1,\n", 2, "GeneratedTokens");
    expect_azure_refusal("2023-11-16 18:17:03,1,2,3\n", 2, "GeneratedTokens");
    expect_azure_refusal("2023-11-16 18:17:03,0,0\n", 2, "neither");
    expect_azure_refusal("2023-11-16 18:17:03,1,2\n2024-11-16 18:17:03,1,2\n", 0,
                         "at most");
}

/* So many brackets, one in another. */
static void expect_nesting(int depth, const char *words)
{
    char open[80], shut[80], *text;

    memset(open, '[', sizeof open);
    memset(shut, ']', sizeof shut);
    text = mem_format("{\"a\": %.*s%.*s}\n", depth, open, depth, shut);
    expect_refusal(text, 1, words);
    free(text);
}

static void test_bad_mooncake(void **state)
{
    (void)state;
    expect_refusal("{}\n", 1, "not a JSON object");
    expect_refusal("{\"timestamp\": 0, \"input_length\": 1}\n", 1,
                   "has no output_length");
    expect_refusal("{\"timestamp\": 0, \"input_length\": 1, \"output_length\": 2}\n[1]\n",
                   2, "not a JSON object");
    expect_refusal("{\"timestamp\": 0, \"timestamp\": 1}\n", 1, "given twice");
    expect_refusal("{\"timestamp\": -1}\n", 1, "timestamp must");
    expect_refusal("{\"timestamp\": 1e40}\n", 1, "timestamp must");
    expect_refusal("{\"timestamp\": nan}\n", 1, "timestamp must");
    expect_refusal("{\"timestamp\": 0x10}\n", 1, "timestamp must");
    expect_refusal("{\"timestamp\": \"0\"}\n", 1, "timestamp must");
    expect_refusal("{\"input_length\": 1.5}\n", 1, "not a JSON object");
    expect_refusal("{\"input_length\": -1}\n", 1, "input_length must");
    expect_refusal("{\"output_length\": 4294967297}\n", 1, "output_length must");
    expect_refusal("{\"a\": [1, 2}\n", 1, "not complete");
    expect_refusal("{\"a\": \"b}\n", 1, "not complete");
    expect_refusal("{\"a\": [1, \"b]}\n", 1, "not complete");
    expect_nesting(64, "has no timestamp");
    expect_nesting(65, "not complete");
    expect_refusal("{\"a\":\n", 1, "not complete");
    expect_refusal("{\"a\n", 1, "key and a colon");
    expect_refusal("{\"a\": 1} x\n", 1, "end with a brace");
    expect_refusal("{\"timestamp\": 0, \"input_length\": 0, \"output_length\": 0}\n", 1,
                   "neither");
}

/* Lines that cannot be held, and files that are none. */
static void test_odd_files(void **state)
{
    size_t size = (size_t)3 << 20;
    char *text = mem_alloc(size, 1);
    struct arrivals a;
    struct err e = {.text = ""};
    char *path;

    (void)state;
    memset(text, 'x', size);
    path = write_file(text, size);
    assert_int_equal(arrivals_read(&a, path, 0, &e), -1);
    assert_non_null(strstr(e.text, ":1: longer than"));
    (void)unlink(path);
    free(path);
    path = write_file("TIMESTAMP,ContextTokens,GeneratedTokens\nab\0cd\n", 46);
    e.text[0] = '\0';
    assert_int_equal(arrivals_read(&a, path, 0, &e), -1);
    assert_non_null(strstr(e.text, ":2: "));
    assert_non_null(strstr(e.text, "NUL"));
    (void)unlink(path);
    e.text[0] = '\0';
    assert_int_equal(arrivals_read(&a, path, 0, &e), -1);
    assert_non_null(strstr(e.text, "cannot be opened"));
    e.text[0] = '\0';
    assert_int_equal(arrivals_read(&a, "/tmp", 0, &e), -1);
    assert_non_null(strstr(e.text, "a folder"));
    free(path);
    free(text);
}

/* Gaps of a Poisson process of rate r: mean 1/r with standard deviation 1/r, neighbours
 * uncorrelated. Over n gaps the sample mean has standard error 1/(r sqrt n), the sample
 * variance sqrt(8/n)/r^2 (fourth central moment 9/r^4), the correlation 1/sqrt n. */
static void test_poisson(void **state)
{
    const double rate = 2.385;
    const uint32_t n = 200000;
    struct arrivals_poisson p;
    struct err e = {.text = ""};
    sim_time last = 0;
    double sum = 0.0;
    double squares = 0.0;
    double products = 0.0;
    double before = 0.0;
    struct rng own = rng_stream(11, "arrival", 0);

    (void)state;
    arrivals_poisson_init(&p, 11, rate);
    for (uint32_t i = 0; i < n; i++) {
        sim_time at;
        double gap;

        assert_int_equal(arrivals_poisson_next(&p, &at, &e), 0);
        assert_true(at - last == sim_time_of_seconds(rng_exponential(&own) / rate));
        gap = sim_time_seconds(at - last) * rate;
        last = at;
        sum += gap;
        squares += (gap - 1.0) * (gap - 1.0);
        products += i > 0 ? (gap - 1.0) * (before - 1.0) : 0.0;
        before = gap;
    }
    assert_true(fabs(sum / n - 1.0) < 4.0 / sqrt(n));
    assert_true(fabs(squares / n - 1.0) < 4.0 * sqrt(8.0 / n));
    assert_true(fabs(products / n) < 4.0 / sqrt(n));
}

static void test_poisson_range(void **state)
{
    struct arrivals_poisson p;
    struct err e = {.text = ""};
    sim_time at = 0;
    int status = 0;

    (void)state;
    arrivals_poisson_init(&p, 1, 1e-6);
    for (int i = 0; i < 1000 && status == 0; i++)
        status = arrivals_poisson_next(&p, &at, &e);
    assert_int_equal(status, -1);
    assert_non_null(strstr(e.text, "rate"));
}

/* The public files have 19,366, 8,819 and 12,031 requests. */
static void test_public_files(void **state)
{
    static const struct {
        const char *name;
        uint64_t requests;
        uint32_t prompt_tokens, output_tokens; /* of the first */
        double second;                         /* arrival of the second */
    } file[] = {{"azure2023_conv.csv", 19366, 374, 44, 4.314579},
                {"azure2023_code.csv", 8819, 4808, 10, 0.052},
                {"mooncake_conversation.jsonl", 12031, 6758, 500, 0.0}};
    const char *folder = getenv("MOESIM_DATA");

    (void)state;
    if (folder == NULL) {
        (void)printf("skip test_public_files: needs MOESIM_DATA\n");
        skip();
    }
    for (size_t i = 0; i < sizeof file / sizeof *file; i++) {
        char *path = mem_format("%s/requests/%s", folder, file[i].name);
        struct arrivals a;
        struct err e = {.text = ""};

        if (arrivals_read(&a, path, 0, &e) != 0)
            fail_msg("%s", e.text);
        assert_int_equal(a.count, file[i].requests);
        assert_int_equal(a.request[0].prompt_tokens, file[i].prompt_tokens);
        assert_int_equal(a.request[0].output_tokens, file[i].output_tokens);
        assert_true(a.request[1].arrival == sim_time_of_seconds(file[i].second));
        arrivals_release(&a);
        free(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_azure),        cmocka_unit_test(test_leap_years),
        cmocka_unit_test(test_mooncake),     cmocka_unit_test(test_bad_azure),
        cmocka_unit_test(test_bad_mooncake), cmocka_unit_test(test_odd_files),
        cmocka_unit_test(test_poisson),      cmocka_unit_test(test_poisson_range),
        cmocka_unit_test(test_public_files), cmocka_unit_test(test_azure_limits),
        cmocka_unit_test(test_azure_marks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

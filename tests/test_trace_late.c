/* A fault that only some rows of a trace have, found while they are read: whoever reads
 * them fails with the reader's sentence, by status as well, and leaves nothing behind. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "trace_maker.h"

#include "traces/export.h"
#include "traces/generate.h"
#include "traces/slice.h"
#include "traces/statistics.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REQUESTS = 4, ROWS = 300 };

static const struct trace_make good = {.layers = 3,
                                       .experts = 16,
                                       .top_k = 2,
                                       .requests = REQUESTS,
                                       .rows = ROWS,
                                       .prefill_rows = 70,
                                       .score_kind = TRACE_SCORE_SOFTMAX,
                                       .predicted = 2,
                                       .known_source = true,
                                       .seed = 3};

/* ---- who reads ---- */

static int check(struct trace *t, const char *out, struct err *e)
{
    (void)out;
    return trace_check(t, e);
}

static int measure(struct trace *t, const char *out, struct err *e)
{
    struct trace_statistics s;
    int status;

    (void)out;
    memset(&s, 0, sizeof s);
    status = trace_statistics_measure(t, NULL, &s, e);
    if (status == 0)
        trace_statistics_release(&s);
    return status;
}

static int to_oracle_general(struct trace *t, const char *out, struct err *e)
{
    return export_oracle_general(t, out, &(struct export_options){.batch = 3}, NULL, e);
}

static int to_slice(struct trace *t, const char *out, struct err *e)
{
    return slice_write(t, &SLICE_EVERYTHING, out, e);
}

static int to_last_request(struct trace *t, const char *out, struct err *e)
{
    struct slice s = SLICE_EVERYTHING;

    s.first_request = REQUESTS - 1;
    return slice_write(t, &s, out, e);
}

static int to_generated(struct trace *t, const char *out, struct err *e)
{
    return generate_like(t, &(struct generate_like_options){.requests = 2, .seed = 1},
                         out, e);
}

static const struct {
    const char *name;
    int (*read)(struct trace *t, const char *out, struct err *e);
} readers[] = {
    {"check", check},
    {"statistics", measure},
    {"csv", export_csv},
    {"oracleGeneral", to_oracle_general},
    {"slice", to_slice},
    {"last request", to_last_request},
    {"generate --like", to_generated},
};

static const struct {
    const char *set;
    int rank;
    int64_t value;
    bool all; /* whoever reads a row notices */
} faults[] = {
    {"/routing/expert", 3, 16, true},
    {"/token/phase", 1, 9, false},
    {"/token/request", 1, 77, false},
    {"/routing/predicted", 3, 900, false},
};

static void read_with(const char *path, const char *out, size_t fault, uint64_t row)
{
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++) {
        struct err e = {.text = ""};
        struct trace *t = trace_open(path, NULL, &e);
        int status = t == NULL ? -1 : readers[i].read(t, out, &e);
        bool must = i == 0 || (faults[fault].all && row == REQUESTS * ROWS - 1);

        if (status != (e.text[0] == '\0' ? 0 : -1) || (must && status == 0))
            fail_msg("%s of row %llu of %s: %d \"%s\"", readers[i].name,
                     (unsigned long long)row, faults[fault].set, status, e.text);
        if (status != 0) {
            assert_non_null(strstr(e.text, faults[fault].set));
            assert_int_not_equal(access(out, F_OK), 0);
        }
        trace_close(t);
        (void)unlink(out);
    }
}

static void faults_in_later_rows(void **state)
{
    static const uint64_t rows[] = {1, ROWS + 69, 2 * ROWS + 200, REQUESTS * ROWS - 1};
    char *path = trace_make_path("late.h5"), *out = trace_make_path("late.out");

    (void)state;
    for (size_t f = 0; f < sizeof faults / sizeof *faults; f++) {
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            trace_make(path, &good);
            trace_poke(path, faults[f].set, faults[f].rank, rows[i], faults[f].value);
            read_with(path, out, f, rows[i]);
            (void)unlink(path);
        }
    }
    free(path);
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(faults_in_later_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Options of a workload, and what it refuses. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "row_trace.h"
#include "trace_maker.h"

#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

static void test_options(void **state)
{
    struct workload_params p;
    struct err e = {.text = ""};
    const char *text =
        "{mode: continuous, max_sequences: 8, arrivals: poisson, rate: 2.5}";
    struct cfg *c = cfg_parse("test", text, strlen(text), &e);

    (void)state;
    assert_int_equal(cfg_bind(NULL, workload_options, &p, &e), 0);
    assert_int_equal(p.mode, WORKLOAD_STATIC);
    assert_int_equal(p.batch, 1);
    assert_int_equal(p.prefill, PREFILL_RESAMPLE);
    assert_int_equal(p.arrivals, ARRIVALS_CLOSED);
    assert_int_equal(cfg_bind(cfg_root(c), workload_options, &p, &e), 0);
    assert_int_equal(p.mode, WORKLOAD_CONTINUOUS);
    assert_int_equal(p.arrivals, ARRIVALS_POISSON);
    assert_int_equal(p.max_sequences, 8);
    assert_true(p.rate == 2.5);
    cfg_free(c);
}

/* Every number's default and range, away from which it is refused. */
static void test_ranges(void **state)
{
    static const struct {
        const char *name, *def;
        double min, max;
    } ranges[] = {{"batch", "1", 1, 1e6},         {"max_sequences", "32", 1, 1e6},
                  {"token_budget", "0", 0, 1e9},  {"rate", "1", 1e-6, 1e9},
                  {"first_request", "0", 0, 4e9}, {"requests", "0", 0, 4e9},
                  {"max_passes", "0", 0, 1e15}};
    size_t found = 0;

    (void)state;
    for (const struct option *o = workload_options; o->name != NULL; o++) {
        for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
            if (strcmp(o->name, ranges[i].name) != 0)
                continue;
            assert_string_equal(o->def, ranges[i].def);
            assert_true(o->min >= ranges[i].min && o->min <= ranges[i].min);
            assert_true(o->max >= ranges[i].max && o->max <= ranges[i].max);
            found++;
        }
    }
    assert_int_equal(found, sizeof ranges / sizeof *ranges);
}

static void expect_refusal(const struct row_trace *s, const struct workload_params *p,
                           bool scores, bool predicted, const char *words)
{
    struct err e = {.text = ""};
    struct workload *w =
        workload_new(s->trace, &row_trace_model, p, scores, predicted, 1, &e);

    assert_null(w);
    if (strstr(e.text, words) == NULL)
        fail_msg("\"%s\" instead of \"%s\"", e.text, words);
}

static void test_refusals(void **state)
{
    struct row_traces *f = *state;
    struct workload_params p = row_trace_params();
    struct workload_params q;

    expect_refusal(f->whole, &p, true, false, "/routing/score");
    expect_refusal(f->whole, &p, false, true, "/routing/predicted");
    q = p;
    q.mode = WORKLOAD_RECORDED;
    expect_refusal(f->decode, &q, false, false, "/pass");
    q.first_request = 1;
    expect_refusal(f->whole, &q, false, false, "whole passes");
    q = p;
    q.arrivals = ARRIVALS_TRACE;
    expect_refusal(f->whole, &q, false, false,
                   "no /request/arrival_ns, which arrivals: trace needs; choose");
    q.mode = WORKLOAD_RECORDED;
    q.arrivals = ARRIVALS_POISSON;
    expect_refusal(f->whole, &q, false, false, "must be closed");
    q = p;
    q.first_request = 23;
    expect_refusal(f->decode, &q, false, false, "first_request is 23");
    q.first_request = 20;
    q.requests = 4;
    expect_refusal(f->decode, &q, false, false, "requests is 4");
    q = p;
    q.arrivals = ARRIVALS_FILE;
    expect_refusal(f->decode, &q, false, false, "no file");
    q.file = "/nowhere/at.all";
    expect_refusal(f->decode, &q, false, false, "/nowhere/at.all: cannot be opened");
    q.arrivals = ARRIVALS_CLOSED;
    expect_refusal(f->decode, &q, false, false, "file is given");
    q = p;
    q.mode = WORKLOAD_CONTINUOUS;
    q.token_budget = 3;
    expect_refusal(f->decode, &q, false, false, "token_budget 3");
    q = p;
    q.prefill = PREFILL_RECORDED;
    expect_refusal(f->decode, &q, false, false, "recorded prefill rows");
}

/* Times are counted from the earliest in picoseconds, of which 2^63 - 1 last 106 days. */
static void test_arrivals_of_months(void **state)
{
    const int64_t most = INT64_MAX / SIM_TIME_PER_NS;
    static const struct row_trace_plan plan = {
        .requests = 3, .decode_to = 30, .arrivals = true};
    struct workload_params p = row_trace_params();
    struct err e = {.text = ""};

    (void)state;
    p.mode = WORKLOAD_CONTINUOUS;
    p.arrivals = ARRIVALS_TRACE;
    for (int64_t late = 0; late < 2; late++) {
        struct row_trace *s = row_trace_make(&plan, 12);
        char *words = mem_format("arrival_ns of request 2 is %lld ns after the earliest; "
                                 "at most 106 days can be simulated",
                                 (long long)(most + 1));

        trace_close(s->trace);
        for (uint64_t i = 0; i < 3; i++)
            trace_poke(s->path, "/request/arrival_ns", 1, i,
                       i < 2 ? 500 : 500 + most + late);
        s->trace = trace_open(s->path, NULL, &e);
        assert_non_null(s->trace);
        if (late == 0)
            workload_free(row_trace_workload(s, &p));
        else
            expect_refusal(s, &p, false, false, words);
        row_trace_free(s);
        free(words);
    }
}

/* Traces that hold what batching cannot serve. */
static void test_odd_traces(void **state)
{
    static const struct row_trace_plan turns = {
        .requests = 3, .prefill_to = 60, .decode_to = 30, .late_prefill = true};
    static const struct row_trace_plan hollow = {
        .requests = 3, .decode_to = 30, .empty = true};
    struct row_trace *s = row_trace_make(&turns, 10);
    struct workload_params p = row_trace_params();
    struct workload *w = row_trace_workload(s, &p);
    const struct pass *pass;
    struct err e = {.text = ""};
    struct trace_request first;
    char *words;
    int status = 1;

    (void)state;
    while (status == 1)
        status = workload_next(w, 0, &pass, &e);
    assert_int_equal(status, -1);
    first = trace_get_requests(s->trace)[0];
    assert_true(first.rows > s->prompt[0] + 1); /* so its last row is the fault */
    words =
        mem_format("/token/phase row %llu is prefill behind a decode row of its request",
                   (unsigned long long)(first.first_row + first.rows - 1));
    assert_non_null(strstr(e.text, words));
    free(words);
    workload_free(w);
    row_trace_free(s);
    s = row_trace_make(&hollow, 11);
    expect_refusal(s, &p, false, false, "request 2 has no rows");
    row_trace_free(s);
}

/* Who could not make one has none to free. */
static void test_none_is_freed(void **state)
{
    (void)state;
    workload_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none_is_freed),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_arrivals_of_months),
        cmocka_unit_test(test_odd_traces),
    };

    return cmocka_run_group_tests(tests, row_traces_set_up, row_traces_tear_down);
}

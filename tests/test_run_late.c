/* A fault that only one row of a trace has, found while the row is replayed: the
 * experiment fails with the reader's sentence and by its status, whoever reads it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "spoil.h"
#include "trace_maker.h"

#include "sim/base/mem.h"
#include "sim/experiment/experiment.h"
#include "sim/workload/workload.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REQUESTS = 3, ROWS = 90, LAST = REQUESTS * ROWS - 1 };

static const char model_text[] =
    "name: tiny\nsource: by hand\nlayers: 3\nfirst_moe: 1\ndense_ffn: 64\nhidden: "
    "64\nexpert_ffn: 64\nexperts: 8\n"
    "top_k: 2\nheads: 4\nhead_dim: 16\nvocab: 100\ngate: softmax\nexpert_bits: 16\n"
    "dense_bits: 16\nactivation_bits: 16\n";

static const struct trace_make good = {.layers = 2,
                                       .experts = 8,
                                       .top_k = 2,
                                       .requests = REQUESTS,
                                       .rows = ROWS,
                                       .prefill_rows = 40,
                                       .score_kind = TRACE_SCORE_SOFTMAX,
                                       .known_source = true,
                                       .passes = true,
                                       .seed = 3};

struct files {
    char *trace, *model, *requests;
};

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int set_up(void **state)
{
    struct files *f = mem_zalloc(1, sizeof *f);

    f->trace = trace_make_path("run-late.h5");
    f->model = trace_make_path("run-late.yaml");
    f->requests = trace_make_path("run-late.csv");
    write_text(f->model, model_text);
    write_text(f->requests, "TIMESTAMP,ContextTokens,GeneratedTokens\n"
                            "2023-11-16 18:15:00.0,60,60\n2023-11-16 18:15:01.0,20,20\n"
                            "2023-11-16 18:15:01.5,60,60\n");
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct files *f = *state;

    (void)unlink(f->trace);
    (void)unlink(f->model);
    (void)unlink(f->requests);
    free(f->trace);
    free(f->model);
    free(f->requests);
    free(f);
    return 0;
}

/* Without a look-ahead but where one is asked for: it would find the fault first. */
static const struct {
    const char *text;
    bool part; /* of the rows only, so that a fault may stay unseen */
} experiments[] = {
    {"bounds: no\npolicies: [{cache: {slots: 2}}]", false},
    {"bounds: no\nengine: count\npolicies: [{cache: {slots: 2}}]", false},
    {"bounds: yes\npolicies: [{cache: {slots: 2}}]", false},
    {"bounds: no\npolicies: [{cache: {name: belady, slots: 2}}]", false},
    {"bounds: no\npolicies: [{cache: {name: pin, slots: 2}}]", false},
    {"bounds: no\npolicies: [{cache: {slots: 2, order: recorded}}]", false},
    {"bounds: no\nworkload: {batch: 3}\npolicies: [{cache: {slots: 2}}]", false},
    {"bounds: no\nworkload: {mode: continuous, max_sequences: 3, token_budget: 7}\n"
     "policies: [{cache: {slots: 2}}]",
     false},
    {"bounds: no\nworkload: {mode: recorded}\npolicies: [{cache: {slots: 2}}]", false},
    {"bounds: yes\nworkload: {mode: recorded}\npolicies: [{cache: {slots: 2}}]", false},
    {"bounds: no\nworkload: {lengths: file, file: %s}\npolicies: [{cache: {slots: 2}}]",
     true},
    {"bounds: no\nworkload: {max_passes: 100}\npolicies: [{cache: {slots: 2}}]", true},
    {"bounds: no\nparallel: {gpus: 2}\npolicies: [{name: p}]", false},
    {"bounds: no\nparallel: {gpus: 2}\nworkload: {mode: recorded}\npolicies: [{name: p}]",
     false},
    {"bounds: yes\nparallel: {gpus: 2}\npolicies: [{place: greedy}]", false},
    {"bounds: no\nparallel: {gpus: 2}\npolicies: [{gate: capacity-factor}]", false},
    {"bounds: no\npolicies: [{cache: {slots: 2}, gate: capacity-factor}]", false},
    {"bounds: yes\npolicies: [{cache: {slots: 2}, gate: capacity-factor}]", false},
};

static const struct {
    const char *set;
    int rank;
    int64_t value;
} faults[] = {
    {"/routing/expert", 3, 8}, {"/token/phase", 1, 9}, {"/token/request", 1, 77}};

static int run(const struct files *f, const char *more, struct err *e)
{
    const struct experiment_folders folders = {"models/arch", "models/machine",
                                               "sim/policy/presets"};
    const struct experiment_hooks hooks = {.timeline_path = NULL};
    char *head =
        mem_format("trace: %s\nmodel: %s\nmachine: h100-80g\n", f->trace, f->model);
    const char *file = strstr(more, "%s");
    char *text = file == NULL ? mem_format("%s%s\n", head, more)
                              : mem_format("%s%.*s%s%s\n", head, (int)(file - more), more,
                                           f->requests, file + 2);
    struct cfg *c = cfg_parse("late.yaml", text, strlen(text), e);
    struct result r = {.path = NULL};
    int status;

    assert_non_null(c);
    status = experiment_run(c, &folders, 1, &hooks, &r, e);
    if (status == 0)
        result_release(&r);
    cfg_free(c);
    free(head);
    free(text);
    return status;
}

static void a_fault_of_one_row(void **state)
{
    static const uint64_t rows[] = {0, ROWS + 39, LAST};

    for (size_t k = 0; k < sizeof faults / sizeof *faults; k++) {
        for (size_t n = 0; n < sizeof rows / sizeof *rows; n++) {
            const struct files *f = *state;

            trace_make(f->trace, &good);
            trace_poke(f->trace, faults[k].set, faults[k].rank, rows[n], faults[k].value);
            for (size_t i = 0; i < sizeof experiments / sizeof *experiments; i++) {
                struct err e = {.text = ""};
                int status = run(f, experiments[i].text, &e);
                bool told = strstr(e.text, faults[k].set) != NULL;

                if (status != (told ? -1 : 0) || (e.text[0] != '\0') != told ||
                    (!told && !experiments[i].part))
                    fail_msg("%s of row %llu, %s: %d \"%s\"", faults[k].set,
                             (unsigned long long)rows[n], experiments[i].text, status,
                             e.text);
            }
        }
    }
}

/* A column that cannot be read at all, found by whoever reads it first. */
static void a_column_that_is_no_data(void **state)
{
    static const char *const columns[] = {"/token/position", "/token/request"};

    for (size_t k = 0; k < sizeof columns / sizeof *columns; k++) {
        const struct files *f = *state;

        trace_make(f->trace, &good);
        spoil_chunk(f->trace, columns[k], 1, 0);
        for (size_t i = 0; i < sizeof experiments / sizeof *experiments; i++) {
            struct err e = {.text = ""};

            if (run(f, experiments[i].text, &e) != -1 ||
                strstr(e.text, columns[k]) == NULL)
                fail_msg("%s, %s: \"%s\"", columns[k], experiments[i].text, e.text);
        }
    }
}

static void none_fails_without_a_fault(void **state)
{
    const struct files *f = *state;

    trace_make(f->trace, &good);
    for (size_t i = 0; i < sizeof experiments / sizeof *experiments; i++) {
        struct err e = {.text = ""};

        if (run(f, experiments[i].text, &e) != 0)
            fail_msg("%s: %s", experiments[i].text, e.text);
    }
}

/* ---- the workload alone: how far it gets ---- */

/* Opens the trace of `m` with a fault, and asks for a workload of it. */
static struct workload *faulty(const struct files *f, const struct trace_make *m,
                               const char *set, uint64_t row, int64_t value,
                               const struct workload_params *p, struct trace **t,
                               struct err *e)
{
    static const struct model model = {.window_every = 1};

    trace_make(f->trace, m);
    if (set != NULL)
        trace_poke(f->trace, set, strcmp(set, "/routing/expert") == 0 ? 3 : 1, row,
                   value);
    *t = trace_open(f->trace, NULL, e);
    assert_non_null(*t);
    return workload_new(*t, &model, p, false, false, 1, e);
}

/* The first pass fails. */
static void fails_at_once(const struct files *f, const struct trace_make *m,
                          const char *set, uint64_t row, int64_t value,
                          const struct workload_params *p)
{
    struct err e = {.text = ""};
    struct trace *t;
    struct workload *w = faulty(f, m, set, row, value, p, &t, &e);
    const struct pass *pass;

    assert_non_null(w);
    assert_int_equal(workload_next(w, 0, &pass, &e), -1);
    assert_non_null(strstr(e.text, set));
    workload_free(w);
    trace_close(t);
}

static int measured(const struct files *f, const struct trace_make *m, const char *set,
                    uint64_t row, int64_t value, const struct workload_params *p,
                    uint32_t homes, struct workload_sizes *sizes)
{
    static const struct model model = {.window_every = 1};
    struct err e = {.text = ""};
    struct trace *t;
    struct workload *w = faulty(f, m, set, row, value, p, &t, &e);
    int status;

    assert_non_null(w);
    workload_free(w);
    status = workload_measure(t, &model, p, homes, 1, sizes, &e);
    assert_int_equal(status, e.text[0] == '\0' ? 0 : -1);
    trace_close(t);
    return status;
}

static struct workload_params params(int mode)
{
    return (struct workload_params){.mode = mode,
                                    .batch = 2,
                                    .max_sequences = 2,
                                    .rate = 1,
                                    .file = "",
                                    .prefill = PREFILL_RESAMPLE};
}

static void prompts_are_counted_first(void **state)
{
    struct workload_params p = params(WORKLOAD_STATIC);
    struct err e = {.text = ""};
    struct trace *t;

    assert_null(faulty(*state, &good, "/token/phase", ROWS + 50, 9, &p, &t, &e));
    assert_non_null(strstr(e.text, "/token/phase"));
    trace_close(t);
    /* Where not all passes are served, when the request's turn comes. */
    for (int mode = WORKLOAD_STATIC; mode <= WORKLOAD_CONTINUOUS; mode++) {
        p = params(mode);
        p.max_passes = 5;
        fails_at_once(*state, &good, "/token/phase", ROWS + 50, 9, &p);
        fails_at_once(*state, &good, "/token/request", 0, 77, &p);
    }
    /* Of recorded passes the first has a row of the first request. */
    p = params(WORKLOAD_RECORDED);
    fails_at_once(*state, &good, "/token/phase", 80, 9, &p);
}

/* No prompt is recorded: five rows of it are drawn from two. */
static void rows_are_read_when_served(void **state)
{
    struct trace_make m = {.layers = 2,
                           .experts = 8,
                           .top_k = 2,
                           .requests = 1,
                           .rows = 2,
                           .known_source = true,
                           .seed = 3};
    struct workload_params p = params(WORKLOAD_STATIC);
    struct workload_sizes sizes;

    fails_at_once(*state, &m, "/routing/expert", 1, 8, &p);
    p.prefill = PREFILL_SKIP;
    fails_at_once(*state, &m, "/token/phase", 1, 9, &p);
    assert_int_equal(measured(*state, &m, "/token/phase", 1, 9, &p, 1, &sizes), -1);
    assert_int_equal(measured(*state, &m, NULL, 0, 0, &p, 1, &sizes), 0);
    assert_int_equal(sizes.rows, 1);
}

/* The most rows of a recorded pass are three; entries are known of one home only. */
static void recorded_passes_are_measured(void **state)
{
    static const struct model model = {.window_every = 1};
    struct workload_params p = params(WORKLOAD_RECORDED);
    struct workload_sizes sizes, limited;
    struct err e = {.text = ""};
    struct trace *t;
    struct workload *w = faulty(*state, &good, NULL, 0, 0, &p, &t, &e);
    const struct pass *pass;
    uint64_t most = 0, at = 0;

    while (workload_next(w, 0, &pass, &e) == 1) {
        if (pass->batch.kv_tokens > most) {
            most = pass->batch.kv_tokens;
            at = pass->index;
        }
    }
    assert_true(most > 0);
    assert_int_equal(workload_measure(t, &model, &p, 1, 1, &sizes, &e), 0);
    assert_int_equal(sizes.rows, 3);
    assert_int_equal(sizes.kv_tokens, most);
    assert_int_equal(sizes.kv_pass, at);
    assert_int_equal(workload_measure(t, &model, &p, 2, 1, &sizes, &e), 0);
    assert_int_equal(sizes.rows, 3);
    assert_int_equal(sizes.kv_tokens, 0);
    /* As far as passes are served. */
    p.max_passes = (int64_t)at;
    assert_int_equal(workload_measure(t, &model, &p, 1, 1, &limited, &e), 0);
    assert_true(limited.kv_tokens < most);
    p.max_passes = (int64_t)at + 1;
    assert_int_equal(workload_measure(t, &model, &p, 1, 1, &limited, &e), 0);
    assert_int_equal(limited.kv_tokens, most);
    workload_free(w);
    trace_close(t);
    assert_int_equal(measured(*state, &good, "/token/phase", LAST, 9, &p, 1, &sizes), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fault_of_one_row),
        cmocka_unit_test(a_column_that_is_no_data),
        cmocka_unit_test(none_fails_without_a_fault),
        cmocka_unit_test(prompts_are_counted_first),
        cmocka_unit_test(rows_are_read_when_served),
        cmocka_unit_test(recorded_passes_are_measured),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* The workload against a brute-force re-implementation on small traces whose routing
 * spells the number of its row. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/workload/workload.h"

#include "naive_workload.h"
#include "row_trace.h"
#include "sim/base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WINDOW ROW_TRACE_WINDOW
#define MAX_REQUESTS ROW_TRACE_REQUESTS
#define HOMES 3

/* ---- comparing ---- */

static bool is_in(uint32_t k, const uint32_t *list, uint32_t count)
{
    uint32_t found = 0;

    for (uint32_t i = 0; i < count; i++)
        found += list[i] == k;
    assert_true(found <= 1);
    return found == 1;
}

/* The sums of the batch, from their definitions: which keys each row sees. */
static void check_batch(const struct pass *p)
{
    struct cost_batch b = {.tokens = p->rows};
    uint32_t top = 0;

    for (uint32_t i = 0; i < p->rows; i++)
        top = p->row[i].position > top ? p->row[i].position : top;
    for (uint32_t i = 0; i < p->rows; i++) {
        bool newest = true; /* the last row of its request */

        for (uint32_t j = i + 1; j < p->rows; j++)
            newest &= p->row[j].request != p->row[i].request;
        for (uint32_t key = 0; key <= p->row[i].position; key++) {
            b.pairs++;
            b.window_pairs += p->row[i].position - key < WINDOW;
        }
        for (uint32_t key = 0; newest && key <= top; key++) {
            bool seen = false;
            bool seen_in_window = false;

            for (uint32_t j = 0; j < p->rows; j++)
                if (p->row[j].request == p->row[i].request && key <= p->row[j].position) {
                    seen = true;
                    seen_in_window |= p->row[j].position - key < WINDOW;
                }
            b.kv_tokens += seen;
            b.window_kv_tokens += seen_in_window;
        }
    }
    assert_int_equal(p->batch.tokens, b.tokens);
    assert_int_equal(p->batch.pairs, b.pairs);
    assert_int_equal(p->batch.window_pairs, b.window_pairs);
    assert_int_equal(p->batch.kv_tokens, b.kv_tokens);
    assert_int_equal(p->batch.window_kv_tokens, b.window_kv_tokens);
}

static void check_row(struct naive *n, const struct pass *p, uint32_t i, uint32_t k)
{
    struct naive_request *q = &n->q[k];
    const struct trace_request *t = &trace_get_requests(n->s->trace)[q->number];
    uint64_t row = row_trace_number(p, i);

    assert_int_equal(p->row[i].request, k);
    assert_int_equal(p->row[i].position, q->position[q->served]);
    assert_int_equal(p->row[i].source, (trace_fields(n->s->trace) & TRACE_HAS_SOURCE) != 0
                                           ? q->number % 7
                                           : UINT16_MAX);
    assert_int_equal(p->row[i].phase,
                     q->served < q->prompt ? TRACE_PREFILL : TRACE_DECODE);
    if (q->row[q->served] == NAIVE_NO_ROW)
        assert_true(row >= t->first_row && row < t->first_row + t->rows);
    else
        assert_int_equal(row, q->row[q->served]);
    q->served++;
}

/* Pass `p` is what was picked; moves the naive requests on. */
static void check_pass(struct naive *n, const struct pass *p)
{
    uint32_t at = 0;
    uint32_t outputs = 0;
    uint32_t firsts = 0;
    uint32_t finished = 0;

    for (uint32_t i = 0; i < n->picks; i++) {
        struct naive_request *q = &n->q[n->pick[i]];
        bool gives;

        assert_true(at + n->pick_rows[i] <= p->rows);
        for (uint32_t k = 0; k < n->pick_rows[i]; k++)
            check_row(n, p, at++, n->pick[i]);
        gives = q->served >= q->prompt;
        assert_int_equal(is_in(n->pick[i], p->output, p->output_count), gives);
        assert_int_equal(is_in(n->pick[i], p->first, p->first_count),
                         gives && q->outputs == 0);
        q->firsts += gives && q->outputs == 0;
        firsts += gives && q->outputs == 0;
        q->outputs += gives;
        outputs += gives;
        if (q->served == q->rows)
            q->status = NAIVE_DONE;
        finished += q->status == NAIVE_DONE;
        assert_int_equal(is_in(n->pick[i], p->finished, p->finished_count),
                         q->status == NAIVE_DONE);
    }
    assert_int_equal(p->rows, at);
    assert_int_equal(p->output_count, outputs);
    assert_int_equal(p->batch.outputs, outputs);
    assert_int_equal(p->first_count, firsts);
    assert_int_equal(p->finished_count, finished);
    check_batch(p);
}

/* The rows of pass `p`, and the KV entries in each home that its requests are left with:
 * those up to the last row of each. */
static void note_sizes(const struct pass *p, struct workload_sizes *s)
{
    uint64_t kv_tokens[HOMES] = {0};

    for (uint32_t i = 0; i < p->rows; i++) {
        const struct view_row *row = &p->row[i];
        uint32_t home = (row->source != UINT16_MAX ? row->source : row->request) % HOMES;

        if (i + 1 == p->rows || row[1].request != row->request)
            kv_tokens[home] += row->position + 1;
    }
    s->rows = p->rows > s->rows ? p->rows : s->rows;
    for (uint32_t h = 0; h < HOMES; h++)
        if (kv_tokens[h] > s->kv_tokens) {
            s->kv_tokens = kv_tokens[h];
            s->kv_pass = p->index;
        }
}

/* What is measured beforehand is what the passes have, and nothing where they depend on
 * time. */
static void check_sizes(const struct row_trace *s, const struct workload_params *p,
                        const struct workload_sizes *want)
{
    struct workload_sizes sizes;
    struct err e = {.text = ""};

    assert_int_equal(
        workload_measure(s->trace, &row_trace_model, p, HOMES, 1, &sizes, &e), 0);
    assert_int_equal(sizes.rows, want->rows);
    assert_int_equal(sizes.kv_tokens, want->kv_tokens);
    assert_int_equal(sizes.kv_pass, want->kv_pass);
}

/* Runs both side by side. A pass takes 1 us and 2 us per row. `lengths` as (prompt,
 * output) pairs, or NULL. Returns the number of passes. */
static uint64_t compare(const struct row_trace *s, const struct workload_params *p,
                        const int64_t (*lengths)[2])
{
    struct naive n = {.p = p, .s = s};
    struct workload *w = row_trace_workload(s, p);
    struct workload_sizes sizes = {.rows = 0};
    struct err e = {.text = ""};
    const struct pass *pass;
    sim_time now = 0;
    sim_time not_before;
    uint64_t passes = 0;

    n.count = (uint32_t)workload_request_count(w);
    for (uint32_t k = 0; k < n.count; k++) {
        naive_add(&n, k, lengths ? lengths[k][0] : -1, lengths ? lengths[k][1] : -1);
        n.q[k].arrival = workload_get_request(w, k)->arrival;
    }
    assert_int_equal(workload_rows_total(w), n.rows);
    while (naive_plan_pass(&n, now, &not_before)) {
        int status = workload_next(w, now, &pass, &e);

        if (status != 1)
            fail_msg("pass %llu: %d %s", (unsigned long long)passes, status, e.text);
        assert_int_equal(pass->index, passes++);
        assert_true(pass->not_before == not_before);
        if (p->mode == WORKLOAD_CONTINUOUS && p->token_budget > 0)
            assert_true(pass->rows <= p->token_budget);
        check_pass(&n, pass);
        if (workload_is_timeless(w))
            note_sizes(pass, &sizes);
        now = (now > not_before ? now : not_before) +
              SIM_TIME_PER_US * (1 + 2 * pass->rows);
    }
    assert_int_equal(workload_next(w, now, &pass, &e), 0);
    for (uint32_t k = 0; k < n.count; k++) {
        const struct workload_request *r = workload_get_request(w, k);

        assert_int_equal(n.q[k].status, NAIVE_DONE);
        assert_int_equal(n.q[k].served, n.q[k].rows);
        assert_int_equal(n.q[k].firsts, 1);
        assert_int_equal(r->output_tokens, n.q[k].outputs);
        assert_int_equal(r->trace_request, n.q[k].number);
        assert_int_equal(r->group, n.q[k].number % 2);
        if (lengths != NULL && lengths[k][1] > 0)
            assert_int_equal(r->output_tokens, lengths[k][1]);
    }
    assert_int_equal(workload_rows_done(w), n.rows);
    assert_int_equal(workload_rows_resampled(w), n.drawn);
    assert_int_equal(workload_prompts_skipped(w), n.skipped);
    check_sizes(s, p, &sizes);
    naive_release(&n);
    workload_free(w);
    return passes;
}

/* ---- tests ---- */

/* Both traces, every batch size and budget, prompts drawn and skipped. */
static void compare_all(struct row_traces *f, struct workload_params *p, int64_t *size)
{
    static const int64_t sizes[] = {1, 2, 5, 23, 40};
    static const int64_t budgets[] = {0, 40, 64, 129};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t k = 0; k < sizeof budgets / sizeof *budgets; k++) {
            *size = sizes[i];
            p->token_budget = budgets[k];
            p->prefill = i % 2 == 0 ? PREFILL_RESAMPLE : PREFILL_SKIP;
            assert_true(compare(f->decode, p, NULL) > 0);
            if (p->arrivals != ARRIVALS_TRACE)
                assert_true(compare(f->whole, p, NULL) > 0);
        }
}

static void test_static(void **state)
{
    struct workload_params p = row_trace_params();

    compare_all(*state, &p, &p.batch);
    p.arrivals = ARRIVALS_TRACE;
    compare_all(*state, &p, &p.batch);
}

static void test_continuous(void **state)
{
    struct workload_params p = row_trace_params();

    p.mode = WORKLOAD_CONTINUOUS;
    compare_all(*state, &p, &p.max_sequences);
    p.arrivals = ARRIVALS_TRACE;
    compare_all(*state, &p, &p.max_sequences);
    p.arrivals = ARRIVALS_POISSON;
    p.rate = 2000.0;
    compare_all(*state, &p, &p.max_sequences);
}

/* Lengths and arrivals of a request file: prompts and answers shorter and longer than
 * what was recorded, and more requests than the trace has. */
static void test_file_lengths(void **state)
{
    struct row_traces *f = *state;
    struct workload_params p = row_trace_params();
    char path[] = "/tmp/moesim_lengths_XXXXXX";
    int64_t length[MAX_REQUESTS][2];
    struct rng r = rng_stream(3, "lengths", 0);
    FILE *out = fdopen(mkstemp(path), "w");

    assert_non_null(out);
    for (int i = 0; i < 50; i++) {
        length[i][0] = (int64_t)rng_below(&r, 150);
        length[i][1] = (int64_t)rng_below(&r, 400) + (length[i][0] == 0);
        (void)fprintf(out,
                      "{\"timestamp\": %d, \"input_length\": %lld, \"output_length\": "
                      "%lld}\n",
                      (i * 7 % 50) / 10, (long long)length[i][0],
                      (long long)length[i][1]);
    }
    assert_int_equal(fclose(out), 0);
    p.file = path;
    p.lengths = LENGTHS_FILE;
    for (int i = 0; i < 8; i++) {
        p.mode = i % 2 == 0 ? WORKLOAD_STATIC : WORKLOAD_CONTINUOUS;
        p.prefill = i / 2 % 2 == 0 ? PREFILL_RESAMPLE : PREFILL_SKIP;
        p.arrivals = i / 4 == 0 ? ARRIVALS_CLOSED : ARRIVALS_FILE;
        p.first_request = i;
        p.requests = i % 3 == 0 ? 0 : 41;
        p.batch = 3;
        p.token_budget = 100;
        assert_true(compare(f->decode, &p, (const int64_t(*)[2])length) > 0);
        assert_true(compare(f->whole, &p, (const int64_t(*)[2])length) > 0);
    }
    p.lengths = LENGTHS_TRACE; /* times of the file alone */
    assert_true(compare(f->decode, &p, NULL) > 0);
    (void)unlink(path);
}

/* All passes of a run, as one number. `step` is the time between them. */
static uint64_t digest(const struct row_trace *s, const struct workload_params *p,
                       sim_time step)
{
    struct workload *w = row_trace_workload(s, p);
    struct err e = {.text = ""};
    const struct pass *pass;
    uint64_t sum = 0;
    sim_time now = 0;

    while (workload_next(w, now, &pass, &e) == 1) {
        for (uint32_t i = 0; i < pass->rows; i++)
            sum = rng_mix(sum ^ rng_mix(row_trace_number(pass, i) * MAX_REQUESTS +
                                        pass->row[i].request));
        sum = rng_mix(sum + pass->finished_count);
        now += step;
    }
    assert_string_equal(e.text, "");
    assert_int_equal(workload_rows_done(w), workload_rows_total(w));
    workload_free(w);
    return sum;
}

/* A closed loop gives the same passes whatever time they take; arrivals do not. */
static void test_timeless(void **state)
{
    struct row_traces *f = *state;
    struct workload_params p = row_trace_params();
    struct workload *w;

    p.mode = WORKLOAD_CONTINUOUS;
    assert_true(digest(f->decode, &p, 0) == digest(f->decode, &p, SIM_TIME_PER_S));
    w = row_trace_workload(f->decode, &p);
    assert_true(workload_is_timeless(w));
    workload_free(w);
    p.arrivals = ARRIVALS_TRACE;
    assert_true(digest(f->decode, &p, 0) != digest(f->decode, &p, SIM_TIME_PER_S));
    w = row_trace_workload(f->decode, &p);
    assert_false(workload_is_timeless(w));
    workload_free(w);
}

/* In a closed loop a request comes when it is admitted. */
static void test_closed_arrival(void **state)
{
    struct row_traces *f = *state;
    struct workload_params p = row_trace_params();
    struct workload *w = row_trace_workload(f->decode, &p);
    const struct pass *pass;
    struct err e = {.text = ""};
    sim_time now = 5;

    for (; workload_next(w, now, &pass, &e) == 1; now += 5) {
        const struct workload_request *r = workload_get_request(w, pass->row[0].request);

        if (pass->row[0].phase == TRACE_PREFILL && pass->row[0].position == 0)
            assert_true(r->arrival == now);
        assert_true(r->arrival > 0 && r->arrival <= now);
    }
    workload_free(w);
}

/* Draws of one purpose move nothing elsewhere: Poisson arrivals are the same with drawn
 * and with skipped prompts, and the rows drawn for a request are the same however the
 * requests are batched and their prompts cut. */
static void test_streams(void **state)
{
    struct row_traces *f = *state;
    struct workload_params p = row_trace_params();
    struct workload *w[2];
    uint64_t sum[4] = {0};

    p.arrivals = ARRIVALS_POISSON;
    w[0] = row_trace_workload(f->decode, &p);
    p.prefill = PREFILL_SKIP;
    p.mode = WORKLOAD_CONTINUOUS;
    w[1] = row_trace_workload(f->decode, &p);
    for (uint64_t k = 0; k < workload_request_count(w[0]); k++)
        assert_true(workload_get_request(w[0], k)->arrival ==
                    workload_get_request(w[1], k)->arrival);
    workload_free(w[0]);
    workload_free(w[1]);
    p = row_trace_params();
    for (int i = 0; i < 4; i++) {
        struct workload *x;
        const struct pass *pass;
        struct err e = {.text = ""};

        p.mode = i >= 2 ? WORKLOAD_CONTINUOUS : WORKLOAD_STATIC;
        p.token_budget = i == 3 ? 11 : 0;
        p.batch = i == 0 ? 1 : 7;
        x = row_trace_workload(f->decode, &p);
        while (workload_next(x, 0, &pass, &e) == 1)
            for (uint32_t k = 0; k < pass->rows; k++)
                if (pass->row[k].phase == TRACE_PREFILL)
                    sum[i] += rng_mix(
                        rng_mix(row_trace_number(pass, k)) ^
                        (pass->row[k].request * UINT64_C(1000) + pass->row[k].position));
        workload_free(x);
    }
    assert_true(sum[0] == sum[1] && sum[1] == sum[2] && sum[2] == sum[3]);
}

/* Two uses of one trace request draw rows of their own. */
static void test_draws_differ(void **state)
{
    struct row_traces *f = *state;
    struct workload_params p = row_trace_params();
    char path[] = "/tmp/moesim_lengths_XXXXXX";
    FILE *out = fdopen(mkstemp(path), "w");
    uint64_t sum[2] = {0};
    struct workload *w;
    const struct pass *pass;
    struct err e = {.text = ""};

    assert_non_null(out);
    (void)fprintf(out, "TIMESTAMP,ContextTokens,GeneratedTokens\n");
    for (int i = 0; i < 24; i++)
        (void)fprintf(out, "2024-01-01 00:00:00,200,1\n");
    assert_int_equal(fclose(out), 0);
    p.file = path;
    p.lengths = LENGTHS_FILE;
    w = row_trace_workload(f->decode, &p);
    assert_int_equal(workload_get_request(w, 23)->trace_request, 0);
    while (workload_next(w, 0, &pass, &e) == 1)
        for (uint32_t i = 0; i < pass->rows; i++)
            if (pass->row[i].request % 23 == 0)
                sum[pass->row[i].request / 23] +=
                    rng_mix(row_trace_number(pass, i) * 1000 + pass->row[i].position);
    assert_int_equal(workload_rows_resampled(w), 24 * 200);
    assert_true(sum[0] != sum[1]);
    workload_free(w);
    (void)unlink(path);
}

static void test_limits(void **state)
{
    struct row_traces *f = *state;
    struct workload_params p = row_trace_params();
    struct workload *w;
    const struct pass *pass;
    struct err e = {.text = ""};
    uint64_t passes = 0;

    p.first_request = 5;
    p.requests = 3;
    assert_true(compare(f->decode, &p, NULL) > 0);
    p.max_passes = 4;
    w = row_trace_workload(f->decode, &p);
    assert_int_equal(workload_rows_total(w), 0); /* not known beforehand */
    while (workload_next(w, 0, &pass, &e) == 1)
        passes++;
    assert_int_equal(passes, 4);
    assert_int_equal(workload_next(w, 0, &pass, &e), 0);
    workload_free(w);
}

static void test_recorded(void **state)
{
    struct row_traces *f = *state;
    const struct row_trace *s = f->whole;
    const struct trace_request *t = trace_get_requests(s->trace);
    struct workload_params p = row_trace_params();
    struct workload *w;
    const struct pass *pass;
    struct err e = {.text = ""};
    uint32_t served[MAX_REQUESTS] = {0};
    uint32_t outputs[MAX_REQUESTS] = {0};

    p.mode = WORKLOAD_RECORDED;
    w = row_trace_workload(s, &p);
    assert_true(workload_is_timeless(w));
    for (uint64_t n = 0; n < s->passes; n++) {
        bool gives[MAX_REQUESTS] = {false};
        bool begins[MAX_REQUESTS] = {false};
        bool ends[MAX_REQUESTS] = {false};

        assert_int_equal(workload_next(w, (sim_time)n, &pass, &e), 1);
        assert_int_equal(pass->index, n);
        assert_int_equal(pass->rows, s->pass_count[n]);
        assert_true(pass->not_before == 0);
        for (uint32_t i = 0; i < pass->rows; i++) {
            uint32_t k = pass->row[i].request;
            uint64_t row = s->pass_row[n][i];

            assert_int_equal(row_trace_number(pass, i), row);
            assert_true(row >= t[k].first_row && row < t[k].first_row + t[k].rows);
            assert_int_equal(pass->row[i].phase, row - t[k].first_row < s->prompt[k]
                                                     ? TRACE_PREFILL
                                                     : TRACE_DECODE);
            if (served[k]++ == 0)
                assert_true(workload_get_request(w, k)->arrival == (sim_time)n);
            if (served[k] >= s->prompt[k]) {
                gives[k] = true;
                begins[k] |= outputs[k]++ == 0;
            }
            ends[k] |= served[k] == t[k].rows;
        }
        for (uint32_t k = 0; k < workload_request_count(w); k++) {
            assert_int_equal(is_in(k, pass->output, pass->output_count), gives[k]);
            assert_int_equal(is_in(k, pass->first, pass->first_count), begins[k]);
            assert_int_equal(is_in(k, pass->finished, pass->finished_count), ends[k]);
        }
        check_batch(pass);
    }
    assert_int_equal(workload_next(w, 0, &pass, &e), 0);
    assert_int_equal(workload_rows_done(w), trace_get_info(s->trace)->rows);
    workload_free(w);
}

/* With `prefill: recorded` a trace of whole sequences is replayed as it is. */
static void test_prefill_recorded(void **state)
{
    static const struct row_trace_plan plan = {
        .requests = 4, .prefill_to = 60, .decode_to = 30};
    struct row_trace *s = row_trace_make(&plan, 9);
    struct workload_params p = row_trace_params();

    (void)state;
    p.prefill = PREFILL_RECORDED;
    p.batch = 2;
    assert_true(compare(s, &p, NULL) > 0);
    row_trace_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_static),           cmocka_unit_test(test_continuous),
        cmocka_unit_test(test_file_lengths),     cmocka_unit_test(test_timeless),
        cmocka_unit_test(test_closed_arrival),   cmocka_unit_test(test_streams),
        cmocka_unit_test(test_limits),           cmocka_unit_test(test_recorded),
        cmocka_unit_test(test_prefill_recorded), cmocka_unit_test(test_draws_differ),
    };

    return cmocka_run_group_tests(tests, row_traces_set_up, row_traces_tear_down);
}

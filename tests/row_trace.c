#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "row_trace.h"

#include "sim/base/mem.h"
#include "sim/base/rng.h"

#include <stdlib.h>
#include <unistd.h>

#define LAYERS 2
#define TOP_K 2
#define EXPERTS 4096

/* Row n chooses, in layer 0, expert n mod 1024 and 1024 + n / 1024; in layer 1 the same
 * from 2048 on. */
static void spell_row(uint64_t n, uint16_t *expert, float *score, uint16_t *predicted)
{
    for (uint32_t l = 0; l < LAYERS; l++) {
        expert[l * TOP_K] = (uint16_t)(l * 2048 + n % 1024);
        expert[l * TOP_K + 1] = (uint16_t)(l * 2048 + 1024 + n / 1024);
        score[l * TOP_K] = (float)(n % 1024);
        score[l * TOP_K + 1] = -(float)(l + n / 1024);
        predicted[l] = (uint16_t)((n + l) % EXPERTS);
    }
}

/* The row that a row of a pass came from; all that was read must agree on it. */
uint64_t row_trace_number(const struct pass *p, uint32_t i)
{
    const uint16_t *expert = p->expert + i * LAYERS * TOP_K;
    uint64_t n = expert[0] + (uint64_t)(expert[1] - 1024) * 1024;
    uint16_t want[LAYERS * TOP_K];
    float score[LAYERS * TOP_K];
    uint16_t predicted[LAYERS];

    spell_row(n, want, score, predicted);
    assert_memory_equal(expert, want, sizeof want);
    if (p->score != NULL)
        assert_memory_equal(p->score + i * LAYERS * TOP_K, score, sizeof score);
    if (p->predicted != NULL)
        assert_memory_equal(p->predicted + i * LAYERS, predicted, sizeof predicted);
    return n;
}

static void write_row(struct trace_writer *w, uint64_t n, struct trace_token token,
                      bool scores)
{
    uint16_t expert[LAYERS * TOP_K];
    float score[LAYERS * TOP_K];
    uint16_t predicted[LAYERS];
    struct err e = {.text = ""};

    spell_row(n, expert, score, predicted);
    if (trace_writer_rows(w, 1, &token, expert, scores ? score : NULL,
                          scores ? predicted : NULL, &e) != 0)
        fail_msg("%s", e.text);
}

/* Passes of 1 to 9 rows, each the next row of a request drawn at random, so that a
 * request's rows lie apart. */
static void write_passes(struct trace_writer *w, struct row_trace *s,
                         const struct trace_request *q, uint32_t count, struct rng *r)
{
    uint32_t done[ROW_TRACE_REQUESTS] = {0};
    uint64_t left = q[count - 1].first_row + q[count - 1].rows;
    struct err e = {.text = ""};

    while (left > 0) {
        uint64_t *row = mem_alloc(9, sizeof *row);
        uint64_t n = 0;
        uint64_t most = 1 + rng_below(r, 9);

        while (n < most && left > 0) {
            uint64_t k = rng_below(r, count);

            while (done[k] == q[k].rows)
                k = (k + 1) % count;
            row[n++] = q[k].first_row + done[k]++;
            left--;
        }
        assert_true(s->passes < ROW_TRACE_PASSES);
        assert_int_equal(trace_writer_pass(w, row, n, (int64_t)s->passes, &e), 0);
        s->pass_row[s->passes] = row;
        s->pass_count[s->passes++] = n;
    }
}

static void write_request(struct trace_writer *w, const struct row_trace *s,
                          const struct row_trace_plan *plan, uint32_t k,
                          const struct trace_request *q)
{
    for (uint32_t i = 0; i < q->rows; i++) {
        bool late = plan->late_prefill && i > s->prompt[k] && i + 1 == q->rows;
        struct trace_token token = {
            .request = k,
            .position = i < s->prompt[k] ? i : q->prompt_tokens + i - s->prompt[k],
            .phase = i < s->prompt[k] || late ? TRACE_PREFILL : TRACE_DECODE,
            .token_id = -1,
            .source = plan->sources ? (uint16_t)(k % 7) : UINT16_MAX};

        write_row(w, q->first_row + i, token, plan->scores);
    }
}

struct row_trace *row_trace_make(const struct row_trace_plan *plan, uint64_t seed)
{
    struct row_trace *s = mem_zalloc(1, sizeof *s);
    uint16_t moe_layer[LAYERS] = {0, 1};
    char name[] = "two";
    char *groups[] = {name, name};
    char text[] = "test";
    struct trace_info info = {.model = text,
                              .source = text,
                              .capture = text,
                              .experts = EXPERTS,
                              .top_k = TOP_K,
                              .candidates = TOP_K,
                              .layers = LAYERS,
                              .moe_layer = moe_layer,
                              .predicted = plan->scores ? 1 : 0,
                              .distance = plan->scores ? 1 : 0,
                              .score_kind =
                                  plan->scores ? TRACE_SCORE_LOGIT : TRACE_SCORE_NONE,
                              .groups = 2,
                              .group_names = groups};
    struct trace_request q[ROW_TRACE_REQUESTS];
    struct rng r = rng_stream(seed, "trace", 0);
    struct err e = {.text = ""};
    struct trace_writer *w;
    uint64_t n = 0;

    s->path = mem_format("/tmp/moesim_workload_%ld_%llu.h5", (long)getpid(),
                         (unsigned long long)seed);
    w = trace_writer_new(s->path, &info, &e);
    if (w == NULL)
        fail_msg("%s", e.text);
    for (uint32_t k = 0; k < plan->requests; k++) {
        uint32_t prompt = (uint32_t)rng_below(&r, 20);
        uint32_t decode = 1 + (uint32_t)rng_below(&r, plan->decode_to);

        if (plan->prefill_to > 0) {
            prompt = (uint32_t)rng_below(&r, plan->prefill_to);
            s->prompt[k] = k % 5 == 4 ? 0 : prompt;
            if (k % 3 == 1 && s->prompt[k] > 0)
                decode = 0;
        }
        if (plan->empty && k + 1 == plan->requests)
            decode = 0;
        q[k] = (struct trace_request){
            .arrival_ns = plan->arrivals ? (int64_t)rng_below(&r, 400000) : -1,
            .prompt_tokens = prompt,
            .output_tokens = decode,
            .first_row = n,
            .rows = s->prompt[k] + decode,
            .group = (uint16_t)(k % 2)};
        write_request(w, s, plan, k, &q[k]);
        n += q[k].rows;
        assert_int_equal(trace_writer_request(w, &q[k], &e), 0);
    }
    if (plan->passes)
        write_passes(w, s, q, plan->requests, &r);
    if (trace_writer_commit(w, &e) != 0)
        fail_msg("%s", e.text);
    s->trace = trace_open(s->path, NULL, &e);
    if (s->trace == NULL)
        fail_msg("%s", e.text);
    return s;
}

void row_trace_free(struct row_trace *s)
{
    trace_close(s->trace);
    (void)unlink(s->path);
    for (uint64_t i = 0; i < s->passes; i++)
        free(s->pass_row[i]);
    free(s->path);
    free(s);
}

int row_traces_set_up(void **state)
{
    static const struct row_trace_plan decode = {.requests = 23,
                                                 .decode_to = 300,
                                                 .scores = true,
                                                 .arrivals = true,
                                                 .sources = true};
    static const struct row_trace_plan whole = {
        .requests = 31, .prefill_to = 200, .decode_to = 40, .passes = true};
    struct row_traces *f = mem_zalloc(1, sizeof *f);

    f->decode = row_trace_make(&decode, 1);
    f->whole = row_trace_make(&whole, 2);
    *state = f;
    return 0;
}

int row_traces_tear_down(void **state)
{
    struct row_traces *f = *state;

    row_trace_free(f->decode);
    row_trace_free(f->whole);
    free(f);
    return 0;
}

/* ---- workloads ---- */

const struct model row_trace_model = {.window = ROW_TRACE_WINDOW, .window_every = 2};

struct workload_params row_trace_params(void)
{
    return (struct workload_params){.mode = WORKLOAD_STATIC,
                                    .batch = 1,
                                    .max_sequences = 4,
                                    .arrivals = ARRIVALS_CLOSED,
                                    .rate = 1.0,
                                    .file = "",
                                    .lengths = LENGTHS_TRACE,
                                    .prefill = PREFILL_RESAMPLE};
}

struct workload *row_trace_workload(const struct row_trace *s,
                                    const struct workload_params *p)
{
    struct err e = {.text = ""};
    bool scores = (trace_fields(s->trace) & TRACE_HAS_SCORES) != 0;
    struct workload *w =
        workload_new(s->trace, &row_trace_model, p, scores, scores, 77, &e);

    if (w == NULL)
        fail_msg("%s", e.text);
    return w;
}

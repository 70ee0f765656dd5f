/* Encoder-decoder models: a pass of each side by hand, what of a trace is whose, and the
 * memory of what is kept. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "run_world.h"

#include <stdlib.h>
#include <string.h>

#define F WORLD_FLOOR
#define ALL "{cache: {name: lru, slots: 4, preload: linear}}"

/* One MoE layer on each side. A flop and a byte take a picosecond each, so that every
 * figure below is a number of flops or bytes. */
static struct model two_layers(void)
{
    static char name[] = "by hand";

    return (struct model){.name = name,
                          .source = name,
                          .layers = 2,
                          .encoder_layers = 1,
                          .moe_every = 1,
                          .moe_layers = 2,
                          .hidden = 16,
                          .expert_ffn = 8,
                          .matrices = 3,
                          .experts = 4,
                          .top_k = 1,
                          .heads = 2,
                          .kv_heads = 1,
                          .head_dim = 8,
                          .vocab = 32,
                          .expert_bits = 16,
                          .dense_bits = 16,
                          .activation_bits = 16};
}

/* That of run_world.h, as slow as that. */
static struct machine a_flop_a_picosecond(void)
{
    struct run_world *w = run_world_spelled(1, 1, 1, "0");
    struct machine k = w->machine;

    run_world_free(w);
    k.gpu.bf16_flops = k.gpu.fp32_flops = k.gpu.hbm_bytes_per_s = 1e12;
    return k;
}

/* A prompt of three rows, which use experts 0, 1 and 1, and an answer of two. */
static const uint16_t three_and_two[] = {0, 9, 1, 9, 1, 9, 9, 2, 9, 2};

static struct run_world *open_world(const struct model *m, const struct machine *k,
                                    uint32_t requests)
{
    uint16_t expert[4 * 10];

    for (uint32_t i = 0; i < requests * 10; i++)
        expert[i] = three_and_two[i % 10] == 9 ? 0 : three_and_two[i % 10];
    return run_world_prompted(m, k, requests, 3, 5, expert);
}

/* Three rows through the encoder:
 *
 *   norm 192, QKV 2 x 3 x 16 x 32, rotation 384, attention moves 192 and computes
 *   4 x 16 x 3 x 3 (each row attends to all), output 2 x 3 x 16 x 16, residual 288
 *   gate 384 and 36; experts in 1536, activation 144, out 768, indices 6, sum 192
 *   embedding 192, no head */
static const sim_time encode = 17 * F + (192 + 3072 + 384 + 192 + 576 + 1536 + 288) +
                               (384 + 36) + (1536 + 144 + 768 + 6 + 192) + 192;

/* One row through the decoder, the `self`-th of its answer:
 *
 *   norm 64, QKV reads 1120 bytes, rotation 128, attention moves 64 and computes
 *   4 x 16 x self, output reads 576, residual 96
 *   query reads 576, attention to the prompt moves 64 and computes 4 x 16 x 3, output
 *   576, residual 96; keys and values of three rows 2 x 3 x 16 x 16, once
 *   gate 168 and 12; expert in 576, activation 48, out 304, indices 2, sum 64
 *   embedding 64, norm 64, head 1120 */
static sim_time decode(uint32_t self)
{
    sim_time t = 21 * F + (64 + 1120 + 128 + 64 + 64 * self + 576 + 96) +
                 (576 + 64 + 4 * 16 * 3 + 576 + 96) + (168 + 12) +
                 (576 + 48 + 304 + 2 + 64) + (64 + 64 + 1120);

    return self == 1 ? t + F + 2 * 3 * 16 * 16 : t;
}

struct passes {
    struct run_result result;
    struct run_pass pass[16];
};

static struct passes run(const struct run_world *w, const char *policy)
{
    struct run_case c = {
        .policy = policy, .running_ahead = true, .graph = true, .keep_passes = true};
    struct passes p;

    run_world_run(w, &c, &p.result);
    assert_true(p.result.passes <= sizeof p.pass / sizeof *p.pass);
    rewind(p.result.pass_spool);
    assert_int_equal(fread(p.pass, sizeof *p.pass, p.result.passes, p.result.pass_spool),
                     p.result.passes);
    return p;
}

static void test_passes_by_hand(void **state)
{
    struct model m = two_layers();
    struct machine k = a_flop_a_picosecond();
    struct run_world *w = open_world(&m, &k, 1);
    struct passes p = run(w, ALL);

    (void)state;
    assert_int_equal(p.result.passes, 3);
    assert_int_equal(p.pass[0].latency, encode + WORLD_TRIP);
    assert_int_equal(p.pass[1].latency, decode(1) + WORLD_TRIP);
    assert_int_equal(p.pass[2].latency, decode(2) + WORLD_TRIP);
    /* Each row activates an expert of the layers of its own side. */
    assert_int_equal(p.result.layer[0].counts.activations, 3);
    assert_int_equal(p.result.layer[1].counts.activations, 2);
    assert_int_equal(p.result.layer[0].counts.accesses, 2);
    assert_int_equal(p.result.layer[1].counts.accesses, 2);
    /* An encoder gives no token: the first comes from the first row behind it. */
    assert_int_equal(p.result.output_tokens, 2);
    assert_int_equal(p.result.prefill_rows, 3);
    assert_int_equal(p.result.request[0].first_token,
                     p.pass[0].latency + p.pass[1].latency);
    run_result_release(&p.result);
    run_world_free(w);
}

/* A token has 2 x 8 values of two bytes in a layer. Kept are the answer so far and the
 * prompt's three, in the decoder's layers. */
static void test_memory_by_hand(void **state)
{
    struct model m = two_layers();
    struct machine k = a_flop_a_picosecond();
    struct run_world *w = open_world(&m, &k, 1);
    struct passes p = run(w, ALL);
    struct workload_sizes sizes;
    struct err e = {.text = ""};

    (void)state;
    assert_int_equal(p.pass[0].memory.kv, 0);
    assert_int_equal(p.pass[1].memory.kv, (1 + 3) * 32);
    assert_int_equal(p.pass[2].memory.kv, (2 + 3) * 32);
    assert_int_equal(p.result.kv_peak_bytes, (2 + 3) * 32);
    assert_int_equal(workload_measure(w->trace, &m, &w->workload, 1, 1, &sizes, &e), 0);
    assert_int_equal(run_kv_bytes(&m, sizes.kv_tokens), (2 + 3) * 32);
    assert_int_equal(sizes.kv_pass, 2);
    assert_int_equal(sizes.rows, 3);
    run_result_release(&p.result);
    m.layers = 7; /* six of them the decoder's */
    assert_int_equal(run_kv_bytes(&m, 5), 6 * 5 * 32);
    run_world_free(w);
}

/* The second request's prompt and the first one's first decode are one pass, but each
 * side is walked by itself: the times add up, and the host waits once. A prompt waits
 * until it fits whole. */
static void test_mixed_passes(void **state)
{
    struct model m = two_layers();
    struct machine k = a_flop_a_picosecond();
    struct run_world *w = open_world(&m, &k, 2);
    struct passes p;

    (void)state;
    w->workload = (struct workload_params){.mode = WORKLOAD_CONTINUOUS,
                                           .batch = 1,
                                           .max_sequences = 2,
                                           .token_budget = 4,
                                           .file = ""};
    p = run(w, ALL);
    assert_int_equal(p.result.passes, 4);
    assert_int_equal(p.pass[0].latency, encode + WORLD_TRIP);
    assert_int_equal(p.pass[1].latency, encode + decode(1) + WORLD_TRIP);
    assert_int_equal(p.pass[1].rows, 4);
    assert_int_equal(p.pass[1].memory.kv, (1 + 3) * 32);
    assert_int_equal(p.pass[3].latency, decode(2) + WORLD_TRIP);
    run_result_release(&p.result);
    w->workload.token_budget = 3; /* no room beside a decode */
    p = run(w, ALL);
    assert_int_equal(p.result.passes, 6);
    assert_int_equal(p.pass[1].latency, decode(1) + WORLD_TRIP);
    assert_int_equal(p.pass[3].latency, encode + WORLD_TRIP);
    run_result_release(&p.result);
    run_world_free(w);
}

/* Misses are loaded in the layers that rows go through. Belady and the oracle look ahead
 * over layers that a pass leaves out, which count as steps: the first decode is three
 * steps behind its encoder. */
static void test_accesses(void **state)
{
    static const char *const policies[] = {
        "{cache: {name: lru, slots: 1, order: recorded}}",
        "{cache: {name: belady, slots: 1}}",
        "{cache: {name: lru, slots: 1}, prefetch: {name: oracle, distance: 3}}",
    };
    struct model m = two_layers();
    struct machine k = a_flop_a_picosecond();
    struct run_world *w = open_world(&m, &k, 2);

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct run_case c = {.policy = policies[i], .event_driven = true};
        struct run_result r;

        run_world_run(w, &c, &r);
        /* Twice two experts of three rows, and four times one of one row. */
        assert_int_equal(r.layer[0].counts.accesses, 4);
        assert_int_equal(r.layer[1].counts.accesses, 4);
        assert_int_equal(r.total.counts.accesses, r.total.counts.hits +
                                                      r.total.counts.loads +
                                                      r.total.counts.bypasses);
        assert_int_equal(r.layer[1].counts.hits, i == 2 ? 4 : 3);
        run_result_release(&r);
    }
    run_world_free(w);
}

/* A prompt through an encoder alone is what the same rows are in a model of those layers,
 * where a prompt of one token attends to itself only: but for the head, which only the
 * latter has. */
static void test_encoder_alone(void **state)
{
    struct model m = two_layers(), whole = two_layers();
    struct machine k = a_flop_a_picosecond();
    const uint16_t expert[] = {3, 0, 2, 0}, same[] = {3, 2};
    struct cost cost = {.model = &m, .machine = &k};
    struct cost_batch with = {.tokens = 1, .outputs = 1}, without = {.tokens = 1};
    sim_time head = cost_head(&cost, &with) - cost_head(&cost, &without);
    struct run_world *w = run_world_prompted(&m, &k, 2, 1, 1, expert), *v;
    struct passes p = run(w, ALL), q;

    (void)state;
    whole.layers = whole.moe_layers = 1;
    whole.encoder_layers = 0;
    v = run_world_prompted(&whole, &k, 2, 1, 1, same);
    q = run(v, ALL);
    assert_int_equal(p.result.passes, 2);
    for (int i = 0; i < 2; i++)
        assert_int_equal(p.pass[i].latency + head, q.pass[i].latency);
    assert_int_equal(p.result.output_tokens, 0);
    assert_int_equal(q.result.output_tokens, 2);
    run_result_release(&p.result);
    run_result_release(&q.result);
    run_world_free(w);
    run_world_free(v);
}

/* ---- what is refused ---- */

static void expect(struct run_world *w, const struct workload_params *p,
                   const char *words)
{
    struct err e = {.text = ""};
    struct workload *made = workload_new(w->trace, &w->model, p, false, false, 1, &e);
    const struct pass *pass;

    while (made != NULL && workload_next(made, 0, &pass, &e) == 1)
        ;
    if (strstr(e.text, words) == NULL)
        fail_msg("\"%s\" has no \"%s\"", e.text, words);
    workload_free(made);
}

static void test_refusals(void **state)
{
    struct model m = two_layers();
    struct machine k = a_flop_a_picosecond();
    struct run_world *w = open_world(&m, &k, 1);
    struct workload_params p = {.mode = WORKLOAD_STATIC,
                                .batch = 1,
                                .max_sequences = 1,
                                .token_budget = 2,
                                .file = ""};

    (void)state;
    expect(w, &p, "reads in one pass; token_budget 2 is less");
    w->model.layers = 3; /* a trace of another model: its second layer is the encoder's */
    w->model.encoder_layers = 2;
    p.token_budget = 0;
    expect(w, &p,
           "row 3 is of an answer and lists experts in MoE layer 1, which is the "
           "encoder's");
    run_world_free(w);
    w = run_world_of(&m, &k, 1, 2, (uint16_t[]){0, 1, 0, 1});
    p.prefill = PREFILL_RESAMPLE;
    expect(w, &p, "has no prefill rows, and a decoder's rows tell nothing");
    run_world_free(w);
}

/* ---- recorded passes ---- */

struct recorded_pass {
    uint64_t rows;
    uint64_t row[8];
};

/* The two requests of open_world() with passes as an engine might have run them; in
 * memory of the test's own folder. */
static struct run_world *open_recorded(const struct model *m, const struct machine *k,
                                       const struct recorded_pass *pass, size_t passes)
{
    struct run_world *w = open_world(m, k, 2);
    struct trace_info info = *trace_get_info(w->trace);
    struct err e = {.text = ""};
    struct trace_writer *t;
    uint16_t expert[10 * 2 * 4];
    float score[10 * 2 * 4];
    struct trace_token token[10];

    info.passes = passes;
    assert_int_equal(trace_read_expert(w->trace, 0, 10, expert, &e), 0);
    assert_int_equal(trace_read_score(w->trace, 0, 10, score, &e), 0);
    assert_int_equal(trace_read_token(w->trace, 0, 10, token, &e), 0);
    t = trace_writer_new(w->path, &info, &e);
    if (t == NULL || trace_writer_rows(t, 10, token, expert, score, NULL, &e) != 0)
        fail_msg("%s", e.text);
    for (int i = 0; i < 2; i++)
        assert_int_equal(trace_writer_request(t, &trace_get_requests(w->trace)[i], &e),
                         0);
    for (size_t i = 0; i < passes; i++)
        if (trace_writer_pass(t, pass[i].row, pass[i].rows, -1, &e) != 0)
            fail_msg("%s", e.text);
    if (trace_writer_commit(t, &e) != 0)
        fail_msg("%s", e.text);
    trace_close(w->trace);
    w->trace = trace_open(w->path, NULL, &e);
    assert_non_null(w->trace);
    w->workload = (struct workload_params){
        .mode = WORKLOAD_RECORDED, .batch = 1, .max_sequences = 1, .file = ""};
    return w;
}

/* As the engine ran them: a prompt and its first answer may be one pass, and a pass may
 * list rows in any order. */
static void test_recorded_passes(void **state)
{
    static const struct recorded_pass passes[] = {
        {3, {0, 1, 2}}, {4, {3, 5, 6, 7}}, {1, {4}}, {1, {8}}, {1, {9}}};
    static const struct recorded_pass at_once[] = {
        {4, {0, 3, 1, 2}}, {1, {4}}, {5, {5, 6, 7, 8, 9}}};
    static const struct recorded_pass cut[] = {{2, {0, 1}}, {1, {2}}},
                                      early[] = {{1, {3}}, {3, {0, 1, 2}}};
    struct model m = two_layers();
    struct machine k = a_flop_a_picosecond();
    struct run_world *w = open_recorded(&m, &k, passes, 5);
    struct passes p = run(w, ALL);

    (void)state;
    assert_int_equal(p.result.passes, 5);
    assert_int_equal(p.pass[0].latency, encode + WORLD_TRIP);
    assert_int_equal(p.pass[1].latency, encode + decode(1) + WORLD_TRIP);
    assert_int_equal(p.pass[3].latency, decode(1) + WORLD_TRIP);
    assert_int_equal(p.pass[4].latency, decode(2) + WORLD_TRIP);
    assert_int_equal(p.result.output_tokens, 4);
    run_result_release(&p.result);
    run_world_free(w);
    w = open_recorded(&m, &k, at_once, 3);
    p = run(w, ALL);
    assert_int_equal(p.pass[0].latency, encode + decode(1) + WORLD_TRIP);
    assert_int_equal(p.pass[0].memory.kv, (1 + 3) * 32);
    assert_int_equal(p.pass[2].memory.kv, (2 + 3) * 32);
    assert_int_equal(p.result.kv_peak_bytes, (2 + 3) * 32);
    run_result_release(&p.result);
    run_world_free(w);
    w = open_recorded(&m, &k, cut, 2);
    expect(w, &w->workload,
           "pass 0 has 2 of the 3 prompt rows of request 0, but an "
           "encoder reads a prompt in one pass");
    run_world_free(w);
    w = open_recorded(&m, &k, early, 2);
    expect(w, &w->workload, "pass 0 has row 3 of an answer before all of its prompt");
    run_world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_passes_by_hand),  cmocka_unit_test(test_memory_by_hand),
        cmocka_unit_test(test_mixed_passes),    cmocka_unit_test(test_accesses),
        cmocka_unit_test(test_encoder_alone),   cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_recorded_passes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The trace file, written and read back. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "trace_maker.h"

#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "sim/base/rng.h"
#include "traces/half.h"
#include "traces/trace_state.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Every optional part, more candidates than top_k, and more rows than a chunk holds. */
static const struct trace_make everything = {.layers = 7,
                                             .experts = 61,
                                             .top_k = 3,
                                             .candidates = 11,
                                             .requests = 40,
                                             .rows = 137,
                                             .prefill_rows = 9,
                                             .score_kind = TRACE_SCORE_SOFTMAX,
                                             .predicted = 5,
                                             .uneven = true,
                                             .known_source = true,
                                             .arrivals = true,
                                             .passes = true,
                                             .expert_bytes = true,
                                             .missing = true,
                                             .seed = 2385};

static struct trace *open_or_fail(const char *path, size_t cache_bytes)
{
    struct err e = {.text = ""};
    struct trace *t = trace_open(path, &(struct trace_options){cache_bytes}, &e);

    assert_string_equal(e.text, "");
    assert_non_null(t);
    return t;
}

/* ---- halves ---- */

static void test_halves_round_trip(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        if ((h & 0x7fffu) >= HALF_INFINITY)
            continue;
        assert_int_equal(half_of_float(half_to_float((uint16_t)h)), h);
    }
    /* From the definition: sign, 5 bits of exponent with bias 15, 10 bits of fraction. */
    assert_true(half_to_float(0x3555) == ldexpf(1024 + 0x155, -12));
    assert_true(half_to_float(0x0001) == ldexpf(1, -24));
    assert_true(half_to_float(0x83ff) == -ldexpf(1023, -24));
    assert_true(half_to_float(0x7bff) == 65504.0F);
}

static void test_halves_round_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7bff; h++) {
        float low = half_to_float((uint16_t)h), high = half_to_float((uint16_t)(h + 1));
        float middle = (low + high) / 2;

        assert_int_equal(half_of_float(middle), h + (h & 1));
        assert_int_equal(half_of_float(nextafterf(middle, low)), h);
        assert_int_equal(half_of_float(-nextafterf(middle, high)), (h + 1) | 0x8000u);
    }
}

/* ---- round trip ---- */

static void assert_rows_equal(struct trace *t, const struct trace_make *m, uint64_t first,
                              uint64_t count)
{
    struct err e = {.text = ""};
    size_t cells = m->layers, wide = cells * trace_get_info(t)->candidates;
    size_t narrow = cells * m->predicted;
    struct trace_token *token = mem_alloc((size_t)count, sizeof *token), want;
    uint16_t *expert = mem_alloc((size_t)count * wide, 2),
             *want_expert = mem_alloc(wide, 2);
    uint16_t *predicted = mem_alloc((size_t)count * narrow, 2);
    uint16_t *want_predicted = mem_alloc(narrow, 2);
    float *score = mem_alloc((size_t)count * wide, 4), *want_score = mem_alloc(wide, 4);

    assert_int_equal(trace_read_token(t, first, count, token, &e), 0);
    assert_int_equal(trace_read_expert(t, first, count, expert, &e), 0);
    assert_int_equal(trace_read_score(t, first, count, score, &e), 0);
    if (narrow > 0)
        assert_int_equal(trace_read_predicted(t, first, count, predicted, &e), 0);
    for (uint64_t i = 0; i < count; i++) {
        trace_make_row(m, first + i, &want, want_expert, want_score,
                       narrow > 0 ? want_predicted : NULL);
        assert_int_equal(token[i].request, want.request);
        assert_int_equal(token[i].position, want.position);
        assert_int_equal(token[i].phase, want.phase);
        assert_int_equal(token[i].token_id, want.token_id);
        assert_int_equal(token[i].source, want.source);
        assert_memory_equal(expert + i * wide, want_expert, wide * 2);
        assert_memory_equal(score + i * wide, want_score, wide * 4);
        assert_memory_equal(predicted + i * narrow, want_predicted, narrow * 2);
    }
    free(token);
    free(expert);
    free(want_expert);
    free(predicted);
    free(want_predicted);
    free(score);
    free(want_score);
}

static void assert_info_equal(const struct trace_info *info, const struct trace_make *m)
{
    assert_string_equal(info->model, "test-model");
    assert_string_equal(info->source, "trace_maker");
    assert_string_equal(info->capture, "none");
    assert_int_equal(info->experts, m->experts);
    assert_int_equal(info->top_k, m->top_k);
    assert_int_equal(info->candidates, m->candidates);
    assert_int_equal(info->layers, m->layers);
    assert_int_equal(info->predicted, m->predicted);
    assert_int_equal(info->distance, 1);
    assert_int_equal(info->score_kind, m->score_kind);
    assert_true(info->sorted);
    assert_int_equal(info->rows, trace_make_rows(m));
    assert_int_equal(info->requests, m->requests);
    assert_int_equal(info->passes, (trace_make_rows(m) + 2) / 3);
    assert_int_equal(info->groups, 2);
    assert_string_equal(info->group_names[0], "first group");
    assert_string_equal(info->group_names[1], "second \xc3\xa9");
    assert_false(info->counts_only);
    for (uint32_t l = 0; l < m->layers; l++) {
        assert_int_equal(info->moe_layer[l], l + 1);
        assert_int_equal(info->expert_bytes[l], 1000 + l);
    }
}

static void assert_requests_equal(struct trace *t, const struct trace_make *m)
{
    const struct trace_request *r = trace_get_requests(t);

    for (uint32_t i = 0; i < m->requests; i++) {
        struct trace_request want = trace_make_request(m, i);

        assert_int_equal(r[i].arrival_ns, want.arrival_ns);
        assert_int_equal(r[i].prompt_tokens, want.prompt_tokens);
        assert_int_equal(r[i].output_tokens, want.output_tokens);
        assert_int_equal(r[i].first_row, want.first_row);
        assert_int_equal(r[i].rows, want.rows);
        assert_int_equal(r[i].group, want.group);
    }
}

static void assert_passes_equal(struct trace *t, uint64_t rows)
{
    struct err e = {.text = ""};

    for (uint64_t p = 0; p < trace_get_info(t)->passes; p++) {
        uint64_t *row, count;
        int64_t start_ns;

        assert_int_equal(trace_read_pass(t, p, &row, &count, &start_ns, &e), 0);
        assert_int_equal(count, rows - 3 * p < 3 ? rows - 3 * p : 3);
        assert_int_equal(start_ns, 3 * p * 17);
        for (uint64_t i = 0; i < count; i++)
            assert_int_equal(row[i], 3 * p + i);
        free(row);
    }
}

static void test_round_trip(void **state)
{
    struct err e = {.text = ""};
    char *path = trace_make_path("round.h5");
    uint64_t rows = trace_make_rows(&everything);
    unsigned fields = TRACE_HAS_IDS | TRACE_HAS_SCORES | TRACE_HAS_PREDICTED |
                      TRACE_HAS_PASSES | TRACE_HAS_SOURCE | TRACE_HAS_PREFILL |
                      TRACE_HAS_ARRIVALS | TRACE_HAS_BYTES;
    struct trace *t;

    (void)state;
    trace_make(path, &everything);
    t = open_or_fail(path, 0);
    assert_int_equal(trace_fields(t), fields);
    assert_string_equal(trace_path(t), path);
    assert_info_equal(trace_get_info(t), &everything);
    assert_requests_equal(t, &everything);
    assert_rows_equal(t, &everything, 0, rows);
    assert_passes_equal(t, rows);
    assert_int_equal(trace_check(t, &e), 0);
    trace_close(t);
    (void)unlink(path);
    free(path);
}

/* A cache of one block and reads all over the file give the same values. */
static void test_random_reads_with_a_tiny_cache(void **state)
{
    char *path = trace_make_path("tiny.h5");
    uint64_t rows = trace_make_rows(&everything);
    struct rng r = rng_stream(71, "test", 0);
    struct trace *t;

    (void)state;
    trace_make(path, &everything);
    t = open_or_fail(path, 1);
    for (int i = 0; i < 60; i++) {
        uint64_t first = rng_below(&r, rows);

        assert_rows_equal(t, &everything, first,
                          rng_below(&r, rows - first < 40 ? rows - first : 40) + 1);
    }
    trace_close(t);
    (void)unlink(path);
    free(path);
}

/* What is not known is absent, and not a made-up value. */
static void test_optional_parts_stay_absent(void **state)
{
    struct err e = {.text = ""};
    char *path = trace_make_path("plain.h5");
    struct trace_token token;
    struct trace *t;

    (void)state;
    trace_make_cyclic(path, 3, 8, 2, 20);
    t = open_or_fail(path, 0);
    assert_int_equal(trace_fields(t), TRACE_HAS_IDS);
    assert_int_equal(trace_get_info(t)->score_kind, TRACE_SCORE_NONE);
    assert_null(trace_get_info(t)->expert_bytes);
    assert_int_equal(trace_read_token(t, 19, 1, &token, &e), 0);
    assert_int_equal(token.token_id, -1);
    assert_int_equal(token.source, 65535);
    assert_int_equal(trace_check(t, &e), 0);
    trace_close(t);
    (void)unlink(path);
    free(path);
}

/* One row is above the size of a chunk, so chunks cut across layers. */
static void test_rows_larger_than_a_chunk(void **state)
{
    const struct trace_make m = {.layers = 97,
                                 .experts = 4096,
                                 .top_k = 9,
                                 .candidates = 4096,
                                 .requests = 2,
                                 .rows = 2,
                                 .score_kind = TRACE_SCORE_SOFTMAX,
                                 .seed = 5};
    struct err e = {.text = ""};
    char *path = trace_make_path("wide.h5");
    struct trace *t;

    (void)state;
    trace_make(path, &m);
    t = open_or_fail(path, 0);
    assert_true((trace_fields(t) & TRACE_HAS_ALL_SCORES) != 0);
    assert_rows_equal(t, &m, 0, 4);
    assert_int_equal(trace_check(t, &e), 0);
    trace_close(t);
    (void)unlink(path);
    free(path);
}

static void test_counts(void **state)
{
    struct err e = {.text = ""};
    char *path = trace_make_path("counts.h5");
    uint32_t count[4 * 13];
    struct trace *t;

    (void)state;
    trace_make_counts(path, 4, 13, 29);
    t = open_or_fail(path, 0);
    assert_true(trace_get_info(t)->counts_only);
    assert_int_equal(trace_fields(t), 0);
    assert_int_equal(trace_get_info(t)->passes, 29);
    assert_int_equal(trace_get_info(t)->rows, 0);
    for (uint32_t n = 29; n-- > 0;) {
        assert_int_equal(trace_read_load(t, n, count, &e), 0);
        for (uint32_t i = 0; i < 52; i++)
            assert_int_equal(count[i], (n * 7 + i / 13 * 3 + i % 13) % 11);
    }
    assert_int_equal(trace_check(t, &e), 0);
    trace_close(t);
    (void)unlink(path);
    free(path);
}

/* ---- writing ---- */

static void test_equal_writes_are_byte_equal(void **state)
{
    struct err e = {.text = ""};
    char *path[2] = {trace_make_path("equal-a.h5"), trace_make_path("equal-b.h5")};
    char *bytes[2];
    size_t size[2];
    void *dirt;

    (void)state;
    trace_make(path[0], &everything);
    /* The heap is left dirty in between, so that bytes never written would differ. */
    dirt = mem_alloc((size_t)1 << 20, 1);
    memset(dirt, 0xa5, (size_t)1 << 20);
    free(dirt);
    trace_make(path[1], &everything);
    for (int i = 0; i < 2; i++) {
        bytes[i] = file_read(path[i], (size_t)1 << 30, &size[i], &e);
        assert_non_null(bytes[i]);
    }
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    for (int i = 0; i < 2; i++) {
        free(bytes[i]);
        (void)unlink(path[i]);
        free(path[i]);
    }
}

struct short_trace {
    uint16_t moe_layer[2];
    struct trace_info info;
    struct trace_token token;
    uint16_t expert[4];
    float score[4];
};

static struct short_trace make_short(void)
{
    struct short_trace s = {
        .moe_layer = {0, 4},
        .info = {.experts = 5,
                 .top_k = 2,
                 .candidates = 2,
                 .layers = 2,
                 .score_kind = TRACE_SCORE_SOFTMAX},
        .token = {.phase = TRACE_DECODE, .token_id = -1, .source = 65535},
        .expert = {4, 0, 1, 2},
        .score = {0.5F, 0.25F, 0.5F, 0.25F}};

    return s;
}

/* Writes one row and a request that claims `rows`; the error, "" if all went well. */
static struct err write_short(struct short_trace *s, const char *path, uint32_t rows)
{
    struct err e = {.text = ""};
    struct trace_writer *w;
    int status;

    s->info.moe_layer = s->moe_layer;
    w = trace_writer_new(path, &s->info, &e);
    if (w == NULL)
        return e;
    status = trace_writer_rows(w, 1, &s->token, s->expert, s->score, NULL, &e);
    if (status == 0)
        status = trace_writer_request(
            w, &(struct trace_request){.arrival_ns = -1, .rows = rows}, &e);
    if (status == 0)
        status = trace_writer_commit(w, &e);
    else
        trace_writer_abandon(w);
    assert_int_equal(status, e.text[0] == '\0' ? 0 : -1);
    return e;
}

static void assert_refused(struct short_trace *s, uint32_t rows, const char *why)
{
    char *path = trace_make_path("short.h5");
    struct err e = write_short(s, path, rows);

    if (strstr(e.text, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", e.text, why);
    assert_int_not_equal(access(path, F_OK), 0);
    free(path);
}

static void test_the_writer_refuses(void **state)
{
    char *path = trace_make_path("short.h5");
    struct short_trace s = make_short();
    struct err e = write_short(&s, path, 1);

    (void)state;
    assert_string_equal(e.text, "");
    assert_int_equal(access(path, F_OK), 0);
    (void)unlink(path);
    free(path);
    assert_refused(&s, 2, "requests cover 2 of 1 rows");
    s.expert[3] = 5;
    assert_refused(&s, 1, "names expert 5");
    s = make_short();
    s.score[1] = NAN;
    assert_refused(&s, 1, "has score");
    s.score[1] = 65520.0F;
    assert_refused(&s, 1, "has score");
    s = make_short();
    s.moe_layer[0] = 4;
    assert_refused(&s, 1, "must ascend");
    s = make_short();
    s.info.top_k = 3;
    assert_refused(&s, 1, "top_k 3");
    s = make_short();
    s.info.experts = 4097;
    assert_refused(&s, 1, "4097 experts");
}

static void test_an_abandoned_trace_leaves_nothing(void **state)
{
    struct err e = {.text = ""};
    char *path = trace_make_path("nowhere/x.h5");
    struct short_trace s = make_short();

    (void)state;
    s.info.moe_layer = s.moe_layer;
    assert_null(trace_writer_new(path, &s.info, &e));
    assert_non_null(strstr(e.text, "nowhere/x.h5"));
    trace_writer_abandon(NULL);
    free(path);
}

/* The cache is as large as was asked for, or 64 MiB. */
static void test_the_size_of_the_cache(void **state)
{
    char *path = trace_make_path("cache.h5");
    struct trace *t;

    (void)state;
    trace_make(path, &everything);
    t = open_or_fail(path, 12345);
    assert_int_equal(t->cache.limit, 12345);
    trace_close(t);
    t = open_or_fail(path, 0);
    assert_int_equal(t->cache.limit, 64 << 20);
    trace_close(t);
    (void)unlink(path);
    free(path);
}

/* ---- threads ---- */

struct reader {
    const char *path;
    uint64_t sum;
    pthread_t thread;
};

static void *read_backwards(void *context)
{
    struct reader *r = context;
    struct err e = {.text = ""};
    struct trace *t = trace_open(r->path, &(struct trace_options){1}, &e);
    uint16_t expert[7 * 11];

    if (t == NULL)
        return NULL;
    for (uint64_t row = trace_get_info(t)->rows; row-- > 0;) {
        if (trace_read_expert(t, row, 1, expert, &e) != 0)
            break;
        for (int i = 0; i < 7 * 11; i++)
            r->sum = rng_mix(r->sum ^ expert[i]);
    }
    trace_close(t);
    return NULL;
}

static void test_threads_read_their_own_traces(void **state)
{
    char *path = trace_make_path("threads.h5");
    struct reader reader[3];

    (void)state;
    trace_make(path, &everything);
    for (int i = 0; i < 3; i++)
        reader[i] = (struct reader){.path = path};
    (void)read_backwards(&reader[0]);
    for (int i = 1; i < 3; i++)
        assert_int_equal(
            pthread_create(&reader[i].thread, NULL, read_backwards, &reader[i]), 0);
    for (int i = 1; i < 3; i++) {
        assert_int_equal(pthread_join(reader[i].thread, NULL), 0);
        assert_true(reader[i].sum == reader[0].sum);
    }
    assert_true(reader[0].sum != 0);
    (void)unlink(path);
    free(path);
}

/* Phases are read in parts, up to the first row of a prompt: also the last row of all. */
static void test_a_late_prompt(void **state)
{
    static const struct trace_make m = {
        .layers = 1, .experts = 2, .top_k = 1, .requests = 14, .rows = 10000, .seed = 6};
    char *path = trace_make_path("late-prompt.h5");

    (void)state;
    trace_make(path, &m);
    for (int i = 0; i < 2; i++) {
        struct err e = {.text = ""};
        struct trace *t = trace_open(path, NULL, &e);

        assert_non_null(t);
        assert_int_equal((trace_fields(t) & TRACE_HAS_PREFILL) != 0, i == 1);
        trace_close(t);
        trace_poke(path, "/token/phase", 1, trace_make_rows(&m) - 1, TRACE_PREFILL);
    }
    (void)unlink(path);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_halves_round_trip),
        cmocka_unit_test(test_halves_round_to_nearest_even),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_random_reads_with_a_tiny_cache),
        cmocka_unit_test(test_optional_parts_stay_absent),
        cmocka_unit_test(test_rows_larger_than_a_chunk),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_equal_writes_are_byte_equal),
        cmocka_unit_test(test_the_writer_refuses),
        cmocka_unit_test(test_the_size_of_the_cache),
        cmocka_unit_test(test_an_abandoned_trace_leaves_nothing),
        cmocka_unit_test(test_threads_read_their_own_traces),
        cmocka_unit_test(test_a_late_prompt),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

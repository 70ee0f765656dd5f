/* Scores of generated traces: with those of all experts the same ids are executed as
 * without, every cell lists all experts by descending logit, and what is asked for is met
 * as ever; like an example's they have its gate mass. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "trace_maker.h"

#include "sim/base/mem.h"
#include "traces/generate.h"
#include "traces/statistics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A trace of parameters given as YAML, some of them in `more`. 0 or -1. */
static int try_make(const char *path, const char *yaml, const char *more, struct err *e)
{
    char *text = mem_format("{%s%s%s}", yaml, more[0] == '\0' ? "" : ", ", more);
    struct cfg *c = cfg_parse("parameters", text, strlen(text), e);
    struct generate_params p;
    int status = c == NULL ? -1 : cfg_bind(cfg_root(c), generate_options, &p, e);

    if (status == 0)
        status = generate_trace(&p, path, e);
    cfg_free(c);
    free(text);
    return status;
}

static struct trace *must_open(const char *path)
{
    struct err e = {.text = ""};
    struct trace *t = trace_open(path, NULL, &e);

    if (t == NULL || trace_check(t, &e) != 0)
        fail_msg("%s", e.text);
    return t;
}

/* Made, checked and open; nothing of it is left when it is closed. */
static struct trace *make(const char *yaml, const char *more)
{
    char *path = trace_make_path("made.h5");
    struct err e = {.text = ""};
    struct trace *t;

    if (try_make(path, yaml, more, &e) != 0)
        fail_msg("%s", e.text);
    t = must_open(path);
    (void)unlink(path);
    free(path);
    return t;
}

struct row {
    uint16_t *expert;
    float *score; /* 0 where the trace has none */
};

static struct row read_row(struct trace *t, uint64_t row)
{
    const struct trace_info *info = trace_get_info(t);
    size_t values = (size_t)info->layers * info->candidates;
    struct row r = {.expert = mem_alloc(values, sizeof *r.expert),
                    .score = mem_zalloc(values, sizeof *r.score)};
    struct err e = {.text = ""};

    assert_int_equal(trace_read_expert(t, row, 1, r.expert, &e), 0);
    if (info->score_kind != TRACE_SCORE_NONE)
        assert_int_equal(trace_read_score(t, row, 1, r.score, &e), 0);
    return r;
}

static void row_release(struct row *r)
{
    free(r->expert);
    free(r->score);
}

/* Whoever puts the experts of a cell in order again, by their ids and what is written
 * beside them, finds them as they are listed. Each is listed once. */
static void check_order(const uint16_t *expert, const float *logit, uint32_t experts)
{
    bool seen[256] = {false};

    for (uint32_t i = 0; i < experts; i++) {
        assert_true(expert[i] < experts && !seen[expert[i]]);
        seen[expert[i]] = true;
        if (i > 0)
            assert_true(logit[i] < logit[i - 1] ||
                        (logit[i] <= logit[i - 1] && expert[i] > expert[i - 1]));
    }
}

/* The softmax of the executed experts' logits is what is written with scores: yes. Both
 * are rounded to 11 bits, logits to 2^-11 of their size. */
static void check_weights(const float *logit, const float *weight, uint32_t top_k)
{
    double sum = 0, size = fmax(fabs((double)logit[0]), fabs((double)logit[top_k - 1]));

    for (uint32_t i = 0; i < top_k; i++)
        sum += exp((double)logit[i] - (double)logit[0]);
    for (uint32_t i = 0; i < top_k; i++) {
        double want = exp((double)logit[i] - (double)logit[0]) / sum;

        assert_true(fabs((double)weight[i] - want) <= 4 * (1 + size) * 0x1p-11 * want);
    }
}

/* The trace of all scores against those of none and of some. */
static void compare(const char *yaml)
{
    struct trace *t[3] = {make(yaml, "scores: no"), make(yaml, "scores: yes"),
                          make(yaml, "scores: all")};
    const struct trace_info *info = trace_get_info(t[2]);
    uint32_t k = info->top_k, experts = info->experts;

    assert_int_equal(info->candidates, experts);
    assert_int_equal(info->score_kind, TRACE_SCORE_LOGIT);
    assert_true(info->sorted);
    assert_true((trace_fields(t[2]) & TRACE_HAS_ALL_SCORES) != 0);
    assert_int_equal(trace_get_info(t[1])->score_kind, TRACE_SCORE_SOFTMAX);
    assert_int_equal(trace_get_info(t[0])->rows, info->rows);
    for (uint64_t row = 0; row < info->rows; row++) {
        struct row none = read_row(t[0], row), some = read_row(t[1], row);
        struct row all = read_row(t[2], row);

        assert_memory_equal(some.expert, none.expert,
                            (size_t)info->layers * k * sizeof *none.expert);
        for (size_t l = 0; l < info->layers; l++) {
            const uint16_t *expert = all.expert + l * experts;

            assert_memory_equal(expert, none.expert + l * k, k * sizeof *expert);
            check_order(expert, all.score + l * experts, experts);
            check_weights(all.score + l * experts, some.score + l * k, k);
        }
        row_release(&none);
        row_release(&some);
        row_release(&all);
    }
    for (int i = 0; i < 3; i++)
        trace_close(t[i]);
}

/* Templates among them, and so many experts that halves are equal in most cells. */
static void test_the_same_are_executed(void **state)
{
    static const char *const yaml[] = {
        "layers: 5, experts: 20, top_k: 3, requests: 12, groups: 3, prompt_tokens: 8, "
        "output_tokens: 9, prompt_template: 3, output_template: 2, opening: 0.3, seed: 4",
        "layers: 2, experts: 250, top_k: 70, requests: 6, prompt_tokens: 9, skew: 0.5, "
        "output_tokens: 9, tail: 0",
        "layers: 2, experts: 4, top_k: 4, requests: 5, skew: 0",
        "layers: 4, experts: 8, top_k: 2, requests: 9, autoregressive: yes",
        "layers: 3, experts: 90, top_k: 9, requests: 5, autoregressive: yes, seed: 8, "
        "persistence: 0.9, popularity_sd: 2, logit_sd: 0.01",
    };

    (void)state;
    for (size_t i = 0; i < sizeof yaml / sizeof yaml[0]; i++)
        compare(yaml[i]);
}

/* Logits are the scores times the scale: twice the scale, twice the logits, of the same
 * experts. With the least scale most of the 400 are as near as halves get. */
static void test_scale(void **state)
{
    static const char *const scale[] = {"scores: all, logit_scale: 1",
                                        "scores: all, logit_scale: 2",
                                        "scores: all, logit_scale: 0.01"};
    const char *yaml =
        "layers: 2, experts: 200, top_k: 5, requests: 6, prompt_tokens: 3, "
        "output_tokens: 4, skew: 0.3";
    struct trace *t[3];
    uint64_t rows;

    (void)state;
    for (int i = 0; i < 3; i++)
        t[i] = make(yaml, scale[i]);
    rows = trace_get_info(t[0])->rows;
    for (uint64_t row = 0; row < rows; row++) {
        struct row r[3] = {read_row(t[0], row), read_row(t[1], row), read_row(t[2], row)};

        assert_memory_equal(r[0].expert, r[1].expert, 400 * sizeof *r[0].expert);
        assert_memory_equal(r[0].expert, r[2].expert, 400 * sizeof *r[0].expert);
        for (int i = 0; i < 400; i++)
            assert_true(fabsf(r[1].score[i] - 2 * r[0].score[i]) <=
                        0x1p-9F * (0.01F + fabsf(r[1].score[i])));
        for (size_t l = 0; l < 2; l++)
            check_order(r[2].expert + l * 200, r[2].score + l * 200, 200);
        for (int i = 0; i < 3; i++)
            row_release(&r[i]);
    }
    for (int i = 0; i < 3; i++)
        trace_close(t[i]);
}

/* Each word of old still means what it did, and the trace says so in the same words. */
static void test_words(void **state)
{
    static const char *const word[][2] = {{"no", "no"},   {"false", "no"}, {"off", "no"},
                                          {"yes", "yes"}, {"true", "yes"}, {"on", "yes"},
                                          {"all", "all"}};

    (void)state;
    for (size_t i = 0; i < sizeof word / sizeof word[0]; i++) {
        char *more = mem_format("scores: %s", word[i][0]);
        char *told = mem_format(" scores=%s ", word[i][1]);
        struct trace *t = make("layers: 1, experts: 4, top_k: 1, requests: 2", more);
        const char *capture = trace_get_info(t)->capture;

        assert_non_null(strstr(capture, told));
        assert_null(strstr(capture, "autoregressive"));
        assert_int_equal(strstr(capture, "logit_scale=1.5") != NULL, i == 6);
        trace_close(t);
        free(more);
        free(told);
    }
}

/* Figures asked for are met in the trace of all scores, as in the one without. */
static void test_figures_asked_for(void **state)
{
    struct trace *t =
        make("layers: 6, experts: 24, top_k: 3, requests: 64, groups: 8, prompt_tokens: "
             "10, output_tokens: 60, affinity: 0.8, gini: 0.35, adjacent_overlap: 0.45, "
             "next_layer_predictability: 0.55, union_16: 17.5",
             "scores: all");
    struct err e = {.text = ""};
    struct trace_statistics s;

    (void)state;
    assert_int_equal(trace_statistics_measure(t, NULL, &s, &e), 0);
    assert_true(fabs(s.gini - 0.35) <= 0.05 * 0.35);
    assert_true(fabs(s.adjacent_overlap - 0.45) <= 0.05 * 0.45);
    assert_true(fabs(s.next_layer_predictability - 0.55) <= 0.05 * 0.55);
    assert_true(fabs(s.union_size[4] - 17.5) <= 0.05 * 17.5);
    trace_statistics_release(&s);
    trace_close(t);
}

static void test_what_cannot_be(void **state)
{
    static const char *const bad[][2] = {
        {"scores: some", "'scores' is some; expected one of no, yes, all"},
        {"hot_weight: 0.6, scores: all", "scores is all, but with hot_weight"},
        {"independent: yes, scores: yes", "scores is yes, but with hot_weight"},
        {"logit_scale: 2", "logit_scale is 2, but logits are written with scores: all"},
        {"logit_scale: 2, scores: yes", "logit_scale is 2, but logits are written"},
        {"independent: yes, logit_scale: 2", "leave logit_scale out"},
        {"scores: all, logit_scale: 0",
         "'logit_scale' is 0; expected a number from 0.01"},
        {"autoregressive: yes, scores: all, logit_scale: 1", "leave logit_scale out"},
        {"autoregressive: yes, skew: 0", "skew is 0, but with autoregressive"},
        {"autoregressive: yes, gini: 0.3", "leave gini out"},
        {"autoregressive: yes, prompt_template: 3", "leave prompt_template out"},
        {"autoregressive: yes, hot_weight: 0.6", "leave hot_weight out"},
        {"autoregressive: yes, independent: yes", "independent is yes, but with auto"},
        {"autoregressive: yes, persistence: 1.01", "'persistence' is 1.01"},
        {"persistence: 0.4", "persistence is 0.4, but only with autoregressive"},
        {"persistence: 0", "set autoregressive=yes, or leave persistence out"},
        {"independent: yes, logit_sd: 2", "leave logit_sd out"},
        {"popularity_sd: 1", "leave popularity_sd out"},
    };
    char *path = trace_make_path("bad.h5");

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err e = {.text = ""};

        if (try_make(path, "layers: 2, requests: 3", bad[i][0], &e) == 0)
            fail_msg("%s was generated", bad[i][0]);
        if (strstr(e.text, bad[i][1]) == NULL)
            fail_msg("%s gives \"%s\", not \"%s\"", bad[i][0], e.text, bad[i][1]);
        assert_int_not_equal(access(path, F_OK), 0);
    }
    free(path);
}

/* ---- like an example ---- */

/* What part of the softmax over all experts is the executed ones', mean over cells. */
static double executed_mass(struct trace *t)
{
    const struct trace_info *info = trace_get_info(t);
    double mean = 0, cells = (double)info->rows * info->layers;

    for (uint64_t row = 0; row < info->rows; row++) {
        struct row r = read_row(t, row);

        for (size_t l = 0; l < info->layers; l++) {
            double executed = 0, all = 0;

            for (uint32_t i = 0; i < info->experts; i++) {
                double mass = exp((double)r.score[l * info->experts + i]);

                all += mass;
                executed += i < info->top_k ? mass : 0;
            }
            mean += executed / all / cells;
        }
        row_release(&r);
    }
    return mean;
}

static struct trace *like(struct trace *source, const struct generate_like_options *o)
{
    char *path = trace_make_path("like.h5");
    struct err e = {.text = ""};
    struct trace *t;

    if (generate_like(source, o, path, &e) != 0)
        fail_msg("%s", e.text);
    t = must_open(path);
    (void)unlink(path);
    free(path);
    return t;
}

static void test_like_one_with_all(void **state)
{
    static const char *const more[] = {"scores: all, logit_scale: 0.4",
                                       "scores: all, logit_scale: 4", "scores: yes"};
    struct generate_like_options o = {.seed = 1, .scores = GENERATE_SCORES_NO};

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct trace *source = make("layers: 3, experts: 32, top_k: 4, requests: 30, "
                                    "prompt_tokens: 10, output_tokens: 20, "
                                    "output_template: 3",
                                    more[i]);
        struct trace *t = like(source, NULL), *without = like(source, &o);
        const struct trace_info *info = trace_get_info(t);

        assert_int_equal(info->candidates, i < 2 ? 32 : 4);
        assert_int_equal(info->score_kind,
                         i < 2 ? TRACE_SCORE_LOGIT : TRACE_SCORE_SOFTMAX);
        assert_int_equal(strstr(info->capture, "logit_scale=") != NULL, i < 2);
        for (uint64_t row = 0; row < info->rows; row += 7) {
            struct row a = read_row(t, row), b = read_row(without, row);

            for (uint32_t l = 0; l < 3; l++)
                assert_memory_equal(a.expert + l * info->candidates, b.expert + l * 4L,
                                    4 * sizeof *a.expert);
            row_release(&a);
            row_release(&b);
        }
        if (i < 2)
            assert_true(fabs(executed_mass(t) - executed_mass(source)) < 0.01);
        trace_close(t);
        trace_close(without);
        trace_close(source);
    }
}

/* All scores of a source that has none: the scale is what it is by parameters. Where all
 * experts are executed, no scale has another mass. */
static void test_like_one_without(void **state)
{
    struct generate_like_options o = {.seed = 1, .scores = GENERATE_SCORES_ALL};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct trace *source =
            make("layers: 2, experts: 6, requests: 9, skew: 0",
                 i == 0 ? "top_k: 2" : "top_k: 6, scores: all, logit_scale: 3");
        struct trace *t = like(source, &o);

        assert_int_equal(trace_get_info(t)->candidates, 6);
        assert_non_null(strstr(trace_get_info(t)->capture, "scores=all logit_scale=1.5"));
        trace_close(t);
        trace_close(source);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_are_executed),
        cmocka_unit_test(test_scale),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_figures_asked_for),
        cmocka_unit_test(test_what_cannot_be),
        cmocka_unit_test(test_like_one_with_all),
        cmocka_unit_test(test_like_one_without),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

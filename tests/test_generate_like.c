/* Routing like an example's: what the head of the trace says. How like it is,
 * test_generate.c shows. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "file_limit.h"
#include "trace_maker.h"

#include "sim/base/mem.h"
#include "traces/generate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is drawn has the choices only, in the order of their scores, which a source of
 * more candidates, predictions and no order does not change. */
static void test_like_one_with_more(void **state)
{
    struct generate_like_options o = {.seed = 3, .scores = GENERATE_SCORES_YES};
    struct trace_make m = {.layers = 2,
                           .experts = 12,
                           .top_k = 2,
                           .candidates = 4,
                           .requests = 5,
                           .rows = 10,
                           .predicted = 3,
                           .seed = 8};
    char *source = trace_make_path("more.h5"), *path = trace_make_path("less.h5");
    const struct trace_info *info;
    struct err e = {.text = ""};
    struct trace *t;

    (void)state;
    trace_make(source, &m);
    t = trace_open(source, NULL, &e);
    assert_non_null(t);
    assert_false(trace_get_info(t)->sorted);
    assert_int_equal(generate_like(t, &o, path, &e), 0);
    trace_close(t);
    t = trace_open(path, NULL, &e);
    assert_non_null(t);
    info = trace_get_info(t);
    assert_int_equal(info->top_k, 2);
    assert_int_equal(info->candidates, 2);
    assert_int_equal(info->predicted, 0);
    assert_true(info->sorted);
    assert_int_equal(info->score_kind, TRACE_SCORE_SOFTMAX);
    assert_string_equal(info->capture, "seed=3 requests=5");
    assert_int_equal(trace_check(t, &e), 0);
    trace_close(t);
    (void)unlink(source);
    (void)unlink(path);
    free(source);
    free(path);
}

enum { LAYERS = 3, TOP_K = 2 };

/* What part of their experts neighbouring requests share in the second row of their
 * prompts, or of their answers. */
static double shared(const char *path, bool answer)
{
    struct err e = {.text = ""};
    struct trace *t = trace_open(path, NULL, &e);
    uint32_t requests, same = 0;

    assert_non_null(t);
    requests = (uint32_t)trace_get_info(t)->requests;
    for (uint32_t i = 0; i + 1 < requests; i++) {
        uint16_t expert[2][LAYERS * TOP_K];

        for (uint32_t k = 0; k < 2; k++) {
            const struct trace_request *r = &trace_get_requests(t)[i + k];
            uint64_t row = r->first_row + 1 + (answer ? r->prompt_tokens : 0);

            assert_int_equal(trace_read_expert(t, row, 1, expert[k], &e), 0);
        }
        for (uint32_t c = 0; c < LAYERS * TOP_K; c++)
            for (uint32_t j = 0; j < TOP_K; j++)
                same += expert[0][c] == expert[1][c / TOP_K * TOP_K + j];
    }
    trace_close(t);
    return (double)same / ((requests - 1.0) * LAYERS * TOP_K);
}

/* A trace of these parameters, and one like it. */
static void draw_like(const char *text, const char *source, const char *path)
{
    struct err e = {.text = ""};
    struct cfg *c = cfg_parse("parameters", text, strlen(text), &e);
    struct generate_params p;
    struct trace *t;

    if (c == NULL || cfg_bind(cfg_root(c), generate_options, &p, &e) != 0 ||
        generate_trace(&p, source, &e) != 0)
        fail_msg("%s", e.text);
    t = trace_open(source, NULL, &e);
    assert_non_null(t);
    assert_int_equal(generate_like(t, NULL, path, &e), 0);
    trace_close(t);
    cfg_free(c);
}

/* Where all prompts begin alike, or all answers, those that are drawn do so, too, and the
 * others do not. */
static void test_like_one_with_a_template(void **state)
{
    static const char *const which[] = {"prompt_template", "output_template"};
    char *source = trace_make_path("template.h5"), *path = trace_make_path("drawn.h5");

    (void)state;
    for (int i = 0; i < 2; i++) {
        char *text = mem_format("{layers: %d, experts: 24, top_k: %d, requests: 40, "
                                "groups: 8, prompt_tokens: 12, output_tokens: 12, "
                                "prompt_spread: 0, output_spread: 0, %s: 4, seed: 5}",
                                LAYERS, TOP_K, which[i]);

        draw_like(text, source, path);
        for (int answer = 0; answer < 2; answer++) {
            assert_int_equal(shared(source, answer == 1) > 0.7, answer == i);
            assert_int_equal(shared(path, answer == 1) > 0.7, answer == i);
        }
        free(text);
    }
    (void)unlink(source);
    (void)unlink(path);
    free(source);
    free(path);
}

/* What part of its experts a row shares with the one 32 rows on, in a trace of one
 * length. */
static double far_overlap(const char *path)
{
    struct err e = {.text = ""};
    struct trace *t = trace_open(path, NULL, &e);
    const struct trace_info *info = trace_get_info(t);
    uint64_t same = 0, all = 0;

    for (uint64_t i = 0; i < info->requests; i++) {
        const struct trace_request *r = &trace_get_requests(t)[i];

        for (uint64_t row = r->first_row; row + 32 < r->first_row + r->rows; row += 3) {
            uint16_t expert[2][LAYERS * TOP_K];

            for (uint32_t k = 0; k < 2; k++)
                assert_int_equal(
                    trace_read_expert(t, row + 32 * (uint64_t)k, 1, expert[k], &e), 0);
            for (uint32_t c = 0; c < LAYERS * TOP_K; c++, all++)
                for (uint32_t j = 0; j < TOP_K; j++)
                    same += expert[0][c] == expert[1][c / TOP_K * TOP_K + j];
        }
    }
    trace_close(t);
    return (double)same / (double)all;
}

/* Requests that keep to few experts, or to none, are drawn so. */
static void test_like_one_with_a_subject(void **state)
{
    char *source = trace_make_path("subject.h5"), *path = trace_make_path("drawn.h5");
    double of[2];

    (void)state;
    for (int kept = 0; kept < 2; kept++) {
        char *text = mem_format("{layers: %d, experts: 24, top_k: %d, requests: 20, "
                                "groups: 6, prompt_tokens: 20, output_tokens: 80, "
                                "prompt_spread: 0, output_spread: 0, affinity: %d, "
                                "seed: 5}",
                                LAYERS, TOP_K, kept);

        draw_like(text, source, path);
        of[kept] = far_overlap(source);
        print_message("far rows share %.3f, drawn ones %.3f\n", of[kept],
                      far_overlap(path));
        assert_true(fabs(far_overlap(path) - of[kept]) < 0.05);
        free(text);
    }
    assert_true(of[1] > of[0] + 0.08);
    (void)unlink(source);
    (void)unlink(path);
    free(source);
    free(path);
}

static void not_written(struct trace *t, const char *path, const char *words)
{
    struct generate_like_options o = {.seed = 3};
    struct err e = {.text = ""};

    assert_int_equal(generate_like(t, &o, path, &e), -1);
    if (strstr(e.text, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", e.text, words);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void test_where_nothing_can_be_written(void **state)
{
    char *source = trace_make_path("some.h5"), *path = trace_make_path("none.h5");
    char *nowhere = mem_format("%s/none.h5", path);
    struct err e = {.text = ""};
    struct trace *t;
    rlim_t was;

    (void)state;
    trace_make_random(source, 2, 12, 2, 5, 10, 4);
    t = trace_open(source, NULL, &e);
    assert_non_null(t);
    not_written(t, nowhere, "No such file or directory");
    was = file_limit(1000);
    not_written(t, path, "File too large");
    (void)file_limit(was);
    trace_close(t);
    (void)unlink(source);
    free(source);
    free(path);
    free(nowhere);
}

static void test_no_trace_like_counts(void **state)
{
    char *path = trace_make_path("counts.h5"), *to = trace_make_path("like.h5");
    struct err e = {.text = ""};
    struct trace *t;

    (void)state;
    trace_make_counts(path, 2, 3, 4);
    t = trace_open(path, NULL, &e);
    assert_int_equal(generate_like(t, NULL, to, &e), -1);
    assert_string_equal(e.text + strlen(path),
                        ": has counts only; a trace with /routing/expert is needed");
    trace_close(t);
    (void)unlink(path);
    free(path);
    free(to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_like_one_with_more),
        cmocka_unit_test(test_like_one_with_a_template),
        cmocka_unit_test(test_like_one_with_a_subject),
        cmocka_unit_test(test_where_nothing_can_be_written),
        cmocka_unit_test(test_no_trace_like_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

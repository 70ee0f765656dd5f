/* Parts of traces of odd shapes. Parts against brute force are in test_export.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "trace_maker.h"

#include "sim/base/mem.h"
#include "traces/slice.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void test_slices_fail_with_their_passes(void **state)
{
    static const struct trace_make with_passes = {.layers = 3,
                                                  .experts = 16,
                                                  .top_k = 2,
                                                  .requests = 3,
                                                  .rows = 10,
                                                  .uneven = true,
                                                  .passes = true,
                                                  .seed = 3};
    char *path = trace_make_path("passes.h5"), *to = trace_make_path("passes_part.h5");
    struct err e = {.text = ""};
    struct trace *t;

    (void)state;
    trace_make(path, &with_passes);
    trace_poke(path, "/pass/first", 1, 1, 0);
    t = trace_open(path, NULL, &e);
    assert_non_null(t);
    assert_int_equal(slice_write(t, &SLICE_EVERYTHING, to, &e), -1);
    assert_non_null(strstr(e.text, ": /pass/first, row 0: a pass from 0 to 0 of the 33"));
    assert_int_not_equal(access(to, F_OK), 0);
    trace_close(t);
    (void)unlink(path);
    free(path);
    free(to);
}

/* Everything is all layers, rows and requests; a part that begins where a request ends
 * and ends where one begins has none of either. */
static void test_slices_at_requests(void **state)
{
    static const struct trace_make many = {
        .layers = 60, .experts = 9, .top_k = 2, .requests = 5, .rows = 10, .seed = 2};
    static const struct {
        struct slice slice;
        uint64_t rows, requests, first_position;
    } known[] = {{{0, UINT64_MAX, 0, UINT64_MAX, NULL}, 50, 5, 0},
                 {{0, UINT64_MAX, 10, 30, NULL}, 20, 2, 0},
                 {{0, UINT64_MAX, 9, 31, NULL}, 22, 4, 9},
                 {{2, 3, 0, UINT64_MAX, NULL}, 10, 1, 0},
                 {{4, UINT64_MAX, 0, 49, NULL}, 9, 1, 0}};
    char *path = trace_make_path("many.h5"), *to = trace_make_path("many_part.h5");
    struct err e = {.text = ""};
    struct trace *t, *part;

    (void)state;
    trace_make(path, &many);
    t = trace_open(path, NULL, &e);
    assert_non_null(t);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct trace_token first, was;
        const struct trace_info *info;
        char *wanted;

        assert_int_equal(slice_write(t, &known[i].slice, to, &e), 0);
        part = trace_open(to, NULL, &e);
        assert_non_null(part);
        info = trace_get_info(part);
        assert_int_equal(info->layers, 60);
        assert_int_equal(info->rows, known[i].rows);
        assert_int_equal(info->requests, known[i].requests);
        assert_int_equal(trace_read_token(part, 0, 1, &first, &e), 0);
        assert_int_equal(trace_read_token(t, known[i].first_position, 1, &was, &e), 0);
        assert_int_equal(first.position, was.position);
        wanted = mem_format("%s; rows %d:%d, 60 of 60 layers", trace_get_info(t)->source,
                            (int[]){0, 10, 9, 20, 40}[i], (int[]){50, 30, 31, 30, 49}[i]);
        assert_string_equal(info->source, wanted);
        free(wanted);
        trace_close(part);
        (void)unlink(to);
    }
    trace_close(t);
    (void)unlink(path);
    free(path);
    free(to);
}

/* One row of routing is larger than what is copied at once. */
static void test_slices_of_wide_rows(void **state)
{
    enum { WIDE_LAYERS = 270, EXPERTS = 4096 };
    const struct trace_make wide = {.layers = WIDE_LAYERS,
                                    .experts = EXPERTS,
                                    .top_k = 1,
                                    .requests = 1,
                                    .rows = 2,
                                    .predicted = EXPERTS,
                                    .seed = 8};
    char *path = trace_make_path("wide.h5"), *to = trace_make_path("wide_part.h5");
    uint16_t *got = mem_alloc(EXPERTS, sizeof *got);
    uint16_t *want = mem_alloc((size_t)WIDE_LAYERS * EXPERTS, sizeof *want);
    struct slice s = SLICE_EVERYTHING;
    struct err e = {.text = ""};
    uint16_t expert[WIDE_LAYERS];
    struct trace_token token;
    struct trace *t, *part;

    (void)state;
    trace_make(path, &wide);
    t = trace_open(path, NULL, &e);
    assert_non_null(t);
    s.layers = "269";
    assert_int_equal(slice_write(t, &s, to, &e), 0);
    part = trace_open(to, NULL, &e);
    assert_non_null(part);
    assert_int_equal(trace_get_info(part)->rows, 2);
    for (uint64_t row = 0; row < 2; row++) {
        trace_make_row(&wide, row, &token, expert, NULL, want);
        assert_int_equal(trace_read_predicted(part, row, 1, got, &e), 0);
        assert_memory_equal(got, want + (size_t)269 * EXPERTS, EXPERTS * sizeof *got);
    }
    trace_close(part);
    trace_close(t);
    (void)unlink(path);
    (void)unlink(to);
    free(path);
    free(to);
    free(got);
    free(want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slices_fail_with_their_passes),
        cmocka_unit_test(test_slices_at_requests),
        cmocka_unit_test(test_slices_of_wide_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

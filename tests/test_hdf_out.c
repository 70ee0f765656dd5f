/* What our HDF5 driver does where the disk takes and gives a few bytes at a time. */
#define _GNU_SOURCE /* syscall */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "row_trace.h"
#include "spoil.h"
#include "trace_maker.h"

#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "traces/slice.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* In the places of the C library's: at most so many bytes, and every fifth call is
 * interrupted before its first. 0: as ever. */
static size_t most;
static unsigned calls;

static bool is_short(size_t *size)
{
    if (most == 0)
        return false;
    *size = *size < most ? *size : most;
    errno = EINTR;
    return ++calls % 5 == 0;
}

/* Writes fail from this one on; 0: none does. */
static unsigned fails_at, writes, reads;

ssize_t pwrite(int fd, const void *from, size_t size, off_t at)
{
    if (++writes >= fails_at && fails_at > 0) {
        errno = EDQUOT;
        return -1;
    }
    return is_short(&size) ? -1 : syscall(SYS_pwrite64, fd, from, size, at);
}

ssize_t pread(int fd, void *to, size_t size, off_t at)
{
    reads++;
    return is_short(&size) ? -1 : syscall(SYS_pread64, fd, to, size, at);
}

static void a_few_bytes_at_a_time(void **state)
{
    static const struct row_trace_plan plan = {
        .requests = 20, .prefill_to = 40, .decode_to = 30};
    struct err e = {.text = ""};
    struct row_trace *whole = row_trace_make(&plan, 4), *slow;
    size_t size, slow_size;
    char *wanted = file_read(whole->path, 1 << 26, &size, &e), *made;

    (void)state;
    assert_non_null(wanted);
    row_trace_free(whole);
    most = 97;
    slow = row_trace_make(&plan, 4);
    most = 0;
    assert_true(calls > 100);
    made = file_read(slow->path, 1 << 26, &slow_size, &e);
    assert_non_null(made);
    assert_int_equal(slow_size, size);
    assert_memory_equal(made, wanted, size);
    row_trace_free(slow);
    free(wanted);
    free(made);
}

/* A long text is kept apart, and read where its values are put. */
static char *long_text(size_t *size)
{
    char *path = trace_make_path("long.h5"), *bytes, *text = mem_zalloc(65536, 1);
    uint16_t layer = 0;
    const struct trace_info info = {.source = memset(text, 'a', 65535),
                                    .experts = 2,
                                    .top_k = 1,
                                    .candidates = 1,
                                    .layers = 1,
                                    .moe_layer = &layer};
    const struct trace_token token = {.token_id = -1, .source = UINT16_MAX};
    const struct trace_request request = {
        .arrival_ns = -1, .prompt_tokens = 1, .output_tokens = 1, .rows = 1};
    const uint16_t expert = 1;
    struct err e = {.text = ""};
    struct trace_writer *w = trace_writer_new(path, &info, &e);

    if (w == NULL || trace_writer_rows(w, 1, &token, &expert, NULL, NULL, &e) != 0 ||
        trace_writer_request(w, &request, &e) != 0 || trace_writer_commit(w, &e) != 0)
        fail_msg("%s", e.text);
    bytes = file_read(path, 1 << 26, size, &e);
    assert_non_null(bytes);
    (void)unlink(path);
    free(path);
    free(text);
    return bytes;
}

static void a_text_is_read_in_parts(void **state)
{
    size_t size, slow_size;
    char *wanted = long_text(&size), *made;

    (void)state;
    reads = 0;
    most = 4093;
    made = long_text(&slow_size);
    most = 0;
    assert_true(reads > 65535 / 4093);
    assert_int_equal(slow_size, size);
    assert_memory_equal(made, wanted, size);
    free(wanted);
    free(made);
}

/* Whichever write is the first to fail, while columns are filled or when they end: the
 * trace is not there, the sentence has the cause, and nothing is left open. */
static void no_write_fails_unseen(void **state)
{
    char *from = trace_make_path("from.h5"), *to = trace_make_path("to.h5");
    char *wanted = mem_format("%s: writing failed: %s", to, strerror(EDQUOT));
    struct err e = {.text = ""};
    struct trace *t;
    int status;
    unsigned n = 0;

    (void)state;
    trace_make(from, &(struct trace_make){.layers = 2,
                                          .experts = 8,
                                          .top_k = 2,
                                          .requests = 4,
                                          .rows = 4200,
                                          .score_kind = TRACE_SCORE_SOFTMAX,
                                          .predicted = 2,
                                          .known_source = true,
                                          .expert_bytes = true,
                                          .passes = true,
                                          .seed = 2});
    t = trace_open(from, NULL, &e);
    assert_non_null(t);
    do {
        int64_t held = spoil_held();

        e.text[0] = '\0';
        fails_at = ++n;
        writes = 0;
        status = slice_write(t, &SLICE_EVERYTHING, to, &e);
        fails_at = 0;
        assert_int_equal(status, writes >= n ? -1 : 0);
        assert_string_equal(e.text, status == 0 ? "" : wanted);
        assert_int_equal(access(to, F_OK), status);
        assert_int_equal(spoil_held(), held);
    } while (status != 0);
    assert_true(n > 40);
    trace_close(t);
    (void)unlink(from);
    (void)unlink(to);
    free(from);
    free(to);
    free(wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_few_bytes_at_a_time),
                                       cmocka_unit_test(a_text_is_read_in_parts),
                                       cmocka_unit_test(no_write_fails_unseen)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What our HDF5 driver does where the disk takes and gives a few bytes at a time. */
#define _GNU_SOURCE /* syscall */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "row_trace.h"

#include "sim/base/file.h"

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

ssize_t pwrite(int fd, const void *from, size_t size, off_t at)
{
    return is_short(&size) ? -1 : syscall(SYS_pwrite64, fd, from, size, at);
}

ssize_t pread(int fd, void *to, size_t size, off_t at)
{
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_few_bytes_at_a_time)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

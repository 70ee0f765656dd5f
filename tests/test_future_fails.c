/* The look-ahead's temporary file fails at one read or write after another: the
 * experiment does so as well, by its status and with the sentence, or does not need it.
 * What comes in parts is put together. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "crew_lab.h"
#include "sim/base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* How many reads and writes of files without a name there are until one fails. */
static uint32_t calls_left;
static size_t most = SIZE_MAX; /* bytes that one call takes or gives */

static bool fails(int fd)
{
    struct stat s;

    if (fstat(fd, &s) != 0 || s.st_nlink > 0 || calls_left == 0 || --calls_left > 0)
        return false;
    errno = EIO;
    return true;
}

/* In the place of the C library's; one thread. */
ssize_t pread(int fd, void *to, size_t bytes, off_t at)
{
    return fails(fd) || lseek(fd, at, SEEK_SET) != at
               ? -1
               : read(fd, to, bytes < most ? bytes : most);
}

ssize_t pwrite(int fd, const void *from, size_t bytes, off_t at)
{
    return fails(fd) || lseek(fd, at, SEEK_SET) != at
               ? -1
               : write(fd, from, bytes < most ? bytes : most);
}

/* Fails each in turn until there are no more; how many there were. */
static uint32_t fail_all(const struct crew_lab *lab, const char *more, const char *policy)
{
    char *text = mem_format("trace: %s\nmodel: %s\nmachine: by hand\nengine: event\n"
                            "%spolicies: [%s]\n",
                            lab->trace_path, lab->model_path, more, policy);
    uint32_t n = 0;
    int status = -1;

    while (status != 0) {
        struct err e = {.text = ""};
        struct result r;

        calls_left = ++n;
        status = crew_lab_run_text(lab, text, 1, &r, &e);
        if (status == 0) {
            assert_string_equal(e.text, "");
            assert_true(calls_left > 0);
            result_release(&r);
        } else {
            assert_int_equal(calls_left, 0);
            assert_non_null(strstr(e.text, "the temporary look-ahead file cannot be "));
            assert_non_null(strstr(e.text, "Input/output error; set TMPDIR"));
        }
        assert_true(n < 100);
    }
    free(text);
    return n - 1;
}

static void a_failed_look_ahead_fails_the_run(void **state)
{
    struct crew_lab *lab = crew_lab_new(&crew_two, NULL);
    uint32_t read_once, own, several;

    (void)state;
    read_once = fail_all(lab, "", "{cache: {name: belady, slots: 2}}");
    /* What a gate leaves is a look-ahead of the policy's own. */
    own = fail_all(lab, "",
                   "{cache: {name: lru, slots: 2}, gate: {name: capacity-factor, "
                   "cf: 0.5}}");
    several = fail_all(lab, "parallel: {gpus: 2}\n", "{cache: {name: belady, slots: 1}}");
    assert_true(read_once >= 3 && own > read_once && several >= 3);
    crew_lab_free(lab);
}

/* A longer look-ahead is written in blocks, the first of them while it is made. */
static void so_does_one_of_several_blocks(void **state)
{
    struct crew_case c = {.nodes = 1,
                          .gpus = 1,
                          .layers = 8,
                          .experts = 32,
                          .top_k = 16,
                          .hidden = 64,
                          .requests = 1,
                          .rows = 800,
                          .candidates = 16,
                          .cyclic = true,
                          .seed = 1};
    struct crew_lab *lab = crew_lab_new(&c, NULL);

    (void)state;
    assert_true(fail_all(lab, "bounds: no\n", "{cache: {name: belady, slots: 16}}") >= 6);
    crew_lab_free(lab);
}

/* Calls that take or give less than they were asked for are repeated for the rest. */
static void short_reads_and_writes_are_continued(void **state)
{
    struct crew_case c = {.nodes = 1,
                          .gpus = 1,
                          .layers = 2,
                          .experts = 8,
                          .top_k = 2,
                          .hidden = 64,
                          .requests = 3,
                          .rows = 9,
                          .candidates = 2,
                          .seed = 2};
    struct crew_lab *lab = crew_lab_new(&c, NULL);
    char *text = mem_format("trace: %s\nmodel: %s\nmachine: by hand\nengine: event\n"
                            "policies: [{cache: {name: belady, slots: 3}}]\n",
                            lab->trace_path, lab->model_path);
    struct run_counts whole = {.hits = 0};

    (void)state;
    calls_left = 0;
    for (int i = 0; i < 2; i++) {
        struct err e = {.text = ""};
        struct result r;

        most = i == 0 ? SIZE_MAX : 7;
        if (crew_lab_run_text(lab, text, 1, &r, &e) != 0)
            fail_msg("%s", e.text);
        if (i == 0)
            whole = r.policy[0].run.total.counts;
        assert_true(whole.hits > 0);
        assert_memory_equal(&r.policy[0].run.total.counts, &whole, sizeof whole);
        result_release(&r);
    }
    most = SIZE_MAX;
    free(text);
    crew_lab_free(lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_look_ahead_fails_the_run),
        cmocka_unit_test(so_does_one_of_several_blocks),
        cmocka_unit_test(short_reads_and_writes_are_continued),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "made_result.h"
#include "sim/base/mem.h"
#include "sim/exec/timeline.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static int set_up(void **state)
{
    *state = made_folder();
    return 0;
}

static int tear_down(void **state)
{
    made_folder_remove(*state);
    return 0;
}

/* The i-th of 400 operations of a process, in a scrambled order. */
static void add_operation(struct timeline *t, int process, uint32_t i)
{
    uint32_t k = i * 149 % 400; /* 149 is prime to 400 */
    struct op_times times = {
        .issued = k * 900, .start = k / 2 * 1000, .cancelled = k == 7};

    times.end = times.start + 400 + k;
    timeline_op(t, process, (enum op_kind)(k % OP_KINDS), (enum op_lane)(k % OP_LANES),
                k % 24, k % 32, &times);
}

struct job {
    struct timeline *timeline;
    int process;
};

static void *add_all(void *argument)
{
    const struct job *j = argument;

    for (uint32_t i = 0; i < 400; i++)
        add_operation(j->timeline, j->process, i);
    return NULL;
}

/* Each process by its own thread, or all by one, last first. */
static void write_timeline(const char *path, bool threads)
{
    enum { PROCESSES = 3 };
    static const char *const label[PROCESSES] = {"lru", "a \"quoted\"\\ \n\x01 name",
                                                 "Z\xc3\xbcrich \xff"};
    struct err e = {.text = ""};
    struct timeline *t = timeline_new(path, &e);
    struct job job[PROCESSES];
    pthread_t thread[PROCESSES];

    assert_non_null(t);
    for (int i = 0; i < PROCESSES; i++) {
        job[i] = (struct job){t, timeline_add_process(t, label[i])};
        assert_int_equal(job[i].process, i);
    }
    for (int i = PROCESSES - 1; i >= 0; i--) {
        if (threads)
            assert_int_equal(pthread_create(&thread[i], NULL, add_all, &job[i]), 0);
        else
            (void)add_all(&job[i]);
    }
    for (int i = 0; i < PROCESSES && threads; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    assert_int_equal(timeline_commit(t, &e), 0);
}

static void equal_whatever_the_threads(void **state)
{
    char *a = mem_format("%s/a.json", (char *)*state);
    char *b = mem_format("%s/b.json", (char *)*state);
    size_t a_size, b_size;
    char *x, *y;

    write_timeline(a, false);
    write_timeline(b, true);
    x = made_read(a, &a_size);
    y = made_read(b, &b_size);
    assert_int_equal(a_size, b_size);
    assert_memory_equal(x, y, a_size);
    free(x);
    free(y);
    free(a);
    free(b);
}

/* An independent reader: it parses, every event is complete, and they are in order. */
static void another_reader_agrees(void **state)
{
    static const char program[] =
        "import json, sys\n"
        "t = json.load(open(sys.argv[1], encoding='utf-8'))\n"
        "x = [e for e in t['traceEvents'] if e['ph'] == 'X']\n"
        "m = [e for e in t['traceEvents'] if e['ph'] == 'M']\n"
        "assert len(x) == 1200 and len(x) + len(m) == len(t['traceEvents'])\n"
        "k = [(e['pid'], e['tid'], e['ts']) for e in x]\n"
        "assert k == sorted(k)\n"
        "assert all(e['dur'] >= 0.0004 and e['name'] and e['cat'] for e in x)\n"
        "assert sum('cancelled' in e['args'] for e in x) == 3\n"
        "names = [e['args']['name'] for e in m if e['name'] == 'process_name']\n"
        "assert names == ['lru', 'a \"quoted\"\\\\ \\n\\x01 name', 'Z\\xfcrich "
        "\\ufffd']\n";
    char *path = mem_format("%s/a.json", (char *)*state);
    char *script = mem_format("%s/check.py", (char *)*state);
    char *command = mem_format("/usr/bin/python3 '%s' '%s'", script, path);
    FILE *f = fopen(script, "w");

    assert_non_null(f);
    assert_true(fputs(program, f) >= 0);
    assert_int_equal(fclose(f), 0);
    write_timeline(path, false);
    assert_int_equal(system(command), 0);
    free(command);
    free(script);
    free(path);
}

/* 1 234 567 890 123 ps are 1 234 567.890123 us. */
static void times_are_exact(void **state)
{
    char *path = mem_format("%s/a.json", (char *)*state);
    struct op_times times = {.issued = 5, .start = 1234567890123, .end = 1234569890124};
    struct err e = {.text = ""};
    struct timeline *t = timeline_new(path, &e);
    size_t size;
    char *text;

    assert_non_null(t);
    timeline_op(t, timeline_add_process(t, "one"), OP_COPY_IN, LANE_COPY_IN, 3, 17,
                &times);
    assert_int_equal(timeline_commit(t, &e), 0);
    text = made_read(path, &size);
    assert_non_null(strstr(text, "\"ts\":1234567.890123,\"dur\":2.000001,"));
    assert_non_null(strstr(text, "\"issued_us\":0.000005,\"layer\":3,\"expert\":17"));
    free(text);
    free(path);
}

static void abandoned_leaves_nothing(void **state)
{
    char *path = mem_format("%s/none.json", (char *)*state);
    struct err e = {.text = ""};
    struct timeline *t = timeline_new(path, &e);

    assert_non_null(t);
    add_operation(t, timeline_add_process(t, "x"), 1);
    timeline_abandon(t);
    timeline_abandon(NULL);
    assert_null(fopen(path, "r"));
    free(path);
    path = mem_format("%s/no/such/folder.json", (char *)*state);
    assert_null(timeline_new(path, &e));
    assert_non_null(strstr(e.text, "no/such/folder.json"));
    free(path);
}

static void empty_is_valid(void **state)
{
    char *path = mem_format("%s/a.json", (char *)*state);
    char *command = mem_format("/usr/bin/python3 -m json.tool '%s' >/dev/null", path);
    struct err e = {.text = ""};
    struct timeline *t = timeline_new(path, &e);

    assert_non_null(t);
    assert_int_equal(timeline_commit(t, &e), 0);
    assert_int_equal(system(command), 0);
    free(command);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_whatever_the_threads),
        cmocka_unit_test(another_reader_agrees),
        cmocka_unit_test(times_are_exact),
        cmocka_unit_test(abandoned_leaves_nothing),
        cmocka_unit_test(empty_is_valid),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}

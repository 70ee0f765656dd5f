/* All benchmarks in a row, on a host device with little memory whose events are as far
 * apart as this test says: what runs, what is left out, what is written. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "device_rig.h"
#include "trace_maker.h"

#include "gpu/bench.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TABLES = 9, POOL = 4 << 20 };

static const char *const table[TABLES] = {
    "copy", "chunks", "duplex", "launch", "move", "gemm", "attention", "experts", "cpu"};

/* ---- a device that tells its own time ---- */

static const struct device_event *waited;
static uint32_t samples; /* so far */
static uint32_t locals;  /* allocations in device memory so far */
static bool no_room;     /* the first one succeeds only */
static uint32_t waits, fail_at;

static void little_info(struct device *d, struct device_info *info)
{
    device_host.info(d, info);
    info->name = "a name";
    info->driver = "a driver";
    info->clocks = "";
    info->local_bytes = info->local_free_bytes = 4 * (uint64_t)POOL + 3;
    info->host_bytes = 9 * (uint64_t)POOL;
    info->host_free_bytes = 8 * (uint64_t)POOL;
    info->processors = 3;
}

static int note_wait(struct device *d, struct device_event *v, struct err *e)
{
    waited = v;
    return ++waits == fail_at ? err_set(e, "made to fail")
                              : device_host.event_wait(d, v, e);
}

/* Seconds of the two samples to warm up, then of seven. */
static double said_ns(struct device *d, struct device_event *a, struct device_event *b)
{
    static const double s[9] = {90, 80, 4, 1, 3, 2, 5, 7, 6};

    return b == waited ? 1e9 * s[samples++ % 9] : device_host.event_ns(d, a, b);
}

static int little_alloc(struct device *d, enum device_memory kind, size_t bytes, void **p,
                        struct err *e)
{
    if (kind == DEVICE_MEMORY_LOCAL && locals++ > 0 && no_room)
        return err_set(e, "no room");
    return device_host.mem_alloc(d, kind, bytes, p, e);
}

static struct device *open_little(struct device_ops *ops)
{
    struct device *d = rig_open_host();

    *ops = device_host;
    ops->info = little_info;
    ops->event_wait = note_wait;
    ops->event_ns = said_ns;
    ops->mem_alloc = little_alloc;
    d->ops = ops;
    samples = locals = waits = fail_at = 0;
    no_room = false;
    return d;
}

static void close_little(struct device *d)
{
    d->ops = &device_host;
    device_close(d);
}

/* ---- what it came to ---- */

struct shown {
    size_t count, total;
    const char *last;
};

static void note_progress(void *context, const char *what, size_t done, size_t total)
{
    struct shown *s = context;

    assert_int_equal(done, s->count);
    assert_true(s->count == 0 || total == s->total);
    s->total = total;
    s->last = what;
    s->count++;
}

static char *path_in(const char *folder, const char *name)
{
    return mem_format("%s/%s.csv", folder, name);
}

static void expect_file(const char *folder, const char *name, const char *wanted)
{
    char *path = path_in(folder, name), *text;
    struct err e = {.text = ""};
    size_t size;

    text = file_read(path, 1 << 20, &size, &e);
    assert_string_equal(e.text, "");
    assert_string_equal(text, wanted);
    free(text);
    free(path);
}

static void remove_files(const char *folder, bool are_there)
{
    for (int i = 0; i <= TABLES; i++) {
        char *path = path_in(folder, i < TABLES ? table[i] : "device");

        assert_int_equal(access(path, F_OK) == 0, are_there);
        (void)unlink(path);
        free(path);
    }
    (void)rmdir(folder);
}

#define HEAD                                                                             \
    "# device: a name (host)\n# driver: a driver\n# clocks: unknown\n# moesim: 1.2\n"    \
    "# date: today\n# command: moesim all\n"

/* The first shape takes seconds, so that all others of its table would take too long.
 * Quartiles of 1 to 7 are 2.5 and 5.5, the median is 4: a spread of three quarters. */
static void test_the_first_shape(void **state)
{
    struct shown shown = {.count = 0};
    char *folder = trace_make_path("tables");
    const struct bench_options o = {.folder = folder,
                                    .quick = true,
                                    .command = "moesim all",
                                    .date = "today",
                                    .version = "1.2",
                                    .progress = note_progress,
                                    .context = &shown};
    struct bench_summary s[BENCH_TABLES];
    struct err e = {.text = ""};
    struct device_ops ops;
    struct device *d = open_little(&ops);
    size_t tables, all = 0;

    (void)state;
    assert_int_equal(bench_run(d, &o, s, &tables, &e), 0);
    assert_int_equal(tables, TABLES);
    for (int i = 0; i < TABLES; i++) {
        assert_string_equal(s[i].name, table[i]);
        assert_int_equal(s[i].samples, 7 * s[i].shapes);
        assert_non_null(s[i].help);
        assert_true(s[i].shapes > 0);
        all += s[i].shapes + s[i].left_out;
    }
    assert_int_equal(shown.count, all);
    assert_int_equal(shown.total, all);
    assert_string_equal(shown.last, "cpu");
    /* 4 kinds of 4 KiB to 16 MiB by fours: the first is 4 KiB. */
    assert_int_equal(s[0].shapes, 1);
    assert_int_equal(s[0].left_out, 4 * 7 - 1);
    assert_true(s[0].spread == 0.75);
    assert_true(s[0].flops_per_s == 0.0 && s[0].bytes_per_s == 1024.0);
    expect_file(folder, "copy",
                "# copy: one copy between host and device, alone\n" HEAD
                "kind,bytes,sample,seconds\nh2d_pinned,4096,0,4\nh2d_pinned,4096,1,1\n"
                "h2d_pinned,4096,2,3\nh2d_pinned,4096,3,2\nh2d_pinned,4096,4,5\n"
                "h2d_pinned,4096,5,7\nh2d_pinned,4096,6,6\n");
    expect_file(folder, "device",
                "# what was measured; the tables are beside this file\n" HEAD
                "name,value\ndevice,a name\nkind,host\ndate,today\nelement_bits,32\n"
                "local_bytes,16777219\nhost_bytes,37748736\nprocessors,3\n");
    close_little(d);
    remove_files(folder, true);
    free(folder);
}

/* Without device memory beside the pool what needs some is left out, shape by shape, and
 * the others run; a spread of no shape is none. */
static void test_no_room(void **state)
{
    char *folder = trace_make_path("tables");
    const struct bench_options o = {.folder = folder,
                                    .quick = true,
                                    .command = "",
                                    .date = "today",
                                    .version = "1.2"};
    struct bench_summary s[BENCH_TABLES];
    struct err e = {.text = ""};
    struct device_ops ops;
    struct device *d = open_little(&ops);
    size_t tables;

    (void)state;
    no_room = true;
    assert_int_equal(bench_run(d, &o, s, &tables, &e), 0);
    assert_int_equal(tables, TABLES);
    for (int i = 3; i < TABLES - 1; i++) {
        assert_int_equal(s[i].shapes, 0);
        assert_int_equal(s[i].samples, 0);
        assert_true(s[i].spread == 0.0);
    }
    /* 4 kinds of 32 to 256 and 4 sizes; 9 heights of 4 products. */
    assert_int_equal(s[3].left_out, 4 * 4 + 4);
    assert_int_equal(s[5].left_out, 9 * 4);
    assert_true(s[0].shapes > 0);
    close_little(d);
    remove_files(folder, true);
    free(folder);
}

/* A wait that fails ends it all, and no table appears; nor where there is no place. */
static void test_failures(void **state)
{
    char *folder = trace_make_path("tables"), *taken = path_in(folder, "copy");
    char *wanted;
    struct bench_options o = {
        .folder = folder, .quick = true, .command = "", .date = "", .version = ""};
    struct bench_summary s[BENCH_TABLES];
    struct err e = {.text = ""};
    struct device_ops ops;
    struct device *d = open_little(&ops);
    size_t tables;

    (void)state;
    fail_at = 12;
    assert_int_equal(bench_run(d, &o, s, &tables, &e), -1);
    assert_string_equal(e.text, "made to fail");
    remove_files(folder, false);
    close_little(d);
    /* A folder in the place of a table. */
    d = open_little(&ops);
    e.text[0] = '\0';
    assert_int_equal(file_make_folder(folder, &e), 0);
    assert_int_equal(file_make_folder(taken, &e), 0);
    assert_int_equal(bench_run(d, &o, s, &tables, &e), -1);
    wanted = mem_format("'%s' is a folder; give the name of a file to write", taken);
    assert_string_equal(e.text, wanted);
    free(wanted);
    (void)rmdir(taken);
    remove_files(folder, false);
    close_little(d);
    free(folder);
    free(taken);
}

static void no_gemm(struct device *d, struct device_stream *s,
                    const struct device_gemm *g)
{
    (void)d, (void)s, (void)g;
}

/* Where a product is wrong no table appears. Nor where the last file has no place, or the
 * folder is a file. */
static void test_wrong_results(void **state)
{
    char *folder = trace_make_path("tables"), *taken = path_in(folder, "device");
    struct bench_options o = {
        .folder = folder, .quick = true, .command = "", .date = "", .version = ""};
    struct bench_summary s[BENCH_TABLES];
    struct err e = {.text = ""};
    struct device_ops ops;
    struct device *d = open_little(&ops);
    size_t tables;

    (void)state;
    ops.gemm = no_gemm;
    assert_int_equal(bench_run(d, &o, s, &tables, &e), -1);
    assert_non_null(strstr(e.text, "host: the device computes wrongly: off by "));
    remove_files(folder, false);
    close_little(d);
    d = open_little(&ops);
    e.text[0] = '\0';
    assert_int_equal(file_make_folder(folder, &e), 0);
    assert_int_equal(file_make_folder(taken, &e), 0);
    assert_int_equal(bench_run(d, &o, s, &tables, &e), -1);
    assert_non_null(strstr(e.text, "/device.csv' is a folder"));
    (void)rmdir(taken);
    o.folder = "/dev/null";
    e.text[0] = '\0';
    assert_int_equal(bench_run(d, &o, s, &tables, &e), -1);
    assert_string_equal(e.text,
                        "/dev/null: exists and is no folder; choose another name");
    assert_int_equal(tables, 0);
    close_little(d);
    for (int i = 0; i < TABLES; i++) {
        char *path = path_in(folder, table[i]);

        (void)unlink(path);
        free(path);
    }
    remove_files(folder, false);
    free(folder);
    free(taken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_shape),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_wrong_results),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

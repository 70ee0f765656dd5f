/* What the host device makes of the files that tell of the machine, and of a machine that
 * lacks something: these files, OpenBLAS and threads are in this test's hands. */
#define _GNU_SOURCE /* RTLD_NEXT */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "device_rig.h"

#include "gpu/device.h"
#include "gpu/host.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- in the places of the C library's ---- */

enum { MEMINFO, MAX, LIMIT, CPUINFO, CLOCK, FILES };

static const char *const path_of[FILES] = {
    "/proc/meminfo", "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/proc/cpuinfo",
    "/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"};

static const char *const *text_of; /* [FILES] NULL: there is no such file */

FILE *fopen(const char *path, const char *mode)
{
    FILE *(*real)(const char *, const char *);
    void *symbol;

    for (int i = 0; i < FILES && text_of != NULL; i++) {
        if (strcmp(path, path_of[i]) != 0)
            continue;
        errno = ENOENT;
        return text_of[i] == NULL
                   ? NULL
                   : fmemopen((void *)(uintptr_t)text_of[i], strlen(text_of[i]), "r");
    }
    symbol = dlsym(RTLD_NEXT, "fopen");
    memcpy(&real, &symbol, sizeof real);
    return real(path, mode);
}

static const char *library; /* what is loaded instead; NULL: what is asked for */

void *dlopen(const char *name, int flags)
{
    void *(*real)(const char *, int);
    void *symbol = dlsym(RTLD_NEXT, "dlopen");

    memcpy(&real, &symbol, sizeof real);
    return real(library == NULL ? name : library, flags);
}

static bool no_threads;

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                   void *(*run)(void *), void *context)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    void *symbol = dlsym(RTLD_NEXT, "pthread_create");

    if (no_threads)
        return EAGAIN;
    memcpy(&real, &symbol, sizeof real);
    return real(thread, attributes, run, context);
}

/* ---- tests ---- */

/* Of what is available, or of the least limit, a half is the device's and three eighths
 * are the host's. 8000 KiB are 8192000 bytes. What begins with no digit is no limit. */
static void test_memory(void **state)
{
    static const char *const available =
        "MemTotal:   99999 kB\nMemAvailable:    8000 kB\n"
        "Buffers: 1 kB\n";
    static const struct {
        const char *file[FILES];
        uint64_t local, host;
    } known[] = {
        {{available}, 4096000, 3072000},
        {{available, "max\n", "9223372036854771712\n"}, 4096000, 3072000},
        {{available, "8192001\n"}, 4096000, 3072000},
        {{available, "8191000\n", NULL}, 4095500, 3071625},
        {{available, "900000\n", "1000000\n"}, 450000, 337500},
        {{available, NULL, "1000000\n"}, 500000, 375000},
        {{available, "1000000\n", "0\n"}, 0, 0},
        {{available, "/1\n", ":1\n"}, 4096000, 3072000},
        {{NULL}, UINT64_C(1) << 29, UINT64_C(3) << 27},
        {{"MemTotal: 5 kB\n"}, UINT64_C(1) << 29, UINT64_C(3) << 27},
        {{"MemAvailable 5 kB"}, UINT64_C(1) << 29, UINT64_C(3) << 27},
    };

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct device_info info;
        struct device *d;

        text_of = known[i].file;
        d = rig_open_host();
        d->ops->info(d, &info);
        assert_int_equal(info.local_bytes, known[i].local);
        assert_int_equal(info.local_free_bytes, known[i].local);
        assert_int_equal(info.host_bytes, known[i].host);
        assert_int_equal(info.host_free_bytes, known[i].host);
        device_close(d);
    }
    text_of = NULL;
}

static void expect_free(struct device *d, uint64_t local, uint64_t host)
{
    struct device_info info;

    d->ops->info(d, &info);
    assert_int_equal(info.local_free_bytes, local);
    assert_int_equal(info.host_free_bytes, host);
}

/* Blocks of both pools, more than the list has room for at first, given back in another
 * order: what is free is what nobody has. */
static void test_what_is_free(void **state)
{
    enum { BLOCKS = 70 };
    static const char *const file[FILES] = {"MemAvailable: 8000 kB\n"};
    struct err e = {.text = ""};
    void *local[BLOCKS], *pinned, *pageable;
    struct device *d;

    (void)state;
    text_of = file;
    d = rig_open_host();
    text_of = NULL;
    for (uint32_t i = 0; i < BLOCKS; i++)
        assert_int_equal(
            d->ops->mem_alloc(d, DEVICE_MEMORY_LOCAL, 1000 + i, &local[i], &e), 0);
    expect_free(d, 4096000 - 70000 - 2415, 3072000);
    assert_int_equal(d->ops->mem_alloc(d, DEVICE_MEMORY_PINNED, 72000, &pinned, &e), 0);
    assert_int_equal(d->ops->mem_alloc(d, DEVICE_MEMORY_PAGEABLE, 3000000, &pageable, &e),
                     0);
    expect_free(d, 4096000 - 70000 - 2415, 0);
    assert_int_equal(d->ops->mem_alloc(d, DEVICE_MEMORY_PINNED, 1, &pinned, &e), -1);
    assert_null(pinned);
    assert_string_equal(e.text, "host: 1 bytes of pinned memory were asked for, but only "
                                "0 of 3072000 are left");
    e.text[0] = '\0';
    assert_int_equal(d->ops->mem_alloc(d, DEVICE_MEMORY_LOCAL, 4023586, &pinned, &e), -1);
    assert_string_equal(e.text,
                        "host: 4023586 bytes of device memory were asked for, but "
                        "only 4023585 of 4096000 are left");
    d->ops->mem_free(d, DEVICE_MEMORY_PAGEABLE, pageable);
    expect_free(d, 4096000 - 70000 - 2415, 3000000);
    for (uint32_t i = 0; i < BLOCKS; i++)
        d->ops->mem_free(d, DEVICE_MEMORY_LOCAL, local[i * 3 % BLOCKS]);
    expect_free(d, 4096000, 3000000);
    device_close(d);
}

/* The processor's name is up to the end of its line; MHz are whole. */
static void test_names(void **state)
{
    static const struct {
        const char *cpuinfo, *clock, *name, *clocks;
    } known[] = {
        {"processor\t: 0\nmodel name\t: \t A CPU: 2 GHz\nflags\t: a\nmodel name\t: B\n",
         "2400999\n", "A CPU: 2 GHz", "2400 MHz at most"},
        {"processor\t: 0\nmodel name\t:C", "999\n", "C", "0 MHz at most"},
        {"processor\t: 0\n", "fast\n", "unknown processor", ""},
        {NULL, NULL, "unknown processor", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const char *const file[FILES] = {"MemAvailable: 1 kB\n", NULL, NULL,
                                         known[i].cpuinfo, known[i].clock};
        struct device_info info;
        struct device *d;

        text_of = file;
        d = rig_open_host();
        d->ops->info(d, &info);
        assert_string_equal(info.name, known[i].name);
        assert_string_equal(info.clocks, known[i].clocks);
        assert_non_null(strstr(info.driver, "; one thread per stream"));
        assert_int_equal(info.processors, sysconf(_SC_NPROCESSORS_ONLN));
        device_close(d);
    }
    text_of = NULL;
}

/* A library that is not there, and one that is another: no device, and which is missing.
 */
static void test_no_library(void **state)
{
    static const struct {
        const char *library, *said;
    } known[] = {
        {"no-such-library.so",
         "host: its GEMMs need libopenblas.so.0, which cannot be loaded; install "
         "libopenblas0-pthread"},
        {"libm.so.6", "host: libopenblas.so.0 lacks cblas_sgemm; install "
                      "libopenblas0-pthread"}};

    (void)state;
    device_close(rig_open_host());
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct err counted = {.text = ""}, opened = {.text = ""};

        library = known[i].library;
        assert_int_equal(device_host.count(&counted), 0);
        assert_null(device_host.open(0, &opened));
        library = NULL;
        assert_string_equal(counted.text, known[i].said);
        assert_string_equal(opened.text, known[i].said);
    }
    assert_int_equal(device_host.count(&(struct err){.text = ""}), 1);
}

static void test_unsound_library(void **state)
{
    struct err e = {.text = ""};

    (void)state;
    assert_int_equal(host_blas_check("OpenBLAS 0.3.21 Haswell MAX_THREADS=64", &e), 0);
    assert_int_equal(host_blas_check("OpenBLAS 0.3.21 Haswell SINGLE_THREADED", &e), -1);
    assert_string_equal(e.text,
                        "host: libopenblas.so.0 is a flavour (OpenBLAS 0.3.21 Haswell "
                        "SINGLE_THREADED) that streams cannot share; install "
                        "libopenblas0-pthread");
}

/* Where no thread can be started there is no stream; the device itself goes on. */
static void test_no_threads(void **state)
{
    struct device *d = rig_open_host();
    struct err e = {.text = ""};
    struct device_stream *s;

    (void)state;
    no_threads = true;
    assert_null(d->ops->stream_new(d, 0, &e));
    no_threads = false;
    assert_string_equal(e.text, "host: a stream's worker thread cannot be started; raise "
                                "the limit on threads (ulimit -u)");
    s = d->ops->stream_new(d, 0, &e);
    assert_non_null(s);
    assert_int_equal(d->ops->stream_finish(d, s, &e), 0);
    device_close(d);
}

/* Between events that were not recorded, or not reached, no time passed. */
static void test_no_time(void **state)
{
    struct device *d = rig_open_host();
    struct err e = {.text = ""};
    struct device_stream *s = d->ops->stream_new(d, 0, &e);
    struct device_event *a = d->ops->event_new(d, &e), *b = d->ops->event_new(d, &e);

    (void)state;
    assert_true(d->ops->event_ns(d, a, b) == 0.0);
    d->ops->event_record(d, a, s);
    assert_int_equal(d->ops->event_wait(d, a, &e), 0);
    assert_true(d->ops->event_ns(d, a, b) == 0.0);
    assert_true(d->ops->event_ns(d, b, a) == 0.0);
    d->ops->spin(d, s, 5e6);
    d->ops->event_record(d, b, s);
    assert_true(d->ops->event_ns(d, a, b) == 0.0);
    assert_true(d->ops->event_ns(d, b, a) == 0.0);
    assert_int_equal(d->ops->event_wait(d, b, &e), 0);
    assert_true(d->ops->event_ns(d, a, b) >= 5e6);
    assert_true(d->ops->event_ns(d, b, a) <= -5e6);
    device_close(d);
}

/* Nothing may be moved from and to nowhere. */
static void test_no_bytes(void **state)
{
    struct device *d = rig_open_host();
    struct err e = {.text = ""};
    struct device_stream *s = d->ops->stream_new(d, 0, &e);

    (void)state;
    d->ops->fill(d, s, NULL, 1, 0);
    d->ops->copy(d, s, NULL, NULL, 0);
    assert_int_equal(d->ops->stream_finish(d, s, &e), 0);
    device_close(d);
}

/* What is recorded after a failure is no graph. */
static void test_no_graph(void **state)
{
    struct device *d = rig_open_host();
    struct err e = {.text = ""}, again = {.text = ""};
    struct device_stream *s = d->ops->stream_new(d, 0, &e);

    (void)state;
    d->ops->fill(d, s, NULL, 0, 1);
    assert_int_equal(d->ops->stream_finish(d, s, &e), -1);
    d->ops->capture_begin(d, s);
    d->ops->fill(d, s, &e, 0, 0);
    assert_null(d->ops->capture_end(d, s, &again));
    assert_string_equal(again.text, "host: fill: a pointer is NULL");
    device_close(d);
}

/* ---- products ---- */

static unsigned gemms, gemvs;

static void naive_gemv(int order, int trans, int m, int n, float alpha, const float *a,
                       int lda, const float *x, int stride_x, float beta, float *y,
                       int stride_y)
{
    gemvs++;
    assert_true(order == HOST_ROW_MAJOR && trans == HOST_PLAIN);
    assert_true(alpha == 1.0F && beta == 0.0F);
    for (int i = 0; i < m; i++) {
        float sum = 0;

        for (int j = 0; j < n; j++)
            sum += a[(size_t)i * (size_t)lda + (size_t)j] * x[j * stride_x];
        y[i * stride_y] = sum;
    }
}

static void naive_gemm(int order, int trans_a, int trans_b, int m, int n, int k,
                       float alpha, const float *a, int lda, const float *b, int ldb,
                       float beta, float *c, int ldc)
{
    unsigned before = gemvs;

    assert_true(trans_a == HOST_PLAIN && trans_b == HOST_TRANSPOSED);
    for (int i = 0; i < m; i++)
        naive_gemv(order, HOST_PLAIN, n, k, alpha, b, ldb, a + (size_t)i * (size_t)lda, 1,
                   beta, c + (size_t)i * (size_t)ldc, 1);
    gemvs = before;
    gemms++;
}

/* A few rows go one by one, and share parts of the weights that fit a cache: 4100 of 9000
 * columns of 7. More than 12 go in one product. Whole numbers, so that sums are exact. */
static void test_few_rows_and_many(void **state)
{
    enum { IN = 7, OUT = 9000, STRIDE = 9, MOST = 40 };
    static const struct {
        uint32_t rows;
        unsigned gemms, gemvs;
    } known[] = {{1, 0, 1}, {2, 0, 6}, {12, 0, 36}, {13, 1, 0}, {MOST, 1, 0}};
    static float x[MOST * STRIDE], w[OUT * IN], y[MOST * OUT];
    const struct host_blas blas = {.gemm = naive_gemm, .gemv = naive_gemv};

    (void)state;
    for (size_t i = 0; i < sizeof x / sizeof *x; i++)
        x[i] = (float)(i % 11);
    for (size_t i = 0; i < sizeof w / sizeof *w; i++)
        w[i] = (float)(i % 13);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        gemms = gemvs = 0;
        memset(y, 0xff, sizeof y);
        host_multiply(&blas, known[i].rows, IN, OUT, x, STRIDE, w, y);
        assert_int_equal(gemms, known[i].gemms);
        assert_int_equal(gemvs, known[i].gemvs);
        for (uint32_t r = 0; r < known[i].rows; r++)
            for (uint32_t o = 0; o < OUT; o++) {
                float sum = 0;

                for (uint32_t k = 0; k < IN; k++)
                    sum += x[r * STRIDE + k] * w[o * IN + k];
                assert_true(y[(size_t)r * OUT + o] == sum);
            }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),          cmocka_unit_test(test_what_is_free),
        cmocka_unit_test(test_names),           cmocka_unit_test(test_no_library),
        cmocka_unit_test(test_unsound_library), cmocka_unit_test(test_no_threads),
        cmocka_unit_test(test_no_time),         cmocka_unit_test(test_no_bytes),
        cmocka_unit_test(test_no_graph),        cmocka_unit_test(test_few_rows_and_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

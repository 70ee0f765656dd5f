/* How fast a machine is against its machine file: ratios on times spelled out, and the
 * benchmark that takes those times on the host. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "gpu/bench_speed.h"
#include "validate/speed.h"

#include <math.h>
#include <stdio.h>

static void same(double a, double b)
{
    if (!(fabs(a - b) <= 1e-12 * fabs(b)))
        fail_msg("%.15g is not %.15g", a, b);
}

/* 4x and 1x; 1x and 1x; 0.5x and 2x: whole 2, 1, 1. */
static void test_ratios(void **state)
{
    const struct speed_probe predicted = {.gemm_s = 8e-3, .copy_s = 2e-3};
    const struct speed_probe probe[] = {{2e-3, 2e-3}, {8e-3, 2e-3}, {16e-3, 1e-3}};
    struct speed s;

    (void)state;
    speed_find(&predicted, probe, 3, &s);
    same(s.gemm, 1.0);
    same(s.copy, 1.0);
    same(s.whole, 1.0);
    same(s.least, 1.0);
    same(s.most, 2.0);
    assert_ptr_equal(s.probe, probe);
    assert_int_equal(s.probes, 3);
    /* The median of two is their mean. */
    speed_find(&predicted, probe, 2, &s);
    same(s.gemm, 2.5);
    same(s.whole, 1.5);
}

/* Unified memory has no copies. */
static void test_no_copies(void **state)
{
    const struct speed_probe predicted = {.gemm_s = 3e-3};
    const struct speed_probe probe = {2e-3, 5e-3};
    struct speed s;

    (void)state;
    speed_find(&predicted, &probe, 1, &s);
    same(s.whole, 1.5);
    same(s.gemm, 1.5);
    assert_true(isnan(s.copy));
}

static void test_no_probe(void **state)
{
    const struct speed_probe predicted = {.gemm_s = 3e-3, .copy_s = 1e-3};
    struct speed s;

    (void)state;
    speed_find(&predicted, NULL, 0, &s);
    assert_true(isnan(s.whole) && isnan(s.least) && isnan(s.most));
}

/* A roofline whose GEMM is bound by its flops: 2 * 2 * 1000 * 1000 at 1e9/s, 2 us apart
 * from that. A copy of 5 MB at 1 GB/s behind 3 us. */
static void test_predicted(void **state)
{
    const struct model model = {.activation_bits = 32, .dense_bits = 32};
    struct machine m = {.gpu = {.hbm_bytes_per_s = 1e12,
                                .bf16_flops = 1e9,
                                .fp32_flops = 1e9,
                                .gemm_efficiency = 1.0,
                                .memory_efficiency = 1.0,
                                .kernel_floor = 2 * SIM_TIME_PER_US},
                        .h2d_pinned = {3 * SIM_TIME_PER_US, 1e9}};
    const struct cost c = {.model = &model, .machine = &m};
    struct speed_probe p = speed_predict(&c, 2, 1000, 5000000);

    (void)state;
    same(p.gemm_s, 4e-3 + 2e-6);
    same(p.copy_s, 5e-3 + 3e-6);
    m.h2d_pinned = (struct machine_copy){0, 0.0};
    p = speed_predict(&c, 2, 1000, 5000000);
    same(p.copy_s, 0.0);
}

/* Takes some time, and gives back what it took. */
static void test_benchmark(void **state)
{
    struct device_info before, after;
    struct bench_speed *b;
    struct err e = {.text = ""};
    struct device *d;
    double gemm_s = 0.0, copy_s = 0.0;
    bool missing;

    (void)state;
    if (device_open("host", &d, &missing, &e) != 0) {
        print_message("skip test_benchmark: %s\n", e.text);
        skip();
    }
    d->ops->info(d, &before);
    b = bench_speed_new(d, &e);
    assert_non_null(b);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(bench_speed_measure(b, &gemm_s, &copy_s, &e), 0);
        assert_true(gemm_s > 0.0 && copy_s > 0.0);
        /* No processor core multiplies that fast. */
        assert_true(2.0 * BENCH_SPEED_ROWS * BENCH_SPEED_WIDTH * BENCH_SPEED_WIDTH /
                        gemm_s <
                    1e13);
    }
    bench_speed_free(b);
    d->ops->info(d, &after);
    assert_int_equal(after.local_bytes - after.local_free_bytes,
                     before.local_bytes - before.local_free_bytes);
    bench_speed_free(NULL);
    device_close(d);
}

static void crowded_info(struct device *d, struct device_info *info)
{
    device_host.info(d, info);
    info->local_free_bytes = 8 << 20;
}

static void test_little_memory(void **state)
{
    struct device_ops crowded = device_host;
    struct err e = {.text = ""};
    struct device *d;
    bool missing;

    (void)state;
    if (device_open("host", &d, &missing, &e) != 0) {
        print_message("skip test_little_memory: %s\n", e.text);
        skip();
    }
    crowded.info = crowded_info;
    d->ops = &crowded;
    assert_null(bench_speed_new(d, &e));
    assert_string_equal(e.text, "host: too little memory is free to measure how fast the "
                                "device is; 64 MiB of the device's and of the host's are "
                                "needed");
    d->ops = &device_host;
    device_close(d);
}

/* A device that has failed says so instead of a time. */
static void test_failed_device(void **state)
{
    double gemm_s, copy_s;
    struct bench_speed *b;
    struct err e = {.text = ""};
    struct device *d;
    struct device_stream *s;
    bool missing;

    (void)state;
    if (device_open("host", &d, &missing, &e) != 0) {
        print_message("skip test_failed_device: %s\n", e.text);
        skip();
    }
    b = bench_speed_new(d, &e);
    assert_non_null(b);
    s = d->ops->stream_new(d, 0, &e);
    assert_non_null(s);
    d->ops->copy(d, s, NULL, NULL, 1);
    assert_int_equal(d->ops->stream_finish(d, s, &e), -1);
    assert_int_equal(bench_speed_measure(b, &gemm_s, &copy_s, &e), -1);
    assert_string_equal(e.text, "host: copy: a pointer is NULL");
    assert_null(bench_speed_new(d, &e));
    bench_speed_free(b);
    device_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ratios),        cmocka_unit_test(test_no_copies),
        cmocka_unit_test(test_no_probe),      cmocka_unit_test(test_predicted),
        cmocka_unit_test(test_benchmark),     cmocka_unit_test(test_little_memory),
        cmocka_unit_test(test_failed_device),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

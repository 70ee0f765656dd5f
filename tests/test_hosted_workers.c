/* Experts in place on a machine that has five processors, whatever there are: one
 * launches and four compute, on the host or in the place of a near-data unit, and the
 * layers give what they give on the device alone. */
#define _GNU_SOURCE /* RTLD_NEXT */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tiny_device.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint32_t streams; /* that were made */

/* In the place of the C library's. */
long sysconf(int name)
{
    long (*real)(int);
    void *symbol;

    if (name == _SC_NPROCESSORS_ONLN)
        return 5;
    symbol = dlsym(RTLD_NEXT, "sysconf");
    memcpy(&real, &symbol, sizeof real);
    return real(name);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                   void *(*run)(void *), void *context)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    void *symbol = dlsym(RTLD_NEXT, "pthread_create");

    streams++;
    memcpy(&real, &symbol, sizeof real);
    return real(thread, attributes, run, context);
}

static void run_four(const char *policy, bool near)
{
    struct model m = tiny_model();
    struct tiny_case there = {.policy =
                                  "{cache: {name: lru, slots: 8, preload: linear}}"},
                     in_place = {.policy = policy};
    struct tiny_outputs expected, outputs;
    struct run_result r;
    struct tiny t;
    uint32_t before;

    tiny_open(&t, &m, 0);
    tiny_execute(&t, &there, &r, &expected, NULL);
    run_result_release(&r);
    before = streams;
    tiny_execute(&t, &in_place, &r, &outputs, NULL);
    assert_true((near ? r.total.counts.near_runs : r.total.counts.host_runs) > 0);
    assert_int_equal(near ? r.total.counts.host_runs : r.total.counts.near_runs, 0);
    run_result_release(&r);
    assert_int_equal(streams - before, 4);
    assert_true(tiny_difference(&outputs, &expected) < 1e-5);
    free(outputs.value);
    free(expected.value);
    tiny_close(&t);
}

static void test_four_workers(void **state)
{
    (void)state;
    run_four("{cache: {name: lru, slots: 3}, offload: host}", false);
}

static void test_four_near(void **state)
{
    (void)state;
    run_four("{cache: {name: lru, slots: 3}, offload: {name: monde, hot: 1}}", true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_four_workers),
        cmocka_unit_test(test_four_near),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What a run needs on its device: sums and maxima by hand. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "validate/room.h"

/* The largest of each field, wherever it is; 1000 bytes of KV cache at 100 a token are 10
 * tokens, and one more for what the division cuts off. */
static void test_widen(void **state)
{
    const struct run_pass pass[] = {{.rows = 3, .outputs = 9},
                                    {.rows = 8, .outputs = 2},
                                    {.rows = 50, .outputs = 60}};
    struct run_result run = {.passes = 2, .kv_peak_bytes = 1000};
    struct cost_batch most = {.tokens = 0};

    (void)state;
    room_widen(&most, &run, pass, 100.0);
    assert_int_equal(most.tokens, 8);
    assert_int_equal(most.outputs, 9);
    assert_int_equal(most.kv_tokens, 11);
    run.kv_peak_bytes = 999;
    run.passes = 1;
    room_widen(&most, &run, pass, 100.0);
    assert_int_equal(most.tokens, 8);
    assert_int_equal(most.outputs, 9);
    assert_int_equal(most.kv_tokens, 11);
    run.kv_peak_bytes = 1999;
    run.passes = 3;
    room_widen(&most, &run, pass, 100.0);
    assert_int_equal(most.tokens, 50);
    assert_int_equal(most.outputs, 60);
    assert_int_equal(most.kv_tokens, 20);
}

/* Slots and staging with a 64th more, the KV cache twice, a 16th of the device. */
static void test_reserved(void **state)
{
    struct result_policy p[3] = {0};
    struct result r = {.policies = 3, .policy = p};

    (void)state;
    assert_int_equal(room_reserved(&r, 0), 0);
    assert_int_equal(room_reserved(&r, 1600000), 100000);
    p[0].run.cache_bytes = 6400;
    p[0].run.staging_bytes = 64000;
    p[0].run.kv_peak_bytes = 7;
    assert_int_equal(room_reserved(&r, 0), 70400 + 1100 + 14);
    assert_int_equal(room_reserved(&r, 160), 70400 + 1100 + 14 + 10);
    /* The most that any of the policies needs, first, middle or last. */
    p[1].run.kv_peak_bytes = 35757;
    assert_int_equal(room_reserved(&r, 0), 71514);
    p[1].run.kv_peak_bytes = 35758;
    assert_int_equal(room_reserved(&r, 0), 71516);
    p[2].run.cache_bytes = 6400000;
    assert_int_equal(room_reserved(&r, 16), 6400000 + 100000 + 1);
    r.policies = 2;
    assert_int_equal(room_reserved(&r, 16), 71517);
}

static void test_left(void **state)
{
    (void)state;
    assert_int_equal(room_left(100, 30), 70);
    assert_int_equal(room_left(102, 100), 2);
    assert_int_equal(room_left(101, 100), 1);
    assert_int_equal(room_left(100, 100), 1); /* 0 would be no limit */
    assert_int_equal(room_left(30, 100), 1);
    assert_int_equal(room_left(30, 0), 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_widen),
        cmocka_unit_test(test_reserved),
        cmocka_unit_test(test_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

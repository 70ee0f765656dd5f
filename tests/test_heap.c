#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/base/mem.h"
#include "sim/base/rng.h"
#include "sim/engine/heap.h"

#include <stdbool.h>
#include <stdlib.h>

static void test_order_is_time_then_insertion(void **state)
{
    static const sim_time time[] = {7, 3, 7, 0, 3, 7, -2, 3};
    static const uint64_t expected[] = {6, 3, 1, 4, 7, 0, 2, 5};
    struct heap h;

    (void)state;
    heap_init(&h);
    for (uint64_t i = 0; i < 8; i++)
        heap_push(&h, time[i], i);
    assert_int_equal(h.count, 8);
    for (size_t i = 0; i < 8; i++) {
        struct heap_entry top = *heap_top(&h);
        struct heap_entry x = heap_pop(&h);

        assert_int_equal(x.payload, expected[i]);
        assert_int_equal(x.time, time[expected[i]]);
        assert_int_equal(x.sequence, expected[i]);
        assert_int_equal(top.payload, x.payload);
    }
    assert_int_equal(h.count, 0);
    heap_release(&h);
}

static void test_extreme_times(void **state)
{
    struct heap h;

    (void)state;
    heap_init(&h);
    heap_push(&h, SIM_TIME_MAX, 1);
    heap_push(&h, INT64_MIN, 2);
    heap_push(&h, 0, 3);
    heap_push(&h, -1, 4);
    h.sequence = UINT64_MAX - 1; /* the counter's upper half must not leak into time */
    heap_push(&h, -1, 5);
    assert_int_equal(heap_pop(&h).payload, 2);
    assert_int_equal(heap_pop(&h).payload, 4);
    assert_int_equal(heap_pop(&h).payload, 5);
    assert_int_equal(heap_pop(&h).payload, 3);
    assert_int_equal(heap_pop(&h).payload, 1);
    heap_release(&h);
}

/* The least of `n` entries by a scan: the definition of the order. */
static size_t scan_least(const struct heap_entry *x, size_t n)
{
    size_t best = 0;

    for (size_t i = 1; i < n; i++)
        if (x[i].time < x[best].time ||
            (x[i].time == x[best].time && x[i].sequence < x[best].sequence))
            best = i;
    return best;
}

static void assert_entry(struct heap_entry got, struct heap_entry want)
{
    assert_int_equal(got.time, want.time);
    assert_int_equal(got.sequence, want.sequence);
    assert_int_equal(got.payload, want.payload);
}

/* Random pushes, pops and replacements against a list that is scanned. Few distinct times
 * make ties frequent. */
static void test_against_a_list(void **state)
{
    enum { MOST = 300, STEPS = 3000 };
    struct heap_entry *list = mem_alloc(MOST, sizeof(*list));

    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct rng r = rng_stream(seed, "heap", 0);
        uint64_t times = 1 + rng_below(&r, 200);
        uint64_t sequence = 0;
        size_t n = 0;
        struct heap h;

        heap_init(&h);
        for (int step = 0; step < STEPS; step++) {
            uint64_t choice = rng_below(&r, 5);
            struct heap_entry x = {.time = (sim_time)rng_below(&r, times),
                                   .payload = rng_u64(&r)};

            if (n == 0 || (choice < 2 && n < MOST)) {
                x.sequence = sequence++;
                heap_push(&h, x.time, x.payload);
                list[n++] = x;
            } else if (choice < 4) {
                size_t i = scan_least(list, n);

                assert_entry(*heap_top(&h), list[i]);
                assert_entry(heap_pop(&h), list[i]);
                list[i] = list[--n];
            } else {
                size_t i = scan_least(list, n);

                x.sequence = sequence++;
                assert_entry(heap_replace(&h, x.time, x.payload), list[i]);
                list[i] = x;
            }
            assert_int_equal(h.count, n);
        }
        heap_release(&h);
    }
    free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_is_time_then_insertion),
        cmocka_unit_test(test_extreme_times),
        cmocka_unit_test(test_against_a_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

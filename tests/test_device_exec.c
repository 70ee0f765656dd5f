/* The device executor on every device that can be used here: whatever the policy, the
 * hidden states are those of a run with every expert resident, slots that are overwritten
 * or read too early show (they are filled with NaN as a copy into them begins), and what
 * was done is what the simulated run counts. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tiny_device.h"

#include "sim/base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { TRIES = 20 };

#define RESIDENT "{cache: {name: lru, slots: 8, preload: linear}}"

static void on_each(void (*check)(struct tiny *t))
{
    struct model m = tiny_model();

    for (size_t i = 0; i < device_count; i++) {
        char *name = mem_format("%s:0", device_all[i]->name);
        struct err e = {.text = ""};
        struct tiny t;

        if (device_all[i]->count(&e) == 0) {
            (void)printf("skip %s: %s\n", device_all[i]->name, e.text);
        } else {
            (void)printf("device %s\n", device_all[i]->name);
            tiny_open_on(&t, &m, 0, name);
            check(&t);
            tiny_close(&t);
        }
        free(name);
    }
}

static bool is_right(struct tiny *t, const struct tiny_case *c,
                     const struct tiny_outputs *expected)
{
    struct tiny_outputs outputs;
    struct run_result r;
    double d;

    tiny_execute(t, c, &r, &outputs, NULL);
    d = tiny_difference(&outputs, expected);
    run_result_release(&r);
    free(outputs.value);
    return d < t->close;
}

static void every_policy(struct tiny *t)
{
    static const char *const policies[] = {
        RESIDENT,
        "{cache: {name: lru, slots: 3}}",
        "{cache: {name: lru, slots: 1, protect: none}, schedule: serial}",
        "{cache: {name: belady, slots: 2}, prefetch: {name: oracle, distance: 2}}",
        "{cache: {name: arc, slots: 3, write_back: yes}, prefetch: markov}",
        "{cache: {name: slru, total_slots: 7, scope: global, staging: 1}}",
        "{cache: {name: lru, slots: 3, preload: linear}, offload: host}",
        "{cache: {name: lru, slots: 4}, prefetch: frequency, offload: fiddler}",
        "{cache: {name: lru, slots: 3}, offload: {name: monde, hot: 1, link: shared}}",
        "{cache: {slots: none}, offload: hybrid, schedule: {name: overlapped, loads: "
        "each}}",
        "{cache: {name: lru, slots: 3, allocate: profile}, offload: {name: monde, hot: "
        "0}}",
        "{offload: {name: layers, count: 2, side: last}}",
    };
    struct tiny_outputs expected = {.count = 0};

    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++)
        tiny_check(t, policies[i], i > 0, &expected);
    free(expected.value);
}

static void test_every_policy(void **state)
{
    (void)state;
    on_each(every_policy);
}

/* A runner that forgets what a copy or a group comes after is found out: at once where
 * stalls make the wrong order sure, in some of the tries where it is left to chance. */
static void broken_order(struct tiny *t)
{
    static const struct tiny_case cases[] = {
        {.policy = "{cache: {name: lru, slots: 1, protect: none}}",
         .drop_copies = true,
         .stall_ns = 2e5},
        {.policy = "{cache: {name: lru, slots: 3}}",
         .drop_groups = true,
         .stall_copy_ns = 5e5},
    };
    struct tiny_outputs expected = {.count = 0};

    tiny_check(t, RESIDENT, false, &expected);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tiny_case c = cases[i];

        uint32_t tries = 0;

        while (is_right(t, &c, &expected))
            if (++tries == (t->emulated ? TRIES : 1))
                fail_msg("%s: nobody noticed", c.policy);
        c.drop_copies = c.drop_groups = false;
        assert_true(is_right(t, &c, &expected));
    }
    free(expected.value);
}

static void test_broken_order(void **state)
{
    (void)state;
    on_each(broken_order);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_policy),
        cmocka_unit_test(test_broken_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

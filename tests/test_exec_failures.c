/* The device executor where something fails: each copy, wait, end and allocation in turn,
 * and weights that do not go with the device; and how it sleeps. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tiny_device.h"

#include <string.h>

static void look_away(void *context, uint64_t pass, uint32_t rows, uint32_t columns,
                      const float *value)
{
    (void)context;
    (void)pass;
    (void)rows;
    (void)columns;
    (void)value;
}

/* Runs a policy that may fail, with hidden states read back; its sentence, or "". */
static struct err run_failing(struct tiny *t, const char *policy)
{
    struct exec_device_options o = {.device = t->device,
                                    .streams = &t->streams,
                                    .weights = t->weights,
                                    .model = &t->model,
                                    .hidden = look_away};
    struct exec *x = exec_device_new(&o);
    struct err e = {.text = ""};
    struct run_case c = {.policy = policy,
                         .ops = &exec_device_ops,
                         .exec = x,
                         .unchecked = true,
                         .failure = &e};
    struct run_result r;

    run_world_run(t->world, &c, &r);
    exec_device_free(x);
    if (e.text[0] == '\0')
        run_result_release(&r);
    return e;
}

/* How many calls there are until one fails. */
static uint32_t calls_left;

static void failing_copy(struct device *d, struct device_stream *s, void *to,
                         const void *from, size_t bytes)
{
    device_host.copy(d, s, --calls_left == 0 ? NULL : to, from, bytes);
}

static int failing_alloc(struct device *d, enum device_memory kind, size_t bytes,
                         void **p, struct err *e)
{
    return device_host.mem_alloc(d, kind, --calls_left == 0 ? SIZE_MAX / 2 : bytes, p, e);
}

/* One copy after another fails, until there are not that many. */
static void test_failed_copy(void **state)
{
    struct model m = tiny_model();
    struct device_ops ops = device_host;
    uint32_t n, failures = 0;
    bool failed = true;

    (void)state;
    ops.copy = failing_copy;
    for (n = 1; failed; n += 61) {
        struct tiny t;
        struct err e;

        tiny_open(&t, &m, 0);
        calls_left = n;
        t.device->ops = &ops;
        e = run_failing(&t, "{cache: {name: lru, slots: 3, preload: linear, write_back: "
                            "yes}}");
        failed = e.text[0] != '\0';
        if (failed)
            assert_string_equal(e.text, "host: copy: a pointer is NULL");
        failures += failed;
        t.device->ops = &device_host;
        tiny_close(&t);
    }
    assert_true(failures > 5);
}

static int failing_wait(struct device *d, struct device_event *v, struct err *e)
{
    if (--calls_left == 0)
        return err_set(e, "host: the event was lost");
    return device_host.event_wait(d, v, e);
}

/* One wait after another fails, with experts on the host or without: none is in vain. */
static void test_failed_wait(void **state)
{
    static const char *const policy[] = {"{cache: {name: lru, slots: 3}}",
                                         "{cache: {name: lru, slots: 3}, offload: host}"};
    struct model m = tiny_model();
    struct device_ops ops = device_host;
    struct tiny t;

    (void)state;
    ops.event_wait = failing_wait;
    tiny_open(&t, &m, 0);
    t.device->ops = &ops;
    for (uint32_t i = 0; i < 2; i++) {
        bool failed = true;
        uint32_t n;

        for (n = 1; failed; n += 5) {
            struct err e;

            calls_left = n;
            e = run_failing(&t, policy[i]);
            failed = calls_left == 0 || calls_left > n;
            assert_string_equal(e.text, failed ? "host: the event was lost" : "");
        }
        assert_true(n > 30);
    }
    t.device->ops = &device_host;
    tiny_close(&t);
}

static int failing_finish(struct device *d, struct device_stream *s, struct err *e)
{
    if (--calls_left == 0)
        return err_set(e, "host: the stream was lost");
    return device_host.stream_finish(d, s, e);
}

/* The end of each stream fails in turn, with experts on the host or without. */
static void test_failed_finish(void **state)
{
    static const char *const policy[] = {"{cache: {name: lru, slots: 3}}",
                                         "{cache: {name: lru, slots: 3}, offload: host}"};
    struct model m = tiny_model();
    struct device_ops ops = device_host;
    struct tiny t;

    (void)state;
    ops.stream_finish = failing_finish;
    tiny_open(&t, &m, 0);
    t.device->ops = &ops;
    for (uint32_t i = 0; i < 2; i++) {
        bool failed = true;
        uint32_t n;

        for (n = 1; failed; n++) {
            struct err e;

            calls_left = n;
            e = run_failing(&t, policy[i]);
            failed = e.text[0] != '\0';
            if (failed)
                assert_string_equal(e.text, "host: the stream was lost");
        }
        assert_true(n > 7); /* six streams at the end */
    }
    t.device->ops = &device_host;
    tiny_close(&t);
}

/* Weights of two bytes each are no weights for a device of four. */
static void test_other_width(void **state)
{
    struct model m = tiny_model();
    struct tiny t;

    (void)state;
    m.expert_bits = 16;
    tiny_open(&t, &m, 0);
    assert_string_equal(run_failing(&t, "{cache: {name: lru, slots: 3}}").text,
                        "an expert of layer 0 has 18432 bytes, but 36864 on the device; "
                        "the model's weights must be as wide as the device's");
    tiny_close(&t);
}

/* It is no earlier than that when the sleep ends, and what is past is not slept for. */
static void test_sleep(void **state)
{
    const uint32_t nothing = UINT32_MAX, layer = 0;
    const struct exec_slots slots = {1, &layer, &nothing};
    struct model m = tiny_model();
    struct exec_device_options o = {.model = &m};
    struct err e = {.text = ""};
    struct exec *x;
    struct tiny t;
    sim_time until;

    (void)state;
    tiny_open(&t, &m, 0);
    o.device = t.device;
    o.streams = &t.streams;
    o.weights = t.weights;
    x = exec_device_new(&o);
    assert_int_equal(exec_device_ops.begin(x, &slots, &e), 0);
    until = exec_device_ops.now(x) + 3 * SIM_TIME_PER_S / 1000;
    exec_device_ops.sleep_until(x, until);
    assert_true(exec_device_ops.now(x) >= until);
    exec_device_ops.sleep_until(x, 0);
    exec_device_ops.sleep_until(x, until);
    assert_int_equal(exec_device_ops.check(x, &e), 0);
    exec_device_free(x);
    exec_device_free(NULL);
    tiny_close(&t);
}

/* Every allocation fails in turn, until none is left that could; how many there were. */
static uint32_t fail_allocations(struct tiny *t, const char *policy)
{
    uint32_t n = 0;
    bool failed = true;

    while (failed) {
        struct err e;

        calls_left = ++n;
        e = run_failing(t, policy);
        failed = e.text[0] != '\0';
        if (failed)
            assert_non_null(strstr(e.text, " memory were asked for, but only "));
        if (n == 1)
            assert_non_null(strstr(e.text, "11 expert slots of 36864 bytes do not fit"));
    }
    return n - 1;
}

static void test_no_room(void **state)
{
    struct model m = tiny_model();
    struct device_ops ops = device_host;
    struct tiny t;
    uint32_t with, without;

    (void)state;
    ops.mem_alloc = failing_alloc;
    tiny_open(&t, &m, 0);
    t.device->ops = &ops;
    without = fail_allocations(&t, "{cache: {name: lru, slots: 3}}");
    with = fail_allocations(&t, "{cache: {name: lru, slots: 3}, offload: host}");
    assert_true(without > 10 && with > without);
    t.device->ops = &device_host;
    tiny_close(&t);
}

static struct device_event *failing_event(struct device *d, struct err *e)
{
    if (--calls_left == 0) {
        (void)err_set(e, "host: no event");
        return NULL;
    }
    return device_host.event_new(d, e);
}

/* What begins a run says by its status that it does not: each allocation for the largest
 * pass, each event, the end of filling slots. */
static void test_failed_begin(void **state)
{
    static const char *const said[] = {"memory were asked for, but only ",
                                       "host: no event", "host: the stream was lost"};
    const struct cost_batch largest = {.tokens = 3, .outputs = 3, .kv_tokens = 15};
    const uint32_t layer = 0, expert = 0;
    const struct exec_slots slots = {1, &layer, &expert};
    struct model m = tiny_model();
    struct tiny t;

    (void)state;
    tiny_open(&t, &m, 0);
    for (int i = 0; i < 3; i++) {
        struct device_ops ops = device_host;
        uint32_t n = 0;
        int status;

        if (i == 0)
            ops.mem_alloc = failing_alloc;
        else if (i == 1)
            ops.event_new = failing_event;
        else
            ops.stream_finish = failing_finish;
        t.device->ops = &ops;
        do {
            const struct exec_device_options o = {.device = t.device,
                                                  .streams = &t.streams,
                                                  .weights = t.weights,
                                                  .model = &t.model,
                                                  .largest = &largest};
            struct exec *x = exec_device_new(&o);
            struct err e = {.text = ""};

            calls_left = ++n;
            status = exec_device_ops.begin(x, &slots, &e);
            assert_int_equal(status, calls_left == 0 || calls_left > n ? -1 : 0);
            if (status != 0)
                assert_non_null(strstr(e.text, said[i]));
            else
                assert_string_equal(e.text, "");
            calls_left = UINT32_MAX;
            exec_device_free(x);
        } while (status != 0);
        assert_true(n > 2);
        t.device->ops = &device_host;
    }
    tiny_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failed_copy),   cmocka_unit_test(test_failed_wait),
        cmocka_unit_test(test_failed_finish), cmocka_unit_test(test_other_width),
        cmocka_unit_test(test_sleep),         cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_failed_begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

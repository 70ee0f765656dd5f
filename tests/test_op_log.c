/* The log of operations on a device with a clock of its own: made up, and as coarse as a
 * GPU's, which tells the milliseconds between two events as a float. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "gpu/op_log.h"
#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>

struct device_event {
    double ns;
};

struct made_up {
    struct device base;
    double ns; /* now */
    size_t events;
    int fail_new, fail_wait; /* which call fails from now on; 0: none */
    bool unreached;
};

static struct made_up *made_up_of(struct device *d)
{
    return (struct made_up *)d;
}

static struct device_event *event_new(struct device *d, struct err *e)
{
    if (--made_up_of(d)->fail_new == 0) {
        (void)err_set(e, "no event is left");
        return NULL;
    }
    made_up_of(d)->events++;
    return mem_zalloc(1, sizeof(struct device_event));
}

static void event_free(struct device *d, struct device_event *v)
{
    made_up_of(d)->events--;
    free(v);
}

static void event_record(struct device *d, struct device_event *v,
                         struct device_stream *s)
{
    (void)s;
    v->ns = made_up_of(d)->ns;
}

static bool event_reached(struct device *d, struct device_event *v)
{
    (void)v;
    return !made_up_of(d)->unreached;
}

static int event_wait(struct device *d, struct device_event *v, struct err *e)
{
    (void)v;
    return --made_up_of(d)->fail_wait == 0 ? err_set(e, "the event is lost") : 0;
}

static double event_ns(struct device *d, struct device_event *a, struct device_event *b)
{
    (void)d;
    return 1e6 * (double)(float)((b->ns - a->ns) * 1e-6);
}

static const struct device_ops ops = {.name = "made up",
                                      .event_new = event_new,
                                      .event_free = event_free,
                                      .event_record = event_record,
                                      .event_reached = event_reached,
                                      .event_wait = event_wait,
                                      .event_ns = event_ns};

static struct device_event *record(struct op_log *l, double ns)
{
    struct err e = {.text = ""};
    struct device_event *v = op_log_event(l, &e);

    assert_non_null(v);
    made_up_of(l->d)->ns = ns;
    event_record(l->d, v, NULL);
    return v;
}

/* Two minutes of operations of 12.385 us, one every 7.013 ms: from the beginning a float
 * would tell them to 8 us. A second is told to 60 ns, and so are the steps between. */
static void test_long_run(void **state)
{
    const double length_ns = 12385.0, step_ns = 7013e3, first_ns = 3e9;
    const struct op op = {.kind = OP_GATE, .lane = LANE_COMPUTE};
    struct made_up d = {.base = {&ops}, .ns = first_ns};
    struct err e = {.text = ""};
    struct op_log l;

    (void)state;
    op_log_init(&l, &d.base);
    assert_int_equal(op_log_zero(&l, NULL, &e), 0);
    for (int i = 1; i < 17000; i++) {
        struct op_logged *x = op_log_add(&l, &op);
        struct op_times t;

        x->start = record(&l, first_ns + i * step_ns);
        x->end = record(&l, first_ns + i * step_ns + length_ns);
        x->issued = SIM_TIME_MAX;
        assert_true(op_log_ended(&l, x));
        t = op_log_times(&l, x);
        if (fabs((double)(t.end - t.start) * 1e-3 - length_ns) > 125.0)
            fail_msg("operation %d took %g ns", i, (double)(t.end - t.start) * 1e-3);
        if (fabs((double)t.start * 1e-3 - i * step_ns) > 120 * 60.0)
            fail_msg("operation %d began %g ns off", i,
                     (double)t.start * 1e-3 - i * step_ns);
        op_log_forget(&l);
    }
    assert_true(d.events < 100);
    op_log_release(&l);
    assert_int_equal(d.events, 0);
}

/* Each record and each wait that times count from may fail: it is said, and no event is
 * lost. */
static void test_zero_fails(void **state)
{
    (void)state;
    for (int i = 1; i <= 18; i++) {
        for (int wait = 0; wait < 2; wait++) {
            struct made_up d = {.base = {&ops}};
            struct err e = {.text = ""};
            struct op_log l;
            int status;

            if (wait != 0)
                d.fail_wait = i;
            else
                d.fail_new = i;
            op_log_init(&l, &d.base);
            status = op_log_zero(&l, NULL, &e);
            /* Sixteen are tried; all but two share one event. */
            assert_int_equal(status, i <= (wait != 0 ? 16 : 2) ? -1 : 0);
            assert_string_equal(e.text, status == 0 ? ""
                                        : wait != 0 ? "the event is lost"
                                                    : "no event is left");
            op_log_release(&l);
            assert_int_equal(d.events, 0);
            assert_null(l.d);
        }
    }
}

/* More operations than the ring has room for at first, while some are forgotten: each is
 * found by its number, with what it was. */
static void test_ring_grows(void **state)
{
    enum { FIRST = 3333, COUNT = 5000, FORGOTTEN = 700 };
    struct made_up d = {.base = {&ops}};
    struct op_log l;

    (void)state;
    op_log_init(&l, &d.base);
    for (uint32_t i = 1; i < FIRST; i++) {
        (void)op_log_add(&l, &(struct op){.kind = OP_GATE});
        op_log_forget(&l);
    }
    assert_int_equal(l.room, 1024);
    for (uint32_t i = FIRST; i < FIRST + COUNT; i++) {
        struct op op = {.kind = i % 2 == 0 ? OP_COPY_IN : OP_GATE,
                        .lane = i % 2 == 0 ? LANE_COPY_IN : LANE_COMPUTE,
                        .layer = i};
        struct op_logged *x;

        if (i % 2 == 0)
            op.copy.expert = 2 * i;
        x = op_log_add(&l, &op);
        assert_null(x->start);
        assert_null(x->end);
        assert_ptr_equal(op_log_find(&l, i), x);
        if (i >= FIRST + COUNT - FORGOTTEN)
            op_log_forget(&l);
    }
    assert_int_equal(l.room, 8192);
    assert_int_equal(l.first, FIRST + FORGOTTEN);
    assert_null(op_log_find(&l, FIRST + FORGOTTEN - 1));
    assert_null(op_log_find(&l, FIRST + COUNT));
    for (uint32_t i = FIRST + FORGOTTEN; i < FIRST + COUNT; i++) {
        const struct op_logged *x = op_log_find(&l, i);

        assert_non_null(x);
        assert_int_equal(x->layer, i);
        assert_int_equal(x->expert, i % 2 == 0 ? 2 * i : 0);
        assert_int_equal(x->kind, i % 2 == 0 ? OP_COPY_IN : OP_GATE);
        assert_int_equal(x->lane, i % 2 == 0 ? LANE_COPY_IN : LANE_COMPUTE);
    }
    op_log_release(&l);
}

/* It has ended where nothing was enqueued, or its end was recorded and reached; events
 * that were given back are used again. */
static void test_ends(void **state)
{
    const struct op op = {.kind = OP_GATE, .lane = LANE_COMPUTE};
    struct made_up d = {.base = {&ops}, .ns = 1e9};
    struct err e = {.text = ""};
    struct device_event *again;
    struct op_logged *x;
    struct op_times t;
    struct op_log l;
    size_t events;

    (void)state;
    op_log_init(&l, &d.base);
    assert_int_equal(op_log_zero(&l, NULL, &e), 0);
    /* By the host's clock it is now, within an hour. */
    assert_true(op_log_now(&l) >= 0 && op_log_now(&l) < 3600 * SIM_TIME_PER_S);
    x = op_log_add(&l, &op);
    assert_true(op_log_ended(&l, x));
    x->pending = true;
    assert_false(op_log_ended(&l, x));
    x->pending = false;
    x->start = record(&l, 1e9 + 2e6);
    x->end = record(&l, 1e9 + 5e6);
    d.unreached = true;
    assert_false(op_log_ended(&l, x));
    d.unreached = false;
    assert_true(op_log_ended(&l, x));
    x->issued = 1000 * SIM_TIME_PER_US;
    t = op_log_times(&l, x);
    assert_true(t.issued == 1000 * SIM_TIME_PER_US && t.start == 2000 * SIM_TIME_PER_US &&
                t.end == 5000 * SIM_TIME_PER_US && !t.cancelled);
    x->issued = 3000 * SIM_TIME_PER_US;
    t = op_log_times(&l, x);
    assert_true(t.issued == 2000 * SIM_TIME_PER_US);
    events = d.events;
    op_log_forget(&l);
    assert_int_equal(l.spares, 2);
    op_log_give(&l, NULL);
    assert_int_equal(l.spares, 2);
    again = op_log_event(&l, &e);
    assert_non_null(again);
    assert_int_equal(d.events, events);
    assert_int_equal(l.spares, 1);
    op_log_give(&l, again);
    op_log_release(&l);
    assert_int_equal(d.events, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long_run), cmocka_unit_test(test_zero_fails),
        cmocka_unit_test(test_ring_grows), cmocka_unit_test(test_ends)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

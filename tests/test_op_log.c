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
};

static struct made_up *made_up_of(struct device *d)
{
    return (struct made_up *)d;
}

static struct device_event *event_new(struct device *d, struct err *e)
{
    (void)e;
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
    (void)d;
    (void)v;
    return true;
}

static int event_wait(struct device *d, struct device_event *v, struct err *e)
{
    (void)d;
    (void)v;
    (void)e;
    return 0;
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_long_run)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What every device promises but its kernels (test_device_kernels.c) and what it says of
 * failures (test_device_failures.c): opening, memory, streams, events, graphs. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "device_rig.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- opening ---- */

static void test_open(void **state)
{
    static const char *const wrong[] = {"",       "gpu",      "host:", ":0",
                                        "host:x", "host:0x",  "hosts", "host:-1",
                                        "cuda:",  "host:1000"};
    static const char *const absent[] = {"host:1", "host:999", "cuda:999"};
    struct device *d;
    bool missing;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct err e = {.text = ""};

        assert_int_equal(device_open(wrong[i], &d, &missing, &e), -1);
        assert_false(missing);
        assert_null(d);
        assert_non_null(strstr(e.text, "use host or cuda:N"));
    }
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++) {
        struct err e = {.text = ""};

        assert_int_equal(device_open(absent[i], &d, &missing, &e), -1);
        assert_true(missing);
        assert_null(d);
        assert_true(strlen(e.text) > 20);
    }
    for (int i = 0; i < 2; i++) {
        struct err e = {.text = ""};

        if (device_open(i == 0 ? "host" : "host:0", &d, &missing, &e) != 0)
            fail_msg("%s", e.text);
        assert_string_equal(d->ops->name, "host");
        device_close(d);
    }
    device_close(NULL);
}

static void check_info(struct rig *r)
{
    struct device_info i;

    r->o->info(r->d, &i);
    assert_true(strlen(i.name) > 0 && strlen(i.driver) > 0);
    assert_non_null(i.clocks);
    assert_true(i.processors > 0);
    assert_true(i.local_free_bytes > 0 && i.local_free_bytes <= i.local_bytes);
    assert_true(i.host_free_bytes > 0 && i.host_free_bytes <= i.host_bytes);
    assert_int_equal(r->o->element_bytes(r->d), i.element == DEVICE_F32 ? 4 : 2);
    (void)printf("%s: %s; %s; %s\n", r->o->name, i.name, i.driver, i.clocks);
}

static void test_info(void **state)
{
    (void)state;
    rig_each(check_info);
}

/* ---- memory ---- */

static void check_no_room(struct rig *r, enum device_memory kind, uint64_t bytes)
{
    struct err e = {.text = ""};
    char asked[32];
    void *p = &e;

    (void)snprintf(asked, sizeof asked, "%llu", (unsigned long long)bytes);
    assert_int_equal(r->o->mem_alloc(r->d, kind, (size_t)bytes, &p, &e), -1);
    assert_null(p);
    if (strstr(e.text, asked) == NULL)
        fail_msg("\"%s\" does not name %s", e.text, asked);
}

static void check_memory(struct rig *r)
{
    struct err e = {.text = ""};
    struct device_info before;
    struct device_info after;
    void *p;

    r->o->info(r->d, &before);
    check_no_room(r, DEVICE_MEMORY_LOCAL, before.local_bytes + 1);
    if (rig_is_host(r)) {
        check_no_room(r, DEVICE_MEMORY_PINNED, before.host_bytes + 1);
        check_no_room(r, DEVICE_MEMORY_PAGEABLE, before.host_bytes + 1);
        p = rig_alloc(r, DEVICE_MEMORY_LOCAL, 12345);
        r->o->info(r->d, &after);
        assert_int_equal(after.local_free_bytes, before.local_free_bytes - 12345);
        assert_int_equal(after.host_free_bytes, before.host_free_bytes);
        check_no_room(r, DEVICE_MEMORY_LOCAL, after.local_free_bytes + 1);
        assert_true(isnan(((float *)p)[3085]));
        r->o->mem_free(r->d, DEVICE_MEMORY_LOCAL, p);
    }
    p = rig_alloc(r, DEVICE_MEMORY_LOCAL, 0);
    r->o->mem_free(r->d, DEVICE_MEMORY_LOCAL, p);
    r->o->mem_free(r->d, DEVICE_MEMORY_LOCAL, NULL);
    r->o->info(r->d, &after);
    if (rig_is_host(r))
        assert_int_equal(after.local_free_bytes, before.local_free_bytes);
    /* What could not be had is not a failure of the device. */
    assert_int_equal(r->o->check(r->d, &e), 0);
}

static void test_memory(void **state)
{
    (void)state;
    rig_each(check_memory);
}

/* Bytes go from any kind of memory to any other and back to the test's own, in odd
 * numbers from odd places, and nothing beside them changes. */
static void check_kinds(struct rig *r)
{
    enum { BYTES = 1 << 16, FROM = 3, TO = 7, SIZE = 60001 };
    static uint8_t sent[BYTES];
    static uint8_t expected[BYTES];
    static uint8_t before[BYTES];

    memset(before, 0x5a, BYTES);
    for (int a = 0; a < DEVICE_MEMORIES; a++)
        for (int b = 0; b < DEVICE_MEMORIES; b++) {
            uint8_t *from = rig_alloc(r, (enum device_memory)a, BYTES);
            uint8_t *to = rig_alloc(r, (enum device_memory)b, BYTES);

            for (size_t i = 0; i < BYTES; i++)
                sent[i] = (uint8_t)rng_u64(&r->rng);
            memset(expected, 0x5a, BYTES);
            memcpy(expected + TO, sent + FROM, SIZE);
            r->o->copy(r->d, r->s, from, sent, BYTES);
            r->o->copy(r->d, r->s, to, before, BYTES);
            r->o->copy(r->d, r->s, to + TO, from + FROM, SIZE);
            r->o->copy(r->d, r->s, to, from, 0);
            rig_expect_bytes(r, to, expected, BYTES);
            r->o->mem_free(r->d, (enum device_memory)a, from);
            r->o->mem_free(r->d, (enum device_memory)b, to);
        }
}

static void test_kinds(void **state)
{
    (void)state;
    rig_each(check_kinds);
}

/* ---- streams ---- */

/* 1, doubled 20 times by adding it to itself, more calls than a queue has room for at
 * first. */
static void check_order(struct rig *r)
{
    const float one[] = {1, 2, 3};
    const float expected[] = {1 << 20, 2 << 20, 3 << 20};
    float *y = rig_send(r, one, 3);
    float *x = rig_send(r, one, 3);
    const float *again = rig_send(r, one, 3);
    const size_t bytes = 3 * r->o->element_bytes(r->d);

    r->o->spin(r->d, r->s, RIG_LONG_NS);
    for (int i = 0; i < 500; i++) {
        r->o->fill(r->d, r->s, x, 1, bytes);
        r->o->fill(r->d, r->s, y, 2, bytes);
    }
    r->o->copy(r->d, r->s, y, again, bytes);
    for (int i = 0; i < 20; i++) {
        r->o->copy(r->d, r->s, x, y, bytes);
        r->o->add(r->d, r->s, y, x, 3);
    }
    rig_expect(r, y, expected, 3);
}

static void test_order(void **state)
{
    (void)state;
    rig_each(check_order);
}

/* Random copies and fills of six buffers on three streams, each held until what it reads
 * was written and what it writes was read, against the same one after another. */
enum { BUFFERS = 6, STREAMS = 3, CALLS = 400, BUFFER_BYTES = 3001 };

struct buffer {
    uint8_t *on;
    struct device_event *written;
    struct device_event *read[STREAMS];
    int value; /* every byte of it */
};

static void random_call(struct rig *r, struct device_stream *const *streams,
                        struct buffer *buffers)
{
    struct buffer *to = &buffers[rng_below(&r->rng, BUFFERS)];
    struct buffer *from = &buffers[rng_below(&r->rng, BUFFERS)];
    const uint64_t which = rng_below(&r->rng, STREAMS);
    struct device_stream *s = streams[which];

    r->o->event_hold(r->d, to->written, s);
    for (int i = 0; i < STREAMS; i++)
        r->o->event_hold(r->d, to->read[i], s);
    if (from == to || rng_below(&r->rng, 4) == 0) {
        to->value = (int)rng_below(&r->rng, 256);
        r->o->fill(r->d, s, to->on, (uint8_t)to->value, BUFFER_BYTES);
    } else {
        r->o->event_hold(r->d, from->written, s);
        to->value = from->value;
        r->o->copy(r->d, s, to->on, from->on, BUFFER_BYTES);
        r->o->event_record(r->d, from->read[which], s);
    }
    if (rng_below(&r->rng, 8) == 0)
        r->o->spin(r->d, s, 2e4);
    r->o->event_record(r->d, to->written, s);
}

static void check_streams(struct rig *r)
{
    static uint8_t expected[BUFFER_BYTES];
    struct device_stream *const streams[STREAMS] = {r->s, rig_stream(r), rig_stream(r)};
    struct buffer buffers[BUFFERS];

    for (int i = 0; i < BUFFERS; i++) {
        buffers[i] =
            (struct buffer){.on = rig_alloc(r, DEVICE_MEMORY_LOCAL, BUFFER_BYTES),
                            .written = rig_event(r),
                            .value = i};
        for (int j = 0; j < STREAMS; j++)
            buffers[i].read[j] = rig_event(r);
        r->o->fill(r->d, r->s, buffers[i].on, (uint8_t)i, BUFFER_BYTES);
        r->o->event_record(r->d, buffers[i].written, r->s);
    }
    for (int i = 0; i < CALLS; i++)
        random_call(r, streams, buffers);
    for (int i = 0; i < STREAMS; i++)
        rig_finish(r, streams[i]);
    for (int i = 0; i < BUFFERS; i++) {
        memset(expected, buffers[i].value, BUFFER_BYTES);
        rig_expect_bytes(r, buffers[i].on, expected, BUFFER_BYTES);
    }
}

static void test_streams(void **state)
{
    (void)state;
    rig_each(check_streams);
}

/* ---- events ---- */

static void wait(struct rig *r, struct device_event *v)
{
    struct err e = {.text = ""};

    if (r->o->event_wait(r->d, v, &e) != 0)
        fail_msg("%s", e.text);
    assert_true(r->o->event_reached(r->d, v));
}

static void check_events(struct rig *r)
{
    struct device_event *v[3];
    double ab;
    double bc;
    bool early = false;

    for (int i = 0; i < 3; i++) {
        v[i] = rig_event(r);
        wait(r, v[i]); /* never recorded */
    }
    /* What takes a while is not over when it is enqueued; an emulated device may be
     * quick. */
    for (int i = 0; i < 20 && !early; i++) {
        r->o->spin(r->d, r->s, RIG_LONG_NS / 20);
        r->o->event_record(r->d, v[0], r->s);
        early = !r->o->event_reached(r->d, v[0]);
        wait(r, v[0]);
    }
    assert_true(early);
    r->o->event_hold(r->d, v[0], r->s);
    for (int i = 0; i < 3; i++) {
        r->o->event_record(r->d, v[i], r->s);
        r->o->spin(r->d, r->s, RIG_LONG_NS / 2);
    }
    wait(r, v[2]);
    assert_true(r->o->event_reached(r->d, v[0]) && r->o->event_reached(r->d, v[1]));
    ab = r->o->event_ns(r->d, v[0], v[1]);
    bc = r->o->event_ns(r->d, v[1], v[2]);
    assert_true(ab > RIG_LONG_NS / 4 && bc > RIG_LONG_NS / 4);
    /* A device's clock may tick in microseconds. */
    assert_true(fabs(r->o->event_ns(r->d, v[0], v[2]) - ab - bc) < 5e3);
    assert_true(fabs(r->o->event_ns(r->d, v[1], v[0]) + ab) < 5e3);
    for (int i = 0; i < 3; i++)
        r->o->event_free(r->d, v[i]);
    r->o->event_free(r->d, NULL);
    rig_finish(r, r->s);
}

static void test_events(void **state)
{
    (void)state;
    rig_each(check_events);
}

/* An event stands for its last record; who held for an earlier one waits for that. */
static void check_again(struct rig *r)
{
    struct device_stream *late = rig_stream(r);
    struct device_stream *held = rig_stream(r);
    struct device_event *v = rig_event(r);
    uint8_t *host = rig_alloc(r, DEVICE_MEMORY_PINNED, 3);
    uint8_t *x = rig_alloc(r, DEVICE_MEMORY_LOCAL, 1);

    r->o->fill(r->d, r->s, x, 17, 1);
    rig_finish(r, r->s);
    memset(host, 0, 3);
    r->o->event_record(r->d, v, r->s);
    r->o->spin(r->d, late, RIG_LONG_NS);
    r->o->copy(r->d, late, host, x, 1);
    r->o->event_record(r->d, v, late);
    r->o->event_hold(r->d, v, held);
    r->o->event_record(r->d, v, r->s); /* reached long before the one held for */
    r->o->copy(r->d, held, host + 1, host, 1);
    wait(r, v);
    r->o->event_record(r->d, v, held);
    wait(r, v);
    assert_int_equal(host[0], 17);
    assert_int_equal(host[1], 17);
    /* An event may go while its record is queued. */
    r->o->spin(r->d, late, RIG_LONG_NS / 10);
    r->o->event_record(r->d, v, late);
    r->o->event_hold(r->d, v, held);
    r->o->copy(r->d, held, host + 2, x, 1);
    r->o->event_free(r->d, v);
    rig_finish(r, held);
    assert_int_equal(host[2], 17);
}

static void test_again(void **state)
{
    (void)state;
    rig_each(check_again);
}

/* ---- graphs ---- */

struct layer {
    struct device_gemm gemm;
    struct device_group group;
    struct device_permute permute;
    void *sum;
};

/* A gemm, an expert group, a scatter that adds up: what is enqueued each time. */
static void enqueue_layer(struct rig *r, const struct layer *l)
{
    r->o->gemm(r->d, r->s, &l->gemm);
    r->o->gather(r->d, r->s, &l->permute, l->gemm.y, l->group.y);
    r->o->experts(r->d, r->s, &l->group);
    r->o->scatter(r->d, r->s, &l->permute, l->group.y, l->sum);
}

static void check_graph(struct rig *r)
{
    enum { ROWS = 5, HIDDEN = 24, INNER = 13 };
    static const uint32_t index[ROWS] = {3, 1, 4, 0, 2};
    static const uint32_t back[ROWS] = {3, 1, 4, 0, 2};
    static const float weight[ROWS] = {0.7F, -0.3F, 1.9F, 0.1F, 0.4F};
    const void *experts[2];
    uint32_t rows[2] = {4, 1};
    const size_t size = r->o->element_bytes(r->d);
    float *zero = rig_random(r, ROWS * HIDDEN, 0.0);
    struct layer l = {.gemm = {ROWS, HIDDEN, HIDDEN, 0, 0, 0},
                      .group = {{HIDDEN, INNER, 3}, 2, experts, rows, 0, 0, 0},
                      .permute = {ROWS, ROWS, 1, HIDDEN, 0, 0, 0}};
    struct err e = {.text = ""};
    struct device_graph *g;
    char direct[ROWS * HIDDEN * 4];

    for (int i = 0; i < 2; i++)
        experts[i] =
            rig_send(r, rig_random(r, 3 * HIDDEN * INNER, 0.5), 3 * HIDDEN * INNER);
    l.gemm.x = rig_send(r, rig_random(r, ROWS * HIDDEN, 1.0), ROWS * HIDDEN);
    l.gemm.w = rig_send(r, rig_random(r, HIDDEN * HIDDEN, 0.5), HIDDEN * HIDDEN);
    l.gemm.y = rig_send(r, zero, ROWS * HIDDEN);
    l.group.x = rig_send(r, rig_random(r, ROWS * HIDDEN, 1.0), ROWS * HIDDEN);
    l.group.y = rig_send(r, zero, ROWS * HIDDEN);
    l.group.work = rig_send(r, rig_blank(r, ROWS * 2 * INNER), ROWS * 2 * INNER);
    l.permute.row_token = rig_send_bytes(r, index, sizeof index);
    l.permute.token_row = rig_send_bytes(r, back, sizeof back);
    l.permute.token_weight = rig_send_bytes(r, weight, sizeof weight);
    l.sum = rig_send(r, zero, ROWS * HIDDEN);

    for (int i = 0; i < 3; i++)
        enqueue_layer(r, &l);
    r->o->copy(r->d, r->s, direct, l.sum, ROWS * HIDDEN * size);
    r->o->copy(r->d, r->s, l.sum, rig_send(r, zero, ROWS * HIDDEN), ROWS * HIDDEN * size);
    rig_finish(r, r->s);

    r->o->capture_begin(r->d, r->s);
    enqueue_layer(r, &l);
    g = r->o->capture_end(r->d, r->s, &e);
    if (g == NULL)
        fail_msg("%s", e.text);
    experts[0] = NULL; /* the graph has its own */
    rig_expect(r, l.sum, zero, ROWS * HIDDEN);
    for (int i = 0; i < 3; i++)
        r->o->graph_launch(r->d, r->s, g);
    rig_expect_bytes(r, l.sum, direct, ROWS * HIDDEN * size);
    r->o->graph_free(r->d, g);
    r->o->graph_free(r->d, NULL);
    rig_finish(r, r->s);
}

static void test_graph(void **state)
{
    (void)state;
    rig_each(check_graph);
}

/* A graph may hold and record: each launch does so anew. */
static void check_graph_events(struct rig *r)
{
    struct device_event *v = rig_event(r);
    struct device_event *first = rig_event(r);
    struct device_stream *other = rig_stream(r);
    uint8_t *host = rig_alloc(r, DEVICE_MEMORY_PINNED, 1);
    uint8_t *x = rig_alloc(r, DEVICE_MEMORY_LOCAL, 2);
    struct err e = {.text = ""};
    struct device_graph *inner;
    struct device_graph *outer = NULL;

    r->o->capture_begin(r->d, r->s);
    r->o->event_hold(r->d, first, r->s);
    r->o->copy(r->d, r->s, x + 1, x, 1);
    r->o->event_record(r->d, v, r->s);
    inner = r->o->capture_end(r->d, r->s, &e);
    if (inner == NULL)
        fail_msg("%s", e.text);
    if (rig_is_host(r)) { /* launched in a capture it is part of that; left, it goes with
                             the device */
        r->o->capture_begin(r->d, r->s);
        r->o->graph_launch(r->d, r->s, inner);
        outer = r->o->capture_end(r->d, r->s, &e);
        assert_non_null(outer);
    }
    for (int i = 0; i < 3; i++) {
        r->o->spin(r->d, other, RIG_LONG_NS / 5);
        r->o->fill(r->d, other, x, (uint8_t)(i + 1), 1);
        r->o->event_record(r->d, first, other);
        r->o->graph_launch(r->d, r->s, outer == NULL ? inner : outer);
        wait(r, v);
        assert_true(r->o->event_ns(r->d, first, v) >= 0.0);
        assert_true(r->o->event_reached(r->d, first));
        r->o->copy(r->d, r->s, host, x + 1, 1);
        rig_finish(r, r->s);
        assert_int_equal(*host, i + 1);
    }
    r->o->graph_free(r->d, inner);
}

static void test_graph_events(void **state)
{
    (void)state;
    rig_each(check_graph_events);
}

/* Graphs go in any order, and those that are left still run, and go with the device. */
static void check_many_graphs(struct rig *r)
{
    enum { GRAPHS = 4 };
    static const int orders[][GRAPHS] = {
        {0, 1, 2, 3}, {3, 2, 1, 0}, {1, 2, 0, 3}, {2, 0, 3, 1}, {1, 3, 2, 0}};
    uint8_t *host = rig_alloc(r, DEVICE_MEMORY_PINNED, GRAPHS);
    uint8_t *x = rig_alloc(r, DEVICE_MEMORY_LOCAL, GRAPHS);
    struct device_stream *other;
    struct device_graph *g[GRAPHS];
    struct err e = {.text = ""};

    for (size_t o = 0; o < sizeof orders / sizeof *orders; o++) {
        for (int i = 0; i < GRAPHS; i++) {
            r->o->capture_begin(r->d, r->s);
            r->o->fill(r->d, r->s, x + i, (uint8_t)(i + 1), 1);
            g[i] = r->o->capture_end(r->d, r->s, &e);
            assert_non_null(g[i]);
        }
        for (int freed = 0; freed < GRAPHS - (o == 4); freed++) {
            r->o->graph_free(r->d, g[orders[o][freed]]);
            r->o->fill(r->d, r->s, x, 0, GRAPHS);
            for (int i = freed + 1; i < GRAPHS; i++)
                r->o->graph_launch(r->d, r->s, g[orders[o][i]]);
            r->o->copy(r->d, r->s, host, x, GRAPHS);
            rig_finish(r, r->s);
            for (int i = 0; i < GRAPHS; i++)
                assert_int_equal(host[orders[o][i]], i > freed ? orders[o][i] + 1 : 0);
        }
    }
    if (!rig_is_host(r))
        return;
    /* What was never reached has no time; what failed is no graph. */
    assert_true(r->o->event_ns(r->d, rig_event(r), rig_event(r)) == 0.0);
    other = rig_stream(r);
    r->o->capture_begin(r->d, r->s);
    r->o->fill(r->d, other, NULL, 0, 1);
    assert_int_equal(r->o->stream_finish(r->d, other, &e), -1);
    e.text[0] = '\0';
    assert_null(r->o->capture_end(r->d, r->s, &e));
    assert_string_equal(e.text, "host: fill: a pointer is NULL");
}

static void test_many_graphs(void **state)
{
    (void)state;
    rig_each(check_many_graphs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),        cmocka_unit_test(test_info),
        cmocka_unit_test(test_memory),      cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_order),       cmocka_unit_test(test_streams),
        cmocka_unit_test(test_events),      cmocka_unit_test(test_again),
        cmocka_unit_test(test_graph),       cmocka_unit_test(test_graph_events),
        cmocka_unit_test(test_many_graphs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

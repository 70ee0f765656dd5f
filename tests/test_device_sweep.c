/* Every call of a device that can fail does so in turn: what is made for a run, and what
 * the benchmarks stand on, says so by its status, with the device's sentence. And weights
 * in the elements of a GPU, on a host that only pretends to have them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "device_rig.h"
#include "tiny_device.h"

#include "gpu/bench_rig.h"
#include "gpu/reference.h"
#include "sim/base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAID "made to fail"

/* ---- a device whose n-th call fails ---- */

static uint32_t calls, fail_at; /* 0: never */

static bool fails(struct err *e)
{
    if (++calls != fail_at)
        return false;
    (void)err_set(e, SAID);
    return true;
}

static int sweep_alloc(struct device *d, enum device_memory kind, size_t bytes, void **p,
                       struct err *e)
{
    return fails(e) ? -1 : device_host.mem_alloc(d, kind, bytes, p, e);
}

static struct device_stream *sweep_stream(struct device *d, int priority, struct err *e)
{
    return fails(e) ? NULL : device_host.stream_new(d, priority, e);
}

static int sweep_finish(struct device *d, struct device_stream *s, struct err *e)
{
    int status = device_host.stream_finish(d, s, e);

    return fails(e) ? -1 : status;
}

static struct device_event *sweep_event(struct device *d, struct err *e)
{
    return fails(e) ? NULL : device_host.event_new(d, e);
}

static int sweep_wait(struct device *d, struct device_event *v, struct err *e)
{
    int status = device_host.event_wait(d, v, e);

    return fails(e) ? -1 : status;
}

static struct device_graph *sweep_graph(struct device *d, struct device_stream *s,
                                        struct err *e)
{
    struct device_graph *g = device_host.capture_end(d, s, e);

    return fails(e) ? NULL : g;
}

static struct device *open_sweep(struct device_ops *ops)
{
    struct device *d = rig_open_host();

    *ops = device_host;
    ops->mem_alloc = sweep_alloc;
    ops->stream_new = sweep_stream;
    ops->stream_finish = sweep_finish;
    ops->event_new = sweep_event;
    ops->event_wait = sweep_wait;
    ops->capture_end = sweep_graph;
    d->ops = ops;
    return d;
}

static void close_sweep(struct device *d)
{
    fail_at = 0;
    d->ops = &device_host;
    device_close(d);
}

/* Does `what` again and again until none of its calls fails; how many there were. */
static uint32_t sweep(int (*what)(struct device *d, struct err *e))
{
    struct device_ops ops;
    struct device *d = open_sweep(&ops);
    uint32_t n = 0;
    int status;

    do {
        struct err e = {.text = ""};

        calls = 0;
        fail_at = ++n;
        status = what(d, &e);
        if (status != (calls >= n ? -1 : 0) ||
            strcmp(e.text, status == 0 ? "" : SAID) != 0)
            fail_msg("call %u of %u: %d, \"%s\"", n, calls, status, e.text);
    } while (status != 0);
    close_sweep(d);
    return n - 1;
}

/* ---- what is made for a run ---- */

static int make_streams(struct device *d, struct err *e)
{
    struct exec_device_streams s;

    return exec_device_streams_new(d, &s, e);
}

static struct weights_options little(const struct model *m)
{
    return (struct weights_options){
        .model = m, .seed = 4, .expert_budget_bytes = 1 << 20, .floats = true};
}

static int make_weights(struct device *d, struct err *e)
{
    struct model m = tiny_model();
    struct weights_options o = little(&m);
    struct weights *w = weights_new(d, &o, e);

    weights_free(w);
    return w == NULL ? -1 : 0;
}

/* Six streams. Of weights: a stream, the buffer that they are sent from, a piece for each
 * kind (attention, dense, shared, router, head, norm, table), one for the experts. */
static void test_what_a_run_needs(void **state)
{
    (void)state;
    assert_int_equal(sweep(make_streams), 6);
    assert_true(sweep(make_weights) > 2 + 7 + 1);
}

/* ---- elements of two bytes ---- */

static void info_in_halves(struct device *d, struct device_info *info)
{
    device_host.info(d, info);
    info->element = DEVICE_BF16;
}

static size_t two_bytes(const struct device *d)
{
    (void)d;
    return 2;
}

static int make_halves(struct device *d, struct err *e)
{
    ((struct device_ops *)(uintptr_t)d->ops)->info = info_in_halves;
    ((struct device_ops *)(uintptr_t)d->ops)->element_bytes = two_bytes;
    return make_weights(d, e);
}

static void test_elements_of_two_bytes(void **state)
{
    static const float x[] = {1.0F, -2.5F, 0x1.01p0F, 0x1.03p0F, 3e-3F};
    uint16_t half[5];
    float back[5], rounded[5];

    (void)state;
    reference_to_elements(DEVICE_BF16, x, half, 5);
    reference_of_elements(DEVICE_BF16, half, back, 5);
    memcpy(rounded, x, sizeof rounded);
    reference_round(DEVICE_BF16, rounded, 5);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(half[i], reference_bf16(x[i]));
        assert_true(back[i] == reference_of_bf16(half[i]));
        assert_true(back[i] == rounded[i]);
        assert_true(fabsf(back[i] - x[i]) <= 0x1p-8F * fabsf(x[i]));
    }
    assert_true(back[0] == 1.0F && back[2] == 1.0F && back[3] == 0x1.04p0F);
    memcpy(rounded, x, sizeof rounded);
    reference_round(DEVICE_F32, rounded, 5);
    assert_memory_equal(rounded, x, sizeof x);
}

/* An expert of 3 x 64 x 48 values: in two bytes each, and as floats of the same values. A
 * budget for five experts and a half makes five. */
static void test_weights_in_halves(void **state)
{
    enum { VALUES = 3 * 64 * 48 };
    struct model m = tiny_model();
    struct weights_options o = little(&m);
    struct err e = {.text = ""};
    struct device_ops ops;
    struct device *d = open_sweep(&ops);
    struct weights *w;
    const uint16_t *half;
    const float *floats;
    double square = 0.0;
    char *text;

    (void)state;
    ops.info = info_in_halves;
    ops.element_bytes = two_bytes;
    o.expert_budget_bytes = VALUES * (2 + 4) * 11 / 2;
    w = weights_new(d, &o, &e);
    assert_non_null(w);
    assert_int_equal(weights_expert_bytes(w), VALUES * 2);
    for (uint32_t layer = 0; layer < 3; layer++) {
        for (uint32_t id = 0; id < 8; id++) {
            uint32_t same = (layer * 8 + id) % 5;

            half = weights_expert(w, layer, id);
            floats = weights_expert_float(w, layer, id);
            assert_ptr_equal(half, weights_expert(w, 0, same));
            assert_ptr_equal(floats, weights_expert_float(w, 0, same));
            for (int i = 0; i < VALUES; i++)
                assert_true(floats[i] == reference_of_bf16(half[i]));
        }
    }
    /* A spread of 1 / sqrt(in): 64 of gate and up. */
    floats = weights_expert_float(w, 0, 1);
    for (int i = 0; i < 2 * 64 * 48; i++)
        square += (double)floats[i] * floats[i] / (2 * 64 * 48);
    assert_true(fabs(square * 64 - 1.0) < 0.05);
    text = weights_describe(w);
    assert_string_equal(text, "5 of 24 experts are distinct in host memory; the others "
                              "share their weights.");
    free(text);
    weights_free(w);
    close_sweep(d);
    /* The floats are one allocation more. */
    assert_int_equal(sweep(make_halves), sweep(make_weights) + 1);
}

/* Device memory for one set of each kind, and one more: half of what is left goes to each
 * of those that want two or more. */
static void test_what_is_shared_is_told(void **state)
{
    struct model m = tiny_model();
    struct weights_options o = little(&m);
    struct err e = {.text = ""};
    struct device_ops ops;
    struct device *d = open_sweep(&ops);
    struct weights *w;
    char *text;

    (void)state;
    o.dense_budget_bytes = 1;
    w = weights_new(d, &o, &e);
    assert_non_null(w);
    text = weights_describe(w);
    assert_string_equal(
        text, "1 of 4 attention blocks are distinct in device memory; the others share "
              "their weights. 1 of 3 shared FFNs are distinct in device memory; the "
              "others share their weights. 1 of 3 routers are distinct in device memory; "
              "the others share their weights.");
    assert_ptr_equal(weights_router(w, 0), weights_router(w, 2));
    free(text);
    weights_free(w);
    o.dense_budget_bytes = 0;
    w = weights_new(d, &o, &e);
    assert_non_null(w);
    text = weights_describe(w);
    assert_string_equal(text, "");
    assert_ptr_not_equal(weights_router(w, 0), weights_router(w, 2));
    free(text);
    weights_free(w);
    m.attention = MODEL_ATTENTION_MLA;
    m.kv_rank = 15;
    assert_null(weights_new(d, &o, &e));
    assert_string_equal(e.text, "latent attention is executed in its absorbed form only, "
                                "which needs a kv_rank (15) of at least head_dim (16)");
    close_sweep(d);
}

/* ---- how many there is room for ---- */

static uint64_t local_bytes[16];
static size_t locals;

static int note_alloc(struct device *d, enum device_memory kind, size_t bytes, void **p,
                      struct err *e)
{
    if (kind == DEVICE_MEMORY_LOCAL && locals < 16)
        local_bytes[locals++] = bytes;
    return device_host.mem_alloc(d, kind, bytes, p, e);
}

/* Bytes of one set of the tiny model's attention blocks, dense FFN, shared FFNs, routers,
 * head, norm and table, and how many want one. */
static const struct {
    uint64_t bytes;
    uint32_t wants;
} sets[] = {{(128 * 64 + 64 * 64) * 4, 4},
            {3 * 64 * 56 * 4, 1},
            {3 * 64 * 40 * 4, 3},
            {8 * 64 * 4, 3},
            {96 * 64 * 4, 1},
            {64 * 4, 1},
            {256 * 64 * 4, 1}};
enum { SETS = sizeof sets / sizeof *sets };

/* One set each and a share of what all others want: so many of 4, and of 3. */
static void test_room_is_shared(void **state)
{
    struct model m = tiny_model();
    struct weights_options o = little(&m);
    uint64_t single = 0, many = 0;
    struct device_ops ops;
    struct device *d = open_sweep(&ops);

    (void)state;
    ops.mem_alloc = note_alloc;
    for (int i = 0; i < SETS; i++) {
        single += sets[i].bytes;
        many += (sets[i].wants - 1) * sets[i].bytes;
    }
    {
        const struct {
            uint64_t budget;
            uint32_t of_four, of_three;
        } known[] = {{single - 1, 1, 1},
                     {single, 1, 1},
                     {single + many / 2 - 1, 2, 1},
                     {single + many / 2, 2, 2},
                     {single + many - 1, 3, 2},
                     {single + many, 4, 3}};

        for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
            struct err e = {.text = ""};
            struct weights *w;

            o.dense_budget_bytes = known[k].budget;
            locals = 0;
            w = weights_new(d, &o, &e);
            assert_non_null(w);
            assert_int_equal(locals, SETS);
            for (int i = 0; i < SETS; i++)
                assert_int_equal(local_bytes[i],
                                 sets[i].bytes * (sets[i].wants == 4   ? known[k].of_four
                                                  : sets[i].wants == 3 ? known[k].of_three
                                                                       : 1));
            weights_free(w);
        }
    }
    close_sweep(d);
}

/* Experts of 3 x 64 x 48 floats: all 24, one less, one at least. */
static void test_room_for_experts(void **state)
{
    const uint64_t expert = 3 * 64 * 48 * 4;
    const uint64_t budget[] = {24 * expert, 24 * expert - 1, expert - 1};
    const uint64_t images[] = {24, 23, 1};
    struct model m = tiny_model();
    struct weights_options o = little(&m);
    struct device_ops ops;
    struct device *d = open_sweep(&ops);

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct err e = {.text = ""};
        struct weights *w;
        char *text, wanted[128] = "";

        o.expert_budget_bytes = budget[i];
        w = weights_new(d, &o, &e);
        assert_non_null(w);
        text = weights_describe(w);
        if (i > 0)
            (void)snprintf(wanted, sizeof wanted,
                           "%d of 24 experts are distinct in host memory; the others "
                           "share their weights.",
                           (int)images[i]);
        assert_string_equal(text, wanted);
        for (uint32_t n = 0; n < 24; n++)
            assert_ptr_equal(weights_expert(w, n / 8, n % 8),
                             (const char *)weights_expert(w, 0, 0) +
                                 n % images[i] * expert);
        assert_ptr_equal(weights_expert_float(w, 2, 7), weights_expert(w, 2, 7));
        free(text);
        weights_free(w);
    }
    close_sweep(d);
}

/* GQA: queries and both kinds of 2 heads of 16, and output. MLA with heads of 16 + 8:
 * down to 32 + 8 and, of a query's rank of 24, up again; keys and values of 4 heads;
 * output. */
static void test_shapes_of_attention(void **state)
{
    struct weights_matrix shape[WEIGHTS_ATTENTION_MOST];
    struct model m = tiny_model();

    (void)state;
    assert_int_equal(weights_attention_shape(&m, shape), 2);
    assert_true(shape[0].out == 64 + 2 * 2 * 16 && shape[0].in == 64);
    assert_true(shape[1].out == 64 && shape[1].in == 64);
    m.attention = MODEL_ATTENTION_MLA;
    m.kv_rank = 32;
    m.rope_dim = 8;
    m.hidden = 80;
    assert_int_equal(weights_attention_shape(&m, shape), 3);
    assert_true(shape[0].out == 32 + 8 + 4 * (16 + 8) && shape[0].in == 80);
    assert_true(shape[1].out == 2 * 64 && shape[1].in == 32);
    assert_true(shape[2].out == 80 && shape[2].in == 64);
    m.q_rank = 24;
    assert_int_equal(weights_attention_shape(&m, shape), 4);
    assert_true(shape[0].out == 24 + 32 + 8 && shape[0].in == 80);
    assert_true(shape[1].out == 4 * (16 + 8) && shape[1].in == 24);
    assert_true(shape[2].out == 2 * 64 && shape[2].in == 32);
    assert_true(shape[3].out == 80 && shape[3].in == 64);
    assert_int_equal(weights_attentions(&m), 4);
    m.encoder_layers = 1;
    assert_int_equal(weights_attentions(&m), 4 + 3);
}

/* ---- benchmarks ---- */

static int open_rig(struct device *d, struct err *e)
{
    struct bench b;
    int status = bench_rig_open(&b, d, 1, true, e);
    uint32_t opening = calls;

    bench_rig_close(&b); /* which waits, too, for whatever comes of it */
    calls = opening;
    return status;
}

/* Two streams, four events, three kinds of memory and the end of filling them. */
static void test_rig(void **state)
{
    (void)state;
    assert_int_equal(sweep(open_rig), 2 + 4 + 3 + 1);
}

/* The first and smallest shape of a table: set up, run, checked. Where only the shape's
 * memory fails it is left out, which is status 1. */
static int run_first(struct bench *b, const struct device_bench *k, struct err *e)
{
    double seconds = 0.0;
    int status = k->setup(b, e);

    if (status == 0)
        status = bench_sample(b, k, &seconds, e);
    if (status == 0) {
        assert_true(seconds > 0.0);
        if (k->check != NULL)
            status = k->check(b, e);
    }
    if (k->end != NULL)
        k->end(b);
    free(b->state);
    b->state = NULL;
    bench_free_local(b);
    return status;
}

static void sweep_shape(struct bench *b, const struct device_bench *k,
                        const uint64_t *shape)
{
    uint32_t n = 0;
    int status;

    b->shape = shape;
    do {
        struct err e = {.text = ""};

        calls = 0;
        fail_at = ++n;
        status = run_first(b, k, &e);
        if ((status != 0) != (calls >= n) ||
            strcmp(e.text, status == -1 ? SAID : "") != 0)
            fail_msg("%s, call %u of %u: %d, \"%s\"", k->table->name, n, calls, status,
                     e.text);
    } while (status != 0);
    fail_at = 0;
    assert_true(n > 1);
}

/* The first shape, and that of each kind where a table has several. */
static void sweep_table(struct bench *b, const struct device_bench *k)
{
    struct bench_shapes shapes = {NULL, 0, 0};

    k->shapes(b, &shapes);
    assert_true(shapes.count > 0);
    for (size_t i = 0; i < shapes.count; i++) {
        size_t before = 0;

        while (before < i && shapes.value[before][0] != shapes.value[i][0])
            before++;
        if (i == 0 || (before == i && k->table->column[0].words != NULL))
            sweep_shape(b, k, shapes.value[i]);
    }
    free(shapes.value);
}

static void test_tables(void **state)
{
    static const struct device_bench *const all[] = {
        &bench_copy, &bench_chunks, &bench_duplex,    &bench_launch,
        &bench_move, &bench_gemm,   &bench_attention, &bench_experts};
    struct err e = {.text = ""};
    struct device_ops ops;
    struct device *d = open_sweep(&ops);
    struct bench b;

    (void)state;
    fail_at = 0;
    if (bench_rig_open(&b, d, 64 << 20, true, &e) != 0)
        fail_msg("%s", e.text);
    b.quick = true;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i]->can_run == NULL || all[i]->can_run(&b))
            sweep_table(&b, all[i]);
    bench_rig_close(&b);
    close_sweep(d);
}

/* What the device reads is part of what is checked: where its memory lost what was put
 * there, whatever it computes of the rest is wrong. */
static void test_lost_weights(void **state)
{
    static const struct device_bench *const all[] = {&bench_gemm, &bench_experts};
    struct err e = {.text = ""};
    struct device_ops ops;
    struct device *d = open_sweep(&ops);
    struct bench b;

    (void)state;
    fail_at = 0;
    if (bench_rig_open(&b, d, 64 << 20, true, &e) != 0)
        fail_msg("%s", e.text);
    b.quick = true;
    memset(b.pool[DEVICE_MEMORY_LOCAL], 0, b.pool_bytes);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct bench_shapes shapes = {NULL, 0, 0};

        all[i]->shapes(&b, &shapes);
        b.shape = shapes.value[0];
        e.text[0] = '\0';
        assert_int_equal(run_first(&b, all[i], &e), -1);
        assert_non_null(strstr(e.text, "computes wrongly"));
        free(shapes.value);
    }
    bench_rig_close(&b);
    close_sweep(d);
}

/* What a device computes is compared: 1e-5 of the largest value may be off. */
static void test_expectations(void **state)
{
    static const float right[] = {100.0F, 1.0F, -3.0F};
    float got[3];
    uint16_t half[3];
    struct err e = {.text = ""};
    struct device_ops ops;
    struct device *d = open_sweep(&ops);
    struct bench b;

    (void)state;
    fail_at = 0;
    assert_int_equal(bench_rig_open(&b, d, 1, false, &e), 0);
    memcpy(got, right, sizeof got);
    got[1] = 1.0F + 0.9e-3F;
    assert_int_equal(bench_expect(&b, got, right, 3, &e), 0);
    got[1] = 1.25F;
    assert_int_equal(bench_expect(&b, got, right, 3, &e), -1);
    assert_string_equal(e.text, "host: the device computes wrongly: off by 0.0025 of the "
                                "largest value, where 1e-05 is allowed; nothing was "
                                "written");
    e.text[0] = '\0';
    got[1] = NAN;
    assert_int_equal(bench_expect(&b, got, right, 3, &e), -1);
    e.text[0] = '\0';
    calls = 0;
    fail_at = 1;
    assert_int_equal(bench_expect(&b, right, right, 3, &e), -1);
    assert_string_equal(e.text, SAID);
    fail_at = 0;
    /* 1e-2 in elements of two bytes. */
    b.info.element = DEVICE_BF16;
    b.element = 2;
    reference_to_elements(DEVICE_BF16, (const float[]){100.0F, 1.984375F, -3.0F}, half,
                          3);
    e.text[0] = '\0';
    assert_int_equal(bench_expect(&b, half, right, 3, &e), 0);
    reference_to_elements(DEVICE_BF16, (const float[]){100.0F, 2.03125F, -3.0F}, half, 3);
    assert_int_equal(bench_expect(&b, half, right, 3, &e), -1);
    bench_rig_close(&b);
    close_sweep(d);
}

/* A clock that stands still is no measurement. */
static int stand_still(struct bench *b, double *seconds, struct err *e)
{
    (void)b, (void)e;
    *seconds = 0.0;
    return 0;
}

static void test_no_time_at_all(void **state)
{
    const struct device_bench k = {.table = &samples_gemm, .run = stand_still};
    struct err e = {.text = ""};
    double seconds;

    (void)state;
    assert_int_equal(bench_sample(NULL, &k, &seconds, &e), -1);
    assert_string_equal(e.text, "gemm: a sample took 0 s by the device's clock; measure "
                                "the machine when it is at rest");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_a_run_needs),
        cmocka_unit_test(test_elements_of_two_bytes),
        cmocka_unit_test(test_weights_in_halves),
        cmocka_unit_test(test_what_is_shared_is_told),
        cmocka_unit_test(test_room_is_shared),
        cmocka_unit_test(test_room_for_experts),
        cmocka_unit_test(test_shapes_of_attention),
        cmocka_unit_test(test_rig),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_lost_weights),
        cmocka_unit_test(test_expectations),
        cmocka_unit_test(test_no_time_at_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

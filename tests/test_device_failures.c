/* What every device does once something failed, which arguments the host finds wrong, and
 * what closing does. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "device_rig.h"

#include <string.h>

/* After the first failure nothing is done, everything that waits says so, and a stream
 * that was held for the failed one ends. */
static void check_failure(struct rig *r)
{
    struct device_stream *held = rig_stream(r);
    struct device_event *v = rig_event(r);
    struct device_event *w = rig_event(r);
    uint8_t *host = rig_alloc(r, DEVICE_MEMORY_PINNED, 64);
    uint8_t *x = rig_alloc(r, DEVICE_MEMORY_LOCAL, 64);
    struct err first = {.text = ""};
    struct err e = {.text = ""};

    memset(host, 1, 64);
    r->o->fill(r->d, r->s, x, 2, 64);
    rig_finish(r, r->s);
    r->o->spin(r->d, r->s, RIG_LONG_NS);
    r->o->copy(r->d, r->s, NULL, x, 64);
    r->o->event_record(r->d, v, r->s);
    r->o->event_hold(r->d, v, held);
    r->o->copy(r->d, held, host, x, 64);
    r->o->event_record(r->d, w, held);
    assert_int_equal(r->o->event_wait(r->d, w, &first), -1);
    assert_true(strlen(first.text) > 10);
    assert_true(r->o->event_reached(r->d, v) && r->o->event_reached(r->d, w));
    assert_int_equal(host[0], 1);
    r->o->fill(r->d, r->s, NULL, 0, 9);
    assert_int_equal(r->o->stream_finish(r->d, r->s, &e), -1);
    assert_string_equal(e.text, first.text);
    e.text[0] = '\0';
    assert_int_equal(r->o->stream_finish(r->d, held, &e), -1);
    assert_int_equal(r->o->event_wait(r->d, v, &e), -1);
    e.text[0] = '\0';
    assert_int_equal(r->o->check(r->d, &e), -1);
    assert_string_equal(e.text, first.text);
    r->o->mem_free(r->d, DEVICE_MEMORY_LOCAL, x);
}

static void test_failure(void **state)
{
    (void)state;
    rig_each(check_failure);
}

/* What the host finds in arguments and in indices of device memory, each on a device of
 * its own. */
static void enqueue_wrong(struct rig *r, int which, void *p)
{
    static const char zeros[64];
    uint32_t *index = rig_send_bytes(r, (const uint32_t[]){0, 7}, 8);
    const void *weight[] = {p};
    uint32_t rows[] = {1};
    struct device_permute permute = {2, 2, 1, 1, index, index, p};
    struct device_attention a = {1, 2, 1, 1, 1, p, p, p, p, index, 4, p};
    struct device_group g = {{2, 2, 3}, 1, weight, rows, p, p, p};

    r->o->copy(r->d, r->s, p, zeros, sizeof zeros);
    switch (which) {
    case 0:
        r->o->gather(r->d, r->s, &permute, p, p);
        break;
    case 1:
        r->o->scatter(r->d, r->s, &permute, p, p);
        break;
    case 2:
        r->o->attention(r->d, r->s, &a);
        break;
    case 3:
        a.length = index + 1;
        r->o->attention(r->d, r->s, &a);
        break;
    case 4:
        a.kv_heads = 3;
        r->o->attention(r->d, r->s, &a);
        break;
    case 5:
        g.ffn.matrices = 4;
        r->o->experts(r->d, r->s, &g);
        break;
    case 6:
        weight[0] = NULL;
        r->o->experts(r->d, r->s, &g);
        break;
    case 7:
        r->o->fill(r->d, r->s, NULL, 1, 1);
        break;
    case 8:
        a.key_dim = UINT32_MAX;
        r->o->attention(r->d, r->s, &a);
        break;
    case 9:
        a.value_dim = UINT32_MAX;
        r->o->attention(r->d, r->s, &a);
        break;
    default:
        r->o->gemm(r->d, r->s, &(struct device_gemm){1, UINT32_MAX, 1, p, p, p});
        break;
    }
}

static int wrong_one;

static void check_wrong(struct rig *r)
{
    static const char *const said[] = {"row 1 is of token 7, but there are 2",
                                       "token 1 has row 7, but there are 2",
                                       "row 0 has a length of 0, not 1 to 4",
                                       "row 0 has a length of 7, not 1 to 4",
                                       "2 heads do not share 3 key/value heads",
                                       "4 matrices",
                                       "experts: a pointer is NULL",
                                       "fill: a pointer is NULL",
                                       "attention: a dimension of 4294967295 is beyond",
                                       "attention: a dimension of 4294967295 is beyond",
                                       "a dimension of 4294967295 is beyond"};
    struct err e = {.text = ""};

    if (!rig_is_host(r))
        return;
    enqueue_wrong(r, wrong_one, rig_alloc(r, DEVICE_MEMORY_LOCAL, 64));
    assert_int_equal(r->o->stream_finish(r->d, r->s, &e), -1);
    if (strstr(e.text, said[wrong_one]) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", e.text, said[wrong_one]);
}

static void test_wrong(void **state)
{
    (void)state;
    for (wrong_one = 0; wrong_one < 11; wrong_one++)
        rig_each(check_wrong);
}

/* Each argument of a product, and of a copy, wrong alone. */
static void check_wrong_alone(struct rig *r)
{
    const uint32_t large = UINT32_MAX;
    void *p = rig_alloc(r, DEVICE_MEMORY_LOCAL, 64);
    const struct device_gemm wrong[] = {{large, 1, 1, p, p, p}, {1, large, 1, p, p, p},
                                        {1, 1, large, p, p, p}, {1, 1, 1, NULL, p, p},
                                        {1, 1, 1, p, NULL, p},  {1, 1, 1, p, p, NULL}};
    struct err e = {.text = ""};

    if (!rig_is_host(r))
        return;
    if (wrong_one < 6)
        r->o->gemm(r->d, r->s, &wrong[wrong_one]);
    else
        r->o->copy(r->d, r->s, wrong_one == 6 ? NULL : p, wrong_one == 6 ? p : NULL, 1);
    assert_int_equal(r->o->stream_finish(r->d, r->s, &e), -1);
    assert_string_equal(e.text, wrong_one < 3
                                    ? "host: gemm: a dimension of 4294967295 is "
                                      "beyond OpenBLAS's 2^31"
                                : wrong_one < 6 ? "host: gemm: a pointer is NULL"
                                                : "host: copy: a pointer is NULL");
}

static void test_wrong_alone(void **state)
{
    (void)state;
    for (wrong_one = 0; wrong_one < 8; wrong_one++)
        rig_each(check_wrong_alone);
}

static uint8_t copied[2]; /* on the host, before closing and by closing */

/* Closing the host waits for what is enqueued, and frees what was not. */
static void check_close(struct rig *r)
{
    struct device_stream *other = rig_stream(r);
    struct device_event *v = rig_event(r);
    uint8_t *x = rig_alloc(r, DEVICE_MEMORY_LOCAL, 1);

    r->o->fill(r->d, r->s, x, 9, 1);
    r->o->copy(r->d, r->s, &copied[0], x, 1);
    rig_finish(r, r->s);
    if (!rig_is_host(r))
        return;
    r->o->spin(r->d, r->s, RIG_LONG_NS);
    r->o->event_record(r->d, v, r->s);
    r->o->event_hold(r->d, v, other);
    r->o->copy(r->d, other, &copied[1], x, 1);
    r->o->capture_begin(r->d, r->s);
    r->o->gemm(r->d, r->s, &(struct device_gemm){1, 1, 1, x, x, x});
}

static void test_close(void **state)
{
    (void)state;
    rig_each(check_close);
    assert_int_equal(copied[0], 9);
    assert_int_equal(copied[1], 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failure),
        cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_wrong_alone),
        cmocka_unit_test(test_close),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "device_rig.h"
#include "gpu/reference.h"
#include "sim/base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 13 };

void rig_each(void (*check)(struct rig *r))
{
    for (size_t i = 0; i < device_count; i++) {
        struct rig r = {.o = device_all[i], .rng = rng_stream(7, "device", i)};
        struct device_info info;
        struct err e = {.text = ""};

        if (r.o->count(&e) == 0) {
            (void)printf("skip %s: %s\n", r.o->name, e.text);
            continue;
        }
        (void)printf("device %s\n", r.o->name);
        r.d = r.o->open(0, &e);
        if (r.d == NULL)
            fail_msg("%s", e.text);
        r.o->info(r.d, &info);
        r.type = info.element;
        r.s = rig_stream(&r);
        check(&r);
        device_close(r.d);
        while (r.owns > 0)
            free(r.owned[--r.owns]);
    }
}

struct device *rig_open_host(void)
{
    struct err e = {.text = ""};
    struct device *d;
    bool missing;

    if (device_open("host", &d, &missing, &e) != 0) {
        print_message("skip: %s\n", e.text);
        skip();
    }
    return d;
}

bool rig_is_host(const struct rig *r)
{
    return r->o == &device_host;
}

static void *own(struct rig *r, void *p)
{
    assert_true(r->owns < sizeof r->owned / sizeof r->owned[0]);
    return r->owned[r->owns++] = p;
}

float *rig_random(struct rig *r, size_t count, double scale)
{
    float *x = own(r, mem_alloc(count, sizeof *x));

    for (size_t i = 0; i < count; i++)
        x[i] = (float)(scale * (2.0 * rng_unit(&r->rng) - 1.0));
    reference_round(r->type, x, count);
    return x;
}

static void blank(struct rig *r, float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] = 2.385F;
    reference_round(r->type, x, count);
}

float *rig_blank(struct rig *r, size_t count)
{
    float *x = own(r, mem_alloc(count, sizeof *x));

    blank(r, x, count);
    return x;
}

void *rig_alloc(struct rig *r, enum device_memory kind, size_t bytes)
{
    struct err e = {.text = ""};
    void *p;

    if (r->o->mem_alloc(r->d, kind, bytes, &p, &e) != 0)
        fail_msg("%s", e.text);
    return p;
}

struct device_stream *rig_stream(struct rig *r)
{
    struct err e = {.text = ""};
    struct device_stream *s = r->o->stream_new(r->d, 0, &e);

    if (s == NULL)
        fail_msg("%s", e.text);
    return s;
}

struct device_event *rig_event(struct rig *r)
{
    struct err e = {.text = ""};
    struct device_event *v = r->o->event_new(r->d, &e);

    if (v == NULL)
        fail_msg("%s", e.text);
    return v;
}

void rig_finish(struct rig *r, struct device_stream *s)
{
    struct err e = {.text = ""};

    if (r->o->stream_finish(r->d, s, &e) != 0)
        fail_msg("%s", e.text);
}

void *rig_send_bytes(struct rig *r, const void *x, size_t bytes)
{
    void *p = rig_alloc(r, DEVICE_MEMORY_LOCAL, bytes);

    r->o->copy(r->d, r->s, p, x, bytes);
    rig_finish(r, r->s);
    return p;
}

void *rig_send(struct rig *r, const float *x, size_t count)
{
    const size_t size = r->o->element_bytes(r->d);
    float *guarded = mem_alloc(count + GUARD, sizeof *guarded);
    void *elements = mem_alloc(count + GUARD, size);
    void *p;

    memcpy(guarded, x, count * sizeof *x);
    blank(r, guarded + count, GUARD);
    reference_to_elements(r->type, guarded, elements, count + GUARD);
    p = rig_send_bytes(r, elements, (count + GUARD) * size);
    free(elements);
    free(guarded);
    return p;
}

static void compare(const float *got, const float *expected, size_t count, double most)
{
    double largest = 0.0;
    size_t wrong = 0;
    size_t first = 0;

    for (size_t i = 0; i < count; i++)
        largest = fmax(largest, fabs(expected[i]));
    for (size_t i = count; i-- > 0;)
        if (!(fabs((double)got[i] - expected[i]) <= most * largest)) {
            wrong++;
            first = i;
        }
    if (wrong > 0)
        fail_msg("%zu of %zu values are wrong, the first at %zu: %g, not %g (largest %g)",
                 wrong, count, first, (double)got[first], (double)expected[first],
                 largest);
}

void rig_expect(struct rig *r, const void *device, const float *expected, size_t count)
{
    const size_t size = r->o->element_bytes(r->d);
    void *elements = mem_alloc(count + GUARD, size);
    float *got = mem_alloc(count + GUARD, sizeof *got);
    float guard[GUARD];

    rig_finish(r, r->s);
    r->o->copy(r->d, r->s, elements, device, (count + GUARD) * size);
    rig_finish(r, r->s);
    reference_of_elements(r->type, elements, got, count + GUARD);
    free(elements);
    compare(got, expected, count, r->type == DEVICE_F32 ? 1e-5 : 1e-2);
    blank(r, guard, GUARD);
    compare(got + count, guard, GUARD, 0.0);
    free(got);
}

void rig_expect_bytes(struct rig *r, const void *device, const void *expected,
                      size_t bytes)
{
    void *got = mem_alloc(bytes, 1);

    r->o->copy(r->d, r->s, got, device, bytes);
    rig_finish(r, r->s);
    assert_memory_equal(got, expected, bytes);
    free(got);
}

struct device_attention rig_attention_of(struct rig *r, struct device_attention shape,
                                         size_t tokens, const uint64_t *first,
                                         const uint32_t *length, const float **expected)
{
    struct device_attention a = shape;
    struct device_attention on;
    const size_t q_count = (size_t)a.rows * a.heads * a.key_dim;
    const size_t key_count = (size_t)tokens * a.kv_heads * a.key_dim;
    const size_t value_count = (size_t)tokens * a.kv_heads * a.value_dim;
    const size_t out_count = rig_attention_outputs(&a);

    a.longest = 0;
    for (uint32_t i = 0; i < a.rows; i++) {
        a.longest = length[i] > a.longest ? length[i] : a.longest;
        assert_true(first[i] + length[i] <= tokens);
    }
    on = a;
    a.q = rig_random(r, q_count, 3.0);
    a.keys = rig_random(r, key_count, 1.5);
    a.values = rig_random(r, value_count, 2.0);
    a.out = rig_blank(r, out_count);
    a.first = first;
    a.length = length;
    on.q = rig_send(r, a.q, q_count);
    on.keys = rig_send(r, a.keys, key_count);
    on.values = rig_send(r, a.values, value_count);
    on.out = rig_send(r, a.out, out_count);
    on.first = rig_send_bytes(r, first, a.rows * sizeof *first);
    on.length = rig_send_bytes(r, length, a.rows * sizeof *length);
    reference_attention(&a);
    *expected = a.out;
    return on;
}

void rig_attention(struct rig *r, struct device_attention shape, size_t tokens,
                   const uint64_t *first, const uint32_t *length)
{
    const float *expected;
    struct device_attention on =
        rig_attention_of(r, shape, tokens, first, length, &expected);

    r->o->attention(r->d, r->s, &on);
    rig_expect(r, on.out, expected, rig_attention_outputs(&on));
}

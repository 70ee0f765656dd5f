/* What the micro-benchmarks stand on: streams, events, and pools of memory with a known
 * pattern. */
#include "bench_rig.h"

#include "reference.h"
#include "sim/base/mem.h"
#include "sim/base/rng.h"
#include "sim/base/units.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ALIGNMENT = 256 };

/* ---- what the benchmarks use ---- */

double bench_now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void bench_add_shape(struct bench_shapes *list, const uint64_t *value, size_t values)
{
    assert(values <= SAMPLES_COLUMNS);
    if (list->count == list->room) {
        list->room = 2 * list->room + 64;
        list->value = mem_resize(list->value, list->room, sizeof *list->value);
    }
    memcpy(list->value[list->count++], value, values * sizeof *value);
}

size_t bench_take(struct bench *b, size_t bytes)
{
    const size_t padded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    size_t offset;

    assert(bytes <= b->pool_bytes);
    if (b->pool_bytes - b->cursor < bytes)
        b->cursor = 0;
    offset = b->cursor;
    b->cursor = padded < b->pool_bytes - offset ? offset + padded : 0;
    return offset;
}

float *bench_pattern(const struct bench *b, size_t first, size_t count)
{
    float *x = mem_alloc(count, sizeof *x);

    for (size_t i = 0; i < count; i++)
        x[i] = b->pattern[(first + i) % BENCH_PATTERN];
    return x;
}

/* Copies the pattern from its first element on, again and again. */
static void spread_pattern(struct bench *b, char *to, size_t bytes)
{
    const size_t step = BENCH_PATTERN * b->element;

    for (size_t done = 0; done < bytes; done += step)
        b->o->copy(b->d, b->s, to + done, b->pool[DEVICE_MEMORY_PINNED],
                   bytes - done < step ? bytes - done : step);
}

int bench_local(struct bench *b, size_t bytes, void **p, struct err *e)
{
    struct err ignored = {.text = ""};

    assert(b->owns < sizeof b->owned / sizeof *b->owned);
    if (b->o->mem_alloc(b->d, DEVICE_MEMORY_LOCAL, bytes, p, &ignored) != 0)
        return 1;
    b->owned[b->owns++] = *p;
    spread_pattern(b, *p, bytes);
    return b->o->stream_finish(b->d, b->s, e);
}

int bench_send(struct bench *b, const void *x, size_t bytes, void **p, struct err *e)
{
    int status = bench_local(b, bytes, p, e);

    if (status != 0)
        return status;
    b->o->copy(b->d, b->s, *p, x, bytes);
    return b->o->stream_finish(b->d, b->s, e);
}

int bench_permute(struct bench *b, struct device_permute *p, struct err *e)
{
    const size_t places = (size_t)p->tokens * p->top_k;
    uint32_t *row_token = mem_alloc(p->rows, sizeof *row_token);
    uint32_t *token_row = mem_alloc(places, sizeof *token_row);
    float *weight = mem_alloc(places, sizeof *weight);
    void *list[3] = {NULL};
    int status;

    for (size_t i = 0; i < places; i++) {
        token_row[i] = UINT32_MAX;
        weight[i] = 0.5F;
    }
    for (uint32_t r = 0; r < p->rows; r++) {
        row_token[r] = r % p->tokens;
        token_row[(size_t)(r % p->tokens) * p->top_k + r / p->tokens] = r;
    }
    status = bench_send(b, row_token, p->rows * sizeof *row_token, &list[0], e);
    if (status == 0)
        status = bench_send(b, token_row, places * sizeof *token_row, &list[1], e);
    if (status == 0)
        status = bench_send(b, weight, places * sizeof *weight, &list[2], e);
    free(row_token);
    free(token_row);
    free(weight);
    p->row_token = list[0];
    p->token_row = list[1];
    p->token_weight = list[2];
    return status;
}

void bench_begin(struct bench *b)
{
    /* Longer than enqueuing takes. */
    const double spin_ns = 1e5;

    b->o->spin(b->d, b->s, spin_ns);
    b->o->event_record(b->d, b->event[0], b->s);
}

int bench_finish(struct bench *b, double *seconds, struct err *e)
{
    b->o->event_record(b->d, b->event[1], b->s);
    if (b->o->event_wait(b->d, b->event[1], e) != 0)
        return -1;
    *seconds = b->o->event_ns(b->d, b->event[0], b->event[1]) * 1e-9;
    return 0;
}

int bench_sample(struct bench *b, const struct device_bench *k, double *seconds,
                 struct err *e)
{
    *seconds = 0.0;
    if (k->run(b, seconds, e) != 0)
        return -1;
    if (!(*seconds > 0.0))
        return err_set(
            e,
            "%s: a sample took %g s by the device's clock; measure the machine "
            "when it is at rest",
            k->table->name, *seconds);
    return 0;
}

void bench_free_local(struct bench *b)
{
    while (b->owns > 0)
        b->o->mem_free(b->d, DEVICE_MEMORY_LOCAL, b->owned[--b->owns]);
}

int bench_expect(struct bench *b, const void *device, const float *expected, size_t count,
                 struct err *e)
{
    const double most = b->info.element == DEVICE_F32 ? 1e-5 : 1e-2;
    void *elements = mem_alloc(count, b->element);
    float *got = mem_alloc(count, sizeof *got);
    double largest = 0.0, wrong = 0.0;
    int status;

    b->o->copy(b->d, b->s, elements, device, count * b->element);
    status = b->o->stream_finish(b->d, b->s, e);
    if (status == 0)
        reference_of_elements(b->info.element, elements, got, count);
    for (size_t i = 0; i < count && status == 0; i++) {
        double error = fabs((double)got[i] - expected[i]);

        largest = fmax(largest, fabs((double)expected[i]));
        /* A NaN is wrong, too. */
        wrong = error >= 0.0 ? fmax(wrong, error) : INFINITY;
    }
    free(elements);
    free(got);
    if (status == 0 && !(wrong <= most * largest))
        return err_set(e,
                       "%s: the device computes wrongly: off by %.2g of the largest "
                       "value, where %.0e is allowed; nothing was written",
                       b->o->name, wrong / largest, most);
    return status;
}

/* ---- the rig ---- */

/* Who gives up between a launch and its wait leaves work behind. */
static void let_end(struct bench *b, struct device_stream *s)
{
    struct err ignored = {.text = ""};

    if (s != NULL)
        (void)b->o->stream_finish(b->d, s, &ignored);
}

void bench_rig_close(struct bench *b)
{
    let_end(b, b->s);
    let_end(b, b->other);
    device_close(b->cpu); /* which lets its work end */
    bench_free_local(b);
    for (int k = 0; k < DEVICE_MEMORIES; k++)
        if (b->pool[k] != NULL)
            b->o->mem_free(b->d, (enum device_memory)k, b->pool[k]);
    for (size_t i = 0; i < sizeof b->event / sizeof *b->event; i++)
        if (b->event[i] != NULL)
            b->o->event_free(b->d, b->event[i]);
    free(b->pattern);
}

/* The first BENCH_PATTERN elements of the pinned pool by the host, the rest as copies. */
static int rig_fill(struct bench *b, struct err *e)
{
    struct rng r = rng_stream(1, "bench", 0);

    b->pattern = mem_alloc(BENCH_PATTERN, sizeof *b->pattern);
    for (size_t i = 0; i < BENCH_PATTERN; i++)
        b->pattern[i] = (float)(0.1 * rng_unit(&r) - 0.05);
    reference_round(b->info.element, b->pattern, BENCH_PATTERN);
    reference_to_elements(b->info.element, b->pattern, b->pool[DEVICE_MEMORY_PINNED],
                          BENCH_PATTERN);
    for (int k = DEVICE_MEMORIES; k-- > 0;)
        for (size_t at = 0; at < b->pool_bytes; at += BENCH_PATTERN * b->element)
            if (b->pool[k] != NULL && (k != DEVICE_MEMORY_PINNED || at > 0))
                b->o->copy(b->d, b->s, b->pool[k] + at, b->pool[DEVICE_MEMORY_PINNED],
                           BENCH_PATTERN * b->element);
    return b->o->stream_finish(b->d, b->s, e);
}

/* The host's processors but one, which launches. */
static int rig_open_cpu(struct bench *b, struct err *e)
{
    struct device_info info;
    bool missing;
    void *p;

    if (device_open("host", &b->cpu, &missing, e) != 0)
        return -1;
    b->cpu->ops->info(b->cpu, &info);
    do {
        b->worker[b->workers] = b->cpu->ops->stream_new(b->cpu, 0, e);
        if (b->worker[b->workers] == NULL)
            return -1;
    } while (++b->workers + 1 < info.processors && b->workers < BENCH_WORKERS);
    if (b->cpu->ops->mem_alloc(b->cpu, DEVICE_MEMORY_LOCAL, b->pool_bytes, &p, e) != 0)
        return -1;
    b->cpu_pool = p;
    for (size_t at = 0; at < b->pool_bytes; at += BENCH_PATTERN * sizeof(float))
        b->cpu->ops->copy(b->cpu, b->worker[0], b->cpu_pool + at, b->pattern,
                          BENCH_PATTERN * sizeof(float));
    return b->cpu->ops->stream_finish(b->cpu, b->worker[0], e);
}

static size_t choose_pool(const struct bench *b, uint64_t bytes)
{
    const size_t step = BENCH_PATTERN * sizeof(float);
    const uint64_t least = b->info.local_free_bytes < b->info.host_free_bytes
                               ? b->info.local_free_bytes
                               : b->info.host_free_bytes;

    if (bytes > least / 4)
        bytes = least / 4;
    return bytes < step ? step : (size_t)(bytes / step * step);
}

int bench_rig_open(struct bench *b, struct device *d, uint64_t pool_bytes, bool whole,
                   struct err *e)
{
    *b = (struct bench){.d = d, .o = d->ops};
    b->o->info(d, &b->info);
    b->element = b->o->element_bytes(d);
    b->pool_bytes = choose_pool(b, pool_bytes);
    b->s = b->o->stream_new(d, 0, e);
    b->other = b->s == NULL ? NULL : b->o->stream_new(d, 0, e);
    if (b->other == NULL)
        return -1;
    for (size_t i = 0; i < sizeof b->event / sizeof *b->event; i++)
        if ((b->event[i] = b->o->event_new(d, e)) == NULL)
            return -1;
    for (int k = 0; k < DEVICE_MEMORIES; k++) {
        void *p;

        if (k == DEVICE_MEMORY_PAGEABLE && !whole)
            continue;
        if (b->o->mem_alloc(d, (enum device_memory)k, b->pool_bytes, &p, e) != 0)
            return -1;
        b->pool[k] = p;
    }
    if (rig_fill(b, e) != 0)
        return -1;
    return whole ? rig_open_cpu(b, e) : 0;
}

#include "bench_rig.h"

#include "reference.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "sim/base/rng.h"
#include "sim/base/units.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct device_bench *const all[] = {
    &bench_copy, &bench_chunks,    &bench_duplex,  &bench_launch, &bench_move,
    &bench_gemm, &bench_attention, &bench_experts, &bench_cpu,
};

enum { ALL = sizeof all / sizeof *all, WARM_UP = 2, ALIGNMENT = 256 };

_Static_assert((int)ALL <= (int)BENCH_TABLES, "room for all summaries");

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
    struct err ignored = {""};

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

static void rig_close(struct bench *b)
{
    for (int k = 0; k < DEVICE_MEMORIES; k++)
        if (b->pool[k] != NULL)
            b->o->mem_free(b->d, (enum device_memory)k, b->pool[k]);
    for (size_t i = 0; i < sizeof b->event / sizeof *b->event; i++)
        if (b->event[i] != NULL)
            b->o->event_free(b->d, b->event[i]);
    device_close(b->cpu);
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
            if (k != DEVICE_MEMORY_PINNED || at > 0)
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

static size_t choose_pool(const struct bench *b)
{
    const size_t step = BENCH_PATTERN * sizeof(float);
    const uint64_t least = b->info.local_free_bytes < b->info.host_free_bytes
                               ? b->info.local_free_bytes
                               : b->info.host_free_bytes;
    uint64_t bytes = b->quick ? 256 * BYTES_PER_MIB : BYTES_PER_GIB;

    if (bytes > least / 4)
        bytes = least / 4;
    return bytes < step ? step : (size_t)(bytes / step * step);
}

static int rig_open(struct bench *b, struct device *d, bool quick, struct err *e)
{
    *b = (struct bench){.d = d, .o = d->ops, .quick = quick};
    b->o->info(d, &b->info);
    b->element = b->o->element_bytes(d);
    b->pool_bytes = choose_pool(b);
    b->s = b->o->stream_new(d, 0, e);
    b->other = b->s == NULL ? NULL : b->o->stream_new(d, 0, e);
    if (b->other == NULL)
        return -1;
    for (size_t i = 0; i < sizeof b->event / sizeof *b->event; i++)
        if ((b->event[i] = b->o->event_new(d, e)) == NULL)
            return -1;
    for (int k = 0; k < DEVICE_MEMORIES; k++) {
        void *p;

        if (b->o->mem_alloc(d, (enum device_memory)k, b->pool_bytes, &p, e) != 0)
            return -1;
        b->pool[k] = p;
    }
    return rig_fill(b, e) != 0 ? -1 : rig_open_cpu(b, e);
}

/* ---- one table ---- */

struct table {
    const struct device_bench *bench;
    struct bench_shapes shapes;
    struct file_out *file;
    struct bench_summary *summary;
    double *spread; /* [shapes measured] */
};

struct run {
    const struct bench_options *options;
    struct bench rig;
    struct table table[ALL];
    size_t done, total; /* shapes */
    size_t samples;     /* of each */
    double longest_s;   /* of a sample */
};

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static double quantile(const double *sorted, size_t count, double q)
{
    double at = q * (double)(count - 1);
    size_t i = (size_t)at;

    return i + 1 >= count ? sorted[count - 1]
                          : sorted[i] + (at - (double)i) * (sorted[i + 1] - sorted[i]);
}

static void write_row(const struct table *t, const uint64_t *shape, size_t sample,
                      double seconds)
{
    FILE *f = file_out_stream(t->file);

    for (size_t i = 0; t->bench->table->column[i].name != NULL; i++) {
        if (t->bench->table->column[i].words != NULL)
            (void)fprintf(f, "%s,", t->bench->table->column[i].words[shape[i]]);
        else
            (void)fprintf(f, "%llu,", (unsigned long long)shape[i]);
    }
    (void)fprintf(f, "%zu,%.9g\n", sample, seconds);
}

/* Seconds that a sample takes at least, at the best rates so far. */
static double expected_s(const struct run *r, const struct table *t,
                         const uint64_t *shape)
{
    const struct bench_summary *s = t->summary;
    double flops_s = s->flops_per_s > 0.0 ? t->bench->flops(shape) / s->flops_per_s : 0.0;
    double bytes_s =
        s->bytes_per_s > 0.0 ? t->bench->bytes(&r->rig, shape) / s->bytes_per_s : 0.0;

    return fmax(flops_s, bytes_s);
}

static void note_shape(struct run *r, struct table *t, const uint64_t *shape,
                       double *seconds)
{
    struct bench_summary *s = t->summary;
    double median;

    qsort(seconds, r->samples, sizeof *seconds, by_value);
    median = quantile(seconds, r->samples, 0.5);
    t->spread[s->shapes++] =
        (quantile(seconds, r->samples, 0.75) - quantile(seconds, r->samples, 0.25)) /
        median;
    s->samples += r->samples;
    if (t->bench->flops != NULL)
        s->flops_per_s = fmax(s->flops_per_s, t->bench->flops(shape) / median);
    if (t->bench->bytes != NULL)
        s->bytes_per_s = fmax(s->bytes_per_s, t->bench->bytes(&r->rig, shape) / median);
}

/* 0, 1: interrupted, or -1. */
static int run_samples(struct run *r, struct table *t, double *seconds, struct err *e)
{
    struct bench *b = &r->rig;

    for (size_t i = 0; i < WARM_UP + r->samples; i++) {
        double s = 0.0;

        if (file_interrupted())
            return 1;
        if (t->bench->run(b, &s, e) != 0)
            return -1;
        if (i == 0 && t->bench->check != NULL && t->bench->check(b, e) != 0)
            return -1;
        if (i < WARM_UP)
            continue;
        if (!(s > 0.0))
            return err_set(e,
                           "%s: a sample took %g s by the device's clock; calibrate the "
                           "machine when it is at rest",
                           t->bench->table->name, s);
        seconds[i - WARM_UP] = s;
        write_row(t, b->shape, i - WARM_UP, seconds[i - WARM_UP]);
    }
    note_shape(r, t, b->shape, seconds);
    return 0;
}

static int run_shape(struct run *r, struct table *t, const uint64_t *shape, struct err *e)
{
    struct bench *b = &r->rig;
    double *seconds;
    int status;

    b->shape = shape;
    if (expected_s(r, t, shape) > r->longest_s) {
        t->summary->left_out++;
        return 0;
    }
    status = t->bench->setup(b, e);
    if (status == 0) {
        seconds = mem_alloc(r->samples, sizeof *seconds);
        status = run_samples(r, t, seconds, e);
        free(seconds);
    } else if (status == 1) {
        t->summary->left_out++;
        status = 0;
    }
    if (t->bench->end != NULL)
        t->bench->end(b);
    free(b->state);
    b->state = NULL;
    while (b->owns > 0)
        b->o->mem_free(b->d, DEVICE_MEMORY_LOCAL, b->owned[--b->owns]);
    return status;
}

static void write_head(FILE *f, const struct run *r)
{
    const struct bench_options *o = r->options;
    const struct bench *b = &r->rig;

    (void)fprintf(f, "# device: %s (%s)\n# driver: %s\n# clocks: %s\n", b->info.name,
                  b->o->name, b->info.driver,
                  b->info.clocks[0] != '\0' ? b->info.clocks : "unknown");
    (void)fprintf(f, "# moesim: %s\n# date: %s\n# command: %s\n", o->version, o->date,
                  o->command);
}

static int table_open(struct run *r, struct table *t, struct err *e)
{
    char *path = mem_format("%s/%s.csv", r->options->folder, t->bench->table->name);
    FILE *f;

    t->file = file_out_new(path, e);
    free(path);
    if (t->file == NULL)
        return -1;
    f = file_out_stream(t->file);
    (void)fprintf(f, "# %s: %s\n", t->bench->table->name, t->bench->help);
    write_head(f, r);
    for (size_t i = 0; t->bench->table->column[i].name != NULL; i++)
        (void)fprintf(f, "%s,", t->bench->table->column[i].name);
    (void)fprintf(f, "sample,seconds\n");
    return 0;
}

static int table_run(struct run *r, struct table *t, struct err *e)
{
    const struct bench_options *o = r->options;
    int status = table_open(r, t, e);

    t->spread = mem_alloc(t->shapes.count, sizeof *t->spread);
    for (size_t i = 0; i < t->shapes.count && status == 0; i++) {
        if (o->progress != NULL)
            o->progress(o->context, t->bench->table->name, r->done, r->total);
        status = run_shape(r, t, t->shapes.value[i], e);
        r->done++;
    }
    qsort(t->spread, t->summary->shapes, sizeof *t->spread, by_value);
    t->summary->spread =
        t->summary->shapes == 0 ? 0.0 : quantile(t->spread, t->summary->shapes, 0.5);
    return status;
}

/* ---- all of them ---- */

/* What the fit has to know of the device, beside the tables. */
static int write_device(const struct run *r, struct err *e)
{
    const struct bench *b = &r->rig;
    char *path = mem_format("%s/device.csv", r->options->folder);
    struct file_out *file = file_out_new(path, e);
    FILE *f;

    free(path);
    if (file == NULL)
        return -1;
    f = file_out_stream(file);
    (void)fprintf(f, "# what was measured; the tables are beside this file\n");
    write_head(f, r);
    (void)fprintf(f, "name,value\ndevice,%s\nkind,%s\ndate,%s\n", b->info.name,
                  b->o->name, r->options->date);
    (void)fprintf(f,
                  "element_bits,%zu\nlocal_bytes,%llu\nhost_bytes,%llu\nprocessors,%u\n",
                  8 * b->element, (unsigned long long)b->info.local_bytes,
                  (unsigned long long)b->info.host_bytes, b->info.processors);
    return file_out_commit(file, e);
}

static int run_all(struct run *r, struct bench_summary *summary, size_t *tables,
                   struct err *e)
{
    int status = 0;

    for (size_t i = 0; i < ALL; i++) {
        if (all[i]->can_run != NULL && !all[i]->can_run(&r->rig))
            continue;
        r->table[*tables] = (struct table){.bench = all[i], .summary = &summary[*tables]};
        summary[*tables] =
            (struct bench_summary){.name = all[i]->table->name, .help = all[i]->help};
        all[i]->shapes(&r->rig, &r->table[*tables].shapes);
        r->total += r->table[(*tables)++].shapes.count;
    }
    for (size_t i = 0; i < *tables && status == 0; i++)
        status = table_run(r, &r->table[i], e);
    for (size_t i = 0; i < *tables && status == 0; i++) {
        status = file_out_commit(r->table[i].file, e);
        r->table[i].file = NULL;
    }
    return status == 0 ? write_device(r, e) : status;
}

int bench_run(struct device *d, const struct bench_options *o,
              struct bench_summary summary[BENCH_TABLES], size_t *tables, struct err *e)
{
    struct run r = {
        .options = o, .samples = o->quick ? 7 : 21, .longest_s = o->quick ? 4e-3 : 0.12};
    int status;

    *tables = 0;
    if (file_make_folder(o->folder, e) != 0)
        return -1;
    status = rig_open(&r.rig, d, o->quick, e);
    if (status == 0)
        status = run_all(&r, summary, tables, e);
    for (size_t i = 0; i < *tables; i++) {
        file_out_abandon(r.table[i].file);
        free(r.table[i].shapes.value);
        free(r.table[i].spread);
    }
    rig_close(&r.rig);
    return status;
}

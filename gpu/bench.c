#include "bench_rig.h"

#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "sim/base/units.h"
#include "sim/base/percentile.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const struct device_bench *const all[] = {
    &bench_copy, &bench_chunks,    &bench_duplex,  &bench_launch, &bench_move,
    &bench_gemm, &bench_attention, &bench_experts, &bench_cpu,
};

enum { ALL = sizeof all / sizeof *all, WARM_UP = 2 };

_Static_assert((int)ALL <= (int)BENCH_TABLES, "room for all summaries");

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

    percentile_sort(seconds, r->samples);
    median = percentile_of_sorted(seconds, r->samples, 0.5);
    t->spread[s->shapes++] = (percentile_of_sorted(seconds, r->samples, 0.75) -
                              percentile_of_sorted(seconds, r->samples, 0.25)) /
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
        double s;

        if (file_interrupted())
            return 1;
        if (bench_sample(b, t->bench, &s, e) != 0)
            return -1;
        if (i == 0 && t->bench->check != NULL && t->bench->check(b, e) != 0)
            return -1;
        if (i < WARM_UP)
            continue;
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
    bench_free_local(b);
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
    percentile_sort(t->spread, t->summary->shapes);
    t->summary->spread = t->summary->shapes == 0
                             ? 0.0
                             : percentile_of_sorted(t->spread, t->summary->shapes, 0.5);
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

void bench_own_files(struct folder_out *f)
{
    folder_out_own(f, "device.csv");
    for (size_t i = 0; i < ALL; i++) {
        char *name = mem_format("%s.csv", all[i]->table->name);

        folder_out_own(f, name);
        free(name);
    }
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
    status = bench_rig_open(&r.rig, d, o->quick ? 256 * BYTES_PER_MIB : BYTES_PER_GIB,
                            true, e);
    r.rig.quick = o->quick;
    if (status == 0)
        status = run_all(&r, summary, tables, e);
    for (size_t i = 0; i < *tables; i++) {
        file_out_abandon(r.table[i].file);
        free(r.table[i].shapes.value);
        free(r.table[i].spread);
    }
    bench_rig_close(&r.rig);
    return status;
}

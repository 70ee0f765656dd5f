/* Copies between host and device: alone, in chunks, and under a copy the other way. */
#include "bench_rig.h"

#include "sim/base/units.h"

/* Enqueues a copy of the pools' bytes [offset, offset + bytes). */
static void enqueue(struct bench *b, struct device_stream *s, uint64_t kind,
                    size_t offset, size_t bytes)
{
    char *local = b->pool[DEVICE_MEMORY_LOCAL] + offset;
    char *host = b->pool[kind < COPY_H2D_PAGEABLE ? DEVICE_MEMORY_PINNED
                                                  : DEVICE_MEMORY_PAGEABLE] +
                 offset;

    if (kind % 2 == 0)
        b->o->copy(b->d, s, local, host, bytes);
    else
        b->o->copy(b->d, s, host, local, bytes);
}

static int fits(struct bench *b, struct err *e)
{
    (void)e;
    return b->shape[1] <= b->pool_bytes ? 0 : 1;
}

static double bytes_of(const struct bench *b, const uint64_t *shape)
{
    (void)b;
    return (double)shape[1];
}

/* ---- alone ---- */

static void copy_shapes(const struct bench *b, struct bench_shapes *list)
{
    const uint64_t least = 4 * BYTES_PER_KIB;
    const uint64_t most = b->quick ? 16 * BYTES_PER_MIB : BYTES_PER_GIB;

    for (uint64_t kind = 0; kind < COPY_KINDS; kind++)
        for (uint64_t bytes = least; bytes <= most; bytes *= b->quick ? 4 : 2)
            BENCH_SHAPE(list, kind, bytes);
}

static int copy_run(struct bench *b, double *seconds, struct err *e)
{
    size_t offset;

    offset = bench_take(b, b->shape[1]);
    bench_begin(b);
    enqueue(b, b->s, b->shape[0], offset, b->shape[1]);
    return bench_finish(b, seconds, e);
}

const struct device_bench bench_copy = {
    .table = &samples_copy,
    .help = "one copy between host and device, alone",
    .shapes = copy_shapes,
    .setup = fits,
    .run = copy_run,
    .bytes = bytes_of,
};

/* ---- in chunks ---- */

static void chunks_shapes(const struct bench *b, struct bench_shapes *list)
{
    const uint64_t most = (b->quick ? 4 : 64) * BYTES_PER_MIB;

    for (uint64_t kind = 0; kind < COPY_H2D_PAGEABLE; kind++)
        for (uint64_t bytes = BYTES_PER_MIB; bytes <= most; bytes *= b->quick ? 4 : 8)
            for (uint64_t chunk = 64 * BYTES_PER_KIB; chunk < bytes; chunk *= 4)
                BENCH_SHAPE(list, kind, bytes, chunk);
}

static int chunks_run(struct bench *b, double *seconds, struct err *e)
{
    const size_t bytes = b->shape[1], chunk = b->shape[2];
    size_t offset;

    offset = bench_take(b, bytes);
    bench_begin(b);
    for (size_t done = 0; done < bytes; done += chunk)
        enqueue(b, b->s, b->shape[0], offset + done,
                bytes - done < chunk ? bytes - done : chunk);
    return bench_finish(b, seconds, e);
}

const struct device_bench bench_chunks = {
    .table = &samples_chunks,
    .help = "one copy in chunks that follow each other on a stream",
    .shapes = chunks_shapes,
    .setup = fits,
    .run = chunks_run,
    .bytes = bytes_of,
};

/* ---- both ways ---- */

static void duplex_shapes(const struct bench *b, struct bench_shapes *list)
{
    const uint64_t most = (b->quick ? 8 : 256) * BYTES_PER_MIB;

    for (uint64_t kind = 0; kind < COPY_H2D_PAGEABLE; kind++)
        for (uint64_t bytes = BYTES_PER_MIB; bytes <= most; bytes *= 2)
            BENCH_SHAPE(list, kind, bytes);
}

/* The other way begins first and, being four times as long, ends last. */
static int duplex_run(struct bench *b, double *seconds, struct err *e)
{
    enum { LONGER = 4 };
    const uint64_t kind = b->shape[0];
    const size_t bytes = b->shape[1];
    size_t offset;

    b->o->spin(b->d, b->other, 1e5);
    for (int i = 0; i < LONGER; i++) {
        offset = bench_take(b, bytes);
        enqueue(b, b->other, 1 - kind, offset, bytes);
        if (i == 0)
            b->o->event_record(b->d, b->event[2], b->other);
    }
    offset = bench_take(b, bytes);
    b->o->event_hold(b->d, b->event[2], b->s);
    b->o->event_record(b->d, b->event[0], b->s);
    enqueue(b, b->s, kind, offset, bytes);
    if (bench_finish(b, seconds, e) != 0)
        return -1;
    return b->o->stream_finish(b->d, b->other, e);
}

const struct device_bench bench_duplex = {
    .table = &samples_duplex,
    .help = "one copy while others run the other way",
    .shapes = duplex_shapes,
    .setup = fits,
    .run = duplex_run,
    .bytes = bytes_of,
};

/* How fast a device is right now: one product of matrices and one copy to the device,
 * always the same, timed as the micro-benchmarks of `moesim calibrate` are (bench.h).
 * Taken again and again during a run it tells a machine that became slower from a model
 * of it that is wrong. One look takes some 50 ms on a processor core. */
#ifndef MOESIM_GPU_BENCH_SPEED_H
#define MOESIM_GPU_BENCH_SPEED_H

#include "device.h"

enum {
    BENCH_SPEED_ROWS = 32, /* y (rows, width) = x (rows, width) W^T */
    BENCH_SPEED_WIDTH = 2048,
    BENCH_SPEED_COPY_BYTES = 16 << 20 /* from pinned memory */
};

/* Returns owned, or NULL. Borrows the device, and keeps two streams and 256 MiB of its
 * memory and of pinned memory: weights and copies come from memory, not from a cache. */
struct bench_speed *bench_speed_new(struct device *d, struct err *e);
/* NULL: nothing. */
void bench_speed_free(struct bench_speed *b);

/* Medians of a few samples. The device should have nothing else to do. 0 or -1. */
int bench_speed_measure(struct bench_speed *b, double *gemm_s, double *copy_s,
                        struct err *e);

#endif

#include "bench_speed.h"

#include "bench_rig.h"
#include "sim/base/mem.h"
#include "sim/base/units.h"
#include "sim/base/percentile.h"

#include <stdlib.h>

enum { WARM_UP = 1, SAMPLES = 5 };

static const uint64_t gemm_shape[] = {BENCH_SPEED_ROWS, BENCH_SPEED_WIDTH,
                                      BENCH_SPEED_WIDTH};
static const uint64_t copy_shape[] = {COPY_H2D_PINNED, BENCH_SPEED_COPY_BYTES};

struct bench_speed {
    struct bench rig; /* set up for the product */
};

struct bench_speed *bench_speed_new(struct device *d, struct err *e)
{
    struct bench_speed *b = mem_zalloc(1, sizeof *b);
    int status = bench_rig_open(&b->rig, d, 256 * BYTES_PER_MIB, false, e);

    b->rig.shape = gemm_shape;
    if (status == 0)
        status = bench_gemm.setup(&b->rig, e);
    if (status == 1 || (status == 0 && b->rig.pool_bytes < BENCH_SPEED_COPY_BYTES))
        status = err_set(e,
                         "%s: too little memory is free to measure how fast the device "
                         "is; %d MiB of the device's and of the host's are needed",
                         d->ops->name, (int)(4 * BENCH_SPEED_COPY_BYTES / BYTES_PER_MIB));
    if (status == 0)
        return b;
    bench_speed_free(b);
    return NULL;
}

void bench_speed_free(struct bench_speed *b)
{
    if (b == NULL)
        return;
    bench_rig_close(&b->rig);
    free(b->rig.state);
    free(b);
}

static int measure(struct bench *b, const struct device_bench *k, const uint64_t *shape,
                   double *median_s, struct err *e)
{
    double seconds[WARM_UP + SAMPLES];

    b->shape = shape;
    for (int i = 0; i < WARM_UP + SAMPLES; i++)
        if (bench_sample(b, k, &seconds[i], e) != 0)
            return -1;
    percentile_sort(seconds + WARM_UP, SAMPLES);
    *median_s = percentile_of_sorted(seconds + WARM_UP, SAMPLES, 0.5);
    return 0;
}

int bench_speed_measure(struct bench_speed *b, double *gemm_s, double *copy_s,
                        struct err *e)
{
    if (measure(&b->rig, &bench_gemm, gemm_shape, gemm_s, e) != 0)
        return -1;
    return measure(&b->rig, &bench_copy, copy_shape, copy_s, e);
}

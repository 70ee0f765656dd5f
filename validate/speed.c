#include "speed.h"

#include "sim/base/mem.h"
#include "sim/base/percentile.h"

#include <math.h>
#include <stdlib.h>

struct speed_probe speed_predict(const struct cost *c, uint32_t rows, uint32_t side,
                                 uint64_t copy_bytes)
{
    const struct machine_copy *k = &c->machine->h2d_pinned;

    return (struct speed_probe){
        .gemm_s = sim_time_seconds(cost_gemm(c, rows, side, side)),
        .copy_s =
            k->bytes_per_s > 0.0 ? sim_time_seconds(cost_copy(k, copy_bytes)) : 0.0};
}

static double median_of(double *value, size_t count)
{
    percentile_sort(value, count);
    return percentile_of_sorted(value, count, 0.5);
}

void speed_find(const struct speed_probe *predicted, const struct speed_probe *probe,
                size_t probes, struct speed *s)
{
    double *gemm = mem_alloc(probes, sizeof *gemm);
    double *copy = mem_alloc(probes, sizeof *copy);
    double *whole = mem_alloc(probes, sizeof *whole);
    const bool copies = predicted->copy_s > 0.0;

    *s = (struct speed){*predicted, probe, probes, NAN, NAN, NAN, NAN, NAN};
    for (size_t i = 0; i < probes; i++) {
        gemm[i] = predicted->gemm_s / probe[i].gemm_s;
        copy[i] = predicted->copy_s / probe[i].copy_s;
        whole[i] = copies ? sqrt(gemm[i] * copy[i]) : gemm[i];
    }
    s->gemm = median_of(gemm, probes);
    if (copies)
        s->copy = median_of(copy, probes);
    s->whole = median_of(whole, probes);
    if (probes > 0) {
        s->least = whole[0];
        s->most = whole[probes - 1];
    }
    free(gemm);
    free(copy);
    free(whole);
}

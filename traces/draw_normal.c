#include "draw_normal.h"

#include "sim/base/mem.h"

#include <math.h>

/* Inverse of the normal distribution function, by Newton's method from 0; `p` is within
 * (1e-5, 1/2], where every step stays on the convex side. */
static double find_quantile(double p)
{
    double x = 0;

    for (int i = 0; i < 60; i++) {
        double error = 0.5 * erfc(-x / sqrt(2.0)) - p;
        double density = exp(-0.5 * x * x) / sqrt(2.0 * acos(-1.0));

        x -= error / density;
    }
    return x;
}

float *draw_normal_table(void)
{
    float *q = mem_alloc(DRAW_QUANTILES + 1, sizeof *q);

    for (size_t i = 0; i <= DRAW_QUANTILES / 2; i++) {
        double p = i == 0 ? 0.25 : (double)i;

        q[i] = (float)find_quantile(p / (double)DRAW_QUANTILES);
        q[DRAW_QUANTILES - i] = -q[i];
    }
    return q;
}

double draw_quantile(const struct draw_model *m, double p)
{
    double place = fmin(1, fmax(0, p)) * (double)DRAW_QUANTILES;
    size_t knot = (size_t)fmin(place, (double)(DRAW_QUANTILES - 1));

    return m->quantile[knot] +
           (m->quantile[knot + 1] - m->quantile[knot]) * (place - (double)knot);
}

float draw_normal(const struct draw_model *m, struct rng *r)
{
    uint64_t bits = rng_u64(r) >> (64 - DRAW_NORMAL_BITS);
    const float *knot = m->quantile + draw_normal_knot(bits);

    return draw_normal_between(knot[0], knot[1], draw_normal_part(bits));
}

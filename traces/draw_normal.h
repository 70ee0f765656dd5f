/* Standard normal numbers from a table of quantiles: 21 random bits each, of which 12 say
 * between which two knots of the table and 9 where between them. */
#ifndef MOESIM_TRACES_DRAW_NORMAL_H
#define MOESIM_TRACES_DRAW_NORMAL_H

#include "draw.h"

#define DRAW_QUANTILE_BITS 12
#define DRAW_QUANTILES ((size_t)1 << DRAW_QUANTILE_BITS)
#define DRAW_FRACTION_BITS 9
#define DRAW_NORMAL_BITS (DRAW_QUANTILE_BITS + DRAW_FRACTION_BITS)

/* Knots at i / DRAW_QUANTILES, straight between them; the two ends, which would be
 * infinite, are where a quarter of the last step remains. Owned, one more than there are
 * steps. */
float *draw_normal_table(void);

static inline size_t draw_normal_knot(uint64_t bits)
{
    return (size_t)(bits >> DRAW_FRACTION_BITS) & (DRAW_QUANTILES - 1);
}

static inline int32_t draw_normal_part(uint64_t bits)
{
    return (int32_t)(bits & ((1u << DRAW_FRACTION_BITS) - 1));
}

static inline float draw_normal_between(float low, float high, int32_t part)
{
    return low + (high - low) * ((float)part * (1.0F / (1 << DRAW_FRACTION_BITS)));
}

#endif

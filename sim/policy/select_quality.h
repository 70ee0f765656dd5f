/* What a select did to rows: how much they may have lost by it. All of it is open loop:
 * had these rows executed other experts, later routing would have been another, too. */
#ifndef MOESIM_POLICY_SELECT_QUALITY_H
#define MOESIM_POLICY_SELECT_QUALITY_H

#include <stdint.h>

/* Of masses, which are summed as whole numbers, so that their order does not matter. */
#define SELECT_MASS_ONE (UINT64_C(1) << 32)

struct select_quality {
    uint64_t rows;     /* rows and layers that it chose for */
    uint64_t choices;  /* experts that these would have executed */
    uint64_t changed;  /* executed instead of others that were */
    uint64_t fewer;    /* left out, with nothing in their place */
    uint64_t top1;     /* rows that keep their best expert */
    uint64_t distinct; /* different experts of the steps, as recorded, */
    uint64_t left;     /* ... and as chosen */
    uint64_t mass;     /* gate mass of the experts as recorded, */
    uint64_t kept;     /* ... and as chosen; in SELECT_MASS_ONE */
};
void select_quality_add(struct select_quality *sum, const struct select_quality *q);

/* Gate mass that the chosen experts do not have; less than 0 where a router that does not
 * choose by scores alone is changed for the better. */
static inline double select_quality_lost(const struct select_quality *q)
{
    return ((double)q->mass - (double)q->kept) / (double)SELECT_MASS_ONE;
}

#endif

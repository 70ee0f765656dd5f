/* Gate mass: what an expert weighs in a token's output. A softmax or sigmoid score is
 * one; of logits it is the softmax over the recorded candidates of the cell. Masses are
 * whole numbers of 2^-24, the least that a 16-bit float can hold, so that sums of scores
 * are exact and do not depend on their order. */
#ifndef MOESIM_TRACES_GATE_MASS_H
#define MOESIM_TRACES_GATE_MASS_H

#include "trace.h"

#define GATE_MASS_ONE (UINT32_C(1) << 24)

/* Of the cell's first `count` candidates into mass[count]; returns the mass of all that
 * are recorded. `cell` and `score` are [candidates], count of them at least recorded. */
uint64_t gate_mass(const struct trace_info *info, const uint16_t *cell,
                   const float *score, uint32_t count, uint32_t *mass);

#endif

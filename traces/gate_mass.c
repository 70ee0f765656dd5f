#include "gate_mass.h"

#include "rows_sweep.h"

#include <math.h>

/* Scores in [0, 1] are multiples of the unit. */
static inline uint32_t mass_of(float score)
{
    return (uint32_t)(int32_t)(score * (float)GATE_MASS_ONE);
}

static inline uint64_t mass_all(const float *score, uint32_t count, uint32_t *mass)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < count; i++) {
        mass[i] = mass_of(score[i]);
        sum += mass[i];
    }
    return sum;
}

/* The softmax, from its largest logit down, so that nothing overflows. */
static uint64_t mass_of_logits(const float *score, uint32_t count, uint32_t recorded,
                               uint32_t *mass)
{
    float most = score[0];
    double sum = 0;

    for (uint32_t i = 1; i < recorded; i++)
        most = score[i] > most ? score[i] : most;
    for (uint32_t i = 0; i < recorded; i++)
        sum += (double)expf(score[i] - most);
    for (uint32_t i = 0; i < count; i++)
        mass[i] = (uint32_t)((double)expf(score[i] - most) / sum * GATE_MASS_ONE + 0.5);
    return GATE_MASS_ONE;
}

uint64_t gate_mass(const struct trace_info *info, const uint16_t *cell,
                   const float *score, uint32_t count, uint32_t *mass)
{
    uint32_t recorded;
    uint64_t sum;

    if (count == 0)
        return 0;
    recorded =
        info->candidates > info->top_k ? rows_executed(cell, info->candidates) : count;
    if (info->score_kind == TRACE_SCORE_LOGIT)
        return mass_of_logits(score, count, recorded, mass);
    sum = count == 8 ? mass_all(score, 8, mass) : mass_all(score, count, mass);
    for (uint32_t i = count; i < recorded; i++)
        sum += mass_of(score[i]);
    return sum;
}

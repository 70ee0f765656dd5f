/* Slots of each layer's set out of a total: the allocation with the least expected
 * misses, by the dynamic program of AdapMoE (Zhong et al. 2024, dp.py). */
#ifndef MOESIM_POLICY_CACHE_ALLOCATE_H
#define MOESIM_POLICY_CACHE_ALLOCATE_H

#include <stdint.h>

/* The slots[layers] of least sum of expected[layer * (most + 1) + slots], of those with
 * `total` slots in all and 1 to `most` in each layer; of equal ones that with the fewest
 * in the last layer, then in the one before, and so on. `total` is between layers and
 * layers * most. */
void cache_allocate(const double *expected, uint32_t layers, uint32_t most,
                    uint32_t total, uint32_t *slots);

/* Fills expected[layers][experts + 1]: of load[layers][experts], the share of a layer's
 * that is not of its so many most loaded experts. Those would be missed if the others
 * stayed. A layer without load counts nothing. */
void cache_expect_misses(const uint64_t *load, uint32_t layers, uint32_t experts,
                         double *expected);

#endif

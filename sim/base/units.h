/* Quantities. Simulated time is a signed 64-bit count of picoseconds (106 days), so sums
 * are exact and equal on every machine; seconds become `sim_time` in one function only.
 * Every other quantity carries its unit in its name: _bytes, _flops, _bytes_per_s, _s. */
#ifndef MOESIM_BASE_UNITS_H
#define MOESIM_BASE_UNITS_H

#include <assert.h>
#include <math.h>
#include <stdint.h>

typedef int64_t sim_time; /* picoseconds */

#define SIM_TIME_MAX INT64_MAX
#define SIM_TIME_PER_NS ((sim_time)1000)
#define SIM_TIME_PER_US ((sim_time)1000000)
#define SIM_TIME_PER_S ((sim_time)1000000000000)

/* Rounds to the nearest picosecond. `seconds` is finite, at least 0, below 9.2e6. */
static inline sim_time sim_time_of_seconds(double seconds)
{
    assert(seconds >= 0.0 && seconds < 9.2e6);
    return (sim_time)(seconds * 1e12 + 0.5);
}

static inline double sim_time_seconds(sim_time t)
{
    return (double)t * 1e-12;
}

#define BYTES_PER_KIB (UINT64_C(1) << 10)
#define BYTES_PER_MIB (UINT64_C(1) << 20)
#define BYTES_PER_GIB (UINT64_C(1) << 30)

#endif

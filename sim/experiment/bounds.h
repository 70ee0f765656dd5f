/* What no policy could do better, in counts. */
#ifndef MOESIM_EXPERIMENT_BOUNDS_H
#define MOESIM_EXPERIMENT_BOUNDS_H

#include "sim/run/future.h"
#include "sim/policy/policy.h"

struct bounds_counts {
    uint64_t accesses;
    uint64_t hits;       /* no policy that loads on demand has more */
    uint64_t load_bytes; /* no policy, prefetching or not, moves less over the link */
};

/* Replays the future through MIN with bypass (Belady 1966) at the capacity of `params`:
 * its scope, slots or bytes; no protection, every access by itself. Experts that a policy
 * may hold from the start are granted to the bound as that many more hits. Where a set
 * holds experts of unequal sizes (which makes the optimum NP-hard) the bound gets room
 * for that many of the smallest and pays the smallest's bytes for each miss. 0 or -1. Of
 * the parameters only what bounds_params() leaves as it is counts. */
struct cache_params bounds_params(const struct cache_params *p);
int bounds_count(struct future *f, uint32_t layers, uint32_t experts,
                 const uint64_t *expert_bytes, const uint64_t *profile,
                 const struct cache_params *params, bool preloaded,
                 struct bounds_counts *b, struct err *e);

#endif

/* Machines and random matrices for the tests of collectives. */
#ifndef MOESIM_TESTS_COLLECTIVE_HELP_H
#define MOESIM_TESTS_COLLECTIVE_HELP_H

#include "models/collective.h"
#include "sim/base/mem.h"
#include "sim/base/rng.h"

#include <stdlib.h>

#define NEAR_LATENCY (2385 * SIM_TIME_PER_NS)
#define FAR_LATENCY (5117 * SIM_TIME_PER_NS)
#define NVLINK_RATE 371e9
#define NETWORK_RATE 43.7e9 /* per GPU */
#define IN_RATE 57.3e9      /* PCIe, host to GPU */
#define OUT_RATE 51.9e9

static inline struct machine collective_help_machine(uint32_t nodes, uint32_t gpus)
{
    return (struct machine){
        .gpus = gpus,
        .nodes = nodes,
        .h2d_pinned = {7501, IN_RATE},
        .d2h_pinned = {6403, OUT_RATE},
        .has_nvlink = true,
        .nvlink = {NEAR_LATENCY, NVLINK_RATE},
        .has_network = true,
        .network = {FAR_LATENCY, NETWORK_RATE},
        .oversubscription = 1.0,
        .gpus_per_root = 1,
    };
}

static const struct collective_terms collective_help_terms = {
    .launch = 6257000, .sync = 1433000, .near_share = 1.0, .far_share = 1.0};

/* Numbers below `bound`, a third of them zero. */
static inline uint64_t *collective_help_matrix(struct rng *r, size_t count,
                                               uint64_t bound)
{
    uint64_t *m = mem_alloc(count, sizeof(*m));

    for (size_t i = 0; i < count; i++)
        m[i] = rng_below(r, 3) == 0 ? 0 : rng_below(r, bound);
    return m;
}

/* The same number everywhere. */
static inline uint64_t *collective_help_equal(size_t count, uint64_t value)
{
    uint64_t *m = mem_alloc(count, sizeof(*m));

    for (size_t i = 0; i < count; i++)
        m[i] = value;
    return m;
}

/* Runs the closed form with its own room. */
static inline sim_time collective_help_time(const struct topology *t,
                                            const struct collective *c,
                                            const struct collective_terms *k)
{
    uint64_t *load = mem_alloc(t->links, sizeof(*load));
    sim_time time = collective_time(t, c, k, load);

    free(load);
    return time;
}

/* A machine of random shape: 1 to 4 nodes of 1 to 6 GPUs, shared rails, oversubscription,
 * roots. */
static inline struct machine collective_help_random(struct rng *r)
{
    struct machine m = collective_help_machine(1 + (uint32_t)rng_below(r, 4),
                                               1 + (uint32_t)rng_below(r, 6));

    m.rails = (uint32_t)rng_below(r, m.gpus + 2);
    m.oversubscription = rng_below(r, 2) == 0 ? 1.0 : 2.7;
    m.gpus_per_root = 1 + (uint32_t)rng_below(r, 3);
    return m;
}

#endif

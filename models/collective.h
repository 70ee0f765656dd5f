/* Collectives between the GPUs of a topology: what they take, in closed form and as work
 * on the links.
 *
 * A collective has one or two phases. A phase takes its alpha (the latencies of the hops
 * that follow one another) and then the time of its busiest port: max over ports of bytes
 * / bandwidth, every transfer flowing at once. So
 *   time = launch + sum over phases (alpha + busiest port) + sync.
 * The busiest port is a bound that a schedule can reach: transfers that share ports in
 * proportion to their bytes all end together then.
 *
 * All-to-all-v. Units (u64) from each rank to each rank, times unit_bytes; what a rank
 * sends to itself is free. `reverse` turns every transfer and the phases round: combine
 * of the dispatch with the same matrices.
 *   flat         every pair directly; pairs count (token, expert).
 *   rails        first inside the node to the GPU with the destination's place in its
 *                node, then across (2D all-to-all; Hwang et al., "Tutel", MLSys 2023).
 *   forward      first across, to the GPU with the source's place in its node, once per
 *                (token, node), then inside. pairs count (token, rank), nodes (token,
 *                node).
 *   normal       the same with both steps overlapped: one phase (DeepEP, normal kernels).
 *   low latency  as flat (DeepEP, low-latency kernels); with network_only even inside a
 *                node over the NICs.
 * Rings and trees, pipelined. Where the group has g > 1 GPUs in each of several nodes, g
 * rings (trees) share the bytes, each entering and leaving a node at another GPU.
 *   all-gather, reduce-scatter  ring; bytes[i] is what rank i of the group gives (gets).
 *   all-reduce ring             reduce-scatter, then all-gather, of `bytes` in all.
 *   all-reduce tree             two binary trees, up and down overlapped (Sanders, Speck,
 *                               Traff, "Two-tree algorithms for full bandwidth
 *                               broadcast, reduction and scan", Parallel Computing 2009).
 */
#ifndef MOESIM_MODELS_COLLECTIVE_H
#define MOESIM_MODELS_COLLECTIVE_H

#include "topology.h"

enum collective_form {
    COLLECTIVE_FLAT,
    COLLECTIVE_RAILS,
    COLLECTIVE_FORWARD,
    COLLECTIVE_NORMAL,
    COLLECTIVE_LOW_LATENCY,
    COLLECTIVE_ALL_GATHER,
    COLLECTIVE_REDUCE_SCATTER,
    COLLECTIVE_ALL_REDUCE_RING,
    COLLECTIVE_ALL_REDUCE_TREE,
    COLLECTIVE_FORMS
};

/* Everything is borrowed. The first block is for all-to-all, the second for the rest. */
struct collective {
    enum collective_form form;
    const uint64_t *pairs; /* (source rank, destination rank), row by row */
    const uint64_t *nodes; /* (source rank, destination node); NULL: the sums of pairs */
    uint64_t unit_bytes;
    bool reverse;
    bool network_only;
    const uint32_t *group; /* ranks, distinct, in ring order, the GPUs of a node side by
                              side; NULL: all ranks in order */
    uint32_t group_count;
    const uint64_t *bytes; /* one per rank of the group; all-reduce: one */
};

/* What is neither hop nor byte. A kernel that reaches a share of a port's bandwidth holds
 * the port as bytes / share bytes would. */
struct collective_terms {
    sim_time launch, sync; /* before and after */
    double near_share;     /* of NVLink, or of PCIe where that joins the GPUs of a node */
    double far_share;      /* of all other ports */
};

/* From the machine's figures; what kernels reach of the network is part of its bandwidth
 * there, so that far_share is 1. Normal dispatch ends with a round trip to the host,
 * which waits for the counts (not where kernels run from a captured graph). */
struct collective_terms collective_terms_of(const struct machine *m,
                                            const struct collective *c, bool graph);

/* Bytes of one row of hidden activations on the wire: 2 per element, or fp8 as DeepEP
 * sends it, with one float of scale per 128 elements. */
static inline uint64_t collective_row_bytes(uint32_t hidden, bool fp8)
{
    return fp8 ? hidden + (hidden + UINT64_C(127)) / 128 * 4 : UINT64_C(2) * hidden;
}

uint32_t collective_phases(const struct collective *c);
sim_time collective_alpha(const struct topology *t, const struct collective *c,
                          uint32_t phase);
/* Bytes over each link of the topology in one phase, shares not applied. */
void collective_loads(const struct topology *t, const struct collective *c,
                      uint32_t phase, uint64_t *load);
/* Bytes of each transfer of one phase, (source rank, destination rank) row by row. */
void collective_transfers(const struct topology *t, const struct collective *c,
                          uint32_t phase, uint64_t *moved);

/* The closed form. `load` is room for t->links numbers. */
sim_time collective_time(const struct topology *t, const struct collective *c,
                         const struct collective_terms *k, uint64_t *load);

/* One phase of it: how long the busiest port takes for its load or, `even`, would take if
 * all ports of a kind shared theirs. */
sim_time collective_ports_time(const struct topology *t, const struct collective_terms *k,
                               const uint64_t *load, bool even);

/* How a phase becomes work of the engine. Alone on the links, ports take the closed form
 * to the picosecond. Transfers share ports by max-min fairness instead of in proportion,
 * which takes as long where the loads are alike or one port carries part of every
 * transfer, and otherwise longer. */
enum collective_grain {
    COLLECTIVE_PORTS,    /* one work per port: its bytes over it alone */
    COLLECTIVE_PER_PAIR, /* one work per transfer, over its whole path */
};

struct collective_site {
    uint32_t first_link; /* from topology_add_links() */
    uint32_t step_lane;  /* keeps launch, phases and sync apart */
    uint32_t first_lane; /* from here on: one for each link of the topology, or others */
    uint32_t lanes;      /* in turn for each transfer; with fewer, bytes wait */
    enum collective_grain grain;
    enum work_class class_;
    uint32_t tag;
    sim_time release;
    const work_id *after; /* borrowed during the call */
    uint32_t after_count;
};

/* Submits it; returns the work that ends when the collective does. */
work_id collective_ops(struct engine *g, const struct topology *t,
                       const struct collective *c, const struct collective_terms *k,
                       const struct collective_site *site);

#endif

/* The simulated executor: asks the cost model how long each operation takes and lets the
 * engine tell when. Lanes of one GPU: compute stream, copy engines in and out; the host
 * thread; the host's pool of processors.
 *
 * Host launches. Eager: each kernel costs the host `launch_eager`; an operation of n
 * kernels and GPU time g that the host begins to launch at t cannot end before
 * t + n * launch_eager + g / n (the last kernel waits for its launch), nor begin before
 * t + launch_eager. Graph: one launch for the pass; kernels then cost what cost.h says.
 *
 * Copies cross host DRAM and the PCIe root in their direction; a root link shared by both
 * directions, of capacity h2d * h2d_duplex + d2h * d2h_duplex, slows them when they
 * overlap. Experts homed in storage cross the storage link too (streamed through).
 *
 * Experts on the host take the pool for host.layer_overhead, the time of their rows'
 * hidden states to the host and back (cost_host_trip(); a row crosses once, however many
 * of the experts it chose: at most the rows of the pass), and as long as
 * cost_host_experts() says: their weights flow from host DRAM, which copies share, so
 * that each slows the other where both want more than there is. The host thread goes on
 * at once.
 *
 * Experts near their data take the unit's lane for near.layer_overhead,
 * cost_near_expert() of one after the other, and their rows' way: each expert's rows
 * cross for it alone (MoNDE's activation movement). They cross as if they had the link
 * for themselves, or (op.group.crosses) share PCIe and host DRAM with the copies: then
 * the operation is three works, and its times are those of the last. The unit's own
 * reading slows no copy.
 *
 * Several GPUs (exec_group.c) share one engine, each with lanes and a host thread of its
 * own. A collective costs every member's host one launch. In FIFO mode it takes what
 * collective_time() says; event-driven it is work on the ports of the topology
 * (COLLECTIVE_PORTS), where weights copied from the host or between GPUs share them.
 * Copies from a host need event-driven mode there: the GPUs of a node share its memory.
 */
#ifndef MOESIM_EXEC_EXEC_SIM_H
#define MOESIM_EXEC_EXEC_SIM_H

#include "op.h"

struct exec_sim_options {
    struct cost cost;       /* copied; its model and machine are borrowed */
    bool event_driven;      /* needed for prefetch class and write-back */
    bool pageable;          /* host memory is not pinned */
    exec_observer *observe; /* NULL: nobody */
    void *observe_context;
};

extern const struct exec_ops exec_sim_ops;

/* What a network is taken to be: for bounds. */
enum exec_network {
    NETWORK_AS_IT_IS,
    NETWORK_EVEN, /* all ports of a kind carry the same share of its bytes */
    NETWORK_FREE  /* collectives take their launches only */
};

struct exec *exec_sim_new(const struct exec_sim_options *o);
/* Fills gpu[topology.ranks]; each is freed on its own. `observe_context` of the options
 * is not used: observe_context[i] is GPU i's, or NULL where nobody observes it. */
int exec_sim_new_group(const struct exec_sim_options *o, const struct topology *t,
                       enum exec_network network, void *const *observe_context,
                       struct exec **gpu, struct err *e);
void exec_sim_free(struct exec *x);
/* Bytes that collectives have moved over a link of the group's topology. */
uint64_t exec_sim_carried(const struct exec *x, uint32_t link);
struct engine_report exec_sim_report(const struct exec *x);
sim_time exec_sim_lane_busy(const struct exec *x, enum op_lane lane);

#endif

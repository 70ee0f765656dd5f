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
 * Experts on the host take the pool as long as cost_host_experts() says and the time of
 * their rows' hidden states to the host and back (cost_host_trip(); a row crosses once,
 * however many of the experts it chose: at most the rows of the pass). The host thread
 * goes on at once. They slow no copy, nor any copy them: links carry weights only. */
#ifndef MOESIM_RUN_EXEC_SIM_H
#define MOESIM_RUN_EXEC_SIM_H

#include "models/op.h"

struct exec_sim_options {
    struct cost cost;       /* copied; its model and machine are borrowed */
    bool event_driven;      /* needed for prefetch class and write-back */
    bool pageable;          /* host memory is not pinned */
    exec_observer *observe; /* NULL: nobody */
    void *observe_context;
};

extern const struct exec_ops exec_sim_ops;

struct exec *exec_sim_new(const struct exec_sim_options *o);
void exec_sim_free(struct exec *x);
struct engine_report exec_sim_report(const struct exec *x);
sim_time exec_sim_lane_busy(const struct exec *x, enum op_lane lane);

#endif

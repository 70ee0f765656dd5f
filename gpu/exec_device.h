/* The device executor: performs what exec_sim.c predicts. Implements the boundary of
 * sim/exec/op.h on a device (device.h): a pool of slots in device memory, real copies of
 * experts from host memory, real kernels of the model's shapes on random values
 * (weights.h, block.h). Routing is forced: groups compute the rows that the trace says.
 *
 * Streams: compute, copies in on demand, copies in ahead of use (after demand where the
 * device has priorities), copies out, read-backs, hidden states to and from experts on
 * the host or near the data (host_experts.h, whose sum the next operation adds). An
 * operation is enqueued when it is submitted, behind the events of what it comes after,
 * between two events of its own, whose times are its start and end. Everything is
 * launched eagerly, never from a graph. `promote` does nothing, and neither does
 * `cancel`: what is enqueued is done.
 *
 * Times count from begin(). `issued` is when the host had enqueued the operation, or its
 * start where it comes after nothing but its lane: a lane that idles then waits for the
 * launch. wait() also reads back what the host would decide on, the ids that a gate chose
 * or the tokens that a head gave, and is observed as OP_HOST.
 *
 * The observer is told of an operation once it has ended and is retired, in order of
 * submission. After a failure nothing is done any more, and check() and drain() say why.
 */
#ifndef MOESIM_GPU_EXEC_DEVICE_H
#define MOESIM_GPU_EXEC_DEVICE_H

#include "weights.h"

#include "sim/exec/op.h"

/* Owned by the device until it is closed: made once, for one executor after another. */
struct exec_device_streams {
    struct device_stream *compute, *in[WORK_CLASSES], *out, *back, *trip;
};
int exec_device_streams_new(struct device *d, struct exec_device_streams *s,
                            struct err *e);

struct exec_device_options {
    struct device *device; /* all borrowed until freed */
    const struct exec_device_streams *streams;
    const struct weights *weights;
    const struct model *model;
    /* Sums of passes that room is made for at the start, so that no pass has to; or NULL.
     */
    const struct cost_batch *largest;
    exec_observer *observe; /* NULL: nobody */
    void *observe_context;
    /* Given the hidden state (rows, hidden) at the end of each pass, as floats, once its
     * head is waited for. NULL: nobody. */
    void (*hidden)(void *context, uint64_t pass, uint32_t rows, uint32_t columns,
                   const float *value);
    void *hidden_context;
    /* For tests of dependencies: a slot is filled with NaN as the copy into it begins,
     * the copy idles for so long before it goes on, and a group before it reads its
     * slots. */
    bool poison;
    double stall_copy_ns, stall_ns;
};

/* What was done, counted where it is done. */
struct exec_device_counts {
    uint64_t copies[WORK_CLASSES], in_bytes[WORK_CLASSES]; /* by class */
    uint64_t copies_out, out_bytes;
    uint64_t groups;
    uint64_t host_runs;     /* experts computed by the host's processors */
    uint64_t near_runs;     /* ... in the place of a near-data unit */
    const uint64_t *tokens; /* (layer, expert): rows computed; borrowed */
};

extern const struct exec_ops exec_device_ops;

struct exec *exec_device_new(const struct exec_device_options *o);
/* Waits for what is enqueued, unless the device has failed. NULL: nothing. */
void exec_device_free(struct exec *x);
struct exec_device_counts exec_device_counts(const struct exec *x);
/* What is shared instead of being there for each layer or expert, in whole sentences; ""
 * if nothing is. Owned. */
char *exec_device_describe(const struct exec *x);

#endif

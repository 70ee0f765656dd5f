/* Experts of a layer that run where their weights are, for the device executor: hidden
 * states come to host memory, workers compute (a stream of the host device each, for
 * every processor but one, in fp32), and what they give goes back, to be added to the
 * hidden state. One group at a time.
 *
 * OP_HOST_EXPERTS: of each token that chose any of them the hidden state crosses once,
 * and one sum comes back. OP_NEAR_EXPERTS: each expert's rows cross for it alone, both
 * ways, as to a unit beside the memory; no such unit is driven, the same workers stand in
 * for it, so that what comes out is right and how long it takes means nothing.
 *
 * begin() only enqueues. The workers cannot wait for another device's event, so that the
 * caller's thread lets them begin: step(), now and then, does so once the rows are there,
 * and end() waits for both. Then add() enqueues the sum. */
#ifndef MOESIM_GPU_HOST_EXPERTS_H
#define MOESIM_GPU_HOST_EXPERTS_H

#include "weights.h"

#include "sim/exec/op.h"

struct host_experts;

/* `trip` is the stream that rows travel on. Borrows all until freed. Returns owned, or
 * NULL. */
struct host_experts *host_experts_new(struct device *d, const struct weights *w,
                                      const struct model *m, struct device_stream *trip,
                                      struct err *e);
void host_experts_free(struct host_experts *h);

/* All 0 or -1. `normed` is (tokens, hidden) in device memory. */
int host_experts_begin(struct host_experts *h, const struct op *op, const void *normed,
                       struct err *e);
int host_experts_step(struct host_experts *h, struct err *e);
/* When it returns, the way back is enqueued. */
int host_experts_end(struct host_experts *h, struct err *e);
/* On a stream that comes after the way back. */
int host_experts_add(struct host_experts *h, struct device_stream *s, void *hidden,
                     struct err *e);

#endif

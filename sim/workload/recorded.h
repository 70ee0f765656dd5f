/* Recorded passes: the batches that the trace's engine ran, in their order. Rows keep the
 * order of the recording; a request's rows may lie apart in a pass. Of an encoder-decoder
 * model the prompts' rows come first, each side in the order of the recording; refused
 * are a prompt that was recorded in several passes, and an answer before its prompt. */
#ifndef MOESIM_WORKLOAD_RECORDED_H
#define MOESIM_WORKLOAD_RECORDED_H

#include "row_block.h"
#include "workload.h"

struct recorded;

/* `window`: of the model's attention, 0 for none. `request` has one entry per trace
 * request; `arrival` is set when a request is first seen. Both arrays and the trace are
 * borrowed. */
struct recorded *recorded_new(const struct rows_shape *s, uint32_t window,
                              struct workload_request *request);
void recorded_free(struct recorded *r);

/* Fills all of `p` but index and not_before. 1, 0: no more, -1. Passes without rows are
 * passed over. */
int recorded_next(struct recorded *r, sim_time now, struct pass *p, struct err *e);

#endif

/* An executor in front of another one, which it hands every call on to: what counts,
 * watches or disturbs is written once, in a table of operations that takes these
 * functions for the rest. Such an executor's `struct exec` begins with a struct
 * exec_forward. */
#ifndef MOESIM_EXEC_EXEC_FORWARD_H
#define MOESIM_EXEC_EXEC_FORWARD_H

#include "op.h"

struct exec_forward {
    const struct exec_ops *ops; /* borrowed, as is `inner` */
    struct exec *inner;
};

int exec_forward_begin(struct exec *x, const struct exec_slots *slots, struct err *e);
int exec_forward_check(struct exec *x, struct err *e);
op_id exec_forward_submit(struct exec *x, const struct op *op);
sim_time exec_forward_wait(struct exec *x, op_id id);
sim_time exec_forward_now(struct exec *x);
void exec_forward_sleep_until(struct exec *x, sim_time t);
bool exec_forward_done(struct exec *x, op_id id);
void exec_forward_promote(struct exec *x, op_id id);
void exec_forward_cancel(struct exec *x, op_id id);
void exec_forward_times(struct exec *x, const op_id *id, size_t count,
                        struct op_times *out);
void exec_forward_retire(struct exec *x, op_id id);
int exec_forward_drain(struct exec *x, struct err *e);
/* All of them, to start a table from. */
extern const struct exec_ops exec_forward_ops;

#endif

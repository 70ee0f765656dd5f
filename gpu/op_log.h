/* The operations that a device executor has enqueued and may still be asked for, each
 * with the events of its start and end, and the tie between the device's clock and the
 * host's.
 *
 * Ids count from 1. Operations are forgotten in order, once they are retired and ended,
 * and their events are used again. */
#ifndef MOESIM_GPU_OP_LOG_H
#define MOESIM_GPU_OP_LOG_H

#include "device.h"

#include "sim/exec/op.h"

struct op_logged {
    struct device_event *start, *end; /* NULL: nothing was enqueued */
    bool pending;                     /* its end is not recorded yet */
    sim_time issued;
    enum op_kind kind;
    enum op_lane lane;
    uint32_t layer, expert;
};

struct op_log {
    struct device *d;
    struct op_logged *ring; /* of [first, next) */
    size_t room;            /* a power of two */
    op_id first, next;
    struct device_event **spare; /* events not in use */
    size_t spares, spare_room;
    int64_t zero_ns;           /* where times count from, by the host's clock */
    struct device_event *near; /* what events are compared with: no longer ago than */
    double near_ns;            /* needed, and when it was */
};

void op_log_init(struct op_log *l, struct device *d);
/* The device has nothing left to do, or has failed. */
void op_log_release(struct op_log *l);

/* Times count from now on: some records on an idle stream, the one of which most is known
 * is kept. 0 or -1. */
int op_log_zero(struct op_log *l, struct device_stream *s, struct err *e);
/* The host's clock. */
sim_time op_log_now(const struct op_log *l);
/* When an event was reached. A GPU tells the time between two events as a float, which
 * after a minute knows no microseconds: so the event they are compared with moves on as
 * operations are forgotten. */
sim_time op_log_time(const struct op_log *l, struct device_event *v);

/* An event to record; NULL on failure. Given back with give, which takes NULL. */
struct device_event *op_log_event(struct op_log *l, struct err *e);
void op_log_give(struct op_log *l, struct device_event *v);

/* The next operation, without events; valid until the next one is added. */
struct op_logged *op_log_add(struct op_log *l, const struct op *op);
/* NULL: none, or forgotten. */
struct op_logged *op_log_find(const struct op_log *l, op_id id);
/* It ended, or nothing was enqueued. */
bool op_log_ended(const struct op_log *l, const struct op_logged *x);
/* Of one that has ended. */
struct op_times op_log_times(const struct op_log *l, const struct op_logged *x);
/* Drops the first one. */
void op_log_forget(struct op_log *l);

#endif

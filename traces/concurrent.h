/* Batches of concurrent requests: slots take the requests in order, each the next one as
 * soon as its own ends, so that requests are not aligned by step. A step is the next row
 * of every slot; steps end when a slot stays empty. Rows of a slot are read some at a
 * time, so that few blocks of the file are unpacked twice. */
#ifndef MOESIM_TRACES_CONCURRENT_H
#define MOESIM_TRACES_CONCURRENT_H

#include "trace.h"

struct concurrent_step {
    uint32_t slots;
    const uint16_t *const *expert; /* (slot): (layer, top_k), the executed ones */
    const uint32_t *const *mass;   /* of the same (gate_mass.h), where asked for */
};

struct concurrent_plan {
    uint32_t slots;
    unsigned phases; /* 1 << enum trace_phase of the rows that count; others are passed */
    const uint32_t *request; /* [requests], ascending; NULL: all of the trace. Borrowed */
    uint64_t requests;
    bool masses;        /* the trace has scores */
    uint64_t rows_most; /* no step begins once there were so many */
    void (*step)(void *context, const struct concurrent_step *s);
    void *context;
};

struct concurrent;

/* Of `t`, which is borrowed. Owned. */
struct concurrent *concurrent_new(struct trace *t, const struct concurrent_plan *plan);
void concurrent_free(struct concurrent *c);

/* Takes the steps that need no request behind `last`, which ascends. 0 or -1. */
int concurrent_go(struct concurrent *c, uint64_t last, struct err *e);
uint64_t concurrent_steps(const struct concurrent *c);

#endif

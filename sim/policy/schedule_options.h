/* Options of the schedule slot that all its plug-ins share. They matter to runs over
 * several GPUs, and where experts are launched one by one. */
#ifndef MOESIM_POLICY_SCHEDULE_OPTIONS_H
#define MOESIM_POLICY_SCHEDULE_OPTIONS_H

#include "sim/base/config.h"

#include <stdbool.h>

/* The forms of models/collective.h; auto is forward over several nodes
 * whose GPUs NVLink joins, else flat. */
enum schedule_exchange {
    EXCHANGE_AUTO,
    EXCHANGE_FLAT,
    EXCHANGE_RAILS,
    EXCHANGE_FORWARD,
    EXCHANGE_NORMAL,
    EXCHANGE_LOW_LATENCY
};

enum schedule_experts {
    EXPERTS_GROUPED, /* one grouped GEMM for all experts of a GPU */
    EXPERTS_SERIAL   /* a loop that launches each expert's own kernels */
};

enum schedule_loads {
    LOADS_TOGETHER, /* what a step has loaded runs in one group when all of it is there */
    LOADS_EACH      /* ... expert by expert as it comes */
};

struct schedule_params {
    int exchange; /* enum schedule_exchange */
    bool
        fp8_dispatch; /* rows are dispatched in fp8 with scales; sums come back in full */
    int experts;      /* enum schedule_experts */
    int loads;        /* enum schedule_loads */
    bool empty;       /* serial: experts without a row are launched, too */
    bool wait;        /* the host waits for the rows before it launches experts */
};
extern const struct option schedule_options[];

/* Whether only experts that have rows are launched, one by one: the host must know them.
 */
static inline bool schedule_launches_active(const struct schedule_params *s)
{
    return s->experts == EXPERTS_SERIAL && !s->empty;
}

#endif

/* Static and continuous batching written down naively, from the contract of
 * sim/workload/workload.h alone: what the workload is compared with. */
#ifndef MOESIM_TESTS_NAIVE_WORKLOAD_H
#define MOESIM_TESTS_NAIVE_WORKLOAD_H

#include "row_trace.h"

enum naive_status { NAIVE_WAITING, NAIVE_RUNNING, NAIVE_DONE };

/* A request and the list of rows that it is served; NAIVE_NO_ROW: any of its own. */
#define NAIVE_NO_ROW UINT64_MAX
struct naive_request {
    uint64_t number;
    uint32_t prompt, rows; /* rows to serve: of the prompt, and in all */
    uint64_t *row;         /* [rows] trace rows */
    uint32_t *position;    /* [rows] */
    sim_time arrival;
    enum naive_status status;
    uint32_t served;
    uint32_t outputs, firsts;
};

struct naive {
    const struct workload_params *p;
    const struct row_trace *s;
    struct naive_request q[ROW_TRACE_REQUESTS];
    uint32_t count;
    uint32_t running[ROW_TRACE_REQUESTS]; /* in order of admission */
    uint32_t runs;
    uint32_t pick[ROW_TRACE_REQUESTS], pick_rows[ROW_TRACE_REQUESTS], picks;
    uint64_t rows, drawn, skipped;
};

/* Plans request `k` of a zeroed `n` with p and s set. `prompt` and `output` are the
 * lengths that a request file gives, or -1: as the trace has them. */
void naive_add(struct naive *n, uint32_t k, int64_t prompt, int64_t output);
void naive_release(struct naive *n);
/* Fills the picks of the next pass at time `now`; false when all is done. */
bool naive_plan_pass(struct naive *n, sim_time now, sim_time *not_before);

#endif

/* Small random traces of two layers whose routing, scores and predictions spell the
 * number of their row, so that a test can tell where a row of a pass came from; and
 * workloads of them. */
#ifndef MOESIM_TESTS_ROW_TRACE_H
#define MOESIM_TESTS_ROW_TRACE_H

#include "sim/workload/workload.h"

#define ROW_TRACE_REQUESTS 64
#define ROW_TRACE_PASSES 4096
#define ROW_TRACE_WINDOW 7 /* of attention in every other layer of the model */

/* What a trace is made of. */
struct row_trace_plan {
    uint32_t requests;
    uint32_t prefill_to; /* the longest recorded prompt; 0: none is recorded */
    uint32_t decode_to;  /* the longest recorded answer */
    bool scores, arrivals, passes;
    bool sources;      /* request k comes from rank k % 7 */
    bool late_prefill; /* the last row of a request with decode rows is prefill */
    bool empty;        /* the last request has no rows */
};

struct row_trace {
    char *path;
    struct trace *trace;
    uint32_t prompt[ROW_TRACE_REQUESTS]; /* recorded prefill rows */
    uint64_t passes;
    uint64_t *pass_row[ROW_TRACE_PASSES]; /* the recorded passes */
    uint64_t pass_count[ROW_TRACE_PASSES];
};

/* Owned; the file is made in /tmp. Fails the test where it cannot. */
struct row_trace *row_trace_make(const struct row_trace_plan *plan, uint64_t seed);
/* Removes the file, too. */
void row_trace_free(struct row_trace *s);

/* The trace row that row `i` of `p` came from; fails the test unless all that was read of
 * it agrees. */
uint64_t row_trace_number(const struct pass *p, uint32_t i);

/* Two that most tests of the workload use, as the state of their group. */
struct row_traces {
    struct row_trace *decode; /* no prompt is recorded; scores, arrivals */
    struct row_trace *whole;  /* most prompts are; some requests end with them; passes */
};
int row_traces_set_up(void **state);
int row_traces_tear_down(void **state);

extern const struct model row_trace_model;
/* Static batches of one in a closed loop, prompts drawn. */
struct workload_params row_trace_params(void);
/* On that model, with all that the trace has. Owned; fails the test if refused. */
struct workload *row_trace_workload(const struct row_trace *s,
                                    const struct workload_params *p);

#endif

/* A trace held in memory, written to a file and measured with traces/details.h. A failure
 * fails the test. */
#ifndef MOESIM_TESTS_HAND_TRACE_H
#define MOESIM_TESTS_HAND_TRACE_H

#include "traces/details.h"

/* A trace in memory. */
struct hand {
    uint32_t layers, experts, top_k, candidates;
    enum trace_score_kind kind;
    uint32_t groups, requests;
    const uint32_t *rows;   /* [requests] */
    const uint16_t *group;  /* [requests] */
    const uint8_t *phase;   /* (row) */
    const uint16_t *expert; /* (row, layer, candidate) */
    const float *score;     /* the same, or NULL */
};

struct hand_figures {
    struct trace_statistics s;
    struct trace_details d;
};

/* Removes the file. */
struct hand_figures measure_file(const char *path);
struct hand_figures measure_hand(const struct hand *h);
void hand_figures_release(struct hand_figures *m);

/* That `value` is `want`, but for a share of it, or of 1 where it is less. */
void assert_within(double value, double want, double share);
/* ... but for rounding. */
void assert_near(double value, double want);

#endif

/* A small result of two policies, every number of which is round, so that what is printed
 * of it follows by hand. */
#ifndef MOESIM_TESTS_HAND_RESULT_H
#define MOESIM_TESTS_HAND_RESULT_H

#include "sim/result/result.h"

enum { HAND_POLICIES = 2, HAND_LAYERS = 2, HAND_REQUESTS = 2, HAND_GPUS = 4 };

/* Borrows from itself and from constants: nothing is released, and it must not move.
 *
 *            TPOT       TTFT      elapsed  latency  hits        link  busy
 *   a     10, 20 ms  100, 200 ms  1000 ms   900 ms  75 of 100   8 MB   400 ms
 *   b     20, 40 ms  150,  50 ms  2000 ms  1800 ms  90 of 100   9 MB  1000 ms
 */
struct hand {
    struct result r;
    struct result_policy p[HAND_POLICIES];
    struct run_layer layer[HAND_POLICIES][HAND_LAYERS];
    struct run_request request[HAND_POLICIES][HAND_REQUESTS];
    uint64_t gpu_rows[HAND_POLICIES][HAND_GPUS];
    uint64_t gpu_peak[HAND_POLICIES][HAND_GPUS]; /* 12, 13, 14, 15 GB; 5, 6, 7, 8 GB */
};

/* On one GPU. */
void hand_make(struct hand *h);
/* On four. */
void hand_make_parallel(struct hand *h);

#endif

/* Hits of cache policies against capacity, for all capacities at once where their
 * contents are nested (LRU and Belady that begin empty and admit everything:
 * distances.h), else by a replay of each size. The routing is looked through once for
 * each order of accesses; everything else reads that. Memory does not grow with the
 * trace. */
#ifndef MOESIM_EXPERIMENT_CURVE_RUN_H
#define MOESIM_EXPERIMENT_CURVE_RUN_H

#include "experiment.h"
#include "sim/result/curve.h"

/* Sizes that a policy is replayed at unless some are asked for, and those worth a look.
 */
enum { CURVE_REPLAYS = 64, CURVE_ROWS = 24 };

struct curve_request {
    const uint32_t *slots; /* [count] ascending, at least 1: the sizes to replay and look
                              at; borrowed */
    uint32_t count;        /* 0: evenly spread ones */
    unsigned threads;
    /* Told what is being done, and how much of it; from any thread, now and then. NULL:
     * nobody. */
    void (*progress)(void *context, const char *part, uint64_t done, uint64_t total);
    void *context;
};

/* `config` is as experiment_run() takes it, on one GPU; its policies differ in their
 * caches, which have no size, and its machine only has to be there: no memory is too
 * small. Fills `c` (owned). 0 or -1. */
int curve_run(struct cfg *config, const struct experiment_folders *folders,
              const struct curve_request *request, struct curve *c, struct err *e);

/* Whether curve_run() could be asked for that, as far as is known without reading the
 * trace's rows. 0 or -1. */
int curve_check(struct cfg *config, const struct experiment_folders *folders,
                const struct curve_request *request, struct err *e);

#endif

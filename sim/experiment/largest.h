/* The largest batch that fits: for each policy of a study, how many requests at once GPU
 * memory takes (`workload.batch`, or `workload.max_sequences` of continuous batching), by
 * doubling and halving. A batch fits if its run neither is refused nor has more in use,
 * on any GPU and in any pass, than may be used: weights, slots, staging, KV cache and the
 * activations of MoE layers. A static batch is run alone, as the workload's only one. */
#ifndef MOESIM_EXPERIMENT_LARGEST_H
#define MOESIM_EXPERIMENT_LARGEST_H

#include "experiment.h"
#include "sim/result/result_figures.h"

struct largest {
    char *policy;   /* owned */
    uint64_t batch; /* 0: not one request fits, as `why` says */
    bool all;       /* all requests of the trace fit at once; more were not tried */
    char *why;      /* what the next larger one said; owned, or NULL */
    struct run_memory memory; /* of the pass with most in use */
    uint64_t room_bytes;      /* that may be used */
    double figure[RESULT_FIGURES];
    unsigned runs;
};

/* Of all policies of the study, on up to `threads` threads. [policies] owned: free with
 * largest_free(). 0, 1 (stopped by a signal) or -1. */
int largest_find(const struct cfg *study, const struct experiment_folders *folders,
                 struct shared *shared, unsigned threads, struct largest **found,
                 size_t *count, struct err *e);
void largest_free(struct largest *l, size_t count);

#endif

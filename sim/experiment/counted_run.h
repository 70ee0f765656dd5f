/* Experiments on a trace of counts only: which placement over several GPUs is the more
 * even, and what moving costs. The configuration is that of any run; what needs rows, by
 * name of the field that the trace lacks, is refused. */
#ifndef MOESIM_EXPERIMENT_COUNTED_RUN_H
#define MOESIM_EXPERIMENT_COUNTED_RUN_H

#include "experiment.h"
#include "sim/result/counted.h"

/* Whether the configuration's trace is one. false where it cannot be read, as its run
 * will say. */
bool experiment_has_counts(const struct cfg *config);

/* Told, policy after policy, of the tokens of every GPU in each layer and pass. */
typedef void counted_told(void *context, const char *policy, uint64_t pass,
                          uint32_t decoder_layer, const uint64_t *gpu_tokens,
                          uint32_t gpus);

/* Runs it. `told` may be NULL. Fills `r` (owned). Returns 0; 1 if a signal stopped it
 * (the result covers what was done, and says so); or -1. */
int experiment_count(struct cfg *config, const struct experiment_folders *folders,
                     const struct experiment_hooks *hooks, counted_told *told,
                     void *context, struct counted *r, struct err *e);

#endif

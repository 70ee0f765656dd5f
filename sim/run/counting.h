/* A run of counts: what placements over several GPUs come to where only the tokens per
 * expert, layer and pass are known (a count-only trace).
 *
 * Experts are placed, replicas chosen and placements moved by the same code as in a run
 * of rows (placement.c, place.h), so that both give the same tokens, maps and moves.
 * Which rows chose which experts together, where they were and when is not known: there
 * is nothing of exchanges between GPUs, latencies, caches or attention. */
#ifndef MOESIM_RUN_COUNTING_H
#define MOESIM_RUN_COUNTING_H

#include "runner.h"

/* Owned arrays; run_counting_release. */
struct run_counting {
    struct run_result run; /* its books: passes, activations, computed and busiest rows,
                              migrations, of layers too; rows of GPUs; placements */
    uint64_t steps;        /* layers of passes that had tokens */
    double *imbalance;     /* [steps] tokens of the busiest GPU over the mean */
    uint64_t moved;        /* experts that were copied to another GPU */
    uint64_t replicas;     /* slots beyond the first of their experts, in the last
                              placement, all layers together */
    sim_time expert_time;  /* over the steps: of the GPU that computes longest */
};

/* Told of each step: the tokens of every GPU. */
typedef void counting_told(void *context, uint64_t pass, uint32_t layer,
                           const uint64_t *gpu_tokens);

/* Of a policy that leaves the choices as they are, places whole experts, chooses replicas
 * by turn or at random, and moves them at once; `setup` needs no workload and executor.
 * `told` may be NULL. Ends early, not finished, at file_interrupted(). 0 or -1; either
 * way release it. */
int run_counting(const struct run_setup *setup, struct trace *trace, counting_told *told,
                 void *context, struct run_counting *t, struct err *e);
void run_counting_release(struct run_counting *t);

#endif

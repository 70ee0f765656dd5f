/* What placements over several GPUs come to by counts alone: tokens per expert, layer and
 * pass. There are no times but those of experts' products, no requests, no caches, and
 * nothing of what GPUs send each other: counts do not tell. */
#ifndef MOESIM_RESULT_COUNTED_H
#define MOESIM_RESULT_COUNTED_H

#include "sim/run/books.h"

struct counted_policy {
    char *label;
    char *place;           /* "eplb slots=40 ..." */
    struct run_result run; /* books as far as counts go: passes, activations, computed and
                              busiest rows, migrations, rows of GPUs, placements */
    /* Tokens of the busiest GPU over the mean, of layers of passes that have tokens: 1 is
     * even. NaN without any. */
    double imbalance_mean, imbalance_p99, imbalance_most;
    uint64_t replicas; /* slots beyond the first of their experts, in all layers, of the
                          last placement */
    uint64_t moved;    /* experts that were copied to another GPU */
    sim_time expert_time; /* of the GPU that computes longest in each layer and pass, over
                             all of them */
};

struct counted {
    char *trace_path, *model, *machine;
    uint32_t layers, experts, gpus, nodes;
    uint16_t *moe_layer; /* [layers] */
    uint64_t passes;     /* of the trace */
    uint32_t policies;
    struct counted_policy *policy;
    char *notes; /* newline-separated sentences */
};
/* Frees what it owns, and leaves it empty. */
void counted_release(struct counted *c);

#endif

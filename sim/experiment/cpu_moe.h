/* How many layers' experts on the CPU: the fewest MoE layers whose experts must stay in
 * host memory (`offload: {name: layers, count: N, side: S}`, as llama.cpp's --n-cpu-moe)
 * so that dense weights, the experts of all other layers, staging slots and the KV cache
 * of a context for each sequence of the batch fit into the GPU memory that may be used.
 *
 * A count fits if the study with it passes the check that every run begins with. More
 * layers on the host take less memory, so that the least count is found by bisection, and
 * the check's refusal of one fewer is kept. Counts from there on are run, since fewer
 * layers need not be faster where prompts stream the experts of some. Contexts change
 * what memory holds (workload.context), not what is served: figures are those of the
 * study's own requests.
 *
 * The policy is the study's first one with `offload: layers`, else one of its own; its
 * other choices stay. */
#ifndef MOESIM_EXPERIMENT_CPU_MOE_H
#define MOESIM_EXPERIMENT_CPU_MOE_H

#include "experiment.h"
#include "sim/result/result_figures.h"

enum cpu_moe_side { CPU_MOE_FIRST, CPU_MOE_LAST, CPU_MOE_SIDES };
/* Times as many tokens per second from which the last layers are called better. */
#define CPU_MOE_WORTH 1.01
extern const char *const cpu_moe_side_name[CPU_MOE_SIDES];

/* A count that was run. */
struct cpu_moe_run {
    enum cpu_moe_side side;
    uint32_t count;
    uint64_t context; /* the longest one asked for that fits with it */
    struct run_memory memory;
    uint64_t dense_bytes, expert_bytes; /* what memory.weights are */
    uint64_t room_bytes;                /* that may be used */
    double on_cpu;                      /* share of accesses to experts that ran there */
    double figure[RESULT_FIGURES];
};

struct cpu_moe_answer {
    uint64_t context;
    enum cpu_moe_side side;
    bool fits;             /* with the experts of all layers on the host */
    uint32_t count;        /* the least that fits */
    uint64_t kv_bytes;     /* of the context, on one GPU */
    char *why;             /* what one fewer was told, or all; owned; NULL where 0 fit */
    size_t least, fastest; /* runs of that count, and of the most tokens per second */
};

struct cpu_moe {
    char *policy;            /* its name in the study; NULL: one of our own; owned */
    size_t policy_number;    /* in the study's list */
    bool parallel;           /* several GPUs, and bytes are those of one */
    uint32_t layers;         /* MoE layers */
    uint16_t *decoder_layer; /* [layers] of the model's decoder layers; owned */
    uint64_t longest;        /* tokens of a request; 0: not known beforehand */
    struct cpu_moe_answer *answer; /* contexts as asked, each with both sides */
    size_t answers;
    struct cpu_moe_run *run;
    size_t runs;
    size_t best; /* answer of the longest context that fits, by its fastest run */
};

struct cpu_moe_task {
    const struct cfg *study;
    const struct experiment_folders *folders;
    struct shared *shared;
    unsigned threads;
    /* Tokens, ascending; none: the study's own workload.context, or without one its
     * longest request, and the powers of two from CPU_MOE_SHORT to CPU_MOE_LONG above it
     * that fit at all. */
    const uint64_t *context;
    size_t contexts;
};
enum { CPU_MOE_SHORT = 4096, CPU_MOE_LONG = 131072 };

/* 0, 1 (stopped by a signal) or -1, also where nothing fits. Release either way. */
int cpu_moe_find(const struct cpu_moe_task *t, struct cpu_moe *m, struct err *e);
void cpu_moe_release(struct cpu_moe *m);

/* The study with a count. Owned, or NULL. */
struct cfg *cpu_moe_config(const struct cpu_moe_task *t, const struct cpu_moe *m,
                           enum cpu_moe_side side, uint32_t count, uint64_t context,
                           struct err *e);
/* What --n-cpu-moe has to be for the first `count` MoE layers: llama.cpp counts decoder
 * layers, dense ones too. */
uint32_t cpu_moe_decoder_layers(const struct cpu_moe *m, uint32_t count);

#endif

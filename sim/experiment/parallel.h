/* Runs over several GPUs: what the configuration's `parallel` says, and the sizes that
 * follow for a policy. */
#ifndef MOESIM_EXPERIMENT_PARALLEL_H
#define MOESIM_EXPERIMENT_PARALLEL_H

#include "models/topology.h"
#include "sim/run/runner.h"

enum parallel_attention { ATTENTION_DATA, ATTENTION_TENSOR };

struct parallel_params {
    int64_t gpus;
    int attention;  /* enum parallel_attention */
    int64_t tensor; /* GPUs that share an attention block */
};
extern const struct option parallel_options[];

/* The first GPUs of a fleet of such machines as one topology, whole nodes if there are
 * several. 0 or -1. */
int parallel_topology(const struct machine *m, const struct parallel_params *p,
                      struct topology *t, struct err *e);

/* GPUs that share the attention of a request. */
uint32_t parallel_tensor(const struct parallel_params *p);

/* What a policy's run over several GPUs needs besides. */
struct parallel_setup {
    struct run_parallel run; /* topology and exec are the caller's to fill */
    struct model model;      /* what one GPU holds; borrows of the whole one */
    struct cost cost;        /* of that model */
    uint64_t *expert_bytes;  /* [layers] on one GPU; owned */
    uint64_t weight_bytes;   /* of one GPU: of experts in its cache and what is beside */
    bool event_driven, may_graph; /* what the executor must, and can be */
};

/* Slots for the experts of a layer on all GPUs. */
uint32_t parallel_slots(const struct policy *p, const struct topology *t,
                        uint32_t experts);
/* Slots of a layer on one GPU, as many as its cache can hold; with shards: experts. */
uint32_t parallel_local(const struct policy *p, const struct topology *t,
                        uint32_t experts);
/* Gives a policy that says nothing of its cache's size one that holds all of a GPU's
 * experts, from the start unless it says otherwise. */
void parallel_fill_cache(struct policy *p, const struct topology *t, uint32_t experts);
/* expert_bytes[layers], owned: of what one GPU holds of an expert. */
uint64_t *parallel_expert_bytes(const struct policy *p, const struct topology *t,
                                const struct trace_info *trace,
                                const uint64_t *expert_bytes);
/* Whether every GPU's cache has room for all its experts, expert_bytes[layers] each;
 * `whole`: and holds them from the start. */
bool parallel_holds_all(const struct policy *p, const struct topology *t,
                        const struct trace_info *trace, const uint64_t *expert_bytes);
bool parallel_is_whole(const struct policy *p, const struct topology *t,
                       const struct trace_info *trace, const uint64_t *expert_bytes);
/* Whether copies come in two classes or share links, which FIFO lanes cannot do. */
bool parallel_needs_events(const struct policy *p, const struct parallel_params *params,
                           const struct topology *t, const struct trace_info *trace,
                           const uint64_t *expert_bytes);
/* The stages that its schedule takes a layer through. */
struct program parallel_program(const struct policy *p, const struct topology *t);
/* For a policy that has been checked. 0 or -1. */
int parallel_setup_init(struct parallel_setup *setup, const struct policy *p,
                        const struct parallel_params *params, const struct topology *t,
                        const struct cost *whole, const struct trace_info *trace,
                        const uint64_t *expert_bytes, struct err *e);
void parallel_setup_release(struct parallel_setup *setup);

#endif

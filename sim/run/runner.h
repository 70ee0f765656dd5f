/* The runner: walks the workload pass by pass and layer by layer, asks the policy,
 * submits operations to the executor, and keeps the books. It knows the executor only
 * through `exec_ops`, so the same run is predicted by exec_sim.c and performed by gpu/.
 */
#ifndef MOESIM_RUN_RUNNER_H
#define MOESIM_RUN_RUNNER_H

#include "books.h"
#include "future.h"
#include "sim/policy/policy.h"
#include "sim/workload/workload.h"

#include "sim/exec/op.h"

/* Several GPUs. Borrows everything. */
struct run_parallel {
    const struct topology *topology; /* as many ranks as GPUs */
    struct exec *const *exec;        /* one for each */
    uint32_t tensor; /* GPUs that share an attention block; 1: each its own */
    uint32_t slots;  /* for experts of a layer, on all GPUs, */
    uint32_t local;  /* ... and on each; with shards: experts */
    bool whole;      /* every GPU's cache holds all its experts from the start */
    bool exchange;   /* hosts wait for counts before dispatch */
    bool balanced;   /* for a bound: experts' work is spread evenly, at its least */
    /* (sample, layer, expert) tokens in the batches of a profile, for placement; or NULL
     */
    const uint32_t *history;
    uint32_t samples;
};

/* Which misses could have been foretold: a predictor that is asked at every step, once
 * for each distance, and loads nothing; what it finds is in the books (run_watched). It
 * sees what a prefetcher sees but what is resident, and changes nothing. */
struct run_watch {
    const struct prefetch_type *type; /* needs nothing beyond executed experts */
    uint32_t distances;
    uint32_t distance[RUN_WATCH_DISTANCES];  /* ascending, at least 1 */
    const void *params[RUN_WATCH_DISTANCES]; /* of the type, each for its distance */
};

struct run_setup {
    const struct policy *policy;
    const struct run_parallel *parallel; /* NULL: one GPU that may hold every expert;
                                            else `exec` is not used, and cost.model is
                                            what one GPU holds of the model */
    struct workload *workload;           /* fresh; borrowed */
    const struct trace_info *trace;      /* layers, experts, top_k */
    const struct cost *cost;
    const struct exec_ops *ops;
    struct exec *exec;
    const uint64_t *expert_bytes; /* [layers] */
    bool pageable;                /* ... are copied from pageable memory */
    enum tier home;               /* where non-resident experts live */
    uint64_t
        host_bytes; /* experts homed in host memory, in id order; the rest in storage */
    bool dense;     /* cost.model is the dense equivalent: no layer has experts, and
                       `policy` nothing to do but its label */
    bool decides;   /* the host needs each layer's routing before it can go on; false only
                       where every expert is resident from the start */
    uint64_t
        kv_room_bytes; /* GPU memory left for the KV cache; UINT64_MAX: not checked */
    uint64_t kv_kept_tokens; /* KV entries in a home that the cache has room for from the
                                start; it grows where a pass has more */
    bool keep_passes;        /* fill pass_spool */
    struct future_reader *future;  /* for oracles; or NULL */
    struct future_writer *record;  /* told every pass, for bounds afterwards; or NULL */
    const struct run_watch *watch; /* NULL: misses are not watched */
    const uint64_t *profile;       /* (layer, expert) or NULL */
    uint64_t chunk_bytes;          /* of copies; 0: whole experts */
    uint64_t seed;
    void (*progress)(void *context, const struct workload *w); /* now and then, or NULL */
    void *progress_context;
};

/* GPU memory that so many KV entries of every layer take; behind an encoder of every
 * decoder layer, those of the prompts that it attends to included. */
uint64_t run_kv_bytes(const struct model *m, uint64_t kv_tokens);
/* Refuses a pass (WORKLOAD_NO_PASS: the context that is kept) whose KV cache takes
 * `bytes` where there is less `room`. 0 or -1. */
int run_refuse_kv(const struct policy *p, uint64_t pass, uint64_t bytes, uint64_t room,
                  struct err *e);

/* Only finds out what every step routes to, for `record`: no cache, no executor. */
int run_routing(const struct run_setup *setup, struct err *e);

/* Runs to the end, or until file_interrupted(). Fills `r`. 0 or -1. */
int run_policy(const struct run_setup *setup, struct run_result *r, struct err *e);

#endif

/* The runner: walks the workload pass by pass and layer by layer, asks the policy,
 * submits operations to the executor, and keeps the books. It knows the executor only
 * through `exec_ops`, so the same run is predicted by exec_sim.c and performed by gpu/.
 *
 * Attribution. A pass lasts from the moment the host takes it up until its tokens are
 * back on the host. Walking the compute lane, every picosecond of that belongs to exactly
 * one of: dense compute, expert compute (operations running), exposed copy (idle, waiting
 * for weights), exposed communication (0 on one GPU), imbalance wait (idle, waiting for
 * experts that run elsewhere), launch and host (idle, waiting to be launched, for a host
 * decision or the final read-back). The six sum to the latency exactly.
 *
 * Experts elsewhere are those on the host. They begin behind their layer's gate; the next
 * dense block (or the head) waits for them. Of the time that the lane then idles, behind
 * the launch, all until they end is imbalance wait, booked on their layer, even where a
 * copy is waited for too (schedule: serial); what is left is exposed copy. What they take
 * while the lane runs something is in no share. */
#ifndef MOESIM_RUN_RUNNER_H
#define MOESIM_RUN_RUNNER_H

#include "future.h"
#include "sim/policy/policy.h"
#include "workload.h"

#include "models/op.h"

#include <stdio.h>

enum run_share {
    SHARE_DENSE,
    SHARE_EXPERT,
    SHARE_COPY,
    SHARE_COMM,
    SHARE_IMBALANCE,
    SHARE_HOST,
    RUN_SHARES
};
const char *run_share_name(enum run_share share);

/* Counts of a pass or of a layer. Bytes are weights over the host (or storage) link. */
struct run_counts {
    uint64_t activations;   /* tokens x top_k executed, after drops */
    uint64_t dropped;       /* choices dropped by the gate */
    uint64_t accesses;      /* distinct experts per step: hits + all misses below */
    uint64_t hits;          /* resident, or on its way by prefetch */
    uint64_t late;          /* ... of those, not there yet when its turn came */
    uint64_t loads;         /* misses that were kept */
    uint64_t bypasses;      /* misses that went through a staging slot */
    uint64_t host_runs;     /* misses that ran on the host and loaded nothing */
    uint64_t prefetches;    /* loads ahead of use */
    uint64_t prefetch_used; /* prefetched experts that were accessed before eviction */
    uint64_t demand_bytes, prefetch_bytes, wasted_bytes, out_bytes;
};

struct run_pass {
    sim_time start, latency;
    sim_time share[RUN_SHARES]; /* sums to latency */
    uint32_t rows, outputs;
    struct run_counts counts;
};

struct run_layer {
    struct run_counts counts;
    sim_time share[RUN_SHARES]; /* of this layer's dense block, gate and experts */
    sim_time late_time;         /* sum over late experts of how late they were */
    sim_time queue_time;        /* sum over demand copies of their wait for the link */
    sim_time copy_time;         /* sum over demand copies of their time on the link */
    uint64_t copies;            /* demand copies */
};

struct run_request {
    uint64_t trace_request;
    sim_time arrival, first_token, last_token;
    uint32_t prompt_tokens, output_tokens;
    uint16_t group;
    bool finished; /* else only the token times and output_tokens are filled */
};

/* What one policy's run gave. Owned arrays; run_result_release. */
struct run_result {
    struct run_pass total; /* counts and shares of all passes; latency is their sum */
    uint64_t passes;
    uint64_t prefill_rows, decode_rows, output_tokens;
    sim_time elapsed; /* from 0 to the end of the last operation */
    sim_time compute_busy, copy_busy, host_busy; /* host_busy: running experts */
    uint32_t layers;
    struct run_layer *layer; /* [layers] MoE layers */
    uint64_t requests;
    struct run_request *request; /* [requests] */
    FILE *pass_spool;            /* struct run_pass records from the start, or NULL */
    uint64_t rows_resampled, prompts_skipped;
    uint64_t digest;
    uint64_t cache_bytes, staging_bytes; /* GPU memory for experts */
    uint64_t kv_peak_bytes;              /* of the passes so far */
    uint32_t cache_slots;
    bool finished; /* false: stopped by a signal */
};
void run_result_release(struct run_result *r);

struct run_setup {
    const struct policy *policy;
    struct workload *workload;      /* fresh; borrowed */
    const struct trace_info *trace; /* layers, experts, top_k */
    const struct cost *cost;
    const struct exec_ops *ops;
    struct exec *exec;
    const uint64_t *expert_bytes; /* [layers] */
    bool pageable;                /* ... are copied from pageable memory */
    enum tier home;               /* where non-resident experts live */
    uint64_t
        host_bytes; /* experts homed in host memory, in id order; the rest in storage */
    bool decides;   /* the host needs each layer's routing before it can go on; false only
                       where every expert is resident from the start */
    uint64_t
        kv_room_bytes; /* GPU memory left for the KV cache; UINT64_MAX: not checked */
    bool keep_passes;  /* fill pass_spool */
    struct future_reader *future; /* for oracles; or NULL */
    struct future_writer *record; /* told every pass, for bounds afterwards; or NULL */
    const uint64_t *profile;      /* (layer, expert) or NULL */
    uint64_t chunk_bytes;         /* of copies; 0: whole experts */
    uint64_t seed;
    void (*progress)(void *context, const struct workload *w); /* now and then, or NULL */
    void *progress_context;
};

/* Only finds out what every step routes to, for `record`: no cache, no executor. */
int run_routing(const struct run_setup *setup, struct err *e);

/* Runs to the end, or until file_interrupted(). Fills `r`. 0 or -1. */
int run_policy(const struct run_setup *setup, struct run_result *r, struct err *e);

#endif

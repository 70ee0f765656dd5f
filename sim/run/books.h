/* The books of a run: what was counted, and where every picosecond of a pass went. The
 * runner fills them; results keep them.
 *
 * Attribution. A pass lasts from the moment the host takes it up until its tokens are
 * back on the host. Walking the compute lane, every picosecond of that belongs to exactly
 * one of: dense compute, expert compute (operations running), experts on the host (idle,
 * waiting for experts that run there), exposed copy (idle, waiting for weights), exposed
 * communication (0 on one GPU), imbalance wait (idle, waiting for other GPUs; 0 on one),
 * launch and host (idle, waiting to be launched, for a host decision or the final
 * read-back). The seven sum to the latency exactly.
 *
 * Of several GPUs each one's time is so divided and the shares are the means over them.
 * A GPU that idles before an operation that follows a collective waits for the others
 * until that begins (imbalance wait), then for it (exposed communication); one that has
 * its tokens back waits for the others, too, until the pass ends. Counts are sums over
 * the GPUs.
 *
 * Experts on the host begin behind their layer's gate; the next dense block (or the head)
 * waits for them. Of the time that the lane then idles, behind the launch, all until they
 * end is theirs, booked on their layer, even where a copy is waited for too (schedule:
 * serial); what is left is exposed copy. What they take while the lane runs something is
 * in no share; host_busy has all of it. */
#ifndef MOESIM_RUN_BOOKS_H
#define MOESIM_RUN_BOOKS_H

#include "sim/base/units.h"
#include "sim/policy/select_quality.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum run_share {
    SHARE_DENSE,
    SHARE_EXPERT,
    SHARE_HOSTED, /* experts on the host, or near the data */
    SHARE_COPY,
    SHARE_COMM,
    SHARE_IMBALANCE,
    SHARE_HOST,
    RUN_SHARES
};
const char *run_share_name(enum run_share share);

/* Counts of a pass or of a layer. Bytes are weights over the host (or storage) link. */
struct run_counts {
    uint64_t activations; /* tokens x top_k executed, after drops */
    uint64_t dropped;     /* choices dropped by the gate */
    uint64_t accesses;    /* distinct experts per step: hits + all misses below */
    uint64_t hits;        /* resident, or on its way by prefetch */
    uint64_t late;        /* ... of those, not there yet when its turn came */
    uint64_t loads;       /* misses that were kept */
    uint64_t swaps;       /* ... of those, for which something resident was evicted */
    uint64_t bypasses;    /* misses that went through a staging slot */
    uint64_t host_runs;   /* misses that ran on the host and loaded nothing */
    uint64_t near_runs;   /* ... on a near-data unit */
    uint64_t low_uses;    /* accesses that an expert in fewer bits served, hit or miss */
    uint64_t low_loads;   /* ... of those, loaded so */
    uint64_t prefetches;  /* loads ahead of use */
    uint64_t prefetch_used; /* prefetched experts that were accessed before eviction */
    uint64_t displaced; /* misses that loaded an expert which a prefetch had evicted */
    uint64_t demand_bytes, prefetch_bytes, wasted_bytes, out_bytes;
    uint64_t expert_gemms; /* launches of experts' products on GPUs (op_expert_gemms());
                              of experts that come late it is times that group them */
    /* Several GPUs. */
    uint64_t
        computed_rows; /* rows that experts ran on, padding of static gates included */
    uint64_t busiest_rows; /* ... of the GPU with most, summed over the steps */
    uint64_t sent_rows;    /* rows dispatched to another GPU, as its form counts them */
    uint64_t sent_bytes;   /* by dispatch and combine, or what shards have instead */
    uint64_t migrations; /* rebalances that moved an expert; a layer's: one of the layer,
                            so that a rebalance counts in every layer that it changes */
    uint64_t migrated_bytes;
};

/* Misses that ran where their weights are stored. */
static inline uint64_t run_in_place(const struct run_counts *c)
{
    return c->host_runs + c->near_runs;
}

/* GPU memory in use, in bytes. */
struct run_memory {
    uint64_t weights;     /* of dense blocks and head, and slots for experts */
    uint64_t buffers;     /* staging slots */
    uint64_t kv;          /* the KV cache of a pass's requests */
    uint64_t activations; /* of the MoE layer that takes most (models/activation.h) */
};
static inline uint64_t run_memory_bytes(const struct run_memory *m)
{
    return m->weights + m->buffers + m->kv + m->activations;
}

struct run_pass {
    sim_time start, latency;
    sim_time share[RUN_SHARES]; /* sums to latency */
    uint64_t rows, outputs;
    struct run_memory memory; /* of the GPU that has most in use; a total's: of the pass
                                 that has */
    struct run_counts counts;
};

struct run_layer {
    struct run_counts counts;
    sim_time share[RUN_SHARES];    /* of this layer's dense block, gate and experts */
    sim_time late_time;            /* sum over late experts of how late they were */
    sim_time queue_time;           /* sum over demand copies of their wait for the link */
    sim_time copy_time;            /* sum over demand copies of their time on the link */
    uint64_t copies;               /* demand copies */
    struct select_quality quality; /* of a select that changes routing */
};

/* What a watch (runner.h) found in a layer, at one distance. A predictor *names* experts
 * of a step that is `distance` ahead of the one whose routing is known; it loads none.
 *
 * Times are of copies on the link, by what they really took. Let a miss's copy take c,
 * be asked for at i, and its naming have been possible since a; I(t) is how long the link
 * was idle until t. Between a and i at most min(c, i - a) of the copy fits: `fits_time`.
 * Into the link's idle time then fits less. Copies take that time in the order of their
 * misses, no moment of it twice: with f, up to where it is taken,
 *
 *   x = min(c, I(i) - max(I(a), f)),  then  f = max(I(a), f) + x,
 *
 * and `hidden_time` is the sum of x over the named misses; `all_hidden_time` the same
 * with all misses named: no predictor of this distance hides more. The first is a bound,
 * for naming in vain takes none of the time; with the link as busy as it was both leave
 * out that a copy which went ahead leaves room where it was. */
#define RUN_WATCH_DISTANCES 8
struct run_watched {
    uint32_t distance, layer;
    uint64_t misses;     /* that loaded: kept or through a staging slot */
    uint64_t named;      /* ... of those, before their step was known */
    uint64_t guesses;    /* experts that were named for this layer's steps */
    uint64_t right;      /* ... of those, that the step then ran */
    uint64_t absent;     /* loads that all of them would have taken: of experts that were
                            not resident when they were named, on each GPU that should hold
                            them */
    sim_time named_time; /* sum over the named misses of their copies' time on the link */
    sim_time fits_time, hidden_time; /* of that */
    sim_time all_hidden_time;        /* of all misses' */
};

struct run_request {
    uint64_t trace_request;
    sim_time arrival, first_token, last_token;
    uint32_t prompt_tokens, output_tokens;
    uint16_t group;
    bool finished; /* else only the token times and output_tokens are filled */
};

/* The placements that a run over several GPUs used: the first ones, as far as
 * RUN_PLACEMENT_BYTES go, and always the last one. */
#define RUN_PLACEMENT_BYTES ((size_t)16 << 20)
struct run_placements {
    uint64_t count;   /* that are kept */
    uint64_t made;    /* in all; 0 on one GPU, and where every GPU has a slice of every
                         expert */
    uint32_t slots;   /* of a layer, on all GPUs */
    uint64_t *pass;   /* [count] from which each holds; 0, then ascending */
    uint16_t *expert; /* (placement, layer, slot) expert there; 65535: none */
};

/* What one policy's run gave. Owned arrays; run_result_release. */
struct run_result {
    struct run_pass total; /* counts and shares of all passes; latency is their sum */
    uint64_t passes;
    uint64_t prefill_rows, decode_rows, output_tokens;
    bool counts_only; /* nothing was timed (engine: count): no sim_time means anything */
    sim_time elapsed; /* from 0 until the last pass has its tokens */
    sim_time tail; /* copies in the background that end later: until the last one does */
    sim_time compute_busy, copy_busy, host_busy; /* host_busy: running experts */
    uint32_t layers;
    struct run_layer *layer;       /* [layers] MoE layers */
    struct select_quality quality; /* of all layers */
    uint64_t requests;
    struct run_request *request; /* [requests] */
    FILE *pass_spool;            /* struct run_pass records from the start, or NULL */
    uint64_t rows_resampled, prompts_skipped;
    uint64_t digest;
    uint64_t cache_bytes, staging_bytes; /* GPU memory for experts */
    uint64_t kv_peak_bytes;              /* of the passes so far */
    uint32_t cache_slots;
    bool finished; /* false: stopped by a signal */
    /* Several GPUs; 0 and NULL on one. */
    uint32_t gpus, nodes;
    uint32_t shards; /* slices of every expert, one on each GPU; 1: experts are whole */
    uint64_t *gpu_rows; /* [gpus] computed rows */
    uint64_t *gpu_peak; /* [gpus] bytes: the most that each has in use in a pass */
    struct run_placements placed;
    uint32_t watched;          /* records of a watch: layers for each distance; 0: none */
    struct run_watched *watch; /* (distance, layer) */
    uint32_t links;
    uint64_t *link_bytes; /* [links] of the topology */
    uint64_t
        activation_bytes; /* of one MoE layer, the largest of any GPU; one has it, too */
    sim_time migration_time; /* of the shares: what blocking migrations took */
};
void run_result_release(struct run_result *r);

#endif

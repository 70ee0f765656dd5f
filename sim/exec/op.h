/* Operations and the executor boundary: the one seam between deciding and doing.
 *
 * The runner walks the trace, asks the policy and submits operations; an executor either
 * computes how long each takes (exec_sim.c) or performs it (gpu/). Runner and
 * policies never know which. Operations on one lane run in order of submission within
 * their class; dependencies across lanes are explicit.
 *
 * Several GPUs are a *group* of executors, one for each GPU with lanes and a host thread
 * of its own. Ids are unique in the group, and any of it may depend on any. A collective
 * is one operation, submitted to the first of its members when all of them have been
 * given what comes before: it begins when all that it comes after has ended and every
 * member's host has launched it, and ends for all of them at once. */
#ifndef MOESIM_EXEC_OP_H
#define MOESIM_EXEC_OP_H

#include "models/collective.h"
#include "models/cost.h"
#include "sim/engine/engine.h"

#include <stdbool.h>
#include <stddef.h>

enum op_kind {
    OP_DENSE,    /* dense block of a decoder layer: attention, norms, dense/shared FFN; on
                    the host's processors where the layer is there as a whole */
    OP_GATE,     /* router and top-k; like that */
    OP_HOST,     /* the host reads a result back and decides on it; not submitted: what
                    exec_ops.wait does, by this name in timelines */
    OP_EXPERTS,  /* a group of experts of one layer on the GPU */
    OP_COPY_IN,  /* one expert's weights from its home tier into a slot */
    OP_COPY_OUT, /* one expert's weights from a slot back to the host (write-back) */
    OP_HEAD,     /* final norm and LM head of a pass */
    OP_HOST_EXPERTS, /* a group of experts of one layer on the host's processors: the
                        rows' hidden states go there, their weighted sums come back */
    OP_ENCODE,       /* a GPU's rows are arranged by expert before dispatch */
    OP_DECODE,       /* ... and weighted and summed after combine */
    /* Collectives. */
    OP_EXCHANGE, /* how many rows each GPU will send to each expert */
    OP_DISPATCH, /* rows to the GPUs of their experts */
    OP_COMBINE,  /* ... and the experts' outputs back */
    OP_GATHER,   /* all-gather of rows */
    OP_SCATTER,  /* reduce-scatter of rows */
    OP_MIGRATE,  /* experts' weights from GPU to GPU */
    /* Alone again. */
    OP_NEAR_EXPERTS, /* a group of experts of one layer on the unit beside their memory:
                        their rows go there one by one, and come back */
    OP_KINDS
};
static inline bool op_is_collective(enum op_kind kind)
{
    return kind >= OP_EXCHANGE && kind <= OP_MIGRATE;
}
/* Experts that run where their weights are stored. */
static inline bool op_is_elsewhere(enum op_kind kind)
{
    return kind == OP_HOST_EXPERTS || kind == OP_NEAR_EXPERTS;
}
const char *op_kind_name(enum op_kind kind);

enum op_lane {
    LANE_COMPUTE,
    LANE_COPY_IN,
    LANE_COPY_OUT,
    LANE_HOST,      /* the host thread that decides and launches */
    LANE_HOST_POOL, /* the host's other processors, which run experts */
    /* Collectives that this GPU is the first member of: */
    LANE_NETWORK, /* those of all GPUs */
    LANE_NODE,    /* those of GPUs that share an attention, inside a node */
    LANE_NEAR,    /* the near-data unit */
    OP_LANES
};
const char *op_lane_name(enum op_lane lane);

typedef work_id op_id; /* 0: none */

/* What each row of a pass chose in one layer: rank k of row i is choice[i * stride + k],
 * 65535 where the choice was dropped. */
struct op_routing {
    const uint16_t *choice;
    size_t stride;
    uint32_t rows, top_k;
};

struct op {
    enum op_kind kind;
    enum op_lane lane;
    enum work_class class_;
    uint32_t layer;          /* index of the MoE layer; decoder layer for OP_DENSE */
    bool rows_come, rows_go; /* LANE_HOST_POOL: the rows' hidden states come from the GPU
                                first; they go back at the end */
    const op_id *after;      /* borrowed until submit returns */
    uint32_t after_count;
    union {
        const struct cost_batch *batch; /* OP_DENSE, OP_GATE, OP_HEAD */
        struct {
            struct cost_experts work;
            const uint16_t *expert; /* [count] ascending ids */
            const uint32_t *slot;   /* [count] where each one's weights are; NULL for
                                       those elsewhere, whose are in host memory */
            const uint32_t *tokens; /* [experts of the layer] rows of each expert id */
            uint32_t count;
            const struct op_routing *routing; /* of the whole layer */
            const uint32_t *piece; /* [pieces] rows of each chain of kernels, where they
                                      are launched one by one; NULL: one grouped GEMM */
            uint32_t pieces;
            bool least;    /* pieces take cost_expert_alone_least(): a bound */
            uint32_t loop; /* experts that an eager loop goes over */
            bool crosses;  /* OP_NEAR_EXPERTS: its rows share the link with the weights
                              that are copied; else each has it for itself */
        } group; /* OP_EXPERTS, OP_HOST_EXPERTS, OP_NEAR_EXPERTS; arrays borrowed until
                    submit returns */
        struct {
            uint32_t expert;
            uint32_t slot;
            uint64_t bytes;
            uint64_t chunk_bytes;             /* 0: one piece */
            enum tier home;                   /* the tier it comes from or goes to */
        } copy;                               /* OP_COPY_IN, OP_COPY_OUT */
        const struct cost_dispatch *dispatch; /* OP_ENCODE, OP_DECODE */
        struct {
            const struct collective *what;
            struct exec *const *member; /* [members] */
            uint32_t members;
        } collective;
    };
};

/* How often products of experts are launched for OP_EXPERTS: two times (into the inner
 * width and out of it), for all of them as one grouped GEMM, or for each chain of its
 * own.
 */
static inline uint32_t op_expert_gemms(const struct op *op)
{
    return op->group.piece == NULL ? 2 : 2 * op->group.pieces;
}

struct exec; /* an executor's state; the table's functions take it first */

struct op_times {
    sim_time issued; /* when the host had launched it: it could not begin before */
    sim_time start, end;
    bool cancelled;
};

/* Tells of an operation that has ended; `expert` is that of a copy, else 0. */
typedef void exec_observer(void *context, op_id id, enum op_kind kind, enum op_lane lane,
                           uint32_t layer, uint32_t expert, const struct op_times *times);

/* The slots for experts, and what they hold before the first operation. */
struct exec_slots {
    uint32_t count;
    const uint32_t *layer, *expert; /* [count]; expert UINT32_MAX: nothing */
};

struct exec_ops {
    const char *name;
    /* Called once, before all others. 0 or -1. NULL: nothing to do. */
    int (*begin)(struct exec *x, const struct exec_slots *slots, struct err *e);
    /* Called after each pass: 0, or -1 where the executor cannot go on. NULL: it can. */
    int (*check)(struct exec *x, struct err *e);
    /* Returns at once. */
    op_id (*submit)(struct exec *x, const struct op *op);
    /* The host waits until the operation is done and its result is read back (the ids
     * that a gate chose, the tokens that a head gave). Returns the host's time then. */
    sim_time (*wait)(struct exec *x, op_id id);
    /* The host's time. */
    sim_time (*now)(struct exec *x);
    /* The host idles until t. */
    void (*sleep_until)(struct exec *x, sim_time t);
    /* True if the operation has ended by the host's time. */
    bool (*done)(struct exec *x, op_id id);
    /* Raises queued prefetch copies to demand. */
    void (*promote)(struct exec *x, op_id id);
    void (*cancel)(struct exec *x, op_id id);
    /* Times of operations that have ended and are not retired: out[i] of id[i]. */
    void (*times)(struct exec *x, const op_id *id, size_t count, struct op_times *out);
    /* Times of operations below `id` will not be asked for again. */
    void (*retire)(struct exec *x, op_id id);
    /* Waits for everything. 0 or -1 (a device that failed, a conservation law broken). */
    int (*drain)(struct exec *x, struct err *e);
};

#endif

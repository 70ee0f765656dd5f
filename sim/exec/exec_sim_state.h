/* What exec_sim_new.c (making executors), exec_sim.c (the operations of a GPU) and
 * exec_group.c (collectives of several) share. */
#ifndef MOESIM_EXEC_EXEC_SIM_STATE_H
#define MOESIM_EXEC_EXEC_SIM_STATE_H

#include "exec_sim.h"

#include <assert.h>

/* Seldom used code is kept apart from the way that every operation takes. */
#define NOINLINE __attribute__((noinline))

enum { EXPERT_MEMO = 512, SINGLE_MEMO = 64, DENSE_CLASSES = 8 };

/* A remembered cost. Each launch of a kernel takes the host a while; the first may begin
 * when it is launched, but all are counted as one work without gaps, which begins so that
 * its last kernel is not there before its launch. */
struct cost_memo {
    sim_time gpu;    /* of the kernels together; -1: not computed */
    sim_time launch; /* the host's time */
    sim_time delay;  /* from its beginning until the work is released */
};

struct expert_memo {
    struct cost_experts key;
    struct cost_memo cost;
};

/* A collective that is several works on links: the first and the last of them. */
struct spread {
    op_id first, last;
};

/* What the GPUs of a group share. */
struct exec_group {
    struct topology topology;
    enum exec_network network;
    uint32_t gpus, open; /* executors in all, and not freed yet */
    struct exec **gpu;   /* [gpus] */
    uint64_t *load;      /* [links] scratch */
    uint64_t *carried;   /* [links] bytes so far */
    /* Event-driven: */
    uint32_t first_link;             /* of the topology's */
    uint32_t first_dram, first_disk; /* links of the nodes */
    uint32_t first_lane;             /* that collectives' bytes take */
    struct spread *spread;           /* [spreads] not retired, ascending */
    size_t spreads, spread_room;
};

struct exec {
    struct engine *engine;
    struct exec_group *group; /* NULL: a GPU alone */
    uint32_t first_lane;
    uint32_t pool_lane; /* the host's processors, which the GPUs of a node share */
    uint32_t near_lane; /* the near-data unit, which some of them may share */
    uint16_t dram;      /* link of the host's memory */
    struct cost cost;
    struct machine host; /* the host in a GPU's place: for layers that are there */
    bool pageable;
    sim_time host_now;
    sim_time launch;    /* per kernel; 0 from a graph */
    bool graph_pending; /* the graph's one launch is still to be paid for this pass */
    uint32_t kernels[COST_HEAD + 1];
    /* Costs remembered: the same shapes come again and again. */
    struct expert_memo expert[EXPERT_MEMO];
    struct cost_memo single[SINGLE_MEMO]; /* by number of experts of one row each */
    const struct cost_batch *batch_at;    /* where this pass's is; NULL between passes */
    struct cost_batch batch; /* of which dense and head costs are remembered */
    struct cost_memo dense[DENSE_CLASSES], head;
    uint32_t gate_rows; /* of which the gate's is */
    struct cost_memo gate;
    uint8_t *dense_class;   /* [decoder layers] which of the dense costs applies */
    struct work copy[2][2]; /* of copies in and out, of host and storage; reused too */
    exec_observer *observe; /* NULL: nobody */
    void *observe_context;
};

/* What an operation is, in 32 bits: enters the digest and labels the timeline. A kind's
 * lower four bits stand before its fifth. */
static inline uint32_t exec_sim_tag(enum op_kind kind, uint32_t layer, uint32_t expert)
{
    uint32_t k = (uint32_t)kind;

    _Static_assert(OP_KINDS <= 32, "a kind has five bits of the tag");
    assert(layer <= 0x7ff && expert <= 0xffff);
    return (k & 15) << 28 | k >> 4 << 27 | layer << 16 | expert;
}
static inline enum op_kind exec_sim_tag_kind(uint32_t tag)
{
    return (enum op_kind)(tag >> 28 | (tag >> 27 & 1) << 4);
}
static inline uint32_t exec_sim_tag_layer(uint32_t tag)
{
    return tag >> 16 & 0x7ff;
}

/* When the host begins to launch something, after what a graph costs it once. */
static inline sim_time exec_sim_begin(struct exec *x)
{
    sim_time begun = x->host_now;

    if (x->graph_pending) {
        begun += x->cost.machine->host.graph_launch;
        x->graph_pending = false;
    }
    return begun;
}

/* ---- exec_group.c ---- */

op_id exec_group_submit(struct exec *x, const struct op *op);
/* When the collective that is told by its last work began; `start` if it is one work. */
sim_time exec_group_began(const struct exec *x, op_id id, sim_time start);
void exec_group_retire(struct exec_group *g, op_id id);
void exec_group_leave(struct exec *x);
void exec_group_free(struct exec_group *g);

#endif

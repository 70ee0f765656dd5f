/* What the files of the crew share. */
#ifndef MOESIM_RUN_CREW_STATE_H
#define MOESIM_RUN_CREW_STATE_H

#include "crew.h"
#include "run_state.h"

#include "models/activation.h"
#include "models/collective_count.h"
#include "sim/policy/place.h"
#include "sim/policy/place_migrate.h"
#include "sim/policy/place_moeshard.h"

/* A collective of this pass. */
struct crew_collective {
    op_id id;
    sim_time *share; /* the books of its layer */
};

/* An operation of the compute lane that comes after collectives. */
struct crew_join {
    size_t at;      /* its place in the log */
    uint32_t until; /* those of `part` before this one */
};

struct crew_gpu {
    struct run run;
    struct cost_batch attention; /* of the rows whose attention it computes */
    struct cost_batch own;       /* of the rows it dispatches */
    struct cost_dispatch dispatch;
    op_id last;     /* what the next collective waits for */
    op_id joined;   /* what its next operation waits for; 0: nothing but its lane */
    uint32_t *part; /* collectives it was in, as numbers in crew.collective */
    uint32_t parts, part_room;
    struct crew_join *join;
    uint32_t joins, join_room;
    uint64_t *profile; /* (layer, local slot) load of what is first there; or NULL */
};

/* Where the rows of a pass are: in the order of their ranks. */
struct crew_rows {
    uint32_t *order;      /* [rows] of the pass, by rank */
    uint32_t *first;      /* [gpus + 1] where the rows begin that a rank dispatches */
    struct view_row *row; /* [rows] in that order */
    uint32_t room;
};

struct crew {
    const struct run_setup *setup;
    const struct run_parallel *p;
    struct run_result *result;
    struct crew_gpu *gpu; /* [gpus] */
    uint32_t gpus, layers, experts, top_k, local, slots;
    uint32_t attentions; /* groups of GPUs that share one */
    const struct pass *pass;
    struct run_pass books;
    struct crew_collective *collective;
    uint32_t collectives, collective_room;
    op_id last_id;
    op_id *after;             /* [gpus] scratch */
    uint32_t *member;         /* [tensor] scratch */
    sim_time sum[RUN_SHARES]; /* over the GPUs, of this pass */
    struct op_times *times;   /* scratch */
    op_id *id;
    size_t times_room;
    /* Rows on their way. */
    struct crew_rows rows;
    uint16_t *choice;      /* (row by rank, k), where a gate or select rewrites */
    uint32_t *tokens;      /* [slots] rows of each slot in a layer */
    uint64_t *turn;        /* (layer, expert) rows so far: which replica is next */
    uint16_t *gpu_of;      /* [slots] */
    uint32_t *destination; /* [top_k] scratch */
    uint32_t *scratch;     /* [experts] */
    uint32_t *home;        /* [requests] whose attention group has its last row */
    uint64_t *load;        /* [experts] rows that chose each: of one layer */
    uint32_t *by_source;   /* (gpu, experts) rows: where a GEMM takes one source's */
    struct collective_count count;
    struct collective exchange, dispatch, combine;
    uint64_t *exchanged;  /* (gpu, gpu) numbers of counts */
    uint64_t *rank_bytes; /* [gpus] of all-gathers */
    enum collective_form form;
    bool counts_rows; /* the form needs rows by rank and node */
    bool is_static;   /* experts run on capacities */
    bool encodes;     /* kernels of its own arrange rows for dispatch */
    /* Placement. */
    struct place *place, *coming;   /* coming: still being copied to; or NULL */
    op_id migration;                /* the copies on their way; 0: none */
    struct place_window *window;    /* NULL: placed once */
    bool is_due;                    /* a rebalance */
    uint64_t *migrated;             /* (gpu, gpu) bytes */
    sim_time migrating[RUN_SHARES]; /* over the GPUs: waiting for blocking migrations */
    struct collective migrate;
};

/* ---- crew.c ---- */

/* Submits an operation of a GPU's compute lane. */
void crew_compute(struct crew *c, uint32_t gpu, struct op *op, sim_time *share,
                  enum run_share kind);
/* Submits a collective of GPUs [first, first + count). Nothing happens for one alone. */
void crew_collect(struct crew *c, enum op_kind kind, uint32_t layer,
                  const struct collective *what, uint32_t first, uint32_t count,
                  sim_time *share);
/* The same of all GPUs beside what they do, which waits for nothing and nothing for it.
 */
op_id crew_collect_aside(struct crew *c, const struct collective *what);

/* ---- crew_bound.c ---- */

/* Work of one GPU on the experts of a layer. */
struct crew_share {
    struct cost_experts work;
    sim_time time;
};
/* Of a routed layer, the least that some GPU has to do whatever the placement. */
struct crew_share crew_bound_share(const struct crew *c);
/* Whether a GPU has more to do than that, */
bool crew_bound_exceeds(const struct crew *c, uint32_t gpu,
                        const struct crew_share *even);
/* ... and the share instead of it. */
void crew_bound_run(struct crew *c, uint32_t gpu, uint32_t layer,
                    const struct crew_share *even);

/* ---- crew_route.c ---- */

void crew_route_init(struct crew *c);
void crew_route_release(struct crew *c);
/* Shares the rows of the pass out over the GPUs. 0 or -1. */
int crew_route_pass(struct crew *c, struct err *e);
/* Finds how many rows of a layer go from where to where; fills each run's step.
 * 0, or -1 where a gate's capacities are more rows than can be counted. */
int crew_route_layer(struct crew *c, uint32_t layer, struct err *e);

/* ---- crew_place.c ---- */

int crew_place_init(struct crew *c, struct err *e);
void crew_place_release(struct crew *c);
/* The loads of the profile on a GPU's slots, (layer, local slot). Owned. */
uint64_t *crew_place_profile(const struct crew *c, uint32_t gpu);
/* Takes up copies that are there, and rebalances if that is due. 0 or -1. */
int crew_place_begin_pass(struct crew *c, struct err *e);
void crew_place_end_pass(struct crew *c);

#endif

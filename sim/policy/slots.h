/* The interfaces of the slots other than cache (cache.h). A NULL function means that the
 * plug-in leaves things as they are, and costs nothing per step. */
#ifndef MOESIM_POLICY_SLOTS_H
#define MOESIM_POLICY_SLOTS_H

#include "program.h"
#include "view.h"

/* Sizes known before the run, for state_size and init. */
struct policy_shape {
    uint32_t layers, experts, top_k;
    uint64_t seed;
    const uint64_t *profile; /* (layer, expert) loads, or NULL without NEED_PROFILE */
};

/* ---- gate: capacity or dropless ---- */

struct gate_result {
    uint64_t dropped;  /* choices set to VIEW_NO_EXPERT */
    uint32_t capacity; /* rows that *every* expert computes on, padded; 0: as routed */
};

struct gate_type {
    struct plugin plugin;
    /* `choice` is (row, rank), contiguous, in and out. `scratch` has one uint32_t per
     * expert. v->active and v->tokens are not set yet. NULL: dropless. */
    struct gate_result (*apply)(const void *params, const struct view *v,
                                uint16_t *choice, uint32_t *scratch);
    /* True if rows reach their slots by products with one-hot matrices, where several
     * GPUs exchange them. NULL: row by row. */
    bool (*is_dense)(const void *params);
};

/* ---- select: which experts a token may use (changes routing) ---- */

struct select_step; /* select.h: the rows of a step with all their candidates */

struct select_type {
    struct plugin plugin;
    bool decode; /* made for decoding: passes that hold rows of prefill are left as they
                    are (phases: auto) */
    /* NULL: it keeps no state. A rule about a whole batch that knows nothing of the one
     * before has select_tally_size() and select_tally_init(). */
    size_t (*state_size)(const struct policy_shape *shape, const void *params);
    /* `state` is 16-aligned memory with any contents. */
    void (*init)(void *state, const struct policy_shape *shape, const void *params);
    /* Chooses anew: pick (row, rank) are places in the row's list of candidates, at first
     * 0, 1, ... for those that were executed, then SELECT_NONE. NULL: as recorded. */
    void (*apply)(const void *params, void *state, const struct select_step *s,
                  uint16_t *pick);
    /* What candidate `at` of a row counts in the row's mixture, before the picked ones
     * are scaled to 1. Before the next apply(). NULL: its mass. */
    double (*weight)(const void *state, const struct select_step *s, uint32_t row,
                     uint32_t at);
};

/* ---- place: which GPU holds which expert ---- */

struct place_problem; /* place.h */

/* How the slices of a sharded placement are launched. */
struct place_launch {
    bool by_expert; /* each one's own kernels; else one grouped GEMM */
    bool by_source; /* ... and for the rows of each GPU apart */
    uint32_t block; /* an expert's rows are padded to a multiple; 0: to the GPU's tiles */
};

struct place_type {
    struct plugin plugin;
    bool counts; /* ACT_SHARD: GPUs tell each other how many rows each expert has before
                     the rows, which each arranges by expert, follow */
    /* NULL: one grouped GEMM, as for whole experts. */
    struct place_launch (*launch)(const void *params);
    /* Refuses what place.h admits but this plug-in cannot do. NULL: nothing. */
    int (*check)(const void *params, const struct place_problem *p, struct err *e);
    /* Bytes of scratch. NULL: none. */
    size_t (*scratch_size)(const void *params, const struct place_problem *p);
    /* Fills expert[slots] of one layer (PLACE_EMPTY: nothing), each expert at least once.
     * The problem has been checked. `scratch` is 16-aligned memory with any contents. */
    void (*assign)(const void *params, const struct place_problem *p, uint32_t layer,
                   void *scratch, uint16_t *expert);
};

/* ---- prefetch: what to load early ---- */

struct prefetch_want {
    uint32_t ahead; /* steps after this one: 1 is the next layer; past the last layer it
                       means the first layers of the next pass */
    uint32_t expert;
};

struct prefetch_type {
    struct plugin plugin;
    size_t (*state_size)(const struct policy_shape *shape, const void *params);
    /* `state` is 16-aligned memory with any contents. */
    void (*init)(void *state, const struct policy_shape *shape, const void *params);
    /* Most wants per step. */
    uint32_t (*width)(const struct policy_shape *shape, const void *params);
    /* Called for every step once its routing is known, demand loads first: learns from
     * the step and fills `want` in order of importance. Wanting a resident expert loads
     * nothing but keeps it from the loads of the others, those before it too. Returns
     * how many. NULL: none. */
    uint32_t (*step)(void *state, const struct view *v, struct prefetch_want *want);
};

/* ---- offload: where a non-resident expert runs, and in how many bits ---- */

enum offload_where {
    OFFLOAD_FETCH,   /* its weights are copied to the GPU, which runs it */
    OFFLOAD_IN_PLACE /* it runs where it is stored, and nothing is loaded: on the host's
                        processors (ACT_HOST) or near the data (ACT_NEAR) */
};

/* MoE layers that keep no expert on the GPU: so many from one on; `whole`: nor anything
 * else, so that their attention runs on the host, too. */
struct offload_closed {
    uint32_t from, count;
    bool whole;
};

struct offload_type {
    struct plugin plugin;
    /* For each missing expert of the step (ids, ascending): where it runs. An expert that
     * is on its way is not missing. `where` holds OFFLOAD_FETCH throughout; `order` is
     * scratch for as many ids as there are experts (offload_plan.h). The home of all
     * weights is host memory. NULL: all are fetched. */
    void (*decide)(const void *params, const struct view *v, const uint16_t *missing,
                   uint32_t count, uint16_t *order, uint8_t *where);
    /* Whether what runs in place may share a link with copies. NULL: it never does. */
    bool (*shares)(const void *params);
    /* Whether experts of layers that are closed may be copied all the same, for one pass.
     * NULL: no. */
    bool (*streams)(const void *params);
    /* Which of the MoE layers keep no expert. NULL: none. */
    struct offload_closed (*closes)(const void *params, uint32_t layers);
    /* ACT_NEAR: whether rows that cross share the link with copies. NULL: no. */
    bool (*crosses)(const void *params);
    /* ACT_LOWER, together: bits per weight of experts that are loaded in fewer than the
     * model has, */
    double (*bits)(const void *params);
    /* ... and which of the step's experts will do so: sets low[expert], false throughout,
     * of those in v->active. The view is of all rows of the layer, by the model's ids. */
    void (*lower)(const void *params, const struct view *v, bool *low);
};

/* ---- schedule: how copies and compute are arranged ---- */

struct schedule_type {
    struct plugin plugin;
    bool copies_wait; /* copies wait for the compute lane, and compute for them: one
                         stream */
    bool split;       /* resident experts run while the missing ones load */
    /* The stages of a layer over several GPUs that dispatch rows (program.h). NULL: the
     * plain ones. */
    void (*stages)(const void *params, const struct program_shape *shape,
                   struct program *p);
};

#endif

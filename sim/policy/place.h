/* Placement: which GPU holds which expert, with replicas and shards.
 *
 * A problem (sizes, loads) goes to a plug-in of the place slot, layer by layer, and a
 * placement comes out: a table of slots. Slot s of a layer is on GPU s / (slots / gpus)
 * and holds one expert, a replica of it, or nothing. GPU g is in node
 * floor(g * nodes / gpus).
 * In a sharded placement slots = gpus * experts, and every slot holds 1/gpus of its
 * expert; "replicas" are then the slices of an expert, and all of them work on each
 * token. Nothing here knows the clock or the links: what a rebalance must copy is in
 * place_migrate.h, when it is due in place_window.h.
 *
 * Everything is a pure function of its arguments. Loads are tokens, in any unit. */
#ifndef MOESIM_POLICY_PLACE_H
#define MOESIM_POLICY_PLACE_H

#include "slots.h"

#define PLACE_EMPTY UINT16_MAX
/* Loads are below this, so that sums of them fit a float. */
#define PLACE_MOST_LOAD 0x1p64

/* Borrows its arrays. */
struct place_problem {
    uint32_t layers, experts;
    uint32_t gpus, nodes; /* gpus is a multiple of nodes */
    uint32_t groups;      /* of consecutive experts, for group-limited routing; or 1 */
    uint32_t slots;       /* per layer, on all GPUs: a multiple of gpus, >= experts */
    const double *load;   /* (layer, expert); NULL unless the plug-in has NEED_PROFILE */
    uint32_t samples;     /* 0: no history */
    const uint32_t *history; /* (sample, layer, expert) tokens: one sample per batch */
    const uint16_t *map;     /* (layer, slot) of a file; NULL unless it has NEED_MAP */
    uint64_t seed;
};

struct place {
    uint32_t layers, experts, gpus, nodes, slots;
    uint32_t shards;   /* a slot holds 1/shards of its expert: 1, or gpus */
    uint16_t *expert;  /* (layer, slot), or PLACE_EMPTY */
    uint32_t *first;   /* (layer, experts + 1) index of an expert's first replica */
    uint32_t *replica; /* (layer, slot) slots by expert, then ascending */
};

/* Returns owned. NULL: sizes that do not fit, a load that is missing or no number, or
 * what the plug-in says of the problem. */
struct place *place_new(const struct place_type *type, const void *params,
                        const struct place_problem *problem, struct err *e);
/* A placement from a table (layer, slot), say one that an engine wrote; of the problem
 * only sizes count. NULL unless every expert is somewhere in each layer. */
struct place *place_from_slots(const struct place_problem *problem,
                               const uint16_t *expert, struct err *e);
void place_free(struct place *p);

static inline uint32_t place_gpu(const struct place *p, uint32_t slot)
{
    return slot / (p->slots / p->gpus);
}

static inline uint32_t place_node(const struct place *p, uint32_t gpu)
{
    return (uint32_t)((uint64_t)gpu * p->nodes / p->gpus);
}

/* The slots that hold an expert, ascending; at least one. */
static inline const uint32_t *place_replicas(const struct place *p, uint32_t layer,
                                             uint32_t expert, uint32_t *count)
{
    const uint32_t *first = &p->first[(size_t)layer * (p->experts + 1) + expert];

    *count = first[1] - first[0];
    return &p->replica[(size_t)layer * p->slots + first[0]];
}

/* Rebuilds `first` and `replica` of a layer whose `expert` has changed. */
void place_index(struct place *p, uint32_t layer);

/* ---- what a placement is worth ---- */

/* Fills gpu[gpus] with the load of each, an expert's load split evenly over its
 * replicas. `load` has one value per expert of the layer. */
void place_gpu_load(const struct place *p, uint32_t layer, const double *load,
                    double *gpu);
/* Mean over largest load of a GPU, in (0, 1]; 1 without any load. */
double place_balance(const struct place *p, uint32_t layer, const double *load);
/* No way of spreading these replicas over the GPUs has a smaller largest load:
 * max(total / gpus, max over experts of load / replicas). */
double place_bound(const struct place *p, uint32_t layer, const double *load);

/* ---- which replica a token takes ---- */

enum place_choice {
    PLACE_ROUND_ROBIN, /* in turn */
    PLACE_RANDOM,      /* a hash of seed, layer, expert and turn */
    PLACE_NEAREST /* on the token's GPU, else its node, else any; in turn among equals */
};

/* The slot for a token on GPU `source`. `turn` is the caller's count: the token's index
 * among those of this expert (or of this expert and source). */
uint32_t place_choose(const struct place *p, enum place_choice how, uint32_t layer,
                      uint32_t expert, uint32_t source, uint64_t turn, uint64_t seed);

#endif

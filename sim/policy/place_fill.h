/* What plug-ins of the place slot share: experts by load, and filling GPUs one by one. */
#ifndef MOESIM_POLICY_PLACE_FILL_H
#define MOESIM_POLICY_PLACE_FILL_H

#include "place.h"

struct place_item {
    double load;
    uint32_t expert;
};

/* The first of a layer's experts that no slot holds; `experts` where all are held. Slots
 * hold experts, or PLACE_EMPTY. */
uint32_t place_missing(const uint16_t *expert, uint32_t slots, uint32_t experts);
/* Refuses a table (layer, slot) with an id that is no expert, or an expert in no slot. 0
 * or -1. */
int place_check_slots(const struct place_problem *p, const uint16_t *expert,
                      struct err *e);
/* The path that parameters of place: file name; "" for none. */
const char *place_file_path(const void *params);

/* The experts of a layer by load, largest first, equal ones by id. */
void place_by_load(const double *load, uint32_t experts, struct place_item *item);

/* A layer's slots while they are handed out. */
struct place_fill {
    uint16_t *expert;
    uint32_t *used; /* [gpus] slots taken, always the first ones */
    uint32_t gpus, per_gpu;
};

/* `used` has one entry per GPU. */
struct place_fill place_fill_begin(const struct place_problem *p, uint16_t *expert,
                                   uint32_t *used);

static inline bool place_fill_room(const struct place_fill *f, uint32_t gpu)
{
    return f->used[gpu] < f->per_gpu;
}

/* The GPU has room. */
static inline void place_fill_put(struct place_fill *f, uint32_t gpu, uint32_t expert)
{
    f->expert[(size_t)gpu * f->per_gpu + f->used[gpu]++] = (uint16_t)expert;
}

static inline bool place_fill_holds(const struct place_fill *f, uint32_t gpu,
                                    uint32_t expert)
{
    const uint16_t *slot = &f->expert[(size_t)gpu * f->per_gpu];

    for (uint32_t i = 0; i < f->used[gpu]; i++) {
        if (slot[i] == expert)
            return true;
    }
    return false;
}

/* Contiguous blocks as engines deal them: where E experts do not divide over G GPUs, each
 * of the first E mod G has one more than the others. */
static inline uint32_t place_linear_gpu(const struct place_problem *p, uint32_t expert)
{
    uint32_t block = p->experts / p->gpus, longer = p->experts % p->gpus;
    uint32_t in_longer = longer * (block + 1);

    return expert < in_longer ? expert / (block + 1)
                              : longer + (expert - in_longer) / block;
}

/* A sharded placement: every GPU has one slot per expert, in order. */
static inline void place_fill_shards(const void *params, const struct place_problem *p,
                                     uint32_t layer, void *scratch, uint16_t *expert)
{
    (void)params;
    (void)layer;
    (void)scratch;
    for (uint32_t s = 0; s < p->gpus * p->experts; s++)
        expert[s] = (uint16_t)(s % p->experts);
}

#endif

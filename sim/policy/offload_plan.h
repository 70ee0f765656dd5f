/* Dividing a step's missing experts between the GPU, which needs a copy of their weights,
 * and whoever runs them in place: the host's processors, or a unit beside the memory.
 *
 *   in place   ............ rest of the experts ............|
 *   copies     | first | second | third |
 *   GPU        | resident ones |  first | second | third |      `each`
 *   GPU        | resident ones |        | first to third |      together
 *
 * A copy costs the same for every expert of a layer, whatever its rows; computing it in
 * place costs more with more rows. So the experts with the most rows go to the GPU, and
 * what is left to choose is how many: that is exact where costs in place never fall with
 * rows and the GPU's hide behind the copies (tests/test_offload.c tries all subsets). */
#ifndef MOESIM_POLICY_OFFLOAD_PLAN_H
#define MOESIM_POLICY_OFFLOAD_PLAN_H

#include "view.h"

struct offload_costs {
    sim_time copy;       /* of one expert's weights */
    sim_time before;     /* until the first copy begins */
    sim_time busy;       /* the GPU with what is resident */
    bool each;           /* a copied expert runs as it comes; else all in one group */
    const void *context; /* for the three functions; times are never negative */
    /* A group of experts on the GPU. */
    sim_time (*gpu)(const void *context, const struct cost_experts *group);
    /* One of those in place; NULL: 0. */
    sim_time (*one)(const void *context, uint32_t rows);
    /* All of those in place, at least one, whose one() sum up to `sum`. */
    sim_time (*in_place)(const void *context, const struct cost_experts *group,
                         sim_time sum);
    const uint32_t *tokens; /* rows of each expert id */
    const struct machine_tiles *tiles;
};

/* What the cost model says of a step: on the host's processors, or near the data. */
struct offload_costs offload_costs_host(const struct view *v, const uint16_t *missing,
                                        uint32_t count);
struct offload_costs offload_costs_near(const struct view *v, const uint16_t *missing,
                                        uint32_t count);

/* Sorts ids by rows, most first; of equals the lower id. */
void offload_sort(const uint32_t *tokens, const uint16_t *expert, uint32_t count,
                  uint16_t *order);
/* When both sides are done if the first `copied` of `order` go to the GPU. */
struct offload_times {
    sim_time gpu, in_place;
};
struct offload_times offload_times_of(const struct offload_costs *c,
                                      const uint16_t *order, uint32_t count,
                                      uint32_t copied);
/* How many of the first to copy, `most` at most, so that the later of both is earliest;
 * of equals the fewest. */
uint32_t offload_best(const struct offload_costs *c, const uint16_t *order,
                      uint32_t count, uint32_t most);

/* Marks the `left` ids of `place` among the missing ones as run in place. */
void offload_leave(const uint16_t *missing, uint32_t count, const uint16_t *place,
                   uint32_t left, uint8_t *where);

#endif

/* Longest processing time first, with room for slots / gpus experts on each GPU. */
#include "place_fill.h"

struct state {
    struct place_item *item; /* [experts] */
    double *load;            /* [gpus] */
    uint32_t *used;          /* [gpus] */
};

static size_t scratch_size(const void *params, const struct place_problem *p)
{
    (void)params;
    return p->experts * sizeof(struct place_item) +
           p->gpus * (sizeof(double) + sizeof(uint32_t));
}

static void assign(const void *params, const struct place_problem *p, uint32_t layer,
                   void *scratch, uint16_t *expert)
{
    struct state s = {.item = scratch};
    struct place_fill fill;

    (void)params;
    s.load = (double *)(void *)(s.item + p->experts);
    s.used = (uint32_t *)(void *)(s.load + p->gpus);
    fill = place_fill_begin(p, expert, s.used);
    for (uint32_t g = 0; g < p->gpus; g++)
        s.load[g] = 0.0;
    place_by_load(&p->load[(size_t)layer * p->experts], p->experts, s.item);
    for (uint32_t i = 0; i < p->experts; i++) {
        uint32_t best = p->gpus;

        for (uint32_t g = 0; g < p->gpus; g++) {
            if (place_fill_room(&fill, g) &&
                (best == p->gpus || s.load[g] < s.load[best]))
                best = g;
        }
        place_fill_put(&fill, best, s.item[i].expert);
        s.load[best] += s.item[i].load;
    }
}

const struct place_type place_greedy = {
    .plugin = {.slot = SLOT_PLACE,
               .name = "greedy",
               .help =
                   "experts by load, each to the least loaded GPU with a free slot; no "
                   "replicas",
               .source =
                   "Huang et al., Toward Efficient Inference for Mixture of Experts, "
                   "NeurIPS 2024: greedy load balancing",
               .variant = VARIANT_PAPER,
               .lossless = true,
               .needs = NEED_PROFILE},
    .scratch_size = scratch_size,
    .assign = assign,
};

/* Contiguous blocks of shuffled experts: counts per GPU are those of linear. */
#include "place_fill.h"

#include "sim/base/rng.h"

static size_t scratch_size(const void *params, const struct place_problem *p)
{
    (void)params;
    return ((size_t)p->gpus + p->experts) * sizeof(uint32_t);
}

static void assign(const void *params, const struct place_problem *p, uint32_t layer,
                   void *scratch, uint16_t *expert)
{
    uint32_t *used = scratch, *order = used + p->gpus;
    struct place_fill fill = place_fill_begin(p, expert, used);
    struct rng r = rng_stream(p->seed, "place", layer);

    (void)params;
    for (uint32_t e = 0; e < p->experts; e++) {
        uint32_t other = (uint32_t)rng_below(&r, e + 1);

        order[e] = order[other];
        order[other] = e;
    }
    for (uint32_t i = 0; i < p->experts; i++)
        place_fill_put(&fill, place_linear_gpu(p, i), order[i]);
}

const struct place_type place_random = {
    .plugin = {.slot = SLOT_PLACE,
               .name = "random",
               .help = "experts shuffled with the run's seed, as many on each GPU as "
                       "with linear; spare slots stay empty",
               .source = "baseline",
               .variant = VARIANT_STANDARD,
               .lossless = true},
    .scratch_size = scratch_size,
    .assign = assign,
};

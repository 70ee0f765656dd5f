#include "place_fill.h"

static size_t scratch_size(const void *params, const struct place_problem *p)
{
    (void)params;
    return p->gpus * sizeof(uint32_t);
}

static void assign(const void *params, const struct place_problem *p, uint32_t layer,
                   void *scratch, uint16_t *expert)
{
    struct place_fill fill = place_fill_begin(p, expert, scratch);

    (void)params;
    (void)layer;
    for (uint32_t e = 0; e < p->experts; e++)
        place_fill_put(&fill, e % p->gpus, e);
}

const struct place_type place_round_robin = {
    .plugin = {.slot = SLOT_PLACE,
               .name = "round-robin",
               .help = "expert e lives on GPU e mod G; spare slots stay empty",
               .source = "vLLM's expert placement strategy round_robin",
               .variant = VARIANT_STANDARD,
               .lossless = true},
    .scratch_size = scratch_size,
    .assign = assign,
};

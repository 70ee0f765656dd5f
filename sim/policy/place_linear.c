#include "slots.h"

static void assign(const void *params, const struct policy_shape *shape, uint32_t layer,
                   uint32_t gpus, uint16_t *gpu)
{
    (void)params;
    (void)layer;
    for (uint32_t e = 0; e < shape->experts; e++)
        gpu[e] = (uint16_t)((uint64_t)e * gpus / shape->experts);
}

const struct place_type place_linear = {
    .plugin = {.slot = SLOT_PLACE,
               .name = "linear",
               .help = "contiguous blocks: expert e lives on GPU floor(e * G / E)",
               .source = "the default of expert-parallel engines (vLLM: linear)",
               .variant = VARIANT_STANDARD,
               .lossless = true},
    .assign = assign,
};

#include "slots.h"

#include <string.h>

static void decide(const void *params, const struct view *v, const uint16_t *missing,
                   uint32_t count, uint16_t *order, uint8_t *where)
{
    (void)params;
    (void)v;
    (void)missing;
    (void)order;
    memset(where, OFFLOAD_IN_PLACE, count);
}

const struct offload_type offload_host = {
    .plugin = {.slot = SLOT_OFFLOAD,
               .name = "host",
               .help = "missing experts run on the host; only preloads and prefetches "
                       "put one into the cache",
               .source = "KTransformers; llama.cpp --cpu-moe",
               .variant = VARIANT_STANDARD,
               .lossless = true,
               .acts = ACT_HOST},
    .decide = decide,
};

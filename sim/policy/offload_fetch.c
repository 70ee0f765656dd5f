#include "slots.h"

const struct offload_type offload_fetch = {
    .plugin = {.slot = SLOT_OFFLOAD,
               .name = "fetch",
               .help = "missing experts are copied to the GPU and run there",
               .source = "on-demand loading",
               .variant = VARIANT_STANDARD,
               .lossless = true},
};

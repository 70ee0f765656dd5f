#include "slots.h"

const struct prefetch_type prefetch_none = {
    .plugin = {.slot = SLOT_PREFETCH,
               .name = "none",
               .help = "experts are loaded when they are needed",
               .source = "on-demand loading",
               .variant = VARIANT_STANDARD,
               .lossless = true},
};

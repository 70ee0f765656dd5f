#include "slots.h"

const struct select_type select_none = {
    .plugin = {.slot = SLOT_SELECT,
               .name = "none",
               .help = "tokens use the experts that were recorded",
               .source = "the model's own router",
               .variant = VARIANT_STANDARD,
               .lossless = true},
};

#include "slots.h"

const struct gate_type gate_dropless = {
    .plugin = {.slot = SLOT_GATE,
               .name = "dropless",
               .help = "every choice is computed; no padding",
               .source = "MegaBlocks (Gale et al., MLSys 2023)",
               .variant = VARIANT_STANDARD,
               .lossless = true},
};

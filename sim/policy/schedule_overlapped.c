#include "slots.h"

const struct schedule_type schedule_overlapped = {
    .plugin = {.slot = SLOT_SCHEDULE,
               .name = "overlapped",
               .help = "copies on their own stream; resident experts run while missing "
                       "ones load",
               .source = "copy and compute streams joined by events; resident experts "
                         "first, as in ProMoE's reordered inference",
               .variant = VARIANT_STANDARD,
               .lossless = true},
    .copies_wait = false,
    .split = true,
};

#include "slots.h"

const struct schedule_type schedule_serial = {
    .plugin = {.slot = SLOT_SCHEDULE,
               .name = "serial",
               .help = "one stream: copies wait for compute, and compute for copies",
               .source = "copies issued on the compute stream, as in mixtral-offloading",
               .variant = VARIANT_STANDARD,
               .lossless = true},
    .copies_wait = true,
    .split = false,
};

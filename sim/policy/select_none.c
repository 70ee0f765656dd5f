#include "slots.h"

static const char *const idle[] = {"phases", NULL};

const struct select_type select_none = {
    .plugin = {.slot = SLOT_SELECT,
               .name = "none",
               .help = "tokens use the experts that were recorded",
               .source = "the model's own router",
               .variant = VARIANT_STANDARD,
               .lossless = true,
               .idle = idle},
};

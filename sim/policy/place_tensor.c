#include "place_fill.h"

/* As engines do by default where experts are not parallel: all rows go to all GPUs, and
 * what the slices give is summed; gathering before and reduce-scattering behind are the
 * two halves of the all-reduces that engines have between blocks. */
const struct place_type place_tensor = {
    .plugin = {.slot = SLOT_PLACE,
               .name = "tensor",
               .help = "every GPU holds a slice of every expert: tensor-parallel experts",
               .source = "Shoeybi et al., Megatron-LM, arXiv 1909.08053, section 3; vLLM "
                         "without --enable-expert-parallel",
               .variant = VARIANT_STANDARD,
               .lossless = true,
               .acts = ACT_SHARD},
    .assign = place_fill_shards,
};

#include "slots.h"

#include <stddef.h>

/* One half computes while the other one's rows are on their way. Of a layer, with dense
 * block and gate a, dispatch d, experts x and combine c of either half:
 *
 *   network   |    | d0 | d1 |    | c0 | c1 |
 *   compute   | a0 | a1 |    | x0 | x1 | a0 | a1 |    (the second a0: the next layer's)
 *
 * Both halves read the weights of the dense block and of the experts, which costs more
 * than is hidden where a batch is small. */
static void stages(const void *params, const struct program_shape *shape,
                   struct program *p)
{
    (void)params;
    (void)shape;
    for (uint32_t half = 0; half < 2; half++) {
        program_add(p, STAGE_DENSE, half);
        program_add(p, STAGE_GATE, half);
        program_add(p, STAGE_DECIDE, half);
        program_add(p, STAGE_ENCODE, half);
        program_add(p, STAGE_EXCHANGE, half);
        program_add(p, STAGE_DISPATCH, half);
    }
    for (uint32_t half = 0; half < 2; half++) {
        program_add(p, STAGE_EXPERTS, half);
        program_add(p, STAGE_COMBINE, half);
        program_add(p, STAGE_DECODE, half);
    }
}

const struct schedule_type schedule_two_batch = {
    .plugin = {.slot = SLOT_SCHEDULE,
               .name = "two-batch",
               .help = "two halves of a pass: one is on the network while the other one "
                       "computes",
               .source = "DeepSeek-AI, DeepSeek-V3 Technical Report, 2024, section 3.4",
               .variant = VARIANT_PAPER,
               .lossless = true,
               .acts = ACT_STAGES,
               .options = NULL},
    .copies_wait = false,
    .split = true,
    .stages = stages,
};

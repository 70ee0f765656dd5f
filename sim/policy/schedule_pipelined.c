#include "slots.h"

#include <stddef.h>

struct params {
    int64_t chunks;
};

static const struct option options[] = {
    {"chunks", OPT_INT, offsetof(struct params, chunks), "2", 1, PROGRAM_PARTS, NULL,
     "parts that each GPU's rows go through a layer in; 1: as overlapped"},
    {.name = NULL},
};

/* All dispatches first: the first experts begin when a part has come, and the network is
 * free for what they give when all have gone out. With r parts, dispatch or combine of a
 * part taking a and its experts e, on one stream of the network, a layer takes
 * max(2 r a, 2 a + r e) where rows are balanced. */
static void stages(const void *params, const struct program_shape *shape,
                   struct program *p)
{
    const struct params *own = params;

    (void)shape;
    program_begin(p);
    for (int verb = STAGE_DISPATCH; verb <= STAGE_COMBINE; verb++)
        for (uint32_t part = 0; part < (uint32_t)own->chunks; part++)
            program_add(p, (enum stage_verb)verb, part);
    program_end(p);
}

const struct schedule_type schedule_pipelined = {
    .plugin = {.slot = SLOT_SCHEDULE,
               .name = "pipelined",
               .help =
                   "rows in chunks: one is dispatched while the experts of another run",
               .source = "Hwang et al., Tutel, MLSys 2023, section 3.3 (its degree r)",
               .variant = VARIANT_PAPER,
               .lossless = true,
               .acts = ACT_STAGES,
               .options = options,
               .params_size = sizeof(struct params)},
    .copies_wait = false,
    .split = true,
    .stages = stages,
};

/* Where engines start. With spare slots there are two habits: to leave them empty, or to
 * go round again (slot s holds expert s mod E), as those do that balance later. */
#include "place_fill.h"

enum spare { SPARE_EMPTY, SPARE_WRAP };

struct linear {
    int spare;
};

static const char *const spares[] = {"empty", "wrap", NULL};

static const struct option options[] = {
    {"spare", OPT_CHOICE, offsetof(struct linear, spare), "empty", 0, 0, spares,
     "slots beyond the experts: empty, or wrap (slot s holds expert s mod E, where "
     "engines with redundant experts start)"},
    {.name = NULL},
};

static size_t scratch_size(const void *params, const struct place_problem *p)
{
    (void)params;
    return p->gpus * sizeof(uint32_t);
}

static void assign(const void *params, const struct place_problem *p, uint32_t layer,
                   void *scratch, uint16_t *expert)
{
    const struct linear *how = params;
    struct place_fill fill = place_fill_begin(p, expert, scratch);

    (void)layer;
    if (how->spare == SPARE_WRAP) {
        for (uint32_t s = 0; s < p->slots; s++)
            expert[s] = (uint16_t)(s % p->experts);
        return;
    }
    for (uint32_t e = 0; e < p->experts; e++)
        place_fill_put(&fill, place_linear_gpu(p, e), e);
}

const struct place_type place_linear = {
    .plugin = {.slot = SLOT_PLACE,
               .name = "linear",
               .help =
                   "contiguous blocks of E / G experts; where they do not divide, the "
                   "first E mod G GPUs have one more",
               .source = "the default of expert-parallel engines (vLLM: linear, "
                         "determine_expert_map(); SGLang: trivial)",
               .variant = VARIANT_STANDARD,
               .lossless = true,
               .options = options,
               .params_size = sizeof(struct linear)},
    .scratch_size = scratch_size,
    .assign = assign,
};

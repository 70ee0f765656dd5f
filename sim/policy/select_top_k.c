/* Fewer experts for every row: the control that whoever changes routing has to beat. */
#include "select.h"

struct params {
    int64_t k;
};

static const struct option options[] = {
    {"k", OPT_INT, offsetof(struct params, k), "1", 1, 4096, NULL,
     "experts of each row: its best ones"},
    {.name = NULL},
};

static void apply(const void *params, void *state, const struct select_step *step,
                  uint16_t *pick)
{
    const struct params *p = params;

    (void)state;
    for (uint32_t row = 0; row < step->rows; row++, pick += step->top_k)
        for (uint32_t i = (uint32_t)p->k; i < step->top_k; i++)
            pick[i] = SELECT_NONE;
}

const struct select_type select_top_k = {
    .plugin = {.slot = SLOT_SELECT,
               .name = "top-k",
               .help = "every row executes its k best experts alone",
               .source = "textbook: top-k reduction, as in the ablations of Lynx and OEA",
               .variant = VARIANT_STANDARD,
               .lossless = false,
               .needs = NEED_SCORES,
               .acts = ACT_REROUTE,
               .options = options,
               .params_size = sizeof(struct params)},
    .decode = true,
    .apply = apply,
};

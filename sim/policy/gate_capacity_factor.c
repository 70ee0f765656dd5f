/* GShard's capacity factor: C = max(min_capacity, ceil(cf * S * k / E)), so cf = 1 is
 * just enough for perfectly even routing. */
#include "gate_capacity.h"

struct factor {
    double cf;
    int dispatch; /* enum gate_dispatch */
    int64_t min_capacity;
};

static const struct option options[] = {
    {"cf", OPT_DOUBLE, offsetof(struct factor, cf), "1", 1e-6, 65536.0, NULL,
     "capacity of each expert in multiples of the even share S * k / E (DeepSpeed: 1)"},
    {"min_capacity", OPT_INT, offsetof(struct factor, min_capacity), "4", 0.0, 1e6, NULL,
     "least rows of each expert (DeepSpeed: 4)"},
    {"dispatch", OPT_CHOICE, offsetof(struct factor, dispatch), "sparse", 0, 0,
     gate_dispatch_names, GATE_DISPATCH_HELP},
    {.name = NULL},
};

static struct gate_result apply(const void *params, const struct view *v,
                                uint16_t *choice, uint32_t *scratch)
{
    const struct factor *p = params;
    double share = p->cf * (double)v->rows * (double)v->top_k / (double)v->experts;
    double least = (double)p->min_capacity;

    return gate_capacity_apply(v, share > least ? share : least, choice, scratch);
}

static bool is_dense(const void *params)
{
    const struct factor *p = params;

    return p->dispatch == GATE_DENSE;
}

const struct gate_type gate_capacity_factor = {
    .plugin = {.slot = SLOT_GATE,
               .name = "capacity-factor",
               .help =
                   "every expert computes max(min_capacity, ceil(cf * S * k / E)) rows; "
                   "choices beyond are dropped",
               .source =
                   "GShard (Lepikhin et al., ICLR 2021) as in DeepSpeed's MoE layer",
               .variant = VARIANT_RELEASED,
               .lossless = false,
               .acts = ACT_REROUTE | ACT_PAD,
               .options = options,
               .params_size = sizeof(struct factor)},
    .apply = apply,
    .is_dense = is_dense,
};

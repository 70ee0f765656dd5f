/* Static gating as fairseq evaluates: C = ceil(cf * S), so `cf` is a fraction of the
 * step's S tokens, not the GShard factor (gate_capacity_factor.c). */
#include "gate_capacity.h"

struct fraction {
    double cf;
    int dispatch; /* enum gate_dispatch */
};

static const struct option options[] = {
    {"cf", OPT_DOUBLE, offsetof(struct fraction, cf), "1", 1e-6, 1.0, NULL,
     "capacity of each expert as a fraction of the step's tokens (Huang: 0.05 for "
     "language modelling, 1 for translation)"},
    {"dispatch", OPT_CHOICE, offsetof(struct fraction, dispatch), "sparse", 0, 0,
     gate_dispatch_names, GATE_DISPATCH_HELP},
    {.name = NULL},
};

static struct gate_result apply(const void *params, const struct view *v,
                                uint16_t *choice, uint32_t *scratch)
{
    const struct fraction *p = params;

    return gate_capacity_apply(v, p->cf * (double)v->rows, choice, scratch);
}

static bool is_dense(const void *params)
{
    const struct fraction *p = params;

    return p->dispatch == GATE_DENSE;
}

const struct gate_type gate_capacity_fraction = {
    .plugin = {.slot = SLOT_GATE,
               .name = "capacity-fraction",
               .help =
                   "every expert computes ceil(cf * S) rows; choices beyond are dropped",
               .source =
                   "Huang et al., Toward Efficient Inference for Mixture of Experts, "
                   "NeurIPS 2024: static gating, as in fairseq's evaluation",
               .variant = VARIANT_RELEASED,
               .lossless = false,
               .acts = ACT_REROUTE | ACT_PAD,
               .options = options,
               .params_size = sizeof(struct fraction)},
    .apply = apply,
    .is_dense = is_dense,
};

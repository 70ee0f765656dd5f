#include "prefetch_pick.h"

struct params {
    struct prefetch_reach reach;
};

static const struct option options[] = {
    PREFETCH_REACH_OPTIONS,
    {.name = NULL},
};

struct state {
    struct prefetch_reach reach;
    double value[]; /* [most wants] scratch of the pick */
};

static uint32_t width(const struct policy_shape *shape, const void *params)
{
    const struct params *p = params;

    return prefetch_most(shape->experts, &p->reach);
}

static size_t state_size(const struct policy_shape *shape, const void *params)
{
    return sizeof(struct state) + width(shape, params) * sizeof(double);
}

static void init(void *state, const struct policy_shape *shape, const void *params)
{
    const struct params *p = params;
    struct state *s = state;

    (void)shape;
    s->reach = p->reach;
}

static uint32_t step(void *state, const struct view *v, struct prefetch_want *want)
{
    struct state *s = state;
    struct prefetch_pick pick = prefetch_pick_begin(v, &s->reach, s->value, want);
    const uint64_t *load = &v->load[(size_t)pick.layer * v->experts];

    for (uint32_t e = 0; e < v->experts; e++)
        prefetch_pick_offer(&pick, e, (double)load[e]);
    return prefetch_pick_end(&pick);
}

const struct prefetch_type prefetch_frequency = {
    .plugin = {.slot = SLOT_PREFETCH,
               .name = "frequency",
               .help = "the experts of the coming layer that had most tokens so far",
               .source = "baseline: popularity of the passes before this one",
               .variant = VARIANT_STANDARD,
               .lossless = true,
               .acts = ACT_PREFETCH,
               .options = options,
               .params_size = sizeof(struct params)},
    .state_size = state_size,
    .init = init,
    .width = width,
    .step = step,
};

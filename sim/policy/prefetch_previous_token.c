#include "prefetch_pick.h"

#include <string.h>

struct params {
    struct prefetch_reach reach;
};

static const struct option options[] = {
    PREFETCH_REACH_OPTIONS,
    {.name = NULL},
};

/* Behind it: value [most wants], then used [layers] and, per layer, the experts
 * [experts] and their tokens [experts] of the last pass through it. */
struct state {
    struct prefetch_reach reach;
    uint32_t experts;
    double *value;
    uint32_t *used;
    uint32_t *expert;
    uint32_t *tokens;
};

static uint32_t width(const struct policy_shape *shape, const void *params)
{
    const struct params *p = params;

    return prefetch_most(shape->experts, &p->reach);
}

static size_t state_size(const struct policy_shape *shape, const void *params)
{
    size_t pairs = (size_t)shape->layers * shape->experts;

    return sizeof(struct state) + width(shape, params) * sizeof(double) +
           (shape->layers + 2 * pairs) * sizeof(uint32_t);
}

static void init(void *state, const struct policy_shape *shape, const void *params)
{
    const struct params *p = params;
    struct state *s = state;
    size_t pairs = (size_t)shape->layers * shape->experts;

    s->reach = p->reach;
    s->experts = shape->experts;
    s->value = (void *)(s + 1);
    s->used = (void *)(s->value + width(shape, params));
    s->expert = s->used + shape->layers;
    s->tokens = s->expert + pairs;
    memset(s->used, 0, shape->layers * sizeof *s->used);
}

static void learn(struct state *s, const struct view *v)
{
    size_t base = (size_t)v->layer * s->experts;

    for (uint32_t i = 0; i < v->active_count; i++) {
        s->expert[base + i] = v->active[i];
        s->tokens[base + i] = v->tokens[v->active[i]];
    }
    s->used[v->layer] = v->active_count;
}

static uint32_t step(void *state, const struct view *v, struct prefetch_want *want)
{
    struct state *s = state;
    struct prefetch_pick pick = prefetch_pick_begin(v, &s->reach, s->value, want);
    size_t base = (size_t)pick.layer * s->experts;

    /* Learning first: a layer that comes in the next pass has this pass as its last. */
    learn(s, v);
    for (uint32_t i = 0; i < s->used[pick.layer]; i++)
        prefetch_pick_offer(&pick, s->expert[base + i], (double)s->tokens[base + i]);
    return prefetch_pick_end(&pick);
}

const struct prefetch_type prefetch_previous_token = {
    .plugin = {.slot = SLOT_PREFETCH,
               .name = "previous-token",
               .help = "the experts that the coming layer used in the previous pass",
               .source = "baseline: adjacent tokens share experts",
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

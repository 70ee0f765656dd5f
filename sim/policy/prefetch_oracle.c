#include "prefetch_pick.h"

struct params {
    struct prefetch_reach reach;
};

static const struct option options[] = {
    PREFETCH_DISTANCE_OPTION(
        "steps known ahead, nearest first; 1 is the next layer, past "
        "the last layer comes the next pass"),
    PREFETCH_WIDTH_OPTION,
    {.name = NULL},
};

static uint32_t width(const struct policy_shape *shape, const void *params)
{
    const struct params *p = params;

    return (uint32_t)p->reach.distance * shape->experts;
}

struct state {
    uint32_t distance, width;
};

static size_t state_size(const struct policy_shape *shape, const void *params)
{
    (void)shape;
    (void)params;
    return sizeof(struct state);
}

static void init(void *state, const struct policy_shape *shape, const void *params)
{
    const struct params *p = params;
    struct state *s = state;

    (void)shape;
    s->distance = (uint32_t)p->reach.distance;
    s->width = p->reach.width == 0 ? UINT32_MAX : (uint32_t)p->reach.width;
}

static uint32_t step(void *state, const struct view *v, struct prefetch_want *want)
{
    const struct state *s = state;
    uint32_t count = 0, missing = 0;

    assert(v->future != NULL);
    /* Every step in reach is asked for again: what found no room from afar may find it
     * from near by. */
    for (uint32_t ahead = 1; ahead <= s->distance; ahead++) {
        uint32_t layer = prefetch_target(v, ahead);
        const uint32_t *expert;
        uint32_t n = v->future(v->future_context, ahead, &expert);

        for (uint32_t i = 0; i < n; i++) {
            if (view_is_resident(v, layer, expert[i]) || missing++ < s->width)
                want[count++] =
                    (struct prefetch_want){.ahead = ahead, .expert = expert[i]};
        }
    }
    return count;
}

const struct prefetch_type prefetch_oracle = {
    .plugin = {.slot = SLOT_PREFETCH,
               .name = "oracle",
               .help = "the experts that the coming layers will use: perfect look-ahead",
               .source =
                   "bound: no predictor of this distance and width is better informed",
               .variant = VARIANT_STANDARD,
               .lossless = true,
               .acts = ACT_PREFETCH,
               .needs = NEED_FUTURE,
               .options = options,
               .params_size = sizeof(struct params)},
    .state_size = state_size,
    .init = init,
    .width = width,
    .step = step,
};

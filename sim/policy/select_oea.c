/* Opportunistic expert activation: rows are sure of their k0 best experts alone, and fill
 * up with what other rows have activated anyway. */
#include "select.h"

struct params {
    int64_t k0, k_max, max_p;
};

static const struct option options[] = {
    {"k0", OPT_INT, offsetof(struct params, k0), "0", 0, 4096, NULL,
     "best experts that every row activates; 0: half of its experts, rounded up"},
    {"k_max", OPT_INT, offsetof(struct params, k_max), "0", 0, 4096, NULL,
     "experts of a row, with those it finds active; 0, and at most: as many as the "
     "router gave it"},
    {"max_p", OPT_INT, offsetof(struct params, max_p), "0", 0, 4096, NULL,
     "it fills up from this many of its best candidates; 0: from all"},
    {.name = NULL},
};

struct state {
    uint32_t k0, k_max, max_p;
    struct select_tally tally;
};

static size_t state_size(const struct policy_shape *shape, const void *params)
{
    (void)params;
    return sizeof(struct state) + select_tally_size(shape->experts);
}

static uint32_t or_all(int64_t value)
{
    return value == 0 ? UINT32_MAX : (uint32_t)value;
}

static void init(void *state, const struct policy_shape *shape, const void *params)
{
    struct state *s = state;
    const struct params *p = params;

    s->k0 = p->k0 == 0 ? (shape->top_k + 1) / 2 : (uint32_t)p->k0;
    s->k_max = or_all(p->k_max);
    s->max_p = or_all(p->max_p);
    select_tally_init(&s->tally, s + 1, shape->experts);
}

static void fill_row(const struct state *s, const struct select_step *step, uint32_t row,
                     uint16_t *pick)
{
    const uint16_t *id = select_ids(step, row);
    uint32_t executed = step->executed[row], have = 0, seen = executed;
    uint32_t most = s->k_max < executed ? s->k_max : executed;
    uint16_t at = SELECT_NONE;

    most = most < s->k0 ? s->k0 : most;
    for (uint32_t i = 0; i < executed && have < most; i++)
        if (i < s->k0 || (i < s->max_p && s->tally.keep[id[i]]))
            pick[have++] = (uint16_t)i;
    while (have < most && have < executed && seen++ < s->max_p) {
        at = select_next(step, row, s->max_p == UINT32_MAX ? s->tally.keep : NULL, at);
        if (at == SELECT_NONE)
            break;
        if (s->tally.keep[id[at]])
            pick[have++] = at;
    }
    for (uint32_t i = have; i < executed; i++)
        pick[i] = SELECT_NONE;
}

static void apply(void *state, const struct select_step *step, uint16_t *pick)
{
    struct state *s = state;

    select_tally_list(&s->tally, step, s->k0);
    for (uint32_t row = 0; row < step->rows; row++)
        fill_row(s, step, row, pick + (size_t)row * step->top_k);
    select_tally_clear(&s->tally);
}

const struct select_type select_oea = {
    .plugin = {.slot = SLOT_SELECT,
               .name = "oea",
               .help = "every row activates its k0 best experts, and fills up with those "
                       "that other rows of the batch have activated",
               .source = "Oncescu et al., Opportunistic Expert Activation, 2025 (arXiv "
                         "2511.02237)",
               .variant = VARIANT_PAPER,
               .lossless = false,
               .needs = NEED_SCORES,
               .acts = ACT_REROUTE,
               .options = options,
               .params_size = sizeof(struct params)},
    .decode = true,
    .state_size = state_size,
    .init = init,
    .apply = apply,
};

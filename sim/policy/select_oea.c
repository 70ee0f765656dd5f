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

static void fill_row(const struct params *p, uint32_t k0, const struct select_tally *t,
                     const struct select_step *step, uint32_t row, uint16_t *pick)
{
    const uint16_t *id = select_ids(step, row);
    uint32_t executed = step->executed[row], have = 0, seen = executed;
    uint32_t reach = p->max_p == 0 ? UINT32_MAX : (uint32_t)p->max_p;
    uint32_t most = p->k_max == 0 || p->k_max > executed ? executed : (uint32_t)p->k_max;
    uint16_t at = SELECT_NONE;

    most = most < k0 ? k0 : most;
    for (uint32_t i = 0; i < executed && have < most; i++)
        if (i < k0 || (i < reach && t->keep[id[i]]))
            pick[have++] = (uint16_t)i;
    while (have < most && have < executed && seen++ < reach) {
        at = select_next(step, row, p->max_p == 0 ? t->keep : NULL, at);
        if (at == SELECT_NONE)
            break;
        if (t->keep[id[at]])
            pick[have++] = at;
    }
    for (uint32_t i = have; i < executed; i++)
        pick[i] = SELECT_NONE;
}

static void apply(const void *params, void *state, const struct select_step *step,
                  uint16_t *pick)
{
    const struct params *p = params;
    struct select_tally *t = state;
    uint32_t k0 = p->k0 == 0 ? (step->top_k + 1) / 2 : (uint32_t)p->k0;

    select_tally_list(t, step, k0);
    for (uint32_t row = 0; row < step->rows; row++)
        fill_row(p, k0, t, step, row, pick + (size_t)row * step->top_k);
    select_tally_clear(t);
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
    .state_size = select_tally_size,
    .init = select_tally_init,
    .apply = apply,
};

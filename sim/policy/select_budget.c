/* A budget of experts for a batch: those of greatest summed gate weight. The best set of
 * a given size is just that, since what a set is worth is the sum of what its experts
 * are (XShare calls it modular). */
#include "select.h"

#include <math.h>

enum summed { ALL, EXECUTED };

struct params {
    int64_t experts, warm_up;
    double share;
    int summed; /* enum summed */
};

static const char *const sums[] = {
    [ALL] = "all", [EXECUTED] = "executed", [EXECUTED + 1] = NULL};

static const struct option options[] = {
    {"experts", OPT_INT, offsetof(struct params, experts), "0", 0, 4096, NULL,
     "experts of a layer that a batch may use, at least top_k; 0: by share"},
    {"share", OPT_DOUBLE, offsetof(struct params, share), "0.75", 0, 1, NULL,
     "the same in shares of the distinct experts that the router chose for the batch"},
    {"warm_up", OPT_INT, offsetof(struct params, warm_up), "0", 0, 4096, NULL,
     "best experts of every row that stay whatever they weigh, within the budget or "
     "beyond it (XShare's warm-up)"},
    {"sum", OPT_CHOICE, offsetof(struct params, summed), "all", 0, 0, sums,
     "the gate weights that count: all that are recorded (XShare), or those of the "
     "executed experts (MoE-Spec)"},
    {.name = NULL},
};

static void add_row(const struct params *p, double *sum, const struct select_step *step,
                    uint32_t row)
{
    const uint16_t *id = select_ids(step, row);
    const double *mass = select_masses(step, row);
    uint32_t count = p->summed == ALL ? step->recorded[row] : step->executed[row];

    for (uint32_t i = 0; i < count; i++)
        sum[id[i]] += mass[i];
}

static uint32_t budget(const struct params *p, uint32_t top_k, uint32_t distinct)
{
    double share = ceil(p->share * distinct - 1e-9);
    uint32_t most = p->experts > 0 ? (uint32_t)p->experts : (uint32_t)share;

    return most > top_k ? most : top_k;
}

/* Every row's first experts weigh more than all others together; how many those are. */
static uint32_t raise_first(struct select_tally *t, const struct select_step *step,
                            uint32_t warm_up)
{
    select_tally_list(t, step, warm_up);
    for (uint32_t i = 0; i < t->count; i++)
        t->value[t->list[i]] += 2.0 * step->rows;
    return t->count;
}

/* Lists all experts, and keeps the best of them. */
static void keep_best(struct select_tally *t, uint32_t experts, uint32_t most)
{
    for (uint32_t i = 0; i < experts; i++)
        t->list[i] = (uint16_t)i;
    t->count = experts;
    select_greatest(t->list, experts, most, t->value);
    for (uint32_t i = 0; i < experts; i++)
        t->keep[t->list[i]] = i < most;
}

static void apply(const void *params, void *state, const struct select_step *step,
                  uint16_t *pick)
{
    const struct params *p = params;
    struct select_tally *t = state;
    uint32_t experts = step->view->experts, distinct, most, warm;

    if (step->rows == 1) /* whose experts fit, being at most top_k */
        return;
    select_tally_list(t, step, step->top_k);
    distinct = t->count;
    select_tally_clear(t);
    most = budget(p, step->top_k, distinct);
    if (most >= (p->summed == ALL ? experts : distinct))
        return;
    for (uint32_t row = 0; row < step->rows; row++)
        add_row(p, t->value, step, row);
    warm = raise_first(t, step, (uint32_t)p->warm_up);
    keep_best(t, experts, warm > most ? warm : most);
    select_keep(step, t->keep, pick);
    select_tally_clear(t);
}

const struct select_type select_budget = {
    .plugin = {.slot = SLOT_SELECT,
               .name = "budget",
               .help = "a batch uses the experts of greatest summed gate weight, so many "
                       "of each layer; every row takes its best of those",
               .source = "XShare, 2026 (arXiv 2602.07265): greedy choice under a budget; "
                         "MoE-Spec, 2026 (arXiv 2602.16052): the same while drafts are "
                         "verified",
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

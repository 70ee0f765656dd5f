/* Lynx, first version: a batch keeps the experts that most of its rows chose. The paper
 * gives no rule in full; this is a reconstruction. */
#include "select.h"

#include <math.h>

enum form { LATENCY, ACCURACY };

struct params {
    double drop;
    int form; /* enum form */
};

static const char *const forms[] = {
    [LATENCY] = "latency", [ACCURACY] = "accuracy", [ACCURACY + 1] = NULL};

static const struct option options[] = {
    {"drop", OPT_DOUBLE, offsetof(struct params, drop), "0.25", 0, 1, NULL,
     "share of the batch's distinct experts to leave out (reconstructed: 0.25)"},
    {"form", OPT_CHOICE, offsetof(struct params, form), "latency", 0, 0, forms,
     "latency: the most voted stay; accuracy: every row's best expert stays first"},
    {.name = NULL},
};

static void count_votes(double *vote, const struct select_step *step)
{
    for (uint32_t row = 0; row < step->rows; row++) {
        const uint16_t *id = select_ids(step, row);

        for (uint32_t i = 0; i < step->executed[row]; i++)
            vote[id[i]]++;
    }
}

/* Every row's best expert gets more votes than any number of rows can give. Returns how
 * many those are. */
static uint32_t raise_best(double *vote, const struct select_step *step)
{
    const double above = (double)step->rows + 1;
    uint32_t raised = 0;

    for (uint32_t row = 0; row < step->rows; row++) {
        double *best = &vote[*select_ids(step, row)];

        if (step->executed[row] == 0 || *best >= above)
            continue;
        *best += above;
        raised++;
    }
    return raised;
}

static void apply(const void *params, void *state, const struct select_step *step,
                  uint16_t *pick)
{
    const struct params *p = params;
    struct select_tally *t = state;
    double share;
    uint32_t most, best = 0;

    select_tally_list(t, step, step->top_k);
    share = ceil((1.0 - p->drop) * t->count - 1e-9);
    most = share > step->top_k ? (uint32_t)share : step->top_k;
    if (most < t->count) {
        count_votes(t->value, step);
        if (p->form == ACCURACY)
            best = raise_best(t->value, step);
        most = best > most ? best : most; /* all of them, if need be */
        select_greatest(t->list, t->count, most, t->value);
        for (uint32_t i = most; i < t->count; i++)
            t->keep[t->list[i]] = 0;
        select_keep(step, t->keep, pick);
    }
    select_tally_clear(t);
}

const struct select_type select_lynx = {
    .plugin = {.slot = SLOT_SELECT,
               .name = "lynx",
               .help = "a batch keeps the experts that most rows chose; every row takes "
                       "its best of those",
               .source = "Gupta et al., Lynx: Enabling Efficient MoE Inference through "
                         "Dynamic Batch-Aware Expert Selection, 2024 (arXiv 2411.08982), "
                         "rule reconstructed",
               .variant = VARIANT_RECONSTRUCTION,
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

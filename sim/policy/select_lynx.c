/* Lynx, first version: a batch keeps the experts that most of its rows chose. The paper
 * gives no rule in full; this is a reconstruction. */
#include "select.h"

#include <math.h>
#include <string.h>

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

struct state {
    double drop;
    bool best_first;
    uint32_t experts;
    double *vote;   /* [experts] */
    uint16_t *list; /* [experts] */
    uint8_t *keep;  /* [experts] all 0 between steps */
};

static size_t state_size(const struct policy_shape *shape, const void *params)
{
    (void)params;
    return sizeof(struct state) +
           shape->experts * (sizeof(double) + sizeof(uint16_t) + sizeof(uint8_t));
}

static void init(void *state, const struct policy_shape *shape, const void *params)
{
    struct state *s = state;
    const struct params *p = params;

    s->drop = p->drop;
    s->best_first = p->form == ACCURACY;
    s->experts = shape->experts;
    s->vote = (double *)(s + 1);
    s->list = (uint16_t *)(s->vote + shape->experts);
    s->keep = (uint8_t *)(s->list + shape->experts);
    memset(s->vote, 0, shape->experts * sizeof *s->vote);
    memset(s->keep, 0, shape->experts * sizeof *s->keep);
}

static void count_votes(struct state *s, const struct select_step *step)
{
    for (uint32_t row = 0; row < step->rows; row++) {
        const uint16_t *id = select_ids(step, row);

        for (uint32_t i = 0; i < step->executed[row]; i++)
            s->vote[id[i]]++;
    }
}

/* Every row's best expert gets more votes than any number of rows can give. */
static void raise_best(struct state *s, const struct select_step *step)
{
    const double above = (double)step->rows + 1;

    for (uint32_t row = 0; row < step->rows; row++)
        if (step->executed[row] > 0 && s->vote[*select_ids(step, row)] < above)
            s->vote[*select_ids(step, row)] += above;
}

static void apply(void *state, const struct select_step *step, uint16_t *pick)
{
    struct state *s = state;
    uint32_t distinct = select_union(step, step->top_k, s->keep, s->list);
    double share = ceil((1.0 - s->drop) * distinct - 1e-9);
    uint32_t most = share > step->top_k ? (uint32_t)share : step->top_k, best = 0;

    if (most < distinct) {
        count_votes(s, step);
        if (s->best_first)
            raise_best(s, step);
        for (uint32_t i = 0; i < distinct; i++)
            best += s->vote[s->list[i]] > step->rows;
        most = best > most ? best : most; /* accuracy: all of them, if need be */
        select_greatest(s->list, distinct, most, s->vote);
        for (uint32_t i = most; i < distinct; i++)
            s->keep[s->list[i]] = 0;
        select_keep(step, s->keep, pick);
    }
    for (uint32_t i = 0; i < distinct; i++) {
        s->vote[s->list[i]] = 0;
        s->keep[s->list[i]] = 0;
    }
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
    .state_size = state_size,
    .init = init,
    .apply = apply,
};

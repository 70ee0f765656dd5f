/* MoE-ERAS, bias form: what is not resident loses beta (1 - its frequency) of its logit,
 * and the top k of that are executed, weighed by the softmax of what is left. As mass, a
 * bias of logits is a factor. */
#include "select.h"

#include <math.h>
#include <string.h>

struct params {
    double beta;
};

static const struct option options[] = {
    {"beta", OPT_DOUBLE, offsetof(struct params, beta), "1", 0, 1e9, NULL,
     "logit that an expert loses that is not resident and that the profile has never "
     "(published: 1)"},
    {.name = NULL},
};

struct state {
    uint32_t experts;
    double *factor; /* (layer, expert) of what is not resident */
    double *value;  /* [top_k] of those picked, descending; scratch */
};

static size_t state_size(const struct policy_shape *shape, const void *params)
{
    (void)params;
    return sizeof(struct state) +
           ((size_t)shape->layers * shape->experts + shape->top_k) * sizeof(double);
}

static void init(void *state, const struct policy_shape *shape, const void *params)
{
    struct state *s = state;
    const struct params *p = params;

    s->experts = shape->experts;
    s->value = (double *)(s + 1);
    s->factor = s->value + shape->top_k;
    for (uint32_t layer = 0; layer < shape->layers; layer++) {
        const uint64_t *load = shape->profile + (size_t)layer * shape->experts;
        double *factor = s->factor + (size_t)layer * shape->experts, sum = 0;

        for (uint32_t i = 0; i < shape->experts; i++)
            sum += (double)load[i];
        for (uint32_t i = 0; i < shape->experts; i++)
            factor[i] = exp(-p->beta * (1 - (sum > 0 ? (double)load[i] / sum : 0)));
    }
}

static double factor_of(const struct state *s, const struct view *v, uint16_t expert)
{
    if (view_is_resident(v, v->layer, expert))
        return 1;
    return s->factor[(size_t)v->layer * s->experts + expert];
}

/* Enters a place among those picked so far, `have` of them, by value; the last one falls
 * out beyond `most`. Of equal ones the first to come stays before: executed, better. */
static uint32_t enter(const struct state *s, uint16_t *pick, uint32_t have, uint32_t most,
                      uint16_t place, double value)
{
    uint32_t at = have < most ? have : most - 1;

    if (have == most && value <= s->value[at])
        return have;
    for (; at > 0 && s->value[at - 1] < value; at--) {
        s->value[at] = s->value[at - 1];
        pick[at] = pick[at - 1];
    }
    s->value[at] = value;
    pick[at] = place;
    return have < most ? have + 1 : most;
}

/* What mass a lost logit leaves; of a softmax it is not scaled to 1 again, since only a
 * row's ratios matter. */
static double biased(const struct select_step *step, double mass, double factor)
{
    if (step->view->score_kind == VIEW_SIGMOID && factor > 0)
        return mass * factor / (1 - mass + mass * factor);
    return mass * factor;
}

static void choose_row(const struct state *s, const struct select_step *step,
                       uint32_t row, uint16_t *pick)
{
    const uint16_t *id = select_ids(step, row);
    const double *mass = select_masses(step, row);
    uint32_t executed = step->executed[row], have = 0;
    uint16_t at = SELECT_NONE;

    for (uint32_t i = 0; i < executed; i++)
        have = enter(s, pick, have, executed, (uint16_t)i,
                     biased(step, mass[i], factor_of(s, step->view, id[i])));
    while (executed > 0 && (at = select_next(step, row, NULL, at)) != SELECT_NONE) {
        double least = mass[executed - 1], own = mass[at] < least ? mass[at] : least;

        if (own <= s->value[executed - 1])
            return; /* a bias only takes */
        have = enter(s, pick, have, executed, at,
                     biased(step, own, factor_of(s, step->view, id[at])));
    }
}

static void apply(const void *params, void *state, const struct select_step *step,
                  uint16_t *pick)
{
    (void)params;
    for (uint32_t row = 0; row < step->rows; row++)
        choose_row(state, step, row, pick + (size_t)row * step->top_k);
}

static double weight(const void *state, const struct select_step *step, uint32_t row,
                     uint32_t at)
{
    return biased(step, select_masses(step, row)[at],
                  factor_of(state, step->view, select_ids(step, row)[at]));
}

const struct select_type select_eras_bias = {
    .plugin = {.slot = SLOT_SELECT,
               .name = "eras-bias",
               .help = "experts that are not resident lose logit, rare ones most; the "
                       "top k of that are executed",
               .source = "MoE-ERAS: Expert Residency Aware Selection, MLArchSys 2024, "
                         "bias form",
               .variant = VARIANT_PAPER,
               .lossless = false,
               .needs = NEED_SCORES | NEED_PROFILE,
               .acts = ACT_REROUTE | ACT_RESIDENCY,
               .options = options,
               .params_size = sizeof(struct params)},
    .state_size = state_size,
    .init = init,
    .apply = apply,
    .weight = weight,
};

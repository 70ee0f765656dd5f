/* MoE-ERAS, threshold form: what is resident gets alpha more probability, and the top k
 * of that are executed. Mixing weights are the probabilities themselves. */
#include "select.h"

struct params {
    double alpha;
};

static const struct option options[] = {
    {"alpha", OPT_DOUBLE, offsetof(struct params, alpha), "0.15", 0, 1e9, NULL,
     "probability that a resident expert has ahead (published: 0.05, 0.1, 0.15, 0.25); "
     "above 1 a row goes to resident experts whenever there are enough"},
    {.name = NULL},
};

static bool is_resident(const struct select_step *step, uint16_t expert)
{
    return view_is_resident(step->view, step->view->layer, expert);
}

/* The last place before `end` whose expert is not resident, or SELECT_NONE. */
static uint16_t last_missing(const struct select_step *step, const uint16_t *id,
                             uint32_t end)
{
    for (uint32_t i = end; i-- > 0;)
        if (!is_resident(step, id[i]))
            return (uint16_t)i;
    return SELECT_NONE;
}

/* Executed experts that are not resident give way from the last one on, and to resident
 * ones from the best one on, for as long as those are ahead. */
static void choose_row(const struct params *p, const struct select_step *step,
                       uint32_t row, uint16_t *pick)
{
    const uint16_t *id = select_ids(step, row);
    const double *mass = select_masses(step, row);
    uint32_t executed = step->executed[row];
    double least = executed == 0 ? 0 : mass[executed - 1];
    uint16_t last = last_missing(step, id, executed), at = SELECT_NONE;

    while (last != SELECT_NONE &&
           (at = select_next(step, row, NULL, at)) != SELECT_NONE) {
        double ahead = (mass[at] < least ? mass[at] : least) + p->alpha;

        if (ahead < mass[last])
            return; /* those after it have less */
        if (!is_resident(step, id[at]) ||
            (ahead == mass[last] && (p->alpha == 0 || id[at] > id[last])))
            continue;
        pick[last] = at;
        last = last_missing(step, id, last);
    }
}

static void apply(const void *params, void *state, const struct select_step *step,
                  uint16_t *pick)
{
    (void)state;
    if (((const struct params *)params)->alpha == 0)
        return;
    for (uint32_t row = 0; row < step->rows; row++)
        choose_row(params, step, row, pick + (size_t)row * step->top_k);
}

const struct select_type select_eras_threshold = {
    .plugin = {.slot = SLOT_SELECT,
               .name = "eras-threshold",
               .help = "resident experts get alpha more probability; the top k of that "
                       "are executed",
               .source = "MoE-ERAS: Expert Residency Aware Selection, MLArchSys 2024, "
                         "threshold form",
               .variant = VARIANT_PAPER,
               .lossless = false,
               .needs = NEED_SCORES,
               .acts = ACT_REROUTE | ACT_RESIDENCY,
               .options = options,
               .params_size = sizeof(struct params)},
    .apply = apply,
};

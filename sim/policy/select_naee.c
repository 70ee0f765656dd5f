/* Dynamic expert skipping (NAEE): a row leaves out experts that weigh little beside its
 * best one. The paper has top-2 and, for each layer, the median of w2 / w1 on calibration
 * data as the threshold; with more experts each one behind the best is judged so. */
#include "select.h"

#include <string.h>

enum { STEPS = 4096 }; /* of the histogram of ratios that the median is taken from */

struct params {
    double beta;
    int64_t calibrate;
};

static const struct option options[] = {
    {"beta", OPT_DOUBLE, offsetof(struct params, beta), "0", 0, 1, NULL,
     "an expert is left out that weighs less than this share of its row's best; 0: the "
     "layer's median of second to best, over the first rows"},
    {"calibrate", OPT_INT, offsetof(struct params, calibrate), "1024", 1, 1e9, NULL,
     "with beta: 0, rows of each layer whose median is taken, and which keep all "
     "experts"},
    {.name = NULL},
};

struct layer {
    uint64_t seen; /* rows */
    double beta;   /* once it is known */
    uint32_t count[STEPS + 1];
};

/* The state is a struct layer for each. */
static size_t state_size(const struct policy_shape *shape, const void *params)
{
    (void)params;
    return shape->layers * sizeof(struct layer);
}

static void init(void *state, const struct policy_shape *shape, const void *params)
{
    (void)params;
    memset(state, 0, shape->layers * sizeof(struct layer));
}

/* Of at least one row, to the step of the histogram: the lower end of it, so that who
 * weighs as much as the median is not left out. */
static double median(const struct layer *l)
{
    uint64_t below = 0;
    uint32_t i = 0;

    while (below + l->count[i] < (l->seen + 1) / 2)
        below += l->count[i++];
    return (double)i / STEPS;
}

static void learn(const struct params *p, struct layer *l, const double *mass,
                  uint32_t executed)
{
    if (executed < 2 || mass[0] <= 0)
        return;
    l->count[(uint32_t)(mass[1] / mass[0] * STEPS)]++;
    if (++l->seen == (uint64_t)p->calibrate)
        l->beta = median(l);
}

static void apply(const void *params, void *state, const struct select_step *step,
                  uint16_t *pick)
{
    const struct params *p = params;
    struct layer *l = (struct layer *)state + step->view->layer;

    for (uint32_t row = 0; row < step->rows; row++, pick += step->top_k) {
        const double *mass = select_masses(step, row);
        double beta = p->beta;

        if (beta == 0 && l->seen < (uint64_t)p->calibrate) {
            learn(p, l, mass, step->executed[row]);
            continue;
        }
        if (beta == 0)
            beta = l->beta;
        for (uint32_t i = 1; i < step->executed[row]; i++)
            if (mass[i] < beta * mass[0])
                pick[i] = SELECT_NONE;
    }
}

const struct select_type select_naee = {
    .plugin = {.slot = SLOT_SELECT,
               .name = "naee",
               .help = "rows leave out experts that weigh little beside their best one",
               .source = "Lu et al., Not All Experts are Equal, ACL 2024 (arXiv "
                         "2402.14800): dynamic skipping",
               .variant = VARIANT_PAPER,
               .lossless = false,
               .needs = NEED_SCORES,
               .acts = ACT_REROUTE,
               .options = options,
               .params_size = sizeof(struct params)},
    .state_size = state_size,
    .init = init,
    .apply = apply,
};

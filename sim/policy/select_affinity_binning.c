/* Lynx, third version: AffinityBinning. How far an expert's logit is below its row's best
 * one is cut into bins, which count as powers of the batch's size: an expert stays that
 * is some row's best, or near enough the best of many. Constants are reconstructed. */
#include "select.h"

#include <math.h>

enum rounding { CEIL, FLOOR };
enum { BINS_MAX = 64, UNIT_MAX = 40 /* the power of 2^24 rows is a number */ };

struct params {
    double alpha, theta;
    int64_t beta, margin;
    int rounding; /* enum rounding */
};

static const char *const roundings[] = {
    [CEIL] = "ceil", [FLOOR] = "floor", [FLOOR + 1] = NULL};

static const struct option options[] = {
    {"alpha", OPT_DOUBLE, offsetof(struct params, alpha), "2", 0, 1e6, NULL,
     "bins for each unit of logit below the row's best expert"},
    {"beta", OPT_INT, offsetof(struct params, beta), "3", 0, BINS_MAX, NULL,
     "the last bin"},
    {"theta", OPT_DOUBLE, offsetof(struct params, theta), "1", 0, 1e9, NULL,
     "an expert stays whose score, the sum over the rows of B^-bin with B rows, is at "
     "least this; 0: all stay"},
    {"margin", OPT_INT, offsetof(struct params, margin), "1", 0, BINS_MAX, NULL,
     "a row's best expert stays, too, if its second is this many bins below"},
    {"rounding", OPT_CHOICE, offsetof(struct params, rounding), "ceil", 0, 0, roundings,
     "ceil: towards the best one; floor: away from it, so that with theta: 1 the best "
     "experts of the rows alone stay, whatever alpha is"},
    {.name = NULL},
};

/* How far below the best of the row, in logits. */
static double below(const struct select_step *step, uint32_t row, uint32_t at)
{
    const float *score = select_scores(step, row);
    double best = (double)score[0], own = (double)score[at];

    if (at == 0 || own == best)
        return 0;
    switch (step->view->score_kind) {
    case VIEW_LOGIT:
        return best - own;
    case VIEW_SIGMOID:
        return log(best / (1 - best)) - log(own / (1 - own));
    default:
        return log(best / own);
    }
}

static uint32_t bin_of(const struct params *p, const struct select_step *step,
                       uint32_t row, uint32_t at)
{
    double bins = p->alpha == 0 ? 0 : p->alpha * below(step, row, at);
    double bin = p->rounding == CEIL ? floor(bins) : ceil(bins);

    return bin < (double)p->beta ? (uint32_t)bin : (uint32_t)p->beta;
}

/* What a bin of the present batch counts. */
struct scale {
    double power[BINS_MAX + 1], theta;
};

/* B^(beta - bin) instead of B^-bin, and theta as many times as large: whole numbers, of
 * which equal sums are equal, in whichever order rows come. */
static struct scale count_bins(const struct params *p, uint32_t rows)
{
    int unit = p->beta < UNIT_MAX ? (int)p->beta : UNIT_MAX;
    struct scale s = {.theta = p->theta * pow(rows, unit)};

    for (int i = 0; i <= (int)p->beta; i++)
        s.power[i] = pow(rows, unit - i);
    return s;
}

/* Scores, and which rows' best experts stay for their margin alone. */
static void score_row(const struct params *p, const struct scale *s,
                      struct select_tally *t, const struct select_step *step,
                      uint32_t row)
{
    const uint16_t *id = select_ids(step, row);
    uint32_t second = (uint32_t)p->margin;

    for (uint32_t i = 0; i < step->executed[row]; i++) {
        uint32_t bin = bin_of(p, step, row, i);

        t->value[id[i]] += s->power[bin];
        second = i == 1 ? bin : second;
    }
    if (step->executed[row] > 0 && second >= (uint32_t)p->margin)
        t->keep[*id] = 2;
}

static void choose(struct select_tally *t, const struct select_step *step, double theta)
{
    uint32_t kept = 0, least;

    for (uint32_t i = 0; i < t->count; i++) {
        uint8_t *keep = &t->keep[t->list[i]];
        bool scores = t->value[t->list[i]] >= theta * (1 - 1e-12); /* is it whole? */

        kept += scores;
        *keep = scores || *keep == 2;
    }
    least = step->top_k < t->count ? step->top_k : t->count;
    if (kept >= least)
        return;
    select_greatest(t->list, t->count, least, t->value);
    for (uint32_t i = 0; i < least; i++)
        t->keep[t->list[i]] = 1;
}

static void apply(const void *params, void *state, const struct select_step *step,
                  uint16_t *pick)
{
    const struct params *p = params;
    struct select_tally *t = state;
    struct scale s;

    if (p->theta <= 0)
        return; /* all stay */
    s = count_bins(p, step->rows);
    select_tally_list(t, step, step->top_k);
    for (uint32_t row = 0; row < step->rows; row++)
        score_row(p, &s, t, step, row);
    choose(t, step, s.theta);
    select_keep(step, t->keep, pick);
    select_tally_clear(t);
}

const struct select_type select_affinity_binning = {
    .plugin = {.slot = SLOT_SELECT,
               .name = "affinity-binning",
               .help = "a batch keeps the experts that are the best of a row, or near "
                       "the best of many; every row takes its best of those",
               .source = "Gupta et al., Lynx, version 3 of 2026 (arXiv 2411.08982v3): "
                         "AffinityBinning, constants reconstructed",
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

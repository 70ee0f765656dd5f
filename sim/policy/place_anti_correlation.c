/* Huang et al.: experts that are busy in the same batches go to different GPUs.
 *
 * A[m] is the mean over batches of expert m's share of the tokens. By A descending, each
 * expert c goes to the GPU with room whose sum over its experts m of A[m] + w corr(m, c)
 * is least (ties: the lower id), corr being Pearson's over the batches' shares. Taken
 * literally, w corr is of order 0.5 and A of order 1/E, so correlation swamps load; the
 * scaled form divides w by E. An expert with the same share in every batch correlates
 * with nothing. Batches without tokens in the layer do not count. */
#include "place_fill.h"

#include <math.h>

enum form { FORM_LITERAL, FORM_SCALED };

struct anti {
    double w;
    int form;
};

static const char *const forms[] = {"literal", "scaled", NULL};

static const struct option options[] = {
    {"w", OPT_DOUBLE, offsetof(struct anti, w), "0.5", 0.0, 1e6, NULL,
     "weight of correlation against load (Huang: 0.5)"},
    {"form", OPT_CHOICE, offsetof(struct anti, form), "literal", 0, 0, forms,
     "literal: w as it stands; scaled: w / E, so that both terms are of one size"},
    {.name = NULL},
};

struct state {
    struct place_item *item; /* [experts] */
    double *share;           /* [experts] A */
    double *unit;            /* (expert, sample) shares less their mean, of length 1 */
    double *score;           /* [gpus] */
    uint32_t *used;          /* [gpus] */
};

static size_t scratch_size(const void *params, const struct place_problem *p)
{
    (void)params;
    return p->experts * (sizeof(struct place_item) + sizeof(double)) +
           (size_t)p->experts * p->samples * sizeof(double) +
           p->gpus * (sizeof(double) + sizeof(uint32_t));
}

static int check(const void *params, const struct place_problem *p, struct err *e)
{
    (void)params;
    if (p->samples < 2 || p->history == NULL)
        return err_set_key(e, "place",
                           "placement anti-correlation needs the loads of 2 batches or "
                           "more, and has those of %u",
                           p->samples);
    return 0;
}

/* Fills unit (as shares) and share. */
static void means(const struct place_problem *p, uint32_t layer, struct state *s)
{
    uint32_t used = 0;

    for (uint32_t e = 0; e < p->experts; e++)
        s->share[e] = 0.0;
    for (uint32_t i = 0; i < p->samples; i++) {
        const uint32_t *tokens =
            &p->history[((size_t)i * p->layers + layer) * p->experts];
        uint64_t total = 0;

        for (uint32_t e = 0; e < p->experts; e++)
            total += tokens[e];
        used += total > 0;
        for (uint32_t e = 0; e < p->experts; e++) {
            double share = total > 0 ? (double)tokens[e] / (double)total : NAN;

            s->unit[(size_t)e * p->samples + i] = share;
            s->share[e] += total > 0 ? share : 0.0;
        }
    }
    for (uint32_t e = 0; e < p->experts; e++)
        s->share[e] = used > 0 ? s->share[e] / used : 0.0;
}

/* Centres the shares and makes their length 1, so that corr is a dot product. */
static void standardise(const struct place_problem *p, struct state *s)
{
    for (uint32_t e = 0; e < p->experts; e++) {
        double *unit = &s->unit[(size_t)e * p->samples], square = 0.0, length;

        for (uint32_t i = 0; i < p->samples; i++) {
            unit[i] = isnan(unit[i]) ? 0.0 : unit[i] - s->share[e];
            square += unit[i] * unit[i];
        }
        /* What is left of equal shares is rounding of the mean. */
        length = sqrt(square);
        if (length <= 1e-12 * s->share[e] * sqrt((double)p->samples))
            length = INFINITY;
        for (uint32_t i = 0; i < p->samples; i++)
            unit[i] /= length;
    }
}

static double correlation(const struct state *s, uint32_t samples, uint32_t a, uint32_t b)
{
    const double *x = &s->unit[(size_t)a * samples], *y = &s->unit[(size_t)b * samples];
    double sum = 0.0;

    for (uint32_t i = 0; i < samples; i++)
        sum += x[i] * y[i];
    return sum;
}

static void assign(const void *params, const struct place_problem *p, uint32_t layer,
                   void *scratch, uint16_t *expert)
{
    const struct anti *how = params;
    double w = how->form == FORM_SCALED ? how->w / (double)p->experts : how->w;
    struct state s = {.item = scratch};
    struct place_fill fill;

    s.share = (double *)(void *)(s.item + p->experts);
    s.unit = s.share + p->experts;
    s.score = s.unit + (size_t)p->experts * p->samples;
    s.used = (uint32_t *)(void *)(s.score + p->gpus);
    fill = place_fill_begin(p, expert, s.used);
    means(p, layer, &s);
    standardise(p, &s);
    place_by_load(s.share, p->experts, s.item);
    for (uint32_t i = 0; i < p->experts; i++) {
        uint32_t best = p->gpus, c = s.item[i].expert;

        for (uint32_t g = 0; g < p->gpus; g++) {
            const uint16_t *here = &expert[(size_t)g * fill.per_gpu];

            if (!place_fill_room(&fill, g))
                continue;
            s.score[g] = 0.0;
            for (uint32_t j = 0; j < s.used[g]; j++)
                s.score[g] +=
                    s.share[here[j]] + w * correlation(&s, p->samples, here[j], c);
            if (best == p->gpus || s.score[g] < s.score[best])
                best = g;
        }
        place_fill_put(&fill, best, c);
    }
}

const struct place_type place_anti_correlation = {
    .plugin = {.slot = SLOT_PLACE,
               .name = "anti-correlation",
               .help =
                   "experts by load, each to the GPU where load plus correlation with "
                   "what it holds is least; no replicas",
               .source =
                   "Huang et al., Toward Efficient Inference for Mixture of Experts, "
                   "NeurIPS 2024: anti-correlation load balancing",
               .variant = VARIANT_PAPER,
               .lossless = true,
               .needs = NEED_PROFILE,
               .options = options,
               .params_size = sizeof(struct anti)},
    .check = check,
    .scratch_size = scratch_size,
    .assign = assign,
};

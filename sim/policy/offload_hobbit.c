/* Missing experts come in as many bits as their weight in the mixture is worth (HOBBIT,
 * arXiv 2411.01433). An expert's score is the weight of the row's experts before it, best
 * first, of all that the row executes:
 *
 *   s(e) = sum of w(e') over the experts e' before e, over the sum of all
 *
 * so that the best has 0. Up to t1 it is wanted as it is, above in fewer bits; the row of
 * a step that needs an expert most decides for all. An expert that is resident as it is
 * serves whoever wants it in fewer bits, too, but not the other way round. A
 * reconstruction: the paper leaves experts above a second threshold out, which is a
 * select's affair here (select: budget, naee), and says nothing of steps of many rows. */
#include "select.h"
#include "slots.h"

struct hobbit {
    double bits, t1;
};

static const struct option options[] = {
    {"bits", OPT_DOUBLE, offsetof(struct hobbit, bits), "4", 1, 32, NULL,
     "bits per weight of an expert in fewer bits, scales included; at most as many as "
     "the model's experts have"},
    {"t1", OPT_DOUBLE, offsetof(struct hobbit, t1), "0.6", 0, 1, NULL,
     "share of a row's weight before an expert up to which it comes as it is"},
    {.name = NULL},
};

/* What an executed expert weighs, beside the others of its row. */
static double weight(const struct view *v, float score, float most)
{
    return v->score_kind == VIEW_LOGIT ? select_exponential((double)score - (double)most)
                                       : (double)score;
}

/* Whether executed expert a of a row comes before b: by score, then by id. */
static bool is_before(const float *score, const uint16_t *id, uint32_t a, uint32_t b)
{
    return score[a] > score[b] || (score[a] == score[b] && id[a] < id[b]);
}

/* The best of a row's first `count` experts that comes behind `after` (count: of all);
 * count: none does. */
static uint32_t next(const float *score, const uint16_t *id, uint32_t count,
                     uint32_t after)
{
    uint32_t best = count;

    for (uint32_t i = 0; i < count; i++)
        if ((after == count || is_before(score, id, after, i)) &&
            (best == count || is_before(score, id, i, best)))
            best = i;
    return best;
}

static void mark_high(const struct hobbit *h, const struct view *v, const uint16_t *id,
                      const float *score, bool *low)
{
    uint32_t count = 0, first, at;
    double all = 0, before = 0;

    while (count < v->top_k && id[count] != VIEW_NO_EXPERT)
        count++;
    first = next(score, id, count, count);
    for (at = first; at < count; at = next(score, id, count, at))
        all += weight(v, score[at], score[first]);
    for (at = first; at < count; at = next(score, id, count, at)) {
        if (at == first || all <= 0 || before / all <= h->t1)
            low[id[at]] = false;
        before += weight(v, score[at], score[first]);
    }
}

static void lower(const void *params, const struct view *v, bool *low)
{
    const struct hobbit *h = params;

    if (h->bits >= v->cost->model->expert_bits) /* the same weights */
        return;
    for (uint32_t i = 0; i < v->active_count; i++)
        low[v->active[i]] = true;
    for (uint32_t row = 0; row < v->rows; row++)
        mark_high(h, v, v->choice + row * v->choice_stride,
                  v->score + row * v->score_stride, low);
}

static double bits(const void *params)
{
    return ((const struct hobbit *)params)->bits;
}

const struct offload_type offload_hobbit = {
    .plugin = {.slot = SLOT_OFFLOAD,
               .name = "hobbit",
               .help = "missing experts of little weight are copied in fewer bits",
               .source = "Tang et al., HOBBIT, arXiv 2411.01433",
               .variant = VARIANT_RECONSTRUCTION,
               .lossless = false,
               .needs = NEED_SCORES,
               .acts = ACT_LOWER,
               .options = options,
               .params_size = sizeof(struct hobbit)},
    .bits = bits,
    .lower = lower,
};

#include "naive_select.h"

#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- batches ---- */

static float draw_score(struct rng *r, const struct naive_shape *s)
{
    double u = rng_unit(r);

    if (s->ties)
        u = (double)rng_below(r, 6) / 8;
    return s->kind == VIEW_LOGIT ? (float)(12 * u - 6) : (float)(u * u);
}

static void swap(uint16_t *id, uint32_t a, uint32_t b)
{
    uint16_t x = id[a];

    id[a] = id[b];
    id[b] = x;
}

/* Ids by descending value, equal ones by id. */
static void sort_ids(uint16_t *id, uint32_t count, const float *value)
{
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = i + 1; k < count; k++)
            if (value[id[k]] > value[id[i]] ||
                (value[id[k]] == value[id[i]] && id[k] < id[i]))
                swap(id, i, k);
}

static void shuffle(struct rng *r, uint16_t *id, uint32_t count)
{
    for (uint32_t i = count; i > 1; i--)
        swap(id, i - 1, (uint32_t)rng_below(r, i));
}

/* Where the candidates of a row begin. */
static uint32_t cell_of(const struct naive_batch *b, uint32_t row)
{
    return (row * NAIVE_LAYERS + b->layer) * b->shape.width;
}

static void draw_row(struct rng *r, struct naive_batch *b, uint32_t row)
{
    const struct naive_shape *s = &b->shape;
    uint16_t id[NAIVE_EXPERTS];
    float score[NAIVE_EXPERTS], wish[NAIVE_EXPERTS];
    uint32_t executed = s->top_k, count = s->width;

    for (uint32_t i = 0; i < s->experts; i++) {
        id[i] = (uint16_t)i;
        score[i] = draw_score(r, s);
        wish[i] = score[i];
        if (s->biased)
            wish[i] += (float)rng_unit(r) * (s->kind == VIEW_LOGIT ? 4 : 0.4F);
    }
    sort_ids(id, s->experts, wish);
    if (rng_below(r, 6) == 0)
        executed = count = (uint32_t)rng_below(r, s->top_k + 1);
    if (executed == s->top_k)
        count = s->width;
    if (s->biased) /* which of the others were recorded: the best by score */
        sort_ids(id + executed, s->experts - executed, score);
    if (!s->sorted) {
        shuffle(r, id, executed);
        shuffle(r, id + executed, count - executed);
    }
    for (uint32_t i = 0; i < s->width; i++) {
        b->candidate[cell_of(b, row) + i] = i < count ? id[i] : VIEW_NO_EXPERT;
        b->score[cell_of(b, row) + i] = i < count ? score[id[i]] : 0;
    }
    for (uint32_t i = 0; i < s->top_k; i++)
        b->choice[row * s->top_k + i] = i < executed ? id[i] : VIEW_NO_EXPERT;
}

void naive_draw_batch(struct rng *r, const struct naive_shape *shape,
                      struct naive_batch *b)
{
    memset(b, 0, sizeof *b);
    b->shape = *shape;
    b->rows = 1 + (uint32_t)rng_below(r, NAIVE_ROWS);
    b->layer = (uint32_t)rng_below(r, NAIVE_LAYERS);
    for (size_t i = 0; i < sizeof b->score / sizeof *b->score; i++)
        b->score[i] = NAN;
    for (uint32_t row = 0; row < b->rows; row++) {
        draw_row(r, b, row);
        b->row[row].phase = VIEW_DECODE;
    }
    for (uint32_t i = 0; i < shape->experts; i++)
        b->resident[i] = rng_below(r, 2) == 0;
    for (uint32_t i = 0; i < NAIVE_LAYERS * shape->experts; i++)
        b->profile[i] = rng_below(r, 50);
}

void naive_put_row(struct naive_batch *b, uint32_t row, const uint16_t *id,
                   const float *score)
{
    memcpy(b->candidate + cell_of(b, row), id, b->shape.width * sizeof *id);
    memcpy(b->score + cell_of(b, row), score, b->shape.width * sizeof *score);
    memcpy(b->choice + (size_t)row * b->shape.top_k, id, b->shape.top_k * sizeof *id);
}

static bool is_resident(const void *context, uint32_t layer, uint32_t expert)
{
    const struct naive_batch *b = context;

    return layer == b->layer && b->resident[expert];
}

struct view naive_view(const struct naive_batch *b)
{
    uint32_t first = cell_of(b, 0), stride = NAIVE_LAYERS * b->shape.width;

    return (struct view){.layers = NAIVE_LAYERS,
                         .layer = b->layer,
                         .experts = b->shape.experts,
                         .top_k = b->shape.top_k,
                         .candidates = b->shape.width,
                         .rows = b->rows,
                         .row = b->row,
                         .choice = b->choice,
                         .choice_stride = b->shape.top_k,
                         .score = b->score + first,
                         .score_stride = stride,
                         .score_kind = b->shape.kind,
                         .sorted = b->shape.sorted,
                         .candidate = b->candidate + first,
                         .candidate_stride = stride,
                         .resident = is_resident,
                         .resident_context = b};
}

/* ---- a row ---- */

void naive_look(const struct naive_batch *b, uint32_t row, struct naive_row *x)
{
    const struct naive_shape *s = &b->shape;
    float score[NAIVE_EXPERTS];
    double sum = 0, most = -INFINITY;

    *x = (struct naive_row){.executed = 0};
    for (uint32_t i = 0; i < s->width; i++) {
        uint16_t id = b->candidate[cell_of(b, row) + i];

        if (id == VIEW_NO_EXPERT)
            continue;
        score[id] = b->score[cell_of(b, row) + i];
        x->id[x->count++] = id;
        x->executed += i < s->top_k;
        most = fmax(most, (double)score[id]);
    }
    sort_ids(x->id, x->executed, score);
    /* As they are summed: those behind in the order in which they were recorded. */
    for (uint32_t i = 0; i < x->count; i++)
        sum += exp((double)score[x->id[i]] - most);
    sort_ids(x->id + x->executed, x->count - x->executed, score);
    for (uint32_t i = 0; i < x->count; i++) {
        x->score[i] = (double)score[x->id[i]];
        x->mass[i] = s->kind == VIEW_LOGIT ? exp(x->score[i] - most) / sum : x->score[i];
    }
}

/* ---- parameters ---- */

void naive_draw_params(struct rng *r, enum naive_rule rule, struct naive_params *p)
{
    static const double alphas[] = {0, 0.05, 0.25, 0.7, 2, 40};
    static const double thetas[] = {0, 0.3, 1, 1.5, 3};

    *p = (struct naive_params){.rule = rule};
    p->percent = (uint32_t)rng_below(r, 101);
    p->other = rng_below(r, 2) == 0;
    p->alpha = alphas[rng_below(r, 6)];
    p->theta = thetas[rng_below(r, 5)];
    p->beta = (uint32_t)rng_below(r, 5);
    p->margin = (uint32_t)rng_below(r, 4);
    p->k = (uint32_t)rng_below(r, 6);
    p->most = (uint32_t)rng_below(r, 8);
    p->reach = (uint32_t)rng_below(r, 12);
    if (rule == NAIVE_TOP_K)
        p->k++;
    if (rule == NAIVE_NAEE)
        p->alpha = (double)(1 + rng_below(r, 100)) / 100;
}

char *naive_text(const struct naive_params *p)
{
    switch (p->rule) {
    case NAIVE_LYNX:
        return mem_format("{select: {name: lynx, drop: %u.%02u, form: %s}}",
                          p->percent / 100, p->percent % 100,
                          p->other ? "accuracy" : "latency");
    case NAIVE_BINNING:
        return mem_format("{select: {name: affinity-binning, alpha: %g, beta: %u, theta: "
                          "%g, margin: %u, rounding: %s}}",
                          p->alpha, p->beta, p->theta, p->margin,
                          p->other ? "floor" : "ceil");
    case NAIVE_ERAS_THRESHOLD:
        return mem_format("{select: {name: eras-threshold, alpha: %g}}", p->alpha);
    case NAIVE_ERAS_BIAS:
        return mem_format("{select: {name: eras-bias, beta: %g}}", p->alpha);
    case NAIVE_OEA:
        return mem_format("{select: {name: oea, k0: %u, k_max: %u, max_p: %u}}", p->k,
                          p->most, p->reach);
    case NAIVE_BUDGET:
        return mem_format("{select: {name: budget, experts: %u, share: %u.%02u, warm_up: "
                          "%u, sum: %s}}",
                          p->most, p->percent / 100, p->percent % 100, p->k,
                          p->other ? "executed" : "all");
    case NAIVE_NAEE:
        return mem_format("{select: {name: naee, beta: %g}}", p->alpha);
    default:
        return mem_format("{select: {name: top-k, k: %u}}", p->k);
    }
}

/* ---- sets of experts ---- */

struct batch_look {
    struct naive_row row[NAIVE_ROWS];
    uint32_t votes[NAIVE_EXPERTS];
    uint32_t distinct;
};

static void look_all(const struct naive_batch *b, struct batch_look *l)
{
    *l = (struct batch_look){.distinct = 0};
    for (uint32_t r = 0; r < b->rows; r++) {
        naive_look(b, r, &l->row[r]);
        for (uint32_t i = 0; i < l->row[r].executed; i++)
            l->votes[l->row[r].id[i]]++;
    }
    for (uint32_t x = 0; x < b->shape.experts; x++)
        l->distinct += l->votes[x] > 0;
}

/* Whether x comes before y: more of the first key, then of the second, then lower id. */
static bool is_ahead(const double (*key)[2], uint32_t x, uint32_t y)
{
    if (key[x][0] != key[y][0])
        return key[x][0] > key[y][0];
    return key[x][1] > key[y][1] || (key[x][1] == key[y][1] && x < y);
}

/* Keeps the first `most` of those that are eligible, by rank. */
static void keep_first(bool *keep, const bool *eligible, uint32_t experts, uint32_t most,
                       const double (*key)[2])
{
    for (uint32_t x = 0; x < experts; x++) {
        uint32_t before = 0;

        for (uint32_t y = 0; y < experts; y++)
            before += y != x && eligible[y] && is_ahead(key, y, x);
        keep[x] = keep[x] || (eligible[x] && before < most);
    }
}

/* Every row takes its first candidates that are kept, as many as it has executed; one
 * without any its best. */
static void take_kept(const struct naive_batch *b, const struct batch_look *l,
                      const bool *keep, struct naive_picks *picks)
{
    for (uint32_t r = 0; r < b->rows; r++) {
        const struct naive_row *x = &l->row[r];
        uint32_t *count = &picks->count[r];

        *count = 0;
        for (uint32_t i = 0; i < x->count && *count < x->executed; i++)
            if (keep[x->id[i]])
                picks->place[r][(*count)++] = (uint16_t)i;
        if (*count == 0 && x->executed > 0)
            picks->place[r][(*count)++] = 0;
    }
}

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static void lynx(const struct naive_batch *b, const struct naive_params *p,
                 const struct batch_look *l, struct naive_picks *picks)
{
    uint32_t most = ((100 - p->percent) * l->distinct + 99) / 100, best = 0;
    bool eligible[NAIVE_EXPERTS] = {false}, keep[NAIVE_EXPERTS] = {false};
    double key[NAIVE_EXPERTS][2] = {{0}};

    for (uint32_t r = 0; p->other && r < b->rows; r++)
        if (l->row[r].executed > 0)
            key[l->row[r].id[0]][0] = 1;
    for (uint32_t x = 0; x < b->shape.experts; x++) {
        eligible[x] = l->votes[x] > 0;
        key[x][1] = l->votes[x];
        best += key[x][0] > 0;
    }
    most = larger(larger(most, b->shape.top_k), best);
    keep_first(keep, eligible, b->shape.experts, most, (const double(*)[2])key);
    if (most < l->distinct)
        take_kept(b, l, keep, picks);
}

/* ---- bins ---- */

static double logit(enum view_score kind, double score)
{
    switch (kind) {
    case VIEW_LOGIT:
        return score;
    case VIEW_SIGMOID:
        return log(score) - log1p(-score);
    default:
        return log(score);
    }
}

static uint32_t bin_of(const struct naive_batch *b, const struct naive_params *p,
                       const struct naive_row *x, uint32_t at)
{
    double d, bin;

    if (p->alpha == 0 || x->score[at] == x->score[0])
        return 0;
    d = logit(b->shape.kind, x->score[at]) - logit(b->shape.kind, x->score[0]);
    bin = p->other ? floor(p->alpha * d) : ceil(p->alpha * d);
    return -bin < p->beta ? (uint32_t)-bin : p->beta;
}

/* Scores are whole numbers: multiples of B^-beta. */
static void binning(const struct naive_batch *b, const struct naive_params *p,
                    const struct batch_look *l, struct naive_picks *picks)
{
    bool eligible[NAIVE_EXPERTS] = {false}, keep[NAIVE_EXPERTS] = {false};
    double key[NAIVE_EXPERTS][2] = {{0}}, one = pow(b->rows, p->beta);
    uint32_t kept = 0;

    if (p->theta == 0)
        return;
    for (uint32_t r = 0; r < b->rows; r++) {
        const struct naive_row *x = &l->row[r];
        uint32_t second = p->margin;

        for (uint32_t i = 0; i < x->executed; i++) {
            uint32_t bin = bin_of(b, p, x, i);

            key[x->id[i]][0] += pow(b->rows, p->beta - bin);
            eligible[x->id[i]] = true;
            second = i == 1 ? bin : second;
        }
        if (x->executed > 0 && second >= p->margin)
            keep[x->id[0]] = true;
    }
    for (uint32_t x = 0; x < b->shape.experts; x++)
        if (eligible[x] && key[x][0] >= p->theta * one * (1 - 1e-9)) {
            keep[x] = true;
            kept++;
        }
    if (kept < b->shape.top_k)
        keep_first(keep, eligible, b->shape.experts, b->shape.top_k,
                   (const double(*)[2])key);
    take_kept(b, l, keep, picks);
}

/* ---- MoE-ERAS ---- */

/* Of a softmax to within what its rows have in common. */
static double logit_of(const struct naive_batch *b, double mass)
{
    return b->shape.kind == VIEW_SIGMOID ? log(mass) - log1p(-mass) : log(mass);
}

/* The executed many places of greatest value. Nothing behind the executed ones counts for
 * more than the last of those. Equal ones: by id, or, where the router is biased, by
 * place. */
static void take_greatest(const struct naive_batch *b, const struct naive_params *p,
                          const struct naive_row *x, uint32_t r,
                          struct naive_picks *picks)
{
    const uint64_t *profile = b->profile + b->layer * b->shape.experts;
    double value[NAIVE_EXPERTS], sum = 0;

    for (uint32_t i = 0; i < b->shape.experts; i++)
        sum += (double)profile[i];
    for (uint32_t i = 0; i < x->count; i++) {
        bool there = b->resident[x->id[i]];
        double last = x->executed == 0 ? 0 : x->mass[x->executed - 1];
        double own = i >= x->executed && x->mass[i] > last ? last : x->mass[i];
        double share = sum > 0 ? (double)profile[x->id[i]] / sum : 0;

        value[i] = p->rule == NAIVE_ERAS_THRESHOLD
                       ? own + (there ? p->alpha : 0)
                       : logit_of(b, own) - (there ? 0 : p->alpha * (1 - share));
    }
    picks->count[r] = 0;
    for (uint32_t i = 0; i < x->count; i++) {
        uint32_t before = 0;

        for (uint32_t k = 0; k < x->count; k++)
            before +=
                value[k] > value[i] ||
                (value[k] == value[i] &&
                 (b->shape.biased || p->rule == NAIVE_ERAS_BIAS ? k < i
                                                                : x->id[k] < x->id[i]));
        if (before < x->executed)
            picks->place[r][picks->count[r]++] = (uint16_t)i;
    }
}

/* ---- the others ---- */

static void oea(const struct naive_batch *b, const struct naive_params *p,
                const struct batch_look *l, struct naive_picks *picks)
{
    uint32_t k0 = p->k == 0 ? (b->shape.top_k + 1) / 2 : p->k;
    bool active[NAIVE_EXPERTS] = {false};

    for (uint32_t r = 0; r < b->rows; r++)
        for (uint32_t i = 0; i < l->row[r].executed && i < k0; i++)
            active[l->row[r].id[i]] = true;
    for (uint32_t r = 0; r < b->rows; r++) {
        const struct naive_row *x = &l->row[r];
        uint32_t most = p->most == 0 || p->most > x->executed ? x->executed : p->most;
        uint32_t count = 0;

        most = larger(most, k0 < x->executed ? k0 : x->executed);
        for (uint32_t i = 0; i < x->count && count < most; i++)
            if ((i < k0 && i < x->executed) ||
                (active[x->id[i]] && (p->reach == 0 || i < p->reach)))
                picks->place[r][count++] = (uint16_t)i;
        picks->count[r] = count;
    }
}

static void budget(const struct naive_batch *b, const struct naive_params *p,
                   const struct batch_look *l, struct naive_picks *picks)
{
    bool eligible[NAIVE_EXPERTS], keep[NAIVE_EXPERTS] = {false};
    double key[NAIVE_EXPERTS][2] = {{0}};
    uint32_t most = p->most > 0 ? p->most : (p->percent * l->distinct + 99) / 100;
    uint32_t warm = 0;

    most = larger(most, b->shape.top_k);
    if (most >= (p->other ? l->distinct : b->shape.experts))
        return;
    if (b->rows == 1) /* its own experts fit in any budget */
        return;
    for (uint32_t r = 0; r < b->rows; r++) {
        const struct naive_row *x = &l->row[r];

        for (uint32_t i = 0; i < (p->other ? x->executed : x->count); i++)
            key[x->id[i]][1] += x->mass[i];
        for (uint32_t i = 0; i < x->executed && i < p->k; i++)
            key[x->id[i]][0] = 1;
    }
    for (uint32_t x = 0; x < b->shape.experts; x++) {
        eligible[x] = true;
        warm += key[x][0] > 0;
    }
    keep_first(keep, eligible, b->shape.experts, larger(most, warm),
               (const double(*)[2])key);
    take_kept(b, l, keep, picks);
}

static void naee(const struct naive_params *p, const struct naive_row *x, uint32_t *count)
{
    uint32_t kept = x->executed > 0;

    for (uint32_t i = 1; i < x->executed; i++)
        kept += x->mass[i] >= p->alpha * x->mass[0];
    *count = kept;
}

void naive_select(const struct naive_batch *b, const struct naive_params *p,
                  struct naive_picks *picks)
{
    struct batch_look l;

    look_all(b, &l);
    for (uint32_t r = 0; r < b->rows; r++) {
        picks->count[r] = l.row[r].executed;
        for (uint32_t i = 0; i < l.row[r].executed; i++)
            picks->place[r][i] = (uint16_t)i;
    }
    switch (p->rule) {
    case NAIVE_LYNX:
        lynx(b, p, &l, picks);
        break;
    case NAIVE_BINNING:
        binning(b, p, &l, picks);
        break;
    case NAIVE_OEA:
        oea(b, p, &l, picks);
        break;
    case NAIVE_BUDGET:
        budget(b, p, &l, picks);
        break;
    default:
        for (uint32_t r = 0; r < b->rows; r++) {
            uint32_t *count = &picks->count[r];

            if (p->rule == NAIVE_NAEE)
                naee(p, &l.row[r], count);
            else if (p->rule == NAIVE_TOP_K)
                *count = *count < p->k ? *count : p->k;
            else
                take_greatest(b, p, &l.row[r], r, picks);
        }
    }
}

static uint32_t count_true(const bool *seen)
{
    uint32_t count = 0;

    for (uint32_t x = 0; x < NAIVE_EXPERTS; x++)
        count += seen[x];
    return count;
}

void naive_measure(const struct naive_batch *b, const struct naive_picks *picks,
                   struct select_quality *q, double mass[2])
{
    bool before[NAIVE_EXPERTS] = {false}, after[NAIVE_EXPERTS] = {false};
    struct naive_row x;

    for (uint32_t r = 0; r < b->rows; r++) {
        naive_look(b, r, &x);
        q->rows += x.executed > 0;
        q->choices += x.executed;
        q->fewer += x.executed - picks->count[r];
        for (uint32_t i = 0; i < x.executed; i++) {
            mass[0] += x.mass[i];
            before[x.id[i]] = true;
        }
        for (uint32_t i = 0; i < picks->count[r]; i++) {
            uint16_t place = picks->place[r][i];

            mass[1] += x.mass[place];
            after[x.id[place]] = true;
            q->changed += place >= x.executed;
            q->top1 += place == 0;
        }
    }
    q->distinct += count_true(before);
    q->left += count_true(after);
}

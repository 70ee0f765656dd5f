/* A first-order Markov chain over layers, counted on line from the tokens' own paths:
 *
 *   P(e' at l+d | e at l) = (c(e, e') + a u(e')) / (n(e) + a)
 *
 * n(e): tokens seen with e at l (and a successor), c(e, e'): those of them with e' at
 * l+d, u(e'): share of the tokens with e' at l+d so far, a: `smoothing` (a Dirichlet
 * prior that backs off to the layer's popularity). The value of e' is the expected number
 * of this step's tokens that take it, summed over the active e: sum tokens(e) P(e' | e).
 *
 * Across the end of a pass a token's successor is the row of the same request in the next
 * pass. Only the first `rows` rows of a step are learned from, which bounds the memory
 * and the work of a long prefill. */
#include "prefetch_pick.h"

#include <string.h>

struct params {
    struct prefetch_reach reach;
    double smoothing;
    int64_t rows;
};

static const struct option options[] = {
    PREFETCH_REACH_OPTIONS,
    {"smoothing", OPT_DOUBLE, offsetof(struct params, smoothing), "1", 0.0, 1e6, NULL,
     "weight of the layer's popularity, in tokens; 0: counts alone"},
    {"rows", OPT_INT, offsetof(struct params, rows), "64", 1.0, 4096.0, NULL,
     "most rows of a step that it learns from"},
    {.name = NULL},
};

/* The kept rows of one step. `choice` and `request` lie in the state's arrays. */
struct record {
    uint64_t pass;
    uint32_t rows;
    uint32_t *request; /* [kept rows] */
    uint16_t *choice;  /* (kept row, rank) */
};

struct state {
    struct params params;
    uint32_t layers, experts, top_k;
    uint64_t steps;
    struct record *record; /* [distance] ring by step number */
    double *value;         /* [most wants] */
    double *score;         /* [experts] */
    uint32_t *seen;        /* (layer, e): n(e) */
    uint32_t *count;       /* (layer, e, e'): c(e, e') */
};

/* Where the parts of the state begin; the pieces are in order of falling alignment. */
struct layout {
    size_t record, value, score, seen, count, request, choice, end;
};

static uint32_t width(const struct policy_shape *shape, const void *params)
{
    const struct params *p = params;

    return prefetch_most(shape->experts, &p->reach);
}

static struct layout layout(const struct policy_shape *shape, const struct params *p)
{
    size_t distance = (size_t)p->reach.distance, rows = (size_t)p->rows;
    size_t pairs = (size_t)shape->layers * shape->experts;
    struct layout at;

    at.record = sizeof(struct state);
    at.value = at.record + distance * sizeof(struct record);
    at.score = at.value + width(shape, p) * sizeof(double);
    at.seen = at.score + shape->experts * sizeof(double);
    at.count = at.seen + pairs * sizeof(uint32_t);
    at.request = at.count + pairs * shape->experts * sizeof(uint32_t);
    at.choice = at.request + distance * rows * sizeof(uint32_t);
    at.end = at.choice + distance * rows * shape->top_k * sizeof(uint16_t);
    return at;
}

static size_t state_size(const struct policy_shape *shape, const void *params)
{
    return layout(shape, params).end;
}

static void init(void *state, const struct policy_shape *shape, const void *params)
{
    const struct params *p = params;
    struct layout at = layout(shape, p);
    struct state *s = state;
    char *base = state;
    size_t rows = (size_t)p->rows;

    memset(state, 0, at.end);
    s->params = *p;
    s->layers = shape->layers;
    s->experts = shape->experts;
    s->top_k = shape->top_k;
    s->record = (void *)(base + at.record);
    s->value = (void *)(base + at.value);
    s->score = (void *)(base + at.score);
    s->seen = (void *)(base + at.seen);
    s->count = (void *)(base + at.count);
    for (size_t i = 0; i < (size_t)p->reach.distance; i++) {
        s->record[i].request = (uint32_t *)(void *)(base + at.request) + i * rows;
        s->record[i].choice =
            (uint16_t *)(void *)(base + at.choice) + i * rows * shape->top_k;
    }
}

/* The kept row of `before` that row `row` of this step goes on from, or before->rows. */
static uint32_t predecessor(const struct record *before, const struct view *v,
                            uint32_t row)
{
    if (before->pass == v->pass)
        return row < before->rows ? row : before->rows;
    for (uint32_t i = before->rows; i > 0; i--) {
        if (before->request[i - 1] == v->row[row].request)
            return i - 1;
    }
    return before->rows;
}

/* Counts the step from the one `distance` steps before it. */
static void count_step(struct state *s, const struct record *before, const struct view *v,
                       uint32_t rows)
{
    uint32_t d = (uint32_t)s->params.reach.distance % s->layers;
    size_t from_layer = (v->layer + s->layers - d) % s->layers;

    for (uint32_t row = 0; row < rows; row++) {
        uint32_t i = predecessor(before, v, row);
        const uint16_t *to = &v->choice[row * v->choice_stride];

        if (i == before->rows)
            continue;
        for (uint32_t a = 0; a < s->top_k; a++) {
            uint16_t from = before->choice[(size_t)i * s->top_k + a];
            size_t pair = from_layer * s->experts + from;

            /* What was counted so often is known well enough, and must not wrap. */
            if (from == VIEW_NO_EXPERT || s->seen[pair] == UINT32_MAX)
                continue;
            s->seen[pair]++;
            for (uint32_t b = 0; b < s->top_k; b++) {
                if (to[b] != VIEW_NO_EXPERT)
                    s->count[pair * s->experts + to[b]]++;
            }
        }
    }
}

static void learn(struct state *s, const struct view *v)
{
    struct record *r = &s->record[s->steps % (uint64_t)s->params.reach.distance];
    uint32_t rows = v->rows < s->params.rows ? v->rows : (uint32_t)s->params.rows;

    if (v->choice == NULL)
        rows = 0;
    count_step(s, r, v, rows);
    s->steps++;
    r->pass = v->pass;
    r->rows = rows;
    for (uint32_t row = 0; row < rows; row++) {
        r->request[row] = v->row[row].request;
        memcpy(&r->choice[(size_t)row * s->top_k], &v->choice[row * v->choice_stride],
               s->top_k * sizeof *r->choice);
    }
}

/* Fills score[experts] for the layer ahead. */
static void predict(struct state *s, const struct view *v, uint32_t layer)
{
    const uint64_t *load = &v->load[(size_t)layer * s->experts];
    double a = s->params.smoothing;
    double prior = 0.0; /* what the prior weighs in all */
    double loads = 0.0;

    for (uint32_t e = 0; e < s->experts; e++) {
        s->score[e] = 0.0;
        loads += (double)load[e];
    }
    for (uint32_t i = 0; i < v->active_count; i++) {
        size_t pair = (size_t)v->layer * s->experts + v->active[i];
        const uint32_t *count = &s->count[pair * s->experts];
        double tokens = (double)v->tokens[v->active[i]];
        double scale;

        if (s->seen[pair] == 0) {
            prior += a > 0.0 ? tokens : 0.0;
            continue;
        }
        scale = tokens / ((double)s->seen[pair] + a);
        prior += scale * a;
        for (uint32_t e = 0; e < s->experts; e++)
            s->score[e] += scale * (double)count[e];
    }
    if (prior <= 0.0 || loads <= 0.0)
        return;
    prior *= (double)s->top_k / loads;
    for (uint32_t e = 0; e < s->experts; e++)
        s->score[e] += prior * (double)load[e];
}

static uint32_t step(void *state, const struct view *v, struct prefetch_want *want)
{
    struct state *s = state;
    struct prefetch_pick pick = prefetch_pick_begin(v, &s->params.reach, s->value, want);

    learn(s, v);
    predict(s, v, pick.layer);
    for (uint32_t e = 0; e < s->experts; e++)
        prefetch_pick_offer(&pick, e, s->score[e]);
    return prefetch_pick_end(&pick);
}

const struct prefetch_type prefetch_markov = {
    .plugin = {.slot = SLOT_PREFETCH,
               .name = "markov",
               .help = "the experts most likely to follow this layer's, counted on line",
               .source =
                   "first-order chain over layers; co-activation as in ExFlow (Yao et "
                   "al., IPDPS 2024)",
               .variant = VARIANT_STANDARD,
               .lossless = true,
               .acts = ACT_PREFETCH,
               .options = options,
               .params_size = sizeof(struct params)},
    .state_size = state_size,
    .init = init,
    .width = width,
    .step = step,
};

/* MoE-Infinity's priority: what the running sequences activate, weighed by layers.
 *
 * form: released (expert_priority_score.py, expert_cache.py)
 *
 *   score(l, e) = topo(l) * seq(l, e) * freq(l, e),   each plus 1e-6
 *   seq   tokens of e in the running sequences over all tokens of its layer; alike for
 * all of a layer that has none yet; over the number of layers freq  hits of e since it
 * was loaded over those of all residents; where a half of the layers has none, every
 * expert of that half counts as hit once topo  a decay by layers over its sum: 1 for the
 * layers up to the current one in the half of the layers that this is in, in the first
 * half else 1 - l / H, in the second (l - H) / (H + 1), of H = L / 2 layers: an encoder
 * and a decoder, which the release takes every model for
 *
 * The least score goes, of equal ones the lowest layer and id; experts of the current
 * layer only where there is no other one.
 *
 * form: paper (a reconstruction of arXiv 2401.14361's replacement)
 *
 *   score(l, e) = (tokens of e / tokens of its layer + 1e-6) * (1 - l / L)
 *
 * With several sequences the tokens are theirs together, and when some of them end, those
 * that stay keep their share. Within a layer the released score is a line over one over
 * all hits, so that a layer's least expert is known until something in it changes or that
 * leaves the range in which it is the least: no victim needs a look at every resident. */
#include "cache.h"
#include "order.h"

#include <math.h>

#define EPSILON 1e-6

enum form { RELEASED, PAPER };
static const char *const forms[] = {"released", "paper", NULL};

struct infinity_params {
    int form; /* enum form */
};

/* A layer's least resident, while one over all hits is between these: its score without
 * the layer's part is weight * (hits * x + rest). */
struct least {
    double from, to;
    double weight, hits;
    uint32_t object; /* or CACHE_NONE */
};

/* What the residents of a layer have in common: weight is tokens * share + floor; and x
 * and rest. */
struct lines {
    double share, floor, x, rest;
};

struct choice {
    double score;
    uint32_t layer, object;
};

struct infinity {
    const struct cache_env *env;
    bool paper;
    uint32_t layers, half, heads;
    double hits[2]; /* of the residents of both halves */
    double *decay;  /* (current layer, layer) */
    double *tokens; /* [objects] in the running sequences */
    double *all;    /* [layers] tokens of a layer */
    double *visits; /* [objects] hits of a resident */
    struct least *least;
    struct order_link *link; /* residents by layer: objects, then the heads */
    double memory[];
};

static const struct option options[] = {
    {"form", OPT_CHOICE, offsetof(struct infinity_params, form), "released", 0, 0, forms,
     "the released code's product of three scores, or the paper's of two (a "
     "reconstruction)"},
    {.name = NULL},
};

static size_t doubles(const struct cache_env *env)
{
    size_t layers = env->objects / env->experts;

    return layers * layers + 2 * (size_t)env->objects + layers;
}

static size_t state_size(const struct cache_env *env, const void *params)
{
    uint32_t layers = env->objects / env->experts;

    (void)params;
    return sizeof(struct infinity) + doubles(env) * sizeof(double) +
           layers * sizeof(struct least) + order_size(env->objects, layers);
}

/* The released decay of a layer, not yet over its sum. */
static double decay_of(uint32_t layer, uint32_t now, uint32_t half)
{
    if ((layer < half) == (now < half) && layer <= now)
        return 1.0;
    return layer < half ? 1.0 - (double)layer / half
                        : (double)(layer - half) / ((double)half + 1);
}

static void fill_decay(struct infinity *s)
{
    for (uint32_t now = 0; now < s->layers; now++) {
        double *decay = s->decay + (size_t)now * s->layers, sum = 0.0;

        for (uint32_t l = 0; l < s->layers; l++) {
            decay[l] = s->paper ? 1.0 - (double)l / s->layers : decay_of(l, now, s->half);
            sum += decay[l] * s->env->experts;
        }
        for (uint32_t l = 0; l < s->layers && !s->paper; l++)
            decay[l] = decay[l] / sum + EPSILON;
    }
}

static void forget(struct infinity *s, uint32_t layer)
{
    s->least[layer].from = 1.0; /* no range at all */
    s->least[layer].to = 0.0;
}

static void forget_all(struct infinity *s)
{
    for (uint32_t l = 0; l < s->layers; l++)
        forget(s, l);
}

static void init(void *state, const struct cache_env *env, const void *params)
{
    struct infinity *s = state;

    s->env = env;
    s->paper = ((const struct infinity_params *)params)->form == PAPER;
    s->layers = env->objects / env->experts;
    s->half = s->layers / 2;
    s->heads = env->objects;
    s->decay = s->memory;
    s->tokens = s->decay + (size_t)s->layers * s->layers;
    s->visits = s->tokens + env->objects;
    s->all = s->visits + env->objects;
    s->least = (struct least *)(void *)(s->all + s->layers);
    s->link = (struct order_link *)(void *)(s->least + s->layers);
    for (uint32_t l = 0; l < s->layers; l++)
        order_init(s->link, s->heads + l);
    fill_decay(s);
    forget_all(s);
}

/* Hits of the residents of a half are more or fewer; whether there are any decides how
 * all of them count. */
static inline void count_hits(struct infinity *s, uint32_t layer, double more)
{
    double *hits = &s->hits[layer >= s->half], before = *hits;

    *hits = before + more;
    if (__builtin_expect((before > 0.0) != (*hits > 0.0), 0))
        forget_all(s);
}

/* One more of another than the least leaves that the least. */
static void hit(void *state, uint32_t object)
{
    struct infinity *s = state;
    uint32_t layer = object / s->env->experts;

    s->visits[object] += 1.0;
    count_hits(s, layer, 1.0);
    if (s->least[layer].object == object)
        forget(s, layer);
}

/* One over all hits, as `freq` counts them. */
static double over_hits(const struct infinity *s)
{
    uint32_t experts = s->env->experts;
    double first = s->hits[0] > 0.0 ? s->hits[0] : (double)s->half * experts;
    double second =
        s->hits[1] > 0.0 ? s->hits[1] : (double)(s->layers - s->half) * experts;

    return 1.0 / (first + second);
}

static struct lines lines_of(const struct infinity *s, uint32_t layer, double x)
{
    double all = s->all[layer], share = all > 0.0 ? 1.0 / all : 0.0;
    double alike = all > 0.0 ? 0.0 : 1.0 / ((double)s->env->experts * s->layers);

    if (s->paper)
        return (struct lines){share, EPSILON, 0.0, 1.0};
    if (s->hits[layer >= s->half] > 0.0)
        return (struct lines){share / s->layers, alike + EPSILON, x, EPSILON};
    return (struct lines){share / s->layers, alike + EPSILON, 0.0, x + EPSILON};
}

/* Narrows the range in which one is less than another, which has other hits: most never
 * meet, since one has both more weight and more hits. */
static inline void narrow(struct least *one, double weight, double hits)
{
    double slope = one->weight * one->hits - weight * hits;
    double more = (weight - one->weight) * EPSILON;

    if (slope > 0.0 && more < slope * one->to)
        one->to = more / slope;
    else if (slope < 0.0 && more < slope * one->from)
        one->from = more / slope;
}

/* The least resident of a layer, and while it is that. */
static void search(struct infinity *s, uint32_t layer, double x)
{
    struct least found = {0.0, HUGE_VAL, 0.0, 0.0, CACHE_NONE};
    const struct lines of = lines_of(s, layer, x);
    uint32_t head = s->heads + layer, first = order_first(s->link, head);
    double least = HUGE_VAL;

    for (uint32_t i = first; i != head; i = s->link[i].next) {
        double weight = s->tokens[i] * of.share + of.floor;
        double value = weight * (s->visits[i] * of.x + of.rest);

        if (value <= least && (value < least || i < found.object)) {
            least = value;
            found.object = i;
            found.weight = weight;
        }
    }
    if (found.object != CACHE_NONE)
        found.hits = s->visits[found.object];
    for (uint32_t i = first; of.x > 0.0 && i != head; i = s->link[i].next) {
        double weight = s->tokens[i] * of.share + of.floor;

        if (weight < found.weight || s->visits[i] < found.hits)
            narrow(&found, weight, s->visits[i]);
    }
    s->least[layer] = found;
}

/* Takes the least unprotected one of a layer, if that is less than what was chosen. */
static __attribute__((noinline)) void choose_unprotected(const struct infinity *s,
                                                         uint32_t layer, double decay,
                                                         double x, struct choice *best)
{
    const struct lines of = lines_of(s, layer, x);
    uint32_t head = s->heads + layer;

    for (uint32_t i = order_first(s->link, head); i != head; i = s->link[i].next) {
        double weight = s->tokens[i] * of.share + of.floor;
        double score = decay * (weight * (s->visits[i] * of.x + of.rest));

        if (!cache_env_protected(s->env, i) &&
            (score < best->score ||
             (score == best->score &&
              (layer < best->layer || (layer == best->layer && i < best->object)))))
            *best = (struct choice){score, layer, i};
    }
}

/* Takes the least one of a layer likewise. */
static inline void choose(const struct infinity *s, uint32_t layer, double decay,
                          double x, struct choice *best)
{
    const struct least *known = &s->least[layer];
    const double *hits = &s->hits[layer >= s->half];
    double part = s->paper ? 1.0 : *hits > 0.0 ? known->hits * x + EPSILON : x + EPSILON;
    double score = decay * (known->weight * part);

    if (score >= best->score) /* the lower layer came first */
        return;
    if (known->object != CACHE_NONE && cache_env_protected(s->env, known->object))
        choose_unprotected(s, layer, decay, x, best);
    else if (known->object != CACHE_NONE)
        *best = (struct choice){score, layer, known->object};
}

static uint32_t victim(void *state, uint32_t incoming)
{
    struct infinity *s = state;
    uint32_t now = *s->env->layer, spared = s->paper ? CACHE_NONE : now;
    const double *decay = s->decay + (size_t)now * s->layers;
    double x = over_hits(s);
    struct choice best = {HUGE_VAL, 0, CACHE_NONE};

    (void)incoming;
    for (uint32_t l = 0; l < s->layers; l++) {
        if (l == spared)
            continue;
        if (!(s->least[l].from < x && x < s->least[l].to))
            search(s, l, x);
        choose(s, l, decay[l], x, &best);
    }
    if (best.object == CACHE_NONE && !s->paper)
        choose_unprotected(s, now, decay[now], x, &best);
    return best.object;
}

static void evict(void *state, uint32_t object)
{
    struct infinity *s = state;

    order_remove(s->link, object);
    count_hits(s, object / s->env->experts, -s->visits[object]);
    if (s->least[object / s->env->experts].object == object)
        forget(s, object / s->env->experts);
}

static void insert(void *state, uint32_t object)
{
    struct infinity *s = state;
    uint32_t layer = object / s->env->experts;

    s->visits[object] = 0.0;
    order_append(s->link, s->heads + layer, object);
    forget(s, layer);
}

static void rows(void *state, uint32_t first, const uint16_t *active, uint32_t count,
                 const uint32_t *tokens)
{
    struct infinity *s = state;
    uint32_t layer = first / s->env->experts, all = 0;
    double *sum = s->tokens + first;

    for (uint32_t i = 0; i < count; i++) {
        sum[active[i]] += tokens[active[i]];
        all += tokens[active[i]];
    }
    s->all[layer] += all;
    forget(s, layer);
}

static void end_sequences(void *state, uint32_t ended, uint32_t running)
{
    struct infinity *s = state;
    double stay = (double)(running - ended) / running;

    for (uint32_t x = 0; x < s->env->objects; x++)
        s->tokens[x] *= stay;
    for (uint32_t l = 0; l < s->layers; l++)
        s->all[l] *= stay;
    forget_all(s);
}

const struct cache_algorithm cache_moe_infinity = {
    .plugin = {.slot = SLOT_CACHE,
               .name = "moe-infinity",
               .help = "evict by what the running sequences activate, uses since loaded, "
                       "and the way to an expert's layer",
               .source = "Xue et al., MoE-Infinity, 2401.14361; as released "
                         "(expert_priority_score.py, expert_cache.py)",
               .variant = VARIANT_RELEASED,
               .lossless = true,
               .needs = NEED_ROWS,
               .options = options,
               .params_size = sizeof(struct infinity_params)},
    .state_size = state_size,
    .init = init,
    .hit = hit,
    .victim = victim,
    .evict = evict,
    .insert = insert,
    .rows = rows,
    .end_sequences = end_sequences,
};

#include "generate.h"

#include "draw_fit.h"
#include "draw_process.h"
#include "draw_scale.h"
#include "generate_write.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SKEW_MAX 8
#define TAIL_MAX 2

#define OPTION(name, type, def, min, max, help)                                          \
    {                                                                                    \
#name, type, offsetof(struct generate_params, name), def, min, max, NULL, help   \
    }

static const char *const score_words[] = {"no", "yes", "all", NULL};

const struct option generate_options[] = {
    OPTION(model, OPT_STRING, "synthetic", 0, 0, "name in models/arch that is written"),
    OPTION(source, OPT_STRING, "", 0, 0, "what the rows were drawn to, in words"),
    OPTION(layers, OPT_INT, "24", 1, TRACE_MAX_LAYERS, "MoE layers"),
    OPTION(first_layer, OPT_INT, "0", 0, 4096, "decoder layer of the first MoE layer"),
    OPTION(experts, OPT_INT, "32", 1, TRACE_MAX_EXPERTS, "experts per layer"),
    OPTION(top_k, OPT_INT, "4", 1, TRACE_MAX_EXPERTS, "experts per token"),
    OPTION(requests, OPT_INT, "128", 1, 1e9, "requests"),
    OPTION(groups, OPT_INT, "1", 1, 65535, "topics; blocks of equally many requests"),
    OPTION(seed, OPT_INT, "1", 0, 9e15, "seed of every draw"),
    OPTION(prompt_tokens, OPT_DOUBLE, "128", 0, 1e7,
           "mean prompt length; 0: decode only"),
    OPTION(output_tokens, OPT_DOUBLE, "128", 0, 1e7,
           "mean output length; 0: prefill only"),
    OPTION(prompt_spread, OPT_DOUBLE, "0.4", 0, 4, "sigma of the log of prompt lengths"),
    OPTION(output_spread, OPT_DOUBLE, "0.8", 0, 4, "sigma of the log of output lengths"),
    OPTION(skew, OPT_DOUBLE, "1.3", 0, SKEW_MAX, "how uneven the experts' shares are"),
    OPTION(tail, OPT_DOUBLE, "0.5", 0, TAIL_MAX, "how far the most used ones stand out"),
    OPTION(locality, OPT_DOUBLE, "0.5", 0, 1,
           "share of a row's state that persists: locality of adjacent rows"),
    OPTION(affinity, OPT_DOUBLE, "0.7", 0, 1,
           "share of what persists that lasts for the whole request"),
    OPTION(domain, OPT_DOUBLE, "0.2", 0, 1,
           "share of what lasts that requests of a group have in common"),
    OPTION(cross_layer, OPT_DOUBLE, "0.9", 0, 1,
           "share of a score that comes from the state common to all layers"),
    OPTION(opening, OPT_DOUBLE, "0", 0, 1,
           "share of what persists that the first rows of all requests have in common"),
    OPTION(prompt_template, OPT_INT, "0", 0, 65535,
           "first prompt rows that are the same in all requests"),
    OPTION(output_template, OPT_INT, "0", 0, 65535,
           "first output rows that are the same in all requests"),
    {"scores", OPT_CHOICE, offsetof(struct generate_params, scores), "no", 0, 0,
     score_words,
     "write scores: yes, of the executed experts (the softmax of their logits); all, "
     "logits of all experts, in descending order"},
    OPTION(gini, OPT_DOUBLE, "0", 0, 1, "Gini of the shares; sets skew (0: not given)"),
    OPTION(top1_share, OPT_DOUBLE, "0", 0, 1,
           "largest share of an expert in a layer; sets tail (0: not given)"),
    OPTION(adjacent_overlap, OPT_DOUBLE, "0", 0, 1,
           "overlap of adjacent rows; sets locality (0: not given)"),
    OPTION(next_layer_predictability, OPT_DOUBLE, "0", 0, 1,
           "next-layer predictability; sets cross_layer (0: not given)"),
    OPTION(union_16, OPT_DOUBLE, "0", 0, TRACE_MAX_EXPERTS,
           "distinct experts of 16 concurrent requests; sets domain (0: not given)"),
    OPTION(independent, OPT_BOOL, "false", 0, 0,
           "draw every row and layer alone, all experts alike but for hot_weight"),
    OPTION(hot_weight, OPT_DOUBLE, "0", 0, 1e6,
           "what hot experts weigh beyond 1 / experts, as in MoEShard; above 0 rows are "
           "independent"),
    OPTION(hot_share, OPT_DOUBLE, "0.1", 0, 1,
           "hot_weight: share of the experts, from expert 0 on, that are hot"),
    OPTION(sources, OPT_INT, "0", 0, 65535,
           "ranks that requests come from in turn (0: not recorded)"),
    OPTION(moe_every, OPT_INT, "1", 1, 16,
           "decoder layers from one MoE layer to the next"),
    OPTION(encoder_layers, OPT_INT, "0", 0, TRACE_MAX_LAYERS,
           "the first of the MoE layers that are an encoder's: prompt rows are routed in "
           "those alone, output rows in the others alone"),
    OPTION(logit_scale, OPT_DOUBLE, "1.5", DRAW_SCALE_LEAST, DRAW_SCALE_MOST,
           "scores: all: what scores, whose noise and state have variance 1, are "
           "multiplied by (1.5: as the weights of scores: yes)"),
    OPTION(autoregressive, OPT_BOOL, "false", 0, 0,
           "draw each expert's logit by a process of its own; with 8 experts and top_k 2 "
           "selections change as MoE-ERAS measured"),
    OPTION(
        logit_sd, OPT_DOUBLE, "1.386", 0, 100,
        "autoregressive: standard deviation of an expert's logit over rows; what is new "
        "in a row is sqrt(1 - persistence^2) of it (1.2)"),
    OPTION(persistence, OPT_DOUBLE, "0.5", 0, 1,
           "autoregressive: correlation of a logit from row to row of a request"),
    OPTION(popularity_sd, OPT_DOUBLE, "0.2", 0, 100,
           "autoregressive: standard deviation of what an expert's logit is on average"),
    {.name = NULL},
};

/* ---- routers ---- */

enum router {
    MODEL = 1 << 0,   /* that of draw.h */
    ALONE = 1 << 1,   /* the one without dependence */
    PROCESS = 1 << 2, /* that of draw_process.h */
};

static enum router router_of(const struct generate_params *p)
{
    if (p->autoregressive)
        return PROCESS;
    return p->independent || p->hot_weight > 0 ? ALONE : MODEL;
}

/* Options that only some routers can follow. */
static const struct owned {
    const char *name;
    unsigned routers;
} owned[] = {
    {"skew", MODEL},
    {"tail", MODEL},
    {"locality", MODEL},
    {"affinity", MODEL},
    {"domain", MODEL},
    {"cross_layer", MODEL},
    {"opening", MODEL},
    {"prompt_template", MODEL},
    {"output_template", MODEL},
    {"scores", MODEL | PROCESS},
    {"gini", MODEL},
    {"top1_share", MODEL},
    {"adjacent_overlap", MODEL},
    {"next_layer_predictability", MODEL},
    {"union_16", MODEL},
    {"independent", MODEL | ALONE},
    {"hot_weight", MODEL | ALONE},
    {"hot_share", MODEL | ALONE},
    {"logit_scale", MODEL},
    {"logit_sd", PROCESS},
    {"persistence", PROCESS},
    {"popularity_sd", PROCESS},
};

static bool follows(enum router router, const struct option *o)
{
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++)
        if (strcmp(o->name, owned[i].name) == 0)
            return (owned[i].routers & router) != 0;
    return true;
}

static double read_option(const struct option *o, const struct generate_params *p)
{
    const void *value = (const char *)p + o->offset;

    switch (o->type) {
    case OPT_BOOL:
        return *(const bool *)value;
    case OPT_CHOICE:
        return *(const int *)value;
    case OPT_INT:
        return (double)*(const int64_t *)value;
    default:
        return *(const double *)value;
    }
}

static int refuse_option(enum router router, const struct option *o,
                         const struct generate_params *p, const char *out, struct err *e)
{
    double number = read_option(o, p);
    char *value = o->type == OPT_CHOICE ? mem_strdup(o->choices[(int)number])
                  : o->type == OPT_BOOL ? mem_strdup(number > 0 ? "yes" : "no")
                                        : mem_format("%g", number);

    if (router == ALONE)
        (void)err_set(e,
                      "%s: %s is %s, but with hot_weight or independent every row and "
                      "layer is drawn alone, by the experts' weights; leave %s out",
                      out, o->name, value, o->name);
    else if (router == PROCESS)
        (void)err_set(e,
                      "%s: %s is %s, but with autoregressive the logits' processes, each "
                      "expert's its own, are all there is; leave %s out",
                      out, o->name, value, o->name);
    else
        (void)err_set(e,
                      "%s: %s is %s, but only with autoregressive are logits processes; "
                      "set autoregressive=yes, or leave %s out",
                      out, o->name, value, o->name);
    free(value);
    return -1;
}

/* Refuses what the router cannot follow, unless it was left at its default, or is 0
 * where no dependence is what the router has. */
static int check_router(const struct generate_params *p, const char *out, struct err *e)
{
    enum router router = router_of(p);
    struct generate_params usual;
    int status = cfg_bind(NULL, generate_options, &usual, e);

    for (const struct option *o = generate_options; o->name != NULL && status == 0; o++) {
        double given;

        if (follows(router, o))
            continue;
        given = read_option(o, p);
        if (fabs(given - read_option(o, &usual)) > 0 && (given > 0 || router != ALONE))
            status = refuse_option(router, o, p, out, e);
    }
    return status;
}

/* ---- popularity ---- */

/* How uneven the experts' shares are: by quantile u they are as g(u)^skew, with
 * g(u) = (1 - (1 - u)^s) / s, s = 1 - tail, the generalised Pareto distribution's
 * quantile. Without tail g(u) = u, with tail 1 it is -log(1 - u). */
struct shape {
    double skew, tail;
};

/* Shares of experts, ascending. */
static void fill_shares(const struct shape *shape, uint32_t experts, double *share)
{
    double s = 1 - shape->tail, sum = 0;

    for (uint32_t x = 0; x < experts; x++) {
        double rest = log1p(-(x + 0.5) / experts);
        double g = fabs(s) < 1e-9 ? -rest : -expm1(s * rest) / s;

        share[x] = pow(g, shape->skew);
        sum += share[x];
    }
    for (uint32_t x = 0; x < experts; x++)
        share[x] /= sum;
}

static double gini_of_shares(const double *share, uint32_t experts)
{
    double gini = 0;

    for (uint32_t x = 0; x < experts; x++)
        gini += (2.0 * (x + 1) - experts - 1) * share[x] / experts;
    return gini;
}

/* Sets the skew that gives the Gini, by bisection, if one is asked for. */
static void find_skew(struct shape *shape, double gini, uint32_t experts, double *share)
{
    double low = 0, high = SKEW_MAX;

    for (int i = 0; i < 50 && gini > 0; i++) {
        shape->skew = (low + high) / 2;
        fill_shares(shape, experts, share);
        if (gini_of_shares(share, experts) < gini)
            low = shape->skew;
        else
            high = shape->skew;
    }
}

/* The shares that the parameters give, or, where they ask for a Gini and a largest share,
 * those that have these: a heavier tail has a larger share at the same Gini. */
static void find_shares(const struct generate_params *p, double *share)
{
    struct shape shape = {.skew = p->skew, .tail = p->tail};
    uint32_t experts = (uint32_t)p->experts;
    double low = 0, high = TAIL_MAX;

    find_skew(&shape, p->gini, experts, share);
    for (int i = 0; i < 50 && p->top1_share > 0; i++) {
        shape.tail = (low + high) / 2;
        find_skew(&shape, p->gini, experts, share);
        fill_shares(&shape, experts, share);
        if (share[experts - 1] < p->top1_share)
            low = shape.tail;
        else
            high = shape.tail;
    }
    fill_shares(&shape, experts, share);
}

/* (layer, expert): the same shares in every layer, dealt to its experts at random. Owned.
 */
static double *deal_popularity(const struct draw_model *m, const double *shares)
{
    double *popularity = mem_alloc((size_t)m->layers * m->experts, sizeof *popularity);

    for (uint32_t l = 0; l < m->layers; l++) {
        struct rng r = rng_stream(m->seed, "popularity", l);
        double *share = popularity + (size_t)l * m->experts;

        memcpy(share, shares, m->experts * sizeof *share);
        for (uint32_t x = m->experts - 1; x > 0; x--) {
            size_t other = (size_t)rng_below(&r, x + 1);
            double swap = share[x];

            share[x] = share[other];
            share[other] = swap;
        }
    }
    return popularity;
}

/* ---- requests ---- */

/* Log-normal with the given mean, at least 1; 0 where the mean is 0. */
static uint32_t draw_length(const struct draw_model *m, struct rng *r, double mean,
                            double spread)
{
    double z = draw_normal(m, r);

    if (mean <= 0)
        return 0;
    return (uint32_t)fmin(1e9,
                          fmax(1, round(mean * exp(spread * z - spread * spread / 2))));
}

/* The prompt's last row gives the first output token, so that an answer of n tokens has
 * n - 1 decode rows; where there are no prompts it has n, and behind an encoder, too. */
static struct draw_request *draw_requests(const struct draw_model *m,
                                          const struct generate_params *p)
{
    size_t count = (size_t)p->requests;
    struct draw_request *requests = mem_alloc(count, sizeof *requests);

    for (size_t i = 0; i < count; i++) {
        struct rng r = rng_stream(m->seed, "length", i);
        uint32_t prompt = draw_length(m, &r, p->prompt_tokens, p->prompt_spread);
        uint32_t output = draw_length(m, &r, p->output_tokens, p->output_spread);

        requests[i] = (struct draw_request){
            .prompt_rows = prompt,
            .output_rows =
                prompt > 0 && output > 0 && p->encoder_layers == 0 ? output - 1 : output,
            .prompt_tokens = prompt,
            .output_tokens = output,
            .group = (uint16_t)(i * (size_t)p->groups / count),
        };
    }
    return requests;
}

/* ---- all of it ---- */

static int check_params(const struct generate_params *p, const char *out, struct err *e)
{
    if (p->top_k > p->experts)
        return err_set(e, "%s: top_k %" PRId64 " is more than the %" PRId64 " experts",
                       out, p->top_k, p->experts);
    if (p->requests < p->groups)
        return err_set(e, "%s: %" PRId64 " groups need as many requests, not %" PRId64,
                       out, p->groups, p->requests);
    if (p->union_16 > 0 && (p->requests < 16 || p->groups < 2))
        return err_set(e,
                       "%s: union_16 can be drawn to with 16 requests in 2 groups or "
                       "more; there are %" PRId64 " in %" PRId64,
                       out, p->requests, p->groups);
    if (p->encoder_layers > p->layers)
        return err_set(e,
                       "%s: encoder_layers %" PRId64 " is more than the %" PRId64
                       " MoE layers; it counts the first of them",
                       out, p->encoder_layers, p->layers);
    if (p->encoder_layers > 0 && p->prompt_tokens <= 0)
        return err_set(e,
                       "%s: encoder_layers is %" PRId64 ", but there are no prompts for "
                       "an encoder to read; set prompt_tokens",
                       out, p->encoder_layers);
    if (check_router(p, out, e) != 0)
        return -1;
    if (p->scores != GENERATE_SCORES_ALL &&
        fabs(p->logit_scale - (double)DRAW_LOGIT_SCALE) > 0)
        return err_set(e,
                       "%s: logit_scale is %g, but logits are written with scores: all "
                       "alone; set that, or leave logit_scale out",
                       out, p->logit_scale);
    return 0;
}

static int check_reached(const char *out, const char *name, double asked, double reached,
                         struct err *e)
{
    if (asked <= 0 || fabs(reached - asked) <= 0.05 * asked)
        return 0;
    return err_set(e,
                   "%s: %s %g cannot be drawn with these parameters; %g is as near as it "
                   "gets",
                   out, name, asked, reached);
}

/* Shares that are had exactly, or not at all. Owned (layer, expert), or NULL. */
static double *make_popularity(const struct draw_model *m,
                               const struct generate_params *p, const char *out,
                               struct err *e)
{
    double *share = mem_alloc(m->experts, sizeof *share), *popularity = NULL, top;

    find_shares(p, share);
    top = share[m->experts - 1];
    if (top * m->top_k > 1)
        (void)err_set(e,
                      "%s: an expert would have the share %g, but with top_k %" PRIu32
                      " none can have more than %g; lower skew or tail",
                      out, top, m->top_k, 1.0 / m->top_k);
    else if (check_reached(out, "gini", p->gini, gini_of_shares(share, m->experts), e) ==
                 0 &&
             check_reached(out, "top1_share", p->top1_share, top, e) == 0)
        popularity = deal_popularity(m, share);
    free(share);
    return popularity;
}

static int fit(struct draw_model *m, const struct generate_params *p,
               const struct draw_request *requests, const char *out, struct err *e)
{
    double *popularity = make_popularity(m, p, out, e);
    struct fit_target t = {
        .popularity = popularity,
        .adjacent_overlap = p->adjacent_overlap > 0 ? p->adjacent_overlap : -1,
        .far_overlap = -1,
        .opening_overlap = -1,
        .next_layer_predictability =
            p->next_layer_predictability > 0 ? p->next_layer_predictability : -1,
        .union_size = p->union_16 > 0 ? p->union_16 : -1,
        .union_batch = 16,
    };
    struct fit_result r;

    if (popularity == NULL)
        return -1;
    fit_start(m, popularity);
    draw_model_templates(m, (uint32_t)p->prompt_template, (uint32_t)p->output_template);
    fit_model(m, requests, (size_t)p->requests, &t, &r);
    free(popularity);
    if (check_reached(out, "adjacent_overlap", p->adjacent_overlap, r.adjacent_overlap,
                      e) != 0 ||
        check_reached(out, "next_layer_predictability", p->next_layer_predictability,
                      r.next_layer_predictability, e) != 0 ||
        check_reached(out, "union_16", p->union_16, r.union_size, e) != 0)
        return -1;
    return 0;
}

/* Options that came after others are named only where they are used, so that traces
 * without them stay as they were. */
static bool is_told(const struct option *o, const struct generate_params *p)
{
    static const char *const first[] = {"independent", "hot_weight", "hot_share",
                                        "sources", "moe_every"};
    enum router router = router_of(p);

    if (!follows(router, o))
        return false;
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++)
        if (strcmp(o->name, first[i]) == 0)
            return router == ALONE || p->sources > 0 || p->moe_every > 1;
    if (strcmp(o->name, "encoder_layers") == 0)
        return p->encoder_layers > 0;
    if (strcmp(o->name, "logit_scale") == 0)
        return p->scores == GENERATE_SCORES_ALL;
    return strcmp(o->name, "autoregressive") != 0 || router == PROCESS;
}

/* As cfg_describe, but of the options that were used. Owned. */
static char *describe(const struct generate_params *p)
{
    struct option used[sizeof generate_options / sizeof generate_options[0]];
    size_t count = 0;

    for (const struct option *o = generate_options; o->name != NULL; o++)
        if (is_told(o, p))
            used[count++] = *o;
    used[count] = (struct option){.name = NULL};
    return cfg_describe(used, p);
}

static int write(struct draw_model *m, const struct generate_params *p,
                 const struct draw_request *requests, const char *out, struct err *e)
{
    struct trace_info info = {
        .experts = m->experts,
        .top_k = m->top_k,
        .candidates = m->all ? m->experts : m->top_k,
        .layers = m->layers,
        .score_kind = generate_score_kind((enum generate_scores)p->scores),
        .sorted = !m->alone,
        .groups = m->groups,
    };
    struct generate_params told = *p;
    int status;

    told.source = ""; /* has its own attribute */
    info.model = mem_strdup(p->model);
    info.source = mem_format("synthetic, drawn by moesim trace gen%s%s",
                             p->source[0] == '\0' ? "" : ": ", p->source);
    info.capture = describe(&told);
    info.moe_layer = mem_alloc(info.layers, sizeof *info.moe_layer);
    for (uint32_t l = 0; l < info.layers; l++)
        info.moe_layer[l] = (uint16_t)(p->first_layer + l * p->moe_every);
    info.group_names = mem_alloc(info.groups, sizeof *info.group_names);
    for (uint32_t g = 0; g < info.groups; g++)
        info.group_names[g] = mem_format("group-%" PRIu32, g);
    status = generate_write(m, &info, requests, (size_t)p->requests, (uint32_t)p->sources,
                            out, e);
    trace_info_release(&info);
    return status;
}

int generate_trace(const struct generate_params *p, const char *out, struct err *e)
{
    struct draw_model *m;
    struct draw_request *requests;
    int status;

    if (check_params(p, out, e) != 0)
        return -1;
    m = draw_model_new((uint64_t)p->seed, (uint32_t)p->layers, (uint32_t)p->experts,
                       (uint32_t)p->top_k, (uint32_t)p->groups);
    m->noise = sqrt(1 - p->cross_layer);
    m->affinity = p->affinity;
    m->domain = p->domain;
    m->opening = p->opening;
    m->all = p->scores == GENERATE_SCORES_ALL;
    m->logit_scale = (float)p->logit_scale;
    m->alone = router_of(p) == ALONE;
    m->encoder_layers = (uint32_t)p->encoder_layers;
    m->hot_weight = p->hot_weight;
    m->hot = (uint32_t)ceil(p->hot_share * (double)p->experts - 1e-9);
    for (uint32_t l = 0; l < m->layers; l++)
        m->persistence[l] = p->locality;
    requests = draw_requests(m, p);
    status = generate_check(out, requests, (size_t)p->requests, e);
    if (router_of(p) == PROCESS)
        draw_process_start(m, p->logit_sd, p->persistence, p->popularity_sd);
    if (status == 0 && router_of(p) == MODEL)
        status = fit(m, p, requests, out, e);
    if (status == 0)
        status = write(m, p, requests, out, e);
    free(requests);
    draw_model_free(m);
    return status;
}

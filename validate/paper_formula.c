#include "sim/policy/policy.h"
#include "paper_formula.h"

#include "paper_replay.h"

#include "models/catalogue.h"
#include "sim/base/mem.h"
#include "sim/policy/place_moeshard.h"

#include <stdlib.h>
#include <string.h>

/* What formulas are bound to; each uses some. */
struct inputs {
    const char *name, *model;
    const struct cfg_node *set, *policy;
    int64_t gpus, experts, top_k, tokens, hidden, bits, slots, layers;
    const struct experiment_folders *folders;
};

#define IN(key) offsetof(struct inputs, key)
#define NAME                                                                             \
    {                                                                                    \
        "name", OPT_STRING, IN(name), NULL, 0, 0, NULL, "of the formula"                 \
    }
#define COUNT(key, help)                                                                 \
    {                                                                                    \
#key, OPT_INT, IN(key), NULL, 1, 1e6, NULL, help                                 \
    }
#define MODEL                                                                            \
    {                                                                                    \
        "model", OPT_STRING, IN(model), NULL, 0, 0, NULL, "name in models/arch"          \
    }
#define SET                                                                              \
    {                                                                                    \
        "set", OPT_NODE, IN(set), "", 0, 0, NULL,                                        \
            "list of changes to it, such as expert_bits=16"                              \
    }
#define POLICY                                                                           \
    {                                                                                    \
        "policy", OPT_NODE, IN(policy), NULL, 0, 0, NULL,                                \
            "a preset, or a mapping of slots"                                            \
    }
#define END                                                                              \
    {                                                                                    \
        .name = NULL                                                                     \
    }

/* ---- from a model ---- */

static struct model *load_model(const struct inputs *in, struct err *e)
{
    struct cfg *c = catalogue_load(FILE_MODEL, in->model, in->folders->models, e);
    struct model *m = NULL;

    if (c != NULL && paper_apply(c, in->set, e) == 0)
        m = model_from_cfg(c, e);
    cfg_free(c);
    return m;
}

static const struct option expert_bytes_options[] = {NAME, MODEL, SET, END};

static int expert_bytes(const struct inputs *in, double *value, struct err *e)
{
    struct model *m = load_model(in, e);

    if (m == NULL)
        return -1;
    *value = (double)model_expert_bytes(m);
    model_free(m);
    return 0;
}

static const struct option buffer_options[] = {
    NAME,
    MODEL,
    SET,
    COUNT(gpus, "that the experts are spread over"),
    COUNT(slots, "per GPU and buffered layer"),
    COUNT(layers, "MoE layers that are buffered; the others hold all their experts"),
    END};

/* Bytes that a GPU holds, all experts of its share resident, and how many of these
 * buffering saves. 0 or -1. */
static int find_buffer(const struct inputs *in, double *all, double *saved, struct err *e)
{
    struct model *m = load_model(in, e);
    double local, expert;

    if (m == NULL)
        return -1;
    local = (double)m->experts / (double)in->gpus;
    expert = (double)model_expert_bytes(m);
    *all = (double)model_dense_bytes(m) + local * m->moe_layers * expert;
    *saved = (local - (double)in->slots) * (double)in->layers * expert;
    if (m->experts % in->gpus != 0 || in->layers > m->moe_layers || *saved < 0.0) {
        model_free(m);
        return err_set(e,
                       "formula %s: %lld GPUs, %lld slots and %lld layers do not go with "
                       "model %s",
                       in->name, (long long)in->gpus, (long long)in->slots,
                       (long long)in->layers, in->model);
    }
    model_free(m);
    return 0;
}

static int buffer_saved(const struct inputs *in, double *value, struct err *e)
{
    double all;

    return find_buffer(in, &all, value, e);
}

static int buffer_share(const struct inputs *in, double *value, struct err *e)
{
    double all, saved;

    if (find_buffer(in, &all, &saved, e) != 0)
        return -1;
    *value = saved / all;
    return 0;
}

/* ---- from a policy's plug-ins ---- */

static const struct option waste_options[] = {NAME,
                                              POLICY,
                                              COUNT(experts, "of a layer"),
                                              COUNT(top_k, "experts of a token"),
                                              COUNT(tokens, "of the batch"),
                                              END};

static int waste(const struct inputs *in, double *value, struct err *e)
{
    struct policy *p = policy_from_node(in->policy, in->folders->presets, e);
    size_t choices = (size_t)(in->tokens * in->top_k);
    struct view v = {.experts = (uint32_t)in->experts,
                     .top_k = (uint32_t)in->top_k,
                     .rows = (uint32_t)in->tokens};
    uint16_t *choice;
    uint32_t *scratch;
    struct gate_result r;

    if (p == NULL)
        return -1;
    if (!policy_does(p, ACT_PAD)) {
        policy_free(p);
        return err_set(e, "formula %s: this policy's gate has no capacity", in->name);
    }
    choice = mem_alloc(choices, sizeof *choice);
    for (size_t i = 0; i < choices; i++)
        choice[i] = VIEW_NO_EXPERT; /* capacity does not depend on them */
    scratch = mem_alloc((size_t)in->experts, sizeof *scratch);
    r = policy_gate(p)->apply(p->params[SLOT_GATE], &v, choice, scratch);
    *value = (double)in->experts * r.capacity / (double)choices;
    free(scratch);
    free(choice);
    policy_free(p);
    return 0;
}

static const struct option cycle_options[] = {
    NAME, POLICY, COUNT(experts, "that are all active in every pass"), END};

/* Misses of all accesses but those of the first passes, in which the cache fills. MIN
 * comes round in experts - 1 passes, the others in one. */
static double cycle_misses(struct cache *c, uint16_t experts)
{
    const uint32_t first = experts, passes = 8U * (experts > 1 ? experts - 1U : 1U);
    uint16_t *active = mem_alloc(experts, sizeof *active);
    uint64_t misses = 0;

    for (uint16_t i = 0; i < experts; i++)
        active[i] = i;
    for (uint32_t pass = 0; pass < first + passes; pass++) {
        cache_begin_step(c, 0, active, experts);
        for (uint16_t i = 0; i < experts; i++) {
            struct cache_result r =
                cache_access(c, 0, i, (struct cache_use){pass + 1, i});

            misses += pass >= first && r.outcome != CACHE_HIT;
        }
        cache_end_pass(c);
    }
    free(active);
    return (double)misses / ((double)passes * experts);
}

static int cycle_miss_rate(const struct inputs *in, double *value, struct err *e)
{
    const uint64_t expert_size = 1;
    struct policy *p = policy_from_node(in->policy, in->folders->presets, e);
    struct cache_config config = {.layers = 1,
                                  .experts = (uint32_t)in->experts,
                                  .expert_bytes = &expert_size,
                                  .future = true,
                                  .seed = 1};
    struct cache *c = NULL;
    int status = -1;

    if (p == NULL)
        return -1;
    config.algorithm = policy_cache(p);
    config.algorithm_params = p->params[SLOT_CACHE];
    if (cache_resolve(&p->cache, 1, (uint32_t)in->experts, &expert_size, e) != NULL) {
        policy_free(p);
        return -1;
    }
    config.params = p->cache;
    if ((policy_needs(p) & NEED_PROFILE) != 0)
        (void)err_set(e, "formula %s: there is no profile", in->name);
    else
        c = cache_new(&config, e);
    if (c != NULL) {
        *value = cycle_misses(c, (uint16_t)in->experts);
        status = 0;
    }
    cache_free(c);
    policy_free(p);
    return status;
}

static const struct option shard_options[] = {NAME,
                                              COUNT(gpus, "that share every expert"),
                                              COUNT(experts, "of a layer"),
                                              COUNT(tokens, "of each GPU"),
                                              COUNT(hidden, "size of a token"),
                                              COUNT(bits, "of a value"),
                                              END};

static int shard_bytes(const struct inputs *in, double *value, struct err *e)
{
    uint64_t *tokens = mem_alloc((size_t)in->gpus, sizeof *tokens);

    (void)e;
    for (int64_t g = 0; g < in->gpus; g++)
        tokens[g] = (uint64_t)in->tokens;
    *value = (double)place_shard_bytes((uint32_t)in->gpus, (uint32_t)in->experts, tokens,
                                       (uint64_t)in->hidden * (uint64_t)in->bits / 8, 0);
    free(tokens);
    return 0;
}

/* ---- all of them ---- */

static const struct {
    const char *name;
    const struct option *options;
    int (*find)(const struct inputs *in, double *value, struct err *e);
    const char *help;
} formulas[] = {
    {"expert-bytes", expert_bytes_options, expert_bytes, "weights of one expert"},
    {"buffer-saved", buffer_options, buffer_saved,
     "weights that a GPU holds less with expert buffering"},
    {"buffer-share", buffer_options, buffer_share,
     "... as a share of all weights that it holds without"},
    {"waste", waste_options, waste,
     "rows that a gate's capacity makes experts compute on, over choices"},
    {"cycle-miss-rate", cycle_options, cycle_miss_rate,
     "of a policy's cache, all experts active in every pass"},
    {"shard-bytes", shard_options, shard_bytes,
     "that a GPU sends per layer under place: moeshard"},
};
enum { FORMULAS = sizeof formulas / sizeof *formulas };

int paper_formula(const struct cfg_node *n, const struct experiment_folders *folders,
                  double *value, struct err *e)
{
    const struct cfg_node *name = cfg_is_map(n) ? cfg_find(n, "name") : NULL;
    const char *text = name == NULL ? NULL : cfg_text(name);

    for (size_t i = 0; text != NULL && i < FORMULAS; i++) {
        struct inputs in = {.name = NULL};

        if (strcmp(text, formulas[i].name) != 0)
            continue;
        if (cfg_bind(n, formulas[i].options, &in, e) != 0)
            return -1;
        in.folders = folders;
        return formulas[i].find(&in, value, e);
    }
    return cfg_error(n, e,
                     "expected a formula's name and its options; moesim check --help "
                     "lists them");
}

void paper_formula_help(FILE *out)
{
    for (size_t i = 0; i < FORMULAS; i++) {
        (void)fprintf(out, "  %-22s %s\n", formulas[i].name, formulas[i].help);
        cfg_help(formulas[i].options + 1, 26, out);
    }
}

/* Settings that are written but have no effect, given the others. Those that only times
 * depend on may stay for engine: count, which a note says has none. */
#include "experiment_state.h"

/* What a condition may look at; `policy` is NULL where the setting is no policy's. */
struct setting {
    const struct experiment *x;
    const struct policy *policy;
};

static bool no_static(const struct setting *s)
{
    return s->x->workload.mode != WORKLOAD_STATIC;
}

static bool no_continuous(const struct setting *s)
{
    return s->x->workload.mode != WORKLOAD_CONTINUOUS;
}

static bool is_recorded(const struct setting *s)
{
    return s->x->workload.mode == WORKLOAD_RECORDED;
}

static bool no_poisson(const struct setting *s)
{
    return s->x->workload.arrivals != ARRIVALS_POISSON;
}

static bool in_storage(const struct setting *s)
{
    return s->x->home == TIER_STORAGE;
}

static bool is_unified(const struct setting *s)
{
    return s->x->machine->unified;
}

static bool no_profile(const struct setting *s)
{
    return s->x->profile == NULL;
}

static bool no_tensor(const struct setting *s)
{
    return s->x->parallel.attention != ATTENTION_TENSOR;
}

static bool one_gpu(const struct setting *s)
{
    return !s->x->is_parallel;
}

static bool placed_once(const struct setting *s)
{
    return s->x->is_parallel && s->policy->place.window.interval == 0;
}

static bool no_groups(const struct setting *s)
{
    return policy_place(s->policy) !=
           (const struct place_type *)registry_find(SLOT_PLACE, "eplb");
}

/* Where a setting stands: in the configuration, in a mapping of it, or in a policy's. */
enum where { AT_TOP, AT_WORKLOAD, AT_PARALLEL, AT_PLACE, AT_SCHEDULE };

/* The one table of them: a setting, when it is ignored, why, and what to do instead of
 * leaving it out. */
static const struct rule {
    enum where where;
    const char *key;
    bool (*is_ignored)(const struct setting *s);
    const char *why, *cure;
} rules[] = {
    {AT_WORKLOAD, "batch", no_static, "only static batches have a size",
     "choose mode: static (continuous has max_sequences)"},
    {AT_WORKLOAD, "max_sequences", no_continuous, "only continuous batches have a limit",
     "choose mode: continuous (static has batch)"},
    {AT_WORKLOAD, "token_budget", is_recorded, "recorded passes are taken as they are",
     "choose mode: static or continuous"},
    {AT_WORKLOAD, "prefill", is_recorded, "recorded passes are taken as they are",
     "choose mode: static or continuous"},
    {AT_WORKLOAD, "rate", no_poisson, "only Poisson arrivals have a rate",
     "choose arrivals: poisson"},
    {AT_TOP, "host_memory", in_storage, "the experts live in storage",
     "choose home: host"},
    {AT_TOP, "pageable", is_unified, "host and GPU of the machine are one",
     "choose another machine"},
    {AT_TOP, "profile", no_profile, "no policy asks for expert loads beforehand",
     "choose one that does, such as cache: pin"},
    {AT_PARALLEL, "tensor", no_tensor, "every GPU has its own attention",
     "choose attention: tensor"},
    {AT_PLACE, "groups", one_gpu, "one GPU holds all experts", "say parallel: {gpus: N}"},
    {AT_PLACE, "replica", one_gpu, "one GPU holds all experts",
     "say parallel: {gpus: N}"},
    {AT_PLACE, "first", one_gpu, "one GPU holds all experts", "say parallel: {gpus: N}"},
    {AT_PLACE, "window", one_gpu, "one GPU holds all experts", "say parallel: {gpus: N}"},
    {AT_PLACE, "foresee", one_gpu, "one GPU holds all experts",
     "say parallel: {gpus: N}"},
    {AT_PLACE, "keep", one_gpu, "one GPU holds all experts", "say parallel: {gpus: N}"},
    {AT_PLACE, "migrate", one_gpu, "one GPU holds all experts",
     "say parallel: {gpus: N}"},
    {AT_PLACE, "first", placed_once, "experts are placed once", "give interval: PASSES"},
    {AT_PLACE, "window", placed_once, "experts are placed once", "give interval: PASSES"},
    {AT_PLACE, "keep", placed_once, "experts are placed once", "give interval: PASSES"},
    {AT_PLACE, "migrate", placed_once, "experts are placed once",
     "give interval: PASSES"},
    {AT_PLACE, "groups", no_groups, "only eplb knows groups of experts",
     "choose place: eplb"},
    {AT_SCHEDULE, "exchange", one_gpu, "one GPU sends nothing",
     "say parallel: {gpus: N}"},
    {AT_SCHEDULE, "fp8_dispatch", one_gpu, "one GPU sends nothing",
     "say parallel: {gpus: N}"},
    {AT_SCHEDULE, "wait", one_gpu, "one GPU waits for no rows",
     "say parallel: {gpus: N}"},
    {AT_SCHEDULE, "empty", one_gpu, "one GPU launches no expert alone",
     "say parallel: {gpus: N}"},
};

/* The mapping that a rule's setting may stand in, or NULL. */
static const struct cfg_node *mapping_of(const struct experiment *x, enum where where,
                                         uint32_t policy)
{
    switch (where) {
    case AT_TOP:
        return x->root;
    case AT_WORKLOAD:
        return x->p.workload;
    case AT_PARALLEL:
        return x->p.parallel;
    case AT_PLACE:
        return cfg_find(cfg_item(x->p.policies, policy), "place");
    case AT_SCHEDULE:
        return cfg_find(cfg_item(x->p.policies, policy), "schedule");
    }
    return NULL;
}

static int check_rule(const struct experiment *x, const struct rule *rule, struct err *e)
{
    bool of_policy = rule->where == AT_PLACE || rule->where == AT_SCHEDULE;

    for (uint32_t i = 0; i < (of_policy ? x->policies : 1); i++) {
        struct setting s = {x, of_policy ? x->policy[i] : NULL};
        const struct cfg_node *mapping = mapping_of(x, rule->where, i);
        const struct cfg_node *value =
            mapping == NULL ? NULL : cfg_find(mapping, rule->key);

        if (value != NULL && rule->is_ignored(&s))
            return cfg_error(value, e, "'%s' has no effect here: %s; leave it out, or %s",
                             rule->key, rule->why, rule->cure);
    }
    return 0;
}

int ignored_refuse(struct experiment *x, struct err *e)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (check_rule(x, &rules[i], e) != 0)
            return -1;
    }
    return 0;
}

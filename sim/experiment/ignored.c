/* Settings that are written but have no effect, given the others. Those of another mode
 * are refused. Those that only this choice of plug-ins and sizes leaves without effect
 * are noted, as one set of settings serves for a sweep over plug-ins; so are those that
 * only times depend on, beside engine: count. */
#include "experiment_state.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

/* What a condition may look at; `policy` is NULL where the setting is no policy's. */
struct setting {
    const struct experiment *x;
    const struct policy *policy;
};

/* ---- conditions ---- */

static bool does(const struct setting *s, enum policy_act act)
{
    return policy_does(s->policy, act);
}

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
    return (experiment_needs(s->x) & NEED_PROFILE) == 0;
}

static bool no_tensor(const struct setting *s)
{
    return s->x->parallel.attention != ATTENTION_TENSOR;
}

static bool one_gpu(const struct setting *s)
{
    return !s->x->is_parallel;
}

static bool sends_nothing(const struct setting *s)
{
    return does(s, ACT_STAGES) && (one_gpu(s) || s->x->parallel.gpus == 1);
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

static uint32_t experts_of_gpu(const struct setting *s)
{
    return s->x->is_parallel
               ? parallel_local(s->policy, &s->x->topology, s->x->info->experts)
               : s->x->info->experts;
}

static bool no_spare(const struct setting *s)
{
    return s->x->is_parallel && !does(s, ACT_SHARD) &&
           experts_of_gpu(s) * s->x->topology.ranks == s->x->info->experts;
}

static bool blind_to_loads(const struct setting *s)
{
    return s->x->is_parallel && !does(s, ACT_SHARD) &&
           (s->policy->plugin[SLOT_PLACE]->needs & NEED_PROFILE) == 0;
}

static bool is_sharded(const struct setting *s)
{
    return s->x->is_parallel && does(s, ACT_SHARD);
}

static bool no_demand(const struct setting *s)
{
    return s->policy->plugin[SLOT_OFFLOAD] == registry_find(SLOT_OFFLOAD, "host");
}

static bool no_loads(const struct setting *s)
{
    return no_demand(s) && !does(s, ACT_PREFETCH);
}

static bool holds_all(const struct setting *s)
{
    const struct experiment *x = s->x;

    return x->is_parallel
               ? parallel_holds_all(s->policy, &x->topology, x->info, x->expert_bytes)
               : cache_holds_all(&s->policy->cache, x->info->layers, x->info->experts,
                                 x->expert_bytes);
}

static bool misses_nothing(const struct setting *s)
{
    return holds_all(s) && cache_starts_full(&s->policy->cache);
}

static bool prefetches_nothing(const struct setting *s)
{
    return does(s, ACT_PREFETCH) && misses_nothing(s);
}

static bool hosts_nothing(const struct setting *s)
{
    return (does(s, ACT_IN_PLACE) || does(s, ACT_LOWER)) && misses_nothing(s);
}

/* Only an algorithm that filters, or that would rather not keep what came, lets an expert
 * pass where any may be evicted for it. */
static bool keeps_all(const struct setting *s)
{
    const struct cache_algorithm *algorithm = policy_cache(s->policy);

    return (s->policy->cache.protect != CACHE_PROTECT_STRICT || holds_all(s)) &&
           s->policy->cache.admission == CACHE_ADMIT_ALWAYS && algorithm->admit == NULL &&
           &algorithm->plugin != registry_find(SLOT_CACHE, "belady-bypass");
}

static bool has_spares(const struct setting *s)
{
    return s->policy->cache.spare > 0;
}

/* Whether a policy's own mapping of its select sets a key to other than 0. */
static bool select_sets(const struct setting *s, const char *key)
{
    const struct cfg_node *select =
        s->policy->node != NULL && cfg_is_map(s->policy->node)
            ? cfg_find(s->policy->node, policy_slot_name(SLOT_SELECT))
            : NULL;
    const struct cfg_node *value =
        select != NULL && cfg_is_map(select) ? cfg_find(select, key) : NULL;

    return value != NULL && cfg_is_scalar(value) && strtod(cfg_text(value), NULL) > 0;
}

static bool has_budget(const struct setting *s)
{
    return select_sets(s, "experts");
}

static bool has_threshold(const struct setting *s)
{
    return s->policy->plugin[SLOT_SELECT] == registry_find(SLOT_SELECT, "naee") &&
           select_sets(s, "beta");
}

/* Of no policy. */
static bool no_copies(const struct setting *s)
{
    for (uint32_t i = 0; i < s->x->policies; i++) {
        const struct setting one = {s->x, s->x->policy[i]};

        if (!no_loads(&one) &&
            !(misses_nothing(&one) && one.policy->place.window.interval == 0))
            return false;
    }
    return true;
}

static bool no_bounds(const struct setting *s)
{
    return s->x->p.bounds && s->x->is_parallel &&
           (!s->x->timeless || s->x->p.engine == ENGINE_COUNT);
}

/* ---- the table ---- */

/* Where a setting stands: in the configuration, in a mapping of it, in a policy, whose
 * settings are the choices of its slots, or in one of these.
 */
enum where { AT_TOP, AT_WORKLOAD, AT_PARALLEL, AT_POLICY, AT_SLOTS };
#define AT(slot) (AT_SLOTS + (slot))

/* A setting, when it is ignored, why, and what to do instead of leaving it out. */
struct rule {
    int where;       /* AT_TOP, ..., or AT(a slot) */
    const char *key; /* NULL: any but the plug-in's name */
    bool (*is_ignored)(const struct setting *s);
    const char *why, *cure;
};

static const struct rule refused[] = {
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
    {AT(SLOT_PLACE), NULL, one_gpu, "one GPU holds all experts",
     "say parallel: {gpus: N}"},
    {AT(SLOT_PLACE), "first", placed_once, "experts are placed once",
     "give interval: PASSES"},
    {AT(SLOT_PLACE), "window", placed_once, "experts are placed once",
     "give interval: PASSES"},
    {AT(SLOT_PLACE), "keep", placed_once, "experts are placed once",
     "give interval: PASSES"},
    {AT(SLOT_PLACE), "migrate", placed_once, "experts are placed once",
     "give interval: PASSES"},
    {AT(SLOT_PLACE), "groups", no_groups, "only eplb knows groups of experts",
     "choose place: eplb"},
    {AT(SLOT_SCHEDULE), "exchange", one_gpu, "one GPU sends nothing",
     "say parallel: {gpus: N}"},
    {AT(SLOT_SCHEDULE), "fp8_dispatch", one_gpu, "one GPU sends nothing",
     "say parallel: {gpus: N}"},
    {AT(SLOT_SCHEDULE), "wait", one_gpu, "one GPU waits for no rows",
     "say parallel: {gpus: N}"},
};

static const struct rule noted[] = {
    {AT_POLICY, "prefetch", prefetches_nothing, "every expert is there from the start",
     "give its cache fewer slots"},
    {AT_POLICY, "offload", hosts_nothing, "every expert is there from the start",
     "give its cache fewer slots"},
    {AT_POLICY, "schedule", sends_nothing,
     "one GPU sends no rows, so that it is as overlapped", "say parallel: {gpus: N}"},
    {AT_TOP, "pageable", no_copies, "no policy copies an expert from the host",
     "choose a cache that does not start with all of them"},
    {AT_TOP, "chunk", no_copies, "no policy copies an expert from the host",
     "choose a cache that does not start with all of them"},
    {AT_TOP, "watch", no_copies, "no policy copies an expert from the host",
     "choose a cache that does not start with all of them"},
    {AT_TOP, "bounds", no_bounds,
     "of several GPUs only times have bounds, where passes do not depend on them",
     "choose arrivals: closed and an engine of times"},
    {AT(SLOT_PLACE), "replica", no_spare, "every expert is somewhere once",
     "give more slots"},
    {AT(SLOT_PLACE), "spare", no_spare, "every slot holds an expert", "give more slots"},
    {AT(SLOT_PLACE), "tau", no_spare, "there is no room for replicas", "give more slots"},
    {AT(SLOT_PLACE), "r_max", no_spare, "there is no room for replicas",
     "give more slots"},
    {AT(SLOT_PLACE), "interval", blind_to_loads, "it places alike whatever the loads",
     "choose one that looks at them, such as place: greedy"},
    {AT(SLOT_PLACE), "foresee", blind_to_loads, "it places alike whatever the loads",
     "choose one that looks at them, such as place: greedy"},
    {AT(SLOT_PLACE), "slots", is_sharded, "every GPU has a slice of every expert",
     "choose another place"},
    {AT(SLOT_PLACE), "replica", is_sharded, "every GPU has a slice of every expert",
     "choose another place"},
    {AT(SLOT_SCHEDULE), "fp8_dispatch", is_sharded,
     "rows are gathered by all GPUs, not dispatched", "choose another place"},
    {AT(SLOT_SELECT), "share", has_budget, "experts says how many", "leave out experts"},
    {AT(SLOT_SELECT), "calibrate", has_threshold, "beta is given", "leave out beta"},
    {AT(SLOT_CACHE), "admission", no_demand, "nothing is loaded on demand",
     "choose offload: fetch"},
    {AT(SLOT_CACHE), "admission", misses_nothing, "every expert is there from the start",
     "give fewer slots"},
    {AT(SLOT_CACHE), "protect", no_demand, "nothing is loaded on demand",
     "choose offload: fetch"},
    {AT(SLOT_CACHE), "protect", holds_all, "nothing is ever evicted", "give fewer slots"},
    {AT(SLOT_CACHE), "write_back", no_loads, "nothing is ever evicted",
     "choose offload: fetch"},
    {AT(SLOT_CACHE), "write_back", holds_all, "nothing is ever evicted",
     "give fewer slots"},
    {AT(SLOT_CACHE), "staging", no_demand,
     "nothing is loaded on demand, and the room stays empty", "choose offload: fetch"},
    {AT(SLOT_CACHE), "staging", keeps_all,
     "every expert that is loaded is kept, and the room stays empty",
     "choose protect: strict and fewer slots"},
    {AT(SLOT_CACHE), "staging", has_spares, "what is not kept goes through a spare slot",
     "leave out spare"},
    {AT(SLOT_CACHE), "spare", no_loads, "nothing is ever loaded",
     "choose offload: fetch"},
    {AT(SLOT_CACHE), "spare", misses_nothing, "every expert is there from the start",
     "give fewer slots"},
    {AT(SLOT_CACHE), "in_flight", no_demand, "nothing is loaded on demand",
     "choose offload: fetch"},
    {AT(SLOT_CACHE), "in_flight", misses_nothing, "every expert is there from the start",
     "give fewer slots"},
};

/* Keys of the configuration that only times depend on. */
static const char *const of_times[] = {"launch", "pageable", "chunk", "timeline_passes"};

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- looking ---- */

/* The mapping that a rule's setting may stand in, or NULL. */
static const struct cfg_node *mapping_of(const struct experiment *x, int where,
                                         uint32_t policy)
{
    const struct cfg_node *mapping;

    switch (where) {
    case AT_TOP:
        return x->root;
    case AT_WORKLOAD:
        return x->p.workload;
    case AT_PARALLEL:
        return x->p.parallel;
    default:
        mapping = cfg_item(x->p.policies, policy);
        if (!cfg_is_map(mapping))
            return NULL;
        if (where == AT_POLICY)
            return mapping;
        mapping =
            cfg_find(mapping, policy_slot_name((enum policy_slot)(where - AT_SLOTS)));
        return mapping != NULL && cfg_is_map(mapping) ? mapping : NULL;
    }
}

static bool fits(const struct rule *rule, const char *key)
{
    return rule->key == NULL ? strcmp(key, "name") != 0 : strcmp(rule->key, key) == 0;
}

static int say(const struct cfg_node *value, const char *key, const char *why,
               const char *cure, struct err *e)
{
    return cfg_error(value, e, "'%s' has no effect here: %s; leave it out, or %s", key,
                     why, cure);
}

/* Says with -1 why the setting is ignored by the first rule of `table` that tells. */
static int check_key(const struct setting *s, int where, const struct cfg_node *mapping,
                     size_t item, const struct rule *table, size_t rules, struct err *e)
{
    const char *key = cfg_key(mapping, item);

    for (size_t i = 0; i < rules; i++) {
        const struct rule *rule = &table[i];

        if (rule->where == where && fits(rule, key) && rule->is_ignored(s))
            return say(cfg_item(mapping, item), key, rule->why, rule->cure, e);
    }
    return 0;
}

/* The same by what the slot's plug-in declares. */
static int check_declared(const struct plugin *plugin, const struct cfg_node *mapping,
                          size_t item, struct err *e)
{
    const char *key = cfg_key(mapping, item);

    for (size_t i = 0; plugin->idle != NULL && plugin->idle[i] != NULL; i++) {
        if (strcmp(plugin->idle[i], key) == 0) {
            const char *slot = policy_slot_name(plugin->slot);
            char *why = mem_format("%s: %s has no use for it", slot, plugin->name);
            char *cure = mem_format("choose another %s", slot);

            (void)say(cfg_item(mapping, item), key, why, cure, e);
            free(why);
            free(cure);
            return -1;
        }
    }
    return 0;
}

typedef int visitor(const struct setting *s, int where, const struct cfg_node *mapping,
                    size_t item, void *context, struct err *e);

/* Visits every setting that a rule may be about, until one returns -1. */
static int visit_all(const struct experiment *x, visitor *visit, void *context,
                     struct err *e)
{
    for (int where = AT_TOP; where < AT(POLICY_SLOTS); where++) {
        for (uint32_t p = 0; p < (where < AT_POLICY ? 1 : x->policies); p++) {
            struct setting s = {x, where < AT_POLICY ? NULL : x->policy[p]};
            const struct cfg_node *mapping = mapping_of(x, where, p);

            for (size_t i = 0; mapping != NULL && i < cfg_count(mapping); i++)
                if (visit(&s, where, mapping, i, context, e) != 0)
                    return -1;
        }
    }
    return 0;
}

static int refuse(const struct setting *s, int where, const struct cfg_node *mapping,
                  size_t item, void *context, struct err *e)
{
    (void)context;
    return check_key(s, where, mapping, item, refused, COUNT(refused), e);
}

int ignored_refuse(struct experiment *x, struct err *e)
{
    return visit_all(x, refuse, NULL, e);
}

/* ---- notes ---- */

/* Appends a line to owned text. */
static char *add_line(char *text, const char *line)
{
    char *longer = mem_format("%s%s%s", text, *text == '\0' ? "" : "\n", line);

    free(text);
    return longer;
}

static char *note_times(const struct experiment *x, char *notes)
{
    char *line =
        mem_strdup("engine: count gives hits and bytes only; there are no times");
    const char *before = ", so that these settings have no effect: ";

    for (size_t i = 0; i < COUNT(of_times); i++) {
        char *longer;

        if (cfg_find(x->root, of_times[i]) == NULL)
            continue;
        longer = mem_format("%s%s%s", line, before, of_times[i]);
        free(line);
        line = longer;
        before = ", ";
    }
    notes = add_line(notes, line);
    free(line);
    return notes;
}

struct notes {
    char *text;
    size_t count;
};

enum { MOST_NOTES = 8 };

static int note(const struct setting *s, int where, const struct cfg_node *mapping,
                size_t item, void *context, struct err *e)
{
    struct notes *n = context;
    struct err why = {.text = ""};

    (void)e;
    if ((where < AT_SLOTS ||
         check_declared(s->policy->plugin[where - AT_SLOTS], mapping, item, &why) == 0) &&
        check_key(s, where, mapping, item, noted, COUNT(noted), &why) == 0)
        return 0;
    if (++n->count <= MOST_NOTES)
        n->text = add_line(n->text, why.text);
    return 0;
}

char *ignored_notes(const struct experiment *x)
{
    struct notes n = {.text = mem_strdup("")};
    struct err e = {.text = ""};

    if (x->p.engine == ENGINE_COUNT && x->hooks->executor == NULL)
        n.text = note_times(x, n.text);
    (void)visit_all(x, note, &n, &e);
    if (n.count > MOST_NOTES) {
        char *rest =
            mem_format("%zu more settings have no effect either", n.count - MOST_NOTES);

        n.text = add_line(n.text, rest);
        free(rest);
    }
    return n.text;
}

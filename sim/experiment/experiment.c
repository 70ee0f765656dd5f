#include "experiment.h"

#include "experiment_state.h"
#include "loops.h"
#include "models/catalogue.h"
#include "sim/policy/label.h"
#include "sim/base/mem.h"
#include "sim/workload/row_block.h"
#include "sim/base/text.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- loading ---- */

static int load_trace(struct experiment *x, struct err *e)
{
    x->trace_path = mem_strdup(x->p.trace);
    x->trace = shared_open_trace(x->hooks->shared, x->trace_path, e);
    if (x->trace == NULL)
        return -1;
    x->info = trace_get_info(x->trace);
    if (x->info->counts_only && !x->counted)
        return err_set(e,
                       "%s: holds only counts per expert (/load/count); replaying needs "
                       "/routing/expert, and only moesim run compares placements "
                       "by counts",
                       x->trace_path);
    return 0;
}

static int load_model(struct experiment *x, struct err *e)
{
    const struct cfg_node *given = x->p.model;
    char *changed;
    struct cfg *c = catalogue_load_changed(FILE_MODEL, given, x->info->model,
                                           x->folders->models, &changed, e);

    x->model = c == NULL ? NULL : model_from_cfg(c, e);
    cfg_free(c);
    free(changed);
    if (x->model == NULL)
        return cfg_locate(x->root, given != NULL ? "model" : "trace", e);
    if (x->hooks->element_bits > 0)
        x->model->expert_bits = x->model->dense_bits = x->model->activation_bits =
            x->hooks->element_bits;
    return 0;
}

/* A machine some of whose numbers the study replaced says so in its source. */
static int load_own_machine(struct experiment *x, struct err *e)
{
    char *changed;
    struct cfg *c = catalogue_load_changed(FILE_MACHINE, x->p.machine, NULL,
                                           x->folders->machines, &changed, e);
    struct machine *m = c == NULL ? NULL : machine_from_cfg(c, e);
    char *source;

    cfg_free(c);
    if (m != NULL && changed != NULL) {
        source = mem_format("%s; replaced by the study: %s", m->source, changed);
        free(m->source);
        m->source = source;
    }
    free(changed);
    x->own_machine = m;
    return m == NULL ? -1 : 0;
}

static int load_machine(struct experiment *x, struct err *e)
{
    if (x->hooks->machine == NULL && load_own_machine(x, e) != 0)
        return -1;
    x->machine = x->hooks->machine != NULL ? x->hooks->machine : x->own_machine;
    x->gpu_bytes = x->machine->gpu.memory_bytes;
    if (x->p.gpu_bytes > x->gpu_bytes)
        return err_set_key(
            e, "gpu_memory",
            "gpu_memory is %s, but a GPU of %s has %s; give less, or another machine",
            text_sizes(x->p.gpu_bytes, x->gpu_bytes).a, x->machine->name,
            text_sizes(x->p.gpu_bytes, x->gpu_bytes).b);
    if (x->p.gpu_bytes > 0)
        x->gpu_bytes = x->p.gpu_bytes;
    return 0;
}

static int load_parallel(struct experiment *x, struct err *e)
{
    x->is_parallel = x->p.parallel != NULL;
    if (!x->is_parallel)
        return 0;
    if (cfg_bind(x->p.parallel, parallel_options, &x->parallel, e) != 0 ||
        parallel_topology(x->machine, &x->parallel, &x->topology, e) != 0)
        return -1;
    if (x->hooks->executor != NULL)
        return err_set(e,
                       "parallel: several GPUs are only simulated so far; leave it out "
                       "to execute");
    if (x->machine->unified)
        return err_set(e, "parallel: host and GPU of %s are one; choose another machine",
                       x->machine->name);
    return 0;
}

static int check_model(struct experiment *x, struct err *e)
{
    const struct trace_info *t = x->info;
    const struct model *m = x->model;

    if (t->layers != m->moe_layers || t->experts != m->experts)
        return err_set(e,
                       "%s: has %u MoE layers of %u experts, but model %s has %u of %u; "
                       "name the trace's model with model: NAME",
                       x->trace_path, t->layers, t->experts, m->name, m->moe_layers,
                       m->experts);
    for (uint32_t l = 0; l < t->layers; l++) {
        if (!model_layer_is_moe(m, t->moe_layer[l]) || t->moe_layer[l] >= m->layers)
            return err_set(e,
                           "%s: /moe_layer names decoder layer %u, which is no MoE layer "
                           "of model %s",
                           x->trace_path, t->moe_layer[l], m->name);
    }
    return 0;
}

static void size_experts(struct experiment *x)
{
    uint32_t layers = x->info->layers;
    const uint64_t *recorded = x->hooks->element_bits > 0 ? NULL : x->info->expert_bytes;

    x->expert_bytes = mem_alloc(layers, sizeof *x->expert_bytes);
    for (uint32_t l = 0; l < layers; l++) {
        x->expert_bytes[l] =
            recorded != NULL ? recorded[l] : model_expert_bytes(x->model);
        x->expert_total_bytes += x->expert_bytes[l] * x->info->experts;
    }
}

/* Where the experts live that are not in GPU memory. */
static int find_home(struct experiment *x, struct err *e)
{
    const struct machine *m = x->machine;
    uint64_t host = x->p.host_bytes > 0 ? x->p.host_bytes : m->host.memory_bytes;

    size_experts(x);
    if (x->is_parallel) /* every node's */
        host *= x->topology.nodes;

    x->host_bytes = UINT64_MAX;
    if (x->p.home == HOME_STORAGE || (x->p.home == HOME_AUTO && m->unified)) {
        if (!m->has_storage)
            return err_set_key(e, "home",
                               "machine %s has no storage to keep experts in; choose "
                               "home: host, or a machine with storage",
                               m->name);
        x->home = TIER_STORAGE;
        return 0;
    }
    x->home = TIER_HOST;
    if (x->expert_total_bytes <= host)
        return 0;
    if (x->p.home == HOME_HOST || !m->has_storage)
        return err_set(
            e,
            "the experts of %s take %s, but %s has %s of host memory; give it more with "
            "host_memory, or use a machine with storage",
            x->model->name, text_sizes(x->expert_total_bytes, host).a, m->name,
            text_sizes(x->expert_total_bytes, host).b);
    x->host_bytes = host;
    return 0;
}

/* ---- policies ---- */

static int by_label(const void *a, const void *b)
{
    const struct policy *const *p = a, *const *q = b;

    return strcmp((*p)->label, (*q)->label);
}

static int check_labels(const struct experiment *x, struct err *e)
{
    const struct policy **sorted = mem_alloc(x->policies, sizeof *sorted);
    int status = 0;

    memcpy(sorted, x->policy, x->policies * sizeof *sorted);
    qsort(sorted, x->policies, sizeof *sorted, by_label);
    for (uint32_t i = 1; i < x->policies && status == 0; i++) {
        if (by_label(&sorted[i - 1], &sorted[i]) == 0)
            status = cfg_error(sorted[i]->node, e,
                               "two policies are called '%s', and differ in nothing; "
                               "take one out, or give it another 'name'",
                               sorted[i]->label);
    }
    free(sorted);
    return status;
}

static int load_policies(struct experiment *x, struct err *e)
{
    const struct cfg_node *list = x->p.policies;

    if (!cfg_is_list(list) || cfg_count(list) == 0)
        return cfg_error(list, e,
                         "'policies' is no list; expected one or more policies, such as "
                         "[{preset: s3fifo, cache: {slots: 4}}]");
    x->policy = mem_zalloc(cfg_count(list), sizeof *x->policy);
    for (size_t i = 0; i < cfg_count(list); i++) {
        x->policy[i] = policy_from_node(cfg_item(list, i), x->folders->presets, e);
        if (x->policy[i] == NULL)
            return -1;
        x->policies++;
    }
    policy_tell_apart(x->policy, x->policies);
    return check_labels(x, e);
}

static int load_watch(struct experiment *x, struct err *e)
{
    if (x->p.watch != NULL && (x->hooks->executor != NULL || x->hooks->element_bits > 0))
        return cfg_error(
            x->p.watch, e,
            "'watch' is for predicted runs: on a device its questions would change what "
            "is measured; leave it out");
    return watching_read(&x->watch, x->p.watch, x->folders->presets, e);
}

/* ---- the whole ---- */

/* Whether passes depend on time, and how large they get. */
static int size_workload(struct experiment *x, struct err *e)
{
    uint32_t homes =
        x->is_parallel ? x->topology.ranks / parallel_tensor(&x->parallel) : 1;
    struct workload *probe = workload_new(x->trace, x->model, &x->workload, false, false,
                                          (uint64_t)x->p.seed, e);

    if (probe == NULL)
        return -1;
    x->timeless = workload_is_timeless(probe);
    x->rows_total = workload_rows_total(probe);
    x->requests = workload_request_count(probe);
    workload_free(probe);
    if (x->hooks->timeless && !x->timeless)
        return err_set_key(e, "workload.arrivals",
                           "its passes depend on time, so that predicted and measured "
                           "passes would not be the same; choose arrivals: closed");
    if (x->p.engine == ENGINE_COUNT && !x->timeless)
        return err_set_key(
            e, "engine",
            "which rows a pass has depends on time here, and engine: count "
            "has no times; choose arrivals: closed, or engine: auto");
    return workload_measure(x->trace, x->model, &x->workload, homes, (uint64_t)x->p.seed,
                            &x->sizes, e);
}

/* Of the first policy of an order of accesses, which serves for all of them. */
struct look_ahead {
    struct experiment *x;
    const struct policy *policy;
};

static void *make_look_ahead(void *context, struct err *e)
{
    const struct look_ahead *l = context;

    return job_look_ahead(l->x, l->policy, NULL, e);
}

static void free_look_ahead(void *value)
{
    future_free(value);
}

static const struct shared_kind look_aheads = {make_look_ahead, free_look_ahead};

int experiment_look_ahead(struct experiment *x, const struct policy *p, struct err *e)
{
    enum cache_order order = cache_order_ahead(&p->cache);
    struct future **future = &x->future[order];
    char *text;

    if (*future != NULL)
        return 0;
    text = mem_format("%d %s", (int)order, x->routing_text);
    *future =
        shared_take(x->hooks->shared, &look_aheads, text, &(struct look_ahead){x, p}, e);
    free(text);
    return *future == NULL ? -1 : 0;
}

static int look_ahead(struct experiment *x, struct err *e)
{
    int status = 0;

    if (x->is_parallel || !x->timeless ||
        (!x->p.bounds && (experiment_needs(x) & NEED_FUTURE) == 0))
        return 0;
    for (uint32_t i = 0; i < x->policies && status == 0; i++) {
        if (!x->policy[i]->dense && job_takes_recorded(x->policy[i]))
            status = experiment_look_ahead(x, x->policy[i], e);
    }
    return status;
}

/* Says beforehand what will take much memory or time. */
static int estimate(struct experiment *x, struct err *e)
{
    enum { MANY_GPUS = 512 };
    const uint64_t much = UINT64_C(1) << 30;
    const struct rows_shape shape = {
        .trace = x->trace,
        .experts = (size_t)x->info->layers * x->info->candidates,
        .scores = x->scores ? (size_t)x->info->layers * x->info->candidates : 0,
        .predicted = x->predicted ? (size_t)x->info->layers * x->info->predicted : 0};
    const uint64_t rows = x->sizes.rows, most = ROWS_MAX_BYTES / rows_bytes(&shape);
    char text[256];

    if (rows > most)
        return rows_reserve(&(struct rows){.capacity = 0}, &shape, rows, e);
    if (x->hooks->note == NULL)
        return 0;
    if (rows * rows_bytes(&shape) >= much) {
        (void)snprintf(text, sizeof text,
                       "a pass of %s rows takes about %s of memory for each thread; "
                       "workload.token_budget cuts it",
                       text_count((double)rows).text,
                       text_bytes(1.5 * (double)(rows * rows_bytes(&shape))).text);
        x->hooks->note(text);
    }
    if (x->is_parallel && x->topology.ranks > MANY_GPUS) {
        (void)snprintf(text, sizeof text,
                       "exchanges between all pairs of %u GPUs take time that grows with "
                       "the square of their number: about %.0f times that of %d",
                       x->topology.ranks,
                       (double)x->topology.ranks * x->topology.ranks / MANY_GPUS /
                           MANY_GPUS,
                       MANY_GPUS);
        x->hooks->note(text);
    }
    return 0;
}

/* The keys that are listed, or all others, with what is below them. */
static char *dump_keys(const struct cfg_node *root, const char *const *keys, bool listed)
{
    char *text = mem_strdup("");

    for (size_t i = 0; i < cfg_count(root); i++) {
        const char *key = cfg_key(root, i);
        const char *const *found = keys;
        struct cfg *part;
        char *value, *longer;

        while (*found != NULL && strcmp(*found, key) != 0)
            found++;
        if ((*found != NULL) != listed)
            continue;
        part = cfg_copy(cfg_item(root, i));
        value = cfg_dump(part);
        longer = mem_format("%s%s: %s", text, key, value);
        cfg_free(part);
        free(value);
        free(text);
        text = longer;
    }
    return text;
}

/* What the routing of every pass depends on, and what the runs of all but the policies'
 * own do: texts under which they are shared. */
static void name_shared(struct experiment *x)
{
    static const char *const routing[] = {"trace", "model", "workload", "seed", NULL};
    static const char *const own[] = {"policies", "passes", "timeline_passes", "watch",
                                      NULL};

    x->routing_text = dump_keys(x->root, routing, true);
    x->frame_text = dump_keys(x->root, own, false);
}

static int bind(struct experiment *x, struct err *e)
{
    static const char *const many[] = {"sweep", "tune"};

    for (size_t i = 0; i < sizeof many / sizeof *many; i++) {
        const struct cfg_node *n = cfg_find(x->root, many[i]);

        if (n != NULL)
            return cfg_error(n, e,
                             "'%s' stands for many runs; run them with moesim %s, or "
                             "take it out",
                             many[i], many[i]);
    }
    if (cfg_bind(x->root, experiment_options, &x->p, e) != 0)
        return -1;
    name_shared(x);
    return cfg_bind(x->p.workload, workload_options, &x->workload, e);
}

/* When a step is taken: always, or only where a bit here says so. */
enum { READS = 1 /* a run, of what reads the trace */, ROWS = 2, COUNTS = 4 };

/* Loads and checks part after part; a fault is written under `key` unless its sentence
 * knows better. NULL: only such a sentence is about the configuration. */
static const struct step {
    int (*take)(struct experiment *x, struct err *e);
    const char *key;
    unsigned when;
} steps[] = {
    {bind, NULL, 0},
    {load_trace, "trace", 0},
    {load_model, "model", 0},
    {load_machine, "machine", 0},
    {load_parallel, "parallel", 0},
    {check_model, "model", 0},
    {find_home, "host_memory", 0},
    {load_policies, "policies", 0},
    {given_maps, "policies", 0},
    {load_watch, "watch", ROWS},
    {counted_check, NULL, COUNTS},
    {size_workload, NULL, ROWS},
    {experiment_check_policies, "policies", 0},
    {estimate, NULL, ROWS},
    {given_profile, "profile", READS},
    {ignored_refuse, NULL, 0},
    {look_ahead, NULL, READS | ROWS},
};

int experiment_prepare(struct experiment *x, struct cfg *config, bool reads,
                       struct err *e)
{
    if (loops_expand(config, e) != 0)
        return -1;
    x->root = cfg_root(config);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        if (((steps[i].when & READS) != 0 && !reads) ||
            (steps[i].when & (x->counted ? ROWS : COUNTS)) != 0 ||
            steps[i].take(x, e) == 0)
            continue;
        if (steps[i].key == NULL && err_key(e) == NULL)
            return -1;
        return cfg_locate(x->root, steps[i].key, e);
    }
    return 0;
}

void experiment_release(struct experiment *x)
{
    given_release(x);
    watching_release(&x->watch);
    for (uint32_t i = 0; i < x->policies; i++)
        policy_free(x->policy[i]);
    free(x->policy);
    free(x->expert_bytes);
    for (int order = 0; order < CACHE_ORDERS; order++)
        shared_give_back(x->hooks->shared, &look_aheads, x->future[order]);
    free(x->routing_text);
    free(x->frame_text);
    model_free(x->model);
    machine_free(x->own_machine);
    trace_close(x->trace);
    free(x->trace_path);
    timeline_abandon(x->timeline);
}

int experiment_run(struct cfg *config, const struct experiment_folders *folders,
                   unsigned threads, const struct experiment_hooks *hooks,
                   struct result *r, struct err *e)
{
    struct experiment x = {.hooks = hooks, .folders = folders};
    int status = -1;

    assert(hooks->shared == NULL || (hooks->executor == NULL && hooks->machine == NULL &&
                                     hooks->element_bits == 0));
    if (experiment_prepare(&x, config, true, e) == 0) {
        if (hooks->executor != NULL) {
            x.p.bounds = false;
            threads = 1;
        }
        if (hooks->timeline_path != NULL)
            x.timeline = timeline_new(hooks->timeline_path, e);
        if (hooks->timeline_path == NULL || x.timeline != NULL)
            status = plan_run(&x, config, threads, r, e);
    }
    experiment_release(&x);
    return status;
}

static struct experiment_facts facts_of(const struct experiment *x)
{
    const struct workload_params *w = &x->workload;
    struct experiment_facts f = {.requests = x->requests,
                                 .most = (uint64_t)w->max_passes,
                                 .longest = x->sizes.longest,
                                 .kv_bytes = x->kv_bytes};

    if (w->mode == WORKLOAD_STATIC)
        f.together = (uint64_t)w->batch;
    else if (w->mode == WORKLOAD_CONTINUOUS)
        f.together = (uint64_t)w->max_sequences;
    else
        f.recorded = x->info->passes;
    for (uint32_t i = 0; i < x->policies; i++)
        f.foresees = f.foresees || policy_foresees(x->policy[i]) || x->policy[i]->dense;
    return f;
}

int experiment_check(struct cfg *config, const struct experiment_folders *folders,
                     struct experiment_facts *facts, struct err *e)
{
    static const struct experiment_hooks none = {.progress = NULL};
    struct experiment x = {.hooks = &none, .folders = folders};
    int status = experiment_prepare(&x, config, false, e);

    if (facts != NULL)
        *facts = status == 0 ? facts_of(&x) : (struct experiment_facts){.tight = x.tight};
    experiment_release(&x);
    return status;
}

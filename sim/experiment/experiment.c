#include "experiment.h"

#include "experiment_state.h"
#include "sim/base/mem.h"
#include "sim/workload/row_block.h"
#include "sim/base/text.h"

#include <stdlib.h>
#include <string.h>

/* ---- loading ---- */

static int load_trace(struct experiment *x, struct err *e)
{
    x->trace_path = mem_strdup(x->p.trace);
    x->trace = trace_open(x->trace_path, NULL, e);
    if (x->trace == NULL)
        return -1;
    x->info = trace_get_info(x->trace);
    if (x->info->counts_only)
        return err_set(e,
                       "%s: holds only counts per expert (/load/count); replaying needs "
                       "/routing/expert",
                       x->trace_path);
    return 0;
}

static int load_model(struct experiment *x, struct err *e)
{
    const char *model = *x->p.model != '\0' ? x->p.model : x->info->model;

    x->model = model_load(model, x->folders->models, e);
    if (x->model == NULL)
        return cfg_locate(x->root, *x->p.model != '\0' ? "model" : "trace", e);
    if (x->hooks->element_bits > 0)
        x->model->expert_bits = x->model->dense_bits = x->model->activation_bits =
            x->hooks->element_bits;
    return 0;
}

static int load_machine(struct experiment *x, struct err *e)
{
    if (x->hooks->machine == NULL)
        x->own_machine = machine_load(x->p.machine, x->folders->machines, e);
    x->machine = x->hooks->machine != NULL ? x->hooks->machine : x->own_machine;
    if (x->machine == NULL)
        return -1;
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
                               "two policies are called '%s'; give one another 'name'",
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
    return check_labels(x, e);
}

/* ---- the profile ---- */

/* Enters a row in the profile and in one of its samples. */
static void profile_row(struct experiment *x, const uint16_t *choice, uint64_t sample)
{
    const struct trace_info *t = x->info;
    size_t cells = (size_t)t->layers * t->experts;
    uint64_t *total = x->profile;
    uint32_t *part = x->history == NULL ? NULL : x->history + sample * cells;

    for (uint32_t l = 0; l < t->layers; l++) {
        for (uint32_t k = 0; k < t->top_k; k++) {
            if (choice[k] == TRACE_NOT_RECORDED)
                continue;
            total[choice[k]]++;
            if (part != NULL)
                part[choice[k]]++;
        }
        choice += t->candidates;
        total += t->experts;
        part = part == NULL ? NULL : part + t->experts;
    }
}

/* Tokens of each expert over a whole trace: what a profile knows. */
static int load_profile(struct experiment *x, struct err *e)
{
    enum { BLOCK = 256, MOST_SAMPLES = 64 };
    const char *path = *x->p.profile != '\0' ? x->p.profile : x->trace_path;
    const struct trace_info *t = x->info;
    uint32_t width = t->layers * t->candidates;
    uint16_t *expert;
    struct trace *profile = trace_open(path, NULL, e);
    uint64_t rows;
    int status = 0;

    if (profile == NULL)
        return -1;
    rows = trace_get_info(profile)->rows;
    if (trace_get_info(profile)->layers != t->layers ||
        trace_get_info(profile)->experts != t->experts ||
        trace_get_info(profile)->candidates != t->candidates) {
        trace_close(profile);
        return err_set(e, "%s: is of another shape than %s; profile with the same model",
                       path, x->trace_path);
    }
    x->profile = mem_zalloc((size_t)t->layers * t->experts, sizeof *x->profile);
    if (x->is_parallel) {
        x->samples = rows < MOST_SAMPLES ? (uint32_t)rows : MOST_SAMPLES;
        x->history =
            mem_zalloc((size_t)x->samples * t->layers * t->experts, sizeof *x->history);
    }
    expert = mem_alloc((size_t)width * BLOCK, sizeof *expert);
    for (uint64_t row = 0; row < rows && status == 0;) {
        uint64_t left = rows - row;
        uint64_t count = left < BLOCK ? left : BLOCK;

        status = trace_read_expert(profile, row, count, expert, e);
        for (uint64_t i = 0; status == 0 && i < count; i++)
            profile_row(x, expert + i * width,
                        x->history == NULL ? 0 : (row + i) * x->samples / rows);
        row += count;
    }
    free(expert);
    trace_close(profile);
    return status;
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

static unsigned union_of_needs(const struct experiment *x)
{
    unsigned needs = 0;

    for (uint32_t i = 0; i < x->policies; i++)
        needs |= policy_needs(x->policy[i]);
    return needs;
}

static int find_profile(struct experiment *x, struct err *e)
{
    return (union_of_needs(x) & NEED_PROFILE) != 0 ? load_profile(x, e) : 0;
}

static int look_ahead(struct experiment *x, struct err *e)
{
    if (x->is_parallel || !x->timeless ||
        (!x->p.bounds && (union_of_needs(x) & NEED_FUTURE) == 0))
        return 0;
    /* The first policy of each order of accesses that takes routing as it is recorded
     * serves for all of them. */
    for (uint32_t i = 0; i < x->policies; i++) {
        struct future **future = &x->future[x->policy[i]->cache.order];

        if (policy_does(x->policy[i], ACT_REROUTE) || *future != NULL)
            continue;
        *future = job_look_ahead(x, x->policy[i], NULL, e);
        if (*future == NULL)
            return -1;
    }
    return 0;
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

static int bind(struct experiment *x, struct err *e)
{
    if (cfg_bind(x->root, experiment_options, &x->p, e) != 0)
        return -1;
    return cfg_bind(x->p.workload, workload_options, &x->workload, e);
}

/* Loads and checks part after part; a fault is written under `key` unless its sentence
 * knows better. NULL: only such a sentence is about the configuration. */
int experiment_prepare(struct experiment *x, struct err *e)
{
    static const struct {
        int (*take)(struct experiment *x, struct err *e);
        const char *key;
    } steps[] = {
        {bind, NULL},
        {load_trace, "trace"},
        {load_model, "model"},
        {load_machine, "machine"},
        {load_parallel, "parallel"},
        {check_model, "model"},
        {find_home, "host_memory"},
        {load_policies, "policies"},
        {size_workload, NULL},
        {experiment_check_policies, "policies"},
        {estimate, NULL},
        {find_profile, "profile"},
        {ignored_refuse, NULL},
        {look_ahead, NULL},
    };

    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        if (steps[i].take(x, e) == 0)
            continue;
        if (steps[i].key == NULL && err_key(e) == NULL)
            return -1;
        return cfg_locate(x->root, steps[i].key, e);
    }
    return 0;
}

void experiment_release(struct experiment *x)
{
    for (uint32_t i = 0; i < x->policies; i++)
        policy_free(x->policy[i]);
    free(x->policy);
    free(x->profile);
    free(x->history);
    free(x->expert_bytes);
    for (int order = 0; order < CACHE_ORDERS; order++)
        future_free(x->future[order]);
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
    struct experiment x = {.hooks = hooks, .folders = folders, .root = cfg_root(config)};
    int status = -1;

    if (experiment_prepare(&x, e) == 0) {
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

/* What an experiment runs, the references its bounds need, and the result of it all. */
#include "bounds.h"
#include "experiment_state.h"
#include "sim/result/result_links.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

/* A policy's run over several GPUs. It was checked that it can be planned. */
static void set_up_parallel(struct job *job)
{
    const struct experiment *x = job->x;
    struct model model = experiment_model(x, &job->policy);
    struct cost whole = {.model = &model, .machine = x->machine};
    struct err ignored = {.text = ""};

    job->parallel = mem_zalloc(1, sizeof *job->parallel);
    (void)parallel_setup_init(job->parallel, &job->policy, &x->parallel, &x->topology,
                              &whole, x->info, x->expert_bytes, &ignored);
    job->parallel->run.history = x->history;
    job->parallel->run.samples = x->samples;
    if (x->p.launch == LAUNCH_AUTO)
        job->graph = job->parallel->may_graph;
    job->parallel->cost.graph = job->graph;
    job->event_driven = x->p.engine == ENGINE_EVENT || job->parallel->event_driven;
}

static struct job *make_job(struct experiment *x, const struct policy *p)
{
    struct job *job = mem_zalloc(1, sizeof *job);

    job->x = x;
    job->policy = *p;
    job->process = -1;
    job->graph = x->p.launch == LAUNCH_GRAPH;
    if (x->p.launch == LAUNCH_AUTO)
        job->graph = !job_reads_routing(x, p) && x->machine->host.expert_overhead == 0;
    job->event_driven = x->p.engine == ENGINE_EVENT ||
                        (x->p.engine == ENGINE_AUTO && policy_copies_aside(p));
    if (x->is_parallel)
        set_up_parallel(job);
    return job;
}

/* The options that all plug-ins of a slot share; NULL where one GPU has no use for them.
 */
static const struct option *shared_options(const struct experiment *x,
                                           const struct policy *p, enum policy_slot slot)
{
    bool usual = p->schedule.experts == EXPERTS_GROUPED && !p->schedule.empty;

    if (slot == SLOT_SELECT && policy_select(p)->apply == NULL)
        return NULL;
    if (!x->is_parallel && (slot == SLOT_PLACE || (slot == SLOT_SCHEDULE && usual)))
        return NULL;
    return policy_shared_options(slot);
}

/* A slot's plug-in and all its options, as text. */
static char *describe_slot(const struct experiment *x, const struct policy *p,
                           enum policy_slot slot)
{
    const struct plugin *plugin = p->plugin[slot];
    const struct option *shared = shared_options(x, p, slot);
    char *own, *common, *text;

    if (p->dense)
        return mem_strdup("none");
    own = cfg_describe(plugin->options, p->params[slot]);
    common = shared == NULL ? NULL : cfg_describe(shared, policy_shared_params(p, slot));
    text = mem_format("%s%s%s%s%s", plugin->name, common == NULL ? "" : " ",
                      common == NULL ? "" : common, *own == '\0' ? "" : " ", own);

    free(own);
    free(common);
    return text;
}

/* Every expert resident and nothing to decide: the least compute time of all policies
 * that launch their kernels so. */
static struct policy ideal_of(const struct experiment *x, const struct policy *p)
{
    struct policy ideal = *p;

    ideal.plugin[SLOT_CACHE] = registry_find(SLOT_CACHE, "lru");
    ideal.params[SLOT_CACHE] = NULL;
    ideal.plugin[SLOT_PREFETCH] = registry_find(SLOT_PREFETCH, "none");
    ideal.plugin[SLOT_SCHEDULE] = registry_find(SLOT_SCHEDULE, "overlapped");
    ideal.cache = (struct cache_params){.scope = CACHE_PER_LAYER,
                                        .slots = x->info->experts,
                                        .preload = CACHE_PRELOAD_LINEAR,
                                        .staging = 1};
    return ideal;
}

/* Kernels from a graph are never later than the same ones launched one by one, so that
 * only those need to be looked at for the least. */
static bool is_graph_least(const struct machine *m)
{
    return m->host.graph_launch <= m->host.launch_eager &&
           m->host.launch_graph <= m->gpu.kernel_floor;
}

/* The policy's capacity and schedule under Belady's choices, fetched on demand. */
static struct policy belady_of(const struct policy *p)
{
    struct policy belady = *p;

    belady.plugin[SLOT_CACHE] = registry_find(SLOT_CACHE, "belady-bypass");
    belady.params[SLOT_CACHE] = NULL;
    belady.plugin[SLOT_PREFETCH] = registry_find(SLOT_PREFETCH, "none");
    belady.cache.admission = CACHE_ADMIT_ALWAYS;
    return belady;
}

/* The same policy over a network that takes no time. */
static struct job *make_free(struct experiment *x, const struct policy *p)
{
    struct job *job = make_job(x, p);

    job->reference = true;
    job->network = NETWORK_FREE;
    return job;
}

/* A run's rows spread evenly over GPUs that hold all their experts, without padding, and
 * their bytes over the ports; launched alike. */
static struct job *make_balanced(struct experiment *x, const struct job *of)
{
    const struct policy *p = &of->policy;
    struct policy even = *p;
    struct job *job;

    even.plugin[SLOT_CACHE] = registry_find(SLOT_CACHE, "lru");
    even.params[SLOT_CACHE] = NULL;
    even.plugin[SLOT_PREFETCH] = registry_find(SLOT_PREFETCH, "none");
    even.cache.order = CACHE_ORDER_ID;
    even.cache.write_back = false;
    even.cache.scope = CACHE_PER_LAYER;
    even.cache.slots = x->info->experts;
    if (p->place.slots > even.cache.slots) /* replicas can be more, even on one GPU */
        even.cache.slots = p->place.slots;
    even.cache.bytes = 0;
    even.cache.preload = CACHE_PRELOAD_LINEAR;
    job = make_job(x, &even);
    job->reference = true;
    job->network = NETWORK_EVEN;
    job->parallel->run.balanced = true;
    job->parallel->cost.graph = job->graph = of->graph;
    job->parallel->cost.least = true;
    job->event_driven = false;
    return job;
}

/* Whether references say what time it could have taken at best: what runs in place, or in
 * fewer bits, and what is chosen by what is resident, would be other work with every
 * expert resident. */
static bool has_time_bounds(const struct policy *p)
{
    return !p->dense && !policy_does(p, ACT_IN_PLACE) && !policy_does(p, ACT_RESIDENCY) &&
           !policy_does(p, ACT_LOWER);
}

/* Whether there is any bound: experts of two sizes have none on hits either. */
static bool has_bounds(const struct policy *p)
{
    return !p->dense && !policy_does(p, ACT_LOWER);
}

enum reference { REFERENCE_GRAPH, REFERENCE_EAGER, REFERENCE_BELADY, REFERENCES };

/* The runs of an experiment and which of them each policy's bounds come from. */
struct plan {
    struct job **job; /* the policies' first, then references */
    char **text; /* what each one is, of those that serve several policies; or NULL */
    size_t count;
    struct job **reference[REFERENCES];    /* [policies]; NULL entries without */
    struct job **balanced, **free_network; /* ... of several GPUs */
    struct bounds_counts *bounds;          /* [policies] */
};

static char *describe_reference(const struct experiment *x, const struct policy *p,
                                enum reference kind)
{
    char *text = mem_format("%d", (int)kind);

    for (int slot = 0; slot < POLICY_SLOTS; slot++) {
        char *part = describe_slot(x, p, (enum policy_slot)slot);
        char *longer = mem_format("%s; %s", text, part);

        free(part);
        free(text);
        text = longer;
    }
    return text;
}

/* The run of a reference: one that is planned already, if that is the same to the last
 * option and routed as recorded, else a new one. */
static struct job *find_reference(struct plan *plan, struct experiment *x,
                                  const struct policy *p, enum reference kind)
{
    char *text = policy_does(p, ACT_REROUTE) ? NULL : describe_reference(x, p, kind);
    struct job *job;

    for (size_t i = x->policies; text != NULL && i < plan->count; i++) {
        if (plan->text[i] != NULL && strcmp(plan->text[i], text) == 0) {
            free(text);
            return plan->job[i];
        }
    }
    job = make_job(x, p);
    job->reference = true;
    if (kind != REFERENCE_BELADY) {
        job->ideal = true;
        job->graph = kind == REFERENCE_GRAPH;
        job->event_driven = false;
    }
    if (text != NULL && x->hooks->shared != NULL)
        job->shared_as = mem_format("%s\n%s", text, x->frame_text);
    plan->text[plan->count] = text;
    plan->job[plan->count++] = job;
    return job;
}

/* What the bounds on time of policy i need, on one GPU. */
static void plan_references(struct plan *plan, struct experiment *x, uint32_t i)
{
    struct policy ideal = ideal_of(x, x->policy[i]), belady = belady_of(x->policy[i]);

    if (!has_time_bounds(x->policy[i]))
        return;
    plan->reference[REFERENCE_GRAPH][i] =
        find_reference(plan, x, &ideal, REFERENCE_GRAPH);
    if (!is_graph_least(x->machine))
        plan->reference[REFERENCE_EAGER][i] =
            find_reference(plan, x, &ideal, REFERENCE_EAGER);
    plan->reference[REFERENCE_BELADY][i] =
        find_reference(plan, x, &belady, REFERENCE_BELADY);
}

/* Gives a job its processes in the timeline: one, or one for each of the first GPUs. */
static void draw(struct experiment *x, struct job *job)
{
    enum { MOST_DRAWN = 16 };

    if (!x->is_parallel) {
        job->process = timeline_add_process(x->timeline, job->policy.label);
        return;
    }
    job->watcher = mem_zalloc(x->topology.ranks, sizeof *job->watcher);
    for (uint32_t i = 0; i < x->topology.ranks && i < MOST_DRAWN; i++) {
        char *label = mem_format("%s, GPU %u", job->policy.label, i);

        job->watcher[i] = (struct watcher){job, timeline_add_process(x->timeline, label)};
        free(label);
    }
}

static void plan_init(struct plan *plan, struct experiment *x)
{
    bool bounds = x->p.bounds && x->p.engine != ENGINE_COUNT;
    size_t most = (1 + REFERENCES) * (size_t)x->policies;

    plan->job = mem_zalloc(most, sizeof *plan->job);
    plan->text = mem_zalloc(most, sizeof *plan->text);
    for (int kind = 0; kind < REFERENCES; kind++)
        plan->reference[kind] = mem_zalloc(x->policies, sizeof *plan->reference[kind]);
    plan->balanced = mem_zalloc(x->policies, sizeof *plan->balanced);
    plan->free_network = mem_zalloc(x->policies, sizeof *plan->free_network);
    plan->bounds = mem_zalloc(x->policies, sizeof *plan->bounds);
    for (uint32_t i = 0; i < x->policies; i++) {
        struct job *job = make_job(x, x->policy[i]);

        job->number = i;
        if (x->p.bounds && !x->is_parallel && has_bounds(x->policy[i]))
            job->bounds = &plan->bounds[i];
        if (x->timeline != NULL)
            draw(x, job);
        plan->job[plan->count++] = job;
    }
    for (uint32_t i = 0; bounds && x->timeless && i < x->policies; i++) {
        if (x->is_parallel && !has_time_bounds(x->policy[i]))
            continue;
        if (x->is_parallel) {
            plan->job[plan->count++] = plan->balanced[i] = make_balanced(x, plan->job[i]);
            plan->job[plan->count++] = plan->free_network[i] = make_free(x, x->policy[i]);
            continue;
        }
        plan_references(plan, x, i);
    }
}

static void plan_release(struct plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        run_result_release(&plan->job[i]->result);
        if (plan->job[i]->parallel != NULL)
            parallel_setup_release(plan->job[i]->parallel);
        free(plan->job[i]->parallel);
        free(plan->job[i]->watcher);
        free(plan->job[i]->shared_as);
        free(plan->job[i]);
        free(plan->text[i]);
    }
    free(plan->job);
    free(plan->text);
    for (int kind = 0; kind < REFERENCES; kind++)
        free(plan->reference[kind]);
    free(plan->balanced);
    free(plan->free_network);
    free(plan->bounds);
}

static sim_time least_copy_time(const struct experiment *x, uint64_t bytes)
{
    const struct machine *m = x->machine;
    double slowest =
        x->p.pageable ? m->h2d_pageable.bytes_per_s : m->h2d_pinned.bytes_per_s;

    if (m->unified && x->home == TIER_HOST)
        return 0;
    if (x->home == TIER_STORAGE)
        slowest = m->unified || m->storage_read.bytes_per_s < slowest
                      ? m->storage_read.bytes_per_s
                      : slowest;
    return sim_time_of_seconds((double)bytes / slowest);
}

/* What a reference took, or the run itself where that was sooner: with copies in the
 * background, which are there when they are, the two are not placed alike. */
static sim_time reference_time(const struct job *run, const struct job *reference)
{
    sim_time time = reference->result.total.latency, own = run->result.total.latency;

    return run->policy.place.migrate == PLACE_BACKGROUND && own < time ? own : time;
}

static void fill_parallel_bounds(const struct plan *plan, uint32_t i,
                                 struct result_bounds *b)
{
    const struct job *balanced = plan->balanced[i], *wire = plan->free_network[i];

    b->belady_hits = RESULT_NONE;
    b->present = balanced != NULL && balanced->result.finished && wire->result.finished;
    if (!b->present)
        return;
    b->balanced = reference_time(plan->job[i], balanced);
    b->free_network = reference_time(plan->job[i], wire);
}

static bool is_done(const struct job *job)
{
    return job != NULL && job->result.finished;
}

static void fill_bounds(const struct experiment *x, const struct plan *plan, uint32_t i,
                        struct result_bounds *b)
{
    const struct job *graph = plan->reference[REFERENCE_GRAPH][i];
    const struct job *eager = plan->reference[REFERENCE_EAGER][i];
    const struct job *belady = plan->reference[REFERENCE_BELADY][i];

    b->present = x->p.bounds && plan->job[i]->result.finished && has_bounds(x->policy[i]);
    if (!b->present)
        return;
    if (x->is_parallel) {
        fill_parallel_bounds(plan, i, b);
        return;
    }
    b->belady_hits = plan->bounds[i].hits;
    if (policy_does(&plan->job[i]->policy, ACT_IN_PLACE))
        return;
    b->belady_bytes = plan->bounds[i].load_bytes;
    b->copy = least_copy_time(x, b->belady_bytes);
    if (is_done(graph) && (eager == NULL || is_done(eager))) {
        b->compute = graph->result.total.latency;
        if (eager != NULL && eager->result.total.latency < b->compute)
            b->compute = eager->result.total.latency;
        b->offline = b->compute > b->copy ? b->compute : b->copy;
    }
    if (is_done(belady)) {
        b->belady_time = belady->result.total.latency;
        b->belady_time_hits = belady->result.total.counts.hits;
    }
}

static void fill_policy(const struct experiment *x, const struct plan *plan, uint32_t i,
                        struct result_policy *out)
{
    struct job *job = plan->job[i];
    const struct policy *p = x->policy[i];
    enum policy_variant variant = VARIANT_STANDARD;

    out->label = mem_strdup(p->label);
    for (int s = 0; s < POLICY_SLOTS; s++) {
        const struct plugin *plugin = p->plugin[s];

        out->description[s] = describe_slot(x, p, (enum policy_slot)s);
        variant = plugin->variant > variant ? plugin->variant : variant;
    }
    out->lossless = policy_lossless(p);
    out->variant = mem_strdup(policy_variant_name(variant));
    out->event_driven = job->event_driven;
    out->graph = job->graph;
    fill_bounds(x, plan, i, &out->bounds);
    out->run = job->result; /* takes it over */
    out->run.counts_only = x->p.engine == ENGINE_COUNT && x->hooks->executor == NULL;
    job->result = (struct run_result){.layer = NULL};
}

static void copy_trace_facts(const struct experiment *x, struct result *r)
{
    const struct trace_info *t = x->info;

    r->trace_path = mem_strdup(x->trace_path);
    r->trace_source = mem_strdup(t->source);
    r->layers = t->layers;
    r->experts = t->experts;
    r->top_k = t->top_k;
    r->moe_layer = mem_alloc(t->layers, sizeof *r->moe_layer);
    memcpy(r->moe_layer, t->moe_layer, t->layers * sizeof *r->moe_layer);
    r->expert_bytes = mem_alloc(t->layers, sizeof *r->expert_bytes);
    memcpy(r->expert_bytes, x->expert_bytes, t->layers * sizeof *r->expert_bytes);
    r->groups = t->groups;
    r->group_names = mem_alloc(t->groups, sizeof *r->group_names);
    for (uint32_t g = 0; g < t->groups; g++)
        r->group_names[g] = mem_strdup(t->group_names[g]);
}

/* Its source, and how much of it is known. Owned. */
static char *describe_machine(const struct machine *m)
{
    if (m->estimates == 0)
        return mem_strdup(m->source);
    return mem_format("%s; %u of its %u numbers are estimates", m->source, m->estimates,
                      m->numbers);
}

static void fill_result(const struct experiment *x, const struct plan *plan,
                        const struct cfg *config, bool stopped, struct result *r)
{
    *r = (struct result){.policies = x->policies};
    copy_trace_facts(x, r);
    r->model = mem_strdup(x->model->name);
    r->machine = mem_strdup(x->machine->name);
    r->machine_source = describe_machine(x->machine);
    r->watch = mem_strdup(x->watch.text == NULL ? "" : x->watch.text);
    r->config = cfg_dump(config);
    r->version = mem_strdup("moesim " MOESIM_VERSION);
    r->seed = (uint64_t)x->p.seed;
    r->expert_total_bytes = x->expert_total_bytes;
    r->dense_bytes = model_dense_bytes(x->model);
    r->gpu_memory_bytes = x->gpu_bytes;
    if (x->is_parallel && x->p.engine != ENGINE_COUNT)
        result_links_fill(r, &x->topology);
    r->policy = mem_zalloc(x->policies, sizeof *r->policy);
    for (uint32_t i = 0; i < x->policies; i++) {
        fill_policy(x, plan, i, &r->policy[i]);
        if (r->policy[i].run.kv_peak_bytes > r->kv_peak_bytes)
            r->kv_peak_bytes = r->policy[i].run.kv_peak_bytes;
    }
    r->notes = experiment_result_notes(x, r, stopped);
}

int plan_run(struct experiment *x, struct cfg *config, unsigned threads, struct result *r,
             struct err *e)
{
    struct plan plan = {.count = 0};
    int status;

    plan_init(&plan, x);
    status = jobs_run(x, plan.job, plan.count, threads, e);
    if (status >= 0)
        fill_result(x, &plan, config, status == 1, r);
    plan_release(&plan);
    if (status == 0 && x->timeline != NULL) {
        struct timeline *t = x->timeline;

        x->timeline = NULL;
        if (timeline_commit(t, e) != 0) {
            result_release(r);
            return -1;
        }
    }
    return status;
}

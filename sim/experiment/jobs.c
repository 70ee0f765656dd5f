#include "bounds.h"
#include "sim/exec/exec_count.h"
#include "sim/exec/exec_sim.h"
#include "experiment_state.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "sim/base/pool.h"

#include <stdlib.h>
#include <string.h>

bool job_takes_recorded(const struct policy *p)
{
    return !policy_does(p, ACT_REROUTE) && !p->schedule.empty;
}

bool job_reads_routing(const struct experiment *x, const struct policy *p)
{
    bool whole =
        cache_holds_all(&p->cache, x->info->layers, x->info->experts, x->expert_bytes) &&
        cache_starts_full(&p->cache);

    return policy_reads_routing(p, whole);
}

uint64_t job_cache_bytes(const struct experiment *x, const struct policy *p)
{
    if (p->dense)
        return 0;
    return cache_room_bytes(&p->cache, x->info->layers, x->info->experts,
                            x->expert_bytes);
}

/* ---- one run ---- */

struct progress {
    struct jobs *jobs;
    struct job *job;
};

static void report_progress(void *context, const struct workload *w)
{
    struct progress *p = context;
    struct jobs *jobs = p->jobs;
    uint64_t done = 0;

    pthread_mutex_lock(&jobs->lock);
    p->job->rows_done = workload_rows_done(w);
    for (size_t i = 0; i < jobs->count; i++)
        done += jobs->job[i]->rows_done;
    jobs->x->hooks->progress(jobs->x->hooks->context, done, jobs->rows_total);
    pthread_mutex_unlock(&jobs->lock);
}

static void observe(void *context, op_id id, enum op_kind kind, enum op_lane lane,
                    uint32_t layer, uint32_t expert, const struct op_times *times)
{
    struct job *job = context;
    const struct experiment_hooks *hooks = job->x->hooks;

    if (job->process >= 0 && (int64_t)job->result.passes < job->x->p.timeline_passes)
        timeline_op(job->x->timeline, job->process, kind, lane, layer, expert, times);
    if (hooks->operation != NULL)
        hooks->operation(hooks->operation_context, job->number, id, kind, lane, layer,
                         expert, times);
}

/* ---- what carries runs out ---- */

static struct exec *open_simulated(void *context, const struct experiment_run_info *info,
                                   exec_observer *observer, void *observe_context,
                                   struct err *e)
{
    struct exec_sim_options o = {.cost = *info->cost,
                                 .event_driven = info->event_driven,
                                 .pageable = info->pageable,
                                 .observe = observer,
                                 .observe_context = observe_context};

    (void)context;
    (void)e;
    return exec_sim_new(&o);
}

static void close_simulated(void *context, struct exec *exec)
{
    (void)context;
    exec_sim_free(exec);
}

static struct exec *open_counting(void *context, const struct experiment_run_info *info,
                                  exec_observer *observer, void *observe_context,
                                  struct err *e)
{
    (void)context;
    (void)info;
    (void)observer;
    (void)observe_context;
    (void)e;
    return exec_count_new();
}

static void close_counting(void *context, struct exec *exec)
{
    (void)context;
    exec_count_free(exec);
}

static const struct experiment_executor simulated = {
    .ops = &exec_sim_ops, .open = open_simulated, .close = close_simulated};
static const struct experiment_executor counting = {
    .ops = &exec_count_ops, .open = open_counting, .close = close_counting};

static const struct experiment_executor *executor_of(const struct experiment *x)
{
    if (x->hooks->executor != NULL)
        return x->hooks->executor;
    return x->p.engine == ENGINE_COUNT ? &counting : &simulated;
}

/* ---- several GPUs ---- */

static void watch(void *context, op_id id, enum op_kind kind, enum op_lane lane,
                  uint32_t layer, uint32_t expert, const struct op_times *times)
{
    const struct watcher *w = context;
    const struct experiment_hooks *hooks = w->job->x->hooks;

    if (w->process >= 0 && (int64_t)w->job->result.passes < w->job->x->p.timeline_passes)
        timeline_op(w->job->x->timeline, w->process, kind, lane, layer, expert, times);
    if (hooks->operation != NULL && !w->job->reference)
        hooks->operation(hooks->operation_context, w->job->number, id, kind, lane, layer,
                         expert, times);
}

/* Who is told of GPU i's operations; NULL: nobody. */
static struct watcher *watcher_of(struct job *job, uint32_t i)
{
    bool watched = job->x->hooks->operation != NULL && !job->reference;

    if (job->watcher == NULL && watched)
        job->watcher = mem_zalloc(job->x->topology.ranks, sizeof *job->watcher);
    if (job->watcher == NULL)
        return NULL;
    if (job->watcher[i].job == NULL && watched)
        job->watcher[i] = (struct watcher){job, -1};
    return job->watcher[i].job == NULL ? NULL : &job->watcher[i];
}

/* Fills exec[gpus]. 0 or -1. */
static int open_group(struct job *job, struct exec **exec, struct err *e)
{
    const struct experiment *x = job->x;
    const struct topology *t = &x->topology;
    struct exec_sim_options o = {.cost = job->parallel->cost,
                                 .event_driven = job->event_driven,
                                 .pageable = x->p.pageable,
                                 .observe = watch};
    void **context;
    int status;

    if (x->p.engine == ENGINE_COUNT) {
        for (uint32_t i = 0; i < t->ranks; i++)
            exec[i] = exec_count_new();
        return 0;
    }
    context = mem_zalloc(t->ranks, sizeof *context);
    for (uint32_t i = 0; i < t->ranks; i++)
        context[i] = watcher_of(job, i);
    o.cost.graph = job->graph;
    if (t->ranks == 1) { /* which has nobody to send to */
        o.observe_context = context[0];
        o.observe = context[0] == NULL ? NULL : watch;
        exec[0] = exec_sim_new(&o);
        status = 0;
    } else {
        status = exec_sim_new_group(&o, t, job->network, context, exec, e);
    }
    free(context);
    return status;
}

/* Of a policy that runs experts in place, which is either on the host or near the data.
 */
static sim_time busy_in_place(const struct exec *x)
{
    return exec_sim_lane_busy(x, LANE_HOST_POOL) + exec_sim_lane_busy(x, LANE_NEAR);
}

static void finish_group(struct job *job, struct exec *const *exec)
{
    const struct topology *t = &job->x->topology;
    struct run_result *r = &job->result;

    if (job->x->p.engine == ENGINE_COUNT)
        return;
    r->digest = exec_sim_report(exec[0]).digest;
    for (uint32_t i = 0; i < t->ranks; i++) {
        r->copy_busy += exec_sim_lane_busy(exec[i], LANE_COPY_IN);
        r->host_busy += busy_in_place(exec[i]);
    }
    r->copy_busy /= t->ranks;
    r->host_busy /= t->nodes; /* whose GPUs share it */
    r->links = t->links;
    r->link_bytes = mem_zalloc(t->links, sizeof *r->link_bytes);
    for (uint32_t i = 0; t->ranks > 1 && i < t->links; i++)
        r->link_bytes[i] = exec_sim_carried(exec[0], i);
}

static int run_group(struct job *job, struct run_setup *s, struct future *future,
                     struct err *e)
{
    struct experiment *x = job->x;
    uint32_t gpus = x->topology.ranks;
    struct exec **exec = mem_zalloc(gpus, sizeof *exec);
    int status = -1;

    job->parallel->run.exec = exec;
    s->parallel = &job->parallel->run;
    s->cost = &job->parallel->cost;
    s->expert_bytes = job->parallel->expert_bytes;
    s->ops = x->p.engine == ENGINE_COUNT ? &exec_count_ops : &exec_sim_ops;
    if (!job->reference)
        s->kv_room_bytes = x->gpu_bytes > job->parallel->weight_bytes
                               ? x->gpu_bytes - job->parallel->weight_bytes
                               : 0;
    if ((policy_needs(&job->policy) & NEED_FUTURE) != 0)
        s->future = future_reader_new(future);
    if (open_group(job, exec, e) == 0) {
        status = run_policy(s, &job->result, e);
        if (status == 0)
            finish_group(job, exec);
        for (uint32_t i = 0; i < gpus; i++)
            x->p.engine == ENGINE_COUNT ? exec_count_free(exec[i])
                                        : exec_sim_free(exec[i]);
    }
    future_reader_free(s->future);
    job->parallel->run.exec = NULL;
    free(exec);
    return status;
}

/* ---- one GPU ---- */

static struct exec *open_exec(struct job *job, const struct cost *cost, struct err *e)
{
    struct experiment *x = job->x;
    const struct experiment_executor *executor = executor_of(x);
    bool observed = job->process >= 0 || (x->hooks->operation != NULL && !job->reference);
    struct experiment_run_info info = {.policy = job->number,
                                       .label = job->policy.label,
                                       .cost = cost,
                                       .trace = x->info,
                                       .expert_bytes = x->expert_bytes,
                                       .pageable = x->p.pageable,
                                       .event_driven = job->event_driven};

    /* What is opened keeps no pointer to `info`, only some of those in it. */
    /* cppcheck-suppress returnDanglingLifetime */
    return executor->open(executor->context, &info, observed ? observe : NULL, job, e);
}

/* What bounds are counted from. */
struct counted {
    const struct job *job;
    struct future *future;
    const struct cache_params *params;
    bool preloaded;
};

static void *count_bounds(void *context, struct err *e)
{
    const struct counted *c = context;
    const struct experiment *x = c->job->x;
    struct bounds_counts *b = mem_alloc(1, sizeof *b);

    if (bounds_count(c->future, x->info->layers, x->info->experts, x->expert_bytes,
                     x->profile, c->params, c->preloaded, b, e) == 0)
        return b;
    free(b);
    return NULL;
}

static const struct shared_kind counted_bounds = {count_bounds, free};

/* Fills in the job's bounds; those of recorded routing are shared. */
static int take_bounds(struct job *job, struct future *future, bool recorded,
                       bool preloaded, struct err *e)
{
    const struct experiment *x = job->x;
    struct shared *shared = recorded ? x->hooks->shared : NULL;
    struct cache_params params = bounds_params(&job->policy.cache);
    char *described = cfg_describe(cache_options, &params);
    bool allocates = params.allocate != CACHE_ALLOCATE_EVEN;
    char *text = mem_format("%s, %s %s%s%s", described, preloaded ? "preloaded" : "empty",
                            x->routing_text, allocates ? " by " : "",
                            allocates ? x->p.profile : "");
    struct bounds_counts *b =
        shared_take(shared, &counted_bounds, text,
                    &(struct counted){job, future, &params, preloaded}, e);

    free(text);
    free(described);
    if (b == NULL)
        return -1;
    *job->bounds = *b;
    shared_give_back(shared, &counted_bounds, b);
    return 0;
}

/* What the policy's books need once the run is over. */
static int finish_run(struct job *job, struct exec *exec, struct future_writer *record,
                      struct future *future, struct err *e)
{
    struct experiment *x = job->x;
    const struct policy *p = &job->policy;
    bool preloaded = cache_starts_full(&p->cache) || policy_cache(p)->preload != NULL;
    struct future *recorded = NULL;
    int status;

    if (executor_of(x) == &simulated) {
        job->result.digest = exec_sim_report(exec).digest;
        job->result.copy_busy = exec_sim_lane_busy(exec, LANE_COPY_IN);
        job->result.host_busy = busy_in_place(exec);
    }
    if (job->bounds == NULL || !job->result.finished) {
        future_writer_free(record);
        return 0;
    }
    if (record != NULL) {
        recorded = future_finish(record, e);
        if (recorded == NULL)
            return -1;
        future = recorded;
    }
    status = take_bounds(job, future, recorded == NULL, preloaded, e);
    future_free(recorded);
    return status;
}

/* Of what a policy accesses; over several GPUs these are slots of the placement. */
static struct future_writer *new_record(const struct experiment *x,
                                        const struct policy *p,
                                        const struct parallel_setup *setup, struct err *e)
{
    return future_writer_new(x->info->layers,
                             setup == NULL ? x->info->experts : setup->run.slots,
                             cache_order_ahead(&p->cache), e);
}

static int run_with(struct job *job, struct trace *t, struct jobs *jobs,
                    struct future *future, struct err *e)
{
    struct experiment *x = job->x;
    const struct experiment_executor *executor = executor_of(x);
    struct model model = experiment_model(x, &job->policy);
    struct cost cost = {
        .model = &model, .machine = x->machine, .graph = job->graph, .least = job->ideal};
    struct progress progress = {jobs, job};
    bool oracle = (policy_needs(&job->policy) & NEED_FUTURE) != 0;
    uint64_t used = model_dense_bytes(cost.model);
    struct run_setup s = {
        .policy = &job->policy,
        .trace = x->info,
        .cost = &cost,
        .ops = executor->ops,
        .expert_bytes = x->expert_bytes,
        .pageable = x->p.pageable,
        .home = x->home,
        .host_bytes = x->host_bytes,
        .dense = job->policy.dense,
        .decides = !job->ideal && job_reads_routing(x, &job->policy),
        .kv_room_bytes = UINT64_MAX,
        .kv_kept_tokens = x->sizes.kept_tokens,
        .keep_passes = x->p.keep_passes && !job->reference,
        .watch = job->reference || x->watch.text == NULL ? NULL : &x->watch.run,
        .profile = x->profile,
        .chunk_bytes = x->p.chunk_bytes,
        .seed = (uint64_t)x->p.seed,
        .progress = x->hooks->progress == NULL ? NULL : report_progress,
        .progress_context = &progress,
    };
    int status = -1;

    s.workload = workload_new(t, x->model, &x->workload, x->scores, x->predicted,
                              (uint64_t)x->p.seed, e);
    if (s.workload == NULL)
        return -1;
    if (job->parallel != NULL) {
        status = run_group(job, &s, future, e);
        workload_free(s.workload);
        return status;
    }
    if (!job->reference) {
        used += job_cache_bytes(x, &job->policy);
        s.kv_room_bytes = x->gpu_bytes > used ? x->gpu_bytes - used : 0;
    }
    s.exec = open_exec(job, &cost, e);
    if (s.exec == NULL) {
        workload_free(s.workload);
        return -1;
    }
    if (oracle)
        s.future = future_reader_new(future);
    if (job->bounds != NULL && future == NULL)
        s.record = new_record(x, &job->policy, NULL, e);
    if (job->bounds == NULL || future != NULL || s.record != NULL)
        status = run_policy(&s, &job->result, e);
    if (status == 0)
        status = finish_run(job, s.exec, s.record, future, e);
    else
        future_writer_free(s.record);
    future_reader_free(s.future);
    executor->close(executor->context, s.exec);
    workload_free(s.workload);
    return status;
}

struct future *job_look_ahead(struct experiment *x, const struct policy *p,
                              struct parallel_setup *setup, struct err *e)
{
    struct cost cost = {.model = x->model, .machine = x->machine};
    struct run_setup s = {.policy = p,
                          .trace = x->info,
                          .cost = setup == NULL ? &cost : &setup->cost,
                          .ops = &exec_count_ops,
                          .expert_bytes =
                              setup == NULL ? x->expert_bytes : setup->expert_bytes,
                          .kv_room_bytes = UINT64_MAX,
                          .seed = (uint64_t)x->p.seed};
    struct future *future = NULL;
    struct trace *t = shared_open_trace(x->hooks->shared, x->trace_path, e);

    if (t == NULL)
        return NULL;
    if (setup != NULL)
        s.parallel = &setup->run;
    /* The runner makes the policy's prefetcher too, whose profile it may want. */
    s.profile = x->profile;
    s.workload = workload_new(t, x->model, &x->workload, x->scores, x->predicted,
                              (uint64_t)x->p.seed, e);
    if (s.workload != NULL) {
        s.record = new_record(x, p, setup, e);
        if (s.record != NULL && run_routing(&s, e) == 0)
            future = future_finish(s.record, e);
        else
            future_writer_free(s.record);
    }
    workload_free(s.workload);
    trace_close(t);
    return future;
}

static int run_alone(struct job *job, struct jobs *jobs, struct err *e)
{
    struct experiment *x = job->x;
    struct trace *t = shared_open_trace(x->hooks->shared, x->trace_path, e);
    struct future *own = NULL;
    struct future *future = x->future[cache_order_ahead(&job->policy.cache)];
    bool wants = x->timeless && !policy_does(&job->policy, ACT_RESIDENCY) &&
                 (job->bounds != NULL || (policy_needs(&job->policy) & NEED_FUTURE) != 0);
    int status = -1;

    if (t != NULL) {
        if (wants && (job->parallel != NULL || !job_takes_recorded(&job->policy)))
            future = own = job_look_ahead(x, &job->policy, job->parallel, e);
        if (!wants || future != NULL)
            status = run_with(job, t, jobs, wants ? future : NULL, e);
    }
    future_free(own);
    trace_close(t);
    return status;
}

/* What bounds need to know of the run of a reference. */
struct reference_run {
    bool finished;
    sim_time latency;
    uint64_t hits;
};

static void *run_reference(void *context, struct err *e)
{
    struct progress *p = context;
    const struct run_result *r = &p->job->result;
    struct reference_run *run;

    if (run_alone(p->job, p->jobs, e) != 0)
        return NULL;
    run = mem_alloc(1, sizeof *run);
    *run = (struct reference_run){r->finished, r->total.latency, r->total.counts.hits};
    return run;
}

static const struct shared_kind reference_runs = {run_reference, free};

static int take_reference(struct job *job, struct jobs *jobs, struct err *e)
{
    struct shared *shared = job->x->hooks->shared;
    struct reference_run *run = shared_take(shared, &reference_runs, job->shared_as,
                                            &(struct progress){jobs, job}, e);

    if (run == NULL)
        return -1;
    job->result.finished = run->finished;
    job->result.total.latency = run->latency;
    job->result.total.counts.hits = run->hits;
    shared_give_back(shared, &reference_runs, run);
    return 0;
}

static void run_job(struct job *job, struct jobs *jobs)
{
    job->status = job->shared_as == NULL ? run_alone(job, jobs, &job->err)
                                         : take_reference(job, jobs, &job->err);
}

/* ---- all of them ---- */

static void run_nth(void *context, size_t number)
{
    struct jobs *jobs = context;

    if (!file_interrupted())
        run_job(jobs->job[number], jobs);
}

int jobs_run(struct experiment *x, struct job **job, size_t count, unsigned threads,
             struct err *e)
{
    struct jobs jobs = {
        .job = job, .count = count, .x = x, .rows_total = count * x->rows_total};

    pthread_mutex_init(&jobs.lock, NULL);
    for (size_t i = 0; i < count; i++)
        job[i]->status = 1; /* not run */
    pool_run(threads, count, run_nth, &jobs);
    pthread_mutex_destroy(&jobs.lock);
    for (size_t i = 0; i < count; i++) {
        if (job[i]->status != -1)
            continue;
        *e = job[i]->err;
        return err_key(e) == NULL ? -1 : experiment_blame(x, &job[i]->policy, e);
    }
    return file_interrupted() ? 1 : 0;
}

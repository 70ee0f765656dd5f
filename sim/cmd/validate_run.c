#include "validate_run.h"

#include "sim/base/mem.h"
#include "sim/exec/exec_sim.h"
#include "traces/trace.h"
#include "validate/room.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- one side ---- */

void validate_side_release(struct validate_side *s)
{
    for (uint32_t i = 0; i < s->policies; i++) {
        agreement_ops_release(&s->ops[i]);
        tally_release(&s->tally[i]);
        free(s->pass[i]);
    }
    free(s->ops);
    free(s->tally);
    free(s->pass);
    result_release(&s->result);
    *s = (struct validate_side){.policies = 0};
}

/* Policies come one after another. */
static void add_policy(struct validate_side *s, const struct experiment_run_info *info)
{
    const struct model *m = info->cost->model;
    uint32_t i = s->policies++;

    assert(info->policy == i);
    s->ops = mem_resize(s->ops, s->policies, sizeof *s->ops);
    s->tally = mem_resize(s->tally, s->policies, sizeof *s->tally);
    s->pass = mem_resize(s->pass, s->policies, sizeof(struct run_pass *));
    s->ops[i] = (struct agreement_ops){.op = NULL};
    s->pass[i] = NULL;
    s->kv_token_bytes = model_kv_bytes(m) * m->layers;
    s->speed = speed_predict(info->cost, BENCH_SPEED_ROWS, BENCH_SPEED_WIDTH,
                             BENCH_SPEED_COPY_BYTES);
    tally_init(&s->tally[i], info->trace->layers, info->trace->experts);
}

static void keep_operation(void *context, uint32_t policy, op_id id, enum op_kind kind,
                           enum op_lane lane, uint32_t layer, uint32_t expert,
                           const struct op_times *times)
{
    struct validate_side *s = context;
    struct agreement_op op = {id, kind, lane, layer, expert, *times};

    agreement_ops_add(&s->ops[policy], &op);
}

static int run_side(struct cfg *config, const struct experiment_folders *folders,
                    const struct experiment_executor *executor, uint32_t element_bits,
                    const struct validate_progress *progress, struct validate_side *s,
                    struct err *e)
{
    struct experiment_hooks hooks = {.progress = progress->show,
                                     .context = progress->context,
                                     .executor = executor,
                                     .timeless = true,
                                     .element_bits = element_bits,
                                     .operation = keep_operation,
                                     .operation_context = s};
    int status = experiment_run(config, folders, 1, &hooks, &s->result, e);

    if (status == 1)
        return err_set(e, "stopped by a signal; nothing was written");
    for (uint32_t i = 0; status == 0 && i < s->result.policies; i++) {
        uint64_t passes = s->result.policy[i].run.passes;

        s->pass[i] = mem_alloc(passes, sizeof **s->pass);
        status = result_read_passes(&s->result, i, 0, passes, s->pass[i], e);
        if (status == 0)
            room_widen(&s->largest, &s->result.policy[i].run, s->pass[i],
                       s->kv_token_bytes);
    }
    return status;
}

/* ---- predicted ---- */

static struct exec *open_simulated(void *context, const struct experiment_run_info *info,
                                   exec_observer *observe, void *observe_context,
                                   struct err *e)
{
    struct validate_side *s = context;
    struct exec_sim_options o = {.cost = *info->cost,
                                 .event_driven = info->event_driven,
                                 .pageable = info->pageable,
                                 .observe = observe,
                                 .observe_context = observe_context};

    (void)e;
    add_policy(s, info);
    return tally_exec_new(&exec_sim_ops, exec_sim_new(&o), &s->tally[info->policy]);
}

static void close_simulated(void *context, struct exec *x)
{
    (void)context;
    exec_sim_free(tally_exec_free(x));
}

int validate_predict(struct cfg *config, const struct experiment_folders *folders,
                     uint32_t element_bits, const struct validate_progress *progress,
                     struct validate_side *s, struct err *e)
{
    struct experiment_executor executor = {.ops = &tally_ops,
                                           .open = open_simulated,
                                           .close = close_simulated,
                                           .context = s};

    *s = (struct validate_side){.policies = 0};
    return run_side(config, folders, &executor, element_bits, progress, s, e);
}

/* ---- executed ---- */

struct executed {
    struct validate_device *d;
    struct validate_side *s;
};

void validate_device_release(struct validate_device *d)
{
    bench_speed_free(d->speed);
    weights_free(d->weights);
    free(d->notes);
    free(d->probe);
    d->speed = NULL;
    d->weights = NULL;
    d->notes = NULL;
    d->probe = NULL;
    d->probes = 0;
}

/* Streams, weights and the benchmark serve all policies and repeats. */
static int prepare(struct validate_device *d, const struct experiment_run_info *info,
                   struct err *e)
{
    struct weights_options o = {.model = &d->model,
                                .seed = 1,
                                .pageable = info->pageable,
                                .expert_budget_bytes = d->expert_budget_bytes,
                                .floats = d->floats};
    struct device_info about;

    if (d->weights != NULL)
        return 0;
    d->model = *info->cost->model; /* which lives no longer than this run */
    d->model.name = d->model.source = NULL;
    d->speed = bench_speed_new(d->device, e);
    if (d->speed == NULL)
        return -1;
    d->device->ops->info(d->device, &about);
    o.dense_budget_bytes = room_left(about.local_free_bytes, d->reserve_bytes);
    if (exec_device_streams_new(d->device, &d->streams, e) != 0)
        return -1;
    d->weights = weights_new(d->device, &o, e);
    return d->weights == NULL ? -1 : 0;
}

static int look(struct validate_device *d, struct err *e)
{
    struct speed_probe p;
    int status = bench_speed_measure(d->speed, &p.gemm_s, &p.copy_s, e);

    if (status != 0)
        return status;
    d->probe = mem_resize(d->probe, d->probes + 1, sizeof *d->probe);
    d->probe[d->probes++] = p;
    return 0;
}

static struct exec *open_device(void *context, const struct experiment_run_info *info,
                                exec_observer *observe, void *observe_context,
                                struct err *e)
{
    struct executed *x = context;
    struct exec_device_options o = {.device = x->d->device,
                                    .streams = &x->d->streams,
                                    .model = &x->d->model,
                                    .largest = &x->d->largest,
                                    .observe = observe,
                                    .observe_context = observe_context};

    if (prepare(x->d, info, e) != 0 || look(x->d, e) != 0)
        return NULL;
    o.weights = x->d->weights;
    add_policy(x->s, info);
    return exec_device_new(&o);
}

static void close_device(void *context, struct exec *exec)
{
    struct executed *x = context;
    struct exec_device_counts c = exec_device_counts(exec);
    struct tally *t = &x->s->tally[x->s->policies - 1];
    char *notes = exec_device_describe(exec);

    memcpy(t->copies, c.copies, sizeof t->copies);
    memcpy(t->in_bytes, c.in_bytes, sizeof t->in_bytes);
    t->copies_out = c.copies_out;
    t->host_runs = c.host_runs;
    t->near_runs = c.near_runs;
    t->out_bytes = c.out_bytes;
    memcpy(t->tokens, c.tokens, (size_t)t->layers * t->experts * sizeof *t->tokens);
    /* The run that shares most says most. */
    if (x->d->notes == NULL || strlen(notes) > strlen(x->d->notes)) {
        free(x->d->notes);
        x->d->notes = notes;
    } else {
        free(notes);
    }
    exec_device_free(exec);
}

int validate_execute(struct cfg *config, const struct experiment_folders *folders,
                     struct validate_device *d, uint32_t element_bits,
                     const struct validate_progress *progress, struct validate_side *s,
                     struct err *e)
{
    struct executed x = {d, s};
    struct experiment_executor executor = {.ops = &exec_device_ops,
                                           .open = open_device,
                                           .close = close_device,
                                           .context = &x};

    *s = (struct validate_side){.policies = 0};
    if (run_side(config, folders, &executor, element_bits, progress, s, e) != 0)
        return -1;
    return look(d, e);
}

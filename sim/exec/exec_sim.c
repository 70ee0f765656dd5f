#include "exec_sim.h"

#include "exec_sim_state.h"
#include "sim/base/mem.h"
#include "sim/base/rng.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void exec_sim_free(struct exec *x)
{
    if (x == NULL)
        return;
    if (x->group != NULL)
        exec_group_leave(x);
    else
        engine_free(x->engine);
    free(x->dense_class);
    free(x);
}

struct engine_report exec_sim_report(const struct exec *x)
{
    return engine_get_report(x->engine);
}

sim_time exec_sim_lane_busy(const struct exec *x, enum op_lane lane)
{
    return engine_lane_busy(x->engine, x->first_lane + lane);
}

static bool same_batch(const struct cost_batch *a, const struct cost_batch *b)
{
    return a->tokens == b->tokens && a->outputs == b->outputs &&
           a->kv_tokens == b->kv_tokens && a->pairs == b->pairs &&
           a->window_kv_tokens == b->window_kv_tokens &&
           a->window_pairs == b->window_pairs && a->cross_tokens == b->cross_tokens &&
           a->cross_pairs == b->cross_pairs && a->cross_new == b->cross_new;
}

static void remember_batch(struct exec *x, const struct cost_batch *b)
{
    x->batch_at = b;
    if (same_batch(&x->batch, b))
        return;
    x->batch = *b;
    for (int i = 0; i < DENSE_CLASSES; i++)
        x->dense[i].gpu = -1;
    x->head.gpu = -1;
}

static void remember_kernels(const struct exec *x, struct cost_memo *memo, sim_time gpu,
                             uint32_t kernels)
{
    sim_time lead = gpu - gpu / (sim_time)kernels; /* all but the last kernel */

    memo->gpu = gpu;
    memo->launch = (sim_time)kernels * x->launch;
    memo->delay = memo->launch - lead > x->launch ? memo->launch - lead : x->launch;
}

static void remember_cost(const struct exec *x, struct cost_memo *memo, sim_time gpu,
                          enum cost_part part)
{
    remember_kernels(x, memo, gpu, x->kernels[part]);
}

static void find_batch_cost(struct exec *x, const struct op *op, struct cost_memo *memo)
{
    remember_batch(x, op->batch);
    if (memo->gpu >= 0)
        return;
    if (op->kind == OP_DENSE)
        remember_kernels(x, memo, cost_dense(&x->cost, op->layer, op->batch),
                         x->kernels[COST_DENSE] +
                             cost_cross_kernels(&x->cost, op->layer, op->batch));
    else
        remember_cost(x, memo, cost_head(&x->cost, op->batch), COST_HEAD);
}

static const struct cost_memo *find_expert_cost(struct exec *x,
                                                const struct cost_experts *w)
{
    uint64_t hash =
        rng_mix(w->rows * 0x9e3779b1U + w->padded_rows * 0x85ebca77U + w->distinct);
    struct expert_memo *memo = &x->expert[hash % EXPERT_MEMO];

    if (w->rows == w->distinct && w->distinct < SINGLE_MEMO && w->spared == 0) {
        struct cost_memo *single = &x->single[w->distinct];

        remember_cost(x, single, cost_expert_group(&x->cost, w), COST_EXPERTS);
        return single;
    }
    if (memo->key.distinct != w->distinct || memo->key.rows != w->rows ||
        memo->key.padded_rows != w->padded_rows || memo->key.spared != w->spared) {
        memo->key = *w;
        remember_cost(x, &memo->cost, cost_expert_group(&x->cost, w), COST_EXPERTS);
    }
    return &memo->cost;
}

static op_id submit_kernels(struct exec *x, const struct op *op,
                            const struct cost_memo *cost)
{
    sim_time begun = exec_sim_begin(x);

    x->host_now = begun + cost->launch;
    return engine_submit_fixed(
        x->engine, (struct work_fixed){.lane = x->first_lane + op->lane,
                                       .tag = exec_sim_tag(op->kind, op->layer, 0),
                                       .class_ = op->class_,
                                       .release = begun + cost->delay,
                                       .latency = cost->gpu,
                                       .after = op->after,
                                       .after_count = op->after_count});
}

/* The first of its kind in a batch. */
static NOINLINE op_id submit_new_batch(struct exec *x, const struct op *op,
                                       struct cost_memo *cost)
{
    find_batch_cost(x, op, cost);
    return submit_kernels(x, op, cost);
}

/* `cost` is where the cost is remembered, which holds for the whole pass. */
static inline op_id submit_batch(struct exec *x, const struct op *op,
                                 struct cost_memo *cost)
{
    if (x->batch_at != op->batch || cost->gpu < 0)
        return submit_new_batch(x, op, cost);
    return submit_kernels(x, op, cost);
}

/* Depends on the number of rows alone, which a GPU of several has fewer of there than in
 * its dense block. */
static inline op_id submit_gate(struct exec *x, const struct op *op)
{
    if (x->gate.gpu < 0 || x->gate_rows != op->batch->tokens) {
        x->gate_rows = op->batch->tokens;
        remember_cost(x, &x->gate, cost_gate(&x->cost, x->gate_rows), COST_GATE);
    }
    return submit_kernels(x, op, &x->gate);
}

/* The head ends the pass, and its graph. */
static NOINLINE op_id submit_head(struct exec *x, const struct op *op)
{
    op_id id = submit_batch(x, op, &x->head);

    x->graph_pending = x->cost.graph;
    x->batch_at = NULL;
    return id;
}

static NOINLINE op_id submit_new_experts(struct exec *x, const struct op *op)
{
    return submit_kernels(x, op, find_expert_cost(x, &op->group.work));
}

/* Experts that a loop of an eager framework goes over, or that run one by one. */
static NOINLINE op_id submit_eager_experts(struct exec *x, const struct op *op)
{
    const struct cost_experts *w = &op->group.work;
    sim_time overhead = (sim_time)op->group.loop * x->cost.machine->host.expert_overhead;
    struct cost_memo cost;

    if (op->group.piece == NULL) { /* the loop prepares what is then launched at once */
        cost = *find_expert_cost(x, w);
        cost.delay += overhead;
    } else {
        uint32_t alone = cost_kernels(&x->cost, COST_EXPERT_ALONE);
        uint32_t kernels = cost_kernels(&x->cost, COST_EXPERT_PERMUTE);
        sim_time gpu = cost_expert_permute(&x->cost, w->rows, w->masked_rows);

        for (uint32_t i = 0; i < op->group.pieces; i++)
            gpu += op->group.least ? cost_expert_alone_least(&x->cost, op->group.piece[i])
                                   : cost_expert_alone(&x->cost, op->group.piece[i]);
        kernels += alone * op->group.pieces;
        remember_kernels(x, &cost, gpu, kernels);
    }
    cost.launch += overhead;
    if (cost.launch - cost.gpu > cost.delay)
        cost.delay = cost.launch - cost.gpu;
    return submit_kernels(x, op, &cost);
}

static NOINLINE op_id submit_dispatch(struct exec *x, const struct op *op)
{
    struct cost_memo cost;

    if (op->kind == OP_ENCODE)
        remember_kernels(x, &cost, cost_encode(&x->cost, op->dispatch),
                         cost_encode_kernels(op->dispatch));
    else
        remember_kernels(x, &cost, cost_decode(&x->cost, op->dispatch),
                         cost_decode_kernels(op->dispatch));
    return submit_kernels(x, op, &cost);
}

static inline op_id submit_experts(struct exec *x, const struct op *op)
{
    const struct cost_experts *w = &op->group.work;

    if (op->group.loop > 0)
        return submit_eager_experts(x, op);
    if (w->rows != w->distinct || w->distinct >= SINGLE_MEMO || w->spared > 0 ||
        x->single[w->distinct].gpu == 0)
        return submit_new_experts(x, op);
    return submit_kernels(x, op, &x->single[w->distinct]);
}

static NOINLINE op_id submit_copy(struct exec *x, const struct op *op)
{
    struct work *w = &x->copy[op->kind == OP_COPY_OUT][op->copy.home == TIER_STORAGE];

    x->host_now += x->cost.machine->host.copy_call;
    w->lane = x->first_lane + op->lane;
    w->tag = exec_sim_tag(op->kind, op->layer, op->copy.expert);
    w->class_ = op->class_;
    w->release = x->host_now;
    w->bytes = w->path_length > 0 ? op->copy.bytes : 0;
    w->chunk_bytes = op->copy.chunk_bytes;
    w->after = op->after;
    w->after_count = op->after_count;
    return engine_submit(x->engine, w);
}

/* What the rows' hidden states take between GPU and host. */
static sim_time crossing(const struct exec *x, const struct op *op, uint64_t rows)
{
    const struct machine *m = x->cost.machine;
    uint64_t bytes = cost_rows_bytes(&x->cost, rows);

    return (op->rows_come ? cost_copy(&m->d2h_pinned, bytes) : 0) +
           (op->rows_go ? cost_copy(&m->h2d_pinned, bytes) : 0);
}

/* A dense block or gate on the host. */
static NOINLINE op_id submit_host_batch(struct exec *x, const struct op *op)
{
    struct cost cost = {.model = x->cost.model, .machine = &x->host};
    sim_time time = op->kind == OP_DENSE ? cost_dense(&cost, op->layer, op->batch)
                                         : cost_gate(&cost, op->batch->tokens);

    return engine_submit_fixed(
        x->engine,
        (struct work_fixed){.lane = x->pool_lane,
                            .tag = exec_sim_tag(op->kind, op->layer, 0),
                            .class_ = op->class_,
                            .release = x->host_now,
                            .latency = time + crossing(x, op, op->batch->tokens),
                            .after = op->after,
                            .after_count = op->after_count});
}

/* The weights flow from the host's memory, which copies share, no faster than they are
 * computed with. */
static NOINLINE op_id submit_host_experts(struct exec *x, const struct op *op)
{
    const struct cost_experts *w = &op->group.work;
    uint64_t rows = op->group.routing->rows;
    sim_time time = cost_host_experts(&x->cost, w);
    struct work work = {.lane = x->pool_lane,
                        .tag = exec_sim_tag(op->kind, op->layer, 0),
                        .class_ = op->class_,
                        .release = x->host_now,
                        .latency = x->cost.machine->host.layer_overhead +
                                   crossing(x, op, w->rows < rows ? w->rows : rows),
                        .after = op->after,
                        .after_count = op->after_count};

    if (time > 0) {
        work.bytes = model_expert_bytes(x->cost.model) * w->distinct;
        work.most_bytes_per_s = (double)work.bytes / sim_time_seconds(time);
        work.path[0] = x->dram;
        work.path_length = 1;
    }
    return engine_submit(x->engine, &work);
}

static sim_time near_time(const struct exec *x, const struct op *op)
{
    sim_time sum = x->cost.machine->near.layer_overhead;

    for (uint32_t i = 0; i < op->group.count; i++)
        sum += cost_near_expert(&x->cost, op->group.tokens[op->group.expert[i]]);
    return sum;
}

/* The rows of each expert go there, are computed and come back: one work, or three where
 * what crosses shares the links with copies. */
static NOINLINE op_id submit_near_experts(struct exec *x, const struct op *op)
{
    const struct machine *m = x->cost.machine;
    struct work work = {.lane = x->near_lane,
                        .tag = exec_sim_tag(op->kind, op->layer, 0),
                        .class_ = op->class_,
                        .release = x->host_now,
                        .after = op->after,
                        .after_count = op->after_count};
    struct work way[2];

    if (!op->group.crosses) {
        work.latency = near_time(x, op) + cost_host_trip(&x->cost, op->group.work.rows);
        return engine_submit(x->engine, &work);
    }
    for (int in = 0; in < 2; in++) {
        const struct work *copy = &x->copy[!in][0];

        way[in] = work;
        way[in].latency = in ? m->h2d_pinned.latency : m->d2h_pinned.latency;
        way[in].bytes = cost_rows_bytes(&x->cost, op->group.work.rows);
        memcpy(way[in].path, copy->path, sizeof way[in].path);
        way[in].path_length = copy->path_length;
    }
    (void)engine_submit(x->engine, &way[0]);
    work.after_count = way[1].after_count = 0; /* one lane: they follow each other */
    work.latency = near_time(x, op);
    (void)engine_submit(x->engine, &work);
    return engine_submit(x->engine, &way[1]);
}

/* Ends in a call whatever the kind, so that no registers are saved on the way. */
static op_id submit(struct exec *x, const struct op *op)
{
    switch (op->kind) {
    case OP_DENSE:
        if (op->lane == LANE_HOST_POOL)
            return submit_host_batch(x, op);
        return submit_batch(x, op, &x->dense[x->dense_class[op->layer]]);
    case OP_GATE:
        if (op->lane == LANE_HOST_POOL)
            return submit_host_batch(x, op);
        return submit_gate(x, op);
    case OP_EXPERTS:
        return submit_experts(x, op);
    case OP_HEAD:
        return submit_head(x, op);
    case OP_COPY_IN:
    case OP_COPY_OUT:
        return submit_copy(x, op);
    case OP_HOST_EXPERTS:
        return submit_host_experts(x, op);
    case OP_NEAR_EXPERTS:
        return submit_near_experts(x, op);
    case OP_ENCODE:
    case OP_DECODE:
        return submit_dispatch(x, op);
    case OP_EXCHANGE:
    case OP_DISPATCH:
    case OP_COMBINE:
    case OP_GATHER:
    case OP_SCATTER:
    case OP_MIGRATE:
        return exec_group_submit(x, op);
    case OP_HOST:
    case OP_KINDS:
        break;
    }
    assert(false);
    return 0;
}

static NOINLINE sim_time observe_wait(struct exec *x, op_id id, sim_time begun)
{
    struct op_times t = {.issued = begun, .start = begun, .end = x->host_now};

    x->observe(x->observe_context, id, OP_HOST, LANE_HOST, 0, 0, &t);
    return x->host_now;
}

static sim_time wait(struct exec *x, op_id id)
{
    sim_time end = engine_wait(x->engine, id);

    if (end < x->host_now)
        end = x->host_now;
    x->host_now = end + x->cost.machine->host.round_trip;
    if (x->observe != NULL)
        return observe_wait(x, id, end);
    return x->host_now;
}

static sim_time now(struct exec *x)
{
    return x->host_now;
}

static void sleep_until(struct exec *x, sim_time t)
{
    if (t > x->host_now)
        x->host_now = t;
}

static bool done(struct exec *x, op_id id)
{
    return engine_done_by(x->engine, id, x->host_now);
}

/* The host's time; where several hosts share the engine, not before what another one has
 * waited for already. */
static sim_time not_before_clock(const struct exec *x)
{
    sim_time clock = engine_clock(x->engine);

    return x->host_now < clock ? clock : x->host_now;
}

static void promote(struct exec *x, op_id id)
{
    if (engine_is_event_driven(x->engine))
        engine_promote(x->engine, id, not_before_clock(x));
}

static void cancel(struct exec *x, op_id id)
{
    if (engine_is_event_driven(x->engine))
        engine_cancel(x->engine, id, not_before_clock(x));
}

static void times(struct exec *x, const op_id *id, size_t count, struct op_times *out)
{
    for (size_t i = 0; i < count; i++) {
        struct work_times t = engine_times(x->engine, id[i]);

        out[i] = (struct op_times){t.release, t.start, t.end, t.cancelled};
    }
    if (x->group != NULL && x->group->spreads > 0)
        for (size_t i = 0; i < count; i++)
            out[i].start = exec_group_began(x, id[i], out[i].start);
}

static void retire(struct exec *x, op_id id)
{
    engine_retire(x->engine, id);
    if (x->group != NULL)
        exec_group_retire(x->group, id);
}

static int drain(struct exec *x, struct err *e)
{
    sim_time end = engine_drain(x->engine);

    if (end > x->host_now)
        x->host_now = end;
    return engine_check(x->engine, e);
}

const struct exec_ops exec_sim_ops = {
    .name = "simulated",
    .submit = submit,
    .wait = wait,
    .now = now,
    .sleep_until = sleep_until,
    .done = done,
    .promote = promote,
    .cancel = cancel,
    .times = times,
    .retire = retire,
    .drain = drain,
};

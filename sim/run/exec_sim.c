#include "exec_sim.h"

#include "sim/base/mem.h"
#include "sim/base/rng.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { EXPERT_MEMO = 512, SINGLE_MEMO = 64, DENSE_CLASSES = 8 };

/* Link numbers in the order in which they are added. */
enum link { LINK_DRAM, LINK_IN, LINK_OUT, LINK_ROOT, LINK_STORAGE, LINKS };

/* A remembered cost: GPU time of the kernels together, and that time but for the last of
 * them, which is how long before the last launch the first kernel may begin. */
struct cost_memo {
    sim_time gpu; /* -1: not computed */
    sim_time lead;
};

struct expert_memo {
    struct cost_experts key;
    struct cost_memo cost;
};

struct exec {
    struct engine *engine;
    struct cost cost;
    bool pageable;
    sim_time host_now;
    sim_time launch;                     /* per kernel; 0 from a graph */
    sim_time launch_part[COST_HEAD + 1]; /* for all kernels of a part */
    bool graph_open; /* the graph's one launch was paid for this pass */
    uint32_t kernels[COST_HEAD + 1];
    /* Costs remembered: the same shapes come again and again. */
    struct expert_memo expert[EXPERT_MEMO];
    struct cost_memo single[SINGLE_MEMO]; /* by number of experts of one row each */
    const struct cost_batch *batch_at;    /* where this pass's is; NULL between passes */
    struct cost_batch batch; /* of which dense, gate and head costs are remembered */
    struct cost_memo dense[DENSE_CLASSES], gate, head;
    uint8_t *dense_class; /* [decoder layers] which of the dense costs applies */
    struct work work;     /* reused: only what differs between operations is set */
    struct exec_sim_options options;
};

/* What an operation is, in 32 bits: enters the digest and labels the timeline. */
static uint32_t tag_of(enum op_kind kind, uint32_t layer, uint32_t expert)
{
    return (uint32_t)kind << 28 | (layer & 0xfff) << 16 | (expert & 0xffff);
}

static void observe(void *context, work_id id, uint32_t tag, uint32_t lane,
                    const struct work_times *times)
{
    struct exec *x = context;
    struct op_times t = {.issued = times->release,
                         .start = times->start,
                         .end = times->end,
                         .cancelled = times->cancelled};

    x->options.observe(x->options.observe_context, id, (enum op_kind)(tag >> 28),
                       (enum op_lane)lane, tag >> 16 & 0xfff, tag & 0xffff, &t);
}

/* Layers of one class have dense blocks of one cost. */
static uint8_t class_of_dense(const struct model *m, uint32_t layer)
{
    bool crosses = m->encoder_layers > 0 && layer >= m->encoder_layers;

    return (uint8_t)((model_layer_is_moe(m, layer) ? 1 : 0) |
                     (model_layer_windowed(m, layer) ? 2 : 0) | (crosses ? 4 : 0));
}

struct exec *exec_sim_new(const struct exec_sim_options *o)
{
    struct exec *x = mem_zalloc(1, sizeof *x);
    const struct machine *m = o->cost.machine;
    const struct machine_copy *in = o->pageable ? &m->h2d_pageable : &m->h2d_pinned;
    const struct machine_copy *out = o->pageable ? &m->d2h_pageable : &m->d2h_pinned;
    double root = in->bytes_per_s * m->h2d_duplex + out->bytes_per_s * m->d2h_duplex;

    x->options = *o;
    x->cost = o->cost;
    x->pageable = o->pageable;
    x->launch = o->cost.graph ? 0 : m->host.launch_eager;
    for (int part = COST_DENSE; part <= COST_HEAD; part++) {
        x->kernels[part] = cost_kernels(&x->cost, (enum cost_part)part);
        x->launch_part[part] = (sim_time)x->kernels[part] * x->launch;
    }
    x->dense_class = mem_alloc(o->cost.model->layers, 1);
    for (uint32_t l = 0; l < o->cost.model->layers; l++)
        x->dense_class[l] = class_of_dense(o->cost.model, l);
    x->engine = engine_new(o->event_driven);
    for (int lane = 0; lane < OP_LANES; lane++)
        engine_add_lane(x->engine, op_lane_name((enum op_lane)lane));
    engine_add_link(x->engine, "host DRAM", m->host.dram_bytes_per_s);
    engine_add_link(x->engine, "PCIe in", in->bytes_per_s);
    engine_add_link(x->engine, "PCIe out", out->bytes_per_s);
    engine_add_link(x->engine, "PCIe root",
                    root > in->bytes_per_s ? root : in->bytes_per_s);
    if (m->has_storage)
        engine_add_link(x->engine, "storage", m->storage_read.bytes_per_s);
    if (o->observe != NULL)
        engine_observe(x->engine, observe, x);
    return x;
}

void exec_sim_free(struct exec *x)
{
    if (x == NULL)
        return;
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
    return engine_lane_busy(x->engine, lane);
}

static bool same_batch(const struct cost_batch *a, const struct cost_batch *b)
{
    return a->tokens == b->tokens && a->outputs == b->outputs &&
           a->kv_tokens == b->kv_tokens && a->pairs == b->pairs &&
           a->window_kv_tokens == b->window_kv_tokens &&
           a->window_pairs == b->window_pairs;
}

static void remember_batch(struct exec *x, const struct cost_batch *b)
{
    if (x->batch_at == b)
        return;
    x->batch_at = b;
    if (same_batch(&x->batch, b))
        return;
    x->batch = *b;
    for (int i = 0; i < DENSE_CLASSES; i++)
        x->dense[i].gpu = -1;
    x->gate.gpu = -1;
    x->head.gpu = -1;
}

static void remember_cost(struct cost_memo *memo, sim_time gpu, uint32_t kernels)
{
    memo->gpu = gpu;
    memo->lead = gpu - gpu / (sim_time)kernels;
}

static const struct cost_memo *dense_cost(struct exec *x, const struct op *op)
{
    struct cost_memo *memo = &x->dense[x->dense_class[op->layer]];

    remember_batch(x, op->batch);
    if (memo->gpu < 0)
        remember_cost(memo, cost_dense(&x->cost, op->layer, op->batch),
                      x->kernels[COST_DENSE]);
    return memo;
}

static const struct cost_memo *gate_cost(struct exec *x, const struct op *op)
{
    remember_batch(x, op->batch);
    if (x->gate.gpu < 0)
        remember_cost(&x->gate, cost_gate(&x->cost, op->batch->tokens),
                      x->kernels[COST_GATE]);
    return &x->gate;
}

static const struct cost_memo *head_cost(struct exec *x, const struct op *op)
{
    remember_batch(x, op->batch);
    if (x->head.gpu < 0)
        remember_cost(&x->head, cost_head(&x->cost, op->batch), x->kernels[COST_HEAD]);
    return &x->head;
}

static const struct cost_memo *expert_cost(struct exec *x, const struct cost_experts *w)
{
    struct expert_memo *memo;
    uint64_t hash;

    if (w->rows == w->distinct && w->distinct < SINGLE_MEMO) {
        struct cost_memo *single = &x->single[w->distinct];

        if (single->gpu == 0)
            remember_cost(single, cost_expert_group(&x->cost, w),
                          x->kernels[COST_EXPERTS]);
        return single;
    }
    hash = rng_mix(w->rows * 0x9e3779b1U + w->padded_rows * 0x85ebca77U + w->distinct);
    memo = &x->expert[hash % EXPERT_MEMO];
    if (memo->key.distinct != w->distinct || memo->key.rows != w->rows ||
        memo->key.padded_rows != w->padded_rows) {
        memo->key = *w;
        remember_cost(&memo->cost, cost_expert_group(&x->cost, w),
                      x->kernels[COST_EXPERTS]);
    }
    return &memo->cost;
}

/* Launches a part's kernels; when their work is released. */
static sim_time launch(struct exec *x, enum cost_part part, const struct cost_memo *cost)
{
    sim_time first = x->host_now + x->launch;
    sim_time last;

    if (x->cost.graph) {
        if (!x->graph_open) {
            x->host_now += x->cost.machine->host.graph_launch;
            x->graph_open = true;
        }
        return x->host_now;
    }
    x->host_now += x->launch_part[part];
    last = x->host_now - cost->lead;
    return last > first ? last : first;
}

/* A copy's path, latency and release. */
static void route_copy(struct exec *x, const struct op *op, struct work *w)
{
    const struct machine *m = x->cost.machine;
    bool in = op->kind == OP_COPY_IN;
    const struct machine_copy *k = in ? (x->pageable ? &m->h2d_pageable : &m->h2d_pinned)
                                      : (x->pageable ? &m->d2h_pageable : &m->d2h_pinned);

    if (op->copy.home == TIER_STORAGE) {
        w->path[w->path_length++] = LINK_STORAGE;
        w->latency += m->storage_read.latency;
    }
    if (!m->unified) {
        w->path[w->path_length++] = LINK_DRAM;
        w->path[w->path_length++] = in ? LINK_IN : LINK_OUT;
        w->path[w->path_length++] = LINK_ROOT;
        w->latency += k->latency;
    }
    w->bytes = w->path_length > 0 ? op->copy.bytes : 0;
    w->chunk_bytes = op->copy.chunk_bytes;
    x->host_now += m->host.copy_call;
    w->release = x->host_now;
}

static op_id submit_kernels(struct exec *x, const struct op *op, enum cost_part part,
                            const struct cost_memo *cost)
{
    struct work *w = &x->work;

    w->lane = op->lane;
    w->tag = tag_of(op->kind, op->layer, 0);
    w->class_ = op->class_;
    w->release = launch(x, part, cost);
    w->latency = cost->gpu;
    w->bytes = 0;
    w->after = op->after;
    w->after_count = op->after_count;
    return engine_submit(x->engine, w);
}

/* The head ends the pass, and its graph. */
static op_id submit_head(struct exec *x, const struct op *op)
{
    op_id id = submit_kernels(x, op, COST_HEAD, head_cost(x, op));

    x->graph_open = false;
    x->batch_at = NULL;
    return id;
}

static op_id submit_copy(struct exec *x, const struct op *op)
{
    struct work w = {.lane = op->lane,
                     .tag = tag_of(op->kind, op->layer, op->copy.expert),
                     .class_ = op->class_,
                     .after = op->after,
                     .after_count = op->after_count};

    route_copy(x, op, &w);
    return engine_submit(x->engine, &w);
}

static op_id submit(struct exec *x, const struct op *op)
{
    switch (op->kind) {
    case OP_DENSE:
        return submit_kernels(x, op, COST_DENSE, dense_cost(x, op));
    case OP_GATE:
        return submit_kernels(x, op, COST_GATE, gate_cost(x, op));
    case OP_EXPERTS:
        return submit_kernels(x, op, COST_EXPERTS, expert_cost(x, &op->group.work));
    case OP_HEAD:
        return submit_head(x, op);
    case OP_COPY_IN:
    case OP_COPY_OUT:
        return submit_copy(x, op);
    case OP_HOST:
    case OP_KINDS:
        break;
    }
    assert(false);
    return 0;
}

static void observe_wait(struct exec *x, op_id id, sim_time begun)
{
    struct op_times t = {.issued = begun, .start = begun, .end = x->host_now};

    x->options.observe(x->options.observe_context, id, OP_HOST, LANE_HOST, 0, 0, &t);
}

static sim_time wait(struct exec *x, op_id id)
{
    sim_time end = engine_wait(x->engine, id);

    if (end < x->host_now)
        end = x->host_now;
    x->host_now = end + x->cost.machine->host.round_trip;
    if (x->options.observe != NULL)
        observe_wait(x, id, end);
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

static void promote(struct exec *x, op_id id)
{
    if (engine_is_event_driven(x->engine))
        engine_promote(x->engine, id, x->host_now);
}

static void cancel(struct exec *x, op_id id)
{
    if (engine_is_event_driven(x->engine))
        engine_cancel(x->engine, id, x->host_now);
}

static void times(struct exec *x, const op_id *id, size_t count, struct op_times *out)
{
    for (size_t i = 0; i < count; i++) {
        struct work_times t = engine_times(x->engine, id[i]);

        out[i] = (struct op_times){t.release, t.start, t.end, t.cancelled};
    }
}

static void retire(struct exec *x, op_id id)
{
    engine_retire(x->engine, id);
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

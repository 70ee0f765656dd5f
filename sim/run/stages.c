/* The stages of a layer, each on all GPUs, and how passes walk through them. */
#include "run_state.h"

#include <assert.h>

static size_t batch_at(const struct runner *c, uint32_t gpu, uint32_t batch)
{
    return (size_t)gpu * c->spread->program.batches + batch;
}

/* Rows of a GPU in a batch, or in LANES_WHOLE. */
static uint64_t own_rows(const struct runner *c, uint32_t gpu, uint32_t batch)
{
    const struct spread *s = c->spread;
    uint64_t rows = 0;

    for (uint32_t b = 0; b < s->program.batches; b++)
        if (batch == LANES_WHOLE || batch == b)
            rows += s->own[batch_at(c, gpu, b)].tokens;
    return rows;
}

/* All-gather before and reduce-scatter after what `tensor` GPUs compute together: so many
 * blocks of a layer. */
static void gather_rows(struct runner *c, enum op_kind kind, uint32_t layer,
                        uint32_t batch, int blocks, sim_time *share)
{
    struct spread *s = c->spread;
    uint32_t tensor = s->p->tensor;
    uint32_t *group = s->member;

    for (uint32_t a = 0; tensor > 1 && a < s->attentions; a++) {
        struct collective what = {.form = kind == OP_GATHER ? COLLECTIVE_ALL_GATHER
                                                            : COLLECTIVE_REDUCE_SCATTER,
                                  .group = group,
                                  .group_count = tensor,
                                  .bytes = s->rank_bytes};

        for (uint32_t i = 0; i < tensor; i++) {
            group[i] = a * tensor + i;
            s->rank_bytes[i] = own_rows(c, group[i], batch) * s->back_unit;
        }
        for (int times = blocks; times > 0; times--)
            lanes_collect(c, kind, layer, batch, &what, a, share);
    }
}

/* Functions below take `alone`, which is true where a GPU may hold every expert: known to
 * the compiler, it leaves of each stage what one GPU needs. */
#define STAGE static inline __attribute__((always_inline))

STAGE uint32_t gpus_of(const struct runner *c, bool alone)
{
    return alone ? 1 : c->gpus;
}

/* An operation of the compute lane after all that is not the lane's order: collectives of
 * its part, experts on the host and, where copies share the stream, the last copy. */
static void submit_after(struct gpu *g, struct op *op, uint32_t part, sim_time *share)
{
    if (g->lanes.hosted == 0 || lanes_has_joined(&g->lanes))
        lanes_join(g, op, part, share, run_share_of(op));
    else
        hosted_join(g, op, share);
}

/* A dense block, which alone waits for little. */
STAGE void submit_dense(struct gpu *g, bool alone, struct op *op, uint32_t part,
                        sim_time *share)
{
    struct lanes *l = &g->lanes;

    if (!alone || g->residency.copies_wait || l->hosted != 0 || l->hosts_layers)
        submit_after(g, op, part, share);
    else
        lanes_compute(l, op, share, SHARE_DENSE);
}

/* A layer that is on the host as a whole has its block and gate there. Rows of a GPU
 * alone cross at the borders of such layers, those of several for every exchange. */
static void place_block(const struct runner *c, struct op *op, uint32_t layer)
{
    const struct model *m = c->setup->cost->model;
    bool hosted = model_layer_hosted(m, layer), dense = op->kind == OP_DENSE;

    op->lane = hosted ? LANE_HOST_POOL : LANE_COMPUTE;
    if (c->spread != NULL) {
        op->rows_come = op->rows_go = hosted;
        return;
    }
    op->rows_come = hosted && dense && layer == m->hosted_from && layer > 0;
    op->rows_go = hosted && dense && layer == m->hosted_from + m->hosted - 1 &&
                  !model_layer_is_moe(m, layer);
}

/* What a stage of this number is of: one part, or all that there are. */
static uint32_t part_of(const struct runner *c, uint32_t number)
{
    const struct program *p = &c->spread->program;

    return p->batches == p->parts ? number : LANES_WHOLE;
}

/* A GPU's rows are arranged for their experts, or summed after them. */
static void arrange(struct runner *c, enum op_kind kind, uint32_t layer, uint32_t batch,
                    sim_time *share)
{
    uint32_t part = c->spread == NULL ? LANES_WHOLE : part_of(c, batch);

    for (uint32_t i = 0; i < c->gpus; i++) {
        struct op op = {.kind = kind, .lane = LANE_COMPUTE, .layer = layer};

        op.dispatch = &c->gpu[i].dispatch[batch];
        if (op.dispatch->rows == 0)
            continue;
        submit_after(&c->gpu[i], &op, part, share);
    }
}

/* Sums what the layer before gave a batch. */
static void close_batch(struct runner *c, uint32_t batch)
{
    struct spread_part *p = &c->spread->part[batch];

    if (!p->is_open)
        return;
    p->is_open = false;
    arrange(c, OP_DECODE, p->open_layer, batch, c->result->layer[p->open_layer].share);
}

/* Blocks of a layer that are gathered around: attention, cross-attention, and a dense or
 * shared FFN. */
static int blocks_of(const struct model *m, uint32_t layer)
{
    uint32_t inner = model_layer_is_moe(m, layer) ? m->shared_ffn : m->dense_ffn;

    return 1 + (model_layer_crosses(m, layer) ? 1 : 0) + (inner > 0 ? 1 : 0);
}

STAGE void run_dense(struct runner *c, bool alone, uint32_t decoder_layer,
                     uint32_t number, sim_time *share)
{
    int blocks = alone ? 0 : blocks_of(c->setup->cost->model, decoder_layer);
    uint32_t batch = alone ? LANES_WHOLE : part_of(c, number);

    if (!alone) {
        close_batch(c, number);
        gather_rows(c, OP_GATHER, decoder_layer, batch, blocks, share);
    }
    for (uint32_t i = 0; i < gpus_of(c, alone); i++) {
        struct gpu *g = &c->gpu[i];

        if (!alone)
            g->dense.batch = &c->spread->attention[batch_at(c, i, number)];
        g->dense.layer = decoder_layer;
        if (g->lanes.hosts_layers)
            place_block(c, &g->dense, decoder_layer);
        submit_dense(g, alone, &g->dense, batch, share);
    }
    if (!alone)
        gather_rows(c, OP_SCATTER, decoder_layer, batch, blocks, share);
}

STAGE void run_gate(struct runner *c, bool alone, uint32_t of, uint32_t layer,
                    uint32_t number, sim_time *share)
{
    for (uint32_t i = 0; i < gpus_of(c, alone); i++) {
        struct gpu *g = &c->gpu[i];

        g->gate.layer = layer;
        if (g->lanes.hosts_layers)
            place_block(c, &g->gate, of);
        if (alone && g->lanes.hosts_layers) {
            lanes_join(g, &g->gate, LANES_WHOLE, share, run_share_of(&g->gate));
            continue;
        }
        if (alone) {
            lanes_compute(&g->lanes, &g->gate, share, SHARE_DENSE);
            continue;
        }
        g->gate.batch = &c->spread->own[batch_at(c, i, number)];
        lanes_join(g, &g->gate, part_of(c, number), share, run_share_of(&g->gate));
    }
}

/* The routing reaches the host, which decides on it. */
STAGE int decide(struct runner *c, bool alone, uint32_t layer, uint32_t batch,
                 struct err *e)
{
    const struct lanes *l = &c->gpu->lanes;

    if (alone ? c->setup->decides : c->gpus == 1 && c->spread->p->exchange)
        (void)l->ops->wait(l->exec, l->last);
    if (!alone)
        return routing_spread_batch(c, layer, batch, e);
    routing_alone_layer(c, layer);
    return 0;
}

/* Rows to all GPUs, a slice of every expert on each, sums back to whose they are. */
static void collect_shards(struct runner *c, enum op_kind kind, uint32_t layer,
                           sim_time *share)
{
    struct spread *s = c->spread;
    struct collective what = {.form = kind == OP_SCATTER ? COLLECTIVE_REDUCE_SCATTER
                                                         : COLLECTIVE_ALL_GATHER,
                              .bytes = s->rank_bytes};

    for (uint32_t i = 0; i < c->gpus; i++)
        s->rank_bytes[i] = kind == OP_EXCHANGE ? c->experts * sizeof(uint32_t)
                                               : s->own[i].tokens * s->back_unit;
    lanes_collect(c, kind, layer, LANES_WHOLE, &what, LANES_ALL, share);
}

/* Hosts learn how many rows will come. */
static void exchange(struct runner *c, uint32_t layer, uint32_t number, sim_time *share)
{
    struct spread *s = c->spread;

    if (!s->p->exchange)
        return;
    lanes_collect(c, OP_EXCHANGE, layer, part_of(c, number), &s->exchange, LANES_ALL,
                  share);
    if (c->gpus > 1) /* alone it knew before it arranged its rows */
        lanes_wait_all(c);
}

static void dispatch(struct runner *c, uint32_t layer, uint32_t part, sim_time *share)
{
    lanes_collect(c, OP_DISPATCH, layer, part, &c->spread->part[part].dispatch, LANES_ALL,
                  share);
    if (c->setup->policy->schedule.wait)
        lanes_wait_all(c);
}

/* An oracle sees the accesses of all GPUs in one look-ahead, GPU after GPU. */
static int see_ahead(struct runner *c, struct err *e)
{
    const struct cache_use *use;
    uint32_t seen = 0;

    if (future_reader_next(c->setup->future, e) != 0)
        return -1;
    use = future_reader_peek(c->setup->future, 0).next_use;
    for (uint32_t i = 0; i < c->gpus; i++) {
        c->gpu[i].step.use = use + seen;
        seen += c->gpu[i].step.active_count;
    }
    assert(seen == future_reader_peek(c->setup->future, 0).count);
    return 0;
}

/* Tells the setup's future_writer what the step accesses. */
int stages_record(struct runner *c, struct err *e)
{
    struct spread *s = c->spread;
    uint32_t count = 0;

    if (s == NULL)
        return future_writer_step(c->setup->record, c->gpu->step.turn,
                                  c->gpu->step.active_count, e);
    for (uint32_t i = 0; i < c->gpus; i++) {
        const struct step *step = &c->gpu[i].step;

        for (uint32_t k = 0; k < step->active_count; k++)
            s->slot_turn[count++] = (uint16_t)(i * s->local + step->turn[k]);
    }
    return future_writer_step(c->setup->record, s->slot_turn, count, e);
}

/* Behind a layer's experts: what is loaded early, what a watch would, and what a
 * look-ahead is told. */
STAGE int look_on(struct runner *c, struct err *e)
{
    if (c->asks) {
        if (c->predictor.state != NULL)
            predictor_step(c);
        if (c->watch != NULL)
            watch_step(c);
    }
    return c->setup->record != NULL ? stages_record(c, e) : 0;
}

/* A GPU's experts of a part, after its rows' arrival; for a bound, no more than their
 * share. */
static void run_arrived(struct gpu *g, uint32_t layer, uint32_t part,
                        const struct even_work *even)
{
    struct lanes *l = &g->lanes;

    g->step.logged = l->log_count;
    g->step.arrived = l->part[part].joined;
    g->step.waits = false;
    if (even != NULL && even_work_exceeds(g, even))
        even_work_run(g, layer, even);
    else
        g->step.waits = !residency_step(g);
}

/* Where loads in flight are limited: no host waits for its own before all others have
 * asked for as many, which happens at the same time. */
static void ask_for_rest(struct gpu *gpu, uint32_t gpus)
{
    bool any;

    do {
        any = false;
        for (struct gpu *g = gpu; g < gpu + gpus; g++)
            if (g->step.waits)
                residency_wait(g);
        for (struct gpu *g = gpu; g < gpu + gpus; g++) {
            if (g->step.waits)
                g->step.waits = !residency_go_on(g);
            any = any || g->step.waits;
        }
    } while (any);
}

static int run_experts(struct runner *c, uint32_t layer, uint32_t part, struct err *e)
{
    struct spread *s = c->spread;
    struct even_work even;

    routing_spread_part(c, layer, part);
    if (c->setup->future != NULL && see_ahead(c, e) != 0)
        return -1;
    if (s->p->balanced)
        even = even_work_of(c, s->part[part].of_expert);
    for (uint32_t i = 0; i < c->gpus; i++)
        run_arrived(&c->gpu[i], layer, part, s->p->balanced ? &even : NULL);
    if (c->setup->policy->cache.in_flight > 0)
        ask_for_rest(c->gpu, c->gpus);
    for (uint32_t i = 0; i < c->gpus; i++)
        lanes_join_part(&c->gpu[i].lanes, part, c->gpu[i].step.logged);
    return part + 1 < s->program.parts ? 0 : look_on(c, e);
}

/* Sums what the experts gave; a batch's only when its next layer begins, lest the other
 * one's experts wait for it. */
static void decode(struct runner *c, uint32_t layer, uint32_t number, sim_time *share)
{
    struct spread_part *p = &c->spread->part[number];

    if (!c->encodes)
        return;
    if (c->spread->program.batches == 1) {
        arrange(c, OP_DECODE, layer, number, share);
        return;
    }
    p->is_open = true;
    p->open_layer = layer;
}

/* `of` is the layer's index among all decoder layers. */
static int run_stage(struct runner *c, struct stage stage, uint32_t of, uint32_t layer,
                     sim_time *share, struct err *e)
{
    struct spread *s = c->spread;

    switch ((enum stage_verb)stage.verb) {
    case STAGE_DENSE:
        run_dense(c, false, of, stage.part, share);
        break;
    case STAGE_GATE:
        run_gate(c, false, of, layer, stage.part, share);
        break;
    case STAGE_DECIDE:
        return decide(c, false, layer, stage.part, e);
    case STAGE_ENCODE:
        if (c->encodes)
            arrange(c, OP_ENCODE, layer, stage.part, share);
        break;
    case STAGE_EXCHANGE:
        exchange(c, layer, stage.part, share);
        break;
    case STAGE_DISPATCH:
        dispatch(c, layer, stage.part, share);
        break;
    case STAGE_EXPERTS:
        return run_experts(c, layer, stage.part, e);
    case STAGE_COMBINE:
        lanes_collect(c, OP_COMBINE, layer, stage.part, &s->part[stage.part].combine,
                      LANES_ALL, share);
        break;
    case STAGE_DECODE:
        decode(c, layer, stage.part, share);
        break;
    case STAGE_COUNTS:
        collect_shards(c, OP_EXCHANGE, layer, share);
        if (s->p->exchange && c->gpus > 1)
            lanes_wait_all(c);
        break;
    case STAGE_GATHER:
        collect_shards(c, OP_GATHER, layer, share);
        if (c->setup->policy->schedule.wait)
            lanes_wait_all(c);
        break;
    case STAGE_SCATTER:
        collect_shards(c, OP_SCATTER, layer, share);
        break;
    }
    return 0;
}

/* The program of one GPU that may hold every expert, known to the compiler. */
STAGE int run_alone(struct runner *c, uint32_t of, uint32_t layer, sim_time *share,
                    struct err *e)
{
    run_dense(c, true, of, 0, share);
    run_gate(c, true, of, layer, 0, share);
    (void)decide(c, true, layer, 0, e);
    if (c->encodes)
        arrange(c, OP_ENCODE, layer, 0, share);
    if (c->setup->future != NULL && see_ahead(c, e) != 0)
        return -1;
    if (!residency_step(c->gpu)) {
        c->gpu->step.waits = true;
        ask_for_rest(c->gpu, 1);
    }
    if (look_on(c, e) != 0)
        return -1;
    if (c->encodes)
        arrange(c, OP_DECODE, layer, 0, share);
    routing_alone_clear(c);
    return 0;
}

STAGE int run_moe_layer(struct runner *c, bool alone, uint32_t of, uint32_t layer,
                        struct err *e)
{
    sim_time *share = c->result->layer[layer].share;
    const struct program *p;

    if (alone)
        return run_alone(c, of, layer, share, e);
    p = &c->spread->program;
    for (uint32_t i = 0; i < p->count; i++)
        if (run_stage(c, p->stage[i], of, layer, share, e) != 0)
            return -1;
    routing_spread_clear(c);
    return 0;
}

/* A decoder layer without experts. */
STAGE void run_dense_layer(struct runner *c, bool alone, uint32_t of)
{
    uint32_t batches = alone ? 1 : c->spread->program.batches;

    for (uint32_t b = 0; b < batches; b++)
        run_dense(c, alone, of, b, c->outside);
}

/* ---- all layers ---- */

STAGE void run_head(struct runner *c, bool alone, uint32_t last)
{
    struct op head = {.kind = OP_HEAD, .lane = LANE_COMPUTE};

    if (!alone) {
        for (uint32_t b = 0; b < c->spread->program.batches; b++)
            close_batch(c, b);
        gather_rows(c, OP_GATHER, last, LANES_WHOLE, 1, c->outside);
    }
    for (uint32_t i = 0; i < gpus_of(c, alone); i++) {
        head.batch = alone ? c->gpu->dense.batch : &c->spread->whole[i];
        submit_dense(&c->gpu[i], alone, &head, LANES_WHOLE, c->outside);
    }
}

STAGE int walk_layers(struct runner *c, bool alone, struct run_span span, struct err *e)
{
    const struct trace_info *t = c->setup->trace;
    uint32_t moe = span.moe;

    for (uint32_t l = span.from; l < span.to; l++) {
        if (moe == span.moe_end || t->moe_layer[moe] != l)
            run_dense_layer(c, alone, l);
        else if (run_moe_layer(c, alone, l, moe++, e) != 0)
            return -1;
    }
    run_head(c, alone, span.to - 1);
    return 0;
}

int stages_run(struct runner *c, struct err *e)
{
    struct run_span all = {.to = c->setup->cost->model->layers, .moe_end = c->layers};

    return c->spread == NULL ? walk_layers(c, true, all, e)
                             : walk_layers(c, false, all, e);
}

int stages_run_span(struct runner *c, struct err *e)
{
    return c->spread == NULL ? walk_layers(c, true, c->span, e)
                             : walk_layers(c, false, c->span, e);
}

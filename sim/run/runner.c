#include "runner.h"

#include "run_state.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- what a run is made of ---- */

static void init_view(struct runner *c)
{
    const struct run_setup *s = c->setup;
    const struct machine *m = s->cost->machine;

    c->view = (struct view){.cost = s->cost,
                            .expert_bytes = s->expert_bytes,
                            .copy_in = s->pageable ? &m->h2d_pageable : &m->h2d_pinned,
                            .layers = c->layers,
                            .experts = c->experts,
                            .top_k = c->top_k,
                            .candidates = c->candidates,
                            .predicted_width = c->predicted};
}

/* Experts that are launched one by one, and those that an eager loop goes over. */
static void init_loop(struct gpu *g)
{
    const struct run_setup *s = g->setup;
    const struct spread *spread = g->runner->spread;
    const struct place_type *place = policy_place(s->policy);
    bool serial = s->policy->schedule.experts == EXPERTS_SERIAL;

    if (spread != NULL && spread->place->shards > 1 && place->launch != NULL) {
        struct place_launch launch = place->launch(s->policy->params[SLOT_PLACE]);

        serial = launch.by_expert;
        if (launch.block > 0)
            g->residency.tiles = (struct machine_tiles){1, {launch.block}};
        g->step.by_source = launch.by_source ? spread->by_source : NULL;
        g->step.sources = g->runner->gpus;
    }
    if (serial || s->cost->machine->host.expert_overhead > 0)
        g->step.loop = g->experts;
    if (serial)
        g->step.piece = mem_alloc((size_t)g->experts *
                                      (g->step.by_source != NULL ? g->runner->gpus : 1),
                                  sizeof *g->step.piece);
}

static void gpu_init(struct runner *c, uint32_t rank)
{
    const struct run_setup *s = c->setup;
    struct gpu *g = &c->gpu[rank];
    struct exec *exec = s->exec;

    if (s->parallel != NULL) /* without executors where it only looks ahead */
        exec = s->parallel->exec == NULL ? NULL : s->parallel->exec[rank];
    *g = (struct gpu){.runner = c,
                      .rank = rank,
                      .setup = s,
                      .result = c->result,
                      .layers = c->layers,
                      .experts = s->parallel == NULL ? c->experts : s->parallel->local};
    lanes_init(&g->lanes, s, exec, c->spread == NULL ? 0 : c->spread->program.parts,
               g->experts);
    g->step.active = mem_alloc(g->experts, sizeof *g->step.active);
    g->step.tokens = mem_zalloc(g->experts, sizeof *g->step.tokens);
    g->step.turn = g->step.active;
    if (s->policy->cache.order == CACHE_ORDER_RECORDED)
        g->step.turn = mem_alloc(g->experts, sizeof *g->step.turn);
    g->step.routing.top_k = c->top_k;
    g->dense = (struct op){.kind = OP_DENSE, .lane = LANE_COMPUTE};
    g->gate = (struct op){.kind = OP_GATE, .lane = LANE_COMPUTE};
    residency_init(g);
    init_loop(g);
    g->hosted = hosted_new(g);
}

static void gpu_release(struct gpu *g)
{
    lanes_release(&g->lanes);
    residency_release(&g->residency);
    hosted_free(g->hosted);
    if (g->step.turn != g->step.active)
        free(g->step.turn);
    free(g->step.active);
    free(g->step.tokens);
    free(g->step.piece);
}

static int runner_init(struct runner *c, const struct run_setup *s,
                       struct run_result *result, struct err *e)
{
    const struct trace_info *t = s->trace;

    *c = (struct runner){.setup = s,
                         .result = result,
                         .gpus = 1,
                         .layers = t->layers,
                         .experts = t->experts,
                         .top_k = t->top_k,
                         .candidates = t->candidates,
                         .predicted = t->predicted};
    c->pads = policy_gate(s->policy)->pads;
    c->reroutes =
        policy_gate(s->policy)->apply != NULL || policy_select(s->policy)->apply != NULL;
    init_view(c);
    if (s->parallel != NULL) {
        c->gpus = s->parallel->topology->ranks;
        c->spread = mem_zalloc(1, sizeof *c->spread);
        c->spread->p = s->parallel;
        c->spread->local = s->parallel->local;
        c->spread->slots = c->gpus * s->parallel->local;
    }
    c->active = mem_alloc(c->experts, sizeof *c->active);
    c->tokens = mem_zalloc(c->experts, sizeof *c->tokens);
    c->scratch = mem_zalloc(c->experts, sizeof *c->scratch);
    c->gpu = mem_zalloc(c->gpus, sizeof *c->gpu);
    predictor_init(c);
    if (c->spread != NULL) {
        if (placement_init(c, e) != 0)
            return -1;
        result->shards = c->spread->place->shards;
        program_plan(policy_schedule(s->policy), s->policy->params[SLOT_SCHEDULE],
                     &(struct program_shape){c->gpus, result->shards > 1,
                                             policy_place(s->policy)->counts},
                     &c->spread->program);
        routing_spread_init(c);
    }
    for (uint32_t i = 0; i < c->gpus; i++)
        gpu_init(c, i);
    if (c->spread == NULL)
        routing_alone_init(c);
    return 0;
}

static void runner_release(struct runner *c)
{
    for (uint32_t i = 0; i < c->gpus && c->gpu[i].runner != NULL; i++)
        gpu_release(&c->gpu[i]);
    predictor_release(&c->predictor);
    routing_alone_release(c);
    if (c->spread != NULL)
        routing_spread_release(c);
    free(c->gpu);
    free(c->active);
    free(c->tokens);
    free(c->scratch);
    free(c->load);
}

/* Makes caches, and tells the executors what is resident. */
static int begin(struct runner *c, struct err *e)
{
    for (uint32_t i = 0; i < c->gpus; i++) {
        const uint64_t *profile = c->setup->profile;
        uint64_t *own = NULL;
        int status;

        if (c->spread != NULL && profile != NULL)
            profile = own = placement_profile(c, i);
        status = residency_begin(&c->gpu[i], profile, e);
        free(own);
        if (status != 0)
            return -1;
    }
    return 0;
}

/* ---- the stages of a layer, each on all GPUs ---- */

/* All-gather before and reduce-scatter after what `tensor` GPUs compute together: once
 * around attention and once around a dense or shared FFN. */
static void gather_rows(struct runner *c, enum op_kind kind, uint32_t layer, bool ffn,
                        sim_time *share)
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
            s->rank_bytes[i] = s->own[group[i]].tokens * s->back_unit;
        }
        for (int times = ffn ? 2 : 1; times > 0; times--)
            lanes_collect(c, kind, layer, LANES_WHOLE, &what, a * tensor, tensor, share);
    }
}

/* Functions below take `alone`, which is true where a GPU may hold every expert: known to
 * the compiler, it leaves of each stage what one GPU needs. */
#define STAGE static inline __attribute__((always_inline))

STAGE uint32_t gpus_of(const struct runner *c, bool alone)
{
    return alone ? 1 : c->gpus;
}

/* An operation of the compute lane after all that is not the lane's order: collectives,
 * experts on the host and, where copies share the stream, the last copy. */
static void submit_after(struct gpu *g, struct op *op, sim_time *share)
{
    if (g->lanes.hosted == 0 || lanes_has_joined(&g->lanes))
        lanes_join(g, op, share, SHARE_DENSE);
    else
        hosted_join(g, op, share);
}

/* A dense block, which alone waits for little. */
STAGE void submit_dense(struct gpu *g, bool alone, struct op *op, sim_time *share)
{
    struct lanes *l = &g->lanes;

    if (!alone || g->residency.copies_wait || l->hosted != 0)
        submit_after(g, op, share);
    else
        lanes_compute(l, op, share, SHARE_DENSE);
}

STAGE void run_dense(struct runner *c, bool alone, uint32_t decoder_layer,
                     sim_time *share)
{
    const struct model *m = c->setup->cost->model;
    bool ffn = (model_layer_is_moe(m, decoder_layer) ? m->shared_ffn : m->dense_ffn) > 0;

    if (!alone)
        gather_rows(c, OP_GATHER, decoder_layer, ffn, share);
    for (uint32_t i = 0; i < gpus_of(c, alone); i++) {
        struct gpu *g = &c->gpu[i];

        g->dense.layer = decoder_layer;
        submit_dense(g, alone, &g->dense, share);
    }
    if (!alone)
        gather_rows(c, OP_SCATTER, decoder_layer, ffn, share);
}

STAGE void run_gate(struct runner *c, bool alone, uint32_t layer, sim_time *share)
{
    for (uint32_t i = 0; i < gpus_of(c, alone); i++) {
        struct gpu *g = &c->gpu[i];

        g->gate.layer = layer;
        if (alone)
            lanes_compute(&g->lanes, &g->gate, share, SHARE_DENSE);
        else
            lanes_join(g, &g->gate, share, SHARE_DENSE);
    }
}

/* The routing reaches the host, which decides on it. */
STAGE int decide(struct runner *c, bool alone, uint32_t layer, struct err *e)
{
    const struct lanes *l = &c->gpu->lanes;

    if (alone ? c->setup->decides : c->gpus == 1 && c->spread->p->exchange)
        (void)l->ops->wait(l->exec, l->last);
    if (!alone)
        return routing_spread_layer(c, layer, e);
    routing_alone_layer(c, layer);
    return 0;
}

/* A GPU's rows are arranged for their experts, or summed after them. */
static void arrange(struct runner *c, enum op_kind kind, uint32_t layer, sim_time *share)
{
    for (uint32_t i = 0; i < c->gpus; i++) {
        struct op op = {.kind = kind, .lane = LANE_COMPUTE, .layer = layer};

        op.dispatch = &c->gpu[i].dispatch;
        if (op.dispatch->rows == 0)
            continue;
        submit_after(&c->gpu[i], &op, share);
    }
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
    lanes_collect(c, kind, layer, LANES_WHOLE, &what, 0, c->gpus, share);
}

/* Hosts learn how many rows will come. */
static void exchange(struct runner *c, uint32_t layer, sim_time *share)
{
    struct spread *s = c->spread;

    if (!s->p->exchange)
        return;
    lanes_collect(c, OP_EXCHANGE, layer, LANES_WHOLE, &s->exchange, 0, c->gpus, share);
    if (c->gpus > 1) /* alone it knew before it arranged its rows */
        lanes_wait_all(c);
}

static void dispatch(struct runner *c, uint32_t layer, uint32_t part, sim_time *share)
{
    lanes_collect(c, OP_DISPATCH, layer, part, &c->spread->part[part].dispatch, 0,
                  c->gpus, share);
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
static int record(struct runner *c, struct err *e)
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

/* A GPU's experts of a part, after its rows' arrival; for a bound, no more than their
 * share. */
static void run_arrived(struct gpu *g, uint32_t layer, uint32_t part,
                        const struct even_share *even)
{
    struct lanes *l = &g->lanes;
    size_t logged = l->log_count;

    g->step.arrived = l->part[part].joined;
    if (even != NULL && even_share_exceeds(g, even))
        even_share_run(g, layer, even);
    else
        residency_step(g);
    lanes_join_part(l, part, logged);
}

static int run_experts(struct runner *c, uint32_t layer, uint32_t part, struct err *e)
{
    struct spread *s = c->spread;
    struct even_share even;

    if (part > 0)
        routing_spread_part(c, layer, part);
    if (c->setup->future != NULL && see_ahead(c, e) != 0)
        return -1;
    if (s->p->balanced)
        even = even_share_of(c, s->part[part].of_expert);
    for (uint32_t i = 0; i < c->gpus; i++)
        run_arrived(&c->gpu[i], layer, part, s->p->balanced ? &even : NULL);
    if (part + 1 < s->program.parts)
        return 0;
    if (c->predictor.state != NULL)
        predictor_step(c);
    return c->setup->record != NULL ? record(c, e) : 0;
}

static int run_stage(struct runner *c, struct stage stage, uint32_t layer,
                     sim_time *share, struct err *e)
{
    struct spread *s = c->spread;

    switch ((enum stage_verb)stage.verb) {
    case STAGE_GATE:
        run_gate(c, false, layer, share);
        break;
    case STAGE_DECIDE:
        return decide(c, false, layer, e);
    case STAGE_ENCODE:
        if (c->encodes)
            arrange(c, OP_ENCODE, layer, share);
        break;
    case STAGE_EXCHANGE:
        exchange(c, layer, share);
        break;
    case STAGE_DISPATCH:
        dispatch(c, layer, stage.part, share);
        break;
    case STAGE_EXPERTS:
        return run_experts(c, layer, stage.part, e);
    case STAGE_COMBINE:
        lanes_collect(c, OP_COMBINE, layer, stage.part, &s->part[stage.part].combine, 0,
                      c->gpus, share);
        break;
    case STAGE_DECODE:
        if (c->encodes)
            arrange(c, OP_DECODE, layer, share);
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
STAGE int run_alone(struct runner *c, uint32_t layer, sim_time *share, struct err *e)
{
    run_gate(c, true, layer, share);
    (void)decide(c, true, layer, e);
    if (c->encodes)
        arrange(c, OP_ENCODE, layer, share);
    if (c->setup->future != NULL && see_ahead(c, e) != 0)
        return -1;
    residency_step(c->gpu);
    if (c->predictor.state != NULL)
        predictor_step(c);
    if (c->setup->record != NULL && record(c, e) != 0)
        return -1;
    if (c->encodes)
        arrange(c, OP_DECODE, layer, share);
    routing_alone_clear(c);
    return 0;
}

STAGE int run_moe_layer(struct runner *c, bool alone, uint32_t layer, struct err *e)
{
    sim_time *share = c->result->layer[layer].share;
    const struct program *p;

    if (alone)
        return run_alone(c, layer, share, e);
    p = &c->spread->program;
    for (uint32_t i = 0; i < p->count; i++)
        if (run_stage(c, p->stage[i], layer, share, e) != 0)
            return -1;
    routing_spread_clear(c);
    return 0;
}

/* ---- a pass ---- */

STAGE int walk_layers(struct runner *c, bool alone, struct err *e)
{
    const struct trace_info *t = c->setup->trace;
    uint32_t layers = c->setup->cost->model->layers, moe = 0;
    struct op head = {.kind = OP_HEAD, .lane = LANE_COMPUTE};

    for (uint32_t l = 0; l < layers; l++) {
        bool is_moe = moe < c->layers && t->moe_layer[moe] == l;

        run_dense(c, alone, l, is_moe ? c->result->layer[moe].share : c->outside);
        if (is_moe && run_moe_layer(c, alone, moe++, e) != 0)
            return -1;
    }
    if (!alone)
        gather_rows(c, OP_GATHER, layers - 1, false, c->outside);
    for (uint32_t i = 0; i < gpus_of(c, alone); i++) {
        head.batch = c->gpu[i].dense.batch;
        submit_dense(&c->gpu[i], alone, &head, c->outside);
    }
    lanes_wait_all(c); /* the sampled tokens come back */
    return 0;
}

static int run_layers(struct runner *c, struct err *e)
{
    return c->spread == NULL ? walk_layers(c, true, e) : walk_layers(c, false, e);
}

static int begin_pass(struct runner *c, const struct pass *pass, struct err *e)
{
    sim_time start = lanes_latest(c);
    op_id last_id = 0;

    c->pass = pass;
    for (uint32_t i = 0; i < c->gpus; i++)
        if (c->gpu[i].lanes.last_id > last_id)
            last_id = c->gpu[i].lanes.last_id;
    start = pass->not_before > start ? pass->not_before : start;
    for (uint32_t i = 0; i < c->gpus; i++) {
        struct gpu *g = &c->gpu[i];
        struct lanes *l = &g->lanes;

        g->pass = pass;
        g->counts = (struct run_counts){.activations = 0};
        l->last_id = last_id;
        l->pass_first = last_id + 1;
        l->log_count = 0;
        l->collectives = l->joins = 0;
        l->last = 0;
        memset(l->part, 0, l->parts * sizeof *l->part);
        l->ops->sleep_until(l->exec, start);
        residency_begin_pass(g);
    }
    c->books = (struct run_pass){
        .start = start, .rows = pass->rows, .outputs = pass->output_count};
    if (c->spread != NULL)
        return routing_spread_pass(c, e) != 0 || placement_begin_pass(c, e) != 0 ? -1 : 0;
    c->gpu->dense.batch = c->gpu->gate.batch = &pass->batch;
    return kv_memory_check(c, &pass->batch, e);
}

/* The means over the GPUs, rounded such that they still sum to the latency. */
static void share_out(struct runner *c)
{
    sim_time sum = 0;

    for (int i = 0; i < RUN_SHARES; i++) {
        sim_time before = sum / (sim_time)c->gpus;

        sum += c->sum[i];
        c->books.share[i] = sum / (sim_time)c->gpus - before;
    }
    assert(sum == c->books.latency * (sim_time)c->gpus);
}

/* From which id on operations may not have ended. */
static op_id not_retired(const struct runner *c)
{
    op_id id = c->gpu->lanes.pass_first;

    for (uint32_t i = 0; i < c->gpus; i++)
        id = c->gpu[i].lanes.retired < id ? c->gpu[i].lanes.retired : id;
    if (c->spread != NULL && c->spread->migration != 0 && c->spread->migration < id)
        id = c->spread->migration;
    return id;
}

static int end_pass(struct runner *c, struct err *e)
{
    const struct lanes *first = &c->gpu->lanes;
    sim_time end = lanes_latest(c);

    c->books.latency = end - c->books.start;
    memset(c->sum, 0, sizeof c->sum);
    for (uint32_t i = 0; i < c->gpus; i++) {
        struct gpu *g = &c->gpu[i];

        books_attribute(c, g, end);
        books_copies(g);
        books_add(&c->books.counts, &g->counts);
        residency_retire(g);
        cache_end_pass(g->residency.cache);
    }
    share_out(c);
    first->ops->retire(first->exec, not_retired(c));
    if (books_close(c->setup, c->pass, &c->books, c->result, e) != 0)
        return -1;
    if (c->spread != NULL)
        placement_end_pass(c);
    return 0;
}

/* ---- a run ---- */

/* Now and then: tells of progress. True if a signal asks to stop. */
static bool report(const struct run_setup *s)
{
    if (s->progress != NULL)
        s->progress(s->progress_context, s->workload);
    return file_interrupted();
}

static int run_passes(struct runner *c, struct err *e)
{
    enum { PROGRESS_EVERY = 256 }; /* of one GPU's short passes */
    const struct run_setup *s = c->setup;
    const struct lanes *first = &c->gpu->lanes;
    const struct pass *pass;
    int more;

    while ((more = workload_next(s->workload, first->ops->now(first->exec), &pass, e)) ==
           1) {
        if (begin_pass(c, pass, e) != 0 || run_layers(c, e) != 0 || end_pass(c, e) != 0)
            return -1;
        if (first->ops->check != NULL && first->ops->check(first->exec, e) != 0)
            return -1;
        if (file_interrupted() ||
            ((c->spread != NULL || c->result->passes % PROGRESS_EVERY == 0) && report(s)))
            return 0;
    }
    c->result->finished = more == 0;
    return more;
}

/* Layers' shares were summed over the GPUs, and so was the time that they computed or
 * waited for migrations. */
static void average(struct runner *c)
{
    struct run_result *r = c->result;

    for (uint32_t l = 0; l < r->layers; l++)
        for (int i = 0; i < RUN_SHARES; i++)
            r->layer[l].share[i] /= (sim_time)c->gpus;
    r->compute_busy /= (sim_time)c->gpus;
    for (int i = 0; c->spread != NULL && i < RUN_SHARES; i++)
        r->migration_time += c->spread->migrating[i];
    r->migration_time /= (sim_time)c->gpus;
}

static int run_all(struct runner *c, struct err *e)
{
    struct run_result *r = c->result;

    if (begin(c, e) != 0 || run_passes(c, e) != 0)
        return -1;
    r->elapsed = lanes_latest(c);
    for (uint32_t i = 0; i < c->gpus; i++) {
        const struct lanes *l = &c->gpu[i].lanes;

        if (l->ops->drain(l->exec, e) != 0)
            return -1;
    }
    r->tail = lanes_latest(c) - r->elapsed;
    r->rows_resampled = workload_rows_resampled(c->setup->workload);
    r->prompts_skipped = workload_prompts_skipped(c->setup->workload);
    average(c);
    return books_check(c->setup, r, e);
}

static int route_layer(struct runner *c, uint32_t layer, struct err *e)
{
    if (c->spread == NULL)
        routing_alone_layer(c, layer);
    else if (routing_spread_layer(c, layer, e) != 0)
        return -1;
    if (c->setup->record != NULL && record(c, e) != 0)
        return -1;
    if (c->spread == NULL)
        routing_alone_clear(c);
    else
        routing_spread_clear(c);
    return 0;
}

static int route_passes(struct runner *c, struct err *e)
{
    const struct pass *pass;
    int more;

    while ((more = workload_next(c->setup->workload, 0, &pass, e)) == 1) {
        c->pass = pass;
        for (uint32_t i = 0; i < c->gpus; i++)
            c->gpu[i].pass = pass;
        if (c->spread != NULL && routing_spread_pass(c, e) != 0)
            return -1;
        for (uint32_t l = 0; l < c->layers; l++)
            if (route_layer(c, l, e) != 0)
                return -1;
        if (file_interrupted())
            return err_set(e, "stopped by a signal while looking ahead; nothing was "
                              "written");
    }
    return more;
}

static void make_books(const struct run_setup *s, struct run_result *r)
{
    *r = (struct run_result){.layers = s->trace->layers};
    r->layer = mem_zalloc(s->trace->layers, sizeof *r->layer);
    if (s->parallel == NULL)
        return;
    r->gpus = s->parallel->topology->ranks;
    r->nodes = s->parallel->topology->nodes;
    r->gpu_rows = mem_zalloc(r->gpus, sizeof *r->gpu_rows);
}

int run_routing(const struct run_setup *setup, struct err *e)
{
    struct run_result books;
    struct runner c;
    int status;

    make_books(setup, &books);
    status = runner_init(&c, setup, &books, e);
    if (status == 0)
        status = route_passes(&c, e);
    runner_release(&c);
    run_result_release(&books);
    return status;
}

int run_policy(const struct run_setup *setup, struct run_result *result, struct err *e)
{
    struct runner c;
    int status;

    make_books(setup, result);
    if (setup->keep_passes && (result->pass_spool = tmpfile()) == NULL) {
        status = err_set(e,
                         "no temporary file for pass records: %s; set TMPDIR to a folder "
                         "with room",
                         strerror(errno));
        run_result_release(result);
        return status;
    }
    result->requests = workload_request_count(setup->workload);
    result->request = mem_zalloc(result->requests, sizeof *result->request);
    status = runner_init(&c, setup, result, e);
    if (status == 0)
        status = run_all(&c, e);
    runner_release(&c);
    if (status != 0)
        run_result_release(result);
    return status;
}

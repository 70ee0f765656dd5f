#include "runner.h"

#include "run_state.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- what a run is made of ---- */

static enum view_score score_kind(const struct trace_info *t)
{
    return t->score_kind == TRACE_SCORE_LOGIT     ? VIEW_LOGIT
           : t->score_kind == TRACE_SCORE_SIGMOID ? VIEW_SIGMOID
                                                  : VIEW_SOFTMAX;
}

_Static_assert((int)VIEW_PREFILL == (int)TRACE_PREFILL &&
                   (int)VIEW_VERIFY == (int)TRACE_VERIFY,
               "phases are numbered as in the trace file");

static void init_view(struct runner *c)
{
    const struct run_setup *s = c->setup;
    const struct machine *m = s->cost->machine;

    c->view = (struct view){.cost = s->cost,
                            .expert_bytes = s->expert_bytes,
                            .loads_run_each = policy_schedule(s->policy)->split &&
                                              s->policy->schedule.loads == LOADS_EACH,
                            .copy_in = s->pageable ? &m->h2d_pageable : &m->h2d_pinned,
                            .layers = c->layers,
                            .experts = c->experts,
                            .top_k = c->top_k,
                            .candidates = c->candidates,
                            .score_kind = score_kind(s->trace),
                            .sorted = s->trace->sorted,
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
    g->precision = precision_new(g);
}

static void gpu_release(struct gpu *g)
{
    lanes_release(&g->lanes);
    residency_release(&g->residency);
    hosted_free(g->hosted);
    precision_free(g->precision);
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
    c->pads = policy_does(s->policy, ACT_PAD);
    c->dense_bytes = model_dense_bytes(s->cost->model);
    c->reroutes = policy_does(s->policy, ACT_REROUTE);
    c->lowers = policy_does(s->policy, ACT_LOWER);
    c->runs_all = c->pads || s->policy->schedule.empty;
    c->has_sides = s->cost->model->encoder_layers > 0;
    c->span = (struct run_span){.to = s->cost->model->layers,
                                .moe_end = s->dense ? 0 : c->layers};
    init_view(c);
    if (s->parallel != NULL) {
        c->gpus = s->parallel->topology->ranks;
        c->spread = mem_zalloc(1, sizeof *c->spread);
        c->spread->p = s->parallel;
        c->spread->local = s->parallel->local;
        c->spread->slots = c->gpus * s->parallel->local;
    }
    c->scratch = mem_zalloc(c->experts, sizeof *c->scratch);
    c->gpu = mem_zalloc(c->gpus, sizeof *c->gpu);
    predictor_init(c);
    selecting_init(c);
    c->watch = watch_new(c);
    if (c->spread != NULL) {
        if (placement_init(c, e) != 0)
            return -1;
        result->shards = c->spread->place->shards;
        program_make(policy_schedule(s->policy), s->policy->params[SLOT_SCHEDULE],
                     &(struct program_shape){c->gpus, result->shards > 1,
                                             policy_place(s->policy)->counts},
                     &c->spread->program);
        routing_spread_init(c);
    }
    for (uint32_t i = 0; i < c->gpus; i++)
        gpu_init(c, i);
    if (c->spread == NULL)
        routing_alone_init(c);
    c->asks = c->predictor.state != NULL || c->watch != NULL;
    c->shows = c->asks || c->lowers || c->gpu->hosted != NULL;
    return 0;
}

static void runner_release(struct runner *c)
{
    for (uint32_t i = 0; i < c->gpus && c->gpu[i].runner != NULL; i++)
        gpu_release(&c->gpu[i]);
    predictor_release(&c->predictor);
    selecting_release(&c->selecting);
    watch_free(c->watch, c->gpus);
    routing_alone_release(c);
    if (c->spread != NULL)
        routing_spread_release(c);
    free(c->gpu);
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

/* ---- a pass ---- */

static int begin_pass(struct runner *c, const struct pass *pass, struct err *e)
{
    sim_time start = lanes_latest(c);
    op_id last_id = 0;

    c->pass = pass;
    selecting_begin_pass(c);
    for (uint32_t i = 0; i < c->gpus; i++)
        if (c->gpu[i].lanes.last_id > last_id)
            last_id = c->gpu[i].lanes.last_id;
    start = pass->not_before > start ? pass->not_before : start;
    for (uint32_t i = 0; i < c->gpus; i++) {
        struct gpu *g = &c->gpu[i];
        struct lanes *l = &g->lanes;

        g->pass = pass;
        g->counts = (struct run_counts){.activations = 0};
        g->kv_bytes = g->side_bytes = 0;
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
    if (c->has_sides)
        return c->spread != NULL ? placement_begin_pass(c, e) : 0;
    if (c->spread != NULL)
        return routing_spread_pass(c, e) != 0 || placement_begin_pass(c, e) != 0 ? -1 : 0;
    routing_alone_pass(c);
    c->gpu->dense.batch = c->gpu->gate.batch = &pass->batch;
    return kv_memory_check(c, 0, 1, &pass->batch, e);
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

/* Sequences of a pass, whose rows are neighbours in it. */
static uint32_t sequences_of(const struct pass *p)
{
    uint32_t count = p->rows > 0;

    for (uint32_t i = 1; i < p->rows; i++)
        count += p->row[i].request != p->row[i - 1].request;
    return count > p->finished_count ? count : p->finished_count;
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
        if (c->watch != NULL)
            watch_end_pass(g);
        if (c->has_sides)
            g->activation_bytes = g->side_bytes;
        else if (c->spread == NULL && !routing_alone_is_known(c))
            routing_alone_activations(c);
        books_memory(c, g);
        books_add(&c->books.counts, &g->counts);
        residency_retire(g);
        if (cache_wants_rows(g->residency.cache))
            cache_end_sequences(g->residency.cache, c->pass->finished_count,
                                sequences_of(c->pass));
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

static int run_side(struct runner *c, struct err *e)
{
    if (c->spread == NULL && kv_memory_check(c, 0, 1, &c->side.batch, e) != 0)
        return -1;
    if (stages_run_span(c, e) != 0)
        return -1;
    if (c->spread == NULL)
        routing_alone_activations(c);
    for (struct gpu *g = c->gpu; g < c->gpu + c->gpus; g++)
        if (g->activation_bytes > g->side_bytes)
            g->side_bytes = g->activation_bytes;
    return 0;
}

/* All layers of a pass, until its tokens are known. */
static int run_pass(struct runner *c, struct err *e)
{
    int status = c->has_sides      ? sides_each(c, run_side, e)
                 : c->setup->dense ? stages_run_span(c, e)
                                   : stages_run(c, e);

    if (status == 0)
        lanes_wait_all(c);
    return status;
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
        if (begin_pass(c, pass, e) != 0 || run_pass(c, e) != 0 || end_pass(c, e) != 0)
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
    for (uint32_t l = 0; l < r->layers; l++)
        select_quality_add(&r->quality, &r->layer[l].quality);
    r->rows_resampled = workload_rows_resampled(c->setup->workload);
    r->prompts_skipped = workload_prompts_skipped(c->setup->workload);
    average(c);
    return books_check(c->setup, r, e);
}

static int route_layer(struct runner *c, uint32_t layer, struct err *e)
{
    if (c->spread == NULL) {
        routing_alone_layer(c, layer);
    } else { /* in one part: what looks ahead knows no others */
        if (routing_spread_batch(c, layer, 0, e) != 0)
            return -1;
        routing_spread_part(c, layer, 0);
    }
    if (c->setup->record != NULL && stages_record(c, e) != 0)
        return -1;
    if (c->spread == NULL)
        routing_alone_clear(c);
    else
        routing_spread_clear(c);
    return 0;
}

static int route_layers(struct runner *c, struct err *e)
{
    for (uint32_t l = c->span.moe; l < c->span.moe_end; l++)
        if (route_layer(c, l, e) != 0)
            return -1;
    return 0;
}

static int route_pass(struct runner *c, const struct pass *pass, struct err *e)
{
    c->pass = pass;
    if (c->has_sides)
        return sides_each(c, route_layers, e);
    selecting_begin_pass(c);
    for (uint32_t i = 0; i < c->gpus; i++)
        c->gpu[i].pass = pass;
    if (c->spread == NULL)
        routing_alone_pass(c);
    else if (routing_spread_pass(c, e) != 0)
        return -1;
    return route_layers(c, e);
}

static int route_passes(struct runner *c, struct err *e)
{
    const struct pass *pass;
    int more;

    while ((more = workload_next(c->setup->workload, 0, &pass, e)) == 1) {
        if (route_pass(c, pass, e) != 0)
            return -1;
        if (file_interrupted())
            return err_set(e, "stopped by a signal while looking ahead; nothing was "
                              "written");
    }
    return more;
}

static void make_watch_books(const struct run_watch *w, struct run_result *r)
{
    r->watched = w->distances * r->layers;
    r->watch = mem_zalloc(r->watched, sizeof *r->watch);
    for (uint32_t i = 0; i < r->watched; i++)
        r->watch[i] = (struct run_watched){.distance = w->distance[i / r->layers],
                                           .layer = i % r->layers};
}

static void make_books(const struct run_setup *s, struct run_result *r)
{
    *r = (struct run_result){.layers = s->trace->layers};
    r->layer = mem_zalloc(s->trace->layers, sizeof *r->layer);
    if (s->watch != NULL)
        make_watch_books(s->watch, r);
    if (s->parallel == NULL)
        return;
    r->gpus = s->parallel->topology->ranks;
    r->nodes = s->parallel->topology->nodes;
    r->gpu_rows = mem_zalloc(r->gpus, sizeof *r->gpu_rows);
    r->gpu_peak = mem_zalloc(r->gpus, sizeof *r->gpu_peak);
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

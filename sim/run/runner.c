#include "runner.h"

#include "crew.h"

#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "run_state.h"
#include "sim/base/text.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- a run's memory ---- */

static void group_init(struct run *r, struct run_group *g)
{
    uint32_t experts = r->experts;

    g->expert = mem_alloc(experts, sizeof *g->expert);
    g->slot = mem_alloc(experts, sizeof *g->slot);
    g->after = mem_alloc((size_t)experts + 1, sizeof *g->after);
    g->op = (struct op){.kind = OP_EXPERTS, .lane = LANE_COMPUTE, .after = g->after};
    g->op.group.expert = g->expert;
    g->op.group.slot = g->slot;
    g->op.group.tokens = r->tokens;
    g->op.group.routing = &r->routing;
}

static void group_release(struct run_group *g)
{
    free(g->expert);
    free(g->slot);
    free(g->after);
}

static void copies_release(struct run_copies *c)
{
    free(c->id);
    free(c->copy);
}

static struct cache *make_cache(const struct run *r, struct err *e)
{
    const struct run_setup *s = r->setup;
    struct cache_config config = {
        .algorithm = policy_cache(s->policy),
        .algorithm_params = s->policy->params[SLOT_CACHE],
        .params = s->policy->cache,
        .layers = s->trace->layers,
        .experts = r->experts,
        .expert_bytes = s->expert_bytes,
        .profile = r->profile,
        .future = s->future != NULL,
        .seed = s->seed,
    };

    return cache_new(&config, e);
}

static void make_prefetcher(struct run *r)
{
    const struct run_setup *s = r->setup;
    const struct prefetch_type *p = policy_prefetch(s->policy);
    struct policy_shape shape = {.layers = r->layers,
                                 .experts = r->experts,
                                 .top_k = r->top_k,
                                 .seed = s->seed,
                                 .profile = s->profile};

    if (p->step == NULL)
        return;
    r->load = mem_zalloc((size_t)r->layers * r->experts, sizeof *r->load);
    r->want =
        mem_alloc(p->width(&shape, s->policy->params[SLOT_PREFETCH]), sizeof *r->want);
    r->prefetch_state =
        mem_zalloc(1, p->state_size(&shape, s->policy->params[SLOT_PREFETCH]));
    p->init(r->prefetch_state, &shape, s->policy->params[SLOT_PREFETCH]);
}

static uint32_t see_future(const struct view_future *context, uint32_t ahead,
                           const uint32_t **expert)
{
    const struct future_reader *reader = (const void *)context;
    struct future_step step = future_reader_peek(reader, ahead);

    *expert = step.active;
    return step.count;
}

static void init_view(struct run *r)
{
    const struct machine *m = r->setup->cost->machine;

    r->view.cost = r->setup->cost;
    r->view.expert_bytes = r->setup->expert_bytes;
    r->view.copy_in = r->setup->pageable ? &m->h2d_pageable : &m->h2d_pinned;
    r->view.layers = r->layers;
    r->view.experts = r->experts;
    r->view.top_k = r->top_k;
    r->view.candidates = r->candidates;
    if (r->setup->future != NULL) {
        r->view.future = see_future;
        r->view.future_context = (const void *)r->setup->future;
    }
}

void run_init(struct run *r, const struct run_setup *s, struct run_result *result)
{
    const struct trace_info *t = s->trace;
    size_t log_room;

    *r = (struct run){.setup = s,
                      .ops = s->ops,
                      .exec = s->exec,
                      .result = result,
                      .profile = s->profile};
    r->layers = t->layers;
    r->experts = s->parallel == NULL ? t->experts : s->parallel->local;
    r->top_k = t->top_k;
    r->candidates = t->candidates;
    r->predicted = t->predicted;
    r->tiles = s->cost->machine->gpu.tiles;
    r->mask_words = (r->experts + 63) / 64;
    r->mask = mem_zalloc(r->mask_words, sizeof *r->mask);
    r->active = mem_alloc(r->experts, sizeof *r->active);
    r->tokens = mem_zalloc(r->experts, sizeof *r->tokens);
    r->scratch = mem_zalloc(r->experts, sizeof *r->scratch);
    r->turn = r->active;
    if (s->policy->cache.order == CACHE_ORDER_RECORDED) {
        r->turn = mem_alloc(r->experts, sizeof *r->turn);
        r->waits = mem_zalloc(r->experts, sizeof *r->waits);
    }
    r->found = mem_alloc(r->experts, sizeof *r->found);
    r->routing.top_k = r->top_k;
    group_init(r, &r->resident);
    group_init(r, &r->missing);
    /* Per decoder layer: a dense block, a gate, one group per expert at the worst, encode
     * and decode. */
    log_room = (size_t)s->cost->model->layers * (4 + (size_t)r->experts) + 1;
    r->dense = (struct op){.kind = OP_DENSE, .lane = LANE_COMPUTE};
    r->gate = (struct op){.kind = OP_GATE, .lane = LANE_COMPUTE};
    r->group_next = 1;
    r->group_id = mem_alloc(log_room + 2, sizeof *r->group_id); /* two may stay empty */
    r->log_id = mem_alloc(log_room, sizeof *r->log_id);
    r->log = mem_alloc(log_room, sizeof *r->log);
    r->reroutes =
        policy_gate(s->policy)->apply != NULL || policy_select(s->policy)->apply != NULL;
    r->split = policy_schedule(s->policy)->split;
    r->copies_wait = policy_schedule(s->policy)->copies_wait;
    r->write_back = s->policy->cache.write_back;
    init_view(r);
    make_prefetcher(r);
    r->hosted = hosted_new(r);
}

void run_release(struct run *r)
{
    cache_free(r->cache);
    free(r->mask);
    if (r->turn != r->active)
        free(r->turn);
    free(r->waits);
    free(r->active);
    free(r->tokens);
    free(r->scratch);
    free(r->found);
    free(r->group_id);
    free(r->own_choice);
    group_release(&r->resident);
    group_release(&r->missing);
    free(r->log_id);
    free(r->log);
    free(r->times);
    free(r->slot);
    free(r->wait_for);
    copies_release(&r->demand);
    copies_release(&r->late);
    copies_release(&r->ahead);
    free(r->want);
    free(r->prefetch_state);
    free(r->load);
    free(r->piece);
    hosted_free(r->hosted);
}

/* ---- one pass ---- */

uint64_t run_kv_bytes(const struct model *m, uint64_t kv_tokens)
{
    return (uint64_t)((double)kv_tokens * model_kv_bytes(m) * (double)m->layers);
}

int run_refuse_kv(const struct policy *p, uint64_t pass, uint64_t bytes, uint64_t room,
                  struct err *e)
{
    struct text_sizes size;

    if (bytes <= room)
        return 0;
    size = text_sizes(bytes, room);
    return err_set_key(
        e, "cache.slots",
        "policy '%s': pass %llu needs %s for its KV cache, but only %s of "
        "GPU memory are left beside the weights; use fewer expert slots, a "
        "smaller batch or a larger machine",
        p->label, (unsigned long long)pass, size.a, size.b);
}

int run_check_kv(struct run *r, uint64_t pass, const struct cost_batch *b, struct err *e)
{
    uint64_t bytes = run_kv_bytes(r->setup->cost->model, b->kv_tokens);

    if (bytes > r->result->kv_peak_bytes)
        r->result->kv_peak_bytes = bytes;
    return run_refuse_kv(r->setup->policy, pass, bytes, r->setup->kv_room_bytes, e);
}

void run_begin_pass(struct run *r, const struct pass *pass)
{
    r->pass = pass;
    r->dense.batch = &pass->batch;
    r->gate.batch = &pass->batch;
    r->pass_first = r->last_id + 1;
    r->ops->sleep_until(r->exec, pass->not_before);
    r->books = (struct run_pass){
        .start = r->ops->now(r->exec), .rows = pass->rows, .outputs = pass->output_count};
    r->group_first = r->group_next;
    r->resident.number = r->group_next++;
    r->missing.number = r->group_next++;
    r->log_count = 0;
    r->demand.count = 0;
    r->late.count = 0;
}

static void submit_dense(struct run *r, uint32_t decoder_layer, sim_time *share)
{
    r->dense.layer = decoder_layer;
    if (r->copies_wait && r->last_copy != 0) {
        r->dense.after = &r->last_copy;
        r->dense.after_count = 1;
    }
    hosted_join(r, &r->dense, share);
}

static int run_moe_layer(struct run *r, uint32_t layer, struct err *e)
{
    r->gate.layer = layer;
    step_compute(r, &r->gate, r->result->layer[layer].share, SHARE_DENSE);
    if (r->setup->decides) /* on the routing, which has to reach the host */
        (void)r->ops->wait(r->exec, r->last_compute);
    step_route(r, layer);
    if (step_run(r, e) != 0)
        return -1;
    step_clear(r);
    return 0;
}

static int run_layers(struct run *r, struct err *e)
{
    const struct trace_info *t = r->setup->trace;
    struct op op = {.kind = OP_HEAD, .lane = LANE_COMPUTE};
    uint32_t moe = 0;

    for (uint32_t l = 0; l < r->setup->cost->model->layers; l++) {
        bool is_moe = moe < r->layers && t->moe_layer[moe] == l;

        submit_dense(r, l, is_moe ? r->result->layer[moe].share : r->outside);
        if (is_moe && run_moe_layer(r, moe++, e) != 0)
            return -1;
    }
    op.batch = &r->pass->batch;
    hosted_join(r, &op, r->outside);
    (void)r->ops->wait(r->exec, r->last_compute); /* the sampled tokens come back */
    return 0;
}

/* All operations before this pass have ended, but for prefetches. */
void run_retire(struct run *r)
{
    struct run_copies *ahead = &r->ahead;
    size_t ended = 0;

    while (ended < ahead->count && step_copied(r, ahead->id[ended]))
        ended++;
    if (ended > 0) {
        ahead->count -= ended;
        memmove(ahead->id, ahead->id + ended, ahead->count * sizeof *ahead->id);
        memmove(ahead->copy, ahead->copy + ended, ahead->count * sizeof *ahead->copy);
    }
    r->retired = r->pass_first;
    if (ahead->count > 0 && ahead->id[0] < r->retired)
        r->retired = ahead->id[0];
    r->ops->retire(r->exec, r->retired);
}

static int end_pass(struct run *r, struct err *e)
{
    books_attribute(r);
    books_copies(r);
    run_retire(r);
    cache_end_pass(r->cache);
    return books_close(r->setup, r->pass, &r->books, r->result, e);
}

bool run_report(const struct run_setup *s)
{
    if (s->progress != NULL)
        s->progress(s->progress_context, s->workload);
    return file_interrupted();
}

static int run_passes(struct run *r, struct err *e)
{
    enum { PROGRESS_EVERY = 256 };
    const struct run_setup *s = r->setup;
    const struct pass *pass;
    int more;

    while ((more = workload_next(s->workload, r->ops->now(r->exec), &pass, e)) == 1) {
        if (run_check_kv(r, pass->index, &pass->batch, e) != 0)
            return -1;
        run_begin_pass(r, pass);
        if (run_layers(r, e) != 0 || end_pass(r, e) != 0)
            return -1;
        if (r->ops->check != NULL && r->ops->check(r->exec, e) != 0)
            return -1;
        if (file_interrupted() ||
            (r->result->passes % PROGRESS_EVERY == 0 && run_report(s)))
            return 0;
    }
    r->result->finished = more == 0;
    return more;
}

/* Tells the executor what is resident from the start. */
static int begin_exec(struct run *r, uint32_t slots, struct err *e)
{
    uint32_t *layer, *expert;
    struct exec_slots first;
    int status;

    if (r->ops->begin == NULL)
        return 0;
    layer = mem_zalloc(slots, sizeof *layer);
    expert = mem_alloc(slots, sizeof *expert);
    for (uint32_t i = 0; i < slots; i++)
        expert[i] = UINT32_MAX;
    for (uint32_t l = 0; l < r->layers; l++) {
        for (uint32_t x = 0; x < r->experts; x++) {
            uint32_t slot = cache_slot_of(r->cache, l, x);

            if (slot == CACHE_NONE)
                continue;
            layer[slot] = l;
            expert[slot] = x;
        }
    }
    first = (struct exec_slots){.count = slots, .layer = layer, .expert = expert};
    status = r->ops->begin(r->exec, &first, e);
    free(layer);
    free(expert);
    return status;
}

int run_begin(struct run *r, struct err *e)
{
    struct run_result *result = r->result;
    uint32_t slots;

    r->cache = make_cache(r, e);
    if (r->cache == NULL)
        return -1;
    result->cache_slots = cache_slots(r->cache);
    result->cache_bytes = cache_capacity_bytes(r->cache);
    result->staging_bytes = cache_staging_bytes(r->cache);
    slots = result->cache_slots + (uint32_t)r->setup->policy->cache.staging;
    r->slot = mem_zalloc(slots, sizeof *r->slot);
    return begin_exec(r, slots, e);
}

static int run_all(struct run *r, struct err *e)
{
    struct run_result *result = r->result;

    if (run_begin(r, e) != 0 || run_passes(r, e) != 0)
        return -1;
    result->elapsed = r->ops->now(r->exec);
    if (r->ops->drain(r->exec, e) != 0)
        return -1;
    result->tail = r->ops->now(r->exec) - result->elapsed;
    result->rows_resampled = workload_rows_resampled(r->setup->workload);
    result->prompts_skipped = workload_prompts_skipped(r->setup->workload);
    return books_check(r->setup, result, e);
}

static int route_passes(struct run *r, struct err *e)
{
    const struct pass *pass;
    int more;

    while ((more = workload_next(r->setup->workload, 0, &pass, e)) == 1) {
        r->pass = pass;
        for (uint32_t l = 0; l < r->layers; l++) {
            step_route(r, l);
            if (step_record(r, e) != 0)
                return -1;
            step_clear(r);
        }
        if (file_interrupted())
            return err_set(e, "stopped by a signal while looking ahead; nothing was "
                              "written");
    }
    return more;
}

int run_routing(const struct run_setup *setup, struct err *e)
{
    struct run_result books = {.layers = setup->trace->layers};
    struct run r;
    int status;

    books.layer = mem_zalloc(setup->trace->layers, sizeof *books.layer);
    run_init(&r, setup, &books);
    status = route_passes(&r, e);
    run_release(&r);
    run_result_release(&books);
    return status;
}

int run_policy(const struct run_setup *setup, struct run_result *result, struct err *e)
{
    struct run r;
    int status;

    *result = (struct run_result){.layers = setup->trace->layers};
    if (setup->keep_passes && (result->pass_spool = tmpfile()) == NULL)
        return err_set(e,
                       "no temporary file for pass records: %s; set TMPDIR to a folder "
                       "with room",
                       strerror(errno));
    result->layer = mem_zalloc(setup->trace->layers, sizeof *result->layer);
    result->requests = workload_request_count(setup->workload);
    result->request = mem_zalloc(result->requests, sizeof *result->request);
    if (setup->parallel != NULL) {
        status = crew_run(setup, result, e);
    } else {
        run_init(&r, setup, result);
        status = run_all(&r, e);
        run_release(&r);
    }
    if (status != 0)
        run_result_release(result);
    return status;
}

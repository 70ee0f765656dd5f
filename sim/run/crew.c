#include "crew_state.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- submitting ---- */

static void note_join(struct crew_gpu *g, size_t at)
{
    if (g->joins == g->join_room) {
        g->join_room = g->join_room * 2 + 64;
        g->join = mem_resize(g->join, g->join_room, sizeof *g->join);
    }
    g->join[g->joins++] = (struct crew_join){at, g->parts};
    g->joined = 0;
}

void crew_compute(struct crew *c, uint32_t gpu, struct op *op, sim_time *share,
                  enum run_share kind)
{
    struct crew_gpu *g = &c->gpu[gpu];
    struct run *run = &g->run;
    op_id after[2] = {g->joined, run->copies_wait ? run->last_copy : 0};

    op->lane = LANE_COMPUTE;
    op->after = after;
    op->after_count = 2;
    step_compute(run, op, share, kind);
    if (g->joined != 0)
        note_join(g, run->log_count - 1);
    g->last = run->last_compute;
}

/* What a collective of GPUs [first, first + count) comes after. */
static struct op collective_op(struct crew *c, enum op_kind kind, uint32_t layer,
                               const struct collective *what, uint32_t first,
                               uint32_t count)
{
    struct op op = {.kind = kind, .lane = LANE_NETWORK, .layer = layer};

    for (uint32_t i = 0; i < count; i++) {
        op_id last = c->gpu[first + i].last;

        if (last != 0)
            c->after[op.after_count++] = last;
    }
    op.after = c->after;
    op.collective.what = what;
    op.collective.member = c->p->exec + first;
    op.collective.members = count;
    return op;
}

void crew_collect(struct crew *c, enum op_kind kind, uint32_t layer,
                  const struct collective *what, uint32_t first, uint32_t count,
                  sim_time *share)
{
    struct op op = collective_op(c, kind, layer, what, first, count);
    op_id id;

    if (count < 2)
        return;
    id = step_submit(&c->gpu[first].run, &op);
    if (c->collectives == c->collective_room) {
        c->collective_room = c->collective_room * 2 + 256;
        c->collective =
            mem_resize(c->collective, c->collective_room, sizeof *c->collective);
    }
    c->collective[c->collectives] = (struct crew_collective){id, share};
    for (uint32_t i = first; i < first + count; i++) {
        struct crew_gpu *g = &c->gpu[i];

        g->last = g->joined = id;
        if (g->parts == g->part_room) {
            g->part_room = g->part_room * 2 + 256;
            g->part = mem_resize(g->part, g->part_room, sizeof *g->part);
        }
        g->part[g->parts++] = c->collectives;
    }
    c->collectives++;
}

op_id crew_collect_aside(struct crew *c, const struct collective *what)
{
    struct op op = collective_op(c, OP_MIGRATE, 0, what, 0, c->gpus);

    op.class_ = WORK_PREFETCH;
    return step_submit(&c->gpu[0].run, &op);
}

/* The hosts wait for what the last collective gave them. */
static void wait_all(struct crew *c)
{
    for (uint32_t i = 0; i < c->gpus; i++) {
        struct run *run = &c->gpu[i].run;

        if (c->gpu[i].last != 0)
            (void)run->ops->wait(run->exec, c->gpu[i].last);
    }
}

/* ---- a layer ---- */

/* All-gather before and reduce-scatter after what `tensor` GPUs compute together: once
 * around attention and once around a dense or shared FFN. */
static void gather_rows(struct crew *c, enum op_kind kind, uint32_t layer, bool ffn,
                        sim_time *share)
{
    uint32_t tensor = c->p->tensor;
    uint32_t *group = c->member;

    for (uint32_t a = 0; tensor > 1 && a < c->attentions; a++) {
        struct collective what = {.form = kind == OP_GATHER ? COLLECTIVE_ALL_GATHER
                                                            : COLLECTIVE_REDUCE_SCATTER,
                                  .group = group,
                                  .group_count = tensor,
                                  .bytes = c->rank_bytes};

        for (uint32_t i = 0; i < tensor; i++) {
            group[i] = a * tensor + i;
            c->rank_bytes[i] = c->gpu[group[i]].own.tokens * c->combine.unit_bytes;
        }
        for (int times = ffn ? 2 : 1; times > 0; times--)
            crew_collect(c, kind, layer, &what, a * tensor, tensor, share);
    }
}

static void run_dense(struct crew *c, uint32_t decoder_layer, sim_time *share)
{
    const struct model *m = c->setup->cost->model;
    bool ffn = (model_layer_is_moe(m, decoder_layer) ? m->shared_ffn : m->dense_ffn) > 0;

    gather_rows(c, OP_GATHER, decoder_layer, ffn, share);
    for (uint32_t i = 0; i < c->gpus; i++) {
        struct op op = {.kind = OP_DENSE, .layer = decoder_layer};

        op.batch = &c->gpu[i].attention;
        crew_compute(c, i, &op, share, SHARE_DENSE);
    }
    gather_rows(c, OP_SCATTER, decoder_layer, ffn, share);
}

static void arrange(struct crew *c, enum op_kind kind, uint32_t layer, sim_time *share)
{
    for (uint32_t i = 0; c->encodes && i < c->gpus; i++) {
        struct op op = {.kind = kind, .layer = layer};

        op.dispatch = &c->gpu[i].dispatch;
        if (op.dispatch->rows > 0)
            crew_compute(c, i, &op, share, SHARE_DENSE);
    }
}

static int run_experts(struct crew *c, uint32_t layer, struct err *e)
{
    struct crew_share even = {.time = 0};

    if (c->p->balanced)
        even = crew_bound_share(c);
    for (uint32_t i = 0; i < c->gpus; i++) {
        struct crew_gpu *g = &c->gpu[i];
        size_t logged = g->run.log_count;

        g->run.arrived = g->joined;
        if (c->p->balanced && crew_bound_exceeds(c, i, &even))
            crew_bound_run(c, i, layer, &even);
        else if (step_run(&g->run, e) != 0)
            return -1;
        if (g->run.log_count > logged) {
            if (g->joined != 0)
                note_join(g, logged);
            g->last = g->run.last_compute;
        }
        step_clear(&g->run);
    }
    return 0;
}

/* Rows to all GPUs, a slice of every expert on each, sums back to whose they are. */
static void collect_shards(struct crew *c, enum op_kind kind, uint32_t layer,
                           sim_time *share)
{
    struct collective what = {.form = kind == OP_SCATTER ? COLLECTIVE_REDUCE_SCATTER
                                                         : COLLECTIVE_ALL_GATHER,
                              .bytes = c->rank_bytes};

    for (uint32_t i = 0; i < c->gpus; i++)
        c->rank_bytes[i] = kind == OP_EXCHANGE
                               ? c->experts * sizeof(uint32_t)
                               : c->gpu[i].own.tokens * c->combine.unit_bytes;
    crew_collect(c, kind, layer, &what, 0, c->gpus, share);
}

static int run_moe_layer(struct crew *c, uint32_t layer, struct err *e)
{
    sim_time *share = c->result->layer[layer].share;
    bool sharded = c->place->shards > 1;

    for (uint32_t i = 0; i < c->gpus; i++) {
        struct op op = {.kind = OP_GATE, .layer = layer};

        op.batch = &c->gpu[i].own;
        crew_compute(c, i, &op, share, SHARE_DENSE);
    }
    if (crew_route_layer(c, layer, e) != 0)
        return -1;
    arrange(c, OP_ENCODE, layer, share);
    if (sharded)
        collect_shards(c, OP_EXCHANGE, layer, share);
    else if (c->p->exchange)
        crew_collect(c, OP_EXCHANGE, layer, &c->exchange, 0, c->gpus, share);
    if (c->p->exchange)
        wait_all(c);
    if (sharded)
        collect_shards(c, OP_GATHER, layer, share);
    else
        crew_collect(c, OP_DISPATCH, layer, &c->dispatch, 0, c->gpus, share);
    if (c->setup->policy->schedule.wait)
        wait_all(c);
    if (run_experts(c, layer, e) != 0)
        return -1;
    if (sharded)
        collect_shards(c, OP_SCATTER, layer, share);
    else
        crew_collect(c, OP_COMBINE, layer, &c->combine, 0, c->gpus, share);
    arrange(c, OP_DECODE, layer, share);
    return 0;
}

/* ---- a pass ---- */

/* The latest of the hosts' times. */
static sim_time latest(const struct crew *c)
{
    sim_time time = 0;

    for (uint32_t i = 0; i < c->gpus; i++) {
        const struct run *run = &c->gpu[i].run;
        sim_time now = run->ops->now(run->exec);

        time = now > time ? now : time;
    }
    return time;
}

static void begin_pass(struct crew *c, const struct pass *pass)
{
    sim_time start = latest(c);

    c->pass = pass;
    c->collectives = 0;
    for (uint32_t i = 0; i < c->gpus; i++) {
        const struct run *run = &c->gpu[i].run;

        c->last_id = run->last_id > c->last_id ? run->last_id : c->last_id;
    }
    for (uint32_t i = 0; i < c->gpus; i++) {
        struct crew_gpu *g = &c->gpu[i];

        g->run.last_id = c->last_id;
        g->run.ops->sleep_until(g->run.exec, start);
        run_begin_pass(&g->run, pass);
        g->parts = g->joins = 0;
        g->last = g->joined = 0;
    }
    c->books = (struct run_pass){.start = c->gpu[0].run.books.start,
                                 .rows = pass->rows,
                                 .outputs = pass->output_count};
}

static int run_layers(struct crew *c, struct err *e)
{
    const struct trace_info *t = c->setup->trace;
    uint32_t moe = 0;

    for (uint32_t l = 0; l < c->setup->cost->model->layers; l++) {
        bool is_moe = moe < c->layers && t->moe_layer[moe] == l;

        run_dense(c, l, is_moe ? c->result->layer[moe].share : c->gpu[0].run.outside);
        if (is_moe && run_moe_layer(c, moe++, e) != 0)
            return -1;
    }
    gather_rows(c, OP_GATHER, c->setup->cost->model->layers - 1, false,
                c->gpu[0].run.outside);
    for (uint32_t i = 0; i < c->gpus; i++) {
        struct op op = {.kind = OP_HEAD};

        op.batch = &c->gpu[i].attention;
        crew_compute(c, i, &op, c->gpu[0].run.outside, SHARE_DENSE);
    }
    wait_all(c);
    return 0;
}

/* ---- the books of a pass ---- */

static sim_time held(sim_time t, sim_time low, sim_time high)
{
    return t < low ? low : t > high ? high : t;
}

/* The gap before an operation that comes after collectives [from, until) of `part`. */
static sim_time attribute_gap(struct crew *c, const struct crew_gpu *g, uint32_t from,
                              uint32_t until, sim_time at, sim_time start)
{
    for (uint32_t i = from; i < until; i++) {
        const struct crew_collective *x = &c->collective[g->part[i]];
        const struct op_times *t = &c->times[g->part[i]];
        sim_time begin = held(t->start, at, start);
        sim_time issued = held(t->issued, at, begin);
        sim_time end = held(t->end, begin, start);

        c->sum[SHARE_HOST] += issued - at;
        x->share[SHARE_HOST] += issued - at;
        c->sum[SHARE_IMBALANCE] += begin - issued;
        x->share[SHARE_IMBALANCE] += begin - issued;
        c->sum[SHARE_COMM] += end - begin;
        x->share[SHARE_COMM] += end - begin;
        at = end;
    }
    return at;
}

static void attribute_gpu(struct crew *c, struct crew_gpu *g, sim_time end)
{
    struct run *run = &g->run;
    const struct op_times *times = books_times(run, run->log_id, run->log_count);
    sim_time at = c->books.start, back = run->ops->now(run->exec);
    uint32_t seen = 0, join = 0;

    for (size_t i = 0; i < run->log_count; i++) {
        const struct op_times *t = &times[i];
        sim_time *share = run->log[i].share;

        if (join < g->joins && g->join[join].at == i) {
            at = attribute_gap(c, g, seen, g->join[join].until, at, t->start);
            seen = g->join[join++].until;
        }
        if (t->start > at) {
            sim_time issued = held(t->issued, at, t->start);

            c->sum[SHARE_HOST] += issued - at;
            share[SHARE_HOST] += issued - at;
            c->sum[SHARE_COPY] += t->start - issued;
            share[SHARE_COPY] += t->start - issued;
            at = t->start;
        }
        c->sum[run->log[i].kind] += t->end - at;
        share[run->log[i].kind] += t->end - at;
        c->result->compute_busy += t->end - t->start;
        at = t->end;
    }
    c->sum[SHARE_HOST] += back - at;
    c->sum[SHARE_IMBALANCE] += end - back;
}

static void read_collectives(struct crew *c)
{
    const struct run *first = &c->gpu[0].run;

    if (c->collectives > c->times_room) {
        c->times_room = 2 * (size_t)c->collectives;
        c->times = mem_resize(c->times, c->times_room, sizeof *c->times);
        c->id = mem_resize(c->id, c->times_room, sizeof *c->id);
    }
    for (uint32_t i = 0; i < c->collectives; i++)
        c->id[i] = c->collective[i].id;
    first->ops->times(first->exec, c->id, c->collectives, c->times);
}

/* The means over the GPUs, rounded such that they still sum to the latency. */
static void share_out(struct crew *c)
{
    sim_time sum = 0;

    for (int i = 0; i < RUN_SHARES; i++) {
        sim_time before = sum / (sim_time)c->gpus;

        sum += c->sum[i];
        c->books.share[i] = sum / (sim_time)c->gpus - before;
    }
    assert(sum == c->books.latency * (sim_time)c->gpus);
}

static int end_pass(struct crew *c, struct err *e)
{
    const struct run *first = &c->gpu[0].run;
    sim_time end = latest(c);

    c->books.latency = end - c->books.start;
    memset(c->sum, 0, sizeof c->sum);
    read_collectives(c);
    for (uint32_t i = 0; i < c->gpus; i++) {
        struct crew_gpu *g = &c->gpu[i];

        attribute_gpu(c, g, end);
        books_copies(&g->run);
        books_add(&c->books.counts, &g->run.books.counts);
        cache_end_pass(g->run.cache);
        g->run.retired = first->pass_first;
    }
    share_out(c);
    first->ops->retire(first->exec, c->migration != 0 && c->migration < first->pass_first
                                        ? c->migration
                                        : first->pass_first);
    return books_close(c->setup, c->pass, &c->books, c->result, e);
}

static int run_pass(struct crew *c, const struct pass *pass, struct err *e)
{
    begin_pass(c, pass);
    if (crew_route_pass(c, e) != 0 || crew_place_begin_pass(c, e) != 0 ||
        run_layers(c, e) != 0 || end_pass(c, e) != 0)
        return -1;
    crew_place_end_pass(c);
    return 0;
}

/* ---- a run ---- */

static int run_passes(struct crew *c, struct err *e)
{
    const struct run *first = &c->gpu[0].run;
    const struct pass *pass;
    int more;

    while ((more = workload_next(c->setup->workload, first->ops->now(first->exec), &pass,
                                 e)) == 1) {
        if (run_pass(c, pass, e) != 0)
            return -1;
        if (run_report(c->setup))
            return 0;
    }
    c->result->finished = more == 0;
    return more;
}

static void gpu_init(struct crew *c, uint32_t i)
{
    const struct schedule_params *schedule = &c->setup->policy->schedule;
    struct run *run = &c->gpu[i].run;
    bool serial = schedule->experts == EXPERTS_SERIAL;

    run_init(run, c->setup, c->result);
    run->exec = c->p->exec[i];
    if (c->setup->profile != NULL)
        run->profile = c->gpu[i].profile = crew_place_profile(c, i);
    if (c->place->shards > 1) {
        const struct place_shard_params *p = c->setup->policy->params[SLOT_PLACE];

        serial = p->variant != PLACE_SHARD_V2;
        if (p->variant == PLACE_SHARD_V2)
            run->tiles = (struct machine_tiles){1, {PLACE_SHARD_BLOCK}};
        run->by_source = p->variant == PLACE_SHARD_V0 ? c->by_source : NULL;
        run->sources = c->gpus;
    }
    if (serial || c->setup->cost->machine->host.expert_overhead > 0)
        run->held = c->local;
    if (serial)
        run->piece = mem_alloc((size_t)c->local * (run->by_source != NULL ? c->gpus : 1),
                               sizeof *run->piece);
}

static int crew_init(struct crew *c, const struct run_setup *s, struct run_result *result,
                     struct err *e)
{
    *c = (struct crew){.setup = s,
                       .p = s->parallel,
                       .result = result,
                       .gpus = s->parallel->topology->ranks,
                       .layers = s->trace->layers,
                       .experts = s->trace->experts,
                       .top_k = s->trace->top_k,
                       .local = s->parallel->local};
    c->slots = c->gpus * c->local;
    c->attentions = c->gpus / c->p->tensor;
    result->gpus = c->gpus;
    result->nodes = c->p->topology->nodes;
    result->gpu_rows = mem_zalloc(c->gpus, sizeof *result->gpu_rows);
    c->gpu = mem_zalloc(c->gpus, sizeof *c->gpu);
    c->after = mem_alloc(c->gpus, sizeof *c->after);
    c->member = mem_alloc(c->p->tensor, sizeof *c->member);
    c->tokens = mem_zalloc(c->slots, sizeof *c->tokens);
    if (crew_place_init(c, e) != 0)
        return -1;
    result->shards = c->place->shards;
    crew_route_init(c);
    for (uint32_t i = 0; i < c->gpus; i++)
        gpu_init(c, i);
    for (uint32_t i = 0; i < c->gpus; i++) {
        if (run_begin(&c->gpu[i].run, e) != 0)
            return -1;
    }
    return 0;
}

static void crew_release(struct crew *c)
{
    for (uint32_t i = 0; i < c->gpus; i++) {
        struct crew_gpu *g = &c->gpu[i];

        run_release(&g->run);
        free(g->part);
        free(g->join);
        free(g->profile);
    }
    crew_route_release(c);
    crew_place_release(c);
    free(c->gpu);
    free(c->after);
    free(c->member);
    free(c->tokens);
    free(c->collective);
    free(c->times);
    free(c->id);
}

/* Layers' shares were summed over the GPUs, and so was the time that they computed or
 * waited for migrations. */
static void average(struct crew *c)
{
    struct run_result *r = c->result;

    for (uint32_t l = 0; l < r->layers; l++)
        for (int i = 0; i < RUN_SHARES; i++)
            r->layer[l].share[i] /= (sim_time)c->gpus;
    r->compute_busy /= (sim_time)c->gpus;
    for (int i = 0; i < RUN_SHARES; i++)
        r->migration_time += c->migrating[i];
    r->migration_time /= (sim_time)c->gpus;
}

static int finish(struct crew *c, struct err *e)
{
    struct run_result *r = c->result;

    r->elapsed = latest(c);
    for (uint32_t i = 0; i < c->gpus; i++) {
        const struct run *run = &c->gpu[i].run;

        if (run->ops->drain(run->exec, e) != 0)
            return -1;
    }
    r->tail = latest(c) - r->elapsed;
    r->rows_resampled = workload_rows_resampled(c->setup->workload);
    r->prompts_skipped = workload_prompts_skipped(c->setup->workload);
    average(c);
    return books_check(c->setup, r, e);
}

int crew_run(const struct run_setup *setup, struct run_result *result, struct err *e)
{
    struct crew c;
    int status = -1;

    if (crew_init(&c, setup, result, e) == 0 && run_passes(&c, e) == 0)
        status = finish(&c, e);
    crew_release(&c);
    return status;
}

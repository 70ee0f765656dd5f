#include "run_state.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- operations ---- */

op_id step_submit(struct run *r, const struct op *op)
{
    return r->last_id = r->ops->submit(r->exec, op);
}

void step_compute(struct run *r, const struct op *op, sim_time *share,
                  enum run_share kind)
{
    r->last_compute = step_submit(r, op);
    r->log_id[r->log_count] = r->last_compute;
    r->log[r->log_count++] = (struct run_logged){.share = share, .kind = kind};
}

bool step_copied(const struct run *r, op_id copy)
{
    return copy < r->retired || r->ops->done(r->exec, copy);
}

static void remember_copy(struct run_copies *list, op_id id, uint32_t layer,
                          sim_time asked)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity * 2 + 64;
        list->id = mem_resize(list->id, list->capacity, sizeof *list->id);
        list->copy = mem_resize(list->copy, list->capacity, sizeof *list->copy);
    }
    list->id[list->count] = id;
    list->copy[list->count++] = (struct run_copy){layer, asked};
}

static struct cost_experts group_work(const struct run *r, const struct run_group *g)
{
    struct cost_experts work = {.distinct = 0};

    if (r->single) { /* spares decode one by one */
        work.distinct = g->count;
        work.rows = g->count;
        work.padded_rows = g->count * machine_tiles_pad(&r->tiles, 1);
        return work;
    }
    for (uint32_t i = 0; i < g->count; i++)
        cost_experts_add(&work, r->tokens[g->expert[i]], &r->tiles);
    return work;
}

/* A group that an eager framework loops over, or launches expert by expert. */
static void fill_pieces(struct run *r, struct op *op)
{
    op->group.held = r->held;
    op->group.piece = r->piece;
    op->group.pieces = 0;
    for (uint32_t i = 0; r->piece != NULL && i < op->group.count; i++) {
        uint32_t expert = op->group.expert[i];

        if (r->by_source == NULL)
            r->piece[op->group.pieces++] = r->tokens[expert];
        for (uint32_t s = 0; r->by_source != NULL && s < r->sources; s++)
            r->piece[op->group.pieces++] = r->by_source[(size_t)s * r->experts + expert];
    }
}

static void submit_group(struct run *r, struct run_group *g)
{
    struct op *op = &g->op;

    if (r->arrived != 0)
        g->after[g->after_count++] = r->arrived;
    op->layer = r->layer;
    op->after_count = g->after_count;
    op->group.work = group_work(r, g);
    op->group.count = g->count;
    if (r->held > 0)
        fill_pieces(r, op);
    step_compute(r, op, r->result->layer[r->layer].share, SHARE_EXPERT);
    r->group_id[g->number - r->group_first] = r->last_compute;
    g->number = r->group_next++;
    g->count = 0;
    g->after_count = 0;
}

static void submit_groups(struct run *r)
{
    if (r->resident.count > 0)
        submit_group(r, &r->resident);
    if (r->missing.count > 0)
        submit_group(r, &r->missing);
}

/* Is the slot to be read by a group that is not submitted yet? */
static bool is_in_open_group(const struct run *r, const struct run_slot *s)
{
    return s->group == r->resident.number || s->group == r->missing.number;
}

/* The last group that read the slot; 0 if it has ended, as groups do with their pass. */
static op_id last_group(const struct run *r, const struct run_slot *s)
{
    assert(!is_in_open_group(r, s));
    return s->group < r->group_first ? 0 : r->group_id[s->group - r->group_first];
}

static void join_group(struct run *r, struct run_group *g, uint32_t expert, uint32_t slot,
                       op_id after)
{
    g->expert[g->count] = (uint16_t)expert;
    g->slot[g->count] = slot;
    g->count++;
    if (after != 0)
        g->after[g->after_count++] = after;
    r->slot[slot].group = g->number;
}

static enum tier home_of(const struct run *r, uint32_t layer, uint32_t expert)
{
    const struct run_setup *s = r->setup;
    uint64_t before = 0;

    if (s->home != TIER_HOST || s->host_bytes == UINT64_MAX)
        return s->home;
    for (uint32_t l = 0; l < layer; l++)
        before += s->expert_bytes[l] * r->experts;
    before += s->expert_bytes[layer] * (expert + 1);
    return before <= s->host_bytes ? TIER_HOST : TIER_STORAGE;
}

static void wait_also(struct run *r, op_id id)
{
    if (id == 0)
        return;
    if (r->wait_count == r->wait_capacity) {
        r->wait_capacity = r->wait_capacity * 2 + 16;
        r->wait_for = mem_resize(r->wait_for, r->wait_capacity, sizeof *r->wait_for);
    }
    r->wait_for[r->wait_count++] = id;
}

/* Loads an expert into a slot, after all that wait_also() named and whatever still fills
 * or reads the slot. */
static op_id copy_in(struct run *r, uint32_t layer, uint32_t expert, uint32_t slot,
                     enum work_class class_)
{
    struct run_slot *s = &r->slot[slot];
    struct op op = {
        .kind = OP_COPY_IN, .lane = LANE_COPY_IN, .class_ = class_, .layer = layer};

    wait_also(r, last_group(r, s));
    wait_also(r, s->written);
    wait_also(r, s->stopped);
    s->written = 0;
    s->stopped = 0;
    if (r->copies_wait)
        wait_also(r, r->last_compute);
    op.after = r->wait_for;
    op.after_count = r->wait_count;
    op.copy.expert = expert;
    op.copy.slot = slot;
    op.copy.bytes = r->setup->expert_bytes[layer];
    op.copy.chunk_bytes = r->setup->chunk_bytes;
    op.copy.home = home_of(r, layer, expert);
    s->ready = step_submit(r, &op);
    s->prefetched = class_ == WORK_PREFETCH;
    r->last_copy = s->ready;
    r->wait_count = 0;
    return s->ready;
}

static void write_back(struct run *r, const struct cache_eviction *v)
{
    struct run_slot *s = &r->slot[v->slot];
    op_id wait_for[2] = {s->ready, last_group(r, s)};
    struct op op = {.kind = OP_COPY_OUT,
                    .lane = LANE_COPY_OUT,
                    .layer = v->layer,
                    .after = wait_for,
                    .after_count = 2};

    op.copy.expert = v->expert;
    op.copy.slot = v->slot;
    op.copy.bytes = r->setup->expert_bytes[v->layer];
    op.copy.chunk_bytes = r->setup->chunk_bytes;
    op.copy.home = home_of(r, v->layer, v->expert);
    s->written = step_submit(r, &op); /* whoever takes the slot next waits for it */
    wait_also(r, s->written);
    r->books.counts.out_bytes += op.copy.bytes;
    r->result->layer[v->layer].counts.out_bytes += op.copy.bytes;
}

/* Books the victims; the copy that follows waits until their memory is free. */
static void evict(struct run *r, const struct cache_result *c)
{
    for (uint32_t i = 0; i < c->evicted_count; i++) {
        const struct cache_eviction *v = &c->evicted[i];
        struct run_slot *s = &r->slot[v->slot];
        uint64_t bytes = r->setup->expert_bytes[v->layer];

        if (is_in_open_group(r, s))
            submit_groups(r); /* it was still to be read in this step */
        if (s->prefetched) {
            s->prefetched = false;
            s->stopped = s->ready;
            if (!step_copied(r, s->ready))
                r->ops->cancel(r->exec, s->ready);
            r->books.counts.wasted_bytes += bytes;
            r->result->layer[v->layer].counts.wasted_bytes += bytes;
        }
        if (v->slot != c->slot) {
            wait_also(r, last_group(r, s));
            wait_also(r, s->stopped);
        }
        if (r->write_back)
            write_back(r, v);
    }
}

/* Reads a slot that was prefetched, or filled in this pass. */
static void use_recent(struct run *r, uint32_t expert, uint32_t slot)
{
    struct run_slot *s = &r->slot[slot];
    struct run_group *g = &r->resident;
    op_id after = 0;

    if (s->prefetched) {
        struct run_layer *books = &r->result->layer[r->layer];

        s->prefetched = false;
        r->books.counts.prefetch_used++;
        books->counts.prefetch_used++;
        after = s->ready;
        if (!step_copied(r, s->ready)) {
            r->ops->promote(r->exec, s->ready);
            r->books.counts.late++;
            books->counts.late++;
            remember_copy(&r->late, s->ready, r->layer, r->ops->now(r->exec));
            if (r->split)
                g = &r->missing;
        }
    } else if (s->ready >= r->pass_first) {
        after = s->ready;
    }
    join_group(r, g, expert, slot, after);
}

/* Reads resident experts, which r->found says where they are: mostly ones that were there
 * before this pass, which is what the loop is made for. */
static void use_residents(struct run *r, const uint16_t *expert, uint32_t count)
{
    struct run_group *g = &r->resident;
    struct run_slot *slot = r->slot;
    const uint32_t *found = r->found;
    op_id pass_first = r->pass_first;
    uint64_t number = g->number;
    uint16_t *to_expert = g->expert;
    uint32_t *to_slot = g->slot;
    uint32_t joined = g->count;

    for (uint32_t i = 0; i < count; i++) {
        struct run_slot *s = &slot[found[i]];

        if (s->prefetched || s->ready >= pass_first) {
            g->count = joined;
            use_recent(r, expert[i], found[i]);
            joined = g->count;
            continue;
        }
        to_expert[joined] = expert[i];
        to_slot[joined++] = found[i];
        s->group = number;
    }
    g->count = joined;
}

static void load_missing(struct run *r, uint32_t expert, const struct cache_result *c)
{
    struct run_layer *books = &r->result->layer[r->layer];
    uint64_t bytes = r->setup->expert_bytes[r->layer];
    op_id copy;

    evict(r, c);
    if (is_in_open_group(r, &r->slot[c->slot]))
        submit_groups(r); /* a staging slot used twice in this step */
    if (c->outcome == CACHE_BYPASS) {
        r->books.counts.bypasses++;
        books->counts.bypasses++;
    } else {
        r->books.counts.loads++;
        books->counts.loads++;
    }
    r->books.counts.demand_bytes += bytes;
    books->counts.demand_bytes += bytes;
    copy = copy_in(r, r->layer, expert, c->slot, WORK_DEMAND);
    remember_copy(&r->demand, copy, r->layer, 0);
    join_group(r, r->split ? &r->missing : &r->resident, expert, c->slot, copy);
}

/* Where and for which pass a want is loaded. */
static uint32_t want_layer(const struct run *r, const struct prefetch_want *want)
{
    return (r->layer + want->ahead) % r->layers;
}

static uint32_t want_pass(const struct run *r, const struct prefetch_want *want)
{
    return (uint32_t)(r->pass->index + (r->layer + want->ahead) / r->layers);
}

static void load_early(struct run *r, const struct prefetch_want *want)
{
    uint32_t layer = want_layer(r, want);
    uint64_t bytes = r->setup->expert_bytes[layer];
    struct run_counts *books = &r->result->layer[layer].counts;
    struct cache_result c =
        cache_prefetch(r->cache, layer, want->expert, want_pass(r, want));

    if (c.outcome == CACHE_HIT)
        return;
    evict(r, &c); /* where sizes differ even a load that found no room may evict */
    if (c.outcome != CACHE_LOAD)
        return;
    remember_copy(&r->ahead, copy_in(r, layer, want->expert, c.slot, WORK_PREFETCH),
                  layer, 0);
    r->books.counts.prefetches++;
    books->prefetches++;
    r->books.counts.prefetch_bytes += bytes;
    books->prefetch_bytes += bytes;
}

/* What is wanted and there already is held first: else the load of one want could evict
 * another. */
static void prefetch(struct run *r)
{
    const struct policy *policy = r->setup->policy;
    uint32_t count;

    step_view(r);
    count = policy_prefetch(policy)->step(r->prefetch_state, &r->view, r->want);
    for (uint32_t i = 0; i < count; i++)
        cache_hold(r->cache, want_layer(r, &r->want[i]), r->want[i].expert,
                   want_pass(r, &r->want[i]));
    for (uint32_t i = 0; i < count; i++)
        load_early(r, &r->want[i]);
}

int step_record(struct run *r, struct err *e)
{
    if (r->setup->record == NULL)
        return 0;
    return future_writer_step(r->setup->record, r->turn, r->active_count, e);
}

/* Accesses the experts in turn; how many hit. */
static uint32_t access_all(struct run *r, struct run_accesses all)
{
    const uint16_t *expert = all.expert;
    const struct cache_use *use = all.use;
    uint32_t count = all.count, hits = 0;

    for (uint32_t i = 0;; i++) {
        uint32_t run =
            cache_access_hits(r->cache, r->layer, expert + i,
                              use == NULL ? NULL : use + i, count - i, r->found);
        struct cache_result c;

        use_residents(r, expert + i, run);
        hits += run;
        i += run;
        if (i == count)
            return hits;
        c = cache_access(r->cache, r->layer, expert[i],
                         use == NULL ? CACHE_UNUSED : use[i]);
        load_missing(r, expert[i], &c);
    }
}

int step_run(struct run *r, struct err *e)
{
    struct run_counts *books = &r->result->layer[r->layer].counts;
    struct run_accesses all = {r->turn, NULL, r->active_count};
    uint32_t hits;

    if (r->setup->future != NULL) {
        struct future_step future;

        if (future_reader_next(r->setup->future, e) != 0)
            return -1;
        future = future_reader_peek(r->setup->future, 0);
        assert(future.count == r->active_count);
        all.use = future.next_use;
    }
    cache_begin_step(r->cache, r->layer, r->active, r->active_count);
    if (r->hosted != NULL) {
        step_view(r);
        all = hosted_take(r, all.use);
    }
    hits = access_all(r, all);
    submit_groups(r);
    r->books.counts.accesses += r->active_count;
    r->books.counts.hits += hits;
    books->accesses += r->active_count;
    books->hits += hits;
    if (r->prefetch_state != NULL)
        prefetch(r);
    return step_record(r, e);
}

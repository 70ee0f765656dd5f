/* A GPU's cache and slots: what a step finds there, what is copied, and the groups of
 * experts that run when their weights are there. */
#include "run_state.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A paced cache (run_state.h) takes more in a step than others. Both kinds are made from
 * the same functions, each with its case known to the compiler. */
#define EITHER static inline __attribute__((always_inline))
#define SELDOM static __attribute__((noinline))

static void remember_copy(struct expert_copies *list, op_id id, uint32_t layer,
                          sim_time asked)
{
    if (list->count == list->room) {
        list->room = list->room * 2 + 64;
        list->id = mem_resize(list->id, list->room, sizeof *list->id);
        list->copy = mem_resize(list->copy, list->room, sizeof *list->copy);
    }
    list->id[list->count] = id;
    list->copy[list->count++] = (struct expert_copy){layer, asked};
}

static struct cost_experts group_work(const struct gpu *g,
                                      const struct expert_group *group)
{
    struct cost_experts work = {.distinct = 0};

    if (g->step.single) { /* spares decode one by one */
        work.distinct = group->count;
        work.rows = group->count;
        work.padded_rows = group->count * machine_tiles_pad(&g->residency.tiles, 1);
        return work;
    }
    for (uint32_t i = 0; i < group->count; i++)
        cost_experts_add(&work, g->step.tokens[group->expert[i]], &g->residency.tiles);
    if (g->residency.spared > 0)
        work.spared = precision_spared(&g->residency, group);
    return work;
}

/* A group that an eager framework loops over, or launches expert by expert. */
static void fill_pieces(struct gpu *g, struct op *op)
{
    op->group.loop = g->step.loop;
    op->group.piece = g->step.piece;
    op->group.pieces = 0;
    for (uint32_t i = 0; g->step.piece != NULL && i < op->group.count; i++) {
        uint32_t expert = op->group.expert[i];

        if (g->step.by_source == NULL)
            g->step.piece[op->group.pieces++] = g->step.tokens[expert];
        for (uint32_t s = 0; g->step.by_source != NULL && s < g->step.sources; s++)
            g->step.piece[op->group.pieces++] =
                g->step.by_source[(size_t)s * g->experts + expert];
    }
}

static void submit_group(struct gpu *g, struct expert_group *group)
{
    struct op *op = &group->op;
    struct run_layer *books = g->step.books;

    if (g->step.arrived != 0)
        group->after[group->after_count++] = g->step.arrived;
    op->layer = g->step.layer;
    op->after_count = group->after_count;
    op->group.work = group_work(g, group);
    op->group.count = group->count;
    if (g->step.loop > 0)
        fill_pieces(g, op);
    g->counts.expert_gemms += op_expert_gemms(op);
    books->counts.expert_gemms += op_expert_gemms(op);
    lanes_compute(&g->lanes, op, books->share, SHARE_EXPERT);
    g->residency.group_id[group->number - g->residency.group_first] =
        g->lanes.last_compute;
    group->number = g->residency.group_next++;
    group->count = 0;
    group->after_count = 0;
}

/* Is the slot to be read by a group that is not submitted yet? */
static bool is_in_open_group(const struct gpu *g, const struct expert_slot *s)
{
    return s->group == g->residency.resident.number ||
           s->group == g->residency.missing.number;
}

/* The last group that read the slot; 0 if it has ended, as groups do with their pass. */
static op_id last_group(const struct gpu *g, const struct expert_slot *s)
{
    assert(!is_in_open_group(g, s));
    return s->group < g->residency.group_first
               ? 0
               : g->residency.group_id[s->group - g->residency.group_first];
}

static void join_group(struct gpu *g, struct expert_group *group, uint32_t expert,
                       uint32_t slot, op_id after)
{
    group->expert[group->count] = (uint16_t)expert;
    group->slot[group->count] = slot;
    group->count++;
    if (after != 0)
        group->after[group->after_count++] = after;
    g->residency.slot[slot].group = group->number;
}

/* The group of what is loaded in this step. */
static struct expert_group *group_of_loads(struct gpu *g)
{
    return g->residency.split ? &g->residency.missing : &g->residency.resident;
}

/* The experts of the oldest loads in flight join their group; in one stream the groups
 * come after every copy so far. */
SELDOM void land(struct gpu *g, uint32_t count)
{
    struct residency *r = &g->residency;

    for (; r->landed < count; r->landed++) {
        const struct expert_flight *f = &r->flight[r->landed];

        join_group(g, group_of_loads(g), f->expert, f->slot, f->copy);
    }
    if (!r->one_stream || g->lanes.last_copy == 0)
        return;
    if (r->resident.count > 0)
        r->resident.after[r->resident.after_count++] = g->lanes.last_copy;
    if (r->missing.count > 0)
        r->missing.after[r->missing.after_count++] = g->lanes.last_copy;
}

/* Each expert that was loaded is a group of its own, behind its copy and behind what the
 * group as a whole comes after. */
SELDOM void submit_each(struct gpu *g, struct expert_group *group)
{
    struct expert_group all = *group;
    op_id *after = g->residency.each_after;
    uint32_t common = all.after_count - all.count;

    assert(all.after_count >= all.count);
    memcpy(after + 1, all.after + all.count, common * sizeof *after);
    for (uint32_t i = 0; i < all.count; i++) {
        after[0] = all.after[i];
        group->op.group.expert = group->expert = all.expert + i;
        group->op.group.slot = group->slot = all.slot + i;
        group->op.after = group->after = after;
        group->after_count = 1 + common;
        group->count = 1;
        g->residency.slot[*group->slot].group = group->number;
        submit_group(g, group);
    }
    group->op.group.expert = group->expert = all.expert;
    group->op.group.slot = group->slot = all.slot;
    group->op.after = group->after = all.after;
}

static void submit_open(struct gpu *g)
{
    struct residency *r = &g->residency;

    if (r->resident.count > 0)
        submit_group(g, &r->resident);
    if (r->missing.count == 0)
        return;
    if (r->each_after != NULL)
        submit_each(g, &r->missing);
    else
        submit_group(g, &r->missing);
}

static void submit_groups(struct gpu *g)
{
    if (g->residency.paced)
        land(g, g->residency.flying);
    submit_open(g);
}

static enum tier home_of(const struct gpu *g, uint32_t layer, uint32_t expert)
{
    const struct run_setup *s = g->setup;
    uint64_t before = 0;

    if (s->home != TIER_HOST || s->host_bytes == UINT64_MAX)
        return s->home;
    for (uint32_t l = 0; l < layer; l++)
        before += s->expert_bytes[l] * g->runner->experts;
    before += s->expert_bytes[layer] * (run_expert(g, layer, expert) + UINT64_C(1));
    return before <= s->host_bytes ? TIER_HOST : TIER_STORAGE;
}

static void wait_also(struct gpu *g, op_id id)
{
    if (id == 0)
        return;
    if (g->residency.wait_count == g->residency.wait_room) {
        g->residency.wait_room = g->residency.wait_room * 2 + 16;
        g->residency.wait_for = mem_resize(g->residency.wait_for, g->residency.wait_room,
                                           sizeof *g->residency.wait_for);
    }
    g->residency.wait_for[g->residency.wait_count++] = id;
}

/* Loads an expert of so many bytes into a slot, after all that wait_also() named and
 * whatever still fills or reads the slot. */
static op_id copy_in(struct gpu *g, uint32_t layer, uint32_t expert, uint32_t slot,
                     enum work_class class_, uint64_t bytes)
{
    struct expert_slot *s = &g->residency.slot[slot];
    struct op op = {
        .kind = OP_COPY_IN, .lane = LANE_COPY_IN, .class_ = class_, .layer = layer};

    wait_also(g, last_group(g, s));
    wait_also(g, s->written);
    wait_also(g, s->stopped);
    s->written = 0;
    s->stopped = 0;
    if (g->residency.copies_wait) {
        wait_also(g, g->lanes.last_compute);
        if (g->residency.one_stream)
            wait_also(g, g->lanes.last_copy);
    }
    op.after = g->residency.wait_for;
    op.after_count = g->residency.wait_count;
    op.copy.expert = expert;
    op.copy.slot = slot;
    op.copy.bytes = bytes;
    op.copy.chunk_bytes = g->setup->chunk_bytes;
    op.copy.home = home_of(g, layer, expert);
    s->ready = lanes_submit(&g->lanes, &op);
    s->prefetched = class_ == WORK_PREFETCH;
    g->lanes.last_copy = s->ready;
    g->residency.wait_count = 0;
    return s->ready;
}

/* Behind what fills the slot and what reads it; experts that are still to run read it
 * beside the copy, which only spares let happen. */
static void write_back(struct gpu *g, const struct cache_eviction *v)
{
    struct residency *r = &g->residency;
    struct expert_slot *s = &r->slot[v->slot];
    op_id reader = is_in_open_group(g, s) ? 0 : last_group(g, s);
    op_id wait_for[3] = {s->ready, reader, r->one_stream ? g->lanes.last_copy : 0};
    struct op op = {.kind = OP_COPY_OUT,
                    .lane = LANE_COPY_OUT,
                    .layer = v->layer,
                    .after = wait_for,
                    .after_count = 3};

    op.copy.expert = v->expert;
    op.copy.slot = v->slot;
    op.copy.bytes = g->setup->expert_bytes[v->layer];
    op.copy.chunk_bytes = g->setup->chunk_bytes;
    op.copy.home = home_of(g, v->layer, v->expert);
    s->written =
        lanes_submit(&g->lanes, &op); /* whoever takes the slot next waits for it */
    if (!r->spares)
        wait_also(g, s->written);
    if (r->one_stream)
        g->lanes.last_copy = s->written;
    g->counts.out_bytes += op.copy.bytes;
    g->result->layer[v->layer].counts.out_bytes += op.copy.bytes;
}

/* Books the victims. Without spares the copy that follows waits until their memory is
 * free; with them it goes elsewhere, and write-backs come behind it. */
EITHER void evict(struct gpu *g, const struct cache_result *c, bool spares)
{
    for (uint32_t i = 0; i < c->evicted_count; i++) {
        const struct cache_eviction *v = &c->evicted[i];
        struct expert_slot *s = &g->residency.slot[v->slot];
        uint64_t bytes = g->setup->expert_bytes[v->layer];

        if (!spares && is_in_open_group(g, s))
            submit_groups(g); /* it was still to be read in this step */
        if (s->prefetched) {
            s->prefetched = false;
            s->stopped = s->ready;
            if (!lanes_copied(&g->lanes, s->ready))
                g->lanes.ops->cancel(g->lanes.exec, s->ready);
            g->counts.wasted_bytes += bytes;
            g->result->layer[v->layer].counts.wasted_bytes += bytes;
        }
        if (!spares && v->slot != c->slot) {
            wait_also(g, last_group(g, s));
            wait_also(g, s->stopped);
        }
        if (!spares && g->residency.write_back)
            write_back(g, v);
    }
}

/* Loads an expert that the cache has a slot for, and takes its victims away. */
EITHER op_id exchange(struct gpu *g, uint32_t layer, uint32_t expert,
                      const struct cache_result *c, enum work_class class_,
                      uint64_t bytes, bool spares)
{
    op_id copy;

    evict(g, c, spares);
    if (is_in_open_group(g, &g->residency.slot[c->slot]))
        submit_groups(g); /* a staging or spare slot used twice in this step */
    copy = copy_in(g, layer, expert, c->slot, class_, bytes);
    if (spares && g->residency.write_back)
        for (uint32_t i = 0; i < c->evicted_count; i++)
            write_back(g, &c->evicted[i]);
    return copy;
}

/* Reads a slot that was prefetched, or filled in this pass; any other, too. */
static void use_recent(struct gpu *g, uint32_t expert, uint32_t slot)
{
    struct expert_slot *s = &g->residency.slot[slot];
    struct expert_group *group = &g->residency.resident;
    op_id after = 0;

    if (s->prefetched) {
        struct run_layer *books = g->step.books;

        s->prefetched = false;
        g->counts.prefetch_used++;
        books->counts.prefetch_used++;
        after = s->ready;
        if (!lanes_copied(&g->lanes, s->ready)) {
            g->lanes.ops->promote(g->lanes.exec, s->ready);
            g->counts.late++;
            books->counts.late++;
            remember_copy(&g->residency.late, s->ready, g->step.layer,
                          g->lanes.ops->now(g->lanes.exec));
            if (g->residency.split)
                group = &g->residency.missing;
        }
    } else if (s->ready >= g->lanes.pass_first) {
        after = s->ready;
    }
    join_group(g, group, expert, slot, after);
}

/* Reads resident experts, which g->residency.found says where they are: mostly ones that
 * were there before this pass, which is what the loop is made for. */
static void use_residents(struct gpu *g, const uint16_t *expert, uint32_t count)
{
    struct expert_group *group = &g->residency.resident;
    struct expert_slot *slot = g->residency.slot;
    const uint32_t *found = g->residency.found;
    op_id pass_first = g->lanes.pass_first;
    uint64_t number = group->number;
    uint16_t *to_expert = group->expert;
    uint32_t *to_slot = group->slot;
    uint32_t joined = group->count;

    for (uint32_t i = 0; i < count; i++) {
        struct expert_slot *s = &slot[found[i]];

        if (s->prefetched || s->ready >= pass_first) {
            group->count = joined;
            use_recent(g, expert[i], found[i]);
            joined = group->count;
            continue;
        }
        to_expert[joined] = expert[i];
        to_slot[joined++] = found[i];
        s->group = number;
    }
    group->count = joined;
}

static bool *displaced_at(struct gpu *g, uint32_t layer, uint32_t expert)
{
    return &g->residency.displaced[(size_t)layer * g->experts + expert];
}

/* Counts a miss that a prefetch made. */
static void book_displaced(struct gpu *g, uint32_t expert)
{
    bool *displaced = displaced_at(g, g->step.layer, expert);

    g->counts.displaced += *displaced;
    g->step.books->counts.displaced += *displaced;
    *displaced = false;
}

EITHER void load_missing(struct gpu *g, uint32_t expert, const struct cache_result *c,
                         bool low, bool paced)
{
    struct run_layer *books = g->step.books;
    struct residency *r = &g->residency;
    uint64_t bytes =
        low ? r->low_bytes[g->step.layer] : g->setup->expert_bytes[g->step.layer];
    op_id copy =
        exchange(g, g->step.layer, expert, c, WORK_DEMAND, bytes, paced && r->spares);

    if (c->outcome == CACHE_BYPASS) {
        g->counts.bypasses++;
        books->counts.bypasses++;
    } else {
        uint64_t swap = c->evicted_count > 0;

        g->counts.loads++;
        books->counts.loads++;
        g->counts.swaps += swap;
        books->counts.swaps += swap;
    }
    if (g->residency.displaced != NULL)
        book_displaced(g, expert);
    g->counts.demand_bytes += bytes;
    books->counts.demand_bytes += bytes;
    remember_copy(&r->demand, copy, g->step.layer, 0);
    if (r->watched)
        watch_miss(g, expert);
    if (paced)
        r->slot[c->slot].low = low;
    if (!paced || r->in_flight == 0) {
        join_group(g, group_of_loads(g), expert, c->slot, copy);
        return;
    }
    r->flight[r->flying++] = (struct expert_flight){expert, c->slot, copy};
    r->slot[c->slot].group = group_of_loads(g)->number;
}

void residency_hold(struct gpu *g, uint32_t layer, uint32_t expert, uint32_t pass)
{
    cache_hold(g->residency.cache, layer, expert, pass);
}

void residency_load_early(struct gpu *g, uint32_t layer, uint32_t expert, uint32_t pass)
{
    uint64_t bytes = g->setup->expert_bytes[layer];
    struct run_counts *books = &g->result->layer[layer].counts;
    struct cache_result c = cache_prefetch(g->residency.cache, layer, expert, pass);
    op_id copy;

    if (c.outcome == CACHE_HIT)
        return;
    for (uint32_t i = 0; i < c.evicted_count; i++)
        *displaced_at(g, c.evicted[i].layer, c.evicted[i].expert) = true;
    if (c.outcome != CACHE_LOAD) {
        evict(g, &c, false); /* with sizes that differ even one without room may */
        return;
    }
    *displaced_at(g, layer, expert) = false;
    copy = g->residency.spares
               ? exchange(g, layer, expert, &c, WORK_PREFETCH, bytes, true)
               : exchange(g, layer, expert, &c, WORK_PREFETCH, bytes, false);
    remember_copy(&g->residency.ahead, copy, layer, 0);
    if (g->residency.watched)
        watch_copy_ahead(g, copy);
    g->counts.prefetches++;
    books->prefetches++;
    g->counts.prefetch_bytes += bytes;
    books->prefetch_bytes += bytes;
}

/* Accesses the experts in turn; how many hit. */
static uint32_t access_all(struct gpu *g, struct step_accesses all)
{
    const uint16_t *expert = all.expert;
    const struct cache_use *use = all.use;
    uint32_t count = all.count, hits = 0;

    for (uint32_t i = 0;; i++) {
        uint32_t run = cache_access_hits(g->residency.cache, g->step.layer, expert + i,
                                         use == NULL ? NULL : use + i, count - i,
                                         g->residency.found);
        struct cache_result c;

        use_residents(g, expert + i, run);
        hits += run;
        i += run;
        if (i == count)
            return hits;
        c = cache_access(g->residency.cache, g->step.layer, expert[i],
                         use == NULL ? CACHE_UNUSED : use[i]);
        load_missing(g, expert[i], &c, false, false);
    }
}

static void book_low(struct gpu *g, bool loaded)
{
    g->counts.low_uses++;
    g->step.books->counts.low_uses++;
    g->counts.low_loads += loaded;
    g->step.books->counts.low_loads += loaded;
}

/* The same of a paced cache, until a load may not be asked for yet: then the rest is
 * left. */
static uint32_t access_some(struct gpu *g, struct step_accesses all)
{
    struct residency *r = &g->residency;
    uint32_t hits = 0;

    for (uint32_t i = 0; i < all.count; i++) {
        uint32_t form = all.expert[i];
        bool low = form >= g->experts;
        uint32_t expert = low ? form - g->experts : form;
        struct cache_result c;

        if (r->in_flight > 0 && r->flying == r->in_flight &&
            cache_slot_of(r->cache, g->step.layer, form) == CACHE_NONE) {
            r->left = (struct step_accesses){
                all.expert + i, all.use == NULL ? NULL : all.use + i, all.count - i};
            return hits;
        }
        c = cache_access(r->cache, g->step.layer, form,
                         all.use == NULL ? CACHE_UNUSED : all.use[i]);
        if (c.outcome == CACHE_HIT)
            use_recent(g, expert, c.slot);
        else
            load_missing(g, expert, &c, low, true);
        if (low)
            book_low(g, c.outcome != CACHE_HIT);
        hits += c.outcome == CACHE_HIT;
    }
    return hits;
}

/* What is resident before what is not. */
static struct step_accesses hits_first(struct gpu *g, struct step_accesses all)
{
    struct residency *r = &g->residency;

    cache_order_hits_first(r->cache, g->step.layer, all.expert, all.count, r->turn);
    for (uint32_t i = 0; i < all.count; i++) {
        r->turned[i] = all.expert[r->turn[i]];
        if (all.use != NULL)
            r->turned_use[i] = all.use[r->turn[i]];
    }
    return (struct step_accesses){r->turned, all.use == NULL ? NULL : r->turned_use,
                                  all.count};
}

static void book_accesses(struct gpu *g, uint32_t accesses, uint32_t hits)
{
    struct run_counts *books = &g->step.books->counts;

    g->counts.accesses += accesses;
    g->counts.hits += hits;
    books->accesses += accesses;
    books->hits += hits;
}

/* The accesses of a paced cache, from the first or from where it stopped. */
SELDOM bool access_rest(struct gpu *g, struct step_accesses all)
{
    uint32_t hits;

    g->residency.left.count = 0;
    hits = access_some(g, all);
    book_accesses(g, all.count - g->residency.left.count, hits);
    if (g->residency.left.count > 0)
        return false;
    submit_groups(g);
    return true;
}

bool residency_step(struct gpu *g)
{
    struct residency *r = &g->residency;
    struct step_accesses all = {g->step.turn, g->step.use, g->step.active_count};
    uint32_t hits;

    cache_begin_step(r->cache, g->step.layer, g->step.active, g->step.active_count);
    if (g->hosted != NULL)
        all = hosted_take(g, all);
    if (r->paced) {
        book_accesses(g, g->step.active_count - all.count, 0); /* those on the host */
        r->flying = r->landed = 0;
        if (g->precision != NULL)
            all = precision_take(g, all);
        return access_rest(g, r->turn != NULL ? hits_first(g, all) : all);
    }
    hits = access_all(g, all);
    submit_open(g);
    book_accesses(g, g->step.active_count, hits);
    return true;
}

void residency_wait(struct gpu *g)
{
    struct residency *r = &g->residency;
    op_id oldest = r->flight[0].copy;

    land(g, 1);
    submit_open(g);
    for (uint32_t i = r->landed; i < r->flying; i++) /* those will be in the next one */
        r->slot[r->flight[i].slot].group = group_of_loads(g)->number;
    if (!lanes_copied(&g->lanes, oldest))
        (void)g->lanes.ops->wait(g->lanes.exec, oldest);
    r->landed--;
    r->flying--;
    memmove(r->flight, r->flight + 1, r->flying * sizeof *r->flight);
}

bool residency_go_on(struct gpu *g)
{
    return access_rest(g, g->residency.left);
}

/* Event-driven mode. At each time, in this order: what ends then (by event order), the
 * choices of the lanes this set free or gave work, the new rates of flows. Choices come
 * last so that a lane sees everything that is ready at that time; calls of the user at
 * that time come before them. */
#include "engine_state.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* An event is (generation of the lane, lane). */
#define LANE_BITS 14

static_assert(ENGINE_MAX_LANES == 1 << LANE_BITS, "a lane fits an event");
static_assert(ENGINE_MAX_PATH == FLOW_MAX_PATH, "a path of a work is one of a flow");

static inline struct item *item_of(const struct engine *g, work_id id)
{
    return &g->item[id & g->mask];
}

bool event_has_ended(const struct engine *g, work_id id)
{
    return id < g->low || item_of(g, id)->state == ITEM_ENDED;
}

/* ---- queues and edges ---- */

static void queue_append(struct engine *g, work_id id)
{
    struct item *x = item_of(g, id);
    struct queue *q = &g->lane[x->lane].queue[x->class_];

    x->previous = q->last;
    x->next = 0;
    if (q->last != 0)
        item_of(g, q->last)->next = id;
    else
        q->first = id;
    q->last = id;
}

static void queue_remove(struct engine *g, work_id id)
{
    struct item *x = item_of(g, id);
    struct queue *q = &g->lane[x->lane].queue[x->class_];

    if (x->promoted)
        g->lane[x->lane].promoted--;
    if (x->previous != 0)
        item_of(g, x->previous)->next = x->next;
    else
        q->first = x->next;
    if (x->next != 0)
        item_of(g, x->next)->previous = x->previous;
    else
        q->last = x->previous;
}

static uint32_t edge_take(struct engine *g)
{
    uint32_t i = g->edge_free;

    if (i != 0) {
        g->edge_free = g->edge[i].next;
        return i;
    }
    if (g->edges == g->edge_room) {
        g->edge_room = g->edge_room == 0 ? 64 : 2 * g->edge_room;
        g->edge = mem_resize(g->edge, g->edge_room, sizeof(*g->edge));
        g->edges = g->edges == 0 ? 1 : g->edges;
    }
    return g->edges++;
}

static void edge_add(struct engine *g, struct item *before, work_id waiter)
{
    uint32_t i = edge_take(g);

    g->edge[i] = (struct edge){.waiter = waiter, .next = 0};
    if (before->last_edge != 0)
        g->edge[before->last_edge].next = i;
    else
        before->first_edge = i;
    before->last_edge = i;
}

/* ---- lanes ---- */

static void lane_list(struct engine *g, uint32_t lane)
{
    struct lane *l = &g->lane[lane];

    if (l->listed || l->current != 0)
        return;
    l->listed = true;
    g->listed[(g->listed_first + g->listed_count++) % g->lanes] = lane;
}

static void lane_schedule(struct engine *g, uint32_t lane, sim_time t)
{
    heap_push(&g->heap, t, ++g->lane[lane].generation << LANE_BITS | lane);
}

static bool event_is_stale(const struct engine *g, uint64_t payload)
{
    uint32_t lane = (uint32_t)(payload & (ENGINE_MAX_LANES - 1));

    return g->lane[lane].generation != payload >> LANE_BITS;
}

static void flow_begin(struct engine *g, uint32_t lane)
{
    struct lane *l = &g->lane[lane];
    const struct item *x = item_of(g, l->current);

    l->phase = LANE_FLOW;
    flow_start(&g->net, lane, x->path, x->path_length, l->chunk_bytes,
               x->most_bytes_per_s, g->clock);
}

/* Whichever comes first, latency or flow, enters its end into the event queue before the
 * clock moves on; that makes a timer of the lane stale. */
static void chunk_begin(struct engine *g, uint32_t lane, work_id id)
{
    struct lane *l = &g->lane[lane];
    struct item *x = item_of(g, id);
    uint64_t left = x->bytes - x->moved_bytes;

    if (x->state == ITEM_QUEUED) {
        x->state = ITEM_BEGUN;
        x->start = g->clock;
    }
    l->current = id;
    l->idle += g->clock - l->free;
    l->chunk_start = g->clock;
    l->chunk_bytes = x->chunk_bytes != 0 && x->chunk_bytes < left ? x->chunk_bytes : left;
    l->timer = SIM_TIME_MAX;
    if (x->latency == 0 && l->chunk_bytes > 0) {
        flow_begin(g, lane);
    } else {
        l->phase = LANE_LATENCY;
        lane_schedule(g, lane, g->clock + x->latency);
    }
}

static bool item_is_ready(const struct engine *g, const struct item *x)
{
    return x->waits_for == 0 && x->release <= g->clock;
}

/* The work that a lane with nothing in hand takes up now, or 0: the ready head of the
 * highest class. Promoted work is also taken from behind a head that is not ready. That
 * cannot lead to a standstill: within a class all other work is in order of ids, so the
 * unfinished work with the lowest id is always a head or promoted. */
static work_id lane_candidate(const struct engine *g, const struct lane *l)
{
    for (int c = 0; c < WORK_CLASSES; c++) {
        work_id id = l->queue[c].first;

        if (id == 0)
            continue;
        if (item_is_ready(g, item_of(g, id)))
            return id;
        if (c != WORK_DEMAND || l->promoted == 0)
            continue;
        for (; id != 0; id = item_of(g, id)->next)
            if (item_of(g, id)->promoted && item_is_ready(g, item_of(g, id)))
                return id;
    }
    return 0;
}

/* When the first of the heads and of the promoted works is released that waits for
 * nothing else; SIM_TIME_MAX if there is none. */
static sim_time lane_wake_time(const struct engine *g, const struct lane *l)
{
    sim_time wake = SIM_TIME_MAX;

    for (int c = 0; c < WORK_CLASSES; c++) {
        for (work_id id = l->queue[c].first; id != 0; id = item_of(g, id)->next) {
            const struct item *x = item_of(g, id);

            if ((x->previous == 0 || x->promoted) && x->waits_for == 0 &&
                x->release < wake)
                wake = x->release;
            if (c != WORK_DEMAND || l->promoted == 0)
                break;
        }
    }
    return wake;
}

static void lane_choose(struct engine *g, uint32_t lane)
{
    struct lane *l = &g->lane[lane];
    work_id id = lane_candidate(g, l);
    sim_time wake;

    if (id != 0) {
        chunk_begin(g, lane, id);
        return;
    }
    wake = lane_wake_time(g, l);
    if (wake == l->timer)
        return;
    l->timer = wake;
    l->generation++;
    if (wake != SIM_TIME_MAX)
        lane_schedule(g, lane, wake);
}

/* ---- ends ---- */

static void release_waiters(struct engine *g, struct item *x)
{
    uint32_t i = x->first_edge;

    while (i != 0) {
        struct edge *e = &g->edge[i];
        struct item *y = item_of(g, e->waiter);
        uint32_t next = e->next;

        if (--y->waits_for == 0 && (y->previous == 0 || y->promoted))
            lane_list(g, y->lane);
        e->next = g->edge_free;
        g->edge_free = i;
        i = next;
    }
    x->first_edge = 0;
    x->last_edge = 0;
}

static void item_end(struct engine *g, work_id id)
{
    struct item *x = item_of(g, id);

    queue_remove(g, id);
    if (x->state == ITEM_QUEUED)
        x->start = g->clock;
    x->cancelled = x->state == ITEM_QUEUED || x->moved_bytes < x->bytes;
    x->state = ITEM_ENDED;
    x->end = g->clock;
    if (x->cancelled)
        g->cancelled++;
    else
        g->finished++;
    if (x->end > g->last_end)
        g->last_end = x->end;
    g->bytes_moved += x->moved_bytes;
    g->lane[x->lane].served += x->served;
    for (uint32_t i = 0; i < x->path_length; i++)
        g->account[x->path[i]].work_bytes += x->moved_bytes;
    g->digest += state_hash(id, x->tag, x->lane, x->moved_bytes, x->start, x->end);
    release_waiters(g, x);
    if (g->observer != NULL) {
        struct work_times times = {x->release, x->start, x->end, x->moved_bytes,
                                   x->cancelled};

        g->observer(g->observer_context, id, x->tag, x->lane, &times);
    }
}

static void chunk_end(struct engine *g, uint32_t lane)
{
    struct lane *l = &g->lane[lane];
    work_id id = l->current;
    struct item *x = item_of(g, id);

    l->busy += g->clock - l->chunk_start;
    l->free = g->clock;
    l->phase = LANE_IDLE;
    l->current = 0;
    x->served += g->clock - l->chunk_start;
    x->moved_bytes += l->chunk_bytes;
    for (uint32_t i = 0; i < x->path_length; i++) {
        g->account[x->path[i]].chunk_bytes += l->chunk_bytes;
        g->account[x->path[i]].chunks++;
    }
    lane_list(g, lane);
    if (x->moved_bytes == x->bytes || x->stopping)
        item_end(g, id);
}

/* A flow that is stopped at its end has nothing left but what flows in the rounding of
 * its time, and the rounding of the sums of its bytes. */
static void flow_finish(struct engine *g, uint32_t lane)
{
    const struct flow *f = &g->net.flow[lane];
    double slack = f->rate_bytes_per_s * 1e-12 + (double)g->lane[lane].chunk_bytes * 1e-9;
    double left = flow_stop(&g->net, lane, g->clock);

    if (left > slack || left < -slack)
        g->residues++;
}

/* ---- the clock ---- */

static void event_take(struct engine *g)
{
    struct heap_entry event = heap_pop(&g->heap);
    uint32_t lane = (uint32_t)(event.payload & (ENGINE_MAX_LANES - 1));
    struct lane *l = &g->lane[lane];

    g->events++;
    if (event_is_stale(g, event.payload))
        return;
    switch (l->phase) {
    case LANE_IDLE:
        l->timer = SIM_TIME_MAX;
        lane_list(g, lane);
        break;
    case LANE_LATENCY:
        if (l->chunk_bytes > 0)
            flow_begin(g, lane);
        else
            chunk_end(g, lane);
        break;
    case LANE_FLOW:
        flow_finish(g, lane);
        chunk_end(g, lane);
        break;
    }
}

/* Everything that ends at the time of the clock; stops early when `id` has (0: never). */
static bool run_ends(struct engine *g, work_id id)
{
    while (g->heap.count > 0 && heap_top(&g->heap)->time <= g->clock) {
        event_take(g);
        if (id != 0 && event_has_ended(g, id))
            return true;
    }
    return false;
}

/* The choices of the lanes, then the rates. */
static void run_choices(struct engine *g)
{
    while (g->listed_count > 0) {
        uint32_t lane = g->listed[g->listed_first];

        g->listed_first = (g->listed_first + 1) % g->lanes;
        g->listed_count--;
        g->lane[lane].listed = false;
        lane_choose(g, lane);
    }
    if (g->net.dirties > 0) {
        uint32_t changed = flow_settle(&g->net, g->clock);

        for (uint32_t i = 0; i < changed; i++) {
            uint32_t lane = g->net.changed[i];

            lane_schedule(g, lane, flow_end(&g->net, lane));
        }
    }
}

/* Time of the next event that counts; SIM_TIME_MAX if there is none. */
static sim_time next_time(struct engine *g)
{
    while (g->heap.count > 0 && event_is_stale(g, heap_top(&g->heap)->payload)) {
        (void)heap_pop(&g->heap);
        g->events++;
    }
    return g->heap.count > 0 ? heap_top(&g->heap)->time : SIM_TIME_MAX;
}

/* Runs to time `limit` or to the end of work `id` (0: none). The choices at the limit
 * itself are left to be made if `choose` is false. */
static void run(struct engine *g, sim_time limit, work_id id, bool choose)
{
    for (;;) {
        sim_time next;

        if (run_ends(g, id))
            return;
        if (g->clock < limit || choose)
            run_choices(g);
        next = next_time(g);
        if (next > limit || next == SIM_TIME_MAX)
            break;
        g->clock = next;
    }
    if (limit != SIM_TIME_MAX && g->clock < limit)
        g->clock = limit;
}

void event_run_to_end_of(struct engine *g, work_id id)
{
    if (!event_has_ended(g, id))
        run(g, SIM_TIME_MAX, id, true);
    assert(event_has_ended(g, id));
}

void event_run_to(struct engine *g, sim_time t)
{
    if (t >= g->clock)
        run(g, t, 0, true);
}

void event_run_all(struct engine *g)
{
    run(g, SIM_TIME_MAX, 0, true);
    assert(g->finished + g->cancelled == g->submitted);
}

/* ---- calls ---- */

/* Makes place in the ring for one more id. */
static void ring_make_room(struct engine *g, work_id id)
{
    struct item *wider;

    while (g->low < g->retired && g->low < id && item_of(g, g->low)->state == ITEM_ENDED)
        g->low++;
    if (id - g->low <= g->mask)
        return;
    wider = mem_alloc(2 * (g->mask + 1), sizeof(*wider));
    for (work_id i = g->low; i < id; i++)
        wider[i & (2 * g->mask + 1)] = *item_of(g, i);
    free(g->item);
    g->item = wider;
    g->mask = 2 * g->mask + 1;
}

work_id event_submit(struct engine *g, const struct work *w)
{
    work_id id = g->submitted + 1;
    struct item *x;

    if (id - g->low > g->mask)
        ring_make_room(g, id);
    g->submitted = id;
    x = item_of(g, id);
    *x = (struct item){.release = w->release > g->clock ? w->release : g->clock,
                       .latency = w->latency,
                       .bytes = w->bytes,
                       .chunk_bytes = w->chunk_bytes,
                       .lane = w->lane,
                       .tag = w->tag,
                       .most_bytes_per_s = w->most_bytes_per_s,
                       .path_length = w->bytes > 0 ? (uint8_t)w->path_length : 0,
                       .class_ = (uint8_t)w->class_,
                       .state = ITEM_QUEUED};
    memcpy(x->path, w->path, x->path_length * sizeof(*x->path));
    for (uint32_t i = 0; i < w->after_count; i++) {
        assert(w->after[i] < id);
        if (event_has_ended(g, w->after[i]))
            continue;
        edge_add(g, item_of(g, w->after[i]), id);
        x->waits_for++;
    }
    queue_append(g, id);
    if (x->previous == 0)
        lane_list(g, w->lane);
    return id;
}

void event_promote(struct engine *g, work_id id, sim_time t)
{
    struct item *x;

    run(g, t, 0, false);
    if (event_has_ended(g, id) || item_of(g, id)->class_ == WORK_DEMAND)
        return;
    x = item_of(g, id);
    queue_remove(g, id);
    x->class_ = WORK_DEMAND;
    x->promoted = true;
    g->lane[x->lane].promoted++;
    queue_append(g, id);
    lane_list(g, x->lane);
}

void event_cancel(struct engine *g, work_id id, sim_time t)
{
    struct item *x;

    run(g, t, 0, false);
    if (event_has_ended(g, id))
        return;
    x = item_of(g, id);
    x->stopping = true;
    if (g->lane[x->lane].current == id)
        return;
    item_end(g, id);
    lane_list(g, x->lane);
}

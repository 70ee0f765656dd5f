#include "engine.h"

#include "sim/base/mem.h"
#include "engine_state.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_RING 64
#define NOBODY UINT32_MAX

struct engine *engine_new(bool event_driven)
{
    struct engine *g = mem_zalloc(1, sizeof(*g));

    g->event_driven = event_driven;
    g->plain = !event_driven;
    g->low = 1;
    g->retired = 1;
    g->mask = FIRST_RING - 1;
    if (event_driven)
        g->item = mem_zalloc(FIRST_RING, sizeof(*g->item));
    else
        g->record = mem_zalloc(FIRST_RING, sizeof(*g->record));
    flow_init(&g->net);
    heap_init(&g->heap);
    return g;
}

void engine_free(struct engine *g)
{
    if (g == NULL)
        return;
    for (uint32_t i = 0; i < g->lanes; i++)
        free(g->lane[i].name);
    free(g->lane);
    free(g->record);
    free(g->item);
    free(g->account);
    free(g->edge);
    free(g->listed);
    flow_release(&g->net);
    heap_release(&g->heap);
    free(g);
}

uint32_t engine_add_lane(struct engine *g, const char *name)
{
    uint32_t i = g->lanes++;

    assert(g->submitted == 0 && i < ENGINE_MAX_LANES);
    g->lane = mem_grow(g->lane, i, sizeof(*g->lane));
    g->lane[i] =
        (struct lane){.name = mem_strdup(name), .class_ = -1, .timer = SIM_TIME_MAX};
    g->listed = mem_grow(g->listed, i, sizeof(*g->listed));
    (void)flow_add_slot(&g->net);
    return i;
}

uint32_t engine_add_link(struct engine *g, const char *name, double bytes_per_s)
{
    uint32_t i = flow_add_link(&g->net, name, bytes_per_s);

    assert(g->submitted == 0 && i < ENGINE_MAX_LINKS);
    g->account = mem_grow(g->account, i, sizeof(*g->account));
    g->account[i] = (struct link_account){.owner = NOBODY};
    return i;
}

void engine_observe(struct engine *g, engine_observer observer, void *context)
{
    g->observer = observer;
    g->plain = !g->event_driven && observer == NULL;
    g->observer_context = context;
}

bool engine_is_event_driven(const struct engine *g)
{
    return g->event_driven;
}

const char *engine_lane_name(const struct engine *g, uint32_t lane)
{
    assert(lane < g->lanes);
    return g->lane[lane].name;
}

uint32_t engine_lane_count(const struct engine *g)
{
    return g->lanes;
}

/* Known links, none of them twice. */
static bool path_is_valid(const struct engine *g, const struct work *w)
{
    for (uint32_t i = 0; i < w->path_length; i++) {
        if (w->path[i] >= g->net.links)
            return false;
        for (uint32_t j = 0; j < i; j++)
            if (w->path[i] == w->path[j])
                return false;
    }
    return true;
}

/* ---- FIFO mode ---- */

/* Tells the links what has crossed the lane's last path. */
static void fifo_settle_path(struct engine *g, struct lane *l)
{
    for (uint32_t i = 0; i < l->last_path_length; i++) {
        g->account[l->last_path[i]].chunk_bytes += l->path_bytes;
        g->account[l->last_path[i]].chunks += l->path_chunks;
    }
    l->path_bytes = 0;
    l->path_chunks = 0;
}

static void fifo_take_path(struct engine *g, struct lane *l, const struct work *w)
{
    fifo_settle_path(g, l);
    for (uint32_t i = 0; i < w->path_length; i++) {
        struct link_account *a = &g->account[w->path[i]];

        assert(a->owner == NOBODY || a->owner == w->lane);
        a->owner = w->lane;
    }
    l->last_path_length = w->path_length;
    memcpy(l->last_path, w->path, sizeof(l->last_path));
}

/* Chunks are rounded to picoseconds one by one, as they are when event-driven. */
static void fifo_work_out(struct engine *g, struct lane *l, const struct work *w)
{
    double capacity = w->most_bytes_per_s > 0 ? w->most_bytes_per_s : INFINITY;
    uint64_t whole = 0;
    uint64_t rest = w->bytes;

    assert(path_is_valid(g, w));
    fifo_take_path(g, l, w);
    for (uint32_t i = 0; i < w->path_length; i++)
        capacity = fmin(capacity, g->net.link[w->path[i]].capacity_bytes_per_s);
    l->last_bytes = w->bytes;
    l->last_chunk_bytes = w->chunk_bytes;
    l->last_most_bytes_per_s = w->most_bytes_per_s;
    l->last_flow_time = 0;
    if (w->chunk_bytes != 0 && w->chunk_bytes < w->bytes) {
        whole = (w->bytes - 1) / w->chunk_bytes;
        rest = w->bytes - whole * w->chunk_bytes;
        l->last_flow_time =
            (sim_time)whole * sim_time_of_seconds((double)w->chunk_bytes / capacity);
    }
    l->last_flow_time += sim_time_of_seconds((double)rest / capacity);
    l->last_chunks = whole + 1;
}

/* The whole of the paths is compared, which is quickest; a difference after the end of
 * the path costs time, not correctness. */
static sim_time fifo_copy(struct engine *g, struct lane *l, const struct work *w)
{
    if (w->bytes != l->last_bytes || w->chunk_bytes != l->last_chunk_bytes ||
        w->path_length != l->last_path_length ||
        w->most_bytes_per_s != l->last_most_bytes_per_s ||
        memcmp(w->path, l->last_path, sizeof(l->last_path)) != 0)
        fifo_work_out(g, l, w);
    l->path_bytes += w->bytes;
    l->path_chunks += l->last_chunks;
    g->bytes_moved += w->bytes;
    return (sim_time)l->last_chunks * w->latency + l->last_flow_time;
}

/* Makes place in the ring for one more id. Retired work that ends after the clock stays:
 * somebody may still come after it. */
static __attribute__((noinline)) void fifo_make_room(struct engine *g, work_id id)
{
    struct record *wider;

    while (g->low < g->retired && g->low < id &&
           g->record[g->low & g->mask].end <= g->clock)
        g->low++;
    if (id - g->low <= g->mask)
        return;
    wider = mem_alloc(2 * (g->mask + 1), sizeof(*wider));
    for (work_id i = g->low; i < id; i++)
        wider[i & (2 * g->mask + 1)] = g->record[i & g->mask];
    free(g->record);
    g->record = wider;
    g->mask = 2 * g->mask + 1;
}

static __attribute__((noinline)) void fifo_observe(struct engine *g, const struct work *w,
                                                   work_id id)
{
    const struct record *r = &g->record[id & g->mask];
    struct work_times times = {r->release, r->start, r->end, r->bytes, false};

    g->observer(g->observer_context, id, w->tag, w->lane, &times);
}

static inline sim_time later(sim_time a, sim_time b)
{
    return a > b ? a : b;
}

/* Submits work that takes `latency` once it may start. There is room in the ring. */
static inline work_id fifo_place(struct engine *g, struct work_fixed w, uint64_t bytes)
{
    struct lane *l = &g->lane[w.lane];
    work_id id = ++g->submitted;
    sim_time start = later(later(l->free, w.release), g->clock);
    sim_time end;

    assert(l->class_ == (int)w.class_ || l->class_ < 0);
    l->class_ = (int)w.class_;
    for (uint32_t i = 0; i < w.after_count; i++) {
        assert(w.after[i] < id);
        if (w.after[i] >= g->low)
            start = later(start, g->record[w.after[i] & g->mask].end);
    }
    end = start + w.latency;
    g->record[id & g->mask] = (struct record){w.release, start, end, bytes};
    l->busy += w.latency;
    l->free = end;
    g->digest += state_hash(id, w.tag, w.lane, bytes, start, end);
    return id;
}

static inline bool fifo_has_room(const struct engine *g)
{
    return g->submitted + 1 - g->low <= g->mask;
}

static work_id fifo_submit(struct engine *g, const struct work *w)
{
    struct work_fixed fixed = {.lane = w->lane,
                               .tag = w->tag,
                               .class_ = w->class_,
                               .release = w->release,
                               .latency = w->latency,
                               .after = w->after,
                               .after_count = w->after_count};
    work_id id;

    if (!fifo_has_room(g))
        fifo_make_room(g, g->submitted + 1);
    if (w->bytes > 0)
        fixed.latency = fifo_copy(g, &g->lane[w->lane], w);
    id = fifo_place(g, fixed, w->bytes);
    if (g->observer != NULL)
        fifo_observe(g, w, id);
    return id;
}

/* ---- both modes ---- */

work_id engine_submit(struct engine *g, const struct work *w)
{
    assert(w->lane < g->lanes && w->class_ < WORK_CLASSES);
    assert((w->release | w->latency) >= 0);
    assert(w->bytes == 0 || (w->path_length >= 1 && w->path_length <= ENGINE_MAX_PATH));
    if (!g->event_driven)
        return fifo_submit(g, w);
    assert(w->bytes == 0 || path_is_valid(g, w));
    return event_submit(g, w);
}

static __attribute__((noinline)) work_id submit_unfixed(struct engine *g,
                                                        const struct work_fixed *w)
{
    struct work work = {.lane = w->lane,
                        .tag = w->tag,
                        .class_ = w->class_,
                        .release = w->release,
                        .latency = w->latency,
                        .after = w->after,
                        .after_count = w->after_count};

    return engine_submit(g, &work);
}

work_id engine_submit_fixed(struct engine *g, struct work_fixed w)
{
    struct work_fixed copy;

    assert(w.lane < g->lanes && w.class_ < WORK_CLASSES);
    assert((w.release | w.latency) >= 0);
    if (g->plain && fifo_has_room(g))
        return fifo_place(g, w, 0);
    copy = w; /* only this one has an address: `w` can live in registers */
    return submit_unfixed(g, &copy);
}

static inline void assert_known(const struct engine *g, work_id id)
{
    assert(id >= g->retired && id <= g->submitted);
    (void)g;
    (void)id;
}

/* Apart, so that FIFO mode saves no registers for it. */
static __attribute__((noinline)) sim_time wait_for_event(struct engine *g, work_id id)
{
    event_run_to_end_of(g, id);
    return g->item[id & g->mask].end;
}

sim_time engine_wait(struct engine *g, work_id id)
{
    sim_time end;

    assert_known(g, id);
    if (g->event_driven)
        return wait_for_event(g, id);
    end = g->record[id & g->mask].end;
    g->clock = later(g->clock, end);
    return end;
}

void engine_advance(struct engine *g, sim_time t)
{
    if (g->event_driven)
        event_run_to(g, t);
    else
        g->clock = later(g->clock, t);
}

bool engine_done_by(struct engine *g, work_id id, sim_time t)
{
    assert_known(g, id);
    engine_advance(g, t);
    if (g->event_driven)
        return event_has_ended(g, id) && g->item[id & g->mask].end <= t;
    return g->record[id & g->mask].end <= t;
}

struct work_times engine_times(const struct engine *g, work_id id)
{
    assert_known(g, id);
    if (g->event_driven) {
        const struct item *x = &g->item[id & g->mask];

        assert(x->state == ITEM_ENDED);
        return (struct work_times){x->release, x->start, x->end, x->moved_bytes,
                                   x->cancelled};
    } else {
        const struct record *r = &g->record[id & g->mask];

        return (struct work_times){r->release, r->start, r->end, r->bytes, false};
    }
}

sim_time engine_clock(const struct engine *g)
{
    return g->clock;
}

void engine_promote(struct engine *g, work_id id, sim_time t)
{
    assert(g->event_driven && t >= g->clock && id >= 1 && id <= g->submitted);
    event_promote(g, id, t);
}

void engine_cancel(struct engine *g, work_id id, sim_time t)
{
    assert(g->event_driven && t >= g->clock && id >= 1 && id <= g->submitted);
    event_cancel(g, id, t);
}

/* End of the last work. */
static sim_time last_end(const struct engine *g)
{
    sim_time end = g->last_end;

    for (uint32_t i = 0; i < g->lanes; i++)
        end = later(end, g->lane[i].free);
    return end;
}

void engine_retire(struct engine *g, work_id id)
{
    assert(id <= g->submitted + 1);
    if (id > g->retired)
        g->retired = id;
    /* Often nothing is on its way then, and so need not be looked at one by one. */
    if (!g->event_driven && g->low < id && last_end(g) <= g->clock)
        g->low = id;
}

sim_time engine_drain(struct engine *g)
{
    if (g->event_driven)
        event_run_all(g);
    else
        g->clock = later(g->clock, last_end(g));
    return last_end(g);
}

/* ---- accounts ---- */

struct engine_report engine_get_report(const struct engine *g)
{
    return (struct engine_report){.submitted = g->submitted,
                                  .finished =
                                      g->event_driven ? g->finished : g->submitted,
                                  .cancelled = g->cancelled,
                                  .events = g->events,
                                  .digest = g->digest,
                                  .bytes_moved = g->bytes_moved};
}

sim_time engine_lane_busy(const struct engine *g, uint32_t lane)
{
    assert(lane < g->lanes);
    return g->lane[lane].busy;
}

/* What a lane in FIFO mode has moved over link `i` that the link does not know of yet. */
static const struct lane *lane_ahead_of(const struct engine *g, uint32_t i)
{
    uint32_t owner = g->account[i].owner;

    for (uint32_t k = 0; owner != NOBODY && k < g->lane[owner].last_path_length; k++)
        if (g->lane[owner].last_path[k] == i)
            return &g->lane[owner];
    return NULL;
}

static struct link_account account_of(const struct engine *g, uint32_t i)
{
    struct link_account a = g->account[i];
    const struct lane *l = lane_ahead_of(g, i);

    if (l != NULL) {
        a.chunk_bytes += l->path_bytes;
        a.chunks += l->path_chunks;
    }
    return a;
}

double engine_link_bytes(const struct engine *g, uint32_t link)
{
    assert(link < g->net.links);
    return (double)account_of(g, link).chunk_bytes;
}

static int check_lane(const struct engine *g, const struct lane *l, struct err *e)
{
    if (l->busy < 0 || l->busy > l->free)
        return err_set(e,
                       "engine: lane %s is busy for %" PRId64
                       " ps, but its last chunk ended at %" PRId64 " ps",
                       l->name, l->busy, l->free);
    if (!g->event_driven)
        return 0;
    if (l->busy + l->idle != l->free || l->free > g->last_end)
        return err_set(e,
                       "engine: lane %s is busy for %" PRId64 " ps and idle for %" PRId64
                       " ps, but its last chunk ended at %" PRId64
                       " ps and the last work at %" PRId64 " ps",
                       l->name, l->busy, l->idle, l->free, g->last_end);
    if (l->busy != l->served)
        return err_set(e,
                       "engine: lane %s is busy for %" PRId64
                       " ps by its chunks, but %" PRId64 " by its works",
                       l->name, l->busy, l->served);
    return 0;
}

/* A link can carry its capacity times the elapsed time, and what the rounding of each
 * chunk's time to a picosecond lets through. */
static int check_link(const struct engine *g, uint32_t i, struct err *e)
{
    struct link_account a = account_of(g, i);
    double capacity = g->net.link[i].capacity_bytes_per_s;
    double most = capacity * (sim_time_seconds(last_end(g)) + 1e-12 * (double)a.chunks);

    if (g->event_driven && a.chunk_bytes != a.work_bytes)
        return err_set(e,
                       "engine: link %s carried %" PRIu64
                       " bytes by its chunks, but %" PRIu64 " by its works",
                       g->net.link[i].name, a.chunk_bytes, a.work_bytes);
    if ((double)a.chunk_bytes > most * (1.0 + 1e-9))
        return err_set(e,
                       "engine: link %s carried %" PRIu64
                       " bytes, more than the %.0f its capacity allows",
                       g->net.link[i].name, a.chunk_bytes, most);
    return 0;
}

int engine_check(const struct engine *g, struct err *e)
{
    struct engine_report r = engine_get_report(g);

    if (r.submitted != r.finished + r.cancelled)
        return err_set(e,
                       "engine: %" PRIu64 " works submitted, but %" PRIu64
                       " finished and %" PRIu64 " cancelled",
                       r.submitted, r.finished, r.cancelled);
    if (g->heap.sequence != g->events || g->heap.count != 0)
        return err_set(
            e, "engine: %" PRIu64 " events pushed, but %" PRIu64 " popped and %zu left",
            g->heap.sequence, g->events, g->heap.count);
    if (g->residues != 0)
        return err_set(e, "engine: %" PRIu64 " flows ended with bytes left or too many",
                       g->residues);
    for (uint32_t i = 0; i < g->lanes; i++)
        if (check_lane(g, &g->lane[i], e) != 0)
            return -1;
    for (uint32_t i = 0; i < g->net.links; i++)
        if (check_link(g, i, e) != 0)
            return -1;
    return 0;
}

/* Which misses could have been foretold: a predictor that is asked and loads nothing. */
#include "run_state.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* What was named for a step to come. */
struct forecast {
    uint32_t count;  /* experts */
    uint64_t absent; /* loads that they would have taken */
    uint64_t *named; /* [words] a bit for each expert */
};

/* Of one distance. */
struct watched_distance {
    uint32_t ahead;
    void *state;
    struct forecast *forecast; /* [ring] by the number of its step */
};

/* A time that the link is busy throughout. */
struct busy {
    sim_time start, end;
    sim_time before; /* busy since the pass before, until `start` */
};

struct watched_gpu {
    uint32_t *named; /* [demand copies of this pass] a bit for each distance */
    size_t misses, misses_room;
    op_id *ahead; /* [ahead_count] copies ahead of use that may not have ended */
    size_t ahead_count, ahead_room;
    struct busy *busy; /* [busy_count] */
    size_t busy_count, busy_room;
    sim_time closed, closed_idle; /* the end of the pass before; I(t) then */
    sim_time *asked, *asked_idle; /* [steps] when a step was known; I(t) then */
    sim_time taken[RUN_WATCH_DISTANCES], all_taken[RUN_WATCH_DISTANCES]; /* f */
};

struct watch {
    const struct run_watch *setup;
    struct watched_distance of[RUN_WATCH_DISTANCES];
    struct prefetch_want *want;
    uint32_t ring;  /* steps that may have a forecast, this one included */
    uint32_t steps; /* of a pass, and before it as far as the farthest distance */
    uint32_t words;
    struct watched_gpu *gpu; /* [gpus] */
};

/* ---- what it is made of ---- */

struct watch *watch_new(struct runner *c)
{
    const struct run_watch *setup = c->setup->watch;
    struct policy_shape shape = run_shape(c);
    struct watch *w;

    if (setup == NULL)
        return NULL;
    w = mem_zalloc(1, sizeof *w);
    w->setup = setup;
    w->ring = setup->distance[setup->distances - 1] + 1;
    w->steps = c->layers + w->ring;
    w->words = (c->experts + 63) / 64;
    for (uint32_t k = 0; k < setup->distances; k++) {
        struct watched_distance *d = &w->of[k];

        d->ahead = setup->distance[k];
        d->state = mem_zalloc(1, setup->type->state_size(&shape, setup->params[k]));
        setup->type->init(d->state, &shape, setup->params[k]);
        d->forecast = mem_zalloc(w->ring, sizeof *d->forecast);
        for (uint32_t i = 0; i < w->ring; i++)
            d->forecast[i].named = mem_zalloc(w->words, sizeof *d->forecast->named);
    }
    w->want = mem_alloc(setup->type->width(&shape, setup->params[0]), sizeof *w->want);
    w->gpu = mem_zalloc(c->gpus, sizeof *w->gpu);
    for (uint32_t i = 0; i < c->gpus; i++) {
        w->gpu[i].asked = mem_zalloc(w->steps, sizeof *w->gpu[i].asked);
        w->gpu[i].asked_idle = mem_zalloc(w->steps, sizeof *w->gpu[i].asked_idle);
    }
    if (c->load == NULL)
        c->load = mem_zalloc((size_t)c->layers * c->experts, sizeof *c->load);
    return w;
}

void watch_free(struct watch *w, uint32_t gpus)
{
    if (w == NULL)
        return;
    for (uint32_t k = 0; k < w->setup->distances; k++) {
        for (uint32_t i = 0; i < w->ring; i++)
            free(w->of[k].forecast[i].named);
        free(w->of[k].forecast);
        free(w->of[k].state);
    }
    for (uint32_t i = 0; i < gpus; i++) {
        free(w->gpu[i].named);
        free(w->gpu[i].ahead);
        free(w->gpu[i].busy);
        free(w->gpu[i].asked);
        free(w->gpu[i].asked_idle);
    }
    free(w->gpu);
    free(w->want);
    free(w);
}

/* Steps are counted through the passes. */
static uint64_t step_of(const struct runner *c, uint32_t layer)
{
    return c->result->passes * c->layers + layer;
}

static struct run_watched *books_of(const struct runner *c, uint32_t k, uint32_t layer)
{
    return &c->result->watch[(size_t)k * c->layers + layer];
}

static bool has_bit(const uint64_t *bits, uint32_t i)
{
    return (bits[i / 64] >> i % 64 & 1) != 0;
}

/* ---- in a step ---- */

void watch_miss(struct gpu *g, uint32_t expert)
{
    const struct watch *w = g->runner->watch;
    struct watched_gpu *own = &w->gpu[g->rank];
    uint64_t step = step_of(g->runner, g->step.layer);
    uint32_t named = 0;

    expert = run_expert(g, g->step.layer, expert);
    for (uint32_t k = 0; k < w->setup->distances; k++)
        if (has_bit(w->of[k].forecast[step % w->ring].named, expert))
            named |= UINT32_C(1) << k;
    if (own->misses == own->misses_room) {
        own->misses_room = own->misses_room * 2 + 64;
        own->named = mem_resize(own->named, own->misses_room, sizeof *own->named);
    }
    own->named[own->misses++] = named;
}

void watch_copy_ahead(struct gpu *g, op_id copy)
{
    struct watched_gpu *own = &g->runner->watch->gpu[g->rank];

    if (own->ahead_count == own->ahead_room) {
        own->ahead_room = own->ahead_room * 2 + 64;
        own->ahead = mem_resize(own->ahead, own->ahead_room, sizeof *own->ahead);
    }
    own->ahead[own->ahead_count++] = copy;
}

/* How many loads an expert would take: on each GPU that should hold it and does not. */
static uint32_t loads_of(const struct runner *c, uint32_t layer, uint32_t expert)
{
    const struct spread *s = c->spread;
    uint32_t count, loads = 0;
    const uint32_t *slot;

    if (s == NULL)
        return cache_slot_of(c->gpu->residency.cache, layer, expert) == CACHE_NONE;
    slot = place_replicas(s->place, layer, expert, &count);
    for (uint32_t i = 0; i < count; i++) {
        const struct gpu *g = &c->gpu[s->gpu_of[slot[i]]];

        loads +=
            cache_slot_of(g->residency.cache, layer, slot[i] % s->local) == CACHE_NONE;
    }
    return loads;
}

/* What was named for this step is told from what it runs, and forgotten. */
static void close_forecast(struct runner *c, uint32_t k, uint64_t step)
{
    struct watch *w = c->watch;
    struct forecast *f = &w->of[k].forecast[step % w->ring];
    struct run_watched *books = books_of(c, k, c->view.layer);

    for (uint32_t i = 0; i < c->view.active_count; i++)
        books->right += has_bit(f->named, c->view.active[i]);
    books->guesses += f->count;
    books->absent += f->absent;
    f->count = 0;
    f->absent = 0;
    memset(f->named, 0, w->words * sizeof *f->named);
}

static void ask(struct runner *c, uint32_t k, uint64_t step, const struct view *view)
{
    struct watch *w = c->watch;
    const struct watched_distance *d = &w->of[k];
    struct forecast *f = &d->forecast[(step + d->ahead) % w->ring];
    uint32_t count = w->setup->type->step(d->state, view, w->want);
    uint32_t layer = (view->layer + d->ahead) % c->layers;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t expert = w->want[i].expert;

        if (w->want[i].ahead != d->ahead || has_bit(f->named, expert))
            continue;
        f->named[expert / 64] |= UINT64_C(1) << expert % 64;
        f->count++;
        f->absent += loads_of(c, layer, expert);
    }
}

void watch_step(struct runner *c)
{
    struct watch *w = c->watch;
    uint64_t step = step_of(c, c->view.layer);
    struct view view = c->view;

    view.cache = NULL; /* so that resident experts are guesses like the others */
    view.resident = NULL;
    for (uint32_t k = 0; k < w->setup->distances; k++) {
        close_forecast(c, k, step);
        ask(c, k, step, &view);
    }
    for (uint32_t i = 0; i < c->gpus; i++) {
        const struct lanes *l = &c->gpu[i].lanes;

        w->gpu[i].asked[step % w->steps] = l->ops->now(l->exec);
    }
}

/* ---- when the link was idle ---- */

static void add_busy(struct watched_gpu *own, sim_time start, sim_time end)
{
    if (start < own->closed)
        start = own->closed; /* until then it was taken to be idle */
    if (start >= end)
        return;
    if (own->busy_count == own->busy_room) {
        own->busy_room = own->busy_room * 2 + 64;
        own->busy = mem_resize(own->busy, own->busy_room, sizeof *own->busy);
    }
    own->busy[own->busy_count++] = (struct busy){start, end, 0};
}

static int compare_busy(const void *a, const void *b)
{
    const struct busy *x = a, *y = b;

    return (x->start > y->start) - (x->start < y->start);
}

/* Makes them ascend, none with another. */
static void join_busy(struct watched_gpu *own)
{
    struct busy *last = own->busy;

    if (own->busy_count == 0)
        return;
    qsort(own->busy, own->busy_count, sizeof *own->busy, compare_busy);
    for (size_t i = 1; i < own->busy_count; i++) {
        const struct busy next = own->busy[i];

        if (next.start > last->end) {
            sim_time before = last->before + last->end - last->start;

            *++last = (struct busy){next.start, next.end, before};
        } else if (next.end > last->end) {
            last->end = next.end;
        }
    }
    own->busy_count = (size_t)(last - own->busy) + 1;
}

/* Copies ahead of use count when they have ended: one on its way at the end of a pass
 * leaves the link idle until then. */
static void find_busy(struct gpu *g)
{
    struct watched_gpu *own = &g->runner->watch->gpu[g->rank];
    const struct expert_copies *demand = &g->residency.demand;
    const struct op_times *t = lanes_times(&g->lanes, demand->id, demand->count);
    size_t left = 0;

    own->busy_count = 0;
    for (size_t i = 0; i < demand->count; i++)
        add_busy(own, t[i].start, t[i].end);
    for (size_t i = 0; i < own->ahead_count; i++) {
        op_id copy = own->ahead[i];

        if (lanes_copied(&g->lanes, copy)) {
            t = lanes_times(&g->lanes, &copy, 1);
            add_busy(own, t->start, t->end);
        } else {
            own->ahead[left++] = copy;
        }
    }
    own->ahead_count = left;
    join_busy(own);
}

/* I(t), of a time in this pass. */
static sim_time idle_until(const struct watched_gpu *own, sim_time t)
{
    size_t low = 0, high = own->busy_count;
    sim_time busy = 0;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (own->busy[middle].start <= t)
            low = middle + 1;
        else
            high = middle;
    }
    if (low > 0) {
        const struct busy *b = &own->busy[low - 1];

        busy = b->before + (t < b->end ? t : b->end) - b->start;
    }
    return own->closed_idle + t - own->closed - busy;
}

/* ---- behind a pass ---- */

/* Takes the link's idle time between two points of I(t) for a copy; how much. */
static sim_time take_idle(sim_time *taken, sim_time from, sim_time to, sim_time copy)
{
    sim_time room;

    if (*taken > from)
        from = *taken;
    room = to > from ? to - from : 0;
    if (room > copy)
        room = copy;
    *taken = from + room;
    return room;
}

static void book_miss(struct gpu *g, size_t i, const struct op_times *t)
{
    const struct watch *w = g->runner->watch;
    struct watched_gpu *own = &w->gpu[g->rank];
    uint32_t layer = g->residency.demand.copy[i].layer;
    uint64_t step = step_of(g->runner, layer);
    sim_time copy = t->end - t->start, needed = idle_until(own, t->issued);

    for (uint32_t k = 0; k < w->setup->distances; k++) {
        struct run_watched *books = books_of(g->runner, k, layer);
        uint32_t ahead = w->of[k].ahead;
        sim_time since, lead;
        size_t at;

        books->misses++;
        if (step < ahead)
            continue;
        at = (size_t)((step - ahead) % w->steps);
        since = own->asked_idle[at];
        books->all_hidden_time += take_idle(&own->all_taken[k], since, needed, copy);
        if ((own->named[i] >> k & 1) == 0)
            continue;
        lead = t->issued - own->asked[at];
        books->named++;
        books->named_time += copy;
        books->fits_time += lead < copy ? lead : copy;
        books->hidden_time += take_idle(&own->taken[k], since, needed, copy);
    }
}

void watch_end_pass(struct gpu *g)
{
    struct runner *c = g->runner;
    const struct watch *w = c->watch;
    struct watched_gpu *own = &w->gpu[g->rank];
    const struct expert_copies *demand = &g->residency.demand;
    const struct op_times *t;
    sim_time now = g->lanes.ops->now(g->lanes.exec);

    assert(own->misses == demand->count);
    find_busy(g);
    for (uint32_t l = 0; l < c->layers; l++) {
        size_t at = (size_t)(step_of(c, l) % w->steps);

        own->asked_idle[at] = idle_until(own, own->asked[at]);
    }
    t = lanes_times(&g->lanes, demand->id, demand->count);
    for (size_t i = 0; i < demand->count; i++)
        book_miss(g, i, &t[i]);
    own->closed_idle = idle_until(own, now);
    own->closed = now;
    own->misses = 0;
}

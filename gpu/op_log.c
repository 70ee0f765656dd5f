#include "op_log.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROOM = 1024, ZERO_TRIES = 16 };

void op_log_init(struct op_log *l, struct device *d)
{
    *l = (struct op_log){.d = d, .room = ROOM, .first = 1, .next = 1};
    l->ring = mem_alloc(l->room, sizeof *l->ring);
}

void op_log_release(struct op_log *l)
{
    op_log_give(l, l->near);
    l->near = NULL;
    while (l->first < l->next)
        op_log_forget(l);
    while (l->spares > 0)
        l->d->ops->event_free(l->d, l->spare[--l->spares]);
    free(l->spare);
    free(l->ring);
    *l = (struct op_log){.d = NULL};
}

/* ---- time ---- */

static int64_t clock_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int op_log_zero(struct op_log *l, struct device_stream *s, struct err *e)
{
    const struct device_ops *o = l->d->ops;
    int64_t least = INT64_MAX;

    for (int i = 0; i < ZERO_TRIES; i++) {
        struct device_event *v = op_log_event(l, e);
        int64_t before = clock_ns(), after;

        if (v == NULL)
            return -1;
        o->event_record(l->d, v, s);
        if (o->event_wait(l->d, v, e) != 0) {
            op_log_give(l, v);
            return -1;
        }
        after = clock_ns();
        if (after - before >= least) {
            op_log_give(l, v);
            continue;
        }
        op_log_give(l, l->near);
        l->near = v;
        l->near_ns = 0.0;
        least = after - before;
        l->zero_ns = before + least / 2;
    }
    return 0;
}

sim_time op_log_now(const struct op_log *l)
{
    return (clock_ns() - l->zero_ns) * SIM_TIME_PER_NS;
}

sim_time op_log_time(const struct op_log *l, struct device_event *v)
{
    return (sim_time)llround((l->near_ns + l->d->ops->event_ns(l->d, l->near, v)) * 1e3);
}

/* ---- events ---- */

struct device_event *op_log_event(struct op_log *l, struct err *e)
{
    if (l->spares > 0)
        return l->spare[--l->spares];
    return l->d->ops->event_new(l->d, e);
}

void op_log_give(struct op_log *l, struct device_event *v)
{
    if (v == NULL)
        return;
    if (l->spares == l->spare_room) {
        l->spare_room = l->spare_room * 2 + 64;
        l->spare = mem_resize(l->spare, l->spare_room, sizeof(struct device_event *));
    }
    l->spare[l->spares++] = v;
}

/* ---- operations ---- */

struct op_logged *op_log_find(const struct op_log *l, op_id id)
{
    if (id < l->first || id >= l->next)
        return NULL;
    return &l->ring[id & (l->room - 1)];
}

struct op_logged *op_log_add(struct op_log *l, const struct op *op)
{
    struct op_logged *x;

    if (l->next - l->first == l->room) {
        struct op_logged *ring = mem_alloc(2 * l->room, sizeof *ring);

        for (op_id id = l->first; id < l->next; id++)
            ring[id & (2 * l->room - 1)] = l->ring[id & (l->room - 1)];
        free(l->ring);
        l->ring = ring;
        l->room *= 2;
    }
    x = &l->ring[l->next++ & (l->room - 1)];
    *x = (struct op_logged){.kind = op->kind, .lane = op->lane, .layer = op->layer};
    if (op->kind == OP_COPY_IN || op->kind == OP_COPY_OUT)
        x->expert = op->copy.expert;
    return x;
}

bool op_log_ended(const struct op_log *l, const struct op_logged *x)
{
    return !x->pending && (x->end == NULL || l->d->ops->event_reached(l->d, x->end));
}

struct op_times op_log_times(const struct op_log *l, const struct op_logged *x)
{
    struct op_times t = {.issued = x->issued,
                         .start = op_log_time(l, x->start),
                         .end = op_log_time(l, x->end)};

    /* It can begin while its last kernels are still being launched. */
    if (t.issued > t.start)
        t.issued = t.start;
    return t;
}

/* Of an operation that has ended. Once a second is precise to 60 ns. */
static void move_near(struct op_log *l, struct device_event **end)
{
    const double often_ns = 1e9;
    struct device_event *before = l->near;
    double since_ns;

    if (before == NULL || *end == NULL)
        return;
    since_ns = l->d->ops->event_ns(l->d, before, *end);
    if (since_ns < often_ns)
        return;
    l->near = *end;
    l->near_ns += since_ns;
    *end = before;
}

void op_log_forget(struct op_log *l)
{
    struct op_logged *x = op_log_find(l, l->first);

    assert(x != NULL);
    move_near(l, &x->end);
    op_log_give(l, x->start);
    op_log_give(l, x->end);
    l->first++;
}

/* Streams, events and graphs of the host device. */
#include "host.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* How long a thread looks again and again before it sleeps. Waking a sleeper takes tens
 * of microseconds; where there are few processors, looking takes time from the others. */
enum { LOOK_NS = 2000 };

int64_t host_now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static struct host_device *host_of(struct device *d)
{
    return (struct host_device *)d;
}

void host_fail(struct host_device *d, const struct err *e)
{
    (void)pthread_mutex_lock(&d->lock);
    if (!atomic_load(&d->failed)) {
        d->failure = *e;
        atomic_store(&d->failed, true);
    }
    (void)pthread_mutex_unlock(&d->lock);
}

int host_check(struct device *device, struct err *e)
{
    struct host_device *d = host_of(device);

    /* The sentence is not written again once the flag is set. */
    return atomic_load(&d->failed) ? err_set(e, "%s", d->failure.text) : 0;
}

float *host_scratch(struct device_stream *s, size_t floats)
{
    if (floats > s->scratch_room) {
        free(s->scratch);
        s->scratch = mem_alloc(floats, sizeof *s->scratch);
        s->scratch_room = floats;
    }
    return s->scratch;
}

/* ---- references, under the lock ---- */

static void drop_mark(struct host_mark *m)
{
    if (m != NULL && --m->refs == 0)
        free(m);
}

static void drop_lists(struct host_lists *l)
{
    if (l != NULL && --l->refs == 0)
        free(l);
}

/* ---- the worker ---- */

/* Under the lock, which is let go meanwhile: until there is a call, or the end. */
static bool await_call(struct device_stream *s)
{
    struct host_device *d = s->device;
    int64_t begun;

    if (atomic_load(&s->count) == 0 && !s->ending) {
        (void)pthread_mutex_unlock(&d->lock);
        begun = host_now_ns();
        while (atomic_load(&s->count) == 0 && host_now_ns() - begun < LOOK_NS)
            ;
        (void)pthread_mutex_lock(&d->lock);
    }
    while (atomic_load(&s->count) == 0 && !s->ending)
        (void)pthread_cond_wait(&s->work, &d->lock);
    return atomic_load(&s->count) > 0;
}

static void reach(struct host_device *d, struct host_mark *m)
{
    m->ns = host_now_ns();
    atomic_store(&m->reached, true);
    (void)pthread_cond_broadcast(&d->reached);
}

static void do_work(struct device_stream *s, const struct host_call *c)
{
    struct host_device *d = s->device;
    struct err e = {.text = ""};

    (void)pthread_mutex_unlock(&d->lock);
    if (c->run(s, &c->args, &e) != 0)
        host_fail(d, &e);
    (void)pthread_mutex_lock(&d->lock);
}

/* Under the lock, which is let go while the call runs. */
static void do_call(struct device_stream *s, const struct host_call *c)
{
    struct host_device *d = s->device;

    switch (c->kind) {
    case HOST_RECORD:
        reach(d, c->mark);
        break;
    case HOST_HOLD:
        while (!atomic_load(&c->mark->reached))
            (void)pthread_cond_wait(&d->reached, &d->lock);
        break;
    case HOST_WORK:
        if (!atomic_load(&d->failed))
            do_work(s, c);
        break;
    }
    drop_mark(c->mark);
    drop_lists(c->lists);
}

static void *work(void *stream)
{
    struct device_stream *s = stream;
    struct host_device *d = s->device;
    struct host_call c;

    (void)pthread_mutex_lock(&d->lock);
    while (await_call(s)) {
        c = s->ring[s->head];
        s->head = (s->head + 1) & (s->room - 1);
        s->busy = true;
        atomic_store(&s->count, atomic_load(&s->count) - 1);
        do_call(s, &c);
        s->busy = false;
        if (atomic_load(&s->count) == 0)
            (void)pthread_cond_broadcast(&d->reached);
    }
    (void)pthread_mutex_unlock(&d->lock);
    return NULL;
}

/* ---- streams ---- */

/* Priorities are not heeded: a thread may not raise its own without privileges. */
struct device_stream *host_stream_new(struct device *device, int priority, struct err *e)
{
    struct host_device *d = host_of(device);
    struct device_stream *s = mem_zalloc(1, sizeof *s);

    (void)priority;
    s->device = d;
    s->room = 64;
    s->ring = mem_alloc(s->room, sizeof *s->ring);
    atomic_init(&s->count, 0);
    (void)pthread_cond_init(&s->work, NULL);
    if (pthread_create(&s->worker, NULL, work, s) != 0) {
        (void)pthread_cond_destroy(&s->work);
        free(s->ring);
        free(s);
        (void)err_set(e, "host: a stream's worker thread cannot be started; raise the "
                         "limit on threads (ulimit -u)");
        return NULL;
    }
    s->next = d->streams;
    d->streams = s;
    return s;
}

static void wait_dry(struct device_stream *s)
{
    struct host_device *d = s->device;

    (void)pthread_mutex_lock(&d->lock);
    while (atomic_load(&s->count) > 0 || s->busy)
        (void)pthread_cond_wait(&d->reached, &d->lock);
    (void)pthread_mutex_unlock(&d->lock);
}

int host_stream_finish(struct device *device, struct device_stream *s, struct err *e)
{
    assert(s->recorded == NULL);
    wait_dry(s);
    return host_check(device, e);
}

static void drop_call(struct host_device *d, struct host_call *c)
{
    (void)pthread_mutex_lock(&d->lock);
    drop_lists(c->lists);
    (void)pthread_mutex_unlock(&d->lock);
}

static void graph_release(struct host_device *d, struct device_graph *g)
{
    for (size_t i = 0; i < g->count; i++)
        drop_call(d, &g->call[i]);
    free(g->call);
    free(g);
}

static void stream_close(struct device_stream *s)
{
    struct host_device *d = s->device;

    (void)pthread_mutex_lock(&d->lock);
    s->ending = true;
    (void)pthread_cond_signal(&s->work);
    (void)pthread_mutex_unlock(&d->lock);
    (void)pthread_join(s->worker, NULL);
    if (s->recorded != NULL)
        graph_release(d, s->recorded);
    (void)pthread_cond_destroy(&s->work);
    free(s->scratch);
    free(s->ring);
    free(s);
}

void host_streams_dry(struct host_device *d)
{
    for (struct device_stream *s = d->streams; s != NULL; s = s->next)
        wait_dry(s);
}

void host_streams_close(struct host_device *d)
{
    host_streams_dry(d);
    while (d->streams != NULL) {
        struct device_stream *s = d->streams;

        d->streams = s->next;
        stream_close(s);
    }
    while (d->graphs != NULL)
        host_graph_free(&d->base, d->graphs);
    while (d->events != NULL)
        host_event_free(&d->base, d->events);
}

/* ---- enqueuing ---- */

static void append(struct device_graph *g, const struct host_call *call)
{
    if (g->count == g->room) {
        g->room = g->room == 0 ? 16 : 2 * g->room;
        g->call = mem_resize(g->call, g->room, sizeof *g->call);
    }
    g->call[g->count++] = *call;
}

static void grow_ring(struct device_stream *s)
{
    struct host_call *ring = mem_alloc(2 * s->room, sizeof *ring);

    memcpy(ring, s->ring + s->head, (s->room - s->head) * sizeof *ring);
    memcpy(ring + (s->room - s->head), s->ring, s->head * sizeof *ring);
    free(s->ring);
    s->ring = ring;
    s->head = 0;
    s->room *= 2;
}

/* Under the lock. */
static void enqueue(struct device_stream *s, const struct host_call *call)
{
    size_t count = atomic_load(&s->count);
    struct host_call c = *call;

    if (c.kind == HOST_RECORD) {
        drop_mark(c.event->mark);
        c.event->mark = c.mark = mem_zalloc(1, sizeof *c.mark);
        c.mark->refs = 2;
    } else if (c.kind == HOST_HOLD) {
        c.mark = c.event->mark;
        if (c.mark == NULL)
            return;
        c.mark->refs++;
    }
    if (count == s->room)
        grow_ring(s);
    s->ring[(s->head + count) & (s->room - 1)] = c;
    atomic_store(&s->count, count + 1);
}

void host_push(struct device_stream *s, const struct host_call *call)
{
    struct host_device *d = s->device;

    if (s->recorded != NULL) {
        append(s->recorded, call);
        return;
    }
    (void)pthread_mutex_lock(&d->lock);
    enqueue(s, call);
    (void)pthread_mutex_unlock(&d->lock);
    (void)pthread_cond_signal(&s->work);
}

/* ---- events ---- */

struct device_event *host_event_new(struct device *device, struct err *e)
{
    struct host_device *d = host_of(device);
    struct device_event *v = mem_zalloc(1, sizeof *v);

    (void)e;
    v->next = d->events;
    if (v->next != NULL)
        v->next->previous = v;
    d->events = v;
    return v;
}

void host_event_free(struct device *device, struct device_event *v)
{
    struct host_device *d = host_of(device);

    if (v == NULL)
        return;
    if (v->previous != NULL)
        v->previous->next = v->next;
    else
        d->events = v->next;
    if (v->next != NULL)
        v->next->previous = v->previous;
    (void)pthread_mutex_lock(&d->lock);
    drop_mark(v->mark);
    (void)pthread_mutex_unlock(&d->lock);
    free(v);
}

void host_event_record(struct device *d, struct device_event *v, struct device_stream *s)
{
    (void)d;
    host_push(s, &(struct host_call){.kind = HOST_RECORD, .event = v});
}

void host_event_hold(struct device *d, struct device_event *v, struct device_stream *s)
{
    (void)d;
    host_push(s, &(struct host_call){.kind = HOST_HOLD, .event = v});
}

bool host_event_reached(struct device *d, struct device_event *v)
{
    return v->mark == NULL || atomic_load(&v->mark->reached) ||
           atomic_load(&host_of(d)->failed);
}

int host_event_wait(struct device *device, struct device_event *v, struct err *e)
{
    struct host_device *d = host_of(device);
    int64_t begun = host_now_ns();

    if (v->mark == NULL)
        return host_check(device, e);
    while (!atomic_load(&v->mark->reached) && host_now_ns() - begun < LOOK_NS)
        ;
    if (!atomic_load(&v->mark->reached)) {
        (void)pthread_mutex_lock(&d->lock);
        while (!atomic_load(&v->mark->reached))
            (void)pthread_cond_wait(&d->reached, &d->lock);
        (void)pthread_mutex_unlock(&d->lock);
    }
    return host_check(device, e);
}

double host_event_ns(struct device *d, struct device_event *a, struct device_event *b)
{
    (void)d;
    if (a->mark == NULL || b->mark == NULL || !atomic_load(&a->mark->reached) ||
        !atomic_load(&b->mark->reached))
        return 0.0;
    return (double)(b->mark->ns - a->mark->ns);
}

/* ---- graphs: recorded calls, enqueued again under one lock ---- */

void host_capture_begin(struct device *d, struct device_stream *s)
{
    (void)d;
    assert(s->recorded == NULL);
    s->recorded = mem_zalloc(1, sizeof *s->recorded);
}

struct device_graph *host_capture_end(struct device *device, struct device_stream *s,
                                      struct err *e)
{
    struct host_device *d = host_of(device);
    struct device_graph *g = s->recorded;

    assert(g != NULL);
    s->recorded = NULL;
    if (host_check(device, e) != 0) {
        graph_release(d, g);
        return NULL;
    }
    g->next = d->graphs;
    if (g->next != NULL)
        g->next->previous = g;
    d->graphs = g;
    return g;
}

void host_graph_launch(struct device *device, struct device_stream *s,
                       struct device_graph *g)
{
    struct host_device *d = host_of(device);

    (void)pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < g->count; i++) {
        if (g->call[i].lists != NULL)
            g->call[i].lists->refs++;
        if (s->recorded != NULL)
            append(s->recorded, &g->call[i]);
        else
            enqueue(s, &g->call[i]);
    }
    (void)pthread_mutex_unlock(&d->lock);
    (void)pthread_cond_signal(&s->work);
}

void host_graph_free(struct device *device, struct device_graph *g)
{
    struct host_device *d = host_of(device);

    if (g == NULL)
        return;
    if (g->previous != NULL)
        g->previous->next = g->next;
    else
        d->graphs = g->next;
    if (g->next != NULL)
        g->next->previous = g->previous;
    graph_release(d, g);
}

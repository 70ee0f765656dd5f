/* Streams, events, copies and graphs of the cuda device.
 *
 * A copy between pageable and device memory is staged by the driver: it is in order on
 * its stream, but the call itself may last as long as the copy. Only pinned memory gives
 * copies that overlap. */
#include "cuda.h"

#include <assert.h>
#include <cuda_runtime_api.h>
#include <stdlib.h>

/* ---- streams ---- */

/* CUDA's numbers go from `greatest`, which is negative, to `least`, 0. Callers' numbers
 * count from the middle of that, so that a few more urgent and a few less urgent ones
 * than 0 are told apart. */
static int priority_of(int priority, int least, int greatest)
{
    int number = (least + greatest) / 2 + priority;

    return number < greatest ? greatest : number > least ? least : number;
}

struct device_stream *cuda_stream_new(struct device *d, int priority, struct err *e)
{
    struct cuda *c = cuda_of(d);
    struct device_stream *s;
    int least = 0;
    int greatest = 0;

    if (!cuda_enter(c) || !cuda_ok(c, cudaDeviceGetStreamPriorityRange(&least, &greatest),
                                   "cudaDeviceGetStreamPriorityRange")) {
        (void)cuda_check(d, e);
        return NULL;
    }
    s = (struct device_stream *)mem_zalloc(1, sizeof *s);
    if (cuda_scratch_new(c, &s->own, e) != 0) {
        free(s);
        return NULL;
    }
    if (!cuda_ok(c,
                 cudaStreamCreateWithPriority(&s->stream, cudaStreamNonBlocking,
                                              priority_of(priority, least, greatest)),
                 "cudaStreamCreateWithPriority")) {
        (void)cuda_check(d, e);
        cuda_scratch_free(&s->own);
        free(s);
        return NULL;
    }
    s->next = c->streams;
    c->streams = s;
    return s;
}

int cuda_stream_finish(struct device *d, struct device_stream *s, struct err *e)
{
    struct cuda *c = cuda_of(d);

    if (cuda_enter(c))
        (void)cuda_ok(c, cudaStreamSynchronize(s->stream),
                      "work on a stream (cudaStreamSynchronize)");
    return cuda_check(d, e);
}

/* ---- events ---- */

struct device_event *cuda_event_new(struct device *d, struct err *e)
{
    struct cuda *c = cuda_of(d);
    struct CUevent_st *event = NULL;
    struct device_event *v;

    if (!cuda_enter(c) || !cuda_ok(c, cudaEventCreateWithFlags(&event, cudaEventDefault),
                                   "cudaEventCreateWithFlags")) {
        (void)cuda_check(d, e);
        return NULL;
    }
    v = (struct device_event *)mem_zalloc(1, sizeof *v);
    v->event = event;
    v->next = c->events;
    if (v->next != NULL)
        v->next->previous = v;
    c->events = v;
    return v;
}

void cuda_event_free(struct device *d, struct device_event *v)
{
    struct cuda *c = cuda_of(d);

    if (v == NULL)
        return;
    if (v->previous != NULL)
        v->previous->next = v->next;
    else
        c->events = v->next;
    if (v->next != NULL)
        v->next->previous = v->previous;
    (void)cudaSetDevice(c->index);
    (void)cuda_ok(c, cudaEventDestroy(v->event), "cudaEventDestroy");
    free(v);
}

/* In a graph, records and holds become nodes that act whenever it is launched: that is
 * what the external flags ask for, and they are allowed only there. */
void cuda_event_record(struct device *d, struct device_event *v, struct device_stream *s)
{
    struct cuda *c = cuda_of(d);

    if (!cuda_enter(c))
        return;
    v->recorded = true;
    (void)cuda_ok(c,
                  cudaEventRecordWithFlags(v->event, s->stream,
                                           s->capture == NULL ? cudaEventRecordDefault
                                                              : cudaEventRecordExternal),
                  "cudaEventRecordWithFlags");
}

void cuda_event_hold(struct device *d, struct device_event *v, struct device_stream *s)
{
    struct cuda *c = cuda_of(d);

    if (cuda_enter(c))
        (void)cuda_ok(c,
                      cudaStreamWaitEvent(s->stream, v->event,
                                          s->capture == NULL ? cudaEventWaitDefault
                                                             : cudaEventWaitExternal),
                      "cudaStreamWaitEvent");
}

bool cuda_event_reached(struct device *d, struct device_event *v)
{
    struct cuda *c = cuda_of(d);
    cudaError_t status;

    if (!cuda_enter(c))
        return true;
    status = cudaEventQuery(v->event);
    if (status == cudaErrorNotReady) {
        (void)cudaGetLastError(); /* or the next launch would be blamed for it */
        return false;
    }
    (void)cuda_ok(c, status, "work before an event (cudaEventQuery)");
    return true;
}

int cuda_event_wait(struct device *d, struct device_event *v, struct err *e)
{
    struct cuda *c = cuda_of(d);

    if (cuda_enter(c))
        (void)cuda_ok(c, cudaEventSynchronize(v->event),
                      "work before an event (cudaEventSynchronize)");
    return cuda_check(d, e);
}

double cuda_event_ns(struct device *d, struct device_event *a, struct device_event *b)
{
    struct cuda *c = cuda_of(d);
    float ms = 0.0F;

    if (!cuda_enter(c) || !a->recorded || !b->recorded)
        return 0.0;
    (void)cuda_ok(c, cudaEventElapsedTime(&ms, a->event, b->event),
                  "cudaEventElapsedTime");
    return 1e6 * (double)ms;
}

/* ---- copies ---- */

void cuda_copy(struct device *d, struct device_stream *s, void *to, const void *from,
               size_t bytes)
{
    struct cuda *c = cuda_of(d);

    if (bytes != 0 && cuda_enter(c))
        (void)cuda_ok(c, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, s->stream),
                      "cudaMemcpyAsync of %zu bytes", bytes);
}

void cuda_fill(struct device *d, struct device_stream *s, void *to, uint8_t byte,
               size_t bytes)
{
    struct cuda *c = cuda_of(d);

    if (bytes != 0 && cuda_enter(c))
        (void)cuda_ok(c, cudaMemsetAsync(to, byte, bytes, s->stream),
                      "cudaMemsetAsync of %zu bytes", bytes);
}

/* ---- graphs ---- */

static void release_graph(struct device_graph *g)
{
    if (g->exec != NULL)
        (void)cudaGraphExecDestroy(g->exec);
    cuda_scratch_free(&g->own);
    while (g->sizes != NULL) {
        struct cuda_sizes *next = g->sizes->next;

        free(g->sizes);
        g->sizes = next;
    }
    free(g);
}

/* Relaxed: what this thread does on other streams meanwhile is none of the graph's
 * business, and cuBLAS may load a kernel that it has not used yet. */
void cuda_capture_begin(struct device *d, struct device_stream *s)
{
    struct cuda *c = cuda_of(d);
    struct device_graph *g;

    assert(s->capture == NULL);
    if (!cuda_enter(c))
        return;
    g = (struct device_graph *)mem_zalloc(1, sizeof *g);
    if (cuda_scratch_new(c, &g->own, &c->failure) != 0 ||
        !cuda_ok(c, cudaStreamBeginCapture(s->stream, cudaStreamCaptureModeRelaxed),
                 "cudaStreamBeginCapture"))
        release_graph(g);
    else
        s->capture = g;
}

struct device_graph *cuda_capture_end(struct device *d, struct device_stream *s,
                                      struct err *e)
{
    struct cuda *c = cuda_of(d);
    struct device_graph *g = s->capture;
    cudaGraph_t recorded = NULL;

    if (g == NULL) { /* it did not begin: the device had failed */
        (void)cuda_check(d, e);
        return NULL;
    }
    s->capture = NULL;
    (void)cudaSetDevice(c->index);
    if (cuda_ok(c, cudaStreamEndCapture(s->stream, &recorded), "cudaStreamEndCapture"))
        (void)cuda_ok(c, cudaGraphInstantiate(&g->exec, recorded, 0),
                      "cudaGraphInstantiate");
    if (recorded != NULL)
        (void)cudaGraphDestroy(recorded);
    if (cuda_check(d, e) != 0) {
        release_graph(g);
        return NULL;
    }
    g->next = c->graphs;
    if (g->next != NULL)
        g->next->previous = g;
    c->graphs = g;
    return g;
}

void cuda_graph_launch(struct device *d, struct device_stream *s, struct device_graph *g)
{
    struct cuda *c = cuda_of(d);

    if (cuda_enter(c))
        (void)cuda_ok(c, cudaGraphLaunch(g->exec, s->stream), "cudaGraphLaunch");
}

void cuda_graph_free(struct device *d, struct device_graph *g)
{
    struct cuda *c = cuda_of(d);

    if (g == NULL)
        return;
    if (g->previous != NULL)
        g->previous->next = g->next;
    else
        c->graphs = g->next;
    if (g->next != NULL)
        g->next->previous = g->previous;
    /* It may be in flight. */
    if (cuda_enter(c))
        (void)cuda_ok(c, cudaDeviceSynchronize(),
                      "work in flight (cudaDeviceSynchronize)");
    release_graph(g);
}

void cuda_streams_close(struct cuda *c)
{
    while (c->graphs != NULL) {
        struct device_graph *next = c->graphs->next;

        release_graph(c->graphs);
        c->graphs = next;
    }
    while (c->events != NULL) {
        struct device_event *next = c->events->next;

        (void)cudaEventDestroy(c->events->event);
        free(c->events);
        c->events = next;
    }
    while (c->streams != NULL) {
        struct device_stream *next = c->streams->next;

        if (c->streams->capture != NULL)
            release_graph(c->streams->capture);
        (void)cudaStreamDestroy(c->streams->stream);
        cuda_scratch_free(&c->streams->own);
        free(c->streams);
        c->streams = next;
    }
}

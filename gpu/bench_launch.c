/* What the host pays: launches, graphs, copies issued, a round trip. */
#include "bench_rig.h"

#include "sim/base/mem.h"

/* `count` is launches, nodes of a graph, nodes of a graph that is launched once, copies;
 * or the bytes of a round trip. */
static void shapes(const struct bench *b, struct bench_shapes *list)
{
    const uint64_t most = b->quick ? 256 : 2048;

    for (uint64_t kind = 0; kind < LAUNCH_ROUND_TRIP; kind++)
        for (uint64_t n = 32; n <= most; n *= 2)
            BENCH_SHAPE(list, kind, n);
    for (uint64_t bytes = 64; bytes <= 32768; bytes *= b->quick ? 8 : 2)
        BENCH_SHAPE(list, LAUNCH_ROUND_TRIP, bytes);
}

struct launch_state {
    struct device_graph *graph;
    struct device_norm norm; /* of almost nothing */
    char *local;
};

static int setup(struct bench *b, struct err *e)
{
    struct launch_state *l = mem_zalloc(1, sizeof *l);
    void *p;
    int status = bench_local(b, 65536, &p, e);

    b->state = l;
    if (status != 0)
        return status;
    l->local = p;
    l->norm = (struct device_norm){
        .rows = 1, .hidden = 64, .x = p, .weight = p, .y = l->local + 32768};
    if (b->shape[0] != LAUNCH_NODE && b->shape[0] != LAUNCH_GRAPH)
        return 0;
    b->o->capture_begin(b->d, b->s);
    for (uint64_t i = 0; i < b->shape[1]; i++)
        b->o->norm(b->d, b->s, &l->norm);
    l->graph = b->o->capture_end(b->d, b->s, e);
    return l->graph == NULL ? -1 : 0;
}

static void end(struct bench *b)
{
    struct launch_state *l = b->state;

    if (l != NULL && l->graph != NULL)
        b->o->graph_free(b->d, l->graph);
}

/* The host's time to enqueue, while the stream spins until it is over. */
static int run_enqueue(struct bench *b, double *seconds, struct err *e)
{
    const struct launch_state *l = b->state;
    double begun;

    b->o->spin(b->d, b->s, 1e5 + 1e4 * (double)b->shape[1]);
    begun = bench_now();
    if (b->shape[0] == LAUNCH_GRAPH)
        b->o->graph_launch(b->d, b->s, l->graph);
    for (uint64_t i = 0; b->shape[0] == LAUNCH_EAGER && i < b->shape[1]; i++)
        b->o->norm(b->d, b->s, &l->norm);
    for (uint64_t i = 0; b->shape[0] == LAUNCH_COPY && i < b->shape[1]; i++)
        b->o->copy(b->d, b->s, l->local + 16384, b->pool[DEVICE_MEMORY_PINNED], 4096);
    *seconds = bench_now() - begun;
    return b->o->stream_finish(b->d, b->s, e);
}

static int run_graph(struct bench *b, double *seconds, struct err *e)
{
    const struct launch_state *l = b->state;

    /* Launching takes longer the more nodes there are. */
    b->o->spin(b->d, b->s, 2e3 * (double)b->shape[1]);
    bench_begin(b);
    b->o->graph_launch(b->d, b->s, l->graph);
    return bench_finish(b, seconds, e);
}

/* From the end of a kernel to the begin of the next one, where the host waits in between
 * for what the first one made: measured from the host's first call to an idle stream to
 * its return from the wait, less what the kernel took by events around it. */
static int run_round_trip(struct bench *b, double *seconds, struct err *e)
{
    const struct launch_state *l = b->state;
    const double begun = bench_now();
    int status;

    b->o->event_record(b->d, b->event[0], b->s);
    b->o->spin(b->d, b->s, 2e5);
    b->o->event_record(b->d, b->event[1], b->s);
    b->o->copy(b->d, b->s, b->pool[DEVICE_MEMORY_PINNED], l->local, b->shape[1]);
    b->o->event_record(b->d, b->event[2], b->s);
    status = b->o->event_wait(b->d, b->event[2], e);
    if (status == 0)
        *seconds =
            bench_now() - begun - b->o->event_ns(b->d, b->event[0], b->event[1]) * 1e-9;
    return status;
}

static int run(struct bench *b, double *seconds, struct err *e)
{
    switch (b->shape[0]) {
    case LAUNCH_ROUND_TRIP:
        return run_round_trip(b, seconds, e);
    case LAUNCH_NODE:
        return run_graph(b, seconds, e);
    default:
        return run_enqueue(b, seconds, e);
    }
}

const struct device_bench bench_launch = {
    .table = &samples_launch,
    .help = "seconds of `count` eager launches (host), of a graph of `count` nodes "
            "(device), of launching it (host), of issuing `count` copies (host), and "
            "between two kernels if the host waits for `count` bytes copied back",
    .shapes = shapes,
    .setup = setup,
    .run = run,
    .end = end,
};

/* The engine alone, on one core. Prints CSV: bench,case,value,unit.
 *
 * "hold" is the classic model of an event queue: n events pending; take the first and put
 * one back an exponential increment later. The increments are drawn before the timed
 * window; filling the heap is outside as well. Each figure is the median of RUNS. */
#include "sim/base/mem.h"
#include "sim/base/rng.h"
#include "sim/engine/engine.h"
#include "sim/engine/heap.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define RUNS 9
#define INCREMENTS 65536

static double now_s(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return x < y ? -1 : x > y ? 1 : 0;
}

static double median(double *x)
{
    qsort(x, RUNS, sizeof(*x), by_value);
    return x[RUNS / 2];
}

/* Seconds for `holds` holds with `pending` events. */
static double hold(size_t pending, size_t holds, const sim_time *increment)
{
    struct heap h;
    double begin;
    double end;

    heap_init(&h);
    for (size_t i = 0; i < pending; i++)
        heap_push(&h, increment[i % INCREMENTS] + (sim_time)i, i);
    /* A first round brings the queue into its steady state. */
    for (size_t i = 0; i < 4 * pending; i++)
        (void)heap_replace(&h, heap_top(&h)->time + increment[i % INCREMENTS], i);
    begin = now_s();
    for (size_t i = 0; i < holds; i++)
        (void)heap_replace(&h, heap_top(&h)->time + increment[i % INCREMENTS], i);
    end = now_s();
    heap_release(&h);
    return end - begin;
}

/* The same by a pop and a push. */
static double hold_apart(size_t pending, size_t holds, const sim_time *increment)
{
    struct heap h;
    double begin;
    double end;

    heap_init(&h);
    for (size_t i = 0; i < pending; i++)
        heap_push(&h, increment[i % INCREMENTS] + (sim_time)i, i);
    for (size_t i = 0; i < 4 * pending; i++)
        (void)heap_replace(&h, heap_top(&h)->time + increment[i % INCREMENTS], i);
    begin = now_s();
    for (size_t i = 0; i < holds; i++) {
        struct heap_entry x = heap_pop(&h);

        heap_push(&h, x.time + increment[i % INCREMENTS], i);
    }
    end = now_s();
    heap_release(&h);
    return end - begin;
}

static void bench_heap(void)
{
    static const size_t pending[] = {1000, 100000};
    const size_t holds = 2000000;
    sim_time *increment = mem_alloc(INCREMENTS, sizeof(*increment));
    struct rng r = rng_stream(1, "hold", 0);

    for (size_t i = 0; i < INCREMENTS; i++)
        increment[i] = sim_time_of_seconds(1e-6 * rng_exponential(&r));
    for (int i = 0; i < 2; i++) {
        double fused[RUNS];
        double apart[RUNS];

        for (int run = 0; run < RUNS; run++) {
            fused[run] = (double)holds / hold(pending[i], holds, increment);
            apart[run] = (double)holds / hold_apart(pending[i], holds, increment);
        }
        printf("engine,hold_%zu,%.3g,events/s\n", pending[i], median(fused));
        printf("engine,hold_pop_push_%zu,%.3g,events/s\n", pending[i], median(apart));
    }
    free(increment);
}

/* A layer as a replay submits it: a block, a copy, what comes after both; then the wait.
 * Three lanes, two links. Returns seconds per work; *check keeps the work from being
 * optimised away. */
static double layers(bool event_driven, bool wait, uint64_t works, uint64_t *check)
{
    struct engine *g = engine_new(event_driven);
    uint32_t gpu = engine_add_lane(g, "gpu");
    uint32_t copy = engine_add_lane(g, "copy");
    uint32_t experts = engine_add_lane(g, "experts");
    uint16_t host = (uint16_t)engine_add_link(g, "host", 80e9);
    uint16_t pcie = (uint16_t)engine_add_link(g, "pcie", 25e9);
    sim_time now = 0;
    double begin = now_s();

    for (uint64_t i = 0; i < works; i += 3) {
        work_id after[2];
        work_id last;

        after[0] = engine_submit(g, &(struct work){.lane = gpu,
                                                   .tag = 1,
                                                   .release = now,
                                                   .latency = 100000 + (sim_time)i});
        after[1] = engine_submit(g, &(struct work){.lane = copy,
                                                   .tag = 2,
                                                   .release = now,
                                                   .latency = 5000000,
                                                   .bytes = 13271040,
                                                   .path = {host, pcie},
                                                   .path_length = 2});
        last = engine_submit(g, &(struct work){.lane = experts,
                                               .tag = 3,
                                               .release = now,
                                               .latency = 2000000,
                                               .after = after,
                                               .after_count = 2});
        if (wait || i % 24 == 21) {
            now = engine_wait(g, last);
            engine_retire(g, last);
        }
    }
    (void)engine_drain(g);
    *check += engine_get_report(g).digest;
    begin = now_s() - begin;
    engine_free(g);
    return begin / (double)works;
}

/* `lanes` copies at a time from one root, each over its own port, waited for together. */
static double shared(uint32_t lanes, uint64_t works, uint64_t *check)
{
    struct engine *g = engine_new(true);
    uint16_t root = (uint16_t)engine_add_link(g, "root", 50e9);
    double begin;

    for (uint32_t i = 0; i < lanes; i++) {
        (void)engine_add_lane(g, "copy");
        (void)engine_add_link(g, "port", 25e9);
    }
    begin = now_s();
    for (uint64_t i = 0; i < works; i++) {
        struct work w = {.lane = (uint32_t)(i % lanes),
                         .bytes = 1000000 + i % 7 * 1000,
                         .path = {root, (uint16_t)(1 + i % lanes)},
                         .path_length = 2};
        work_id id = engine_submit(g, &w);

        if (i % (4 * lanes) == 4 * lanes - 1) {
            (void)engine_wait(g, id);
            engine_retire(g, id);
        }
    }
    (void)engine_drain(g);
    *check += engine_get_report(g).digest;
    begin = now_s() - begin;
    engine_free(g);
    return begin / (double)works;
}

int main(void)
{
    const uint64_t works = 1200000;
    uint64_t check = 0;
    double fifo[RUNS];
    double queued[RUNS];
    double event[RUNS];
    double two[RUNS];
    double sixteen[RUNS];

    printf("bench,case,value,unit\n");
    bench_heap();
    for (int run = 0; run < RUNS; run++) {
        fifo[run] = 1e9 * layers(false, true, works, &check);
        queued[run] = 1e9 * layers(false, false, works, &check);
        event[run] = 1e9 * layers(true, true, works, &check);
        two[run] = 1e9 * shared(2, works / 8, &check);
        sixteen[run] = 1e9 * shared(16, works / 8, &check);
    }
    printf("engine,fifo_submit_wait_each_third,%.1f,ns/work\n", median(fifo));
    printf("engine,fifo_submit_wait_each_24th,%.1f,ns/work\n", median(queued));
    printf("engine,event_submit_wait_each_third,%.1f,ns/work\n", median(event));
    printf("engine,event_shared_by_2,%.1f,ns/work\n", median(two));
    printf("engine,event_shared_by_16,%.1f,ns/work\n", median(sixteen));
    return check == 0; /* a sum of hashes: not zero */
}

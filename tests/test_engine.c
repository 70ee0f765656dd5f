#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/base/mem.h"
#include "sim/base/rng.h"
#include "sim/engine/engine.h"
#include "sim/engine/state.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void check(const struct engine *g)
{
    struct err e = {.text = ""};

    if (engine_check(g, &e) != 0)
        fail_msg("%s", e.text);
}

/* Work of fixed length. */
static work_id put(struct engine *g, uint32_t lane, enum work_class class_,
                   sim_time release, sim_time latency, work_id after)
{
    return engine_submit(g, &(struct work){.lane = lane,
                                           .class_ = class_,
                                           .release = release,
                                           .latency = latency,
                                           .after = &after,
                                           .after_count = 1});
}

/* A copy over one link. */
static work_id copy(struct engine *g, uint32_t lane, enum work_class class_,
                    sim_time release, uint64_t bytes, uint64_t chunk_bytes, uint16_t link)
{
    return engine_submit(g, &(struct work){.lane = lane,
                                           .class_ = class_,
                                           .release = release,
                                           .bytes = bytes,
                                           .chunk_bytes = chunk_bytes,
                                           .path = {link},
                                           .path_length = 1});
}

/* ---- one lane, dependencies, releases: by hand, in both modes ---- */

static void test_lanes_by_hand(void **state)
{
    (void)state;
    for (int event = 0; event < 2; event++) {
        struct engine *g = engine_new(event != 0);
        uint32_t gpu = engine_add_lane(g, "gpu");
        uint32_t cpu = engine_add_lane(g, "cpu");
        work_id a = put(g, gpu, WORK_DEMAND, 17, 100, 0); /* 17 .. 117 */
        work_id b = put(g, gpu, WORK_DEMAND, 0, 23, 0);   /* behind a: 117 .. 140 */
        work_id c = put(g, cpu, WORK_DEMAND, 0, 31, a);   /* 117 .. 148 */
        work_id d = put(g, gpu, WORK_DEMAND, 0, 5, c);    /* 148 .. 153 */
        work_id f = put(g, gpu, WORK_DEMAND, 0, 3, 0);    /* blocked by d: 153 .. 156 */
        work_id h = put(g, cpu, WORK_DEMAND, 1000, 0, 0); /* no time at all, at 1000 */

        assert_int_equal(engine_wait(g, b), 140);
        assert_int_equal(engine_times(g, b).start, 117);
        assert_int_equal(engine_times(g, a).start, 17);
        assert_false(engine_done_by(g, c, 147));
        assert_true(engine_done_by(g, c, 148));
        assert_int_equal(engine_wait(g, a), 117);
        assert_int_equal(engine_drain(g), 1000);
        assert_int_equal(engine_times(g, d).start, 148);
        assert_int_equal(engine_times(g, f).end, 156);
        assert_int_equal(engine_times(g, h).start, 1000);
        assert_int_equal(engine_lane_busy(g, gpu), 131);
        assert_int_equal(engine_lane_busy(g, cpu), 31);
        assert_int_equal(engine_get_report(g).finished, 6);
        assert_string_equal(engine_lane_name(g, cpu), "cpu");
        check(g);
        engine_free(g);
    }
}

/* Nothing begins before the clock: 140 by the wait, then 500 by engine_advance. */
static void test_clock_holds_back(void **state)
{
    (void)state;
    for (int event = 0; event < 2; event++) {
        struct engine *g = engine_new(event != 0);
        uint32_t a = engine_add_lane(g, "a");
        uint32_t b = engine_add_lane(g, "b");
        work_id x = put(g, a, WORK_DEMAND, 40, 100, 0);
        work_id y;

        (void)engine_wait(g, x);
        y = put(g, b, WORK_DEMAND, 0, 7, 0);
        assert_int_equal(engine_wait(g, y), 147);
        engine_advance(g, 500);
        y = put(g, b, WORK_DEMAND, 0, 7, x);
        assert_int_equal(engine_drain(g), 507);
        assert_int_equal(engine_times(g, y).start, 500);
        check(g);
        engine_free(g);
    }
}

/* ---- both modes give the same digest ---- */

struct twin {
    struct engine *fifo, *event;
    uint32_t lanes;
    uint16_t links_of_lane[8]; /* lane i owns links i * 3 .. i * 3 + links - 1 */
};

static struct twin twin_new(struct rng *r)
{
    struct twin t = {.fifo = engine_new(false), .event = engine_new(true)};

    t.lanes = 1 + (uint32_t)rng_below(r, 8);
    for (uint32_t i = 0; i < t.lanes; i++) {
        (void)engine_add_lane(t.fifo, "lane");
        (void)engine_add_lane(t.event, "lane");
        t.links_of_lane[i] = (uint16_t)(1 + rng_below(r, 3));
        for (uint32_t j = 0; j < 3; j++) {
            double speed = 1e9 * (1.0 + 99.0 * rng_unit(r));

            (void)engine_add_link(t.fifo, "link", speed);
            (void)engine_add_link(t.event, "link", speed);
        }
    }
    return t;
}

static void twin_submit(struct twin *t, struct rng *r, work_id ids)
{
    work_id after[4];
    struct work w = {.lane = (uint32_t)rng_below(r, t->lanes),
                     .tag = (uint32_t)rng_below(r, 5),
                     .after = after};

    w.class_ = w.lane % 2 == 0 ? WORK_DEMAND : WORK_PREFETCH;
    if (rng_below(r, 4) == 0)
        w.release = t->fifo->clock + (sim_time)rng_below(r, 3000);
    if (rng_below(r, 3) != 0)
        w.latency = (sim_time)rng_below(r, 1000);
    if (rng_below(r, 2) == 0) {
        w.bytes = rng_below(r, 200);
        w.chunk_bytes = rng_below(r, 2) == 0 ? 0 : 1 + rng_below(r, 60);
        w.path_length = t->links_of_lane[w.lane];
        for (uint32_t i = 0; i < w.path_length; i++)
            w.path[i] = (uint16_t)(w.lane * 3 + i);
    }
    w.after_count = (uint32_t)rng_below(r, 5);
    for (uint32_t i = 0; i < w.after_count; i++) {
        work_id span = ids < 30 ? ids : 30;

        /* Mostly of late, sometimes long retired, sometimes nothing. */
        after[i] = rng_below(r, 8) == 0 ? rng_below(r, ids + 1)
                                        : ids - (span > 0 ? rng_below(r, span) : 0);
    }
    assert_int_equal(engine_submit(t->fifo, &w), ids + 1);
    assert_int_equal(engine_submit(t->event, &w), ids + 1);
}

static void twin_run(uint64_t seed)
{
    struct rng r = rng_stream(seed, "twin", 0);
    struct twin t = twin_new(&r);
    work_id ids = 0;
    work_id kept = 1; /* ids below are retired */

    for (int step = 0; step < 400; step++) {
        uint64_t choice = rng_below(&r, 16);

        if (ids < kept || choice < 11) {
            twin_submit(&t, &r, ids++);
        } else if (choice < 13) {
            work_id id = kept + rng_below(&r, ids - kept + 1);

            assert_int_equal(engine_wait(t.fifo, id), engine_wait(t.event, id));
        } else if (choice < 14) {
            work_id id = kept + rng_below(&r, ids - kept + 1);
            sim_time when = t.fifo->clock + (sim_time)rng_below(&r, 500) - 100;

            assert_int_equal(engine_done_by(t.fifo, id, when),
                             engine_done_by(t.event, id, when));
        } else if (choice < 15) {
            sim_time when = t.fifo->clock + (sim_time)rng_below(&r, 500);

            engine_advance(t.fifo, when);
            engine_advance(t.event, when);
        } else {
            kept += rng_below(&r, ids - kept + 2);
            engine_retire(t.fifo, kept);
            engine_retire(t.event, kept);
        }
        assert_int_equal(t.fifo->clock, t.event->clock);
    }
    assert_int_equal(engine_drain(t.fifo), engine_drain(t.event));
    for (work_id id = kept; id <= ids; id++) {
        struct work_times a = engine_times(t.fifo, id);
        struct work_times b = engine_times(t.event, id);

        assert_int_equal(a.start, b.start);
        assert_int_equal(a.end, b.end);
        assert_int_equal(a.bytes, b.bytes);
    }
    assert_true(engine_get_report(t.fifo).digest == engine_get_report(t.event).digest);
    assert_int_equal(engine_get_report(t.fifo).bytes_moved,
                     engine_get_report(t.event).bytes_moved);
    for (uint32_t i = 0; i < t.lanes; i++)
        assert_int_equal(engine_lane_busy(t.fifo, i), engine_lane_busy(t.event, i));
    for (uint32_t i = 0; i < 3 * t.lanes; i++)
        assert_true(engine_link_bytes(t.fifo, i) == engine_link_bytes(t.event, i));
    check(t.fifo);
    check(t.event);
    engine_free(t.fifo);
    engine_free(t.event);
}

static void test_fifo_equals_event_driven(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++)
        twin_run(seed);
}

/* ---- priorities and chunks ---- */

/* At 1e12 B/s one byte takes one picosecond: times by hand. */
#define BYTE_PER_PS 1e12

/* Prefetch of 10 chunks of 100 ps; demand of 250 ps comes at 430, in the fifth chunk, and
 * takes over at 500. The prefetch ends at 1000 + 250. */
static void test_demand_overtakes_at_chunk_edge(void **state)
{
    struct engine *g = engine_new(true);
    uint32_t lane = engine_add_lane(g, "copy");
    uint16_t link = (uint16_t)engine_add_link(g, "pcie", BYTE_PER_PS);
    work_id p = copy(g, lane, WORK_PREFETCH, 0, 1000, 100, link);
    work_id d = copy(g, lane, WORK_DEMAND, 430, 250, 0, link);

    (void)state;
    assert_int_equal(engine_wait(g, d), 750);
    assert_int_equal(engine_times(g, d).start, 500);
    assert_int_equal(engine_wait(g, p), 1250);
    assert_int_equal(engine_times(g, p).start, 0);
    assert_int_equal(engine_lane_busy(g, lane), 1250);
    check(g);
    engine_free(g);
}

/* Two calls at one time: the lane chooses after both. */
static void test_choice_comes_after_the_calls(void **state)
{
    struct engine *g = engine_new(true);
    uint32_t lane = engine_add_lane(g, "lane");
    work_id p = put(g, lane, WORK_PREFETCH, 0, 11, 0);
    work_id d = put(g, lane, WORK_DEMAND, 0, 13, 0);

    (void)state;
    assert_int_equal(engine_wait(g, p), 24);
    assert_int_equal(engine_times(g, d).end, 13);
    engine_free(g);
}

/* A demand head that is not ready does not hold back prefetch, only demand. */
static void test_blocked_head(void **state)
{
    struct engine *g = engine_new(true);
    uint32_t lane = engine_add_lane(g, "lane");
    uint32_t other = engine_add_lane(g, "other");
    work_id x = put(g, other, WORK_DEMAND, 0, 300, 0);
    work_id d = put(g, lane, WORK_DEMAND, 0, 10, x);
    work_id behind = put(g, lane, WORK_DEMAND, 0, 10, 0);
    work_id p = put(g, lane, WORK_PREFETCH, 70, 50, 0);

    (void)state;
    (void)engine_drain(g);
    assert_int_equal(engine_times(g, p).start, 70);
    assert_int_equal(engine_times(g, d).start, 300);
    assert_int_equal(engine_times(g, behind).start, 310);
    check(g);
    engine_free(g);
}

/* The rules of the header read once more, naively: every lane, class and work is looked
 * at again at every time at which something may happen. One byte is one picosecond. */
struct naive {
    struct work w[60];
    work_id after[60][3];
    bool ended[60];
    bool begun[60];
    uint64_t moved[60];
    sim_time start[60], end[60];
    size_t count;
    size_t running[4]; /* index of the work in its chunk; count: none */
    sim_time edge[4];
    uint64_t chunk[4];
};

static bool naive_ready(const struct naive *n, size_t i, sim_time t)
{
    if (n->w[i].release > t)
        return false;
    for (uint32_t j = 0; j < n->w[i].after_count; j++)
        if (n->after[i][j] != 0 && !n->ended[n->after[i][j] - 1])
            return false;
    return true;
}

static size_t naive_choice(const struct naive *n, uint32_t lane, sim_time t)
{
    for (int c = 0; c < WORK_CLASSES; c++) {
        size_t i = 0;

        while (i < n->count &&
               (n->ended[i] || n->w[i].lane != lane || (int)n->w[i].class_ != c))
            i++;
        if (i < n->count && naive_ready(n, i, t))
            return i;
    }
    return n->count;
}

/* Ends what ends at t; true if anything did. */
static bool naive_ends(struct naive *n, sim_time t)
{
    bool any = false;

    for (uint32_t lane = 0; lane < 4; lane++) {
        size_t i = n->running[lane];

        if (i == n->count || n->edge[lane] != t)
            continue;
        any = true;
        n->running[lane] = n->count;
        n->moved[i] += n->chunk[lane];
        if (n->moved[i] == n->w[i].bytes) {
            n->ended[i] = true;
            n->end[i] = t;
        }
    }
    return any;
}

static void naive_begin(struct naive *n, uint32_t lane, size_t i, sim_time t)
{
    const struct work *w = &n->w[i];
    uint64_t left = w->bytes - n->moved[i];

    if (!n->begun[i])
        n->start[i] = t;
    n->begun[i] = true;
    n->chunk[lane] = w->chunk_bytes == 0 || w->chunk_bytes > left ? left : w->chunk_bytes;
    n->edge[lane] = t + w->latency + (sim_time)n->chunk[lane];
    n->running[lane] = i;
}

static void naive_run(struct naive *n)
{
    for (int lane = 0; lane < 4; lane++)
        n->running[lane] = n->count;
    for (sim_time t = 0; t < 100000; t++) {
        do {
            while (naive_ends(n, t)) {
            }
            for (uint32_t lane = 0; lane < 4; lane++) {
                size_t i = naive_choice(n, lane, t);

                if (n->running[lane] == n->count && i < n->count)
                    naive_begin(n, lane, i, t);
            }
        } while (naive_ends(n, t));
    }
}

static void naive_compare(uint64_t seed)
{
    struct rng r = rng_stream(seed, "naive", 0);
    struct naive *n = mem_zalloc(1, sizeof(*n));
    struct engine *g = engine_new(true);

    for (int i = 0; i < 4; i++) {
        (void)engine_add_lane(g, "lane");
        (void)engine_add_link(g, "link", BYTE_PER_PS);
    }
    n->count = 20 + rng_below(&r, 41);
    for (size_t i = 0; i < n->count; i++) {
        struct work *w = &n->w[i];

        w->lane = (uint32_t)rng_below(&r, 4);
        w->class_ = rng_below(&r, 2) == 0 ? WORK_DEMAND : WORK_PREFETCH;
        w->release = rng_below(&r, 2) == 0 ? 0 : (sim_time)rng_below(&r, 1500);
        w->latency = (sim_time)rng_below(&r, 20);
        w->bytes = rng_below(&r, 3) == 0 ? 0 : rng_below(&r, 100);
        w->chunk_bytes = rng_below(&r, 2) == 0 ? 0 : 1 + rng_below(&r, 40);
        w->path[0] = (uint16_t)w->lane;
        w->path_length = 1;
        w->after_count = (uint32_t)rng_below(&r, 4);
        w->after = n->after[i];
        for (uint32_t j = 0; j < w->after_count; j++)
            n->after[i][j] = rng_below(&r, i + 1);
        (void)engine_submit(g, w);
    }
    (void)engine_drain(g);
    naive_run(n);
    for (size_t i = 0; i < n->count; i++) {
        assert_true(n->ended[i]);
        assert_int_equal(engine_times(g, i + 1).start, n->start[i]);
        assert_int_equal(engine_times(g, i + 1).end, n->end[i]);
    }
    check(g);
    engine_free(g);
    free(n);
}

static void test_against_naive_rules(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 30; seed++)
        naive_compare(seed);
}

/* ---- cancelling and promoting ---- */

/* Chunks of 7 ps latency and 100 bytes, so edges at 107, 214, 321, ... */
static work_id chunks_of_107(struct engine *g, uint32_t lane, uint16_t link)
{
    return engine_submit(g, &(struct work){.lane = lane,
                                           .class_ = WORK_PREFETCH,
                                           .latency = 7,
                                           .bytes = 1000,
                                           .chunk_bytes = 100,
                                           .path = {link},
                                           .path_length = 1});
}

static void test_cancel_begun(void **state)
{
    /* In the third chunk; at the very edge of two and three; in the last; at its end. */
    static const sim_time when[] = {250, 214, 1069, 1070};
    static const sim_time end[] = {321, 214, 1070, 1070};
    static const uint64_t bytes[] = {300, 200, 1000, 1000};

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct engine *g = engine_new(true);
        uint32_t lane = engine_add_lane(g, "copy");
        uint16_t link = (uint16_t)engine_add_link(g, "pcie", BYTE_PER_PS);
        work_id p = chunks_of_107(g, lane, link);
        work_id after = put(g, lane, WORK_PREFETCH, 0, 5, p);

        engine_cancel(g, p, when[i]);
        assert_int_equal(engine_wait(g, p), end[i]);
        assert_int_equal(engine_times(g, p).bytes, bytes[i]);
        assert_int_equal(engine_times(g, p).cancelled, bytes[i] < 1000);
        assert_int_equal(engine_wait(g, after), end[i] + 5);
        assert_int_equal(engine_get_report(g).cancelled, bytes[i] < 1000);
        assert_int_equal(engine_get_report(g).bytes_moved, bytes[i]);
        assert_true(engine_link_bytes(g, link) == (double)bytes[i]);
        engine_cancel(g, p, end[i] + 100); /* too late: nothing changes */
        assert_int_equal(engine_times(g, p).end, end[i]);
        check(g);
        engine_free(g);
    }
}

/* Overtaken by demand at 107, it has begun but is not in a chunk: it ends at once. */
static void test_cancel_overtaken(void **state)
{
    struct engine *g = engine_new(true);
    uint32_t lane = engine_add_lane(g, "copy");
    uint16_t link = (uint16_t)engine_add_link(g, "pcie", BYTE_PER_PS);
    work_id p = chunks_of_107(g, lane, link);
    work_id d = put(g, lane, WORK_DEMAND, 50, 500, 0);

    (void)state;
    engine_cancel(g, p, 400);
    assert_int_equal(engine_times(g, p).end, 400);
    assert_int_equal(engine_times(g, p).bytes, 100);
    assert_int_equal(engine_drain(g), 607);
    assert_int_equal(engine_times(g, d).start, 107);
    check(g);
    engine_free(g);
}

static void test_cancel_queued(void **state)
{
    struct engine *g = engine_new(true);
    uint32_t lane = engine_add_lane(g, "lane");
    uint32_t other = engine_add_lane(g, "other");
    work_id a = put(g, lane, WORK_DEMAND, 0, 100, 0);
    work_id b = put(g, lane, WORK_DEMAND, 0, 100, 0);
    work_id c = put(g, lane, WORK_DEMAND, 0, 100, 0);
    work_id after = put(g, other, WORK_DEMAND, 0, 3, b);

    (void)state;
    engine_cancel(g, b, 60);
    engine_cancel(g, a, 60); /* fixed time, begun: runs to its end */
    assert_int_equal(engine_wait(g, after), 63);
    assert_int_equal(engine_times(g, b).start, 60);
    assert_int_equal(engine_times(g, b).end, 60);
    assert_true(engine_times(g, b).cancelled);
    assert_int_equal(engine_drain(g), 200);
    assert_false(engine_times(g, a).cancelled);
    assert_int_equal(engine_times(g, c).start, 100);
    assert_int_equal(engine_get_report(g).cancelled, 1);
    assert_int_equal(engine_get_report(g).finished, 3);
    check(g);
    engine_free(g);
}

/* The head of an idle lane waits for its release; without it the next one runs, and its
 * timer must not move the clock. */
static void test_cancel_waiting_head(void **state)
{
    struct engine *g = engine_new(true);
    uint32_t lane = engine_add_lane(g, "lane");
    work_id far = put(g, lane, WORK_DEMAND, 1000000, 1, 0);
    work_id near = put(g, lane, WORK_DEMAND, 0, 10, 0);

    (void)state;
    engine_advance(g, 30);
    engine_cancel(g, far, 40);
    assert_int_equal(engine_drain(g), 50);
    assert_int_equal(engine_times(g, near).start, 40);
    near = put(g, lane, WORK_DEMAND, 0, 10, 0);
    assert_int_equal(engine_wait(g, near), 60);
    (void)engine_drain(g);
    check(g);
    engine_free(g);
}

static void test_promote_queued(void **state)
{
    struct engine *g = engine_new(true);
    uint32_t lane = engine_add_lane(g, "lane");
    work_id a = put(g, lane, WORK_DEMAND, 0, 100, 0);
    work_id p1 = put(g, lane, WORK_PREFETCH, 0, 10, 0);
    work_id p2 = put(g, lane, WORK_PREFETCH, 0, 10, 0);
    work_id d1 = put(g, lane, WORK_DEMAND, 0, 10, 0);
    work_id d2;

    (void)state;
    engine_promote(g, p2, 50);
    d2 = put(g, lane, WORK_DEMAND, 0, 10, 0);
    engine_promote(g, a, 60);
    (void)engine_drain(g);
    assert_int_equal(engine_times(g, d1).start, 100);
    assert_int_equal(engine_times(g, p2).start, 110);
    assert_int_equal(engine_times(g, d2).start, 120);
    assert_int_equal(engine_times(g, p1).start, 130);
    check(g);
    engine_free(g);
}

/* Promoted in its first chunk: behind the demand already queued, before what comes later,
 * from the edge at 107 on. Nine chunks of it are left at 207. */
static void test_promote_begun(void **state)
{
    struct engine *g = engine_new(true);
    uint32_t lane = engine_add_lane(g, "copy");
    uint16_t link = (uint16_t)engine_add_link(g, "pcie", BYTE_PER_PS);
    work_id p = chunks_of_107(g, lane, link);
    work_id d1 = put(g, lane, WORK_DEMAND, 20, 100, 0);
    work_id d2;

    (void)state;
    engine_promote(g, p, 30);
    d2 = put(g, lane, WORK_DEMAND, 40, 100, 0);
    (void)engine_drain(g);
    assert_int_equal(engine_times(g, d1).start, 107);
    assert_int_equal(engine_times(g, p).end, 207 + 9 * 107);
    assert_int_equal(engine_times(g, d2).start, 207 + 9 * 107);
    check(g);
    engine_free(g);
}

/* Promoted in the wrong order: p2, first in the queue of demand, comes after p1, which is
 * promoted behind it. Promoted work passes a head that is not ready, so this is no
 * standstill. p1 has to wait for its release at 70. */
static void test_promote_passes_blocked_head(void **state)
{
    struct engine *g = engine_new(true);
    uint32_t lane = engine_add_lane(g, "lane");
    work_id p1 = put(g, lane, WORK_PREFETCH, 70, 10, 0);
    work_id p2 = put(g, lane, WORK_PREFETCH, 0, 10, p1);

    (void)state;
    engine_promote(g, p2, 20);
    engine_promote(g, p1, 30);
    assert_int_equal(engine_wait(g, p2), 90);
    assert_int_equal(engine_times(g, p1).start, 70);
    (void)engine_drain(g);
    check(g);
    engine_free(g);
}

/* ---- shared links in closed form ---- */

static sim_time seconds(double s)
{
    return sim_time_of_seconds(s);
}

static void assert_within(sim_time got, sim_time want, sim_time slack)
{
    if (got < want - slack || got > want + slack)
        fail_msg("%lld is not within %lld of %lld", (long long)got, (long long)slack,
                 (long long)want);
}

/* A alone until tau, then both at half the capacity until one ends, then the other
 * alone. With a = 3e9, b = 1e9 bytes at C = 23.85e9 B/s and tau = 0.02 s: B takes 2 b/C,
 * and A ends when all is carried, at (a + b)/C. */
static void test_two_flows_share(void **state)
{
    const double c = 23.85e9;
    struct engine *g = engine_new(true);
    uint32_t x = engine_add_lane(g, "x");
    uint32_t y = engine_add_lane(g, "y");
    uint16_t link = (uint16_t)engine_add_link(g, "pcie", c);
    work_id a = copy(g, x, WORK_DEMAND, 0, 3000000000, 0, link);
    work_id b = copy(g, y, WORK_DEMAND, seconds(0.02), 1000000000, 0, link);

    (void)state;
    assert_int_equal(engine_wait(g, b), seconds(0.02) + seconds(1e9 / (c / 2.0)));
    assert_within(engine_wait(g, a), seconds(4e9 / c), 2);
    (void)engine_drain(g);
    check(g);
    engine_free(g);
}

/* A is held to 2 GB/s by its own port; B gets the other 8 of the shared 10. Both keep
 * their rates to the end: exact. */
static void test_bottleneck_elsewhere(void **state)
{
    struct engine *g = engine_new(true);
    uint32_t x = engine_add_lane(g, "x");
    uint32_t y = engine_add_lane(g, "y");
    uint16_t root = (uint16_t)engine_add_link(g, "root", 10e9);
    uint16_t port = (uint16_t)engine_add_link(g, "port", 2e9);
    work_id b = copy(g, y, WORK_DEMAND, 0, 777777777, 0, root);
    work_id a = engine_submit(
        g, &(struct work){
               .lane = x, .bytes = 123456789, .path = {root, port}, .path_length = 2});

    (void)state;
    assert_int_equal(engine_wait(g, a), seconds(123456789 / 2e9));
    /* From then on B has it all. */
    assert_within(engine_drain(g), seconds((777777777 + 123456789) / 10e9), 2);
    assert_int_equal(engine_times(g, b).start, 0);
    check(g);
    engine_free(g);
}

/* n flows of 1 .. n units on one link end, one after the other, at
 * t_k = (n k - k (k - 1) / 2) units / C ... with t_k - t_(k-1) = (n - k + 1) / C. */
static void test_staircase(void **state)
{
    enum { N = 12 };
    const double c = 7.5e9;
    const double unit = 1e7;
    struct engine *g = engine_new(true);
    double expected = 0.0;
    uint16_t link = (uint16_t)engine_add_link(g, "link", c);

    (void)state;
    for (uint32_t i = 0; i < N; i++)
        (void)engine_add_lane(g, "lane");
    for (uint32_t i = 0; i < N; i++)
        (void)copy(g, i, WORK_DEMAND, 0, (i + 1) * (uint64_t)unit, 0, link);
    for (uint32_t i = 0; i < N; i++) {
        expected += (double)(N - i) * unit / c;
        assert_within(engine_wait(g, i + 1), seconds(expected), 2 + (sim_time)i);
    }
    (void)engine_drain(g);
    check(g);
    engine_free(g);
}

/* ---- queueing ---- */

/* M/D/1: Poisson arrivals, fixed service D, load rho: the mean wait is
 * D rho / (2 (1 - rho)) (Pollaczek-Khinchine). A second stage with the same D never
 * waits, since the first lets its customers out at least D apart. The variance of the
 * mean over 4e5 correlated waits leaves about 1 % at rho = 0.7. */
static void test_md1(void **state)
{
    const sim_time service = 1000000;
    const double rho = 0.7;
    const int customers = 400000;
    uint64_t digest[2];

    (void)state;
    for (int event = 0; event < 2; event++) {
        struct engine *g = engine_new(event != 0);
        struct rng r = rng_stream(42, "md1", 0);
        uint32_t one = engine_add_lane(g, "one");
        uint32_t two = engine_add_lane(g, "two");
        double arrival = 0.0;
        double wait = 0.0;
        double expected = rho / (2.0 * (1.0 - rho)) * (double)service;

        for (int i = 0; i < customers; i++) {
            work_id a;
            work_id b;

            arrival += rng_exponential(&r) * (double)service / rho;
            engine_advance(g, (sim_time)arrival);
            a = put(g, one, WORK_DEMAND, (sim_time)arrival, service, 0);
            b = put(g, two, WORK_DEMAND, (sim_time)arrival, service, a);
            if (event == 0) {
                wait += (double)(engine_times(g, a).start - (sim_time)arrival);
                assert_int_equal(engine_times(g, b).start, engine_times(g, a).end);
            }
            engine_retire(g, a);
        }
        (void)engine_drain(g);
        if (event == 0)
            assert_true(fabs(wait / customers - expected) < 0.03 * expected);
        check(g);
        digest[event] = engine_get_report(g).digest;
        engine_free(g);
    }
    assert_true(digest[0] == digest[1]);
}

/* ---- retiring ---- */

static void test_memory_is_bounded(void **state)
{
    (void)state;
    for (int event = 0; event < 2; event++) {
        struct engine *g = engine_new(event != 0);
        uint32_t a = engine_add_lane(g, "a");
        uint32_t b = engine_add_lane(g, "b");
        work_id last = event != 0 ? 1000000 : 10000000;

        for (work_id i = 1; i <= last; i++) {
            work_id after[2] = {i - 1, i > 50 ? i - 50 : 0};
            work_id id = engine_submit(g, &(struct work){.lane = i % 3 == 0 ? a : b,
                                                         .latency = 3 + (sim_time)i % 7,
                                                         .after = after,
                                                         .after_count = 2});

            if (i % 8 == 0) {
                (void)engine_wait(g, id);
                engine_retire(g, id);
            }
        }
        (void)engine_drain(g);
        assert_int_equal(engine_get_report(g).submitted, last);
        assert_true(g->mask < 64);
        assert_true(g->heap.capacity <= 64 && g->edge_room <= 64);
        check(g);
        engine_free(g);
    }
}

/* Retired but neither begun nor over: still waited for, however many come after it. */
static void test_retired_work_lives_on(void **state)
{
    (void)state;
    for (int event = 0; event < 2; event++) {
        struct engine *g = engine_new(event != 0);
        uint32_t a = engine_add_lane(g, "a");
        uint32_t b = engine_add_lane(g, "b");
        work_id late = put(g, a, WORK_DEMAND, 5000000, 77, 0);
        work_id id = late;

        for (int i = 0; i < 1000; i++) {
            id = put(g, b, WORK_DEMAND, 0, 10, 0);
            (void)engine_wait(g, id);
            engine_retire(g, id + 1);
        }
        id = put(g, b, WORK_DEMAND, 0, 10, late);
        assert_int_equal(engine_wait(g, id), 5000087);
        id = put(g, b, WORK_DEMAND, 0, 10, late);
        assert_int_equal(engine_wait(g, id), 5000097);
        check(g);
        engine_free(g);
    }
}

/* ---- what is told, and what is checked ---- */

struct log {
    work_id id[16];
    struct work_times times[16];
    uint32_t tag[16], lane[16];
    size_t count;
};

static void log_end(void *context, work_id id, uint32_t tag, uint32_t lane,
                    const struct work_times *times)
{
    struct log *log = context;

    log->id[log->count] = id;
    log->times[log->count] = *times;
    log->tag[log->count] = tag;
    log->lane[log->count++] = lane;
}

static void test_observer(void **state)
{
    static const work_id fifo_order[] = {1, 2, 3};
    static const work_id event_order[] = {2, 1, 3};

    (void)state;
    for (int event = 0; event < 2; event++) {
        struct engine *g = engine_new(event != 0);
        struct log log = {.count = 0};
        uint32_t a = engine_add_lane(g, "a");
        uint32_t b = engine_add_lane(g, "b");
        work_id first = 1;

        engine_observe(g, log_end, &log);
        (void)put(g, a, WORK_DEMAND, 0, 100, 0);
        (void)engine_submit(g, &(struct work){.lane = b, .tag = 9, .latency = 30});
        (void)engine_submit(
            g,
            &(struct work){
                .lane = b, .tag = 8, .latency = 30, .after = &first, .after_count = 1});
        (void)engine_drain(g);
        assert_int_equal(log.count, 3);
        for (size_t i = 0; i < 3; i++) {
            work_id id = event != 0 ? event_order[i] : fifo_order[i];
            struct work_times t = engine_times(g, id);

            assert_int_equal(log.id[i], id);
            assert_int_equal(log.times[i].start, t.start);
            assert_int_equal(log.times[i].end, t.end);
            assert_int_equal(log.lane[i], id == 1 ? a : b);
            assert_int_equal(log.tag[i], id == 1 ? 0 : id == 2 ? 9 : 8);
        }
        engine_free(g);
    }
}

/* Each account is falsified in turn; the check finds each and names the place. */
static void test_check_finds_violations(void **state)
{
    struct engine *g = engine_new(true);
    uint32_t lane = engine_add_lane(g, "copy engine");
    uint16_t link = (uint16_t)engine_add_link(g, "pcie root", 25e9);
    struct lane *l;
    struct link_account *a;
    struct err e;

    (void)state;
    (void)copy(g, lane, WORK_DEMAND, 5, 1000000, 4096, link);
    (void)put(g, lane, WORK_DEMAND, 100000000, 50, 0);
    (void)engine_drain(g);
    check(g);
    l = &g->lane[lane];
    a = &g->account[link];

#define FINDS(change, undo, word)                                                        \
    do {                                                                                 \
        change;                                                                          \
        e.text[0] = '\0';                                                                \
        assert_int_equal(engine_check(g, &e), -1);                                       \
        assert_non_null(strstr(e.text, word));                                           \
        undo;                                                                            \
        check(g);                                                                        \
    } while (0)
    FINDS(l->busy++, l->busy--, "copy engine");
    FINDS((l->busy++, l->idle--), (l->busy--, l->idle++), "by its works");
    FINDS(l->idle += 3, l->idle -= 3, "idle");
    FINDS(l->free += 9, l->free -= 9, "copy engine");
    FINDS(a->chunk_bytes--, a->chunk_bytes++, "pcie root");
    FINDS((a->chunk_bytes *= 40, a->work_bytes *= 40),
          (a->chunk_bytes /= 40, a->work_bytes /= 40), "capacity");
    FINDS(g->finished--, g->finished++, "submitted");
    FINDS(g->events--, g->events++, "pushed");
    FINDS(g->residues++, g->residues--, "bytes left");
#undef FINDS
    engine_free(g);
}

/* A flow whose rate is falsified on its way ends with bytes left. */
static void test_check_finds_lost_bytes(void **state)
{
    struct engine *g = engine_new(true);
    uint32_t lane = engine_add_lane(g, "copy");
    uint16_t link = (uint16_t)engine_add_link(g, "pcie", 25e9);
    struct err e = {.text = ""};

    (void)state;
    (void)copy(g, lane, WORK_DEMAND, 0, 1000000, 0, link);
    engine_advance(g, 1000);
    g->net.flow[lane].rate_bytes_per_s *= 0.999;
    (void)engine_drain(g);
    assert_int_equal(engine_check(g, &e), -1);
    assert_non_null(strstr(e.text, "bytes left"));
    engine_free(g);
}

/* ---- everything at once ---- */

/* Random works on shared links, cancelled and promoted at random; returns the digest. */
static uint64_t storm(uint64_t seed)
{
    enum { LANES = 6, LINKS = 6, WORKS = 400 };
    struct rng r = rng_stream(seed, "storm", 0);
    struct engine *g = engine_new(true);
    work_id after[WORKS + 1] = {0};
    uint64_t digest;

    for (int i = 0; i < LANES; i++)
        (void)engine_add_lane(g, "lane");
    for (int i = 0; i < LINKS; i++)
        (void)engine_add_link(g, "link", 1e9 * (1.0 + 9.0 * rng_unit(&r)));
    for (work_id id = 1; id <= WORKS; id++) {
        struct work w = {.lane = (uint32_t)rng_below(&r, LANES),
                         .class_ = rng_below(&r, 3) == 0 ? WORK_DEMAND : WORK_PREFETCH,
                         .latency = (sim_time)rng_below(&r, 3000),
                         .release = g->clock + (sim_time)rng_below(&r, 20000),
                         .bytes = rng_below(&r, 100),
                         .chunk_bytes = rng_below(&r, 30),
                         .path_length = 1 + (uint32_t)rng_below(&r, 3),
                         .after = &after[id]};

        for (uint32_t i = 0; i < w.path_length; i++)
            w.path[i] = (uint16_t)((rng_below(&r, 2) + 2 * i) % LINKS);
        after[id] = w.class_ == WORK_PREFETCH ? rng_below(&r, id) : 0;
        w.after_count = 1;
        assert_int_equal(engine_submit(g, &w), id);
        if (rng_below(&r, 4) == 0)
            engine_cancel(g, 1 + rng_below(&r, id),
                          g->clock + (sim_time)rng_below(&r, 9000));
        if (rng_below(&r, 4) == 0)
            engine_promote(g, 1 + rng_below(&r, id),
                           g->clock + (sim_time)rng_below(&r, 9000));
    }
    (void)engine_drain(g);
    check(g);
    for (work_id id = 1; id <= WORKS; id++) {
        struct work_times t = engine_times(g, id);

        assert_true(t.start <= t.end);
        if (after[id] != 0 && (!t.cancelled || t.bytes > 0))
            assert_true(t.start >= engine_times(g, after[id]).end);
    }
    digest = engine_get_report(g).digest;
    engine_free(g);
    return digest;
}

static void test_storm(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        uint64_t digest = storm(seed);

        assert_true(digest == storm(seed));
        assert_true(digest != storm(seed + 1));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lanes_by_hand),
        cmocka_unit_test(test_clock_holds_back),
        cmocka_unit_test(test_fifo_equals_event_driven),
        cmocka_unit_test(test_demand_overtakes_at_chunk_edge),
        cmocka_unit_test(test_choice_comes_after_the_calls),
        cmocka_unit_test(test_blocked_head),
        cmocka_unit_test(test_against_naive_rules),
        cmocka_unit_test(test_cancel_begun),
        cmocka_unit_test(test_cancel_overtaken),
        cmocka_unit_test(test_cancel_queued),
        cmocka_unit_test(test_cancel_waiting_head),
        cmocka_unit_test(test_promote_queued),
        cmocka_unit_test(test_promote_begun),
        cmocka_unit_test(test_promote_passes_blocked_head),
        cmocka_unit_test(test_two_flows_share),
        cmocka_unit_test(test_bottleneck_elsewhere),
        cmocka_unit_test(test_staircase),
        cmocka_unit_test(test_md1),
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_retired_work_lives_on),
        cmocka_unit_test(test_observer),
        cmocka_unit_test(test_check_finds_violations),
        cmocka_unit_test(test_check_finds_lost_bytes),
        cmocka_unit_test(test_storm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/base/mem.h"
#include "sim/base/rng.h"
#include "sim/engine/engine_state.h"
#include "engine_help.h"

#include <stdlib.h>

/* ---- priorities and chunks ---- */

/* Prefetch of 10 chunks of 100 ps; demand of 250 ps comes at 430, in the fifth chunk, and
 * takes over at 500. The prefetch ends at 1000 + 250. */
static void test_demand_overtakes_at_chunk_edge(void **state)
{
    struct engine *g = engine_new(true);
    uint32_t lane = engine_add_lane(g, "copy");
    uint16_t link = (uint16_t)engine_add_link(g, "pcie", BYTE_PER_PS);
    work_id p = engine_help_copy(g, lane, WORK_PREFETCH, 0, 1000, 100, link);
    work_id d = engine_help_copy(g, lane, WORK_DEMAND, 430, 250, 0, link);

    (void)state;
    assert_int_equal(engine_wait(g, d), 750);
    assert_int_equal(engine_times(g, d).start, 500);
    assert_int_equal(engine_wait(g, p), 1250);
    assert_int_equal(engine_times(g, p).start, 0);
    assert_int_equal(engine_lane_busy(g, lane), 1250);
    engine_help_check(g);
    engine_free(g);
}

/* Two calls at one time: the lane chooses after both. */
static void test_choice_comes_after_the_calls(void **state)
{
    struct engine *g = engine_new(true);
    uint32_t lane = engine_add_lane(g, "lane");
    work_id p = engine_help_put(g, lane, WORK_PREFETCH, 0, 11, 0);
    work_id d = engine_help_put(g, lane, WORK_DEMAND, 0, 13, 0);

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
    work_id x = engine_help_put(g, other, WORK_DEMAND, 0, 300, 0);
    work_id d = engine_help_put(g, lane, WORK_DEMAND, 0, 10, x);
    work_id behind = engine_help_put(g, lane, WORK_DEMAND, 0, 10, 0);
    work_id p = engine_help_put(g, lane, WORK_PREFETCH, 70, 50, 0);

    (void)state;
    (void)engine_drain(g);
    assert_int_equal(engine_times(g, p).start, 70);
    assert_int_equal(engine_times(g, d).start, 300);
    assert_int_equal(engine_times(g, behind).start, 310);
    engine_help_check(g);
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
    engine_help_check(g);
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
        work_id after = engine_help_put(g, lane, WORK_PREFETCH, 0, 5, p);

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
        engine_help_check(g);
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
    work_id d = engine_help_put(g, lane, WORK_DEMAND, 50, 500, 0);

    (void)state;
    engine_cancel(g, p, 400);
    assert_int_equal(engine_times(g, p).end, 400);
    assert_int_equal(engine_times(g, p).bytes, 100);
    assert_int_equal(engine_drain(g), 607);
    assert_int_equal(engine_times(g, d).start, 107);
    engine_help_check(g);
    engine_free(g);
}

static void test_cancel_queued(void **state)
{
    struct engine *g = engine_new(true);
    uint32_t lane = engine_add_lane(g, "lane");
    uint32_t other = engine_add_lane(g, "other");
    work_id a = engine_help_put(g, lane, WORK_DEMAND, 0, 100, 0);
    work_id b = engine_help_put(g, lane, WORK_DEMAND, 0, 100, 0);
    work_id c = engine_help_put(g, lane, WORK_DEMAND, 0, 100, 0);
    work_id after = engine_help_put(g, other, WORK_DEMAND, 0, 3, b);

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
    engine_help_check(g);
    engine_free(g);
}

/* The head of an idle lane waits for its release; without it the next one runs, and its
 * timer must not move the clock. */
static void test_cancel_waiting_head(void **state)
{
    struct engine *g = engine_new(true);
    uint32_t lane = engine_add_lane(g, "lane");
    work_id far = engine_help_put(g, lane, WORK_DEMAND, 1000000, 1, 0);
    work_id near = engine_help_put(g, lane, WORK_DEMAND, 0, 10, 0);

    (void)state;
    engine_advance(g, 30);
    engine_cancel(g, far, 40);
    assert_int_equal(engine_drain(g), 50);
    assert_int_equal(engine_times(g, near).start, 40);
    near = engine_help_put(g, lane, WORK_DEMAND, 0, 10, 0);
    assert_int_equal(engine_wait(g, near), 60);
    (void)engine_drain(g);
    engine_help_check(g);
    engine_free(g);
}

static void test_promote_queued(void **state)
{
    struct engine *g = engine_new(true);
    uint32_t lane = engine_add_lane(g, "lane");
    work_id a = engine_help_put(g, lane, WORK_DEMAND, 0, 100, 0);
    work_id p1 = engine_help_put(g, lane, WORK_PREFETCH, 0, 10, 0);
    work_id p2 = engine_help_put(g, lane, WORK_PREFETCH, 0, 10, 0);
    work_id d1 = engine_help_put(g, lane, WORK_DEMAND, 0, 10, 0);
    work_id d2;

    (void)state;
    engine_promote(g, p2, 50);
    d2 = engine_help_put(g, lane, WORK_DEMAND, 0, 10, 0);
    engine_promote(g, a, 60);
    (void)engine_drain(g);
    assert_int_equal(engine_times(g, d1).start, 100);
    assert_int_equal(engine_times(g, p2).start, 110);
    assert_int_equal(engine_times(g, d2).start, 120);
    assert_int_equal(engine_times(g, p1).start, 130);
    engine_help_check(g);
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
    work_id d1 = engine_help_put(g, lane, WORK_DEMAND, 20, 100, 0);
    work_id d2;

    (void)state;
    engine_promote(g, p, 30);
    d2 = engine_help_put(g, lane, WORK_DEMAND, 40, 100, 0);
    (void)engine_drain(g);
    assert_int_equal(engine_times(g, d1).start, 107);
    assert_int_equal(engine_times(g, p).end, 207 + 9 * 107);
    assert_int_equal(engine_times(g, d2).start, 207 + 9 * 107);
    engine_help_check(g);
    engine_free(g);
}

/* The head waits for x until 500; p, promoted behind it, waits for y until 90 and then
 * takes the idle lane. */
static void test_promoted_waits_on_its_own(void **state)
{
    struct engine *g = engine_new(true);
    uint32_t lane = engine_add_lane(g, "lane");
    uint32_t one = engine_add_lane(g, "one");
    uint32_t two = engine_add_lane(g, "two");
    work_id x = engine_help_put(g, one, WORK_DEMAND, 0, 500, 0);
    work_id y = engine_help_put(g, two, WORK_DEMAND, 0, 90, 0);
    work_id d = engine_help_put(g, lane, WORK_DEMAND, 0, 10, x);
    work_id p = engine_help_put(g, lane, WORK_PREFETCH, 0, 10, y);

    (void)state;
    engine_promote(g, p, 20);
    assert_int_equal(engine_wait(g, d), 510);
    assert_int_equal(engine_times(g, p).start, 90);
    (void)engine_drain(g);
    engine_help_check(g);
    engine_free(g);
}

/* Promoted in the wrong order: p2, first in the queue of demand, comes after p1, which is
 * promoted behind it. Promoted work passes a head that is not ready, so this is no
 * standstill. p1 has to wait for its release at 70. */
static void test_promote_passes_blocked_head(void **state)
{
    struct engine *g = engine_new(true);
    uint32_t lane = engine_add_lane(g, "lane");
    work_id p1 = engine_help_put(g, lane, WORK_PREFETCH, 70, 10, 0);
    work_id p2 = engine_help_put(g, lane, WORK_PREFETCH, 0, 10, p1);

    (void)state;
    engine_promote(g, p2, 20);
    engine_promote(g, p1, 30);
    assert_int_equal(engine_wait(g, p2), 90);
    assert_int_equal(engine_times(g, p1).start, 70);
    (void)engine_drain(g);
    engine_help_check(g);
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
    engine_help_check(g);
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
        cmocka_unit_test(test_promoted_waits_on_its_own),
        cmocka_unit_test(test_promote_passes_blocked_head),
        cmocka_unit_test(test_storm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

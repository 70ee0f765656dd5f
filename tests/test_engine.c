#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/base/rng.h"
#include "sim/engine/engine_state.h"
#include "engine_help.h"

#include <math.h>
#include <string.h>

/* ---- one lane, dependencies, releases: by hand, in both modes ---- */

static void test_lanes_by_hand(void **state)
{
    (void)state;
    for (int event = 0; event < 2; event++) {
        struct engine *g = engine_new(event != 0);
        uint32_t gpu = engine_add_lane(g, "gpu");
        uint32_t cpu = engine_add_lane(g, "cpu");
        work_id a = engine_help_put(g, gpu, WORK_DEMAND, 17, 100, 0); /* 17 .. 117 */
        work_id b =
            engine_help_put(g, gpu, WORK_DEMAND, 0, 23, 0); /* behind a: 117 .. 140 */
        work_id c = engine_help_put(g, cpu, WORK_DEMAND, 0, 31, a); /* 117 .. 148 */
        work_id d = engine_help_put(g, gpu, WORK_DEMAND, 0, 5, c);  /* 148 .. 153 */
        work_id f =
            engine_help_put(g, gpu, WORK_DEMAND, 0, 3, 0); /* blocked by d: 153 .. 156 */
        work_id h = engine_help_put(g, cpu, WORK_DEMAND, 1000, 0,
                                    0); /* no time at all, at 1000 */

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
        assert_false(engine_times(g, d).cancelled || engine_times(g, h).cancelled);
        assert_int_equal(engine_lane_busy(g, gpu), 131);
        assert_int_equal(engine_lane_busy(g, cpu), 31);
        assert_int_equal(engine_get_report(g).finished, 6);
        assert_string_equal(engine_lane_name(g, cpu), "cpu");
        engine_help_check(g);
        engine_free(g);
    }
}

/* Copies of as many bytes one after another, on links of which the second is half as
 * fast: each takes its own link's time, whichever was used before. */
static void test_links_by_turns(void **state)
{
    static const uint16_t turns[] = {0, 1, 1, 0, 0, 1, 2, 1, 0, 2, 2};

    (void)state;
    for (int event = 0; event < 2; event++) {
        struct engine *g = engine_new(event != 0);
        uint32_t lane = engine_add_lane(g, "copies");
        sim_time at = 0;

        for (int i = 0; i < 3; i++)
            (void)engine_add_link(g, "link", BYTE_PER_PS / (1 << i));
        for (size_t i = 0; i < sizeof turns / sizeof *turns; i++) {
            work_id id = engine_help_copy(g, lane, WORK_DEMAND, 0, 1024, 0, turns[i]);

            at += (sim_time)1024 << turns[i];
            assert_int_equal(engine_wait(g, id), at);
        }
        assert_int_equal(engine_get_report(g).bytes_moved,
                         1024 * (sizeof turns / sizeof *turns));
        engine_help_check(g);
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
        work_id x = engine_help_put(g, a, WORK_DEMAND, 40, 100, 0);
        work_id y;

        (void)engine_wait(g, x);
        y = engine_help_put(g, b, WORK_DEMAND, 0, 7, 0);
        assert_int_equal(engine_wait(g, y), 147);
        engine_advance(g, 500);
        y = engine_help_put(g, b, WORK_DEMAND, 0, 7, x);
        assert_int_equal(engine_drain(g), 507);
        assert_int_equal(engine_times(g, y).start, 500);
        engine_help_check(g);
        engine_free(g);
    }
}

static void count_works(void *context, work_id id, uint32_t tag, uint32_t lane,
                        const struct work_times *times)
{
    (void)id;
    (void)tag;
    (void)lane;
    (void)times;
    ++*(int *)context;
}

/* Work without bytes is the same whichever way it is submitted, observed or not. */
static void test_fixed_work(void **state)
{
    enum { WORKS = 1000 };
    uint64_t digest = 0;

    (void)state;
    for (int way = 0; way < 8; way++) { /* bits: event-driven, fixed, observed */
        struct engine *g = engine_new((way & 1) != 0);
        struct rng rng = rng_stream(3, "fixed", 0);
        int seen = 0;

        (void)engine_add_lane(g, "a");
        (void)engine_add_lane(g, "b");
        if ((way & 4) != 0)
            engine_observe(g, count_works, &seen);
        for (work_id id = 1; id <= WORKS; id++) {
            work_id after[2] = {rng_below(&rng, id), rng_below(&rng, id)};
            struct work_fixed w = {.lane = (uint32_t)rng_below(&rng, 2),
                                   .tag = (uint32_t)rng_below(&rng, 9),
                                   .release = (sim_time)rng_below(&rng, 40000),
                                   .latency = (sim_time)rng_below(&rng, 53),
                                   .after = after,
                                   .after_count = (uint32_t)rng_below(&rng, 3)};
            struct work same = {.lane = w.lane,
                                .tag = w.tag,
                                .release = w.release,
                                .latency = w.latency,
                                .after = after,
                                .after_count = w.after_count};

            assert_int_equal(
                (way & 2) != 0 ? engine_submit_fixed(g, w) : engine_submit(g, &same), id);
        }
        (void)engine_drain(g);
        engine_help_check(g);
        assert_int_equal(seen, (way & 4) != 0 ? WORKS : 0);
        if (way == 0)
            digest = engine_get_report(g).digest;
        assert_true(engine_get_report(g).digest == digest);
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
    engine_help_check(t.fifo);
    engine_help_check(t.event);
    engine_free(t.fifo);
    engine_free(t.event);
}

static void test_fifo_equals_event_driven(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++)
        twin_run(seed);
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
            a = engine_help_put(g, one, WORK_DEMAND, (sim_time)arrival, service, 0);
            b = engine_help_put(g, two, WORK_DEMAND, (sim_time)arrival, service, a);
            if (event == 0) {
                wait += (double)(engine_times(g, a).start - (sim_time)arrival);
                assert_int_equal(engine_times(g, b).start, engine_times(g, a).end);
            }
            engine_retire(g, a);
        }
        (void)engine_drain(g);
        if (event == 0)
            assert_true(fabs(wait / customers - expected) < 0.03 * expected);
        engine_help_check(g);
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
        engine_help_check(g);
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
        work_id late = engine_help_put(g, a, WORK_DEMAND, 5000000, 77, 0);
        work_id id = late;

        for (int i = 0; i < 1000; i++) {
            id = engine_help_put(g, b, WORK_DEMAND, 0, 10, 0);
            (void)engine_wait(g, id);
            engine_retire(g, id + 1);
        }
        id = engine_help_put(g, b, WORK_DEMAND, 0, 10, late);
        assert_int_equal(engine_wait(g, id), 5000087);
        id = engine_help_put(g, b, WORK_DEMAND, 0, 10, late);
        assert_int_equal(engine_wait(g, id), 5000097);
        engine_help_check(g);
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
        (void)engine_help_put(g, a, WORK_DEMAND, 0, 100, 0);
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

/* Two works that differ in one field never hash alike (here in one bit of one field), and
 * the digest is the sum of the hashes. */
static void test_digest(void **state)
{
    struct rng r = rng_stream(7, "digest", 0);
    struct engine *g = engine_new(false);
    uint64_t sum = 0;

    (void)state;
    for (int i = 0; i < 2000; i++) {
        uint64_t f[6];
        uint64_t h;
        unsigned bit = (unsigned)rng_below(&r, 32);

        for (int k = 0; k < 6; k++)
            f[k] = rng_u64(&r) >> (rng_below(&r, 40) + 1);
        h = state_hash(f[0], (uint32_t)f[1], (uint32_t)f[2], f[3], (sim_time)f[4],
                       (sim_time)f[5]);
        f[rng_below(&r, 6)] ^= UINT64_C(1) << bit;
        assert_true(h != state_hash(f[0], (uint32_t)f[1], (uint32_t)f[2], f[3],
                                    (sim_time)f[4], (sim_time)f[5]));
    }
    (void)engine_add_lane(g, "a");
    (void)engine_submit(g, &(struct work){.tag = 3, .latency = 10});
    (void)engine_submit(g, &(struct work){.tag = 4, .latency = 5});
    sum = state_hash(2, 4, 0, 0, 10, 15) + state_hash(1, 3, 0, 0, 0, 10);
    assert_true(engine_get_report(g).digest == sum);
    engine_free(g);
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
    (void)engine_help_copy(g, lane, WORK_DEMAND, 5, 1000000, 4096, link);
    (void)engine_help_put(g, lane, WORK_DEMAND, 100000000, 50, 0);
    (void)engine_drain(g);
    engine_help_check(g);
    l = &g->lane[lane];
    a = &g->account[link];

#define FINDS(change, undo, word)                                                        \
    do {                                                                                 \
        change;                                                                          \
        e.text[0] = '\0';                                                                \
        assert_int_equal(engine_check(g, &e), -1);                                       \
        assert_non_null(strstr(e.text, word));                                           \
        undo;                                                                            \
        engine_help_check(g);                                                            \
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
    (void)engine_help_copy(g, lane, WORK_DEMAND, 0, 1000000, 0, link);
    engine_advance(g, 1000);
    g->net.flow[lane].rate_bytes_per_s *= 0.999;
    (void)engine_drain(g);
    assert_int_equal(engine_check(g, &e), -1);
    assert_non_null(strstr(e.text, "bytes left"));
    engine_free(g);
}

/* More work of a lane than it had time for, or less than none. */
static void test_check_finds_busy_lanes(void **state)
{
    struct engine *g = engine_new(false);
    uint32_t lane = engine_add_lane(g, "compute");
    struct err e = {.text = ""};

    (void)state;
    (void)engine_help_put(g, lane, WORK_DEMAND, 5, 20, 0);
    assert_int_equal(engine_check(g, &e), 0);
    g->lane[lane].busy = 25; /* as long as it could */
    assert_int_equal(engine_check(g, &e), 0);
    g->lane[lane].busy = 26;
    assert_int_equal(engine_check(g, &e), -1);
    assert_string_equal(e.text, "engine: lane compute is busy for 26 ps, but its last "
                                "chunk ended at 25 ps");
    g->lane[lane].busy = 0;
    assert_int_equal(engine_check(g, &e), 0);
    g->lane[lane].busy = -1;
    e.text[0] = '\0';
    assert_int_equal(engine_check(g, &e), -1);
    assert_non_null(strstr(e.text, "is busy for -1 ps"));
    engine_free(g);
    engine_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lanes_by_hand),
        cmocka_unit_test(test_links_by_turns),
        cmocka_unit_test(test_clock_holds_back),
        cmocka_unit_test(test_fixed_work),
        cmocka_unit_test(test_fifo_equals_event_driven),
        cmocka_unit_test(test_md1),
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_retired_work_lives_on),
        cmocka_unit_test(test_observer),
        cmocka_unit_test(test_digest),
        cmocka_unit_test(test_check_finds_violations),
        cmocka_unit_test(test_check_finds_lost_bytes),
        cmocka_unit_test(test_check_finds_busy_lanes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

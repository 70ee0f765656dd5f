#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/base/rng.h"
#include "sim/engine/flow.h"
#include "engine_help.h"

#include <math.h>
#include <string.h>

/* ---- shared links in closed form ---- */

static sim_time seconds(double s)
{
    return sim_time_of_seconds(s);
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
    work_id a = engine_help_copy(g, x, WORK_DEMAND, 0, 3000000000, 0, link);
    work_id b = engine_help_copy(g, y, WORK_DEMAND, seconds(0.02), 1000000000, 0, link);

    (void)state;
    assert_int_equal(engine_wait(g, b), seconds(0.02) + seconds(1e9 / (c / 2.0)));
    engine_help_within(engine_wait(g, a), seconds(4e9 / c), 2);
    (void)engine_drain(g);
    engine_help_check(g);
    engine_free(g);
}

/* A goes no faster than 3 GB/s, and no faster than half of the link while B is there;
 * what it leaves is B's. Alone it takes bytes over its rate in both modes. */
static void test_rate_of_its_own(void **state)
{
    (void)state;
    for (int beside = 0; beside < 2; beside++) {
        struct engine *g = engine_new(true), *fifo = engine_new(false);
        uint16_t link[2];
        struct work a = {.lane = 0,
                         .bytes = 123456789,
                         .path_length = 1,
                         .most_bytes_per_s = beside ? 7e9 : 3e9};

        for (uint32_t lane = 0; lane < 2; lane++) {
            (void)engine_add_lane(g, "lane");
            (void)engine_add_lane(fifo, "lane");
        }
        link[0] = (uint16_t)engine_add_link(g, "DRAM", 10e9);
        link[1] = (uint16_t)engine_add_link(fifo, "DRAM", 10e9);
        (void)engine_help_copy(g, 1, WORK_DEMAND, 0, 777777777, 0, link[0]);
        a.path[0] = link[0];
        assert_int_equal(engine_wait(g, engine_submit(g, &a)),
                         seconds(123456789 / (beside ? 5e9 : 3e9)));
        engine_help_within(engine_drain(g), seconds((777777777 + 123456789) / 10e9), 2);
        a.path[0] = link[1];
        assert_int_equal(engine_wait(fifo, engine_submit(fifo, &a)),
                         seconds(123456789 / a.most_bytes_per_s));
        engine_help_check(g);
        engine_free(g);
        engine_free(fifo);
    }
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
    work_id b = engine_help_copy(g, y, WORK_DEMAND, 0, 777777777, 0, root);
    work_id a = engine_submit(
        g, &(struct work){
               .lane = x, .bytes = 123456789, .path = {root, port}, .path_length = 2});

    (void)state;
    assert_int_equal(engine_wait(g, a), seconds(123456789 / 2e9));
    /* From then on B has it all. */
    engine_help_within(engine_drain(g), seconds((777777777 + 123456789) / 10e9), 2);
    assert_int_equal(engine_times(g, b).start, 0);
    engine_help_check(g);
    engine_free(g);
}

/* n flows of 1 .. n units on one link end one after the other: between the ends of the
 * k-th and the one before, n - k + 1 flows carry one unit each, so that takes
 * (n - k + 1) units / C. */
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
        (void)engine_help_copy(g, i, WORK_DEMAND, 0, (i + 1) * (uint64_t)unit, 0, link);
    for (uint32_t i = 0; i < N; i++) {
        expected += (double)(N - i) * unit / c;
        engine_help_within(engine_wait(g, i + 1), seconds(expected), 2 + (sim_time)i);
    }
    (void)engine_drain(g);
    engine_help_check(g);
    engine_free(g);
}

/* ---- rates of random networks ---- */

enum { LINKS = 70, SLOTS = 40 };

struct path {
    uint16_t link[FLOW_MAX_PATH];
    uint32_t length;
};

static void net_make(struct flow_net *n, uint64_t seed)
{
    struct rng r = rng_stream(seed, "links", 0);

    flow_init(n);
    for (int i = 0; i < LINKS; i++) {
        /* Many alike, so that shares tie. */
        double speed = rng_below(&r, 2) == 0 ? 25e9 : 1e9 * (1.0 + 99.0 * rng_unit(&r));

        (void)flow_add_link(n, "link", speed);
    }
    for (int i = 0; i < SLOTS; i++)
        (void)flow_add_slot(n);
}

/* Distinct links out of the first `links`. */
static struct path path_draw(struct rng *r, uint32_t links)
{
    struct path p = {.length = 1 + (uint32_t)rng_below(r, 4)};

    for (uint32_t i = 0; i < p.length; i++)
        p.link[i] = (uint16_t)(rng_below(r, links / 4) * 4 + i);
    return p;
}

/* Rates are max-min fair if and only if no link is overfull and each flow has a
 * bottleneck: a full link on which no flow is faster (Bertsekas & Gallager, 6.5.2). */
static void assert_max_min(const struct flow_net *n)
{
    const double tiny = 1e-9;
    double load[LINKS] = {0.0};
    double fastest[LINKS] = {0.0};

    for (uint32_t i = 0; i < SLOTS; i++)
        for (uint32_t k = 0; n->flow[i].active && k < n->flow[i].path_length; k++) {
            load[n->flow[i].path[k]] += n->flow[i].rate_bytes_per_s;
            fastest[n->flow[i].path[k]] =
                fmax(fastest[n->flow[i].path[k]], n->flow[i].rate_bytes_per_s);
        }
    for (uint32_t i = 0; i < LINKS; i++)
        assert_true(load[i] <= n->link[i].capacity_bytes_per_s * (1.0 + tiny));
    for (uint32_t i = 0; i < SLOTS; i++) {
        const struct flow *f = &n->flow[i];
        bool bottleneck = false;

        for (uint32_t k = 0; f->active && k < f->path_length; k++) {
            uint16_t j = f->path[k];

            if (load[j] >= n->link[j].capacity_bytes_per_s * (1.0 - tiny) &&
                f->rate_bytes_per_s >= fastest[j] * (1.0 - tiny))
                bottleneck = true;
        }
        assert_int_equal(bottleneck, f->active);
    }
}

/* Flows start and stop at random, some at one time. After each settling the rates are
 * fair, and equal to the last bit to those of a fresh network in which the same flows
 * start by number: what is left alone by the marking needed no change. */
static void rates_run(uint64_t seed)
{
    struct rng r = rng_stream(seed, "rates", 0);
    uint32_t links = 4 + 4 * (uint32_t)rng_below(&r, LINKS / 4);
    struct path path[SLOTS];
    struct flow_net n;

    net_make(&n, seed);
    for (sim_time now = 1; now <= 60; now++) {
        struct flow_net fresh;

        for (uint64_t calls = rng_below(&r, 4); calls > 0; calls--) {
            uint32_t slot = (uint32_t)rng_below(&r, SLOTS);

            if (n.flow[slot].active) {
                (void)flow_stop(&n, slot, now);
                continue;
            }
            path[slot] = path_draw(&r, links);
            flow_start(&n, slot, path[slot].link, path[slot].length, 1000000000, 0, now);
        }
        (void)flow_settle(&n, now);
        assert_max_min(&n);
        net_make(&fresh, seed);
        for (uint32_t i = 0; i < SLOTS; i++)
            if (n.flow[i].active)
                flow_start(&fresh, i, path[i].link, path[i].length, 1, 0, now);
        (void)flow_settle(&fresh, now);
        for (uint32_t i = 0; i < SLOTS; i++)
            if (n.flow[i].active)
                assert_true(fresh.flow[i].rate_bytes_per_s == n.flow[i].rate_bytes_per_s);
        flow_release(&fresh);
    }
    flow_release(&n);
}

static void test_rates_are_max_min_fair(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++)
        rates_run(seed);
}

/* Settling without a change, or with one elsewhere, changes no flow. */
/* A flow with a rate of its own is one that crosses a link that it has for itself. */
static void test_own_rate_is_own_link(void **state)
{
    enum { SHARED = 5, MOVING = 8 };

    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct rng r = rng_stream(seed, "own rate", 0);
        struct flow_net limited, linked;

        flow_init(&limited);
        flow_init(&linked);
        for (int i = 0; i < SHARED; i++) {
            double capacity = 1e9 * (double)(1 + rng_below(&r, 20));

            flow_add_link(&limited, "shared", capacity);
            flow_add_link(&linked, "shared", capacity);
        }
        for (uint32_t i = 0; i < MOVING; i++) {
            double most =
                rng_below(&r, 2) == 0 ? 0 : 5e8 * (double)(1 + rng_below(&r, 9));
            uint16_t path[3] = {(uint16_t)rng_below(&r, SHARED)};
            uint32_t length = 1;

            path[1] = (uint16_t)((path[0] + 1 + rng_below(&r, SHARED - 1)) % SHARED);
            length += rng_below(&r, 2) == 0;
            flow_add_slot(&limited);
            flow_add_slot(&linked);
            flow_start(&limited, i, path, length, 1000, most, 0);
            path[length++] =
                (uint16_t)flow_add_link(&linked, "own", most > 0 ? most : 1e15);
            flow_start(&linked, i, path, length, 1000, 0, 0);
        }
        flow_settle(&limited, 0);
        flow_settle(&linked, 0);
        for (uint32_t i = 0; i < MOVING; i++) {
            double rate = limited.flow[i].rate_bytes_per_s;

            assert_true(fabs(rate - linked.flow[i].rate_bytes_per_s) <= 1e-9 * rate);
            assert_true(rate <= limited.flow[i].most_bytes_per_s);
        }
        flow_release(&limited);
        flow_release(&linked);
    }
}

static void test_settle_reports_changes_only(void **state)
{
    const uint16_t a[] = {3, 1};
    const uint16_t b[] = {2};
    struct flow_net n;

    (void)state;
    flow_init(&n);
    for (int i = 0; i < 4; i++) {
        (void)flow_add_link(&n, "link", 1e9 * (4 - i));
        (void)flow_add_slot(&n);
    }
    flow_start(&n, 0, a, 2, 5, 0, 0); /* held to 1e9 by link 3 */
    assert_int_equal(flow_settle(&n, 0), 1);
    assert_int_equal(flow_end(&n, 0), 5000);
    flow_start(&n, 2, b, 1, 7, 0, 100);
    assert_int_equal(flow_settle(&n, 100), 1);
    assert_int_equal(n.changed[0], 2);
    assert_int_equal(flow_end(&n, 2), 3600);
    flow_start(&n, 1, a + 1, 1, 6, 0, 200); /* link 1 has 2e9 left beside flow 0 */
    assert_int_equal(flow_settle(&n, 200), 1);
    assert_int_equal(n.changed[0], 1);
    assert_int_equal(flow_end(&n, 1), 3200);
    assert_true(fabs(flow_stop(&n, 1, 1700) - 3.0) < 1e-9);
    assert_int_equal(flow_settle(&n, 1700), 0);
    assert_int_equal(flow_end(&n, 0), 5000);
    flow_release(&n);
}

/* ---- ends of random flows, against a plain integration ---- */

struct plain {
    double start_s, left, rate, end_s;
    struct path path;
    bool begun, ended;
};

/* Water filling in small: the link with the least share per flow without a rate decides,
 * again and again. Looks at everything at each round. */
static void plain_rates(struct plain *x, size_t count, const double *capacity)
{
    double room[LINKS];
    bool open[SLOTS];

    memcpy(room, capacity, sizeof(room));
    for (size_t i = 0; i < count; i++)
        open[i] = x[i].begun && !x[i].ended;
    for (;;) {
        double least = INFINITY;
        uint32_t worst = 0;

        for (uint32_t j = 0; j < LINKS; j++) {
            double flows = 0.0;

            for (size_t i = 0; i < count; i++)
                for (uint32_t k = 0; open[i] && k < x[i].path.length; k++)
                    flows += x[i].path.link[k] == j ? 1.0 : 0.0;
            if (flows > 0.0 && room[j] / flows < least) {
                least = room[j] / flows;
                worst = j;
            }
        }
        if (isinf(least))
            return;
        for (size_t i = 0; i < count; i++) {
            bool crosses = false;

            for (uint32_t k = 0; k < x[i].path.length; k++)
                crosses = crosses || x[i].path.link[k] == worst;
            if (!open[i] || !crosses)
                continue;
            open[i] = false;
            x[i].rate = least;
            for (uint32_t k = 0; k < x[i].path.length; k++)
                room[x[i].path.link[k]] -= least;
        }
    }
}

static void plain_run(struct plain *x, size_t count, const double *capacity)
{
    double now = 0.0;

    for (;;) {
        double step = INFINITY;

        for (size_t i = 0; i < count; i++) {
            if (!x[i].begun && x[i].start_s <= now)
                x[i].begun = true;
            if (!x[i].begun)
                step = fmin(step, x[i].start_s - now);
        }
        plain_rates(x, count, capacity);
        for (size_t i = 0; i < count; i++)
            if (x[i].begun && !x[i].ended)
                step = fmin(step, x[i].left / x[i].rate);
        if (isinf(step))
            return;
        now += step;
        for (size_t i = 0; i < count; i++) {
            if (!x[i].begun || x[i].ended)
                continue;
            x[i].left -= x[i].rate * step;
            if (x[i].left < 1e-3) {
                x[i].ended = true;
                x[i].end_s = now;
            }
        }
    }
}

/* Each flow on its own lane. Ends are rounded to picoseconds, so each change of rates may
 * move others by about one. */
static void ends_run(uint64_t seed)
{
    struct rng r = rng_stream(seed, "ends", 0);
    size_t count = 1 + rng_below(&r, 20);
    struct engine *g = engine_new(true);
    struct plain x[SLOTS] = {{.begun = false}};
    double capacity[LINKS];

    for (int i = 0; i < LINKS; i++) {
        capacity[i] = 1e9 * (1.0 + 9.0 * rng_unit(&r));
        (void)engine_add_link(g, "link", capacity[i]);
    }
    for (size_t i = 0; i < count; i++)
        (void)engine_add_lane(g, "lane");
    for (size_t i = 0; i < count; i++) {
        struct work w = {.lane = (uint32_t)i,
                         .release = (sim_time)rng_below(&r, 100) * SIM_TIME_PER_US,
                         .bytes = 1000 + rng_below(&r, 300000)};

        x[i].path = path_draw(&r, 12);
        x[i].start_s = sim_time_seconds(w.release);
        x[i].left = (double)w.bytes;
        memcpy(w.path, x[i].path.link, sizeof(w.path));
        w.path_length = x[i].path.length;
        (void)engine_submit(g, &w);
    }
    (void)engine_drain(g);
    plain_run(x, count, capacity);
    for (size_t i = 0; i < count; i++) {
        assert_true(x[i].ended);
        engine_help_within(engine_times(g, i + 1).end, seconds(x[i].end_s), 40);
    }
    engine_help_check(g);
    engine_free(g);
}

static void test_ends_against_integration(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++)
        ends_run(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_flows_share),
        cmocka_unit_test(test_rate_of_its_own),
        cmocka_unit_test(test_bottleneck_elsewhere),
        cmocka_unit_test(test_staircase),
        cmocka_unit_test(test_rates_are_max_min_fair),
        cmocka_unit_test(test_own_rate_is_own_link),
        cmocka_unit_test(test_settle_reports_changes_only),
        cmocka_unit_test(test_ends_against_integration),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

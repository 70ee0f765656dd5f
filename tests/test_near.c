/* Experts in place beside copies: near-data units, hybrids, the host's memory that copies
 * share, what was loaded run one by one. Times worked out by hand in the world of
 * test_hosted.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hosted_lab.h"

#include "sim/base/mem.h"
#include "sim/base/rng.h"

#include <stdlib.h>

static const sim_time dense = DENSE + GATE + HEAD; /* of one layer */

/* A unit that takes so many microseconds for a row of an expert. */
static void set_near_time(struct run_world *w, double us)
{
    w->machine.has_near = true;
    w->machine.near.units = 1;
    w->machine.near.flops = 768e6 / us;
    w->machine.near.bytes_per_s = 1e11; /* as the link: H is half of the active ones */
}

/* One expert after the other, and each one's row goes there and comes back for it. */
static void test_near_the_data(void **state)
{
    struct run_world *w = run_world_spelled(1, 4, 3, "012");
    const char *policy = "{cache: {name: lru, slots: 3}, offload: {name: monde, hot: 0}}";
    struct timed t;

    (void)state;
    set_near_time(w, 5);
    t = run_both(w, policy);
    check_pass(&t.pass[0], dense, 0, 0, 15 * US + 3 * ROW, 2 * TRIP);
    assert_int_equal(t.layer[0].near_runs, 3);
    assert_int_equal(t.layer[0].host_runs, 0);
    assert_int_equal(t.layer[0].demand_bytes, 0);
    assert_int_equal(t.host_busy, 0);
    w->machine.near.layer_overhead = 3 * US;
    w->machine.near.bytes_per_s = 768 / 7e-6; /* reading takes longer than computing */
    w->machine.d2h_pinned.latency = 2 * US;
    w->machine.h2d_pinned.latency = 4 * US;
    t = run_both(w, policy);
    check_pass(&t.pass[0], dense, 0, 0, (3 + 21 + 6) * US + 3 * ROW, 2 * TRIP);
    run_world_free(w);
}

/* Of three the rule takes two (half of them, rounded up): 0 and 1, which come in 20 us
 * and run in 6 more, while the unit takes 30 us for 2, or 5. */
static void test_hot_and_cold(void **state)
{
    struct run_world *w = run_world_spelled(1, 4, 3, "012");
    const char *policy = "{cache: {name: lru, slots: 3}, offload: monde}";
    struct timed t;

    (void)state;
    set_near_time(w, 5);
    t = run_both(w, policy);
    check_pass(&t.pass[0], dense, GROUP, 2 * FLOW, 0, 2 * TRIP);
    assert_int_equal(t.layer[0].near_runs, 1);
    assert_int_equal(t.layer[0].loads, 2);
    set_near_time(w, 30);
    t = run_both(w, policy);
    check_pass(&t.pass[0], dense, GROUP, 2 * FLOW, 4 * US + ROW, 2 * TRIP);
    run_world_free(w);
}

/* A row's 32 bytes come back while an expert's come in: each at half the link, 320 ps
 * late. The copy carries as many bytes more. Down nothing else goes. */
static void test_rows_share_the_link(void **state)
{
    struct run_world *w = run_world_spelled(1, 4, 2, "01");
    struct timed t;

    (void)state;
    set_near_time(w, 5);
    t = run_mode(
        w, "{cache: {name: lru, slots: 3}, offload: {name: monde, link: shared}}", true);
    check_pass(&t.pass[0], dense, GROUP, FLOW + 320, 0, 2 * TRIP);
    set_near_time(w, 20); /* behind the copy: as if alone */
    t = run_mode(
        w, "{cache: {name: lru, slots: 3}, offload: {name: monde, link: shared}}", true);
    check_pass(&t.pass[0], dense, GROUP, FLOW, 4 * US + ROW, 2 * TRIP);
    w->machine.gpu.kernel_floor /= 1000; /* the layer is over before the unit is */
    set_near_time(w, 9.99);
    t = run_mode(
        w, "{cache: {name: lru, slots: 3}, offload: {name: monde, link: shared}}", true);
    assert_int_equal(t.pass[0].counts.near_runs, 1);
    run_world_free(w);
}

/* The host's memory carries what both read: bytes over its rate, whoever comes first. */
static void test_memory_is_shared(void **state)
{
    struct run_world *w = run_world_spelled(1, 4, 2, "01");
    const char *policy = "{cache: {name: lru, slots: 3}, "
                         "offload: {name: hybrid, fetch: 1, rule: fixed}}";
    struct timed t;

    (void)state;
    set_token_time(w, 5); /* 153.6 MB/s of the 100 GB/s that the copy could have */
    w->machine.host.dram_bytes_per_s = 1e11;
    t = run_mode(w, policy, true);
    check_pass(&t.pass[0], dense, GROUP, FLOW + 7680, 0, 2 * TRIP);
    assert_int_equal(t.host_busy, 5 * US + ROW);
    assert_int_equal(t.layer[0].host_runs, 1);
    assert_int_equal(t.layer[0].loads, 1);
    /* A memory that holds the host back gives it half: 768 bytes at 100 MB/s. */
    set_token_time(w, 1e-6);
    w->machine.host.dram_bytes_per_s = 2e8;
    t = run_mode(w, policy, true);
    assert_int_equal(t.host_busy, 7680000 + ROW);
    check_pass(&t.pass[0], dense, GROUP, sim_time_of_seconds((1e6 + 768) / 2e8), 0,
               2 * TRIP);
    /* The host's fixed part of a layer comes before it reads. */
    w->machine.host.layer_overhead = 11 * US;
    t = run_mode(w, policy, true);
    assert_int_equal(t.host_busy, 11 * US + 7680000 + ROW);
    run_world_free(w);
}

/* Copies of 2 us each, and groups of 6: together all wait for the last copy, and each by
 * itself the first for its own. */
static void test_loads_run_as_they_come(void **state)
{
    struct run_world *w = run_world_spelled(1, 4, 3, "012");
    struct timed t;

    (void)state;
    w->machine.h2d_pinned.bytes_per_s = WORLD_BYTES / 2e-6;
    t = run_both(w, "{cache: {name: lru, slots: 3}}");
    check_pass(&t.pass[0], dense, GROUP, 6 * US, 0, 2 * TRIP);
    t = run_both(w, "{cache: {name: lru, slots: 3}, "
                    "schedule: {name: overlapped, loads: each}}");
    check_pass(&t.pass[0], dense, 3 * GROUP, 2 * US, 0, 2 * TRIP);
    /* With room for two, 2 goes through a staging slot; what is resident runs at once. */
    t = run_both(w, "{cache: {name: lru, slots: 2, preload: linear}, "
                    "schedule: {name: overlapped, loads: each}}");
    check_pass(&t.pass[0], dense, 2 * GROUP, 0, 0, 2 * TRIP);
    run_world_free(w);
}

/* ---- choices that are other policies' ---- */

static struct run_world *drawn(uint64_t seed)
{
    struct rng r = rng_stream(seed, "near", 0);
    struct run_world *w =
        run_world_new(1 + (uint32_t)rng_below(&r, 3), 4 + (uint32_t)rng_below(&r, 8),
                      1 + (uint32_t)rng_below(&r, 3), 3, 6, NULL, 900 + seed);

    w->workload.batch = 1 + (int64_t)rng_below(&r, 4);
    set_near_time(w, 1 + (double)rng_below(&r, 20));
    set_token_time(w, 1 + (double)rng_below(&r, 20));
    w->machine.host.dram_bytes_per_s = 3e11;
    return w;
}

static void check_same(const struct run_world *w, const char *a, const char *b)
{
    char *one = mem_format("{cache: {name: lru, slots: 3}, offload: %s}", a);
    char *other = mem_format("{cache: {name: lru, slots: 3}, offload: %s}", b);

    assert_int_equal(run_mode(w, one, true).digest, run_mode(w, other, true).digest);
    free(one);
    free(other);
}

static void test_ends_of_the_choice(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 30; seed++) {
        struct run_world *w = drawn(seed);

        check_same(w, "{name: monde, hot: all}", "fetch");
        check_same(w, "{name: monde, hot: all, link: shared}", "fetch");
        check_same(w, "{name: monde, alpha: 1000}", "fetch");
        check_same(w, "{name: hybrid, fetch: 0}", "host");
        check_same(w, "{name: hybrid, fetch: 0, rule: fixed}", "host");
        check_same(w, "{name: hybrid, rule: fixed}", "fetch");
        check_same(w, "hybrid", "{name: fiddler, objective: max}");
        run_world_free(w);
    }
}

/* With nothing kept, each step is its own: the best H of each is never worse than the
 * rule's, than none and than all, but for what launches take. */
static void test_best_is_best(void **state)
{
    static const char *const others[] = {"rule", "0", "1", "2", "all"};
    uint32_t better = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 30; seed++) {
        struct run_world *w = drawn(seed);
        sim_time best[HOSTED_PASSES] = {0};

        for (int i = -1; i < 5; i++) {
            char *policy =
                mem_format("{cache: {slots: none}, offload: {name: monde, hot: %s}, "
                           "schedule: {name: overlapped, loads: each}}",
                           i < 0 ? "best" : others[i]);
            struct timed t = run_mode(w, policy, true);

            for (int pass = 0; (uint64_t)pass < t.passes; pass++) {
                if (i < 0)
                    best[pass] = t.pass[pass].latency;
                assert_true(t.pass[pass].latency >= best[pass]);
                better += i == 0 && t.pass[pass].latency > best[pass];
            }
            free(policy);
        }
        run_world_free(w);
    }
    assert_true(better > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_near_the_data),
        cmocka_unit_test(test_hot_and_cold),
        cmocka_unit_test(test_rows_share_the_link),
        cmocka_unit_test(test_memory_is_shared),
        cmocka_unit_test(test_loads_run_as_they_come),
        cmocka_unit_test(test_ends_of_the_choice),
        cmocka_unit_test(test_best_is_best),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

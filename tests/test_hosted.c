/* Experts that run on the host: times worked out by hand on a machine in round numbers
 * (run_world.h), counts by brute force, Fiddler's choice at its edge.
 *
 * An expert of the world has 3 x 16 x 8 weights, so a token costs it 768 flops: the
 * host's rate is set in microseconds per token. A row's hidden state has 32 bytes, 320 ps
 * at the link's 1e11 bytes a second, down and up. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hosted_lab.h"

#include "sim/base/mem.h"
#include "sim/base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- everything missing runs on the host ---- */

/* Three experts, then one: 5 us each and one row's way. The GPU runs none, and waits. */
static void test_all_on_the_host(void **state)
{
    struct run_world *w = run_world_spelled(2, 4, 3, "012|3 3|3");
    sim_time dense = 2 * (DENSE + GATE) + HEAD;
    struct timed t;

    (void)state;
    set_token_time(w, 5);
    t = run_both(w, "{cache: {name: lru, slots: 3}, offload: host}");
    check_pass(&t.pass[0], dense, 0, 0, 15 * US + ROW + 5 * US + ROW, 3 * TRIP);
    check_pass(&t.pass[1], dense, 0, 0, 2 * (5 * US + ROW), 3 * TRIP);
    assert_int_equal(t.layer[0].host_runs, 4);
    assert_int_equal(t.layer[1].host_runs, 2);
    assert_int_equal(t.layer[0].accesses, 4);
    assert_int_equal(t.layer[0].hits + t.layer[0].loads + t.layer[0].bypasses, 0);
    assert_int_equal(t.layer[0].demand_bytes, 0);
    assert_int_equal(t.copy_busy, 0);
    assert_int_equal(t.host_busy, 30 * US + 4 * ROW);
    /* Waits are booked on the layer whose experts they were for: the last one's head. */
    assert_int_equal(t.share[0][SHARE_HOSTED], 20 * US + 2 * ROW);
    assert_int_equal(t.share[1][SHARE_HOSTED], 10 * US + 2 * ROW);
    /* Latencies of both ways; the weights may take longer than the flops, too. */
    w->machine.d2h_pinned.latency = 2 * US;
    w->machine.h2d_pinned.latency = 3 * US;
    w->machine.host.dram_bytes_per_s = 768 / 7e-6;
    t = run_both(w, "{cache: {name: lru, slots: 3}, offload: host}");
    check_pass(&t.pass[1], dense, 0, 0, 2 * (7 * US + 5 * US + ROW), 3 * TRIP);
    run_world_free(w);
}

/* The host's launches of what waits show as the host's own. */
static void test_launches_come_first(void **state)
{
    struct run_world *w = run_world_spelled(1, 4, 1, "0");
    struct timed t;

    (void)state;
    set_token_time(w, 5);
    w->machine.host.launch_eager = 2 * US;
    t = run_both(w, "{cache: {name: lru, slots: 3}, offload: host}");
    /* 8 launches up to the gate's last kernel, which ends 1 us after; then the head's: it
     * is released 2 * 3 - 2 us after the decision, while the host computes for 5. */
    check_pass(&t.pass[0], DENSE + GATE + HEAD, 0, 0, US + ROW,
               8 * 2 * US + US - DENSE - GATE + TRIP + 4 * US + TRIP);
    run_world_free(w);
}

/* Experts 0 and 1 are there from the start. A layer takes as long as the longer side. */
static void test_the_longer_side(void **state)
{
    const char *policy = "{cache: {name: lru, slots: 2, preload: linear}, offload: host}";
    struct run_world *w = run_world_spelled(2, 4, 3, "01|02 023|2");
    sim_time dense = 2 * (DENSE + GATE) + HEAD;
    struct timed t;

    (void)state;
    set_token_time(w, 5); /* one is hidden behind the group's 6 us, two are not */
    t = run_both(w, policy);
    check_pass(&t.pass[0], dense, 2 * GROUP, 0, 0, 3 * TRIP);
    check_pass(&t.pass[1], dense, GROUP, 0, 10 * US + ROW - GROUP + 5 * US + ROW,
               3 * TRIP);
    assert_int_equal(t.layer[0].hits, 3);
    assert_int_equal(t.layer[0].host_runs, 2);
    assert_int_equal(t.layer[1].hits, 1);
    assert_int_equal(t.layer[1].host_runs, 2);
    /* All there: the plug-in changes nothing. */
    t = run_both(w, "{cache: {name: lru, slots: 4, preload: linear}, offload: host}");
    check_pass(&t.pass[1], dense, 2 * GROUP, 0, 0, 3 * TRIP);
    assert_int_equal(t.host_busy, 0);
    run_world_free(w);
}

/* ---- with early loads ---- */

/* "0|12": 0 runs on the host while 1 and 2 come, 8 us each, for the next layer, which is
 * decided DENSE + GATE + TRIP = 13 us behind the host's end. */
static void test_with_prefetch(void **state)
{
    struct run_world *w = run_world_spelled(2, 4, 2, "0|12");
    sim_time dense = 2 * (DENSE + GATE) + HEAD;
    struct timed t;

    (void)state;
    w->machine.h2d_pinned.bytes_per_s = WORLD_BYTES / 8e-6;
    w->machine.d2h_pinned.bytes_per_s = 1e24;
    set_token_time(w, 5);
    t = run_mode(w,
                 "{cache: {name: lru, slots: 2}, offload: host, "
                 "prefetch: {name: oracle, distance: 1}}",
                 true);
    check_pass(&t.pass[0], dense, GROUP, 0, 5 * US + 256, 3 * TRIP);
    assert_int_equal(t.layer[0].host_runs, 1);
    assert_int_equal(t.layer[1].hits, 2);
    assert_int_equal(t.layer[1].late, 0);
    assert_int_equal(t.pass[0].counts.prefetch_bytes, 2 * WORLD_BYTES);
    assert_int_equal(t.pass[0].counts.demand_bytes, 0);
    /* In one stream the dense block waits for both: first for the host, then copies. */
    t = run_mode(w,
                 "{cache: {name: lru, slots: 2}, offload: host, schedule: serial, "
                 "prefetch: {name: oracle, distance: 1}}",
                 true);
    check_pass(&t.pass[0], dense, GROUP, 11 * US - 256, 5 * US + 256, 3 * TRIP);
    set_token_time(w, 20);
    t = run_mode(w,
                 "{cache: {name: lru, slots: 2}, offload: host, schedule: serial, "
                 "prefetch: {name: oracle, distance: 1}}",
                 true);
    check_pass(&t.pass[0], dense, GROUP, 0, 20 * US + 256, 3 * TRIP);
    run_world_free(w);
}

/* ---- Fiddler ---- */

static void decide(const struct view *v, const uint16_t *missing, uint32_t count,
                   uint8_t *where)
{
    const struct offload_type *type =
        (const struct offload_type *)registry_find(SLOT_OFFLOAD, "fiddler");

    uint16_t order[8];
    void *params;

    assert_non_null(type);
    /* Zeros are the paper's form, each expert judged alone. */
    params = mem_zalloc(1, type->plugin.params_size);
    type->decide(params, v, missing, count, order, where);
    free(params);
}

/* On real files: one token stays, thousands fetch. At the edge, a picosecond decides. */
static void test_fiddler_compares(void **state)
{
    struct err e = {.text = ""};
    struct model *m = model_load("mixtral-8x7b", "models/arch", &e);
    struct machine *k = machine_load("h100-80g", "models/machine", &e);
    struct cost cost = {.model = m, .machine = k};
    uint64_t bytes[2] = {0, 0};
    uint32_t tokens[8] = {1, 0, 9, 0, 0, 4000, 0, 2};
    const uint16_t missing[4] = {0, 2, 5, 7};
    uint8_t where[4] = {0};
    struct machine_copy free_link = {.latency = 0, .bytes_per_s = 1};
    struct cost_experts work = {0};
    struct view v = {.cost = &cost,
                     .layer = 1,
                     .layers = 2,
                     .experts = 8,
                     .expert_bytes = bytes,
                     .tokens = tokens};

    (void)state;
    if (m == NULL || k == NULL)
        fail_msg("%s", e.text);
    v.copy_in = &k->h2d_pinned;
    bytes[1] = model_expert_bytes(m);
    decide(&v, missing, 4, where);
    assert_int_equal(where[0], OFFLOAD_IN_PLACE);
    assert_int_equal(where[1], OFFLOAD_IN_PLACE);
    assert_int_equal(where[2], OFFLOAD_FETCH);
    assert_int_equal(where[3], OFFLOAD_IN_PLACE);
    /* A copy that makes both sides of expert 2 equal. */
    bytes[1] = 0;
    cost_experts_add(&work, 9, &k->gpu.tiles);
    free_link.latency = cost_host_experts(&cost, &work) + cost_host_trip(&cost, 9) -
                        cost_expert_group(&cost, &work);
    v.copy_in = &free_link;
    decide(&v, missing + 1, 1, where);
    assert_int_equal(where[0], OFFLOAD_IN_PLACE);
    free_link.latency--;
    decide(&v, missing + 1, 1, where);
    assert_int_equal(where[0], OFFLOAD_FETCH);
    model_free(m);
    machine_free(k);
}

/* Eight rows: 4 tokens for expert 0, 2 each for 1 and 2. A fetch takes FLOW + GROUP = 16
 * us, a token on the host 7: 0 is fetched, and 1 and 2 take the host 28 us. */
static void test_fiddler_on_both_sides(void **state)
{
    static const uint16_t expert[8] = {0, 1, 0, 2, 0, 1, 2, 0};
    struct run_world *w = run_world_new(1, 4, 1, 8, 1, expert, 3);
    const char *policy = "{cache: {name: lru, slots: 3}, offload: fiddler}";
    sim_time dense = DENSE + GATE + HEAD;
    struct timed t;

    (void)state;
    w->workload.batch = 8;
    set_token_time(w, 7);
    t = run_mode(w, policy, true);
    check_pass(&t.pass[0], dense, GROUP, FLOW, 28 * US + 4 * ROW - FLOW - GROUP,
               2 * TRIP);
    assert_int_equal(t.layer[0].loads, 1);
    assert_int_equal(t.layer[0].host_runs, 2);
    assert_int_equal(t.layer[0].demand_bytes, WORLD_BYTES);
    /* At 3 us a token everything stays (12, 6, 6), and a row crosses once. */
    set_token_time(w, 3);
    t = run_mode(w, policy, true);
    check_pass(&t.pass[0], dense, 0, 0, 24 * US + 8 * ROW, 2 * TRIP);
    /* At 9 us nothing does (36, 18, 18): as if fetched. */
    set_token_time(w, 9);
    t = run_mode(w, policy, true);
    check_pass(&t.pass[0], dense, GROUP, 3 * FLOW, 0, 2 * TRIP);
    assert_int_equal(t.layer[0].loads, 3);
    run_world_free(w);
}

/* However many experts a row chose: two rows, three host experts each, cross once. */
static void test_rows_cross_once(void **state)
{
    static const uint16_t expert[6] = {0, 1, 2, 1, 2, 3};
    struct run_world *w = run_world_new(1, 4, 3, 2, 1, expert, 4);
    struct timed t;

    (void)state;
    w->workload.batch = 2;
    set_token_time(w, 1);
    t = run_both(w, "{cache: {name: lru, slots: 3}, offload: host}");
    check_pass(&t.pass[0], DENSE + GATE + HEAD, 0, 0, 6 * US + 2 * ROW, 2 * TRIP);
    assert_int_equal(t.pass[0].counts.host_runs, 4);
    run_world_free(w);
}

/* What is fetched keeps its own next use where others before it stay on the host. Eight
 * rows, two slots, two tokens at most on the host: 0 stays there in the first two passes.
 * Then 3 takes the place of whichever of 1 and 2 is used last, and the other one hits. */
static void test_next_uses_keep_their_experts(void **state)
{
    (void)state;
    for (uint16_t near = 1; near <= 2; near++) {
        uint16_t far = (uint16_t)(3 - near);
        uint16_t expert[8][4]; /* (row, pass) */
        struct run_world *w;
        struct timed t;

        for (uint32_t i = 0; i < 8; i++) {
            expert[i][0] = i < 2 ? 0 : i < 5 ? 1 : 2;
            expert[i][1] = i < 2 ? 0 : 3;
            expert[i][2] = i < 4 ? near : 3;
            expert[i][3] = far;
        }
        w = run_world_new(1, 4, 1, 8, 4, expert[0], near);
        w->workload.batch = 8;
        set_token_time(w, 7);
        t = run_mode(w, "{cache: {name: belady, slots: 2}, offload: fiddler}", true);
        assert_int_equal(t.layer[0].host_runs, 2);
        assert_int_equal(t.layer[0].hits, 2);
        assert_int_equal(t.layer[0].loads, 4);
        run_world_free(w);
    }
}

/* ---- counts by brute force ---- */

/* Per layer: LRU of `slots`, strictly protected; an expert that is missing when the step
 * begins (and so, with that protection, when its turn comes) and has at most `few` tokens
 * runs on the host. */
struct naive {
    uint64_t hits, loads, bypasses, host_runs;
};

static void naive_step(struct naive *n, const uint32_t *tokens, uint32_t experts,
                       uint64_t *stamp, uint32_t slots, uint32_t few, uint64_t *clock)
{
    for (uint32_t x = 0; x < experts; x++) {
        uint32_t count = 0, victim = UINT32_MAX;

        if (tokens[x] == 0)
            continue;
        if (stamp[x] > 0) {
            n->hits++;
            stamp[x] = ++*clock;
            continue;
        }
        if (tokens[x] <= few) {
            n->host_runs++;
            continue;
        }
        for (uint32_t y = 0; y < experts; y++) {
            count += stamp[y] > 0;
            if (stamp[y] > 0 && tokens[y] == 0 &&
                (victim == UINT32_MAX || stamp[y] < stamp[victim]))
                victim = y;
        }
        if (count == slots && victim == UINT32_MAX) {
            n->bypasses++;
            continue;
        }
        if (count == slots)
            stamp[victim] = 0;
        stamp[x] = ++*clock;
        n->loads++;
    }
}

static struct naive naive_counts(const struct run_world *w, uint32_t slots, uint32_t few)
{
    uint64_t *stamp = mem_zalloc((size_t)w->layers * w->experts, sizeof *stamp);
    uint32_t *tokens = mem_alloc(w->experts, sizeof *tokens);
    uint32_t batch = (uint32_t)w->workload.batch;
    struct naive n = {0};
    uint64_t clock = 0;

    for (uint32_t q = 0; q < w->requests; q += batch) {
        for (uint32_t at = 0; at < w->rows * w->layers; at++) {
            memset(tokens, 0, w->experts * sizeof *tokens);
            for (uint32_t i = q; i < q + batch && i < w->requests; i++)
                for (uint32_t k = 0; k < w->top_k; k++) {
                    uint16_t id =
                        w->expert[((size_t)i * w->rows * w->layers + at) * w->top_k + k];

                    if (id != WORLD_NONE)
                        tokens[id]++;
                }
            naive_step(&n, tokens, w->experts,
                       stamp + (size_t)(at % w->layers) * w->experts, slots, few, &clock);
        }
    }
    free(stamp);
    free(tokens);
    return n;
}

/* A fetch takes 16 us and a token (16 - 1/8) / few: that many stay on the host. */
static void test_counts_by_brute_force(void **state)
{
    struct naive some = {0};

    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct rng r = rng_stream(seed, "hosted", 0);
        struct run_world *w =
            run_world_new(1 + (uint32_t)rng_below(&r, 3), 3 + (uint32_t)rng_below(&r, 12),
                          1 + (uint32_t)rng_below(&r, 3), 4 + (uint32_t)rng_below(&r, 6),
                          5 + (uint32_t)rng_below(&r, 20), NULL, 2000 + seed);
        uint32_t slots = 1 + (uint32_t)rng_below(&r, w->experts);
        uint32_t few = 1 + (uint32_t)rng_below(&r, 3);
        bool never = rng_below(&r, 4) == 0;
        char *policy = mem_format("{cache: {name: lru, slots: %u}, offload: %s}", slots,
                                  never ? "host" : "fiddler");
        struct run_case c = {
            .policy = policy, .event_driven = !never, .unchecked = seed % 4 != 0};
        struct run_result result;
        const struct run_counts *n = &result.total.counts;
        struct naive expected;

        w->workload.batch = 1 + (int64_t)rng_below(&r, 8);
        set_token_time(w, (16 - 0.125) / few);
        expected = naive_counts(w, slots, never ? UINT32_MAX : few);
        run_world_run(w, &c, &result);
        assert_int_equal(n->hits, expected.hits);
        assert_int_equal(n->loads, expected.loads);
        assert_int_equal(n->bypasses, expected.bypasses);
        assert_int_equal(n->host_runs, expected.host_runs);
        assert_int_equal(n->accesses, n->hits + n->loads + n->bypasses + n->host_runs);
        assert_int_equal(n->demand_bytes, (n->loads + n->bypasses) * WORLD_BYTES);
        some.hits += n->hits;
        some.loads += n->loads;
        some.bypasses += n->bypasses;
        some.host_runs += n->host_runs;
        run_result_release(&result);
        free(policy);
        run_world_free(w);
    }
    assert_true(some.hits > 100 && some.loads > 100 && some.bypasses > 10 &&
                some.host_runs > 1000);
}

/* What is placed stays: the lowest ids, under any algorithm. */
static void check_placed(void *context, const char *name)
{
    const struct run_world *w = context;
    char *policy = mem_format("{cache: {name: %s, slots: 3, preload: linear, order: "
                              "recorded}, offload: host}",
                              name);
    struct run_case c = {.policy = policy};
    struct run_result r;
    uint64_t hits = 0, misses = 0;
    size_t steps = (size_t)w->requests * w->rows * w->layers;

    if (strcmp(name, "pin") == 0) { /* places others */
        free(policy);
        return;
    }
    for (size_t i = 0; i < steps * w->top_k; i++) {
        hits += w->expert[i] < 3;
        misses += w->expert[i] >= 3 && w->expert[i] != WORLD_NONE;
    }
    run_world_run(w, &c, &r);
    assert_int_equal(r.total.counts.hits, hits);
    assert_int_equal(r.total.counts.host_runs, misses);
    assert_int_equal(r.total.counts.demand_bytes, 0);
    run_result_release(&r);
    free(policy);
}

static void test_placement_is_static(void **state)
{
    struct run_world *w = run_world_new(3, 9, 3, 3, 12, NULL, 71);

    (void)state;
    run_world_each_cache(check_placed, w);
    run_world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_on_the_host),
        cmocka_unit_test(test_launches_come_first),
        cmocka_unit_test(test_the_longer_side),
        cmocka_unit_test(test_with_prefetch),
        cmocka_unit_test(test_fiddler_compares),
        cmocka_unit_test(test_fiddler_on_both_sides),
        cmocka_unit_test(test_rows_cross_once),
        cmocka_unit_test(test_next_uses_keep_their_experts),
        cmocka_unit_test(test_counts_by_brute_force),
        cmocka_unit_test(test_placement_is_static),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

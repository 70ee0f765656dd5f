/* Layers that keep no expert: what the cache makes of them, and `offload: layers`. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hosted_lab.h"

#include "sim/base/mem.h"

#include <stdlib.h>

/* ---- the cache ---- */

static const uint64_t sizes[4] = {7, 5, 3, 2}; /* of an expert of each layer */

static struct cache *cache_of(const char *text, uint32_t from, uint32_t closed,
                              uint64_t *room, bool *all)
{
    char *policy = mem_format("{cache: %s}", text);
    struct run_policy_text t = run_policy_read(policy);
    struct cache_params *p = &t.policy->cache;
    struct cache_config config = {.algorithm = policy_cache(t.policy),
                                  .algorithm_params = t.policy->params[SLOT_CACHE],
                                  .layers = 4,
                                  .experts = 4,
                                  .expert_bytes = sizes};
    struct err e = {.text = ""};
    struct cache *c;

    p->closed_from = from;
    p->closed = closed;
    if (cache_resolve(p, 4, 4, sizes, &e) != NULL)
        fail_msg("%s", e.text);
    config.params = *p;
    *room = cache_room_bytes(p, 4, 4, sizes);
    *all = cache_holds_all(p, 4, 4, sizes);
    c = cache_new(&config, &e);
    if (c == NULL)
        fail_msg("%s", e.text);
    run_policy_release(&t);
    free(policy);
    return c;
}

static uint32_t outcome(struct cache *c, uint32_t layer, uint16_t expert)
{
    cache_begin_step(c, layer, &expert, 1);
    return cache_access(c, layer, expert, CACHE_UNUSED).outcome;
}

static void test_caches_that_close(void **state)
{
    static const struct {
        const char *text;
        uint32_t from, closed, slots;
        uint64_t bytes, room; /* room: with two staging slots of 7 */
        uint32_t resident;
    } cases[] = {
        {"{slots: all}", 0, 1, 12, 4 * 10, 40 + 14, 12},
        {"{slots: all}", 2, 2, 8, 4 * 12, 48 + 14, 8},
        {"{slots: 2}", 1, 2, 4, 2 * 9, 18 + 14, 0},
        {"{total_slots: 6}", 3, 1, 6, 2 * 15, 30 + 14, 0},
        {"{slots: all, scope: global}", 0, 2, 8, 56, 20 + 14, 8},
        {"{slots: none}", 0, 0, 0, 0, 14, 0},
        {"{slots: none, scope: global}", 0, 0, 0, 0, 14, 0},
        {"{slots: all}", 0, 4, 0, 0, 14, 0},
        {"{bytes: 30 B}", 0, 3, 4, 8, 8 + 14, 0},
        {"{bytes: 50 %}", 1, 3, 2, 14, 14 + 14, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t room;
        bool all;
        struct cache *c =
            cache_of(cases[i].text, cases[i].from, cases[i].closed, &room, &all);
        uint32_t closed = cases[i].slots == 0 ? 4 : cases[i].closed;

        assert_false(all);
        assert_int_equal(cache_slots(c), cases[i].slots);
        if (cases[i].closed < 4 && cases[i].slots > 0 && cases[i].bytes < 56)
            assert_int_equal(cache_capacity_bytes(c), cases[i].bytes);
        assert_int_equal(room, cases[i].room);
        assert_int_equal(cache_resident_count(c), cases[i].resident);
        for (uint32_t l = 0; l < 4; l++)
            for (int again = 0; again < 2; again++) {
                uint32_t got = outcome(c, l, 0);

                if (l - cases[i].from < closed)
                    assert_int_equal(got, CACHE_BYPASS);
                else
                    assert_int_equal(got, cases[i].resident > 0 || again ? CACHE_HIT
                                                                         : CACHE_LOAD);
            }
        cache_free(c);
    }
}

static void test_nothing_comes_early(void **state)
{
    uint64_t room;
    bool all;
    struct cache *c = cache_of("{slots: 2}", 1, 1, &room, &all);

    (void)state;
    cache_begin_step(c, 0, NULL, 0);
    assert_int_equal(cache_prefetch(c, 1, 3, 0).outcome, CACHE_BYPASS);
    assert_int_equal(cache_slot_of(c, 1, 3), CACHE_NONE);
    assert_int_equal(cache_prefetch(c, 2, 3, 0).outcome, CACHE_LOAD);
    cache_free(c);
}

/* ---- offload: layers ---- */

/* Three layers, of each pass one row: what is closed runs on the host, the rest is there.
 */
static void test_layers_on_the_host(void **state)
{
    struct run_world *w = run_world_spelled(3, 4, 2, "01|23|13 02|12|01");
    static const struct {
        const char *offload;
        bool host[3];
    } cases[] = {
        {"{name: layers, count: 1}", {true, false, false}},
        {"{name: layers, count: 2, side: last}", {false, true, true}},
        {"layers", {true, true, true}},
        {"{name: layers, count: 9, side: last}", {true, true, true}},
        {"{name: layers, count: 0}", {false, false, false}},
    };

    (void)state;
    set_token_time(w, 5);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *policy = mem_format("{offload: %s}", cases[i].offload);
        struct timed t = run_both(w, policy);

        for (uint32_t l = 0; l < 3; l++) {
            assert_int_equal(t.layer[l].accesses, 4);
            assert_int_equal(t.layer[l].host_runs, cases[i].host[l] ? 4 : 0);
            assert_int_equal(t.layer[l].hits, cases[i].host[l] ? 0 : 4);
            assert_int_equal(t.layer[l].demand_bytes, 0);
        }
        free(policy);
    }
    run_world_free(w);
}

/* Two rows of a pass are the batch from which weights are streamed: of the closed layer,
 * and kept there by nobody. */
static void test_many_rows_stream_the_weights(void **state)
{
    static const uint16_t expert[] = {0, 1, 2, 3, /* request 0: layers 0 and 1 */
                                      0, 2, 2, 1};
    struct run_world *w = run_world_new(2, 4, 2, 2, 1, expert, 5);
    struct timed t;

    (void)state;
    w->workload.batch = 2;
    set_token_time(w, 5);
    t = run_both(w, "{offload: {name: layers, count: 1, batch: 2}}");
    assert_int_equal(t.layer[0].host_runs, 0);
    assert_int_equal(t.layer[0].bypasses, 3);
    assert_int_equal(t.layer[0].demand_bytes, 3 * WORLD_BYTES);
    assert_int_equal(t.layer[1].hits, 3);
    t = run_both(w, "{offload: {name: layers, count: 1, batch: 3}}");
    assert_int_equal(t.layer[0].host_runs, 3);
    assert_int_equal(t.layer[0].bypasses, 0);
    t = run_both(w, "{offload: {name: layers, count: 1, batch: never}}");
    assert_int_equal(t.layer[0].host_runs, 3);
    /* The other layer may have a cache of its own. */
    t = run_both(w, "{cache: {slots: 1}, offload: {name: layers, count: 1}}");
    assert_int_equal(t.layer[0].host_runs, 3);
    assert_int_equal(t.layer[1].loads + t.layer[1].bypasses, 3);
    run_world_free(w);
}

/* ---- whole layers ---- */

/* A host that takes no time but 3 us for a layer's experts. Each layer takes the host's
 * trip, as each is decided on. */
static void test_whole_layers(void **state)
{
    struct run_world *w = run_world_spelled(3, 4, 1, "0|1|2");
    sim_time way = ROW / 2; /* of a row, one way */
    struct timed t;

    (void)state;
    set_token_time(w, 1e-12);
    w->machine.host.dram_bytes_per_s = 1e24;
    w->machine.host.layer_overhead = 3 * US;
    /* Two layers, then the row comes up to the GPU. */
    t = run_both(w, "{offload: {name: layers, count: 2, whole: yes, batch: never}}");
    check_pass(&t.pass[0], DENSE + GATE + HEAD, GROUP, 0, 6 * US + way, 4 * TRIP);
    assert_int_equal(t.layer[0].host_runs + t.layer[1].host_runs, 2);
    assert_int_equal(t.layer[2].hits, 1);
    assert_int_equal(t.host_busy, 6 * US + way);
    /* One layer on the GPU, the row goes down, through two layers, and up again. */
    t = run_both(w, "{offload: {name: layers, count: 2, side: last, whole: yes, "
                    "batch: never}}");
    check_pass(&t.pass[0], DENSE + GATE + HEAD, GROUP, 0, 6 * US + 2 * way, 4 * TRIP);
    assert_int_equal(t.layer[0].hits, 1);
    /* Nothing but the head is left. */
    t = run_both(w, "{offload: {name: layers, whole: yes, batch: never}}");
    check_pass(&t.pass[0], HEAD, 0, 0, 9 * US + way, 4 * TRIP);
    run_world_free(w);
}

/* What the host takes for the block is what the cost model says of a GPU with its rates,
 * and is booked as time in place. */
static void test_the_block_on_the_host(void **state)
{
    struct run_world *w = run_world_spelled(2, 4, 1, "0|1");
    struct machine host;
    struct cost cost = {.model = &w->model, .machine = &host};
    struct cost_batch b = {.tokens = 1, .outputs = 1, .kv_tokens = 1, .pairs = 1};
    sim_time block;
    struct timed t;

    (void)state;
    set_token_time(w, 4);
    w->machine.host.dram_bytes_per_s = 1e9;
    host = machine_of_host(&w->machine);
    block = cost_dense(&cost, 0, &b) + cost_gate(&cost, 1);
    assert_true(block > US);
    t = run_both(w, "{offload: {name: layers, count: 1, whole: yes, batch: never}}");
    check_pass(&t.pass[0], DENSE + GATE + HEAD, GROUP, 0, block + 4 * US + ROW / 2,
               3 * TRIP);
    assert_int_equal(t.share[0][SHARE_HOSTED], block + 4 * US + ROW / 2);
    run_world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_caches_that_close),
        cmocka_unit_test(test_nothing_comes_early),
        cmocka_unit_test(test_layers_on_the_host),
        cmocka_unit_test(test_many_rows_stream_the_weights),
        cmocka_unit_test(test_whole_layers),
        cmocka_unit_test(test_the_block_on_the_host),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

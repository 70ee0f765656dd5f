/* The device executor where experts may run in place, whatever divides them: what the
 * layers give is what they give with every expert resident, and what was done, and where,
 * is what the simulated run counts. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tiny_device.h"

#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { SEEDS = 3 };

/* Where experts run over all seeds: each of these at least once, and nothing else. */
enum { HIT = 1, MOVED = 2, HOST = 4, NEAR = 8 };

struct wanted {
    const char *policy;
    int where;
};

#define THREE "cache: {name: lru, slots: 3}"
#define KEPT "cache: {name: lru, slots: 4, preload: linear}"
#define EACH "schedule: {name: overlapped, loads: each}"

static const char *const resident = "{cache: {name: lru, slots: 8, preload: linear}}";

static const struct wanted hosted[] = {
    {"{" KEPT ", offload: host}", HIT | HOST},
    {"{cache: {slots: none}, offload: host}", HOST},
    {"{" THREE ", offload: hybrid}", HIT | MOVED | HOST},
    {"{" THREE ", offload: {name: hybrid, fetch: 1}}", HIT | MOVED | HOST},
    {"{" THREE ", offload: {name: hybrid, fetch: 1, rule: fixed}, " EACH "}",
     HIT | MOVED | HOST},
    {"{" THREE ", offload: {name: hybrid, rule: fixed}}", HIT | MOVED},
    {"{" KEPT ", offload: {name: hybrid, fetch: 0}}", HIT | HOST},
    {"{cache: {slots: none}, offload: hybrid, " EACH "}", MOVED | HOST},
    {"{" THREE ", offload: fiddler}", HIT | MOVED | HOST},
    {"{" THREE ", offload: {name: fiddler, objective: max}, " EACH "}",
     HIT | MOVED | HOST},
    {"{" THREE ", offload: {name: fiddler, form: released}}", HOST},
    {"{" THREE ", offload: {name: fiddler, form: released, copy_cost: 10}}",
     HIT | MOVED | HOST},
    {"{" THREE ", offload: {name: fiddler, form: released, objective: max, token_cost: "
     "40}}",
     HIT | MOVED | HOST},
};

/* Of the passes with four rows the weights of closed layers are streamed, those with two
 * run on the host. */
static const struct wanted layers[] = {
    {"{offload: layers}", HOST},
    {"{offload: {name: layers, count: 1}}", HIT | HOST},
    {"{offload: {name: layers, count: 2, side: last, batch: never}}", HIT | HOST},
    {"{offload: {name: layers, count: 2, batch: 3}}", HIT | MOVED | HOST},
    {"{offload: {name: layers, batch: 3}, " EACH "}", MOVED | HOST},
    {"{offload: {name: layers, side: last, count: 1, batch: 1}}", HIT | MOVED},
    {"{" THREE ", prefetch: frequency, offload: {name: layers, count: 1, batch: 3}}",
     HIT | MOVED | HOST},
    {"{cache: {name: lru, total_slots: 9, scope: global, write_back: yes}, offload: "
     "{name: layers, count: 1, batch: 3}}",
     HIT | MOVED | HOST},
};

static const struct wanted near[] = {
    {"{" KEPT ", offload: {name: monde, hot: 0}}", HIT | NEAR},
    {"{cache: {slots: none}, offload: {name: monde, hot: 0}}", NEAR},
    {"{" THREE ", offload: monde}", HIT | MOVED | NEAR},
    {"{" THREE ", offload: {name: monde, alpha: 0.3, link: shared}}", HIT | MOVED | NEAR},
    {"{" THREE ", offload: {name: monde, hot: 2}, " EACH "}", HIT | MOVED | NEAR},
    {"{" THREE ", offload: {name: monde, hot: all}}", HIT | MOVED},
    {"{" THREE ", offload: {name: monde, hot: best}}", HIT | MOVED | NEAR},
    {"{cache: {slots: none}, offload: {name: monde, hot: best, link: shared}, " EACH "}",
     MOVED | NEAR},
    {"{" THREE ", prefetch: previous-token, offload: {name: monde, hot: 1}}",
     HIT | MOVED | NEAR},
    {"{cache: {name: lru, total_slots: 9, scope: global, write_back: yes}, offload: "
     "{name: monde, hot: 1}}",
     HIT | MOVED | NEAR},
};

static const struct wanted caches[] = {
    {"{cache: {slots: none}}", MOVED},
    {"{cache: {slots: none}, " EACH "}", MOVED},
    {"{" THREE ", " EACH "}", HIT | MOVED},
    {"{" THREE ", prefetch: markov, " EACH "}", HIT | MOVED},
    {"{cache: {name: lru, slots: 3, allocate: profile}}", HIT | MOVED},
    {"{cache: {name: lru, slots: 3, allocate: profile, preload: linear}, offload: host}",
     HIT | HOST},
    {"{cache: {name: lru, slots: 3, allocate: profile}, offload: hybrid, " EACH "}",
     HIT | MOVED | HOST},
    {"{cache: {name: lru, slots: 3, allocate: profile}, offload: monde}",
     HIT | MOVED | NEAR},
};

static int where_of(struct tiny *t, const char *policy)
{
    struct tiny_case c = {.policy = policy, .event_driven = true};
    const struct run_counts *n;
    struct run_result r;
    struct tally done;
    int where;

    tiny_simulate(t, &c, &r, &done);
    n = &r.total.counts;
    where = (n->hits > 0 ? HIT : 0) | (n->loads + n->bypasses > 0 ? MOVED : 0) |
            (n->host_runs > 0 ? HOST : 0) | (n->near_runs > 0 ? NEAR : 0);
    assert_int_equal(n->host_runs, done.host_runs);
    assert_int_equal(n->near_runs, done.near_runs);
    run_result_release(&r);
    tally_release(&done);
    return where;
}

/* Batches of four requests and of the two that are left. */
static void check_all(const struct wanted *w, size_t count)
{
    int *where = mem_zalloc(count, sizeof *where);
    struct model m = tiny_model();

    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct tiny_outputs expected = {.count = 0};
        struct tiny t;

        tiny_open_drawn(&t, &m, 0, "host", 70 + seed);
        t.world->workload.batch = 4;
        tiny_check(&t, resident, true, &expected);
        for (size_t i = 0; i < count; i++) {
            tiny_check(&t, w[i].policy, true, &expected);
            where[i] |= where_of(&t, w[i].policy);
        }
        free(expected.value);
        tiny_close(&t);
    }
    for (size_t i = 0; i < count; i++)
        if (where[i] != w[i].where)
            fail_msg("%s: %d", w[i].policy, where[i]);
    free(where);
}

static void test_host(void **state)
{
    (void)state;
    check_all(hosted, sizeof hosted / sizeof *hosted);
}

static void test_layers(void **state)
{
    (void)state;
    check_all(layers, sizeof layers / sizeof *layers);
}

static void test_near(void **state)
{
    (void)state;
    check_all(near, sizeof near / sizeof *near);
}

static void test_caches(void **state)
{
    (void)state;
    check_all(caches, sizeof caches / sizeof *caches);
}

/* A static gate pads every expert, whose padding crosses, too, and drops choices; the
 * token that nothing is left of is nobody's. */
static void test_padding(void **state)
{
    static const char *const offloads[] = {"host", "{name: monde, hot: 0}",
                                           "{name: monde, hot: 1}", "hybrid"};
    static const char *const gates[] = {"{name: capacity-factor, cf: 0.6}",
                                        "{name: capacity-factor, cf: 3}"};
    struct model m = tiny_model();
    struct tiny t;

    (void)state;
    tiny_open(&t, &m, 0);
    for (size_t g = 0; g < sizeof gates / sizeof *gates; g++) {
        struct tiny_outputs expected = {.count = 0};
        char *there = mem_format("{cache: {name: lru, slots: 8, preload: linear}, gate: "
                                 "%s}",
                                 gates[g]);

        tiny_check(&t, there, false, &expected);
        for (size_t i = 0; i < sizeof offloads / sizeof *offloads; i++) {
            char *policy =
                mem_format("{" THREE ", gate: %s, offload: %s}", gates[g], offloads[i]);

            tiny_check(&t, policy, true, &expected);
            free(policy);
        }
        free(there);
        free(expected.value);
    }
    tiny_close(&t);
}

/* ---- what crosses ---- */

static struct {
    void (*copy)(struct device *d, struct device_stream *s, void *to, const void *from,
                 size_t bytes);
    struct device_stream *trip;
    uint64_t bytes;
} watched;

static void watch_copy(struct device *d, struct device_stream *s, void *to,
                       const void *from, size_t bytes)
{
    if (s == watched.trip)
        watched.bytes += bytes;
    watched.copy(d, s, to, from, bytes);
}

/* Bytes that cross to experts in place and back, of which the index is told by the
 * caller. */
static uint64_t crossed(struct tiny *t, const char *policy, struct tally *done)
{
    struct tiny_case c = {.policy = policy};
    const struct device_ops *ops = t->device->ops;
    struct device_ops watching = *ops;
    struct tiny_outputs outputs;
    struct run_result r;

    watched.copy = ops->copy;
    watched.trip = t->streams.trip;
    watched.bytes = 0;
    watching.copy = watch_copy;
    t->device->ops = &watching;
    tiny_execute(t, &c, &r, &outputs, done);
    t->device->ops = ops;
    free(outputs.value);
    run_result_release(&r);
    return watched.bytes;
}

/* One request at a time, whose row has one expert or two in each of three layers: on the
 * host the row crosses once each way; near the data once for each expert, and with it go
 * the row of the token, two rows of the sum and their weights. */
static void test_what_crosses(void **state)
{
    struct model m = tiny_model();
    struct tally host, near_;
    struct tiny t;
    uint64_t bytes, passes, runs, row;

    (void)state;
    tiny_open(&t, &m, 0);
    t.world->workload.batch = 1;
    passes = (uint64_t)t.world->requests * t.world->rows;
    row = t.model.hidden * sizeof(float);
    bytes = crossed(&t, "{cache: {slots: none}, offload: host}", &host);
    assert_int_equal(bytes, 2 * row * passes * m.moe_layers);
    bytes = crossed(&t, "{cache: {slots: none}, offload: {name: monde, hot: 0}}", &near_);
    runs = near_.near_runs;
    assert_int_equal(runs, host.host_runs);
    assert_int_equal(near_.host_runs + host.near_runs, 0);
    assert_true(runs > passes * m.moe_layers && runs < 2 * passes * m.moe_layers);
    assert_int_equal(bytes, runs * (2 * row + 4) + passes * m.moe_layers * 16);
    tally_release(&host);
    tally_release(&near_);
    tiny_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_host),    cmocka_unit_test(test_layers),
        cmocka_unit_test(test_near),    cmocka_unit_test(test_caches),
        cmocka_unit_test(test_padding), cmocka_unit_test(test_what_crosses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Experts in fewer bits: times worked out by hand in the world of test_hosted.c, counts
 * by a model of two dozen lines, and choices that are other policies'. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hosted_lab.h"

#include "sim/base/mem.h"
#include "sim/base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The world's experts have 16 bits and 1 MB; in 4 bits they take 250 kB, and 2.5 us on
 * the link. Scores of a row's first three, as run_world.c lists them, and what stands
 * before each:
 *
 *   row 0   .5 .5 .25      0  .4    .8
 *   row 1   .5 .25 .125    0  .571  .857
 *   row 2   .5 .25 .0625   0  .615  .923 */
static const sim_time dense = DENSE + GATE + HEAD; /* of one layer */

/* The third expert comes in fewer bits, and behind the others. */
static void test_a_light_expert_comes_sooner(void **state)
{
    struct run_world *w = run_world_spelled(1, 4, 3, "012");
    struct timed t;

    (void)state;
    t = run_both(w, "{cache: {name: lru, bytes: 3000000 B}, offload: hobbit}");
    check_pass(&t.pass[0], dense, GROUP, 2 * FLOW + FLOW / 4, 0, 2 * TRIP);
    assert_int_equal(t.layer[0].loads, 3);
    assert_int_equal(t.layer[0].low_loads, 1);
    assert_int_equal(t.layer[0].low_uses, 1);
    assert_int_equal(t.layer[0].demand_bytes, 2250000);
    /* What stands before it is .8 of all, and .4 before the second. */
    t = run_both(w, "{cache: {bytes: 3000000 B}, offload: {name: hobbit, t1: 0.8}}");
    check_pass(&t.pass[0], dense, GROUP, 3 * FLOW, 0, 2 * TRIP);
    t = run_both(w, "{cache: {bytes: 3000000 B}, offload: {name: hobbit, t1: 0.39}}");
    check_pass(&t.pass[0], dense, GROUP, FLOW + 2 * FLOW / 4, 0, 2 * TRIP);
    t = run_both(w, "{cache: {bytes: 3000000 B}, "
                    "offload: {name: hobbit, t1: 0, bits: 2}}");
    check_pass(&t.pass[0], dense, GROUP, FLOW + 2 * FLOW / 8, 0, 2 * TRIP);
    run_world_free(w);
}

/* The group reads 2 x 768 bytes of weights as they are and 192 of the light expert, at
 * 768 bytes a microsecond; what it computes and moves beside that takes no time. */
static void test_a_group_reads_fewer_bytes(void **state)
{
    struct run_world *w = run_world_spelled(1, 4, 3, "012 012");
    struct timed t;

    (void)state;
    w->machine.gpu.hbm_bytes_per_s = 768e6;
    w->machine.gpu.memory_efficiency = 1;
    w->machine.gpu.move_efficiency = 1e15;
    w->model.dense_bits = w->model.activation_bits = 1e-12;
    t = run_mode(w, "{cache: {bytes: 3000000 B}, offload: {name: hobbit, t1: 1}}", true);
    assert_int_equal(t.pass[1].share[SHARE_EXPERT], GROUP + 3 * US);
    t = run_mode(w, "{cache: {bytes: 3000000 B}, offload: hobbit}", true);
    assert_int_equal(t.pass[0].share[SHARE_EXPERT], GROUP + 2 * US + US / 4);
    assert_int_equal(t.pass[1].share[SHARE_EXPERT], GROUP + 2 * US + US / 4);
    assert_int_equal(t.pass[1].counts.hits, 3);
    assert_int_equal(t.pass[1].counts.low_uses, 1);
    /* One by one they take what each reads. */
    t = run_mode(w,
                 "{cache: {bytes: 3000000 B}, offload: hobbit, "
                 "schedule: {name: overlapped, loads: each}}",
                 true);
    assert_int_equal(t.pass[0].share[SHARE_EXPERT], 3 * GROUP + 2 * US + US / 4);
    run_world_free(w);
}

/* An expert as it is serves who wants it in fewer bits, not the other way round. */
static void test_which_form_serves(void **state)
{
    struct run_world *w = run_world_spelled(1, 4, 3, "012 210 102");
    struct timed t;

    (void)state;
    t = run_both(w, "{cache: {name: lru, bytes: 4000000 B}, offload: hobbit}");
    /* 2 is there in few bits and is wanted as it is: it runs behind the other two. 0 is
     * there as it is. */
    check_pass(&t.pass[1], dense, 2 * GROUP, FLOW - GROUP, 0, 2 * TRIP);
    assert_int_equal(t.pass[1].counts.hits, 2);
    assert_int_equal(t.pass[1].counts.low_uses, 0);
    assert_int_equal(t.pass[1].counts.demand_bytes, 1000000);
    check_pass(&t.pass[2], dense, GROUP, 0, 0, 2 * TRIP);
    assert_int_equal(t.layer[0].low_loads, 1);
    assert_int_equal(t.layer[0].swaps, 0); /* 3.25 MB */
    run_world_free(w);
}

/* 2.25 MB hold 0, 1 and a light 2; then 3 as it is makes 0 and, were that not enough, the
 * next one go. In 1.25 MB one is left out: it goes through a staging slot. */
static void test_room_is_in_bytes(void **state)
{
    struct run_world *w = run_world_spelled(1, 4, 3, "012 3");
    struct timed t;

    (void)state;
    t = run_both(w, "{cache: {name: lru, bytes: 2250000 B}, offload: hobbit}");
    assert_int_equal(t.pass[0].counts.loads, 3);
    assert_int_equal(t.pass[0].counts.bypasses, 0);
    assert_int_equal(t.pass[1].counts.swaps, 1);
    check_pass(&t.pass[1], dense, GROUP, FLOW, 0, 2 * TRIP);
    t = run_both(w, "{cache: {name: lru, bytes: 1250000 B}, offload: hobbit}");
    assert_int_equal(t.pass[0].counts.loads, 2);
    assert_int_equal(t.pass[0].counts.bypasses, 1);
    assert_int_equal(t.pass[0].counts.low_loads, 1);
    assert_int_equal(t.pass[0].counts.demand_bytes, 2250000);
    run_world_free(w);
}

/* ---- counts, naively ---- */

enum { NAIVE_FORMS = 64 };

struct naive {
    uint64_t hits, loads, bypasses, low_uses, low_loads, bytes;
    uint32_t count;             /* residents, */
    uint32_t form[NAIVE_FORMS]; /* from the least recently used */
    uint64_t room, size[2];
};

static int naive_find(const struct naive *n, uint32_t form)
{
    for (uint32_t i = 0; i < n->count; i++)
        if (n->form[i] == form)
            return (int)i;
    return -1;
}

static void naive_drop(struct naive *n, uint32_t at)
{
    n->count--;
    memmove(n->form + at, n->form + at + 1, (n->count - at) * sizeof *n->form);
}

static uint64_t naive_used(const struct naive *n, const bool *active, uint32_t experts)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < n->count; i++)
        if (active == NULL || active[n->form[i]])
            sum += n->size[n->form[i] >= experts];
    return sum;
}

static void naive_access(struct naive *n, uint32_t form, const bool *active,
                         uint32_t experts)
{
    uint32_t low = form >= experts;
    int at = naive_find(n, form);

    n->low_uses += low;
    if (at >= 0) {
        n->hits++;
        naive_drop(n, (uint32_t)at);
        n->form[n->count++] = form;
        return;
    }
    n->bytes += n->size[low];
    n->low_loads += low;
    if (naive_used(n, active, experts) + n->size[low] > n->room) {
        n->bypasses++;
        return;
    }
    for (uint32_t i = 0; naive_used(n, NULL, experts) + n->size[low] > n->room;)
        if (active[n->form[i]])
            i++;
        else
            naive_drop(n, i);
    n->loads++;
    n->form[n->count++] = form;
}

/* The scores of run_world.c. */
static double naive_score(uint64_t row, uint32_t layer, uint32_t rank)
{
    return pow(2, -1 - (double)(rank * (1 + (row + layer) % 3) / 2));
}

/* A layer's step of the rows [from, to) of the trace, counted by row. */
static void naive_step(const struct run_world *w, struct naive *n, uint32_t layer,
                       const uint64_t *row, uint32_t rows, double t1)
{
    bool wanted[NAIVE_FORMS] = {false}, high[NAIVE_FORMS] = {false};
    bool active[NAIVE_FORMS] = {false};

    for (uint32_t i = 0; i < rows; i++) {
        const uint16_t *expert = w->expert + (row[i] * w->layers + layer) * w->top_k;
        double all = 0, before = 0;

        for (uint32_t k = 0; k < w->top_k && expert[k] != WORLD_NONE; k++)
            all += naive_score(row[i], layer, k);
        /* Of equal scores the lower id stands first. */
        for (uint32_t k = 0; k < w->top_k && expert[k] != WORLD_NONE; k++) {
            double own = naive_score(row[i], layer, k);

            before = 0;
            for (uint32_t j = 0; j < w->top_k && expert[j] != WORLD_NONE; j++) {
                double other = naive_score(row[i], layer, j);

                if (other > own || (other == own && expert[j] < expert[k]))
                    before += other;
            }
            wanted[expert[k]] = true;
            if (before / all <= t1)
                high[expert[k]] = true;
        }
    }
    for (uint32_t x = 0; x < w->experts; x++) {
        bool low = wanted[x] && !high[x] && naive_find(n, x) < 0;

        active[x] = wanted[x];
        active[x + w->experts] = low;
    }
    for (uint32_t x = 0; x < w->experts; x++)
        if (wanted[x])
            naive_access(n, active[x + w->experts] ? x + w->experts : x, active,
                         w->experts);
}

static void check_naive(uint64_t seed, bool event, bool count)
{
    static const double bits[] = {2, 3, 4, 8}, thresholds[] = {0, 0.3, 0.5, 0.6, 0.9};
    struct rng r = rng_stream(seed, "hobbit", 0);
    uint32_t layers = 1 + (uint32_t)rng_below(&r, 3);
    uint32_t experts = 5 + (uint32_t)rng_below(&r, 8);
    uint32_t top_k = 2 + (uint32_t)rng_below(&r, 3),
             batch = 1 + (uint32_t)rng_below(&r, 3);
    struct run_world *w =
        run_world_new(layers, experts, top_k, batch, 9, NULL, 77 + seed);
    double b = bits[rng_below(&r, 4)], t1 = thresholds[rng_below(&r, 5)];
    uint64_t room = 1000000 + rng_below(&r, 4000000);
    char *policy = mem_format(
        "{cache: {name: lru, bytes: %llu B}, offload: {name: hobbit, bits: %g, "
        "t1: %g}}",
        (unsigned long long)room * layers, b, t1);
    struct run_case c = {.policy = policy, .event_driven = event, .count = count};
    struct run_result result;

    w->workload.batch = batch;
    run_world_run(w, &c, &result);
    for (uint32_t l = 0; l < layers; l++) {
        struct naive n = {.room = room, .size = {1000000, (uint64_t)(1e6 * b / 16)}};
        const struct run_counts *is = &result.layer[l].counts;

        if (n.room > experts * UINT64_C(1000000))
            n.room = experts * UINT64_C(1000000);
        for (uint32_t pass = 0; pass < 9; pass++) {
            uint64_t row[3];

            for (uint32_t i = 0; i < batch; i++)
                row[i] = i * 9 + pass;
            naive_step(w, &n, l, row, batch, t1);
        }
        assert_int_equal(is->hits, n.hits);
        assert_int_equal(is->loads, n.loads);
        assert_int_equal(is->bypasses, n.bypasses);
        assert_int_equal(is->low_uses, n.low_uses);
        assert_int_equal(is->low_loads, n.low_loads);
        assert_int_equal(is->demand_bytes, n.bytes);
    }
    run_result_release(&result);
    free(policy);
    run_world_free(w);
}

static void test_counts_are_naive(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++)
        check_naive(seed, seed % 3 == 0, seed % 3 == 1);
}

/* ---- choices that are other policies' ---- */

/* In full always, or in as many bits: fetching, to the picosecond. */
static void test_ends_of_the_choice(void **state)
{
    static const char *const caches[] = {
        "name: lru, bytes: 3500000 B",
        "name: lfu-evict, bytes: 3500000 B",
        "name: fifo, bytes: 3500000 B, staging: 1",
        "name: lru, bytes: 60%, preload: linear",
        "name: lru, bytes: 3500000 B, scope: global",
        "name: lru, bytes: 3500000 B, order: hits-first, in_flight: 1"};
    static const char *const all[] = {"{name: hobbit, t1: 1}",
                                      "{name: hobbit, t1: 0, bits: 16}"};

    (void)state;
    for (uint64_t seed = 0; seed < 24; seed++) {
        struct run_world *w = run_world_new(
            1 + (uint32_t)seed % 3, 4 + (uint32_t)seed % 5, 3, 3, 6, NULL, 500 + seed);
        const char *cache = caches[seed % 6];
        char *fetch = mem_format("{cache: {%s}, offload: fetch}", cache);
        struct timed is;

        w->workload.batch = 1 + (int64_t)(seed % 3);
        is = run_mode(w, fetch, true);
        for (int i = 0; i < 2; i++) {
            char *hobbit = mem_format("{cache: {%s}, offload: %s}", cache, all[i]);
            struct timed t = run_mode(w, hobbit, true);

            assert_int_equal(t.digest, is.digest);
            for (uint64_t pass = 0; pass < t.passes; pass++) { /* slots or bytes */
                assert_true(t.pass[pass].memory.weights >= is.pass[pass].memory.weights);
                t.pass[pass].memory.weights = is.pass[pass].memory.weights;
            }
            assert_memory_equal(t.pass, is.pass, sizeof t.pass);
            free(hobbit);
        }
        free(fetch);
        run_world_free(w);
    }
}

/* Every cache that may hold two forms does, in both scopes, and the books balance. */
static void run_cache(void *context, const char *name)
{
    const struct run_world *w = context;
    const struct plugin *p = registry_find(SLOT_CACHE, name);

    for (int global = 0; global < 2; global++) {
        char *policy =
            mem_format("{cache: {name: %s, scope: %s, bytes: 5000000 B}, offload: "
                       "{name: hobbit, t1: 0.3}}",
                       name, global ? "global" : "layer");
        struct err why = {.text = ""};
        struct run_case c = {.policy = policy, .event_driven = true, .failure = &why};
        struct run_result r;

        run_world_run(w, &c, &r);
        if ((p->needs & (NEED_FUTURE | NEED_PROFILE | NEED_ROWS)) != 0) {
            assert_non_null(strstr(why.text, "one number of bits only"));
        } else {
            assert_string_equal(why.text, "");
            assert_true(r.total.counts.low_loads > 0);
            assert_true(r.total.counts.low_uses > r.total.counts.low_loads);
            assert_int_equal(r.cache_bytes, 5000000);
        }
        run_result_release(&r);
        free(policy);
    }
}

static void test_every_cache(void **state)
{
    struct run_world *w = run_world_new(2, 8, 3, 3, 8, NULL, 4242);

    (void)state;
    w->workload.batch = 3;
    run_world_each_cache(run_cache, w);
    run_world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_light_expert_comes_sooner),
        cmocka_unit_test(test_a_group_reads_fewer_bytes),
        cmocka_unit_test(test_which_form_serves),
        cmocka_unit_test(test_room_is_in_bytes),
        cmocka_unit_test(test_counts_are_naive),
        cmocka_unit_test(test_ends_of_the_choice),
        cmocka_unit_test(test_every_cache),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

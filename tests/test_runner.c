/* The runner on random traces: every copy and read of a slot in a safe order, books that
 * balance, counts that no executor changes, hits by brute force. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "run_world.h"

#include "sim/base/mem.h"
#include "sim/base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- books ---- */

static sim_time sum_of_shares(const sim_time *share)
{
    sim_time sum = 0;

    for (int i = 0; i < RUN_SHARES; i++)
        sum += share[i];
    return sum;
}

static void add(struct run_counts *sum, const struct run_counts *c)
{
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)c;

    for (size_t i = 0; i < sizeof *sum / sizeof *to; i++)
        to[i] += from[i];
}

/* Shares sum to latency pass by pass; layers and passes both sum to the total. */
static void check_books(const struct run_world *w, const struct run_result *r, bool timed)
{
    struct run_counts layers = {0}, passes = {0};
    sim_time share[RUN_SHARES] = {0}, latency = 0, at = 0;
    struct run_pass p;

    rewind(r->pass_spool);
    for (uint64_t i = 0; i < r->passes; i++) {
        assert_int_equal(fread(&p, sizeof p, 1, r->pass_spool), 1);
        assert_int_equal(sum_of_shares(p.share), p.latency);
        for (int k = 0; k < RUN_SHARES; k++) {
            assert_true(p.share[k] >= 0);
            share[k] += p.share[k];
        }
        assert_true(p.start >= at);
        at = p.start + p.latency;
        latency += p.latency;
        add(&passes, &p.counts);
    }
    assert_int_equal(fread(&p, sizeof p, 1, r->pass_spool), 0);
    assert_int_equal(latency, r->total.latency);
    assert_memory_equal(share, r->total.share, sizeof share);
    for (uint32_t l = 0; l < r->layers; l++) {
        const struct run_counts *c = &r->layer[l].counts;

        assert_int_equal(c->accesses, c->hits + c->loads + c->bypasses);
        assert_int_equal(c->demand_bytes, (c->loads + c->bypasses) * w->expert_bytes[l]);
        assert_int_equal(c->prefetch_bytes, c->prefetches * w->expert_bytes[l]);
        assert_true(c->prefetch_used * w->expert_bytes[l] + c->wasted_bytes <=
                    c->prefetch_bytes);
        assert_true(c->late <= c->prefetch_used && c->prefetch_used <= c->hits);
        assert_int_equal(r->layer[l].copies, c->loads + c->bypasses);
        assert_true(timed || r->layer[l].copy_time == 0);
        add(&layers, c);
    }
    run_counts_equal(&layers, &r->total.counts, true);
    run_counts_equal(&passes, &r->total.counts, true);
    assert_true(r->finished && r->elapsed >= at);
}

/* ---- anything goes ---- */

static const char *pick(struct rng *r, const char *const *from)
{
    uint64_t count = 0;

    while (from[count] != NULL)
        count++;
    return from[rng_below(r, count)];
}

static const char *const cache_names[] = {
    "arc",       "belady",   "belady-bypass", "clock", "fifo",   "lfu-aging",
    "lfu-evict", "lfu-keep", "lifo",          "lru",   "random", "s3fifo",
    "sieve",     "slru",     "pin",           NULL};
static const char *const protections[] = {"strict", "prefer", "none", NULL};
static const char *const schedules[] = {"overlapped", "serial", NULL};
static const char *const prefetchers[] = {"none",
                                          "{name: oracle, distance: 1}",
                                          "{name: oracle, distance: 5, width: 3}",
                                          "{name: markov, distance: 2}",
                                          "{name: frequency, candidates: 3}",
                                          "previous-token",
                                          NULL};

/* A policy by chance. Owned. */
static char *draw_policy(struct rng *r, bool early, bool out, bool bytes)
{
    const char *cache = pick(r, cache_names);
    const char *prefetch = early ? pick(r, prefetchers) : "none";
    bool global = rng_below(r, 2) == 0;
    uint64_t slots = 1 + rng_below(r, global ? 12 : 6);

    if (strcmp(cache, "pin") == 0)
        prefetch = "none";
    if (strcmp(cache, "belady-bypass") == 0 && strcmp(prefetch, "none") != 0)
        prefetch = prefetchers[1 + rng_below(r, 2)];
    return mem_format(
        "{cache: {name: %s, scope: %s, %s: %llu, protect: %s, "
        "preload: %s, admission: %s, write_back: %s, staging: %llu}, "
        "prefetch: %s, schedule: %s}",
        cache, global ? "global" : "layer", bytes ? "bytes" : "slots",
        (unsigned long long)(bytes ? slots * WORLD_BYTES * (global ? 4 : 16) : slots),
        pick(r, protections), rng_below(r, 3) == 0 ? "linear" : "none",
        rng_below(r, 4) == 0 ? "second-miss" : "always", out ? "yes" : "no",
        (unsigned long long)(1 + rng_below(r, 3)), prefetch, pick(r, schedules));
}

static struct run_world *draw_world(struct rng *r, uint64_t seed)
{
    struct run_world *w =
        run_world_new(1 + (uint32_t)rng_below(r, 4), 4 + (uint32_t)rng_below(r, 8),
                      1 + (uint32_t)rng_below(r, 4), 1 + (uint32_t)rng_below(r, 4),
                      3 + (uint32_t)rng_below(r, 25), NULL, seed);

    w->workload.batch = 1 + (int64_t)rng_below(r, 3);
    w->machine.h2d_pinned.bytes_per_s = rng_below(r, 2) == 0 ? 1e10 : 1e12;
    w->machine.h2d_pinned.latency = (sim_time)rng_below(r, 3) * SIM_TIME_PER_US;
    w->machine.d2h_pinned.bytes_per_s = rng_below(r, 2) == 0 ? 1e9 : 1e12;
    w->machine.host.copy_call = (sim_time)rng_below(r, 2) * 300 * SIM_TIME_PER_NS;
    w->machine.host.launch_eager = (sim_time)rng_below(r, 3) * SIM_TIME_PER_US;
    for (uint32_t l = 0; rng_below(r, 2) == 0 && l < w->layers; l++)
        w->expert_bytes[l] = WORLD_BYTES * (1 + rng_below(r, 4));
    return w;
}

/* Sizes that differ within a set, early loads, write-back, any protection: slots are safe
 * whatever the executor's times, books balance, and the counts are the same where
 * operations take no time. Only what is late depends on time, and what is wasted does
 * not.
 */
static void test_anything_goes(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct rng r = rng_stream(seed, "anything", 0);
        struct run_world *w = draw_world(&r, seed);
        char *policy =
            draw_policy(&r, true, rng_below(&r, 2) == 0, rng_below(&r, 2) == 0);
        struct run_case c = {.policy = policy,
                             .event_driven = true,
                             .keep_passes = true,
                             .graph = rng_below(&r, 2) == 0,
                             .chunk_bytes = rng_below(&r, 2) * 300000,
                             .seed = seed};
        struct run_result timed, again, counted;

        run_world_run(w, &c, &timed);
        run_world_run(w, &c, &again);
        c.count = true;
        run_world_run(w, &c, &counted);
        check_books(w, &timed, true);
        check_books(w, &counted, false);
        assert_int_equal(timed.digest, again.digest);
        assert_memory_equal(&timed.total, &again.total, sizeof timed.total);
        run_counts_equal(&timed.total.counts, &counted.total.counts, false);
        run_result_release(&timed);
        run_result_release(&again);
        run_result_release(&counted);
        free(policy);
        run_world_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_anything_goes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The runner on random traces: every copy and read of a slot in a safe order, books that
 * balance, counts that no executor changes, hits by brute force. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "file_limit.h"
#include "run_world.h"

#include "sim/base/mem.h"
#include "sim/exec/exec_count.h"
#include "sim/exec/exec_forward.h"
#include "sim/run/run_state.h"
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

        assert_int_equal(c->accesses, c->hits + c->loads + c->bypasses + run_in_place(c));
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

static const char *const cache_names[] = {"arc",
                                          "belady",
                                          "belady-bypass",
                                          "clock",
                                          "fifo",
                                          "lfu-aging",
                                          "lfu-evict",
                                          "lfu-keep",
                                          "lifo",
                                          "lru",
                                          "random",
                                          "s3fifo",
                                          "sieve",
                                          "slru",
                                          "pin",
                                          "lfru",
                                          "lfru-heat",
                                          "moe-infinity",
                                          "heat-protected-lru",
                                          "least-stale-ewma",
                                          "least-stale-layer",
                                          "least-stale-queue",
                                          NULL};
static const char *const protections[] = {"strict", "prefer", "none", NULL};
static const char *const schedules[] = {"overlapped", "serial", NULL};
static const char *const prefetchers[] = {"none",
                                          "{name: oracle, distance: 1}",
                                          "{name: oracle, distance: 5, width: 3}",
                                          "{name: markov, distance: 2}",
                                          "{name: frequency, candidates: 3}",
                                          "previous-token",
                                          NULL};
static const char *const offloads[] = {
    "fetch",
    "fetch",
    "host",
    "fiddler",
    "{name: hybrid, fetch: 2}",
    "monde",
    "{name: layers, count: 1, batch: 3}",
    "{name: layers, count: 1, whole: yes, batch: never}",
    NULL};

/* Options of a cache that swaps; `spare` where all experts have one size. Owned. */
static char *draw_swaps(uint64_t seed, bool spare)
{
    struct rng r = rng_stream(seed, "swaps", 0);
    unsigned long long spares = rng_below(&r, 4), loads = rng_below(&r, 4);

    return mem_format(", order: %s, in_flight: %llu, spare: %llu",
                      rng_below(&r, 2) == 0 ? "hits-first" : "id", loads,
                      spare ? spares : 0);
}

/* A policy by chance; `more` of the cache's options. Owned. */
static char *draw_policy(struct rng *r, bool early, bool out, bool bytes,
                         const char *more)
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
        "{cache: {name: %s, scope: %s, %s: %llu%s, protect: %s, "
        "preload: %s, admission: %s, write_back: %s, staging: %llu%s}, "
        "prefetch: %s, schedule: %s, offload: %s}",
        cache, global ? "global" : "layer",
        bytes    ? "bytes"
        : global ? "total_slots"
                 : "slots",
        (unsigned long long)(bytes ? slots * WORLD_BYTES * (global ? 4 : 16) : slots),
        bytes ? " B" : "", pick(r, protections), rng_below(r, 3) == 0 ? "linear" : "none",
        rng_below(r, 4) == 0 ? "second-miss" : "always", out ? "yes" : "no",
        (unsigned long long)(1 + rng_below(r, 3)), more, prefetch, pick(r, schedules),
        pick(r, offloads));
}

static bool is_even(const struct run_world *w)
{
    for (uint32_t l = 1; l < w->layers; l++)
        if (w->expert_bytes[l] != w->expert_bytes[0])
            return false;
    return true;
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
    /* 1 to 128 us for a token on the host; fetching an expert takes 7 to 108. */
    w->machine.host.flops = 768e6 / (double)(UINT64_C(1) << rng_below(r, 8));
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
    for (uint64_t seed = 1; seed <= 250; seed++) {
        struct rng r = rng_stream(seed, "anything", 0);
        struct run_world *w = draw_world(&r, seed);
        char *more = draw_swaps(seed, is_even(w));
        char *policy =
            draw_policy(&r, true, rng_below(&r, 2) == 0, rng_below(&r, 2) == 0, more);
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
        free(more);
        run_world_free(w);
    }
}

/* ---- every cache policy ---- */

struct sweep {
    struct run_world *w;
    const char *options; /* of the cache, and other slots behind it */
    uint64_t visited;
};

/* FIFO lanes and the event queue agree to the digest; no run differs from the next; an
 * executor that takes no time counts the same. */
static void compare_executors(void *context, const char *name)
{
    struct sweep *s = context;
    char *policy = mem_format("{cache: {name: %s, %s", name, s->options);
    struct run_case c = {.policy = policy, .keep_passes = true, .seed = 5};
    struct run_result fifo, again, event, counted;

    run_world_run(s->w, &c, &fifo);
    run_world_run(s->w, &c, &again);
    c.event_driven = true;
    run_world_run(s->w, &c, &event);
    c.count = true;
    run_world_run(s->w, &c, &counted);
    check_books(s->w, &fifo, true);
    assert_int_equal(fifo.digest, again.digest);
    assert_int_equal(fifo.digest, event.digest);
    assert_int_equal(fifo.elapsed, event.elapsed);
    assert_int_equal(fifo.compute_busy, event.compute_busy);
    assert_int_equal(fifo.copy_busy, event.copy_busy);
    assert_int_equal(fifo.host_busy, event.host_busy);
    assert_memory_equal(&fifo.total, &event.total, sizeof fifo.total);
    for (uint32_t l = 0; l < s->w->layers; l++) {
        assert_memory_equal(&fifo.layer[l], &event.layer[l], sizeof *fifo.layer);
        run_counts_equal(&fifo.layer[l].counts, &counted.layer[l].counts, true);
    }
    assert_int_equal(counted.total.latency, 0);
    run_result_release(&fifo);
    run_result_release(&again);
    run_result_release(&event);
    run_result_release(&counted);
    free(policy);
    s->visited++;
}

static void test_executors_agree(void **state)
{
    static const char *const options[] = {
        "slots: 4}}",
        "slots: 1, staging: 2}}",
        "total_slots: 9, scope: global, protect: none}, schedule: serial}",
        "slots: 5, protect: prefer, preload: linear}}",
        "bytes: 17 MB, scope: global, admission: second-miss}}",
        "slots: 4}, offload: monde}",
        "slots: 4}, offload: {name: monde, hot: 0}}",
        "slots: 3, preload: linear}, offload: host, schedule: serial}",
        "slots: 3, order: recorded, protect: none}, offload: {name: monde, hot: best}}",
        "slots: none}, schedule: {name: overlapped, loads: each}}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        struct sweep s = {.w = run_world_new(3, 11, 3, 3, 15, NULL, 40 + i),
                          .options = options[i]};

        s.w->workload.batch = 1 + (int64_t)i % 3;
        s.w->machine.h2d_pinned.latency = 1234567;
        s.w->machine.host.copy_call = 765432;
        s.w->machine.host.launch_eager = 234567;
        s.w->machine.host.flops = 768 / 8e-6;
        s.w->machine.has_near = true;
        s.w->machine.near =
            (struct machine_near){.bytes_per_s = 4e11, .flops = 768 / 8e-6, .units = 1};
        if (i == 4)
            s.w->expert_bytes[1] = 3 * WORLD_BYTES + 1;
        run_world_each_cache(compare_executors, &s);
        assert_true(s.visited >= 15);
        run_world_free(s.w);
    }
}

/* ---- hits by brute force ---- */

struct naive_cache {
    bool resident[4096];
    uint64_t stamp[4096]; /* of the last use, or of the load */
    uint64_t active[4096];
    uint64_t clock, hits;
};

/* One access of `object` in step `step` to the objects [first, end). */
static void naive_access(struct naive_cache *n, uint32_t object, uint32_t first,
                         uint32_t end, uint32_t slots, uint64_t step, bool lru,
                         bool protect)
{
    uint32_t victim = UINT32_MAX;
    uint32_t count = 0;

    n->clock++;
    if (n->resident[object]) {
        n->hits++;
        if (lru)
            n->stamp[object] = n->clock;
        return;
    }
    for (uint32_t x = first; x < end; x++) {
        count += n->resident[x];
        if (n->resident[x] && !(protect && n->active[x] == step) &&
            (victim == UINT32_MAX || n->stamp[x] < n->stamp[victim]))
            victim = x;
    }
    if (count == slots && victim == UINT32_MAX)
        return;
    if (count == slots)
        n->resident[victim] = false;
    n->resident[object] = true;
    n->stamp[object] = n->clock;
}

/* Requests of equal length in lock-step: pass p of a batch is row p of each. */
static uint64_t naive_hits(const struct run_world *w, uint32_t slots, bool global,
                           bool lru, bool protect)
{
    struct naive_cache *n = mem_zalloc(1, sizeof *n);
    uint32_t batch = (uint32_t)w->workload.batch;
    uint64_t step = 0;
    uint64_t hits;

    for (uint32_t q = 0; q < w->requests; q += batch) {
        for (uint32_t at = 0; at < w->rows * w->layers; at++) {
            uint32_t l = at % w->layers;
            uint32_t first = l * w->experts;

            step++;
            for (uint32_t i = q; i < q + batch && i < w->requests; i++) {
                const uint16_t *id =
                    w->expert + ((size_t)i * w->rows * w->layers + at) * w->top_k;

                for (uint32_t k = 0; k < w->top_k; k++)
                    if (id[k] != WORLD_NONE)
                        n->active[first + id[k]] = step;
            }
            for (uint32_t x = first; x < first + w->experts; x++)
                if (n->active[x] == step)
                    naive_access(n, x, global ? 0 : first,
                                 global ? w->layers * w->experts : first + w->experts,
                                 slots, step, lru, protect);
        }
    }
    hits = n->hits;
    free(n);
    return hits;
}

static void test_hits_by_brute_force(void **state)
{
    uint64_t some = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct rng r = rng_stream(seed, "brute", 0);
        struct run_world *w =
            run_world_new(1 + (uint32_t)rng_below(&r, 4), 3 + (uint32_t)rng_below(&r, 20),
                          1 + (uint32_t)rng_below(&r, 3), 1 + (uint32_t)rng_below(&r, 6),
                          5 + (uint32_t)rng_below(&r, 30), NULL, 1000 + seed);
        bool lru = rng_below(&r, 2) == 0;
        bool global = rng_below(&r, 2) == 0;
        bool protect = rng_below(&r, 2) == 0;
        uint32_t slots = 1 + (uint32_t)rng_below(&r, w->experts);
        char *policy =
            mem_format("{cache: {name: %s, %s: %u, scope: %s, protect: %s}}",
                       lru ? "lru" : "fifo", global ? "total_slots" : "slots", slots,
                       global ? "global" : "layer", protect ? "strict" : "none");
        struct run_case c = {.policy = policy, .keep_passes = true, .unchecked = true};
        struct run_result result;

        w->workload.batch = 1 + (int64_t)rng_below(&r, 4);
        run_world_run(w, &c, &result);
        check_books(w, &result, true);
        assert_int_equal(result.total.counts.hits,
                         naive_hits(w, slots, global, lru, protect));
        some += result.total.counts.hits;
        assert_int_equal(result.total.rows, w->requests * w->rows);
        assert_int_equal(result.decode_rows, w->requests * w->rows);
        assert_int_equal(result.output_tokens, w->requests * w->rows);
        run_result_release(&result);
        free(policy);
        run_world_free(w);
    }
    assert_true(some > 1000);
}

/* ---- requests ---- */

/* A request's first token comes with its first pass, its last with its last pass. */
static void test_requests_are_booked(void **state)
{
    struct run_world *w = run_world_new(2, 6, 2, 5, 7, NULL, 77);
    struct run_case c = {.policy = "{cache: {name: lru, slots: 3}}", .keep_passes = true};
    struct run_result r;
    struct run_pass p;

    (void)state;
    w->workload.batch = 2;
    run_world_run(w, &c, &r);
    assert_int_equal(r.passes, 3 * 7);
    assert_int_equal(r.requests, 5);
    rewind(r.pass_spool);
    for (uint32_t i = 0; i < 21; i++) {
        uint32_t q = i / 7 * 2;

        assert_int_equal(fread(&p, sizeof p, 1, r.pass_spool), 1);
        for (uint32_t k = q; k < q + 2 && k < 5; k++) {
            if (i % 7 == 0)
                assert_int_equal(r.request[k].first_token, p.start + p.latency);
            if (i % 7 == 6)
                assert_int_equal(r.request[k].last_token, p.start + p.latency);
            assert_int_equal(r.request[k].output_tokens, 7);
            assert_int_equal(r.request[k].trace_request, k);
            assert_true(r.request[k].finished);
        }
        assert_int_equal(p.outputs, q == 4 ? 1 : 2);
    }
    run_result_release(&r);
    w->workload.max_passes = 8; /* the second batch is cut off in its first pass */
    run_world_run(w, &c, &r);
    assert_int_equal(r.passes, 8);
    for (uint32_t k = 0; k < 5; k++) {
        assert_int_equal(r.request[k].finished, k < 2);
        assert_int_equal(r.request[k].output_tokens, k < 2 ? 7 : k < 4 ? 1 : 0);
    }
    run_result_release(&r);
    run_world_free(w);
}

/* Of the third pass's experts 1 is there and the oldest, and 0 is to be loaded: 1 is held
 * first, so that 0 takes the place of 2. The longer routing was drawn; the numbers are
 * from a replay by hand. */
static void test_wants_do_not_evict_one_another(void **state)
{
    static const struct {
        uint32_t layers;
        const char *routing;
        uint64_t demanded, early;
    } cases[] = {
        {1, "12 34 01", 2, 3},
        {2, "43|42 31|10 52|50 50|43 21|41 53|31 34|05 14|14 41|24 25|14 34|05 12|31", 2,
         23},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct run_world *w = run_world_spelled(cases[i].layers, 6, 2, cases[i].routing);
        struct run_case c = {.policy = "{cache: {name: lru, slots: 4}, "
                                       "prefetch: {name: oracle, distance: 1}}",
                             .event_driven = true};
        struct run_result r;

        run_world_run(w, &c, &r);
        assert_int_equal(r.total.counts.loads, cases[i].demanded);
        assert_int_equal(r.total.counts.prefetches, cases[i].early);
        assert_int_equal(r.total.counts.prefetch_used, cases[i].early);
        run_result_release(&r);
        run_world_free(w);
    }
}

/* 0 was needed most so far, so it is loaded early once it is gone, in the place of 1,
 * which comes next: the one miss that a prefetch makes. */
static void test_prefetches_drive_out(void **state)
{
    struct run_world *w = run_world_spelled(1, 3, 1, "0 0 0 1 2 1");
    struct run_case c = {.policy = "{cache: {name: lru, slots: 2}, "
                                   "prefetch: {name: frequency, width: 1}}",
                         .event_driven = true};
    struct run_result r;

    (void)state;
    run_world_run(w, &c, &r);
    assert_int_equal(r.total.counts.loads, 4); /* 0, 1, 2, and 1 again */
    assert_int_equal(r.total.counts.displaced, 1);
    assert_int_equal(r.layer[0].counts.displaced, 1);
    run_result_release(&r);
    run_world_free(w);
}

/* Twice 2.5 thousand million rows are 5 thousand million, which 32 bits do not hold. */
static void test_sums_do_not_wrap(void **state)
{
    struct pass pass = {.rows = 0};
    struct run_pass books = {.rows = 2500000000, .outputs = 2400000000};
    struct run_result r = {.passes = 0};
    struct run_setup setup = {.seed = 0};
    struct err e = {.text = ""};

    (void)state;
    assert_int_equal(books_close(&setup, &pass, &books, &r, &e), 0);
    assert_int_equal(books_close(&setup, &pass, &books, &r, &e), 0);
    assert_int_equal(r.total.rows, UINT64_C(5000000000));
    assert_int_equal(r.total.outputs, UINT64_C(4800000000));
}

/* An expert as large as 64 of the layer before, where 6 more than these have room: it
 * waits until all 58 that make place were read and are written back. */
static void test_one_in_the_place_of_many(void **state)
{
    enum { ROWS = 8, TOP_K = 8, MANY = ROWS * TOP_K };
    uint16_t expert[ROWS * 2 * TOP_K];
    struct run_world *w;
    struct run_case c = {.policy = "{cache: {name: lru, bytes: 70 MB, scope: global, "
                                   "write_back: yes}}",
                         .event_driven = true};
    struct run_result r;

    (void)state;
    for (uint16_t row = 0; row < ROWS; row++)
        for (uint16_t k = 0; k < TOP_K; k++) {
            expert[(row * 2) * TOP_K + k] = (uint16_t)(row * TOP_K + k);
            expert[(row * 2 + 1) * TOP_K + k] = k == 0 ? 0 : WORLD_NONE;
        }
    w = run_world_new(2, MANY, TOP_K, ROWS, 1, expert, 0);
    w->workload.batch = ROWS;
    w->expert_bytes[1] = (uint64_t)MANY * WORLD_BYTES;
    run_world_run(w, &c, &r);
    assert_int_equal(r.total.counts.loads, MANY + 1);
    assert_int_equal(r.total.counts.out_bytes, (MANY + 64 - 70) * WORLD_BYTES);
    run_result_release(&r);
    run_world_free(w);
}

/* ---- an executor that cannot go on ---- */

struct tired {
    struct exec_forward forward; /* first: what the runner holds */
    uint64_t passes;             /* that it was asked after */
};

static int give_up(struct exec *x, struct err *e)
{
    struct tired *t = (struct tired *)(void *)x;

    if (++t->passes == 3)
        return err_set(e, "the third pass was too much");
    return exec_forward_check(x, e);
}

/* It is asked after every pass, and the run ends with the first that fails. */
static void test_an_executor_ends_the_run(void **state)
{
    struct run_world *w = run_world_spelled(1, 6, 2, "12 34 01 23 45");
    struct exec_ops ops = exec_forward_ops;
    struct tired t = {.forward = {&exec_count_ops, exec_count_new()}};
    struct err e = {.text = ""};
    struct run_case c = {.policy = "{cache: {name: lru, slots: 4}}",
                         .ops = &ops,
                         .exec = (struct exec *)(void *)&t,
                         .unchecked = true,
                         .failure = &e};
    struct run_result r;

    (void)state;
    ops.check = give_up;
    run_world_run(w, &c, &r);
    assert_string_equal(e.text, "the third pass was too much");
    assert_int_equal(t.passes, 3);
    exec_count_free(t.forward.inner);
    run_world_free(w);
}

/* Records of 64 passes are more than the library keeps before it writes. */
static void test_pass_records_that_find_no_room(void **state)
{
    struct run_world *w = run_world_new(2, 6, 2, 1, 64, NULL, 7);
    struct err e = {.text = ""};
    struct run_case c = {.policy = "{cache: {name: lru, slots: 4}}",
                         .keep_passes = true,
                         .unchecked = true,
                         .failure = &e};
    struct run_result r;
    rlim_t was = file_limit(0);

    (void)state;
    run_world_run(w, &c, &r);
    (void)file_limit(was);
    assert_string_equal(e.text, "the temporary file for pass records cannot be written: "
                                "File too large; set TMPDIR to a folder with room");
    run_world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_do_not_wrap),
        cmocka_unit_test(test_anything_goes),
        cmocka_unit_test(test_executors_agree),
        cmocka_unit_test(test_hits_by_brute_force),
        cmocka_unit_test(test_requests_are_booked),
        cmocka_unit_test(test_wants_do_not_evict_one_another),
        cmocka_unit_test(test_prefetches_drive_out),
        cmocka_unit_test(test_one_in_the_place_of_many),
        cmocka_unit_test(test_an_executor_ends_the_run),
        cmocka_unit_test(test_pass_records_that_find_no_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Which misses could have been foretold, and how much of their copies' time could have
 * been hidden: patterns with a closed form, times by hand, a naive count; swaps beside
 * them. A watch changes nothing. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "crew_lab.h"
#include "experiment_lab.h"

#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

#define PASSES 12
/* From a layer's first launch until the host knows its routing. */
#define KNOWN (WORLD_DENSE + WORLD_GATE + WORLD_TRIP)

/* Runs a policy with a predictor at some distances. */
struct watched {
    struct run_watch watch;
    struct run_policy_text predictor[RUN_WATCH_DISTANCES];
    struct run_result r;
};

static void run_watched(struct watched *x, const struct run_world *w, struct run_case c,
                        const char *predictor, const char *options,
                        const uint32_t *distance, uint32_t distances)
{
    *x = (struct watched){.watch = {.distances = distances}};
    for (uint32_t i = 0; i < distances; i++) {
        char *text = mem_format("{prefetch: {name: %s, distance: %u%s}}", predictor,
                                distance[i], options);

        x->predictor[i] = run_policy_read(text);
        x->watch.distance[i] = distance[i];
        x->watch.params[i] = x->predictor[i].policy->params[SLOT_PREFETCH];
        x->watch.type = policy_prefetch(x->predictor[i].policy);
        free(text);
    }
    c.watch = &x->watch;
    run_world_run(w, &c, &x->r);
}

static void release_watched(struct watched *x)
{
    for (uint32_t i = 0; i < x->watch.distances; i++)
        run_policy_release(&x->predictor[i]);
    run_result_release(&x->r);
}

static void assert_named(const struct run_watched *y, uint64_t misses, uint64_t named,
                         uint64_t guesses, uint64_t right, uint64_t absent)
{
    const uint64_t is[] = {y->misses, y->named, y->guesses, y->right, y->absent};
    const uint64_t want[] = {misses, named, guesses, right, absent};

    for (size_t i = 0; i < sizeof is / sizeof *is; i++)
        if (is[i] != want[i])
            fail_msg("distance %u, layer %u, count %zu: %llu, not %llu", y->distance,
                     y->layer, i, (unsigned long long)is[i], (unsigned long long)want[i]);
}

static void assert_times(const struct run_watched *y, sim_time named, sim_time fits,
                         sim_time hidden, sim_time all)
{
    assert_int_equal(y->named_time, named);
    assert_int_equal(y->fits_time, fits);
    assert_int_equal(y->hidden_time, hidden);
    assert_int_equal(y->all_hidden_time, all);
}

/* Expert 0 and then 1, expert 2 and then 3, and so on: with one slot a layer every access
 * misses, and of the passes' 24 steps each follows from the one before. */
static struct run_world *cycle_world(sim_time copy)
{
    struct run_world *w =
        run_world_spelled(2, 4, 1, "0|1 2|3 0|1 2|3 0|1 2|3 0|1 2|3 0|1 2|3 0|1 2|3");

    for (uint32_t l = 0; l < 2; l++)
        w->expert_bytes[l] = (uint64_t)(copy / WORLD_FLOW) * WORLD_BYTES;
    return w;
}

/* What comes one step later is known from the fifth step on, which has the first step's
 * expert again; the sixth is the first that is named. Of two steps later, the seventh. */
static void a_cycle_is_learned(void **state)
{
    static const uint32_t distance[] = {1, 2};
    struct run_world *w = cycle_world(5 * WORLD_FLOW);
    struct watched x;

    (void)state;
    run_watched(&x, w, (struct run_case){.policy = "{cache: {name: lru, slots: 1}}"},
                "markov", ", smoothing: 0", distance, 2);
    assert_int_equal(x.r.watched, 4);
    assert_named(&x.r.watch[0], PASSES, PASSES - 3, PASSES - 3, PASSES - 3, PASSES - 3);
    assert_named(&x.r.watch[1], PASSES, PASSES - 2, PASSES - 2, PASSES - 2, PASSES - 2);
    assert_named(&x.r.watch[2], PASSES, PASSES - 3, PASSES - 3, PASSES - 3, PASSES - 3);
    assert_named(&x.r.watch[3], PASSES, PASSES - 3, PASSES - 3, PASSES - 3, PASSES - 3);
    /* The first load of a layer finds its slot empty. */
    assert_int_equal(x.r.total.counts.loads, 2 * PASSES);
    assert_int_equal(x.r.total.counts.swaps, 2 * PASSES - 2);
    assert_int_equal(x.r.layer[1].counts.swaps, PASSES - 1);
    release_watched(&x);
    run_world_free(w);
}

/* The link is idle for 19 us between the steps of a pass (experts, dense block, gate, the
 * way to the host), for 27 between a pass's last and the next one's first. A copy of 50
 * us fills either at distance 1. At distance 2 the first one takes both, each later one
 * what came since. */
static void times_by_hand(void **state)
{
    static const uint32_t distance[] = {1, 2};
    const sim_time c = 5 * WORLD_FLOW, inside = WORLD_GROUP + KNOWN,
                   between = WORLD_GROUP + WORLD_HEAD + WORLD_TRIP + KNOWN;
    struct run_world *w = cycle_world(c);
    struct watched x;

    (void)state;
    assert_int_equal(inside, 19 * WORLD_FLOOR);
    assert_int_equal(between, 27 * WORLD_FLOOR);
    run_watched(&x, w, (struct run_case){.policy = "{cache: {name: lru, slots: 1}}"},
                "markov", ", smoothing: 0", distance, 2);
    assert_times(&x.r.watch[0], 9 * c, 9 * c, 9 * between, 11 * between);
    assert_times(&x.r.watch[1], 10 * c, 10 * c, 10 * inside, 12 * inside);
    /* Layer 0's in the pass before would have taken both first: 11 misses have a step
     * that is two before them. */
    assert_times(&x.r.watch[2], 9 * c, 9 * c, 8 * between + inside + between,
                 10 * between + inside + between);
    assert_times(&x.r.watch[3], 9 * c, 9 * c, 9 * inside, 11 * inside);
    release_watched(&x);
    run_world_free(w);
}

/* Nothing to do but 19 us between the routing of layer 0, which hits, and that of layer
 * 1: a copy of 50 us has too little time, one of 10 us enough. */
static void too_little_time(void **state)
{
    static const uint32_t distance[] = {1};
    const sim_time copies[] = {5 * WORLD_FLOW, WORLD_FLOW};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct run_world *w =
            run_world_spelled(2, 4, 1, "0|1 0|3 0|1 0|3 0|1 0|3 0|1 0|3 0|1 0|3");
        sim_time c = copies[i], most = c < 19 * WORLD_FLOOR ? c : 19 * WORLD_FLOOR;
        struct watched x;

        w->expert_bytes[1] = (uint64_t)(c / WORLD_FLOW) * WORLD_BYTES;
        run_watched(&x, w, (struct run_case){.policy = "{cache: {name: lru, slots: 1}}"},
                    "frequency", ", candidates: 2", distance, 1);
        /* In the second pass only expert 1 was ever used, from the third on both, of
         * which the slot has the wrong one. */
        assert_named(&x.r.watch[1], 10, 8, 1 + 8 * 2, 8, 8);
        assert_int_equal(x.r.watch[1].named_time, 8 * c);
        assert_int_equal(x.r.watch[1].fits_time, 8 * most);
        assert_int_equal(x.r.watch[1].hidden_time, 8 * most);
        release_watched(&x);
        run_world_free(w);
    }
}

/* One slot and two experts a step: the second one goes through staging every time, and is
 * the one of the pass before in every other pass. */
static void half_are_those_of_the_pass_before(void **state)
{
    static const uint32_t distance[] = {1};
    struct run_world *w = run_world_spelled(1, 3, 2, "01 01 02 02 01 01 02 02");
    struct watched x;

    (void)state;
    run_watched(&x, w,
                (struct run_case){.policy = "{cache: {name: lru, slots: 1, staging: 2}}"},
                "previous-token", "", distance, 1);
    assert_int_equal(x.r.total.counts.bypasses, 8);
    assert_named(x.r.watch, 9, 4, 7 * 2, 4 * 2 + 3, 7);
    assert_int_equal(x.r.total.counts.swaps, 0);
    release_watched(&x);
    run_world_free(w);
}

/* ---- a naive count ---- */

enum { LAYERS = 3, EXPERTS = 12, SLOTS = 4, MOST = 2000 };

struct naive {
    const struct run_world *w;
    uint32_t steps;
    bool active[MOST][EXPERTS];
    uint64_t last[LAYERS][EXPERTS]; /* 0: not resident */
    uint64_t loads, swaps;
};

static void read_steps(struct naive *n)
{
    const struct run_world *w = n->w;

    n->steps = w->requests * w->rows * LAYERS;
    assert_true(n->steps <= MOST);
    for (uint32_t s = 0; s < n->steps; s++)
        for (uint32_t k = 0; k < w->top_k; k++)
            if (w->expert[s * w->top_k + k] != WORLD_NONE)
                n->active[s][w->expert[s * w->top_k + k]] = true;
}

/* What the predictor names, `ahead` of step s. */
static void name_naively(const struct naive *n, bool frequency, uint32_t s,
                         uint32_t ahead, bool *named)
{
    uint32_t layer = (s + ahead) % LAYERS, limit = 0, count[EXPERTS] = {0};

    for (uint32_t x = 0; x < EXPERTS; x++)
        limit += n->active[s][x];
    for (uint32_t t = layer; t <= s; t += LAYERS)
        for (uint32_t x = 0; x < EXPERTS; x++)
            if (frequency ? t / LAYERS < s / LAYERS || t < s : t + LAYERS > s)
                count[x] += n->active[t][x];
    for (; limit > 0; limit--) {
        uint32_t best = 0;

        for (uint32_t x = 1; x < EXPERTS; x++)
            best = count[x] > count[best] ? x : best;
        if (count[best] == 0)
            return;
        named[best] = true;
        count[best] = 0;
    }
}

/* LRU of each layer, which keeps the experts of the step. */
static bool load_naively(struct naive *n, uint32_t s, uint32_t x)
{
    uint64_t *last = n->last[s % LAYERS], now = (uint64_t)s * EXPERTS + x + 1;
    uint32_t resident = 0, victim = EXPERTS;
    bool hit = last[x] > 0;

    for (uint32_t y = 0; y < EXPERTS && !hit; y++) {
        resident += last[y] > 0;
        if (last[y] > 0 && !n->active[s][y] &&
            (victim == EXPERTS || last[y] < last[victim]))
            victim = y;
    }
    n->loads += !hit;
    if (!hit && resident == SLOTS) {
        n->swaps++;
        last[victim] = 0;
    }
    last[x] = now;
    return !hit;
}

static void count_naively(struct naive *n, bool frequency, const uint32_t *distance,
                          uint32_t distances, struct run_watched *out)
{
    for (uint32_t s = 0; s < n->steps; s++) {
        bool named[RUN_WATCH_DISTANCES][EXPERTS] = {{false}};

        for (uint32_t k = 0; k < distances; k++) {
            struct run_watched *y = &out[k * LAYERS + s % LAYERS];

            if (s >= distance[k])
                name_naively(n, frequency, s - distance[k], distance[k], named[k]);
            for (uint32_t x = 0; x < EXPERTS; x++) {
                y->guesses += named[k][x];
                y->right += named[k][x] && n->active[s][x];
            }
        }
        for (uint32_t x = 0; x < EXPERTS; x++) {
            bool missed = n->active[s][x] && load_naively(n, s, x);

            for (uint32_t k = 0; k < distances; k++) {
                out[k * LAYERS + s % LAYERS].misses += missed;
                out[k * LAYERS + s % LAYERS].named += missed && named[k][x];
            }
        }
    }
}

static void a_naive_count(void **state)
{
    static const uint32_t distance[] = {1, 2, 3, 7};
    static const char *const names[] = {"previous-token", "frequency"};

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct naive *n = mem_zalloc(1, sizeof *n);
        struct run_watched want[4 * LAYERS] = {{0}};
        struct run_world *w =
            run_world_new(LAYERS, EXPERTS, 3, 1, 60, NULL, 2385 + (uint64_t)i);
        struct run_case c = {.policy = "{cache: {name: lru, slots: 4}}", .count = i >= 2};
        struct watched x;

        n->w = w;
        read_steps(n);
        count_naively(n, i % 2 == 1, distance, 4, want);
        run_watched(&x, w, c, names[i % 2], "", distance, 4);
        for (uint32_t j = 0; j < 4 * LAYERS; j++)
            assert_named(&x.r.watch[j], want[j].misses, want[j].named, want[j].guesses,
                         want[j].right, x.r.watch[j].absent);
        assert_int_equal(x.r.total.counts.loads, n->loads);
        assert_int_equal(x.r.total.counts.swaps, n->swaps);
        assert_true(n->swaps > 0 && n->swaps < n->loads);
        release_watched(&x);
        run_world_free(w);
        free(n);
    }
}

/* ---- whole experiments ---- */

static const char plain[] =
    "workload: {batch: 3}\n"
    "policies:\n"
    "  - {name: lru, cache: {name: lru, slots: 4}}\n"
    "  - {name: early, cache: {name: lru, slots: 5}, prefetch: {name: markov, width: "
    "1}}\n"
    "  - {name: pass by, cache: {name: belady-bypass, slots: 3}}\n"
    "  - {name: hosted, cache: {name: lfu-aging, slots: 4}, offload: fiddler}\n";

static sim_time sum_hidden(const struct run_result *r, uint32_t k, bool all)
{
    sim_time sum = 0;

    for (uint32_t l = 0; l < r->layers; l++) {
        const struct run_watched *y = &r->watch[k * r->layers + l];

        assert_true(y->hidden_time <= y->fits_time && y->fits_time <= y->named_time);
        sum += all ? y->all_hidden_time : y->hidden_time;
    }
    return sum;
}

/* The same operations at the same times; shares and bounds that can be. */
static void it_changes_nothing(void **state)
{
    static const char watch[] = "watch: {predictor: markov, distances: [1, 2, 5]}\n";
    const struct lab *lab = *state;
    char *text = mem_format("%s%s", plain, watch);
    struct result a = lab_result(lab, plain, 2), b = lab_result(lab, text, 2);

    assert_string_equal(a.watch, "");
    assert_string_equal(b.watch, "markov");
    for (uint32_t i = 0; i < a.policies; i++) {
        const struct run_result *p = &a.policy[i].run, *q = &b.policy[i].run;

        assert_int_equal(p->digest, q->digest);
        assert_int_equal(p->elapsed, q->elapsed);
        assert_int_equal(p->watched, 0);
        assert_int_equal(q->watched, 3 * 3);
        assert_memory_equal(&p->total, &q->total, sizeof p->total);
        assert_memory_equal(p->layer, q->layer, 3 * sizeof *p->layer);
        assert_memory_equal(&a.policy[i].bounds, &b.policy[i].bounds,
                            sizeof a.policy[i].bounds);
        for (uint32_t k = 0; k < 3; k++) {
            sim_time hidden = sum_hidden(q, k, false), all = sum_hidden(q, k, true);

            assert_true(hidden <= all);
            assert_true(all <= q->elapsed + q->tail - q->copy_busy);
        }
    }
    assert_true(sum_hidden(&b.policy[0].run, 0, false) > 0);
    free(text);
    result_release(&a);
    result_release(&b);
}

/* Without times the shares are the same, and no times are told. */
static void shares_without_times(void **state)
{
    static const char more[] =
        "workload: {batch: 3}\n"
        "policies: [{name: lru, cache: {name: lru, slots: 4}}]\n"
        "watch: {predictor: {name: markov, smoothing: 2}, width: 3, distances: [2]}\n";
    const struct lab *lab = *state;
    char *text = mem_format("%sengine: count\n", more);
    struct result a = lab_result(lab, more, 1), b = lab_result(lab, text, 1);

    assert_string_equal(a.watch, "markov width=3");
    for (uint32_t i = 0; i < 3; i++) {
        const struct run_watched *y = &a.policy->run.watch[i];

        assert_named(&b.policy->run.watch[i], y->misses, y->named, y->guesses, y->right,
                     y->absent);
        assert_times(&b.policy->run.watch[i], 0, 0, 0, 0);
        assert_true(y->named > 0 && y->guesses % 3 == 0);
    }
    free(text);
    result_release(&a);
    result_release(&b);
}

static void what_it_refuses(void **state)
{
    static const struct {
        const char *watch, *sentence;
    } cases[] = {
        {"{predictor: oracle}", "oracle is told more than the routing so far"},
        {"{predictor: none}", "none names no experts"},
        {"{predictor: lru}", "there is no 'lru'; choose frequency"},
        {"{predictor: {smoothing: 2}}", "predictor: has no name"},
        {"{predictor: {name: markov, distance: 2}}", "say watch: {distances: ...}"},
        {"{predictor: {name: markov, candidates: 2}}", "say watch: {width: ...}"},
        {"{predictor: {name: markov, smoothing: -1}}", "'smoothing' is -1"},
        {"{predictor: markov, distances: [2, 2]}", "2 stands behind 2"},
        {"{predictor: markov, distances: [65]}", "'distances' is 65"},
        {"{predictor: markov, distances: 2}", "no list of steps ahead"},
        {"{predictor: markov, distances: [1, 2, 3, 4, 5, 6, 7, 8, 9]}", "more than 8"},
        {"{distances: [1]}", "'predictor' is missing"},
    };
    const struct lab *lab = *state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = mem_format("policies: [{cache: {name: lru, slots: 4}}]\nwatch: %s\n",
                                cases[i].watch);

        lab_refuse(lab, text, cases[i].sentence);
        free(text);
    }
}

/* ---- several GPUs ---- */

/* Eight experts in turn on four GPUs of two, with a slot each: every access is a miss and
 * every step follows from the one before, as from the tenth on is known. */
static void four_gpus(void **state)
{
    static const char watch[] =
        "bounds: no\nwatch: {predictor: {name: markov, smoothing: 0}, distances: [1, 2]}";
    struct crew_case c = crew_two;
    struct result a, b, counted;

    (void)state;
    c.gpus = 4;
    c.layers = c.top_k = c.candidates = c.requests = 1;
    c.experts = 8;
    c.rows = 24;
    c.workload = "{mode: static, batch: 1}";
    c.policy_more = ", cache: {name: lru, slots: 1}";
    a = crew_case_result(&c, "auto");
    c.more = watch;
    b = crew_case_result(&c, "auto");
    counted = crew_case_result(&c, "count");
    assert_int_equal(a.policy->run.digest, b.policy->run.digest);
    assert_int_equal(a.policy->run.elapsed, b.policy->run.elapsed);
    assert_memory_equal(a.policy->run.layer, b.policy->run.layer,
                        sizeof *a.policy->run.layer);
    assert_int_equal(b.policy->run.total.counts.swaps, 24 - 4);
    assert_int_equal(b.policy->run.watched, 2);
    assert_named(&b.policy->run.watch[0], 24, 15, 15, 15, 15);
    /* The odd ones are there still when they are named, and go before their turn. */
    assert_named(&b.policy->run.watch[1], 24, 14, 14, 14, 7);
    assert_named(&counted.policy->run.watch[1], 24, 14, 14, 14, 7);
    /* A GPU's link is idle for the seven passes that others copy in. */
    for (int i = 0; i < 2; i++)
        assert_int_equal(b.policy->run.watch[i].hidden_time,
                         b.policy->run.watch[i].fits_time);
    result_release(&a);
    result_release(&b);
    result_release(&counted);
}

/* One of several does what one alone does. */
static void one_of_several(void **state)
{
    static const char watch[] = "watch: {predictor: markov, distances: [1, 4]}\n";
    const struct lab *lab = *state;
    char *alone = mem_format("policies: [{cache: {name: lru, slots: 4}}]\n%s", watch);
    char *several = mem_format("parallel: {gpus: 1}\n%s", alone);
    struct result a = lab_result(lab, alone, 1), b = lab_result(lab, several, 1);

    assert_int_equal(a.policy->run.watched, 6);
    assert_memory_equal(a.policy->run.watch, b.policy->run.watch,
                        6 * sizeof *a.policy->run.watch);
    assert_true(a.policy->run.watch[0].named > 0);
    free(alone);
    free(several);
    result_release(&a);
    result_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cycle_is_learned),
        cmocka_unit_test(times_by_hand),
        cmocka_unit_test(too_little_time),
        cmocka_unit_test(half_are_those_of_the_pass_before),
        cmocka_unit_test(a_naive_count),
        cmocka_unit_test_setup_teardown(it_changes_nothing, lab_setup, lab_teardown),
        cmocka_unit_test_setup_teardown(shares_without_times, lab_setup, lab_teardown),
        cmocka_unit_test_setup_teardown(what_it_refuses, lab_setup, lab_teardown),
        cmocka_unit_test(four_gpus),
        cmocka_unit_test_setup_teardown(one_of_several, lab_setup, lab_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

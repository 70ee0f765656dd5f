/* Curves over capacity: every point is what a run at that capacity counts, whatever the
 * protection, order, scope and batch; distances are what their definition says. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "property_case.h"

#include "sim/base/mem.h"
#include "sim/experiment/curve_run.h"
#include "sim/experiment/distances.h"
#include "sim/experiment/recency.h"
#include "sim/experiment/hit_count.h"

#include <stdlib.h>
#include <string.h>

static const struct experiment_folders folders = {"models/arch", "models/machine",
                                                  "sim/policy/presets"};
static const char *const protections[] = {"strict", "prefer", "none"};

/* ---- ranks ---- */

/* Objects touched since, itself included: by looking back. */
static uint32_t rank_by_definition(const uint32_t *touched, uint32_t count,
                                   uint32_t object)
{
    bool *seen = mem_zalloc(6000, sizeof *seen);
    uint32_t rank = 0, found = 0;

    for (uint32_t i = count; i-- > 0 && found == 0;) {
        rank += !seen[touched[i]];
        seen[touched[i]] = true;
        found = touched[i] == object ? rank : 0;
    }
    free(seen);
    return found;
}

static void test_ranks(void **state)
{
    static const uint32_t sizes[] = {1, 2, 32, 128, 129, 700, 5000};
    enum { TOUCHES = 24000 };
    uint32_t *touched = mem_alloc(TOUCHES, sizeof *touched);

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct rng r = rng_stream(i, "ranks", 0);
        struct recency *recency = recency_new(sizes[i]);

        for (uint32_t t = 0; t < TOUCHES; t++) {
            double u = rng_unit(&r);
            uint32_t object = (uint32_t)(u * u * sizes[i]);

            if (t % 97 == 0 || t < 50)
                assert_int_equal(recency_rank(recency, object),
                                 rank_by_definition(touched, t, object));
            recency_touch(recency, object);
            touched[t] = object;
        }
        recency_free(recency);
    }
    free(touched);
}

/* ---- distances against caches ---- */

struct steps {
    uint32_t layers, experts;
    enum cache_order order;
    struct future *future;
    uint32_t *most_distinct;
};

/* Up to half of the experts in most steps, any number in some; in every tenth case many
 * experts, few of them in a step. */
static struct steps draw_steps(struct rng *r, bool large)
{
    uint32_t layers = 1 + property_draw(r, 3), passes = 1 + property_draw(r, 60);
    uint32_t experts = large ? 50 + property_draw(r, 40) : 1 + property_draw(r, 12);
    struct steps s = {.layers = layers,
                      .experts = experts,
                      .order = (enum cache_order)property_draw(r, 2)};
    uint16_t *active = mem_alloc(s.experts, sizeof *active);
    struct err e = {.text = ""};
    struct future_writer *w = future_writer_new(s.layers, s.experts, s.order, &e);

    s.most_distinct = mem_zalloc(s.layers, sizeof *s.most_distinct);
    assert_non_null(w);
    for (uint32_t step = 0; step < passes * s.layers; step++) {
        uint32_t most = large                      ? 9
                        : property_draw(r, 6) == 0 ? s.experts
                                                   : (s.experts + 1) / 2;
        uint32_t wanted = property_draw(r, most + 1), count = 0;

        for (uint32_t x = 0; x < s.experts && count < wanted; x++)
            if (property_draw(r, s.experts - x) < wanted - count)
                active[count++] = (uint16_t)x;
        for (uint32_t i = count; s.order == CACHE_ORDER_RECORDED && i > 1; i--) {
            uint32_t k = property_draw(r, i);
            uint16_t swapped = active[k];

            active[k] = active[i - 1];
            active[i - 1] = swapped;
        }
        if (count > s.most_distinct[step % s.layers])
            s.most_distinct[step % s.layers] = count;
        assert_int_equal(future_writer_step(w, active, count, &e), 0);
    }
    s.future = future_finish(w, &e);
    assert_non_null(s.future);
    free(active);
    return s;
}

/* Hits by layer of a cache with so many slots; owned. */
static struct hit_count replay_of(const struct steps *s, const char *name, bool global,
                                  int protect, uint32_t slots)
{
    uint64_t bytes[] = {1, 1, 1};
    struct cache_config config = {
        .algorithm = (const struct cache_algorithm *)registry_find(SLOT_CACHE, name),
        .params = {.scope = global ? CACHE_GLOBAL : CACHE_PER_LAYER,
                   .slots = slots,
                   .protect = protect,
                   .staging = 1},
        .layers = s->layers,
        .experts = s->experts,
        .expert_bytes = bytes,
        .future = true};
    struct err e = {.text = ""};
    struct cache *cache = cache_new(&config, &e);
    struct hit_count count;

    assert_non_null(cache);
    hit_count_init(&count, cache, s->layers, false);
    assert_int_equal(future_walk(s->future, hit_count_step, &count, &e), 0);
    cache_free(cache);
    return count;
}

static void check_distances(uint32_t number, const struct steps *s, enum distances_of of,
                            bool global, int protect)
{
    static const char *const names[] = {"lru", "belady", "belady-bypass"};
    const struct distances_shape shape = {.layers = s->layers,
                                          .experts = s->experts,
                                          .global = global,
                                          .protect = protect,
                                          .most_distinct = s->most_distinct};
    uint32_t objects = global ? s->layers * s->experts : s->experts;
    struct distances *d = distances_new(of, &shape);
    uint64_t *hits = mem_zalloc(s->layers, sizeof *hits);
    struct err e = {.text = ""};

    assert_int_equal(future_walk(s->future, distances_step, d, &e), 0);
    for (uint32_t slots = 1; slots <= objects; slots++) {
        struct hit_count count = replay_of(s, names[of], global, protect, slots);

        for (uint32_t l = 0; l < s->layers; l++) {
            hits[l] += distances_counts(d)[(size_t)l * (objects + 1) + slots];
            if (hits[l] != count.layer[l].hits)
                fail_msg("case %u, %s %s %s: %u slots have %llu hits in layer %u, "
                         "replayed %llu",
                         number, names[of], global ? "global" : "layer",
                         protections[protect], slots, (unsigned long long)hits[l], l,
                         (unsigned long long)count.layer[l].hits);
        }
        hit_count_release(&count);
    }
    free(hits);
    distances_free(d);
}

static void test_distances(void **state)
{
    (void)state;
    for (uint32_t number = 0; number < 120; number++) {
        struct rng r = rng_stream(number, "distances", 0);
        struct steps s = draw_steps(&r, number % 10 == 9);

        for (int protect = 0; protect < 3; protect++)
            for (int of = 0; of < (protect == CACHE_PROTECT_PREFER ? 2 : 3); of++)
                for (int global = 0; global < 2; global++)
                    check_distances(number, &s, (enum distances_of)of, global != 0,
                                    protect);
        future_free(s.future);
        free(s.most_distinct);
    }
}

/* ---- curves against runs ---- */

static struct cfg *parse(char *text)
{
    struct err e = {.text = ""};
    struct cfg *c = cfg_parse("curve", text, strlen(text), &e);

    if (c == NULL)
        fail_msg("%s", e.text);
    free(text);
    return c;
}

struct study {
    char *head; /* of the configuration: all but policies */
    const char *options;
    bool global;
};

static const char *const caches[] = {"lru", "belady", "s3fifo", "lfu-aging, decay: 0.5",
                                     "random"};
enum { CACHES = sizeof caches / sizeof *caches };

static void curve_of(const struct study *s, unsigned threads, struct curve *c)
{
    const struct curve_request request = {.threads = threads};
    struct err e = {.text = ""};
    char *text = mem_format("%spolicies:\n", s->head);
    struct cfg *config;

    for (int i = 0; i < CACHES; i++) {
        char *longer = mem_format("%s- {name: p%d, cache: {name: %s, %s}}\n", text, i,
                                  caches[i], s->options);

        free(text);
        text = longer;
    }
    config = parse(text);
    if (curve_run(config, &folders, &request, c, &e) != 0)
        fail_msg("%s", e.text);
    cfg_free(config);
}

/* All capacities in one experiment: policy (cache, slots) is number
 * cache * largest + slots - 1. */
static struct result runs_of(const struct study *s, uint32_t largest)
{
    const struct experiment_hooks hooks = {.timeline_path = NULL};
    struct err e = {.text = ""};
    char *text = mem_format("%spolicies:\n", s->head);
    struct cfg *config;
    struct result r;

    for (uint32_t i = 0; i < CACHES * largest; i++) {
        char *longer = mem_format("%s- {name: p%u, cache: {name: %s, %s, %s: %u}}\n",
                                  text, i, caches[i / largest], s->options,
                                  s->global ? "total_slots" : "slots", i % largest + 1);

        free(text);
        text = longer;
    }
    config = parse(text);
    if (experiment_run(config, &folders, 1, &hooks, &r, &e) != 0)
        fail_msg("%s\n%s", e.text, s->head);
    cfg_free(config);
    return r;
}

static void check_curve(const struct study *s, uint32_t number)
{
    struct curve c;
    struct result r;

    curve_of(s, number % 2 + 1, &c);
    r = runs_of(s, c.largest);
    for (uint32_t i = 0; i < CACHES; i++) {
        const struct curve_policy *p = &c.policy[i];

        for (uint32_t k = 0; k < p->points; k++) {
            const struct run_result *run = &r.policy[i * c.largest + p->slots[k] - 1].run;
            struct curve_point all = curve_point(&c, p, k, CURVE_ALL);

            for (uint32_t l = 0; l < c.layers; l++) {
                struct curve_point at = curve_point(&c, p, k, l);

                if (at.hits != run->layer[l].counts.hits ||
                    at.accesses != run->layer[l].counts.accesses)
                    fail_msg("case %u: %s at %u slots: %llu hits in layer %u, run %llu",
                             number, caches[i], p->slots[k], (unsigned long long)at.hits,
                             l, (unsigned long long)run->layer[l].counts.hits);
            }
            assert_int_equal(all.hits, run->total.counts.hits);
            assert_int_equal(all.load_bytes, run->total.counts.demand_bytes);
        }
    }
    result_release(&r);
    curve_release(&c);
}

static void test_runs(void **state)
{
    static const char *const workloads[] = {
        "{batch: 1, prefill: skip}", "{batch: 3, prefill: recorded}",
        "{mode: continuous, max_sequences: 3, token_budget: 5}"};
    static const char *const orders[] = {"id", "recorded"};

    (void)state;
    for (uint32_t number = 0; number < 12; number++) {
        struct property_case *p = property_case_new(number);
        bool global = number / 3 % 2 != 0;
        char *options =
            mem_format("scope: %s, protect: %s, order: %s", global ? "global" : "layer",
                       protections[number % 3], orders[number / 2 % 2]);
        struct study s = {
            .head = mem_format("trace: %s/trace.h5\nmodel: %s/model.yaml\nmachine: h200\n"
                               "engine: count\nbounds: no\npasses: no\nworkload: %s\n",
                               p->folder, p->folder, workloads[number / 3 % 3]),
            .options = options,
            .global = global};

        check_curve(&s, number);
        free(s.head);
        free(options);
        property_case_remove(p);
    }
}

/* ---- closed forms ---- */

/* Experts 0, 1, ... in turn: LRU evicts each just before its use, so that it has no hit
 * below all of them and all but the first uses there. Belady keeps C - 1 of C slots from
 * one miss to the next: of every E - 1 accesses behind the first turn C - 1 are hits. */
static void test_cyclic(void **state)
{
    enum { EXPERTS = 9, TURNS = 40, ACCESSES = EXPERTS + TURNS * (EXPERTS - 1) };
    const uint32_t one = 1;
    const struct distances_shape shape = {
        .layers = 1, .experts = EXPERTS, .most_distinct = &one};
    struct distances *lru = distances_new(DISTANCES_LRU, &shape);
    struct distances *belady = distances_new(DISTANCES_BELADY, &shape);
    struct err e = {.text = ""};
    struct future_writer *w = future_writer_new(1, EXPERTS, CACHE_ORDER_ID, &e);
    struct future *f;
    uint64_t hits = 0;

    (void)state;
    assert_non_null(w);
    for (uint16_t i = 0; i < ACCESSES; i++) {
        uint16_t expert = i % EXPERTS;

        assert_int_equal(future_writer_step(w, &expert, 1, &e), 0);
    }
    f = future_finish(w, &e);
    assert_non_null(f);
    assert_int_equal(future_walk(f, distances_step, lru, &e), 0);
    assert_int_equal(future_walk(f, distances_step, belady, &e), 0);
    for (uint32_t d = 0; d <= EXPERTS; d++)
        assert_int_equal(distances_counts(lru)[d], d == 0         ? EXPERTS
                                                   : d == EXPERTS ? ACCESSES - EXPERTS
                                                                  : 0);
    for (uint32_t slots = 1; slots <= EXPERTS; slots++) {
        hits += distances_counts(belady)[slots];
        assert_int_equal(hits, TURNS * (slots - 1));
    }
    distances_free(lru);
    distances_free(belady);
    future_free(f);
}

/* ---- what a curve says ---- */

static struct curve hand_curve(uint64_t *hits, uint32_t *slots, struct curve_layer *layer,
                               struct curve_policy *policy)
{
    *layer =
        (struct curve_layer){.expert_bytes = 10, .accesses = 100, .most_distinct = 3};
    *policy =
        (struct curve_policy){.points = 5, .slots = slots, .hits = hits, .bound = true};
    return (struct curve){.layers = 1,
                          .experts = 5,
                          .top_k = 2,
                          .passes = 50,
                          .largest = 5,
                          .layer = layer,
                          .policies = 1,
                          .policy = policy};
}

static void test_sayings(void **state)
{
    /* Above the chord from (1, 20) to (5, 90): 0, 3/70, 51/70 - 1/2, 60/70 - 3/4, 0. */
    uint64_t hits[] = {20, 40, 71, 80, 90}, flat[] = {20, 20, 20, 20, 20},
             chord[] = {20, 30, 40, 50, 60};
    uint32_t slots[] = {1, 2, 3, 4, 5};
    struct curve_layer layer;
    struct curve_policy policy;
    struct curve c = hand_curve(hits, slots, &layer, &policy);
    struct curve_working_set w = curve_batch(&c);
    struct curve_point point = curve_point(&c, &policy, 3, CURVE_ALL);

    (void)state;
    assert_int_equal(curve_knee(&c, &policy), 3);
    assert_int_equal(curve_half(&c, &policy), 3);
    assert_int_equal(curve_slots_bytes(&c, 3), 30);
    assert_int_equal(curve_token_bytes(&c), 20);
    assert_true(w.mean == 2.0 && w.most == 3.0 && w.mean_bytes == 20.0 &&
                w.most_bytes == 30.0);
    assert_int_equal(point.load_bytes, 200);
    assert_true(point.hit_rate == 0.8);
    assert_int_equal(curve_find(&policy, 4), 3);
    assert_int_equal(curve_buckets(&c), 1);
    layer.reuse[3] = 7;
    assert_int_equal(curve_buckets(&c), 4);
    assert_int_equal(curve_bucket_from(3), 3);
    assert_int_equal(curve_bucket_to(3), 4);
    assert_int_equal(curve_bucket_from(2), 2);
    assert_int_equal(curve_bucket_from(1), 1);
    assert_int_equal(curve_bucket_to(0), 0);
    policy.hits = flat;
    assert_int_equal(curve_knee(&c, &policy), 0);
    assert_int_equal(curve_half(&c, &policy), 0);
    policy.hits = chord;
    assert_int_equal(curve_knee(&c, &policy), 0);
    assert_int_equal(curve_half(&c, &policy), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranks),   cmocka_unit_test(test_distances),
        cmocka_unit_test(test_runs),    cmocka_unit_test(test_cyclic),
        cmocka_unit_test(test_sayings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Where missing experts run: how a step is divided, against brute force and vectors of an
 * independent implementation (MOESIM_ORACLE). What the runner makes of it:
 * test_hosted.c, test_near.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "oracle_file.h"
#include "run_world.h"

#include "sim/policy/offload_plan.h"
#include "sim/policy/slots.h"
#include "sim/base/rng.h"

#include <math.h>
#include <string.h>

enum { MOST = 512 };

/* ---- any costs, all subsets ---- */

struct drawn {
    sim_time base, fixed, token; /* of an expert in place: base + token * rows */
    sim_time gpu;                /* of an expert on the GPU */
};

static sim_time drawn_gpu(const void *context, const struct cost_experts *group)
{
    return (sim_time)group->distinct * ((const struct drawn *)context)->gpu;
}

static sim_time drawn_one(const void *context, uint32_t rows)
{
    const struct drawn *d = context;

    return d->base + d->token * rows;
}

static sim_time drawn_in_place(const void *context, const struct cost_experts *group,
                               sim_time sum)
{
    (void)group;
    return ((const struct drawn *)context)->fixed + sum;
}

/* The end of a division that any subset makes, in the order of the ids. */
static sim_time end_of(const struct offload_costs *c, const uint16_t *expert,
                       uint32_t count, uint32_t subset)
{
    sim_time copies = c->before, run = c->busy, all = 0, sum = 0;
    uint32_t left = 0;

    for (uint32_t i = 0; i < count; i++) {
        struct cost_experts one = {.distinct = 1};

        if ((subset >> i & 1) == 0) {
            sum += c->one(c->context, c->tokens[expert[i]]);
            left++;
            continue;
        }
        copies += c->copy;
        run = (run > copies ? run : copies) + c->gpu(c->context, &one);
        all += c->gpu(c->context, &one);
    }
    if (!c->each && subset != 0)
        run = (c->busy > copies ? c->busy : copies) + all;
    if (left > 0) {
        const struct cost_experts none = {.distinct = 0};
        sim_time place = c->in_place(c->context, &none, sum);

        run = run > place ? run : place;
    }
    return run;
}

/* No subset ends sooner than the best number of the most used. */
static void test_no_subset_is_better(void **state)
{
    static const struct machine_tiles tiles = {.rows = {1}, .count = 1};
    uint32_t inner = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 2000; seed++) {
        struct rng r = rng_stream(seed, "division", 0);
        uint32_t count = 1 + (uint32_t)rng_below(&r, 9), tokens[16], copied;
        uint16_t expert[16], order[16];
        struct drawn d = {(sim_time)rng_below(&r, 50), (sim_time)rng_below(&r, 100),
                          1 + (sim_time)rng_below(&r, 20), (sim_time)rng_below(&r, 30)};
        struct offload_costs c = {.copy = 30 + (sim_time)rng_below(&r, 100),
                                  .before = (sim_time)rng_below(&r, 10),
                                  .busy = (sim_time)rng_below(&r, 200),
                                  .each = rng_below(&r, 2) == 0,
                                  .context = &d,
                                  .gpu = drawn_gpu,
                                  .one = drawn_one,
                                  .in_place = drawn_in_place,
                                  .tokens = tokens,
                                  .tiles = &tiles};
        struct offload_times t;
        sim_time best = SIM_TIME_MAX;

        for (uint32_t i = 0; i < count; i++) {
            expert[i] = (uint16_t)i;
            tokens[i] = 1 + (uint32_t)rng_below(&r, 12);
        }
        for (uint32_t subset = 0; subset < 1u << count; subset++) {
            sim_time end = end_of(&c, expert, count, subset);

            best = end < best ? end : best;
        }
        offload_sort(tokens, expert, count, order);
        copied = offload_best(&c, order, count, count);
        t = offload_times_of(&c, order, count, copied);
        assert_int_equal(t.gpu > t.in_place ? t.gpu : t.in_place, best);
        inner += copied > 0 && copied < count;
        for (uint32_t few = 0; few < copied; few++) { /* of equals the fewest */
            t = offload_times_of(&c, order, count, few);
            assert_true((t.gpu > t.in_place ? t.gpu : t.in_place) > best);
        }
        assert_true(offload_best(&c, order, count, 1) <= 1);
        assert_int_equal(offload_best(&c, order, count, 0), 0);
    }
    assert_true(inner > 300); /* both sides had something to do */
}

static void test_sorting(void **state)
{
    static uint32_t tokens[MOST];
    static uint16_t expert[MOST], order[MOST];

    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct rng r = rng_stream(seed, "sorting", 0);
        uint32_t count = (uint32_t)rng_below(&r, MOST);
        bool seen[MOST] = {false};

        for (uint32_t i = 0; i < count; i++) {
            expert[i] = (uint16_t)i;
            tokens[i] = (uint32_t)rng_below(&r, seed % 2 == 0 ? 4 : 1000);
        }
        offload_sort(tokens, expert, count, order);
        for (uint32_t i = 0; i < count; i++) {
            assert_false(seen[order[i]]);
            seen[order[i]] = true;
            assert_true(
                i == 0 || tokens[order[i - 1]] > tokens[order[i]] ||
                (tokens[order[i - 1]] == tokens[order[i]] && order[i - 1] < order[i]));
        }
    }
}

/* ---- the plug-ins' own rules ---- */

static const uint32_t some_tokens[8] = {10, 11, 3, 40, 11, 0, 2, 9};
static const uint16_t some_missing[7] = {0, 1, 2, 3, 4, 6, 7};

struct asked {
    struct model *model;
    struct machine *machine;
    struct cost cost;
    uint64_t bytes;
    struct view view;
};

static void asked_open(struct asked *a)
{
    struct err e = {.text = ""};

    *a = (struct asked){.model = model_load("mixtral-8x7b", "models/arch", &e),
                        .machine = machine_load("h100-80g", "models/machine", &e)};
    if (a->model == NULL || a->machine == NULL)
        fail_msg("%s", e.text);
    a->machine->has_near = true;
    a->machine->near.bytes_per_s = 512e9;
    a->machine->near.flops = 2e12;
    a->cost = (struct cost){.model = a->model, .machine = a->machine};
    a->bytes = model_expert_bytes(a->model);
    a->view = (struct view){.cost = &a->cost,
                            .layers = 1,
                            .experts = 8,
                            .rows = 43,
                            .expert_bytes = &a->bytes,
                            .active = some_missing,
                            .active_count = 7,
                            .tokens = some_tokens,
                            .copy_in = &a->machine->h2d_pinned};
}

static void asked_close(struct asked *a)
{
    model_free(a->model);
    machine_free(a->machine);
}

/* The ids that run in place, as bits; nothing is resident. */
static uint32_t decided(const struct view *v, const char *offload)
{
    char *text = mem_format("{cache: {slots: 1}, offload: %s}", offload);
    struct run_policy_text t = run_policy_read(text);
    uint8_t where[MOST] = {0};
    uint16_t order[MOST];
    uint32_t bits = 0;

    policy_offload(t.policy)->decide(t.policy->params[SLOT_OFFLOAD], v, some_missing, 7,
                                     order, where);
    for (uint32_t i = 0; i < 7; i++)
        if (where[i] == OFFLOAD_IN_PLACE)
            bits |= 1u << some_missing[i];
    run_policy_release(&t);
    free(text);
    return bits;
}

enum { ALL_BITS = 0xdf };

/* Ten tokens at 7 are as dear as a copy at 70, and stay. */
static void test_fiddler_released(void **state)
{
    struct asked a;

    (void)state;
    asked_open(&a);
    assert_int_equal(decided(&a.view, "{name: fiddler, form: released}"),
                     ALL_BITS & ~(1u << 1 | 1u << 3 | 1u << 4));
    assert_int_equal(decided(&a.view, "{name: fiddler, form: released, copy_cost: 300}"),
                     ALL_BITS);
    assert_int_equal(decided(&a.view, "{name: fiddler, form: released, copy_cost: 10}"),
                     0);
    /* max(70 f, 7 rest) of 86 tokens: 3 to the GPU leave 24: 210 against 168; 2 leave 35:
     * 140 against 245; 4 leave 14: 280. */
    assert_int_equal(decided(&a.view, "{name: fiddler, form: released, objective: max}"),
                     ALL_BITS & ~(1u << 1 | 1u << 3 | 1u << 4));
    asked_close(&a);
}

/* Expert 3 has the most rows, then 1 and 4, 0, 7, 2, 6. */
static void test_hybrid_fetches_the_most_used(void **state)
{
    static const uint16_t by_rows[] = {3, 1, 4, 0, 7, 2, 6};
    uint32_t bits = ALL_BITS;
    struct asked a;

    (void)state;
    asked_open(&a);
    for (uint32_t fetch = 0; fetch <= 7; fetch++) {
        char *text = mem_format("{name: hybrid, rule: fixed, fetch: %u}", fetch);

        assert_int_equal(decided(&a.view, text), bits);
        free(text);
        if (fetch < 7)
            bits &= ~(1u << by_rows[fetch]);
    }
    assert_int_equal(decided(&a.view, "{name: hybrid, rule: fixed, fetch: all}"), 0);
    assert_int_equal(decided(&a.view, "{name: hybrid, fetch: 0}"), ALL_BITS);
    a.machine->host.flops = 1e9; /* a host that takes longer than any copy */
    a.machine->host.dram_bytes_per_s = 1e9;
    assert_int_equal(decided(&a.view, "hybrid"), 0);
    assert_int_equal(decided(&a.view, "{name: hybrid, fetch: 1}"), ALL_BITS & ~(1u << 3));
    asked_close(&a);
}

/* 7 x 55.6 / (55.6 + 512) = 0.69: one; three times that: 3 of 7. */
static void test_monde_rule(void **state)
{
    struct asked a;

    (void)state;
    asked_open(&a);
    assert_int_equal(decided(&a.view, "monde"), ALL_BITS & ~(1u << 3));
    assert_int_equal(decided(&a.view, "{name: monde, alpha: 0}"), ALL_BITS & ~(1u << 3));
    assert_int_equal(decided(&a.view, "{name: monde, alpha: 3}"),
                     ALL_BITS & ~(1u << 3 | 1u << 1 | 1u << 4));
    assert_int_equal(decided(&a.view, "{name: monde, alpha: 100}"), 0);
    assert_int_equal(decided(&a.view, "{name: monde, hot: 0}"), ALL_BITS);
    assert_int_equal(decided(&a.view, "{name: monde, hot: all}"), 0);
    assert_int_equal(decided(&a.view, "{name: monde, hot: 2}"),
                     ALL_BITS & ~(1u << 3 | 1u << 1));
    /* A whole number is not rounded up: 1 of 7 at a link a sixth of the unit's rate. */
    a.machine->h2d_pinned.bytes_per_s = 32e9;
    a.machine->near.bytes_per_s = 192e9;
    assert_int_equal(decided(&a.view, "monde"), ALL_BITS & ~(1u << 3));
    asked_close(&a);
}

/* ---- MoNDE's vectors ---- */

/* The vectors' GPU: an expert takes the longer of reading and computing, and what its
 * rows read and write takes nothing. */
struct vector_gpu {
    double bytes, flops; /* of an expert; of a row of it */
    double rate, peak;
};

static sim_time vector_gpu_time(const void *context, const struct cost_experts *group)
{
    const struct vector_gpu *g = context;
    double read = g->bytes / g->rate, computed = g->flops * (double)group->rows / g->peak;

    assert_int_equal(group->distinct, 1);
    return sim_time_of_seconds(read > computed ? read : computed);
}

static sim_time no_time(const void *context, const struct cost_experts *group,
                        sim_time sum)
{
    (void)context;
    (void)group;
    (void)sum;
    return 0;
}

static void check_number(const struct cfg_node *n, const char *key, double got)
{
    double want = oracle_number(n, key);

    if (fabs(got - want) > 1e-9 * fmax(1, fabs(want)))
        fail_msg("%s is %.12g, the vector says %.12g", key, got, want);
}

struct vector {
    struct model model;
    struct machine machine;
    struct cost cost;
    struct vector_gpu gpu;
    struct view view;
    uint64_t bytes;
    uint32_t tokens[MOST];
    uint16_t active[MOST];
};

static void vector_open(struct vector *x, const struct cfg_node *v)
{
    const struct cfg_node *p = oracle_at(v, "params"), *counts = oracle_at(v, "counts");

    memset(x, 0, sizeof *x);
    x->model = (struct model){.hidden = (uint32_t)oracle_number(p, "hidden"),
                              .expert_ffn = (uint32_t)oracle_number(p, "ffn"),
                              .matrices = (uint32_t)oracle_number(p, "matrices"),
                              .top_k = 1,
                              .expert_bits = 8 * oracle_number(p, "bytes"),
                              .activation_bits = 8 * oracle_number(p, "bytes")};
    x->bytes = model_expert_bytes(&x->model);
    x->machine.h2d_pinned.latency = sim_time_of_seconds(oracle_number(p, "alpha"));
    x->machine.h2d_pinned.bytes_per_s = oracle_number(p, "link");
    x->machine.d2h_pinned = x->machine.h2d_pinned;
    x->machine.has_near = true;
    x->machine.near.bytes_per_s = oracle_number(p, "near_bw");
    x->machine.near.flops = oracle_number(p, "near_flops");
    x->gpu = (struct vector_gpu){.bytes = (double)x->bytes,
                                 .flops = 2.0 * x->model.matrices * x->model.hidden *
                                          x->model.expert_ffn,
                                 .rate = oracle_number(p, "gpu_bw"),
                                 .peak = oracle_number(p, "gpu_flops")};
    /* Of the cost model, which `hot: best` asks. */
    x->machine.gpu = (struct machine_gpu){.hbm_bytes_per_s = oracle_number(p, "gpu_bw"),
                                          .bf16_flops = oracle_number(p, "gpu_flops"),
                                          .fp32_flops = oracle_number(p, "gpu_flops"),
                                          .gemm_efficiency = 1,
                                          .expert_gemm_efficiency = 1,
                                          .attention_efficiency = 1,
                                          .memory_efficiency = 1,
                                          .move_efficiency = 1,
                                          .tiles = {.rows = {1}, .count = 1}};
    x->cost = (struct cost){.model = &x->model, .machine = &x->machine};
    x->view = (struct view){.cost = &x->cost,
                            .layers = 1,
                            .experts = (uint32_t)cfg_count(counts),
                            .expert_bytes = &x->bytes,
                            .active = x->active,
                            .tokens = x->tokens,
                            .loads_run_each = true,
                            .copy_in = &x->machine.h2d_pinned};
    assert_true(x->view.experts <= MOST);
    for (uint32_t i = 0; i < x->view.experts; i++) {
        x->tokens[i] = (uint32_t)oracle_value(cfg_item(counts, i));
        if (x->tokens[i] > 0)
            x->active[x->view.active_count++] = (uint16_t)i;
    }
    assert_int_equal(x->view.active_count, (uint32_t)oracle_number(v, "active"));
}

/* What the rule leaves on the GPU, most used first, its times and bytes. */
static void check_division(struct vector *x, const char *rule,
                           const struct cfg_node *want)
{
    char *text = mem_format("{cache: {slots: 1}, offload: {name: monde, hot: %s}}", rule);
    struct run_policy_text t = run_policy_read(text);
    const struct cfg_node *hot = oracle_at(want, "hot");
    struct offload_costs c =
        offload_costs_near(&x->view, x->active, x->view.active_count);
    uint32_t count = x->view.active_count, copied = 0, rows = 0;
    uint16_t order[MOST], scratch[MOST];
    uint8_t where[MOST] = {0};
    double gpu, in_place;

    policy_offload(t.policy)->decide(t.policy->params[SLOT_OFFLOAD], &x->view, x->active,
                                     count, scratch, where);
    for (uint32_t i = 0; i < count; i++) {
        copied += where[i] == OFFLOAD_FETCH;
        rows += where[i] == OFFLOAD_FETCH ? 0 : x->tokens[x->active[i]];
    }
    assert_int_equal(copied, (uint32_t)oracle_number(want, "h"));
    assert_int_equal(copied, cfg_count(hot));
    offload_sort(x->tokens, x->active, count, order);
    for (uint32_t i = 0; i < copied; i++)
        assert_int_equal(order[i], (uint32_t)oracle_value(cfg_item(hot, i)));
    in_place = sim_time_seconds(offload_times_of(&c, order, count, copied).in_place);
    c.one = NULL;
    c.in_place = no_time;
    c.gpu = vector_gpu_time;
    c.context = &x->gpu;
    gpu = sim_time_seconds(offload_times_of(&c, order, count, copied).gpu);
    check_number(want, "t_gpu", gpu);
    check_number(want, "t_near", in_place);
    check_number(want, "time", gpu > in_place ? gpu : in_place);
    check_number(want, "weight_bytes", (double)(copied * x->bytes));
    check_number(want, "activation_bytes", 2.0 * (double)cost_rows_bytes(&x->cost, rows));
    run_policy_release(&t);
    free(text);
}

static void test_monde_vectors(void **state)
{
    static struct vector x;
    struct cfg *c = oracle_open("monde_vectors", "monde.json");
    const struct cfg_node *vectors;

    (void)state;
    if (c == NULL)
        return;
    vectors = oracle_at(cfg_root(c), "vectors");
    assert_true(cfg_count(vectors) > 0);
    for (size_t i = 0; i < cfg_count(vectors); i++) {
        const struct cfg_node *v = cfg_item(vectors, i), *want = oracle_at(v, "expect");

        vector_open(&x, v);
        check_division(&x, "rule", oracle_at(want, "monde"));
        check_division(&x, "all", oracle_at(want, "gpu_only"));
        check_division(&x, "0", oracle_at(want, "near_only"));
        check_division(&x, "best", oracle_at(want, "best"));
    }
    cfg_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_subset_is_better),
        cmocka_unit_test(test_sorting),
        cmocka_unit_test(test_fiddler_released),
        cmocka_unit_test(test_hybrid_fetches_the_most_used),
        cmocka_unit_test(test_monde_rule),
        cmocka_unit_test(test_monde_vectors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The device executor on a tiny model: whatever the policy, what the layers give is what
 * they give with every expert resident, and the counts are those of the simulated run. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "run_world.h"

#include "gpu/exec_device.h"
#include "sim/base/mem.h"
#include "sim/base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a tiny model, and its routing ---- */

struct tiny {
    struct model model;
    struct run_world *world;
    struct device *device;
    struct exec_device_streams streams;
    struct weights *weights;
};

static struct model make_model(void)
{
    static char name[] = "tiny";

    return (struct model){.name = name,
                          .source = name,
                          .layers = 4,
                          .first_moe = 1,
                          .moe_every = 1,
                          .moe_layers = 3,
                          .hidden = 64,
                          .expert_ffn = 48,
                          .matrices = 3,
                          .experts = 8,
                          .top_k = 2,
                          .shared_ffn = 40,
                          .dense_ffn = 56,
                          .heads = 4,
                          .kv_heads = 2,
                          .head_dim = 16,
                          .kv_rank = 24,
                          .rope_dim = 8,
                          .window = 4,
                          .window_every = 2,
                          .vocab = 128,
                          .expert_bits = 32,
                          .dense_bits = 32,
                          .activation_bits = 32};
}

enum { REQUESTS = 4, ROWS = 12 };

static uint16_t *draw_routing(const struct model *m)
{
    size_t steps = (size_t)REQUESTS * ROWS * m->moe_layers;
    uint16_t *expert = mem_alloc(steps * m->top_k, sizeof *expert);
    struct rng r = rng_stream(5, "routing", 0);

    for (size_t i = 0; i < steps; i++) {
        double u = rng_unit(&r);
        uint16_t first = (uint16_t)(u * u * m->experts);

        expert[2 * i] = first;
        expert[2 * i + 1] =
            rng_below(&r, 8) == 0
                ? WORLD_NONE
                : (uint16_t)((first + 1 + rng_below(&r, m->experts - 1)) % m->experts);
    }
    return expert;
}

static void tiny_open(struct tiny *t, const struct model *m)
{
    struct run_world *round = run_world_spelled(1, 2, 1, "0");
    uint16_t *routing = draw_routing(m);
    struct weights_options o = {.seed = 1};
    struct err e = {""};
    bool missing;

    t->model = *m;
    t->world = run_world_of(m, &round->machine, REQUESTS, ROWS, routing);
    t->world->workload.batch = 2;
    run_world_free(round);
    free(routing);
    o.model = &t->model;
    o.expert_budget_bytes = UINT64_C(1) << 30;
    if (device_open("host", &t->device, &missing, &e) != 0 ||
        exec_device_streams_new(t->device, &t->streams, &e) != 0 ||
        (t->weights = weights_new(t->device, &o, &e)) == NULL)
        fail_msg("%s", e.text);
}

static void tiny_close(struct tiny *t)
{
    weights_free(t->weights);
    device_close(t->device);
    run_world_free(t->world);
}

/* ---- runs ---- */

struct outputs {
    float *value;
    size_t count, room;
};

static void keep_hidden(void *context, uint64_t pass, uint32_t rows, uint32_t columns,
                        const float *value)
{
    struct outputs *o = context;
    size_t count = (size_t)rows * columns;

    (void)pass;
    if (o->count + count > o->room) {
        o->room = 2 * (o->count + count);
        o->value = mem_resize(o->value, o->room, sizeof *o->value);
    }
    memcpy(o->value + o->count, value, count * sizeof *value);
    o->count += count;
}

static void run_on_device(struct tiny *t, const char *policy, struct run_result *r,
                          struct outputs *outputs)
{
    struct exec_device_options o = {.device = t->device,
                                    .streams = &t->streams,
                                    .weights = t->weights,
                                    .model = &t->model,
                                    .hidden = keep_hidden,
                                    .hidden_context = outputs,
                                    .poison = true};
    struct exec *x = exec_device_new(&o);
    struct run_case c = {.policy = policy, .seed = 3, .ops = &exec_device_ops, .exec = x};

    *outputs = (struct outputs){.count = 0};
    run_world_run(t->world, &c, r);
    exec_device_free(x);
}

/* The largest difference, relative to the largest value; infinite where one is no number.
 */
static double difference(const struct outputs *a, const struct outputs *b)
{
    double largest = 0.0, most = 0.0;

    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        double d = fabs((double)a->value[i] - b->value[i]);

        largest = fmax(largest, fabs((double)b->value[i]));
        if (!(d < HUGE_VAL))
            return HUGE_VAL;
        most = fmax(most, d);
    }
    return most / largest;
}

static void test_first(void **state)
{
    struct model m = make_model();
    struct tiny t;
    struct run_result r;
    struct outputs all, lru;

    (void)state;
    tiny_open(&t, &m);
    run_on_device(&t, "{cache: {name: lru, slots: 8, preload: linear}}", &r, &all);
    run_result_release(&r);
    run_on_device(&t, "{cache: {name: lru, slots: 2}}", &r, &lru);
    (void)printf("%zu values, difference %g, hits %llu of %llu\n", all.count,
                 difference(&lru, &all), (unsigned long long)r.total.counts.hits,
                 (unsigned long long)r.total.counts.accesses);
    assert_true(difference(&lru, &all) < 1e-5);
    run_result_release(&r);
    free(all.value);
    free(lru.value);
    tiny_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_first)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tiny_device.h"

#include "sim/exec/exec_forward.h"
#include "sim/base/mem.h"
#include "sim/base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { REQUESTS = 6, ROWS = 9, BATCH = 3 };

struct model tiny_model(void)
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
                          .window = 4,
                          .window_every = 2,
                          .vocab = 96,
                          .expert_bits = 32,
                          .dense_bits = 32,
                          .activation_bits = 32};
}

/* Skewed; one choice in eight is not recorded. */
static uint16_t *draw_routing(const struct model *m, uint64_t seed)
{
    size_t steps = (size_t)REQUESTS * ROWS * m->moe_layers;
    uint16_t *expert = mem_alloc(steps * m->top_k, sizeof *expert);
    struct rng r = rng_stream(seed, "routing", 0);

    assert_int_equal(m->top_k, 2);
    for (size_t i = 0; i < steps; i++) {
        double u = rng_unit(&r);
        uint64_t first = (uint64_t)(u * u * m->experts);
        uint64_t second = (first + 1 + rng_below(&r, m->experts - 1)) % m->experts;

        expert[2 * i] = (uint16_t)first;
        expert[2 * i + 1] = rng_below(&r, 8) == 0 ? WORLD_NONE : (uint16_t)second;
    }
    return expert;
}

/* A device of bf16 gets a model of as many bits; sums of groups are rounded one by one.
 */
static void take_elements(struct tiny *t)
{
    struct device_info info;

    t->device->ops->info(t->device, &info);
    t->emulated = info.emulated;
    t->close = info.element == DEVICE_F32 ? 1e-5 : 3e-2;
    if (info.element == DEVICE_BF16)
        t->model.expert_bits = t->model.dense_bits = t->model.activation_bits = 16;
}

/* A row of an expert takes 3 us on the host and 2 us on a near-data unit; a copy takes as
 * long on a link as reading an expert there, and less than the kernels of a group. */
static void set_rates(const struct model *m, struct machine *k)
{
    double row_flops = 2.0 * m->matrices * m->hidden * m->expert_ffn;

    k->host.flops = row_flops / 3e-6;
    k->has_near = true;
    k->near.units = 1;
    k->near.flops = row_flops / 2e-6;
    k->near.bytes_per_s = k->h2d_pinned.bytes_per_s;
}

void tiny_open(struct tiny *t, const struct model *m, uint64_t expert_budget_bytes)
{
    tiny_open_on(t, m, expert_budget_bytes, "host");
}

void tiny_open_on(struct tiny *t, const struct model *m, uint64_t expert_budget_bytes,
                  const char *device)
{
    tiny_open_drawn(t, m, expert_budget_bytes, device, 5);
}

void tiny_open_drawn(struct tiny *t, const struct model *m, uint64_t expert_budget_bytes,
                     const char *device, uint64_t seed)
{
    struct run_world *other = run_world_spelled(1, 2, 1, "0");
    uint16_t *routing = draw_routing(m, seed);
    struct weights_options o = {.model = &t->model,
                                .seed = 1,
                                .floats = true,
                                .expert_budget_bytes = expert_budget_bytes == 0
                                                           ? UINT64_C(1) << 30
                                                           : expert_budget_bytes};
    struct err e = {.text = ""};
    bool missing;

    t->model = *m;
    if (device_open(device, &t->device, &missing, &e) != 0)
        fail_msg("%s", e.text);
    take_elements(t);
    t->world = run_world_of(&t->model, &other->machine, REQUESTS, ROWS, routing);
    t->world->workload.batch = BATCH;
    set_rates(&t->model, &t->world->machine);
    run_world_free(other);
    free(routing);
    if (exec_device_streams_new(t->device, &t->streams, &e) != 0 ||
        (t->weights = weights_new(t->device, &o, &e)) == NULL)
        fail_msg("%s", e.text);
}

void tiny_close(struct tiny *t)
{
    weights_free(t->weights);
    device_close(t->device);
    run_world_free(t->world);
}

static void keep_hidden(void *context, uint64_t pass, uint32_t rows, uint32_t columns,
                        const float *value)
{
    struct tiny_outputs *o = context;
    size_t count = (size_t)rows * columns;

    (void)pass;
    if (o->count + count > o->room) {
        o->room = 2 * (o->count + count);
        o->value = mem_resize(o->value, o->room, sizeof *o->value);
    }
    memcpy(o->value + o->count, value, count * sizeof *value);
    o->count += count;
}

double tiny_difference(const struct tiny_outputs *a, const struct tiny_outputs *b)
{
    double largest = 0.0, most = 0.0;

    if (a->count != b->count || a->count == 0)
        return HUGE_VAL;
    for (size_t i = 0; i < a->count; i++) {
        double d = fabs((double)a->value[i] - b->value[i]);

        if (!(d < HUGE_VAL))
            return HUGE_VAL;
        largest = fmax(largest, fabs((double)b->value[i]));
        most = fmax(most, d);
    }
    return most / largest;
}

/* ---- a broken runner ---- */

struct exec {
    struct exec_forward front;
    const struct tiny_case *of;
};

static op_id submit(struct exec *x, const struct op *op)
{
    struct op broken = *op;

    if ((op->kind == OP_COPY_IN && x->of->drop_copies) ||
        (op->kind == OP_EXPERTS && x->of->drop_groups))
        broken.after_count = 0;
    return exec_forward_submit(x, &broken);
}

/* ---- runs ---- */

static void copy_counts(const struct exec_device_counts *c, struct tally *t)
{
    memcpy(t->copies, c->copies, sizeof t->copies);
    memcpy(t->in_bytes, c->in_bytes, sizeof t->in_bytes);
    t->copies_out = c->copies_out;
    t->host_runs = c->host_runs;
    t->near_runs = c->near_runs;
    t->out_bytes = c->out_bytes;
    memcpy(t->tokens, c->tokens, (size_t)t->layers * t->experts * sizeof *t->tokens);
}

void tiny_execute(struct tiny *t, const struct tiny_case *c, struct run_result *r,
                  struct tiny_outputs *outputs, struct tally *tally)
{
    bool broken = c->drop_copies || c->drop_groups;
    struct exec_device_options o = {.device = t->device,
                                    .streams = &t->streams,
                                    .weights = t->weights,
                                    .model = &t->model,
                                    .hidden = keep_hidden,
                                    .hidden_context = outputs,
                                    .poison = true,
                                    .stall_ns = c->stall_ns,
                                    .stall_copy_ns = c->stall_copy_ns};
    struct exec outer = {{&exec_device_ops, exec_device_new(&o)}, c};
    struct exec_ops broken_ops = exec_forward_ops;
    struct run_case run = {.policy = c->policy,
                           .seed = 3,
                           .unchecked = broken,
                           .ops = broken ? &broken_ops : &exec_device_ops,
                           .exec = broken ? &outer : outer.front.inner};
    struct exec_device_counts counts;

    broken_ops.name = "broken";
    broken_ops.submit = submit;
    *outputs = (struct tiny_outputs){.count = 0};
    run_world_run(t->world, &run, r);
    counts = exec_device_counts(outer.front.inner);
    if (!broken)
        assert_int_equal(r->total.counts.expert_gemms, 2 * counts.groups);
    if (tally != NULL) {
        tally_init(tally, t->model.moe_layers, t->model.experts);
        copy_counts(&counts, tally);
    }
    exec_device_free(outer.front.inner);
}

void tiny_simulate(struct tiny *t, const struct tiny_case *c, struct run_result *r,
                   struct tally *tally)
{
    struct exec_sim_options o = {
        .cost = {.model = &t->model, .machine = &t->world->machine},
        .event_driven = c->event_driven};
    struct exec *x;
    struct run_case run = {.policy = c->policy, .seed = 3, .ops = &tally_ops};

    tally_init(tally, t->model.moe_layers, t->model.experts);
    x = tally_exec_new(&exec_sim_ops, exec_sim_new(&o), tally);
    run.exec = x;
    run_world_run(t->world, &run, r);
    exec_sim_free(tally_exec_free(x));
}

void tiny_check(struct tiny *t, const char *policy, bool event_driven,
                struct tiny_outputs *expected)
{
    struct tiny_case c = {.policy = policy, .event_driven = event_driven};
    struct tiny_outputs outputs;
    struct run_result done, said;
    struct tally did, predicted;
    struct err e = {.text = ""};

    tiny_execute(t, &c, &done, &outputs, &did);
    tiny_simulate(t, &c, &said, &predicted);
    run_counts_equal(&done.total.counts, &said.total.counts, false);
    for (uint32_t l = 0; l < said.layers; l++) {
        run_counts_equal(&done.layer[l].counts, &said.layer[l].counts, false);
        assert_memory_equal(&done.layer[l].quality, &said.layer[l].quality,
                            sizeof said.layer[l].quality);
    }
    if (tally_compare(policy, &predicted, &did, &e) != 0)
        fail_msg("%s", e.text);
    if (expected->count == 0) {
        *expected = outputs;
    } else {
        if (!(tiny_difference(&outputs, expected) < t->close))
            fail_msg("%s: outputs differ by %g", policy,
                     tiny_difference(&outputs, expected));
        free(outputs.value);
    }
    run_result_release(&done);
    run_result_release(&said);
    tally_release(&did);
    tally_release(&predicted);
}

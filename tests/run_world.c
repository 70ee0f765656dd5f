#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "run_world.h"

#include "sim/base/mem.h"
#include "sim/base/rng.h"
#include "sim/exec/exec_count.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AS_FAST_AS_IT_GETS                                                               \
    1e24 /* flop/s, bytes/s: less than a picosecond for anything                         \
          */

/* ---- routing ---- */

/* Skewed, sometimes the same as in the row before, sometimes short or empty. */
static void draw_row(const struct run_world *w, struct rng *r, uint16_t *expert,
                     const uint16_t *before)
{
    uint32_t count = rng_below(r, 8) == 0 ? (uint32_t)rng_below(r, w->top_k) : w->top_k;

    for (uint32_t k = 0; k < w->top_k; k++)
        expert[k] = WORLD_NONE;
    for (uint32_t k = 0; k < count;) {
        double u = rng_unit(r);
        uint16_t id = (uint16_t)(u * u * w->experts);
        bool there = false;

        if (before != NULL && before[k] != WORLD_NONE && rng_below(r, 3) == 0)
            id = before[k];
        for (uint32_t i = 0; i < k; i++)
            there = there || expert[i] == id;
        if (!there)
            expert[k++] = id;
    }
}

static void draw_routing(struct run_world *w, uint64_t seed)
{
    struct rng r = rng_stream(seed, "routing", 0);
    size_t width = (size_t)w->layers * w->top_k;
    size_t steps = (size_t)w->requests * w->rows * w->layers;

    for (size_t step = 0; step < steps; step++) {
        uint16_t *expert = w->expert + step * w->top_k;

        draw_row(w, &r, expert, step < w->layers ? NULL : expert - width);
    }
}

/* A row's candidates: those executed, then all others from some expert on; scores fall
 * the faster in some rows than in others. Both are [layers, experts]. */
static void list_candidates(const struct run_world *w, uint64_t row, uint16_t *candidate,
                            float *score)
{
    bool *seen = mem_alloc(w->experts, sizeof *seen);

    for (uint32_t l = 0; l < w->layers;
         l++, candidate += w->experts, score += w->experts) {
        const uint16_t *expert = w->expert + (row * w->layers + l) * w->top_k;
        uint32_t first = (uint32_t)(row * 5 + l * 3) % w->experts, count = 0;

        memset(seen, 0, w->experts * sizeof *seen);
        for (; count < w->top_k && expert[count] != WORLD_NONE; count++) {
            candidate[count] = expert[count];
            seen[expert[count]] = true;
        }
        for (uint32_t i = 0; count >= w->top_k && i < w->experts; i++)
            if (!seen[(first + i) % w->experts])
                candidate[count++] = (uint16_t)((first + i) % w->experts);
        for (uint32_t i = 0; i < w->experts; i++) {
            score[i] = i < count ? ldexpf(0.5F, -(int)(i * (1 + (row + l) % 3) / 2)) : 0;
            if (i >= count)
                candidate[i] = WORLD_NONE;
        }
    }
    free(seen);
}

static void write_trace(const struct run_world *w, uint16_t *moe_layer)
{
    size_t cells = (size_t)w->layers * w->experts;
    uint16_t *candidate = mem_alloc(cells, sizeof *candidate);
    float *score = mem_alloc(cells, sizeof *score);
    char model[] = "by hand";
    struct trace_info info = {.model = model,
                              .source = model,
                              .capture = model,
                              .experts = w->experts,
                              .top_k = w->top_k,
                              .candidates = w->experts,
                              .score_kind = TRACE_SCORE_SOFTMAX,
                              .sorted = true,
                              .layers = w->layers,
                              .moe_layer = moe_layer};
    struct err e = {.text = ""};
    struct trace_writer *t = trace_writer_new(w->path, &info, &e);
    uint64_t row = 0;

    if (t == NULL)
        fail_msg("%s", e.text);
    for (uint32_t k = 0; k < w->requests; k++) {
        uint32_t before =
            w->model.encoder_layers > 0 && w->prompt == 0 ? WORLD_PROMPT : 0;
        struct trace_request q = {.arrival_ns = -1,
                                  .prompt_tokens = before + w->prompt,
                                  .output_tokens = w->rows - w->prompt,
                                  .first_row = row,
                                  .rows = w->rows};

        for (uint32_t i = 0; i < w->rows; i++, row++) {
            struct trace_token token = {.request = k,
                                        .position = before + i,
                                        .phase =
                                            i < w->prompt ? TRACE_PREFILL : TRACE_DECODE,
                                        .token_id = -1,
                                        .source = UINT16_MAX};

            list_candidates(w, row, candidate, score);
            if (trace_writer_rows(t, 1, &token, candidate, score, NULL, &e) != 0)
                fail_msg("%s", e.text);
        }
        assert_int_equal(trace_writer_request(t, &q, &e), 0);
    }
    if (trace_writer_commit(t, &e) != 0)
        fail_msg("%s", e.text);
    free(candidate);
    free(score);
}

/* ---- model and machine ---- */

static void make_model(struct run_world *w)
{
    static char name[] = "by hand";

    w->model = (struct model){.name = name,
                              .source = name,
                              .layers = w->layers,
                              .moe_every = 1,
                              .moe_layers = w->layers,
                              .hidden = 16,
                              .expert_ffn = 8,
                              .matrices = 3,
                              .experts = w->experts,
                              .top_k = w->top_k,
                              .heads = 2,
                              .kv_heads = 1,
                              .head_dim = 8,
                              .vocab = 32,
                              .expert_bits = 16,
                              .dense_bits = 16,
                              .activation_bits = 16};
}

static void make_machine(struct run_world *w)
{
    static char name[] = "by hand";
    struct machine_copy link = {.latency = 0, .bytes_per_s = 1e11};

    w->machine = (struct machine){.name = name,
                                  .source = name,
                                  .gpus = 1,
                                  .nodes = 1,
                                  .gpu = {.name = name,
                                          .memory_bytes = UINT64_C(1) << 40,
                                          .hbm_bytes_per_s = AS_FAST_AS_IT_GETS,
                                          .bf16_flops = AS_FAST_AS_IT_GETS,
                                          .fp32_flops = AS_FAST_AS_IT_GETS,
                                          .gemm_efficiency = 1,
                                          .expert_gemm_efficiency = 1,
                                          .attention_efficiency = 1,
                                          .memory_efficiency = 1,
                                          .move_efficiency = 1,
                                          .tiles = {1, {1}},
                                          .kernel_floor = WORLD_FLOOR},
                                  .host = {.memory_bytes = UINT64_C(1) << 40,
                                           .dram_bytes_per_s = 1e15,
                                           .flops = AS_FAST_AS_IT_GETS,
                                           .round_trip = WORLD_TRIP},
                                  .h2d_pinned = link,
                                  .h2d_pageable = link,
                                  .d2h_pinned = link,
                                  .d2h_pageable = link,
                                  .h2d_duplex = 1,
                                  .d2h_duplex = 1,
                                  .has_storage = true,
                                  .storage_bytes = UINT64_C(1) << 40,
                                  .storage_read = {.latency = 0, .bytes_per_s = 1e10}};
}

/* All but model, machine and sizes of experts. */
static struct run_world *make_world(uint32_t layers, uint32_t experts, uint32_t top_k,
                                    uint32_t requests, uint32_t rows, uint64_t seed)
{
    struct run_world *w = mem_zalloc(1, sizeof *w);

    w->layers = layers;
    w->experts = experts;
    w->top_k = top_k;
    w->requests = requests;
    w->rows = rows;
    w->expert = mem_alloc((size_t)requests * rows * layers * top_k, sizeof *w->expert);
    w->expert_bytes = mem_alloc(layers, sizeof *w->expert_bytes);
    w->path = mem_format("/tmp/moesim_run_%ld_%llu.h5", (long)getpid(),
                         (unsigned long long)seed);
    w->workload = (struct workload_params){
        .mode = WORKLOAD_STATIC, .batch = 1, .max_sequences = 1, .file = ""};
    return w;
}

/* Leaves of each row what is in the layers of its side. */
static void route_sides(struct run_world *w, const uint16_t *moe_layer)
{
    uint16_t *at = w->expert;

    for (uint32_t row = 0; row < w->requests * w->rows; row++)
        for (uint32_t l = 0; l < w->layers; l++, at += w->top_k) {
            bool encoder = moe_layer[l] < w->model.encoder_layers;

            for (uint32_t k = 0; encoder != (row % w->rows < w->prompt) && k < w->top_k;
                 k++)
                at[k] = WORLD_NONE;
        }
    if (w->prompt == 0)
        w->workload.prefill = PREFILL_SKIP;
}

/* Writes the trace, whose layers are the model's MoE layers, and opens it. */
static void open_trace(struct run_world *w)
{
    uint16_t *moe_layer = mem_alloc(w->layers, sizeof *moe_layer);
    struct err e = {.text = ""};
    uint32_t count = 0;

    for (uint32_t l = 0; l < w->model.layers; l++)
        if (model_layer_is_moe(&w->model, l))
            moe_layer[count++] = (uint16_t)l;
    assert_int_equal(count, w->layers);
    if (w->model.encoder_layers > 0)
        route_sides(w, moe_layer);
    write_trace(w, moe_layer);
    free(moe_layer);
    w->trace = trace_open(w->path, NULL, &e);
    if (w->trace == NULL)
        fail_msg("%s", e.text);
}

struct run_world *run_world_new(uint32_t layers, uint32_t experts, uint32_t top_k,
                                uint32_t requests, uint32_t rows, const uint16_t *expert,
                                uint64_t seed)
{
    struct run_world *w = make_world(layers, experts, top_k, requests, rows, seed);
    size_t values = (size_t)requests * rows * layers * top_k;

    if (expert != NULL)
        memcpy(w->expert, expert, values * sizeof *expert);
    else
        draw_routing(w, seed);
    make_model(w);
    make_machine(w);
    for (uint32_t l = 0; l < layers; l++)
        w->expert_bytes[l] = WORLD_BYTES;
    open_trace(w);
    return w;
}

struct run_world *run_world_of(const struct model *m, const struct machine *k,
                               uint32_t requests, uint32_t rows, const uint16_t *expert)
{
    return run_world_prompted(m, k, requests, 0, rows, expert);
}

struct run_world *run_world_prompted(const struct model *m, const struct machine *k,
                                     uint32_t requests, uint32_t prompt, uint32_t rows,
                                     const uint16_t *expert)
{
    struct run_world *w =
        make_world(m->moe_layers, m->experts, m->top_k, requests, rows, 0);

    memcpy(w->expert, expert,
           (size_t)requests * rows * w->layers * w->top_k * sizeof *expert);
    w->model = *m;
    w->machine = *k;
    w->prompt = prompt;
    for (uint32_t l = 0; l < w->layers; l++)
        w->expert_bytes[l] = model_expert_bytes(m);
    open_trace(w);
    return w;
}

struct run_world *run_world_spelled(uint32_t layers, uint32_t experts, uint32_t top_k,
                                    const char *passes)
{
    uint32_t rows = 1;
    uint32_t at = 0; /* step */
    uint32_t k = 0;
    uint16_t *expert;
    struct run_world *w;

    for (const char *c = passes; *c != '\0'; c++)
        rows += *c == ' ';
    expert = mem_alloc((size_t)rows * layers * top_k, sizeof *expert);
    memset(expert, 0xff, (size_t)rows * layers * top_k * sizeof *expert);
    for (const char *c = passes; *c != '\0'; c++) {
        if (*c == ' ' || *c == '|') {
            at++;
            k = 0;
            continue;
        }
        assert_true(k < top_k && at < rows * layers && *c >= '0' && *c <= '9');
        expert[(size_t)at * top_k + k++] = (uint16_t)(*c - '0');
    }
    assert_int_equal(at + 1, rows * layers);
    w = run_world_new(layers, experts, top_k, 1, rows, expert, 0);
    free(expert);
    return w;
}

void run_world_free(struct run_world *w)
{
    trace_close(w->trace);
    (void)unlink(w->path);
    free(w->path);
    free(w->expert);
    free(w->expert_bytes);
    free(w);
}

/* ---- policies ---- */

void run_policy_slots(struct policy *p, const struct run_world *w)
{
    struct err e = {.text = ""};

    policy_close_layers(p, w->layers, trace_get_info(w->trace)->moe_layer,
                        w->model.layers);
    if (cache_resolve(&p->cache, w->layers, w->experts, w->expert_bytes, &e) != NULL)
        p->cache.slots = p->cache.layer_slots + p->cache.total_slots;
}

struct run_policy_text run_policy_read(const char *text)
{
    struct err e = {.text = ""};
    struct run_policy_text t;

    t.document = cfg_parse("policy", text, strlen(text), &e);
    if (t.document == NULL)
        fail_msg("%s", e.text);
    t.policy = policy_from_node(cfg_root(t.document), "sim/policy/presets", &e);
    if (t.policy == NULL)
        fail_msg("%s: %s", text, e.text);
    return t;
}

void run_policy_release(struct run_policy_text *t)
{
    policy_free(t->policy);
    cfg_free(t->document);
}

void run_world_each_cache(void (*visit)(void *context, const char *name), void *context)
{
    for (const struct plugin *const *p = registry_all(); *p != NULL; p++)
        if ((*p)->slot == SLOT_CACHE)
            visit(context, (*p)->name);
}

/* ---- runs ---- */

static struct workload *open_workload(const struct run_world *w, bool scores)
{
    struct err e = {.text = ""};
    struct workload *workload =
        workload_new(w->trace, &w->model, &w->workload, scores, false, 1, &e);

    if (workload == NULL)
        fail_msg("%s", e.text);
    return workload;
}

struct future *run_world_future(const struct run_world *w, enum cache_order order)
{
    struct run_policy_text t = run_policy_read(
        order == CACHE_ORDER_ID ? "{cache: {name: lru, slots: 1}}"
                                : "{cache: {name: lru, slots: 1, order: recorded}}");
    struct cost cost = {.model = &w->model, .machine = &w->machine};
    struct err e = {.text = ""};
    struct run_setup s = {.policy = t.policy,
                          .trace = trace_get_info(w->trace),
                          .cost = &cost,
                          .workload = open_workload(w, false),
                          .record = future_writer_new(w->layers, w->experts, order, &e)};
    struct future *f = NULL;

    if (s.record == NULL || run_routing(&s, &e) != 0 ||
        (f = future_finish(s.record, &e)) == NULL)
        fail_msg("%s", e.text);
    workload_free(s.workload);
    run_policy_release(&t);
    return f;
}

/* Tokens of each expert over the whole trace. */
static uint64_t *count_profile(const struct run_world *w)
{
    uint64_t *profile = mem_zalloc((size_t)w->layers * w->experts, sizeof *profile);
    size_t values = (size_t)w->requests * w->rows * w->layers * w->top_k;

    for (size_t i = 0; i < values; i++)
        if (w->expert[i] != WORLD_NONE)
            profile[i / w->top_k % w->layers * w->experts + w->expert[i]]++;
    return profile;
}

static void run_setup_on(const struct run_world *w, const struct run_case *c,
                         struct run_setup *s, const struct cost *cost,
                         struct run_result *result)
{
    struct exec_sim_options o = {.cost = *cost, .event_driven = c->event_driven};
    bool foreign = c->ops != NULL;
    const struct exec_ops *ops = foreign    ? c->ops
                                 : c->count ? &exec_count_ops
                                            : &exec_sim_ops;
    struct exec *exec = foreign    ? c->exec
                        : c->count ? exec_count_new()
                                   : exec_sim_new(&o);
    struct err own = {.text = ""}, *e = c->failure == NULL ? &own : c->failure;
    int status;

    s->ops = c->unchecked ? ops : &check_exec_ops;
    s->exec = c->unchecked ? exec : check_exec_new(ops, exec);
    s->workload = open_workload(w, (policy_needs(s->policy) & NEED_SCORES) != 0);
    status = run_policy(s, result, e);
    if (status != (e->text[0] == '\0' ? 0 : -1) || (status != 0 && c->failure == NULL))
        fail_msg("%s: %d \"%s\"", c->policy, status, e->text);
    if (!c->unchecked)
        check_exec_end(s->exec);
    if (!c->count && !foreign) {
        result->digest = exec_sim_report(exec).digest;
        result->copy_busy = exec_sim_lane_busy(exec, LANE_COPY_IN);
        result->host_busy = exec_sim_lane_busy(exec, LANE_HOST_POOL);
    }
    if (c->count)
        exec_count_free(exec);
    else if (!foreign)
        exec_sim_free(exec);
    workload_free(s->workload);
}

void run_world_run(const struct run_world *w, const struct run_case *c,
                   struct run_result *result)
{
    struct run_policy_text t = run_policy_read(c->policy);
    struct model model = w->model;
    struct cost cost = {.model = &model, .machine = &w->machine, .graph = c->graph};
    uint64_t *profile = count_profile(w);
    struct future *future = NULL;
    struct run_setup s = {.policy = t.policy,
                          .trace = trace_get_info(w->trace),
                          .cost = &cost,
                          .expert_bytes = w->expert_bytes,
                          .home = c->home == TIER_GPU ? TIER_HOST : c->home,
                          .host_bytes = c->host_bytes == 0 ? UINT64_MAX : c->host_bytes,
                          .decides = !c->running_ahead,
                          .kv_room_bytes = UINT64_MAX,
                          .keep_passes = c->keep_passes,
                          .record = c->record,
                          .watch = c->watch,
                          .profile = profile,
                          .chunk_bytes = c->chunk_bytes,
                          .seed = c->seed};

    if ((policy_needs(t.policy) & NEED_FUTURE) != 0) {
        future = run_world_future(w, cache_order_ahead(&t.policy->cache));
        s.future = future_reader_new(future);
    }
    run_policy_slots(t.policy, w);
    model.hosted_from = t.policy->hosted_from;
    model.hosted = t.policy->hosted;
    run_setup_on(w, c, &s, &cost, result);
    future_reader_free(s.future);
    future_free(future);
    free(profile);
    run_policy_release(&t);
}

void run_counts_equal(const struct run_counts *a, const struct run_counts *b, bool timed)
{
    assert_int_equal(a->activations, b->activations);
    assert_int_equal(a->dropped, b->dropped);
    assert_int_equal(a->accesses, b->accesses);
    assert_int_equal(a->hits, b->hits);
    if (timed) {
        assert_int_equal(a->late, b->late);
        assert_int_equal(a->expert_gemms, b->expert_gemms);
    }
    assert_int_equal(a->loads, b->loads);
    assert_int_equal(a->swaps, b->swaps);
    assert_int_equal(a->bypasses, b->bypasses);
    assert_int_equal(a->host_runs, b->host_runs);
    assert_int_equal(a->near_runs, b->near_runs);
    assert_int_equal(a->low_uses, b->low_uses);
    assert_int_equal(a->low_loads, b->low_loads);
    assert_int_equal(a->prefetches, b->prefetches);
    assert_int_equal(a->prefetch_used, b->prefetch_used);
    assert_int_equal(a->displaced, b->displaced);
    assert_int_equal(a->demand_bytes, b->demand_bytes);
    assert_int_equal(a->prefetch_bytes, b->prefetch_bytes);
    assert_int_equal(a->wasted_bytes, b->wasted_bytes);
    assert_int_equal(a->out_bytes, b->out_bytes);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "crew_lab.h"

#include "sim/base/mem.h"
#include "traces/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct crew_case crew_eight = {.nodes = 2,
                                     .gpus = 4,
                                     .network = true,
                                     .per_root = 2,
                                     .nvlink = true,
                                     .layers = 2,
                                     .experts = 16,
                                     .top_k = 2,
                                     .candidates = 2,
                                     .hidden = 128,
                                     .requests = 8,
                                     .rows = 8,
                                     .seed = 77,
                                     .workload = "{mode: static, batch: 8}",
                                     .place = "eplb",
                                     .place_more = "",
                                     .slots = 24,
                                     .window = 4,
                                     .more = "bounds: no"};

const struct crew_case crew_two = {.nodes = 1,
                                   .gpus = 2,
                                   .per_root = 1,
                                   .nvlink = true,
                                   .layers = 2,
                                   .experts = 4,
                                   .top_k = 2,
                                   .hidden = 64,
                                   .requests = 2,
                                   .rows = 4,
                                   .candidates = 2,
                                   .cyclic = true,
                                   .seed = 1,
                                   .workload = "{mode: static, batch: 2}",
                                   .place = "linear",
                                   .place_more = "",
                                   .more = "bounds: no"};

/* ---- drawing one ---- */

static uint32_t below(struct rng *r, uint32_t bound)
{
    return (uint32_t)rng_below(r, bound);
}

static bool one_in(struct rng *r, uint32_t n)
{
    return rng_below(r, n) == 0;
}

static void draw_machine(struct crew_case *c, struct rng *r)
{
    c->nodes = 1 + below(r, 3);
    c->gpus = 1 + below(r, 4);
    c->spare = c->nodes == 1 && one_in(r, 3) ? 1 + below(r, 3) : 0;
    c->nvlink = !one_in(r, 3);
    c->network = c->nodes > 1 || one_in(r, 2);
    c->rails = c->network ? below(r, 4) : 0;
    c->per_root = 1 + below(r, 3);
    c->oversubscribed = c->network && one_in(r, 2);
    c->tensor = c->gpus % 2 == 0 && one_in(r, 3) ? c->gpus : 0;
    if (c->tensor == 4 && one_in(r, 2))
        c->tensor = 2;
}

static void draw_trace(struct crew_case *c, struct rng *r)
{
    static const char *const workloads[] = {
        "{mode: static, batch: 3}",
        "{mode: static, batch: 16}",
        "{mode: continuous, max_sequences: 4}",
        "{mode: continuous, max_sequences: 9, token_budget: 12}",
        "{mode: static, batch: 8, max_passes: 1}",
    };

    c->layers = 1 + below(r, 2);
    c->dense_layers = below(r, 2);
    c->experts = one_in(r, 6) ? 1 + below(r, 3) : 4 + below(r, 13);
    c->top_k = 1 + below(r, c->experts < 4 ? c->experts : 4);
    c->candidates = c->top_k;
    if (c->candidates < c->experts && one_in(r, 4))
        c->candidates++;
    c->hidden = 128U << below(r, 2);
    c->shared_ffn = one_in(r, 2) ? 64 : 0;
    c->requests = 1 + below(r, 9);
    c->rows = 3 + below(r, 6);
    c->prefill_rows = one_in(r, 2) ? 1 + below(r, 2) : 0;
    c->sources = (enum crew_sources)below(r, 3);
    c->missing = one_in(r, 3);
    c->one_expert = c->top_k == 1 && one_in(r, 4);
    c->seed = rng_u64(r) >> 24;
    c->workload = workloads[below(r, 5)];
}

static void draw_place(struct crew_case *c, struct rng *r)
{
    static const char *const places[] = {"linear", "round-robin", "random", "greedy",
                                         "eplb",   "replicate",   "eplb",   "linear"};
    static const char *const more[] = {
        "", "", "", "", "", "", ", form: global", ", spare: wrap"};
    static const char *const choices[] = {NULL, "round-robin", "random", "nearest"};
    uint32_t all = c->nodes * c->gpus, i = below(r, 8);

    c->place = places[i];
    c->place_more = more[i];
    c->replica = choices[below(r, 4)];
    c->slots = (c->experts + all - 1) / all * all + all * below(r, 3);
    if (one_in(r, 8)) {
        static const char *const variants[] = {", variant: v0", ", variant: v1",
                                               ", variant: v2"};

        c->place = "moeshard";
        c->place_more = variants[below(r, 3)];
        c->slots = 0;
    }
}

void crew_case_draw(struct crew_case *c, struct rng *r)
{
    static const char *const exchanges[] = {NULL,      "flat",   "rails",
                                            "forward", "normal", "low-latency"};
    static const double factors[] = {0.125, 0.5, 1, 0.25};
    uint32_t all;

    *c = (struct crew_case){.more = ""};
    draw_machine(c, r);
    draw_trace(c, r);
    draw_place(c, r);
    all = c->nodes * c->gpus;
    c->exchange = exchanges[below(r, 6)];
    c->fp8 = one_in(r, 3);
    if (!c->nvlink && c->nodes > 1)
        c->exchange = exchanges[below(r, 3)];
    if (strcmp(c->place, "moeshard") == 0)
        return;
    if (one_in(r, 3)) {
        c->interval = 1 + below(r, 4);
        c->window = 1 + below(r, 4);
        c->first = below(r, 3);
        c->renumbers = one_in(r, 4);
        c->foresee = one_in(r, 4);
        if (c->foresee)
            c->interval = 1;
    }
    if (!one_in(r, 3))
        return;
    /* Capacities are for experts that are somewhere once. */
    c->place = one_in(r, 2) ? "round-robin" : "greedy";
    c->place_more = "";
    c->slots = (c->experts + all - 1) / all * all;
    c->gate = one_in(r, 2) ? "capacity-fraction" : "capacity-factor";
    c->cf = factors[below(r, 4)];
    c->min_capacity = below(r, 4);
    c->dense_dispatch = one_in(r, 2);
}

char *crew_case_text(const struct crew_case *c)
{
    return mem_format(
        "%u x %u GPUs (%u idle), nvlink %d, %u rails, %u per root, over %d; tensor %u; "
        "%u + %u layers, %u experts, top %u of %u, hidden %u, shared %u; %u requests of "
        "%u rows, %u prefill, sources %d, missing %d, one %d, seed %llu; %s; place %s%s "
        "slots %u replica %s interval %u window %u first %u; exchange %s fp8 %d; gate %s "
        "%g %u dense %d; foresee %d renumbers %d background %d%s%s",
        c->nodes, c->gpus, c->spare, c->nvlink, c->rails, c->per_root, c->oversubscribed,
        c->tensor, c->dense_layers, c->layers, c->experts, c->top_k, c->candidates,
        c->hidden, c->shared_ffn, c->requests, c->rows, c->prefill_rows, (int)c->sources,
        c->missing, c->one_expert, (unsigned long long)c->seed, c->workload, c->place,
        c->place_more, c->slots, c->replica == NULL ? "-" : c->replica, c->interval,
        c->window, c->first, c->exchange == NULL ? "-" : c->exchange, c->fp8,
        c->gate == NULL ? "-" : c->gate, c->cf, c->min_capacity, c->dense_dispatch,
        c->foresee, c->renumbers, c->background,
        c->schedule_more == NULL ? "" : c->schedule_more,
        c->policy_more == NULL ? "" : c->policy_more);
}

/* ---- trace ---- */

/* The candidates of one row in one layer: distinct, the low ids more often. */
static void draw_cell(const struct crew_case *c, struct rng *r, uint16_t *expert)
{
    uint32_t count = c->candidates;

    if (c->missing && one_in(r, 4))
        count = below(r, c->candidates);
    for (uint32_t k = 0; k < c->candidates; k++)
        expert[k] = TRACE_NOT_RECORDED;
    for (uint32_t k = 0; k < count;) {
        double u = rng_unit(r);
        uint16_t id = (uint16_t)(u * u * c->experts);
        bool there = false;

        if (c->one_expert && k == 0)
            id = (uint16_t)(c->experts - 1);
        for (uint32_t i = 0; i < k; i++)
            there = there || expert[i] == id;
        if (!there)
            expert[k++] = id;
    }
}

static void draw_rows(struct crew_lab *lab, const uint16_t *expert_of)
{
    const struct crew_case *c = &lab->c;
    struct rng r = rng_stream(c->seed, "crew", 0);
    size_t rows = (size_t)c->requests * c->rows;
    uint16_t source = 0;

    lab->expert = mem_alloc(rows * c->layers * c->candidates, sizeof *lab->expert);
    lab->source = mem_alloc(rows, sizeof *lab->source);
    for (size_t i = 0; i < rows; i++) {
        if (c->sources == CREW_BY_ROW || i % c->rows == 0)
            source = (uint16_t)below(&r, 14);
        lab->source[i] = c->sources == CREW_UNKNOWN ? UINT16_MAX : source;
        for (uint32_t l = 0; l < c->layers; l++) {
            uint16_t *cell = lab->expert + (i * c->layers + l) * c->candidates;

            draw_cell(c, &r, cell);
            for (uint32_t k = 0; c->cyclic && k < c->candidates; k++)
                cell[k] =
                    (uint16_t)(((i / c->rows + i % c->rows) * c->top_k + k) % c->experts);
        }
    }
    for (size_t i = 0; expert_of != NULL && i < rows * c->layers * c->candidates; i++)
        if (lab->expert[i] != TRACE_NOT_RECORDED)
            lab->expert[i] = expert_of[lab->expert[i]];
}

static void must(int status, const struct err *e)
{
    if (status != 0)
        fail_msg("%s", e->text);
}

static void write_rows(const struct crew_lab *lab, struct trace_writer *t)
{
    const struct crew_case *c = &lab->c;
    struct err e = {.text = ""};
    uint64_t row = 0;

    for (uint32_t k = 0; k < c->requests; k++) {
        struct trace_request q = {.arrival_ns = -1,
                                  .prompt_tokens = c->prefill_rows,
                                  .output_tokens = c->rows - c->prefill_rows,
                                  .first_row = row,
                                  .rows = c->rows};

        for (uint32_t i = 0; i < c->rows; i++, row++) {
            struct trace_token token = {.request = k,
                                        .position = i,
                                        .phase = i < c->prefill_rows ? TRACE_PREFILL
                                                                     : TRACE_DECODE,
                                        .token_id = -1,
                                        .source = lab->source[row]};

            must(trace_writer_rows(t, 1, &token,
                                   lab->expert + row * c->layers * c->candidates, NULL,
                                   NULL, &e),
                 &e);
        }
        must(trace_writer_request(t, &q, &e), &e);
    }
    must(trace_writer_commit(t, &e), &e);
}

static void write_trace(const struct crew_lab *lab)
{
    const struct crew_case *c = &lab->c;
    char name[] = "by hand";
    uint16_t moe_layer[8];
    uint64_t bytes[8];
    struct trace_info info = {.model = name,
                              .source = name,
                              .capture = name,
                              .experts = c->experts,
                              .top_k = c->top_k,
                              .candidates = c->candidates,
                              .layers = c->layers,
                              .moe_layer = moe_layer,
                              .expert_bytes = c->expert_bytes > 0 ? bytes : NULL};
    struct err e = {.text = ""};
    struct trace_writer *t;

    assert_true(c->layers <= 8);
    for (uint32_t l = 0; l < c->layers; l++) {
        moe_layer[l] = (uint16_t)(c->dense_layers + l);
        bytes[l] = c->expert_bytes;
    }
    t = trace_writer_new(lab->trace_path, &info, &e);
    if (t == NULL)
        fail_msg("%s", e.text);
    write_rows(lab, t);
}

/* ---- model and machine ---- */

static void write_model(const struct crew_lab *lab)
{
    const struct crew_case *c = &lab->c;
    FILE *f = fopen(lab->model_path, "w");

    assert_non_null(f);
    assert_true(fprintf(f,
                        "name: tiny\nsource: by hand\nlayers: %u\nhidden: %u\n"
                        "expert_ffn: 2880\nexperts: %u\ntop_k: %u\nheads: 12\n"
                        "kv_heads: 12\nhead_dim: 16\nvocab: 1000\ngate: softmax\n"
                        "first_moe: %u\ndense_ffn: 240\nshared_ffn: %u\n"
                        "expert_bits: 16\ndense_bits: 16\n",
                        c->layers + c->dense_layers, c->hidden, c->experts, c->top_k,
                        c->dense_layers, c->shared_ffn * 12) > 0);
    assert_int_equal(fclose(f), 0);
}

/* Of the size of an H100's figures, none of them round. */
static void make_machine(struct crew_lab *lab)
{
    static char name[] = "by hand";
    const struct crew_case *c = &lab->c;
    struct machine_copy pcie = {.latency = 7 * SIM_TIME_PER_US, .bytes_per_s = 53.7e9};

    lab->machine = (struct machine){.name = name,
                                    .source = name,
                                    .gpus = c->gpus + c->spare,
                                    .nodes = 1,
                                    .gpu = {.name = name,
                                            .memory_bytes = UINT64_C(80000000000),
                                            .hbm_bytes_per_s = 3.35e12,
                                            .bf16_flops = 989.4e12,
                                            .fp32_flops = 66.9e12,
                                            .gemm_efficiency = 0.785,
                                            .expert_gemm_efficiency = 0.597,
                                            .attention_efficiency = 0.58,
                                            .memory_efficiency = 0.86,
                                            .move_efficiency = 0.362,
                                            .tiles = {3, {2, 4, 8}},
                                            .kernel_floor = 3180000,
                                            .expert_floor = 18100000,
                                            .attention_floor = 10000000},
                                    .host = {.memory_bytes = UINT64_C(1000000000000),
                                             .dram_bytes_per_s = 200e9,
                                             .flops = 21e12,
                                             .launch_eager = 5000000,
                                             .launch_graph = 1000000,
                                             .graph_launch = 10000000,
                                             .round_trip = 12000000,
                                             .copy_call = 5000000},
                                    .h2d_pinned = pcie,
                                    .h2d_pageable = pcie,
                                    .d2h_pinned = {6 * SIM_TIME_PER_US, 57.3e9},
                                    .d2h_pageable = pcie,
                                    .h2d_duplex = 0.9,
                                    .d2h_duplex = 0.9,
                                    .has_nvlink = c->nvlink,
                                    .nvlink = {720000, 360e9},
                                    .has_network = c->network,
                                    .network = {5000000, 45e9},
                                    .rails = c->rails,
                                    .oversubscription = c->oversubscribed ? 2.7 : 1,
                                    .gpus_per_root = c->per_root,
                                    .collective = {.launch = 6260000,
                                                   .share = 0.75,
                                                   .gather_share = 0.817,
                                                   .normal_dispatch = 26500000,
                                                   .normal_combine = 37700000,
                                                   .low_latency_dispatch = 10700000,
                                                   .low_latency_combine = 11100000,
                                                   .normal_share = 0.714,
                                                   .low_latency_share = 0.649}};
}

struct crew_lab *crew_lab_new(const struct crew_case *c, const uint16_t *expert_of)
{
    static unsigned number;
    struct crew_lab *lab = mem_zalloc(1, sizeof *lab);

    lab->c = *c;
    number++;
    lab->trace_path = mem_format("/tmp/moesim_crew_%ld_%u.h5", (long)getpid(), number);
    lab->model_path = mem_format("/tmp/moesim_crew_%ld_%u.yaml", (long)getpid(), number);
    draw_rows(lab, expert_of);
    write_trace(lab);
    write_model(lab);
    make_machine(lab);
    return lab;
}

void crew_lab_free(struct crew_lab *lab)
{
    (void)unlink(lab->trace_path);
    (void)unlink(lab->model_path);
    free(lab->trace_path);
    free(lab->model_path);
    free(lab->expert);
    free(lab->source);
    free(lab);
}

/* ---- running it ---- */

static char *policy_text(const struct crew_case *c)
{
    char *gate = mem_strdup(""), *renewed, *replica, *exchange;
    char *text;

    if (c->gate != NULL) {
        free(gate);
        gate = mem_format(", gate: {name: %s, cf: %.17g, dispatch: %s", c->gate, c->cf,
                          c->dense_dispatch ? "dense" : "sparse");
        if (strcmp(c->gate, "capacity-factor") == 0) {
            text = mem_format("%s, min_capacity: %u", gate, c->min_capacity);
            free(gate);
            gate = text;
        }
        text = mem_format("%s}", gate);
        free(gate);
        gate = text;
    }
    renewed = c->interval == 0
                  ? mem_strdup("")
                  : mem_format(", interval: %u, window: %u, first: %u, foresee: %d, "
                               "keep: %s, migrate: %s",
                               c->interval, c->window == 0 ? 1000 : c->window, c->first,
                               c->foresee, c->renumbers ? "no" : "yes",
                               c->background ? "background" : "blocking");
    replica =
        c->replica == NULL ? mem_strdup("") : mem_format(", replica: %s", c->replica);
    exchange =
        c->exchange == NULL ? mem_strdup("") : mem_format(", exchange: %s", c->exchange);
    text = mem_format("{name: p, place: {name: %s%s, slots: %u%s%s}, schedule: {name: "
                      "%s%s, fp8_dispatch: %s%s}%s%s}",
                      c->place, c->place_more, c->slots, replica, renewed,
                      c->schedule == NULL ? "overlapped" : c->schedule, exchange,
                      c->fp8 ? "yes" : "no",
                      c->schedule_more == NULL ? "" : c->schedule_more, gate,
                      c->policy_more == NULL ? "" : c->policy_more);
    free(gate);
    free(renewed);
    free(replica);
    free(exchange);
    return text;
}

char *crew_lab_text(const struct crew_lab *lab, const char *engine, const char *policies)
{
    const struct crew_case *c = &lab->c;
    char *own = policies == NULL ? policy_text(c) : NULL;
    char *parallel = c->tensor == 0
                         ? mem_format("{gpus: %u}", c->nodes * c->gpus)
                         : mem_format("{gpus: %u, attention: tensor, tensor: %u}",
                                      c->nodes * c->gpus, c->tensor);
    char *text = mem_format(
        "trace: %s\nmodel: %s\nmachine: by hand\nengine: %s\n"
        "seed: %llu\nworkload: %s\nparallel: %s\n%s\npolicies: [%s]\n",
        lab->trace_path, lab->model_path, engine, (unsigned long long)(c->seed & 0xffff),
        c->workload, parallel, c->more, policies == NULL ? own : policies);

    free(own);
    free(parallel);
    return text;
}

int crew_lab_run_text(const struct crew_lab *lab, const char *text, unsigned threads,
                      struct result *r, struct err *e)
{
    const struct experiment_folders folders = {"models/arch", "models/machine",
                                               "sim/policy/presets"};
    struct experiment_hooks hooks = {.machine = &lab->machine};
    struct err own = {.text = ""}, *told = e == NULL ? &own : e;
    struct cfg *config = cfg_parse("test.yaml", text, strlen(text), &own);
    int status;

    if (config == NULL)
        fail_msg("%s", own.text);
    status = experiment_run(config, &folders, threads, &hooks, r, told);
    cfg_free(config);
    if ((status == -1) != (told->text[0] != '\0') || (status != 0 && e == NULL)) {
        char *what = crew_case_text(&lab->c);

        fail_msg("%s: %d \"%s\"", what, status, told->text);
    }
    return status;
}

int crew_lab_run(const struct crew_lab *lab, const char *engine, unsigned threads,
                 struct result *r, struct err *e)
{
    char *text = crew_lab_text(lab, engine, NULL);
    int status = crew_lab_run_text(lab, text, threads, r, e);

    free(text);
    return status;
}

struct result crew_lab_result(const struct crew_lab *lab, const char *engine,
                              unsigned threads)
{
    struct result r;

    (void)crew_lab_run(lab, engine, threads, &r, NULL);
    return r;
}

struct result crew_case_result(const struct crew_case *c, const char *engine)
{
    struct crew_lab *lab = crew_lab_new(c, NULL);
    struct result r = crew_lab_result(lab, engine, 1);

    crew_lab_free(lab);
    return r;
}

/* ---- many ---- */

void crew_each_case(const char *purpose, int count, void (*body)(struct crew_case *c))
{
    const char *cases = getenv("MOESIM_CREW_CASES"), *only = getenv("MOESIM_CREW_ONLY");

    if (cases != NULL)
        count = atoi(cases);
    for (int i = 0; i < count; i++) {
        struct rng r = rng_stream(20261, purpose, (uint64_t)i);
        struct crew_case c;

        if (only != NULL && i != atoi(only))
            continue;
        crew_case_draw(&c, &r);
        body(&c);
    }
}

/* ---- checks ---- */

void crew_must(bool holds, const struct crew_case *c, const char *what, int64_t a,
               int64_t b)
{
    char *text;

    if (holds)
        return;
    text = crew_case_text(c);
    fail_msg("%s: %lld and %lld; %s; %s", what, (long long)a, (long long)b, text,
             c->more);
}

void crew_check_shares(const struct crew_case *c, const struct result *r, uint32_t p)
{
    const struct run_result *run = &r->policy[p].run;
    sim_time latency = 0;

    for (uint64_t i = 0; i < run->passes; i++) {
        struct run_pass pass;
        struct err e = {.text = ""};
        sim_time sum = 0;

        assert_int_equal(result_read_passes(r, p, i, 1, &pass, &e), 0);
        for (int s = 0; s < RUN_SHARES; s++) {
            crew_must(pass.share[s] >= 0, c, "a share is negative", s, pass.share[s]);
            sum += pass.share[s];
        }
        crew_must(sum == pass.latency, c, "shares and latency of a pass", sum,
                  pass.latency);
        latency += pass.latency;
    }
    crew_must(latency == run->total.latency, c, "passes and their sum", latency,
              run->total.latency);
    for (uint32_t l = 0; l < run->layers; l++)
        for (int s = 0; s < RUN_SHARES; s++)
            crew_must(run->layer[l].share[s] >= 0, c, "a layer's share is negative", s,
                      run->layer[l].share[s]);
}

/* How fast a replay runs: expert activations (tokens x layers x top-k) per second, on one
 * core, reading of the trace included, memory and cost model as configured below.
 *
 *   bench_replay TRACE MODEL_FOLDER MACHINE_FOLDER MACHINE BATCH ENGINE POLICY [REPEAT
 *                [GPUS]]
 *
 * ENGINE is sim (times) or count (hits only); POLICY is YAML such as
 * "{cache: {name: lru, slots: 16}}". With GPUS, that many share the experts, and
 * seconds are the processor's, not the clock's. Prints CSV:
 * one line per repetition. Outside the timed window: starting, loading the configuration,
 * counting a profile, and for oracles the look-ahead, whose time is given apart. */
#include "sim/base/mem.h"
#include "sim/exec/exec_count.h"
#include "sim/exec/exec_sim.h"
#include "sim/experiment/parallel.h"
#include "sim/run/runner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct bench {
    const char *trace_path, *engine;
    struct model *model;
    struct machine *machine;
    struct policy *policy;
    struct workload_params workload;
    struct future *future;
    uint64_t *profile; /* [layers * experts] executed choices; NULL: not needed */
    int64_t gpus;      /* 0: the runner of one GPU */
};

static double seconds(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int fail(const struct err *e)
{
    (void)fprintf(stderr, "bench_replay: %s\n", e->text);
    return 1;
}

/* The same run over several GPUs. 0 or -1. */
static int run_group(const struct bench *b, struct run_setup *s,
                     struct run_result *result, struct err *e)
{
    struct parallel_params params = {.gpus = b->gpus};
    struct exec_sim_options o = {.cost = *s->cost};
    struct parallel_setup setup;
    struct topology t;
    struct exec **exec;
    int status;

    if (parallel_topology(b->machine, &params, &t, e) != 0)
        return -1;
    parallel_fill_cache(b->policy, &t, s->trace->experts);
    if (parallel_setup_init(&setup, b->policy, &params, &t, s->cost, s->trace,
                            s->expert_bytes, e) != 0)
        return -1;
    exec = mem_alloc(t.ranks, sizeof *exec);
    setup.cost.graph = setup.may_graph;
    o.cost = setup.cost;
    o.event_driven = setup.event_driven;
    setup.run.exec = exec;
    s->parallel = &setup.run;
    s->cost = &setup.cost;
    s->expert_bytes = setup.expert_bytes;
    status = exec_sim_new_group(&o, &t, NETWORK_AS_IT_IS, NULL, exec, e);
    if (status == 0) {
        status = run_policy(s, result, e);
        for (uint32_t i = 0; i < t.ranks; i++)
            exec_sim_free(exec[i]);
    }
    free(exec);
    parallel_setup_release(&setup);
    return status;
}

/* Layers that keep no expert, and slots that are a word, as experiments have them. 0 or
 * -1. */
static int resolve(struct bench *b, const struct run_setup *s, struct err *e)
{
    struct cache_params *p = &b->policy->cache;

    policy_close_layers(b->policy, s->trace->layers, s->trace->moe_layer,
                        s->cost->model->layers);
    if (b->gpus > 0 || p->slots > 0)
        return 0;
    return cache_resolve(p, s->trace->layers, s->trace->experts, s->expert_bytes, e) ==
                   NULL
               ? 0
               : -1;
}

/* One replay; with `look_ahead`, only finds the future. Returns seconds, or -1. */
static double replay(struct bench *b, bool look_ahead, struct run_result *result,
                     struct err *e)
{
    bool count = strcmp(b->engine, "count") == 0;
    struct cost cost = {.model = b->model, .machine = b->machine};
    struct exec_sim_options options = {
        .cost = cost,
        .event_driven = policy_copies_aside(b->policy),
    };
    clockid_t clock = b->gpus > 0 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC;
    double begun = seconds(clock);
    struct trace *t = trace_open(b->trace_path, NULL, e);
    struct run_setup s = {.policy = b->policy,
                          .cost = &cost,
                          .ops = count ? &exec_count_ops : &exec_sim_ops,
                          .home = TIER_HOST,
                          .host_bytes = UINT64_MAX,
                          .decides = true,
                          .kv_room_bytes = UINT64_MAX,
                          .profile = b->profile,
                          .seed = 1};
    uint64_t *bytes;
    int status = -1;

    if (t == NULL)
        return -1;
    s.trace = trace_get_info(t);
    bytes = mem_alloc(s.trace->layers, sizeof *bytes);
    for (uint32_t l = 0; l < s.trace->layers; l++)
        bytes[l] = model_expert_bytes(b->model);
    s.expert_bytes = bytes;
    s.exec = count ? exec_count_new() : exec_sim_new(&options);
    s.workload = workload_new(t, b->model, &b->workload,
                              (policy_needs(b->policy) & NEED_SCORES) != 0, false, 1, e);
    if (s.workload != NULL && resolve(b, &s, e) != 0) {
        status = -1;
    } else if (s.workload != NULL && look_ahead) {
        s.record =
            future_writer_new(s.trace->layers, s.trace->experts, CACHE_ORDER_ID, e);
        status = s.record == NULL ? -1 : run_routing(&s, e);
        b->future = status == 0 ? future_finish(s.record, e) : NULL;
    } else if (s.workload != NULL) {
        s.future = b->future == NULL ? NULL : future_reader_new(b->future);
        status = b->gpus > 0 ? run_group(b, &s, result, e) : run_policy(&s, result, e);
        future_reader_free(s.future);
    }
    workload_free(s.workload);
    if (count)
        exec_count_free(s.exec);
    else
        exec_sim_free(s.exec);
    free(bytes);
    trace_close(t);
    return status == 0 ? seconds(clock) - begun : -1;
}

/* How often each expert is executed in the whole trace. */
static int load_profile(struct bench *b, struct err *e)
{
    struct trace *t = trace_open(b->trace_path, NULL, e);
    const struct trace_info *info;
    uint16_t *cell;
    int status = 0;

    if (t == NULL)
        return -1;
    info = trace_get_info(t);
    b->profile = mem_zalloc((size_t)info->layers * info->experts, sizeof *b->profile);
    cell = mem_alloc((size_t)info->layers * info->candidates, sizeof *cell);
    for (uint64_t row = 0; row < info->rows && status == 0; row++) {
        status = trace_read_expert(t, row, 1, cell, e);
        for (uint32_t l = 0; status == 0 && l < info->layers; l++) {
            for (uint32_t i = 0; i < info->top_k; i++) {
                uint16_t expert = cell[l * info->candidates + i];

                if (expert != TRACE_NOT_RECORDED)
                    b->profile[l * info->experts + expert]++;
            }
        }
    }
    free(cell);
    trace_close(t);
    return status;
}

static int bench(struct bench *b, const char *text, int repeat, struct err *e)
{
    double ahead = 0;

    if ((policy_needs(b->policy) & NEED_PROFILE) != 0 && load_profile(b, e) != 0)
        return fail(e);
    if ((policy_needs(b->policy) & NEED_FUTURE) != 0)
        ahead = replay(b, true, NULL, e);
    if (ahead < 0)
        return fail(e);
    for (int i = 0; i < repeat; i++) {
        struct run_result r;
        double taken = replay(b, false, &r, e);

        if (taken < 0)
            return fail(e);
        (void)printf("replay,%s,%s,batch %lld,%.4f,%.4f,%.2f,%llu,%llu\n", b->engine,
                     text, (long long)b->workload.batch, taken, ahead,
                     (double)r.total.counts.activations / taken * 1e-6,
                     (unsigned long long)r.total.counts.accesses,
                     (unsigned long long)r.total.counts.hits);
        run_result_release(&r);
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct err e = {.text = ""};
    struct bench b = {.future = NULL};
    struct cfg *config;
    int status = 1;

    if (argc < 8) {
        (void)fprintf(stderr, "usage: bench_replay TRACE MODEL_FOLDER MACHINE_FOLDER "
                              "MACHINE BATCH sim|count POLICY [REPEAT [GPUS]]\n");
        return 2;
    }
    b.trace_path = argv[1];
    b.engine = argv[6];
    b.gpus = argc > 9 ? atoll(argv[9]) : 0;
    config = cfg_parse("policy", argv[7], strlen(argv[7]), &e);
    if (config == NULL || cfg_bind(NULL, workload_options, &b.workload, &e) != 0)
        return fail(&e);
    b.workload.batch = strtoll(argv[5], NULL, 10);
    b.workload.prefill = PREFILL_SKIP;
    b.policy = policy_from_node(cfg_root(config), ".", &e);
    if (b.policy != NULL) {
        struct trace *t = trace_open(b.trace_path, NULL, &e);

        if (t != NULL)
            b.model = model_load(trace_get_info(t)->model, argv[2], &e);
        trace_close(t);
    }
    if (b.policy != NULL && b.policy->cache.layer_slots > 0)
        b.policy->cache.slots = b.policy->cache.layer_slots;
    if (b.model != NULL)
        b.machine = machine_load(argv[4], argv[3], &e);
    status = b.machine == NULL ? fail(&e)
                               : bench(&b, argv[7], argc > 8 ? atoi(argv[8]) : 1, &e);
    future_free(b.future);
    free(b.profile);
    policy_free(b.policy);
    machine_free(b.machine);
    model_free(b.model);
    cfg_free(config);
    return status;
}

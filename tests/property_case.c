#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "property_case.h"

#include "sim/base/mem.h"
#include "traces/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One draw to a statement: compilers evaluate arguments in orders of their own, and a
 * number must mean the same case for all. */
#define PICK(r, list) ((list)[property_draw(r, sizeof(list) / sizeof *(list))])

/* ---- routing ---- */

/* Skewed, often as in the row before, sometimes short. */
static void draw_row(const struct property_case *c, struct rng *r, uint16_t *expert,
                     const uint16_t *before)
{
    uint32_t count = property_draw(r, 10) == 0 ? property_draw(r, c->top_k) : c->top_k;

    memset(expert, 0xff, c->top_k * sizeof *expert);
    for (uint32_t k = 0; k < count;) {
        double u = rng_unit(r);
        uint16_t id = (uint16_t)(u * u * c->experts);
        bool there = false;

        if (before != NULL && before[k] != TRACE_NOT_RECORDED && property_draw(r, 3) == 0)
            id = before[k];
        for (uint32_t i = 0; i < k; i++)
            there = there || expert[i] == id;
        if (!there)
            expert[k++] = id;
    }
}

static void draw_routing(struct property_case *c, struct rng *r)
{
    size_t width = (size_t)c->layers * c->top_k;

    c->layers = 1 + property_draw(r, 4);
    c->experts = 2 + property_draw(r, 11);
    c->top_k = 1 + property_draw(r, c->experts < 4 ? c->experts : 4);
    c->requests = 1 + property_draw(r, 4);
    c->prompt = mem_alloc(c->requests, sizeof *c->prompt);
    c->answer = mem_alloc(c->requests, sizeof *c->answer);
    for (uint32_t q = 0; q < c->requests; q++) {
        c->prompt[q] = 1 + property_draw(r, 12);
        c->answer[q] = 1 + property_draw(r, 20);
        c->rows += c->prompt[q] + c->answer[q];
    }
    width = (size_t)c->layers * c->top_k;
    c->expert = mem_alloc(c->rows * width, sizeof *c->expert);
    for (size_t at = 0; at < (size_t)c->rows * c->layers; at++) {
        uint16_t *expert = c->expert + at * c->top_k;

        draw_row(c, r, expert, at < c->layers ? NULL : expert - width);
    }
    if (property_draw(r, 4) == 0) {
        c->expert_bytes = mem_alloc(c->layers, sizeof *c->expert_bytes);
        for (uint32_t l = 0; l < c->layers; l++)
            c->expert_bytes[l] = 100000 * (1 + rng_below(r, 9));
    }
}

/* Both are [layers, candidates] of a row; `score` is NULL where there are none. */
static void list_row(const struct property_case *c, uint64_t row, const uint16_t *to,
                     uint16_t *expert, float *score)
{
    for (uint32_t l = 0; l < c->layers; l++, expert += c->candidates) {
        uint64_t cell = row * c->layers + l;

        if (score != NULL)
            property_list_candidates(c, cell, expert, score + l * c->candidates);
        else
            memcpy(expert, c->expert + cell * c->top_k, c->top_k * sizeof *expert);
        for (uint32_t i = 0; to != NULL && i < c->candidates; i++)
            if (expert[i] != TRACE_NOT_RECORDED)
                expert[i] = to[l * c->experts + expert[i]];
    }
}

static void append(struct trace_writer *t, const struct property_case *c, uint32_t q,
                   uint64_t first, const uint16_t *to)
{
    size_t width = (size_t)c->layers * c->candidates;
    uint16_t *expert = mem_alloc(width, sizeof *expert);
    float *score =
        c->score_kind == TRACE_SCORE_NONE ? NULL : mem_alloc(width, sizeof *score);
    struct trace_request request = {.arrival_ns = (int64_t)q * 50000,
                                    .prompt_tokens = c->prompt[q],
                                    .output_tokens = c->answer[q] + 1,
                                    .first_row = first,
                                    .rows = c->prompt[q] + c->answer[q]};
    struct err e = {.text = ""};

    for (uint32_t i = 0; i < request.rows; i++) {
        struct trace_token token = {.request = q,
                                    .position = i,
                                    .phase =
                                        i < c->prompt[q] ? TRACE_PREFILL : TRACE_DECODE,
                                    .token_id = -1,
                                    .source = UINT16_MAX};

        list_row(c, first + i, to, expert, score);
        if (trace_writer_rows(t, 1, &token, expert, score, NULL, &e) != 0)
            fail_msg("%s", e.text);
    }
    assert_int_equal(trace_writer_request(t, &request, &e), 0);
    free(expert);
    free(score);
}

void property_write_trace(const struct property_case *c, const char *name,
                          const uint16_t *to)
{
    char model[] = "drawn";
    uint16_t *moe_layer = mem_alloc(c->layers, sizeof *moe_layer);
    char *path = mem_format("%s/%s", c->folder, name);
    struct trace_info info = {.model = model,
                              .source = model,
                              .capture = model,
                              .experts = c->experts,
                              .top_k = c->top_k,
                              .candidates = c->candidates,
                              .score_kind = c->score_kind,
                              .sorted = c->sorted,
                              .layers = c->layers,
                              .moe_layer = moe_layer,
                              .expert_bytes = c->expert_bytes};
    struct err e = {.text = ""};
    struct trace_writer *t;
    uint64_t row = 0;

    for (uint32_t l = 0; l < c->layers; l++)
        moe_layer[l] = (uint16_t)l;
    t = trace_writer_new(path, &info, &e);
    if (t == NULL)
        fail_msg("%s", e.text);
    for (uint32_t q = 0; q < c->requests; q++) {
        append(t, c, q, row, to);
        row += c->prompt[q] + c->answer[q];
    }
    if (trace_writer_commit(t, &e) != 0)
        fail_msg("%s", e.text);
    free(path);
    free(moe_layer);
}

/* ---- model and machine ---- */

static void write_text(const struct property_case *c, const char *name, const char *text)
{
    char *path = mem_format("%s/%s", c->folder, name);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    free(path);
}

static void draw_model(const struct property_case *c, struct rng *r)
{
    uint32_t bits = 4U << property_draw(r, 3);
    uint32_t ffn = 64U << property_draw(r, 5);
    uint32_t hidden = 64U << property_draw(r, 4);
    char *text = mem_format(
        "name: drawn\nsource: drawn\nlayers: %u\nhidden: %u\nexpert_ffn: %u\n"
        "experts: %u\ntop_k: %u\nheads: 4\nhead_dim: 64\nvocab: 1000\ngate: softmax\n"
        "expert_bits: %u\ndense_bits: 16\nactivation_bits: 16\n",
        c->layers, hidden, ffn, c->experts, c->top_k, bits);

    write_text(c, "model.yaml", text);
    free(text);
}

/* Between least and 100 times as much, evenly in the logarithm. */
static double between(struct rng *r, double least)
{
    double value = least;

    for (uint32_t steps = property_draw(r, 21); steps > 0; steps--)
        value *= 1.2589254;
    return value;
}

static double often_none(struct rng *r, double least)
{
    return property_draw(r, 3) == 0 ? 0 : between(r, least);
}

static void draw_machine(const struct property_case *c, struct rng *r)
{
    static const char *const copies[] = {"h2d_pinned", "d2h_pinned", "h2d_pageable",
                                         "d2h_pageable"};
    static const unsigned tiles[] = {1, 4, 64};
    bool few = property_draw(r, 3) == 0; /* a processor, which is slow */
    double storage = between(r, 1), nvlink = between(r, 10);
    double copy_call = often_none(r, 0.1), round_trip = between(r, 0.1);
    double graph_launch = often_none(r, 0.3), launch_graph = often_none(r, 0.1);
    double launch_eager = often_none(r, 0.1), few_rows = few ? between(r, 0.1) : 0;
    double fill_rows = often_none(r, 0.1), exposed = 0.001 + 0.999 * rng_unit(r);
    double expert_floor = often_none(r, 1), kernel_floor = often_none(r, 0.1);
    unsigned tile_rows = PICK(r, tiles);
    double flops = between(r, 1) * (few ? 0.001 : 1), hbm = between(r, 20) * 10;
    char *text = mem_format(
        "name: drawn\nsource: drawn\ngpus: 8\nnodes: 1\nunified: no\ngpu:\n"
        "  name: drawn\n"
        "  memory: {value: 80 GB, source: drawn}\n"
        "  hbm_bandwidth: {value: %.3f GB/s, source: drawn}\n"
        "  bf16_flops: {value: %.6f TFLOP/s, source: drawn}\n"
        "  fp32_flops: {value: 10 TFLOP/s, source: drawn}\n"
        "  gemm_efficiency: {value: 0.5, source: drawn}\n"
        "  memory_efficiency: {value: 0.7, source: drawn}\n"
        "  tile_rows: {value: %u, source: drawn}\n"
        "  kernel_floor: {value: %.3f us, source: drawn}\n"
        "  expert_floor: {value: %.3f us, source: drawn}\n"
        "  exposed: {value: %.3f, source: drawn}\n"
        "  fill_rows: {value: %.3f, source: drawn}\n"
        "  few_rows: {value: %.3f, source: drawn}\n"
        "host:\n"
        "  memory: {value: 1 TB, source: drawn}\n"
        "  dram_bandwidth: {value: 100 GB/s, source: drawn}\n"
        "  flops: {value: 1 TFLOP/s, source: drawn}\n"
        "  launch_eager: {value: %.3f us, source: drawn}\n"
        "  launch_graph: {value: %.3f us, source: drawn}\n"
        "  graph_launch: {value: %.3f us, source: drawn}\n"
        "  round_trip: {value: %.3f us, source: drawn}\n"
        "  copy_call: {value: %.3f us, source: drawn}\n"
        "near: {bandwidth: {value: 90 GB/s, source: drawn},\n"
        "  flops: {value: 2 TFLOP/s, source: drawn}, units: {value: 3, source: drawn}}\n"
        "duplex: {h2d: {value: 0.9, source: drawn}, d2h: {value: 0.8, source: drawn}}\n"
        "nvlink: {latency: {value: 1 us, source: drawn},\n"
        "  bandwidth: {value: %.3f GB/s, source: drawn}}\n"
        "storage: {capacity: {value: 1 TB, source: drawn},\n"
        "  latency: {value: 10 us, source: drawn},\n"
        "  bandwidth: {value: %.3f GB/s, source: drawn}}\n",
        hbm, flops, tile_rows, kernel_floor, expert_floor, exposed, fill_rows, few_rows,
        launch_eager, launch_graph, graph_launch, round_trip, copy_call, nvlink, storage);

    for (size_t i = 0; i < sizeof copies / sizeof *copies; i++) {
        double bandwidth = between(r, 1), latency = often_none(r, 0.3);
        char *longer = mem_format("%s%s: {latency: {value: %.3f us, source: drawn},\n"
                                  "  bandwidth: {value: %.3f GB/s, source: drawn}}\n",
                                  text, copies[i], latency, bandwidth);

        free(text);
        text = longer;
    }
    write_text(c, "machine.yaml", text);
    free(text);
}

/* ---- what is asked of them ---- */

static void draw_settings(struct property_case *c, struct rng *r)
{
    static const char *const machines[] = {"machine.yaml", "machine.yaml",
                                           "rtx4090-pcie4", "h100-80g"};
    static const char *const launches[] = {"auto", "auto", "eager", "graph"};
    static const char *const homes[] = {"auto", "auto\nhost_memory: 2 MB", "host", "host",
                                        "storage"};
    static const char *const alone[] = {"auto", "host"}; /* no storage to fall back on */
    static const char *const copies[] = {"", "", "pageable: yes\n", "chunk: 30 kB\n"};
    const char *machine = PICK(r, machines);
    const char *copy, *launch, *prefill;
    bool own = strchr(machine, '.') != NULL;
    uint32_t seed, sequences, budget;
    char *more;

    c->parallel = property_draw(r, 5) == 0;
    if (c->parallel && strcmp(machine, "rtx4090-pcie4") == 0)
        machine = "h100-80g";
    copy = PICK(r, copies);
    if (c->parallel) {
        const char *home = PICK(r, alone);

        more = mem_format("parallel: {gpus: %u}\nhome: %s\n%s", 1U << property_draw(r, 3),
                          home, copy);
    } else {
        more = mem_format("home: %s\n%s", PICK(r, homes), copy);
    }
    launch = PICK(r, launches);
    seed = 1 + property_draw(r, 1000);
    c->head = mem_format("model: %s/model.yaml\nmachine: %s%s%s\nseed: %u\nlaunch: %s\n"
                         "%s",
                         c->folder, own ? c->folder : "", own ? "/" : "", machine, seed,
                         launch, more);
    free(more);
    c->timeless = true;
    switch (property_draw(r, 5)) {
    case 0:
        budget = 4 + property_draw(r, 8);
        sequences = 1 + property_draw(r, 4);
        c->workload = mem_format("{mode: continuous, max_sequences: %u, token_budget: "
                                 "%u}",
                                 sequences, budget);
        break;
    case 1:
        c->timeless = false;
        c->workload = mem_format("{mode: continuous, max_sequences: %u, arrivals: "
                                 "trace}",
                                 1 + property_draw(r, 4));
        break;
    default:
        prefill = property_draw(r, 2) == 0 ? "skip" : "recorded";
        c->workload = mem_format("{mode: static, batch: %u, prefill: %s}",
                                 1 + property_draw(r, 3), prefill);
    }
}

static const char *pick_cache(struct rng *r, bool oracles)
{
    const struct plugin *const *all = registry_all();

    for (;;) {
        const struct plugin *p;
        uint32_t count = 0, at;

        while (all[count] != NULL)
            count++;
        at = property_draw(r, count);
        p = all[at];
        if (p->slot == SLOT_CACHE && (oracles || (p->needs & NEED_FUTURE) == 0))
            return p->name;
    }
}

/* The cache's own options but its room. Those that came last are of a stream of their
 * own, so that the other choices stay what they were; spare slots are for experts of one
 * size.
 */
static char *draw_cache(const struct property_case *c, struct rng *r)
{
    static const char *const protect[] = {"strict", "prefer", "none", "none"};

    uint32_t staging = 1 + property_draw(r, 2);
    bool write_back = property_draw(r, 6) == 0;
    bool recorded = property_draw(r, 2) == 0;
    bool linear = property_draw(r, 4) == 0;
    bool second = property_draw(r, 5) == 0;
    const char *of = PICK(r, protect);
    struct rng late = *r, own = rng_stream(rng_u64(&late), "swap", c->number);
    bool swaps = property_draw(&own, 3) == 0, last = linear && property_draw(&own, 2);
    bool hits_first = swaps && property_draw(&own, 2) == 0;
    uint32_t spare = swaps && c->expert_bytes == NULL ? property_draw(&own, 4) : 0;
    uint32_t in_flight = swaps ? property_draw(&own, 4) : 0;

    return mem_format("protect: %s, admission: %s, preload: %s, order: %s, "
                      "write_back: %s, staging: %u, spare: %u, in_flight: %u",
                      of, second ? "second-miss" : "always",
                      last     ? "last"
                      : linear ? "linear"
                               : "none",
                      hits_first ? "hits-first"
                      : recorded ? "recorded"
                                 : "id",
                      write_back || (swaps && spare > 1) ? "yes" : "no", staging, spare,
                      in_flight);
}

static char *draw_room(const struct property_case *c, struct rng *r, uint32_t experts)
{
    bool global = property_draw(r, 3) == 0;
    uint32_t most = global ? c->layers * experts : experts;
    uint64_t largest = 100000 * 9;

    if (property_draw(r, 4) == 0 && c->expert_bytes != NULL)
        return mem_format(
            "scope: %s, bytes: %llu B", global ? "global" : "layer",
            (unsigned long long)(largest * c->layers * (1 + property_draw(r, experts))));
    return mem_format("scope: %s: %u", global ? "global, total_slots" : "layer, slots",
                      1 + property_draw(r, most));
}

static const char *const gates[] = {"dropless", "dropless", "dropless",
                                    "{name: capacity-factor, cf: 1}"};

static const char *draw_gate(const struct property_case *c, struct rng *r)
{
    const char *gate = PICK(r, gates);

    return gate[0] == '{' && c->number % 4 < 2
               ? "{name: capacity-factor, cf: 1, dispatch: dense}"
               : gate;
}

/* How a schedule launches experts; in two cases of five not as usual. A stream of its
 * own, so that the other choices stay what they were. */
static const char *draw_launch(const struct property_case *c)
{
    static const char *const launched[] = {"", ", experts: serial",
                                           ", experts: serial, empty: yes"};
    struct rng r = rng_stream(c->number, "launch", 0);

    return c->number / 6 % 5 < 3 ? "" : PICK(&r, launched);
}

/* Prefetch for a cache: none where both together are refused. */
static const char *draw_prefetch(const struct property_case *c, struct rng *r,
                                 const char *cache)
{
    static const char *const early[] = {
        "none",
        "none",
        "{name: oracle, distance: 1}",
        "{name: oracle, distance: 4, width: 2}",
        "{name: frequency, distance: 1}",
        "{name: previous-token, distance: 2, candidates: 3}",
        "{name: markov, distance: 1, width: 1}",
    };
    const char *prefetch = PICK(r, early);
    bool foreseen = strstr(prefetch, "oracle") != NULL;

    if (strcmp(cache, "pin") == 0 || (foreseen && !c->timeless) ||
        (strcmp(cache, "belady-bypass") == 0 && !foreseen))
        return "none";
    return prefetch;
}

static bool draw_hosts(const struct property_case *c, struct rng *r)
{
    return property_draw(r, 6) == 0 && strstr(c->head, "home: host") != NULL;
}

/* Closing layers changes what other sizes of a cache mean than slots of a layer. */
static const char *draw_offload(const struct property_case *c, struct rng *r, bool hosts,
                                const char *room)
{
    static const char *const offloads[] = {
        "host",
        "fiddler",
        "fiddler",
        "{name: hybrid, fetch: 1}",
        "{name: layers, count: 1, batch: 3}",
        "{name: layers, side: last, whole: yes, batch: never}",
        "monde",
        "{name: monde, hot: 1, link: shared}"};
    const char *offload = hosts ? PICK(r, offloads) : "fetch";

    if ((strstr(offload, "monde") != NULL && strstr(c->head, "machine.yaml") == NULL) ||
        (strstr(offload, "layers") != NULL && strncmp(room, "slots", 5) != 0))
        return "fiddler";
    return offload;
}

/* `parts`: rows may go through a layer in several. */
static const char *draw_schedule(const struct property_case *c, struct rng *r, bool parts)
{
    static const char *const whole[] = {"serial", "overlapped", "overlapped",
                                        "overlapped"};
    static const char *const several[] = {"pipelined", "two-batch"};
    uint64_t drawn = property_draw(r, 4);

    return parts && c->number % 5 < 2 ? several[drawn % 2] : whole[drawn];
}

static char *draw_parallel_policy(const struct property_case *c, struct rng *r)
{
    static const char *const places[] = {"linear", "greedy", "round-robin", "random"};
    static const char *const exchanges[] = {"auto", "flat", "normal", "low-latency"};
    const char *cache = pick_cache(r, c->timeless);
    const char *prefetch = draw_prefetch(c, r, cache);
    char *options = draw_cache(c, r), *room = draw_room(c, r, 1), *text;
    bool keeps = property_draw(r, 3) > 0, hosts = keeps && draw_hosts(c, r);
    const char *exchange, *schedule, *gate;
    bool parts = !hosts && (!keeps || (strstr(cache, "belady") == NULL &&
                                       strstr(prefetch, "oracle") == NULL));
    char *kept = keeps ? mem_format("cache: {name: %s, %s, %s}, prefetch: %s, "
                                    "offload: %s, ",
                                    cache, room, options, prefetch,
                                    draw_offload(c, r, hosts, room))
                       : mem_strdup("");

    exchange = PICK(r, exchanges);
    schedule = draw_schedule(c, r, parts);
    gate = draw_gate(c, r);
    text = mem_format("{%splace: %s, gate: %s, schedule: {name: %s, exchange: %s%s}}",
                      kept, PICK(r, places), gate, schedule, exchange, draw_launch(c));
    free(kept);
    free(room);
    free(options);
    return text;
}

static char *draw_policy(const struct property_case *c, struct rng *r)
{
    const char *cache = pick_cache(r, c->timeless);
    const char *prefetch = draw_prefetch(c, r, cache);
    char *options = draw_cache(c, r), *room = draw_room(c, r, c->experts), *text;
    bool hosts = draw_hosts(c, r);
    const char *gate = draw_gate(c, r);

    text = mem_format("{cache: {name: %s, %s, %s}, prefetch: %s, schedule: {name: %s%s}, "
                      "gate: %s, offload: %s}",
                      cache, room, options, prefetch,
                      property_draw(r, 4) == 0 ? "serial" : "overlapped", draw_launch(c),
                      gate, draw_offload(c, r, hosts, room));
    free(room);
    free(options);
    return text;
}

/* ---- the whole ---- */

struct property_case *property_case_new(uint64_t number)
{
    struct property_case *c = mem_zalloc(1, sizeof *c);
    struct rng r = rng_stream(number, "property", 0);
    char folder[] = "/tmp/moesim_property_XXXXXX";

    assert_non_null(mkdtemp(folder));
    c->number = number;
    c->folder = mem_strdup(folder);
    draw_routing(c, &r);
    property_draw_scores(c);
    property_write_trace(c, "trace.h5", NULL);
    draw_model(c, &r);
    draw_machine(c, &r);
    draw_settings(c, &r);
    for (int i = 0; i < PROPERTY_POLICIES; i++)
        c->policy[i] = property_with_select(c, (uint32_t)i,
                                            c->parallel ? draw_parallel_policy(c, &r)
                                                        : draw_policy(c, &r));
    return c;
}

void property_case_free(struct property_case *c)
{
    for (int i = 0; i < PROPERTY_POLICIES; i++)
        free(c->policy[i]);
    free(c->workload);
    free(c->head);
    free(c->expert_bytes);
    free(c->expert);
    free(c->answer);
    free(c->prompt);
    free(c->folder);
    free(c);
}

void property_case_remove(struct property_case *c)
{
    static const char *const names[] = {"trace.h5", "relabelled.h5", "model.yaml",
                                        "machine.yaml"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = mem_format("%s/%s", c->folder, names[i]);

        (void)unlink(path);
        free(path);
    }
    assert_int_equal(rmdir(c->folder), 0);
    property_case_free(c);
}

char *property_config(const struct property_case *c, const char *trace,
                      const char *workload, const char *more, char *const *policy,
                      uint32_t first, uint32_t count)
{
    char *text = mem_format("trace: %s/%s\n%s%sworkload: %s\npolicies:\n", c->folder,
                            trace, c->head, more, workload);

    for (uint32_t i = first; i < first + count; i++) {
        char *longer =
            mem_format("%s- {name: p%u, %s\n", text, i, policy[i] + 1 /* its brace */);

        free(text);
        text = longer;
    }
    return text;
}

/* The device executor on a tiny model, whatever the policy: what the layers give is what
 * they give with every expert resident, and what was done is what the simulated run
 * counts. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tiny_device.h"

#include "gpu/block.h"
#include "gpu/reference.h"
#include "sim/base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESIDENT "{cache: {name: lru, slots: 8, preload: linear}}"

/* ---- policies ---- */

struct tour {
    struct tiny *t;
    struct tiny_outputs expected;
    uint32_t runs;
};

/* Plug-ins of a slot that change no outputs, one by one. */
static const struct plugin *next_lossless(enum policy_slot slot, size_t *at)
{
    const struct plugin *const *all = registry_all();

    for (; all[*at] != NULL; (*at)++)
        if (all[*at]->slot == slot && all[*at]->lossless)
            return all[(*at)++];
    return NULL;
}

/* What some plug-ins do not go together with, as policy.c has it. */
static bool go_together(const char *cache, const char *prefetch)
{
    if (strcmp(prefetch, "none") == 0)
        return true;
    if (strcmp(cache, "belady-bypass") == 0)
        return strcmp(prefetch, "oracle") == 0;
    return strcmp(cache, "pin") != 0;
}

static void try_cache(struct tour *tour, const char *cache)
{
    const struct plugin *prefetch, *schedule;

    for (size_t i = 0; (prefetch = next_lossless(SLOT_PREFETCH, &i)) != NULL;) {
        if (!go_together(cache, prefetch->name))
            continue;
        for (size_t k = 0; (schedule = next_lossless(SLOT_SCHEDULE, &k)) != NULL;) {
            char *policy = mem_format("{cache: {name: %s, slots: 3}, prefetch: %s, "
                                      "schedule: %s}",
                                      cache, prefetch->name, schedule->name);

            tiny_check(tour->t, policy, true, &tour->expected);
            tour->runs++;
            free(policy);
        }
    }
}

static void test_every_plugin(void **state)
{
    struct model m = tiny_model();
    struct tour tour = {.runs = 0};
    const struct plugin *cache;
    struct tiny t;

    (void)state;
    tiny_open(&t, &m, 0);
    tour.t = &t;
    tiny_check(&t, RESIDENT, false, &tour.expected);
    for (size_t i = 0; (cache = next_lossless(SLOT_CACHE, &i)) != NULL;)
        try_cache(&tour, cache->name);
    assert_true(tour.runs >= 100);
    free(tour.expected.value);
    tiny_close(&t);
}

/* Where missing experts run, beside each schedule and a prefetcher. */
static void test_every_offload(void **state)
{
    struct model m = tiny_model();
    struct tiny_outputs expected = {.count = 0};
    const struct plugin *offload, *schedule;
    struct tiny t;

    (void)state;
    tiny_open(&t, &m, 0);
    tiny_check(&t, RESIDENT, false, &expected);
    for (size_t i = 0; (offload = next_lossless(SLOT_OFFLOAD, &i)) != NULL;) {
        for (size_t k = 0; (schedule = next_lossless(SLOT_SCHEDULE, &k)) != NULL;) {
            char *alone = mem_format("{cache: {name: lru, slots: 3, preload: linear}, "
                                     "offload: %s, schedule: %s}",
                                     offload->name, schedule->name);
            char *early = mem_format("{cache: {name: lru, slots: 3}, offload: %s, "
                                     "prefetch: previous-token, schedule: %s}",
                                     offload->name, schedule->name);

            tiny_check(&t, alone, false, &expected);
            tiny_check(&t, early, true, &expected);
            free(alone);
            free(early);
        }
    }
    free(expected.value);
    tiny_close(&t);
}

/* Parameters of the cache that change how slots are used. */
static void test_slots(void **state)
{
    static const char *const policies[] = {
        RESIDENT,
        "{cache: {name: lru, slots: 1}}",
        "{cache: {name: lru, slots: 1, protect: none}}",
        "{cache: {name: lru, slots: 2, protect: prefer, staging: 2}}",
        "{cache: {name: lru, total_slots: 7, scope: global}}",
        "{cache: {name: lru, slots: 3, write_back: yes}}",
        "{cache: {name: lru, slots: 2, write_back: yes, protect: none}, schedule: "
        "serial}",
        "{cache: {name: lifo, slots: 3, admission: second-miss, preload: linear}}",
        "{cache: {name: s3fifo, total_slots: 5, scope: global, write_back: yes}, "
        "prefetch: {name: markov, distance: 2}}",
        "{cache: {name: lru, slots: 2}, prefetch: {name: oracle, distance: 4, width: 3}}",
        "{cache: {name: lru, slots: 3, spare: 1, order: hits-first, preload: last}}",
        "{cache: {name: lru, slots: 2, protect: prefer, spare: 4, in_flight: 3, order: "
        "hits-first, preload: last, write_back: yes}, schedule: serial}",
        "{cache: {name: lru, slots: 4, protect: prefer, spare: 2, in_flight: 1, order: "
        "recorded, write_back: yes}}",
        "{cache: {name: lifo, total_slots: 5, scope: global, spare: 3, in_flight: 2, "
        "write_back: yes}, prefetch: {name: markov, distance: 2}}",
    };
    struct model m = tiny_model();
    struct tiny_outputs expected = {.count = 0};
    struct tiny t;

    (void)state;
    tiny_open(&t, &m, 0);
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++)
        tiny_check(&t, policies[i], true, &expected);
    free(expected.value);
    tiny_close(&t);
}

/* Lossy, but the same whatever is resident; a static gate pads every expert. */
static void test_gates(void **state)
{
    static const char *const gates[] = {"{name: capacity-factor, cf: 0.8}",
                                        "{name: capacity-fraction, cf: 0.7}"};
    struct model m = tiny_model();
    struct tiny t;

    (void)state;
    tiny_open(&t, &m, 0);
    for (size_t i = 0; i < sizeof gates / sizeof *gates; i++) {
        struct tiny_outputs expected = {.count = 0};
        char *resident = mem_format(
            "{gate: %s, cache: {name: lru, slots: 8, preload: linear}}", gates[i]);
        char *lru = mem_format("{gate: %s, cache: {name: lru, slots: 3}}", gates[i]);
        char *host = mem_format(
            "{gate: %s, cache: {name: lru, slots: 3, preload: linear}, offload: host}",
            gates[i]);

        tiny_check(&t, resident, false, &expected);
        tiny_check(&t, lru, false, &expected);
        tiny_check(&t, host, false, &expected);
        free(resident);
        free(lru);
        free(host);
        free(expected.value);
    }
    tiny_close(&t);
}

/* Lossy, but the same whatever is resident; or, by what is resident, the same however
 * what is missing comes. Each does change something. */
static void test_every_select(void **state)
{
    static const char *const selects[] = {
        "lynx, drop: 0.5, phases: all",
        "affinity-binning, alpha: 1, theta: 1.2, margin: 2, phases: all",
        "budget, experts: 3, phases: all",
        "oea, phases: all",
        "top-k, phases: all",
        "naee, beta: 0.6",
        "eras-threshold, alpha: 0.3",
        "eras-bias, beta: 2"};
    static const char *const ways[] = {
        "cache: {name: lru, slots: 3}",
        "cache: {name: lru, slots: 3}, schedule: serial",
        "cache: {name: lru, slots: 8, preload: linear}",
        "cache: {name: lru, slots: 3}, prefetch: {name: previous-token, distance: 1}",
        "cache: {name: s3fifo, slots: 4, preload: linear, write_back: yes}",
        "cache: {name: lru, slots: 3, preload: linear}, offload: host"};
    struct tiny_outputs plain = {.count = 0};
    struct model m = tiny_model();
    struct tiny t;

    (void)state;
    tiny_open(&t, &m, 0);
    tiny_check(&t, RESIDENT, false, &plain);
    for (size_t i = 0; i < sizeof selects / sizeof *selects; i++) {
        bool by_residency = strncmp(selects[i], "eras", 4) == 0;
        struct tiny_outputs expected = {.count = 0};

        for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
            char *policy = mem_format("{select: {name: %s}, %s}", selects[i], ways[k]);
            struct tiny_outputs own = {.count = 0};

            tiny_check(&t, policy, true, k > 1 && by_residency ? &own : &expected);
            free(own.value);
            free(policy);
        }
        assert_true(tiny_difference(&expected, &plain) > t.close);
        free(expected.value);
    }
    free(plain.value);
    tiny_close(&t);
}

/* ---- other models ---- */

static void check_model(const struct model *m, uint64_t expert_budget_bytes)
{
    struct tiny_outputs expected = {.count = 0};
    struct tiny t;

    tiny_open(&t, m, expert_budget_bytes);
    tiny_check(&t, RESIDENT, false, &expected);
    tiny_check(&t, "{cache: {name: lru, slots: 3}}", false, &expected);
    free(expected.value);
    tiny_close(&t);
}

static void test_models(void **state)
{
    struct model latent = tiny_model(), low = tiny_model(), plain = tiny_model();

    (void)state;
    latent.attention = low.attention = MODEL_ATTENTION_MLA;
    latent.kv_rank = low.kv_rank = 24;
    latent.rope_dim = low.rope_dim = 8;
    low.q_rank = 40;
    plain.matrices = 2;
    plain.moe_every = 2;
    plain.moe_layers = 2;
    plain.shared_ffn = 0;
    plain.window = 0;
    check_model(&latent, 0);
    check_model(&low, 0);
    check_model(&plain, 0);
}

static void test_shared_weights(void **state)
{
    struct model m = tiny_model();
    struct weights_options o = {.model = &m, .seed = 1, .dense_budget_bytes = 250000};
    struct tiny t;
    struct weights *w;
    struct err e = {.text = ""};
    char *text;

    (void)state;
    check_model(&m, 5 * model_expert_bytes(&m));
    tiny_open(&t, &m, 5 * model_expert_bytes(&m) + 7);
    text = weights_describe(t.weights);
    assert_string_equal(text, "5 of 24 experts are distinct in host memory; the others "
                              "share their weights.");
    free(text);
    assert_ptr_equal(weights_expert(t.weights, 0, 7), weights_expert(t.weights, 1, 4));
    assert_ptr_not_equal(weights_expert(t.weights, 0, 0),
                         weights_expert(t.weights, 0, 1));
    w = weights_new(t.device, &o, &e);
    assert_non_null(w);
    text = weights_describe(w);
    assert_non_null(strstr(text, " of 4 attention blocks are distinct"));
    assert_non_null(strstr(text, " of 3 shared FFNs are distinct"));
    free(text);
    weights_free(w);
    tiny_close(&t);
}

static uint64_t crowded_bytes;

static void crowded_info(struct device *d, struct device_info *info)
{
    device_host.info(d, info);
    info->local_free_bytes = crowded_bytes;
}

/* Weights that are shared, caches that are, both, or neither. */
static void test_what_is_shared_is_told(void **state)
{
    static const char caches[] = "The KV caches of 4 attention blocks share 1 buffers.",
                      experts[] = "5 of 24 experts are distinct in host memory; the "
                                  "others share their weights.";
    const struct cost_batch largest = {.tokens = 3, .outputs = 3, .kv_tokens = 15};
    const uint32_t layer = 0, expert = 0;
    const struct exec_slots slots = {1, &layer, &expert};
    struct model m = tiny_model();
    struct device_ops ops = device_host;

    (void)state;
    ops.info = crowded_info;
    for (int i = 0; i < 4; i++) {
        struct exec_device_options o = {.model = &m, .largest = &largest};
        struct err e = {.text = ""};
        struct exec *x;
        struct tiny t;
        char *said, *wanted;

        tiny_open(&t, &m, i % 2 == 0 ? 0 : 5 * model_expert_bytes(&m));
        t.device->ops = &ops;
        crowded_bytes = i < 2 ? UINT64_C(1) << 30 : 0;
        o.device = t.device;
        o.streams = &t.streams;
        o.weights = t.weights;
        x = exec_device_new(&o);
        assert_int_equal(exec_device_ops.begin(x, &slots, &e), 0);
        said = exec_device_describe(x);
        wanted = mem_format("%s%s%s", i % 2 == 0 ? "" : experts, i == 3 ? " " : "",
                            i < 2 ? "" : caches);
        assert_string_equal(said, wanted);
        free(said);
        free(wanted);
        exec_device_free(x);
        t.device->ops = &device_host;
        tiny_close(&t);
    }
}

/* Of layers 0 to 8 here 2, 5 and 8 have experts: the FFNs of each kind lie one after
 * another in the order of their layers. */
static void test_every_layer_has_its_ffn(void **state)
{
    static const uint32_t layer[2][6] = {{0, 1, 3, 4, 6, 7}, {2, 5, 8}};
    static const uint32_t count[2] = {6, 3};
    struct model m = tiny_model();
    struct weights_options o = {.model = &m, .seed = 1, .expert_budget_bytes = 1 << 20};
    struct err e = {.text = ""};
    struct device_ffn ffn;
    struct device *d;
    struct weights *w;
    bool missing;

    (void)state;
    m.layers = 9;
    m.first_moe = 2;
    m.moe_every = 3;
    m.moe_layers = 3;
    assert_int_equal(device_open("host", &d, &missing, &e), 0);
    w = weights_new(d, &o, &e);
    assert_non_null(w);
    for (uint32_t k = 0; k < 2; k++) {
        const char *first = weights_ffn(w, layer[k][0], &ffn);
        ptrdiff_t step = (const char *)weights_ffn(w, layer[k][1], &ffn) - first;

        assert_int_equal(ffn.inner, k == 0 ? m.dense_ffn : m.shared_ffn);
        assert_true(step > 0);
        for (uint32_t i = 2; i < count[k]; i++)
            assert_ptr_equal(weights_ffn(w, layer[k][i], &ffn), first + i * step);
    }
    weights_free(w);
    device_close(d);
}

/* ---- what must be noticed ---- */

/* A runner that forgets what a copy or a group comes after overwrites slots that are
 * being read, or reads them before they are filled. The same runs with their dependencies
 * are right. */
static void test_broken_order(void **state)
{
    static const struct tiny_case cases[] = {
        {.policy = "{cache: {name: lru, slots: 1, protect: none}}", .drop_copies = true},
        {.policy = "{cache: {name: lru, slots: 2}}", .drop_copies = true},
        {.policy = "{cache: {name: lru, slots: 3}}", .drop_groups = true},
    };
    struct model m = tiny_model();
    struct tiny_case right = {.policy = RESIDENT};
    struct tiny_outputs expected, outputs;
    struct run_result r;
    struct tiny t;

    (void)state;
    tiny_open(&t, &m, 0);
    tiny_execute(&t, &right, &r, &expected, NULL);
    run_result_release(&r);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tiny_case c = cases[i];

        c.stall_ns = c.drop_copies ? 2e5 : 0.0;
        c.stall_copy_ns = c.drop_groups ? 5e5 : 0.0;
        tiny_execute(&t, &c, &r, &outputs, NULL);
        run_result_release(&r);
        if (tiny_difference(&outputs, &expected) < 1e-5)
            fail_msg("%s: nobody noticed", c.policy);
        free(outputs.value);
        c.drop_copies = c.drop_groups = false;
        tiny_execute(&t, &c, &r, &outputs, NULL);
        run_result_release(&r);
        assert_true(tiny_difference(&outputs, &expected) < 1e-5);
        free(outputs.value);
    }
    free(expected.value);
    tiny_close(&t);
}

struct waits {
    uint32_t count[8]; /* by layer */
    uint64_t groups;
};

static void count_wait(void *context, op_id id, enum op_kind kind, enum op_lane lane,
                       uint32_t layer, uint32_t expert, const struct op_times *t)
{
    struct waits *w = context;

    (void)id;
    w->groups += kind == OP_EXPERTS;
    if (kind != OP_HOST)
        return;
    assert_int_equal(lane, LANE_HOST);
    assert_int_equal(expert, 0);
    assert_int_equal(t->issued, t->start);
    assert_true(t->start > 0 && t->end >= t->start && layer < 8);
    w->count[layer]++;
}

/* The host waits for every layer's gate and for the head; each is told of. */
static void test_waits_are_told(void **state)
{
    struct model m = tiny_model();
    struct waits waits = {.count = {0}};
    struct run_result r;
    struct exec_device_options o = {.observe = count_wait, .observe_context = &waits};
    struct run_case c = {.policy = "{cache: {name: lru, slots: 3}}",
                         .ops = &exec_device_ops,
                         .unchecked = true};
    struct tiny t;

    (void)state;
    tiny_open(&t, &m, 0);
    o.device = t.device;
    o.streams = &t.streams;
    o.weights = t.weights;
    o.model = &t.model;
    c.exec = exec_device_new(&o);
    run_world_run(t.world, &c, &r);
    assert_int_equal(exec_device_counts(c.exec).groups, waits.groups);
    assert_true(waits.groups >= r.passes * t.model.moe_layers);
    assert_int_equal(exec_device_counts(c.exec).host_runs, 0);
    /* The head's is told under layer 0. */
    for (uint32_t l = 0; l < t.model.moe_layers; l++)
        assert_int_equal(waits.count[l], l == 0 ? 2 * r.passes : r.passes);
    run_result_release(&r);
    exec_device_free(c.exec);
    tiny_close(&t);
}

/* ---- copies ---- */

static struct {
    size_t count, bytes[8];
    const char *to[8], *from[8];
    const struct device_stream *stream[8];
} copied;

static void note_copy(struct device *d, struct device_stream *s, void *to,
                      const void *from, size_t bytes)
{
    if (copied.count < 8) {
        copied.bytes[copied.count] = bytes;
        copied.to[copied.count] = to;
        copied.from[copied.count] = from;
        copied.stream[copied.count] = s;
    }
    copied.count++;
    device_host.copy(d, s, to, from, bytes);
}

/* What was copied last: in pieces of `chunk` one after another, `bytes` in all. */
static void expect_pieces(size_t chunk, size_t bytes, const void *from,
                          const struct device_stream *s)
{
    size_t at = 0;

    for (size_t i = 0; i < copied.count; i++) {
        assert_int_equal(copied.bytes[i], bytes - at < chunk ? bytes - at : chunk);
        assert_ptr_equal(copied.to[i], copied.to[0] + at);
        assert_ptr_equal(copied.from[i], copied.from[0] + at);
        assert_ptr_equal(copied.stream[i], s);
        at += copied.bytes[i];
    }
    assert_int_equal(at, bytes);
    assert_ptr_equal(copied.from[0], from);
    copied.count = 0;
}

/* An expert of 3 x 64 x 48 floats in chunks: three of 10000 and the rest, one alone where
 * there is no limit or one that is as large; there by the class's stream, back by its
 * own. Slots are padded to 256 bytes, which 36864 are a multiple of. */
static void test_copies_in_chunks(void **state)
{
    enum { BYTES = 3 * 64 * 48 * 4 };
    static const uint64_t limit[] = {10000, 0, BYTES, BYTES - 1, BYTES + 1};
    static const uint64_t chunk[] = {10000, BYTES, BYTES, BYTES - 1, BYTES};
    const uint32_t nothing[3] = {UINT32_MAX, 4, UINT32_MAX}, layer[3] = {0, 1, 0};
    const struct exec_slots slots = {3, layer, nothing};
    const char *pool;
    struct op_times times;
    sim_time begun, ended;
    op_id id;
    struct model m = tiny_model();
    struct exec_device_options o = {.model = &m};
    struct device_ops ops = device_host;
    struct exec_device_counts counts;
    struct err e = {.text = ""};
    struct exec *x;
    struct tiny t;

    (void)state;
    tiny_open(&t, &m, 0);
    ops.copy = note_copy;
    t.device->ops = &ops;
    o.device = t.device;
    o.streams = &t.streams;
    o.weights = t.weights;
    x = exec_device_new(&o);
    copied.count = 0;
    assert_int_equal(exec_device_ops.begin(x, &slots, &e), 0);
    pool = copied.to[0] - BYTES; /* the second slot was filled */
    expect_pieces(BYTES, BYTES, weights_expert(t.weights, 1, 4), t.streams.compute);
    for (uint32_t i = 0; i < 5; i++) {
        struct op op = {
            .kind = OP_COPY_IN,
            .lane = LANE_COPY_IN,
            .class_ = i == 1 ? WORK_PREFETCH : WORK_DEMAND,
            .layer = 2,
            .copy = {
                .expert = 3 + i, .slot = 2, .bytes = BYTES, .chunk_bytes = limit[i]}};

        begun = exec_device_ops.now(x);
        id = exec_device_ops.submit(x, &op);
        assert_ptr_equal(copied.to[0], pool + (size_t)2 * BYTES);
        expect_pieces((size_t)chunk[i], BYTES, weights_expert(t.weights, 2, 3 + i),
                      t.streams.in[op.class_]);
        /* Nothing is read back of a copy. The host's clock and the device's are tied with
         * an error, so each is compared with itself. */
        ended = exec_device_ops.wait(x, id);
        exec_device_ops.times(x, &id, 1, &times);
        assert_true(times.end > times.start && ended > begun);
        assert_true(exec_device_ops.done(x, id));
        assert_int_equal(copied.count, 0);
        assert_int_equal(exec_device_ops.drain(x, &e), 0);
        op.kind = OP_COPY_OUT;
        op.lane = LANE_COPY_OUT;
        (void)exec_device_ops.submit(x, &op);
        assert_int_equal(exec_device_ops.drain(x, &e), 0);
        /* What goes out is what had come in. */
        assert_memory_equal(copied.to[0], weights_expert(t.weights, 2, 3 + i), BYTES);
        expect_pieces((size_t)chunk[i], BYTES, pool + (size_t)2 * BYTES, t.streams.out);
    }
    counts = exec_device_counts(x);
    assert_int_equal(counts.copies[WORK_DEMAND], 4);
    assert_int_equal(counts.in_bytes[WORK_DEMAND], 4 * BYTES);
    assert_int_equal(counts.copies[WORK_PREFETCH], 1);
    assert_int_equal(counts.in_bytes[WORK_PREFETCH], BYTES);
    assert_int_equal(counts.copies_out, 5);
    assert_int_equal(counts.out_bytes, 5 * BYTES);
    assert_int_equal(counts.groups + counts.host_runs, 0);
    exec_device_free(x);
    t.device->ops = &device_host;
    tiny_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_plugin),
        cmocka_unit_test(test_every_offload),
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_gates),
        cmocka_unit_test(test_every_select),
        cmocka_unit_test(test_models),
        cmocka_unit_test(test_shared_weights),
        cmocka_unit_test(test_every_layer_has_its_ffn),
        cmocka_unit_test(test_broken_order),
        cmocka_unit_test(test_waits_are_told),
        cmocka_unit_test(test_copies_in_chunks),
        cmocka_unit_test(test_what_is_shared_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

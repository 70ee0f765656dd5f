/* Latencies of the runner worked out by hand on a machine in round numbers (run_world.h):
 * a dense block takes 6, a gate 2, a group of experts 6, a head 3, a host round trip 5, a
 * copy of one expert 10 microseconds. Expected times are built from these parts in the
 * order in which they happen. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "run_world.h"

#include "sim/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DENSE WORLD_DENSE
#define GATE WORLD_GATE
#define GROUP WORLD_GROUP
#define HEAD WORLD_HEAD
#define TRIP WORLD_TRIP
#define FLOW WORLD_FLOW
#define US WORLD_FLOOR

/* A run of which every pass is looked at. */
struct timed {
    struct run_result r;
    struct run_pass pass[8];
};

static struct timed run(const struct run_world *w, const struct run_case *c)
{
    struct run_case kept = *c;
    struct timed t = {.r = {.layer = NULL}};

    kept.keep_passes = true;
    run_world_run(w, &kept, &t.r);
    assert_true(t.r.passes <= 8);
    rewind(t.r.pass_spool);
    assert_int_equal(fread(t.pass, sizeof *t.pass, t.r.passes, t.r.pass_spool),
                     t.r.passes);
    run_result_release(&t.r);
    return t;
}

static void check_pass(const struct run_pass *p, sim_time dense, sim_time expert,
                       sim_time copy, sim_time host)
{
    assert_int_equal(p->share[SHARE_DENSE], dense);
    assert_int_equal(p->share[SHARE_EXPERT], expert);
    assert_int_equal(p->share[SHARE_COPY], copy);
    assert_int_equal(p->share[SHARE_HOST], host);
    assert_int_equal(
        p->share[SHARE_COMM] + p->share[SHARE_IMBALANCE] + p->share[SHARE_HOSTED], 0);
    assert_int_equal(p->latency, dense + expert + copy + host);
}

/* ---- launches ---- */

/* Two layers and the head: 2 x 14 + 3 kernels of 1 us. From a graph the host launches
 * once, and waits for the tokens at the end. */
static void test_graph(void **state)
{
    struct run_world *w = run_world_spelled(2, 4, 2, "01|2 3|01");
    struct run_case c = {.policy = "{cache: {name: lru, slots: 4, preload: linear}}",
                         .running_ahead = true,
                         .graph = true};
    sim_time dense = 2 * (DENSE + GATE) + HEAD;
    struct timed t;

    (void)state;
    w->machine.host.graph_launch = 7 * US;
    w->machine.host.launch_eager = 1000 * US; /* never paid */
    t = run(w, &c);
    check_pass(&t.pass[0], dense, 2 * GROUP, 0, 7 * US + TRIP);
    check_pass(&t.pass[1], dense, 2 * GROUP, 0, 7 * US + TRIP);
    assert_int_equal(t.pass[1].start, t.pass[0].latency);
    /* A kernel node of the graph takes at least so long. */
    w->machine.host.launch_graph = 2 * US;
    t = run(w, &c);
    check_pass(&t.pass[0], 2 * dense, 4 * GROUP, 0, 7 * US + TRIP);
    run_world_free(w);
}

/* What the cost functions say of a pass of decodes: each layer is asked for by itself. */
static sim_time sum_of_costs(const struct cost *c, const struct cost_batch *b,
                             const struct cost_experts *work)
{
    sim_time sum = cost_head(c, b);

    for (uint32_t l = c->model->encoder_layers; l < c->model->layers; l++) {
        sum += cost_dense(c, l, b);
        if (model_layer_is_moe(c->model, l))
            sum += cost_gate(c, b->tokens) + cost_expert_group(c, work);
    }
    return sum;
}

/* Real architectures, whose layers differ: dense and MoE ones, windowed ones, encoder and
 * decoder. One row on experts {0 .. k-1} in every layer, all resident, from a graph. */
static void test_layers_that_differ(void **state)
{
    static const char *const models[] = {"gpt-oss-20b", "deepseek-v2-lite",
                                         "switch-base-8", "nllb-moe-54b",
                                         "llama-4-maverick"};

    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        struct err e = {.text = ""};
        struct model *m = model_load(models[i], "models/arch", &e);
        struct machine *k =
            machine_load(i % 2 == 0 ? "rtx4090-pcie4" : "h100-80g", "models/machine", &e);
        struct run_world *w;
        struct run_case c = {.running_ahead = true, .graph = true};
        struct cost cost = {.model = m, .machine = k, .graph = true};
        struct cost_batch b = {.tokens = 1, .outputs = 1, .kv_tokens = 1, .pairs = 1};
        struct cost_experts work = {.distinct = 0};
        uint16_t *expert;
        struct timed t;
        char *policy;

        if (m == NULL || k == NULL)
            fail_msg("%s", e.text);
        expert = mem_alloc((size_t)m->moe_layers * m->top_k, sizeof *expert);
        for (uint32_t x = 0; x < m->moe_layers * m->top_k; x++)
            expert[x] = (uint16_t)(x % m->top_k);
        for (uint32_t x = 0; x < m->top_k; x++)
            cost_experts_add(&work, 1, &k->gpu.tiles);
        w = run_world_of(m, k, 1, 1, expert);
        b.window_kv_tokens = b.window_pairs = 1;
        if (m->encoder_layers > 0)
            b.cross_tokens = b.cross_pairs = b.cross_new = WORLD_PROMPT;
        policy =
            mem_format("{cache: {name: lru, slots: %u, preload: linear}}", m->experts);
        c.policy = policy;
        t = run(w, &c);
        assert_int_equal(t.pass[0].latency, sum_of_costs(&cost, &b, &work) +
                                                k->host.graph_launch +
                                                k->host.round_trip);
        run_world_free(w);
        free(policy);
        free(expert);
        model_free(m);
        machine_free(k);
    }
}

/* The law of exec_sim.h at its two ends. GPU-bound: only the first launch shows.
 * Launch-bound: all launches show, and of the GPU's time only the last kernel. */
static void test_eager_launches(void **state)
{
    struct run_world *w = run_world_spelled(2, 4, 2, "01|2");
    struct run_case c = {.policy = "{cache: {name: lru, slots: 4, preload: linear}}",
                         .running_ahead = true};
    sim_time kernels = 2 * WORLD_KERNELS_LAYER + WORLD_KERNELS_HEAD;
    sim_time dense = 2 * (DENSE + GATE) + HEAD;
    struct timed t;

    (void)state;
    w->machine.host.launch_eager = US / 2;
    t = run(w, &c);
    check_pass(&t.pass[0], dense, 2 * GROUP, 0, US / 2 + TRIP);
    w->machine.host.launch_eager = 4 * US;
    t = run(w, &c);
    assert_int_equal(t.pass[0].latency, kernels * 4 * US + US + TRIP);
    check_pass(&t.pass[0], dense, 2 * GROUP, 0,
               kernels * 4 * US + US + TRIP - dense - 2 * GROUP);
    /* At a decision the host starts again from nothing: every part's first launch shows
     * behind it. Launches of 0.5 us: dense and gate follow each other, then 5 us, then
     * the experts, and behind them the next layer's dense block. */
    w->machine.host.launch_eager = US / 2;
    c.running_ahead = false;
    t = run(w, &c);
    check_pass(&t.pass[0], dense, 2 * GROUP, 0, US / 2 + 2 * (TRIP + US / 2) + TRIP);
    run_world_free(w);
}

/* ---- demand copies ---- */

/* What one MoE layer shows of its m copies of `copy` each, with h experts resident: the
 * copies are issued 0.3 us apart and the last comes in 0.3 + m copies after the decision;
 * the group of resident experts is submitted when all were issued and hides its own time
 * where the schedule splits. */
#define CALL (3 * US / 10)

static sim_time exposed(uint32_t misses, uint32_t hits, sim_time copy, bool split)
{
    sim_time last = CALL + misses * copy;
    sim_time busy = misses * CALL + (split && hits > 0 ? GROUP : 0);

    return misses > 0 && last > busy ? last - busy : 0;
}

/* "012|3 3|3 013|23": cold, then all resident, then some of each. Slots: 3 per layer. */
static void check_misses(struct run_world *w, const struct run_case *c, sim_time copy,
                         bool split)
{
    sim_time dense = 2 * (DENSE + GATE) + HEAD;
    struct timed t = run(w, c);

    /* 3 misses, then 1; nothing resident to run meanwhile. */
    check_pass(&t.pass[0], dense, 2 * GROUP,
               exposed(3, 0, copy, split) + exposed(1, 0, copy, split),
               2 * TRIP + 4 * CALL + TRIP);
    /* A miss that evicts 0 from layer 0; a hit. */
    check_pass(&t.pass[1], dense, 2 * GROUP, exposed(1, 0, copy, split),
               2 * TRIP + CALL + TRIP);
    /* Layer 0 holds 1 2 3: 0 misses and evicts 2. Layer 1 holds 3: 2 misses. */
    check_pass(&t.pass[2], dense, (split ? 4 : 2) * GROUP,
               exposed(1, 2, copy, split) + exposed(1, 1, copy, split),
               2 * TRIP + 2 * CALL + TRIP);
    assert_int_equal(t.pass[2].counts.loads, 2);
    assert_int_equal(t.pass[2].counts.hits, 3);
}

static void test_misses(void **state)
{
    struct run_world *w = run_world_spelled(2, 4, 3, "012|3 3|3 013|23");
    struct run_case c = {.policy = "{cache: {name: lru, slots: 3}}"};

    (void)state;
    w->machine.host.copy_call = CALL;
    w->machine.h2d_pinned.latency = 2 * US;
    check_misses(w, &c, 2 * US + FLOW, true);
    c.event_driven = true;
    check_misses(w, &c, 2 * US + FLOW, true);
    /* Chunks pay the latency each: ceil(1000000 / 300000) = 4. */
    c.chunk_bytes = 300000;
    check_misses(w, &c, 4 * 2 * US + FLOW, true);
    c.event_driven = false;
    check_misses(w, &c, 4 * 2 * US + FLOW, true);
    c.chunk_bytes = 0;
    /* Copies that the resident experts hide. */
    w->machine.h2d_pinned = (struct machine_copy){.latency = US, .bytes_per_s = 1e12};
    check_misses(w, &c, 2 * US, true);
    c.policy = "{cache: {name: lru, slots: 3}, schedule: serial}";
    check_misses(w, &c, 2 * US, false);
    w->machine.h2d_pinned = (struct machine_copy){.latency = 0, .bytes_per_s = 1e11};
    check_misses(w, &c, FLOW, false);
    run_world_free(w);
}

/* From storage a copy flows through the slower link and pays both latencies. The first
 * experts, in order of ids, live in host memory. */
static void test_homes(void **state)
{
    struct run_world *w = run_world_spelled(2, 4, 3, "012|3 3|3 013|23");
    struct run_case c = {.policy = "{cache: {name: lru, slots: 3}}",
                         .home = TIER_STORAGE};
    struct timed t;

    (void)state;
    w->machine.host.copy_call = CALL;
    w->machine.h2d_pinned.latency = 2 * US;
    w->machine.storage_read.latency = 5 * US;
    check_misses(w, &c, 7 * US + 10 * FLOW, true);
    /* Experts 0 and 1 of layer 0 in host memory, 2 and all of layer 1 in storage. */
    c.home = TIER_HOST;
    c.host_bytes = 2 * WORLD_BYTES + WORLD_BYTES / 2;
    t = run(w, &c);
    assert_int_equal(t.pass[0].share[SHARE_COPY], 2 * (2 * US + FLOW) + 7 * US +
                                                      10 * FLOW - 2 * CALL + 7 * US +
                                                      10 * FLOW);
    /* One memory for all: from the host nothing moves, from storage it is read only. */
    w->machine.unified = true;
    c.host_bytes = 0;
    check_misses(w, &c, 0, true);
    c.home = TIER_STORAGE;
    check_misses(w, &c, 5 * US + 10 * FLOW, true);
    run_world_free(w);
}

/* One slot, one staging slot, three experts: 0 is kept, 1 goes through staging, and 2
 * must wait until 1 has run. */
static void test_staging_slot_twice(void **state)
{
    struct run_world *w = run_world_spelled(1, 4, 3, "012 012");
    struct run_case c = {.policy = "{cache: {name: lru, slots: 1, staging: 1}}"};
    sim_time dense = DENSE + GATE + HEAD;
    struct timed t;

    (void)state;
    t = run(w, &c);
    assert_int_equal(t.pass[0].counts.loads, 1);
    assert_int_equal(t.pass[0].counts.bypasses, 2);
    check_pass(&t.pass[0], dense, 2 * GROUP, 3 * FLOW, 2 * TRIP);
    /* Then 0 is resident and runs while 1 loads; 1 runs; 2 loads; 2 runs. */
    check_pass(&t.pass[1], dense, 3 * GROUP, FLOW - GROUP + FLOW, 2 * TRIP);
    assert_int_equal(t.pass[1].counts.hits, 1);
    c.policy = "{cache: {name: lru, slots: 1, staging: 1}, schedule: serial}";
    t = run(w, &c);
    check_pass(&t.pass[1], dense, 2 * GROUP, 2 * FLOW, 2 * TRIP);
    /* With room for both there is one wait for the two. */
    c.policy = "{cache: {name: lru, slots: 1, staging: 2}}";
    t = run(w, &c);
    check_pass(&t.pass[1], dense, 2 * GROUP, 2 * FLOW - GROUP, 2 * TRIP);
    run_world_free(w);
}

/* A victim goes out (at half the speed) before the expert in its place comes in. */
static void test_write_back(void **state)
{
    struct run_world *w = run_world_spelled(1, 4, 1, "0 1 1");
    struct run_case c = {.policy = "{cache: {name: lru, slots: 1, write_back: yes}}",
                         .event_driven = true};
    sim_time dense = DENSE + GATE + HEAD;
    struct timed t;

    (void)state;
    w->machine.d2h_pinned.bytes_per_s = 5e10;
    w->machine.host.copy_call = CALL;
    t = run(w, &c);
    check_pass(&t.pass[0], dense, GROUP, FLOW, 2 * TRIP + CALL);
    assert_int_equal(t.pass[0].counts.out_bytes, 0);
    /* Both copies are issued by 2 calls after the decision; the first goes at once. */
    check_pass(&t.pass[1], dense, GROUP, CALL + 2 * FLOW + FLOW - 2 * CALL,
               2 * TRIP + 2 * CALL);
    assert_int_equal(t.pass[1].counts.out_bytes, WORLD_BYTES);
    check_pass(&t.pass[2], dense, GROUP, 0, 2 * TRIP);
    run_world_free(w);
}

/* ---- early loads ---- */

#define ORACLE "{cache: {name: lru, slots: 2}, prefetch: {name: oracle, distance: 1}}"

/* Experts "0|12": layer 0 misses. Two loads for layer 1 are issued behind its group, at
 * the time G of the decision plus the miss. Layer 1 is decided GROUP + DENSE + GATE +
 * TRIP = 19 us behind the begin of that group, which is FLOW behind G: the copies may
 * take up to 29 us together with the miss, that is 9.5 us each. */
static void check_oracle(struct run_world *w, sim_time copy, const char *policy,
                         sim_time late_copy, uint64_t late, uint32_t groups)
{
    struct run_case c = {.policy = policy, .event_driven = true};
    struct timed t = run(w, &c);

    check_pass(&t.pass[0], 2 * (DENSE + GATE) + HEAD, groups * GROUP, copy + late_copy,
               3 * TRIP);
    assert_int_equal(t.pass[0].counts.loads, 1);
    assert_int_equal(t.pass[0].counts.hits, 2);
    assert_int_equal(t.pass[0].counts.late, late);
    assert_int_equal(t.pass[0].counts.prefetches, 2);
    assert_int_equal(t.pass[0].counts.prefetch_used, 2);
    assert_int_equal(t.pass[0].counts.wasted_bytes, 0);
}

static void test_oracle_prefetch(void **state)
{
    struct run_world *w = run_world_spelled(2, 4, 2, "0|12");
    sim_time slack = GROUP + DENSE + GATE + TRIP; /* 19 us from the miss's end */
    sim_time copy;

    (void)state;
    /* 8 us: both there. */
    copy = 8 * US;
    w->machine.h2d_pinned.bytes_per_s = WORLD_BYTES / 8e-6;
    check_oracle(w, copy, ORACLE, 0, 0, 2);
    /* 11 us: the second is 3 us late, hidden behind the group of the first. */
    copy = 11 * US;
    w->machine.h2d_pinned.bytes_per_s = WORLD_BYTES / 11e-6;
    check_oracle(w, copy, ORACLE, 0, 1, 3);
    /* 16 us: the second is 13 us late, of which the group hides 6. */
    copy = 16 * US;
    w->machine.h2d_pinned.bytes_per_s = WORLD_BYTES / 16e-6;
    check_oracle(w, copy, ORACLE, 2 * copy - slack - GROUP, 1, 3);
    /* 40 us: both are late and run together. */
    copy = 40 * US;
    w->machine.h2d_pinned.bytes_per_s = WORLD_BYTES / 40e-6;
    check_oracle(w, copy, ORACLE, 2 * copy - slack, 2, 2);
    /* In one stream copies begin behind the group and the dense block behind them. */
    w->machine.h2d_pinned.bytes_per_s = WORLD_BYTES / 8e-6;
    check_oracle(w, 8 * US,
                 "{cache: {name: lru, slots: 2}, prefetch: {name: oracle, distance: 1}, "
                 "schedule: serial}",
                 16 * US, 0, 2);
    run_world_free(w);
}

/* "0|01|0" with one slot per layer and a look-ahead of two steps. Layer 0 loads its 0 on
 * demand (12 us); behind it come the early loads of 0 for layer 1 (its 1 finds no room)
 * and of 0 for layer 2. Layer 1 is decided 19 us behind the first copy's end, when the
 * last load has had 7 of its 12 us. Its 1 is then a demand load through staging. */
static void test_demand_overtakes(void **state)
{
    struct run_world *w = run_world_spelled(3, 4, 2, "0|01|0");
    struct run_case c = {
        .policy = "{cache: {name: lru, slots: 1}, prefetch: {name: oracle, distance: 2}}",
        .event_driven = true};
    sim_time copy = 12 * US;
    sim_time dense = 3 * (DENSE + GATE) + HEAD;
    struct timed t;

    (void)state;
    w->machine.h2d_pinned.bytes_per_s = WORLD_BYTES / 12e-6;
    /* Whole: the demand load begins 5 us and ends 17 us after the decision; the group of
     * the hit runs for 6 of them. */
    t = run(w, &c);
    check_pass(&t.pass[0], dense, 4 * GROUP, copy + 17 * US - GROUP, 4 * TRIP);
    assert_int_equal(t.pass[0].counts.bypasses, 1);
    assert_int_equal(t.pass[0].counts.late, 0);
    /* Four chunks of 3 us: the third chunk of the early load ends 2 us after the
     * decision, the demand load 14 us after it. Layer 2 is decided 14 + GROUP + DENSE +
     * GATE + TRIP after layer 1, long after the early load's last chunk at 17. */
    c.chunk_bytes = WORLD_BYTES / 4;
    t = run(w, &c);
    check_pass(&t.pass[0], dense, 4 * GROUP, copy + 14 * US - GROUP, 4 * TRIP);
    assert_int_equal(t.pass[0].counts.late, 0);
    run_world_free(w);
}

/* The books of copies: how late, how long in the queue, how long on the link. */
static void test_copy_books(void **state)
{
    struct run_world *w = run_world_spelled(2, 4, 3, "0|12");
    struct run_case c = {.policy = ORACLE, .event_driven = true};
    struct run_result r;

    (void)state;
    w->machine.h2d_pinned.bytes_per_s = WORLD_BYTES / 40e-6;
    run_world_run(w, &c, &r);
    /* Wanted 19 us after the miss; there after 40 and 80. */
    assert_int_equal(r.layer[1].late_time, (40 - 19) * US + (80 - 19) * US);
    assert_int_equal(r.layer[0].copies, 1);
    assert_int_equal(r.layer[0].copy_time, 40 * US);
    assert_int_equal(r.layer[0].queue_time, 0);
    assert_int_equal(r.layer[1].copies, 0);
    assert_int_equal(r.copy_busy, 120 * US);
    run_result_release(&r);
    c.policy = "{cache: {name: lru, slots: 2}}";
    c.event_driven = false;
    run_world_run(w, &c, &r);
    assert_int_equal(r.layer[1].queue_time, 40 * US);
    assert_int_equal(r.layer[1].copy_time, 80 * US);
    assert_int_equal(r.layer[1].share[SHARE_COPY], 80 * US);
    assert_int_equal(r.layer[1].share[SHARE_HOST], TRIP);
    assert_int_equal(r.layer[1].share[SHARE_EXPERT], GROUP);
    assert_int_equal(r.layer[1].share[SHARE_DENSE], DENSE + GATE);
    run_result_release(&r);
    run_world_free(w);
}

/* ---- what is told of the host ---- */

struct told {
    sim_time end[64]; /* of operations, by their number */
    uint32_t waits;
};

static void tell(void *context, op_id id, enum op_kind kind, enum op_lane lane,
                 uint32_t layer, uint32_t expert, const struct op_times *t)
{
    struct told *told = context;

    (void)expert;
    assert_true(id < 64);
    if (kind != OP_HOST) {
        told->end[id] = t->end;
        return;
    }
    assert_int_equal(lane, LANE_HOST);
    assert_int_equal(layer, 0);
    assert_int_equal(t->issued, told->end[id]);
    assert_int_equal(t->start, told->end[id]);
    assert_int_equal(t->end, told->end[id] + TRIP);
    told->waits++;
}

/* The host waits for the gate of every layer and for the head, each from its end on and
 * for a round trip. */
static void test_waits_are_told(void **state)
{
    struct run_world *w = run_world_spelled(2, 4, 1, "0|1 2|1 2|3");
    struct told told = {.waits = 0};
    struct exec_sim_options o = {.cost = {.model = &w->model, .machine = &w->machine},
                                 .observe = tell,
                                 .observe_context = &told};
    struct exec *x = exec_sim_new(&o);
    struct run_result r;

    (void)state;
    run_world_run(w,
                  &(struct run_case){.policy = "{cache: {name: lru, slots: 2}}",
                                     .seed = 3,
                                     .ops = &exec_sim_ops,
                                     .exec = x},
                  &r);
    assert_int_equal(told.waits, 3 * (2 + 1));
    exec_sim_free(x);
    run_result_release(&r);
    run_world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_graph),
        cmocka_unit_test(test_layers_that_differ),
        cmocka_unit_test(test_eager_launches),
        cmocka_unit_test(test_misses),
        cmocka_unit_test(test_homes),
        cmocka_unit_test(test_staging_slot_twice),
        cmocka_unit_test(test_write_back),
        cmocka_unit_test(test_oracle_prefetch),
        cmocka_unit_test(test_demand_overtakes),
        cmocka_unit_test(test_copy_books),
        cmocka_unit_test(test_waits_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

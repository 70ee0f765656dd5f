/* Two halves of a pass, one on the network while the other one computes: when each ends,
 * by a recursion over lanes; what that cannot beat; and what it costs. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "schedule_lab.h"

#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

/* What half h's operations took in a layer, and when the lanes are free. */
struct watched {
    sim_time took[OP_KINDS][2];
    sim_time seen[OP_KINDS]; /* when the last one of this kind ended */
    uint32_t count[OP_KINDS];
    sim_time compute, network, back[2]; /* back: half h's rows have come back */
    bool begun;
    unsigned layers, passes, hidden;
};

static sim_time later(sim_time a, sim_time b)
{
    return a > b ? a : b;
}

/* A layer of the recursion: dense blocks as rows come back, dispatches, experts as rows
 * arrive, combines. */
static void walk_layer(struct watched *w)
{
    sim_time there[2];

    for (int h = 0; h < 2; h++) {
        w->compute =
            later(w->compute, w->back[h]) + w->took[OP_DENSE][h] + w->took[OP_GATE][h];
        w->network = later(w->network, w->compute) + w->took[OP_DISPATCH][h];
        there[h] = w->network;
    }
    for (int h = 0; h < 2; h++) {
        w->compute = later(w->compute, there[h]) + w->took[OP_EXPERTS][h];
        w->hidden += w->network > w->compute;
        w->network = later(w->network, w->compute) + w->took[OP_COMBINE][h];
        w->back[h] = w->network;
    }
    w->layers++;
    memset(w->count, 0, sizeof w->count);
}

/* All GPUs do the same at the same time, so that one's operations are enough. */
static void watch(void *context, uint32_t policy, op_id id, enum op_kind kind,
                  enum op_lane lane, uint32_t layer, uint32_t expert,
                  const struct op_times *t)
{
    struct watched *w = context;

    (void)policy;
    (void)id;
    (void)lane;
    (void)layer;
    (void)expert;
    if (kind == OP_HOST || (w->seen[kind] > 0 && t->start < w->seen[kind]))
        return;
    if (!w->begun)
        w->compute = w->network = w->back[0] = w->back[1] = t->start;
    w->begun = true;
    w->seen[kind] = t->end;
    if (kind == OP_HEAD) {
        w->compute = later(w->compute, later(w->back[0], w->back[1]));
        assert_int_equal(t->start, w->compute);
        w->begun = false;
        w->passes++;
        return;
    }
    assert_true(w->count[kind] < 2);
    w->took[kind][w->count[kind]++] = t->end - t->start;
    if (kind == OP_COMBINE && w->count[kind] == 2)
        walk_layer(w);
}

static void every_pass_follows_the_recursion(void **state)
{
    unsigned layers = 0, hidden = 0;

    (void)state;
    for (uint64_t i = 0; layers < 1000; i++) {
        struct rng r = rng_stream(12, "two batches", i);
        char workload[64];
        struct crew_case c = schedule_lab_case(&r, 2, workload, sizeof workload);
        struct crew_lab *lab;
        struct watched w = {.layers = 0};
        struct result result;

        c.layers = 1 + (uint32_t)rng_below(&r, 6);
        lab = crew_lab_new(&c, NULL);
        lab->machine.collective.low_latency_dispatch *= 1 + (sim_time)rng_below(&r, 12);
        lab->machine.collective.low_latency_combine *= 1 + (sim_time)rng_below(&r, 12);
        result = schedule_lab_run(
            lab, "{name: p, schedule: {name: two-batch, exchange: low-latency}}", watch,
            &w);
        assert_int_equal(w.passes, result.policy[0].run.passes);
        assert_int_equal(w.layers, w.passes * c.layers);
        layers += w.layers;
        hidden += w.hidden;
        result_release(&result);
        crew_lab_free(lab);
    }
    print_message("%u layers, %u halves computed while the network worked\n", layers,
                  hidden);
    assert_true(hidden > 100);
}

/* However its rows, sources, placement, gates and hosts are: a network that takes no time
 * is not slower, and books are in order. */
static void it_does_not_beat_its_bound(void **state)
{
    unsigned bounded = 0;

    (void)state;
    for (uint64_t i = 0; bounded < 150; i++) {
        struct rng r = rng_stream(13, "two batches", i);
        struct crew_case c;
        struct crew_lab *lab;
        struct result result;
        const struct result_policy *p;

        crew_case_draw(&c, &r);
        if (strcmp(c.place, "moeshard") == 0 || strcmp(c.place, "tensor") == 0)
            continue;
        c.schedule = "two-batch";
        lab = crew_lab_new(&c, NULL);
        result = crew_lab_result(lab, rng_below(&r, 2) == 0 ? "auto" : "event", 2);
        p = &result.policy[0];
        crew_check_shares(&c, &result, 0);
        if (p->bounds.present) {
            bounded++;
            assert_true(p->bounds.free_network <= p->run.elapsed);
            assert_true(p->bounds.free_network > 0);
        }
        result_release(&result);
        crew_lab_free(lab);
    }
}

/* Rows go where they go in one batch; experts are read by both halves. */
static void halves_count_the_same_rows(void **state)
{
    static const char *const policies[] = {
        "{name: p, schedule: {name: %s}}",
        "{name: p, place: {name: eplb, slots: 24}, schedule: {name: %s}}",
        "{name: p, schedule: {name: %s, wait: yes, experts: serial}}",
    };
    struct crew_case c = crew_eight;
    struct crew_lab *lab;
    uint64_t again = 0;

    (void)state;
    c.requests = 64;
    c.workload = "{mode: static, batch: 64}";
    lab = crew_lab_new(&c, NULL);
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
        const char *at = strstr(policies[i], "%s");
        struct run_counts x[2];

        for (int two = 0; two < 2; two++) {
            char *policy = mem_format("%.*s%s%s", (int)(at - policies[i]), policies[i],
                                      two ? "two-batch" : "overlapped", at + 2);
            struct result r = schedule_lab_run(lab, policy, NULL, NULL);

            x[two] = r.policy[0].run.total.counts;
            result_release(&r);
            free(policy);
        }
        assert_int_equal(x[0].activations, x[1].activations);
        assert_int_equal(x[0].computed_rows, x[1].computed_rows);
        assert_true(x[1].accesses >= x[0].accesses);
        again += x[1].accesses - x[0].accesses;
        if (i != 1) { /* replicas take turns, in another order of rows */
            assert_int_equal(x[0].busiest_rows, x[1].busiest_rows);
            assert_int_equal(x[0].sent_rows, x[1].sent_rows);
        }
    }
    assert_true(again > 0);
    crew_lab_free(lab);
}

/* A gate's capacity is of a half: two of them, each of half of the rows. */
static void each_half_has_its_gate(void **state)
{
    struct rng r = rng_stream(14, "two batches", 0);
    char workload[64];
    struct crew_case c = schedule_lab_case(&r, 2, workload, sizeof workload);
    struct crew_lab *lab = crew_lab_new(&c, NULL);
    uint64_t rows[2];

    (void)state;
    for (int two = 0; two < 2; two++) {
        char *policy =
            mem_format("{name: p, gate: {name: capacity-factor, cf: 1, min_capacity: 7}, "
                       "schedule: %s}",
                       two ? "two-batch" : "overlapped");
        struct result result = schedule_lab_run(lab, policy, NULL, NULL);

        rows[two] = result.policy[0].run.total.counts.computed_rows;
        result_release(&result);
        free(policy);
    }
    /* So few rows that the least capacity counts, once or for each half. */
    assert_int_equal(rows[1], 2 * rows[0]);
    crew_lab_free(lab);
}

/* Time of a pass of so many rows on each GPU. */
static sim_time pass_of(uint32_t rows, const char *schedule)
{
    char workload[64];
    struct crew_case c = {.nodes = 1,
                          .gpus = 4,
                          .per_root = 1,
                          .nvlink = true,
                          .cyclic = true,
                          .layers = 4,
                          .experts = 8,
                          .top_k = 2,
                          .candidates = 2,
                          .hidden = 2048,
                          .requests = 4 * rows,
                          .rows = 2,
                          .seed = 1,
                          .place = "linear",
                          .place_more = "",
                          .window = 1,
                          .workload = workload,
                          .more = "bounds: no\nlaunch: graph"};
    struct crew_lab *lab;
    struct result result;
    char *policy;
    sim_time time;

    (void)snprintf(workload, sizeof workload, "{mode: static, batch: %u}", c.requests);
    lab = crew_lab_new(&c, NULL);
    policy =
        mem_format("{name: p, schedule: {name: %s, exchange: low-latency}}", schedule);
    result = schedule_lab_run(lab, policy, NULL, NULL);
    time = result.policy[0].run.total.latency;
    result_release(&result);
    free(policy);
    crew_lab_free(lab);
    return time;
}

/* Few rows: weights are read twice, which takes longer than what is hidden. Many: the
 * network is hidden. In between there is one batch from which on it pays. */
static void it_pays_for_many_rows_only(void **state)
{
    uint32_t changes = 0;
    bool paid = false;

    (void)state;
    for (uint32_t rows = 2; rows <= 2048; rows *= 4) {
        sim_time plain = pass_of(rows, "overlapped"), two = pass_of(rows, "two-batch");
        bool pays = two < plain;

        print_message("%u rows a GPU: two batches take %.3f of one\n", rows,
                      (double)two / (double)plain);
        changes += pays != paid;
        paid = pays;
    }
    assert_true(paid);
    assert_int_equal(changes, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pass_follows_the_recursion),
        cmocka_unit_test(it_does_not_beat_its_bound),
        cmocka_unit_test(halves_count_the_same_rows),
        cmocka_unit_test(each_half_has_its_gate),
        cmocka_unit_test(it_pays_for_many_rows_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

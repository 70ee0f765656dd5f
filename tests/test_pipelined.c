/* Rows in chunks: with r chunks whose dispatch or combine takes a and whose experts take
 * e, on one stream of the network, first in first out and all dispatches first, a layer
 * takes max(2 r a, 2 a + r e) from its first dispatch to its last combine. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "schedule_lab.h"

#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNKS = 8 };

/* The operations of one layer of one pass, of GPU 0 where each GPU has its own. */
struct watched {
    uint32_t chunks;
    struct op_times dispatch[CHUNKS], experts[CHUNKS], combine[CHUNKS];
    uint32_t dispatches, groups, combines;
    unsigned layers, network_bound, compute_bound;
};

static sim_time length(const struct op_times *t)
{
    return t->end - t->start;
}

/* Chunks that are alike, and how long they take together. */
static void check_layer(struct watched *w)
{
    sim_time a = length(&w->dispatch[0]), e = length(&w->experts[0]), r = w->chunks;
    sim_time took = w->combine[r - 1].end - w->dispatch[0].start;

    assert_int_equal(w->dispatches, w->chunks);
    assert_int_equal(w->groups, w->chunks);
    for (uint32_t i = 0; i < w->chunks; i++) {
        assert_int_equal(length(&w->dispatch[i]), a);
        assert_int_equal(length(&w->combine[i]), a);
        assert_int_equal(length(&w->experts[i]), e);
    }
    if (2 * r * a > 2 * a + r * e) {
        w->network_bound++;
        assert_int_equal(took, 2 * r * a);
    } else {
        w->compute_bound++;
        assert_int_equal(took, 2 * a + r * e);
    }
    w->layers++;
    w->dispatches = w->groups = w->combines = 0;
}

/* Operations of a lane come as they end; groups of other GPUs take as long as those of
 * the first, of which there are as many before. */
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
    if (kind == OP_DISPATCH)
        w->dispatch[w->dispatches++] = *t;
    else if (kind == OP_EXPERTS &&
             (w->groups == 0 || t->start >= w->experts[w->groups - 1].end))
        w->experts[w->groups++] = *t;
    else if (kind == OP_COMBINE)
        w->combine[w->combines++] = *t;
    if (w->combines == w->chunks)
        check_layer(w);
}

static void a_layer_takes_the_closed_form(void **state)
{
    unsigned layers = 0, network_bound = 0, compute_bound = 0;

    (void)state;
    for (uint64_t i = 0; layers < 1000; i++) {
        struct rng r = rng_stream(11, "pipelined", i);
        uint32_t chunks = 1 + (uint32_t)rng_below(&r, CHUNKS);
        char workload[64];
        struct crew_case c = schedule_lab_case(&r, chunks, workload, sizeof workload);
        struct crew_lab *lab = crew_lab_new(&c, NULL);
        struct watched w = {.chunks = chunks};
        char *policy = mem_format("{name: p, schedule: {name: pipelined, chunks: %u, "
                                  "exchange: low-latency}}",
                                  chunks);
        struct result result;

        lab->machine.collective.low_latency_dispatch *= 1 + (sim_time)rng_below(&r, 12);
        lab->machine.collective.low_latency_combine =
            lab->machine.collective.low_latency_dispatch;
        result = schedule_lab_run(lab, policy, watch, &w);

        assert_int_equal(w.layers, result.policy[0].run.passes * c.layers);
        layers += w.layers;
        network_bound += w.network_bound;
        compute_bound += w.compute_bound;
        result_release(&result);
        free(policy);
        crew_lab_free(lab);
    }
    print_message("%u layers, %u of them bound by the network\n", layers, network_bound);
    assert_true(network_bound > 100 && compute_bound > 100);
}

/* One chunk is no chunk: to the last operation, whatever the placement and exchange. */
static void one_chunk_is_the_plain_program(void **state)
{
    static const char *const policies[] = {
        "{name: p, schedule: {name: %s}}",
        "{name: p, schedule: {name: %s, exchange: low-latency, fp8_dispatch: yes}}",
        "{name: p, place: {name: eplb, slots: 24}, schedule: {name: %s, wait: yes}}",
        "{name: p, cache: {name: lru, slots: 1}, schedule: {name: %s}}",
        "{name: p, gate: capacity-factor, schedule: {name: %s, experts: serial}}",
    };
    struct crew_lab *lab = crew_lab_new(&crew_eight, NULL);

    (void)state;
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
        struct result r[2];

        for (int k = 0; k < 2; k++) {
            const char *name = k == 0 ? "overlapped" : "pipelined, chunks: 1";
            const char *at = strstr(policies[i], "%s");
            char *policy = mem_format("%.*s%s%s", (int)(at - policies[i]), policies[i],
                                      name, at + 2);
            char *text = crew_lab_text(lab, "auto", policy);

            assert_int_equal(crew_lab_run_text(lab, text, 1, &r[k], NULL), 0);
            free(text);
            free(policy);
        }
        assert_true(r[0].policy[0].run.digest == r[1].policy[0].run.digest);
        assert_memory_equal(&r[0].policy[0].run.total, &r[1].policy[0].run.total,
                            sizeof r[0].policy[0].run.total);
        result_release(&r[0]);
        result_release(&r[1]);
    }
    crew_lab_free(lab);
}

/* Chunks move no row elsewhere and lose none; experts are read once for each that has
 * rows for them. */
static void chunks_count_the_same_rows(void **state)
{
    struct crew_lab *lab = crew_lab_new(&crew_eight, NULL);
    struct run_counts first = {.hits = 0};

    (void)state;
    for (uint32_t chunks = 1; chunks <= 4; chunks++) {
        char *policy =
            mem_format("{name: p, schedule: {name: pipelined, chunks: %u}}", chunks);
        struct result r = schedule_lab_run(lab, policy, NULL, NULL);
        const struct run_counts *x = &r.policy[0].run.total.counts;

        crew_check_shares(&crew_eight, &r, 0);
        if (chunks == 1)
            first = *x;
        assert_int_equal(x->activations, first.activations);
        assert_int_equal(x->computed_rows, first.computed_rows);
        assert_int_equal(x->busiest_rows, first.busiest_rows);
        assert_int_equal(x->sent_rows, first.sent_rows);
        assert_int_equal(x->sent_bytes, first.sent_bytes);
        assert_true(x->accesses >= first.accesses);
        result_release(&r);
        free(policy);
    }
    crew_lab_free(lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_layer_takes_the_closed_form),
        cmocka_unit_test(one_chunk_is_the_plain_program),
        cmocka_unit_test(chunks_count_the_same_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

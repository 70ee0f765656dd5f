/* Placements that are renewed while a run over several GPUs goes on, and what their
 * copies cost. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "crew_lab.h"
#include "models/collective.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

static void test_nothing_moves(void **state)
{
    static const char *const places[] = {"eplb", "greedy", "replicate", "linear",
                                         "random"};

    (void)state;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct crew_case c = crew_eight;
        struct result r;

        c.cyclic = true;
        c.place = places[i];
        c.interval = 1;
        r = crew_case_result(&c, "auto");
        assert_int_equal(r.policy[0].run.passes, 8);
        assert_int_equal(r.policy[0].run.total.counts.migrations, 0);
        assert_int_equal(r.policy[0].run.total.counts.migrated_bytes, 0);
        result_release(&r);
    }
}

/* Two runs that differ in the size of experts alone, which only their copies know. The
 * pass that waits for them is longer by what their busiest port takes. */
static void check_blocking(const struct crew_case *c, const char *engine)
{
    enum { AT = 3 };
    const uint64_t bytes[2] = {30000000, 70000000};
    struct crew_lab *lab = crew_lab_new(c, NULL);
    struct machine fleet = lab->machine;
    struct topology t;
    struct collective_terms terms = {.near_share = fleet.collective.share,
                                     .far_share = 1};
    uint64_t *load = NULL;
    sim_time time[2] = {0, 0};
    struct result r[2];

    fleet.nodes = c->nodes;
    t = topology_of(&fleet);
    for (int i = 0; i < 2; i++) {
        struct crew_case sized = *c;

        sized.expert_bytes = bytes[i];
        sized.first = AT;
        sized.interval = 1000;
        r[i] = crew_case_result(&sized, engine);
        assert_int_equal(r[i].policy[0].run.total.counts.migrations, 1);
    }
    load = mem_alloc(t.links, sizeof *load);
    for (int i = 0; i < 2; i++) {
        for (uint32_t l = 0; l < t.links; l++) {
            uint64_t more =
                r[1].policy[0].run.link_bytes[l] - r[0].policy[0].run.link_bytes[l];

            assert_int_equal(more % (bytes[1] - bytes[0]), 0);
            load[l] = more / (bytes[1] - bytes[0]) * bytes[i];
        }
        time[i] = collective_ports_time(&t, &terms, load, false);
        assert_true(time[i] > 100 * SIM_TIME_PER_US);
    }
    for (uint64_t p = 0; p < r[0].policy[0].run.passes; p++) {
        struct run_pass a, b;
        struct err e = {.text = ""};

        assert_int_equal(result_read_passes(&r[0], 0, p, 1, &a, &e), 0);
        assert_int_equal(result_read_passes(&r[1], 0, p, 1, &b, &e), 0);
        assert_int_equal(b.latency - a.latency, p == AT ? time[1] - time[0] : 0);
        assert_int_equal(b.share[SHARE_COMM] - a.share[SHARE_COMM],
                         p == AT ? time[1] - time[0] : 0);
        assert_int_equal(a.counts.migrated_bytes > 0, p == AT);
    }
    assert_int_equal(r[1].policy[0].run.migration_time -
                         r[0].policy[0].run.migration_time,
                     time[1] - time[0]);
    result_release(&r[0]);
    result_release(&r[1]);
    free(load);
    crew_lab_free(lab);
}

static void test_blocking(void **state)
{
    struct crew_case c = crew_eight;

    (void)state;
    check_blocking(&c, "fifo");
    check_blocking(&c, "event");
    c.nvlink = false;
    c.exchange = "flat";
    check_blocking(&c, "fifo");
    check_blocking(&c, "event");
}

static void check_background(struct crew_case *c)
{
    struct crew_lab *lab;
    struct result a, b;
    const struct run_counts *x, *y;

    c->rows = 12;
    c->more = "bounds: no";
    if (c->interval == 0)
        c->interval = 2;
    if (strcmp(c->place, "moeshard") == 0)
        c->place = "round-robin", c->place_more = "";
    c->expert_bytes = c->seed % 2 == 0 ? 500000 : 300000000;
    lab = crew_lab_new(c, NULL);
    a = crew_lab_result(lab, "auto", 1);
    lab->c.background = true;
    b = crew_lab_result(lab, "auto", 1);
    assert_true(b.policy[0].event_driven);
    crew_check_shares(&lab->c, &b, 0);
    x = &a.policy[0].run.total.counts;
    y = &b.policy[0].run.total.counts;
    crew_must(x->activations == y->activations, &lab->c, "activations",
              (int64_t)x->activations, (int64_t)y->activations);
    crew_must(x->computed_rows == y->computed_rows, &lab->c, "computed rows",
              (int64_t)x->computed_rows, (int64_t)y->computed_rows);
    assert_int_equal(x->dropped, y->dropped);
    assert_int_equal(x->migrations > 0, y->migrations > 0);
    crew_must(y->migrations <= x->migrations || c->interval > 0, &lab->c, "migrations", 0,
              0);
    result_release(&a);
    result_release(&b);
    crew_lab_free(lab);
}

static void test_background(void **state)
{
    (void)state;
    crew_each_case("background", 40, check_background);
}

/* The placement that a rebalance would make needs a history; the first one has none. */
static void test_no_history(void **state)
{
    struct crew_case c = crew_eight;
    struct result r;

    (void)state;
    c.place = "anti-correlation";
    c.slots = 0;
    c.interval = 3;
    r = crew_case_result(&c, "auto");
    assert_int_equal(r.policy[0].run.passes, 8);
    assert_true(r.policy[0].run.total.counts.migrated_bytes > 0);
    result_release(&r);
}

/* However many chunks a pass comes in, a placement is renewed by all of its rows: GPUs
 * compute as many, pass by pass. */
static void test_chunks_are_counted_together(void **state)
{
    static const char *const policies[] = {
        "{name: a, place: {name: greedy, interval: 1}}",
        "{name: b, place: {name: greedy, interval: 1}, schedule: {name: pipelined, "
        "chunks: 3}}"};
    struct crew_case c = crew_eight;
    struct crew_lab *lab;
    struct result r[2];

    (void)state;
    c.more = "bounds: no";
    lab = crew_lab_new(&c, NULL);
    for (int i = 0; i < 2; i++) {
        char *text = crew_lab_text(lab, "auto", policies[i]);

        (void)crew_lab_run_text(lab, text, 1, &r[i], NULL);
        assert_true(r[i].policy[0].run.total.counts.migrations > 0);
        free(text);
    }
    for (uint64_t p = 0; p < r[0].policy[0].run.passes; p++) {
        struct run_pass a, b;
        struct err e = {.text = ""};

        assert_int_equal(result_read_passes(&r[0], 0, p, 1, &a, &e), 0);
        assert_int_equal(result_read_passes(&r[1], 0, p, 1, &b, &e), 0);
        assert_int_equal(a.counts.busiest_rows, b.counts.busiest_rows);
        assert_int_equal(a.counts.migrated_bytes, b.counts.migrated_bytes);
    }
    assert_memory_equal(r[0].policy[0].run.gpu_rows, r[1].policy[0].run.gpu_rows,
                        r[0].policy[0].run.gpus * sizeof(uint64_t));
    result_release(&r[0]);
    result_release(&r[1]);
    crew_lab_free(lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_moves),
        cmocka_unit_test(test_blocking),
        cmocka_unit_test(test_background),
        cmocka_unit_test(test_no_history),
        cmocka_unit_test(test_chunks_are_counted_together),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

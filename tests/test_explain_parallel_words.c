/* moesim explain's sentences on several GPUs: each verdict and each advice as a whole. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "printed_lines.h"
#include "sim/report/explain.h"

#include <stdlib.h>
#include <string.h>

static const sim_time ms = 1000 * SIM_TIME_PER_US;

enum { GPUS = 4, POLICIES = 6 };

struct made {
    struct result r;
    struct result_policy p[POLICIES];
    uint64_t gpu_rows[GPUS];
};

/* 10 passes in 1000 ms: exposed copies, the host, and what the two bounds save. */
static void make(struct made *m, int copy, int host, int even, int network)
{
    struct result_policy *p = &m->p[0];

    memset(m, 0, sizeof *m);
    m->r.policies = 1;
    m->r.policy = m->p;
    p->lossless = true;
    p->run.finished = true;
    p->run.passes = 10;
    p->run.total.latency = 1000 * ms;
    p->run.total.share[SHARE_COPY] = copy * ms;
    p->run.total.share[SHARE_HOST] = host * ms;
    p->run.total.counts.accesses = p->run.total.counts.hits = 1000;
    p->bounds.present = true;
    p->run.gpus = GPUS;
    p->run.nodes = p->run.shards = 1;
    p->run.gpu_rows = m->gpu_rows;
    p->run.total.share[SHARE_IMBALANCE] = 90 * ms;
    p->run.total.share[SHARE_COMM] = 120 * ms;
    p->bounds.balanced = (1000 - even) * ms;
    p->bounds.free_network = (1000 - network) * ms;
    for (int i = 0; i < GPUS; i++)
        m->gpu_rows[i] = i == 1 ? 1300 : 900; /* the second has 1.3 times the mean */
    p->run.total.counts.computed_rows = 4000;
    p->run.total.counts.activations = 4000;
    p->run.total.counts.busiest_rows = 1600; /* 1.6 times */
}

#define FULLEST                                                                          \
    "Layer by layer the busiest GPU has 1.600 times the mean rows; over the whole run "  \
    "the fullest, GPU 1, has 1.300 times."
#define CHANCE                                                                           \
    "No GPU is overloaded for long, so that no fixed placement evens this out: larger "  \
    "batches do, replicas of busy experts"
#define SHARDS ", or shards of every expert (place: moeshard)."

static void imbalance_is_told_by_its_kind(void **state)
{
    static char place[] = "eplb slots=64";
    struct made m;
    struct run_counts *c = &m.p[0].run.total.counts;

    (void)state;
    make(&m, 0, 49, 300, 49);
    lines_explain(&m.r, EXPLAIN_IMBALANCE,
                  "With the rows spread evenly the passes would take 70.0 % of the "
                  "time. " FULLEST,
                  "The same GPUs are overloaded throughout: place experts by their loads "
                  "(place: eplb or greedy), with replicas (more slots than experts), or "
                  "rebalance (interval).");
    /* What lasts is just less than half of it. */
    c->busiest_rows = 1601;
    m.p[0].run.total.share[SHARE_HOST] = 51 * ms;
    m.p[0].bounds.free_network = 949 * ms;
    m.p[0].run.total.share[SHARE_COPY] = 49 * ms;
    lines_explain(
        &m.r, EXPLAIN_IMBALANCE,
        "With the rows spread evenly the passes would take 70.0 % of the time. "
        "Layer by layer the busiest GPU has 1.601 times the mean rows; over the "
        "whole run the fullest, GPU 1, has 1.300 times. Besides, a network that "
        "takes no time would save 5.1 %, launches and host take 5.1 % of the time.",
        CHANCE " (place: eplb)" SHARDS);
    m.p[0].description[SLOT_PLACE] = place;
    c->activations = 3800; /* 5.3 % more are computed */
    make(&m, 0, 0, 300, 0);
    m.p[0].description[SLOT_PLACE] = place;
    c->activations = 3800;
    c->busiest_rows = 1700;
    lines_explain(
        &m.r, EXPLAIN_IMBALANCE,
        "With the rows spread evenly and nothing padded the passes would take "
        "70.0 % of the time. Layer by layer the busiest GPU has 1.700 times the "
        "mean rows; over the whole run the fullest, GPU 1, has 1.300 times.",
        "Experts run on 5.3 % more rows than were chosen: a smaller capacity, or "
        "gate: dropless. " CHANCE " (more slots)" SHARDS);
    /* 5 % more than the mean is nothing to speak of. */
    c->activations = 4000;
    c->busiest_rows = 1050;
    lines_explain(
        &m.r, EXPLAIN_IMBALANCE,
        "With the rows spread evenly the passes would take 70.0 % of the time. "
        "Layer by layer the busiest GPU has 1.050 times the mean rows; over the "
        "whole run the fullest, GPU 1, has 1.300 times.",
        "");
    c->busiest_rows = 1000;
    lines_explain(&m.r, EXPLAIN_IMBALANCE,
                  "With the rows spread evenly the passes would take 70.0 % of the time.",
                  "");
    /* Without bounds it is what GPUs waited. */
    m.p[0].bounds.present = false;
    m.p[0].run.total.share[SHARE_IMBALANCE] = 121 * ms;
    lines_explain(
        &m.r, EXPLAIN_IMBALANCE,
        "GPUs wait for others 12.1 % of the time. Besides, a network that takes no "
        "time would save 12.0 % of the time.",
        "");
}

/* 200 ms of network; the busiest port's bytes take so many bytes per ns. */
static void the_network_by_bytes_or_steps(void **state)
{
    static char schedule[] = "overlapped exchange=low-latency fp8_dispatch=yes";
    static char name[] = "node 0 NIC 1 out", kind[] = "NIC out";
    struct result_link link = {.name = name, .kind = kind, .bytes_per_s = 1000000000};
    uint64_t bytes = 101000000; /* 101 ms */
    struct made m;

    (void)state;
    make(&m, 0, 0, 10, 200);
    lines_explain(
        &m.r, EXPLAIN_NETWORK,
        "Communication is exposed 12.0 % of the time. Over a network that takes no "
        "time, which leaves its launches and synchronisation, the passes would "
        "take 80.0 % of the time.",
        "Fewer and shorter steps: schedule: exchange: low-latency, fewer GPUs, or "
        "larger batches that use each step for more rows; faster ports would not "
        "help.");
    m.r.links = m.p[0].run.links = 1;
    m.r.link = &link;
    m.p[0].run.link_bytes = &bytes;
    lines_explain(
        &m.r, EXPLAIN_NETWORK,
        "Communication is exposed 12.0 % of the time. Over a network that takes no "
        "time, which leaves its launches and synchronisation, the passes would "
        "take 80.0 % of the time. The busiest port, node 0 NIC 1 out, carried 101 "
        "MB, which take 10.1 % of the time at its full rate: it is the bytes that "
        "take long.",
        "Fewer bytes or faster ports: schedule: fp8_dispatch, experts placed so "
        "that rows stay in their node, or a faster NIC out.");
    m.p[0].description[SLOT_SCHEDULE] = schedule;
    lines_explain(
        &m.r, EXPLAIN_NETWORK,
        "Communication is exposed 12.0 % of the time. Over a network that takes no "
        "time, which leaves its launches and synchronisation, the passes would "
        "take 80.0 % of the time. The busiest port, node 0 NIC 1 out, carried 101 "
        "MB, which take 10.1 % of the time at its full rate: it is the bytes that "
        "take long.",
        "Fewer bytes or faster ports: experts placed so that rows stay in their "
        "node, or a faster NIC out.");
    m.p[0].bounds.present = false; /* 120 ms, half of which are 60 */
    bytes = 59000000;
    lines_explain(
        &m.r, EXPLAIN_NETWORK,
        "Communication is exposed 12.0 % of the time. The busiest port, node 0 NIC "
        "1 out, carried 59.0 MB, which take 5.9 % of the time at its full rate: it "
        "is the steps that take long, not the bytes. Besides, even rows would save "
        "9.0 % of the time.",
        "Fewer and shorter steps: fewer GPUs, or larger batches that use each step "
        "for more rows; faster ports would not help.");
    /* Shards know neither option. */
    m.p[0].description[SLOT_SCHEDULE] = NULL;
    m.p[0].run.shards = 2;
    m.p[0].run.total.counts.activations = 2000;
    lines_explain(
        &m.r, EXPLAIN_NETWORK,
        "Communication is exposed 12.0 % of the time. The busiest port, node 0 NIC "
        "1 out, carried 59.0 MB, which take 5.9 % of the time at its full rate: it "
        "is the steps that take long, not the bytes. Besides, even rows would save "
        "9.0 % of the time.",
        "Fewer and shorter steps: fewer GPUs, or larger batches that use each step "
        "for more rows; faster ports would not help.");
    bytes = 61000000;
    lines_explain(
        &m.r, EXPLAIN_NETWORK,
        "Communication is exposed 12.0 % of the time. The busiest port, node 0 NIC "
        "1 out, carried 61.0 MB, which take 6.1 % of the time at its full rate: it "
        "is the bytes that take long. Besides, even rows would save 9.0 % of the "
        "time.",
        "Fewer bytes or faster ports: experts placed so that rows stay in their "
        "node, or a faster NIC out.");
}

static void fetching_over_several_gpus(void **state)
{
    struct made m;

    (void)state;
    make(&m, 51, 0, 300, 200);
    m.p[0].run.total.counts.hits = 740;
    lines_explain(
        &m.r, EXPLAIN_FETCH,
        "With every expert resident and even rows the passes would take 70.0 % of "
        "the time. 26.0 % of the accesses miss the caches: GPUs wait 5.1 % of the "
        "time for experts, and 9.0 % for each other. Besides, a network that takes "
        "no time would save 20.0 % of the time.",
        "More slots in the caches, or more GPUs to hold the experts.");
    /* Without bounds: the copies and the waiting for those that copy. */
    m.p[0].bounds.present = false;
    lines_explain(
        &m.r, EXPLAIN_FETCH,
        "26.0 % of the accesses miss the caches: GPUs wait 5.1 % of the time for "
        "experts, and 9.0 % for each other. Besides, a network that takes no time "
        "would save 12.0 % of the time.",
        "More slots in the caches, or more GPUs to hold the experts.");
    m.p[0].run.total.share[SHARE_COPY] = 49 * ms;
    m.p[0].run.total.share[SHARE_COMM] = 130 * ms;
    assert_int_equal(explain_find(&m.p[0]).verdict, EXPLAIN_NETWORK);
}

static void several_gpus_without_failure(void **state)
{
    struct made m;

    (void)state;
    make(&m, 0, 100, 20, 40);
    lines_explain(
        &m.r, EXPLAIN_COMPUTE,
        "Balance and network cost little: even rows would save 2.0 % of the time, "
        "a network that takes no time 4.0 %. Besides, launches and host take "
        "10.0 % of the time.",
        "Faster GPUs, more of them, or larger batches.");
    make(&m, 0, 250, 20, 40);
    lines_explain(&m.r, EXPLAIN_HOST_BOUND,
                  "Launches and host work take 25.0 % of the time.",
                  "A captured graph: exchange: low-latency needs no counts on the host; "
                  "grouped instead of serial experts; larger batches.");
    /* As much as the network would save is not more. */
    make(&m, 0, 250, 20, 250);
    assert_int_equal(explain_find(&m.p[0]).verdict, EXPLAIN_NETWORK);
    make(&m, 0, 0, 50, 0);
    assert_int_equal(explain_find(&m.p[0]).verdict, EXPLAIN_IMBALANCE);
    make(&m, 0, 0, 0, 0);
    m.p[0].run.total.latency = 0;
    lines_explain(&m.r, EXPLAIN_UNKNOWN, "This result has no times.", "");
    /* A bound of zero is none. */
    make(&m, 0, 0, 300, 1000);
    assert_false(explain_find(&m.p[0]).bounded);
    make(&m, 0, 0, 1000, 300);
    assert_false(explain_find(&m.p[0]).bounded);
}

#define COMPUTING                                                                        \
    "Balance and network cost little: even rows would save 0.0 % of the time, a "        \
    "network "                                                                           \
    "that takes no time 0.0 %. "

/* Up to three that moved nothing are named, with the same cache unless all is resident.
 */
static void placed_once_instead(void **state)
{
    static char label[POLICIES][8];
    struct made m;

    (void)state;
    make(&m, 0, 0, 0, 0);
    m.r.policies = POLICIES;
    m.p[0].run.total.counts.migrations = 1;
    m.p[0].run.total.counts.migrated_bytes = 6000000;
    m.p[0].run.migration_time = 20 * ms;
    for (int i = 1; i < POLICIES; i++) {
        label[i][0] = (char)('a' + i);
        m.p[i] = m.p[0];
        m.p[i].label = label[i];
        m.p[i].run.total.counts.migrations = 0;
        m.p[i].run.total.latency = (1010 + 10 * i) * ms;
    }
    m.p[1].run.shards = GPUS;
    lines_explain(&m.r, EXPLAIN_COMPUTE,
                  COMPUTING
                  "Rebalancing moved 6.00 MB of experts in 1 migration; the tokens "
                  "waited for that 2.0 % of the time. Placed once instead, c takes "
                  "103.0 %, d takes 104.0 %, e takes 105.0 % of its time: "
                  "rebalancing pays here.",
                  "Faster GPUs, more of them, or larger batches.");
    m.p[2].run.total.counts.migrations = 1;
    m.p[3].run.passes = 9;
    m.p[4].run.total.latency = 1000 * ms; /* no slower */
    m.p[5].label = NULL;
    m.p[0].run.total.counts.migrations = 2;
    lines_explain(&m.r, EXPLAIN_COMPUTE,
                  COMPUTING
                  "Rebalancing moved 6.00 MB of experts in 2 migrations; the "
                  "tokens waited for that 2.0 % of the time. Placed once instead, "
                  "e takes 100.0 %,  takes 106.0 % of its time: rebalancing does "
                  "not pay here.",
                  "Faster GPUs, more of them, or larger batches.");
    /* One that is faster by much is named as well. */
    m.p[4].run.total.latency = 900 * ms;
    m.p[4].lossless = false;
    m.p[5].run.total.counts.migrations = 1;
    lines_explain(&m.r, EXPLAIN_COMPUTE,
                  COMPUTING
                  "Rebalancing moved 6.00 MB of experts in 2 migrations; the "
                  "tokens waited for that 2.0 % of the time. Placed once instead, "
                  "e takes 90.0 % of its time: rebalancing does not pay here.",
                  "Faster GPUs, more of them, or larger batches. In this result e takes "
                  "90.0 % of its time, but changes what the model computes.");
    m.p[0].lossless = false;
    m.p[4].run.total.counts.migrations = 3;
    lines_explain(&m.r, EXPLAIN_COMPUTE,
                  COMPUTING "Rebalancing moved 6.00 MB of experts in 2 migrations; the "
                            "tokens waited for that 2.0 % of the time.",
                  "Faster GPUs, more of them, or larger batches. In this result e takes "
                  "90.0 % of its time.");
}

/* 5 %, 25 % and a half to the bit: 125 and 625 of 2500 ms. */
static void the_thresholds_count_themselves(void **state)
{
    static char name[] = "port";
    struct result_link link = {.name = name, .kind = name, .bytes_per_s = 1000000000};
    uint64_t bytes = 60000000;
    struct explain_finding f;
    struct made m;
    char *text;

    (void)state;
    make(&m, 125, 625, 1600, 1600);
    m.p[0].run.total.latency = 2500 * ms;
    m.p[0].bounds.present = false;
    f = explain_find(&m.p[0]); /* 125 of copies and 90 of waiting; 120 of the network */
    assert_int_equal(f.verdict, EXPLAIN_HOST_BOUND);
    m.p[0].run.total.share[SHARE_HOST] = 125 * ms;
    f = explain_find(&m.p[0]);
    assert_int_equal(f.verdict, EXPLAIN_FETCH);
    text = explain_verdict_text(&f, &m.r, 0);
    assert_non_null(strstr(text, " Besides, launches and host take 5.0 % of the time."));
    free(text);
    m.p[0].run.total.share[SHARE_COPY] = m.p[0].run.total.share[SHARE_HOST] = 0;
    m.p[0].run.total.share[SHARE_IMBALANCE] = 125 * ms;
    assert_int_equal(explain_find(&m.p[0]).verdict, EXPLAIN_IMBALANCE);
    /* 60 of 120 ms are bytes. */
    m.p[0].run.total.share[SHARE_IMBALANCE] = 0;
    m.p[0].run.total.latency = 1000 * ms;
    m.r.links = m.p[0].run.links = 1;
    m.r.link = &link;
    m.p[0].run.link_bytes = &bytes;
    f = explain_find(&m.p[0]);
    assert_int_equal(f.verdict, EXPLAIN_NETWORK);
    text = explain_verdict_text(&f, &m.r, 0);
    assert_non_null(strstr(text, "it is the bytes that take long"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(imbalance_is_told_by_its_kind),
        cmocka_unit_test(the_network_by_bytes_or_steps),
        cmocka_unit_test(fetching_over_several_gpus),
        cmocka_unit_test(several_gpus_without_failure),
        cmocka_unit_test(placed_once_instead),
        cmocka_unit_test(the_thresholds_count_themselves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

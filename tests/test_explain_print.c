/* moesim explain's tables: every figure of them by hand. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "printed_lines.h"

#include <stdlib.h>
#include <string.h>

enum { LAYERS = 11 };

static const sim_time us = SIM_TIME_PER_US, ms = 1000 * SIM_TIME_PER_US;

struct made {
    struct result r;
    struct result_policy p;
    struct run_layer layer[LAYERS];
    uint16_t decoder[LAYERS];
};

/* Ten passes in 1000 ms; layer i waits 11 - i ms for copies, and 4 ms lie outside them.
 */
static void make(struct made *m)
{
    struct run_result *run = &m->p.run;

    memset(m, 0, sizeof *m);
    for (uint32_t i = 0; i < LAYERS; i++) {
        struct run_layer *y = &m->layer[i];
        sim_time n = i + 1;

        m->decoder[i] = (uint16_t)(i + 3);
        y->share[SHARE_COPY] = (LAYERS - i) * ms;
        y->share[SHARE_HOST] = n * ms;
        y->share[SHARE_HOSTED] = 2 * n * ms;
        y->counts.accesses = 100;
        y->counts.hits = 50 + i;
        y->counts.late = (uint64_t)n;
        y->copies = 20 + i;
        y->queue_time = 29 * n * us;
        y->copy_time = 58 * n * us;
        y->late_time = 3 * n * us;
        run->total.counts.accesses += 100;
        run->total.counts.hits += 50 + i;
    }
    run->finished = true;
    run->layers = LAYERS;
    run->layer = m->layer;
    run->passes = 10;
    run->output_tokens = 40;
    run->elapsed = 1100 * ms;
    run->tail = 5 * ms;
    run->copy_busy = 330 * ms;
    run->host_busy = 220 * ms;
    run->total.latency = 1000 * ms;
    run->total.share[SHARE_DENSE] = 300 * ms;
    run->total.share[SHARE_EXPERT] = 420 * ms;
    run->total.share[SHARE_HOSTED] = 140 * ms;
    run->total.share[SHARE_COPY] = 70 * ms;
    run->total.share[SHARE_HOST] = 70 * ms;
    run->total.counts.demand_bytes = 7000000;
    m->p.bounds.present = true;
    m->p.bounds.belady_hits = 715;
    m->p.bounds.belady_bytes = 4000000;
    m->p.bounds.compute = 860 * ms;
    m->p.bounds.copy = 100 * ms;
    m->p.bounds.offline = 880 * ms;
    m->p.bounds.belady_time = 960 * ms;
    m->p.bounds.belady_time_hits = 704;
    m->r.policies = 1;
    m->r.policy = &m->p;
    m->r.layers = LAYERS;
    m->r.moe_layer = m->decoder;
}

static void where_the_time_went(void **state)
{
    struct made m;
    char *text;

    (void)state;
    make(&m);
    text = lines_explained(&m.r);
    lines_have(text, "Where the time went (10 passes, 40 output tokens)");
    lines_have(text, "dense compute 300 ms 30.0 ms 30.0 %");
    lines_have(text, "expert compute 420 ms 42.0 ms 42.0 %");
    lines_have(text, "experts in place 140 ms 14.0 ms 14.0 %");
    lines_have(text, "exposed copy 70.0 ms 7.00 ms 7.0 %");
    lines_have(text, "launch and host 70.0 ms 7.00 ms 7.0 %");
    lines_have(text, "latency of all passes 1.00 s 100 ms 100.0 %");
    lines_have(text, "waiting for requests 100 ms 10.0 ms 10.0 %");
    lines_have(text, "copies behind the tokens 5.00 ms 500 us 0.5 %");
    free(text);
    m.p.run.tail = 0;
    m.p.run.elapsed = m.p.run.total.latency;
    text = lines_explained(&m.r);
    assert_null(strstr(text, "waiting for requests"));
    assert_null(strstr(text, "copies behind the tokens"));
    free(text);
}

/* Columns: copies exposed and their share, host, hit rate, copies, wait, transfer, late.
 * The three that wait least are added: 3 + 2 + 1 ms, 9 + 10 + 11 of what counts with n.
 */
static void layer_by_layer(void **state)
{
    struct made m;
    char *text;

    (void)state;
    make(&m);
    text = lines_explained(&m.r);
    lines_say(text, "the 8 MoE layers of 11 that waited most");
    lines_have(text, "3 1.10 ms 15.7 % 100 us 50.0 % 2.00 1.45 us 2.90 us 2.0 % 3.00 us");
    lines_have(text, "10 400 us 5.7 % 800 us 57.0 % 2.70 8.59 us 17.2 us 14.0 % 3.00 us");
    assert_null(strstr(text, "\n11 "));
    lines_have(
        text, "3 others 600 us 8.6 % 3.00 ms 59.0 % 8.70 10.0 us 20.0 us 16.9 % 3.00 us");
    lines_have(text, "all MoE layers 6.60 ms 94.3 % 6.60 ms 55.0 % 27.5 6.96 us 13.9 us "
                     "10.9 % 3.00 us");
    lines_have(text, "outside them 400 us 5.7 % 400 us - 0.00 - - - -");
    free(text);
    /* With experts on the host their time stands where late prefetches did. */
    m.p.run.total.counts.host_runs = 55;
    text = lines_explained(&m.r);
    lines_have(text, "3 others 600 us 8.6 % 3.00 ms 59.0 % 8.70 10.0 us 20.0 us 6.00 ms");
    lines_have(text, "all MoE layers 6.60 ms 94.3 % 6.60 ms 55.0 % 27.5 6.96 us 13.9 us "
                     "13.2 ms");
    lines_have(text, "outside them 400 us 5.7 % 400 us - 0.00 - - 800 us");
    free(text);
    /* Nine are shown one by one. */
    m.p.run.layers = m.r.layers = 9;
    text = lines_explained(&m.r);
    assert_null(strstr(text, " others "));
    assert_non_null(strstr(text, "\n11 300 us "));
    free(text);
}

/* Without times the layers with most copies come first, and no time is shown. */
static void layers_without_times(void **state)
{
    struct made m;
    char *text;

    (void)state;
    make(&m);
    m.p.run.counts_only = true;
    text = lines_explained(&m.r);
    lines_say(text, "those with most copies by name");
    assert_null(strstr(text, "Where the time went"));
    lines_have(text, "13 - - - 60.0 % 3.00 - - - -");
    lines_have(text, "3 others - - - 51.0 % 6.30 - - - -");
    assert_null(strstr(text, "\n5 "));
    lines_say(text, "275 demand copies (7.00 MB).");
    assert_null(strstr(text, "The link was busy"));
    assert_null(strstr(text, "Belady's run that was simulated"));
    lines_say(text, "least 4.00 MB: 1.750 times as many");
    free(text);
}

static void on_the_link(void **state)
{
    struct made m;
    struct run_counts *c = &m.p.run.total.counts;
    char *text;

    (void)state;
    make(&m);
    m.p.run.tail = 0;
    text = lines_explained(&m.r);
    lines_say(text, "275 demand copies (7.00 MB), each 13.9 us on the link after waiting "
                    "6.96 us for it: the wait is 50.0 % of the transfer time.");
    lines_say(text, "No prefetches.");
    lines_say(text, "The link was busy 30.0 % of the run.");
    assert_null(strstr(text, "Written back"));
    assert_null(strstr(text, "Ran on the host"));
    free(text);
    c->prefetches = 80;
    c->prefetch_used = 60;
    c->late = 24;
    c->prefetch_bytes = 2000000;
    c->wasted_bytes = 500000;
    c->out_bytes = 3000000;
    c->host_runs = 110;
    text = lines_explained(&m.r);
    lines_say(text, "80 prefetches (2.00 MB): 60 used (75.0 % precision), 24 of those "
                    "late, by 3.00 us on average; 500 kB (25.0 %) wasted.");
    lines_say(text, "Written back to the host: 3.00 MB.");
    lines_say(text, "Ran on the host instead: 110 experts (10.0 % of the accesses); its "
                    "processors were busy with them 20.0 % of the run, and the GPU "
                    "waited for them 12.7 % of it.");
    lines_say(text, "Bytes in: 9.00 MB; least 4.00 MB: 2.250 times as many.");
    free(text);
    for (int i = 0; i < LAYERS; i++)
        m.layer[i].copies = 0;
    text = lines_explained(&m.r);
    lines_say(text, "No demand copies.");
    free(text);
}

static void against_the_bounds(void **state)
{
    struct made m;
    char *text;

    (void)state;
    make(&m);
    text = lines_explained(&m.r);
    lines_say(text, "Hits: 605 of 1 100 (55.0 %); Belady 715 (65.0 %): 10.0 points, 110 "
                    "hits lost.");
    lines_say(text, "Bytes in: 7.00 MB; least 4.00 MB: 1.750 times as many.");
    lines_say(text, "Belady's run that was simulated reached 704 hits (64.0 %).");
    lines_have(text, "this run 100 ms 0 s 0.0 %");
    lines_have(text, "Belady on demand (simulated) 96.0 ms 4.00 ms 4.0 %");
    lines_have(text, "perfect look-ahead (bound) 88.0 ms 12.0 ms 12.0 %");
    lines_have(text, "every expert resident (bound) 86.0 ms 14.0 ms 14.0 %");
    free(text);
    m.p.bounds.belady_hits = 594;
    text = lines_explained(&m.r);
    lines_say(text, "1.00 points, 11 hits more than without prefetching");
    free(text);
    m.p.bounds.offline = 0;
    text = lines_explained(&m.r);
    lines_say(text, "There are no bounds on bytes and time.");
    assert_null(strstr(text, "Bytes in"));
    free(text);
    m.p.bounds.present = false;
    text = lines_explained(&m.r);
    lines_say(text, "This result has no bounds.");
    assert_null(strstr(text, "Hits: "));
    free(text);
}

/* Belady takes 40 ms less. It is 80 ms above the look-ahead bound, of which 70 are the
 * host's and 10 the working set's; that bound is 20 above computing. */
static void what_would_avoid_it(void **state)
{
    struct made m;
    char *text;

    (void)state;
    make(&m);
    text = lines_explained(&m.r);
    lines_have(text, "policy 40.0 ms 4.00 ms 4.0 %");
    lines_have(text, "working set 10.0 ms 1.00 ms 1.0 %");
    lines_have(text, "bandwidth 20.0 ms 2.00 ms 2.0 %");
    lines_have(text, "launches and host 70.0 ms 7.00 ms 7.0 %");
    lines_have(text, "computing 860 ms 86.0 ms 86.0 %");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(where_the_time_went),  cmocka_unit_test(layer_by_layer),
        cmocka_unit_test(layers_without_times), cmocka_unit_test(on_the_link),
        cmocka_unit_test(against_the_bounds),   cmocka_unit_test(what_would_avoid_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

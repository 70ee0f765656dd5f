/* moesim explain's tables over several GPUs: every figure of them by hand. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "printed_lines.h"
#include "sim/report/explain.h"

#include <stdlib.h>
#include <string.h>

enum { GPUS = 4, LAYERS = 11, LINKS = 4 };

static const sim_time us = SIM_TIME_PER_US, ms = 1000 * SIM_TIME_PER_US;

struct made {
    struct result r;
    struct result_policy p;
    struct run_layer layer[LAYERS];
    uint16_t decoder[LAYERS];
    uint64_t gpu_rows[GPUS], bytes[LINKS];
    struct result_link link[LINKS];
};

/* Ten passes in 1000 ms, 1250 with the tail. Layer i waits i + 1 ms for other GPUs and
 * 11 - i ms for the network; 34, 64 and 17 ms lie outside them. */
static void make(struct made *m)
{
    static char name[LINKS][20] = {"GPU 0 NVLink out", "GPU 1 NVLink out",
                                   "node 0 NIC out", "node 0 NIC in"};
    static char kind[LINKS][20] = {"NVLink out", "NVLink out", "NIC out", "NIC in"};
    struct run_result *run = &m->p.run;

    memset(m, 0, sizeof *m);
    m->r.policies = 1;
    m->r.policy = &m->p;
    m->r.layers = run->layers = LAYERS;
    m->r.moe_layer = m->decoder;
    m->r.links = run->links = LINKS;
    m->r.link = m->link;
    run->link_bytes = m->bytes;
    for (int i = 0; i < LINKS; i++)
        m->link[i] = (struct result_link){.name = name[i],
                                          .kind = kind[i],
                                          .bytes_per_s = i < 3 ? 1000000000 : 100000000};
    m->bytes[0] = 30000000;
    m->bytes[1] = 50000000;
    m->bytes[3] = 10000000;
    for (uint32_t i = 0; i < LAYERS; i++) {
        struct run_layer *y = &m->layer[i];

        m->decoder[i] = (uint16_t)(i + 3);
        y->share[SHARE_IMBALANCE] = (i + 1) * ms;
        y->share[SHARE_COMM] = (LAYERS - i) * ms;
        y->share[SHARE_HOST] = (i + 1) * 500 * us;
        y->counts.busiest_rows = 100 + 10 * i;
        y->counts.computed_rows = 200;
        y->counts.sent_bytes = (i + 1) * 1000000;
    }
    run->layer = m->layer;
    run->finished = true;
    run->passes = 10;
    run->elapsed = 1000 * ms;
    run->tail = 250 * ms;
    run->total.latency = 1000 * ms;
    run->total.share[SHARE_IMBALANCE] = 100 * ms;
    run->total.share[SHARE_COMM] = 130 * ms;
    run->total.share[SHARE_HOST] = 50 * ms;
    run->gpus = GPUS;
    run->nodes = run->shards = 1;
    run->gpu_rows = m->gpu_rows;
    m->gpu_rows[0] = 950;
    m->gpu_rows[1] = 1300;
    m->gpu_rows[2] = 850;
    m->gpu_rows[3] = 900;
    run->total.counts.computed_rows = run->total.counts.activations = 4000;
    run->total.counts.busiest_rows = 1600;
    m->p.bounds.present = true;
    m->p.bounds.balanced = 800 * ms;
    m->p.bounds.free_network = 900 * ms;
}

static void what_would_save_time(void **state)
{
    struct made m;
    char *text;

    (void)state;
    make(&m);
    text = lines_explained(&m.r);
    lines_have(text, "What would save time, at most (bounds; they overlap)\n"
                     "per pass saved of the run\n"
                     "this run 100 ms 0 s 0.0 %\n"
                     "rows spread evenly, no padding 80.0 ms 20.0 ms 20.0 %\n"
                     "a network that takes no time 90.0 ms 10.0 ms 10.0 %");
    free(text);
    m.p.run.total.share[SHARE_COPY] = 30 * ms;
    text = lines_explained(&m.r);
    lines_have(text, "even rows, all experts resident 80.0 ms 20.0 ms 20.0 %");
    free(text);
    m.p.bounds.present = false;
    text = lines_explained(&m.r);
    lines_say(text,
              "What would save time: this result has no bounds; they need bounds: "
              "yes and passes that do not depend on time (closed loop or recorded).");
    assert_null(strstr(text, "this run"));
    free(text);
}

/* Columns: the busiest over the mean, the wait for it and its share, the network's time
 * and its share, bytes, host. The three that wait least are added. */
static void layer_by_layer(void **state)
{
    struct made m;
    char *text;

    (void)state;
    make(&m);
    text = lines_explained(&m.r);
    lines_say(text,
              "Imbalance and communication: the 8 MoE layers of 11 where GPUs waited "
              "most for others (per pass, means over the GPUs)");
    lines_have(text,
               "decoder layer busiest wait for share exposed share between launch\n"
               "over mean others comm GPUs and host\n"
               "13 4.000 1.10 ms 11.0 % 100 us 0.8 % 1.10 MB 550 us\n"
               "12 3.800 1.00 ms 10.0 % 200 us 1.5 % 1.00 MB 500 us\n"
               "11 3.600 900 us 9.0 % 300 us 2.3 % 900 kB 450 us\n"
               "10 3.400 800 us 8.0 % 400 us 3.1 % 800 kB 400 us\n"
               "9 3.200 700 us 7.0 % 500 us 3.8 % 700 kB 350 us\n"
               "8 3.000 600 us 6.0 % 600 us 4.6 % 600 kB 300 us\n"
               "7 2.800 500 us 5.0 % 700 us 5.4 % 500 kB 250 us\n"
               "6 2.600 400 us 4.0 % 800 us 6.2 % 400 kB 200 us\n"
               "3 others 2.200 600 us 6.0 % 3.00 ms 23.1 % 600 kB 300 us\n"
               "all MoE layers 3.000 6.60 ms 66.0 % 6.60 ms 50.8 % 6.60 MB 3.30 ms\n"
               "outside them - 3.40 ms 34.0 % 6.40 ms 49.2 % 0 B 1.70 ms");
    free(text);
    /* Those that wait as long stand in their order. */
    for (int i = 0; i < LAYERS; i++)
        m.layer[i].share[SHARE_IMBALANCE] = i < 3 ? 8 * ms : ms;
    text = lines_explained(&m.r);
    lines_have(text, "3 2.000 800 us 8.0 % 1.10 ms 8.5 % 100 kB 50.0 us\n"
                     "4 2.200 800 us 8.0 % 1.00 ms 7.7 % 200 kB 100 us\n"
                     "5 2.400 800 us 8.0 % 900 us 6.9 % 300 kB 150 us\n"
                     "6 2.600 100 us 1.0 % 800 us 6.2 % 400 kB 200 us");
    assert_non_null(strstr(text, "\n10 3.400 "));
    assert_null(strstr(text, "\n11 "));
    free(text);
    /* Nine stand one by one. */
    m.r.layers = m.p.run.layers = 9;
    text = lines_explained(&m.r);
    lines_say(text, "Imbalance and communication by MoE layer (per pass, means over the "
                    "GPUs)");
    assert_non_null(strstr(text, "\n11 "));
    assert_null(strstr(text, " others 2"));
    free(text);
    /* Without times only rows and bytes are known. */
    m.p.run.counts_only = true;
    text = lines_explained(&m.r);
    lines_have(text, "3 2.000 - - - - 100 kB -");
    assert_null(strstr(text, "What would save time"));
    free(text);
}

static void the_gpus(void **state)
{
    struct made m;
    struct run_counts *c = &m.p.run.total.counts;
    char *text;

    (void)state;
    make(&m);
    text = lines_explained(&m.r);
    lines_say(text,
              "The GPUs Rows that experts ran on: 1 000 a GPU; most on GPU 1 (1.300 "
              "of the mean), least on GPU 2 (0.850). Layer by layer and pass by pass "
              "the busiest has 1.600 of the mean.  The network");
    assert_null(strstr(text, "slices"));
    free(text);
    /* The first of those with as many. */
    m.gpu_rows[0] = m.gpu_rows[1] = 1150;
    m.gpu_rows[2] = m.gpu_rows[3] = 850;
    m.p.run.shards = GPUS;
    c->activations = 1000;
    text = lines_explained(&m.r);
    lines_say(text, "most on GPU 0 (1.150 of the mean), least on GPU 2 (0.850).");
    lines_say(text,
              "Every expert is cut into 4 slices, one on each GPU, so that every row "
              "runs on all.");
    assert_null(strstr(text, "GPU memory"));
    assert_null(strstr(text, "The gate padded"));
    free(text);
    for (int i = 0; i < GPUS; i++)
        m.gpu_rows[i] = 1000;
    m.p.run.shards = 1;
    m.p.run.total.memory = (struct run_memory){.weights = 3000000000,
                                               .buffers = 4000000,
                                               .kv = 500000000,
                                               .activations = 60000000};
    m.p.run.gpu_peak = (uint64_t[GPUS]){3000000000, 3564000000, 2900000000, 2900000000};
    c->activations = 3200;
    c->dropped = 800;
    text = lines_explained(&m.r);
    lines_have(text, "Rows that experts ran on: 1 000 a GPU, on each as many.\n"
                     "The gate padded them by 25.0 % and dropped 800 choices (20.0 %).");
    lines_have(text, "GPU memory");
    lines_say(text, "In use at most: 3.56 GB of ");
    lines_say(text, "; weights 3.00 GB, KV cache 500 MB, activations of an MoE layer "
                    "60.0 MB, staging 4.00 MB.");
    lines_say(text, "That is GPU 1; the least is 2.90 GB, on GPU 2.");
    free(text);
    c->activations = 4000;
    c->dropped = 1;
    text = lines_explained(&m.r);
    lines_have(text, "The gate padded them by 0.0 % and dropped 1 choices (0.0 %).");
    free(text);
}

static void the_network(void **state)
{
    struct made m;
    char *text;

    (void)state;
    make(&m);
    text = lines_explained(&m.r);
    lines_have(text, "ports number bytes mean busiest bytes busy\n"
                     "NVLink out 2 80.0 MB 40.0 MB GPU 1 NVLink out 50.0 MB 4.0 %\n"
                     "NIC in 1 10.0 MB 10.0 MB node 0 NIC in 10.0 MB 8.0 %");
    lines_say(text, "Busy: the share of the run that its bytes take at the port's full "
                    "rate. Exposed communication takes 13.0 % of the time.");
    free(text);
    m.p.run.links = 0;
    m.p.run.total.counts.sent_bytes = 1;
    text = lines_explained(&m.r);
    lines_have(text, "The network\nHow much each port carried is not in this result.");
    free(text);
    m.p.run.total.counts.sent_bytes = 0;
    text = lines_explained(&m.r);
    lines_have(text, "The network\nNothing was sent between GPUs.");
    free(text);
    m.p.run.links = LINKS; /* they are known, and carried nothing */
    m.p.run.total.counts.sent_bytes = 1;
    memset(m.bytes, 0, sizeof m.bytes);
    text = lines_explained(&m.r);
    lines_have(text, "The network\nNothing was sent between GPUs.");
    free(text);
}

/* What the caches did is told where something missed them. */
static void the_caches(void **state)
{
    struct made m;
    char *text;

    (void)state;
    make(&m);
    m.p.run.total.counts.accesses = m.p.run.total.counts.hits = 100;
    text = lines_explained(&m.r);
    assert_null(strstr(text, "demand copies"));
    free(text);
    m.p.run.total.counts.hits = 99;
    text = lines_explained(&m.r);
    lines_say(text, "No demand copies.");
    free(text);
}

/* `passes` of them, of which the one at `moved` and those behind are another kind. */
static void spool(struct made *m, int passes, int moved)
{
    m->p.run.passes = (uint64_t)passes;
    m->p.run.pass_spool = tmpfile();
    assert_non_null(m->p.run.pass_spool);
    for (int i = 0; i < passes; i++) {
        struct run_pass pass = {
            .latency = i < moved ? 5 * ms : 4 * ms,
            .counts = {.computed_rows = 400, .busiest_rows = i < moved ? 300 : 200}};

        pass.counts.migrations = i == moved;
        assert_int_equal(fwrite(&pass, sizeof pass, 1, m->p.run.pass_spool), 1);
    }
}

static void rebalancing(void **state)
{
    struct made m;
    struct run_counts *c = &m.p.run.total.counts;
    char *text;

    (void)state;
    make(&m);
    text = lines_explained(&m.r);
    assert_null(strstr(text, "Rebalancing"));
    free(text);
    c->migrations = 1;
    c->migrated_bytes = 6000000;
    m.p.run.migration_time = 20 * ms;
    text = lines_explained(&m.r);
    lines_say(text, "Rebalancing 1 migration of 6.00 MB of experts (6.00 MB in all); the "
                    "tokens waited 20.0 ms for each, 2.0 % of the time.");
    assert_null(strstr(text, "Before the first"));
    free(text);
    m.p.run.counts_only = true;
    text = lines_explained(&m.r);
    lines_have(text, "Rebalancing\n1 migration of 6.00 MB of experts in all.");
    free(text);
    c->migrations = 2;
    text = lines_explained(&m.r);
    lines_have(text, "Rebalancing\n2 migrations of 6.00 MB of experts in all.");
    free(text);
    m.p.run.counts_only = false;
    /* Read in blocks, the second of which has the migration. */
    spool(&m, 5000, 4500);
    text = lines_explained(&m.r);
    lines_say(text,
              "2 migrations of 3.00 MB of experts (6.00 MB in all); the tokens waited "
              "10.0 ms for each, 2.0 % of the time. Before the first migration (4 500 "
              "passes) the busiest GPU had 3.000 of the mean rows, and a pass took "
              "5.00 ms; after it 2.000 and 4.00 ms, of which 40.0 us is for "
              "migrations.");
    free(text);
    (void)fclose(m.p.run.pass_spool);
    /* Nothing is before the first, or behind none. */
    for (int moved = 0; moved <= 3; moved += 3) {
        spool(&m, 3, moved);
        text = lines_explained(&m.r);
        assert_null(strstr(text, "Before the first"));
        free(text);
        (void)fclose(m.p.run.pass_spool);
    }
    spool(&m, 2, 1); /* one each */
    text = lines_explained(&m.r);
    lines_say(text, "Before the first migration (1 passes) the busiest");
    free(text);
    (void)fclose(m.p.run.pass_spool);
}

static void passes_that_cannot_be_read(void **state)
{
    struct made m;
    struct err e = {.text = ""};
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    (void)state;
    make(&m);
    m.p.run.total.counts.migrations = 1;
    spool(&m, 3, 1);
    m.p.run.passes = 4;
    assert_int_equal(result_explain(&m.r, out, &e), -1);
    assert_non_null(
        strstr(e.text, "the temporary file of pass records cannot be read back"));
    assert_int_equal(fclose(out), 0);
    free(text);
    (void)fclose(m.p.run.pass_spool);
}

static void a_full_disk(void **state)
{
    struct made m;
    struct err e = {.text = ""};
    FILE *out = fopen("/dev/full", "w");

    (void)state;
    make(&m);
    if (out == NULL)
        skip();
    assert_int_equal(setvbuf(out, NULL, _IONBF, 0), 0);
    assert_int_equal(result_explain(&m.r, out, &e), -1);
    assert_string_equal(e.text,
                        "the explanation cannot be written: No space left on device");
    (void)fclose(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_would_save_time),
        cmocka_unit_test(layer_by_layer),
        cmocka_unit_test(the_gpus),
        cmocka_unit_test(the_network),
        cmocka_unit_test(the_caches),
        cmocka_unit_test(rebalancing),
        cmocka_unit_test(passes_that_cannot_be_read),
        cmocka_unit_test(a_full_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

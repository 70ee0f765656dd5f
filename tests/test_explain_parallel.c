#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "made_result.h"
#include "printed_lines.h"
#include "sim/base/mem.h"
#include "sim/report/explain.h"
#include "sim/base/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NEAR(a, b) assert_true(fabs((a) - (b)) <= 1e-9 * (1 + fabs(b)))

static const sim_time ms = 1000 * SIM_TIME_PER_US;

/* A run of 1000 ms over 4 GPUs, its exposed copies and host time, and its bounds. */
static struct result_policy made(int copy, int host, int balanced, int free_network)
{
    struct result_policy p = {.label = NULL};

    p.run.gpus = 4;
    p.run.nodes = 1;
    p.run.shards = 1;
    p.run.gpu_rows = mem_zalloc(4, sizeof *p.run.gpu_rows);
    p.run.passes = 10;
    p.run.total.latency = 1000 * ms;
    p.run.total.share[SHARE_COPY] = copy * ms;
    p.run.total.share[SHARE_HOST] = host * ms;
    p.run.total.share[SHARE_IMBALANCE] = 90 * ms;
    p.run.total.share[SHARE_COMM] = 120 * ms;
    p.bounds.present = balanced > 0;
    p.bounds.balanced = balanced * ms;
    p.bounds.free_network = free_network * ms;
    return p;
}

static enum explain_verdict verdict_of(int copy, int host, int balanced, int free_network)
{
    struct result_policy p = made(copy, host, balanced, free_network);
    enum explain_verdict verdict = explain_find(&p).verdict;

    free(p.run.gpu_rows);
    return verdict;
}

static void the_greatest_saving_is_the_verdict(void **state)
{
    (void)state;
    assert_int_equal(verdict_of(0, 0, 700, 800), EXPLAIN_IMBALANCE);
    assert_int_equal(verdict_of(0, 0, 800, 700), EXPLAIN_NETWORK);
    /* 5 % of the time is something, less is nothing. */
    assert_int_equal(verdict_of(0, 0, 949, 960), EXPLAIN_IMBALANCE);
    assert_int_equal(verdict_of(0, 0, 951, 951), EXPLAIN_COMPUTE);
    /* Even rows come with resident experts: from 5 % of exposed copies on it is those. */
    assert_int_equal(verdict_of(51, 0, 700, 800), EXPLAIN_FETCH);
    assert_int_equal(verdict_of(49, 0, 700, 800), EXPLAIN_IMBALANCE);
    assert_int_equal(verdict_of(51, 0, 800, 700), EXPLAIN_NETWORK);
    /* The host bounds what it takes most of, if that is a quarter. */
    assert_int_equal(verdict_of(0, 251, 760, 960), EXPLAIN_HOST_BOUND);
    assert_int_equal(verdict_of(0, 251, 740, 960), EXPLAIN_IMBALANCE);
    assert_int_equal(verdict_of(0, 249, 960, 760), EXPLAIN_NETWORK);
    assert_int_equal(verdict_of(0, 249, 960, 960), EXPLAIN_COMPUTE);
    /* Without bounds the shares stand in: 90 of waiting, 120 of communication. */
    assert_int_equal(verdict_of(0, 0, 0, 0), EXPLAIN_NETWORK);
    assert_int_equal(verdict_of(60, 0, 0, 0), EXPLAIN_FETCH);
}

static void savings_are_differences(void **state)
{
    struct result_policy p = made(30, 40, 700, 800);
    struct explain_finding f = explain_find(&p);

    (void)state;
    assert_true(f.parallel && f.bounded);
    NEAR(f.total, 1.0);
    NEAR(f.imbalance, 0.3);
    NEAR(f.network, 0.2);
    NEAR(f.fetch, 0.03);
    NEAR(f.host, 0.04);
    p.bounds.balanced = 1100 * ms; /* a bound above the run saves nothing */
    f = explain_find(&p);
    NEAR(f.imbalance, 0.0);
    free(p.run.gpu_rows);
}

/* ---- words ---- */

static void assert_says(const struct result *r, uint32_t policy, const char *verdict,
                        const char *help)
{
    struct explain_finding f = explain_find(&r->policy[policy]);
    char *said = explain_verdict_text(&f, r, policy);
    char *helped = explain_help_text(&f, r, policy);

    if (strstr(said, verdict) == NULL)
        fail_msg("'%s' does not say '%s'", said, verdict);
    if (strstr(helped, help) == NULL)
        fail_msg("'%s' does not say '%s'", helped, help);
    free(said);
    free(helped);
}

/* The same GPU has most throughout; or each in its turn, which no placement evens. */
static void lasting_and_passing_imbalance(void **state)
{
    struct result_policy p = made(0, 0, 700, 950);
    struct result r = {.policies = 1, .policy = &p};
    struct run_counts *c = &p.run.total.counts;

    (void)state;
    for (int i = 0; i < 4; i++)
        p.run.gpu_rows[i] = i == 2 ? 1000 : 600;
    c->computed_rows = 2800;
    c->activations = 2800;
    c->busiest_rows = 1050;
    /* 1050 and 1000 of 700. */
    assert_says(&r, 0,
                "busiest GPU has 1.500 times the mean rows; over the whole run the "
                "fullest, GPU 2, has 1.429 times",
                "The same GPUs are overloaded throughout");
    for (int i = 0; i < 4; i++)
        p.run.gpu_rows[i] = 700;
    assert_says(&r, 0, "would take 70.0 % of the time", "No GPU is overloaded for long");
    c->computed_rows = 3500;
    assert_says(&r, 0, "and nothing padded", "Experts run on 25.0 % more rows");
    free(p.run.gpu_rows);
}

/* 200 ms of network: 99 ms of bytes are steps, 101 ms are bytes. */
static void bytes_and_steps(void **state)
{
    struct result_link link = {.bytes_per_s = 1000000000};
    uint64_t bytes = 99000000;
    struct result_policy p = made(0, 0, 990, 800);
    struct result r = {.policies = 1, .policy = &p, .links = 1, .link = &link};
    char name[] = "node 0 NIC 1 out", kind[] = "NIC out";
    char schedule[] = "overlapped exchange=low-latency";

    (void)state;
    link.name = name;
    link.kind = kind;
    p.run.links = 1;
    p.run.link_bytes = &bytes;
    assert_says(&r, 0,
                "node 0 NIC 1 out, carried 99.0 MB, which take 9.9 % of the time "
                "at its full rate: it is the steps",
                "schedule: exchange: low-latency, fewer GPUs");
    p.description[SLOT_SCHEDULE] = schedule; /* it has that already */
    assert_says(&r, 0, "Communication is exposed 12.0 %",
                "Fewer and shorter steps: fewer GPUs");
    bytes = 101000000;
    assert_says(&r, 0, "it is the bytes that take long", "or a faster NIC out");
    free(p.run.gpu_rows);
}

static void set(char **text, const char *to)
{
    free(*text);
    *text = mem_strdup(to);
}

static void whether_rebalancing_pays(void **state)
{
    struct made_shape shape = {
        .policies = 3, .layers = 2, .requests = 4, .seed = 4, .gpus = 4};
    struct result r = made_result(&shape);

    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        struct run_result *run = &r.policy[i].run;

        run->total.counts = (struct run_counts){.accesses = 10, .hits = 10};
        run->total.latency = (i == 0 ? 1000 : 940 + 20 * i) * ms;
        set(&r.policy[i].description[SLOT_CACHE], i == 0 ? "lru slots=5" : "lru slots=4");
        set(&r.policy[i].description[SLOT_PLACE], i == 0 ? "eplb interval=5" : "linear");
    }
    set(&r.policy[2].description[SLOT_SCHEDULE], "serial");
    r.policy[0].run.total.counts.migrations = 3;
    r.policy[0].run.total.counts.migrated_bytes = 6000000;
    r.policy[0].run.migration_time = 20 * ms;
    /* Its own schedule only: 960 of 1000, not 980. */
    assert_says(&r, 0,
                "Rebalancing moved 6.00 MB of experts in 3 migrations; the tokens "
                "waited for that 2.0 % of the time. Placed once instead, lfu takes "
                "96.0 % of its time: rebalancing does not pay here.",
                "");
    r.policy[1].run.total.latency = 1040 * ms;
    assert_says(&r, 0, "lfu takes 104.0 % of its time: rebalancing pays here.", "");
    /* A cache that misses must be the same. */
    r.policy[1].run.total.counts.hits = 9;
    {
        struct explain_finding f = explain_find(&r.policy[0]);
        char *text = explain_verdict_text(&f, &r, 0);

        assert_null(strstr(text, "Placed once"));
        free(text);
    }
    result_release(&r);
}

/* ---- what is printed ---- */

static void the_tables(void **state)
{
    struct made_shape shape = {
        .policies = 1, .layers = 12, .requests = 4, .seed = 4, .gpus = 4};
    struct result r = made_result(&shape);
    struct run_result *run = &r.policy[0].run;
    struct run_layer *worst = &run->layer[7];
    char *text, *row;
    double imbalance = 0, wait = 0;

    (void)state;
    run->passes = 100;
    worst->share[SHARE_IMBALANCE] = SIM_TIME_PER_S; /* 10 ms per pass */
    worst->counts.computed_rows = 400;
    worst->counts.busiest_rows = 250; /* of 100 */
    for (int i = 0; i < 4; i++)
        run->gpu_rows[i] = i == 3 ? 130 : 90;
    run->total.counts.computed_rows = 400;
    for (uint32_t i = 0; i < run->links; i++)
        run->link_bytes[i] = 0;
    run->link_bytes[1] = 3600000000; /* 10 ms at 360 GB/s */
    run->elapsed = 100 * ms;
    run->total.counts.migrations = 2;
    run->total.counts.migrated_bytes = 8000000;
    run->migration_time = 6 * ms;
    text = lines_explanation(&r);
    assert_non_null(
        strstr(text, "gpt-oss-20b on 4 GPUs of rtx4090-pcie4, 1 node; trace"));
    row = strstr(text, "\n    8               "); /* decoder layers count on by 1 */
    assert_non_null(row);
    assert_int_equal(sscanf(row, " 8 %lf %lf ms", &imbalance, &wait), 2);
    NEAR(imbalance, 2.5);
    NEAR(wait, 10.0);
    assert_true(strstr(text, "\n    4 others ") > row);
    assert_non_null(strstr(text, "most on GPU 3 (1.300 of the mean), least on GPU 0 "
                                 "(0.900)"));
    assert_non_null(strstr(text, "\n    NVLink out           4    3.60 GB     900 MB   "
                                 "GPU 1 NVLink out          3.60 GB   10.0 %\n"));
    assert_null(strstr(text, "NVLink in  ")); /* carried nothing */
    assert_non_null(strstr(text, "2 migrations of 4.00 MB of experts (8.00 MB in all); "
                                 "the tokens waited 3.00 ms"));
    assert_non_null(strstr(text, "even rows, all experts resident"));
    free(text);
    result_release(&r);
}

/* 50 passes, a migration in the 21st: imbalance 3 before, 2 from then on. */
static void before_and_after_the_first_migration(void **state)
{
    struct made_shape shape = {
        .policies = 1, .layers = 1, .requests = 4, .seed = 4, .gpus = 4};
    struct result r = made_result(&shape);
    struct run_result *run = &r.policy[0].run;
    char *text;

    (void)state;
    run->passes = 50;
    run->pass_spool = tmpfile();
    assert_non_null(run->pass_spool);
    for (int i = 0; i < 50; i++) {
        struct run_pass pass = {.latency = i < 20 ? 5 * ms : 4 * ms,
                                .counts = {.computed_rows = 400,
                                           .busiest_rows = i < 20 ? 300 : 200,
                                           .migrations = i == 20 || i == 40}};

        assert_int_equal(fwrite(&pass, sizeof pass, 1, run->pass_spool), 1);
    }
    run->total.counts.migrations = 2;
    run->migration_time = 60 * ms;
    text = lines_explanation(&r);
    for (char *c = text; *c != '\0'; c++) /* whatever the lines are cut at */
        if (*c == '\n' && strncmp(c, "\n      ", 7) == 0)
            memmove(c, c + 6, strlen(c + 6) + 1);
    assert_non_null(strstr(text, "Before the first migration (20 passes) the busiest GPU "
                                 "had 3.000 of the mean rows, and a pass took 5.00 ms; "
                                 "after it 2.000 and 4.00 ms, of which 2.00 ms is for "
                                 "migrations."));
    free(text);
    result_release(&r);
}

static void wild_numbers_fit(void **state)
{
    struct made_shape shape = {
        .policies = 3, .layers = 12, .requests = 4, .seed = 4, .gpus = 9};
    struct result r = made_result(&shape);
    char *text;

    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        struct run_result *run = &r.policy[i].run;
        int fill = i == 0 ? 0x7f : i == 1 ? 0xee : 0;

        memset(&run->total, fill, sizeof run->total);
        memset(run->layer, fill, 12 * sizeof *run->layer);
        memset(run->gpu_rows, fill, 9 * sizeof *run->gpu_rows);
        memset(run->link_bytes, fill, run->links * sizeof *run->link_bytes);
        memset(&r.policy[i].bounds, i == 2 ? 0 : 1, sizeof r.policy[i].bounds);
        run->migration_time = INT64_MAX;
    }
    set(&r.link[0].name, "a link whose name is far too long for its column");
    text = lines_explanation(&r);
    assert_null(made_too_wide(text));
    free(text);
    result_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_greatest_saving_is_the_verdict),
        cmocka_unit_test(savings_are_differences),
        cmocka_unit_test(lasting_and_passing_imbalance),
        cmocka_unit_test(bytes_and_steps),
        cmocka_unit_test(whether_rebalancing_pays),
        cmocka_unit_test(the_tables),
        cmocka_unit_test(before_and_after_the_first_migration),
        cmocka_unit_test(wild_numbers_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

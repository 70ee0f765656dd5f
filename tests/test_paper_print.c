/* What is said of a table that was predicted, whole: for people, as JSON and as JUnit;
 * and the figures of a replay, each by its definition. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/base/mem.h"
#include "validate/check_print.h"
#include "validate/paper_check.h"
#include "validate/paper_formula.h"
#include "validate/paper_print.h"
#include "validate/paper_replay.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS (1000 * SIM_TIME_PER_US)

/* ---- a table with a row of every verdict ---- */

static const struct paper_unit ratio = {"", PAPER_RATIO, 1.0},
                               percent = {"%", PAPER_RATIO, 1e-2},
                               ms = {"ms", PAPER_TIME, 1e-3},
                               mb = {"MB", PAPER_BYTES, 1e6};

static struct paper_row rows[] = {
    {.what = "good",
     .published = {0.010, &ms, 1},
     .tolerance = 0.1,
     .fit = true,
     .predicted = 0.0105,
     .error = 0.05,
     .verdict = PAPER_OK},
    {.what = "least",
     .published = {3.0, &ratio, 0},
     .relation = PAPER_AT_LEAST,
     .predicted = 4.5,
     .error = 0.5,
     .verdict = PAPER_OK},
    {.what = "most",
     .published = {2.5e6, &mb, 1},
     .relation = PAPER_AT_MOST,
     .tolerance = 0.2,
     .predicted = 2.4e6,
     .error = -0.04,
     .verdict = PAPER_OK},
    {.what = "shown",
     .published = {0.0, &ms, 1},
     .predicted = 0.0123,
     .error = NAN,
     .verdict = PAPER_SHOWN},
    {.what = "missed",
     .published = {0.5, &percent, 0},
     .tolerance = 0.05,
     .predicted = 0.25,
     .error = -0.5,
     .miss = -0.48,
     .why = "a < b",
     .verdict = PAPER_EXPLAINED},
    {.what = "bad",
     .published = {0.002, &ms, 0},
     .tolerance = 0.01,
     .predicted = 0.003,
     .error = 0.5,
     .verdict = PAPER_UNEXPLAINED},
    {.what = "stale",
     .published = {5.0, &ratio, 0},
     .tolerance = 0.1,
     .predicted = 7.0,
     .error = 0.4,
     .miss = 0.1,
     .why = "old",
     .verdict = PAPER_STALE},
    {.what = "needless",
     .published = {50.0, &ratio, 0},
     .tolerance = 0.1,
     .predicted = 51.0,
     .error = 0.02,
     .miss = 0.3,
     .why = "none",
     .verdict = PAPER_NEEDLESS},
    {.what = "broken",
     .published = {1.0, &ratio, 0},
     .tolerance = 0.1,
     .verdict = PAPER_BROKEN,
     .broken = {.text = "no replay"}},
    {.what = "open", .published = {1.0, &ratio, 0}, .tolerance = 0.1},
};

static struct paper_constant constants[] = {{.name = "floor",
                                             .text = "7.39 us",
                                             .value = 7.39,
                                             .unit = "us",
                                             .decimals = 2,
                                             .provenance = PAPER_FITTED,
                                             .source = "of this table"},
                                            {.name = "width",
                                             .text = "12",
                                             .value = 12.0,
                                             .unit = "",
                                             .provenance = PAPER_PUBLISHED,
                                             .source = "of that one"}};

static const struct paper table = {.name = "t",
                                   .title = "a & b",
                                   .source = "there",
                                   .notes = "of note",
                                   .constant = constants,
                                   .constants = 2,
                                   .row = rows,
                                   .rows = sizeof rows / sizeof *rows};
static const struct paper bare = {
    .name = "u", .title = "two", .source = "here", .notes = "", .row = rows, .rows = 2};

enum how { TEXT, TOTAL, JSON, JUNIT, MARKDOWN };

static void printed(enum how how, const struct paper *p, size_t count, const char *wanted)
{
    struct check c = {.cases = 0};
    char *said = NULL;
    size_t size;
    FILE *out = open_memstream(&said, &size);

    assert_non_null(out);
    for (size_t i = 0; i < count; i++)
        (void)paper_check(&p[i], &c);
    switch (how) {
    case TEXT:
        paper_print(p, out);
        break;
    case TOTAL:
        check_print_total(&c, out);
        break;
    case JSON:
        check_print_json(&c, out);
        break;
    case JUNIT:
        check_print_junit(&c, out);
        break;
    case MARKDOWN:
        check_print_markdown(&c, out);
        break;
    }
    assert_int_equal(fclose(out), 0);
    assert_string_equal(said, wanted);
    free(said);
    check_release(&c);
}

/* Held out: all published rows but the one of the fit. Their mean error is over those
 * that say "about" and allow one: (50 + 50 + 40 + 2) / 4. */
static void people_see_every_row(void **state)
{
    (void)state;
    printed(TEXT, &table, 1,
            "t: a & b\n"
            "  there\n"
            "  of note\n"
            "\n"
            "Constants, the same in every replay:\n"
            "  floor                                   7.39 us  fitted\n"
            "      of this table\n"
            "  width                                        12  published\n"
            "      of that one\n"
            "\n"
            "                                          published    predicted     error"
            "   bound  used\n"
            "good                                        10.0 ms     10.50 ms    +5.0 %"
            "    10 %  fit      ok\n"
            "least                                          >= 3            4   +50.0 %"
            "     0 %  held-out ok\n"
            "most                                      <= 2.5 MB      2.40 MB    -4.0 %"
            "    20 %  held-out ok\n"
            "shown                                             -      12.3 ms         -"
            "       -  -        not published\n"
            "missed                                         50 %       25.0 %   -50.0 %"
            "     5 %  held-out MISS\n"
            "      -48.0 %: a < b\n"
            "bad                                            2 ms       3.0 ms   +50.0 %"
            "     1 %  held-out MISS, unexplained\n"
            "stale                                             5          7.0   +40.0 %"
            "    10 %  held-out MISS, explained otherwise\n"
            "      +10.0 %: old\n"
            "needless                                         50         51.0    +2.0 %"
            "    10 %  held-out ok, yet a miss is explained\n"
            "      +30.0 %: none\n"
            "broken                                            1            -         -"
            "    10 %  held-out not predictable\n"
            "      no replay\n"
            "open                                              1            -         -"
            "    10 %  held-out not predicted\n"
            "      \n"
            "t: 10 rows, 8 held out; 3 ok, 1 miss as explained, 5 fail, 1 not published; "
            "mean error 35.5 % held out, 5.0 % fitted\n"
            "\n");
    printed(TEXT, &bare, 1,
            "u: two\n"
            "  here\n"
            "\n"
            "                                          published    predicted     error"
            "   bound  used\n"
            "good                                        10.0 ms     10.50 ms    +5.0 %"
            "    10 %  fit      ok\n"
            "least                                          >= 3            4   +50.0 %"
            "     0 %  held-out ok\n"
            "u: 2 rows, 1 held out; 2 ok, 0 miss as explained, 0 fail, 5.0 % fitted\n"
            "\n");
}

static void totals_are_sums(void **state)
{
    const struct paper both[] = {table, bare};

    (void)state;
    printed(TOTAL, both, 2,
            "All 2: 12 values, 5 FAILED, 1 off as explained, 1 not judged\n");
    printed(TOTAL, both, 0, "All 0: 0 values, none failed\n");
}

static void programs_see_every_row(void **state)
{
    const struct paper both[] = {table, bare};

    (void)state;
    printed(
        JSON, both, 2,
        "{\"values\": 12, \"rows\": 12, \"ok\": 5, \"shown\": 1, \"explained\": 1, "
        "\"failed\": 3, \"broken\": 2, \"cases\": [\n"
        " {\"kind\": \"papers\", \"name\": \"t\", \"title\": \"a & b\", \"counts\": "
        "{\"values\": 10, \"rows\": 10, \"ok\": 3, \"shown\": 1, \"explained\": 1, "
        "\"failed\": 3, \"broken\": 2},\n"
        "  \"facts\": [\n"
        "   {\"name\": \"source\", \"value\": \"there\"},\n"
        "   {\"name\": \"notes\", \"value\": \"of note\"},\n"
        "   {\"name\": \"floor\", \"value\": \"7.39 us, fitted: of this table\"},\n"
        "   {\"name\": \"width\", \"value\": \"12, published: of that one\"}],\n"
        "  \"findings\": [],\n"
        "  \"table\": [\n"
        "   {\"group\": \"fit\", \"name\": \"good\", \"values\": 1, \"unit\": \"s\", "
        "\"published\": 0.01, \"predicted\": 0.0105, \"change\": 0.05, \"tolerance\": "
        "0.1, \"verdict\": \"ok\", \"fails\": false},\n"
        "   {\"group\": \"held-out\", \"name\": \"least\", \"values\": 1, \"unit\": "
        "\"\", \"published\": 3, \"predicted\": 4.5, \"change\": 0.5, \"tolerance\": 0, "
        "\"verdict\": \"ok\", \"fails\": false},\n"
        "   {\"group\": \"held-out\", \"name\": \"most\", \"values\": 1, \"unit\": "
        "\"B\", \"published\": 2500000, \"predicted\": 2400000, \"change\": -0.04, "
        "\"tolerance\": 0.2, \"verdict\": \"ok\", \"fails\": false},\n"
        "   {\"group\": \"shown\", \"name\": \"shown\", \"values\": 1, \"unit\": \"s\", "
        "\"published\": null, \"predicted\": 0.0123, \"change\": null, \"tolerance\": "
        "null, \"verdict\": \"shown\", \"fails\": false, \"note\": \"not published\"},\n"
        "   {\"group\": \"held-out\", \"name\": \"missed\", \"values\": 1, \"unit\": "
        "\"\", \"published\": 0.5, \"predicted\": 0.25, \"change\": -0.5, \"tolerance\": "
        "0.05, \"verdict\": \"explained\", \"fails\": false, \"note\": \"MISS; explained "
        "-48.0 %: a < b\"},\n"
        "   {\"group\": \"held-out\", \"name\": \"bad\", \"values\": 1, \"unit\": \"s\", "
        "\"published\": 0.002, \"predicted\": 0.003, \"change\": 0.5, \"tolerance\": "
        "0.01, \"verdict\": \"failed\", \"fails\": true, \"note\": \"MISS, "
        "unexplained\"},\n"
        "   {\"group\": \"held-out\", \"name\": \"stale\", \"values\": 1, \"unit\": "
        "\"\", \"published\": 5, \"predicted\": 7, \"change\": 0.4, \"tolerance\": 0.1, "
        "\"verdict\": \"failed\", \"fails\": true, \"note\": \"MISS, explained "
        "otherwise; explained +10.0 %: old\"},\n"
        "   {\"group\": \"held-out\", \"name\": \"needless\", \"values\": 1, \"unit\": "
        "\"\", \"published\": 50, \"predicted\": 51, \"change\": 0.02, \"tolerance\": "
        "0.1, \"verdict\": \"failed\", \"fails\": true, \"note\": \"ok, yet a miss is "
        "explained; explained +30.0 %: none\"},\n"
        "   {\"group\": \"held-out\", \"name\": \"broken\", \"values\": 1, \"unit\": "
        "\"\", \"published\": 1, \"predicted\": null, \"change\": null, \"tolerance\": "
        "0.1, \"verdict\": \"broken\", \"fails\": true, \"note\": \"not predictable: no "
        "replay\"},\n"
        "   {\"group\": \"held-out\", \"name\": \"open\", \"values\": 1, \"unit\": \"\", "
        "\"published\": 1, \"predicted\": null, \"change\": null, \"tolerance\": 0.1, "
        "\"verdict\": \"broken\", \"fails\": true, \"note\": \"not predicted\"}]},\n"
        " {\"kind\": \"papers\", \"name\": \"u\", \"title\": \"two\", \"counts\": "
        "{\"values\": 2, \"rows\": 2, \"ok\": 2, \"shown\": 0, \"explained\": 0, "
        "\"failed\": 0, \"broken\": 0},\n"
        "  \"facts\": [\n"
        "   {\"name\": \"source\", \"value\": \"here\"}],\n"
        "  \"findings\": [],\n"
        "  \"table\": [\n"
        "   {\"group\": \"fit\", \"name\": \"good\", \"values\": 1, \"unit\": \"s\", "
        "\"published\": 0.01, \"predicted\": 0.0105, \"change\": 0.05, \"tolerance\": "
        "0.1, \"verdict\": \"ok\", \"fails\": false},\n"
        "   {\"group\": \"held-out\", \"name\": \"least\", \"values\": 1, \"unit\": "
        "\"\", \"published\": 3, \"predicted\": 4.5, \"change\": 0.5, \"tolerance\": 0, "
        "\"verdict\": \"ok\", \"fails\": false}]}]}\n");
}

static void junit_sees_every_row(void **state)
{
    const struct paper both[] = {table, bare};

    (void)state;
    printed(
        JUNIT, both, 2,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<testsuites>\n"
        "  <testsuite name=\"papers.t\" tests=\"10\" failures=\"3\" errors=\"2\" "
        "skipped=\"1\">\n"
        "    <testcase classname=\"papers.t\" name=\"fit: good\"><system-out>published "
        "10.0 ms, predicted 10.50 ms (+5.0 %)</system-out></testcase>\n"
        "    <testcase classname=\"papers.t\" name=\"held-out: "
        "least\"><system-out>published &gt;= 3, predicted 4 (+50.0 "
        "%)</system-out></testcase>\n"
        "    <testcase classname=\"papers.t\" name=\"held-out: "
        "most\"><system-out>published &lt;= 2.5 MB, predicted 2.40 MB (-4.0 "
        "%)</system-out></testcase>\n"
        "    <testcase classname=\"papers.t\" name=\"shown: "
        "shown\"><system-out>published nothing, predicted 12.3 ms; not "
        "published</system-out></testcase>\n"
        "    <testcase classname=\"papers.t\" name=\"held-out: missed\"><skipped "
        "message=\"published 50 %, predicted 25.0 % (-50.0 %); MISS; explained -48.0 %: "
        "a &lt; b\"/></testcase>\n"
        "    <testcase classname=\"papers.t\" name=\"held-out: bad\"><failure "
        "message=\"published 2 ms, predicted 3.0 ms (+50.0 %); MISS, "
        "unexplained\"/></testcase>\n"
        "    <testcase classname=\"papers.t\" name=\"held-out: stale\"><failure "
        "message=\"published 5, predicted 7.0 (+40.0 %); MISS, explained otherwise; "
        "explained +10.0 %: old\"/></testcase>\n"
        "    <testcase classname=\"papers.t\" name=\"held-out: needless\"><failure "
        "message=\"published 50, predicted 51.0 (+2.0 %); ok, yet a miss is explained; "
        "explained +30.0 %: none\"/></testcase>\n"
        "    <testcase classname=\"papers.t\" name=\"held-out: broken\"><error "
        "message=\"published 1, predicted nothing; not predictable: no "
        "replay\"/></testcase>\n"
        "    <testcase classname=\"papers.t\" name=\"held-out: open\"><error "
        "message=\"published 1, predicted nothing; not predicted\"/></testcase>\n"
        "  </testsuite>\n"
        "  <testsuite name=\"papers.u\" tests=\"2\" failures=\"0\" errors=\"0\" "
        "skipped=\"0\">\n"
        "    <testcase classname=\"papers.u\" name=\"fit: good\"><system-out>published "
        "10.0 ms, predicted 10.50 ms (+5.0 %)</system-out></testcase>\n"
        "    <testcase classname=\"papers.u\" name=\"held-out: "
        "least\"><system-out>published &gt;= 3, predicted 4 (+50.0 "
        "%)</system-out></testcase>\n"
        "  </testsuite>\n"
        "</testsuites>\n");
}

static void markdown_shows_what_is_off(void **state)
{
    const struct paper both[] = {table, bare};

    (void)state;
    printed(MARKDOWN, both, 2,
            "## moesim check\n"
            "\n"
            "### t\n"
            "\n"
            "**Fails:** 10 values, 5 FAILED, 1 off as explained, 1 not judged\n"
            "\n"
            "| | | published | predicted | change | |\n"
            "|---|---|---|---|---|---|\n"
            "| held-out | missed | 50 % | 25.0 % | -50.0 % | MISS; explained -48.0 %: a "
            "\\< b |\n"
            "| held-out | bad | 2 ms | 3.0 ms | +50.0 % | MISS, unexplained |\n"
            "| held-out | stale | 5 | 7.0 | +40.0 % | MISS, explained otherwise; "
            "explained +10.0 %: old |\n"
            "| held-out | needless | 50 | 51.0 | +2.0 % | ok, yet a miss is explained; "
            "explained +30.0 %: none |\n"
            "| held-out | broken | 1 | - |  | not predictable: no replay |\n"
            "| held-out | open | 1 | - |  | not predicted |\n"
            "\n"
            "### u\n"
            "\n"
            "Passes: 2 values, none failed\n"
            "\n");
}

static void fits_are_told(void **state)
{
    const struct paper_constant *of[] = {&constants[0], &constants[1]};
    double value[] = {7.391234, 13.5}, error[] = {0.0123, 0.5};
    bool equal[] = {true, false};
    const struct paper_refit r = {.constants = 2,
                                  .constant = of,
                                  .value = value,
                                  .error = error,
                                  .equal = equal,
                                  .rows = 5};
    char *said = NULL;
    size_t size;
    FILE *out = open_memstream(&said, &size);

    (void)state;
    assert_non_null(out);
    paper_print_refit(&table, &r, out);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(
        said, "t: 2 constants, fitted again on the 5 rows marked so\n"
              "\n"
              "                                         stated       fitted         +-\n"
              "floor                                   7.39 us      7.39123      0.012  "
              "equal as far as stated\n"
              "width                                        12         13.5        0.5  "
              "DIFFERENT\n");
    free(said);
}

/* ---- figures ---- */

/* Two policies; the second has 4 GPUs, 2 layers and 4 passes. */
struct made {
    struct result_policy policy[2];
    struct paper_span span[2];
    struct run_request request[3];
    struct paper_run run;
};

static void make(struct made *m)
{
    struct run_result *r = &m->policy[1].run;

    *m = (struct made){.span = {{0}}};
    m->policy[0].label = mem_strdup("none");
    m->policy[1].label = mem_strdup("all");
    r->passes = 4;
    r->total.latency = 8 * MS;
    r->prefill_rows = 30;
    r->decode_rows = 10;
    r->elapsed = 20 * MS;
    r->compute_busy = 5 * MS;
    r->cache_bytes = 700;
    r->staging_bytes = 50;
    /* 3 tokens in 6 ms behind the first, 1 in 4 ms, none. */
    m->request[0] = (struct run_request){
        .first_token = MS, .last_token = 7 * MS, .output_tokens = 4, .finished = true};
    m->request[1] = (struct run_request){.first_token = 2 * MS,
                                         .last_token = 6 * MS,
                                         .output_tokens = 2,
                                         .finished = true};
    m->request[2] = (struct run_request){
        .first_token = MS, .last_token = MS, .output_tokens = 1, .finished = true};
    r->request = m->request;
    r->requests = 3;
    r->gpus = 4;
    r->layers = 2;
    r->activation_bytes = 77;
    r->total.counts = (struct run_counts){.hits = 3,
                                          .accesses = 8,
                                          .swaps = 2,
                                          .dropped = 1,
                                          .activations = 15,
                                          .busiest_rows = 12,
                                          .computed_rows = 32,
                                          .sent_bytes = 960};
    r->total.share[SHARE_COPY] = 3 * MS;
    r->quality = (struct select_quality){
        .choices = 16, .changed = 3, .fewer = 2, .mass = 8, .kept = 6};
    m->span[1] = (struct paper_span){6 * MS, 12};
    m->run.result = (struct result){.policies = 2, .policy = m->policy};
    m->run.span = m->span;
}

static void unmake(struct made *m)
{
    free(m->policy[0].label);
    free(m->policy[1].label);
}

static const struct {
    const char *name, *help;
    double value;
    enum paper_dimension dimension;
} figures[] = {
    {"pass-latency", "mean latency of a pass", 2e-3, PAPER_TIME},
    {"layer-latency", "mean of an MoE layer, from its gate to its last result", 5e-4,
     PAPER_TIME},
    {"token-latency", "mean time per output token after the first", 3e-3, PAPER_TIME},
    {"rows-per-s", "rows of all passes per second", 2000.0, PAPER_RATIO},
    {"miss-rate", "misses of the expert cache over accesses", 0.625, PAPER_RATIO},
    {"swaps", "misses per pass that evicted an expert", 0.5, PAPER_RATIO},
    {"copy-stall", "part of a pass that waits for copies", 7.5e-4, PAPER_TIME},
    {"distinct", "different experts of an MoE layer and pass", 1.0, PAPER_RATIO},
    {"changed", "choices that a select changed or left out, as a share", 0.3125,
     PAPER_RATIO},
    {"mass-lost", "gate mass that a select gave up, as a share", 0.25, PAPER_RATIO},
    {"dropped", "choices that the gate dropped, as a share", 0.0625, PAPER_RATIO},
    {"expert-memory", "GPU memory for resident experts and staging", 750.0, PAPER_BYTES},
    {"compute-busy", "share of the time that the GPU computes", 0.25, PAPER_RATIO},
    {"busiest-share", "share of an MoE layer's rows that the busiest GPU has", 0.375,
     PAPER_RATIO},
    {"imbalance", "rows of the busiest GPU over the mean", 1.5, PAPER_RATIO},
    {"computed", "rows that experts run on, padding included, over choices", 2.0,
     PAPER_RATIO},
    {"sent-bytes", "that a GPU sends per MoE layer and pass", 30.0, PAPER_BYTES},
    {"activation-memory", "most that one MoE layer needs on a GPU", 77.0, PAPER_BYTES},
};
enum { FIGURES = sizeof figures / sizeof *figures };

static void has_none(const struct paper_row *row, const struct paper_run *run,
                     const char *words)
{
    struct err e = {.text = ""};
    double value;

    assert_int_equal(paper_row_figure(row, run, &value, &e), -1);
    assert_string_equal(e.text, words);
}

static void figures_follow_by_hand(void **state)
{
    struct paper_row row = {.figure = paper_figure_find("miss-rate")};
    struct made m;
    struct err e = {.text = ""};
    double value;

    (void)state;
    make(&m);
    for (size_t i = 0; i < FIGURES; i++) {
        const struct paper_figure *f = paper_figure_find(figures[i].name);

        assert_non_null(f);
        assert_int_equal(f->dimension, figures[i].dimension);
        assert_int_equal(paper_figure_get(f, &m.run, "all", &value, &e), 0);
        if (fabs(value - figures[i].value) > 1e-12 * figures[i].value)
            fail_msg("%s is %.17g", f->name, value);
    }
    assert_null(paper_figure_find("latency"));
    row.run.policy = "none";
    has_none(&row, &m.run, "policy 'none' has no miss-rate");
    row.run.policy = "some";
    has_none(&row, &m.run, "no policy is called 'some'");
    unmake(&m);
}

/* The same figure of another replay, where it is a third: 4 ms in 6 passes. */
static void rows_join_two_replays(void **state)
{
    struct made m[3];
    struct paper_run run[3];
    struct paper_row row = {.figure = paper_figure_find("pass-latency"),
                            .run = {.replay = 1, .policy = "all"},
                            .other = {.replay = 2, .policy = "all"}};
    struct err e = {.text = ""};
    bool wanted[3] = {false, false, false};
    double value;

    (void)state;
    for (int i = 0; i < 3; i++) {
        make(&m[i]);
        run[i] = m[i].run;
    }
    m[2].policy[1].run.total.latency = 4 * MS;
    m[2].policy[1].run.passes = 6;
    paper_row_wants(&row, wanted);
    assert_true(!wanted[0] && wanted[1] && !wanted[2]);
    assert_int_equal(paper_row_figure(&row, run, &value, &e), 0);
    assert_true(fabs(value - 2e-3) < 1e-15);
    row.join = PAPER_OVER;
    paper_row_wants(&row, wanted);
    assert_true(!wanted[0] && wanted[1] && wanted[2]);
    assert_int_equal(paper_row_figure(&row, run, &value, &e), 0);
    assert_true(fabs(value - 3.0) < 1e-12);
    row.join = PAPER_LESS;
    assert_int_equal(paper_row_figure(&row, run, &value, &e), 0);
    assert_true(fabs(value - 4e-3 / 3.0) < 1e-15);
    row.other.policy = "some";
    has_none(&row, run, "no policy is called 'some'");
    row.other.policy = "all";
    row.join = PAPER_OVER;
    m[2].policy[1].run.total.latency = 0;
    has_none(&row, run, "pass-latency is divided by 0");
    row.run.policy = "some";
    has_none(&row, run, "no policy is called 'some'");
    /* A closed form wants no replay. */
    row = (struct paper_row){.formula = NULL};
    wanted[0] = false;
    paper_row_wants(&row, wanted);
    assert_false(wanted[0]);
    for (int i = 0; i < 3; i++)
        unmake(&m[i]);
}

static void help_names_them_all(void **state)
{
    static const char *const formulas[] = {
        "\n  waste                  rows that a gate's capacity makes experts "
        "compute on, over choices\n",
        "\n  shard-bytes            that a GPU sends per layer under place: moeshard\n",
        "\n                          slots   per GPU and buffered layer (an integer from "
        "1 to 1000000; required)\n",
        "\n  expert-bytes           weights of one expert\n                          "
        "model  name in models/arch (text; required)\n"};
    char *said = NULL, *at;
    size_t size;
    FILE *out = open_memstream(&said, &size);

    (void)state;
    assert_non_null(out);
    paper_figure_help(out);
    assert_int_equal(fflush(out), 0);
    at = said;
    for (size_t i = 0; i < FIGURES; i++) {
        char line[128];
        int length =
            snprintf(line, sizeof line, "  %-22s %s\n", figures[i].name, figures[i].help);

        assert_int_equal(strncmp(at, line, (size_t)length), 0);
        at += length;
    }
    assert_int_equal(*at, '\0');
    paper_formula_help(out);
    assert_int_equal(fclose(out), 0);
    for (size_t i = 0; i < sizeof formulas / sizeof *formulas; i++)
        if (strstr(said, formulas[i]) == NULL)
            fail_msg("no '%s' in:\n%s", formulas[i], said);
    free(said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(people_see_every_row),
        cmocka_unit_test(totals_are_sums),
        cmocka_unit_test(programs_see_every_row),
        cmocka_unit_test(junit_sees_every_row),
        cmocka_unit_test(markdown_shows_what_is_off),
        cmocka_unit_test(fits_are_told),
        cmocka_unit_test(figures_follow_by_hand),
        cmocka_unit_test(rows_join_two_replays),
        cmocka_unit_test(help_names_them_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

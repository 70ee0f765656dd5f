/* What is said of a baseline that cannot be read, which differences may be, and which
 * cause is named: each from two small documents that differ by what such a cause changes.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/base/mem.h"
#include "validate/baseline_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- files that cannot be read ---- */

static void bad_files_are_told(void **state)
{
    static const char *const bad[][2] = {
        {"study: a.yaml\nstudies: b\n",
         "b.yaml:2:1: unknown key 'studies'; allowed: study, set"},
        {"study: a.yaml\nstudy: b\n",
         "b.yaml:2:1: key 'study' is given already in line 1"},
        {"tolerance: {times: 0 %}\n",
         "b.yaml:1:1: expected one of study, tables and papers, which say what is to be "
         "predicted"},
        {"study: a.yaml\npapers: all\n",
         "b.yaml:1:1: expected one of study, tables and papers, which say what is to be "
         "predicted"},
        {"study: [a]\n", "b.yaml:1:8: 'study' is a list; expected text"},
        {"study: a.yaml\nset: workload.batch=8\n",
         "b.yaml:2:6: 'set' is no list; expected such as [workload.batch=8]"},
        {"papers: all\nset: [a=1]\n",
         "b.yaml:2:6: set and measured are about a study, which is not given"},
        {"papers: all\nmeasured: {file: a.csv}\n",
         "b.yaml:2:11: set and measured are about a study, which is not given"},
        {"papers: most\n", "b.yaml:1:9: 'papers' is neither a list of names nor all"},
        {"tables: a\n",
         "b.yaml:1:1: tables and machine go together; give both or neither"},
        {"study: a\nmachine: h200\n",
         "b.yaml:1:1: tables and machine go together; give both or neither"},
        {"study: a\ntolerance: {times: 1}\n",
         "b.yaml:2:20: 'times' is 1; expected a share of at least 0, such as 0.5 %"},
        {"study: a\ntolerance: {counts: -1 %}\n",
         "b.yaml:2:21: 'counts' is -1 %; expected a share of at least 0, such as 0.5 %"},
        {"study: a\ntolerance: {errors: many}\n",
         "b.yaml:2:21: 'errors' is many; expected a share of at least 0, such as 0.5 %"},
        {"study: a\ntolerance: {hits: 1 %}\n",
         "b.yaml:2:13: unknown key 'hits' in tolerance"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = {.text = ""};
        struct baseline b;

        if (baseline_read("b.yaml", mem_strdup(bad[i][0]), &b, &e) == 0)
            fail_msg("read: %s", bad[i][0]);
        if (strncmp(e.text, bad[i][1], strlen(bad[i][1])) != 0)
            fail_msg("%s\nsays: %s\n not: %s", bad[i][0], e.text, bad[i][1]);
    }
}

/* Of what an update wrote, before anything is predicted. */
static void stale_files_are_told(void **state)
{
    static const char *const bad[][2] = {
        {"study: a\n", "b.yaml: nothing is stored in it yet; store what is predicted now "
                       "with `moesim check --update b.yaml`"},
        {"study: a\nstored: {moesim: 1}\n",
         "b.yaml:2:9: 'stored' names no format; it was not written by `moesim check "
         "--update`, which would renew it"},
        {"study: a\nstored: {format: 2}\n", "b.yaml:2:18: stored in format 2, but this "
                                            "moesim reads 1; renew it with `moesim "
                                            "check --update`"},
    };
    const struct baseline_world w = {.threads = 1};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = {.text = ""};
        struct check c = {.cases = 0};
        struct baseline b;

        assert_int_equal(baseline_read("b.yaml", mem_strdup(bad[i][0]), &b, &e), 0);
        assert_int_equal(baseline_check(&b, &w, &c, &e), -1);
        assert_string_equal(e.text, bad[i][1]);
        assert_int_equal(c.cases, 0);
        check_release(&c);
        baseline_release(&b);
    }
}

static void keys_on_the_wrong_side_are_told(void **state)
{
    static const char *const bad[][2] = {
        {"study: a\nstored: {format: 1}\n" BASELINE_MARK "\n",
         "b.yaml:2:9: 'stored' stands on the wrong side of the line " BASELINE_MARK
         "; yours above, stored below"},
        {"study: a\n" BASELINE_MARK "\nstored: {format: 1}\nset: [b=1]\n",
         "b.yaml:4:6: 'set' stands on the wrong side of the line " BASELINE_MARK
         "; yours above, stored below"},
    };
    const struct baseline_world w = {.threads = 1};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = {.text = ""};
        struct baseline b;
        uint64_t values, changed;

        assert_int_equal(baseline_read("b.yaml", mem_strdup(bad[i][0]), &b, &e), 0);
        assert_int_equal(baseline_update(&b, &w, &values, &changed, &e), -1);
        assert_string_equal(e.text, bad[i][1]);
        baseline_release(&b);
    }
}

static void paths_count_from_the_file(void **state)
{
    static const char *const path[][3] = {
        {"guard.yaml", "study.yaml", "study.yaml"},
        {"a/b/guard.yaml", "../study.yaml", "a/b/../study.yaml"},
        {"a/guard.yaml", "/study.yaml", "/study.yaml"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof path / sizeof *path; i++) {
        char *found = baseline_path(path[i][0], path[i][1]);

        assert_string_equal(found, path[i][2]);
        free(found);
    }
}

/* ---- causes ---- */

/* Two policies: one looks at no times, the other loads ahead. */
#define TRACE                                                                            \
    "  trace:\n    digest: d0\n    rows: 30\n    requests: 3\n    requests_a_hash: 1\n"  \
    "    rows_a_hash: [10, 12, 8]\n    decoder_layer: [1, 3]\n"                          \
    "    request: [xa, xb, xc]\n    layer: [xd, xe]\n"
#define INPUTS                                                                           \
    TRACE                                                                                \
    "  machine:\n    name: h9\n    gpu.memory: 80 GB\n    h2d.bandwidth: 50 GB/s\n"      \
    "  model:\n    name: m\n    hidden: 2880\n"                                          \
    "  config:\n    workload.batch: 8\n    seed: 1\n"
#define POLICY(label, cache, engine)                                                     \
    "    - label: " label "\n"                                                           \
    "      made_of: {gate: dropless, cache: " cache " slots=12, prefetch: none, "        \
    "offload: fetch, schedule: overlapped, engine: " engine "}\n"                        \
    "      counts: {passes: 4, total_accesses: 100, total_prefetches: 0, "               \
    "total_hits: 80, total_loads: 20, total_demand_bytes: 2000}\n"                       \
    "      times: {total_latency_ps: 4000000, total_dense_compute_ps: 3000000, "         \
    "total_exposed_copy_ps: 1000000}\n"                                                  \
    "      operations:\n"                                                                \
    "        dense: {number: 8, total_ps: 2400000, shortest_ps: 300000, launch_ps: "     \
    "5000}\n"                                                                            \
    "        copy in: {number: 20, total_ps: 1200000, shortest_ps: 60000}\n"             \
    "      digest: x1\n"                                                                 \
    "      loaded: [x2, x3]\n"                                                           \
    "      layers:\n        hits: [40, 40]\n        loads: [10, 10]\n"
#define STORED                                                                           \
    "stored:\n" INPUTS "  policies:\n" POLICY("plain", "lru", "fifo")                    \
        POLICY("ahead", "lru", "event")

/* Replaces the first `from` behind `after` in `text` (taken). */
static char *replaced(char *text, const char *after, const char *from, const char *to)
{
    const char *begin = strstr(text, after), *at;
    char *whole;

    assert_non_null(begin);
    at = strstr(begin, from);
    if (at == NULL)
        fail_msg("no '%s' behind '%s'", from, after);
    whole = mem_format("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    free(text);
    return whole;
}

/* {after, from, to}; ends with NULL. */
struct edit {
    const char *after, *from, *to;
};

static struct check judged(const char *stored, const struct edit *edit, size_t edits,
                           const char *tolerance)
{
    char *text = mem_strdup(stored);
    char *file = mem_format("study: a\ntolerance: {%s}\n%s", tolerance, stored);
    struct err e = {.text = ""};
    struct check c = {.cases = 0};
    struct baseline b;
    struct cfg *now;

    for (size_t i = 0; i < edits && edit[i].after != NULL; i++)
        text = replaced(text, edit[i].after, edit[i].from, edit[i].to);
    if (baseline_read("b.yaml", file, &b, &e) != 0)
        fail_msg("%s", e.text);
    now = cfg_parse("now", text, strlen(text), &e);
    if (now == NULL)
        fail_msg("%s\n%s", e.text, text);
    baseline_judge(&b, cfg_find(cfg_root(now), "stored"),
                   check_add(&c, "study", "b.yaml", "a"));
    cfg_free(now);
    baseline_release(&b);
    free(text);
    return c;
}

#define MOST_EDITS 8

static const struct {
    struct edit edit[MOST_EDITS];
    const char *finding[4];
} causes[] = {
    {{{NULL, NULL, NULL}}, {NULL}},
    /* One number of the machine: what follows of it is not blamed on anything else. */
    {{{"machine", "50 GB/s", "49.5 GB/s"},
      {"plain", "shortest_ps: 60000", "shortest_ps: 60600"},
      {"plain", "total_latency_ps: 4000000", "total_latency_ps: 4040000"},
      {"plain", "x1", "x9"},
      {"ahead", "total_hits: 80", "total_hits: 79"}},
     {"machine h9: h2d.bandwidth is 49.5 GB/s, was 50 GB/s (-1.0 %)",
      "passes of policy plain take 1 % longer, the largest change of any policy"}},
    {{{"model", "2880", "2944"}}, {"model m: hidden is 2944, was 2880 (+2.2 %)"}},
    {{{"config", "batch: 8", "batch: 16"}, {"plain", "slots=12", "slots=13"}},
     {"config: workload.batch is 16, was 8 (+100.0 %)"}},
    {{{"config", "    seed: 1\n", ""}}, {"config: seed is not there, was 1"}},
    {{{"plain", "slots=12", "slots=13"}},
     {"policy plain: its cache is lru slots=13, was lru slots=12"}},
    /* One id of one row, and more. */
    {{{"trace", "d0", "d1"}, {"trace", "xb", "x7"}, {"trace", "xe", "x8"}},
     {"trace: request 1 (rows 10 to 21) is routed differently, in layer 1 (decoder layer "
      "3)"}},
    {{{"trace", "d0", "d1"},
      {"trace", "xa", "x6"},
      {"trace", "xc", "x7"},
      {"trace", "xd", "x8"},
      {"trace", "xe", "x9"}},
     {"trace: request 0 (rows 0 to 9), and 1 other are routed differently, in layer 0 "
      "(decoder layer 1) and 1 other"}},
    {{{"trace", "d0", "d1"}},
     {"trace: experts are the same, but not what stands beside them (token columns, "
      "scores, predictions, passes, lengths, arrivals)"}},
    {{{"trace", "d0", "d1"},
      {"trace", "requests: 3", "requests: 4"},
      {"trace", "xc]", "xc, x4]"},
      {"trace", "8]", "8, 5]"},
      {"trace", "xd", "x8"}},
     {"trace: requests is 4, was 3",
      "trace: request 3 (rows 30 to 34) is routed differently, in layer 0 (decoder layer "
      "1)"}},
    /* A coefficient in the program: of dense blocks, and of copies. */
    {{{"plain", "total_ps: 2400000, shortest_ps: 300000",
       "total_ps: 2412000, shortest_ps: 303000"},
      {"plain", "x1", "x9"},
      {"ahead", "total_hits: 80", "total_hits: 79"}},
     {"cost of 'dense' (a coefficient in the program): with the same machine and model "
      "+0.5 % on average (302 ns), +1.0 % for the shortest (303 ns)"}},
    {{{"plain", "total_ps: 1200000, shortest_ps: 60000",
       "total_ps: 1212000, shortest_ps: 60600"}},
     {"cost of 'copy in' (a coefficient in the program): with the same machine and model "
      "+1.0 % on average (60.6 ns), +1.0 % for the shortest (60.6 ns)"}},
    {{{"plain", "total_ps: 2400000", "total_ps: 2424000"}},
     {"cost of 'dense' (a coefficient in the program): with the same machine and model "
      "+1.0 % on average (303 ns), +0.0 % for the shortest (300 ns)"}},
    {{{"plain", "launch_ps: 5000", "launch_ps: 5050"}, {"plain", "x1", "x9"}},
     {"cost of launches on the host (a coefficient in the program): of 'dense' "
      "+1.0 % for the quickest (5.05 ns), in policy plain"}},
    /* What policies decide; the one that looks at times follows. */
    {{{"plain", "total_hits: 80, total_loads: 20", "total_hits: 79, total_loads: 21"},
      {"plain", "hits: [40, 40]", "hits: [40, 39]"},
      {"plain", "number: 20", "number: 21"},
      {"ahead", "total_prefetches: 0", "total_prefetches: 1"}},
     {"eviction order of cache 'lru' (in the program): with the same trace and settings "
      "policy plain has hits 79, were 80; first in layer 1 (decoder layer 3): hits 39, "
      "were 40; likewise of ahead"}},
    {{{"plain", "loaded: [x2, x3]", "loaded: [x2, x4]"}, {"plain", "x1", "x9"}},
     {"eviction order of cache 'lru' (in the program): with the same trace and settings "
      "policy plain has as many loads; first in layer 1 (decoder layer 3): other experts "
      "are loaded"}},
    {{{"plain", "total_accesses: 100", "total_accesses: 101"}},
     {"which experts run, as decided by gate 'dropless' (in the program): with the same "
      "trace and settings policy plain has accesses 101, were 100"}},
    {{{"plain", "passes: 4", "passes: 5"}},
     {"which rows form which pass (in the program): with the same trace and settings "
      "policy plain has passes 5, were 4"}},
    {{{"ahead", "total_prefetches: 0", "total_prefetches: 1"}},
     {"what is loaded early by prefetch 'none' (in the program): with the same trace and "
      "settings policy ahead has prefetches 1, were 0"}},
    /* When operations run, with the same decisions. */
    {{{"plain", "number: 8, total_ps: 2400000", "number: 10, total_ps: 3000000"},
      {"plain", "x1", "x9"},
      {"plain", "exposed_copy_ps: 1000000", "exposed_copy_ps: 1500000"},
      {"plain", "latency_ps: 4000000", "latency_ps: 4500000"}},
     {"schedule 'overlapped' (in the program): with the same decisions policy plain has "
      "10 operations 'dense', were 8; most of it is exposed_copy: +50.0 % (1.50 us)",
      "passes of policy plain take 12 % longer, the largest change of any policy"}},
    {{{"plain", "x1", "x9"},
      {"plain", "exposed_copy_ps: 1000000", "exposed_copy_ps: 800000"},
      {"plain", "latency_ps: 4000000", "latency_ps: 3800000"},
      {"ahead", "x1", "x8"}},
     {"schedule 'overlapped', or order and overlap (in the program): the same operations "
      "of policy plain, each as long, run at other times; most of it is exposed_copy: "
      "-20.0 % (800 ns); likewise of ahead",
      "passes of policy plain take 5 % less, the largest change of any policy"}},
    {{{"plain", "dense_compute_ps: 3000000", "dense_compute_ps: 2900000"}},
     {"books (in the program): the same operations of policy plain at the same times are "
      "attributed otherwise; most of it is dense_compute: -3.3 % (2.90 us)"}},
};

static void causes_are_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof causes / sizeof *causes; i++) {
        struct check c = judged(STORED, causes[i].edit, MOST_EDITS, "times: 0 %");
        const struct check_case *item = &c.item[0];
        size_t wanted = 0;

        while (wanted < 4 && causes[i].finding[wanted] != NULL)
            wanted++;
        for (size_t k = 0; k < item->findings && k < wanted; k++)
            assert_string_equal(item->finding[k], causes[i].finding[k]);
        if (item->findings != wanted)
            fail_msg("case %zu: %zu findings, not %zu; the last is: %s", i,
                     item->findings, wanted,
                     item->findings == 0 ? "" : item->finding[item->findings - 1]);
        assert_int_equal(check_is_good(&c), wanted == 0);
        check_release(&c);
    }
}

/* ---- tolerances ---- */

static void changes_within_tolerance_pass(void **state)
{
    static const struct {
        const char *tolerance, *after, *from, *to;
        bool good;
    } tried[] = {
        {"times: 1 %", "plain", "4000000", "4040000", true},
        {"times: 1 %", "plain", "4000000", "3960000", true},
        {"times: 1 %", "plain", "4000000", "4040001", false},
        {"times: 0.9 %", "plain", "4000000", "4040000", false},
        {"counts: 9 %", "plain", "4000000", "4040000", false},
        {"counts: 5 %", "plain", "total_loads: 20", "total_loads: 21", true},
        {"counts: 4 %", "plain", "total_loads: 20", "total_loads: 21", false},
        {"times: 5 %", "plain", "total_loads: 20", "total_loads: 21", false},
        {"counts: 9 %", "plain", "hits: [40, 40]", "hits: [40, 41]", true},
        {"counts: 9 %", "plain", "x2", "x4", true},
        {"times: 9 %", "plain", "x2", "x4", false},
        {"times: 1 %", "plain", "x1", "x4", true},
        {"counts: 1 %", "plain", "x1", "x4", false},
        {"counts: 99 %", "plain", "total_prefetches: 0", "total_prefetches: 1", false},
        {"counts: 99 %", "plain", "total_loads: 20, ", "", false},
        {"times: 99 %, counts: 99 %", "machine", "50 GB/s", "49.9 GB/s", false},
        {"times: 99 %, counts: 99 %", "trace", "d0", "d1", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof tried / sizeof *tried; i++) {
        const struct edit edit = {tried[i].after, tried[i].from, tried[i].to};
        struct check c = judged(STORED, &edit, 1, tried[i].tolerance);

        if (check_is_good(&c) != tried[i].good)
            fail_msg("case %zu is %s", i, tried[i].good ? "bad" : "good");
        check_release(&c);
    }
}

#define ACCURACY                                                                         \
    "stored:\n  accuracy:\n    copy: {points: 9, mean: 0.10, bias: -0.04}\n"             \
    "  papers:\n    - label: p\n      rows:\n        - {label: r, error: -0.04}\n"

/* Errors may shrink by any, and grow by so many points, whatever their sign. */
static void errors_may_not_grow(void **state)
{
    static const struct {
        const char *from, *to, *said;
    } tried[] = {
        {"mean: 0.10", "mean: 0.109", NULL},
        {"mean: 0.10", "mean: 0.01", NULL},
        {"mean: 0.10", "mean: 0.12",
         "accuracy: predictions are further from what was measured: copy.mean is 12.0 %, "
         "was 10.0 %"},
        {"bias: -0.04", "bias: 0.15",
         "accuracy: predictions are further from what was measured: copy.bias is 15.0 %, "
         "was -4.0 %"},
        {"bias: -0.04", "bias: 0.03", NULL},
        {"error: -0.04", "error: 0.15",
         "p, errors: predictions are further from what was measured: r is 15.0 %, was "
         "-4.0 %"},
        {"error: -0.04", "error: -0.0499", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof tried / sizeof *tried; i++) {
        const struct edit edit = {"accuracy", tried[i].from, tried[i].to};
        struct check c = judged(ACCURACY, &edit, 1, "errors: 1 %");

        assert_int_equal(check_is_good(&c), tried[i].said == NULL);
        assert_int_equal(c.item[0].findings, tried[i].said != NULL);
        if (tried[i].said != NULL)
            assert_string_equal(c.item[0].finding[0], tried[i].said);
        check_release(&c);
    }
}

/* Equal values are counted, one row for each group; what is another has its own. */
static void rows_are_what_differs(void **state)
{
    const struct edit edit = {"plain", "hits: [40, 40]", "hits: [40, 30]"};
    struct check c = judged(STORED, &edit, 1, "times: 0 %");
    const struct check_case *item = &c.item[0];
    const struct check_row *row = &item->row[0];
    char *text = check_row_text(item, row);

    (void)state;
    assert_string_equal(row->group, "plain, layers");
    assert_string_equal(row->name, "layer 1, hits");
    assert_string_equal(text, "stored 40, now 30 (-25.0 %)");
    assert_true(row->numbers[0] == 40.0 && row->numbers[1] == 30.0);
    assert_true(fabs(row->change + 0.25) < 1e-12 && row->tolerance == 0.0);
    for (size_t i = 1; i < item->rows; i++) {
        assert_int_equal(item->row[i].verdict, CHECK_OK);
        assert_null(item->row[i].before);
    }
    /* Trace 4 + 3 + 2 + 3 + 2, machine 3, model 2, config 2; of each policy a label, six
     * parts, six counts, three times, four and three of operations, digest, two hashes
     * and four of layers. */
    assert_int_equal(check_count(item).values,
                     14 + 7 + 2 * (1 + 6 + 6 + 3 + 7 + 1 + 2 + 4));
    free(text);
    check_release(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_files_are_told),
        cmocka_unit_test(stale_files_are_told),
        cmocka_unit_test(keys_on_the_wrong_side_are_told),
        cmocka_unit_test(paths_count_from_the_file),
        cmocka_unit_test(causes_are_named),
        cmocka_unit_test(changes_within_tolerance_pass),
        cmocka_unit_test(errors_may_not_grow),
        cmocka_unit_test(rows_are_what_differs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

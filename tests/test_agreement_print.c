/* What is said of predicted and executed runs, whole: two policies, all of whose figures
 * follow by hand. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "made_result.h"
#include "trace_maker.h"
#include "validate/agreement_print.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MS (1000 * SIM_TIME_PER_US)

/* Each has a pass of warm-up before two that count, in which it takes 9 s and not 12,
 * and 11 s and not 18. Of the rows two do not count: of the warm-up, and behind the last
 * pass. */
static struct agreement_pass pass_a[] = {{9, 9, 9, 9, 5, 4},
                                         {5, 4, 3.5, 6, 2, 1},
                                         {4, 8, 7, 8, 3, 2}},
                             pass_b[] = {{7, 7, 7, 7, 5, 4},
                                         {8, 16, 16, 16, 2, 1},
                                         {3, 2, 2, 2, 3, 2}};
static struct agreement_row row_a[] = {{0, OP_GATE, LANE_COMPUTE, 1, 0, 0, 8, 1},
                                       {1, OP_DENSE, LANE_COMPUTE, 0, 0, 1, 2, 4},
                                       {1, OP_HEAD, LANE_COMPUTE, 2, 0, 0, 1, 1},
                                       {2, OP_COPY_IN, LANE_COPY_IN, 1, 5, AGREEMENT_ALL,
                                        3, 2},
                                       {3, OP_HOST, LANE_HOST, 2, 0, 0, NAN, 1}},
                            row_b[] = {{1, OP_DENSE, LANE_COMPUTE, 1, 0, 0, 1, 1},
                                       {2, OP_COPY_OUT, LANE_COPY_OUT, 1, 7, 3, NAN, 4}};
static double predicted_a[] = {2, 3}, measured_a[] = {2.5, 2}, predicted_b[] = {1, 1},
              measured_b[] = {2, 1};

struct made {
    struct agreement policy[2];
    struct speed speed;
    struct speed_probe probe[2];
    struct agreement_report report;
};

static void make(struct made *m)
{
    *m = (struct made){.policy = {{.label = "lru",
                                   .passes = 3,
                                   .warmup = 1,
                                   .pass = pass_a,
                                   .row = row_a,
                                   .rows = 5,
                                   .decoder_layers = 2,
                                   .layer_predicted_s = predicted_a,
                                   .layer_measured_s = measured_a,
                                   .spread = 0.125},
                                  {.label = "b, c",
                                   .passes = 3,
                                   .warmup = 1,
                                   .pass = pass_b,
                                   .row = row_b,
                                   .rows = 2,
                                   .decoder_layers = 2,
                                   .layer_predicted_s = predicted_b,
                                   .layer_measured_s = measured_b}},
                       .probe = {{4, 5}, {6, 7}}};
    for (int i = 0; i < 2; i++)
        m->policy[i].of_pass = agreement_over_all(&m->policy[i], 1, OP_KINDS);
    m->policy[0].predicted_share_s[SHARE_DENSE] = 1;
    m->policy[0].measured_share_s[SHARE_DENSE] = 2;
    m->policy[0].predicted_share_s[SHARE_COPY] = 4;
    m->policy[0].measured_share_s[SHARE_COPY] = 4.5;
    m->policy[1].predicted_share_s[SHARE_HOST] = 3;
    m->policy[1].measured_share_s[SHARE_HOST] = 2;
    m->policy[1].predicted_share_s[SHARE_EXPERT] = 1;
    m->policy[1].measured_share_s[SHARE_EXPERT] = 0.5;
    m->speed = (struct speed){.predicted = {1, 2}, m->probe, 2, 1.5, 1.2, 1.25, 0.9, 2.5};
    m->report = (struct agreement_report){
        .version = "moesim 9",
        .date = "2026-01-02",
        .device = "host",
        .device_name = "A CPU",
        .driver = "BLAS",
        .clocks = "3 GHz",
        .element = "fp32",
        .machine = "mine",
        .model = "tiny",
        .trace = "t.h5",
        .seed = 7,
        .repeats = 5,
        .notes = "One. Two.",
        .counts = {1234567, 800, 70, 6, 5, 9, 40, 3000000, 2000},
        .speed = &m->speed,
        .policies = 2,
        .policy = m->policy};
}

static void printed(const struct agreement_report *r,
                    void (*print)(const struct agreement_report *, FILE *),
                    const char *wanted)
{
    char *said = NULL;
    size_t size;
    FILE *out = open_memstream(&said, &size);

    assert_non_null(out);
    print(r, out);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(said, wanted);
    free(said);
}

static void people_see_all(void **state)
{
    struct made m;

    (void)state;
    make(&m);
    printed(
        &m.report, agreement_print,
        "tiny predicted by machine mine and executed on host (A CPU, BLAS, 3 GHz, "
        "fp32); trace t.h5; seed 7;\n"
        "  2 passes after 1 of warm-up, median of 5 repeats; moesim 9.\n"
        "note: One. Two.\n"
        "\n"
        "Counts agree, layer by layer, in each executed run of all policies: "
        "1 234 567 accesses, 800 hits, 70\n"
        "  loads, 6 bypasses, 5 on the host, 9 near the data, 40 prefetches; 3.00 MB in, "
        "2.00 kB out.\n"
        "\n"
        "                                   mean pass    error    absolute error     "
        "     repeats\n"
        "policy                   predicted  measured   of sum   median    worst    "
        "pass   spread\n"
        "lru                         4.50 s    6.00 s  -25.0 %   37.5 %   50.0 %     "
        "  2   12.5 %\n"
        "b, c                        5.50 s    9.00 s  -38.9 %   50.0 %   50.0 %     "
        "  1    0.0 %\n"
        "all                         5.00 s    7.50 s  -33.3 %   50.0 %   50.0 %\n"
        "\n"
        "The machine ran 1.250x as fast as its machine file says, 0.900..2.500x over "
        "the run (GEMM 1.500x,\n"
        "  copies 1.200x); were all times as much shorter, the error of the sum "
        "would be left at -46.7 %.\n"
        "\n"
        "Order of the policies: Kendall tau-b 1, over the 1 of 1 pairs whose "
        "measured times differ by more\n"
        "  than 10 %.\n"
        "\n"
        "operation, all policies  predicted  measured   of sum   median    worst   "
        "count\n"
        "dense                       3.00 s    5.00 s  -40.0 %   25.0 %   50.0 %     "
        "  2\n"
        "copy in                     3.00 s    2.00 s   50.0 %   50.0 %   50.0 %     "
        "  1\n"
        "head                        1.00 s    1.00 s    0.0 %    0.0 %    0.0 %     "
        "  1\n"
        "\n"
        "Layers with the largest differences (error of their dense blocks, gates, "
        "experts and copies)\n"
        "lru                      layer 1 (50.0 %), layer 0 (-20.0 %)\n"
        "b, c                     layer 0 (-50.0 %), layer 1 (0.0 %)\n"
        "\n"
        "Where the error comes from\n"
        "lru                      1.50 s a pass longer than predicted; dense compute "
        "is 1.00 s longer\n"
        "b, c                     1.50 s a pass shorter than predicted; launch and "
        "host is 1.00 s shorter\n");
}

/* No clocks, no notes, one policy: nothing stands in their place, and no order is told.
 */
static void what_is_not_known_is_left_out(void **state)
{
    struct made m;
    char *said = NULL;
    size_t size, pairs = 7;
    FILE *out = open_memstream(&said, &size);

    (void)state;
    assert_non_null(out);
    make(&m);
    m.report.clocks = m.report.notes = "";
    m.report.policies = 1;
    agreement_print(&m.report, out);
    assert_int_equal(fclose(out), 0);
    assert_non_null(strstr(said, "on host (A CPU, BLAS, fp32); trace"));
    assert_null(strstr(said, "note:"));
    assert_non_null(strstr(said, "\nOrder of the policies: no pair of them differs by "
                                 "more than 10 % in measured time.\n"));
    assert_true(isnan(agreement_report_tau(&m.report, &pairs)));
    assert_int_equal(pairs, 0);
    free(said);
}

static void scripts_see_all(void **state)
{
    struct made m;

    (void)state;
    make(&m);
    printed(&m.report, agreement_print_passes,
            "policy,pass,warmup,rows,outputs,predicted_s,measured_s,least_s,most_s\n"
            "lru,0,1,5,4,9,9,9,9\n"
            "lru,1,0,2,1,5,4,3.5,6\n"
            "lru,2,0,3,2,4,8,7,8\n"
            "\"b, c\",0,1,5,4,7,7,7,7\n"
            "\"b, c\",1,0,2,1,8,16,16,16\n"
            "\"b, c\",2,0,3,2,3,2,2,2\n");
    printed(&m.report, agreement_print_operations,
            "policy,pass,layer,kind,lane,expert,number,predicted_s,measured_s\n"
            "lru,0,1,gate,compute,,0,8,1\n"
            "lru,1,0,dense,compute,,1,2,4\n"
            "lru,1,,head,compute,,0,1,1\n"
            "lru,2,1,copy in,copy in,5,all,3,2\n"
            "lru,3,,host,host,,0,,1\n"
            "\"b, c\",1,1,dense,compute,,0,1,1\n"
            "\"b, c\",2,1,copy out,copy out,7,3,,4\n");
    printed(&m.report, agreement_print_json,
            "{\n"
            "  \"version\": \"moesim 9\",\n"
            "  \"date\": \"2026-01-02\",\n"
            "  \"device\": \"host\",\n"
            "  \"device_name\": \"A CPU\",\n"
            "  \"driver\": \"BLAS\",\n"
            "  \"clocks\": \"3 GHz\",\n"
            "  \"element\": \"fp32\",\n"
            "  \"machine\": \"mine\",\n"
            "  \"model\": \"tiny\",\n"
            "  \"trace\": \"t.h5\",\n"
            "  \"notes\": \"One. Two.\",\n"
            "  \"seed\": 7, \"passes\": 2, \"warmup\": 1, \"repeats\": 5,\n"
            "  \"counts_agree\": {\"accesses\": 1234567, \"hits\": 800, \"loads\": 70, "
            "\"bypasses\": 6, \"host_runs\": 5, \"near_runs\": 9, \"prefetches\": 40, "
            "\"in_bytes\": "
            "3000000, \"out_bytes\": 2000},\n"
            "  \"tau_b\": 1, \"tau_pairs\": 1,\n"
            "  \"pass\": {\"count\": 4, \"predicted_s\": 20, \"measured_s\": 30, "
            "\"median_abs_error\": 0.5, \"worst_abs_error\": 0.5},\n"
            "  \"operations\": {\"dense\": {\"count\": 2, \"predicted_s\": 3, "
            "\"measured_s\": 5, \"median_abs_error\": 0.25, \"worst_abs_error\": 0.5}, "
            "\"copy in\": {\"count\": 1, \"predicted_s\": 3, \"measured_s\": 2, "
            "\"median_abs_error\": 0.5, \"worst_abs_error\": 0.5}, \"head\": {\"count\": "
            "1, \"predicted_s\": 1, \"measured_s\": 1, \"median_abs_error\": 0, "
            "\"worst_abs_error\": 0}},\n"
            "  \"speed\": {\"ratio\": 1.25, \"least\": 0.9, \"most\": 2.5, \"gemm\": "
            "1.5, \"copy\": 1.2,\n"
            "    \"predicted\": {\"gemm_s\": 1, \"copy_s\": 2},\n"
            "    \"probes\": [{\"gemm_s\": 4, \"copy_s\": 5}, {\"gemm_s\": 6, "
            "\"copy_s\": 7}]},\n"
            "  \"policies\": [\n"
            "    {\"policy\": \"lru\", \"emulated\": false, \"pass\": {\"count\": 2, "
            "\"predicted_s\": 9, "
            "\"measured_s\": 12, \"median_abs_error\": 0.375, \"worst_abs_error\": 0.5}, "
            "\"repeats_spread\": 0.125,\n"
            "     \"operations\": {\"dense\": {\"count\": 1, \"predicted_s\": 2, "
            "\"measured_s\": 4, \"median_abs_error\": 0.5, \"worst_abs_error\": 0.5}, "
            "\"copy in\": {\"count\": 1, \"predicted_s\": 3, \"measured_s\": 2, "
            "\"median_abs_error\": 0.5, \"worst_abs_error\": 0.5}, \"head\": {\"count\": "
            "1, \"predicted_s\": 1, \"measured_s\": 1, \"median_abs_error\": 0, "
            "\"worst_abs_error\": 0}},\n"
            "     \"shares\": {\"dense compute\": {\"predicted_s\": 1, \"measured_s\": "
            "2}, \"expert compute\": {\"predicted_s\": 0, \"measured_s\": 0}, \"experts "
            "in place\": {\"predicted_s\": 0, \"measured_s\": 0}, \"exposed copy\": "
            "{\"predicted_s\": 4, \"measured_s\": 4.5}, \"exposed communication\": "
            "{\"predicted_s\": 0, \"measured_s\": 0}, \"imbalance wait\": "
            "{\"predicted_s\": 0, \"measured_s\": 0}, \"launch and host\": "
            "{\"predicted_s\": 0, \"measured_s\": 0}},\n"
            "     \"layers\": [{\"predicted_s\": 2, \"measured_s\": 2.5}, "
            "{\"predicted_s\": 3, \"measured_s\": 2}]},\n"
            "    {\"policy\": \"b, c\", \"emulated\": false, \"pass\": {\"count\": 2, "
            "\"predicted_s\": 11, "
            "\"measured_s\": 18, \"median_abs_error\": 0.5, \"worst_abs_error\": 0.5}, "
            "\"repeats_spread\": 0,\n"
            "     \"operations\": {\"dense\": {\"count\": 1, \"predicted_s\": 1, "
            "\"measured_s\": 1, \"median_abs_error\": 0, \"worst_abs_error\": 0}},\n"
            "     \"shares\": {\"dense compute\": {\"predicted_s\": 0, \"measured_s\": "
            "0}, \"expert compute\": {\"predicted_s\": 1, \"measured_s\": 0.5}, "
            "\"experts in place\": {\"predicted_s\": 0, \"measured_s\": 0}, \"exposed "
            "copy\": {\"predicted_s\": 0, \"measured_s\": 0}, \"exposed communication\": "
            "{\"predicted_s\": 0, \"measured_s\": 0}, \"imbalance wait\": "
            "{\"predicted_s\": 0, \"measured_s\": 0}, \"launch and host\": "
            "{\"predicted_s\": 3, \"measured_s\": 2}},\n"
            "     \"layers\": [{\"predicted_s\": 1, \"measured_s\": 2}, "
            "{\"predicted_s\": 1, \"measured_s\": 1}]}\n"
            "  ]\n"
            "}\n");
}

/* What agreement_find() leaves of a policy that was emulated. */
static void emulate(struct made *m, int policy)
{
    static struct agreement_pass pass[] = {
        {7, NAN, NAN, NAN, 5, 4}, {8, NAN, NAN, NAN, 2, 1}, {3, NAN, NAN, NAN, 3, 2}};
    static struct agreement_row row[] = {{1, OP_DENSE, LANE_COMPUTE, 1, 0, 0, 1, NAN}};
    static double measured[] = {NAN, NAN};
    struct agreement *a = &m->policy[policy];

    a->emulated = true;
    a->pass = pass;
    a->row = row;
    a->rows = 1;
    a->layer_measured_s = measured;
    a->spread = NAN;
    a->of_pass = agreement_over_all(a, 1, OP_KINDS);
    a->of_pass.predicted_s = 11;
    for (int s = 0; s < RUN_SHARES; s++)
        a->measured_share_s[s] = NAN;
}

static char *said_by(const struct agreement_report *r,
                     void (*print)(const struct agreement_report *, FILE *))
{
    char *said = NULL;
    size_t size;
    FILE *out = open_memstream(&said, &size);

    assert_non_null(out);
    print(r, out);
    assert_int_equal(fclose(out), 0);
    return said;
}

static void has(const char *said, const char *words, bool wanted)
{
    if ((strstr(said, words) != NULL) != wanted)
        fail_msg("%s '%s' in\n%s", wanted ? "no" : "a", words, said);
}

/* Its predicted times are told, and nothing in the place of those measured; what is told
 * of all policies is told of the other. */
static void no_time_of_what_is_emulated(void **state)
{
    struct made m;
    char *said;

    (void)state;
    make(&m);
    emulate(&m, 1);
    said = said_by(&m.report, agreement_print);
    has(said,
        "lru                         4.50 s    6.00 s  -25.0 %   37.5 %   50.0 %       2"
        "   12.5 %\n"
        "b, c                        5.50 s  emulated\n"
        "all                         4.50 s    6.00 s  -25.0 %   37.5 %   50.0 %\n",
        true);
    has(said, "Order of the policies: no pair of them differs", true);
    has(said, "\nb, c                     layer", false);
    has(said, "a pass shorter than", false);
    has(said, "nan", false);
    free(said);
    said = said_by(&m.report, agreement_print_json);
    has(said,
        "{\"policy\": \"b, c\", \"emulated\": true, \"pass\": {\"count\": 0, "
        "\"predicted_s\": 11, \"measured_s\": null, \"median_abs_error\": null, "
        "\"worst_abs_error\": null}, \"repeats_spread\": null,\n"
        "     \"operations\": {},\n"
        "     \"shares\": {\"dense compute\": {\"predicted_s\": 0, \"measured_s\": null}",
        true);
    has(said,
        "\"layers\": [{\"predicted_s\": 1, \"measured_s\": null}, {\"predicted_s\": 1, "
        "\"measured_s\": null}]}\n",
        true);
    has(said, "\"tau_b\": null, \"tau_pairs\": 0,\n  \"pass\": {\"count\": 2, ", true);
    free(said);
    said = said_by(&m.report, agreement_print_passes);
    has(said, "\"b, c\",1,0,2,1,8,,,\n", true);
    free(said);
    said = said_by(&m.report, agreement_print_operations);
    has(said, "\"b, c\",1,1,dense,compute,,0,1,\n", true);
    free(said);
}

/* With nothing measured the predictions are left, and the counts. */
static void nothing_was_measured(void **state)
{
    struct made m;
    char *said;

    (void)state;
    make(&m);
    emulate(&m, 0);
    emulate(&m, 1);
    said = said_by(&m.report, agreement_print);
    has(said, "Counts agree", true);
    has(said, "lru                         5.50 s  emulated\n", true);
    has(said, "\nall ", false);
    has(said, "The machine ran", false);
    has(said, "operation, all", false);
    has(said, "Where the error", false);
    has(said, "nan", false);
    free(said);
    said = said_by(&m.report, agreement_print_json);
    has(said,
        "\"pass\": {\"count\": 0, \"predicted_s\": null, \"measured_s\": null, "
        "\"median_abs_error\": null, \"worst_abs_error\": null},\n  \"operations\": {},",
        true);
    free(said);
}

/* ---- the timeline ---- */

static void put(struct agreement_ops *o, op_id id, enum op_kind kind, sim_time issued,
                sim_time start, sim_time end)
{
    const struct agreement_op op = {
        id, kind, kind == OP_COPY_IN ? LANE_COPY_IN : LANE_COMPUTE,
        3,  4,    {issued, start, end, false}};

    agreement_ops_add(o, &op);
}

/* Three passes of two operations; the second is drawn, and begins at 0. */
static void a_pass_is_drawn(void **state)
{
    struct agreement_ops side[2] = {{NULL, 0, 0}, {NULL, 0, 0}};
    const struct agreement_drawing d = {"lru", {&side[0], &side[1]}};
    char *path = trace_make_path("drawn.json"), *text, *at;
    struct err e = {.text = ""};
    size_t size;

    (void)state;
    for (int s = 0; s < 2; s++) {
        for (op_id p = 0; p < 3; p++) {
            sim_time start = (sim_time)(p * 100 + 10) * MS;

            put(&side[s], 2 * p + 1, OP_COPY_IN, start - MS, start,
                start + ((sim_time)p + 1 + s) * MS);
            put(&side[s], 2 * p + 2, OP_HEAD, start + MS, start + 5 * MS, start + 9 * MS);
        }
    }
    assert_int_equal(agreement_draw(path, &d, 1, 1, 1, &e), 0);
    text = made_read(path, &size);
    at = strstr(text, "\"ph\":\"X\"");
    assert_non_null(at);
    while (at[-1] != '\n')
        at--;
    assert_string_equal(
        at, "{\"name\":\"head\",\"cat\":\"head\",\"ph\":\"X\",\"ts\":5000.000000,\"dur\":"
            "4000.000000,\"pid\":0,\"tid\":0,\"args\":{\"issued_us\":1000.000000}},\n"
            "{\"name\":\"copy in L3 E4\",\"cat\":\"copy "
            "in\",\"ph\":\"X\",\"ts\":0.000000,\"dur\":2000.000000,\"pid\":0,\"tid\":1,"
            "\"args\":{\"issued_us\":0.000000,\"layer\":3,\"expert\":4}},\n"
            "{\"name\":\"head\",\"cat\":\"head\",\"ph\":\"X\",\"ts\":5000.000000,\"dur\":"
            "4000.000000,\"pid\":1,\"tid\":0,\"args\":{\"issued_us\":1000.000000}},\n"
            "{\"name\":\"copy in L3 E4\",\"cat\":\"copy "
            "in\",\"ph\":\"X\",\"ts\":0.000000,\"dur\":3000.000000,\"pid\":1,\"tid\":1,"
            "\"args\":{\"issued_us\":0.000000,\"layer\":3,\"expert\":4}}\n"
            "]}\n");
    assert_non_null(strstr(text, "\"pid\":0,\"args\":{\"name\":\"lru, predicted\"}}"));
    assert_non_null(strstr(text, "\"pid\":1,\"args\":{\"name\":\"lru, measured\"}}"));
    free(text);
    (void)unlink(path);
    assert_int_equal(agreement_draw("/nowhere/x.json", &d, 1, 1, 1, &e), -1);
    assert_non_null(strstr(e.text, "/nowhere/x.json"));
    for (int s = 0; s < 2; s++)
        agreement_ops_release(&side[s]);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(people_see_all),
        cmocka_unit_test(what_is_not_known_is_left_out),
        cmocka_unit_test(no_time_of_what_is_emulated),
        cmocka_unit_test(nothing_was_measured),
        cmocka_unit_test(scripts_see_all),
        cmocka_unit_test(a_pass_is_drawn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

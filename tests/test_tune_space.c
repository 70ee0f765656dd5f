/* What a search is asked for, and the points it may choose: units, limits, names of
 * figures; points of a space counted by hand, each reached by its number; places; shares
 * of a trace. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/experiment/tune_trial.h"

#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct cfg *parse(const char *text)
{
    struct err e = {.text = ""};
    struct cfg *c = cfg_parse("s.yaml", text, strlen(text), &e);

    if (c == NULL)
        fail_msg("%s", e.text);
    return c;
}

static void says(const char *text, const char *sentence)
{
    struct cfg *c = parse(text);
    struct tune_spec s;
    struct err e = {.text = ""};

    assert_int_equal(tune_spec_read(c, &s, &e), -1);
    if (strncmp(e.text, sentence, strlen(sentence)) != 0)
        fail_msg("\"%s\" does not begin with \"%s\"", e.text, sentence);
    tune_spec_release(&s);
    cfg_free(c);
}

static int figure(const char *name)
{
    struct err e = {.text = ""};

    return result_figure_find(name, &e);
}

static void a_task_has_units(void **state)
{
    struct cfg *c =
        parse("tune: {minimise: [tpot_p99, gpu_peak_bytes], over: {a: 1..2},\n"
              " at_most: {ttft_p99: 500 ms, gpu_peak: 70 GB},\n"
              " at_least: {hit_rate: 70 %, gpu_busy: 0.25, tokens_per_s: 30}}");
    static const double value[] = {0.5, 70e9, 0.7, 0.25, 30};
    struct tune_spec s;
    struct err e = {.text = ""};

    (void)state;
    assert_int_equal(tune_spec_read(c, &s, &e), 0);
    assert_int_equal(s.goals, 2);
    assert_int_equal(s.goal[0].figure, figure("tpot_p99_s"));
    assert_int_equal(s.goal[1].figure, figure("gpu_peak"));
    assert_false(s.goal[0].large || s.goal[1].large || s.bounds);
    assert_int_equal(s.limits, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_true(fabs(s.limit[i].value - value[i]) < 1e-12 * value[i]);
        assert_int_equal(s.limit[i].least, i >= 2);
    }
    assert_true(tune_limit_holds(&s.limit[0], 0.5) &&
                !tune_limit_holds(&s.limit[0], 0.6));
    assert_true(tune_limit_holds(&s.limit[2], 0.7) &&
                !tune_limit_holds(&s.limit[2], 0.6));
    assert_false(tune_limit_holds(&s.limit[0], NAN) ||
                 tune_limit_holds(&s.limit[2], NAN));
    assert_int_equal(s.evaluations, 60);
    assert_int_equal(s.seeds, 5);
    tune_spec_release(&s);
    cfg_free(c);
}

static void a_goal_may_be_large_or_of_bounds(void **state)
{
    struct cfg *c = parse(
        "tune: {maximise: tokens_per_s, minimise: gap_to_offline, over: {a: 1..2}}");
    struct tune_spec s;
    struct err e = {.text = ""};

    (void)state;
    assert_int_equal(tune_spec_read(c, &s, &e), 0);
    assert_true(s.bounds && !s.goal[0].large && s.goal[1].large);
    assert_true(tune_goal_cost(&s.goal[1], 5) < tune_goal_cost(&s.goal[1], 4));
    assert_true(tune_goal_cost(&s.goal[0], 5) > tune_goal_cost(&s.goal[0], 4));
    tune_spec_release(&s);
    cfg_free(c);
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    says("a: 1", "s.yaml:1:1: there is no mapping 'tune'");
    says("tune: {over: {a: 1..2}}", "s.yaml:1:7: 'tune' has no goal");
    says("tune: {minimise: tpot_p98, over: {a: 1..2}}",
         "s.yaml:1:18: there is no figure 'tpot_p98'; did you mean 'tpot_p99_s'?");
    says("tune: {minimise: tpot_p99}", "s.yaml:1:7: 'over' is missing in tune");
    says("tune: {minimise: tpot_p99, over: 3}", "s.yaml:1:34: expected keys with values");
    says("tune: {minimise: [tpot_p99, tpot_p50, ttft_p50], over: {a: 1..2}}",
         "s.yaml:1:39: there are 2 goals already");
    says("tune: {minimise: tpot_p99, maximise: tpot_p99, over: {a: 1..2}}",
         "s.yaml:1:38: 'tpot_p99' is a goal already");
    says("tune: {minimise: tpot_p99, over: {a: 1..2}, at_most: {ttft_p99: 3}}",
         "s.yaml:1:65: 'ttft_p99' is 3; expected a time");
    says("tune: {minimise: tpot_p99, over: {a: 1..2}, at_most: {hit_rate: x %}}",
         "s.yaml:1:65: expected a share");
    says("tune: {minimise: tpot_p99, over: {a: 1..2}, at_most: [3]}",
         "s.yaml:1:54: expected figures with what they may be");
    says("tune: {minimise: tpot_p99, over: {a: 1..2}, evaluations: 1}",
         "s.yaml:1:58: 'evaluations' is 1; expected an integer from 2 to 1000");
}

/* ---- points ---- */

static const char *const study =
    "policies: [{name: one, cache: lru}, {preset: lru-on-demand}]\n"
    "tune:\n"
    "  over:\n"
    "    cache.slots: 4..6\n"
    "    policies.1.prefetch.width: [1, 2, 4]\n"
    "    workload.mode: [static, continuous]\n";

static struct tune_space *space_of(const struct cfg *c)
{
    struct err e = {.text = ""};
    struct tune_space *s =
        tune_space_new(c, cfg_find(cfg_find(cfg_root(c), "tune"), "over"), &e);

    if (s == NULL)
        fail_msg("%s", e.text);
    return s;
}

/* 3 slots and 2 modes for each policy; for the second one 3 widths as well: 6 + 18. */
static void points_are_counted_once(void **state)
{
    struct cfg *c = parse(study);
    struct tune_space *s = space_of(c);

    (void)state;
    assert_int_equal(tune_space_count(s), 24);
    assert_int_equal(tune_space_lines(s), 2);
    assert_int_equal(tune_space_names(s), 2);
    assert_string_equal(tune_space_policy(s, 0), "one");
    assert_string_equal(tune_space_policy(s, 1), "lru-on-demand");
    for (size_t i = 0; i < 24; i++) {
        struct tune_point a = tune_space_point(s, i);

        for (size_t k = 0; k < i; k++) {
            struct tune_point b = tune_space_point(s, k);

            assert_false(tune_space_same(s, &a, &b));
            tune_point_release(&b);
        }
        tune_point_release(&a);
    }
    tune_space_free(s);
    cfg_free(c);
}

static void a_point_is_a_configuration(void **state)
{
    static const double u[] = {0.9, 0.5, 0.99, 0.6}; /* policy, slots, width, mode */
    struct cfg *c = parse(study), *at;
    struct tune_space *s = space_of(c);
    struct tune_point p = tune_space_draw(s, u), q;
    struct err e = {.text = ""};
    double x[4];
    char *text;

    (void)state;
    tune_space_place(s, &p, x);
    assert_true(x[0] == 0.5 && x[1] == 1 && x[2] == 1 && x[3] == 1);
    at = tune_space_config(s, &p, &e);
    text = cfg_dump(at);
    assert_string_equal(text, "policies:\n  - preset: lru-on-demand\n    cache:\n"
                              "      slots: 5\n    prefetch:\n      width: 4\n"
                              "workload:\n  mode: continuous\n");
    free(text);
    cfg_free(at);
    q = tune_space_move(s, &p, 0, 0.1); /* which has no width of its own */
    assert_int_equal(q.policy, 0);
    assert_int_equal(q.value[1].index, 0);
    assert_true(tune_space_unit(s, &p, 0) == 0.75);
    tune_point_release(&p);
    tune_point_release(&q);
    tune_space_free(s);
    cfg_free(c);
}

static void a_space_may_have_no_end(void **state)
{
    static const double u[] = {0, 0.25};
    struct cfg *c =
        parse("policies: [lru-on-demand]\n"
              "tune: {over: {machine.h2d_pinned.bandwidth: 8..128 GB/s log2}}");
    struct tune_space *s = space_of(c);
    struct tune_point p = tune_space_draw(s, u);
    double x;

    (void)state;
    assert_int_equal(tune_space_count(s), 0);
    tune_space_place(s, &p, &x);
    assert_true(fabs(x - 0.25) < 1e-12);
    tune_point_release(&p);
    tune_space_free(s);
    cfg_free(c);
}

/* ---- shares ---- */

static void shares_are_of_whole_requests(void **state)
{
    const struct experiment_facts f = {.requests = 90, .together = 4};
    const struct experiment_facts wide = {.requests = 90, .together = 40};
    const struct experiment_facts full = {.requests = 90, .together = 45};
    const struct experiment_facts passes = {.recorded = 1000, .most = 90};

    (void)state;
    assert_true(fabs(tune_trial_share(&f, 1.0 / 9) - 10.0 / 90) < 1e-15);
    assert_true(fabs(tune_trial_share(&f, 0.001) - 8.0 / 90) < 1e-15); /* two batches */
    assert_true(fabs(tune_trial_share(&wide, 1.0 / 9) - 80.0 / 90) < 1e-15);
    assert_true(tune_trial_share(&full, 1.0 / 9) == 1);
    assert_true(tune_trial_share(&f, 1) == 1);
    assert_true(fabs(tune_trial_share(&passes, 1.0 / 3) - 30.0 / 90) < 1e-15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_has_units),
        cmocka_unit_test(a_goal_may_be_large_or_of_bounds),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(points_are_counted_once),
        cmocka_unit_test(a_point_is_a_configuration),
        cmocka_unit_test(a_space_may_have_no_end),
        cmocka_unit_test(shares_are_of_whole_requests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

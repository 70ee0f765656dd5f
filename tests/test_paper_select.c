/* What replays of published tables say of a select: the law that a layer's time follows
 * the experts that a batch uses, and figures in closed form. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "paper_help.h"

#include <math.h>
#include <string.h>

enum { BUDGETS = 9 };

/* Batches of 16 that may use 8, 12, ... of 64 experts, or all; every expert resident. */
static const char law_table[] = HEAD
    "base:\n"
    "  machine: h200\n"
    "  model: qwen2-57b-a14b\n"
    "  trace: {requests: 16, prompt_tokens: 0, output_tokens: 3, "
    "output_spread: 0, autoregressive: yes, scores: all}\n"
    "  config:\n"
    "    launch: graph\n"
    "    parallel: {gpus: 1}\n"
    "    workload: {mode: static, batch: 16, prefill: skip}\n"
    "    policies:\n"
    "      - {name: p0, select: {name: budget, experts: 8}}\n"
    "      - {name: p1, select: {name: budget, experts: 12}}\n"
    "      - {name: p2, select: {name: budget, experts: 16}}\n"
    "      - {name: p3, select: {name: budget, experts: 22}}\n"
    "      - {name: p4, select: {name: budget, experts: 28}}\n"
    "      - {name: p5, select: {name: budget, experts: 34}}\n"
    "      - {name: p6, select: {name: budget, experts: 40}}\n"
    "      - {name: p7, select: {name: budget, experts: 46}}\n"
    "      - {name: p8, select: {name: budget, experts: 64}}\n"
    "  set: [model.layers=4]\n"
    "replays: [{name: r}, {name: a, set: [machine.gpu.hbm_bandwidth.value=2 TB/s]}]\n"
    "rows:\n"
    "  - {what: w, figure: layer-latency, run: r/p0}\n";

static double figure(const struct paper_run *run, const char *name, const char *policy)
{
    const struct paper_figure *f = paper_figure_find(name);
    struct err e = {.text = ""};
    double value = NAN;

    assert_non_null(f);
    if (paper_figure_get(f, run, policy, &value, &e) != 0)
        fail_msg("%s", e.text);
    return value;
}

static struct paper_run run_replay(struct paper_lab *lab, const struct paper *p, size_t i)
{
    struct err e = {.text = ""};
    struct paper_run run;

    if (paper_run(lab, p, i, NULL, &run, &e) != 0)
        fail_msg("%s", e.text);
    return run;
}

/* The line through n points, and how much of their variance it has. */
struct line {
    double slope, offset, r2;
};

static struct line fit_line(const double *x, const double *y, int n)
{
    double sx = 0, sy = 0, xx = 0, xy = 0, yy = 0;
    struct line l;

    for (int i = 0; i < n; i++) {
        sx += x[i] / n;
        sy += y[i] / n;
    }
    for (int i = 0; i < n; i++) {
        xx += (x[i] - sx) * (x[i] - sx);
        xy += (x[i] - sx) * (y[i] - sy);
        yy += (y[i] - sy) * (y[i] - sy);
    }
    l.slope = xy / xx;
    l.offset = sy - l.slope * sx;
    l.r2 = xy * xy / (xx * yy);
    return l;
}

/* An expert more takes as long as reading it: 55 MB at 86 % of the memory's rate. What a
 * layer takes beside is the same for all of them. */
static void test_linear_in_experts(void **state)
{
    static const double rate[] = {4.8e12, 2e12};
    const double bytes = 3.0 * 3584 * 2560 * 2;
    struct err e = {.text = ""};
    struct paper_lab *lab = paper_lab_new(&folders, 1, &e);
    struct paper p;

    (void)state;
    assert_non_null(lab);
    load_well(law_table, &p);
    for (size_t r = 0; r < 2; r++) {
        struct paper_run run = run_replay(lab, &p, r);
        double x[BUDGETS], y[BUDGETS];
        struct line l;

        for (int i = 0; i < BUDGETS; i++) {
            const char name[] = {'p', (char)('0' + i), '\0'};

            x[i] = figure(&run, "distinct", name);
            y[i] = figure(&run, "layer-latency", name);
            assert_true(i == 0 || x[i] > x[i - 1]);
        }
        assert_true(x[0] > 7.9 && x[0] < 8.1 && x[BUDGETS - 1] > 45);
        l = fit_line(x, y, BUDGETS);
        if (!(l.r2 > 0.99))
            fail_msg("r^2 is %g", l.r2);
        if (!(fabs(l.slope / (bytes / (0.86 * rate[r])) - 1) < 0.03))
            fail_msg("an expert takes %g s", l.slope);
        assert_true(l.offset > 0 && l.offset < 0.5 * y[BUDGETS - 1]);
        paper_run_release(&run);
    }
    paper_lab_free(lab);
    paper_release(&p);
}

/* One row at a time, of 2 among 8 experts, in 2 layers. */
static const char figures_table[] =
    HEAD "base:\n"
         "  machine: h200\n"
         "  model: mixtral-8x7b\n"
         "  trace: {requests: 4, prompt_tokens: 0, output_tokens: 6, "
         "output_spread: 0, autoregressive: yes, scores: all}\n"
         "  config:\n"
         "    launch: eager\n"
         "    workload: {mode: static, batch: 1, prefill: skip}\n"
         "    policies:\n"
         "      - {name: plain, cache: {slots: 8}}\n"
         "      - {name: one, select: {name: top-k, k: 1}, cache: {slots: 8}}\n"
         "      - {name: swap, cache: {slots: 2, preload: last}, schedule: serial}\n"
         "      - {name: stay, select: {name: eras-threshold, alpha: 2}, "
         "cache: {slots: 2, preload: last}, schedule: serial}\n"
         "  set: [model.layers=2]\n"
         "replays: [{name: r}]\n"
         "rows:\n"
         "  - {what: w, figure: swaps, run: r/swap}\n";

/* A cache of as many experts as a row has: every miss evicts, and the one stream waits
 * for the whole of each copy. A threshold above 1 never leaves what is resident. */
static void test_figures(void **state)
{
    const double copy = 7.5e-6 + 3.0 * 4096 * 14336 * 2 / 55.6e9;
    struct err e = {.text = ""};
    struct paper_lab *lab = paper_lab_new(&folders, 1, &e);
    struct paper_run run;
    struct paper p;
    double swaps;

    (void)state;
    assert_non_null(lab);
    load_well(figures_table, &p);
    run = run_replay(lab, &p, 0);
    assert_true(figure(&run, "distinct", "plain") == 2);
    assert_true(figure(&run, "changed", "plain") == 0);
    assert_true(figure(&run, "mass-lost", "plain") == 0);
    assert_true(figure(&run, "swaps", "plain") == 0);
    assert_true(figure(&run, "distinct", "one") == 1);
    assert_true(figure(&run, "changed", "one") == 0.5);
    assert_true(figure(&run, "mass-lost", "one") > 0.1 &&
                figure(&run, "mass-lost", "one") < 0.5);
    swaps = figure(&run, "swaps", "swap");
    assert_true(fabs(swaps - 4 * figure(&run, "miss-rate", "swap")) < 1e-9);
    assert_true(swaps > 1);
    if (!(fabs(figure(&run, "copy-stall", "swap") / (swaps * copy) - 1) < 0.02))
        fail_msg("%g swaps take %g s", swaps, figure(&run, "copy-stall", "swap"));
    assert_true(figure(&run, "swaps", "stay") == 0);
    assert_true(figure(&run, "copy-stall", "stay") == 0);
    assert_true(figure(&run, "changed", "stay") > 0.5);
    paper_run_release(&run);
    paper_lab_free(lab);
    paper_release(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear_in_experts),
        cmocka_unit_test(test_figures),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

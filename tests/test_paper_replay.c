/* Replays of published tables: how one is put together, what it gives, and what is
 * refused with which sentence. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "paper_help.h"

#include "models/fit.h"
#include "models/model.h"
#include "sim/base/file.h"
#include "validate/paper_formula.h"

#include <math.h>
#include <signal.h>
#include <string.h>

/* ---- closed forms ---- */

static int formula(const char *text, double *value, struct err *e)
{
    struct cfg *c = cfg_parse("formula", text, strlen(text), e);
    int status;

    assert_non_null(c);
    status = paper_formula(cfg_root(c), &folders, value, e);
    cfg_free(c);
    return status;
}

static double formula_well(const char *text)
{
    struct err e = {.text = ""};
    double value = NAN;

    if (formula(text, &value, &e) != 0)
        fail_msg("%s: %s", text, e.text);
    return value;
}

#define BUFFER(name, numbers) "{name: " name ", model: nllb-moe-54b, " numbers "}"

/* 128 experts, 16 on each of 8 GPUs, in 12 layers: what is saved, over all that was
 * there. No slot less than the experts, or every layer, is the end of both ranges. */
static void buffers_have_their_share(void **state)
{
    struct err e = {.text = ""};
    struct model *m = model_load("nllb-moe-54b", "models/arch", &e);
    double expert, all, value;

    (void)state;
    assert_non_null(m);
    assert_int_equal(m->moe_layers, 12);
    expert = (double)model_expert_bytes(m);
    all = (double)model_dense_bytes(m) + 16.0 * 12.0 * expert;
    value = formula_well(BUFFER("buffer-share", "gpus: 8, slots: 4, layers: 6"));
    assert_true(fabs(value - 12.0 * 6.0 * expert / all) < 1e-12);
    value = formula_well(BUFFER("buffer-share", "gpus: 8, slots: 15, layers: 12"));
    assert_true(fabs(value - 12.0 * expert / all) < 1e-12);
    assert_true(formula_well(BUFFER("buffer-saved", "gpus: 8, slots: 16, layers: 12")) ==
                0.0);
    model_free(m);
}

/* A cache of one expert, or of all, misses nothing once it is full; without one of them
 * LIFO misses (g - s + 1) / g = 2 / g. */
static void cycles_at_their_ends(void **state)
{
    (void)state;
    assert_true(
        formula_well("{name: cycle-miss-rate, policy: {cache: {name: lru, slots: 1}}, "
                     "experts: 1}") == 0.0);
    assert_true(
        formula_well("{name: cycle-miss-rate, policy: {cache: {name: lru, slots: 7}}, "
                     "experts: 7}") == 0.0);
    assert_true(fabs(formula_well("{name: cycle-miss-rate, policy: {preset: "
                                  "expert-buffering, cache: {slots: 6}}, experts: 7}") -
                     2.0 / 7.0) < 1e-12);
    /* MIN (g - s) / (g - 1), where it comes round once: g = 2. */
    assert_true(formula_well("{name: cycle-miss-rate, policy: {cache: {name: belady, "
                             "slots: 1, protect: prefer}}, experts: 2}") == 1.0);
}

static void formulas_say_what_lacks(void **state)
{
    static const struct {
        const char *text, *words;
    } bad[] = {
        {BUFFER("buffer-saved", "gpus: 8, slots: 17, layers: 6"),
         "formula buffer-saved: 8 GPUs, 17 slots and 6 layers do not go with model "
         "nllb-moe-54b"},
        {BUFFER("buffer-share", "gpus: 8, slots: 1, layers: 13"),
         "formula buffer-share: 8 GPUs, 1 slots and 13 layers do not go with model "
         "nllb-moe-54b"},
        {BUFFER("buffer-share", "gpus: 7, slots: 1, layers: 6"),
         "formula buffer-share: 7 GPUs, 1 slots and 6 layers do not go with model "
         "nllb-moe-54b"},
        {"{name: buffer-saved, model: nowhere, gpus: 8, slots: 1, layers: 1}", "nowhere"},
        {"{name: buffer-share, model: nowhere, gpus: 8, slots: 1, layers: 1}", "nowhere"},
        {BUFFER("buffer-saved", "gpus: 0, slots: 1, layers: 1"), "gpus"},
        {BUFFER("buffer-saved", "gpus: 8, slots: 1000001, layers: 1"), "slots"},
        {"{name: waste, policy: nowhere, experts: 4, top_k: 2, tokens: 10}", "nowhere"},
        {"{name: waste, policy: lru-on-demand, experts: 4, top_k: 2, tokens: 10}",
         "formula waste: this policy's gate has no capacity"},
        {"{name: cycle-miss-rate, policy: nowhere, experts: 4}", "nowhere"},
        {"{name: cycle-miss-rate, policy: {cache: {slots: 5}}, experts: 4}",
         "slots is 5, but a layer has 4 experts"},
        {"{name: cycle-miss-rate, policy: {cache: {name: pin, slots: 2}}, "
         "experts: 4}",
         "formula cycle-miss-rate: there is no profile"},
        {"{name: nothing}", "expected a formula's name and its options; moesim check "
                            "--help lists them"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = {.text = ""};
        double value;

        if (formula(bad[i].text, &value, &e) != -1 ||
            strstr(e.text, bad[i].words) == NULL)
            fail_msg("%s: expected '%s': %s", bad[i].text, bad[i].words, e.text);
    }
}

/* ---- quantities and rows ---- */

static void every_unit_is_read(void **state)
{
    static const struct {
        const char *text;
        double value;
    } known[] = {{"3 us", 3e-6},       {"3 kB", 3e3},
                 {"3 GB", 3e9},        {"3 KiB", 3072.0},
                 {"3 MiB", 3145728.0}, {"3 GiB", 3221225472.0},
                 {"-2.50 %", -0.025},  {"7", 7.0}};
    static const int decimals[] = {0, 0, 0, 0, 0, 0, 2, 0};

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct err e = {.text = ""};
        struct cfg *c = cfg_parse("q", known[i].text, strlen(known[i].text), &e);
        struct paper_quantity q;

        assert_non_null(c);
        assert_int_equal(paper_read_quantity(cfg_root(c), "q", &q, &e), 0);
        assert_true(fabs(q.value - known[i].value) <= 1e-15 * fabs(known[i].value));
        assert_int_equal(q.decimals, decimals[i]);
        cfg_free(c);
    }
}

#define CONSTANT(rest)                                                                   \
    HEAD "constants: [{name: c, value: 5 us, provenance: fitted, source: s, " rest       \
         "}]\nrows: []\n"

static void tables_are_refused(void **state)
{
    static const struct {
        const char *words, *text;
    } bad[] = {
        {"'rows' is no list", HEAD "rows: {a: 1}\n"},
        {"'constants' is no list", HEAD "constants: 1\nrows: []\n"},
        {"'replays' is no list", HEAD "replays: 1\nrows: []\n"},
        {"'set' is no list", HEAD "replays: [{name: r, set: 1}]\nrows: []\n"},
        {"'sets' is no list", CONSTANT("sets: a, start: 1, min: 1, max: 2")},
        {"was fitted; expected 0 < min <= start <= max",
         CONSTANT("sets: [a], start: 1, min: 0, max: 2")},
        {"was fitted; expected 0 < min <= start <= max",
         CONSTANT("sets: [a], start: 3, min: 1, max: 2")},
        {"name", HEAD "replays: [{set: []}]\nrows: []\n"},
        {"value", HEAD "constants: [{name: c}]\nrows: []\n"},
        {"title", "name: t\nsource: s\nrows: []\n"},
        {"what", HEAD "rows: [{published: 1 B}]\n"},
        {"row 'w': expected over or less, not both",
         HEAD BASE REPLAYS "rows:\n" ROW(", over: q/a, less: q/a")},
        {"'less' is 'a'; expected REPLAY/POLICY",
         HEAD BASE REPLAYS "rows:\n" ROW(", less: a")},
        {"'run' is 'r'; expected REPLAY/POLICY",
         HEAD BASE REPLAYS "rows: [{what: w, published: 1 ms, figure: pass-latency, run: "
                           "r}]\n"},
        {"row 'w': pass-latency does not have the unit 'B'",
         HEAD BASE REPLAYS "rows: [{what: w, published: 1 B, figure: pass-latency, run: "
                           "r/a}]\n"},
        {"row 'w': pass-latency over another does not have the unit 'ms'",
         HEAD BASE REPLAYS "rows:\n" ROW(", over: q/a")},
        {"expected a published figure above 0 and a tolerance of at least 0",
         HEAD "rows: [{what: w, published: 1 B, tolerance: -1 %, " BYTES_2304 "}]\n"},
        {"'error' has the unit B; expected a share such as 10 %",
         HEAD "rows: [{what: w, published: 1 B, miss: {error: 1 B, why: w}, " BYTES_2304
              "}]\n"},
        {"2 of 3 rows that are replays are used for the fit; at most half may be",
         HEAD BASE FITTED REPLAYS "rows:\n" ROW(", fit: yes") ROW(", fit: yes") ROW("")},
        {"1 constants are fitted on 1 rows; expected more rows than constants",
         HEAD BASE FITTED REPLAYS "rows:\n" ROW(", fit: yes") ROW("")},
        {"'published' is no single value; expected a number with a unit: s, ms, us, GB, "
         "MB, kB, B, GiB, MiB, KiB, % or none",
         HEAD "rows: [{what: w, published: [1], " BYTES_2304 "}]\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct paper p;
        struct err e = {.text = ""};

        if (load(bad[i].text, &p, &e) != -1 || strstr(e.text, bad[i].words) == NULL)
            fail_msg("case %zu, expected '%s': %s", i, bad[i].words, e.text);
        assert_null(p.document);
    }
}

/* A figure that nobody published has two digits as a share and one with a unit, which is
 * ms or MB; half of the rows may be those of a fit. */
static void rows_are_read(void **state)
{
    static const char text[] = HEAD BASE FITTED REPLAYS "rows:\n" ROW(", fit: yes")
        ROW(", fit: yes") ROW(", less: q/a")
            ROW(", is: at-most, tolerance: 2 %") "  - {what: s, figure: pass-latency, "
                                                 "run: r/a}\n"
                                                 "  - {what: s, figure: expert-memory, "
                                                 "run: r/a}\n"
                                                 "  - {what: s, figure: pass-latency, "
                                                 "run: r/a, over: q/b}\n";
    static const struct {
        const char *unit;
        int decimals;
        enum paper_join join;
    } known[] = {{"ms", 0, PAPER_ALONE}, {"ms", 0, PAPER_ALONE}, {"ms", 0, PAPER_LESS},
                 {"ms", 0, PAPER_ALONE}, {"ms", 1, PAPER_ALONE}, {"MB", 1, PAPER_ALONE},
                 {"", 2, PAPER_OVER}};
    static const double scale[] = {1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 1e6, 1.0};
    struct paper p;

    (void)state;
    load_well(text, &p);
    assert_int_equal(p.rows, 7);
    for (size_t i = 0; i < p.rows; i++) {
        const struct paper_row *row = &p.row[i];

        assert_string_equal(row->published.unit->name, known[i].unit);
        assert_true(row->published.unit->scale == scale[i]);
        assert_int_equal(row->published.decimals, known[i].decimals);
        assert_int_equal(row->join, known[i].join);
        assert_int_equal(row->fit, i < 2);
        assert_int_equal(row->run.replay, 0);
        assert_string_equal(row->run.policy, "a");
        assert_true(row->tolerance == (i < 3 ? 0.1 : i == 3 ? 0.02 : 0.0));
        assert_int_equal(row->relation, i == 3 ? PAPER_AT_MOST : PAPER_ABOUT);
    }
    assert_int_equal(p.row[6].other.replay, 1);
    assert_string_equal(p.row[6].other.policy, "b");
    assert_string_equal(p.notes, "");
    assert_string_equal(p.title, "t");
    assert_int_equal(p.constants, 1);
    assert_true(p.constant[0].value == 5.0 && p.constant[0].start == 3.0 &&
                p.constant[0].min == 1.0 && p.constant[0].max == 100.0);
    assert_string_equal(p.constant[0].unit, "us");
    assert_int_equal(p.constant[0].provenance, PAPER_FITTED);
    paper_release(&p);
}

/* ---- replays ---- */

#define SMALL(base, rest)                                                                \
    HEAD "base:\n  machine: h200\n  model: " base                                        \
         "  config: {workload: {prefill: skip}, policies: [{name: a, cache: {slots: "    \
         "4}}, {name: b, cache: {slots: 4}}]}\n" rest

static const char small_table[] = SMALL(
    "llama-4-maverick\n  trace: {requests: 2, prompt_tokens: 0, output_tokens: 3, "
    "output_spread: 0}\n  set: [model.layers=4, model.experts=8]\n",
    "constants:\n"
    "  - {name: n, value: 3, sets: [trace.requests], provenance: estimate, source: s}\n"
    "  - {name: w, value: 3.5 us, sets: [machine.host.launch_eager], provenance: "
    "estimate, source: s}\n"
    "replays: [{name: r}, {name: q, set: [config.seed=9]}, {name: t, set: "
    "[trace.seed=5]}, {name: g, set: [machine.gpus=2, \"config.parallel={gpus: 2, "
    "attention: tensor, tensor: 2}\"]}]\nrows: []\n");

static void replays_are_put_together(void **state)
{
    struct paper p;
    struct err e = {.text = ""};
    struct paper_lab *lab = paper_lab_new(&folders, 1, &e);
    struct paper_run run[4];
    const double other[] = {2.0, 7.5};
    double value;

    (void)state;
    assert_non_null(lab);
    load_well(small_table, &p);
    for (size_t i = 0; i < 4; i++) {
        const struct result *r = &run[i].result;

        if (paper_run(lab, &p, i, i == 2 ? other : NULL, &run[i], &e) != 0)
            fail_msg("%s", e.text);
        /* The constant holds against the base; every second of four layers has experts.
         */
        assert_int_equal(r->policy[0].run.requests, i == 2 ? 2 : 3);
        assert_int_equal(r->layers, 2);
        assert_int_equal(r->moe_layer[0], 1);
        assert_int_equal(r->moe_layer[1], 3);
        assert_int_equal(r->experts, 8);
        assert_int_equal(r->top_k, 1);
        assert_int_equal(r->policies, 2);
        assert_string_equal(r->machine, "h200");
        assert_false(r->policy[0].bounds.present);
    }
    assert_int_equal(run[1].result.seed, 9);
    /* Both layers of every pass, of each policy; the two are the same. */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(run[0].span[i].count, 2 * run[0].result.policy[i].run.passes);
        assert_true(run[0].span[i].total > 0);
        assert_true(run[0].span[i].total < run[0].result.policy[i].run.total.latency);
    }
    assert_true(run[0].span[0].total == run[0].span[1].total);
    /* The same parameters share a trace, others do not. */
    assert_string_equal(run[0].result.trace_path, run[1].result.trace_path);
    assert_string_not_equal(run[0].result.trace_path, run[2].result.trace_path);
    assert_non_null(strstr(run[0].result.trace_path, "/moesim-check-"));
    assert_non_null(strstr(run[0].result.trace_path, "/trace-0.h5"));
    assert_non_null(strstr(run[2].result.trace_path, "/trace-1.h5"));
    /* Where GPUs share attention, what gathers rows cannot be told from experts. */
    assert_int_equal(run[3].span[0].count, 0);
    assert_int_equal(run[3].span[1].count, 0);
    assert_int_equal(
        paper_figure_get(paper_figure_find("layer-latency"), &run[3], "a", &value, &e),
        -1);
    assert_string_equal(e.text, "policy 'a' has no layer-latency");
    for (int i = 0; i < 4; i++) {
        paper_run_release(&run[i]);
        assert_null(run[i].span);
    }
    assert_ptr_equal(paper_lab_folders(lab), &folders);
    paper_lab_free(lab);
    paper_lab_free(NULL);
    paper_release(&p);
}

static void broken(const char *text, size_t row, const char *words)
{
    struct paper p;
    struct err e = {.text = ""};
    struct paper_lab *lab = paper_lab_new(&folders, 1, &e);

    assert_non_null(lab);
    load_well(text, &p);
    assert_int_equal(paper_predict(&p, lab), 0);
    assert_int_equal(p.row[row].verdict, PAPER_BROKEN);
    if (strstr(p.row[row].broken.text, words) == NULL)
        fail_msg("expected '%s': %s", words, p.row[row].broken.text);
    paper_release(&p);
    paper_lab_free(lab);
}

#define CONSTANTS(sets)                                                                  \
    "constants: [{name: c, value: 5 us, sets: [" sets                                    \
    "], provenance: estimate, source: s}]\n"

static void replays_say_what_breaks_them(void **state)
{
    (void)state;
    broken(HEAD REPLAYS "rows:\n" ROW(""), 0,
           "replay 'r': table t has replays, but no base");
    broken(HEAD "base: {machine: h200}\n" REPLAYS "rows:\n" ROW(""), 0, "replay 'r': ");
    broken(
        HEAD BASE "replays: [{name: r, set: [[]]}]\nrows:\n" ROW(""), 0,
        "expected KEY=VALUE whose key begins with machine., model., trace. or config.");
    broken(
        HEAD BASE "replays: [{name: r, set: [machines.gpus=1]}]\nrows:\n" ROW(""), 0,
        "expected KEY=VALUE whose key begins with machine., model., trace. or config.");
    broken(HEAD BASE CONSTANTS("gpus") REPLAYS "rows:\n" ROW(""), 0,
           "expected a key that begins with machine., model., trace. or config.");
    broken(HEAD BASE CONSTANTS("config.policies.7") REPLAYS "rows:\n" ROW(""), 0,
           "replay 'r': ");
    broken(HEAD BASE "replays: [{name: r, set: [trace.nonsense=1]}]\nrows:\n" ROW(""), 0,
           "replay 'r': ");
    broken(HEAD BASE "replays: [{name: r, set: [model.layers=0]}]\nrows:\n" ROW(""), 0,
           "replay 'r': ");
    broken(HEAD "base: {machine: nowhere, model: mixtral-8x7b, config: {}}\n" REPLAYS
                "rows:\n" ROW(""),
           0, "nowhere");
    /* A row is as broken as the other side of it. */
    broken(SMALL("mixtral-8x7b\n  trace: {requests: 1, prompt_tokens: 0, output_tokens: "
                 "2, output_spread: 0}\n  set: [model.layers=1]\n",
                 "replays: [{name: r}, {name: q, set: [trace.nonsense=1]}]\n"
                 "rows:\n" ROW(", less: q/a")),
           0, "replay 'q': ");
}

static void folders_for_traces(void **state)
{
    char *was = getenv("TMPDIR") == NULL ? NULL : mem_strdup(getenv("TMPDIR"));
    struct err e = {.text = ""};

    (void)state;
    assert_int_equal(setenv("TMPDIR", "/nowhere", 1), 0);
    assert_null(paper_lab_new(&folders, 1, &e));
    assert_int_equal(strncmp(e.text, "/nowhere/moesim-check-", 22), 0);
    assert_string_equal(e.text + 28,
                        ": no folder can be made there for traces; set TMPDIR");
    if (was != NULL)
        assert_int_equal(setenv("TMPDIR", was, 1), 0);
    else
        assert_int_equal(unsetenv("TMPDIR"), 0);
    free(was);
}

/* ---- fitting again ---- */

static void fits_are_refused(void **state)
{
    struct paper_constant constant[FIT_MAX_PARAMETERS + 1] = {{.name = "c"}};
    struct paper p = {.name = "t", .constant = constant, .constants = 1};
    struct paper_refit r;
    struct err none = {.text = ""}, many = {.text = ""}, most = {.text = ""};

    (void)state;
    constant[0].provenance = PAPER_ESTIMATE;
    assert_int_equal(paper_refit(&p, NULL, &r, &none), -1);
    assert_string_equal(none.text, "no constant of table t was fitted");
    for (size_t i = 0; i <= FIT_MAX_PARAMETERS; i++)
        constant[i] = (struct paper_constant){
            .provenance = PAPER_FITTED, .start = 1.0, .min = 1.0, .max = 1.0};
    p.constants = FIT_MAX_PARAMETERS + 1;
    assert_int_equal(paper_refit(&p, NULL, &r, &many), -1);
    assert_string_equal(many.text, "table t has 17 fitted constants; at most 16 can be");
    p.constants--;
    assert_int_equal(paper_refit(&p, NULL, &r, &most), -1);
    assert_string_equal(most.text,
                        "0 points do not determine 16 parameters; measure more "
                        "or fit fewer");
    r = (struct paper_refit){.constants = 3};
    paper_refit_release(&r);
    assert_int_equal(r.constants, 0);
}

/* A constant may begin at its bounds. Stopped, nothing is predicted, and nothing fitted:
 * comes last, as the program stays asked to stop. */
static void signals_stop_all(void **state)
{
    static const char text[] =
        SMALL("olmoe-1b-7b\n  trace: {requests: 1, prompt_tokens: 0, output_tokens: 2, "
              "output_spread: 0}\n  set: [model.layers=1]\n",
              "constants:\n  - {name: c, value: 5 us, sets: [machine.gpu.kernel_floor], "
              "provenance: fitted, source: s, start: 3, min: 3, max: 3}\n"
              "replays: [{name: r}, {name: q}]\n"
              "rows:\n" ROW(", fit: yes") ROW(", fit: yes") ROW("") ROW(""));
    struct paper p;
    struct paper_refit r;
    struct err e = {.text = ""};
    struct paper_lab *lab = paper_lab_new(&folders, 1, &e);

    (void)state;
    assert_non_null(lab);
    load_well(text, &p);
    file_catch_signals();
    assert_int_equal(raise(SIGINT), 0);
    assert_int_equal(paper_predict(&p, lab), 1);
    for (size_t i = 0; i < p.rows; i++)
        assert_int_equal(p.row[i].verdict, PAPER_OPEN);
    assert_int_equal(paper_count(&p).failed, 4);
    assert_int_equal(paper_refit(&p, lab, &r, &e), -1);
    assert_string_equal(e.text, "stopped by a signal");
    paper_release(&p);
    paper_lab_free(lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffers_have_their_share),
        cmocka_unit_test(cycles_at_their_ends),
        cmocka_unit_test(formulas_say_what_lacks),
        cmocka_unit_test(every_unit_is_read),
        cmocka_unit_test(tables_are_refused),
        cmocka_unit_test(rows_are_read),
        cmocka_unit_test(replays_are_put_together),
        cmocka_unit_test(replays_say_what_breaks_them),
        cmocka_unit_test(folders_for_traces),
        cmocka_unit_test(fits_are_refused),
        cmocka_unit_test(signals_stop_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Published tables: what is read, refused and judged; closed forms; a table made by the
 * simulator itself, whose constants the fit finds again. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "paper_help.h"

#include "models/catalogue.h"
#include "validate/paper_formula.h"
#include "validate/check_print.h"
#include "validate/paper_check.h"
#include "validate/paper_print.h"
#include "validate/paper_replay.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- quantities ---- */

static void quantities_have_units(void **state)
{
    static const struct {
        const char *text;
        double value;
        enum paper_dimension dimension;
        int decimals;
    } known[] = {
        {"28.9 ms", 0.0289, PAPER_TIME, 1},
        {"1.3975 s", 1.3975, PAPER_TIME, 4},
        {"32.2 %", 0.322, PAPER_RATIO, 1},
        {"6.21", 6.21, PAPER_RATIO, 2},
        {"2.25GiB", 2415919104.0, PAPER_BYTES, 2},
        {"16.8 MB", 16.8e6, PAPER_BYTES, 1},
        {"552961536 B", 552961536.0, PAPER_BYTES, 0},
    };
    static const char *const bad[] = {"[]",    "ms",     "1.2 parsecs", "1.2.3 s",
                                      "--1 s", "1 ms s", "\"\"",        "nan"};
    struct err e = {.text = ""};

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct cfg *c = cfg_parse("q", known[i].text, strlen(known[i].text), &e);
        struct paper_quantity q;

        assert_non_null(c);
        assert_int_equal(paper_read_quantity(cfg_root(c), "q", &q, &e), 0);
        assert_true(fabs(q.value - known[i].value) <= 1e-15 * known[i].value);
        assert_int_equal(q.unit->dimension, known[i].dimension);
        assert_int_equal(q.decimals, known[i].decimals);
        cfg_free(c);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct cfg *c = cfg_parse("q", bad[i], strlen(bad[i]), &e);
        struct paper_quantity q;
        struct err said = {.text = ""};

        assert_non_null(c);
        assert_int_equal(paper_read_quantity(cfg_root(c), "q", &q, &said), -1);
        assert_non_null(strstr(said.text, "expected a number with a unit"));
        cfg_free(c);
    }
}

/* ---- closed forms ---- */

static double formula(const char *text)
{
    struct err e = {.text = ""};
    struct cfg *c = cfg_parse("formula", text, strlen(text), &e);
    double value = NAN;

    if (c == NULL || paper_formula(cfg_root(c), &folders, &value, &e) != 0)
        fail_msg("%s: %s", text, e.text);
    cfg_free(c);
    return value;
}

static void closed_forms(void **state)
{
    (void)state;
    /* E cf / k, where C needs no rounding up; ceil(0.05 * 30) = 2 where it does. */
    assert_true(formula("{name: waste, policy: static-gating-lm, experts: 512, top_k: 2, "
                        "tokens: 40}") == 12.8);
    assert_true(formula("{name: waste, policy: static-gating-lm, experts: 60, top_k: 2, "
                        "tokens: 30}") == 2.0);
    /* 3 matrices of 4096 x 14336 in 16 bits. */
    assert_true(formula("{name: expert-bytes, model: mixtral-8x7b}") == 352321536.0);
    assert_true(formula("{name: expert-bytes, model: mixtral-8x7b, set: [expert_bits=8, "
                        "hidden=1]}") == 43008.0);
    /* 12 of 16 experts leave 6 of 12 layers: 4 * 2048 * 8192 * 12 * 6. */
    assert_true(
        formula("{name: buffer-saved, model: nllb-moe-54b, set: [expert_bits=16], "
                "gpus: 8, slots: 4, layers: 6}") == 4.0 * 2048 * 8192 * 72);
    /* LIFO (g - s + 1) / g, MIN (g - s) / (g - 1). */
    assert_true(formula("{name: cycle-miss-rate, policy: {preset: expert-buffering, "
                        "cache: {slots: 5}}, experts: 23}") == 19.0 / 23.0);
    assert_true(fabs(formula("{name: cycle-miss-rate, policy: {cache: {name: belady, "
                             "slots: 5, protect: prefer}}, experts: 23}") -
                     18.0 / 22.0) < 1e-12);
    /* 2 (G - 1) S h B + 4 (G - 1) E. */
    assert_true(formula("{name: shard-bytes, gpus: 3, experts: 11, tokens: 7, hidden: "
                        "96, bits: 16}") == 2.0 * 2 * 7 * 96 * 2 + 4.0 * 2 * 11);
}

static void formulas_refuse(void **state)
{
    static const char *const bad[] = {
        "{name: nonsense}",
        "[]",
        "{experts: 4}",
        "{name: waste, policy: lru-on-demand, experts: 4, top_k: 2, tokens: 10}",
        "{name: waste, experts: 4, top_k: 2, tokens: 10}",
        "{name: expert-bytes, model: nowhere}",
        "{name: expert-bytes, model: mixtral-8x7b, set: [expert_bits]}",
        "{name: expert-bytes, model: mixtral-8x7b, set: [[]]}",
        "{name: buffer-saved, model: nllb-moe-54b, gpus: 8, slots: 17, layers: 6}",
        "{name: buffer-saved, model: nllb-moe-54b, gpus: 7, slots: 1, layers: 6}",
        "{name: buffer-share, model: nllb-moe-54b, gpus: 8, slots: 1, layers: 13}",
        "{name: cycle-miss-rate, policy: static-pin, experts: 4}",
        "{name: cycle-miss-rate, policy: {cache: lru}, experts: 4}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = {.text = ""};
        struct cfg *c = cfg_parse("formula", bad[i], strlen(bad[i]), &e);
        double value;

        assert_non_null(c);
        assert_int_equal(paper_formula(cfg_root(c), &folders, &value, &e), -1);
        assert_true(strlen(e.text) > 20);
        cfg_free(c);
    }
}

/* ---- judging ---- */

/* The verdict on one row whose prediction is 2304. */
static enum paper_verdict verdict(const char *keys)
{
    char *text = mem_format("{name: t, title: t, source: s, rows: [{what: w, %s, %s}]}",
                            keys, BYTES_2304);
    struct paper p;
    struct err e = {.text = ""};
    struct paper_lab *lab = paper_lab_new(&folders, 1, &e);
    enum paper_verdict v;

    assert_non_null(lab);
    load_well(text, &p);
    assert_int_equal(paper_predict(&p, lab), 0);
    v = p.row[0].verdict;
    if (v != PAPER_BROKEN) {
        assert_true(p.row[0].predicted == 2304.0);
        assert_true(fabs(p.row[0].error - (2304.0 / p.row[0].published.value - 1.0)) <
                    1e-15);
    }
    assert_int_equal(paper_count(&p).failed, paper_verdict_fails(v));
    paper_release(&p);
    paper_lab_free(lab);
    free(text);
    return v;
}

static void rows_are_judged(void **state)
{
    static const struct {
        const char *keys;
        enum paper_verdict verdict;
        bool fails;
    } known[] = {
        {"published: 2304 B, tolerance: 0 %", PAPER_OK, false},
        {"published: 2.304 kB, tolerance: 0 %", PAPER_OK, false},
        {"published: 2305 B, tolerance: 0 %", PAPER_UNEXPLAINED, true},
        {"published: 2500 B, tolerance: 10 %", PAPER_OK, false}, /* -7.84 % */
        {"published: 2500 B, tolerance: 7 %", PAPER_UNEXPLAINED, true},
        {"published: 2500 B, tolerance: 7 %, miss: {error: -8 %, why: because}",
         PAPER_EXPLAINED, false},
        {"published: 2500 B, tolerance: 7 %, miss: {error: -12 %, why: because}",
         PAPER_EXPLAINED, false},
        {"published: 2500 B, tolerance: 7 %, miss: {error: -13 %, why: because}",
         PAPER_STALE, true},
        {"published: 2260 B, tolerance: 1 %, miss: {error: -1 %, why: because}",
         PAPER_STALE, true}, /* +1.95 %, so the other sign */
        {"published: 2500 B, tolerance: 8 %, miss: {error: -8 %, why: because}",
         PAPER_NEEDLESS, true},
        {"published: 2000 B, tolerance: 0 %, is: at-least", PAPER_OK, false},
        {"published: 2000 B, tolerance: 5 %, is: at-most", PAPER_UNEXPLAINED, true},
        {"published: 2400 B, tolerance: 0 %, is: at-most", PAPER_OK, false},
        {"published: 2400 B, tolerance: 3 %, is: at-least", PAPER_UNEXPLAINED, true},
        {"published: 2400 B, tolerance: 5 %, is: at-least", PAPER_OK, false},
        /* A bound that is just reached: errors of 12.5 % and -25 %. */
        {"published: 2048 B, tolerance: 12.5 %", PAPER_OK, false},
        {"published: 2048 B, tolerance: 12.5 %, is: at-most", PAPER_OK, false},
        {"published: 3072 B, tolerance: 25 %, is: at-least", PAPER_OK, false},
        {"published: 3072 B, tolerance: 25 %, is: at-most", PAPER_OK, false},
        {"published: 2048 B, tolerance: 10 %, is: at-least", PAPER_OK, false},
        /* An error of 0 is no miss above it, but may be one below. */
        {"published: 2200 B, tolerance: 1 %, miss: {error: 0 %, why: because}",
         PAPER_STALE, true},
        {"published: 2400 B, tolerance: 1 %, miss: {error: 0 %, why: because}",
         PAPER_EXPLAINED, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        enum paper_verdict v = verdict(known[i].keys);

        if (v != known[i].verdict || paper_verdict_fails(v) != known[i].fails)
            fail_msg("%s: %s", known[i].keys, paper_verdict_name(v));
    }
}

/* ---- what is refused ---- */

/* A figure that nobody published is shown, and neither passes nor fails. */
static void rows_may_be_unpublished(void **state)
{
    static const char table[] =
        HEAD BASE "replays:\n  - {name: r}\nrows:\n"
                  "  - {what: w, figure: pass-latency, run: r/a%s}\n";
    static const char *const refused[] = {", fit: yes", ", tolerance: 5 %",
                                          ", is: at-most",
                                          ", miss: {error: 1 %, why: w}"};
    struct paper p;
    struct err e = {.text = ""};
    char *text = mem_format(table, "");

    (void)state;
    load_well(text, &p);
    assert_true(p.row[0].published.value == 0.0);
    assert_int_equal(p.row[0].published.unit->dimension, PAPER_TIME);
    p.row[0].verdict = PAPER_SHOWN;
    assert_false(paper_verdict_fails(PAPER_SHOWN));
    assert_int_equal(paper_count(&p).shown, 1);
    assert_int_equal(paper_count(&p).held_out, 0);
    paper_release(&p);
    free(text);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        text = mem_format(table, refused[i]);
        assert_int_equal(load(text, &p, &e), -1);
        assert_non_null(strstr(e.text, "row 'w' has no published figure"));
        paper_release(&p);
        free(text);
    }
}

/* The factors of both tables stand beside a baseline that takes them apart. */
static void tables_have_their_baselines(void **state)
{
    static const char *const runs[][2] = {{"replication", "active-serial"},
                                          {"replication", "grouped"},
                                          {"moeshard", "linear"},
                                          {"moeshard", "greedy"}};
    struct err e = {.text = ""};

    (void)state;
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        struct paper p;
        size_t shown = 0;

        if (paper_load(runs[i][0], "validate/papers", &p, &e) != 0)
            fail_msg("%s", e.text);
        for (size_t k = 0; k < p.rows; k++)
            shown += p.row[k].published.value == 0.0 && p.row[k].run.policy != NULL &&
                     strcmp(p.row[k].run.policy, runs[i][1]) == 0;
        assert_true(shown > 0);
        paper_release(&p);
    }
}
static void tables_are_refused(void **state)
{
    static const struct {
        const char *words, *text;
    } bad[] = {
        {"rows", HEAD},
        {"unknown key", HEAD "rows: []\nnonsense: 1\n"},
        {"no list", HEAD "rows: 1\n"},
        {"no tolerance", "name: t\ntitle: t\nsource: s\nrows:\n" ROW("")},
        {"either formula, or figure", HEAD "rows: [{what: w, published: 1 s}]\n"},
        {"either formula, or figure",
         HEAD BASE REPLAYS "rows:\n" ROW(", formula: {name: waste}")},
        {"no figure 'x'", HEAD "rows: [{what: w, published: 1, figure: x, run: r/a}]\n"},
        {"expected REPLAY/POLICY", HEAD BASE "rows:\n" ROW("")},
        {"expected REPLAY/POLICY", HEAD BASE REPLAYS "rows:\n" ROW(", over: rr/a")},
        {"does not have the unit", HEAD BASE REPLAYS "rows:\n" ROW(", over: q/a")},
        {"two replays are called",
         HEAD BASE "replays: [{name: r}, {name: r}]\nrows:\n" ROW("")},
        {"two replays are called 's'",
         HEAD BASE "replays: [{name: r}, {name: s}, {name: s}]\nrows:\n" ROW("")},
        {"above 0", HEAD "rows: [{what: w, published: 0 B, " BYTES_2304 "}]\n"},
        {"none can be fitted on it",
         HEAD "rows: [{what: w, published: 1 B, fit: yes, " BYTES_2304 "}]\n"},
        {"at most half",
         HEAD BASE FITTED REPLAYS "rows:\n" ROW(", fit: yes") ROW(", fit: yes") ROW("")},
        /* Rows with a formula do not make up for it. */
        {"at most half",
         HEAD BASE FITTED REPLAYS "rows:\n" ROW(", fit: yes") ROW(", fit: yes")
             ROW("") "  - {what: w, published: 1 B, " BYTES_2304 "}\n"},
        {"more rows than constants",
         HEAD BASE FITTED REPLAYS "rows:\n" ROW(", fit: yes") ROW("")},
        {"more rows than constants", HEAD BASE FITTED REPLAYS "rows:\n" ROW("")},
        {"none without a fitted constant",
         HEAD BASE REPLAYS "rows:\n" ROW(", fit: yes") ROW("")},
        {"expected 0 < min",
         HEAD "constants: [{name: c, value: 5 us, sets: [machine.x], provenance: "
              "fitted, source: s, start: 3, min: 4, max: 5}]\nrows: []\n"},
        {"sets nothing", HEAD "constants: [{name: c, value: 5 us, sets: [], provenance: "
                              "estimate, source: s}]\nrows: []\n"},
        {"expected a number", HEAD "constants: [{name: c, value: many, sets: [a], "
                                   "provenance: estimate, source: s}]\nrows: []\n"},
        {"unit ms; expected a share",
         HEAD "rows: [{what: w, published: 1 B, tolerance: 1 ms, " BYTES_2304 "}]\n"},
        {"why",
         HEAD "rows: [{what: w, published: 1 B, miss: {error: 1 %}, " BYTES_2304 "}]\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct paper p;
        struct err e = {.text = ""};

        if (load(bad[i].text, &p, &e) == 0 || strstr(e.text, bad[i].words) == NULL)
            fail_msg("case %zu, expected '%s': %s", i, bad[i].words, e.text);
    }
}

/* What only shows when a replay is put together breaks the row, and it alone. */
static void broken_rows_say_why(void **state)
{
    static const struct {
        const char *words, *keys;
    } bad[] = {
        {"begins with machine.", "replays: [{name: r, set: [x.y=1]}]\n"},
        {"unknown key", "replays: [{name: r, set: [machine.nonsense=1]}]\n"},
        {"no policy is called 'a'",
         "replays: [{name: r, set: [config.policies.0.name=b, trace.requests=1, "
         "trace.output_tokens=4]}]\n"},
        {"no item of the list", "replays: [{name: r, set: [config.policies.7=x]}]\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *text = mem_format(HEAD BASE "%srows:\n  - {what: good, published: 2304 B, "
                                          "%s}\n%s",
                                bad[i].keys, BYTES_2304, ROW(""));
        struct paper p;
        struct err e = {.text = ""};
        struct paper_lab *lab = paper_lab_new(&folders, 1, &e);

        assert_non_null(lab);
        load_well(text, &p);
        assert_int_equal(paper_predict(&p, lab), 0);
        assert_int_equal(p.row[0].verdict, PAPER_OK);
        assert_int_equal(p.row[1].verdict, PAPER_BROKEN);
        if (strstr(p.row[1].broken.text, bad[i].words) == NULL)
            fail_msg("expected '%s': %s", bad[i].words, p.row[1].broken.text);
        paper_release(&p);
        paper_lab_free(lab);
        free(text);
    }
}

/* The tables that are shipped can be read; `moesim check --papers` predicts them. */
static void shipped_tables_are_sound(void **state)
{
    struct err e = {.text = ""};
    size_t count;
    char **name = catalogue_names("validate/papers", &count, &e);

    (void)state;
    assert_non_null(name);
    assert_true(count >= 2);
    for (size_t i = 0; i < count; i++) {
        struct paper p;

        if (paper_load(name[i], "validate/papers", &p, &e) != 0)
            fail_msg("%s", e.text);
        assert_string_equal(p.name, name[i]);
        assert_true(p.rows > 0);
        paper_release(&p);
    }
    catalogue_free(name, count);
}

/* ---- a table made by the simulator ---- */

/* The machine is the truth where `truth`, else one with two other constants. A pass of a
 * small model: kernels and weights. */
static char *made_table(const double *published, bool truth)
{
    char *rows = mem_strdup("");
    char *text;

    for (int i = 0; i < 8; i++) {
        char *longer = mem_format("%s  - {what: row %d, published: %.9f us, figure: %s, "
                                  "run: r%d/all, fit: %s}\n",
                                  rows, i, published == NULL ? 1.0 : published[i] * 1e6,
                                  i % 2 == 0 ? "pass-latency" : "layer-latency", i / 2,
                                  i < 4 ? "yes" : "no");

        free(rows);
        rows = longer;
    }
    text = mem_format(
        "name: made\ntitle: t\nsource: s\ntolerance: 0.1 %%\nbase:\n"
        "  machine: h200\n  model: olmoe-1b-7b\n"
        "  trace: {requests: 4, prompt_tokens: 0, output_tokens: 3, output_spread: 0}\n"
        "  config: {workload: {prefill: skip}, policies: [{name: all, "
        "cache: {slots: 64, preload: linear}}]}\n"
        "  set: [model.layers=3]\n"
        "constants:\n"
        "  - {name: floor, value: %s us, sets: [machine.gpu.kernel_floor], provenance: "
        "fitted, source: s, start: 30, min: 0.1, max: 100}\n"
        "  - {name: memory, value: %s, sets: [machine.gpu.memory_efficiency], "
        "provenance: fitted, source: s, start: 0.3, min: 0.01, max: 1}\n"
        "replays:\n"
        "  - {name: r0, set: [config.workload.batch=1]}\n"
        "  - {name: r1, set: [config.workload.batch=4, model.expert_ffn=4096]}\n"
        "  - {name: r2, set: [config.workload.batch=2]}\n"
        "  - {name: r3, set: [config.workload.batch=4, model.expert_ffn=2048]}\n"
        "rows:\n%s",
        truth ? "7.39" : "9.1", truth ? "0.617" : "0.9", rows);
    free(rows);
    return text;
}

static void constants_are_found_again(void **state)
{
    double published[8];
    struct paper p;
    struct paper_refit r;
    struct err e = {.text = ""};
    struct paper_lab *lab = paper_lab_new(&folders, 1, &e);
    char *text = made_table(NULL, true);

    (void)state;
    assert_non_null(lab);
    load_well(text, &p);
    free(text);
    assert_int_equal(paper_predict(&p, lab), 0);
    for (int i = 0; i < 8; i++) {
        if (p.row[i].verdict == PAPER_BROKEN)
            fail_msg("%s", p.row[i].broken.text);
        published[i] = p.row[i].predicted;
    }
    /* One layer's part of a pass of three takes less than a third of it. */
    assert_true(3.0 * published[1] < published[0]);
    assert_true(published[0] < published[2]); /* more experts, and larger ones */
    paper_release(&p);

    /* Published as predicted: every row is right, and the fit finds the truth. */
    text = made_table(published, true);
    load_well(text, &p);
    free(text);
    assert_int_equal(paper_predict(&p, lab), 0);
    assert_int_equal(paper_count(&p).ok, 8);
    assert_int_equal(paper_count(&p).held_out, 4);
    assert_true(paper_count(&p).mean_held_out < 1e-6);
    if (paper_refit(&p, lab, &r, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(r.constants, 2);
    assert_int_equal(r.rows, 4);
    assert_true(fabs(r.value[0] - 7.39) < 1e-3 && fabs(r.value[1] - 0.617) < 1e-4);
    assert_true(r.equal[0] && r.equal[1]);
    paper_refit_release(&r);
    paper_release(&p);

    /* Stated wrongly: rows miss, and the fit says that the constants are others. */
    text = made_table(published, false);
    load_well(text, &p);
    free(text);
    assert_int_equal(paper_predict(&p, lab), 0);
    assert_int_equal(paper_count(&p).failed, 8);
    assert_int_equal(paper_refit(&p, lab, &r, &e), 0);
    assert_true(fabs(r.value[0] - 7.39) < 1e-3 && fabs(r.value[1] - 0.617) < 1e-4);
    assert_true(!r.equal[0] && !r.equal[1]);
    paper_refit_release(&r);
    paper_release(&p);
    paper_lab_free(lab);
}

/* ---- reports ---- */

static void no_miss_is_hidden(void **state)
{
    static const char text[] =
        "{name: t, title: <a & b>, source: s, rows: ["
        "{what: \"good\", published: 2304 B, tolerance: 0 %, " BYTES_2304 "}, "
        "{what: \"missed\", published: 1000 B, tolerance: 1 %, miss: {error: 130 %, "
        "why: \"a < b\"}, " BYTES_2304 "}, "
        "{what: \"bad\", published: 3000 B, tolerance: 1 %, " BYTES_2304 "}, "
        "{what: \"none\", published: 1, tolerance: 1 %, formula: {name: x}}]}";
    static const char *const what[] = {"good", "missed", "bad", "none"};
    struct check c = {.cases = 0};
    struct paper p;
    struct err e = {.text = ""};
    struct paper_lab *lab = paper_lab_new(&folders, 1, &e);
    char *said = NULL;
    size_t size;
    FILE *out = open_memstream(&said, &size);

    (void)state;
    assert_non_null(lab);
    load_well(text, &p);
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(p.row[i].what, what[i]);
    assert_int_equal(paper_predict(&p, lab), 0);
    paper_print(&p, out);
    assert_int_equal(fflush(out), 0);
    assert_non_null(strstr(said, "MISS, unexplained"));
    assert_non_null(strstr(said, "+130.4 %"));
    assert_non_null(strstr(said, "-23.2 %"));
    assert_non_null(strstr(said, "a < b"));
    assert_non_null(strstr(said, "not predictable"));
    assert_non_null(
        strstr(said, "4 rows, 4 held out; 1 ok, 1 miss as explained, 2 fail"));
    (void)paper_check(&p, &c);
    check_print_junit(&c, out);
    assert_int_equal(fflush(out), 0);
    assert_non_null(
        strstr(said, "tests=\"4\" failures=\"1\" errors=\"1\" skipped=\"1\""));
    assert_non_null(strstr(said, "a &lt; b"));
    assert_int_equal(fclose(out), 0);
    free(said);
    check_release(&c);
    paper_release(&p);
    paper_lab_free(lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_may_be_unpublished),
        cmocka_unit_test(tables_have_their_baselines),
        cmocka_unit_test(quantities_have_units),
        cmocka_unit_test(closed_forms),
        cmocka_unit_test(formulas_refuse),
        cmocka_unit_test(rows_are_judged),
        cmocka_unit_test(tables_are_refused),
        cmocka_unit_test(broken_rows_say_why),
        cmocka_unit_test(shipped_tables_are_sound),
        cmocka_unit_test(constants_are_found_again),
        cmocka_unit_test(no_miss_is_hidden),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

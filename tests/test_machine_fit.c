/* Fitting a machine file: measurements made by a replay of a known machine give its
 * numbers back; and what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "models/machine.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "sim/result/result.h"
#include "trace_maker.h"
#include "validate/machine_fit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEPS 40

static const struct experiment_folders folders = {"models/arch", "models/machine",
                                                  "sim/policy/presets"};

static const char model_text[] =
    "name: tiny\nsource: by hand\nlayers: 4\nfirst_moe: 1\ndense_ffn: 512\nhidden: 256\n"
    "expert_ffn: 1024\nexperts: 12\ntop_k: 3\nheads: 4\n"
    "head_dim: 64\nvocab: 1000\ngate: softmax\n"
    "expert_bits: 16\ndense_bits: 16\nactivation_bits: 16\n";

struct lab {
    char *trace, *model, *csv, *machine;
};

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int lab_setup(void **state)
{
    static const struct trace_make make = {.layers = 3,
                                           .experts = 12,
                                           .top_k = 3,
                                           .requests = 1,
                                           .rows = STEPS + 4,
                                           .prefill_rows = 4,
                                           .seed = 31};
    struct lab *lab = mem_zalloc(1, sizeof *lab);

    lab->trace = trace_make_path("fit.h5");
    lab->model = trace_make_path("fit_model.yaml");
    lab->csv = trace_make_path("fit.csv");
    lab->machine = trace_make_path("fit_machine.yaml");
    trace_make(lab->trace, &make);
    write_text(lab->model, model_text);
    *state = lab;
    return 0;
}

static int lab_teardown(void **state)
{
    struct lab *lab = *state;
    char *const path[] = {lab->trace, lab->model, lab->csv, lab->machine};

    for (int i = 0; i < 4; i++) {
        (void)unlink(path[i]);
        free(path[i]);
    }
    free(lab);
    return 0;
}

/* A global LRU of 15 of the 36 experts, all copies before all compute. */
static struct cfg *config_of(const struct lab *lab)
{
    struct err e = {.text = ""};
    char *text = mem_format("trace: %s\nmodel: %s\nmachine: phone-flash\nhome: storage\n"
                            "launch: eager\npolicies:\n  - {cache: {name: lru, scope: "
                            "global, total_slots: 15}, schedule: serial}\n",
                            lab->trace, lab->model);
    struct cfg *c = cfg_parse("test", text, strlen(text), &e);

    free(text);
    if (c == NULL)
        fail_msg("%s", e.text);
    return c;
}

static const char *const names[] = {"gpu.memory_efficiency", "storage.bandwidth",
                                    "host.round_trip", "host.copy_call"};
static const double truth[] = {0.0413, 1.737, 31.3, 77.1};
#define NUMBERS 4

static const char *const matches[] = {"compute_us=dense+expert", "stall_us=copy",
                                      "mgmt_us=host"};

/* Replays on phone-flash with `truth` (and latencies), and writes what the passes took.
 */
static void measure(const struct lab *lab)
{
    static const char *const value[] = {
        "gpu.memory_efficiency.value=0.0413", "storage.bandwidth.value=1.737 GB/s",
        "host.round_trip.value=31.3 us", "host.copy_call.value=77.1 us"};
    struct err e = {.text = ""};
    struct cfg *file = cfg_load("models/machine/phone-flash.yaml", &e);
    struct cfg *config = config_of(lab);
    struct experiment_hooks hooks = {.progress = NULL};
    struct machine *machine;
    struct result r;
    struct run_pass pass[STEPS];
    FILE *f = fopen(lab->csv, "w");

    assert_non_null(file);
    assert_non_null(f);
    for (int i = 0; i < NUMBERS; i++)
        assert_int_equal(cfg_override(file, value[i], &e), 0);
    machine = machine_from_cfg(file, &e);
    assert_non_null(machine);
    hooks.machine = machine;
    if (experiment_run(config, &folders, 1, &hooks, &r, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(result_pass_count(&r, 0), STEPS + 1);
    assert_int_equal(result_read_passes(&r, 0, 1, STEPS, pass, &e), 0);
    (void)fprintf(f, "step,wall_us,compute_us,stall_us,mgmt_us\n");
    for (int k = 0; k < STEPS; k++) {
        const sim_time *s = pass[k].share;

        (void)fprintf(f, "%d,%.17g,%.17g,%.17g,%.17g\n", k + 1,
                      (double)pass[k].latency * 1e-6,
                      (double)(s[SHARE_DENSE] + s[SHARE_EXPERT]) * 1e-6,
                      (double)s[SHARE_COPY] * 1e-6, (double)s[SHARE_HOST] * 1e-6);
    }
    (void)fprintf(f, "# a comment\n\n");
    assert_int_equal(fclose(f), 0);
    result_release(&r);
    machine_free(machine);
    cfg_free(file);
    cfg_free(config);
}

static struct machine_fit_setup setup_of(struct cfg *config, const struct measured *m)
{
    return (struct machine_fit_setup){.config = config,
                                      .folders = &folders,
                                      .measured = m,
                                      .total = "wall_us",
                                      .match = matches,
                                      .matches = 3,
                                      .parameter = names,
                                      .parameters = NUMBERS,
                                      .first_pass = 1,
                                      .train = STEPS / 2,
                                      .weight = WEIGHT_DURATION};
}

static void check_written(const struct lab *lab, const struct machine_fit_setup *setup,
                          const struct machine_fit_result *r)
{
    static const char source[] = "a \"test\" \\ of mine";
    struct err e = {.text = ""};
    struct machine *m;
    struct cfg *c;
    const struct cfg_node *n;
    char *wanted;

    if (machine_fit_write(setup, r, source, lab->machine, &e) != 0)
        fail_msg("%s", e.text);
    m = machine_load(lab->machine, "", &e);
    if (m == NULL)
        fail_msg("%s", e.text);
    {
        const char *base = strrchr(lab->machine, '/') + 1;

        assert_int_equal(strlen(m->name) + 5, strlen(base));
        assert_int_equal(strncmp(m->name, base, strlen(m->name)), 0);
    }
    assert_true(fabs(m->storage_read.bytes_per_s / 1.737e9 - 1.0) < 1e-4);
    assert_true(fabs((double)m->host.copy_call / 77.1e6 - 1.0) < 1e-4);
    machine_free(m);
    c = cfg_load(lab->machine, &e);
    n = cfg_find(cfg_find(cfg_root(c), "storage"), "bandwidth");
    assert_int_equal(strncmp(cfg_text(cfg_find(n, "source")), source, strlen(source)), 0);
    assert_non_null(cfg_find(n, "error"));
    wanted = mem_format("%s (standard error %.2g %%)", source,
                        r->fit.error[1] / r->fit.value[1] * 100.0);
    assert_string_equal(cfg_text(cfg_find(n, "source")), wanted);
    free(wanted);
    wanted = mem_format("%.3g", r->test.mean_abs);
    assert_string_equal(cfg_text(cfg_find(n, "error")), wanted);
    free(wanted);
    cfg_free(c);
    assert_int_equal(machine_fit_write(setup, r, source, "/tmp/machine.txt", &e), -1);
    assert_non_null(strstr(e.text, "ends in .yaml"));
}

/* A source may be long, and every character of it one that is escaped in the file. */
static void check_escaped(const struct lab *lab, const struct machine_fit_setup *setup,
                          const struct machine_fit_result *r)
{
    static char source[4001];
    struct err e = {.text = ""};
    const struct cfg_node *n;
    struct cfg *c;

    memset(source, '"', sizeof source - 1);
    if (machine_fit_write(setup, r, source, lab->machine, &e) != 0)
        fail_msg("%s", e.text);
    c = cfg_load(lab->machine, &e);
    n = cfg_find(cfg_find(cfg_root(c), "storage"), "bandwidth");
    assert_memory_equal(cfg_text(cfg_find(n, "source")), source, strlen(source));
    cfg_free(c);
}

static void known_machine_comes_back(void **state)
{
    const struct lab *lab = *state;
    struct cfg *config = config_of(lab);
    struct measured measured;
    struct err e = {.text = ""};

    measure(lab);
    assert_int_equal(measured_read(lab->csv, &measured, &e), 0);
    for (int weight = WEIGHT_ABSOLUTE; weight <= WEIGHT_RELATIVE; weight++) {
        struct machine_fit_setup setup = setup_of(config, &measured);
        struct machine_fit_result r;

        setup.weight = (enum machine_fit_weight)weight;
        if (machine_fit_run(&setup, &r, &e) != 0)
            fail_msg("%s", e.text);
        for (int i = 0; i < NUMBERS; i++) {
            assert_true(fabs(r.start[i] / truth[i] - 1.0) > 0.1);
            assert_true(fabs(r.fit.value[i] / truth[i] - 1.0) < 1e-4);
        }
        assert_true(r.train.mean_abs < 1e-5 && r.test.mean_abs < 1e-5);
        assert_int_equal(r.steps, STEPS);
        assert_string_equal(r.unit[1], " GB/s");
        if (weight == WEIGHT_DURATION)
            check_written(lab, &setup, &r);
        if (weight == WEIGHT_DURATION)
            check_escaped(lab, &setup, &r);
        machine_fit_release(&r);
    }
    measured_release(&measured);
    cfg_free(config);
}

/* Only the whole step is known: two numbers that act in different passes still part. */
static void whole_steps_suffice(void **state)
{
    static const char *const latency[] = {"wall_us=latency"};
    const struct lab *lab = *state;
    struct cfg *config = config_of(lab);
    struct measured measured;
    struct machine_fit_setup setup;
    struct machine_fit_result r;
    struct err e = {.text = ""};

    measure(lab);
    assert_int_equal(measured_read(lab->csv, &measured, &e), 0);
    setup = setup_of(config, &measured);
    setup.match = latency;
    setup.matches = 1;
    setup.parameters = 2;
    if (machine_fit_run(&setup, &r, &e) != 0)
        fail_msg("%s", e.text);
    /* The other two numbers are wrong, so the fit is not exact. */
    assert_true(r.fit.chi2 > 0.0);
    assert_true(isfinite(r.fit.error[0]) && isfinite(r.fit.error[1]));
    assert_true(r.test.mean_abs < 0.1);
    assert_memory_equal(&r.part_test[0], &r.test, sizeof r.test);
    machine_fit_release(&r);
    measured_release(&measured);
    cfg_free(config);
}

static void refused(const struct machine_fit_setup *setup, const char *words)
{
    struct machine_fit_result r;
    struct err e = {.text = ""};

    assert_int_equal(machine_fit_run(setup, &r, &e), -1);
    if (strstr(e.text, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", e.text, words);
    assert_null(r.machine);
}

static void refused_parameter(const struct machine_fit_setup *from, const char *a,
                              const char *b, const char *words)
{
    const char *const list[] = {a, b};
    struct machine_fit_setup setup = *from;

    setup.parameter = list;
    setup.parameters = 2;
    refused(&setup, words);
}

static void refused_match(const struct machine_fit_setup *from, const char *match,
                          const char *words)
{
    struct machine_fit_setup setup = *from;

    setup.match = &match;
    setup.matches = 1;
    refused(&setup, words);
}

static void what_cannot_be_is_refused(void **state)
{
    const struct lab *lab = *state;
    struct cfg *config = config_of(lab);
    struct measured measured;
    struct machine_fit_setup setup, changed;
    struct err e = {.text = ""};

    measure(lab);
    assert_int_equal(measured_read(lab->csv, &measured, &e), 0);
    setup = setup_of(config, &measured);
    refused_parameter(&setup, "storage.speed", "host.copy_call",
                      "no number 'storage.speed'");
    refused_parameter(&setup, "host", "host.copy_call", "no number 'host'");
    refused_parameter(&setup, "host.copy_call", "host.copy_call", "twice");
    refused_parameter(&setup, "host.launch_eager", "host.copy_call", "above zero");
    refused_match(&setup, "wall_us", "expected COLUMNS=PARTS");
    refused_match(&setup, "wall_us=all", "'all' is no part");
    refused_match(&setup, "walls_us=latency", "no column 'walls_us'");
    refused_match(&setup, "wall_us+step=latency", "column step is no time");
    changed = setup;
    changed.first_pass = 2;
    refused(&changed, "the replay has 41 passes");
    changed.first_pass = 0; /* the prompt's pass would stand for the first step */
    refused(&changed, "with --first-pass (up to 1), and end the replay with the last "
                      "one's (--set workload.max_passes=40)");
    changed = setup;
    changed.train = STEPS;
    refused(&changed, "hold out at least one");
    changed = setup;
    changed.train = 1; /* 3 points */
    refused(&changed, "3 points do not determine 4");
    changed.train = 0;
    refused(&changed, " has 40 steps; fit at least one and hold out at least one");
    changed = setup;
    changed.matches = 0;
    refused(&changed, "a fit takes 1 to ");
    changed.matches = MACHINE_FIT_MATCHES + 1;
    refused(&changed, "a fit takes 1 to ");
    changed = setup;
    changed.parameters = 0;
    refused(&changed, "a fit takes 1 to 16 parameters");
    changed.parameters = 17;
    refused(&changed, "a fit takes 1 to 16 parameters");
    changed = setup;
    changed.total = "walls_us";
    refused(&changed, "no column 'walls_us'");
    /* A replay that a number does not go with. */
    refused_parameter(&setup, "gpu.tile_rows", "host.copy_call",
                      "expected an integer from 1 to 65536");
    assert_int_equal(cfg_override(config, "machine=h100-80g", &e), 0);
    refused_parameter(&setup, "gpu.tile_rows", "host.copy_call",
                      "'gpu.tile_rows' is neither a share nor a number with a unit");
    assert_int_equal(cfg_override(config, "machine=nowhere", &e), 0);
    refused(&setup, "there is no machine 'nowhere'");
    assert_int_equal(cfg_override(config, "machine=[]", &e), 0);
    refused(&setup, "'machine' names no machine; expected its name or file");
    measured_release(&measured);
    cfg_free(config);
}

static void bad_table(const struct lab *lab, const char *text, const char *words)
{
    struct measured m;
    struct err e = {.text = ""};

    write_text(lab->csv, text);
    assert_int_equal(measured_read(lab->csv, &m, &e), -1);
    if (strstr(e.text, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", e.text, words);
}

/* 256 columns at most, and as many steps as there are lines. */
static void tables_may_be_large(void **state)
{
    const struct lab *lab = *state;
    struct err e = {.text = ""};
    struct measured m;
    double seconds[200];

    for (int columns = 256; columns <= 257; columns++) {
        FILE *f = fopen(lab->csv, "w");

        assert_non_null(f);
        for (int c = 0; c < columns; c++)
            (void)fprintf(f, "%sc%d_us", c == 0 ? "" : ",", c);
        for (int k = 0; k < 200; k++)
            for (int c = 0; c < columns; c++)
                (void)fprintf(f, "%s%d", c == 0 ? "\n" : ",", 1000 * k + c + 1);
        assert_int_equal(fclose(f), 0);
        if (columns == 257) {
            assert_int_equal(measured_read(lab->csv, &m, &e), -1);
            assert_non_null(strstr(e.text, ": line 1: has more than 256 columns"));
            continue;
        }
        assert_int_equal(measured_read(lab->csv, &m, &e), 0);
        assert_int_equal(m.columns, 256);
        assert_int_equal(m.steps, 200);
        assert_string_equal(m.name[255], "c255_us");
        assert_int_equal(measured_seconds(&m, "c255_us+c0_us", seconds, &e), 0);
        for (int k = 0; k < 200; k++)
            assert_true(fabs(seconds[k] - (2000 * k + 257) * 1e-6) < 1e-12);
        measured_release(&m);
        assert_int_equal(m.columns, 0);
    }
}

static void tables_are_text(void **state)
{
    static const char nul[] = "a_s\n1\n\0\n";
    const struct lab *lab = *state;
    FILE *f = fopen(lab->csv, "w");
    struct err e = {.text = ""};
    struct measured m;

    assert_non_null(f);
    assert_int_equal(fwrite(nul, 1, sizeof nul - 1, f), sizeof nul - 1);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(measured_read(lab->csv, &m, &e), -1);
    assert_non_null(strstr(e.text, "fit.csv: is no text file"));
}

static void tables_are_checked(void **state)
{
    const struct lab *lab = *state;
    double seconds[2];
    struct measured m;
    struct err e = {.text = ""};

    bad_table(lab, "", "no measured step");
    bad_table(lab, "a_s,b_s\n", "no measured step");
    bad_table(lab, "a_s,b_s\n1,2\n1\n", "line 3: has fewer than the 2 columns");
    bad_table(lab, "a_s,b_s\n1,2,3\n", "line 2: has more");
    bad_table(lab, "a_s,b_s\n1,2x\n", "'2x' in column b_s");
    bad_table(lab, "a_s,b_s\n1,\n", "'' in column b_s");
    bad_table(lab, "a_s,b_s\n1,nan\n", "'nan' in column b_s");
    write_text(lab->csv, "a_s,b_ms,c_ns\r\n# no\r\n1,500,2\r\n\n0,0,4\n");
    assert_int_equal(measured_read(lab->csv, &m, &e), 0);
    assert_int_equal(m.steps, 2);
    assert_int_equal(measured_seconds(&m, "c_ns", seconds, &e), 0);
    assert_true(fabs(seconds[1] - 4e-9) < 1e-20);
    assert_int_equal(measured_seconds(&m, "a_s+b_ms", seconds, &e), -1);
    assert_true(fabs(seconds[0] - 1.5) < 1e-12);
    assert_non_null(strstr(e.text, "step 2: a_s+b_ms is not above zero"));
    measured_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(known_machine_comes_back, lab_setup,
                                        lab_teardown),
        cmocka_unit_test_setup_teardown(whole_steps_suffice, lab_setup, lab_teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_is_refused, lab_setup,
                                        lab_teardown),
        cmocka_unit_test_setup_teardown(tables_are_checked, lab_setup, lab_teardown),
        cmocka_unit_test_setup_teardown(tables_may_be_large, lab_setup, lab_teardown),
        cmocka_unit_test_setup_teardown(tables_are_text, lab_setup, lab_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

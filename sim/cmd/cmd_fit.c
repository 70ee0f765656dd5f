#include "cmd.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "sim/base/plain.h"
#include "validate/machine_fit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fit_flags {
    const char *measured, *total, *weight, *source, *out, *tables;
    struct flag_list set, match, parameter;
    unsigned first_pass, train;
    bool csv;
};

static int parse_weight(const char *text, enum machine_fit_weight *weight, struct err *e)
{
    static const char *const name[] = {"absolute", "duration", "relative"};

    for (unsigned i = 0; i < 3; i++) {
        if (strcmp(text, name[i]) == 0) {
            *weight = (enum machine_fit_weight)i;
            return 0;
        }
    }
    return err_set(e, "--weight %s: expected absolute, duration or relative", text);
}

static void print_errors(const char *name, struct fit_errors train,
                         struct fit_errors test)
{
    plain_printf(stdout, "%-34s %6.2f %6.2f %7.2f %7.2f   %6.2f %6.2f %7.2f %7.2f\n",
                 name, train.mean_abs * 100, train.median_abs * 100, train.mean * 100,
                 train.total * 100, test.mean_abs * 100, test.median_abs * 100,
                 test.mean * 100, test.total * 100);
}

static void print_fit(const struct machine_fit_setup *setup,
                      const struct machine_fit_result *r)
{
    plain_printf(stdout, "Fitted to steps 1 to %zu of %s (%zu iterations):\n\n",
                 setup->train, setup->measured->path, r->fit.iterations);
    (void)printf("%-28s %12s %12s   %s\n", "number", "before", "fitted",
                 "standard error");
    for (size_t i = 0; i < setup->parameters; i++) {
        double share = r->fit.error[i] / r->fit.value[i] * 100.0;

        plain_printf(stdout, "%-28s %12.5g %12.5g%-7s", setup->parameter[i], r->start[i],
                     r->fit.value[i], r->unit[i]);
        if (isfinite(share))
            (void)printf(" %.2g %%\n", share);
        else
            (void)printf(" not determined by these steps\n");
    }
    (void)printf(
        "\nPredicted against measured, in percent: mean and median of the absolute "
        "error, mean of the\nsigned error, error of the sum.\n\n%-34s %29s   %29s\n",
        "", "fitted steps", "steps held out");
    (void)printf("%-34s %6s %6s %7s %7s   %6s %6s %7s %7s\n", "", "mean", "median",
                 "signed", "sum", "mean", "median", "signed", "sum");
    for (size_t i = 0; i < setup->matches; i++)
        print_errors(setup->match[i], r->part_train[i], r->part_test[i]);
    print_errors(setup->total, r->train, r->test);
}

static void print_steps(const struct machine_fit_setup *setup,
                        const struct machine_fit_result *r)
{
    (void)printf("step,fitted,measured_s,predicted_s,error\n");
    for (size_t k = 0; k < r->steps; k++)
        (void)printf("%zu,%d,%.9g,%.9g,%.6f\n", k + 1, k < setup->train, r->measured[k],
                     r->predicted[k], r->predicted[k] / r->measured[k] - 1.0);
}

static int write_machine(const struct machine_fit_setup *setup,
                         const struct machine_fit_result *r,
                         const struct fit_flags *flags, struct err *e)
{
    const char *slash = strrchr(setup->measured->path, '/');
    char *source =
        flags->source != NULL
            ? mem_strdup(flags->source)
            : mem_format("fitted to steps 1 to %zu of %s by moesim fit", setup->train,
                         slash == NULL ? setup->measured->path : slash + 1);
    int status = machine_fit_write(setup, r, source, flags->out, e);

    free(source);
    return status;
}

static int fit(struct cfg *config, const struct folders *folders,
               const struct fit_flags *flags, struct err *e)
{
    struct experiment_folders where = {folders->models, folders->machines,
                                       folders->presets};
    struct measured measured;
    struct machine_fit_result r;
    struct machine_fit_setup setup = {.config = config,
                                      .folders = &where,
                                      .measured = &measured,
                                      .total = flags->total,
                                      .match = flags->match.item,
                                      .matches = flags->match.count,
                                      .parameter = flags->parameter.item,
                                      .parameters = flags->parameter.count,
                                      .first_pass = flags->first_pass,
                                      .train = flags->train};
    char *latency = mem_format("%s=latency", flags->total);
    const char *by_default = latency;
    int status = -1;

    if (setup.matches == 0) {
        setup.match = &by_default;
        setup.matches = 1;
    }
    if (parse_weight(flags->weight, &setup.weight, e) == 0 &&
        measured_read(flags->measured, &measured, e) == 0) {
        if (setup.train == 0)
            setup.train = measured.steps / 2;
        status = machine_fit_run(&setup, &r, e);
        if (status == 0) {
            if (flags->csv)
                print_steps(&setup, &r);
            else
                print_fit(&setup, &r);
            if (flags->out != NULL)
                status = write_machine(&setup, &r, flags, e);
            machine_fit_release(&r);
        }
        measured_release(&measured);
    }
    free(latency);
    return status;
}

static int fit_from_tables(const struct command *command, const struct fit_flags *flags,
                           int operands)
{
    struct err e = {.text = ""};
    int status;

    if (operands != 0 || flags->measured != NULL || flags->parameter.count > 0 ||
        flags->match.count > 0 || flags->set.count > 0 || flags->total != NULL ||
        flags->weight != NULL || flags->source != NULL || flags->first_pass > 0 ||
        flags->train > 0)
        return flags_misuse(command, "--tables goes with --out and --csv only; leave "
                                     "CONFIG and the other flags out");
    status = fit_tables(flags->tables, flags->out, flags->csv, &e);
    return status == EXIT_GOOD ? status : cmd_fail(&e);
}

int cmd_fit(int argc, char **argv)
{
    struct fit_flags flags = {.measured = NULL};
    struct flag table[] = {
        {"--measured", 'm', FLAG_TEXT, &flags.measured, "CSV",
         "what the steps of the recorded run took; the first line names the columns"},
        {"--parameter", 'p', FLAG_LIST, &flags.parameter, "SECTION.NAME",
         "a number of the machine file to fit, e.g. storage.bandwidth; again and again"},
        {"--match", 0, FLAG_LIST, &flags.match, "COLUMNS=PARTS",
         "measured columns and the parts of a pass that they are, e.g. "
         "stall_ms+mgmt_ms=copy+host\n"
         "                             (latency, dense, expert, hosted, copy, comm, "
         "imbalance, host); default wall_ms=latency"},
        {"--total", 0, FLAG_TEXT, &flags.total, "COLUMN",
         "the column of whole steps, for the errors (default wall_ms)"},
        {"--first-pass", 0, FLAG_NUMBER, &flags.first_pass, "N",
         "the first measured step is pass N of the replay, counted from 0\n"
         "                             (default 0); the last one is the replay's last"},
        {"--train", 0, FLAG_COUNT, &flags.train, "N",
         "fit the first N steps, hold out the rest (default: half)"},
        {"--weight", 0, FLAG_TEXT, &flags.weight, "KIND",
         "standard deviation of a measurement: absolute (all the same), duration (as its "
         "square\n                             root; default), relative (in proportion)"},
        {"--out", 'o', FLAG_TEXT, &flags.out, "FILE.yaml",
         "write the fitted machine file"},
        {"--source", 0, FLAG_TEXT, &flags.source, "TEXT",
         "source of the fitted numbers in that file"},
        {"--set", 's', FLAG_LIST, &flags.set, "KEY=VALUE", "override the configuration"},
        {"--csv", 0, FLAG_SWITCH, &flags.csv, NULL,
         "print measured and predicted time of each step (or shape) instead"},
        {"--tables", 0, FLAG_TEXT, &flags.tables, "FOLDER",
         "instead of CONFIG: fit all numbers of a machine to the tables of moesim "
         "calibrate"},
        {.name = NULL},
    };
    const struct command command = {
        "moesim fit CONFIG --measured CSV --parameter NAME ... [flags]\n"
        "       moesim fit --tables FOLDER [--out FILE.yaml] [--csv]",
        "Fits numbers of CONFIG's machine to a measured run of its first policy, by\n"
        "least squares whose model is the replay itself, and tells how well the steps\n"
        "held out are predicted.",
        "moesim fit run.yaml --measured steps.csv -p storage.bandwidth -o mine.yaml",
        table};
    struct folders folders = {.models = NULL};
    struct err e = {.text = ""};
    struct cfg *config = NULL;
    int status = EXIT_BAD;
    int count = flags_parse(&command, argc, argv);

    if (count < 0)
        return count == -2 ? EXIT_GOOD : EXIT_MISUSE;
    if (flags.tables != NULL)
        return fit_from_tables(&command, &flags, count);
    if (count != 1)
        return flags_misuse(&command,
                            "fit takes one configuration file, such as run.yaml");
    if (flags.measured == NULL || flags.parameter.count == 0)
        return flags_misuse(&command,
                            "fit needs what was measured and what to fit, such as "
                            "--measured steps.csv --parameter storage.bandwidth");
    if (flags.source != NULL && flags.out == NULL)
        return flags_misuse(&command, "--source is for the machine file; say where that "
                                      "goes with --out, or leave it out");
    if (flags.total == NULL)
        flags.total = "wall_ms";
    if (flags.weight == NULL)
        flags.weight = "duration";
    if ((flags.out == NULL || (file_check_apart(flags.out, argv[0], &e) == 0 &&
                               file_check_apart(flags.out, flags.measured, &e) == 0)) &&
        folders_find(&folders, &e) == 0)
        config = config_load(argv[0], &flags.set, &e);
    if (config != NULL && fit(config, &folders, &flags, &e) == 0)
        status = EXIT_GOOD;
    if (status != EXIT_GOOD)
        (void)cmd_fail(&e);
    cfg_free(config);
    folders_release(&folders);
    free(flags.set.item);
    free(flags.match.item);
    free(flags.parameter.item);
    return status;
}

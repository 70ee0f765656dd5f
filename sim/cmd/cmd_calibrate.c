#include "cmd.h"
#include "gpu/bench.h"
#include "sim/base/child.h"
#include "sim/base/file.h"
#include "sim/base/folder.h"
#include "sim/base/mem.h"
#include "sim/base/plain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

extern char **environ;

struct calibrate_flags {
    const char *out, *device, *tables;
    bool quick, quiet;
};

static void show_progress(void *context, const char *what, size_t done, size_t total)
{
    progress_part(context, what, done, total);
}

/* What was typed, for the head of the tables. Owned. */
static char *command_line(const struct calibrate_flags *f)
{
    return mem_format("moesim calibrate -o %s --device %s%s%s%s", f->out, f->device,
                      f->tables != NULL ? " --tables " : "",
                      f->tables != NULL ? f->tables : "", f->quick ? " --quick" : "");
}

static char *today(void)
{
    const time_t now = time(NULL);
    struct tm parts;
    char text[16];

    if (gmtime_r(&now, &parts) == NULL ||
        strftime(text, sizeof text, "%Y-%m-%d", &parts) == 0)
        return mem_strdup("unknown date");
    return mem_strdup(text);
}

static void print_summary(const struct bench_summary *summary, size_t tables,
                          const char *folder)
{
    plain_printf(stdout,
                 "Measured, in %s (highest rates; spread is the median of IQR over "
                 "median):\n\n%-10s %7s %8s %8s %9s %9s %8s\n",
                 folder, "table", "shapes", "left out", "samples", "GFLOP/s", "GB/s",
                 "spread");
    for (size_t i = 0; i < tables; i++) {
        const struct bench_summary *s = &summary[i];

        (void)printf("%-10s %7zu %8zu %8zu", s->name, s->shapes, s->left_out, s->samples);
        if (s->flops_per_s > 0.0)
            (void)printf(" %9.4g", s->flops_per_s * 1e-9);
        else
            (void)printf(" %9s", "");
        if (s->bytes_per_s > 0.0)
            (void)printf(" %9.4g", s->bytes_per_s * 1e-9);
        else
            (void)printf(" %9s", "");
        (void)printf(" %6.1f %%\n", 100.0 * s->spread);
    }
    (void)printf("\n");
    (void)fflush(stdout);
}

static bool is_emulated(struct device *d)
{
    struct device_info info;

    d->ops->info(d, &info);
    return info.emulated;
}

/* To the new folder `out`; all tables appear together under the name `folder`. */
static int measure(struct device *d, const struct calibrate_flags *flags, bool emulated,
                   const char *folder, const char *out, struct err *e)
{
    struct progress_line *line = flags->quiet ? NULL : progress_new("measuring");
    struct bench_summary summary[BENCH_TABLES];
    char *command = command_line(flags);
    char *date = today();
    const struct bench_options options = {.folder = out,
                                          .quick = flags->quick,
                                          .command = command,
                                          .date = date,
                                          .version = MOESIM_VERSION,
                                          .progress = line == NULL ? NULL : show_progress,
                                          .context = line};
    size_t tables;
    int status = bench_run(d, &options, summary, &tables, e);

    progress_free(line);
    free(command);
    free(date);
    if (status == 1)
        return err_set(e, "stopped by a signal; nothing was written");
    if (status == 0 && !emulated)
        print_summary(summary, tables, folder);
    return status;
}

/* Of an emulated device all is run, and nothing is left of it. 0 or -1. */
static int measure_all(struct device *d, const struct calibrate_flags *flags,
                       bool emulated, const char *folder, struct err *e)
{
    struct folder_out *f = folder_out_new(folder, e);
    int status;

    if (f == NULL)
        return -1;
    bench_own_files(f);
    status = measure(d, flags, emulated, folder, folder_out_name(f), e);
    if (status == 0 && !emulated)
        return folder_out_commit(f, e);
    folder_out_abandon(f, e);
    return status;
}

/* The output can be written: better known before measuring for minutes. */
static int check_out(const char *out, struct err *e)
{
    const size_t length = strlen(out);
    struct file_out *file;

    if (length < 6 || strcmp(out + length - 5, ".yaml") != 0 || out[length - 6] == '/')
        return err_set(e, "%s: a machine file's name ends in .yaml", out);
    file = file_out_new(out, e);
    file_out_abandon(file);
    return file == NULL ? -1 : 0;
}

static int run(const struct calibrate_flags *flags, calibrate_fit *fit, struct err *e)
{
    char *folder =
        flags->tables != NULL
            ? mem_strdup(flags->tables)
            : mem_format("%.*s-tables", (int)strlen(flags->out) - 5, flags->out);
    struct device *d;
    bool missing, emulated;
    int status;

    if (device_open(flags->device, &d, &missing, e) != 0) {
        free(folder);
        return missing ? EXIT_CANNOT : EXIT_BAD;
    }
    file_catch_signals();
    emulated = is_emulated(d);
    status = measure_all(d, flags, emulated, folder, e) == 0 ? EXIT_GOOD : EXIT_BAD;
    device_close(d);
    cmd_end_on_signals();
    if (status == EXIT_GOOD && file_interrupted() && !emulated) {
        (void)err_set(e, "stopped by a signal; the tables are in %s", folder);
        status = EXIT_BAD;
    }
    if (status == EXIT_GOOD && emulated)
        plain_printf(stdout,
                     "emulated: every benchmark ran, but this device's times measure "
                     "nothing; neither tables nor %s are written\n",
                     flags->out);
    else if (status == EXIT_GOOD)
        status = fit(folder, flags->out, e);
    free(folder);
    return status;
}

int calibrate(int argc, char **argv, calibrate_fit *fit)
{
    struct calibrate_flags flags = {.device = "host"};
    struct flag table[] = {
        {"--out", 'o', FLAG_TEXT, &flags.out, "FILE.yaml", "the machine file to write"},
        {"--device", 'd', FLAG_TEXT, &flags.device, "DEVICE",
         "host (default) or cuda:N; exit 77 where there is none"},
        {"--tables", 0, FLAG_TEXT, &flags.tables, "FOLDER",
         "where the raw samples go, as CSV (default: FILE-tables)"},
        {"--quick", 0, FLAG_SWITCH, &flags.quick, NULL,
         "fewer and smaller shapes, fewer samples: a first look in some ten seconds"},
        {"--quiet", 'q', FLAG_SWITCH, &flags.quiet, NULL, "no progress line"},
        {.name = NULL},
    };
    const struct command command = {
        "moesim calibrate -o FILE.yaml [flags]",
        "Measures this machine with micro-benchmarks, keeps every sample, and fits a "
        "machine file\nto them; one fifth of the shapes is held out and tells the error. "
        "Leave the machine alone\nmeanwhile. `moesim fit --tables FOLDER -o FILE.yaml` "
        "does the fit again.",
        "moesim calibrate -o my-machine.yaml --quick", table};
    struct err e = {.text = ""};
    int status;
    int count = flags_parse(&command, argc, argv);

    if (count < 0)
        return count == -2 ? EXIT_GOOD : EXIT_MISUSE;
    if (count != 0)
        return flags_misuse(&command, "calibrate takes flags only");
    if (flags.out == NULL)
        return flags_misuse(&command, "calibrate needs --out");
    status = check_out(flags.out, &e) == 0 ? run(&flags, fit, &e) : EXIT_BAD;
    if (status != EXIT_GOOD && e.text[0] != '\0')
        (void)cmd_fail(&e);
    return status;
}

/* ---- where the fit is another program's ---- */

/* Owned. */
static char *fitting_program(void)
{
    const char *named = getenv("MOESIM_FIT");

    return named != NULL ? mem_strdup(named) : child_beside("moesim");
}

static int fit_apart(const char *folder, const char *out, struct err *e)
{
    char *program = fitting_program();
    char fit[] = "fit", tables[] = "--tables", to[] = "-o";
    char *from = mem_strdup(folder), *machine = mem_strdup(out);
    char *argument[] = {program, fit, tables, from, to, machine, NULL};
    int status = child_run(argument, environ, false);

    if (status < 0 || status > EXIT_MISUSE)
        status = EXIT_CANNOT;
    free(from);
    free(machine);
    if (status == EXIT_CANNOT)
        (void)err_set(
            e,
            "the tables are in %s, but %s, which fits them, cannot be run; name "
            "it in MOESIM_FIT, or run 'moesim fit --tables %s -o %s' where it is",
            folder, program, folder, out);
    free(program);
    return status == EXIT_CANNOT ? EXIT_BAD : status;
}

int cmd_calibrate_apart(int argc, char **argv)
{
    return calibrate(argc, argv, fit_apart);
}

#include "cmd.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "sim/base/nearest.h"
#include "sim/base/plain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"run", cmd_run, "replay a trace under one or more policies, side by side"},
    {"sweep", cmd_sweep, "run a study at many points: grids, random and Sobol points"},
#ifndef MOESIM_CUDA
    {"tune", cmd_tune, "the best point of a study within so many runs"},
#else /* its model of points links GSL, which the program with CUDA may not */
    {"tune", cmd_tune_apart, "the best point of a study within so many runs"},
#endif
    {"curve", cmd_curve, "hit rate and bytes against capacity: how many slots?"},
    {"check", cmd_check, "stored predictions, published tables against new predictions"},
    {"explain", cmd_explain, "where the time of a result went, and what would help"},
    {"report", cmd_report, "the HTML page and the figures of results"},
    {"fit", cmd_fit, "fit a machine file to measured tables, or to the steps of a run"},
#ifndef MOESIM_CUDA
    {"calibrate", cmd_calibrate, "measure this machine, and fit a machine file"},
#else /* its fit links GSL, which the program with CUDA may not */
    {"calibrate", cmd_calibrate_apart, "measure this machine, and fit a machine file"},
#endif
    {"validate", cmd_validate, "predicted against executed on this machine's device"},
    {"trace", cmd_trace, "look at traces, make, import, export, slice them"},
    {"list", cmd_list, "policies, presets, models, machines, configuration keys"},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void help(FILE *out)
{
    (void)fprintf(out,
                  "usage: moesim COMMAND ...\n\n"
                  "What will this Mixture-of-Experts policy cost on that machine, and "
                  "why?\n\n");
    for (size_t i = 0; i < COMMANDS; i++)
        (void)fprintf(out, "  moesim %-9s %s\n", commands[i].name, commands[i].help);
    (void)fprintf(out,
                  "  moesim help      what a word means, such as moesim help TPOT\n"
                  "\nmoesim COMMAND --help tells more, with an example. Exit status: 0 "
                  "success, 1 the answer\nis no or the input is bad, 2 misuse, 77 "
                  "cannot run here, 130 stopped by Ctrl-C (SIGINT),\n143 by SIGTERM.\n");
}

/* Of a command what it says itself, else of a word. */
static int help_with(int count, char **words)
{
    const char *names[COMMANDS + 1] = {NULL};
    char **asked;
    int status;

    for (size_t i = 0; i < COMMANDS; i++)
        names[i] = commands[i].name;
    if (count == 0)
        help(stdout);
    for (size_t i = 0; count > 0 && i < COMMANDS; i++) {
        if (strcmp(words[0], names[i]) != 0)
            continue;
        asked = mem_alloc((size_t)count + 1, sizeof *asked);
        memcpy(asked, words, (size_t)count * sizeof *asked);
        asked[count] = (char[]){"--help"};
        status = commands[i].run(count + 1, asked);
        free(asked);
        return status;
    }
    return cmd_help(count, words, names);
}

/* Output that went nowhere (a full disk, a closed pipe) is no success; and whoever was
 * stopped says so, unless all was done by then. */
static int finish(int status)
{
    if (status != EXIT_GOOD && file_interrupted())
        status = file_stop_status();
    errno = 0; /* an earlier failure of a stream leaves its mark there, but no cause */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        (void)fprintf(stderr, "moesim: standard output cannot be written%s%s\n",
                      errno != 0 ? ": " : "; is the disk full?",
                      errno != 0 ? strerror(errno) : "");
        return status == EXIT_GOOD ? EXIT_BAD : status;
    }
    return status;
}

int main(int argc, char **argv)
{
    struct nearest near;

    cmd_end_on_signals();
    if (argc < 2) {
        help(stderr);
        return EXIT_MISUSE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        help(stdout);
        return finish(EXIT_GOOD);
    }
    if (strcmp(argv[1], "help") == 0)
        return finish(help_with(argc - 2, argv + 2));
    if (strcmp(argv[1], "--version") == 0) {
        (void)printf("moesim " MOESIM_VERSION "\n");
        return finish(EXIT_GOOD);
    }
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].name) == 0)
            return finish(commands[i].run(argc - 1, argv + 1));
    }
    near = nearest_to(argv[1]);
    nearest_try(&near, "help");
    for (size_t i = 0; i < COMMANDS; i++)
        nearest_try(&near, commands[i].name);
    plain_printf(stderr, "moesim: there is no command '%s'%s\nTry moesim --help.\n",
                 argv[1], nearest_hint(&near).text);
    return EXIT_MISUSE;
}

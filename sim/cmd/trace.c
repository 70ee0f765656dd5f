#include "cmd.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "traces/export.h"
#include "traces/slice.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

extern char **environ;

/* ---- slice, export ---- */

static int slice(int argc, char **argv)
{
    const char *out = NULL;
    const char *requests = NULL;
    const char *rows = NULL;
    struct slice part = SLICE_EVERYTHING;
    struct flag table[] = {
        {"--out", 'o', FLAG_TEXT, &out, "FILE", "the new trace"},
        {"--requests", 0, FLAG_TEXT, &requests, "A:B", "requests A to B - 1"},
        {"--rows", 0, FLAG_TEXT, &rows, "A:B", "rows A to B - 1"},
        {"--layers", 0, FLAG_TEXT, &part.layers, "LIST", "MoE layers, e.g. 0,4:8"},
        {.name = NULL},
    };
    const struct command command = {
        "moesim trace slice TRACE -o FILE [--requests A:B] [--rows A:B] [--layers LIST]",
        "Writes a part of a trace as a new trace.",
        "moesim trace slice gptoss.h5 -o first100.h5 --requests 0:100", table};
    struct err e = {""};
    struct trace *t = NULL;
    int status = -1;
    int count = flags_parse(&command, argc, argv);

    if (count < 0)
        return count == -2 ? EXIT_GOOD : EXIT_MISUSE;
    if (count != 1 || out == NULL)
        return flags_misuse(&command, "trace slice takes one trace and --out FILE");
    if ((requests == NULL ||
         slice_parse_range(requests, &part.first_request, &part.last_request, &e) == 0) &&
        (rows == NULL ||
         slice_parse_range(rows, &part.first_row, &part.last_row, &e) == 0))
        t = trace_open(argv[0], NULL, &e);
    if (t != NULL)
        status = slice_write(t, &part, out, &e);
    trace_close(t);
    return status == 0 ? EXIT_GOOD : cmd_fail(&e);
}

static int export(int argc, char **argv)
{
    const char *out = NULL;
    const char *to = "csv";
    unsigned batch = 1;
    struct export_options options = {.batch = 1};
    struct flag table[] = {
        {"--out", 'o', FLAG_TEXT, &out, "FILE", "the file to write"},
        {"--to", 0, FLAG_TEXT, &to, "FORMAT",
         "csv (default), or oracleGeneral (libCacheSim's binary)"},
        {"--batch", 0, FLAG_COUNT, &batch, "B", "oracleGeneral: requests in lock step"},
        {"--layers", 0, FLAG_TEXT, &options.layers, "LIST", "oracleGeneral: MoE layers"},
        {.name = NULL},
    };
    const struct command command = {
        "moesim trace export TRACE -o FILE [--to FORMAT]",
        "Writes a trace for other tools. oracleGeneral: object id = layer * experts + "
        "expert, "
        "one\naccess per distinct expert per layer per pass.",
        "moesim trace export gptoss.h5 --to oracleGeneral -o gptoss.bin", table};
    struct err e = {""};
    struct trace *t;
    int status = -1;
    int count = flags_parse(&command, argc, argv);

    if (count < 0)
        return count == -2 ? EXIT_GOOD : EXIT_MISUSE;
    if (count != 1 || out == NULL)
        return flags_misuse(&command, "trace export takes one trace and --out FILE");
    if (strcmp(to, "csv") != 0 && strcmp(to, "oracleGeneral") != 0)
        return flags_misuse(&command, "--to is csv or oracleGeneral");
    options.batch = batch;
    t = trace_open(argv[0], NULL, &e);
    if (t != NULL)
        status = *to == 'c' ? export_csv(t, out, &e)
                            : export_oracle_general(t, out, &options, NULL, &e);
    trace_close(t);
    return status == 0 ? EXIT_GOOD : cmd_fail(&e);
}

/* ---- import ---- */

/* Importers are Python: see traces/importers. */
static int run_importer(char *const *arguments)
{
    pid_t child;
    int state;
    int failure = posix_spawnp(&child, arguments[0], NULL, NULL, arguments, environ);

    if (failure != 0) {
        (void)fprintf(stderr,
                      "moesim: %s cannot be run: %s; importers need python3 with "
                      "numpy and h5py (PYTHON names another interpreter)\n",
                      arguments[0], strerror(failure));
        return EXIT_CANNOT;
    }
    while (waitpid(child, &state, 0) < 0) {
        if (errno != EINTR)
            return EXIT_BAD;
    }
    return WIFEXITED(state) ? WEXITSTATUS(state) : EXIT_BAD;
}

static int import(int argc, char **argv)
{
    enum { MOST = 16 };
    const char *out = NULL;
    const char *from = NULL;
    const char *model = NULL;
    const char *requests = NULL;
    const char *python = getenv("PYTHON");
    struct flag table[] = {
        {"--from", 0, FLAG_TEXT, &from, "FORMAT", "npz or route_trace"},
        {"--out", 'o', FLAG_TEXT, &out, "FILE", "the new trace"},
        {"--model", 0, FLAG_TEXT, &model, "NAME", "in models/arch; guessed by default"},
        {"--requests", 0, FLAG_TEXT, &requests, "CSV", "npz: the requests' table"},
        {.name = NULL},
    };
    const struct command command = {
        "moesim trace import --from FORMAT FILE -o TRACE",
        "Makes a trace from what an engine recorded. Formats: npz (arrays ids, probs or "
        "w), "
        "\nroute_trace (version 1).",
        "moesim trace import --from npz gptoss20b_decode.npz -o gptoss.h5", table};
    struct folders folders;
    struct err e = {""};
    const char *arguments[MOST];
    int n = 0;
    int status;
    int count = flags_parse(&command, argc, argv);

    if (count < 0)
        return count == -2 ? EXIT_GOOD : EXIT_MISUSE;
    if (count != 1 || out == NULL || from == NULL)
        return flags_misuse(&command,
                            "trace import takes --from FORMAT, one file and --out");
    if (folders_find(&folders, &e) != 0)
        return cmd_fail(&e);
    arguments[n++] = python != NULL ? python : "/usr/bin/python3";
    arguments[n++] = folders.importers;
    arguments[n++] = from;
    arguments[n++] = argv[0];
    arguments[n++] = "-o";
    arguments[n++] = out;
    if (model != NULL) {
        arguments[n++] = "--model";
        arguments[n++] = model;
    }
    if (requests != NULL) {
        arguments[n++] = "--requests";
        arguments[n++] = requests;
    }
    arguments[n] = NULL;
    status = run_importer((char *const *)(const void *)arguments);
    folders_release(&folders);
    return status;
}

/* ---- which ---- */

int cmd_trace(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
        const char *help;
    } commands[] = {
        {"info", cmd_trace_info, "what a trace holds and how its routing looks"},
        {"gen", cmd_trace_gen, "draw a synthetic trace, or one like another"},
        {"import", import, "from what an engine recorded"},
        {"export", export, "for other tools"},
        {"slice", slice, "a part of a trace"},
    };
    bool help =
        argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);

    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    if (argc > 1 && !help)
        (void)fprintf(stderr, "moesim: there is no trace command '%s'\n", argv[1]);
    (void)fprintf(help ? stdout : stderr, "usage: moesim trace COMMAND ...\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        (void)fprintf(help ? stdout : stderr, "  moesim trace %-8s %s\n",
                      commands[i].name, commands[i].help);
    return help ? EXIT_GOOD : EXIT_MISUSE;
}

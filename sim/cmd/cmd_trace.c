#include "cmd.h"
#include "sim/base/file.h"
#include "sim/base/nearest.h"
#include "sim/base/plain.h"
#include "traces/export.h"
#include "traces/slice.h"

#include <stdio.h>
#include <string.h>

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
    struct err e = {.text = ""};
    struct trace *t = NULL;
    int status = -1;
    int count = flags_parse(&command, argc, argv);

    if (count < 0)
        return count == -2 ? EXIT_GOOD : EXIT_MISUSE;
    if (count != 1 || out == NULL)
        return flags_misuse(&command, "trace slice takes one trace and --out FILE");
    if (file_check_apart(out, argv[0], &e) == 0 &&
        (requests == NULL ||
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
    unsigned batch = 0;
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
        "Writes a trace for other tools. oracleGeneral: object id = layer * experts +\n"
        "expert, one access per distinct expert per layer per pass.",
        "moesim trace export gptoss.h5 --to oracleGeneral -o gptoss.bin", table};
    struct err e = {.text = ""};
    struct trace *t;
    int status = -1;
    int count = flags_parse(&command, argc, argv);

    if (count < 0)
        return count == -2 ? EXIT_GOOD : EXIT_MISUSE;
    if (count != 1 || out == NULL)
        return flags_misuse(&command, "trace export takes one trace and --out FILE");
    if (strcmp(to, "csv") != 0 && strcmp(to, "oracleGeneral") != 0)
        return flags_misuse(&command, "--to is csv or oracleGeneral, as in --to csv");
    if (*to == 'c' && (batch > 0 || options.layers != NULL))
        return flags_misuse(&command, "--batch and --layers are for oracleGeneral; leave "
                                      "them out, or say --to oracleGeneral");
    if (batch > 0)
        options.batch = batch;
    if (file_check_apart(out, argv[0], &e) != 0)
        return cmd_fail(&e);
    t = trace_open(argv[0], NULL, &e);
    if (t != NULL)
        status = *to == 'c' ? export_csv(t, out, &e)
                            : export_oracle_general(t, out, &options, NULL, &e);
    trace_close(t);
    return status == 0 ? EXIT_GOOD : cmd_fail(&e);
}

static int import(int argc, char **argv)
{
    return cmd_python("trace", "import", argc, argv);
}

static int capture(int argc, char **argv)
{
    return cmd_python("trace", "capture", argc, argv);
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
        {"check", cmd_trace_check, "whether traces keep every rule of the format"},
        {"gen", cmd_trace_gen, "draw a synthetic trace, or one like another"},
        {"import", import, "from what an engine recorded"},
        {"capture", capture, "from a model that runs here"},
        {"export", export, "for other tools"},
        {"slice", slice, "a part of a trace"},
    };
    bool help =
        argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);

    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    if (argc > 1 && !help) {
        struct nearest near = nearest_to(argv[1]);

        for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
            nearest_try(&near, commands[i].name);
        plain_printf(stderr, "moesim: there is no trace command '%s'%s\n", argv[1],
                     nearest_hint(&near).text);
    }
    (void)fprintf(help ? stdout : stderr, "usage: moesim trace COMMAND ...\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        (void)fprintf(help ? stdout : stderr, "  moesim trace %-8s %s\n",
                      commands[i].name, commands[i].help);
    return help ? EXIT_GOOD : EXIT_MISUSE;
}

#include "cmd.h"
#include "sim/base/child.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "sim/base/nearest.h"
#include "sim/base/plain.h"
#include "traces/export.h"
#include "traces/slice.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IMPORT_TEXT_MAX = 4096 }; /* as the importers take it */

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

/* ---- import ---- */

/* One file of traces/importers each. */
static const char *const import_formats[] = {"npz", "route_trace"};

static bool is_format(const char *name)
{
    for (size_t i = 0; i < sizeof import_formats / sizeof *import_formats; i++)
        if (strcmp(name, import_formats[i]) == 0)
            return true;
    return false;
}

struct import_flags {
    const char *out, *from, *model, *requests, *source;
    unsigned experts;
};

/* Runs the importer on `file`, which writes the existing file `into`. An exit status. */
static int run_importer(const struct import_flags *f, const char *file, const char *into,
                        const struct folders *folders, struct err *e)
{
    const char *python = getenv("PYTHON");
    char *experts = f->experts == 0 ? NULL : mem_format("%u", f->experts);
    const struct {
        const char *name, *value;
    } option[] = {{"output", f->out},        {"into", into},
                  {"model", f->model},       {"experts", experts},
                  {"requests", f->requests}, {"source", f->source}};
    enum { OPTIONS = sizeof option / sizeof *option };
    char *argument[3 + OPTIONS + 3] = {
        mem_strdup(python != NULL ? python : "/usr/bin/python3"),
        mem_strdup(folders->importers), mem_strdup(f->from)};
    size_t n = 3;
    int status;

    for (size_t i = 0; i < OPTIONS; i++)
        if (option[i].value != NULL)
            argument[n++] = mem_format("--%s=%s", option[i].name, option[i].value);
    argument[n++] = mem_strdup("--");
    argument[n++] = mem_strdup(file);
    status = child_run(argument, environ, false);
    if (status < 0)
        (void)err_set(e,
                      "%s cannot be run: %s; importers need python3 with numpy and h5py "
                      "(PYTHON names another interpreter)",
                      argument[0], strerror(errno));
    else if (status > EXIT_MISUSE && status != EXIT_CANNOT)
        (void)err_set(e, "%s ended with status %d and wrote no trace", argument[0],
                      status);
    for (size_t i = 0; i < n; i++)
        free(argument[i]);
    free(experts);
    return status < 0 ? EXIT_CANNOT : status;
}

/* The file is made here, so that nothing is left however one of the two programs ends. */
static int import_file(const struct import_flags *f, const char *file, struct err *e)
{
    struct folders folders;
    struct file_out *out;
    int status;

    if (folders_find(&folders, e) != 0)
        return EXIT_BAD;
    out = file_out_new(f->out, e);
    status =
        out == NULL ? EXIT_BAD : run_importer(f, file, file_out_name(out), &folders, e);
    folders_release(&folders);
    if (status == EXIT_GOOD)
        return file_out_commit(out, e) == 0 ? EXIT_GOOD : EXIT_BAD;
    file_out_abandon(out);
    return status;
}

static bool is_long(const char *text)
{
    return text != NULL && strlen(text) > IMPORT_TEXT_MAX;
}

static int import(int argc, char **argv)
{
    struct import_flags flags = {.out = NULL};
    struct flag table[] = {
        {"--from", 0, FLAG_TEXT, &flags.from, "FORMAT", "npz or route_trace"},
        {"--out", 'o', FLAG_TEXT, &flags.out, "FILE", "the new trace"},
        {"--model", 0, FLAG_TEXT, &flags.model, "NAME",
         "in models/arch, or such a file; guessed by default"},
        {"--experts", 0, FLAG_COUNT, &flags.experts, "N",
         "experts per layer, for a model that has no file"},
        {"--requests", 0, FLAG_TEXT, &flags.requests, "CSV", "npz: the requests' table"},
        {"--source", 0, FLAG_TEXT, &flags.source, "TEXT",
         "where it was recorded (default: the file's name)"},
        {.name = NULL},
    };
    const struct command command = {
        "moesim trace import --from FORMAT FILE -o TRACE",
        "Makes a trace from what an engine recorded. Formats: npz (arrays ids, probs or "
        "w, off or\nseq_len; rows below a request's prompt length are prefill), "
        "route_trace (version 1).",
        "moesim trace import --from npz gptoss20b_decode.npz -o gptoss.h5", table};
    struct err e = {.text = ""};
    int status;
    int count = flags_parse(&command, argc, argv);

    if (count < 0)
        return count == -2 ? EXIT_GOOD : EXIT_MISUSE;
    if (count != 1 || flags.out == NULL || flags.from == NULL)
        return flags_misuse(&command,
                            "trace import takes --from FORMAT, one file and --out");
    if (!is_format(flags.from))
        return flags_misuse(&command, "--from is npz or route_trace");
    if (flags.requests != NULL && strcmp(flags.from, "npz") != 0)
        return flags_misuse(&command, "--requests is for --from npz; leave it out");
    if (flags.experts > TRACE_MAX_EXPERTS)
        return flags_misuse(&command, "--experts is at most 4096");
    if (is_long(flags.model) || is_long(flags.source))
        return flags_misuse(&command, "--model and --source are at most 4096 bytes long");
    if (file_check_apart(flags.out, argv[0], &e) != 0 ||
        file_check_apart(flags.out, flags.requests, &e) != 0)
        return cmd_fail(&e);
    status = import_file(&flags, argv[0], &e);
    if (e.text[0] != '\0')
        (void)cmd_fail(&e);
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
        {"check", cmd_trace_check, "whether traces keep every rule of the format"},
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

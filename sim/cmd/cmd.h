/* The command line. One file per subcommand; each is a function of its arguments that
 * returns the exit status: 0 success, 1 the answer is no or the input is bad, 2 misuse,
 * 77 cannot run here. A signal that asks to stop ends any command with 128 + its number:
 * at once, or in good order if it calls file_catch_signals(). Only this folder prints and
 * exits. */
#ifndef MOESIM_CMD_CMD_H
#define MOESIM_CMD_CMD_H

#include "sim/base/config.h"
#include "sim/base/err.h"

#include <stdbool.h>
#include <stddef.h>

enum { EXIT_GOOD = 0, EXIT_BAD = 1, EXIT_MISUSE = 2, EXIT_CANNOT = 77 };

int cmd_run(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_curve(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_sweep(int argc, char **argv);
int cmd_trace(int argc, char **argv);
int cmd_tune(int argc, char **argv);
/* In a program that may not link GSL: says which program has it. */
int cmd_tune_apart(int argc, char **argv);
int cmd_fit(int argc, char **argv);
int cmd_trace_check(int argc, char **argv);
int cmd_trace_gen(int argc, char **argv);
int cmd_trace_info(int argc, char **argv);
int cmd_validate(int argc, char **argv);
int cmd_list(int argc, char **argv);
/* Explains the words together, or lists those there are; `commands` (NULL behind the
 * last) may be meant by one that is mistyped. */
int cmd_help(int count, char **words, const char *const *commands);
int cmd_calibrate(int argc, char **argv);
/* The same in a program that may not link the fit (GSL): it runs the `moesim` beside it.
 */
int cmd_calibrate_apart(int argc, char **argv);

/* What `moesim trace info` says of a trace's routing. */
struct trace_statistics;
void trace_print_statistics(const struct trace_statistics *s);

/* Fits a folder of tables, writes the machine file (NULL: none), and prints how well they
 * agree, or every point as CSV. An exit status, with the sentence in `e`. */
int fit_tables(const char *folder, const char *out, bool csv, struct err *e);
typedef int calibrate_fit(const char *folder, const char *out, struct err *e);
int calibrate(int argc, char **argv, calibrate_fit *fit);

/* From here on (and from the start) a signal ends the program at once. */
void cmd_end_on_signals(void);

/* Prints "moesim: " and the sentence on standard error; returns EXIT_BAD. */
int cmd_fail(const struct err *e);

/* ---- flags: one table parses, helps and documents ---- */

enum flag_type {
    FLAG_SWITCH, /* bool */
    FLAG_TEXT,   /* const char * */
    FLAG_COUNT,  /* unsigned, at least 1 */
    FLAG_NUMBER, /* unsigned, may be 0 */
    FLAG_LIST,   /* struct flag_list: may be given again and again */
};

struct flag_list {
    const char **item;
    size_t count;
};

struct flag {
    const char *name; /* "--out" */
    char letter;      /* 'o' for "-o"; 0: none */
    enum flag_type type;
    void *target;
    const char *argument; /* "FOLDER" in the help; NULL for a switch */
    const char *help;
};

struct command {
    const char *usage;   /* "moesim run CONFIG [flags]" */
    const char *help;    /* what it does, in a sentence or two */
    const char *example; /* one command line that works */
    struct flag *flags;  /* ends with .name NULL */
};

/* Takes the flags out of argv[1..]: what is left moves to the front of argv, its count is
 * returned. -1: misuse, which was explained; -2: help was asked for and printed. */
int flags_parse(const struct command *c, int argc, char **argv);
void flags_help(const struct command *c);
/* "moesim: SENTENCE" and a pointer to --help; empties the lists of the flags. Returns
 * EXIT_MISUSE. */
int flags_misuse(const struct command *c, const char *sentence);

/* ---- configurations ---- */

/* Loads a configuration; paths in it count from its folder. Then applies the overrides of
 * --set, whose paths count from where one is. Returns owned, or NULL. */
struct cfg *config_load(const char *path, const struct flag_list *set, struct err *e);
/* The same with a list of KEY=VALUE in a file `from` (or NULL), whose paths count from
 * that file's folder. */
struct cfg *config_load_from(const char *path, const struct cfg_node *set,
                             const char *from, struct err *e);
/* The relative path in a KEY=VALUE that names a file; NULL: it names none. */
const char *config_file_set(const char *assignment);
/* Makes its paths count from the root, so that it means the same from everywhere. */
void config_make_absolute(struct cfg *c);
/* Begins an output folder for the files called `own`, NULL behind the last. Refuses one
 * whose files are among what the configuration reads. Owned, or NULL. */
struct folder_out;
struct folder_out *config_folder(const struct cfg *c, const char *path,
                                 const char *folder, const char *const *own,
                                 struct err *e);

/* ---- where moesim's own files are ---- */

struct folders {
    char *models, *machines, *presets, *plots, *python, *samples, *papers;
};
/* Looks beside the program, upward (a source tree), then in ../share/moesim (installed).
 * MOESIM_HOME overrides. Release with folders_release. 0 or -1. */
int folders_find(struct folders *f, struct err *e);
void folders_release(struct folders *f);

/* Becomes the package of traces/python, with `command` and `verb` (as in "trace import")
 * and the arguments behind argv[0]: what it takes, says and returns is said there alone.
 * Returns only where no Python can be run: an exit status, with the sentence said. */
int cmd_python(const char *command, const char *verb, int argc, char **argv);

/* ---- a progress line, on a terminal only ---- */

struct progress_line;
/* NULL where standard error is no terminal; the other functions take NULL. */
struct progress_line *progress_new(const char *what);
void progress_show(void *line, unsigned long long done, unsigned long long total);
/* The same for the points of a sweep. */
void progress_points(void *line, unsigned long long done, unsigned long long total);
/* The same where what is done has parts with names instead of a rate. */
void progress_part(void *line, const char *part, unsigned long long done,
                   unsigned long long total);
void progress_free(struct progress_line *line);

#endif

/* A baseline: what was predicted once, kept beside what it depends on, to be predicted
 * again and compared. One YAML file: the user's part (what to predict, tolerances), a
 * line that begins with BASELINE_MARK, and below it `stored:`, which only an update
 * writes. README.md has the keys.
 *
 * What is predicted is one of
 *   study    a configuration: trace, machine, model, settings; counts, times, operations
 *   tables   samples of micro-benchmarks: how far the machine's costs are from them
 *   papers   published tables: verdicts, and how far each row is off
 *
 * Inputs are compared exactly. Counts, times and errors may change by as much as the
 * baseline's tolerances say; an error may shrink by any. */
#ifndef MOESIM_VALIDATE_BASELINE_H
#define MOESIM_VALIDATE_BASELINE_H

#include "check.h"

#include "sim/base/config.h"

#define BASELINE_MARK "# ---- stored by moesim check --update"
enum { BASELINE_FORMAT = 1 };

struct baseline {
    char *path, *text;                    /* owned */
    size_t own;                           /* bytes of the text that are the user's part */
    struct cfg *document;                 /* owns what follows */
    const char *study, *tables, *machine; /* "" where not given; machine: of tables */
    const struct cfg_node *papers;        /* names, or "all"; or NULL */
    const struct cfg_node *set;           /* list of KEY=VALUE of the study; or NULL */
    const struct cfg_node
        *measured; /* steps that the study was measured to take, or NULL */
    const struct cfg_node *stored; /* NULL: nothing is yet */
    double times, counts, errors; /* tolerances, as shares; of errors: their difference */
};

struct experiment_folders;

/* What predictions need; all is borrowed. */
struct baseline_world {
    const struct experiment_folders *folders;
    const char *papers; /* the folder of published tables */
    unsigned threads;
    /* Loads the configuration `study` with a list of KEY=VALUE (or NULL), whose paths
     * count from the folder of `from`. Owned, or NULL. */
    struct cfg *(*load)(const char *study, const struct cfg_node *set, const char *from,
                        struct err *e);
    void (*progress)(void *context, uint64_t rows_done,
                     uint64_t rows_total); /* or NULL */
    void *context;
};

/* Fills `b` (owned; baseline_release). 0 or -1. */
int baseline_load(const char *path, struct baseline *b, struct err *e);
/* The same of a text (taken) that is, or will be, in that file. */
int baseline_read(const char *path, char *text, struct baseline *b, struct err *e);
void baseline_release(struct baseline *b);

/* Predicts and compares: adds a case. 0; 1: a signal stopped it; -1. Without a case
 * unless 0. */
int baseline_check(const struct baseline *b, const struct baseline_world *w,
                   struct check *c, struct err *e);
/* Predicts, and stores that in the file, whose first part stays as it is to the byte.
 * Says how many values there are, and of what was stored how many are others now. Returns
 * as baseline_check(); unless 0 the file is as it was. */
int baseline_update(const struct baseline *b, const struct baseline_world *w,
                    uint64_t *values, uint64_t *changed, struct err *e);
/* A new one of a study (a path from where one is; those in `set` count from the
 * baseline's folder already), which has only a user's part; baseline_update() writes the
 * file. 0 or -1. */
int baseline_start(const char *path, const char *study, const char *const *set,
                   size_t sets, struct baseline *b, struct err *e);

/* A path of the baseline as it is to be opened: it counts from the file's folder. Owned.
 */
char *baseline_path(const char *baseline, const char *path);
/* The other way: a file from where one is, as the baseline has to call it. Owned, or
 * NULL. */
char *baseline_relative(const char *baseline, const char *file, struct err *e);

#endif

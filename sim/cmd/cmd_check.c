#include "cmd.h"
#include "models/catalogue.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "validate/paper_formula.h"
#include "validate/paper_print.h"
#include "validate/paper_replay.h"

#include <stdio.h>
#include <stdlib.h>

struct check_flags {
    bool papers, json, quiet;
    const char *refit, *junit;
    unsigned threads;
};

struct tables {
    struct paper *paper;
    size_t count;
};

static void tables_release(struct tables *t)
{
    for (size_t i = 0; i < t->count; i++)
        paper_release(&t->paper[i]);
    free(t->paper);
}

/* Those named, or all there are. 0 or -1. */
static int load_tables(struct tables *t, const char *folder, char **name, size_t count,
                       struct err *e)
{
    char **all = NULL;
    int status = 0;

    if (count == 0) {
        all = catalogue_names(folder, &count, e);
        if (all == NULL)
            return -1;
        name = all;
    }
    t->paper = mem_zalloc(count + 1, sizeof *t->paper);
    while (status == 0 && t->count < count) {
        status = paper_load(name[t->count], folder, &t->paper[t->count], e);
        if (status == 0)
            t->count++;
    }
    if (all != NULL)
        catalogue_free(all, count);
    return status;
}

static int write_junit(const struct tables *t, const char *path, struct err *e)
{
    struct file_out *f = file_out_new(path, e);

    if (f == NULL)
        return -1;
    paper_print_junit(t->paper, t->count, file_out_stream(f));
    return file_out_commit(f, e);
}

/* Predicts and prints table by table, so that one sees how far it is. */
static int check_tables(struct tables *t, struct paper_lab *lab,
                        const struct check_flags *flags, struct err *e)
{
    struct progress_line *line = flags->quiet ? NULL : progress_new("checking");
    bool good = true;
    int status = 0;

    for (size_t i = 0; i < t->count && status == 0; i++) {
        struct paper *p = &t->paper[i];

        progress_part(line, p->name, i, t->count);
        status = paper_predict(p, lab);
        good = good && paper_count(p).failed == 0;
        if (status == 0 && !flags->json)
            paper_print(p, stdout);
    }
    progress_free(line);
    if (status != 0) {
        (void)err_set(e, "stopped by a signal");
        return EXIT_BAD;
    }
    if (flags->json)
        paper_print_json(t->paper, t->count, stdout);
    else
        paper_print_total(t->paper, t->count, stdout);
    if (flags->junit != NULL && write_junit(t, flags->junit, e) != 0)
        return EXIT_BAD;
    return good ? EXIT_GOOD : EXIT_BAD;
}

static int refit_table(const char *name, const char *folder, struct paper_lab *lab,
                       struct err *e)
{
    struct paper p;
    struct paper_refit r = {.constants = 0};
    int status = EXIT_BAD;

    if (paper_load(name, folder, &p, e) != 0)
        return EXIT_BAD;
    if (paper_refit(&p, lab, &r, e) == 0) {
        status = EXIT_GOOD;
        paper_print_refit(&p, &r, stdout);
        for (size_t i = 0; i < r.constants; i++)
            status = r.equal[i] ? status : EXIT_BAD;
        paper_refit_release(&r);
    }
    paper_release(&p);
    return status;
}

static int check(const struct check_flags *flags, char **name, size_t count,
                 struct err *e)
{
    struct folders folders = {.models = NULL};
    struct tables t = {.count = 0};
    struct paper_lab *lab = NULL;
    struct experiment_folders where;
    int status = EXIT_BAD;

    if (folders_find(&folders, e) != 0)
        return EXIT_BAD;
    where =
        (struct experiment_folders){folders.models, folders.machines, folders.presets};
    if (flags->refit != NULL || load_tables(&t, folders.papers, name, count, e) == 0)
        lab = paper_lab_new(&where, flags->threads, e);
    if (lab != NULL)
        status = flags->refit != NULL ? refit_table(flags->refit, folders.papers, lab, e)
                                      : check_tables(&t, lab, flags, e);
    paper_lab_free(lab);
    tables_release(&t);
    folders_release(&folders);
    return status;
}

int cmd_check(int argc, char **argv)
{
    struct check_flags flags = {.threads = 1};
    struct flag table[] = {
        {"--papers", 'p', FLAG_SWITCH, &flags.papers, NULL,
         "published tables: those named, or all of validate/papers"},
        {"--refit", 0, FLAG_TEXT, &flags.refit, "TABLE",
         "fit the table's fitted constants again; exit 1 if they are not the stated "
         "ones"},
        {"--json", 0, FLAG_SWITCH, &flags.json, NULL, "print JSON"},
        {"--junit", 0, FLAG_TEXT, &flags.junit, "FILE",
         "also write JUnit XML; a miss that is explained is a skipped test there"},
        {"--threads", 't', FLAG_COUNT, &flags.threads, "N",
         "threads per replay (default 1)"},
        {"--quiet", 'q', FLAG_SWITCH, &flags.quiet, NULL, "no progress line"},
        {.name = NULL},
    };
    const struct command command = {
        "moesim check --papers [TABLE ...] [flags]\n"
        "       moesim check --papers --refit TABLE",
        "Predicts what publications measured and holds it against their figures. Exit "
        "status 1 if a\nrow misses without an explanation in its table, misses by "
        "something else than what is\nexplained, or explains a miss that is none.",
        "moesim check --papers moeshard --junit out/papers.xml", table};
    struct err e = {.text = ""};
    int status;
    int count = flags_parse(&command, argc, argv);

    if (count == -2) {
        (void)printf("\nfigures of a replay that a row may name:\n");
        paper_figure_help(stdout);
        (void)printf("\nformulas:\n");
        paper_formula_help(stdout);
        return EXIT_GOOD;
    }
    if (count < 0)
        return EXIT_MISUSE;
    if (!flags.papers)
        return flags_misuse(&command, "check needs --papers");
    if (flags.refit != NULL && (count > 0 || flags.json || flags.junit != NULL))
        return flags_misuse(&command, "--refit takes one table and nothing else");
    status = check(&flags, argv, (size_t)count, &e);
    if (e.text[0] != '\0')
        (void)cmd_fail(&e);
    return status;
}

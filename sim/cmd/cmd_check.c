#include "cmd.h"
#include "models/catalogue.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "sim/base/plain.h"
#include "validate/baseline.h"
#include "validate/check_print.h"
#include "validate/paper_check.h"
#include "validate/paper_formula.h"
#include "validate/paper_print.h"
#include "validate/paper_replay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct check_flags {
    bool papers, update, json, quiet;
    const char *refit, *study, *junit, *markdown;
    struct flag_list set;
    unsigned threads;
};

struct job {
    const struct check_flags *flags;
    struct baseline_world world;
    struct progress_line *line;
    struct check check;
    bool refused; /* something could not be checked; it was said */
};

/* Whether standard output is for what a person reads. */
static bool is_told(const struct check_flags *f)
{
    return !f->json && (f->junit == NULL || strcmp(f->junit, "-") != 0) &&
           (f->markdown == NULL || strcmp(f->markdown, "-") != 0);
}

/* ---- names, or all files of folders ---- */

struct names {
    char **item;
    size_t count;
};

static void names_release(struct names *n)
{
    catalogue_free(n->item, n->count);
}

static void names_add(struct names *n, char *name)
{
    n->item = mem_grow(n->item, n->count, sizeof *n->item);
    n->item[n->count++] = name;
}

static int names_add_folder(struct names *n, const char *folder, struct err *e)
{
    size_t count;
    char **found = catalogue_names(folder, &count, e);

    if (found == NULL)
        return -1;
    for (size_t i = 0; i < count; i++)
        names_add(n, mem_format("%s/%s.yaml", folder, found[i]));
    catalogue_free(found, count);
    return count > 0 ? 0 : err_set(e, "%s: holds no baseline (*.yaml)", folder);
}

static int find_names(struct names *n, char **given, size_t count, struct err *e)
{
    for (size_t i = 0; i < count; i++) {
        if (file_kind_of(given[i]) != FILE_FOLDER)
            names_add(n, mem_strdup(given[i]));
        else if (names_add_folder(n, given[i], e) != 0)
            return -1;
    }
    return 0;
}

/* ---- the answer ---- */

static int write_report(const struct check *c, const char *path,
                        void (*print)(const struct check *c, FILE *out), struct err *e)
{
    struct file_out *f;

    if (path == NULL)
        return 0;
    if (strcmp(path, "-") == 0) {
        print(c, stdout);
        return 0;
    }
    f = file_out_new(path, e);
    if (f == NULL)
        return -1;
    print(c, file_out_stream(f));
    return file_out_commit(f, e);
}

static int report(const struct job *job, struct err *e)
{
    const struct check_flags *flags = job->flags;
    const struct check *c = &job->check;

    if (flags->json)
        check_print_json(c, stdout);
    else if (is_told(flags) && c->cases > 1)
        check_print_total(c, stdout);
    if (write_report(c, flags->junit, check_print_junit, e) != 0 ||
        write_report(c, flags->markdown, check_print_markdown, e) != 0)
        return EXIT_BAD;
    return check_is_good(c) && !job->refused ? EXIT_GOOD : EXIT_BAD;
}

/* ---- baselines ---- */

static void show_progress(void *context, uint64_t done, uint64_t total)
{
    progress_show(context, done, total);
}

/* One that cannot be checked is told of at once, is a case that failed, and keeps nobody
 * from the others. */
static void refuse(struct job *job, const char *path, const struct err *e)
{
    struct check_case *c = check_add(&job->check, "baseline", path, "not checked");

    check_add_row(c, "baseline", "checked", CHECK_BROKEN)->note = mem_strdup(e->text);
    (void)cmd_fail(e);
    job->refused = true;
}

/* 0, or 1: a signal stopped it. */
static int check_baseline(struct job *job, const char *path)
{
    struct err e = {.text = ""};
    struct baseline b;
    int status = baseline_load(path, &b, &e);

    if (status == 0) {
        status = baseline_check(&b, &job->world, &job->check, &e);
        baseline_release(&b);
    }
    if (status < 0)
        refuse(job, path, &e);
    else if (status == 0 && is_told(job->flags))
        check_print(&job->check.item[job->check.cases - 1], stdout);
    return status == 1;
}

/* Files of --set count from where one is, those in a baseline from its folder. */
static int start_baseline(const struct check_flags *flags, const char *path,
                          struct baseline *b, struct err *e)
{
    size_t count = flags->set.count;
    char **set = mem_zalloc(count + 1, sizeof *set);
    int status = 0;

    for (size_t i = 0; i < count && status == 0; i++) {
        const char *given = flags->set.item[i], *file = config_file_set(given);
        char *from = file == NULL ? NULL : baseline_relative(path, file, e);

        set[i] = from == NULL ? mem_strdup(given)
                              : mem_format("%.*s%s", (int)(file - given), given, from);
        status = file != NULL && from == NULL ? -1 : 0;
        free(from);
    }
    if (status == 0)
        status =
            baseline_start(path, flags->study, (const char *const *)set, count, b, e);
    for (size_t i = 0; i < count; i++)
        free(set[i]);
    free(set);
    return status;
}

/* With --study a new file. */
static int load_baseline(const struct check_flags *flags, const char *path,
                         struct baseline *b, struct err *e)
{
    if (flags->study == NULL)
        return baseline_load(path, b, e);
    if (access(path, F_OK) != 0)
        return start_baseline(flags, path, b, e);
    return err_set(
        e, "%s: is there already; say in it what to predict, and leave --study out",
        path);
}

static int update_baseline(struct job *job, const char *path)
{
    struct err e = {.text = ""};
    struct baseline b;
    uint64_t values, changed;
    bool renewed = false;
    int status = load_baseline(job->flags, path, &b, &e);

    if (status == 0) {
        renewed = b.stored != NULL;
        status = baseline_update(&b, &job->world, &values, &changed, &e);
        baseline_release(&b);
    }
    if (status < 0) {
        (void)cmd_fail(&e);
        job->refused = true;
    } else if (status == 0) {
        plain_printf(stdout, "Written: %s, %llu values", path,
                     (unsigned long long)values);
        if (renewed)
            (void)printf(", %llu of them changed", (unsigned long long)changed);
        (void)printf("\n");
    }
    return status == 1;
}

static int check_baselines(struct job *job, const struct names *names, struct err *e)
{
    int stopped = 0;

    job->line = job->flags->quiet ? NULL : progress_new("checking");
    job->world.progress = job->line == NULL ? NULL : show_progress;
    job->world.context = job->line;
    for (size_t i = 0; i < names->count && stopped == 0; i++) {
        progress_part(job->line, names->item[i], i, names->count);
        stopped = job->flags->update ? update_baseline(job, names->item[i])
                                     : check_baseline(job, names->item[i]);
    }
    progress_free(job->line);
    if (stopped != 0) {
        (void)err_set(e, "stopped by a signal");
        return EXIT_BAD;
    }
    if (job->flags->update)
        return job->refused ? EXIT_BAD : EXIT_GOOD;
    return report(job, e);
}

static int run_baselines(struct job *job, char **given, size_t count, struct err *e)
{
    struct names names = {.count = 0};
    int status = EXIT_BAD;

    if (find_names(&names, given, count, e) == 0)
        status = check_baselines(job, &names, e);
    names_release(&names);
    return status;
}

/* ---- published tables ---- */

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

/* Predicts and prints table by table, so that one sees how far it is. */
static int check_tables(struct job *job, struct tables *t, struct paper_lab *lab,
                        struct err *e)
{
    int status = 0;

    job->line = job->flags->quiet ? NULL : progress_new("checking");
    for (size_t i = 0; i < t->count && status == 0; i++) {
        struct paper *p = &t->paper[i];

        progress_part(job->line, p->name, i, t->count);
        status = paper_predict(p, lab);
        (void)paper_check(p, &job->check);
        if (status == 0 && is_told(job->flags))
            paper_print(p, stdout);
    }
    progress_free(job->line);
    if (status != 0) {
        (void)err_set(e, "stopped by a signal");
        return EXIT_BAD;
    }
    return report(job, e);
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

static int run_papers(struct job *job, char **name, size_t count, struct err *e)
{
    const char *refit = job->flags->refit, *folder = job->world.papers;
    struct tables t = {.count = 0};
    struct paper_lab *lab = NULL;
    int status = EXIT_BAD;

    if (refit != NULL || load_tables(&t, folder, name, count, e) == 0)
        lab = paper_lab_new(job->world.folders, job->flags->threads, e);
    if (lab != NULL)
        status = refit != NULL ? refit_table(refit, folder, lab, e)
                               : check_tables(job, &t, lab, e);
    paper_lab_free(lab);
    tables_release(&t);
    return status;
}

/* ---- the command ---- */

static int check(const struct check_flags *flags, char **operand, size_t count,
                 struct err *e)
{
    struct folders folders = {.models = NULL};
    struct experiment_folders where;
    struct job job = {.flags = flags};
    int status;

    if (folders_find(&folders, e) != 0)
        return EXIT_BAD;
    where =
        (struct experiment_folders){folders.models, folders.machines, folders.presets};
    job.world = (struct baseline_world){.folders = &where,
                                        .papers = folders.papers,
                                        .threads = flags->threads,
                                        .load = config_load_from};
    status = flags->papers ? run_papers(&job, operand, count, e)
                           : run_baselines(&job, operand, count, e);
    check_release(&job.check);
    folders_release(&folders);
    return status;
}

/* A sentence on flags that do not go together; NULL: they do. */
static const char *refuse_flags(const struct check_flags *f, int count)
{
    bool reports = f->json || f->junit != NULL || f->markdown != NULL;

    if (f->refit != NULL && (!f->papers || count > 0 || reports))
        return "--refit takes one table and nothing else";
    if (f->papers && (f->update || f->study != NULL))
        return "--update and --study are for baselines; one with papers: all stores what "
               "--papers predicts";
    if (!f->papers && count == 0)
        return "check takes baselines (files or folders), or --papers";
    if (f->update && reports)
        return "--update compares nothing; leave --json, --junit and --markdown out";
    if (f->study != NULL && (!f->update || count != 1))
        return "--study starts one new baseline: moesim check --update FILE "
               "--study STUDY";
    if (f->set.count > 0 && f->study == NULL)
        return "--set goes with --study; in a baseline that is there, change set:";
    return NULL;
}

static int help(void)
{
    (void)printf("\nA baseline says `study: FILE`, `tables: FOLDER` or `papers: all`;\n"
                 "validate/README.md has its keys.\n\n"
                 "figures of a replay that a row may name:\n");
    paper_figure_help(stdout);
    (void)printf("\nformulas:\n");
    paper_formula_help(stdout);
    return EXIT_GOOD;
}

int cmd_check(int argc, char **argv)
{
    struct check_flags flags = {.threads = 1};
    struct flag table[] = {
        {"--update", 'u', FLAG_SWITCH, &flags.update, NULL,
         "store what is predicted now in the baselines"},
        {"--study", 0, FLAG_TEXT, &flags.study, "CONFIG",
         "with --update: start a new baseline of this configuration"},
        {"--set", 's', FLAG_LIST, &flags.set, "KEY=VALUE",
         "... with this changed in it, e.g. workload.requests=8"},
        {"--papers", 'p', FLAG_SWITCH, &flags.papers, NULL,
         "published tables: those named, or all of validate/papers"},
        {"--refit", 0, FLAG_TEXT, &flags.refit, "TABLE",
         "fit the table's fitted constants again; exit 1 if they are not the stated "
         "ones"},
        {"--json", 0, FLAG_SWITCH, &flags.json, NULL, "print JSON"},
        {"--junit", 0, FLAG_TEXT, &flags.junit, "FILE",
         "also write JUnit XML (-: print it instead)"},
        {"--markdown", 0, FLAG_TEXT, &flags.markdown, "FILE",
         "also write Markdown, such as to $GITHUB_STEP_SUMMARY (-: print it instead)"},
        {"--threads", 't', FLAG_COUNT, &flags.threads, "N",
         "policies in parallel (default 1); the result is the same"},
        {"--quiet", 'q', FLAG_SWITCH, &flags.quiet, NULL, "no progress line"},
        {.name = NULL},
    };
    const struct command command = {
        "moesim check BASELINE ... [flags]\n"
        "       moesim check --update BASELINE [--study CONFIG [--set KEY=VALUE ...]]\n"
        "       moesim check --papers [TABLE ...] [flags]\n"
        "       moesim check --papers --refit TABLE",
        "Predicts again what baselines store and compares: inputs exactly, counts, times "
        "and errors within\ntheir tolerances. Exit status 1 on a regression, with what "
        "changed and where: the trace, a number,\na cost in the program, what a policy "
        "decides, the schedule. With --papers: predicts what\npublications measured; a "
        "row that misses without an explanation in its table fails.",
        "moesim check --update guard.yaml --study study.yaml && moesim check guard.yaml",
        table};
    struct err e = {.text = ""};
    const char *misuse;
    int status;
    int count = flags_parse(&command, argc, argv);

    if (count == -2)
        return help();
    if (count < 0)
        return EXIT_MISUSE;
    misuse = refuse_flags(&flags, count);
    if (misuse != NULL)
        return flags_misuse(&command, misuse);
    status = check(&flags, argv, (size_t)count, &e);
    if (e.text[0] != '\0')
        (void)cmd_fail(&e);
    free(flags.set.item);
    return status;
}

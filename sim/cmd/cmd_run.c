#include "cmd.h"
#include "run_counted.h"
#include "run_point.h"
#include "sim/base/file.h"
#include "sim/base/folder.h"
#include "sim/base/mem.h"
#include "sim/base/plain.h"
#include "sim/experiment/experiment.h"
#include "sim/report/print.h"
#include "sim/report/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct run_flags {
    const char *out;
    struct flag_list set;
    unsigned threads;
    bool json, csv, quiet;
    struct run_point point; /* without params: no point */
};

static void show_note(const char *sentence)
{
    (void)fprintf(stderr, "moesim: note: %s\n", sentence);
}

static void show_progress(void *context, uint64_t done, uint64_t total)
{
    progress_show(context, done, total);
}

static int write_csv(const struct result *r, const char *path, struct err *e)
{
    struct file_out *f = file_out_new(path, e);

    if (f == NULL)
        return -1;
    result_print_csv(r, file_out_stream(f));
    return file_out_commit(f, e);
}

static int write_files(const struct result *r, const char *folder, struct err *e)
{
    char *file = mem_format("%s/result.h5", folder);
    char *csv = mem_format("%s/summary.csv", folder);
    int status = result_write(r, file, e);

    if (status == 0)
        status = write_csv(r, csv, e);
    free(file);
    free(csv);
    return status;
}

static int run_config(struct cfg *config, const struct folders *folders, const char *out,
                      const struct run_flags *flags, struct err *e)
{
    struct experiment_folders where = {folders->models, folders->machines,
                                       folders->presets};
    struct progress_line *line = flags->quiet ? NULL : progress_new("replaying");
    char *timeline = out == NULL ? NULL : mem_format("%s/timeline.json", out);
    struct experiment_hooks hooks = {.progress = line == NULL ? NULL : show_progress,
                                     .context = line,
                                     .note = flags->quiet ? NULL : show_note,
                                     .timeline_path = timeline};
    struct result r;
    int status = experiment_run(config, &where, flags->threads, &hooks, &r, e);

    progress_free(line);
    free(timeline);
    if (status < 0)
        return EXIT_BAD;
    if (flags->json)
        result_print_json(&r, stdout);
    else if (flags->csv)
        result_print_csv(&r, stdout);
    else
        result_print(&r, stdout);
    if (out != NULL && status == 0 && write_files(&r, out, e) != 0)
        status = -1;
    result_release(&r);
    if (status == 1)
        (void)err_set(e, "stopped by a signal; rows that say so are not whole, and no "
                         "result was written");
    return status == 0 ? EXIT_GOOD : EXIT_BAD;
}

/* With --out, the files are in place if all went well. */
static int run(struct cfg *config, const char *path, const struct folders *folders,
               const struct run_flags *flags, struct err *e)
{
    static const char *const own[] = {"result.h5", "timeline.json", "summary.csv", NULL};
    struct folder_out *f;
    int status;

    if (flags->out == NULL)
        return run_config(config, folders, NULL, flags, e);
    f = config_folder(config, path, flags->out, own, e);
    if (f == NULL)
        return EXIT_BAD;
    if (folder_out_has(f, "report.html")) /* of an earlier result, with which it goes */
        report_own_files(f);
    status = run_config(config, folders, folder_out_name(f), flags, e);
    if (status != EXIT_GOOD)
        folder_out_abandon(f, e);
    else if (folder_out_commit(f, e) != 0)
        status = EXIT_BAD;
    else if (!flags->json && !flags->csv)
        plain_printf(stdout,
                     "\nWritten: %s/result.h5, timeline.json (opens in ui.perfetto.dev), "
                     "summary.csv\n",
                     flags->out);
    return status;
}

static int run_or_point(struct cfg *config, const char *path,
                        const struct folders *folders, struct run_flags *flags,
                        struct err *e)
{
    struct experiment_folders where = {folders->models, folders->machines,
                                       folders->presets};

    if (flags->point.params == NULL && experiment_has_counts(config)) {
        const struct experiment_hooks hooks = {.note = flags->quiet ? NULL : show_note};

        return run_counted(
            config, path, &where,
            &(struct run_counted){flags->out, flags->json, flags->csv, &hooks}, e);
    }
    if (flags->point.params == NULL)
        return run(config, path, folders, flags, e);
    flags->point.threads = flags->threads;
    return run_point(config, &where, &flags->point, e);
}

/* NULL, or what is wrong. */
static const char *check_flags(const struct run_flags *f, int count)
{
    const struct run_point *p = &f->point;

    if (count != 1)
        return "run takes one configuration file, such as demo.yaml";
    if (f->json && f->csv)
        return "--json and --csv exclude each other; choose one";
    if (p->params == NULL && (p->objective != NULL || p->policy != NULL))
        return "--objective and --policy go with --params-json";
    if (p->params != NULL && p->objective == NULL)
        return "--params-json needs --objective FIGURE, such as tpot_p99";
    if (p->params != NULL && (f->json || f->csv || f->out != NULL))
        return "--params-json prints one line of JSON and writes nothing; leave --json, "
               "--csv and --out out";
    return NULL;
}

int cmd_run(int argc, char **argv)
{
    struct run_flags flags = {.threads = 1};
    struct flag table[] = {
        {"--out", 'o', FLAG_TEXT, &flags.out, "FOLDER",
         "write result.h5, timeline.json and summary.csv there"},
        {"--set", 's', FLAG_LIST, &flags.set, "KEY=VALUE",
         "override the configuration, e.g. policies.0.cache.slots=8"},
        {"--threads", 't', FLAG_COUNT, &flags.threads, "N",
         "run policies in parallel (default 1); the result is the same"},
        {"--json", 0, FLAG_SWITCH, &flags.json, NULL, "print JSON instead of the table"},
        {"--csv", 0, FLAG_SWITCH, &flags.csv, NULL, "print CSV instead of the table"},
        {"--params-json", 0, FLAG_TEXT, &flags.point.params, "FILE",
         "a point of a search: one JSON object of keys as `sweep:` has them (- : "
         "standard input); prints one line of JSON"},
        {"--objective", 0, FLAG_TEXT, &flags.point.objective, "FIGURE",
         "with --params-json: what that line calls the objective, e.g. tpot_p99"},
        {"--policy", 0, FLAG_TEXT, &flags.point.policy, "NAME",
         "with --params-json: which policy, if there are several"},
        {"--quiet", 'q', FLAG_SWITCH, &flags.quiet, NULL, "no progress line"},
        {.name = NULL},
    };
    const struct command command = {
        "moesim run CONFIG [flags]",
        "Replays a trace under one or more policies and compares them: counts exactly,\n"
        "times as modelled for the machine. `moesim list config` shows what CONFIG\n"
        "(YAML) may say. Of a trace that holds only counts, it compares placements over\n"
        "several GPUs: tokens of each, what moves, and the time of experts.",
        "moesim run demo.yaml --set workload.batch=8 --out out/demo", table};
    struct folders folders = {.models = NULL};
    struct err e = {.text = ""};
    struct cfg *config = NULL;
    const char *wrong;
    int status = EXIT_BAD;
    int count = flags_parse(&command, argc, argv);

    if (count < 0)
        return count == -2 ? EXIT_GOOD : EXIT_MISUSE;
    wrong = check_flags(&flags, count);
    if (wrong != NULL)
        return flags_misuse(&command, wrong);
    file_catch_signals();
    if (folders_find(&folders, &e) == 0)
        config = config_load(argv[0], &flags.set, &e);
    if (config != NULL)
        status = run_or_point(config, argv[0], &folders, &flags, &e);
    if (status != EXIT_GOOD && flags.point.params != NULL)
        run_point_fail(&e);
    if (status != EXIT_GOOD)
        (void)cmd_fail(&e);
    cfg_free(config);
    folders_release(&folders);
    free(flags.set.item);
    return status;
}

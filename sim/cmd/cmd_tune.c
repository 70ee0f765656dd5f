#include "cmd.h"
#include "tune_cpu_moe.h"
#include "tune_largest.h"
#include "tune_print.h"
#include "sim/base/file.h"
#include "sim/base/folder.h"
#include "sim/base/mem.h"
#include "sim/base/plain.h"
#include "sim/experiment/loops.h"
#include "traces/trace_image.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tune_flags {
    const char *out;
    struct flag_list set;
    unsigned threads;
    bool json, quiet, largest, cpu_moe;
    const char *contexts; /* of --n-cpu-moe; or NULL */
};

/* ---- the trace in memory ---- */

/* Reads the study's trace once for all runs, if there is memory for it. One that is not
 * good will be refused by the runs. Owned, or NULL. */
static void *take_trace(struct shared *shared, const struct cfg *study)
{
    const struct cfg_node *n = cfg_find(cfg_root(study), "trace");
    struct err ignored = {.text = ""};
    struct trace *t =
        n == NULL || cfg_text(n) == NULL ? NULL : trace_open(cfg_text(n), NULL, &ignored);
    size_t bytes = t == NULL ? 0 : trace_image_bytes(t);
    void *image =
        bytes > 0 && bytes <= trace_image_most() ? mem_aligned(64, bytes) : NULL;
    int status = image == NULL ? -1 : trace_image_fill(t, image, &ignored);

    trace_close(t);
    if (status == 0) {
        shared_lend_trace(shared, cfg_text(n), image);
        return image;
    }
    free(image);
    return NULL;
}

/* ---- files ---- */

/* The study at the best point, which `moesim run` runs. */
static int write_study(const struct tune_report *r, const char *path, struct err *e)
{
    struct cfg *c = tune_space_config(r->s->space, &r->o->trial[r->o->best].point, e);
    struct file_out *f = c == NULL ? NULL : file_out_new(path, e);
    char *text = c == NULL ? NULL : cfg_dump(c);
    int status = -1;

    if (f != NULL) {
        (void)fputs(text, file_out_stream(f));
        status = file_out_commit(f, e);
    }
    free(text);
    cfg_free(c);
    return status;
}

static int write_csv(const struct tune_report *r, const char *path, struct err *e)
{
    struct file_out *f = file_out_new(path, e);

    if (f == NULL)
        return -1;
    tune_print_csv(r, file_out_stream(f));
    return file_out_commit(f, e);
}

static int write_files(const struct tune_report *r, const char *folder, struct err *e)
{
    char *csv = mem_format("%s/tune.csv", folder);
    char *study = mem_format("%s/best.yaml", folder);
    char *result = mem_format("%s/result.h5", folder);
    int status = write_csv(r, csv, e);

    if (status == 0)
        status = write_study(r, study, e);
    if (status == 0)
        status = result_write(r->best, result, e);
    free(csv);
    free(study);
    free(result);
    return status;
}

/* ---- the whole ---- */

/* The limits that a trial misses. Owned. */
static char *missed_text(const struct tune_spec *spec, const struct tune_trial *t)
{
    char *text = mem_strdup("");

    for (size_t i = 0; i < spec->limits; i++) {
        const struct tune_limit *l = &spec->limit[i];
        char *longer;

        if (tune_limit_holds(l, t->figure[l->figure]))
            continue;
        longer = mem_format("%s%s%s %s, should be at %s %s", text,
                            *text == '\0' ? "" : "; ", result_figure[l->figure].name,
                            result_figure_text(l->figure, t->figure[l->figure]).text,
                            l->least ? "least" : "most",
                            result_figure_text(l->figure, l->value).text);
        free(text);
        text = longer;
    }
    return text;
}

/* Why no trial ran that has all figures. Returns -1. */
static int no_figures(const struct tune_report *r, struct err *e)
{
    const struct tune_spec *spec = r->s->spec;
    const struct tune_outcome *o = r->o;
    bool any = false;

    for (size_t i = 0; i < o->trials; i++)
        any = any || o->trial[i].ran;
    if (!any)
        return err_set(e, "no point could be run to its end; the first said: %s",
                       o->trial[0].why);
    for (size_t k = 0; k < spec->goals + spec->limits; k++) {
        int figure =
            k < spec->goals ? spec->goal[k].figure : spec->limit[k - spec->goals].figure;

        any = false;
        for (size_t i = 0; i < o->trials; i++)
            any = any || (o->trial[i].ran && isfinite(o->trial[i].figure[figure]));
        if (!any)
            return err_set(e, "no run of this study has the figure %s; name another one",
                           result_figure[figure].name);
    }
    return err_set(e, "no run over the whole trace has all figures that are goals and "
                      "limits; name others");
}

static int no_best(const struct tune_report *r, struct err *e)
{
    const struct tune_trial *t;
    char *point, *missed;

    if (r->o->nearest == TUNE_NONE)
        return no_figures(r, e);
    t = &r->o->trial[r->o->nearest];
    point = tune_point_text(r->s, &t->point);
    missed = missed_text(r->s->spec, t);
    (void)err_set(e, "no point keeps to all limits; the nearest, %s, has %s", point,
                  missed);
    free(point);
    free(missed);
    return -1;
}

static size_t policy_of(const struct tune_space *s, const char *label)
{
    for (size_t i = 0; i < tune_space_policies(s); i++) {
        if (strcmp(tune_space_policy(s, i), label) == 0)
            return i;
    }
    return TUNE_NONE;
}

/* All that is told of a best one. 0, 1 or -1. `best` is owned. */
static int look_closer(struct tune_report *r, const struct tune_flags *flags,
                       struct result *best, struct err *e)
{
    const struct tune_outcome *o = r->o;
    const struct tune_point *p = &o->trial[o->best].point;
    size_t policy = policy_of(r->s->space, r->s->spec->against);
    int status = tune_sure_run(r->s, p, flags->threads, best, e);

    if (status >= 0)
        r->best = best;
    if (status == 0)
        status = tune_sure_spread(r->s, p, flags->threads, best, &r->sure, e);
    if (status == 0)
        status =
            tune_sure_pair(r->s, o, o->best, o->second, flags->threads, &r->second, e);
    if (status == 0 && policy != TUNE_NONE)
        status = tune_sure_pair(r->s, o, tune_sure_best(r->s, o, policy, true),
                                tune_sure_best(r->s, o, policy, false), flags->threads,
                                &r->against, e);
    return status;
}

static void show_progress(void *context, uint64_t done, uint64_t total)
{
    progress_points(context, done, total);
}

/* 0, 1 (stopped) or -1. Files go to `out` (or NULL). */
static int report(struct tune_report *r, const struct tune_flags *flags, const char *out,
                  struct err *e)
{
    struct result best = {.path = NULL};
    int status;

    if (r->o->best == TUNE_NONE)
        return no_best(r, e);
    status = look_closer(r, flags, &best, e);
    if (status == 0 && flags->json)
        tune_print_json(r, stdout);
    else if (status == 0)
        tune_print(r, stdout);
    if (status == 0 && out != NULL)
        status = write_files(r, out, e);
    result_release(&best);
    return status;
}

static int search(const struct tune_study *s, const struct tune_flags *flags,
                  const char *out, struct err *e)
{
    struct progress_line *line = flags->quiet ? NULL : progress_new("tuning");
    struct tune_hooks hooks = {.threads = flags->threads,
                               .progress = line == NULL ? NULL : show_progress,
                               .context = line};
    struct tune_outcome o;
    struct tune_report r = {.s = s, .o = &o};
    int status = tune_search(s, &hooks, &o, e);

    progress_free(line);
    if (status == 0)
        status = report(&r, flags, out, e);
    tune_outcome_release(&o);
    return status;
}

/* Refuses names that the study does not have. */
static int check(const struct tune_spec *spec, const struct tune_space *space,
                 struct err *e)
{
    if (*spec->against == '\0' || policy_of(space, spec->against) != TUNE_NONE)
        return 0;
    return cfg_error(cfg_find(spec->node, "against"), e,
                     "the study has no policy '%.40s'; name one of its policies",
                     spec->against);
}

static int tune(struct cfg *config, const struct experiment_folders *folders,
                struct shared *shared, const struct tune_flags *flags, const char *out,
                struct err *e)
{
    struct tune_spec spec;
    struct tune_space *space = NULL;
    int status = tune_spec_read(config, &spec, e);

    if (status == 0) {
        space = tune_space_new(config, spec.over, e);
        status = space == NULL ? -1 : check(&spec, space, e);
    }
    if (status == 0) {
        struct tune_study s = {config, &spec, space, folders, shared};

        status = search(&s, flags, out, e);
    }
    tune_space_free(space);
    tune_spec_release(&spec);
    return status;
}

/* A question by name, or the search of `tune:`. 0, 1 (stopped by a signal) or -1. */
static int ask(struct cfg *config, const struct experiment_folders *folders,
               struct shared *shared, const struct tune_flags *flags, const char *out,
               struct err *e)
{
    struct tune_largest largest = {folders, shared, flags->threads, flags->json, out};
    uint64_t context[TUNE_CONTEXTS];
    struct cpu_moe_task cpu_moe = {.study = config,
                                   .folders = folders,
                                   .shared = shared,
                                   .threads = flags->threads,
                                   .context = context};

    if (flags->largest)
        return tune_largest(config, &largest, e);
    if (!flags->cpu_moe)
        return tune(config, folders, shared, flags, out, e);
    if (flags->contexts != NULL) {
        cpu_moe.contexts = tune_contexts(flags->contexts, context, e);
        if (cpu_moe.contexts == 0)
            return -1;
    }
    return tune_cpu_moe(&cpu_moe, flags->json, out, e);
}

static int ask_with_trace(struct cfg *config, const struct folders *folders,
                          const struct tune_flags *flags, const char *out, struct err *e)
{
    enum { KEPT_EACH = 64 }; /* of what is shared, for each thread */
    struct experiment_folders where = {folders->models, folders->machines,
                                       folders->presets};
    struct shared *shared = shared_new(KEPT_EACH * flags->threads);
    void *image = take_trace(shared, config);
    int status = ask(config, &where, shared, flags, out, e);

    if (status == 1)
        (void)err_set(e, "stopped by a signal, before the search had ended; "
                         "nothing was written");
    shared_free(shared);
    free(image);
    return status == 0 ? EXIT_GOOD : EXIT_BAD;
}

/* With --out, the files are in place if all went well. */
static int tune_into(struct cfg *config, const char *path, const struct folders *folders,
                     const struct tune_flags *flags, struct err *e)
{
    static const char *const best[] = {"tune.csv", "best.yaml", "result.h5", NULL};
    static const char *const largest[] = {"largest.csv", NULL};
    static const char *const cpu_moe[] = {"n-cpu-moe.csv", "best.yaml", NULL};
    const char *const *own = flags->largest ? largest : flags->cpu_moe ? cpu_moe : best;
    struct folder_out *f;
    int status;

    if (flags->out == NULL)
        return ask_with_trace(config, folders, flags, NULL, e);
    f = config_folder(config, path, flags->out, own, e);
    if (f == NULL)
        return EXIT_BAD;
    status = ask_with_trace(config, folders, flags, folder_out_name(f), e);
    if (status != EXIT_GOOD)
        folder_out_abandon(f, e);
    else if (folder_out_commit(f, e) != 0)
        status = EXIT_BAD;
    else if (!flags->json)
        plain_printf(stdout, "\nWritten: %s/%s\n", flags->out,
                     flags->largest   ? "largest.csv"
                     : flags->cpu_moe ? "best.yaml, n-cpu-moe.csv"
                                      : "best.yaml, result.h5, tune.csv");
    return status;
}

static const char tune_help[] =
    "Searches for the best point of CONFIG's `tune:` within a number of runs:\n\n"
    "    tune:\n"
    "      minimise: tpot_p99          # or maximise; a list of two: their front\n"
    "      over:                       # keys and values as in `sweep:`\n"
    "        cache.name: [lru, s3fifo, sieve]   # of every policy\n"
    "        cache.slots: 4..16\n"
    "        workload.batch: 1..64 log2\n"
    "      at_most: {ttft_p99: 500 ms, gpu_peak: 70 GB}\n"
    "      at_least: {hit_rate: 70 %}\n"
    "      evaluations: 60             # runs, those over a part of the trace too\n"
    "      seeds: 5                    # runs of the best, to say how sure it is\n\n"
    "If CONFIG has several policies, which one it should be is searched, too; those\n"
    "that know what comes later are left out. Goals and limits are figures as in\n"
    "summary.csv. What is printed as best was run over the whole trace and keeps to\n"
    "all limits; without such a point the exit status is 1.\n\n"
    "Two questions have a name, and need no `tune:`: --largest-batch, and\n\n"
    "    moesim tune traces/samples/tune-n-cpu-moe.yaml --n-cpu-moe --context 32768";

int cmd_tune(int argc, char **argv)
{
    struct tune_flags flags = {.threads = 1};
    struct flag table[] = {
        {"--out", 'o', FLAG_TEXT, &flags.out, "FOLDER",
         "write best.yaml (which `moesim run` runs), its result.h5, and tune.csv there"},
        {"--set", 's', FLAG_LIST, &flags.set, "KEY=VALUE",
         "override the configuration, e.g. tune.evaluations=100"},
        {"--threads", 't', FLAG_COUNT, &flags.threads, "N",
         "runs at a time (default 1); the outcome is the same"},
        {"--largest-batch", 0, FLAG_SWITCH, &flags.largest, NULL,
         "instead: of each policy the largest batch that GPU memory takes, and "
         "what it gives"},
        {"--n-cpu-moe", 0, FLAG_SWITCH, &flags.cpu_moe, NULL,
         "instead: of how many MoE layers the experts must stay on the CPU, the first or "
         "the last ones, so that all else fits beside the KV cache, and how fast that "
         "is"},
        {"--context", 0, FLAG_TEXT, &flags.contexts, "TOKENS,...",
         "with --n-cpu-moe: lengths that each sequence's KV cache has room for (default: "
         "the study's own, or its longest request and powers of two from 4096 to 131072 "
         "that "
         "fit at all)"},
        {"--json", 0, FLAG_SWITCH, &flags.json, NULL, "print JSON instead of text"},
        {"--quiet", 'q', FLAG_SWITCH, &flags.quiet, NULL, "no progress line"},
        {.name = NULL},
    };
    const struct command command = {
        "moesim tune CONFIG [flags]", tune_help,
        "moesim tune traces/samples/tune.yaml --out out/tune --threads 2", table};
    struct folders folders = {.models = NULL};
    struct err e = {.text = ""};
    struct cfg *config = NULL;
    int status = EXIT_BAD, count = flags_parse(&command, argc, argv);

    if (count < 0)
        return count == -2 ? EXIT_GOOD : EXIT_MISUSE;
    if (count != 1)
        return flags_misuse(&command,
                            "tune takes one configuration file, such as study.yaml");
    if (flags.largest && flags.cpu_moe)
        return flags_misuse(&command,
                            "--largest-batch and --n-cpu-moe are two questions; "
                            "ask one at a time");
    if (flags.contexts != NULL && !flags.cpu_moe)
        return flags_misuse(&command, "--context needs --n-cpu-moe");
    file_catch_signals();
    if (folders_find(&folders, &e) == 0)
        config = config_load(argv[0], &flags.set, &e);
    if (config != NULL) {
        config_make_absolute(config);
        if (loops_refuse(config, &e) == 0)
            status = tune_into(config, argv[0], &folders, &flags, &e);
    }
    if (status != EXIT_GOOD)
        (void)cmd_fail(&e);
    cfg_free(config);
    folders_release(&folders);
    free(flags.set.item);
    return status;
}

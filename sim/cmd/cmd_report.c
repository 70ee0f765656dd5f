#include "sim/experiment/curve_run.h"
#include "sim/report/report.h"
#include "sim/report/report_sweep.h"
#include "sim/report/report_validation.h"

#include "cmd.h"
#include "sim/base/file.h"
#include "sim/base/folder.h"
#include "sim/base/mem.h"
#include "sim/base/plain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* All files of a page appear together, or none where its status is -1. */
static int finish(struct folder_out *f, int status, struct err *e)
{
    if (status >= 0)
        return folder_out_commit(f, e) == 0 ? status : -1;
    folder_out_abandon(f, e);
    return -1;
}

static int write_page(const struct report_request *page, struct err *e)
{
    struct folder_out *f = folder_out_new(page->place.folder, e);
    struct report_request inside = *page;
    int status = 0;

    if (f == NULL)
        return -1;
    report_own_files(f);
    for (size_t i = 0; i < page->count && status == 0; i++)
        status = folder_out_check_apart(f, page->results[i]->path, e);
    inside.place.folder = folder_out_name(f);
    if (status == 0)
        status = report_write(&inside, e);
    return finish(f, status, e);
}

struct report_flags {
    const char *out;
    bool pdf;
};

/* ---- hits against slots ---- */

/* Keeps of a result's configuration what counts depend on, and puts LRU and Belady in the
 * policies' place. 0 or -1. */
static int make_curve_config(struct cfg *c, struct err *e)
{
    static const char *const others[] = {
        "machine",     "policies",        "launch",   "home",  "gpu_memory",
        "host_memory", "bounds",          "pageable", "chunk", "engine",
        "passes",      "timeline_passes", "profile"};

    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        cfg_remove(c, others[i]);
    /* The machine has no part in counts. */
    if (cfg_set(c, NULL, "machine", "h200", e) != 0 ||
        cfg_set(c, NULL, "bounds", "no", e) != 0)
        return -1;
    return cfg_set(c, NULL, "policies",
                   "[{name: lru, cache: lru}, {name: belady, cache: belady}]", e);
}

/* Whether every policy has slots of its own in each layer, on one GPU. */
static bool has_slots(const struct result *r)
{
    for (uint32_t i = 0; i < r->policies; i++) {
        const char *cache = r->policy[i].description[SLOT_CACHE];

        if (cache == NULL || strstr(cache, "scope=layer") == NULL)
            return false;
    }
    return !result_is_parallel(r);
}

static void show_curve(void *line, const char *part, uint64_t done, uint64_t total)
{
    progress_part(line, part, done, total);
}

/* Whether the routing that was counted is the result's: a policy of it accessed as many
 * experts. */
static bool is_of_result(const struct curve *c, const struct result *r)
{
    uint64_t accesses = 0;

    for (uint32_t l = 0; l < c->layers; l++)
        accesses += c->layer[l].accesses;
    for (uint32_t i = 0; i < r->policies; i++)
        if (r->policy[i].run.total.counts.accesses == accesses)
            return true;
    return false;
}

/* Counts again what LRU and Belady hit with any number of slots, if the trace is there.
 * 0; 1: it cannot be had, which is said; or -1. */
static int find_curve(const struct result *r, const struct folders *folders,
                      struct curve *curve, struct err *e)
{
    const struct experiment_folders where = {folders->models, folders->machines,
                                             folders->presets};
    const char *text = r->config == NULL ? "" : r->config;
    struct err why = {.text = ""};
    struct cfg *c = has_slots(r) ? cfg_parse("result", text, strlen(text), &why) : NULL;
    struct progress_line *line = c == NULL ? NULL : progress_new("curve of");
    const struct curve_request request = {
        .threads = 1, .progress = line == NULL ? NULL : show_curve, .context = line};
    int status = c != NULL && make_curve_config(c, &why) == 0 &&
                         curve_check(c, &where, &request, &why) == 0
                     ? 0
                     : 1;

    if (status == 0)
        status = curve_run(c, &where, &request, curve, e);
    if (status == 0 && !is_of_result(curve, r)) {
        (void)err_set(&why, "%s is not what the result was made of", curve->trace_path);
        curve_release(curve);
        status = 1;
    }
    progress_free(line);
    cfg_free(c);
    if (status == 1 && why.text[0] != '\0')
        (void)fprintf(
            stderr, "moesim: note: no figure of what LRU and Belady hit over slots: %s\n",
            why.text);
    return status;
}

/* ---- pages ---- */

static int report(char **paths, size_t count, const struct report_flags *flags,
                  const struct folders *folders, struct err *e)
{
    struct result *r = mem_zalloc(count, sizeof *r);
    const struct result **all = mem_alloc(count, sizeof *all);
    struct report_request page = {.results = all,
                                  .count = count,
                                  .place = {flags->out, folders->plots, flags->pdf}};
    struct curve curve;
    size_t read = 0;
    int status = 0;

    for (; status == 0 && read < count; read += status == 0) {
        status = result_read(paths[read], &r[read], e);
        all[read] = &r[read];
    }
    if (status == 0) {
        status = find_curve(all[0], folders, &curve, e);
        page.curve = status == 0 ? &curve : NULL;
    }
    if (status >= 0)
        status = write_page(&page, e);
    if (page.curve != NULL)
        curve_release(&curve);
    for (size_t i = 0; i < read; i++)
        result_release(&r[i]);
    free(all);
    free(r);
    return status;
}

/* The page of what another command left in a folder. */
static int report_left(const char *from, const struct report_flags *flags,
                       const struct folders *folders, void (*own)(struct folder_out *),
                       int (*write)(const char *, const struct report_place *,
                                    struct err *),
                       struct err *e)
{
    struct folder_out *f = folder_out_new(flags->out, e);
    struct report_place place = {.plots = folders->plots, .pdf = flags->pdf};

    if (f == NULL)
        return -1;
    own(f);
    place.folder = folder_out_name(f);
    return finish(f, write(from, &place, e), e);
}

static bool has_file(const char *folder, const char *name)
{
    char *path = mem_format("%s/%s", folder, name);
    bool has = access(path, F_OK) == 0;

    free(path);
    return has;
}

static bool is_folder(const char *path)
{
    struct stat s;

    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

/* The page of a folder: of a run, a sweep, or a validation. */
static int report_folder(const char *folder, const struct report_flags *flags,
                         const struct folders *folders, struct err *e)
{
    char *result = mem_format("%s/result.h5", folder);
    int status;

    if (has_file(folder, "study.yaml"))
        status = report_left(folder, flags, folders, report_sweep_own_files,
                             report_sweep_write, e);
    else if (has_file(folder, "summary.json"))
        status = report_left(folder, flags, folders, report_validation_own_files,
                             report_validation_write, e);
    else if (has_file(folder, "result.h5"))
        status = report(&result, 1, flags, folders, e);
    else
        status = err_set(e,
                         "%s: holds no result.h5 of a run, study.yaml of a sweep or "
                         "summary.json of a validation; name what --out named there",
                         folder);
    free(result);
    return status;
}

int cmd_report(int argc, char **argv)
{
    struct report_flags flags = {.out = NULL};
    struct flag table[] = {
        {"--out", 'o', FLAG_TEXT, &flags.out, "FOLDER",
         "where report.html and figures go"},
        {"--pdf", 0, FLAG_SWITCH, &flags.pdf, NULL, "draw the figures as PDF too"},
        {.name = NULL},
    };
    const struct command command = {
        "moesim report RESULT... -o FOLDER\n"
        "       moesim report OUT -o FOLDER",
        "Writes one self-contained HTML page: who wins, why, and what to beware of; "
        "then\n"
        "tables, figures, what limits each policy, configuration and provenance. The\n"
        "figures (SVG, by gnuplot; PDF for papers) and their data (CSV) stand there "
        "too.\n"
        "Several results are compared, over what their configurations differ in. OUT is\n"
        "what another command wrote: `moesim run`; `moesim sweep` (what decides, the\n"
        "knee of each axis, who wins where, the front); or `moesim validate` (predicted\n"
        "against measured).",
        "moesim report out/demo/result.h5 -o out/demo", table};
    struct folders folders = {.models = NULL};
    struct err e = {.text = ""};
    int status = -1;
    int count = flags_parse(&command, argc, argv);

    if (count < 0)
        return count == -2 ? EXIT_GOOD : EXIT_MISUSE;
    if (count < 1 || flags.out == NULL)
        return flags_misuse(&command,
                            "report takes one or more results and --out FOLDER");
    if (folders_find(&folders, &e) == 0)
        status = count == 1 && is_folder(argv[0])
                     ? report_folder(argv[0], &flags, &folders, &e)
                     : report(argv, (size_t)count, &flags, &folders, &e);
    folders_release(&folders);
    if (status < 0)
        return cmd_fail(&e);
    if (status == 1)
        (void)fprintf(stderr, "moesim: note: figures are missing, because gnuplot is not "
                              "installed or failed; the page names their data\n");
    plain_printf(stdout, "Written: %s/report.html\n", flags.out);
    return EXIT_GOOD;
}

#include "cmd.h"
#include "ranks.h"
#include "sweep_collect.h"
#include "sim/base/child.h"
#include "sim/base/file.h"
#include "sim/base/json.h"
#include "sim/base/mem.h"
#include "sim/base/plain.h"
#include "traces/trace_image.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

struct sweep_flags {
    const char *out, *shard, *index, *jsonl;
    struct flag_list set;
    unsigned threads;
    bool list, quiet;
    struct sweep_part part; /* of shard and index */
};

/* ---- which part ---- */

static bool take_whole(const char *text, char until, uint64_t *value, const char **rest)
{
    char *end;

    if (*text < '0' || *text > '9' || strlen(text) > 18)
        return false;
    *value = strtoull(text, &end, 10);
    *rest = end + 1;
    return *end == until;
}

/* NULL, or what is wrong. */
static const char *read_part(struct sweep_flags *f)
{
    enum { MOST_SHARDS = 1000000 };
    const char *rest;
    struct sweep_part *p = &f->part;

    *p = (struct sweep_part){.shards = 1};
    if (f->shard != NULL && f->index != NULL)
        return "--shard and --index exclude each other; choose one";
    if (f->shard != NULL) {
        if (!take_whole(f->shard, '/', &p->shard, &rest) ||
            !take_whole(rest, '\0', &p->shards, &rest) || p->shard < 1 ||
            p->shard > p->shards || p->shards > MOST_SHARDS)
            return "--shard takes I/N, I from 1 to N, N up to a million, such as 2/8";
        p->shard--;
    }
    p->single = f->index != NULL;
    if (p->single && !take_whole(f->index, '\0', &p->index, &rest))
        return "--index takes the number of a point, from 0";
    return NULL;
}

/* ---- one command a point ---- */

static void print_quoted(const char *text)
{
    (void)fputc('\'', stdout);
    for (; *text != '\0'; text++)
        (void)fputs(*text == '\'' ? "'\\''" : (char[]){*text, '\0'}, stdout);
    (void)fputc('\'', stdout);
}

static int by_number(const void *a, const void *b)
{
    const uint64_t *p = a, *q = b;

    return *p < *q ? -1 : *p > *q;
}

static int list_points(const struct sweep *s, const char *study,
                       const struct sweep_flags *flags)
{
    uint64_t count = sweep_part_count(s);
    uint64_t *point = mem_alloc(count, sizeof *point);
    char *program = child_own_path();

    for (uint64_t i = 0; i < count; i++)
        point[i] = sweep_part_point(s, i);
    qsort(point, count, sizeof *point, by_number);
    for (uint64_t i = 0; i < count; i++) {
        if (sweep_point_done(s, point[i]))
            continue;
        print_quoted(program == NULL ? "moesim" : program);
        (void)fputs(" sweep ", stdout);
        print_quoted(study);
        (void)fputs(" --out ", stdout);
        print_quoted(flags->out);
        for (size_t k = 0; k < flags->set.count; k++) {
            (void)fputs(" --set ", stdout);
            print_quoted(flags->set.item[k]);
        }
        (void)printf(" --index %" PRIu64 "\n", point[i]);
    }
    free(program);
    free(point);
    return EXIT_GOOD;
}

/* ---- what is told of each point ---- */

struct telling {
    const struct sweep *s;
    struct progress_line *line;
    FILE *jsonl; /* NULL: none */
    uint64_t total;
};

static void json_policies(const struct result *r, FILE *out)
{
    (void)fputs(", \"policies\": [", out);
    for (uint32_t i = 0; i < r->policies; i++) {
        const struct result_policy *p = &r->policy[i];
        struct result_summary s = result_summarise(p);

        (void)fputs(i == 0 ? "{\"label\": " : ", {\"label\": ", out);
        json_string(out, p->label);
        (void)fprintf(
            out, ", \"digest\": \"%016" PRIx64 "\", \"tokens_per_s\": ", p->run.digest);
        json_number(out, s.tokens_per_s);
        (void)fputs(", \"tpot_p50_s\": ", out);
        json_number(out, s.tpot_p50);
        (void)fputs(", \"hit_rate\": ", out);
        json_number(out, s.hit_rate);
        (void)fputc('}', out);
    }
    (void)fputc(']', out);
}

/* One line, written at once. */
static void print_line(const struct telling *t, const struct sweep_finished *f)
{
    static const char *const outcome[] = {"done", "failed", "was done"};
    const struct sweep_points *points = sweep_get_points(t->s);
    FILE *out = t->jsonl;
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    (void)fprintf(out,
                  "{\"point\": %" PRIu64 ", \"identity\": \"%s\", \"outcome\": \"%s\"",
                  f->point, sweep_point_name(t->s, f->point).text, outcome[f->outcome]);
    (void)fputs(", \"seconds\": ", out);
    json_number(out, f->seconds);
    (void)fprintf(out, ", \"peak_memory_bytes\": %lld, \"rank\": %u, \"keys\": {",
                  1024LL * usage.ru_maxrss, ranks_number());
    for (size_t k = 0; k < sweep_points_keys(points); k++) {
        char *value = sweep_points_value(points, f->point, k);

        (void)fputs(k == 0 ? "" : ", ", out);
        json_string(out, sweep_points_key(points, k));
        (void)fputs(": ", out);
        json_string(out, value);
        free(value);
    }
    (void)fputc('}', out);
    if (f->why != NULL) {
        (void)fputs(", \"why\": ", out);
        json_string(out, f->why);
    }
    if (f->r != NULL)
        json_policies(f->r, out);
    (void)fputs("}\n", out);
    (void)fflush(out);
}

static void tell(void *context, const struct sweep_finished *f)
{
    struct telling *t = context;

    if (t->jsonl != NULL)
        print_line(t, f);
    progress_points(t->line, ranks_done(1), t->total);
}

/* Lines are added to a file; each rank but the first has its own. NULL on failure. */
static FILE *open_jsonl(const char *path, struct err *e)
{
    char *name;
    FILE *out;

    if (strcmp(path, "-") == 0)
        return stdout;
    name = ranks_number() == 0 ? mem_strdup(path)
                               : mem_format("%s.%u", path, ranks_number());
    out = fopen(name, "a");
    if (out == NULL)
        (void)err_set(e, "'%s' cannot be written: %s; give another file with --jsonl",
                      name, strerror(errno));
    free(name);
    return out;
}

static int close_jsonl(FILE *out, const char *path, struct err *e)
{
    bool bad = out != NULL && ferror(out) != 0;

    if (out == NULL || out == stdout)
        return 0;
    if (fclose(out) != 0 || bad)
        return err_set(e, "%s cannot be written; is the disk full?", path);
    return 0;
}

/* ---- traces in memory ---- */

/* Reads a trace for all ranks of this machine. One that is not good will be refused point
 * by point. 0, or -1: it cannot be had in memory. */
static int take_trace(struct shared *shared, const char *path, size_t *used)
{
    struct err ignored = {.text = ""};
    struct trace *t = trace_open(path, NULL, &ignored);
    size_t bytes = t == NULL ? 0 : trace_image_bytes(t);
    void *image = NULL;
    int status = -1;

    *used += bytes;
    if (ranks_agree(bytes > 0 && *used <= trace_image_most() ? 0 : -1) == 0)
        image = ranks_memory(bytes);
    if (ranks_agree(image != NULL ? 0 : -1) == 0) {
        status = ranks_fills() ? trace_image_fill(t, image, &ignored) : 0;
        status = ranks_agree(status);
    }
    trace_close(t);
    if (status == 0)
        shared_lend_trace(shared, path, image);
    return status;
}

static void take_traces(struct shared *shared, const struct sweep *s)
{
    const char *const *path;
    size_t count = sweep_traces(s, &path), used = 0;

    for (size_t i = 0; i < count; i++)
        (void)take_trace(shared, path[i], &used);
}

/* ---- the whole ---- */

static uint64_t take(void *context)
{
    (void)context;
    return ranks_take();
}

/* This rank's share. 0, 1, -1 as sweep_run(). */
static int work(struct sweep *s, const struct sweep_flags *flags, struct shared *shared,
                struct telling *t, struct err *e)
{
    struct sweep_work how = {.threads = flags->threads,
                             .workers = ranks_count(),
                             .take = take,
                             .finished = tell,
                             .context = t,
                             .shared = shared};
    int status;

    t->total = sweep_part_count(s);
    status = sweep_run(s, &how, e);
    if (status != 0)
        ranks_stop();
    return status;
}

/* The first rank makes the folder; the others find its study there. 0, or -1 on all. */
static int claim(struct sweep *s, struct err *e)
{
    int status = ranks_number() == 0 ? sweep_claim(s, e) : 0;

    if (ranks_agree(status) != 0)
        return -1;
    return ranks_agree(ranks_number() == 0 ? 0 : sweep_claim(s, e));
}

/* All ranks run a study. 0, 1, -1 as sweep_run(). */
static int run(struct sweep *s, const struct sweep_flags *flags, struct shared *shared,
               struct err *e)
{
    struct telling t = {.s = s};
    int status = claim(s, e);

    if (status != 0)
        return -1;
    if (flags->jsonl != NULL) {
        t.jsonl = open_jsonl(flags->jsonl, e);
        status = t.jsonl == NULL ? -1 : 0;
    }
    t.line = flags->quiet || ranks_number() != 0 ? NULL : progress_new("sweeping");
    status = ranks_agree(status) == 0 ? work(s, flags, shared, &t, e) : -1;
    progress_free(t.line);
    if (close_jsonl(t.jsonl, flags->jsonl, e) != 0)
        status = -1;
    ranks_meet();
    return status;
}

/* Writes the tables, and says what there is. An exit status. */
static int conclude(const struct sweep *s, const char *folder, bool quiet, bool print,
                    struct err *e)
{
    struct progress_line *line = quiet ? NULL : progress_new("collecting");
    struct sweep_collected c;
    int status = sweep_collect(s, folder, line, &c, e);

    progress_free(line);
    if (status == 0 && print) {
        sweep_collected_print(s, &c, stdout);
        plain_printf(stdout, "\nWritten: %s/sweep.h5, sweep.csv\n", folder);
    }
    if (status == 1)
        (void)err_set(e, "stopped by a signal; the tables are not written");
    if (status == 0 && c.missing > 0)
        status = err_set(e, "%" PRIu64 " points are missing; run moesim sweep to its end",
                         c.missing);
    else if (status == 0 && c.failed > 0)
        status = err_set(e, "%" PRIu64 " points failed; sweep.csv says why", c.failed);
    sweep_collected_release(&c);
    return status == 0 ? EXIT_GOOD : EXIT_BAD;
}

/* What was asked for, of a sweep that all ranks have found. An exit status. */
static int carry_out(struct sweep *s, const char *study, const struct sweep_flags *flags,
                     struct shared *shared, struct err *e)
{
    bool whole = flags->shard == NULL && flags->index == NULL;
    bool says = flags->jsonl == NULL || strcmp(flags->jsonl, "-") != 0;
    int status;

    if (flags->part.single &&
        flags->part.index >= sweep_points_count(sweep_get_points(s))) {
        (void)err_set(e, "--index %" PRIu64 " is beyond the last point, %" PRIu64,
                      flags->part.index, sweep_points_count(sweep_get_points(s)) - 1);
        return EXIT_BAD;
    }
    take_traces(shared, s);
    if (ranks_agree(sweep_identify(s, &flags->part, shared, e)) != 0)
        return EXIT_BAD;
    if (flags->list)
        return ranks_number() == 0 ? list_points(s, study, flags) : EXIT_GOOD;
    status = run(s, flags, shared, e);
    if (status == 1)
        (void)err_set(e, "stopped by a signal; the points that were finished are kept, "
                         "and the same command goes on from there");
    if (status == 0 && whole && ranks_number() == 0)
        return conclude(s, flags->out, flags->quiet, says, e);
    return status == 0 ? EXIT_GOOD : EXIT_BAD;
}

static int sweep(struct cfg *config, const char *path, const struct folders *folders,
                 const struct sweep_flags *flags, struct err *e)
{
    enum { KEPT_EACH = 64 }; /* of what is shared, for each thread */
    struct experiment_folders where = {folders->models, folders->machines,
                                       folders->presets};
    struct shared *shared = shared_new(KEPT_EACH * flags->threads);
    struct sweep *s;
    int status = EXIT_BAD;

    config_make_absolute(config);
    s = sweep_new(config, flags->out, &where, e);
    if (ranks_agree(s == NULL ? -1 : 0) == 0)
        status = carry_out(s, path, flags, shared, e);
    sweep_free(s);
    shared_free(shared);
    return status;
}

/* `moesim sweep collect FOLDER`: by the study that is kept there. */
static int collect(const char *folder, const struct folders *folders,
                   const struct sweep_flags *flags, struct err *e)
{
    struct experiment_folders where = {folders->models, folders->machines,
                                       folders->presets};
    char *study = mem_format("%s/study.yaml", folder);
    struct cfg *config = access(study, F_OK) == 0 ? cfg_load(study, e) : NULL;
    struct sweep *s = config == NULL ? NULL : sweep_new(config, folder, &where, e);
    int status = EXIT_BAD;

    if (config == NULL)
        (void)err_set(e,
                      "%s: holds no sweep (study.yaml is not there); name the folder "
                      "that moesim sweep had as --out",
                      folder);
    if (s != NULL && sweep_identify(s, &flags->part, NULL, e) == 0)
        status = conclude(s, folder, flags->quiet, true, e);
    sweep_free(s);
    cfg_free(config);
    free(study);
    return status;
}

static int sweep_or_collect(char **argv, int count, const struct sweep_flags *flags,
                            struct err *e)
{
    struct folders folders = {.models = NULL};
    struct cfg *config = NULL;
    int status = EXIT_BAD;

    if (folders_find(&folders, e) != 0) {
        status = EXIT_BAD;
    } else if (count == 2) {
        status = ranks_number() == 0 ? collect(argv[1], &folders, flags, e) : EXIT_GOOD;
    } else {
        config = config_load(argv[0], &flags->set, e);
        if (ranks_agree(config == NULL ? -1 : 0) == 0)
            status = sweep(config, argv[0], &folders, flags, e);
    }
    cfg_free(config);
    folders_release(&folders);
    return status;
}

int cmd_sweep(int argc, char **argv)
{
    struct sweep_flags flags = {.threads = 1};
    struct flag table[] = {
        {"--out", 'o', FLAG_TEXT, &flags.out, "FOLDER",
         "where points are kept and tables written; what is there is not done again"},
        {"--set", 's', FLAG_LIST, &flags.set, "KEY=VALUE",
         "override the configuration, e.g. sweep.cache.slots=[2,4]"},
        {"--threads", 't', FLAG_COUNT, &flags.threads, "N",
         "points at a time in this program (default 1)"},
        {"--shard", 0, FLAG_TEXT, &flags.shard, "I/N",
         "only the I-th of N parts of the work; then `moesim sweep collect FOLDER`"},
        {"--index", 0, FLAG_TEXT, &flags.index, "K", "only point K, from 0"},
        {"--list", 0, FLAG_SWITCH, &flags.list, NULL,
         "run nothing; print a command for each point that is not done"},
        {"--jsonl", 0, FLAG_TEXT, &flags.jsonl, "FILE",
         "add a line of JSON to FILE for each finished point (- : standard output)"},
        {"--quiet", 'q', FLAG_SWITCH, &flags.quiet, NULL, "no progress line"},
        {.name = NULL},
    };
    const struct command command = {
        "moesim sweep CONFIG --out FOLDER [flags]\n"
        "       moesim sweep collect FOLDER",
        "Runs CONFIG once for each point of its `sweep:`, of keys to values:\n\n"
        "    sweep:\n"
        "      cache.slots: [4, 8, 16]            # of every policy\n"
        "      workload.batch: 1..64 log2         # 1, 2, 4, ... 64\n"
        "      machine.h2d_pinned.bandwidth: 16..64 GB/s in 4\n"
        "      points: {method: sobol, count: 200}   # without: the whole grid\n\n"
        "Methods: grid, random, latin-hypercube, sobol (at most 40 keys). Each point is\n"
        "a result in FOLDER/points, without a record per pass unless CONFIG says\n"
        "`passes: yes`; stopped or killed, the same command goes on from there. All\n"
        "points draw the same random numbers. `mpirun -n 8 build/moesim-mpi sweep ...`\n"
        "(make ranks) spreads the work over ranks and machines.",
        "moesim sweep study.yaml --out out/sweep --threads 2", table};
    struct err e = {.text = ""};
    const char *wrong;
    bool collects;
    int status, count = flags_parse(&command, argc, argv);

    if (count < 0)
        return count == -2 ? EXIT_GOOD : EXIT_MISUSE;
    collects = count == 2 && strcmp(argv[0], "collect") == 0;
    wrong = read_part(&flags);
    if (wrong == NULL && !collects && count != 1)
        wrong = "sweep takes one configuration file, such as study.yaml";
    if (wrong == NULL && !collects && flags.out == NULL)
        wrong = "sweep needs --out FOLDER, where points are kept";
    if (wrong == NULL && collects &&
        (flags.out != NULL || flags.shard != NULL || flags.index != NULL || flags.list ||
         flags.jsonl != NULL || flags.set.count > 0 || flags.threads > 1))
        wrong = "sweep collect takes the folder of a sweep, and --quiet";
    if (wrong == NULL && !collects && *flags.out == '\0')
        wrong = "--out needs the name of a folder";
    if (wrong == NULL && flags.jsonl != NULL && *flags.jsonl == '\0')
        wrong = "--jsonl needs the name of a file";
    if (wrong == NULL && flags.list && (flags.jsonl != NULL || flags.threads > 1))
        wrong = "--list runs nothing; give --jsonl and --threads to what runs the points";
    if (wrong != NULL)
        return flags_misuse(&command, wrong);
    file_catch_signals();
    if (ranks_begin(&argc, &argv, &e) != 0) {
        status = cmd_fail(&e);
    } else {
        status = sweep_or_collect(argv, count, &flags, &e);
        if (ranks_speaks(e.text[0] != '\0'))
            (void)cmd_fail(&e);
        status = ranks_end(status);
    }
    free(flags.set.item);
    return status;
}

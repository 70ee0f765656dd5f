#include "cmd.h"
#include "sim/base/file.h"
#include "sim/base/folder.h"
#include "sim/base/mem.h"
#include "sim/base/plain.h"
#include "sim/experiment/curve_run.h"
#include "sim/report/print_curve.h"
#include "sim/report/plot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct curve_flags {
    const char *model, *scope, *protect, *order, *slots, *out;
    struct flag_list policy, set;
    unsigned batch, threads; /* batch 0: not given */
    bool json, csv, quiet;
};

/* ---- the configuration ---- */

/* A text as it is, not as YAML. */
static int set_text(struct cfg *c, const char *source, const char *key, const char *text,
                    struct err *e)
{
    if (cfg_set(c, source, key, "\"\"", e) != 0)
        return -1;
    cfg_set_text(c, cfg_find(cfg_root(c), key), text);
    return 0;
}

/* "lfu-aging decay=0.98" for {name: lfu-aging, decay: 0.98}; owned. */
static char *label_of(const struct cfg_node *cache)
{
    const struct cfg_node *name = cfg_find(cache, "name");
    char *label =
        mem_strdup(name == NULL || cfg_text(name) == NULL ? "lru" : cfg_text(name));

    for (size_t i = 0; i < cfg_count(cache); i++) {
        const char *value = cfg_text(cfg_item(cache, i));
        char *longer;

        if (strcmp(cfg_key(cache, i), "name") == 0 || value == NULL)
            continue;
        longer = mem_format("%s %s=%s", label, cfg_key(cache, i), value);
        free(label);
        label = longer;
    }
    return label;
}

/* One of --scope, --protect, --order, unless the policy says so itself. */
static int set_shared(struct cfg *c, const struct cfg_node *cache, const char *at,
                      const char *key, const char *value, struct err *e)
{
    char *source = mem_format("--%s %s", key, value);
    char *path = mem_format("%s.%s", at, key);
    int status = cfg_find(cache, key) != NULL ? 0 : cfg_set(c, source, path, value, e);

    free(source);
    free(path);
    return status;
}

/* The label of a policy is its own, which its options make it. */
static int set_label(struct cfg *c, const struct cfg_node *policy, const char *label,
                     struct err *e)
{
    const struct cfg_node *all = cfg_find(cfg_root(c), "policies");

    for (size_t i = 0; cfg_item(all, i) != policy; i++)
        if (strcmp(cfg_text(cfg_find(cfg_item(all, i), "name")), label) == 0)
            return cfg_error(policy, e, "is there twice; leave one out");
    cfg_set_text(c, cfg_find(policy, "name"), label);
    return 0;
}

/* `at`: where the cache of the policy is in `c`. */
static int fill_policy(struct cfg *c, const char *at, const struct cfg_node *policy,
                       const struct curve_flags *flags, struct err *e)
{
    const struct cfg_node *cache = cfg_find(policy, "cache");
    char *label = label_of(cache); /* of what the user wrote */
    int status = set_shared(c, cache, at, "scope", flags->scope, e);

    if (status == 0)
        status = set_shared(c, cache, at, "protect", flags->protect, e);
    if (status == 0)
        status = set_shared(c, cache, at, "order", flags->order, e);
    if (status == 0)
        status = set_label(c, policy, label, e);
    free(label);
    return status;
}

/* `text`: a cache algorithm's name, or a mapping of it and its options. */
static int add_policy(struct cfg *c, const char *text, size_t number,
                      const struct curve_flags *flags, struct err *e)
{
    char *source = mem_format("--policy %s", text);
    char *policy = mem_format("policies.%zu", number);
    char *cache = mem_format("%s.cache", policy);
    char *name = mem_format("%s.cache.name", policy);
    const struct cfg_node *node = NULL;
    int status = cfg_set(c, source, policy, "{name: \"\"}", e);

    if (status == 0)
        status = cfg_set(c, source, cache, text, e);
    if (status == 0) {
        node = cfg_item(cfg_find(cfg_root(c), "policies"), number);
        if (cfg_is_list(cfg_find(node, "cache")))
            status = cfg_error(node, e,
                               "is a list; expected a name, or a mapping such as {name: "
                               "lfu-aging, decay: 0.98}");
        else if (cfg_is_scalar(cfg_find(node, "cache")))
            status = cfg_set(c, source, cache, "{}", e) != 0 ||
                             cfg_set(c, source, name, text, e) != 0
                         ? -1
                         : 0;
    }
    if (status == 0)
        status = fill_policy(c, cache, node, flags, e);
    free(source);
    free(policy);
    free(cache);
    free(name);
    return status;
}

static int add_policies(struct cfg *c, const struct curve_flags *flags, struct err *e)
{
    static const char *const usual[] = {"lru", "belady"};
    size_t count = flags->policy.count > 0 ? flags->policy.count : 2;
    int status = cfg_set(c, NULL, "policies", "[]", e);

    for (size_t i = 0; status == 0 && i < count; i++)
        status = add_policy(c, flags->policy.count > 0 ? flags->policy.item[i] : usual[i],
                            i, flags, e);
    return status;
}

static int set_model(struct cfg *c, const char *model, struct err *e)
{
    char *source = mem_format("--model %s", model);
    int status = set_text(c, source, "model", model, e);

    free(source);
    return status;
}

static int set_batch(struct cfg *c, unsigned batch, struct err *e)
{
    char *source = mem_format("--batch %u", batch);
    char *value = mem_format("%u", batch);
    int status = cfg_set(c, source, "workload.batch", value, e);

    free(source);
    free(value);
    return status;
}

static int override(struct cfg *c, const struct curve_flags *flags,
                    const char *assignment, struct err *e)
{
    static const char *const known[] = {"workload.", "profile=", "seed="};
    static const char batch[] = "workload.batch=";

    if (flags->batch > 0 && strncmp(assignment, batch, strlen(batch)) == 0)
        return err_set(e, "--batch %u and --set %s say the same twice; give one of them",
                       flags->batch, assignment);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strncmp(assignment, known[i], strlen(known[i])) == 0)
            return cfg_override(c, assignment, e);
    return err_set(e,
                   "--set %s: a curve takes workload.KEY, profile and seed; it has flags "
                   "of its own for what else counts",
                   assignment);
}

static struct cfg *make_config(const char *trace, const struct curve_flags *flags,
                               struct err *e)
{
    struct cfg *c = cfg_new();
    int status = set_text(c, NULL, "trace", trace, e);

    /* The machine has no part in counts. */
    if (status == 0)
        status = cfg_set(c, NULL, "machine", "h200", e);
    if (status == 0)
        status = cfg_set(c, NULL, "bounds", "no", e);
    if (status == 0 && flags->model != NULL)
        status = set_model(c, flags->model, e);
    if (status == 0 && flags->batch > 0)
        status = set_batch(c, flags->batch, e);
    for (size_t i = 0; status == 0 && i < flags->set.count; i++)
        status = override(c, flags, flags->set.item[i], e);
    if (status == 0)
        status = add_policies(c, flags, e);
    if (status == 0)
        return c;
    cfg_free(c);
    return NULL;
}

/* ---- sizes ---- */

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x, y;

    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

/* "4,8,16" in ascending order, each once. 0, or -1 for anything else. */
static int parse_slots(const char *text, uint32_t **slots, uint32_t *count)
{
    const char *at = text;
    uint32_t kept = 0;

    for (;;) {
        char *end;
        unsigned long value;

        errno = 0;
        value = strtoul(at, &end, 10);
        if (*at < '0' || *at > '9' || errno != 0 || value < 1 || value > UINT32_MAX ||
            (*end != ',' && *end != '\0'))
            return -1;
        *slots = mem_grow(*slots, *count, sizeof **slots);
        (*slots)[(*count)++] = (uint32_t)value;
        if (*end == '\0')
            break;
        at = end + 1;
    }
    qsort(*slots, *count, sizeof **slots, compare_numbers);
    for (uint32_t i = 0; i < *count; i++)
        if (kept == 0 || (*slots)[kept - 1] != (*slots)[i])
            (*slots)[kept++] = (*slots)[i];
    *count = kept;
    return 0;
}

/* ---- what is written ---- */

static int write_file(const struct curve *c, const char *folder, const char *name,
                      void (*print)(const struct curve *c, FILE *out), struct err *e)
{
    char *path = mem_format("%s/%s", folder, name);
    struct file_out *f = file_out_new(path, e);

    free(path);
    if (f == NULL)
        return -1;
    print(c, file_out_stream(f));
    return file_out_commit(f, e);
}

static int write_files(const struct curve *c, const char *folder, const char *plots,
                       struct err *e)
{
    const struct plot figure = {.kind = "lines",
                                .name = "hit_rate",
                                .title = "How many slots",
                                .x = "",
                                .y = "hits (% of accesses)",
                                .series = curve_figure_series(c)};
    enum plot_drawn drawn = DRAWN;
    int status = 0;

    if (write_file(c, folder, "curve.csv", curve_print_csv, e) != 0 ||
        write_file(c, folder, "reuse.csv", curve_print_reuse_csv, e) != 0 ||
        write_file(c, folder, "hit_rate.csv", curve_print_figure, e) != 0)
        status = -1;
    if (status == 0)
        status = plot_draw(&figure, folder, plots, false, &drawn, e);
    if (drawn != DRAWN)
        (void)fprintf(stderr,
                      "moesim: note: hit_rate.svg is missing, because gnuplot is not "
                      "installed or failed; its data are in hit_rate.csv\n");
    return status;
}

/* ---- the whole ---- */

static void show_progress(void *context, const char *part, uint64_t done, uint64_t total)
{
    progress_part(context, part, done, total);
}

static int run(struct cfg *config, const struct folders *folders, const char *out,
               const struct curve_flags *flags, struct curve_request *request,
               struct err *e)
{
    const struct experiment_folders where = {folders->models, folders->machines,
                                             folders->presets};
    struct progress_line *line = flags->quiet ? NULL : progress_new("curve of");
    struct curve c;
    int status;

    request->progress = line == NULL ? NULL : show_progress;
    request->context = line;
    status = curve_run(config, &where, request, &c, e);
    progress_free(line);
    if (status != 0)
        return -1;
    if (flags->json)
        curve_print_json(&c, stdout);
    else if (flags->csv)
        curve_print_csv(&c, stdout);
    else
        curve_print(&c, stdout);
    if (out != NULL)
        status = write_files(&c, out, folders->plots, e);
    curve_release(&c);
    return status;
}

/* With --out, the files are in place if all went well. */
static int run_into(struct cfg *config, const char *trace, const struct folders *folders,
                    const struct curve_flags *flags, struct curve_request *request,
                    struct err *e)
{
    static const char *const own[] = {"curve.csv",           "reuse.csv",
                                      "hit_rate.csv",        "hit_rate.svg",
                                      "hit_rate-narrow.svg", NULL};
    struct folder_out *f;

    if (flags->out == NULL)
        return run(config, folders, NULL, flags, request, e);
    f = config_folder(config, trace, flags->out, own, e);
    if (f == NULL)
        return -1;
    if (run(config, folders, folder_out_name(f), flags, request, e) != 0) {
        folder_out_abandon(f, e);
        return -1;
    }
    if (folder_out_commit(f, e) != 0)
        return -1;
    if (!flags->json && !flags->csv)
        plain_printf(stdout,
                     "\nWritten: %s/curve.csv, reuse.csv, hit_rate.csv, hit_rate.svg\n",
                     flags->out);
    return 0;
}

static int curve(const char *trace, const struct curve_flags *flags,
                 struct curve_request *request, struct err *e)
{
    struct folders folders = {.models = NULL};
    struct cfg *config = NULL;
    int status = -1;

    if (folders_find(&folders, e) == 0)
        config = make_config(trace, flags, e);
    if (config != NULL)
        status = run_into(config, trace, &folders, flags, request, e);
    cfg_free(config);
    folders_release(&folders);
    return status;
}

int cmd_curve(int argc, char **argv)
{
    struct curve_flags flags = {
        .scope = "layer", .protect = "strict", .order = "id", .threads = 1};
    struct flag table[] = {
        {"--policy", 'p', FLAG_LIST, &flags.policy, "CACHE",
         "a cache; may be given again and again (default lru and belady)"},
        {"--slots", 's', FLAG_TEXT, &flags.slots, "LIST",
         "sizes to show, and to replay policies at, e.g. 4,8,16"},
        {"--batch", 'b', FLAG_COUNT, &flags.batch, "N",
         "requests of a batch (default 1)"},
        {"--scope", 0, FLAG_TEXT, &flags.scope, "SCOPE",
         "layer (default): each layer has so many slots; global: all together"},
        {"--protect", 0, FLAG_TEXT, &flags.protect, "HOW",
         "experts of the step: strict (default) stay, prefer go last, none go as others"},
        {"--order", 0, FLAG_TEXT, &flags.order, "ORDER",
         "accesses of a step by id (default), recorded or hits-first"},
        {"--model", 'm', FLAG_TEXT, &flags.model, "MODEL",
         "name in models/arch or a file (default: the trace's)"},
        {"--set", 0, FLAG_LIST, &flags.set, "KEY=VALUE",
         "workload.KEY, profile or seed, e.g. workload.prefill=skip"},
        {"--out", 'o', FLAG_TEXT, &flags.out, "FOLDER",
         "write curve.csv, reuse.csv, hit_rate.csv and hit_rate.svg there"},
        {"--threads", 't', FLAG_COUNT, &flags.threads, "N",
         "policies and sizes in parallel (default 1); the result is the same"},
        {"--json", 0, FLAG_SWITCH, &flags.json, NULL, "print JSON instead of the table"},
        {"--csv", 0, FLAG_SWITCH, &flags.csv, NULL, "print CSV instead of the table"},
        {"--quiet", 'q', FLAG_SWITCH, &flags.quiet, NULL, "no progress line"},
        {.name = NULL},
    };
    const struct command command = {
        "moesim curve TRACE [flags]",
        "How many slots does a cache of experts need? Hit rate and bytes loaded against\n"
        "capacity, before any timing: for LRU and Belady at every capacity at once, for\n"
        "other policies at up to 64; with the knee, working sets, distances of reuse.\n"
        "CACHE is a name of `moesim list policies`, or a mapping such as\n"
        "'{name: lfu-aging, decay: 0.98}'. Caches begin empty. sim/experiment/README.md\n"
        "defines each figure.",
        "moesim curve traces/samples/gpt-oss-20b-like.h5 --policy lru --policy belady "
        "--batch 4",
        table};
    struct curve_request request = {.count = 0};
    uint32_t *slots = NULL;
    struct err e = {.text = ""};
    int status, count = flags_parse(&command, argc, argv);

    if (count < 0)
        return count == -2 ? EXIT_GOOD : EXIT_MISUSE;
    if (count != 1)
        return flags_misuse(&command, "curve takes one trace");
    if (flags.json && flags.csv)
        return flags_misuse(&command, "--json and --csv exclude each other; choose one");
    if (flags.slots != NULL && parse_slots(flags.slots, &slots, &request.count) != 0) {
        free(slots);
        return flags_misuse(&command, "--slots takes whole numbers above 0 with commas "
                                      "between, such as 4,8,16");
    }
    request.slots = slots;
    request.threads = flags.threads;
    file_catch_signals();
    status = curve(argv[0], &flags, &request, &e);
    free(slots);
    free(flags.policy.item);
    free(flags.set.item);
    return status == 0 ? EXIT_GOOD : cmd_fail(&e);
}

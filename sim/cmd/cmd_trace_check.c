#include "cmd.h"
#include "models/catalogue.h"
#include "models/model.h"
#include "sim/base/json.h"
#include "sim/base/mem.h"
#include "sim/base/plain.h"
#include "traces/trace_notes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MODEL_NOTES_MAX = 3, NOTES_MAX = TRACE_NOTES_MAX + MODEL_NOTES_MAX };

struct notes {
    char *item[NOTES_MAX];
    size_t count;
};

static void notes_release(struct notes *n)
{
    for (size_t i = 0; i < n->count; i++)
        free(n->item[i]);
    n->count = 0;
}

/* ---- beside the model's file ---- */

static void compare_number(struct notes *n, const char *what, uint32_t trace,
                           uint32_t model, const char *name)
{
    if (trace != model)
        n->item[n->count++] =
            mem_format("attribute %s is %" PRIu32 ", but models/arch/%s.yaml has %" PRIu32
                       "; is it this model?",
                       what, trace, name, model);
}

static void compare_layers(struct notes *n, const struct trace_info *info,
                           const struct model *m)
{
    for (uint32_t l = 0; l < info->layers; l++)
        if (info->moe_layer[l] >= m->layers ||
            !model_layer_is_moe(m, info->moe_layer[l])) {
            n->item[n->count++] = mem_format(
                "/moe_layer, row %" PRIu32 ": decoder layer %u is no MoE layer of "
                "models/arch/%s.yaml; they are numbered from 0",
                l, (unsigned)info->moe_layer[l], info->model);
            return;
        }
    if (info->layers < m->moe_layers)
        n->item[n->count++] =
            mem_format("/moe_layer holds %" PRIu32 " of the %" PRIu32
                       " MoE layers of models/arch/%s.yaml; were the others captured?",
                       info->layers, m->moe_layers, info->model);
}

/* Whether a file of models/arch is called so. */
static bool is_known(const char *model, const char *models)
{
    char *path;
    bool known;

    if (catalogue_is_path(model))
        return false;
    path = catalogue_path(model, models);
    known = access(path, F_OK) == 0;
    free(path);
    return known;
}

static void compare_model(struct notes *n, const struct trace_info *info,
                          const char *models)
{
    struct err e = {.text = ""};
    struct model *m;

    if (!is_known(info->model, models)) {
        n->item[n->count++] =
            mem_format("no file of models/arch is called %s; a run needs model: FILE, a "
                       "file of your own",
                       info->model[0] == '\0' ? "\"\"" : info->model);
        return;
    }
    m = model_load(info->model, models, &e);
    if (m == NULL) {
        n->item[n->count++] = mem_strdup(e.text);
        return;
    }
    compare_number(n, "experts", info->experts, m->experts, info->model);
    compare_number(n, "top_k", info->top_k, m->top_k, info->model);
    compare_layers(n, info, m);
    model_free(m);
}

/* ---- a file ---- */

struct sight {
    struct trace_notes *notes;
    struct progress_line *line;
    uint64_t rows;
};

static void see(void *context, const struct trace_rows *rows)
{
    struct sight *s = context;

    trace_notes_see(s->notes, rows);
    progress_show(s->line, rows->first + rows->count, s->rows);
}

/* Reads everything; fills `n` where it is good. 0 or -1. */
static int check(struct trace *t, bool quiet, const char *models, struct notes *n,
                 struct err *e)
{
    const struct trace_info *info = trace_get_info(t);
    struct sight s = {.notes = trace_notes_new(info),
                      .line = quiet ? NULL : progress_new("checking"),
                      .rows = info->rows};
    int status = trace_check_seen(t, see, &s, e);

    progress_free(s.line);
    if (status == 0) {
        compare_model(n, info, models);
        n->count += trace_notes_write(s.notes, n->item + n->count);
    }
    trace_notes_free(s.notes);
    return status;
}

static void print_fields(const struct trace *t, const char *before, const char *after)
{
    bool first = true;

    if (trace_get_info(t)->counts_only)
        (void)printf("%s/load/count%s", before, after);
    for (unsigned bit = 1; bit <= TRACE_HAS_BYTES; bit <<= 1) {
        if ((trace_fields(t) & bit) == 0)
            continue;
        (void)printf("%s%s%s%s", first ? "" : ", ", before,
                     trace_field_name((enum trace_field)bit), after);
        first = false;
    }
}

static void print_good(const struct trace *t, const struct notes *n)
{
    const struct trace_info *i = trace_get_info(t);

    plain_print(stdout, trace_path(t));
    (void)printf(": good\n  ");
    if (!i->counts_only)
        (void)printf("%" PRIu64 " rows in %" PRIu64 " requests, ", i->rows, i->requests);
    if (i->passes > 0)
        (void)printf("%" PRIu64 " recorded passes, ", i->passes);
    (void)printf("%u layers, %u experts, top-%u, %u candidates; ", i->layers, i->experts,
                 i->top_k, i->candidates);
    print_fields(t, "", "");
    (void)printf("\n");
    for (size_t k = 0; k < n->count; k++)
        plain_printf(stdout, "  note: %s\n", n->item[k]);
}

static void print_good_json(const struct trace *t, const struct notes *n)
{
    const struct trace_info *i = trace_get_info(t);

    (void)printf(", \"good\": true, \"model\": ");
    json_string(stdout, i->model);
    (void)printf(",\n   \"rows\": %" PRIu64 ", \"requests\": %" PRIu64
                 ", \"passes\": %" PRIu64 ", \"layers\": %u, \"experts\": %u, "
                 "\"top_k\": %u, \"candidates\": %u,\n   \"fields\": [",
                 i->rows, i->requests, i->passes, i->layers, i->experts, i->top_k,
                 i->candidates);
    print_fields(t, "\"", "\"");
    (void)printf("],\n   \"notes\": [");
    for (size_t k = 0; k < n->count; k++) {
        (void)printf("%s", k > 0 ? ", " : "");
        json_string(stdout, n->item[k]);
    }
    (void)printf("]}");
}

struct flags {
    bool json, quiet;
};

/* Whether it is good, which was told. */
static bool check_file(const char *path, const struct flags *f, const char *models)
{
    const struct trace_options options = {.cache_bytes = (size_t)128 << 20};
    struct err e = {.text = ""};
    struct notes n = {.count = 0};
    struct trace *t = trace_open(path, &options, &e);
    bool is_good = t != NULL && check(t, f->quiet, models, &n, &e) == 0;

    if (f->json) {
        (void)printf("  {\"file\": ");
        json_string(stdout, path);
        if (is_good) {
            print_good_json(t, &n);
        } else {
            (void)printf(", \"good\": false, \"error\": ");
            json_string(stdout, e.text);
            (void)printf("}");
        }
    } else if (is_good) {
        print_good(t, &n);
    } else {
        (void)fflush(stdout);
        (void)cmd_fail(&e);
    }
    notes_release(&n);
    trace_close(t);
    return is_good;
}

int cmd_trace_check(int argc, char **argv)
{
    struct flags f = {.json = false};
    struct flag table[] = {
        {"--json", 0, FLAG_SWITCH, &f.json, NULL, "print JSON"},
        {"--quiet", 'q', FLAG_SWITCH, &f.quiet, NULL, "no progress line"},
        {.name = NULL},
    };
    const struct command command = {
        "moesim trace check TRACE... [--json] [--quiet]",
        "Reads all of each trace and checks every rule of traces/FORMAT.md: says that\n"
        "it is good and what it holds, or what is wrong and where. Notes tell what is\n"
        "legal and looks unintended.",
        "moesim trace check traces/samples/gpt-oss-20b-like.h5", table};
    struct err e = {.text = ""};
    struct folders folders;
    int status = EXIT_GOOD;
    int count = flags_parse(&command, argc, argv);

    if (count < 0)
        return count == -2 ? EXIT_GOOD : EXIT_MISUSE;
    if (count == 0)
        return flags_misuse(&command, "trace check takes one or more traces");
    if (folders_find(&folders, &e) != 0)
        return cmd_fail(&e);
    if (f.json)
        (void)printf("[\n");
    for (int i = 0; i < count; i++) {
        if (!check_file(argv[i], &f, folders.models))
            status = EXIT_BAD;
        if (f.json)
            (void)printf("%s\n", i + 1 < count ? "," : "");
    }
    if (f.json)
        (void)printf("]\n");
    folders_release(&folders);
    return status;
}

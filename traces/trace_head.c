#include "trace_state.h"

#include "sim/base/file_kind.h"
#include "sim/base/mem.h"
#include "sim/base/plain.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_GROUPS 65535

static int read_int(struct trace *t, const char *name, int64_t low, int64_t high,
                    uint32_t *value, struct err *e)
{
    int64_t wide;

    if (hdf_attribute_int(t->file, t->path, "/", name, low, high, &wide, e) != 0)
        return -1;
    *value = (uint32_t)wide;
    return 0;
}

static int read_format(struct trace *t, struct err *e)
{
    char *format = hdf_attribute_text(t->file, t->path, "format", e);
    int64_t version;
    bool ours;

    if (format == NULL)
        return -1;
    ours = strcmp(format, "moesim-trace") == 0;
    free(format);
    if (!ours && file_kind_check(t->path, FILE_TRACE, e) != 0)
        return -1;
    if (!ours)
        return err_set(
            e,
            "%s: attribute format of / is not \"moesim-trace\"; make a trace with "
            "`moesim trace import`",
            t->path);
    if (hdf_attribute_int(t->file, t->path, "/", "version", INT64_MIN, INT64_MAX,
                          &version, e) != 0)
        return -1;
    if (version != TRACE_VERSION)
        return err_set(e,
                       "%s: attribute version of / is %" PRId64 "; this program reads "
                       "version %d: import the recording again",
                       t->path, version, TRACE_VERSION);
    return 0;
}

static int read_score_kind(struct trace *t, struct err *e)
{
    char *kind = hdf_attribute_text(t->file, t->path, "score_kind", e);
    int status = -1;

    if (kind == NULL)
        return -1;
    for (int i = 0; i < TRACE_SCORE_KINDS; i++)
        if (strcmp(kind, trace_score_kind_name((enum trace_score_kind)i)) == 0) {
            t->info.score_kind = (enum trace_score_kind)i;
            status = 0;
        }
    free(kind);
    return status == 0 ? 0
                       : err_set(e,
                                 "%s: attribute score_kind of / is not one of softmax, "
                                 "sigmoid, logit, none",
                                 t->path);
}

static int read_attributes(struct trace *t, struct err *e)
{
    struct trace_info *info = &t->info;
    uint32_t sorted;

    if (read_format(t, e) != 0)
        return -1;
    info->model = hdf_attribute_text(t->file, t->path, "model", e);
    info->source =
        info->model == NULL ? NULL : hdf_attribute_text(t->file, t->path, "source", e);
    info->capture =
        info->source == NULL ? NULL : hdf_attribute_text(t->file, t->path, "capture", e);
    if (info->capture == NULL ||
        read_int(t, "experts", 1, TRACE_MAX_EXPERTS, &info->experts, e) != 0 ||
        read_int(t, "top_k", 1, info->experts, &info->top_k, e) != 0 ||
        read_int(t, "candidates", info->top_k, info->experts, &info->candidates, e) !=
            0 ||
        read_int(t, "sorted", 0, 1, &sorted, e) != 0)
        return -1;
    info->sorted = sorted != 0;
    return read_score_kind(t, e);
}

/* Opens `name` if it is there; {.id = -1} otherwise. */
static int open_optional(struct trace *t, struct hdf_set *s, const char *name,
                         enum hdf_kind kind, int rank, struct err *e)
{
    return hdf_exists(t->file, name)
               ? hdf_set_open(s, t->file, t->path, name, kind, rank, e)
               : 0;
}

static int want_dim(const struct hdf_set *s, int i, uint64_t want, const char *source,
                    struct err *e)
{
    if (s->id < 0 || s->dim[i] == want)
        return 0;
    return err_set(e, "%s: dimension %d of %s is %" PRIu64 " but %s says %" PRIu64,
                   s->path, i, s->name, s->dim[i], source, want);
}

/* Reads a whole one-dimensional data set; owned, NULL on failure. `rows` is 0 for any
 * number up to `most`. */
static void *read_whole(struct trace *t, const char *name, enum hdf_kind kind,
                        uint64_t rows, const char *source, uint64_t most, uint64_t *count,
                        size_t *width, struct err *e)
{
    struct hdf_set s;
    void *values = NULL;

    if (hdf_set_open(&s, t->file, t->path, name, kind, 1, e) != 0)
        return NULL;
    if (s.dim[0] > most) {
        (void)err_set(e, "%s: %s has %" PRIu64 " rows; at most %" PRIu64 " are allowed",
                      t->path, name, s.dim[0], most);
    } else if (rows == 0 || want_dim(&s, 0, rows, source, e) == 0) {
        *count = s.dim[0];
        *width = s.width;
        values = mem_alloc((size_t)s.dim[0], s.row_bytes);
        if (hdf_set_read(&s, 0, s.dim[0], values, e) != 0) {
            free(values);
            values = NULL;
        }
    }
    (void)hdf_set_close(&s);
    return values;
}

static int read_layers(struct trace *t, struct err *e)
{
    struct trace_info *info = &t->info;
    uint64_t count;
    size_t width;

    info->moe_layer =
        read_whole(t, "/moe_layer", HDF_U16, 0, "", TRACE_MAX_LAYERS, &count, &width, e);
    if (info->moe_layer == NULL)
        return -1;
    info->layers = (uint32_t)count;
    for (uint32_t l = 1; l < info->layers; l++)
        if (info->moe_layer[l] <= info->moe_layer[l - 1])
            return err_set(e,
                           "%s: /moe_layer, row %" PRIu32
                           ": layer %u does not follow %u; "
                           "the numbers must ascend",
                           t->path, l, (unsigned)info->moe_layer[l],
                           (unsigned)info->moe_layer[l - 1]);
    if (!hdf_exists(t->file, "/expert_bytes"))
        return 0;
    info->expert_bytes = read_whole(t, "/expert_bytes", HDF_U64, info->layers,
                                    "/moe_layer", TRACE_MAX_LAYERS, &count, &width, e);
    if (info->expert_bytes == NULL)
        return -1;
    t->fields |= TRACE_HAS_BYTES;
    for (uint32_t l = 0; l < info->layers; l++)
        if (info->expert_bytes[l] == 0 || info->expert_bytes[l] > (UINT64_C(1) << 48))
            return err_set(e,
                           "%s: /expert_bytes, row %" PRIu32 ": %" PRIu64
                           " bytes; it must be "
                           "from 1 to 2^48",
                           t->path, l, info->expert_bytes[l]);
    return 0;
}

static int check_utf8(const struct trace *t, uint32_t group, struct err *e)
{
    const char *text = t->info.group_names[group];
    size_t length;

    for (; *text != '\0'; text += length) {
        length = plain_utf8(text);
        if (length == 0)
            return err_set(e,
                           "%s: /group_name, row %" PRIu32 ": is not UTF-8; write it so",
                           t->path, group);
    }
    return 0;
}

static int read_groups(struct trace *t, struct err *e)
{
    struct trace_info *info = &t->info;
    uint64_t count = 1;
    size_t width = 0;
    char *text = NULL;

    if (hdf_exists(t->file, "/group_name")) {
        text =
            read_whole(t, "/group_name", HDF_TEXT, 0, "", MAX_GROUPS, &count, &width, e);
        if (text == NULL)
            return -1;
    }
    info->groups = (uint32_t)count;
    info->group_names = mem_zalloc((size_t)count, sizeof info->group_names[0]);
    for (size_t g = 0; g < count; g++)
        info->group_names[g] = text == NULL
                                   ? mem_strdup("all")
                                   : mem_format("%.*s", (int)width, text + g * width);
    free(text);
    for (uint32_t g = 0; g < info->groups; g++)
        if (check_utf8(t, g, e) != 0)
            return -1;
    return 0;
}

/* The columns of /request, as they lie in the file. */
struct request_columns {
    int64_t *arrival;
    uint32_t *prompt, *output, *rows;
    uint64_t *first;
    uint16_t *group;
};

static int read_request_columns(struct trace *t, struct request_columns *c, struct err *e)
{
    const uint64_t most = UINT32_MAX;
    uint64_t *n = &t->info.requests, same;
    size_t w;

    c->first = read_whole(t, "/request/first_row", HDF_U64, 0, "", most, n, &w, e);
    if (c->first == NULL)
        return -1;
    c->rows = read_whole(t, "/request/rows", HDF_U32, *n, "/request/first_row", most,
                         &same, &w, e);
    if (c->rows == NULL)
        return -1;
    c->arrival = read_whole(t, "/request/arrival_ns", HDF_I64, *n, "/request/first_row",
                            most, &same, &w, e);
    if (c->arrival == NULL)
        return -1;
    c->prompt = read_whole(t, "/request/prompt_tokens", HDF_U32, *n, "/request/first_row",
                           most, &same, &w, e);
    if (c->prompt == NULL)
        return -1;
    c->output = read_whole(t, "/request/output_tokens", HDF_U32, *n, "/request/first_row",
                           most, &same, &w, e);
    if (c->output == NULL)
        return -1;
    c->group = read_whole(t, "/request/group", HDF_U16, *n, "/request/first_row", most,
                          &same, &w, e);
    return c->group == NULL ? -1 : 0;
}

/* Requests follow each other and cover the rows exactly. */
static int check_request(struct trace *t, uint64_t i, uint64_t next, struct err *e)
{
    const struct trace_request *r = &t->requests[i];

    if (r->first_row != next)
        return err_set(e,
                       "%s: /request/first_row, row %" PRIu64 " is %" PRIu64
                       "; it must be %" PRIu64 ", where the request before ends",
                       t->path, i, r->first_row, next);
    if (r->rows > t->info.rows - next)
        return err_set(e,
                       "%s: /request/rows, row %" PRIu64
                       ": the request ends at row %" PRIu64 " of %" PRIu64
                       " in /routing/expert",
                       t->path, i, next + r->rows, t->info.rows);
    if (r->group >= t->info.groups)
        return err_set(e,
                       "%s: /request/group, row %" PRIu64
                       ": group %u is not below %" PRIu32 " (rows of /group_name)",
                       t->path, i, (unsigned)r->group, t->info.groups);
    if (r->arrival_ns < -1)
        return err_set(e,
                       "%s: /request/arrival_ns, row %" PRIu64 ": %" PRId64
                       " is negative; "
                       "-1 means not recorded",
                       t->path, i, r->arrival_ns);
    return 0;
}

static int fill_requests(struct trace *t, const struct request_columns *c, struct err *e)
{
    uint64_t next = 0;
    bool arrivals = true;

    t->requests = mem_zalloc((size_t)t->info.requests, sizeof t->requests[0]);
    for (uint64_t i = 0; i < t->info.requests; i++) {
        t->requests[i] = (struct trace_request){.arrival_ns = c->arrival[i],
                                                .prompt_tokens = c->prompt[i],
                                                .output_tokens = c->output[i],
                                                .first_row = c->first[i],
                                                .rows = c->rows[i],
                                                .group = c->group[i]};
        if (check_request(t, i, next, e) != 0)
            return -1;
        next += c->rows[i];
        arrivals = arrivals && c->arrival[i] >= 0;
    }
    if (next != t->info.rows)
        return err_set(e,
                       "%s: /request/rows covers %" PRIu64
                       " rows but /routing/expert has %" PRIu64,
                       t->path, next, t->info.rows);
    if (arrivals)
        t->fields |= TRACE_HAS_ARRIVALS;
    return 0;
}

static int read_requests(struct trace *t, struct err *e)
{
    struct request_columns c = {0};
    int status = read_request_columns(t, &c, e);

    if (status == 0)
        status = fill_requests(t, &c, e);
    free(c.arrival);
    free(c.prompt);
    free(c.output);
    free(c.rows);
    free(c.first);
    free(c.group);
    return status;
}

static int open_tokens(struct trace *t, struct err *e)
{
    static const char source[] = "/routing/expert";
    uint64_t rows = t->info.rows;

    if (hdf_set_open(&t->request_set, t->file, t->path, "/token/request", HDF_U32, 1,
                     e) != 0 ||
        hdf_set_open(&t->position_set, t->file, t->path, "/token/position", HDF_U32, 1,
                     e) != 0 ||
        hdf_set_open(&t->phase_set, t->file, t->path, "/token/phase", HDF_U8, 1, e) !=
            0 ||
        open_optional(t, &t->token_id_set, "/token/token_id", HDF_I32, 1, e) != 0 ||
        open_optional(t, &t->source_set, "/token/source", HDF_U16, 1, e) != 0 ||
        want_dim(&t->request_set, 0, rows, source, e) != 0 ||
        want_dim(&t->position_set, 0, rows, source, e) != 0 ||
        want_dim(&t->phase_set, 0, rows, source, e) != 0 ||
        want_dim(&t->token_id_set, 0, rows, source, e) != 0 ||
        want_dim(&t->source_set, 0, rows, source, e) != 0)
        return -1;
    if (t->source_set.id >= 0)
        t->fields |= TRACE_HAS_SOURCE;
    return 0;
}

/* A data set beside the candidates: (row, layer, candidate). */
static int want_cells(struct trace *t, const struct hdf_set *s, struct err *e)
{
    return want_dim(s, 0, t->info.rows, "/routing/expert", e) != 0 ||
                   want_dim(s, 1, t->info.layers, "/moe_layer", e) != 0 ||
                   want_dim(s, 2, t->info.candidates, "attribute candidates", e) != 0
               ? -1
               : 0;
}

static int open_score(struct trace *t, struct err *e)
{
    struct trace_info *info = &t->info;

    if (!hdf_exists(t->file, "/routing/score"))
        return info->score_kind == TRACE_SCORE_NONE
                   ? 0
                   : err_set(e,
                             "%s: data set /routing/score is missing though attribute "
                             "score_kind is not none",
                             t->path);
    if (info->score_kind == TRACE_SCORE_NONE)
        return err_set(
            e,
            "%s: attribute score_kind of / is none but /routing/score is there; "
            "name the kind",
            t->path);
    if (hdf_set_open(&t->score_set, t->file, t->path, "/routing/score", HDF_F16, 3, e) !=
            0 ||
        want_cells(t, &t->score_set, e) != 0)
        return -1;
    t->fields |= TRACE_HAS_SCORES;
    if (info->candidates == info->experts)
        t->fields |= TRACE_HAS_ALL_SCORES;
    return 0;
}

static int open_predicted(struct trace *t, struct err *e)
{
    struct trace_info *info = &t->info;
    int64_t distance;

    if (!hdf_exists(t->file, "/routing/predicted"))
        return 0;
    if (hdf_set_open(&t->predicted_set, t->file, t->path, "/routing/predicted", HDF_U16,
                     3, e) != 0 ||
        want_dim(&t->predicted_set, 0, info->rows, "/routing/expert", e) != 0 ||
        want_dim(&t->predicted_set, 1, info->layers, "/moe_layer", e) != 0 ||
        hdf_attribute_int(t->file, t->path, "/routing/predicted", "distance", 1,
                          TRACE_MAX_LAYERS, &distance, e) != 0)
        return -1;
    if (t->predicted_set.dim[2] > info->experts)
        return err_set(e,
                       "%s: /routing/predicted is %" PRIu64 " wide, more than attribute "
                       "experts (%" PRIu32 ")",
                       t->path, t->predicted_set.dim[2], info->experts);
    info->predicted = (uint32_t)t->predicted_set.dim[2];
    info->distance = (uint32_t)distance;
    t->fields |= TRACE_HAS_PREDICTED;
    return 0;
}

static int open_resident(struct trace *t, struct err *e)
{
    return open_optional(t, &t->resident_set, "/routing/resident", HDF_U8, 3, e) != 0
               ? -1
               : want_cells(t, &t->resident_set, e);
}

static int open_passes(struct trace *t, struct err *e)
{
    if (!hdf_exists(t->file, "/pass/first") && !hdf_exists(t->file, "/pass/row") &&
        !hdf_exists(t->file, "/pass/start_ns"))
        return 0;
    if (hdf_set_open(&t->pass_first_set, t->file, t->path, "/pass/first", HDF_U64, 1,
                     e) != 0 ||
        hdf_set_open(&t->pass_row_set, t->file, t->path, "/pass/row", HDF_U64, 1, e) !=
            0 ||
        hdf_set_open(&t->pass_start_set, t->file, t->path, "/pass/start_ns", HDF_I64, 1,
                     e) != 0)
        return -1;
    t->info.passes = t->pass_start_set.dim[0];
    t->fields |= TRACE_HAS_PASSES;
    return want_dim(&t->pass_first_set, 0, t->info.passes + 1, "/pass/start_ns plus one",
                    e);
}

static int open_load(struct trace *t, struct err *e)
{
    static const char *const rows[] = {"/routing", "/token", "/request", "/pass"};

    if (hdf_set_open(&t->load_set, t->file, t->path, "/load/count", HDF_U32, 3, e) != 0 ||
        want_dim(&t->load_set, 1, t->info.layers, "/moe_layer", e) != 0 ||
        want_dim(&t->load_set, 2, t->info.experts, "attribute experts", e) != 0)
        return -1;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (hdf_exists(t->file, rows[i]))
            return err_set(e,
                           "%s: /load/count is there beside %s; a trace has counts or "
                           "rows: leave one of them out",
                           t->path, rows[i]);
    if (t->info.score_kind != TRACE_SCORE_NONE)
        return err_set(e,
                       "%s: attribute score_kind of / must be none in a trace of "
                       "counts (/load/count), which has no scores",
                       t->path);
    t->info.counts_only = true;
    t->info.passes = t->load_set.dim[0];
    return 0;
}

/* Whatever is there is in this file: a link that leads out of it is not "absent". */
static int check_links(const struct trace *t, struct err *e)
{
    static const char *const names[] = {
        "/moe_layer",          "/expert_bytes",
        "/group_name",         "/request/first_row",
        "/request/arrival_ns", "/request/prompt_tokens",
        "/request/rows",       "/request/output_tokens",
        "/request/group",      "/token/request",
        "/token/position",     "/token/phase",
        "/token/token_id",     "/token/source",
        "/routing/expert",     "/routing/score",
        "/routing/predicted",  "/routing/resident",
        "/pass/first",         "/pass/row",
        "/pass/start_ns",      "/load/count",
    };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (hdf_check_link(t->file, t->path, names[i], e) != 0)
            return -1;
    return 0;
}

int trace_head_read(struct trace *t, struct err *e)
{
    struct trace_info *info = &t->info;

    if (read_attributes(t, e) != 0 || check_links(t, e) != 0 || read_layers(t, e) != 0 ||
        read_groups(t, e) != 0)
        return -1;
    if (hdf_exists(t->file, "/load/count"))
        return open_load(t, e);
    if (hdf_set_open(&t->expert_set, t->file, t->path, "/routing/expert", HDF_U16, 3,
                     e) != 0 ||
        want_dim(&t->expert_set, 1, info->layers, "/moe_layer", e) != 0 ||
        want_dim(&t->expert_set, 2, info->candidates, "attribute candidates", e) != 0)
        return -1;
    info->rows = t->expert_set.dim[0];
    t->fields |= TRACE_HAS_IDS;
    if (open_tokens(t, e) != 0 || read_requests(t, e) != 0 || open_score(t, e) != 0 ||
        open_predicted(t, e) != 0 || open_resident(t, e) != 0 || open_passes(t, e) != 0)
        return -1;
    return 0;
}

#include "half.h"
#include "hdf_out.h"
#include "trace_state.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A data set being written: values gather in a buffer of one chunk. One whose values are
 * all unknown so far (`held` of them, every byte 0xff) is not created yet; if none is
 * ever known the data set stays absent. */
struct stream {
    struct hdf_set set;
    unsigned char *buffer;
    uint64_t filled, held;
};

struct trace_writer {
    char *path;
    struct hdf_out *out; /* NULL: not opened, or closed */
    hid_t file;
    struct trace_info info;
    struct trace_request *requests;
    size_t request_room;
    struct stream expert, score, predicted, load;
    struct stream request, position, phase, token_id, source;
    struct stream pass_first, pass_row, pass_start;
};

/* ---- streams ---- */

static int stream_open(struct trace_writer *w, struct stream *s, const char *name,
                       enum hdf_kind kind, int rank, const uint64_t *dim, struct err *e)
{
    if (hdf_set_create(&s->set, w->file, w->path, name, kind, rank, dim, 0, 0, e) != 0)
        return -1;
    s->buffer = mem_alloc((size_t)s->set.chunk_rows, s->set.row_bytes);
    return 0;
}

static int stream_flush(struct trace_writer *w, struct stream *s, struct err *e)
{
    uint64_t count = s->filled;

    s->filled = 0;
    if (hdf_out_check(w->out, e) != 0)
        return -1;
    return s->set.id < 0 ? 0 : hdf_set_append(&s->set, count, s->buffer, e);
}

static int stream_put(struct trace_writer *w, struct stream *s, uint64_t count,
                      const void *rows, struct err *e)
{
    const unsigned char *next = rows;

    while (count > 0) {
        uint64_t room = s->set.chunk_rows - s->filled;
        uint64_t part = count < room ? count : room;
        size_t bytes = (size_t)part * s->set.row_bytes;

        memcpy(s->buffer + (size_t)s->filled * s->set.row_bytes, next, bytes);
        s->filled += part;
        next += bytes;
        count -= part;
        if (s->filled == s->set.chunk_rows && stream_flush(w, s, e) != 0)
            return -1;
    }
    return 0;
}

/* Like stream_put for one value of `width` bytes that is unknown if all its bytes are
 * 0xff; creates the data set with the first known one. */
static int stream_put_optional(struct trace_writer *w, struct stream *s, const char *name,
                               enum hdf_kind kind, const void *value, size_t width,
                               struct err *e)
{
    static const unsigned char unknown[8] = {0xff, 0xff, 0xff, 0xff,
                                             0xff, 0xff, 0xff, 0xff};

    if (s->set.id < 0) {
        if (memcmp(value, unknown, width) == 0) {
            s->held++;
            return 0;
        }
        if (stream_open(w, s, name, kind, 1, NULL, e) != 0)
            return -1;
        for (uint64_t i = 0; i < s->held; i++)
            if (stream_put(w, s, 1, unknown, e) != 0)
                return -1;
    }
    return stream_put(w, s, 1, value, e);
}

static int stream_close(struct stream *s)
{
    free(s->buffer);
    s->buffer = NULL;
    return hdf_set_close(&s->set);
}

/* ---- opening ---- */

static int check_info(const char *path, const struct trace_info *info, struct err *e)
{
    if (info->experts == 0 || info->experts > TRACE_MAX_EXPERTS || info->layers == 0 ||
        info->layers > TRACE_MAX_LAYERS)
        return err_set(
            e,
            "%s: a trace of %" PRIu32 " layers and %" PRIu32 " experts cannot be "
            "written; at most %d and %d",
            path, info->layers, info->experts, TRACE_MAX_LAYERS, TRACE_MAX_EXPERTS);
    if (info->top_k == 0 || info->top_k > info->candidates ||
        info->candidates > info->experts)
        return err_set(e,
                       "%s: top_k %" PRIu32 ", candidates %" PRIu32 ", experts %" PRIu32
                       " must ascend from 1",
                       path, info->top_k, info->candidates, info->experts);
    if (info->predicted > info->experts || (info->predicted > 0 && info->distance == 0))
        return err_set(e,
                       "%s: predictions of %" PRIu32 " experts at distance %" PRIu32
                       " cannot be written",
                       path, info->predicted, info->distance);
    for (uint32_t l = 1; l < info->layers; l++)
        if (info->moe_layer[l] <= info->moe_layer[l - 1])
            return err_set(e, "%s: layer numbers must ascend: %u, %u", path,
                           (unsigned)info->moe_layer[l - 1],
                           (unsigned)info->moe_layer[l]);
    return 0;
}

static char *copy_text(const char *text)
{
    return mem_strdup(text == NULL ? "" : text);
}

static void copy_info(struct trace_info *to, const struct trace_info *from)
{
    size_t layers = from->layers;

    *to = *from;
    to->model = copy_text(from->model);
    to->source = copy_text(from->source);
    to->capture = copy_text(from->capture);
    to->moe_layer = memcpy(mem_alloc(layers, sizeof(uint16_t)), from->moe_layer,
                           layers * sizeof(uint16_t));
    if (from->expert_bytes != NULL)
        to->expert_bytes = memcpy(mem_alloc(layers, sizeof(uint64_t)), from->expert_bytes,
                                  layers * sizeof(uint64_t));
    if (from->groups > 0)
        to->group_names = mem_alloc(from->groups, sizeof(char *));
    for (uint32_t g = 0; g < from->groups; g++)
        to->group_names[g] = copy_text(from->group_names[g]);
    to->rows = to->requests = to->passes = 0;
}

static int put_attributes(struct trace_writer *w, struct err *e)
{
    const struct trace_info *info = &w->info;
    const char *path = w->path;
    hid_t f = w->file;

    if (hdf_attribute_put_text(f, path, "format", "moesim-trace", e) != 0 ||
        hdf_attribute_put_int(f, path, "/", "version", HDF_U32, TRACE_VERSION, e) != 0 ||
        hdf_attribute_put_text(f, path, "model", info->model, e) != 0 ||
        hdf_attribute_put_text(f, path, "source", info->source, e) != 0 ||
        hdf_attribute_put_text(f, path, "capture", info->capture, e) != 0 ||
        hdf_attribute_put_int(f, path, "/", "experts", HDF_U32, info->experts, e) != 0 ||
        hdf_attribute_put_int(f, path, "/", "top_k", HDF_U32, info->top_k, e) != 0 ||
        hdf_attribute_put_int(f, path, "/", "candidates", HDF_U32, info->candidates, e) !=
            0 ||
        hdf_attribute_put_text(f, path, "score_kind",
                               trace_score_kind_name(info->score_kind), e) != 0 ||
        hdf_attribute_put_int(f, path, "/", "sorted", HDF_U8, info->sorted, e) != 0)
        return -1;
    return 0;
}

/* Writes a whole one-dimensional data set of `rows` values. */
static int put_whole(struct trace_writer *w, const char *name, enum hdf_kind kind,
                     size_t text_bytes, uint64_t rows, const void *values, struct err *e)
{
    struct hdf_set s;
    int status =
        hdf_set_create(&s, w->file, w->path, name, kind, 1, NULL, rows, text_bytes, e);

    if (status != 0)
        return -1;
    status = hdf_set_append(&s, rows, values, e);
    if (hdf_set_close(&s) != 0)
        status = err_set(e, "%s: the HDF5 library cannot write %s", w->path, name);
    return status;
}

static int put_group_names(struct trace_writer *w, struct err *e)
{
    const struct trace_info *info = &w->info;
    size_t width = 1;
    char *text;
    int status;

    if (info->groups == 0)
        return 0;
    for (uint32_t g = 0; g < info->groups; g++)
        if (strlen(info->group_names[g]) > width)
            width = strlen(info->group_names[g]);
    if (width > HDF_MAX_NAME)
        return err_set(e, "%s: a group name is longer than %d bytes; shorten it", w->path,
                       HDF_MAX_NAME);
    text = mem_zalloc(info->groups, width);
    for (uint32_t g = 0; g < info->groups; g++)
        memcpy(text + g * width, info->group_names[g], strlen(info->group_names[g]));
    status = put_whole(w, "/group_name", HDF_TEXT, width, info->groups, text, e);
    free(text);
    return status;
}

static int open_streams(struct trace_writer *w, struct err *e)
{
    const struct trace_info *info = &w->info;
    uint64_t dim[3] = {0, info->layers, info->candidates};

    if (info->counts_only) {
        dim[2] = info->experts;
        return hdf_group_create(w->file, w->path, "/load", e) != 0 ||
                       stream_open(w, &w->load, "/load/count", HDF_U32, 3, dim, e) != 0
                   ? -1
                   : 0;
    }
    if (hdf_group_create(w->file, w->path, "/request", e) != 0 ||
        hdf_group_create(w->file, w->path, "/token", e) != 0 ||
        hdf_group_create(w->file, w->path, "/routing", e) != 0 ||
        stream_open(w, &w->request, "/token/request", HDF_U32, 1, NULL, e) != 0 ||
        stream_open(w, &w->position, "/token/position", HDF_U32, 1, NULL, e) != 0 ||
        stream_open(w, &w->phase, "/token/phase", HDF_U8, 1, NULL, e) != 0 ||
        stream_open(w, &w->expert, "/routing/expert", HDF_U16, 3, dim, e) != 0)
        return -1;
    if (info->score_kind != TRACE_SCORE_NONE &&
        stream_open(w, &w->score, "/routing/score", HDF_F16, 3, dim, e) != 0)
        return -1;
    dim[2] = info->predicted;
    if (info->predicted > 0 &&
        (stream_open(w, &w->predicted, "/routing/predicted", HDF_U16, 3, dim, e) != 0 ||
         hdf_attribute_put_int(w->file, w->path, "/routing/predicted", "distance",
                               HDF_U32, info->distance, e) != 0))
        return -1;
    return 0;
}

static struct stream *const *all_streams(struct trace_writer *w, struct stream *list[12])
{
    list[0] = &w->expert;
    list[1] = &w->score;
    list[2] = &w->predicted;
    list[3] = &w->load;
    list[4] = &w->request;
    list[5] = &w->position;
    list[6] = &w->phase;
    list[7] = &w->token_id;
    list[8] = &w->source;
    list[9] = &w->pass_first;
    list[10] = &w->pass_row;
    list[11] = &w->pass_start;
    return list;
}

struct trace_writer *trace_writer_new(const char *path, const struct trace_info *info,
                                      struct err *e)
{
    struct trace_writer *w;
    struct stream *list[12];
    int status;

    if (check_info(path, info, e) != 0)
        return NULL;
    w = mem_zalloc(1, sizeof *w);
    w->path = mem_strdup(path);
    w->file = -1;
    (void)all_streams(w, list);
    for (int i = 0; i < 12; i++)
        list[i]->set = (struct hdf_set){.id = -1, .memory_type = -1};
    copy_info(&w->info, info);
    hdf_enter();
    w->out = hdf_out_new(path, e);
    w->file = w->out == NULL ? -1 : hdf_out_file(w->out);
    status =
        w->file < 0 || put_attributes(w, e) != 0 ||
        put_whole(w, "/moe_layer", HDF_U16, 0, info->layers, info->moe_layer, e) != 0 ||
        (info->expert_bytes != NULL &&
         put_whole(w, "/expert_bytes", HDF_U64, 0, info->layers, info->expert_bytes, e) !=
             0) ||
        put_group_names(w, e) != 0 || open_streams(w, e) != 0;
    hdf_leave();
    if (status == 0)
        return w;
    trace_writer_abandon(w);
    return NULL;
}

/* ---- appending ---- */

static int check_ids(const struct trace_writer *w, uint64_t values, const uint16_t *id,
                     uint32_t width, struct err *e)
{
    for (uint64_t i = 0; i < values; i++)
        if (id[i] >= w->info.experts && id[i] != TRACE_NOT_RECORDED)
            return err_set(e,
                           "%s: row %" PRIu64
                           " to be written names expert %u, not below %" PRIu32,
                           w->path, w->info.rows + i / width / w->info.layers,
                           (unsigned)id[i], w->info.experts);
    return 0;
}

static int put_scores(struct trace_writer *w, uint64_t values, const float *score,
                      struct err *e)
{
    uint64_t width = (uint64_t)w->info.layers * w->info.candidates;
    uint16_t *half = mem_alloc((size_t)values, sizeof *half);
    int status = 0;

    for (uint64_t i = 0; i < values && status == 0; i++)
        if (isfinite(score[i]) && fabsf(score[i]) <= HALF_MAX)
            half[i] = half_of_float(score[i]);
        else
            status =
                err_set(e,
                        "%s: row %" PRIu64 " to be written has score %g, which a 16-bit "
                        "float cannot hold",
                        w->path, w->info.rows + i / width, (double)score[i]);
    if (status == 0)
        status = stream_put(w, &w->score, values / width, half, e);
    free(half);
    return status;
}

static int put_tokens(struct trace_writer *w, uint64_t count,
                      const struct trace_token *token, struct err *e)
{
    for (uint64_t i = 0; i < count; i++) {
        const struct trace_token *k = &token[i];

        if (stream_put(w, &w->request, 1, &k->request, e) != 0 ||
            stream_put(w, &w->position, 1, &k->position, e) != 0 ||
            stream_put(w, &w->phase, 1, &k->phase, e) != 0 ||
            stream_put_optional(w, &w->token_id, "/token/token_id", HDF_I32, &k->token_id,
                                sizeof k->token_id, e) != 0 ||
            stream_put_optional(w, &w->source, "/token/source", HDF_U16, &k->source,
                                sizeof k->source, e) != 0)
            return -1;
    }
    return 0;
}

int trace_writer_rows(struct trace_writer *w, uint64_t count,
                      const struct trace_token *token, const uint16_t *expert,
                      const float *score, const uint16_t *predicted, struct err *e)
{
    const struct trace_info *info = &w->info;
    uint64_t cells = count * info->layers;
    int status;

    assert(!info->counts_only);
    assert((score == NULL) == (info->score_kind == TRACE_SCORE_NONE));
    assert((predicted == NULL) == (info->predicted == 0));
    if (check_ids(w, cells * info->candidates, expert, info->candidates, e) != 0 ||
        (predicted != NULL &&
         check_ids(w, cells * info->predicted, predicted, info->predicted, e) != 0))
        return -1;
    hdf_enter();
    status = put_tokens(w, count, token, e);
    if (status == 0)
        status = stream_put(w, &w->expert, count, expert, e);
    if (status == 0 && score != NULL)
        status = put_scores(w, cells * info->candidates, score, e);
    if (status == 0 && predicted != NULL)
        status = stream_put(w, &w->predicted, count, predicted, e);
    hdf_leave();
    w->info.rows += count;
    return status;
}

int trace_writer_request(struct trace_writer *w, const struct trace_request *r,
                         struct err *e)
{
    size_t n = (size_t)w->info.requests;

    if (w->info.groups == 0 ? r->group != 0 : r->group >= w->info.groups)
        return err_set(e, "%s: request %zu to be written names group %u of %" PRIu32,
                       w->path, n, (unsigned)r->group, w->info.groups);
    if (n == w->request_room) {
        w->request_room = n * 2 + 16;
        w->requests = mem_resize(w->requests, w->request_room, sizeof *w->requests);
    }
    w->requests[w->info.requests++] = *r;
    return 0;
}

int trace_writer_pass(struct trace_writer *w, const uint64_t *rows, uint64_t count,
                      int64_t start_ns, struct err *e)
{
    uint64_t end;
    int status = 0;

    assert(!w->info.counts_only && count > 0);
    hdf_enter();
    if (w->info.passes == 0) {
        uint64_t zero = 0;

        if (hdf_group_create(w->file, w->path, "/pass", e) != 0 ||
            stream_open(w, &w->pass_first, "/pass/first", HDF_U64, 1, NULL, e) != 0 ||
            stream_open(w, &w->pass_row, "/pass/row", HDF_U64, 1, NULL, e) != 0 ||
            stream_open(w, &w->pass_start, "/pass/start_ns", HDF_I64, 1, NULL, e) != 0 ||
            stream_put(w, &w->pass_first, 1, &zero, e) != 0)
            status = -1;
    }
    if (status == 0) {
        end = w->pass_row.set.dim[0] + w->pass_row.filled + count;
        if (stream_put(w, &w->pass_row, count, rows, e) != 0 ||
            stream_put(w, &w->pass_first, 1, &end, e) != 0 ||
            stream_put(w, &w->pass_start, 1, &start_ns, e) != 0)
            status = -1;
    }
    hdf_leave();
    w->info.passes++;
    return status;
}

int trace_writer_load(struct trace_writer *w, const uint32_t *count, struct err *e)
{
    int status;

    assert(w->info.counts_only);
    hdf_enter();
    status = stream_put(w, &w->load, 1, count, e);
    hdf_leave();
    w->info.passes++;
    return status;
}

/* ---- finishing ---- */

static int check_cover(const struct trace_writer *w, struct err *e)
{
    uint64_t next = 0;

    if (w->info.counts_only)
        return w->info.passes > 0 ? 0 : err_set(e, "%s: no pass was written", w->path);
    if (w->info.rows == 0)
        return err_set(e, "%s: no row was written", w->path);
    for (uint64_t i = 0; i < w->info.requests; i++) {
        if (w->requests[i].first_row != next)
            return err_set(e,
                           "%s: request %" PRIu64 " begins at row %" PRIu64
                           " and not at %" PRIu64 ", where the one before ends",
                           w->path, i, w->requests[i].first_row, next);
        next += w->requests[i].rows;
    }
    if (next != w->info.rows)
        return err_set(e, "%s: the requests cover %" PRIu64 " of %" PRIu64 " rows",
                       w->path, next, w->info.rows);
    return 0;
}

/* The member at `offset` of every request, as one column. */
static int put_request_column(struct trace_writer *w, const char *name,
                              enum hdf_kind kind, size_t offset, size_t width,
                              struct err *e)
{
    size_t n = (size_t)w->info.requests;
    unsigned char *column = mem_alloc(n, width);
    int status;

    for (size_t i = 0; i < n; i++)
        memcpy(column + i * width, (const unsigned char *)&w->requests[i] + offset,
               width);
    status = put_whole(w, name, kind, 0, n, column, e);
    free(column);
    return status;
}

#define REQUEST_MEMBER(m)                                                                \
    offsetof(struct trace_request, m), sizeof(((struct trace_request *)0)->m)

static int put_requests(struct trace_writer *w, struct err *e)
{
    if (w->info.counts_only)
        return 0;
    if (put_request_column(w, "/request/arrival_ns", HDF_I64, REQUEST_MEMBER(arrival_ns),
                           e) != 0 ||
        put_request_column(w, "/request/prompt_tokens", HDF_U32,
                           REQUEST_MEMBER(prompt_tokens), e) != 0 ||
        put_request_column(w, "/request/output_tokens", HDF_U32,
                           REQUEST_MEMBER(output_tokens), e) != 0 ||
        put_request_column(w, "/request/first_row", HDF_U64, REQUEST_MEMBER(first_row),
                           e) != 0 ||
        put_request_column(w, "/request/rows", HDF_U32, REQUEST_MEMBER(rows), e) != 0 ||
        put_request_column(w, "/request/group", HDF_U16, REQUEST_MEMBER(group), e) != 0)
        return -1;
    return 0;
}

/* Closes all of the library's objects; -1 if what was buffered could not be written. */
static int close_all(struct trace_writer *w, struct err *e)
{
    struct stream *list[12];
    int status = 0;

    (void)all_streams(w, list);
    for (int i = 0; i < 12; i++)
        if (stream_close(list[i]) != 0)
            status = -1;
    if (w->out != NULL && hdf_out_close(w->out, e) != 0)
        return -1;
    return status == 0
               ? 0
               : err_set(e, "%s: the HDF5 library cannot finish its columns", w->path);
}

/* The columns that a trace may lack and this one has. */
static unsigned optional_fields(const struct trace_writer *w)
{
    return (w->score.set.dim[0] > 0 ? TRACE_HAS_SCORES : 0U) |
           (w->predicted.set.dim[0] > 0 ? TRACE_HAS_PREDICTED : 0U) |
           (w->source.set.dim[0] > 0 ? TRACE_HAS_SOURCE : 0U) |
           (w->info.counts_only ? 0U : TRACE_HAS_IDS) |
           (w->info.passes > 0 && !w->info.counts_only ? TRACE_HAS_PASSES : 0U) |
           (w->info.expert_bytes != NULL ? TRACE_HAS_BYTES : 0U);
}

/* Reads the finished file's head back: all columns are there, in all their length. */
static int verify(const struct trace_writer *w, struct err *e)
{
    const unsigned optional = TRACE_HAS_SCORES | TRACE_HAS_PREDICTED | TRACE_HAS_SOURCE |
                              TRACE_HAS_IDS | TRACE_HAS_PASSES | TRACE_HAS_BYTES;
    struct err said = {.text = ""};
    struct trace *t = trace_open(hdf_out_name(w->out), NULL, &said);
    const struct trace_info *is = t == NULL ? NULL : trace_get_info(t);
    bool whole = is != NULL && is->rows == w->info.rows && is->passes == w->info.passes &&
                 is->requests == w->info.requests && is->layers == w->info.layers &&
                 (w->info.groups == 0 || is->groups == w->info.groups) &&
                 (trace_fields(t) & optional) == optional_fields(w) &&
                 (t->token_id_set.id >= 0) == (w->token_id.set.dim[0] > 0);

    trace_close(t);
    return whole
               ? 0
               : err_set(e, "%s: what was written does not read back as it was meant%s%s",
                         w->path, said.text[0] == '\0' ? "" : ": ", said.text);
}

static void writer_free(struct trace_writer *w)
{
    trace_info_release(&w->info);
    free(w->requests);
    free(w->path);
    free(w);
}

int trace_writer_commit(struct trace_writer *w, struct err *e)
{
    struct stream *list[12];
    int status = check_cover(w, e);

    hdf_enter();
    (void)all_streams(w, list);
    for (int i = 0; i < 12 && status == 0; i++)
        status = stream_flush(w, list[i], e);
    if (status == 0)
        status = put_requests(w, e);
    if (close_all(w, e) != 0)
        status = -1;
    hdf_leave();
    if (status != 0 || verify(w, e) != 0) {
        trace_writer_abandon(w);
        return -1;
    }
    status = hdf_out_commit(w->out, e);
    writer_free(w);
    return status;
}

void trace_writer_abandon(struct trace_writer *w)
{
    struct err ignored = {.text = ""};

    if (w == NULL)
        return;
    hdf_enter();
    (void)close_all(w, &ignored);
    hdf_out_abandon(w->out);
    hdf_leave();
    writer_free(w);
}

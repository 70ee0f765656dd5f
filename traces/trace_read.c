#include "half.h"
#include "trace_state.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_BYTES_DEFAULT ((size_t)64 << 20)
#define PASS_ROWS_MAX ((uint64_t)1 << 24)

void trace_info_release(struct trace_info *info)
{
    free(info->model);
    free(info->source);
    free(info->capture);
    free(info->moe_layer);
    free(info->expert_bytes);
    for (uint32_t g = 0; info->group_names != NULL && g < info->groups; g++)
        free(info->group_names[g]);
    free(info->group_names);
    *info = (struct trace_info){0};
}

/* ---- loading blocks ---- */

/* Reads rows of one data set under the library's lock. */
static int read_rows(const struct hdf_set *s, uint64_t first, uint64_t count, void *rows,
                     struct err *e)
{
    int status;

    hdf_enter();
    status = hdf_set_read(s, first, count, rows, e);
    hdf_leave();
    return status;
}

static int load_expert(void *context, uint64_t first, uint64_t count, void *rows,
                       struct err *e)
{
    struct trace *t = context;

    return read_rows(&t->expert_set, first, count, rows, e) == 0
               ? trace_check_expert(t, first, count, rows, e)
               : -1;
}

static int load_score(void *context, uint64_t first, uint64_t count, void *rows,
                      struct err *e)
{
    struct trace *t = context;

    return read_rows(&t->score_set, first, count, rows, e) == 0
               ? trace_check_score(t, first, count, rows, e)
               : -1;
}

static int load_predicted(void *context, uint64_t first, uint64_t count, void *rows,
                          struct err *e)
{
    struct trace *t = context;

    return read_rows(&t->predicted_set, first, count, rows, e) == 0
               ? trace_check_predicted(t, first, count, rows, e)
               : -1;
}

/* Data sets without a rule of their own. */
static int load_plain(void *context, uint64_t first, uint64_t count, void *rows,
                      struct err *e)
{
    return read_rows(context, first, count, rows, e);
}

/* The columns of /token, side by side. */
struct token_columns {
    uint32_t *request, *position;
    uint8_t *phase;
    int32_t *token_id;
    uint16_t *source;
};

static int read_token_columns(const struct trace *t, uint64_t first, uint64_t count,
                              const struct token_columns *c, struct err *e)
{
    if (read_rows(&t->request_set, first, count, c->request, e) != 0 ||
        read_rows(&t->position_set, first, count, c->position, e) != 0 ||
        read_rows(&t->phase_set, first, count, c->phase, e) != 0)
        return -1;
    if (t->token_id_set.id < 0)
        memset(c->token_id, 0xff,
               (size_t)count * sizeof c->token_id[0]); /* -1: unknown */
    else if (read_rows(&t->token_id_set, first, count, c->token_id, e) != 0)
        return -1;
    if (t->source_set.id < 0)
        memset(c->source, 0xff, (size_t)count * sizeof c->source[0]); /* 65535: unknown */
    else if (read_rows(&t->source_set, first, count, c->source, e) != 0)
        return -1;
    return 0;
}

static int load_token(void *context, uint64_t first, uint64_t count, void *rows,
                      struct err *e)
{
    struct trace *t = context;
    struct trace_token *token = rows;
    size_t n = (size_t)count;
    struct token_columns c = {.request = mem_alloc(n, sizeof(uint32_t)),
                              .position = mem_alloc(n, sizeof(uint32_t)),
                              .phase = mem_alloc(n, sizeof(uint8_t)),
                              .token_id = mem_alloc(n, sizeof(int32_t)),
                              .source = mem_alloc(n, sizeof(uint16_t))};
    int status = read_token_columns(t, first, count, &c, e);

    for (size_t i = 0; status == 0 && i < n; i++)
        token[i] = (struct trace_token){.request = c.request[i],
                                        .position = c.position[i],
                                        .phase = c.phase[i],
                                        .token_id = c.token_id[i],
                                        .source = c.source[i]};
    free(c.request);
    free(c.position);
    free(c.phase);
    free(c.token_id);
    free(c.source);
    return status == 0 ? trace_check_token(t, first, count, token, e) : -1;
}

/* ---- opening and closing ---- */

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void init_plain(struct trace *t, struct column *c, struct hdf_set *s)
{
    if (s->id >= 0)
        column_init(c, &t->cache, s->dim[0], s->row_bytes, s->chunk_rows, load_plain, s);
}

static void init_columns(struct trace *t)
{
    struct hdf_set *s = &t->expert_set;
    uint64_t token_rows;

    init_plain(t, &t->load, &t->load_set);
    if (s->id < 0)
        return;
    t->seen = mem_zalloc(t->info.experts, sizeof t->seen[0]);
    column_init(&t->expert, &t->cache, s->dim[0], s->row_bytes, s->chunk_rows,
                load_expert, t);
    s = &t->score_set;
    if (s->id >= 0)
        column_init(&t->score, &t->cache, s->dim[0], s->row_bytes, s->chunk_rows,
                    load_score, t);
    s = &t->predicted_set;
    if (s->id >= 0)
        column_init(&t->predicted, &t->cache, s->dim[0], s->row_bytes, s->chunk_rows,
                    load_predicted, t);
    token_rows = larger(t->request_set.chunk_rows, t->position_set.chunk_rows);
    token_rows = larger(token_rows, t->phase_set.chunk_rows);
    column_init(&t->token, &t->cache, t->info.rows, sizeof(struct trace_token),
                token_rows, load_token, t);
    init_plain(t, &t->pass_first, &t->pass_first_set);
    init_plain(t, &t->pass_row, &t->pass_row_set);
    init_plain(t, &t->pass_start, &t->pass_start_set);
}

/* Whether any row is prefill; reads phases up to the first such row. */
static int find_prefill(struct trace *t, struct err *e)
{
    uint64_t step = 65536;
    uint8_t *phase;
    int status = 0;

    if (t->info.counts_only)
        return 0;
    phase = mem_alloc((size_t)step, 1);
    for (uint64_t first = 0; first < t->info.rows && status == 0; first += step) {
        uint64_t count = t->info.rows - first < step ? t->info.rows - first : step;

        status = read_rows(&t->phase_set, first, count, phase, e);
        if (status == 0 && memchr(phase, TRACE_PREFILL, (size_t)count) != NULL) {
            t->fields |= TRACE_HAS_PREFILL;
            break;
        }
    }
    free(phase);
    return status;
}

static void close_sets(struct trace *t)
{
    struct hdf_set *const sets[] = {
        &t->expert_set,   &t->score_set,      &t->predicted_set, &t->load_set,
        &t->request_set,  &t->position_set,   &t->phase_set,     &t->token_id_set,
        &t->source_set,   &t->pass_first_set, &t->pass_row_set,  &t->pass_start_set,
        &t->resident_set,
    };

    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++)
        (void)hdf_set_close(sets[i]);
}

static struct trace *trace_new(const char *path, const struct trace_options *o)
{
    const struct hdf_set closed = {.id = -1, .memory_type = -1};
    struct trace *t = mem_zalloc(1, sizeof *t);

    t->path = mem_strdup(path);
    t->file = -1;
    t->cache.limit =
        o != NULL && o->cache_bytes != 0 ? o->cache_bytes : CACHE_BYTES_DEFAULT;
    t->expert_set = t->score_set = t->predicted_set = t->load_set = closed;
    t->request_set = t->position_set = t->phase_set = t->token_id_set = closed;
    t->source_set = t->pass_first_set = t->pass_row_set = t->pass_start_set = closed;
    t->resident_set = closed;
    return t;
}

struct trace *trace_open(const char *path, const struct trace_options *o, struct err *e)
{
    struct trace *t = trace_new(path, o);
    int status = -1;

    hdf_enter();
    t->file = hdf_file_open(path, e);
    if (t->file >= 0)
        status = trace_head_read(t, e);
    hdf_leave();
    if (status == 0) {
        init_columns(t);
        status = find_prefill(t, e);
    }
    if (status == 0)
        return t;
    trace_close(t);
    return NULL;
}

void trace_close(struct trace *t)
{
    if (t == NULL)
        return;
    hdf_enter();
    close_sets(t);
    if (t->file >= 0)
        (void)H5Fclose(t->file);
    hdf_leave();
    column_cache_release(&t->cache);
    column_release(&t->expert);
    column_release(&t->score);
    column_release(&t->predicted);
    column_release(&t->load);
    column_release(&t->token);
    column_release(&t->pass_first);
    column_release(&t->pass_row);
    column_release(&t->pass_start);
    trace_info_release(&t->info);
    free(t->requests);
    free(t->seen);
    free(t->path);
    free(t);
}

const struct trace_info *trace_get_info(const struct trace *t)
{
    return &t->info;
}

const struct trace_request *trace_get_requests(const struct trace *t)
{
    return t->requests;
}

unsigned trace_fields(const struct trace *t)
{
    return t->fields;
}

const char *trace_path(const struct trace *t)
{
    return t->path;
}

/* ---- reading ---- */

int trace_read_expert(struct trace *t, uint64_t first, uint64_t count, uint16_t *expert,
                      struct err *e)
{
    assert((t->fields & TRACE_HAS_IDS) != 0 && first <= t->info.rows &&
           count <= t->info.rows - first);
    return column_read(&t->expert, first, count, expert, e);
}

int trace_read_score(struct trace *t, uint64_t first, uint64_t count, float *score,
                     struct err *e)
{
    size_t width = (size_t)t->info.layers * t->info.candidates;

    assert((t->fields & TRACE_HAS_SCORES) != 0 && first <= t->info.rows &&
           count <= t->info.rows - first);
    while (count > 0) {
        uint64_t left;
        const unsigned char *rows = column_row(&t->score, first, &left, e);
        const uint16_t *half = (const void *)rows;

        if (rows == NULL)
            return -1;
        if (left > count)
            left = count;
        for (size_t i = 0; i < (size_t)left * width; i++)
            score[i] = half_to_float(half[i]);
        score += (size_t)left * width;
        first += left;
        count -= left;
    }
    return 0;
}

int trace_read_predicted(struct trace *t, uint64_t first, uint64_t count,
                         uint16_t *predicted, struct err *e)
{
    assert((t->fields & TRACE_HAS_PREDICTED) != 0 && first <= t->info.rows &&
           count <= t->info.rows - first);
    return column_read(&t->predicted, first, count, predicted, e);
}

int trace_read_token(struct trace *t, uint64_t first, uint64_t count,
                     struct trace_token *token, struct err *e)
{
    assert((t->fields & TRACE_HAS_IDS) != 0 && first <= t->info.rows &&
           count <= t->info.rows - first);
    return column_read(&t->token, first, count, token, e);
}

int trace_read_load(struct trace *t, uint64_t n, uint32_t *count, struct err *e)
{
    assert(t->info.counts_only && n < t->info.passes);
    return column_read(&t->load, n, 1, count, e);
}

int trace_read_pass(struct trace *t, uint64_t p, uint64_t **rows, uint64_t *count,
                    int64_t *start_ns, struct err *e)
{
    uint64_t bound[2], total = t->pass_row_set.dim[0];

    assert((t->fields & TRACE_HAS_PASSES) != 0 && p < t->info.passes);
    if (column_read(&t->pass_first, p, 2, bound, e) != 0 ||
        column_read(&t->pass_start, p, 1, start_ns, e) != 0)
        return -1;
    if (bound[0] >= bound[1] || bound[1] > total || (p == 0 && bound[0] != 0) ||
        (p + 1 == t->info.passes && bound[1] != total) ||
        bound[1] - bound[0] > PASS_ROWS_MAX)
        return err_set(e,
                       "%s: /pass/first, row %" PRIu64 ": a pass from %" PRIu64
                       " to %" PRIu64 " of the %" PRIu64
                       " rows of /pass/row; passes must follow each "
                       "other, none empty",
                       t->path, p, bound[0], bound[1], total);
    if (*start_ns < -1)
        return err_set(e,
                       "%s: /pass/start_ns, row %" PRIu64 ": %" PRId64 " is negative; -1 "
                       "means not recorded",
                       t->path, p, *start_ns);
    *count = bound[1] - bound[0];
    *rows = mem_alloc((size_t)*count, sizeof **rows);
    if (column_read(&t->pass_row, bound[0], *count, *rows, e) == 0) {
        uint64_t i = 0;

        while (i < *count && (*rows)[i] < t->info.rows)
            i++;
        if (i == *count)
            return 0;
        (void)err_set(e,
                      "%s: /pass/row, row %" PRIu64 ": %" PRIu64 " is not below %" PRIu64
                      " (rows of /routing/expert)",
                      t->path, bound[0] + i, (*rows)[i], t->info.rows);
    }
    free(*rows);
    *rows = NULL;
    return -1;
}

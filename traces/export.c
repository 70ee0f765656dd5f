#include "export.h"

#include "slice.h"

#include "sim/base/file.h"
#include "sim/base/mem.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_ACCESSES ((size_t)65536) /* of the spill file, held at once */
#define RECORD_BYTES 24
#define WORD_BITS 64

static int write_failed(const char *path, struct err *e)
{
    return err_set(e, "%s: writing failed: %s", path, strerror(errno));
}

static int need_rows(const struct trace *t, struct err *e)
{
    if ((trace_fields(t) & TRACE_HAS_IDS) != 0)
        return 0;
    return err_set(e,
                   "%s: data set %s is missing; only a trace with rows can be exported",
                   trace_path(t), trace_field_name(TRACE_HAS_IDS));
}

/* ---- CSV ---- */

/* Room for one row. */
struct row {
    struct trace_token token;
    uint16_t *expert;
    float *score; /* NULL: the trace has none */
};

static void row_init(struct row *r, const struct trace *t)
{
    const struct trace_info *info = trace_get_info(t);
    size_t values = (size_t)info->layers * info->candidates;

    r->expert = mem_alloc(values, sizeof r->expert[0]);
    r->score = (trace_fields(t) & TRACE_HAS_SCORES) != 0
                   ? mem_alloc(values, sizeof r->score[0])
                   : NULL;
}

static void row_release(struct row *r)
{
    free(r->expert);
    free(r->score);
}

static void print_row(FILE *out, const struct trace_info *info, uint64_t number,
                      const struct row *r)
{
    for (uint32_t l = 0; l < info->layers; l++)
        for (uint32_t k = 0; k < info->top_k; k++) {
            size_t i = (size_t)l * info->candidates + k;

            if (r->expert[i] == TRACE_NOT_RECORDED)
                break;
            (void)fprintf(out,
                          "%" PRIu64 ",%" PRIu32 ",%" PRIu32 ",%s,%u,%" PRIu32 ",%u,",
                          number, r->token.request, r->token.position,
                          trace_phase_name((enum trace_phase)r->token.phase),
                          (unsigned)info->moe_layer[l], k, (unsigned)r->expert[i]);
            if (r->score != NULL)
                (void)fprintf(out, "%.6g", (double)r->score[i]);
            (void)fputc('\n', out);
        }
}

int export_csv(struct trace *t, const char *path, struct err *e)
{
    const struct trace_info *info = trace_get_info(t);
    struct file_out *out;
    FILE *stream;
    struct row r;
    int status = 0;

    if (need_rows(t, e) != 0)
        return -1;
    out = file_out_new(path, e);
    if (out == NULL)
        return -1;
    stream = file_out_stream(out);
    row_init(&r, t);
    (void)fputs("row,request,position,phase,layer,slot,expert,score\n", stream);
    for (uint64_t i = 0; i < info->rows && status == 0; i++) {
        if (trace_read_token(t, i, 1, &r.token, e) != 0 ||
            trace_read_expert(t, i, 1, r.expert, e) != 0 ||
            (r.score != NULL && trace_read_score(t, i, 1, r.score, e) != 0))
            status = -1;
        else
            print_row(stream, info, i, &r);
        if (status == 0 && ferror(stream) != 0)
            status = write_failed(path, e);
    }
    row_release(&r);
    if (status == 0)
        return file_out_commit(out, e);
    file_out_abandon(out);
    return -1;
}

/* ---- the accesses, pass by pass, into the spill file ---- */

struct access {
    uint32_t object, pass;
};

struct spill {
    struct trace *t;
    const char *path; /* of the export, for messages */
    FILE *stream;
    bool *keep;     /* (layer) */
    size_t words;   /* per layer in `used` */
    uint64_t *used; /* (layer, expert bit): experts of the pass under way */
    struct row row;
    uint64_t accesses;
    uint64_t passes;
};

/* Adds the executed experts of one row to the pass. */
static int add_row(struct spill *s, uint64_t number, struct err *e)
{
    const struct trace_info *info = trace_get_info(s->t);

    if (trace_read_expert(s->t, number, 1, s->row.expert, e) != 0)
        return -1;
    for (uint32_t l = 0; l < info->layers; l++) {
        const uint16_t *expert = s->row.expert + (size_t)l * info->candidates;

        for (uint32_t k = 0; k < info->top_k && expert[k] != TRACE_NOT_RECORDED; k++)
            s->used[l * s->words + expert[k] / WORD_BITS] |= UINT64_C(1)
                                                             << (expert[k] % WORD_BITS);
    }
    return 0;
}

/* Writes the pass layer by layer, experts ascending, and begins the next one. */
static int end_pass(struct spill *s, struct err *e)
{
    const struct trace_info *info = trace_get_info(s->t);

    if (s->passes > UINT32_MAX)
        return err_set(e,
                       "%s: the trace has more than 2^32 passes, which the format cannot "
                       "count; export a slice",
                       s->path);
    for (uint32_t l = 0; l < info->layers; l++) {
        uint64_t *used = s->used + l * s->words;

        for (uint32_t x = 0; s->keep[l] && x < info->experts; x++)
            if ((used[x / WORD_BITS] >> (x % WORD_BITS) & 1) != 0) {
                struct access a = {l * info->experts + x, (uint32_t)s->passes};

                if (fwrite(&a, sizeof a, 1, s->stream) != 1)
                    return write_failed(s->path, e);
                s->accesses++;
            }
        memset(used, 0, s->words * sizeof used[0]);
    }
    s->passes++;
    return 0;
}

/* Emits the prefill runs due at `*next` (before `end`), one pass each. */
static int take_prefill(struct spill *s, uint64_t *next, uint64_t end, struct err *e)
{
    bool any = false;

    while (*next < end) {
        if (trace_read_token(s->t, *next, 1, &s->row.token, e) != 0)
            return -1;
        if (s->row.token.phase != TRACE_PREFILL)
            break;
        if (add_row(s, *next, e) != 0)
            return -1;
        ++*next;
        any = true;
    }
    return any ? end_pass(s, e) : 0;
}

/* Requests [first, first + count) in lock step; next[] is room for `count` rows. */
static int run_batch(struct spill *s, uint64_t first, uint64_t count, uint64_t *next,
                     struct err *e)
{
    const struct trace_request *r = trace_get_requests(s->t) + first;
    bool busy = true;

    for (uint64_t i = 0; i < count; i++)
        next[i] = r[i].first_row;
    while (busy) {
        busy = false;
        for (uint64_t i = 0; i < count; i++)
            if (take_prefill(s, &next[i], r[i].first_row + r[i].rows, e) != 0)
                return -1;
        for (uint64_t i = 0; i < count; i++)
            if (next[i] < r[i].first_row + r[i].rows) {
                if (add_row(s, next[i]++, e) != 0)
                    return -1;
                busy = true;
            }
        if (busy && end_pass(s, e) != 0)
            return -1;
    }
    return 0;
}

static int spill_all(struct spill *s, uint32_t batch, struct err *e)
{
    uint64_t requests = trace_get_info(s->t)->requests;
    uint64_t *next;
    int status = 0;

    if (batch > requests)
        batch = (uint32_t)requests;
    next = mem_alloc(batch, sizeof *next);
    for (uint64_t first = 0; first < requests && status == 0; first += batch) {
        uint64_t count = requests - first < batch ? requests - first : batch;

        status = run_batch(s, first, count, next, e);
    }
    free(next);
    if (status == 0 && fflush(s->stream) != 0)
        status = write_failed(s->path, e);
    return status;
}

/* ---- the records, from the last to the first ---- */

static void put_le(unsigned char *to, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        to[i] = (unsigned char)(value >> (8 * i));
}

static int record_size(const struct trace_info *info, const struct export_options *o,
                       uint32_t layer, uint64_t *size)
{
    *size = info->expert_bytes != NULL && !o->unit_size ? info->expert_bytes[layer] : 1;
    return *size <= UINT32_MAX ? 0 : -1;
}

/* Turns the accesses [first, first + count) into records. seen[object] is one more than
 * the number of the next access to it, 0 if there is none. */
static int fill_records(const struct spill *s, const struct export_options *o,
                        const struct access *access, uint64_t first, size_t count,
                        uint64_t *seen, unsigned char *record, struct err *e)
{
    const struct trace_info *info = trace_get_info(s->t);

    for (size_t i = count; i-- > 0;) {
        uint32_t object = access[i].object;
        unsigned char *to = record + i * RECORD_BYTES;
        uint64_t size;

        if (record_size(info, o, object / info->experts, &size) != 0)
            return err_set(e,
                           "%s: /expert_bytes, row %" PRIu32 ": %" PRIu64
                           " bytes do not fit "
                           "the format's 32 bits; export with size 1",
                           trace_path(s->t), object / info->experts, size);
        put_le(to, access[i].pass, 4);
        put_le(to + 4, object, 8);
        put_le(to + 12, size, 4);
        put_le(to + 16, seen[object] - 1, 8); /* 0 - 1 is -1 */
        seen[object] = first + i + 1;
    }
    return 0;
}

static int write_records(const struct spill *s, const struct export_options *o, FILE *out,
                         struct err *e)
{
    const struct trace_info *info = trace_get_info(s->t);
    struct access *access = mem_alloc(BLOCK_ACCESSES, sizeof *access);
    unsigned char *record = mem_alloc(BLOCK_ACCESSES, RECORD_BYTES);
    uint64_t *seen = mem_zalloc((size_t)info->layers * info->experts, sizeof *seen);
    uint64_t end = s->accesses;
    int status = 0;

    while (end > 0 && status == 0) {
        size_t count = end < BLOCK_ACCESSES ? (size_t)end : BLOCK_ACCESSES;

        end -= count;
        if (fseeko(s->stream, (off_t)(end * sizeof *access), SEEK_SET) != 0 ||
            fread(access, sizeof *access, count, s->stream) != count)
            status =
                err_set(e, "%s: the spill file beside it cannot be read back", s->path);
        else
            status = fill_records(s, o, access, end, count, seen, record, e);
        if (status == 0 && (fseeko(out, (off_t)(end * RECORD_BYTES), SEEK_SET) != 0 ||
                            fwrite(record, RECORD_BYTES, count, out) != count))
            status = write_failed(s->path, e);
    }
    free(access);
    free(record);
    free(seen);
    return status;
}

static int spill_and_write(struct spill *s, const struct export_options *o,
                           struct file_out *out, struct err *e)
{
    const struct trace_info *info = trace_get_info(s->t);
    char *name = mem_format("%s.spill", s->path);
    struct file_out *spill = file_out_new(name, e);
    int status = -1;

    free(name);
    if (spill == NULL)
        return -1;
    s->stream = fopen(file_out_name(spill), "w+b");
    if (s->stream == NULL) {
        (void)write_failed(s->path, e);
    } else {
        row_init(&s->row, s->t);
        s->words = (info->experts + WORD_BITS - 1) / WORD_BITS;
        s->used = mem_zalloc(info->layers * s->words, sizeof s->used[0]);
        status = spill_all(s, o->batch == 0 ? 1 : o->batch, e);
        if (status == 0)
            status = write_records(s, o, file_out_stream(out), e);
        free(s->used);
        row_release(&s->row);
        (void)fclose(s->stream);
    }
    file_out_abandon(spill);
    return status;
}

int export_oracle_general(struct trace *t, const char *path,
                          const struct export_options *o, uint64_t *accesses,
                          struct err *e)
{
    const struct trace_info *info = trace_get_info(t);
    const struct export_options none = {0};
    struct spill s = {.t = t, .path = path};
    struct file_out *out;
    int status = 0;

    if (o == NULL)
        o = &none;
    if (need_rows(t, e) != 0)
        return -1;
    s.keep = mem_alloc(info->layers, sizeof s.keep[0]);
    for (uint32_t l = 0; l < info->layers; l++)
        s.keep[l] = true;
    if (o->layers != NULL)
        status = slice_parse_list(o->layers, info->layers, s.keep, e);
    out = status == 0 ? file_out_new(path, e) : NULL;
    if (out != NULL)
        status = spill_and_write(&s, o, out, e);
    free(s.keep);
    if (accesses != NULL)
        *accesses = s.accesses;
    if (out != NULL && status == 0)
        return file_out_commit(out, e);
    file_out_abandon(out);
    return -1;
}

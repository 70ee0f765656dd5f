#include "slice.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES ((uint64_t)4 << 20) /* of routing copied at once */

/* ---- ranges ---- */

/* A plain decimal number; `text` moves behind it. */
static int parse_number(const char **text, uint64_t *value)
{
    char *end;

    if (!isdigit((unsigned char)**text))
        return -1;
    errno = 0;
    *value = strtoull(*text, &end, 10);
    *text = end;
    return errno == 0 && *value < UINT64_MAX ? 0 : -1;
}

/* One range at `*text`, up to a comma or the end. */
static int parse_part(const char **text, uint64_t *first, uint64_t *last)
{
    bool begins = **text != ':';

    *first = 0;
    *last = UINT64_MAX;
    if (begins && parse_number(text, first) != 0)
        return -1;
    if (**text == ':') {
        ++*text;
        if (**text != '\0' && **text != ',' && parse_number(text, last) != 0)
            return -1;
    } else {
        *last = *first + 1;
    }
    return (**text == '\0' || **text == ',') && *first < *last ? 0 : -1;
}

int slice_parse_range(const char *text, uint64_t *first, uint64_t *last, struct err *e)
{
    const char *next = text;

    if (parse_part(&next, first, last) != 0 || *next != '\0')
        return err_set(e, "\"%s\" is not a range such as 10:20, 10:, :20 or 10", text);
    return 0;
}

int slice_parse_list(const char *text, uint32_t count, bool *keep, struct err *e)
{
    const char *next = text;
    uint64_t previous = 0;

    memset(keep, 0, count * sizeof keep[0]);
    for (;;) {
        uint64_t first, last;

        if (parse_part(&next, &first, &last) != 0)
            return err_set(e, "\"%s\" is not a list such as 0,4:8,23", text);
        if (first >= count || (last != UINT64_MAX && last > count))
            return err_set(e, "\"%s\" names an item not below %" PRIu32, text, count);
        if (first < previous)
            return err_set(e, "\"%s\" must ascend, each item once", text);
        for (uint64_t i = first; i < last && i < count; i++)
            keep[i] = true;
        previous = last;
        if (*next == '\0')
            return 0;
        next++;
    }
}

/* ---- what remains ---- */

struct cut {
    struct trace *from;
    struct trace_writer *to;
    struct trace_info info; /* of the part */
    uint32_t *layer;        /* [info.layers] index in the whole trace */
    uint64_t first, last;   /* rows that stay: requests follow each other, so one range */
};

static int choose_layers(struct cut *c, const char *layers, struct err *e)
{
    const struct trace_info *whole = trace_get_info(c->from);
    bool *keep = mem_alloc(whole->layers, sizeof *keep);

    for (uint32_t l = 0; l < whole->layers; l++)
        keep[l] = true;
    if (layers != NULL && slice_parse_list(layers, whole->layers, keep, e) != 0) {
        free(keep);
        return -1;
    }
    c->info = *whole;
    c->info.layers = 0;
    c->layer = mem_alloc(whole->layers, sizeof c->layer[0]);
    c->info.moe_layer = mem_alloc(whole->layers, sizeof c->info.moe_layer[0]);
    if (whole->expert_bytes != NULL)
        c->info.expert_bytes = mem_alloc(whole->layers, sizeof c->info.expert_bytes[0]);
    for (uint32_t l = 0; l < whole->layers; l++) {
        uint32_t to = c->info.layers;

        if (!keep[l])
            continue;
        c->layer[to] = l;
        c->info.moe_layer[to] = whole->moe_layer[l];
        if (whole->expert_bytes != NULL)
            c->info.expert_bytes[to] = whole->expert_bytes[l];
        c->info.layers++;
    }
    free(keep);
    return 0;
}

static int choose_rows(struct cut *c, const struct slice *s, struct err *e)
{
    const struct trace_info *whole = trace_get_info(c->from);
    const struct trace_request *requests = trace_get_requests(c->from);
    uint64_t last = s->last_request < whole->requests ? s->last_request : whole->requests;

    c->first = s->first_row;
    c->last = whole->counts_only ? whole->passes : whole->rows;
    if (s->last_row < c->last)
        c->last = s->last_row;
    if (!whole->counts_only && s->first_request < last) {
        const struct trace_request *r = &requests[last - 1];

        if (requests[s->first_request].first_row > c->first)
            c->first = requests[s->first_request].first_row;
        if (r->first_row + r->rows < c->last)
            c->last = r->first_row + r->rows;
    } else if (!whole->counts_only) {
        c->last = 0;
    }
    if (c->first < c->last)
        return 0;
    return err_set(e,
                   "%s: no row is in the range asked for; the trace has %" PRIu64
                   " requests and %" PRIu64 " rows",
                   trace_path(c->from), whole->requests,
                   whole->counts_only ? whole->passes : whole->rows);
}

/* ---- copying ---- */

struct block {
    struct trace_token *token;
    uint16_t *expert, *predicted;
    float *score;
};

static int read_block(struct cut *c, uint64_t first, uint64_t count, struct block *b,
                      struct err *e)
{
    if (trace_read_token(c->from, first, count, b->token, e) != 0 ||
        trace_read_expert(c->from, first, count, b->expert, e) != 0 ||
        (b->score != NULL && trace_read_score(c->from, first, count, b->score, e) != 0) ||
        (b->predicted != NULL &&
         trace_read_predicted(c->from, first, count, b->predicted, e) != 0))
        return -1;
    return 0;
}

/* Moves the layers that stay together, in place. `bytes` is the size of one (row, layer).
 */
static void pack_layers(const struct cut *c, void *values, uint64_t count, size_t bytes)
{
    unsigned char *to = values;
    const unsigned char *row = values;
    uint32_t whole = trace_get_info(c->from)->layers;

    if (values == NULL)
        return;
    for (uint64_t i = 0; i < count; i++, row += whole * bytes)
        for (uint32_t l = 0; l < c->info.layers; l++, to += bytes)
            memmove(to, row + c->layer[l] * bytes, bytes);
}

/* Copies rows [first, first + count) of request `number` of the part. */
static int copy_rows(struct cut *c, uint64_t first, uint64_t count, uint32_t number,
                     struct block *b, struct err *e)
{
    if (read_block(c, first, count, b, e) != 0)
        return -1;
    for (uint64_t i = 0; i < count; i++)
        b->token[i].request = number;
    pack_layers(c, b->expert, count, c->info.candidates * sizeof b->expert[0]);
    pack_layers(c, b->score, count, c->info.candidates * sizeof b->score[0]);
    pack_layers(c, b->predicted, count, c->info.predicted * sizeof b->predicted[0]);
    return trace_writer_rows(c->to, count, b->token, b->expert, b->score, b->predicted,
                             e);
}

static int copy_requests(struct cut *c, struct block *b, uint64_t step, struct err *e)
{
    const struct trace_info *whole = trace_get_info(c->from);
    const struct trace_request *requests = trace_get_requests(c->from);
    uint32_t number = 0;

    for (uint64_t i = 0; i < whole->requests; i++) {
        struct trace_request r = requests[i];
        uint64_t first = r.first_row > c->first ? r.first_row : c->first;
        uint64_t last = r.first_row + r.rows < c->last ? r.first_row + r.rows : c->last;

        if (first >= last)
            continue;
        for (uint64_t row = first; row < last; row += step) {
            uint64_t count = last - row < step ? last - row : step;

            if (copy_rows(c, row, count, number, b, e) != 0)
                return -1;
        }
        r.first_row = first - c->first;
        r.rows = (uint32_t)(last - first);
        number++;
        if (trace_writer_request(c->to, &r, e) != 0)
            return -1;
    }
    return 0;
}

static int copy_passes(struct cut *c, struct err *e)
{
    const struct trace_info *whole = trace_get_info(c->from);

    for (uint64_t p = 0; p < whole->passes; p++) {
        uint64_t *rows, count, kept = 0;
        int64_t start_ns;
        int status = 0;

        if (trace_read_pass(c->from, p, &rows, &count, &start_ns, e) != 0)
            return -1;
        for (uint64_t i = 0; i < count; i++)
            if (rows[i] >= c->first && rows[i] < c->last)
                rows[kept++] = rows[i] - c->first;
        if (kept > 0)
            status = trace_writer_pass(c->to, rows, kept, start_ns, e);
        free(rows);
        if (status != 0)
            return -1;
    }
    return 0;
}

static int copy_counts(struct cut *c, struct err *e)
{
    const struct trace_info *whole = trace_get_info(c->from);
    uint32_t *count = mem_alloc((size_t)whole->layers * whole->experts, sizeof *count);
    int status = 0;

    for (uint64_t n = c->first; n < c->last && status == 0; n++) {
        status = trace_read_load(c->from, n, count, e);
        if (status == 0) {
            pack_layers(c, count, 1, whole->experts * sizeof *count);
            status = trace_writer_load(c->to, count, e);
        }
    }
    free(count);
    return status;
}

static int copy_routing(struct cut *c, struct err *e)
{
    const struct trace_info *whole = trace_get_info(c->from);
    size_t cells, widest = whole->candidates;
    uint64_t step;
    struct block b = {0};
    int status;

    if (whole->predicted > widest)
        widest = whole->predicted;
    step = BLOCK_BYTES / (whole->layers * widest * sizeof(float));
    if (step == 0)
        step = 1;
    cells = (size_t)step * whole->layers;
    b.token = mem_alloc((size_t)step, sizeof b.token[0]);
    b.expert = mem_alloc(cells * whole->candidates, sizeof b.expert[0]);
    if ((trace_fields(c->from) & TRACE_HAS_SCORES) != 0)
        b.score = mem_alloc(cells * whole->candidates, sizeof b.score[0]);
    if (whole->predicted > 0)
        b.predicted = mem_alloc(cells * whole->predicted, sizeof b.predicted[0]);
    status = copy_requests(c, &b, step, e);
    free(b.token);
    free(b.expert);
    free(b.score);
    free(b.predicted);
    if (status == 0 && (trace_fields(c->from) & TRACE_HAS_PASSES) != 0)
        status = copy_passes(c, e);
    return status;
}

static int copy_part(struct cut *c, const char *path, struct err *e)
{
    char *source =
        mem_format("%s; rows %" PRIu64 ":%" PRIu64 ", %" PRIu32 " of %" PRIu32 " layers",
                   c->info.source, c->first, c->last, c->info.layers,
                   trace_get_info(c->from)->layers);
    int status = -1;

    c->info.source = source;
    c->to = trace_writer_new(path, &c->info, e);
    if (c->to != NULL)
        status = c->info.counts_only ? copy_counts(c, e) : copy_routing(c, e);
    free(source);
    if (status == 0)
        return trace_writer_commit(c->to, e);
    trace_writer_abandon(c->to);
    return -1;
}

int slice_write(struct trace *t, const struct slice *s, const char *path, struct err *e)
{
    struct cut c = {.from = t};
    int status = -1;

    if (choose_layers(&c, s->layers, e) == 0) {
        if (choose_rows(&c, s, e) == 0)
            status = copy_part(&c, path, e);
        free(c.layer);
        free(c.info.moe_layer);
        free(c.info.expert_bytes);
    }
    return status;
}

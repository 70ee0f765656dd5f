#include "trace_digest.h"

#include "sim/base/mem.h"

#include <stdlib.h>

enum { ROWS = 256 }; /* read at once */

static void add_number(struct hash *h, uint64_t number)
{
    hash_add(h, &number, sizeof number);
}

static void add_head(struct hash *h, const struct trace *t)
{
    const struct trace_info *i = trace_get_info(t);
    const struct trace_request *r = trace_get_requests(t);
    const uint64_t numbers[] = {
        i->experts,    i->top_k, i->candidates, i->layers, i->predicted, i->distance,
        i->score_kind, i->rows,  i->requests,   i->passes, i->groups,    trace_fields(t)};

    hash_add_text(h, i->model);
    hash_add(h, numbers, sizeof numbers);
    hash_add(h, i->moe_layer, i->layers * sizeof *i->moe_layer);
    if (i->expert_bytes != NULL)
        hash_add(h, i->expert_bytes, i->layers * sizeof *i->expert_bytes);
    for (uint32_t g = 0; g < i->groups; g++)
        hash_add_text(h, i->group_names[g]);
    for (uint64_t n = 0; n < i->requests; n++) {
        const uint64_t request[] = {(uint64_t)r[n].arrival_ns,
                                    r[n].prompt_tokens,
                                    r[n].output_tokens,
                                    r[n].first_row,
                                    r[n].rows,
                                    r[n].group};

        hash_add(h, request, sizeof request);
    }
}

/* ---- routing ---- */

struct parts {
    struct hash **layer; /* [layers] */
    struct hash *request;
    uint64_t number; /* of the request being read */
};

/* Ends the requests whose rows are all among the first `rows`; some have none. */
static void end_requests(struct parts *parts, const struct trace *t, uint64_t rows,
                         struct trace_digest *d)
{
    const struct trace_request *r = trace_get_requests(t);

    for (; parts->number < d->requests &&
           r[parts->number].first_row + r[parts->number].rows <= rows;
         parts->number++) {
        d->request[parts->number] = hash_now(parts->request).low;
        hash_free(parts->request);
        parts->request = hash_new();
    }
}

static void add_row(struct parts *parts, const struct trace *t, uint64_t row,
                    const uint16_t *expert, struct trace_digest *d)
{
    const struct trace_info *i = trace_get_info(t);

    end_requests(parts, t, row, d);
    for (uint32_t l = 0; l < i->layers; l++)
        hash_add(parts->layer[l], expert + (size_t)l * i->candidates,
                 i->candidates * sizeof *expert);
    hash_add(parts->request, expert, (size_t)i->layers * i->candidates * sizeof *expert);
}

static int add_routing(struct hash *h, struct trace *t, struct trace_digest *d,
                       struct err *e)
{
    const struct trace_info *i = trace_get_info(t);
    size_t width = (size_t)i->layers * i->candidates;
    uint16_t *expert = mem_alloc(ROWS * width, sizeof *expert);
    struct parts parts = {.layer = mem_alloc(i->layers, sizeof *parts.layer),
                          .request = hash_new()};
    int status = 0;

    d->requests = i->requests;
    d->request = mem_zalloc(i->requests, sizeof *d->request);
    d->layers = i->layers;
    d->layer = mem_alloc(i->layers, sizeof *d->layer);
    for (uint32_t l = 0; l < i->layers; l++)
        parts.layer[l] = hash_new();
    for (uint64_t row = 0; row < i->rows && status == 0; row += ROWS) {
        uint64_t count = i->rows - row < ROWS ? i->rows - row : ROWS;

        status = trace_read_expert(t, row, count, expert, e);
        for (uint64_t n = 0; n < count && status == 0; n++)
            add_row(&parts, t, row + n, expert + n * width, d);
        if (status == 0)
            hash_add(h, expert, count * width * sizeof *expert);
    }
    if (status == 0)
        end_requests(&parts, t, i->rows, d);
    for (uint32_t l = 0; l < i->layers; l++) {
        d->layer[l] = hash_now(parts.layer[l]).low;
        hash_free(parts.layer[l]);
    }
    hash_free(parts.request);
    free(parts.layer);
    free(expert);
    return status;
}

/* ---- what stands beside it ---- */

static int add_tokens(struct hash *h, struct trace *t, struct err *e)
{
    uint64_t rows = trace_get_info(t)->rows;
    struct trace_token token[ROWS];
    int status = 0;

    for (uint64_t row = 0; row < rows && status == 0; row += ROWS) {
        uint64_t count = rows - row < ROWS ? rows - row : ROWS;

        status = trace_read_token(t, row, count, token, e);
        for (uint64_t n = 0; n < count && status == 0; n++) {
            const uint64_t values[] = {token[n].request, token[n].position,
                                       token[n].phase, (uint64_t)token[n].token_id,
                                       token[n].source};

            hash_add(h, values, sizeof values);
        }
    }
    return status;
}

static int add_scores(struct hash *h, struct trace *t, struct err *e)
{
    const struct trace_info *i = trace_get_info(t);
    size_t width = (size_t)i->layers * i->candidates;
    float *score = mem_alloc(ROWS * width, sizeof *score);
    int status = 0;

    for (uint64_t row = 0; row < i->rows && status == 0; row += ROWS) {
        uint64_t count = i->rows - row < ROWS ? i->rows - row : ROWS;

        status = trace_read_score(t, row, count, score, e);
        if (status == 0)
            hash_add(h, score, count * width * sizeof *score);
    }
    free(score);
    return status;
}

static int add_predicted(struct hash *h, struct trace *t, struct err *e)
{
    const struct trace_info *i = trace_get_info(t);
    size_t width = (size_t)i->layers * i->predicted;
    uint16_t *predicted = mem_alloc(ROWS * width, sizeof *predicted);
    int status = 0;

    for (uint64_t row = 0; row < i->rows && status == 0; row += ROWS) {
        uint64_t count = i->rows - row < ROWS ? i->rows - row : ROWS;

        status = trace_read_predicted(t, row, count, predicted, e);
        if (status == 0)
            hash_add(h, predicted, count * width * sizeof *predicted);
    }
    free(predicted);
    return status;
}

static int add_passes(struct hash *h, struct trace *t, struct err *e)
{
    for (uint64_t p = 0; p < trace_get_info(t)->passes; p++) {
        uint64_t *rows = NULL, count = 0;
        int64_t start = 0;

        if (trace_read_pass(t, p, &rows, &count, &start, e) != 0)
            return -1;
        add_number(h, count);
        add_number(h, (uint64_t)start);
        hash_add(h, rows, count * sizeof *rows);
        free(rows);
    }
    return 0;
}

static int add_loads(struct hash *h, struct trace *t, struct err *e)
{
    const struct trace_info *i = trace_get_info(t);
    size_t cells = (size_t)i->layers * i->experts;
    uint32_t *count = mem_alloc(cells, sizeof *count);
    int status = 0;

    for (uint64_t n = 0; n < i->passes && status == 0; n++) {
        status = trace_read_load(t, n, count, e);
        if (status == 0)
            hash_add(h, count, cells * sizeof *count);
    }
    free(count);
    return status;
}

static int add_all(struct hash *h, struct trace *t, struct trace_digest *d, struct err *e)
{
    const struct trace_info *i = trace_get_info(t);

    add_head(h, t);
    if (i->counts_only)
        return add_loads(h, t, e);
    if (add_routing(h, t, d, e) != 0 || add_tokens(h, t, e) != 0)
        return -1;
    if (i->score_kind != TRACE_SCORE_NONE && add_scores(h, t, e) != 0)
        return -1;
    if (i->predicted > 0 && add_predicted(h, t, e) != 0)
        return -1;
    return add_passes(h, t, e);
}

int trace_digest(struct trace *t, struct trace_digest *d, struct err *e)
{
    struct hash *h = hash_new();
    int status;

    *d = (struct trace_digest){.requests = 0};
    status = add_all(h, t, d, e);
    d->whole = hash_now(h);
    hash_free(h);
    if (status != 0)
        trace_digest_release(d);
    return status;
}

void trace_digest_release(struct trace_digest *d)
{
    free(d->request);
    free(d->layer);
    *d = (struct trace_digest){.requests = 0};
}

/* Reading all of a trace, so that every rule for values is checked. */
#include "trace_state.h"

#include "sim/base/mem.h"

#include <stdlib.h>

enum { STEP_BYTES = 1 << 20 }; /* of ids that are held at once, or one row */

/* Loads the blocks of these rows of a column, and so checks them. */
static int load_rows(struct column *c, uint64_t first, uint64_t count, struct err *e)
{
    uint64_t end = first + count, left;

    for (uint64_t row = first; row < end; row += left)
        if (column_row(c, row, &left, e) == NULL)
            return -1;
    return 0;
}

static int check_column(struct column *c, struct err *e)
{
    return load_rows(c, 0, c->rows, e);
}

/* A block is checked by itself as it is loaded; here the last prefill or decode row
 * before it is compared with the first in it. */
static int check_tokens(struct trace *t, struct err *e)
{
    uint64_t last = 0, left;
    struct trace_token before = {.request = UINT32_MAX};

    for (uint64_t row = 0; row < t->info.rows; row += left) {
        const unsigned char *rows = column_row(&t->token, row, &left, e);
        const struct trace_token *token = (const void *)rows;
        uint64_t i = 0;

        if (rows == NULL)
            return -1;
        while (i < left && token[i].phase > TRACE_DECODE)
            i++;
        if (i == left)
            continue;
        if (token[i].request == before.request &&
            trace_check_follows(t, row + i, token[i].position, last, before.position,
                                e) != 0)
            return -1;
        i = left;
        while (token[--i].phase > TRACE_DECODE)
            ;
        before = token[i];
        last = row + i;
    }
    return 0;
}

static int check_passes(struct trace *t, struct err *e)
{
    for (uint64_t p = 0; p < t->info.passes; p++) {
        uint64_t *rows, count;
        int64_t start_ns;

        if (trace_read_pass(t, p, &rows, &count, &start_ns, e) != 0)
            return -1;
        free(rows);
    }
    return 0;
}

static int load_resident(void *context, uint64_t first, uint64_t count, void *rows,
                         struct err *e)
{
    struct trace *t = context;
    int status;

    hdf_enter();
    status = hdf_set_read(&t->resident_set, first, count, rows, e);
    hdf_leave();
    return status == 0 ? trace_check_resident(t, first, count, rows, e) : -1;
}

/* Nothing else reads it, so it is a column for as long as this takes. */
static int check_resident(struct trace *t, struct err *e)
{
    const struct hdf_set *s = &t->resident_set;
    struct column_cache cache = {.limit = 1};
    struct column c;
    int status;

    if (s->id < 0)
        return 0;
    column_init(&c, &cache, s->dim[0], s->row_bytes, s->chunk_rows, load_resident, t);
    status = check_column(&c, e);
    column_cache_release(&cache);
    column_release(&c);
    return status;
}

/* ---- cells ---- */

struct buffers {
    struct trace_token *token;
    uint16_t *expert, *score;
};

/* Rows of ids beside their scores, and what is told of them. */
static int check_rows(struct trace *t, const struct buffers *b, uint64_t first,
                      uint64_t count, trace_see_rows *see, void *context, struct err *e)
{
    if (column_read(&t->expert, first, count, b->expert, e) != 0)
        return -1;
    if (b->score != NULL &&
        (column_read(&t->score, first, count, b->score, e) != 0 ||
         trace_check_unscored(t, first, count, b->expert, b->score, e) != 0))
        return -1;
    if ((t->fields & TRACE_HAS_PREDICTED) != 0 &&
        load_rows(&t->predicted, first, count, e) != 0)
        return -1;
    if (see == NULL)
        return 0;
    if (column_read(&t->token, first, count, b->token, e) != 0)
        return -1;
    see(context, &(struct trace_rows){.first = first,
                                      .count = count,
                                      .token = b->token,
                                      .expert = b->expert,
                                      .score = b->score});
    return 0;
}

static int check_cells(struct trace *t, trace_see_rows *see, void *context, struct err *e)
{
    size_t row_bytes = t->expert.row_bytes;
    uint64_t step = row_bytes < STEP_BYTES ? STEP_BYTES / row_bytes : 1;
    bool scored = (t->fields & TRACE_HAS_SCORES) != 0;
    struct buffers b = {.token = mem_alloc((size_t)step, sizeof *b.token),
                        .expert = mem_alloc((size_t)step, row_bytes),
                        .score = scored ? mem_alloc((size_t)step, row_bytes) : NULL};
    int status = 0;

    for (uint64_t row = 0; row < t->info.rows && status == 0; row += step) {
        uint64_t left = t->info.rows - row;

        status = check_rows(t, &b, row, left < step ? left : step, see, context, e);
    }
    free(b.token);
    free(b.expert);
    free(b.score);
    return status;
}

/* ---- all of it ---- */

/* What is beside tokens and candidates. */
static int check_rest(struct trace *t, struct err *e)
{
    if (check_resident(t, e) != 0)
        return -1;
    return (t->fields & TRACE_HAS_PASSES) != 0 ? check_passes(t, e) : 0;
}

int trace_check_seen(struct trace *t, trace_see_rows *see, void *context, struct err *e)
{
    if (t->info.counts_only)
        return check_column(&t->load, e);
    if (check_tokens(t, e) != 0 || check_cells(t, see, context, e) != 0)
        return -1;
    return check_rest(t, e);
}

int trace_check(struct trace *t, struct err *e)
{
    return trace_check_seen(t, NULL, NULL, e);
}

int trace_check_others(struct trace *t, struct err *e)
{
    if (t->info.counts_only)
        return 0;
    if (check_tokens(t, e) != 0 ||
        ((t->fields & TRACE_HAS_PREDICTED) != 0 && check_column(&t->predicted, e) != 0))
        return -1;
    return check_rest(t, e);
}

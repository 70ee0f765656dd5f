#include "generate_write.h"

#include "sim/base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_ROWS 256
#define BLOCK_VALUES ((size_t)1 << 22) /* of a block of more than one row */
#define REQUEST_ROWS_MAX (UINT32_MAX / 2)

enum trace_score_kind generate_score_kind(enum generate_scores scores)
{
    return scores == GENERATE_SCORES_ALL   ? TRACE_SCORE_LOGIT
           : scores == GENERATE_SCORES_YES ? TRACE_SCORE_SOFTMAX
                                           : TRACE_SCORE_NONE;
}

int generate_check(const char *out, const struct draw_request *requests, size_t count,
                   struct err *e)
{
    uint64_t rows = 0;

    for (size_t i = 0; i < count; i++) {
        uint64_t both = (uint64_t)requests[i].prompt_rows + requests[i].output_rows;

        if (both > REQUEST_ROWS_MAX)
            return err_set(e,
                           "%s: request %zu would have %" PRIu64
                           " rows, more than %" PRIu32
                           "; make its prompt or output shorter",
                           out, i, both, REQUEST_ROWS_MAX);
        rows += both;
    }
    if (count == 0 || count > UINT32_MAX || rows == 0)
        return err_set(e, "%s: %zu requests of %" PRIu64 " rows cannot be generated", out,
                       count, rows);
    return 0;
}

/* Rows on their way to the file. */
struct block {
    uint32_t rows; /* there is room for */
    size_t values; /* of a row: (layer, candidate) */
    bool all;      /* candidates are all experts */
    struct trace_token *token;
    uint16_t *expert;
    float *score; /* or NULL */
};

static struct block block_of(const struct trace_info *info)
{
    struct block b = {.values = (size_t)info->layers * info->candidates,
                      .all = info->score_kind == TRACE_SCORE_LOGIT};

    b.rows = BLOCK_ROWS;
    while (b.rows > 1 && b.rows * b.values > BLOCK_VALUES)
        b.rows /= 2;
    b.token = mem_alloc(b.rows, sizeof *b.token);
    b.expert = mem_alloc(b.rows, b.values * sizeof *b.expert);
    if (info->score_kind != TRACE_SCORE_NONE)
        b.score = mem_alloc(b.rows, b.values * sizeof *b.score);
    return b;
}

static void block_release(struct block *b)
{
    free(b->token);
    free(b->expert);
    free(b->score);
}

static void draw_block_row(struct draw_walk *walk, struct block *b, uint32_t i)
{
    uint16_t *expert = b->expert + i * b->values;
    float *score = b->score == NULL ? NULL : b->score + i * b->values;

    if (b->all)
        draw_walk_row_all(walk, expert, score);
    else
        draw_walk_row(walk, expert, score);
}

/* Takes back what a row of one side would do in the other's layers. */
static void leave_side(const struct draw_model *m, struct block *b, uint32_t i,
                       bool encoder)
{
    size_t width = b->values / m->layers;
    size_t first = i * b->values + (encoder ? m->encoder_layers * width : 0);
    size_t count = (encoder ? m->layers - m->encoder_layers : m->encoder_layers) * width;

    for (size_t k = first; k < first + count; k++)
        b->expert[k] = TRACE_NOT_RECORDED;
    if (b->score != NULL)
        memset(b->score + first, 0, count * sizeof *b->score);
}

/* Rows of one request. */
static int write_request(struct trace_writer *w, struct draw_walk *walk, uint32_t number,
                         uint16_t source, struct block *b, struct err *e)
{
    const struct draw_request *r = walk->request;
    uint32_t rows = r->prompt_rows + r->output_rows;

    for (uint32_t first = 0; first < rows; first += b->rows) {
        uint32_t count = rows - first < b->rows ? rows - first : b->rows;

        for (uint32_t i = 0; i < count; i++) {
            uint32_t row = first + i;

            b->token[i] = (struct trace_token){
                .request = number,
                .position = r->first_position + row,
                .phase = row < r->prompt_rows ? TRACE_PREFILL : TRACE_DECODE,
                .token_id = -1,
                .source = source,
            };
            draw_block_row(walk, b, i);
            if (walk->m->encoder_layers > 0)
                leave_side(walk->m, b, i, row < r->prompt_rows);
        }
        if (trace_writer_rows(w, count, b->token, b->expert, b->score, NULL, e) != 0)
            return -1;
    }
    return 0;
}

int generate_write(struct draw_model *m, const struct trace_info *info,
                   const struct draw_request *requests, size_t count, uint32_t sources,
                   const char *out, struct err *e)
{
    struct trace_writer *w = trace_writer_new(out, info, e);
    struct block block;
    uint64_t row = 0;
    int status = 0;

    if (w == NULL)
        return -1;
    block = block_of(info);
    for (size_t i = 0; i < count && status == 0; i++) {
        struct trace_request r = {
            .arrival_ns = -1,
            .prompt_tokens = requests[i].prompt_tokens,
            .output_tokens = requests[i].output_tokens,
            .first_row = row,
            .rows = requests[i].prompt_rows + requests[i].output_rows,
            .group = requests[i].group,
        };
        uint16_t source = (uint16_t)(sources > 0 ? i % sources : UINT16_MAX);
        struct draw_walk walk;

        draw_walk_begin(&walk, m, i, &requests[i]);
        status = write_request(w, &walk, (uint32_t)i, source, &block, e);
        if (status == 0)
            status = trace_writer_request(w, &r, e);
        row += r.rows;
    }
    block_release(&block);
    if (status == 0)
        return trace_writer_commit(w, e);
    trace_writer_abandon(w);
    return -1;
}

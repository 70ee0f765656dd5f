#include "generate_write.h"

#include "sim/base/mem.h"

#include <inttypes.h>
#include <stdlib.h>

#define BLOCK_ROWS 256
#define REQUEST_ROWS_MAX (UINT32_MAX / 2)

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

/* Rows of one request; `token`, `expert` and `weight` hold BLOCK_ROWS rows. */
static int write_request(struct trace_writer *w, struct draw_walk *walk, uint32_t number,
                         uint16_t source, struct trace_token *token, uint16_t *expert,
                         float *weight, struct err *e)
{
    const struct draw_request *r = walk->request;
    size_t cells = (size_t)walk->m->layers * walk->m->top_k;
    uint32_t rows = r->prompt_rows + r->output_rows;

    for (uint32_t first = 0; first < rows; first += BLOCK_ROWS) {
        uint32_t count = rows - first < BLOCK_ROWS ? rows - first : BLOCK_ROWS;

        for (uint32_t i = 0; i < count; i++) {
            uint32_t row = first + i;

            token[i] = (struct trace_token){
                .request = number,
                .position = r->first_position + row,
                .phase = row < r->prompt_rows ? TRACE_PREFILL : TRACE_DECODE,
                .token_id = -1,
                .source = source,
            };
            draw_walk_row(walk, expert + i * cells,
                          weight == NULL ? NULL : weight + i * cells);
        }
        if (trace_writer_rows(w, count, token, expert, weight, NULL, e) != 0)
            return -1;
    }
    return 0;
}

int generate_write(struct draw_model *m, const struct trace_info *info,
                   const struct draw_request *requests, size_t count, uint32_t sources,
                   const char *out, struct err *e)
{
    struct trace_writer *w = trace_writer_new(out, info, e);
    size_t cells = (size_t)m->layers * m->top_k;
    struct trace_token *token;
    uint16_t *expert;
    float *weight = NULL;
    uint64_t row = 0;
    int status = 0;

    if (w == NULL)
        return -1;
    token = mem_alloc(BLOCK_ROWS, sizeof *token);
    expert = mem_alloc(BLOCK_ROWS, cells * sizeof *expert);
    if (info->score_kind != TRACE_SCORE_NONE)
        weight = mem_alloc(BLOCK_ROWS, cells * sizeof *weight);
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
        status = write_request(w, &walk, (uint32_t)i, source, token, expert, weight, e);
        if (status == 0)
            status = trace_writer_request(w, &r, e);
        row += r.rows;
    }
    free(token);
    free(expert);
    free(weight);
    if (status == 0)
        return trace_writer_commit(w, e);
    trace_writer_abandon(w);
    return -1;
}

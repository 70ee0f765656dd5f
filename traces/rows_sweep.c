#include "rows_sweep.h"

#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

/* A block is long enough for the tables of a layer to be worth loading, and short enough
 * to stay near. */
enum { BLOCK_BYTES = 8 << 20, ROWS_LEAST = 16, ROWS_MOST = 2048 };

struct block {
    const struct trace_info *info;
    uint32_t room; /* rows */
    uint16_t *expert;
    float *score;              /* or NULL */
    struct trace_token *token; /* or NULL */
    /* Of the present layer and of the next: executed experts, and how many. */
    uint16_t *executed[2], *count[2];
};

static void block_init(struct block *b, const struct trace_info *info,
                       const struct rows_sweep *s)
{
    size_t values = (size_t)info->layers * info->candidates;
    size_t bytes = values * (sizeof b->expert[0] + (s->scores ? sizeof b->score[0] : 0));
    size_t rows = BLOCK_BYTES / bytes;

    rows = rows < ROWS_LEAST ? ROWS_LEAST : rows > ROWS_MOST ? ROWS_MOST : rows;
    *b = (struct block){.info = info, .room = (uint32_t)rows};
    b->expert = mem_alloc(rows * values, sizeof b->expert[0]);
    if (s->scores)
        b->score = mem_alloc(rows * values, sizeof b->score[0]);
    if (s->tokens)
        b->token = mem_alloc(rows, sizeof b->token[0]);
    for (int i = 0; i < 2; i++) {
        b->executed[i] = mem_alloc(rows * info->top_k, sizeof b->executed[0][0]);
        b->count[i] = mem_alloc(rows, sizeof b->count[0][0]);
    }
}

static void block_release(struct block *b)
{
    free(b->expert);
    free(b->score);
    free(b->token);
    for (int i = 0; i < 2; i++) {
        free(b->executed[i]);
        free(b->count[i]);
    }
}

/* Reads rows at `step` from each other, the first of them `row`. */
static int block_read(struct block *b, struct trace *t, uint64_t row, uint64_t step,
                      uint32_t rows, struct err *e)
{
    size_t values = (size_t)b->info->layers * b->info->candidates;
    uint32_t at_once = step == 1 ? rows : 1;

    for (uint32_t i = 0; i < rows; i += at_once, row += step) {
        if (trace_read_expert(t, row, at_once, b->expert + i * values, e) != 0)
            return -1;
        if (b->score != NULL &&
            trace_read_score(t, row, at_once, b->score + i * values, e) != 0)
            return -1;
        if (b->token != NULL && trace_read_token(t, row, at_once, b->token + i, e) != 0)
            return -1;
    }
    return 0;
}

/* Where the compiler knows the number of experts, it copies them in one move. */
static inline void gather_cells(const uint16_t *cell, size_t stride, uint32_t rows,
                                uint32_t top_k, uint16_t *expert, uint16_t *count)
{
    for (uint32_t i = 0; i < rows; i++, cell += stride, expert += top_k) {
        memcpy(expert, cell, top_k * sizeof *cell);
        count[i] = (uint16_t)rows_executed(cell, top_k);
    }
}

static void gather(struct block *b, uint32_t layer, uint32_t rows, int into)
{
    const uint16_t *cell = b->expert + (size_t)layer * b->info->candidates;
    size_t stride = (size_t)b->info->layers * b->info->candidates;
    uint32_t k = b->info->top_k;

    if (k == 8)
        gather_cells(cell, stride, rows, 8, b->executed[into], b->count[into]);
    else if (k == 4)
        gather_cells(cell, stride, rows, 4, b->executed[into], b->count[into]);
    else
        gather_cells(cell, stride, rows, k, b->executed[into], b->count[into]);
}

static void visit_layers(struct block *b, const struct rows_sweep *s, uint64_t first,
                         uint32_t rows)
{
    uint32_t layers = b->info->layers;
    size_t stride = (size_t)layers * b->info->candidates;

    gather(b, 0, rows, 0);
    for (uint32_t l = 0; l < layers; l++) {
        size_t at = (size_t)l * b->info->candidates;
        int now = (int)(l % 2);
        struct rows_layer seen = {.layer = l,
                                  .rows = rows,
                                  .first = first,
                                  .expert = b->executed[now],
                                  .count = b->count[now],
                                  .cell = b->expert + at,
                                  .score = b->score == NULL ? NULL : b->score + at,
                                  .stride = stride,
                                  .token = b->token};

        if (l + 1 < layers) {
            gather(b, l + 1, rows, 1 - now);
            seen.next = b->executed[1 - now];
            seen.next_count = b->count[1 - now];
        }
        for (size_t v = 0; v < s->visitors; v++)
            s->visitor[v].visit(s->visitor[v].context, &seen);
    }
}

int rows_sweep(struct trace *t, const struct rows_sweep *s, struct err *e)
{
    const struct trace_info *info = trace_get_info(t);
    uint64_t all = (info->rows + s->step - 1) / s->step;
    struct block b;
    int status = 0;

    block_init(&b, info, s);
    for (uint64_t first = 0; first < all && status == 0; first += b.room) {
        uint32_t rows = all - first < b.room ? (uint32_t)(all - first) : b.room;

        status = block_read(&b, t, first * s->step, s->step, rows, e);
        if (status == 0)
            visit_layers(&b, s, first, rows);
        if (status == 0 && s->after != NULL)
            status = s->after(s->context, first + rows, e);
    }
    block_release(&b);
    return status;
}

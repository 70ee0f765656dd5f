#include "rows.h"

#include <string.h>

uint32_t rows_sequences(const struct cost_batch *batch)
{
    double half = batch->tokens / 2.0;
    double over = (double)batch->pairs - half;
    double r =
        over > 0.0 ? batch->tokens * ((double)batch->kv_tokens - half) / over : 1.0;

    if (!(r > 1.0))
        return 1;
    return r < batch->tokens ? (uint32_t)(r + 0.5) : batch->tokens;
}

/* Deals `total` out to `count`: the i-th share. */
static uint64_t share_of(uint64_t total, uint64_t count, uint64_t i)
{
    return total / count + (i < total % count ? 1 : 0);
}

struct rows_span rows_attend(uint32_t tokens, uint32_t sequences, uint64_t kv_tokens,
                             uint64_t pairs, uint64_t *first, uint32_t *length)
{
    struct rows_span span = {.tokens = 0};
    uint32_t row = 0;

    for (uint32_t i = 0; i < sequences; i++) {
        uint64_t context = share_of(kv_tokens, sequences, i);
        uint32_t end = row + (uint32_t)share_of(tokens, sequences, i);

        context = context == 0 ? 1 : context;
        for (; row < end; row++) {
            uint64_t sees = share_of(pairs, tokens, row);

            sees = sees == 0 ? 1 : sees > context ? context : sees;
            first[row] = span.tokens;
            length[row] = (uint32_t)sees;
            span.longest = length[row] > span.longest ? length[row] : span.longest;
        }
        span.tokens += context;
    }
    return span;
}

static int too_many(uint32_t expert, struct err *e)
{
    return err_set(e,
                   "the routing sends more tokens to expert %u than its group has rows; "
                   "please report this",
                   expert);
}

/* No expert's tokens run into the next one's rows. */
static int check_rows(const struct rows_group *g, const uint32_t *place, struct err *e)
{
    uint32_t end = 0;

    for (uint32_t i = 0; i < g->count; i++) {
        end += g->tokens[g->expert[i]];
        if (place[g->expert[i]] > end)
            return too_many(g->expert[i], e);
    }
    return 0;
}

int rows_order(const struct rows_group *g, uint32_t *place, uint32_t *rows,
               uint32_t *row_token, uint32_t *token_row, struct err *e)
{
    const struct op_routing *t = g->routing;
    uint32_t all = 0;

    memset(place, 0xff, g->experts * sizeof *place);
    for (uint32_t i = 0; i < g->count; i++) {
        place[g->expert[i]] = all;
        rows[i] = g->tokens[g->expert[i]];
        memset(row_token + all, 0, rows[i] * sizeof *row_token);
        all += rows[i];
    }
    for (uint32_t token = 0; token < t->rows; token++) {
        for (uint32_t k = 0; k < t->top_k; k++) {
            uint32_t id = t->choice[token * t->stride + k];
            uint32_t *row = &token_row[(size_t)token * t->top_k + k];

            *row = UINT32_MAX;
            if (id >= g->experts || place[id] == UINT32_MAX)
                continue;
            if (place[id] >= all)
                return too_many(id, e);
            *row = place[id]++;
            row_token[*row] = token;
        }
    }
    return check_rows(g, place, e);
}

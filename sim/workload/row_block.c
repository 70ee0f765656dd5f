#include "row_block.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS_AT_ONCE 256

size_t rows_bytes(const struct rows_shape *s)
{
    return sizeof(struct view_row) + (s->experts + s->predicted) * sizeof(uint16_t) +
           s->scores * sizeof(float);
}

int rows_reserve(struct rows *r, const struct rows_shape *s, uint64_t count,
                 struct err *e)
{
    uint64_t limit = ROWS_MAX_BYTES / rows_bytes(s);
    uint32_t capacity;

    if (count <= r->capacity)
        return 0;
    if (count > limit)
        return err_set_key(
            e, "workload.token_budget",
            "%s: a pass of %llu rows needs more than %llu GiB of memory; set "
            "token_budget or a smaller batch",
            trace_path(s->trace), (unsigned long long)count,
            (unsigned long long)(ROWS_MAX_BYTES >> 30));
    /* Half as much again, so that passes that grow row by row cost little. */
    count += count / 2;
    capacity = (uint32_t)(count < limit ? count : limit);
    r->row = mem_resize(r->row, capacity, sizeof *r->row);
    if (s->experts > 0)
        r->expert = mem_resize(r->expert, capacity, s->experts * sizeof *r->expert);
    if (s->scores > 0)
        r->score = mem_resize(r->score, capacity, s->scores * sizeof *r->score);
    if (s->predicted > 0)
        r->predicted =
            mem_resize(r->predicted, capacity, s->predicted * sizeof *r->predicted);
    r->capacity = capacity;
    return 0;
}

void rows_release(struct rows *r)
{
    free(r->row);
    free(r->expert);
    free(r->score);
    free(r->predicted);
    *r = (struct rows){0};
}

int rows_read(struct rows *r, const struct rows_shape *s, uint32_t at, uint64_t first,
              uint32_t count, struct err *e)
{
    assert((uint64_t)at + count <= r->capacity);
    if (s->experts > 0 &&
        trace_read_expert(s->trace, first, count, r->expert + at * s->experts, e) != 0)
        return -1;
    if (s->scores > 0 &&
        trace_read_score(s->trace, first, count, r->score + at * s->scores, e) != 0)
        return -1;
    if (s->predicted > 0 &&
        trace_read_predicted(s->trace, first, count, r->predicted + at * s->predicted,
                             e) != 0)
        return -1;
    return 0;
}

int rows_check_side(const struct rows *r, const struct rows_shape *s, uint32_t at,
                    uint64_t number, bool encoder, struct err *e)
{
    uint32_t from = encoder ? s->encoder_layers : 0;
    uint32_t to = encoder ? s->layers : s->encoder_layers;
    size_t width = s->experts / s->layers;

    for (uint32_t l = from; s->experts > 0 && l < to; l++) {
        if (r->expert[at * s->experts + l * width] == VIEW_NO_EXPERT)
            continue;
        return err_set_key(
            e, "trace",
            "%s: /routing/expert row %llu is of %s and lists experts in MoE layer %u, "
            "which is the %s's; prefill rows go through encoder layers and all others "
            "through decoder layers (moesim trace gen with encoder_layers, moesim "
            "capture --side both)",
            trace_path(s->trace), (unsigned long long)number,
            encoder ? "a prompt" : "an answer", l, encoder ? "decoder" : "encoder");
    }
    return 0;
}

int rows_check_position(const struct rows_shape *s, uint64_t number, uint32_t position,
                        uint32_t prompt, struct err *e)
{
    if (prompt == 0)
        return err_set_key(e, "trace",
                           "%s: row %llu is of an answer to a prompt of 0 tokens, but a "
                           "decoder attends to what its encoder made of one; set "
                           "/request/prompt_tokens",
                           trace_path(s->trace), (unsigned long long)number);
    if (position >= prompt)
        return 0;
    return err_set_key(e, "trace",
                       "%s: /token/position row %llu is %u, inside the prompt of %u "
                       "tokens; a decoder's rows behind an encoder count on from the end "
                       "of the prompt",
                       trace_path(s->trace), (unsigned long long)number, position,
                       prompt);
}

void rows_copy(struct rows *to, const struct rows_shape *s, uint32_t at,
               const struct rows *from, uint32_t from_at, uint32_t count)
{
    assert((uint64_t)at + count <= to->capacity);
    memcpy(to->row + at, from->row + from_at, count * sizeof *to->row);
    memcpy(to->expert + at * s->experts, from->expert + from_at * s->experts,
           count * s->experts * sizeof *to->expert);
    if (s->scores > 0)
        memcpy(to->score + at * s->scores, from->score + from_at * s->scores,
               count * s->scores * sizeof *to->score);
    if (s->predicted > 0)
        memcpy(to->predicted + at * s->predicted,
               from->predicted + from_at * s->predicted,
               count * s->predicted * sizeof *to->predicted);
}

int rows_count_prompt(const struct rows_shape *s, const struct trace_request *q,
                      uint32_t *count, struct err *e)
{
    struct trace_token token[TOKENS_AT_ONCE];

    *count = 0;
    if ((trace_fields(s->trace) & TRACE_HAS_PREFILL) == 0)
        return 0;
    while (*count < q->rows) {
        uint32_t n =
            q->rows - *count < TOKENS_AT_ONCE ? q->rows - *count : TOKENS_AT_ONCE;

        if (trace_read_token(s->trace, q->first_row + *count, n, token, e) != 0)
            return -1;
        for (uint32_t i = 0; i < n; i++, (*count)++)
            if (token[i].phase != TRACE_PREFILL)
                return 0;
    }
    return 0;
}

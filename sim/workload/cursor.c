#include "cursor.h"

#include <assert.h>

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Rows to serve for the prompt, or -1 where they may not be drawn. */
static int plan_prompt(struct cursor *c, const struct cursor_setup *s, uint32_t recorded,
                       const struct workload_request *r, struct err *e)
{
    uint32_t wanted = r->prompt_tokens;

    /* A prompt that was recorded in part only (its head came from a prefix cache) is
     * served as it was; it is never filled up unless the lengths are the user's. */
    if (recorded > 0 && !s->own_lengths && !s->shape.sides)
        wanted = recorded;
    c->prompt_kept = smaller(recorded, wanted);
    c->prompt_rows = s->prefill == PREFILL_RESAMPLE ? wanted : c->prompt_kept;
    c->prompt_skipped = c->prompt_rows < wanted;
    if (c->prompt_skipped && s->prefill == PREFILL_RECORDED)
        return err_set_key(
            e, "workload.prefill",
            "%s: request %llu has %u recorded prefill rows, but a prompt of %u "
            "tokens; with prefill: recorded every prompt row must be in the "
            "trace (use resample or skip)",
            trace_path(s->shape.trace), (unsigned long long)r->trace_request, recorded,
            wanted);
    return 0;
}

/* Output rows to serve. */
static int plan_output(struct cursor *c, const struct cursor_setup *s,
                       struct workload_request *r, struct err *e)
{
    uint32_t recorded = c->recorded - c->output_at;
    uint32_t by_prompt = c->prompt_rows > 0 && !s->shape.sides
                             ? 1
                             : 0; /* output tokens of the prompt pass */
    uint32_t wanted = recorded;

    if (s->own_lengths) /* one row at least */
        wanted = r->output_tokens > 0 ? r->output_tokens - by_prompt
                                      : (c->prompt_rows > 0 ? 0 : 1);
    if (wanted > recorded && s->prefill == PREFILL_RECORDED)
        return err_set_key(
            e, "workload.prefill",
            "%s: request %llu has %u recorded output rows, but is to give %u "
            "tokens; with prefill: recorded every row must be in the trace "
            "(use resample or skip)",
            trace_path(s->shape.trace), (unsigned long long)r->trace_request, recorded,
            r->output_tokens);
    if ((uint64_t)c->prompt_rows + wanted + 1 > UINT32_MAX ||
        (uint64_t)r->prompt_tokens + wanted + 1 > UINT32_MAX)
        return err_set(e, "%s: request %llu: a prompt of %u tokens is too long",
                       trace_path(s->shape.trace), (unsigned long long)r->trace_request,
                       r->prompt_tokens);
    c->output_kept = smaller(recorded, wanted);
    c->rows = c->prompt_rows + wanted;
    r->output_tokens = wanted + by_prompt;
    return 0;
}

/* What an encoder-decoder model cannot serve. */
static int check_sides(const struct cursor *c, const struct cursor_setup *s,
                       const struct workload_request *r, struct err *e)
{
    const char *path = trace_path(s->shape.trace);
    unsigned long long number = r->trace_request;
    uint32_t outputs = c->rows - c->prompt_rows;

    if (c->prompt_rows > c->prompt_kept && c->output_at == 0)
        return err_set_key(e, "workload.prefill",
                           "%s: request %llu has no prefill rows, and a decoder's rows "
                           "tell nothing of how an encoder routes; use prefill: skip",
                           path, number);
    if (outputs > c->output_kept && c->output_at == c->recorded)
        return err_set_key(e, "workload.lengths",
                           "%s: request %llu has prefill rows only, and an encoder's "
                           "rows tell nothing of how a decoder routes; use lengths: "
                           "trace",
                           path, number);
    if (outputs > 0 && r->prompt_tokens == 0)
        return err_set_key(e, "trace",
                           "%s: request %llu has a prompt of 0 tokens, but a decoder "
                           "attends to what its encoder made of one; set "
                           "/request/prompt_tokens",
                           path, number);
    if (c->prompt_rows > s->most_prompt)
        return err_set_key(e, "workload.token_budget",
                           "%s: request %llu has a prompt of %u rows, which an encoder "
                           "reads in one pass; token_budget %llu is less, so raise it",
                           path, number, c->prompt_rows,
                           (unsigned long long)s->most_prompt);
    return 0;
}

int cursor_plan(struct cursor *c, const struct cursor_setup *s, uint32_t index,
                const struct trace_request *q, struct workload_request *r, struct err *e)
{
    struct rows block = c->block;

    *c = (struct cursor){.request = index,
                         .own_lengths = s->own_lengths,
                         .prompt_tokens = r->prompt_tokens,
                         .recorded = q->rows,
                         .first_row = q->first_row,
                         .source = VIEW_NO_SOURCE,
                         .stream = rng_stream(s->seed, "resample", index),
                         .block = block};
    if (q->rows == 0)
        return err_set_key(
            e, "workload.requests",
            "%s: request %llu has no rows, so there is no routing to replay or "
            "draw from; leave it out (first_request, requests)",
            trace_path(s->shape.trace), (unsigned long long)r->trace_request);
    if ((trace_fields(s->shape.trace) & TRACE_HAS_SOURCE) != 0) {
        struct trace_token token;

        if (trace_read_token(s->shape.trace, q->first_row, 1, &token, e) != 0)
            return -1;
        c->source = token.source;
    }
    if (rows_count_prompt(&s->shape, q, &c->output_at, e) != 0)
        return -1;
    if (s->shape.sides && !s->own_lengths && r->prompt_tokens < c->output_at)
        c->prompt_tokens = r->prompt_tokens = c->output_at;
    if (plan_prompt(c, s, c->output_at, r, e) != 0 || plan_output(c, s, r, e) != 0)
        return -1;
    assert(c->rows > 0);
    return s->shape.sides ? check_sides(c, s, r, e) : 0;
}

int cursor_start(struct cursor *c, const struct cursor_setup *s, uint32_t index,
                 const struct trace_request *q, struct workload_request *r, struct err *e)
{
    if (cursor_plan(c, s, index, q, r, e) != 0)
        return -1;
    return rows_reserve(&c->block, &s->shape, s->block_rows, e);
}

void cursor_release(struct cursor *c)
{
    rows_release(&c->block);
}

/* Where served row `at` comes from: a row of the request, and in *run how many follow it
 * in the trace as they are served. Drawn rows give *run = 0. */
static uint32_t source_of(const struct cursor *c, uint32_t at, uint32_t *run)
{
    if (at < c->prompt_rows) {
        *run = at < c->prompt_kept ? c->prompt_kept - at : 0;
        return at;
    }
    at -= c->prompt_rows;
    *run = at < c->output_kept ? c->output_kept - at : 0;
    return c->output_at + at;
}

uint32_t cursor_count_drawn(const struct cursor *c, uint32_t count)
{
    uint32_t begin = c->next;
    uint32_t end = c->next + count;
    uint32_t drawn = 0;
    uint32_t output_end = c->prompt_rows + c->output_kept;

    if (begin < c->prompt_rows && smaller(end, c->prompt_rows) > c->prompt_kept)
        drawn += smaller(end, c->prompt_rows) -
                 (begin > c->prompt_kept ? begin : c->prompt_kept);
    if (end > output_end)
        drawn += end - (begin > output_end ? begin : output_end);
    return drawn;
}

int cursor_position(const struct cursor *c, const struct cursor_setup *s, uint32_t served,
                    uint32_t *position, struct err *e)
{
    struct trace_token token;
    uint32_t run, source = source_of(c, served, &run);

    *position =
        served < c->prompt_rows ? served : c->prompt_tokens + (served - c->prompt_rows);
    if (run == 0 || c->own_lengths)
        return 0;
    if (trace_read_token(s->shape.trace, c->first_row + source, 1, &token, e) != 0)
        return -1;
    *position = token.position;
    return 0;
}

/* Whether a recorded row is as rows of its side are. */
static int check_side(const struct cursor *c, const struct cursor_setup *s, uint32_t at,
                      uint64_t number, const struct trace_token *token, struct err *e)
{
    bool encoder = token->phase == TRACE_PREFILL;

    if (!encoder && !c->own_lengths &&
        rows_check_position(&s->shape, number, token->position, c->prompt_tokens, e) != 0)
        return -1;
    return rows_check_side(&c->block, &s->shape, at, number, encoder, e);
}

/* Names of rows [at, at + count) of the block, which are served from `served` on and
 * whose tokens were recorded from row `source` of the request on. */
static int fill_recorded(struct cursor *c, const struct cursor_setup *s, uint32_t at,
                         uint32_t served, uint32_t source, uint32_t count, struct err *e)
{
    struct trace_token token[64];
    uint64_t first = c->first_row + source;

    if (rows_read(&c->block, &s->shape, at, first, count, e) != 0)
        return -1;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t k = i % 64;
        struct view_row *row = &c->block.row[at + i];

        if (k == 0 && trace_read_token(s->shape.trace, first + i, smaller(count - i, 64),
                                       token, e) != 0)
            return -1;
        if (token[k].phase == TRACE_PREFILL && source + i >= c->output_at)
            return err_set(e,
                           "%s: /token/phase row %llu is prefill behind a decode row of "
                           "its request; static and continuous batches need the prompt "
                           "first",
                           trace_path(s->shape.trace), (unsigned long long)(first + i));
        row->request = c->request;
        row->phase = token[k].phase;
        row->opens = s->shape.sides && served + i == c->prompt_rows;
        row->source = c->source;
        if (s->shape.sides && check_side(c, s, at + i, first + i, &token[k], e) != 0)
            return -1;
        if (!c->own_lengths)
            row->position = token[k].position;
        else if (served + i < c->prompt_rows)
            row->position = served + i;
        else
            row->position = c->prompt_tokens + (served + i - c->prompt_rows);
    }
    return 0;
}

static int fill_drawn(struct cursor *c, const struct cursor_setup *s, uint32_t at,
                      uint32_t served, struct err *e)
{
    uint32_t from = 0, to = c->recorded;
    uint64_t source;
    struct view_row *row = &c->block.row[at];

    if (s->shape.sides && served < c->prompt_rows)
        to = c->output_at;
    else if (s->shape.sides)
        from = c->output_at;
    source = c->first_row + from + rng_below(&c->stream, to - from);

    row->request = c->request;
    row->phase = served < c->prompt_rows ? TRACE_PREFILL : TRACE_DECODE;
    row->opens = s->shape.sides && served == c->prompt_rows;
    row->source = c->source;
    row->position =
        served < c->prompt_rows ? served : c->prompt_tokens + (served - c->prompt_rows);
    if (rows_read(&c->block, &s->shape, at, source, 1, e) != 0)
        return -1;
    return s->shape.sides ? rows_check_side(&c->block, &s->shape, at, source,
                                            served < c->prompt_rows, e)
                          : 0;
}

int cursor_fill(struct cursor *c, const struct cursor_setup *s, struct err *e)
{
    uint32_t count = smaller(s->block_rows, c->rows - c->read);
    uint32_t at = 0;

    assert(c->block_next == c->block_end && count > 0);
    while (at < count) {
        uint32_t run;
        uint32_t source = source_of(c, c->read + at, &run);

        run = smaller(run, count - at);
        if (run > 0) {
            if (fill_recorded(c, s, at, c->read + at, source, run, e) != 0)
                return -1;
            at += run;
        } else {
            if (fill_drawn(c, s, at, c->read + at, e) != 0)
                return -1;
            at++;
        }
    }
    c->read += count;
    c->block_next = 0;
    c->block_end = count;
    return 0;
}

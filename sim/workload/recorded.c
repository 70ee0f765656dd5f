#include "recorded.h"

#include "context.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

#define TOKENS_AT_ONCE 64

/* What is known of a request between passes. */
struct seen {
    uint64_t pass; /* number of the last pass it was in, from 1; 0: none yet */
    uint32_t rows; /* of it handed out */
    uint32_t prompt_rows;
    uint32_t member;  /* its place among the members of that pass */
    bool answered;    /* it has its first output token */
    uint32_t encoded; /* rows of its prompt that went through an encoder */
    bool opened;      /* it has been in a decoder behind that */
};

/* A request in the pass being built. */
struct member {
    uint32_t request;
    uint32_t first_position, last_position; /* smallest and largest */
    bool output;                            /* gets an output token */
    uint32_t encoded;                       /* rows in an encoder */
    bool opens;                             /* is in the decoder behind it for the first
                                               time */
};

struct recorded {
    struct rows_shape shape;
    uint32_t window;
    const struct trace_info *info;
    const struct trace_request *trace_request;
    struct workload_request *request;
    struct seen *seen; /* [requests] */
    uint64_t next;     /* pass of the trace */
    struct rows rows;
    uint32_t capacity, count; /* members; the lists below hold as many */
    struct member *member;
    uint32_t *finished, *first, *output;
};

struct recorded *recorded_new(const struct rows_shape *s, uint32_t window,
                              struct workload_request *request)
{
    struct recorded *r = mem_zalloc(1, sizeof *r);

    r->shape = *s;
    r->window = window;
    r->info = trace_get_info(s->trace);
    r->trace_request = trace_get_requests(s->trace);
    r->request = request;
    r->seen = mem_zalloc(r->info->requests, sizeof *r->seen);
    return r;
}

void recorded_free(struct recorded *r)
{
    if (r == NULL)
        return;
    free(r->seen);
    free(r->member);
    free(r->finished);
    free(r->first);
    free(r->output);
    rows_release(&r->rows);
    free(r);
}

static void reserve_members(struct recorded *r)
{
    if (r->count < r->capacity)
        return;
    r->capacity = r->capacity == 0 ? 16 : r->capacity * 2;
    r->member = mem_resize(r->member, r->capacity, sizeof *r->member);
    r->finished = mem_resize(r->finished, r->capacity, sizeof *r->finished);
    r->first = mem_resize(r->first, r->capacity, sizeof *r->first);
    r->output = mem_resize(r->output, r->capacity, sizeof *r->output);
}

/* The request's place in this pass, made at its first row. */
static int find_member(struct recorded *r, uint32_t request, uint32_t position,
                       sim_time now, struct member **found, struct err *e)
{
    struct seen *seen = &r->seen[request];

    if (seen->pass == 0) {
        r->request[request].arrival = now;
        if (rows_count_prompt(&r->shape, &r->trace_request[request], &seen->prompt_rows,
                              e) != 0)
            return -1;
        if (r->shape.sides && r->request[request].prompt_tokens < seen->prompt_rows)
            r->request[request].prompt_tokens = seen->prompt_rows;
    }
    if (seen->pass != r->next) {
        reserve_members(r);
        seen->pass = r->next;
        seen->member = r->count;
        r->member[r->count++] = (struct member){
            .request = request, .first_position = position, .last_position = position};
    }
    *found = &r->member[seen->member];
    return 0;
}

/* A row of an encoder-decoder model. */
static int add_side(struct recorded *r, uint64_t number, const struct trace_token *token,
                    uint32_t at, struct member *m, struct pass *p, struct err *e)
{
    struct seen *seen = &r->seen[token->request];
    uint32_t prompt = r->request[token->request].prompt_tokens;
    bool encoder = token->phase == TRACE_PREFILL;

    if (rows_check_side(&r->rows, &r->shape, at, number, encoder, e) != 0)
        return -1;
    if (encoder) {
        m->encoded++;
        seen->encoded++;
        return 0;
    }
    if (seen->encoded < seen->prompt_rows)
        return err_set_key(e, "workload.mode",
                           "%s: pass %llu has row %llu of an answer before all of its "
                           "prompt was encoded; use mode: static or continuous",
                           trace_path(r->shape.trace), (unsigned long long)(r->next - 1),
                           (unsigned long long)number);
    if (rows_check_position(&r->shape, number, token->position, prompt, e) != 0)
        return -1;
    r->rows.row[at].opens = !seen->opened;
    m->opens = m->opens || !seen->opened;
    seen->opened = m->output = true;
    p->batch.tokens++;
    p->batch.outputs++;
    context_add_decoder_row(&p->batch, token->position, prompt);
    return 0;
}

/* Takes up one row of the pass: trace row `number` with its token. */
static int add_row(struct recorded *r, uint64_t number, const struct trace_token *token,
                   uint32_t at, sim_time now, struct pass *p, struct err *e)
{
    struct member *m = NULL;
    const struct trace_request *q;
    struct seen *seen;

    if (token->request >= r->info->requests)
        return err_set(e, "%s: /token/request row %llu: there is no request %u",
                       trace_path(r->shape.trace), (unsigned long long)number,
                       token->request);
    q = &r->trace_request[token->request];
    seen = &r->seen[token->request];
    if (find_member(r, token->request, token->position, now, &m, e) != 0)
        return -1;
    if (token->position < m->first_position)
        m->first_position = token->position;
    if (token->position > m->last_position)
        m->last_position = token->position;
    seen->rows++;
    r->rows.row[at] = (struct view_row){.request = token->request,
                                        .position = token->position,
                                        .phase = token->phase,
                                        .source = token->source};
    if (r->shape.sides)
        return add_side(r, number, token, at, m, p, e);
    if (token->phase != TRACE_PREFILL || number - q->first_row + 1 == seen->prompt_rows) {
        m->output = true;
        p->batch.outputs++;
    }
    context_add_row(&p->batch, token->position, r->window);
    return 0;
}

/* Reads the rows of a pass in runs that follow each other in the trace. */
static int read_rows(struct recorded *r, const uint64_t *number, uint32_t count,
                     sim_time now, struct pass *p, struct err *e)
{
    struct trace_token token[TOKENS_AT_ONCE];

    for (uint32_t i = 0; i < count;) {
        uint32_t run = 1;

        while (i + run < count && run < TOKENS_AT_ONCE &&
               number[i + run] == number[i] + run)
            run++;
        if (rows_read(&r->rows, &r->shape, i, number[i], run, e) != 0 ||
            trace_read_token(r->shape.trace, number[i], run, token, e) != 0)
            return -1;
        for (uint32_t k = 0; k < run; k++, i++)
            if (add_row(r, number[i], &token[k], i, now, p, e) != 0)
                return -1;
    }
    return 0;
}

/* What attention sees of a request of an encoder-decoder model. */
static int account_sides(const struct recorded *r, const struct member *m, struct pass *p,
                         struct err *e)
{
    uint32_t prompt_rows = r->seen[m->request].prompt_rows;

    if (m->encoded > 0 && m->encoded < prompt_rows)
        return err_set_key(e, "workload.mode",
                           "%s: pass %llu has %u of the %u prompt rows of request %u, "
                           "but an encoder reads a prompt in one pass; use mode: static "
                           "or continuous",
                           trace_path(r->shape.trace), (unsigned long long)(r->next - 1),
                           m->encoded, prompt_rows, m->request);
    p->encoder.tokens += m->encoded;
    if (m->encoded > 0)
        context_add_encoded(&p->encoder, m->encoded);
    if (m->output)
        context_add_decoder_request(&p->batch, m->last_position,
                                    r->request[m->request].prompt_tokens, m->opens);
    return 0;
}

/* Who gets what from the pass, in order of first row. */
static int list_members(struct recorded *r, struct pass *p, struct err *e)
{
    for (uint32_t i = 0; i < r->count; i++) {
        const struct member *m = &r->member[i];
        struct seen *seen = &r->seen[m->request];

        if (!r->shape.sides)
            context_add_request(&p->batch, m->first_position, m->last_position,
                                r->window);
        else if (account_sides(r, m, p, e) != 0)
            return -1;
        if (seen->rows == r->trace_request[m->request].rows)
            r->finished[p->finished_count++] = m->request;
        if (!m->output)
            continue;
        r->output[p->output_count++] = m->request;
        if (!seen->answered)
            r->first[p->first_count++] = m->request;
        seen->answered = true;
    }
    return 0;
}

/* Brings the rows of prompts before all others, each side in its order. */
static int sort_sides(struct recorded *r, uint64_t *number, uint64_t count, struct err *e)
{
    uint64_t *sorted = mem_alloc(count, sizeof *sorted);
    uint64_t prompts = 0, others = count; /* those are listed from the end */
    struct trace_token token;
    int status = 0;

    for (uint64_t i = 0; i < count && status == 0; i++) {
        status = trace_read_token(r->shape.trace, number[i], 1, &token, e);
        if (status == 0 && token.phase == TRACE_PREFILL)
            sorted[prompts++] = number[i];
        else
            sorted[--others] = number[i];
    }
    memcpy(number, sorted, prompts * sizeof *number);
    for (uint64_t i = prompts; i < count && status == 0; i++)
        number[i] = sorted[count - 1 - (i - prompts)];
    free(sorted);
    return status;
}

int recorded_next(struct recorded *r, sim_time now, struct pass *p, struct err *e)
{
    uint64_t *number = NULL;
    uint64_t count = 0;
    int64_t start_ns;
    int status;

    while (count == 0) {
        free(number);
        number = NULL;
        if (r->next == r->info->passes)
            return 0;
        if (trace_read_pass(r->shape.trace, r->next, &number, &count, &start_ns, e) != 0)
            return -1;
        r->next++;
    }
    r->count = 0;
    p->batch = (struct cost_batch){.tokens = r->shape.sides ? 0 : (uint32_t)count};
    if (r->shape.sides)
        p->encoder = (struct cost_batch){.tokens = 0};
    p->finished_count = p->first_count = p->output_count = 0;
    status = rows_reserve(&r->rows, &r->shape, count, e);
    if (status == 0 && r->shape.sides)
        status = sort_sides(r, number, count, e);
    if (status == 0)
        status = read_rows(r, number, (uint32_t)count, now, p, e);
    free(number);
    if (status != 0 || list_members(r, p, e) != 0)
        return -1;
    p->rows = (uint32_t)count;
    p->row = r->rows.row;
    p->expert = r->rows.expert;
    p->score = r->rows.score;
    p->predicted = r->rows.predicted;
    p->finished = r->finished;
    p->first = r->first;
    p->output = r->output;
    return 1;
}

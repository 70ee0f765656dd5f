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
    uint32_t member; /* its place among the members of that pass */
    bool answered;   /* it has its first output token */
};

/* A request in the pass being built. */
struct member {
    uint32_t request;
    uint32_t first_position, last_position; /* smallest and largest */
    bool output;                            /* gets an output token */
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
    if (token->phase != TRACE_PREFILL || number - q->first_row + 1 == seen->prompt_rows) {
        m->output = true;
        p->batch.outputs++;
    }
    context_add_row(&p->batch, token->position, r->window);
    r->rows.row[at] = (struct view_row){.request = token->request,
                                        .position = token->position,
                                        .phase = token->phase,
                                        .source = token->source};
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

/* Who gets what from the pass, in order of first row. */
static void list_members(struct recorded *r, struct pass *p)
{
    for (uint32_t i = 0; i < r->count; i++) {
        const struct member *m = &r->member[i];
        struct seen *seen = &r->seen[m->request];

        context_add_request(&p->batch, m->first_position, m->last_position, r->window);
        if (seen->rows == r->trace_request[m->request].rows)
            r->finished[p->finished_count++] = m->request;
        if (!m->output)
            continue;
        r->output[p->output_count++] = m->request;
        if (!seen->answered)
            r->first[p->first_count++] = m->request;
        seen->answered = true;
    }
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
    p->batch = (struct cost_batch){.tokens = (uint32_t)count};
    p->finished_count = p->first_count = p->output_count = 0;
    status = rows_reserve(&r->rows, &r->shape, count, e);
    if (status == 0)
        status = read_rows(r, number, (uint32_t)count, now, p, e);
    free(number);
    if (status != 0)
        return -1;
    list_members(r, p);
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

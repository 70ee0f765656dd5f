#include "naive_workload.h"

#include "sim/base/mem.h"

#include <stdlib.h>

void naive_add(struct naive *n, uint32_t k, int64_t prompt, int64_t output)
{
    const struct row_trace *s = n->s;
    struct naive_request *q = &n->q[k];
    uint64_t number =
        ((uint64_t)n->p->first_request + k) % trace_get_info(s->trace)->requests;
    const struct trace_request *t = &trace_get_requests(s->trace)[number];
    uint32_t kept = s->prompt[number];
    uint32_t length = prompt >= 0 ? (uint32_t)prompt : t->prompt_tokens;
    uint32_t want = prompt < 0 && kept > 0 ? kept : length;
    uint32_t answer = t->rows - kept;

    q->number = number;
    q->prompt = want;
    if (n->p->prefill == PREFILL_SKIP && kept < want)
        q->prompt = kept;
    n->skipped += q->prompt < want;
    if (output >= 0) {
        answer = (uint32_t)output;
        if (q->prompt > 0 && answer > 0)
            answer--;
        else if (q->prompt == 0 && answer == 0)
            answer = 1;
    }
    q->rows = q->prompt + answer;
    q->row = mem_alloc(q->rows, sizeof *q->row);
    q->position = mem_alloc(q->rows, sizeof *q->position);
    for (uint32_t i = 0; i < q->rows; i++) {
        uint32_t j = i < q->prompt ? i : kept + i - q->prompt; /* of the trace request */
        bool there = i < q->prompt ? i < kept : j < t->rows;

        q->row[i] = there ? t->first_row + j : NAIVE_NO_ROW;
        q->position[i] = i < q->prompt ? i : length + i - q->prompt;
        n->drawn += !there;
    }
    n->rows += q->rows;
}

void naive_release(struct naive *n)
{
    for (uint32_t k = 0; k < n->count; k++) {
        free(n->q[k].row);
        free(n->q[k].position);
    }
}

static int next_waiting(const struct naive *n)
{
    int best = -1;

    for (uint32_t k = 0; k < n->count; k++)
        if (n->q[k].status == NAIVE_WAITING &&
            (best < 0 || n->q[k].arrival < n->q[best].arrival))
            best = (int)k;
    return best;
}

static bool start_one(struct naive *n, uint32_t most, sim_time at)
{
    int k = next_waiting(n);

    if (k < 0 || n->runs == most || n->q[k].arrival > at)
        return false;
    n->q[k].status = NAIVE_RUNNING;
    n->running[n->runs++] = (uint32_t)k;
    return true;
}

static void pick(struct naive *n, uint32_t k, uint64_t rows)
{
    n->pick[n->picks] = k;
    n->pick_rows[n->picks++] = (uint32_t)rows;
}

bool naive_plan_pass(struct naive *n, sim_time now, sim_time *not_before)
{
    bool lockstep = n->p->mode == WORKLOAD_STATIC;
    uint32_t most = (uint32_t)(lockstep ? n->p->batch : n->p->max_sequences);
    uint64_t left = n->p->token_budget > 0 ? (uint64_t)n->p->token_budget : 1000000;
    bool prompts = false;
    uint32_t kept = 0;

    for (uint32_t i = 0; i < n->runs; i++)
        if (n->q[n->running[i]].status == NAIVE_RUNNING)
            n->running[kept++] = n->running[i];
    n->runs = kept;
    n->picks = 0;
    *not_before = 0;
    if (n->runs == 0) {
        int k = next_waiting(n);

        if (k < 0)
            return false;
        if (n->q[k].arrival > now)
            now = *not_before = n->q[k].arrival;
        while (lockstep && start_one(n, most, now))
            ;
    }
    for (uint32_t i = 0; i < n->runs; i++)
        prompts |= n->q[n->running[i]].served < n->q[n->running[i]].prompt;
    for (uint32_t i = 0; i < n->runs && !(lockstep && prompts); i++)
        if (n->q[n->running[i]].served >= n->q[n->running[i]].prompt) {
            pick(n, n->running[i], 1);
            left--;
        }
    for (uint32_t i = 0; left > 0; i++) {
        struct naive_request *q;
        uint64_t rows;

        if (i >= n->runs && (lockstep || !start_one(n, most, now)))
            break;
        q = &n->q[n->running[i]];
        rows = q->served < q->prompt ? q->prompt - q->served : 0;
        if (rows == 0 && (lockstep || i < kept))
            continue;
        rows = rows == 0 ? 1 : rows < left ? rows : left;
        pick(n, n->running[i], rows);
        left -= rows;
    }
    return true;
}

#include "workload.h"

#include "context.h"
#include "cursor.h"
#include "recorded.h"
#include "requests.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Rows that a request reads ahead, and what all of them together may take. */
#define BLOCK_ROWS 128
#define BLOCKS_BYTES (UINT64_C(32) << 20)

/* Rows of one request in the pass being built: of its prompt, or one output row. */
struct take {
    struct cursor *cursor;
    uint32_t rows;
};

struct workload {
    struct trace *trace;
    const struct trace_info *info;
    const struct trace_request *trace_request;
    struct workload_params params;
    bool timed;      /* arrivals are given, not made by room */
    uint32_t window; /* of the model's attention; 0: none */
    struct cursor_setup setup;
    struct recorded *recorded; /* mode: recorded only */

    struct requests all;
    uint32_t admitted;      /* how many of them have started */
    uint32_t limit;         /* most that run at once */
    struct cursor **active; /* [limit] in order of admission, finished ones included until
                               the next pass is built */
    uint32_t active_count;
    uint32_t prompt_at;    /* the first active request with prompt rows left; those before
                              it have none */
    struct cursor **spare; /* [limit] cursors without a request */
    uint32_t spare_count;
    struct take *take, *sorted; /* [limit]; sorted: of an encoder-decoder model */
    uint32_t take_count;
    uint64_t take_rows;
    struct rows gathered;
    uint32_t *finished, *first, *output; /* [limit] */
    struct pass pass;
    uint64_t rows_done, rows_total, rows_resampled, prompts_skipped;
};

/* ---- setting up ---- */

/* Rows that a pass may have. */
static uint64_t budget_of(const struct workload *w)
{
    return w->params.token_budget > 0 ? (uint64_t)w->params.token_budget : UINT64_MAX;
}

/* Adds up the rows of all requests as cursor_start() will plan them. */
static int sum_rows(struct workload *w, struct err *e)
{
    uint64_t total = 0;

    for (uint32_t i = 0; i < w->all.count; i++) {
        struct workload_request r = w->all.request[i];
        struct cursor c = {0};

        if (cursor_plan(&c, &w->setup, i, &w->trace_request[r.trace_request], &r, e) != 0)
            return -1;
        total += c.rows;
    }
    w->rows_total = total;
    return 0;
}

static void make_room(struct workload *w)
{
    int64_t most =
        w->params.mode == WORKLOAD_STATIC ? w->params.batch : w->params.max_sequences;
    uint64_t block;

    w->limit = (uint64_t)most < w->all.count ? (uint32_t)most : w->all.count;
    block = BLOCKS_BYTES / w->limit / rows_bytes(&w->setup.shape);
    if (block < 1 || w->setup.shape.experts == 0) /* which reads none ahead */
        block = 1;
    w->setup.block_rows = block < BLOCK_ROWS ? (uint32_t)block : BLOCK_ROWS;
    w->active = mem_alloc(w->limit, sizeof *w->active);
    w->spare = mem_alloc(w->limit, sizeof *w->spare);
    w->take = mem_alloc(w->limit, sizeof *w->take);
    if (w->setup.shape.sides)
        w->sorted = mem_alloc(w->limit, sizeof *w->sorted);
    w->finished = mem_alloc(w->limit, sizeof *w->finished);
    w->first = mem_alloc(w->limit, sizeof *w->first);
    w->output = mem_alloc(w->limit, sizeof *w->output);
}

/* The MoE layers of the trace that are the encoder's. */
static uint32_t encoder_moe_layers(const struct trace_info *info, const struct model *m)
{
    uint32_t count = 0;

    while (count < info->layers && info->moe_layer[count] < m->encoder_layers)
        count++;
    return count;
}

/* `routing`: rows will be read, not just counted. */
static int set_up(struct workload *w, const struct model *m, bool routing, bool scores,
                  bool predicted, uint64_t seed, struct err *e)
{
    const struct trace_info *info = w->info;
    struct rows_shape shape = {.trace = w->trace};

    if (workload_check(w->trace, &w->params, scores, predicted, e) != 0)
        return -1;
    shape.experts = routing ? (size_t)info->layers * info->candidates : 0;
    shape.scores = scores ? shape.experts : 0;
    shape.predicted = predicted ? (size_t)info->layers * info->predicted : 0;
    shape.sides = m->encoder_layers > 0;
    shape.layers = info->layers;
    shape.encoder_layers = encoder_moe_layers(info, m);
    w->timed = w->params.arrivals != ARRIVALS_CLOSED;
    w->setup = (struct cursor_setup){.shape = shape,
                                     .own_lengths = w->params.lengths == LENGTHS_FILE,
                                     .prefill = w->params.prefill,
                                     .seed = seed,
                                     .most_prompt = budget_of(w)};
    if (requests_init(&w->all, w->trace, &w->params, seed, e) != 0)
        return -1;
    if (w->params.mode == WORKLOAD_RECORDED) {
        w->recorded = recorded_new(&w->setup.shape, w->window, w->all.request);
        return 0;
    }
    make_room(w);
    return w->params.max_passes == 0 ? sum_rows(w, e) : 0;
}

static struct workload *make(struct trace *t, const struct model *m,
                             const struct workload_params *p, bool routing, bool scores,
                             bool predicted, uint64_t seed, struct err *e)
{
    struct workload *w = mem_zalloc(1, sizeof *w);

    w->trace = t;
    w->info = trace_get_info(t);
    w->trace_request = trace_get_requests(t);
    w->params = *p;
    w->window = m->window;
    if (set_up(w, m, routing, scores, predicted, seed, e) != 0) {
        workload_free(w);
        return NULL;
    }
    return w;
}

struct workload *workload_new(struct trace *t, const struct model *m,
                              const struct workload_params *p, bool scores,
                              bool predicted, uint64_t seed, struct err *e)
{
    return make(t, m, p, true, scores, predicted, seed, e);
}

void workload_free(struct workload *w)
{
    if (w == NULL)
        return;
    for (uint32_t i = 0; i < w->active_count + w->spare_count; i++) {
        struct cursor *c =
            i < w->active_count ? w->active[i] : w->spare[i - w->active_count];

        cursor_release(c);
        free(c);
    }
    recorded_free(w->recorded);
    rows_release(&w->gathered);
    requests_release(&w->all);
    free(w->active);
    free(w->spare);
    free(w->take);
    free(w->sorted);
    free(w->finished);
    free(w->first);
    free(w->output);
    free(w);
}

/* ---- choosing the rows of a pass ---- */

/* Takes the finished requests of the last pass off the active ones. */
static void retire(struct workload *w)
{
    uint32_t kept = 0;
    uint32_t prompt_at = w->prompt_at;

    for (uint32_t i = 0; i < w->active_count; i++) {
        if (!cursor_is_done(w->active[i])) {
            w->active[kept++] = w->active[i];
            continue;
        }
        w->spare[w->spare_count++] = w->active[i];
        if (i < w->prompt_at)
            prompt_at--;
    }
    w->active_count = kept;
    w->prompt_at = prompt_at;
}

static uint32_t waiting(const struct workload *w)
{
    return w->all.order == NULL ? w->admitted : w->all.order[w->admitted];
}

/* True if a request waits at time `at` and there is room for it. */
static bool can_admit(const struct workload *w, sim_time at)
{
    return w->active_count < w->limit && w->admitted < w->all.count &&
           (!w->timed || w->all.request[waiting(w)].arrival <= at);
}

static int admit(struct workload *w, sim_time at, struct err *e)
{
    uint32_t index = waiting(w);
    struct workload_request *r = &w->all.request[index];
    struct cursor *c;

    if (w->spare_count > 0)
        c = w->spare[--w->spare_count];
    else
        c = mem_zalloc(1, sizeof *c);
    w->active[w->active_count++] = c;
    w->admitted++;
    if (!w->timed)
        r->arrival = at;
    if (cursor_start(c, &w->setup, index, &w->trace_request[r->trace_request], r, e) != 0)
        return -1;
    if (c->prompt_skipped)
        w->prompts_skipped++;
    return 0;
}

static void add_take(struct workload *w, struct cursor *c, uint64_t rows)
{
    w->take[w->take_count++] = (struct take){.cursor = c, .rows = (uint32_t)rows};
    w->take_rows += rows;
}

/* Takes prompt rows from w->prompt_at on, up to `budget` rows in the pass; an encoder's
 * prompt whole, or not yet. */
static void take_prompts(struct workload *w, uint64_t budget)
{
    for (; w->prompt_at < w->active_count && w->take_rows < budget; w->prompt_at++) {
        struct cursor *c = w->active[w->prompt_at];
        uint64_t left = cursor_prompt_left(c);
        uint64_t room = budget - w->take_rows;

        if (left > room && w->setup.shape.sides)
            return;
        if (left > 0)
            add_take(w, c, left < room ? left : room);
        if (left > room)
            return;
    }
}

/* Takes one row of each request whose prompt is done. */
static void take_outputs(struct workload *w)
{
    for (uint32_t i = 0; i < w->prompt_at; i++)
        add_take(w, w->active[i], 1);
}

static int plan_static(struct workload *w, sim_time at, uint64_t budget, struct err *e)
{
    if (w->active_count == 0)
        while (can_admit(w, at))
            if (admit(w, at, e) != 0)
                return -1;
    take_prompts(w, budget);
    if (w->take_count == 0)
        take_outputs(w);
    return 0;
}

static int plan_continuous(struct workload *w, sim_time at, uint64_t budget,
                           struct err *e)
{
    take_outputs(w);
    take_prompts(w, budget);
    while (w->take_rows < budget && w->prompt_at == w->active_count && can_admit(w, at)) {
        if (admit(w, at, e) != 0)
            return -1;
        if (w->active[w->prompt_at]->prompt_rows > 0) {
            take_prompts(w, budget);
        } else {
            add_take(w, w->active[w->prompt_at], 1);
            w->prompt_at++;
        }
    }
    return 0;
}

/* ---- building it ---- */

/* Where the rows of a single take lie in one piece, they are handed out from there. */
static int place_rows(struct workload *w, struct pass *p, struct err *e)
{
    const struct rows_shape *s = &w->setup.shape;
    const struct rows *rows = &w->gathered;
    size_t from = 0;
    uint32_t at = 0;

    if (w->take_count == 1 && w->take[0].rows <= w->setup.block_rows) {
        struct cursor *c = w->take[0].cursor;

        if (c->block_next == c->block_end && cursor_fill(c, &w->setup, e) != 0)
            return -1;
        if (c->block_end - c->block_next >= w->take[0].rows) {
            rows = &c->block;
            from = c->block_next;
            c->block_next += w->take[0].rows;
            at = w->take[0].rows;
        }
    }
    if (at == 0 && rows_reserve(&w->gathered, s, w->take_rows, e) != 0)
        return -1;
    for (uint32_t i = 0; at < w->take_rows; i++) {
        struct cursor *c = w->take[i].cursor;

        for (uint32_t left = w->take[i].rows; left > 0;) {
            uint32_t run = c->block_end - c->block_next;

            if (run == 0) {
                if (cursor_fill(c, &w->setup, e) != 0)
                    return -1;
                continue;
            }
            run = run < left ? run : left;
            rows_copy(&w->gathered, s, at, &c->block, c->block_next, run);
            c->block_next += run;
            at += run;
            left -= run;
        }
    }
    p->rows = (uint32_t)w->take_rows;
    p->row = rows->row + from;
    p->expert = rows->expert + from * s->experts;
    p->score = s->scores > 0 ? rows->score + from * s->scores : NULL;
    p->predicted = s->predicted > 0 ? rows->predicted + from * s->predicted : NULL;
    return 0;
}

/* Brings the prompts before the output rows, each in their order. */
static void sort_sides(struct workload *w)
{
    uint32_t at = 0;

    for (int prompts = 1; prompts >= 0; prompts--)
        for (uint32_t i = 0; i < w->take_count; i++)
            if ((cursor_prompt_left(w->take[i].cursor) > 0) == (prompts == 1))
                w->sorted[at++] = w->take[i];
    memcpy(w->take, w->sorted, at * sizeof *w->take);
}

/* Costs of the rows of a take, by the side that they are on. */
static void account_side(struct pass *p, const struct cursor *c,
                         const struct view_row *row, uint32_t rows)
{
    bool encoder = cursor_prompt_left(c) > 0;

    if (encoder) {
        p->encoder.tokens += rows;
        context_add_encoded(&p->encoder, rows);
        return;
    }
    p->batch.tokens += rows;
    for (uint32_t k = 0; k < rows; k++)
        context_add_decoder_row(&p->batch, row[k].position, c->prompt_tokens);
    context_add_decoder_request(&p->batch, row[rows - 1].position, c->prompt_tokens,
                                row->opens);
}

/* Costs of the rows, and who gets what from them. */
static void account(struct workload *w, struct pass *p)
{
    bool sides = w->setup.shape.sides;
    const struct view_row *row = p->row;

    p->batch.tokens = p->rows; /* what only sides have stays 0 elsewhere */
    p->batch.kv_tokens = p->batch.pairs = 0;
    p->batch.window_kv_tokens = p->batch.window_pairs = 0;
    if (sides)
        p->batch = p->encoder = (struct cost_batch){.tokens = 0};
    p->finished_count = p->first_count = p->output_count = 0;
    for (uint32_t i = 0; i < w->take_count; i++) {
        struct cursor *c = w->take[i].cursor;
        uint32_t n = w->take[i].rows;
        /* The prompt's last row gives the first output token; without a prompt the first
         * row does. */
        uint32_t first = c->prompt_rows > 0 ? c->prompt_rows : 1;

        if (sides) {
            account_side(p, c, row, n);
            first = c->prompt_rows + 1; /* an encoder gives none */
        } else {
            for (uint32_t k = 0; k < n; k++)
                context_add_row(&p->batch, row[k].position, w->window);
            context_add_request(&p->batch, row[0].position, row[n - 1].position,
                                w->window);
        }
        w->rows_resampled += cursor_count_drawn(c, n);
        c->next += n;
        row += n;
        if (c->next >= first)
            w->output[p->output_count++] = c->request;
        if (c->next == first)
            w->first[p->first_count++] = c->request;
        if (cursor_is_done(c))
            w->finished[p->finished_count++] = c->request;
    }
    p->batch.outputs = p->output_count;
    p->finished = w->finished;
    p->first = w->first;
    p->output = w->output;
}

/* Chooses the rows of the next pass. 1, 0: there is none, -1. */
static int plan(struct workload *w, sim_time now, struct pass *p, struct err *e)
{
    uint64_t budget = budget_of(w);
    sim_time at = now;
    int status;

    if (p->finished_count > 0)
        retire(w);
    p->not_before = 0;
    w->take_count = 0;
    w->take_rows = 0;
    if (w->active_count == 0) {
        if (w->admitted == w->all.count)
            return 0;
        if (w->timed && w->all.request[waiting(w)].arrival > now)
            p->not_before = at = w->all.request[waiting(w)].arrival;
    }
    if (w->params.mode == WORKLOAD_STATIC)
        status = plan_static(w, at, budget, e);
    else
        status = plan_continuous(w, at, budget, e);
    return status != 0 ? -1 : 1;
}

static int build(struct workload *w, sim_time now, struct pass *p, struct err *e)
{
    int status = plan(w, now, p, e);

    if (status != 1)
        return status;
    if (w->setup.shape.sides)
        sort_sides(w);
    if (place_rows(w, p, e) != 0)
        return -1;
    account(w, p);
    return 1;
}

int workload_next(struct workload *w, sim_time now, const struct pass **pass,
                  struct err *e)
{
    struct pass *p = &w->pass;
    uint64_t index = w->pass.rows == 0 ? 0 : w->pass.index + 1;
    int status;

    if (w->params.max_passes > 0 && index == (uint64_t)w->params.max_passes)
        return 0;
    if (w->recorded != NULL)
        status = recorded_next(w->recorded, now, p, e);
    else
        status = build(w, now, p, e);
    if (status != 1)
        return status;
    p->index = index;
    w->rows_done += p->rows;
    *pass = p;
    return 1;
}

/* ---- how large its passes get ---- */

/* Adds the KV entries that a take leaves its request with to its home's. */
static int add_kv(struct workload *w, struct cursor *c, uint32_t rows, uint32_t homes,
                  uint64_t *kv_tokens, uint64_t *longest, struct err *e)
{
    uint32_t home = (c->source != VIEW_NO_SOURCE ? c->source : c->request) % homes;
    uint32_t position;

    if (cursor_position(c, &w->setup, c->next + rows - 1, &position, e) != 0)
        return -1;
    if (!w->setup.shape.sides || cursor_prompt_left(c) == 0) { /* encoders keep none */
        kv_tokens[home] += (uint64_t)position + 1;
        if (*longest <= position)
            *longest = (uint64_t)position + 1;
    }
    c->next += rows;
    return 0;
}

/* The next pass by its sizes alone; `kv_tokens` [homes] is overwritten. */
static int size_next(struct workload *w, struct pass *p, uint32_t homes,
                     uint64_t *kv_tokens, uint64_t *longest, struct err *e)
{
    int status;

    memset(kv_tokens, 0, homes * sizeof *kv_tokens);
    if (w->recorded != NULL) {
        status = recorded_next(w->recorded, 0, p, e);
        w->take_rows = status == 1 ? p->rows : 0;
        if (homes == 1)
            kv_tokens[0] = p->batch.kv_tokens + p->batch.cross_tokens;
        return status;
    }
    p->finished_count = 1; /* whoever is done leaves */
    status = plan(w, 0, p, e);
    for (uint32_t i = 0; status == 1 && i < w->take_count; i++)
        if (add_kv(w, w->take[i].cursor, w->take[i].rows, homes, kv_tokens, longest, e) !=
            0)
            status = -1;
    return status;
}

/* Room for the KV cache of `context` tokens of each sequence that runs at once. */
static int keep_context(const struct workload_params *p, uint32_t homes,
                        struct workload_sizes *sizes, struct err *e)
{
    uint64_t context = (uint64_t)p->context;
    uint64_t sequences =
        (uint64_t)(p->mode == WORKLOAD_STATIC ? p->batch : p->max_sequences);

    if (context == 0)
        return 0;
    if (sizes->longest > context)
        return err_set_key(e, "workload.context",
                           "workload: context is %llu, but a request has %llu tokens; "
                           "give at least as many",
                           (unsigned long long)context,
                           (unsigned long long)sizes->longest);
    sizes->kept_tokens = (sequences + homes - 1) / homes * context;
    if (sizes->kv_tokens >= sizes->kept_tokens)
        return 0;
    sizes->kv_tokens = sizes->kept_tokens;
    sizes->kv_pass = WORKLOAD_NO_PASS;
    return 0;
}

int workload_measure(struct trace *t, const struct model *m,
                     const struct workload_params *p, uint32_t homes, uint64_t seed,
                     struct workload_sizes *sizes, struct err *e)
{
    struct workload *w = make(t, m, p, false, false, false, seed, e);
    uint64_t *kv_tokens = mem_zalloc(homes, sizeof *kv_tokens);
    uint64_t most = p->max_passes > 0 ? (uint64_t)p->max_passes : UINT64_MAX;
    int status = w == NULL ? -1 : w->timed ? 0 : 1;

    *sizes = (struct workload_sizes){.rows = 0};
    for (uint64_t i = 0; i < most && status == 1 && !file_interrupted(); i++) {
        status = size_next(w, &w->pass, homes, kv_tokens, &sizes->longest, e);
        if (status == 1 && w->take_rows > sizes->rows)
            sizes->rows = w->take_rows;
        for (uint32_t h = 0; status == 1 && h < homes; h++) {
            if (kv_tokens[h] <= sizes->kv_tokens)
                continue;
            sizes->kv_tokens = kv_tokens[h];
            sizes->kv_pass = i;
        }
    }
    free(kv_tokens);
    workload_free(w);
    return status < 0 ? -1 : keep_context(p, homes, sizes, e);
}

/* ---- asking ---- */

bool workload_is_timeless(const struct workload *w)
{
    return !w->timed;
}

uint64_t workload_request_count(const struct workload *w)
{
    return w->all.count;
}

const struct workload_request *workload_get_request(const struct workload *w, uint64_t r)
{
    assert(r < w->all.count);
    return &w->all.request[r];
}

uint64_t workload_rows_done(const struct workload *w)
{
    return w->rows_done;
}

uint64_t workload_rows_total(const struct workload *w)
{
    return w->rows_total;
}

uint64_t workload_rows_resampled(const struct workload *w)
{
    return w->rows_resampled;
}

uint64_t workload_prompts_skipped(const struct workload *w)
{
    return w->prompts_skipped;
}

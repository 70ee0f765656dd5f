/* Whose the rows of a pass are, over several GPUs. */
#include "sim/workload/context.h"
#include "run_state.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

/* ---- forms ---- */

static enum collective_form form_of(const struct runner *c)
{
    static const enum collective_form forms[] = {
        [EXCHANGE_FLAT] = COLLECTIVE_FLAT,
        [EXCHANGE_RAILS] = COLLECTIVE_RAILS,
        [EXCHANGE_FORWARD] = COLLECTIVE_FORWARD,
        [EXCHANGE_NORMAL] = COLLECTIVE_NORMAL,
        [EXCHANGE_LOW_LATENCY] = COLLECTIVE_LOW_LATENCY,
    };
    int exchange = c->setup->policy->schedule.exchange;

    if (exchange == EXCHANGE_AUTO)
        return c->spread->p->topology->nodes > 1 && c->spread->p->topology->nvlink
                   ? COLLECTIVE_FORWARD
                   : COLLECTIVE_FLAT;
    return forms[exchange];
}

static uint64_t row_bytes(const struct runner *c, bool fp8)
{
    const struct model *m = c->setup->cost->model;

    return fp8 ? collective_row_bytes(m->hidden, true)
               : (uint64_t)(m->hidden * m->activation_bits / 8.0);
}

static void init_part(const struct runner *c, struct spread_part *part)
{
    const struct spread *s = c->spread;

    collective_count_init(&part->count, s->p->topology);
    part->dispatch = (struct collective){
        .form = s->form,
        .pairs = s->counts_rows ? part->count.distinct : part->count.experts,
        .nodes = s->counts_rows ? part->count.by_node : NULL,
        .unit_bytes = s->sent_unit};
    part->combine = part->dispatch;
    part->combine.unit_bytes = s->back_unit;
    part->combine.reverse = true;
    part->tokens = mem_zalloc(s->slots, sizeof *part->tokens);
    part->of_expert = mem_zalloc(c->experts, sizeof *part->of_expert);
    if (c->setup->policy->cache.order == CACHE_ORDER_RECORDED)
        part->last_row = mem_zalloc(s->slots, sizeof *part->last_row);
}

static void release_part(struct spread_part *part)
{
    collective_count_release(&part->count);
    free(part->tokens);
    free(part->of_expert);
    free(part->last_row);
}

static void init_collectives(struct runner *c)
{
    struct spread *s = c->spread;
    size_t pairs = (size_t)c->gpus * c->gpus;

    s->sent_unit = row_bytes(c, c->setup->policy->schedule.fp8_dispatch);
    s->back_unit = row_bytes(c, false);
    s->part = mem_zalloc(s->program.parts, sizeof *s->part);
    for (uint32_t i = 0; i < s->program.parts; i++)
        init_part(c, &s->part[i]);
    s->exchanged = mem_alloc(pairs, sizeof *s->exchanged);
    for (size_t i = 0; i < pairs; i++)
        s->exchanged[i] = s->local;
    s->exchange = (struct collective){
        .form = COLLECTIVE_FLAT, .pairs = s->exchanged, .unit_bytes = sizeof(uint32_t)};
}

static uint32_t see_future(const struct view_future *context, uint32_t ahead,
                           const uint32_t **expert)
{
    const struct runner *c = (const void *)context;
    const struct spread *s = c->spread;
    struct future_step step = future_reader_peek(c->setup->future, ahead);
    size_t layer = (c->view.layer + ahead) % c->layers;
    uint32_t count = 0;

    /* A look-ahead knows slots; an expert counts once, whatever its replicas. */
    for (uint32_t i = 0; i < step.count; i++) {
        uint32_t id = s->place->expert[layer * s->slots + step.active[i]];

        if (!s->seen[id])
            s->coming_active[count++] = id;
        s->seen[id] = true;
    }
    for (uint32_t i = 0; i < count; i++)
        s->seen[s->coming_active[i]] = false;
    *expert = s->coming_active;
    return count;
}

static bool is_resident(const void *context, uint32_t layer, uint32_t expert)
{
    const struct runner *c = context;
    const struct spread *s = c->spread;
    uint32_t count;
    const uint32_t *slot = place_replicas(s->place, layer, expert, &count);

    for (uint32_t i = 0; i < count; i++)
        if (cache_slot_of(c->gpu[s->gpu_of[slot[i]]].residency.cache, layer,
                          slot[i] % s->local) == CACHE_NONE)
            return false;
    return true;
}

void routing_spread_init(struct runner *c)
{
    struct spread *s = c->spread;

    s->attentions = c->gpus / s->p->tensor;
    s->form = form_of(c);
    /* Slots of a capacity are sent one by one, whether or not a row is in them. */
    s->counts_rows =
        !c->pads && (s->form == COLLECTIVE_FORWARD || s->form == COLLECTIVE_NORMAL);
    c->encodes = c->pads || (c->gpus > 1 && s->form != COLLECTIVE_NORMAL &&
                             s->form != COLLECTIVE_LOW_LATENCY);
    /* Two for each GPU: what it did last, and its experts on the host. */
    s->after = mem_alloc(2 * (size_t)c->gpus, sizeof *s->after);
    s->member = mem_alloc(s->p->tensor, sizeof *s->member);
    s->attention = mem_zalloc((size_t)c->gpus * s->program.batches, sizeof *s->attention);
    s->own = mem_zalloc((size_t)c->gpus * s->program.batches, sizeof *s->own);
    s->whole = mem_zalloc(c->gpus, sizeof *s->whole);
    s->tokens = mem_zalloc(c->experts, sizeof *s->tokens);
    s->active = mem_alloc(c->experts, sizeof *s->active);
    s->turn = mem_zalloc((size_t)c->layers * c->experts, sizeof *s->turn);
    s->gpu_of = mem_alloc(s->slots, sizeof *s->gpu_of);
    for (uint32_t i = 0; i < s->slots; i++)
        s->gpu_of[i] = (uint16_t)(i / s->local);
    s->destination = mem_alloc(c->top_k, sizeof *s->destination);
    s->home = mem_zalloc(workload_request_count(c->setup->workload), sizeof *s->home);
    if (s->place->shards > 1)
        s->by_source = mem_zalloc((size_t)c->gpus * c->experts, sizeof *s->by_source);
    if (c->setup->record != NULL)
        s->slot_turn = mem_alloc(s->slots, sizeof *s->slot_turn);
    s->rank_bytes = mem_alloc(c->gpus, sizeof *s->rank_bytes);
    s->rows.first =
        mem_alloc((size_t)c->gpus * s->program.batches + 1, sizeof *s->rows.first);
    init_collectives(c);
    c->view.resident = is_resident;
    c->view.resident_context = c;
    if (c->setup->future != NULL) {
        s->seen = mem_zalloc(c->experts, sizeof *s->seen);
        s->coming_active = mem_alloc(c->experts, sizeof *s->coming_active);
        c->view.future = see_future;
        c->view.future_context = (const void *)c;
    }
}

void routing_spread_release(struct runner *c)
{
    struct spread *s = c->spread;

    placement_release(s);
    for (uint32_t i = 0; s->part != NULL && i < s->program.parts; i++)
        release_part(&s->part[i]);
    free(s->part);
    free(s->after);
    free(s->member);
    free(s->attention);
    free(s->own);
    free(s->whole);
    free(s->tokens);
    free(s->active);
    free(s->turn);
    free(s->gpu_of);
    free(s->destination);
    free(s->home);
    free(s->by_source);
    free(s->slot_turn);
    free(s->seen);
    free(s->coming_active);
    free(s->rank_bytes);
    free(s->exchanged);
    free(s->rows.first);
    free(s->rows.order);
    free(s->rows.row);
    free(s->rows.choice);
    free(s->rows.candidate);
    free(s->rows.score);
    free(s->rows.predicted);
    free(s);
}

/* ---- a pass ---- */

/* The attention group that has a row's KV cache. */
static uint32_t home_of(const struct runner *c, const struct view_row *row)
{
    return (row->source != VIEW_NO_SOURCE ? row->source : row->request) %
           c->spread->attentions;
}

static void make_room(struct runner *c, uint32_t rows)
{
    struct spread_rows *r = &c->spread->rows;

    if (rows <= r->room)
        return;
    r->room = rows + rows / 2;
    r->order = mem_resize(r->order, r->room, sizeof *r->order);
    r->row = mem_resize(r->row, r->room, sizeof *r->row);
    if (c->pass->predicted != NULL)
        r->predicted =
            mem_resize(r->predicted, (size_t)r->room * c->layers * c->predicted,
                       sizeof *r->predicted);
    r->choice =
        mem_resize(r->choice, (size_t)r->room * c->layers * c->top_k, sizeof *r->choice);
}

/* A counting sort of the rows by attention group. Those of a group are cut into batches
 * of equal runs, and each batch is dealt to the GPUs of the group in equal runs. */
static void sort_rows(struct runner *c)
{
    struct spread *s = c->spread;
    const struct pass *pass = c->pass;
    uint32_t tensor = s->p->tensor, batches = s->program.batches;
    uint32_t runs = tensor * batches; /* of a group */
    uint32_t *first = s->rows.first;

    memset(first, 0, ((size_t)c->gpus * batches + 1) * sizeof *first);
    for (uint32_t i = 0; i < pass->rows; i++)
        first[home_of(c, &pass->row[i]) * runs + runs]++;
    for (uint32_t a = 0; a < s->attentions; a++)
        first[(a + 1) * runs] += first[a * runs];
    for (uint32_t i = 0; i < pass->rows; i++) {
        uint32_t at = first[home_of(c, &pass->row[i]) * runs]++;

        s->rows.order[at] = i;
        s->rows.row[at] = pass->row[i];
    }
    /* Each entry has moved on to the next one's start. */
    for (uint32_t a = s->attentions; a > 0; a--)
        first[a * runs] = first[(a - 1) * runs];
    first[0] = 0;
    for (uint32_t a = 0; a < s->attentions; a++) {
        uint32_t *run = first + (size_t)a * runs;
        uint64_t rows = run[runs] - *run;

        for (uint32_t b = 0; b < batches; b++) {
            uint32_t from = *run + (uint32_t)(rows * b / batches);
            uint64_t count = *run + rows * (b + 1) / batches - from;

            for (uint32_t i = b == 0; i < tensor; i++)
                run[b * tensor + i] = from + (uint32_t)(count * i / tensor);
        }
    }
}

/* The choices, layer by layer and in the rows' order, so that a layer's are read in one
 * go. */
static void gather_choices(struct runner *c)
{
    struct spread_rows *rows = &c->spread->rows;
    size_t stride = (size_t)c->layers * c->candidates;
    size_t layer = (size_t)c->pass->rows * c->top_k;

    for (uint32_t i = 0; i < c->pass->rows; i++) {
        const uint16_t *from = c->pass->expert + rows->order[i] * stride;
        uint16_t *to = rows->choice + (size_t)i * c->top_k;

        for (uint32_t l = 0; l < c->layers; l++, from += c->candidates, to += layer)
            memcpy(to, from, c->top_k * sizeof *to);
    }
}

/* The same for what else the trace has of each row and layer: `width` values of `size`
 * bytes. */
static void gather_values(const struct runner *c, void *to, const void *from,
                          uint32_t width, size_t size)
{
    size_t cell = width * size, layers = c->layers, rows = c->pass->rows;

    for (size_t i = 0; i < rows; i++)
        for (size_t l = 0; l < layers; l++)
            memcpy((char *)to + (l * rows + i) * cell,
                   (const char *)from + (c->spread->rows.order[i] * layers + l) * cell,
                   cell);
}

/* What a select sees, in passes in which it chooses, or who goes by scores. */
static void gather_candidates(struct runner *c)
{
    struct spread_rows *r = &c->spread->rows;
    size_t cells = (size_t)c->pass->rows * c->layers * c->candidates;

    if (cells > r->cells) {
        r->cells = cells + cells / 2;
        r->candidate = mem_resize(r->candidate, r->cells, sizeof *r->candidate);
        r->score = mem_resize(r->score, r->cells, sizeof *r->score);
    }
    gather_values(c, r->candidate, c->pass->expert, c->candidates, sizeof *r->candidate);
    gather_values(c, r->score, c->pass->score, c->candidates, sizeof *r->score);
}

static void gather_rows(struct runner *c)
{
    struct spread_rows *rows = &c->spread->rows;
    const struct pass *p = c->pass;

    gather_choices(c);
    if (c->selecting.chooses || c->lowers)
        gather_candidates(c);
    if (p->predicted != NULL)
        gather_values(c, rows->predicted, p->predicted, c->predicted,
                      sizeof *rows->predicted);
}

/* The rows [i, end) of a request in the pass of a side of an encoder-decoder model. */
static void add_side(const struct runner *c, struct cost_batch *b, uint32_t i,
                     uint32_t end)
{
    const struct view_row *row = c->spread->rows.row;
    uint32_t prompt =
        workload_get_request(c->setup->workload, row[i].request)->prompt_tokens;
    bool opens = false;

    if (c->encoding) {
        context_add_encoded(b, end - i);
        return;
    }
    for (uint32_t k = i; k < end; k++) {
        context_add_decoder_row(b, row[k].position, prompt);
        opens = opens || row[k].opens;
    }
    context_add_decoder_request(b, row[end - 1].position, prompt, opens);
}

/* The rows [from, to) of the order as attention sees them; a request's rows are
 * neighbours. */
static struct cost_batch batch_of(const struct runner *c, uint32_t from, uint32_t to)
{
    uint32_t window = c->setup->cost->model->window;
    struct cost_batch b = {.tokens = to - from};

    for (uint32_t i = from; i < to;) {
        const struct view_row *first = &c->spread->rows.row[i];
        uint32_t last = first->position;

        if (c->has_sides) {
            uint32_t end = i + 1;

            while (end < to && c->spread->rows.row[end].request == first->request)
                end++;
            add_side(c, &b, i, end);
            i = end;
            continue;
        }
        for (; i < to && c->spread->rows.row[i].request == first->request; i++) {
            context_add_row(&b, c->spread->rows.row[i].position, window);
            last = c->spread->rows.row[i].position;
        }
        context_add_request(&b, first->position, last, window);
    }
    return b;
}

/* A request's output token is where its last row is. */
static void count_outputs(struct runner *c)
{
    struct spread *s = c->spread;
    const struct pass *pass = c->pass;

    for (uint32_t i = 0; i < pass->rows; i++)
        s->home[pass->row[i].request] = home_of(c, &pass->row[i]);
    for (uint32_t i = 0; i < pass->output_count; i++)
        s->whole[s->home[pass->output[i]] * s->p->tensor].outputs++;
}

int routing_spread_pass(struct runner *c, struct err *e)
{
    struct spread *s = c->spread;
    uint32_t tensor = s->p->tensor, batches = s->program.batches;
    const uint32_t *first = s->rows.first;

    make_room(c, c->pass->rows);
    sort_rows(c);
    gather_rows(c);
    for (uint32_t g = 0; g < c->gpus; g += tensor) {
        const uint32_t *run = first + (size_t)g * batches;

        s->whole[g] = batch_of(c, *run, run[tensor * batches]);
        if (kv_memory_check(c, g, tensor, &s->whole[g], e) != 0)
            return -1;
    }
    count_outputs(c);
    for (uint32_t i = 0; i < c->gpus; i++) {
        c->gpu[i].activation_bytes = 0;
        s->whole[i] = s->whole[i / tensor * tensor];
        for (uint32_t b = 0; b < batches; b++) {
            const uint32_t *own = first + spread_run(s, i, b);
            const uint32_t *run = first + spread_run(s, i / tensor * tensor, b);
            size_t at = (size_t)i * batches + b;

            s->own[at] = (struct cost_batch){.tokens = own[1] - own[0]};
            if (batches == 1)
                s->attention[at] = s->whole[i];
            else if (i % tensor == 0)
                s->attention[at] = batch_of(c, *run, run[tensor]);
            else
                s->attention[at] = s->attention[at - batches];
        }
    }
    return 0;
}

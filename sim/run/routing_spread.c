/* Whose the rows of a pass are, and how many of them go from where to where. */
#include "sim/workload/context.h"
#include "run_state.h"
#include "sim/base/mem.h"

#include <assert.h>
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

    /* A look-ahead knows slots; an expert counts where its first replica is. */
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
    s->attention = mem_zalloc(c->gpus, sizeof *s->attention);
    s->own = mem_zalloc(c->gpus, sizeof *s->own);
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
    s->rows.first = mem_alloc((size_t)c->gpus + 1, sizeof *s->rows.first);
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
    if (c->pass->score != NULL)
        r->score = mem_resize(r->score, (size_t)r->room * c->layers * c->candidates,
                              sizeof *r->score);
    if (c->pass->predicted != NULL)
        r->predicted =
            mem_resize(r->predicted, (size_t)r->room * c->layers * c->predicted,
                       sizeof *r->predicted);
    c->spread->rows.choice =
        mem_resize(c->spread->rows.choice, (size_t)r->room * c->layers * c->top_k,
                   sizeof *c->spread->rows.choice);
}

/* A counting sort of the rows by attention group; within a group they are dealt to its
 * GPUs in equal runs. */
static void sort_rows(struct runner *c)
{
    const struct pass *pass = c->pass;
    uint32_t tensor = c->spread->p->tensor;
    uint32_t *first = c->spread->rows.first;

    memset(first, 0, ((size_t)c->gpus + 1) * sizeof *first);
    for (uint32_t i = 0; i < pass->rows; i++)
        first[home_of(c, &pass->row[i]) * tensor + tensor]++;
    for (uint32_t a = 0; a < c->spread->attentions; a++)
        first[(a + 1) * tensor] += first[a * tensor];
    for (uint32_t i = 0; i < pass->rows; i++) {
        uint32_t at = first[home_of(c, &pass->row[i]) * tensor]++;

        c->spread->rows.order[at] = i;
        c->spread->rows.row[at] = pass->row[i];
    }
    /* Each entry has moved on to the next one's start. */
    for (uint32_t a = c->spread->attentions; a > 0; a--)
        first[a * tensor] = first[(a - 1) * tensor];
    first[0] = 0;
    for (uint32_t a = 0; a < c->spread->attentions; a++) {
        uint32_t from = first[a * tensor], count = first[(a + 1) * tensor] - from;

        for (uint32_t i = 1; i < tensor; i++)
            first[a * tensor + i] = from + (uint32_t)((uint64_t)count * i / tensor);
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

static void gather_rows(struct runner *c)
{
    struct spread_rows *rows = &c->spread->rows;
    const struct pass *p = c->pass;

    gather_choices(c);
    if (p->score != NULL)
        gather_values(c, rows->score, p->score, c->candidates, sizeof *rows->score);
    if (p->predicted != NULL)
        gather_values(c, rows->predicted, p->predicted, c->predicted,
                      sizeof *rows->predicted);
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
        s->attention[s->home[pass->output[i]] * s->p->tensor].outputs++;
}

int routing_spread_pass(struct runner *c, struct err *e)
{
    struct spread *s = c->spread;
    uint32_t tensor = s->p->tensor;
    const uint32_t *first = s->rows.first;

    make_room(c, c->pass->rows);
    sort_rows(c);
    gather_rows(c);
    for (uint32_t a = 0; a < s->attentions; a++) {
        s->attention[a * tensor] =
            batch_of(c, first[a * tensor], first[(a + 1) * tensor]);
        if (kv_memory_check(c, &s->attention[a * tensor], e) != 0)
            return -1;
    }
    count_outputs(c);
    for (uint32_t i = 0; i < c->gpus; i++) {
        s->attention[i] = s->attention[i / tensor * tensor];
        s->own[i] = (struct cost_batch){.tokens = first[i + 1] - first[i]};
        c->gpu[i].dense.batch = &s->attention[i];
        c->gpu[i].gate.batch = &s->own[i];
    }
    return 0;
}

/* ---- a layer ---- */

/* The choices of a rank's rows in a layer, (row, k). */
static uint16_t *choices_of(const struct runner *c, uint32_t layer, uint32_t rank)
{
    size_t row = (size_t)layer * c->pass->rows + c->spread->rows.first[rank];

    return c->spread->rows.choice + row * c->top_k;
}

static uint32_t rows_of(const struct runner *c, uint32_t rank)
{
    return c->spread->rows.first[rank + 1] - c->spread->rows.first[rank];
}

/* What policies see of the layer's rows [first, first + count) in their order. */
static struct view see(const struct runner *c, uint32_t layer, uint32_t first,
                       uint32_t count)
{
    const struct spread_rows *rows = &c->spread->rows;
    struct view v = c->view;
    size_t at = (size_t)layer * c->pass->rows + first;

    v.pass = c->pass->index;
    v.layer = layer;
    v.rows = count;
    v.row = rows->row + first;
    v.choice = rows->choice + at * c->top_k;
    v.choice_stride = c->top_k;
    if (c->pass->score != NULL)
        v.score = rows->score + at * c->candidates;
    v.score_stride = c->candidates;
    if (c->pass->predicted != NULL)
        v.predicted = rows->predicted + at * c->predicted;
    v.predicted_stride = c->predicted;
    return v;
}

/* Lets select and gate rewrite a rank's choices, each rank for itself. */
static struct gate_result rewrite(struct runner *c, uint32_t layer, uint32_t rank)
{
    const struct policy *policy = c->setup->policy;
    uint16_t *choice = choices_of(c, layer, rank);
    struct view v = see(c, layer, c->spread->rows.first[rank], rows_of(c, rank));

    if (policy_select(policy)->apply != NULL)
        (void)policy_select(policy)->apply(policy->params[SLOT_SELECT], &v, choice);
    if (policy_gate(policy)->apply == NULL)
        return (struct gate_result){0, 0};
    return policy_gate(policy)->apply(policy->params[SLOT_GATE], &v, choice, c->scratch);
}

static uint32_t slot_of(struct runner *c, uint32_t layer, uint32_t expert, uint32_t rank)
{
    const struct place *p = c->spread->place;
    uint64_t *turn = &c->spread->turn[(size_t)layer * c->experts + expert];

    return place_choose(p, (enum place_choice)c->setup->policy->place.replica, layer,
                        expert, rank, (*turn)++, c->setup->seed);
}

/* Where a part of a rank's rows begins; that of part `parts` is where they end. */
static uint32_t part_row(const struct runner *c, uint32_t rank, uint32_t part)
{
    return (uint32_t)((uint64_t)rows_of(c, rank) * part / c->spread->program.parts);
}

/* Counts a part of a rank's rows by slot, by expert, and from GPU to GPU; how many
 * choices. */
static uint64_t count_rank(struct runner *c, uint32_t layer, uint32_t rank, uint32_t part)
{
    struct spread *s = c->spread;
    struct spread_part *to_part = &s->part[part];
    const uint16_t *begin = choices_of(c, layer, rank), *gpu_of = s->gpu_of;
    const uint16_t *choice = begin + (size_t)part_row(c, rank, part) * c->top_k;
    const uint16_t *end = begin + (size_t)part_row(c, rank, part + 1) * c->top_k;
    const uint32_t *first = s->place->first + (size_t)layer * (c->experts + 1);
    const uint32_t *replica = s->place->replica + (size_t)layer * s->slots;
    uint32_t *of_slot = to_part->tokens, *of_expert = to_part->of_expert;
    uint64_t *pairs = to_part->count.experts + (size_t)rank * c->gpus;
    uint64_t *last = to_part->last_row, choices = 0;
    uint32_t *to = s->destination, top_k = c->top_k;
    bool by_rows = s->counts_rows;

    for (; choice < end; choice += top_k) {
        uint32_t n = 0;

        for (uint32_t k = 0; k < top_k; k++) {
            uint32_t expert = choice[k], slot;

            if (expert == VIEW_NO_EXPERT)
                continue;
            slot = first[expert + 1] - first[expert] == 1
                       ? replica[first[expert]]
                       : slot_of(c, layer, expert, rank);
            of_slot[slot]++;
            of_expert[expert]++;
            to[n++] = gpu_of[slot];
            if (last != NULL)
                last[slot] = ++s->chosen;
        }
        choices += n;
        if (by_rows)
            collective_count_add(&to_part->count, rank, to, n);
        else
            for (uint32_t k = 0; k < n; k++)
                pairs[to[k]]++;
    }
    return choices;
}

/* The same for shards: rows go to all GPUs, and only experts matter. */
static uint64_t count_shards(struct runner *c, uint32_t layer, uint32_t rank)
{
    struct spread *s = c->spread;
    const uint16_t *choice = choices_of(c, layer, rank);
    const uint16_t *end = choice + (size_t)rows_of(c, rank) * c->top_k;
    uint32_t *by_expert = s->by_source + (size_t)rank * c->experts;
    uint64_t choices = 0;

    memset(by_expert, 0, c->experts * sizeof *by_expert);
    for (; choice < end; choice++) {
        if (*choice == VIEW_NO_EXPERT)
            continue;
        by_expert[*choice]++;
        s->part->of_expert[*choice]++;
        choices++;
        if (s->part->last_row != NULL)
            s->part->last_row[*choice] = ++s->chosen;
    }
    return choices;
}

/* A part's share of a capacity. */
static uint32_t share_of(const struct spread *s, uint64_t capacity, uint32_t part)
{
    uint32_t parts = s->program.parts;

    return (uint32_t)(capacity * (part + 1) / parts - capacity * part / parts);
}

static void pad_part(struct runner *c, const uint16_t *expert, uint32_t part)
{
    struct spread *s = c->spread;
    uint64_t *pairs = s->part[part].count.experts;
    uint32_t all = 0;

    memset(pairs, 0, (size_t)c->gpus * c->gpus * sizeof *pairs);
    for (uint32_t rank = 0; rank < c->gpus; rank++)
        all += share_of(s, c->gpu[rank].dispatch.capacity, part);
    for (uint32_t i = 0; i < s->slots; i++) {
        s->part[part].tokens[i] = expert[i] == PLACE_EMPTY ? 0 : all;
        for (uint32_t rank = 0; expert[i] != PLACE_EMPTY && rank < c->gpus; rank++)
            pairs[(size_t)rank * c->gpus + s->gpu_of[i]] +=
                share_of(s, c->gpu[rank].dispatch.capacity, part);
    }
}

/* Static gating: each expert runs on every rank's capacity, and as much is sent. */
static int pad(struct runner *c, uint32_t layer, struct err *e)
{
    const struct spread *s = c->spread;
    uint64_t capacity = 0;

    for (uint32_t rank = 0; rank < c->gpus; rank++)
        capacity += c->gpu[rank].dispatch.capacity;
    if (capacity > UINT32_MAX)
        return err_set_key(
            e, "gate.cf",
            "policy '%s': gate: %s gives every expert %llu rows, more than %u; "
            "choose a smaller cf",
            c->setup->policy->label, c->setup->policy->plugin[SLOT_GATE]->name,
            (unsigned long long)capacity, UINT32_MAX);
    for (uint32_t part = 0; part < s->program.parts; part++)
        pad_part(c, s->place->expert + (size_t)layer * s->slots, part);
    return 0;
}

/* The GPU's active experts by their last row; those without one come first. */
static void order_accesses(const struct spread *s, const uint64_t *last_row,
                           struct gpu *g)
{
    const uint64_t *last = last_row + (s->place->shards > 1 ? 0 : g->rank * s->local);
    struct step *step = &g->step;

    for (uint32_t i = 0; i < step->active_count; i++) {
        uint32_t at = i;

        for (; at > 0 && last[step->turn[at - 1]] > last[step->active[i]]; at--)
            step->turn[at] = step->turn[at - 1];
        step->turn[at] = step->active[i];
    }
}

void routing_spread_part(struct runner *c, uint32_t layer, uint32_t part)
{
    const struct spread *s = c->spread;
    const struct spread_part *of = &s->part[part];
    const uint16_t *expert = s->place->expert + (size_t)layer * s->slots;
    bool empty = c->setup->policy->schedule.empty;
    bool shards = s->place->shards > 1;

    for (uint32_t i = 0; i < c->gpus; i++) {
        struct gpu *g = &c->gpu[i];
        struct step *step = &g->step;
        uint32_t from = i * s->local;

        step->layer = layer;
        step->routing.rows = c->pass->rows;
        step->active_count = 0;
        for (uint32_t j = 0; j < s->local; j++) {
            step->tokens[j] = shards ? of->of_expert[j] : of->tokens[from + j];
            if (step->tokens[j] > 0 || (empty && expert[from + j] != PLACE_EMPTY))
                step->active[step->active_count++] = (uint16_t)j;
        }
        if (of->last_row != NULL)
            order_accesses(s, of->last_row, g);
    }
}

/* What the layer's activations take on a GPU that runs experts on so many rows, at most
 * so many of them at once. */
static void book_activations(struct runner *c, const struct gpu *g, uint64_t rows,
                             uint64_t most)
{
    uint64_t bytes;
    struct activation a;

    a = activation_count(c->setup->cost->model, &g->dispatch, rows,
                         g->step.piece != NULL ? most : rows);
    bytes = activation_peak(&a);
    if (bytes > c->result->activation_bytes)
        c->result->activation_bytes = bytes;
}

/* Rows that a GPU's experts run on in the layer, and the most of one expert at once. */
static uint64_t rows_on(const struct runner *c, uint32_t gpu, uint64_t *most)
{
    const struct spread *s = c->spread;
    bool shards = s->place->shards > 1;
    uint64_t rows = 0;

    *most = 0;
    for (uint32_t p = 0; p < s->program.parts; p++) {
        const uint32_t *of =
            shards ? s->part[p].of_expert : s->part[p].tokens + (size_t)gpu * s->local;

        for (uint32_t j = 0; j < s->local; j++) {
            rows += of[j];
            *most = of[j] > *most ? of[j] : *most;
        }
    }
    return rows;
}

/* Rows that dispatch sends to other GPUs. */
static uint64_t rows_sent(const struct runner *c)
{
    const struct spread *s = c->spread;
    uint64_t sent = 0;

    for (uint32_t p = 0; p < s->program.parts; p++) {
        const uint64_t *pairs = s->part[p].dispatch.pairs;

        for (uint32_t from = 0; from < c->gpus; from++)
            for (uint32_t to = 0; to < c->gpus; to++)
                sent += from == to ? 0 : pairs[(size_t)from * c->gpus + to];
    }
    return sent;
}

/* What the layer's rows are in the books. */
static void book_rows(struct runner *c, uint32_t layer, uint64_t choices)
{
    const struct spread *s = c->spread;
    struct run_counts now = {.activations = choices};

    for (uint32_t i = 0; i < c->gpus; i++) {
        const struct gpu *g = &c->gpu[i];
        uint64_t most, rows = rows_on(c, i, &most);

        now.computed_rows += rows;
        now.busiest_rows = rows > now.busiest_rows ? rows : now.busiest_rows;
        now.dropped += g->dispatch.dropped;
        c->result->gpu_rows[i] += rows;
        book_activations(c, g, rows, most);
    }
    if (s->place->shards == 1) {
        now.sent_rows = rows_sent(c);
        now.sent_bytes = now.sent_rows * (s->sent_unit + s->back_unit);
    } else {
        now.sent_rows = (uint64_t)c->pass->rows * (c->gpus - 1);
        now.sent_bytes = 2 * now.sent_rows * s->back_unit;
        if (policy_place(c->setup->policy)->counts)
            now.sent_bytes +=
                (uint64_t)c->gpus * (c->gpus - 1) * c->experts * sizeof(uint32_t);
    }
    books_add(&c->books.counts, &now);
    books_add(&c->result->layer[layer].counts, &now);
}

static void remember_load(struct runner *c, uint32_t layer)
{
    uint32_t *seen;

    if (c->spread->window == NULL)
        return;
    seen = place_window_pass(c->spread->window) + (size_t)layer * c->experts;
    for (uint32_t i = 0; i < c->experts; i++)
        seen[i] += (uint32_t)c->tokens[i];
}

/* The layer as a predictor sees it; where a gate pads, every expert has its capacity. */
static void show_predictor(struct runner *c, uint32_t layer)
{
    struct view *v = &c->view;
    uint32_t capacity = 0;

    *v = see(c, layer, 0, c->pass->rows);
    v->tokens = c->tokens;
    v->load = c->load;
    for (uint32_t i = 0; c->pads && i < c->gpus; i++)
        capacity += (uint32_t)c->gpu[i].dispatch.capacity;
    if (c->pads)
        v->tokens = c->scratch;
    c->active_count = 0;
    for (uint32_t i = 0; i < c->experts; i++) {
        if (c->pads)
            c->scratch[i] = capacity;
        if (v->tokens[i] > 0)
            c->active[c->active_count++] = (uint16_t)i;
    }
    v->active = c->active;
    v->active_count = c->active_count;
}

static void clear_part(const struct runner *c, struct spread_part *part)
{
    const struct spread *s = c->spread;

    memset(part->of_expert, 0, c->experts * sizeof *part->of_expert);
    memset(part->tokens, 0, s->slots * sizeof *part->tokens);
    if (part->last_row != NULL)
        memset(part->last_row, 0, s->slots * sizeof *part->last_row);
    collective_count_reset(&part->count);
}

static void sum_parts(struct runner *c)
{
    const struct spread *s = c->spread;

    memcpy(c->tokens, s->part->of_expert, c->experts * sizeof *c->tokens);
    for (uint32_t p = 1; p < s->program.parts; p++)
        for (uint32_t i = 0; i < c->experts; i++)
            c->tokens[i] += s->part[p].of_expert[i];
}

int routing_spread_layer(struct runner *c, uint32_t layer, struct err *e)
{
    struct spread *s = c->spread;
    uint64_t choices = 0;

    for (uint32_t p = 0; p < s->program.parts; p++)
        clear_part(c, &s->part[p]);
    for (uint32_t rank = 0; rank < c->gpus; rank++) {
        struct gate_result gate = {0, 0};

        if (c->reroutes)
            gate = rewrite(c, layer, rank);
        c->gpu[rank].dispatch = routing_dispatch(c, rows_of(c, rank), gate);
        if (s->place->shards > 1)
            choices += count_shards(c, layer, rank);
        else
            for (uint32_t p = 0; p < s->program.parts; p++)
                choices += count_rank(c, layer, rank, p);
    }
    sum_parts(c);
    if (c->pads && pad(c, layer, e) != 0)
        return -1;
    routing_spread_part(c, layer, 0);
    book_rows(c, layer, choices);
    remember_load(c, layer);
    if (c->predictor.state != NULL || c->gpu->hosted != NULL)
        show_predictor(c, layer);
    return 0;
}

void routing_spread_clear(struct runner *c)
{
    uint64_t *load = c->load;

    if (load == NULL)
        return;
    load += (size_t)c->view.layer * c->experts;
    for (uint32_t i = 0; i < c->experts; i++)
        load[i] += c->view.tokens[i];
}

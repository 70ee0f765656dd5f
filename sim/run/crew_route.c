/* Whose the rows of a pass are, and how many of them go from where to where. */
#include "sim/workload/context.h"
#include "crew_state.h"
#include "sim/base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- forms ---- */

static enum collective_form form_of(const struct crew *c)
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
        return c->p->topology->nodes > 1 && c->p->topology->nvlink ? COLLECTIVE_FORWARD
                                                                   : COLLECTIVE_FLAT;
    return forms[exchange];
}

static uint64_t row_bytes(const struct crew *c, bool fp8)
{
    const struct model *m = c->setup->cost->model;

    return fp8 ? collective_row_bytes(m->hidden, true)
               : (uint64_t)(m->hidden * m->activation_bits / 8.0);
}

static void init_collectives(struct crew *c)
{
    bool fp8 = c->setup->policy->schedule.fp8_dispatch;
    size_t pairs = (size_t)c->gpus * c->gpus;

    collective_count_init(&c->count, c->p->topology);
    c->dispatch = (struct collective){.form = c->form,
                                      .pairs = c->counts_rows ? c->count.distinct
                                                              : c->count.experts,
                                      .nodes = c->counts_rows ? c->count.by_node : NULL,
                                      .unit_bytes = row_bytes(c, fp8)};
    c->combine = c->dispatch;
    c->combine.unit_bytes = row_bytes(c, false);
    c->combine.reverse = true;
    c->exchanged = mem_alloc(pairs, sizeof *c->exchanged);
    for (size_t i = 0; i < pairs; i++)
        c->exchanged[i] = c->local;
    c->exchange = (struct collective){
        .form = COLLECTIVE_FLAT, .pairs = c->exchanged, .unit_bytes = sizeof(uint32_t)};
}

void crew_route_init(struct crew *c)
{
    const struct policy *policy = c->setup->policy;

    c->form = form_of(c);
    c->is_static = policy_gate(policy)->apply != NULL;
    /* Slots of a capacity are sent one by one, whether or not a row is in them. */
    c->counts_rows =
        !c->is_static && (c->form == COLLECTIVE_FORWARD || c->form == COLLECTIVE_NORMAL);
    c->encodes = c->is_static ||
                 (c->form != COLLECTIVE_NORMAL && c->form != COLLECTIVE_LOW_LATENCY);
    c->turn = mem_zalloc((size_t)c->layers * c->experts, sizeof *c->turn);
    c->gpu_of = mem_alloc(c->slots, sizeof *c->gpu_of);
    for (uint32_t s = 0; s < c->slots; s++)
        c->gpu_of[s] = (uint16_t)(s / c->local);
    c->destination = mem_alloc(c->top_k, sizeof *c->destination);
    c->scratch = mem_alloc(c->experts, sizeof *c->scratch);
    c->home = mem_zalloc(workload_request_count(c->setup->workload), sizeof *c->home);
    c->load = mem_alloc(c->experts, sizeof *c->load);
    if (c->place->shards > 1)
        c->by_source = mem_zalloc((size_t)c->gpus * c->experts, sizeof *c->by_source);
    c->rank_bytes = mem_alloc(c->gpus, sizeof *c->rank_bytes);
    c->rows.first = mem_alloc((size_t)c->gpus + 1, sizeof *c->rows.first);
    init_collectives(c);
}

void crew_route_release(struct crew *c)
{
    collective_count_release(&c->count);
    free(c->turn);
    free(c->gpu_of);
    free(c->destination);
    free(c->scratch);
    free(c->home);
    free(c->load);
    free(c->by_source);
    free(c->rank_bytes);
    free(c->exchanged);
    free(c->choice);
    free(c->rows.first);
    free(c->rows.order);
    free(c->rows.row);
}

/* ---- a pass ---- */

/* The attention group that has a row's KV cache. */
static uint32_t home_of(const struct crew *c, const struct view_row *row)
{
    return (row->source != VIEW_NO_SOURCE ? row->source : row->request) % c->attentions;
}

static void make_room(struct crew *c, uint32_t rows)
{
    struct crew_rows *r = &c->rows;

    if (rows <= r->room)
        return;
    r->room = rows + rows / 2;
    r->order = mem_resize(r->order, r->room, sizeof *r->order);
    r->row = mem_resize(r->row, r->room, sizeof *r->row);
    c->choice =
        mem_resize(c->choice, (size_t)r->room * c->layers * c->top_k, sizeof *c->choice);
}

/* A counting sort of the rows by attention group; within a group they are dealt to its
 * GPUs in equal runs. */
static void sort_rows(struct crew *c)
{
    const struct pass *pass = c->pass;
    uint32_t tensor = c->p->tensor;
    uint32_t *first = c->rows.first;

    memset(first, 0, ((size_t)c->gpus + 1) * sizeof *first);
    for (uint32_t i = 0; i < pass->rows; i++)
        first[home_of(c, &pass->row[i]) * tensor + tensor]++;
    for (uint32_t a = 0; a < c->attentions; a++)
        first[(a + 1) * tensor] += first[a * tensor];
    for (uint32_t i = 0; i < pass->rows; i++) {
        uint32_t at = first[home_of(c, &pass->row[i]) * tensor]++;

        c->rows.order[at] = i;
        c->rows.row[at] = pass->row[i];
    }
    /* Each entry has moved on to the next one's start. */
    for (uint32_t a = c->attentions; a > 0; a--)
        first[a * tensor] = first[(a - 1) * tensor];
    first[0] = 0;
    for (uint32_t a = 0; a < c->attentions; a++) {
        uint32_t from = first[a * tensor], count = first[(a + 1) * tensor] - from;

        for (uint32_t i = 1; i < tensor; i++)
            first[a * tensor + i] = from + (uint32_t)((uint64_t)count * i / tensor);
    }
}

/* The choices, layer by layer and in the rows' order, so that a layer's are read in one
 * go. */
static void gather_choices(struct crew *c)
{
    const struct run *run = &c->gpu[0].run;
    size_t stride = (size_t)c->layers * run->candidates;
    size_t layer = (size_t)c->pass->rows * c->top_k;

    for (uint32_t i = 0; i < c->pass->rows; i++) {
        const uint16_t *from = c->pass->expert + c->rows.order[i] * stride;
        uint16_t *to = c->choice + (size_t)i * c->top_k;

        for (uint32_t l = 0; l < c->layers; l++, from += run->candidates, to += layer)
            memcpy(to, from, c->top_k * sizeof *to);
    }
}

/* The rows [from, to) of the order as attention sees them; a request's rows are
 * neighbours. */
static struct cost_batch batch_of(const struct crew *c, uint32_t from, uint32_t to)
{
    uint32_t window = c->setup->cost->model->window;
    struct cost_batch b = {.tokens = to - from};

    for (uint32_t i = from; i < to;) {
        const struct view_row *first = &c->rows.row[i];
        uint32_t last = first->position;

        for (; i < to && c->rows.row[i].request == first->request; i++) {
            context_add_row(&b, c->rows.row[i].position, window);
            last = c->rows.row[i].position;
        }
        context_add_request(&b, first->position, last, window);
    }
    return b;
}

/* A request's output token is where its last row is. */
static void count_outputs(struct crew *c)
{
    const struct pass *pass = c->pass;

    for (uint32_t i = 0; i < pass->rows; i++)
        c->home[pass->row[i].request] = home_of(c, &pass->row[i]);
    for (uint32_t i = 0; i < pass->output_count; i++)
        c->gpu[c->home[pass->output[i]] * c->p->tensor].attention.outputs++;
}

int crew_route_pass(struct crew *c, struct err *e)
{
    uint32_t tensor = c->p->tensor;

    make_room(c, c->pass->rows);
    sort_rows(c);
    gather_choices(c);
    for (uint32_t a = 0; a < c->attentions; a++) {
        struct crew_gpu *g = &c->gpu[a * tensor];

        g->attention =
            batch_of(c, c->rows.first[a * tensor], c->rows.first[(a + 1) * tensor]);
        if (run_check_kv(&g->run, c->pass->index, &g->attention, e) != 0)
            return -1;
    }
    count_outputs(c);
    for (uint32_t i = 0; i < c->gpus; i++) {
        struct crew_gpu *g = &c->gpu[i];

        g->attention = c->gpu[i / tensor * tensor].attention;
        g->own = (struct cost_batch){.tokens = c->rows.first[i + 1] - c->rows.first[i]};
    }
    return 0;
}

/* ---- a layer ---- */

/* The choices of a rank's rows in a layer, (row, k). */
static uint16_t *choices_of(const struct crew *c, uint32_t layer, uint32_t rank)
{
    size_t row = (size_t)layer * c->pass->rows + c->rows.first[rank];

    return c->choice + row * c->top_k;
}

static uint32_t rows_of(const struct crew *c, uint32_t rank)
{
    return c->rows.first[rank + 1] - c->rows.first[rank];
}

/* Lets select and gate rewrite a rank's choices, each rank for itself. */
static struct gate_result rewrite(struct crew *c, uint32_t layer, uint32_t rank)
{
    const struct policy *policy = c->setup->policy;
    uint16_t *choice = choices_of(c, layer, rank);
    struct view v = c->gpu[rank].run.view;

    v.pass = c->pass->index;
    v.layer = layer;
    v.experts = c->experts;
    v.rows = rows_of(c, rank);
    v.row = c->rows.row + c->rows.first[rank];
    v.choice = choice;
    v.choice_stride = c->top_k;
    if (policy_select(policy)->apply != NULL)
        (void)policy_select(policy)->apply(policy->params[SLOT_SELECT], &v, choice);
    if (policy_gate(policy)->apply == NULL)
        return (struct gate_result){0, 0};
    return policy_gate(policy)->apply(policy->params[SLOT_GATE], &v, choice, c->scratch);
}

static uint32_t slot_of(struct crew *c, uint32_t layer, uint32_t expert, uint32_t rank)
{
    const struct place *p = c->place;
    uint64_t *turn = &c->turn[(size_t)layer * c->experts + expert];

    return place_choose(p, (enum place_choice)c->setup->policy->place.replica, layer,
                        expert, rank, (*turn)++, c->setup->seed);
}

/* Counts a rank's rows by slot, by expert, and from GPU to GPU; how many choices. */
static uint64_t count_rank(struct crew *c, uint32_t layer, uint32_t rank)
{
    const uint16_t *choice = choices_of(c, layer, rank);
    const uint16_t *end = choice + (size_t)rows_of(c, rank) * c->top_k;
    const uint32_t *first = c->place->first + (size_t)layer * (c->experts + 1);
    const uint32_t *replica = c->place->replica + (size_t)layer * c->place->slots;
    uint64_t *pairs = c->count.experts + (size_t)rank * c->gpus;
    uint64_t choices = 0;

    for (; choice < end; choice += c->top_k) {
        uint32_t n = 0;

        for (uint32_t k = 0; k < c->top_k; k++) {
            uint32_t expert = choice[k], slot;

            if (expert == VIEW_NO_EXPERT)
                continue;
            slot = first[expert + 1] - first[expert] == 1
                       ? replica[first[expert]]
                       : slot_of(c, layer, expert, rank);
            c->tokens[slot]++;
            c->load[expert]++;
            c->destination[n++] = c->gpu_of[slot];
        }
        choices += n;
        if (c->counts_rows)
            collective_count_add(&c->count, rank, c->destination, n);
        else
            for (uint32_t k = 0; k < n; k++)
                pairs[c->destination[k]]++;
    }
    return choices;
}

/* The same for shards: rows go to all GPUs, and only experts matter. */
static uint64_t count_shards(struct crew *c, uint32_t layer, uint32_t rank)
{
    const uint16_t *choice = choices_of(c, layer, rank);
    const uint16_t *end = choice + (size_t)rows_of(c, rank) * c->top_k;
    uint32_t *by_expert = c->by_source + (size_t)rank * c->experts;
    uint64_t choices = 0;

    memset(by_expert, 0, c->experts * sizeof *by_expert);
    for (; choice < end; choice++) {
        if (*choice == VIEW_NO_EXPERT)
            continue;
        by_expert[*choice]++;
        c->load[*choice]++;
        choices++;
    }
    return choices;
}

/* Static gating: each expert runs on every rank's capacity, and as much is sent. */
static int pad(struct crew *c, uint32_t layer, struct err *e)
{
    const uint16_t *expert = c->place->expert + (size_t)layer * c->place->slots;
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
    memset(c->count.experts, 0, (size_t)c->gpus * c->gpus * sizeof *c->count.experts);
    for (uint32_t s = 0; s < c->slots; s++) {
        c->tokens[s] = 0;
        if (expert[s] == PLACE_EMPTY)
            continue;
        c->tokens[s] = (uint32_t)capacity;
        for (uint32_t rank = 0; rank < c->gpus; rank++)
            c->count.experts[(size_t)rank * c->gpus + c->gpu_of[s]] +=
                c->gpu[rank].dispatch.capacity;
    }
    return 0;
}

/* Which experts each run has work for. */
static void list_active(struct crew *c, uint32_t layer)
{
    const uint16_t *expert = c->place->expert + (size_t)layer * c->place->slots;
    bool empty = c->setup->policy->schedule.empty;
    bool shards = c->place->shards > 1;

    for (uint32_t g = 0; g < c->gpus; g++) {
        struct run *run = &c->gpu[g].run;
        uint32_t from = g * c->local;

        run->layer = layer;
        run->active_count = 0;
        for (uint32_t j = 0; j < c->local; j++) {
            run->tokens[j] = shards ? (uint32_t)c->load[j] : c->tokens[from + j];
            if (run->tokens[j] > 0 || (empty && expert[from + j] != PLACE_EMPTY))
                run->active[run->active_count++] = (uint16_t)j;
        }
    }
}

/* What the layer's activations take on a GPU that runs experts on so many rows. */
static void book_activations(struct crew *c, const struct crew_gpu *g, uint64_t rows)
{
    uint64_t at_once = rows, bytes;
    struct activation a;

    for (uint32_t j = 0; g->run.piece != NULL && j < c->local; j++)
        at_once = j == 0 || g->run.tokens[j] > at_once ? g->run.tokens[j] : at_once;
    a = activation_count(c->setup->cost->model, &g->dispatch, rows, at_once);
    bytes = activation_peak(&a);
    if (bytes > c->result->activation_bytes)
        c->result->activation_bytes = bytes;
}

/* What the layer's rows are in the books. */
static void book_rows(struct crew *c, uint32_t layer, uint64_t choices)
{
    struct run_counts *books = &c->books.counts;
    struct run_counts *of_layer = &c->result->layer[layer].counts;
    struct run_counts now = {.activations = choices};

    for (uint32_t g = 0; g < c->gpus; g++) {
        const struct run *run = &c->gpu[g].run;
        uint64_t rows = 0;

        for (uint32_t j = 0; j < c->local; j++)
            rows += run->tokens[j];
        now.computed_rows += rows;
        now.busiest_rows = rows > now.busiest_rows ? rows : now.busiest_rows;
        now.dropped += c->gpu[g].dispatch.dropped;
        c->result->gpu_rows[g] += rows;
        book_activations(c, &c->gpu[g], rows);
    }
    if (c->place->shards == 1) {
        const uint64_t *pairs = c->dispatch.pairs;

        for (uint32_t from = 0; from < c->gpus; from++)
            for (uint32_t to = 0; to < c->gpus; to++)
                now.sent_rows += from == to ? 0 : pairs[(size_t)from * c->gpus + to];
        now.sent_bytes = now.sent_rows * (c->dispatch.unit_bytes + c->combine.unit_bytes);
    } else {
        now.sent_rows = (uint64_t)c->pass->rows * (c->gpus - 1);
        now.sent_bytes =
            2 * now.sent_rows * c->combine.unit_bytes +
            (uint64_t)c->gpus * (c->gpus - 1) * c->experts * sizeof(uint32_t);
    }
    books_add(books, &now);
    books_add(of_layer, &now);
}

static void remember_load(struct crew *c, uint32_t layer)
{
    uint32_t *seen;

    if (c->window == NULL)
        return;
    seen = place_window_pass(c->window) + (size_t)layer * c->experts;
    for (uint32_t i = 0; i < c->experts; i++)
        seen[i] += (uint32_t)c->load[i];
}

int crew_route_layer(struct crew *c, uint32_t layer, struct err *e)
{
    bool sharded = c->place->shards > 1;
    bool reroutes = c->gpu[0].run.reroutes;
    const struct gate_type *gate_type = policy_gate(c->setup->policy);
    uint64_t choices = 0;

    memset(c->load, 0, c->experts * sizeof *c->load);
    memset(c->tokens, 0, c->slots * sizeof *c->tokens);
    collective_count_reset(&c->count);
    for (uint32_t rank = 0; rank < c->gpus; rank++) {
        struct gate_result gate = {0, 0};

        if (reroutes)
            gate = rewrite(c, layer, rank);
        c->gpu[rank].dispatch = (struct cost_dispatch){
            .rows = rows_of(c, rank),
            .top_k = c->top_k,
            .experts = c->experts,
            .capacity = gate.capacity,
            .dense = gate_type->is_dense != NULL &&
                     gate_type->is_dense(c->setup->policy->params[SLOT_GATE]),
            .dropped = gate.dropped,
            .gate_bits = 32, /* fairseq's gate computes in fp32 */
        };
        choices += sharded ? count_shards(c, layer, rank) : count_rank(c, layer, rank);
    }
    if (c->is_static && pad(c, layer, e) != 0)
        return -1;
    list_active(c, layer);
    book_rows(c, layer, choices);
    remember_load(c, layer);
    return 0;
}

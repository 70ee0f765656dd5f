/* A layer's rows over several GPUs: who chose which experts, how many go from where to
 * where, and what of it each GPU runs. */
#include "run_state.h"

#include <string.h>

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
        seen[i] += c->spread->tokens[i];
}

/* The layer as a predictor sees it; where a gate pads, every expert has its capacity. */
static void show_predictor(struct runner *c, uint32_t layer)
{
    struct spread *s = c->spread;
    struct view *v = &c->view;
    uint32_t capacity = 0;

    *v = see(c, layer, 0, c->pass->rows);
    v->tokens = c->pads ? c->scratch : s->tokens;
    v->load = c->load;
    v->active = s->active;
    v->active_count = 0;
    for (uint32_t i = 0; c->pads && i < c->gpus; i++)
        capacity += (uint32_t)c->gpu[i].dispatch.capacity;
    for (uint32_t i = 0; i < c->experts; i++) {
        if (c->pads)
            c->scratch[i] = capacity;
        if (v->tokens[i] > 0)
            s->active[v->active_count++] = (uint16_t)i;
    }
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

    memcpy(s->tokens, s->part->of_expert, c->experts * sizeof *s->tokens);
    for (uint32_t p = 1; p < s->program.parts; p++)
        for (uint32_t i = 0; i < c->experts; i++)
            s->tokens[i] += s->part[p].of_expert[i];
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

/* A layer's rows over several GPUs: who chose which experts, how many go from where to
 * where, and what of it each GPU runs. */
#include "run_state.h"

#include <string.h>

/* Rows [from, to) of the order that a pass's rows are in. */
struct rows {
    uint32_t from, to;
};

static struct rows batch_rows(const struct runner *c, uint32_t rank, uint32_t batch)
{
    const uint32_t *first = c->spread->rows.first + spread_run(c->spread, rank, batch);

    return (struct rows){first[0], first[1]};
}

/* Of a part, which is a batch or a piece of the only one. */
static struct rows part_rows(const struct runner *c, uint32_t rank, uint32_t part)
{
    uint32_t parts = c->spread->program.parts;
    struct rows all;
    uint64_t count;

    if (c->spread->program.batches == parts)
        return batch_rows(c, rank, part);
    all = batch_rows(c, rank, 0);
    count = all.to - all.from;
    return (struct rows){all.from + (uint32_t)(count * part / parts),
                         all.from + (uint32_t)(count * (part + 1) / parts)};
}

/* The choices of a row in a layer, [k]; those of the next row follow. */
static uint16_t *choices_of(const struct runner *c, uint32_t layer, uint32_t row)
{
    return c->spread->rows.choice + ((size_t)layer * c->pass->rows + row) * c->top_k;
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
    if (c->selecting.chooses || c->lowers) {
        v.score = rows->score + at * c->candidates;
        v.candidate = rows->candidate + at * c->candidates;
    }
    v.score_stride = c->candidates;
    v.candidate_stride = c->candidates;
    if (c->pass->predicted != NULL)
        v.predicted = rows->predicted + at * c->predicted;
    v.predicted_stride = c->predicted;
    return v;
}

/* Lets the select choose for all rows of the batch together, whichever their rank: a
 * GPU's experts run on the rows of all. */
static void choose(struct runner *c, uint32_t layer, uint32_t batch)
{
    const size_t width = c->top_k;
    struct view v;
    const uint16_t *choice;

    if (!c->selecting.chooses)
        return;
    v = see(c, layer, 0, c->pass->rows);
    if (c->spread->program.batches == 1) {
        selecting_apply(c, &v, choices_of(c, layer, 0));
        return;
    }
    for (uint32_t rank = 0; rank < c->gpus; rank++) {
        struct rows rows = batch_rows(c, rank, batch);

        v = see(c, layer, rows.from, rows.to - rows.from);
        selecting_collect(c, &v);
    }
    choice = selecting_apply_collected(c, &v);
    for (uint32_t rank = 0; rank < c->gpus; rank++) {
        struct rows rows = batch_rows(c, rank, batch);
        size_t count = (rows.to - rows.from) * width;

        memcpy(choices_of(c, layer, rows.from), choice, count * sizeof *choice);
        choice += count;
    }
}

/* Lets the gate rewrite choices, of each rank and batch for itself. */
static struct gate_result rewrite(struct runner *c, uint32_t layer, struct rows rows)
{
    const struct policy *policy = c->setup->policy;
    uint16_t *choice = choices_of(c, layer, rows.from);
    struct view v = see(c, layer, rows.from, rows.to - rows.from);

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

/* Counts a part of a rank's rows by slot, by expert, and from GPU to GPU; how many
 * choices. */
static inline __attribute__((always_inline)) uint64_t
count_choices(struct runner *c, uint32_t layer, uint32_t rank, uint32_t part,
              bool by_rows, uint64_t *last)
{
    struct spread *s = c->spread;
    struct spread_part *to_part = &s->part[part];
    struct rows rows = part_rows(c, rank, part);
    const uint16_t *choice = choices_of(c, layer, rows.from), *gpu_of = s->gpu_of;
    const uint16_t *end = choice + (size_t)(rows.to - rows.from) * c->top_k;
    const uint32_t *first = s->place->first + (size_t)layer * (c->experts + 1);
    const uint32_t *replica = s->place->replica + (size_t)layer * s->slots;
    uint32_t *of_slot = to_part->tokens, *of_expert = to_part->of_expert;
    uint64_t *pairs = to_part->count.experts + (size_t)rank * c->gpus;
    uint64_t choices = 0;
    uint32_t *to = s->destination, top_k = c->top_k;

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
            if (by_rows)
                to[n] = gpu_of[slot];
            else
                pairs[gpu_of[slot]]++;
            n++;
            if (last != NULL)
                last[slot] = ++s->chosen;
        }
        choices += n;
        if (by_rows)
            collective_count_add(&to_part->count, rank, to, n);
    }
    return choices;
}

/* Most runs count experts alone, and do not ask which row came last. */
static uint64_t count_rank(struct runner *c, uint32_t layer, uint32_t rank, uint32_t part)
{
    bool by_rows = c->spread->counts_rows;
    uint64_t *last = c->spread->part[part].last_row;

    if (!by_rows && last == NULL)
        return count_choices(c, layer, rank, part, false, NULL);
    return count_choices(c, layer, rank, part, by_rows, last);
}

/* The same for shards: rows go to all GPUs, and only experts matter. */
static uint64_t count_shards(struct runner *c, uint32_t layer, uint32_t rank)
{
    struct spread *s = c->spread;
    struct rows rows = part_rows(c, rank, 0);
    const uint16_t *choice = choices_of(c, layer, rows.from);
    const uint16_t *end = choice + (size_t)(rows.to - rows.from) * c->top_k;
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

/* Rows of every expert that a rank's part is padded to: its batch's capacity, or a share
 * of it. */
static uint32_t capacity_of(const struct runner *c, uint32_t rank, uint32_t part)
{
    uint32_t parts = c->spread->program.parts;
    uint64_t capacity;

    if (c->spread->program.batches > 1)
        return (uint32_t)c->gpu[rank].dispatch[part].capacity;
    capacity = c->gpu[rank].dispatch->capacity;
    return (uint32_t)(capacity * (part + 1) / parts - capacity * part / parts);
}

static void pad_part(struct runner *c, const uint16_t *expert, uint32_t part)
{
    struct spread *s = c->spread;
    uint64_t *pairs = s->part[part].count.experts;
    uint32_t all = 0;

    memset(pairs, 0, (size_t)c->gpus * c->gpus * sizeof *pairs);
    for (uint32_t rank = 0; rank < c->gpus; rank++)
        all += capacity_of(c, rank, part);
    for (uint32_t i = 0; i < s->slots; i++) {
        s->part[part].tokens[i] = expert[i] == PLACE_EMPTY ? 0 : all;
        for (uint32_t rank = 0; expert[i] != PLACE_EMPTY && rank < c->gpus; rank++)
            pairs[(size_t)rank * c->gpus + s->gpu_of[i]] += capacity_of(c, rank, part);
    }
}

/* Static gating: each expert runs on every rank's capacity, and as much is sent. */
static int pad(struct runner *c, uint32_t layer, uint32_t batch, struct err *e)
{
    const struct spread *s = c->spread;
    uint64_t capacity = 0;

    for (uint32_t rank = 0; rank < c->gpus; rank++)
        for (uint32_t b = 0; b <= batch; b++)
            capacity += c->gpu[rank].dispatch[b].capacity;
    if (capacity > UINT32_MAX)
        return err_set_key(
            e, "gate.cf",
            "policy '%s': gate: %s gives every expert %llu rows, more than %u; "
            "choose a smaller cf",
            c->setup->policy->label, c->setup->policy->plugin[SLOT_GATE]->name,
            (unsigned long long)capacity, UINT32_MAX);
    for (uint32_t part = 0; part < s->program.parts; part++)
        if (s->program.batches == 1 || part == batch)
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
        step->books = &c->result->layer[layer];
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

/* Rows that a GPU's experts run on, and the most of one expert. */
struct load {
    uint64_t rows, most;
};

static inline struct load load_of(const struct runner *c, uint32_t gpu, uint32_t part)
{
    const struct spread *s = c->spread;
    const struct spread_part *p = &s->part[part];
    const uint32_t *of =
        s->place->shards > 1 ? p->of_expert : p->tokens + (size_t)gpu * s->local;
    struct load load = {0, 0};

    for (uint32_t j = 0; j < s->local; j++) {
        load.rows += of[j];
        load.most = of[j] > load.most ? of[j] : load.most;
    }
    return load;
}

/* Adds the other parts to the first one's load and activations: parts of one batch pass
 * through the same buffers, batches have their own. */
static void add_parts(const struct runner *c, uint32_t gpu, struct load *all,
                      uint64_t *bytes)
{
    const struct program *p = &c->spread->program;

    for (uint32_t part = 1; part < p->parts; part++) {
        struct load one = load_of(c, gpu, part);

        if (p->batches > 1)
            *bytes += routing_activations(c, &c->gpu[gpu], part, one.rows, one.most);
        all->rows += one.rows;
        all->most = one.most > all->most ? one.most : all->most;
    }
    if (p->batches == 1)
        *bytes = routing_activations(c, &c->gpu[gpu], 0, all->rows, all->most);
}

/* Books what the layer takes on a GPU; returns the rows that its experts run on. */
static inline uint64_t book_gpu(struct runner *c, uint32_t gpu)
{
    struct load all = load_of(c, gpu, 0);
    struct gpu *g = &c->gpu[gpu];
    uint64_t bytes = routing_activations(c, g, 0, all.rows, all.most);

    if (c->spread->program.parts > 1)
        add_parts(c, gpu, &all, &bytes);
    if (bytes > g->activation_bytes)
        g->activation_bytes = bytes;
    c->result->gpu_rows[gpu] += all.rows;
    return all.rows;
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
static void book_rows(struct runner *c, uint32_t layer)
{
    const struct spread *s = c->spread;
    struct run_counts now = {.activations = s->choices};

    for (uint32_t i = 0; i < c->gpus; i++) {
        uint64_t rows = book_gpu(c, i);

        now.computed_rows += rows;
        now.busiest_rows = rows > now.busiest_rows ? rows : now.busiest_rows;
        for (uint32_t b = 0; b < s->program.batches; b++)
            now.dropped += c->gpu[i].dispatch[b].dropped;
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
        for (uint32_t p = 0; p < s->program.parts; p++)
            capacity += capacity_of(c, i, p);
    for (uint32_t i = 0; i < c->experts; i++) {
        if (c->pads)
            c->scratch[i] = capacity;
        if (v->tokens[i] > 0 || c->setup->policy->schedule.empty)
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

/* All batches are counted. */
static void end_layer(struct runner *c, uint32_t layer)
{
    sum_parts(c);
    book_rows(c, layer);
    remember_load(c, layer);
    if (c->shows)
        show_predictor(c, layer);
}

int routing_spread_batch(struct runner *c, uint32_t layer, uint32_t batch, struct err *e)
{
    struct spread *s = c->spread;
    bool one = s->program.batches == 1;
    uint32_t from = one ? 0 : batch, to = one ? s->program.parts : batch + 1;

    for (uint32_t p = from; p < to; p++)
        clear_part(c, &s->part[p]);
    if (batch == 0)
        s->choices = 0;
    choose(c, layer, batch);
    for (uint32_t rank = 0; rank < c->gpus; rank++) {
        struct rows rows = batch_rows(c, rank, batch);
        struct gate_result gate = {0, 0};

        if (c->reroutes)
            gate = rewrite(c, layer, rows);
        c->gpu[rank].dispatch[batch] = routing_dispatch(c, rows.to - rows.from, gate);
        if (s->place->shards > 1)
            s->choices += count_shards(c, layer, rank);
        else
            for (uint32_t p = from; p < to; p++)
                s->choices += count_rank(c, layer, rank, p);
    }
    if (c->pads && pad(c, layer, batch, e) != 0)
        return -1;
    if (batch + 1 == s->program.batches)
        end_layer(c, layer);
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

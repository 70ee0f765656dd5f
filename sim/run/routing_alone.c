/* A layer's routing where a GPU may hold every expert: which are active, and in which
 * order they are accessed. */
#include "run_state.h"

#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

static uint32_t see_future(const struct view_future *context, uint32_t ahead,
                           const uint32_t **expert)
{
    const struct future_reader *reader = (const void *)context;
    struct future_step step = future_reader_peek(reader, ahead);

    *expert = step.active;
    return step.count;
}

void routing_alone_init(struct runner *c)
{
    c->mask_words = (c->experts + 63) / 64;
    c->mask = mem_zalloc(c->mask_words, sizeof *c->mask);
    if (c->setup->policy->cache.order == CACHE_ORDER_RECORDED)
        c->waits = mem_zalloc(c->experts, sizeof *c->waits);
    c->encodes = c->pads;
    if (c->setup->future != NULL) {
        c->view.future = see_future;
        c->view.future_context = (const void *)c->setup->future;
    }
}

void routing_alone_release(struct runner *c)
{
    free(c->mask);
    free(c->own_choice);
    free(c->waits);
}

/* What gate, select, offload and prefetch see of the layer. */
static void see(struct runner *c)
{
    const struct pass *p = c->pass;
    const struct step *step = &c->gpu->step;
    struct view *v = &c->view;

    v->pass = p->index;
    v->layer = step->layer;
    v->rows = p->rows;
    v->row = p->row;
    v->choice = step->routing.choice;
    v->choice_stride = step->routing.stride;
    v->score = p->score == NULL ? NULL : p->score + (size_t)step->layer * c->candidates;
    v->score_stride = (size_t)c->layers * c->candidates;
    v->candidate = p->expert + (size_t)step->layer * c->candidates;
    v->candidate_stride = v->score_stride;
    v->predicted =
        p->predicted == NULL ? NULL : p->predicted + (size_t)step->layer * c->predicted;
    v->predicted_stride = (size_t)c->layers * c->predicted;
    v->active = step->active;
    v->active_count = step->active_count;
    v->tokens = step->tokens;
    v->load = c->load;
    v->cache = c->gpu->residency.cache;
}

/* A gate or select rewrites choices: give it a contiguous copy of its own. */
static uint16_t *copy_choices(struct runner *c)
{
    struct step *step = &c->gpu->step;
    const struct pass *p = c->pass;
    const uint16_t *from = p->expert + (size_t)step->layer * c->candidates;
    size_t stride = (size_t)c->layers * c->candidates;

    if (p->rows > c->own_choice_rows) {
        c->own_choice_rows = p->rows;
        c->own_choice =
            mem_resize(c->own_choice, (size_t)p->rows * c->top_k, sizeof *c->own_choice);
    }
    for (uint32_t row = 0; row < p->rows; row++)
        memcpy(c->own_choice + (size_t)row * c->top_k, from + row * stride,
               c->top_k * sizeof *from);
    return c->own_choice;
}

struct cost_dispatch routing_dispatch(const struct runner *c, uint32_t rows,
                                      struct gate_result gate)
{
    const struct gate_type *type = policy_gate(c->setup->policy);

    return (struct cost_dispatch){
        .rows = rows,
        .top_k = c->top_k,
        .experts = c->experts,
        .capacity = gate.capacity,
        .dense =
            type->is_dense != NULL && type->is_dense(c->setup->policy->params[SLOT_GATE]),
        .dropped = gate.dropped,
        .gate_bits = 32, /* fairseq's gate computes in fp32 */
    };
}

static uint32_t rewrite_choices(struct runner *c)
{
    struct step *step = &c->gpu->step;
    const struct policy *policy = c->setup->policy;
    uint16_t *choice = copy_choices(c);
    struct gate_result gate = {0, 0};

    step->routing.choice = choice;
    see(c);
    selecting_apply(c, &c->view, choice);
    if (policy_gate(policy)->apply != NULL)
        gate = policy_gate(policy)->apply(policy->params[SLOT_GATE], &c->view, choice,
                                          c->scratch);
    c->gpu->dispatch[0] = routing_dispatch(c, c->pass->rows, gate);
    c->gpu->counts.dropped += gate.dropped;
    step->books->counts.dropped += gate.dropped;
    return gate.capacity;
}

/* Enters the choices of all rows in mask and tokens; how many they are. */
static uint64_t mark_rows(struct runner *c)
{
    struct step *step = &c->gpu->step;
    uint64_t activations = 0;

    for (uint32_t row = 0; row < c->pass->rows; row++) {
        const uint16_t *choice = step->routing.choice + row * step->routing.stride;

        for (uint32_t k = 0; k < c->top_k; k++) {
            uint32_t id = choice[k];

            if (id == VIEW_NO_EXPERT)
                continue;
            c->mask[id >> 6] |= UINT64_C(1) << (id & 63);
            step->tokens[id]++;
            activations++;
        }
    }
    return activations;
}

/* The same for up to 64 experts, with the mask in a register; without a loop over the
 * choices where `top_k` is a constant. */
static inline uint64_t mark_narrow(struct runner *c, uint32_t top_k)
{
    struct step *step = &c->gpu->step;
    const uint16_t *choice = step->routing.choice;
    uint32_t *tokens = step->tokens;
    uint32_t rows = c->pass->rows;
    size_t stride = step->routing.stride;
    uint64_t mask = 0, left_out = 0;

    for (uint32_t row = 0; row < rows; row++, choice += stride) {
        for (uint32_t k = 0; k < top_k; k++) {
            if (choice[k] == VIEW_NO_EXPERT) {
                left_out++;
                continue;
            }
            mask |= UINT64_C(1) << choice[k];
            tokens[choice[k]]++;
        }
    }
    c->mask[0] = mask;
    return (uint64_t)rows * top_k - left_out;
}

static uint64_t mark(struct runner *c)
{
    if (c->mask_words > 1)
        return mark_rows(c);
    switch (c->top_k) {
    case 4:
        return mark_narrow(c, 4);
    case 8:
        return mark_narrow(c, 8);
    default:
        return mark_narrow(c, c->top_k);
    }
}

/* Ascending ids of the experts in a word of the mask; returns behind the last. */
static inline uint16_t *list_word(uint64_t bits, uint32_t first, uint16_t *active)
{
    for (; bits != 0; bits &= bits - 1)
        *active++ = (uint16_t)(first + (uint32_t)__builtin_ctzll(bits));
    return active;
}

/* ... in the whole mask, which it clears. */
static void list_active(struct runner *c)
{
    struct step *step = &c->gpu->step;
    uint16_t *end = list_word(c->mask[0], 0, step->active);

    c->mask[0] = 0;
    for (uint32_t w = 1; w < c->mask_words; w++) {
        end = list_word(c->mask[w], w * 64, end);
        c->mask[w] = 0;
    }
    step->active_count = (uint32_t)(end - step->active);
}

/* Every expert runs: on its rows, or, where a gate pads them, on its whole capacity.
 * Returns the rows of all. */
static uint64_t list_all(struct runner *c, uint32_t capacity, uint64_t activations)
{
    struct step *step = &c->gpu->step;

    step->active_count = c->experts;
    for (uint32_t i = 0; i < c->experts; i++) {
        step->active[i] = (uint16_t)i;
        if (capacity > 0)
            step->tokens[i] = capacity;
    }
    return capacity > 0 ? (uint64_t)capacity * c->experts : activations;
}

/* Fills `turn`: the active experts by their last use, found by walking the choices
 * backwards. Experts without a row (a gate that pads every expert) come first. */
static void order_accesses(struct runner *c)
{
    struct step *step = &c->gpu->step;
    uint32_t left = step->active_count;

    for (uint32_t i = 0; i < step->active_count; i++)
        c->waits[step->active[i]] = true;
    for (uint32_t row = c->pass->rows; row-- > 0;) {
        const uint16_t *choice = step->routing.choice + row * step->routing.stride;

        for (uint32_t k = c->top_k; k-- > 0;) {
            uint32_t id = choice[k];

            if (id == VIEW_NO_EXPERT || !c->waits[id])
                continue;
            step->turn[--left] = (uint16_t)id;
            c->waits[id] = false;
        }
    }
    for (uint32_t i = step->active_count; i-- > 0;) {
        if (c->waits[step->active[i]]) {
            step->turn[--left] = step->active[i];
            c->waits[step->active[i]] = false;
        }
    }
}

void routing_alone_pass(struct runner *c)
{
    struct step *step = &c->gpu->step;

    step->single = c->pass->rows == 1 && !c->reroutes && !c->runs_all && !c->lowers;
    step->routing.rows = c->pass->rows;
    step->routing.stride = c->reroutes ? c->top_k : (size_t)c->layers * c->candidates;
    c->most_rows = 0;
    if (step->piece == NULL)
        return;
    c->gpu->activation_bytes = 0;
    if (!c->reroutes)
        c->gpu->dispatch[0] =
            routing_dispatch(c, c->pass->rows, (struct gate_result){0, 0});
}

void routing_alone_activations(struct runner *c)
{
    struct gpu *g = c->gpu;

    if (g->step.piece != NULL || c->setup->dense)
        return; /* layer by layer, since they depend on the busiest expert; or none */
    if (routing_alone_is_known(c))
        return;
    if (!c->reroutes)
        g->dispatch[0] = routing_dispatch(c, c->pass->rows, (struct gate_result){0, 0});
    g->activation_bytes = routing_activations(c, g, 0, c->most_rows, c->most_rows);
    c->known_rows = c->most_rows;
}

/* One by one, experts take the room of the busiest. */
static void book_one_by_one(struct runner *c, uint64_t rows)
{
    struct gpu *g = c->gpu;
    uint32_t most = 0;
    uint64_t bytes;

    for (uint32_t i = 0; i < g->step.active_count; i++) {
        uint32_t tokens = g->step.tokens[g->step.active[i]];

        most = tokens > most ? tokens : most;
    }
    bytes = routing_activations(c, g, 0, rows, most);
    if (bytes > g->activation_bytes)
        g->activation_bytes = bytes;
}

void routing_alone_layer(struct runner *c, uint32_t layer)
{
    struct step *step = &c->gpu->step;
    const struct pass *p = c->pass;
    uint64_t activations;
    uint32_t capacity = 0;

    step->layer = layer;
    step->books = &c->result->layer[layer];
    step->routing.choice = p->expert + (size_t)layer * c->candidates;
    if (c->reroutes)
        capacity = rewrite_choices(c);
    activations = mark(c);
    c->gpu->counts.activations += activations;
    step->books->counts.activations += activations;
    list_active(c);
    if (c->runs_all)
        activations = list_all(c, capacity, activations);
    if (activations > c->most_rows)
        c->most_rows = activations;
    if (step->piece != NULL)
        book_one_by_one(c, activations);
    if (c->waits != NULL)
        order_accesses(c);
    if (c->shows)
        see(c);
}

/* A step's routing: what the rows choose, by which experts are active and in which order
 * they are accessed. */
#include "run_state.h"

#include "sim/base/mem.h"

#include <string.h>

void step_view(struct run *r)
{
    const struct pass *p = r->pass;
    struct view *v = &r->view;
    size_t at = (size_t)r->layer * r->candidates;

    v->pass = p->index;
    v->layer = r->layer;
    v->rows = p->rows;
    v->row = p->row;
    v->choice = r->routing.choice;
    v->choice_stride = r->routing.stride;
    v->score = p->score == NULL ? NULL : p->score + at;
    v->score_stride = (size_t)r->layers * r->candidates;
    v->predicted =
        p->predicted == NULL ? NULL : p->predicted + (size_t)r->layer * r->predicted;
    v->predicted_stride = (size_t)r->layers * r->predicted;
    v->predicted_width = r->predicted;
    v->active = r->active;
    v->active_count = r->active_count;
    v->tokens = r->tokens;
    v->load = r->load;
    v->cache = r->cache;
}

/* A gate or select rewrites choices: give it a contiguous copy of its own. */
static uint16_t *copy_choices(struct run *r)
{
    const struct pass *p = r->pass;
    const uint16_t *from = p->expert + (size_t)r->layer * r->candidates;
    size_t stride = (size_t)r->layers * r->candidates;

    if (p->rows > r->own_choice_rows) {
        r->own_choice_rows = p->rows;
        r->own_choice =
            mem_resize(r->own_choice, (size_t)p->rows * r->top_k, sizeof *r->own_choice);
    }
    for (uint32_t row = 0; row < p->rows; row++)
        memcpy(r->own_choice + (size_t)row * r->top_k, from + row * stride,
               r->top_k * sizeof *from);
    return r->own_choice;
}

static uint32_t rewrite_choices(struct run *r)
{
    const struct policy *policy = r->setup->policy;
    uint16_t *choice = copy_choices(r);
    struct gate_result gate = {0, 0};

    r->routing.choice = choice;
    r->routing.stride = r->top_k;
    step_view(r);
    if (policy_select(policy)->apply != NULL)
        (void)policy_select(policy)->apply(policy->params[SLOT_SELECT], &r->view, choice);
    if (policy_gate(policy)->apply != NULL)
        gate = policy_gate(policy)->apply(policy->params[SLOT_GATE], &r->view, choice,
                                          r->scratch);
    r->books.counts.dropped += gate.dropped;
    r->result->layer[r->layer].counts.dropped += gate.dropped;
    return gate.capacity;
}

/* Enters the choices of all rows in mask and tokens; how many they are. */
static uint64_t mark_rows(struct run *r)
{
    uint64_t activations = 0;

    for (uint32_t row = 0; row < r->pass->rows; row++) {
        const uint16_t *choice = r->routing.choice + row * r->routing.stride;

        for (uint32_t k = 0; k < r->top_k; k++) {
            uint32_t id = choice[k];

            if (id == VIEW_NO_EXPERT)
                continue;
            r->mask[id >> 6] |= UINT64_C(1) << (id & 63);
            r->tokens[id]++;
            activations++;
        }
    }
    return activations;
}

/* The same for up to 64 experts, with the mask in a register; without a loop over the
 * choices where `top_k` is a constant. */
static inline uint64_t mark_narrow(struct run *r, uint32_t top_k)
{
    const uint16_t *choice = r->routing.choice;
    uint32_t *tokens = r->tokens;
    uint32_t rows = r->pass->rows;
    size_t stride = r->routing.stride;
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
    r->mask[0] = mask;
    return (uint64_t)rows * top_k - left_out;
}

static uint64_t mark(struct run *r)
{
    if (r->mask_words > 1)
        return mark_rows(r);
    switch (r->top_k) {
    case 4:
        return mark_narrow(r, 4);
    case 8:
        return mark_narrow(r, 8);
    default:
        return mark_narrow(r, r->top_k);
    }
}

/* Ascending ids of the experts in the mask, which it clears. */
static void list_active(struct run *r)
{
    uint16_t *active = r->active;
    uint32_t count = 0;

    for (uint32_t w = 0; w < r->mask_words; w++) {
        uint64_t bits = r->mask[w];

        r->mask[w] = 0;
        for (; bits != 0; bits &= bits - 1)
            active[count++] = (uint16_t)(w * 64 + (uint32_t)__builtin_ctzll(bits));
    }
    r->active_count = count;
}

/* Fills `turn`: the active experts by their last use, found by walking the choices
 * backwards. Experts without a row (a gate that pads every expert) come first. */
static void order_accesses(struct run *r)
{
    uint32_t left = r->active_count;

    for (uint32_t i = 0; i < r->active_count; i++)
        r->waits[r->active[i]] = true;
    for (uint32_t row = r->pass->rows; row-- > 0;) {
        const uint16_t *choice = r->routing.choice + row * r->routing.stride;

        for (uint32_t k = r->top_k; k-- > 0;) {
            uint32_t id = choice[k];

            if (id == VIEW_NO_EXPERT || !r->waits[id])
                continue;
            r->turn[--left] = (uint16_t)id;
            r->waits[id] = false;
        }
    }
    for (uint32_t i = r->active_count; i-- > 0;) {
        if (r->waits[r->active[i]]) {
            r->turn[--left] = r->active[i];
            r->waits[r->active[i]] = false;
        }
    }
}

void step_route(struct run *r, uint32_t layer)
{
    const struct pass *p = r->pass;
    uint64_t activations;
    uint32_t capacity = 0;

    r->layer = layer;
    r->single = p->rows == 1 && !r->reroutes;
    r->routing.choice = p->expert + (size_t)layer * r->candidates;
    r->routing.stride = (size_t)r->layers * r->candidates;
    r->routing.rows = p->rows;
    if (r->reroutes)
        capacity = rewrite_choices(r);
    activations = mark(r);
    r->books.counts.activations += activations;
    r->result->layer[layer].counts.activations += activations;
    list_active(r);
    if (capacity > 0) { /* static gating: every expert computes its whole capacity */
        r->active_count = r->experts;
        for (uint32_t i = 0; i < r->experts; i++) {
            r->active[i] = (uint16_t)i;
            r->tokens[i] = capacity;
        }
    }
    if (r->waits != NULL)
        order_accesses(r);
}

static void clear_tokens(uint32_t *tokens, const uint16_t *active, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        tokens[active[i]] = 0;
}

void step_clear(struct run *r)
{
    if (r->load != NULL) {
        uint64_t *load = r->load + (size_t)r->layer * r->experts;

        for (uint32_t i = 0; i < r->active_count; i++)
            load[r->active[i]] += r->tokens[r->active[i]];
    }
    clear_tokens(r->tokens, r->active, r->active_count);
}

/* The select slot: which experts the rows of a layer may use. */
#include "run_state.h"

#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

void selecting_init(struct runner *c)
{
    struct selecting *s = &c->selecting;
    const struct policy *policy = c->setup->policy;
    struct policy_shape shape = run_shape(c);

    s->type = policy_select(policy);
    s->params = policy->params[SLOT_SELECT];
    s->phases = (enum select_phases)policy->select.phases;
    if (s->type->state_size == NULL)
        return;
    s->state = mem_zalloc(1, s->type->state_size(&shape, s->params));
    s->type->init(s->state, &shape, s->params);
}

void selecting_release(struct selecting *s)
{
    free(s->state);
    free(s->row);
    free(s->candidate);
    free(s->choice);
    free(s->score);
    select_room_release(&s->room);
}

void selecting_begin_pass(struct runner *c)
{
    struct selecting *s = &c->selecting;

    if (s->type->apply != NULL)
        s->chooses = select_chooses(s->type, s->phases, c->pass->row, c->pass->rows);
}

void selecting_apply(struct runner *c, const struct view *v, uint16_t *choice)
{
    struct selecting *s = &c->selecting;

    if (s->chooses)
        select_apply(s->type, s->params, s->state, v, &s->room, choice,
                     &c->result->layer[v->layer].quality);
}

static void make_room(struct selecting *s, const struct runner *c)
{
    size_t cells;

    if (s->most >= c->pass->rows)
        return;
    s->most = c->pass->rows;
    cells = s->most * c->candidates;
    s->row = mem_resize(s->row, s->most, sizeof *s->row);
    s->choice = mem_resize(s->choice, s->most * c->top_k, sizeof *s->choice);
    s->candidate = mem_resize(s->candidate, cells, sizeof *s->candidate);
    s->score = mem_resize(s->score, cells, sizeof *s->score);
}

void selecting_collect(struct runner *c, const struct view *v)
{
    struct selecting *s = &c->selecting;
    size_t width = c->candidates, at = s->rows, rows = v->rows;

    make_room(s, c);
    memcpy(s->row + at, v->row, rows * sizeof *s->row);
    memcpy(s->choice + at * c->top_k, v->choice, rows * c->top_k * sizeof *s->choice);
    memcpy(s->candidate + at * width, v->candidate, rows * width * sizeof *s->candidate);
    memcpy(s->score + at * width, v->score, rows * width * sizeof *s->score);
    s->rows += v->rows;
}

const uint16_t *selecting_apply_collected(struct runner *c, const struct view *v)
{
    struct selecting *s = &c->selecting;
    struct view all = *v;

    all.rows = s->rows;
    all.row = s->row;
    all.choice = s->choice;
    all.candidate = s->candidate;
    all.score = s->score;
    s->rows = 0;
    selecting_apply(c, &all, s->choice);
    return s->choice;
}

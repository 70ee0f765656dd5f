/* A GPU's lanes: submitting, and remembering what ran for the books. */
#include "run_state.h"

#include "sim/base/mem.h"

#include <stdlib.h>

size_t lanes_most(const struct run_setup *s, uint32_t parts, uint32_t experts)
{
    size_t groups = (size_t)experts + 2; /* one per expert at the worst, two stay empty */

    return (size_t)s->cost->model->layers * (parts > 1 ? parts : 1) * (4 + groups) + 4;
}

void lanes_init(struct lanes *l, const struct run_setup *s, struct exec *exec,
                uint32_t parts, uint32_t experts)
{
    size_t most = lanes_most(s, parts, experts);

    *l = (struct lanes){.ops = s->ops,
                        .exec = exec,
                        .parts = parts,
                        .hosts_layers = s->cost->model->hosted > 0};
    l->log_id = mem_alloc(most, sizeof *l->log_id);
    l->log = mem_alloc(most, sizeof *l->log);
}

void lanes_release(struct lanes *l)
{
    free(l->log_id);
    free(l->log);
    free(l->collective);
    free(l->join);
    free(l->times);
    free(l->gap);
    free(l->gap_id);
}

op_id lanes_submit(struct lanes *l, const struct op *op)
{
    return l->last_id = l->ops->submit(l->exec, op);
}

void lanes_compute(struct lanes *l, const struct op *op, sim_time *share,
                   enum run_share kind)
{
    l->last = l->last_compute = lanes_submit(l, op);
    l->log_id[l->log_count] = l->last_compute;
    l->log[l->log_count++] = (struct lane_op){.share = share, .kind = kind};
}

bool lanes_copied(const struct lanes *l, op_id copy)
{
    return copy < l->retired || l->ops->done(l->exec, copy);
}

const struct op_times *lanes_times(struct lanes *l, const op_id *id, size_t count)
{
    if (count > l->times_room) {
        l->times_room = 2 * count;
        l->times = mem_resize(l->times, l->times_room, sizeof *l->times);
    }
    l->ops->times(l->exec, id, count, l->times);
    return l->times;
}

/* ---- several GPUs ---- */

bool lanes_has_joined(const struct lanes *l)
{
    for (uint32_t i = 0; i < l->parts; i++)
        if (l->part[i].joined != 0)
            return true;
    return false;
}

/* The operation at this place of the log comes after the collectives before `until`. */
static void note_join(struct lanes *l, size_t at, uint32_t until)
{
    if (l->joins == l->join_room) {
        l->join_room = l->join_room * 2 + 64;
        l->join = mem_resize(l->join, l->join_room, sizeof *l->join);
    }
    l->join[l->joins++] = (struct lane_join){at, until};
}

void lanes_join_part(struct lanes *l, uint32_t part, size_t logged)
{
    struct lane_part *p = &l->part[part];

    if (l->log_count == logged)
        return;
    if (p->joined != 0)
        note_join(l, logged, p->number + 1);
    p->joined = 0;
    p->last = l->last_compute;
}

/* Where rows go through a layer in several parts. */
static void join_parts(struct gpu *g, struct op *op, sim_time *share, enum run_share kind)
{
    struct lanes *l = &g->lanes;
    op_id after[PROGRAM_PARTS + 2] = {lanes_copy_before(g, op)};
    bool joins = lanes_has_joined(l);

    op->after = after;
    op->after_count = l->parts + 1;
    if (l->hosts_layers)
        after[op->after_count++] = l->last_compute;
    for (uint32_t i = 0; i < l->parts; i++) {
        after[i + 1] = l->part[i].joined;
        l->part[i].joined = 0;
    }
    lanes_compute(l, op, share, kind);
    op->after_count = 0;
    if (joins)
        note_join(l, l->log_count - 1, l->collectives);
    for (uint32_t i = 0; i < l->parts; i++)
        l->part[i].last = l->last;
}

void lanes_join(struct gpu *g, struct op *op, uint32_t part, sim_time *share,
                enum run_share kind)
{
    struct lanes *l = &g->lanes;
    struct lane_part *one = &l->part[part];
    op_id after[3] = {0, lanes_copy_before(g, op), l->last_compute};

    if (part == LANES_WHOLE) {
        join_parts(g, op, share, kind);
        return;
    }
    after[0] = one->joined;
    op->after = after;
    op->after_count = l->hosts_layers ? 3 : 2;
    lanes_compute(l, op, share, kind);
    op->after_count = 0;
    if (one->joined != 0)
        note_join(l, l->log_count - 1, one->number + 1);
    one->joined = 0;
    one->last = l->last;
}

/* Enters a collective that is about to be submitted. */
static void remember(struct lanes *l, op_id hosted, sim_time *share)
{
    if (l->collectives == l->collective_room) {
        l->collective_room = l->collective_room * 2 + 256;
        l->collective =
            mem_resize(l->collective, l->collective_room, sizeof *l->collective);
    }
    l->collective[l->collectives++] =
        (struct lane_collective){.hosted = hosted, .share = share};
}

static op_id last_of(const struct lanes *l, uint32_t part)
{
    return part == LANES_WHOLE ? l->last : l->part[part].last;
}

static uint32_t first_of(const struct runner *c, uint32_t group)
{
    return group == LANES_ALL ? 0 : group * c->spread->p->tensor;
}

/* A collective of a group, and what it comes after. */
static inline struct op collective_op(struct runner *c, enum op_kind kind, uint32_t layer,
                                      uint32_t part, const struct collective *what,
                                      uint32_t group)
{
    bool all = group == LANES_ALL;
    struct op op = {.kind = kind, .lane = all ? LANE_NETWORK : LANE_NODE, .layer = layer};
    uint32_t members = all ? c->gpus : c->spread->p->tensor, first = first_of(c, group);
    const struct gpu *end = c->gpu + first + members;
    op_id *after = c->spread->after;

    for (const struct gpu *g = c->gpu + first; g < end; g++) {
        op_id last = last_of(&g->lanes, part);

        if (last != 0)
            after[op.after_count++] = last;
    }
    op.after = after;
    op.collective.what = what;
    op.collective.member = c->spread->p->exec + first;
    op.collective.members = members;
    return op;
}

/* What waits for it: the next operation of its part, or of the whole. */
static void enter(struct lanes *l, uint32_t part, op_id id)
{
    uint32_t number = l->collectives - 1;

    l->collective[number].id = l->last = id;
    for (uint32_t i = 0; i < l->parts; i++)
        if (part == LANES_WHOLE || part == i)
            l->part[i] = (struct lane_part){id, id, number};
}

void lanes_collect(struct runner *c, enum op_kind kind, uint32_t layer, uint32_t part,
                   const struct collective *what, uint32_t group, sim_time *share)
{
    struct op op = collective_op(c, kind, layer, part, what, group);
    op_id *after = c->spread->after, id;
    struct gpu *first = &c->gpu[first_of(c, group)];
    struct gpu *end = first + op.collective.members;

    if (end - first < 2)
        return;
    for (struct gpu *g = first; g < end; g++) {
        struct lanes *l = &g->lanes;

        if (l->hosted != 0)
            after[op.after_count++] = l->hosted;
        remember(l, l->hosted, share);
        l->hosted = 0;
    }
    id = lanes_submit(&first->lanes, &op);
    for (struct gpu *g = first; g < end; g++)
        enter(&g->lanes, part, id);
}

op_id lanes_collect_aside(struct runner *c, const struct collective *what)
{
    struct op op = collective_op(c, OP_MIGRATE, 0, LANES_WHOLE, what, LANES_ALL);

    op.class_ = WORK_PREFETCH;
    return lanes_submit(&c->gpu[0].lanes, &op);
}

void lanes_wait_all(struct runner *c)
{
    for (uint32_t i = 0; i < c->gpus; i++) {
        struct lanes *l = &c->gpu[i].lanes;

        if (l->last != 0)
            (void)l->ops->wait(l->exec, l->last);
    }
}

sim_time lanes_latest(const struct runner *c)
{
    sim_time time = 0;

    for (uint32_t i = 0; i < c->gpus; i++) {
        const struct lanes *l = &c->gpu[i].lanes;
        sim_time now = l->ops->now(l->exec);

        time = now > time ? now : time;
    }
    return time;
}

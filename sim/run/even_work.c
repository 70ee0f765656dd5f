/* The balanced bound: no GPU works longer on a layer's experts than an even share takes.
 *
 * The share is that of the rows as of one expert, or of the active experts with a row
 * each, whichever takes longer; padded to the smallest tile at most. Some GPU of any
 * placement has as much to do, so that the layer takes at least as long; what has less
 * runs as it is. No GPU then computes longer or launches more than in the run itself, at
 * no point of it. */
#include "run_state.h"

/* Of `distinct` experts with as many rows each. */
static sim_time time_of(const struct runner *c, const struct cost_experts *w)
{
    const struct cost *cost = c->setup->cost;

    if (w->distinct == 0)
        return 0;
    if (c->gpu[0].step.piece == NULL)
        return cost_expert_group(cost, w);
    return cost_expert_permute(cost, w->rows, 0) +
           (sim_time)w->distinct *
               cost_expert_alone_least(cost, (uint32_t)(w->rows / w->distinct));
}

struct even_work even_work_of(const struct runner *c, const uint32_t *of_expert)
{
    /* Shards are even as they are. */
    uint32_t parts = c->spread->place->shards > 1 ? 1 : c->gpus;
    struct even_work by_rows = {.work = {.distinct = 1}}, by_experts = {.time = 0};
    uint64_t rows = 0, active = 0;

    for (uint32_t i = 0; i < c->experts; i++) {
        rows += of_expert[i];
        active += of_expert[i] > 0;
    }
    if (rows == 0)
        return by_experts;
    by_rows.work.rows = by_rows.work.padded_rows = (rows + parts - 1) / parts;
    by_experts.work.distinct = (uint32_t)((active + parts - 1) / parts);
    by_experts.work.rows = by_experts.work.padded_rows = by_experts.work.distinct;
    by_rows.time = time_of(c, &by_rows.work);
    by_experts.time = time_of(c, &by_experts.work);
    return by_experts.time > by_rows.time ? by_experts : by_rows;
}

bool even_work_exceeds(const struct gpu *g, const struct even_work *even)
{
    const struct runner *c = g->runner;
    struct cost_experts own = {.distinct = 0};
    sim_time time = 0;

    for (uint32_t i = 0; i < g->step.active_count; i++) {
        uint32_t rows = g->step.tokens[g->step.active[i]];

        cost_experts_add(&own, rows, &g->residency.tiles);
        if (g->step.piece != NULL)
            time += cost_expert_alone(c->setup->cost, rows);
    }
    if (g->step.piece != NULL)
        time += cost_expert_permute(c->setup->cost, own.rows, 0);
    else
        time = time_of(c, &own);
    return time > even->time;
}

void even_work_run(struct gpu *g, uint32_t layer, const struct even_work *even)
{
    struct op op = {.kind = OP_EXPERTS, .lane = LANE_COMPUTE, .layer = layer};
    op_id after[2] = {g->step.arrived, lanes_copy_before(g, &op)};
    uint32_t chains = even->work.distinct;

    /* Launched one by one, no more of them than the GPU has; another one has more. */
    if (g->step.piece != NULL && g->step.active_count < chains)
        chains = g->step.active_count;
    op.after = after;
    op.after_count = 2;
    op.group.work = even->work;
    if (g->step.piece != NULL && chains > 0) {
        op.group.loop = 1;
        op.group.piece = g->step.piece;
        op.group.pieces = chains;
        op.group.least = true;
        for (uint32_t i = 0; i < chains; i++)
            g->step.piece[i] = (uint32_t)(even->work.rows / even->work.distinct);
    }
    if (chains > 0)
        lanes_compute(&g->lanes, &op, g->result->layer[layer].share, SHARE_EXPERT);
}

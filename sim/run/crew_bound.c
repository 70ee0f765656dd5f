/* The balanced bound: no GPU works longer on a layer's experts than an even share takes.
 *
 * The share is that of the rows as of one expert, or of the active experts with a row
 * each, whichever takes longer; padded to the smallest tile at most. Some GPU of any
 * placement has as much to do, so that the layer takes at least as long; what has less
 * runs as it is. No GPU then computes longer or launches more than in the run itself, at
 * no point of it. */
#include "crew_state.h"

/* Of `distinct` experts with as many rows each. */
static sim_time time_of(const struct crew *c, const struct cost_experts *w)
{
    const struct cost *cost = c->setup->cost;

    if (w->distinct == 0)
        return 0;
    if (c->gpu[0].run.piece == NULL)
        return cost_expert_group(cost, w);
    return cost_expert_permute(cost, w->rows, 0) +
           (sim_time)w->distinct *
               cost_expert_alone_least(cost, (uint32_t)(w->rows / w->distinct));
}

struct crew_share crew_bound_share(const struct crew *c)
{
    /* Shards are even as they are. */
    uint32_t parts = c->place->shards > 1 ? 1 : c->gpus;
    struct crew_share by_rows = {.work = {.distinct = 1}}, by_experts = {.time = 0};
    uint64_t rows = 0, active = 0;

    for (uint32_t i = 0; i < c->experts; i++) {
        rows += c->load[i];
        active += c->load[i] > 0;
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

bool crew_bound_exceeds(const struct crew *c, uint32_t gpu, const struct crew_share *even)
{
    const struct run *run = &c->gpu[gpu].run;
    struct cost_experts own = {.distinct = 0};
    sim_time time = 0;

    for (uint32_t i = 0; i < run->active_count; i++) {
        uint32_t rows = run->tokens[run->active[i]];

        cost_experts_add(&own, rows, &run->tiles);
        if (run->piece != NULL)
            time += cost_expert_alone(c->setup->cost, rows);
    }
    if (run->piece != NULL)
        time += cost_expert_permute(c->setup->cost, own.rows, 0);
    else
        time = time_of(c, &own);
    return time > even->time;
}

void crew_bound_run(struct crew *c, uint32_t gpu, uint32_t layer,
                    const struct crew_share *even)
{
    struct run *run = &c->gpu[gpu].run;
    struct op op = {.kind = OP_EXPERTS, .layer = layer};
    uint32_t chains = even->work.distinct;

    /* Launched one by one, no more of them than the GPU has; another one has more. */
    if (run->piece != NULL && run->active_count < chains)
        chains = run->active_count;
    op.group.work = even->work;
    if (run->piece != NULL && chains > 0) {
        op.group.held = 1;
        op.group.piece = run->piece;
        op.group.pieces = chains;
        op.group.least = true;
        for (uint32_t i = 0; i < chains; i++)
            run->piece[i] = (uint32_t)(even->work.rows / even->work.distinct);
    }
    if (chains > 0)
        crew_compute(c, gpu, &op, c->result->layer[layer].share, SHARE_EXPERT);
}

/* Several GPUs on one engine, and their collectives. */
#include "exec_sim_state.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

void exec_group_free(struct exec_group *g)
{
    free(g->gpu);
    free(g->load);
    free(g->carried);
    free(g->spread);
    free(g);
}

void exec_group_leave(struct exec *x)
{
    struct exec_group *g = x->group;

    if (--g->open > 0)
        return;
    engine_free(x->engine);
    exec_group_free(g);
}

uint64_t exec_sim_carried(const struct exec *x, uint32_t link)
{
    assert(link < x->group->topology.links);
    return x->group->carried[link];
}

/* ---- collectives ---- */

/* Every member's host launches one kernel; when the last has. */
static sim_time launch_all(const struct op *op)
{
    sim_time last = 0;

    for (uint32_t i = 0; i < op->collective.members; i++) {
        struct exec *x = op->collective.member[i];

        x->host_now = exec_sim_begin(x) + x->launch;
        last = x->host_now > last ? x->host_now : last;
    }
    return last;
}

/* What it takes, without contention; its bytes are entered in the links' accounts. */
static sim_time account(struct exec_group *g, const struct collective *c,
                        const struct collective_terms *terms)
{
    const struct topology *t = &g->topology;
    sim_time sum = terms->launch + terms->sync;

    for (uint32_t p = 0; p < collective_phases(c); p++) {
        collective_loads(t, c, p, g->load);
        for (uint32_t i = 0; i < t->links; i++)
            g->carried[i] += g->load[i];
        if (g->network != NETWORK_FREE)
            sum += collective_alpha(t, c, p) +
                   collective_ports_time(t, terms, g->load, g->network == NETWORK_EVEN);
    }
    return sum;
}

static void remember_spread(struct exec_group *g, op_id first, op_id last)
{
    if (g->spreads == g->spread_room) {
        g->spread_room = g->spread_room * 2 + 64;
        g->spread = mem_resize(g->spread, g->spread_room, sizeof *g->spread);
    }
    g->spread[g->spreads++] = (struct spread){first, last};
}

static op_id submit_spread(struct exec *x, const struct op *op,
                           const struct collective_terms *terms, sim_time release)
{
    struct exec_group *g = x->group;
    const struct collective_site site = {
        .first_link = g->first_link,
        .step_lane = x->first_lane + op->lane,
        .first_lane = g->first_lane + (op->kind == OP_MIGRATE ? g->topology.links : 0),
        .lanes = g->topology.links,
        .grain = COLLECTIVE_PORTS,
        .class_ = op->class_,
        .tag = exec_sim_tag(op->kind, op->layer, 0),
        .release = release,
        .after = op->after,
        .after_count = op->after_count,
    };
    op_id before = engine_get_report(x->engine).submitted;
    op_id last =
        collective_ops(x->engine, &g->topology, op->collective.what, terms, &site);

    remember_spread(g, before + 1, last);
    return last;
}

NOINLINE op_id exec_group_submit(struct exec *x, const struct op *op)
{
    struct exec_group *g = x->group;
    const struct collective *c = op->collective.what;
    struct collective_terms terms =
        collective_terms_of(x->cost.machine, c, x->cost.graph);
    sim_time release = launch_all(op);
    sim_time time = account(g, c, &terms);

    if (engine_is_event_driven(x->engine) && g->network == NETWORK_AS_IT_IS)
        return submit_spread(x, op, &terms, release);
    return engine_submit_fixed(
        x->engine, (struct work_fixed){.lane = x->first_lane + op->lane,
                                       .tag = exec_sim_tag(op->kind, op->layer, 0),
                                       .class_ = op->class_,
                                       .release = release,
                                       .latency = time,
                                       .after = op->after,
                                       .after_count = op->after_count});
}

sim_time exec_group_began(const struct exec *x, op_id id, sim_time start)
{
    const struct exec_group *g = x->group;
    size_t low = 0, high = g->spreads;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (g->spread[middle].last < id)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == g->spreads || g->spread[low].last != id)
        return start;
    return engine_times(x->engine, g->spread[low].first).start;
}

void exec_group_retire(struct exec_group *g, op_id id)
{
    size_t gone = 0;

    while (gone < g->spreads && g->spread[gone].first < id)
        gone++;
    g->spreads -= gone;
    if (gone > 0)
        memmove(g->spread, g->spread + gone, g->spreads * sizeof *g->spread);
}

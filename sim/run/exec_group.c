/* Several GPUs on one engine, and their collectives. */
#include "exec_sim_state.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

/* ---- making one ---- */

/* Host copies cross the memory of the node (or its storage, too) and the PCIe ports. */
static void set_copies(struct exec *x, const struct exec_group *g, uint32_t rank)
{
    const struct machine *m = x->cost.machine;
    uint32_t node = topology_node(&g->topology, rank);

    for (int out = 0; out < 2; out++)
        for (int storage = 0; storage < 2; storage++) {
            const struct machine_copy *in_k =
                x->pageable ? &m->h2d_pageable : &m->h2d_pinned;
            const struct machine_copy *out_k =
                x->pageable ? &m->d2h_pageable : &m->d2h_pinned;
            struct work *w = &x->copy[out][storage];
            uint16_t path[ENGINE_MAX_PATH];
            uint32_t length = topology_host_path(&g->topology, rank, !out, path);

            if (storage) {
                w->path[w->path_length++] = (uint16_t)(g->first_disk + node);
                w->latency += m->storage_read.latency;
            }
            w->path[w->path_length++] = (uint16_t)(g->first_dram + node);
            for (uint32_t i = 0; i < length; i++)
                w->path[w->path_length++] = (uint16_t)(g->first_link + path[i]);
            w->latency += out ? out_k->latency : in_k->latency;
        }
}

static uint32_t add_node_links(struct engine *engine, const struct topology *t,
                               const char *name, double bytes_per_s)
{
    uint32_t first = 0;

    for (uint32_t node = 0; node < t->nodes; node++) {
        char *full = mem_format("%s %u", name, node);
        uint32_t link = engine_add_link(engine, full, bytes_per_s);

        free(full);
        if (node == 0)
            first = link;
    }
    return first;
}

static int add_links(struct exec_group *g, struct engine *engine, const struct machine *m,
                     struct err *e)
{
    const struct topology *t = &g->topology;

    if (topology_add_links(t, engine, &g->first_link, e) != 0)
        return -1;
    if (t->links + 2 * t->nodes > ENGINE_MAX_LINKS)
        return err_set(e,
                       "%u GPUs have %u links and their nodes %u more; event-driven runs "
                       "can have %d: take fewer GPUs",
                       t->ranks, t->links, 2 * t->nodes, ENGINE_MAX_LINKS);
    g->first_dram = add_node_links(engine, t, "host DRAM", m->host.dram_bytes_per_s);
    if (m->has_storage)
        g->first_disk = add_node_links(engine, t, "storage", m->storage_read.bytes_per_s);
    return 0;
}

/* Lanes: those of GPU 0, of GPU 1, ..., and two for each link: what the bytes of the
 * tokens and those of migrating experts take, which share the link. */
static void add_lanes(struct exec_group *g, struct engine *engine, bool event_driven)
{
    for (uint32_t i = 0; i < g->gpus; i++) {
        for (int lane = 0; lane < OP_LANES; lane++) {
            char *name = mem_format("GPU %u %s", i, op_lane_name((enum op_lane)lane));

            engine_add_lane(engine, name);
            free(name);
        }
    }
    g->first_lane = engine_lane_count(engine);
    if (!event_driven)
        return;
    for (uint32_t i = 0; i < 2 * g->topology.links; i++)
        engine_add_lane(engine, "collective");
}

static void observe(void *context, work_id id, uint32_t tag, uint32_t lane,
                    const struct work_times *times)
{
    const struct exec_group *g = context;
    uint32_t rank = lane / OP_LANES;

    if (rank < g->gpus && g->gpu[rank]->observe_context != NULL)
        exec_sim_observe(g->gpu[rank], id, tag, lane % OP_LANES, times);
}

static void group_free(struct exec_group *g)
{
    free(g->gpu);
    free(g->load);
    free(g->carried);
    free(g->spread);
    free(g);
}

int exec_sim_new_group(const struct exec_sim_options *o, const struct topology *t,
                       enum exec_network network, void *const *observe_context,
                       struct exec **gpu, struct err *e)
{
    struct exec_group *g = mem_zalloc(1, sizeof *g);
    struct engine *engine = engine_new(o->event_driven);
    bool observed = false;

    *g = (struct exec_group){
        .topology = *t, .network = network, .gpus = t->ranks, .open = t->ranks};
    g->gpu = mem_alloc(g->gpus, sizeof *g->gpu);
    g->load = mem_zalloc(t->links, sizeof *g->load);
    g->carried = mem_zalloc(t->links, sizeof *g->carried);
    if (o->event_driven && add_links(g, engine, o->cost.machine, e) != 0) {
        group_free(g);
        engine_free(engine);
        return -1;
    }
    add_lanes(g, engine, o->event_driven);
    for (uint32_t i = 0; i < t->ranks; i++) {
        struct exec *x = g->gpu[i] = gpu[i] = mem_zalloc(1, sizeof *x);

        exec_sim_init(x, o);
        x->engine = engine;
        x->group = g;
        x->first_lane = i * OP_LANES;
        if (o->event_driven)
            set_copies(x, g, i);
        if (observe_context != NULL && observe_context[i] != NULL) {
            x->observe = o->observe;
            x->observe_context = observe_context[i];
            observed = true;
        }
    }
    if (observed)
        engine_observe(engine, observe, g);
    return 0;
}

void exec_group_leave(struct exec *x)
{
    struct exec_group *g = x->group;

    if (--g->open > 0)
        return;
    engine_free(x->engine);
    group_free(g);
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
        .step_lane = x->first_lane + LANE_NETWORK,
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
        x->engine, (struct work_fixed){.lane = x->first_lane + LANE_NETWORK,
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

/* Making simulated executors: of one GPU, and of several on one engine. */
#include "exec_sim_state.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

/* Link numbers in the order in which they are added. */
enum link { LINK_DRAM, LINK_IN, LINK_OUT, LINK_ROOT, LINK_STORAGE };

static void tell(const struct exec *x, work_id id, uint32_t tag, uint32_t lane,
                 const struct work_times *times)
{
    struct op_times t = {.issued = times->release,
                         .start = times->start,
                         .end = times->end,
                         .cancelled = times->cancelled};

    x->observe(x->observe_context, id, exec_sim_tag_kind(tag), (enum op_lane)lane,
               exec_sim_tag_layer(tag), tag & 0xffff, &t);
}

static void observe(void *context, work_id id, uint32_t tag, uint32_t lane,
                    const struct work_times *times)
{
    tell(context, id, tag, lane, times);
}

/* Layers of one class have dense blocks of one cost. */
static uint8_t class_of_dense(const struct model *m, uint32_t layer)
{
    return (uint8_t)((model_layer_is_moe(m, layer) ? 1 : 0) |
                     (model_layer_windowed(m, layer) ? 2 : 0) |
                     (model_layer_crosses(m, layer) ? 4 : 0));
}

static void init(struct exec *x, const struct exec_sim_options *o)
{
    x->cost = o->cost;
    x->host = machine_of_host(o->cost.machine);
    x->pageable = o->pageable;
    x->launch = o->cost.graph ? 0 : o->cost.machine->host.launch_eager;
    x->graph_pending = o->cost.graph;
    for (int i = 0; i < DENSE_CLASSES; i++)
        x->dense[i].gpu = -1;
    x->gate.gpu = x->head.gpu = -1;
    x->pool_lane = LANE_HOST_POOL;
    x->near_lane = LANE_NEAR;
    x->dram = LINK_DRAM;
    for (int part = COST_DENSE; part <= COST_HEAD; part++)
        x->kernels[part] = cost_kernels(&x->cost, (enum cost_part)part);
    x->dense_class = mem_alloc(o->cost.model->layers, 1);
    for (uint32_t l = 0; l < o->cost.model->layers; l++)
        x->dense_class[l] = class_of_dense(o->cost.model, l);
}

/* ---- one GPU ---- */

/* Paths and latencies of copies. */
static void set_copies(struct exec *x)
{
    const struct machine *m = x->cost.machine;

    for (int out = 0; out < 2; out++)
        for (int storage = 0; storage < 2; storage++) {
            const struct machine_copy *in_k =
                x->pageable ? &m->h2d_pageable : &m->h2d_pinned;
            const struct machine_copy *out_k =
                x->pageable ? &m->d2h_pageable : &m->d2h_pinned;
            struct work *w = &x->copy[out][storage];

            if (storage) {
                w->path[w->path_length++] = LINK_STORAGE;
                w->latency += m->storage_read.latency;
            }
            if (!m->unified) {
                w->path[w->path_length++] = LINK_DRAM;
                w->path[w->path_length++] = out ? LINK_OUT : LINK_IN;
                w->path[w->path_length++] = LINK_ROOT;
                w->latency += out ? out_k->latency : in_k->latency;
            }
        }
}

struct exec *exec_sim_new(const struct exec_sim_options *o)
{
    struct exec *x = mem_zalloc(1, sizeof *x);
    const struct machine *m = o->cost.machine;
    const struct machine_copy *in = o->pageable ? &m->h2d_pageable : &m->h2d_pinned;
    const struct machine_copy *out = o->pageable ? &m->d2h_pageable : &m->d2h_pinned;
    double root = in->bytes_per_s * m->h2d_duplex + out->bytes_per_s * m->d2h_duplex;

    init(x, o);
    set_copies(x);
    x->engine = engine_new(o->event_driven);
    for (int lane = 0; lane < OP_LANES; lane++)
        engine_add_lane(x->engine, op_lane_name((enum op_lane)lane));
    engine_add_link(x->engine, "host DRAM", m->host.dram_bytes_per_s);
    engine_add_link(x->engine, "PCIe in", in->bytes_per_s);
    engine_add_link(x->engine, "PCIe out", out->bytes_per_s);
    engine_add_link(x->engine, "PCIe root",
                    root > in->bytes_per_s ? root : in->bytes_per_s);
    if (m->has_storage)
        engine_add_link(x->engine, "storage", m->storage_read.bytes_per_s);
    if (!o->event_driven) /* a link has one lane there; they never meet */
        x->dram = (uint16_t)engine_add_link(x->engine, "host DRAM, experts",
                                            m->host.dram_bytes_per_s);
    x->observe = o->observe;
    x->observe_context = o->observe_context;
    if (o->observe != NULL)
        engine_observe(x->engine, observe, x);
    return x;
}

/* ---- several ---- */

/* Host copies cross the memory of the node (or its storage, too) and the PCIe ports. */
static void set_group_copies(struct exec *x, const struct exec_group *g, uint32_t rank)
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

/* The first GPU that shares the near-data unit of this one. */
static uint32_t near_neighbour(const struct machine *m, const struct topology *t,
                               uint32_t rank)
{
    uint32_t node = rank / t->gpus * t->gpus, first = rank;
    uint32_t unit = (rank - node) * m->near.units / t->gpus;

    while (first > node && (first - 1 - node) * m->near.units / t->gpus == unit)
        first--;
    return first;
}

static void observe_group(void *context, work_id id, uint32_t tag, uint32_t lane,
                          const struct work_times *times)
{
    const struct exec_group *g = context;
    uint32_t rank = lane / OP_LANES;

    if (rank < g->gpus && g->gpu[rank]->observe_context != NULL)
        tell(g->gpu[rank], id, tag, lane % OP_LANES, times);
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
    if (!o->event_driven)
        g->first_dram = add_node_links(engine, t, "host DRAM",
                                       o->cost.machine->host.dram_bytes_per_s);
    else if (add_links(g, engine, o->cost.machine, e) != 0) {
        exec_group_free(g);
        engine_free(engine);
        return -1;
    }
    add_lanes(g, engine, o->event_driven);
    for (uint32_t i = 0; i < t->ranks; i++) {
        struct exec *x = g->gpu[i] = gpu[i] = mem_zalloc(1, sizeof *x);

        init(x, o);
        x->engine = engine;
        x->group = g;
        x->first_lane = i * OP_LANES;
        x->pool_lane = i / t->gpus * t->gpus * OP_LANES + LANE_HOST_POOL;
        x->near_lane = near_neighbour(o->cost.machine, t, i) * OP_LANES + LANE_NEAR;
        x->dram = (uint16_t)(g->first_dram + topology_node(t, i));
        if (o->event_driven)
            set_group_copies(x, g, i);
        if (observe_context != NULL && observe_context[i] != NULL) {
            x->observe = o->observe;
            x->observe_context = observe_context[i];
            observed = true;
        }
    }
    if (observed)
        engine_observe(engine, observe_group, g);
    return 0;
}

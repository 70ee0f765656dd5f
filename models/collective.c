#include "collective.h"

#include "collective_parts.h"
#include "sim/base/mem.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct collective_terms collective_terms_of(const struct machine *m,
                                            const struct collective *c, bool graph)
{
    const struct machine_collective *f = &m->collective;
    struct collective_terms k = {f->launch, 0, f->share, 1.0};

    if (c->form == COLLECTIVE_NORMAL) {
        k.launch = c->reverse ? f->normal_combine : f->normal_dispatch;
        k.sync = graph || c->reverse ? 0 : m->host.round_trip;
        k.near_share = f->normal_share;
    } else if (c->form == COLLECTIVE_LOW_LATENCY) {
        k.launch = c->reverse ? f->low_latency_combine : f->low_latency_dispatch;
        k.near_share = f->low_latency_share;
    } else if (c->form == COLLECTIVE_ALL_GATHER || c->form == COLLECTIVE_REDUCE_SCATTER) {
        k.near_share = f->gather_share;
    }
    return k;
}

uint32_t collective_phases(const struct collective *c)
{
    return c->form == COLLECTIVE_RAILS || c->form == COLLECTIVE_FORWARD ||
                   c->form == COLLECTIVE_ALL_REDUCE_RING
               ? 2
               : 1;
}

sim_time collective_alpha(const struct topology *t, const struct collective *c,
                          uint32_t phase)
{
    return collective_is_all_to_all(c->form) ? collective_all_to_all_alpha(t, c, phase)
                                             : collective_ring_alpha(t, c);
}

static void add_moves(const struct collective *c, uint32_t phase,
                      const struct collective_sink *s)
{
    if (collective_is_all_to_all(c->form))
        collective_all_to_all_moves(c, phase, s);
    else
        collective_ring_moves(c, phase, s);
}

void collective_loads(const struct topology *t, const struct collective *c,
                      uint32_t phase, uint64_t *load)
{
    memset(load, 0, t->links * sizeof(*load));
    if (collective_is_all_to_all(c->form) && t->nvlink) {
        collective_all_to_all_loads(t, c, phase, load);
    } else {
        const struct collective_sink s = {t, c->network_only, NULL, load};

        add_moves(c, phase, &s);
    }
}

void collective_transfers(const struct topology *t, const struct collective *c,
                          uint32_t phase, uint64_t *moved)
{
    const struct collective_sink s = {t, c->network_only, moved, NULL};

    memset(moved, 0, (size_t)t->ranks * t->ranks * sizeof(*moved));
    add_moves(c, phase, &s);
}

/* ---- closed form ---- */

/* Bytes that hold a port as long as a kernel does that reaches a share of it. */
static uint64_t held_bytes(uint64_t bytes, double share)
{
    return share >= 1.0 ? bytes : (uint64_t)ceil((double)bytes / share);
}

static double port_share(const struct topology *t, const struct collective_terms *k,
                         uint32_t port)
{
    bool near = t->nvlink ? port <= TOPOLOGY_NVLINK_IN : port <= TOPOLOGY_ROOT_IN;

    return near ? k->near_share : k->far_share;
}

sim_time collective_ports_time(const struct topology *t, const struct collective_terms *k,
                               const uint64_t *load, bool even)
{
    sim_time longest = 0;

    for (uint32_t port = 0; port < TOPOLOGY_PORTS; port++) {
        uint32_t count = t->first[port + 1] - t->first[port];
        uint64_t most = 0, sum = 0;
        sim_time time;

        for (uint32_t i = t->first[port]; i < t->first[port + 1]; i++) {
            most = load[i] > most ? load[i] : most;
            sum += load[i];
        }
        if (most == 0)
            continue;
        most = held_bytes(even ? sum / count : most, port_share(t, k, port));
        time = sim_time_of_seconds((double)most / t->bytes_per_s[port]);
        longest = time > longest ? time : longest;
    }
    return longest;
}

sim_time collective_time(const struct topology *t, const struct collective *c,
                         const struct collective_terms *k, uint64_t *load)
{
    sim_time sum = k->launch + k->sync;

    for (uint32_t p = 0; p < collective_phases(c); p++) {
        collective_loads(t, c, p, load);
        sum += collective_alpha(t, c, p) + collective_ports_time(t, k, load, false);
    }
    return sum;
}

/* ---- on links ---- */

/* Works submitted, which the next phase waits for. */
struct batch {
    struct engine *engine;
    const struct collective_site *site;
    work_id gate; /* each comes after it */
    work_id *id;
    uint32_t count, room;
};

static void batch_add(struct batch *b, uint32_t turn, const uint16_t *path,
                      uint32_t length, uint64_t bytes)
{
    const struct collective_site *site = b->site;
    struct work w = {
        .lane = site->first_lane + turn % site->lanes,
        .tag = site->tag,
        .class_ = site->class_,
        .bytes = bytes,
        .path_length = length,
        .after = &b->gate,
        .after_count = 1,
    };

    for (uint32_t i = 0; i < length; i++)
        w.path[i] = (uint16_t)(site->first_link + path[i]);
    if (b->count == b->room) {
        b->room = b->room == 0 ? 64 : 2 * b->room;
        b->id = mem_resize(b->id, b->room, sizeof(*b->id));
    }
    b->id[b->count++] = engine_submit(b->engine, &w);
}

static void batch_ports(struct batch *b, const struct topology *t,
                        const struct collective *c, const struct collective_terms *k,
                        uint32_t phase)
{
    uint64_t *load = mem_alloc(t->links, sizeof(*load));

    collective_loads(t, c, phase, load);
    for (uint32_t port = 0; port < TOPOLOGY_PORTS; port++) {
        for (uint32_t i = t->first[port]; i < t->first[port + 1]; i++) {
            const uint16_t path[1] = {(uint16_t)i};

            if (load[i] > 0)
                batch_add(b, i, path, 1, held_bytes(load[i], port_share(t, k, port)));
        }
    }
    free(load);
}

static void batch_pairs(struct batch *b, const struct topology *t,
                        const struct collective *c, const struct collective_terms *k,
                        uint32_t phase)
{
    uint64_t *moved = mem_alloc((size_t)t->ranks * t->ranks, sizeof(*moved));

    collective_transfers(t, c, phase, moved);
    for (uint32_t i = 0; i < t->ranks * t->ranks; i++) {
        uint32_t from = i / t->ranks;
        uint32_t to = i % t->ranks;
        bool near = topology_node(t, from) == topology_node(t, to) && !c->network_only;
        uint16_t path[ENGINE_MAX_PATH];
        uint32_t n;

        if (moved[i] == 0)
            continue;
        n = collective_path(t, c->network_only, from, to, path);
        batch_add(b, b->count, path, n,
                  held_bytes(moved[i], near ? k->near_share : k->far_share));
    }
    free(moved);
}

work_id collective_ops(struct engine *g, const struct topology *t,
                       const struct collective *c, const struct collective_terms *k,
                       const struct collective_site *site)
{
    struct batch b = {.engine = g, .site = site};
    struct work_fixed step = {.lane = site->step_lane,
                              .tag = site->tag,
                              .class_ = site->class_,
                              .release = site->release,
                              .latency = k->launch,
                              .after = site->after,
                              .after_count = site->after_count};

    assert(engine_is_event_driven(g) && site->lanes > 0);
    for (uint32_t p = 0; p < collective_phases(c); p++) {
        step.latency += collective_alpha(t, c, p);
        b.gate = engine_submit_fixed(g, step);
        b.count = 0;
        if (site->grain == COLLECTIVE_PORTS)
            batch_ports(&b, t, c, k, p);
        else
            batch_pairs(&b, t, c, k, p);
        step.latency = 0;
        step.after = b.id;
        step.after_count = b.count;
    }
    step.latency = k->sync;
    b.gate = engine_submit_fixed(g, step);
    free(b.id);
    return b.gate;
}

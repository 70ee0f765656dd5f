#include "topology.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <stdlib.h>

struct topology topology_of(const struct machine *m)
{
    uint32_t ranks = m->nodes * m->gpus;
    uint32_t rails = m->rails == 0 || m->rails > m->gpus ? m->gpus : m->rails;
    struct topology t = {
        .nodes = m->nodes,
        .gpus = m->gpus,
        .ranks = ranks,
        .rails = m->has_network ? rails : 0,
        .gpus_per_root = m->gpus_per_root,
        .roots = m->gpus_per_root == 1 || m->gpus == 1
                     ? 0
                     : (m->gpus + m->gpus_per_root - 1) / m->gpus_per_root,
        .nvlink = m->has_nvlink,
        .oversubscribed = m->has_network && m->oversubscription > 1.0,
        .near_latency = m->has_nvlink ? m->nvlink.latency : m->d2h_pinned.latency,
        .far_latency = m->network.latency,
    };
    const uint32_t count[TOPOLOGY_PORTS / 2] = {t.nvlink ? ranks : 0, ranks,
                                                m->nodes * t.roots, m->nodes * t.rails,
                                                t.oversubscribed ? m->nodes : 0};
    double nic = m->network.bytes_per_s * m->gpus / rails;
    double up = nic * rails / m->oversubscription;
    const double rate[TOPOLOGY_PORTS] = {m->nvlink.bytes_per_s,
                                         m->nvlink.bytes_per_s,
                                         m->d2h_pinned.bytes_per_s,
                                         m->h2d_pinned.bytes_per_s,
                                         m->d2h_pinned.bytes_per_s,
                                         m->h2d_pinned.bytes_per_s,
                                         nic,
                                         nic,
                                         up,
                                         up};

    for (uint32_t k = 0; k < TOPOLOGY_PORTS; k++) {
        t.first[k] = t.links;
        t.links += count[k / 2];
        t.bytes_per_s[k] = rate[k];
    }
    t.first[TOPOLOGY_PORTS] = t.links;
    return t;
}

static uint16_t link(const struct topology *t, enum topology_port port, uint32_t i)
{
    return (uint16_t)(t->first[port] + i);
}

static uint32_t root(const struct topology *t, uint32_t rank)
{
    return rank / t->gpus * t->roots + rank % t->gpus / t->gpus_per_root;
}

uint32_t topology_path(const struct topology *t, uint32_t source, uint32_t destination,
                       uint16_t path[ENGINE_MAX_PATH])
{
    uint32_t n = 0;

    if (source == destination)
        return 0;
    if (topology_node(t, source) != topology_node(t, destination))
        return topology_network_path(t, source, destination, path);
    if (t->nvlink) {
        path[n++] = link(t, TOPOLOGY_NVLINK_OUT, source);
        path[n++] = link(t, TOPOLOGY_NVLINK_IN, destination);
        return n;
    }
    path[n++] = link(t, TOPOLOGY_PCIE_OUT, source);
    if (t->roots != 0 && root(t, source) != root(t, destination)) {
        path[n++] = link(t, TOPOLOGY_ROOT_OUT, root(t, source));
        path[n++] = link(t, TOPOLOGY_ROOT_IN, root(t, destination));
    }
    path[n++] = link(t, TOPOLOGY_PCIE_IN, destination);
    return n;
}

uint32_t topology_network_path(const struct topology *t, uint32_t source,
                               uint32_t destination, uint16_t path[ENGINE_MAX_PATH])
{
    uint32_t from = topology_node(t, source);
    uint32_t to = topology_node(t, destination);
    uint32_t n = 0;

    assert(t->rails > 0);
    if (source == destination)
        return 0;
    path[n++] = link(t, TOPOLOGY_PCIE_OUT, source);
    path[n++] = link(t, TOPOLOGY_NIC_OUT, topology_nic(t, source));
    if (t->oversubscribed && from != to) {
        path[n++] = link(t, TOPOLOGY_UP, from);
        path[n++] = link(t, TOPOLOGY_DOWN, to);
    }
    path[n++] = link(t, TOPOLOGY_NIC_IN, topology_nic(t, destination));
    path[n++] = link(t, TOPOLOGY_PCIE_IN, destination);
    return n;
}

uint32_t topology_host_path(const struct topology *t, uint32_t rank, bool to_gpu,
                            uint16_t path[ENGINE_MAX_PATH])
{
    uint32_t n = 0;

    path[n++] = link(t, to_gpu ? TOPOLOGY_PCIE_IN : TOPOLOGY_PCIE_OUT, rank);
    if (t->roots != 0)
        path[n++] = link(t, to_gpu ? TOPOLOGY_ROOT_IN : TOPOLOGY_ROOT_OUT, root(t, rank));
    return n;
}

int topology_add_links(const struct topology *t, struct engine *g, uint32_t *first,
                       struct err *e)
{
    static const char *const names[TOPOLOGY_PORTS] = {
        "nvlink out", "nvlink in", "pcie out", "pcie in", "root out",
        "root in",    "nic out",   "nic in",   "up",      "down"};

    if (t->links > ENGINE_MAX_LINKS)
        return err_set(e,
                       "%u GPUs have %u links, more than the %d of event-driven runs; "
                       "take fewer GPUs, or the closed forms",
                       t->ranks, t->links, ENGINE_MAX_LINKS);
    *first = 0;
    for (uint32_t k = 0; k < TOPOLOGY_PORTS; k++) {
        for (uint32_t i = t->first[k]; i < t->first[k + 1]; i++) {
            char *name = mem_format("%s %u", names[k], i - t->first[k]);
            uint32_t added = engine_add_link(g, name, t->bytes_per_s[k]);

            free(name);
            if (i == 0)
                *first = added;
            assert(added == *first + i);
        }
    }
    return 0;
}

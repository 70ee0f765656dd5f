/* Where bytes go between the GPUs of a machine: nodes, ports and the paths over them.
 *
 * GPUs are numbered by rank: rank r is GPU r mod gpus of node r / gpus. Every port is one
 * direction of one link, with its own bandwidth:
 *   NVLink     one port out and one in per GPU, to a switch that is never full;
 *   PCIe       one out and one in per GPU, and, where several GPUs hang on one root, one
 *              out and one in per root;
 *   NIC        one out and one in per rail of a node. GPUs share rails in equal runs of
 *              neighbours; the machine's bandwidth per GPU is its share of the NIC;
 *   up, down   a node's way to the others, where the network is oversubscribed.
 * Between nodes bytes cross the PCIe ports of both GPUs (GPUDirect: not the root), both
 * NICs, and up and down. Inside a node they cross NVLink, or else PCIe, and the roots if
 * these differ. Switches beyond the node are taken to be never full.
 * A plain value: it owns and borrows nothing. */
#ifndef MOESIM_MODELS_TOPOLOGY_H
#define MOESIM_MODELS_TOPOLOGY_H

#include "machine.h"
#include "sim/engine/engine.h"

/* Even: out of a GPU or node; the next one: into it. */
enum topology_port {
    TOPOLOGY_NVLINK_OUT,
    TOPOLOGY_NVLINK_IN,
    TOPOLOGY_PCIE_OUT,
    TOPOLOGY_PCIE_IN,
    TOPOLOGY_ROOT_OUT,
    TOPOLOGY_ROOT_IN,
    TOPOLOGY_NIC_OUT,
    TOPOLOGY_NIC_IN,
    TOPOLOGY_UP,
    TOPOLOGY_DOWN,
    TOPOLOGY_PORTS
};

struct topology {
    uint32_t nodes, gpus; /* GPUs per node */
    uint32_t ranks;       /* nodes * gpus */
    uint32_t rails;       /* per node, at most gpus; 0 without a network */
    uint32_t gpus_per_root;
    uint32_t roots;        /* per node; 0 if every GPU has its own */
    bool nvlink;           /* else PCIe joins the GPUs of a node */
    bool oversubscribed;   /* up and down exist */
    sim_time near_latency; /* of a hop inside a node */
    sim_time far_latency;  /* of a hop between nodes */
    /* Links of kind k are first[k] to first[k + 1] - 1: by rank, by node and rail (root),
     * or by node. */
    uint32_t first[TOPOLOGY_PORTS + 1];
    uint32_t links;
    double bytes_per_s[TOPOLOGY_PORTS];
};

struct topology topology_of(const struct machine *m);

static inline uint32_t topology_node(const struct topology *t, uint32_t rank)
{
    return rank / t->gpus;
}

/* The NIC of a rank, numbered over all nodes. */
static inline uint32_t topology_nic(const struct topology *t, uint32_t rank)
{
    uint32_t local = rank % t->gpus;

    return rank / t->gpus * t->rails + (uint32_t)((uint64_t)local * t->rails / t->gpus);
}

/* The links from one rank to another, in order; returns how many, 0 to oneself.
 * topology_path() is the way inside a node where there is one; topology_network_path()
 * leaves through the NICs even there (RDMA without NVLink). */
uint32_t topology_path(const struct topology *t, uint32_t source, uint32_t destination,
                       uint16_t path[ENGINE_MAX_PATH]);
uint32_t topology_network_path(const struct topology *t, uint32_t source,
                               uint32_t destination, uint16_t path[ENGINE_MAX_PATH]);
/* Between host memory and a GPU. */
uint32_t topology_host_path(const struct topology *t, uint32_t rank, bool to_gpu,
                            uint16_t path[ENGINE_MAX_PATH]);

/* Adds every link to the engine, in order: link i of the topology is *first + i. Fails if
 * the engine cannot hold so many. */
int topology_add_links(const struct topology *t, struct engine *g, uint32_t *first,
                       struct err *e);

#endif

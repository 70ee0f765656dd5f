#include "result_links.h"

#include "sim/base/mem.h"

#include <string.h>

static const char *kind_name(enum topology_port port)
{
    static const char *const name[TOPOLOGY_PORTS] = {
        "NVLink out",   "NVLink in", "PCIe out", "PCIe in", "PCIe root out",
        "PCIe root in", "NIC out",   "NIC in",   "uplink",  "downlink"};

    return name[port];
}

/* By GPU, by node and root or rail, or by node: see models/topology.h. */
static char *link_name(const struct topology *t, enum topology_port port, uint32_t i)
{
    const char *way = port % 2 == 0 ? "out" : "in";

    switch (port) {
    case TOPOLOGY_ROOT_OUT:
    case TOPOLOGY_ROOT_IN:
        return mem_format("node %u PCIe root %u %s", i / t->roots, i % t->roots, way);
    case TOPOLOGY_NIC_OUT:
    case TOPOLOGY_NIC_IN:
        return mem_format("node %u NIC %u %s", i / t->rails, i % t->rails, way);
    case TOPOLOGY_UP:
    case TOPOLOGY_DOWN:
        return mem_format("node %u %s", i, kind_name(port));
    case TOPOLOGY_NVLINK_OUT:
    case TOPOLOGY_NVLINK_IN:
    case TOPOLOGY_PCIE_OUT:
    case TOPOLOGY_PCIE_IN:
    case TOPOLOGY_PORTS:
        break;
    }
    return mem_format("GPU %u %s", i, kind_name(port));
}

void result_links_fill(struct result *r, const struct topology *t)
{
    r->links = t->links;
    r->link = mem_zalloc(t->links, sizeof *r->link);
    for (int k = 0; k < TOPOLOGY_PORTS; k++) {
        enum topology_port port = (enum topology_port)k;

        for (uint32_t i = t->first[k]; i < t->first[k + 1]; i++)
            r->link[i] = (struct result_link){
                .name = link_name(t, port, i - t->first[k]),
                .kind = mem_strdup(kind_name(port)),
                .bytes_per_s = (uint64_t)(t->bytes_per_s[k] + 0.5),
            };
    }
}

bool result_links_next(const struct result *r, const struct run_result *run,
                       uint32_t *next, struct result_port *port)
{
    uint32_t at = *next;

    if (run->link_bytes == NULL || at >= r->links || run->links != r->links)
        return false;
    *port = (struct result_port){.kind = r->link[at].kind, .first = at, .busiest = at};
    for (; at < r->links && strcmp(r->link[at].kind, port->kind) == 0; at++) {
        double bytes = (double)run->link_bytes[at];
        double rate = (double)r->link[at].bytes_per_s;
        double time = rate > 0 ? bytes / rate : 0;

        port->count++;
        port->bytes += bytes;
        if (at == port->first || time > port->busiest_time) {
            port->busiest = at;
            port->busiest_bytes = bytes;
            port->busiest_time = time;
        }
    }
    *next = at;
    return true;
}

bool result_links_busiest(const struct result *r, const struct run_result *run,
                          struct result_port *port)
{
    struct result_port one;
    uint32_t next = 0;
    bool any = false;

    while (result_links_next(r, run, &next, &one)) {
        if (one.bytes > 0 && (!any || one.busiest_time > port->busiest_time)) {
            *port = one;
            any = true;
        }
    }
    return any;
}

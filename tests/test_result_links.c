#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/result/result_links.h"

#include <math.h>
#include <stdlib.h>

#define NEAR(a, b) assert_true(fabs((a) - (b)) <= 1e-12 * (1 + fabs(b)))

/* 2 nodes of 4 GPUs, two of them on a PCIe root and on a rail, oversubscribed. */
static struct topology two_nodes(void)
{
    struct machine m = {.nodes = 2,
                        .gpus = 4,
                        .rails = 2,
                        .gpus_per_root = 2,
                        .has_nvlink = true,
                        .has_network = true,
                        .oversubscription = 2};

    m.nvlink.bytes_per_s = 400e9;
    m.d2h_pinned.bytes_per_s = 50e9;
    m.h2d_pinned.bytes_per_s = 55e9;
    m.network.bytes_per_s = 25e9;
    return topology_of(&m);
}

static void every_port_has_a_name(void **state)
{
    static const struct {
        enum topology_port port;
        uint32_t i;
        const char *name, *kind;
        uint64_t rate;
    } want[] = {
        {TOPOLOGY_NVLINK_OUT, 5, "GPU 5 NVLink out", "NVLink out", 400000000000},
        {TOPOLOGY_NVLINK_IN, 0, "GPU 0 NVLink in", "NVLink in", 400000000000},
        {TOPOLOGY_PCIE_OUT, 7, "GPU 7 PCIe out", "PCIe out", 50000000000},
        {TOPOLOGY_PCIE_IN, 7, "GPU 7 PCIe in", "PCIe in", 55000000000},
        {TOPOLOGY_ROOT_OUT, 3, "node 1 PCIe root 1 out", "PCIe root out", 50000000000},
        {TOPOLOGY_ROOT_IN, 2, "node 1 PCIe root 0 in", "PCIe root in", 55000000000},
        /* A GPU's network is its share of the NIC, here half. */
        {TOPOLOGY_NIC_OUT, 1, "node 0 NIC 1 out", "NIC out", 50000000000},
        {TOPOLOGY_NIC_IN, 2, "node 1 NIC 0 in", "NIC in", 50000000000},
        {TOPOLOGY_UP, 1, "node 1 uplink", "uplink", 50000000000},
        {TOPOLOGY_DOWN, 0, "node 0 downlink", "downlink", 50000000000},
    };
    struct topology t = two_nodes();
    struct result r = {.path = NULL};

    (void)state;
    result_links_fill(&r, &t);
    assert_int_equal(r.links, t.links);
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const struct result_link *l = &r.link[t.first[want[i].port] + want[i].i];

        assert_string_equal(l->name, want[i].name);
        assert_string_equal(l->kind, want[i].kind);
        assert_int_equal(l->bytes_per_s, want[i].rate);
    }
    result_release(&r);
}

/* NVLink carries most, but needs least time for it: 40 GB at 400 GB/s are 0.1 s, 10 GB
 * through a NIC at 50 GB/s 0.2 s. */
static void the_busiest_is_busiest_in_time(void **state)
{
    struct topology t = two_nodes();
    uint64_t bytes[64] = {0};
    struct result r = {.path = NULL};
    struct run_result run = {.link_bytes = bytes};
    struct result_port port;
    uint32_t next = 0, kinds = 0, links = 0;

    (void)state;
    result_links_fill(&r, &t);
    assert_true(r.links <= 64);
    run.links = r.links;
    assert_false(result_links_busiest(&r, &run, &port)); /* nothing was sent */
    bytes[t.first[TOPOLOGY_NVLINK_OUT] + 2] = 40000000000;
    bytes[t.first[TOPOLOGY_NVLINK_OUT] + 6] = 30000000000;
    bytes[t.first[TOPOLOGY_NIC_IN] + 1] = 4000000000;
    bytes[t.first[TOPOLOGY_NIC_IN] + 3] = 10000000000;
    assert_true(result_links_busiest(&r, &run, &port));
    assert_string_equal(r.link[port.busiest].name, "node 1 NIC 1 in");
    assert_string_equal(port.kind, "NIC in");
    assert_int_equal(port.count, 4);
    NEAR(port.bytes, 14e9);
    NEAR(port.busiest_bytes, 10e9);
    NEAR(port.busiest_time, 0.2);
    while (result_links_next(&r, &run, &next, &port)) {
        kinds++;
        links += port.count;
    }
    assert_int_equal(kinds, TOPOLOGY_PORTS);
    assert_int_equal(links, r.links);
    run.link_bytes = NULL; /* nothing was timed */
    assert_false(result_links_busiest(&r, &run, &port));
    result_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_port_has_a_name),
        cmocka_unit_test(the_busiest_is_busiest_in_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

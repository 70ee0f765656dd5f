/* Topology: ports and paths, what machine files say of them, tokens counted. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "collective_help.h"
#include "models/collective_count.h"

/* ---- paths ---- */

static void two_nodes_share_rails_and_roots(void **state)
{
    struct machine m = collective_help_machine(2, 4);
    struct topology t;
    uint16_t path[ENGINE_MAX_PATH];

    (void)state;
    m.rails = 2;
    m.oversubscription = 4.0;
    m.gpus_per_root = 2;
    t = topology_of(&m);
    /* 8 + 8 NVLink, 8 + 8 PCIe, 4 + 4 roots, 4 + 4 NICs, 2 + 2 up and down. */
    assert_int_equal(t.links, 52);
    assert_int_equal(topology_path(&t, 5, 5, path), 0);
    assert_int_equal(topology_path(&t, 1, 2, path), 2);
    assert_int_equal(path[0], 1);
    assert_int_equal(path[1], 8 + 2);
    /* GPU 1 of node 0 (rail 0) to GPU 3 of node 1 (rail 1, NIC 3). */
    assert_int_equal(topology_path(&t, 1, 7, path), 6);
    assert_int_equal(path[0], 16 + 1);
    assert_int_equal(path[1], 40 + 0);
    assert_int_equal(path[2], 48 + 0);
    assert_int_equal(path[3], 50 + 1);
    assert_int_equal(path[4], 44 + 3);
    assert_int_equal(path[5], 24 + 7);
    assert_int_equal(topology_network_path(&t, 1, 2, path), 4);
    assert_int_equal(topology_host_path(&t, 6, true, path), 2);
    assert_int_equal(path[0], 24 + 6);
    assert_int_equal(path[1], 36 + 3);
    /* Two GPUs on a NIC have twice the bandwidth of one together; four NICs of a node
     * share a fourth of theirs on the way up. */
    assert_true(t.bytes_per_s[TOPOLOGY_NIC_OUT] == 2 * NETWORK_RATE);
    assert_true(t.bytes_per_s[TOPOLOGY_UP] == NETWORK_RATE);
}

static void without_nvlink_bytes_cross_pcie(void **state)
{
    struct machine m = collective_help_machine(1, 4);
    struct topology t;
    uint16_t path[ENGINE_MAX_PATH];

    (void)state;
    m.has_nvlink = m.has_network = false;
    m.gpus_per_root = 2;
    t = topology_of(&m);
    assert_int_equal(t.links, 12);
    assert_int_equal(topology_path(&t, 0, 1, path), 2);
    assert_int_equal(topology_path(&t, 1, 2, path), 4);
    assert_int_equal(path[0], 1);
    assert_int_equal(path[1], 8);
    assert_int_equal(path[2], 10 + 1);
    assert_int_equal(path[3], 4 + 2);
    assert_int_equal(t.near_latency, m.d2h_pinned.latency);
}

/* ---- machines and tokens ---- */

/* A token counts once per rank and once per node, whatever was counted before. */
static void tokens_are_counted(void **state)
{
    struct machine m = collective_help_machine(3, 4);
    struct topology t = topology_of(&m);
    struct rng r = rng_stream(11, "count", 0);
    struct collective_count x;

    (void)state;
    collective_count_init(&x, &t);
    for (uint32_t round = 0; round < 2; round++) {
        uint64_t experts[12][12] = {{0}};
        uint64_t distinct[12][12] = {{0}};
        uint64_t nodes[12][3] = {{0}};

        collective_count_reset(&x);
        for (uint32_t token = 0; token < 500; token++) {
            uint32_t source = (uint32_t)rng_below(&r, 12);
            uint32_t to[8];
            uint32_t times[12] = {0};

            for (uint32_t i = 0; i < 8; i++) {
                to[i] = (uint32_t)rng_below(&r, 12);
                times[to[i]]++;
            }
            collective_count_add(&x, source, to, 8);
            for (uint32_t d = 0; d < 12; d++) {
                experts[source][d] += times[d];
                distinct[source][d] += times[d] > 0 ? 1 : 0;
            }
            for (uint32_t n = 0; n < 3; n++)
                nodes[source][n] += times[4 * n] + times[4 * n + 1] + times[4 * n + 2] +
                                                times[4 * n + 3] >
                                            0
                                        ? 1
                                        : 0;
        }
        assert_memory_equal(x.experts, experts, sizeof(experts));
        assert_memory_equal(x.distinct, distinct, sizeof(distinct));
        assert_memory_equal(x.by_node, nodes, sizeof(nodes));
    }
    collective_count_release(&x);
}

static struct machine *changed_machine(const char *const *changes, size_t count,
                                       struct err *e)
{
    struct cfg *c = cfg_load("models/machine/l40s.yaml", e);
    struct machine *m;

    assert_non_null(c);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(cfg_override(c, changes[i], e), 0);
    m = machine_from_cfg(c, e);
    cfg_free(c);
    return m;
}

/* What a machine file may add, and what follows where it says nothing. */
static void machine_files(void **state)
{
    static const char network[] =
        "network={latency: {value: 5 us, source: s}, bandwidth: {value: 20 GB/s, "
        "source: s}, rails: {value: 2, source: s}, oversubscription: {value: 2.5, "
        "source: s}}";
    static const char collective[] =
        "collective={share: {value: 0.7, source: s}, normal_combine: {value: 30 us, "
        "source: s}, low_latency_share: {value: 0.6, source: s}, gather_share: {value: "
        "0.35, source: s}}";
    const char *const changes[] = {"gpus=4", "nodes=3", network, collective,
                                   "pcie={gpus_per_root: {value: 2, source: s}}"};
    static const char *const bad[] = {"pcie={gpus_per_root: {value: 0, source: s}}",
                                      "pcie={roots: {value: 2, source: s}}",
                                      "collective={normal: {value: 1 us, source: s}}",
                                      "collective={share: {value: 1.2, source: s}}"};
    struct err e = {.text = ""};
    struct machine *m = changed_machine(NULL, 0, &e);
    struct collective c = {.form = COLLECTIVE_NORMAL};
    struct topology t;
    struct collective_terms k;

    (void)state;
    assert_non_null(m);
    t = topology_of(m);
    assert_true(!t.nvlink && !t.oversubscribed && t.rails == 0 && t.roots == 0);
    assert_int_equal(m->collective.low_latency_combine, m->gpu.kernel_floor);
    assert_true(m->collective.normal_share == 1.0);
    assert_true(m->collective.gather_share == 1.0);
    machine_free(m);
    m = changed_machine(changes, sizeof(changes) / sizeof(changes[0]), &e);
    if (m == NULL)
        fail_msg("%s", e.text);
    t = topology_of(m);
    assert_true(t.ranks == 12 && t.rails == 2 && t.roots == 2);
    assert_true(t.bytes_per_s[TOPOLOGY_NIC_IN] == 40e9);
    assert_true(t.bytes_per_s[TOPOLOGY_DOWN] == 80e9 / 2.5);
    /* Normal dispatch waits for the host, which reads the counts; a graph cannot. */
    k = collective_terms_of(m, &c, false);
    assert_int_equal(k.launch, m->gpu.kernel_floor);
    assert_int_equal(k.sync, m->host.round_trip);
    assert_true(k.near_share == 0.7 && k.far_share == 1.0);
    assert_int_equal(collective_terms_of(m, &c, true).sync, 0);
    c.reverse = true;
    k = collective_terms_of(m, &c, false);
    assert_int_equal(k.launch, 30 * SIM_TIME_PER_US);
    assert_int_equal(k.sync, 0);
    c.form = COLLECTIVE_LOW_LATENCY;
    assert_true(collective_terms_of(m, &c, false).near_share == 0.6);
    c.form = COLLECTIVE_ALL_GATHER;
    assert_true(collective_terms_of(m, &c, false).near_share == 0.35);
    c.form = COLLECTIVE_REDUCE_SCATTER;
    assert_true(collective_terms_of(m, &c, false).near_share == 0.35);
    c.form = COLLECTIVE_FLAT;
    assert_true(collective_terms_of(m, &c, false).near_share == 0.7);
    machine_free(m);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        e.text[0] = '\0';
        assert_null(changed_machine(&bad[i], 1, &e));
        assert_true(e.text[0] != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_nodes_share_rails_and_roots),
        cmocka_unit_test(without_nvlink_bytes_cross_pcie),
        cmocka_unit_test(tokens_are_counted),
        cmocka_unit_test(machine_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

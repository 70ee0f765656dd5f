/* Collectives in closed form: answers by hand, brute force over ports, properties. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "collective_help.h"

#define TERMS (&collective_help_terms)
#define FIXED (collective_help_terms.launch + collective_help_terms.sync)
#define TRIALS 300

static sim_time flow(double bytes, double rate)
{
    return sim_time_of_seconds(bytes / rate);
}

static void assert_time(sim_time got, sim_time want)
{
    if (got != want)
        fail_msg("%lld is not %lld", (long long)got, (long long)want);
}

/* ---- answers by hand ---- */

static void two_gpus(void **state)
{
    struct machine m = collective_help_machine(1, 2);
    struct topology t = topology_of(&m);
    const uint64_t pairs[4] = {999999999, 1234567, 7654321, 999999999};
    struct collective c = {.form = COLLECTIVE_FLAT, .pairs = pairs, .unit_bytes = 3};

    (void)state;
    assert_time(collective_help_time(&t, &c, TERMS),
                FIXED + NEAR_LATENCY + flow(3 * 7654321.0, NVLINK_RATE));
    /* A kernel that reaches half of a port takes twice as long on it. */
    struct collective_terms half = *TERMS;

    half.near_share = 0.5;
    assert_time(collective_help_time(&t, &c, &half),
                FIXED + NEAR_LATENCY + flow(6 * 7654321.0, NVLINK_RATE));
}

static void equal_all_to_all_in_one_node(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 9; n++) {
        struct machine m = collective_help_machine(1, n);
        struct topology t = topology_of(&m);
        uint64_t *pairs = collective_help_equal((size_t)n * n, 123457);
        sim_time want =
            FIXED + (n > 1 ? NEAR_LATENCY : 0) + flow((n - 1) * 123457.0, NVLINK_RATE);

        for (uint32_t form = COLLECTIVE_FLAT; form <= COLLECTIVE_LOW_LATENCY; form++) {
            struct collective c = {.form = form, .pairs = pairs, .unit_bytes = 1};

            assert_time(collective_help_time(&t, &c, TERMS), want);
        }
        free(pairs);
    }
}

/* Every pair has e bytes; a token is for all 8 GPUs of each node, so that a node needs it
 * once: e, not 8 e. */
static void equal_all_to_all_in_two_nodes(void **state)
{
    struct machine m = collective_help_machine(2, 8);
    struct topology t = topology_of(&m);
    const double e = 1048583;
    uint64_t *pairs = collective_help_equal(256, 1048583);
    uint64_t *nodes = collective_help_equal(32, 1048583);
    struct collective c = {.pairs = pairs, .nodes = nodes, .unit_bytes = 1};
    sim_time near = NEAR_LATENCY + flow(14 * e, NVLINK_RATE);
    sim_time across = FAR_LATENCY + flow(8 * e, NETWORK_RATE);
    sim_time once = FAR_LATENCY + flow(e, NETWORK_RATE);

    (void)state;
    for (int reverse = 0; reverse < 2; reverse++) {
        c.reverse = reverse == 1;
        c.form = COLLECTIVE_FLAT;
        assert_time(collective_help_time(&t, &c, TERMS), FIXED + across);
        c.form = COLLECTIVE_LOW_LATENCY;
        assert_time(collective_help_time(&t, &c, TERMS), FIXED + across);
        c.form = COLLECTIVE_RAILS;
        assert_time(collective_help_time(&t, &c, TERMS), FIXED + near + across);
        c.form = COLLECTIVE_FORWARD;
        assert_time(collective_help_time(&t, &c, TERMS), FIXED + near + once);
        c.form = COLLECTIVE_NORMAL;
        assert_time(collective_help_time(&t, &c, TERMS),
                    FIXED + NEAR_LATENCY + FAR_LATENCY +
                        (near - NEAR_LATENCY > once - FAR_LATENCY ? near - NEAR_LATENCY
                                                                  : once - FAR_LATENCY));
    }
    /* Without NVLink all 15 leave by the NIC. */
    c.form = COLLECTIVE_LOW_LATENCY;
    c.network_only = true;
    assert_time(collective_help_time(&t, &c, TERMS),
                FIXED + FAR_LATENCY + flow(15 * e, NETWORK_RATE));
    c.network_only = false;
    /* A network that carries a third of the NICs takes three times as long; the 64 pairs
     * of two nodes meet there. */
    m.oversubscription = 3.0;
    t = topology_of(&m);
    assert_time(collective_help_time(&t, &c, TERMS),
                FIXED + FAR_LATENCY + flow(64 * e, 8 * NETWORK_RATE / 3.0));
    free(pairs);
    free(nodes);
}

static void the_hot_rank_decides(void **state)
{
    struct machine m = collective_help_machine(1, 8);
    struct topology t = topology_of(&m);
    uint64_t *pairs = collective_help_equal(64, 1000);
    struct collective c = {.form = COLLECTIVE_FLAT, .pairs = pairs, .unit_bytes = 1};

    (void)state;
    for (uint32_t s = 0; s < 8; s++)
        pairs[s * 8 + 5] = 1000000;
    assert_time(collective_help_time(&t, &c, TERMS),
                FIXED + NEAR_LATENCY + flow(7000000, NVLINK_RATE));
    /* Turned round, the hot rank sends: as long. */
    c.reverse = true;
    assert_time(collective_help_time(&t, &c, TERMS),
                FIXED + NEAR_LATENCY + flow(7000000, NVLINK_RATE));
    free(pairs);
}

/* Bus bandwidth as nccl-tests has it, S (n - 1) / n / t, is that of the port. */
static void rings_reach_the_bandwidth_of_a_port(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 8; n++) {
        struct machine m = collective_help_machine(1, n);
        struct topology t = topology_of(&m);
        const uint64_t each = 840 * 7919;
        uint64_t *bytes = collective_help_equal(n, each);
        uint64_t all = n * each;
        struct collective c = {.form = COLLECTIVE_ALL_GATHER, .bytes = bytes};
        sim_time half =
            (n - 1) * NEAR_LATENCY + flow((double)all * (n - 1) / n, NVLINK_RATE);
        uint32_t hops = 0;

        assert_time(collective_help_time(&t, &c, TERMS), FIXED + half);
        c.form = COLLECTIVE_REDUCE_SCATTER;
        assert_time(collective_help_time(&t, &c, TERMS), FIXED + half);
        c.form = COLLECTIVE_ALL_REDUCE_RING;
        c.bytes = &all;
        assert_time(collective_help_time(&t, &c, TERMS), FIXED + 2 * half);
        /* A tree of n has n - 1 edges and the 2 n trees wear all ports alike: the same
         * bytes, but few hops. */
        while (n >> (hops + 1) != 0)
            hops++;
        c.form = COLLECTIVE_ALL_REDUCE_TREE;
        assert_time(collective_help_time(&t, &c, TERMS),
                    FIXED + 2 * hops * NEAR_LATENCY +
                        flow(2.0 * (double)all * (n - 1) / n, NVLINK_RATE));
        free(bytes);
    }
}

/* Four rings over 3 nodes of 4: a GPU sends one ring's bytes by its NIC, three rings' by
 * NVLink; each edge of a ring carries 11 of its 12 chunks. */
static void rings_of_several_nodes_share_the_nics(void **state)
{
    struct machine m = collective_help_machine(3, 4);
    struct topology t = topology_of(&m);
    const double each = 48 * 7919;
    uint64_t *bytes = collective_help_equal(12, 48 * 7919);
    struct collective c = {.form = COLLECTIVE_ALL_GATHER, .bytes = bytes};

    (void)state;
    assert_time(collective_help_time(&t, &c, TERMS),
                FIXED + 3 * FAR_LATENCY + 8 * NEAR_LATENCY +
                    flow(11 * each / 4, NETWORK_RATE));
    m.nvlink.bytes_per_s = 2 * NETWORK_RATE;
    t = topology_of(&m);
    assert_time(collective_help_time(&t, &c, TERMS),
                FIXED + 3 * FAR_LATENCY + 8 * NEAR_LATENCY +
                    flow(3 * 11 * each / 4, 2 * NETWORK_RATE));
    free(bytes);
}

/* A group of one GPU per node has one ring, all of it over the network. */
static void groups_across_nodes(void **state)
{
    struct machine m = collective_help_machine(3, 4);
    struct topology t = topology_of(&m);
    const uint32_t group[3] = {1, 5, 9};
    const uint64_t bytes[3] = {500009, 700001, 300007};
    uint64_t moved[144];
    struct collective c = {
        .form = COLLECTIVE_ALL_GATHER, .bytes = bytes, .group = group, .group_count = 3};

    (void)state;
    /* The edge to rank 9 carries all but what rank 9 began with. */
    assert_time(collective_help_time(&t, &c, TERMS),
                FIXED + 2 * FAR_LATENCY + flow(1200010, NETWORK_RATE));
    collective_transfers(&t, &c, 0, moved);
    assert_int_equal(moved[1 * 12 + 5], 500009 + 300007);
    assert_int_equal(moved[5 * 12 + 9], 500009 + 700001);
    assert_int_equal(moved[9 * 12 + 1], 700001 + 300007);
    /* Scattering, the edge from rank 9 does. */
    c.form = COLLECTIVE_REDUCE_SCATTER;
    assert_time(collective_help_time(&t, &c, TERMS),
                FIXED + 2 * FAR_LATENCY + flow(1200010, NETWORK_RATE));
    collective_transfers(&t, &c, 0, moved);
    assert_int_equal(moved[1 * 12 + 5], 700001 + 300007);
    assert_int_equal(moved[5 * 12 + 9], 500009 + 300007);
    assert_int_equal(moved[9 * 12 + 1], 500009 + 700001);
}

/* Of five GPUs in nodes of four, which are runs of 4 and of 1, a tree is as deep as a
 * heap of five, floor(log2(5)), and every hop may be between nodes; of two in each of two
 * nodes it is one hop in a node and one between them. A ring leaves out one hop. */
static void uneven_groups(void **state)
{
    struct machine m = collective_help_machine(2, 4);
    struct topology t = topology_of(&m);
    const uint32_t uneven[] = {0, 1, 2, 3, 4}, even[] = {0, 1, 4, 5};
    const uint32_t mixed[] = {0, 4, 5}, one[] = {6};
    struct collective c = {
        .form = COLLECTIVE_ALL_REDUCE_TREE, .group = uneven, .group_count = 5};

    (void)state;
    assert_time(collective_alpha(&t, &c, 0), 2 * 2 * FAR_LATENCY);
    c.group = even;
    c.group_count = 4;
    assert_time(collective_alpha(&t, &c, 0), 2 * (NEAR_LATENCY + FAR_LATENCY));
    c.group = mixed;
    c.group_count = 3;
    assert_time(collective_alpha(&t, &c, 0), 2 * FAR_LATENCY);
    c.group = one;
    c.group_count = 1;
    assert_time(collective_alpha(&t, &c, 0), 0);
    c.form = COLLECTIVE_ALL_GATHER;
    assert_time(collective_alpha(&t, &c, 0), 0);
    c.group = uneven;
    c.group_count = 5;
    assert_time(collective_alpha(&t, &c, 0), 2 * FAR_LATENCY + 2 * NEAR_LATENCY);
    c.group = mixed;
    c.group_count = 3;
    assert_time(collective_alpha(&t, &c, 0), 2 * FAR_LATENCY);
    c.group = NULL;
    assert_time(collective_alpha(&t, &c, 0), 2 * FAR_LATENCY + 5 * NEAR_LATENCY);
}

/* Two nodes of g: of 2 g trees each GPU is the root of its node in two, which send 1 / g
 * of the bytes either way by its NIC; inside, it stands once at every place of either
 * kind. */
static void trees_of_two_nodes(void **state)
{
    const uint64_t all = UINT64_C(16) * 9 * 5 * 7 * 100003; /* 2 g divides it */

    (void)state;
    for (uint32_t g = 1; g <= 8; g++) {
        struct machine m = collective_help_machine(2, g);
        struct topology t = topology_of(&m);
        struct collective c = {.form = COLLECTIVE_ALL_REDUCE_TREE, .bytes = &all};
        uint32_t hops = g >= 8 ? 3 : g >= 4 ? 2 : g >= 2 ? 1 : 0;
        sim_time far = flow((double)all / g, NETWORK_RATE);
        sim_time near = flow(2 * (double)all * (g - 1) / g, NVLINK_RATE);

        assert_time(collective_help_time(&t, &c, TERMS),
                    FIXED + 2 * (hops * NEAR_LATENCY + FAR_LATENCY) +
                        (far > near ? far : near));
    }
}

/* ---- random matrices ---- */

struct draw {
    struct machine machine;
    struct topology topology;
    uint64_t *pairs, *nodes, *bytes;
    struct collective c;
};

/* A random shape and matrix for every form in turn. */
static struct draw draw_make(struct rng *r, uint32_t trial)
{
    struct draw d = {.machine = collective_help_random(r)};
    struct topology *t = &d.topology;

    *t = topology_of(&d.machine);
    d.pairs = collective_help_matrix(r, (size_t)t->ranks * t->ranks, 1000003);
    d.nodes = collective_help_matrix(r, (size_t)t->ranks * t->nodes, 1000003);
    d.bytes = collective_help_matrix(r, t->ranks, 100000007);
    d.c = (struct collective){
        .form = trial % COLLECTIVE_FORMS,
        .pairs = d.pairs,
        .nodes = rng_below(r, 3) == 0 ? NULL : d.nodes,
        .unit_bytes = 1 + rng_below(r, 9),
        .reverse = rng_below(r, 2) == 1,
        .bytes = d.bytes,
    };
    d.c.network_only = d.c.form == COLLECTIVE_LOW_LATENCY && rng_below(r, 2) == 1;
    return d;
}

static void draw_free(struct draw *d)
{
    free(d->pairs);
    free(d->nodes);
    free(d->bytes);
}

/* Loads by walking the path of every transfer. */
static uint64_t *loads_by_path(const struct topology *t, const struct collective *c,
                               uint32_t phase)
{
    uint64_t *moved = mem_alloc((size_t)t->ranks * t->ranks, sizeof(*moved));
    uint64_t *load = mem_zalloc(t->links, sizeof(*load));

    collective_transfers(t, c, phase, moved);
    for (uint32_t s = 0; s < t->ranks; s++) {
        for (uint32_t d = 0; d < t->ranks; d++) {
            uint16_t path[ENGINE_MAX_PATH];
            uint32_t n = c->network_only ? topology_network_path(t, s, d, path)
                                         : topology_path(t, s, d, path);

            for (uint32_t i = 0; i < n; i++)
                load[path[i]] += moved[s * t->ranks + d];
        }
    }
    free(moved);
    return load;
}

static void loads_are_those_of_the_transfers(void **state)
{
    struct rng r = rng_stream(4, "loads", 0);

    (void)state;
    for (uint32_t trial = 0; trial < TRIALS; trial++) {
        struct draw d = draw_make(&r, trial);
        uint64_t *load = mem_alloc(d.topology.links, sizeof(*load));
        sim_time want = FIXED;

        for (uint32_t p = 0; p < collective_phases(&d.c); p++) {
            uint64_t *brute = loads_by_path(&d.topology, &d.c, p);
            sim_time longest = 0;

            collective_loads(&d.topology, &d.c, p, load);
            for (uint32_t k = 0; k < TOPOLOGY_PORTS; k++) {
                for (uint32_t i = d.topology.first[k]; i < d.topology.first[k + 1]; i++) {
                    sim_time time = flow((double)brute[i], d.topology.bytes_per_s[k]);

                    assert_int_equal(load[i], brute[i]);
                    longest = time > longest ? time : longest;
                }
            }
            want += longest + collective_alpha(&d.topology, &d.c, p);
            free(brute);
        }
        assert_time(collective_time(&d.topology, &d.c, TERMS, load), want);
        free(load);
        draw_free(&d);
    }
}

/* What the forms say in words, said again: who ends up with how much. */
static void units_arrive(void **state)
{
    struct rng r = rng_stream(5, "arrive", 0);

    (void)state;
    for (uint32_t trial = 0; trial < TRIALS; trial++) {
        struct draw d = draw_make(&r, trial % (COLLECTIVE_LOW_LATENCY + 1));
        uint32_t n = d.topology.ranks;
        uint32_t g = d.topology.gpus;
        uint32_t phases = collective_phases(&d.c);
        uint64_t *moved[2] = {mem_zalloc((size_t)n * n, sizeof(uint64_t)),
                              mem_zalloc((size_t)n * n, sizeof(uint64_t))};
        uint64_t far = 0;
        uint64_t want_far = 0;

        d.c.reverse = false;
        d.c.unit_bytes = 1;
        for (uint32_t p = 0; p < phases; p++)
            collective_transfers(&d.topology, &d.c, p, moved[p]);
        for (uint32_t s = 0; s < n; s++) {
            for (uint32_t m = 0; m < d.topology.nodes; m++) {
                uint64_t sum = 0;

                for (uint32_t j = 0; j < g; j++) {
                    sum += d.pairs[s * n + m * g + j];
                    far += m == s / g ? 0
                                      : moved[0][s * n + m * g + j] +
                                            moved[1][s * n + m * g + j];
                }
                if (m != s / g)
                    want_far += (d.c.form == COLLECTIVE_FORWARD ||
                                 d.c.form == COLLECTIVE_NORMAL) &&
                                        d.c.nodes != NULL
                                    ? d.nodes[s * d.topology.nodes + m]
                                    : sum;
            }
        }
        assert_int_equal(far, want_far);
        /* Into each rank, over NVLink: what others have for it, whoever hands it on. */
        for (uint32_t to = 0; to < n && d.c.form != COLLECTIVE_RAILS; to++) {
            uint64_t near = 0;
            uint64_t want = 0;

            for (uint32_t s = 0; s < n; s++) {
                bool handed =
                    d.c.form == COLLECTIVE_FORWARD || d.c.form == COLLECTIVE_NORMAL;

                near += s / g == to / g ? moved[0][s * n + to] + moved[1][s * n + to] : 0;
                want += handed ? (s % g == to % g ? 0 : d.pairs[s * n + to])
                               : (s / g == to / g && s != to ? d.pairs[s * n + to] : 0);
            }
            assert_int_equal(near, want);
        }
        free(moved[0]);
        free(moved[1]);
        draw_free(&d);
    }
}

/* GPUs of a node take each other's numbers, on all nodes alike: places name rails. */
static void relabelling_changes_nothing(void **state)
{
    struct rng r = rng_stream(6, "relabel", 0);

    (void)state;
    for (uint32_t trial = 0; trial < TRIALS; trial++) {
        struct draw d = draw_make(&r, trial % (COLLECTIVE_LOW_LATENCY + 1));
        uint32_t n = d.topology.ranks;
        uint32_t g = d.topology.gpus;
        uint32_t shift = (uint32_t)rng_below(&r, g);
        uint64_t *pairs = mem_alloc((size_t)n * n, sizeof(*pairs));
        uint64_t *nodes = mem_alloc((size_t)n * d.topology.nodes, sizeof(*nodes));
        sim_time before;

        d.machine.rails = 0;
        d.topology = topology_of(&d.machine);
        before = collective_help_time(&d.topology, &d.c, TERMS);
        for (uint32_t s = 0; s < n; s++) {
            uint32_t to_s = s - s % g + (s % g + shift) % g;

            for (uint32_t e = 0; e < n; e++)
                pairs[to_s * n + e - e % g + (e % g + shift) % g] = d.pairs[s * n + e];
            memcpy(nodes + to_s * d.topology.nodes, d.nodes + s * d.topology.nodes,
                   d.topology.nodes * sizeof(*nodes));
        }
        d.c.pairs = pairs;
        d.c.nodes = d.c.nodes == NULL ? NULL : nodes;
        assert_time(collective_help_time(&d.topology, &d.c, TERMS), before);
        free(pairs);
        free(nodes);
        draw_free(&d);
    }
}

/* More bytes never take less time; no bytes take launch, latencies and sync. */
static void time_grows_with_bytes(void **state)
{
    struct rng r = rng_stream(7, "grow", 0);

    (void)state;
    for (uint32_t trial = 0; trial < TRIALS; trial++) {
        struct draw d = draw_make(&r, trial);
        uint32_t n = d.topology.ranks;
        sim_time before = collective_help_time(&d.topology, &d.c, TERMS);
        sim_time none = FIXED;

        d.pairs[rng_below(&r, (uint64_t)n * n)] += rng_below(&r, 9000000);
        d.nodes[rng_below(&r, (uint64_t)n * d.topology.nodes)] += rng_below(&r, 9000000);
        d.bytes[rng_below(&r, n)] += rng_below(&r, 900000000);
        assert_true(collective_help_time(&d.topology, &d.c, TERMS) >= before);
        d.c.unit_bytes = 0;
        memset(d.bytes, 0, n * sizeof(*d.bytes));
        for (uint32_t p = 0; p < collective_phases(&d.c); p++)
            none += collective_alpha(&d.topology, &d.c, p);
        assert_time(collective_help_time(&d.topology, &d.c, TERMS), none);
        assert_true(none <= before);
        assert_true(n == 1 ? none == FIXED : none > FIXED);
        draw_free(&d);
    }
}

static void all_reduce_is_scatter_then_gather(void **state)
{
    struct rng r = rng_stream(8, "reduce", 0);

    (void)state;
    for (uint32_t trial = 0; trial < TRIALS; trial++) {
        struct draw d = draw_make(&r, trial);
        uint32_t n = d.topology.ranks;
        uint64_t all = rng_below(&r, 1000000007);
        struct collective c = {.form = COLLECTIVE_ALL_REDUCE_RING, .bytes = &all};
        struct collective part = {.form = COLLECTIVE_REDUCE_SCATTER, .bytes = d.bytes};
        sim_time sum;

        for (uint32_t i = 0; i < n; i++)
            d.bytes[i] = all / n + (i < all % n ? 1 : 0);
        sum = collective_help_time(&d.topology, &part, TERMS) - FIXED;
        part.form = COLLECTIVE_ALL_GATHER;
        sum += collective_help_time(&d.topology, &part, TERMS);
        assert_time(collective_help_time(&d.topology, &c, TERMS), sum);
        draw_free(&d);
    }
}

/* ---- published ---- */

/* DeepEP's README: low-latency kernels, 128 tokens per GPU, 8 experts each, hidden size
 * 7168, fp8 dispatch and bf16 combine, over nodes of 8 H800 with 400 Gb/s NICs. An H800
 * has four ninths of the NVLink of an H100 (400 of 900 GB/s). */
static void published_low_latency(void **state)
{
    static const struct {
        uint32_t gpus;
        double dispatch_us, combine_us;
    } rows[] = {{8, 77, 114},   {16, 118, 195},  {32, 155, 273},
                {64, 173, 314}, {128, 192, 369}, {256, 194, 360}};
    struct err e = {.text = ""};
    struct machine *m = machine_load("h100-80g", "models/machine", &e);

    (void)state;
    assert_non_null(m);
    m->gpus = 8;
    m->nvlink.bytes_per_s *= 4.0 / 9.0;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint32_t n = rows[i].gpus;
        uint64_t *pairs = collective_help_equal((size_t)n * n, 128 * 8 / n);
        struct collective c = {.form = COLLECTIVE_LOW_LATENCY, .pairs = pairs};
        struct topology t;

        m->nodes = n / 8;
        t = topology_of(m);
        for (int combine = 0; combine < 2; combine++) {
            double want = combine ? rows[i].combine_us : rows[i].dispatch_us;
            struct collective_terms k;
            double got;

            c.reverse = combine == 1;
            c.unit_bytes = collective_row_bytes(7168, !combine);
            k = collective_terms_of(m, &c, true);
            got = (double)collective_help_time(&t, &c, &k) / SIM_TIME_PER_US;
            print_message(
                "%3u GPUs, %s: %3.0f us published, %3.0f predicted (%+.0f %%)\n", n,
                combine ? "combine " : "dispatch", want, got, 100 * (got / want - 1));
            assert_true(got > 0.8 * want && got < 1.25 * want);
        }
        free(pairs);
    }
    machine_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_gpus),
        cmocka_unit_test(equal_all_to_all_in_one_node),
        cmocka_unit_test(equal_all_to_all_in_two_nodes),
        cmocka_unit_test(the_hot_rank_decides),
        cmocka_unit_test(rings_reach_the_bandwidth_of_a_port),
        cmocka_unit_test(rings_of_several_nodes_share_the_nics),
        cmocka_unit_test(groups_across_nodes),
        cmocka_unit_test(trees_of_two_nodes),
        cmocka_unit_test(uneven_groups),
        cmocka_unit_test(loads_are_those_of_the_transfers),
        cmocka_unit_test(units_arrive),
        cmocka_unit_test(relabelling_changes_nothing),
        cmocka_unit_test(time_grows_with_bytes),
        cmocka_unit_test(all_reduce_is_scatter_then_gather),
        cmocka_unit_test(published_low_latency),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Collectives as work on links: agreement with the closed forms, contention. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "collective_help.h"
#include "engine_help.h"

#define TERMS (&collective_help_terms)
#define FIXED (collective_help_terms.launch + collective_help_terms.sync)
#define TRIALS 90

/* An engine with the links of a topology and lanes for `count` collectives at once. */
struct world {
    struct engine *engine;
    uint32_t first_link, first_lane, lanes;
};

static struct world world_make(const struct topology *t, uint32_t count)
{
    struct world w = {
        .engine = engine_new(true),
        .lanes = 2 + (t->links > t->ranks * t->ranks ? t->links : t->ranks * t->ranks)};
    struct err e = {.text = ""};

    /* Something else comes first, in lanes and links. */
    (void)engine_add_link(w.engine, "other", 1e9);
    w.first_lane = engine_add_lane(w.engine, "other") + 1;
    for (uint32_t i = 0; i < count * w.lanes; i++)
        (void)engine_add_lane(w.engine, "collective");
    assert_int_equal(topology_add_links(t, w.engine, &w.first_link, &e), 0);
    return w;
}

static struct collective_site world_site(const struct world *w, uint32_t i,
                                         enum collective_grain grain)
{
    return (struct collective_site){.first_link = w->first_link,
                                    .step_lane = w->first_lane + i * w->lanes,
                                    .first_lane = w->first_lane + i * w->lanes + 1,
                                    .lanes = w->lanes - 1,
                                    .grain = grain,
                                    .tag = 7,
                                    .release = 1000};
}

/* Runs one collective alone from time 1000; returns how long it takes. */
static sim_time run_alone(const struct topology *t, const struct collective *c,
                          const struct collective_terms *k, enum collective_grain grain)
{
    struct world w = world_make(t, 1);
    struct collective_site site = world_site(&w, 0, grain);
    work_id last = collective_ops(w.engine, t, c, k, &site);
    sim_time end = engine_wait(w.engine, last);

    assert_true(engine_drain(w.engine) == end);
    engine_help_check(w.engine);
    engine_free(w.engine);
    return end - 1000;
}

/* Alone, ports take the closed form to the picosecond; transfers at least as long, but
 * for the rounding of their bytes (shares) and times. */
static void random_collectives_agree(void **state)
{
    struct rng r = rng_stream(9, "agree", 0);
    uint32_t longer = 0;
    double most = 1.0;

    (void)state;
    for (uint32_t trial = 0; trial < TRIALS; trial++) {
        struct machine m = collective_help_random(&r);
        struct topology t = topology_of(&m);
        uint64_t *pairs = collective_help_matrix(&r, (size_t)t.ranks * t.ranks, 10000019);
        uint64_t *nodes = collective_help_matrix(&r, (size_t)t.ranks * t.nodes, 10000019);
        uint64_t *bytes = collective_help_matrix(&r, t.ranks, 1000000007);
        struct collective c = {.form = trial % COLLECTIVE_FORMS,
                               .pairs = pairs,
                               .nodes = nodes,
                               .unit_bytes = 1 + rng_below(&r, 9),
                               .reverse = rng_below(&r, 2) == 1,
                               .bytes = bytes};
        struct collective_terms k = *TERMS;
        sim_time closed;
        sim_time pairwise;

        k.near_share = rng_below(&r, 2) == 0 ? 1.0 : 0.649;
        closed = collective_help_time(&t, &c, &k);
        assert_true(run_alone(&t, &c, &k, COLLECTIVE_PORTS) == closed);
        pairwise = run_alone(&t, &c, &k, COLLECTIVE_PER_PAIR);
        assert_true(pairwise >= closed - 100);
        longer += pairwise > closed + closed / 100 ? 1 : 0;
        most = fmax(most, (double)pairwise / (double)closed);
        free(pairs);
        free(nodes);
        free(bytes);
    }
    print_message("transfers take longer in %u of %d, %.2f times at most\n", longer,
                  TRIALS, most);
    assert_true(longer > 0 && most < 2.0);
}

/* Equal loads, whole paths: the fair rates are in proportion to the bytes. */
static void equal_transfers_agree(void **state)
{
    static const uint32_t shapes[][2] = {{1, 2}, {1, 8}, {2, 8}, {3, 4}, {4, 1}};

    (void)state;
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct machine m = collective_help_machine(shapes[i][0], shapes[i][1]);
        struct topology t = topology_of(&m);
        uint64_t *pairs = collective_help_equal((size_t)t.ranks * t.ranks, 840 * 1009);
        uint64_t *nodes = collective_help_equal((size_t)t.ranks * t.nodes, 840 * 1009);
        uint64_t *bytes = collective_help_equal(t.ranks, 840 * 64007);

        for (uint32_t form = 0; form < COLLECTIVE_FORMS; form++) {
            struct collective c = {.form = form,
                                   .pairs = pairs,
                                   .nodes = nodes,
                                   .unit_bytes = 3,
                                   .bytes = bytes};

            engine_help_within(run_alone(&t, &c, TERMS, COLLECTIVE_PER_PAIR),
                               collective_help_time(&t, &c, TERMS), 100);
        }
        free(pairs);
        free(nodes);
        free(bytes);
    }
}

/* One port carries part of every transfer that lasts: it is never idle, whatever shares
 * the others get. */
static void hot_rank_transfers_agree(void **state)
{
    struct machine m = collective_help_machine(2, 4);
    struct topology t = topology_of(&m);
    uint64_t *pairs = collective_help_equal(64, 0);
    struct collective c = {.form = COLLECTIVE_FLAT, .pairs = pairs, .unit_bytes = 1};

    (void)state;
    for (uint32_t s = 0; s < 8; s++)
        pairs[s * 8 + 5] = 1000003 + 10007 * s;
    engine_help_within(run_alone(&t, &c, TERMS, COLLECTIVE_PER_PAIR),
                       collective_help_time(&t, &c, TERMS), 100);
    free(pairs);
}

/* Two alike at once take each port in halves; on other ports they do not meet. */
static void concurrent_collectives_contend(void **state)
{
    struct machine m = collective_help_machine(2, 4);
    struct topology t = topology_of(&m);
    const double all = 4800007;
    const uint64_t bytes[4] = {1200001, 1200002, 1200002, 1200002};
    static const uint32_t groups[2][4] = {{0, 1, 2, 3}, {4, 5, 6, 7}};
    /* Twice the first node; then one collective in each node. */
    const sim_time want[2] = {
        3 * NEAR_LATENCY + sim_time_of_seconds(2 * (all - 1200001) / NVLINK_RATE),
        3 * NEAR_LATENCY + sim_time_of_seconds((all - 1200001) / NVLINK_RATE)};

    (void)state;
    for (uint32_t apart = 0; apart < 2; apart++) {
        for (uint32_t grain = COLLECTIVE_PORTS; grain <= COLLECTIVE_PER_PAIR; grain++) {
            struct world w = world_make(&t, 2);
            work_id last[2];

            for (uint32_t i = 0; i < 2; i++) {
                struct collective_site site = world_site(&w, i, grain);
                struct collective c = {.form = COLLECTIVE_ALL_GATHER,
                                       .bytes = bytes,
                                       .group = groups[apart == 1 ? i : 0],
                                       .group_count = 4};

                last[i] = collective_ops(w.engine, &t, &c, TERMS, &site);
            }
            (void)engine_drain(w.engine);
            for (uint32_t i = 0; i < 2; i++)
                engine_help_within(engine_times(w.engine, last[i]).end,
                                   1000 + FIXED + want[apart], 20);
            engine_help_check(w.engine);
            engine_free(w.engine);
        }
    }
}

/* A copy from the host holds back what comes from other nodes, through PCIe, and not what
 * comes over NVLink. */
static void host_copies_meet_the_network(void **state)
{
    struct machine m = collective_help_machine(2, 2);
    struct topology t;

    (void)state;
    m.h2d_pinned.bytes_per_s = NETWORK_RATE;
    t = topology_of(&m);
    for (uint32_t far = 0; far < 2; far++) {
        struct world w = world_make(&t, 1);
        struct collective_site site = world_site(&w, 0, COLLECTIVE_PER_PAIR);
        uint64_t pairs[16] = {0};
        struct collective c = {.form = COLLECTIVE_FLAT, .pairs = pairs, .unit_bytes = 1};
        struct work copy = {.lane = 0, .bytes = 1000000000};
        sim_time alone;
        work_id last;

        pairs[(far ? 2 : 1) * 4 + 0] = 5000003;
        alone = collective_help_time(&t, &c, TERMS);
        copy.path_length = topology_host_path(&t, 0, true, copy.path);
        copy.path[0] = (uint16_t)(copy.path[0] + w.first_link);
        (void)engine_submit(w.engine, &copy);
        last = collective_ops(w.engine, &t, &c, TERMS, &site);
        engine_help_within(
            engine_wait(w.engine, last),
            1000 + alone + (far ? sim_time_of_seconds(5000003 / NETWORK_RATE) : 0), 20);
        (void)engine_drain(w.engine);
        engine_free(w.engine);
    }
}

/* Collectives of one site follow one another; `after` holds the first back. */
static void collectives_follow(void **state)
{
    struct machine m = collective_help_machine(1, 4);
    struct topology t = topology_of(&m);
    uint64_t *pairs = collective_help_equal(16, 777777);
    struct collective c = {.form = COLLECTIVE_RAILS, .pairs = pairs, .unit_bytes = 1};
    struct world w = world_make(&t, 1);
    struct collective_site site = world_site(&w, 0, COLLECTIVE_PORTS);
    work_id before = engine_help_put(w.engine, 0, WORK_DEMAND, 0, 54321, 0);
    sim_time once = collective_help_time(&t, &c, TERMS);
    work_id last[2];

    (void)state;
    site.after = &before;
    site.after_count = 1;
    last[0] = collective_ops(w.engine, &t, &c, TERMS, &site);
    last[1] = collective_ops(w.engine, &t, &c, TERMS, &site);
    (void)engine_drain(w.engine);
    assert_true(engine_times(w.engine, last[0]).end == 54321 + once);
    assert_true(engine_times(w.engine, last[1]).end == 54321 + 2 * once);
    engine_free(w.engine);
    free(pairs);
}

static void too_many_links_are_refused(void **state)
{
    struct machine m = collective_help_machine(100, 8);
    struct topology t = topology_of(&m);
    struct engine *g = engine_new(true);
    struct err e = {.text = ""};
    uint32_t first;

    (void)state;
    assert_int_equal(topology_add_links(&t, g, &first, &e), -1);
    assert_non_null(strstr(e.text, "800 GPUs"));
    engine_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_collectives_agree),
        cmocka_unit_test(equal_transfers_agree),
        cmocka_unit_test(hot_rank_transfers_agree),
        cmocka_unit_test(concurrent_collectives_contend),
        cmocka_unit_test(host_copies_meet_the_network),
        cmocka_unit_test(collectives_follow),
        cmocka_unit_test(too_many_links_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The place slot: each plug-in's known answers, replica choice, refusals. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "place_help.h"

#include "sim/base/mem.h"
#include "sim/policy/place_moeshard.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void check_table(const struct place *p, const uint16_t *expected)
{
    for (uint32_t s = 0; s < p->slots; s++) {
        if (p->expert[s] != expected[s])
            fail_msg("slot %u holds %u, expected %u", s, p->expert[s], expected[s]);
    }
}

static struct place_problem one_layer(uint32_t experts, uint32_t gpus, uint32_t slots,
                                      const double *load)
{
    return (struct place_problem){.layers = 1,
                                  .experts = experts,
                                  .gpus = gpus,
                                  .nodes = 1,
                                  .groups = 1,
                                  .slots = slots,
                                  .load = load};
}

#define NONE PLACE_EMPTY

/* Linear's blocks are contiguous, in order, and the first E mod G have one expert more:
 * 30 on 8 GPUs are 4 4 4 4 4 4 3 3. */
static void linear_blocks(void **unused)
{
    (void)unused;
    for (uint32_t experts = 1; experts <= 40; experts++) {
        for (uint32_t gpus = 1; gpus <= experts; gpus++) {
            struct place_problem z =
                one_layer(experts, gpus, (experts + gpus - 1) / gpus * gpus, NULL);
            struct place *p = place_by("linear", "{}", &z);
            uint32_t held[40] = {0}, before = 0;

            for (uint32_t e = 0; e < experts; e++) {
                uint32_t count, gpu = place_gpu(p, *place_replicas(p, 0, e, &count));

                assert_int_equal(count, 1);
                assert_true(gpu == before || gpu == before + 1);
                before = gpu;
                held[gpu]++;
            }
            for (uint32_t g = 0; g < gpus; g++)
                assert_int_equal(held[g], experts / gpus + (g < experts % gpus));
            place_free(p);
        }
    }
}

static void plain_ones(void **unused)
{
    static const uint16_t linear[] = {0, 1, 2, 3, 4, NONE};
    static const uint16_t wrapped[] = {0, 1, 2, 3, 4, 0};
    static const uint16_t dealt[] = {0, 2, 4, 1, 3, NONE};
    /* By load 9, 7, 4, 4, 1: to GPUs 0, 1, 1, 0 (9 < 11), 1 (11 < 13). */
    static const uint16_t greedy[] = {3, 4, NONE, 1, 2, 0};
    const double load[] = {1, 7, 4, 9, 4};
    struct place_problem z = one_layer(5, 2, 6, load);
    struct place *p = place_by("linear", "{}", &z);

    (void)unused;
    check_table(p, linear);
    place_free(p);
    p = place_by("linear", "{spare: wrap}", &z);
    check_table(p, wrapped);
    place_free(p);
    p = place_by("round-robin", "{}", &z);
    check_table(p, dealt);
    place_free(p);
    p = place_by("greedy", "{}", &z);
    check_table(p, greedy);
    place_free(p);
}

/* Each of 6 experts is on each of 3 GPUs a third of the time; layers and seeds differ. */
static void random_is_even(void **unused)
{
    enum { LAYERS = 3000 };
    uint32_t on[6][3] = {{0}};
    struct place_problem z = one_layer(6, 3, 6, NULL);
    struct place *p, *q;

    (void)unused;
    z.layers = LAYERS;
    z.seed = 3;
    p = place_by("random", "{}", &z);
    z.seed = 4;
    q = place_by("random", "{}", &z);
    assert_memory_not_equal(p->expert, q->expert, LAYERS * 6 * sizeof *p->expert);
    for (uint32_t l = 0; l < LAYERS; l++) {
        for (uint32_t s = 0; s < 6; s++)
            on[p->expert[l * 6 + s]][place_gpu(p, s)]++;
    }
    for (int e = 0; e < 6; e++) {
        /* Five standard deviations of a binomial: sqrt(3000 * 1/3 * 2/3) = 26. */
        for (int g = 0; g < 3; g++)
            assert_true(on[e][g] > 1000 - 130 && on[e][g] < 1000 + 130);
    }
    place_free(p);
    place_free(q);
}

/* Loads 10, 2, 2, 2: tau = 4, so expert 0 wants 3 copies (10/3 each) and the others none.
 * Linear on two GPUs of 4 slots: {0, 1}, {2, 3}, loads 5.33 and 4. The second copy goes
 * to GPU 1, which has none; the third to GPU 0 (5.33 < 7.33): both have one. */
static void replicate_known(void **unused)
{
    static const uint16_t three[] = {0, 1, 0, NONE, 2, 3, 0, NONE};
    static const uint16_t two[] = {0, 1, NONE, NONE, 2, 3, 0, NONE};
    const double load[] = {10, 2, 2, 2};
    static const uint16_t last[] = {0, 1, 2, 2};
    const double idle[] = {0, 0, 0, 0}, contested[] = {6, 1, 8};
    struct place_problem z = one_layer(4, 2, 8, load);
    struct place *p = place_by("replicate", "{}", &z);

    (void)unused;
    check_table(p, three);
    place_free(p);
    p = place_by("replicate", "{r_max: 2}", &z);
    check_table(p, two);
    place_free(p);
    /* tau = 1: expert 0 wants 8 copies, the others 2. All four grants go to expert 0, at
     * 10, 5, 3.3 and 2.5 against 2: eight items of 2, and GPU loads 8 and 8. */
    p = place_by("replicate", "{tau: 0.25}", &z);
    assert_int_equal(p->first[1], 5);
    assert_true(place_balance(p, 0, load) == 1.0);
    place_free(p);
    z.load = idle;
    p = place_by("replicate", "{}", &z);
    assert_int_equal(p->first[4], 4);
    place_free(p);
    /* tau = 5: experts 0 and 2 want two copies, and one slot is left: it goes to 2. */
    z = one_layer(3, 2, 4, contested);
    p = place_by("replicate", "{}", &z);
    check_table(p, last);
    place_free(p);
}

/* Pairs of experts are groups, of loads 10, 9, 2 and 1; a node takes two of them. 10 goes
 * to node 0, 9 and then 2 (9 < 10) to node 1, which is full, and 1 to node 0. */
static void eplb_keeps_groups_in_a_node(void **unused)
{
    static const uint32_t gpu[] = {0, 0, 1, 1, 1, 1, 0, 0};
    const double load[] = {6, 4, 5, 4, 1.5, 0.5, 0.75, 0.25};
    struct place_problem z = one_layer(8, 2, 8, load);
    struct place *p;

    (void)unused;
    z.nodes = 2;
    z.groups = 4;
    p = place_by("eplb", "{}", &z);
    for (uint32_t e = 0; e < 8; e++) {
        uint32_t count;

        assert_int_equal(place_gpu(p, *place_replicas(p, 0, e, &count)), gpu[e]);
        assert_int_equal(count, 1);
    }
    place_free(p);
}

/* ---- anti-correlation ---- */

/* Pearson's coefficient of two experts' shares, by its definition. */
static double pearson(const struct place_problem *p, uint32_t a, uint32_t b)
{
    double sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0, n = p->samples;

    for (uint32_t i = 0; i < p->samples; i++) {
        const uint32_t *tokens = &p->history[(size_t)i * p->experts];
        double total = 0.0, x, y;

        for (uint32_t e = 0; e < p->experts; e++)
            total += tokens[e];
        x = tokens[a] / total;
        y = tokens[b] / total;
        sa += x;
        sb += y;
        saa += x * x;
        sbb += y * y;
        sab += x * y;
    }
    return (sab - sa * sb / n) / sqrt((saa - sa * sa / n) * (sbb - sb * sb / n));
}

/* Each expert's GPU was the best with room when its turn came. */
static void check_anti(const struct place_problem *p, const struct place *made, double w)
{
    uint32_t used[16] = {0}, per_gpu = p->slots / p->gpus, last = UINT32_MAX;
    double share[64] = {0}, before = INFINITY;

    for (uint32_t i = 0; i < p->samples; i++) {
        const uint32_t *tokens = &p->history[(size_t)i * p->experts];
        double total = 0.0;

        for (uint32_t e = 0; e < p->experts; e++)
            total += tokens[e];
        for (uint32_t e = 0; e < p->experts; e++)
            share[e] += tokens[e] / total / p->samples;
    }
    for (uint32_t i = 0; i < p->experts; i++) {
        uint32_t next = UINT32_MAX, gpu = UINT32_MAX, count;
        double score[16];

        for (uint32_t e = 0; e < p->experts; e++) {
            if (e != last && share[e] < before &&
                (next == UINT32_MAX || share[e] > share[next]))
                next = e;
        }
        last = next;
        before = share[next];
        for (uint32_t g = 0; g < p->gpus; g++) {
            score[g] = used[g] < per_gpu ? 0.0 : INFINITY;
            for (uint32_t s = 0; s < used[g]; s++) {
                uint32_t held = made->expert[g * per_gpu + s];

                score[g] += share[held] + w * pearson(p, held, next);
            }
            if (gpu == UINT32_MAX || score[g] < score[gpu] - 1e-9)
                gpu = g;
        }
        assert_int_equal(place_gpu(made, *place_replicas(made, 0, next, &count)), gpu);
        used[gpu]++;
    }
}

static void anti_correlation_by_definition(void **unused)
{
    struct rng r = rng_stream(13, "test", 0);

    (void)unused;
    for (int i = 0; i < 60; i++) {
        struct place_problem sizes = made_sizes(48, &r);
        struct made_problem m;
        struct place *p;

        sizes.layers = 1;
        m = made_problem(&sizes, MADE_REAL, &r);
        if (i % 2 == 1) { /* a batch of one token */
            memset(m.history, 0, sizes.experts * sizeof *m.history);
            m.history[0] = 1;
        }
        if (sizes.experts > 1) {
            p = place_by("anti-correlation", "{w: 0.37}", &m.p);
            check_anti(&m.p, p, 0.37);
            place_free(p);
            p = place_by("anti-correlation", "{w: 2, form: scaled}", &m.p);
            check_anti(&m.p, p, 2.0 / m.p.experts);
            place_free(p);
        }
        made_problem_free(&m);
    }
}

/* Experts 0 and 1 are busy in some batches, 2 and 3 in others; shares .3 .2 .25 .25, so
 * the order is 0, 2, 3, 1. By load alone both pairs end up together. With the paper's w
 * expert 2 follows 0 (.3 - .5 < 0); scaled, w is 1/8: 2 goes to GPU 1 (.175 > 0), 3 to
 * GPU 0 (.175 < .375). The batch without tokens changes nothing. */
static void anti_correlation_known(void **unused)
{
    static const uint32_t history[5][4] = {
        {60, 40, 0, 0}, {0, 0, 50, 50}, {0, 0, 0, 0}, {60, 40, 0, 0}, {0, 0, 7, 7}};
    static const uint32_t once[3][4] = {{0, 0, 0, 0}, {1, 2, 3, 4}, {0, 0, 0, 0}};
    static const uint16_t by_load[] = {0, 1, 2, 3};
    static const uint16_t by_share[] = {3, 0, 2, 1};
    static const uint16_t literal[] = {0, 2, 3, 1};
    static const uint16_t scaled[] = {0, 3, 2, 1};
    const double load[] = {120, 80, 57, 57};
    struct place_problem z = one_layer(4, 2, 4, load);
    struct place *p;

    (void)unused;
    z.history = &history[0][0];
    z.samples = 5;
    p = place_by("anti-correlation", "{w: 0}", &z);
    check_table(p, by_load);
    place_free(p);
    p = place_by("anti-correlation", "{}", &z);
    check_table(p, literal);
    place_free(p);
    p = place_by("anti-correlation", "{form: scaled}", &z);
    check_table(p, scaled);
    place_free(p);
    /* A single batch with tokens says nothing of pairs: by its shares alone 3 goes to GPU
     * 0, 2 and 1 (.3 < .4) to GPU 1, which is full then. */
    z.history = &once[0][0];
    z.samples = 3;
    p = place_by("anti-correlation", "{}", &z);
    check_table(p, by_share);
    place_free(p);
}

/* ---- shards ---- */

static void shards(void **unused)
{
    static const uint32_t tokens[2][3] = {{100, 0, 1}, {29, 0, 0}};
    static const uint64_t even[] = {30000, 30000, 30000, 30000};
    static const uint64_t uneven[] = {5, 7, 11};
    const double load[] = {129, 0, 1};
    struct place_problem z = one_layer(3, 2, 4, NULL);
    struct place *p = place_by("moeshard", "{variant: v1}", &z);
    struct place_shard_work work;
    uint64_t all = 0;

    (void)unused;
    assert_int_equal(p->shards, 2);
    assert_int_equal(p->slots, 6);
    assert_true(place_balance(p, 0, load) == 1.0);
    place_free(p);
    work = place_shard_work(PLACE_SHARD_V0, 2, 3, &tokens[0][0]);
    assert_int_equal(work.gemms, 2 * 3 * 2);
    assert_int_equal(work.rows, 130);
    work = place_shard_work(PLACE_SHARD_V1, 2, 3, &tokens[0][0]);
    assert_int_equal(work.gemms, 2 * 2);
    assert_int_equal(work.rows, 130);
    work = place_shard_work(PLACE_SHARD_V2, 2, 3, &tokens[0][0]);
    assert_int_equal(work.gemms, 2);
    assert_int_equal(work.rows, 256 + 128);
    /* The published counter: 2 (G-1) S h B + (G-1) 4 E with S = 30000, h = 768, fp32, G =
     * 4, E = 128. */
    for (uint32_t g = 0; g < 4; g++)
        assert_int_equal(place_shard_bytes(4, 128, even, 768 * 4, g), 552961536);
    /* All that is sent: each token to the other two and its sum back from them. */
    for (uint32_t g = 0; g < 3; g++)
        all += place_shard_bytes(3, 9, uneven, 10, g);
    assert_int_equal(all, 2 * 2 * (5 + 7 + 11) * 10 + 3 * 2 * 9 * 4);
}

/* ---- which replica ---- */

/* Two nodes of two GPUs of two slots; expert 0 in slots 1 and 2 (node 0, both GPUs) and 4
 * and 5 (GPU 2), expert 1 in slot 0. */
static void replica_choice(void **unused)
{
    static const uint16_t table[] = {1, 0, 0, 2, 0, 0, 3, NONE};
    static const uint32_t holders[] = {1, 2, 4, 5};
    struct place_problem z = one_layer(4, 4, 8, NULL);
    struct err e = {.text = ""};
    uint32_t drawn[8] = {0};
    struct place *p;

    (void)unused;
    z.nodes = 2;
    p = place_from_slots(&z, table, &e);
    assert_non_null(p);
    for (uint64_t t = 0; t < 8; t++) {
        assert_int_equal(place_choose(p, PLACE_ROUND_ROBIN, 0, 0, 3, t, 0),
                         holders[t % 4]);
        assert_int_equal(place_choose(p, PLACE_NEAREST, 0, 0, 0, t, 0), 1);
        assert_int_equal(place_choose(p, PLACE_NEAREST, 0, 0, 1, t, 0), 2);
        /* Both on the token's own GPU; then both of the node. */
        assert_int_equal(place_choose(p, PLACE_NEAREST, 0, 0, 2, t, 0), 4 + t % 2);
        assert_int_equal(place_choose(p, PLACE_NEAREST, 0, 0, 3, t, 0), 4 + t % 2);
        assert_int_equal(place_choose(p, PLACE_NEAREST, 0, 1, 3, t, 0), 0);
        assert_int_equal(place_choose(p, PLACE_RANDOM, 0, 1, 3, t, 0), 0);
    }
    for (uint64_t t = 0; t < 4000; t++) {
        uint32_t slot = place_choose(p, PLACE_RANDOM, 0, 0, (uint32_t)t % 4, t, 5);

        assert_int_equal(slot, place_choose(p, PLACE_RANDOM, 0, 0, 0, t, 5));
        drawn[slot]++;
    }
    /* Five standard deviations: sqrt(4000 * 1/4 * 3/4) = 27. */
    for (int i = 0; i < 4; i++)
        assert_true(drawn[holders[i]] > 1000 - 137 && drawn[holders[i]] < 1000 + 137);
    place_free(p);
    /* In neither GPU nor node: all of them in turn. */
    z.experts = 3;
    p = place_from_slots(&z, (const uint16_t[]){0, 1, 0, 2, 1, 1, 2, 2}, &e);
    assert_non_null(p);
    assert_int_equal(place_choose(p, PLACE_NEAREST, 0, 0, 3, 0, 0), 0);
    assert_int_equal(place_choose(p, PLACE_NEAREST, 0, 0, 3, 3, 0), 2);
    /* One of the node before one elsewhere. */
    assert_int_equal(place_choose(p, PLACE_NEAREST, 0, 1, 1, 5, 0), 1);
    place_free(p);
}

/* ---- refusals ---- */

static void check_refused(const char *name, const struct place_problem *p,
                          const char *part)
{
    const struct place_type *type = place_type_of(name);
    void *params = place_params(type, "{}");
    struct err e = {.text = ""};

    assert_null(place_new(type, params, p, &e));
    if (strstr(e.text, part) == NULL)
        fail_msg("'%s' does not say '%s'", e.text, part);
    free(params);
}

static void refusals(void **unused)
{
    const double load[20] = {1, 2, -1, NAN};
    const double good[20] = {1};
    const uint16_t table[] = {0, 1, 0, 7}, missing[] = {0, 0, 1, NONE};
    struct place_problem z = one_layer(3, 2, 4, load);
    struct err e = {.text = ""}, f = {.text = ""};

    (void)unused;
    check_refused("greedy", &z, "expert 2 has load -1");
    z.load = NULL;
    check_refused("greedy", &z, "greedy needs expert loads");
    z.load = good;
    check_refused("anti-correlation", &z, "2 batches");
    z.slots = 5;
    check_refused("linear", &z, "multiple of 2");
    z.slots = 2;
    check_refused("linear", &z, "at least 3");
    z.slots = 4;
    z.gpus = 0;
    check_refused("linear", &z, "0 GPUs");
    z.gpus = 2;
    z.nodes = 3;
    check_refused("linear", &z, "3 nodes");
    z.nodes = 1;
    z.groups = 2;
    check_refused("eplb", &z, "2 groups");
    z = one_layer(4, 4, 4, good);
    z.nodes = 3;
    z.groups = 3;
    check_refused("eplb", &z, "3 groups");
    z.experts = 3;
    check_refused("eplb", &z, "4 GPUs");
    z = one_layer(17, 17, 17, good);
    check_refused("optimal", &z, "17 slots");
    z = one_layer(12, 13, 13, good);
    check_refused("optimal", &z, "13 slots");
    z.experts = UINT16_MAX;
    z.slots = z.gpus * z.experts;
    check_refused("linear", &z, "65535 experts");
    z = one_layer(3, 2, 4, NULL);
    assert_null(place_from_slots(&z, table, &e));
    assert_non_null(strstr(e.text, "slot 3 holds expert 7"));
    assert_null(place_from_slots(&z, missing, &f));
    assert_non_null(strstr(f.text, "expert 2 is in no slot"));
    f.text[0] = '\0';
    z.gpus = 3;
    assert_null(place_from_slots(&z, table, &f));
    assert_non_null(strstr(f.text, "3 GPUs"));
    place_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_blocks),
        cmocka_unit_test(plain_ones),
        cmocka_unit_test(random_is_even),
        cmocka_unit_test(replicate_known),
        cmocka_unit_test(eplb_keeps_groups_in_a_node),
        cmocka_unit_test(anti_correlation_by_definition),
        cmocka_unit_test(anti_correlation_known),
        cmocka_unit_test(shards),
        cmocka_unit_test(replica_choice),
        cmocka_unit_test(refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

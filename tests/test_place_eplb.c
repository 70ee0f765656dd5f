/* EPLB: the published results, and the published rule spelt out without any shortcut. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "place_help.h"

#include "sim/base/mem.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- the rule, naively ---- */

/* Items by weight, largest first, equal ones in order, into the lightest pack with room,
 * the first of equals. */
static void naive_pack(const float *weight, uint32_t items, uint32_t packs,
                       uint32_t *pack, uint32_t *rank)
{
    float *sum = mem_zalloc(packs, sizeof *sum);
    uint32_t *held = mem_zalloc(packs, sizeof *held);
    bool *done = mem_zalloc(items, sizeof *done);

    for (uint32_t n = 0; n < items; n++) {
        uint32_t item = items, best = packs;

        for (uint32_t i = 0; i < items; i++) {
            if (!done[i] && (item == items || weight[i] > weight[item]))
                item = i;
        }
        for (uint32_t p = 0; p < packs; p++) {
            if (held[p] < items / packs && (best == packs || sum[p] < sum[best]))
                best = p;
        }
        if (items == packs)
            best = item;
        done[item] = true;
        pack[item] = best;
        rank[item] = held[best]++;
        sum[best] += weight[item];
    }
    free(sum);
    free(held);
    free(done);
}

static void naive_node(const float *weight, const uint32_t *id, uint32_t experts,
                       uint32_t slots, uint32_t gpus, uint16_t *out)
{
    uint32_t *count = mem_alloc(experts, sizeof *count);
    uint32_t *item = mem_alloc(slots, sizeof *item);
    uint32_t *pack = mem_alloc(slots, sizeof *pack);
    uint32_t *rank = mem_alloc(slots, sizeof *rank);
    float *value = mem_alloc(slots, sizeof *value);

    for (uint32_t i = 0; i < experts; i++) {
        item[i] = i;
        count[i] = 1;
    }
    for (uint32_t s = experts; s < slots; s++) {
        uint32_t best = 0;

        for (uint32_t i = 1; i < experts; i++) {
            if (weight[i] / (float)count[i] > weight[best] / (float)count[best])
                best = i;
        }
        item[s] = best;
        count[best]++;
    }
    for (uint32_t s = 0; s < slots; s++)
        value[s] = weight[item[s]] / (float)count[item[s]];
    naive_pack(value, slots, gpus, pack, rank);
    for (uint32_t s = 0; s < slots; s++)
        out[pack[s] * (slots / gpus) + rank[s]] = (uint16_t)id[item[s]];
    free(count);
    free(item);
    free(pack);
    free(rank);
    free(value);
}

static void naive_layer(const struct place_problem *p, const double *load, uint16_t *out)
{
    uint32_t groups = p->groups % p->nodes == 0 ? p->groups : 1;
    uint32_t nodes = p->groups % p->nodes == 0 ? p->nodes : 1;
    uint32_t size = p->experts / groups, experts = p->experts / nodes;
    uint32_t *id = mem_alloc(p->experts, sizeof *id);
    uint32_t *pack = mem_alloc(groups, sizeof *pack);
    uint32_t *rank = mem_alloc(groups, sizeof *rank);
    float *weight = mem_alloc(p->experts, sizeof *weight);

    for (uint32_t g = 0; g < groups; g++) {
        double sum = 0.0;

        for (uint32_t i = 0; i < size; i++)
            sum += (double)(float)load[g * size + i];
        weight[g] = (float)sum;
    }
    naive_pack(weight, groups, nodes, pack, rank);
    for (uint32_t e = 0; e < p->experts; e++) {
        uint32_t g = e / size;

        id[(pack[g] * (groups / nodes) + rank[g]) * size + e % size] = e;
    }
    for (uint32_t i = 0; i < p->experts; i++)
        weight[i] = (float)load[id[i]];
    for (uint32_t n = 0; n < nodes; n++)
        naive_node(&weight[n * experts], &id[n * experts], experts, p->slots / nodes,
                   p->gpus / nodes, &out[n * (p->slots / nodes)]);
    free(id);
    free(pack);
    free(rank);
    free(weight);
}

static void by_the_rule(void **unused)
{
    struct rng r = rng_stream(41, "test", 0);
    uint32_t hierarchical = 0, tight = 0;

    (void)unused;
    for (int i = 0; i < 600; i++) {
        struct place_problem sizes = made_sizes(96, &r);
        struct made_problem m = made_problem(&sizes, (enum made_load)(i % 3), &r);
        struct place *p = place_by("eplb", "{}", &m.p);
        uint16_t *expected = mem_alloc(sizes.slots, sizeof *expected);

        hierarchical += sizes.nodes > 1 && sizes.groups % sizes.nodes == 0;
        tight += sizes.slots == sizes.gpus;
        for (uint32_t l = 0; l < sizes.layers; l++) {
            naive_layer(&sizes, &m.load[(size_t)l * sizes.experts], expected);
            assert_memory_equal(&p->expert[(size_t)l * sizes.slots], expected,
                                sizes.slots * sizeof *expected);
        }
        free(expected);
        place_free(p);
        made_problem_free(&m);
    }
    assert_true(hierarchical > 50 && tight > 20);
}

/* ---- what was published ---- */

static double number(const struct cfg_node *n)
{
    char *end;
    double value = strtod(cfg_text(n), &end);

    assert_true(*end == '\0');
    return value;
}

static uint32_t whole(const struct cfg_node *map, const char *key)
{
    return (uint32_t)number(cfg_find(map, key));
}

static void check_vector(const struct cfg_node *v)
{
    const struct cfg_node *weight = cfg_find(v, "weight");
    const struct cfg_node *table = cfg_find(v, "phy2log");
    const struct cfg_node *counts = cfg_find(v, "logcnt");
    struct place_problem p = {.layers = whole(v, "layers"),
                              .experts = whole(v, "experts"),
                              .gpus = whole(v, "gpus"),
                              .nodes = whole(v, "nodes"),
                              .groups = whole(v, "groups"),
                              .slots = whole(v, "replicas")};
    double *load = mem_alloc((size_t)p.layers * p.experts, sizeof *load);
    struct place *made;

    for (uint32_t l = 0; l < p.layers; l++) {
        for (uint32_t e = 0; e < p.experts; e++)
            load[l * p.experts + e] = number(cfg_item(cfg_item(weight, l), e));
    }
    p.load = load;
    made = place_by("eplb",
                    whole(v, "groups") % whole(v, "nodes") != 0 ? "{form: global}" : "{}",
                    &p);
    for (uint32_t l = 0; l < p.layers; l++) {
        for (uint32_t s = 0; s < p.slots; s++)
            assert_int_equal(made->expert[l * p.slots + s],
                             number(cfg_item(cfg_item(table, l), s)));
        for (uint32_t e = 0; e < p.experts; e++) {
            uint32_t count;

            (void)place_replicas(made, l, e, &count);
            assert_int_equal(count, number(cfg_item(cfg_item(counts, l), e)));
        }
    }
    place_free(made);
    free(load);
}

static void published_vectors(void **unused)
{
    const char *folder = getenv("MOESIM_DATA");
    struct err e = {.text = ""};
    struct cfg *c;
    char *path;

    (void)unused;
    if (folder == NULL || folder[0] == '\0') {
        printf("skip published_vectors: needs MOESIM_DATA\n");
        skip();
    }
    path = mem_format("%s/eplb_vectors.json", folder);
    c = cfg_load(path, &e);
    free(path);
    if (c == NULL)
        fail_msg("%s", e.text);
    assert_true(cfg_count(cfg_root(c)) >= 30);
    for (size_t i = 0; i < cfg_count(cfg_root(c)); i++)
        check_vector(cfg_item(cfg_root(c), i));
    cfg_free(c);
}

/* ---- closed forms ---- */

/* Every decision of a small case by hand. Groups {0,1} and {2,3} have loads 12 and 8:
 * group 0 goes to node 0. Node 0 (9, 3): the spare slots go to expert 0 (9 > 3) and again
 * (4.5 > 3): parts 3, 3, 3, 3. Node 1 (2, 6): to expert 3 (6 > 2) and again (3 > 2):
 * parts 2, 2, 2, 2. Equal parts are packed in order: 0, 1, 0, 0 to GPUs 0, 1, 0, 1. */
static void by_hand(void **unused)
{
    const double load[] = {9, 3, 2, 6};
    const uint16_t expected[] = {0, 0, 1, 0, 2, 3, 3, 3};
    struct place_problem sizes = {.layers = 1,
                                  .experts = 4,
                                  .gpus = 4,
                                  .nodes = 2,
                                  .groups = 2,
                                  .slots = 8,
                                  .load = load};
    struct place *p = place_by("eplb", "{}", &sizes);

    (void)unused;
    assert_memory_equal(p->expert, expected, sizeof expected);
    place_free(p);
}

/* Loads h, 1, ..., 1 with h + E - 1 = slots: the hot expert gets h replicas, every slot
 * carries 1, and every GPU the same. */
static void one_hot_expert(void **unused)
{
    (void)unused;
    for (uint32_t gpus = 2; gpus <= 8; gpus *= 2) {
        enum { EXPERTS = 9 };
        double load[EXPERTS];
        struct place_problem sizes = {.layers = 1,
                                      .experts = EXPERTS,
                                      .gpus = gpus,
                                      .nodes = 1,
                                      .groups = 1,
                                      .slots = 3 * 8,
                                      .load = load};
        struct place *p;
        uint32_t count;

        for (uint32_t e = 0; e < EXPERTS; e++)
            load[e] = e == 4 ? (double)(sizes.slots - EXPERTS + 1) : 1.0;
        p = place_by("eplb", "{}", &sizes);
        (void)place_replicas(p, 0, 4, &count);
        assert_int_equal(count, sizes.slots - EXPERTS + 1);
        assert_true(place_balance(p, 0, load) == 1.0);
        place_free(p);
    }
}

/* Six groups of two on two nodes, by their sums 10, 7, 6, 5, 4, 1: the first, the fourth
 * and the last stand against 7, 6 and 4. */
static void groups_by_their_sums(void **unused)
{
    static const double load[] = {1, 9, 5, 2, 3, 3, 1, 4, 2, 2, 1, 0};
    struct place_problem sizes = {.layers = 1,
                                  .experts = 12,
                                  .gpus = 2,
                                  .nodes = 2,
                                  .groups = 6,
                                  .slots = 12,
                                  .load = load};
    struct place *p = place_by("eplb", "{}", &sizes);

    (void)unused;
    for (uint32_t s = 0; s < 12; s++) {
        uint32_t group = p->expert[s] / 2;

        assert_int_equal(place_gpu(p, s), group == 0 || group == 3 || group == 5 ? 0 : 1);
    }
    place_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_by_their_sums), cmocka_unit_test(by_the_rule),
        cmocka_unit_test(published_vectors),    cmocka_unit_test(by_hand),
        cmocka_unit_test(one_hot_expert),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

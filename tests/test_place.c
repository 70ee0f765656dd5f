/* The place slot: what all plug-ins owe, and the oracle. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "place_help.h"

#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- all plug-ins ---- */

/* Every expert somewhere, the index tells the same as the table, GPU loads sum to the
 * total and none escapes the bound. */
static void check_sound(const struct place *p, uint32_t layer, const double *load)
{
    const uint16_t *expert = &p->expert[(size_t)layer * p->slots];
    double *gpu = mem_alloc(p->gpus, sizeof *gpu);
    double total = 0.0, placed = 0.0, bound = place_bound(p, layer, load);
    uint32_t filled = 0, count;

    for (uint32_t e = 0; e < p->experts; e++) {
        const uint32_t *slot = place_replicas(p, layer, e, &count);

        assert_true(count >= 1);
        for (uint32_t r = 0; r < count; r++) {
            assert_int_equal(expert[slot[r]], e);
            assert_true(r == 0 || slot[r] > slot[r - 1]);
            assert_true(place_gpu(p, slot[r]) < p->gpus);
        }
        filled += count;
        total += load[e];
    }
    for (uint32_t s = 0; s < p->slots; s++)
        filled += expert[s] == PLACE_EMPTY;
    assert_int_equal(filled, p->slots);
    place_gpu_load(p, layer, load, gpu);
    for (uint32_t g = 0; g < p->gpus; g++)
        placed += gpu[g];
    assert_true(fabs(placed - total) <= 1e-12 * total);
    assert_true(place_most(p, layer, load) >= bound * (1.0 - 1e-12));
    assert_true(place_balance(p, layer, load) <= 1.0);
    free(gpu);
}

/* Also when the scratch memory holds rubbish, which must not show. */
static void check_scratch(const struct place_type *type, const void *params,
                          const struct place_problem *p, const struct place *made)
{
    size_t size = type->scratch_size != NULL ? type->scratch_size(params, p) : 0;
    void *scratch = mem_alloc(size + 1, 1);
    uint16_t *expert = mem_alloc(made->slots, sizeof *expert);

    for (uint32_t l = 0; l < p->layers; l++) {
        memset(scratch, l % 2 == 0 ? 0xa5 : 0xff, size);
        memset(expert, 0x5a, made->slots * sizeof *expert);
        type->assign(params, p, l, scratch, expert);
        assert_memory_equal(expert, &made->expert[(size_t)l * made->slots],
                            made->slots * sizeof *expert);
    }
    free(scratch);
    free(expert);
}

static void contract(void **unused)
{
    (void)unused;
    for (const struct plugin *const *all = registry_all(); *all != NULL; all++) {
        const struct place_type *type = (const struct place_type *)(const void *)*all;
        struct rng r = rng_stream(7, "test", 0);
        uint32_t most =
            (*all)->slot == SLOT_PLACE && strcmp((*all)->name, "optimal") == 0 ? 8 : 96;
        void *params;

        if ((*all)->slot != SLOT_PLACE)
            continue;
        params = place_params(type, "{}");
        for (int i = 0; i < 60; i++) {
            struct place_problem sizes = made_sizes(most, &r);
            struct made_problem m = made_problem(&sizes, (enum made_load)(i % 3), &r);
            struct place *p, *file = NULL;

            sizes = m.p;
            if ((type->plugin.needs & NEED_MAP) != 0) {
                file = place_by("linear", "{spare: wrap}", &m.p);
                m.p.map = file->expert;
            }
            if ((type->plugin.needs & NEED_PROFILE) == 0)
                m.p.load = NULL;
            p = place_by((*all)->name, "{}", &m.p);
            assert_int_equal(p->slots, (type->plugin.acts & ACT_SHARD) != 0
                                           ? sizes.gpus * sizes.experts
                                           : sizes.slots);
            assert_int_equal(p->shards,
                             (type->plugin.acts & ACT_SHARD) != 0 ? sizes.gpus : 1);
            for (uint32_t l = 0; l < sizes.layers; l++)
                check_sound(p, l, &m.load[(size_t)l * sizes.experts]);
            check_scratch(type, params, &m.p, p);
            place_free(p);
            place_free(file);
            made_problem_free(&m);
        }
        free(params);
    }
}

/* New names for the experts give the same placement under new names. */
static void relabelling(void **unused)
{
    static const char *const names[] = {"greedy", "anti-correlation", "eplb"};
    struct rng r = rng_stream(8, "test", 0);

    (void)unused;
    for (int i = 0; i < 150; i++) {
        struct place_problem sizes = made_sizes(64, &r);
        struct made_problem m, n;
        struct place *p, *q;
        uint32_t renamed[64];

        sizes.layers = 1;
        sizes.groups = 1;
        sizes.nodes = 1;
        if (sizes.slots == sizes.gpus) /* eplb then goes by number alone */
            sizes.slots *= 2;
        m = made_problem(&sizes, MADE_REAL, &r);
        n = made_problem(&sizes, MADE_REAL, &r);
        for (uint32_t e = 0; e < sizes.experts; e++) {
            uint32_t other = (uint32_t)rng_below(&r, e + 1);

            renamed[e] = renamed[other];
            renamed[other] = e;
        }
        for (uint32_t e = 0; e < sizes.experts; e++) {
            n.load[renamed[e]] = m.load[e];
            for (uint32_t s = 0; s < m.p.samples; s++)
                n.history[s * sizes.experts + renamed[e]] =
                    m.history[s * sizes.experts + e];
        }
        p = place_by(names[i % 3], "{}", &m.p);
        q = place_by(names[i % 3], "{}", &n.p);
        for (uint32_t s = 0; s < sizes.slots; s++)
            assert_int_equal(q->expert[s], p->expert[s] == PLACE_EMPTY
                                               ? PLACE_EMPTY
                                               : renamed[p->expert[s]]);
        place_free(p);
        place_free(q);
        made_problem_free(&m);
        made_problem_free(&n);
    }
}

/* A slot more on every GPU never raises the balanced bound. */
static void more_slots(void **unused)
{
    static const char *const names[] = {"eplb", "replicate"};
    struct rng r = rng_stream(9, "test", 0);
    uint32_t lower = 0;

    (void)unused;
    for (int i = 0; i < 60; i++) {
        struct place_problem sizes = made_sizes(64, &r);
        struct made_problem m;
        double before[3];

        /* Many GPUs, so that not the mean alone decides. */
        sizes.gpus = 12 * sizes.nodes;
        sizes.slots = (sizes.experts + sizes.gpus - 1) / sizes.gpus * sizes.gpus;
        m = made_problem(&sizes, (enum made_load)(i % 3), &r);

        for (uint32_t more = 0; more < 6; more++) {
            struct place *p = place_by(names[i / 3 % 2], "{}", &m.p);

            for (uint32_t l = 0; l < sizes.layers; l++) {
                double bound = place_bound(p, l, &m.load[(size_t)l * sizes.experts]);

                assert_true(more == 0 || bound <= before[l]);
                lower += more > 0 && bound < before[l];
                before[l] = bound;
            }
            place_free(p);
            m.p.slots += m.p.gpus;
        }
        made_problem_free(&m);
    }
    assert_true(lower > 50);
}

/* ---- the oracle ---- */

/* The least largest load over every filling of every slot. */
static double brute_force(const struct place_problem *p)
{
    uint16_t expert[8] = {0};
    double best = INFINITY;

    for (;;) {
        struct err e = {.text = ""};
        struct place *made = place_from_slots(p, expert, &e);
        uint32_t s = 0;

        if (made != NULL)
            best = fmin(best, place_most(made, 0, p->load));
        place_free(made);
        /* Count on, with "empty" after the last expert. */
        for (; s < p->slots; s++) {
            expert[s] = expert[s] == PLACE_EMPTY      ? 0
                        : expert[s] + 1U < p->experts ? (uint16_t)(expert[s] + 1U)
                                                      : PLACE_EMPTY;
            if (expert[s] != 0)
                break;
        }
        if (s == p->slots)
            return best;
    }
}

static void optimal_by_brute_force(void **unused)
{
    static const uint32_t sizes[][3] = {/* experts, gpus, slots */
                                        {3, 2, 4}, {2, 2, 6}, {3, 3, 6},
                                        {4, 2, 6}, {4, 4, 4}, {5, 3, 6}};
    struct rng r = rng_stream(10, "test", 0);

    (void)unused;
    for (size_t i = 0; i < 4 * (sizeof sizes / sizeof *sizes); i++) {
        const uint32_t *z = sizes[i / 4];
        struct place_problem p = {.layers = 1,
                                  .experts = z[0],
                                  .gpus = z[1],
                                  .nodes = 1,
                                  .groups = 1,
                                  .slots = z[2]};
        struct made_problem m = made_problem(&p, (enum made_load)(i % 3), &r);
        struct place *best = place_by("optimal", "{}", &m.p);
        double least = brute_force(&m.p);

        assert_true(fabs(place_most(best, 0, m.load) - least) <= 1e-12 * least);
        place_free(best);
        made_problem_free(&m);
    }
}

/* Replicas are placed heaviest first, on the first GPU that is left: each GPU's slots
 * descend in load, and the first of them all is the heaviest; of equals the lower. */
static void optimal_puts_the_heaviest_first(void **unused)
{
    struct rng r = rng_stream(15, "test", 0);

    (void)unused;
    for (int i = 0; i < 30; i++) {
        struct place_problem sizes = made_sizes(9, &r);
        struct made_problem m;
        struct place *p;

        sizes.layers = 1;
        m = made_problem(&sizes, (enum made_load)(i % 3), &r);
        p = place_by("optimal", "{}", &m.p);
        for (uint32_t s = 0; s < p->slots; s++) {
            uint32_t a = s % (p->slots / p->gpus) == 0 ? 0 : s - 1, count;
            double before, load;

            if (p->expert[s] == PLACE_EMPTY)
                continue;
            (void)place_replicas(p, 0, p->expert[a], &count);
            before = m.load[p->expert[a]] / (double)count;
            (void)place_replicas(p, 0, p->expert[s], &count);
            load = m.load[p->expert[s]] / (double)count;
            assert_true(load < before ||
                        (load == before && p->expert[s] >= p->expert[a]));
        }
        place_free(p);
        made_problem_free(&m);
    }
}

/* The mean load of a GPU over the largest: experts 0 and 1, then 2 and 3. */
static void balance_by_hand(void **unused)
{
    static const double load[][4] = {
        {4, 2, 1, 1}, {1, 1, 1, 1}, {0, 0, 0, 3}, {0, 0, 0, 0}, {1, 2, 3, 4}};
    static const double balance[] = {4.0 / 6.0, 1.0, 0.5, 1.0, 5.0 / 7.0};
    struct place_problem z = {
        .layers = 1, .experts = 4, .gpus = 2, .nodes = 1, .groups = 1, .slots = 4};
    struct place *p = place_by("linear", "{}", &z);

    (void)unused;
    for (size_t i = 0; i < sizeof balance / sizeof *balance; i++)
        assert_true(fabs(place_balance(p, 0, load[i]) - balance[i]) < 1e-15);
    place_free(p);
}

/* No plug-in beats the oracle, with spare slots or without. */
static void against_the_oracle(void **unused)
{
    static const char *const names[] = {"linear", "round-robin", "random",
                                        "greedy", "replicate",   "eplb"};
    struct rng r = rng_stream(11, "test", 0);

    (void)unused;
    for (int i = 0; i < 60; i++) {
        struct place_problem sizes = made_sizes(9, &r);
        struct made_problem m;
        struct place *best;
        double least;

        sizes.layers = 1;
        m = made_problem(&sizes, (enum made_load)(i % 3), &r);
        best = place_by("optimal", "{}", &m.p);
        least = place_most(best, 0, m.load);
        for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
            struct place *p = place_by(names[n], "{}", &m.p);

            assert_true(place_most(p, 0, m.load) >= least * (1.0 - 1e-12));
            place_free(p);
        }
        place_free(best);
        made_problem_free(&m);
    }
}

/* A layer's placement is a matter of its own loads and history: it is the same in a
 * problem of that layer alone. */
static void layers_are_placed_alone(void **unused)
{
    static const char *const names[] = {"linear",    "round-robin", "greedy",
                                        "replicate", "eplb",        "anti-correlation"};
    struct rng r = rng_stream(14, "test", 0);

    (void)unused;
    for (int i = 0; i < 40; i++) {
        struct place_problem sizes = made_sizes(48, &r);
        const char *name = names[(size_t)i % (sizeof names / sizeof *names)];
        struct made_problem m;
        struct place *all;

        sizes.layers = 3;
        m = made_problem(&sizes, MADE_REAL, &r);
        all = place_by(name, "{}", &m.p);
        for (uint32_t l = 0; l < 3; l++) {
            struct place_problem one = m.p;
            uint32_t *history =
                mem_alloc((size_t)one.samples * one.experts, sizeof *history);
            struct place *p;

            for (uint32_t k = 0; k < one.samples; k++)
                memcpy(history + (size_t)k * one.experts,
                       m.history + ((size_t)k * 3 + l) * one.experts,
                       one.experts * sizeof *history);
            one.layers = 1;
            one.load = m.load + (size_t)l * one.experts;
            one.history = history;
            p = place_by(name, "{}", &one);
            assert_memory_equal(p->expert, all->expert + (size_t)l * one.slots,
                                one.slots * sizeof *p->expert);
            place_free(p);
            free(history);
        }
        place_free(all);
        made_problem_free(&m);
    }
}

/* As many experts on each GPU. With room for all of them greedy is Graham's LPT: at most
 * 4/3 - 1/(3 G) of the optimum without limits, which is no more than the oracle's. With
 * the slots just enough, eplb packs as greedy does. */
static void greedy_and_the_oracle(void **unused)
{
    struct rng r = rng_stream(12, "test", 0);
    uint32_t above = 0;

    (void)unused;
    for (int i = 0; i < 100; i++) {
        uint32_t gpus = 2 + (uint32_t)rng_below(&r, 3);
        uint32_t experts = gpus * (2 + (uint32_t)rng_below(&r, gpus < 4 ? 3 : 2));
        struct place_problem sizes = {.layers = 1,
                                      .experts = experts,
                                      .gpus = gpus,
                                      .nodes = 1,
                                      .groups = 1,
                                      .slots = experts};
        struct made_problem m = made_problem(&sizes, MADE_REAL, &r);
        struct place *best = place_by("optimal", "{}", &m.p);
        struct place *greedy = place_by("greedy", "{}", &m.p);
        struct place *eplb = place_by("eplb", "{}", &m.p);
        double least = place_most(best, 0, m.load);
        double lpt = 4.0 / 3.0 - 1.0 / (3.0 * gpus);

        above += place_most(greedy, 0, m.load) > least * (1.0 + 1e-12);
        assert_memory_equal(greedy->expert, eplb->expert, experts * sizeof *eplb->expert);
        place_free(greedy);
        m.p.slots = gpus * experts;
        greedy = place_by("greedy", "{}", &m.p);
        assert_true(place_most(greedy, 0, m.load) <= lpt * least * (1.0 + 1e-12));
        place_free(best);
        place_free(greedy);
        place_free(eplb);
        made_problem_free(&m);
    }
    assert_true(above > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contract),
        cmocka_unit_test(relabelling),
        cmocka_unit_test(more_slots),
        cmocka_unit_test(optimal_by_brute_force),
        cmocka_unit_test(optimal_puts_the_heaviest_first),
        cmocka_unit_test(balance_by_hand),
        cmocka_unit_test(against_the_oracle),
        cmocka_unit_test(layers_are_placed_alone),
        cmocka_unit_test(greedy_and_the_oracle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

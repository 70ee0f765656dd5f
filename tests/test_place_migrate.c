/* Migration, renumbering, and the window. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "place_help.h"

#include "sim/base/mem.h"
#include "sim/policy/place_migrate.h"
#include "sim/policy/place_options.h"
#include "sim/policy/place_window.h"

#include <stdlib.h>
#include <string.h>

#define NONE PLACE_EMPTY

static bool holds(const struct place *p, uint32_t layer, uint32_t gpu, uint32_t expert)
{
    uint32_t per_gpu = p->slots / p->gpus;
    const uint16_t *slot = &p->expert[(size_t)layer * p->slots + (size_t)gpu * per_gpu];

    for (uint32_t s = 0; s < per_gpu; s++) {
        if (slot[s] == expert)
            return true;
    }
    return false;
}

/* (layer, GPU, expert) held after and not before. */
static size_t fetches(const struct place *from, const struct place *to)
{
    size_t count = 0;

    for (uint32_t l = 0; l < to->layers; l++) {
        for (uint32_t g = 0; g < to->gpus; g++) {
            for (uint32_t e = 0; e < to->experts; e++)
                count += holds(to, l, g, e) && !holds(from, l, g, e);
        }
    }
    return count;
}

static struct place *from_table(const struct place_problem *z, const uint16_t *table)
{
    struct err e = {.text = ""};
    struct place *p = place_from_slots(z, table, &e);

    if (p == NULL)
        fail_msg("%s", e.text);
    return p;
}

/* Another placement of the same sizes, by fresh loads. */
static struct place *other(const struct place_problem *sizes, const char *name,
                           struct rng *r)
{
    struct made_problem m = made_problem(sizes, MADE_SPIKY, r);
    struct place *p = place_by(name, "{}", &m.p);

    made_problem_free(&m);
    return p;
}

/* ---- what must be copied ---- */

/* Two nodes of two GPUs. Expert 0 goes to GPU 1 from 0, its own node, though 2 has it as
 * well; expert 3 to GPU 0 over the network from 3; expert 1 to GPUs 2 and 3: both of node
 * 0 hold it, and GPU 0 has sent 5 bytes by then, so GPU 1 sends first and GPU 0 next. GPU
 * 3's second replica of expert 1 costs nothing, nor does expert 2's new slot. */
static void copies_by_hand(void **unused)
{
    static const uint16_t before[] = {0, 1, NONE, 1, NONE, NONE, 2, 0, NONE, 3, NONE, 2};
    static const uint16_t after[] = {0, 1, 3, 0, 1, NONE, 1, 2, NONE, 1, 3, 1};
    static const struct place_copy expected[] = {
        {0, 0, 0, 1}, {0, 1, 1, 2}, {0, 1, 0, 3}, {0, 3, 3, 0}};
    const uint64_t bytes[] = {5};
    struct place_problem z = {
        .layers = 1, .experts = 4, .gpus = 4, .nodes = 2, .groups = 1, .slots = 12};
    struct place *from = from_table(&z, before), *to = from_table(&z, after);
    struct place_migration m;

    (void)unused;
    place_migration_init(&m, from, to, bytes);
    assert_int_equal(m.copies, 4);
    for (size_t i = 0; i < m.copies; i++) {
        assert_int_equal(m.copy[i].expert, expected[i].expert);
        assert_int_equal(m.copy[i].from, expected[i].from);
        assert_int_equal(m.copy[i].to, expected[i].to);
    }
    assert_int_equal(m.bytes, 20);
    assert_int_equal(m.network_bytes, 15);
    assert_int_equal(m.in[0] + 10 * m.in[1] + 100 * m.in[2] + 1000 * m.in[3], 5555);
    assert_int_equal(m.out[0], 10);
    assert_int_equal(m.out[1], 5);
    assert_int_equal(m.out[2], 0);
    assert_int_equal(m.out[3], 5);
    place_migration_release(&m);
    place_migration_init(&m, from, from, bytes);
    assert_int_equal(m.copies + m.bytes, 0);
    place_migration_release(&m);
    place_free(from);
    place_free(to);
}

/* Against a scan of who holds what; bytes in are bytes out are all bytes. */
static void copies_by_brute_force(void **unused)
{
    struct rng r = rng_stream(21, "test", 0);

    (void)unused;
    for (int i = 0; i < 100; i++) {
        struct place_problem z = made_sizes(64, &r);
        struct place *from = other(&z, i % 2 == 0 ? "eplb" : "linear", &r);
        struct place *to = other(&z, "eplb", &r);
        uint64_t bytes[3] = {3, 50, 700}, in = 0, out = 0, network = 0;
        struct place_migration m;

        place_migration_init(&m, from, to, bytes);
        assert_int_equal(m.copies, fetches(from, to));
        for (size_t c = 0; c < m.copies; c++) {
            struct place_copy k = m.copy[c];
            bool far = place_node(to, k.from) != place_node(to, k.to);

            assert_true(holds(from, k.layer, k.from, k.expert));
            assert_true(holds(to, k.layer, k.to, k.expert));
            network += far ? bytes[k.layer] : 0;
            /* Only when nobody in the node had it. */
            for (uint32_t g = 0; far && g < z.gpus; g++)
                assert_false(holds(from, k.layer, g, k.expert) &&
                             place_node(to, g) == place_node(to, k.to));
        }
        for (uint32_t g = 0; g < z.gpus; g++) {
            in += m.in[g];
            out += m.out[g];
        }
        assert_true(in == m.bytes && out == m.bytes && network == m.network_bytes);
        place_migration_release(&m);
        place_free(from);
        place_free(to);
    }
}

/* ---- renumbering ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* The same GPU loads but for their order. */
static void check_loads(const struct place *p, const struct place *q, uint32_t layer,
                        struct rng *r)
{
    double load[64], x[16], y[16];

    for (uint32_t e = 0; e < p->experts; e++)
        load[e] = (double)rng_below(r, 1000) * 60;
    place_gpu_load(p, layer, load, x);
    place_gpu_load(q, layer, load, y);
    qsort(x, p->gpus, sizeof *x, by_value);
    qsort(y, p->gpus, sizeof *y, by_value);
    for (uint32_t g = 0; g < p->gpus; g++)
        assert_true(x[g] - y[g] < 1e-6 && y[g] - x[g] < 1e-6);
}

static struct place *copy_of(const struct place_problem *z, const struct place *p)
{
    return from_table(z, p->expert);
}

static void keep_never_copies_more(void **unused)
{
    struct rng r = rng_stream(22, "test", 0);
    size_t before = 0, after = 0;

    (void)unused;
    for (int i = 0; i < 100; i++) {
        struct place_problem z = made_sizes(64, &r);
        struct place *from = other(&z, "eplb", &r), *to = other(&z, "eplb", &r);
        struct place *kept = copy_of(&z, to);
        size_t least;

        place_keep(from, kept);
        least = fetches(from, kept);
        assert_true(least <= fetches(from, to));
        before += fetches(from, to);
        after += least;
        for (uint32_t l = 0; l < z.layers; l++) {
            check_loads(to, kept, l, &r);
            /* The index was rebuilt. */
            for (uint32_t e = 0; e < z.experts; e++) {
                uint32_t count;
                const uint32_t *slot = place_replicas(kept, l, e, &count);

                for (uint32_t c = 0; c < count; c++)
                    assert_int_equal(kept->expert[(size_t)l * z.slots + slot[c]], e);
            }
        }
        place_free(from);
        place_free(to);
        place_free(kept);
    }
    assert_true(after < before);
}

/* A placement whose nodes, GPUs in them, and slots in those are shuffled comes back as it
 * was; with two replicas on one GPU too. */
static void keep_undoes_shuffles(void **unused)
{
    static const uint16_t before[] = {0, 1, 2, 2, 3, 0, 4, 5, NONE, 6, 6, 1};
    static const uint16_t after[] = {6, 1, 6, 5, NONE, 4, 0, 3, 2, 2, 0, 1};
    struct place_problem z = {
        .layers = 1, .experts = 7, .gpus = 4, .nodes = 2, .groups = 1, .slots = 12};
    struct place *from = from_table(&z, before), *to = from_table(&z, after);

    (void)unused;
    place_keep(from, to);
    assert_memory_equal(to->expert, from->expert, sizeof before);
    place_free(from);
    place_free(to);
}

static void swap(uint32_t *a, uint32_t *b)
{
    uint32_t x = *a;

    *a = *b;
    *b = x;
}

/* The next order of x[n], or false after the last one. */
static bool next_order(uint32_t *x, uint32_t n)
{
    uint32_t i = n - 1, j = n - 1;

    while (i > 0 && x[i - 1] >= x[i])
        i--;
    if (i == 0)
        return false;
    while (x[j] <= x[i - 1])
        j--;
    swap(&x[i - 1], &x[j]);
    for (j = n - 1; i < j; i++, j--)
        swap(&x[i], &x[j]);
    return true;
}

/* Least copies over all orders of GPUs that keep nodes together. */
static size_t least_fetches(const struct place_problem *z, const struct place *from,
                            const struct place *to)
{
    uint32_t order[6], size = z->gpus / z->nodes, per_gpu = z->slots / z->gpus;
    uint16_t table[64];
    size_t least = SIZE_MAX;

    for (uint32_t g = 0; g < z->gpus; g++)
        order[g] = g;
    do {
        bool whole = true;
        struct place *p;
        size_t count;

        for (uint32_t g = 0; g < z->gpus; g++)
            whole = whole && order[g] / size == order[g / size * size] / size;
        if (!whole)
            continue;
        for (uint32_t s = 0; s < z->slots; s++)
            table[s] = to->expert[order[s / per_gpu] * per_gpu + s % per_gpu];
        p = from_table(z, table);
        count = fetches(from, p);
        least = count < least ? count : least;
        place_free(p);
    } while (next_order(order, z->gpus));
    return least;
}

static void keep_by_brute_force(void **unused)
{
    static const uint32_t shapes[][2] = {{4, 1}, {4, 2}, {6, 2}, {6, 3}, {5, 1}};
    struct rng r = rng_stream(23, "test", 0);

    (void)unused;
    for (size_t i = 0; i < 6 * (sizeof shapes / sizeof *shapes); i++) {
        struct place_problem z = {.layers = 1,
                                  .experts = 12,
                                  .gpus = shapes[i / 6][0],
                                  .nodes = shapes[i / 6][1],
                                  .groups = 6,
                                  .slots = 4 * shapes[i / 6][0]};
        struct place *from = other(&z, "eplb", &r), *to = other(&z, "eplb", &r);
        size_t least = least_fetches(&z, from, to);

        place_keep(from, to);
        assert_int_equal(fetches(from, to), least);
        place_free(from);
        place_free(to);
    }
}

/* ---- the window ---- */

static void window_slides(void **unused)
{
    const struct place_window_params params = {.window = 3, .interval = 4, .first = 2};
    struct place_window *w = place_window_new(&params, 2, 5);
    struct rng r = rng_stream(24, "test", 0);
    uint32_t counts[20][10];
    double load[10];

    (void)unused;
    for (uint32_t pass = 0; pass < 20; pass++) {
        uint32_t passes, *now = place_window_pass(w);
        const uint32_t *history;
        uint64_t sum = 0, seen = 0;

        for (uint32_t i = 0; i < 10; i++) {
            assert_int_equal(now[i], 0);
            counts[pass][i] = (uint32_t)rng_below(&r, 100);
            now[i] += counts[pass][i];
        }
        /* Due after passes 2, 6, 10, ... */
        assert_int_equal(place_window_end_pass(w), (pass + 1) % 4 == 2);
        place_window_load(w, load);
        for (uint32_t i = 0; i < 10; i++) {
            uint32_t expected = 0;

            for (uint32_t p = pass < 2 ? 0 : pass - 2; p <= pass; p++)
                expected += counts[p][i];
            assert_int_equal(load[i], expected);
            sum += expected;
        }
        history = place_window_history(w, &passes);
        assert_int_equal(passes, pass < 2 ? pass + 1 : 3);
        for (uint32_t i = 0; i < passes * 10; i++)
            seen += history[i];
        assert_int_equal(seen, sum);
    }
    place_window_free(w);
    place_window_free(NULL);
}

static void window_intervals(void **unused)
{
    struct err e = {.text = ""};
    struct place_params shared;
    struct place_window_params params;
    struct place_window *w;

    (void)unused;
    assert_int_equal(cfg_bind(NULL, place_options, &shared, &e), 0);
    assert_int_equal(shared.window.window, 1000);
    params = (struct place_window_params){.window = 1, .interval = 3};
    w = place_window_new(&params, 1, 1);
    for (uint32_t pass = 1; pass <= 9; pass++)
        assert_int_equal(place_window_end_pass(w), pass % 3 == 0);
    place_window_free(w);
    params.interval = 0;
    w = place_window_new(&params, 1, 1);
    for (uint32_t pass = 1; pass <= 9; pass++)
        assert_false(place_window_end_pass(w));
    place_window_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_by_hand),         cmocka_unit_test(copies_by_brute_force),
        cmocka_unit_test(keep_never_copies_more), cmocka_unit_test(keep_undoes_shuffles),
        cmocka_unit_test(keep_by_brute_force),    cmocka_unit_test(window_slides),
        cmocka_unit_test(window_intervals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

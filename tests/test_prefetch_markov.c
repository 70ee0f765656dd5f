/* The markov prefetcher: known answers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "prefetch_world.h"

#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

/* Pass p takes expert 3 l + 2 p at layer l (modulo 8), with its neighbour as second
 * choice: a deterministic chain, within a pass and from one to the next. Once every path
 * was seen the counts alone give the coming step exactly, at any distance. */
static void markov_learns_a_chain(void **unused)
{
    (void)unused;
    for (uint32_t distance = 1; distance <= 9; distance++) {
        struct world *w = world_new(30, 4, 8, 2, 1);
        char *options = mem_format("{distance: %u, smoothing: 0}", distance);
        struct prefetch_run r;
        uint32_t exact = 0;

        for (uint32_t s = 0; s < w->passes * w->layers; s++) {
            uint32_t e = 3 * (s % w->layers) + 2 * (s / w->layers);

            world_choice(w, s, 0)[0] = (uint16_t)(e % 8);
            world_choice(w, s, 0)[1] = (uint16_t)((e + 1) % 8);
        }
        prefetch_run_begin(&r, w, "markov", options, 0xa5);
        for (uint32_t s = 0; s + distance < w->passes * w->layers; s++) {
            struct view v = world_view(w, s, false);

            prefetch_run_step(&r, &v);
            if (s < distance)
                assert_int_equal(r.count, 0);
            /* Paths repeat after 4 passes; the last of them is known `distance` later. */
            if (s >= 4 * w->layers + distance) {
                assert_true(prefetch_run_exact(&r, w, s, distance));
                exact++;
            }
            if (v.layer + 1 == w->layers)
                world_end_pass(w, (uint32_t)v.pass);
        }
        assert_true(exact >= 80);
        prefetch_run_end(&r);
        free(options);
        world_free(w);
    }
}

/* A constant trace is known after one pass: layer 0 comes `distance` steps later. */
static void markov_after_one_pass(void **unused)
{
    struct world *w = world_new(4, 5, 16, 1, 1);
    struct prefetch_run r;

    (void)unused;
    for (uint32_t s = 0; s < w->passes * w->layers; s++)
        world_choice(w, s, 0)[0] = (uint16_t)(7 * (s % w->layers) % 16);
    prefetch_run_begin(&r, w, "markov", "{distance: 1, candidates: 16}", 0xa5);
    for (uint32_t s = 0; s + 1 < w->passes * w->layers; s++) {
        struct view v = world_view(w, s, false);

        prefetch_run_step(&r, &v);
        if (s >= w->layers)
            assert_true(prefetch_run_exact(&r, w, s, 1));
        if (v.layer + 1 == w->layers)
            world_end_pass(w, (uint32_t)v.pass);
    }
    prefetch_run_end(&r);
    world_free(w);
}

/* Two requests on paths of their own, changing places in the batch: a token's successor
 * in the next pass is looked for by request. In the end request 0 is alone; what follows
 * it must be its own path and nothing of the other's. */
static void markov_follows_requests(void **unused)
{
    struct world *w = world_new(12, 2, 8, 1, 2);
    struct prefetch_run r;
    uint32_t last = w->passes * w->layers - 2;

    (void)unused;
    for (uint32_t p = 0; p < w->passes; p++) {
        for (uint32_t row = 0; row < 2; row++) {
            uint32_t request = (row + p) % 2;

            w->row[p * 2 + row].request = request;
            world_choice(w, 2 * p, row)[0] = (uint16_t)(2 + 4 * request);
            world_choice(w, 2 * p + 1, row)[0] = (uint16_t)(3 + 4 * request);
        }
    }
    prefetch_run_begin(&r, w, "markov", "{distance: 1, smoothing: 0, candidates: 8}",
                       0xa5);
    for (uint32_t s = 0; s < w->passes * w->layers; s++) {
        struct view v = world_view(w, s, false);
        uint32_t mine = v.row[0].request == 0 ? 0 : 1;

        if (s >= last) {
            v.rows = 1;
            v.row = &v.row[mine];
            v.choice = world_choice(w, s, mine);
            w->active[0] = v.choice[0];
            v.active_count = 1;
            memset(w->tokens, 0, sizeof w->tokens);
            w->tokens[v.choice[0]] = 1;
        }
        prefetch_run_step(&r, &v);
        if (s >= last) {
            assert_int_equal(r.count, 1);
            assert_int_equal(r.want[0].expert, s == last ? 3 : 2);
        }
    }
    prefetch_run_end(&r);
    world_free(w);
}

/* Layer 0: expert 0 in four tokens, followed by 1 1 1 2; expert 3 in six, all followed by
 * 2. Then expert 0 alone: counts give 1 (3/4) before 2 (1/4). The layer's popularity is
 * 0.3 for 1 and 0.7 for 2, so a heavy prior turns that round: (3 + 30) / 104 against
 * (1 + 70) / 104. It does so from a weight of 5 on, where both give 4.5 / 9. Tokens weigh
 * in: five of expert 0 and two of expert 3 give 1 15/4 and 2 5/4 + 2; with three of
 * expert 3 the latter leads. */
static void markov_probabilities(void **unused)
{
    static const uint16_t from[] = {0, 0, 0, 0, 3, 3, 3, 3, 3, 3};
    static const uint16_t to[] = {1, 1, 1, 2, 2, 2, 2, 2, 2, 2};
    static const struct {
        const char *options;
        uint32_t zeros, threes, first;
    } cases[] = {
        {"{smoothing: 0, candidates: 4}", 1, 0, 1},
        {"{smoothing: 100, candidates: 4}", 1, 0, 2},
        {"{smoothing: 4.9, candidates: 4}", 1, 0, 1},
        {"{smoothing: 5.1, candidates: 4}", 1, 0, 2},
        {"{smoothing: 0, candidates: 4}", 5, 2, 1},
        {"{smoothing: 0, candidates: 4}", 5, 3, 2},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world *w = world_new(2, 2, 4, 1, 10);
        struct prefetch_run r;

        for (uint32_t row = 0; row < 10; row++) {
            world_choice(w, 0, row)[0] = from[row];
            world_choice(w, 1, row)[0] = to[row];
            world_choice(w, 2, row)[0] = VIEW_NO_EXPERT;
        }
        for (uint32_t row = 0; row < cases[i].zeros + cases[i].threes; row++)
            world_choice(w, 2, row)[0] = row < cases[i].zeros ? 0 : 3;
        prefetch_run_begin(&r, w, "markov", cases[i].options, 0xa5);
        for (uint32_t s = 0; s < 3; s++) {
            struct view v = world_view(w, s, false);

            prefetch_run_step(&r, &v);
            if (s == 1)
                world_end_pass(w, 0);
        }
        assert_int_equal(r.count, 2);
        assert_int_equal(r.want[0].expert, cases[i].first);
        assert_int_equal(r.want[1].expert, 3 - cases[i].first);
        prefetch_run_end(&r);
        world_free(w);
    }
}

/* Only the first `rows` rows teach: with one row of two, the other's path is unknown. */
static void markov_learns_from_few_rows(void **unused)
{
    struct world *w = world_new(3, 2, 8, 1, 2);
    struct prefetch_run r;

    (void)unused;
    for (uint32_t s = 0; s < 6; s++) {
        world_choice(w, s, 0)[0] = (uint16_t)(s % 2);
        world_choice(w, s, 1)[0] = (uint16_t)(4 + s % 2);
    }
    prefetch_run_begin(&r, w, "markov", "{rows: 1, smoothing: 0, candidates: 8}", 0xa5);
    for (uint32_t s = 0; s < 5; s++) {
        struct view v = world_view(w, s, false);

        prefetch_run_step(&r, &v);
    }
    assert_int_equal(r.count, 1);
    assert_int_equal(r.want[0].expert, 1);
    prefetch_run_end(&r);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(markov_learns_a_chain),
        cmocka_unit_test(markov_after_one_pass),
        cmocka_unit_test(markov_follows_requests),
        cmocka_unit_test(markov_probabilities),
        cmocka_unit_test(markov_learns_from_few_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

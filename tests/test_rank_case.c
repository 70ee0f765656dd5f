/* The closed forms of moesim-ranks against data that are moved by hand, for several
 * numbers of ranks at once in one process. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "gpu/rank_case.h"
#include "sim/base/mem.h"
#include "sim/base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define RANKS_MAX 5

/* One collective between ranks whose memory lies side by side. */
struct world {
    const struct rank_case *c;
    uint32_t ranks;
    struct rank_shape shape[RANKS_MAX];
    uint32_t *from[RANKS_MAX], *to[RANKS_MAX];
    size_t matrix[RANKS_MAX * RANKS_MAX]; /* bytes */
};

static void send_blocks(struct world *w)
{
    size_t filled[RANKS_MAX] = {0};

    for (uint32_t from = 0; from < w->ranks; from++) {
        const uint32_t *next = w->from[from];

        for (uint32_t to = 0; to < w->ranks; to++) {
            size_t words = w->matrix[from * w->ranks + to] / sizeof *next;

            if (words > 0)
                memcpy(w->to[to] + filled[to], next, words * sizeof *next);
            filled[to] += words;
            next += words;
        }
    }
}

static void send_all(struct world *w)
{
    size_t unit = w->shape[0].unit;

    for (uint32_t to = 0; to < w->ranks; to++) {
        for (uint32_t from = 0; from < w->ranks; from++)
            memcpy(w->to[to] + from * unit, w->from[from], unit * sizeof(uint32_t));
    }
}

/* Summed from the last rank down: the order must not matter. */
static void sum_blocks(struct world *w)
{
    size_t unit = w->shape[0].unit;

    for (uint32_t to = 0; to < w->ranks; to++) {
        for (size_t i = 0; i < unit; i++) {
            float sum = 0.0f, one;

            for (uint32_t from = w->ranks; from-- > 0;) {
                memcpy(&one, &w->from[from][to * unit + i], sizeof one);
                sum += one;
            }
            memcpy(&w->to[to][i], &sum, sizeof sum);
        }
    }
}

static void world_init(struct world *w, const struct rank_case *c, uint32_t ranks,
                       size_t bytes)
{
    *w = (struct world){.c = c, .ranks = ranks};
    for (uint32_t r = 0; r < ranks; r++) {
        w->shape[r] = rank_shape_of(c, ranks, r, bytes);
        w->from[r] =
            mem_zalloc(rank_shape_from_words(&w->shape[r]) + 1, sizeof(uint32_t));
        w->to[r] = mem_zalloc(rank_shape_to_words(&w->shape[r]) + 1, sizeof(uint32_t));
        rank_shape_fill(&w->shape[r], w->from[r]);
    }
    rank_shape_matrix(&w->shape[0], w->matrix);
    switch (c->call) {
    case RANK_CASE_ALL_TO_ALL:
    case RANK_CASE_ALL_TO_ALL_V:
        send_blocks(w);
        break;
    case RANK_CASE_ALL_GATHER:
        send_all(w);
        break;
    case RANK_CASE_REDUCE_SCATTER:
        sum_blocks(w);
        break;
    }
}

static void world_release(struct world *w)
{
    for (uint32_t r = 0; r < w->ranks; r++) {
        free(w->from[r]);
        free(w->to[r]);
    }
}

static void each_world(void (*body)(struct world *w))
{
    static const size_t sizes[] = {52, 1024, 4096, 12348};

    for (size_t i = 0; i < rank_case_count; i++) {
        for (uint32_t ranks = 2; ranks <= RANKS_MAX; ranks++) {
            for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
                struct world w;

                world_init(&w, &rank_cases[i], ranks, sizes[s]);
                assert_true(w.shape[0].unit > 0);
                body(&w);
                world_release(&w);
            }
        }
    }
}

static void expect_right(struct world *w)
{
    for (uint32_t r = 0; r < w->ranks; r++) {
        uint32_t expected;

        assert_int_equal(rank_shape_wrong(&w->shape[r], w->to[r], &expected),
                         rank_shape_to_words(&w->shape[r]));
    }
}

static void right_results_pass(void **state)
{
    (void)state;
    each_world(expect_right);
}

/* One bit anywhere, on any rank, is found where it is. */
static void expect_found(struct world *w)
{
    struct rng draw = rng_stream(2385, "wrong", w->ranks);

    for (uint32_t r = 0; r < w->ranks; r++) {
        size_t words = rank_shape_to_words(&w->shape[r]), at;
        uint32_t expected = 0, right;

        if (words == 0)
            continue;
        at = (size_t)rng_below(&draw, words);
        right = w->to[r][at];
        w->to[r][at] ^= UINT32_C(1) << rng_below(&draw, 32);
        assert_int_equal(rank_shape_wrong(&w->shape[r], w->to[r], &expected), at);
        assert_int_equal(expected, right);
    }
}

static void wrong_words_are_found(void **state)
{
    (void)state;
    each_world(expect_found);
}

/* What a rank sends and receives is the matrix's row and column; `bytes` is what the
 * busiest rank moves, and the bus factor the share that passes between ranks there. */
static void expect_port(struct world *w)
{
    size_t most = 0, most_outside = 0, bytes = rank_shape_bytes(&w->shape[0]);

    if (w->c->weight == NULL)
        return;
    for (uint32_t r = 0; r < w->ranks; r++) {
        size_t row = 0, column = 0, kept = w->matrix[r * w->ranks + r], larger;

        for (uint32_t p = 0; p < w->ranks; p++) {
            row += w->matrix[r * w->ranks + p];
            column += w->matrix[p * w->ranks + r];
        }
        assert_int_equal(row, rank_shape_from_words(&w->shape[r]) * sizeof(uint32_t));
        assert_int_equal(column, rank_shape_to_words(&w->shape[r]) * sizeof(uint32_t));
        larger = row > column ? row : column;
        most = larger > most ? larger : most;
        most_outside = larger - kept > most_outside ? larger - kept : most_outside;
    }
    assert_int_equal(most, bytes);
    assert_true(fabs((double)most_outside / (double)bytes - w->c->bus(w->ranks)) < 1e-12);
}

static void ports_carry_what_the_bus_factor_says(void **state)
{
    (void)state;
    each_world(expect_port);
}

static const struct rank_case *find(const char *name)
{
    for (size_t i = 0; i < rank_case_count; i++) {
        if (strcmp(rank_cases[i].name, name) == 0)
            return &rank_cases[i];
    }
    fail_msg("no case %s", name);
    return NULL;
}

/* 4096 bytes are 1024 words: 341 for each of 3 ranks; cyclic, 3 blocks a row of 341 words
 * with none from rank 0 to 0; into rank 0, 512 words from each of the 2 others. */
static void sizes_round_down(void **state)
{
    static const size_t cyclic[] = {0, 1364, 2728, 1364, 2728, 0, 2728, 0, 1364};
    static const size_t hot[] = {0, 0, 0, 2048, 0, 0, 2048, 0, 0};
    size_t matrix[9];
    struct rank_shape s = rank_shape_of(find("all_gather"), 3, 1, 4096);

    (void)state;
    assert_int_equal(rank_shape_bytes(&s), 4092);
    assert_int_equal(rank_shape_from_words(&s), 341);
    assert_int_equal(rank_shape_to_words(&s), 1023);
    s = rank_shape_of(find("reduce_scatter"), 3, 1, 4096);
    assert_int_equal(rank_shape_from_words(&s), 1023);
    assert_int_equal(rank_shape_to_words(&s), 341);
    s = rank_shape_of(find("all_to_all_v"), 3, 1, 4096);
    rank_shape_matrix(&s, matrix);
    assert_memory_equal(matrix, cyclic, sizeof matrix);
    s = rank_shape_of(find("all_to_all_hot"), 3, 1, 4096);
    rank_shape_matrix(&s, matrix);
    assert_memory_equal(matrix, hot, sizeof matrix);
    assert_int_equal(rank_shape_of(find("all_to_all_v"), 46, 0, 4096).unit, 0);
}

/* ---- which collective runs a case ---- */

static struct {
    const char *name;
    const struct communicator *c;
    const void *to, *from, *matrix;
    size_t size;
} called;

static int note(const char *name, struct communicator *c, const void *to,
                const void *from, const size_t *matrix, size_t size, struct err *e)
{
    called.name = name;
    called.c = c;
    called.to = to;
    called.from = from;
    called.matrix = matrix;
    called.size = size;
    return err_set(e, "%s was called", name);
}

static int call_all_to_all(struct communicator *c, void *to, const void *from,
                           size_t bytes, struct err *e)
{
    return note("all_to_all", c, to, from, NULL, bytes, e);
}

static int call_all_to_all_v(struct communicator *c, void *to, const void *from,
                             const size_t *matrix, struct err *e)
{
    return note("all_to_all_v", c, to, from, matrix, 0, e);
}

static int call_all_gather(struct communicator *c, void *to, const void *from,
                           size_t bytes, struct err *e)
{
    return note("all_gather", c, to, from, NULL, bytes, e);
}

static int call_reduce_scatter(struct communicator *c, float *to, const float *from,
                               size_t count, struct err *e)
{
    return note("reduce_scatter", c, to, from, NULL, count, e);
}

/* 4096 bytes of 4 ranks: 256 words, 1024 bytes each; hot, a third of them; cyclic a
 * sixth.
 */
static void each_case_calls_its_collective(void **state)
{
    static const struct communicator_ops ops = {.all_to_all = call_all_to_all,
                                                .all_to_all_v = call_all_to_all_v,
                                                .all_gather = call_all_gather,
                                                .reduce_scatter = call_reduce_scatter};
    static const struct {
        const char *name, *call;
        size_t size;
    } known[] = {{"all_to_all", "all_to_all", 1024},
                 {"all_to_all_v", "all_to_all_v", 0},
                 {"all_to_all_hot", "all_to_all_v", 0},
                 {"all_gather", "all_gather", 1024},
                 {"reduce_scatter", "reduce_scatter", 256}};
    struct communicator *c = (struct communicator *)(void *)&called;
    uint32_t from = 0, to = 0;
    size_t matrix[16];

    (void)state;
    assert_int_equal(rank_case_count, sizeof known / sizeof *known);
    for (size_t i = 0; i < rank_case_count; i++) {
        struct rank_shape s = rank_shape_of(find(known[i].name), 4, 1, 4096);
        struct err e = {.text = ""};

        assert_ptr_equal(find(known[i].name), &rank_cases[i]);
        assert_int_equal(rank_shape_run(&s, &ops, c, matrix, &to, &from, &e), -1);
        assert_string_equal(called.name, known[i].call);
        assert_int_equal(strncmp(e.text, called.name, strlen(called.name)), 0);
        assert_ptr_equal(called.c, c);
        assert_ptr_equal(called.to, &to);
        assert_ptr_equal(called.from, &from);
        assert_int_equal(called.size, known[i].size);
        if (strcmp(called.name, "all_to_all_v") == 0)
            assert_ptr_equal(called.matrix, matrix);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_results_pass),
        cmocka_unit_test(wrong_words_are_found),
        cmocka_unit_test(ports_carry_what_the_bus_factor_says),
        cmocka_unit_test(sizes_round_down),
        cmocka_unit_test(each_case_calls_its_collective),
    };

    return cmocka_run_group_tests_name("rank_case", tests, NULL, NULL);
}

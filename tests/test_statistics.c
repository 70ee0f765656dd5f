/* What a trace looks like: closed forms, then brute force. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "trace_maker.h"

#include "sim/base/mem.h"
#include "traces/statistics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NEAR 1e-12

static struct trace_statistics measure(const char *path)
{
    struct err e = {.text = ""};
    struct trace *t = trace_open(path, NULL, &e);
    struct trace_statistics s;

    assert_non_null(t);
    assert_int_equal(trace_statistics_measure(t, NULL, &s, &e), 0);
    trace_close(t);
    (void)unlink(path);
    return s;
}

static void assert_near(double value, double want)
{
    if (!(fabs(value - want) <= NEAR * fmax(1.0, fabs(want))))
        fail_msg("%.15g is not %.15g", value, want);
}

/* Row t uses experts (3t + j) mod 12, j < 3, in every layer: four disjoint sets in turn.
 * Each expert is used equally, no row shares one with the next, and a set at one layer
 * foretells the set at the next. Independent rows would share k (k / E). */
static void test_a_cyclic_trace(void **state)
{
    char *path = trace_make_path("cyclic.h5");
    struct trace_statistics s;

    (void)state;
    trace_make_cyclic(path, 5, 12, 3, 400);
    s = measure(path);
    assert_int_equal(s.layers, 5);
    assert_int_equal(s.experts, 12);
    assert_int_equal(s.top_k, 3);
    assert_near(s.top1_share, 1.0 / 12);
    assert_near(s.entropy_bits, log2(12));
    assert_near(s.gini, 0);
    assert_near(s.adjacent_overlap, 0);
    assert_near(s.independent_overlap, 3.0 / 12);
    assert_near(s.next_layer_predictability, 1);
    assert_near(s.union_size[0], 3);
    for (int i = 1; i < TRACE_UNION_SIZES; i++)
        assert_near(s.union_size[i], 0); /* there is one request only */
    for (int i = 0; i < 60; i++)
        assert_near(s.popularity[i], 1.0 / 12);
    trace_statistics_release(&s);
    free(path);
}

/* Every row uses the same 3 of 12 experts: shares 0 (nine times) and 1/3. The Gini sum is
 * (1/12) (1/3) sum over i = 10, 11, 12 of (2i - 13) = 27/36. */
static void test_a_constant_trace(void **state)
{
    const struct trace_make m = {.layers = 2,
                                 .experts = 12,
                                 .top_k = 3,
                                 .requests = 70,
                                 .rows = 4,
                                 .routing = TRACE_MAKE_CONSTANT};
    char *path = trace_make_path("constant.h5");
    struct trace_statistics s;

    (void)state;
    trace_make(path, &m);
    s = measure(path);
    assert_near(s.top1_share, 1.0 / 3);
    assert_near(s.entropy_bits, log2(3));
    assert_near(s.gini, 27.0 / 36);
    assert_near(s.adjacent_overlap, 1);
    assert_near(s.independent_overlap, 1);
    assert_near(s.layer_adjacent_overlap[1], 1);
    assert_near(s.next_layer_predictability, 1);
    for (int i = 0; i < TRACE_UNION_SIZES; i++)
        assert_near(s.union_size[i], 3);
    trace_statistics_release(&s);
    free(path);
}

/* ---- brute force ---- */

static const struct trace_make random_make = {.layers = 4,
                                              .experts = 19,
                                              .top_k = 3,
                                              .candidates = 5,
                                              .requests = 7,
                                              .rows = 23,
                                              .prefill_rows = 6,
                                              .uneven = true,
                                              .missing = true,
                                              .score_kind = TRACE_SCORE_SIGMOID,
                                              .seed = 91};

/* The executed experts of every cell, as bits. */
static uint32_t *make_sets(const struct trace_make *m)
{
    uint64_t rows = trace_make_rows(m);
    uint32_t *set = mem_zalloc((size_t)rows * m->layers, sizeof *set);
    uint16_t *expert = mem_alloc((size_t)m->layers * m->candidates, sizeof *expert);

    for (uint64_t t = 0; t < rows; t++) {
        struct trace_token token;

        trace_make_row(m, t, &token, expert, NULL, NULL);
        for (uint32_t l = 0; l < m->layers; l++)
            for (uint32_t k = 0; k < m->top_k; k++)
                if (expert[l * m->candidates + k] != TRACE_NOT_RECORDED)
                    set[t * m->layers + l] |= 1u << expert[l * m->candidates + k];
    }
    free(expert);
    return set;
}

static double bits(uint32_t set)
{
    return (double)__builtin_popcount(set);
}

static uint32_t request_of(const struct trace_make *m, uint64_t row)
{
    uint32_t r = 0;

    while (row >= trace_make_request(m, r).first_row + trace_make_request(m, r).rows)
        r++;
    return r;
}

static double brute_overlap(const struct trace_make *m, const uint32_t *set)
{
    double shared = 0, pairs = 0;

    for (uint64_t t = 0; t + 1 < trace_make_rows(m); t++)
        for (uint32_t l = 0; l < m->layers; l++) {
            uint32_t a = set[t * m->layers + l], b = set[(t + 1) * m->layers + l];

            if (request_of(m, t) == request_of(m, t + 1) && a != 0 && b != 0) {
                shared += bits(a & b);
                pairs++;
            }
        }
    return shared / pairs / m->top_k;
}

/* P(x at l + 1 | y at l), counted directly. */
static double share(const struct trace_make *m, const uint32_t *set, uint32_t l,
                    uint32_t y, uint32_t x)
{
    double both = 0, times = 0;

    for (uint64_t t = 0; t < trace_make_rows(m); t++)
        if ((set[t * m->layers + l] >> y & 1) != 0) {
            times++;
            both += set[t * m->layers + l + 1] >> x & 1;
        }
    return times > 0 ? both / times : 0;
}

static double brute_predictability(const struct trace_make *m, const uint32_t *set)
{
    double asked = 0, foreseen = 0;

    for (uint32_t l = 0; l + 1 < m->layers; l++) {
        double p[19][19];

        for (uint32_t y = 0; y < 19; y++)
            for (uint32_t x = 0; x < 19; x++)
                p[y][x] = (double)(float)share(m, set, l, y, x);
        for (uint64_t t = 0; t < trace_make_rows(m); t++) {
            uint32_t from = set[t * m->layers + l], best = 0;

            if (from == 0)
                continue;
            for (uint32_t k = 0; k < m->top_k; k++) {
                double most = -1;
                uint32_t winner = 0;

                for (uint32_t x = 0; x < 19; x++) {
                    double sum = 0;

                    for (uint32_t y = 0; y < 19; y++)
                        sum += (from >> y & 1) != 0 ? p[y][x] : 0;
                    if ((best >> x & 1) == 0 && sum > most + 1e-6) {
                        most = sum;
                        winner = x;
                    }
                }
                best |= 1u << winner;
            }
            asked += bits(set[t * m->layers + l + 1]);
            foreseen += bits(set[t * m->layers + l + 1] & best);
        }
    }
    return foreseen / asked;
}

/* Two slots: the rows of each slot's schedule are listed first, then zipped. */
static double brute_union_of_two(const struct trace_make *m, const uint32_t *set)
{
    uint64_t next[2] = {0, 0}, end[2] = {0, 0};
    uint32_t request = 0;
    double distinct = 0, steps = 0;

    for (;;) {
        for (int i = 0; i < 2; i++) {
            if (next[i] < end[i])
                continue;
            if (request == m->requests)
                return distinct / steps / m->layers;
            next[i] = trace_make_request(m, request).first_row + m->prefill_rows;
            end[i] = trace_make_request(m, request).first_row +
                     trace_make_request(m, request).rows;
            request++;
        }
        for (uint32_t l = 0; l < m->layers; l++)
            distinct += bits(set[next[0] * m->layers + l] | set[next[1] * m->layers + l]);
        next[0]++;
        next[1]++;
        steps++;
    }
}

static void assert_skew(const struct trace_statistics *s, const struct trace_make *m,
                        const uint32_t *set)
{
    double top1 = 0, entropy = 0, gini = 0, overlap = 0;

    for (uint32_t l = 0; l < m->layers; l++) {
        double p[19] = {0}, sum = 0, most = 0, spread = 0;

        for (uint64_t t = 0; t < trace_make_rows(m); t++)
            for (uint32_t x = 0; x < 19; x++)
                p[x] += set[t * m->layers + l] >> x & 1;
        for (uint32_t x = 0; x < 19; x++)
            sum += p[x];
        for (uint32_t x = 0; x < 19; x++) {
            p[x] /= sum;
            assert_near(s->popularity[l * 19 + x], p[x]);
            most = fmax(most, p[x]);
            entropy -= p[x] > 0 ? p[x] * log2(p[x]) : 0;
            overlap += fmin(1, 3 * p[x]) * fmin(1, 3 * p[x]) / 3;
        }
        /* Gini as half the relative mean difference, another form of the same. */
        for (uint32_t x = 0; x < 19; x++)
            for (uint32_t y = 0; y < 19; y++)
                spread += fabs(p[x] - p[y]);
        gini += spread / (2.0 * 19);
        top1 += most;
    }
    assert_near(s->top1_share, top1 / m->layers);
    assert_near(s->entropy_bits, entropy / m->layers);
    assert_near(s->gini, gini / m->layers);
    assert_near(s->independent_overlap, overlap / m->layers);
}

static void test_against_brute_force(void **state)
{
    char *path = trace_make_path("random.h5");
    uint32_t *set = make_sets(&random_make);
    struct trace_statistics s;

    (void)state;
    trace_make(path, &random_make);
    s = measure(path);
    assert_skew(&s, &random_make, set);
    assert_near(s.adjacent_overlap, brute_overlap(&random_make, set));
    assert_near(s.next_layer_predictability, brute_predictability(&random_make, set));
    assert_near(s.union_size[1], brute_union_of_two(&random_make, set));
    assert_true(s.union_size[2] > s.union_size[1]);
    assert_near(s.union_size[3], 0); /* eight slots, seven requests */
    trace_statistics_release(&s);
    free(set);
    free(path);
}

static void test_a_count_only_trace(void **state)
{
    char *path = trace_make_path("counts.h5");
    struct trace_statistics s;

    (void)state;
    trace_make_counts(path, 2, 3, 11);
    s = measure(path);
    /* Over 11 passes (7n + c) mod 11 takes every value once: equal shares. */
    for (int i = 0; i < 6; i++)
        assert_near(s.popularity[i], 1.0 / 3);
    assert_near(s.entropy_bits, log2(3));
    assert_near(s.next_layer_predictability, -1);
    trace_statistics_release(&s);
    free(path);
}

struct shown {
    uint64_t first, last, total;
    size_t count;
};

static void note(void *context, uint64_t done, uint64_t total)
{
    struct shown *s = context;

    if (s->count == 0)
        s->first = done;
    else
        assert_true(done >= s->last);
    s->last = done;
    s->total = total;
    s->count++;
}

/* Rows are swept twice: for counts, and for what one layer foretells of the next. */
static void test_progress_is_told(void **state)
{
    char *path = trace_make_path("told.h5");
    struct shown shown = {.count = 0};
    const struct trace_statistics_watch watch = {note, &shown};
    struct err e = {.text = ""};
    struct trace_statistics s;
    struct trace *t;

    (void)state;
    trace_make_cyclic(path, 2, 8, 2, 5000);
    t = trace_open(path, NULL, &e);
    assert_int_equal(trace_statistics_measure(t, &watch, &s, &e), 0);
    assert_int_equal(shown.total, 10000);
    assert_true(shown.count >= 4);
    assert_true(shown.first < 5000);
    assert_true(shown.last >= 5000 && shown.last <= 10000);
    trace_statistics_release(&s);
    trace_close(t);
    (void)unlink(path);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_cyclic_trace),
        cmocka_unit_test(test_a_constant_trace),
        cmocka_unit_test(test_against_brute_force),
        cmocka_unit_test(test_a_count_only_trace),
        cmocka_unit_test(test_progress_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

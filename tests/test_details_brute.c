/* What else a trace says of itself, on random traces: brute force. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hand_trace.h"

#include "sim/base/mem.h"
#include "sim/base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    LAYERS = 3,
    EXPERTS = 41,
    REQUESTS = 45,
    GROUPS = 3,
    TOP_K = 5,
    ROWS_MOST = REQUESTS * 90
};

struct world {
    struct hand h;
    uint32_t rows[REQUESTS], all;
    uint16_t group[REQUESTS];
    uint8_t phase[ROWS_MOST];
    uint32_t request[ROWS_MOST];
    uint16_t *expert;
    float *score;
};

static void draw_cell(struct world *w, struct rng *r, uint16_t *cell, float *score)
{
    uint32_t kept = w->h.candidates;
    uint16_t all[EXPERTS];

    for (uint32_t x = 0; x < EXPERTS; x++)
        all[x] = (uint16_t)x;
    if (rng_below(r, 8) == 0)
        kept = (uint32_t)rng_below(r, w->h.candidates + 1);
    for (uint32_t i = 0; i < w->h.candidates; i++) {
        uint32_t j = i + (uint32_t)rng_below(r, (EXPERTS - i) / (i % 2 + 1));
        uint16_t x = all[j];

        all[j] = all[i];
        all[i] = x;
        cell[i] = i < kept ? x : TRACE_NOT_RECORDED;
        score[i] = i < kept ? (float)rng_below(r, 2049) / 2048.0F : 0;
        if (w->h.kind == TRACE_SCORE_LOGIT)
            score[i] = i < kept ? 8 * score[i] - 4 : 0;
    }
}

static struct world *draw_world(enum trace_score_kind kind, uint32_t candidates)
{
    struct world *w = mem_zalloc(1, sizeof *w);
    struct rng r = rng_stream(77, "details", kind * 100 + candidates);
    size_t values = (size_t)LAYERS * candidates;

    w->expert = mem_alloc(ROWS_MOST * values, sizeof *w->expert);
    w->score = mem_alloc(ROWS_MOST * values, sizeof *w->score);
    w->h = (struct hand){LAYERS,   EXPERTS, TOP_K,    candidates, kind,      GROUPS,
                         REQUESTS, w->rows, w->group, w->phase,   w->expert, w->score};
    for (uint32_t q = 0; q < REQUESTS; q++) {
        uint32_t prompt = (uint32_t)rng_below(&r, 40);

        w->rows[q] = prompt + (uint32_t)rng_below(&r, 50);
        w->group[q] = q < 2 * 4 ? (uint16_t)(q % 2) : (uint16_t)2;
        for (uint32_t i = 0; i < w->rows[q]; i++, w->all++) {
            w->request[w->all] = q;
            w->phase[w->all] = i < prompt ? TRACE_PREFILL
                               : rng_below(&r, 5) == 0
                                   ? (uint8_t)(TRACE_DRAFT + rng_below(&r, 2))
                                   : TRACE_DECODE;
            for (uint32_t l = 0; l < LAYERS; l++)
                draw_cell(w, &r, w->expert + w->all * values + l * candidates,
                          w->score + w->all * values + l * candidates);
        }
    }
    return w;
}

static void free_world(struct world *w)
{
    free(w->expert);
    free(w->score);
    free(w);
}

static size_t cell_at(const struct world *w, uint32_t row, uint32_t layer)
{
    return ((size_t)row * LAYERS + layer) * w->h.candidates;
}

static uint32_t recorded_of(const struct world *w, uint32_t row, uint32_t layer,
                            uint32_t most)
{
    const uint16_t *cell = w->expert + cell_at(w, row, layer);
    uint32_t n = 0;

    while (n < most && cell[n] != TRACE_NOT_RECORDED)
        n++;
    return n;
}

/* By expert, of all that is recorded in the cell. */
static void masses_of(const struct world *w, uint32_t row, uint32_t layer, double *mass)
{
    uint32_t n = recorded_of(w, row, layer, w->h.candidates);
    const uint16_t *cell = w->expert + cell_at(w, row, layer);
    const float *score = w->score + cell_at(w, row, layer);
    double sum = 0;

    for (uint32_t x = 0; x < EXPERTS; x++)
        mass[x] = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)score[i]);
    for (uint32_t i = 0; i < n; i++)
        mass[cell[i]] = w->h.kind == TRACE_SCORE_LOGIT ? exp((double)score[i]) / sum
                                                       : (double)score[i];
}

static int by_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void brute_gate(const struct world *w, const struct hand_figures *m,
                       unsigned phase, uint32_t group)
{
    struct trace_gate gate = m->d.gate[phase * GROUPS + group], want = {0};

    for (uint32_t t = 0; t < w->all; t++)
        for (uint32_t l = 0; l < LAYERS; l++) {
            uint32_t n = recorded_of(w, t, l, TOP_K);
            uint32_t all = recorded_of(w, t, l, w->h.candidates);
            const uint16_t *cell = w->expert + cell_at(w, t, l);
            double score[EXPERTS], mass[EXPERTS], most = 0, executed = 0, recorded = 0;

            if (w->phase[t] != phase || w->group[w->request[t]] != group)
                continue;
            masses_of(w, t, l, mass);
            for (uint32_t i = 0; i < all; i++) {
                recorded += mass[cell[i]];
                if (i >= n)
                    continue;
                executed += mass[cell[i]];
                most = fmax(most, mass[cell[i]]);
                score[i] = (double)w->score[cell_at(w, t, l) + i];
            }
            if (executed == 0)
                continue;
            want.cells++;
            want.rest += 1 - most / executed;
            want.outside += 1 - executed / recorded;
            qsort(score, n, sizeof *score, by_double);
            want.margins += n > 1;
            want.margin += n > 1 ? score[n - 1] - score[n - 2] : 0;
        }
    assert_int_equal(gate.cells, want.cells);
    assert_int_equal(gate.margins, want.margins);
    assert_within(gate.margin, want.margin, 1e-9);
    assert_within(gate.rest, want.rest, 1e-6);
    assert_within(gate.outside, want.outside, 1e-6);
}

/* Adds a batch of rows to the sums, layer by layer. */
static void brute_batch(const struct world *w, const uint32_t *row, uint32_t slots,
                        struct drop_sums *sums)
{
    for (uint32_t l = 0; l < LAYERS; l++) {
        double sum[EXPERTS] = {0}, value[EXPERTS], total = 0;
        bool used[EXPERTS] = {false};
        uint32_t count = 0;

        for (uint32_t i = 0; i < slots; i++) {
            double mass[EXPERTS];

            masses_of(w, row[i], l, mass);
            for (uint32_t j = 0; j < recorded_of(w, row[i], l, TOP_K); j++) {
                uint16_t x = w->expert[cell_at(w, row[i], l) + j];

                sum[x] += mass[x];
                used[x] = true;
            }
        }
        for (uint32_t x = 0; x < EXPERTS; x++) {
            total += sum[x];
            if (used[x])
                value[count++] = sum[x];
        }
        qsort(value, count, sizeof *value, by_double);
        sums->distinct += count;
        for (int p = 0; p < DROP_LOSSES && total > 0; p++) {
            double dropped = 0;

            for (uint32_t i = 0; i < count; i++) {
                dropped += value[i];
                sums->dropped[p] += dropped * 100 <= total * drop_percent[p];
            }
        }
    }
    sums->steps++;
}

/* The rows of each slot one by one: every slot has its request, or takes the next. */
static struct drop_sums brute_drops(const struct world *w, uint32_t slots, unsigned phase,
                                    int group)
{
    uint32_t row[32], end[32], next = 0, first = 0;
    struct drop_sums sums = {0};

    for (uint32_t i = 0; i < slots; i++)
        row[i] = end[i] = 0;
    for (;;) {
        uint32_t batch[32];

        for (uint32_t i = 0; i < slots; i++) {
            for (; row[i] == end[i] || w->phase[row[i]] != phase; row[i]++) {
                while (row[i] == end[i]) {
                    if (next == REQUESTS)
                        return sums;
                    if (group < 0 || w->group[next] == (uint32_t)group) {
                        row[i] = first;
                        end[i] = first + w->rows[next];
                    }
                    first += w->rows[next++];
                }
                if (w->phase[row[i]] == phase)
                    break;
            }
            batch[i] = row[i]++;
        }
        brute_batch(w, batch, slots, &sums);
    }
}

static void assert_drops(const struct world *w, struct drop_sums have,
                         struct drop_sums want)
{
    /* Logits' masses are rounded, and a loss may be met or missed by that. */
    double room = w->h.kind == TRACE_SCORE_LOGIT ? 1e-3 : 0;

    assert_int_equal(have.steps, want.steps);
    assert_int_equal(have.distinct, want.distinct);
    for (int p = 0; p < DROP_LOSSES; p++)
        assert_within((double)have.dropped[p], (double)want.dropped[p], room);
}

static void brute_reuse(const struct world *w, const struct hand_figures *m,
                        uint32_t layer)
{
    uint64_t want[REUSE_BINS_MOST] = {0};
    uint16_t recent[EXPERTS];
    uint32_t held = 0;

    for (uint32_t t = 0; t < w->all; t++)
        for (uint16_t x = 0; x < EXPERTS; x++) {
            const uint16_t *cell = w->expert + cell_at(w, t, layer);
            uint32_t n = recorded_of(w, t, layer, TOP_K), i = 0, at = 0, bin = 0;

            while (i < n && cell[i] != x)
                i++;
            if (i == n)
                continue;
            while (at < held && recent[at] != x)
                at++;
            if (at < held)
                for (bin = 1; at + 1 > 1u << (bin - 1); bin++)
                    continue;
            else
                held++;
            want[bin]++;
            memmove(recent + 1, recent, at * sizeof *recent);
            recent[0] = x;
        }
    for (uint32_t b = 0; b < m->d.reuse_bins; b++)
        assert_int_equal(m->d.reuse[layer * m->d.reuse_bins + b], want[b]);
}

/* The mean over layers of the distance between the rows that `in` two windows. */
static double brute_distance(const struct world *w, const uint8_t *window, uint32_t a,
                             uint32_t b)
{
    double distance = 0;

    for (uint32_t l = 0; l < LAYERS; l++) {
        double in_a[EXPERTS] = {0}, in_b[EXPERTS] = {0}, of_a = 0, of_b = 0;

        for (uint32_t t = 0; t < w->all; t++)
            for (uint32_t i = 0; i < recorded_of(w, t, l, TOP_K); i++) {
                uint16_t x = w->expert[cell_at(w, t, l) + i];

                in_a[x] += window[t] == a;
                of_a += window[t] == a;
                in_b[x] += window[t] == b;
                of_b += window[t] == b;
            }
        for (uint32_t x = 0; x < EXPERTS; x++)
            distance += fabs(in_a[x] / of_a - in_b[x] / of_b) / 2 / LAYERS;
    }
    return distance;
}

static void brute_drift(const struct world *w, const struct hand_figures *m)
{
    const struct trace_drift *r = &m->d.drift;
    uint8_t window[ROWS_MOST];
    double near = 0, dealt = 0;

    for (uint32_t t = 0; t < w->all; t++)
        window[t] = (uint8_t)(8 * t / w->all);
    for (uint32_t a = 0; a < 7; a++)
        near += brute_distance(w, window, a, a + 1) / 7;
    assert_within(r->neighbours, near, 1e-9);
    assert_within(r->first_to_last, brute_distance(w, window, 0, 7), 1e-9);
    for (uint32_t t = 0; t < w->all; t++)
        window[t] = (uint8_t)(w->request[t] % 8);
    for (uint32_t a = 0; a < 8; a++)
        for (uint32_t b = a + 1; b < 8; b++)
            dealt += brute_distance(w, window, a, b) / 28;
    assert_within(r->in_turn, dealt, 1e-9);
    /* Rows are drawn independently here: what is seen is what is expected of that. */
    assert_within(r->neighbours / r->neighbours_independent, 1, .1);
}

static void check_world(enum trace_score_kind kind, uint32_t candidates)
{
    struct world *w = draw_world(kind, candidates);
    struct hand_figures m = measure_hand(&w->h);

    assert_true(w->all > 1500);
    for (unsigned p = 0; p < TRACE_PHASES; p++) {
        for (uint32_t g = 0; g < GROUPS; g++)
            brute_gate(w, &m, p, g);
        for (uint32_t b = 0; b < DETAILS_BATCHES; b++)
            assert_drops(w, m.d.phase_drops[p * DETAILS_BATCHES + b],
                         brute_drops(w, details_batch[b], p, -1));
    }
    for (uint32_t g = 0; g < GROUPS; g++)
        for (uint32_t b = 0; b < DETAILS_BATCHES; b++)
            assert_drops(w, m.d.group_drops[g * DETAILS_BATCHES + b],
                         brute_drops(w, details_batch[b], TRACE_DECODE, (int)g));
    for (uint32_t l = 0; l < LAYERS; l++)
        brute_reuse(w, &m, l);
    brute_drift(w, &m);
    hand_figures_release(&m);
    free_world(w);
}

static void test_executed_alone(void **state)
{
    (void)state;
    check_world(TRACE_SCORE_SIGMOID, TOP_K);
}

static void test_some_more_candidates(void **state)
{
    (void)state;
    check_world(TRACE_SCORE_SOFTMAX, TOP_K + 3);
}

static void test_all_logits(void **state)
{
    (void)state;
    check_world(TRACE_SCORE_LOGIT, EXPERTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_executed_alone),
        cmocka_unit_test(test_some_more_candidates),
        cmocka_unit_test(test_all_logits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

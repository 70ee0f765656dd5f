/* What else a trace says of itself, on traces made by hand: closed forms. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hand_trace.h"
#include "trace_maker.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 64 };
static uint8_t decode_rows[ROWS]; /* phases, all of them decode */

/* Scores in no order: 3/4 beside 1/4, either way round, leaves 1/4 beside the best; 1/2
 * beside 1/8 leaves (1/8) / (5/8) = 1/5. A cell that was not recorded counts nowhere, one
 * with a single expert has no margin. */
static void test_gates_of_phases_and_groups(void **state)
{
    const uint16_t none = TRACE_NOT_RECORDED;
    const uint16_t expert[] = {0, 1, 3, 2, none, none, 1, 0, 2, none, 0, 3};
    const float score[] = {.75F, .25F, .25F, .75F, 0, 0, .5F, .125F, .5F, 0, .25F, .125F};
    const uint32_t rows[] = {4, 2};
    const uint16_t group[] = {0, 1};
    const uint8_t phase[] = {1, 1, 1, 0, 1, 3};
    const struct hand h = {1,     4,     2,      2,    TRACE_SCORE_SIGMOID, 2, 2, rows,
                           group, phase, expert, score};
    struct hand_figures m = measure_hand(&h);
    const struct trace_gate *gate = m.d.gate;

    (void)state;
    assert_true(m.d.scores);
    assert_false(m.d.all_scores);
    assert_int_equal(m.d.phases, 1 << 0 | 1 << 1 | 1 << 3);
    assert_int_equal(gate[0].cells, 1); /* prefill of the first group */
    assert_near(gate[0].margin, .375);
    assert_within(gate[0].rest, .2, 1e-12);
    assert_int_equal(gate[1].cells, 0);
    assert_int_equal(gate[2].cells, 2); /* its decode */
    assert_int_equal(gate[2].margins, 2);
    assert_near(gate[2].margin, 1);
    assert_near(gate[2].rest, .5);
    assert_int_equal(gate[3].cells, 1);
    assert_int_equal(gate[3].margins, 0);
    assert_near(gate[3].rest, 0);
    assert_int_equal(gate[4].cells + gate[5].cells + gate[6].cells, 0);
    assert_int_equal(gate[7].cells, 1); /* verify of the second */
    assert_near(gate[7].margin, .125);
    assert_within(gate[7].rest, 1. / 3, 1e-12);
    hand_figures_release(&m);
}

/* Of logits 2, 1, 0 and -1, two executed: the mass of the second is 1 / (1 + e) of both,
 * and (1 + 1/e) / (e^2 + e + 1 + 1/e) is not executed. */
static void test_gates_of_logits(void **state)
{
    const uint16_t expert[] = {1, 0, 3, 2};
    const float score[] = {1, 2, -1, 0};
    const uint32_t rows[] = {1};
    const uint16_t group[] = {0};
    const double e = exp(1);
    struct hand h = {1,     4,           2,      4,    TRACE_SCORE_LOGIT, 1, 1, rows,
                     group, decode_rows, expert, score};
    struct hand_figures m = measure_hand(&h);

    (void)state;
    assert_true(m.d.all_scores);
    assert_near(m.d.gate[1].margin, 1);
    assert_within(m.d.gate[1].rest, 1 / (1 + e), 1e-6);
    assert_within(m.d.gate[1].outside, (1 + 1 / e) / (e * e + e + 1 + 1 / e), 1e-6);
    hand_figures_release(&m);
    /* With one executed the margin is over the best of the others. */
    h.top_k = 1;
    m = measure_hand(&h);
    assert_near(m.d.gate[1].margin, 1);
    assert_near(m.d.gate[1].rest, 0);
    assert_int_equal(m.d.gate[1].margins, 1);
    hand_figures_release(&m);
}

/* A row with masses 1/2, 1/4, 3/16 and 1/16 can lose the last one for 10 %, nothing for
 * 5 %. Eight such rows whose first three are alike and whose last ones differ: the mass
 * is 8, each of the last is 1/128 of it, so that a loss of 1 % takes one of them, 5 %
 * takes six (6/128) and 10 % all eight; the next one has 3/16. */
static void test_drops(void **state)
{
    uint16_t expert[8 * 4];
    float score[8 * 4];
    const uint32_t rows[] = {1, 1, 1, 1, 1, 1, 1, 1};
    const uint16_t group[8] = {0};
    const struct hand h = {
        1, 16, 4, 4, TRACE_SCORE_SOFTMAX, 1, 8, rows, group, decode_rows, expert, score};
    const struct drop_sums *sums;
    struct hand_figures m;

    (void)state;
    for (uint16_t r = 0; r < 8; r++) {
        const uint16_t row[] = {0, 1, 2, (uint16_t)(15 - r)};
        const float of_row[] = {.5F, .25F, .1875F, .0625F};

        memcpy(expert + r * 4, row, sizeof row);
        memcpy(score + r * 4, of_row, sizeof of_row);
    }
    m = measure_hand(&h);
    assert_null(m.d.group_drops); /* there is one group only */
    assert_int_equal(m.d.phase_drops[0].steps, 0);
    sums = m.d.phase_drops + DETAILS_BATCHES; /* decode */
    assert_int_equal(sums[0].steps, 8);
    assert_int_equal(sums[0].distinct, 32);
    assert_int_equal(sums[0].dropped[0], 0);
    assert_int_equal(sums[0].dropped[1], 0);
    assert_int_equal(sums[0].dropped[2], 8);
    assert_int_equal(sums[1].steps, 1);
    assert_int_equal(sums[1].distinct, 11);
    assert_int_equal(sums[1].dropped[0], 1);
    assert_int_equal(sums[1].dropped[1], 6);
    assert_int_equal(sums[1].dropped[2], 8);
    assert_int_equal(sums[2].steps, 0); /* eight requests for 32 slots */
    hand_figures_release(&m);
}

/* Row t uses (3t + j) mod 12: an expert comes again after all twelve. A constant row of
 * three finds each behind the two others. Without scores there are neither gates nor
 * drops. */
static void test_reuse(void **state)
{
    const struct trace_make constant = {.layers = 1,
                                        .experts = 12,
                                        .top_k = 3,
                                        .requests = 2,
                                        .rows = 50,
                                        .routing = TRACE_MAKE_CONSTANT};
    char *path = trace_make_path("reuse.h5");
    struct hand_figures m;

    (void)state;
    trace_make_cyclic(path, 2, 12, 3, 400);
    m = measure_file(path);
    assert_int_equal(m.d.reuse_bins, 6); /* 0, 1, 2, 3-4, 5-8, 9-16 */
    for (uint32_t l = 0; l < 2; l++)
        for (uint32_t b = 0; b < 6; b++)
            assert_int_equal(m.d.reuse[l * 6 + b], b == 0 ? 12 : b == 5 ? 1200 - 12 : 0);
    assert_false(m.d.scores);
    assert_null(m.d.gate);
    assert_null(m.d.phase_drops);
    hand_figures_release(&m);
    trace_make(path, &constant);
    m = measure_file(path);
    assert_int_equal(m.d.reuse[0], 3);
    assert_int_equal(m.d.reuse[3], 300 - 3);
    hand_figures_release(&m);
    free(path);
}

/* 64 rows of top-1 in eight requests: expert 0 in the first half, expert 1 in the second.
 * One of the seven pairs of neighbours has nothing in common; of independent rows it
 * would be expected to differ by 1/2 * 2 sqrt(2/pi * 1/4 * 2/8) = sqrt(1 / (8 pi)), the
 * others by nothing. Requests 0 to 3 hold expert 0, each is one of the windows in turn,
 * and 16 of the 28 pairs differ. */
static void test_drift(void **state)
{
    uint16_t expert[64];
    const uint32_t rows[] = {8, 8, 8, 8, 8, 8, 8, 8};
    const uint16_t group[8] = {0};
    struct hand h = {1, 4,    1,     1,           TRACE_SCORE_NONE, 1,
                     8, rows, group, decode_rows, expert,           NULL};
    const double chance = sqrt(1 / (8 * 3.14159265358979323846));
    struct hand_figures m;

    (void)state;
    for (int i = 0; i < 64; i++)
        expert[i] = i >= 32;
    m = measure_hand(&h);
    assert_int_equal(m.d.drift.windows, 8);
    assert_near(m.d.drift.neighbours, 1. / 7);
    assert_near(m.d.drift.neighbours_independent, chance / 7);
    assert_near(m.d.drift.first_to_last, 1);
    assert_near(m.d.drift.first_to_last_independent, chance);
    assert_near(m.d.drift.in_turn, 16. / 28);
    hand_figures_release(&m);
    /* The experts alternate: no window differs, in order; those in turn are alike, too.
     */
    for (int i = 0; i < 64; i++)
        expert[i] = (uint16_t)(i % 2);
    m = measure_hand(&h);
    assert_near(m.d.drift.neighbours, 0);
    assert_near(m.d.drift.first_to_last, 0);
    assert_near(m.d.drift.in_turn, 0);
    hand_figures_release(&m);
    /* A single row is one window, and two requests do not go round eight. */
    h.requests = 1;
    h.rows = (const uint32_t[]){1};
    m = measure_hand(&h);
    assert_int_equal(m.d.drift.windows, 1);
    assert_near(m.d.drift.neighbours, -1);
    assert_near(m.d.drift.first_to_last, -1);
    hand_figures_release(&m);
    h.requests = 2;
    h.rows = (const uint32_t[]){30, 34};
    m = measure_hand(&h);
    assert_near(m.d.drift.in_turn, -1);
    assert_near(m.d.drift.neighbours, 0);
    hand_figures_release(&m);
}

/* Over 11 passes (7n + 3l + x) mod 11 takes every value once, for each expert. */
static void test_count_only(void **state)
{
    char *path = trace_make_path("details-counts.h5");
    double sum = 0, least = 1e9, most = 0;
    struct hand_figures m;

    (void)state;
    trace_make_counts(path, 2, 3, 11);
    m = measure_file(path);
    for (uint32_t n = 0; n < 11; n++) {
        double of_pass = 0;

        for (uint32_t i = 0; i < 6; i++)
            of_pass += (n * 7 + i / 3 * 3 + i % 3) % 11;
        sum += of_pass / 2;
        least = fmin(least, of_pass / 2);
        most = fmax(most, of_pass / 2);
    }
    assert_near(m.d.tokens.mean, sum / 11);
    assert_near(m.d.tokens.least, least);
    assert_near(m.d.tokens.most, most);
    assert_int_equal(m.d.drift.windows, 8);
    assert_true(m.d.drift.neighbours > 0);
    assert_null(m.d.reuse);
    assert_null(m.d.gate);
    hand_figures_release(&m);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gates_of_phases_and_groups),
        cmocka_unit_test(test_gates_of_logits),
        cmocka_unit_test(test_drops),
        cmocka_unit_test(test_reuse),
        cmocka_unit_test(test_drift),
        cmocka_unit_test(test_count_only),
    };

    memset(decode_rows, TRACE_DECODE, sizeof decode_rows);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

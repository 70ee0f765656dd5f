/* The model that routing is drawn from: a row is a function of where it is, the best are
 * executed, templates are shared, normal numbers are normal. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "traces/draw.h"

#include <math.h>
#include <string.h>

/* A row is a function of where it is: drawing every row and drawing one alone agree. */
static void test_a_row_alone(void **state)
{
    struct draw_model *m = draw_model_new(385, 3, 21, 4, 2);
    struct draw_request request = {.prompt_rows = 9, .output_rows = 7, .group = 1};
    uint16_t all[16][3 * 4], one[3 * 4];
    struct draw_walk w;

    (void)state;
    m->affinity = 0.4;
    m->domain = 0.3;
    m->opening = 0.2;
    for (uint32_t l = 0; l < 3; l++)
        m->persistence[l] = 0.25 * (l + 1);
    draw_walk_begin(&w, m, 5, &request);
    for (uint32_t row = 0; row < 16; row++)
        draw_walk_row(&w, all[row], NULL);
    for (uint32_t row = 0; row < 16; row++) {
        draw_walk_begin(&w, m, 5, &request);
        for (uint32_t i = 0; i < row; i++)
            draw_walk_row(&w, NULL, NULL);
        draw_walk_row(&w, one, NULL);
        assert_memory_equal(one, all[row], sizeof one);
    }
    draw_model_free(m);
}

/* Of every cell the experts with the best scores are executed, in descending order: the
 * sum of draw.h term by term, for a model that remembers nothing. Scores that differ by
 * less than rounding may change places. */
static void check_cell(const struct draw_model *m, uint64_t request, uint32_t row,
                       uint32_t layer, const float *x, const uint16_t *executed)
{
    struct rng noise = rng_stream(m->seed, "noise", request);
    double visible = sqrt(1 - m->noise * m->noise), score[80], least = INFINITY;
    uint32_t draws = (m->experts + 2) / 3, chosen = 0;
    uint64_t bits = 0;

    for (uint32_t skip = 0; skip < (row * m->layers + layer) * draws; skip++)
        (void)rng_u64(&noise);
    for (uint32_t e = 0; e < m->experts; e++) {
        size_t place = (size_t)layer * 4 * m->width + draw_place(m, e);

        bits = e % 3 == 0 ? rng_u64(&noise) : bits >> 21;
        score[e] = m->bias[(size_t)layer * m->width + draw_place(m, e)] +
                   m->noise * draw_quantile(m, (double)(bits & 0x1fffff) / 0x200000);
        for (uint32_t d = 0; d < 4; d++)
            score[e] += visible * x[d] * m->loading[place + d * m->width];
    }
    for (uint32_t i = 0; i < m->top_k; i++) {
        assert_true(score[executed[i]] <= least + 1e-5);
        least = score[executed[i]];
    }
    for (uint32_t e = 0; e < m->experts; e++)
        chosen += score[e] >= least - 1e-5;
    assert_true(chosen >= m->top_k && chosen <= m->top_k + 1);
}

static void test_the_best_are_executed(void **state)
{
    static const uint32_t shape[][2] = {{1, 1}, {5, 5}, {8, 1}, {64, 8}, {80, 33}};
    static const double noise[] = {0, 0.3, 1};

    (void)state;
    for (int n = 0; n < 15; n++) {
        struct draw_model *m =
            draw_model_new((uint64_t)n, 3, shape[n % 5][0], shape[n % 5][1], 1);
        struct draw_request request = {.prompt_rows = 20};
        struct rng tokens = rng_stream(m->seed, "token", 7);
        struct rng biases = rng_stream(m->seed, "test", 0);
        struct draw_walk w;

        m->noise = noise[n / 5];
        for (uint32_t l = 0; l < 3; l++) /* so that the layers' scores differ */
            for (uint32_t x = 0; x < m->experts; x++)
                *draw_bias(m, l, x) = draw_normal(m, &biases) - 2 * (float)l;
        draw_walk_begin(&w, m, 7, &request);
        for (uint32_t row = 0; row < 20; row++) {
            uint16_t executed[3 * 33];
            float x[4];

            for (int d = 0; d < 4; d++)
                x[d] = draw_normal(m, &tokens);
            draw_walk_row(&w, executed, NULL);
            for (uint32_t l = 0; l < 3; l++)
                check_cell(m, 7, row, l, x, executed + l * m->top_k);
        }
        draw_model_free(m);
    }
}

/* Templates are the same rows in every request; the rows after them are not. Weights of
 * every row descend and sum to 1. */
static void test_templates(void **state)
{
    struct draw_model *m = draw_model_new(12, 2, 16, 3, 1);
    struct draw_request request = {.prompt_rows = 4, .output_rows = 5};
    uint16_t row[2][9][6];
    float weight[9][6];

    (void)state;
    draw_model_templates(m, 2, 3);
    for (uint64_t number = 0; number < 2; number++) {
        struct draw_walk w;

        draw_walk_begin(&w, m, number, &request);
        for (int i = 0; i < 9; i++)
            draw_walk_row(&w, row[number][i], weight[i]);
    }
    for (int i = 0; i < 9; i++) {
        bool shared = i < 2 || (i >= 4 && i < 7);

        assert_true((memcmp(row[0][i], row[1][i], sizeof row[0][i]) == 0) == shared);
        for (int l = 0; l < 2; l++) {
            const float *x = weight[i] + l * 3;

            assert_true(x[0] >= x[1] && x[1] >= x[2] && x[2] > 0);
            assert_true(fabsf(x[0] + x[1] + x[2] - 1) < 1e-5F);
        }
    }
    draw_model_free(m);
}

/* What openings have in common changes from row to row by an autoregressive process: k
 * rows apart it has the correlation 0.9^k, and its variance is 1 all along. */
static void test_openings_remember(void **state)
{
    (void)state;
    for (int k = 0; k < 4; k++) {
        double sum = 0, count = 0;

        for (uint64_t seed = 0; seed < 40; seed++) {
            struct draw_model *m = draw_model_new(seed, 1, 1, 1, 1);

            for (int i = 0; i < 2; i++)
                for (int row = k; row < DRAW_OPENING; row++)
                    for (int d = 0; d < DRAW_DIMENSIONS; d++, count++)
                        sum += m->section[i][row][d] * m->section[i][row - k][d];
            draw_model_free(m);
        }
        /* Of 80 times 4 series of 256 rows, 26 of which are as good as independent. */
        assert_true(fabs(sum / count - pow(0.9, k)) < 5 * sqrt(2.0 / (80 * 4 * 26)));
    }
}

/* Mean 0, variance 1, fourth moment 3, each within five standard errors of 2e5 draws. */
static void test_normal_numbers(void **state)
{
    struct draw_model *m = draw_model_new(1, 1, 1, 1, 1);
    struct rng r = rng_stream(7, "test", 0);
    double n = 2e5, sum[5] = {0};

    (void)state;
    for (int i = 0; i < (int)n; i++) {
        double z = draw_normal(m, &r), power = 1;

        for (int k = 1; k <= 4; k++)
            sum[k] += power *= z;
    }
    assert_true(fabs(sum[1] / n) < 5 * sqrt(1 / n));
    assert_true(fabs(sum[2] / n - 1) < 5 * sqrt(2 / n));
    assert_true(fabs(sum[4] / n - 3) < 5 * sqrt(96 / n));
    assert_true(fabs(draw_quantile(m, 0.975) - 1.959964) < 1e-4);
    assert_true(fabs(draw_quantile(m, 0.01) + 2.326348) < 1e-3);
    draw_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_row_alone),
        cmocka_unit_test(test_the_best_are_executed),
        cmocka_unit_test(test_templates),
        cmocka_unit_test(test_openings_remember),
        cmocka_unit_test(test_normal_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* From the scores of a cell to its list: all experts in order against a sort by hand, the
 * executed ones in front, logits that keep the order in 16 bits. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "traces/draw_cell.h"
#include "traces/half.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { MOST = 300 };

/* Descending, equal ones by ascending id: by looking for the next one, again and again.
 */
static void sort_by_hand(const float *score, uint32_t count, uint16_t *order)
{
    bool taken[MOST] = {false};

    for (uint32_t i = 0; i < count; i++) {
        uint32_t best = count;

        for (uint32_t x = 0; x < count; x++)
            if (!taken[x] && (best == count || score[x] > score[best]))
                best = x;
        taken[best] = true;
        order[i] = (uint16_t)best;
    }
}

/* Scores of every kind: many are equal, both zeros occur, some are near each other. */
static float draw_score(const struct draw_model *m, struct rng *r, int kind)
{
    float z = draw_normal(m, r);

    if (kind == 0)
        return z;
    if (kind == 1)
        return rintf(2 * z) / 2;
    return 3 + rintf(20 * z) * 0x1p-20F;
}

static void test_all_in_order(void **state)
{
    static const uint32_t shape[][2] = {{1, 1},  {5, 5},    {8, 2},
                                        {64, 8}, {200, 70}, {MOST, 1}};

    (void)state;
    for (size_t s = 0; s < 6; s++) {
        struct draw_model *m = draw_model_new(3, 1, shape[s][0], shape[s][1], 1);
        struct rng r = rng_stream(7, "test", s);

        for (int cell = 0; cell < 60; cell++) {
            uint16_t order[MOST], all[MOST], best[MOST];
            float by_id[MOST], score[MOST], logit[MOST];

            for (uint32_t i = 0; i < m->width; i++)
                m->score[i] = -INFINITY;
            for (uint32_t x = 0; x < m->experts; x++)
                m->score[draw_place(m, x)] = by_id[x] = draw_score(m, &r, cell % 3);
            sort_by_hand(by_id, m->experts, order);
            draw_cell_rank(m, all, score);
            draw_cell_choose(m, cell % 2 == 0 ? -INFINITY : 0.5F, best);
            assert_memory_equal(all, order, m->experts * sizeof *all);
            assert_memory_equal(best, order, m->top_k * sizeof *best);
            for (uint32_t i = 0; i < m->experts; i++)
                assert_true(score[i] == by_id[all[i]]);

            draw_cell_logits(m, all, score);
            for (uint32_t i = 0; i < m->experts; i++) {
                logit[all[i]] = score[i];
                assert_true(half_to_float(half_of_float(score[i])) == score[i]);
            }
            sort_by_hand(logit, m->experts, order);
            assert_memory_equal(all, order, m->experts * sizeof *all);
        }
        draw_model_free(m);
    }
}

/* What is written of the scores, by hand: the lower id keeps an equal half, and goes one
 * half down from one of a higher id. */
static void test_logits(void **state)
{
    static const struct {
        uint16_t expert[4];
        float score[4], logit[4];
    } cell[] = {
        {{0, 1, 2, 3}, {2, 1, 0, -1}, {2, 1, 0, -1}},
        {{3, 2, 1, 0}, {2, 1, 0, -1}, {2, 1, 0, -1}},
        /* 1.0002 and 1.0001 are both nearest to 1, below which a step is 2^-11. */
        {{0, 1, 2, 3}, {1.0002F, 1.0001F, 0.5F, -4}, {1, 1, 0.5F, -4}},
        {{1, 0, 2, 3}, {1.0002F, 1.0001F, 0.5F, -4}, {1, 1 - 0x1p-11F, 0.5F, -4}},
        /* Steps go on, and the next one is not above them although it could be. */
        {{3, 2, 1, 0},
         {1.0003F, 1.0002F, 1.0001F, 1.00005F},
         {1, 1 - 0x1p-11F, 1 - 0x1p-10F, 1 - 3 * 0x1p-11F}},
        {{3, 1, 0, 2},
         {1.0002F, 1.0001F, 1.00005F, 1 - 0x1p-11F},
         {1, 1 - 0x1p-11F, 1 - 0x1p-10F, 1 - 0x1p-10F}},
        /* Through zero, which is one number, and down from -2, where a step is 2^-9. */
        {{3, 2, 0, 1},
         {0x1p-30F, 0, -0.0F, -0x1p-30F},
         {0, -0x1p-24F, -0x1p-23F, -0x1p-23F}},
        {{1, 3, 2, 0}, {1, -2, -2.0001F, -3}, {1, -2, -2 - 0x1p-9F, -3}},
    };
    struct draw_model *m = draw_model_new(1, 1, 4, 2, 1);

    (void)state;
    m->logit_scale = 1;
    for (size_t i = 0; i < sizeof cell / sizeof cell[0]; i++) {
        float logit[4];

        memcpy(logit, cell[i].score, sizeof logit);
        draw_cell_logits(m, cell[i].expert, logit);
        for (int k = 0; k < 4; k++)
            if (logit[k] != cell[i].logit[k] ||
                (signbit(logit[k]) != 0) != (logit[k] < 0))
                fail_msg("cell %zu: logit %d is %.9g, not %.9g", i, k, (double)logit[k],
                         (double)cell[i].logit[k]);
    }
    draw_model_free(m);
}

/* e^{2 * 0.75}, e^{2 * 0.25} and 1, by their sum. */
static void test_weights(void **state)
{
    struct draw_model *m = draw_model_new(1, 1, 4, 3, 1);
    float weight[3] = {0.5F, 0, -0.25F};
    double sum = exp(1.5) + exp(0.5) + 1;

    (void)state;
    m->logit_scale = 2;
    draw_cell_weigh(m, weight);
    assert_true(fabs((double)weight[0] - exp(1.5) / sum) < 1e-6);
    assert_true(fabs((double)weight[1] - exp(0.5) / sum) < 1e-6);
    assert_true(fabs((double)weight[2] - 1 / sum) < 1e-6);
    draw_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_in_order),
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_weights),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Logits that are processes: their variance, correlation and repeats in closed form and
 * against processes drawn another way, and the selections that MoE-ERAS changed. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "traces/draw_process.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS = 2, EXPERTS = 8, ROWS = 8, REQUESTS = 400 };

static struct draw_model *make(uint32_t layers, uint32_t experts, uint32_t top_k,
                               double sd, double persistence, double popularity_sd)
{
    struct draw_model *m = draw_model_new(2385, layers, experts, top_k, 1);

    m->all = true;
    draw_process_start(m, sd, persistence, popularity_sd);
    return m;
}

/* Logits of the walk's next row, by (layer, expert). */
static void next_row(struct draw_walk *w, float *logit)
{
    const struct draw_model *m = w->m;
    uint16_t expert[1024];
    float listed[1024];

    assert_true((size_t)m->layers * m->experts <= 1024);
    draw_walk_row_all(w, expert, listed);
    for (uint32_t l = 0; l < m->layers; l++)
        for (uint32_t i = 0; i < m->experts; i++)
            logit[l * m->experts + expert[l * m->experts + i]] =
                listed[l * m->experts + i];
}

static void assert_near(const char *what, double value, double want, double within)
{
    if (!(fabs(value - want) <= within))
        fail_msg("%s is %g, not within %g of %g", what, value, within, want);
}

/* In every row the variance is sd^2, k rows on the correlation is persistence^k; with
 * the next expert and the other layer there is none. Each within five standard errors of
 * 6400 processes. */
static void test_stationary(void **state)
{
    const double sd = 1.7, persistence = 0.6, count = REQUESTS * LAYERS * EXPERTS;
    struct draw_model *m = make(LAYERS, EXPERTS, 2, sd, persistence, 0);
    const struct draw_request request = {.prompt_rows = 3, .output_rows = ROWS - 3};
    double square[ROWS] = {0}, product[ROWS] = {0}, expert = 0, layer = 0;

    (void)state;
    for (uint64_t i = 0; i < REQUESTS; i++) {
        float z[ROWS][LAYERS * EXPERTS];
        struct draw_walk w;

        draw_walk_begin(&w, m, i, &request);
        for (int row = 0; row < ROWS; row++)
            next_row(&w, z[row]);
        for (int x = 0; x < LAYERS * EXPERTS; x++) {
            for (int row = 0; row < ROWS; row++) {
                square[row] += (double)z[row][x] * z[row][x];
                product[row] += (double)z[0][x] * z[row][x];
            }
            expert += (double)z[5][x] * z[5][(x + 1) % EXPERTS + x / EXPERTS * EXPERTS];
            layer += (double)z[5][x] * z[5][(x + EXPERTS) % (LAYERS * EXPERTS)] / 2;
        }
    }
    for (int row = 0; row < ROWS; row++) {
        assert_near("variance", square[row] / count / (sd * sd), 1, 5 * sqrt(2 / count));
        assert_near("correlation", product[row] / count / (sd * sd),
                    pow(persistence, row), 5 * sqrt(2 / count));
    }
    assert_near("that of experts", expert / count / (sd * sd), 0, 5 / sqrt(count));
    assert_near("that of layers", layer / count / (sd * sd), 0, 5 / sqrt(count / 2));
    draw_model_free(m);
}

/* Popularity is the same in all rows and requests, and normal over experts. */
static void test_popularity(void **state)
{
    enum { MANY = 100 };

    const double count = MANY * EXPERTS;
    struct draw_model *m = make(MANY, EXPERTS, 2, 0, 0.5, 0.7);
    const struct draw_request request = {.prompt_rows = 2};
    float first[MANY * EXPERTS], z[MANY * EXPERTS];
    double sum = 0, square = 0;
    struct draw_walk w;

    (void)state;
    for (uint64_t i = 0; i < 2; i++) {
        draw_walk_begin(&w, m, i, &request);
        for (int row = 0; row < 2; row++) {
            next_row(&w, z);
            if (i == 0 && row == 0)
                memcpy(first, z, sizeof first);
            assert_memory_equal(z, first, sizeof z);
        }
    }
    for (int x = 0; x < MANY * EXPERTS; x++) {
        sum += (double)z[x];
        square += (double)z[x] * (double)z[x];
    }
    assert_near("mean", sum / count, 0, 5 * 0.7 / sqrt(count));
    assert_near("variance", square / count / 0.49, 1, 5 * sqrt(2 / count));
    draw_model_free(m);
}

/* What part of a row's executed experts the next row executes too. */
static double share_repeats(struct draw_model *m, uint32_t requests, uint32_t rows)
{
    const struct draw_request request = {.prompt_rows = rows};
    size_t values = (size_t)m->layers * m->top_k;
    uint16_t expert[2][64];
    uint64_t same = 0;

    assert_true(values <= 64);
    for (uint64_t i = 0; i < requests; i++) {
        struct draw_walk w;

        draw_walk_begin(&w, m, i, &request);
        for (uint32_t row = 0; row < rows; row++) {
            draw_walk_row(&w, expert[row % 2], NULL);
            for (size_t c = 0; c < values && row > 0; c++)
                for (uint32_t j = 0; j < m->top_k; j++)
                    same += expert[0][c] == expert[1][c / m->top_k * m->top_k + j];
        }
    }
    return (double)same / ((double)requests * (rows - 1) * (double)values);
}

/* Of two experts the same one leads in the next row with probability 1/2 + asin(p) / pi:
 * the difference of their logits has the correlation p, too. */
static void test_repeats_of_two(void **state)
{
    static const double persistence[] = {0, 0.5, 0.9, 1};

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct draw_model *m = make(8, 2, 1, 1.386, persistence[i], 0);

        /* Pairs of rows of one request lean on each other, by a factor of 20 at most. */
        assert_near("repeats", share_repeats(m, 600, 11),
                    0.5 + asin(persistence[i]) / acos(-1),
                    5 * sqrt(0.25 * (i == 2 ? 20 : 2) / (8 * 600 * 10)));
        draw_model_free(m);
    }
}

/* Another source of normal numbers: Box and Muller's. */
static double other_normal(struct rng *r)
{
    double u = 1 - rng_unit(r), v = rng_unit(r);

    return sqrt(-2 * log(u)) * cos(2 * acos(-1) * v);
}

/* The two best of eight, in one row and in the next, drawn term by term. */
static double other_repeats(double sd, double p, double popularity_sd, int pairs)
{
    struct rng r = rng_stream(11, "other", 0);
    uint64_t same = 0;

    for (int i = 0; i < pairs; i++) {
        int chosen[2][2];
        double z[2][EXPERTS];

        for (int x = 0; x < EXPERTS; x++) {
            double bias = popularity_sd * other_normal(&r), a = other_normal(&r);

            z[0][x] = bias + sd * a;
            z[1][x] = bias + sd * (p * a + sqrt(1 - p * p) * other_normal(&r));
        }
        for (int row = 0; row < 2; row++)
            for (int k = 0; k < 2; k++) {
                chosen[row][k] = k == 1 && chosen[row][0] == 0 ? 1 : 0;
                for (int x = 0; x < EXPERTS; x++)
                    if ((k == 0 || x != chosen[row][0]) &&
                        z[row][x] > z[row][chosen[row][k]])
                        chosen[row][k] = x;
            }
        for (int k = 0; k < 4; k++)
            same += chosen[0][k / 2] == chosen[1][k % 2];
    }
    return (double)same / (2.0 * pairs);
}

/* Popularity is drawn once for each layer, so that layers count, not rows: 60 models. */
static void test_repeats(void **state)
{
    const double popular = 0.9;
    double mean = 0, square = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct draw_model *m = draw_model_new(seed, 8, EXPERTS, 2, 1);
        double share;

        draw_process_start(m, 1.1, 0.4, popular);
        share = share_repeats(m, 10, 20);
        mean += share / 60;
        square += share * share / 60;
        draw_model_free(m);
    }
    assert_near("repeats", mean, other_repeats(1.1, 0.4, popular, 100000),
                5 * sqrt((square - mean * mean) / 60 + 0.25 / 100000));
}

/* Rows that were passed over leave the others as they are; weights are the softmax of the
 * executed experts' logits. */
static void test_a_row_alone(void **state)
{
    struct draw_model *m = make(LAYERS, EXPERTS, 3, 1.386, 0.5, 0.2);
    const struct draw_request request = {.prompt_rows = ROWS};
    uint16_t all[ROWS][LAYERS * EXPERTS], one[LAYERS * 3];
    float logit[ROWS][LAYERS * EXPERTS], weight[LAYERS * 3];
    struct draw_walk w;

    (void)state;
    draw_walk_begin(&w, m, 5, &request);
    for (int row = 0; row < ROWS; row++)
        draw_walk_row_all(&w, all[row], logit[row]);
    for (int row = 0; row < ROWS; row++) {
        draw_walk_begin(&w, m, 5, &request);
        for (int i = 0; i < row; i++)
            draw_walk_row(&w, NULL, NULL);
        draw_walk_row(&w, one, weight);
        for (size_t l = 0; l < LAYERS; l++) {
            const float *z = logit[row] + l * EXPERTS;
            double sum = exp((double)z[0]) + exp((double)z[1]) + exp((double)z[2]);

            assert_memory_equal(one + l * 3, all[row] + l * EXPERTS, 3 * sizeof *one);
            for (size_t i = 0; i < 3; i++)
                assert_near("weight", (double)weight[l * 3 + i], exp((double)z[i]) / sum,
                            2e-3);
        }
    }
    draw_model_free(m);
}

/* ---- MoE-ERAS ---- */

/* A cache of one layer: the last use of each expert, -1 where it is offloaded. */
struct cache {
    int64_t used[EXPERTS];
};

/* The two experts of most probability, `alpha` more where they are resident. */
static void choose_two(const double *p, const struct cache *c, double alpha, int *chosen)
{
    for (int k = 0; k < 2; k++) {
        double best = -1;

        for (int x = 0; x < EXPERTS; x++) {
            double value = p[x] + (c != NULL && c->used[x] >= 0 ? alpha : 0);

            if ((k == 0 || x != chosen[0]) && value > best) {
                best = value;
                chosen[k] = x;
            }
        }
    }
}

static void use(struct cache *c, int expert, int64_t now)
{
    if (c->used[expert] < 0) {
        int oldest = -1;

        for (int x = 0; x < EXPERTS; x++)
            if (c->used[x] >= 0 && (oldest < 0 || c->used[x] < c->used[oldest]))
                oldest = x;
        c->used[oldest] = -1;
    }
    c->used[expert] = now;
}

/* Share of the selections that the threshold changes in 100 tokens. */
static double share_changed(struct draw_model *m, int offloaded, double alpha)
{
    enum { TOKENS = 100, TRIES = 8 };

    const struct draw_request request = {.output_rows = TOKENS};
    uint64_t changed = 0;

    for (uint64_t i = 0; i < TRIES; i++) {
        struct cache cache[32];
        struct draw_walk w;

        for (int l = 0; l < 32; l++)
            for (int x = 0; x < EXPERTS; x++)
                cache[l].used[x] = x < offloaded ? -1 : x;
        draw_walk_begin(&w, m, i, &request);
        for (int64_t t = 0; t < TOKENS; t++) {
            float z[32 * EXPERTS];

            next_row(&w, z);
            for (int l = 0; l < 32; l++) {
                int plain[2], chosen[2];
                double p[EXPERTS], sum = 0;

                for (int x = 0; x < EXPERTS; x++)
                    sum += p[x] = exp((double)z[l * EXPERTS + x]);
                for (int x = 0; x < EXPERTS; x++)
                    p[x] /= sum;
                choose_two(p, NULL, 0, plain);
                choose_two(p, &cache[l], alpha, chosen);
                for (int k = 0; k < 2; k++) {
                    changed += chosen[k] != plain[0] && chosen[k] != plain[1];
                    use(&cache[l], chosen[k], 10 + 2 * t + k);
                }
            }
        }
    }
    return (double)changed / (TRIES * TOKENS * 32 * 2);
}

/* Changed selections of 6400 as published, for 3 to 6 offloaded experts. */
static void test_selections_of_eras(void **state)
{
    static const double alpha[] = {0.05, 0.15, 0.25};
    static const double published[4][3] = {
        {401, 849, 1103}, {508, 1048, 1537}, {563, 1402, 1951}, {564, 1542, 2246}};
    struct draw_model *m = make(32, EXPERTS, 2, 1.386, 0.5, 0.2);
    double error = 0;

    (void)state;
    for (int o = 0; o < 4; o++)
        for (int a = 0; a < 3; a++)
            error +=
                fabs(share_changed(m, o + 3, alpha[a]) - published[o][a] / 6400) / 12;
    print_message("mean error of the shares of changed selections: %.4f\n", error);
    assert_true(error < 0.018);
    draw_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stationary),     cmocka_unit_test(test_popularity),
        cmocka_unit_test(test_repeats_of_two), cmocka_unit_test(test_repeats),
        cmocka_unit_test(test_a_row_alone),    cmocka_unit_test(test_selections_of_eras),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

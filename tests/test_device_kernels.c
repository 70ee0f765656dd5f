/* Every kernel of every device against the plain reference, in odd sizes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "gpu/reference.h"
#include "device_rig.h"

#include <math.h>
#include <string.h>

/* ---- the reference itself, by hand ---- */

static void test_bf16(void **state)
{
    (void)state;
    assert_int_equal(reference_bf16(1.0F), 0x3f80);
    assert_int_equal(reference_bf16(-2.0F), 0xc000);
    assert_int_equal(reference_bf16(0x1.01p0F), 0x3f80);     /* a tie, to even: down */
    assert_int_equal(reference_bf16(0x1.03p0F), 0x3f82);     /* a tie, to even: up */
    assert_int_equal(reference_bf16(0x1.010002p0F), 0x3f81); /* just above a tie */
    assert_int_equal(reference_bf16(3.4e38F), 0x7f80);       /* to infinity */
    assert_true(isnan(reference_of_bf16(reference_bf16(NAN))));
    for (uint32_t x = 0; x < 0x7f81; x++)
        assert_int_equal(reference_bf16(reference_of_bf16((uint16_t)x)), x);
}

static void near(double got, double expected)
{
    if (!(fabs(got - expected) <= 1e-6 * fabs(expected)))
        fail_msg("%.9g, not %.9g", got, expected);
}

/* x = (1, 2); G = ((1, 0)), U = ((0, 1)), D = ((3), (-1)): silu(1) 2 = 1.4621171573,
 * times 3 and -1. Plain, A = ((1, -1), (1, 1)) gives ReLU(-1, 3) = (0, 3); with
 * B = ((5, 2), (7, -1)) that is (6, -3). */
static void test_reference_experts(void **state)
{
    const float x[] = {1, 2};
    const float gated[] = {1, 0, 0, 1, 3, -1};
    const float plain[] = {1, -1, 1, 1, 5, 2, 7, -1};
    const void *const gated_weight[] = {gated};
    const void *const plain_weight[] = {plain};
    const uint32_t rows[] = {1};
    float y[2];
    struct device_group g = {{2, 1, 3}, 1, gated_weight, rows, x, y, NULL};

    (void)state;
    reference_experts(&g);
    near(y[0], 3.0 * 1.46211715726);
    near(y[1], -1.46211715726);
    g.ffn = (struct device_ffn){2, 2, 2};
    g.weight = plain_weight;
    reference_experts(&g);
    near(y[0], 6.0);
    near(y[1], -3.0);
}

/* Two tokens, scores q k / sqrt(4) = 0 and ln 3: weights 1/4 and 3/4. The norm of (3, 4)
 * is sqrt(12.5). */
static void test_reference_rows(void **state)
{
    const float q[] = {1, 0, 0, 0};
    const float keys[] = {9, 9, 9, 9, 0, 1, 1, 1, 2.1972245773F, 5, 5, 5};
    const float values[] = {99, 8, 4};
    const uint64_t first[] = {1};
    const uint32_t length[] = {2};
    const float x[] = {3, 4};
    const float weight[] = {1, 2};
    float y[2];

    (void)state;
    reference_attention(
        &(struct device_attention){1, 1, 1, 4, 1, q, keys, values, first, length, 2, y});
    near(y[0], 8 * 0.25 + 4 * 0.75);
    reference_norm(&(struct device_norm){1, 2, x, weight, y});
    near(y[0], 3 / sqrt(12.5 + 1e-6));
    near(y[1], 8 / sqrt(12.5 + 1e-6));
}

/* ---- the devices ---- */

static void check_gemm(struct rig *r)
{
    static const uint32_t shapes[][3] = {/* rows, in, out */
                                         {1, 1, 1},     {1, 131, 67},  {2, 65, 129},
                                         {3, 257, 5},   {5, 1031, 67}, {12, 515, 97},
                                         {13, 515, 97}, {17, 33, 31},  {70, 129, 43}};

    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct device_gemm g = {shapes[i][0], shapes[i][1], shapes[i][2], 0, 0, 0};
        struct device_gemm on = g;
        const size_t x_count = (size_t)g.rows * g.in;
        const size_t w_count = (size_t)g.out * g.in;
        const size_t y_count = (size_t)g.rows * g.out;

        g.x = rig_random(r, x_count, 1.7);
        g.w = rig_random(r, w_count, 0.3);
        g.y = rig_blank(r, y_count);
        on.x = rig_send(r, g.x, x_count);
        on.w = rig_send(r, g.w, w_count);
        on.y = rig_send(r, g.y, y_count);
        reference_gemm(&g);
        r->o->gemm(r->d, r->s, &on);
        rig_expect(r, on.y, g.y, y_count);
    }
}

static void test_gemm(void **state)
{
    (void)state;
    rig_each(check_gemm);
}

/* Four streams at once, each with its own output: a library that kept anything between
 * calls would mix them up. */
static void check_together(struct rig *r)
{
    enum { STREAMS = 4, TIMES = 400, ROWS = 19, IN = 151, OUT = 83 };
    struct device_gemm g[STREAMS];
    struct device_gemm on[STREAMS];
    struct device_stream *s[STREAMS];

    for (uint32_t i = 0; i < STREAMS; i++) {
        g[i] = (struct device_gemm){i == 0 ? 1 : ROWS + i, IN, OUT, 0, 0, 0};
        on[i] = g[i];
        g[i].x = rig_random(r, g[i].rows * (size_t)IN, 1.0);
        g[i].w = rig_random(r, OUT * (size_t)IN, 1.0);
        g[i].y = rig_blank(r, g[i].rows * (size_t)OUT);
        on[i].x = rig_send(r, g[i].x, g[i].rows * (size_t)IN);
        on[i].w = rig_send(r, g[i].w, OUT * (size_t)IN);
        on[i].y = rig_send(r, g[i].y, g[i].rows * (size_t)OUT);
        s[i] = i == 0 ? r->s : rig_stream(r);
        reference_gemm(&g[i]);
    }
    for (uint32_t n = 0; n < TIMES * STREAMS; n++)
        r->o->gemm(r->d, s[n % STREAMS], &on[n % STREAMS]);
    for (uint32_t i = 0; i < STREAMS; i++)
        rig_finish(r, s[i]);
    for (uint32_t i = 0; i < STREAMS; i++)
        rig_expect(r, on[i].y, g[i].y, g[i].rows * (size_t)OUT);
}

static void test_together(void **state)
{
    (void)state;
    rig_each(check_together);
}

/* A graph that was captured on a stream runs on another one, while the first does work of
 * the same kind: what either needs beside its arguments is its own. The context is long
 * enough to be cut into parts. */
static void check_graph_elsewhere(struct rig *r)
{
    enum { TIMES = 10 };
    static const uint64_t first[] = {0};
    static const uint32_t length[] = {700};
    const struct device_attention shape = {1, 3, 3, 16, 24, 0, 0, 0, 0, 0, 0, 0};
    struct device_stream *other = rig_stream(r);
    const float *expected[2];
    struct device_attention on[2];
    struct device_graph *g;
    struct err e = {.text = ""};

    for (int i = 0; i < 2; i++)
        on[i] = rig_attention_of(r, shape, 700, first, length, &expected[i]);
    r->o->capture_begin(r->d, r->s);
    r->o->attention(r->d, r->s, &on[0]);
    g = r->o->capture_end(r->d, r->s, &e);
    if (g == NULL)
        fail_msg("%s", e.text);
    for (int n = 0; n < TIMES; n++) {
        r->o->graph_launch(r->d, other, g);
        r->o->attention(r->d, r->s, &on[1]);
        rig_finish(r, other);
        for (int i = 0; i < 2; i++)
            rig_expect(r, on[i].out, expected[i], rig_attention_outputs(&on[i]));
    }
    r->o->graph_launch(r->d, other, g);
    r->o->graph_free(r->d, g); /* in flight, perhaps */
    rig_finish(r, other);
}

static void test_graph_elsewhere(void **state)
{
    (void)state;
    rig_each(check_graph_elsewhere);
}

static void experts_once(struct rig *r, struct device_ffn ffn, const uint32_t *rows,
                         uint32_t count)
{
    const size_t elements = device_ffn_elements(&ffn);
    const void *weight[8];
    const void *weight_on[8];
    uint32_t rows_given[8];
    struct device_group g = {ffn, count, weight, rows, NULL, NULL, NULL};
    struct device_group on = {ffn, count, weight_on, rows_given, NULL, NULL, NULL};
    size_t sum = 0;

    for (uint32_t i = 0; i < count; i++) {
        weight[i] = rig_random(r, elements, 0.4);
        weight_on[i] = rig_send(r, weight[i], elements);
        rows_given[i] = rows[i];
        sum += rows[i];
    }
    g.x = rig_random(r, sum * ffn.hidden, 1.3);
    g.y = rig_blank(r, sum * ffn.hidden);
    on.x = rig_send(r, g.x, sum * ffn.hidden);
    on.y = rig_send(r, g.y, sum * ffn.hidden);
    on.work = rig_send(r, rig_blank(r, sum * 2 * ffn.inner), sum * 2 * ffn.inner);
    reference_experts(&g);
    r->o->experts(r->d, r->s, &on);
    /* Both arrays were copied. */
    memset(weight_on, 0, sizeof weight_on);
    memset(rows_given, 0, sizeof rows_given);
    rig_expect(r, on.y, g.y, sum * ffn.hidden);
}

static void check_experts(struct rig *r)
{
    static const uint32_t rows[] = {1, 3, 1, 19, 2, 8};

    experts_once(r, (struct device_ffn){37, 53, 3}, rows, 6);
    experts_once(r, (struct device_ffn){53, 37, 2}, rows, 6);
    experts_once(r, (struct device_ffn){129, 65, 3}, rows, 1);
    experts_once(r, (struct device_ffn){129, 65, 2}, rows, 1);
    experts_once(r, (struct device_ffn){8, 16, 3}, rows + 3, 1);
}

static void test_experts(void **state)
{
    (void)state;
    rig_each(check_experts);
}

static void check_decode(struct rig *r)
{
    static const uint64_t first[] = {0, 300, 301, 302};
    static const uint32_t length[] = {300, 1, 1, 547};

    /* Query heads with a key/value head each, then shared by 4, then one for all with
     * keys longer than values. */
    rig_attention(r, (struct device_attention){4, 3, 3, 16, 24, 0, 0, 0, 0, 0, 0, 0}, 900,
                  first, length);
    rig_attention(r, (struct device_attention){4, 8, 2, 17, 17, 0, 0, 0, 0, 0, 0, 0}, 900,
                  first, length);
    rig_attention(r, (struct device_attention){4, 70, 1, 40, 24, 0, 0, 0, 0, 0, 0, 0},
                  900, first, length);
}

static void test_decode(void **state)
{
    (void)state;
    rig_each(check_decode);
}

/* Rows of one sequence see one token more each; then another sequence's single row. */
static void check_prefill(struct rig *r)
{
    uint64_t first[40];
    uint32_t length[40];

    for (uint32_t i = 0; i < 40; i++) {
        first[i] = i < 39 ? 5 : 0;
        length[i] = i < 39 ? 240 + i : 4;
    }
    rig_attention(r, (struct device_attention){40, 6, 2, 20, 12, 0, 0, 0, 0, 0, 0, 0},
                  290, first, length);
    rig_attention(r, (struct device_attention){40, 2, 2, 9, 33, 0, 0, 0, 0, 0, 0, 0}, 290,
                  first, length);
    rig_attention(r, (struct device_attention){7, 67, 1, 36, 32, 0, 0, 0, 0, 0, 0, 0},
                  290, first, length);
}

static void test_prefill(void **state)
{
    (void)state;
    rig_each(check_prefill);
}

static void check_norm(struct rig *r)
{
    static const uint32_t shapes[][2] = {{1, 1}, {3, 67}, {5, 1031}};

    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct device_norm n = {shapes[i][0], shapes[i][1], 0, 0, 0};
        struct device_norm on = n;
        const size_t count = (size_t)n.rows * n.hidden;

        n.x = rig_random(r, count, i == 2 ? 1e-3 : 5.0); /* 1e-6 counts, or not */
        n.weight = rig_random(r, n.hidden, 1.0);
        n.y = rig_blank(r, count);
        on.x = rig_send(r, n.x, count);
        on.weight = rig_send(r, n.weight, n.hidden);
        on.y = rig_send(r, n.y, count);
        reference_norm(&n);
        r->o->norm(r->d, r->s, &on);
        rig_expect(r, on.y, n.y, count);
    }
}

static void test_norm(void **state)
{
    (void)state;
    rig_each(check_norm);
}

/* Five tokens with three experts each, of which some were dropped: their rows lie in
 * some other order, and one token has none at all. */
static void check_permute(struct rig *r)
{
    enum { TOKENS = 5, TOP = 3, ROWS = 9, HIDDEN = 101 };
    static const uint32_t token_row[TOKENS * TOP] = {
        7,          0, 3, UINT32_MAX, 5, 8,          UINT32_MAX, UINT32_MAX,
        UINT32_MAX, 1, 2, UINT32_MAX, 4, UINT32_MAX, 6};
    uint32_t row_token[ROWS];
    const float *weight = rig_random(r, TOKENS * TOP, 1.0);
    const float *x = rig_random(r, TOKENS * HIDDEN, 2.0);
    const float *z = rig_random(r, ROWS * HIDDEN, 2.0);
    float *y = rig_blank(r, ROWS * HIDDEN);
    float *sum = rig_random(r, TOKENS * HIDDEN, 1.0);
    struct device_permute p = {TOKENS, ROWS, TOP, HIDDEN, row_token, token_row, weight};
    struct device_permute on = p;
    void *y_on = rig_send(r, y, ROWS * HIDDEN);
    void *sum_on = rig_send(r, sum, TOKENS * HIDDEN);
    const void *x_on = rig_send(r, x, TOKENS * HIDDEN);
    const void *z_on = rig_send(r, z, ROWS * HIDDEN);

    for (uint32_t i = 0; i < TOKENS * TOP; i++)
        if (token_row[i] != UINT32_MAX)
            row_token[token_row[i]] = i / TOP;
    on.row_token = rig_send_bytes(r, row_token, sizeof row_token);
    on.token_row = rig_send_bytes(r, token_row, sizeof token_row);
    on.token_weight = rig_send_bytes(r, weight, TOKENS * TOP * sizeof *weight);
    reference_gather(&p, x, y);
    r->o->gather(r->d, r->s, &on, x_on, y_on);
    rig_expect(r, y_on, y, ROWS * HIDDEN);
    reference_scatter(&p, z, sum);
    r->o->scatter(r->d, r->s, &on, z_on, sum_on);
    rig_expect(r, sum_on, sum, TOKENS * HIDDEN);
}

static void test_permute(void **state)
{
    (void)state;
    rig_each(check_permute);
}

static void check_maps(struct rig *r)
{
    enum { ROWS = 7, INNER = 59 };
    const float *x = rig_random(r, ROWS * 2 * INNER, 4.0);
    float *y = rig_blank(r, ROWS * INNER);
    float *sum = rig_random(r, ROWS * INNER, 1.0);
    const void *x_on = rig_send(r, x, ROWS * 2 * INNER);
    void *y_on = rig_send(r, y, ROWS * INNER);
    void *sum_on = rig_send(r, sum, ROWS * INNER);

    reference_gated(x, y, ROWS, INNER);
    r->o->gated(r->d, r->s, x_on, y_on, ROWS, INNER);
    rig_expect(r, y_on, y, ROWS * INNER);
    reference_round(r->type, y, ROWS * INNER);
    reference_add(sum, y, ROWS * INNER);
    r->o->add(r->d, r->s, sum_on, y_on, ROWS * INNER);
    rig_expect(r, sum_on, sum, ROWS * INNER);
}

static void test_maps(void **state)
{
    (void)state;
    rig_each(check_maps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bf16),     cmocka_unit_test(test_reference_experts),
        cmocka_unit_test(test_gemm),     cmocka_unit_test(test_reference_rows),
        cmocka_unit_test(test_experts),  cmocka_unit_test(test_decode),
        cmocka_unit_test(test_prefill),  cmocka_unit_test(test_norm),
        cmocka_unit_test(test_permute),  cmocka_unit_test(test_maps),
        cmocka_unit_test(test_together), cmocka_unit_test(test_graph_elsewhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The kernels of every device again (test_device_kernels.c has the odd shapes), at shapes
 * as models have them: multiples of eight, so that whole vectors are read; more experts
 * than one grouped GEMM takes; contexts that are cut into parts; every number of query
 * heads per key/value head that needs a kernel of its own. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "device_rig.h"
#include "gpu/reference.h"

#include <string.h>

/* ---- experts ---- */

enum { MOST = 300 };

/* Experts lie side by side in one array, as in a pool of slots, and are taken out of
 * order. */
struct experts {
    struct device_group host, on;
    const void *weight[MOST], *weight_on[MOST];
    uint32_t rows[MOST];
    size_t x_count, y_count;
};

static void experts_make(struct rig *r, struct experts *x, struct device_ffn ffn,
                         uint32_t count)
{
    const size_t elements = device_ffn_elements(&ffn);
    const float *pool = rig_random(r, elements * count, 0.4);
    const char *pool_on = rig_send(r, pool, elements * count);
    size_t sum = 0;

    for (uint32_t i = 0; i < count; i++) {
        const size_t slot = (i * 7 + 3) % count;

        x->weight[i] = pool + slot * elements;
        x->weight_on[i] = pool_on + slot * elements * r->o->element_bytes(r->d);
        x->rows[i] = 1 + (uint32_t)rng_below(&r->rng, 3) * (i % 5);
        sum += x->rows[i];
    }
    x->x_count = x->y_count = sum * ffn.hidden;
    x->host = (struct device_group){ffn, count, x->weight, x->rows, NULL, NULL, NULL};
    x->on = x->host;
    x->on.weight = x->weight_on;
    x->host.x = rig_random(r, x->x_count, 1.3);
    x->host.y = rig_blank(r, x->y_count);
    x->on.x = rig_send(r, x->host.x, x->x_count);
    x->on.y = rig_send(r, x->host.y, x->y_count);
    x->on.work = rig_send(r, rig_blank(r, sum * 2 * ffn.inner), sum * 2 * ffn.inner);
}

static void experts_once(struct rig *r, struct device_ffn ffn, uint32_t count)
{
    struct experts x;

    experts_make(r, &x, ffn, count);
    reference_experts(&x.host);
    r->o->experts(r->d, r->s, &x.on);
    memset(x.weight_on, 0, sizeof x.weight_on);
    memset(x.rows, 0, sizeof x.rows);
    rig_expect(r, x.on.y, x.host.y, x.y_count);
}

static void check_experts(struct rig *r)
{
    experts_once(r, (struct device_ffn){64, 96, 3}, 8);
    experts_once(r, (struct device_ffn){96, 64, 2}, 8);
    experts_once(r, (struct device_ffn){64, 32, 3}, 1);
    experts_once(r, (struct device_ffn){16, 8, 3}, MOST); /* DeepSeek-V3 has 256 */
    experts_once(r, (struct device_ffn){24, 16, 2}, MOST);
}

static void test_experts(void **state)
{
    (void)state;
    rig_each(check_experts);
}

/* Two groups in one graph, each with rows and weights of its own, and a third outside
 * before it is launched: none takes another's. */
static void check_graph(struct rig *r)
{
    static struct experts x[3];
    static const uint32_t count[] = {5, 9, MOST};
    struct err e = {.text = ""};
    struct device_graph *g;

    for (int i = 0; i < 3; i++) {
        experts_make(r, &x[i], (struct device_ffn){16, 8, 3}, count[i]);
        reference_experts(&x[i].host);
    }
    /* Once outside, so that nothing is refused for the first time inside. */
    r->o->experts(r->d, r->s, &x[2].on);
    r->o->capture_begin(r->d, r->s);
    r->o->experts(r->d, r->s, &x[0].on);
    r->o->experts(r->d, r->s, &x[1].on);
    g = r->o->capture_end(r->d, r->s, &e);
    if (g == NULL)
        fail_msg("%s", e.text);
    for (int i = 0; i < 2; i++) {
        memset(x[i].weight_on, 0, sizeof x[i].weight_on);
        memset(x[i].rows, 0, sizeof x[i].rows);
    }
    r->o->experts(r->d, r->s, &x[2].on);
    r->o->graph_launch(r->d, r->s, g);
    r->o->experts(r->d, r->s, &x[2].on);
    for (int i = 0; i < 3; i++)
        rig_expect(r, x[i].on.y, x[i].host.y, x[i].y_count);
    r->o->graph_free(r->d, g);
}

static void test_graph(void **state)
{
    (void)state;
    rig_each(check_graph);
}

/* ---- attention ---- */

/* Row i is of `length[i]` tokens, in a cache of one sequence after the other. */
static void attention_once(struct rig *r, struct device_attention shape,
                           const uint32_t *length)
{
    uint64_t first[8];
    size_t tokens = 0;

    assert_true(shape.rows <= sizeof first / sizeof first[0]);
    for (uint32_t i = 0; i < shape.rows; i++) {
        first[i] = tokens;
        tokens += length[i];
    }
    rig_attention(r, shape, tokens, first, length);
}

/* One row's long context, and rows of which some end before others have begun. */
static void check_attention(struct rig *r)
{
    static const struct {
        uint32_t rows, heads, kv_heads, key_dim, value_dim;
    } shapes[] = {{1, 8, 1, 64, 64},     {2, 2, 2, 64, 64},    {3, 4, 2, 128, 128},
                  {2, 12, 3, 32, 16},    {1, 10, 2, 128, 128}, {2, 16, 1, 576, 512},
                  {4, 24, 2, 64, 128},   {8, 3, 3, 40, 24},    {1, 1, 1, 8, 8},
                  {1, 5, 1, 1600, 2048}, {2, 6, 2, 4000, 8}};
    static const uint32_t length[][8] = {{1500, 1, 700, 64, 65, 63, 129, 128},
                                         {64, 130, 1, 2, 128, 127, 192, 1000}};

    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct device_attention a = {
            .rows = shapes[i].rows,
            .heads = shapes[i].heads,
            .kv_heads = shapes[i].kv_heads,
            .key_dim = shapes[i].key_dim,
            .value_dim = shapes[i].value_dim,
        };

        attention_once(r, a, length[i % 2]);
    }
}

static void test_attention(void **state)
{
    (void)state;
    rig_each(check_attention);
}

/* ---- the rest ---- */

static void check_rows(struct rig *r)
{
    enum { ROWS = 3, HIDDEN = 2880, OUT = 128 };
    float *x = rig_random(r, ROWS * HIDDEN, 2.0);
    const float *weight = rig_random(r, OUT * HIDDEN, 0.1);
    float *y = rig_blank(r, ROWS * HIDDEN);
    struct device_norm n = {ROWS, HIDDEN, x, weight, y};
    struct device_gemm g = {ROWS, HIDDEN, OUT, x, weight, y};
    void *x_on = rig_send(r, x, ROWS * HIDDEN);
    const void *weight_on = rig_send(r, weight, OUT * HIDDEN);
    void *y_on = rig_send(r, y, ROWS * HIDDEN);

    reference_gemm(&g);
    r->o->gemm(r->d, r->s,
               &(struct device_gemm){ROWS, HIDDEN, OUT, x_on, weight_on, y_on});
    rig_expect(r, y_on, y, ROWS * HIDDEN);
    reference_norm(&n);
    r->o->norm(r->d, r->s, &(struct device_norm){ROWS, HIDDEN, x_on, weight_on, y_on});
    rig_expect(r, y_on, y, ROWS * HIDDEN);
    reference_round(r->type, y, ROWS * HIDDEN);
    reference_add(y, x, ROWS * HIDDEN);
    r->o->add(r->d, r->s, y_on, x_on, ROWS * HIDDEN);
    rig_expect(r, y_on, y, ROWS * HIDDEN);
    reference_gated(x, y, ROWS, HIDDEN / 2);
    r->o->gated(r->d, r->s, x_on, y_on, ROWS, HIDDEN / 2);
    rig_expect(r, y_on, y, ROWS * HIDDEN); /* its second half as it was */
    reference_norm(&(struct device_norm){ROWS, HIDDEN, x, weight, x});
    r->o->norm(r->d, r->s, &(struct device_norm){ROWS, HIDDEN, x_on, weight_on, x_on});
    rig_expect(r, x_on, x, ROWS * HIDDEN);
}

static void test_rows(void **state)
{
    (void)state;
    rig_each(check_rows);
}

static void check_permute(struct rig *r)
{
    enum { TOKENS = 3, TOP = 2, ROWS = 5, HIDDEN = 2056 };
    static const uint32_t row_token[ROWS] = {2, 0, 2, 1, 0};
    static const uint32_t token_row[TOKENS * TOP] = {4, 1, UINT32_MAX, 3, 0, 2};
    const float *weight = rig_random(r, TOKENS * TOP, 1.0);
    const float *x = rig_random(r, TOKENS * HIDDEN, 2.0);
    float *y = rig_blank(r, ROWS * HIDDEN);
    float *sum = rig_random(r, TOKENS * HIDDEN, 1.0);
    struct device_permute p = {TOKENS, ROWS, TOP, HIDDEN, row_token, token_row, weight};
    struct device_permute on = p;
    const void *x_on = rig_send(r, x, TOKENS * HIDDEN);
    void *y_on = rig_send(r, y, ROWS * HIDDEN);
    void *sum_on = rig_send(r, sum, TOKENS * HIDDEN);

    on.row_token = rig_send_bytes(r, row_token, sizeof row_token);
    on.token_row = rig_send_bytes(r, token_row, sizeof token_row);
    on.token_weight = rig_send_bytes(r, weight, TOKENS * TOP * sizeof *weight);
    reference_gather(&p, x, y);
    r->o->gather(r->d, r->s, &on, x_on, y_on);
    rig_expect(r, y_on, y, ROWS * HIDDEN);
    reference_scatter(&p, y, sum);
    r->o->scatter(r->d, r->s, &on, y_on, sum_on);
    rig_expect(r, sum_on, sum, TOKENS * HIDDEN);
}

static void test_permute(void **state)
{
    (void)state;
    rig_each(check_permute);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_experts),   cmocka_unit_test(test_graph),
        cmocka_unit_test(test_attention), cmocka_unit_test(test_rows),
        cmocka_unit_test(test_permute),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

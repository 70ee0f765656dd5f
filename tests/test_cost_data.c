/* The cost functions against measured tables (aiconfigurator's, in MOESIM_DATA/cost):
 * prints mean and median relative error, and asserts bounds on them that a wrong equation
 * or a slipped unit would break. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "data_table.h"
#include "models/cost.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_EXPERTS 512

/* ---- expert loads as the tables' collector draws them ---- */

/* "balanced": token t takes experts t, t + stride, t + 2 stride, ..., or spread over the
 * first stride where tokens are fewer. */
static void balanced_load(uint32_t *load, uint32_t tokens, uint32_t count, uint32_t top_k)
{
    uint32_t stride = (count + top_k - 1) / top_k;

    memset(load, 0, count * sizeof(*load));
    for (uint32_t t = 0; t < tokens; t++) {
        uint32_t first = tokens >= stride ? t : t * stride / tokens;

        for (uint32_t i = 0; i < top_k; i++)
            load[(first + i * stride) % count]++;
    }
}

/* "power_law_a": shares drawn from a density x^-a; here its quantiles, not a draw. */
static void power_law_load(uint32_t *load, uint32_t tokens, uint32_t count,
                           uint32_t top_k, double a)
{
    double low = tokens * top_k > count ? 1.0 : 0.01;
    double high = tokens * top_k > count ? fmax(0.8 * tokens, 1.001) : 2.0;
    double from = pow(low, 1 - a), to = pow(high, 1 - a), sum = 0;
    double share[MAX_EXPERTS];
    int64_t left = (int64_t)tokens * top_k;

    for (uint32_t i = 0; i < count; i++) {
        share[i] = pow((to - from) * (i + 0.5) / count + from, 1 / (1 - a));
        sum += share[i];
    }
    for (uint32_t i = 0; i < count; i++) {
        load[i] = (uint32_t)fmin(share[i] / sum * tokens * top_k + 0.5, tokens);
        left -= load[i];
    }
    for (uint32_t i = count; left != 0; i = i == 1 ? count : i - 1) {
        if (left > 0 && load[i - 1] < tokens) {
            load[i - 1]++;
            left--;
        } else if (left < 0 && load[i - 1] > 0) {
            load[i - 1]--;
            left++;
        }
    }
}

/* ---- tests ---- */

static struct machine *machine_of(const char *name)
{
    struct err e = {.text = ""};
    struct machine *k = machine_load(name, "models/machine", &e);

    if (k == NULL)
        fail_msg("%s", e.text);
    return k;
}

/* The collector runs the two Nemotron shapes without a gate matrix from vLLM 0.24 on. */
static uint32_t matrices_of(const struct data_table *t)
{
    uint32_t hidden = data_table_number(t, "hidden_size"),
             inner = data_table_number(t, "inter_size");
    bool plain = (hidden == 2688 && inner == 1856) || (hidden == 2048 && inner == 5120);

    return plain && strcmp(data_table_cell(t, "version"), "0.24.0") == 0 ? 2 : 3;
}

static sim_time predict_experts(const struct data_table *t, const struct machine *k,
                                double bits)
{
    const char *distribution = data_table_cell(t, "distribution");
    struct model m = {.hidden = data_table_number(t, "hidden_size"),
                      .expert_ffn = data_table_number(t, "inter_size") /
                                    data_table_number(t, "moe_tp_size"),
                      .matrices = matrices_of(t),
                      .experts = data_table_number(t, "num_experts"),
                      .top_k = data_table_number(t, "topk"),
                      .expert_bits = bits,
                      .dense_bits = 16,
                      .activation_bits = 16};
    struct cost c = {&m, k, true};
    struct cost_experts x = {0};
    uint32_t load[MAX_EXPERTS];
    uint32_t tokens = data_table_number(t, "num_tokens");

    assert_true(m.experts <= MAX_EXPERTS);
    if (strcmp(distribution, "balanced") == 0)
        balanced_load(load, tokens, m.experts, m.top_k);
    else
        power_law_load(load, tokens, m.experts, m.top_k,
                       strtod(distribution + strlen("power_law_"), NULL));
    for (uint32_t i = 0; i < m.experts / data_table_number(t, "moe_ep_size"); i++) {
        if (load[i] > 0)
            cost_experts_add(&x, load[i], &k->gpu.tiles);
    }
    x.masked_rows = (uint64_t)tokens * m.top_k - x.rows;
    return cost_expert_group(&c, &x);
}

/* Which rows of a table: those of one kernel and one kind of load. Which experts a shard
 * gets is not recorded for power-law loads, nor what the MXFP4 kernel does with rows of
 * experts elsewhere: there, only rows with all experts on one GPU are taken. */
struct rows {
    const char *file, *machine, *kernel;
    double bits;
    bool balanced;
    bool sharded; /* also the rows of a part of the experts (expert parallel) */
};

static bool is_wanted(const struct data_table *t, const struct rows *r)
{
    bool even = strcmp(data_table_cell(t, "distribution"), "balanced") == 0;

    return strcmp(data_table_cell(t, "kernel_source"), r->kernel) == 0 &&
           even == r->balanced &&
           (r->sharded || data_table_number(t, "moe_ep_size") == 1);
}

static void check_experts(const char *test, const struct rows *r, double mean,
                          double median)
{
    struct data_errors e = {.values = NULL};
    struct machine *k;
    struct data_table t;

    if (!data_table_open(&t, test, r->file))
        skip();
    k = machine_of(r->machine);
    while (data_table_next(&t)) {
        if (is_wanted(&t, r))
            data_errors_add(&e, predict_experts(&t, k, r->bits), data_table_ms(&t));
    }
    data_table_close(&t);
    machine_free(k);
    data_errors_check(&e, test, mean, median);
}

static const char h100_moe[] = "h100_sxm__moe__vllm__0.24.0__moe_perf.csv.gz";
static const char a100_moe[] = "a100_sxm__moe__vllm__0.14.0__moe_perf.csv.gz";
static const char h100_bf16[] = "vllm_unquantizedfusedmoe_triton_tritonexperts";

static void test_experts_h100(void **state)
{
    const struct rows r = {h100_moe, "h100-80g", h100_bf16, 16, true, true};

    (void)state;
    check_experts("test_experts_h100", &r, 0.12, 0.08);
}

static void test_experts_h100_skewed(void **state)
{
    const struct rows r = {h100_moe, "h100-80g", h100_bf16, 16, false, false};

    (void)state;
    check_experts("test_experts_h100_skewed", &r, 0.16, 0.09);
}

/* GPT-OSS; no such row was used for the fit. */
static void test_experts_h100_mxfp4(void **state)
{
    const struct rows r = {h100_moe,
                           "h100-80g",
                           "vllm_gptossmxfp4moe_triton_oaitritonmxfp4expertsmonolithic",
                           4.25,
                           true,
                           false};

    (void)state;
    check_experts("test_experts_h100_mxfp4", &r, 0.15, 0.12);
}

/* Nor of these. */
static void test_experts_h100_fp8(void **state)
{
    const struct rows r = {h100_moe, "h100-80g", "vllm_fp8moe_triton_tritonexperts",
                           8,        true,       true};

    (void)state;
    check_experts("test_experts_h100_fp8", &r, 0.20, 0.10);
}

static void test_experts_a100_skewed(void **state)
{
    const struct rows r = {a100_moe, "a100-80g", "vllm_fused_moe", 16, false, false};

    (void)state;
    check_experts("test_experts_a100_skewed", &r, 0.22, 0.18);
}

static void check_gemm(const char *test, const char *file, const char *machine,
                       double mean, double median)
{
    struct model m = {.dense_bits = 16, .activation_bits = 16};
    struct data_errors e = {.values = NULL};
    struct cost c = {.model = &m, .graph = true};
    struct machine *k;
    struct data_table t;

    if (!data_table_open(&t, test, file))
        skip();
    c.machine = k = machine_of(machine);
    while (data_table_next(&t)) {
        if (strcmp(data_table_cell(&t, "gemm_dtype"), "bfloat16") == 0)
            data_errors_add(&e,
                            cost_gemm(&c, data_table_number(&t, "m"),
                                      data_table_number(&t, "k"),
                                      data_table_number(&t, "n")),
                            data_table_ms(&t));
    }
    data_table_close(&t);
    machine_free(k);
    data_errors_check(&e, test, mean, median);
}

static void test_gemm_h100(void **state)
{
    (void)state;
    check_gemm("test_gemm_h100", "h100_sxm__gemm__vllm__0.24.0__gemm_perf.csv.gz",
               "h100-80g", 0.14, 0.11);
}

static void test_gemm_a100(void **state)
{
    (void)state;
    check_gemm("test_gemm_a100", "a100_sxm__gemm__vllm__0.14.0__gemm_perf.csv.gz",
               "a100-80g", 0.19, 0.16);
}

/* Decode: one row of each of `batch_size` requests after `step` tokens; context: `isl`
 * rows of each. */
static void check_attention(const char *test, const char *file, const char *machine,
                            double mean, double median)
{
    struct data_errors e = {.values = NULL};
    struct machine *k;
    struct data_table t;

    if (!data_table_open(&t, test, file))
        skip();
    k = machine_of(machine);
    while (data_table_next(&t)) {
        bool decode = strcmp(data_table_cell(&t, "op_name"), "generation_attention") == 0;
        uint64_t n = data_table_number(&t, "batch_size"),
                 rows = data_table_number(&t, "isl");
        uint64_t context = rows + data_table_number(&t, "step") - (decode ? 1 : 0);
        struct model m = {.heads = data_table_number(&t, "num_heads"),
                          .kv_heads = data_table_number(&t, "num_key_value_heads"),
                          .head_dim = data_table_number(&t, "head_dim"),
                          .dense_bits = 16,
                          .activation_bits = 16};
        struct cost c = {&m, k, true};
        struct cost_batch b = {.tokens = (uint32_t)(n * rows),
                               .kv_tokens = n * context,
                               .pairs = n * (context * rows - rows * (rows - 1) / 2)};

        if (strcmp(data_table_cell(&t, "attn_dtype"), "bfloat16") != 0 ||
            strcmp(data_table_cell(&t, "kv_cache_dtype"), "bfloat16") != 0)
            continue;
        if (t.columns == 16 && data_table_number(&t, "window_size") != 0)
            continue;
        data_errors_add(&e, cost_attention(&c, &b), data_table_ms(&t));
    }
    data_table_close(&t);
    machine_free(k);
    data_errors_check(&e, test, mean, median);
}

static void test_decode_h100(void **state)
{
    (void)state;
    check_attention("test_decode_h100",
                    "h100_sxm__attention__vllm__0.24.0__generation_attention_perf.csv.gz",
                    "h100-80g", 0.25, 0.15);
}

static void test_decode_a100(void **state)
{
    (void)state;
    check_attention("test_decode_a100",
                    "a100_sxm__attention__vllm__0.14.0__generation_attention_perf.csv.gz",
                    "a100-80g", 0.30, 0.20);
}

static void test_context_h100(void **state)
{
    (void)state;
    check_attention("test_context_h100",
                    "h100_sxm__attention__vllm__0.24.0__context_attention_perf.csv.gz",
                    "h100-80g", 0.25, 0.20);
}

static void test_context_a100(void **state)
{
    (void)state;
    check_attention("test_context_a100",
                    "a100_sxm__attention__vllm__0.14.0__context_attention_perf.csv.gz",
                    "a100-80g", 0.25, 0.20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_experts_h100),
        cmocka_unit_test(test_experts_h100_skewed),
        cmocka_unit_test(test_experts_h100_mxfp4),
        cmocka_unit_test(test_experts_h100_fp8),
        cmocka_unit_test(test_experts_a100_skewed),
        cmocka_unit_test(test_gemm_h100),
        cmocka_unit_test(test_gemm_a100),
        cmocka_unit_test(test_decode_h100),
        cmocka_unit_test(test_decode_a100),
        cmocka_unit_test(test_context_h100),
        cmocka_unit_test(test_context_a100),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

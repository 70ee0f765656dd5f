/* What the tests of cost functions share: a machine and a model whose costs can be read
 * off, and work for them. After cmocka.h. */
#ifndef MOESIM_TESTS_COST_HELP_H
#define MOESIM_TESTS_COST_HELP_H

#include "models/cost.h"

static const struct machine_tiles rows_1 = {1, {1}}, rows_16 = {1, {16}};

/* A machine with round peaks and no floors, so that each part of a cost can be read off:
 * 1e12 flop/s, 1e11 bytes/s, everything reached. */
static inline struct machine ideal(void)
{
    struct machine k = {.gpus = 1, .nodes = 1};

    k.gpu.bf16_flops = 1e12;
    k.gpu.fp32_flops = 0.25e12;
    k.gpu.hbm_bytes_per_s = 1e11;
    k.gpu.gemm_efficiency = k.gpu.expert_gemm_efficiency = 1.0;
    k.gpu.attention_efficiency = 1.0;
    k.gpu.memory_efficiency = k.gpu.move_efficiency = 1.0;
    k.gpu.tiles = rows_16;
    k.host.flops = 1e10;
    k.host.dram_bytes_per_s = 2e10;
    return k;
}

/* Values of high entropy, so that no factor can hide behind another. */
static inline struct model small(void)
{
    return (struct model){
        .layers = 6,
        .first_moe = 2,
        .moe_every = 1,
        .moe_layers = 4,
        .hidden = 352,
        .expert_ffn = 416,
        .matrices = 3,
        .experts = 24,
        .top_k = 3,
        .shared_ffn = 544,
        .dense_ffn = 736,
        .attention = MODEL_ATTENTION_GQA,
        .heads = 12,
        .kv_heads = 4,
        .head_dim = 56,
        .window = 128,
        .window_every = 2,
        .vocab = 1009,
        .expert_bits = 4.25,
        .dense_bits = 16,
        .activation_bits = 16,
    };
}

static inline struct cost_experts experts(uint32_t distinct, uint32_t each,
                                          const struct machine_tiles *tiles)
{
    struct cost_experts x = {0};

    for (uint32_t i = 0; i < distinct; i++)
        cost_experts_add(&x, each, tiles);
    return x;
}

/* One request of `n` tokens from its start. */
static inline struct cost_batch prefill(uint32_t n, uint64_t window)
{
    uint64_t pairs = (uint64_t)n * (n + 1) / 2;
    uint64_t w = n < window ? n : window;

    return (struct cost_batch){.tokens = n,
                               .outputs = 1,
                               .kv_tokens = n,
                               .pairs = pairs,
                               .window_kv_tokens = n,
                               .window_pairs = w * (w + 1) / 2 + (n - w) * w};
}

static inline void assert_close(double actual, double expected, double relative)
{
    if (!(actual >= expected * (1 - relative) && actual <= expected * (1 + relative)))
        fail_msg("%.9g is not within %g of %.9g", actual, relative, expected);
}

#endif

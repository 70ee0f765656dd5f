#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cost_help.h"
#include "sim/exec/op.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct model latent(void)
{
    struct model m = small();

    m.attention = MODEL_ATTENTION_MLA;
    m.kv_heads = m.heads;
    m.kv_rank = 96;
    m.q_rank = 80;
    m.rope_dim = 24;
    return m;
}

/* `n` requests of `context` tokens that decode one token each. */
static struct cost_batch decode(uint32_t n, uint64_t context, uint64_t window)
{
    uint64_t seen = context < window ? context : window;

    return (struct cost_batch){.tokens = n,
                               .outputs = n,
                               .kv_tokens = n * context,
                               .pairs = n * context,
                               .window_kv_tokens = n * seen,
                               .window_pairs = n * seen};
}

/* ---- closed forms ---- */

/* Williams et al.: work of I flop per byte is bandwidth-bound below peak / bandwidth. An
 * expert's weights serve all of its rows: I = 2 rows / bytes per weight, so by peaks an
 * H100 (989.4e12 / 3.35e12) turns at 295 rows per expert in bf16. */
static void test_ridge(void **state)
{
    struct machine k = ideal();
    struct model m = small();
    struct cost c = {.model = &m, .machine = &k};
    uint32_t turn = 0;

    (void)state;
    k.gpu.bf16_flops = 989.4e12;
    k.gpu.hbm_bytes_per_s = 3.35e12;
    k.gpu.tiles = rows_1;
    k.gpu.move_efficiency = 1.0;
    m.expert_bits = 16;
    m.activation_bits = 1e-9; /* weights alone */
    m.hidden = 4096;
    m.expert_ffn = 14336;
    for (uint32_t rows = 1; rows < 1000 && turn == 0; rows++) {
        struct cost_experts x = experts(1, rows, &k.gpu.tiles);
        struct cost_experts one = experts(1, 1, &k.gpu.tiles);

        if (cost_expert_group(&c, &x) > cost_expert_group(&c, &one) + SIM_TIME_PER_NS)
            turn = rows;
    }
    assert_int_equal(turn, 296);
    /* Four-bit weights are read four times faster: the ridge comes four times earlier. */
    m.expert_bits = 4;
    turn = 0;
    for (uint32_t rows = 1; rows < 1000 && turn == 0; rows++) {
        struct cost_experts x = experts(1, rows, &k.gpu.tiles);
        struct cost_experts one = experts(1, 1, &k.gpu.tiles);

        if (cost_expert_group(&c, &x) > cost_expert_group(&c, &one) + SIM_TIME_PER_NS)
            turn = rows;
    }
    assert_int_equal(turn, 74);
}

/* Decode below the ridge: the distinct experts' bytes over the bandwidth, whatever the
 * rows; the activations are the little that is left. */
static void test_decode_reads_weights(void **state)
{
    struct machine k = ideal();
    struct model m = small();
    struct cost c = {.model = &m, .machine = &k};
    struct cost_experts x = experts(7, 1, &rows_1);
    double weights = 7 * 3.0 * 352 * 416 * 4.25 / 8;

    (void)state;
    m.activation_bits = 1e-9;
    assert_close(sim_time_seconds(cost_expert_group(&c, &x)), weights / 1e11, 1e-6);
    k.gpu.memory_efficiency = 0.8;
    assert_close(sim_time_seconds(cost_expert_group(&c, &x)), weights / 0.8e11, 1e-6);
    m.expert_bits = 8.5;
    assert_close(sim_time_seconds(cost_expert_group(&c, &x)), weights / 0.4e11, 1e-6);
}

/* The smallest tile that holds the rows, then whole ones of the largest. */
static void test_tiles(void **state)
{
    static const struct machine_tiles set = {3, {2, 6, 10}}, one = {1, {6}};
    static const uint64_t want[][3] = {
        /* rows, of the set, of the one */
        {1, 2, 6},    {2, 2, 6},
        {3, 6, 6},    {6, 6, 6},
        {7, 10, 12},  {10, 10, 12},
        {11, 20, 12}, {20, 20, 24},
        {21, 30, 24}, {4294967295, 4294967300, 4294967298}};
    struct cost_experts x = {.distinct = 0};

    (void)state;
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        assert_int_equal(machine_tiles_pad(&set, (uint32_t)want[i][0]), want[i][1]);
        assert_int_equal(machine_tiles_pad(&one, (uint32_t)want[i][0]), want[i][2]);
    }
    cost_experts_add(&x, 1, &set);
    cost_experts_add(&x, 7, &set);
    cost_experts_add(&x, 21, &set);
    assert_int_equal(x.distinct, 3);
    assert_int_equal(x.rows, 29);
    assert_int_equal(x.padded_rows, 2 + 10 + 30);
}

/* One row of each expert: a product with a vector takes the time of its weights' bytes,
 * 16 rows (the ridge of 4.25 bits is at 2.7, of 8.5 bits at 5.3) that of their flops. */
static void test_bits_matter_to_a_vector(void **state)
{
    struct machine k = ideal();
    struct model m = small();
    struct cost c = {.model = &m, .machine = &k};
    double weights = 7 * 3.0 * 352 * 416;

    (void)state;
    m.activation_bits = 1e-9;
    for (m.expert_bits = 4.25; m.expert_bits < 9; m.expert_bits *= 2) {
        struct cost_experts x = experts(7, 1, &rows_16);

        assert_close(sim_time_seconds(cost_expert_group(&c, &x)), 2 * 16 * weights / 1e12,
                     1e-6);
        k.gpu.tiles = (struct machine_tiles){2, {1, 16}};
        x = experts(7, 1, &k.gpu.tiles);
        assert_close(sim_time_seconds(cost_expert_group(&c, &x)),
                     weights * m.expert_bits / 8 / 1e11, 1e-6);
        /* Two rows do not fit, and take the larger tile. */
        x = experts(7, 2, &k.gpu.tiles);
        assert_close(sim_time_seconds(cost_expert_group(&c, &x)), 2 * 16 * weights / 1e12,
                     1e-6);
    }
}

/* The demo's own pair: one token's 4 experts at 8 and at 4.25 bits differ by the time of
 * the bytes between, at 68 % of 1008 GB/s. */
static void test_bits_matter_at_batch_1(void **state)
{
    struct err e = {.text = ""};
    struct model *m = model_load("gpt-oss-20b", "models/arch", &e);
    struct machine *k = machine_load("rtx4090-pcie4", "models/machine", &e);
    struct cost c = {.model = m, .machine = k, .graph = true};
    struct cost_experts x;
    sim_time narrow;

    (void)state;
    assert_true(m != NULL && k != NULL);
    x = experts(4, 1, &k->gpu.tiles);
    m->expert_bits = 4.25;
    narrow = cost_expert_group(&c, &x);
    m->expert_bits = 8;
    assert_close(sim_time_seconds(cost_expert_group(&c, &x) - narrow),
                 4 * 3.0 * 2880 * 2880 * (8 - 4.25) / 8 / (0.68 * 1008e9), 1e-6);
    model_free(m);
    machine_free(k);
}

/* Far above the ridge: 2 flops per weight and padded row. */
static void test_prefill_computes(void **state)
{
    struct machine k = ideal();
    struct model m = small();
    struct cost c = {.model = &m, .machine = &k};
    struct cost_experts x = experts(5, 1601, &k.gpu.tiles);
    double flops = 2.0 * 3 * 352 * 416 * 5 * 1616; /* 1601 padded to 101 tiles of 16 */
    double rows = 5 * 1601;
    /* Read and written: ids, two gates in and one out, weighted rows in and sums out. */
    double moved = 2 * (rows + rows * 3 * 416 + rows * 352 + rows / 3 * 352);

    (void)state;
    assert_int_equal(x.padded_rows, 5 * 1616);
    assert_close(sim_time_seconds(cost_expert_group(&c, &x)), flops / 1e12 + moved / 1e11,
                 1e-6);
    k.gpu.expert_gemm_efficiency = 0.5;
    k.gpu.move_efficiency = 0.25;
    assert_close(sim_time_seconds(cost_expert_group(&c, &x)),
                 flops / 0.5e12 + moved / 0.25e11, 1e-6);
    /* fp32 activations compute at the fp32 peak. */
    m.activation_bits = 32;
    assert_close(sim_time_seconds(cost_expert_group(&c, &x)),
                 flops / 0.125e12 + 2 * moved / 0.25e11, 1e-6);
}

/* Rows of experts elsewhere cost the activation and un-permute kernels alone. */
static void test_masked_rows(void **state)
{
    struct machine k = ideal();
    struct model m = small();
    struct cost c = {.model = &m, .machine = &k};
    struct cost_experts x = experts(5, 3, &rows_16);
    sim_time without = cost_expert_group(&c, &x);
    double rows = 1000;

    (void)state;
    x.masked_rows = 1000;
    assert_close(sim_time_seconds(cost_expert_group(&c, &x) - without),
                 2 * (rows + rows * 3 * 416 + rows * 352 + rows / 3 * 352) / 1e11, 1e-6);
}

/* With infinite rates only floors are left: as many as cost_kernels() counts. */
static void test_floors_are_kernels(void **state)
{
    struct machine k = ideal();
    struct model models[] = {small(), latent(), small(), latent()};
    struct cost_batch b = decode(3, 100, 128);
    struct cost_experts x = experts(5, 3, &rows_16);

    (void)state;
    models[2].shared_ffn = 0;
    models[3].q_rank = 0;
    k.gpu.bf16_flops = k.gpu.hbm_bytes_per_s = 1e30;
    k.gpu.kernel_floor = 3 * SIM_TIME_PER_US;
    k.gpu.attention_floor = 7;
    k.gpu.expert_floor = 11;
    for (size_t i = 0; i < 4; i++) {
        struct cost c = {.model = &models[i], .machine = &k};

        for (int graph = 0; graph < 2; graph++) {
            sim_time floor = graph ? 5 * SIM_TIME_PER_US : 3 * SIM_TIME_PER_US;

            c.graph = graph != 0;
            k.host.launch_graph = 5 * SIM_TIME_PER_US;
            assert_int_equal(cost_dense(&c, 2, &b),
                             cost_kernels(&c, COST_DENSE) * floor + 7);
            assert_int_equal(cost_gate(&c, 3), cost_kernels(&c, COST_GATE) * floor);
            assert_int_equal(cost_expert_group(&c, &x),
                             cost_kernels(&c, COST_EXPERTS) * floor + 11);
            assert_int_equal(cost_head(&c, &b), cost_kernels(&c, COST_HEAD) * floor);
        }
        /* A shorter node time than the kernel's own changes nothing. */
        k.host.launch_graph = SIM_TIME_PER_US;
        assert_int_equal(cost_gate(&c, 3), 6 * SIM_TIME_PER_US);
    }
}

/* Nothing to do takes no kernel. */
static void test_no_experts(void **state)
{
    struct machine k = ideal();
    struct model m = small();
    struct cost c = {.model = &m, .machine = &k, .graph = true};
    struct cost_experts none = {0};

    (void)state;
    k.gpu.kernel_floor = k.gpu.expert_floor = SIM_TIME_PER_US;
    assert_int_equal(cost_expert_group(&c, &none), 0);
    assert_int_equal(cost_host_experts(&c, &none), 0);
}

/* Long contexts: decode reads the cache, prefill computes 4 flops per pair and value. */
static void test_attention_limits(void **state)
{
    struct machine k = ideal();
    struct model m = small();
    struct cost c = {.model = &m, .machine = &k};
    struct cost_batch a = decode(4, 1000000, 128), b = decode(4, 2000000, 128);
    struct cost_batch p = prefill(200000, 128), q = prefill(200000, 128);

    (void)state;
    /* Layer 3 attends to everything: 4 * 10^6 tokens more of 2 * 4 * 56 bf16 values. */
    assert_close(sim_time_seconds(cost_dense(&c, 3, &b) - cost_dense(&c, 3, &a)),
                 4e6 * 2 * 4 * 56 * 2 / 1e11, 1e-6);
    /* Layer 2 sees the last 128 tokens of either. */
    assert_int_equal(cost_dense(&c, 2, &b), cost_dense(&c, 2, &a));
    q.pairs *= 2;
    assert_close(sim_time_seconds(cost_dense(&c, 3, &q) - cost_dense(&c, 3, &p)),
                 4.0 * 12 * 56 * (double)p.pairs / 1e12, 1e-6);
    assert_int_equal(cost_dense(&c, 2, &q), cost_dense(&c, 2, &p));
}

/* Latent attention: decode reads (kv_rank + rope_dim) values a token for all heads;
 * prefill computes on expanded heads: (head_dim + rope_dim) + head_dim values a pair. */
static void test_latent_limits(void **state)
{
    struct machine k = ideal();
    struct model m = latent();
    struct cost c = {.model = &m, .machine = &k};
    struct cost_batch a = decode(4, 1000000, 128), b = decode(4, 2000000, 128);
    struct cost_batch p = prefill(200000, 128), q = prefill(200000, 128);

    (void)state;
    /* With 12 heads, 2 * 12 * 216 flops a token outweigh its 240 bytes below 21.6 flop
     * per byte; here the ridge is put far above. */
    k.gpu.bf16_flops = 1e14;
    assert_close(sim_time_seconds(cost_dense(&c, 3, &b) - cost_dense(&c, 3, &a)),
                 4e6 * 120 * 2 / 1e11, 1e-6);
    k.gpu.bf16_flops = 1e12;
    q.pairs *= 2;
    assert_close(sim_time_seconds(cost_dense(&c, 3, &q) - cost_dense(&c, 3, &p)),
                 2.0 * 12 * (80 + 56) * (double)p.pairs / 1e12, 1e-6);
}

/* Queries come from the rows themselves where the model does not compress them. */
static void test_latent_queries(void **state)
{
    struct machine k = ideal();
    struct model m = latent(), plain = latent();
    struct cost c = {.model = &m, .machine = &k}, d = {.model = &plain, .machine = &k};
    struct cost_batch p = prefill(200000, 128);
    double query = 12 * (56 + 24), flops = 352 * query - (352 * 80 + 80 * query);

    (void)state;
    plain.q_rank = 0;
    /* 80 values a row fewer are read and written. */
    assert_close(sim_time_seconds(cost_dense(&d, 3, &p) - cost_dense(&c, 3, &p)),
                 2e5 * (2 * flops / 1e12 - 2 * 80 * 2 / 1e11), 1e-6);
}

static void test_layer_kinds(void **state)
{
    struct machine k = ideal();
    struct model m = small();
    struct cost c = {.model = &m, .machine = &k};
    struct cost_batch b = decode(1, 64, 128);
    sim_time dense = cost_dense(&c, 1, &b), moe = cost_dense(&c, 3, &b);

    (void)state;
    /* At one row the FFN reads its weights; 736 against 544 inner columns. */
    assert_close(sim_time_seconds(dense - moe), 3.0 * 352 * (736 - 544) * 2 / 1e11, 0.02);
}

/* Behind an encoder: a query's projection of each row, keys and values of those prompts
 * that are new, attention over all prompts, an output projection, residual and norm. */
static void test_cross_attention(void **state)
{
    struct machine k = ideal();
    struct model m = small();
    struct cost c = {.model = &m, .machine = &k};
    struct cost_batch b = prefill(100000, 128), none = b;
    double inner = (double)m.heads * m.head_dim, kv = 2.0 * m.kv_heads * m.head_dim;
    double cross, flops;

    (void)state;
    m.window = 0;
    m.encoder_layers = 3;
    b.cross_tokens = 700000;
    b.cross_pairs = 90000000;
    b.cross_new = 60000;
    none.cross_tokens = none.cross_pairs = none.cross_new = 123;
    assert_int_equal(cost_dense(&c, 2, &b), cost_dense(&c, 2, &none));
    m.encoder_layers = 0;
    cross = -sim_time_seconds(cost_dense(&c, 3, &b));
    m.encoder_layers = 3;
    cross += sim_time_seconds(cost_dense(&c, 3, &b));
    flops = 2.0 * 1e5 * 2 * 352 * inner + 2.0 * 6e4 * 352 * kv + 4 * inner * 9e7;
    /* Beside what is computed, query and output of attention move, and three times the
     * hidden states. */
    assert_close(cross, flops / 1e12 + 1e5 * (2 * inner + 3 * 352) * 2 / 1e11, 1e-6);
    assert_int_equal(cost_cross_kernels(&c, 2, &b), 0);
    assert_int_equal(cost_cross_kernels(&c, 3, &b), 5);
    b.cross_new = 0;
    assert_int_equal(cost_cross_kernels(&c, 3, &b), 4);
}

/* As many FLOPs as the experts that a row uses: its time is that of a dense FFN of that
 * width, and what it takes more than the attention is what the experts compute. */
static void test_dense_equivalent(void **state)
{
    struct machine k = ideal();
    struct model m = small(), wide = small(), dense;
    struct cost c = {.model = &m, .machine = &k}, d = {.model = &dense, .machine = &k};
    struct cost alone = {.model = &wide, .machine = &k};
    struct cost_batch b = prefill(400000, 128);
    struct err e = {.text = ""};
    double bare, inner = (double)m.top_k * m.expert_ffn + m.shared_ffn;
    double moves = 4e5 * 3 * inner * 2 / 1e11, rows = 4e5;

    (void)state;
    assert_int_equal(model_dense_equivalent(&m, &dense, &e), 0);
    assert_int_equal(dense.shared_ffn, (uint32_t)inner);
    assert_int_equal(dense.experts + dense.top_k, 0);
    wide.dense_ffn = (uint32_t)inner;
    wide.first_moe = 4;
    assert_int_equal(cost_dense(&d, 3, &b), cost_dense(&alone, 3, &b));
    wide.dense_ffn = 0;
    bare = sim_time_seconds(cost_dense(&alone, 3, &b));
    assert_close(sim_time_seconds(cost_dense(&d, 3, &b)) - bare,
                 2 * rows * 3 * 352 * inner / 1e12 + moves, 1e-6);
    /* The MoE's: top_k experts for each row, and the shared FFN. */
    assert_close(2 * rows * 3 * 352 * inner,
                 2 * rows * (3.0 * 352 * m.expert_ffn) * m.top_k +
                     2 * rows * 3 * 352 * m.shared_ffn,
                 1e-12);
    /* No routers, no experts; all else as it was. */
    assert_int_equal(model_dense_bytes(&dense),
                     model_dense_bytes(&m) +
                         (uint64_t)((double)m.moe_layers * 352 *
                                    (3.0 * m.top_k * m.expert_ffn - m.experts) *
                                    m.dense_bits / 8));
    assert_int_equal(cost_gate(&c, 7) > 0, true);
    m.top_k = 60000;
    m.expert_ffn = 60000;
    assert_int_equal(model_dense_equivalent(&m, &dense, &e), -1);
    assert_non_null(strstr(e.text, "leave dense-equivalent out"));
}

static void test_head(void **state)
{
    struct machine k = ideal();
    struct model m = small();
    struct cost c = {.model = &m, .machine = &k};
    struct cost_batch b = prefill(4096, 128);
    struct cost_batch all = b;

    (void)state;
    /* Only the rows that are wanted meet the head: 4095 more of 352 x 1009 each. */
    all.outputs = all.tokens;
    assert_true(cost_head(&c, &all) > cost_head(&c, &b));
    all.outputs = 0; /* a part of a prompt: the head is not read */
    assert_close(sim_time_seconds(cost_head(&c, &all)), 2.0 * 4096 * 352 * 2 / 1e11,
                 1e-6);
    all.tokens = all.outputs = 1;
    assert_close(sim_time_seconds(cost_head(&c, &all)),
                 (352.0 * 1009 + 352 + 1009 + 4 * 352) * 2 / 1e11, 1e-6);
}

static void test_host_experts(void **state)
{
    struct machine k = ideal();
    struct model m = small();
    struct cost c = {.model = &m, .machine = &k};
    struct cost_experts few = experts(2, 1, &rows_1), many = experts(2, 100, &rows_1);
    double weights = 3.0 * 352 * 416;

    (void)state;
    /* 2 flops at 1e10 a second take longer than 4.25 bits at 2e10 bytes a second. */
    k.host.flops = 1e12;
    assert_close(sim_time_seconds(cost_host_experts(&c, &few)),
                 2 * weights * 4.25 / 8 / 2e10, 1e-6);
    assert_close(sim_time_seconds(cost_host_experts(&c, &many)), 2 * weights * 200 / 1e12,
                 1e-6);
}

/* 7 rows of 352 values of 2 bytes down at one rate, back up at another. */
static void test_host_trip(void **state)
{
    struct machine k = ideal();
    struct model m = small();
    struct cost c = {.model = &m, .machine = &k};

    (void)state;
    k.d2h_pinned = (struct machine_copy){.latency = 3000000, .bytes_per_s = 7e9};
    k.h2d_pinned = (struct machine_copy){.latency = 5000000, .bytes_per_s = 14e9};
    assert_int_equal(cost_host_trip(&c, 0), 8000000);
    assert_int_equal(cost_host_trip(&c, 7), 8000000 + 704000 + 352000);
    m.activation_bits = 32;
    assert_int_equal(cost_host_trip(&c, 7), 8000000 + 2 * (704000 + 352000));
}

static void test_copy(void **state)
{
    struct machine_copy k = {.latency = 7500000, .bytes_per_s = 25e9};

    (void)state;
    assert_int_equal(cost_copy(&k, 0), 7500000);
    /* 13,219,200 bytes at 25 GB/s: 528.768 us. */
    assert_int_equal(cost_copy(&k, 13219200), 7500000 + 528768000);
}

/* ---- properties, on the shipped files ---- */

/* More work is never faster; each step changes one quantity. */
static void check_monotone(const struct cost *c)
{
    const struct machine_tiles *tiles = &c->machine->gpu.tiles;
    sim_time last[4] = {0};

    for (uint32_t n = 1; n <= 4096; n *= 2) {
        struct cost_experts rows = experts(1, n, tiles);
        struct cost_experts distinct = experts(n, 1, tiles);
        struct cost_batch batch = decode(n, 1000, c->model->window);
        struct cost_batch context = decode(1, n * 100, c->model->window);
        sim_time now[4] = {
            cost_expert_group(c, &rows) + cost_host_experts(c, &rows),
            cost_expert_group(c, &distinct) + cost_host_experts(c, &distinct),
            cost_dense(c, 1, &batch) + cost_gate(c, n) + cost_head(c, &batch),
            cost_dense(c, c->model->layers - 1, &context),
        };

        for (size_t i = 0; i < 4; i++) {
            assert_true(now[i] >= last[i]);
            last[i] = now[i];
        }
        /* The window never costs more than the whole context. */
        if (c->model->window > 0)
            assert_true(cost_dense(c, 0, &context) <= cost_dense(c, 1, &context));
    }
    /* The sweep reached the regime where work counts, not floors. */
    assert_true(last[0] > 0 && last[1] > 100 * c->machine->gpu.kernel_floor);
}

static void test_monotone(void **state)
{
    static const char *const models[] = {"gpt-oss-20b", "deepseek-v3", "switch-base-8",
                                         "mixtral-8x7b", "llama-4-maverick"};
    static const char *const machines[] = {"h100-80g", "rtx4090-pcie4", "phone-flash"};
    struct err e = {.text = ""};

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        struct model *m = model_load(models[i], "models/arch", &e);

        assert_non_null(m);
        for (size_t j = 0; j < 3; j++) {
            struct machine *k = machine_load(machines[j], "models/machine", &e);
            struct cost c = {.model = m, .machine = k, .graph = i % 2 == 0};

            assert_non_null(k);
            check_monotone(&c);
            machine_free(k);
        }
        model_free(m);
    }
}

static void test_names(void **state)
{
    (void)state;
    for (int i = 0; i < OP_KINDS; i++) {
        for (int j = 0; j < i; j++)
            assert_string_not_equal(op_kind_name((enum op_kind)i),
                                    op_kind_name((enum op_kind)j));
    }
    for (int i = 0; i < OP_LANES; i++) {
        for (int j = 0; j < i; j++)
            assert_string_not_equal(op_lane_name((enum op_lane)i),
                                    op_lane_name((enum op_lane)j));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ridge),
        cmocka_unit_test(test_decode_reads_weights),
        cmocka_unit_test(test_tiles),
        cmocka_unit_test(test_bits_matter_to_a_vector),
        cmocka_unit_test(test_bits_matter_at_batch_1),
        cmocka_unit_test(test_prefill_computes),
        cmocka_unit_test(test_masked_rows),
        cmocka_unit_test(test_floors_are_kernels),
        cmocka_unit_test(test_no_experts),
        cmocka_unit_test(test_attention_limits),
        cmocka_unit_test(test_latent_limits),
        cmocka_unit_test(test_latent_queries),
        cmocka_unit_test(test_layer_kinds),
        cmocka_unit_test(test_cross_attention),
        cmocka_unit_test(test_dense_equivalent),
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_host_experts),
        cmocka_unit_test(test_host_trip),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_monotone),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "models/catalogue.h"
#include "models/machine.h"
#include "models/model.h"
#include "sim/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARCH "models/arch"
#define MACHINE "models/machine"

/* ---- files of the test ---- */

/* A text in a file of its own; returns the owned path. */
static char *write_text(const char *text)
{
    char *path = mem_strdup("/tmp/moesim_test_XXXXXX");
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (int)strlen(text));
    assert_int_equal(close(fd), 0);
    return path;
}

/* The whole of a shipped file with the first `from` in it replaced; owned. */
static char *edited(const char *path, const char *from, const char *to)
{
    static char text[32768];
    FILE *f = fopen(path, "r");
    size_t size;
    char *hit;

    assert_non_null(f);
    size = fread(text, 1, sizeof(text) - 1, f);
    assert_true(size < sizeof(text) - 1);
    text[size] = '\0';
    (void)fclose(f);
    hit = strstr(text, from);
    assert_non_null(hit);
    *hit = '\0';
    return mem_format("%s%s%s", text, to, hit + strlen(from));
}

/* Path with a slash, so that the loader takes it as a path. */
static void expect_error(const char *file, const char *from, const char *to,
                         const char *const words[3])
{
    bool is_model = strncmp(file, ARCH, strlen(ARCH)) == 0;
    char *text = edited(file, from, to);
    char *path = write_text(text);
    struct err e = {.text = ""};
    void *loaded = is_model ? (void *)model_load(path, ARCH, &e)
                            : (void *)machine_load(path, MACHINE, &e);

    if (loaded != NULL)
        fail_msg("%s with '%s' was accepted", file, to);
    if (strncmp(e.text, path, strlen(path)) != 0)
        fail_msg("no place in: %s", e.text);
    for (size_t i = 0; i < 3 && words[i] != NULL; i++) {
        if (strstr(e.text, words[i]) == NULL)
            fail_msg("'%s' is not in: %s", words[i], e.text);
    }
    assert_null(strchr(e.text, '\n'));
    (void)unlink(path);
    free(path);
    free(text);
}

/* ---- shipped files ---- */

/* The published shapes: bytes of one expert in bf16 (MB), number of MoE layers, and,
 * where known, routed parameters in all (1e9). */
static const struct shape {
    const char *name;
    double expert_mb;
    uint32_t moe_layers;
    double routed;
} shapes[] = {
    {"dbrx", 396, 40, 0},
    {"deepseek-v2", 47.2, 59, 0},
    {"deepseek-v2-lite", 17.3, 26, 0},
    {"deepseek-v3", 88.1, 58, 653.9},
    {"glm-4.5", 47.2, 89, 0},
    {"glm-4.5-air", 34.6, 45, 0},
    {"gpt-oss-120b", 49.8, 36, 114.7},
    {"gpt-oss-20b", 49.8, 24, 0},
    {"grok-1", 1208, 64, 0},
    {"kimi-k2", 88.1, 60, 1014.7},
    {"llama-4-maverick", 252, 24, 0},
    {"llama-4-scout", 252, 48, 0},
    {"mixtral-8x22b", 604, 56, 0},
    {"mixtral-8x7b", 352, 32, 45.1},
    {"nllb-moe-54b", 67.1, 12, 0},
    {"olmoe-1b-7b", 12.6, 16, 6.44},
    {"phi-3.5-moe", 157, 32, 0},
    {"qwen1.5-moe-a2.7b", 17.3, 24, 0},
    {"qwen2-57b-a14b", 55.1, 28, 49.3},
    {"qwen3-235b-a22b", 37.7, 94, 0},
    {"qwen3-30b-a3b", 9.4, 48, 29.0},
    {"qwen3-30b-a3b-q4-k-m", 9.4, 48, 29.0},
    {"switch-base-128", 9.4, 12, 0},
    {"switch-base-16", 9.4, 12, 0},
    {"switch-base-256", 9.4, 12, 0},
    {"switch-base-32", 9.4, 12, 0},
    {"switch-base-64", 9.4, 12, 0},
    {"switch-base-8", 9.4, 12, 0},
    {"switch-large-128", 16.8, 24, 0},
};

#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

/* |a - b| within half of the last digit that b is given with. */
static bool as_printed(double a, double b)
{
    double half = b >= 150 ? 0.5 : b >= 8 ? 0.05 : 0.005;

    return a >= b - half * 1.001 && a <= b + half * 1.001;
}

static void test_shipped_models(void **state)
{
    struct err e = {.text = ""};
    size_t count = 0;
    char **names = catalogue_names(ARCH, &count, &e);

    (void)state;
    assert_non_null(names);
    assert_int_equal(count, SHAPES);
    for (size_t i = 0; i < count; i++) {
        const struct shape *s = &shapes[i];
        struct model *m = model_load(names[i], ARCH, &e);
        double weights, routed;

        if (m == NULL)
            fail_msg("%s", e.text);
        assert_string_equal(names[i], s->name);
        assert_string_equal(m->name, s->name);
        assert_int_equal(m->moe_layers, s->moe_layers);
        weights = (double)m->matrices * m->hidden * m->expert_ffn;
        routed = weights * m->experts * m->moe_layers / 1e9;
        if (!as_printed(weights * 2 / 1e6, s->expert_mb))
            fail_msg("%s: %.3f MB per expert, published %g", s->name, weights * 2 / 1e6,
                     s->expert_mb);
        if (s->routed > 0 && (routed < s->routed * 0.999 || routed > s->routed * 1.001))
            fail_msg("%s: %.2f B routed, published %g", s->name, routed, s->routed);
        model_free(m);
    }
    catalogue_free(names, count);
}

static void test_shipped_machines(void **state)
{
    static const char *const expected[] = {
        "a100-80g", "a100-monde",  "h100-80g",      "h200",
        "l40s",     "phone-flash", "rtx4090-pcie4", "v100-32g-x8",
    };
    struct err e = {.text = ""};
    size_t count = 0;
    char **names = catalogue_names(MACHINE, &count, &e);

    (void)state;
    assert_non_null(names);
    assert_int_equal(count, sizeof(expected) / sizeof(expected[0]));
    for (size_t i = 0; i < count; i++) {
        struct machine *m = machine_load(names[i], MACHINE, &e);

        if (m == NULL)
            fail_msg("%s", e.text);
        assert_string_equal(names[i], expected[i]);
        assert_string_equal(m->name, expected[i]);
        assert_true(m->gpu.expert_gemm_efficiency > 0 && m->gpu.attention_efficiency > 0);
        assert_true(m->gpu.move_efficiency > 0 && m->gpu.tiles.count > 0);
        assert_true(m->h2d_pinned.bytes_per_s >= m->h2d_pageable.bytes_per_s);
        assert_true(m->has_storage);
        machine_free(m);
    }
    catalogue_free(names, count);
}

/* Units, section by section, as the H100's file has them. */
static void test_machine_values(void **state)
{
    struct err e = {.text = ""};
    struct machine *m = machine_load("h100-80g", MACHINE, &e);

    (void)state;
    assert_non_null(m);
    assert_true(m->gpu.memory_bytes == 80000000000U);
    assert_true(m->gpu.hbm_bytes_per_s == 3.35e12);
    assert_true(m->gpu.bf16_flops == 989.4e12);
    assert_int_equal(m->gpu.kernel_floor, 3180000);
    assert_int_equal(m->gpu.tiles.count, 1);
    assert_int_equal(m->gpu.tiles.rows[0], 64);
    assert_int_equal(m->host.launch_eager, 5 * SIM_TIME_PER_US);
    assert_true(m->h2d_pinned.bytes_per_s == 55.6e9);
    assert_int_equal(m->h2d_pinned.latency, 7500000);
    assert_true(m->h2d_duplex == 0.9);
    assert_true(m->has_nvlink && m->has_network && !m->unified);
    machine_free(m);
    /* Copies inside one memory are free. */
    m = machine_load("phone-flash", MACHINE, &e);
    assert_non_null(m);
    assert_true(m->unified && !m->has_nvlink);
    assert_int_equal(m->h2d_pinned.latency, 0);
    /* What a file leaves out follows from its neighbours. */
    assert_true(m->gpu.move_efficiency == m->gpu.memory_efficiency);
    assert_true(m->gpu.attention_efficiency == m->gpu.gemm_efficiency);
    machine_free(m);
}

/* Derivations: gpt-oss-20b by hand. */
static void test_model_sizes(void **state)
{
    struct err e = {.text = ""};
    struct model *m = model_load("gpt-oss-20b", ARCH, &e);
    /* q 2880 x 4096, k and v 2880 x 512 each, o 4096 x 2880. */
    uint64_t attention = 2880ULL * 4096 * 2 + 2880ULL * 512 * 2;

    (void)state;
    assert_non_null(m);
    /* 3 * 2880 * 2880 weights * 4.25 bits / 8. */
    assert_int_equal(model_expert_bytes(m), 13219200);
    m->hidden = m->expert_ffn = 1;
    m->expert_bits = 2;
    assert_int_equal(model_expert_bytes(m), 1); /* 6 bits */
    m->expert_bits = 1;
    assert_int_equal(model_expert_bytes(m), 1); /* 3 bits: no expert is free */
    m->hidden = m->expert_ffn = 2880;
    assert_int_equal(model_attention_weights(m), attention);
    assert_true(model_kv_bytes(m) == 2 * 8 * 64 * 2.0);
    assert_int_equal(model_dense_bytes(m), 2 * (24 * (attention + 2 * 2880 + 2880 * 32) +
                                                2ULL * 201088 * 2880 + 2880));
    assert_true(model_layer_windowed(m, 0) && !model_layer_windowed(m, 1));
    assert_true(model_layer_is_moe(m, 0) && model_layer_is_moe(m, 23));
    model_free(m);

    m = model_load("deepseek-v3", ARCH, &e);
    assert_non_null(m);
    /* The latent cache: 512 + 64 values of 2 bytes, whatever the number of heads. */
    assert_true(model_kv_bytes(m) == 1152.0);
    /* 187 M of attention weights a layer, the published share of its 671 B. */
    assert_int_equal(model_attention_weights(m), 7168 * 1536 + 1536 * 128 * 192 +
                                                     7168 * 576 + 512 * 128 * 256 +
                                                     128 * 128 * 7168);
    assert_false(model_layer_is_moe(m, 2));
    assert_true(model_layer_is_moe(m, 3));
    assert_false(model_layer_windowed(m, 0));
    model_free(m);

    m = model_load("llama-4-maverick", ARCH, &e);
    assert_non_null(m);
    assert_false(model_layer_is_moe(m, 0) || model_layer_is_moe(m, 46));
    assert_true(model_layer_is_moe(m, 1) && model_layer_is_moe(m, 47));
    model_free(m);
}

/* ---- slices ---- */

/* What `parts` GPUs hold together, less what each of them holds again, is the model. */
static void check_slice(const char *name, uint32_t parts, uint64_t repeated)
{
    struct err e = {.text = ""};
    struct model *m = model_load(name, ARCH, &e);
    struct model s;
    uint64_t rounded;
    double held, expected;

    assert_non_null(m);
    if (model_slice(m, parts, &s, &e) != 0)
        fail_msg("%s", e.text);
    /* Rows of embedding and head that only fill up the last GPU's share. */
    rounded = 2ULL * (s.vocab * parts - m->vocab) * m->hidden;
    assert_true(s.vocab * parts - m->vocab < parts);
    held = (double)parts * (double)model_dense_bytes(&s);
    expected = (double)model_dense_bytes(m) +
               (double)((parts - 1) * repeated + rounded) * m->dense_bits / 8;
    /* Each slice is rounded to bytes. */
    if (held - expected > parts || expected - held > parts)
        fail_msg("%s in %u: %.0f bytes, expected %.0f", name, parts, held, expected);
    assert_int_equal(s.heads * parts, m->heads);
    assert_int_equal(s.dense_ffn * parts, m->dense_ffn);
    assert_int_equal(s.shared_ffn * parts, m->shared_ffn);
    assert_int_equal(model_expert_bytes(&s), model_expert_bytes(m));
    assert_int_equal(s.experts, m->experts);
    model_free(m);
}

static void test_slices(void **state)
{
    /* Norms: two a layer (three in a decoder of two blocks) and the last; routers. */
    uint64_t gpt = 2880 * (24 * (2 + 32) + 1);
    uint64_t nllb = 2048 * (48 * 2 + 24 + 12 * 128 + 1);
    /* A layer's latent projections: 7168 x (1536 + 576). */
    uint64_t latent = 7168 * (61 * (2 + 1536 + 576) + 58 * 256 + 1);

    (void)state;
    check_slice("gpt-oss-20b", 1, gpt);
    check_slice("gpt-oss-20b", 8, gpt);
    /* 8 key-value heads on 16 GPUs: each twice, so 8 of k and v are there again. */
    check_slice("gpt-oss-20b", 16, gpt + 24 * 2880ULL * 2 * 64 * 8 / 15);
    check_slice("nllb-moe-54b", 16, nllb);
    check_slice("deepseek-v3", 8, latent);
}

/* The cache: divided by head, down to one; the latent one whole. */
static void test_slice_cache(void **state)
{
    static const struct {
        const char *name;
        uint32_t parts;
        double share;
    } cases[] = {
        {"gpt-oss-20b", 1, 1},    {"gpt-oss-20b", 4, 4}, {"gpt-oss-20b", 8, 8},
        {"gpt-oss-20b", 64, 8},   {"deepseek-v3", 1, 1}, {"deepseek-v3", 128, 1},
        {"qwen3-30b-a3b", 32, 4},
    };
    struct err e = {.text = ""};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct model *m = model_load(cases[i].name, ARCH, &e);
        struct model s;

        assert_non_null(m);
        assert_int_equal(model_slice(m, cases[i].parts, &s, &e), 0);
        assert_true(model_kv_bytes(&s) * cases[i].share == model_kv_bytes(m));
        assert_true(s.kv_heads >= 1);
        model_free(m);
    }
}

static void refuse_slice(const struct model *m, uint32_t parts, const char *word)
{
    struct err e = {.text = ""};
    struct model s;

    assert_int_equal(model_slice(m, parts, &s, &e), -1);
    if (strstr(e.text, word) == NULL || strstr(e.text, m->name) == NULL)
        fail_msg("'%s' or the model is not in: %s", word, e.text);
}

static void test_bad_slices(void **state)
{
    char name[] = "made up";
    struct model m = {.name = name,
                      .hidden = 352,
                      .heads = 24,
                      .kv_heads = 8,
                      .head_dim = 16,
                      .dense_ffn = 48,
                      .shared_ffn = 24,
                      .expert_ffn = 30,
                      .vocab = 7};
    struct err e = {.text = ""};
    struct model s;

    (void)state;
    refuse_slice(&m, 5, "heads 24");
    refuse_slice(&m, 3, "kv_heads 8");  /* a part would need pieces of several heads */
    refuse_slice(&m, 12, "kv_heads 8"); /* 8 heads on 12 GPUs */
    m.shared_ffn = 4;
    refuse_slice(&m, 8, "shared_ffn 4");
    m.dense_ffn = 4;
    refuse_slice(&m, 8, "dense_ffn 4");
    assert_int_equal(model_slice(&m, 4, &s, &e), 0);
    assert_int_equal(s.vocab, 2);

    assert_int_equal(model_slice_experts(&m, 4, &s, &e), -1);
    assert_non_null(strstr(e.text, "expert_ffn 30"));
    assert_int_equal(model_slice_experts(&m, 5, &s, &e), 0);
    assert_int_equal(s.expert_ffn, 6);
    assert_int_equal(s.heads, 24);
    assert_int_equal(s.dense_ffn, 4);
}

/* A key that the shipped files leave out. */
static void test_expert_overhead(void **state)
{
    const char *before = "  copy_call:";
    char *text = edited(MACHINE "/h100-80g.yaml", before,
                        "  expert_overhead: {value: 117 us, source: \"a test\"}\n"
                        "  copy_call:");
    char *path = write_text(text);
    struct err e = {.text = ""};
    struct machine *with = machine_load(path, MACHINE, &e);
    struct machine *without = machine_load("h100-80g", MACHINE, &e);

    (void)state;
    if (with == NULL || without == NULL)
        fail_msg("%s", e.text);
    assert_int_equal(with->host.expert_overhead, 117 * SIM_TIME_PER_US);
    assert_int_equal(without->host.expert_overhead, 0);
    assert_int_equal(with->host.copy_call, without->host.copy_call);
    machine_free(with);
    machine_free(without);
    (void)unlink(path);
    free(path);
    free(text);
    expect_error(MACHINE "/h100-80g.yaml", before,
                 "  expert_overhead: {value: 117, source: \"a test\"}\n  copy_call:",
                 (const char *const[3]){"117"});
    expect_error(MACHINE "/h100-80g.yaml", before,
                 "  expert_overhed: {value: 117 us, source: \"a test\"}\n  copy_call:",
                 (const char *const[3]){"expert_overhed", "expert_overhead"});
}

/* ---- bad files ---- */

static void test_bad_models(void **state)
{
    static const struct {
        const char *from, *to;
        const char *const words[3];
    } cases[] = {
        {"experts: 32", "expert: 32", {"expert", "experts"}},
        {"experts: 32\n", "", {"experts", "missing"}},
        {"experts: 32", "experts: 0", {"experts", "0"}},
        {"experts: 32", "experts: 65535", {"experts", "65534"}},
        {"experts: 32", "experts: many", {"experts", "many"}},
        {"hidden: 2880", "hidden: -2880", {"hidden", "-2880"}},
        {"layers: 24", "layers: 1e9", {"layers"}},
        {"expert_bits: 4.25", "expert_bits: 0", {"expert_bits"}},
        {"expert_bits: 4.25", "expert_bits: .nan", {"expert_bits"}},
        {"top_k: 4", "top_k: 33", {"top_k", "experts"}},
        {"kv_heads: 8", "kv_heads: 7", {"heads", "multiple", "kv_heads"}},
        {"kv_heads: 8", "kv_heads: 128", {"heads", "multiple", "kv_heads"}},
        {"gate: topk_softmax", "gate: top_softmax", {"gate", "topk_softmax"}},
        {"heads: 64", "attention: mla\nheads: 64", {"mla", "kv_rank", "rope_dim"}},
        {"heads: 64", "kv_rank: 512\nheads: 64", {"kv_rank", "mla"}},
        {"hidden: 2880", "first_moe: 24\nhidden: 2880", {"first_moe", "layers"}},
        {"hidden: 2880", "first_moe: 1\nhidden: 2880", {"dense_ffn"}},
        {"hidden: 2880", "encoder_layers: 24\nhidden: 2880", {"encoder_layers"}},
        {"hidden: 2880",
         "encoder_layers: 23\nhidden: 2880",
         {"encoder_layers", "window", "both ways"}},
        {"heads: 64",
         "attention: mla\nkv_rank: 8\nrope_dim: 8\nencoder_layers: 1\nheads: 64",
         {"encoder_layers", "latent"}},
        {"name: gpt-oss-20b", "name: \"\"", {"name"}},
        {"source: \"openai/gpt-oss-20b config.json\"\n", "", {"source", "missing"}},
        {"source: \"openai/gpt-oss-20b config.json\"", "source: \"\"", {"source"}},
        {"name: gpt-oss-20b", "name: [a, b]", {"name", "list"}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect_error(ARCH "/gpt-oss-20b.yaml", cases[i].from, cases[i].to,
                     cases[i].words);
}

static void test_bad_machines(void **state)
{
    static const struct {
        const char *from, *to;
        const char *const words[3];
    } cases[] = {
        {"hbm_bandwidth:",
         "hbm_bandwith:",
         {"hbm_bandwith", "did you mean", "hbm_bandwidth"}},
        {"nvlink:", "nvlinks:", {"nvlinks", "nvlink"}},
        {"  memory: {value: 80 GB, source: \"NVIDIA H100 SXM data sheet\"}\n",
         "",
         {"memory", "missing"}},
        {"{value: 80 GB, source: \"NVIDIA H100 SXM data sheet\"}",
         "{value: 80 GB}",
         {"source", "missing"}},
        {"{value: 80 GB, source: \"NVIDIA H100 SXM data sheet\"}",
         "{value: 80 GB, source: \"\"}",
         {"source", "memory"}},
        {"{value: 80 GB, source: \"NVIDIA H100 SXM data sheet\"}", "80 GB", {"memory"}},
        {"{value: 80 GB, source: \"NVIDIA H100 SXM data sheet\"}", "[80 GB]", {"list"}},
        {"{value: 80 GB,", "{value: [80 GB],", {"value"}},
        {"value: 80 GB", "value: 80", {"'memory' has no unit", "GB"}},
        {"value: 80 GB", "value: 0 GB", {"0 GB"}},
        {"value: 80 GB", "value: -1 GB", {"-1 GB"}},
        {"value: 80 GB", "value: 80 us", {"80 us"}},
        {"value: 3.35 TB/s", "value: 3.35", {"'hbm_bandwidth' has no unit", "TB/s"}},
        {"value: 3.35 TB/s", "value: 3.35 TB", {"unknown unit", "TB/s"}},
        {"value: 3.35 TB/s", "value: 3.35 Tb/s", {"unknown unit", "TB/s"}},
        {"value: 3.35 TB/s", "value: 0 TB/s", {"hbm_bandwidth", "above zero"}},
        {"value: 3.35 TB/s", "value: -3.35 TB/s", {"hbm_bandwidth", "above zero"}},
        {"value: 3.35 TB/s", "value: nan TB/s", {"hbm_bandwidth", "not a number"}},
        {"value: 3.35 TB/s", "value: fast", {"hbm_bandwidth", "not a number"}},
        {"value: 3.35 TB/s", "value: [1, 2]", {"hbm_bandwidth", "GB/s"}},
        {"value: 989.4 TFLOP/s", "value: 989.4 TB/s", {"unknown unit", "TFLOP/s"}},
        {"value: 0.785", "value: 1.01", {"1.01"}},
        {"value: 0.785", "value: 0", {"value"}},
        {"value: 64", "value: 0", {"17:22: 'tile_rows' is 0", "from 1 to 65536"}},
        {"value: 64", "value: []", {"17:22", "'tile_rows' lists 0 tiles"}},
        {"value: 64",
         "value: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]",
         {"'tile_rows' lists 17 tiles", "1 to 16"}},
        {"value: 64", "value: [8, 16, many]", {"17:30", "'tile_rows' is many"}},
        {"value: 64", "value: [[8], 16]", {"'tile_rows'", "list"}},
        {"value: 64", "value: [8, 8]", {"17:26", "ascending order: 8 comes after 8"}},
        {"value: 64", "value: [8, 20]", {"17:26", "a tile of 20, not a multiple of 8"}},
        {"value: 3.18 us", "value: 3.18", {"3.18"}},
        {"value: 3.18 us", "value: -1 us", {"-1 us"}},
        {"error: 0.117", "error: -1", {"error"}},
        {"gpus: 8", "gpus: 0", {"gpus"}},
        {"name: h100-80g", "name: \"\"", {"name or source of the machine is empty"}},
        {"h2d_pinned:", "h2d_pined:", {"h2d_pined", "h2d_pinned"}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect_error(MACHINE "/h100-80g.yaml", cases[i].from, cases[i].to,
                     cases[i].words);
    /* Several nodes talk through a network; separate memories through a link. */
    expect_error(MACHINE "/l40s.yaml", "nodes: 1", "nodes: 2",
                 (const char *const[3]){"network", "nodes"});
    expect_error(MACHINE "/phone-flash.yaml", "unified: yes", "unified: no",
                 (const char *const[3]){"h2d_pinned", "missing"});
}

/* Files fitted to tables of vLLM's keep the one tile of the fit; a consumer's GPU and a
 * processor have a product with a vector. */
static void test_tiles(void **state)
{
    static const char *const fitted[] = {"a100-80g", "h100-80g", "h200", "l40s",
                                         "v100-32g-x8"};
    static const char *const small[] = {"rtx4090-pcie4", "phone-flash"};
    char *text = edited(MACHINE "/l40s.yaml", "value: 64", "value: [8, 16, 48]");
    char *path = write_text(text);
    struct err e = {.text = ""};
    struct machine *m = machine_load(path, MACHINE, &e);

    (void)state;
    assert_non_null(m);
    assert_int_equal(m->gpu.tiles.count, 3);
    assert_int_equal(m->gpu.tiles.rows[0], 8);
    assert_int_equal(m->gpu.tiles.rows[1], 16);
    assert_int_equal(m->gpu.tiles.rows[2], 48);
    machine_free(m);
    (void)unlink(path);
    free(path);
    free(text);
    for (size_t i = 0; i < sizeof fitted / sizeof fitted[0]; i++) {
        m = machine_load(fitted[i], MACHINE, &e);
        assert_non_null(m);
        assert_int_equal(m->gpu.tiles.count, 1);
        assert_int_equal(m->gpu.tiles.rows[0], 64);
        machine_free(m);
    }
    for (size_t i = 0; i < sizeof small / sizeof small[0]; i++) {
        m = machine_load(small[i], MACHINE, &e);
        assert_non_null(m);
        assert_int_equal(m->gpu.tiles.rows[0], 1);
        machine_free(m);
    }
}

static void test_names(void **state)
{
    struct err e = {.text = ""};
    size_t count;

    (void)state;
    assert_null(model_load("no-such-model", ARCH, &e));
    assert_non_null(strstr(e.text, "no-such-model"));
    assert_non_null(strstr(e.text, "one of dbrx, deepseek-v2, ")); /* which there are */
    e.text[0] = '\0';
    assert_null(machine_load("rtx4090", MACHINE, &e));
    assert_string_equal(e.text, "there is no machine 'rtx4090'; did you mean "
                                "'rtx4090-pcie4'?");
    e.text[0] = '\0';
    assert_null(machine_load("H20", MACHINE, &e));
    assert_non_null(strstr(e.text, "did you mean 'h200'?"));
    e.text[0] = '\0';
    assert_null(machine_load("./no/such/file.yaml", MACHINE, &e));
    assert_non_null(strstr(e.text, "./no/such/file.yaml"));
    e.text[0] = '\0';
    assert_null(catalogue_names("no/such/folder", &count, &e));
    assert_non_null(strstr(e.text, "no/such/folder"));
    model_free(NULL);
    machine_free(NULL);
    catalogue_free(NULL, 0);
}

/* What is on the host as a whole is in no size: layer by layer, down to embedding and
 * head. */
static void test_hosted_layers(void **state)
{
    static const char *const names[] = {"deepseek-v3", "gpt-oss-20b", "mixtral-8x7b"};
    struct err e = {.text = ""};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct model *m = model_load(names[i], ARCH, &e);
        uint64_t all, ends, sum = 0;
        double embeddings;

        assert_non_null(m);
        all = model_dense_bytes(m);
        embeddings = (2.0 * m->vocab * m->hidden + m->hidden) * m->dense_bits / 8.0;
        m->hosted = m->layers;
        ends = model_dense_bytes(m);
        assert_true(fabs((double)ends - embeddings) <= 1);
        assert_int_equal(model_kv_layers(m), 0);
        m->hosted = 1;
        for (m->hosted_from = 0; m->hosted_from < m->layers; m->hosted_from++) {
            assert_true(model_layer_hosted(m, m->hosted_from));
            assert_false(model_layer_hosted(m, m->hosted_from + 1));
            sum += all - model_dense_bytes(m);
        }
        assert_true(sum + ends + m->layers >= all && sum + ends <= all + m->layers);
        model_free(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shipped_models), cmocka_unit_test(test_shipped_machines),
        cmocka_unit_test(test_hosted_layers),  cmocka_unit_test(test_machine_values),
        cmocka_unit_test(test_model_sizes),    cmocka_unit_test(test_bad_models),
        cmocka_unit_test(test_bad_machines),   cmocka_unit_test(test_names),
        cmocka_unit_test(test_slices),         cmocka_unit_test(test_slice_cache),
        cmocka_unit_test(test_bad_slices),     cmocka_unit_test(test_expert_overhead),
        cmocka_unit_test(test_tiles),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

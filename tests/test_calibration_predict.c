/* What a machine is said to take for a point of each table, by hand, and the machine file
 * of a calibration, word by word. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cost_help.h"
#include "made_result.h"
#include "trace_maker.h"

#include "models/calibration.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POINT(...) (&(const struct samples_point){.value = {__VA_ARGS__}})
#define MS (1000 * SIM_TIME_PER_US)

static void takes(const struct machine *m, unsigned bits, enum calibration_table table,
                  const struct samples_point *p, double seconds)
{
    double predicted = calibration_predict(m, bits, table, p);

    if (!(fabs(predicted - seconds) <= 1e-11 + 1e-9 * seconds))
        fail_msg("table %d: %.12g is not %.12g", (int)table, predicted, seconds);
}

/* Latencies of 1, 2, 3 and 4 ms, and 1 to 4 MB/ms. */
static struct machine copying(void)
{
    struct machine m = ideal();

    m.h2d_pinned = (struct machine_copy){1 * MS, 1e9};
    m.d2h_pinned = (struct machine_copy){2 * MS, 2e9};
    m.h2d_pageable = (struct machine_copy){3 * MS, 3e9};
    m.d2h_pageable = (struct machine_copy){4 * MS, 4e9};
    m.h2d_duplex = 0.5;
    m.d2h_duplex = 0.25;
    m.host.launch_eager = 3 * MS;
    m.host.launch_graph = 5 * MS;
    m.host.graph_launch = 7 * MS;
    m.host.copy_call = 11 * MS;
    m.host.round_trip = 13 * MS;
    return m;
}

static void copies(void **state)
{
    struct machine m = copying();

    (void)state;
    for (uint64_t kind = 0; kind < COPY_KINDS; kind++)
        takes(&m, 16, CALIBRATE_COPY, POINT(kind, 12000000),
              (double)(kind + 1) * 1e-3 + 12e-3 / (double)(kind + 1));
    takes(&m, 16, CALIBRATE_DUPLEX, POINT(COPY_H2D_PINNED, 12000000), 1e-3 + 24e-3);
    takes(&m, 16, CALIBRATE_DUPLEX, POINT(COPY_D2H_PINNED, 12000000), 2e-3 + 24e-3);
    /* Of 12 MB in chunks of 5 there are three, the last of 2; of 10 two of 5. */
    takes(&m, 16, CALIBRATE_CHUNKS, POINT(COPY_H2D_PINNED, 12000000, 5000000),
          3e-3 + 12e-3);
    takes(&m, 16, CALIBRATE_CHUNKS, POINT(COPY_D2H_PINNED, 10000000, 5000000),
          4e-3 + 5e-3);
    takes(&m, 16, CALIBRATE_CHUNKS, POINT(COPY_H2D_PINNED, 4000000, 5000000),
          1e-3 + 4e-3);
}

static void launches(void **state)
{
    struct machine m = copying();

    (void)state;
    takes(&m, 16, CALIBRATE_LAUNCH, POINT(LAUNCH_EAGER, 6), 18e-3);
    takes(&m, 16, CALIBRATE_LAUNCH, POINT(LAUNCH_NODE, 6), 30e-3);
    takes(&m, 16, CALIBRATE_LAUNCH, POINT(LAUNCH_GRAPH, 6), 7e-3);
    takes(&m, 16, CALIBRATE_LAUNCH, POINT(LAUNCH_COPY, 6), 66e-3);
    takes(&m, 16, CALIBRATE_LAUNCH, POINT(LAUNCH_ROUND_TRIP, 6), 13e-3);
}

/* Values of 2 or 4 bytes at 1e11 bytes/s: each read and written; in a scatter one sum of
 * 4 rows more; three for adding and for SiLU times the other half. */
static void moves(void **state)
{
    static const double factor[MOVE_KINDS] = {[MOVE_GATHER] = 2.0,
                                              [MOVE_SCATTER] = 1.25,
                                              [MOVE_NORM] = 2.0,
                                              [MOVE_ADD] = 3.0,
                                              [MOVE_GATED] = 3.0};
    struct machine m = ideal();

    (void)state;
    for (uint64_t kind = 0; kind < MOVE_KINDS; kind++) {
        takes(&m, 16, CALIBRATE_MOVE, POINT(kind, 4000, 1000),
              factor[kind] * 4e6 * 2 / 1e11);
        takes(&m, 32, CALIBRATE_MOVE, POINT(kind, 4000, 1000),
              factor[kind] * 4e6 * 4 / 1e11);
    }
}

/* 2 x 4096 x 1000 x 2000 flops at 1e12, or 0.25e12 of fp32; the weights alone where there
 * is one row. */
static void products(void **state)
{
    struct machine m = ideal();

    (void)state;
    takes(&m, 16, CALIBRATE_GEMM, POINT(4096, 1000, 2000), 2.0 * 4096 * 2e6 / 1e12);
    takes(&m, 32, CALIBRATE_GEMM, POINT(4096, 1000, 2000), 2.0 * 4096 * 2e6 / 0.25e12);
    takes(&m, 16, CALIBRATE_GEMM, POINT(1, 1000, 2000), (2e6 * 2 + 3000.0 * 2) / 1e11);
}

/* The same as the cost functions say of a batch: 3 requests of 5 rows at the end of 90
 * tokens see 90 + ... + 86 tokens each. */
static void attention(void **state)
{
    struct machine m = ideal();
    struct model gqa = {.activation_bits = 16,
                        .dense_bits = 16,
                        .expert_bits = 16,
                        .heads = 8,
                        .kv_heads = 2,
                        .head_dim = 64};
    struct model mla = {.activation_bits = 16,
                        .dense_bits = 16,
                        .expert_bits = 16,
                        .attention = MODEL_ATTENTION_MLA,
                        .heads = 16,
                        .kv_heads = 1,
                        .head_dim = 512,
                        .kv_rank = 512,
                        .rope_dim = 64};
    const struct cost_batch b = {
        .tokens = 15, .kv_tokens = 270, .pairs = 3 * (90 + 89 + 88 + 87 + 86)};
    struct cost c = {.model = &gqa, .machine = &m};

    (void)state;
    takes(&m, 16, CALIBRATE_ATTENTION, POINT(8, 2, 64, 64, 3, 90, 5),
          sim_time_seconds(cost_attention(&c, &b)));
    c.model = &mla;
    takes(&m, 16, CALIBRATE_ATTENTION, POINT(16, 1, 576, 512, 3, 90, 5),
          sim_time_seconds(cost_attention(&c, &b)));
}

/* Four experts, of 9 rows and three times 2; on the host in fp32, whatever the device
 * has.
 */
static void expert_groups(void **state)
{
    struct machine m = ideal();
    struct model model = {.activation_bits = 16,
                          .dense_bits = 16,
                          .expert_bits = 16,
                          .hidden = 100,
                          .expert_ffn = 60,
                          .matrices = 3,
                          .top_k = 2};
    struct cost c = {.model = &model, .machine = &m};
    struct cost_experts group = {.distinct = 0}, host = {.distinct = 0};

    (void)state;
    for (int i = 0; i < 4; i++) {
        cost_experts_add(&group, i == 0 ? 9 : 2, &m.gpu.tiles);
        cost_experts_add(&host, i == 0 ? 9 : 2, &rows_1);
    }
    takes(&m, 16, CALIBRATE_EXPERTS, POINT(100, 60, 3, 2, 4, 2, 9),
          sim_time_seconds(cost_expert_group(&c, &group)));
    model.expert_bits = 32;
    takes(&m, 16, CALIBRATE_CPU, POINT(100, 60, 3, 2, 4, 2, 9),
          sim_time_seconds(cost_host_experts(&c, &host)));
}

/* ---- the machine file ---- */

static struct calibration made(void)
{
    static char device[] = "A \"GPU\"\\\n1", kind[] = "cuda", date[] = "2026-01-02";
    struct calibration c = {.device = {.device = device, .kind = kind, .date = date},
                            .numbers = 6};

    c.table[CALIBRATE_GEMM].schema = &samples_gemm;
    c.table[CALIBRATE_COPY].schema = &samples_copy;
    c.held[CALIBRATE_GEMM].mean_abs = 0.0123456;
    c.held[CALIBRATE_COPY].mean_abs = NAN;
    c.number[0] = (struct calibration_number){.section = "gpu",
                                              .name = "memory",
                                              .value = 80e9,
                                              .unit = " GB",
                                              .scale = 1e9,
                                              .from = CALIBRATION_TABLES,
                                              .standard_error = INFINITY,
                                              .how = "what the device says"};
    c.number[1] = (struct calibration_number){.section = "gpu",
                                              .name = "gemm_efficiency",
                                              .value = 0.785,
                                              .unit = "",
                                              .scale = 1.0,
                                              .from = CALIBRATE_GEMM,
                                              .standard_error = 0.0234,
                                              .how = "fit"};
    c.number[2] = (struct calibration_number){.section = "gpu",
                                              .name = "tile_rows",
                                              .tiles = {3, {8, 16, 128}},
                                              .from = CALIBRATE_GEMM,
                                              .standard_error = INFINITY,
                                              .how = "fit"};
    c.number[3] = (struct calibration_number){.section = "host",
                                              .name = "flops",
                                              .value = 1.5e12,
                                              .unit = " GFLOP/s",
                                              .scale = 1e9,
                                              .from = CALIBRATE_COPY,
                                              .standard_error = INFINITY,
                                              .how = "the highest rate"};
    c.number[4] = (struct calibration_number){.section = "h2d_pinned.1",
                                              .name = "latency",
                                              .value = 12.5e-6,
                                              .unit = " us",
                                              .scale = 1e-6,
                                              .from = CALIBRATION_TABLES,
                                              .standard_error = INFINITY,
                                              .how = "estimate: as others"};
    c.number[5] = (struct calibration_number){.section = "h2d_pinned.2",
                                              .name = "bandwidth",
                                              .value = 2e9,
                                              .unit = " GB/s",
                                              .scale = 1e9,
                                              .from = CALIBRATION_TABLES,
                                              .standard_error = INFINITY,
                                              .how = "estimate: as others"};
    return c;
}

static void the_file_is_written(void **state)
{
    static const char wanted[] =
        "source: \"A  GPU   1 as moesim's cuda device, measured and fitted by moesim "
        "calibrate, 2026-01-02; each error is the mean over the fifth of its table that "
        "was held out\"\n"
        "gpus: 1\n"
        "nodes: 1\n"
        "unified: no\n"
        "gpu:\n"
        "  name: \"A  GPU   1\"\n"
        "  memory: {value: 80 GB, source: \"measured on A  GPU   1, 2026-01-02, moesim "
        "calibrate: what the device says\"}\n"
        "  gemm_efficiency: {value: 0.785, source: \"measured on A  GPU   1, 2026-01-02, "
        "moesim calibrate: fit, gemm.csv (standard error 2.3 %)\", error: 0.0123}\n"
        "  tile_rows: {value: [8, 16, 128], source: \"measured on A  GPU   1, "
        "2026-01-02, moesim calibrate: fit, gemm.csv (not determined)\", error: 0.0123}\n"
        "host:\n"
        "  flops: {value: 1500 GFLOP/s, source: \"measured on A  GPU   1, 2026-01-02, "
        "moesim calibrate: the highest rate, copy.csv\"}\n"
        "h2d_pinned:\n"
        "  latency: {value: 12.5 us, source: \"estimate: as others\"}\n"
        "  bandwidth: {value: 2 GB/s, source: \"estimate: as others\"}\n";
    struct calibration c = made();
    char *path = trace_make_path("written.yaml"), *text, *line;
    struct err e = {.text = ""}, nowhere = {.text = ""}, shorter = {.text = ""};
    size_t size, name;

    (void)state;
    assert_int_equal(calibration_write(&c, path, &e), 0);
    text = made_read(path, &size);
    line = strchr(text, '\n');
    name = strlen(strrchr(path, '/') + 1) - strlen(".yaml");
    assert_int_equal(strncmp(text, "name: \"", 7), 0);
    assert_int_equal(strncmp(text + 7, strrchr(path, '/') + 1, name), 0);
    assert_int_equal(line - text, 7 + name + 1);
    assert_string_equal(line + 1, wanted);
    free(text);
    (void)unlink(path);
    free(path);
    assert_int_equal(calibration_write(&c, "/nowhere/x.yaml", &nowhere), -1);
    assert_non_null(strstr(nowhere.text, "/nowhere/x.yaml"));
    assert_int_equal(calibration_write(&c, "/tmp/.yaml", &shorter), -1);
    assert_string_equal(shorter.text, "/tmp/.yaml: a machine file's name ends in .yaml");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies),
        cmocka_unit_test(launches),
        cmocka_unit_test(moves),
        cmocka_unit_test(products),
        cmocka_unit_test(attention),
        cmocka_unit_test(expert_groups),
        cmocka_unit_test(the_file_is_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Calibration: tables made from a known machine give its numbers back, the file written
 * loads as that machine, and damaged tables are refused with file and line. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "models/calibration.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "sim/base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SAMPLES = 5 };

struct lab {
    char folder[64];
    const struct machine *machine;
    unsigned bits;
    double noise;
    FILE *f;
    const struct samples_schema *schema;
    enum calibration_table table;
    unsigned shapes;
};

/* A processor core in fp32, and a GPU in bf16: flops and bandwidths are what is reached.
 */
static const struct machine core = {
    .gpu = {.hbm_bytes_per_s = 11.7e9,
            .bf16_flops = 61.3e9,
            .fp32_flops = 61.3e9,
            .gemm_efficiency = 0.913,
            .expert_gemm_efficiency = 0.841,
            .attention_efficiency = 0.327,
            .memory_efficiency = 0.872,
            .move_efficiency = 0.613,
            .rows = {0.83, 11.3, 2.71},
            .tiles = {1, {1}},
            .kernel_floor = 1371000,
            .expert_floor = 3130000,
            .attention_floor = 5170000},
    .host = {.dram_bytes_per_s = 8.31e9,
             .flops = 37.3e9,
             .rows = {0.71, 9.7, 2.43},
             .launch_eager = 113000,
             .launch_graph = 217000,
             .graph_launch = 7310000,
             .round_trip = 23700000,
             .copy_call = 131000},
    .h2d_pinned = {3190000, 5.13e9},
    .d2h_pinned = {2870000, 4.77e9},
    .h2d_pageable = {3410000, 4.93e9},
    .d2h_pageable = {3730000, 4.61e9},
    .h2d_duplex = 0.917,
    .d2h_duplex = 0.873,
};

static const struct machine chip = {
    .gpu = {.hbm_bytes_per_s = 3.35e12,
            .bf16_flops = 989e12,
            .fp32_flops = 67e12,
            .gemm_efficiency = 0.731,
            .expert_gemm_efficiency = 0.583,
            .attention_efficiency = 0.517,
            .memory_efficiency = 0.853,
            .move_efficiency = 0.371,
            .tiles = {1, {64}},
            .kernel_floor = 3170000,
            .expert_floor = 17900000,
            .attention_floor = 9700000},
    .host = {.dram_bytes_per_s = 187e9,
             .flops = 3.1e12,
             .launch_eager = 4710000,
             .launch_graph = 1130000,
             .graph_launch = 9730000,
             .round_trip = 12900000,
             .copy_call = 5310000},
    .h2d_pinned = {7310000, 55.3e9},
    .d2h_pinned = {7730000, 57.1e9},
    .h2d_pageable = {9710000, 12.7e9},
    .d2h_pageable = {9130000, 10.3e9},
    .h2d_duplex = 0.893,
    .d2h_duplex = 0.877,
};

/* ---- making tables ---- */

/* Standard normal, by Box and Muller. */
static double normal(struct rng *r)
{
    double u = rng_unit(r), v = rng_unit(r);

    return sqrt(-2.0 * log(1.0 - u)) * cos(6.283185307179586 * v);
}

static FILE *begin(struct lab *l, const char *name)
{
    char *path = mem_format("%s/%s.csv", l->folder, name);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    free(path);
    return f;
}

/* One shape: the cost functions' time, each sample with its own noise and the shape with
 * one that all share, which is what an imperfect model looks like. */
static void shape(struct lab *l, const uint64_t *value, size_t values)
{
    struct rng r = rng_stream(7, l->schema->name, l->shapes++);
    struct samples_point point = {.line = 0};
    double seconds;

    memcpy(point.value, value, values * sizeof *value);
    seconds = calibration_predict(l->machine, l->bits, l->table, &point) *
              exp(l->noise * normal(&r));
    for (int i = 0; i < SAMPLES; i++) {
        for (size_t k = 0; k < values; k++) {
            const struct samples_column *c = &l->schema->column[k];

            if (c->words != NULL)
                (void)fprintf(l->f, "%s,", c->words[value[k]]);
            else
                (void)fprintf(l->f, "%llu,", (unsigned long long)value[k]);
        }
        (void)fprintf(l->f, "%d,%.9g\n", i, seconds * exp(l->noise * normal(&r)));
    }
}

#define SHAPE(l, ...)                                                                    \
    shape((l), (const uint64_t[]){__VA_ARGS__},                                          \
          sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static void copies(struct lab *l)
{
    const uint64_t kinds = l->table == CALIBRATE_COPY ? COPY_KINDS : 2;

    for (uint64_t kind = 0; kind < kinds; kind++)
        for (uint64_t bytes = 4096; bytes <= 64 << 20; bytes *= 4) {
            if (l->table == CALIBRATE_CHUNKS)
                SHAPE(l, kind, bytes, 1 + bytes / 7);
            else
                SHAPE(l, kind, bytes);
        }
}

static void experts(struct lab *l)
{
    static const uint64_t sizes[][4] = {
        {512, 256, 3, 4}, {1024, 2048, 2, 1}, {2048, 1408, 3, 6}};
    static const uint64_t rows[] = {1, 2, 5, 11, 40, 150, 300, 700};

    for (size_t i = 0; i < 3; i++)
        for (uint64_t distinct = 1; distinct <= 16; distinct *= 4)
            for (size_t k = 0; k < 8; k++)
                SHAPE(l, sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][3], distinct,
                      rows[k], (k % 3 + 1) * rows[k]);
}

static void attention(struct lab *l)
{
    for (uint64_t context = 64; context <= 16384; context *= 4) {
        for (uint64_t requests = 1; requests <= 64; requests *= 8) {
            SHAPE(l, 32, 8, 128, 128, requests, context, 1);
            SHAPE(l, 16, 1, 576, 512, requests, context, 1);
        }
        SHAPE(l, 32, 8, 128, 128, 1, context, context);
    }
}

static void kernels(struct lab *l)
{
    for (uint64_t rows = 1; rows <= 2048; rows *= 2) {
        if (l->table == CALIBRATE_GEMM) {
            SHAPE(l, rows, 512, 64);
            SHAPE(l, rows, 768, 3072);
            SHAPE(l, rows, 4096, 2880);
        } else {
            for (uint64_t kind = 0; kind < MOVE_KINDS; kind++)
                SHAPE(l, kind, 4 * rows, 2048);
        }
    }
}

static void write_table(struct lab *l, enum calibration_table table)
{
    l->table = table;
    l->schema = calibration_schemas[table];
    l->shapes = 0;
    l->f = begin(l, l->schema->name);
    (void)fprintf(l->f, "# made up\n");
    for (size_t k = 0; l->schema->column[k].name != NULL; k++)
        (void)fprintf(l->f, "%s,", l->schema->column[k].name);
    (void)fprintf(l->f, "sample,seconds\n");
    switch (table) {
    case CALIBRATE_LAUNCH:
        for (uint64_t kind = 0; kind < LAUNCH_KINDS; kind++)
            for (uint64_t count = 32; count <= 2048; count *= 2)
                SHAPE(l, kind, count);
        break;
    case CALIBRATE_MOVE:
    case CALIBRATE_GEMM:
        kernels(l);
        break;
    case CALIBRATE_ATTENTION:
        attention(l);
        break;
    case CALIBRATE_EXPERTS:
    case CALIBRATE_CPU:
        experts(l);
        break;
    default:
        copies(l);
        break;
    }
    assert_int_equal(fclose(l->f), 0);
}

static void write_tables(struct lab *l, const struct machine *m, unsigned bits,
                         double noise)
{
    FILE *f = begin(l, "device");

    (void)fprintf(f,
                  "name,value\ndevice,A \"made up\" chip, 1 GHz\nkind,host\n"
                  "date,2024-02-29\nelement_bits,%u\nlocal_bytes,12000000000\n"
                  "host_bytes,34000000000\nprocessors,2\n",
                  bits);
    assert_int_equal(fclose(f), 0);
    l->machine = m;
    l->bits = bits;
    l->noise = noise;
    for (int t = 0; t < CALIBRATION_TABLES; t++)
        write_table(l, (enum calibration_table)t);
}

static int lab_setup(void **state)
{
    struct lab *l = mem_zalloc(1, sizeof *l);

    (void)snprintf(l->folder, sizeof l->folder, "/tmp/moesim-calibration-XXXXXX");
    if (mkdtemp(l->folder) == NULL)
        return -1;
    *state = l;
    return 0;
}

static int lab_teardown(void **state)
{
    struct lab *l = *state;
    char *command = mem_format("rm -rf %s", l->folder);
    int status = system(command);

    free(command);
    free(l);
    return status;
}

/* ---- a known machine comes back ---- */

static const struct calibration_number *number(const struct calibration *c,
                                               const char *key)
{
    for (size_t i = 0; i < c->numbers; i++)
        if (strcmp(c->number[i].section, key) == 0)
            return &c->number[i];
    fail_msg("%s is missing", key);
    return NULL;
}

static double value(const struct calibration *c, const char *key)
{
    return number(c, key)->value;
}

static void near(const char *what, double got, double want, double relative)
{
    if (!(fabs(got - want) <= relative * fabs(want)))
        fail_msg("%s: %.6g is not within %g of %.6g", what, got, relative, want);
}

/* `key` alone, or times `peak` where it is a share; within four standard errors, which
 * are themselves below 10 %. */
static void check(const struct calibration *c, const char *key, const char *peak,
                  double want)
{
    const struct calibration_number *n = number(c, key);

    if (!(n->standard_error > 0.0 && n->standard_error < 0.1))
        fail_msg("%s: standard error %g", key, n->standard_error);
    near(key, n->value * (peak == NULL ? 1.0 : value(c, peak)), want,
         4.0 * n->standard_error);
}

static void check_tiles(const struct calibration_number *n,
                        const struct machine_tiles *want)
{
    assert_int_equal(n->value, want->rows[0]);
    assert_int_equal(n->tiles.count, want->count > 1 ? want->count : 0);
    for (uint32_t i = 0; i < n->tiles.count; i++)
        assert_int_equal(n->tiles.rows[i], want->rows[i]);
}

static void check_machine(const struct calibration *c, const struct machine *m,
                          const char *peak_key, double peak)
{
    static const char bytes[] = "gpu.hbm_bandwidth";
    const struct machine_gpu *g = &m->gpu;
    const struct machine_host *h = &m->host;

    check(c, "gpu.gemm_efficiency", peak_key, g->gemm_efficiency * peak);
    check(c, "gpu.expert_gemm_efficiency", peak_key, g->expert_gemm_efficiency * peak);
    check(c, "gpu.attention_efficiency", peak_key, g->attention_efficiency * peak);
    check(c, "gpu.memory_efficiency", bytes, g->memory_efficiency * g->hbm_bytes_per_s);
    check(c, "gpu.move_efficiency", bytes, g->move_efficiency * g->hbm_bytes_per_s);
    check(c, "gpu.kernel_floor", NULL, sim_time_seconds(g->kernel_floor));
    check_tiles(number(c, "gpu.tile_rows"), &g->tiles);
    check(c, "host.flops", NULL, h->flops);
    check(c, "host.dram_bandwidth", NULL, h->dram_bytes_per_s);
    check(c, "host.launch_eager", NULL, sim_time_seconds(h->launch_eager));
    check(c, "host.launch_graph", NULL, sim_time_seconds(h->launch_graph));
    check(c, "host.graph_launch", NULL, sim_time_seconds(h->graph_launch));
    check(c, "host.round_trip", NULL, sim_time_seconds(h->round_trip));
    check(c, "host.copy_call", NULL, sim_time_seconds(h->copy_call));
    check(c, "h2d_pinned.latency", NULL, sim_time_seconds(m->h2d_pinned.latency));
    check(c, "h2d_pinned.bandwidth", NULL, m->h2d_pinned.bytes_per_s);
    check(c, "d2h_pinned.bandwidth", NULL, m->d2h_pinned.bytes_per_s);
    check(c, "h2d_pageable.bandwidth", NULL, m->h2d_pageable.bytes_per_s);
    check(c, "d2h_pageable.latency", NULL, sim_time_seconds(m->d2h_pageable.latency));
    check(c, "duplex.h2d", NULL, m->h2d_duplex);
    check(c, "duplex.d2h", NULL, m->d2h_duplex);
}

/* With 1 % of noise on each shape, held-out errors are about that. */
static void check_errors(const struct calibration *c)
{
    for (int t = 0; t < CALIBRATION_TABLES; t++) {
        const size_t points = c->table[t].points;

        assert_int_equal(points - c->trained[t], points / 5);
        assert_true(c->held[t].mean_abs > 0.001 && c->held[t].mean_abs < 0.03);
        assert_true(c->train[t].mean_abs > 0.001 && c->train[t].mean_abs < 0.02);
    }
}

static void a_core_comes_back(void **state)
{
    struct lab *l = *state;
    struct calibration c;
    struct err e = {.text = ""};

    write_tables(l, &core, 32, 0.01);
    if (calibration_fit(l->folder, &c, &e) != 0)
        fail_msg("%s", e.text);
    check_machine(&c, &core, "gpu.fp32_flops", core.gpu.fp32_flops);
    check(&c, "gpu.exposed", NULL, core.gpu.rows.exposed);
    check(&c, "gpu.fill_rows", NULL, core.gpu.rows.fill);
    check(&c, "gpu.few_rows", NULL, core.gpu.rows.few);
    check(&c, "host.exposed", NULL, core.host.rows.exposed);
    check(&c, "host.fill_rows", NULL, core.host.rows.fill);
    check(&c, "host.few_rows", NULL, core.host.rows.few);
    check_errors(&c);
    calibration_release(&c);
}

static void a_chip_comes_back(void **state)
{
    struct lab *l = *state;
    struct calibration c;
    struct err e = {.text = ""};

    write_tables(l, &chip, 16, 0.01);
    if (calibration_fit(l->folder, &c, &e) != 0)
        fail_msg("%s", e.text);
    check_machine(&c, &chip, "gpu.bf16_flops", chip.gpu.bf16_flops);
    check(&c, "gpu.expert_floor", NULL, sim_time_seconds(chip.gpu.expert_floor));
    check(&c, "gpu.attention_floor", NULL, sim_time_seconds(chip.gpu.attention_floor));
    check_errors(&c);
    calibration_release(&c);
}

/* Where few rows take as long as computing them, which tiles there are shows. */
static void tiles_come_back(void **state)
{
    struct lab *l = *state;
    char *path = mem_format("%s/mine.yaml", l->folder);
    struct machine weak = chip;
    struct calibration c;
    struct err e = {.text = ""};
    struct machine *m;

    weak.gpu.bf16_flops = 17e12;
    weak.gpu.tiles = (struct machine_tiles){6, {1, 2, 4, 8, 16, 32}};
    write_tables(l, &weak, 16, 0.01);
    assert_int_equal(calibration_fit(l->folder, &c, &e), 0);
    check_tiles(number(&c, "gpu.tile_rows"), &weak.gpu.tiles);
    check_errors(&c);
    assert_int_equal(calibration_write(&c, path, &e), 0);
    m = machine_load(path, l->folder, &e);
    if (m == NULL)
        fail_msg("%s", e.text);
    assert_memory_equal(&m->gpu.tiles, &weak.gpu.tiles, sizeof m->gpu.tiles);
    machine_free(m);
    free(path);
    calibration_release(&c);
}

/* The file says what was fitted, and where from. */
static void the_file_loads(void **state)
{
    struct lab *l = *state;
    char *path = mem_format("%s/mine.yaml", l->folder);
    struct calibration c;
    struct err e = {.text = ""};
    struct machine *m;
    char *text;

    write_tables(l, &core, 32, 0.02);
    assert_int_equal(calibration_fit(l->folder, &c, &e), 0);
    assert_int_equal(calibration_write(&c, path, &e), 0);
    m = machine_load(path, l->folder, &e);
    if (m == NULL)
        fail_msg("%s", e.text);
    assert_string_equal(m->name, "mine");
    assert_string_equal(m->gpu.name, "A  made up  chip, 1 GHz");
    assert_int_equal(m->gpu.memory_bytes, 12000000000);
    for (int t = 0; t < CALIBRATION_TABLES; t++)
        for (size_t i = 0; i < c.table[t].points; i++)
            near(calibration_schemas[t]->name,
                 calibration_predict(m, 32, (enum calibration_table)t,
                                     &c.table[t].point[i]),
                 c.predicted[t][i], 1e-3);
    text = file_read(path, 1 << 20, &(size_t){0}, &e);
    assert_non_null(strstr(text,
                           "measured on A  made up  chip, 1 GHz, 2024-02-29, moesim "
                           "calibrate: fit, gemm.csv (standard error "));
    free(text);
    machine_free(m);
    free(path);
    assert_int_equal(calibration_write(&c, "mine.txt", &e), -1);
    assert_non_null(strstr(e.text, "mine.txt: a machine file's name ends in .yaml"));
    calibration_release(&c);
}

/* Points held out matter to nothing but the errors: whatever they say, the fit is the
 * same. */
static void held_out_points_are_not_fitted(void **state)
{
    struct lab *l = *state;
    struct calibration before, after;
    struct err e = {.text = ""};
    FILE *f;
    unsigned points = 0;

    write_tables(l, &core, 32, 0.01);
    assert_int_equal(calibration_fit(l->folder, &before, &e), 0);
    f = begin(l, "gemm");
    (void)fprintf(f, "seconds,out,in,rows\n");
    for (size_t i = 0; i < before.table[CALIBRATE_GEMM].points; i++) {
        const struct samples_point *p = &before.table[CALIBRATE_GEMM].point[i];

        points += p->held;
        (void)fprintf(f, "%.17g,%llu,%llu,%llu\n", p->seconds * (p->held ? 3.0 : 1.0),
                      (unsigned long long)p->value[2], (unsigned long long)p->value[1],
                      (unsigned long long)p->value[0]);
    }
    assert_int_equal(fclose(f), 0);
    assert_int_equal(points, before.table[CALIBRATE_GEMM].points / 5);
    assert_int_equal(calibration_fit(l->folder, &after, &e), 0);
    near("gemm", value(&after, "gpu.gemm_efficiency") * value(&after, "gpu.fp32_flops"),
         value(&before, "gpu.gemm_efficiency") * value(&before, "gpu.fp32_flops"), 1e-9);
    assert_true(after.train[CALIBRATE_GEMM].mean_abs < 0.02);
    near("held out", after.held[CALIBRATE_GEMM].mean_abs, 2.0 / 3.0, 0.05);
    calibration_release(&before);
    calibration_release(&after);
}

/* ---- damage ---- */

static void refused(struct lab *l, const char *table, const char *text,
                    const char *sentence)
{
    struct calibration c;
    struct err e = {.text = ""};
    FILE *f;

    write_tables(l, &core, 32, 0.01);
    f = begin(l, table);
    (void)fputs(text, f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(calibration_fit(l->folder, &c, &e), -1);
    if (strstr(e.text, sentence) == NULL || strstr(e.text, l->folder) == NULL)
        fail_msg("'%s' is not in '%s'", sentence, e.text);
    assert_null(strchr(e.text, '\n'));
}

static void damaged_tables_are_refused(void **state)
{
    struct lab *l = *state;
    struct calibration c;
    struct err e = {.text = ""};

    refused(l, "gemm", "", "gemm.csv: holds no sample");
    refused(l, "gemm", "# x\nrows,in,out,sample,seconds\n", "gemm.csv: holds no sample");
    refused(l, "gemm", "# x\nrows,in,sample,seconds\n1,2,0,1\n",
            "gemm.csv:2: column 'out' is missing");
    refused(l, "gemm", "rows,in,out,sample\n1,2,3,0\n",
            "gemm.csv:1: column 'seconds' is missing");
    refused(l, "gemm", "rows,in,out,seconds\n1,2,3,4\n1,2,3,nan\n",
            "gemm.csv:3: seconds is 'nan'; expected a number above zero");
    refused(l, "gemm", "rows,in,out,seconds\n1,2,3,-4\n", "gemm.csv:2: seconds is '-4'");
    refused(l, "gemm", "rows,in,out,seconds\n1,2,3,0\n", "gemm.csv:2: seconds is '0'");
    refused(l, "gemm", "rows,in,out,seconds\n1,2,3,inf\n",
            "gemm.csv:2: seconds is 'inf'");
    refused(l, "gemm", "rows,in,out,seconds\n1,2,3,1x\n", "gemm.csv:2: seconds is '1x'");
    refused(l, "gemm", "rows,in,out,seconds\n1,-2,3,1\n",
            "gemm.csv:2: in is '-2'; expected a whole number from 1 to 1048576");
    refused(l, "gemm", "rows,in,out,seconds\n1048576,1048576,1048577,1\n",
            "gemm.csv:2: out is '1048577'");
    refused(l, "experts",
            "hidden,inner,matrices,top_k,distinct,rows,first_rows,seconds\n"
            "1024,1024,1048576,1048576,1048576,1,1,1\n",
            "experts.csv:2: its counts multiplied are 1.20893e+24");
    refused(l, "attention",
            "heads,kv_heads,key_dim,value_dim,requests,context,rows,seconds\n"
            "2,2,2,2,1,8,9,1\n",
            "attention.csv:2: rows are 9, but at most the context, 8");
    refused(l, "attention",
            "heads,kv_heads,key_dim,value_dim,requests,context,rows,seconds\n"
            "1,1,1,1,65536,65536,65536,1\n",
            "attention.csv:2: rows of all requests are above 4294967295");
    refused(l, "gemm", "rows,in,out,seconds\n0,2,3,1\n", "gemm.csv:2: rows is '0'");
    refused(l, "gemm", "rows,in,out,seconds\n1.5,2,3,1\n", "gemm.csv:2: rows is '1.5'");
    refused(l, "gemm", "rows,in,out,seconds\n1,2,3\n",
            "gemm.csv:2: there are 3 cells, but 4 columns");
    refused(l, "copy", "kind,bytes,seconds\nupward,2,3\n",
            "copy.csv:2: kind is 'upward'; expected one of its kinds");
    refused(l, "copy", "kind,bytes,seconds\nh2d_pinned,2,3\nh2d_pinned,3,3\n",
            "copy.csv:1: 2 points of kind h2d_pinned beside those held out do not "
            "determine 2 numbers");
    refused(l, "launch", "kind,count,seconds\nlaunch_eager,2,3\n",
            "launch.csv:1: 1 points of kind launch_eager");
    refused(l, "device", "name,value\ndevice,x\nelement_bits,many\n",
            "device.csv:3: element_bits is 'many'");
    refused(l, "device", "name,value\ndevice,x\n", "device.csv: needs device, kind");
    refused(l, "device", "name,value\ndevice\n", "device.csv:2: expected name,value");
    assert_int_equal(calibration_fit("/nonexistent", &c, &e), -1);
    assert_non_null(strstr(e.text, "/nonexistent/device.csv"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_core_comes_back, lab_setup, lab_teardown),
        cmocka_unit_test_setup_teardown(a_chip_comes_back, lab_setup, lab_teardown),
        cmocka_unit_test_setup_teardown(tiles_come_back, lab_setup, lab_teardown),
        cmocka_unit_test_setup_teardown(the_file_loads, lab_setup, lab_teardown),
        cmocka_unit_test_setup_teardown(held_out_points_are_not_fitted, lab_setup,
                                        lab_teardown),
        cmocka_unit_test_setup_teardown(damaged_tables_are_refused, lab_setup,
                                        lab_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "calibration_fitter.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* ---- the highest rates ---- */

static double expert_weights(const uint64_t *v)
{
    return (double)(v[EXPERTS_MATRICES] * v[EXPERTS_HIDDEN] * v[EXPERTS_INNER]);
}

static double expert_rows(const uint64_t *v)
{
    return (double)(v[EXPERTS_FIRST_ROWS] + (v[EXPERTS_DISTINCT] - 1) * v[EXPERTS_ROWS]);
}

void fitter_expert_rates(const struct samples *s, double weight_bytes, double *flops,
                         double *bytes)
{
    for (size_t i = 0; i < s->points; i++) {
        const uint64_t *v = s->point[i].value;
        const double weights = expert_weights(v);

        *flops = fmax(*flops, 2.0 * weights * expert_rows(v) / s->point[i].seconds);
        *bytes = fmax(*bytes, weights * (double)v[EXPERTS_DISTINCT] * weight_bytes /
                                  s->point[i].seconds);
    }
}

void fitter_best_rates(const struct calibration *c, double *flops, double *bytes)
{
    const double element = c->device.element_bits / 8.0;
    const struct samples *s = &c->table[CALIBRATE_GEMM];

    *flops = *bytes = 0.0;
    fitter_expert_rates(&c->table[CALIBRATE_EXPERTS], element, flops, bytes);
    for (size_t i = 0; i < s->points; i++) {
        const uint64_t *v = s->point[i].value;
        const double weights = (double)(v[1] * v[2]);

        *flops = fmax(*flops, 2.0 * weights * (double)v[0] / s->point[i].seconds);
        *bytes = fmax(*bytes, weights * element / s->point[i].seconds);
    }
}

/* ---- the numbers of a machine file ---- */

static void add_number(struct calibration *c, const char *key, double value,
                       const char *unit, double scale, enum calibration_table from,
                       double standard_error, const char *how)
{
    const char *dot = strchr(key, '.');
    struct calibration_number *n = &c->number[c->numbers++];

    assert(c->numbers <= CALIBRATION_NUMBERS);
    *n = (struct calibration_number){.name = dot + 1,
                                     .value = value,
                                     .unit = unit,
                                     .scale = scale,
                                     .from = from,
                                     .standard_error = standard_error,
                                     .how = how};
    n->section = key;
}

static const char fitted[] = "fit";
static const char highest[] = "highest rate reached or fitted";
static const char reported[] = "as the device reports";

static void add_rows_numbers(const struct fitter *f, enum role exposed,
                             enum calibration_table from)
{
    static const char *const keys[2][3] = {
        {"gpu.exposed", "gpu.fill_rows", "gpu.few_rows"},
        {"host.exposed", "host.fill_rows", "host.few_rows"}};

    for (unsigned i = 0; i < 3 && f->value[exposed] > 0.0; i++)
        add_number(f->c, keys[exposed == EXPOSED ? 0 : 1][i], f->value[exposed + i], "",
                   1.0, from, f->error[exposed + i], fitted);
}

static void add_gpu(const struct fitter *f)
{
    static const char *const estimate =
        "estimate: not measured, a fifteenth of bf16 as on H100";
    static const char *const same =
        "measured rate of fp32, in which the device computes whatever is stored";
    const double *v = f->value, *s = f->error;
    struct calibration *c = f->c;
    const bool wide = c->device.element_bits > 16;
    double flops, bytes;

    fitter_best_rates(c, &flops, &bytes);
    flops = fmax(fmax(flops, v[GEMM_RATE]), fmax(v[EXPERT_RATE], v[ATTENTION_RATE]));
    bytes = fmax(fmax(bytes, v[WEIGHT_RATE]), v[MOVE_RATE]);
    add_number(c, "gpu.memory", (double)c->device.local_bytes, " GB", 1e9,
               CALIBRATION_TABLES, INFINITY, reported);
    add_number(c, "gpu.hbm_bandwidth", bytes, " GB/s", 1e9, CALIBRATE_GEMM, INFINITY,
               highest);
    add_number(c, "gpu.bf16_flops", flops, " TFLOP/s", 1e12, CALIBRATE_GEMM, INFINITY,
               wide ? same : highest);
    add_number(c, "gpu.fp32_flops", wide ? flops : flops / 15.0, " TFLOP/s", 1e12,
               wide ? CALIBRATE_GEMM : CALIBRATION_TABLES, INFINITY,
               wide ? highest : estimate);
    add_number(c, "gpu.gemm_efficiency", v[GEMM_RATE] / flops, "", 1.0, CALIBRATE_GEMM,
               s[GEMM_RATE], fitted);
    add_number(c, "gpu.expert_gemm_efficiency", v[EXPERT_RATE] / flops, "", 1.0,
               CALIBRATE_EXPERTS, s[EXPERT_RATE], fitted);
    add_number(c, "gpu.attention_efficiency", v[ATTENTION_RATE] / flops, "", 1.0,
               CALIBRATE_ATTENTION, s[ATTENTION_RATE], fitted);
    add_number(c, "gpu.memory_efficiency", v[WEIGHT_RATE] / bytes, "", 1.0,
               CALIBRATE_GEMM, s[WEIGHT_RATE], fitted);
    add_number(c, "gpu.move_efficiency", v[MOVE_RATE] / bytes, "", 1.0, CALIBRATE_MOVE,
               s[MOVE_RATE], fitted);
    add_rows_numbers(f, EXPOSED, CALIBRATE_GEMM);
    add_number(c, "gpu.tile_rows", f->tiles.rows[0], "", 1.0, CALIBRATE_EXPERTS, INFINITY,
               "best of the powers of two to 128, alone or all from 1");
    if (f->tiles.count > 1)
        c->number[c->numbers - 1].tiles = f->tiles;
    add_number(c, "gpu.kernel_floor", v[KERNEL_FLOOR], " us", 1e-6, CALIBRATE_MOVE,
               s[KERNEL_FLOOR], fitted);
    add_number(c, "gpu.expert_floor", v[EXPERT_FLOOR], " us", 1e-6, CALIBRATE_EXPERTS,
               s[EXPERT_FLOOR], fitted);
    add_number(c, "gpu.attention_floor", v[ATTENTION_FLOOR], " us", 1e-6,
               CALIBRATE_ATTENTION, s[ATTENTION_FLOOR], fitted);
}

static void add_host(const struct fitter *f)
{
    static const struct {
        const char *key;
        enum samples_launch_kind kind;
    } launches[] = {{"host.launch_eager", LAUNCH_EAGER},
                    {"host.launch_graph", LAUNCH_NODE},
                    {"host.graph_launch", LAUNCH_GRAPH},
                    {"host.round_trip", LAUNCH_ROUND_TRIP},
                    {"host.copy_call", LAUNCH_COPY}};
    const double *v = f->value, *s = f->error;
    struct calibration *c = f->c;

    add_number(c, "host.memory", (double)c->device.host_bytes, " GB", 1e9,
               CALIBRATION_TABLES, INFINITY, reported);
    add_number(c, "host.dram_bandwidth", v[HOST_BYTES_RATE], " GB/s", 1e9, CALIBRATE_CPU,
               s[HOST_BYTES_RATE], fitted);
    add_number(c, "host.flops", v[HOST_RATE], " GFLOP/s", 1e9, CALIBRATE_CPU,
               s[HOST_RATE], fitted);
    add_rows_numbers(f, HOST_EXPOSED, CALIBRATE_CPU);
    for (size_t i = 0; i < LAUNCH_KINDS; i++) {
        const size_t role = LAUNCH_TIME + launches[i].kind;

        add_number(c, launches[i].key, v[role], " us", 1e-6, CALIBRATE_LAUNCH, s[role],
                   fitted);
    }
}

static void add_copies(const struct fitter *f)
{
    static const char *const keys[COPY_KINDS][2] = {
        [COPY_H2D_PINNED] = {"h2d_pinned.latency", "h2d_pinned.bandwidth"},
        [COPY_D2H_PINNED] = {"d2h_pinned.latency", "d2h_pinned.bandwidth"},
        [COPY_H2D_PAGEABLE] = {"h2d_pageable.latency", "h2d_pageable.bandwidth"},
        [COPY_D2H_PAGEABLE] = {"d2h_pageable.latency", "d2h_pageable.bandwidth"},
    };
    static const char *const duplex[2] = {"duplex.h2d", "duplex.d2h"};
    const double *v = f->value, *s = f->error;

    for (int k = 0; k < COPY_KINDS; k++) {
        add_number(f->c, keys[k][0], v[COPY_LATENCY + k], " us", 1e-6, CALIBRATE_COPY,
                   s[COPY_LATENCY + k], fitted);
        add_number(f->c, keys[k][1], v[COPY_RATE + k], " GB/s", 1e9, CALIBRATE_COPY,
                   s[COPY_RATE + k], fitted);
    }
    for (int k = 0; k < 2; k++)
        add_number(f->c, duplex[k], v[DUPLEX_SHARE + k], "", 1.0, CALIBRATE_DUPLEX,
                   s[DUPLEX_SHARE + k], fitted);
}

void fitter_add_numbers(const struct fitter *f)
{
    add_gpu(f);
    add_host(f);
    add_copies(f);
}

#include "calibration_fitter.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Times are whole picoseconds, too coarse for derivatives of short ones. All costs are in
 * proportion to the machine's times, so the fit asks a machine that is so much slower. */
#define SLOWER 1e3

const struct samples_schema *const calibration_schemas[CALIBRATION_TABLES] = {
    [CALIBRATE_COPY] = &samples_copy,
    [CALIBRATE_CHUNKS] = &samples_chunks,
    [CALIBRATE_DUPLEX] = &samples_duplex,
    [CALIBRATE_LAUNCH] = &samples_launch,
    [CALIBRATE_MOVE] = &samples_move,
    [CALIBRATE_GEMM] = &samples_gemm,
    [CALIBRATE_ATTENTION] = &samples_attention,
    [CALIBRATE_EXPERTS] = &samples_experts,
    [CALIBRATE_CPU] = &samples_cpu,
};

/* ---- one least-squares problem: some points, some parameters ---- */

struct problem {
    const struct fitter *f;
    enum role role[FIT_MAX_PARAMETERS];
    struct fit_parameter parameter[FIT_MAX_PARAMETERS];
    size_t parameters;
    const struct samples_point **point; /* [points] */
    enum calibration_table *table;      /* [points] */
    double *measured, *sigma;           /* [points] */
    size_t points;
    struct machine_tiles tiles;
};

static sim_time time_of(double s)
{
    return sim_time_of_seconds(s * SLOWER);
}

/* The machine of the roles' values, SLOWER. */
static void make_machine(const double *v, const struct machine_tiles *tiles,
                         struct machine *m)
{
    struct machine_copy *const copies[COPY_KINDS] = {
        [COPY_H2D_PINNED] = &m->h2d_pinned,
        [COPY_D2H_PINNED] = &m->d2h_pinned,
        [COPY_H2D_PAGEABLE] = &m->h2d_pageable,
        [COPY_D2H_PAGEABLE] = &m->d2h_pageable,
    };

    *m = (struct machine){.h2d_duplex = v[DUPLEX_SHARE],
                          .d2h_duplex = v[DUPLEX_SHARE + 1]};
    m->gpu = (struct machine_gpu){
        .hbm_bytes_per_s = v[WEIGHT_RATE] / SLOWER,
        .bf16_flops = v[GEMM_RATE] / SLOWER,
        .fp32_flops = v[GEMM_RATE] / SLOWER,
        .gemm_efficiency = 1.0,
        .expert_gemm_efficiency = v[EXPERT_RATE] / v[GEMM_RATE],
        .attention_efficiency = v[ATTENTION_RATE] / v[GEMM_RATE],
        .memory_efficiency = 1.0,
        .move_efficiency = v[MOVE_RATE] / v[WEIGHT_RATE],
        .rows = {v[EXPOSED], v[FILL_ROWS], v[FEW_ROWS]},
        .tiles = *tiles,
        .kernel_floor = time_of(v[KERNEL_FLOOR]),
        .expert_floor = time_of(v[EXPERT_FLOOR]),
        .attention_floor = time_of(v[ATTENTION_FLOOR]),
    };
    m->host = (struct machine_host){
        .dram_bytes_per_s = v[HOST_BYTES_RATE] / SLOWER,
        .flops = v[HOST_RATE] / SLOWER,
        .rows = {v[HOST_EXPOSED], v[HOST_FILL_ROWS], v[HOST_FEW_ROWS]},
        .launch_eager = time_of(v[LAUNCH_TIME + LAUNCH_EAGER]),
        .launch_graph = time_of(v[LAUNCH_TIME + LAUNCH_NODE]),
        .graph_launch = time_of(v[LAUNCH_TIME + LAUNCH_GRAPH]),
        .round_trip = time_of(v[LAUNCH_TIME + LAUNCH_ROUND_TRIP]),
        .copy_call = time_of(v[LAUNCH_TIME + LAUNCH_COPY]),
    };
    for (int k = 0; k < COPY_KINDS; k++)
        *copies[k] = (struct machine_copy){.latency = time_of(v[COPY_LATENCY + k]),
                                           .bytes_per_s = v[COPY_RATE + k] / SLOWER};
}

static double predict(const struct fitter *f, const struct machine *m,
                      enum calibration_table table, const struct samples_point *point)
{
    return calibration_predict(m, f->c->device.element_bits, table, point) / SLOWER;
}

static int evaluate(void *context, const double *parameter, double *predicted,
                    struct err *e)
{
    const struct problem *p = context;
    double value[ROLES];
    struct machine m;

    (void)e;
    memcpy(value, p->f->value, sizeof value);
    for (size_t i = 0; i < p->parameters; i++)
        value[p->role[i]] = parameter[i];
    make_machine(value, &p->tiles, &m);
    for (size_t i = 0; i < p->points; i++)
        predicted[i] = log(predict(p->f, &m, p->table[i], p->point[i]));
    return 0;
}

static void problem_init(struct problem *p, const struct fitter *f)
{
    size_t points = 0;

    for (int t = 0; t < CALIBRATION_TABLES; t++)
        points += f->c->table[t].points;
    *p = (struct problem){.f = f, .tiles = f->tiles};
    p->point = mem_alloc(points, sizeof *p->point);
    p->table = mem_alloc(points, sizeof *p->table);
    p->measured = mem_alloc(points, sizeof *p->measured);
    p->sigma = mem_alloc(points, sizeof *p->sigma);
}

static void problem_release(struct problem *p)
{
    free(p->point);
    free(p->table);
    free(p->measured);
    free(p->sigma);
}

/* `start` need not be near. */
static void add_parameter(struct problem *p, enum role role, double start, double most)
{
    const double range = 1e3;

    assert(p->parameters < FIT_MAX_PARAMETERS);
    p->role[p->parameters] = role;
    p->parameter[p->parameters++] = (struct fit_parameter){
        .start = start, .min = start / range, .max = fmin(start * range, most)};
}

/* Points of a table that are not held out; of one kind only where kind is below
 * UINT64_MAX. */
static void add_points(struct problem *p, enum calibration_table table, uint64_t kind)
{
    const struct samples *s = &p->f->c->table[table];

    for (size_t i = 0; i < s->points; i++) {
        if (s->point[i].held || (kind != UINT64_MAX && s->point[i].value[0] != kind))
            continue;
        p->point[p->points] = &s->point[i];
        p->table[p->points] = table;
        p->measured[p->points] = log(s->point[i].seconds);
        p->sigma[p->points++] = 1.0;
    }
}

static int solve(struct problem *p, struct fit_result *r, struct err *e)
{
    struct fit_problem q = {.parameters = p->parameters,
                            .parameter = p->parameter,
                            .points = p->points,
                            .measured = p->measured,
                            .sigma = p->sigma,
                            .model = evaluate,
                            .context = p};

    return fit_solve(&q, r, e);
}

/* A number whose standard error is ten times itself could be any: nothing determines it.
 */
static void keep(struct fitter *f, const struct problem *p, const struct fit_result *r)
{
    const double most = 10.0;

    for (size_t i = 0; i < p->parameters; i++) {
        double error = r->error[i] / r->value[i];

        f->value[p->role[i]] = r->value[i];
        f->error[p->role[i]] = error < most ? error : INFINITY;
    }
}

/* Enough points of a kind, or a sentence that says of what. */
static int check_points(const struct problem *p, enum calibration_table table,
                        const char *kind, struct err *e)
{
    if (p->points > p->parameters)
        return 0;
    return err_set(e,
                   "%s:1: %zu points of %s%s beside those held out do not determine %zu "
                   "numbers; measure more shapes (calibrate leaves out those above a "
                   "quarter of the free memory)",
                   p->f->c->table[table].path, p->points,
                   kind == NULL ? "the table" : "kind ", kind == NULL ? "" : kind,
                   p->parameters);
}

static double smallest_seconds(const struct problem *p)
{
    double least = INFINITY;

    for (size_t i = 0; i < p->points; i++)
        least = fmin(least, p->point[i]->seconds);
    return least;
}

/* ---- the host's side ---- */

static int fit_copies(struct fitter *f, struct err *e)
{
    for (unsigned kind = 0; kind < COPY_KINDS; kind++) {
        struct problem p;
        struct fit_result r;
        double rate = 0.0;
        int status;

        problem_init(&p, f);
        add_points(&p, CALIBRATE_COPY, kind);
        for (size_t i = 0; i < p.points; i++)
            rate = fmax(rate, (double)p.point[i]->value[1] / p.point[i]->seconds);
        add_parameter(&p, COPY_LATENCY + kind, smallest_seconds(&p), INFINITY);
        add_parameter(&p, COPY_RATE + kind, rate, INFINITY);
        status = check_points(&p, CALIBRATE_COPY, samples_copy.column[0].words[kind], e);
        if (status == 0 && (status = solve(&p, &r, e)) == 0)
            keep(f, &p, &r);
        problem_release(&p);
        if (status != 0)
            return -1;
    }
    return 0;
}

static int fit_constants(struct fitter *f, enum calibration_table table, enum role role,
                         unsigned kinds, double start, double most, struct err *e)
{
    for (unsigned kind = 0; kind < kinds; kind++) {
        struct problem p;
        struct fit_result r;
        int status;

        problem_init(&p, f);
        add_points(&p, table, kind);
        add_parameter(&p, role + kind, start, most);
        status =
            check_points(&p, table, calibration_schemas[table]->column[0].words[kind], e);
        if (status == 0 && (status = solve(&p, &r, e)) == 0)
            keep(f, &p, &r);
        problem_release(&p);
        if (status != 0)
            return -1;
    }
    return 0;
}

/* Numbers of struct machine_rows beside the plain roofline's. */
static void add_rows(struct problem *p, enum role exposed)
{
    add_parameter(p, exposed, 0.5, 1.0);
    add_parameter(p, exposed + 1, 4.0, INFINITY);
    add_parameter(p, exposed + 2, 2.0, INFINITY);
}

/* Whether they are worth having: where they hardly matter, nothing determines them. */
static bool is_better(const struct fit_result *with, const struct fit_result *without)
{
    return with->chi2 < 0.9 * without->chi2;
}

static int solve_host(const struct fitter *f, bool rows, struct problem *p,
                      struct fit_result *r, struct err *e)
{
    double flops = 0.0, bytes = 0.0;

    fitter_expert_rates(&f->c->table[CALIBRATE_CPU], 4.0, &flops, &bytes);
    problem_init(p, f);
    add_points(p, CALIBRATE_CPU, UINT64_MAX);
    add_parameter(p, HOST_RATE, flops, INFINITY);
    add_parameter(p, HOST_BYTES_RATE, bytes, INFINITY);
    if (rows)
        add_rows(p, HOST_EXPOSED);
    return check_points(p, CALIBRATE_CPU, NULL, e) != 0 ? -1 : solve(p, r, e);
}

static int fit_host(struct fitter *f, struct err *e)
{
    struct fit_result r[2];
    struct problem p[2] = {{.f = f}, {.f = f}};
    int status = solve_host(f, false, &p[0], &r[0], e);

    if (status == 0)
        status = solve_host(f, true, &p[1], &r[1], e);
    if (status == 0) {
        const int better = is_better(&r[1], &r[0]) ? 1 : 0;

        keep(f, &p[better], &r[better]);
    }
    problem_release(&p[0]);
    problem_release(&p[1]);
    return status;
}

/* ---- the GPU: four tables together ---- */

static const enum calibration_table gpu_tables[] = {
    CALIBRATE_MOVE, CALIBRATE_GEMM, CALIBRATE_ATTENTION, CALIBRATE_EXPERTS};
enum { GPU_TABLES = sizeof gpu_tables / sizeof *gpu_tables };

static void gpu_problem(struct problem *p, const struct fitter *f, bool rows)
{
    double flops, bytes, floor;

    problem_init(p, f);
    fitter_best_rates(f->c, &flops, &bytes);
    add_points(p, CALIBRATE_MOVE, UINT64_MAX);
    floor = smallest_seconds(p) / 2.0;
    for (int i = 1; i < GPU_TABLES; i++)
        add_points(p, gpu_tables[i], UINT64_MAX);
    add_parameter(p, GEMM_RATE, flops, INFINITY);
    add_parameter(p, EXPERT_RATE, flops, INFINITY);
    add_parameter(p, ATTENTION_RATE, flops / 2.0, INFINITY);
    add_parameter(p, WEIGHT_RATE, bytes, INFINITY);
    add_parameter(p, MOVE_RATE, bytes, INFINITY);
    add_parameter(p, KERNEL_FLOOR, floor, INFINITY);
    add_parameter(p, EXPERT_FLOOR, floor, INFINITY);
    add_parameter(p, ATTENTION_FLOOR, floor, INFINITY);
    if (rows)
        add_rows(p, EXPOSED);
}

/* Each table counts by how well it can be followed: its sigma is the root mean square of
 * its residuals. */
static int weigh_tables(struct problem *p, const struct fit_result *r, struct err *e)
{
    double *predicted = mem_alloc(p->points, sizeof *predicted);
    int status = evaluate(p, r->value, predicted, e);

    for (int t = 0; t < GPU_TABLES && status == 0; t++) {
        double sum = 0.0, count = 0.0;

        for (size_t i = 0; i < p->points; i++)
            if (p->table[i] == gpu_tables[t]) {
                sum += pow(predicted[i] - p->measured[i], 2.0);
                count += 1.0;
            }
        for (size_t i = 0; i < p->points; i++)
            if (p->table[i] == gpu_tables[t])
                p->sigma[i] = fmax(sqrt(sum / fmax(count, 1.0)), 1e-6);
    }
    free(predicted);
    return status;
}

/* Powers of two to `most`, from 1 or from `most` itself. */
static struct machine_tiles powers_of_two(uint32_t most, bool all)
{
    struct machine_tiles tiles = {.count = 0};

    for (uint32_t rows = all ? 1 : most; rows <= most; rows *= 2)
        tiles.rows[tiles.count++] = rows;
    return tiles;
}

/* With the tiles that fit best; of those that fit alike, the fewest. */
static int solve_gpu(const struct fitter *f, bool rows, struct problem *p,
                     struct fit_result *best, struct err *e)
{
    enum { MOST_TILE = 128 };
    struct machine_tiles best_tiles = powers_of_two(1, false);
    struct fit_result r;
    int status;

    gpu_problem(p, f, rows);
    status = check_points(p, CALIBRATE_GEMM, NULL, e);
    *best = (struct fit_result){.chi2 = INFINITY};
    for (int all = 0; all <= 1; all++)
        for (uint32_t most = all ? 2 : 1; most <= MOST_TILE && status == 0; most *= 2) {
            p->tiles = powers_of_two(most, all != 0);
            status = solve(p, &r, e);
            if (status == 0 && r.chi2 < best->chi2 * (1.0 - 1e-9)) {
                *best = r;
                best_tiles = p->tiles;
            }
        }
    p->tiles = best_tiles;
    return status;
}

static int fit_gpu(struct fitter *f, struct err *e)
{
    struct fit_result r[2];
    struct problem p[2] = {{.f = f}, {.f = f}};
    int status = solve_gpu(f, false, &p[0], &r[0], e);

    if (status == 0)
        status = solve_gpu(f, true, &p[1], &r[1], e);
    if (status == 0) {
        const int i = is_better(&r[1], &r[0]) ? 1 : 0;

        status = weigh_tables(&p[i], &r[i], e);
        if (status == 0)
            status = solve(&p[i], &r[i], e);
        if (status == 0) {
            f->tiles = p[i].tiles;
            keep(f, &p[i], &r[i]);
        }
    }
    problem_release(&p[0]);
    problem_release(&p[1]);
    return status;
}

/* ---- the result ---- */

/* Predicts every point, and compares those of the fit and those held out. */
static void compare(const struct fitter *f)
{
    struct calibration *c = f->c;
    struct machine m;

    make_machine(f->value, &f->tiles, &m);
    for (int t = 0; t < CALIBRATION_TABLES; t++) {
        const struct samples *s = &c->table[t];
        double *predicted = mem_alloc(s->points, sizeof *predicted);
        double *measured = mem_alloc(s->points, sizeof *measured);
        size_t kept = 0, held = s->points;

        c->predicted[t] = mem_alloc(s->points, sizeof **c->predicted);
        for (size_t i = 0; i < s->points; i++) {
            const size_t place = s->point[i].held ? --held : kept++;

            c->predicted[t][i] = predict(f, &m, (enum calibration_table)t, &s->point[i]);
            predicted[place] = c->predicted[t][i];
            measured[place] = s->point[i].seconds;
        }
        c->trained[t] = kept;
        c->train[t] = fit_compare(predicted, measured, 0, kept);
        c->held[t] = fit_compare(predicted, measured, held, s->points - held);
        free(predicted);
        free(measured);
    }
}

static int fit_all(struct fitter *f, struct err *e)
{
    for (int i = 0; i < ROLES; i++) {
        f->value[i] = 1.0;
        f->error[i] = INFINITY;
    }
    for (int i = 0; i < 3; i++)
        f->value[EXPOSED + i] = f->value[HOST_EXPOSED + i] = 0.0;
    if (fit_copies(f, e) != 0 ||
        fit_constants(f, CALIBRATE_DUPLEX, DUPLEX_SHARE, 2, 0.9, 1.0, e) != 0 ||
        fit_constants(f, CALIBRATE_LAUNCH, LAUNCH_TIME, LAUNCH_KINDS, 1e-6, INFINITY,
                      e) != 0 ||
        fit_host(f, e) != 0 || fit_gpu(f, e) != 0)
        return -1;
    compare(f);
    fitter_add_numbers(f);
    return 0;
}

int calibration_fit(const char *folder, struct calibration *c, struct err *e)
{
    struct fitter f = {.c = c, .tiles = {1, {1}}};
    int status;

    *c = (struct calibration){.numbers = 0};
    status = samples_read_device(folder, &c->device, e);
    for (int t = 0; t < CALIBRATION_TABLES && status == 0; t++)
        status = samples_read(folder, calibration_schemas[t], &c->table[t], e);
    if (status == 0)
        status = fit_all(&f, e);
    if (status != 0)
        calibration_release(c);
    return status;
}

void calibration_release(struct calibration *c)
{
    samples_release_device(&c->device);
    for (int t = 0; t < CALIBRATION_TABLES; t++) {
        samples_release(&c->table[t]);
        free(c->predicted[t]);
    }
    *c = (struct calibration){.numbers = 0};
}

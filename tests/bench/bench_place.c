/* Placement, on one core. Prints CSV: bench,case,value,unit.
 *
 * EPLB for all 58 layers of 256 experts, 288 slots and 32 GPUs; the bar is 3 ms. Timed is
 * place_new(): checking the problem, the algorithm, allocating the result and its index.
 * Loads are drawn before, differ from layer to layer and are skewed: Zipf with exponent 1
 * in random order, times a factor of 1 to 2. Least and median of RUNS. A slope is the
 * exponent of the least times over the sizes, fitted in logarithms: 1 is linear.
 * Then what renumbering for few copies (place_keep) and listing the copies take, from
 * one such placement to another. */
#include "sim/base/mem.h"
#include "sim/base/rng.h"
#include "sim/policy/place_migrate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RUNS 31
#define LAYERS 58
#define POINTS 5

static double now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y ? 1 : 0;
}

/* Sorts; prints least and median, returns the least. */
static double print_times(const char *name, double *ms)
{
    qsort(ms, RUNS, sizeof *ms, by_value);
    (void)printf("place,%s min,%.4f,ms\n", name, ms[0]);
    (void)printf("place,%s median,%.4f,ms\n", name, ms[RUNS / 2]);
    return ms[0];
}

/* (layer, expert), owned. */
static double *draw_loads(uint32_t experts, uint64_t seed)
{
    double *load = mem_alloc((size_t)LAYERS * experts, sizeof *load);

    for (uint32_t l = 0; l < LAYERS; l++) {
        struct rng r = rng_stream(seed, "bench", l);
        double *row = &load[(size_t)l * experts];

        for (uint32_t e = 0; e < experts; e++) {
            uint32_t other = (uint32_t)rng_below(&r, e + 1);

            row[e] = row[other];
            row[other] = floor(1e6 * (1.0 + rng_unit(&r)) / (e + 1));
        }
    }
    return load;
}

static struct place_problem problem(uint32_t experts, uint32_t slots, uint32_t gpus,
                                    uint32_t nodes, const double *load)
{
    return (struct place_problem){.layers = LAYERS,
                                  .experts = experts,
                                  .gpus = gpus,
                                  .nodes = nodes,
                                  .groups = 8,
                                  .slots = slots,
                                  .load = load};
}

/* NULL, after the sentence on stderr, if it is refused. */
static struct place *eplb(const struct place_problem *p)
{
    const struct place_type *type =
        (const struct place_type *)(const void *)registry_find(SLOT_PLACE, "eplb");
    const struct option *options = type->plugin.options;
    void *params = mem_zalloc(1, type->plugin.params_size);
    struct err e = {.text = ""};
    struct place *made = NULL;

    if (cfg_bind(NULL, options, params, &e) == 0)
        made = place_new(type, params, p, &e);
    if (made == NULL)
        (void)fprintf(stderr, "bench_place: %s\n", e.text);
    free(params);
    return made;
}

/* Least ms, or NAN. */
static double time_eplb(uint32_t experts, uint32_t slots, uint32_t gpus, uint32_t nodes)
{
    double *load = draw_loads(experts, 1), ms[RUNS], least;
    struct place_problem p = problem(experts, slots, gpus, nodes, load);
    char *name = mem_format("eplb %ux%u %u slots %u GPUs %u nodes", LAYERS, experts,
                            slots, gpus, nodes);
    struct place *made = eplb(&p);

    for (int i = 0; i < RUNS && made != NULL; i++) {
        double start;

        place_free(made);
        start = now_ms();
        made = eplb(&p);
        ms[i] = now_ms() - start;
    }
    least = made != NULL ? print_times(name, ms) : NAN;
    place_free(made);
    free(name);
    free(load);
    return least;
}

static void print_slope(const char *over, const double *size, const double *ms)
{
    double sx = 0, sy = 0, sxx = 0, sxy = 0;

    for (int i = 0; i < POINTS; i++) {
        double x = log(size[i]), y = log(ms[i]);

        sx += x;
        sy += y;
        sxx += x * x;
        sxy += x * y;
    }
    (void)printf("place,eplb slope over %s,%.2f,exponent\n", over,
                 (POINTS * sxy - sx * sy) / (POINTS * sxx - sx * sx));
}

static void time_moves(uint32_t nodes)
{
    double *old_load = draw_loads(256, 1), *load = draw_loads(256, 2);
    struct place_problem a = problem(256, 288, 32, nodes, old_load);
    struct place_problem b = problem(256, 288, 32, nodes, load);
    struct place *from = eplb(&a), *to = eplb(&b);
    double keep_ms[RUNS], list_ms[RUNS];
    uint64_t bytes[LAYERS];
    size_t copies[2] = {0, 0};
    char *name;

    for (uint32_t l = 0; l < LAYERS; l++)
        bytes[l] = 1;
    for (int i = 0; i < RUNS && from != NULL && to != NULL; i++) {
        struct place_migration m;
        double start;

        place_free(to);
        to = eplb(&b);
        place_migration_init(&m, from, to, bytes);
        copies[0] = m.copies;
        place_migration_release(&m);
        start = now_ms();
        place_keep(from, to);
        keep_ms[i] = now_ms() - start;
        start = now_ms();
        place_migration_init(&m, from, to, bytes);
        list_ms[i] = now_ms() - start;
        copies[1] = m.copies;
        place_migration_release(&m);
    }
    name = mem_format("keep 58x256 288 slots 32 GPUs %u nodes", nodes);
    (void)print_times(name, keep_ms);
    free(name);
    name = mem_format("migration 58x256 288 slots 32 GPUs %u nodes", nodes);
    (void)print_times(name, list_ms);
    (void)printf("place,%s as balanced,%zu,copies\n", name, copies[0]);
    (void)printf("place,%s renumbered,%zu,copies\n", name, copies[1]);
    free(name);
    place_free(from);
    place_free(to);
    free(old_load);
    free(load);
}

int main(void)
{
    double size[POINTS], ms[POINTS];

    (void)printf("bench,case,value,unit\n");
    for (uint32_t nodes = 4; nodes <= 8; nodes *= 2) {
        if (isnan(time_eplb(256, 288, 32, nodes)))
            return 1;
    }
    (void)time_eplb(256, 288, 32, 3); /* global: 8 groups do not divide by 3 */
    for (int i = 0; i < POINTS; i++) {
        size[i] = (double)(128U << i);
        ms[i] = time_eplb(128U << i, 144U << i, 16, 4);
    }
    print_slope("experts", size, ms);
    for (int i = 0; i < POINTS; i++) {
        size[i] = (double)(16U << i);
        ms[i] = time_eplb(256, 512, 16U << i, 2U << i > 8 ? 8 : 2U << i);
    }
    print_slope("GPUs", size, ms);
    time_moves(4);
    time_moves(8);
    return 0;
}

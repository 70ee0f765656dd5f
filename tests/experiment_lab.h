/* A small trace and model for whole experiments: configuration text in, result out. */
#ifndef MOESIM_TESTS_EXPERIMENT_LAB_H
#define MOESIM_TESTS_EXPERIMENT_LAB_H

#include "run_world.h"
#include "sim/experiment/experiment.h"

/* 12 experts of 3 x 256 x 1024 x 2 bytes in each of 3 layers, top-3. */
#define EXPERT_BYTES (UINT64_C(3) * 256 * 1024 * 2)

struct lab {
    struct run_world *w; /* 6 requests of 20 rows */
    char *model;         /* its file */
};

/* For cmocka: the state is a struct lab. */
int lab_setup(void **state);
int lab_teardown(void **state);

/* The lab's trace and model and `more`, on an RTX 4090 unless that begins with another
 * `machine:`. Owned. */
struct cfg *lab_config(const struct lab *lab, const char *more);
int lab_run_hooked(const struct lab *lab, const char *more, unsigned threads,
                   const struct experiment_hooks *hooks, struct result *r, struct err *e);
int lab_run(const struct lab *lab, const char *more, unsigned threads,
            const char *timeline, struct result *r, struct err *e);
/* ... where it must run. */
struct result lab_result(const struct lab *lab, const char *more, unsigned threads);
/* ... where it must not, and the sentence has this in it. */
void lab_refuse(const struct lab *lab, const char *more, const char *sentence);

#endif

/* For tests of the device executor: a model small enough to run in milliseconds, a trace
 * for it, and its weights on a device. */
#ifndef MOESIM_TESTS_TINY_DEVICE_H
#define MOESIM_TESTS_TINY_DEVICE_H

#include "run_world.h"

#include "gpu/exec_device.h"
#include "validate/tally.h"

/* GQA, a window on every other layer, one layer without experts, a shared FFN; fp32. */
struct model tiny_model(void);

struct tiny {
    struct model model;
    struct run_world *world; /* requests in batches of 3 */
    struct device *device;
    bool emulated;
    double close; /* differences below are of rounding alone */
    struct exec_device_streams streams;
    struct weights *weights;
};

/* Opens everything, on the host device; fails the test on an error. expert_budget_bytes
 * 0: all are distinct. */
void tiny_open(struct tiny *t, const struct model *m, uint64_t expert_budget_bytes);
/* The same on another device, such as cuda:0; one of bf16 gets a model of 16 bits. */
void tiny_open_on(struct tiny *t, const struct model *m, uint64_t expert_budget_bytes,
                  const char *device);
/* The same with other routing. */
void tiny_open_drawn(struct tiny *t, const struct model *m, uint64_t expert_budget_bytes,
                     const char *device, uint64_t seed);
void tiny_close(struct tiny *t);

/* Hidden states of all passes, one after another. */
struct tiny_outputs {
    float *value;
    size_t count, room;
};
/* The largest difference, relative to the largest value; infinite where one is no number
 * or there are not as many. */
double tiny_difference(const struct tiny_outputs *a, const struct tiny_outputs *b);

/* What may be different from a plain run. */
struct tiny_case {
    const char *policy; /* YAML, flow style */
    bool event_driven;  /* of the simulated run */
    bool drop_copies,
        drop_groups; /* a broken runner: what these come after is forgotten */
    double stall_ns, stall_copy_ns; /* of each expert group, of each copy in */
};
/* Executes with poisoned slots. Fills outputs, counts and, unless NULL, what was done. */
void tiny_execute(struct tiny *t, const struct tiny_case *c, struct run_result *r,
                  struct tiny_outputs *outputs, struct tally *done);
/* The same, simulated. */
void tiny_simulate(struct tiny *t, const struct tiny_case *c, struct run_result *r,
                   struct tally *done);
/* Both, with equal counts; the outputs must be close to `expected`, or are put there if
 * it is empty. */
void tiny_check(struct tiny *t, const char *policy, bool event_driven,
                struct tiny_outputs *expected);

#endif

/* What the tests of experts that run in place share: a run's passes, and its lanes. */
#ifndef MOESIM_TESTS_HOSTED_LAB_H
#define MOESIM_TESTS_HOSTED_LAB_H

#include "run_world.h"

#define DENSE WORLD_DENSE
#define GATE WORLD_GATE
#define GROUP WORLD_GROUP
#define HEAD WORLD_HEAD
#define TRIP WORLD_TRIP
#define FLOW WORLD_FLOW
#define US WORLD_FLOOR
#define ROW ((sim_time)640) /* its hidden state down and its sum up */

enum { HOSTED_PASSES = 24, HOSTED_LAYERS = 8 };

struct timed {
    uint64_t passes;
    uint64_t digest;
    sim_time host_busy, copy_busy;
    struct run_pass pass[HOSTED_PASSES];
    struct run_counts layer[HOSTED_LAYERS];
    sim_time share[HOSTED_LAYERS][RUN_SHARES]; /* of the layers */
};

/* How long the host takes for a token of an expert. */
void set_token_time(struct run_world *w, double us);
struct timed run_mode(const struct run_world *w, const char *policy, bool event);
/* On both engines, which agree. */
struct timed run_both(const struct run_world *w, const char *policy);
void check_pass(const struct run_pass *p, sim_time dense, sim_time expert, sim_time copy,
                sim_time wait, sim_time host);

#endif

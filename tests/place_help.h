/* Problems and placements for the tests of the place slot. */
#ifndef MOESIM_TESTS_PLACE_HELP_H
#define MOESIM_TESTS_PLACE_HELP_H

#include "sim/base/rng.h"
#include "sim/policy/place.h"

/* Owns its arrays; `p` borrows them. */
struct made_problem {
    struct place_problem p;
    double *load;
    uint32_t *history;
};

enum made_load {
    MADE_REAL,  /* any numbers below 1000: no two alike */
    MADE_WHOLE, /* 0 to 7: many ties, between replicas of different experts too */
    MADE_SPIKY  /* one expert in eight has 50 to 100 times the load */
};

/* All sizes but loads come from `sizes`; eight samples of history. */
struct made_problem made_problem(const struct place_problem *sizes, enum made_load kind,
                                 struct rng *r);
void made_problem_free(struct made_problem *m);
/* Random sizes that every plug-in takes but for `most_slots`. */
struct place_problem made_sizes(uint32_t most_slots, struct rng *r);

const struct place_type *place_type_of(const char *name);
/* Parameters from a mapping, owned; NULL where there are none. */
void *place_params(const struct place_type *type, const char *options);
/* Fails the test if it is refused. */
struct place *place_by(const char *name, const char *options,
                       const struct place_problem *p);
double place_most(const struct place *p, uint32_t layer, const double *load);

#endif

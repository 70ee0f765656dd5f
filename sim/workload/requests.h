/* The requests that a workload serves: which trace requests, how long, and when they
 * come. */
#ifndef MOESIM_WORKLOAD_REQUESTS_H
#define MOESIM_WORKLOAD_REQUESTS_H

#include "workload.h"

struct requests {
    uint32_t count;
    struct workload_request *request; /* [count] */
    uint32_t *order; /* [count] indices by arrival, ties as given; NULL: in order */
};

/* Arrivals are counted from the earliest (Poisson: from the start of the process); closed
 * ones are 0. 0 or -1; release in both cases. */
int requests_init(struct requests *r, struct trace *t, const struct workload_params *p,
                  uint64_t seed, struct err *e);
void requests_release(struct requests *r);

#endif

/* The runner over several GPUs: one struct run each, led in step through the layers.
 * crew.c leads and keeps the books, crew_route.c counts rows, crew_place.c says where
 * experts are and moves them, crew_bound.c spreads their work evenly for a bound. */
#ifndef MOESIM_RUN_CREW_H
#define MOESIM_RUN_CREW_H

#include "runner.h"

/* As run_policy(), for setup->parallel; fills what run_policy() has not. 0 or -1. */
int crew_run(const struct run_setup *setup, struct run_result *result, struct err *e);

#endif

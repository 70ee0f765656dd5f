/* Which GPU held what: placements of a result as text, and as a map that engines load
 * (sim/policy/place_map.h). */
#ifndef MOESIM_REPORT_PRINT_PLACEMENT_H
#define MOESIM_REPORT_PRINT_PLACEMENT_H

#include "sim/result/result.h"

#include <stdio.h>

/* What is asked for. */
struct placement_choice {
    const char *policy; /* by its label; NULL: all, or for a map the only one */
    int64_t pass;       /* the placement in force then; -1: the last */
    int64_t layer;      /* decoder layer; -1: the first with experts */
};

/* Prints GPU by GPU what each held of one layer, and its replicas. 0, or -1 where there
 * is no such policy, pass or layer. */
int result_print_placement(const struct result *r, const struct placement_choice *choice,
                           FILE *out, struct err *e);
/* Prints the map of one policy. 0, or -1 where several could be meant, or it has none: on
 * one GPU, or where every GPU has a slice of every expert. */
int result_print_map(const struct result *r, const struct placement_choice *choice,
                     FILE *out, struct err *e);

#endif

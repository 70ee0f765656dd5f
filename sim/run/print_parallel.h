/* The table of policies that ran over several GPUs: result_print() writes it in place of
 * the one of a single GPU. */
#ifndef MOESIM_RUN_PRINT_PARALLEL_H
#define MOESIM_RUN_PRINT_PARALLEL_H

#include "result.h"

/* The main table; what its words mean; and, where some policy has any of it, a second
 * table of misses, dropped choices, padding and migrations. */
void print_parallel(const struct result *r, FILE *out);

#endif

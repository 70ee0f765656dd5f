/* The table of policies that ran over several GPUs: result_print() writes it in place of
 * the one of a single GPU. */
#ifndef MOESIM_REPORT_PRINT_PARALLEL_H
#define MOESIM_REPORT_PRINT_PARALLEL_H

#include "print.h"
#include "sim/result/result.h"
#include "sim/base/text.h"

/* The main table, what its words mean, and the second table (print_extras.h). */
void print_parallel(const struct result *r, FILE *out);

/* The columns of the main table; the heads are NULL behind the last. */
extern const struct text_column print_parallel_columns[];

#endif

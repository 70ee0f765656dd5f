/* The table of policies that ran over several GPUs: result_print() writes it in place of
 * the one of a single GPU. */
#ifndef MOESIM_REPORT_PRINT_PARALLEL_H
#define MOESIM_REPORT_PRINT_PARALLEL_H

#include "print.h"
#include "sim/result/result.h"
#include "sim/base/text.h"

/* The main table; what its words mean; and, where some policy has any of it, a second
 * table of misses, dropped choices, padding and migrations. */
void print_parallel(const struct result *r, FILE *out);

/* The columns of the main table; the heads are NULL behind the last. */
extern const struct text_column print_parallel_columns[];

/* The columns of the second table. A policy that has nothing of one shows "-". */
struct print_column {
    const char *head[2]; /* two lines */
    bool (*has)(const struct result_policy *p, const struct result_summary *s);
    double (*value)(const struct result_policy *p, const struct result_summary *s);
    struct text_figure (*text)(double value);
};
extern const struct print_column
    print_extra_columns[]; /* `has` is NULL behind the last */

#endif

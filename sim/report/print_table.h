/* Tables of policies: a row each, of figures, or of how far one came that was stopped. */
#ifndef MOESIM_REPORT_PRINT_TABLE_H
#define MOESIM_REPORT_PRINT_TABLE_H

#include "sim/result/result.h"
#include "sim/base/text.h"

#include <stdio.h>

struct print_table {
    const struct text_column *column;
    size_t columns, label_columns;
    struct text_figure (*figure)(const struct result_policy *p,
                                 const struct result_summary *s, size_t column,
                                 const void *context);
    const void *context;
    bool whole_only; /* a policy that was stopped has no row */
};

/* The columns of policies on one GPU; the heads are NULL behind the last. */
extern const struct text_column print_columns[];

/* A count, to the last one below a million. */
struct text_figure print_whole_number(double count);
/* What the policies sum up to, [policies]; owned. */
struct result_summary *print_summaries(const struct result *r);
void print_table(const struct result *r, const struct result_summary *s,
                 const struct print_table *t, FILE *out);

#endif

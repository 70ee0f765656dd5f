/* The second table of a run: what only some policies have any of, such as misses over
 * several GPUs, dropped choices, migrations, and what a select changed. */
#ifndef MOESIM_REPORT_PRINT_EXTRAS_H
#define MOESIM_REPORT_PRINT_EXTRAS_H

#include "sim/result/result.h"
#include "sim/base/text.h"

/* A policy that has nothing of a column shows "-". */
struct print_column {
    const char *head[2]; /* two lines */
    bool (*has)(const struct result_policy *p, const struct result_summary *s);
    double (*value)(const struct result_policy *p, const struct result_summary *s);
    struct text_figure (*text)(double value);
};
extern const struct print_column
    print_extra_columns[]; /* `has` is NULL behind the last */

/* Columns that no policy has anything in are left out, and so is a table of none. */
void print_extras(const struct result *r, const struct result_summary *s,
                  size_t label_columns, FILE *out);

#endif

/* What the configurations of several results differ in, apart from their policies. */
#ifndef MOESIM_REPORT_REPORT_DIFFERS_H
#define MOESIM_REPORT_REPORT_DIFFERS_H

#include "sim/result/result.h"

struct report_axis {
    char *key;      /* "workload.batch" */
    char **value;   /* [results] as it is written; "" where it is not */
    double *number; /* [results]; NaN where some value is no number */
};

struct report_differs {
    size_t axes;
    struct report_axis *axis; /* [axes] in the order of the first result's keys */
};

/* Reads the configurations that the results keep; one that cannot be read has no keys.
 * Owned. */
void report_differs_find(const struct result *const *results, size_t count,
                         struct report_differs *d);
void report_differs_release(struct report_differs *d, size_t count);
/* Whether results differ in one number alone, each with its own. */
bool report_differs_is_axis(const struct report_differs *d, size_t count);
/* "batch 8, slots 4" of a result, with at most `most` keys; "" where there are more, or
 * none. Owned. */
char *report_differs_text(const struct report_differs *d, size_t result, size_t most);
/* A number and what stands behind it, "" or a unit; NULL: the text is no number. */
const char *report_number(const char *text, double *number);
/* The last part of a key: "batch" of "workload.batch". */
const char *report_differs_short(const char *key);

#endif

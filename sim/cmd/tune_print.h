/* What a search that has a best found, for people, as JSON, and every run of it as CSV.
 */
#ifndef MOESIM_CMD_TUNE_PRINT_H
#define MOESIM_CMD_TUNE_PRINT_H

#include "sim/experiment/tune_sure.h"

#include <stdio.h>

struct tune_report {
    const struct tune_study *s;
    const struct tune_outcome *o;
    const struct result *best; /* the whole run of o->best */
    struct tune_sure sure;
    struct tune_pair second;  /* the best and the second one */
    struct tune_pair against; /* the policy of `against:`, and the best of the others */
};

/* "cache.name s3fifo, cache.slots 8, policy lru": the keys that its policy has. Owned. */
char *tune_point_text(const struct tune_study *s, const struct tune_point *p);

void tune_print(const struct tune_report *r, FILE *out);
void tune_print_json(const struct tune_report *r, FILE *out);
void tune_print_csv(const struct tune_report *r, FILE *out);

#endif

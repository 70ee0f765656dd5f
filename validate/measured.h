/* Measurements to hold predictions against: a CSV file, one line per step, whose first
 * line names the columns. Lines that begin with '#' and empty lines are comments. A
 * column of times ends in its unit: wall_ms, io_us, total_s. */
#ifndef MOESIM_VALIDATE_MEASURED_H
#define MOESIM_VALIDATE_MEASURED_H

#include "sim/base/err.h"

#include <stddef.h>

struct measured {
    char *path;
    size_t columns, steps;
    char **name;   /* [columns] */
    double *value; /* (step, column) */
};

/* Fills `m` (owned; measured_release). Every cell must be a finite number. 0 or -1. */
int measured_read(const char *path, struct measured *m, struct err *e);
void measured_release(struct measured *m);

/* The sum of one or more columns of times, "stall_ms+mgmt_ms", in seconds, into
 * seconds[steps]. Every sum must be above 0. 0 or -1. */
int measured_seconds(const struct measured *m, const char *columns, double *seconds,
                     struct err *e);

#endif

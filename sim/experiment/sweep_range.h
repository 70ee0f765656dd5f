/* A range of numbers as a sweep has it: "1..64 log2", "8..64 GiB in 4", "0.5..0.9 step
 * 0.1".
 */
#ifndef MOESIM_EXPERIMENT_SWEEP_RANGE_H
#define MOESIM_EXPERIMENT_SWEEP_RANGE_H

#include <stdbool.h>
#include <stddef.h>

enum { SWEEP_MOST_VALUES = 100000, SWEEP_UNIT = 16 };

struct sweep_range {
    double low, high;
    bool whole;            /* whole numbers without a unit */
    double base;           /* 2 or 10: by its powers; 0: evenly */
    double step;           /* 0: none is given */
    unsigned count;        /* 0: none is given */
    char unit[SWEEP_UNIT]; /* "" or e.g. "GiB" */
};

/* Whether a text is meant as a range: a number before its first "..". */
bool sweep_range_is(const char *text);
/* Returns NULL, or what is wrong with the text. */
const char *sweep_range_parse(const char *text, struct sweep_range *r);
/* The values of a grid, ascending: owned, with their number; NULL where only `step` or
 * `in` would say which. At most SWEEP_MOST_VALUES + 1. */
double *sweep_range_values(const struct sweep_range *r, size_t *count);
/* The value at u of [0, 1): evenly, whole numbers alike, by logarithms with a base. */
double sweep_range_at(const struct sweep_range *r, double u);
/* Where a value of it stands from 0 to 1, evenly or by logarithms with a base. */
double sweep_range_place(const struct sweep_range *r, double value);
/* Whether a text is one number with a unit (or ""), "16 GB/s". */
bool sweep_range_number(const char *text, double *value, char unit[SWEEP_UNIT]);
/* As it is written in a configuration. Owned. */
char *sweep_range_text(const struct sweep_range *r, double value);

#endif

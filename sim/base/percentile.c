#include "percentile.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

void percentile_sort(double *value, size_t count)
{
    if (count > 1)
        qsort(value, count, sizeof *value, compare);
}

double percentile_of_sorted(const double *value, size_t count, double p)
{
    double rank, below;
    size_t i;

    assert(p >= 0 && p <= 1);
    if (count == 0)
        return NAN;
    rank = p * (double)(count - 1);
    below = floor(rank);
    i = (size_t)below;
    if (i + 1 >= count)
        return value[count - 1];
    return value[i] + (rank - below) * (value[i + 1] - value[i]);
}

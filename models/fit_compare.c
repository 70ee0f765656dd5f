#include "fit.h"

#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>

static int by_value(const void *a, const void *b)
{
    const double *x = a;
    const double *y = b;

    return (*x > *y) - (*x < *y);
}

struct fit_errors fit_compare(const double *predicted, const double *measured,
                              size_t first, size_t count)
{
    struct fit_errors r = {NAN, NAN, NAN, NAN};
    double sum = 0.0, sum_abs = 0.0, sum_predicted = 0.0, sum_measured = 0.0;
    double *sorted;

    if (count == 0)
        return r;
    sorted = mem_alloc(count, sizeof *sorted);
    for (size_t i = 0; i < count; i++) {
        double error = predicted[first + i] / measured[first + i] - 1.0;

        sorted[i] = fabs(error);
        sum += error;
        sum_abs += sorted[i];
        sum_predicted += predicted[first + i];
        sum_measured += measured[first + i];
    }
    qsort(sorted, count, sizeof *sorted, by_value);
    r.mean_abs = sum_abs / (double)count;
    r.median_abs = (sorted[(count - 1) / 2] + sorted[count / 2]) / 2.0;
    r.mean = sum / (double)count;
    r.total = sum_predicted / sum_measured - 1.0;
    free(sorted);
    return r;
}

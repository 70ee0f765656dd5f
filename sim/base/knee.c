#include "knee.h"

size_t knee_find(const double *x, const double *y, size_t count, double least)
{
    double farthest = least;
    size_t knee = 0;

    if (count < 3 || !(y[count - 1] > y[0]) || !(x[count - 1] > x[0]))
        return 0;
    for (size_t i = 1; i + 1 < count; i++) {
        double above =
            (y[i] - y[0]) / (y[count - 1] - y[0]) - (x[i] - x[0]) / (x[count - 1] - x[0]);

        if (above > farthest) {
            farthest = above;
            knee = i;
        }
    }
    return knee;
}

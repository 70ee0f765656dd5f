#include "sobol.h"

#include <gsl/gsl_qrng.h>

int sobol_fill(double *u, uint64_t points, unsigned dimensions, struct err *e)
{
    gsl_qrng *q = gsl_qrng_alloc(gsl_qrng_sobol, dimensions);

    if (q == NULL)
        return err_set(e, "GSL has no room for Sobol's sequence; free some memory");
    for (uint64_t p = 0; p < points; p++)
        (void)gsl_qrng_get(q, u + p * dimensions);
    gsl_qrng_free(q);
    return 0;
}

#include "sobol.h"

int sobol_fill(double *u, uint64_t points, unsigned dimensions, struct err *e)
{
    (void)u, (void)points, (void)dimensions;
    return err_set(e,
                   "Sobol's sequence is GSL's, which a program with CUDA may not link; "
                   "run this with moesim, or choose method: latin-hypercube");
}

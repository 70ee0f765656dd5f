/* What the callers of MPI share: its errors as sentences. */
#ifndef MOESIM_GPU_COMMUNICATOR_MPI_H
#define MOESIM_GPU_COMMUNICATOR_MPI_H

#include "sim/base/err.h"

/* 0 where `code`, which an MPI function returned, is MPI_SUCCESS; else -1 with MPI's own
 * text. `what` is the function's name. */
int communicator_mpi_check(int code, const char *what, struct err *e);

#endif

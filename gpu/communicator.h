/* Collectives over ranks, one process and one device each: what expert parallelism sends.
 * Two implementations: `mpi` moves the host device's memory, `nccl` a GPU's. The ranks
 * are those of MPI_COMM_WORLD; MPI must have been initialised, in this thread.
 *
 * A collective is called by all ranks, in the same order and with the same sizes. It only
 * has to be enqueued when its function returns: on a queue of the communicator's own, in
 * order, pointers borrowed until finish(). That queue knows nothing of the device's
 * streams, so finish what touches the memory first (device_ops.stream_finish), and call
 * finish() before using the result. `to` and `from` are device memory and do not overlap.
 *
 * After a failure (one sentence) nothing more may be called but close(); the other ranks
 * wait until the program ends them, with MPI_Abort. A rank that dies is the launcher's to
 * see; a caller sets a time limit on what waits. */
#ifndef MOESIM_GPU_COMMUNICATOR_H
#define MOESIM_GPU_COMMUNICATOR_H

#include "sim/base/err.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct communicator; /* a communicator; opaque, owned by the caller */

struct communicator_ops {
    const char *name;   /* "mpi", "nccl" */
    const char *device; /* the device_ops.name whose memory it moves */
    /* The library and its version, in words. */
    void (*describe)(char *text, size_t size);

    /* `index`: the device of this rank among its kind. Called by all ranks; returns
     * owned, or NULL. */
    struct communicator *(*open)(uint32_t index, struct err *e);
    /* NULL: nothing. Called by all ranks, or by one after a failure. */
    void (*close)(struct communicator *c);

    /* Block p of `from` goes to rank p, where it is block `rank` of `to`; each has
     * `bytes`. */
    int (*all_to_all)(struct communicator *c, void *to, const void *from, size_t bytes,
                      struct err *e);
    /* The same with blocks of unequal size, packed in rank order without gaps. `matrix`,
     * shape (sending rank, receiving rank), holds their bytes, 0 too, and is equal on all
     * ranks; it is copied. */
    int (*all_to_all_v)(struct communicator *c, void *to, const void *from,
                        const size_t *matrix, struct err *e);
    /* `to` gets every rank's `from` of `bytes`, in rank order. */
    int (*all_gather)(struct communicator *c, void *to, const void *from, size_t bytes,
                      struct err *e);
    /* `from` holds a block of `count` floats per rank; `to` gets the sum over ranks of
     * block `rank`, in an order that the library chooses. */
    int (*reduce_scatter)(struct communicator *c, float *to, const float *from,
                          size_t count, struct err *e);

    /* Blocks until all that this rank enqueued is done. `*seconds`: from the start of the
     * first collective since the last finish to the end of the last, on this rank. */
    int (*finish)(struct communicator *c, double *seconds, struct err *e);
    /* Returns when all ranks have called it. It does not wait for what is enqueued. */
    int (*barrier)(struct communicator *c, struct err *e);
};

extern const struct communicator_ops communicator_mpi;
extern const struct communicator_ops communicator_nccl; /* where CUDA is built in */

#ifdef __cplusplus
}
#endif

#endif

/* Collectives on host memory by MPI. Each is done when its function returns, so finish()
 * only hands out the time that was spent in them. */
#include "communicator.h"
#include "communicator_mpi.h"

#include "sim/base/mem.h"

#include <limits.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct communicator {
    MPI_Comm comm;
    int rank, ranks;
    double seconds; /* since the last finish */
    /* [ranks] each: the counts and displacements of all_to_all_v, in bytes. */
    int *from_count, *from_at, *to_count, *to_at;
};

int communicator_mpi_check(int code, const char *what, struct err *e)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;

    if (code == MPI_SUCCESS)
        return 0;
    if (MPI_Error_string(code, text, &length) != MPI_SUCCESS)
        text[0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return err_set(e, "%s failed: %s (MPI error %d)", what, text, code);
}

static void describe(char *text, size_t size)
{
    char version[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;

    if (MPI_Get_library_version(version, &length) != MPI_SUCCESS)
        version[0] = '\0';
    /* "Open MPI v4.1.4, package: ...": what follows is where it was built. */
    version[strcspn(version, ",\n")] = '\0';
    (void)snprintf(text, size, "%s", version[0] == '\0' ? "MPI" : version);
}

static void close_mpi(struct communicator *c)
{
    if (c == NULL)
        return;
    if (c->comm != MPI_COMM_NULL)
        (void)MPI_Comm_free(&c->comm);
    free(c->from_count);
    free(c->from_at);
    free(c->to_count);
    free(c->to_at);
    free(c);
}

static struct communicator *open_mpi(uint32_t index, struct err *e)
{
    struct communicator *c = mem_zalloc(1, sizeof *c);

    (void)index; /* host memory is the same from everywhere */
    c->comm = MPI_COMM_NULL;
    if (communicator_mpi_check(MPI_Comm_dup(MPI_COMM_WORLD, &c->comm), "MPI_Comm_dup",
                               e) != 0 ||
        communicator_mpi_check(MPI_Comm_set_errhandler(c->comm, MPI_ERRORS_RETURN),
                               "MPI_Comm_set_errhandler", e) != 0 ||
        communicator_mpi_check(MPI_Comm_rank(c->comm, &c->rank), "MPI_Comm_rank", e) !=
            0 ||
        communicator_mpi_check(MPI_Comm_size(c->comm, &c->ranks), "MPI_Comm_size", e) !=
            0) {
        close_mpi(c);
        return NULL;
    }
    c->from_count = mem_zalloc((size_t)c->ranks, sizeof *c->from_count);
    c->from_at = mem_zalloc((size_t)c->ranks, sizeof *c->from_at);
    c->to_count = mem_zalloc((size_t)c->ranks, sizeof *c->to_count);
    c->to_at = mem_zalloc((size_t)c->ranks, sizeof *c->to_at);
    return c;
}

/* MPI counts with int. */
static int check_count(size_t count, struct err *e)
{
    if (count > INT_MAX)
        return err_set(e,
                       "one call of MPI moves %d elements at most, not %zu; use "
                       "smaller messages",
                       INT_MAX, count);
    return 0;
}

/* Books the time since `begun`, an MPI_Wtime, for what `code` says of `what`. */
static int end_call(struct communicator *c, double begun, int code, const char *what,
                    struct err *e)
{
    c->seconds += MPI_Wtime() - begun;
    return communicator_mpi_check(code, what, e);
}

static int all_to_all(struct communicator *c, void *to, const void *from, size_t bytes,
                      struct err *e)
{
    double begun;

    if (check_count(bytes, e) != 0)
        return -1;
    begun = MPI_Wtime();
    return end_call(
        c, begun,
        MPI_Alltoall(from, (int)bytes, MPI_BYTE, to, (int)bytes, MPI_BYTE, c->comm),
        "MPI_Alltoall", e);
}

static int all_to_all_v(struct communicator *c, void *to, const void *from,
                        const size_t *matrix, struct err *e)
{
    size_t ranks = (size_t)c->ranks, rank = (size_t)c->rank, from_at = 0, to_at = 0;
    double begun;

    for (size_t p = 0; p < ranks; p++) {
        size_t from_bytes = matrix[rank * ranks + p], to_bytes = matrix[p * ranks + rank];

        if (check_count(from_at + from_bytes, e) != 0 ||
            check_count(to_at + to_bytes, e) != 0)
            return -1;
        c->from_count[p] = (int)from_bytes;
        c->from_at[p] = (int)from_at;
        c->to_count[p] = (int)to_bytes;
        c->to_at[p] = (int)to_at;
        from_at += from_bytes;
        to_at += to_bytes;
    }
    begun = MPI_Wtime();
    return end_call(c, begun,
                    MPI_Alltoallv(from, c->from_count, c->from_at, MPI_BYTE, to,
                                  c->to_count, c->to_at, MPI_BYTE, c->comm),
                    "MPI_Alltoallv", e);
}

static int all_gather(struct communicator *c, void *to, const void *from, size_t bytes,
                      struct err *e)
{
    double begun;

    if (check_count(bytes, e) != 0)
        return -1;
    begun = MPI_Wtime();
    return end_call(
        c, begun,
        MPI_Allgather(from, (int)bytes, MPI_BYTE, to, (int)bytes, MPI_BYTE, c->comm),
        "MPI_Allgather", e);
}

static int reduce_scatter(struct communicator *c, float *to, const float *from,
                          size_t count, struct err *e)
{
    double begun;

    if (check_count(count, e) != 0)
        return -1;
    begun = MPI_Wtime();
    return end_call(
        c, begun,
        MPI_Reduce_scatter_block(from, to, (int)count, MPI_FLOAT, MPI_SUM, c->comm),
        "MPI_Reduce_scatter_block", e);
}

static int finish(struct communicator *c, double *seconds, struct err *e)
{
    (void)e; /* nothing is left to fail */
    *seconds = c->seconds;
    c->seconds = 0.0;
    return 0;
}

static int barrier(struct communicator *c, struct err *e)
{
    return communicator_mpi_check(MPI_Barrier(c->comm), "MPI_Barrier", e);
}

const struct communicator_ops communicator_mpi = {
    .name = "mpi",
    .device = "host",
    .describe = describe,
    .open = open_mpi,
    .close = close_mpi,
    .all_to_all = all_to_all,
    .all_to_all_v = all_to_all_v,
    .all_gather = all_gather,
    .reduce_scatter = reduce_scatter,
    .finish = finish,
    .barrier = barrier,
};

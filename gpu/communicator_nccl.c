/* Collectives between GPUs by NCCL, one process and one GPU each. MPI only carries the
 * communicator's id, and the barrier.
 *
 * The communicator is non-blocking: no call waits inside NCCL, where nobody would see
 * that another rank has ended. We wait here, asking NCCL for such errors. Time is taken
 * by events on the communicator's own stream; as that is idle when the first one is
 * reached, the launch of the collective is within. */
#include "communicator.h"
#include "communicator_mpi.h"

#include "sim/base/mem.h"

#include <cuda_runtime_api.h>
#include <mpi.h>
#include <nccl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct communicator {
    ncclComm_t comm;
    cudaStream_t stream;
    cudaEvent_t begin, end; /* of what was enqueued since the last finish */
    bool enqueued, failed;
    uint32_t rank, ranks;
};

static int check_cuda(struct communicator *c, cudaError_t code, const char *what,
                      struct err *e)
{
    if (code == cudaSuccess)
        return 0;
    c->failed = true;
    return err_set(e, "%s failed on rank %u: %s", what, (unsigned)c->rank,
                   cudaGetErrorString(code));
}

static int fail_nccl(struct communicator *c, ncclResult_t code, const char *what,
                     struct err *e)
{
    c->failed = true;
    if (code == ncclRemoteError)
        return err_set(e, "%s failed on rank %u: another rank ended or cannot be reached",
                       what, (unsigned)c->rank);
    return err_set(e, "%s failed on rank %u: %s; NCCL_DEBUG=WARN tells more", what,
                   (unsigned)c->rank, ncclGetErrorString(code));
}

/* What NCCL is about has been enqueued, or has failed, when this returns. */
static int settle(struct communicator *c, ncclResult_t code, const char *what,
                  struct err *e)
{
    while (code == ncclInProgress) {
        ncclResult_t asked = ncclCommGetAsyncError(c->comm, &code);

        if (asked != ncclSuccess)
            return fail_nccl(c, asked, what, e);
        if (code == ncclInProgress)
            (void)sched_yield();
    }
    return code == ncclSuccess ? 0 : fail_nccl(c, code, what, e);
}

static void describe(char *text, size_t size)
{
    int version = 0;

    if (ncclGetVersion(&version) != ncclSuccess)
        version = 0;
    (void)snprintf(text, size, "NCCL %d.%d.%d", version / 10000, version / 100 % 100,
                   version % 100);
}

static void close_nccl(struct communicator *c)
{
    struct err ignored = {.text = ""};

    if (c == NULL)
        return;
    /* A communicator that failed is torn down alone, without the other ranks. */
    if (c->comm != NULL && !c->failed)
        (void)settle(c, ncclCommFinalize(c->comm), "ncclCommFinalize", &ignored);
    if (c->comm != NULL)
        (void)(c->failed ? ncclCommAbort(c->comm) : ncclCommDestroy(c->comm));
    if (c->begin != NULL)
        (void)cudaEventDestroy(c->begin);
    if (c->end != NULL)
        (void)cudaEventDestroy(c->end);
    if (c->stream != NULL)
        (void)cudaStreamDestroy(c->stream);
    free(c);
}

/* Rank 0 makes the id. All ranks learn whether it could, so that none waits for it. */
static int share_id(struct communicator *c, ncclUniqueId *id, struct err *e)
{
    ncclResult_t code = ncclSuccess;
    int made;

    if (c->rank == 0)
        code = ncclGetUniqueId(id);
    made = code == ncclSuccess;
    if (communicator_mpi_check(MPI_Bcast(&made, 1, MPI_INT, 0, MPI_COMM_WORLD),
                               "MPI_Bcast", e) != 0)
        return -1;
    if (!made)
        return c->rank == 0 ? fail_nccl(c, code, "ncclGetUniqueId", e)
                            : err_set(e, "rank 0 has no id for NCCL");
    return communicator_mpi_check(
        MPI_Bcast(id->internal, (int)sizeof id->internal, MPI_CHAR, 0, MPI_COMM_WORLD),
        "MPI_Bcast", e);
}

static int open_comm(struct communicator *c, uint32_t index, struct err *e)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    int rank, ranks;
    ncclUniqueId id;

    if (communicator_mpi_check(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "MPI_Comm_rank",
                               e) != 0 ||
        communicator_mpi_check(MPI_Comm_size(MPI_COMM_WORLD, &ranks), "MPI_Comm_size",
                               e) != 0)
        return -1;
    c->rank = (uint32_t)rank;
    c->ranks = (uint32_t)ranks;
    memset(&id, 0, sizeof id);
    if (share_id(c, &id, e) != 0)
        return -1;
    if (check_cuda(c, cudaSetDevice((int)index), "cudaSetDevice", e) != 0 ||
        check_cuda(c, cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking),
                   "cudaStreamCreateWithFlags", e) != 0 ||
        check_cuda(c, cudaEventCreate(&c->begin), "cudaEventCreate", e) != 0 ||
        check_cuda(c, cudaEventCreate(&c->end), "cudaEventCreate", e) != 0)
        return -1;
    config.blocking = 0;
    return settle(c, ncclCommInitRankConfig(&c->comm, ranks, id, rank, &config),
                  "ncclCommInitRankConfig", e);
}

static struct communicator *open_nccl(uint32_t index, struct err *e)
{
    struct communicator *c = mem_zalloc(1, sizeof *c);

    if (open_comm(c, index, e) != 0) {
        c->failed = true;
        close_nccl(c);
        return NULL;
    }
    return c;
}

static int begin_call(struct communicator *c, struct err *e)
{
    if (c->enqueued)
        return 0;
    c->enqueued = true;
    return check_cuda(c, cudaEventRecord(c->begin, c->stream), "cudaEventRecord", e);
}

static int end_call(struct communicator *c, ncclResult_t code, const char *what,
                    struct err *e)
{
    if (settle(c, code, what, e) != 0)
        return -1;
    return check_cuda(c, cudaEventRecord(c->end, c->stream), "cudaEventRecord", e);
}

/* Inside a group a non-blocking communicator may answer "in progress" too. */
static bool went_wrong(ncclResult_t code)
{
    return code != ncclSuccess && code != ncclInProgress;
}

/* The blocks of `matrix`, or of `each` bytes where it is NULL, as one group of sends and
 * receives. */
static int exchange(struct communicator *c, char *to, const char *from,
                    const size_t *matrix, size_t each, struct err *e)
{
    ncclResult_t code, ended;

    if (begin_call(c, e) != 0)
        return -1;
    code = ncclGroupStart();
    for (uint32_t p = 0; p < c->ranks && !went_wrong(code); p++) {
        size_t send = matrix == NULL ? each : matrix[c->rank * (size_t)c->ranks + p];
        size_t receive = matrix == NULL ? each : matrix[p * (size_t)c->ranks + c->rank];

        if (send > 0)
            code = ncclSend(from, send, ncclUint8, (int)p, c->comm, c->stream);
        if (receive > 0 && !went_wrong(code))
            code = ncclRecv(to, receive, ncclUint8, (int)p, c->comm, c->stream);
        from += send;
        to += receive;
    }
    ended = ncclGroupEnd();
    return end_call(c, went_wrong(code) ? code : ended, "ncclSend and ncclRecv", e);
}

static int all_to_all(struct communicator *c, void *to, const void *from, size_t bytes,
                      struct err *e)
{
    return exchange(c, to, from, NULL, bytes, e);
}

static int all_to_all_v(struct communicator *c, void *to, const void *from,
                        const size_t *matrix, struct err *e)
{
    return exchange(c, to, from, matrix, 0, e);
}

static int all_gather(struct communicator *c, void *to, const void *from, size_t bytes,
                      struct err *e)
{
    if (begin_call(c, e) != 0)
        return -1;
    return end_call(c, ncclAllGather(from, to, bytes, ncclUint8, c->comm, c->stream),
                    "ncclAllGather", e);
}

static int reduce_scatter(struct communicator *c, float *to, const float *from,
                          size_t count, struct err *e)
{
    if (begin_call(c, e) != 0)
        return -1;
    return end_call(
        c, ncclReduceScatter(from, to, count, ncclFloat32, ncclSum, c->comm, c->stream),
        "ncclReduceScatter", e);
}

static int finish(struct communicator *c, double *seconds, struct err *e)
{
    cudaError_t state;
    float ms = 0.0f;

    *seconds = 0.0;
    if (!c->enqueued)
        return 0;
    while ((state = cudaEventQuery(c->end)) == cudaErrorNotReady) {
        ncclResult_t code = ncclSuccess;
        ncclResult_t asked = ncclCommGetAsyncError(c->comm, &code);

        if (asked != ncclSuccess || went_wrong(code))
            return fail_nccl(c, asked != ncclSuccess ? asked : code, "a collective", e);
    }
    c->enqueued = false;
    if (check_cuda(c, state, "a collective", e) != 0 ||
        check_cuda(c, cudaEventElapsedTime(&ms, c->begin, c->end), "cudaEventElapsedTime",
                   e) != 0)
        return -1;
    *seconds = (double)ms * 1e-3;
    return 0;
}

static int barrier(struct communicator *c, struct err *e)
{
    int code = MPI_Barrier(MPI_COMM_WORLD);

    if (code != MPI_SUCCESS)
        c->failed = true;
    return communicator_mpi_check(code, "MPI_Barrier", e);
}

const struct communicator_ops communicator_nccl = {
    .name = "nccl",
    .device = "cuda",
    .describe = describe,
    .open = open_nccl,
    .close = close_nccl,
    .all_to_all = all_to_all,
    .all_to_all_v = all_to_all_v,
    .all_gather = all_gather,
    .reduce_scatter = reduce_scatter,
    .finish = finish,
    .barrier = barrier,
};

/* The host device, inside: what host.c (device, memory, info), host_stream.c (streams,
 * events, graphs), host_kernels.c, host_attention.c (the work) and host_blas.c share.
 * Nothing else includes this.
 *
 * A stream is one worker thread with a queue. All queues, marks and the failure are under
 * the device's one lock; work itself runs outside it. A record is a mark: made when it is
 * enqueued, reached when the worker passes it, and shared by the event, the queue and
 * the holds that wait for it, so that recording an event anew does not disturb those. A
 * hold names a mark that was enqueued before it, and workers run dry their queues even
 * when the device has failed (dropping the work), so every wait ends. */
#ifndef MOESIM_GPU_HOST_H
#define MOESIM_GPU_HOST_H

#include "device.h"

#include <pthread.h>
#include <stdatomic.h>

/* What is used of OpenBLAS, in fp32 and row-major (CBLAS's numbers for its enums). */
enum { HOST_ROW_MAJOR = 101, HOST_PLAIN = 111, HOST_TRANSPOSED = 112 };

struct host_blas {
    void *library;
    void (*gemm)(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                 const float *a, int lda, const float *b, int ldb, float beta, float *c,
                 int ldc);
    void (*gemv)(int order, int trans, int m, int n, float alpha, const float *a, int lda,
                 const float *x, int stride_x, float beta, float *y, int stride_y);
    void (*set_threads)(int threads);
    char *(*config)(void);
};

/* Loads the library, set to one thread a call. */
int host_blas_open(struct host_blas *b, struct err *e);
/* Whether a library that says this of itself may be called by several threads at once. 0
 * or -1. */
int host_blas_check(const char *config, struct err *e);
void host_blas_close(struct host_blas *b);

struct host_block {
    void *p;
    size_t bytes;
    enum device_memory kind;
};

struct host_device {
    struct device base;
    struct host_blas blas;
    char *name, *driver, *clocks;
    uint64_t total_bytes[2], used_bytes[2]; /* local; pinned and pageable */
    struct host_block *block;               /* all that is allocated */
    size_t blocks, block_room;

    pthread_mutex_t lock;
    pthread_cond_t reached; /* a mark was reached or a queue ran dry */
    atomic_bool failed;
    struct err failure;

    struct device_stream *streams; /* owned lists */
    struct device_event *events;
    struct device_graph *graphs;
};

struct host_mark {
    unsigned refs; /* under the lock */
    atomic_bool reached;
    int64_t ns; /* set before `reached` */
};

struct device_event {
    struct device_event *previous, *next;
    struct host_mark *mark; /* of the last record, or NULL; the caller's thread only */
};

/* An expert group's arrays, copied. */
struct host_lists {
    unsigned refs; /* under the lock */
    const void **weight;
    uint32_t *rows;
};

struct host_permutation {
    struct device_permute of;
    const float *x;
    float *y;
};

union host_args {
    struct {
        void *to;
        const void *from;
        uint8_t byte;
        size_t bytes;
    } move;
    struct device_gemm gemm;
    struct device_group group;
    struct device_attention attention;
    struct device_norm norm;
    struct host_permutation permute;
    struct {
        const float *x;
        float *y;
        size_t count;
        uint32_t rows, inner;
    } map;
    double ns;
};

/* The work itself, on the stream's worker. 0 or -1. */
typedef int host_run(struct device_stream *s, const union host_args *a, struct err *e);

enum host_kind { HOST_WORK, HOST_RECORD, HOST_HOLD };

struct host_call {
    enum host_kind kind;
    host_run *run;              /* HOST_WORK */
    struct host_lists *lists;   /* of an expert group, or NULL */
    struct device_event *event; /* record and hold, until enqueued */
    struct host_mark *mark;     /* record and hold, once enqueued */
    union host_args args;
};

struct device_graph {
    struct device_graph *previous, *next;
    struct host_call *call;
    size_t count, room;
};

struct device_stream {
    struct device_stream *next;
    struct host_device *device;
    pthread_t worker;
    pthread_cond_t work;
    struct host_call *ring; /* [room], a power of two */
    size_t room, head;
    atomic_size_t count;           /* queued; written under the lock */
    bool busy, ending;             /* under the lock */
    struct device_graph *recorded; /* while capturing; the caller's thread only */
    float *scratch;                /* the worker's own */
    size_t scratch_room;
};

/* Grown as needed; contents are lost. The worker's only. */
float *host_scratch(struct device_stream *s, size_t floats);

/* Enqueues or records a call. Takes one reference of call->lists. */
void host_push(struct device_stream *s, const struct host_call *call);

int64_t host_now_ns(void);
/* Keeps the first failure. */
void host_fail(struct host_device *d, const struct err *e);
int host_check(struct device *d, struct err *e);

struct device_stream *host_stream_new(struct device *d, int priority, struct err *e);
int host_stream_finish(struct device *d, struct device_stream *s, struct err *e);
/* Blocks until all streams are done. */
void host_streams_dry(struct host_device *d);
/* Ends all workers after that, frees streams, graphs and events. */
void host_streams_close(struct host_device *d);

struct device_event *host_event_new(struct device *d, struct err *e);
void host_event_free(struct device *d, struct device_event *v);
void host_event_record(struct device *d, struct device_event *v, struct device_stream *s);
void host_event_hold(struct device *d, struct device_event *v, struct device_stream *s);
bool host_event_reached(struct device *d, struct device_event *v);
int host_event_wait(struct device *d, struct device_event *v, struct err *e);
double host_event_ns(struct device *d, struct device_event *a, struct device_event *b);

void host_capture_begin(struct device *d, struct device_stream *s);
struct device_graph *host_capture_end(struct device *d, struct device_stream *s,
                                      struct err *e);
void host_graph_launch(struct device *d, struct device_stream *s, struct device_graph *g);
void host_graph_free(struct device *d, struct device_graph *g);

void host_copy(struct device *d, struct device_stream *s, void *to, const void *from,
               size_t bytes);
void host_fill(struct device *d, struct device_stream *s, void *to, uint8_t byte,
               size_t bytes);
void host_gemm(struct device *d, struct device_stream *s, const struct device_gemm *g);
void host_experts(struct device *d, struct device_stream *s,
                  const struct device_group *g);
void host_attention(struct device *d, struct device_stream *s,
                    const struct device_attention *a);
void host_norm(struct device *d, struct device_stream *s, const struct device_norm *n);
void host_gather(struct device *d, struct device_stream *s,
                 const struct device_permute *p, const void *x, void *y);
void host_scatter(struct device *d, struct device_stream *s,
                  const struct device_permute *p, const void *x, void *y);
void host_add(struct device *d, struct device_stream *s, void *y, const void *x,
              size_t count);
void host_gated(struct device *d, struct device_stream *s, const void *x, void *y,
                uint32_t rows, uint32_t inner);
void host_spin(struct device *d, struct device_stream *s, double ns);

/* y (rows, out) = x (rows, in) W^T, rows of x lying stride_x apart. */
void host_multiply(const struct host_blas *b, uint32_t rows, uint32_t in, uint32_t out,
                   const float *x, uint32_t stride_x, const float *w, float *y);
/* host_attention.c: the run of it. */
host_run host_attend;

#endif

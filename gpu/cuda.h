/* The cuda device, inside: what cuda_device.cu (device, memory, info), cuda_stream.cu
 * (streams, events, copies, graphs), cuda_gemm.cu (cuBLAS), cuda_attention.cu and
 * cuda_kernels.cu (our kernels) share. Nothing else includes this. CUDA's own types are
 * named by their struct tags, so that this header needs no header of CUDA's.
 *
 * Elements are bf16 (uint16_t here), sums fp32. All work goes to streams that do not
 * wait for the default stream. A stream has a scratch of its own, and so has a graph,
 * whatever stream it is launched on: since one stream's work is done in order, and since
 * two launches of one graph are done one after the other, one scratch serves all of it.
 *
 * Device memory for experts that is freed, and streams that are closed, wait for the
 * device first: nothing in flight loses what it reads. */
#ifndef MOESIM_GPU_CUDA_H
#define MOESIM_GPU_CUDA_H

#ifdef __cplusplus
extern "C" {
#endif

/* These have no such braces of their own. */
#include "sim/base/err.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"

#include "device.h"

struct CUstream_st;
struct CUevent_st;
struct CUgraphExec_st;
struct cublasContext;

enum {
    CUDA_PARTIAL_BYTES = 32 << 20, /* what cuBLAS asks for on Hopper and later */
    CUDA_EXPERTS = 256,            /* of one grouped GEMM; more take several */
    CUDA_POINTERS = 5              /* arrays of CUDA_EXPERTS device pointers */
};

struct cuda_scratch {
    void *partial;  /* cuBLAS's workspace; attention's partial results */
    void **pointer; /* (CUDA_POINTERS, CUDA_EXPERTS) of a grouped GEMM */
};

/* The host's arrays of a grouped GEMM; in a graph they live as long as it does. */
struct cuda_sizes {
    struct cuda_sizes *next;
    int transposed[CUDA_EXPERTS], plain[CUDA_EXPERTS]; /* cublasOperation_t */
    int m[CUDA_EXPERTS], n[CUDA_EXPERTS], k[CUDA_EXPERTS];
    int lda[CUDA_EXPERTS], ldb[CUDA_EXPERTS], ldc[CUDA_EXPERTS];
    int one[CUDA_EXPERTS];
    float alpha[CUDA_EXPERTS], beta[CUDA_EXPERTS];
};

struct cuda_block {
    void *p;
    enum device_memory kind;
};

struct device_stream {
    struct device_stream *next;
    struct CUstream_st *stream;
    struct cuda_scratch own;
    struct device_graph *capture; /* that is being recorded, or NULL */
};

struct device_event {
    struct device_event *previous, *next;
    struct CUevent_st *event;
    bool recorded;
};

struct device_graph {
    struct device_graph *previous, *next;
    struct CUgraphExec_st *exec;
    struct cuda_scratch own;
    struct cuda_sizes *sizes;
};

struct cuda {
    struct device base;
    int index;
    uint32_t processors;
    struct cublasContext *blas;
    struct CUstream_st *trial; /* for captures that are thrown away */
    struct cuda_sizes *sizes;  /* of grouped GEMMs outside graphs */
    struct err failure;        /* the first; "" while there is none */
    struct cuda_block *block;  /* all that was allocated and not freed */
    size_t blocks, block_room;
    struct device_stream *streams;
    struct device_event *events;
    struct device_graph *graphs;
    char name[256], driver[128], clocks[96];
};

static inline struct cuda *cuda_of(struct device *d)
{
    return (struct cuda *)d;
}

/* True if the device can do more work: it has not failed, and is this thread's current
 * one from here on. What enqueues begins with it. */
bool cuda_enter(struct cuda *c);
/* True if the status is cudaSuccess; else it is latched, with what was called, in words.
 */
bool cuda_ok(struct cuda *c, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same of what a kernel launch left behind. */
bool cuda_launched(struct cuda *c, const char *kernel);
/* Latches a sentence of our own. */
void cuda_fail(struct cuda *c, const char *sentence);
/* 0, or -1 with the failure. */
int cuda_check(struct device *d, struct err *e);

/* Device memory for a stream or a graph. 0 or -1, not latched. */
int cuda_scratch_new(struct cuda *c, struct cuda_scratch *s, struct err *e);
void cuda_scratch_free(struct cuda_scratch *s);
static inline const struct cuda_scratch *cuda_scratch_of(const struct device_stream *s)
{
    return s->capture == NULL ? &s->own : &s->capture->own;
}

struct device_stream *cuda_stream_new(struct device *d, int priority, struct err *e);
int cuda_stream_finish(struct device *d, struct device_stream *s, struct err *e);
/* Ends all streams, graphs and events; nothing may be in flight. */
void cuda_streams_close(struct cuda *c);

struct device_event *cuda_event_new(struct device *d, struct err *e);
void cuda_event_free(struct device *d, struct device_event *v);
void cuda_event_record(struct device *d, struct device_event *v, struct device_stream *s);
void cuda_event_hold(struct device *d, struct device_event *v, struct device_stream *s);
bool cuda_event_reached(struct device *d, struct device_event *v);
int cuda_event_wait(struct device *d, struct device_event *v, struct err *e);
double cuda_event_ns(struct device *d, struct device_event *a, struct device_event *b);

void cuda_copy(struct device *d, struct device_stream *s, void *to, const void *from,
               size_t bytes);
void cuda_fill(struct device *d, struct device_stream *s, void *to, uint8_t byte,
               size_t bytes);

void cuda_capture_begin(struct device *d, struct device_stream *s);
struct device_graph *cuda_capture_end(struct device *d, struct device_stream *s,
                                      struct err *e);
void cuda_graph_launch(struct device *d, struct device_stream *s, struct device_graph *g);
void cuda_graph_free(struct device *d, struct device_graph *g);

/* NULL on failure; cuda_blas_close(NULL) does nothing. */
struct cublasContext *cuda_blas_open(struct cuda *c, int *version, struct err *e);
void cuda_blas_close(struct cublasContext *blas);
void cuda_gemm(struct device *d, struct device_stream *s, const struct device_gemm *g);
void cuda_experts(struct device *d, struct device_stream *s,
                  const struct device_group *g);

void cuda_attention(struct device *d, struct device_stream *s,
                    const struct device_attention *a);

void cuda_norm(struct device *d, struct device_stream *s, const struct device_norm *n);
void cuda_gather(struct device *d, struct device_stream *s,
                 const struct device_permute *p, const void *x, void *y);
void cuda_scatter(struct device *d, struct device_stream *s,
                  const struct device_permute *p, const void *x, void *y);
void cuda_add(struct device *d, struct device_stream *s, void *y, const void *x,
              size_t count);
void cuda_gated(struct device *d, struct device_stream *s, const void *x, void *y,
                uint32_t rows, uint32_t inner);
void cuda_spin(struct device *d, struct device_stream *s, double ns);

/* Between an expert's GEMMs, in place: row r of x is at r * 2 inner and becomes
 * SiLU(first inner) * (second inner), or ReLU(first inner), in its first `inner`. */
void cuda_activate(struct cuda *c, struct device_stream *s, uint16_t *x, uint32_t rows,
                   uint32_t inner, bool gated);

#ifdef __cplusplus
}
#endif

#endif

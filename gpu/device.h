/* A device: memory, streams, events, and the kernels that an MoE layer is made of. The
 * narrow boundary between the executor (exec_device.h), the micro-benchmarks and whatever
 * does the work. Two implementations: `host` (streams are worker threads, memory is
 * memory, GEMMs by OpenBLAS in fp32) and `cuda` (streams, cuBLAS and small kernels of
 * ours in bf16). reference.h computes the same on one thread, plainly.
 *
 * Everything that takes a stream only enqueues: it returns at once, is done in order of
 * submission on that stream, and keeps its pointers (borrowed) until then. Small argument
 * structs are copied. A failure while enqueuing or executing is kept in the device as one
 * sentence; from then on nothing more is done, and what waits (event_wait, stream_wait,
 * finish) returns -1 with it: no call hangs on work that cannot end.
 *
 * Matrices are row-major. A weight matrix W (out, in) is applied as y = x W^T. An element
 * has device_ops.element_bytes: activations, weights and KV cache have one type (fp32 or
 * bf16); sums are in fp32 at least. Memory is addressed in bytes with plain pointers, on
 * the device also; only copy() may read one that another kind of memory gave.
 *
 * A struct device is used by one thread at a time. */
#ifndef MOESIM_GPU_DEVICE_H
#define MOESIM_GPU_DEVICE_H

#include "sim/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum device_memory {
    DEVICE_MEMORY_LOCAL,    /* the device's own */
    DEVICE_MEMORY_PINNED,   /* the host's, page-locked: copies overlap with kernels */
    DEVICE_MEMORY_PAGEABLE, /* the host's, plain */
    DEVICE_MEMORIES
};

enum device_element { DEVICE_F32, DEVICE_BF16 };

struct device;
struct device_stream;
struct device_event;
struct device_graph;

/* What a machine file and a report's head say of it. Strings live as long as the device.
 */
struct device_info {
    const char *name;   /* "NVIDIA H100 80GB HBM3", the CPU's model name */
    const char *driver; /* driver and library versions, in words */
    const char *clocks; /* "" where unknown */
    enum device_element element;
    uint64_t local_bytes, local_free_bytes; /* of DEVICE_MEMORY_LOCAL */
    uint64_t host_bytes, host_free_bytes;
    uint32_t processors; /* SMs, or worker threads at most */
    bool emulated;       /* does what it is asked, in times that measure nothing
                            (tests/cuda_on_cpu): they are neither printed nor written */
};

/* An expert's feed-forward: gated (SiLU(x G^T) * (x U^T)) D^T with weights laid out
 * G (inner, hidden), U (inner, hidden), D (hidden, inner) one after another; or plain
 * (ReLU(x A^T)) B^T with A (inner, hidden), B (hidden, inner). */
struct device_ffn {
    uint32_t hidden, inner;
    uint32_t matrices; /* 3 gated, 2 plain */
};

static inline size_t device_ffn_elements(const struct device_ffn *f)
{
    return (size_t)f->matrices * f->hidden * f->inner;
}

/* Experts of one layer that run as one grouped GEMM. Arrays are the host's and are copied
 * when enqueued. Rows of x and y are grouped by expert, in the order of `weight`. */
struct device_group {
    struct device_ffn ffn;
    uint32_t count;            /* experts, at least 1 */
    const void *const *weight; /* [count] */
    const uint32_t *rows;      /* [count], each at least 1 */
    const void *x;             /* (sum of rows, hidden) */
    void *y;                   /* (sum of rows, hidden) */
    void *work;                /* (sum of rows, 2 inner) */
};

/* y (rows, out) = x (rows, in) W^T. */
struct device_gemm {
    uint32_t rows, in, out;
    const void *x, *w;
    void *y;
};

/* One attention kernel, decode or prefill alike: each row attends to the first `length`
 * tokens of its sequence's cache. Query heads share key/value heads evenly (GQA); MLA in
 * its absorbed form has one key/value head with key_dim above value_dim. */
struct device_attention {
    uint32_t rows, heads, kv_heads, key_dim, value_dim;
    const void *q;          /* (rows, heads, key_dim) */
    const void *keys;       /* (cache tokens, kv_heads, key_dim) */
    const void *values;     /* (cache tokens, kv_heads, value_dim) */
    const uint64_t *first;  /* [rows] device: the sequence's first cache token */
    const uint32_t *length; /* [rows] device: at least 1 */
    uint32_t longest;       /* max of length, for the launch */
    void *out;              /* (rows, heads, value_dim) */
};

/* y = RMS norm of x times weight, per row. */
struct device_norm {
    uint32_t rows, hidden;
    const void *x, *weight;
    void *y;
};

/* Which tokens go to which expert rows. Index arrays are the device's. */
struct device_permute {
    uint32_t tokens, rows, top_k, hidden;
    const uint32_t *row_token; /* [rows] gather: row r is a copy of token row_token[r] */
    const uint32_t *token_row; /* (tokens, top_k) scatter: its rows; UINT32_MAX: none */
    const float *token_weight; /* (tokens, top_k) of the sum */
};

struct device_ops {
    const char *name; /* "host", "cuda" */
    const char *help;
    /* How many there are; 0 with the reason in e where none can be used. */
    uint32_t (*count)(struct err *e);
    /* Returns owned, or NULL. */
    struct device *(*open)(uint32_t index, struct err *e);
    void (*close)(struct device *d);
    void (*info)(struct device *d, struct device_info *info);
    size_t (*element_bytes)(const struct device *d);

    /* Memory. alloc: 0 with *p owned by the device until mem_free or close, or -1 with
     * what was asked for and what is left. */
    int (*mem_alloc)(struct device *d, enum device_memory kind, size_t bytes, void **p,
                     struct err *e);
    void (*mem_free)(struct device *d, enum device_memory kind, void *p);

    /* Streams, owned by the device until close. Lower priority numbers go first. */
    struct device_stream *(*stream_new)(struct device *d, int priority, struct err *e);
    /* Blocks until all that was enqueued is done. */
    int (*stream_finish)(struct device *d, struct device_stream *s, struct err *e);

    /* Events: a place in a stream, with its time. Owned by the device until event_free.
     */
    struct device_event *(*event_new)(struct device *d, struct err *e);
    void (*event_free)(struct device *d, struct device_event *v);
    void (*event_record)(struct device *d, struct device_event *v,
                         struct device_stream *s);
    /* The stream goes on only when the event's last record is reached. */
    void (*event_hold)(struct device *d, struct device_event *v, struct device_stream *s);
    /* True if it has been reached (or the device has failed). Never recorded: true. */
    bool (*event_reached)(struct device *d, struct device_event *v);
    int (*event_wait)(struct device *d, struct device_event *v, struct err *e);
    /* Nanoseconds from a to b, both reached; negative where b was before. */
    double (*event_ns)(struct device *d, struct device_event *a, struct device_event *b);

    /* What runs on streams. copy: between any kinds of memory; on a GPU only pinned and
     * device memory copy while the caller goes on. fill: of the device's own memory. */
    void (*copy)(struct device *d, struct device_stream *s, void *to, const void *from,
                 size_t bytes);
    void (*fill)(struct device *d, struct device_stream *s, void *to, uint8_t byte,
                 size_t bytes);
    void (*gemm)(struct device *d, struct device_stream *s, const struct device_gemm *g);
    void (*experts)(struct device *d, struct device_stream *s,
                    const struct device_group *g);
    void (*attention)(struct device *d, struct device_stream *s,
                      const struct device_attention *a);
    void (*norm)(struct device *d, struct device_stream *s, const struct device_norm *n);
    /* y (rows, hidden) gathered from x (tokens, hidden). */
    void (*gather)(struct device *d, struct device_stream *s,
                   const struct device_permute *p, const void *x, void *y);
    /* y (tokens, hidden) += weighted sum of rows of x (rows, hidden). */
    void (*scatter)(struct device *d, struct device_stream *s,
                    const struct device_permute *p, const void *x, void *y);
    /* y (count) += x. */
    void (*add)(struct device *d, struct device_stream *s, void *y, const void *x,
                size_t count);
    /* SiLU(x's first half) * second half, per row: (rows, 2 inner) -> (rows, inner). */
    void (*gated)(struct device *d, struct device_stream *s, const void *x, void *y,
                  uint32_t rows, uint32_t inner);
    /* Keeps the stream busy about that long, so that what follows is enqueued by then. */
    void (*spin)(struct device *d, struct device_stream *s, double ns);

    /* What is enqueued on `s` between the two is recorded instead of done. end: returns
     * owned by the device until graph_free, or NULL. */
    void (*capture_begin)(struct device *d, struct device_stream *s);
    struct device_graph *(*capture_end)(struct device *d, struct device_stream *s,
                                        struct err *e);
    void (*graph_launch)(struct device *d, struct device_stream *s,
                         struct device_graph *g);
    void (*graph_free)(struct device *d, struct device_graph *g);

    /* 0, or -1 with the first failure. Does not wait. */
    int (*check)(struct device *d, struct err *e);
};

/* Every implementation's struct begins with this. */
struct device {
    const struct device_ops *ops;
};

extern const struct device_ops device_host;
extern const struct device_ops device_cuda; /* only where MOESIM_CUDA is defined */

/* All that this program was built with, the host first. */
extern const struct device_ops *const device_all[];
extern const size_t device_count;

/* Opens "host", "host:0", "cuda:0". *missing is set, and -1 returned, where the text is
 * right but this machine or program has no such device (exit 77). */
int device_open(const char *text, struct device **d, bool *missing, struct err *e);
/* NULL: nothing. */
void device_close(struct device *d);

#ifdef __cplusplus
}
#endif

#endif

/* What the micro-benchmarks (bench_*.c) and their runner (bench.c) share; bench_rig.c
 * defines it. Nothing else includes this. */
#ifndef MOESIM_GPU_BENCH_RIG_H
#define MOESIM_GPU_BENCH_RIG_H

#include "bench.h"
#include "models/samples.h"

enum { BENCH_WORKERS = 64 };

struct bench_shapes {
    uint64_t (*value)[SAMPLES_COLUMNS]; /* [count]; owned by the runner */
    size_t count, room;
};

struct bench {
    struct device *d;
    const struct device_ops *o;
    struct device_info info;
    size_t element; /* bytes */
    bool quick;
    struct device_stream *s, *other;
    struct device_event *event[4];
    /* Of each kind of memory, all holding bench_pattern() over and over. */
    char *pool[DEVICE_MEMORIES];
    size_t pool_bytes, cursor;
    float *pattern;     /* [BENCH_PATTERN], as the device's elements hold it */
    struct device *cpu; /* the host device, for CPU experts */
    struct device_stream *worker[BENCH_WORKERS]; /* [workers], of the host device */
    uint32_t workers;
    char *cpu_pool;        /* as the others, in the host device's memory */
    const uint64_t *shape; /* the current one */
    void *state;           /* the benchmark's, from setup to the end of the shape */
    void *owned[16];       /* device memory of the shape */
    size_t owns;
};

struct device_bench {
    const struct samples_schema *table;
    const char *help;
    /* NULL: anywhere. */
    bool (*can_run)(const struct bench *b);
    /* Small ones first. */
    void (*shapes)(const struct bench *b, struct bench_shapes *list);
    /* 0, 1: does not fit, or -1. */
    int (*setup)(struct bench *b, struct err *e);
    int (*run)(struct bench *b, double *seconds, struct err *e);
    /* After a run; NULL: nothing to check. */
    int (*check)(struct bench *b, struct err *e);
    /* Frees what setup made beyond `state` and `owned`; NULL: nothing. */
    void (*end)(struct bench *b);
    /* Of one sample; NULL: not counted. */
    double (*flops)(const uint64_t *shape);
    double (*bytes)(const struct bench *b, const uint64_t *shape);
};

extern const struct device_bench bench_copy, bench_chunks, bench_duplex;
extern const struct device_bench bench_launch;
extern const struct device_bench bench_move, bench_gemm, bench_attention;
extern const struct device_bench bench_experts, bench_cpu;

void bench_add_shape(struct bench_shapes *list, const uint64_t *value, size_t values);
#define BENCH_SHAPE(list, ...)                                                           \
    bench_add_shape((list), (const uint64_t[]){__VA_ARGS__},                             \
                    sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

/* Where the next so many bytes of the pools begin, the same in each; at most pool_bytes.
 */
size_t bench_take(struct bench *b, size_t bytes);

/* Element i of a pool is pattern[i % BENCH_PATTERN]: values within (-0.05, 0.05). */
enum { BENCH_PATTERN = 1 << 20 };
/* Floats of the pool's elements [first, first + count). Owned by the caller. */
float *bench_pattern(const struct bench *b, size_t first, size_t count);

/* Device memory until the end of the shape, holding the pattern. 0, 1 if there is not
 * enough, -1. */
int bench_local(struct bench *b, size_t bytes, void **p, struct err *e);
/* Sends host memory there. */
int bench_send(struct bench *b, const void *x, size_t bytes, void **p, struct err *e);
/* Fills the lists of a permutation whose sizes are set: row r is of token r % tokens, so
 * that a token's rows lie apart, as experts do. */
int bench_permute(struct bench *b, struct device_permute *p, struct err *e);

/* Opens streams, events and pools of about so many bytes, less where there is less
 * memory; `whole`: with pageable memory and the host's processors, which only some
 * benchmarks use. Fills `b` (bench_rig_close, also on failure); the device must outlive
 * it. 0 or -1. */
int bench_rig_open(struct bench *b, struct device *d, uint64_t pool_bytes, bool whole,
                   struct err *e);
void bench_rig_close(struct bench *b);
/* Gives the shape's device memory back. */
void bench_free_local(struct bench *b);

/* One run of a benchmark that is set up, above 0 seconds. 0 or -1. */
int bench_sample(struct bench *b, const struct device_bench *k, double *seconds,
                 struct err *e);

/* What is enqueued on b->s between the two is timed on the device. */
void bench_begin(struct bench *b);
int bench_finish(struct bench *b, double *seconds, struct err *e);

/* Seconds of the host's clock. */
double bench_now(void);

/* Compares floats with the device's elements, 1e-5 (fp32) or 1e-2 (bf16) of the largest
 * magnitude. 0 or -1. */
int bench_expect(struct bench *b, const void *device, const float *expected, size_t count,
                 struct err *e);

#endif

/* The small kernels of the cuda device. All are bound by memory: a thread takes eight
 * elements, a block of THREADS a stretch of one row, grid (rows, stretches). No thread
 * reads what another one writes, so what is said to work in place does. */
#include "cuda.h"

#include "cuda_eight.cuh"
#include "cuda_launch.cuh"

enum { THREADS = 256, WARP = 32 };

/* The same as reference.h has. */
#define NORM_EPSILON 1e-6F

static uint32_t eights(uint64_t elements)
{
    return (uint32_t)((elements + 7) / 8);
}

/* Blocks for rows of so many elements. */
static dim3 grid_of(uint32_t rows, uint32_t columns)
{
    return dim3(rows, (eights(columns) + THREADS - 1) / THREADS);
}

/* ---- gated and ReLU ---- */

struct activation {
    const uint16_t *x;
    uint16_t *y;
    size_t stride_x, stride_y; /* elements from row to row */
    uint32_t inner;
    bool wide;
};

static __device__ __forceinline__ float silu(float x)
{
    return x / (1.0F + expf(-x));
}

/* x may be y where the strides are equal. */
static __global__ void gated(struct activation a)
{
    const uint32_t at = 8 * (blockIdx.y * THREADS + threadIdx.x);
    const uint16_t *x = a.x + blockIdx.x * a.stride_x + at;
    struct eight gate;
    struct eight up;

    if (at >= a.inner)
        return;
    gate = eight_load(x, a.inner - at, a.wide);
    up = eight_load(x + a.inner, a.inner - at, a.wide);
#pragma unroll
    for (int i = 0; i < 8; i++)
        up.f[i] *= silu(gate.f[i]);
    eight_store(a.y + blockIdx.x * a.stride_y + at, &up, a.inner - at, a.wide);
}

static __global__ void relu(struct activation a)
{
    const uint32_t at = 8 * (blockIdx.y * THREADS + threadIdx.x);
    struct eight v;

    if (at >= a.inner)
        return;
    v = eight_load(a.x + blockIdx.x * a.stride_x + at, a.inner - at, a.wide);
#pragma unroll
    for (int i = 0; i < 8; i++)
        v.f[i] = fmaxf(v.f[i], 0.0F);
    eight_store(a.y + blockIdx.x * a.stride_y + at, &v, a.inner - at, a.wide);
}

void cuda_activate(struct cuda *c, struct device_stream *s, uint16_t *x, uint32_t rows,
                   uint32_t inner, bool is_gated)
{
    struct activation a;

    a.x = a.y = x;
    a.stride_x = a.stride_y = 2 * (size_t)inner;
    a.inner = inner;
    a.wide = eight_fits(x, inner);
    if (is_gated)
        cuda_launch(s->stream, gated, grid_of(rows, inner), THREADS, 0, a);
    else
        cuda_launch(s->stream, relu, grid_of(rows, inner), THREADS, 0, a);
    (void)cuda_launched(c, is_gated ? "gated" : "relu");
}

void cuda_gated(struct device *d, struct device_stream *s, const void *x, void *y,
                uint32_t rows, uint32_t inner)
{
    struct cuda *c = cuda_of(d);
    struct activation a;

    if (rows == 0 || inner == 0 || !cuda_enter(c))
        return;
    a.x = (const uint16_t *)x;
    a.y = (uint16_t *)y;
    a.stride_x = 2 * (size_t)inner;
    a.stride_y = inner;
    a.inner = inner;
    a.wide = eight_fits(x, inner) && eight_fits(y, inner);
    cuda_launch(s->stream, gated, grid_of(rows, inner), THREADS, 0, a);
    (void)cuda_launched(c, "gated");
}

/* ---- add ---- */

static __global__ void add(uint16_t *y, const uint16_t *x, size_t count, bool wide)
{
    const size_t at = 8 * ((size_t)blockIdx.x * THREADS + threadIdx.x);
    uint32_t left;
    struct eight a;
    struct eight b;

    if (at >= count)
        return;
    left = count - at < 8 ? (uint32_t)(count - at) : 8;
    wide = wide && left == 8;
    a = eight_load(y + at, left, wide);
    b = eight_load(x + at, left, wide);
#pragma unroll
    for (int i = 0; i < 8; i++)
        a.f[i] += b.f[i];
    eight_store(y + at, &a, left, wide);
}

void cuda_add(struct device *d, struct device_stream *s, void *y, const void *x,
              size_t count)
{
    struct cuda *c = cuda_of(d);
    const size_t per_block = 8 * THREADS;

    if (count == 0 || !cuda_enter(c))
        return;
    cuda_launch(s->stream, add, (uint32_t)((count + per_block - 1) / per_block), THREADS,
                0, (uint16_t *)y, (const uint16_t *)x, count,
                eight_fits(x, 0) && eight_fits(y, 0));
    (void)cuda_launched(c, "add");
}

/* ---- norm ---- */

/* The sum over the block, in every thread. `part` has a float for each warp. */
static __device__ float block_sum(float x, float *part)
{
    float sum = 0.0F;

#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2)
        x += __shfl_xor_sync(0xffffffffU, x, step);
    if (threadIdx.x % WARP == 0)
        part[threadIdx.x / WARP] = x;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < THREADS / WARP; i++)
        sum += part[i];
    return sum;
}

/* A block a row. y may be x: a thread writes only what it alone reads. */
static __global__ void norm(const uint16_t *x, const uint16_t *weight, uint16_t *y,
                            uint32_t hidden, bool wide)
{
    __shared__ float part[THREADS / WARP];
    const size_t row = (size_t)blockIdx.x * hidden;
    float squares = 0.0F;
    float scale;

    for (uint32_t at = 8 * threadIdx.x; at < hidden; at += 8 * THREADS) {
        const struct eight v = eight_load(x + row + at, hidden - at, wide);

#pragma unroll
        for (int i = 0; i < 8; i++)
            squares += v.f[i] * v.f[i];
    }
    scale = rsqrtf(block_sum(squares, part) / (float)hidden + NORM_EPSILON);
    for (uint32_t at = 8 * threadIdx.x; at < hidden; at += 8 * THREADS) {
        const struct eight w = eight_load(weight + at, hidden - at, wide);
        struct eight v = eight_load(x + row + at, hidden - at, wide);

#pragma unroll
        for (int i = 0; i < 8; i++)
            v.f[i] *= scale * w.f[i];
        eight_store(y + row + at, &v, hidden - at, wide);
    }
}

void cuda_norm(struct device *d, struct device_stream *s, const struct device_norm *n)
{
    struct cuda *c = cuda_of(d);
    const bool wide = eight_fits(n->x, n->hidden) && eight_fits(n->weight, n->hidden) &&
                      eight_fits(n->y, n->hidden);

    if (n->rows == 0 || n->hidden == 0 || !cuda_enter(c))
        return;
    cuda_launch(s->stream, norm, n->rows, THREADS, 0, (const uint16_t *)n->x,
                (const uint16_t *)n->weight, (uint16_t *)n->y, n->hidden, wide);
    (void)cuda_launched(c, "norm");
}

/* ---- gather and scatter ---- */

struct permutation {
    const uint32_t *row_token, *token_row;
    const float *token_weight;
    const uint16_t *x;
    uint16_t *y;
    uint32_t top_k, hidden;
    bool wide;
};

static __global__ void gather(struct permutation p)
{
    const uint32_t at = 8 * (blockIdx.y * THREADS + threadIdx.x);
    struct eight v;

    if (at >= p.hidden)
        return;
    v = eight_load(p.x + (size_t)p.row_token[blockIdx.x] * p.hidden + at, p.hidden - at,
                   p.wide);
    eight_store(p.y + (size_t)blockIdx.x * p.hidden + at, &v, p.hidden - at, p.wide);
}

/* A token's rows are added in the order of k, whatever their order in x: the same sum
 * every time. */
static __global__ void scatter(struct permutation p)
{
    const uint32_t at = 8 * (blockIdx.y * THREADS + threadIdx.x);
    const size_t token = blockIdx.x;
    uint16_t *y = p.y + token * p.hidden + at;
    struct eight sum;

    if (at >= p.hidden)
        return;
    sum = eight_load(y, p.hidden - at, p.wide);
    for (uint32_t k = 0; k < p.top_k; k++) {
        const uint32_t row = p.token_row[token * p.top_k + k];
        const float weight = p.token_weight[token * p.top_k + k];
        struct eight v;

        if (row == UINT32_MAX)
            continue;
        v = eight_load(p.x + (size_t)row * p.hidden + at, p.hidden - at, p.wide);
#pragma unroll
        for (int i = 0; i < 8; i++)
            sum.f[i] += weight * v.f[i];
    }
    eight_store(y, &sum, p.hidden - at, p.wide);
}

static struct permutation permutation_of(const struct device_permute *of, const void *x,
                                         void *y)
{
    struct permutation p;

    p.row_token = of->row_token;
    p.token_row = of->token_row;
    p.token_weight = of->token_weight;
    p.x = (const uint16_t *)x;
    p.y = (uint16_t *)y;
    p.top_k = of->top_k;
    p.hidden = of->hidden;
    p.wide = eight_fits(x, of->hidden) && eight_fits(y, of->hidden);
    return p;
}

void cuda_gather(struct device *d, struct device_stream *s,
                 const struct device_permute *p, const void *x, void *y)
{
    struct cuda *c = cuda_of(d);

    if (p->rows == 0 || p->hidden == 0 || !cuda_enter(c))
        return;
    cuda_launch(s->stream, gather, grid_of(p->rows, p->hidden), THREADS, 0,
                permutation_of(p, x, y));
    (void)cuda_launched(c, "gather");
}

void cuda_scatter(struct device *d, struct device_stream *s,
                  const struct device_permute *p, const void *x, void *y)
{
    struct cuda *c = cuda_of(d);

    if (p->tokens == 0 || p->hidden == 0 || !cuda_enter(c))
        return;
    cuda_launch(s->stream, scatter, grid_of(p->tokens, p->hidden), THREADS, 0,
                permutation_of(p, x, y));
    (void)cuda_launched(c, "scatter");
}

/* ---- spin ---- */

static __global__ void spin(uint64_t ns)
{
    const uint64_t begun = device_ns();

    while (device_ns() - begun < ns)
        __nanosleep(200);
}

void cuda_spin(struct device *d, struct device_stream *s, double ns)
{
    struct cuda *c = cuda_of(d);

    if (!(ns > 0.0) || !cuda_enter(c))
        return;
    cuda_launch(s->stream, spin, 1, 1, 0, (uint64_t)ns);
    (void)cuda_launched(c, "spin");
}

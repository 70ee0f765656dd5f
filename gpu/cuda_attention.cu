/* Attention on the cuda device: made for decode, where a few rows read a long cache and
 * the cache's bytes are what it takes; right for prefill too, which reads them from L2
 * once per row.
 *
 * A block takes one row, one key/value head and up to EIGHT of the query heads that share
 * it (`heads`: 1, 2, 4 or 8, a constant in each of four kernels), so that keys and
 * values are read once for all of them; groups of more heads take several blocks (tiles),
 * which meet in L2: MLA's 16 heads on one key/value head are two tiles, its 128 are 16
 * and bound by arithmetic. The context is walked TILE tokens at a time with a running
 * softmax: scores are taken relative to the largest so far, and what was summed before is
 * scaled when that grows.
 *
 * Where rows x tiles are too few blocks to fill the processors, the context is cut into
 * `splits` (grid (rows, tiles, splits)); each leaves its sums unnormalised with its
 * largest score and its weight, and a second kernel brings them to one scale and adds
 * them, in order.
 *
 * Within a tile: (1) eight threads share a token's key, 8 elements each at a time, so a
 * warp's access is 4 x 128 bytes; (2) a warp per head turns scores into weights; (3) a
 * thread owns 8 of the value's columns for every `subs`-th token; at the end the subs'
 * sums are added. q lies in shared memory as fp32, split so that the eight threads read
 * different banks. */
#include "cuda.h"

#include "cuda_eight.cuh"
#include "cuda_launch.cuh"

#include <assert.h>
#include <math.h>

enum {
    THREADS = 256,
    WARP = 32,
    EIGHT = 8,                /* heads at most; threads that share a token */
    SLOTS = THREADS / EIGHT,  /* tokens side by side */
    TILE = 2 * SLOTS,         /* tokens between two synchronisations */
    MERGERS = 128,            /* threads of the second kernel */
    PER_PROCESSOR = 2,        /* blocks that run at once */
    SHARED_BYTES = 40 * 1024, /* for q; with the rest below 48 KiB */
};

static_assert(TILE == 2 * WARP, "a warp takes a tile's scores, two a thread");
static_assert(THREADS / WARP >= EIGHT, "a warp per head");

struct attention {
    const uint16_t *q, *keys, *values;
    const uint64_t *first;
    const uint32_t *length;
    uint16_t *out;
    float2 *weights;   /* (rows, heads, splits): largest score, weight */
    float *sums;       /* (rows, heads, splits, value_dim), unnormalised */
    uint32_t heads;    /* of the query */
    uint32_t kv_heads; /* of the cache */
    uint32_t group;    /* heads / kv_heads */
    uint32_t tiles;    /* blocks per key/value head */
    uint32_t key_dim, value_dim;
    uint32_t chunk; /* tokens of a split, a multiple of TILE */
    uint32_t splits;
    float scale; /* of a score, with log2(e) for exp2 */
    bool wide_q, wide_k, wide_v;
};

/* What a block works on. */
struct place {
    uint32_t row, kv, head, heads; /* query heads [head, head + heads) */
    uint64_t first;                /* cache token 0 of the row */
    uint32_t begin, end;           /* its tokens */
};

static __device__ __forceinline__ struct place place_of(const struct attention *a,
                                                        uint32_t heads)
{
    const uint32_t tile = blockIdx.y % a->tiles;
    struct place p;
    uint32_t length;

    p.row = blockIdx.x;
    p.kv = blockIdx.y / a->tiles;
    p.head = p.kv * a->group + tile * heads;
    p.heads = min(heads, a->group - tile * heads);
    p.first = a->first[p.row];
    length = a->length[p.row];
    p.begin = min(blockIdx.z * a->chunk, length);
    p.end = min(p.begin + a->chunk, length);
    return p;
}

/* Vector v of head h is at q[(2 h + half) * vectors + v], half by half. Heads beyond the
 * group are zero: their scores are, and nobody reads them. */
static __device__ __forceinline__ void
load_query(const struct attention *a, const struct place *p, uint32_t heads, float4 *q)
{
    const uint32_t vectors = (a->key_dim + 7) / 8;

    for (uint32_t i = threadIdx.x; i < heads * vectors; i += THREADS) {
        const uint32_t h = i / vectors;
        const uint32_t v = i % vectors;
        struct eight x = eight_zero();

        if (h < p->heads)
            x = eight_load(a->q + ((size_t)p->row * a->heads + p->head + h) * a->key_dim +
                               8 * v,
                           a->key_dim - 8 * v, a->wide_q);
        q[2 * h * vectors + v] = make_float4(x.f[0], x.f[1], x.f[2], x.f[3]);
        q[(2 * h + 1) * vectors + v] = make_float4(x.f[4], x.f[5], x.f[6], x.f[7]);
    }
}

static __device__ __forceinline__ float dot(const struct eight *k, float4 a, float4 b,
                                            float sum)
{
    sum = fmaf(k->f[0], a.x, sum);
    sum = fmaf(k->f[1], a.y, sum);
    sum = fmaf(k->f[2], a.z, sum);
    sum = fmaf(k->f[3], a.w, sum);
    sum = fmaf(k->f[4], b.x, sum);
    sum = fmaf(k->f[5], b.y, sum);
    sum = fmaf(k->f[6], b.z, sum);
    return fmaf(k->f[7], b.w, sum);
}

/* (1) Scores of the tile at `base`, score[h * TILE + t]; -INFINITY behind the end. Eight
 * threads take tokens `slot` and `slot + SLOTS`. */
static __device__ __forceinline__ void find_scores(const struct attention *a,
                                                   const struct place *p, uint32_t heads,
                                                   uint32_t base, const float4 *q,
                                                   float *score)
{
    const uint32_t vectors = (a->key_dim + 7) / 8;
    const uint32_t lane = threadIdx.x % EIGHT;
    const uint32_t slot = threadIdx.x / EIGHT;
    const bool near_in = base + slot < p->end;
    const bool far_in = base + slot + SLOTS < p->end;
    const size_t step = (size_t)a->kv_heads * a->key_dim;
    const uint16_t *near_key =
        a->keys + (p->first + base + slot) * step + (size_t)p->kv * a->key_dim;
    const uint16_t *far_key = near_key + SLOTS * step;
    float near_sum[EIGHT];
    float far_sum[EIGHT];

#pragma unroll
    for (uint32_t h = 0; h < heads; h++)
        near_sum[h] = far_sum[h] = 0.0F;
    for (uint32_t v = lane; v < vectors; v += EIGHT) {
        const uint32_t left = a->key_dim - 8 * v;
        const struct eight k =
            near_in ? eight_load(near_key + 8 * v, left, a->wide_k) : eight_zero();
        const struct eight l =
            far_in ? eight_load(far_key + 8 * v, left, a->wide_k) : eight_zero();

#pragma unroll
        for (uint32_t h = 0; h < heads; h++) {
            const float4 lower = q[2 * h * vectors + v];
            const float4 upper = q[(2 * h + 1) * vectors + v];

            near_sum[h] = dot(&k, lower, upper, near_sum[h]);
            far_sum[h] = dot(&l, lower, upper, far_sum[h]);
        }
    }
#pragma unroll
    for (uint32_t h = 0; h < heads; h++) {
#pragma unroll
        for (int i = EIGHT / 2; i > 0; i /= 2) {
            near_sum[h] += __shfl_xor_sync(0xffffffffU, near_sum[h], i);
            far_sum[h] += __shfl_xor_sync(0xffffffffU, far_sum[h], i);
        }
        if (lane == 0) {
            score[h * TILE + slot] = near_in ? near_sum[h] * a->scale : -INFINITY;
            score[h * TILE + slot + SLOTS] = far_in ? far_sum[h] * a->scale : -INFINITY;
        }
    }
}

/* The running softmax of a warp's head, the same in all of its threads. */
struct softmax {
    float most, weight;
};

/* (2) A warp's head: the tile's scores become their exponentials. Returns what the sums
 * before are to be scaled by. A tile has a token at least, so `most` is finite. */
static __device__ __forceinline__ float weigh(struct softmax *m, float *score)
{
    const uint32_t at = threadIdx.x % WARP;
    float a = score[at];
    float b = score[at + WARP];
    float most = fmaxf(m->most, fmaxf(a, b));
    float scale;
    float sum;

#pragma unroll
    for (int i = WARP / 2; i > 0; i /= 2)
        most = fmaxf(most, __shfl_xor_sync(0xffffffffU, most, i));
    a = exp2f(a - most);
    b = exp2f(b - most);
    score[at] = a;
    score[at + WARP] = b;
    sum = a + b;
#pragma unroll
    for (int i = WARP / 2; i > 0; i /= 2)
        sum += __shfl_xor_sync(0xffffffffU, sum, i);
    scale = exp2f(m->most - most);
    m->weight = m->weight * scale + sum;
    m->most = most;
    return scale;
}

/* Whose values a thread sums: 8 columns from `column` on, tokens sub, sub + subs... Idle
 * threads have sub == subs. */
struct share {
    uint32_t vectors, sub, subs, column;
};

static __device__ __forceinline__ struct share share_of(const struct attention *a)
{
    struct share s;

    s.vectors = (a->value_dim + 7) / 8;
    s.subs = THREADS / s.vectors;
    s.sub = min(threadIdx.x / s.vectors, s.subs);
    s.column = threadIdx.x % s.vectors * 8;
    return s;
}

/* (3) Adds the tile's weighted values. */
static __device__ __forceinline__ void
add_values(const struct attention *a, const struct place *p, const struct share *s,
           uint32_t heads, uint32_t base, const float *score, float sum[EIGHT][8])
{
    const size_t step = (size_t)a->kv_heads * a->value_dim;
    const uint16_t *value =
        a->values + (p->first + base) * step + (size_t)p->kv * a->value_dim + s->column;
    const uint32_t tokens = min(p->end - base, (uint32_t)TILE);
    const uint32_t left = a->value_dim - s->column;

    if (s->sub == s->subs)
        return;
#pragma unroll 4
    for (uint32_t t = s->sub; t < tokens; t += s->subs) {
        const struct eight v = eight_load(value + t * step, left, a->wide_v);

#pragma unroll
        for (uint32_t h = 0; h < heads; h++) {
            const float weight = score[h * TILE + t];

#pragma unroll
            for (int i = 0; i < 8; i++)
                sum[h][i] = fmaf(weight, v.f[i], sum[h][i]);
        }
    }
}

/* Adds one head's sums of all subs, sub by sub, and stores the result. `room` has
 * 8 * THREADS floats. */
static __device__ __forceinline__ void
finish_head(const struct attention *a, const struct place *p, const struct share *s,
            uint32_t head, const float *sum, float2 weight, float *room)
{
    const size_t query = (size_t)p->row * a->heads + head;
    const size_t part = query * a->splits + blockIdx.z;

    __syncthreads(); /* the head before has been read */
    if (s->sub < s->subs)
#pragma unroll
        for (int i = 0; i < 8; i++)
            room[s->sub * s->vectors * 8 + s->column + i] = sum[i];
    __syncthreads();
    for (uint32_t j = threadIdx.x; j < a->value_dim; j += THREADS) {
        float total = 0.0F;

        for (uint32_t i = 0; i < s->subs; i++)
            total += room[i * s->vectors * 8 + j];
        if (a->splits > 1)
            a->sums[part * a->value_dim + j] = total;
        else
            a->out[query * a->value_dim + j] = (uint16_t)bf16_store(total / weight.y);
    }
    if (a->splits > 1 && threadIdx.x == 0)
        a->weights[part] = weight;
}

static __device__ __forceinline__ void attend(const struct attention *a, uint32_t heads)
{
    CUDA_SHARED(float4, q); /* of load_query; at the end room for finish_head */
    __shared__ float score[EIGHT * TILE];
    __shared__ float scale[EIGHT];
    __shared__ float2 weight[EIGHT];
    const struct place p = place_of(a, heads);
    const struct share s = share_of(a);
    const uint32_t warp = threadIdx.x / WARP;
    struct softmax m = {-INFINITY, 0.0F};
    float sum[EIGHT][8];

#pragma unroll
    for (uint32_t h = 0; h < heads; h++)
#pragma unroll
        for (int i = 0; i < 8; i++)
            sum[h][i] = 0.0F;
    load_query(a, &p, heads, q);
    __syncthreads();
    for (uint32_t base = p.begin; base < p.end; base += TILE) {
        find_scores(a, &p, heads, base, q, score);
        __syncthreads();
        if (warp < heads) {
            const float shrink = weigh(&m, score + warp * TILE);

            if (threadIdx.x % WARP == 0)
                scale[warp] = shrink;
        }
        __syncthreads();
#pragma unroll
        for (uint32_t h = 0; h < heads; h++)
#pragma unroll
            for (int i = 0; i < 8; i++)
                sum[h][i] *= scale[h];
        add_values(a, &p, &s, heads, base, score, sum);
        __syncthreads(); /* scores and scales have been read */
    }
    if (warp < heads && threadIdx.x % WARP == 0)
        weight[warp] = make_float2(m.most, m.weight);
    __syncthreads();
#pragma unroll
    for (uint32_t h = 0; h < heads; h++)
        if (h < p.heads)
            finish_head(a, &p, &s, p.head + h, sum[h], weight[h], (float *)q);
}

static __global__ void __launch_bounds__(THREADS, PER_PROCESSOR)
    attend_1(const __grid_constant__ struct attention a)
{
    attend(&a, 1);
}

static __global__ void __launch_bounds__(THREADS, PER_PROCESSOR)
    attend_2(const __grid_constant__ struct attention a)
{
    attend(&a, 2);
}

static __global__ void __launch_bounds__(THREADS, PER_PROCESSOR)
    attend_4(const __grid_constant__ struct attention a)
{
    attend(&a, 4);
}

static __global__ void __launch_bounds__(THREADS, PER_PROCESSOR)
    attend_8(const __grid_constant__ struct attention a)
{
    attend(&a, 8);
}

/* A block a query head: the splits at one scale, added in order. A split behind the end
 * of a short row has weight 0 and a largest score of -INFINITY, hence a scale of 0; split
 * 0 has a token. */
static __global__ void merge(const __grid_constant__ struct attention a)
{
    const size_t query = blockIdx.x;
    const float2 *weights = a.weights + query * a.splits;
    const float *sums = a.sums + query * a.splits * a.value_dim;
    float most = -INFINITY;
    float weight = 0.0F;

    for (uint32_t i = 0; i < a.splits; i++)
        most = fmaxf(most, weights[i].x);
    for (uint32_t i = 0; i < a.splits; i++)
        weight += weights[i].y * exp2f(weights[i].x - most);
    for (uint32_t j = threadIdx.x; j < a.value_dim; j += MERGERS) {
        float total = 0.0F;

        for (uint32_t i = 0; i < a.splits; i++)
            total += sums[(size_t)i * a.value_dim + j] * exp2f(weights[i].x - most);
        a.out[query * a.value_dim + j] = (uint16_t)bf16_store(total / weight);
    }
}

/* ---- the launch ---- */

static size_t shared_bytes(uint32_t heads, uint32_t key_dim)
{
    const size_t query = (size_t)heads * ((key_dim + 7) / 8) * 8 * sizeof(float);
    const size_t room = (size_t)8 * THREADS * sizeof(float);

    return query > room ? query : room;
}

/* Query heads of a block: all of a group, rounded up to a power of two, up to EIGHT; less
 * where their queries are too long together. */
static uint32_t heads_of(uint32_t group, uint32_t key_dim)
{
    uint32_t heads = 1;

    while (heads < EIGHT && heads < group)
        heads *= 2;
    while (heads > 1 && shared_bytes(heads, key_dim) > SHARED_BYTES)
        heads /= 2;
    return heads;
}

/* As many splits as fill the processors once, of two tiles at least, whose sums have
 * room.
 */
static void cut(const struct cuda *c, const struct device_attention *of,
                struct attention *a)
{
    const uint64_t blocks = (uint64_t)of->rows * of->kv_heads * a->tiles;
    const uint64_t split_bytes =
        (uint64_t)of->rows * of->heads * (of->value_dim * sizeof(float) + sizeof(float2));
    uint64_t splits = (uint64_t)PER_PROCESSOR * c->processors / blocks;
    uint64_t chunk;

    if (splits > of->longest / (2 * TILE))
        splits = of->longest / (2 * TILE);
    if (splits > CUDA_PARTIAL_BYTES / split_bytes)
        splits = CUDA_PARTIAL_BYTES / split_bytes;
    if (splits == 0)
        splits = 1;
    chunk = (of->longest + splits - 1) / splits;
    chunk = (chunk + TILE - 1) / TILE * TILE;
    a->chunk = (uint32_t)chunk;
    a->splits = (uint32_t)((of->longest + chunk - 1) / chunk);
}

static void launch(struct cuda *c, struct device_stream *s, const struct attention *a,
                   uint32_t rows, uint32_t heads)
{
    const dim3 grid(rows, a->kv_heads * a->tiles, a->splits);
    const size_t shared = shared_bytes(heads, a->key_dim);

    if (heads == 1)
        cuda_launch(s->stream, attend_1, grid, THREADS, shared, *a);
    else if (heads == 2)
        cuda_launch(s->stream, attend_2, grid, THREADS, shared, *a);
    else if (heads == 4)
        cuda_launch(s->stream, attend_4, grid, THREADS, shared, *a);
    else
        cuda_launch(s->stream, attend_8, grid, THREADS, shared, *a);
    if (!cuda_launched(c, "attend") || a->splits == 1)
        return;
    cuda_launch(s->stream, merge, rows * a->heads, MERGERS, 0, *a);
    (void)cuda_launched(c, "merge");
}

void cuda_attention(struct device *d, struct device_stream *s,
                    const struct device_attention *of)
{
    struct cuda *c = cuda_of(d);
    struct attention a;
    uint32_t heads;

    assert(of->kv_heads > 0 && of->heads % of->kv_heads == 0 && of->key_dim > 0);
    if (of->rows == 0 || of->longest == 0 || of->value_dim == 0 || !cuda_enter(c))
        return;
    a.group = of->heads / of->kv_heads;
    heads = heads_of(a.group, of->key_dim);
    if (of->value_dim > 8 * THREADS || shared_bytes(heads, of->key_dim) > SHARED_BYTES) {
        cuda_fail(c, "the attention kernel takes keys of at most 10240 and values of at "
                     "most 2048 elements");
        return;
    }
    a.tiles = (a.group + heads - 1) / heads;
    a.q = (const uint16_t *)of->q;
    a.keys = (const uint16_t *)of->keys;
    a.values = (const uint16_t *)of->values;
    a.first = of->first;
    a.length = of->length;
    a.out = (uint16_t *)of->out;
    a.heads = of->heads;
    a.kv_heads = of->kv_heads;
    a.key_dim = of->key_dim;
    a.value_dim = of->value_dim;
    a.scale = 1.44269504F / sqrtf((float)of->key_dim);
    a.wide_q = eight_fits(of->q, of->key_dim);
    a.wide_k = eight_fits(of->keys, of->key_dim);
    a.wide_v = eight_fits(of->values, of->value_dim);
    cut(c, of, &a);
    a.weights = (float2 *)cuda_scratch_of(s)->partial;
    a.sums = (float *)(a.weights + (size_t)of->rows * of->heads * a.splits);
    launch(c, s, &a, of->rows, heads);
}

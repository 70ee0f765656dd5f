/* Attention on the host device. Rows of one sequence that follow each other go together.
 * Their sequence's tokens are walked once, so many at a time as fit in a core's cache
 * with all their heads: a block's keys and values are fetched in the order in which they
 * lie, then used head by head. The softmax is a running one: a block's scores are taken
 * relative to the largest so far, and what was summed before shrinks when that grows. */
#include "host.h"

#include <math.h>
#include <string.h>

/* Queries of one key/value head that go together; tokens and bytes of a block. */
enum { TALL = 64, WIDE = 256, NARROW = 32, BLOCK_BYTES = 512 << 10, LINE_BYTES = 64 };
/* Up to so many queries go one by one: a product of matrices first copies the keys. */
enum { FEW = 6 };

/* Rows [row, row + rows) with all their heads. Query i of a key/value head is of row
 * row + i / shared. */
struct tile {
    const struct device_attention *of;
    const struct host_blas *blas;
    uint32_t shared; /* query heads per key/value head */
    uint32_t row, rows;
    uint32_t most_queries;
    float *q;      /* (kv_heads, rows shared, key_dim), scaled */
    float *out;    /* (kv_heads, rows shared, value_dim) */
    float *most;   /* (kv_heads, rows shared): largest score so far */
    float *weight; /* (kv_heads, rows shared): sum of exponentials so far */
    float *score;  /* (rows shared, WIDE), of one key/value head */
};

static void tile_init(struct tile *t, struct device_stream *s,
                      const struct device_attention *a)
{
    const uint32_t shared = a->heads / a->kv_heads;
    const uint32_t queries = shared > TALL ? shared : TALL / shared * shared;
    const size_t all = (size_t)queries * a->kv_heads;
    float *scratch = host_scratch(s, all * ((size_t)a->key_dim + a->value_dim + 2) +
                                         (size_t)queries * WIDE);

    *t = (struct tile){
        .of = a, .blas = &s->device->blas, .shared = shared, .most_queries = queries};
    t->q = scratch;
    t->out = t->q + all * a->key_dim;
    t->most = t->out + all * a->value_dim;
    t->weight = t->most + all;
    t->score = t->weight + all;
}

/* Where query i of a key/value head lies in q and out of the call, in heads. */
static size_t place(const struct tile *t, uint32_t kv, uint32_t i)
{
    return (size_t)(t->row + i / t->shared) * t->of->heads + kv * t->shared +
           i % t->shared;
}

static void tile_begin(struct tile *t)
{
    const struct device_attention *a = t->of;
    const float scale = 1.0F / sqrtf((float)a->key_dim);
    const uint32_t queries = t->rows * t->shared;
    float *to = t->q;

    for (uint32_t kv = 0; kv < a->kv_heads; kv++)
        for (uint32_t i = 0; i < queries; i++) {
            const float *from = (const float *)a->q + place(t, kv, i) * a->key_dim;

            for (uint32_t j = 0; j < a->key_dim; j++)
                *to++ = from[j] * scale;
            t->most[kv * queries + i] = -INFINITY;
            t->weight[kv * queries + i] = 0.0F;
        }
    memset(t->out, 0, (size_t)queries * a->kv_heads * a->value_dim * sizeof *t->out);
}

static void tile_end(const struct tile *t)
{
    const struct device_attention *a = t->of;
    const uint32_t queries = t->rows * t->shared;
    const float *from = t->out;

    for (uint32_t kv = 0; kv < a->kv_heads; kv++)
        for (uint32_t i = 0; i < queries; i++) {
            float *to = (float *)a->out + place(t, kv, i) * a->value_dim;

            for (uint32_t j = 0; j < a->value_dim; j++)
                to[j] = *from++ / t->weight[kv * queries + i];
        }
}

/* Scores of `count` tokens become exponentials; the first `seen` tokens are this query's,
 * the others weigh nothing. */
static void soften(float *score, uint32_t count, uint32_t seen, float *most,
                   float *weight, float *out, uint32_t value_dim)
{
    const float before = *most;
    float sum = 0.0F;

    for (uint32_t j = 0; j < seen; j++)
        *most = score[j] > *most ? score[j] : *most;
    for (uint32_t j = 0; j < seen; j++) {
        score[j] = expf(score[j] - *most);
        sum += score[j];
    }
    for (uint32_t j = seen; j < count; j++)
        score[j] = 0.0F;
    if (*most > before) {
        const float shrink = expf(before - *most);

        *weight *= shrink;
        for (uint32_t j = 0; j < value_dim; j++)
            out[j] *= shrink;
    }
    *weight += sum;
}

/* One key/value head and `count` tokens, of which `done` came before. */
static void tile_head(struct tile *t, uint32_t kv, uint64_t token, uint32_t done,
                      uint32_t count)
{
    const struct device_attention *a = t->of;
    const uint32_t queries = t->rows * t->shared;
    const size_t key_step = (size_t)a->kv_heads * a->key_dim;
    const size_t value_step = (size_t)a->kv_heads * a->value_dim;
    const float *keys = (const float *)a->keys + token * key_step + kv * a->key_dim;
    const float *values =
        (const float *)a->values + token * value_step + kv * a->value_dim;
    const float *q = t->q + (size_t)kv * queries * a->key_dim;
    float *out = t->out + (size_t)kv * queries * a->value_dim;

    if (queries > FEW)
        t->blas->gemm(HOST_ROW_MAJOR, HOST_PLAIN, HOST_TRANSPOSED, (int)queries,
                      (int)count, (int)a->key_dim, 1.0F, q, (int)a->key_dim, keys,
                      (int)key_step, 0.0F, t->score, WIDE);
    else
        for (uint32_t i = 0; i < queries; i++)
            t->blas->gemv(HOST_ROW_MAJOR, HOST_PLAIN, (int)count, (int)a->key_dim, 1.0F,
                          keys, (int)key_step, q + (size_t)i * a->key_dim, 1, 0.0F,
                          t->score + (size_t)i * WIDE, 1);
    for (uint32_t i = 0; i < queries; i++) {
        const uint32_t length = a->length[t->row + i / t->shared];
        const uint32_t left = length > done ? length - done : 0;
        const size_t at = (size_t)kv * queries + i;

        soften(t->score + (size_t)i * WIDE, count, left < count ? left : count,
               &t->most[at], &t->weight[at], out + (size_t)i * a->value_dim,
               a->value_dim);
    }
    if (queries > FEW)
        t->blas->gemm(HOST_ROW_MAJOR, HOST_PLAIN, HOST_PLAIN, (int)queries,
                      (int)a->value_dim, (int)count, 1.0F, t->score, WIDE, values,
                      (int)value_step, 1.0F, out, (int)a->value_dim);
    else
        for (uint32_t i = 0; i < queries; i++)
            t->blas->gemv(HOST_ROW_MAJOR, HOST_TRANSPOSED, (int)count, (int)a->value_dim,
                          1.0F, values, (int)value_step, t->score + (size_t)i * WIDE, 1,
                          1.0F, out + (size_t)i * a->value_dim, 1);
}

static void fetch(const void *elements, size_t first, size_t count)
{
    const char *p = (const char *)elements + first * sizeof(float);

    for (size_t i = 0; i < count * sizeof(float); i += LINE_BYTES)
        __builtin_prefetch(p + i, 0, 2);
}

static void tile_run(struct tile *t)
{
    const struct device_attention *a = t->of;
    const size_t key_step = (size_t)a->kv_heads * a->key_dim;
    const size_t value_step = (size_t)a->kv_heads * a->value_dim;
    const size_t fit = BLOCK_BYTES / ((key_step + value_step) * sizeof(float) + 1);
    const uint32_t wide = fit > WIDE ? WIDE : fit < NARROW ? NARROW : (uint32_t)fit;
    uint32_t longest = 0;
    uint32_t count;

    for (uint32_t r = t->row; r < t->row + t->rows; r++)
        longest = a->length[r] > longest ? a->length[r] : longest;
    tile_begin(t);
    for (uint32_t done = 0; done < longest; done += count) {
        const uint64_t token = a->first[t->row] + done;

        count = longest - done < wide ? longest - done : wide;
        fetch(a->keys, token * key_step, count * key_step);
        fetch(a->values, token * value_step, count * value_step);
        for (uint32_t kv = 0; kv < a->kv_heads; kv++)
            tile_head(t, kv, token, done, count);
    }
    tile_end(t);
}

/* How many rows from `row` on are of one sequence, `most` at most. */
static uint32_t same_sequence(const struct device_attention *a, uint32_t row,
                              uint32_t most)
{
    uint32_t n = 1;

    while (n < most && row + n < a->rows && a->first[row + n] == a->first[row])
        n++;
    return n;
}

int host_attend(struct device_stream *s, const union host_args *args, struct err *e)
{
    const struct device_attention *a = &args->attention;
    struct tile t;

    (void)e;
    tile_init(&t, s, a);
    for (t.row = 0; t.row < a->rows; t.row += t.rows) {
        t.rows = same_sequence(a, t.row, t.most_queries / t.shared);
        tile_run(&t);
    }
    return 0;
}

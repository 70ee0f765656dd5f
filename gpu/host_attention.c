/* Attention on the host device. Rows of one sequence that follow each other go together,
 * as do the query heads that share a key/value head, up to TALL queries: so many rows of
 * a matrix. A sequence's tokens are walked once, WIDE at a time, with a running softmax
 * (each block's scores are taken relative to the largest so far, and what was summed
 * before is scaled when that grows): keys and values are read from memory once per
 * matrix, and scores stay in the cache. */
#include "host.h"

#include <math.h>
#include <string.h>

enum { TALL = 64, WIDE = 256 };

/* One matrix of queries: heads [head, head + heads) of key/value head `kv`, for rows
 * [row, row + rows). Query i is of row i / heads. */
struct tile {
    const struct device_attention *of;
    uint32_t row, rows, kv, head, heads;
    uint32_t queries;
    float *q;      /* (queries, key_dim), scaled */
    float *score;  /* (queries, WIDE) */
    float *out;    /* (queries, value_dim) */
    float *most;   /* [queries] largest score so far */
    float *weight; /* [queries] sum of exponentials so far */
};

static void tile_place(struct tile *t, float *scratch)
{
    const struct device_attention *a = t->of;

    t->q = scratch;
    t->score = t->q + (size_t)TALL * a->key_dim;
    t->out = t->score + (size_t)TALL * WIDE;
    t->most = t->out + (size_t)TALL * a->value_dim;
    t->weight = t->most + TALL;
}

static size_t query_place(const struct tile *t, uint32_t i)
{
    return (size_t)(t->row + i / t->heads) * t->of->heads + t->head + i % t->heads;
}

static void tile_begin(struct tile *t)
{
    const struct device_attention *a = t->of;
    const float scale = 1.0F / sqrtf((float)a->key_dim);

    for (uint32_t i = 0; i < t->queries; i++) {
        const float *from = (const float *)a->q + query_place(t, i) * a->key_dim;
        float *to = t->q + (size_t)i * a->key_dim;

        for (uint32_t j = 0; j < a->key_dim; j++)
            to[j] = from[j] * scale;
        t->most[i] = -INFINITY;
        t->weight[i] = 0.0F;
    }
    memset(t->out, 0, (size_t)t->queries * a->value_dim * sizeof *t->out);
}

/* Scores of `count` tokens become their exponentials, of which the first `seen` are
 * this query's and the others are none. */
static void soften(struct tile *t, uint32_t i, uint32_t count, uint32_t seen)
{
    const uint32_t value_dim = t->of->value_dim;
    float *score = t->score + (size_t)i * WIDE;
    float *out = t->out + (size_t)i * value_dim;
    float most = t->most[i];
    float sum = 0.0F;
    float shrink;

    for (uint32_t j = 0; j < seen; j++)
        most = score[j] > most ? score[j] : most;
    shrink = seen > 0 ? expf(t->most[i] - most) : 1.0F;
    for (uint32_t j = 0; j < seen; j++) {
        score[j] = expf(score[j] - most);
        sum += score[j];
    }
    for (uint32_t j = seen; j < count; j++)
        score[j] = 0.0F;
    t->most[i] = most;
    t->weight[i] = t->weight[i] * shrink + sum;
    if (shrink != 1.0F)
        for (uint32_t j = 0; j < value_dim; j++)
            out[j] *= shrink;
}

static void tile_block(const struct host_blas *b, struct tile *t, uint64_t token,
                       uint32_t done, uint32_t count)
{
    const struct device_attention *a = t->of;
    const int key_step = (int)(a->kv_heads * a->key_dim);
    const int value_step = (int)(a->kv_heads * a->value_dim);
    const float *keys =
        (const float *)a->keys + token * (size_t)key_step + (size_t)t->kv * a->key_dim;
    const float *values = (const float *)a->values + token * (size_t)value_step +
                          (size_t)t->kv * a->value_dim;

    if (t->queries == 1)
        b->gemv(HOST_ROW_MAJOR, HOST_PLAIN, (int)count, (int)a->key_dim, 1.0F, keys,
                key_step, t->q, 1, 0.0F, t->score, 1);
    else
        b->gemm(HOST_ROW_MAJOR, HOST_PLAIN, HOST_TRANSPOSED, (int)t->queries, (int)count,
                (int)a->key_dim, 1.0F, t->q, (int)a->key_dim, keys, key_step, 0.0F,
                t->score, WIDE);
    for (uint32_t i = 0; i < t->queries; i++) {
        uint32_t length = a->length[t->row + i / t->heads];
        uint32_t left = length > done ? length - done : 0;

        soften(t, i, count, left < count ? left : count);
    }
    if (t->queries == 1)
        b->gemv(HOST_ROW_MAJOR, HOST_TRANSPOSED, (int)count, (int)a->value_dim, 1.0F,
                values, value_step, t->score, 1, 1.0F, t->out, 1);
    else
        b->gemm(HOST_ROW_MAJOR, HOST_PLAIN, HOST_PLAIN, (int)t->queries,
                (int)a->value_dim, (int)count, 1.0F, t->score, WIDE, values, value_step,
                1.0F, t->out, (int)a->value_dim);
}

static void tile_run(const struct host_blas *b, struct tile *t)
{
    const struct device_attention *a = t->of;
    uint32_t longest = 0;

    for (uint32_t r = t->row; r < t->row + t->rows; r++)
        longest = a->length[r] > longest ? a->length[r] : longest;
    tile_begin(t);
    for (uint32_t done = 0; done < longest; done += WIDE) {
        uint32_t left = longest - done;

        tile_block(b, t, a->first[t->row] + done, done, left < WIDE ? left : WIDE);
        if (left <= WIDE)
            break;
    }
    for (uint32_t i = 0; i < t->queries; i++) {
        const float *from = t->out + (size_t)i * a->value_dim;
        float *to = (float *)a->out + query_place(t, i) * a->value_dim;

        for (uint32_t j = 0; j < a->value_dim; j++)
            to[j] = from[j] / t->weight[i];
    }
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
    const uint32_t shared = a->heads / a->kv_heads;
    const uint32_t heads = shared < TALL ? shared : TALL;
    struct tile t = {.of = a};

    (void)e;
    tile_place(&t, host_scratch(s, (size_t)TALL *
                                       ((size_t)a->key_dim + a->value_dim + WIDE + 2)));
    for (t.row = 0; t.row < a->rows; t.row += t.rows) {
        t.rows = same_sequence(a, t.row, TALL / heads);
        for (t.kv = 0; t.kv < a->kv_heads; t.kv++)
            for (uint32_t h = 0; h < shared; h += heads) {
                t.head = t.kv * shared + h;
                t.heads = shared - h < heads ? shared - h : heads;
                t.queries = t.rows * t.heads;
                tile_run(&s->device->blas, &t);
            }
    }
    return 0;
}

#include "reference.h"

#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- elements ---- */

uint16_t reference_bf16(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    if (isnan(x))
        return (uint16_t)(bits >> 16 | 0x40); /* quiet, whatever is cut off */
    bits += 0x7fff + (bits >> 16 & 1);
    return (uint16_t)(bits >> 16);
}

float reference_of_bf16(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

void reference_to_elements(enum device_element type, const float *x, void *to,
                           size_t count)
{
    uint16_t *half = to;

    if (type == DEVICE_F32)
        memcpy(to, x, count * sizeof *x);
    else
        for (size_t i = 0; i < count; i++)
            half[i] = reference_bf16(x[i]);
}

void reference_of_elements(enum device_element type, const void *x, float *to,
                           size_t count)
{
    const uint16_t *half = x;

    if (type == DEVICE_F32)
        memcpy(to, x, count * sizeof *to);
    else
        for (size_t i = 0; i < count; i++)
            to[i] = reference_of_bf16(half[i]);
}

void reference_round(enum device_element type, float *x, size_t count)
{
    if (type == DEVICE_BF16)
        for (size_t i = 0; i < count; i++)
            x[i] = reference_of_bf16(reference_bf16(x[i]));
}

/* ---- kernels ---- */

static double dot(const float *a, const float *b, size_t count)
{
    double sum = 0.0;

    for (size_t i = 0; i < count; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

static double silu(double x)
{
    return x / (1.0 + exp(-x));
}

void reference_gemm(const struct device_gemm *g)
{
    const size_t in = g->in;
    const size_t out = g->out;
    const float *x = g->x;
    const float *w = g->w;
    float *y = g->y;

    for (size_t r = 0; r < g->rows; r++)
        for (size_t o = 0; o < out; o++)
            y[r * out + o] = (float)dot(x + r * in, w + o * in, in);
}

static void one_row(const struct device_ffn *f, const float *w, const float *x, float *y,
                    double *inner)
{
    const size_t matrix = (size_t)f->inner * f->hidden;
    const float *down = w + (f->matrices - 1) * matrix;

    for (size_t i = 0; i < f->inner; i++) {
        double first = dot(w + i * f->hidden, x, f->hidden);

        if (f->matrices == 3)
            inner[i] = silu(first) * dot(w + matrix + i * f->hidden, x, f->hidden);
        else
            inner[i] = first > 0.0 ? first : 0.0;
    }
    for (size_t o = 0; o < f->hidden; o++) {
        double sum = 0.0;

        for (size_t i = 0; i < f->inner; i++)
            sum += inner[i] * down[o * f->inner + i];
        y[o] = (float)sum;
    }
}

void reference_experts(const struct device_group *g)
{
    double *inner = mem_alloc(g->ffn.inner, sizeof *inner);
    const float *x = g->x;
    float *y = g->y;

    for (uint32_t i = 0; i < g->count; i++)
        for (uint32_t r = 0; r < g->rows[i]; r++) {
            one_row(&g->ffn, g->weight[i], x, y, inner);
            x += g->ffn.hidden;
            y += g->ffn.hidden;
        }
    free(inner);
}

/* One query over `length` tokens, whose keys and values lie a step apart. */
static void attend(const struct device_attention *a, const float *q, const float *keys,
                   const float *values, uint32_t length, double *score, float *out)
{
    const size_t key_step = (size_t)a->kv_heads * a->key_dim;
    const size_t value_step = (size_t)a->kv_heads * a->value_dim;
    double most = -INFINITY;
    double weight = 0.0;

    for (size_t t = 0; t < length; t++) {
        score[t] = dot(q, keys + t * key_step, a->key_dim) / sqrt(a->key_dim);
        most = fmax(most, score[t]);
    }
    for (size_t t = 0; t < length; t++) {
        score[t] = exp(score[t] - most);
        weight += score[t];
    }
    for (size_t j = 0; j < a->value_dim; j++) {
        double sum = 0.0;

        for (size_t t = 0; t < length; t++)
            sum += score[t] * values[t * value_step + j];
        out[j] = (float)(sum / weight);
    }
}

void reference_attention(const struct device_attention *a)
{
    const size_t shared = a->heads / a->kv_heads;
    double *score = mem_alloc(a->longest, sizeof *score);

    for (size_t r = 0; r < a->rows; r++)
        for (size_t h = 0; h < a->heads; h++) {
            const size_t place = a->first[r] * a->kv_heads + h / shared;
            const size_t query = r * a->heads + h;

            attend(a, (const float *)a->q + query * a->key_dim,
                   (const float *)a->keys + place * a->key_dim,
                   (const float *)a->values + place * a->value_dim, a->length[r], score,
                   (float *)a->out + query * a->value_dim);
        }
    free(score);
}

void reference_norm(const struct device_norm *n)
{
    const float *weight = n->weight;

    for (size_t r = 0; r < n->rows; r++) {
        const float *x = (const float *)n->x + r * n->hidden;
        float *y = (float *)n->y + r * n->hidden;
        double scale =
            1.0 / sqrt(dot(x, x, n->hidden) / n->hidden + REFERENCE_NORM_EPSILON);

        for (size_t i = 0; i < n->hidden; i++)
            y[i] = (float)(x[i] * scale * weight[i]);
    }
}

void reference_gather(const struct device_permute *p, const float *x, float *y)
{
    const size_t hidden = p->hidden;

    for (size_t r = 0; r < p->rows; r++)
        memcpy(y + r * hidden, x + p->row_token[r] * hidden, hidden * sizeof *y);
}

void reference_scatter(const struct device_permute *p, const float *x, float *y)
{
    const size_t hidden = p->hidden;

    for (size_t t = 0; t < p->tokens; t++)
        for (size_t j = 0; j < hidden; j++) {
            double sum = y[t * hidden + j];

            for (size_t k = t * p->top_k; k < (t + 1) * p->top_k; k++)
                if (p->token_row[k] != UINT32_MAX)
                    sum += (double)p->token_weight[k] * x[p->token_row[k] * hidden + j];
            y[t * hidden + j] = (float)sum;
        }
}

void reference_add(float *y, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        y[i] = (float)((double)y[i] + x[i]);
}

void reference_gated(const float *x, float *y, uint32_t rows, uint32_t inner)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < inner; i++) {
            const float *row = x + 2 * r * inner;

            y[r * inner + i] = (float)(silu(row[i]) * row[inner + i]);
        }
}

/* What runs on the host device's streams, but attention. Matrix products are OpenBLAS's,
 * one thread each; the rest is plain loops, which memory bounds. Indices that come from
 * device memory are checked as they are used. */
#include "host.h"

#include "sim/base/mem.h"

#include <math.h>
#include <string.h>

/* Few rows are multiplied one by one with a part of the matrix that stays in a core's
 * cache: a product of matrices would first copy the large one. */
enum { FEW_ROWS = 12, PART_BYTES = 128 << 10 };

/* Keeps the lengths that OpenBLAS takes as int in range. */
static int check_size(const char *what, uint64_t size, struct err *e)
{
    if (size > INT32_MAX)
        return err_set(e, "host: %s: a dimension of %llu is beyond OpenBLAS's 2^31", what,
                       (unsigned long long)size);
    return 0;
}

static int check_pointer(const char *what, const void *p, struct err *e)
{
    if (p == NULL)
        return err_set(e, "host: %s: a pointer is NULL", what);
    return 0;
}

static void push(struct device_stream *s, host_run *run, const union host_args *args)
{
    host_push(s, &(struct host_call){.kind = HOST_WORK, .run = run, .args = *args});
}

/* ---- bytes ---- */

static int run_copy(struct device_stream *s, const union host_args *a, struct err *e)
{
    (void)s;
    if (a->move.bytes == 0)
        return 0;
    if (check_pointer("copy", a->move.to, e) != 0 ||
        check_pointer("copy", a->move.from, e) != 0)
        return -1;
    memcpy(a->move.to, a->move.from, a->move.bytes);
    return 0;
}

void host_copy(struct device *d, struct device_stream *s, void *to, const void *from,
               size_t bytes)
{
    (void)d;
    push(s, run_copy,
         &(union host_args){.move = {.to = to, .from = from, .bytes = bytes}});
}

static int run_fill(struct device_stream *s, const union host_args *a, struct err *e)
{
    (void)s;
    if (a->move.bytes == 0)
        return 0;
    if (check_pointer("fill", a->move.to, e) != 0)
        return -1;
    memset(a->move.to, a->move.byte, a->move.bytes);
    return 0;
}

void host_fill(struct device *d, struct device_stream *s, void *to, uint8_t byte,
               size_t bytes)
{
    (void)d;
    push(s, run_fill,
         &(union host_args){.move = {.to = to, .byte = byte, .bytes = bytes}});
}

/* ---- matrix products ---- */

void host_multiply(const struct host_blas *b, uint32_t rows, uint32_t in, uint32_t out,
                   const float *x, uint32_t stride_x, const float *w, float *y)
{
    const uint32_t part =
        rows == 1 ? out : PART_BYTES / (uint32_t)sizeof(float) / (in + 1) + 4;

    if (rows > FEW_ROWS) {
        b->gemm(HOST_ROW_MAJOR, HOST_PLAIN, HOST_TRANSPOSED, (int)rows, (int)out, (int)in,
                1.0F, x, (int)stride_x, w, (int)in, 0.0F, y, (int)out);
        return;
    }
    for (uint32_t o = 0; o < out; o += part)
        for (uint32_t r = 0; r < rows; r++)
            b->gemv(HOST_ROW_MAJOR, HOST_PLAIN, (int)(out - o < part ? out - o : part),
                    (int)in, 1.0F, w + (size_t)o * in, (int)in, x + (size_t)r * stride_x,
                    1, 0.0F, y + (size_t)r * out + o, 1);
}

static int run_gemm(struct device_stream *s, const union host_args *a, struct err *e)
{
    const struct device_gemm *g = &a->gemm;

    if (check_size("gemm", g->rows, e) != 0 || check_size("gemm", g->in, e) != 0 ||
        check_size("gemm", g->out, e) != 0 || check_pointer("gemm", g->x, e) != 0 ||
        check_pointer("gemm", g->w, e) != 0 || check_pointer("gemm", g->y, e) != 0)
        return -1;
    host_multiply(&s->device->blas, g->rows, g->in, g->out, g->x, g->in, g->w, g->y);
    return 0;
}

void host_gemm(struct device *d, struct device_stream *s, const struct device_gemm *g)
{
    (void)d;
    push(s, run_gemm, &(union host_args){.gemm = *g});
}

static float silu(float x)
{
    return x / (1.0F + expf(-x));
}

/* The two halves of G and U's product lie side by side, since G and U do; their product
 * with D reads the first half where it was made. */
static void run_expert(const struct host_blas *b, const struct device_ffn *f,
                       uint32_t rows, const float *w, const float *x, float *y,
                       float *work)
{
    const size_t first = (size_t)(f->matrices - 1) * f->inner * f->hidden;
    const uint32_t wide = (f->matrices - 1) * f->inner;

    host_multiply(b, rows, f->hidden, wide, x, f->hidden, w, work);
    for (uint32_t r = 0; r < rows; r++) {
        float *h = work + (size_t)r * wide;

        if (f->matrices == 3)
            for (uint32_t i = 0; i < f->inner; i++)
                h[i] = silu(h[i]) * h[f->inner + i];
        else
            for (uint32_t i = 0; i < f->inner; i++)
                h[i] = h[i] > 0.0F ? h[i] : 0.0F;
    }
    host_multiply(b, rows, f->inner, f->hidden, work, wide, w + first, y);
}

static int check_group(const struct device_group *g, struct err *e)
{
    if (g->ffn.matrices != 2 && g->ffn.matrices != 3)
        return err_set(e, "host: experts: %u matrices; there are 2 (plain) or 3 (gated)",
                       g->ffn.matrices);
    if (check_size("experts", 2 * (uint64_t)g->ffn.inner, e) != 0 ||
        check_size("experts", g->ffn.hidden, e) != 0 ||
        check_pointer("experts", g->x, e) != 0 ||
        check_pointer("experts", g->y, e) != 0 ||
        check_pointer("experts", g->work, e) != 0)
        return -1;
    for (uint32_t i = 0; i < g->count; i++)
        if (check_pointer("experts", g->weight[i], e) != 0 ||
            check_size("experts", g->rows[i], e) != 0)
            return -1;
    return 0;
}

static int run_experts(struct device_stream *s, const union host_args *a, struct err *e)
{
    const struct device_group *g = &a->group;
    const size_t hidden = g->ffn.hidden;
    const float *x = g->x;
    float *y = g->y;

    if (check_group(g, e) != 0)
        return -1;
    for (uint32_t i = 0; i < g->count; i++) {
        run_expert(&s->device->blas, &g->ffn, g->rows[i], g->weight[i], x, y, g->work);
        x += g->rows[i] * hidden;
        y += g->rows[i] * hidden;
    }
    return 0;
}

void host_experts(struct device *d, struct device_stream *s, const struct device_group *g)
{
    struct host_lists *l =
        mem_alloc(1, sizeof *l + g->count * (sizeof *l->weight + sizeof *l->rows));
    struct host_call call = {
        .kind = HOST_WORK, .run = run_experts, .lists = l, .args = {.group = *g}};

    (void)d;
    l->refs = 1;
    l->weight = (const void **)(l + 1);
    l->rows = (uint32_t *)(l->weight + g->count);
    memcpy(l->weight, g->weight, g->count * sizeof *l->weight);
    memcpy(l->rows, g->rows, g->count * sizeof *l->rows);
    call.args.group.weight = l->weight;
    call.args.group.rows = l->rows;
    host_push(s, &call);
}

/* ---- attention ---- */

static int check_attention(const struct device_attention *a, struct err *e)
{
    if (a->heads == 0 || a->kv_heads == 0 || a->heads % a->kv_heads != 0)
        return err_set(e, "host: attention: %u heads do not share %u key/value heads",
                       a->heads, a->kv_heads);
    if (check_size("attention", (uint64_t)a->kv_heads * a->key_dim, e) != 0 ||
        check_size("attention", (uint64_t)a->kv_heads * a->value_dim, e) != 0)
        return -1;
    for (uint32_t r = 0; r < a->rows; r++)
        if (a->length[r] == 0 || a->length[r] > a->longest)
            return err_set(e, "host: attention: row %u has a length of %u, not 1 to %u",
                           r, a->length[r], a->longest);
    return 0;
}

static int run_attention(struct device_stream *s, const union host_args *a, struct err *e)
{
    if (check_attention(&a->attention, e) != 0)
        return -1;
    return host_attend(s, a, e);
}

void host_attention(struct device *d, struct device_stream *s,
                    const struct device_attention *a)
{
    (void)d;
    push(s, run_attention, &(union host_args){.attention = *a});
}

/* ---- rows ---- */

/* Eight sums, which the compiler keeps in vectors. */
static float sum_of_squares(const float *x, uint32_t count)
{
    const uint32_t whole = count - count % 8;
    float part[8] = {0.0F};
    float sum = 0.0F;

    for (uint32_t i = 0; i < whole; i += 8)
        for (uint32_t j = 0; j < 8; j++)
            part[j] += x[i + j] * x[i + j];
    for (uint32_t i = whole; i < count; i++)
        part[i % 8] += x[i] * x[i];
    for (int j = 0; j < 8; j++)
        sum += part[j];
    return sum;
}

static int run_norm(struct device_stream *s, const union host_args *a, struct err *e)
{
    const struct device_norm *n = &a->norm;
    const float *weight = n->weight;

    (void)s;
    (void)e;
    for (uint32_t r = 0; r < n->rows; r++) {
        const float *x = (const float *)n->x + (size_t)r * n->hidden;
        float *y = (float *)n->y + (size_t)r * n->hidden;
        const float squares = sum_of_squares(x, n->hidden);
        const float scale = 1.0F / sqrtf(squares / (float)n->hidden + 1e-6F);

        for (uint32_t i = 0; i < n->hidden; i++)
            y[i] = x[i] * scale * weight[i];
    }
    return 0;
}

void host_norm(struct device *d, struct device_stream *s, const struct device_norm *n)
{
    (void)d;
    push(s, run_norm, &(union host_args){.norm = *n});
}

static int run_gather(struct device_stream *s, const union host_args *a, struct err *e)
{
    const struct device_permute *p = &a->permute.of;
    const size_t hidden = p->hidden;

    (void)s;
    for (uint32_t r = 0; r < p->rows; r++) {
        if (p->row_token[r] >= p->tokens)
            return err_set(e, "host: gather: row %u is of token %u, but there are %u", r,
                           p->row_token[r], p->tokens);
        memcpy(a->permute.y + r * hidden, a->permute.x + p->row_token[r] * hidden,
               hidden * sizeof(float));
    }
    return 0;
}

void host_gather(struct device *d, struct device_stream *s,
                 const struct device_permute *p, const void *x, void *y)
{
    (void)d;
    push(s, run_gather, &(union host_args){.permute = {.of = *p, .x = x, .y = y}});
}

static int run_scatter(struct device_stream *s, const union host_args *a, struct err *e)
{
    const struct device_permute *p = &a->permute.of;
    const size_t hidden = p->hidden;

    (void)s;
    for (size_t i = 0; i < (size_t)p->tokens * p->top_k; i++) {
        const uint32_t row = p->token_row[i];
        const float *x;
        float *y;

        if (row == UINT32_MAX)
            continue;
        if (row >= p->rows)
            return err_set(e, "host: scatter: token %zu has row %u, but there are %u",
                           i / p->top_k, row, p->rows);
        x = a->permute.x + row * hidden;
        y = a->permute.y + i / p->top_k * hidden;
        for (size_t j = 0; j < hidden; j++)
            y[j] += p->token_weight[i] * x[j];
    }
    return 0;
}

void host_scatter(struct device *d, struct device_stream *s,
                  const struct device_permute *p, const void *x, void *y)
{
    (void)d;
    push(s, run_scatter, &(union host_args){.permute = {.of = *p, .x = x, .y = y}});
}

static int run_add(struct device_stream *s, const union host_args *a, struct err *e)
{
    const float *x = a->map.x;
    float *y = a->map.y;

    (void)s;
    (void)e;
    for (size_t i = 0; i < a->map.count; i++)
        y[i] += x[i];
    return 0;
}

void host_add(struct device *d, struct device_stream *s, void *y, const void *x,
              size_t count)
{
    (void)d;
    push(s, run_add, &(union host_args){.map = {.x = x, .y = y, .count = count}});
}

static int run_gated(struct device_stream *s, const union host_args *a, struct err *e)
{
    const size_t inner = a->map.inner;

    (void)s;
    (void)e;
    for (uint32_t r = 0; r < a->map.rows; r++) {
        const float *x = a->map.x + r * 2 * inner;
        float *y = a->map.y + r * inner;

        for (size_t i = 0; i < inner; i++)
            y[i] = silu(x[i]) * x[inner + i];
    }
    return 0;
}

void host_gated(struct device *d, struct device_stream *s, const void *x, void *y,
                uint32_t rows, uint32_t inner)
{
    (void)d;
    push(s, run_gated,
         &(union host_args){.map = {.x = x, .y = y, .rows = rows, .inner = inner}});
}

/* ---- time ---- */

static int run_spin(struct device_stream *s, const union host_args *a, struct err *e)
{
    const int64_t begun = host_now_ns();

    (void)s;
    (void)e;
    while ((double)(host_now_ns() - begun) < a->ns)
        ;
    return 0;
}

void host_spin(struct device *d, struct device_stream *s, double ns)
{
    (void)d;
    push(s, run_spin, &(union host_args){.ns = ns});
}

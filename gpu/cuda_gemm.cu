/* GEMMs of the cuda device, by cuBLAS: bf16 in and out, sums in fp32.
 *
 * cuBLAS's matrices are column-major. A row-major (rows, columns) matrix is to it a
 * (columns, rows) one with leading dimension `columns`, so y = x W^T is written as
 * C = op(A) B with A = W transposed, B = x, C = y: m = out, n = rows, k = in.
 *
 * Experts are one grouped GEMM per matrix multiplication, gate and up together since
 * they lie one after the other: m = 2 inner. Group i is expert i, one problem each.
 * cuBLAS wants the sizes on the host and the matrices' addresses on the device; a kernel
 * of ours writes those from its arguments, which are copied at launch, in graphs too. */
#include "cuda.h"

#include "cuda_launch.cuh"

#include <cublas_v2.h>
#include <limits.h>
#include <stdio.h>

static_assert(sizeof(cublasOperation_t) == sizeof(int), "cuda_sizes holds them as ints");

struct cublasContext *cuda_blas_open(struct cuda *c, int *version, struct err *e)
{
    cublasHandle_t blas = NULL;
    cublasStatus_t status = cublasCreate(&blas);

    /* Partial sums stay in fp32, and a captured alpha is a captured number. */
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasSetMathMode(
            blas, (cublasMath_t)(CUBLAS_DEFAULT_MATH |
                                 CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION));
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasSetPointerMode(blas, CUBLAS_POINTER_MODE_HOST);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasGetVersion(blas, version);
    if (status == CUBLAS_STATUS_SUCCESS)
        return blas;
    (void)err_set(e, "cuda:%d: cuBLAS cannot be used: %s", c->index,
                  cublasGetStatusString(status));
    cuda_blas_close(blas);
    return NULL;
}

void cuda_blas_close(struct cublasContext *blas)
{
    if (blas != NULL)
        (void)cublasDestroy(blas);
}

static bool blas_ok(struct cuda *c, cublasStatus_t status, const char *call)
{
    char sentence[256];

    if (status == CUBLAS_STATUS_SUCCESS)
        return true;
    (void)snprintf(sentence, sizeof sentence, "%s failed: %s", call,
                   cublasGetStatusString(status));
    cuda_fail(c, sentence);
    return false;
}

/* Setting the stream resets the workspace, so it is set after. */
static bool use_stream(struct cuda *c, struct device_stream *s)
{
    return blas_ok(c, cublasSetStream(c->blas, s->stream), "cublasSetStream") &&
           blas_ok(c,
                   cublasSetWorkspace(c->blas, cuda_scratch_of(s)->partial,
                                      CUDA_PARTIAL_BYTES),
                   "cublasSetWorkspace");
}

/* y (rows, out) with rows stride_y apart = x (rows, in), stride_x apart, W^T. */
struct product {
    int rows, in, out, stride_x, stride_y;
};

static bool multiply(struct cuda *c, const struct product *p, const void *x,
                     const void *w, void *y)
{
    const float alpha = 1.0F;
    const float beta = 0.0F;
    char call[128];
    cublasStatus_t status =
        cublasGemmEx(c->blas, CUBLAS_OP_T, CUBLAS_OP_N, p->out, p->rows, p->in, &alpha, w,
                     CUDA_R_16BF, p->in, x, CUDA_R_16BF, p->stride_x, &beta, y,
                     CUDA_R_16BF, p->stride_y, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);

    if (status == CUBLAS_STATUS_SUCCESS)
        return true;
    (void)snprintf(call, sizeof call, "cublasGemmEx of %d rows, %d to %d", p->rows, p->in,
                   p->out);
    return blas_ok(c, status, call);
}

/* cuBLAS's sizes are ints. */
static bool fits(struct cuda *c, uint64_t most)
{
    if (most > INT_MAX)
        cuda_fail(c, "a GEMM has a side longer than 2147483647");
    return most <= INT_MAX;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

void cuda_gemm(struct device *d, struct device_stream *s, const struct device_gemm *g)
{
    struct cuda *c = cuda_of(d);
    struct product p;

    if (g->rows == 0 || !cuda_enter(c) ||
        !fits(c, larger(g->rows, larger(g->in, g->out))) || !use_stream(c, s))
        return;
    p.rows = (int)g->rows;
    p.in = p.stride_x = (int)g->in;
    p.out = p.stride_y = (int)g->out;
    (void)multiply(c, &p, g->x, g->w, g->y);
}

/* ---- experts ---- */

/* At most CUDA_EXPERTS experts of a device_group, `total` rows in all. */
struct part {
    const struct device_ffn *ffn;
    uint32_t count;
    uint64_t total;
    const void *const *weight;
    const uint32_t *rows;
    const uint16_t *x;
    uint16_t *y, *work;
};

/* Elements before an expert's last matrix. */
static size_t down_of(const struct device_ffn *f)
{
    return (size_t)(f->matrices - 1) * f->inner * f->hidden;
}

/* x to the first inner (plain) or all 2 inner (gated) columns of work. */
static struct product up_product(const struct device_ffn *f)
{
    struct product p;

    p.rows = 0;
    p.in = p.stride_x = (int)f->hidden;
    p.out = (int)(f->inner * (f->matrices - 1));
    p.stride_y = (int)(2 * f->inner);
    return p;
}

/* The first inner columns of work to y. */
static struct product down_product(const struct device_ffn *f)
{
    struct product p;

    p.rows = 0;
    p.in = (int)f->inner;
    p.stride_x = (int)(2 * f->inner);
    p.out = p.stride_y = (int)f->hidden;
    return p;
}

/* Where a part's five arrays of addresses begin: up weights, x, work, down weights, y. */
enum {
    UP,
    X = CUDA_EXPERTS,
    WORK = 2 * CUDA_EXPERTS,
    DOWN = 3 * CUDA_EXPERTS,
    Y = 4 * CUDA_EXPERTS
};

static_assert(CUDA_POINTERS == 5, "the scratch has room for these");

/* Kernel arguments: below 4 KiB, which is what every driver takes. */
struct addresses {
    const uint16_t *weight[CUDA_EXPERTS];
    uint32_t row[CUDA_EXPERTS]; /* the first of each, in x, work and y */
    const uint16_t *x;
    uint16_t *work, *y;
    size_t hidden, stride, down;
    uint32_t count;
};

static_assert(sizeof(struct addresses) < 4000, "kernel arguments have 4096 bytes");

static __global__ void write_addresses(const __grid_constant__ struct addresses a,
                                       void **pointer)
{
    const uint32_t i = threadIdx.x;

    if (i >= a.count)
        return;
    pointer[UP + i] = (void *)a.weight[i];
    pointer[X + i] = (void *)(a.x + a.row[i] * a.hidden);
    pointer[WORK + i] = a.work + a.row[i] * a.stride;
    pointer[DOWN + i] = (void *)(a.weight[i] + a.down);
    pointer[Y + i] = a.y + a.row[i] * a.hidden;
}

static bool place_addresses(struct cuda *c, struct device_stream *s, const struct part *t)
{
    struct addresses a;
    uint32_t row = 0;

    for (uint32_t i = 0; i < t->count; i++) {
        a.weight[i] = (const uint16_t *)t->weight[i];
        a.row[i] = row;
        row += t->rows[i];
    }
    a.x = t->x;
    a.work = t->work;
    a.y = t->y;
    a.hidden = t->ffn->hidden;
    a.stride = 2 * (size_t)t->ffn->inner;
    a.down = down_of(t->ffn);
    a.count = t->count;
    cuda_launch(s->stream, write_addresses, 1, CUDA_EXPERTS, 0, a,
                cuda_scratch_of(s)->pointer);
    return cuda_launched(c, "write_addresses");
}

/* cuBLAS copies the sizes when it is called; only a graph might read them again. */
static struct cuda_sizes *sizes_of(struct cuda *c, struct device_stream *s)
{
    struct cuda_sizes *sizes;

    if (s->capture != NULL) {
        sizes = (struct cuda_sizes *)mem_zalloc(1, sizeof *sizes);
        sizes->next = s->capture->sizes;
        s->capture->sizes = sizes;
        return sizes;
    }
    if (c->sizes == NULL)
        c->sizes = (struct cuda_sizes *)mem_zalloc(1, sizeof *c->sizes);
    return c->sizes;
}

static cublasStatus_t multiply_group(struct cuda *c, struct device_stream *s,
                                     const struct product *p, const struct part *t, int w,
                                     int x, int y)
{
    struct cuda_sizes *z = sizes_of(c, s);
    void **pointer = cuda_scratch_of(s)->pointer;

    for (uint32_t i = 0; i < t->count; i++) {
        z->transposed[i] = CUBLAS_OP_T;
        z->plain[i] = CUBLAS_OP_N;
        z->m[i] = p->out;
        z->n[i] = (int)t->rows[i];
        z->k[i] = z->lda[i] = p->in;
        z->ldb[i] = p->stride_x;
        z->ldc[i] = p->stride_y;
        z->one[i] = 1;
        z->alpha[i] = 1.0F;
        z->beta[i] = 0.0F;
    }
    return cublasGemmGroupedBatchedEx(
        c->blas, (const cublasOperation_t *)z->transposed,
        (const cublasOperation_t *)z->plain, z->m, z->n, z->k, z->alpha, pointer + w,
        CUDA_R_16BF, z->lda, pointer + x, CUDA_R_16BF, z->ldb, z->beta, pointer + y,
        CUDA_R_16BF, z->ldc, (int)t->count, z->one, CUBLAS_COMPUTE_32F);
}

/* A grouped GEMM cannot look at addresses that are on the device: it takes those whose
 * rows all begin at 16 bytes. */
static bool aligned(const struct part *t)
{
    uintptr_t all = (uintptr_t)t->x | (uintptr_t)t->y | (uintptr_t)t->work;

    for (uint32_t i = 0; i < t->count; i++)
        all |= (uintptr_t)t->weight[i];
    return all % 16 == 0 && t->ffn->hidden % 8 == 0 && t->ffn->inner % 8 == 0;
}

/* One after the other, each by a GEMM of its own. */
static bool multiply_each(struct cuda *c, const struct product *of, const struct part *t,
                          size_t w, const uint16_t *x, uint16_t *y)
{
    struct product p = *of;

    for (uint32_t i = 0; i < t->count; i++) {
        p.rows = (int)t->rows[i];
        if (!multiply(c, &p, x, (const uint16_t *)t->weight[i] + w, y))
            return false;
        x += (size_t)t->rows[i] * (size_t)p.stride_x;
        y += (size_t)t->rows[i] * (size_t)p.stride_y;
    }
    return true;
}

/* True if each is to go alone. What was enqueued nevertheless does no harm, all of its
 * results are written again; and a device that is broken says so at the next call. */
static bool refused(cublasStatus_t status)
{
    return status == CUBLAS_STATUS_NOT_SUPPORTED ||
           status == CUBLAS_STATUS_ARCH_MISMATCH ||
           status == CUBLAS_STATUS_INVALID_VALUE ||
           status == CUBLAS_STATUS_EXECUTION_FAILED;
}

static void run_part(struct cuda *c, struct device_stream *s, const struct part *t)
{
    const struct device_ffn *f = t->ffn;
    const struct product up = up_product(f);
    const struct product down = down_product(f);
    bool grouped = t->count > 1 && aligned(t);
    cublasStatus_t status = CUBLAS_STATUS_SUCCESS;

    if (grouped) {
        if (!place_addresses(c, s, t))
            return;
        status = multiply_group(c, s, &up, t, UP, X, WORK);
        grouped = !refused(status);
        if (grouped && !blas_ok(c, status, "cublasGemmGroupedBatchedEx"))
            return;
    }
    if (!grouped) {
        (void)cudaGetLastError();
        if (!multiply_each(c, &up, t, 0, t->x, t->work))
            return;
    }
    cuda_activate(c, s, t->work, (uint32_t)t->total, f->inner, f->matrices == 3);
    if (c->failure.text[0] != '\0')
        return;
    if (grouped) {
        status = multiply_group(c, s, &down, t, DOWN, WORK, Y);
        grouped = !refused(status);
        if (grouped)
            (void)blas_ok(c, status, "cublasGemmGroupedBatchedEx");
    }
    if (!grouped) {
        (void)cudaGetLastError();
        (void)multiply_each(c, &down, t, down_of(f), t->work, t->y);
    }
}

void cuda_experts(struct device *d, struct device_stream *s, const struct device_group *g)
{
    const size_t hidden = g->ffn.hidden;
    const size_t stride = 2 * (size_t)g->ffn.inner;
    struct cuda *c = cuda_of(d);
    uint64_t row = 0;
    struct part t;

    if (!cuda_enter(c) || !fits(c, larger(hidden, stride)) || !use_stream(c, s))
        return;
    t.ffn = &g->ffn;
    for (uint32_t first = 0; first < g->count; first += t.count) {
        t.count = g->count - first;
        if (t.count > CUDA_EXPERTS)
            t.count = CUDA_EXPERTS;
        t.weight = g->weight + first;
        t.rows = g->rows + first;
        t.x = (const uint16_t *)g->x + row * hidden;
        t.work = (uint16_t *)g->work + row * stride;
        t.y = (uint16_t *)g->y + row * hidden;
        t.total = 0;
        for (uint32_t i = 0; i < t.count; i++)
            t.total += t.rows[i];
        if (!fits(c, t.total))
            return;
        run_part(c, s, &t);
        row += t.total;
    }
}

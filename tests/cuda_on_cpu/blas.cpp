/* The calls of cuBLAS that gpu/ makes, in plain loops: bf16 in and out, sums in fp32. A
 * product scribbles on its workspace, so that what else lies there shows. */
#include "emulated.h"

#include <cublas_v2.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <vector>

#ifdef CUDA_ON_CPU_ASAN
#include <sanitizer/asan_interface.h>
#endif

struct cublasContext {
    cudaStream_t stream;
    void *workspace;
    size_t bytes;
};

namespace {

/* C (m, n) = A^T B, column-major: A (k, m), B (k, n). */
struct product {
    int m, n, k, lda, ldb, ldc;
};

uint16_t rounded(float f)
{
    uint32_t bits;

    memcpy(&bits, &f, sizeof bits);
    if (std::isnan(f))
        return 0x7fff;
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float wide(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float f;

    memcpy(&f, &bits, sizeof f);
    return f;
}

void check(const void *p, int columns, int rows, int stride)
{
#ifdef CUDA_ON_CPU_ASAN
    for (int i = 0; i < columns; i++)
        if (__asan_region_is_poisoned((uint16_t *)p + (size_t)i * (size_t)stride,
                                      (size_t)rows * 2) != nullptr) {
            emulated_fail("a matrix of a GEMM is not all in memory that was allocated");
            return;
        }
#else
    (void)p, (void)columns, (void)rows, (void)stride;
#endif
}

/* Eight sums side by side, which the compiler makes a vector of. What it touches has been
 * checked, so that the file is compiled without sanitizers. */
float dot(const uint16_t *a, const uint16_t *b, size_t k)
{
    float part[8] = {0, 0, 0, 0, 0, 0, 0, 0}, sum = 0;
    size_t x = 0;

    for (; x + 8 <= k; x += 8)
        for (size_t y = 0; y < 8; y++)
            part[y] += wide(a[x + y]) * wide(b[x + y]);
    for (; x < k; x++)
        sum += wide(a[x]) * wide(b[x]);
    for (float y : part)
        sum += y;
    return sum;
}

void multiply(const product &p, const uint16_t *a, const uint16_t *b, uint16_t *c)
{
    for (size_t i = 0; i < (size_t)p.m; i++)
        for (size_t j = 0; j < (size_t)p.n; j++)
            c[j * (size_t)p.ldc + i] = rounded(
                dot(a + i * (size_t)p.lda, b + j * (size_t)p.ldb, (size_t)p.k));
}

void run(const product &p, const void *a, const void *b, void *c)
{
    check(a, p.m, p.k, p.lda);
    check(b, p.n, p.k, p.ldb);
    check(c, p.n, p.m, p.ldc);
    multiply(p, (const uint16_t *)a, (const uint16_t *)b, (uint16_t *)c);
}

void scribble(const cublasContext &h)
{
    if (h.workspace != nullptr)
        memset(h.workspace, 0xff, h.bytes < 65536 ? h.bytes : 65536);
}

bool sizes_fit(const product &p)
{
    return p.m > 0 && p.n > 0 && p.k > 0 && p.lda >= p.k && p.ldb >= p.k && p.ldc >= p.m;
}

cublasStatus_t said(cudaError_t status)
{
    return status == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

} // namespace

cublasStatus_t cublasCreate(cublasHandle_t *h)
{
    *h = new cublasContext{};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy(cublasHandle_t h)
{
    delete h;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t)
{
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetPointerMode(cublasHandle_t, cublasPointerMode_t mode)
{
    return mode == CUBLAS_POINTER_MODE_HOST ? CUBLAS_STATUS_SUCCESS
                                            : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasGetVersion(cublasHandle_t, int *version)
{
    *version = CUBLAS_VERSION;
    return CUBLAS_STATUS_SUCCESS;
}

const char *cublasGetStatusString(cublasStatus_t status)
{
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return "success";
    case CUBLAS_STATUS_INVALID_VALUE:
        return "the function was called with an invalid parameter";
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return "the parameters are not supported";
    default:
        return "the function failed";
    }
}

/* Back to a workspace of the library's own. */
cublasStatus_t cublasSetStream(cublasHandle_t h, cudaStream_t s)
{
    h->stream = s;
    h->workspace = nullptr;
    h->bytes = 0;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace(cublasHandle_t h, void *p, size_t bytes)
{
    h->workspace = p;
    h->bytes = bytes;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGemmEx(cublasHandle_t h, cublasOperation_t opa, cublasOperation_t opb,
                            int m, int n, int k, const void *alpha, const void *a,
                            cudaDataType ta, int lda, const void *b, cudaDataType tb,
                            int ldb, const void *beta, void *c, cudaDataType tc, int ldc,
                            cublasComputeType_t, cublasGemmAlgo_t)
{
    cublasContext now = *h;
    product p = {m, n, k, lda, ldb, ldc};

    if (opa != CUBLAS_OP_T || opb != CUBLAS_OP_N || ta != CUDA_R_16BF ||
        tb != CUDA_R_16BF || tc != CUDA_R_16BF || *(const float *)alpha != 1.0F ||
        *(const float *)beta != 0.0F)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if (!sizes_fit(p) || a == nullptr || b == nullptr || c == nullptr)
        return CUBLAS_STATUS_INVALID_VALUE;
    return said(emulated_enqueue(h->stream, [=] {
        scribble(now);
        run(p, a, b, c);
    }));
}

/* The arrays of sizes are the host's and are copied now, unless a graph keeps them; those
 * of addresses are the device's. */
cublasStatus_t cublasGemmGroupedBatchedEx(
    cublasHandle_t h, const cublasOperation_t opa[], const cublasOperation_t opb[],
    const int m[], const int n[], const int k[], const void *alpha, const void *const a[],
    cudaDataType_t ta, const int lda[], const void *const b[], cudaDataType_t tb,
    const int ldb[], const void *beta, void *const c[], cudaDataType_t tc,
    const int ldc[], int groups, const int size[], cublasComputeType_t)
{
    cublasContext now = *h;
    const float *one = (const float *)alpha, *none = (const float *)beta;
    std::vector<product> copied;

    /* CUDA_ON_CPU_REFUSE: as some versions do in a graph, or always. */
    const char *refuse = getenv("CUDA_ON_CPU_REFUSE");

    if (refuse != nullptr && (strcmp(refuse, "grouped") == 0 || emulated_captures(h->stream)))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    for (int i = 0; i < groups; i++) {
        product p = {m[i], n[i], k[i], lda[i], ldb[i], ldc[i]};

        if (opa[i] != CUBLAS_OP_T || opb[i] != CUBLAS_OP_N || size[i] != 1 ||
            one[i] != 1.0F || none[i] != 0.0F || ta != CUDA_R_16BF || tb != CUDA_R_16BF ||
            tc != CUDA_R_16BF)
            return CUBLAS_STATUS_NOT_SUPPORTED;
        if (!sizes_fit(p))
            return CUBLAS_STATUS_INVALID_VALUE;
        copied.push_back(p);
    }
    bool kept = emulated_captures(h->stream);
    return said(emulated_enqueue(h->stream, [=] {
        scribble(now);
        for (int i = 0; i < groups; i++) {
            product p = copied[(size_t)i];

            if (kept)
                p = product{m[i], n[i], k[i], lda[i], ldb[i], ldc[i]};
            run(p, a[i], b[i], c[i]);
        }
    }));
}

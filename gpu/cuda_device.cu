/* The cuda device: what can be opened, memory, the failure, what is known of it. */
#include "cuda.h"

#include <assert.h>
#include <cuda_runtime_api.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_BYTES = 4096, SMALL_FILE = 1 << 20 };

/* ---- the failure ---- */

bool cuda_enter(struct cuda *c)
{
    return c->failure.text[0] == '\0' &&
           cuda_ok(c, cudaSetDevice(c->index), "cudaSetDevice");
}

bool cuda_ok(struct cuda *c, int status, const char *format, ...)
{
    char call[256];
    va_list args;

    if (status == cudaSuccess)
        return true;
    va_start(args, format);
    (void)vsnprintf(call, sizeof call, format, args);
    va_end(args);
    (void)err_set(&c->failure, "cuda:%d: %s failed: %s", c->index, call,
                  cudaGetErrorString((cudaError_t)status));
    return false;
}

bool cuda_launched(struct cuda *c, const char *kernel)
{
    return cuda_ok(c, cudaGetLastError(), "launching the kernel %s", kernel);
}

void cuda_fail(struct cuda *c, const char *sentence)
{
    (void)err_set(&c->failure, "cuda:%d: %s", c->index, sentence);
}

int cuda_check(struct device *d, struct err *e)
{
    struct cuda *c = cuda_of(d);

    return c->failure.text[0] == '\0' ? 0 : err_set(e, "%s", c->failure.text);
}

/* ---- what there is ---- */

static uint32_t count(struct err *e)
{
    int driver = 0;
    int runtime = 0;
    int devices = 0;
    cudaError_t status;

    /* Needs no driver, and tells version 0 where there is none. */
    (void)cudaRuntimeGetVersion(&runtime);
    if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
        (void)cudaGetLastError();
        (void)err_set(e, "no CUDA driver is installed on this machine; --device host "
                         "needs none");
        return 0;
    }
    status = cudaGetDeviceCount(&devices);
    (void)cudaGetLastError();
    if (status == cudaErrorInsufficientDriver)
        (void)err_set(e,
                      "the CUDA driver is of version %d.%d, and this program needs "
                      "%d.%d; install a newer driver or use --device host",
                      driver / 1000, driver % 1000 / 10, runtime / 1000,
                      runtime % 1000 / 10);
    else if (status == cudaErrorNoDevice || (status == cudaSuccess && devices == 0))
        (void)err_set(e, "no CUDA device on this machine; use --device host");
    else if (status != cudaSuccess)
        (void)err_set(e, "CUDA devices cannot be counted: %s; use --device host",
                      cudaGetErrorString(status));
    return status == cudaSuccess && devices > 0 ? (uint32_t)devices : 0;
}

/* 0, or -1 where our kernels cannot run on it. */
static int describe(struct cuda *c, struct err *e)
{
    struct cudaDeviceProp p;
    int core_khz = 0;
    int memory_khz = 0;
    cudaError_t status = cudaGetDeviceProperties(&p, c->index);

    if (status != cudaSuccess)
        return err_set(e, "cuda:%d: cudaGetDeviceProperties failed: %s", c->index,
                       cudaGetErrorString(status));
    if (p.major < 8)
        return err_set(e,
                       "cuda:%d (%s) has compute capability %d.%d; bf16 needs 8.0 or "
                       "newer, use --device host",
                       c->index, p.name, p.major, p.minor);
    c->processors = (uint32_t)p.multiProcessorCount;
    (void)snprintf(c->name, sizeof c->name, "%s", p.name);
    /* These are limits; what the clocks are while something runs, nobody can promise. */
    if (cudaDeviceGetAttribute(&core_khz, cudaDevAttrClockRate, c->index) ==
            cudaSuccess &&
        cudaDeviceGetAttribute(&memory_khz, cudaDevAttrMemoryClockRate, c->index) ==
            cudaSuccess)
        (void)snprintf(c->clocks, sizeof c->clocks, "%d MHz, memory %d MHz at most",
                       core_khz / 1000, memory_khz / 1000);
    (void)cudaGetLastError();
    return 0;
}

static void close_cuda(struct device *d)
{
    struct cuda *c = cuda_of(d);

    /* A device that failed answers all of these with its failure: nothing can be done
     * about it, and freeing goes on. */
    (void)cudaSetDevice(c->index);
    (void)cudaDeviceSynchronize();
    cuda_streams_close(c);
    cuda_blas_close(c->blas);
    for (size_t i = 0; i < c->blocks; i++)
        if (c->block[i].kind == DEVICE_MEMORY_LOCAL)
            (void)cudaFree(c->block[i].p);
        else if (c->block[i].kind == DEVICE_MEMORY_PINNED)
            (void)cudaFreeHost(c->block[i].p);
        else
            free(c->block[i].p);
    free(c->block);
    free(c->sizes);
    free(c);
    (void)cudaGetLastError();
}

static struct device *open_cuda(uint32_t index, struct err *e)
{
    struct cuda *c = (struct cuda *)mem_zalloc(1, sizeof *c);
    int driver = 0;
    int runtime = 0;
    int blas = 0;

    c->base.ops = &device_cuda;
    c->index = (int)index;
    if (!cuda_enter(c)) {
        (void)cuda_check(&c->base, e);
        close_cuda(&c->base);
        return NULL;
    }
    if (describe(c, e) != 0 || (c->blas = cuda_blas_open(c, &blas, e)) == NULL) {
        close_cuda(&c->base);
        return NULL;
    }
    (void)cudaDriverGetVersion(&driver);
    (void)cudaRuntimeGetVersion(&runtime);
    (void)snprintf(c->driver, sizeof c->driver,
                   "CUDA driver %d.%d, runtime %d.%d, cuBLAS %d.%d.%d", driver / 1000,
                   driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10, blas / 10000,
                   blas / 100 % 100, blas % 100);
    return &c->base;
}

/* A line "KEY:  123 kB" of /proc/meminfo, in bytes; 0 where there is none. */
static uint64_t host_memory(const char *key)
{
    struct err e = {.text = "", .key = ""};
    size_t size = 0;
    char *text = file_read("/proc/meminfo", SMALL_FILE, &size, &e);
    const char *at = text == NULL ? NULL : strstr(text, key);
    uint64_t bytes = at == NULL ? 0 : strtoull(at + strlen(key), NULL, 10) * 1024;

    free(text);
    return bytes;
}

static void info(struct device *d, struct device_info *i)
{
    struct cuda *c = cuda_of(d);
    size_t unused = 0;
    size_t total = 0;

    if (cuda_enter(c))
        (void)cuda_ok(c, cudaMemGetInfo(&unused, &total), "cudaMemGetInfo");
    memset(i, 0, sizeof *i);
    i->name = c->name;
    i->driver = c->driver;
    i->clocks = c->clocks;
    i->element = DEVICE_BF16;
    i->local_bytes = total;
    i->local_free_bytes = unused;
    i->host_bytes = host_memory("MemTotal:");
    i->host_free_bytes = host_memory("MemAvailable:");
    i->processors = c->processors;
#ifdef CUDA_ON_CPU
    i->emulated = true;
#endif
}

static size_t element_bytes(const struct device *d)
{
    (void)d;
    return sizeof(uint16_t);
}

/* ---- memory ---- */

static int local_new(struct cuda *c, size_t bytes, void **p, struct err *e)
{
    cudaError_t status = cudaMalloc(p, bytes);
    size_t unused = 0;
    size_t total = 0;

    if (status == cudaSuccess)
        return 0;
    (void)cudaGetLastError(); /* or the next launch would be blamed for it */
    (void)cudaMemGetInfo(&unused, &total);
    return err_set(e,
                   "cuda:%d: %zu bytes of device memory were asked for, %zu of %zu are "
                   "free (%s); fewer resident experts or a shorter context need less",
                   c->index, bytes, unused, total, cudaGetErrorString(status));
}

static int pinned_new(struct cuda *c, size_t bytes, void **p, struct err *e)
{
    cudaError_t status = cudaMallocHost(p, bytes);

    if (status == cudaSuccess)
        return 0;
    (void)cudaGetLastError();
    return err_set(e,
                   "cuda:%d: %zu bytes of pinned host memory were asked for, %llu are "
                   "free (%s); keep fewer experts in host memory",
                   c->index, bytes, (unsigned long long)host_memory("MemAvailable:"),
                   cudaGetErrorString(status));
}

static int pageable_new(size_t bytes, void **p, struct err *e)
{
    if (posix_memalign(p, PAGE_BYTES, bytes) == 0)
        return 0;
    return err_set(e,
                   "%zu bytes of host memory were asked for, %llu are free; keep fewer "
                   "experts in host memory",
                   bytes, (unsigned long long)host_memory("MemAvailable:"));
}

static int memory_alloc(struct device *d, enum device_memory kind, size_t bytes, void **p,
                        struct err *e)
{
    struct cuda *c = cuda_of(d);
    size_t room = bytes == 0 ? 1 : bytes;
    int status;

    *p = NULL;
    if (!cuda_enter(c))
        return cuda_check(d, e);
    if (kind == DEVICE_MEMORY_LOCAL)
        status = local_new(c, room, p, e);
    else if (kind == DEVICE_MEMORY_PINNED)
        status = pinned_new(c, room, p, e);
    else
        status = pageable_new(room, p, e);
    if (status != 0)
        return -1;
    if (c->blocks == c->block_room) {
        c->block_room = c->block_room == 0 ? 64 : 2 * c->block_room;
        c->block =
            (struct cuda_block *)mem_resize(c->block, c->block_room, sizeof *c->block);
    }
    c->block[c->blocks].p = *p;
    c->block[c->blocks++].kind = kind;
    return 0;
}

/* cudaFree and cudaFreeHost wait for what is in flight. */
static void memory_free(struct device *d, enum device_memory kind, void *p)
{
    struct cuda *c = cuda_of(d);
    size_t i = c->blocks;

    if (p == NULL)
        return;
    /* The last allocated is often the first freed. */
    while (i > 0 && c->block[i - 1].p != p)
        i--;
    assert(i > 0 && c->block[i - 1].kind == kind);
    c->block[i - 1] = c->block[--c->blocks];
    (void)cudaSetDevice(c->index);
    if (kind == DEVICE_MEMORY_LOCAL)
        (void)cuda_ok(c, cudaFree(p), "cudaFree");
    else if (kind == DEVICE_MEMORY_PINNED)
        (void)cuda_ok(c, cudaFreeHost(p), "cudaFreeHost");
    else
        free(p);
}

int cuda_scratch_new(struct cuda *c, struct cuda_scratch *s, struct err *e)
{
    const size_t pointers = sizeof(void *) * CUDA_POINTERS * CUDA_EXPERTS;

    if (local_new(c, CUDA_PARTIAL_BYTES + pointers, &s->partial, e) != 0)
        return -1;
    s->pointer = (void **)((char *)s->partial + CUDA_PARTIAL_BYTES);
    return 0;
}

void cuda_scratch_free(struct cuda_scratch *s)
{
    (void)cudaFree(s->partial);
    s->partial = NULL;
}

const struct device_ops device_cuda = {
    .name = "cuda",
    .help = "an NVIDIA GPU of compute capability 8.0 or newer: bf16, cuBLAS and kernels "
            "of our own",
    .count = count,
    .open = open_cuda,
    .close = close_cuda,
    .info = info,
    .element_bytes = element_bytes,
    .mem_alloc = memory_alloc,
    .mem_free = memory_free,
    .stream_new = cuda_stream_new,
    .stream_finish = cuda_stream_finish,
    .event_new = cuda_event_new,
    .event_free = cuda_event_free,
    .event_record = cuda_event_record,
    .event_hold = cuda_event_hold,
    .event_reached = cuda_event_reached,
    .event_wait = cuda_event_wait,
    .event_ns = cuda_event_ns,
    .copy = cuda_copy,
    .fill = cuda_fill,
    .gemm = cuda_gemm,
    .experts = cuda_experts,
    .attention = cuda_attention,
    .norm = cuda_norm,
    .gather = cuda_gather,
    .scatter = cuda_scatter,
    .add = cuda_add,
    .gated = cuda_gated,
    .spin = cuda_spin,
    .capture_begin = cuda_capture_begin,
    .capture_end = cuda_capture_end,
    .graph_launch = cuda_graph_launch,
    .graph_free = cuda_graph_free,
    .check = cuda_check,
};

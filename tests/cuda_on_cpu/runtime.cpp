/* The calls of CUDA's runtime that gpu/ makes, on a CPU. Work waits in its stream's queue
 * until somebody waits for it or looks: then the scheduler takes work from the heads of
 * the queues, in an order that the seed chooses, as far as holds allow. So a program that
 * waits too little, or holds too little, reads what is not there yet. With one seed in
 * four nothing is done before it must. The clock is this machine's, which orders what is
 * done and measures no GPU. */
#include "emulated.h"

#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace
{

constexpr size_t TOTAL_BYTES = (size_t)6 << 30;

/* What is reached once, and when. */
struct mark {
    bool reached = false;
    uint64_t ns = 0;
};
using mark_ptr = std::shared_ptr<mark>;

struct piece {
    std::function<void()> work; /* or */
    mark_ptr reach, hold;
};

enum memory { NONE, DEVICE, PINNED };

struct block {
    size_t bytes;
    enum memory kind;
};

std::recursive_mutex lock;
uint64_t last_ns;
cudaError_t last_error = cudaSuccess, sticky = cudaSuccess;
std::map<char *, block> blocks;
size_t used;

} // namespace

struct CUevent_st {
    mark_ptr last;
};

/* A node that records or holds asks for the event at each launch. */
struct node {
    std::function<void()> work;
    CUevent_st *record = nullptr, *hold = nullptr;
};

struct CUgraph_st {
    std::vector<node> nodes;
};

struct CUgraphExec_st {
    std::vector<node> nodes;
    mark_ptr done; /* of the last launch */
};

struct CUstream_st {
    std::deque<piece> queue;
    CUgraph_st *capture = nullptr;
    bool lost = false; /* the capture */
};

namespace
{

std::vector<CUstream_st *> streams;

#define ENTER() std::lock_guard<std::recursive_mutex> guard(lock)

/* Goes on with each look. */
uint64_t now()
{
    struct timespec t;
    uint64_t ns;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    ns = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
    return last_ns = ns > last_ns ? ns : last_ns + 1;
}

/* Ends the call: the failure stays, as the last one and, if it is of the device, for
 * good. */
cudaError_t give(cudaError_t status)
{
    if (sticky != cudaSuccess)
        status = sticky;
    if (status != cudaSuccess)
        last_error = status;
    return status;
}

bool can_go(const CUstream_st *s)
{
    return !s->queue.empty() &&
           (s->queue.front().hold == nullptr || s->queue.front().hold->reached);
}

void go(CUstream_st *s)
{
    piece p = std::move(s->queue.front());

    s->queue.pop_front();
    if (p.work && sticky == cudaSuccess)
        p.work();
    if (p.reach != nullptr) {
        p.reach->reached = true;
        p.reach->ns = now();
    }
}

/* Some piece that can go; false: there is none. */
bool step()
{
    uint32_t first = streams.empty() ? 0 : emulated_random((uint32_t)streams.size());

    for (size_t i = 0; i < streams.size(); i++) {
        CUstream_st *s = streams[(first + i) % streams.size()];

        if (can_go(s)) {
            go(s);
            return true;
        }
    }
    return false;
}

template <class Done> void go_until(Done done)
{
    while (!done() && sticky == cudaSuccess)
        if (!step())
            emulated_fail("a stream holds for an event that nobody will record");
}

/* What a GPU may or may not have done by now. */
void meanwhile()
{
    for (uint32_t i = emulated_seed() % 4 == 0 ? 0 : emulated_random(4); i > 0; i--)
        (void)step();
}

const block *block_of(const void *p)
{
    auto it = blocks.upper_bound((char *)p);

    if (it == blocks.begin())
        return nullptr;
    --it;
    return (const char *)p < it->first + it->second.bytes ? &it->second : nullptr;
}

enum memory kind_of(const void *p)
{
    const block *b = block_of(p);

    return b == nullptr ? NONE : b->kind;
}

cudaError_t allocate(void **p, size_t bytes, enum memory kind)
{
    ENTER();
    if (sticky != cudaSuccess)
        return give(sticky);
    if (kind == DEVICE && bytes > TOTAL_BYTES - used)
        return give(cudaErrorMemoryAllocation);
    if (posix_memalign(p, 256, bytes == 0 ? 1 : bytes) != 0)
        return give(cudaErrorMemoryAllocation);
    memset(*p, 0xff, bytes);
    blocks[(char *)*p] = block{bytes, kind};
    used += kind == DEVICE ? bytes : 0;
    return cudaSuccess;
}

/* Waits for all that is in flight, as the real ones do. */
cudaError_t release(void *p, enum memory kind)
{
    ENTER();
    auto it = blocks.find((char *)p);

    if (p == nullptr)
        return give(cudaSuccess);
    if (it == blocks.end() || it->second.kind != kind)
        return give(cudaErrorInvalidValue);
    while (sticky == cudaSuccess && step())
        ;
    used -= kind == DEVICE ? it->second.bytes : 0;
    blocks.erase(it);
    free(p);
    return give(cudaSuccess);
}

void enqueue_node(CUstream_st *s, const node &n)
{
    piece p;

    p.work = n.work;
    if (n.record != nullptr)
        n.record->last = p.reach = std::make_shared<mark>();
    if (n.hold != nullptr)
        p.hold = n.hold->last;
    s->queue.push_back(p);
}

/* Now, or at each launch of what is captured. */
cudaError_t put(CUstream_st *s, const node &n)
{
    if (s == nullptr)
        return give(cudaErrorInvalidResourceHandle);
    if (s->capture != nullptr) {
        s->capture->nodes.push_back(n);
        return give(cudaSuccess);
    }
    enqueue_node(s, n);
    meanwhile();
    return give(cudaSuccess);
}

} // namespace

/* ---- what the other files need ---- */

uint32_t emulated_seed(void)
{
    static const char *text = getenv("CUDA_ON_CPU_SEED");
    static const uint32_t seed =
        text == nullptr ? 1 : (uint32_t)strtoul(text, nullptr, 10);

    return seed;
}

uint32_t emulated_random(uint32_t below)
{
    static std::mt19937 random(emulated_seed());

    return (uint32_t)(random() % below);
}

cudaError_t emulated_enqueue(cudaStream_t stream, std::function<void()> work)
{
    ENTER();
    node n;

    n.work = std::move(work);
    return put(stream, n);
}

bool emulated_captures(cudaStream_t stream)
{
    return stream != nullptr && stream->capture != nullptr;
}

void emulated_spoil(cudaStream_t stream)
{
    stream->lost = true;
}

void emulated_fail(const char *sentence)
{
    if (sticky == cudaSuccess)
        (void)fprintf(stderr, "emulated CUDA: %s\n", sentence);
    sticky = cudaErrorLaunchFailure;
}

uint64_t emulated_look(void)
{
    return now();
}

void emulated_sleep(uint64_t ns)
{
    struct timespec t = {0, (long)(ns % 1000000000)};

    (void)nanosleep(&t, nullptr);
}

void emulated_launch(cudaStream_t stream, dim3 grid, uint32_t threads, size_t shared,
                     std::function<void()> kernel)
{
    ENTER();
    bool fits = grid.x > 0 && grid.x <= 0x7fffffffU && grid.y > 0 && grid.y <= 65535 &&
                grid.z > 0 && grid.z <= 65535 && threads > 0 && threads <= 1024 &&
                shared <= 48 * 1024;

    if (!fits) {
        (void)give(cudaErrorInvalidConfiguration);
        return;
    }
    (void)emulated_enqueue(stream, [=] { emulated_run(grid, threads, shared, kernel); });
}

/* ---- the device ---- */

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    ENTER();
    return give(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device)
{
    *p = cudaDeviceProp{};
    if (device != 0)
        return give(cudaErrorInvalidDevice);
    (void)snprintf(p->name, sizeof p->name, "emulated GPU (no figure is a measurement)");
    p->major = 9;
    p->multiProcessorCount = 4;
    p->totalGlobalMem = TOTAL_BYTES;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr, int)
{
    *value = 0;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *left, size_t *total)
{
    ENTER();
    *left = TOTAL_BYTES - used;
    *total = TOTAL_BYTES;
    return give(cudaSuccess);
}

cudaError_t cudaDeviceSynchronize(void)
{
    ENTER();
    go_until([] {
        for (const CUstream_st *s : streams)
            if (!s->queue.empty())
                return false;
        return true;
    });
    return give(cudaSuccess);
}

cudaError_t cudaGetLastError(void)
{
    ENTER();
    cudaError_t status = last_error;

    last_error = sticky;
    return status;
}

const char *cudaGetErrorString(cudaError_t status)
{
    static const std::map<int, const char *> text = {
        {cudaSuccess, "no error"},
        {cudaErrorInvalidValue, "invalid argument"},
        {cudaErrorMemoryAllocation, "out of memory"},
        {cudaErrorInvalidConfiguration, "invalid configuration argument"},
        {cudaErrorLaunchFailure, "unspecified launch failure"},
        {cudaErrorNotReady, "device not ready"},
        {cudaErrorInvalidDevice, "invalid device ordinal"},
        {cudaErrorInvalidResourceHandle, "invalid resource handle"},
        {cudaErrorIllegalState, "the operation cannot be performed in the present state"},
        {cudaErrorStreamCaptureUnsupported, "not permitted when stream is capturing"},
        {cudaErrorStreamCaptureInvalidated, "the capture was invalidated"},
        {cudaErrorStreamCaptureIsolation,
         "dependency on uncaptured work in another stream"},
    };
    auto it = text.find(status);

    return it == text.end() ? "an error" : it->second;
}

/* ---- memory ---- */

cudaError_t cudaMalloc(void **p, size_t bytes)
{
    return allocate(p, bytes, DEVICE);
}

cudaError_t cudaMallocHost(void **p, size_t bytes)
{
    return allocate(p, bytes, PINNED);
}

cudaError_t cudaFree(void *p)
{
    return release(p, DEVICE);
}

cudaError_t cudaFreeHost(void *p)
{
    return release(p, PINNED);
}

/* From pageable memory the driver has staged the bytes when the call returns; into it the
 * copy is over by then. */
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t s)
{
    ENTER();
    bool captures = emulated_captures(s);
    enum memory source = kind_of(from), target = kind_of(to);
    cudaError_t status;

    if (to == nullptr || from == nullptr)
        return give(cudaErrorInvalidValue);
    if (source == NONE && !captures) {
        std::string staged((const char *)from, bytes);

        status = emulated_enqueue(s, [=] { memcpy(to, staged.data(), bytes); });
    } else {
        status = emulated_enqueue(s, [=] { memcpy(to, from, bytes); });
    }
    if (status == cudaSuccess && target == NONE && !captures)
        go_until([=] { return s->queue.empty(); });
    return give(status);
}

cudaError_t cudaMemsetAsync(void *to, int byte, size_t bytes, cudaStream_t s)
{
    ENTER();
    if (kind_of(to) != DEVICE)
        return give(cudaErrorInvalidValue);
    return emulated_enqueue(s, [=] { memset(to, byte, bytes); });
}

/* ---- streams ---- */

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned, int)
{
    ENTER();
    if (sticky != cudaSuccess)
        return give(sticky);
    *s = new CUstream_st;
    streams.push_back(*s);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    ENTER();
    go_until([=] { return s->queue.empty(); });
    for (size_t i = 0; i < streams.size(); i++)
        if (streams[i] == s)
            streams.erase(streams.begin() + (long)i--);
    delete s->capture;
    delete s;
    return give(cudaSuccess);
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    ENTER();
    if (s->capture != nullptr) {
        s->lost = true;
        return give(cudaErrorStreamCaptureUnsupported);
    }
    go_until([=] { return s->queue.empty(); });
    return give(cudaSuccess);
}

/* ---- events ---- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *v, unsigned)
{
    ENTER();
    if (sticky != cudaSuccess)
        return give(sticky);
    *v = new CUevent_st;
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t v)
{
    ENTER();
    delete v;
    return give(cudaSuccess);
}

/* In a capture only external records and holds are allowed, and nowhere else. */
static cudaError_t put_event(cudaStream_t s, bool external, const node &n)
{
    ENTER();
    if (emulated_captures(s) == external)
        return put(s, n);
    return give(external ? cudaErrorIllegalState : cudaErrorStreamCaptureIsolation);
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t v, cudaStream_t s, unsigned flags)
{
    return put_event(s, flags == cudaEventRecordExternal, node{nullptr, v, nullptr});
}

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t v, unsigned flags)
{
    return put_event(s, flags == cudaEventWaitExternal, node{nullptr, nullptr, v});
}

cudaError_t cudaEventQuery(cudaEvent_t v)
{
    ENTER();
    meanwhile();
    if (v->last == nullptr || v->last->reached || sticky != cudaSuccess)
        return give(cudaSuccess);
    (void)step(); /* who asks again and again is to see an end */
    return give(cudaErrorNotReady);
}

cudaError_t cudaEventSynchronize(cudaEvent_t v)
{
    ENTER();
    go_until([=] { return v->last == nullptr || v->last->reached; });
    return give(cudaSuccess);
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t a, cudaEvent_t b)
{
    ENTER();
    if (a->last == nullptr || b->last == nullptr)
        return give(cudaErrorInvalidResourceHandle);
    if (!a->last->reached || !b->last->reached)
        return give(cudaErrorNotReady);
    *ms = (float)(1e-6 * ((double)b->last->ns - (double)a->last->ns));
    return give(cudaSuccess);
}

/* ---- graphs ---- */

cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode)
{
    ENTER();
    if (s->capture != nullptr)
        return give(cudaErrorIllegalState);
    s->capture = new CUgraph_st;
    s->lost = false;
    return give(cudaSuccess);
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g)
{
    ENTER();
    *g = s->capture;
    s->capture = nullptr;
    if (*g == nullptr)
        return give(cudaErrorIllegalState);
    if (s->lost) {
        delete *g;
        *g = nullptr;
        return give(cudaErrorStreamCaptureInvalidated);
    }
    return give(cudaSuccess);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t g, unsigned long long)
{
    ENTER();
    *exec = new CUgraphExec_st{g->nodes, nullptr};
    return give(cudaSuccess);
}

cudaError_t cudaGraphDestroy(cudaGraph_t g)
{
    ENTER();
    delete g;
    return give(cudaSuccess);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    ENTER();
    delete exec;
    return give(cudaSuccess);
}

/* One launch of a graph begins when the one before has ended, on whatever stream. */
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t s)
{
    ENTER();
    piece before, after;

    if (s->capture != nullptr) {
        s->lost = true;
        return give(cudaErrorStreamCaptureUnsupported);
    }
    before.hold = exec->done;
    s->queue.push_back(before);
    for (const node &n : exec->nodes)
        enqueue_node(s, n);
    after.reach = exec->done = std::make_shared<mark>();
    s->queue.push_back(after);
    meanwhile();
    return give(cudaSuccess);
}

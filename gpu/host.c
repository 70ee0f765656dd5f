/* The host device: opening, memory, what is known of it. Its own memory is ordinary
 * memory, and so is pinned memory: nothing is locked, since no bus reads it. Both are
 * limited to a share of what the machine has free when the device is opened, so that
 * running out is a sentence here and not the end of the process by the kernel. */
#include "host.h"

#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "sim/base/units.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ALIGNMENT = 64, SMALL_FILE = 4 << 20 };

/* ---- what is known of the machine ---- */

/* What follows the key and its colon in a file of "key : value" lines, or NULL. Owned. */
static char *value_of(const char *path, const char *key)
{
    struct err e = {.text = ""};
    char *text = file_read(path, SMALL_FILE, &(size_t){0}, &e);
    char *at = text == NULL ? NULL : strstr(text, key);
    char *value = NULL;

    if (at != NULL && (at = strchr(at, ':')) != NULL) {
        at += 1 + strspn(at + 1, " \t");
        at[strcspn(at, "\n")] = '\0';
        value = mem_strdup(at);
    }
    free(text);
    return value;
}

/* The number a small file begins with, or UINT64_MAX where there is none ("max"). */
static uint64_t number_in(const char *path)
{
    struct err e = {.text = ""};
    char *text = file_read(path, SMALL_FILE, &(size_t){0}, &e);
    uint64_t value = UINT64_MAX;

    if (text != NULL && text[0] >= '0' && text[0] <= '9')
        value = strtoull(text, NULL, 10);
    free(text);
    return value;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* What may be allocated: the machine's, or less where the process is held to less. */
static uint64_t available_bytes(void)
{
    char *text = value_of("/proc/meminfo", "MemAvailable");
    uint64_t bytes = text == NULL ? BYTES_PER_GIB : strtoull(text, NULL, 10) * 1024;

    free(text);
    bytes = smaller(bytes, number_in("/sys/fs/cgroup/memory.max"));
    return smaller(bytes, number_in("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
}

static char *clock_text(void)
{
    const uint64_t khz =
        number_in("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq");

    return khz == UINT64_MAX
               ? mem_strdup("")
               : mem_format("%llu MHz at most", (unsigned long long)(khz / 1000));
}

/* ---- the device ---- */

static uint32_t count(struct err *e)
{
    struct host_blas b;

    if (host_blas_open(&b, e) != 0)
        return 0;
    host_blas_close(&b);
    return 1;
}

static struct device *open_host(uint32_t index, struct err *e)
{
    struct host_device *d = mem_zalloc(1, sizeof *d);
    uint64_t bytes = available_bytes();

    assert(index == 0);
    (void)index;
    if (host_blas_open(&d->blas, e) != 0) {
        free(d);
        return NULL;
    }
    d->base.ops = &device_host;
    d->name = value_of("/proc/cpuinfo", "model name");
    if (d->name == NULL)
        d->name = mem_strdup("unknown processor");
    d->driver = mem_format("%s; one thread per stream", d->blas.config());
    d->clocks = clock_text();
    /* An eighth is left to everything else. */
    d->total_bytes[0] = bytes / 2;
    d->total_bytes[1] = bytes / 8 * 3;
    (void)pthread_mutex_init(&d->lock, NULL);
    (void)pthread_cond_init(&d->reached, NULL);
    atomic_init(&d->failed, false);
    return &d->base;
}

static void close_host(struct device *device)
{
    struct host_device *d = (struct host_device *)device;

    host_streams_close(d);
    for (size_t i = 0; i < d->blocks; i++)
        free(d->block[i].p);
    free(d->block);
    (void)pthread_cond_destroy(&d->reached);
    (void)pthread_mutex_destroy(&d->lock);
    free(d->name);
    free(d->driver);
    free(d->clocks);
    host_blas_close(&d->blas);
    free(d);
}

static void info(struct device *device, struct device_info *i)
{
    const struct host_device *d = (struct host_device *)device;
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);

    *i = (struct device_info){
        .name = d->name,
        .driver = d->driver,
        .clocks = d->clocks,
        .element = DEVICE_F32,
        .local_bytes = d->total_bytes[0],
        .local_free_bytes = d->total_bytes[0] - d->used_bytes[0],
        .host_bytes = d->total_bytes[1],
        .host_free_bytes = d->total_bytes[1] - d->used_bytes[1],
        .processors = processors > 0 ? (uint32_t)processors : 1,
    };
}

static size_t element_bytes(const struct device *d)
{
    (void)d;
    return sizeof(float);
}

/* ---- memory ---- */

/* Every byte is written, so that pages are there before anything is timed; with ones, so
 * that what is read before it was written is not a number. */
static int allocate(struct device *device, enum device_memory kind, size_t bytes,
                    void **p, struct err *e)
{
    static const char *const names[DEVICE_MEMORIES] = {"device", "pinned", "pageable"};
    struct host_device *d = (struct host_device *)device;
    const int pool = kind == DEVICE_MEMORY_LOCAL ? 0 : 1;
    const uint64_t left = d->total_bytes[pool] - d->used_bytes[pool];

    *p = NULL;
    if (bytes > left ||
        posix_memalign(p, ALIGNMENT, bytes == 0 ? ALIGNMENT : bytes) != 0) {
        *p = NULL;
        return err_set(
            e,
            "host: %zu bytes of %s memory were asked for, but only %llu of %llu "
            "are left",
            bytes, names[kind], (unsigned long long)left,
            (unsigned long long)d->total_bytes[pool]);
    }
    memset(*p, 0xff, bytes);
    if (d->blocks == d->block_room) {
        d->block_room = d->block_room == 0 ? 64 : 2 * d->block_room;
        d->block = mem_resize(d->block, d->block_room, sizeof *d->block);
    }
    d->block[d->blocks++] = (struct host_block){*p, bytes, kind};
    d->used_bytes[pool] += bytes;
    return 0;
}

static void release(struct device *device, enum device_memory kind, void *p)
{
    struct host_device *d = (struct host_device *)device;
    struct err ignored = {.text = ""};
    size_t i = d->blocks;

    if (p == NULL)
        return;
    while (i > 0 && d->block[i - 1].p != p)
        i--;
    assert(i > 0 && d->block[i - 1].kind == kind);
    /* After a failure a caller gives up before its work has ended. */
    if (host_check(device, &ignored) != 0)
        host_streams_dry(d);
    d->used_bytes[kind == DEVICE_MEMORY_LOCAL ? 0 : 1] -= d->block[i - 1].bytes;
    d->block[i - 1] = d->block[--d->blocks];
    free(p);
}

const struct device_ops device_host = {
    .name = "host",
    .help = "threads and memory of this machine, GEMMs by OpenBLAS in fp32",
    .count = count,
    .open = open_host,
    .close = close_host,
    .info = info,
    .element_bytes = element_bytes,
    .mem_alloc = allocate,
    .mem_free = release,
    .stream_new = host_stream_new,
    .stream_finish = host_stream_finish,
    .event_new = host_event_new,
    .event_free = host_event_free,
    .event_record = host_event_record,
    .event_hold = host_event_hold,
    .event_reached = host_event_reached,
    .event_wait = host_event_wait,
    .event_ns = host_event_ns,
    .copy = host_copy,
    .fill = host_fill,
    .gemm = host_gemm,
    .experts = host_experts,
    .attention = host_attention,
    .norm = host_norm,
    .gather = host_gather,
    .scatter = host_scatter,
    .add = host_add,
    .gated = host_gated,
    .spin = host_spin,
    .capture_begin = host_capture_begin,
    .capture_end = host_capture_end,
    .graph_launch = host_graph_launch,
    .graph_free = host_graph_free,
    .check = host_check,
};

/* The cache alone, on an access stream: counts hits and times the accesses.
 *
 *   bench_cache FILE POLICY SLOTS [REPETITIONS [EXPERTS]]
 *
 * FILE is a libCacheSim oracleGeneral file (records of 24 bytes: u32 time, u64 object,
 * u32 size, i64 next access). With EXPERTS the cache has one set of SLOTS per layer,
 * object = layer * EXPERTS + expert, and a step ends where layer or time change or ids
 * stop ascending; active experts are protected. Without it the cache is one global set
 * without protection, as libCacheSim's. Prints one line of CSV per repetition:
 * policy,slots,accesses,hits,seconds,ns_per_access. Reading the file and building the
 * cache are outside the timed window. POLICY may have options: "clock:bits=2,initial=1".
 * */
#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "sim/policy/cache.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RECORD 24

struct access {
    uint32_t object;
    struct cache_use next_use;
};

struct stream {
    struct access *access;
    uint64_t *profile;           /* [objects] accesses of each */
    struct cache_use *first_use; /* [objects] */
    uint16_t *expert;            /* [accesses] ids within the layer */
    uint32_t *step, steps;       /* first access of each step, and one more */
    uint16_t *layer;             /* of each step */
    uint32_t count, layers, experts;
};

static double now_s(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int fail(const char *sentence)
{
    (void)fprintf(stderr, "bench_cache: %s\n", sentence);
    return -1;
}

static long number(const char *text, long max)
{
    char *end;
    long value;

    errno = 0;
    value = strtol(text, &end, 10);
    return errno != 0 || *end != '\0' || value < 1 || value > max ? -1 : value;
}

/* Cuts the accesses into steps. */
static void make_steps(struct stream *s, const uint32_t *time_of, bool per_layer)
{
    s->step = mem_alloc((size_t)s->count + 1, sizeof *s->step);
    s->expert = mem_alloc((size_t)s->count + 1, sizeof *s->expert);
    s->layer = mem_alloc((size_t)s->count + 1, sizeof *s->layer);
    for (uint32_t i = 0; i < s->count; i++) {
        uint32_t object = s->access[i].object;

        s->expert[i] = (uint16_t)(object % s->experts);
        if (i == 0 || !per_layer || time_of[i] != time_of[i - 1] ||
            object <= s->access[i - 1].object ||
            object / s->experts != s->access[i - 1].object / s->experts) {
            s->layer[s->steps] = (uint16_t)(object / s->experts);
            s->step[s->steps++] = i;
        }
    }
    s->step[s->steps] = s->count;
}

static int parse(struct stream *s, const char *bytes, size_t size, long experts)
{
    uint32_t *time_of, objects = 0;

    s->count = (uint32_t)(size / RECORD);
    if (size == 0 || size % RECORD != 0 || size / RECORD > UINT32_MAX - 1)
        return fail("the file is not a whole number of 24-byte records");
    s->access = mem_alloc(s->count, sizeof *s->access);
    time_of = mem_alloc(s->count, sizeof *time_of);
    for (uint32_t i = 0; i < s->count; i++) {
        const char *record = bytes + (size_t)i * RECORD;
        uint64_t object;
        int64_t next;

        memcpy(&time_of[i], record, sizeof time_of[i]);
        memcpy(&object, record + 4, sizeof object);
        memcpy(&next, record + 16, sizeof next);
        if (object >= UINT32_C(1) << 24) {
            free(time_of);
            return fail("an object id is above 2^24");
        }
        s->access[i].object = (uint32_t)object;
        s->access[i].next_use = (struct cache_use){
            next < 0 || next >= CACHE_NEVER ? CACHE_NEVER : (uint32_t)next,
            (uint32_t)object};
        objects = object >= objects ? (uint32_t)object + 1 : objects;
    }
    s->experts = experts > 0 ? (uint32_t)experts : 1024;
    s->layers = (objects + s->experts - 1) / s->experts;
    make_steps(s, time_of, experts > 0);
    free(time_of);
    objects = s->layers * s->experts;
    s->profile = mem_zalloc(objects, sizeof *s->profile);
    s->first_use = mem_alloc(objects, sizeof *s->first_use);
    for (uint32_t i = s->count; i-- > 0;) {
        s->profile[s->access[i].object]++;
        s->first_use[s->access[i].object] = (struct cache_use){i, s->access[i].object};
    }
    return 0;
}

/* "name:key=value,..." -> the algorithm and its parameters (owned). */
static const struct cache_algorithm *find(const char *spec, void **params, struct err *e)
{
    char *name = mem_strdup(spec), *options = strchr(name, ':');
    char *text = NULL;
    const struct plugin *plugin;
    struct cfg *cfg;
    size_t size;

    if (options != NULL)
        *options++ = '\0';
    plugin = registry_find(SLOT_CACHE, name);
    if (plugin == NULL) {
        (void)err_set(e, "there is no cache policy '%s'", name);
        free(name);
        return NULL;
    }
    *params = mem_zalloc(plugin->params_size, 1);
    if (plugin->options != NULL) {
        text = mem_format("{%s}", options != NULL ? options : "");
        size = strlen(text);
        for (char *c = text; *c != '\0'; c++)
            *c = *c == '=' ? ':' : *c;
        /* YAML wants a space after the colon. */
        for (size_t i = 0; i < size; i++) {
            if (text[i] == ':') {
                text = mem_resize(text, size + 2, 1);
                memmove(text + i + 2, text + i + 1, size - i);
                text[i + 1] = ' ';
                size++;
            }
        }
        cfg = cfg_parse("policy", text, size, e);
        if (cfg == NULL || cfg_bind(cfg_root(cfg), plugin->options, *params, e) != 0)
            plugin = NULL;
        cfg_free(cfg);
    }
    free(text);
    free(name);
    return (const struct cache_algorithm *)(const void *)plugin;
}

/* Hits. With steps, a pass ends where the layer does not rise. */
static uint64_t replay(struct cache *c, const struct stream *s, bool per_layer)
{
    uint64_t hits = 0;
    uint32_t before = 0;

    for (uint32_t k = 0; k < s->steps; k++) {
        uint32_t first = s->step[k], end = s->step[k + 1];
        uint32_t layer = s->layer[k];

        if (per_layer && k > 0 && layer <= before)
            cache_end_pass(c);
        before = layer;
        cache_begin_step(c, layer, &s->expert[first], end - first);
        for (uint32_t i = first; i < end; i++)
            hits += cache_access(c, layer, s->expert[i], s->access[i].next_use).outcome ==
                    CACHE_HIT;
    }
    return hits;
}

static int run(const struct stream *s, const char *spec, long slots, long repetitions,
               bool per_layer)
{
    struct err e = {.text = ""};
    void *params = NULL;
    uint64_t *bytes = mem_alloc(s->layers, sizeof *bytes);
    struct cache_config config = {.algorithm = find(spec, &params, &e),
                                  .algorithm_params = params,
                                  .layers = s->layers,
                                  .experts = s->experts,
                                  .expert_bytes = bytes,
                                  .profile = s->profile,
                                  .future = true,
                                  .first_use = s->first_use,
                                  .seed = 1};

    for (uint32_t i = 0; i < s->layers; i++)
        bytes[i] = 1;
    config.params = (struct cache_params){
        .scope = per_layer ? CACHE_PER_LAYER : CACHE_GLOBAL,
        .slots = slots,
        .protect = per_layer ? CACHE_PROTECT_STRICT : CACHE_PROTECT_NONE,
        .staging = 1};
    if (config.algorithm != NULL)
        config.future = (config.algorithm->plugin.needs & NEED_FUTURE) != 0;
    for (long r = 0; r < repetitions && e.text[0] == '\0'; r++) {
        struct cache *c = cache_new(&config, &e);
        uint64_t hits;
        double start = now_s(), seconds;

        if (c == NULL)
            break;
        hits = replay(c, s, per_layer);
        seconds = now_s() - start;
        (void)printf("%s,%ld,%u,%llu,%.6f,%.2f\n", spec, slots, s->count,
                     (unsigned long long)hits, seconds, seconds * 1e9 / s->count);
        cache_free(c);
    }
    free(params);
    free(bytes);
    return e.text[0] == '\0' ? 0 : fail(e.text);
}

int main(int argc, char **argv)
{
    struct err e = {.text = ""};
    struct stream s = {.count = 0};
    long slots, repetitions, experts;
    char *bytes;
    size_t size;
    int status;

    if (argc < 4 || argc > 6) {
        (void)fail("usage: bench_cache FILE POLICY SLOTS [REPETITIONS [EXPERTS]]");
        return 2;
    }
    slots = number(argv[3], 1L << 24);
    repetitions = argc > 4 ? number(argv[4], 1000000) : 1;
    experts = argc > 5 ? number(argv[5], 65535) : 0;
    if (slots < 0 || repetitions < 0 || experts < 0) {
        (void)fail("slots, repetitions and experts are whole numbers above 0");
        return 2;
    }
    bytes = file_read(argv[1], (size_t)1 << 36, &size, &e);
    if (bytes == NULL) {
        (void)fail(e.text);
        return 1;
    }
    status = parse(&s, bytes, size, experts);
    free(bytes);
    if (status == 0)
        status = run(&s, argv[2], slots, repetitions, experts > 0);
    free(s.access);
    free(s.profile);
    free(s.first_use);
    free(s.expert);
    free(s.step);
    free(s.layer);
    return status == 0 ? 0 : 1;
}

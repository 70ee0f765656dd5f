#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cache_rig.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

struct rig_stream rig_stream_new(uint32_t layers, uint32_t experts, uint32_t passes,
                                 uint32_t width)
{
    size_t all = (size_t)layers * passes * width, objects = (size_t)layers * experts;

    return (struct rig_stream){.layers = layers,
                               .experts = experts,
                               .passes = passes,
                               .width = width,
                               .expert = mem_zalloc(all, sizeof(uint16_t)),
                               .next_use = mem_alloc(all, sizeof(struct cache_use)),
                               .first_use = mem_alloc(objects, sizeof(struct cache_use)),
                               .profile = mem_zalloc(objects, sizeof(uint64_t))};
}

void rig_stream_finish(struct rig_stream *s)
{
    /* Walking backwards, the use last seen is the next one. */
    for (uint32_t i = 0; i < s->layers * s->experts; i++)
        s->first_use[i] = (struct cache_use){CACHE_NEVER, i};
    for (size_t i = (size_t)s->passes * s->layers * s->width; i-- > 0;) {
        size_t step = i / s->width, pass = step / s->layers;
        size_t object = step % s->layers * s->experts + s->expert[i];

        s->next_use[i] = s->first_use[object];
        s->first_use[object] = (struct cache_use){(uint32_t)pass, (uint32_t)object};
        s->profile[object]++;
    }
}

struct rig_stream rig_stream_of(uint32_t experts, const char *letters)
{
    uint32_t length = (uint32_t)strlen(letters);
    struct rig_stream s = rig_stream_new(1, experts, length, 1);

    for (uint32_t i = 0; i < length; i++)
        s.expert[i] = (uint16_t)(letters[i] - 'a');
    rig_stream_finish(&s);
    return s;
}

static int by_id(const void *a, const void *b)
{
    return *(const uint16_t *)a - *(const uint16_t *)b;
}

struct rig_stream rig_stream_random(uint64_t seed, uint32_t layers, uint32_t experts,
                                    uint32_t passes, uint32_t width)
{
    struct rig_stream s = rig_stream_new(layers, experts, passes, width);
    struct rng r = rng_stream(seed, "rig", 0);

    for (uint32_t step = 0; step < passes * layers; step++) {
        uint16_t *out = s.expert + (size_t)step * width;
        const uint16_t *before = step >= layers ? out - (size_t)layers * width : NULL;

        for (uint32_t n = 0; n < width;) {
            double u = rng_unit(&r);
            uint16_t x = (uint16_t)(u * u * experts);
            bool there = false;

            if (before != NULL && rng_below(&r, 10) < 3)
                x = before[rng_below(&r, width)];
            for (uint32_t i = 0; i < n; i++)
                there = there || out[i] == x;
            if (!there)
                out[n++] = x;
        }
        qsort(out, width, sizeof *out, by_id);
    }
    rig_stream_finish(&s);
    return s;
}

void rig_stream_free(struct rig_stream *s)
{
    free(s->expert);
    free(s->next_use);
    free(s->first_use);
    free(s->profile);
}

struct cache *rig_cache(const struct rig_stream *s, const char *policy,
                        const char *options, struct cache_params params,
                        const uint64_t *bytes)
{
    const struct plugin *plugin = registry_find(SLOT_CACHE, policy);
    struct err e = {.text = ""};
    struct cfg *cfg = NULL;
    struct cache *c;
    uint64_t *ones = mem_alloc(s->layers, sizeof *ones);
    struct cache_config config;
    void *bound;

    assert_non_null(plugin);
    bound = mem_zalloc(plugin->params_size, 1);
    if (options != NULL)
        cfg = cfg_parse("options", options, strlen(options), &e);
    if (plugin->options != NULL &&
        cfg_bind(cfg == NULL ? NULL : cfg_root(cfg), plugin->options, bound, &e) != 0)
        fail_msg("%s: %s", policy, e.text);
    for (uint32_t i = 0; i < s->layers; i++)
        ones[i] = 1;
    config = (struct cache_config){
        .algorithm = (const struct cache_algorithm *)(const void *)plugin,
        .algorithm_params = bound,
        .params = params,
        .layers = s->layers,
        .experts = s->experts,
        .expert_bytes = bytes != NULL ? bytes : ones,
        .profile = s->profile,
        .future = (plugin->needs & NEED_FUTURE) != 0,
        .first_use = s->first_use,
        .seed = 7};
    c = cache_new(&config, &e);
    if (c == NULL)
        fail_msg("%s: %s", policy, e.text);
    cfg_free(cfg);
    free(bound);
    free(ones);
    return c;
}

uint64_t rig_replay(struct cache *c, const struct rig_stream *s)
{
    uint64_t hits = 0;

    for (uint32_t pass = 0; pass < s->passes; pass++) {
        for (uint32_t layer = 0; layer < s->layers; layer++) {
            const uint16_t *expert = rig_step(s, pass, layer);
            const struct cache_use *next = rig_next(s, pass, layer);

            cache_begin_step(c, layer, expert, s->width);
            for (uint32_t i = 0; i < s->width; i++)
                hits += cache_access(c, layer, expert[i], next[i]).outcome == CACHE_HIT;
        }
        cache_end_pass(c);
    }
    return hits;
}

uint64_t rig_hits(const struct rig_stream *s, const char *policy, const char *options,
                  struct cache_params params)
{
    struct cache *c = rig_cache(s, policy, options, params, NULL);
    uint64_t hits = rig_replay(c, s);

    cache_free(c);
    return hits;
}

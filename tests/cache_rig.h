/* For tests of the cache slot: caches by policy name, and access streams. */
#ifndef MOESIM_TESTS_CACHE_RIG_H
#define MOESIM_TESTS_CACHE_RIG_H

#include "sim/policy/cache.h"

/* Passes over all layers, `width` distinct experts in each step. */
struct rig_stream {
    uint32_t layers, experts, passes, width;
    uint16_t *expert;            /* (pass, layer, i), ascending in a step */
    struct cache_use *next_use;  /* the same */
    struct cache_use *first_use; /* (layer, expert) */
    uint64_t *profile;           /* (layer, expert) accesses */
};

/* Room for the experts; fill them in and call rig_stream_finish. */
struct rig_stream rig_stream_new(uint32_t layers, uint32_t experts, uint32_t passes,
                                 uint32_t width);
void rig_stream_finish(struct rig_stream *s);
/* One layer, one access in each pass. */
struct rig_stream rig_stream_of(uint32_t experts, const char *letters);
/* Skewed popularity and some repetition from pass to pass. */
struct rig_stream rig_stream_random(uint64_t seed, uint32_t layers, uint32_t experts,
                                    uint32_t passes, uint32_t width);
void rig_stream_free(struct rig_stream *s);

static inline const uint16_t *rig_step(const struct rig_stream *s, uint32_t pass,
                                       uint32_t layer)
{
    return s->expert + ((size_t)pass * s->layers + layer) * s->width;
}

static inline const struct cache_use *rig_next(const struct rig_stream *s, uint32_t pass,
                                               uint32_t layer)
{
    return s->next_use + ((size_t)pass * s->layers + layer) * s->width;
}

/* A cache for the stream, by policy name and options ("{bits: 2}", or NULL for the
 * defaults). `bytes` is NULL for experts of one byte. Fails the test on an error. */
struct cache *rig_cache(const struct rig_stream *s, const char *policy,
                        const char *options, struct cache_params params,
                        const uint64_t *bytes);
/* Hits of the whole stream. */
uint64_t rig_replay(struct cache *c, const struct rig_stream *s);
/* The two together, with one-byte experts. */
uint64_t rig_hits(const struct rig_stream *s, const char *policy, const char *options,
                  struct cache_params params);

/* Of so many slots, from which anything may be evicted. */
static inline struct cache_params rig_unprotected(int64_t slots)
{
    return (struct cache_params){.scope = CACHE_GLOBAL,
                                 .protect = CACHE_PROTECT_NONE,
                                 .slots = slots,
                                 .staging = 1};
}

/* Walks the cache plug-ins: NULL starts, NULL is returned at the end. */
static inline const struct plugin *rig_next_policy(const struct plugin *const **at)
{
    const struct plugin *p;

    if (*at == NULL)
        *at = registry_all();
    while ((p = **at) != NULL) {
        (*at)++;
        if (p->slot == SLOT_CACHE)
            return p;
    }
    return NULL;
}

#endif

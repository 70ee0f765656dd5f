#include "bounds.h"

#include "hit_count.h"
#include "sim/base/mem.h"

#include <stdlib.h>

/* Grants what may be resident from the start. */
static void grant_preload(struct cache *cache, uint64_t largest, struct bounds_counts *b)
{
    uint64_t granted = cache_slots(cache);

    if (granted > b->accesses - b->hits)
        granted = b->accesses - b->hits;
    b->hits += granted;
    b->load_bytes -=
        b->load_bytes < granted * largest ? b->load_bytes : granted * largest;
}

struct cache_params bounds_params(const struct cache_params *p)
{
    struct cache_params bound = *p;

    bound.protect = CACHE_PROTECT_NONE;
    bound.preload = CACHE_PRELOAD_NONE;
    bound.admission = CACHE_ADMIT_ALWAYS;
    bound.write_back = false;
    bound.staging = 1;
    bound.spare = bound.in_flight = 0;
    return bound;
}

int bounds_count(struct future *f, uint32_t layers, uint32_t experts,
                 const uint64_t *expert_bytes, const uint64_t *profile,
                 const struct cache_params *params, bool preloaded,
                 struct bounds_counts *b, struct err *e)
{
    uint64_t *bytes = mem_alloc(layers, sizeof *bytes);
    struct hit_count count;
    uint64_t smallest = expert_bytes[0];
    uint64_t largest = expert_bytes[0];
    struct cache_config config = {.params = bounds_params(params),
                                  .layers = layers,
                                  .experts = experts,
                                  .expert_bytes = bytes,
                                  .profile = profile,
                                  .future = true};
    struct cache *cache;
    int status = -1;

    for (uint32_t l = 0; l < layers; l++) {
        smallest = expert_bytes[l] < smallest ? expert_bytes[l] : smallest;
        largest = expert_bytes[l] > largest ? expert_bytes[l] : largest;
    }
    for (uint32_t l = 0; l < layers; l++)
        bytes[l] = params->scope == CACHE_GLOBAL ? smallest : expert_bytes[l];
    config.algorithm =
        (const struct cache_algorithm *)registry_find(SLOT_CACHE, "belady-bypass");
    *b = (struct bounds_counts){0, 0, 0};
    cache = cache_new(&config, e);
    if (cache != NULL) {
        hit_count_init(&count, cache, layers, params->order == CACHE_ORDER_HITS_FIRST);
        status = future_walk(f, hit_count_step, &count, e);
        for (uint32_t l = 0; l < layers; l++) {
            b->accesses += count.layer[l].accesses;
            b->hits += count.layer[l].hits;
            b->load_bytes += (count.layer[l].accesses - count.layer[l].hits) * bytes[l];
        }
        hit_count_release(&count);
        if (status == 0 && preloaded)
            grant_preload(cache, largest, b);
    }
    cache_free(cache);
    free(bytes);
    return status;
}

#include "bounds.h"

#include "sim/base/mem.h"

#include <stdlib.h>

static int replay(struct future *f, struct cache *cache, uint32_t layers,
                  const uint64_t *expert_bytes, struct bounds_counts *b, struct err *e)
{
    struct future_reader *reader = future_reader_new(f);
    uint16_t active[UINT16_MAX];
    uint64_t steps = future_passes(f) * layers;
    int status = 0;

    for (uint64_t s = 0; s < steps && status == 0; s++) {
        uint32_t layer = (uint32_t)(s % layers);
        struct future_step step;

        status = future_reader_next(reader, e);
        if (status != 0)
            break;
        step = future_reader_peek(reader, 0);
        for (uint32_t i = 0; i < step.count; i++)
            active[i] = (uint16_t)step.active[i];
        cache_begin_step(cache, layer, active, step.count);
        for (uint32_t i = 0; i < step.count; i++) {
            struct cache_result c =
                cache_access(cache, layer, step.active[i], step.next_use[i]);

            b->accesses++;
            if (c.outcome == CACHE_HIT)
                b->hits++;
            else
                b->load_bytes += expert_bytes[layer];
        }
        if (layer == layers - 1)
            cache_end_pass(cache);
    }
    future_reader_free(reader);
    return status;
}

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
    return bound;
}

int bounds_count(struct future *f, uint32_t layers, uint32_t experts,
                 const uint64_t *expert_bytes, const struct cache_params *params,
                 bool preloaded, struct bounds_counts *b, struct err *e)
{
    uint64_t *bytes = mem_alloc(layers, sizeof *bytes);
    uint64_t smallest = expert_bytes[0];
    uint64_t largest = expert_bytes[0];
    struct cache_config config = {.params = bounds_params(params),
                                  .layers = layers,
                                  .experts = experts,
                                  .expert_bytes = bytes,
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
        status = replay(f, cache, layers, bytes, b, e);
        if (status == 0 && preloaded)
            grant_preload(cache, largest, b);
    }
    cache_free(cache);
    free(bytes);
    return status;
}

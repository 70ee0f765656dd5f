#include "replay.h"

#include "sim/base/mem.h"

#include <stdlib.h>

void replay_init(struct replay *r, struct cache *cache, uint32_t layers)
{
    r->cache = cache;
    r->layers = layers;
    r->layer = mem_zalloc(layers, sizeof *r->layer);
    r->active = mem_alloc(UINT16_MAX, sizeof *r->active);
}

void replay_release(struct replay *r)
{
    free(r->layer);
    free(r->active);
}

int replay_step(void *context, uint32_t layer, const struct future_step *step)
{
    struct replay *r = context;
    uint64_t hits = 0;

    for (uint32_t i = 0; i < step->count; i++)
        r->active[i] = (uint16_t)step->active[i];
    cache_begin_step(r->cache, layer, r->active, step->count);
    for (uint32_t i = 0; i < step->count; i++)
        hits +=
            cache_access(r->cache, layer, step->active[i], step->next_use[i]).outcome ==
            CACHE_HIT;
    r->layer[layer].accesses += step->count;
    r->layer[layer].hits += hits;
    if (layer == r->layers - 1)
        cache_end_pass(r->cache);
    return 0;
}

#include "hit_count.h"

#include "sim/base/mem.h"

#include <stdlib.h>

void hit_count_init(struct hit_count *h, struct cache *cache, uint32_t layers,
                    bool hits_first)
{
    h->cache = cache;
    h->layers = layers;
    h->layer = mem_zalloc(layers, sizeof *h->layer);
    h->active = mem_alloc(UINT16_MAX, sizeof *h->active);
    h->turn = hits_first ? mem_alloc(UINT16_MAX, sizeof *h->turn) : NULL;
}

void hit_count_release(struct hit_count *h)
{
    free(h->layer);
    free(h->active);
    free(h->turn);
}

int hit_count_step(void *context, uint32_t layer, const struct future_step *step)
{
    struct hit_count *h = context;
    uint64_t hits = 0;

    for (uint32_t i = 0; i < step->count; i++)
        h->active[i] = (uint16_t)step->active[i];
    cache_begin_step(h->cache, layer, h->active, step->count);
    if (h->turn != NULL)
        cache_order_hits_first(h->cache, layer, h->active, step->count, h->turn);
    for (uint32_t i = 0; i < step->count; i++) {
        uint32_t k = h->turn != NULL ? h->turn[i] : i;

        hits +=
            cache_access(h->cache, layer, step->active[k], step->next_use[k]).outcome ==
            CACHE_HIT;
    }
    h->layer[layer].accesses += step->count;
    h->layer[layer].hits += hits;
    if (layer == h->layers - 1)
        cache_end_pass(h->cache);
    return 0;
}

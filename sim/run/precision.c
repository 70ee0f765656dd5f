/* Experts in fewer bits: which ones a step is content with so, and in which form it takes
 * each of them from the cache. The cache holds both forms as two things of two sizes. */
#include "run_state.h"

#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct precision {
    const struct offload_type *type;
    const void *params;
    bool *low;        /* [experts of the model] the layer is content with fewer bits */
    uint16_t *access; /* [local experts] the step's, with their forms */
};

/* Bits over those of the model's experts; 1 where there is no second form. */
static double share_of(const struct run_setup *s)
{
    const struct offload_type *type = policy_offload(s->policy);

    if (type->lower == NULL)
        return 1;
    return type->bits(s->policy->params[SLOT_OFFLOAD]) / s->cost->model->expert_bits;
}

uint64_t *precision_bytes(const struct run_setup *s, uint32_t layers)
{
    double share = share_of(s);
    uint64_t *bytes;

    if (policy_offload(s->policy)->lower == NULL || s->expert_bytes == NULL)
        return NULL;
    bytes = mem_alloc(layers, sizeof *bytes);
    for (uint32_t l = 0; l < layers; l++)
        bytes[l] = (uint64_t)ceil((double)s->expert_bytes[l] * share);
    return bytes;
}

float precision_spares(const struct run_setup *s)
{
    return (float)(1 - share_of(s));
}

float precision_spared(const struct residency *r, const struct expert_group *group)
{
    uint32_t low = 0;

    for (uint32_t i = 0; i < group->count; i++)
        low += r->slot[group->slot[i]].low;
    return (float)low * r->spared;
}

struct precision *precision_new(const struct gpu *g)
{
    const struct policy *policy = g->setup->policy;
    struct precision *p;

    if (policy_offload(policy)->lower == NULL)
        return NULL;
    p = mem_zalloc(1, sizeof *p);
    p->type = policy_offload(policy);
    p->params = policy->params[SLOT_OFFLOAD];
    p->low = mem_zalloc(g->runner->experts, sizeof *p->low);
    p->access = mem_alloc(g->experts, sizeof *p->access);
    return p;
}

void precision_free(struct precision *p)
{
    if (p == NULL)
        return;
    free(p->low);
    free(p->access);
    free(p);
}

struct step_accesses precision_take(struct gpu *g, struct step_accesses all)
{
    struct precision *p = g->precision;
    struct cache *cache = g->residency.cache;
    uint32_t layer = g->step.layer;

    memset(p->low, 0, g->runner->experts * sizeof *p->low);
    p->type->lower(p->params, &g->runner->view, p->low);
    for (uint32_t i = 0; i < all.count; i++) {
        uint32_t expert = all.expert[i];

        if (p->low[run_expert(g, layer, expert)] &&
            cache_slot_of(cache, layer, expert) == CACHE_NONE) {
            expert += g->experts;
            cache_add_active(cache, layer, expert);
        }
        p->access[i] = (uint16_t)expert;
    }
    return (struct step_accesses){p->access, NULL, all.count};
}

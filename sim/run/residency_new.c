/* A GPU's cache and slots: making them, what is there before the first pass, and what a
 * pass begins and leaves with. */
#include "run_state.h"

#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

static void group_init(struct gpu *g, struct expert_group *group)
{
    group->expert = mem_alloc(g->experts, sizeof *group->expert);
    group->slot = mem_alloc(g->experts, sizeof *group->slot);
    group->after = mem_alloc((size_t)g->experts + 3, sizeof *group->after);
    group->op =
        (struct op){.kind = OP_EXPERTS, .lane = LANE_COMPUTE, .after = group->after};
    group->op.group.expert = group->expert;
    group->op.group.slot = group->slot;
    group->op.group.tokens = g->step.tokens;
    group->op.group.routing = &g->step.routing;
}

static void group_release(struct expert_group *group)
{
    free(group->expert);
    free(group->slot);
    free(group->after);
}

static void copies_release(struct expert_copies *c)
{
    free(c->id);
    free(c->copy);
}

void residency_init(struct gpu *g)
{
    const struct run_setup *s = g->setup;
    struct residency *r = &g->residency;
    size_t groups = lanes_most(s, g->lanes.parts, g->experts);

    r->tiles = s->cost->machine->gpu.tiles;
    r->split = policy_schedule(s->policy)->split;
    r->copies_wait = policy_schedule(s->policy)->copies_wait;
    r->write_back = s->policy->cache.write_back;
    r->watched = g->runner->watch != NULL;
    r->spares = s->policy->cache.spare > 0;
    r->one_stream = r->copies_wait && (r->spares || s->policy->cache.in_flight > 0);
    if (s->policy->cache.order == CACHE_ORDER_HITS_FIRST) {
        r->turn = mem_alloc(g->experts, sizeof *r->turn);
        r->turned = mem_alloc(g->experts, sizeof *r->turned);
        r->turned_use = mem_alloc(g->experts, sizeof *r->turned_use);
    }
    r->low_bytes = precision_bytes(s, g->layers);
    r->spared = precision_spares(s);
    r->paced = r->spares || r->turn != NULL || r->low_bytes != NULL ||
               s->policy->cache.in_flight > 0;
    r->found = mem_alloc(g->experts, sizeof *r->found);
    if (policy_does(g->setup->policy, ACT_PREFETCH))
        r->displaced = mem_zalloc((size_t)g->layers * g->experts, sizeof *r->displaced);
    r->group_next = 1;
    r->group_id = mem_alloc(groups, sizeof *r->group_id);
    if (r->split && s->policy->schedule.loads == LOADS_EACH)
        r->each_after = mem_alloc((size_t)g->experts + 4, sizeof *r->each_after);
    group_init(g, &r->resident);
    group_init(g, &r->missing);
}

void residency_release(struct residency *r)
{
    cache_free(r->cache);
    free(r->slot);
    free(r->found);
    free(r->displaced);
    free(r->low_bytes);
    free(r->group_id);
    free(r->wait_for);
    free(r->turn);
    free(r->turned);
    free(r->turned_use);
    free(r->flight);
    free(r->each_after);
    group_release(&r->resident);
    group_release(&r->missing);
    copies_release(&r->demand);
    copies_release(&r->late);
    copies_release(&r->ahead);
}

/* Tells the executor what is resident from the start. */
static int begin_exec(struct gpu *g, uint32_t slots, struct err *e)
{
    uint32_t *layer, *expert;
    struct exec_slots first;
    int status;

    if (g->lanes.ops->begin == NULL)
        return 0;
    layer = mem_zalloc(slots, sizeof *layer);
    expert = mem_alloc(slots, sizeof *expert);
    for (uint32_t i = 0; i < slots; i++)
        expert[i] = UINT32_MAX;
    for (uint32_t l = 0; l < g->layers; l++) {
        for (uint32_t x = 0; x < g->experts; x++) {
            uint32_t slot = cache_slot_of(g->residency.cache, l, x);

            if (slot == CACHE_NONE)
                continue;
            layer[slot] = l;
            expert[slot] = x;
        }
    }
    first = (struct exec_slots){.count = slots, .layer = layer, .expert = expert};
    status = g->lanes.ops->begin(g->lanes.exec, &first, e);
    free(layer);
    free(expert);
    return status;
}

int residency_begin(struct gpu *g, const uint64_t *profile, struct err *e)
{
    const struct run_setup *s = g->setup;
    struct residency *r = &g->residency;
    struct run_result *result = g->result;
    struct cache_config config = {
        .algorithm = policy_cache(s->policy),
        .algorithm_params = s->policy->params[SLOT_CACHE],
        .params = s->policy->cache,
        .layers = g->layers,
        .experts = g->experts,
        .expert_bytes = s->expert_bytes,
        .low_bytes = r->low_bytes,
        .profile = profile,
        .future = s->future != NULL,
        .seed = s->seed,
    };
    uint32_t slots;

    r->cache = cache_new(&config, e);
    if (r->cache == NULL)
        return -1;
    if (cache_wants_rows(r->cache))
        cache_lend_rows(r->cache, g->step.tokens);
    result->cache_slots = cache_slots(r->cache);
    if (!s->dense) { /* whose cache holds nothing, as nobody asks it */
        result->cache_bytes = cache_capacity_bytes(r->cache);
        result->staging_bytes = cache_staging_bytes(r->cache);
    }
    r->in_flight = (uint32_t)s->policy->cache.in_flight;
    if (r->in_flight > cache_set_slots(r->cache))
        r->in_flight = cache_set_slots(r->cache);
    if (r->in_flight > 0)
        r->flight = mem_alloc(r->in_flight, sizeof *r->flight);
    slots = result->cache_slots + cache_slots_beside(r->cache);
    if (s->dense)
        result->cache_slots = 0;
    r->slot = mem_zalloc(slots, sizeof *r->slot);
    return begin_exec(g, slots, e);
}

/* ---- a pass, a run ---- */

void residency_begin_pass(struct gpu *g)
{
    struct residency *r = &g->residency;

    r->group_first = r->group_next;
    r->resident.number = r->group_next++;
    r->missing.number = r->group_next++;
    r->demand.count = 0;
    r->late.count = 0;
}

void residency_retire(struct gpu *g)
{
    struct expert_copies *ahead = &g->residency.ahead;
    struct lanes *l = &g->lanes;
    size_t ended = 0;

    while (ended < ahead->count && lanes_copied(l, ahead->id[ended]))
        ended++;
    if (ended > 0) {
        ahead->count -= ended;
        memmove(ahead->id, ahead->id + ended, ahead->count * sizeof *ahead->id);
        memmove(ahead->copy, ahead->copy + ended, ahead->count * sizeof *ahead->copy);
    }
    l->retired = l->pass_first;
    if (ahead->count > 0 && ahead->id[0] < l->retired)
        l->retired = ahead->id[0];
}

/* Experts that run where they are stored: on the host's processors, or on a unit beside
 * the memory. Nothing is loaded for them. */
#include "run_state.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A wait of the compute lane: what ran there before, what waits, and what for. */
enum { WAIT_BEFORE, WAIT_SELF, WAIT_HOST, WAIT_OPS };

struct wait {
    sim_time *share; /* the books of what waits */
    uint32_t layer;  /* of the experts */
};

struct hosted {
    const struct offload_type *type;
    uint16_t *missing; /* [experts] scratch, like the next five */
    uint8_t *where;
    bool *here; /* by expert: in place; all false between the steps */
    uint16_t *order;
    uint16_t *rest;
    struct cache_use *rest_use;
    uint16_t *expert; /* [op.group.count] what the operation runs */
    struct op op;
    bool near;  /* the operation is the near-data unit's, not the host's */
    op_id gate; /* which it comes after */
    uint32_t layer;
    op_id *wait_id;    /* (wait, WAIT_OPS) of this pass so far, and beside it */
    struct wait *wait; /* at most one a layer */
    uint32_t waits;
    struct op_times *times; /* (wait, WAIT_OPS) scratch */
};

struct hosted *hosted_new(struct gpu *g)
{
    const struct offload_type *type = policy_offload(g->setup->policy);
    struct hosted *h;

    if (type->decide == NULL)
        return NULL;
    h = mem_zalloc(1, sizeof *h);
    h->type = type;
    h->missing = mem_alloc(g->experts, sizeof *h->missing);
    h->where = mem_alloc(g->experts, sizeof *h->where);
    h->here = mem_zalloc(g->experts, sizeof *h->here);
    h->order = mem_alloc(g->experts, sizeof *h->order);
    h->rest = mem_alloc(g->experts, sizeof *h->rest);
    h->rest_use = mem_alloc(g->experts, sizeof *h->rest_use);
    h->expert = mem_alloc(g->experts, sizeof *h->expert);
    h->wait = mem_alloc(g->layers, sizeof *h->wait);
    h->wait_id = mem_alloc((size_t)g->layers * WAIT_OPS, sizeof *h->wait_id);
    h->times = mem_alloc((size_t)g->layers * WAIT_OPS, sizeof *h->times);
    h->near = (type->plugin.acts & ACT_NEAR) != 0;
    h->op = (struct op){.kind = h->near ? OP_NEAR_EXPERTS : OP_HOST_EXPERTS,
                        .lane = h->near ? LANE_NEAR : LANE_HOST_POOL,
                        .after = &h->gate,
                        .after_count = 1};
    h->op.group.crosses =
        type->crosses != NULL && type->crosses(g->setup->policy->params[SLOT_OFFLOAD]);
    h->op.group.expert = h->expert;
    h->op.group.tokens = g->step.tokens;
    h->op.group.routing = &g->step.routing;
    return h;
}

void hosted_free(struct hosted *h)
{
    if (h == NULL)
        return;
    free(h->missing);
    free(h->where);
    free(h->here);
    free(h->order);
    free(h->rest);
    free(h->rest_use);
    free(h->expert);
    free(h->wait);
    free(h->wait_id);
    free(h->times);
    free(h);
}

static uint32_t list_missing(const struct gpu *g, uint16_t *missing)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < g->step.active_count; i++)
        if (cache_slot_of(g->residency.cache, g->step.layer, g->step.active[i]) ==
            CACHE_NONE)
            missing[count++] = g->step.active[i];
    return count;
}

/* In a layer that is on the host as a whole rows are there already, and leave it behind
 * the last one. */
static void stay_on_host(const struct gpu *g, struct op *op)
{
    const struct model *m = g->setup->cost->model;
    uint32_t layer = g->setup->trace->moe_layer[op->layer];

    if (!model_layer_hosted(m, layer))
        return;
    op->rows_come = false;
    op->rows_go = layer == m->hosted_from + m->hosted - 1;
}

static void submit(struct gpu *g, struct hosted *h, uint32_t count)
{
    struct cost_experts work = {.distinct = 0};

    assert(g->lanes.hosted == 0); /* one group a layer, and something waits for it */
    for (uint32_t i = 0; i < count; i++)
        cost_experts_add(&work, g->step.tokens[h->expert[i]], &g->residency.tiles);
    h->op.layer = h->layer = g->step.layer;
    h->op.group.work = work;
    h->op.group.count = count;
    h->op.rows_come = h->op.rows_go = true;
    if (g->lanes.hosts_layers && g->runner->spread == NULL)
        stay_on_host(g, &h->op);
    h->gate = g->lanes.last;
    g->lanes.hosted = lanes_submit(&g->lanes, &h->op);
    if (h->near) {
        g->counts.near_runs += count;
        g->step.books->counts.near_runs += count;
    } else {
        g->counts.host_runs += count;
        g->step.books->counts.host_runs += count;
    }
}

/* What `offload` sees: ids, rows and cache of this GPU, in the layer that all see. */
static struct view local_view(const struct gpu *g)
{
    struct view v = g->runner->view;

    v.experts = g->experts;
    v.active = g->step.active;
    v.active_count = g->step.active_count;
    v.tokens = g->step.tokens;
    v.cache = g->residency.cache;
    return v;
}

struct step_accesses hosted_take(struct gpu *g, struct step_accesses all)
{
    struct hosted *h = g->hosted;
    const struct cache_use *use = all.use;
    struct step_accesses rest = {h->rest, use == NULL ? NULL : h->rest_use, 0};
    uint32_t missing = list_missing(g, h->missing), hosted = 0;
    struct view view;

    if (missing == 0)
        return all;
    view = local_view(g);
    memset(h->where, OFFLOAD_FETCH, missing);
    h->type->decide(g->setup->policy->params[SLOT_OFFLOAD], &view, h->missing, missing,
                    h->order, h->where);
    for (uint32_t i = 0; i < missing; i++) {
        if (h->where[i] == OFFLOAD_IN_PLACE) {
            h->expert[hosted++] = h->missing[i];
            h->here[h->missing[i]] = true;
        }
    }
    for (uint32_t i = 0; i < all.count; i++) {
        if (h->here[all.expert[i]])
            continue;
        h->rest[rest.count] = all.expert[i];
        if (use != NULL)
            h->rest_use[rest.count] = use[i];
        rest.count++;
    }
    for (uint32_t i = 0; i < hosted; i++)
        h->here[h->expert[i]] = false;
    if (hosted > 0)
        submit(g, h, hosted);
    return rest;
}

void hosted_join(struct gpu *g, const struct op *op, sim_time *share)
{
    struct hosted *h = g->hosted;
    op_id *id = h->wait_id + (size_t)h->waits * WAIT_OPS;
    op_id after[3] = {g->lanes.hosted, lanes_copy_before(g, op), g->lanes.last_compute};
    struct op waiting = *op;

    waiting.after = after;
    waiting.after_count = g->lanes.hosts_layers ? 3 : 2;
    id[WAIT_BEFORE] = g->lanes.last_compute;
    id[WAIT_HOST] = g->lanes.hosted;
    lanes_compute(&g->lanes, &waiting, share, run_share_of(&waiting));
    id[WAIT_SELF] = g->lanes.last_compute;
    h->wait[h->waits++] = (struct wait){share, h->layer};
    g->lanes.hosted = 0;
}

void hosted_attribute(struct runner *c, struct gpu *g)
{
    struct hosted *h = g->hosted;
    const struct op_times *t = h->times;

    g->lanes.ops->times(g->lanes.exec, h->wait_id, (size_t)h->waits * WAIT_OPS, h->times);
    for (uint32_t i = 0; i < h->waits; i++, t += WAIT_OPS) {
        sim_time from = t[WAIT_BEFORE].end, until = t[WAIT_HOST].end;

        /* As where waits for copies are booked: not before it was launched. */
        if (t[WAIT_SELF].issued > from)
            from = t[WAIT_SELF].issued;
        if (until > t[WAIT_SELF].start)
            until = t[WAIT_SELF].start;
        if (until <= from)
            continue;
        h->wait[i].share[SHARE_COPY] -= until - from;
        c->sum[SHARE_COPY] -= until - from;
        g->result->layer[h->wait[i].layer].share[SHARE_HOSTED] += until - from;
        c->sum[SHARE_HOSTED] += until - from;
    }
    h->waits = 0;
}

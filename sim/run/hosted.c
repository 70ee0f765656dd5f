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

struct run_hosted {
    const struct offload_type *type;
    uint16_t *missing; /* [experts] scratch, like the next four */
    uint8_t *where;
    bool *here; /* by expert: on the host; all false between the steps */
    uint16_t *rest;
    struct cache_use *rest_use;
    uint16_t *expert; /* [op.group.count] what the operation runs */
    struct op op;
    op_id gate;    /* which it comes after */
    op_id running; /* the last one, until something waits for it; 0 then */
    uint32_t layer;
    op_id *wait_id;    /* (wait, WAIT_OPS) of this pass so far, and beside it */
    struct wait *wait; /* at most one a layer */
    uint32_t waits;
    struct op_times *times; /* (wait, WAIT_OPS) scratch */
};

struct run_hosted *hosted_new(const struct run *r)
{
    const struct offload_type *type = policy_offload(r->setup->policy);
    struct run_hosted *h;

    if (type->decide == NULL)
        return NULL;
    h = mem_zalloc(1, sizeof *h);
    h->type = type;
    h->missing = mem_alloc(r->experts, sizeof *h->missing);
    h->where = mem_alloc(r->experts, sizeof *h->where);
    h->here = mem_zalloc(r->experts, sizeof *h->here);
    h->rest = mem_alloc(r->experts, sizeof *h->rest);
    h->rest_use = mem_alloc(r->experts, sizeof *h->rest_use);
    h->expert = mem_alloc(r->experts, sizeof *h->expert);
    h->wait = mem_alloc(r->layers, sizeof *h->wait);
    h->wait_id = mem_alloc((size_t)r->layers * WAIT_OPS, sizeof *h->wait_id);
    h->times = mem_alloc((size_t)r->layers * WAIT_OPS, sizeof *h->times);
    h->op = (struct op){.kind = OP_HOST_EXPERTS,
                        .lane = LANE_HOST_POOL,
                        .after = &h->gate,
                        .after_count = 1};
    h->op.group.expert = h->expert;
    h->op.group.tokens = r->tokens;
    h->op.group.routing = &r->routing;
    return h;
}

void hosted_free(struct run_hosted *h)
{
    if (h == NULL)
        return;
    free(h->missing);
    free(h->where);
    free(h->here);
    free(h->rest);
    free(h->rest_use);
    free(h->expert);
    free(h->wait);
    free(h->wait_id);
    free(h->times);
    free(h);
}

static uint32_t list_missing(const struct run *r, uint16_t *missing)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < r->active_count; i++)
        if (cache_slot_of(r->cache, r->layer, r->active[i]) == CACHE_NONE)
            missing[count++] = r->active[i];
    return count;
}

static void submit(struct run *r, struct run_hosted *h, uint32_t count)
{
    struct cost_experts work = {.distinct = 0};

    assert(h->running == 0); /* one group a layer, and its dense block waits for it */
    for (uint32_t i = 0; i < count; i++)
        cost_experts_add(&work, r->tokens[h->expert[i]], &r->tiles);
    h->op.layer = h->layer = r->layer;
    h->op.group.work = work;
    h->op.group.count = count;
    h->gate = r->last_compute;
    h->running = step_submit(r, &h->op);
    r->books.counts.host_runs += count;
    r->result->layer[r->layer].counts.host_runs += count;
}

struct run_accesses hosted_take(struct run *r, const struct cache_use *use)
{
    struct run_hosted *h = r->hosted;
    struct run_accesses rest = {r->turn, use, r->active_count};
    uint32_t missing = list_missing(r, h->missing), hosted = 0;

    if (missing == 0)
        return rest;
    memset(h->where, OFFLOAD_FETCH, missing);
    h->type->decide(r->setup->policy->params[SLOT_OFFLOAD], &r->view, h->missing, missing,
                    h->where);
    for (uint32_t i = 0; i < missing; i++) {
        if (h->where[i] == OFFLOAD_HOST) {
            h->expert[hosted++] = h->missing[i];
            h->here[h->missing[i]] = true;
        }
    }
    rest = (struct run_accesses){h->rest, use == NULL ? NULL : h->rest_use, 0};
    for (uint32_t i = 0; i < r->active_count; i++) {
        if (h->here[r->turn[i]])
            continue;
        h->rest[rest.count] = r->turn[i];
        if (use != NULL)
            h->rest_use[rest.count] = use[i];
        rest.count++;
    }
    for (uint32_t i = 0; i < hosted; i++)
        h->here[h->expert[i]] = false;
    if (hosted > 0)
        submit(r, h, hosted);
    return rest;
}

static void join(struct run *r, struct run_hosted *h, const struct op *op,
                 sim_time *share)
{
    op_id *id = h->wait_id + (size_t)h->waits * WAIT_OPS;
    op_id after[2] = {h->running, op->after_count > 0 ? op->after[0] : 0};
    struct op waiting = *op;

    assert(op->after_count <= 1);
    waiting.after = after;
    waiting.after_count = 2;
    id[WAIT_BEFORE] = r->last_compute;
    id[WAIT_HOST] = h->running;
    step_compute(r, &waiting, share, SHARE_DENSE);
    id[WAIT_SELF] = r->last_compute;
    h->wait[h->waits++] = (struct wait){share, h->layer};
    h->running = 0;
}

void hosted_join(struct run *r, const struct op *op, sim_time *share)
{
    if (r->hosted != NULL && r->hosted->running != 0)
        join(r, r->hosted, op, share);
    else
        step_compute(r, op, share, SHARE_DENSE);
}

void hosted_attribute(struct run *r)
{
    struct run_hosted *h = r->hosted;
    const struct op_times *t = h->times;

    r->ops->times(r->exec, h->wait_id, (size_t)h->waits * WAIT_OPS, h->times);
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
        r->books.share[SHARE_COPY] -= until - from;
        r->result->layer[h->wait[i].layer].share[SHARE_HOSTED] += until - from;
        r->books.share[SHARE_HOSTED] += until - from;
    }
    h->waits = 0;
}

#include "parallel.h"

#include "sim/base/mem.h"
#include "sim/policy/place.h"

#include <stdlib.h>

#define AT(field) offsetof(struct parallel_params, field)

static const char *const attentions[] = {"data", "tensor", NULL};

const struct option parallel_options[] = {
    {"gpus", OPT_INT, AT(gpus), NULL, 1, 2048, NULL,
     "GPUs that share the experts; more than a node's come in whole nodes"},
    {"attention", OPT_CHOICE, AT(attention), "data", 0, 0, attentions,
     "data: each GPU has its own requests; tensor: groups of GPUs share theirs"},
    {"tensor", OPT_INT, AT(tensor), "8", 2, 64, NULL,
     "attention: tensor: GPUs of a group, all in one node"},
    {.name = NULL},
};

uint32_t parallel_tensor(const struct parallel_params *p)
{
    return p->attention == ATTENTION_TENSOR ? (uint32_t)p->tensor : 1;
}

int parallel_topology(const struct machine *m, const struct parallel_params *p,
                      struct topology *t, struct err *e)
{
    struct machine fleet = *m;
    uint32_t gpus = (uint32_t)p->gpus, tensor = parallel_tensor(p);

    if (gpus > m->gpus && gpus % m->gpus != 0)
        return err_set_key(
            e, "parallel.gpus",
            "parallel: %u GPUs are no whole number of nodes of %s, which have "
            "%u each; take a multiple of %u, or at most %u",
            gpus, m->name, m->gpus, m->gpus, m->gpus);
    if (gpus > m->gpus && !m->has_network)
        return err_set_key(
            e, "parallel.gpus",
            "parallel: %u GPUs need %u nodes of %s, which has no network; take "
            "at most %u, or give the machine a network",
            gpus, gpus / m->gpus, m->name, m->gpus);
    fleet.nodes = gpus > m->gpus ? gpus / m->gpus : 1;
    fleet.gpus = gpus > m->gpus ? m->gpus : gpus;
    if (fleet.gpus % tensor != 0)
        return err_set_key(e, "parallel.tensor",
                           "parallel: attention over %u GPUs does not divide the %u of a "
                           "node; choose tensor: such that it does",
                           tensor, fleet.gpus);
    *t = topology_of(&fleet);
    return 0;
}

/* ---- sizes ---- */

uint32_t parallel_slots(const struct policy *p, const struct topology *t,
                        uint32_t experts)
{
    uint32_t gpus = t->ranks;

    if (policy_does(p, ACT_SHARD))
        return gpus * experts;
    if (p->place.slots > 0)
        return (uint32_t)p->place.slots;
    return (experts + gpus - 1) / gpus * gpus;
}

uint32_t parallel_local(const struct policy *p, const struct topology *t,
                        uint32_t experts)
{
    return parallel_slots(p, t, experts) / t->ranks;
}

uint64_t *parallel_expert_bytes(const struct policy *p, const struct topology *t,
                                const struct trace_info *trace,
                                const uint64_t *expert_bytes)
{
    uint64_t parts = policy_does(p, ACT_SHARD) ? t->ranks : 1;
    uint64_t *bytes = mem_alloc(trace->layers, sizeof *bytes);

    for (uint32_t l = 0; l < trace->layers; l++)
        bytes[l] = (expert_bytes[l] + parts - 1) / parts;
    return bytes;
}

bool parallel_holds_all(const struct policy *p, const struct topology *t,
                        const struct trace_info *trace, const uint64_t *expert_bytes)
{
    uint64_t *bytes = parallel_expert_bytes(p, t, trace, expert_bytes);
    bool all = cache_holds_all(&p->cache, trace->layers,
                               parallel_local(p, t, trace->experts), bytes);

    free(bytes);
    return all;
}

bool parallel_is_whole(const struct policy *p, const struct topology *t,
                       const struct trace_info *trace, const uint64_t *expert_bytes)
{
    return cache_starts_full(&p->cache) && parallel_holds_all(p, t, trace, expert_bytes);
}

void parallel_fill_cache(struct policy *p, const struct topology *t, uint32_t experts)
{
    if (cache_is_sized(&p->cache))
        return;
    p->cache.scope = CACHE_PER_LAYER;
    p->cache.slots = p->cache.layer_slots = parallel_local(p, t, experts);
    if (p->cache.preload == CACHE_PRELOAD_AUTO)
        p->cache.preload = CACHE_PRELOAD_LINEAR;
}

static bool is_resident(const struct policy *p, const struct topology *t,
                        const struct trace_info *trace, const uint64_t *expert_bytes)
{
    return parallel_is_whole(p, t, trace, expert_bytes) && !policy_does(p, ACT_PREFETCH);
}

struct program parallel_program(const struct policy *p, const struct topology *t)
{
    struct program_shape shape = {t->ranks, policy_does(p, ACT_SHARD),
                                  policy_place(p)->counts};
    struct program program;

    program_make(policy_schedule(p), p->params[SLOT_SCHEDULE], &shape, &program);
    return program;
}

/* Whether one batch's rows are gathered in a node while those of another one go out. */
static bool gathers_beside_dispatch(const struct policy *p,
                                    const struct parallel_params *params,
                                    const struct topology *t)
{
    return parallel_tensor(params) > 1 && parallel_program(p, t).batches > 1;
}

bool parallel_needs_events(const struct policy *p, const struct parallel_params *params,
                           const struct topology *t, const struct trace_info *trace,
                           const uint64_t *expert_bytes)
{
    if (p->dense)
        return false;
    return policy_copies_aside(p) || gathers_beside_dispatch(p, params, t) ||
           p->place.migrate == PLACE_BACKGROUND ||
           (t->ranks > 1 && !is_resident(p, t, trace, expert_bytes));
}

static bool needs_counts(const struct policy *p, const struct topology *t, bool whole)
{
    int exchange = p->schedule.exchange;
    bool counts_itself = exchange == EXCHANGE_NORMAL || exchange == EXCHANGE_LOW_LATENCY;

    if (t->ranks == 1)
        return policy_reads_routing(p, whole);
    if (policy_does(p, ACT_PAD)) /* every expert runs on its capacity */
        return false;
    return !whole || (policy_does(p, ACT_SHARD)
                          ? policy_place(p)->counts
                          : !counts_itself || schedule_launches_active(&p->schedule));
}

static int make_model(struct parallel_setup *setup, const struct policy *p,
                      const struct parallel_params *params, const struct topology *t,
                      const struct model *whole, struct err *e)
{
    struct model attention = *whole;

    if (parallel_tensor(params) > 1 &&
        model_slice(whole, parallel_tensor(params), &attention, e) != 0)
        return -1;
    setup->model = attention;
    if (policy_does(p, ACT_SHARD))
        return model_slice_experts(&attention, t->ranks, &setup->model, e);
    return 0;
}

int parallel_setup_init(struct parallel_setup *setup, const struct policy *p,
                        const struct parallel_params *params, const struct topology *t,
                        const struct cost *whole, const struct trace_info *trace,
                        const uint64_t *expert_bytes, struct err *e)
{
    uint32_t slots = parallel_slots(p, t, trace->experts), local = slots / t->ranks;
    bool resident = is_resident(p, t, trace, expert_bytes);
    bool counts = !p->dense && needs_counts(p, t, resident);

    *setup = (struct parallel_setup){
        .run = {.topology = t,
                .tensor = parallel_tensor(params),
                .slots = slots,
                .local = local,
                .exchange = counts},
        .cost = *whole,
        .event_driven = parallel_needs_events(p, params, t, trace, expert_bytes),
        .may_graph = whole->machine->host.expert_overhead == 0 &&
                     (p->dense || (resident && !counts && !p->schedule.wait &&
                                   p->schedule.exchange != EXCHANGE_NORMAL)),
    };
    if (make_model(setup, p, params, t, whole->model, e) != 0)
        return -1;
    setup->cost.model = &setup->model;
    setup->expert_bytes = parallel_expert_bytes(p, t, trace, expert_bytes);
    setup->weight_bytes = model_dense_bytes(&setup->model);
    if (!p->dense)
        setup->weight_bytes +=
            cache_room_bytes(&p->cache, trace->layers, local, setup->expert_bytes);
    return 0;
}

void parallel_setup_release(struct parallel_setup *setup)
{
    free(setup->expert_bytes);
    setup->expert_bytes = NULL;
}

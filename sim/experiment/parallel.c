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

/* ---- what a policy can do ---- */

static uint32_t slots_of(const struct policy *p, uint32_t gpus, uint32_t experts)
{
    if (policy_place(p)->sharded)
        return gpus * experts;
    if (p->place.slots > 0)
        return (uint32_t)p->place.slots;
    return (experts + gpus - 1) / gpus * gpus;
}

uint32_t parallel_local(const struct policy *p, const struct topology *t,
                        uint32_t experts)
{
    return slots_of(p, t->ranks, experts) / t->ranks;
}

/* What cannot be where rows go through a layer in several parts. */
static int check_parts(const struct policy *p, uint32_t gpus, struct err *e)
{
    const struct program_shape shape = {gpus, policy_place(p)->sharded,
                                        policy_place(p)->counts};
    const char *name = p->plugin[SLOT_SCHEDULE]->name;
    struct program program;

    program_plan(policy_schedule(p), p->params[SLOT_SCHEDULE], &shape, &program);
    if (policy_schedule(p)->plan != NULL && shape.sharded)
        return err_set_key(e, "schedule",
                           "policy '%s': schedule: %s has no rule for place: %s, which "
                           "sends all rows to all GPUs; choose another of the two",
                           p->label, name, p->plugin[SLOT_PLACE]->name);
    if (program.parts == 1)
        return 0;
    if ((policy_needs(p) & NEED_FUTURE) != 0)
        return err_set_key(e, "schedule",
                           "policy '%s' is an oracle, which looks ahead layer by layer; "
                           "schedule: %s splits them in %u parts; choose another",
                           p->label, name, program.parts);
    if (policy_offload(p)->decide != NULL)
        return err_set_key(e, "offload",
                           "policy '%s': offload: %s decides on a layer's experts at "
                           "once; schedule: %s runs them in %u parts; choose another",
                           p->label, p->plugin[SLOT_OFFLOAD]->name, name, program.parts);
    return 0;
}

/* What a look-ahead over several GPUs cannot follow. */
static int check_oracle(const struct policy *p, uint32_t slots, struct err *e)
{
    if ((policy_needs(p) & NEED_FUTURE) == 0)
        return 0;
    if (p->place.window.interval > 0)
        return err_set_key(e, "place.interval",
                           "policy '%s' is an oracle, which knows where experts are only "
                           "if they stay there; leave interval out",
                           p->label);
    if (slots > UINT16_MAX)
        return err_set_key(e, "place.slots",
                           "policy '%s' is an oracle, which can look ahead for %u slots "
                           "of a layer, not %u; take fewer GPUs",
                           p->label, UINT16_MAX, slots);
    return 0;
}

static int check_place(const struct policy *p, uint32_t gpus, uint32_t experts,
                       struct err *e)
{
    uint32_t slots = slots_of(p, gpus, experts);
    bool is_static = policy_gate(p)->apply != NULL;

    if (!policy_place(p)->sharded && (slots % gpus != 0 || slots < experts))
        return err_set_key(
            e, "place.slots",
            "policy '%s': place: slots is %u; %u experts on %u GPUs need a "
            "multiple of %u, at least %u",
            p->label, slots, experts, gpus, gpus, (experts + gpus - 1) / gpus * gpus);
    if (is_static && (slots >= experts + gpus || policy_place(p)->sharded))
        return err_set_key(
            e, "gate",
            "policy '%s': gate: %s pads every expert's rows, so that replicas "
            "and shards have no rule; choose gate: dropless, or as few slots "
            "as hold every expert once",
            p->label, p->plugin[SLOT_GATE]->name);
    if (policy_place(p)->sharded && p->place.window.interval > 0)
        return err_set_key(
            e, "place.interval",
            "policy '%s': place: %s has every expert everywhere, so that there "
            "is nothing to rebalance; leave interval out",
            p->label, p->plugin[SLOT_PLACE]->name);
    if (p->place.foresee > 0 && p->place.window.interval != 1)
        return err_set_key(
            e, "place.foresee",
            "policy '%s': place: foresee tells of the coming pass, for which "
            "interval must be 1",
            p->label);
    if (p->schedule.empty && p->schedule.experts != EXPERTS_SERIAL)
        return err_set_key(e, "schedule.empty",
                           "policy '%s': schedule: empty needs experts: serial, which "
                           "launches expert by expert",
                           p->label);
    return 0;
}

static bool is_whole(const struct policy *p, uint32_t local, uint32_t layers)
{
    uint64_t all = p->cache.scope == CACHE_GLOBAL ? (uint64_t)local * layers : local;

    return (uint64_t)p->cache.slots >= all && p->cache.preload == CACHE_PRELOAD_LINEAR;
}

int parallel_check(struct policy *p, const struct topology *t,
                   const struct trace_info *trace, struct err *e)
{
    uint32_t gpus = t->ranks, local;

    if (check_place(p, gpus, trace->experts, e) != 0 || check_parts(p, gpus, e) != 0 ||
        check_oracle(p, slots_of(p, gpus, trace->experts), e) != 0)
        return -1;
    local = slots_of(p, gpus, trace->experts) / gpus;
    if (p->cache.slots == 0 && p->cache.bytes == 0) {
        p->cache.scope = CACHE_PER_LAYER;
        p->cache.slots = local;
        p->cache.preload = CACHE_PRELOAD_LINEAR;
    }
    if (p->place.window.interval > 0 && !is_whole(p, local, trace->layers))
        return err_set_key(
            e, "cache.slots",
            "policy '%s' rebalances, but its caches do not hold all experts of "
            "a GPU; leave cache: slots out, or interval",
            p->label);
    if ((p->schedule.exchange == EXCHANGE_NORMAL ||
         p->schedule.exchange == EXCHANGE_LOW_LATENCY ||
         p->schedule.exchange == EXCHANGE_FORWARD) &&
        t->nodes > 1 && !t->nvlink)
        return err_set_key(
            e, "schedule.exchange",
            "policy '%s': schedule: this exchange is made for NVLink in a "
            "node, which the machine does not have; choose exchange: flat or "
            "rails",
            p->label);
    return 0;
}

/* ---- sizes ---- */

static bool needs_counts(const struct policy *p, const struct topology *t, bool whole)
{
    int exchange = p->schedule.exchange;
    bool told = exchange == EXCHANGE_NORMAL || exchange == EXCHANGE_LOW_LATENCY;

    if (t->ranks == 1) /* as without parallel */
        return !whole || policy_gate(p)->apply != NULL || policy_select(p)->apply != NULL;
    if (policy_gate(p)->pads) /* every expert runs on its capacity */
        return false;
    return !whole || (policy_place(p)->sharded ? policy_place(p)->counts : !told);
}

static int make_model(struct parallel_plan *plan, const struct policy *p,
                      const struct parallel_params *params, const struct topology *t,
                      const struct model *whole, struct err *e)
{
    struct model attention = *whole;

    if (parallel_tensor(params) > 1 &&
        model_slice(whole, parallel_tensor(params), &attention, e) != 0)
        return -1;
    plan->model = attention;
    if (policy_place(p)->sharded)
        return model_slice_experts(&attention, t->ranks, &plan->model, e);
    return 0;
}

int parallel_plan_init(struct parallel_plan *plan, const struct policy *p,
                       const struct parallel_params *params, const struct topology *t,
                       const struct cost *whole, const struct trace_info *trace,
                       const uint64_t *expert_bytes, struct err *e)
{
    uint32_t slots = slots_of(p, t->ranks, trace->experts), local = slots / t->ranks;
    bool sharded = policy_place(p)->sharded;
    bool resident = is_whole(p, local, trace->layers) && policy_prefetch(p)->step == NULL;
    bool counts = needs_counts(p, t, resident);
    bool early = policy_prefetch(p)->step != NULL || p->cache.write_back;

    *plan = (struct parallel_plan){
        .run = {.topology = t,
                .tensor = parallel_tensor(params),
                .slots = slots,
                .local = local,
                .exchange = counts},
        .cost = *whole,
        .event_driven =
            early || p->place.migrate == PLACE_BACKGROUND || (t->ranks > 1 && !resident),
        .may_graph = resident && !counts && p->schedule.exchange != EXCHANGE_NORMAL &&
                     whole->machine->host.expert_overhead == 0 && !p->schedule.wait,
    };
    if (make_model(plan, p, params, t, whole->model, e) != 0)
        return -1;
    plan->cost.model = &plan->model;
    plan->expert_bytes = mem_alloc(trace->layers, sizeof *plan->expert_bytes);
    for (uint32_t l = 0; l < trace->layers; l++)
        plan->expert_bytes[l] =
            sharded ? (expert_bytes[l] + t->ranks - 1) / t->ranks : expert_bytes[l];
    plan->weight_bytes =
        model_dense_bytes(&plan->model) +
        cache_room_bytes(&p->cache, trace->layers, local, plan->expert_bytes);
    return 0;
}

void parallel_plan_release(struct parallel_plan *plan)
{
    free(plan->expert_bytes);
    plan->expert_bytes = NULL;
}

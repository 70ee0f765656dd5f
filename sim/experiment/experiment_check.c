/* Whether every policy of an experiment can run: on this trace, this machine, in its
 * memory. */
#include "experiment_state.h"
#include "sim/base/text.h"

#include <stdio.h>
#include <stdlib.h>

/* What a policy declares it needs, by name of the missing field. */
static int check_needs(const struct experiment *x, const struct policy *p, struct err *e)
{
    static const struct {
        enum policy_need need;
        enum trace_field field;
    } fields[] = {
        {NEED_SCORES, TRACE_HAS_SCORES},
        {NEED_PREDICTED, TRACE_HAS_PREDICTED},
    };
    unsigned needs = policy_needs(p);

    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if ((needs & fields[i].need) != 0 &&
            (trace_fields(x->trace) & fields[i].field) == 0)
            return err_set(e, "policy '%s' needs %s, which %s does not have", p->label,
                           trace_field_name(fields[i].field), x->trace_path);
    }
    return 0;
}

/* On one of several GPUs: do its weights fit? */
static int check_gpu(const struct experiment *x, const struct policy *p,
                     uint64_t *kv_bytes, struct err *e)
{
    struct model model = experiment_model(x, p);
    struct cost whole = {.model = &model, .machine = x->machine};
    struct parallel_setup setup;
    uint64_t bytes;

    if (parallel_setup_init(&setup, p, &x->parallel, &x->topology, &whole, x->info,
                            x->expert_bytes, e) != 0)
        return -1;
    bytes = setup.weight_bytes;
    *kv_bytes = run_kv_bytes(setup.cost.model, x->sizes.kv_tokens);
    parallel_setup_release(&setup);
    if (bytes <= x->gpu_bytes)
        return run_refuse_kv(p, x->sizes.kv_pass, *kv_bytes, x->gpu_bytes - bytes, e);
    return err_set(e,
                   "policy '%s': the weights of %s on each of %u GPUs take %s, but %s of "
                   "a GPU of %s may be used; take more GPUs, fewer slots, a larger "
                   "gpu_memory or another machine",
                   p->label, x->model->name, x->topology.ranks,
                   text_sizes(bytes, x->gpu_bytes).a, text_sizes(bytes, x->gpu_bytes).b,
                   x->machine->name);
}

static int check_memory(const struct experiment *x, const struct policy *p,
                        uint64_t *kv_bytes, struct err *e)
{
    struct model model = experiment_model(x, p);
    uint64_t dense = model_dense_bytes(&model);
    uint64_t cache = job_cache_bytes(x, p), bytes = dense + cache;

    *kv_bytes = run_kv_bytes(&model, x->sizes.kv_tokens);
    if (bytes <= x->gpu_bytes)
        return run_refuse_kv(p, x->sizes.kv_pass, *kv_bytes, x->gpu_bytes - bytes, e);
    return err_set_key(e, dense > x->gpu_bytes ? "gpu_memory" : "cache.slots",
                       "policy '%s': model %s needs %s beside its experts and the cache "
                       "%s, together %s, but %s of a GPU of %s may be used; take %sa "
                       "larger gpu_memory or another machine",
                       p->label, x->model->name, text_bytes((double)dense).text,
                       text_bytes((double)cache).text, text_sizes(bytes, x->gpu_bytes).a,
                       text_sizes(bytes, x->gpu_bytes).b, x->machine->name,
                       dense > x->gpu_bytes ? "" : "fewer slots, ");
}

/* Also tells what the largest KV cache takes of a GPU. */
static int check_room(const struct experiment *x, const struct policy *p,
                      uint64_t *kv_bytes, struct err *e)
{
    *kv_bytes = 0;
    return x->is_parallel ? check_gpu(x, p, kv_bytes, e)
                          : check_memory(x, p, kv_bytes, e);
}

/* What the slots of a policy are counted in: the experts of a layer that one GPU has, and
 * their sizes. */
struct share {
    uint32_t experts;
    const uint64_t *expert_bytes; /* [layers] */
};

static int resolve(const struct experiment *x, struct policy *p,
                   const struct share *share, struct err *e)
{
    struct err why = {.text = ""};
    const char *key = cache_resolve(&p->cache, x->info->layers, share->experts,
                                    share->expert_bytes, &why);
    char path[ERR_KEY_BYTES];

    if (key == NULL)
        return 0;
    (void)snprintf(path, sizeof path, "cache.%s", key);
    return err_set_key(e, path, "cache: %s", why.text);
}

/* Whether the policy fits with so many slots of each layer. */
static bool has_room(const struct experiment *x, const struct policy *p,
                     const struct share *share, uint32_t slots)
{
    struct policy tried = *p;
    struct err why = {.text = ""};
    uint64_t kv_bytes;

    tried.cache.layer_slots = slots;
    return resolve(x, &tried, share, &why) == 0 &&
           check_room(x, &tried, &kv_bytes, &why) == 0;
}

/* `slots: auto`: the most slots that fit; where those are all, it is `all`. */
static int count_slots(const struct experiment *x, struct policy *p,
                       const struct share *share, struct err *e)
{
    uint32_t fits = 0, most = share->experts;

    if (p->cache.total_slots > 0 || p->cache.room.bytes > 0 || p->cache.room.percent > 0)
        return 0; /* one size too many, for cache_resolve() to refuse */
    if (x->sizes.kv_tokens == 0)
        return err_set_key(e, "cache.slots",
                           "cache: slots: auto counts beside the largest KV cache, which "
                           "is not known beforehand where passes %s; give a number",
                           x->timeless ? "are taken as recorded, on several GPUs"
                                       : "depend on time");
    while (fits < most) {
        uint32_t middle = most - (most - fits) / 2;

        if (has_room(x, p, share, middle))
            fits = middle;
        else
            most = middle - 1;
    }
    if (fits == 0 && share->experts > 0)
        return err_set_key(e, "cache.slots",
                           "cache: slots: auto finds no room in the %s of a GPU of %s "
                           "that may be used for one expert of each layer, beside dense "
                           "weights, staging and the largest KV cache; take a larger "
                           "gpu_memory, a smaller batch or another machine",
                           text_bytes((double)x->gpu_bytes).text, x->machine->name);
    p->cache.layer_slots = fits == share->experts ? CACHE_SLOTS_ALL : (int64_t)fits;
    return 0;
}

/* How many slots a policy's cache has, in the layers and experts of one GPU. */
static int resolve_slots(const struct experiment *x, struct policy *p, struct err *e)
{
    struct share share = {x->info->experts, x->expert_bytes};
    uint64_t *own = NULL;
    int status = 0;

    policy_close_layers(p, x->info->layers, x->info->moe_layer, x->model->layers);
    if (p->dense && !x->is_parallel) /* nothing is ever asked for */
        p->cache.layer_slots = CACHE_SLOTS_ALL;
    if (x->is_parallel) {
        share.experts = parallel_local(p, &x->topology, x->info->experts);
        own = parallel_expert_bytes(p, &x->topology, x->info, x->expert_bytes);
        share.expert_bytes = own;
    }
    if (p->cache.layer_slots == CACHE_SLOTS_AUTO)
        status = count_slots(x, p, &share, e);
    if (status == 0)
        status = resolve(x, p, &share, e);
    free(own);
    return status;
}

static int check_policy(struct experiment *x, struct policy *p, struct err *e)
{
    uint64_t kv_bytes;

    if (check_needs(x, p, e) != 0 || resolve_slots(x, p, e) != 0)
        return -1;
    if (x->is_parallel)
        parallel_fill_cache(p, &x->topology, x->info->experts);
    if (combination_check(x, p, e) != 0)
        return -1;
    x->tight = check_room(x, p, &kv_bytes, e) != 0;
    if (p == x->policy[0])
        x->kv_bytes = kv_bytes;
    return x->tight ? -1 : 0;
}

unsigned experiment_needs(const struct experiment *x)
{
    unsigned needs = 0;

    for (uint32_t i = 0; i < x->policies; i++)
        needs |= policy_needs(x->policy[i]);
    return needs;
}

int experiment_check_policies(struct experiment *x, struct err *e)
{
    for (uint32_t i = 0; i < x->policies; i++) {
        unsigned needs = policy_needs(x->policy[i]);

        if (x->policy[i]->dense && model_dense_equivalent(x->model, &x->dense, e) != 0)
            return experiment_blame(x, x->policy[i], e);
        if (check_policy(x, x->policy[i], e) != 0)
            return experiment_blame(x, x->policy[i], e);
        x->scores = x->scores || (needs & NEED_SCORES) != 0;
        x->predicted = x->predicted || (needs & NEED_PREDICTED) != 0;
    }
    return 0;
}

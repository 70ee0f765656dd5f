#include "curve_run.h"

#include "distances.h"
#include "experiment_state.h"
#include "hit_count.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "sim/base/pool.h"

#include <stdlib.h>

struct tasks;

/* A walk over the look-ahead: of a policy at all capacities, or at one. */
struct task {
    struct tasks *all;
    const struct policy *policy;
    struct curve_policy *result; /* NULL: only reuse distances are wanted */
    bool reuse;                  /* they are */
    uint32_t point;              /* of a policy that is replayed */
    future_visit *visit;
    void *context; /* of `visit` */
    uint64_t passes_done;
    struct err err;
    int status;
};

struct tasks {
    struct experiment *x;
    const struct curve_request *request;
    struct curve *curve;
    struct task *task;
    size_t count;
    pthread_mutex_t lock; /* of `noted` */
    uint64_t noted;       /* passes that progress was told of */
};

/* ---- walks ---- */

enum { STOPPED = 1, PASSES_PER_NOTE = 1024 };

static void note_progress(struct task *t)
{
    struct tasks *all = t->all;
    const struct curve_request *r = all->request;

    if (r->progress == NULL || ++t->passes_done % PASSES_PER_NOTE != 0)
        return;
    pthread_mutex_lock(&all->lock);
    all->noted += PASSES_PER_NOTE;
    r->progress(r->context, t->policy->label, all->noted,
                all->count * all->curve->passes);
    pthread_mutex_unlock(&all->lock);
}

static int visit_step(void *context, uint32_t layer, const struct future_step *step)
{
    struct task *t = context;

    if (layer == 0) {
        note_progress(t);
        if (file_interrupted())
            return STOPPED;
    }
    return t->visit(t->context, layer, step);
}

static int walk(struct task *t, future_visit *visit, void *context)
{
    struct future *f = t->all->x->future[cache_order_ahead(&t->policy->cache)];
    int status;

    t->visit = visit;
    t->context = context;
    status = future_walk(f, visit_step, t, &t->err);
    return status == STOPPED
               ? err_set(&t->err, "stopped by a signal; nothing was written")
               : status;
}

/* ---- a policy at one capacity ---- */

static struct cache *make_cache(const struct experiment *x, const struct policy *p,
                                uint32_t slots, struct err *e)
{
    struct cache_config config = {.algorithm = policy_cache(p),
                                  .algorithm_params = p->params[SLOT_CACHE],
                                  .params = p->cache,
                                  .layers = x->info->layers,
                                  .experts = x->info->experts,
                                  .expert_bytes = x->expert_bytes,
                                  .profile = x->profile,
                                  .future = true,
                                  .seed = (uint64_t)x->p.seed};

    config.params.slots = slots;
    return cache_new(&config, e);
}

static int run_replay(struct task *t)
{
    uint32_t layers = t->all->curve->layers;
    uint64_t *hits = t->result->hits + (size_t)t->point * layers;
    struct cache *cache =
        make_cache(t->all->x, t->policy, t->result->slots[t->point], &t->err);
    struct hit_count count;
    int status;

    if (cache == NULL)
        return -1;
    hit_count_init(&count, cache, layers,
                   t->policy->cache.order == CACHE_ORDER_HITS_FIRST);
    status = walk(t, hit_count_step, &count);
    for (uint32_t l = 0; l < layers; l++)
        hits[l] = count.layer[l].hits;
    hit_count_release(&count);
    cache_free(cache);
    return status;
}

/* ---- ... at all of them ---- */

static bool is_algorithm(const struct policy *p, const char *name)
{
    return p->plugin[SLOT_CACHE] == registry_find(SLOT_CACHE, name);
}

/* Sets whose distances a policy has; false where its residents at one capacity need not
 * be among those at the next larger one. */
static bool find_distances(const struct policy *p, enum distances_of *of)
{
    bool bypass = is_algorithm(p, "belady-bypass");

    *of = bypass                      ? DISTANCES_BYPASS
          : is_algorithm(p, "belady") ? DISTANCES_BELADY
                                      : DISTANCES_LRU;
    return (*of != DISTANCES_LRU || is_algorithm(p, "lru")) &&
           (!bypass || p->cache.protect != CACHE_PROTECT_PREFER) &&
           p->cache.admission == CACHE_ADMIT_ALWAYS &&
           p->cache.allocate == CACHE_ALLOCATE_EVEN &&
           p->cache.order != CACHE_ORDER_HITS_FIRST && !cache_starts_full(&p->cache);
}

/* `counts`: (layer, distance) accesses. */
static void take_hits(const struct curve *c, const uint64_t *counts,
                      struct curve_policy *p)
{
    for (uint32_t l = 0; l < c->layers; l++) {
        const uint64_t *at = counts + (size_t)l * (c->largest + 1);
        uint64_t hits = 0;

        for (uint32_t i = 0; i < p->points; i++) {
            hits += at[p->slots[i]];
            p->hits[(size_t)i * c->layers + l] = hits;
        }
    }
}

static void take_reuse(struct curve *c, const uint64_t *counts)
{
    for (uint32_t l = 0; l < c->layers; l++) {
        uint64_t *reuse = c->layer[l].reuse;
        const uint64_t *at = counts + (size_t)l * (c->largest + 1);

        for (uint32_t d = 0, b = 0; d <= c->largest; d++) {
            b += b == 0 ? d > 0 : d > UINT32_C(1) << (b - 1);
            reuse[b] += at[d];
        }
    }
}

static int run_distances(struct task *t)
{
    struct curve *c = t->all->curve;
    const struct future *f = t->all->x->future[cache_order_ahead(&t->policy->cache)];
    const struct distances_shape shape = {.layers = c->layers,
                                          .experts = c->experts,
                                          .global = c->global,
                                          .protect = t->policy->cache.protect,
                                          .most_distinct = future_largest_steps(f)};
    enum distances_of of = DISTANCES_LRU;
    struct distances *d;
    int status;

    if (t->result != NULL)
        (void)find_distances(t->policy, &of);
    d = distances_new(of, &shape);
    status = walk(t, distances_step, d);
    if (t->result != NULL)
        take_hits(c, distances_counts(d), t->result);
    if (t->reuse)
        take_reuse(c, distances_counts(d));
    distances_free(d);
    return status;
}

/* ---- all tasks ---- */

static void run_task(void *context, size_t number)
{
    struct tasks *all = context;
    struct task *t = &all->task[number];

    t->status =
        t->result != NULL && t->result->replayed ? run_replay(t) : run_distances(t);
}

static void add_task(struct tasks *all, const struct policy *p, struct curve_policy *r,
                     uint32_t point)
{
    all->task = mem_grow(all->task, all->count, sizeof *all->task);
    all->task[all->count++] = (struct task){
        .all = all, .policy = p, .result = r, .point = point, .err = {.text = ""}};
}

/* Reuse distances are those of the first policy that is LRU at all capacities; without
 * one, of an LRU with the first policy's options. */
static void plan_tasks(struct tasks *all)
{
    const struct curve *c = all->curve;
    size_t reuse = SIZE_MAX;

    for (uint32_t i = 0; i < c->policies; i++) {
        struct curve_policy *p = &c->policy[i];

        if (reuse == SIZE_MAX && !p->replayed && !p->bound)
            reuse = all->count;
        for (uint32_t k = 0; k < (p->replayed ? p->points : 1); k++)
            add_task(all, all->x->policy[i], p, k);
    }
    if (reuse == SIZE_MAX) {
        reuse = all->count;
        add_task(all, all->x->policy[0], NULL, 0);
    }
    all->task[reuse].reuse = true;
}

static int run_tasks(struct tasks *all, struct err *e)
{
    plan_tasks(all);
    pthread_mutex_init(&all->lock, NULL);
    pool_run(all->request->threads, all->count, run_task, all);
    pthread_mutex_destroy(&all->lock);
    for (size_t i = 0; i < all->count; i++) {
        if (all->task[i].status != 0) {
            *e = all->task[i].err;
            return -1;
        }
    }
    return 0;
}

/* ---- what is asked ---- */

/* At most `most` sizes up to `largest`: 1, the multiples of a power of two, `largest`.
 * Returns how many; `size` may be NULL. */
static uint32_t spread(uint32_t largest, uint32_t most, uint32_t *size)
{
    for (uint32_t step = 1;; step *= 2) {
        uint32_t count = largest / step + (step > 1 && largest > 1) +
                         (largest % step != 0 && largest > 1),
                 at = 0;

        if (count > most)
            continue;
        for (uint32_t s = step > 1 ? 0 : 1; size != NULL && at < count; s += step)
            size[at++] = s == 0 ? 1 : s < largest ? s : largest;
        return count;
    }
}

static void copy_sizes(const struct curve_request *r, uint32_t largest, uint32_t most,
                       uint32_t **size, uint32_t *count)
{
    *count = r->count > 0 ? r->count : spread(largest, most, NULL);
    *size = mem_alloc(*count, sizeof **size);
    if (r->count == 0)
        (void)spread(largest, most, *size);
    for (uint32_t i = 0; i < r->count; i++)
        (*size)[i] = r->slots[i];
}

static int check_sizes(const struct curve *c, const struct curve_request *r,
                       struct err *e)
{
    uint32_t asked = r->count > 0 ? r->slots[r->count - 1] : 0;

    if (asked <= c->largest)
        return 0;
    if (c->global)
        return err_set(e,
                       "%u slots are asked for, but %u layers of %u experts are %u; give "
                       "at most %u",
                       asked, c->layers, c->experts, c->largest, c->largest);
    return err_set(e,
                   "%u slots are asked for, but a layer has %u experts to hold; give at "
                   "most %u (scope: global counts those of all layers)",
                   asked, c->experts, c->experts);
}

static int check_policy(const struct experiment *x, const struct policy *p, struct err *e)
{
    int status = 0;

    if (p->cache.slots > 0 || p->cache.bytes > 0)
        status = err_set_key(e, p->cache.bytes > 0 ? "cache.bytes" : "cache.slots",
                             "a curve goes over all sizes of the cache; leave its "
                             "size out");
    else if ((policy_cache(p)->plugin.needs & NEED_ROWS) != 0)
        status =
            err_set_key(e, "cache",
                        "cache policy '%s' goes by rows and sequences, which a curve "
                        "does not have; sweep cache.slots instead",
                        policy_cache(p)->plugin.name);
    else if (p->cache.scope != x->policy[0]->cache.scope)
        status = err_set_key(e, "cache.scope",
                             "the policies of a curve share one scope, so that their "
                             "sizes are alike; leave it out");
    return status == 0 ? 0 : experiment_blame(x, p, e);
}

static int check(const struct experiment *x, const struct curve *c,
                 const struct curve_request *r, struct err *e)
{
    if (x->is_parallel)
        return err_set(e, "a curve is of one GPU's cache; leave 'parallel' out");
    if (!x->timeless) {
        (void)err_set_key(
            e, "workload.arrivals",
            "which rows a pass has depends on time here, and a curve has no "
            "times; choose arrivals: closed");
        return cfg_locate(x->root, NULL, e);
    }
    for (uint32_t i = 0; i < x->policies; i++)
        if (check_policy(x, x->policy[i], e) != 0)
            return -1;
    return check_sizes(c, r, e);
}

static void add_policy(struct curve *c, const struct policy *p,
                       const struct curve_request *r)
{
    struct curve_policy *out = &c->policy[c->policies++];
    enum distances_of of;

    out->label = mem_strdup(p->label);
    out->replayed = !find_distances(p, &of);
    out->bound = of != DISTANCES_LRU;
    if (out->replayed) {
        copy_sizes(r, c->largest, CURVE_REPLAYS, &out->slots, &out->points);
    } else {
        out->points = c->largest;
        out->slots = mem_alloc(out->points, sizeof *out->slots);
        for (uint32_t i = 0; i < out->points; i++)
            out->slots[i] = i + 1;
    }
    out->hits = mem_zalloc((size_t)out->points * c->layers, sizeof *out->hits);
}

static void begin_curve(struct curve *c, const struct experiment *x)
{
    *c = (struct curve){.trace_path = mem_strdup(x->trace_path),
                        .model = mem_strdup(x->model->name),
                        .version = mem_strdup(MOESIM_VERSION),
                        .global = x->policy[0]->cache.scope == CACHE_GLOBAL,
                        .layers = x->info->layers,
                        .experts = x->info->experts,
                        .top_k = x->info->top_k};
    c->largest = c->global ? c->layers * c->experts : c->experts;
    c->layer = mem_zalloc(c->layers, sizeof *c->layer);
    for (uint32_t l = 0; l < c->layers; l++) {
        c->layer[l].decoder_layer = x->info->moe_layer[l];
        c->layer[l].expert_bytes = x->expert_bytes[l];
    }
    c->policy = mem_zalloc(x->policies, sizeof *c->policy);
}

/* ---- the trace ---- */

/* What a look-ahead, in any order, tells of the layers. */
static void take_layers(struct curve *c, const struct future *f)
{
    c->passes = future_passes(f);
    for (uint32_t l = 0; l < c->layers; l++) {
        struct curve_layer *at = &c->layer[l];
        const uint64_t *uses = future_uses(f) + (size_t)l * c->experts;

        at->most_distinct = future_largest_steps(f)[l];
        for (uint32_t i = 0; i < c->experts; i++) {
            at->accesses += uses[i];
            at->used += uses[i] > 0;
        }
    }
}

/* Looks ahead in each order that a policy takes. */
static int look(struct experiment *x, struct curve *c, struct err *e)
{
    for (uint32_t i = 0; i < x->policies; i++) {
        if (experiment_look_ahead(x, x->policy[i], e) != 0)
            return -1;
    }
    take_layers(c, x->future[cache_order_ahead(&x->policy[0]->cache)]);
    return 0;
}

static int run(struct experiment *x, const struct curve_request *r, struct curve *c,
               struct err *e)
{
    struct tasks all = {.x = x, .request = r, .curve = c};
    int status = look(x, c, e);

    if (status == 0)
        status = run_tasks(&all, e);
    free(all.task);
    return status;
}

/* The configuration's machine with room for any cache. Owned, or NULL. */
static struct machine *roomy_machine(const struct cfg *config,
                                     const struct experiment_folders *folders,
                                     struct err *e)
{
    const struct cfg_node *name = cfg_find(cfg_root(config), "machine");
    struct machine *m = machine_load(cfg_text(name), folders->machines, e);

    if (m != NULL)
        m->gpu.memory_bytes = m->host.memory_bytes = UINT64_C(1) << 60;
    return m;
}

int curve_check(struct cfg *config, const struct experiment_folders *folders,
                const struct curve_request *request, struct err *e)
{
    struct machine *machine = roomy_machine(config, folders, e);
    const struct experiment_hooks hooks = {.machine = machine};
    struct experiment x = {.hooks = &hooks, .folders = folders};
    struct curve c;
    int status = -1;

    if (machine == NULL)
        return -1;
    if (experiment_prepare(&x, config, false, e) == 0) {
        begin_curve(&c, &x);
        status = check(&x, &c, request, e);
        curve_release(&c);
    }
    experiment_release(&x);
    machine_free(machine);
    return status;
}

int curve_run(struct cfg *config, const struct experiment_folders *folders,
              const struct curve_request *request, struct curve *c, struct err *e)
{
    struct machine *machine = roomy_machine(config, folders, e);
    const struct experiment_hooks hooks = {.machine = machine};
    struct experiment x = {.hooks = &hooks, .folders = folders};
    int status = -1;

    if (machine == NULL)
        return -1;
    if (experiment_prepare(&x, config, true, e) == 0) {
        begin_curve(c, &x);
        if (check(&x, c, request, e) == 0) {
            for (uint32_t i = 0; i < x.policies; i++)
                add_policy(c, x.policy[i], request);
            copy_sizes(request, c->largest, CURVE_ROWS, &c->row, &c->rows);
            status = run(&x, request, c, e);
        }
        if (status != 0)
            curve_release(c);
    }
    experiment_release(&x);
    machine_free(machine);
    return status;
}

#include "counted_run.h"

#include "experiment_state.h"
#include "sim/base/mem.h"
#include "sim/base/percentile.h"
#include "sim/policy/place.h"
#include "sim/run/counting.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool experiment_has_counts(const struct cfg *config)
{
    const struct cfg_node *n = cfg_find(cfg_root(config), "trace");
    const char *path = n == NULL ? NULL : cfg_text(n);
    struct err ignored = {.text = ""};
    struct trace *t = path == NULL ? NULL : trace_open(path, NULL, &ignored);
    bool counts = t != NULL && trace_get_info(t)->counts_only;

    trace_close(t);
    return counts;
}

struct telling {
    const struct experiment *x;
    const struct policy *policy;
    counted_told *told;
    void *context;
};

static void tell(void *context, uint64_t pass, uint32_t layer, const uint64_t *gpu)
{
    const struct telling *t = context;

    t->told(t->context, t->policy->label, pass, t->x->info->moe_layer[layer], gpu,
            t->x->topology.ranks);
}

static char *describe_place(const struct policy *p)
{
    const struct plugin *plugin = p->plugin[SLOT_PLACE];
    char *own = cfg_describe(plugin->options, p->params[SLOT_PLACE]);
    char *common = cfg_describe(policy_shared_options(SLOT_PLACE), &p->place);
    char *text =
        mem_format("%s %s%s%s", plugin->name, common, *own == '\0' ? "" : " ", own);

    free(own);
    free(common);
    return text;
}

/* Sorts the counting's steps. */
static void fill_policy(const struct policy *p, struct run_counting *t,
                        struct counted_policy *out)
{
    double sum = 0.0;

    percentile_sort(t->imbalance, (size_t)t->steps);
    for (uint64_t i = 0; i < t->steps; i++)
        sum += t->imbalance[i];
    *out = (struct counted_policy){
        .label = mem_strdup(p->label),
        .place = describe_place(p),
        .run = t->run, /* takes it over */
        .imbalance_mean = t->steps == 0 ? NAN : sum / (double)t->steps,
        .imbalance_p99 = percentile_of_sorted(t->imbalance, (size_t)t->steps, 0.99),
        .imbalance_most = percentile_of_sorted(t->imbalance, (size_t)t->steps, 1.0),
        .replicas = t->replicas,
        .moved = t->moved,
        .expert_time = t->expert_time};
    t->run = (struct run_result){.layer = NULL};
}

static int run_one(struct experiment *x, uint32_t i, counted_told *told, void *context,
                   struct counted_policy *out, struct err *e)
{
    const struct policy *p = x->policy[i];
    struct cost whole = {.model = x->model, .machine = x->machine};
    struct telling telling = {x, p, told, context};
    struct parallel_setup setup;
    struct run_counting counting;
    int status;

    if (parallel_setup_init(&setup, p, &x->parallel, &x->topology, &whole, x->info,
                            x->expert_bytes, e) != 0)
        return -1;
    setup.run.history = x->history;
    setup.run.samples = x->samples;
    setup.run.balanced = true; /* moves take no time here */
    status = run_counting(&(struct run_setup){.policy = p,
                                              .parallel = &setup.run,
                                              .trace = x->info,
                                              .cost = &setup.cost,
                                              .expert_bytes = setup.expert_bytes,
                                              .profile = x->profile,
                                              .seed = (uint64_t)x->p.seed},
                          x->trace, told == NULL ? NULL : tell, &telling, &counting, e);
    if (status == 0)
        fill_policy(p, &counting, out);
    run_counting_release(&counting);
    parallel_setup_release(&setup);
    return status;
}

static int run_all(struct experiment *x, counted_told *told, void *context,
                   struct counted *r, struct err *e)
{
    bool stopped = false;

    *r = (struct counted){.trace_path = mem_strdup(x->trace_path),
                          .model = mem_strdup(x->model->name),
                          .machine = mem_strdup(x->machine->name),
                          .layers = x->info->layers,
                          .experts = x->info->experts,
                          .gpus = x->topology.ranks,
                          .nodes = x->topology.nodes,
                          .passes = x->info->passes};
    r->moe_layer = mem_alloc(r->layers, sizeof *r->moe_layer);
    memcpy(r->moe_layer, x->info->moe_layer, r->layers * sizeof *r->moe_layer);
    r->policy = mem_zalloc(x->policies, sizeof *r->policy);
    for (uint32_t i = 0; i < x->policies; i++) {
        if (run_one(x, i, told, context, &r->policy[i], e) != 0) {
            counted_release(r);
            return -1;
        }
        r->policies++;
        stopped = stopped || !r->policy[i].run.finished;
    }
    r->notes = experiment_notes(x, stopped);
    return stopped ? 1 : 0;
}

int experiment_count(struct cfg *config, const struct experiment_folders *folders,
                     const struct experiment_hooks *hooks, counted_told *told,
                     void *context, struct counted *r, struct err *e)
{
    struct experiment x = {.hooks = hooks, .folders = folders, .counted = true};
    int status = experiment_prepare(&x, config, true, e);

    if (status == 0)
        status = run_all(&x, told, context, r, e);
    experiment_release(&x);
    return status;
}

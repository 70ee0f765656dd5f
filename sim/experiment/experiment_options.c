/* The keys of a configuration, and where a fault in one was written. */
#include "experiment_state.h"
#include "sim/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT(field) offsetof(struct experiment_params, field)

static const char *const launch_names[] = {"auto", "eager", "graph", NULL};
static const char *const home_names[] = {"auto", "host", "storage", NULL};
static const char *const engine_names[] = {"auto", "fifo", "event", "count", NULL};

const struct option experiment_options[] = {
    {"trace", OPT_STRING, AT(trace), NULL, 0, 0, NULL,
     "trace file, relative to the configuration's folder; one of counts only compares "
     "placements over several GPUs"},
    {"model", OPT_NAMED, AT(model), "", 0, 0, NULL,
     "name in models/arch or a file; default: the trace's model. As below, some of its "
     "numbers may be replaced"},
    {"machine", OPT_NAMED, AT(machine), NULL, 0, 0, NULL,
     "name in models/machine or a file; or {name: NAME, gpu: {hbm_bandwidth: 3 TB/s}}, "
     "with what replaces its numbers"},
    {"profile", OPT_STRING, AT(profile), "", 0, 0, NULL,
     "trace whose expert loads policies may know beforehand, of counts only, too; "
     "default: the trace itself"},
    {"seed", OPT_INT, AT(seed), "1", 0, 9e15, NULL, "of every random stream"},
    {"launch", OPT_CHOICE, AT(launch), "auto", 0, 0, launch_names,
     "auto: from a graph where no host decision is needed, else eager"},
    {"home", OPT_CHOICE, AT(home), "auto", 0, 0, home_names,
     "where experts live that are not in GPU memory; auto: in host memory as far as it "
     "goes, the rest in storage"},
    {"gpu_memory", OPT_BYTES, AT(gpu_bytes), "0", 0, 1e18, NULL,
     "GPU memory that may be used, if less than the machine has; 0: all of it"},
    {"host_memory", OPT_BYTES, AT(host_bytes), "0", 0, 1e18, NULL,
     "host memory for experts; 0: the machine's"},
    {"pageable", OPT_BOOL, AT(pageable), "no", 0, 0, NULL,
     "copies from pageable instead of pinned host memory"},
    {"chunk", OPT_BYTES, AT(chunk_bytes), "0", 0, 1e12, NULL,
     "copies are cut into chunks of this size, so that demand overtakes prefetch at "
     "their edges; 0: whole experts"},
    {"engine", OPT_CHOICE, AT(engine), "auto", 0, 0, engine_names,
     "auto: event-driven where prefetch or write-back need it, else fifo; count: hits "
     "and bytes only, no times"},
    {"bounds", OPT_BOOL, AT(bounds), "yes", 0, 0, NULL,
     "also find what no policy could beat (up to three more runs and a look-ahead)"},
    {"passes", OPT_BOOL, AT(keep_passes), "yes", 0, 0, NULL,
     "keep one record per pass in the result"},
    {"timeline_passes", OPT_INT, AT(timeline_passes), "16", 0, 1e6, NULL,
     "passes of each policy drawn in the timeline"},
    {"parallel", OPT_NODE, AT(parallel), "", 0, 0, NULL,
     "several GPUs share the experts"},
    {"workload", OPT_NODE, AT(workload), "", 0, 0, NULL, "requests, arrivals, batching"},
    {"watch", OPT_NODE, AT(watch), "", 0, 0, NULL,
     "which misses a predictor could have foretold, and how much of their copies' time "
     "could have been hidden: changes nothing, and moesim explain tells of it"},
    {"policies", OPT_NODE, AT(policies), NULL, 0, 0, NULL,
     "list of presets or mappings of slots"},
    {.name = NULL},
};

const char *experiment_key_of_policy(const char *key)
{
    static const char policies[] = "policies.";
    size_t head = strlen(policies), number;

    if (strncmp(key, policies, head) != 0)
        return NULL;
    number = strspn(key + head, "0123456789");
    return number > 0 && key[head + number] == '.' ? key + head + number + 1 : NULL;
}

/* Whether a name may stand where the key leads: a model, a machine, a watch's
 * predictor, a policy's slot. */
static bool may_be_name(const char *key, size_t length)
{
    static const char predictor[] = "watch.predictor";
    const char *own = experiment_key_of_policy(key);

    if (length == strlen(predictor) && strncmp(key, predictor, length) == 0)
        return true;
    if (length == strlen("model") && strncmp(key, "model", length) == 0)
        return true;
    if (length == strlen("machine") && strncmp(key, "machine", length) == 0)
        return true;
    return own != NULL && own < key + length &&
           memchr(own, '.', (size_t)(key + length - own)) == NULL;
}

void experiment_open_key(struct cfg *config, const char *key)
{
    for (const char *dot = strchr(key, '.'); dot != NULL; dot = strchr(dot + 1, '.')) {
        char *path;

        if (!may_be_name(key, (size_t)(dot - key)))
            continue;
        path = mem_format("%.*s", (int)(dot - key), key);
        cfg_nest(config, path, "name");
        free(path);
    }
}

/* ---- where a fault was written ---- */

bool experiment_has_key(const char *key)
{
    size_t length = strcspn(key, ".");

    for (const struct option *o = experiment_options; o->name != NULL; o++) {
        if (strlen(o->name) == length && strncmp(o->name, key, length) == 0)
            return true;
    }
    return false;
}

char *experiment_policy_name(const struct cfg_node *policies, size_t i)
{
    static const char *const key[] = {"name", "preset"};
    const struct cfg_node *n = cfg_item(policies, i);

    if (cfg_text(n) != NULL)
        return mem_strdup(cfg_text(n));
    for (size_t k = 0; k < sizeof key / sizeof *key; k++) {
        const struct cfg_node *found = cfg_find(n, key[k]);

        if (found != NULL && cfg_text(found) != NULL)
            return mem_strdup(cfg_text(found));
    }
    return mem_format("policies.%zu", i);
}

int experiment_keep_policy(struct cfg *config, const char *name, struct err *e)
{
    const struct cfg_node *policies = cfg_find(cfg_root(config), "policies");
    size_t count = policies == NULL || !cfg_is_list(policies) ? 0 : cfg_count(policies);
    char *first = count > 0 ? experiment_policy_name(policies, 0) : NULL;
    int status = 0;

    if (name == NULL && count > 1)
        status = cfg_error(policies, e,
                           "there are %zu policies; choose one by its name, such as "
                           "--policy '%.40s'",
                           count, first);
    for (size_t i = 0; name != NULL && i < count; i++) {
        char *own = experiment_policy_name(policies, i);
        bool found = strcmp(own, name) == 0;

        free(own);
        if (found) {
            cfg_keep_item(config, "policies", i);
            free(first);
            return 0;
        }
    }
    if (name != NULL && count > 0)
        status =
            cfg_error(policies, e, "there is no policy '%.40s'; the first one is '%.40s'",
                      name, first);
    free(first);
    return status;
}

static int put_one(struct cfg *c, const char *path, const struct cfg_node *at,
                   const struct cfg_node *item, const char *text, struct err *e)
{
    experiment_open_key(c, path);
    return item != NULL ? cfg_put(c, path, at, item, e)
                        : cfg_put_text(c, path, at, text, e);
}

/* What is said of every policy is not of one that runs no experts. */
static bool is_dense(const struct cfg_node *policy)
{
    const struct cfg_node *n =
        cfg_is_map(policy) ? cfg_find(policy, "dense-equivalent") : NULL;
    const struct option o = {.name = "dense-equivalent", .type = OPT_BOOL};
    struct err ignored = {.text = ""};
    bool dense = false;

    return n != NULL && cfg_bind_value(n, &o, &dense, &ignored) == 0 && dense;
}

int experiment_put(struct cfg *config, const char *key, const struct cfg_node *at,
                   const struct cfg_node *item, const char *text, struct err *e)
{
    const struct cfg_node *policies = cfg_find(cfg_root(config), "policies");
    int status = 0;

    if (experiment_has_key(key))
        return put_one(config, key, at, item, text, e);
    for (size_t i = 0; policies != NULL && i < cfg_count(policies) && status == 0; i++) {
        char *path;

        if (is_dense(cfg_item(policies, i)))
            continue;
        path = mem_format("policies.%zu.%s", i, key);
        status = put_one(config, path, at, item, text, e);
        free(path);
    }
    return status;
}

int experiment_blame(const struct experiment *x, const struct policy *p, struct err *e)
{
    static const char opening[] = "policy '";
    struct err named = {.text = ""};

    if (err_key(e) != NULL && experiment_has_key(err_key(e)))
        return cfg_locate(x->root, NULL, e);
    if (strncmp(e->text, opening, strlen(opening)) != 0) {
        (void)err_set_key(&named, err_key(e) != NULL ? err_key(e) : "", "policy '%s': %s",
                          p->label, e->text);
        *e = named;
    }
    return cfg_locate(p->node, NULL, e);
}

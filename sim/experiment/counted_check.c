/* What a trace of counts only cannot do: refused by the field that it lacks. */
#include "experiment_state.h"
#include "sim/policy/place.h"

#include <stddef.h>

static int check_keys(const struct experiment *x, struct err *e)
{
    static const char *const idle[] = {"workload",    "launch",          "home",
                                       "host_memory", "pageable",        "chunk",
                                       "passes",      "timeline_passes", "watch"};
    const struct cfg_node *bounds = cfg_find(x->root, "bounds");

    for (size_t i = 0; i < sizeof idle / sizeof *idle; i++) {
        const struct cfg_node *n = cfg_find(x->root, idle[i]);

        if (n != NULL)
            return cfg_error(n, e,
                             "'%s' has no effect here: %s holds counts of passes, not "
                             "rows to serve; leave it out",
                             idle[i], x->trace_path);
    }
    if (x->p.engine == ENGINE_FIFO || x->p.engine == ENGINE_EVENT)
        return err_set_key(e, "engine",
                           "engine: times need /routing/expert, which %s does not have; "
                           "leave engine out",
                           x->trace_path);
    if (bounds != NULL && x->p.bounds)
        return err_set_key(e, "bounds",
                           "bounds on time need /routing/expert, which %s does not have; "
                           "leave bounds out",
                           x->trace_path);
    if (!x->is_parallel)
        return err_set_key(e, "trace",
                           "%s: holds only counts per expert (/load/count), which tell "
                           "of placements over several GPUs; say parallel: {gpus: N}, or "
                           "take a trace with /routing/expert",
                           x->trace_path);
    if (x->parallel.attention == ATTENTION_TENSOR)
        return err_set_key(e, "parallel.attention",
                           "parallel: counts tell nothing of attention; "
                           "leave attention out");
    return 0;
}

static int check_slots(const struct experiment *x, const struct policy *p, struct err *e)
{
    if (p->dense)
        return err_set_key(e, "dense-equivalent",
                           "dense-equivalent: needs /routing/expert, which %s does not "
                           "have; counts tell of place: only",
                           x->trace_path);
    for (int slot = 0; slot < POLICY_SLOTS; slot++) {
        const char *name = policy_slot_name((enum policy_slot)slot);
        const bool written =
            p->node != NULL && cfg_is_map(p->node) && cfg_find(p->node, name) != NULL;

        if (slot != SLOT_PLACE &&
            (written || p->plugin[slot] != policy_default((enum policy_slot)slot)))
            return err_set_key(e, name,
                               "%s: %s needs /routing/expert, which %s does not have; "
                               "counts tell of place: only",
                               name, p->plugin[slot]->name, x->trace_path);
    }
    if (cache_is_sized(&p->cache))
        return err_set_key(e, "preset",
                           "its cache needs /routing/expert, which %s does not have; "
                           "counts tell of place: only",
                           x->trace_path);
    return 0;
}

static int check_place(const struct experiment *x, const struct policy *p, struct err *e)
{
    if (policy_does(p, ACT_SHARD))
        return err_set_key(e, "place",
                           "place: %s has a slice of every expert on every GPU, so that "
                           "counts tell nothing of it; choose another place",
                           p->plugin[SLOT_PLACE]->name);
    if (p->place.replica == PLACE_NEAREST)
        return err_set_key(e, "place.replica",
                           "replica: nearest needs /token/source, which %s does not "
                           "have; choose round-robin or random",
                           x->trace_path);
    if (p->place.foresee > 0)
        return err_set_key(e, "place.foresee",
                           "foresee guesses choice by choice and needs /routing/expert, "
                           "which %s does not have; leave it out",
                           x->trace_path);
    if (p->place.migrate == PLACE_BACKGROUND)
        return err_set_key(e, "place.migrate",
                           "migrate: background ends by times, which counts do not "
                           "have; choose blocking");
    return 0;
}

int counted_check(struct experiment *x, struct err *e)
{
    if (check_keys(x, e) != 0)
        return -1;
    for (uint32_t i = 0; i < x->policies; i++)
        if (check_slots(x, x->policy[i], e) != 0 || check_place(x, x->policy[i], e) != 0)
            return experiment_blame(x, x->policy[i], e);
    x->timeless = true;
    return 0;
}

#include "policy_pair.h"

#include "sim/exec/op.h"
#include "tree_walk.h"

#include <math.h>
#include <string.h>

static bool is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static bool changed(const struct policy_pair *p, const char *part, const char *key)
{
    return tree_differ(TREE(p->old, part, key), TREE(p->new, part, key));
}

/* ---- what it decides ---- */

const struct policy_decision policy_decisions[] = {
    {"which rows form which pass",
     NULL,
     {"total_rows", "passes", "requests", "total_outputs", "prefill_rows",
      "decode_rows"}},
    {"which experts run, as decided by ",
     "gate",
     {"total_activations", "total_accesses", "total_dropped"}},
    {"which GPU computes what, as decided by ",
     "place",
     {"total_computed_rows", "total_busiest_rows", "total_sent_rows", "total_sent_bytes",
      "total_migrations", "total_migrated_bytes"}},
    {"what is loaded early by ",
     "prefetch",
     {"total_prefetches", "total_prefetch_bytes", "total_prefetch_used"}},
    {"eviction order of ",
     "cache",
     {"total_hits", "total_loads", "total_bypasses", "total_demand_bytes",
      "total_wasted_bytes", "total_out_bytes"}},
    {"which experts run in place, as decided by ",
     "offload",
     {"total_host_runs", "total_near_runs"}},
};

_Static_assert(sizeof policy_decisions / sizeof *policy_decisions == POLICY_DECISIONS,
               "one for each");

size_t policy_decision_of(const struct policy_pair *p, const char **count)
{
    size_t ignored;

    for (size_t i = 0; i < POLICY_DECISIONS; i++) {
        for (const char *const *c = policy_decisions[i].count; *c != NULL; c++) {
            if (changed(p, "counts", *c)) {
                *count = *c;
                return i;
            }
        }
    }
    *count = NULL;
    return tree_changed(TREE(p->old, "loaded"), TREE(p->new, "loaded"), &ignored) > 0
               ? POLICY_EVICTION
               : POLICY_DECISIONS;
}

/* ---- what operations cost ---- */

double policy_operation(const struct cfg_node *policy, const char *kind, const char *key)
{
    return tree_number(TREE(policy, "operations", kind, key));
}

double policy_operations(const struct cfg_node *policy, const char *kind)
{
    double number = policy_operation(policy, kind, "number");

    return isnan(number) ? 0.0 : number;
}

/* Whether operations of the kind take as long whatever the cache holds. */
static bool is_apart(const char *kind)
{
    return is(kind, "dense") || is(kind, "gate") || is(kind, "head");
}

/* Whether they share a link with others, so that they may take longer beside those. */
static bool is_shared(const struct policy_pair *p, const char *kind)
{
    bool compute = is_apart(kind) || is(kind, "experts") || is(kind, "host experts") ||
                   is(kind, "encode") || is(kind, "decode");

    return !compute && is(tree_text(TREE(p->new, "made_of", "engine")), "event");
}

bool policy_costs_changed(const struct policy_pair *p, const char *kind)
{
    const char *ignored;
    double old = policy_operation(p->old, kind, "shortest_ps");
    bool decided = policy_decision_of(p, &ignored) < POLICY_DECISIONS;

    if (isnan(old))
        return false;
    if (decided && !is_apart(kind) && (!is(kind, "copy in") || is_shared(p, kind)))
        return false;
    if (old != policy_operation(p->new, kind, "shortest_ps"))
        return true;
    return !decided && !is_shared(p, kind) &&
           policy_operation(p->old, kind, "number") ==
               policy_operation(p->new, kind, "number") &&
           policy_operation(p->old, kind, "total_ps") !=
               policy_operation(p->new, kind, "total_ps");
}

/* ---- when operations run ---- */

const char *policy_number_changed(const struct policy_pair *p)
{
    for (int kind = 0; kind < OP_KINDS; kind++) {
        const char *name = op_kind_name((enum op_kind)kind);

        if (tree_differ(TREE(p->old, "operations", name, "number"),
                        TREE(p->new, "operations", name, "number")))
            return name;
    }
    return NULL;
}

const char *policy_launch_changed(const struct policy_pair *p)
{
    for (int kind = 0; kind < OP_KINDS; kind++) {
        const char *name = op_kind_name((enum op_kind)kind);
        double old = policy_operation(p->old, name, "launch_ps");
        double new = policy_operation(p->new, name, "launch_ps");

        if (!isnan(old) && !isnan(new) && old != new)
            return name;
    }
    return NULL;
}

const char *policy_share_changed(const struct policy_pair *p, double *old, double *new)
{
    static const char *const share[] = {
        "total_dense_compute_ps",         "total_expert_compute_ps",
        "total_host_experts_ps",          "total_exposed_copy_ps",
        "total_exposed_communication_ps", "total_imbalance_wait_ps",
        "total_launch_and_host_ps",
    };
    const char *most = NULL;
    double largest = 0.0;

    for (size_t i = 0; i < sizeof share / sizeof *share; i++) {
        double a = tree_number(TREE(p->old, "times", share[i]));
        double b = tree_number(TREE(p->new, "times", share[i]));

        if (fabs(b - a) > largest) {
            largest = fabs(b - a);
            most = share[i];
            *old = a;
            *new = b;
        }
    }
    return most;
}

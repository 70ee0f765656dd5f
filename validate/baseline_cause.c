/* Why a baseline fails, in a sentence for each cause, from cause to effect: inputs that
 * are others; then, with the same inputs, what operations cost; what policies decide;
 * when operations run; how all that is counted.
 *
 * Each is told by what the ones before it leave alone. How long dense blocks take depends
 * on costs only; what a policy that looks at no times loads depends on its decisions
 * only; when operations run depends on the schedule once they are the same ones and each
 * takes as long. */
#include "baseline_parts.h"
#include "policy_pair.h"
#include "tree_walk.h"

#include "sim/base/mem.h"
#include "sim/experiment/experiment.h"
#include "sim/base/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One cause in the program, told of the first policy in which it shows. */
struct blame {
    char *key, *sentence, *also; /* owned; also: labels of further policies */
};

struct cause {
    const struct cfg_node *stored, *now;
    struct check_case *c;
    bool costs; /* they are others: of the machine, or in the program */
    struct blame *blame;
    size_t blames;
};

static bool is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* ---- blaming ---- */

static struct blame *find_blame(const struct cause *k, const char *key)
{
    for (size_t i = 0; i < k->blames; i++) {
        if (is(k->blame[i].key, key))
            return &k->blame[i];
    }
    return NULL;
}

/* Takes key and sentence: the latter stands for all policies with this cause. */
static void add_blame(struct cause *k, char *key, const char *label, char *sentence)
{
    struct blame *known = find_blame(k, key);

    if (known == NULL) {
        k->blame = mem_grow(k->blame, k->blames, sizeof *k->blame);
        k->blame[k->blames++] = (struct blame){key, sentence, mem_strdup("")};
        return;
    }
    free(key);
    free(sentence);
    key = known->also;
    known->also =
        mem_format("%s%s%s", key, *key == '\0' ? "; likewise of " : ", ", label);
    free(key);
}

static void tell_blames(struct cause *k)
{
    for (size_t i = 0; i < k->blames; i++) {
        struct blame *b = &k->blame[i];

        check_add_finding(k->c, mem_format("%s%s", b->sentence, b->also));
        free(b->key);
        free(b->sentence);
        free(b->also);
    }
    free(k->blame);
}

/* ---- policies ---- */

/* The policy number i of what is predicted now; false where it was not stored. */
static bool pair_at(const struct cause *k, size_t i, struct policy_pair *p)
{
    const struct cfg_node *list = cfg_find(k->now, "policies");

    p->new = cfg_item(list, i);
    p->label = tree_text(cfg_find(p->new, "label"));
    p->old = tree_item(TREE(k->stored, "policies"), p->label);
    return p->old != NULL;
}

static size_t count_policies(const struct cause *k)
{
    const struct cfg_node *list = cfg_find(k->now, "policies");

    return list == NULL ? 0 : cfg_count(list);
}

/* "cache 'lru'": the plug-in of a slot; owned. */
static char *plugin_text(const struct policy_pair *p, const char *slot)
{
    const char *name = tree_text(TREE(p->new, "made_of", slot));

    return mem_format("%s '%.*s'", slot, (int)strcspn(name, " "), name);
}

/* Whether what it decides depends on times: copies that may be late, experts on the host
 * where that is quicker, requests that arrive. */
static bool follows_times(const struct cause *k, const struct policy_pair *p)
{
    const char *arrivals = tree_text(TREE(k->now, "config", "workload.arrivals"));
    const char *offload = tree_text(TREE(p->new, "made_of", "offload"));

    return is(tree_text(TREE(p->new, "made_of", "engine")), "event") ||
           strncmp(offload, "fiddler", strlen("fiddler")) == 0 ||
           strncmp(offload, "hybrid", strlen("hybrid")) == 0 ||
           strncmp(offload, "monde hot=best", strlen("monde hot=best")) == 0 ||
           (*arrivals != '\0' && !is(arrivals, "closed"));
}

/* ---- what policies decide ---- */

/* "loads 812, were 809", of the policy or of a layer; owned. */
static char *count_text(const struct cfg_node *old, const struct cfg_node *new,
                        const char *name)
{
    return mem_format("%s %s, were %s", name, tree_text(new), tree_text(old));
}

/* Of a layer a count is called so. */
static const char *short_name(const char *count)
{
    static const char total[] = "total_";

    return strncmp(count, total, sizeof total - 1) == 0 ? count + sizeof total - 1
                                                        : count;
}

/* "; first in layer 3 (decoder layer 5): hits 12, were 13", or "". Owned. */
static char *where(const struct cause *k, const struct policy_pair *p, const char *count)
{
    const char *name = count == NULL ? NULL : short_name(count);
    const struct cfg_node *old =
        count == NULL ? TREE(p->old, "loaded") : TREE(p->old, "layers", name);
    const struct cfg_node *new =
        count == NULL ? TREE(p->new, "loaded") : TREE(p->new, "layers", name);
    size_t first = 0;
    char *layer, *what, *text;

    if (tree_changed(old, new, &first) == 0)
        return mem_strdup("");
    layer = baseline_layer(k->now, first);
    what = count == NULL ? mem_strdup("other experts are loaded")
                         : count_text(tree_at(old, first), tree_at(new, first), name);
    text = mem_format("; first in %s: %s", layer, what);
    free(what);
    free(layer);
    return text;
}

static void blame_decision(struct cause *k, const struct policy_pair *p, size_t decision,
                           const char *count)
{
    const char *slot = policy_decisions[decision].slot;
    char *plugin = slot == NULL ? mem_strdup("") : plugin_text(p, slot);
    char *place = where(k, p, count);
    char *total = count == NULL
                      ? mem_strdup("as many loads")
                      : count_text(TREE(p->old, "counts", count),
                                   TREE(p->new, "counts", count), short_name(count));
    char *sentence =
        mem_format("%s%s (in the program): with the same trace and settings "
                   "policy %s has %s%s",
                   policy_decisions[decision].what, plugin, p->label, total, place);

    add_blame(k, mem_format("%s%s", policy_decisions[decision].what, plugin), p->label,
              sentence);
    free(total);
    free(place);
    free(plugin);
}

/* ---- what operations cost ---- */

static void blame_cost(struct cause *k, const struct policy_pair *p, const char *kind)
{
    double old[] = {policy_operation(p->old, kind, "shortest_ps"),
                    policy_operation(p->old, kind, "total_ps") /
                        policy_operation(p->old, kind, "number")};
    double new[] = {policy_operation(p->new, kind, "shortest_ps"),
                    policy_operation(p->new, kind, "total_ps") /
                        policy_operation(p->new, kind, "number")};
    char *shortest = check_change_text(new[0] / old[0] - 1.0);
    char *mean = check_change_text(new[1] / old[1] - 1.0);

    check_add_finding(
        k->c, mem_format("cost of '%s' (a coefficient in the program): with the same "
                         "machine and model %s on average (%s), %s for the shortest (%s)",
                         kind, mean, text_time(new[1] * 1e-12).text, shortest,
                         text_time(new[0] * 1e-12).text));
    free(mean);
    free(shortest);
}

/* The first policy in which operations of the kind cost otherwise says so. */
static void blame_costs(struct cause *k)
{
    for (int kind = 0; kind < OP_KINDS; kind++) {
        const char *name = op_kind_name((enum op_kind)kind);
        struct policy_pair p;

        for (size_t i = 0; i < count_policies(k); i++) {
            if (!pair_at(k, i, &p) || !policy_costs_changed(&p, name))
                continue;
            blame_cost(k, &p, name);
            k->costs = true;
            break;
        }
    }
}

/* ---- when operations run ---- */

/* "; most of it is exposed_copy, 12 ms, was 11 ms (+9.1 %)", or "". Owned. */
static char *share_text(const struct policy_pair *p)
{
    double old = 0.0, new = 0.0;
    const char *share = policy_share_changed(p, &old, &new);
    char *change, *text;

    if (share == NULL)
        return mem_strdup("");
    change = check_change_text(old > 0.0 ? new / old - 1.0 : INFINITY);
    text = mem_format("; most of it is %.*s: %s (%s)",
                      (int)(strlen(share) - strlen("total__ps")),
                      share + strlen("total_"), change, text_time(new * 1e-12).text);
    free(change);
    return text;
}

static void blame_launch(struct cause *k, const struct policy_pair *p, const char *kind)
{
    double old = policy_operation(p->old, kind, "launch_ps");
    double new = policy_operation(p->new, kind, "launch_ps");
    char *change = check_change_text(new / old - 1.0), *share = share_text(p);

    add_blame(
        k, mem_strdup("launch"), p->label,
        mem_format("cost of launches on the host (a coefficient in the program): of "
                   "'%s' %s for the quickest (%s), in policy %s%s",
                   kind, change, text_time(new * 1e-12).text, p->label, share));
    free(share);
    free(change);
}

/* With the same decisions, and operations that each take as long. */
static void blame_schedule(struct cause *k, const struct policy_pair *p)
{
    bool same = !tree_differ(cfg_find(p->old, "digest"), cfg_find(p->new, "digest"));
    const char *number = policy_number_changed(p);
    const char *launch = number == NULL && !same ? policy_launch_changed(p) : NULL;
    char *share = share_text(p), *plugin = plugin_text(p, "schedule"), *sentence;

    if (launch != NULL) {
        blame_launch(k, p, launch);
    } else if (number != NULL || !same) {
        if (number != NULL)
            sentence = mem_format(
                "%s (in the program): with the same decisions policy %s has %.0f "
                "operations '%s', were %.0f%s",
                plugin, p->label, policy_operations(p->new, number), number,
                policy_operations(p->old, number), share);
        else
            sentence = mem_format("%s, or order and overlap (in the program): the "
                                  "same operations of policy %s, each as long, run "
                                  "at other times%s",
                                  plugin, p->label, share);
        add_blame(k, mem_strdup(plugin), p->label, sentence);
    } else if (*share != '\0') {
        add_blame(
            k, mem_strdup("books"), p->label,
            mem_format("books (in the program): the same operations of policy %s at "
                       "the same times are attributed otherwise%s",
                       p->label, share));
    }
    free(share);
    free(plugin);
}

/* What is blamed already for a decision that follows times, or another decision. */
static bool is_known(struct cause *k, const struct policy_pair *p)
{
    char *cache = plugin_text(p, "cache"), *schedule = plugin_text(p, "schedule");
    char *key = mem_format("%s%s", policy_decisions[POLICY_EVICTION].what, cache);
    const char *known = find_blame(k, key) != NULL        ? key
                        : find_blame(k, schedule) != NULL ? schedule
                                                          : NULL;

    if (known != NULL)
        add_blame(k, mem_strdup(known), p->label, NULL);
    free(key);
    free(schedule);
    free(cache);
    return known != NULL;
}

static void blame_policy(struct cause *k, const struct policy_pair *p, bool follows)
{
    const char *count;
    size_t decision = policy_decision_of(p, &count);

    if (decision < POLICY_DECISIONS) {
        if (!follows || (!k->costs && !is_known(k, p)))
            blame_decision(k, p, decision, count);
    } else if (!k->costs) {
        blame_schedule(k, p);
    }
}

/* Those that follow times come last: what they decide may be an effect. */
static void blame_policies(struct cause *k)
{
    struct policy_pair p;

    for (int follows = 0; follows < 2; follows++) {
        for (size_t i = 0; i < count_policies(k); i++) {
            if (pair_at(k, i, &p) && follows_times(k, &p) == (follows == 1))
                blame_policy(k, &p, follows == 1);
        }
    }
    tell_blames(k);
}

/* ---- what comes of it ---- */

static void tell_effect(struct cause *k)
{
    double most = 0.0;
    struct policy_pair p, worst = {.label = NULL};

    for (size_t i = 0; i < count_policies(k); i++) {
        double change;

        if (!pair_at(k, i, &p))
            continue;
        change = tree_number(TREE(p.new, "times", "total_latency_ps")) /
                     tree_number(TREE(p.old, "times", "total_latency_ps")) -
                 1.0;
        if (fabs(change) > fabs(most)) {
            most = change;
            worst = p;
        }
    }
    if (worst.label != NULL)
        check_add_finding(k->c,
                          mem_format("passes of policy %s take %.2g %% %s, the largest "
                                     "change of any policy",
                                     worst.label, fabs(most) * 100.0,
                                     most > 0.0 ? "longer" : "less"));
}

static void tell_errors(struct cause *k)
{
    for (size_t i = 0; i < k->c->rows; i++) {
        const struct check_row *row = &k->c->row[i];

        if (!check_fails(row->verdict) || isnan(row->change) ||
            !(is(row->group, "accuracy") || strstr(row->group, ", errors") != NULL))
            continue;
        check_add_finding(
            k->c, mem_format("%s: predictions are further from what was measured: "
                             "%s is %.1f %%, was %.1f %%",
                             row->group, row->name, row->numbers[1] * 100.0,
                             row->numbers[0] * 100.0));
    }
}

void baseline_cause(const struct cfg_node *stored, const struct cfg_node *now,
                    struct check_case *c)
{
    struct cause k = {.stored = stored, .now = now, .c = c};
    unsigned inputs;

    if (stored == NULL)
        return;
    inputs = baseline_inputs(stored, now, c);
    k.costs = (inputs & BASELINE_COSTS) != 0;
    if ((inputs & BASELINE_ROUTING) == 0) {
        if (!k.costs)
            blame_costs(&k);
        blame_policies(&k);
    }
    tell_errors(&k);
    tell_effect(&k);
}

/* Why a baseline fails, in a sentence for each cause, from cause to effect: inputs that
 * are others; then, with the same inputs, what operations cost; what policies decide;
 * when operations run; how all that is counted.
 *
 * Each is told by what the ones before it leave alone. How long dense blocks take depends
 * on costs only; what a policy that looks at no times loads depends on its decisions
 * only; when operations run depends on the schedule once they are the same ones and each
 * takes as long. */
#include "baseline_parts.h"
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

struct pair {
    const char *label;
    const struct cfg_node *old, *new;
};

/* The policy number i of what is predicted now; false where it was not stored. */
static bool pair_at(const struct cause *k, size_t i, struct pair *p)
{
    const struct cfg_node *list = cfg_find(k->now, "policies");

    p->new = cfg_item(list, i);
    p->label = tree_text(cfg_find(p->new, "label"));
    p->old = tree_item(tree_find(k->stored, "policies", NULL), p->label);
    return p->old != NULL;
}

static size_t count_policies(const struct cause *k)
{
    const struct cfg_node *list = cfg_find(k->now, "policies");

    return list == NULL ? 0 : cfg_count(list);
}

static bool changed(const struct pair *p, const char *part, const char *key)
{
    return tree_differ(tree_find(p->old, part, key, NULL),
                       tree_find(p->new, part, key, NULL));
}

/* "cache 'lru'": the plug-in of a slot; owned. */
static char *plugin_text(const struct pair *p, const char *slot)
{
    const char *name = tree_text(tree_find(p->new, "made_of", slot, NULL));

    return mem_format("%s '%.*s'", slot, (int)strcspn(name, " "), name);
}

/* Whether what it decides depends on times: copies that may be late, experts on the host
 * where that is quicker, requests that arrive. */
static bool follows_times(const struct cause *k, const struct pair *p)
{
    const char *arrivals =
        tree_text(tree_find(k->now, "config", "workload.arrivals", NULL));
    const char *offload = tree_text(tree_find(p->new, "made_of", "offload", NULL));

    return is(tree_text(tree_find(p->new, "made_of", "engine", NULL)), "event") ||
           strncmp(offload, "fiddler", strlen("fiddler")) == 0 ||
           (*arrivals != '\0' && !is(arrivals, "closed"));
}

/* ---- what policies decide ---- */

static const struct {
    const char *what;     /* is decided otherwise */
    const char *slot;     /* ... by the plug-in of this slot, or NULL */
    const char *count[9]; /* ... if one of these is another */
} decisions[] = {
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
    {"which experts run on the host, as decided by ", "offload", {"total_host_runs"}},
};

enum { DECISIONS = sizeof decisions / sizeof *decisions, EVICTION = 4 };

/* The first of them that is another; DECISIONS: none. `count` is what tells. */
static size_t changed_decision(const struct pair *p, const char **count)
{
    size_t ignored;

    for (size_t i = 0; i < DECISIONS; i++) {
        for (const char *const *c = decisions[i].count; *c != NULL; c++) {
            if (changed(p, "counts", *c)) {
                *count = *c;
                return i;
            }
        }
    }
    *count = NULL;
    return tree_changed(tree_find(p->old, "loaded", NULL),
                        tree_find(p->new, "loaded", NULL), &ignored) > 0
               ? EVICTION
               : DECISIONS;
}

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
static char *where(const struct cause *k, const struct pair *p, const char *count)
{
    const char *name = count == NULL ? NULL : short_name(count);
    const struct cfg_node *old = count == NULL ? tree_find(p->old, "loaded", NULL)
                                               : tree_find(p->old, "layers", name, NULL);
    const struct cfg_node *new = count == NULL ? tree_find(p->new, "loaded", NULL)
                                               : tree_find(p->new, "layers", name, NULL);
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

static void blame_decision(struct cause *k, const struct pair *p, size_t decision,
                           const char *count)
{
    const char *slot = decisions[decision].slot;
    char *plugin = slot == NULL ? mem_strdup("") : plugin_text(p, slot);
    char *place = where(k, p, count);
    char *total = count == NULL ? mem_strdup("as many loads")
                                : count_text(tree_find(p->old, "counts", count, NULL),
                                             tree_find(p->new, "counts", count, NULL),
                                             short_name(count));
    char *sentence = mem_format("%s%s (in the program): with the same trace and settings "
                                "policy %s has %s%s",
                                decisions[decision].what, plugin, p->label, total, place);

    add_blame(k, mem_format("%s%s", decisions[decision].what, plugin), p->label,
              sentence);
    free(total);
    free(place);
    free(plugin);
}

/* ---- what operations cost ---- */

static double operation(const struct cfg_node *policy, const char *kind, const char *key)
{
    return tree_number(tree_find(policy, "operations", kind, key, NULL));
}

static double number_of(const struct cfg_node *policy, const char *kind)
{
    double number = operation(policy, kind, "number");

    return isnan(number) ? 0.0 : number;
}

/* Whether operations of the kind take as long whatever the cache holds. */
static bool is_apart(const char *kind)
{
    return is(kind, "dense") || is(kind, "gate") || is(kind, "head");
}

/* Whether they share a link with others, so that they may take longer beside those. */
static bool is_shared(const struct pair *p, const char *kind)
{
    bool compute = is_apart(kind) || is(kind, "experts") || is(kind, "host experts") ||
                   is(kind, "encode") || is(kind, "decode");

    return !compute &&
           is(tree_text(tree_find(p->new, "made_of", "engine", NULL)), "event");
}

/* Their costs are others if, done as often for the same decisions, they take another
 * time; where they share a link only the shortest one tells. */
static bool costs_changed(const struct pair *p, const char *kind)
{
    const char *ignored;
    double old = operation(p->old, kind, "shortest_ps");
    bool decided = changed_decision(p, &ignored) < DECISIONS;

    if (isnan(old))
        return false;
    if (decided && !is_apart(kind) && (!is(kind, "copy in") || is_shared(p, kind)))
        return false;
    if (old != operation(p->new, kind, "shortest_ps"))
        return true;
    return !decided && !is_shared(p, kind) &&
           operation(p->old, kind, "number") == operation(p->new, kind, "number") &&
           operation(p->old, kind, "total_ps") != operation(p->new, kind, "total_ps");
}

static void blame_cost(struct cause *k, const struct pair *p, const char *kind)
{
    double old[] = {operation(p->old, kind, "shortest_ps"),
                    operation(p->old, kind, "total_ps") /
                        operation(p->old, kind, "number")};
    double new[] = {operation(p->new, kind, "shortest_ps"),
                    operation(p->new, kind, "total_ps") /
                        operation(p->new, kind, "number")};
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
        struct pair p;

        for (size_t i = 0; i < count_policies(k); i++) {
            if (!pair_at(k, i, &p) || !costs_changed(&p, name))
                continue;
            blame_cost(k, &p, name);
            k->costs = true;
            break;
        }
    }
}

/* ---- when operations run ---- */

/* A kind of which there are more or fewer operations; NULL: none. */
static const char *changed_number(const struct pair *p)
{
    for (int kind = 0; kind < OP_KINDS; kind++) {
        const char *name = op_kind_name((enum op_kind)kind);

        if (tree_differ(tree_find(p->old, "operations", name, "number", NULL),
                        tree_find(p->new, "operations", name, "number", NULL)))
            return name;
    }
    return NULL;
}

/* A kind that the host launches slower or sooner after what was before; NULL: none. */
static const char *changed_launch(const struct pair *p)
{
    for (int kind = 0; kind < OP_KINDS; kind++) {
        const char *name = op_kind_name((enum op_kind)kind);
        double old = operation(p->old, name, "launch_ps");
        double new = operation(p->new, name, "launch_ps");

        if (!isnan(old) && !isnan(new) && old != new)
            return name;
    }
    return NULL;
}

/* The share of the passes' time that changed most; NULL: none did. */
static const char *most_changed_share(const struct pair *p, double *old, double *new)
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
        double a = tree_number(tree_find(p->old, "times", share[i], NULL));
        double b = tree_number(tree_find(p->new, "times", share[i], NULL));

        if (fabs(b - a) > largest) {
            largest = fabs(b - a);
            most = share[i];
            *old = a;
            *new = b;
        }
    }
    return most;
}

/* "; most of it is exposed_copy, 12 ms, was 11 ms (+9.1 %)", or "". Owned. */
static char *share_text(const struct pair *p)
{
    double old = 0.0, new = 0.0;
    const char *share = most_changed_share(p, &old, &new);
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

static void blame_launch(struct cause *k, const struct pair *p, const char *kind)
{
    double old = operation(p->old, kind, "launch_ps");
    double new = operation(p->new, kind, "launch_ps");
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
static void blame_schedule(struct cause *k, const struct pair *p)
{
    bool same = !tree_differ(cfg_find(p->old, "digest"), cfg_find(p->new, "digest"));
    const char *number = changed_number(p);
    const char *launch = number == NULL && !same ? changed_launch(p) : NULL;
    char *share = share_text(p), *plugin = plugin_text(p, "schedule"), *sentence;

    if (launch != NULL) {
        blame_launch(k, p, launch);
    } else if (number != NULL || !same) {
        if (number != NULL)
            sentence = mem_format(
                "%s (in the program): with the same decisions policy %s has %.0f "
                "operations '%s', were %.0f%s",
                plugin, p->label, number_of(p->new, number), number,
                number_of(p->old, number), share);
        else
            sentence = mem_format("%s, or order and overlap (in the program): the same "
                                  "operations of policy %s, each as long, run at other "
                                  "times%s",
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
static bool is_known(struct cause *k, const struct pair *p)
{
    char *cache = plugin_text(p, "cache"), *schedule = plugin_text(p, "schedule");
    char *key = mem_format("%s%s", decisions[EVICTION].what, cache);
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

static void blame_policy(struct cause *k, const struct pair *p, bool follows)
{
    const char *count;
    size_t decision = changed_decision(p, &count);

    if (decision < DECISIONS) {
        if (!follows || (!k->costs && !is_known(k, p)))
            blame_decision(k, p, decision, count);
    } else if (!k->costs) {
        blame_schedule(k, p);
    }
}

/* Those that follow times come last: what they decide may be an effect. */
static void blame_policies(struct cause *k)
{
    struct pair p;

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
    struct pair p, worst = {.label = NULL};

    for (size_t i = 0; i < count_policies(k); i++) {
        double change;

        if (!pair_at(k, i, &p))
            continue;
        change = tree_number(tree_find(p.new, "times", "total_latency_ps", NULL)) /
                     tree_number(tree_find(p.old, "times", "total_latency_ps", NULL)) -
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

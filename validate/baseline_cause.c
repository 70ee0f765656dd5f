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

/* What is known of a cause when the effects are looked at. */
enum input {
    INPUT_COSTS = 1 << 0,   /* machine: explains times */
    INPUT_ROUTING = 1 << 1, /* trace, settings: explains everything */
};

struct cause {
    const struct cfg_node *stored, *now;
    struct check_case *c;
    unsigned inputs; /* enum input bits: those that are others */
    bool costs;      /* operations cost otherwise with the same inputs */
};

static bool is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static bool ends(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);

    return length >= tail && is(text + length - tail, end);
}

static const char *text_of(const struct cfg_node *n)
{
    const char *text = n == NULL ? NULL : cfg_text(n);

    return text == NULL ? "" : text;
}

static double number_of(const struct cfg_node *n)
{
    return n == NULL || cfg_text(n) == NULL ? NAN : strtod(cfg_text(n), NULL);
}

static bool differs(const struct cfg_node *a, const struct cfg_node *b)
{
    return !is(text_of(a), text_of(b));
}

static const struct cfg_node *item(const struct cfg_node *list, size_t i)
{
    return list != NULL && cfg_is_list(list) && i < cfg_count(list) ? cfg_item(list, i)
                                                                    : NULL;
}

/* "(+1.0 %)" behind a space; "" where there is no such thing. Owned. */
static char *in_brackets(double before, double after)
{
    char *change = check_change_text(before > 0.0 ? after / before - 1.0 : NAN);
    char *text = *change == '\0' ? mem_strdup("") : mem_format(" (%s)", change);

    free(change);
    return text;
}

/* ---- the trace ---- */

/* Items of two lists that are others; `first` is the number of the first one. */
static size_t count_changed(const struct cfg_node *a, const struct cfg_node *b,
                            size_t *first)
{
    size_t n = b == NULL ? 0 : cfg_count(b), changed = 0;

    for (size_t i = n; i-- > 0;) {
        if (differs(item(a, i), item(b, i))) {
            changed++;
            *first = i;
        }
    }
    return changed;
}

/* "layer 3 (decoder layer 5)"; owned. */
static char *layer_text(const struct cause *k, size_t layer)
{
    return mem_format(
        "layer %zu (decoder layer %s)", layer,
        text_of(item(tree_find(k->now, "trace", "decoder_layer", NULL), layer)));
}

/* "request 17 (rows 512 to 530)"; owned. */
static char *request_text(const struct cause *k, size_t hash)
{
    const struct cfg_node *rows = tree_find(k->now, "trace", "rows_a_hash", NULL);
    double each = number_of(tree_find(k->now, "trace", "requests_a_hash", NULL));
    double first = 0.0, count = number_of(item(rows, hash));
    char *requests;

    for (size_t i = 0; i < hash; i++)
        first += number_of(item(rows, i));
    requests = each > 1.0
                   ? mem_format("one of requests %.0f to %.0f", (double)hash * each,
                                (double)(hash + 1) * each - 1.0)
                   : mem_format("request %zu", hash);
    if (count > 0.0) {
        char *longer =
            mem_format("%s (rows %.0f to %.0f)", requests, first, first + count - 1.0);

        free(requests);
        requests = longer;
    }
    return requests;
}

static void blame_routing(struct cause *k, size_t requests, size_t first_request)
{
    size_t first_layer = 0;
    size_t layers =
        count_changed(tree_find(k->stored, "trace", "layer", NULL),
                      tree_find(k->now, "trace", "layer", NULL), &first_layer);
    char *request = request_text(k, first_request), *layer = layer_text(k, first_layer);
    char *others = requests > 1 ? mem_format(", and %zu other%s", requests - 1,
                                             requests > 2 ? "s" : "")
                                : mem_strdup("");
    char *more = layers > 1
                     ? mem_format(" and %zu other%s", layers - 1, layers > 2 ? "s" : "")
                     : mem_strdup("");

    check_add_finding(k->c,
                      mem_format("trace: %s%s %s routed differently, in %s%s", request,
                                 others, requests > 1 ? "are" : "is", layer, more));
    free(more);
    free(others);
    free(layer);
    free(request);
}

static void blame_trace(struct cause *k)
{
    static const char *const shape[] = {"model",   "requests", "rows",
                                        "experts", "top_k",    NULL};
    const struct cfg_node *old = tree_find(k->stored, "trace", NULL);
    const struct cfg_node *new = tree_find(k->now, "trace", NULL);
    size_t first = 0, requests, named = k->c->findings;

    if (new == NULL || !differs(tree_find(old, "digest", NULL), cfg_find(new, "digest")))
        return;
    k->inputs |= INPUT_ROUTING;
    for (int i = 0; shape[i] != NULL; i++) {
        if (differs(tree_find(old, shape[i], NULL), cfg_find(new, shape[i])))
            check_add_finding(k->c, mem_format("trace: %s is %s, was %s", shape[i],
                                               text_of(cfg_find(new, shape[i])),
                                               text_of(tree_find(old, shape[i], NULL))));
    }
    requests =
        count_changed(tree_find(old, "request", NULL), cfg_find(new, "request"), &first);
    if (requests > 0)
        blame_routing(k, requests, first);
    else if (k->c->findings == named)
        check_add_finding(
            k->c, mem_strdup(
                      "trace: experts are the same, but not what stands beside them "
                      "(token columns, scores, predictions, passes, lengths, arrivals)"));
}

/* ---- other inputs: a row each ---- */

/* Which input the rows of a group are; 0: none. */
static unsigned input_of(const char *group)
{
    static const struct {
        const char *group;
        unsigned input;
    } inputs[] = {
        {"machine", INPUT_COSTS},
        {"model", INPUT_ROUTING | INPUT_COSTS},
        {"config", INPUT_ROUTING},
        {"files", INPUT_ROUTING},
    };

    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        if (is(group, inputs[i].group))
            return inputs[i].input;
    }
    return ends(group, ", made_of") || ends(group, ", label") ? INPUT_ROUTING : 0;
}

static char *input_sentence(const struct cause *k, const struct check_row *row)
{
    char *change = check_change_text(row->change), *what, *sentence;

    if (is(row->group, "machine") || is(row->group, "model"))
        what =
            mem_format("%s %s: %s", row->group,
                       text_of(tree_find(k->now, row->group, "name", NULL)), row->name);
    else if (ends(row->group, ", made_of"))
        what = mem_format("policy %.*s: its %s", (int)strcspn(row->group, ","),
                          row->group, row->name);
    else
        what = mem_format("%s: %s", row->group, row->name);
    sentence = mem_format(
        "%s is %s, was %s%s%s%s", what, row->after == NULL ? "not there" : row->after,
        row->before == NULL ? "not there" : row->before, *change == '\0' ? "" : " (",
        change, *change == '\0' ? "" : ")");
    free(what);
    free(change);
    return sentence;
}

static void blame_inputs(struct cause *k)
{
    enum { MOST = 12 };
    size_t named = 0, more = 0;

    for (size_t i = 0; i < k->c->rows; i++) {
        const struct check_row *row = &k->c->row[i];
        unsigned input = check_fails(row->verdict) ? input_of(row->group) : 0;
        bool follows = ends(row->group, ", made_of") && (k->inputs & INPUT_ROUTING) != 0;

        if (input == 0 || ends(row->group, ", label") || follows)
            continue;
        if (named++ < MOST)
            check_add_finding(k->c, input_sentence(k, row));
        else
            more++;
        if (!ends(row->group, ", made_of"))
            k->inputs |= input;
    }
    if (more > 0)
        check_add_finding(k->c, mem_format("... and %zu other inputs", more));
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
    p->label = text_of(cfg_find(p->new, "label"));
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
    return differs(tree_find(p->old, part, key, NULL),
                   tree_find(p->new, part, key, NULL));
}

/* Whether what it decides depends on times: copies that may be late, experts on the host
 * where that is quicker, requests that arrive. */
static bool follows_times(const struct cause *k, const struct pair *p)
{
    const char *arrivals =
        text_of(tree_find(k->now, "config", "workload.arrivals", NULL));
    const char *offload = text_of(tree_find(p->new, "made_of", "offload", NULL));

    return is(text_of(tree_find(p->new, "made_of", "engine", NULL)), "event") ||
           strncmp(offload, "fiddler", strlen("fiddler")) == 0 ||
           (*arrivals != '\0' && !is(arrivals, "closed"));
}

/* ---- what policies decide ---- */

static const struct {
    const char *what;     /* is decided otherwise */
    const char *count[9]; /* ... if one of these is another */
} decisions[] = {
    {"which rows form which pass",
     {"total_rows", "passes", "requests", "total_outputs", "prefill_rows",
      "decode_rows"}},
    {"which experts its gate runs",
     {"total_activations", "total_accesses", "total_dropped"}},
    {"what is loaded early",
     {"total_prefetches", "total_prefetch_bytes", "total_prefetch_used"}},
    {"which experts its cache evicts and keeps (the eviction order)",
     {"total_hits", "total_loads", "total_bypasses", "total_demand_bytes",
      "total_wasted_bytes", "total_out_bytes"}},
    {"which experts run on the host", {"total_host_runs"}},
    {"which GPU computes what",
     {"total_computed_rows", "total_busiest_rows", "total_sent_rows", "total_sent_bytes",
      "total_migrations", "total_migrated_bytes"}},
};

enum { DECISIONS = sizeof decisions / sizeof *decisions, EVICTION = 3 };

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
    return count_changed(tree_find(p->old, "loaded", NULL),
                         tree_find(p->new, "loaded", NULL), &ignored) > 0
               ? EVICTION
               : DECISIONS;
}

/* "loads 812, were 809", of the policy or of a layer; owned. */
static char *count_text(const struct cfg_node *old, const struct cfg_node *new,
                        const char *name)
{
    return mem_format("%s %s, were %s", name, text_of(new), text_of(old));
}

/* "; first in layer 3 (decoder layer 5): hits 12, were 13", or "". Owned. */
static char *where(const struct cause *k, const struct pair *p, const char *count)
{
    const char *name = count == NULL ? NULL : count + strlen("total_");
    const struct cfg_node *old = count == NULL ? tree_find(p->old, "loaded", NULL)
                                               : tree_find(p->old, "layers", name, NULL);
    const struct cfg_node *new = count == NULL ? tree_find(p->new, "loaded", NULL)
                                               : tree_find(p->new, "layers", name, NULL);
    size_t first = 0;
    char *layer, *what, *text;

    if (count_changed(old, new, &first) == 0)
        return mem_strdup("");
    layer = layer_text(k, first);
    what = count == NULL ? mem_strdup("other experts are loaded, as many as before")
                         : count_text(item(old, first), item(new, first), name);
    text = mem_format("; first in %s: %s", layer, what);
    free(what);
    free(layer);
    return text;
}

static void blame_decision(struct cause *k, const struct pair *p, size_t decision,
                           const char *count)
{
    const char *name =
        count != NULL && strncmp(count, "total_", 6) == 0 ? count + 6 : count;
    char *place = count == NULL || name != count ? where(k, p, count) : mem_strdup("");
    char *total = count == NULL
                      ? mem_strdup("with the same counts")
                      : count_text(tree_find(p->old, "counts", count, NULL),
                                   tree_find(p->new, "counts", count, NULL), name);

    check_add_finding(k->c, mem_format("policy %s: %s changed in the program: with the "
                                       "same trace and settings, %s%s",
                                       p->label, decisions[decision].what, total, place));
    free(total);
    free(place);
}

/* ---- what operations cost ---- */

static double operation(const struct cfg_node *policy, const char *kind, const char *key)
{
    return number_of(tree_find(policy, "operations", kind, key, NULL));
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

    return !compute && is(text_of(tree_find(p->new, "made_of", "engine", NULL)), "event");
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
    char *shortest = in_brackets(old[0], new[0]), *mean = in_brackets(old[1], new[1]);

    check_add_finding(
        k->c,
        mem_format(
            "cost of '%s' (a coefficient in the program): with the same machine and "
            "model the shortest takes %s, was %s%s; their mean is %s, was %s%s",
            kind, text_time(new[0] * 1e-12).text, text_time(old[0] * 1e-12).text,
            shortest, text_time(new[1] * 1e-12).text, text_time(old[1] * 1e-12).text,
            mean));
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

static bool blame_number(struct cause *k, const struct pair *p)
{
    for (int kind = 0; kind < OP_KINDS; kind++) {
        const char *name = op_kind_name((enum op_kind)kind);
        const struct cfg_node *old =
            tree_find(p->old, "operations", name, "number", NULL);
        const struct cfg_node *new =
            tree_find(p->new, "operations", name, "number", NULL);

        if (!differs(old, new))
            continue;
        check_add_finding(k->c,
                          mem_format("policy %s: its schedule changed in the program: %s "
                                     "operations '%s', were %s, with the same decisions",
                                     p->label, new == NULL ? "no" : text_of(new), name,
                                     old == NULL ? "none" : text_of(old)));
        return true;
    }
    return false;
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
        double a = number_of(tree_find(p->old, "times", share[i], NULL));
        double b = number_of(tree_find(p->new, "times", share[i], NULL));

        if (fabs(b - a) > largest) {
            largest = fabs(b - a);
            most = share[i];
            *old = a;
            *new = b;
        }
    }
    return most;
}

static void blame_schedule(struct cause *k, const struct pair *p)
{
    bool same = !differs(cfg_find(p->old, "digest"), cfg_find(p->new, "digest"));
    double old = 0.0, new = 0.0;
    const char *share = most_changed_share(p, &old, &new);
    char *text, *change;

    if (same && share == NULL)
        return;
    if (blame_number(k, p))
        return;
    change = in_brackets(old, new);
    text = share == NULL
               ? mem_strdup("")
               : mem_format("; most of it is %.*s, %s, was %s%s",
                            (int)(strlen(share) - strlen("total__ps")),
                            share + strlen("total_"), text_time(new * 1e-12).text,
                            text_time(old * 1e-12).text, change);
    check_add_finding(
        k->c, same
                  ? mem_format("policy %s: the same operations at the same times are "
                               "booked otherwise%s",
                               p->label, text)
                  : mem_format("policy %s: its schedule changed in the program (order, "
                               "overlap or launches): the same operations, each as long, "
                               "run at other times%s",
                               p->label, text));
    free(text);
    free(change);
}

static void blame_policies(struct cause *k)
{
    struct pair p;

    for (size_t i = 0; i < count_policies(k); i++) {
        const char *count;
        size_t decision;

        if (!pair_at(k, i, &p))
            continue;
        decision = changed_decision(&p, &count);
        if (decision < DECISIONS) {
            bool explained = k->costs || (k->inputs & INPUT_COSTS) != 0;

            if (!explained || !follows_times(k, &p))
                blame_decision(k, &p, decision, count);
        } else if (!k->costs && (k->inputs & INPUT_COSTS) == 0) {
            blame_schedule(k, &p);
        }
    }
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
        change = number_of(tree_find(p.new, "times", "total_latency_ps", NULL)) /
                     number_of(tree_find(p.old, "times", "total_latency_ps", NULL)) -
                 1.0;
        if (fabs(change) > fabs(most)) {
            most = change;
            worst = p;
        }
    }
    if (worst.label != NULL) {
        char *change = check_change_text(most);

        check_add_finding(k->c,
                          mem_format("in all, passes of policy %s take %s; no other "
                                     "policy changed more",
                                     worst.label, change));
        free(change);
    }
}

static void tell_errors(struct cause *k)
{
    for (size_t i = 0; i < k->c->rows; i++) {
        const struct check_row *row = &k->c->row[i];

        if (!check_fails(row->verdict) || isnan(row->change) ||
            !(is(row->group, "accuracy") || ends(row->group, ", errors")))
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

    if (stored == NULL)
        return;
    blame_trace(&k);
    blame_inputs(&k);
    if ((k.inputs & INPUT_ROUTING) == 0) {
        if ((k.inputs & INPUT_COSTS) == 0)
            blame_costs(&k);
        blame_policies(&k);
    }
    tell_errors(&k);
    tell_effect(&k);
}

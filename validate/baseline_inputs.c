/* Which inputs of a study are others than when it was stored: the trace, by request and
 * layer; machine, model, configuration, by number. */
#include "baseline_parts.h"
#include "tree_walk.h"

#include "sim/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct inputs {
    const struct cfg_node *stored, *now;
    struct check_case *c;
    unsigned changed; /* enum baseline_input bits */
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

/* ---- the trace ---- */

char *baseline_layer(const struct cfg_node *now, size_t layer)
{
    return mem_format("layer %zu (decoder layer %s)", layer,
                      tree_text(tree_at(TREE(now, "trace", "decoder_layer"), layer)));
}

/* "request 17 (rows 512 to 530)"; owned. */
static char *request_text(const struct inputs *k, size_t hash)
{
    const struct cfg_node *rows = TREE(k->now, "trace", "rows_a_hash");
    double each = tree_number(TREE(k->now, "trace", "requests_a_hash"));
    double first = 0.0, count = tree_number(tree_at(rows, hash));
    char *requests;

    for (size_t i = 0; i < hash; i++)
        first += tree_number(tree_at(rows, i));
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

static void blame_routing(struct inputs *k, size_t requests, size_t first_request)
{
    size_t first_layer = 0;
    size_t layers = tree_changed(TREE(k->stored, "trace", "layer"),
                                 TREE(k->now, "trace", "layer"), &first_layer);
    char *request = request_text(k, first_request),
         *layer = baseline_layer(k->now, first_layer);
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

static void blame_trace(struct inputs *k)
{
    static const char *const shape[] = {"model",   "requests", "rows",
                                        "experts", "top_k",    NULL};
    const struct cfg_node *old = TREE(k->stored, "trace");
    const struct cfg_node *new = TREE(k->now, "trace");
    size_t first = 0, requests, named = k->c->findings;

    if (new == NULL || !tree_differ(TREE(old, "digest"), cfg_find(new, "digest")))
        return;
    k->changed |= BASELINE_ROUTING;
    for (int i = 0; shape[i] != NULL; i++) {
        if (tree_differ(TREE(old, shape[i]), cfg_find(new, shape[i])))
            check_add_finding(k->c, mem_format("trace: %s is %s, was %s", shape[i],
                                               tree_text(cfg_find(new, shape[i])),
                                               tree_text(TREE(old, shape[i]))));
    }
    requests = tree_changed(TREE(old, "request"), cfg_find(new, "request"), &first);
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
        {"machine", BASELINE_COSTS},
        {"model", BASELINE_ROUTING | BASELINE_COSTS},
        {"config", BASELINE_ROUTING},
        {"files", BASELINE_ROUTING},
    };

    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        if (is(group, inputs[i].group))
            return inputs[i].input;
    }
    return ends(group, ", made_of") || ends(group, ", label") ? BASELINE_ROUTING : 0;
}

static char *input_sentence(const struct inputs *k, const struct check_row *row)
{
    char *change = check_change_text(row->change), *what, *sentence;

    if (is(row->group, "machine") || is(row->group, "model"))
        what = mem_format("%s %s: %s", row->group,
                          tree_text(TREE(k->now, row->group, "name")), row->name);
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

static void blame_inputs(struct inputs *k)
{
    enum { MOST = 12 };
    size_t named = 0, more = 0;

    for (size_t i = 0; i < k->c->rows; i++) {
        const struct check_row *row = &k->c->row[i];
        unsigned input = check_fails(row->verdict) ? input_of(row->group) : 0;
        bool follows =
            ends(row->group, ", made_of") && (k->changed & BASELINE_ROUTING) != 0;

        if (input == 0 || ends(row->group, ", label") || follows)
            continue;
        if (named++ < MOST)
            check_add_finding(k->c, input_sentence(k, row));
        else
            more++;
        if (!ends(row->group, ", made_of"))
            k->changed |= input;
    }
    if (more > 0)
        check_add_finding(k->c, mem_format("... and %zu other inputs", more));
}

unsigned baseline_inputs(const struct cfg_node *stored, const struct cfg_node *now,
                         struct check_case *c)
{
    struct inputs k = {.stored = stored, .now = now, .c = c};

    blame_trace(&k);
    blame_inputs(&k);
    return k.changed;
}

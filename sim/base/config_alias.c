/* Anchors, aliases and merge keys: an alias is a copy of what its anchor is, so that a
 * configuration says the same as one in which it is written out. */
#include "config_node.h"

#include "mem.h"
#include "nearest.h"

#include <stdlib.h>
#include <string.h>

static struct cfg_anchor *find(const struct cfg_anchors *a, const char *name)
{
    for (size_t i = 0; i < a->count; i++) {
        if (strcmp(a->anchor[i].name, name) == 0)
            return &a->anchor[i];
    }
    return NULL;
}

void cfg_anchor_set(struct cfg_anchors *a, const char *name, const struct cfg_node *node)
{
    struct cfg_anchor *known = find(a, name);

    if (known == NULL) {
        a->anchor = mem_grow(a->anchor, a->count, sizeof *a->anchor);
        known = &a->anchor[a->count++];
        known->name = mem_strdup(name);
    }
    known->node = node;
}

void cfg_anchors_release(struct cfg_anchors *a)
{
    for (size_t i = 0; i < a->count; i++)
        free(a->anchor[i].name);
    free(a->anchor);
}

/* The depth of a document, and so of these recursions, is bounded. */
static size_t nodes_of(const struct cfg_node *n)
{
    size_t sum = 1;

    for (size_t i = 0; i < n->count; i++)
        sum += nodes_of(n->items[i]);
    return sum;
}

static size_t height_of(const struct cfg_node *n)
{
    size_t most = 0;

    for (size_t i = 0; i < n->count; i++) {
        size_t height = height_of(n->items[i]);

        most = height > most ? height : most;
    }
    return most + (n->kind != CFG_SCALAR);
}

static int unknown(const struct cfg_anchors *a, const char *name, struct cfg_place place,
                   struct err *e)
{
    struct nearest near = nearest_to(name);

    for (size_t i = 0; i < a->count; i++)
        nearest_try(&near, a->anchor[i].name);
    return cfg_error_at(place, e, "no anchor '&%s' stands before alias '*%s'%s",
                        cfg_show(name, 48).text, cfg_show(name, 48).text,
                        nearest_hint(&near).text);
}

struct cfg_node *cfg_alias(struct cfg_anchors *a, struct cfg *c, const char *name,
                           const struct cfg_node *open, size_t depth,
                           struct cfg_place place, struct err *e)
{
    const struct cfg_anchor *known = find(a, name);
    size_t nodes;

    if (known == NULL) {
        (void)unknown(a, name, place, e);
        return NULL;
    }
    for (; open != NULL; open = open->parent) {
        if (open != known->node)
            continue;
        (void)cfg_error_at(place, e,
                           "alias '*%s' stands inside what '&%s' is, and has no end; "
                           "write the value out",
                           cfg_show(name, 48).text, cfg_show(name, 48).text);
        return NULL;
    }
    nodes = nodes_of(known->node);
    if (nodes > CFG_ALIASED_MAX - a->copied || nodes > CFG_VALUES_MAX - c->values) {
        (void)cfg_error_at(place, e,
                           "aliases stand for more than %zu values; use fewer of them",
                           CFG_ALIASED_MAX);
        return NULL;
    }
    if (depth + height_of(known->node) > CFG_DEPTH_MAX) {
        (void)cfg_error_at(place, e,
                           "alias '*%s' makes values nested deeper than %zu levels",
                           cfg_show(name, 48).text, CFG_DEPTH_MAX);
        return NULL;
    }
    a->copied += nodes;
    return cfg_node_copy(c, known->node->place.source, known->node);
}

/* ---- merge keys ---- */

/* A key that a mapping has itself, or would get; what comes first is taken. */
struct candidate {
    struct cfg_node *node;
    size_t order;
    bool dropped;
};

struct candidates {
    struct candidate *item;
    size_t count;
};

static void add_candidate(struct candidates *all, struct cfg_node *node)
{
    all->item = mem_grow(all->item, all->count, sizeof *all->item);
    all->item[all->count] = (struct candidate){.node = node, .order = all->count};
    all->count++;
}

static int add_candidates(struct candidates *all, const struct cfg_node *from,
                          struct err *e)
{
    if (from->kind != CFG_MAP)
        return cfg_error(from, e,
                         "'<<' takes the keys of other mappings; give it an alias of "
                         "one, such as *base, or a list of them");
    for (size_t i = 0; i < from->count; i++)
        add_candidate(all, from->items[i]);
    return 0;
}

static int by_key(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    int order = strcmp(x->node->key, y->node->key);

    return order != 0 ? order : x->order < y->order ? -1 : x->order > y->order;
}

static int by_order(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    return x->order < y->order ? -1 : x->order > y->order;
}

/* Sorting keeps a mapping of many keys cheap. */
static void drop_repeated(struct candidates *all)
{
    if (all->item == NULL) /* not one */
        return;
    qsort(all->item, all->count, sizeof *all->item, by_key);
    for (size_t i = 1; i < all->count; i++)
        all->item[i].dropped =
            strcmp(all->item[i - 1].node->key, all->item[i].node->key) == 0;
    qsort(all->item, all->count, sizeof *all->item, by_order);
}

/* The mapping anew: its `own` keys, which come first, with the others where "<<" was. */
static void rebuild(struct cfg_node *map, const struct candidates *all, size_t own,
                    size_t at)
{
    map->count = 0;
    for (size_t i = 0; i <= own; i++) {
        for (size_t k = own; i == at && k < all->count; k++) {
            if (!all->item[k].dropped)
                cfg_node_add(map, all->item[k].node);
        }
        if (i < own)
            cfg_node_add(map, all->item[i].node);
    }
}

int cfg_merge(struct cfg_node *map, struct err *e)
{
    struct candidates all = {.item = NULL};
    const struct cfg_node *from = NULL;
    size_t own;
    int status = 0;

    for (size_t i = 0; i < map->count && from == NULL; i++)
        from = map->items[i]->merges ? map->items[i] : NULL;
    if (from == NULL)
        return 0;
    for (size_t i = 0; i < map->count; i++)
        if (map->items[i] != from)
            add_candidate(&all, map->items[i]);
    own = all.count;
    if (from->kind != CFG_LIST)
        status = add_candidates(&all, from, e);
    for (size_t i = 0; from->kind == CFG_LIST && i < from->count && status == 0; i++)
        status = add_candidates(&all, from->items[i], e);
    if (status == 0) {
        drop_repeated(&all);
        rebuild(map, &all, own, from->index);
    }
    free(all.item);
    return status;
}

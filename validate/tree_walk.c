#include "tree_walk.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct walk {
    struct tree_path path;
    tree_visit *visit;
    void *context;
};

static const char *label_of(const struct cfg_node *n)
{
    const struct cfg_node *label = cfg_find(n, "label");

    return label == NULL ? NULL : cfg_text(label);
}

const struct cfg_node *tree_item(const struct cfg_node *list, const char *label)
{
    for (size_t i = 0; list != NULL && cfg_is_list(list) && i < cfg_count(list); i++) {
        const char *own = label_of(cfg_item(list, i));

        if (own != NULL && strcmp(own, label) == 0)
            return cfg_item(list, i);
    }
    return NULL;
}

const struct cfg_node *tree_find(const struct cfg_node *n, const char *const *names)
{
    for (; n != NULL && *names != NULL; names++)
        n = cfg_is_list(n) ? tree_item(n, *names) : cfg_find(n, *names);
    return n;
}

const struct cfg_node *tree_at(const struct cfg_node *list, size_t i)
{
    return list != NULL && cfg_is_list(list) && i < cfg_count(list) ? cfg_item(list, i)
                                                                    : NULL;
}

const char *tree_text(const struct cfg_node *n)
{
    const char *text = n == NULL ? NULL : cfg_text(n);

    return text == NULL ? "" : text;
}

double tree_number(const struct cfg_node *n)
{
    return n == NULL || cfg_text(n) == NULL ? NAN : strtod(cfg_text(n), NULL);
}

bool tree_differ(const struct cfg_node *a, const struct cfg_node *b)
{
    return strcmp(tree_text(a), tree_text(b)) != 0;
}

size_t tree_changed(const struct cfg_node *a, const struct cfg_node *b, size_t *first)
{
    size_t changed = 0;

    for (size_t i = b == NULL ? 0 : cfg_count(b); i-- > 0;) {
        if (tree_differ(tree_at(a, i), tree_at(b, i))) {
            changed++;
            *first = i;
        }
    }
    return changed;
}

/* ---- side by side ---- */

static void walk(struct walk *w, const struct cfg_node *before,
                 const struct cfg_node *after);

/* The item that goes with item i of `of`; NULL: there is none. */
static const struct cfg_node *partner(const struct cfg_node *of, size_t i,
                                      const struct cfg_node *other)
{
    const char *label;

    if (other == NULL || cfg_is_map(of) != cfg_is_map(other))
        return NULL;
    if (cfg_is_map(of))
        return cfg_find(other, cfg_key(of, i));
    label = label_of(cfg_item(of, i));
    if (label != NULL)
        return tree_item(other, label);
    return cfg_is_list(other) && i < cfg_count(other) ? cfg_item(other, i) : NULL;
}

/* Walks the items of `of`; with `alone` those only that have no partner. */
static void walk_items(struct walk *w, const struct cfg_node *of,
                       const struct cfg_node *other, bool is_after, bool alone)
{
    size_t depth = w->path.parts;

    for (size_t i = 0; of != NULL && i < cfg_count(of) && depth < TREE_DEPTH; i++) {
        const struct cfg_node *item = cfg_item(of, i), *with = partner(of, i, other);
        const char *name = cfg_is_map(of) ? cfg_key(of, i) : label_of(item);
        char number[24];

        if (alone && with != NULL)
            continue;
        (void)snprintf(number, sizeof number, "%zu", i);
        w->path.part[depth] = name == NULL ? number : name;
        w->path.parts = depth + 1;
        walk(w, is_after ? with : item, is_after ? item : with);
        w->path.parts = depth;
    }
}

/* The depth of a document, and so of this recursion, is bounded. */
static void walk(struct walk *w, const struct cfg_node *before,
                 const struct cfg_node *after)
{
    const char *old = before == NULL ? NULL : cfg_text(before);
    const char *new = after == NULL ? NULL : cfg_text(after);

    if (old != NULL || new != NULL)
        w->visit(w->context, &w->path, old, new);
    walk_items(w, after, before, true, false);
    walk_items(w, before, after, false, true);
}

void tree_walk(const struct cfg_node *before, const struct cfg_node *after,
               tree_visit *visit, void *context)
{
    struct walk w = {.visit = visit, .context = context};

    walk(&w, before, after);
}

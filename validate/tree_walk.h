/* Two documents side by side, value by value: mappings by key, lists by number, lists of
 * mappings with a key `label` by that. */
#ifndef MOESIM_VALIDATE_TREE_WALK_H
#define MOESIM_VALIDATE_TREE_WALK_H

#include "sim/base/config.h"

#include <stddef.h>

enum { TREE_DEPTH = 32 };

/* Keys, labels and numbers on the way to a value; borrowed from the documents. */
struct tree_path {
    const char *part[TREE_DEPTH];
    size_t parts;
};

/* The texts of one value; NULL where a document does not have it. Where one has a single
 * value and the other a list or mapping, the latter's values are told one by one. */
typedef void tree_visit(void *context, const struct tree_path *path, const char *before,
                        const char *after);

/* Tells every value of either (both may be NULL): those of `after` in its order, each
 * mapping or list followed by what only `before` has there. */
void tree_walk(const struct cfg_node *before, const struct cfg_node *after,
               tree_visit *visit, void *context);

/* The value at keys and labels below `n`, each below the one before: TREE(n, "policies",
 * "lru", "digest"). NULL if there is none, or `n` is NULL. */
#define TREE(n, ...) tree_find(n, (const char *const[]){__VA_ARGS__, NULL})
const struct cfg_node *tree_find(const struct cfg_node *n, const char *const *names);
/* The item of a list whose `label` it is, or NULL. */
const struct cfg_node *tree_item(const struct cfg_node *list, const char *label);
/* Item i of a list; NULL if there is none. */
const struct cfg_node *tree_at(const struct cfg_node *list, size_t i);
/* The text of a value ("") and the number in it (NaN); of NULL too. */
const char *tree_text(const struct cfg_node *n);
double tree_number(const struct cfg_node *n);
/* Whether two values are others. */
bool tree_differ(const struct cfg_node *a, const struct cfg_node *b);
/* How many items of list `b` are others than those of `a`; `first` is the number of the
 * first one, if any is. */
size_t tree_changed(const struct cfg_node *a, const struct cfg_node *b, size_t *first);

#endif

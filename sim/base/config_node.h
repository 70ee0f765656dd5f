/* The tree behind config.h. Shared by the config*.c files only; everybody else sees
 * `struct cfg_node` as opaque.
 *
 * A document owns every node it ever had, also those an override replaced, until
 * cfg_free(): strings and nodes that were handed out stay valid. Limits that keep any
 * input harmless: 16 MiB of text, CFG_DEPTH_MAX levels, CFG_VALUES_MAX nodes, of which
 * aliases give CFG_ALIASED_MAX, keys of CFG_KEY_MAX bytes (so that a dumped key is always
 * a simple key for libyaml). */
#ifndef MOESIM_BASE_CONFIG_NODE_H
#define MOESIM_BASE_CONFIG_NODE_H

#include "config.h"

#include <stdarg.h>

#define CFG_SIZE_MAX ((size_t)16 << 20)
#define CFG_DEPTH_MAX ((size_t)32)
#define CFG_VALUES_MAX ((size_t)1000000)
#define CFG_ALIASED_MAX ((size_t)100000)
#define CFG_KEY_MAX ((size_t)128)

enum cfg_kind { CFG_SCALAR, CFG_LIST, CFG_MAP };

/* Where something was written. Line and column count from 1; line 0: no position, as
 * for `--set`. `source` is owned by the document. */
struct cfg_place {
    const char *source;
    int line, column;
};

struct cfg_node {
    enum cfg_kind kind;
    bool quoted;             /* scalars: written in quotes or as a block of text */
    bool merges;             /* in a mapping: its key is a plain "<<" */
    struct cfg_place place;  /* of the value */
    struct cfg_place keyed;  /* of the key, for values in a mapping */
    struct cfg_node *parent; /* NULL for the root */
    struct cfg_node *older;  /* the document's list of all nodes */
    char *key;               /* owned; NULL unless the parent is a mapping */
    char *text;              /* owned; scalars only */
    struct cfg_node **items;
    size_t count, room;
    size_t index; /* among the parent's items */
};

struct cfg {
    struct cfg_node *root;
    struct cfg_node *newest; /* head of the list of all nodes */
    size_t values;           /* nodes made */
    char **sources;
    size_t source_count;
};

/* Keeps a copy of `source` for as long as the document lives; returns that copy. NULL
 * stays NULL. */
const char *cfg_keep_source(struct cfg *c, const char *source);
struct cfg_node *cfg_node_new(struct cfg *c, enum cfg_kind kind, struct cfg_place place);
/* Appends `child` to a list or mapping; for a mapping `child->key` is set already. */
void cfg_node_add(struct cfg_node *parent, struct cfg_node *child);
/* With all below it; its key is the caller's to set. */
struct cfg_node *cfg_node_copy(struct cfg *c, const char *source,
                               const struct cfg_node *from);
/* A plain scalar that stands for nothing: empty, `~` or `null`. */
bool cfg_is_null(const struct cfg_node *n);

/* ---- anchors, aliases and merge keys (config_alias.c) ---- */

/* What anchors of one text stand for; begins as {0}. */
struct cfg_anchors {
    struct cfg_anchor {
        char *name;
        const struct cfg_node *node;
    } * anchor;
    size_t count, copied; /* nodes that aliases gave */
};
/* From here on `name` is the node. */
void cfg_anchor_set(struct cfg_anchors *a, const char *name, const struct cfg_node *node);
/* A copy of what `name` is, to stand below `open` (NULL: at the root) `depth` levels
 * deep, or NULL. It has the places of what it is a copy of. */
struct cfg_node *cfg_alias(struct cfg_anchors *a, struct cfg *c, const char *name,
                           const struct cfg_node *open, size_t depth,
                           struct cfg_place place, struct err *e);
void cfg_anchors_release(struct cfg_anchors *a);
/* Puts the keys of what "<<" merges in its place, but for those that the mapping has
 * itself. 0 or -1. */
int cfg_merge(struct cfg_node *map, struct err *e);

/* Parses one YAML value that sits `depth` levels below the root; borrows `text`. Nodes
 * get positions only if `located`. Text without any value gives a null scalar. */
struct cfg_node *cfg_read(struct cfg *c, const char *source, bool located,
                          const char *text, size_t size, size_t depth, struct err *e);

/* "file:line:column: " + sentence, control characters shown as '?'. The first returns -1.
 */
int cfg_error_at(struct cfg_place place, struct err *e, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void cfg_verror_at(struct cfg_place place, struct err *e, const char *format,
                   va_list args) __attribute__((format(printf, 3, 0)));

/* A short piece of text for a message, by value so that it needs no freeing. */
struct cfg_words {
    char text[208];
};

/* `text`, cut at `limit` bytes (at most 200) between characters. */
struct cfg_words cfg_show(const char *text, size_t limit);
/* " in cache.levels.0", or "" for the root. */
struct cfg_words cfg_show_path(const struct cfg_node *n);

/* What an option accepts, such as "an integer from 1 to 65536". */
struct cfg_words cfg_expected(const struct option *o);
/* Parses and checks `text` by `o` (any type that is not left to the caller) and stores it
 * in the member of `target` that `o` names. False: it is not what `o` expects. */
bool cfg_store(const char *text, const struct option *o, void *target);
/* The place of `text` among the option's choices, or -1. */
int cfg_choice(const char *text, const struct option *o);

#endif

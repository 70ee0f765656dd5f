/* Configuration: YAML with a strict schema.
 *
 * A `struct option` table is the one place where a set of parameters is declared: it
 * parses, gives defaults, checks ranges, prints help and documents. cfg_bind() fills a
 * plain struct from a YAML mapping by such a table. An unknown key, a wrong type or a
 * value out of range gives one sentence with file, line, column and what was expected.
 * The document owns every string that binding hands out; keep it while they are used. */
#ifndef MOESIM_BASE_CONFIG_H
#define MOESIM_BASE_CONFIG_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct cfg;      /* one parsed document */
struct cfg_node; /* a scalar, sequence or mapping in it; borrowed from the document */

enum opt_type {
    OPT_INT, /* int64_t; plain decimal, or 1e6 when exact; or one of `choices`, of which
                the first is -1, the next -2 and so on */
    OPT_DOUBLE, /* double, finite */
    OPT_BOOL,   /* bool: true|false|yes|no|on|off */
    OPT_STRING, /* const char * */
    OPT_CHOICE, /* int: index into `choices`; where these begin with no and yes, the
                   other words of OPT_BOOL are as good as these */
    OPT_BYTES,  /* uint64_t: number with unit B KiB MiB GiB TiB kB MB GB TB, or 0 */
    OPT_TIME,   /* sim_time: number with unit ps ns us ms s */
    OPT_PART,   /* struct cfg_part: as OPT_BYTES, or a share of a whole, "80 %" */
    OPT_NODE,   /* const struct cfg_node *: left to the caller */
    OPT_NAMED,  /* the same, where a name is usual and a mapping says more */
};

/* A part of a whole that whoever asks for it knows. */
struct cfg_part {
    uint64_t bytes;
    double percent; /* above 0 and up to 100: of the whole, and bytes are 0; or 0 */
};

/* One parameter. `min` and `max` bound the numeric types (both 0: no bound), without
 * words and shares; OPT_BYTES, OPT_PART and OPT_TIME bound in bytes and seconds. `def` is
 * the default as it would be written in YAML, or NULL: the key is required. For OPT_NODE
 * and OPT_NAMED "" means absent is NULL; for OPT_STRING the default "" is the empty
 * string. A table ends with {.name = NULL}. */
struct option {
    const char *name;
    enum opt_type type;
    size_t offset;
    const char *def;
    double min, max;
    const char *const *choices; /* OPT_CHOICE, OPT_INT with words: NULL-terminated */
    const char *help;           /* one line, with unit and source where it has one */
};

struct cfg *cfg_load(const char *path, struct err *e);
/* `name` stands for the file in messages. `text` is copied. */
struct cfg *cfg_parse(const char *name, const char *text, size_t size, struct err *e);
/* A document of its own that holds a copy of `n`, places for messages included. */
struct cfg *cfg_copy(const struct cfg_node *n);
void cfg_free(struct cfg *c);

/* An empty mapping that was written nowhere, to be filled with cfg_set(). Owned. */
struct cfg *cfg_new(void);
/* Puts `value`, parsed as YAML, under `path`, "a.b.0.c". `source`, such as "--batch 4",
 * stands before sentences about it; NULL: nothing does. 0 or -1. */
int cfg_set(struct cfg *c, const char *source, const char *path, const char *value,
            struct err *e);

/* Applies "a.b.0.c=value": replaces or adds one scalar (sequence items by index; a key
 * that is itself written with dots, "b.0.c" of a, is found, too). The
 * value is parsed as YAML, so lists and mappings in flow style work too. */
int cfg_override(struct cfg *c, const char *assignment, struct err *e);

/* Puts a copy of `value`, or a scalar, under "a.b.0.c", as cfg_override() does. In
 * messages it stands where it was written: its key where `key` has its key, a text where
 * `key` has its value. Both may be another document's. 0 or -1. */
int cfg_put(struct cfg *c, const char *path, const struct cfg_node *key,
            const struct cfg_node *value, struct err *e);
int cfg_put_text(struct cfg *c, const char *path, const struct cfg_node *key,
                 const char *text, struct err *e);
/* Makes a scalar under "a.b.0.c" the mapping {below: scalar}, so that more can be put
 * beside it. Anything else stays as it is. */
void cfg_nest(struct cfg *c, const char *path, const char *below);
/* Takes what stands under "a.b.0.c" away, if it is there. */
void cfg_remove(struct cfg *c, const char *path);
/* Leaves only item i of a list under a key of the root, if there is one. */
void cfg_keep_item(struct cfg *c, const char *key, size_t i);
/* Puts copies behind an item of a list, "a.b.0", so that there are `count` of it, at
 * least 1. */
void cfg_repeat(struct cfg *c, const char *path, size_t count);
/* What stands under "a.b.0.c" below `n`, or NULL. */
const struct cfg_node *cfg_find_path(const struct cfg_node *n, const char *path);

/* Replaces the text of scalar `n` of `c`, which keeps its place for messages. */
void cfg_set_text(struct cfg *c, const struct cfg_node *n, const char *text);

const struct cfg_node *cfg_root(const struct cfg *c);
bool cfg_is_map(const struct cfg_node *n);
bool cfg_is_list(const struct cfg_node *n);
bool cfg_is_scalar(const struct cfg_node *n);
/* Number of items of a list or mapping; 0 for a scalar. */
size_t cfg_count(const struct cfg_node *n);
const struct cfg_node *cfg_item(const struct cfg_node *n, size_t i);
/* i-th key of a mapping; NULL otherwise. */
const char *cfg_key(const struct cfg_node *n, size_t i);
/* Value under `key`, or NULL. */
const struct cfg_node *cfg_find(const struct cfg_node *n, const char *key);
/* The scalar's text; NULL if it is not a scalar. */
const char *cfg_text(const struct cfg_node *n);

/* Writes "file:line:column: " + sentence into `e`; returns -1. */
int cfg_error(const struct cfg_node *n, struct err *e, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Whether the sentence is about the key of `n`, by its place. */
bool cfg_blames_key(const struct cfg_node *n, const struct err *e);

/* Puts a place before a sentence that has none in this document: that of the value which
 * err_key(), or else `key` (NULL: n itself), names below `n`, or of the nearest to it
 * that is written there. For whoever holds the document and calls what knows only
 * numbers. Returns -1. */
int cfg_locate(const struct cfg_node *n, const char *key, struct err *e);

/* Fills `target` from mapping `n` (NULL: all defaults). 0 or -1. */
int cfg_bind(const struct cfg_node *n, const struct option *table, void *target,
             struct err *e);
/* One scalar node by one option, as cfg_bind would. For the items of a list. */
int cfg_bind_value(const struct cfg_node *n, const struct option *o, void *target,
                   struct err *e);
/* One scalar by one option, as cfg_bind would. For numbers given on a command line. An
 * OPT_STRING borrows `text`. */
int cfg_parse_value(const char *text, const struct option *o, void *target,
                    struct err *e);
/* Prints the table as help, one option per line, indented by `indent`. */
void cfg_help(const struct option *table, int indent, FILE *out);

/* What a bound struct holds, "slots=16 scope=layer": for provenance. Owned. */
char *cfg_describe(const struct option *table, const void *target);

/* Emits the document (overrides applied) as YAML for the provenance record. Owned. */
char *cfg_dump(const struct cfg *c);

#endif

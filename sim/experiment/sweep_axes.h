/* Keys of a configuration and the values that each may take, as `sweep:` and `tune:
 * {over:
 * ...}` have them (sweep_points.h shows how they are written).
 *
 * A key is one of the configuration, of its machine or model, or else one of every
 * policy. What holds another key ("cache" holds "cache.slots") is put first, wherever it
 * stands; a key for all policies and the same one for one of them exclude each other. */
#ifndef MOESIM_EXPERIMENT_SWEEP_AXES_H
#define MOESIM_EXPERIMENT_SWEEP_AXES_H

#include "sim/base/config.h"

struct sweep_axes; /* opaque, owned by the caller */

/* One value of a key: the index-th of them, or where there is any number of a range, the
 * one at u of [0, 1). */
struct sweep_value {
    size_t index;
    double u;
};

enum sweep_axes_use {
    AXES_GRID,    /* every range has to say which numbers it stands for */
    AXES_DRAWN,   /* without that it stands for any of its numbers */
    AXES_SEARCHED /* ... and one of a few whole numbers for all of them */
};

/* Reads the keys of a mapping that is called `name` in sentences, but for the key `but`
 * (NULL: all). They are the study's, which may be another document
 * (NULL: only sweep_axes_put() puts them anywhere). Borrows all. Owned,
 * or NULL. */
struct sweep_axes *sweep_axes_new(const struct cfg *study, const struct cfg_node *map,
                                  const char *name, const char *but,
                                  enum sweep_axes_use use, struct err *e);
void sweep_axes_free(struct sweep_axes *s);

size_t sweep_axes_count(const struct sweep_axes *s);
const char *sweep_axes_key(const struct sweep_axes *s, size_t k);
/* How many values key k has; 0: any number of a range. */
size_t sweep_axes_values(const struct sweep_axes *s, size_t k);
/* Whether the values of key k are numbers, which have a place on a line; names have none.
 */
bool sweep_axes_ordered(const struct sweep_axes *s, size_t k);
/* That place, from 0 to 1: of a range by size or, with log2 or log10, by logarithm; of a
 * list by rank. */
double sweep_axes_place(const struct sweep_axes *s, size_t k, struct sweep_value v);
/* The value at u of [0, 1), where u is even over its values, or over logarithms. */
struct sweep_value sweep_axes_at(const struct sweep_axes *s, size_t k, double u);
/* Such a u of a value. */
double sweep_axes_unit(const struct sweep_axes *s, size_t k, struct sweep_value v);
/* A value as it would be written in one line. Owned. */
char *sweep_axes_text(const struct sweep_axes *s, size_t k, struct sweep_value v);
/* The study with a value [keys] put under each key, without `sweep:` and `tune:`. A fault
 * in it stands where it was written in the study. Owned, or NULL. */
struct cfg *sweep_axes_config(const struct sweep_axes *s, const struct sweep_value *value,
                              struct err *e);
/* Puts a value [keys] into `c`, each under `above`, a dot and its key. 0 or -1. */
int sweep_axes_put(const struct sweep_axes *s, const struct sweep_value *value,
                   struct cfg *c, const char *above, struct err *e);
/* The mapping or value that key k stands for, for messages. */
const struct cfg_node *sweep_axes_node(const struct sweep_axes *s, size_t k);
/* Whether the sentence is about key k itself, not its values. */
bool sweep_axes_blames(const struct sweep_axes *s, size_t k, const struct err *e);

#endif

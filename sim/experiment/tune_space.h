/* The points that a search may choose among: a value for each key of `tune: {over: ...}`
 * and one of the study's policies. */
#ifndef MOESIM_EXPERIMENT_TUNE_SPACE_H
#define MOESIM_EXPERIMENT_TUNE_SPACE_H

#include "sweep_axes.h"

enum { TUNE_LISTED = 4096 }; /* spaces of at most so many points are looked at whole */

struct tune_point {
    size_t policy;
    struct sweep_value *value; /* [keys], owned */
};

struct tune_space; /* opaque, owned by the caller */

/* Borrows the study. Owned, or NULL. */
struct tune_space *tune_space_new(const struct cfg *study, const struct cfg_node *over,
                                  struct err *e);
void tune_space_free(struct tune_space *s);

const struct sweep_axes *tune_space_axes(const struct tune_space *s);
size_t tune_space_policies(const struct tune_space *s);
const char *tune_space_policy(const struct tune_space *s, size_t i);
/* The policy that alone has key k ("policies.1.cache.slots"), or -1: all have it. */
long tune_space_owner(const struct tune_space *s, size_t k);

/* How many there are; 0: more than TUNE_LISTED. Those that differ in the keys of policies
 * that they have not are one. */
size_t tune_space_count(const struct tune_space *s);

/* The i-th of a space that is counted. Owned: tune_point_release(). */
struct tune_point tune_space_point(const struct tune_space *s, size_t i);
/* The point at u [coordinates of drawing] in [0, 1). Owned. */
size_t tune_space_drawn(const struct tune_space *s);
struct tune_point tune_space_draw(const struct tune_space *s, const double *u);
/* Such a u of a point, of one coordinate. */
double tune_space_unit(const struct tune_space *s, const struct tune_point *p,
                       size_t coordinate);
/* The same point with another value of one of those coordinates. Owned. */
struct tune_point tune_space_move(const struct tune_space *s, const struct tune_point *p,
                                  size_t coordinate, double u);
struct tune_point tune_point_copy(const struct tune_space *s, const struct tune_point *p);
void tune_point_release(struct tune_point *p);
bool tune_space_same(const struct tune_space *s, const struct tune_point *a,
                     const struct tune_point *b);

/* Where a point is for a Gaussian process: places on lines, then names. */
size_t tune_space_lines(const struct tune_space *s);
size_t tune_space_names(const struct tune_space *s);
void tune_space_place(const struct tune_space *s, const struct tune_point *p, double *x);

/* The study at a point, with its policy alone. Owned, or NULL. */
struct cfg *tune_space_config(const struct tune_space *s, const struct tune_point *p,
                              struct err *e);

#endif

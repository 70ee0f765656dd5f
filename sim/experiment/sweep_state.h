/* Shared by sweep.c (which points, their folder) and sweep_work.c (the work on them). */
#ifndef MOESIM_EXPERIMENT_SWEEP_STATE_H
#define MOESIM_EXPERIMENT_SWEEP_STATE_H

#include "sweep.h"

struct place {
    uint64_t point;
    struct hash_value frame;
};

struct sweep {
    const struct cfg *study;
    const char *folder;
    const struct experiment_folders *folders;
    struct sweep_points *points;
    struct hash_value *identity; /* [points]; of a single point only its own */
    struct place *order;         /* [part] in which they are worked on */
    uint64_t part;               /* points in it */
    char **trace;                /* [traces] paths of those that are read */
    size_t traces;
    int lock;
};

/* A point's whole configuration: without a record per pass, unless the study wants it.
 * Owned, or NULL. */
struct cfg *sweep_config(const struct sweep *s, uint64_t point, struct err *e);
int sweep_by_hash(struct hash_value a, struct hash_value b);
/* A file in one go. 0 or -1. */
int sweep_write_text(const char *path, const char *text, struct err *e);

#endif

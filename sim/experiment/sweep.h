/* A sweep: the points of a study (sweep_points.h), each run once and kept as a file.
 *
 *     FOLDER/study.yaml            the study, as this sweep has it
 *     FOLDER/points/3f/3f...c2.h5  a result, named by the point's identity
 *     FOLDER/points/a0/a0...17.failed   why a point could not be run, in a sentence
 *
 * A file is there when it is whole, so that whoever is killed loses what it was at and no
 * more; what is there is not done again, what failed is tried again. Any number of
 * programs may work on one folder if their studies are the same; another study takes the
 * folder over once nobody is at work there, and finds the points that both have.
 *
 * Points whose configurations differ in nothing but policies make a *frame*: they share
 * look-aheads, profiles and the runs that bounds come from (shared.h). Work is dealt out
 * frame by frame, towards the end in smaller and smaller parts of frames, so that all
 * workers end together. */
#ifndef MOESIM_EXPERIMENT_SWEEP_H
#define MOESIM_EXPERIMENT_SWEEP_H

#include "experiment.h"
#include "sweep_points.h"
#include "sim/base/hash.h"

struct sweep; /* opaque, owned by the caller */

/* Finds the points; refuses a key that none of them knows, and what is wrong alike in
 * all. Paths in the study are absolute. Borrows all. Owned, or NULL. */
struct sweep *sweep_new(const struct cfg *study, const char *folder,
                        const struct experiment_folders *folders, struct err *e);
void sweep_free(struct sweep *s);

const struct sweep_points *sweep_get_points(const struct sweep *s);
/* The traces that its points read; borrowed paths. */
size_t sweep_traces(const struct sweep *s, const char *const **path);

/* Which of the points, in the order of work: part `shard` of `shards` (from 0). */
struct sweep_part {
    uint64_t shard, shards; /* 0 of 1: all */
    bool single;            /* only `index`, which is one of the points */
    uint64_t index;
};

/* Finds the identities of a part's points, for which it reads the traces (as experiments
 * that share `shared` do), and the order of work. Everything below wants that. 0 or -1.
 */
int sweep_identify(struct sweep *s, const struct sweep_part *part, struct shared *shared,
                   struct err *e);
uint64_t sweep_part_count(const struct sweep *s);
/* The i-th of the part, in the order of work. */
uint64_t sweep_part_point(const struct sweep *s, uint64_t i);
struct hash_text sweep_point_name(const struct sweep *s, uint64_t point);
/* Where a point's result is, or the sentence why there is none. Owned. */
char *sweep_point_file(const struct sweep *s, uint64_t point, bool failed);
bool sweep_point_done(const struct sweep *s, uint64_t point);

/* Makes the folder, or takes it over; no other study gets it before sweep_free(). 0 or
 * -1.
 */
int sweep_claim(struct sweep *s, struct err *e);

enum sweep_outcome { SWEEP_DONE, SWEEP_FAILED, SWEEP_WAS_DONE };

struct sweep_finished {
    uint64_t point;
    enum sweep_outcome outcome;
    double seconds;
    const char *why;        /* of a failure; else NULL */
    const struct result *r; /* of one that was done; else NULL */
};

struct sweep_work {
    unsigned threads;
    unsigned workers; /* programs that share the work */
    /* The next number, from 0; each once over all workers. Called by one thread at a
     * time. */
    uint64_t (*take)(void *context);
    /* Told of each point, by one thread at a time. */
    void (*finished)(void *context, const struct sweep_finished *f);
    void *context;
    struct shared *shared;
};

/* Works on the part until nothing is left to take. 0; 1 if a signal stopped it; -1: a
 * file could not be written, and the sweep should end. */
int sweep_run(struct sweep *s, const struct sweep_work *work, struct err *e);
#endif

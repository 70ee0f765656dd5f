/* What makes a point of a sweep the one it is: a hash of its configuration, of what the
 * files hold that it names (the trace's recorded values, model, machine, presets), and of
 * moesim's version. Where files are and what they are called does not count. */
#ifndef MOESIM_EXPERIMENT_SWEEP_IDENTITY_H
#define MOESIM_EXPERIMENT_SWEEP_IDENTITY_H

#include "experiment.h"
#include "sim/base/hash.h"

struct sweep_identity; /* remembers what it has read; owned by the caller */

/* Reads traces as the experiments that share `shared` (NULL: none) do. Borrows both. */
struct sweep_identity *sweep_identity_new(const struct experiment_folders *folders,
                                          struct shared *shared);
void sweep_identity_free(struct sweep_identity *s);

/* A file that cannot be read counts as empty: the run will say what is wrong. */
struct hash_value sweep_identity_of(struct sweep_identity *s, const struct cfg *point);

#endif

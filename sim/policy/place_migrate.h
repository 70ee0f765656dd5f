/* From one placement to the next: what must be copied, and how to copy less.
 *
 * A GPU fetches the experts that it shall hold and does not hold, once each: a second
 * replica on the same GPU is a copy in its own memory and not counted, nor is moving an
 * expert to another slot there. Both placements have the same layers, experts, GPUs and
 * nodes, and no shards. */
#ifndef MOESIM_POLICY_PLACE_MIGRATE_H
#define MOESIM_POLICY_PLACE_MIGRATE_H

#include "place.h"

struct place_copy {
    uint32_t layer, expert;
    uint32_t from, to; /* GPUs, never the same */
};

/* Owns its arrays. */
struct place_migration {
    struct place_copy *copy; /* by layer, expert, then receiver */
    size_t copies;
    uint64_t *in, *out;            /* [gpus] bytes that each receives and sends */
    uint64_t bytes, network_bytes; /* all; those between nodes */
};

/* `expert_bytes` has one value per layer. Each copy comes from a GPU that held the expert
 * before: one of the receiver's node if there is any; of those the one that has sent
 * least so far, then the lowest. */
void place_migration_init(struct place_migration *m, const struct place *from,
                          const struct place *to, const uint64_t *expert_bytes);
void place_migration_release(struct place_migration *m);

/* Renumbers `to` so that as much as possible stays where it is in `from`, which has as
 * many slots. A balancer numbers GPUs and slots as they come, so that two of its
 * placements can be the same but for names and still copy everything.
 *
 * Per layer: whole GPUs' contents swap places within a node, and whole nodes' contents
 * among the nodes, such that the number of copies is the least that such swaps can give
 * (assignment problems, solved exactly: O(gpus^3 / nodes)); then what stays on a GPU
 * keeps its slot there. Where nodes differ in GPUs they all count as one. Loads per GPU
 * and node, and which experts share one, are the same as before up to the order of GPUs
 * and nodes. */
void place_keep(const struct place *from, struct place *to);

#endif

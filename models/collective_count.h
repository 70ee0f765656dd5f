/* The matrices of an all-to-all, counted token by token from the rank that holds the
 * token and the ranks that hold its experts. */
#ifndef MOESIM_MODELS_COLLECTIVE_COUNT_H
#define MOESIM_MODELS_COLLECTIVE_COUNT_H

#include "topology.h"

#include <stdint.h>

/* Owns its arrays. All count rows; (source rank, ...) row by row. */
struct collective_count {
    uint32_t ranks, nodes, gpus; /* of the topology */
    uint64_t *experts;           /* (token, expert) by destination rank */
    uint64_t *distinct;          /* (token, rank) by destination rank */
    uint64_t *by_node;           /* (token, node) by destination node */
    uint64_t token; /* of how many so far; which rank and node had it last: */
    uint64_t *last_on_rank, *last_on_node;
};

void collective_count_init(struct collective_count *x, const struct topology *t);
void collective_count_release(struct collective_count *x);
/* Back to no token. */
void collective_count_reset(struct collective_count *x);
/* One token with the ranks of its experts; a rank may come several times. */
void collective_count_add(struct collective_count *x, uint32_t source,
                          const uint32_t *destination, uint32_t experts);

#endif

/* Objects by how recently they were touched, for LRU stack distances: the rank of an
 * object is the number of objects touched since, itself included, which is the smallest
 * LRU cache that still holds it (Mattson, Gecsei, Slutz, Traiger, "Evaluation techniques
 * for storage hierarchies", IBM Systems Journal 9 (1970)).
 *
 * Each touch takes the next moment of a clock and marks it in a bitmap, from which the
 * object's earlier mark goes; a Fenwick tree over the bitmap's words counts marks
 * (Bennett and Kruskal, "LRU stack processing", IBM J. Res. Dev. 19 (1975)). A clock that
 * has run out starts again with the marks moved together, so that memory does not grow
 * with the number of touches. A touch or a rank takes O(log objects). */
#ifndef MOESIM_EXPERIMENT_RECENCY_H
#define MOESIM_EXPERIMENT_RECENCY_H

#include <stdint.h>

struct recency;

/* Of objects 0 .. objects - 1, none of which is touched yet. Owned. */
struct recency *recency_new(uint32_t objects);
void recency_free(struct recency *r);
/* From 1, the one touched last; 0 for an object that never was. */
uint32_t recency_rank(const struct recency *r, uint32_t object);
void recency_touch(struct recency *r, uint32_t object);

#endif

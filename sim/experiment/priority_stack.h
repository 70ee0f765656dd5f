/* Caches of every capacity at once, where each one's residents are among the next larger
 * one's: a stack, whose first C objects are what a cache of C slots holds (Mattson et
 * al., IBM Systems Journal 9 (1970)). That is so for every algorithm whose victim is the
 * last of one order of all objects, the same for all capacities: by last use for LRU, by
 * next use for Belady. In-step protection keeps it so:
 *
 *   none    the order alone
 *   prefer  all objects of the step come before all others
 *   strict  the same; and where the first q objects are all of the step, caches of up to
 *           q slots have no victim: the object enters behind those q, and is not kept by
 *           them. It stays where it is if it is among them.
 *
 * The object enters at its place and pushes out the one that is there; from there on, the
 * later in the order of the two moves on, until the place that the object had.
 *
 * An access takes as long as the object is deep. A stack may be cut at a depth: it then
 * knows capacities up to that only. */
#ifndef MOESIM_EXPERIMENT_PRIORITY_STACK_H
#define MOESIM_EXPERIMENT_PRIORITY_STACK_H

#include "sim/policy/cache.h"

struct priority_stack;

/* Of objects 0 .. objects - 1, none of which is there yet, for capacities up to `depth`.
 * `protect` is an enum cache_protect. Owned. */
struct priority_stack *priority_stack_new(uint32_t objects, uint32_t depth, int protect);
void priority_stack_free(struct priority_stack *s);
/* A step begins and ends: these objects, plus `first`, are active in it. */
void priority_stack_begin_step(struct priority_stack *s, uint32_t first,
                               const uint32_t *active, uint32_t count);
void priority_stack_end_step(struct priority_stack *s, uint32_t first,
                             const uint32_t *active, uint32_t count);
/* Accesses an object, which from now on is `key`-th (below 2^63) in the order; no two
 * have the same one. Returns the smallest capacity at which it is a hit, 0 where it is
 * one at none. */
uint32_t priority_stack_access(struct priority_stack *s, uint32_t object, uint64_t key);
/* The same where an object that comes later in the order than all that might go for it is
 * itself not kept. Not with CACHE_PROTECT_PREFER, which then is not nested. */
uint32_t priority_stack_offer(struct priority_stack *s, uint32_t object, uint64_t key);

#endif

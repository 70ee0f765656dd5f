/* The future: for every step (pass, layer) of a run its active experts in the order in
 * which they are accessed and, for each, its next use. Oracles (Belady, perfect prefetch)
 * and bounds read it.
 *
 * It is kept in a temporary file, written pass by pass and completed by one walk from the
 * end to the start; memory does not grow with it. Several readers may be open at once. */
#ifndef MOESIM_RUN_FUTURE_H
#define MOESIM_RUN_FUTURE_H

#include "sim/base/err.h"
#include "sim/policy/view.h"

#include <stdint.h>

struct future_writer;
struct future;
struct future_reader;

struct future_writer *future_writer_new(uint32_t layers, uint32_t experts,
                                        enum cache_order order, struct err *e);
/* Steps come in order: layer 0 .. layers - 1 of pass 0, then of pass 1, ... `active` come
 * in the writer's order, for CACHE_ORDER_ID ascending. */
int future_writer_step(struct future_writer *w, const uint16_t *active, uint32_t count,
                       struct err *e);
void future_writer_free(struct future_writer *w);

/* Completes the file. Takes `w` (also on failure). Returns owned, or NULL. */
struct future *future_finish(struct future_writer *w, struct err *e);
void future_free(struct future *f);
uint64_t future_passes(const struct future *f);
/* (layer, expert) steps in which each expert is active; borrowed. */
const uint64_t *future_uses(const struct future *f);
/* [layers] accesses of the largest step; borrowed. */
const uint32_t *future_largest_steps(const struct future *f);

/* Borrows `f`. Steps are read in order, with sight of all layers of the next pass. */
struct future_reader *future_reader_new(struct future *f);
void future_reader_free(struct future_reader *r);
struct future_step {
    uint32_t count;
    const uint32_t *active;           /* [count] ids in the order of the accesses */
    const struct cache_use *next_use; /* [count] */
};
/* The step `ahead` of the current one (0: itself). count 0 past the end, or further than
 * the end of the next pass. Valid until the reader moves to another pass. */
struct future_step future_reader_peek(const struct future_reader *r, uint32_t ahead);
/* Moves to the next step; the first call moves to step 0. 0 or -1. */
int future_reader_next(struct future_reader *r, struct err *e);

/* Visits every step in order, with a reader of its own. Returns 0, -1, or what a visit
 * returned that was not 0, which ends the walk. */
typedef int future_visit(void *context, uint32_t layer, const struct future_step *step);
int future_walk(struct future *f, future_visit *visit, void *context, struct err *e);

#endif

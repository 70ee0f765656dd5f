/* For the tests of the prefetch slot: a small world of recorded routing, the view of one
 * step of it, and a plug-in at work. Choices are (pass, layer, row, rank); a step is one
 * layer of one pass, counted through. */
#ifndef MOESIM_TESTS_PREFETCH_WORLD_H
#define MOESIM_TESTS_PREFETCH_WORLD_H

#include "sim/base/rng.h"
#include "sim/policy/slots.h"

#define WORLD_EXPERTS_MAX 256

struct view_future {
    int unused;
};

struct world {
    struct view_future future; /* first: the oracle's context leads back to the world */
    uint32_t passes, layers, experts, top_k, rows;
    uint16_t *choice;     /* (pass, layer, row, rank) */
    struct view_row *row; /* (pass, row) */
    uint64_t *load;       /* (layer, expert) */
    uint32_t at;          /* step that the view shows */
    uint16_t active[WORLD_EXPERTS_MAX];
    uint32_t tokens[WORLD_EXPERTS_MAX];
    uint32_t expert[WORLD_EXPERTS_MAX]; /* what future() hands out */
    const struct cache *cache;
};

/* One request per row, all choices unset. Owned. */
struct world *world_new(uint32_t passes, uint32_t layers, uint32_t experts,
                        uint32_t top_k, uint32_t rows);
/* Sizes, routing and requests by chance; some choices are not recorded. Owned. */
struct world *world_random(struct rng *r);
void world_free(struct world *w);
/* The choices of a row in a step. */
uint16_t *world_choice(const struct world *w, uint32_t step, uint32_t row);
/* The active experts of a step, ascending; fills tokens[experts]. Returns how many. */
uint32_t world_active(const struct world *w, uint32_t step, uint16_t *active,
                      uint32_t *tokens);
/* What a policy sees in a step; borrows the world. `oracle`: with the future. */
struct view world_view(struct world *w, uint32_t step, bool oracle);
/* Adds a pass to the loads, as the runner does once it has ended. */
void world_end_pass(struct world *w, uint32_t pass);

struct prefetch_run {
    const struct prefetch_type *type;
    void *params, *state;
    struct prefetch_want *want;
    uint32_t most, count;
};

/* Binds `options` (a YAML mapping) and inits the plug-in in memory filled with `fill`. */
void prefetch_run_begin(struct prefetch_run *r, const struct world *w, const char *name,
                        const char *options, int fill);
void prefetch_run_step(struct prefetch_run *r, const struct view *v);
void prefetch_run_end(struct prefetch_run *r);
/* The wants are exactly the active experts of the step that is `ahead` of `step`. */
bool prefetch_run_exact(const struct prefetch_run *r, const struct world *w,
                        uint32_t step, uint32_t ahead);

#endif

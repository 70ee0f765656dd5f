/* When to balance again, and by which loads: a sliding window over the last passes, as
 * engines keep it.
 *
 * Counts of the running pass are added by the caller; ending a pass moves them into the
 * window and pushes out the oldest. A rebalance is due after `first` passes and then
 * every `interval` ones, whatever the window holds. */
#ifndef MOESIM_POLICY_PLACE_WINDOW_H
#define MOESIM_POLICY_PLACE_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

struct place_window_params {
    int64_t window;   /* passes */
    int64_t interval; /* passes; 0: never */
    int64_t first;    /* passes; 0: as interval */
};

struct place_window;

/* Returns owned. Memory: window * layers * experts * 4 bytes. */
struct place_window *place_window_new(const struct place_window_params *params,
                                      uint32_t layers, uint32_t experts);
void place_window_free(struct place_window *w);

/* The running pass's tokens (layer, expert), to be added to. */
uint32_t *place_window_pass(struct place_window *w);
/* Returns whether a rebalance is due now. */
bool place_window_end_pass(struct place_window *w);

/* Sums over the passes in the window: fills load (layer, expert). */
void place_window_load(const struct place_window *w, double *load);
/* The passes in the window, (pass, layer, expert), in no particular order; borrowed until
 * the next pass ends. */
const uint32_t *place_window_history(const struct place_window *w, uint32_t *passes);

#endif

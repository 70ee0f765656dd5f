/* Tasks on several threads. */
#ifndef MOESIM_BASE_POOL_H
#define MOESIM_BASE_POOL_H

#include <stddef.h>

/* Runs tasks 0 .. count - 1, begun in that order, on up to `threads` threads, the
 * caller's among them; returns when all have ended. */
void pool_run(unsigned threads, size_t count, void (*run)(void *context, size_t task),
              void *context);

#endif

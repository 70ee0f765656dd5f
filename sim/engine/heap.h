/* A 4-ary implicit min-heap of (time, sequence) keys with a 64-bit payload: the pending
 * event set. An insertion counter breaks ties, so events at one time come out in the
 * order they went in. Cache-friendly and without a bad case (unlike a calendar queue,
 * which collapses on skewed increments). */
#ifndef MOESIM_ENGINE_HEAP_H
#define MOESIM_ENGINE_HEAP_H

#include "sim/base/units.h"

#include <stddef.h>
#include <stdint.h>

struct heap_entry {
    sim_time time;
    uint64_t sequence;
    uint64_t payload;
};

struct heap {
    struct heap_entry *entry;
    size_t count, capacity;
    uint64_t sequence;
};

void heap_init(struct heap *h);
void heap_release(struct heap *h);
void heap_push(struct heap *h, sim_time time, uint64_t payload);
/* The heap is not empty. */
const struct heap_entry *heap_top(const struct heap *h);
struct heap_entry heap_pop(struct heap *h);
/* Pop and push in one sift: the "hold" operation. */
struct heap_entry heap_replace(struct heap *h, sim_time time, uint64_t payload);

#endif

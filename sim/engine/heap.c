#include "heap.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

#define ARITY 4
#define FIRST_CAPACITY 64

__extension__ typedef __int128 wide;

/* Time above sequence in one number: one comparison without a branch on ties. */
static inline wide key(const struct heap_entry *x)
{
    return (wide)x->time * ((wide)1 << 64) + x->sequence;
}

void heap_init(struct heap *h)
{
    *h = (struct heap){.entry = NULL};
}

void heap_release(struct heap *h)
{
    free(h->entry);
    heap_init(h);
}

/* Moves the hole at `i` up to where `x` belongs and puts it there. */
static void sift_up(struct heap_entry *entry, size_t i, struct heap_entry x)
{
    wide mine = key(&x);

    while (i > 0) {
        size_t parent = (i - 1) / ARITY;

        if (key(&entry[parent]) <= mine)
            break;
        entry[i] = entry[parent];
        i = parent;
    }
    entry[i] = x;
}

/* The least of the children of a node, the first of which is `child`. */
static inline size_t least_child(const struct heap_entry *entry, size_t child,
                                 size_t count)
{
    size_t best = child;
    wide least = key(&entry[child]);
    size_t end = child + ARITY < count ? child + ARITY : count;

    for (size_t c = child + 1; c < end; c++) {
        wide other = key(&entry[c]);
        bool less = other < least;

        best = less ? c : best;
        least = less ? other : least;
    }
    return best;
}

/* Fills the hole at the root with `x`. */
static void sift_down(struct heap_entry *entry, size_t count, struct heap_entry x)
{
    wide mine = key(&x);
    size_t i = 0;

    for (;;) {
        size_t child = i * ARITY + 1;

        if (child >= count)
            break;
        child = least_child(entry, child, count);
        if (mine <= key(&entry[child]))
            break;
        entry[i] = entry[child];
        i = child;
    }
    entry[i] = x;
}

void heap_push(struct heap *h, sim_time time, uint64_t payload)
{
    struct heap_entry x = {.time = time, .sequence = h->sequence++, .payload = payload};

    if (h->count == h->capacity) {
        h->capacity = h->capacity == 0 ? FIRST_CAPACITY : 2 * h->capacity;
        h->entry = mem_resize(h->entry, h->capacity, sizeof(*h->entry));
    }
    sift_up(h->entry, h->count++, x);
}

const struct heap_entry *heap_top(const struct heap *h)
{
    assert(h->count > 0);
    return h->entry;
}

struct heap_entry heap_pop(struct heap *h)
{
    struct heap_entry top;

    assert(h->count > 0);
    top = h->entry[0];
    h->count--;
    if (h->count > 0)
        sift_down(h->entry, h->count, h->entry[h->count]);
    return top;
}

struct heap_entry heap_replace(struct heap *h, sim_time time, uint64_t payload)
{
    struct heap_entry x = {.time = time, .sequence = h->sequence++, .payload = payload};
    struct heap_entry top;

    assert(h->count > 0);
    top = h->entry[0];
    sift_down(h->entry, h->count, x);
    return top;
}

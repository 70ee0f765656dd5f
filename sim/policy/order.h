/* Lists over object ids, linked by index: no allocation, O(1) insertion and removal.
 *
 * One array of links serves any number of lists as long as an object is in at most one
 * of them. Nodes 0 .. objects - 1 are the objects, the nodes after them the heads: each
 * list is a ring through its head, so neither end is a special case. By convention the
 * first is the oldest (next to go) and the last the newest. */
#ifndef MOESIM_POLICY_ORDER_H
#define MOESIM_POLICY_ORDER_H

#include <stddef.h>
#include <stdint.h>

struct order_link {
    uint32_t next, prev;
};

static inline size_t order_size(uint32_t objects, uint32_t lists)
{
    return ((size_t)objects + lists) * sizeof(struct order_link);
}

static inline void order_init(struct order_link *link, uint32_t head)
{
    link[head] = (struct order_link){.next = head, .prev = head};
}

/* The head itself when the list is empty or at its end. */
static inline uint32_t order_first(const struct order_link *link, uint32_t head)
{
    return link[head].next;
}

static inline uint32_t order_last(const struct order_link *link, uint32_t head)
{
    return link[head].prev;
}

static inline void order_insert_after(struct order_link *link, uint32_t at, uint32_t x)
{
    uint32_t next = link[at].next;

    link[x] = (struct order_link){.next = next, .prev = at};
    link[at].next = x;
    link[next].prev = x;
}

static inline void order_append(struct order_link *link, uint32_t head, uint32_t x)
{
    order_insert_after(link, link[head].prev, x);
}

static inline void order_remove(struct order_link *link, uint32_t x)
{
    uint32_t next = link[x].next, prev = link[x].prev;

    link[prev].next = next;
    link[next].prev = prev;
}

static inline void order_move_last(struct order_link *link, uint32_t head, uint32_t x)
{
    order_remove(link, x);
    order_append(link, head, x);
}

#endif

#include "collective_parts.h"

/* A group as runs of GPUs of one node: `runs` of `local` each where these are alike. */
struct group {
    const uint32_t *ranks; /* NULL: rank i is i */
    uint32_t count, runs;
    uint32_t local; /* 0: runs of several lengths */
};

static uint32_t group_rank(const struct group *x, uint32_t i)
{
    return x->ranks == NULL ? i : x->ranks[i];
}

static struct group group_of(const struct topology *t, const struct collective *c)
{
    struct group x = {c->group, c->group == NULL ? t->ranks : c->group_count, 0, 0};
    uint32_t length = 0;
    bool alike = true;

    for (uint32_t i = 0; i < x.count; i++) {
        length++;
        if (i + 1 < x.count && topology_node(t, group_rank(&x, i)) ==
                                   topology_node(t, group_rank(&x, i + 1)))
            continue;
        alike = alike && (x.runs == 0 || length == x.local);
        x.local = length;
        x.runs++;
        length = 0;
    }
    if (!alike)
        x.local = 0;
    return x;
}

/* Part i of n of a number of bytes; parts differ by one at most. */
static uint64_t part(uint64_t bytes, uint32_t i, uint32_t n)
{
    return bytes / n + (i < bytes % n ? 1 : 0);
}

/* floor(log2(n)): the hops from the root of a heap of n to its last leaf. */
static uint32_t depth(uint32_t n)
{
    uint32_t d = 0;

    while (n > 1) {
        n /= 2;
        d++;
    }
    return d;
}

static sim_time ring_alpha(const struct topology *t, const struct group *x)
{
    uint32_t hops = x->count > 0 ? x->count - 1 : 0;
    /* The longest way round leaves out a hop inside a node. */
    uint32_t far = x->runs == 1 ? 0 : x->runs < hops ? x->runs : hops;

    return far * t->far_latency + (hops - far) * t->near_latency;
}

static sim_time tree_alpha(const struct topology *t, const struct group *x)
{
    if (x->local == 0)
        return 2 * depth(x->count) * t->far_latency;
    return 2 * (depth(x->local) * t->near_latency + depth(x->runs) * t->far_latency);
}

sim_time collective_ring_alpha(const struct topology *t, const struct collective *c)
{
    struct group x = group_of(t, c);

    return c->form == COLLECTIVE_ALL_REDUCE_TREE ? tree_alpha(t, &x) : ring_alpha(t, &x);
}

/* Which member stands at position p of ring q: each ring begins its runs one further. */
static uint32_t ring_member(const struct group *x, uint32_t q, uint32_t p)
{
    if (x->local == 0 || x->runs == 1)
        return p;
    return p - p % x->local + (p % x->local + q) % x->local;
}

/* The chunk of member i. */
static uint64_t chunk(const struct collective *c, uint32_t i, uint32_t count)
{
    return c->form == COLLECTIVE_ALL_REDUCE_RING ? part(c->bytes[0], i, count)
                                                 : c->bytes[i];
}

static void ring_moves(const struct collective *c, const struct group *x, bool gather,
                       const struct collective_sink *s)
{
    uint32_t rings = x->runs > 1 && x->local > 1 ? x->local : 1;

    for (uint32_t q = 0; q < rings; q++) {
        uint64_t total = 0;

        for (uint32_t i = 0; i < x->count; i++)
            total += part(chunk(c, i, x->count), q, rings);
        for (uint32_t p = 0; p < x->count; p++) {
            uint32_t from = ring_member(x, q, p);
            uint32_t to = ring_member(x, q, p + 1 == x->count ? 0 : p + 1);
            /* Gathering, all comes by but what `to` began with; scattering, all leaves
             * but what ends at `from`. */
            uint64_t kept = part(chunk(c, gather ? to : from, x->count), q, rings);

            collective_move(s, group_rank(x, from), group_rank(x, to), total - kept);
        }
    }
}

/* Both ways of an edge of a tree. */
static void edge(const struct group *x, const struct collective_sink *s, uint32_t child,
                 uint32_t parent, uint64_t bytes)
{
    collective_move(s, group_rank(x, child), group_rank(x, parent), bytes);
    collective_move(s, group_rank(x, parent), group_rank(x, child), bytes);
}

/* Heaps: the parent of p is (p - 1) / 2. Inside each run one with member q at its root,
 * and one over these roots; the second tree numbers backward. */
static void tree_moves(const struct collective *c, const struct group *x,
                       const struct collective_sink *s)
{
    uint32_t local = x->local == 0 ? x->count : x->local;
    uint32_t runs = x->local == 0 ? 1 : x->runs;

    for (uint32_t tree = 0; tree < 2 * local; tree++) {
        uint64_t bytes = part(c->bytes[0], tree, 2 * local);
        uint32_t q = tree / 2;
        bool back = tree % 2 == 1;

        for (uint32_t run = 0; run < runs; run++) {
            for (uint32_t p = 1; p < local; p++) {
                uint32_t up = (p - 1) / 2;

                edge(x, s, run * local + (back ? q + local - p : q + p) % local,
                     run * local + (back ? q + local - up : q + up) % local, bytes);
            }
        }
        for (uint32_t p = 1; p < runs; p++) {
            uint32_t up = (p - 1) / 2;

            edge(x, s, (back ? runs - 1 - p : p) * local + q,
                 (back ? runs - 1 - up : up) * local + q, bytes);
        }
    }
}

void collective_ring_moves(const struct collective *c, uint32_t phase,
                           const struct collective_sink *s)
{
    struct group x = group_of(s->topology, c);

    if (c->form == COLLECTIVE_ALL_REDUCE_TREE)
        tree_moves(c, &x, s);
    else
        ring_moves(c, &x, c->form == COLLECTIVE_ALL_GATHER || phase == 1, s);
}

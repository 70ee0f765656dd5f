#include "flow.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#define WORD_BITS 64

void flow_init(struct flow_net *n)
{
    *n = (struct flow_net){.link = NULL};
}

void flow_release(struct flow_net *n)
{
    for (uint32_t i = 0; i < n->links; i++) {
        free(n->link[i].name);
        free(n->link[i].flow);
    }
    free(n->link);
    free(n->flow);
    free(n->dirty);
    free(n->part);
    free(n->mark);
    free(n->reach);
    free(n->changed);
    flow_init(n);
}

uint32_t flow_add_link(struct flow_net *n, const char *name, double bytes_per_s)
{
    uint32_t i = n->links++;

    assert(bytes_per_s > 0.0 && isfinite(bytes_per_s));
    n->link = mem_grow(n->link, i, sizeof(*n->link));
    n->link[i] =
        (struct flow_link){.name = mem_strdup(name), .capacity_bytes_per_s = bytes_per_s};
    n->dirty = mem_grow(n->dirty, i, sizeof(*n->dirty));
    n->part = mem_grow(n->part, i, sizeof(*n->part));
    if (i % WORD_BITS == 0) {
        n->mark = mem_resize(n->mark, i / WORD_BITS + 1, sizeof(*n->mark));
        n->mark[i / WORD_BITS] = 0;
    }
    return i;
}

uint32_t flow_add_slot(struct flow_net *n)
{
    uint32_t i = n->slots++;

    n->flow = mem_grow(n->flow, i, sizeof(*n->flow));
    n->flow[i] = (struct flow){.active = false};
    n->reach = mem_grow(n->reach, i, sizeof(*n->reach));
    n->changed = mem_grow(n->changed, i, sizeof(*n->changed));
    return i;
}

static void link_touch(struct flow_net *n, uint32_t i)
{
    if (!n->link[i].dirty) {
        n->link[i].dirty = true;
        n->dirty[n->dirties++] = i;
    }
}

static void link_join(struct flow_link *l, uint32_t slot)
{
    if (l->count == l->room) {
        l->room = l->room == 0 ? 4 : 2 * l->room;
        l->flow = mem_resize(l->flow, l->room, sizeof(*l->flow));
    }
    l->flow[l->count++] = slot;
}

static void link_leave(struct flow_link *l, uint32_t slot)
{
    uint32_t i = 0;

    while (l->flow[i] != slot)
        i++;
    l->flow[i] = l->flow[--l->count];
}

void flow_start(struct flow_net *n, uint32_t slot, const uint16_t *path,
                uint32_t path_length, uint64_t bytes, double most, sim_time now)
{
    struct flow *f = &n->flow[slot];

    assert(!f->active && bytes > 0 && path_length >= 1 && path_length <= FLOW_MAX_PATH);
    f->active = true;
    f->path_length = path_length;
    f->rate_bytes_per_s = 0.0;
    f->most_bytes_per_s = most > 0 ? most : INFINITY;
    n->limited += most > 0;
    f->remaining_bytes = (double)bytes;
    f->since = now;
    for (uint32_t i = 0; i < path_length; i++) {
        f->path[i] = path[i];
        link_join(&n->link[path[i]], slot);
        link_touch(n, path[i]);
    }
}

/* What is left at `now`; less than nothing by up to the rounding of one time. */
static double remaining(const struct flow *f, sim_time now)
{
    return f->remaining_bytes - f->rate_bytes_per_s * sim_time_seconds(now - f->since);
}

double flow_stop(struct flow_net *n, uint32_t slot, sim_time now)
{
    struct flow *f = &n->flow[slot];

    assert(f->active);
    f->active = false;
    n->limited -= f->most_bytes_per_s < INFINITY;
    for (uint32_t i = 0; i < f->path_length; i++) {
        link_leave(&n->link[f->path[i]], slot);
        link_touch(n, f->path[i]);
    }
    return remaining(f, now);
}

static bool mark_set(uint64_t *mark, uint32_t i)
{
    uint64_t bit = UINT64_C(1) << (i % WORD_BITS);
    bool fresh = (mark[i / WORD_BITS] & bit) == 0;

    mark[i / WORD_BITS] |= bit;
    return fresh;
}

/* Finds every link and flow connected to link `seed`: n->part gets the links in order of
 * their numbers, n->reach the flows. Returns the number of links. */
static uint32_t part_collect(struct flow_net *n, uint32_t seed, uint32_t *flows)
{
    uint32_t links = 1;
    uint32_t sorted = 0;

    *flows = 0;
    n->part[0] = seed;
    (void)mark_set(n->mark, seed);
    for (uint32_t i = 0; i < links; i++) {
        const struct flow_link *l = &n->link[n->part[i]];

        for (uint32_t j = 0; j < l->count; j++) {
            struct flow *f = &n->flow[l->flow[j]];

            if (f->reached)
                continue;
            f->reached = true;
            n->reach[(*flows)++] = l->flow[j];
            for (uint32_t k = 0; k < f->path_length; k++)
                if (mark_set(n->mark, f->path[k]))
                    n->part[links++] = f->path[k];
        }
    }
    for (uint32_t word = 0; sorted < links; word++) {
        while (n->mark[word] != 0) {
            n->part[sorted++] =
                word * WORD_BITS + (uint32_t)__builtin_ctzll(n->mark[word]);
            n->mark[word] &= n->mark[word] - 1;
        }
    }
    return links;
}

static void fill(struct flow_net *n, struct flow *f, double rate)
{
    f->filled = true;
    f->next_bytes_per_s = rate;
    for (uint32_t k = 0; k < f->path_length; k++) {
        n->link[f->path[k]].free_bytes_per_s -= rate;
        n->link[f->path[k]].open--;
    }
}

/* Gives every flow of link `i` that has no rate yet the rate `level`. */
static uint32_t link_fill(struct flow_net *n, uint32_t i, double level)
{
    const struct flow_link *l = &n->link[i];
    uint32_t filled = 0;

    for (uint32_t j = 0; j < l->count; j++) {
        struct flow *f = &n->flow[l->flow[j]];

        if (f->filled)
            continue;
        fill(n, f, level);
        filled++;
    }
    return filled;
}

/* The least rate of their own among the flows that have no rate yet. */
static double least_limit(const struct flow_net *n, uint32_t reached)
{
    double least = INFINITY;

    for (uint32_t i = 0; i < reached; i++) {
        const struct flow *f = &n->flow[n->reach[i]];

        if (!f->filled && f->most_bytes_per_s < least)
            least = f->most_bytes_per_s;
    }
    return least;
}

/* Gives the flows of that limit their rate. Returns how many. */
static uint32_t limit_fill(struct flow_net *n, uint32_t reached, double limit)
{
    uint32_t filled = 0;

    for (uint32_t i = 0; i < reached; i++) {
        struct flow *f = &n->flow[n->reach[i]];

        if (f->filled || f->most_bytes_per_s != limit)
            continue;
        fill(n, f, limit);
        filled++;
    }
    return filled;
}

static inline double link_share(const struct flow_link *l)
{
    return l->free_bytes_per_s / (double)l->open;
}

/* Raises all rates together; the links that are full first stop their flows, and a flow
 * that has reached the rate of its own stops itself. The level never falls, whatever
 * rounding does to the shares. A link gives away the same sequence of levels whatever the
 * order of its flows, so that order is of no account. */
static void part_fill(struct flow_net *n, uint32_t links, uint32_t flows)
{
    uint32_t reached = flows;
    double level = 0.0;

    for (uint32_t i = 0; i < links; i++) {
        struct flow_link *l = &n->link[n->part[i]];

        l->free_bytes_per_s = l->capacity_bytes_per_s;
        l->open = l->count;
        l->dirty = false;
    }
    while (flows > 0) {
        double least = INFINITY;
        double limit = n->limited > 0 ? least_limit(n, reached) : INFINITY;

        for (uint32_t i = 0; i < links; i++) {
            const struct flow_link *l = &n->link[n->part[i]];

            if (l->open > 0 && link_share(l) < least)
                least = link_share(l);
        }
        if (limit < INFINITY && limit <= (least > level ? least : level)) {
            flows -= limit_fill(n, reached, limit);
            continue;
        }
        level = least > level ? least : level;
        for (uint32_t i = 0; i < links; i++) {
            const struct flow_link *l = &n->link[n->part[i]];

            if (l->open > 0 && link_share(l) <= level)
                flows -= link_fill(n, n->part[i], level);
        }
    }
}

/* Takes over the new rates of the flows just filled. */
static uint32_t part_apply(struct flow_net *n, uint32_t flows, uint32_t changed,
                           sim_time now)
{
    for (uint32_t i = 0; i < flows; i++) {
        struct flow *f = &n->flow[n->reach[i]];

        f->reached = false;
        f->filled = false;
        if (f->next_bytes_per_s == f->rate_bytes_per_s)
            continue;
        f->remaining_bytes = fmax(remaining(f, now), 0.0);
        f->rate_bytes_per_s = f->next_bytes_per_s;
        f->since = now;
        n->changed[changed++] = n->reach[i];
    }
    return changed;
}

uint32_t flow_settle(struct flow_net *n, sim_time now)
{
    uint32_t changed = 0;

    for (uint32_t i = 0; i < n->dirties; i++) {
        uint32_t seed = n->dirty[i];
        uint32_t links;
        uint32_t flows;

        if (!n->link[seed].dirty)
            continue;
        n->link[seed].dirty = false;
        if (n->link[seed].count == 0)
            continue;
        links = part_collect(n, seed, &flows);
        part_fill(n, links, flows);
        changed = part_apply(n, flows, changed, now);
    }
    n->dirties = 0;
    return changed;
}

sim_time flow_end(const struct flow_net *n, uint32_t slot)
{
    const struct flow *f = &n->flow[slot];

    return f->since + sim_time_of_seconds(f->remaining_bytes / f->rate_bytes_per_s);
}

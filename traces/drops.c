#include "drops.h"

#include "rows_sweep.h"

#include "sim/base/mem.h"

#include <stdlib.h>

const unsigned drop_percent[DROP_LOSSES] = {1, 5, 10};

/* More masses than a few are put into buckets by their size, and only the buckets up to
 * the largest loss are put in order. */
enum { FEW = 16, BUCKETS = 64 };

struct drops {
    uint32_t layers, experts, top_k;
    struct drop_sums sums;
    uint64_t stamp;   /* of the last step and layer */
    uint64_t *seen;   /* (expert): stamp when it was last used */
    uint32_t *sum;    /* (expert): its mass, zero between steps */
    uint16_t *used;   /* [distinct + 1] of a step and layer */
    uint32_t *mass;   /* [distinct] */
    uint16_t *bucket; /* [distinct] */
    uint32_t *part;   /* [distinct] the least of them, in order */
};

struct drops *drops_new(const struct trace_info *info)
{
    struct drops *d = mem_zalloc(1, sizeof *d);

    d->layers = info->layers;
    d->experts = info->experts;
    d->top_k = info->top_k;
    d->seen = mem_zalloc(d->experts, sizeof *d->seen);
    d->sum = mem_zalloc(d->experts, sizeof *d->sum);
    d->used = mem_alloc((size_t)d->experts + 1, sizeof *d->used);
    d->mass = mem_alloc(d->experts, sizeof *d->mass);
    d->bucket = mem_alloc(d->experts, sizeof *d->bucket);
    d->part = mem_alloc(d->experts, sizeof *d->part);
    return d;
}

void drops_free(struct drops *d)
{
    if (d == NULL)
        return;
    free(d->seen);
    free(d->sum);
    free(d->used);
    free(d->mass);
    free(d->bucket);
    free(d->part);
    free(d);
}

struct drop_sums drops_take(struct drops *d)
{
    struct drop_sums sums = d->sums;

    d->sums = (struct drop_sums){0};
    return sums;
}

/* ---- the smallest masses ---- */

static void sort(uint32_t *mass, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        uint32_t x = mass[i], at = i;

        for (; at > 0 && mass[at - 1] > x; at--)
            mass[at] = mass[at - 1];
        mass[at] = x;
    }
}

/* Ascends with the mass: two buckets an octave, 2 to 61 for masses of 2 and more. */
static inline uint32_t bucket_of(uint32_t mass)
{
    uint32_t octave = 31 - (uint32_t)__builtin_clz(mass | 1);

    return mass < 2 ? mass : 2 * octave + (mass >> (octave - 1) & 1);
}

/* Few of them are dropped, so that they are picked rather than sorted. */
static void drop_few(struct drops *d, uint32_t count, const uint64_t *room)
{
    uint64_t sum = 0;
    uint32_t dropped = 0;

    for (int i = 0; i < DROP_LOSSES; i++) {
        while (dropped < count) {
            uint32_t least = 0;

            for (uint32_t j = 1; j < count; j++)
                least = d->mass[j] < d->mass[least] ? j : least;
            if (sum + d->mass[least] > room[i])
                break;
            sum += d->mass[least];
            d->mass[least] = UINT32_MAX; /* more than any room that is left */
            dropped++;
        }
        d->sums.dropped[i] += dropped;
    }
}

/* Puts the masses of buckets up to `last` in order, into d->part; returns how many. */
static uint32_t sort_up_to(struct drops *d, uint32_t count, uint32_t *held, uint32_t last)
{
    uint32_t sum = 0;

    for (uint32_t b = 0; b <= last; b++) {
        uint32_t here = held[b];

        held[b] = sum;
        sum += here;
    }
    for (uint32_t i = 0; i < count; i++)
        if (d->bucket[i] <= last)
            d->part[held[d->bucket[i]]++] = d->mass[i];
    sort(d->part, sum); /* which is short ways, within the buckets */
    return sum;
}

static void drop_many(struct drops *d, uint32_t count, const uint64_t *room)
{
    uint64_t sum[BUCKETS] = {0}, below = 0;
    uint32_t held[BUCKETS] = {0}, last = 0, i = 0;

    for (uint32_t j = 0; j < count; j++) {
        uint32_t b = bucket_of(d->mass[j]);

        d->bucket[j] = (uint16_t)b;
        sum[b] += d->mass[j];
        held[b]++;
    }
    while (last + 1 < BUCKETS && below + sum[last] <= room[DROP_LOSSES - 1])
        below += sum[last++];
    count = sort_up_to(d, count, held, last);
    below = 0;
    for (int loss = 0; loss < DROP_LOSSES; loss++) {
        while (i < count && below + d->part[i] <= room[loss])
            below += d->part[i++];
        d->sums.dropped[loss] += i;
    }
}

/* ---- a step ---- */

/* Adds the executed choices of a cell. The first to name an expert lists it. */
static inline uint32_t add_cell(struct drops *d, const uint16_t *cell,
                                const uint32_t *mass, uint32_t executed, uint32_t count)
{
    for (uint32_t i = 0; i < executed; i++) {
        uint16_t x = cell[i];

        d->used[count] = x;
        count += d->seen[x] != d->stamp;
        d->seen[x] = d->stamp;
        d->sum[x] += mass[i];
    }
    return count;
}

static uint32_t copy_cell(struct drops *d, const uint16_t *cell, const uint32_t *mass,
                          uint64_t *total)
{
    uint32_t executed = rows_executed(cell, d->top_k);

    for (uint32_t i = 0; i < executed; i++) {
        d->mass[i] = mass[i];
        *total += mass[i];
    }
    return executed;
}

/* Sums the masses of the layer's experts into d->mass; returns how many experts. */
static uint32_t gather(struct drops *d, const struct concurrent_step *s, uint32_t layer,
                       uint64_t *total)
{
    const size_t at = (size_t)layer * d->top_k;
    uint32_t count = 0;

    if (s->slots == 1) /* no expert comes twice */
        return copy_cell(d, s->expert[0] + at, s->mass[0] + at, total);
    d->stamp++;
    for (uint32_t i = 0; i < s->slots; i++) {
        const uint16_t *cell = s->expert[i] + at;
        uint32_t executed = rows_executed(cell, d->top_k);

        count = executed == 8 ? add_cell(d, cell, s->mass[i] + at, 8, count)
                              : add_cell(d, cell, s->mass[i] + at, executed, count);
    }
    for (uint32_t i = 0; i < count; i++) {
        d->mass[i] = d->sum[d->used[i]];
        *total += d->mass[i];
        d->sum[d->used[i]] = 0;
    }
    return count;
}

void drops_step(void *context, const struct concurrent_step *s)
{
    struct drops *d = context;

    for (uint32_t l = 0; l < d->layers; l++) {
        uint64_t total = 0, room[DROP_LOSSES];
        uint32_t count = gather(d, s, l, &total);

        d->sums.distinct += count;
        if (total == 0)
            continue;
        for (int i = 0; i < DROP_LOSSES; i++)
            room[i] = total * drop_percent[i] / 100;
        if (count <= FEW)
            drop_few(d, count, room);
        else
            drop_many(d, count, room);
    }
    d->sums.steps++;
}

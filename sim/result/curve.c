#include "curve.h"

#include "sim/base/knee.h"
#include "sim/base/mem.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

void curve_release(struct curve *c)
{
    for (uint32_t i = 0; c->policy != NULL && i < c->policies; i++) {
        free(c->policy[i].label);
        free(c->policy[i].slots);
        free(c->policy[i].hits);
    }
    free(c->policy);
    free(c->layer);
    free(c->row);
    free(c->trace_path);
    free(c->model);
    free(c->version);
    *c = (struct curve){.policy = NULL};
}

uint64_t curve_slots_bytes(const struct curve *c, uint32_t slots)
{
    uint64_t sum = 0, largest = 0, all = 0;

    for (uint32_t l = 0; l < c->layers; l++) {
        uint64_t bytes = c->layer[l].expert_bytes;

        sum += bytes * slots;
        all += bytes * c->experts;
        largest = bytes > largest ? bytes : largest;
    }
    if (c->global)
        sum = largest * slots;
    return sum < all ? sum : all;
}

/* ---- points ---- */

struct curve_point curve_point(const struct curve *c, const struct curve_policy *p,
                               uint32_t point, uint32_t layer)
{
    uint32_t first = layer == CURVE_ALL ? 0 : layer;
    uint32_t end = layer == CURVE_ALL ? c->layers : layer + 1;
    struct curve_point sum = {.accesses = 0};

    for (uint32_t l = first; l < end; l++) {
        const struct curve_layer *at = &c->layer[l];
        uint64_t hits = p->hits[(size_t)point * c->layers + l];

        sum.accesses += at->accesses;
        sum.hits += hits;
        sum.load_bytes += (at->accesses - hits) * at->expert_bytes;
    }
    sum.hit_rate = sum.accesses > 0 ? (double)sum.hits / (double)sum.accesses : NAN;
    return sum;
}

uint32_t curve_find(const struct curve_policy *p, uint32_t slots)
{
    uint32_t low = 0, high = p->points;

    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;

        if (p->slots[middle] <= slots)
            low = middle;
        else
            high = middle;
    }
    assert(p->slots[low] == slots);
    return low;
}

void curve_reuse(const struct curve *c, uint64_t reuse[CURVE_BUCKETS])
{
    for (int b = 0; b < CURVE_BUCKETS; b++) {
        reuse[b] = 0;
        for (uint32_t l = 0; l < c->layers; l++)
            reuse[b] += c->layer[l].reuse[b];
    }
}

uint32_t curve_buckets(const struct curve *c)
{
    uint64_t reuse[CURVE_BUCKETS];
    uint32_t count = CURVE_BUCKETS;

    curve_reuse(c, reuse);
    while (count > 1 && reuse[count - 1] == 0)
        count--;
    return count;
}

uint64_t curve_bucket_from(uint32_t bucket)
{
    return bucket < 2 ? bucket : (UINT64_C(1) << (bucket - 2)) + 1;
}

uint64_t curve_bucket_to(uint32_t bucket)
{
    return bucket == 0 ? 0 : UINT64_C(1) << (bucket - 1);
}

/* ---- what a curve says ---- */

uint32_t curve_knee(const struct curve *c, const struct curve_policy *p)
{
    double *x = mem_alloc(p->points, sizeof *x), *y = mem_alloc(p->points, sizeof *y);
    uint32_t knee;

    for (uint32_t i = 0; i < p->points; i++) {
        x[i] = p->slots[i];
        y[i] = curve_point(c, p, i, CURVE_ALL).hit_rate;
    }
    knee = (uint32_t)knee_find(x, y, p->points, 1e-9);
    free(x);
    free(y);
    return knee == 0 ? 0 : p->slots[knee];
}

uint32_t curve_half(const struct curve *c, const struct curve_policy *p)
{
    for (uint32_t i = 0; i < p->points; i++) {
        struct curve_point point = curve_point(c, p, i, CURVE_ALL);

        if (point.accesses > 0 && 2 * point.hits >= point.accesses)
            return p->slots[i];
    }
    return 0;
}

struct curve_working_set curve_batch(const struct curve *c)
{
    struct curve_working_set w = {.mean = 0};
    double steps = (double)c->passes * c->layers;

    for (uint32_t l = 0; l < c->layers; l++) {
        const struct curve_layer *at = &c->layer[l];
        double bytes = (double)at->expert_bytes;

        w.mean += (double)at->accesses / steps;
        w.mean_bytes += (double)at->accesses / (double)c->passes * bytes;
        w.most = at->most_distinct > w.most ? at->most_distinct : w.most;
        w.most_bytes += at->most_distinct * bytes;
    }
    return w;
}

uint64_t curve_token_bytes(const struct curve *c)
{
    uint64_t bytes = 0;

    for (uint32_t l = 0; l < c->layers; l++)
        bytes += c->top_k * c->layer[l].expert_bytes;
    return bytes;
}

#include "place.h"
#include "place_fill.h"

#include "sim/base/mem.h"
#include "sim/base/rng.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- making one ---- */

static int check_sizes(const struct place_problem *p, struct err *e)
{
    if (p->layers == 0 || p->experts == 0 || p->experts >= PLACE_EMPTY)
        return err_set(e,
                       "placement: %u layers of %u experts; there must be one layer "
                       "and 1 to %u experts",
                       p->layers, p->experts, PLACE_EMPTY - 1U);
    if (p->gpus == 0 || p->gpus > UINT16_MAX || p->nodes == 0 || p->nodes > p->gpus)
        return err_set(e,
                       "placement: %u GPUs in %u nodes; there must be 1 to %u GPUs, and "
                       "one in each node",
                       p->gpus, p->nodes, UINT16_MAX);
    if (p->slots < p->experts || p->slots % p->gpus != 0)
        return err_set_key(e, "place.slots",
                           "placement: %u slots a layer; %u experts on %u GPUs need a "
                           "multiple of %u, at least %u",
                           p->slots, p->experts, p->gpus, p->gpus, p->experts);
    return 0;
}

static int check_loads(const struct place_problem *p, struct err *e)
{
    for (uint32_t l = 0; l < p->layers; l++) {
        for (uint32_t i = 0; i < p->experts; i++) {
            double load = p->load[(size_t)l * p->experts + i];

            if (!(load >= 0.0 && load < PLACE_MOST_LOAD))
                return err_set(e,
                               "placement: layer %u, expert %u has load %g; loads are "
                               "0 or more and below 2^64",
                               l, i, load);
        }
    }
    return 0;
}

/* With `slots` per layer, nothing in them yet. */
static struct place *make(const struct place_problem *problem, uint32_t slots)
{
    struct place *p = mem_zalloc(1, sizeof *p);

    p->layers = problem->layers;
    p->experts = problem->experts;
    p->gpus = problem->gpus;
    p->nodes = problem->nodes;
    p->slots = slots;
    p->shards = 1;
    p->expert = mem_alloc((size_t)p->layers * slots, sizeof *p->expert);
    p->first = mem_zalloc((size_t)p->layers * (p->experts + 1), sizeof *p->first);
    p->replica = mem_alloc((size_t)p->layers * slots, sizeof *p->replica);
    return p;
}

/* A counting sort of the slots by expert. */
void place_index(struct place *p, uint32_t layer)
{
    const uint16_t *expert = &p->expert[(size_t)layer * p->slots];
    uint32_t *first = &p->first[(size_t)layer * (p->experts + 1)];
    uint32_t *replica = &p->replica[(size_t)layer * p->slots];

    memset(first, 0, (p->experts + 1) * sizeof *first);
    for (uint32_t s = 0; s < p->slots; s++) {
        if (expert[s] != PLACE_EMPTY)
            first[expert[s] + 1]++;
    }
    for (uint32_t i = 0; i < p->experts; i++)
        first[i + 1] += first[i];
    for (uint32_t s = 0; s < p->slots; s++) {
        if (expert[s] != PLACE_EMPTY)
            replica[first[expert[s]]++] = s;
    }
    /* Each entry has moved on to the next one's start. */
    memmove(&first[1], &first[0], p->experts * sizeof *first);
    first[0] = 0;
}

struct place *place_new(const struct place_type *type, const void *params,
                        const struct place_problem *problem, struct err *e)
{
    bool loads = (type->plugin.needs & NEED_PROFILE) != 0;
    struct place *p;
    bool shards = (type->plugin.acts & ACT_SHARD) != 0;
    void *scratch = NULL;

    if (check_sizes(problem, e) != 0)
        return NULL;
    if (loads && problem->load == NULL) {
        (void)err_set_key(e, "place",
                          "placement %s needs expert loads: a profile, or the passes "
                          "so far",
                          type->plugin.name);
        return NULL;
    }
    if ((loads && check_loads(problem, e) != 0) ||
        (type->check != NULL && type->check(params, problem, e) != 0))
        return NULL;
    p = make(problem, shards ? problem->gpus * problem->experts : problem->slots);
    p->shards = shards ? p->gpus : 1;
    if (type->scratch_size != NULL)
        scratch = mem_alloc(type->scratch_size(params, problem), 1);
    for (uint32_t l = 0; l < p->layers; l++) {
        type->assign(params, problem, l, scratch, &p->expert[(size_t)l * p->slots]);
        place_index(p, l);
    }
    free(scratch);
    return p;
}

uint32_t place_missing(const uint16_t *expert, uint32_t slots, uint32_t experts)
{
    bool *has = mem_zalloc(experts, sizeof *has);
    uint32_t missing = 0;

    for (uint32_t s = 0; s < slots; s++)
        if (expert[s] != PLACE_EMPTY)
            has[expert[s]] = true;
    while (missing < experts && has[missing])
        missing++;
    free(has);
    return missing;
}

static int check_layer(const struct place_problem *p, uint32_t layer,
                       const uint16_t *expert, struct err *e)
{
    uint32_t missing;

    for (uint32_t s = 0; s < p->slots; s++) {
        if (expert[s] >= p->experts && expert[s] != PLACE_EMPTY)
            return err_set(e, "placement: layer %u, slot %u holds expert %u of %u", layer,
                           s, expert[s], p->experts);
    }
    missing = place_missing(expert, p->slots, p->experts);
    if (missing < p->experts)
        return err_set(e, "placement: layer %u, expert %u is in no slot", layer, missing);
    return 0;
}

int place_check_slots(const struct place_problem *p, const uint16_t *expert,
                      struct err *e)
{
    for (uint32_t l = 0; l < p->layers; l++)
        if (check_layer(p, l, &expert[(size_t)l * p->slots], e) != 0)
            return -1;
    return 0;
}

struct place *place_from_slots(const struct place_problem *problem,
                               const uint16_t *expert, struct err *e)
{
    struct place *p;

    if (check_sizes(problem, e) != 0 || place_check_slots(problem, expert, e) != 0)
        return NULL;
    p = make(problem, problem->slots);
    memcpy(p->expert, expert, (size_t)p->layers * p->slots * sizeof *expert);
    for (uint32_t l = 0; l < p->layers; l++)
        place_index(p, l);
    return p;
}

void place_free(struct place *p)
{
    if (p == NULL)
        return;
    free(p->expert);
    free(p->first);
    free(p->replica);
    free(p);
}

/* ---- what it is worth ---- */

void place_gpu_load(const struct place *p, uint32_t layer, const double *load,
                    double *gpu)
{
    for (uint32_t g = 0; g < p->gpus; g++)
        gpu[g] = 0.0;
    for (uint32_t i = 0; i < p->experts; i++) {
        uint32_t count;
        const uint32_t *slot = place_replicas(p, layer, i, &count);

        for (uint32_t r = 0; r < count; r++)
            gpu[place_gpu(p, slot[r])] += load[i] / (double)count;
    }
}

double place_balance(const struct place *p, uint32_t layer, const double *load)
{
    double *gpu = mem_alloc(p->gpus, sizeof *gpu), total = 0.0, most = 0.0;

    place_gpu_load(p, layer, load, gpu);
    for (uint32_t g = 0; g < p->gpus; g++) {
        total += gpu[g];
        most = gpu[g] > most ? gpu[g] : most;
    }
    free(gpu);
    return most > 0.0 ? fmin(total / (double)p->gpus / most, 1.0) : 1.0;
}

double place_bound(const struct place *p, uint32_t layer, const double *load)
{
    double total = 0.0, most = 0.0;

    for (uint32_t i = 0; i < p->experts; i++) {
        uint32_t count;

        (void)place_replicas(p, layer, i, &count);
        total += load[i];
        most = fmax(most, load[i] / (double)count);
    }
    return fmax(most, total / (double)p->gpus);
}

/* ---- which replica ---- */

static uint32_t random_of(uint32_t count, uint32_t layer, uint32_t expert, uint64_t turn,
                          uint64_t seed)
{
    uint64_t key = rng_mix(seed ^ rng_mix(((uint64_t)layer << 32 | expert) + 1));

    /* 32 bits of the hash scaled to the count: uneven by count / 2^32. */
    return (uint32_t)(((rng_mix(key + turn) >> 32) * count) >> 32);
}

/* 0 on the source itself, 1 in its node, 2 elsewhere. */
static int distance(const struct place *p, uint32_t slot, uint32_t source)
{
    uint32_t gpu = place_gpu(p, slot);

    if (gpu == source)
        return 0;
    return place_node(p, gpu) == place_node(p, source) ? 1 : 2;
}

static uint32_t nearest(const struct place *p, const uint32_t *slot, uint32_t count,
                        uint32_t source, uint64_t turn)
{
    int least = distance(p, slot[0], source);
    uint32_t equal = 1, skip, r = 0;

    for (uint32_t i = 1; i < count; i++) {
        int d = distance(p, slot[i], source);

        equal = d < least ? 1 : equal + (d == least);
        least = d < least ? d : least;
    }
    skip = (uint32_t)(turn % equal);
    for (;; r++) {
        if (distance(p, slot[r], source) == least && skip-- == 0)
            return slot[r];
    }
}

uint32_t place_choose(const struct place *p, enum place_choice how, uint32_t layer,
                      uint32_t expert, uint32_t source, uint64_t turn, uint64_t seed)
{
    uint32_t count;
    const uint32_t *slot = place_replicas(p, layer, expert, &count);

    assert(source < p->gpus && p->shards == 1);
    if (count == 1)
        return slot[0];
    switch (how) {
    case PLACE_ROUND_ROBIN:
        return slot[turn % count];
    case PLACE_RANDOM:
        return slot[random_of(count, layer, expert, turn, seed)];
    case PLACE_NEAREST:
        break;
    }
    return nearest(p, slot, count, source, turn);
}

/* ---- for the plug-ins ---- */

static int heavier(const void *a, const void *b)
{
    const struct place_item *x = a, *y = b;

    if (x->load != y->load)
        return x->load > y->load ? -1 : 1;
    return x->expert < y->expert ? -1 : x->expert > y->expert;
}

void place_by_load(const double *load, uint32_t experts, struct place_item *item)
{
    for (uint32_t i = 0; i < experts; i++)
        item[i] = (struct place_item){.load = load[i], .expert = i};
    qsort(item, experts, sizeof *item, heavier);
}

struct place_fill place_fill_begin(const struct place_problem *p, uint16_t *expert,
                                   uint32_t *used)
{
    for (uint32_t s = 0; s < p->slots; s++)
        expert[s] = PLACE_EMPTY;
    memset(used, 0, p->gpus * sizeof *used);
    return (struct place_fill){
        .expert = expert, .used = used, .gpus = p->gpus, .per_gpu = p->slots / p->gpus};
}

/* The least possible largest load of a GPU, by search: the oracle for small cases.
 *
 * All numbers of replicas that fit the slots are tried, and for each all ways to put the
 * replicas onto GPUs, by branch and bound. A branch ends where a GPU reaches the best
 * found so far; of GPUs in the same state only the first is tried. */
#include "place_fill.h"

#include <math.h>
#include <string.h>

#define MOST_SLOTS 16    /* without replicas */
#define MOST_REPLICAS 12 /* slots, where there may be replicas */

struct search {
    const double *load;
    uint32_t experts, gpus, per_gpu, slots;
    uint32_t replicas[MOST_SLOTS];
    double mean; /* load per GPU */
    struct place_item item[MOST_SLOTS];
    uint32_t items;
    double gpu[MOST_SLOTS]; /* loads */
    uint32_t used[MOST_SLOTS], where[MOST_SLOTS];
    double best;
    uint16_t *expert; /* [slots] the best found */
};

static int check(const void *params, const struct place_problem *p, struct err *e)
{
    uint32_t most = p->slots == p->experts ? MOST_SLOTS : MOST_REPLICAS;

    (void)params;
    if (p->slots > most)
        return err_set_key(e, "place.slots",
                           "placement optimal: a search over %u slots takes too long (at "
                           "most %u, or %u without spare slots); use eplb or greedy",
                           p->slots, MOST_REPLICAS, MOST_SLOTS);
    return 0;
}

static size_t scratch_size(const void *params, const struct place_problem *p)
{
    (void)params;
    (void)p;
    return sizeof(struct search);
}

static void keep(struct search *s)
{
    uint32_t used[MOST_SLOTS] = {0};

    for (uint32_t i = 0; i < s->slots; i++)
        s->expert[i] = PLACE_EMPTY;
    for (uint32_t i = 0; i < s->items; i++) {
        uint32_t g = s->where[i];

        s->expert[g * s->per_gpu + used[g]++] = (uint16_t)s->item[i].expert;
    }
}

/* Puts items i and after; `most` is the largest load so far. */
static void put(struct search *s, uint32_t i, double most)
{
    if (i == s->items) {
        s->best = most;
        keep(s);
        return;
    }
    for (uint32_t g = 0; g < s->gpus; g++) {
        double before = s->gpu[g], after = before + s->item[i].load;
        bool seen = false;

        for (uint32_t h = 0; h < g && !seen; h++)
            seen = s->gpu[h] == before && s->used[h] == s->used[g];
        if (seen || s->used[g] == s->per_gpu || after >= s->best)
            continue;
        s->gpu[g] = after;
        s->used[g]++;
        s->where[i] = g;
        put(s, i + 1, fmax(most, after));
        s->used[g]--;
        s->gpu[g] = before;
    }
}

static int heavier(const struct place_item *a, const struct place_item *b)
{
    return a->load > b->load || (a->load == b->load && a->expert < b->expert);
}

/* The items for the present numbers of replicas, heaviest first. */
static void list(struct search *s)
{
    s->items = 0;
    for (uint32_t e = 0; e < s->experts; e++) {
        struct place_item item = {s->load[e] / (double)s->replicas[e], e};

        for (uint32_t r = 0; r < s->replicas[e]; r++) {
            uint32_t at = s->items++;

            for (; at > 0 && heavier(&item, &s->item[at - 1]); at--)
                s->item[at] = s->item[at - 1];
            s->item[at] = item;
        }
    }
}

/* Tries all numbers of replicas of expert e and after, `left` slots being free. */
static void replicas(struct search *s, uint32_t e, uint32_t left)
{
    if (e < s->experts) {
        for (uint32_t more = 0; more <= left; more++) {
            s->replicas[e] = 1 + more;
            replicas(s, e + 1, left - more);
        }
        return;
    }
    list(s);
    if (fmax(s->item[0].load, s->mean) < s->best)
        put(s, 0, 0.0);
}

static void assign(const void *params, const struct place_problem *p, uint32_t layer,
                   void *scratch, uint16_t *expert)
{
    struct search *s = scratch;

    (void)params;
    memset(s, 0, sizeof *s);
    s->load = &p->load[(size_t)layer * p->experts];
    s->experts = p->experts;
    s->gpus = p->gpus;
    s->slots = p->slots;
    s->per_gpu = p->slots / p->gpus;
    s->expert = expert;
    s->best = INFINITY;
    for (uint32_t e = 0; e < p->experts; e++)
        s->mean += s->load[e] / (double)p->gpus;
    replicas(s, 0, p->slots - p->experts);
}

const struct place_type place_optimal = {
    .plugin = {.slot = SLOT_PLACE,
               .name = "optimal",
               .help = "the least possible largest load, replicas included; 12 slots at "
                       "most (16 without spare ones)",
               .source = "bound: exhaustive search with branch and bound",
               .variant = VARIANT_STANDARD,
               .lossless = true,
               .needs = NEED_PROFILE},
    .check = check,
    .scratch_size = scratch_size,
    .assign = assign,
};

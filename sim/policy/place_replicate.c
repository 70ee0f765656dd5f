/* Replicas of hot experts beside a linear placement.
 *
 * r_e = clamp(ceil(n_e / tau), 1, R_max), tau being a multiple of the active experts'
 * mean load. Copies are granted one by one to the largest n_e / r_e that is below its
 * target, while slots last (ties: the lower id). Each expert's first copy stays where
 * linear puts it; the others, by load per copy, go to the least loaded GPU with room that
 * has none of that expert yet, else to the least loaded with room. */
#include "place_fill.h"

#include <math.h>

struct replicate {
    double tau;
    int64_t r_max;
};

static const struct option options[] = {
    {"tau", OPT_DOUBLE, offsetof(struct replicate, tau), "1", 1e-3, 1e6, NULL,
     "load that one replica should carry, in mean loads of the active experts"},
    {"r_max", OPT_INT, offsetof(struct replicate, r_max), "8", 1.0, 65535.0, NULL,
     "most replicas of one expert"},
    {.name = NULL},
};

struct state {
    struct place_item *item; /* [experts] by load per copy */
    double *load;            /* [gpus] */
    double *part;            /* [experts] load per copy */
    uint32_t *target;        /* [experts] */
    uint32_t *copies;        /* [experts] granted */
    uint32_t *used;          /* [gpus] */
};

static size_t scratch_size(const void *params, const struct place_problem *p)
{
    (void)params;
    return p->experts *
               (sizeof(struct place_item) + sizeof(double) + 2 * sizeof(uint32_t)) +
           p->gpus * (sizeof(double) + sizeof(uint32_t));
}

static void targets(const struct replicate *how, const double *load, uint32_t experts,
                    struct state *s)
{
    double total = 0.0, tau;
    uint32_t active = 0;

    for (uint32_t e = 0; e < experts; e++) {
        total += load[e];
        active += load[e] > 0.0;
    }
    tau = how->tau * total / (double)active;
    for (uint32_t e = 0; e < experts; e++) {
        double want = load[e] > 0.0 ? ceil(load[e] / tau) : 1.0;

        s->target[e] = (uint32_t)fmin(want, (double)how->r_max);
    }
}

static void grant(const double *load, const struct place_problem *p, struct state *s)
{
    for (uint32_t e = 0; e < p->experts; e++) {
        s->copies[e] = 1;
        s->part[e] = load[e];
    }
    for (uint32_t left = p->slots - p->experts; left > 0; left--) {
        uint32_t best = p->experts;

        for (uint32_t e = 0; e < p->experts; e++) {
            if (s->copies[e] < s->target[e] &&
                (best == p->experts || s->part[e] > s->part[best]))
                best = e;
        }
        if (best == p->experts)
            return;
        s->part[best] = load[best] / (double)++s->copies[best];
    }
}

/* The least loaded GPU with room; without a copy of the expert if `fresh`. */
static uint32_t least(const struct place_fill *f, const double *load, uint32_t expert,
                      bool fresh)
{
    uint32_t best = f->gpus;

    for (uint32_t g = 0; g < f->gpus; g++) {
        if (place_fill_room(f, g) && (best == f->gpus || load[g] < load[best]) &&
            !(fresh && place_fill_holds(f, g, expert)))
            best = g;
    }
    return best;
}

static void assign(const void *params, const struct place_problem *p, uint32_t layer,
                   void *scratch, uint16_t *expert)
{
    const double *load = &p->load[(size_t)layer * p->experts];
    struct state s = {.item = scratch};
    struct place_fill fill;

    s.load = (double *)(void *)(s.item + p->experts);
    s.part = s.load + p->gpus;
    s.target = (uint32_t *)(void *)(s.part + p->experts);
    s.copies = s.target + p->experts;
    s.used = s.copies + p->experts;
    fill = place_fill_begin(p, expert, s.used);
    targets(params, load, p->experts, &s);
    grant(load, p, &s);
    for (uint32_t g = 0; g < p->gpus; g++)
        s.load[g] = 0.0;
    for (uint32_t e = 0; e < p->experts; e++) {
        s.load[place_linear_gpu(p, e)] += s.part[e];
        place_fill_put(&fill, place_linear_gpu(p, e), e);
    }
    place_by_load(s.part, p->experts, s.item);
    for (uint32_t i = 0; i < p->experts; i++) {
        uint32_t e = s.item[i].expert;

        for (uint32_t c = 1; c < s.copies[e]; c++) {
            uint32_t gpu = least(&fill, s.load, e, true);

            if (gpu == p->gpus)
                gpu = least(&fill, s.load, e, false);
            place_fill_put(&fill, gpu, e);
            s.load[gpu] += s.part[e];
        }
    }
}

const struct place_type place_replicate = {
    .plugin = {.slot = SLOT_PLACE,
               .name = "replicate",
               .help =
                   "linear, and copies of each expert with more than tau mean loads on "
                   "the least loaded GPUs, as far as slots last",
               .source =
                   "predictive expert replication (2026); the rule for the number of "
                   "replicas was not published",
               .variant = VARIANT_RECONSTRUCTION,
               .lossless = true,
               .needs = NEED_PROFILE,
               .options = options,
               .params_size = sizeof(struct replicate)},
    .scratch_size = scratch_size,
    .assign = assign,
};

/* MoNDE (Kim et al., DAC 2024, arXiv 2405.18832): of a layer's active experts the hottest
 * go to the GPU, whose weights cross the link, and the cold ones are computed beside the
 * memory that stores them, whose rows cross it:
 *
 *   H = max(1, ceil(alpha * BW_link / (BW_link + BW_near) * active experts))
 *
 * H = 0 leaves everything to the unit, H = all is on-demand loading; `best` tries every H
 * by the machine's costs, which the published rule can at best equal. Experts that are
 * resident run on the GPU whatever H is. The paper leaves open whether weights and rows
 * hinder each other on the link: `link: overlap` (the published figures' arithmetic)
 * gives each the whole of it, `shared` lets them share. */
#include "offload_plan.h"
#include "slots.h"

#include <math.h>

enum { HOT_RULE = -1, HOT_ALL = -2, HOT_BEST = -3 };
enum link { LINK_OVERLAP, LINK_SHARED };

struct monde {
    int64_t hot;
    double alpha;
    int link;
};

static const char *const words[] = {"rule", "all", "best", NULL};
static const char *const links[] = {"overlap", "shared", NULL};

static const struct option options[] = {
    {"hot", OPT_INT, offsetof(struct monde, hot), "rule", 0, 65535, words,
     "how many of a layer's most used experts go to the GPU; rule: the paper's H; all: "
     "every one; best: what ends both sides earliest"},
    {"alpha", OPT_DOUBLE, offsetof(struct monde, alpha), "1", 0, 1000, NULL,
     "hot: rule: scales H"},
    {"link", OPT_CHOICE, offsetof(struct monde, link), "overlap", 0, 0, links,
     "whether rows that cross to the unit share the link with weights that are copied"},
    {.name = NULL},
};

/* In the order of the paper's terms, so that whole numbers stay whole. */
static uint32_t rule(const struct monde *m, const struct view *v)
{
    double link = v->copy_in->bytes_per_s;
    double near = v->cost->machine->near.bytes_per_s;
    double hot = ceil(m->alpha * link / (link + near) * v->active_count);

    if (hot >= v->active_count)
        return v->active_count;
    return hot < 1 ? 1 : (uint32_t)hot;
}

/* Of the missing ones, what is not among the `hot` first of all active experts. */
static void leave_cold(const struct view *v, uint32_t hot, const uint16_t *missing,
                       uint32_t count, uint16_t *order, uint8_t *where)
{
    uint16_t last;

    if (hot >= v->active_count)
        return;
    if (hot == 0) {
        offload_leave(missing, count, missing, count, where);
        return;
    }
    offload_sort(v->tokens, v->active, v->active_count, order);
    last = order[hot - 1];
    for (uint32_t i = 0; i < count; i++)
        if (v->tokens[missing[i]] < v->tokens[last] ||
            (v->tokens[missing[i]] == v->tokens[last] && missing[i] > last))
            where[i] = OFFLOAD_IN_PLACE;
}

static void decide(const void *params, const struct view *v, const uint16_t *missing,
                   uint32_t count, uint16_t *order, uint8_t *where)
{
    const struct monde *m = params;
    struct offload_costs c;
    uint32_t copied;

    if (m->hot != HOT_BEST) {
        uint32_t hot = m->hot == HOT_ALL    ? v->active_count
                       : m->hot == HOT_RULE ? rule(m, v)
                                            : (uint32_t)m->hot;

        leave_cold(v, hot, missing, count, order, where);
        return;
    }
    c = offload_costs_near(v, missing, count);
    offload_sort(v->tokens, missing, count, order);
    copied = offload_best(&c, order, count, count);
    offload_leave(missing, count, order + copied, count - copied, where);
}

static bool crosses(const void *params)
{
    return ((const struct monde *)params)->link == LINK_SHARED;
}

const struct offload_type offload_monde = {
    .plugin = {.slot = SLOT_OFFLOAD,
               .name = "monde",
               .help = "the hottest missing experts are fetched, cold ones run on a unit "
                       "beside the memory",
               .source = "Kim et al., MoNDE, DAC 2024, arXiv 2405.18832",
               .variant = VARIANT_RECONSTRUCTION,
               .lossless = true,
               .acts = ACT_NEAR,
               .options = options,
               .params_size = sizeof(struct monde)},
    .decide = decide,
    .shares = crosses,
    .crosses = crosses,
};

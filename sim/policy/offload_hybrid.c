/* Some missing experts are fetched, the rest run on the host meanwhile: so many of each
 * step that the later side is done earliest, or just so many. The form in which recent
 * engines combine a cache with CPU experts: llama.cpp pull request 27861 caps the loads
 * of a layer and step and computes the rest on the CPU (rule: fixed). */
#include "offload_plan.h"
#include "slots.h"

enum { FETCH_ALL = -1 };
enum rule { RULE_LEAST_TIME, RULE_FIXED };

struct hybrid {
    int64_t fetch;
    int rule;
};

static const char *const words[] = {"all", NULL};
static const char *const rules[] = {"least-time", "fixed", NULL};

static const struct option options[] = {
    {"fetch", OPT_INT, offsetof(struct hybrid, fetch), "all", 0, 65535, words,
     "loads of a step at most, those with the most rows first; all: any number"},
    {"rule", OPT_CHOICE, offsetof(struct hybrid, rule), "least-time", 0, 0, rules,
     "least-time: as many of them as end host and GPU earliest; fixed: as many as may "
     "be"},
    {.name = NULL},
};

static void decide(const void *params, const struct view *v, const uint16_t *missing,
                   uint32_t count, uint16_t *order, uint8_t *where)
{
    const struct hybrid *h = params;
    uint32_t most =
        h->fetch == FETCH_ALL || h->fetch > count ? count : (uint32_t)h->fetch;

    offload_sort(v->tokens, missing, count, order);
    if (h->rule == RULE_LEAST_TIME) {
        struct offload_costs c = offload_costs_host(v, missing, count);

        most = offload_best(&c, order, count, most);
    }
    offload_leave(missing, count, order + most, count - most, where);
}

static bool shares(const void *params)
{
    return ((const struct hybrid *)params)->fetch != 0;
}

const struct offload_type offload_hybrid = {
    .plugin = {.slot = SLOT_OFFLOAD,
               .name = "hybrid",
               .help = "a few missing experts are fetched, the rest run on the host "
                       "meanwhile",
               .source = "llama.cpp #24524 and #27861 (a cache of experts, misses on the "
                         "CPU); Fiddler's objective over a whole step",
               .variant = VARIANT_STANDARD,
               .lossless = true,
               .acts = ACT_HOST,
               .options = options,
               .params_size = sizeof(struct hybrid)},
    .decide = decide,
    .shares = shares,
};

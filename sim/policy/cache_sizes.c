/* Options of the cache, and the sizes that they come to. */
#include "cache.h"

static const char *const scopes[] = {"layer", "global", NULL};
static const char *const protections[] = {"strict", "prefer", "none", NULL};
static const char *const admissions[] = {"always", "second-miss", NULL};
static const char *const preloads[] = {"none", "linear", "last", "auto", NULL};
static const char *const slot_words[] = {"all", "auto", "none", NULL};
static const char *const allocations[] = {"even", "profile", NULL};
static const char *const orders[] = {"id", "recorded", "hits-first", NULL};

#define AT(member) offsetof(struct cache_params, member)

const struct option cache_options[] = {
    {"scope", OPT_CHOICE, AT(scope), "layer", 0, 0, scopes,
     "one set of slots per layer, or one for all layers"},
    {"slots", OPT_INT, AT(layer_slots), "0", 0, 4e9, slot_words,
     "experts per layer, whatever the scope; all: every expert that its GPU has; auto: "
     "as many as fit beside dense weights, staging and the largest KV cache; none: no "
     "expert is kept; 0: by total_slots or bytes"},
    {"total_slots", OPT_INT, AT(total_slots), "0", 0, 4e9, NULL,
     "experts over all layers; per-layer sets get equal shares; 0: by slots or bytes"},
    {"bytes", OPT_PART, AT(room), "0", 0, 1e18, NULL,
     "size of the whole cache, or a share of its GPU's experts; per-layer sets get equal "
     "shares"},
    {"protect", OPT_CHOICE, AT(protect), "strict", 0, 0, protections,
     "evict experts that are active in this step: never, last, or like others"},
    {"admission", OPT_CHOICE, AT(admission), "always", 0, 0, admissions,
     "keep an expert from its first miss, or from its second"},
    {"preload", OPT_CHOICE, AT(preload), "auto", 0, 0, preloads,
     "start empty, full with the lowest ids (linear) or with the highest (last); auto: "
     "full where a word or a share makes it hold every expert, else empty"},
    {"order", OPT_CHOICE, AT(order), "id", 0, 0, orders,
     "accesses of a step by ascending id, by each expert's last use in the recorded "
     "rows, or what is resident before what is missing"},
    {"allocate", OPT_CHOICE, AT(allocate), "even", 0, 0, allocations,
     "slots of the layers' sets: as many each, or as many on average with the least "
     "misses expected by the profile (AdapMoE's dynamic program)"},
    {"write_back", OPT_BOOL, AT(write_back), "false", 0, 0, NULL,
     "copy a victim back to the host (weights that are swapped, not copied)"},
    {"staging", OPT_INT, AT(staging), "2", 1, 65536, NULL,
     "slots for experts that are loaded for one step and not kept; two let one load "
     "while the other runs"},
    {"spare", OPT_INT, AT(spare), "0", 0, 65536, NULL,
     "slots that loads go to without waiting for their victims, whose slots are spare "
     "next; in place of staging"},
    {"in_flight", OPT_INT, AT(in_flight), "0", 0, 65536, NULL,
     "loads of a step that may be under way at once before the host waits; 0: any "
     "number"},
    {.name = NULL},
};

bool cache_is_sized(const struct cache_params *p)
{
    return p->layer_slots != 0 || p->total_slots != 0 || p->room.bytes != 0 ||
           p->room.percent != 0;
}

/* NULL, or the key that cannot be. */
static const char *check_sizes(const struct cache_params *p, uint32_t layers,
                               uint32_t experts, struct err *e)
{
    uint64_t slots = (uint64_t)p->layer_slots, total = (uint64_t)p->total_slots;
    uint32_t open = layers - p->closed;
    uint64_t all = (uint64_t)open * experts;

    if (slots > experts) {
        (void)err_set(e,
                      "slots is %llu, but a layer has %u experts to hold; give at most "
                      "%u (total_slots counts those of all layers)",
                      (unsigned long long)slots, experts, experts);
        return "slots";
    }
    if (total > all) {
        (void)err_set(
            e,
            "total_slots is %llu, but %u layers of %u experts are %llu; give at "
            "most %llu",
            (unsigned long long)total, open, experts, (unsigned long long)all,
            (unsigned long long)all);
        return "total_slots";
    }
    if (p->scope == CACHE_PER_LAYER && open > 0 && total % open != 0) {
        (void)err_set(e,
                      "total_slots is %llu, which %u layers cannot share equally (scope: "
                      "layer); give %llu, or scope: global",
                      (unsigned long long)total, open,
                      (unsigned long long)((total + open - 1) / open * open));
        return "total_slots";
    }
    return NULL;
}

/* Of the layers that keep experts. */
static uint64_t all_bytes(const struct cache_params *p, uint32_t layers, uint32_t experts,
                          const uint64_t *expert_bytes)
{
    uint64_t sum = 0;

    for (uint32_t l = 0; l < layers; l++)
        if (!cache_closes(p, l))
            sum += expert_bytes[l] * experts;
    return sum;
}

/* Words and shares into the numbers that they stand for. */
static void count_words(struct cache_params *p, uint32_t layers, uint32_t experts,
                        const uint64_t *expert_bytes)
{
    double all = (double)all_bytes(p, layers, experts, expert_bytes);

    if (p->layer_slots == CACHE_SLOTS_ALL)
        p->layer_slots = experts;
    if (p->layer_slots == CACHE_SLOTS_NONE) {
        p->layer_slots = 1; /* of layers that are none */
        p->closed_from = 0;
        p->closed = layers;
    }
    if (p->room.percent > 0) {
        uint64_t bytes = (uint64_t)(all * p->room.percent / 100);

        p->room = (struct cfg_part){.bytes = bytes > 0 ? bytes : 1};
    }
}

/* Whether every expert of the layers that keep any has room. */
static bool holds_open(const struct cache_params *c, uint32_t layers, uint32_t experts,
                       const uint64_t *expert_bytes)
{
    bool global = c->scope == CACHE_GLOBAL;
    uint32_t open = layers - c->closed;

    if (c->slots > 0)
        return (uint64_t)c->slots >= (global ? (uint64_t)open * experts : experts);
    for (uint32_t l = 0; l < layers; l++) {
        if (!global && !cache_closes(c, l) && c->bytes / open < expert_bytes[l] * experts)
            return false;
    }
    return c->bytes >= all_bytes(c, layers, experts, expert_bytes);
}

const char *cache_resolve(struct cache_params *p, uint32_t layers, uint32_t experts,
                          const uint64_t *expert_bytes, struct err *e)
{
    bool words = p->layer_slots < 0 || p->room.percent > 0;
    uint32_t open;
    const char *key;

    if ((p->layer_slots != 0) + (p->total_slots != 0) +
            (p->room.bytes > 0 || p->room.percent > 0) >
        1) {
        (void)err_set(e, "more than one of slots (per layer), total_slots (over all "
                         "layers) and bytes is given; keep one of them");
        return p->total_slots != 0 ? "total_slots" : "slots";
    }
    if (p->layer_slots == CACHE_SLOTS_AUTO) {
        (void)err_set(e, "slots is auto, but no GPU's memory is known here; give a "
                         "number, or all");
        return "slots";
    }
    count_words(p, layers, experts, expert_bytes);
    key = check_sizes(p, layers, experts, e);
    if (key != NULL)
        return key;
    open = layers - p->closed;
    if (p->scope == CACHE_GLOBAL)
        p->slots = p->layer_slots * (open > 0 ? open : 1) + p->total_slots;
    else
        p->slots = p->layer_slots + p->total_slots / (open > 0 ? open : 1);
    p->bytes = p->room.bytes;
    if (p->preload == CACHE_PRELOAD_AUTO && cache_is_sized(p))
        p->preload = words && holds_open(p, layers, experts, expert_bytes)
                         ? CACHE_PRELOAD_LINEAR
                         : CACHE_PRELOAD_NONE;
    return NULL;
}

uint64_t cache_room_bytes(const struct cache_params *c, uint32_t layers, uint32_t experts,
                          const uint64_t *expert_bytes)
{
    uint64_t most = c->scope == CACHE_GLOBAL ? (uint64_t)layers * experts : experts;
    uint64_t slots = (uint64_t)c->slots < most ? (uint64_t)c->slots : most;
    uint64_t all = all_bytes(c, layers, experts, expert_bytes);
    uint64_t largest = 0, kept = 0, per_layer = 0, bytes = c->bytes;

    for (uint32_t l = 0; l < layers; l++) {
        largest = expert_bytes[l] > largest ? expert_bytes[l] : largest;
        if (cache_closes(c, l))
            continue;
        kept = expert_bytes[l] > kept ? expert_bytes[l] : kept;
        per_layer += expert_bytes[l] * slots;
    }
    if (slots > 0)
        bytes = c->scope == CACHE_GLOBAL ? slots * kept : per_layer;
    return (bytes < all ? bytes : all) +
           (uint64_t)(c->spare > 0 ? c->spare : c->staging) * largest;
}

bool cache_holds_all(const struct cache_params *c, uint32_t layers, uint32_t experts,
                     const uint64_t *expert_bytes)
{
    return c->closed == 0 && holds_open(c, layers, experts, expert_bytes);
}

/* Options of the cache, and its life. */
#include "cache_allocate.h"
#include "cache_state.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

static const char *const scopes[] = {"layer", "global", NULL};
static const char *const protections[] = {"strict", "prefer", "none", NULL};
static const char *const admissions[] = {"always", "second-miss", NULL};
static const char *const preloads[] = {"none", "linear", "last", "auto", NULL};
static const char *const slot_words[] = {"all", "auto", NULL};
static const char *const allocations[] = {"even", "profile", NULL};
static const char *const orders[] = {"id", "recorded", "hits-first", NULL};

#define AT(member) offsetof(struct cache_params, member)

const struct option cache_options[] = {
    {"scope", OPT_CHOICE, AT(scope), "layer", 0, 0, scopes,
     "one set of slots per layer, or one for all layers"},
    {"slots", OPT_INT, AT(layer_slots), "0", 0, 4e9, slot_words,
     "experts per layer, whatever the scope; all: every expert that its GPU has; auto: "
     "as many as fit beside dense weights, staging and the largest KV cache; 0: by "
     "total_slots or bytes"},
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
    uint64_t all = (uint64_t)layers * experts;

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
            (unsigned long long)total, layers, experts, (unsigned long long)all,
            (unsigned long long)all);
        return "total_slots";
    }
    if (p->scope == CACHE_PER_LAYER && total % layers != 0) {
        (void)err_set(e,
                      "total_slots is %llu, which %u layers cannot share equally (scope: "
                      "layer); give %llu, or scope: global",
                      (unsigned long long)total, layers,
                      (unsigned long long)((total + layers - 1) / layers * layers));
        return "total_slots";
    }
    return NULL;
}

static uint64_t all_bytes(uint32_t layers, uint32_t experts, const uint64_t *expert_bytes)
{
    uint64_t sum = 0;

    for (uint32_t l = 0; l < layers; l++)
        sum += expert_bytes[l] * experts;
    return sum;
}

/* Words and shares into the numbers that they stand for. */
static void count_words(struct cache_params *p, uint32_t layers, uint32_t experts,
                        const uint64_t *expert_bytes)
{
    double all = (double)all_bytes(layers, experts, expert_bytes);

    if (p->layer_slots == CACHE_SLOTS_ALL)
        p->layer_slots = experts;
    if (p->room.percent > 0) {
        uint64_t bytes = (uint64_t)(all * p->room.percent / 100);

        p->room = (struct cfg_part){.bytes = bytes > 0 ? bytes : 1};
    }
}

const char *cache_resolve(struct cache_params *p, uint32_t layers, uint32_t experts,
                          const uint64_t *expert_bytes, struct err *e)
{
    bool words = p->layer_slots < 0 || p->room.percent > 0;
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
    if (p->scope == CACHE_GLOBAL)
        p->slots = p->layer_slots * layers + p->total_slots;
    else
        p->slots = p->layer_slots + p->total_slots / layers;
    p->bytes = p->room.bytes;
    if (p->preload == CACHE_PRELOAD_AUTO && cache_is_sized(p))
        p->preload = words && cache_holds_all(p, layers, experts, expert_bytes)
                         ? CACHE_PRELOAD_LINEAR
                         : CACHE_PRELOAD_NONE;
    return NULL;
}

uint64_t cache_room_bytes(const struct cache_params *c, uint32_t layers, uint32_t experts,
                          const uint64_t *expert_bytes)
{
    uint64_t most = c->scope == CACHE_GLOBAL ? (uint64_t)layers * experts : experts;
    uint64_t slots = (uint64_t)c->slots < most ? (uint64_t)c->slots : most;
    uint64_t all = all_bytes(layers, experts, expert_bytes);
    uint64_t largest = 0, per_layer = 0, bytes = c->bytes;

    for (uint32_t l = 0; l < layers; l++) {
        largest = expert_bytes[l] > largest ? expert_bytes[l] : largest;
        per_layer += expert_bytes[l] * slots;
    }
    if (slots > 0)
        bytes = c->scope == CACHE_GLOBAL ? slots * largest : per_layer;
    return (bytes < all ? bytes : all) +
           (uint64_t)(c->spare > 0 ? c->spare : c->staging) * largest;
}

bool cache_holds_all(const struct cache_params *c, uint32_t layers, uint32_t experts,
                     const uint64_t *expert_bytes)
{
    bool global = c->scope == CACHE_GLOBAL;

    if (c->slots > 0)
        return (uint64_t)c->slots >= (global ? (uint64_t)layers * experts : experts);
    for (uint32_t l = 0; l < layers; l++) {
        if (!global && c->bytes / layers < expert_bytes[l] * experts)
            return false;
    }
    return c->bytes >= all_bytes(layers, experts, expert_bytes);
}

/* ---- life ---- */

static uint64_t max_of(const uint64_t *value, uint32_t count)
{
    uint64_t max = value[0];

    for (uint32_t i = 1; i < count; i++)
        max = value[i] > max ? value[i] : max;
    return max;
}

static uint64_t min_of(const uint64_t *value, uint32_t count)
{
    uint64_t min = value[0];

    for (uint32_t i = 1; i < count; i++)
        min = value[i] < min ? value[i] : min;
    return min;
}

static int check_allocation(const struct cache_config *config, struct err *e)
{
    uint64_t least = min_of(config->expert_bytes, config->layers);
    uint64_t largest = max_of(config->expert_bytes, config->layers);

    if (config->params.allocate == CACHE_ALLOCATE_EVEN)
        return 0;
    if (config->params.scope == CACHE_GLOBAL)
        return err_set_key(e, "cache.allocate",
                           "slots go to the layers' own sets by the profile, but with "
                           "scope: global there is one set for all; leave out one of "
                           "them");
    if (config->profile == NULL)
        return err_set_key(e, "cache.allocate",
                           "slots by the profile need one of expert loads; give profile: "
                           "FILE, or leave out allocate");
    if (least != largest)
        return err_set_key(e, "cache.allocate",
                           "slots go from layer to layer by the profile, whose experts "
                           "differ in size here (%llu to %llu bytes); leave out allocate",
                           (unsigned long long)least, (unsigned long long)largest);
    return 0;
}

static int check(const struct cache_config *config, struct err *e)
{
    const struct cache_params *p = &config->params;
    const struct plugin *plugin = &config->algorithm->plugin;
    bool global = p->scope == CACHE_GLOBAL;

    if ((p->slots > 0) == (p->bytes > 0))
        return err_set_key(e, "cache.slots",
                           "the cache needs one of 'slots' (per layer), 'total_slots' "
                           "(over all layers) and 'bytes', above 0; %s, such as "
                           "cache: {slots: 4}",
                           p->slots > 0 ? "keep one of them" : "give one");
    if (config->layers > UINT16_MAX || config->experts > UINT16_MAX)
        return err_set(e, "the cache takes at most %u layers of %u experts", UINT16_MAX,
                       UINT16_MAX);
    if ((plugin->needs & NEED_FUTURE) != 0 && !config->future)
        return err_set_key(e, "cache",
                           "cache policy '%s' needs the future routing, which this "
                           "workload cannot give",
                           plugin->name);
    if ((plugin->needs & NEED_PROFILE) != 0 && config->profile == NULL)
        return err_set_key(e, "cache",
                           "cache policy '%s' needs a profile of expert loads",
                           plugin->name);
    for (uint32_t i = 0; p->bytes > 0 && i < config->layers; i++) {
        uint64_t size = config->expert_bytes[i];
        uint64_t share = global ? p->bytes : p->bytes / config->layers;

        if (size == 0)
            return err_set_key(
                e, "cache.bytes",
                "experts of layer %u have no size; give 'slots' instead of "
                "'bytes'",
                i);
        if (size > share)
            return err_set_key(
                e, "cache.bytes",
                "a cache of %llu bytes holds not one expert of layer %u (%llu "
                "bytes%s); give at least %llu bytes",
                (unsigned long long)p->bytes, i, (unsigned long long)size,
                global ? "" : ", and each layer gets an equal share",
                (unsigned long long)(global ? size : size * config->layers));
    }
    if (check_allocation(config, e) != 0)
        return -1;
    if (p->spare > 0 && min_of(config->expert_bytes, config->layers) !=
                            max_of(config->expert_bytes, config->layers))
        return err_set_key(
            e, "cache.spare",
            "spare slots go from layer to layer, whose experts differ in "
            "size here (%llu to %llu bytes); leave out spare",
            (unsigned long long)min_of(config->expert_bytes, config->layers),
            (unsigned long long)max_of(config->expert_bytes, config->layers));
    if (global && p->bytes > 0 &&
        max_of(config->expert_bytes, config->layers) /
                min_of(config->expert_bytes, config->layers) >=
            UINT16_MAX)
        return err_set_key(e, "cache.bytes",
                           "expert sizes differ by more than %u times; give 'slots' "
                           "instead of 'bytes'",
                           UINT16_MAX);
    return 0;
}

/* Slots of set `i`. */
static uint32_t set_capacity(const struct cache *c, const struct cache_params *p,
                             uint32_t i)
{
    uint32_t objects = c->per_layer ? c->experts : c->layers * c->experts;
    uint64_t slots = (uint64_t)p->slots;

    if (p->bytes > 0)
        slots = c->per_layer ? p->bytes / c->layers / c->bytes[i]
                             : p->bytes / min_of(c->bytes, c->layers);
    return slots < objects ? (uint32_t)slots : objects;
}

/* The `slots` largest experts of all layers together. */
static uint64_t largest_bytes(const struct cache *c, uint32_t slots)
{
    uint64_t sum = 0, below = UINT64_MAX;

    while (slots > 0) {
        uint64_t size = 0, layers = 0, count;

        for (uint32_t i = 0; i < c->layers; i++) {
            if (c->bytes[i] < below && c->bytes[i] >= size) {
                layers = c->bytes[i] > size ? 1 : layers + 1;
                size = c->bytes[i];
            }
        }
        if (layers == 0)
            break;
        count = layers * c->experts < slots ? layers * c->experts : slots;
        sum += count * size;
        slots -= (uint32_t)count;
        below = size;
    }
    return sum;
}

static uint64_t total_capacity(const struct cache *c, const struct cache_params *p)
{
    uint64_t sum = 0, all;

    if (c->per_layer) {
        for (uint32_t i = 0; i < c->layers; i++)
            sum += c->set[i].env.capacity * c->bytes[i];
        return sum;
    }
    all = largest_bytes(c, c->slots);
    return c->ragged && p->bytes < all ? p->bytes : all;
}

/* Arrays over (layer, expert), and what the configuration lends. */
static void copy_config(struct cache *c, const struct cache_config *config)
{
    size_t all = (size_t)c->layers * c->experts;

    c->bytes = mem_alloc(c->layers, sizeof *c->bytes);
    memcpy(c->bytes, config->expert_bytes, c->layers * sizeof *c->bytes);
    c->slot = mem_alloc(all, sizeof *c->slot);
    memset(c->slot, 0xff, all * sizeof *c->slot);
    c->stamp = mem_zalloc(all, sizeof *c->stamp);
    if (c->second_miss)
        c->missed = mem_zalloc(all, sizeof *c->missed);
    if (config->profile != NULL) {
        c->profile = mem_alloc(all, sizeof *c->profile);
        memcpy(c->profile, config->profile, all * sizeof *c->profile);
    }
    if (c->future) {
        c->next_use = mem_alloc(all, sizeof *c->next_use);
        for (uint32_t i = 0; i < all; i++)
            c->next_use[i] = (struct cache_use){CACHE_NEVER, i};
        if (config->first_use != NULL)
            memcpy(c->next_use, config->first_use, all * sizeof *c->next_use);
    }
    if (!c->per_layer) {
        c->layer_of = mem_alloc(all, sizeof *c->layer_of);
        for (size_t i = 0; i < all; i++)
            c->layer_of[i] = (uint16_t)(i / c->experts);
    }
}

/* Slots of each set, as many on average as with equal shares; owned. */
static uint32_t *set_capacities(const struct cache *c, const struct cache_config *config)
{
    uint32_t *slots = mem_alloc(c->sets, sizeof *slots), total = 0;
    double *expected;

    for (uint32_t i = 0; i < c->sets; i++) {
        slots[i] = set_capacity(c, &config->params, i);
        total += slots[i];
    }
    if (config->params.allocate == CACHE_ALLOCATE_EVEN)
        return slots;
    expected = mem_alloc((size_t)c->layers * (c->experts + 1), sizeof *expected);
    cache_expect_misses(config->profile, c->layers, c->experts, expected);
    cache_allocate(expected, c->layers, c->experts, total, slots);
    free(expected);
    return slots;
}

/* What the step's layer is within a layer's own set. */
static const uint32_t only_layer;

/* Sets with their capacities; arrays over slots follow from the sum. */
static void make_sets(struct cache *c, const struct cache_config *config)
{
    const struct cache_params *p = &config->params;
    uint32_t *slots = set_capacities(c, config), first_slot = 0;

    c->set = mem_zalloc(c->sets, sizeof *c->set);
    for (uint32_t i = 0; i < c->sets; i++) {
        struct cache_set *s = &c->set[i];
        size_t first = (size_t)i * c->experts;

        s->first_object = (uint32_t)first;
        s->slot = c->slot + first;
        s->bytes = p->bytes;
        s->env = (struct cache_env){
            .objects = c->per_layer ? c->experts : c->layers * c->experts,
            .capacity = slots[i],
            .experts = c->experts,
            .layer = c->per_layer ? &only_layer : &c->step_layer,
            .protect = p->protect != CACHE_PROTECT_NONE,
            .stamp = c->stamp + first,
            .next_use = c->future ? c->next_use + first : NULL,
            .profile = c->profile != NULL ? c->profile + first : NULL,
            .rng = rng_stream(config->seed, "cache", i)};
        c->slots += s->env.capacity;
    }
    free(slots);
    c->free = mem_alloc(c->slots, sizeof *c->free);
    c->held = mem_alloc(c->slots, sizeof *c->held);
    for (uint32_t i = 0; i < c->sets; i++) {
        struct cache_set *s = &c->set[i];

        s->free = c->free + first_slot;
        s->held = c->held + first_slot;
        s->free_count = s->env.capacity;
        for (uint32_t k = 0; k < s->free_count; k++)
            s->free[k] = first_slot + s->free_count - 1 - k;
        first_slot += s->free_count;
    }
}

/* Experts that one incoming expert can displace: as many small ones as the largest
 * outweighs. */
static uint32_t most_victims(const struct cache *c)
{
    uint64_t ratio;

    if (!c->ragged)
        return 1;
    ratio = c->max_bytes / min_of(c->bytes, c->layers) + 1;
    return ratio < c->slots ? (uint32_t)ratio : c->slots;
}

static void start_algorithms(struct cache *c, const void *params)
{
    size_t total = 0, *offset = mem_alloc(c->sets, sizeof *offset);

    for (uint32_t i = 0; i < c->sets; i++) {
        offset[i] = total;
        total += (c->algorithm->state_size(&c->set[i].env, params) + 15) / 16 * 16;
    }
    c->memory = mem_zalloc(total, 1);
    for (uint32_t i = 0; i < c->sets; i++) {
        c->set[i].state = (char *)c->memory + offset[i];
        c->algorithm->init(c->set[i].state, &c->set[i].env, params);
    }
    free(offset);
}

static void make_layers(struct cache *c)
{
    c->layer = mem_alloc(c->layers, sizeof *c->layer);
    for (uint32_t i = 0; i < c->layers; i++) {
        struct cache_set *s = &c->set[c->per_layer ? i : 0];
        size_t first = (size_t)i * c->experts;

        c->layer[i] =
            (struct cache_layer){.slot = c->slot + first,
                                 .next_use = c->future ? c->next_use + first : NULL,
                                 .stamp = c->stamp + first,
                                 .state = s->state,
                                 .set = s,
                                 .first_object = (uint32_t)first - s->first_object};
    }
}

/* Whether one more object may be there from the start, beside so many bytes. */
static bool may_start(const struct cache *c, const struct cache_set *s, uint32_t object,
                      uint64_t bytes)
{
    return s->slot[object] == CACHE_NONE &&
           cache_fits(c, s, bytes + (c->ragged ? cache_object_bytes(c, s, object) : 0)) &&
           (c->algorithm->admit == NULL || c->algorithm->admit(s->state, object));
}

static void fill_lowest(struct cache *c, struct cache_set *s)
{
    for (uint32_t x = 0; x < s->env.objects; x++)
        if (may_start(c, s, x, 0))
            (void)cache_settle(c, s, x);
}

/* `chosen`: [capacity] scratch. */
static void fill_highest(struct cache *c, struct cache_set *s, uint32_t *chosen)
{
    uint32_t count = 0;
    uint64_t bytes = 0;

    for (uint32_t x = s->env.objects; x > 0 && count < s->free_count; x--) {
        if (!may_start(c, s, x - 1, bytes))
            continue;
        chosen[count++] = x - 1;
        if (c->ragged)
            bytes += cache_object_bytes(c, s, x - 1);
    }
    while (count > 0)
        (void)cache_settle(c, s, chosen[--count]);
}

static void preload(struct cache *c, struct cache_set *s, int what)
{
    uint32_t *object = mem_alloc(s->env.capacity, sizeof *object);
    uint32_t count = 0;

    if (c->algorithm->preload != NULL)
        count = c->algorithm->preload(s->state, object);
    for (uint32_t i = 0; i < count; i++) {
        if (cache_fits(c, s, c->ragged ? cache_object_bytes(c, s, object[i]) : 0))
            (void)cache_settle(c, s, object[i]);
    }
    if (what == CACHE_PRELOAD_LINEAR)
        fill_lowest(c, s);
    else if (what == CACHE_PRELOAD_LAST)
        fill_highest(c, s, object);
    free(object);
}

/* Behind the residents' slots at first. */
static void make_spares(struct cache *c)
{
    c->spare = mem_alloc(c->spares, sizeof *c->spare);
    for (uint32_t i = 0; i < c->spares; i++)
        c->spare[i] = c->slots + i;
}

struct cache *cache_new(const struct cache_config *config, struct err *e)
{
    const struct cache_params *p = &config->params;
    struct cache *c;

    if (check(config, e) != 0)
        return NULL;
    c = mem_zalloc(1, sizeof *c);
    c->algorithm = config->algorithm;
    c->hit = config->algorithm->hit;
    c->per_layer = p->scope == CACHE_PER_LAYER;
    c->prefer = p->protect == CACHE_PROTECT_PREFER;
    c->second_miss = p->admission == CACHE_ADMIT_SECOND_MISS;
    c->future = config->future;
    c->layers = config->layers;
    c->experts = config->experts;
    c->sets = c->per_layer ? c->layers : 1;
    c->staging = p->staging > 0 ? (uint32_t)p->staging : 1;
    c->spares = (uint32_t)p->spare;
    copy_config(c, config);
    c->max_bytes = max_of(c->bytes, c->layers);
    c->ragged =
        !c->per_layer && p->bytes > 0 && min_of(c->bytes, c->layers) != c->max_bytes;
    make_sets(c, config);
    if (c->spares > 0)
        make_spares(c);
    c->capacity_bytes = total_capacity(c, p);
    c->evicted = mem_alloc(most_victims(c), sizeof *c->evicted);
    start_algorithms(c, config->algorithm_params);
    make_layers(c);
    for (uint32_t i = 0; i < c->sets; i++)
        preload(c, &c->set[i], p->preload);
    return c;
}

void cache_free(struct cache *c)
{
    if (c == NULL)
        return;
    free(c->memory);
    free(c->held);
    free(c->free);
    free(c->set);
    free(c->layer);
    free(c->evicted);
    free(c->spare);
    free(c->bytes);
    free(c->layer_of);
    free(c->next_use);
    free(c->profile);
    free(c->missed);
    free(c->stamp);
    free(c->slot);
    free(c);
}

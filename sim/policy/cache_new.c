/* The cache's life. */
#include "cache_allocate.h"
#include "cache_state.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

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

/* Of the smallest thing that it can hold. */
static uint64_t least_bytes(const struct cache_config *config)
{
    uint64_t least = min_of(config->expert_bytes, config->layers);
    uint64_t low =
        config->low_bytes == NULL ? least : min_of(config->low_bytes, config->layers);

    return low < least ? low : least;
}

/* What a cache of two forms of each expert cannot do. */
static int check_forms(const struct cache_config *config, struct err *e)
{
    const struct plugin *plugin = &config->algorithm->plugin;

    if (config->low_bytes == NULL)
        return 0;
    if (config->params.slots > 0)
        return err_set_key(e, "cache.slots",
                           "experts take different room in different numbers of bits; "
                           "give 'bytes' instead, such as cache: {bytes: 25%%}");
    if (config->experts > UINT16_MAX / 2)
        return err_set(e,
                       "the cache takes at most %u experts of a layer in two numbers "
                       "of bits",
                       UINT16_MAX / 2);
    if ((plugin->needs & (NEED_FUTURE | NEED_PROFILE | NEED_ROWS)) != 0)
        return err_set_key(e, "cache",
                           "cache policy '%s' knows experts in one number of bits only; "
                           "choose another, such as cache: lru",
                           plugin->name);
    return 0;
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
    if (config->params.closed > 0)
        return err_set_key(
            e, "cache.allocate",
            "slots go to every layer's set by the profile, but some layers "
            "keep no expert (offload: layers, or slots: none); leave out "
            "allocate");
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
    if (check_forms(config, e) != 0)
        return -1;
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
        uint32_t open = config->layers - p->closed;
        uint64_t share = global || open == 0 ? p->bytes : p->bytes / open;

        if (cache_closes(p, i))
            continue;
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
                (unsigned long long)(global ? size : size * open));
    }
    if (check_allocation(config, e) != 0)
        return -1;
    if (p->spare > 0 &&
        least_bytes(config) != max_of(config->expert_bytes, config->layers))
        return err_set_key(
            e, "cache.spare",
            "spare slots go from layer to layer, whose experts differ in "
            "size here (%llu to %llu bytes); leave out spare",
            (unsigned long long)least_bytes(config),
            (unsigned long long)max_of(config->expert_bytes, config->layers));
    if (global && p->bytes > 0 &&
        max_of(config->expert_bytes, config->layers) / least_bytes(config) >= UINT16_MAX)
        return err_set_key(e, "cache.bytes",
                           "expert sizes differ by more than %u times; give 'slots' "
                           "instead of 'bytes'",
                           UINT16_MAX);
    return 0;
}

/* What the smallest object of a layer, or of all `layers`, takes. */
static uint64_t smallest(const struct cache *c, uint32_t layer)
{
    uint64_t least = UINT64_MAX;

    for (uint32_t i = 0; i < c->layers; i++) {
        uint64_t bytes = c->low_bytes != NULL && c->low_bytes[i] < c->bytes[i]
                             ? c->low_bytes[i]
                             : c->bytes[i];

        if ((layer == c->layers || layer == i) && bytes < least)
            least = bytes;
    }
    return least;
}

/* Bytes that a set of two forms may take: its share, and not more than all its experts do
 * as they are. */
static uint64_t set_bytes(const struct cache *c, const struct cache_params *p, uint32_t i)
{
    uint64_t all = 0, share = c->per_layer ? p->bytes / c->layers : p->bytes;

    for (uint32_t l = 0; l < c->layers; l++)
        if (!c->per_layer || l == i)
            all += c->bytes[l] * (c->experts / 2);
    return share < all ? share : all;
}

/* Slots of set `i`. */
static uint32_t set_capacity(const struct cache *c, const struct cache_params *p,
                             uint32_t i)
{
    uint32_t open = c->layers - p->closed;
    uint32_t objects = c->per_layer ? c->experts : (open > 0 ? open : 1) * c->experts;
    uint64_t slots = (uint64_t)p->slots;

    if (c->per_layer && cache_closes(p, i))
        return 1; /* which is never taken */
    if (p->bytes > 0)
        slots = c->per_layer ? p->bytes / open / smallest(c, i)
                             : p->bytes / smallest(c, c->layers);
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

    if (c->low_bytes != NULL) {
        for (uint32_t i = 0; i < c->sets; i++)
            sum += c->set[i].bytes;
        return sum;
    }
    if (c->per_layer) {
        for (uint32_t i = 0; i < c->layers; i++)
            if (!cache_set_is_closed(c, &c->set[i]))
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
    if (config->low_bytes != NULL) {
        c->low_bytes = mem_alloc(c->layers, sizeof *c->low_bytes);
        memcpy(c->low_bytes, config->low_bytes, c->layers * sizeof *c->low_bytes);
    }
    c->slot = mem_alloc(all, sizeof *c->slot);
    memset(c->slot, 0xff, all * sizeof *c->slot);
    c->stamp = mem_zalloc(all, sizeof *c->stamp);
    if (c->second_miss)
        c->missed = mem_zalloc(all, sizeof *c->missed);
    if (config->params.closed > 0) {
        c->closed = mem_alloc(c->layers, sizeof *c->closed);
        for (uint32_t i = 0; i < c->layers; i++)
            c->closed[i] = cache_closes(&config->params, i);
    }
    if (config->profile != NULL && config->low_bytes == NULL) {
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
        s->bytes = c->low_bytes != NULL ? set_bytes(c, p, i) : p->bytes;
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
        s->free_count = s->env.capacity;
        if (p->closed == c->layers || cache_set_is_closed(c, s))
            s->free_count = 0;
        c->slots += s->free_count;
    }
    free(slots);
    c->free = mem_alloc(c->slots + (size_t)1, sizeof *c->free);
    c->held = mem_alloc(c->slots + (size_t)1, sizeof *c->held);
    for (uint32_t i = 0; i < c->sets; i++) {
        struct cache_set *s = &c->set[i];

        s->free = c->free + first_slot;
        s->held = c->held + first_slot;
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
    ratio = c->max_bytes / smallest(c, c->layers) + 1;
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

/* Whether its layer keeps experts. */
static bool may_keep(const struct cache *c, const struct cache_set *s, uint32_t object)
{
    return c->closed == NULL ||
           !c->closed[c->per_layer ? s->first_object / c->experts : c->layer_of[object]];
}

/* Whether one more object may be there from the start, beside so many bytes. */
static bool may_start(const struct cache *c, const struct cache_set *s, uint32_t object,
                      uint64_t bytes)
{
    return may_keep(c, s, object) && s->slot[object] == CACHE_NONE &&
           !cache_object_is_low(c, object) && cache_fits(c, s, object, bytes) &&
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
        if (may_keep(c, s, object[i]) && cache_fits(c, s, object[i], 0))
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
    c->experts = config->low_bytes != NULL ? 2 * config->experts : config->experts;
    c->sets = c->per_layer ? c->layers : 1;
    c->staging = p->staging > 0 ? (uint32_t)p->staging : 1;
    c->spares = (uint32_t)p->spare;
    copy_config(c, config);
    c->max_bytes = max_of(c->bytes, c->layers);
    c->ragged = c->low_bytes != NULL || (!c->per_layer && p->bytes > 0 &&
                                         min_of(c->bytes, c->layers) != c->max_bytes);
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
    free(c->low_bytes);
    free(c->layer_of);
    free(c->next_use);
    free(c->profile);
    free(c->missed);
    free(c->closed);
    free(c->stamp);
    free(c->slot);
    free(c);
}

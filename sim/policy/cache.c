/* The cache around a replacement algorithm: steps and accesses. */
#include "cache_state.h"

#include <assert.h>

/* ---- residents ---- */

static void forget_held(struct cache *c, struct cache_set *s, uint32_t i)
{
    s->held[i] = s->held[--s->held_count];
    c->held_count--;
}

static void release(struct cache *c, struct cache_set *s, uint32_t object)
{
    for (uint32_t i = 0; i < s->held_count; i++) {
        if (s->held[i].object == object) {
            forget_held(c, s, i);
            return;
        }
    }
}

static void drop(struct cache *c, struct cache_set *s, uint32_t object)
{
    uint32_t slot = s->slot[object];
    struct cache_eviction *out = &c->evicted[c->evicted_count++];

    assert(slot != CACHE_NONE && !cache_env_protected(&s->env, object));
    c->algorithm->evict(s->state, object);
    if (c->per_layer) {
        out->layer = (uint32_t)(s - c->set);
        out->expert = object;
    } else {
        out->layer = c->layer_of[object];
        out->expert = object - out->layer * c->experts;
    }
    out->slot = slot;
    s->slot[object] = CACHE_NONE;
    s->free[s->free_count++] = slot;
    if (c->ragged)
        s->used_bytes -= cache_object_bytes(c, s, object);
    if (c->held_count != 0)
        release(c, s, object);
}

static bool all_protected(const struct cache_set *s)
{
    for (uint32_t x = 0; x < s->env.objects; x++) {
        if (s->slot[x] != CACHE_NONE && s->env.stamp[x] != s->env.step)
            return false;
    }
    return true;
}

static uint32_t choose_victim(const struct cache *c, struct cache_set *s,
                              uint32_t incoming, bool demand)
{
    uint32_t victim = c->algorithm->victim(s->state, incoming);

    if (victim == CACHE_NONE && c->prefer && demand && all_protected(s)) {
        s->env.protect = false;
        victim = c->algorithm->victim(s->state, incoming);
    }
    return victim;
}

/* Where sizes differ several victims may be needed: is there enough to evict? Nothing is
 * evicted for an expert that cannot be kept anyway. */
static bool could_fit(const struct cache *c, const struct cache_set *s, uint32_t object,
                      bool demand)
{
    uint64_t room = s->bytes - s->used_bytes, bytes;

    if (!c->ragged || !s->env.protect || (c->prefer && demand))
        return true;
    bytes = cache_object_bytes(c, s, object);
    for (uint32_t x = 0; x < s->env.objects && room < bytes; x++) {
        if (s->slot[x] != CACHE_NONE && s->env.stamp[x] != s->env.step)
            room += cache_object_bytes(c, s, x);
    }
    return room >= bytes;
}

static bool make_room(struct cache *c, struct cache_set *s, uint32_t object, bool demand)
{
    bool protect = s->env.protect;

    if (!cache_fits(c, s, object, 0) && !could_fit(c, s, object, demand))
        return false;
    while (!cache_fits(c, s, object, 0)) {
        uint32_t victim = choose_victim(c, s, object, demand);

        if (victim != CACHE_NONE)
            drop(c, s, victim);
        s->env.protect = protect;
        if (victim == CACHE_NONE)
            return false;
    }
    return true;
}

/* ---- steps and accesses ---- */

/* What was prefetched for the step of `layer` that begins now, or for an earlier one, is
 * held no longer unless it is active. */
static void lapse(struct cache *c, struct cache_set *s, uint32_t layer)
{
    uint32_t first = layer * c->experts - s->first_object;

    for (uint32_t i = 0; i < s->held_count;) {
        const struct cache_held *h = &s->held[i];
        bool here = h->object - first < c->experts;

        if (h->until < c->pass ||
            (here && h->until == c->pass && s->env.stamp[h->object] != c->step))
            forget_held(c, s, i);
        else
            i++;
    }
}

/* What few steps have to do: rows are shown, and what was held lapses. */
static __attribute__((noinline)) void begin_aside(struct cache *c, uint32_t layer,
                                                  const uint16_t *active, uint32_t count)
{
    const struct cache_layer *l = &c->layer[layer];

    if (c->tokens != NULL)
        c->algorithm->rows(l->state, l->first_object, active, count, c->tokens);
    lapse(c, l->set, layer);
}

void cache_begin_step(struct cache *c, uint32_t layer, const uint16_t *active,
                      uint32_t count)
{
    const struct cache_layer *l = &c->layer[layer];
    uint64_t step = ++c->step;

    assert(layer < c->layers);
    l->set->env.step = step;
    c->step_layer = layer;
    for (uint32_t i = 0; i < count; i++)
        l->stamp[active[i]] = step;
    if (c->held_count != 0)
        begin_aside(c, layer, active, count);
}

void cache_add_active(struct cache *c, uint32_t layer, uint32_t expert)
{
    assert(layer == c->step_layer && expert < c->experts);
    c->layer[layer].stamp[expert] = c->step;
}

/* Gives a slot away for the oldest spare. */
static __attribute__((noinline)) uint32_t take_spare(struct cache *c, uint32_t slot)
{
    uint32_t *oldest = &c->spare[c->oldest], spare = *oldest;

    *oldest = slot;
    c->oldest = c->oldest + 1 == c->spares ? 0 : c->oldest + 1;
    return spare;
}

/* Makes an object resident for which there is room now: not in its victim's slot where
 * there are spares. */
static uint32_t settle(struct cache *c, struct cache_set *s, uint32_t object)
{
    if (__builtin_expect(c->spares > 0, 0) && c->evicted_count > 0) {
        uint32_t *slot = &s->free[s->free_count - 1];

        *slot = take_spare(c, *slot);
    }
    return cache_settle(c, s, object);
}

static struct cache_result bypass(struct cache *c)
{
    struct cache_result result = {.outcome = CACHE_BYPASS,
                                  .slot = c->slots + c->staged,
                                  .evicted_count = c->evicted_count,
                                  .evicted = c->evicted};

    if (c->spares > 0)
        result.slot = take_spare(c, c->spare[c->oldest]);
    else
        c->staged = c->staged + 1 == c->staging ? 0 : c->staged + 1;
    return result;
}

static bool admitted(struct cache *c, const struct cache_set *s, uint32_t object)
{
    uint8_t *missed;

    if (c->second_miss) {
        missed = &c->missed[s->first_object + object];
        *missed = !*missed;
        if (*missed)
            return false;
    }
    return c->algorithm->admit == NULL || c->algorithm->admit(s->state, object);
}

static __attribute__((noinline)) struct cache_result miss(struct cache *c, uint32_t layer,
                                                          uint32_t expert)
{
    struct cache_set *s = c->layer[layer].set;
    uint32_t object = c->layer[layer].first_object + expert;

    c->evicted_count = 0;
    if (c->closed != NULL && c->closed[layer])
        return bypass(c);
    if (c->algorithm->miss != NULL)
        c->algorithm->miss(s->state, object);
    if (!admitted(c, s, object) || !make_room(c, s, object, true))
        return bypass(c);
    return (struct cache_result){.outcome = CACHE_LOAD,
                                 .slot = settle(c, s, object),
                                 .evicted_count = c->evicted_count,
                                 .evicted = c->evicted};
}

struct cache_result cache_access(struct cache *c, uint32_t layer, uint32_t expert,
                                 struct cache_use next_use)
{
    const struct cache_layer *l = &c->layer[layer];
    uint32_t slot;

    assert(layer < c->layers && expert < c->experts);
    slot = l->slot[expert];
    if (c->future)
        l->next_use[expert] = next_use;
    if (slot == CACHE_NONE)
        return miss(c, layer, expert);
    if (c->held_count != 0)
        release(c, l->set, l->first_object + expert);
    if (c->hit != NULL)
        c->hit(l->state, l->first_object + expert);
    return (struct cache_result){.outcome = CACHE_HIT, .slot = slot};
}

void cache_order_hits_first(const struct cache *c, uint32_t layer, const uint16_t *expert,
                            uint32_t count, uint16_t *turn)
{
    const uint32_t *slot = c->layer[layer].slot;
    uint32_t at = 0;

    assert(layer < c->layers);
    for (int missing = 0; missing < 2; missing++)
        for (uint32_t i = 0; i < count; i++)
            if ((slot[expert[i]] == CACHE_NONE) == missing)
                turn[at++] = (uint16_t)i;
}

static void hit_all(struct cache *c, const struct cache_layer *l, const uint16_t *expert,
                    const struct cache_use *next_use, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t x = expert[i];

        if (c->future)
            l->next_use[x] = next_use == NULL ? CACHE_UNUSED : next_use[i];
        if (c->held_count != 0)
            release(c, l->set, l->first_object + x);
        if (c->hit != NULL)
            c->hit(l->state, l->first_object + x);
    }
}

uint32_t cache_access_hits(struct cache *c, uint32_t layer, const uint16_t *expert,
                           const struct cache_use *next_use, uint32_t count,
                           uint32_t *slot)
{
    const struct cache_layer *l = &c->layer[layer];
    const uint32_t *slot_of = l->slot;
    void (*hit)(void *state, uint32_t object) = c->hit;
    uint32_t hits = 0;

    assert(layer < c->layers);
    while (hits < count) {
        assert(expert[hits] < c->experts);
        slot[hits] = slot_of[expert[hits]];
        if (slot[hits] == CACHE_NONE)
            break;
        hits++;
    }
    if (c->future || c->held_count != 0 || hit == NULL) {
        hit_all(c, l, expert, next_use, hits);
    } else {
        void *state = l->state;
        uint32_t first = l->first_object;

        for (uint32_t i = 0; i < hits; i++)
            hit(state, first + expert[i]);
    }
    return hits;
}

/* The held experts pass for active ones while a victim is sought. */
static void mark_held(struct cache *c, struct cache_set *s)
{
    uint64_t *stamp = c->stamp + s->first_object;

    for (uint32_t i = 0; i < s->held_count;) {
        struct cache_held *h = &s->held[i];

        if (h->until < c->pass) {
            forget_held(c, s, i);
            continue;
        }
        h->stamp = stamp[h->object];
        stamp[h->object] = c->step;
        i++;
    }
}

static void unmark_held(struct cache *c, struct cache_set *s)
{
    uint64_t *stamp = c->stamp + s->first_object;

    for (uint32_t i = 0; i < s->held_count; i++)
        stamp[s->held[i].object] = s->held[i].stamp;
}

static void hold(struct cache *c, struct cache_set *s, uint32_t object, uint32_t until)
{
    for (uint32_t i = 0; i < s->held_count; i++) {
        if (s->held[i].object == object) {
            s->held[i].until = until;
            return;
        }
    }
    c->held_count++;
    s->held[s->held_count++] = (struct cache_held){.object = object, .until = until};
}

void cache_hold(struct cache *c, uint32_t layer, uint32_t expert, uint32_t pass)
{
    const struct cache_layer *l = &c->layer[layer];

    assert(layer < c->layers && expert < c->experts);
    if (l->slot[expert] != CACHE_NONE)
        hold(c, l->set, l->first_object + expert, pass);
}

struct cache_result cache_prefetch(struct cache *c, uint32_t layer, uint32_t expert,
                                   uint32_t pass)
{
    const struct cache_layer *l = &c->layer[layer];
    struct cache_set *s = l->set;
    uint32_t object = l->first_object + expert;
    struct cache_result result = {.outcome = CACHE_HIT, .slot = l->slot[expert]};
    bool protect = s->env.protect, room;

    assert(layer < c->layers && expert < c->experts);
    c->evicted_count = 0;
    if (result.slot == CACHE_NONE) {
        if (c->future)
            l->next_use[expert] = (struct cache_use){pass, layer * c->experts + expert};
        mark_held(c, s);
        s->env.step = c->step;
        s->env.protect = true;
        room = (c->closed == NULL || !c->closed[layer]) &&
               (c->algorithm->admit == NULL || c->algorithm->admit(s->state, object)) &&
               make_room(c, s, object, false);
        s->env.protect = protect;
        unmark_held(c, s);
        result = (struct cache_result){.outcome = CACHE_BYPASS,
                                       .slot = CACHE_NONE,
                                       .evicted_count = c->evicted_count,
                                       .evicted = c->evicted};
        if (!room)
            return result;
        result.outcome = CACHE_LOAD;
        result.slot = settle(c, s, object);
    }
    hold(c, s, object, pass);
    return result;
}

void cache_end_sequences(struct cache *c, uint32_t ended, uint32_t running)
{
    if (c->algorithm->end_sequences == NULL || ended == 0)
        return;
    for (uint32_t i = 0; i < c->sets; i++)
        c->algorithm->end_sequences(c->set[i].state, ended, running);
}

void cache_end_pass(struct cache *c)
{
    c->pass++;
    if (c->algorithm->end_pass == NULL)
        return;
    for (uint32_t i = 0; i < c->sets; i++)
        c->algorithm->end_pass(c->set[i].state);
}

void cache_lend_rows(struct cache *c, const uint32_t *tokens)
{
    assert(c->algorithm->rows != NULL && c->tokens == NULL);
    c->tokens = tokens;
    c->held_count++;
}

/* ---- questions ---- */

bool cache_wants_rows(const struct cache *c)
{
    return c->algorithm->rows != NULL;
}

uint32_t cache_slots(const struct cache *c)
{
    return c->slots;
}

uint32_t cache_set_slots(const struct cache *c)
{
    uint32_t least = CACHE_NONE;

    for (uint32_t i = 0; i < c->sets; i++)
        if (c->set[i].env.capacity < least && !cache_set_is_closed(c, &c->set[i]))
            least = c->set[i].env.capacity;
    return least == CACHE_NONE ? 1 : least;
}

uint64_t cache_capacity_bytes(const struct cache *c)
{
    return c->capacity_bytes;
}

uint32_t cache_slots_beside(const struct cache *c)
{
    return c->spares > 0 ? c->spares : c->staging;
}

uint64_t cache_staging_bytes(const struct cache *c)
{
    return cache_slots_beside(c) * c->max_bytes;
}

uint32_t cache_slot_of(const struct cache *c, uint32_t layer, uint32_t expert)
{
    assert(layer < c->layers && expert < c->experts);
    return c->layer[layer].slot[expert];
}

uint32_t cache_resident_count(const struct cache *c)
{
    uint32_t count = c->slots;

    for (uint32_t i = 0; i < c->sets; i++)
        count -= c->set[i].free_count;
    return count;
}

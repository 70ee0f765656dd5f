#include "rank.h"

#include <assert.h>

size_t rank_size(const struct cache_env *env)
{
    return env->capacity * (2 * sizeof(uint64_t) + sizeof(uint32_t)) +
           env->objects * sizeof(uint32_t);
}

void rank_init(struct rank *r, const struct cache_env *env, void *memory)
{
    r->count = 0;
    r->heap = env->capacity > RANK_SCAN;
    r->key = memory;
    r->tie = r->key + env->capacity;
    r->object = (uint32_t *)(void *)(r->tie + env->capacity);
    r->position = r->object + env->capacity;
}

static bool before(const struct rank *r, uint32_t a, uint32_t b)
{
    return r->key[a] < r->key[b] || (r->key[a] == r->key[b] && r->tie[a] < r->tie[b]);
}

static void place(struct rank *r, uint32_t entry, uint64_t key, uint64_t tie,
                  uint32_t object)
{
    r->key[entry] = key;
    r->tie[entry] = tie;
    r->object[entry] = object;
    r->position[object] = entry;
}

static void swap(struct rank *r, uint32_t a, uint32_t b)
{
    uint64_t key = r->key[a], tie = r->tie[a];
    uint32_t object = r->object[a];

    place(r, a, r->key[b], r->tie[b], r->object[b]);
    place(r, b, key, tie, object);
}

void rank_fix(struct rank *r, uint32_t entry)
{
    while (entry > 0 && before(r, entry, (entry - 1) / 2)) {
        swap(r, entry, (entry - 1) / 2);
        entry = (entry - 1) / 2;
    }
    for (;;) {
        uint32_t child = 2 * entry + 1;

        if (child >= r->count)
            return;
        if (child + 1 < r->count && before(r, child + 1, child))
            child++;
        if (!before(r, child, entry))
            return;
        swap(r, entry, child);
        entry = child;
    }
}

void rank_insert(struct rank *r, uint32_t object, uint64_t key, uint64_t tie)
{
    place(r, r->count, key, tie, object);
    r->count++;
    if (r->heap)
        rank_fix(r, r->count - 1);
}

void rank_remove(struct rank *r, uint32_t object)
{
    uint32_t entry = r->position[object], last = r->count - 1;

    assert(r->count > 0 && r->object[entry] == object);
    r->count = last;
    if (entry == last)
        return;
    place(r, entry, r->key[last], r->tie[last], r->object[last]);
    if (r->heap)
        rank_fix(r, entry);
}

/* The least of all entries. Ties are rare, so the compiler may turn the key's minimum
 * into conditional moves. */
static uint32_t least_entry(const struct rank *r)
{
    uint32_t best = 0;
    uint64_t best_key = r->key[0];

    for (uint32_t i = 1; i < r->count; i++) {
        uint64_t key = r->key[i];

        if (key < best_key || (key == best_key && r->tie[i] < r->tie[best])) {
            best_key = key;
            best = i;
        }
    }
    return best;
}

static uint32_t least_unprotected(const struct rank *r, const struct cache_env *env)
{
    uint32_t best = CACHE_NONE;

    for (uint32_t i = 0; i < r->count; i++) {
        if ((best == CACHE_NONE || before(r, i, best)) &&
            !cache_env_protected(env, r->object[i]))
            best = i;
    }
    return best;
}

/* Descends only below protected entries: an unprotected one is less than all beneath. */
static uint32_t search_heap(const struct rank *r, const struct cache_env *env,
                            uint32_t entry, uint32_t best)
{
    if (entry >= r->count || (best != CACHE_NONE && !before(r, entry, best)))
        return best;
    if (!cache_env_protected(env, r->object[entry]))
        return entry;
    best = search_heap(r, env, 2 * entry + 1, best);
    return search_heap(r, env, 2 * entry + 2, best);
}

uint32_t rank_least(const struct rank *r, const struct cache_env *env)
{
    uint32_t entry;

    if (r->count == 0)
        return CACHE_NONE;
    if (r->heap) {
        entry = search_heap(r, env, 0, CACHE_NONE);
    } else {
        entry = least_entry(r);
        if (cache_env_protected(env, r->object[entry]))
            entry = least_unprotected(r, env);
    }
    return entry == CACHE_NONE ? CACHE_NONE : r->object[entry];
}

#include "rank.h"

#include <assert.h>
#include <string.h>

/* The search takes this many entries at a time. */
#define LANES 4

static size_t entries(const struct cache_env *env)
{
    return ((size_t)env->capacity + LANES - 1) / LANES * LANES;
}

size_t rank_size(const struct cache_env *env, bool ties)
{
    return entries(env) * ((ties ? 2 : 1) * sizeof(uint64_t) + sizeof(uint32_t)) +
           env->objects * sizeof(uint32_t);
}

void rank_init(struct rank *r, const struct cache_env *env, bool ties, void *memory)
{
    uint64_t *next = memory;

    r->count = 0;
    r->heap = env->capacity > RANK_SCAN;
    r->key = next;
    next += entries(env);
    r->tie = ties ? next : NULL;
    next += ties ? entries(env) : 0;
    r->object = (uint32_t *)(void *)next;
    r->position = r->object + entries(env);
    memset(r->key, 0xff, entries(env) * sizeof *r->key);
}

static bool before(const struct rank *r, uint32_t a, uint32_t b)
{
    return r->key[a] < r->key[b] ||
           (r->key[a] == r->key[b] && r->tie != NULL && r->tie[a] < r->tie[b]);
}

static void place(struct rank *r, uint32_t entry, uint64_t key, uint64_t tie,
                  uint32_t object)
{
    r->key[entry] = key;
    if (r->tie != NULL)
        r->tie[entry] = tie;
    r->object[entry] = object;
    r->position[object] = entry;
}

static uint64_t tie_of(const struct rank *r, uint32_t entry)
{
    return r->tie != NULL ? r->tie[entry] : 0;
}

static void move(struct rank *r, uint32_t to, uint32_t from)
{
    place(r, to, r->key[from], tie_of(r, from), r->object[from]);
}

/* The entry leaves a hole that wanders to where it belongs. */
void rank_fix(struct rank *r, uint32_t entry)
{
    uint64_t key = r->key[entry], tie = tie_of(r, entry);
    uint32_t object = r->object[entry], child;

    while (entry > 0) {
        uint32_t parent = (entry - 1) / 2;

        if (r->key[parent] < key || (r->key[parent] == key && tie_of(r, parent) <= tie))
            break;
        move(r, entry, parent);
        entry = parent;
    }
    while ((child = 2 * entry + 1) < r->count) {
        if (child + 1 < r->count && before(r, child + 1, child))
            child++;
        if (key < r->key[child] || (key == r->key[child] && tie <= tie_of(r, child)))
            break;
        move(r, entry, child);
        entry = child;
    }
    place(r, entry, key, tie, object);
}

void rank_insert(struct rank *r, uint32_t object, uint64_t key, uint64_t tie)
{
    assert(key < UINT64_MAX);
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
    if (entry != last)
        move(r, entry, last);
    r->key[last] = UINT64_MAX;
    if (r->heap && entry != last)
        rank_fix(r, entry);
}

/* ---- search of the array ---- */

/* The first of the least keys of `count` entries, a multiple of LANES. Which entry is
 * less cannot be predicted, so there is no branch on it; and the lanes are independent,
 * so that one comparison does not wait for the other. */
static uint32_t least_key(const uint64_t *key, uint32_t count)
{
    uint64_t a = key[0], b = key[1], c = key[2], d = key[3];
    uint32_t at_a = 0, at_b = 1, at_c = 2, at_d = 3;

    for (uint32_t i = LANES; i < count; i += LANES) {
        at_a = key[i] < a ? i : at_a;
        a = key[i] < a ? key[i] : a;
        at_b = key[i + 1] < b ? i + 1 : at_b;
        b = key[i + 1] < b ? key[i + 1] : b;
        at_c = key[i + 2] < c ? i + 2 : at_c;
        c = key[i + 2] < c ? key[i + 2] : c;
        at_d = key[i + 3] < d ? i + 3 : at_d;
        d = key[i + 3] < d ? key[i + 3] : d;
    }
    at_a = b < a ? at_b : at_a;
    a = b < a ? b : a;
    at_c = d < c ? at_d : at_c;
    c = d < c ? d : c;
    return c < a ? at_c : at_a;
}

/* The least tie among the entries that share the key of `best`. */
static uint32_t least_tie(const uint64_t *key, const uint64_t *tie, uint32_t count,
                          uint32_t best)
{
    uint64_t least = key[best];
    uint32_t same = 0;

    for (uint32_t i = 0; i < count; i++)
        same += key[i] == least;
    for (uint32_t i = 0; same > 1 && i < count; i++) {
        if (key[i] == least && tie[i] < tie[best])
            best = i;
    }
    return best;
}

static uint32_t least_entry(const struct rank *r, const uint64_t *key)
{
    uint32_t best = least_key(key, (r->count + LANES - 1) / LANES * LANES);

    return r->tie != NULL ? least_tie(key, r->tie, r->count, best) : best;
}

static uint32_t scan(const struct rank *r, const struct cache_env *env)
{
    uint64_t key[RANK_SCAN];
    uint32_t entry = least_entry(r, r->key), end = 0;

    if (!cache_env_protected(env, r->object[entry]))
        return r->object[entry];
    /* Again, without the protected ones. */
    for (; end < r->count; end++)
        key[end] =
            r->key[end] | (0 - (uint64_t)(env->stamp[r->object[end]] == env->step));
    while (end % LANES != 0)
        key[end++] = UINT64_MAX;
    entry = least_entry(r, key);
    return key[entry] != UINT64_MAX ? r->object[entry] : CACHE_NONE;
}

/* ---- search of the heap ---- */

/* Descends only below protected entries: an unprotected one is less than all beneath. */
static uint32_t search(const struct rank *r, const struct cache_env *env, uint32_t entry,
                       uint32_t best)
{
    if (entry >= r->count || (best != CACHE_NONE && !before(r, entry, best)))
        return best;
    if (!cache_env_protected(env, r->object[entry]))
        return entry;
    best = search(r, env, 2 * entry + 1, best);
    return search(r, env, 2 * entry + 2, best);
}

uint32_t rank_least(const struct rank *r, const struct cache_env *env)
{
    uint32_t entry;

    if (r->count == 0)
        return CACHE_NONE;
    if (!r->heap)
        return scan(r, env);
    entry = search(r, env, 0, CACHE_NONE);
    return entry == CACHE_NONE ? CACHE_NONE : r->object[entry];
}

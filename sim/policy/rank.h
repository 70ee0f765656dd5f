/* Residents ordered by a key: the least is the next to go.
 *
 * The order is (key, tie); a user whose keys never repeat leaves ties out. Up to
 * RANK_SCAN residents the entries are an unordered array that is searched from end to
 * end: changing a key is one store, and that is what most accesses do. Above it they are
 * a binary min-heap. Either way `position` finds an object's entry, so that its key can
 * change. */
#ifndef MOESIM_POLICY_RANK_H
#define MOESIM_POLICY_RANK_H

#include "cache.h"

#include <stdbool.h>

#define RANK_SCAN 64

struct rank {
    uint32_t count;
    bool heap;
    uint64_t *key; /* by entry; below UINT64_MAX, which fills the array's unused end */
    uint64_t *tie; /* by entry, or NULL */
    uint32_t *object, *position; /* by entry; [objects] entry of a resident */
};

/* Bytes beside the struct, to be handed to rank_init, 8-aligned. */
size_t rank_size(const struct cache_env *env, bool ties);
void rank_init(struct rank *r, const struct cache_env *env, bool ties, void *memory);
/* `tie` is ignored by a ranking without ties. */
void rank_insert(struct rank *r, uint32_t object, uint64_t key, uint64_t tie);
void rank_remove(struct rank *r, uint32_t object);
/* Restores the heap after an entry's key or tie has changed. */
void rank_fix(struct rank *r, uint32_t entry);
/* The least unprotected resident, or CACHE_NONE. */
uint32_t rank_least(const struct rank *r, const struct cache_env *env);

static inline void rank_update(struct rank *r, uint32_t object, uint64_t key)
{
    uint32_t entry = r->position[object];

    r->key[entry] = key;
    if (r->heap)
        rank_fix(r, entry);
}

static inline void rank_update_tie(struct rank *r, uint32_t object, uint64_t key,
                                   uint64_t tie)
{
    r->tie[r->position[object]] = tie;
    rank_update(r, object, key);
}

#endif

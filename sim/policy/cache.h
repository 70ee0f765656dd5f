/* The cache slot: what stays resident in GPU memory.
 *
 * Two layers. A *replacement algorithm* (struct cache_algorithm, one file each) orders
 * the objects of one *set* and names victims. The *cache* (struct cache) does the rest
 * for all of them: scope (one set per layer, or one for all), capacity in slots or bytes,
 * which slot holds which expert, admission, in-step protection, preloading.
 *
 * An access is one expert of one layer in one pass, however many tokens it has. The
 * accesses of a step (pass, layer) come in ascending expert id; with `order: recorded` in
 * the order of each expert's last use, row by row and in the recorded order of a row's
 * choices, as an engine leaves them that touches an expert once per row; with
 * `order: hits-first` what is resident when the step begins comes before what is not,
 * each in ascending id. In-step protection: an expert that is active in this step is
 * never a victim (strict, the default), only when nothing else is resident (prefer), or
 * like any other (none). A miss that finds no victim, or that is not admitted,
 * *bypasses*: it is loaded into a staging slot for this step and not kept.
 *
 * Slots beside the residents are staging slots or, with `spare`, spare ones, which are
 * part of the pool: a load that evicts takes the spare that has been one for longest, and
 * the victim's slot becomes a spare in its place; so does a bypass, whose slot is a spare
 * again at once. What still reads or fills a spare is for the user of the cache to wait
 * for.
 *
 * Object ids: within a per-layer set the expert id; within a global set
 * layer * experts + expert. */
#ifndef MOESIM_POLICY_CACHE_H
#define MOESIM_POLICY_CACHE_H

#include "plugin.h"
#include "sim/base/rng.h"

#include <stdint.h>

#define CACHE_NONE UINT32_MAX  /* no object, no slot */
#define CACHE_NEVER UINT32_MAX /* pass of a use: never again */

/* When an expert is used next. Uses of a pass come in order of `place`. */
struct cache_use {
    uint32_t pass;  /* or CACHE_NEVER */
    uint32_t place; /* layer * experts + the access's number in its step, or by ascending
                       id simply + expert; any where there is no such use */
};
#define CACHE_UNUSED ((struct cache_use){CACHE_NEVER, 0})

/* ---- what an algorithm sees of its set; outlives the algorithm's state ---- */

struct cache_env {
    uint32_t objects;      /* ids are 0 .. objects - 1 */
    uint32_t capacity;     /* most objects that can be resident at once, at least 1 */
    uint32_t experts;      /* object x is of layer x / experts, within the set */
    const uint32_t *layer; /* of the current step, within the set: 0 in a layer's own */
    bool protect;          /* active objects of this step may not be victims now */
    uint64_t step;         /* the current step's number */
    const uint64_t *stamp; /* [objects] the last step in which it was active */
    const struct cache_use *next_use; /* [objects]; NULL without NEED_FUTURE */
    const uint64_t
        *profile;   /* [objects] load in the profile; NULL without NEED_PROFILE */
    struct rng rng; /* the set's own stream, for algorithms that draw: copy it */
};

static inline bool cache_env_protected(const struct cache_env *env, uint32_t object)
{
    return env->protect && env->stamp[object] == env->step;
}

struct cache_algorithm {
    struct plugin plugin;
    /* Bytes of state for one set; `params` is the struct its options filled. */
    size_t (*state_size)(const struct cache_env *env, const void *params);
    /* `state` is zeroed memory, 16-aligned. Nothing is resident. */
    void (*init)(void *state, const struct cache_env *env, const void *params);
    /* A resident object is accessed. NULL: nothing. */
    void (*hit)(void *state, uint32_t object);
    /* A non-resident object is accessed, before victim() and insert(). NULL: nothing. */
    void (*miss)(void *state, uint32_t object);
    /* May the object become resident? NULL: always. */
    bool (*admit)(void *state, uint32_t object);
    /* A resident, unprotected object to make room for `incoming`, or CACHE_NONE: there is
     * none, or the incoming object had better not be kept. evict() follows at once. */
    uint32_t (*victim)(void *state, uint32_t incoming);
    /* The object is no longer resident. */
    void (*evict)(void *state, uint32_t object);
    /* The object is now resident. */
    void (*insert)(void *state, uint32_t object);
    /* A pass has ended. NULL: nothing. */
    void (*end_pass)(void *state);
    /* A step begins, in which these experts of a layer, objects first + active[i], have
     * tokens[active[i]] rows. NULL: nothing. Only who has NEED_ROWS may count on it. */
    void (*rows)(void *state, uint32_t first, const uint16_t *active, uint32_t count,
                 const uint32_t *tokens);
    /* So many of the sequences with rows in this pass end with it, before end_pass(). */
    void (*end_sequences)(void *state, uint32_t ended, uint32_t running);
    /* Objects it wants resident from the start: fills `object`, at most `capacity`, and
     * returns how many (insert() follows for each). NULL: none. */
    uint32_t (*preload)(void *state, uint32_t *object);
};

/* ---- the cache ---- */

enum cache_scope { CACHE_PER_LAYER, CACHE_GLOBAL };
enum cache_protect { CACHE_PROTECT_STRICT, CACHE_PROTECT_PREFER, CACHE_PROTECT_NONE };
enum cache_admission { CACHE_ADMIT_ALWAYS, CACHE_ADMIT_SECOND_MISS };
enum cache_preload {
    CACHE_PRELOAD_NONE,
    CACHE_PRELOAD_LINEAR,
    CACHE_PRELOAD_LAST,
    CACHE_PRELOAD_AUTO
};
/* Of layer_slots, in words. */
enum { CACHE_SLOTS_ALL = -1, CACHE_SLOTS_AUTO = -2, CACHE_SLOTS_NONE = -3 };
enum cache_allocate { CACHE_ALLOCATE_EVEN, CACHE_ALLOCATE_PROFILE };
enum cache_order {
    CACHE_ORDER_ID,
    CACHE_ORDER_RECORDED,
    CACHE_ORDER_HITS_FIRST,
    CACHE_ORDERS
};

/* Options common to all algorithms; beside the algorithm's own in the same mapping. */
struct cache_params {
    int scope; /* enum cache_scope */
    /* As configured, on each GPU: at most one of them is not 0; for cache_resolve(). */
    int64_t layer_slots, total_slots;
    struct cfg_part room;
    /* Layers that keep no expert, whose accesses all bypass: so many from one on. Sizes
     * are those of the others. */
    uint32_t closed_from, closed;
    int64_t slots;  /* per set; 0: by bytes */
    uint64_t bytes; /* of the whole cache (per-layer scope: an equal share each) */
    int protect;    /* enum cache_protect */
    int admission;  /* enum cache_admission */
    int preload;    /* enum cache_preload: start empty, full with the lowest ids, or full
                       with the highest; auto: full where a word or a share makes it hold
                       every expert. Those of a full one come in ascending ids */
    int order;      /* enum cache_order: of the accesses of a step; the caller's affair */
    int allocate;   /* enum cache_allocate: slots of layers' sets, as many on average; by
                       the profile: cache_allocate.h. Wants that (policy_needs) */
    bool write_back;   /* a victim is copied to the host (weights that were swapped) */
    int64_t staging;   /* staging slots for bypassing experts, at least 1 */
    int64_t spare;     /* spare slots in place of staging ones; 0: none */
    int64_t in_flight; /* loads of a step that may be under way at once, 0: any number;
                          never more than a set has slots. The runner's affair */
};
extern const struct option cache_options[];
/* Whether a size is configured. */
bool cache_is_sized(const struct cache_params *p);
/* Whether it is filled before the first step, once `preload` is decided. */
static inline bool cache_starts_full(const struct cache_params *p)
{
    return p->preload == CACHE_PRELOAD_LINEAR || p->preload == CACHE_PRELOAD_LAST;
}
/* The order of accesses that a look-ahead has for it: which ones will be hits only the
 * cache itself can say. */
static inline enum cache_order cache_order_ahead(const struct cache_params *p)
{
    return p->order == CACHE_ORDER_HITS_FIRST ? CACHE_ORDER_ID
                                              : (enum cache_order)p->order;
}
/* Fills `slots` and `bytes` by what is configured, for so many layers and experts of
 * each, expert_bytes[layers] in size, and decides on `preload`; words and shares become
 * the numbers that they stand for. Returns NULL, or the key that cannot be and why in
 * `e`: more than there are, no equal shares, one size too many, or `auto`, which is only
 * for who knows the memory there is. */
const char *cache_resolve(struct cache_params *p, uint32_t layers, uint32_t experts,
                          const uint64_t *expert_bytes, struct err *e);
/* Memory that such a cache can take, staging or spare slots included; `experts` of each
 * layer, expert_bytes[layers]. */
uint64_t cache_room_bytes(const struct cache_params *c, uint32_t layers, uint32_t experts,
                          const uint64_t *expert_bytes);
/* Whether a layer keeps no expert. */
static inline bool cache_closes(const struct cache_params *p, uint32_t layer)
{
    return layer - p->closed_from < p->closed;
}
/* Whether every expert has room, so that none is ever evicted. */
bool cache_holds_all(const struct cache_params *c, uint32_t layers, uint32_t experts,
                     const uint64_t *expert_bytes);

struct cache_config {
    const struct cache_algorithm *algorithm;
    const void *algorithm_params;
    struct cache_params params;
    uint32_t layers, experts;
    const uint64_t *expert_bytes; /* [layers] */
    /* [layers] of experts that are there a second time, in fewer bits: expert x of a
     * layer as x + experts, whatever asks for one. Such a cache's size is in bytes. NULL:
     * none is. */
    const uint64_t *low_bytes;
    const uint64_t *profile;           /* (layer, expert) or NULL */
    bool future;                       /* next uses will be given */
    const struct cache_use *first_use; /* (layer, expert), so that an oracle can judge
                                          what is preloaded; or NULL */
    uint64_t seed;
};

struct cache;

/* Copies what it keeps. Fails with a sentence if not one expert fits. */
struct cache *cache_new(const struct cache_config *config, struct err *e);
void cache_free(struct cache *c);

/* Slots 0 .. cache_slots - 1 hold residents, the next cache_slots_beside ones are for
 * bypass; spare ones among them change places with those of residents. */
uint32_t cache_slots(const struct cache *c);
uint32_t cache_slots_beside(const struct cache *c);
/* Slots of the smallest set. */
uint32_t cache_set_slots(const struct cache *c);
/* Most bytes the residents can take, and the staging or spare slots beside them. */
uint64_t cache_capacity_bytes(const struct cache *c);
uint64_t cache_staging_bytes(const struct cache *c);
/* Slot of an expert, or CACHE_NONE. */
uint32_t cache_slot_of(const struct cache *c, uint32_t layer, uint32_t expert);
/* Residents at the moment; for tests and reports. */
uint32_t cache_resident_count(const struct cache *c);

/* Whether its algorithm goes by rows and sequences. If so the caller lends it
 * tokens[experts], which hold the rows of each active expert when a step begins, and says
 * which sequences end. */
bool cache_wants_rows(const struct cache *c);
void cache_lend_rows(struct cache *c, const uint32_t *tokens);
/* Of `running` sequences that have rows in this pass so many end with it. */
void cache_end_sequences(struct cache *c, uint32_t ended, uint32_t running);

/* Starts the next step: these experts are active in it (ascending ids). */
void cache_begin_step(struct cache *c, uint32_t layer, const uint16_t *active,
                      uint32_t count);

/* One more is: an expert in fewer bits that is accessed in place of an active one. */
void cache_add_active(struct cache *c, uint32_t layer, uint32_t expert);

struct cache_eviction {
    uint32_t layer, expert, slot;
};

enum cache_outcome {
    CACHE_HIT,   /* resident, in `slot` */
    CACHE_LOAD,  /* to be loaded into `slot`, and stays */
    CACHE_BYPASS /* to be loaded into staging or spare slot `slot`, for this step only */
};

/* What an access did, small enough to be returned in registers. `evicted` is owned by the
 * cache and valid until the next call. */
struct cache_result {
    uint16_t outcome;       /* enum cache_outcome */
    uint16_t evicted_count; /* more than one only if sizes differ; then a bypass can have
                               evicted too */
    uint32_t slot;
    const struct cache_eviction *evicted;
};

/* Numbers a step's experts in the order of `hits-first`: turn[i] is the place among
 * `expert` of the one whose turn is i. */
void cache_order_hits_first(const struct cache *c, uint32_t layer, const uint16_t *expert,
                            uint32_t count, uint16_t *turn);
/* Accesses one active expert. `next_use` is ignored without `future`. */
struct cache_result cache_access(struct cache *c, uint32_t layer, uint32_t expert,
                                 struct cache_use next_use);
/* Accesses experts one by one until one is not resident, which is not accessed yet; how
 * many were, with their slots in `slot`. `next_use` as above, or NULL for never. */
uint32_t cache_access_hits(struct cache *c, uint32_t layer, const uint16_t *expert,
                           const struct cache_use *next_use, uint32_t count,
                           uint32_t *slot);
/* Holds an expert, if it is resident, for its use in `pass` (counted from 0 by
 * cache_end_pass): no early load evicts it until it is used. One that was not active in
 * its layer's step of that pass is no longer held, and a demand miss may evict it at any
 * time. */
void cache_hold(struct cache *c, uint32_t layer, uint32_t expert, uint32_t pass);
/* Makes an expert resident ahead of its use in `pass`, and holds it.
 * Victims are neither active in this step nor held: hold whatever is wanted beside it
 * first. CACHE_BYPASS: no room, not loaded; CACHE_HIT: it is there already. The admission
 * option is for demand misses only. */
struct cache_result cache_prefetch(struct cache *c, uint32_t layer, uint32_t expert,
                                   uint32_t pass);
void cache_end_pass(struct cache *c);

#endif

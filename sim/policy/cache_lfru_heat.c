/* LFRU by heat, with hysteresis, as colibri's tiers have it (JustVugg/colibri, c/tier.h;
 * the guard is its pull request #474's):
 *
 *   heat(x)  = accesses of x, hit or miss, halved after every `halve` passes
 *   score(x) = heat(x) << 8 | max(0, 255 - accesses of the set since x's last)
 *
 * so that recency decides between equal heats only. The lowest score goes, of equal
 * scores the one used longest ago; but one of at least `guard` heat makes way only for an
 * expert whose score is above its own by a quarter and four accesses. Otherwise the
 * incoming one is not kept.
 *
 * The release looks for such exchanges every few tokens, in the background, and guards
 * against early loads; here a demand miss is the occasion, hence "reconstruction". */
#include "rank.h"

enum { MOST_RECENT = 255, MARGIN = 4 << 8 };

struct heat_params {
    int64_t guard, halve;
};

struct heat {
    const struct cache_env *env;
    struct rank rank; /* by heat, then by last access: the order of scores */
    uint64_t now, guard, halve, passes;
    uint64_t *last;  /* [objects] */
    uint64_t heat[]; /* [objects], then the above and the rank's memory */
};

static const struct option options[] = {
    {"guard", OPT_INT, offsetof(struct heat_params, guard), "2", 0, 1e9, NULL,
     "accesses from which on an expert makes way only for a clearly hotter one"},
    {"halve", OPT_INT, offsetof(struct heat_params, halve), "1024", 0, 1e9, NULL,
     "passes after which all counts are halved; 0: never"},
    {.name = NULL},
};

static size_t state_size(const struct cache_env *env, const void *params)
{
    (void)params;
    return sizeof(struct heat) + 2 * env->objects * sizeof(uint64_t) +
           rank_size(env, true);
}

static void init(void *state, const struct cache_env *env, const void *params)
{
    struct heat *s = state;
    const struct heat_params *p = params;

    s->env = env;
    s->guard = (uint64_t)p->guard;
    s->halve = (uint64_t)p->halve;
    s->last = s->heat + env->objects;
    rank_init(&s->rank, env, true, s->last + env->objects);
}

static void touch(struct heat *s, uint32_t object)
{
    s->heat[object]++;
    s->last[object] = ++s->now;
}

static void hit(void *state, uint32_t object)
{
    struct heat *s = state;

    touch(s, object);
    rank_update_tie(&s->rank, object, s->heat[object], s->last[object]);
}

static void miss(void *state, uint32_t object)
{
    touch(state, object);
}

static uint64_t score(const struct heat *s, uint32_t object)
{
    uint64_t age = s->now - s->last[object];

    return s->heat[object] << 8 | (age < MOST_RECENT ? MOST_RECENT - age : 0);
}

static uint32_t victim(void *state, uint32_t incoming)
{
    const struct heat *s = state;
    uint32_t cold = rank_least(&s->rank, s->env);
    uint64_t bar;

    if (cold == CACHE_NONE || s->heat[cold] < s->guard)
        return cold;
    bar = score(s, cold);
    return score(s, incoming) > bar + bar / 4 + MARGIN ? cold : CACHE_NONE;
}

static void evict(void *state, uint32_t object)
{
    struct heat *s = state;

    rank_remove(&s->rank, object);
}

static void insert(void *state, uint32_t object)
{
    struct heat *s = state;

    rank_insert(&s->rank, object, s->heat[object], s->last[object]);
}

/* Halving can make heats equal, whose order is another one then: the ranking is new. */
static void end_pass(void *state)
{
    struct heat *s = state;
    uint32_t count = s->rank.count;

    if (s->halve == 0 || ++s->passes % s->halve != 0)
        return;
    for (uint32_t x = 0; x < s->env->objects; x++)
        s->heat[x] /= 2;
    s->rank.count = 0;
    for (uint32_t i = 0; i < count; i++)
        insert(s, s->rank.object[i]);
}

const struct cache_algorithm cache_lfru_heat = {
    .plugin = {.slot = SLOT_CACHE,
               .name = "lfru-heat",
               .help =
                   "evict the expert used least often, then longest ago, and only for "
                   "a clearly hotter one; counts are halved now and then",
               .source = "JustVugg/colibri, c/tier.h and #474; moved from background "
                         "exchanges to demand misses",
               .variant = VARIANT_RECONSTRUCTION,
               .lossless = true,
               .options = options,
               .params_size = sizeof(struct heat_params)},
    .state_size = state_size,
    .init = init,
    .hit = hit,
    .miss = miss,
    .victim = victim,
    .evict = evict,
    .insert = insert,
    .end_pass = end_pass,
};

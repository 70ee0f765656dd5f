/* Least-Stale by intervals: the expert goes whose next use is expected last,
 *
 *   last access + max(1, interval),   interval <- (1 - weight) interval + weight (now -
 * last)
 *
 * at each hit, the first one setting it; accesses of the set are the clock. Of equals
 * goes the one used last. An interval goes with its expert. As two analyses of expert
 * traces have it that call this SpecMD's policy (qeinstein/adtc-llm-limited-hardware,
 * probes/edge0_port/tracka_k4.py); the newcomer itself is no candidate. */
#include "rank.h"

#include <string.h>

struct ewma_params {
    double weight;
};

struct ewma {
    const struct cache_env *env;
    struct rank rank; /* the last expected one first */
    uint64_t now;
    uint64_t *last; /* [objects] of residents */
    double weight;
    double interval[]; /* [objects] of residents, 0: none yet; then last, the rank's */
};

static const struct option options[] = {
    {"weight", OPT_DOUBLE, offsetof(struct ewma_params, weight), "0.25", 1e-6, 1, NULL,
     "of the last interval between two uses in their moving average"},
    {.name = NULL},
};

static size_t state_size(const struct cache_env *env, const void *params)
{
    (void)params;
    return sizeof(struct ewma) + env->objects * (sizeof(double) + sizeof(uint64_t)) +
           rank_size(env, true);
}

static void init(void *state, const struct cache_env *env, const void *params)
{
    struct ewma *s = state;

    s->env = env;
    s->weight = ((const struct ewma_params *)params)->weight;
    s->last = (uint64_t *)(void *)(s->interval + env->objects);
    rank_init(&s->rank, env, true, s->last + env->objects);
}

/* Doubles that are not negative compare like their bits; the rank's first is the least,
 * and the last use expected is wanted. */
static uint64_t key_of(const struct ewma *s, uint32_t object)
{
    double interval = s->interval[object] > 1.0 ? s->interval[object] : 1.0;
    double next = (double)s->last[object] + interval;
    uint64_t bits;

    memcpy(&bits, &next, sizeof bits);
    return ~bits;
}

static void hit(void *state, uint32_t object)
{
    struct ewma *s = state;
    double *average = &s->interval[object];
    double interval = (double)(++s->now - s->last[object]);

    *average =
        *average == 0.0 ? interval : (1.0 - s->weight) * *average + s->weight * interval;
    s->last[object] = s->now;
    rank_update_tie(&s->rank, object, key_of(s, object), ~s->now);
}

static uint32_t victim(void *state, uint32_t incoming)
{
    const struct ewma *s = state;

    (void)incoming;
    return rank_least(&s->rank, s->env);
}

static void evict(void *state, uint32_t object)
{
    struct ewma *s = state;

    rank_remove(&s->rank, object);
}

static void insert(void *state, uint32_t object)
{
    struct ewma *s = state;

    s->interval[object] = 0.0;
    s->last[object] = ++s->now;
    rank_insert(&s->rank, object, key_of(s, object), ~s->now);
}

const struct cache_algorithm cache_least_stale_ewma = {
    .plugin = {.slot = SLOT_CACHE,
               .name = "least-stale-ewma",
               .help = "evict the expert whose next use is expected last, by the average "
                       "interval of its uses; one of three codes named Least-Stale",
               .source = "qeinstein/adtc-llm-limited-hardware, "
                         "probes/edge0_port/tracka_k4.py (sim_leaststale_atomic)",
               .variant = VARIANT_RELEASED,
               .lossless = true,
               .options = options,
               .params_size = sizeof(struct ewma_params)},
    .state_size = state_size,
    .init = init,
    .hit = hit,
    .victim = victim,
    .evict = evict,
    .insert = insert,
};

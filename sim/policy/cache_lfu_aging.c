/* Least frequently used, with ageing: recent uses count more.
 *
 *   score(x) = sum over the accesses a of x of  decay^(passes since a) * 2^-h(a)
 *
 * where h(a) is how many times `window` accesses of the set were completed since a. The
 * lowest score goes; of equal scores the one accessed longest ago. Instead of shrinking
 * all scores, each new access weighs more, which orders them alike: the weight doubles
 * after a window and is divided by the decay after a pass. */
#include "rank.h"

#include <string.h>

struct aging_params {
    int64_t window;
    double decay;
    bool keep;
};

struct aging {
    const struct cache_env *env;
    struct rank rank;
    double weight, decay; /* of the next access */
    uint64_t now, window;
    bool keep;
    double score[]; /* [objects], then the rank's memory */
};

static const struct option options[] = {
    {"decay", OPT_DOUBLE, offsetof(struct aging_params, decay), "0.99", 0.01, 1, NULL,
     "factor on all scores after each pass; 1: none"},
    {"window", OPT_INT, offsetof(struct aging_params, window), "0", 0, 1e15, NULL,
     "halve all scores after this many accesses of the set; 0: never"},
    {"keep", OPT_BOOL, offsetof(struct aging_params, keep), "true", 0, 0, NULL,
     "scores survive eviction"},
    {.name = NULL},
};

static size_t state_size(const struct cache_env *env, const void *params)
{
    (void)params;
    return sizeof(struct aging) + env->objects * sizeof(double) + rank_size(env, true);
}

static void init(void *state, const struct cache_env *env, const void *params)
{
    struct aging *s = state;
    const struct aging_params *p = params;

    s->env = env;
    s->weight = 1.0;
    s->decay = p->decay;
    s->window = (uint64_t)p->window;
    s->keep = p->keep;
    rank_init(&s->rank, env, true, s->score + env->objects);
}

/* Doubles that are not negative compare like their bits. */
static uint64_t score_key(double score)
{
    uint64_t key;

    memcpy(&key, &score, sizeof key);
    return key;
}

/* Before the weight overflows, everything is scaled by a power of two. That keeps the
 * order, but for scores so small that they become equal, hence the new ranking. */
static void grow(struct aging *s, double factor)
{
    uint32_t count = s->rank.count;

    s->weight *= factor;
    if (s->weight < 0x1p512)
        return;
    s->weight *= 0x1p-512;
    for (uint32_t x = 0; x < s->env->objects; x++)
        s->score[x] *= 0x1p-512;
    s->rank.count = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t x = s->rank.object[i];

        rank_insert(&s->rank, x, score_key(s->score[x]), s->rank.tie[i]);
    }
}

static void touch(struct aging *s, uint32_t object)
{
    s->score[object] += s->weight;
    s->now++;
}

static void age(struct aging *s)
{
    if (s->window != 0 && s->now % s->window == 0)
        grow(s, 2.0);
}

static void hit(void *state, uint32_t object)
{
    struct aging *s = state;

    touch(s, object);
    rank_update_tie(&s->rank, object, score_key(s->score[object]), s->now);
    age(s);
}

static void miss(void *state, uint32_t object)
{
    struct aging *s = state;

    touch(s, object);
    age(s);
}

static uint32_t victim(void *state, uint32_t incoming)
{
    const struct aging *s = state;

    (void)incoming;
    return rank_least(&s->rank, s->env);
}

static void evict(void *state, uint32_t object)
{
    struct aging *s = state;

    rank_remove(&s->rank, object);
    if (!s->keep)
        s->score[object] = 0.0;
}

static void insert(void *state, uint32_t object)
{
    struct aging *s = state;

    rank_insert(&s->rank, object, score_key(s->score[object]), s->now);
}

static void end_pass(void *state)
{
    struct aging *s = state;

    grow(s, 1.0 / s->decay);
}

const struct cache_algorithm cache_lfu_aging = {
    .plugin = {.slot = SLOT_CACHE,
               .name = "lfu-aging",
               .help = "evict the expert used least often, where recent uses count more",
               .source = "exponential decay per pass, or halving per window of accesses",
               .variant = VARIANT_STANDARD,
               .lossless = true,
               .options = options,
               .params_size = sizeof(struct aging_params)},
    .state_size = state_size,
    .init = init,
    .hit = hit,
    .miss = miss,
    .victim = victim,
    .evict = evict,
    .insert = insert,
    .end_pass = end_pass,
};

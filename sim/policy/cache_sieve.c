/* SIEVE: one queue in order of loading, a visited mark per expert, and a hand that moves
 * from old to new, clears marks, and evicts the first without one. Unlike CLOCK, what is
 * passed over stays where it is. A protected expert is passed over with its mark. */
#include "cache.h"
#include "order.h"

struct sieve {
    const struct cache_env *env;
    uint32_t head, count;
    uint32_t hand;            /* where the next search begins; the head: at the oldest */
    uint8_t *visited;         /* [objects] */
    struct order_link link[]; /* objects, then the head; first is the oldest */
};

static size_t state_size(const struct cache_env *env, const void *params)
{
    (void)params;
    return sizeof(struct sieve) + order_size(env->objects, 1) + env->objects;
}

static void init(void *state, const struct cache_env *env, const void *params)
{
    struct sieve *s = state;

    (void)params;
    s->env = env;
    s->head = s->hand = env->objects;
    s->visited = (uint8_t *)(s->link + env->objects + 1);
    order_init(s->link, s->head);
}

static void hit(void *state, uint32_t object)
{
    struct sieve *s = state;

    s->visited[object] = 1;
}

static uint32_t victim(void *state, uint32_t incoming)
{
    struct sieve *s = state;
    uint32_t x = s->hand, passed = 0; /* protected ones in a row */

    (void)incoming;
    while (passed < s->count) {
        if (x == s->head) {
            x = order_first(s->link, s->head);
            continue;
        }
        if (cache_env_protected(s->env, x)) {
            passed++;
        } else if (s->visited[x] != 0) {
            passed = 0;
            s->visited[x] = 0;
        } else {
            s->hand = x;
            return x;
        }
        x = s->link[x].next;
    }
    return CACHE_NONE;
}

static void evict(void *state, uint32_t object)
{
    struct sieve *s = state;

    if (s->hand == object)
        s->hand = s->link[object].next;
    order_remove(s->link, object);
    s->count--;
}

static void insert(void *state, uint32_t object)
{
    struct sieve *s = state;

    order_append(s->link, s->head, object);
    s->visited[object] = 0;
    s->count++;
}

const struct cache_algorithm cache_sieve = {
    .plugin = {.slot = SLOT_CACHE,
               .name = "sieve",
               .help = "a hand from old to new evicts the first expert not used since it "
                       "passed; the rest stay put",
               .source = "Zhang et al., SIEVE is Simpler than LRU (NSDI 2024)",
               .variant = VARIANT_STANDARD,
               .lossless = true},
    .state_size = state_size,
    .init = init,
    .hit = hit,
    .victim = victim,
    .evict = evict,
    .insert = insert,
};

/* A static set: the experts with the highest load in a profile are resident from the
 * start and stay; no other is ever kept. Equal loads: the lower id. */
#include "cache.h"

struct pin {
    const struct cache_env *env;
    uint32_t count;
    uint8_t *pinned;   /* [objects] */
    uint32_t object[]; /* [count] by falling load, then `pinned` */
};

static size_t state_size(const struct cache_env *env, const void *params)
{
    (void)params;
    return sizeof(struct pin) + env->capacity * sizeof(uint32_t) + env->objects;
}

static bool ahead(const struct cache_env *env, uint32_t a, uint32_t b)
{
    return env->profile[a] > env->profile[b] ||
           (a < b && env->profile[a] == env->profile[b]);
}

/* Sifts entry `i` of a heap whose root is the least wanted. */
static void sift(const struct cache_env *env, uint32_t *heap, uint32_t count, uint32_t i)
{
    for (;;) {
        uint32_t child = 2 * i + 1, x = heap[i];

        if (child >= count)
            return;
        if (child + 1 < count && ahead(env, heap[child], heap[child + 1]))
            child++;
        if (ahead(env, heap[child], x))
            return;
        heap[i] = heap[child];
        heap[child] = x;
        i = child;
    }
}

/* Keeps the best `capacity` in a heap, then sorts it. */
static void init(void *state, const struct cache_env *env, const void *params)
{
    struct pin *s = state;
    uint32_t *heap = s->object, count = env->capacity;

    (void)params;
    s->env = env;
    s->count = count;
    s->pinned = (uint8_t *)(heap + count);
    for (uint32_t i = 0; i < count; i++)
        heap[i] = i;
    for (uint32_t i = count / 2; i-- > 0;)
        sift(env, heap, count, i);
    for (uint32_t x = count; x < env->objects; x++) {
        if (ahead(env, x, heap[0])) {
            heap[0] = x;
            sift(env, heap, count, 0);
        }
    }
    for (uint32_t left = count; left-- > 1;) {
        uint32_t worst = heap[0];

        heap[0] = heap[left];
        heap[left] = worst;
        sift(env, heap, left, 0);
    }
    for (uint32_t i = 0; i < count; i++)
        s->pinned[heap[i]] = 1;
}

static void ignore(void *state, uint32_t object)
{
    (void)state;
    (void)object;
}

static bool admit(void *state, uint32_t object)
{
    const struct pin *s = state;

    return s->pinned[object] != 0;
}

static uint32_t victim(void *state, uint32_t incoming)
{
    (void)state;
    (void)incoming;
    return CACHE_NONE;
}

static uint32_t preload(void *state, uint32_t *object)
{
    const struct pin *s = state;

    for (uint32_t i = 0; i < s->count; i++)
        object[i] = s->object[i];
    return s->count;
}

/* Nothing but the list ever stays, and that from the start. */
static const char *const idle[] = {"admission", "preload", "protect", "write_back", NULL};

const struct cache_algorithm cache_pin = {
    .plugin = {.slot = SLOT_CACHE,
               .name = "pin",
               .help = "the experts with the highest load in the profile, from the start "
                       "and for good",
               .source = "Fiddler, KTransformers and llama.cpp hot lists",
               .variant = VARIANT_STANDARD,
               .lossless = true,
               .needs = NEED_PROFILE,
               .idle = idle},
    .state_size = state_size,
    .init = init,
    .admit = admit,
    .victim = victim,
    .evict = ignore,
    .insert = ignore,
    .preload = preload,
};

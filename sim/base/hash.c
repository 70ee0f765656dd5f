#include "hash.h"

#include "mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

struct hash {
    XXH3_state_t state;
};

struct hash *hash_new(void)
{
    struct hash *h = mem_aligned(_Alignof(struct hash), sizeof *h);

    (void)XXH3_128bits_reset(&h->state);
    return h;
}

void hash_add(struct hash *h, const void *bytes, size_t count)
{
    (void)XXH3_128bits_update(&h->state, bytes, count);
}

void hash_add_text(struct hash *h, const char *text)
{
    hash_add(h, text, strlen(text) + 1);
}

struct hash_value hash_now(const struct hash *h)
{
    XXH128_hash_t v = XXH3_128bits_digest(&h->state);

    return (struct hash_value){v.high64, v.low64};
}

void hash_free(struct hash *h)
{
    free(h);
}

struct hash_text hash_text(struct hash_value v)
{
    struct hash_text t;

    (void)snprintf(t.text, sizeof t.text, "%016llx%016llx", (unsigned long long)v.high,
                   (unsigned long long)v.low);
    return t;
}

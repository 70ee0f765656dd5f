/* 128-bit hashes (XXH3, Yann Collet) of files, configurations and whatever else has to be
 * recognised again: equal on every machine. Not for secrets. */
#ifndef MOESIM_BASE_HASH_H
#define MOESIM_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

struct hash_value {
    uint64_t high, low;
};

struct hash_text {
    char text[33];
};

struct hash; /* one being computed; opaque, owned by the caller */

struct hash *hash_new(void);
void hash_add(struct hash *h, const void *bytes, size_t count);
/* A text with its end, so that "a", "bc" differ from "ab", "c". */
void hash_add_text(struct hash *h, const char *text);
/* Of all that was added. */
struct hash_value hash_now(const struct hash *h);
/* NULL is fine. */
void hash_free(struct hash *h);

/* 32 hexadecimal digits. */
struct hash_text hash_text(struct hash_value v);

#endif

/* Memory: allocation that cannot fail (out of memory ends the program with a sentence),
 * with the multiplication checked. Blocks are freed with free(). */
#ifndef MOESIM_BASE_MEM_H
#define MOESIM_BASE_MEM_H

#include <stddef.h>
#include <stdio.h>

void *mem_alloc(size_t count, size_t size);  /* uninitialised */
void *mem_zalloc(size_t count, size_t size); /* zeroed */
/* Uninitialised, at a multiple of `alignment`, a power of two. */
void *mem_aligned(size_t alignment, size_t size);
void *mem_resize(void *block, size_t count, size_t size);
/* Room for one more behind `count`, in a block that only this function makes larger: it
 * doubles, so that many of them take no longer than their number. */
void *mem_grow(void *block, size_t count, size_t size);
char *mem_strdup(const char *text);
char *mem_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A text that is written to a stream. */
struct mem_stream {
    FILE *out;
    char *text;
    size_t size;
};
void mem_stream_open(struct mem_stream *m);
/* Closes it; returns the text, owned. */
char *mem_stream_close(struct mem_stream *m);

#endif

#include "mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void out_of_memory(size_t count, size_t size)
{
    (void)fprintf(stderr, "moesim: out of memory allocating %zu x %zu bytes\n", count,
                  size);
    exit(1);
}

static size_t product(size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size)
        out_of_memory(count, size);
    return count * size == 0 ? 1 : count * size;
}

void *mem_alloc(size_t count, size_t size)
{
    void *block = malloc(product(count, size));

    if (block == NULL)
        out_of_memory(count, size);
    return block;
}

void *mem_zalloc(size_t count, size_t size)
{
    void *block = calloc(1, product(count, size));

    if (block == NULL)
        out_of_memory(count, size);
    return block;
}

void *mem_aligned(size_t alignment, size_t size)
{
    size_t whole = (size + alignment - 1) & ~(alignment - 1);
    void *block = aligned_alloc(alignment, whole);

    if (block == NULL)
        out_of_memory(1, whole);
    return block;
}

void *mem_resize(void *block, size_t count, size_t size)
{
    void *moved = realloc(block, product(count, size));

    if (moved == NULL)
        out_of_memory(count, size);
    return moved;
}

void *mem_grow(void *block, size_t count, size_t size)
{
    if ((count & (count - 1)) != 0)
        return block;
    return mem_resize(block, count == 0 ? 1 : product(count, 2), size);
}

char *mem_strdup(const char *text)
{
    size_t size = strlen(text) + 1;

    return memcpy(mem_alloc(size, 1), text, size);
}

char *mem_format(const char *format, ...)
{
    va_list args;
    va_list again;
    char *text;
    int length;

    va_start(args, format);
    va_copy(again, args);
    length = vsnprintf(NULL, 0, format, args);
    text = mem_alloc((size_t)length + 1, 1);
    (void)vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    va_end(args);
    return text;
}

void mem_stream_open(struct mem_stream *m)
{
    *m = (struct mem_stream){.text = NULL};
    m->out = open_memstream(&m->text, &m->size);
    if (m->out == NULL)
        out_of_memory(1, sizeof *m->out);
}

char *mem_stream_close(struct mem_stream *m)
{
    if (ferror(m->out) != 0 || fclose(m->out) != 0)
        out_of_memory(1, m->size);
    return m->text;
}

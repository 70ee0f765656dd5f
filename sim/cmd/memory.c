/* Memory that runs out inside of a library. HDF5, GSL and libyaml ask for memory in a
 * thousand places, and some of them use what they did not get. So the program's own
 * malloc, calloc and realloc stand before the C library's (any program may define them)
 * and end the program with a sentence, as mem.h does for ours.
 *
 * A request above LARGEST is refused in the usual way: a library that believes a damaged
 * file asks for absurd amounts, and has an answer for that. Address and thread sanitizers
 * have their own malloc, which must come first. */
#define _GNU_SOURCE /* RTLD_NEXT */

#include "sim/base/file.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LARGEST ((size_t)64 << 20)

#if defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_OWN_MALLOC
#endif
#endif
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define HAS_OWN_MALLOC
#endif

#ifndef HAS_OWN_MALLOC

/* The next definition in the order of loading. */
static void find(void *function, const char *name)
{
    void *symbol = dlsym(RTLD_NEXT, name);

    memcpy(function, &symbol, sizeof symbol);
}

/* Locks may be held, so nothing of the C library's but system calls. */
static void *out_of_memory(size_t size)
{
    static const char sentence[] =
        "moesim: out of memory; free some, or raise the limit (ulimit -v)\n";

    if (size > LARGEST) {
        errno = ENOMEM;
        return NULL;
    }
    file_remove_temporaries();
    (void)!write(STDERR_FILENO, sentence, sizeof sentence - 1);
    _exit(1);
}

void *malloc(size_t size)
{
    static void *(*next)(size_t);
    void *block;

    if (next == NULL)
        find(&next, "malloc");
    block = next(size);
    return block != NULL || size == 0 ? block : out_of_memory(size);
}

void *calloc(size_t count, size_t size)
{
    static void *(*next)(size_t, size_t);
    static _Thread_local int looking;
    void *block;

    if (next == NULL) {
        if (looking > 0)
            return NULL; /* dlsym() itself asks, and can do without */
        looking++;
        find(&next, "calloc");
        looking--;
    }
    block = next(count, size);
    if (block != NULL || count == 0 || size == 0)
        return block;
    return out_of_memory(count > SIZE_MAX / size ? SIZE_MAX : count * size);
}

void *realloc(void *block, size_t size)
{
    static void *(*next)(void *, size_t);
    void *moved;

    if (next == NULL)
        find(&next, "realloc");
    moved = next(block, size);
    return moved != NULL || size == 0 ? moved : out_of_memory(size);
}

#endif

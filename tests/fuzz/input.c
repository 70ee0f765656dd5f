#define _GNU_SOURCE
#include "input.h"

#include "sim/base/mem.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);
const char *__lsan_default_suppressions(void);

/* HDF5 1.10 itself leaks a little on some damaged files; what we leak is still found. */
const char *__lsan_default_suppressions(void)
{
    return "leak:libhdf5";
}

void fuzz_require(bool holds)
{
    if (!holds)
        abort();
}

void fuzz_require_sentence(int status, const struct err *e)
{
    if (status != 0 && getenv("FUZZ_SAY") != NULL)
        (void)fprintf(stderr, "%s\n", e->text);
    fuzz_require((status == 0) == (e->text[0] == '\0'));
    for (const char *c = e->text; *c != '\0'; c++)
        fuzz_require((unsigned char)*c >= 0x20 && *c != 0x7f);
}

/* ---- bytes as choices ---- */

uint64_t fuzz_take(struct fuzz_bytes *b, size_t count)
{
    uint64_t value = 0;

    for (size_t i = 0; i < count && b->left > 0; i++, b->left--)
        value = value << 8 | *b->next++;
    return value;
}

size_t fuzz_choose(struct fuzz_bytes *b, size_t count)
{
    return (size_t)fuzz_take(b, 1) % count;
}

int64_t fuzz_value(struct fuzz_bytes *b)
{
    static const int64_t edges[] = {0,         -1,     1,         65535,     65536,
                                    4096,      4097,   INT64_MAX, INT64_MIN, UINT32_MAX,
                                    INT32_MAX, 0x7c00, 0x7e00,    0x3c01,    0xfc00};
    uint64_t kind = fuzz_take(b, 1);

    if (kind < 128)
        return (int64_t)(kind % 16);
    if (kind < 192)
        return edges[kind % (sizeof edges / sizeof edges[0])];
    return (int64_t)fuzz_take(b, 8);
}

/* ---- files ---- */

const char *fuzz_file(const void *data, size_t size)
{
    static int file = -1;
    static char path[64];

    if (file < 0) {
        file = memfd_create("fuzz", MFD_CLOEXEC);
        fuzz_require(file >= 0);
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    }
    fuzz_require(ftruncate(file, 0) == 0 && pwrite(file, data, size, 0) == (ssize_t)size);
    return path;
}

static char *folder;

static void remove_folder(void)
{
    DIR *d = opendir(folder);
    struct dirent *entry;

    while (d != NULL && (entry = readdir(d)) != NULL)
        (void)unlinkat(dirfd(d), entry->d_name, 0);
    if (d != NULL)
        (void)closedir(d);
    (void)rmdir(folder);
    free(folder);
}

const char *fuzz_folder(void)
{
    const char *base = getenv("TMPDIR");

    if (folder != NULL)
        return folder;
    folder = mem_format("%s/moesim-fuzz-XXXXXX", base == NULL ? "/tmp" : base);
    fuzz_require(mkdtemp(folder) != NULL && atexit(remove_folder) == 0);
    return folder;
}

void fuzz_write(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");

    fuzz_require(f != NULL && fwrite(data, 1, size, f) == size && fclose(f) == 0);
}

/* ---- text ---- */

static const char *const words[] = {
    "0",
    "1",
    "-1",
    "2",
    "3",
    "7",
    "0.5",
    "1e9",
    "1e300",
    "1e-300",
    "-0",
    "nan",
    "inf",
    "1e18",
    "1e19",
    "4294967296",
    "65536",
    "1000000",
    "65535",
    "16777217",
    "0x10",
    "1e6",
    "''",
    "null",
    "yes",
    "no",
    "[]",
    "{}",
    "[1, 2]",
    "{a: 1}",
    "&a x",
    "*a",
    "1 B",
    "1 us",
    "3 TB/s",
    "1 ps",
    "9e6 s",
    "1 %",
    "0 GiB",
    "1e12 flop/s",
    "# ",
    "\n- ",
    "\"\\x1b[31m\"",
    "=1+1",
    "!!int 3",
    "---\n",
    "18446744073709551615",
    "9223372036854775807",
    "-9223372036854775808",
};

static bool ends_word(uint8_t c)
{
    return c <= ' ' || strchr(",:{}[]\"'", c) != NULL;
}

/* The word that holds byte `at`: [*first, *last). */
static void find_word(const uint8_t *data, size_t size, size_t at, size_t *first,
                      size_t *last)
{
    for (*first = at; *first > 0 && !ends_word(data[*first - 1]);)
        --*first;
    for (*last = at; *last < size && !ends_word(data[*last]);)
        ++*last;
}

static void find_line(const uint8_t *data, size_t size, size_t at, size_t *first,
                      size_t *last)
{
    for (*first = at; *first > 0 && data[*first - 1] != '\n';)
        --*first;
    for (*last = at; *last < size && data[*last] != '\n';)
        ++*last;
    *last += *last < size;
}

/* [first, last) gives way to `length` bytes. */
static size_t replace(uint8_t *data, size_t size, size_t room, size_t first, size_t last,
                      const uint8_t *bytes, size_t length)
{
    if (size - (last - first) + length > room)
        return size;
    memmove(data + first + length, data + last, size - last);
    memcpy(data + first, bytes, length);
    return size - (last - first) + length;
}

size_t fuzz_mutate_text(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    size_t at = size == 0 ? 0 : (seed >> 4) % size, first, last, length;
    const char *word = words[(seed >> 20) % (sizeof words / sizeof words[0])];
    uint8_t *copy;

    if (size == 0 || seed % 4 == 0)
        return LLVMFuzzerMutate(data, size, room);
    if (seed % 4 < 3) {
        find_word(data, size, at, &first, &last);
        return replace(data, size, room, first, last, (const void *)word, strlen(word));
    }
    find_line(data, size, at, &first, &last);
    if (seed / 4 % 2 == 0)
        return replace(data, size, room, first, last, data, 0);
    length = last - first;
    copy = mem_alloc(length + 1, 1);
    memcpy(copy, data + first, length);
    find_line(data, size, (seed >> 3) % size, &first, &last);
    size = replace(data, size, room, first, first, copy, length);
    free(copy);
    return size;
}

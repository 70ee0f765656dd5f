/* A fuzz target without the fuzzer: runs it on the files and folders named, each file
 * once, so that every compiler and mode can try the seeds. */
#include "input.h"

#include "sim/base/file.h"
#include "sim/base/mem.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);

/* Nothing is mutated here. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room)
{
    (void)data;
    (void)room;
    return size;
}

static int replay_file(const char *path)
{
    struct err e = {.text = ""};
    size_t size;
    char *bytes = file_read(path, (size_t)64 << 20, &size, &e);

    if (bytes == NULL) {
        (void)fprintf(stderr, "%s\n", e.text);
        return -1;
    }
    (void)fprintf(stderr, "%s\n", path);
    (void)LLVMFuzzerTestOneInput((const uint8_t *)bytes, size);
    free(bytes);
    return 0;
}

static int replay(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *entry;
    int status = 0;

    if (d == NULL)
        return replay_file(path);
    while ((entry = readdir(d)) != NULL) {
        char *name = mem_format("%s/%s", path, entry->d_name);

        if (entry->d_name[0] != '.' && replay(name) != 0)
            status = -1;
        free(name);
    }
    (void)closedir(d);
    return status;
}

int main(int argc, char **argv)
{
    int status = 0;

    if (LLVMFuzzerInitialize != NULL)
        (void)LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++)
        if (replay(argv[i]) != 0)
            status = 1;
    return status;
}

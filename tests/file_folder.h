/* A fresh folder for each test of files. After cmocka.h. */
#ifndef MOESIM_TESTS_FILE_FOLDER_H
#define MOESIM_TESTS_FILE_FOLDER_H

#include "sim/base/mem.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A fresh folder per test; `state` is its path. */
static inline int set_up(void **state)
{
    const char *base = getenv("TMPDIR");
    char *folder = mem_format("%s/moesim-file-XXXXXX", base == NULL ? "/tmp" : base);

    *state = folder;
    return mkdtemp(folder) == NULL ? -1 : 0;
}

/* Counts the entries of a folder, and removes them if asked (files and empty folders). */
static inline int entries(const char *folder, int clear)
{
    DIR *d = opendir(folder);
    struct dirent *entry;
    int count = 0;

    assert_non_null(d);
    while ((entry = readdir(d)) != NULL) {
        char *path;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        count++;
        path = mem_format("%s/%s", folder, entry->d_name);
        if (clear)
            (void)remove(path);
        free(path);
    }
    (void)closedir(d);
    return count;
}

static inline int tear_down(void **state)
{
    char *folder = *state;

    (void)entries(folder, 1);
    (void)rmdir(folder);
    free(folder);
    return 0;
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

#endif

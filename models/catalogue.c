#include "catalogue.h"

#include "sim/base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Length of `text` without a trailing ".yaml"; 0 if it does not end so. */
static size_t stem_length(const char *text)
{
    static const char ending[] = ".yaml";
    size_t length = strlen(text);
    size_t tail = sizeof(ending) - 1;

    if (length <= tail || strcmp(text + length - tail, ending) != 0)
        return 0;
    return length - tail;
}

struct cfg *catalogue_load(const char *kind, const char *path_or_name, const char *folder,
                           struct err *e)
{
    struct cfg *c;
    char *path;

    if (strchr(path_or_name, '/') != NULL || stem_length(path_or_name) > 0)
        return cfg_load(path_or_name, e);
    path = mem_format("%s/%s.yaml", folder, path_or_name);
    if (access(path, R_OK) != 0) {
        (void)err_set(
            e, "there is no %s '%s': %s: %s; give a name from that folder or a path",
            kind, path_or_name, path, strerror(errno));
        free(path);
        return NULL;
    }
    c = cfg_load(path, e);
    free(path);
    return c;
}

static int by_bytes(const void *a, const void *b)
{
    const char *const *x = a;
    const char *const *y = b;

    return strcmp(*x, *y);
}

char **catalogue_names(const char *folder, size_t *count, struct err *e)
{
    DIR *d = opendir(folder);
    struct dirent *entry;
    char **names;
    size_t n = 0;
    size_t room = 16;

    if (d == NULL) {
        (void)err_set(e, "%s: %s", folder, strerror(errno));
        return NULL;
    }
    names = mem_alloc(room, sizeof(*names));
    while ((entry = readdir(d)) != NULL) {
        size_t stem = stem_length(entry->d_name);

        if (stem == 0 || entry->d_name[0] == '.')
            continue;
        if (n == room) {
            room *= 2;
            names = mem_resize(names, room, sizeof(*names));
        }
        names[n] = mem_strdup(entry->d_name);
        names[n][stem] = '\0';
        n++;
    }
    (void)closedir(d);
    qsort(names, n, sizeof(*names), by_bytes);
    *count = n;
    return names;
}

void catalogue_free(char **names, size_t count)
{
    if (names == NULL)
        return;
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

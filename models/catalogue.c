#include "catalogue.h"

#include "sim/base/mem.h"
#include "sim/base/nearest.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
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

/* "a100-80g, h100-80g, ...", as far as they go into `words`. */
static void list_names(char **names, size_t count, char *words, size_t room)
{
    size_t used = 0;

    words[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        bool last = used + strlen(names[i]) + 8 > room;
        int length = snprintf(words + used, room - used, "%s%s", i > 0 ? ", " : "",
                              last ? "..." : names[i]);

        if (last)
            return;
        used += (size_t)length;
    }
}

/* No file has the name; says which was meant, or which there are. */
static int refuse_name(enum file_kind kind, const char *name, const char *folder,
                       const char *path, struct err *e)
{
    const char *what = kind == FILE_MODEL     ? "model"
                       : kind == FILE_MACHINE ? "machine"
                                              : "table";
    int cause = errno;
    struct nearest near = nearest_to(name);
    char list[200];
    size_t count = 0;
    char **names = catalogue_names(folder, &count, e);

    if (names == NULL)
        return -1;
    for (size_t i = 0; i < count; i++)
        nearest_try(&near, names[i]);
    list_names(names, count, list, sizeof list);
    if (cause != ENOENT)
        (void)err_set(e, "the %s '%.80s' cannot be read: %s: %s", what, name, path,
                      strerror(cause));
    else if (near.best != NULL)
        (void)err_set(e, "there is no %s '%.80s'%s", what, name,
                      nearest_hint(&near).text);
    else
        (void)err_set(e,
                      "there is no %s '%.80s'; give the path of a file, which ends in "
                      ".yaml, or one of %s",
                      what, name, list);
    catalogue_free(names, count);
    return -1;
}

bool catalogue_is_path(const char *path_or_name)
{
    return strchr(path_or_name, '/') != NULL || stem_length(path_or_name) > 0;
}

char *catalogue_path(const char *path_or_name, const char *folder)
{
    return catalogue_is_path(path_or_name)
               ? mem_strdup(path_or_name)
               : mem_format("%s/%s.yaml", folder, path_or_name);
}

struct cfg *catalogue_load(enum file_kind kind, const char *path_or_name,
                           const char *folder, struct err *e)
{
    bool named = !catalogue_is_path(path_or_name);
    char *path = catalogue_path(path_or_name, folder);
    struct cfg *c = NULL;

    if (named && access(path, R_OK) != 0)
        (void)refuse_name(kind, path_or_name, folder, path, e);
    else if (named || file_kind_check(path, kind, e) == 0)
        c = cfg_load(path, e);
    free(path);
    return c;
}

/* ---- replaced numbers ---- */

/* A number of a machine stands with its source; one of a model alone. */
static int replace_number(struct cfg *c, enum file_kind kind, const char *path,
                          const struct cfg_node *to, const struct cfg_node *from,
                          struct err *e)
{
    bool sourced = to != NULL ? cfg_is_map(to) && cfg_find(to, "value") != NULL
                              : kind == FILE_MACHINE;
    char *value, *source, *words;
    int status;

    if (!sourced)
        return cfg_put(c, path, from, from, e);
    value = mem_format("%s.value", path);
    source = mem_format("%s.source", path);
    words = to == NULL ? mem_strdup("replaced by the study")
                       : mem_format("replaced by the study; was %s",
                                    cfg_text(cfg_find(to, "value")));
    status = cfg_put(c, value, from, from, e);
    if (status == 0)
        status = cfg_put_text(c, source, from, words, e);
    free(words);
    free(source);
    free(value);
    return status;
}

/* Replaces what `from` lists below `path` of the file. The depth of a document, and so of
 * this recursion, is bounded. */
static int replace(struct cfg *c, enum file_kind kind, const char *path,
                   const struct cfg_node *to, const struct cfg_node *from, char **changed,
                   struct err *e)
{
    int status = 0;

    for (size_t i = 0; i < cfg_count(from) && status == 0; i++) {
        const char *key = cfg_key(from, i);
        const struct cfg_node *item = cfg_item(from, i);
        const struct cfg_node *at = to == NULL ? NULL : cfg_find(to, key);
        char *below, *longer;

        if (*path == '\0' && strcmp(key, "name") == 0)
            continue;
        below = mem_format("%s%s%s", path, *path == '\0' ? "" : ".", key);
        if (cfg_is_map(item)) {
            status = replace(c, kind, below, at, item, changed, e);
        } else {
            status = replace_number(c, kind, below, at, item, e);
            longer = *changed == NULL ? mem_strdup(below)
                                      : mem_format("%s, %s", *changed, below);
            free(*changed);
            *changed = longer;
        }
        free(below);
    }
    return status;
}

struct cfg *catalogue_load_changed(enum file_kind kind, const struct cfg_node *given,
                                   const char *otherwise, const char *folder,
                                   char **changed, struct err *e)
{
    const char *what = kind == FILE_MODEL ? "model" : "machine";
    const struct cfg_node *named =
        given != NULL && cfg_is_map(given) ? cfg_find(given, "name") : given;
    const char *name = named != NULL ? cfg_text(named) : otherwise;
    struct cfg *c;

    *changed = NULL;
    if (name == NULL || *name == '\0') {
        (void)cfg_error(named != NULL ? named : given, e,
                        "'%s' names no %s; expected its name or file, or {name: NAME, "
                        "KEY: VALUE} to replace some of its numbers",
                        what, what);
        return NULL;
    }
    c = catalogue_load(kind, name, folder, e);
    if (c == NULL || given == NULL || !cfg_is_map(given) ||
        replace(c, kind, "", cfg_root(c), given, changed, e) == 0)
        return c;
    free(*changed);
    *changed = NULL;
    cfg_free(c);
    return NULL;
}

/* ---- all of a folder ---- */

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

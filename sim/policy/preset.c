/* The preset folder: which presets there are, and reading one. */
#include "policy.h"

#include "sim/base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char suffix[] = ".yaml";

static int by_name(const void *a, const void *b)
{
    char *const *x = a;
    char *const *y = b;

    return strcmp(*x, *y);
}

char **policy_presets(const char *folder, struct err *e)
{
    DIR *dir = opendir(folder);
    char **names = mem_zalloc(1, sizeof *names);
    size_t count = 0;
    const struct dirent *entry;

    if (dir == NULL) {
        (void)err_set(e, "the preset folder %s cannot be read: %s", folder,
                      strerror(errno));
        free(names);
        return NULL;
    }
    while ((entry = readdir(dir)) != NULL) {
        size_t length = strlen(entry->d_name);

        if (length < sizeof suffix || entry->d_name[0] == '.' ||
            strcmp(entry->d_name + length + 1 - sizeof suffix, suffix) != 0)
            continue;
        names = mem_resize(names, count + 2, sizeof *names);
        names[count] = mem_strdup(entry->d_name);
        names[count++][length + 1 - sizeof suffix] = '\0';
        names[count] = NULL;
    }
    (void)closedir(dir);
    /* The order of a folder is its file system's whim. */
    qsort(names, count, sizeof *names, by_name);
    return names;
}

void policy_presets_free(char **names)
{
    for (size_t i = 0; names != NULL && names[i] != NULL; i++)
        free(names[i]);
    free(names);
}

#define SLOT_OPTION(which, key)                                                          \
    {                                                                                    \
        key, OPT_NODE, offsetof(struct policy_preset, slot[which]), "", 0, 0, NULL, NULL \
    }

static const struct option options[] = {
    {"help", OPT_STRING, offsetof(struct policy_preset, help), NULL, 0, 0, NULL,
     "one line"},
    {"source", OPT_STRING, offsetof(struct policy_preset, source), NULL, 0, 0, NULL,
     "paper or code that it follows"},
    SLOT_OPTION(SLOT_GATE, "gate"),
    SLOT_OPTION(SLOT_SELECT, "select"),
    SLOT_OPTION(SLOT_PLACE, "place"),
    SLOT_OPTION(SLOT_CACHE, "cache"),
    SLOT_OPTION(SLOT_PREFETCH, "prefetch"),
    SLOT_OPTION(SLOT_OFFLOAD, "offload"),
    SLOT_OPTION(SLOT_SCHEDULE, "schedule"),
    {.name = NULL},
};

struct cfg *policy_preset_load(const char *folder, const char *name,
                               struct policy_preset *preset, struct err *e)
{
    char *path = mem_format("%s/%s%s", folder, name, suffix);
    struct cfg *c = cfg_load(path, e);

    free(path);
    if (c != NULL && cfg_bind(cfg_root(c), options, preset, e) != 0) {
        cfg_free(c);
        return NULL;
    }
    return c;
}

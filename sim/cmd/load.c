#define _XOPEN_SOURCE 700 /* realpath */

#include "cmd.h"
#include "sim/base/file_kind.h"
#include "sim/base/folder.h"
#include "sim/base/mem.h"
#include "sim/experiment/experiment.h"

#include <stdlib.h>
#include <string.h>

/* Where a configuration names files. */
static const struct {
    const char *section, *key;
    bool may_be_name;
} paths[] = {{"", "trace", false},
             {"", "profile", false},
             {"workload", "file", false},
             {"", "model", true},
             {"", "machine", true}};

/* True if a model or machine is given as a file, not by name (as catalogue_load has it).
 */
static bool is_file(const char *value)
{
    size_t length = strlen(value);

    return strchr(value, '/') != NULL ||
           (length > 5 && strcmp(value + length - 5, ".yaml") == 0);
}

/* What a path in a configuration should be, or NULL if it may stay; owned. */
typedef char *rewrite(const char *value, const char *config_path);

/* A relative file is meant from the configuration's folder. */
static char *from_folder(const char *value, const char *config_path)
{
    const char *slash = strrchr(config_path, '/');

    if (*value == '/' || slash == NULL)
        return NULL;
    return mem_format("%.*s/%s", (int)(slash - config_path), config_path, value);
}

static char *from_root(const char *value, const char *config_path)
{
    (void)config_path;
    return realpath(value, NULL); /* NULL: it is not there, as the run will say */
}

static void rewrite_one(struct cfg *c, const struct cfg_node *n, bool may_be_name,
                        rewrite *change, const char *config_path)
{
    const char *value = cfg_text(n);
    char *path;

    if (value == NULL || *value == '\0' || (may_be_name && !is_file(value)))
        return;
    path = change(value, config_path);
    if (path != NULL)
        cfg_set_text(c, n, path);
    free(path);
}

/* The values that a sweep has for a key that is a path. */
static void rewrite_swept(struct cfg *c, size_t i, rewrite *change,
                          const char *config_path)
{
    const struct cfg_node *sweep = cfg_find(cfg_root(c), "sweep"), *n;
    bool inside = *paths[i].section != '\0';
    char *keys[] = {
        mem_format("%s%s%s", paths[i].section, inside ? "." : "", paths[i].key),
        mem_format("%s.name", paths[i].key)};

    for (int k = 0; k < 2; k++) {
        n = sweep == NULL ? NULL : cfg_find(sweep, keys[k]);
        free(keys[k]);
        if (n != NULL && cfg_is_scalar(n))
            rewrite_one(c, n, paths[i].may_be_name, change, config_path);
        for (size_t v = 0; n != NULL && cfg_is_list(n) && v < cfg_count(n); v++)
            rewrite_one(c, cfg_item(n, v), paths[i].may_be_name, change, config_path);
    }
}

static void rewrite_key(struct cfg *c, size_t i, rewrite *change, const char *config_path)
{
    const struct cfg_node *n = cfg_root(c);

    if (*paths[i].section != '\0')
        n = cfg_find(n, paths[i].section);
    n = n == NULL ? NULL : cfg_find(n, paths[i].key);
    if (n != NULL && paths[i].may_be_name && cfg_is_map(n))
        n = cfg_find(n, "name");
    if (n != NULL)
        rewrite_one(c, n, paths[i].may_be_name, change, config_path);
}

static void rewrite_paths(struct cfg *c, rewrite *change, const char *config_path)
{
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        rewrite_key(c, i, change, config_path);
        rewrite_swept(c, i, change, config_path);
    }
}

void config_make_absolute(struct cfg *c)
{
    rewrite_paths(c, from_root, NULL);
}

/* Paths in the file count from its folder. */
static struct cfg *load(const char *path, struct err *e)
{
    struct cfg *c =
        file_kind_check(path, FILE_CONFIGURATION, e) == 0 ? cfg_load(path, e) : NULL;

    if (c != NULL)
        rewrite_paths(c, from_folder, path);
    return c;
}

/* One KEY=VALUE, which may also replace a number of model or machine. 0 or -1. */
static int set_key(struct cfg *c, const char *assignment, struct err *e)
{
    experiment_open_key(c, assignment);
    return cfg_override(c, assignment, e);
}

/* Frees a document that could not be made whole. */
static struct cfg *whole(struct cfg *c, int status)
{
    if (status == 0)
        return c;
    cfg_free(c);
    return NULL;
}

struct cfg *config_load(const char *path, const struct flag_list *set, struct err *e)
{
    struct cfg *c = load(path, e);
    int status = c == NULL ? -1 : 0;

    for (size_t i = 0; status == 0 && i < set->count; i++)
        status = set_key(c, set->item[i], e);
    return whole(c, status);
}

enum { PATHS = sizeof paths / sizeof *paths };

/* Which of them KEY=VALUE sets; PATHS: none. */
static size_t path_set(const char *assignment)
{
    size_t i = 0;

    for (bool found = false; i < PATHS; i++) {
        char *key = mem_format("%s%s%s", paths[i].section,
                               *paths[i].section == '\0' ? "" : ".", paths[i].key);
        size_t length = strlen(key);

        found = strncmp(assignment, key, length) == 0 &&
                (assignment[length] == '=' ||
                 strncmp(assignment + length, ".name=", strlen(".name=")) == 0);
        free(key);
        if (found)
            break;
    }
    return i;
}

const char *config_file_set(const char *assignment)
{
    size_t i = path_set(assignment);
    const char *value = i == PATHS ? NULL : strchr(assignment, '=') + 1;

    if (value == NULL || *value == '\0' || *value == '/' || *value == '{' ||
        (paths[i].may_be_name && !is_file(value)))
        return NULL;
    return value;
}

struct cfg *config_load_from(const char *path, const struct cfg_node *set,
                             const char *from, struct err *e)
{
    struct cfg *c = load(path, e);
    int status = c == NULL ? -1 : 0;

    for (size_t i = 0; status == 0 && set != NULL && i < cfg_count(set); i++) {
        const char *assignment = cfg_text(cfg_item(set, i));

        if (assignment == NULL)
            status = cfg_error(cfg_item(set, i), e,
                               "expected KEY=VALUE, such as workload.batch=8");
        else
            status = set_key(c, assignment, e);
        if (status == 0 && path_set(assignment) < PATHS)
            rewrite_key(c, path_set(assignment), from_folder, from);
    }
    return whole(c, status);
}

/* Refuses an output folder whose own files are among what the configuration reads. */
static int check_apart(const struct cfg *c, const char *path,
                       const struct folder_out *out, struct err *e)
{
    int status = folder_out_check_apart(out, path, e);

    for (size_t i = 0; status == 0 && i < sizeof paths / sizeof *paths; i++) {
        const struct cfg_node *n = cfg_root(c);

        if (*paths[i].section != '\0')
            n = cfg_find(n, paths[i].section);
        n = n == NULL ? NULL : cfg_find(n, paths[i].key);
        if (n != NULL)
            status = folder_out_check_apart(out, cfg_text(n), e);
    }
    return status;
}

struct folder_out *config_folder(const struct cfg *c, const char *path,
                                 const char *folder, const char *const *own,
                                 struct err *e)
{
    struct folder_out *f = folder_out_new(folder, e);

    if (f == NULL)
        return NULL;
    for (; *own != NULL; own++)
        folder_out_own(f, *own);
    if (check_apart(c, path, f, e) == 0)
        return f;
    folder_out_abandon(f, e);
    return NULL;
}

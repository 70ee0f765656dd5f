#define _XOPEN_SOURCE 700 /* realpath */

#include "cmd.h"
#include "models/catalogue.h"
#include "sim/base/file_kind.h"
#include "sim/base/folder.h"
#include "sim/base/mem.h"
#include "sim/experiment/experiment.h"

#include <stdlib.h>
#include <string.h>

/* Where a configuration names files. */
static const struct {
    const char *key;
    bool may_be_name;
} paths[] = {{"trace", false},         {"profile", false},
             {"workload.file", false}, {"model", true},
             {"machine", true},        {"place.file", false}}; /* of every policy */
enum { PATHS = sizeof paths / sizeof *paths, PLACE_FILE = PATHS - 1 };

/* What names a file: a text, or one that is below `name`, beside what replaces numbers.
 * NULL where there is none. */
static const struct cfg_node *file_of(const struct cfg_node *n, size_t i)
{
    if (n != NULL && paths[i].may_be_name && cfg_is_map(n))
        n = cfg_find(n, "name");
    return n == NULL || cfg_text(n) == NULL ? NULL : n;
}

/* What stands under `b` of the mapping under `a`, or NULL. */
static const struct cfg_node *find_below(const struct cfg_node *n, const char *a,
                                         const char *b)
{
    n = cfg_find(n, a);
    return n == NULL ? NULL : cfg_find(n, b);
}

/* In how many places of a configuration path i may stand. */
static size_t place_count(const struct cfg *c, size_t i)
{
    const struct cfg_node *policies = cfg_find(cfg_root(c), "policies");

    if (i != PLACE_FILE)
        return 1;
    return policies == NULL ? 0 : cfg_count(policies);
}

/* The file that path i names in the k-th of them, or NULL. */
static const struct cfg_node *find_file(const struct cfg *c, size_t i, size_t k)
{
    const struct cfg_node *root = cfg_root(c);

    if (i == PLACE_FILE)
        return file_of(
            find_below(cfg_item(cfg_find(root, "policies"), k), "place", "file"), i);
    if (strchr(paths[i].key, '.') == NULL)
        return file_of(cfg_find(root, paths[i].key), i);
    return file_of(find_below(root, "workload", "file"), i);
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

static void rewrite_one(struct cfg *c, const struct cfg_node *n, size_t i,
                        rewrite *change, const char *config_path)
{
    const char *value = n == NULL ? NULL : cfg_text(n);
    char *path;

    if (value == NULL || *value == '\0' ||
        (paths[i].may_be_name && !catalogue_is_path(value)))
        return;
    path = change(value, config_path);
    if (path != NULL)
        cfg_set_text(c, n, path);
    free(path);
}

/* A key that may be one policy's as if it were all of them's. */
static const char *in_policy(const char *key)
{
    const char *own = experiment_key_of_policy(key);

    return own == NULL ? key : own;
}

/* Which path a key is; PATHS: none. "machine.name" is that of "machine". */
static size_t path_of(const char *key, size_t length)
{
    size_t i = 0;

    length -= (size_t)(in_policy(key) - key);
    key = in_policy(key);
    for (; i < PATHS; i++) {
        size_t own = strlen(paths[i].key);

        if (strncmp(key, paths[i].key, own) == 0 &&
            (length == own || (paths[i].may_be_name && length == own + 5 &&
                               strncmp(key + own, ".name", 5) == 0)))
            break;
    }
    return i;
}

/* The values that a sweep, a search or a policy's `for` has for keys that are paths: one,
 * or a list. The depth of a document, and so of this recursion, is bounded. */
static void rewrite_swept(struct cfg *c, const char *above, const struct cfg_node *map,
                          rewrite *change, const char *config_path)
{
    for (size_t k = 0; k < cfg_count(map); k++) {
        const struct cfg_node *n = cfg_item(map, k);
        char *key =
            mem_format("%s%s%s", above, *above == '\0' ? "" : ".", cfg_key(map, k));
        size_t i = path_of(key, strlen(key));

        if (cfg_is_map(n))
            rewrite_swept(c, key, n, change, config_path);
        else if (i < PATHS && cfg_is_scalar(n))
            rewrite_one(c, n, i, change, config_path);
        for (size_t v = 0; i < PATHS && cfg_is_list(n) && v < cfg_count(n); v++)
            rewrite_one(c, file_of(cfg_item(n, v), i), i, change, config_path);
        for (size_t v = 0; strcmp(in_policy(key), "place") == 0 && v < cfg_count(n); v++)
            rewrite_one(c, cfg_find(cfg_item(n, v), "file"), PLACE_FILE, change,
                        config_path);
        free(key);
    }
}

static void rewrite_paths(struct cfg *c, rewrite *change, const char *config_path)
{
    const struct cfg_node *sweep = cfg_find(cfg_root(c), "sweep");
    const struct cfg_node *tune = cfg_find(cfg_root(c), "tune");
    const struct cfg_node *over = tune == NULL ? NULL : cfg_find(tune, "over");
    const struct cfg_node *policies = cfg_find(cfg_root(c), "policies");

    for (size_t i = 0; i < PATHS; i++)
        for (size_t k = 0; k < place_count(c, i); k++)
            rewrite_one(c, find_file(c, i, k), i, change, config_path);
    for (size_t k = 0; policies != NULL && k < cfg_count(policies); k++) {
        const struct cfg_node *loop = cfg_find(cfg_item(policies, k), "for");

        if (loop != NULL && cfg_is_map(loop))
            rewrite_swept(c, "", loop, change, config_path);
    }
    if (sweep != NULL && cfg_is_map(sweep))
        rewrite_swept(c, "", sweep, change, config_path);
    if (over != NULL && cfg_is_map(over))
        rewrite_swept(c, "", over, change, config_path);
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

const char *config_file_set(const char *assignment)
{
    size_t i = path_of(assignment, strcspn(assignment, "="));
    const char *value = i == PATHS ? NULL : strchr(assignment, '=') + 1;

    if (value == NULL || *value == '\0' || *value == '/' || *value == '{' ||
        (paths[i].may_be_name && !catalogue_is_path(value)))
        return NULL;
    return value;
}

/* A file that was just set, "KEY=FILE", is meant from the folder of `from`. */
static void rewrite_set(struct cfg *c, const char *assignment, size_t file,
                        const char *from)
{
    char *key = mem_format("%.*s", (int)strcspn(assignment, "="), assignment);
    const struct cfg_node *n =
        file == PLACE_FILE ? cfg_find_path(cfg_root(c), key) : find_file(c, file, 0);

    rewrite_one(c, n, file, from_folder, from);
    free(key);
}

struct cfg *config_load_from(const char *path, const struct cfg_node *set,
                             const char *from, struct err *e)
{
    struct cfg *c = load(path, e);
    int status = c == NULL ? -1 : 0;

    for (size_t i = 0; status == 0 && set != NULL && i < cfg_count(set); i++) {
        const char *assignment = cfg_text(cfg_item(set, i));
        size_t file;

        if (assignment == NULL)
            status = cfg_error(cfg_item(set, i), e,
                               "expected KEY=VALUE, such as workload.batch=8");
        else
            status = set_key(c, assignment, e);
        file = status == 0 ? path_of(assignment, strcspn(assignment, "=")) : PATHS;
        if (file < PATHS)
            rewrite_set(c, assignment, file, from);
    }
    return whole(c, status);
}

/* Refuses an output folder whose own files are among what the configuration reads. */
static int check_apart(const struct cfg *c, const char *path,
                       const struct folder_out *out, struct err *e)
{
    int status = folder_out_check_apart(out, path, e);

    for (size_t i = 0; status == 0 && i < PATHS; i++) {
        for (size_t k = 0; status == 0 && k < place_count(c, i); k++) {
            const struct cfg_node *n = find_file(c, i, k);

            if (n != NULL)
                status = folder_out_check_apart(out, cfg_text(n), e);
        }
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

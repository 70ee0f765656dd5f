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

/* A relative file is meant from the configuration's folder. */
static void resolve(struct cfg *c, const char *config_path, const char *section,
                    const char *key, bool may_be_name)
{
    const struct cfg_node *n = cfg_root(c);
    const char *slash = strrchr(config_path, '/');
    const char *value;
    char *path;

    if (*section != '\0')
        n = cfg_find(n, section);
    n = n == NULL ? NULL : cfg_find(n, key);
    if (n != NULL && may_be_name && cfg_is_map(n))
        n = cfg_find(n, "name");
    value = n == NULL ? NULL : cfg_text(n);
    if (value == NULL || *value == '\0' || *value == '/' || slash == NULL ||
        (may_be_name && !is_file(value)))
        return;
    path = mem_format("%.*s/%s", (int)(slash - config_path), config_path, value);
    cfg_set_text(c, n, path);
    free(path);
}

static struct cfg *load(const char *path, struct err *e)
{
    struct cfg *c =
        file_kind_check(path, FILE_CONFIGURATION, e) == 0 ? cfg_load(path, e) : NULL;

    for (size_t i = 0; c != NULL && i < sizeof paths / sizeof *paths; i++)
        resolve(c, path, paths[i].section, paths[i].key, paths[i].may_be_name);
    return c;
}

/* Frees a document that could not be made whole. */
static struct cfg *whole(struct cfg *c, int status)
{
    if (status == 0)
        return c;
    cfg_free(c);
    return NULL;
}

/* One KEY=VALUE, which may also replace a number of model or machine. 0 or -1. */
static int set_key(struct cfg *c, const char *assignment, struct err *e)
{
    experiment_open_key(c, assignment);
    return cfg_override(c, assignment, e);
}

/* Paths in the file count from its folder, paths of --set from where one is. */
struct cfg *config_load(const char *path, const struct flag_list *set, struct err *e)
{
    struct cfg *c = load(path, e);
    int status = c == NULL ? -1 : 0;

    for (size_t i = 0; status == 0 && i < set->count; i++)
        status = set_key(c, set->item[i], e);
    return whole(c, status);
}

/* Resolves what an assignment has just set. */
static void resolve_set(struct cfg *c, const char *from, const char *assignment)
{
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char *key = mem_format("%s%s%s", paths[i].section,
                               *paths[i].section == '\0' ? "" : ".", paths[i].key);
        size_t length = strlen(key);

        if (strncmp(assignment, key, length) == 0 &&
            (assignment[length] == '=' ||
             strncmp(assignment + length, ".name=", strlen(".name=")) == 0))
            resolve(c, from, paths[i].section, paths[i].key, paths[i].may_be_name);
        free(key);
    }
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
        if (status == 0)
            resolve_set(c, from, assignment);
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

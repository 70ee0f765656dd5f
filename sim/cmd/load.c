#include "cmd.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>

/* A relative trace or request file is meant from the configuration's folder. */
static int resolve(struct cfg *c, const char *config_path, const char *section,
                   const char *key, struct err *e)
{
    const struct cfg_node *n = cfg_root(c);
    const char *slash = strrchr(config_path, '/');
    const char *value;
    char *assignment;
    int status;

    if (*section != '\0')
        n = cfg_find(n, section);
    n = n == NULL ? NULL : cfg_find(n, key);
    value = n == NULL ? NULL : cfg_text(n);
    if (value == NULL || *value == '\0' || *value == '/' || slash == NULL)
        return 0;
    assignment = mem_format("%s%s%s=\"%.*s/%s\"", section, *section == '\0' ? "" : ".",
                            key, (int)(slash - config_path), config_path, value);
    status = cfg_override(c, assignment, e);
    free(assignment);
    return status;
}

struct cfg *config_load(const char *path, const struct flag_list *set, struct err *e)
{
    struct cfg *c = cfg_load(path, e);
    int status = c == NULL ? -1 : 0;

    /* Paths in the file count from its folder, paths of --set from where one is. */
    if (status == 0)
        status = resolve(c, path, "", "trace", e);
    if (status == 0)
        status = resolve(c, path, "", "profile", e);
    if (status == 0)
        status = resolve(c, path, "workload", "file", e);
    for (size_t i = 0; status == 0 && i < set->count; i++)
        status = cfg_override(c, set->item[i], e);
    if (status == 0)
        return c;
    cfg_free(c);
    return NULL;
}

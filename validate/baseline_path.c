/* Paths as a baseline has them: they count from the folder of its file. */
#define _XOPEN_SOURCE 700 /* realpath */
#include "baseline.h"

#include "sim/base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static char *folder_of(const char *path, struct err *e)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash == NULL ? mem_strdup(".")
                                 : mem_format("%.*s", (int)(slash - path) + 1, path);
    char *real = realpath(folder, NULL);

    if (real == NULL)
        (void)err_set(e, "%s: the folder is not there; make it first", folder);
    free(folder);
    return real;
}

/* From a folder to a file, both whole: "../b/file". Owned. */
static char *relative(const char *folder, const char *file)
{
    size_t shared = 0;
    char *up = mem_strdup(""), *path;

    for (size_t i = 0; folder[i] == file[i] || (folder[i] == '\0' && file[i] == '/');
         i++) {
        if (file[i] == '/')
            shared = i;
        if (folder[i] == '\0')
            break;
    }
    for (const char *at = folder + shared; *at == '/' && at[1] != '\0';) {
        char *longer = mem_format("../%s", up);

        free(up);
        up = longer;
        at++;
        at += strcspn(at, "/");
    }
    path = mem_format("%s%s", up, file + shared + 1);
    free(up);
    return path;
}

char *baseline_relative(const char *baseline, const char *file, struct err *e)
{
    char *folder = folder_of(baseline, e), *real = NULL, *path = NULL;

    if (folder != NULL) {
        real = realpath(file, NULL);
        if (real == NULL)
            (void)err_set(e, "%s: %s", file, strerror(errno));
        else
            path = relative(folder, real);
    }
    free(folder);
    free(real);
    return path;
}

char *baseline_path(const char *baseline, const char *path)
{
    const char *slash = strrchr(baseline, '/');

    if (*path == '/' || slash == NULL)
        return mem_strdup(path);
    return mem_format("%.*s/%s", (int)(slash - baseline), baseline, path);
}

/* A new baseline, and how its study is called from its folder. */
#define _XOPEN_SOURCE 700 /* realpath */
#include "baseline_parts.h"

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

/* The user's part; owned. */
static char *first_part(const char *study, const char *const *set, size_t sets)
{
    struct mem_stream m;
    FILE *out;

    mem_stream_open(&m);
    out = m.out;
    (void)fputs("# `moesim check` predicts this again and compares.\nstudy: ", out);
    record_text(out, study);
    (void)fputs(sets > 0 ? "\nset:\n" : "\n", out);
    for (size_t i = 0; i < sets; i++) {
        (void)fputs("  - ", out);
        record_text(out, set[i]);
        (void)fputc('\n', out);
    }
    (void)fputs("tolerance: {times: 0 %, counts: 0 %}\n", out);
    return mem_stream_close(&m);
}

int baseline_start(const char *path, const char *study, const char *const *set,
                   size_t sets, struct baseline *b, struct err *e)
{
    char *folder = folder_of(path, e), *file = realpath(study, NULL), *from;
    int status = -1;

    if (folder != NULL && file == NULL)
        (void)err_set(e, "%s: %s", study, strerror(errno));
    if (folder != NULL && file != NULL) {
        from = relative(folder, file);
        status = baseline_read(path, first_part(from, set, sets), b, e);
        free(from);
    }
    free(folder);
    free(file);
    return status;
}

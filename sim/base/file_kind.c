#include "file_kind.h"

#include "mem.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define HEAD_BYTES ((size_t)64 << 10)
#define SCAN_BYTES ((size_t)1 << 30) /* of an HDF5 file, for the name of its format */

static const struct {
    const char *what; /* "is ..." */
    const char *cure; /* what to do with it instead */
} kinds[FILE_KINDS] = {
    [FILE_FOLDER] = {"a folder", "give the name of a file in it"},
    [FILE_TRACE] = {"a trace",
                    "look at it with `moesim trace info`, or name it in a configuration "
                    "(trace: FILE)"},
    [FILE_RESULT] = {"a result of moesim",
                     "look at it with `moesim explain` or `report`"},
    [FILE_HDF5] = {"an HDF5 file", "traces are made with `moesim trace import`"},
    [FILE_NUMPY] = {"a NumPy file", "make a trace of it with `moesim trace import`"},
    [FILE_CONFIGURATION] = {"a configuration", "run it with `moesim run`"},
    [FILE_PARAMETERS] = {"a file of the generator's parameters",
                         "make a trace of it with `moesim trace gen`"},
    [FILE_MACHINE] = {"a machine", "name it in a configuration (machine: FILE)"},
    [FILE_MODEL] = {"a model", "name it in a configuration (model: FILE)"},
    [FILE_TABLE] = {"a published table", "check it with `moesim check --papers`"},
    [FILE_BASELINE] = {"a baseline", "check it with `moesim check`"},
};

static const char *const wanted_names[FILE_KINDS] = {
    [FILE_TRACE] = "a trace",
    [FILE_RESULT] = "a result",
    [FILE_MACHINE] = "a machine",
    [FILE_MODEL] = "a model",
    [FILE_TABLE] = "a published table",
    [FILE_BASELINE] = "a baseline",
    [FILE_CONFIGURATION] = "a configuration",
    [FILE_PARAMETERS] = "a file of parameters",
    [FILE_TEXT] = "a text table",
    [FILE_MAP] = "a placement map",
};

static bool holds(const char *bytes, size_t count, const char *name)
{
    size_t length = strlen(name);
    const char *at = bytes, *end = bytes + count;

    while ((size_t)(end - at) >= length &&
           (at = memchr(at, name[0], (size_t)(end - at) - length + 1)) != NULL) {
        if (memcmp(at, name, length) == 0)
            return true;
        at++;
    }
    return false;
}

/* Which format a file of HDF5 names; the name may stand anywhere. */
static enum file_kind hdf5_kind(FILE *in)
{
    static const char trace[] = "moesim-trace", result[] = "moesim-result";
    char *block = mem_alloc(HEAD_BYTES, 1);
    size_t kept = 0, got = 0;
    enum file_kind kind = FILE_HDF5;

    rewind(in);
    for (size_t done = 0; done < SCAN_BYTES && kind == FILE_HDF5; done += got) {
        size_t bytes;

        got = fread(block + kept, 1, HEAD_BYTES - kept, in);
        if (got == 0)
            break;
        bytes = kept + got;
        if (holds(block, bytes, trace))
            kind = FILE_TRACE;
        else if (holds(block, bytes, result))
            kind = FILE_RESULT;
        /* The name may begin in this block and end in the next. */
        kept = bytes < sizeof result ? bytes : sizeof result;
        memmove(block, block + bytes - kept, kept);
    }
    free(block);
    return kind;
}

/* True if a line begins with `key`. */
static bool has_key(const char *text, const char *key)
{
    size_t length = strlen(key);

    while (text != NULL) {
        if (strncmp(text, key, length) == 0)
            return true;
        text = strchr(text, '\n');
        text = text == NULL ? NULL : text + 1;
    }
    return false;
}

/* By a key that only files of the kind have. */
static enum file_kind text_kind(const char *text)
{
    static const struct {
        const char *key;
        enum file_kind kind;
    } keys[] = {
        {"stored:", FILE_BASELINE},          {"study:", FILE_BASELINE},
        {"policies:", FILE_CONFIGURATION},   {"gpu:", FILE_MACHINE},
        {"expert_ffn:", FILE_MODEL},         {"rows:", FILE_TABLE},
        {"prompt_tokens:", FILE_PARAMETERS}, {"output_tokens:", FILE_PARAMETERS},
        {"skew:", FILE_PARAMETERS},
    };

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (has_key(text, keys[i].key))
            return keys[i].kind;
    }
    return FILE_OTHER;
}

enum file_kind file_kind_of(const char *path)
{
    static const char hdf5[] = "\x89HDF\r\n\x1a\n", numpy[] = "\x93NUMPY",
                      zip[] = "PK\3\4";
    struct stat s;
    enum file_kind kind = FILE_OTHER;
    char *head;
    FILE *in;

    if (stat(path, &s) != 0 || (!S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode)))
        return FILE_OTHER;
    if (S_ISDIR(s.st_mode))
        return FILE_FOLDER;
    in = fopen(path, "rb");
    if (in == NULL)
        return FILE_OTHER;
    head = mem_zalloc(HEAD_BYTES + 1, 1);
    if (fread(head, 1, HEAD_BYTES, in) > 0) {
        if (memcmp(head, hdf5, sizeof hdf5 - 1) == 0)
            kind = hdf5_kind(in);
        else if (memcmp(head, numpy, sizeof numpy - 1) == 0 ||
                 memcmp(head, zip, sizeof zip - 1) == 0)
            kind = FILE_NUMPY;
        else
            kind = text_kind(head);
    }
    free(head);
    (void)fclose(in);
    return kind;
}

int file_kind_check(const char *path, enum file_kind wanted, struct err *e)
{
    enum file_kind kind = file_kind_of(path);
    bool in_hdf5 = wanted == FILE_TRACE || wanted == FILE_RESULT;

    /* Their readers know better what is wrong with HDF5 of no known format. */
    if (kind == FILE_OTHER || kind == wanted || (kind == FILE_HDF5 && in_hdf5))
        return 0;
    return err_set(e, "%s: is %s where %s is needed; %s", path, kinds[kind].what,
                   wanted_names[wanted], kinds[kind].cure);
}
